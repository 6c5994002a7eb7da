/* engine: whatever a graph says, a plan must compute. Each op and several whole networks run on 1, 2 and 3 threads: the first
 * is compared with the oracle (double sums), the others with the first bit for bit. Then the equivalences that sessions
 * stand on: prefill = steps, many rows = single rows, fused = unfused, measured = real sizes, no allocation in a run. */
#include <float.h>
#include <math.h>
#include <string.h>

#define N_ENGINES 3
#include "graph_help.h"
#include "support/support.h"

static eye_val weight_of(struct eye_graph *g, enum eye_dtype dtype, int rank, const int64_t *dims, double lo, double hi) {
    struct eye_tensor t = {.dtype = dtype, .rank = rank};
    size_t bytes, row_bytes;
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    int64_t n = eye_tensor_elems(&t), row = dims[rank - 1];
    float *x = floats(n, lo, hi);
    assert_true(eye_tensor_bytes(&t, &bytes) && eye_dtype_row_bytes(dtype, (uint64_t)row, &row_bytes));
    char *data = eye_arena_alloc(&mem, bytes + 1);
    for (size_t i = 0; dtype == EYE_Q6_K && i < bytes; i++) /* no writer: any bytes, but for a small scale at the block's end */
        data[i] = i % 210 >= 208 ? (char)(i % 210 == 209 ? 0x0c : 0) : (char)(n * (int64_t)i * 37 % 251);
    for (int64_t r = 0; r < n / row && dtype != EYE_Q6_K; r++) eye_row_from_f32(dtype, x + r * row, data + (size_t)r * row_bytes, (size_t)row);
    t.data = data;
    return eye_weight(g, "w", &t);
}
static eye_val vec(struct eye_graph *g, int64_t n, double lo, double hi) { return weight(g, 1, &n, lo, hi); }
static eye_val mat(struct eye_graph *g, int64_t n, int64_t k) {
    double r = 2 / sqrt((double)k); /* results stay of the inputs' size */
    return weight(g, 2, (int64_t[]){n, k}, -r, r);
}
static eye_val linear(struct eye_graph *g, eye_val x, int64_t n, bool bias) {
    return eye_linear(g, x, mat(g, n, eye_dim(g, x, -1)), bias ? vec(g, n, -1, 1) : EYE_NONE);
}
static eye_val conv(struct eye_graph *g, eye_val x, int64_t o, int k, int stride, int groups, bool bias) {
    int64_t cg = eye_dim(g, x, -1) / groups;
    double r = 2 / sqrt((double)(cg * k * k));
    return eye_conv2d(g, x, weight(g, 4, (int64_t[]){o, cg, k, k}, -r, r), bias ? vec(g, o, -1, 1) : EYE_NONE,
                      eye_conv_same(k, stride, groups));
}
static eye_val input(struct eye_graph *g, int rank, const int64_t *dims) { return eye_input(g, "x", EYE_F32, rank, dims); }
#define INPUT(g, ...) input(g, (int)EYE_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__})
static void start(struct eye_graph *g) { eye_graph_init(g, NULL); }
static void finish(struct eye_graph *g, eye_val out) {
    struct eye_err err = {0};
    eye_output(g, out);
    ok(eye_graph_finish(g, &err), &err);
}

static int64_t elems(const struct eye_graph *g, eye_val v, int64_t t, int64_t ctx) {
    struct eye_bind bind = {.t = t, .ctx = ctx};
    int64_t n;
    assert_true(eye_value_elems(eye_value_at(g, v), &bind, &n));
    return n;
}

/* ---- running one graph everywhere ---- */

#define MAX_IO 16
struct data { /* inputs and results of one run */
    struct eye_io in[MAX_IO], out[MAX_IO];
    size_t n_in, n_out;
};
enum { VOCAB = 131 };

static struct data make_data(const struct eye_graph *g, int64_t t) {
    struct data d = {.n_in = g->n_inputs, .n_out = g->n_outputs};
    assert_true(d.n_in < MAX_IO && d.n_out < MAX_IO);
    for (size_t i = 0; i < d.n_in; i++) {
        int64_t n = elems(g, g->input[i], t, 0);
        d.in[i].v = g->input[i];
        d.in[i].data = floats(n, -1, 1);
        if (eye_value_at(g, g->input[i])->dtype == EYE_I32)
            for (int64_t j = 0; j < n; j++) ((int32_t *)d.in[i].data)[j] = (int32_t)(eye_rng_u64(&rng) % VOCAB);
    }
    for (size_t i = 0; i < d.n_out; i++) d.out[i] = (struct eye_io){g->output[i], floats(elems(g, g->output[i], t, 0), 7, 7)};
    return d;
}

static struct data fresh_outputs(const struct eye_graph *g, const struct data *from, int64_t t) {
    struct data d = *from;
    for (size_t i = 0; i < d.n_out; i++) d.out[i].data = floats(elems(g, d.out[i].v, t, 0), 9, 9);
    return d;
}

struct rig { /* plan, memory and cache of one graph on one engine */
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_kv *kv;
};
static struct rig rig_new(const struct eye_engine *e, const struct eye_graph *g, int64_t max_t, int64_t max_ctx,
                          enum eye_kv_type kv) {
    struct eye_plan_opts o = {.max_t = max_t, .max_ctx = max_ctx, .kv_type = kv}, measure = o;
    struct rig r = {0};
    struct eye_err err = {0};
    struct eye_plan *only;
    struct eye_plan_sizes a, b;
    measure.measure_only = true;
    ok(eye_plan_new(&only, e, g, &measure, &err), &err);
    ok(eye_plan_new(&r.plan, e, g, &o, &err), &err);
    ok(eye_exec_new(&r.x, r.plan, &err), &err);
    ok(eye_kv_new(&r.kv, r.plan, max_ctx ? max_ctx : 1, &err), &err);
    eye_plan_measure(only, &a);
    eye_plan_measure(r.plan, &b);
    assert_memory_equal(&a, &b, sizeof a);
    eye_plan_free(only);
    return r;
}
static void rig_free(struct rig *r) {
    eye_kv_free(r->kv);
    eye_exec_free(r->x);
    eye_plan_free(r->plan);
}
static void rig_run(struct rig *r, const struct data *d, int64_t t, int64_t past) {
    struct eye_err err = {0};
    uint64_t before = eye_alloc_count();
    struct eye_bind bind = {.t = t, .past = past};
    ok(eye_exec_run(r->x, r->kv, &bind, d->in, d->n_in, d->out, d->n_out, NULL, NULL, &err), &err);
    assert_int_equal(eye_alloc_count() - before, 0);
}

static void eval_ref(const struct eye_graph *g, const struct data *d, int64_t t, int64_t past, int64_t ctx, struct data *out) {
    struct eye_ref_io in[MAX_IO], ro[MAX_IO];
    struct eye_bind bind = {.t = t, .ctx = ctx, .past = past};
    struct eye_err err = {0};
    size_t n_in = 0;
    *out = fresh_outputs(g, d, t);
    for (size_t i = 0; i < d->n_in; i++) in[n_in++] = (struct eye_ref_io){d->in[i].v, d->in[i].data};
    for (size_t v = 0; v < g->n_values; v++)
        if (g->value[v].kind == EYE_VAL_STATE)
            in[n_in++] = (struct eye_ref_io){(eye_val)v, floats(elems(g, (eye_val)v, t, ctx), 0, 0)};
    assert_true(n_in <= MAX_IO);
    for (size_t i = 0; i < d->n_out; i++) ro[i] = (struct eye_ref_io){d->out[i].v, out->out[i].data};
    ok(eye_graph_eval_ref(g, &bind, in, n_in, ro, d->n_out, &err), &err);
}

