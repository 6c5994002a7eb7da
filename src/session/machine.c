/* machine: what this machine is to the engine: kernels chosen, speed of memory and of GEMM, and whether the kernels agree with
 * the plain C ones. For `eyelet doctor`; knows no model and prints nothing. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "eyelet/experimental.h"
#include "image/decode.h"

_Static_assert(sizeof((struct eye_machine *)NULL)->jpeg == EYE_LIBRARY_MAX, "one size of library names");

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown"
#endif

void eye_machine_get(struct eye_machine *out) {
    const char *mask = getenv("EYE_CPU");
    uint32_t flags;
    *out = (struct eye_machine){.compiler = COMPILER, .n_cpus = eye_cpu_count()};
    eye_image_libraries(out->jpeg, out->png, out->webp);
    eye_cpu_names(eye_cpu_detected(), out->cpu_detected, sizeof out->cpu_detected);
    eye_cpu_names(eye_cpu_flags(), out->cpu_allowed, sizeof out->cpu_allowed);
    out->cpu_unknown = mask && *mask && !eye_cpu_parse(mask, &flags);
}

/* ---- kernels ---- */

size_t eye_kernel_choices(struct eye_kernel_choice *out, size_t cap) {
    const char *op, *kernel;
    uint32_t flags = eye_cpu_flags();
    size_t n = 0;
    for (; eye_kernels_choice(n, flags, &op, &kernel); n++)
        if (n < cap) out[n] = (struct eye_kernel_choice){op, kernel};
    return n;
}

/* ---- memory ---- */

#define READ_CHUNK ((size_t)2 << 20)
#define MEASURE_NS UINT64_C(150000000) /* each figure: as many rounds as fit, at least two */

struct reading {
    const uint64_t *p;
    uint64_t *sums; /* one per chunk: the reads must not be for nothing */
};

static void read_chunk(void *ctx, int i_task, int i_thread) {
    const struct reading *r = ctx;
    const uint64_t *p = r->p + (size_t)i_task * (READ_CHUNK / 8);
    uint64_t sum[8] = {0};
    for (size_t i = 0; i < READ_CHUNK / 8; i += 8)
        for (size_t k = 0; k < 8; k++) sum[k] += p[i + k];
    for (size_t k = 1; k < 8; k++) sum[0] += sum[k];
    r->sums[i_task] = sum[0];
}

/* Best round, in bytes per second. */
static double read_rate(struct eye_pool *pool, struct reading *r, size_t n_chunks) {
    uint64_t best = UINT64_MAX, begin = eye_now_ns(), at = begin;
    for (int round = 0; round < 2 || at - begin < MEASURE_NS; round++) {
        uint64_t from = at;
        eye_pool_run(pool, (int)n_chunks, read_chunk, r);
        at = eye_now_ns();
        best = EYE_MIN(best, EYE_MAX(at - from, 1));
    }
    return (double)n_chunks * (double)READ_CHUNK * 1e9 / (double)best;
}

/* Of this process, in bytes; false = the kernel does not say. */
static bool huge_page_bytes(uint64_t *bytes) {
    char line[256];
    unsigned long long kib = 0;
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    bool found = false;
    if (!f) return false;
    while (!found && fgets(line, sizeof line, f)) found = sscanf(line, "AnonHugePages: %llu kB", &kib) == 1;
    fclose(f);
    *bytes = (uint64_t)kib * 1024;
    return found;
}

static enum eye_status measure_memory(const struct eye_engine *e, struct eye_speed *out, struct eye_err *err) {
    size_t n_chunks = (size_t)out->buffer_bytes / READ_CHUNK, bytes = n_chunks * READ_CHUNK;
    struct eye_pool *one;
    uint64_t huge = 0, now = 0;
    bool known = huge_page_bytes(&huge);
    struct reading r = {.sums = eye_alloc_zero(NULL, n_chunks * sizeof *r.sums)};
    if (!r.sums) return eye_fail_nomem(err, n_chunks * sizeof *r.sums);
    uint64_t *p = eye_pages_alloc(bytes);
    enum eye_status st = p ? eye_pool_new(&one, 1, NULL, err) : eye_fail_nomem(err, bytes);
    if (st == EYE_OK) {
        memset(p, 1, bytes); /* before it is written all of it is one page of zeros */
        r.p = p;
        out->huge_known = known && huge_page_bytes(&now);
        out->huge_bytes = now > huge ? EYE_MIN(now - huge, bytes) : 0;
        out->buffer_bytes = bytes;
        out->read_1_bytes_per_s = read_rate(one, &r, n_chunks);
        out->read_bytes_per_s = read_rate(e->pool, &r, n_chunks);
        eye_pool_free(one);
    }
    eye_pages_free(p, bytes);
    eye_alloc_free(NULL, r.sums, n_chunks * sizeof *r.sums);
    return st;
}

