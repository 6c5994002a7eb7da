/* engine/ready: panels that were packed ahead of time, and the names they are found by: a form (which kernel's panels, of what
 * numbers) and the weight's name. A form's layout is told by packing a small matrix and hashing what comes out: a file fits
 * this build and CPU exactly if the same numbers become the same bytes. No version has to be counted up. Knows no files. */
#include <string.h>

#include "engine/engine_impl.h"
#include "kernels/int8.h"

/* ---- forms ---- */

static const struct {
    const char *name, *taps; /* taps: of a convolution, k reordered from [C, kh, kw] to [kh, kw, C] */
    enum eye_dtype dtype;    /* what is packed */
    size_t ukr;              /* offset in struct eye_kernels */
} forms[] = {
#define FORM(op, dtype) {#op, #op "_taps", dtype, offsetof(struct eye_kernels, op)}
    FORM(gemm_f32_f32_f32, EYE_F32),       FORM(gemm_f32_f32_f16, EYE_F16),       FORM(gemm_f32_f32_bf16, EYE_BF16),
    FORM(gemm_f32_bf16_bf16, EYE_BF16),    FORM(gemm_f32_q8b32_q8b32, EYE_Q8_0),  FORM(gemm_f32_q8b32_q4b32, EYE_Q4_0),
    FORM(gemm_f32_q8b32_q4k, EYE_Q4_K),
};

static const struct eye_gemm_ukr *form_ukr(const struct eye_kernels *k, size_t i) {
    const struct eye_gemm_ukr *u;
    memcpy(&u, (const char *)k + forms[i].ukr, sizeof u);
    return u;
}

const struct eye_gemm_ukr *eye_form_choose(const struct eye_kernels *k, enum eye_dtype dtype, bool round_lhs, bool taps,
                                           const char **form) {
    size_t found = 0;
    for (size_t i = 0; i < EYE_COUNT(forms); i++) {
        bool bf16_lhs = strcmp(forms[i].name, "gemm_f32_bf16_bf16") == 0;
        if (forms[i].dtype == dtype && bf16_lhs == (dtype == EYE_BF16 && round_lhs)) found = i;
    }
    *form = taps ? forms[found].taps : forms[found].name;
    return form_ukr(k, found);
}

/* ---- layouts ---- */

#define SAMPLE_K 512 /* whole blocks of every type, several steps of every kernel */

static float sample(size_t row, size_t i) { return (float)((row * 31 + i * 17 + row * i % 7) % 61) / 32 - 0.9f; }

/* One panel of rows x k, hashed. */
static uint64_t hash_panel(const struct eye_gemm_ukr *u, enum eye_dtype dtype, size_t rows, size_t k, uint64_t seed) {
    float row[SAMPLE_K];
    _Alignas(EYE_CACHE_LINE) uint8_t src[64 * SAMPLE_K * sizeof(float)], dst[65 * SAMPLE_K * sizeof(float)];
    size_t row_bytes = 0, panel = eye_ceil_div(k, u->kr) * u->rhs_step;
    bool ok = eye_dtype_row_bytes(dtype, k, &row_bytes);
    assert(ok && rows <= 64 && row_bytes <= sizeof row && panel <= sizeof dst);
    if (!ok) return 0;
    memset(dst, 0, panel);
    for (size_t r = 0; r < rows; r++) {
        for (size_t i = 0; i < k; i++) row[i] = sample(r, i);
        eye_row_from_f32(dtype, row, src + r * row_bytes, k);
    }
    u->pack_rhs(rows, k, src, row_bytes, dst);
    return eye_hash64(dst, panel, seed);
}

static uint64_t hash_i8(void) {
    enum { K = 39 };
    int8_t rows[EYE_I8_NR * K];
    _Alignas(EYE_CACHE_LINE) uint8_t dst[EYE_I8_NR * EYE_ALIGN_UP(K, 64) + 64];
    assert(eye_i8_panel_bytes(K) <= sizeof dst);
    memset(dst, 0, sizeof dst);
    for (size_t i = 0; i < sizeof rows; i++) rows[i] = (int8_t)(i * 29 % 251);
    eye_i8_pack_panel(EYE_I8_NR, K, rows, K, dst);
    return eye_hash64(dst, eye_i8_panel_bytes(K), EYE_I8_NR);
}

static const char *kernel_name(const struct eye_kernels *k, const char *op) {
    const char *o, *kernel = "";
    for (size_t i = 0; eye_kernels_choice(i, k->flags, &o, &kernel); i++)
        if (strcmp(o, op) == 0) return kernel;
    return "";
}

