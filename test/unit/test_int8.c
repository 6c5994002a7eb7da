/* Static int8: the passes on small graphs (against the oracle, which rounds as they say), ranges, and whole towers: converted,
 * run, compared with their f32 selves, and files whose int8 metadata is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/engine.h"
#include "eyelet/convert.h"
#include "eyelet/eyelet.h"
#include "model/vlm.h"
#include "pack/ranges.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

/* Power of b against that of a - b. */
static double snr_db(const float *a, const float *b, size_t n) {
    double s = 0, e = 0;
    for (size_t i = 0; i < n; i++) {
        s += (double)a[i] * (double)a[i];
        e += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return e > 0 ? 10 * log10(s / e) : INFINITY;
}

/* ---- a small tower ---- */

enum { SIDE = 13, N_PIXELS = SIDE * SIDE * 3, N_OUT = 7 * 7 * 20 };

struct net {
    struct eye_graph g;
    struct eye_rng rng;
};

static eye_val weight(struct net *t, const char *name, int rank, const int64_t *dims) {
    int64_t n = 1, row = 1;
    for (int i = 0; i < rank; i++) n *= dims[i];
    for (int i = 1; i < rank; i++) row *= dims[i];
    float *p = eye_arena_alloc(&t->g.arena, (size_t)n * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)((eye_rng_unit(&t->rng) * 2 - 1) / sqrt((double)row));
    struct eye_tensor w = {.data = p, .dtype = EYE_F32, .rank = rank};
    memcpy(w.dims, dims, (size_t)rank * sizeof *dims);
    return eye_weight(&t->g, name, &w);
}
#define W(name, ...) weight(t, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Dense, expanded, depthwise of either multiplier, projected (of a size that split panels take), added; then a norm and a
 * linear, as transformers have them. */
static void build(struct net *t, enum eye_act_kind act) {
    struct eye_graph *g = &t->g;
    eye_graph_init(g, NULL);
    eye_rng_seed(&t->rng, 5);
    eye_val x = eye_input(g, "pixels", EYE_F32, 4, (int64_t[]){1, SIDE, SIDE, 3});
    x = eye_act(g, eye_conv2d(g, x, W("stem.weight", 40, 3, 3, 3), W("stem.bias", 40), eye_conv_same(3, 2, 1)), act);
    eye_val y = eye_act(g, eye_linear(g, x, W("up.weight", 100, 40), W("up.bias", 100)), act);
    y = eye_act(g, eye_conv2d(g, y, W("dw.weight", 100, 1, 5, 5), W("dw.bias", 100), eye_conv_same(5, 1, 100)), act);
    x = eye_add(g, x, eye_linear(g, y, W("down.weight", 40, 100), W("down.bias", 40)));
    y = eye_act(g, eye_conv2d(g, x, W("twice.weight", 80, 1, 3, 3), W("twice.bias", 80), eye_conv_same(3, 1, 40)), act);
    y = eye_layer_norm(g, y, W("norm.weight", 80), W("norm.bias", 80), 1e-5f);
    eye_output(g, eye_linear(g, y, W("last.weight", 20, 80), EYE_NONE));
    ok(eye_graph_finish(g, &err));
    ok(eye_graph_fold(g, &err));
}

static void eval(const struct eye_graph *g, const float *pixels, eye_val v, float *out) {
    struct eye_ref_io in = {g->input[0], (void *)(uintptr_t)pixels}, o = {v, out};
    struct eye_bind bind = {.t = 1};
    ok(eye_graph_eval_ref(g, &bind, &in, 1, &o, 1, &err));
}

static void run(const struct eye_graph *g, float *pixels, float *out, int n_threads, uint32_t flags) {
    struct eye_engine e;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_plan_opts opts = {.max_t = 1};
    struct eye_bind bind = {.t = 1};
    struct eye_io in = {g->input[0], pixels}, o = {g->output[0], out};
    ok(eye_engine_init(&e, n_threads, flags, NULL, &err));
    ok(eye_plan_new(&plan, &e, g, &opts, &err));
    ok(eye_exec_new(&x, plan, &err));
    ok(eye_exec_run(x, NULL, &bind, &in, 1, &o, 1, NULL, NULL, &err));
    eye_exec_free(x);
    eye_plan_free(plan);
    eye_engine_clear(&e);
}

static void make_pixels(float *p, size_t n) {
    struct eye_rng rng;
    eye_rng_seed(&rng, 9);
    for (size_t i = 0; i < n; i++) p[i] = (float)(eye_rng_unit(&rng) * 2 - 1);
}

/* Ranges of everything a fitting node reads, by the oracle. */
static void set_ranges(struct eye_graph *g, const float *pixels) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        if (!eye_graph_int8_fits(g, &g->node[k])) continue;
        eye_val v = g->node[k].in[0];
        int64_t n, c = eye_dim(g, v, -1);
        struct eye_bind bind = {.t = 1};
        assert_true(eye_value_elems(&g->value[v], &bind, &n));
        float *x = malloc((size_t)n * sizeof *x), *most = calloc((size_t)c, sizeof *most);
        double *sum = calloc((size_t)c, sizeof *sum);
        struct eye_seen *s = calloc(1, sizeof *s);
        s->n_channels = c, s->channel_max = most, s->channel_sum = sum;
        if (g->value[v].kind == EYE_VAL_INPUT) memcpy(x, pixels, (size_t)n * sizeof *x);
        else eval(g, pixels, v, x);
        eye_seen_add(s, x, (size_t)n);
        g->value[v].quant = eye_seen_range(s, EYE_RANGE_MINMAX);
        free(x), free(most), free(sum), free(s);
    }
}

