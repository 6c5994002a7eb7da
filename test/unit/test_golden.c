/* Whole models against PyTorch: make_checkpoint writes the weights here, test/golden/model holds what timm and transformers made
 * of the same weights (written by test/reference/reference.py --fixtures): projected image rows, logits of the last prompt row,
 * 16 greedy tokens. Every checkpoint format and form, odd dims, all stored types. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sys.h"
#include "eyelet/eyelet.h"
#include "format/npy.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static const struct golden_case {
    const char *name;
    const char *size;
    enum eye_mk_format format;
    enum eye_dtype dtype;
    int n_shards;
} cases[] = {
    {"tiny", "tiny", EYE_MK_HF, EYE_F32, 1},          {"tiny-apple", "tiny", EYE_MK_APPLE, EYE_F32, 1},
    {"tiny-train", "tiny", EYE_MK_APPLE_TRAIN, EYE_F32, 1}, {"tiny-bf16", "tiny", EYE_MK_HF, EYE_BF16, 1},
    {"tiny-f16", "tiny", EYE_MK_APPLE, EYE_F16, 1},   {"odd", "odd", EYE_MK_HF, EYE_F32, 3},
    {"odd-train", "odd", EYE_MK_APPLE_TRAIN, EYE_F32, 1},
};

#define CALL(x)                                                 \
    do {                                                        \
        if ((x) != EYE_OK) fail_msg("%s: %s", c->name, err.text); \
    } while (0)

/* Golden array as floats or ids, malloc'ed. */
static void *golden(const struct golden_case *c, const char *what, size_t *n) {
    char path[512];
    struct eye_npy npy;
    struct eye_err err = {0};
    snprintf(path, sizeof path, "%s/golden/model/%s/%s.npy", TEST_DATA, c->name, what);
    CALL(eye_npy_open(&npy, path, &err));
    *n = (size_t)eye_tensor_elems(&npy.t);
    void *p = malloc(*n * 4);
    assert_non_null(p);
    memcpy(p, npy.t.data, *n * 4);
    eye_npy_close(&npy);
    return p;
}

/* The bound of the reference suite: both sides compute in f32; such graphs differ from their f64 twin by some 1e-5. */
static void assert_rel_rms(const struct golden_case *c, const char *what, const float *got, const float *want, size_t n) {
    double diff = 0, scale = 0;
    for (size_t i = 0; i < n; i++) {
        diff += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        scale += (double)want[i] * (double)want[i];
    }
    if (!(sqrt(diff / scale) <= 1e-4)) fail_msg("%s: %s: relative RMS %g > 1e-4", c->name, what, sqrt(diff / scale));
}

static void check_case(const struct golden_case *c, const char *folder) {
    struct eye_err err = {0};
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    struct eye_result r;
    size_t n_proj, n_logits, n_greedy, n_ids;
    float *want_proj = golden(c, "projected", &n_proj), *want_logits = golden(c, "logits_last", &n_logits);
    int32_t *want_ids = golden(c, "greedy", &n_greedy), ids[1024];
    struct eye_model_opts mo = {.fit = EYE_FIT_PAD};
    CALL(eye_model_open(folder, &mo, &m, &err));
    CALL(eye_session_new(m, NULL, &s, &err));
    CALL(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
    assert_int_equal(n_proj, eye_model_image_tokens(m) * eye_model_hidden(m));
    assert_int_equal(n_logits, eye_model_n_vocab(m));
    float *proj = malloc(n_proj * sizeof *proj), *logits = malloc(n_logits * sizeof *logits);

    CALL(eye_session_encode_image(s, &img, proj, NULL, &err));
    assert_rel_rms(c, "projected", proj, want_proj, n_proj);
    struct eye_query prompt = {.text = "Describe the image.", .images = &img, .n_images = 1};
    CALL(eye_session_assemble(s, &prompt, ids, EYE_COUNT(ids), &n_ids, NULL, &err));
    CALL(eye_session_prefill(s, ids, n_ids, proj, logits, &err));
    assert_rel_rms(c, "logits", logits, want_logits, n_logits);
    eye_session_reset(s);
    struct eye_generate_opts go = {.n_predict = (int32_t)n_greedy, .ignore_eos = true};
    CALL(eye_session_generate(s, &prompt, &go, &r, &err));
    assert_int_equal(r.n_tokens, n_greedy);
    assert_memory_equal(r.tokens, want_ids, n_greedy * sizeof *want_ids);

    free(logits);
    free(proj);
    free(want_ids);
    free(want_logits);
    free(want_proj);
    eye_image_free(&img);
    eye_session_free(s);
    eye_model_close(m);
}

static void test_goldens(void **state) {
    (void)state;
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        const struct golden_case *c = &cases[i];
        struct eye_err err = {0};
        struct eye_mk_opts o = {.size = eye_mk_size_find(c->size), .format = c->format, .dtype = c->dtype, .n_shards = c->n_shards};
        o.seed = o.size->seed;
        o.out = eye_scratch_path(c->name);
        char folder[512];
        snprintf(folder, sizeof folder, "%s", o.out);
        CALL(eye_make_checkpoint(&o, &err));
        check_case(c, folder);
    }
}

static int teardown(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_goldens)};
    return cmocka_run_group_tests(tests, NULL, teardown);
}