/* tol: relative to the largest result (at least 1). */
static void check(struct eye_graph *g, int64_t t, double tol, const char *what) {
    struct data d = make_data(g, t), ref;
    int64_t ctx = t + 3;
    eval_ref(g, &d, t, 0, ctx, &ref);
    for (int e = 0; e < N_ENGINES; e++) {
        struct rig r = rig_new(&engines[e], g, t + e, ctx, EYE_KV_F32);
        struct data y = fresh_outputs(g, &d, t);
        rig_run(&r, &y, t, 0);
        for (size_t i = 0; i < y.n_out; i++) {
            int64_t n = elems(g, y.out[i].v, t, ctx);
            if (e == 0) {
                assert_close(y.out[i].data, ref.out[i].data, n, tol, what);
                d.out[i].data = y.out[i].data;
            } else if (memcmp(y.out[i].data, d.out[i].data, (size_t)n * sizeof(float)) != 0) {
                fail_msg("%s: %d threads differ from 1", what, e + 1);
            }
        }
        rig_free(&r);
    }
}
static void check_free(struct eye_graph *g, eye_val out, int64_t t, double tol, const char *what) {
    finish(g, out);
    check(g, t, tol, what);
    eye_graph_clear(g);
}

/* A sum of k terms in f32: each addition rounds by half an epsilon of a partial sum, and partial sums of these inputs stay
 * below a few times the largest result; 8 more for what comes before and after. */
static double sum_tol(int64_t k) { return (double)(k + 8) * (double)FLT_EPSILON; }
/* Element-wise kernels promise a few units in the last place. */
#define MAP_TOL (16 * (double)FLT_EPSILON)

/* ---- one op at a time ---- */

static void test_maps(void **state) {
    struct eye_graph g;
    for (int a = EYE_ACT_GELU; a < EYE_N_ACT; a++) {
        start(&g);
        check_free(&g, eye_act(&g, INPUT(&g, EYE_DIM_T, 203), (enum eye_act_kind)a), 37, MAP_TOL,
                   eye_act_name((enum eye_act_kind)a));
    }
    for (int op = 0; op < 3; op++)
        for (int spread = 0; spread < 5; spread++) {
            start(&g);
            eye_val x = INPUT(&g, 3, 5, 5, 80), b;
            if (spread == 0) b = INPUT(&g, 3, 5, 5, 80);
            else if (spread == 1) b = vec(&g, 80, -1, 1);
            else if (spread == 2) b = INPUT(&g, 3, 1, 1, 80);
            else if (spread == 3) b = weight(&g, 4, (int64_t[]){3, 5, 5, 80}, -1, 1);
            else b = x;
            check_free(&g, op == 0 ? eye_add(&g, x, b) : op == 1 ? eye_sub(&g, x, b) : eye_mul(&g, x, b), 1, MAP_TOL, "pair");
        }
    start(&g);
    eye_val x = INPUT(&g, 2, 7, 9, 24), gamma = vec(&g, 24, 0.5, 1.5), var = vec(&g, 24, 0.2, 2);
    check_free(&g, eye_batch_norm(&g, x, gamma, vec(&g, 24, -1, 1), vec(&g, 24, -1, 1), var, 1e-5f), 1, 2 * MAP_TOL,
               "batch_norm");
    start(&g);
    x = linear(&g, INPUT(&g, EYE_DIM_T, 24), 80, true);
    eye_val up = linear(&g, x, 80, true), gate = eye_act(&g, linear(&g, x, 80, false), EYE_ACT_SILU);
    finish(&g, eye_mul(&g, gate, up));
    struct eye_err err = {0};
    ok(eye_graph_fuse(&g, false, &err), &err);
    assert_int_equal(g.node[g.n_nodes - 1].op, EYE_OP_swiglu);
    check(&g, 11, sum_tol(200), "swiglu");
    eye_graph_clear(&g);
}

static void test_rows(void **state) {
    struct eye_graph g;
    for (int64_t c = 12; c <= 203; c += c == 12 ? 68 : 123) {
        start(&g);
        eye_val x = INPUT(&g, EYE_DIM_T, c);
        check_free(&g, eye_layer_norm(&g, x, vec(&g, c, 0, 2), vec(&g, c, -1, 1), 1e-5f), 45, sum_tol(c), "layer_norm");
        start(&g);
        x = INPUT(&g, EYE_DIM_T, c);
        check_free(&g, eye_rms_norm(&g, x, vec(&g, c, 0, 2), 1e-6f), 45, sum_tol(c), "rms_norm");
        start(&g);
        check_free(&g, eye_softmax(&g, INPUT(&g, 3, EYE_DIM_T, c)), 15, sum_tol(c), "softmax");
    }
    start(&g);
    check_free(&g, eye_mean_hw(&g, INPUT(&g, 2, 5, 7, 203)), 1, sum_tol(1), "mean_hw");
    /* Angles are pos * theta^.. in double, their sines and cosines rounded to f32 once. */
    start(&g);
    check_free(&g, eye_rope(&g, INPUT(&g, EYE_DIM_T, 5, 16), 1e4), 70, MAP_TOL, "rope");
    start(&g);
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, 24);
    check_free(&g, eye_add(&g, x, eye_positions(&g, weight_of(&g, EYE_F16, 2, (int64_t[]){70, 24}, -1, 1))), 33, 0, "positions");
    start(&g);
    eye_val ids = eye_input(&g, "ids", EYE_I32, 1, (int64_t[]){EYE_DIM_T});
    check_free(&g, eye_embed(&g, ids, weight_of(&g, EYE_Q8_0, 2, (int64_t[]){VOCAB, 80}, -1, 1)), 33, 0, "embed");
}

static void test_moves(void **state) {
    static const int32_t perm[][4] = {{0, 2, 1, 3}, {0, 3, 1, 2}, {3, 2, 1, 0}, {0, 1, 2, 3}};
    struct eye_graph g;
    for (size_t i = 0; i < EYE_COUNT(perm); i++) {
        start(&g);
        check_free(&g, eye_transpose(&g, INPUT(&g, 3, EYE_DIM_T, 5, 12), perm[i]), 31, 0, "transpose");
    }
    for (int axis = 0; axis < 3; axis++) {
        int64_t a[3] = {12, 5, 24}, b[3] = {12, 5, 24};
        start(&g);
        b[axis] = 7;
        eye_val x = input(&g, 3, a), y = axis == 1 ? weight(&g, 3, b, -1, 1) : input(&g, 3, b);
        check_free(&g, eye_concat(&g, x, y, axis), 1, 0, "concat");
        start(&g);
        check_free(&g, eye_slice(&g, input(&g, 3, a), axis, 2, 3), 1, 0, "slice");
    }
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, 24);
    x = eye_slice(&g, eye_reshape(&g, x, 3, (int64_t[]){EYE_DIM_T, 3, 8}), 1, 1, 1);
    check_free(&g, eye_act(&g, eye_reshape(&g, x, 2, (int64_t[]){EYE_DIM_T, 8}), EYE_ACT_RELU), 9, 0, "views");
}