static size_t count(const struct eye_graph *g, enum eye_op op) {
    size_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++) n += g->node[k].op == op;
    return n;
}

/* What linears read has 16 bits. */
static void widen(struct eye_graph *g) {
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        struct eye_quant *q = &g->value[n->in[0]].quant;
        if (n->op != EYE_OP_linear || q->wide) continue;
        int32_t top = eye_quant_widest(eye_dim(g, n->in[0], -1));
        *q = (struct eye_quant){.scale = q->scale * 255 / (float)top, .wide = top};
    }
}

enum bits { BYTES, WIDE };
static void make_int8(struct net *t, enum eye_act_kind act, enum bits bits, float *pixels, float *exact) {
    make_pixels(pixels, N_PIXELS);
    build(t, act);
    eval(&t->g, pixels, t->g.output[0], exact);
    set_ranges(&t->g, pixels);
    if (bits == WIDE) widen(&t->g);
    ok(eye_graph_int8_weights(&t->g, NULL, 0, &err));
    eye_graph_quantize(&t->g, EYE_W_I8);
    ok(eye_graph_fuse(&t->g, false, &err));
    ok(eye_graph_lay_int8(&t->g, &err));
}

static void test_against_oracle(void **state) {
    static const enum eye_act_kind acts[] = {EYE_ACT_RELU, EYE_ACT_HARDSWISH, EYE_ACT_GELU};
    for (size_t i = 0; i < 2 * EYE_COUNT(acts); i++) {
        struct net t;
        float pixels[N_PIXELS], exact[N_OUT], want[N_OUT], got[N_OUT];
        enum eye_act_kind act = acts[i / 2];
        make_int8(&t, act, i % 2 ? WIDE : BYTES, pixels, exact);
        assert_int_equal(t.g.value[t.g.output[0]].dtype, EYE_F32);
        eval(&t.g, pixels, t.g.output[0], want);
        run(&t.g, pixels, got, 1, eye_cpu_flags());
        assert_true(snr_db(exact, want, N_OUT) > 25);
        /* The same numbers rounded to the same bytes; a value within a float's rounding of a tie may fall to either side (of
         * GELU's, which is coarser on the way to bytes, one within a hundredth of a step). */
        double db = snr_db(want, got, N_OUT);
        if (db < (act == EYE_ACT_GELU ? 42 : 55)) fail_msg("%s: %g dB from the oracle", eye_act_name(act), db);
        eye_graph_clear(&t.g);
    }
}

