/* graph: passes must not change what a graph computes. Random graphs go through fold, fuse and placement; values before and
 * after are compared through the oracle, which sums in double and stores f32. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/sys.h"
#include "graph/graph.h"

static struct eye_arena mem;
static struct eye_rng rng;

static eye_val weight(struct eye_graph *g, const char *name, int rank, const int64_t *dims, double lo, double hi) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    int64_t n = eye_tensor_elems(&t);
    float *x = eye_arena_alloc(&mem, (size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(lo + (hi - lo) * eye_rng_unit(&rng));
    t.data = x;
    return eye_weight(g, name, &t);
}
static eye_val vec(struct eye_graph *g, const char *name, int64_t n, double lo, double hi) { return weight(g, name, 1, &n, lo, hi); }

static eye_val bn(struct eye_graph *g, eye_val x) {
    int64_t c = eye_dim(g, x, -1);
    return eye_batch_norm(g, x, vec(g, "bn.weight", c, 0.5, 1.5), vec(g, "bn.bias", c, -1, 1), vec(g, "bn.mean", c, -1, 1),
                          vec(g, "bn.var", c, 0.2, 2), 1e-5f);
}
static eye_val conv(struct eye_graph *g, eye_val x, int64_t o, int k, int stride, int groups, bool bias, const char *name) {
    int64_t c = eye_dim(g, x, -1);
    return eye_conv2d(g, x, weight(g, name, 4, (int64_t[]){o, c / groups, k, k}, -1, 1),
                      bias ? vec(g, "conv.bias", o, -1, 1) : EYE_NONE, eye_conv_same(k, stride, groups));
}

static size_t count_op(const struct eye_graph *g, enum eye_op op) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_nodes; i++) n += g->node[i].op == op;
    return n;
}

/* Output 0 of g for the given input; caller's arena. */
static float *eval(const struct eye_graph *g, const float *x, int64_t t, int64_t *n) {
    struct eye_bind bind = {.t = t, .ctx = 64};
    struct eye_err err = {0};
    assert_true(eye_value_elems(eye_value_at(g, g->output[0]), &bind, n));
    float *y = eye_arena_alloc(&mem, (size_t)*n * sizeof *y);
    struct eye_ref_io in = {g->input[0], (void *)(uintptr_t)x}, out = {g->output[0], y};
    if (eye_graph_eval_ref(g, &bind, &in, 1, &out, 1, &err) != EYE_OK) fail_msg("%s", err.text);
    return y;
}

/* Both sides store f32 after every node; values are O(scale) and a chain of depth nodes rounds once per node, with weights
 * rounded once: a bound of 8 * depth * eps * max|y| holds for the well-scaled graphs below. */
static void assert_close(const float *a, const float *b, int64_t n, int depth) {
    float top = 1; /* maxima in float: gcc 12 for aarch64 fails on a vectorized fmax of converted values */
    for (int64_t i = 0; i < n; i++) top = fmaxf(top, fabsf(a[i]));
    double tol = 8 * depth * (double)FLT_EPSILON * (double)top;
    for (int64_t i = 0; i < n; i++) { /* in this form NaN fails */
        double diff = fabs((double)a[i] - (double)b[i]);
        if (!(diff <= tol)) fail_msg("element %lld: %g and %g at scale %g", (long long)i, (double)a[i], (double)b[i], (double)top);
    }
}

