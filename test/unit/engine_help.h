/* What tests that run graphs share: engines of 1, 2, … threads, memory, one stream of random numbers. N_ENGINES may be said before. */
#ifndef EYE_TEST_ENGINE_HELP_H
#define EYE_TEST_ENGINE_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/engine.h"

#ifndef N_ENGINES
#define N_ENGINES 2
#endif
static struct eye_engine engines[N_ENGINES]; /* engine i has i + 1 threads */
static struct eye_arena mem;
static struct eye_rng rng;

static inline void ok(enum eye_status st, const struct eye_err *err) {
    if (st != EYE_OK) fail_msg("%s", err->text);
}

static inline int setup_engines(void **state) {
    struct eye_err err;
    eye_arena_init(&mem, NULL);
    eye_rng_seed(&rng, 20);
    for (int i = 0; i < N_ENGINES; i++) ok(eye_engine_init(&engines[i], i + 1, eye_cpu_flags(), NULL, &err), &err);
    return 0;
}
static inline int teardown_engines(void **state) {
    for (int i = 0; i < N_ENGINES; i++) eye_engine_clear(&engines[i]);
    eye_arena_clear(&mem);
    return 0;
}
/* Before each test, so that what it draws does not depend on the others. */
static inline int each(void **state) {
    eye_arena_clear(&mem);
    eye_rng_seed(&rng, 1);
    return 0;
}

#endif