/* Integer sums and fused steps are the same everywhere: no CPU and no number of threads may show (ReLU is exact as well). */
static void same_everywhere(enum bits bits) {
    static const char *const cpus[] = {"base", "avx2", "avx2,avx512", "neon", "neon,dotprod"};
    struct net t;
    float pixels[N_PIXELS], exact[N_OUT];
    make_int8(&t, EYE_ACT_RELU, bits, pixels, exact);
    size_t n_wide = 0;
    for (size_t v = 0; v < t.g.n_values; v++) {
        n_wide += t.g.value[v].dtype == EYE_I16;
        assert_true((t.g.value[v].dtype != EYE_U8 && t.g.value[v].dtype != EYE_I16) || t.g.value[v].quant.scale > 0);
    }
    assert_int_equal(n_wide, bits == WIDE ? 3 : 0); /* what up, down and last read */
    eye_val before_norm = t.g.node[t.g.n_nodes - 3].in[0]; /* norms round differently: compare what goes into one */
    t.g.output[0] = before_norm;
    t.g.value[before_norm].n_uses++;
    ok(eye_graph_compact(&t.g, &err));
    size_t n = 7 * 7 * 80;
    float *a = malloc(n * sizeof *a), *b = malloc(n * sizeof *b);
    run(&t.g, pixels, a, 1, eye_cpu_flags());
    run(&t.g, pixels, b, 4, eye_cpu_flags());
    assert_memory_equal(a, b, n * sizeof *a);
    for (size_t i = 0; i < EYE_COUNT(cpus); i++) {
        uint32_t flags;
        assert_true(eye_cpu_parse(cpus[i], &flags));
        run(&t.g, pixels, b, 2, flags & eye_cpu_flags());
        assert_memory_equal(a, b, n * sizeof *a);
    }
    free(a), free(b);
    eye_graph_clear(&t.g);
}
static void test_same_everywhere(void **state) { same_everywhere(BYTES), same_everywhere(WIDE); }

/* Bytes between int8 nodes, floats elsewhere, one step in and none out of them where nobody asks. */
static void test_edges(void **state) {
    struct net t;
    float pixels[N_PIXELS], exact[N_OUT];
    make_int8(&t, EYE_ACT_RELU, BYTES, pixels, exact);
    assert_int_equal(count(&t.g, EYE_OP_quantize), 2);   /* the pixels; what the norm makes */
    assert_int_equal(count(&t.g, EYE_OP_dequantize), 0); /* the norm's input has no range: its maker gives floats */
    assert_int_equal(count(&t.g, EYE_OP_act), 0);
    assert_int_equal(count(&t.g, EYE_OP_add), 0);
    assert_int_equal(t.g.value[t.g.output[0]].dtype, EYE_F32);
    eye_graph_clear(&t.g);
}

/* The same function, and channels of like size. */
static void test_equalize(void **state) {
    struct net t;
    float pixels[N_PIXELS], before[N_OUT], after[N_OUT];
    make_pixels(pixels, N_PIXELS);
    build(&t, EYE_ACT_RELU);
    eval(&t.g, pixels, t.g.output[0], before);
    size_t n_values = t.g.n_values;
    const float **most = calloc(n_values, sizeof *most);
    float *m[2];
    eye_val at[2] = {EYE_NONE, EYE_NONE}; /* what the 5x5 kernel and the last linear read */
    for (size_t k = 0; k < t.g.n_nodes; k++) {
        const struct eye_node *n = &t.g.node[k];
        const char *name = n->n_in > 1 && n->in[1] != EYE_NONE ? t.g.value[n->in[1]].name : "";
        if (strcmp(name, "dw.weight") == 0) at[0] = n->in[0];
        if (strcmp(name, "last.weight") == 0) at[1] = n->in[0];
    }
    for (int i = 0; i < 2; i++) {
        int64_t c = eye_dim(&t.g, at[i], -1);
        float *x = malloc((size_t)(49 * c) * sizeof *x);
        m[i] = calloc((size_t)c, sizeof *m[i]);
        eval(&t.g, pixels, at[i], x);
        for (int64_t k = 0; k < 49 * c; k++) m[i][k % c] = fmaxf(m[i][k % c], fabsf(x[k]));
        most[at[i]] = m[i];
        free(x);
    }
    ok(eye_graph_equalize(&t.g, most, n_values, &err));
    eval(&t.g, pixels, t.g.output[0], after);
    assert_true(snr_db(before, after, N_OUT) > 120);
    float x[49 * 100], low = INFINITY, high = 0;
    eval(&t.g, pixels, at[0], x);
    for (int c = 0; c < 100; c++) {
        float top = 0;
        for (int k = 0; k < 49; k++) top = fmaxf(top, x[k * 100 + c]);
        if (top > 0) low = fminf(low, top);
        high = fmaxf(high, top);
    }
    assert_true(high <= 1.0001f * low);
    free(m[0]), free(m[1]);
    free((void *)most);
    eye_graph_clear(&t.g);
}

