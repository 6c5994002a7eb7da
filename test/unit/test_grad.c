/* Gradients against central differences of the oracle, which computes in double. One check per row of ops.def that has a
 * gradient: a row without one does not compile. The ops that only gradients use must all have been met at the end.
 *
 * A check builds its op on leaves; the loss is the sum of the result times fixed random numbers. A difference over 2 h errs by
 * h^2 / 6 times the third derivative: with h = 2^-13, below the tolerance of 1e-6 (relative to the leaf's largest gradient, or
 * 1) where that derivative stays under 400; rounding errs by some 1e-16 / h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "base/sys.h"
#include "graph/graph.h"

#define H 0x1p-13f
enum { T = 7, MAX_LEAF = 16, MAX_ELEMS = 2048 };

/* Two sequences on one prefix, the second's rows at other positions. */
static const struct eye_segment segments[] = {{.row = 0, .n = 2}, {.row = 2, .n = 3, .pos = 2, .n_prefix = 2},
                                              {.row = 5, .n = 2, .pos = 1, .prefix = 1, .n_prefix = 1}};

static struct eye_arena mem;
static struct eye_rng rng;
static struct eye_bind bind;
static bool met[EYE_N_OP];

static struct leaf {
    eye_val v;
    void *data;
    int64_t n;
    bool variable;
} leaf[MAX_LEAF];
static int n_leaves;

static void ok(enum eye_status st, const struct eye_err *err) {
    if (st != EYE_OK) fail_msg("%s", err->text);
}

/* ---- leaves: the second graph of a check gets the data of the first ---- */

static bool reuse;

static struct leaf *add_leaf(struct eye_graph *g, enum eye_dtype dtype, int rank, const int64_t *dims, bool variable) {
    assert_true(n_leaves < MAX_LEAF);
    struct leaf *l = &leaf[n_leaves++];
    l->v = eye_input(g, "leaf", dtype, rank, dims);
    l->variable = variable;
    if (reuse) return l;
    assert_true(eye_value_elems(eye_value_at(g, l->v), &bind, &l->n));
    assert_true(l->n <= MAX_ELEMS);
    l->data = eye_arena_alloc(&mem, (size_t)l->n * 4 + 1);
    assert_non_null(l->data);
    return l;
}

static double between(double lo, double hi) { return lo + (hi - lo) * eye_rng_unit(&rng); }

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

static eye_val f32(struct eye_graph *g, bool variable, double lo, double hi, int rank, const int64_t *dims) {
    struct leaf *l = add_leaf(g, EYE_F32, rank, dims, variable);
    for (int64_t i = 0; i < l->n && !reuse; i++) ((float *)l->data)[i] = (float)between(lo, hi);
    return l->v;
}
static eye_val var(struct eye_graph *g, int rank, const int64_t *dims) { return f32(g, true, -1, 1, rank, dims); }
static eye_val positive(struct eye_graph *g, int rank, const int64_t *dims) { return f32(g, true, 0.5, 1.5, rank, dims); }
static eye_val constant(struct eye_graph *g, int rank, const int64_t *dims) { return f32(g, false, 0.2, 1, rank, dims); }

static eye_val i32(struct eye_graph *g, int lo, int hi, int rank, const int64_t *dims) {
    struct leaf *l = add_leaf(g, EYE_I32, rank, dims, false);
    for (int64_t i = 0; i < l->n && !reuse; i++)
        ((int32_t *)l->data)[i] = lo + (int32_t)(eye_rng_u64(&rng) % (uint64_t)(hi - lo));
    return l->v;
}

/* Numbers that keep away from the corners at 0 and +-3. */
static eye_val off_corners(struct eye_graph *g, int rank, const int64_t *dims) {
    struct leaf *l = add_leaf(g, EYE_F32, rank, dims, true);
    float *x = l->data;
    for (int64_t i = 0; i < l->n && !reuse; i++)
        do x[i] = (float)between(-4, 4);
        while (fabsf(x[i]) < 0.01f || fabsf(fabsf(x[i]) - 3) < 0.01f);
    return l->v;
}

