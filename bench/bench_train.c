/* bench_train: times whole training steps (the loss and the gradients of all trainable weights) with random weights, per kind
 * of op. Needs no files.
 *
 *   bench_train decoder   [f32|bf16] [threads] [d] [layers]   GPT-2 style, vocabulary 4096, 64 sequences of 48 rows
 *   bench_train mobilenet [f32|bf16] [threads] [batch]        MobileNetV3-Large minimalistic at 224 x 224, batch norms folded
 *   bench_train tail      [f32|bf16] [threads] [batch]        the same, only what follows 14 x 14 x 112 is trained
 *
 * Prints the best and the median of the repetitions (also in processor time: with one thread what other programs disturb less),
 * then the share of each op. RUNS=n repetitions; STEPS=1 lists every step.
 * bench/peers/peer_torch_training.py runs it beside PyTorch. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { VOCAB = 4096, SEQUENCES = 64, SEQUENCE = 48, MAX_WEIGHTS = 512 };

static struct eye_graph g;
static uint64_t seed = 1;
static eye_val trained[MAX_WEIGHTS];
static size_t n_trained;
static bool training = true; /* weights made now are trained */

static float *noise(int64_t n, float size) {
    float *x = memory((size_t)n * sizeof *x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        x[i] = ((float)(seed >> 40) / (float)(1 << 23) - 1) * size;
    }
    return x;
}

static eye_val weight(int rank, const int64_t *dims, float size) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = rank};
    memcpy(t.dims, dims, (size_t)rank * sizeof *dims);
    float *x = noise(eye_tensor_elems(&t), size);
    t.data = x;
    eye_val w = eye_weight(&g, "w", &t);
    if (!training) return w;
    if (n_trained == MAX_WEIGHTS) die("too many weights");
    eye_graph_unfreeze(&g, w, x);
    return trained[n_trained++] = w;
}
static eye_val vec(int64_t n, float size) { return weight(1, &n, size); }
static float size_for(int64_t k) { return 1.7f / sqrtf((float)k); }

/* ---- networks: each gives its loss ---- */

static eye_val linear(eye_val x, int64_t n) {
    int64_t k = eye_dim(&g, x, -1);
    eye_val w = weight(2, (int64_t[]){n, k}, size_for(k));
    return eye_linear(&g, x, w, vec(n, 0.1f));
}

static eye_val norm(eye_val x) {
    int64_t c = eye_dim(&g, x, -1);
    eye_val w = vec(c, 1);
    return eye_layer_norm(&g, x, w, vec(c, 1), 1e-5f);
}

static eye_val attention(eye_val x, int64_t heads) {
    int64_t d = eye_dim(&g, x, -1);
    eye_val qkv = linear(norm(x), 3 * d), part[3];
    for (int i = 0; i < 3; i++)
        part[i] = eye_reshape(&g, eye_slice(&g, qkv, 1, i * d, d), 3, (int64_t[]){EYE_DIM_T, heads, d / heads});
    eye_val y = eye_attention(&g, part[0], part[1], part[2], EYE_NONE, EYE_NONE, 1 / sqrtf((float)(d / heads)), true);
    return eye_add(&g, x, linear(y, d));
}

static eye_val build_decoder(int64_t d, int layers) {
    int64_t t = EYE_DIM_T;
    eye_val ids = eye_input(&g, "ids", EYE_I32, 1, &t), target = eye_input(&g, "target", EYE_I32, 1, &t);
    eye_val share = eye_input(&g, "share", EYE_F32, 1, &t), table = weight(2, (int64_t[]){VOCAB, d}, 0.05f);
    eye_val positions = eye_positions(&g, weight(2, (int64_t[]){SEQUENCES * SEQUENCE, d}, 0.05f));
    eye_val x = eye_add(&g, eye_embed(&g, ids, table), positions);
    for (int i = 0; i < layers; i++) {
        x = attention(x, d / 64);
        x = eye_add(&g, x, linear(eye_act(&g, linear(norm(x), 4 * d), EYE_ACT_GELU_TANH), d));
    }
    eye_val logits = eye_linear(&g, norm(x), table, EYE_NONE);
    return eye_sum(&g, eye_cross_entropy(&g, logits, target, share, 0), 1);
}

static eye_val conv(eye_val x, int64_t o, int k, int stride, bool depthwise, bool relu) {
    int64_t c = eye_dim(&g, x, -1), cg = depthwise ? 1 : c;
    eye_val w = weight(4, (int64_t[]){o, cg, k, k}, size_for(cg * k * k));
    x = eye_conv2d(&g, x, w, vec(o, 0.1f), eye_conv_same(k, stride, depthwise ? (int)c : 1));
    return relu ? eye_act(&g, x, EYE_ACT_RELU) : x;
}