/* ---- small graphs ---- */

struct rig { /* a graph of one input on one engine */
    struct eye_graph g;
    eye_val x;
    struct eye_plan *plan;
    struct eye_exec *exec;
};

static void fill(float *p, size_t n, uint64_t seed) {
    struct eye_rng rng;
    eye_rng_seed(&rng, seed);
    for (size_t i = 0; i < n; i++) p[i] = (float)(2 * eye_rng_unit(&rng) - 1);
}

static eye_val weight(struct eye_graph *g, const char *name, const float *p, int64_t rows_n, int64_t cols) {
    struct eye_tensor t = {.dtype = EYE_F32, .rank = cols ? 2 : 1, .dims = {rows_n, cols}, .data = p};
    return eye_weight(g, name, &t);
}

static enum eye_status rig_ready(struct rig *r, const struct eye_engine *e, enum eye_wtype type, int64_t max_t,
                                 struct eye_err *err) {
    EYE_TRY(eye_graph_finish(&r->g, err));
    eye_graph_quantize(&r->g, type);
    EYE_TRY(eye_plan_new(&r->plan, e, &r->g, &(struct eye_plan_opts){.max_t = max_t}, err));
    return eye_exec_new(&r->exec, r->plan, err);
}

static void rig_begin(struct rig *r, int64_t cols) {
    *r = (struct rig){0};
    eye_graph_init(&r->g, NULL);
    r->x = eye_input(&r->g, "x", EYE_F32, 2, (int64_t[]){EYE_DIM_T, cols});
}

static void rig_clear(struct rig *r) {
    eye_exec_free(r->exec);
    eye_plan_free(r->plan);
    eye_graph_clear(&r->g);
}

/* ---- GEMM ---- */

#define GEMM_T 128
#define GEMM_SIDE 1024

static enum eye_status gemm_rate(const struct eye_engine *e, enum eye_wtype type, const float *w, float *x, float *y,
                                 double *flop_per_s, struct eye_err *err) {
    struct rig r;
    rig_begin(&r, GEMM_SIDE);
    eye_val v = eye_linear(&r.g, r.x, weight(&r.g, "w", w, GEMM_SIDE, GEMM_SIDE), EYE_NONE);
    eye_output(&r.g, v);
    uint64_t best = UINT64_MAX, spent = 0;
    enum eye_status st = rig_ready(&r, e, type, GEMM_T, err);
    struct eye_io in = {r.x, x}, out = {v, y};
    for (int round = -1; st == EYE_OK && (round < 1 || spent < MEASURE_NS); round++) { /* round -1: a few rows, to warm up */
        uint64_t from = eye_now_ns();
        st = eye_exec_run(r.exec, NULL, &(struct eye_bind){.t = round < 0 ? 8 : GEMM_T}, &in, 1, &out, 1, NULL, NULL, err);
        uint64_t ns = EYE_MAX(eye_now_ns() - from, 1);
        if (round < 0) continue;
        spent += ns;
        best = EYE_MIN(best, ns);
    }
    if (st == EYE_OK) *flop_per_s = 2.0 * GEMM_T * GEMM_SIDE * GEMM_SIDE * 1e9 / (double)best;
    rig_clear(&r);
    return st;
}

