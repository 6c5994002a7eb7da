/* checkkern --bench: GEMM micro-kernels. Prefill as the engine runs it (256 rows, column blocks that stay in L2), decode as
 * one row streaming a matrix bigger than the last cache. GOP = multiply + add; GB of packed weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "tensor/tensor.h"

#define L2_BYTES ((size_t)320 << 10)     /* rhs block of a prefill: leaves L2 room for lhs and c */
#define STREAM_BYTES ((size_t)160 << 20) /* several times the largest last-level cache share */
#define MIN_NS 200000000ull
enum { ROWS = 256 };

struct weights {
    uint8_t *packed;
    size_t n_panels, panel_bytes;
};

/* One random panel, repeated: values do not matter to speed, bytes do. */
static struct weights make_weights(struct check *c, size_t n, size_t k) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    static const struct { const char *suffix; enum eye_dtype t; } types[] = {
        {"_bf16", EYE_BF16}, {"_f16", EYE_F16}, {"_f32", EYE_F32}, {"_q8b32", EYE_Q8_0}, {"_q4b32", EYE_Q4_0},
        {"_q4k", EYE_Q4_K}};
    enum eye_dtype t = EYE_F32;
    for (size_t i = 0; i < EYE_COUNT(types); i++) {
        size_t len = strlen(types[i].suffix), op_len = strlen(c->row->op);
        if (op_len > len && strcmp(c->row->op + op_len - len, types[i].suffix) == 0) t = types[i].t;
    }
    size_t row_bytes = 0;
    if (!eye_dtype_row_bytes(t, k, &row_bytes)) check_fail(c, "row bytes");
    float *x = malloc(k * sizeof *x);
    uint8_t *rows = malloc(row_bytes * u->nr);
    for (size_t j = 0; j < u->nr; j++) {
        check_fill(c, PAT_RANDOM, x, k, 1.0f);
        eye_row_from_f32(t, x, rows + j * row_bytes, k);
    }
    struct weights w = {.n_panels = (n + u->nr - 1) / u->nr, .panel_bytes = (k + u->kr - 1) / u->kr * u->rhs_step};
    w.packed = eye_pages_alloc(w.n_panels * w.panel_bytes);
    if (!w.packed) check_fail(c, "no memory");
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 10; i++) {
        uint64_t t0 = eye_now_ns();
        u->pack_rhs(u->nr, k, rows, row_bytes, w.packed);
        best = EYE_MIN(best, eye_now_ns() - t0);
    }
    if (n >= 4096) printf("  pack rhs %.2f GB/s", (double)w.panel_bytes / (double)best);
    for (size_t p = 1; p < w.n_panels; p++) memcpy(w.packed + p * w.panel_bytes, w.packed, w.panel_bytes);
    free(rows);
    free(x);
    return w;
}

static void prefill(struct check *c, size_t n, size_t k) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    struct weights w = make_weights(c, n, k);
    size_t steps = (k + u->kr - 1) / u->kr, lhs_panel = EYE_ALIGN_UP(steps * u->mr * u->lhs_step, 64);
    size_t n_lhs = (ROWS + u->mr - 1) / u->mr;
    float *a = eye_pages_alloc(ROWS * k * 4), *out = eye_pages_alloc(ROWS * n * 4);
    uint8_t *lhs = eye_pages_alloc(n_lhs * lhs_panel);
    check_fill(c, PAT_RANDOM, a, ROWS * k, 1.0f);
    memset(out, 0, ROWS * n * 4);
    const size_t block = EYE_MAX(L2_BYTES / w.panel_bytes, 1), n_blocks = (w.n_panels + block - 1) / block;
    /* The sum over column blocks of each one's best: a whole pass is longer than a time slice on a busy machine. */
    uint64_t ns_pack = UINT64_MAX, ns_run = 0, start = eye_now_ns(), *ns = malloc(n_blocks * sizeof *ns);
    memset(ns, 0xff, n_blocks * sizeof *ns);
    do {
        uint64_t t0 = eye_now_ns();
        for (size_t i = 0; i < n_lhs; i++)
            u->pack_lhs(EYE_MIN(ROWS - i * u->mr, u->mr), k, a + i * u->mr * k, k, lhs + i * lhs_panel);
        ns_pack = EYE_MIN(ns_pack, eye_now_ns() - t0);
        for (size_t p = 0; p < n_blocks; p++) {
            size_t j = p * block * u->nr, cols = EYE_MIN(block * u->nr, n - j);
            t0 = eye_now_ns();
            for (size_t i = 0; i < n_lhs; i++)
                u->run(EYE_MIN(ROWS - i * u->mr, u->mr), cols, k, lhs + i * lhs_panel, w.packed + p * block * w.panel_bytes,
                       w.panel_bytes, out + i * u->mr * n + j, n, NULL, false);
            ns[p] = EYE_MIN(ns[p], eye_now_ns() - t0);
        }
    } while (eye_now_ns() - start < MIN_NS);
    for (size_t p = 0; p < n_blocks; p++) ns_run += ns[p];
    free(ns);
    printf("  M=%d K=%zu N=%zu %.0f GOP/s (pack lhs %.1f GB/s, %.0f%%)", ROWS, k, n,
           2.0 * ROWS * (double)k * (double)n / (double)ns_run, 4.0 * ROWS * (double)k / (double)ns_pack,
           100.0 * (double)ns_pack / (double)(ns_pack + ns_run));
    eye_pages_free(a, ROWS * k * 4), eye_pages_free(out, ROWS * n * 4), eye_pages_free(lhs, n_lhs * lhs_panel);
    eye_pages_free(w.packed, w.n_panels * w.panel_bytes);
}

