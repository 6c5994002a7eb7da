/* bench_engine: times whole networks of FastVLM-0.5B's shapes with random weights, per kind of op. Needs no files.
 *
 *   bench_engine vision  [f32|bf16|f16|q8_0|q4_0|int8] [threads] [side]     FastViTHD, folded and fused
 *   bench_engine mobilenet [..] [threads] [side]                       MobileNetV3-Large
 *   bench_engine minimalistic [..] [threads] [side]                    the same without squeeze-excite, 5 x 5, hardswish
 *   bench_engine prefill [..] [threads] [tokens]                       Qwen2 0.5B
 *   bench_engine decode  [..] [threads] [past]
 *
 * Prints the best and the median of the repetitions (with one thread also in processor time, which other programs disturb
 * less), then the share of each op. RUNS=n repetitions; STEPS=1 lists every step. int8: weights and ranges are made up, so results
 * mean nothing; depthwise convolutions take f32 where DEPTHWISE=f32. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

static struct eye_graph g;
static uint64_t seed = 1;

/* ---- weights ---- */

static float noise(float size) {
    seed = seed * UINT64_C(6364136223846793005) + 1;
    return ((float)(seed >> 40) / (float)(1 << 23) - 1) * size;
}

static eye_val weight(int rank, const int64_t *dims, float size) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    int64_t n = eye_tensor_elems(&t);
    float *x = memory((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) x[i] = noise(size);
    t.data = x;
    return eye_weight(&g, "w", &t);
}
static eye_val vec(int64_t n, float size) { return weight(1, &n, size); }

/* Decoder matrices: windows into one block of bf16 noise, each at a place of its own, so that none is packed twice. */
static eye_val matrix_bf16(int64_t n, int64_t k) {
    enum { BLOCK = 160 << 20 };
    static uint16_t *block;
    static size_t shift;
    if (!block) {
        block = memory(BLOCK * sizeof *block);
        for (size_t i = 0; i < BLOCK; i++) block[i] = eye_f32_to_bf16(noise(0.03f));
    }
    struct eye_tensor t = {.dtype = EYE_BF16, .rank = 2, .dims = {n, k}, .data = block + 64 * shift++};
    return eye_weight(&g, "w", &t);
}

/* ---- networks ---- */

static eye_val gelu(eye_val x) { return eye_act(&g, x, EYE_ACT_GELU); }
static float size_for(int64_t k) {
    float s = 1;
    while (s * s * (float)k > 3) s *= 0.9f;
    return s;
}
static eye_val linear(eye_val x, int64_t n) {
    int64_t k = eye_dim(&g, x, -1);
    return eye_linear(&g, x, weight(2, (int64_t[]){n, k}, size_for(k)), vec(n, 0.1f));
}
static eye_val depthwise(eye_val x, int k, int stride, int64_t mult) {
    int64_t c = eye_dim(&g, x, -1);
    return eye_conv2d(&g, x, weight(4, (int64_t[]){c * mult, 1, k, k}, size_for(k * k)), vec(c * mult, 0.1f),
                      eye_conv_same(k, stride, (int)c));
}
static eye_val ffn(eye_val x) {
    int64_t c = eye_dim(&g, x, -1);
    return eye_add(&g, x, linear(gelu(linear(depthwise(x, 7, 1, 1), 4 * c)), c));
}
static eye_val attention_block(eye_val x) {
    int64_t h = eye_dim(&g, x, 1), w = eye_dim(&g, x, 2), c = eye_dim(&g, x, -1);
    eye_val y = linear(eye_layer_norm(&g, x, vec(c, 1), vec(c, 1), 1e-5f), 3 * c), part[3];
    y = eye_reshape(&g, y, 4, (int64_t[]){1, h * w, 3, c});
    for (int i = 0; i < 3; i++) part[i] = eye_reshape(&g, eye_slice(&g, y, 2, i, 1), 4, (int64_t[]){1, h * w, c / 32, 32});
    y = eye_attention(&g, part[0], part[1], part[2], EYE_NONE, EYE_NONE, 0.1768f, false);
    return ffn(eye_add(&g, x, linear(eye_reshape(&g, y, 4, (int64_t[]){1, h, w, c}), c)));
}