static enum eye_status measure_gemm(const struct eye_engine *e, eye_cancel_fn *cancel, void *cancel_ctx, struct eye_speed *out,
                                    struct eye_err *err) {
    static const enum eye_wtype types[EYE_N_SPEED] = {EYE_W_F32, EYE_W_BF16, EYE_W_Q8_0};
    size_t n_w = GEMM_SIDE * GEMM_SIDE, n_x = GEMM_T * GEMM_SIDE, bytes = (n_w + 2 * n_x) * sizeof(float);
    float *w = eye_alloc_raw(NULL, bytes), *x = w + n_w, *y = x + n_x;
    enum eye_status st = EYE_OK;
    if (!w) return eye_fail_nomem(err, bytes);
    fill(w, n_w + n_x, 1);
    for (int k = 0; st == EYE_OK && k < EYE_N_SPEED; k++) {
        if (cancel && cancel(cancel_ctx)) st = eye_fail(err, EYE_E_CANCELLED, "cancelled");
        else st = gemm_rate(e, types[k], w, x, y, &out->gemm_flop_per_s[k], err);
    }
    eye_alloc_free(NULL, w, bytes);
    return st;
}

/* ---- multipliers ---- */

#define PEAK_ROUNDS 10000

struct peak {
    eye_peak_fn *fn;
    double *sum; /* [n_threads] */
};

static void peak_task(void *ctx, int i_task, int i_thread) {
    const struct peak *p = ctx;
    p->sum[i_task] = p->fn(PEAK_ROUNDS, 1.0f);
}

static enum eye_status measure_peaks(const struct eye_engine *e, struct eye_speed *out, struct eye_err *err) {
    const struct eye_kernels *k = &e->kernels;
    eye_peak_fn *const fn[EYE_N_SPEED] = {k->peak_f32, k->peak_bf16, k->peak_i8};
    int n = eye_pool_n_threads(e->pool);
    struct peak p = {.sum = eye_alloc_zero(NULL, (size_t)n * sizeof *p.sum)};
    if (!p.sum) return eye_fail_nomem(err, (size_t)n * sizeof *p.sum);
    for (int type = 0; type < EYE_N_SPEED; type++) {
        p.fn = fn[type];
        uint64_t spent = 0;
        for (int round = 0; round < 64 || spent < MEASURE_NS / 4; round++) { /* the best: others may be running too */
            uint64_t from = eye_now_ns(), ns;
            double done = 0;
            eye_pool_run(e->pool, n, peak_task, &p);
            spent += ns = EYE_MAX(eye_now_ns() - from, 1);
            for (int i = 0; i < n; i++) done += p.sum[i];
            out->peak_flop_per_s[type] = EYE_MAX(out->peak_flop_per_s[type], 2 * done * 1e9 / (double)ns);
        }
    }
    eye_alloc_free(NULL, p.sum, (size_t)n * sizeof *p.sum);
    return EYE_OK;
}

enum eye_status eye_speed_measure(int32_t n_threads, uint64_t buffer_bytes, eye_cancel_fn *cancel, void *cancel_ctx,
                                  struct eye_speed *out, struct eye_err *err) {
    struct eye_engine e;
    if (n_threads < 0 || n_threads > 1024) return eye_fail(err, EYE_E_ARG, "n_threads is %d, expected 0 to 1024", n_threads);
    struct eye_speed speed = {.buffer_bytes = EYE_MAX(EYE_MIN(buffer_bytes, (uint64_t)1 << 30), READ_CHUNK)};
    EYE_TRY(eye_engine_init(&e, n_threads, eye_cpu_flags(), NULL, err));
    enum eye_status st = measure_memory(&e, &speed, err);
    if (st == EYE_OK) st = measure_peaks(&e, &speed, err);
    if (st == EYE_OK) st = measure_gemm(&e, cancel, cancel_ctx, &speed, err);
    eye_engine_clear(&e);
    if (st == EYE_OK) *out = speed;
    return st;
}

/* ---- self-check ---- */

enum { CHECK_T = 7, CHECK_K = 160, CHECK_N = 96, CHECK_OUTS = 6 };
static const char *const check_names[CHECK_OUTS] = {"linear", "rms_norm", "layer_norm", "softmax", "gelu", "silu"};
/* Sums of K products of numbers below 1: any two orders differ by at most K roundings of partial sums up to K each way. The
 * rest: results are below sqrt(K) and a few roundings of vectorised functions away from each other. */