/* ---- one check per row: variant 0, 1, ... until EYE_NONE ---- */

typedef eye_val check_fn(struct eye_graph *g, int variant);

static eye_val check_conv2d(struct eye_graph *g, int variant) {
    static const struct { int64_t c, o; int k, stride, groups; bool bias; } form[] = {
        {3, 4, 3, 2, 1, true},  {4, 4, 3, 1, 4, false}, {4, 8, 3, 2, 4, true},
        {4, 6, 1, 1, 2, false}, {3, 5, 1, 1, 1, true},  {4, 4, 5, 2, 4, false}};
    if (variant > (int)EYE_COUNT(form)) return EYE_NONE;
    if (variant == (int)EYE_COUNT(form)) { /* TensorFlow's padding: uneven */
        struct eye_conv c = {2, 0, 0, 1, 1, 1};
        return eye_conv2d(g, var(g, DIMS(2, 6, 4, 2)), var(g, DIMS(3, 2, 3, 3)), EYE_NONE, c);
    }
    eye_val x = var(g, DIMS(2, 5, 6, form[variant].c));
    eye_val w = var(g, DIMS(form[variant].o, form[variant].c / form[variant].groups, form[variant].k, form[variant].k));
    eye_val b = form[variant].bias ? var(g, DIMS(form[variant].o)) : EYE_NONE;
    return eye_conv2d(g, x, w, b, eye_conv_same(form[variant].k, form[variant].stride, form[variant].groups));
}

static eye_val check_linear(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    eye_val x = variant ? var(g, DIMS(2, 1, 1, 5)) : var(g, DIMS(EYE_DIM_T, 5));
    return eye_linear(g, x, var(g, DIMS(4, 5)), variant ? EYE_NONE : var(g, DIMS(4)));
}

/* Statistics are constants. */
static eye_val check_batch_norm(struct eye_graph *g, int variant) {
    if (variant > 0) return EYE_NONE;
    eye_val x = var(g, DIMS(2, 3, 2, 4));
    return eye_batch_norm(g, x, var(g, DIMS(4)), var(g, DIMS(4)), constant(g, DIMS(4)), constant(g, DIMS(4)), 1e-3f);
}

static eye_val check_bn_apply(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    eye_val x = var(g, DIMS(2, 3, 2, 4)), stats = variant ? constant(g, DIMS(2, 4)) : eye_bn_stats(g, x);
    return eye_bn_apply(g, x, stats, var(g, DIMS(4)), var(g, DIMS(4)), 1e-3f);
}

static eye_val check_layer_norm(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    eye_val x = var(g, DIMS(EYE_DIM_T, 6));
    return eye_layer_norm(g, x, var(g, DIMS(6)), variant ? EYE_NONE : var(g, DIMS(6)), 1e-3f);
}

static eye_val check_rms_norm(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_rms_norm(g, var(g, DIMS(EYE_DIM_T, 6)), var(g, DIMS(6)), 1e-3f);
}

static eye_val check_act(struct eye_graph *g, int variant) {
    if (variant + 1 >= EYE_N_ACT) return EYE_NONE;
    return eye_act(g, off_corners(g, DIMS(EYE_DIM_T, 12)), (enum eye_act_kind)(variant + 1));
}

