/* ranks: the processes of one training, when mpirun (or Slurm's srun) has started this one among several. Built with -Dmpi=enabled
 * they exchange by MPI; built without, several are refused: each would train alone in the same folder. */
#ifndef EYELET_CLI_RANKS_H
#define EYELET_CLI_RANKS_H

#include "eyelet/train.h"
#include "ui.h"

/* False, having said why: several were started and cannot be joined. ranks->n is 1 alone; MPI is not touched then. */
bool ranks_join(struct ui *ui, struct eye_ranks *ranks);
/* At the end of this process' part. A rank that failed takes the others with it; then it does not return. */
void ranks_leave(const struct eye_ranks *ranks, int exit_code);

#endif