/* Weights on an int8 grid stay what they are; with others the bias takes back the mean error. */
static void test_weights(void **state) {
    struct eye_graph g;
    enum { N = 4, K = 50 };
    static float w[N * K], b[N];
    struct eye_rng rng;
    eye_rng_seed(&rng, 3);
    for (int i = 0; i < N * K; i++) w[i] = 0.037f * (float)((int)(eye_rng_u64(&rng) % 181) - 90);
    for (int i = 2 * K; i < N * K; i++) w[i] = (float)eye_rng_unit(&rng);
    eye_graph_init(&g, NULL);
    eye_val x = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){1, K});
    struct eye_tensor tw = {.data = w, .dtype = EYE_F32, .rank = 2, .dims = {N, K}},
                      tb = {.data = b, .dtype = EYE_F32, .rank = 1, .dims = {N}};
    eye_output(&g, eye_linear(&g, x, eye_weight(&g, "w", &tw), eye_weight(&g, "b", &tb)));
    ok(eye_graph_finish(&g, &err));
    double mean[K];
    for (int i = 0; i < K; i++) mean[i] = 1;
    const struct eye_int8_input in[1] = {{.mean = mean}};
    assert_int_equal(x, 0);
    g.value[x].quant = (struct eye_quant){1, 0};
    ok(eye_graph_int8_weights(&g, in, 1, &err));
    const struct eye_value *q = &g.value[g.node[0].in[1]], *bias = &g.value[g.node[0].in[2]];
    assert_int_equal(q->dtype, EYE_I8);
    for (int r = 0; r < N; r++) {
        float row[K], shift;
        double sum = 0, want = 0, worst = 0;
        eye_weight_row(q, r, row);
        eye_weight_row(bias, r, &shift);
        for (int i = 0; i < K; i++) {
            sum += (double)row[i];
            want += (double)w[r * K + i];
            worst = fmax(worst, fabs((double)row[i] - (double)w[r * K + i]));
        }
        if (r < 2) assert_true(worst < 1e-5);
        else assert_true(worst > 1e-4);
        assert_true(fabs(sum + (double)shift - want) < 1e-4);
    }
    eye_graph_clear(&g);
}

