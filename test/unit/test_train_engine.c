/* engine, training: lowerings of what changes between runs. Each graph is planned once and run twice, its trainable weights and
 * inputs filled anew in between: results must be the oracle's for the numbers of that run, with f32 products and with bf16
 * ones, and 1, 2 and 3 threads must agree bit for bit. No run may allocate. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define N_ENGINES 3
#include "engine_help.h"
#include "graph/graph_impl.h"

/* ---- graphs under test ---- */

#define MAX_LEAVES 8
struct net {
    struct eye_graph g;
    eye_val leaf[MAX_LEAVES]; /* inputs and trainable weights: what is filled before a run */
    float *data[MAX_LEAVES], lo[MAX_LEAVES];
    size_t n_leaves;
};

static void start(struct net *n) {
    memset(n, 0, sizeof *n);
    eye_graph_init(&n->g, NULL);
}

static int64_t elems(const struct net *n, eye_val v, int64_t t) {
    struct eye_bind bind = {.t = t};
    int64_t count;
    assert_true(eye_value_elems(eye_value_at(&n->g, v), &bind, &count));
    return count;
}

#define MAX_T 40
static eye_val leaf(struct net *n, eye_val v, float lo) { /* numbers in [lo, 1] */
    assert_true(n->n_leaves < MAX_LEAVES);
    n->leaf[n->n_leaves] = v;
    n->lo[n->n_leaves] = lo;
    n->data[n->n_leaves] = eye_arena_alloc(&mem, (size_t)elems(n, v, MAX_T) * sizeof(float) + 4);
    assert_non_null(n->data[n->n_leaves]);
    if (eye_value_at(&n->g, v)->kind == EYE_VAL_WEIGHT) eye_graph_unfreeze(&n->g, v, n->data[n->n_leaves]);
    n->n_leaves++;
    return v;
}

#define DIMS(...) (int)EYE_COUNT(((int64_t[]){__VA_ARGS__})), (int64_t[]){__VA_ARGS__}
static eye_val input(struct net *n, int rank, const int64_t *dims) {
    return leaf(n, eye_input(&n->g, "x", EYE_F32, rank, dims), -1);
}
static eye_val weight_from(struct net *n, float lo, int rank, const int64_t *dims) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    return leaf(n, eye_weight(&n->g, "w", &t), lo);
}
static eye_val weight(struct net *n, int rank, const int64_t *dims) { return weight_from(n, -1, rank, dims); }
static eye_val node(struct net *n, enum eye_op op, const struct eye_attr *a, eye_val x, eye_val y) {
    return eye_node_add(&n->g, op, (eye_val[]){x, y}, y == EYE_NONE ? 1 : 2, a);
}

/* ---- running them ---- */

enum bound {
    PER_TERM, /* a sum of products, as long as one term's share of the largest possible sum may be off */
    PER_TOP   /* relative to the largest result */
};
struct expect {
    enum bound bound;
    double f32, bf16; /* what of that */
};

/* A sum of k products: each addition rounds by an epsilon of the sum of magnitudes at most, the last product and sum once more;
 * bf16 rounds each factor by 2^-8 of it, so a product by 2^-7 and a little. */
static struct expect terms(int64_t k) {
    double f32 = (double)(k + 4) * (double)FLT_EPSILON;
    return (struct expect){PER_TERM, f32, f32 + 0x1.02p-7};
}
static struct expect of_top(double eps) {
    return (struct expect){PER_TOP, eps * (double)FLT_EPSILON, eps * (double)FLT_EPSILON};
}

static void fill(struct net *n) {
    for (size_t i = 0; i < n->n_leaves; i++)
        for (int64_t j = 0; j < elems(n, n->leaf[i], MAX_T); j++)
            n->data[i][j] = n->lo[i] + (1 - n->lo[i]) * (float)eye_rng_unit(&rng);
}

static void make_positive(struct net *n) {
    for (size_t i = 0; i < n->n_leaves; i++)
        for (int64_t j = 0; j < elems(n, n->leaf[i], MAX_T); j++) n->data[i][j] = fabsf(n->data[i][j]);
}