static const double check_bounds[CHECK_OUTS] = {2.0 * CHECK_K * CHECK_K * 0x1p-24, 1e-5, 1e-5, 1e-5, 1e-5, 1e-5};
struct check_data {
    float w[CHECK_N * CHECK_K], norm[2 * CHECK_K], x[CHECK_T * CHECK_K];
    float y[2][CHECK_OUTS][CHECK_T * CHECK_K]; /* [plain C, this CPU]; CHECK_N < CHECK_K */
};

static enum eye_status check_run(const struct eye_engine *e, enum eye_wtype type, struct check_data *d, int side,
                                 struct eye_err *err) {
    struct rig r;
    rig_begin(&r, CHECK_K);
    eye_val a = weight(&r.g, "a", d->norm, CHECK_K, 0), b = weight(&r.g, "b", d->norm + CHECK_K, CHECK_K, 0);
    eye_val v[CHECK_OUTS] = {
        eye_linear(&r.g, r.x, weight(&r.g, "w", d->w, CHECK_N, CHECK_K), EYE_NONE), eye_rms_norm(&r.g, r.x, a, 1e-6f),
        eye_layer_norm(&r.g, r.x, a, b, 1e-5f), eye_softmax(&r.g, r.x), eye_act(&r.g, r.x, EYE_ACT_GELU),
        eye_act(&r.g, r.x, EYE_ACT_SILU)};
    struct eye_io in = {r.x, d->x}, out[CHECK_OUTS];
    for (int i = 0; i < CHECK_OUTS; i++) {
        eye_output(&r.g, v[i]);
        out[i] = (struct eye_io){v[i], d->y[side][i]};
    }
    enum eye_status st = rig_ready(&r, e, type, CHECK_T, err);
    struct eye_bind bind = {.t = CHECK_T};
    if (st == EYE_OK) st = eye_exec_run(r.exec, NULL, &bind, &in, 1, out, CHECK_OUTS, NULL, NULL, err);
    rig_clear(&r);
    return st;
}

static void compare(const struct check_data *d, const char *type, struct eye_self_check *out) {
    for (int i = 0; i < CHECK_OUTS; i++) {
        int n = CHECK_T * (i == 0 ? CHECK_N : CHECK_K);
        for (int k = 0; k < n; k++) {
            double diff = fabs((double)d->y[0][i][k] - (double)d->y[1][i][k]) / check_bounds[i];
            if (diff <= out->worst) continue; /* a NaN is worse than all */
            out->worst = isnan(diff) ? INFINITY : diff;
            snprintf(out->worst_op, sizeof out->worst_op, "%s%s%s", check_names[i], i ? "" : " ", i ? "" : type);
        }
        out->n_results += n;
    }
}

enum eye_status eye_self_check(struct eye_self_check *out, struct eye_err *err) {
    static const char *const names[EYE_W_I8] = {"stored", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k"};
    struct eye_engine e[2];
    struct eye_self_check r = {0};
    struct check_data *d = eye_alloc_zero(NULL, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    fill(d->w, EYE_COUNT(d->w), 1);
    fill(d->norm, EYE_COUNT(d->norm), 2);
    fill(d->x, EYE_COUNT(d->x), 3);
    int n_engines = 0;
    enum eye_status st = eye_engine_init(&e[n_engines++], 1, 0, NULL, err);
    if (st == EYE_OK) st = eye_engine_init(&e[n_engines++], 2, eye_cpu_flags(), NULL, err);
    if (st != EYE_OK) n_engines--;
    for (int type = EYE_W_F32; st == EYE_OK && type < EYE_W_I8; type++) {
        for (int side = 0; side < 2 && st == EYE_OK; side++) st = check_run(&e[side], (enum eye_wtype)type, d, side, err);
        if (st == EYE_OK) compare(d, names[type], &r);
    }
    while (n_engines > 0) eye_engine_clear(&e[--n_engines]);
    eye_alloc_free(NULL, d, sizeof *d);
    if (st == EYE_OK) *out = r;
    return st;
}