static float *random_input(int64_t n) {
    float *x = eye_arena_alloc(&mem, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(2 * eye_rng_unit(&rng) - 1);
    return x;
}

static void ok(enum eye_status st, const struct eye_err *err) {
    if (st != EYE_OK) fail_msg("%s", err->text);
}

/* The train-time RepMixer and MobileOne trees become one convolution each. */
static void fold_train_form(void **state) {
    struct eye_graph g;
    struct eye_err err = {0};
    int64_t C = 12, n0, n1;
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 4, (int64_t[]){1, 9, 7, C});
    /* dense 3x3 s2 + 1x1 s2 scale branch */
    eye_val s = eye_add(&g, bn(&g, conv(&g, x, 24, 3, 2, 1, false, "a.conv.weight")), bn(&g, conv(&g, x, 24, 1, 2, 1, false, "a.scale.weight")));
    s = eye_act(&g, s, EYE_ACT_GELU);
    /* 1x1 dense + skip batch norm */
    s = eye_add(&g, bn(&g, conv(&g, s, 24, 1, 1, 1, false, "b.conv.weight")), bn(&g, s));
    /* RepMixer: x + l * (mixer(x) - norm(x)) */
    eye_val mixer = eye_add(&g, eye_add(&g, bn(&g, conv(&g, s, 24, 3, 1, 24, false, "m.conv.weight")), bn(&g, conv(&g, s, 24, 1, 1, 24, false, "m.scale.weight"))), bn(&g, s));
    s = eye_tap(&g, eye_add(&g, s, eye_mul(&g, eye_sub(&g, mixer, bn(&g, s)), vec(&g, "ls", 24, 0.1, 1))), "mixer");
    /* 7x7 s2 depthwise, multiplier 2, + small 3x3 */
    eye_val big = bn(&g, eye_conv2d(&g, s, weight(&g, "l.weight", 4, (int64_t[]){48, 1, 7, 7}, -0.3, 0.3), EYE_NONE, eye_conv_same(7, 2, 24)));
    eye_val small = bn(&g, eye_conv2d(&g, s, weight(&g, "s.weight", 4, (int64_t[]){48, 1, 3, 3}, -1, 1), EYE_NONE, eye_conv_same(3, 2, 24)));
    s = eye_add(&g, big, small);
    /* ConvFFN with layer scale and residual */
    eye_val f = bn(&g, conv(&g, s, 48, 7, 1, 48, false, "f.weight"));
    f = conv(&g, eye_act(&g, conv(&g, f, 96, 1, 1, 1, true, "fc1.weight"), EYE_ACT_GELU), 48, 1, 1, 1, true, "fc2.weight");
    s = eye_add(&g, s, eye_mul(&g, f, vec(&g, "ls2", 48, 0.1, 1)));
    eye_output(&g, s);
    ok(eye_graph_finish(&g, &err), &err);
    const float *in = random_input(9 * 7 * C);
    float *before = eval(&g, in, 1, &n0);
    ok(eye_graph_fold(&g, &err), &err);
    assert_int_equal(count_op(&g, EYE_OP_batch_norm), 0);
    assert_int_equal(count_op(&g, EYE_OP_conv2d), 4); /* a, mixer, l+s, f */
    assert_int_equal(count_op(&g, EYE_OP_linear), 3); /* b, fc1, fc2 */
    assert_int_equal(count_op(&g, EYE_OP_add), 1);    /* the residual */
    assert_int_not_equal(eye_graph_find(&g, "mixer"), EYE_NONE);
    float *after = eval(&g, in, 1, &n1);
    assert_int_equal(n0, n1);
    assert_close(before, after, n0, 24);
    ok(eye_graph_fuse(&g, false, &err), &err);
    assert_int_equal(count_op(&g, EYE_OP_ffn), 1);
    assert_int_equal(count_op(&g, EYE_OP_act), 0);
    assert_int_equal(count_op(&g, EYE_OP_add), 0);
    assert_close(before, eval(&g, in, 1, &n1), n0, 24);
    eye_graph_clear(&g);
}

/* A residual is no branch: x + fc(x) stays an addition, and a convolution read twice is not folded away. */
static void fold_keeps_what_it_must(void **state) {
    struct eye_graph g;
    struct eye_err err = {0};
    int64_t n0, n1;
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 4, (int64_t[]){1, 5, 5, 8});
    eye_val a = conv(&g, x, 8, 3, 1, 8, true, "a.weight");
    eye_val y = eye_add(&g, bn(&g, a), a);
    y = eye_add(&g, y, conv(&g, y, 8, 1, 1, 1, true, "b.weight"));
    eye_output(&g, y);
    ok(eye_graph_finish(&g, &err), &err);
    const float *in = random_input(5 * 5 * 8);
    float *before = eval(&g, in, 1, &n0);
    ok(eye_graph_fold(&g, &err), &err);
    assert_close(before, eval(&g, in, 1, &n1), n0, 8);
    eye_graph_clear(&g);
}