bool eye_packed_layout(const struct eye_kernels *k, const char *form, const char **kernel, uint64_t *layout) {
    if (kernel) *kernel = "";
    if (strcmp(form, EYE_FORM_I8_BIAS) == 0) {
        *layout = 1; /* a vector of f32 */
        return true;
    }
    if (strcmp(form, EYE_FORM_I8) == 0) {
        *layout = hash_i8();
        return true;
    }
    for (size_t i = 0; i < EYE_COUNT(forms); i++) {
        if (strcmp(forms[i].name, form) != 0 && strcmp(forms[i].taps, form) != 0) continue;
        const struct eye_gemm_ukr *u = form_ukr(k, i);
        uint64_t shape = (uint64_t)u->nr << 32 | (uint64_t)u->kr << 16 | u->rhs_step;
        uint64_t whole = hash_panel(u, forms[i].dtype, u->nr, SAMPLE_K, shape);
        bool blocks = eye_dtype_info(forms[i].dtype)->block_elems > 1;
        *layout = hash_panel(u, forms[i].dtype, (size_t)u->nr - 1, blocks ? SAMPLE_K / 2 : (size_t)u->kr + 1, whole);
        if (kernel) *kernel = kernel_name(k, forms[i].name);
        return true;
    }
    return false;
}

/* ---- blobs with names ---- */

struct copy_ctx {
    const uint8_t *src;
    size_t bytes;
};
struct copy_job {
    const struct copy_ctx *c;
    uint8_t *dst;
};
#define COPY_BYTES ((size_t)2 << 20)

static void copy_task(void *ctx, int i_task, int i_thread) {
    const struct copy_job *j = ctx;
    size_t at = (size_t)i_task * COPY_BYTES;
    memcpy(j->dst + at, j->c->src + at, EYE_MIN(COPY_BYTES, j->c->bytes - at));
}

static void fill_copy(const struct eye_packer *p, void *dst, const void *ctx) {
    struct copy_job j = {ctx, dst};
    eye_pool_run(p->pool, (int)eye_ceil_div(j.c->bytes, COPY_BYTES), copy_task, &j);
}

static struct eye_ready *find_part(const struct eye_plan *p, const char *form, const struct eye_value *w) {
    for (size_t i = 0; i < p->n_ready; i++)
        if (p->ready[i].w == w && strcmp(p->ready[i].form, form) == 0) return &p->ready[i];
    return NULL;
}

static enum eye_status use_packed(struct eye_lower *l, const void *data, struct eye_ready *r, struct eye_err *err) {
    if ((uintptr_t)data % EYE_CACHE_LINE != 0)
        return eye_fail(err, EYE_E_CORRUPT, "engine: packed weight \"%s\" does not lie at a cache line", r->w->name);
    if (!l->plan->opts.packed->copy) {
        r->data = data;
        return EYE_OK;
    }
    struct copy_ctx c = {data, r->bytes};
    return eye_lower_blob(l, r->bytes, fill_copy, &c, sizeof c, 0, &r->blob, err);
}

enum eye_status eye_lower_ready(struct eye_lower *l, const char *form, const struct eye_value *w, size_t bytes,
                                eye_fill_fn *fill, const void *ctx, size_t ctx_bytes, size_t scratch, size_t *blob,
                                struct eye_err *err) {
    struct eye_plan *p = l->plan;
    const struct eye_packed *packed = p->opts.packed;
    struct eye_ready r = {.form = form, .w = w, .bytes = bytes, .blob = EYE_NO_BLOB};
    const struct eye_ready *first = find_part(p, form, w);
    size_t got = 0;
    void *mem = p->ready;
    if (first && memcmp(first->ctx, ctx, ctx_bytes) == 0) {
        *blob = first->data ? EYE_BLOB_READY | (size_t)(first - p->ready) : first->blob;
        return EYE_OK;
    }
    if (first) { /* another use of the same weight: a name stands for one of them only */
        p->reads[w - l->g->value] = true;
        EYE_TRY(eye_lower_has_data(w, err));
        return eye_lower_blob(l, bytes, fill, ctx, ctx_bytes, scratch, blob, err);
    }
    const void *data = packed ? packed->find(packed->ctx, form, w->name, &got) : NULL;
    if (data && got != bytes)
        return eye_fail(err, EYE_E_CORRUPT, "engine: packed weight \"%s\" (%s): expected %zu bytes, got %zu", w->name, form,
                        bytes, got);
    EYE_TRY(eye_alloc_grow(l->e->alloc, &mem, &p->ready_cap, p->n_ready + 1, sizeof *p->ready, err));
    p->ready = mem;
    void *copy = eye_arena_alloc(&p->arena, ctx_bytes);
    if (!copy) return eye_fail_nomem(err, ctx_bytes);
    r.ctx = memcpy(copy, ctx, ctx_bytes);
    if (data) {
        EYE_TRY(use_packed(l, data, &r, err));
    } else {
        EYE_TRY(eye_lower_has_data(w, err));
        EYE_TRY(eye_lower_blob(l, bytes, fill, ctx, ctx_bytes, scratch, &r.blob, err));
    }
    *blob = r.data ? EYE_BLOB_READY | p->n_ready : r.blob;
    p->ready[p->n_ready++] = r;
    return EYE_OK;
}

/* ---- what can be kept ---- */

size_t eye_plan_n_parts(const struct eye_plan *p) { return p->n_ready; }

struct eye_plan_part eye_plan_part(const struct eye_plan *p, size_t i) {
    const struct eye_ready *r = &p->ready[i];
    return (struct eye_plan_part){.form = r->form, .name = r->w->name, .w = r->w, .bytes = r->bytes,
                                  .data = r->data ? r->data : p->weights + r->blob};
}

bool eye_plan_reads(const struct eye_plan *p, eye_val weight) { return p->reads[weight]; }