/* Where inputs go together, rounding errors of a row cancel in what they cost; never more than plainly. */
static void test_covariance(void **state) {
    enum { N = 6, K = 50 };
    static float w[N * K], u[K * K], d[K];
    double cost[2][N] = {{0}};
    struct eye_rng rng;
    eye_rng_seed(&rng, 4);
    for (int i = 0; i < N * K; i++) w[i] = (float)(eye_rng_unit(&rng) - 0.5);
    for (int i = 0; i < K; i++) {
        d[i] = 0.1f + (float)eye_rng_unit(&rng);
        u[i * K + i] = 1;
        for (int k = i + 1; k < K; k++) u[i * K + k] = (float)eye_rng_unit(&rng) * 0.6f;
    }
    for (int known = 0; known < 2; known++) {
        struct eye_graph g;
        eye_graph_init(&g, NULL);
        eye_val x = eye_input(&g, "x", EYE_F32, 2, (int64_t[]){1, K});
        struct eye_tensor t = {.data = w, .dtype = EYE_F32, .rank = 2, .dims = {N, K}};
        eye_output(&g, eye_linear(&g, x, eye_weight(&g, "w", &t), EYE_NONE));
        ok(eye_graph_finish(&g, &err));
        assert_int_equal(x, 0);
        g.value[x].quant = (struct eye_quant){1, 0, 0};
        const struct eye_int8_input in[1] = {{.u = u, .d = d}};
        ok(eye_graph_int8_weights(&g, in, (size_t)known, &err));
        for (int r = 0; r < N; r++) {
            float row[K];
            eye_weight_row(&g.value[g.node[0].in[1]], r, row);
            for (int k = 0; k < K; k++) {
                double part = 0;
                for (int i = 0; i <= k; i++) part += (double)(w[r * K + i] - row[i]) * (double)u[i * K + k];
                cost[known][r] += (double)d[k] * part * part;
            }
        }
        eye_graph_clear(&g);
    }
    double plain = 0, better = 0;
    for (int r = 0; r < N; r++) {
        plain += cost[0][r];
        better += cost[1][r];
        assert_true(cost[1][r] <= 1.001 * cost[0][r]);
    }
    if (!(better < 0.6 * plain)) fail_msg("%g of plain rounding's cost is left", better / plain);
}

static void test_ranges(void **state) {
    static float x[40001];
    float most;
    double sum;
    struct eye_seen *s = calloc(1, sizeof *s);
    s->n_channels = 1, s->channel_max = &most, s->channel_sum = &sum;
    most = 0, sum = 0;
    for (int i = 0; i < 40000; i++) x[i] = (float)i / 40000;
    x[40000] = 100; /* one stray */
    x[7] = NAN;
    eye_seen_add(s, x, 20000);
    eye_seen_add(s, x + 20000, 20001);
    struct eye_quant all = eye_seen_range(s, EYE_RANGE_MINMAX), most_of = eye_seen_range(s, EYE_RANGE_PERCENTILE);
    assert_int_equal(all.zero, 0);
    assert_true(fabsf(all.scale * 255 - 100) < 1e-3f);
    assert_true(most_of.scale * 255 < 1.2f && most_of.scale * 255 > 0.9f);
    assert_true(fabs(eye_quant_round(&all, 50) - 50) <= (double)all.scale / 2);
    assert_true(eye_quant_round(&all, -3) == 0 && eye_quant_round(&all, 0) == 0);
    struct eye_quant mse = eye_seen_range(s, EYE_RANGE_MSE);
    assert_true(mse.scale <= all.scale);
    const struct { int64_t k; double room, tolerance; } rooms[] = {{1, 4, 1e-6}, {960, 4, 1e-6}, {2064, 4, 2e-3},
                                                                   {4096, 2, 0.02}, {1 << 14, 1.25, 1e-6}};
    double largest = fabs((double)s->min) > fabs((double)s->max) ? fabs((double)s->min) : fabs((double)s->max);
    for (size_t i = 0; i < EYE_COUNT(rooms); i++) { /* 16 bits: what is cut off, as a multiple of what was seen */
        struct eye_quant q = eye_seen_wide_range(s, rooms[i].k);
        assert_int_equal(q.wide, eye_quant_widest(rooms[i].k));
        assert_true(fabs((double)q.scale * q.wide / largest / rooms[i].room - 1) <= rooms[i].tolerance);
    }
    assert_true(eye_seen_wide_range(s, 1 << 30).scale == 0); /* no bits are left */
    memset(s, 0, offsetof(struct eye_seen, n_channels));
    assert_true(eye_seen_wide_range(s, 1).scale == 0);
    struct eye_quant none = eye_seen_range(s, EYE_RANGE_MSE);
    assert_true(none.scale > 0 && none.zero == 0);
    free(s);
}

/* ---- whole models ---- */

enum { WIDTH = 24, HEIGHT = 20, PICTURE_BYTES = WIDTH * HEIGHT * 3 };

/* Slopes and stripes, others for each i. */
static void draw(int i, uint8_t *rgb) {
    for (int k = 0; k < PICTURE_BYTES; k++) {
        int c = k % 3, x = k / 3 % WIDTH, y = k / 3 / WIDTH;
        rgb[k] = (uint8_t)(128 + (x * (7 + i) * (c + 1) + y * (5 * i - 11)) % 97 - 30 * c + (y / (i + 2) % 2) * 40);
    }
}