static void build_vision(int64_t side) {
    static const int depth[5] = {2, 12, 24, 4, 2};
    eye_val x = eye_input(&g, "pixels", EYE_F32, 4, (int64_t[]){1, side, side, 3});
    x = gelu(eye_conv2d(&g, x, weight(4, (int64_t[]){96, 3, 3, 3}, size_for(27)), vec(96, 0.1f), eye_conv_same(3, 2, 1)));
    x = gelu(linear(gelu(depthwise(x, 3, 2, 1)), 96));
    for (int s = 0; s < 5; s++) {
        if (s > 0) {
            x = gelu(depthwise(x, 7, 2, 2));
            x = gelu(linear(x, eye_dim(&g, x, -1)));
        }
        if (s >= 3) x = depthwise(x, 7, 1, 1);
        for (int b = 0; b < depth[s]; b++) x = s < 3 ? ffn(depthwise(x, 3, 1, 1)) : attention_block(x);
    }
    x = depthwise(x, 3, 1, 2);
    eye_val gate = eye_act(&g, linear(eye_mean_hw(&g, x), 192), EYE_ACT_RELU);
    eye_output(&g, gelu(eye_mul(&g, x, eye_act(&g, linear(gate, 3072), EYE_ACT_SIGMOID))));
}

/* torchvision's table. */
static void build_mobilenet(int64_t side, bool minimalistic) {
    static const struct {
        int k, inner, out;
        bool gate, hard;
        int stride;
    } block[] = {{3, 16, 16, 0, 0, 1},  {3, 64, 24, 0, 0, 2},  {3, 72, 24, 0, 0, 1},   {5, 72, 40, 1, 0, 2},   {5, 120, 40, 1, 0, 1},
                 {5, 120, 40, 1, 0, 1}, {3, 240, 80, 0, 1, 2}, {3, 200, 80, 0, 1, 1},  {3, 184, 80, 0, 1, 1},  {3, 184, 80, 0, 1, 1},
                 {3, 480, 112, 1, 1, 1}, {3, 672, 112, 1, 1, 1}, {5, 672, 160, 1, 1, 2}, {5, 960, 160, 1, 1, 1}, {5, 960, 160, 1, 1, 1}};
    enum eye_act_kind hard = minimalistic ? EYE_ACT_RELU : EYE_ACT_HARDSWISH;
    eye_val x = eye_input(&g, "pixels", EYE_F32, 4, (int64_t[]){1, side, side, 3});
    x = eye_act(&g, eye_conv2d(&g, x, weight(4, (int64_t[]){16, 3, 3, 3}, size_for(27)), vec(16, 0.1f), eye_conv_same(3, 2, 1)), hard);
    for (size_t i = 0; i < EYE_COUNT(block); i++) {
        enum eye_act_kind act = block[i].hard ? hard : EYE_ACT_RELU;
        eye_val y = x;
        if (block[i].inner != eye_dim(&g, x, -1)) y = eye_act(&g, linear(y, block[i].inner), act);
        y = eye_act(&g, depthwise(y, minimalistic ? 3 : block[i].k, block[i].stride, 1), act);
        if (block[i].gate && !minimalistic) {
            eye_val gate = eye_act(&g, linear(eye_mean_hw(&g, y), (block[i].inner / 4 + 4) / 8 * 8), EYE_ACT_RELU);
            y = eye_mul(&g, y, eye_act(&g, linear(gate, block[i].inner), EYE_ACT_HARDSIGMOID));
        }
        y = linear(y, block[i].out);
        x = block[i].stride == 1 && eye_dim(&g, x, -1) == block[i].out ? eye_add(&g, x, y) : y;
    }
    eye_output(&g, eye_mean_hw(&g, eye_act(&g, linear(x, 960), hard)));
}

