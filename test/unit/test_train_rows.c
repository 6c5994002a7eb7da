/* training rows: what the engine computes of losses, of gradients through norms, softmax, RoPE, tables and attention, of dropout
 * and moved data, against the oracle (all in double), at sizes where work is split; 2 threads give the bits of 1. Sequences are
 * segments: prefixes that several others see, and rows of their own. */
#include "graph_help.h"

enum { T = 211, C = 72, HEADS = 6, KV_HEADS = 2, D = 12, V = 1031, K = 9, P = 60, PICKED = 93, MAX_IO = 24 };

/* Prefixes of 20 and 33 rows, some of them seen by several segments; one sequence of its own. */
static const struct eye_segment segments[] = {
    {.row = 0, .n = 20},
    {.row = 20, .n = 13, .pos = 20, .prefix = 0, .n_prefix = 20},
    {.row = 33, .n = 33, .pos = 3},
    {.row = 66, .n = 17, .pos = 20, .prefix = 0, .n_prefix = 20},
    {.row = 83, .n = 40, .pos = 8, .prefix = 35, .n_prefix = 5},
    {.row = 123, .n = 1, .pos = 36, .prefix = 33, .n_prefix = 33},
    {.row = 124, .n = 59, .pos = 0},
    {.row = 183, .n = 28, .pos = 30, .prefix = 124, .n_prefix = 30},
};
static const struct eye_bind some = {.t = T, .picked = PICKED, .segment = segments, .n_segments = EYE_COUNT(segments)};

/* ---- a loss, its gradients, engines against the oracle ---- */

struct trial {
    struct eye_graph g;
    struct eye_io in[MAX_IO];
    eye_val wrt[MAX_IO];
    size_t n_in, n_wrt;
};

static void trial_start(struct trial *t) {
    *t = (struct trial){.n_in = 0};
    eye_graph_init(&t->g, NULL);
}

static eye_val add_input(struct trial *t, enum eye_dtype dtype, int rank, const int64_t *dims, void *data) {
    eye_val v = eye_input(&t->g, "in", dtype, rank, dims);
    assert_true(t->n_in < MAX_IO);
    t->in[t->n_in++] = (struct eye_io){v, data};
    return v;
}

static int64_t elems(const int64_t *dims, int rank) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= eye_bind_dim(&some, dims[i]);
    return n;
}

/* Inputs: of numbers that a gradient is asked of; of numbers; of indices in lo .. hi. */
static eye_val constant(struct trial *t, int rank, const int64_t *dims, double lo, double hi) {
    return add_input(t, EYE_F32, rank, dims, floats(elems(dims, rank), lo, hi));
}
static eye_val variable(struct trial *t, int rank, const int64_t *dims, double lo, double hi) {
    return t->wrt[t->n_wrt++] = constant(t, rank, dims, lo, hi);
}
#define DIMS(...) (int)EYE_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__}