/* Frozen layers fold; a convolution that is trained stays as it is, with its frozen norm, and its numbers stay the trainer's. */
static void fold_leaves_what_is_trained(void **state) {
    struct eye_graph g;
    struct eye_err err = {0};
    int64_t n0, n1;
    float data[8 * 8];
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 4, (int64_t[]){1, 5, 5, 3});
    x = eye_act(&g, bn(&g, conv(&g, x, 8, 3, 1, 1, false, "a.weight")), EYE_ACT_RELU);
    eye_val w = weight(&g, "b.weight", 4, (int64_t[]){8, 8, 1, 1}, -1, 1);
    memcpy(data, eye_value_at(&g, w)->data, sizeof data);
    eye_graph_unfreeze(&g, w, data);
    x = bn(&g, eye_conv2d(&g, x, w, EYE_NONE, eye_conv_same(1, 1, 1)));
    eye_output(&g, conv(&g, x, 4, 1, 1, 1, true, "c.weight"));
    ok(eye_graph_finish(&g, &err), &err);
    const float *in = random_input(5 * 5 * 3);
    float *before = eval(&g, in, 1, &n0);
    ok(eye_graph_fold(&g, &err), &err);
    assert_close(before, eval(&g, in, 1, &n1), n0, 8);
    assert_int_equal(count_op(&g, EYE_OP_batch_norm), 1);
    assert_int_equal(count_op(&g, EYE_OP_conv2d), 2);
    assert_int_equal(count_op(&g, EYE_OP_linear), 1);
    assert_int_equal(eye_value_at(&g, w)->n_uses, 1);
    eye_graph_clear(&g);
}

static void fuse_decoder(void **state) {
    struct eye_graph g;
    struct eye_err err = {0};
    int64_t n0, n1, C = 16;
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){EYE_DIM_T, C});
    eye_val h = eye_rms_norm(&g, x, vec(&g, "n", C, 0.5, 1.5), 1e-6f);
    eye_val gate = eye_linear(&g, h, weight(&g, "g", 2, (int64_t[]){40, C}, -1, 1), EYE_NONE);
    eye_val up = eye_linear(&g, h, weight(&g, "u", 2, (int64_t[]){40, C}, -1, 1), EYE_NONE);
    eye_val y = eye_add(&g, x, eye_linear(&g, eye_mul(&g, eye_act(&g, gate, EYE_ACT_SILU), up), weight(&g, "d", 2, (int64_t[]){C, 40}, -1, 1), EYE_NONE));
    eye_output(&g, y);
    ok(eye_graph_finish(&g, &err), &err);
    const float *in = random_input(3 * C);
    float *before = eval(&g, in, 3, &n0);
    ok(eye_graph_fold(&g, &err), &err);
    ok(eye_graph_fuse(&g, false, &err), &err);
    assert_int_equal(g.n_nodes, 5); /* norm, gate, up, swiglu, down + residual */
    assert_close(before, eval(&g, in, 3, &n1), n0, 8);
    eye_graph_clear(&g);
}

/* No two values alive at the same node share a byte; an aliased value sits where its root does. Different sizes share none where
 * that was asked for, all of the graph's life or 32 nodes, but for loose ones. */