static const char *pictures(void) {
    static char dir[512];
    if (dir[0]) return dir;
    snprintf(dir, sizeof dir, "%s/pictures", eye_scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < 6; i++) {
        struct eye_buf b;
        char name[64];
        eye_buf_init(&b, NULL);
        eye_buf_printf(&b, "P6 %d %d 255\n", WIDTH, HEIGHT);
        uint8_t rgb[PICTURE_BYTES];
        draw(i, rgb);
        eye_buf_add(&b, rgb, sizeof rgb);
        snprintf(name, sizeof name, "pictures/%d.ppm", i);
        eye_scratch_write(name, b.p, b.len);
        eye_buf_clear(&b);
    }
    return dir;
}

static const char *model_folder(const char *name) {
    static char path[1024], from[1024];
    if (strcmp(name, "tiny") == 0) {
        const struct eye_mk_size *z = eye_mk_size_find("tiny");
        snprintf(path, sizeof path, "%s/tiny", eye_scratch_dir());
        struct eye_mk_opts o = {.size = z, .format = EYE_MK_APPLE_TRAIN, .dtype = EYE_F32, .seed = z->seed, .out = path};
        if (!eye_path_is_dir(path)) ok(eye_make_checkpoint(&o, &err));
        return path;
    }
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), strrchr(name, '/') + 1);
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, name);
    if (!eye_path_is_dir(path)) ok(eye_make_listed(from, 300, path, &err));
    return path;
}

static const char *int8_file(const char *from, const char *name, enum eye_range_method method) {
    static char out[4][1024];
    static int next;
    char *path = out[next++ % 4];
    snprintf(path, sizeof out[0], "%s/%s", eye_scratch_dir(), name);
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = pictures(), .range_method = method};
    struct eye_convert_report r;
    ok(eye_convert(from, path, &o, &r, &err));
    assert_int_equal(r.n_pictures, 5);
    assert_true(r.n_int8 > 2);
    eye_convert_report_clear(&r);
    return path;
}

/* Rows of a picture that calibration did not see. */
static float *image_rows(const char *path, enum eye_weight_type type, int n_threads, size_t *n) {
    uint8_t rgb[PICTURE_BYTES];
    struct eye_model_opts o = {.vision_type = type, .n_threads = n_threads};
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    draw(9, rgb);
    ok(eye_image_wrap(&img, rgb, WIDTH, HEIGHT, 0, &err));
    ok(eye_model_open(path, &o, &m, &err));
    ok(eye_session_new(m, NULL, &s, &err));
    *n = (size_t)eye_model_image_tokens(m) * (size_t)eye_model_hidden(m);
    float *rows = calloc(*n, sizeof *rows);
    ok(eye_session_encode_image(s, &img, rows, NULL, &err));
    eye_session_free(s);
    eye_model_close(m);
    return rows;
}

/* Weights drawn at random leave features that depend on little, so nothing is asked of quality but that it is there. */
static void test_families(void **state) {
    static const char *const models[] = {"tiny", "compose/small-map", "compose/small-classifier", "compose/large-pooled",
                                         "compose/minimal-tap", "llava/clip", "llava/siglip"};
    for (size_t i = 0; i < EYE_COUNT(models); i++) {
        char folder[1024];
        size_t n;
        snprintf(folder, sizeof folder, "%s", model_folder(models[i]));
        const char *file = int8_file(folder, "model.gguf", EYE_RANGE_MINMAX);
        float *exact = image_rows(folder, EYE_WEIGHT_F32, 1, &n), *one = image_rows(file, EYE_WEIGHT_STORED, 1, &n);
        float *four = image_rows(file, EYE_WEIGHT_INT8, 4, &n), *wide = image_rows(file, EYE_WEIGHT_F32, 1, &n);
        assert_memory_equal(one, four, n * sizeof *one);
        if (!(snr_db(exact, one, n) > 15)) fail_msg("%s: %g dB", models[i], snr_db(exact, one, n));
        if (!(snr_db(exact, wide, n) > 20)) fail_msg("%s: %g dB with its weights as f32", models[i], snr_db(exact, wide, n));
        free(exact), free(one), free(four), free(wide);
    }
}

