/* checkkern: walks THE kernel table (src/kernels/kernels.def) and tests or benchmarks every row this CPU can run.
 *
 *   checkkern [--seed N] [--only NAME] [--cpu LIST] [--quick]     test; last line "N passed, N failed"
 *   checkkern --bench [--only NAME] [--cpu LIST]                  GOP/s and GB/s per row
 *   checkkern --list [--cpu LIST]                                 the row chosen per op (LIST: names as in EYE_CPU)
 *   checkkern --selftest                                          deliberately broken kernels must all be caught
 *
 * Each row is tested in a forked child, so that a wild access fails one row and not the run. Which test a row gets follows
 * from its type (check_ukr, check_eye_map_fn, ...): a new type without a test does not link.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "kernels/rows.h"

#define UKR(op, needs, sym) {#op, #sym, needs, check_ukr, bench_ukr, &sym, NULL},
#define FN(op, needs, type, sym) {#op, #sym, needs, check_##type, bench_##type, NULL, (check_any_fn *)sym},
static const struct check_row rows[] = {
#include "kernels/kernels.def"
};

#define UKR(op, needs, sym)
#define FN(op, needs, type, sym)
#define UKR_OP(op) #op,
#define FN_OP(op, type) #op,
static const char *const ops[] = {
#include "kernels/kernels.def"
};

enum { ROW_SECONDS = 600 }; /* generous: a row under an emulator */

struct options {
    uint64_t seed;
    const char *only;
    uint32_t flags;     /* what rows may need */
    bool flags_given;
    bool bench, list, selftest, quick;
};

static const struct check_row *first_row_of(const char *op) {
    for (size_t i = 0; i < EYE_COUNT(rows); i++)
        if (strcmp(rows[i].op, op) == 0) return &rows[i];
    return NULL;
}

/* In a child: true if it came back well. */
static bool run_row(const struct check_row *row, const struct options *o) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0) {
        perror("checkkern: fork");
        exit(2);
    }
    if (pid == 0) {
        struct check c = {.row = row, .ref = first_row_of(row->op), .quick = o->quick};
        eye_rng_seed(&c.rng, o->seed);
        alarm(ROW_SECONDS);
        (o->bench ? row->bench : row->test)(&c);
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        printf("FAIL %s: died of signal %d (%s)\n", row->sym, WTERMSIG(status), strsignal(WTERMSIG(status)));
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void list_choice(uint32_t flags) {
    const char *op, *kernel;
    for (size_t i = 0; eye_kernels_choice(i, flags, &op, &kernel); i++) printf("%-22s %s\n", op, kernel);
}

static bool wanted(const struct check_row *row, const struct options *o) {
    return !o->only || strstr(row->sym, o->only);
}

static int run_table(const struct options *o) {
    int passed = 0, failed = 0, skipped = 0;
    char names[256];
    eye_cpu_names(o->flags, names, sizeof names);
    printf("cpu %s, seed %llu\n", names, (unsigned long long)o->seed);
    for (size_t i = 0; i < EYE_COUNT(ops); i++) {
        const struct check_row *ref = first_row_of(ops[i]);
        if (ref && ref->needs == 0) continue;
        printf("FAIL %s: no row that runs on every CPU\n", ops[i]);
        failed++;
    }
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        if (!wanted(&rows[i], o)) continue;
        if (rows[i].needs & ~o->flags) {
            skipped++;
        } else if (run_row(&rows[i], o)) {
            if (!o->bench) printf("ok   %s\n", rows[i].sym);
            passed++;
        } else {
            failed++;
        }
    }
    if (skipped) printf("%d rows need more than this CPU (or --cpu) offers\n", skipped);
    if (!o->bench || failed) printf("%d passed, %d failed\n", passed, failed);
    return failed || passed == 0;
}

static int run_selftest(const struct options *o) {
    int passed = 0, failed = 0;
    for (size_t i = 0; i < n_check_broken_rows; i++) {
        bool caught = !run_row(&check_broken_rows[i], o);
        if (!caught) printf("NOT CAUGHT %s\n", check_broken_rows[i].sym);
        caught ? passed++ : failed++;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}

static int usage(void) {
    fprintf(stderr, "usage: checkkern [--seed N] [--only NAME] [--cpu LIST] [--quick] [--bench | --list | --selftest]\n");
    return 2;
}

int main(int argc, char **argv) {
    struct options o = {.seed = eye_now_ns() % 1000000};
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(arg, "--bench") == 0) o.bench = true;
        else if (strcmp(arg, "--list") == 0) o.list = true;
        else if (strcmp(arg, "--selftest") == 0) o.selftest = true;
        else if (strcmp(arg, "--quick") == 0) o.quick = true;
        else if (!value) return usage();
        else if (strcmp(arg, "--seed") == 0) o.seed = strtoull(value, NULL, 10), i++;
        else if (strcmp(arg, "--only") == 0) o.only = value, i++;
        else if (strcmp(arg, "--cpu") == 0 && eye_cpu_parse(value, &o.flags)) o.flags_given = true, i++;
        else return usage();
    }
    /* A list may ask about another machine; running cannot. */
    if (!o.flags_given) o.flags = eye_cpu_flags();
    else if (!o.list) o.flags &= eye_cpu_flags();
    if (o.list) return list_choice(o.flags), 0;
    return o.selftest ? run_selftest(&o) : run_table(&o);
}
