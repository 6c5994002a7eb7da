/* ranks: see ranks.h. */
#include "ranks.h"

#include <limits.h>
#include <stdlib.h>

#ifdef EYELET_MPI
#include <mpi.h>
#endif

/* How many were started, as the starters tell: Open MPI, Slurm and others by PMI. */
static int n_started(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        if (text && atoi(text) > 1) return atoi(text);
    }
    return 1;
}

#ifdef EYELET_MPI

static bool gather(void *ctx, const void *mine, void *all, size_t bytes) {
    (void)ctx;
    return bytes <= INT_MAX && MPI_Allgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD) == MPI_SUCCESS;
}

static bool swap(void *ctx, const void *mine, void *theirs, size_t bytes) {
    (void)ctx;
    return bytes <= INT_MAX && MPI_Alltoall(mine, (int)bytes, MPI_BYTE, theirs, (int)bytes, MPI_BYTE, MPI_COMM_WORLD) == MPI_SUCCESS;
}

bool ranks_join(struct ui *ui, struct eye_ranks *ranks) {
    int given, rank, n;
    *ranks = (struct eye_ranks){.n = 1};
    if (n_started() == 1) return true;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS || given < MPI_THREAD_FUNNELED ||
        MPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS || MPI_Comm_size(MPI_COMM_WORLD, &n) != MPI_SUCCESS) {
        ui_failf(ui, "MPI does not start");
        return false;
    }
    *ranks = (struct eye_ranks){.rank = rank, .n = n, .gather = gather, .swap = swap};
    return true;
}

void ranks_leave(const struct eye_ranks *ranks, int exit_code) {
    if (ranks->n == 1) return;
    if (exit_code != 0) MPI_Abort(MPI_COMM_WORLD, exit_code);
    MPI_Finalize();
}

#else

bool ranks_join(struct ui *ui, struct eye_ranks *ranks) {
    *ranks = (struct eye_ranks){.n = 1};
    if (n_started() == 1) return true;
    ui_failf(ui, "%d processes were started, but this eyelet was built without MPI (meson setup -Dmpi=enabled)", n_started());
    return false;
}

void ranks_leave(const struct eye_ranks *ranks, int exit_code) {
    (void)ranks;
    (void)exit_code;
}

#endif