/* b of a's shape, per channel, per image and channel; and one value twice. */
static eye_val zip(struct eye_graph *g, int variant, eye_val (*op)(struct eye_graph *, eye_val, eye_val)) {
    eye_val a, b;
    switch (variant) {
    case 0: a = var(g, DIMS(EYE_DIM_T, 4)), b = var(g, DIMS(EYE_DIM_T, 4)); break;
    case 1: a = var(g, DIMS(EYE_DIM_T, 4)), b = var(g, DIMS(4)); break;
    case 2: a = var(g, DIMS(2, 3, 2, 4)), b = var(g, DIMS(2, 1, 1, 4)); break;
    case 3: a = b = var(g, DIMS(EYE_DIM_T, 4)); break;
    default: return EYE_NONE;
    }
    return op(g, a, b);
}
static eye_val check_add(struct eye_graph *g, int variant) { return zip(g, variant, eye_add); }
static eye_val check_sub(struct eye_graph *g, int variant) { return zip(g, variant, eye_sub); }
static eye_val check_mul(struct eye_graph *g, int variant) { return zip(g, variant, eye_mul); }

static eye_val check_mean_hw(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_mean_hw(g, var(g, DIMS(2, 3, 2, 4)));
}

static eye_val check_softmax(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_softmax(g, var(g, DIMS(EYE_DIM_T, 5)));
}

static eye_val check_embed(struct eye_graph *g, int variant) {
    if (variant == 1) return eye_embed(g, i32(g, -1, T, DIMS(EYE_DIM_PICKED)), var(g, DIMS(EYE_DIM_T, 3))); /* the call's rows */
    return variant > 1 ? EYE_NONE : eye_embed(g, i32(g, 0, 5, DIMS(EYE_DIM_T)), var(g, DIMS(5, 3)));
}

static eye_val check_positions(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_positions(g, var(g, DIMS(9, 3)));
}

static eye_val check_rope(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_rope(g, var(g, DIMS(EYE_DIM_T, 2, 6)), 100);
}

/* As many KV heads as heads, fewer; an image tower's, of two images. */
static eye_val check_attention(struct eye_graph *g, int variant) {
    if (variant > 2) return EYE_NONE;
    int64_t hkv = variant == 1 ? 2 : 4;
    eye_val x[3];
    for (int i = 0; i < 3; i++)
        x[i] = variant == 2 ? var(g, DIMS(2, 3, 4, 3)) : var(g, DIMS(EYE_DIM_T, i ? hkv : 4, 3));
    return eye_attention(g, x[0], x[1], x[2], EYE_NONE, EYE_NONE, 0.8f, variant != 2);
}

static eye_val check_reshape(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_reshape(g, var(g, DIMS(EYE_DIM_T, 6)), DIMS(EYE_DIM_T, 2, 3));
}

static eye_val check_transpose(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_transpose(g, var(g, DIMS(2, 3, 4)), (int32_t[]){2, 0, 1});
}

static eye_val check_concat(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    if (variant) return eye_concat(g, var(g, DIMS(EYE_DIM_T, 3)), var(g, DIMS(EYE_DIM_T, 2)), 1);
    return eye_concat(g, var(g, DIMS(2, 3)), var(g, DIMS(4, 3)), 0);
}

/* Whose gradients are laid side by side: parts that cover x, some of it, or overlap; and the parts of a fused q, k, v. */
static eye_val check_slice(struct eye_graph *g, int variant) {
    static const int64_t begin[3][3] = {{4, 0, 2}, {4, 1, 1}, {1, 3, 2}};
    eye_val x, part[3];
    if (variant == 0) return eye_slice(g, var(g, DIMS(5, 3)), 0, 3, 2);
    if (variant > 4) return EYE_NONE;
    x = var(g, DIMS(EYE_DIM_T, 6));
    if (variant == 4) {
        for (int i = 0; i < 3; i++) part[i] = eye_reshape(g, eye_slice(g, x, 1, 2 * i, 2), DIMS(EYE_DIM_T, 1, 2));
        return eye_attention(g, part[0], part[1], part[2], EYE_NONE, EYE_NONE, 1, true);
    }
    for (int i = 0; i < 3; i++) part[i] = eye_slice(g, x, 1, begin[variant - 1][i], 2);
    return eye_add(g, eye_mul(g, part[0], part[1]), part[2]);
}