static eye_val build_mobilenet(int64_t batch, bool tail) {
    static const struct {
        int64_t inner, out;
        int stride;
    } block[] = { /* torchvision's table: all kernels 3 x 3, ReLU, no SE */
        {16, 16, 1},  {64, 24, 2},  {72, 24, 1},  {72, 40, 2},   {120, 40, 1},  {120, 40, 1},  {240, 80, 2}, {200, 80, 1},
        {184, 80, 1}, {184, 80, 1}, {480, 112, 1}, {672, 112, 1}, {672, 160, 2}, {960, 160, 1}, {960, 160, 1}};
    training = !tail;
    eye_val x = eye_input(&g, "pixels", EYE_F32, 4, (int64_t[]){batch, 224, 224, 3});
    x = conv(x, 16, 3, 2, false, true);
    for (size_t i = 0; i < EYE_COUNT(block); i++) {
        if (i == 12) training = true;
        eye_val y = x;
        if (block[i].inner != eye_dim(&g, x, -1)) y = conv(y, block[i].inner, 1, 1, false, true);
        y = conv(y, block[i].inner, 3, block[i].stride, true, true);
        y = conv(y, block[i].out, 1, 1, false, false);
        bool same = block[i].stride == 1 && eye_dim(&g, x, -1) == block[i].out;
        x = same ? eye_add(&g, x, y) : y;
    }
    x = eye_mean_hw(&g, conv(x, 960, 1, 1, false, true));
    eye_val wanted = eye_input(&g, "wanted", EYE_F32, 4, (int64_t[]){batch, 1, 1, 960});
    return eye_sum(&g, eye_mse_rows(&g, x, wanted), 1 / (float)batch);
}

/* ---- timing ---- */

/* Inputs: token ids in range, shares of the mean, else noise. */
static struct eye_io make_input(eye_val v, int64_t t) {
    struct eye_bind bind = {.t = t};
    int64_t n = 0;
    if (!eye_value_elems(eye_value_at(&g, v), &bind, &n)) die("sizes");
    float *x = noise(n, 1);
    if (eye_value_at(&g, v)->dtype == EYE_I32)
        for (int64_t i = 0; i < n; i++) ((int32_t *)(void *)x)[i] = (int32_t)(i * 977 % VOCAB);
    else if (eye_value_at(&g, v)->rank == 1)
        for (int64_t i = 0; i < n; i++) x[i] = 1 / (float)n;
    return (struct eye_io){v, x};
}

static void bench(const struct eye_engine *e, int64_t t, bool bf16, int n_runs) {
    struct eye_plan_opts o = {.max_t = t, .train_bf16 = bf16};
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_err err = {0};
    struct eye_plan_sizes s;
    struct eye_segment segment[SEQUENCES];
    struct eye_bind bind = {.t = t, .segment = segment, .n_segments = t > 1 ? SEQUENCES : 0};
    for (int i = 0; i < SEQUENCES; i++) segment[i] = (struct eye_segment){.row = i * SEQUENCE, .n = SEQUENCE};
    uint64_t ns[64], cpu[64];
    check(eye_plan_new(&plan, e, &g, &o, &err), &err);
    eye_plan_measure(plan, &s);
    printf("weights %.1f MiB, activations %.1f MiB, scratch %.1f MiB\n", (double)s.weights / 1048576.0,
           (double)s.activations / 1048576.0, (double)s.scratch / 1048576.0);
    check(eye_exec_new(&x, plan, &err), &err);
    static struct eye_io in[8], out[MAX_WEIGHTS + 1];
    for (size_t i = 0; i < g.n_inputs; i++) in[i] = make_input(g.input[i], t);
    for (size_t i = 0; i < g.n_outputs; i++) out[i] = make_input(g.output[i], t);
    for (int i = 0; i <= n_runs; i++) {
        eye_exec_timing(x, i == n_runs);
        uint64_t start = eye_now_ns(), cpu_start = cpu_ns();
        check(eye_exec_run(x, NULL, &bind, in, g.n_inputs, out, g.n_outputs, NULL, NULL, &err), &err);
        ns[i] = eye_now_ns() - start;
        cpu[i] = cpu_ns() - cpu_start;
    }
    qsort(ns + 1, (size_t)n_runs, sizeof *ns, by_value); /* the first warmed up */
    qsort(cpu + 1, (size_t)n_runs, sizeof *cpu, by_value);
    printf("best %.2f ms, median %.2f ms; processor time best %.2f ms\n", (double)ns[1] / 1e6, (double)ns[1 + n_runs / 2] / 1e6,
           (double)cpu[1] / 1e6);
    print_ops(x);
    eye_exec_free(x);
    eye_plan_free(plan);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "decoder";
    bool bf16 = argc > 2 && strcmp(argv[2], "bf16") == 0, decoder = strcmp(what, "decoder") == 0;
    int n_threads = argc > 3 ? atoi(argv[3]) : 0, size = argc > 4 ? atoi(argv[4]) : decoder ? 256 : 32;
    int layers = argc > 5 ? atoi(argv[5]) : 4, runs = getenv("RUNS") ? atoi(getenv("RUNS")) : 5;
    struct eye_engine e;
    struct eye_err err = {0};
    if (runs < 1 || runs > 60 || size < 1 || layers < 1) die("a number is out of range");
    check(eye_engine_init(&e, n_threads, eye_cpu_flags(), NULL, &err), &err);
    eye_graph_init(&g, NULL);
    eye_val loss = decoder ? build_decoder(size, layers) : build_mobilenet(size, strcmp(what, "tail") == 0), grad[MAX_WEIGHTS];
    eye_output(&g, loss);
    check(eye_graph_finish(&g, &err), &err);
    check(eye_graph_gradient(&g, loss, trained, n_trained, grad, &err), &err);
    check(eye_graph_fuse(&g, false, &err), &err);
    bench(&e, decoder ? SEQUENCES * SEQUENCE : 1, bf16, runs);
    eye_graph_clear(&g);
    eye_engine_clear(&e);
    return 0;
}