static void place_never_overlaps(void **state) {
    for (int round = 0; round < 60; round++) {
        struct eye_graph g;
        struct eye_err err = {0};
        eye_graph_init(&g, NULL);
        eye_val v[40];
        v[0] = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){EYE_DIM_T, 8});
        for (int i = 1; i < 40; i++) v[i] = eye_add(&g, v[eye_rng_u64(&rng) % (uint64_t)i], v[i - 1 - (int)(eye_rng_u64(&rng) % (uint64_t)EYE_MIN(i, 5))]);
        eye_output(&g, v[39]);
        ok(eye_graph_finish(&g, &err), &err);
        size_t bytes[64] = {0}, off[64], total;
        for (size_t i = 0; i < g.n_values; i++) bytes[i] = eye_rng_u64(&rng) % 4 ? 1 + eye_rng_u64(&rng) % 5000 : 0;
        bool loose[64];
        for (size_t i = 0; i < g.n_values; i++) loose[i] = round % 2 && eye_rng_u64(&rng) % 4 == 0;
        static const size_t most[] = {0, 1, SIZE_MAX}; /* 1: too few */
        size_t least;
        ok(eye_graph_place(&g, &(struct eye_place_opts){.bytes = bytes}, off, &least, &err), &err);
        struct eye_place_opts o = {.bytes = bytes, .apart_bytes = most[round % 3], .loose = round % 2 ? loose : NULL};
        ok(eye_graph_place(&g, &o, off, &total, &err), &err);
        assert_true(round % 3 == 2 ? total >= least : round % 3 ? total <= least + least / 4 : total == least);
        int last[64], first[64];
        for (size_t i = 0; i < g.n_values; i++) first[i] = i == 0 ? 0 : 1000, last[i] = -1;
        for (size_t k = 0; k < g.n_nodes; k++) {
            first[g.node[k].out] = last[g.node[k].out] = (int)k;
            for (int i = 0; i < g.node[k].n_in; i++) last[g.node[k].in[i]] = (int)k;
        }
        last[g.output[0]] = 1000;
        for (size_t a = 0; a < g.n_values; a++)
            for (size_t b = 0; b < a; b++) {
                bool used = bytes[a] && bytes[b] && last[a] >= 0 && last[b] >= 0, alive = first[a] <= last[b] && first[b] <= last[a];
                bool overlap = used && off[a] < off[b] + bytes[b] && off[b] < off[a] + bytes[a];
                if (alive && overlap) fail_msg("values %zu and %zu overlap", a, b);
                assert_true(!bytes[a] || last[a] < 0 || off[a] + bytes[a] <= total);
                bool near = first[a] <= last[b] + 32 && first[b] <= last[a] + 32;
                if (overlap && EYE_ALIGN_UP(bytes[a], 64) != EYE_ALIGN_UP(bytes[b], 64) && !loose[a] && !loose[b]) {
                    assert_true(round % 3 != 2);
                    if (near && round % 3 == 1) assert_int_equal(total, least);
                }
            }
        eye_graph_clear(&g);
    }
}

/* Impossible graphs give one clear error, whichever call met it first. */
static void errors_stick(void **state) {
    struct eye_graph g;
    struct eye_err err = {0};
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){EYE_DIM_T, 8});
    eye_val y = eye_linear(&g, x, weight(&g, "w", 2, (int64_t[]){4, 9}, -1, 1), EYE_NONE);
    assert_int_equal(y, EYE_NONE);
    eye_output(&g, eye_add(&g, y, y));
    assert_int_equal(eye_graph_finish(&g, &err), EYE_E_CORRUPT);
    assert_non_null(strstr(err.text, "[-1, 8]"));
    assert_non_null(strstr(err.text, "\"w\""));
    eye_graph_clear(&g);
}

static int setup(void **state) {
    eye_arena_init(&mem, NULL);
    eye_rng_seed(&rng, 1);
    return 0;
}
static int teardown(void **state) {
    eye_arena_clear(&mem);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(fold_train_form), cmocka_unit_test(fold_keeps_what_it_must),
                                       cmocka_unit_test(fold_leaves_what_is_trained), cmocka_unit_test(fuse_decoder),
                                       cmocka_unit_test(place_never_overlaps), cmocka_unit_test(errors_stick)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