static eye_val check_dropout(struct eye_graph *g, int variant) {
    if (variant > 0) return EYE_NONE;
    eye_val x = var(g, DIMS(EYE_DIM_T, 8));
    return eye_dropout(g, x, i32(g, 0, 1 << 30, DIMS(2)), 0.3f, 5);
}

static eye_val check_cross_entropy(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    eye_val z = var(g, DIMS(EYE_DIM_T, 5)), target = i32(g, -1, 5, DIMS(EYE_DIM_T));
    return eye_cross_entropy(g, z, target, constant(g, DIMS(EYE_DIM_T)), variant ? 0.1f : 0);
}

static eye_val check_kl_rows(struct eye_graph *g, int variant) {
    if (variant > 0) return EYE_NONE;
    eye_val a = var(g, DIMS(EYE_DIM_T, 5)), b = constant(g, DIMS(EYE_DIM_T, 5));
    return eye_kl_rows(g, a, b, constant(g, DIMS(EYE_DIM_T)), 2);
}

/* Some of the classes with a rest, or all of them. Ids of a row differ; one is absent. */
static eye_val check_kl_topk(struct eye_graph *g, int variant) {
    if (variant > 1) return EYE_NONE;
    int64_t k = variant ? 5 : 3;
    eye_val a = var(g, DIMS(EYE_DIM_T, 5)), ids = i32(g, 0, 5, DIMS(EYE_DIM_T, k));
    int32_t *id = leaf[n_leaves - 1].data;
    for (int64_t i = 0; i < T * k; i++) id[i] = (int32_t)((i / k + i % k) % 5);
    if (!variant) id[4] = -1;
    eye_val logp = f32(g, false, -2.6, -1.7, DIMS(EYE_DIM_T, k));
    return eye_kl_topk(g, a, ids, logp, constant(g, DIMS(EYE_DIM_T)), 1.5f);
}

static eye_val check_mse_rows(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_mse_rows(g, var(g, DIMS(EYE_DIM_T, 5)), var(g, DIMS(EYE_DIM_T, 5)));
}

static eye_val check_cosine_rows(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_cosine_rows(g, positive(g, DIMS(2, 3, 5)), var(g, DIMS(2, 3, 5)));
}

static eye_val check_sum(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_sum(g, var(g, DIMS(EYE_DIM_T, 2)), 0.5f);
}

static eye_val check_scale(struct eye_graph *g, int variant) {
    return variant > 0 ? EYE_NONE : eye_scale(g, var(g, DIMS(EYE_DIM_T, 2)), -1.5f);
}

/* ---- the comparison ---- */

/* The loss of a check, or EYE_NONE; the leaves of the first building keep their data in the second. */
static eye_val build(struct eye_graph *g, check_fn *fn, int variant, bool again) {
    n_leaves = 0;
    reuse = again;
    eye_graph_init(g, NULL);
    eye_val y = fn(g, variant);
    if (y == EYE_NONE) return y;
    const struct eye_value shape = *eye_value_at(g, y);
    return eye_sum(g, eye_mul(g, y, f32(g, false, -1, 1, shape.rank, shape.dims)), 1);
}

static void eval(const struct eye_graph *g, const struct eye_ref_io *out, size_t n_out) {
    struct eye_err err;
    struct eye_ref_io in[MAX_LEAF];
    for (int i = 0; i < n_leaves; i++) in[i] = (struct eye_ref_io){leaf[i].v, leaf[i].data};
    ok(eye_graph_eval_f64(g, &bind, in, (size_t)n_leaves, out, n_out, &err), &err);
}

static double loss_of(const struct eye_graph *g, eye_val loss) {
    double y;
    eval(g, &(struct eye_ref_io){loss, &y}, 1);
    return y;
}