static size_t inputs_of(const struct net *n, struct eye_io *in) {
    size_t n_in = 0;
    for (size_t i = 0; i < n->n_leaves; i++)
        if (eye_value_at(&n->g, n->leaf[i])->kind == EYE_VAL_INPUT) in[n_in++] = (struct eye_io){n->leaf[i], n->data[i]};
    return n_in;
}

static float *oracle(struct net *n, int64_t t) {
    struct eye_ref_io in[MAX_LEAVES], out = {n->g.output[0], NULL};
    struct eye_io io[MAX_LEAVES];
    struct eye_bind bind = {.t = t, .ctx = t};
    struct eye_err err = {0};
    size_t n_in = inputs_of(n, io);
    for (size_t i = 0; i < n_in; i++) in[i] = (struct eye_ref_io){io[i].v, io[i].data};
    out.data = eye_arena_alloc(&mem, (size_t)elems(n, out.v, t) * sizeof(float) + 4);
    ok(eye_graph_eval_ref(&n->g, &bind, in, n_in, &out, 1, &err), &err);
    return out.data;
}

struct rig {
    struct eye_plan *plan;
    struct eye_exec *x;
};
static struct rig rig_new(const struct eye_engine *e, const struct eye_graph *g, bool bf16) {
    struct eye_plan_opts o = {.max_t = MAX_T, .train_bf16 = bf16};
    struct rig r;
    struct eye_err err = {0};
    ok(eye_plan_new(&r.plan, e, g, &o, &err), &err);
    ok(eye_exec_new(&r.x, r.plan, &err), &err);
    return r;
}

static void run(struct rig *r, const struct net *n, int64_t t, float *y) {
    struct eye_io in[MAX_LEAVES], out = {n->g.output[0], y};
    struct eye_bind bind = {.t = t};
    struct eye_err err = {0};
    size_t n_in = inputs_of(n, in);
    uint64_t before = eye_alloc_count();
    ok(eye_exec_run(r->x, NULL, &bind, in, n_in, &out, 1, NULL, NULL, &err), &err);
    assert_int_equal(eye_alloc_count() - before, 0);
}

static void compare(const char *what, const float *y, const float *ref, const float *sums, int64_t count, enum bound bound,
                    double tol) {
    double top = 1;
    for (int64_t i = 0; i < count; i++) { /* not fmax: gcc 12 for aarch64 crashes on that loop */
        double size = fabs((double)ref[i]);
        top = size > top ? size : top;
    }
    for (int64_t i = 0; i < count; i++) {
        double off = fabs((double)y[i] - (double)ref[i]), allowed = tol * (bound == PER_TERM ? (double)sums[i] : top);
        if (!(off <= allowed + (double)FLT_MIN))
            fail_msg("%s: element %ld is %g, expected %g: off by %g, allowed %g", what, (long)i, (double)y[i], (double)ref[i],
                     off, allowed);
    }
}

/* One filling: the oracle, then every rig. */
static void round_of(struct net *n, struct rig rigs[2][N_ENGINES], int64_t t, const struct expect *e, const char *what) {
    int64_t count = elems(n, n->g.output[0], t);
    size_t bytes = (size_t)count * sizeof(float);
    fill(n);
    float *ref = oracle(n, t), *sums = NULL, *first = eye_arena_alloc(&mem, bytes + 4), *y = eye_arena_alloc(&mem, bytes + 4);
    float *kept[MAX_LEAVES];
    for (size_t i = 0; i < n->n_leaves; i++) {
        size_t b = (size_t)elems(n, n->leaf[i], MAX_T) * sizeof(float);
        memcpy(kept[i] = eye_arena_alloc(&mem, b + 4), n->data[i], b);
    }
    if (e->bound == PER_TERM) {
        make_positive(n);
        sums = oracle(n, t);
        for (size_t i = 0; i < n->n_leaves; i++)
            memcpy(n->data[i], kept[i], (size_t)elems(n, n->leaf[i], MAX_T) * sizeof(float));
    }
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int i = 0; i < N_ENGINES; i++) {
            memset(y, 0x7f, bytes);
            run(&rigs[bf16][i], n, t, y);
            if (i == 0) compare(what, memcpy(first, y, bytes), ref, sums, count, e->bound, bf16 ? e->bf16 : e->f32);
            else if (memcmp(first, y, bytes) != 0) fail_msg("%s: %d threads differ from 1", what, i + 1);
        }
}

