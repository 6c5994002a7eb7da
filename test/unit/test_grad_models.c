/* Whole models as training graphs, in double: each weight's gradient against a difference along a random direction; BatchNorms
 * in training and frozen; LoRA, dropout; and that no caption's loss reaches tokens after its position (the study's mistake: its
 * loss was unshifted, and the model copied its input). Then the same graphs by the engine, on one thread and on three.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "engine/engine.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "support/train_model.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

/* The folder of a configuration under test/golden, made on first use. */
static const char *folder(const char *name) {
    static char path[1024], from[1024];
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), strrchr(name, '/') + 1);
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, name);
    if (!eye_path_is_dir(path)) ok(eye_make_listed(from, 300, path, &err));
    return path;
}

static double loss_of(const struct eye_train_model *t) {
    double y;
    struct eye_ref_io out = {t->forward_loss, &y};
    ok(eye_graph_eval_f64(&t->forward, &t->bind, t->in, t->n_in, &out, 1, &err));
    return y;
}

static double *gradient_of(const struct eye_train_model *t, eye_val grad, int64_t n) {
    double *d = calloc((size_t)n, sizeof *d);
    struct eye_ref_io out = {grad, d};
    assert_non_null(d);
    ok(eye_graph_eval_f64(&t->g, &t->bind, t->in, t->n_in, &out, 1, &err));
    return d;
}

/* All weights' gradients in one evaluation. */
static void gradients(const struct eye_train_model *t, double **d) {
    struct eye_ref_io *out = calloc(t->n_params, sizeof *out);
    size_t n = 0;
    assert_non_null(out);
    for (size_t i = 0; i < t->n_params; i++) {
        d[i] = calloc((size_t)t->param[i].n, sizeof **d);
        assert_non_null(d[i]);
        if (t->param[i].grad != EYE_NONE) out[n++] = (struct eye_ref_io){t->param[i].grad, d[i]};
    }
    ok(eye_graph_eval_f64(&t->g, &t->bind, t->in, t->n_in, out, n, &err));
    free(out);
}

/* The weight moves by +-2^-20 in each element, as float32 allows; what it moved by is known exactly. Steps over ReLUs' corners
 * are as rare as 2^-20 is small. The tolerance is relative to what such a direction gives when gradients are random, above the
 * rounding of a loss near 6 after some hundred nodes. */
static void compare(const struct eye_train_model *t, const char *name, const struct eye_tm_param *p, const double *d,
                    struct eye_rng *rng) {
    float *at = malloc((size_t)p->n * sizeof *at), *up = malloc((size_t)p->n * sizeof *up);
    double want = 0, scale = 0;
    assert_true(at && up);
    memcpy(at, p->data, (size_t)p->n * sizeof *at);
    for (int64_t i = 0; i < p->n; i++) up[i] = p->data[i] = at[i] + (eye_rng_u64(rng) & 1 ? 0x1p-20f : -0x1p-20f);
    double above = loss_of(t);
    for (int64_t i = 0; i < p->n; i++) p->data[i] = at[i] - (up[i] - at[i]);
    double below = loss_of(t);
    for (int64_t i = 0; i < p->n; i++) {
        double moved = (double)up[i] - (double)p->data[i];
        want += d[i] * moved;
        scale += d[i] * moved * d[i] * moved;
    }
    memcpy(p->data, at, (size_t)p->n * sizeof *at);
    if (!(fabs(above - below - want) <= 1e-4 * sqrt(scale) + 1e-13))
        fail_msg("%s: %s: the loss changes by %.9g, the gradient says %.9g (scale %.3g)", name, eye_value_at(&t->g, p->v)->name,
                 above - below, want, sqrt(scale));
    free(at);
    free(up);
}

static void check(const char *name, const char *dir, struct eye_tm_opts o) {
    struct eye_opened m;
    struct eye_train_model t;
    struct eye_rng rng;
    eye_open_model(&m, dir);
    eye_rng_seed(&rng, 11);
    eye_train_model(&t, &m.m, &o);
    assert_true(t.n_params > 0);
    double **d = calloc(t.n_params, sizeof *d);
    gradients(&t, d);
    for (size_t i = 0; i < t.n_params; i++) {
        assert_int_not_equal(t.param[i].grad, EYE_NONE);
        compare(&t, name, &t.param[i], d[i], &rng);
        free(d[i]);
    }
    free(d);
    eye_train_model_clear(&t);
    eye_close_model(&m);
}

static void language_models(void **state) {
    static const char *const text[] = {"llava/llama", "llava/llama-bias", "llava/mistral", "llava/qwen2", "compose/gpt2"};
    for (size_t i = 0; i < EYE_COUNT(text); i++) check(text[i], folder(text[i]), (struct eye_tm_opts){0});
    check("dropout", folder("llava/qwen2"), (struct eye_tm_opts){.dropout = 0.25f});
    check("lora", folder("llava/qwen2"), (struct eye_tm_opts){.lora_rank = 3});
}

static void students(void **state) {
    static const struct { const char *name; bool train_norms; } student[] = {
        {"compose/small-map", true}, {"compose/small-map", false}, {"compose/small-classifier", false},
        {"compose/large-pooled", true}, {"compose/minimal-tap", false}};
    for (size_t i = 0; i < EYE_COUNT(student); i++)
        check(student[i].name, folder(student[i].name),
              (struct eye_tm_opts){.n_images = EYE_TM_IMAGES, .train_norms = student[i].train_norms});
}

static void other_towers(void **state) {
    check("clip", folder("llava/clip"), (struct eye_tm_opts){.n_images = 1});
    check("siglip", folder("llava/siglip"), (struct eye_tm_opts){.n_images = 1});
}