static eye_val indices(struct trial *t, int rank, const int64_t *dims, int64_t lo, int64_t hi) {
    int64_t n = elems(dims, rank);
    int32_t *x = eye_arena_alloc(&mem, (size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = (int32_t)(lo + (int64_t)(eye_rng_u64(&rng) % (uint64_t)(hi - lo + 1)));
    return add_input(t, EYE_I32, rank, dims, x);
}

/* A trainable weight that gradients are asked of. */
static eye_val trainable(struct trial *t, int rank, const int64_t *dims, double lo, double hi) {
    eye_val v = weight(&t->g, rank, dims, lo, hi);
    eye_graph_unfreeze(&t->g, v, (float *)(uintptr_t)eye_value_at(&t->g, v)->data);
    return t->wrt[t->n_wrt++] = v;
}

/* Sum of y times fixed random numbers: every element of the gradient of y is another one. */
static eye_val loss_of(struct trial *t, eye_val y) {
    const struct eye_value *v = eye_value_at(&t->g, y);
    return eye_sum(&t->g, eye_mul(&t->g, y, constant(t, v->rank, v->dims, -1, 1)), 0.5f);
}

static void engine_outputs(struct trial *t, const struct eye_engine *e, const struct eye_bind *b, struct eye_io *out) {
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_err err;
    struct eye_plan_opts o = {.max_t = T, .max_picked = PICKED, .max_ctx = P};
    ok(eye_plan_new(&plan, e, &t->g, &o, &err), &err);
    ok(eye_exec_new(&x, plan, &err), &err);
    uint64_t before = eye_alloc_count();
    ok(eye_exec_run(x, NULL, b, t->in, t->n_in, out, t->g.n_outputs, NULL, NULL, &err), &err);
    assert_int_equal(eye_alloc_count(), before);
    eye_exec_free(x);
    eye_plan_free(plan);
}

/* tol: of the loss and of each gradient, relative to its largest element (at least 1). */
static void trial_run(struct trial *t, eye_val loss, const struct eye_bind *b, double tol, const char *what) {
    eye_val grad[MAX_IO];
    struct eye_err err;
    struct eye_io out[MAX_IO];
    struct eye_ref_io in[MAX_IO], want[MAX_IO];
    eye_output(&t->g, loss);
    ok(eye_graph_finish(&t->g, &err), &err);
    ok(eye_graph_gradient(&t->g, loss, t->wrt, t->n_wrt, grad, &err), &err);
    int64_t n[MAX_IO];
    for (size_t i = 0; i < t->n_in; i++) in[i] = (struct eye_ref_io){t->in[i].v, t->in[i].data};
    for (size_t i = 0; i < t->g.n_outputs; i++) {
        assert_true(eye_value_elems(eye_value_at(&t->g, t->g.output[i]), b, &n[i]));
        want[i] = (struct eye_ref_io){t->g.output[i], floats(n[i], 9, 9)};
    }
    ok(eye_graph_eval_ref(&t->g, b, in, t->n_in, want, t->g.n_outputs, &err), &err);
    const float *first[MAX_IO];
    for (int e = 0; e < N_ENGINES; e++) {
        for (size_t i = 0; i < t->g.n_outputs; i++) out[i] = (struct eye_io){t->g.output[i], floats(n[i], 7, 7)};
        engine_outputs(t, &engines[e], b, out);
        for (size_t i = 0; i < t->g.n_outputs; i++) {
            if (e == 0) assert_close(first[i] = out[i].data, want[i].data, n[i], tol, what);
            else assert_memory_equal(out[i].data, first[i], (size_t)n[i] * sizeof(float));
        }
    }
    eye_graph_clear(&t->g);
}

/* Sums of n terms of size 1 at most in f32. */
static double sum_tol(int64_t n) { return (double)(n + 16) * (double)FLT_EPSILON; }

/* ---- norms, softmax, rope, tables ---- */

static void test_norms(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, C), -2, 3);
    eye_val y = eye_layer_norm(&t.g, x, trainable(&t, DIMS(C), 0.5, 1.5), trainable(&t, DIMS(C), -1, 1), 1e-5f);
    y = eye_rms_norm(&t.g, y, trainable(&t, DIMS(C), 0.5, 1.5), 1e-6f);
    trial_run(&t, loss_of(&t, y), &some, 4 * sum_tol(T + C), "norms");
}

static void test_softmax(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, C), -4, 4);
    trial_run(&t, loss_of(&t, eye_softmax(&t.g, x)), &some, sum_tol(T * C / 16), "softmax");
}

static void test_rope(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, HEADS, D), -1, 1);
    trial_run(&t, loss_of(&t, eye_rope(&t.g, x, 1e4)), &some, sum_tol(C), "rope");
}

static void test_tables(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val ids = indices(&t, DIMS(EYE_DIM_T), 0, 30); /* many rows fall on one */
    eye_val x = eye_embed(&t.g, ids, trainable(&t, DIMS(V, C), -1, 1));
    x = eye_add(&t.g, x, eye_positions(&t.g, trainable(&t, DIMS(P, C), -1, 1)));
    trial_run(&t, loss_of(&t, x), &some, sum_tol(T), "tables");
}

static void test_picked(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, C), -1, 1), picked = indices(&t, DIMS(EYE_DIM_PICKED), -1, T - 1);
    eye_val z = eye_linear(&t.g, eye_embed(&t.g, picked, x), trainable(&t, DIMS(V, C), -1, 1), EYE_NONE);
    trial_run(&t, loss_of(&t, z), &some, 4 * sum_tol(V + T), "picked");
}