/* What costs most gets 16 bits. */
static void test_precision(void **state) {
    char folder[1024], path[1024];
    size_t n;
    struct eye_convert_report r;
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = pictures(), .vision_snr_db = 35};
    snprintf(folder, sizeof folder, "%s", model_folder("tiny"));
    snprintf(path, sizeof path, "%s/precise.gguf", eye_scratch_dir());
    ok(eye_convert(folder, path, &o, &r, &err));
    assert_true(r.n_wide > 0 && r.n_wide < r.n_int8 && r.n_int8 <= r.n_could_int8);
    const char *all = int8_file(folder, "all.gguf", EYE_RANGE_MSE);
    float *exact = image_rows(folder, EYE_WEIGHT_F32, 1, &n), *some = image_rows(path, EYE_WEIGHT_STORED, 1, &n);
    float *every = image_rows(all, EYE_WEIGHT_STORED, 1, &n);
    double wide = snr_db(exact, some, n), bytes = snr_db(exact, every, n);
    if (!(wide > bytes + 3)) /* at least half of the noise is gone */
        fail_msg("%u of %u wide: %g dB, %g with bytes", (unsigned)r.n_wide, (unsigned)r.n_int8, wide, bytes);
    free(exact), free(some), free(every);
}

/* What each layer costs: its weights, and its activations with all before it. */
static void test_layers(void **state) {
    char folder[1024], path[1024];
    struct eye_convert_report r;
    struct eye_quality q;
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = pictures(), .vision_snr_db = 35, .per_tensor = true};
    struct eye_quality_opts qo = {.pairs = pictures(), .n_greedy = 2, .per_layer = true};
    size_t n_int8 = 0, n_wide = 0;
    snprintf(folder, sizeof folder, "%s", model_folder("tiny"));
    snprintf(path, sizeof path, "%s/layers.gguf", eye_scratch_dir());
    ok(eye_convert(folder, path, &o, &r, &err));
    for (size_t i = 0; i < r.n_matrices; i++) {
        if (strcmp(r.tensor[i].type, "int8") != 0) continue;
        n_int8++;
        assert_true(r.tensor[i].rel_rms > 1e-4 && r.tensor[i].rel_rms < 0.05); /* to the nearest 0.01; covariance moves further */
        assert_true(r.tensor[i].bytes > 0);
    }
    assert_int_equal(n_int8, r.n_int8);
    ok(eye_quality_measure(folder, path, &qo, &q, &err));
    assert_int_equal(q.n_layers, r.n_int8);
    for (size_t i = 0; i < q.n_layers; i++) {
        const struct eye_quality_layer *l = &q.layer[i];
        double noise = pow(10, -l->snr_db / 10); /* small, so it turns by less */
        n_wide += strcmp(l->input, "i16") == 0;
        if (!(l->snr_db > 12 && l->cosine > 1 - noise && l->cosine < 1 + 1e-9))
            fail_msg("%s: %g dB, %g", l->name, l->snr_db, l->cosine);
    }
    assert_int_equal(n_wide, r.n_wide);
    assert_string_equal(q.layer[0].name, "v.stem.0.conv");
    assert_string_equal(q.layer[q.n_layers - 1].name, "mm.2");
    assert_true(q.layer[0].snr_db > 100); /* pixels are bytes by nature: its range must be theirs */
    assert_true(q.layer[q.n_layers - 1].snr_db < 60);
    eye_quality_clear(&q);
    eye_convert_report_clear(&r);
    ok(eye_quality_measure(folder, folder, &qo, &q, &err));
    assert_int_equal(q.n_layers, 0); /* nothing is int8 */
    eye_quality_clear(&q);
}