static void test_conv(void **state) {
    struct eye_graph g;
    struct { int64_t h, w, c, o; int k, stride, groups; } c[] = {
        {5, 5, 12, 24, 1, 1, 1},     {17, 13, 3, 12, 3, 2, 1},    {5, 5, 24, 80, 3, 1, 1},  {9, 7, 12, 12, 7, 1, 12},
        {5, 5, 203, 203, 3, 1, 203}, {16, 16, 24, 48, 7, 2, 24}, {5, 5, 12, 24, 3, 1, 12}, {8, 8, 24, 12, 3, 1, 2},
        {8, 8, 12, 36, 5, 2, 12},    {6, 6, 80, 24, 1, 2, 1},     {70, 60, 3, 12, 3, 1, 1}};
    for (size_t i = 0; i < EYE_COUNT(c); i++) {
        start(&g);
        eye_val x = conv(&g, INPUT(&g, 2, c[i].h, c[i].w, c[i].c), c[i].o, c[i].k, c[i].stride, c[i].groups, i % 2 == 0);
        if (i % 3 != 0) x = eye_act(&g, x, EYE_ACT_GELU);
        finish(&g, x);
        struct eye_err err = {0};
        ok(eye_graph_fuse(&g, false, &err), &err);
        check(&g, 1, sum_tol(c[i].c / c[i].groups * c[i].k * c[i].k), "conv2d");
        eye_graph_clear(&g);
    }
    start(&g); /* patches without overlap; padding that differs by side, with a kernel wider than the image */
    eye_val x = INPUT(&g, 1, 12, 8, 3);
    check_free(&g, eye_conv2d(&g, x, weight(&g, 4, (int64_t[]){24, 3, 4, 4}, -.3, .3), EYE_NONE,
                              (struct eye_conv){4, 0, 0, 0, 0, 1}), 1,
               sum_tol(48), "patches");
    start(&g);
    x = INPUT(&g, 1, 2, 2, 3);
    check_free(&g, eye_conv2d(&g, x, weight(&g, 4, (int64_t[]){5, 3, 5, 5}, -.3, .3), EYE_NONE,
                              (struct eye_conv){1, 1, 3, 4, 2, 1}), 1,
               sum_tol(75), "uneven padding");
}

static eye_val attention(struct eye_graph *g, int64_t n, int64_t t, int64_t heads, int64_t kv_heads, int64_t d, bool causal) {
    eye_val q = n ? INPUT(g, n, t, heads, d) : INPUT(g, t, heads, d);
    eye_val k = n ? INPUT(g, n, t, kv_heads, d) : INPUT(g, t, kv_heads, d);
    eye_val v = n ? INPUT(g, n, t, kv_heads, d) : INPUT(g, t, kv_heads, d);
    return eye_attention(g, q, k, v, EYE_NONE, EYE_NONE, (float)(1 / sqrt((double)d)), causal);
}

/* v, q and k side by side in one result: attention reads them there, if nobody else does. */
static eye_val wide_attention(struct eye_graph *g, int64_t n, int64_t t, int64_t heads, int64_t kv_heads, int64_t d,
                              bool causal, bool others) {
    int64_t at[3] = {kv_heads * d, kv_heads * d + heads * d, 0}, wide = 2 * kv_heads * d + heads * d;
    eye_val x = eye_act(g, n ? INPUT(g, n, t, wide) : INPUT(g, t, wide), EYE_ACT_HARDSWISH), part[3], qkv[3];
    for (int i = 0; i < 3; i++) {
        int64_t h = i ? kv_heads : heads;
        part[i] = eye_slice(g, x, n ? 2 : 1, at[i], h * d);
        qkv[i] = eye_reshape(g, part[i], n ? 4 : 3, n ? (int64_t[]){n, t, h, d} : (int64_t[]){t, h, d});
    }
    eye_val y = eye_attention(g, qkv[0], qkv[1], qkv[2], EYE_NONE, EYE_NONE, (float)(1 / sqrt((double)d)), causal);
    return others ? eye_add(g, y, part[0]) : y;
}

static void test_attention_in_place(void **state) {
    struct { int64_t n, t, heads, kv_heads, d; bool causal, others; } c[] = {
        {2, 35, 6, 6, 32, false, false}, {1, 70, 4, 2, 12, false, false}, {1, 49, 5, 1, 16, true, false},
        {0, EYE_DIM_T, 6, 2, 16, true, false}, {0, EYE_DIM_T, 6, 2, 16, true, true}, {1, 1, 3, 3, 8, false, true}};
    struct eye_graph g;
    for (size_t i = 0; i < EYE_COUNT(c); i++)
        for (int half = 0; half < 2; half++) {
            start(&g);
            finish(&g, wide_attention(&g, c[i].n, c[i].t, c[i].heads, c[i].kv_heads, c[i].d, c[i].causal, c[i].others));
            if (half) eye_graph_quantize(&g, EYE_W_BF16);
            double bf16 = ldexp(sqrt((double)c[i].d), -7) + ldexp(1, -8);
            check(&g, c[i].n ? 1 : 37, half ? bf16 : sum_tol(c[i].d + 70), "attention in place");
            eye_graph_clear(&g);
        }
}

static void test_attention(void **state) {
    struct { int64_t n, t, heads, kv_heads, d; bool causal; } c[] = {
        {2, 25, 6, 6, 32, false}, {1, 49, 5, 1, 16, true}, {3, 16, 4, 2, 12, false},
        {0, EYE_DIM_T, 10, 2, 80, true}, {0, EYE_DIM_T, 40, 1, 8, false}};
    struct eye_graph g;
    for (size_t i = 0; i < EYE_COUNT(c); i++)
        for (int64_t t = 1; t <= (c[i].n ? 1 : 37); t += 18) {
            start(&g);
            check_free(&g, attention(&g, c[i].n, c[i].t, c[i].heads, c[i].kv_heads, c[i].d, c[i].causal), t,
                       sum_tol(c[i].d + 49), "attention");
        }
    /* In bf16, each factor within 2^-9: a score by 2^-8 scale sum |q k| <= 2^-8 sqrt(d), a probability by twice that and 2^-9. */
    for (size_t i = 0; i < 3; i++) {
        start(&g);
        finish(&g, attention(&g, c[i].n, c[i].t, c[i].heads, c[i].kv_heads, c[i].d, c[i].causal));
        eye_graph_quantize(&g, EYE_W_BF16);
        check(&g, 1, ldexp(sqrt((double)c[i].d), -7) + ldexp(1, -8), "attention in bf16");
        eye_graph_clear(&g);
    }
}

/* ---- weight types: against double sums over the weights as converted, with the bound each kernel's activations imply ---- */

static double activation_error(enum eye_wtype run_as, const float *x, const float *w, int64_t k) {
    double err = 0;
    for (int64_t b = 0; b < k; b += 32) {
        double amax = 0, sw = 0, swx = 0;
        for (int64_t i = b; i < EYE_MIN(b + 32, k); i++) {
            amax = fmax(amax, fabs((double)x[i]));
            sw += fabs((double)w[i]);
            swx += fabs((double)w[i] * (double)x[i]);
        }
        if (run_as == EYE_W_BF16) err += swx / 256; /* 8 significant bits: half a step is 2^-8 */
        if (run_as >= EYE_W_Q8_0) err += sw * amax / 127 * 1.01; /* half a step, a power of two below amax / 63.5 */
    }
    return err;
}