enum { LOSS, ROWS, DX, N_WANTED };
/* A head's loss of rows [0, T) of x, those of `picked` alone or all of them where the others have no target. */
static void head_loss(bool all, const float *x, const int32_t *picked, const int32_t *target, float *out[N_WANTED]) {
    struct trial t;
    struct eye_err err;
    int32_t *every = eye_arena_alloc(&mem, T * sizeof *every);
    float *one = floats(T, 1, 1), *w = floats(V * C, -1, 1);
    for (int i = 0; i < T; i++) every[i] = -1;
    for (int i = 0; i < PICKED; i++) every[picked[i]] = target[i];
    for (int i = 0; i < V * C; i++) w[i] = sinf((float)i);
    trial_start(&t);
    eye_val v = t.wrt[t.n_wrt++] = add_input(&t, EYE_F32, DIMS(EYE_DIM_T, C), (void *)(uintptr_t)x), y = v;
    int64_t rows = all ? EYE_DIM_T : EYE_DIM_PICKED;
    if (!all) y = eye_embed(&t.g, add_input(&t, EYE_I32, DIMS(rows), (void *)(uintptr_t)picked), v);
    eye_val head = trainable(&t, DIMS(V, C), -1, 1), grad[2];
    memcpy((void *)(uintptr_t)eye_value_at(&t.g, head)->data, w, V * C * sizeof *w);
    eye_val z = eye_linear(&t.g, y, head, EYE_NONE);
    eye_val goal = add_input(&t, EYE_I32, DIMS(rows), all ? every : (void *)(uintptr_t)target);
    eye_val each = eye_cross_entropy(&t.g, z, goal, add_input(&t, EYE_F32, DIMS(rows), one), 0.1f);
    eye_val loss = eye_sum(&t.g, each, 1);
    eye_output(&t.g, loss);
    eye_output(&t.g, each);
    ok(eye_graph_finish(&t.g, &err), &err);
    ok(eye_graph_gradient(&t.g, loss, t.wrt, t.n_wrt, grad, &err), &err);
    struct eye_io io[] = {{loss, out[LOSS]}, {each, out[ROWS]}, {grad[0], out[DX]}, {grad[1], w}};
    engine_outputs(&t, &engines[0], &some, io);
    eye_graph_clear(&t.g);
}

/* What a head costs rows without a target: nothing but time. Loss and what goes back to the rows are the same bits. */
static void test_head_of_some_rows(void **state) {
    float *out[2][N_WANTED], *x = floats(T * C, -1, 1);
    int32_t picked[PICKED], target[PICKED];
    for (int i = 0; i < PICKED; i++) {
        picked[i] = i * T / PICKED;
        target[i] = i * 11;
    }
    for (int all = 0; all < 2; all++) {
        for (int i = 0; i < N_WANTED; i++) out[all][i] = floats(T * C, 9, 9);
        head_loss(all, x, picked, target, out[all]);
    }
    for (int i = 0; i < PICKED; i++) assert_true(out[0][ROWS][i] == out[1][ROWS][picked[i]]);
    assert_true(out[0][LOSS][0] == out[1][LOSS][0]);
    for (int i = 0; i < T * C; i++) assert_true(out[0][DX][i] == out[1][DX][i]); /* not memory: -0 is 0 */
}

/* ---- attention ---- */

static void attention_case(bool causal, int kv_heads, int d, const struct eye_bind *b) {
    struct trial t;
    trial_start(&t);
    eye_val q = variable(&t, DIMS(EYE_DIM_T, HEADS, d), -2, 2), k = variable(&t, DIMS(EYE_DIM_T, kv_heads, d), -2, 2);
    eye_val v = variable(&t, DIMS(EYE_DIM_T, kv_heads, d), -1, 1);
    eye_val y = eye_attention(&t.g, q, k, v, EYE_NONE, EYE_NONE, 0.3f, causal);
    trial_run(&t, loss_of(&t, y), b, 4 * sum_tol(T + d), "attention");
}

static void test_attention(void **state) {
    const struct eye_bind whole = {.t = T}, part = {.t = 61};
    attention_case(true, KV_HEADS, D, &some);
    attention_case(true, HEADS, 64, &some);
    attention_case(false, KV_HEADS, D, &some);
    attention_case(true, KV_HEADS, D, &whole);
    attention_case(true, 1, 5, &part);
    attention_case(false, KV_HEADS, D, &part);
}