/* What a calibrated file has. */
static void make_int8(void) {
    for (size_t k = 0; k < g.n_nodes; k++) {
        struct eye_node *n = &g.node[k];
        if (!eye_graph_int8_fits(&g, n)) continue;
        struct eye_value *x = &g.value[n->in[0]], w = g.value[n->in[1]];
        bool depthwise = n->op == EYE_OP_conv2d && n->attr.groups > 1;
        if (depthwise && getenv("DEPTHWISE")) continue;
        if (x->rank == 4 && x->dims[1] == 1) continue; /* a gate's squeeze */
        struct eye_tensor t = {.dtype = EYE_I8, .rank = w.rank};
        memcpy(t.dims, w.dims, sizeof t.dims);
        int64_t elems = eye_tensor_elems(&t);
        int8_t *q = memory((size_t)elems);
        float *scale = memory((size_t)w.dims[0] * sizeof *scale);
        for (int64_t i = 0; i < elems; i++) q[i] = (int8_t)noise(127);
        for (int64_t i = 0; i < w.dims[0]; i++) scale[i] = size_for(elems / w.dims[0]) / 127;
        t.data = q;
        x->quant = (struct eye_quant){1.0f / 32, 100};
        eye_val v = eye_weight(&g, "w", &t);
        if (v == EYE_NONE) die("out of memory");
        g.value[v].row_scale = scale;
        n->in[1] = v;
    }
}

enum { C = 896, HEADS = 14, KV_HEADS = 2, D = 64, F = 4864, LAYERS = 24, VOCAB = 151936 };

static eye_val heads(eye_val x, int64_t n) { return eye_reshape(&g, x, 3, (int64_t[]){EYE_DIM_T, n, D}); }
static eye_val bf16(eye_val x, int64_t n) { return eye_linear(&g, x, matrix_bf16(n, eye_dim(&g, x, -1)), EYE_NONE); }

static void build_decoder(bool logits) {
    eye_val x = eye_input(&g, "rows", EYE_F32, 2, (int64_t[]){EYE_DIM_T, C});
    for (int i = 0; i < LAYERS; i++) {
        eye_val ks = eye_state(&g, "k", KV_HEADS, D), vs = eye_state(&g, "v", KV_HEADS, D);
        eye_val h = eye_rms_norm(&g, x, vec(C, 1), 1e-6f);
        eye_val q = heads(bf16(h, C), HEADS), k = heads(bf16(h, KV_HEADS * D), KV_HEADS), v = heads(bf16(h, KV_HEADS * D), KV_HEADS);
        q = eye_rope(&g, q, 1e6);
        k = eye_rope(&g, k, 1e6);
        x = eye_add(&g, x, bf16(eye_attention(&g, q, k, v, ks, vs, 0.125f, true), C));
        h = eye_rms_norm(&g, x, vec(C, 1), 1e-6f);
        x = eye_add(&g, x, bf16(eye_mul(&g, eye_act(&g, bf16(h, F), EYE_ACT_SILU), bf16(h, F)), C));
    }
    x = eye_rms_norm(&g, x, vec(C, 1), 1e-6f);
    eye_output(&g, logits ? bf16(x, VOCAB) : x);
}

/* ---- timing ---- */

