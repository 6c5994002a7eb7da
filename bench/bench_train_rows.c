/* bench_train_rows: times the row-wise ops of a training step, forward and backward, at a student's shapes: 32 pictures, each
 * with its image rows and 5 captions of 13 rows that see them. Needs no files. bench/bench_train_rows.py times the same in
 * PyTorch.
 *
 *   bench_train_rows [threads] [image rows] [d] [vocabulary]
 *
 * Prints the best time of each op. RUNS=n repetitions. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"

enum { PICTURES = 32, CAPTIONS = 5, CAPTION_ROWS = 13, D = 64, MAX_STEPS = 64, MAX_IO = 32 };

static struct eye_graph g;
static struct eye_io in[MAX_IO];
static size_t n_in;
static int64_t n_rows;

static void check(enum eye_status st, const struct eye_err *err) {
    if (st == EYE_OK) return;
    fprintf(stderr, "bench_train_rows: %s\n", err->text);
    exit(1);
}

static void *memory(size_t bytes) {
    void *p = eye_pages_alloc(bytes);
    if (!p) exit(1);
    return p;
}

static eye_val add_input(enum eye_dtype dtype, int rank, const int64_t *dims, int64_t below) {
    static uint64_t seed = 1;
    struct eye_bind bind = {.t = n_rows};
    int64_t n;
    eye_val v = eye_input(&g, "in", dtype, rank, dims);
    if (!eye_value_elems(eye_value_at(&g, v), &bind, &n) || n_in == MAX_IO) exit(1);
    in[n_in] = (struct eye_io){v, memory((size_t)n * 4)};
    for (int64_t i = 0; i < n; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1;
        if (dtype == EYE_I32) ((int32_t *)in[n_in].data)[i] = (int32_t)((seed >> 33) % (uint64_t)below);
        else ((float *)in[n_in].data)[i] = (float)(seed >> 40) / (float)(1 << 23) - 1;
    }
    n_in++;
    return v;
}
static eye_val floats(int64_t a, int64_t b, int64_t c) {
    return add_input(EYE_F32, c ? 3 : b ? 2 : 1, (int64_t[]){a, b, c}, 0);
}
static eye_val ids(int64_t n, int64_t below) { return add_input(EYE_I32, 1, &n, below); }

/* Each op on inputs of its own; the loss is the sum of all. */
static eye_val build(int64_t d, int64_t vocabulary, eye_val *wrt, size_t *n_wrt) {
    int64_t t = EYE_DIM_T, heads = d / D;
    eye_val seed = ids(2, 1 << 30), x = floats(t, d, 0), q = floats(t, heads, D), z = floats(t, vocabulary, 0);
    eye_val y[8], w = floats(t, 0, 0), loss = EYE_NONE, table = floats(vocabulary, d, 0), gain = floats(d, 0, 0);
    size_t n = 0;
    y[n++] = eye_layer_norm(&g, x, gain, floats(d, 0, 0), 1e-5f);
    y[n++] = eye_rms_norm(&g, x, gain, 1e-6f);
    y[n++] = eye_dropout(&g, x, seed, 0.1f, 1);
    y[n++] = eye_softmax(&g, x);
    y[n++] = eye_embed(&g, ids(t, vocabulary), table);
    y[n++] = eye_reshape(&g, eye_rope(&g, q, 1e4), 2, (int64_t[]){t, d});
    y[n++] = eye_attention(&g, q, floats(t, heads, D), floats(t, heads, D), EYE_NONE, EYE_NONE, 0.125f, true);
    for (size_t i = 0; i < n; i++) {
        eye_val one = eye_sum(&g, y[i], 1);
        loss = i ? eye_add(&g, loss, one) : one;
    }
    loss = eye_add(&g, loss, eye_sum(&g, eye_cross_entropy(&g, z, ids(t, vocabulary), w, 0.1f), 1));
    loss = eye_add(&g, loss, eye_sum(&g, eye_kl_rows(&g, z, floats(t, vocabulary, 0), w, 2), 1));
    *n_wrt = 0;
    for (size_t i = 0; i < n_in; i++)
        if (eye_value_at(&g, in[i].v)->dtype == EYE_F32 && in[i].v != w && i + 1 < n_in) wrt[(*n_wrt)++] = in[i].v;
    return loss;
}

static size_t make_segments(struct eye_segment *s, int64_t image_rows) {
    size_t n = 0;
    for (int p = 0; p < PICTURES; p++) {
        int64_t prefix = n_rows;
        s[n++] = (struct eye_segment){.row = prefix, .n = image_rows};
        n_rows += image_rows;
        for (int i = 0; i < CAPTIONS; i++, n_rows += CAPTION_ROWS)
            s[n++] = (struct eye_segment){n_rows, CAPTION_ROWS, image_rows, prefix, image_rows, 0, 0};
    }
    return n;
}

int main(int argc, char **argv) {
    int threads = argc > 1 ? atoi(argv[1]) : 1, runs = getenv("RUNS") ? atoi(getenv("RUNS")) : 7;
    int64_t image_rows = argc > 2 ? atoi(argv[2]) : 25, d = argc > 3 ? atoi(argv[3]) : 256;
    int64_t vocabulary = argc > 4 ? atoi(argv[4]) : 4096;
    static struct eye_segment segment[PICTURES * (1 + CAPTIONS)];
    struct eye_bind bind = {.segment = segment, .n_segments = make_segments(segment, image_rows)};
    eye_val wrt[MAX_IO], grad[MAX_IO];
    size_t n_wrt;
    struct eye_engine e;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_err err;
    bind.t = n_rows;
    eye_graph_init(&g, NULL);
    eye_val loss = build(d, vocabulary, wrt, &n_wrt);
    eye_output(&g, loss);
    check(eye_graph_finish(&g, &err), &err);
    check(eye_graph_gradient(&g, loss, wrt, n_wrt, grad, &err), &err);
    check(eye_engine_init(&e, threads, eye_cpu_flags(), NULL, &err), &err);
    struct eye_plan_opts o = {.max_t = n_rows, .max_ctx = 128};
    check(eye_plan_new(&plan, &e, &g, &o, &err), &err);
    check(eye_exec_new(&x, plan, &err), &err);
    struct eye_io out[MAX_IO];
    for (size_t i = 0; i < g.n_outputs; i++) {
        int64_t n;
        if (!eye_value_elems(eye_value_at(&g, g.output[i]), &bind, &n)) return 1;
        out[i] = (struct eye_io){g.output[i], memory((size_t)n * 4)};
    }
    eye_exec_timing(x, true);
    struct eye_step_time time[MAX_STEPS], best[MAX_STEPS];
    size_t n_steps = 0;
    for (int i = 0; i <= runs; i++) { /* the first warms up */
        check(eye_exec_run(x, NULL, &bind, in, n_in, out, g.n_outputs, NULL, NULL, &err), &err);
        n_steps = EYE_MIN(eye_exec_times(x, time, MAX_STEPS), MAX_STEPS);
        for (size_t k = 0; k < n_steps; k++)
            if (i <= 1 || time[k].ns < best[k].ns) best[k] = time[k];
    }
    printf("%lld rows, d %lld, vocabulary %lld, %d threads\n", (long long)n_rows, (long long)d, (long long)vocabulary, threads);
    for (size_t k = 0; k < n_steps; k++) printf("%-20s %8.3f ms\n", best[k].op, (double)best[k].ns / 1e6);
    return 0;
}