/* Images of 37 rows: they do not see each other. */
static void test_images(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val q = variable(&t, DIMS(3, 37, HEADS, D), -2, 2), k = variable(&t, DIMS(3, 37, KV_HEADS, D), -2, 2);
    eye_val y = eye_attention(&t.g, q, k, variable(&t, DIMS(3, 37, KV_HEADS, D), -1, 1), EYE_NONE, EYE_NONE, 0.3f, false);
    trial_run(&t, loss_of(&t, y), &(struct eye_bind){.t = 1}, 4 * sum_tol(37 + D), "images");
}

/* Gradients of a sequence do not depend on what else is in the call. */
static void test_alone(void **state) {
    enum { N = 30, W = (HEADS + 2 * KV_HEADS) * D };
    const struct eye_segment both[] = {{.row = 0, .n = 40}, {.row = 40, .n = 12},
                                       {.row = 52, .n = 18, .pos = 12, .prefix = 40, .n_prefix = 12}};
    const struct eye_segment one[] = {{.row = 0, .n = 12}, {.row = 12, .n = 18, .pos = 12, .n_prefix = 12}};
    struct trial t;
    float *y[2];
    for (int i = 0; i < 2; i++) {
        struct eye_bind b = {.t = i ? 70 : N, .segment = i ? both : one, .n_segments = i ? 3 : 2};
        eye_val grad[3];
        struct eye_err err;
        eye_rng_seed(&rng, 3);
        trial_start(&t);
        eye_val q = variable(&t, DIMS(EYE_DIM_T, HEADS, D), -2, 2), k = variable(&t, DIMS(EYE_DIM_T, KV_HEADS, D), -2, 2);
        eye_val v = variable(&t, DIMS(EYE_DIM_T, KV_HEADS, D), -1, 1);
        eye_val loss = loss_of(&t, eye_attention(&t.g, q, k, v, EYE_NONE, EYE_NONE, 0.3f, true));
        eye_output(&t.g, loss);
        ok(eye_graph_finish(&t.g, &err), &err);
        ok(eye_graph_gradient(&t.g, loss, t.wrt, t.n_wrt, grad, &err), &err);
        struct eye_io out[4] = {{loss, floats(1, 0, 0)}};
        for (int j = 0; j < 3; j++) out[j + 1] = (struct eye_io){grad[j], floats(T * HEADS * D, 9, 9)};
        for (size_t j = 0; i && j < t.n_in; j++) { /* the same rows, after 40 others */
            int64_t width = eye_dim(&t.g, t.in[j].v, 1) * (eye_value_at(&t.g, t.in[j].v)->rank == 3 ? D : 1);
            float *x = t.in[j].data;
            memmove(x + 40 * width, x, (size_t)(N * width) * sizeof *x);
        }
        engine_outputs(&t, &engines[i], &b, out);
        y[i] = floats(N * W, 0, 0);
        for (int64_t j = 0, at = 0; j < 3; at += N * (j++ ? KV_HEADS : HEADS) * D) {
            int64_t width = (j ? KV_HEADS : HEADS) * D;
            memcpy(y[i] + at, (float *)out[j + 1].data + (i ? 40 : 0) * width, (size_t)(N * width) * sizeof(float));
        }
        eye_graph_clear(&t.g);
    }
    assert_memory_equal(y[0], y[1], N * W * sizeof(float));
}

/* ---- losses ---- */

static void test_cross_entropy(void **state) {
    for (int smooth = 0; smooth < 2; smooth++) {
        struct trial t;
        trial_start(&t);
        eye_val z = variable(&t, DIMS(EYE_DIM_T, V), -6, 6), target = indices(&t, DIMS(EYE_DIM_T), -40, V - 1);
        eye_val y = eye_cross_entropy(&t.g, z, target, constant(&t, DIMS(EYE_DIM_T), 0, 1), smooth ? 0.1f : 0);
        trial_run(&t, loss_of(&t, y), &some, sum_tol(T + V / 4), "cross entropy");
    }
}