static void check(struct net *n, eye_val out, const struct expect e, const char *what) {
    struct eye_err err = {0};
    struct rig rigs[2][N_ENGINES];
    eye_output(&n->g, out);
    ok(eye_graph_finish(&n->g, &err), &err);
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int i = 0; i < N_ENGINES; i++) rigs[bf16][i] = rig_new(&engines[i], &n->g, bf16);
    round_of(n, rigs, MAX_T, &e, what);
    round_of(n, rigs, MAX_T - 7, &e, what);
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int i = 0; i < N_ENGINES; i++) {
            eye_exec_free(rigs[bf16][i].x);
            eye_plan_free(rigs[bf16][i].plan);
        }
    eye_graph_clear(&n->g);
}

/* ---- matrices ---- */

static void test_linear(void **state) {
    static const int64_t size[][2] = {{1, 1}, {5, 203}, {96, 40}, {515, 31}, {33, 1100}, {70, 70}}; /* N, K */
    struct net n;
    for (size_t i = 0; i < EYE_COUNT(size); i++) {
        int64_t N = size[i][0], K = size[i][1];
        start(&n);
        eye_val x = input(&n, DIMS(EYE_DIM_T, K)), w = weight(&n, DIMS(N, K));
        eye_val b = i % 2 ? weight(&n, DIMS(N)) : EYE_NONE;
        check(&n, eye_linear(&n.g, x, w, b), terms(K + 1), "linear");
    }
    start(&n); /* many rows; only the bias changes; a residual and an activation */
    eye_val x = input(&n, DIMS(3, 700, 20)), w = weight(&n, DIMS(36, 20)), b = weight(&n, DIMS(36));
    check(&n, eye_linear(&n.g, x, w, b), terms(21), "linear of many rows");
    start(&n);
    static const float fixed[2 * 3] = {1, 2, 3, 4, 5, 6};
    struct eye_tensor t = {.dtype = EYE_F32, .rank = 2, .dims = {2, 3}, .data = fixed};
    x = input(&n, DIMS(EYE_DIM_T, 3));
    check(&n, eye_linear(&n.g, x, eye_weight(&n.g, "fixed", &t), weight(&n, DIMS(2))), terms(4), "trainable bias");
}

static void test_matmul(void **state) {
    static const int64_t size[][3] = {{1, 1, 1}, {17, 33, 5}, {300, 40, 70}, {40, 515, 31}, {15, 64, 1100}}; /* rows, a, b */
    struct net n;
    for (size_t i = 0; i < EYE_COUNT(size); i++) {
        int64_t R = size[i][0], A = size[i][1], B = size[i][2];
        start(&n);
        check(&n, node(&n, EYE_OP_matmul, NULL, input(&n, DIMS(R, A)), weight(&n, DIMS(A, B))), terms(A), "a b");
        start(&n);
        struct eye_attr ta = {.ta = true};
        check(&n, node(&n, EYE_OP_matmul, &ta, input(&n, DIMS(R, A)), input(&n, DIMS(R, B))), terms(R), "a^T b");
    }
    struct eye_attr ta = {.ta = true};
    start(&n);
    eye_val a = input(&n, DIMS(EYE_DIM_T, 40)), b = input(&n, DIMS(EYE_DIM_T, 31));
    check(&n, node(&n, EYE_OP_matmul, &ta, a, b), terms(MAX_T), "a^T b of T rows");
    start(&n); /* so many rows that they are summed in parts */
    a = input(&n, DIMS(3, 50, 41, 37)), b = input(&n, DIMS(3, 50, 41, 19));
    check(&n, node(&n, EYE_OP_matmul, &ta, a, b), terms(6150), "a^T b in parts");
    start(&n); /* the same with the sides exchanged, which pads less */
    a = input(&n, DIMS(4200, 128)), b = input(&n, DIMS(4200, 129));
    check(&n, node(&n, EYE_OP_matmul, &ta, a, b), terms(4200), "a^T b in parts, turned");
}