static void check_matrix(enum eye_dtype stored, enum eye_wtype want, int64_t m, int64_t n, int64_t k, bool row_scale) {
    struct eye_graph g;
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, k), w = weight_of(&g, stored, 2, (int64_t[]){n, k}, -1, 1), b = vec(&g, n, -1, 1);
    if (row_scale) g.value[w].row_scale = floats(n, -2, 2);
    finish(&g, eye_linear(&g, x, w, b));
    eye_graph_quantize(&g, want);
    if (want == EYE_W_EXACT && stored == EYE_Q6_K) assert_int_equal(g.node[0].attr.wtype, want = EYE_W_Q8_0);
    struct data d = make_data(&g, m), y = fresh_outputs(&g, &d, m);
    enum eye_wtype run_as = eye_wtype_for(want, k);
    if (want == EYE_W_EXACT && !row_scale && stored == EYE_Q8_0) run_as = EYE_W_Q8_0;
    if (want == EYE_W_EXACT && !row_scale && stored == EYE_Q4_0) run_as = EYE_W_Q4_0;
    if (want == EYE_W_EXACT && !row_scale && stored == EYE_Q4_K) run_as = EYE_W_Q4_K;
    for (int e = 0; e < N_ENGINES; e += 2) {
        struct rig r = rig_new(&engines[e], &g, m, m, EYE_KV_F32);
        rig_run(&r, e ? &d : &y, m, 0);
        rig_free(&r);
    }
    assert_memory_equal(d.out[0].data, y.out[0].data, (size_t)(m * n) * sizeof(float));
    float *row = floats(k, 0, 0), *bias = floats(n, 0, 0), conv_row[1024 * 4];
    for (int64_t j = 0; j < n; j++) eye_weight_row(&g.value[b], j, bias + j);
    for (int64_t j = 0; j < n; j++) {
        eye_weight_row(&g.value[w], j, row);
        if (want != EYE_W_EXACT) {
            eye_row_from_f32(eye_wtype_dtype(eye_wtype_for(want, k)), row, conv_row, (size_t)k);
            eye_row_to_f32(eye_wtype_dtype(eye_wtype_for(want, k)), conv_row, row, (size_t)k);
        }
        for (int64_t i = 0; i < m; i++) {
            const float *xi = (const float *)d.in[0].data + i * k;
            double sum = (double)bias[j], size = fabs(sum);
            for (int64_t c = 0; c < k; c++) {
                sum += (double)xi[c] * (double)row[c];
                size += fabs((double)xi[c] * (double)row[c]);
            }
            double bound = sum_tol(k) * size + activation_error(run_as, xi, row, k);
            if (!(fabs((double)((const float *)y.out[0].data)[i * n + j] - sum) <= bound))
                fail_msg("%s run as %d: [%ld,%ld] is %g, expected %g +- %g", eye_dtype_info(stored)->name, (int)run_as, (long)i,
                         (long)j, (double)((const float *)y.out[0].data)[i * n + j], sum, bound);
        }
    }
    eye_graph_clear(&g);
}

static void test_weight_types(void **state) {
    static const enum eye_dtype stored[] = {EYE_F32, EYE_F16, EYE_BF16, EYE_Q8_0, EYE_Q4_0};
    for (size_t s = 0; s < EYE_COUNT(stored); s++)
        for (int want = 0; want < EYE_W_I8; want++) {
            check_matrix(stored[s], (enum eye_wtype)want, 37, 203, 96, false);
            check_matrix(stored[s], (enum eye_wtype)want, 1, 80, 203, want % 2 == 0);
        }
    for (int want = 0; want < EYE_W_I8; want++) check_matrix(EYE_Q6_K, (enum eye_wtype)want, 3, 70, 512, false);
    for (int want = 0; want < EYE_W_I8; want++) check_matrix(EYE_Q4_K, (enum eye_wtype)want, 9, 70, 512, want % 2 != 0);
    check_matrix(EYE_F32, EYE_W_Q4_K, 20, 70, 3840, false);
    struct eye_graph g; /* a graph that was not quantized keeps every number */
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, 256);
    check_free(&g, eye_linear(&g, x, weight_of(&g, EYE_Q6_K, 2, (int64_t[]){33, 256}, 0, 0), EYE_NONE), 5, sum_tol(256), "q6_K");
    check_matrix(EYE_F32, EYE_W_F32, 300, 70, 1100, false); /* several passes over k */
    check_matrix(EYE_BF16, EYE_W_BF16, 40, 70, 2500, true);
    check_matrix(EYE_F32, EYE_W_Q8_0, 40, 70, 4000, false);
}

/* Rows do not know how many they are: one at a time, a few, or thousands (blocks of rows) give the same bits. */
static void check_row_invariance(enum eye_wtype want, bool ffn, int64_t m, int64_t k, int64_t f) {
    struct eye_graph g;
    struct eye_err err = {0};
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, k), y = eye_act(&g, linear(&g, x, f, true), EYE_ACT_GELU);
    if (ffn) y = eye_add(&g, linear(&g, y, k, true), x);
    finish(&g, y);
    ok(eye_graph_fuse(&g, false, &err), &err);
    if (ffn) assert_int_equal(g.node[0].op, EYE_OP_ffn);
    eye_graph_quantize(&g, want);
    struct data d = make_data(&g, m), some = d;
    int64_t n = eye_dim(&g, g.output[0], -1);
    for (int e = 0; e < 2; e++) {
        struct rig r = rig_new(&engines[e], &g, m, m, EYE_KV_F32);
        rig_run(&r, &d, m, 0);
        for (int64_t t = 1; t <= 30; t += 29)
            for (int64_t at = 0; at + t <= m; at += m / 5) {
                some.in[0].data = (float *)d.in[0].data + at * k;
                some.out[0].data = floats(t * n, 5, 5);
                rig_run(&r, &some, t, 0);
                assert_memory_equal(some.out[0].data, (float *)d.out[0].data + at * n, (size_t)(t * n) * sizeof(float));
            }
        rig_free(&r);
    }
    eye_graph_clear(&g);
}

static void test_row_invariance(void **state) {
    for (int want = 0; want < EYE_N_WTYPE; want++) {
        check_row_invariance((enum eye_wtype)want, false, 2600, 64, 40);
        check_row_invariance((enum eye_wtype)want, true, 2600, 32, 800); /* hidden rows in two pieces */
        check_row_invariance((enum eye_wtype)want, true, 600, 32, 320);
    }
    check_row_invariance(EYE_W_F32, false, 2100, 600, 24);
}

/* One row of matrices that no cache holds, in all 18 or 32 MiB, has a way of its own: the bits of rows that come in pairs. */
static void test_one_row(void **state) {
    enum { K = 1024, N = 1500, U = 712, TIMES = 8 };
    for (int type = EYE_W_Q8_0; type <= EYE_W_Q4_0; type++) {
        struct eye_graph g;
        struct eye_err err = {0};
        start(&g);
        eye_val x = INPUT(&g, EYE_DIM_T, K), w = weight(&g, 2, (int64_t[]){N, K}, -1, 1), b = vec(&g, N, -1, 1);
        eye_val u = weight(&g, 2, (int64_t[]){U, K}, -1, 1), down = weight(&g, 2, (int64_t[]){K, N}, -1, 1);
        for (int i = 0; i < TIMES; i++) {
            eye_output(&g, eye_linear(&g, x, u, EYE_NONE));
            x = eye_add(&g, eye_linear(&g, eye_act(&g, eye_linear(&g, x, w, b), EYE_ACT_SILU), down, EYE_NONE), x);
            x = eye_rms_norm(&g, x, vec(&g, K, 0.5, 1.5), 1e-6f);
        }
        finish(&g, x);
        ok(eye_graph_fuse(&g, false, &err), &err);
        eye_graph_quantize(&g, (enum eye_wtype)type);
        struct data two = make_data(&g, 2), one = two;
        for (int e = 0; e < N_ENGINES; e++) {
            struct rig r = rig_new(&engines[e], &g, 2, 2, EYE_KV_F32);
            if (e == 0) {
                struct eye_plan_cost cost = eye_plan_cost(r.plan, 1, 0, 0);
                assert_true(cost.bytes >= (double)(16 << 20));
                rig_run(&r, &two, 2, 0);
            }
            for (int row = 0; row < 2; row++) {
                one.in[0].data = (float *)two.in[0].data + row * K;
                for (size_t i = 0; i < two.n_out; i++) one.out[i].data = floats(elems(&g, two.out[i].v, 1, 2), 5, 5);
                rig_run(&r, &one, 1, 0);
                for (size_t i = 0; i < two.n_out; i++) {
                    int64_t n = elems(&g, two.out[i].v, 1, 2);
                    assert_memory_equal(one.out[i].data, (float *)two.out[i].data + row * n, (size_t)n * sizeof(float));
                }
            }
            rig_free(&r);
        }
        eye_graph_clear(&g);
    }
}