static void compare(const struct eye_graph *g, eye_val loss, const char *name, int variant, struct leaf *l,
                    const double *grad) {
    double top = 1;
    float *x = l->data;
    for (int64_t i = 0; i < l->n; i++) top = fmax(top, fabs(grad[i]));
    for (int64_t i = 0; i < l->n; i++) {
        volatile float at = x[i], above = at + H, below = at - H;
        x[i] = above;
        double up = loss_of(g, loss);
        x[i] = below;
        double down = loss_of(g, loss), want = (up - down) / ((double)above - (double)below);
        x[i] = at;
        if (!(fabs(grad[i] - want) <= 1e-6 * top))
            fail_msg("%s, variant %d: leaf %d, element %lld: gradient %.9g, difference %.9g", name, variant, (int)(l - leaf),
                     (long long)i, grad[i], want);
    }
}

static bool check(const char *name, enum eye_op op, check_fn *fn, int variant) {
    struct eye_graph g, gg;
    struct eye_err err;
    eye_val wrt[MAX_LEAF], grad[MAX_LEAF];
    struct eye_ref_io out[MAX_LEAF];
    size_t n = 0;
    eye_val loss = build(&g, fn, variant, false);
    if (loss == EYE_NONE) ok(g.status, &g.err);
    if (loss != EYE_NONE) {
        eye_output(&g, loss);
        ok(eye_graph_finish(&g, &err), &err);
        eye_val again = build(&gg, fn, variant, true);
        assert_int_equal(again, loss);
        for (int i = 0; i < n_leaves; i++)
            if (leaf[i].variable) wrt[n++] = leaf[i].v;
        assert_true(n > 0);
        ok(eye_graph_gradient(&gg, again, wrt, n, grad, &err), &err);
        bool has_op = false;
        for (size_t k = 0; k < gg.n_nodes; k++) {
            met[gg.node[k].op] = true;
            has_op = has_op || gg.node[k].op == op;
        }
        assert_true(has_op);
        for (size_t i = 0; i < n; i++) {
            assert_int_not_equal(grad[i], EYE_NONE);
            out[i] = (struct eye_ref_io){grad[i], eye_arena_alloc(&mem, MAX_ELEMS * sizeof(double))};
        }
        eval(&gg, out, n);
        n = 0;
        for (int i = 0; i < n_leaves; i++)
            if (leaf[i].variable) compare(&g, loss, name, variant, &leaf[i], out[n++].data);
        eye_graph_clear(&gg);
    }
    eye_graph_clear(&g);
    return loss != EYE_NONE;
}

static const struct { const char *name; enum eye_op op; check_fn *fn; } row[] = {
#define OP(name, min_in, max_in, flags) {#name, EYE_OP_##name, check_##name},
#define OP_NO_GRAD(name, min_in, max_in, flags)
#include "graph/ops.def"
};

static void every_row(void **state) {
    for (size_t i = 0; i < EYE_COUNT(row); i++) {
        int variant = 0;
        while (check(row[i].name, row[i].op, row[i].fn, variant)) variant++;
        assert_true(variant > 0);
    }
    for (int op = 0; op < EYE_N_OP; op++) {
        const struct eye_op_info *info = eye_op_info((enum eye_op)op);
        if (!(info->flags & EYE_OPF_FUSED) && !met[op]) fail_msg("no gradient above used %s", info->name);
    }
}

/* ---- what is not computed, and what cannot be ---- */

static size_t count_op(const struct eye_graph *g, enum eye_op op) {
    size_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) n += g->node[k].op == op;
    return n;
}

/* Below the lowest trained weight nothing is computed, nor for values that the loss does not need. */
static void prunes(void **state) {
    struct eye_graph g;
    struct eye_err err;
    eye_val grad[2];
    n_leaves = 0;
    reuse = false;
    eye_graph_init(&g, NULL);
    eye_val h = eye_act(&g, eye_linear(&g, var(&g, DIMS(EYE_DIM_T, 5)), var(&g, DIMS(4, 5)), EYE_NONE), EYE_ACT_SILU);
    eye_val w = var(&g, DIMS(3, 4)), other = var(&g, DIMS(3));
    eye_val loss = eye_sum(&g, eye_linear(&g, h, w, EYE_NONE), 1);
    ok(eye_graph_gradient(&g, loss, (eye_val[]){w, other}, 2, grad, &err), &err);
    assert_int_not_equal(grad[0], EYE_NONE);
    assert_int_equal(grad[1], EYE_NONE);
    assert_int_equal(count_op(&g, EYE_OP_matmul), 1);
    assert_int_equal(count_op(&g, EYE_OP_act_grad), 0);
    assert_int_equal(g.n_outputs, 2);
    eye_graph_clear(&g);
}

