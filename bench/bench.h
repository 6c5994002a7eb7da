/* bench: what the programs that time whole networks share. */
#ifndef EYE_BENCH_H
#define EYE_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"

static inline void die(const char *text) {
    fprintf(stderr, "bench: %s\n", text);
    exit(1);
}
static inline void check(enum eye_status st, const struct eye_err *err) {
    if (st != EYE_OK) die(err->text);
}

static inline void *memory(size_t bytes) {
    void *p = eye_pages_alloc(bytes);
    if (!p) die("out of memory");
    return p;
}

static inline uint64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* For qsort of uint64_t. */
static inline int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Each op's share of the last run; STEPS=1 lists every step. */
static inline void print_ops(const struct eye_exec *x) {
    enum { CAP = 4096 };
    static struct eye_step_time t[CAP];
    size_t n = EYE_MIN(eye_exec_times(x, t, CAP), (size_t)CAP);
    uint64_t total = 0;
    for (size_t i = 0; i < n; i++) total += t[i].ns;
    for (int op = 0; op < EYE_N_OP; op++) {
        const char *name = eye_op_info((enum eye_op)op)->name;
        uint64_t ns = 0;
        int count = 0;
        for (size_t i = 0; i < n; i++)
            if (strcmp(t[i].op, name) == 0 && t[i].ns) ns += t[i].ns, count++;
        if (count) printf("  %-18s %4d x  %9.3f ms  %5.1f %%\n", name, count, (double)ns / 1e6,
                          100.0 * (double)ns / (double)total);
    }
    if (getenv("STEPS"))
        for (size_t i = 0; i < n; i++) printf("    %3zu %-18s %9.3f ms\n", i, t[i].op, (double)t[i].ns / 1e6);
}

#endif