/* ---- a decoder: states, positions, everything quantized ---- */

struct decoder { int64_t c, heads, kv_heads, d, f; };
static const struct decoder odd = {80, 5, 1, 16, 203}, even = {96, 6, 2, 16, 224};

static eye_val decoder_layer(struct eye_graph *g, const struct decoder *m, eye_val x, eye_val ks, eye_val vs) {
    eye_val h = eye_rms_norm(g, x, vec(g, m->c, 0.5, 1.5), 1e-6f);
    eye_val q = eye_reshape(g, linear(g, h, m->heads * m->d, true), 3, (int64_t[]){EYE_DIM_T, m->heads, m->d});
    eye_val k = eye_reshape(g, linear(g, h, m->kv_heads * m->d, true), 3, (int64_t[]){EYE_DIM_T, m->kv_heads, m->d});
    eye_val v = eye_reshape(g, linear(g, h, m->kv_heads * m->d, true), 3, (int64_t[]){EYE_DIM_T, m->kv_heads, m->d});
    q = eye_rope(g, q, 1e4);
    k = eye_rope(g, k, 1e4);
    x = eye_add(g, x, linear(g, eye_attention(g, q, k, v, ks, vs, 0.25f, true), m->c, false));
    h = eye_rms_norm(g, x, vec(g, m->c, 0.5, 1.5), 1e-6f);
    h = eye_mul(g, eye_act(g, linear(g, h, m->f, false), EYE_ACT_SILU), linear(g, h, m->f, false));
    return eye_add(g, x, linear(g, h, m->c, false));
}

static void build_decoder(struct eye_graph *g, const struct decoder *m, bool fuse, enum eye_wtype want) {
    struct eye_err err = {0};
    eye_rng_seed(&rng, 5); /* the same weights each time */
    start(g);
    eye_val ids = eye_input(g, "ids", EYE_I32, 1, (int64_t[]){EYE_DIM_T});
    eye_val table = weight(g, 2, (int64_t[]){VOCAB, m->c}, -1, 1);
    eye_val x = eye_add(g, eye_embed(g, ids, table), eye_positions(g, weight(g, 2, (int64_t[]){512, m->c}, -1, 1)));
    for (int i = 0; i < 2; i++) {
        eye_val ks = eye_state(g, "k", m->kv_heads, m->d), vs = eye_state(g, "v", m->kv_heads, m->d);
        x = decoder_layer(g, m, x, ks, vs);
    }
    x = eye_rms_norm(g, x, vec(g, m->c, 0.5, 1.5), 1e-6f);
    eye_output(g, x);
    finish(g, eye_linear(g, x, table, EYE_NONE));
    if (fuse) ok(eye_graph_fuse(g, false, &err), &err);
    eye_graph_quantize(g, want);
}

static void test_decoder(void **state) {
    for (int fuse = 0; fuse < 2; fuse++)
        for (int e = 0; e < 2; e++) {
            struct eye_graph g;
            build_decoder(&g, e ? &even : &odd, fuse, EYE_W_EXACT);
            /* depth 2 x 9 ops, each a sum of up to 224 f32 terms relative to its input's scale */
            check(&g, 41, 18 * sum_tol(224), "decoder");
            eye_graph_clear(&g);
        }
}

/* 29 tokens at once, in two pieces, and one at a time; every cache type and weight type; 1 and 3 threads. */
static void test_prefill_is_steps(void **state) {
    enum { T = 29, CTX = 40 };
    for (int want = 0; want < EYE_N_WTYPE; want++)
        for (int kv = 0; kv <= EYE_KV_I8; kv++) {
            struct eye_graph g;
            build_decoder(&g, want % 2 ? &even : &odd, true, (enum eye_wtype)want);
            struct data d = make_data(&g, T), step = d;
            int64_t n0 = eye_dim(&g, g.output[0], -1), n1 = eye_dim(&g, g.output[1], -1);
            struct rig a = rig_new(&engines[0], &g, T, CTX, (enum eye_kv_type)kv);
            struct rig b = rig_new(&engines[2], &g, T, CTX, (enum eye_kv_type)kv);
            rig_run(&a, &d, T, 0);
            for (int64_t t = 0, n = 17; t < T; t += n, n = 1) {
                step.in[0].data = (int32_t *)d.in[0].data + t;
                step.out[0].data = floats(n * n0, 5, 5);
                step.out[1].data = floats(n * n1, 5, 5);
                rig_run(&b, &step, n, t);
                assert_memory_equal(step.out[0].data, (float *)d.out[0].data + t * n0, (size_t)(n * n0) * sizeof(float));
                assert_memory_equal(step.out[1].data, (float *)d.out[1].data + t * n1, (size_t)(n * n1) * sizeof(float));
            }
            rig_free(&a);
            rig_free(&b);
            eye_graph_clear(&g);
        }
}

/* Rounded keys move a score by ds <= scale sum|q| dk, so a probability by a factor e^(2 ds); rounded values add dv. */
static void test_kv_types(void **state) {
    enum { T = 35, H = 10, HKV = 2, D = 16 };
    static const double half_step[] = {[EYE_KV_F16] = 0x1p-12, [EYE_KV_F32] = 0, [EYE_KV_I8] = 1.0 / 254};
    struct eye_graph g;
    start(&g);
    eye_val q = INPUT(&g, EYE_DIM_T, H, D), k = INPUT(&g, EYE_DIM_T, HKV, D), v = INPUT(&g, EYE_DIM_T, HKV, D);
    eye_val ks = eye_state(&g, "k", HKV, D), vs = eye_state(&g, "v", HKV, D);
    finish(&g, eye_attention(&g, q, k, v, ks, vs, 0.25f, true));
    struct data d = make_data(&g, T), ref;
    eval_ref(&g, &d, T, 0, T, &ref);
    for (int kv = 0; kv <= EYE_KV_I8; kv++) {
        struct rig r = rig_new(&engines[1], &g, T, T, (enum eye_kv_type)kv);
        rig_run(&r, &d, T, 0);
        double ds = 0.25 * D * half_step[kv], bound = exp(2 * ds) - 1 + half_step[kv] + sum_tol(D + T);
        assert_close(d.out[0].data, ref.out[0].data, T * H * D, bound, "KV type");
        struct eye_plan_sizes s;
        eye_plan_measure(r.plan, &s);
        assert_int_equal(s.state_per_position, 2 * HKV * (kv == EYE_KV_F32 ? D * 4 : kv == EYE_KV_F16 ? D * 2 : D + 4));
        rig_free(&r);
    }
    eye_graph_clear(&g);
}

/* ---- a vision tower in miniature: all of FastViTHD's parts, folded and fused against as built ---- */

