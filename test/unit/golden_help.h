/* What tests share whose answers are under test/golden/FAMILY/NAME: the case as a folder, its arrays, how near a result is. */
#ifndef EYE_TEST_GOLDEN_HELP_H
#define EYE_TEST_GOLDEN_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/npy.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

enum { N_BPE = 300 };

/* A checkpoint of the case's shapes, made on first use. One static buffer. */
static inline const char *listed_folder(const char *family, const char *name) {
    static char path[1024], from[1024];
    struct eye_err err;
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), name);
    snprintf(from, sizeof from, TEST_DATA "/golden/%s/%s", family, name);
    if (!eye_path_is_dir(path) && eye_make_listed(from, N_BPE, path, &err) != EYE_OK) fail_msg("%s", err.text);
    return path;
}

/* An array of 4-byte values; free(). name "" = the family has one case, without a folder. */
static inline void *golden(const char *family, const char *name, const char *what, size_t *n) {
    char path[1024];
    struct eye_err err;
    struct eye_npy npy;
    snprintf(path, sizeof path, TEST_DATA "/golden/%s/%s/%s.npy", family, name, what);
    if (eye_npy_open(&npy, path, &err) != EYE_OK) fail_msg("%s", err.text);
    *n = (size_t)eye_tensor_elems(&npy.t);
    void *p = malloc(*n * 4);
    assert_non_null(p);
    memcpy(p, npy.t.data, *n * 4);
    eye_npy_close(&npy);
    return p;
}

static inline void assert_near_golden(const char *family, const char *name, const char *what, const float *got, size_t n,
                                      double rel) {
    size_t n_want;
    double diff = 0, scale = 0;
    float *want = golden(family, name, what, &n_want);
    assert_int_equal(n, n_want);
    for (size_t i = 0; i < n; i++) {
        diff += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        scale += (double)want[i] * (double)want[i];
    }
    free(want);
    if (!(sqrt(diff / scale) <= rel)) fail_msg("%s: %s: relative RMS %g > %g", name, what, sqrt(diff / scale), rel);
}

#endif