/* ---- maps and sums ---- */

static void test_maps(void **state) {
    struct net n;
    for (int a = EYE_ACT_GELU; a < EYE_N_ACT; a++) {
        struct eye_attr attr = {.act = (enum eye_act_kind)a};
        start(&n);
        eye_val d = input(&n, DIMS(EYE_DIM_T, 203)), x = input(&n, DIMS(EYE_DIM_T, 203));
        check(&n, node(&n, EYE_OP_act_grad, &attr, d, x), of_top(16), eye_act_name((enum eye_act_kind)a));
    }
    struct eye_attr scalar = {.scale = 0.37f, .rank = 2, .dims = {EYE_DIM_T, 19}};
    start(&n);
    check(&n, node(&n, EYE_OP_spread, &scalar, input(&n, DIMS(1)), EYE_NONE), of_top(1), "spread of a number");
    struct eye_attr image = {.scale = 0.37f, .rank = 4, .dims = {3, 5, 7, 19}};
    start(&n);
    check(&n, node(&n, EYE_OP_spread, &image, input(&n, DIMS(3, 1, 1, 19)), EYE_NONE), of_top(1), "spread over images");
}

static void test_sums(void **state) {
    static const int64_t size[][2] = {{1, 1}, {40, 203}, {333, 16}, {9000, 24}, {4500, 7}}; /* rows, channels */
    struct net n;
    for (size_t i = 0; i < EYE_COUNT(size); i++) {
        start(&n); /* f32 within blocks of 64 rows */
        check(&n, node(&n, EYE_OP_sum_rows, NULL, input(&n, DIMS(size[i][0], size[i][1])), EYE_NONE), terms(64), "sum_rows");
    }
    start(&n);
    check(&n, node(&n, EYE_OP_sum_rows, NULL, input(&n, DIMS(EYE_DIM_T, 33)), EYE_NONE), terms(64), "sum of T rows");
}

/* Numbers away from zero, so that results are no small differences of large ones: a mean of 0.5 and a deviation of 0.3. */
static void test_batch_norm(void **state) {
    static const int64_t size[][4] = {{1, 2, 1, 5}, {3, 5, 7, 24}, {4, 31, 33, 16}, {2, 9, 11, 203}};
    struct eye_attr eps = {.eps = 1e-3f};
    struct net n;
    for (size_t i = 0; i < EYE_COUNT(size); i++) {
        int64_t C = size[i][3];
        start(&n);
        eye_val x = input(&n, 4, size[i]);
        check(&n, eye_bn_stats(&n.g, x), of_top(64), "bn_stats");
        start(&n);
        x = input(&n, 4, size[i]);
        eye_val stats = weight_from(&n, 0.1f, DIMS(2, C)), gamma = weight(&n, DIMS(C));
        check(&n, eye_bn_apply(&n.g, x, stats, gamma, weight(&n, DIMS(C)), eps.eps), of_top(16), "bn_apply");
        start(&n);
        eye_val d = input(&n, 4, size[i]);
        x = input(&n, 4, size[i]);
        stats = weight_from(&n, 0.1f, DIMS(2, C));
        check(&n, eye_node_add(&n.g, EYE_OP_bn_sums, (eye_val[]){d, x, stats}, 3, &eps), of_top(64 * 4), "bn_sums");
        start(&n);
        d = input(&n, 4, size[i]);
        stats = weight_from(&n, 0.1f, DIMS(2, C));
        gamma = weight(&n, DIMS(C));
        check(&n, eye_node_add(&n.g, EYE_OP_bn_dx, (eye_val[]){d, stats, gamma}, 3, &eps), of_top(16), "bn_dx, frozen");
        start(&n);
        d = input(&n, 4, size[i]);
        x = input(&n, 4, size[i]);
        stats = weight_from(&n, 0.1f, DIMS(2, C));
        gamma = weight(&n, DIMS(C));
        eye_val sums = weight(&n, DIMS(2, C));
        check(&n, eye_node_add(&n.g, EYE_OP_bn_dx, (eye_val[]){d, stats, gamma, x, sums}, 5, &eps), of_top(32), "bn_dx");
    }
    start(&n);
    eye_val x = input(&n, DIMS(3, 5, 7, 24)), gamma = weight(&n, DIMS(24)), beta = weight(&n, DIMS(24));
    eye_val mean = weight(&n, DIMS(24));
    check(&n, eye_batch_norm(&n.g, x, gamma, beta, mean, weight_from(&n, 0.1f, DIMS(24)), eps.eps), of_top(16), "batch_norm");
}