static eye_val bn(struct eye_graph *g, eye_val x) {
    int64_t c = eye_dim(g, x, -1);
    eye_val gamma = vec(g, c, 0.5, 1.5), beta = vec(g, c, -1, 1), mean = vec(g, c, -1, 1);
    return eye_batch_norm(g, x, gamma, beta, mean, vec(g, c, 0.5, 2), 1e-5f);
}
static eye_val gelu(struct eye_graph *g, eye_val x) { return eye_act(g, x, EYE_ACT_GELU); }

static eye_val conv_ffn(struct eye_graph *g, eye_val x) {
    int64_t c = eye_dim(g, x, -1);
    eye_val h = bn(g, conv(g, x, c, 7, 1, (int)c, false));
    h = conv(g, gelu(g, conv(g, h, 4 * c, 1, 1, 1, true)), c, 1, 1, 1, true);
    return eye_add(g, x, eye_mul(g, h, vec(g, c, 0.1, 0.5)));
}
static eye_val downsample(struct eye_graph *g, eye_val x) {
    int64_t c = eye_dim(g, x, -1);
    x = gelu(g, conv(g, x, 2 * c, 7, 2, (int)c, true));
    return gelu(g, conv(g, x, 2 * c, 1, 1, 1, true));
}
static eye_val attention_block(struct eye_graph *g, eye_val x) {
    int64_t n = eye_dim(g, x, 0), h = eye_dim(g, x, 1), w = eye_dim(g, x, 2), c = eye_dim(g, x, -1), t = h * w;
    eye_val y = eye_layer_norm(g, x, vec(g, c, 0.5, 1.5), vec(g, c, -1, 1), 1e-5f), part[3];
    y = eye_reshape(g, linear(g, y, 3 * c, false), 4, (int64_t[]){n, t, 3, c});
    for (int i = 0; i < 3; i++) part[i] = eye_reshape(g, eye_slice(g, y, 2, i, 1), 4, (int64_t[]){n, t, c / 12, 12});
    y = eye_attention(g, part[0], part[1], part[2], EYE_NONE, EYE_NONE, 0.29f, false);
    y = eye_reshape(g, linear(g, y, c, true), 4, (int64_t[]){n, h, w, c});
    return conv_ffn(g, eye_add(g, x, eye_mul(g, y, vec(g, c, 0.1, 0.5))));
}

static void build_tower(struct eye_graph *g, bool passes, int64_t n, int64_t side, int64_t c) {
    struct eye_err err = {0};
    eye_rng_seed(&rng, 9);
    start(g);
    eye_val x = gelu(g, conv(g, INPUT(g, n, side, side, 3), c, 3, 2, 1, true));
    x = gelu(g, conv(g, x, c, 3, 2, (int)c, true));
    x = gelu(g, conv(g, x, c, 1, 1, 1, true));
    x = conv_ffn(g, conv(g, x, c, 3, 1, (int)c, true));
    x = eye_tap(g, attention_block(g, conv(g, downsample(g, x), 2 * c, 7, 1, (int)(2 * c), true)), "stage");
    x = conv(g, x, 4 * c, 3, 1, (int)(2 * c), true);
    eye_val se = eye_act(g, linear(g, eye_mean_hw(g, x), c, true), EYE_ACT_RELU);
    x = gelu(g, eye_mul(g, x, eye_act(g, linear(g, se, 4 * c, true), EYE_ACT_SIGMOID)));
    int64_t t = eye_dim(g, x, 1) * eye_dim(g, x, 2);
    x = eye_reshape(g, x, 3, (int64_t[]){n, t, 4 * c});
    finish(g, linear(g, gelu(g, linear(g, x, 80, true)), 80, true));
    if (!passes) return;
    ok(eye_graph_fold(g, &err), &err);
    ok(eye_graph_fuse(g, false, &err), &err);
}

static void test_tower(void **state) {
    struct eye_graph plain, fused;
    /* about 25 ops deep, sums of up to 384 terms; folding rounds each weight once more */
    double tol = 25 * sum_tol(384);
    build_tower(&plain, false, 2, 40, 12);
    check(&plain, 1, tol, "tower");
    build_tower(&fused, true, 2, 40, 12);
    assert_true(fused.n_nodes < plain.n_nodes * 2 / 3);
    check(&fused, 1, tol, "fused tower");
    struct data d = make_data(&plain, 1), y = d, ref;
    eval_ref(&plain, &d, 1, 0, 1, &ref);
    y.in[0].v = fused.input[0];
    y.out[0].v = fused.output[0];
    struct rig r = rig_new(&engines[1], &fused, 1, 1, EYE_KV_F32);
    rig_run(&r, &y, 1, 0);
    assert_close(y.out[0].data, ref.out[0].data, elems(&plain, plain.output[0], 1, 1), tol, "fused against plain");
    rig_free(&r);
    eye_graph_clear(&plain);
    eye_graph_clear(&fused);
    build_tower(&fused, true, 1, 256, 12); /* 4096 rows in the first stage: feed-forward by blocks of rows */
    check(&fused, 1, tol, "larger tower");
    eye_graph_clear(&fused);
}

/* ---- linears of one input: up to three of them are one step ---- */

static void build_siblings(struct eye_graph *g) {
    static const int64_t width[4] = {96, 160, 7, 33};
    eye_val part[4], y = EYE_NONE;
    start(g);
    eye_val x = INPUT(g, EYE_DIM_T, 64);
    for (int i = 0; i < 4; i++) part[i] = linear(g, x, width[i], i % 2 == 0);
    for (int i = 0; i < 4; i++) {
        eye_val z = linear(g, part[i], 24, false);
        y = i ? eye_add(g, y, z) : z;
    }
    finish(g, y);
}

static void count_value(void *ctx, eye_val v, void *data, size_t n) {
    (void)data;
    (void)n;
    ((int *)ctx)[v]++;
}

static void test_siblings(void **state) {
    static const int64_t rows[] = {1, 5, 130, 700, 3100}; /* shared left sides, more than a chunk of them, blocks of rows */
    struct eye_graph g;
    struct eye_err err = {0};
    build_siblings(&g);
    for (size_t i = 0; i < EYE_COUNT(rows); i++) check(&g, rows[i], 2 * sum_tol(160), "siblings");
    struct data d = make_data(&g, 5);
    struct rig r = rig_new(&engines[1], &g, 5, 5, EYE_KV_F32);
    int seen[64] = {0};
    assert_true(g.n_values <= EYE_COUNT(seen));
    eye_exec_observe(r.x, count_value, seen);
    ok(eye_exec_run(r.x, NULL, &(struct eye_bind){.t = 5}, d.in, 1, d.out, 1, NULL, NULL, &err), &err);
    assert_int_equal(eye_exec_times(r.x, NULL, 0), 9); /* 3 + 1, 4, 3 sums */
    for (size_t v = 0; v < g.n_values; v++) assert_int_equal(seen[v], g.value[v].kind == EYE_VAL_NODE);
    rig_free(&r);
    eye_graph_clear(&g);
}

/* Blocks like MobileNetV3's: their steps go in chains, but for who observes each result. */
static eye_val inverted(struct eye_graph *g, eye_val x, int64_t inner, int64_t out, int k, int stride, bool gated) {
    eye_val y = eye_act(g, linear(g, x, inner, true), EYE_ACT_HARDSWISH);
    y = eye_act(g, conv(g, y, inner, k, stride, (int)inner, true), EYE_ACT_HARDSWISH);
    if (gated) {
        eye_val gate = eye_act(g, linear(g, eye_mean_hw(g, y), 16, true), EYE_ACT_RELU);
        y = eye_mul(g, y, eye_act(g, linear(g, gate, inner, true), EYE_ACT_HARDSIGMOID));
    }
    y = linear(g, y, out, true);
    return stride == 1 && eye_dim(g, x, -1) == out ? eye_add(g, x, y) : y;
}
static void count_results(void *ctx, eye_val v, void *data, size_t n) { ++*(int *)ctx; }