static void test_kl(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val a = variable(&t, DIMS(EYE_DIM_T, V), -4, 4), b = constant(&t, DIMS(EYE_DIM_T, V), -4, 4);
    eye_val y = eye_kl_rows(&t.g, a, b, constant(&t, DIMS(EYE_DIM_T), 0, 1), 2);
    trial_run(&t, loss_of(&t, y), &some, 4 * sum_tol(T + V / 4), "kl_rows");
    trial_start(&t);
    a = variable(&t, DIMS(EYE_DIM_T, V), -4, 4);
    eye_val ids = indices(&t, DIMS(EYE_DIM_T, K), -1, 4), logp = constant(&t, DIMS(EYE_DIM_T, K), -9, -3);
    int32_t *id = t.in[t.n_in - 2].data; /* distinct: one of five each, some absent */
    for (int i = 0; i < T * K; i++) id[i] = id[i] < 0 ? -1 : id[i] * K + i % K + i / K % 700;
    y = eye_kl_topk(&t.g, a, ids, logp, constant(&t, DIMS(EYE_DIM_T), 0, 1), 2);
    trial_run(&t, loss_of(&t, y), &some, 4 * sum_tol(T + V / 4), "kl_topk");
}

static void test_features(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val a = variable(&t, DIMS(EYE_DIM_T, C), -1, 1), b = constant(&t, DIMS(EYE_DIM_T, C), -1, 1);
    eye_val y = eye_add(&t.g, eye_mse_rows(&t.g, a, b), eye_cosine_rows(&t.g, a, b));
    trial_run(&t, loss_of(&t, y), &some, sum_tol(T + C), "features");
}

/* ---- moving, dropping, scaling ---- */

static void test_moves(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, 2 * C), -1, 1);
    eye_val a = eye_slice(&t.g, x, 1, 3, C), b = eye_slice(&t.g, x, 1, C - 5, C);
    eye_val y = eye_concat(&t.g, eye_scale(&t.g, a, 3), b, 1);
    y = eye_transpose(&t.g, eye_reshape(&t.g, y, 3, (int64_t[]){EYE_DIM_T, HEADS, 2 * C / HEADS}), (int32_t[]){1, 0, 2});
    trial_run(&t, loss_of(&t, y), &some, sum_tol(T), "moves");
}

static void test_dropout(void **state) {
    struct trial t;
    trial_start(&t);
    eye_val x = variable(&t, DIMS(EYE_DIM_T, 2 * C), 0.5, 1), seed = indices(&t, DIMS(2), 0, INT32_MAX);
    eye_val y = eye_dropout(&t.g, eye_dropout(&t.g, x, seed, 0.25f, 7), seed, 0.5f, 8);
    trial_run(&t, loss_of(&t, y), &some, sum_tol(T), "dropout");
}

/* Indices from outside that fit no table. */
static void test_errors(void **state) {
    for (int i = 0; i < 3; i++) {
        struct trial t;
        struct eye_plan *plan;
        struct eye_exec *x;
        struct eye_err err;
        trial_start(&t);
        eye_val z = constant(&t, DIMS(EYE_DIM_T, V), -1, 1), y;
        if (i == 0) y = eye_cross_entropy(&t.g, z, indices(&t, DIMS(EYE_DIM_T), V, V), constant(&t, DIMS(EYE_DIM_T), 0, 1), 0);
        else if (i == 1)
            y = eye_kl_topk(&t.g, z, indices(&t, DIMS(EYE_DIM_T, K), V, V), constant(&t, DIMS(EYE_DIM_T, K), -9, -3),
                            constant(&t, DIMS(EYE_DIM_T), 0, 1), 1);
        else y = eye_embed(&t.g, indices(&t, DIMS(EYE_DIM_T), V, V), trainable(&t, DIMS(V, C), -1, 1));
        eye_output(&t.g, y);
        ok(eye_graph_finish(&t.g, &err), &err);
        ok(eye_plan_new(&plan, &engines[0], &t.g, &(struct eye_plan_opts){.max_t = T}, &err), &err);
        ok(eye_exec_new(&x, plan, &err), &err);
        struct eye_io out = {y, floats(T * V, 0, 0)};
        assert_int_equal(eye_exec_run(x, NULL, &some, t.in, t.n_in, &out, 1, NULL, NULL, &err), EYE_E_ARG);
        eye_exec_free(x);
        eye_plan_free(plan);
        eye_graph_clear(&t.g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),         cmocka_unit_test(test_softmax), cmocka_unit_test(test_rope),
        cmocka_unit_test(test_tables),        cmocka_unit_test(test_picked), cmocka_unit_test(test_head_of_some_rows),
        cmocka_unit_test(test_attention), cmocka_unit_test(test_images),
        cmocka_unit_test(test_alone),         cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_kl),
        cmocka_unit_test(test_features),      cmocka_unit_test(test_moves), cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup_engines, teardown_engines);
}