enum refusal { OF_WEIGHTS, OF_CACHES, OF_FUSED, OF_ROWS, N_REFUSALS };

static enum eye_status refuse(enum refusal what, struct eye_err *err) {
    struct eye_graph g;
    eye_val grad, x, loss = EYE_NONE;
    n_leaves = 0;
    eye_graph_init(&g, NULL);
    x = var(&g, DIMS(EYE_DIM_T, 4));
    if (what == OF_WEIGHTS) {
        eye_val target = i32(&g, 0, 4, DIMS(EYE_DIM_T)), logits = x;
        x = var(&g, DIMS(EYE_DIM_T));
        loss = eye_cross_entropy(&g, logits, target, x, 0);
    } else if (what == OF_CACHES) {
        eye_val q = eye_reshape(&g, x, DIMS(EYE_DIM_T, 2, 2));
        loss = eye_attention(&g, q, q, q, eye_state(&g, "k", 2, 2), eye_state(&g, "v", 2, 2), 1, true);
    } else {
        loss = eye_linear(&g, x, var(&g, DIMS(4, 4)), EYE_NONE);
        g.node[0].attr.act = what == OF_FUSED ? EYE_ACT_RELU : EYE_ACT_NONE;
    }
    if (what != OF_ROWS) loss = eye_sum(&g, loss, 1);
    enum eye_status st = eye_graph_gradient(&g, loss, &x, 1, &grad, err);
    eye_graph_clear(&g);
    return st;
}

/* The gradient of attention is that of its fused q, k, v: nothing is cut, padded and added. */
static void fused_qkv_is_not_copied(void **state) {
    struct eye_graph g;
    struct eye_err err;
    eye_val x, grad;
    n_leaves = 0;
    reuse = false;
    eye_graph_init(&g, NULL);
    eye_val loss = eye_sum(&g, check_slice(&g, 4), 1);
    x = leaf[0].v;
    ok(eye_graph_gradient(&g, loss, &x, 1, &grad, &err), &err);
    assert_int_equal(g.node[eye_value_at(&g, grad)->node].op, EYE_OP_attention_grad);
    assert_int_equal(count_op(&g, EYE_OP_slice), 3); /* the forward's */
    assert_int_equal(count_op(&g, EYE_OP_slice_grad), 0);
    eye_graph_clear(&g);
}

static void refusals(void **state) {
    static const char *const says[N_REFUSALS] = {"input 2 of cross_entropy", "attention over a cache",
                                                 "linear with an activation", "a loss is one number"};
    for (int i = 0; i < N_REFUSALS; i++) {
        struct eye_err err;
        assert_int_equal(refuse((enum refusal)i, &err), i == OF_ROWS ? EYE_E_ARG : EYE_E_UNSUPPORTED);
        if (!strstr(err.text, says[i])) fail_msg("\"%s\" does not say \"%s\"", err.text, says[i]);
    }
}

static int setup(void **state) {
    eye_arena_init(&mem, NULL);
    eye_rng_seed(&rng, 7);
    bind = (struct eye_bind){.t = T, .picked = 4, .segment = segments, .n_segments = EYE_COUNT(segments)};
    return 0;
}
static int teardown(void **state) {
    eye_arena_clear(&mem);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_row), cmocka_unit_test(prunes),
                                       cmocka_unit_test(fused_qkv_is_not_copied), cmocka_unit_test(refusals)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