/* One row against total bytes of packed weights. */
static void decode(struct check *c, size_t total, size_t k, const char *what) {
    const struct eye_gemm_ukr *u = c->row->ukr;
    size_t steps = (k + u->kr - 1) / u->kr, n = EYE_MAX(total / (steps * u->rhs_step), 1) * u->nr;
    struct weights w = make_weights(c, n < 4096 ? n : 4095, k);
    size_t bytes = n / u->nr * w.panel_bytes, have = w.n_panels * w.panel_bytes;
    if (bytes > have) { /* the big matrix, without its packing time in the line */
        uint8_t *big = eye_pages_alloc(bytes);
        if (!big) check_fail(c, "no memory");
        for (size_t at = 0; at < bytes; at += w.panel_bytes) memcpy(big + at, w.packed, w.panel_bytes);
        eye_pages_free(w.packed, have);
        w.packed = big, have = bytes;
    }
    float *a = malloc(k * 4), *out = malloc(n * 4);
    void *lhs = eye_pages_alloc(steps * u->lhs_step);
    check_fill(c, PAT_RANDOM, a, k, 1.0f);
    u->pack_lhs(1, k, a, k, lhs);
    uint64_t best = UINT64_MAX, start = eye_now_ns();
    do {
        uint64_t t0 = eye_now_ns();
        u->run(1, n, k, lhs, w.packed, w.panel_bytes, out, n, NULL, false);
        best = EYE_MIN(best, eye_now_ns() - t0);
    } while (eye_now_ns() - start < MIN_NS);
    printf("  m=1 %s %.1f GB/s", what, (double)bytes / (double)best);
    free(a), free(out);
    eye_pages_free(lhs, steps * u->lhs_step);
    eye_pages_free(w.packed, have);
}

/* GOP/s of one full tile, everything in L1 or L2; n columns are enough to hide the call. */
static double tile_speed(struct check *c, const struct check_row *row, size_t k) {
    struct check other = *c;
    other.row = row;
    const struct eye_gemm_ukr *u = row->ukr;
    size_t n = 2u * u->nr, lhs_bytes = (k + u->kr - 1) / u->kr * u->mr * u->lhs_step;
    struct weights w = make_weights(&other, n, k);
    float *a = malloc(u->mr * k * 4), *out = malloc(u->mr * n * 4);
    void *lhs = eye_pages_alloc(lhs_bytes);
    check_fill(c, PAT_RANDOM, a, u->mr * k, 1.0f);
    u->pack_lhs(u->mr, k, a, k, lhs);
    uint64_t best = UINT64_MAX, start = eye_now_ns();
    do {
        uint64_t t0 = eye_now_ns();
        for (int i = 0; i < 4; i++) u->run(u->mr, n, k, lhs, w.packed, w.panel_bytes, out, n, NULL, false);
        best = EYE_MIN(best, eye_now_ns() - t0);
    } while (eye_now_ns() - start < MIN_NS / 2);
    free(a), free(out);
    eye_pages_free(lhs, lhs_bytes);
    eye_pages_free(w.packed, w.n_panels * w.panel_bytes);
    return 4.0 * 2.0 * u->mr * (double)n * (double)k / (double)best;
}

void bench_ukr(struct check *c) {
    static const size_t shapes[][2] = {{896, 4864}, {4864, 896}, {384, 1536}, {96, 384}, {27, 96}}; /* K, N */
    double here = tile_speed(c, c->row, 384), ref = tile_speed(c, c->ref, 384);
    printf("%s %ux%ux%u: tile %.1f GOP/s, %.1f x ref\n", c->row->sym, c->row->ukr->mr, c->row->ukr->nr, c->row->ukr->kr, here,
           here / ref);
    if (c->row == c->ref) return;
    for (size_t i = 0; i < EYE_COUNT(shapes); i++) prefill(c, shapes[i][1], shapes[i][0]), printf("\n");
    decode(c, (size_t)256 << 10, 896, "L2");
    decode(c, (size_t)8 << 20, 896, "L3");
    decode(c, STREAM_BYTES, 896, "DRAM K=896");
    decode(c, STREAM_BYTES, 4864, "DRAM K=4864");
    printf("\n");
}