/* Who observes sees each node's result once, and changes no bit of the output. */
static void check_observed(const struct eye_engine *e, const struct eye_graph *g) {
    struct data d = make_data(g, 1), y = fresh_outputs(g, &d, 1);
    struct rig r = rig_new(e, g, 1, 1, EYE_KV_F32);
    int n_seen = 0;
    rig_run(&r, &d, 1, 0);
    eye_exec_observe(r.x, count_results, &n_seen);
    rig_run(&r, &y, 1, 0);
    assert_int_equal(n_seen, g->n_nodes);
    assert_memory_equal(y.out[0].data, d.out[0].data, (size_t)elems(g, g->output[0], 1, 1) * sizeof(float));
    rig_free(&r);
}

static void check_chains(int64_t n_images) {
    struct eye_graph g;
    struct eye_err err = {0};
    start(&g);
    eye_val x = inverted(&g, INPUT(&g, n_images, 27, 29, 24), 72, 24, 5, 1, true);
    x = inverted(&g, inverted(&g, inverted(&g, x, 56, 24, 3, 1, false), 72, 40, 3, 2, false), 120, 40, 5, 1, true);
    finish(&g, eye_mean_hw(&g, linear(&g, x, 203, true)));
    ok(eye_graph_fuse(&g, false, &err), &err);
    double tol = 20 * sum_tol(120);
    check(&g, 1, tol, "chains");
    check_observed(&engines[1], &g);
    eye_graph_clear(&g);
}

/* One image alone: expansions go to their convolutions a few lines at a time. */
static void test_chains(void **state) {
    check_chains(1);
    check_chains(2);
}

/* Where CPUs have it, a 7x7 convolution in bf16 leaves its result packed for the feed-forward step behind it, but for who observes:
 * the same bits. A worst case of the sums' roundings: two factors of 2^-9 in each product of numbers below 2 / sqrt(k). */
static void test_packed_maps(void **state) {
    static const int64_t images[] = {1, 2};
    const double tol = 2 * ldexp(7 + sqrt(32) + sqrt(128), -7);
    for (size_t i = 0; i < EYE_COUNT(images); i++) {
        struct eye_graph g;
        struct eye_err err = {0};
        start(&g);
        eye_val x = INPUT(&g, images[i], 35, 33, 32); /* lines that are no whole panels, an odd number of them */
        for (int b = 0; b < 2; b++) {
            x = conv(&g, x, 32, 3, 1, 32, true);
            eye_val y = linear(&g, conv(&g, x, 32, 7, 1, 32, true), 128, true);
            x = eye_add(&g, x, linear(&g, eye_act(&g, y, EYE_ACT_GELU), 32, true));
        }
        finish(&g, x);
        ok(eye_graph_fuse(&g, false, &err), &err);
        eye_graph_quantize(&g, EYE_W_BF16);
        check(&g, 1, tol, "packed maps");
        for (int e = 0; e < N_ENGINES; e++) check_observed(&engines[e], &g);
        eye_graph_clear(&g);
    }
}

/* A map that others read before is written over by its last reader, but not while neighbours' rows of it are read, nor by a node
 * that reads it twice. */
static void test_last_reader(void **state) {
    struct eye_graph g;
    start(&g);
    eye_val x = linear(&g, INPUT(&g, 2, 27, 29, 24), 40, true);
    eye_val y = eye_mul(&g, x, conv(&g, x, 40, 5, 1, 40, true));
    y = eye_add(&g, y, eye_act(&g, y, EYE_ACT_RELU));
    check_free(&g, eye_add(&g, y, linear(&g, y, 40, true)), 1, 4 * sum_tol(40), "last reader");
    start(&g);
    y = linear(&g, INPUT(&g, EYE_DIM_T, 40), 40, true);
    check_free(&g, eye_add(&g, y, y), 37, sum_tol(40), "read twice");
}

/* ---- outputs, errors ---- */

static void test_outputs(void **state) {
    struct eye_graph g;
    start(&g);
    eye_val x = INPUT(&g, EYE_DIM_T, 24), a = eye_act(&g, x, EYE_ACT_RELU);
    eye_val b = eye_reshape(&g, a, 2, (int64_t[]){24, EYE_DIM_T});
    eye_val c = eye_act(&g, eye_add(&g, a, x), EYE_ACT_SIGMOID), w = weight(&g, 1, (int64_t[]){24}, -1, 1);
    eye_output(&g, x); /* passed through */
    eye_output(&g, a);
    eye_output(&g, b); /* a second name of a */
    eye_output(&g, w);
    finish(&g, c);
    check(&g, 5, MAP_TOL, "outputs");
    /* One output alone: nothing else is run or written. */
    struct data d = make_data(&g, 5);
    struct rig r = rig_new(&engines[0], &g, 5, 5, EYE_KV_F32);
    struct eye_step_time times[8];
    struct eye_err err = {0};
    eye_exec_timing(r.x, true);
    ok(eye_exec_run(r.x, NULL, &(struct eye_bind){.t = 5}, d.in, 1, &d.out[1], 1, NULL, NULL, &err), &err);
    assert_int_equal(eye_exec_times(r.x, times, 8), 3);
    assert_true(times[0].ns > 0 && times[1].ns == 0 && times[2].ns == 0);
    for (int i = 0; i < 5 * 24; i++) {
        assert_true(((float *)d.out[1].data)[i] == fmaxf(0, ((float *)d.in[0].data)[i]));
        assert_true(((float *)d.out[4].data)[i] == 7);
    }
    rig_free(&r);
    eye_graph_clear(&g);
}

static bool yes(void *ctx) { return ++*(int *)ctx > 2; }