static void bench(const struct eye_engine *e, int64_t t, int64_t past, int n_runs) {
    struct eye_plan_opts o = {.max_t = t, .max_ctx = past + t + 64};
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_kv *kv;
    struct eye_err err = {0};
    struct eye_plan_sizes s;
    struct eye_bind bind = {.t = t};
    int64_t n_in = 0, n_out = 0;
    uint64_t start = eye_now_ns(), ns[64], cpu[64];
    check(eye_plan_new(&plan, e, &g, &o, &err), &err);
    eye_plan_measure(plan, &s);
    printf("plan %.0f ms; weights %.1f MiB, activations %.1f MiB, scratch %.1f MiB\n", (double)(eye_now_ns() - start) / 1e6,
           (double)s.weights / 1048576.0, (double)s.activations / 1048576.0, (double)s.scratch / 1048576.0);
    check(eye_exec_new(&x, plan, &err), &err);
    check(eye_kv_new(&kv, plan, o.max_ctx, &err), &err);
    if (!eye_value_elems(eye_value_at(&g, g.input[0]), &bind, &n_in) ||
        !eye_value_elems(eye_value_at(&g, g.output[0]), &bind, &n_out))
        die("sizes");
    struct eye_io in = {g.input[0], memory((size_t)n_in * sizeof(float))};
    struct eye_io out = {g.output[0], memory((size_t)n_out * sizeof(float))};
    for (int64_t i = 0; i < n_in; i++) ((float *)in.data)[i] = noise(1);
    for (int i = 0; i <= n_runs; i++) {
        eye_exec_timing(x, i == n_runs);
        start = eye_now_ns();
        uint64_t cpu_start = cpu_ns();
        check(eye_exec_run(x, kv, &(struct eye_bind){.t = t, .past = past}, &in, 1, &out, 1, NULL, NULL, &err), &err);
        ns[i] = eye_now_ns() - start;
        cpu[i] = cpu_ns() - cpu_start;
    }
    qsort(ns + 1, (size_t)n_runs, sizeof *ns, by_value); /* the first warmed up */
    qsort(cpu + 1, (size_t)n_runs, sizeof *cpu, by_value);
    printf("best %.2f ms, median %.2f ms, %.1f rows/s; processor time best %.2f ms\n", (double)ns[1] / 1e6,
           (double)ns[1 + n_runs / 2] / 1e6, (double)t * 1e9 / (double)ns[1], (double)cpu[1] / 1e6);
    print_ops(x);
    eye_kv_free(kv);
    eye_exec_free(x);
    eye_plan_free(plan);
}

int main(int argc, char **argv) {
    static const char *const types[EYE_N_WTYPE] = {"exact", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "int8"};
    const char *what = argc > 1 ? argv[1] : "vision", *type = argc > 2 ? argv[2] : "f32";
    int n_threads = argc > 3 ? atoi(argv[3]) : 0, wtype = 0, runs = getenv("RUNS") ? atoi(getenv("RUNS")) : 5;
    int64_t size = argc > 4 ? atoll(argv[4]) : 0;
    struct eye_engine e;
    struct eye_err err = {0};
    while (wtype < EYE_N_WTYPE && strcmp(types[wtype], type) != 0) wtype++;
    if (wtype == EYE_N_WTYPE || runs < 1 || runs > 60) die("unknown weight type, or RUNS out of range");
    check(eye_engine_init(&e, n_threads, eye_cpu_flags(), NULL, &err), &err);
    eye_graph_init(&g, NULL);
    if (strcmp(what, "vision") == 0) build_vision(size ? size : 1024);
    else if (strcmp(what, "mobilenet") == 0 || strcmp(what, "minimalistic") == 0) build_mobilenet(size ? size : 224, what[1] == 'i');
    else build_decoder(strcmp(what, "decode") == 0);
    check(eye_graph_finish(&g, &err), &err);
    if (wtype == EYE_W_I8) make_int8();
    check(eye_graph_fuse(&g, false, &err), &err);
    eye_graph_quantize(&g, (enum eye_wtype)wtype);
    if (wtype == EYE_W_I8) check(eye_graph_lay_int8(&g, &err), &err);
    if (what[0] == 'v' || what[0] == 'm') bench(&e, 1, 0, runs);
    else if (strcmp(what, "prefill") == 0) bench(&e, size ? size : 288, 0, runs);
    else bench(&e, 1, size ? size : 300, runs * 6);
    eye_graph_clear(&g);
    eye_engine_clear(&e);
    return 0;
}