/* Position i of the first caption alone has a loss: tokens after it have none of its gradient, nor has the other caption. */
static void no_copy_leak(void **state) {
    static const char *const name[] = {"compose/small-classifier", "compose/large-pooled"};
    for (size_t k = 0; k < EYE_COUNT(name); k++) {
        struct eye_opened m;
        struct eye_train_model t;
        eye_open_model(&m, folder(name[k]));
        eye_train_model(&t, &m.m, &(struct eye_tm_opts){.n_images = 1});
        int64_t n_tok = eye_vlm_image_tokens(&m.m, m.m.config.prep.side_px), c = m.m.config.text.hidden;
        for (int i = 0; i < EYE_TM_TOKENS; i++) {
            memset(t.weight, 0, (size_t)t.bind.t * sizeof *t.weight);
            t.weight[n_tok + i] = 1;
            double *d = gradient_of(&t, t.d_embeddings, t.bind.t * c);
            for (int64_t row = 0; row < t.bind.t; row++) {
                double sum = 0;
                for (int64_t x = 0; x < c; x++) sum += fabs(d[row * c + x]);
                if (row <= n_tok + i) assert_true(sum > 0);
                else if (!(sum == 0))
                    fail_msg("%s: the loss at %d has a gradient at row %lld", name[k], i, (long long)(row - n_tok));
            }
            free(d);
        }
        eye_train_model_clear(&t);
        eye_close_model(&m);
    }
}

/* ---- the engine ---- */

/* Loss, gradients and statistics, one after the other. */
static float *by_engine(const struct eye_train_model *t, int n_threads, bool bf16, const struct eye_ref_io *want, size_t n_out,
                        size_t n) {
    struct eye_engine e;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_plan_opts opts = {.max_t = t->bind.t, .max_ctx = EYE_TM_CONTEXT, .train_bf16 = bf16};
    float *y = calloc(n, sizeof *y);
    struct eye_io in[EYE_COUNT(t->in)], *out = calloc(n_out, sizeof *out);
    assert_true(y && out);
    for (size_t i = 0; i < t->n_in; i++) in[i] = (struct eye_io){t->in[i].v, t->in[i].data};
    for (size_t i = 0; i < n_out; i++) out[i] = (struct eye_io){want[i].v, y + ((float *)want[i].data - (float *)want[0].data)};
    ok(eye_engine_init(&e, n_threads, UINT32_MAX, NULL, &err));
    ok(eye_plan_new(&plan, &e, &t->g, &opts, &err));
    ok(eye_exec_new(&x, plan, &err));
    ok(eye_exec_run(x, NULL, &t->bind, in, t->n_in, out, n_out, NULL, NULL, &err));
    eye_exec_free(x);
    eye_plan_free(plan);
    eye_engine_clear(&e);
    free(out);
    return y;
}

/* Float32 against double over some hundred nodes; norms of 8 numbers amplify. test/reference/train.py looks at each weight. */
static void check_engine(const char *dir, struct eye_tm_opts o) {
    struct eye_opened m;
    struct eye_train_model t;
    eye_open_model(&m, dir);
    eye_train_model(&t, &m.m, &o);
    size_t n_out = t.g.n_outputs, n = 0;
    struct eye_ref_io *want = calloc(n_out, sizeof *want);
    int64_t elems;
    assert_non_null(want);
    for (size_t i = 0; i < n_out; i++) {
        assert_true(eye_value_elems(eye_value_at(&t.g, t.g.output[i]), &t.bind, &elems));
        n += (size_t)elems;
    }
    float *ref = calloc(n, sizeof *ref), *at = ref;
    assert_non_null(ref);
    for (size_t i = 0; i < n_out; i++) {
        assert_true(eye_value_elems(eye_value_at(&t.g, t.g.output[i]), &t.bind, &elems));
        want[i] = (struct eye_ref_io){t.g.output[i], at};
        at += elems;
    }
    ok(eye_graph_eval_ref(&t.g, &t.bind, t.in, t.n_in, want, n_out, &err));
    for (int bf16 = 0; bf16 < 2; bf16++) {
        float *one = by_engine(&t, 1, bf16, want, n_out, n), *three = by_engine(&t, 3, bf16, want, n_out, n);
        double off = 0, all = 0;
        assert_memory_equal(one, three, n * sizeof *one);
        for (size_t i = 0; i < n; i++) {
            off += ((double)one[i] - (double)ref[i]) * ((double)one[i] - (double)ref[i]);
            all += (double)ref[i] * (double)ref[i];
        }
        if (!bf16 && !(sqrt(off / all) <= 1e-4)) fail_msg("%s: relative RMS %g of all results", dir, sqrt(off / all));
        free(one);
        free(three);
    }
    free(ref);
    free(want);
    eye_train_model_clear(&t);
    eye_close_model(&m);
}

static void engine_agrees(void **state) {
    check_engine(folder("compose/small-map"), (struct eye_tm_opts){.n_images = 2, .train_norms = true, .dropout = 0.1f});
    check_engine(folder("compose/minimal-tap"), (struct eye_tm_opts){.n_images = 2});
    check_engine(folder("llava/mistral"), (struct eye_tm_opts){.dropout = 0.1f});
    check_engine(folder("llava/llama-bias"), (struct eye_tm_opts){.lora_rank = 4});
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(language_models), cmocka_unit_test(students),
                                       cmocka_unit_test(other_towers), cmocka_unit_test(no_copy_leak),
                                       cmocka_unit_test(engine_agrees)};
    return cmocka_run_group_tests(tests, NULL, teardown);
}
