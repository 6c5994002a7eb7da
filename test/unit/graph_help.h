/* What tests of graphs share beside engines: random values and weights, comparison. */
#ifndef EYE_TEST_GRAPH_HELP_H
#define EYE_TEST_GRAPH_HELP_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "engine_help.h"

static inline float *floats(int64_t n, double lo, double hi) {
    float *x = eye_arena_alloc(&mem, (size_t)n * sizeof *x + 4);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(lo + (hi - lo) * eye_rng_unit(&rng));
    return x;
}

static inline eye_val weight(struct eye_graph *g, int rank, const int64_t *dims, double lo, double hi) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    t.data = floats(eye_tensor_elems(&t), lo, hi);
    return eye_weight(g, "w", &t);
}

/* |y - ref| <= tol times the largest |ref| (at least 1). */
static inline void assert_close(const float *y, const float *ref, int64_t n, double tol, const char *what) {
    double worst = 0, top = 1;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        double e = fabs((double)y[i] - (double)ref[i]);
        top = fmax(top, fabs((double)ref[i]));
        if (!(e <= worst)) at = i, worst = e; /* a NaN counts */
    }
    if (!(worst <= tol * top))
        fail_msg("%s: element %ld differs by %g at scale %g, allowed %g", what, (long)at, worst, top, tol);
}

#endif