/* A file made from an int8 file, with nothing asked: the same tower, no pictures needed. */
static void test_again(void **state) {
    char again[1024];
    size_t n;
    const char *file = int8_file(model_folder("compose/small-map"), "first.gguf", EYE_RANGE_MSE);
    snprintf(again, sizeof again, "%s/again.gguf", eye_scratch_dir());
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_F16};
    ok(eye_convert(file, again, &o, NULL, &err));
    float *a = image_rows(file, EYE_WEIGHT_STORED, 1, &n), *b = image_rows(again, EYE_WEIGHT_STORED, 1, &n);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a), free(b);
}

static void refused(const char *path, enum eye_weight_type type, enum eye_status want, const char *says) {
    struct eye_model_opts o = {.vision_type = type};
    struct eye_model *m = NULL;
    enum eye_status st = eye_model_open(path, &o, &m, &err);
    if (st == EYE_OK) eye_model_close(m);
    assert_true(eye_error_is(says, st, want, &err, says));
}

static void test_refused(void **state) {
    char out[1024];
    snprintf(out, sizeof out, "%s/none.gguf", eye_scratch_dir());
    const char *folder = model_folder("compose/small-map");
    struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8};
    enum eye_status st = eye_convert(folder, out, &o, NULL, &err);
    assert_true(eye_error_is("no pictures", st, EYE_E_ARG, &err, "--calibration DIR"));
    o.decoder_type = EYE_WEIGHT_INT8;
    st = eye_convert(folder, out, &o, NULL, &err);
    assert_true(eye_error_is("decoder", st, EYE_E_ARG, &err, "q8_0"));
    assert_false(eye_path_exists(out));
    refused(folder, EYE_WEIGHT_INT8, EYE_E_ARG, "no int8 ranges");
}

/* One change to the bytes of an int8 file. */
static void test_broken_metadata(void **state) {
    static const struct { const char *find, *replace; size_t skip; const char *says; } t[] = {
        {EYE_INT8_KEY_ZERO, "eyelet.vision.int8.nero", 0, "ranges are missing"},
        {EYE_INT8_KEY_SCALE, "eyelet.vision.int8.weigh", 0, "ranges are missing"},
        {EYE_INT8_KEY_SCALE, "\xff\xff\xff\xff", sizeof EYE_INT8_KEY_SCALE - 1 + 4 + 4 + 8, "not a positive number"},
        {EYE_INT8_KEY_ZERO, "\x01", sizeof EYE_INT8_KEY_ZERO - 1 + 4, "u8 zero points"},
        {EYE_INT8_KEY_WIDE, "\x03", sizeof EYE_INT8_KEY_WIDE - 1 + 4, "u16 limits"},
        {EYE_INT8_KEY_WIDE, "\x01", sizeof EYE_INT8_KEY_WIDE - 1 + 4 + 4 + 8, "16 bits for a layer that cannot"},
        {"v.features.0.0.weight_scale", "v.features.0.0.weight_stale", 0, "its 8 scales"},
    };
    const char *file = int8_file(model_folder("compose/small-map"), "sound.gguf", EYE_RANGE_PERCENTILE);
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        struct eye_map map;
        ok(eye_map_open(&map, file, false, 0, &err));
        uint8_t *p = malloc(map.size), *at;
        memcpy(p, map.p, map.size);
        at = memmem(p, map.size, t[i].find, strlen(t[i].find));
        if (!at) fail_msg("%s is not in the file", t[i].find);
        memcpy(at + t[i].skip, t[i].replace, strlen(t[i].replace));
        refused(eye_scratch_write("broken.gguf", p, map.size), EYE_WEIGHT_STORED, EYE_E_CORRUPT, t[i].says);
        free(p);
        eye_map_close(&map);
    }
}

static int stop(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_oracle), cmocka_unit_test(test_same_everywhere), cmocka_unit_test(test_edges),
        cmocka_unit_test(test_equalize),       cmocka_unit_test(test_weights),         cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_families),       cmocka_unit_test(test_again),           cmocka_unit_test(test_refused),
        cmocka_unit_test(test_broken_metadata), cmocka_unit_test(test_precision), cmocka_unit_test(test_covariance),
        cmocka_unit_test(test_layers),
    };
    return cmocka_run_group_tests(tests, NULL, stop);
}