static void test_errors(void **state) {
    struct eye_graph g;
    build_decoder(&g, &odd, true, EYE_W_EXACT);
    struct data d = make_data(&g, 8);
    struct rig r = rig_new(&engines[0], &g, 8, 10, EYE_KV_F16), other = rig_new(&engines[0], &g, 8, 10, EYE_KV_F16);
    struct eye_err err = {0};
#define RUN(kv, n, first, n_in, cancel, ctx) \
    eye_exec_run(r.x, kv, &(struct eye_bind){.t = n, .past = first}, d.in, n_in, d.out, d.n_out, cancel, ctx, &err)
    assert_int_equal(RUN(r.kv, 9, 0, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(r.kv, 0, 0, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(r.kv, 8, 3, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(r.kv, 8, -1, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(NULL, 8, 0, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(other.kv, 8, 0, 1, NULL, NULL), EYE_E_ARG);
    assert_int_equal(RUN(r.kv, 8, 0, 0, NULL, NULL), EYE_E_ARG);
    int calls = 0;
    assert_int_equal(RUN(r.kv, 8, 0, 1, yes, &calls), EYE_E_CANCELLED);
    assert_int_equal(calls, 3);
    ((int32_t *)d.in[0].data)[7] = VOCAB;
    assert_int_equal(RUN(r.kv, 8, 0, 1, NULL, NULL), EYE_E_ARG);
    ((int32_t *)d.in[0].data)[7] = -2; /* -1 is a row of zeros */
    assert_int_equal(RUN(r.kv, 8, 0, 1, NULL, NULL), EYE_E_ARG);
    ((int32_t *)d.in[0].data)[7] = 0;
    assert_int_equal(RUN(r.kv, 8, 2, 1, NULL, NULL), EYE_OK);
    struct eye_kv *kv;
    assert_int_equal(eye_kv_new(&kv, r.plan, 0, &err), EYE_E_ARG);
    ok(eye_kv_new(&kv, r.plan, 64, &err), &err); /* more slots than one sequence may see */
    assert_int_equal(RUN(kv, 8, 3, 1, NULL, NULL), EYE_E_ARG);
    eye_kv_free(kv);
    rig_free(&r);
    rig_free(&other);
    struct eye_plan *plan;
    struct eye_exec *x;
    ok(eye_plan_new(&plan, &engines[0], &g, &(struct eye_plan_opts){.measure_only = true}, &err), &err);
    assert_int_equal(eye_exec_new(&x, plan, &err), EYE_E_ARG);
    eye_plan_free(plan);
    assert_int_equal(eye_plan_new(&plan, &engines[0], &g, &(struct eye_plan_opts){.max_t = -1}, &err), EYE_E_ARG);
    eye_graph_clear(&g);
    start(&g); /* a table of positions is stored, not computed */
    finish(&g, eye_positions(&g, eye_act(&g, INPUT(&g, 8, 8), EYE_ACT_RELU)));
    assert_int_equal(eye_plan_new(&plan, &engines[0], &g, &(struct eye_plan_opts){0}, &err), EYE_E_UNSUPPORTED);
    eye_graph_clear(&g);
}

/* Tied weights are packed once. */
static void test_shared_weights(void **state) {
    struct eye_graph g;
    struct eye_plan_sizes one, two;
    for (int n = 1; n <= 2; n++) {
        struct eye_plan *plan;
        struct eye_err err = {0};
        start(&g);
        eye_rng_seed(&rng, 3);
        eye_val x = INPUT(&g, 8, 80), w = mat(&g, 80, 80), y = eye_linear(&g, x, w, EYE_NONE);
        struct eye_tensor again = {.data = g.value[w].data, .dtype = EYE_F32, .rank = 2, .dims = {80, 80}};
        if (n == 2) y = eye_linear(&g, y, eye_weight(&g, "tied", &again), EYE_NONE);
        finish(&g, y);
        ok(eye_plan_new(&plan, &engines[0], &g, &(struct eye_plan_opts){.measure_only = true}, &err), &err);
        eye_plan_measure(plan, n == 1 ? &one : &two);
        eye_plan_free(plan);
        eye_graph_clear(&g);
    }
    assert_int_equal(one.weights, two.weights);
    assert_true(one.weights >= 80 * 80 * 4);
}

static enum eye_status make_all(const struct eye_graph *g, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_engine e;
    struct eye_plan *plan = NULL;
    struct eye_exec *x = NULL;
    struct eye_kv *kv = NULL;
    enum eye_status st = eye_engine_init(&e, 2, eye_cpu_flags(), alloc, err);
    if (st != EYE_OK) return st;
    st = eye_plan_new(&plan, &e, g, &(struct eye_plan_opts){.max_t = 4, .max_ctx = 20}, err);
    if (st == EYE_OK) st = eye_exec_new(&x, plan, err);
    if (st == EYE_OK) st = eye_kv_new(&kv, plan, 20, err);
    eye_kv_free(kv);
    eye_exec_free(x);
    eye_plan_free(plan);
    eye_engine_clear(&e);
    return st;
}

/* The 1st, 2nd, 3rd ... allocation fails, the engine's or the process': an error with a text, and nothing is left behind. */
/* A matrix stored as [K,N] and the same one as [N,K] are one weight: same bits in every type. */
static void test_transposed(void **state) {
    enum { N = 37, K = 64, T = 9 };
    static const enum eye_dtype dtype[] = {EYE_F32, EYE_F16, EYE_BF16};
    for (size_t i = 0; i < EYE_COUNT(dtype); i++)
        for (int want = EYE_W_EXACT; want < EYE_N_WTYPE; want++) {
            struct eye_graph g;
            size_t e = eye_dtype_info(dtype[i])->block_bytes;
            start(&g);
            eye_val x = INPUT(&g, EYE_DIM_T, K), w = weight_of(&g, dtype[i], 2, (int64_t[]){N, K}, -1, 1);
            const char *rows = eye_value_at(&g, w)->data;
            char *columns = eye_arena_alloc(&mem, N * K * e);
            for (size_t n = 0; n < N; n++)
                for (size_t k = 0; k < K; k++) memcpy(columns + (k * N + n) * e, rows + (n * K + k) * e, e);
            struct eye_tensor t = {.data = columns, .dtype = dtype[i], .rank = 2, .dims = {K, N}};
            eye_output(&g, eye_linear(&g, x, w, EYE_NONE));
            finish(&g, eye_linear(&g, x, eye_weight_transposed(&g, "w", &t), EYE_NONE));
            eye_graph_quantize(&g, (enum eye_wtype)want);
            struct data d = make_data(&g, T);
            struct rig r = rig_new(&engines[1], &g, T, 0, EYE_KV_F32);
            rig_run(&r, &d, T, 0);
            assert_memory_equal(d.out[0].data, d.out[1].data, T * N * sizeof(float));
            rig_free(&r);
            eye_graph_clear(&g);
        }
}

static void test_no_memory(void **state) {
    struct eye_graph g;
    build_decoder(&g, &odd, true, EYE_W_Q8_0);
    for (int process = 0; process < 2; process++) {
        enum eye_status st = EYE_E_NOMEM;
        for (long n = 0; st != EYE_OK; n++) {
            struct eye_faulty f;
            struct eye_err err = {0};
            eye_faulty_init(&f, process ? -1 : n);
            if (process) eye_faulty_process(n);
            st = make_all(&g, &f.alloc, &err);
            eye_faulty_process(-1);
            assert_int_equal(f.n_live, 0);
            if (st != EYE_OK) assert_true(st == EYE_E_NOMEM && err.text[0]);
            assert_true(n < 10000 && (st != EYE_OK || process || n > 3));
        }
    }
    eye_graph_clear(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_maps, each),         cmocka_unit_test_setup(test_rows, each),
        cmocka_unit_test_setup(test_moves, each),        cmocka_unit_test_setup(test_conv, each),
        cmocka_unit_test_setup(test_attention, each),    cmocka_unit_test_setup(test_attention_in_place, each),
        cmocka_unit_test_setup(test_weight_types, each),
        cmocka_unit_test_setup(test_row_invariance, each), cmocka_unit_test_setup(test_decoder, each),
        cmocka_unit_test_setup(test_prefill_is_steps, each), cmocka_unit_test_setup(test_kv_types, each),
        cmocka_unit_test_setup(test_tower, each),        cmocka_unit_test_setup(test_chains, each),
        cmocka_unit_test_setup(test_last_reader, each),  cmocka_unit_test_setup(test_packed_maps, each),
        cmocka_unit_test_setup(test_outputs, each),
        cmocka_unit_test_setup(test_errors, each),       cmocka_unit_test_setup(test_shared_weights, each),
        cmocka_unit_test_setup(test_siblings, each),     cmocka_unit_test_setup(test_one_row, each),
        cmocka_unit_test_setup(test_transposed, each),   cmocka_unit_test_setup(test_no_memory, each),
    };
    return cmocka_run_group_tests(tests, setup_engines, teardown_engines);
}