/* ---- convolutions ---- */

struct conv_case {
    int64_t n, h, w, c, o;
    int k, stride, groups;
};
static const struct conv_case convs[] = {
    {3, 7, 9, 19, 33, 1, 1, 1},  {2, 8, 8, 17, 40, 1, 2, 1}, {3, 9, 11, 3, 16, 3, 2, 1},  {2, 6, 7, 20, 24, 3, 1, 1},
    {2, 61, 59, 3, 24, 3, 2, 1}, {3, 9, 7, 24, 24, 3, 1, 24}, {3, 10, 9, 40, 40, 5, 2, 40}, {2, 9, 12, 17, 17, 5, 1, 17},
    {2, 8, 7, 33, 33, 3, 2, 33}, {2, 7, 7, 12, 24, 3, 1, 12}, {2, 9, 8, 12, 18, 3, 2, 6},  {5, 40, 41, 16, 40, 1, 1, 1},
    {2, 9, 9, 6, 6, 2, 2, 6},
};

static struct eye_conv same(const struct conv_case *c) { return eye_conv_same(c->k, c->stride, c->groups); }
static int64_t out_size(const struct conv_case *c, int64_t n) { return (n + 2 * (c->k / 2) - c->k) / c->stride + 1; }

/* The attributes of a convolution's gradient; dims: what it gives. */
static struct eye_attr back_attr(const struct conv_case *c, const int64_t *dims) {
    struct eye_attr a = {.stride = c->stride, .pad_top = c->k / 2, .pad_left = c->k / 2, .pad_bottom = c->k / 2,
                         .pad_right = c->k / 2, .groups = c->groups, .rank = 4};
    memcpy(a.dims, dims, 4 * sizeof *dims);
    return a;
}

static void test_conv(void **state) {
    struct net n;
    for (size_t i = 0; i < EYE_COUNT(convs); i++) {
        const struct conv_case *c = &convs[i];
        int64_t xs[4] = {c->n, c->h, c->w, c->c}, ws[4] = {c->o, c->c / c->groups, c->k, c->k};
        int64_t ds[4] = {c->n, out_size(c, c->h), out_size(c, c->w), c->o}, taps = (int64_t)c->k * c->k;
        char what[64];
        snprintf(what, sizeof what, "conv %zu", i);
        start(&n);
        eye_val x = input(&n, 4, xs), w = weight(&n, 4, ws), b = i % 2 ? weight(&n, DIMS(c->o)) : EYE_NONE;
        check(&n, eye_conv2d(&n.g, x, w, b, same(c)), terms(taps * c->c / c->groups + 1), what);
        start(&n);
        struct eye_attr a = back_attr(c, xs);
        snprintf(what, sizeof what, "conv %zu, dx", i);
        eye_val d = input(&n, 4, ds);
        check(&n, node(&n, EYE_OP_conv2d_dx, &a, d, weight(&n, 4, ws)), terms(taps * c->o / c->groups), what);
        start(&n);
        a = back_attr(c, ws);
        snprintf(what, sizeof what, "conv %zu, dw", i);
        d = input(&n, 4, ds);
        check(&n, node(&n, EYE_OP_conv2d_dw, &a, d, input(&n, 4, xs)), terms(c->n * ds[1] * ds[2]), what);
    }
}

/* ---- the program ---- */

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_linear, each),
        cmocka_unit_test_setup(test_matmul, each),
        cmocka_unit_test_setup(test_conv, each),
        cmocka_unit_test_setup(test_maps, each),
        cmocka_unit_test_setup(test_sums, each),
        cmocka_unit_test_setup(test_batch_norm, each),
    };
    return cmocka_run_group_tests(tests, setup_engines, teardown_engines);
}
