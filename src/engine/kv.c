/* engine/kv: the KV cache of one session: for every state of a plan's graph one block, heads outermost, positions rounded up
 * to attention panels. i8 caches carry one f32 scale per head and position behind the block. */
#include "engine/engine_impl.h"

#include <string.h>

struct eye_kv {
    const struct eye_plan *plan;
    int64_t n_ctx;         /* positions a run may use */
    int64_t positions;     /* n_ctx rounded up to panels */
    uint8_t *mem;
    size_t bytes;
    size_t *offset;        /* [n_states] */
};

size_t eye_kv_elem_bytes(enum eye_kv_type t) { return t == EYE_KV_F32 ? 4 : t == EYE_KV_F16 ? 2 : 1; }

bool eye_kv_state_bytes(const struct eye_state_spec *s, enum eye_kv_type t, int64_t n_ctx, size_t *out) {
    size_t rows, data, scales = 0;
    if (!eye_mul_ok((size_t)s->heads, (size_t)n_ctx, &rows) || !eye_mul_ok(rows, (size_t)s->dim * eye_kv_elem_bytes(t), &data))
        return false;
    if (t == EYE_KV_I8 && !eye_mul_ok(rows, sizeof(float), &scales)) return false;
    return eye_add_ok(eye_line(data), scales, out);
}

enum eye_status eye_kv_new(struct eye_kv **out, const struct eye_plan *plan, int64_t n_ctx, struct eye_err *err) {
    if (n_ctx < 1 || n_ctx > INT32_MAX / 2)
        return eye_fail(err, EYE_E_ARG, "KV cache: expected 1 to %d slots, got %lld", INT32_MAX / 2, (long long)n_ctx);
    size_t head = eye_line(sizeof(struct eye_kv)), bytes = head + plan->n_states * sizeof(size_t);
    struct eye_kv *kv = eye_alloc_zero(plan->e->alloc, bytes);
    if (!kv) return eye_fail_nomem(err, bytes);
    kv->plan = plan;
    kv->n_ctx = n_ctx;
    kv->positions = EYE_ALIGN_UP(n_ctx, EYE_ATTN_LANES);
    kv->offset = (size_t *)((uint8_t *)kv + head);
    for (size_t i = 0; i < plan->n_states; i++) {
        size_t state;
        kv->offset[i] = kv->bytes;
        if (!eye_kv_state_bytes(&plan->state[i], plan->opts.kv_type, kv->positions, &state) ||
            !eye_add_ok(kv->bytes, state, &kv->bytes) || kv->bytes > SIZE_MAX / 2) {
            eye_alloc_free(plan->e->alloc, kv, bytes);
            return eye_fail(err, EYE_E_LIMIT, "KV cache: %lld positions exceed the address space", (long long)n_ctx);
        }
        kv->bytes = eye_line(kv->bytes);
    }
    kv->mem = eye_pages_alloc(kv->bytes);
    if (!kv->mem) {
        size_t wanted = kv->bytes;
        eye_alloc_free(plan->e->alloc, kv, bytes);
        return eye_fail_nomem(err, wanted);
    }
    *out = kv;
    return EYE_OK;
}

void eye_kv_free(struct eye_kv *kv) {
    if (!kv) return;
    eye_pages_free(kv->mem, kv->bytes);
    eye_alloc_free(kv->plan->e->alloc, kv, eye_line(sizeof *kv) + kv->plan->n_states * sizeof(size_t));
}

int64_t eye_kv_ctx(const struct eye_kv *kv) { return kv->n_ctx; }
const struct eye_plan *eye_kv_plan(const struct eye_kv *kv) { return kv->plan; }

struct eye_kv_view eye_kv_head(const struct eye_kv *kv, int32_t slot, int64_t head) {
    const struct eye_state_spec *s = &kv->plan->state[slot];
    enum eye_kv_type t = kv->plan->opts.kv_type;
    uint8_t *base = kv->mem + kv->offset[slot];
    size_t head_bytes = (size_t)(kv->positions * s->dim) * eye_kv_elem_bytes(t);
    struct eye_kv_view view = {base + (size_t)head * head_bytes, NULL};
    if (t == EYE_KV_I8) view.scale = (float *)(base + eye_line((size_t)s->heads * head_bytes)) + head * kv->positions;
    return view;
}

/* ---- as bytes ---- */

/* Chunk number to state and head. */
static const struct eye_state_spec *find_chunk(const struct eye_kv *kv, size_t i_chunk, struct eye_kv_view *view) {
    for (size_t i = 0; i < kv->plan->n_states; i++) {
        const struct eye_state_spec *s = &kv->plan->state[i];
        if (i_chunk < (size_t)s->heads) {
            *view = eye_kv_head(kv, (int32_t)i, (int64_t)i_chunk);
            return s;
        }
        i_chunk -= (size_t)s->heads;
    }
    assert(0 && "no such chunk");
    return NULL;
}

size_t eye_kv_n_chunks(const struct eye_kv *kv) {
    size_t n = 0;
    for (size_t i = 0; i < kv->plan->n_states; i++) n += (size_t)kv->plan->state[i].heads;
    return n;
}

size_t eye_kv_chunk_bytes(const struct eye_kv *kv, size_t i_chunk, int64_t n) {
    struct eye_kv_view view = {0};
    const struct eye_state_spec *s = find_chunk(kv, i_chunk, &view);
    return (size_t)n * ((size_t)s->dim * eye_kv_elem_bytes(kv->plan->opts.kv_type) + (view.scale ? sizeof(float) : 0));
}

/* Keys lie in panels (lower_attention.c, put_row): element by element; values are rows already. */
static void move_chunk(const struct eye_kv *kv, size_t i_chunk, int64_t first, int64_t n_positions, uint8_t *bytes, bool to_cache) {
    struct eye_kv_view view = {0};
    const struct eye_state_spec *s = find_chunk(kv, i_chunk, &view);
    size_t elem = eye_kv_elem_bytes(kv->plan->opts.kv_type), dim = (size_t)s->dim, n = (size_t)n_positions;
    uint8_t *data = view.data;
    for (size_t i = 0; i < n; i++) {
        size_t pos = (size_t)first + i;
        uint8_t *row = bytes + i * dim * elem, *at = data + pos * dim * elem;
        if (!s->is_key) {
            memcpy(to_cache ? at : row, to_cache ? row : at, dim * elem);
            continue;
        }
        at = data + (pos / EYE_ATTN_LANES * dim * EYE_ATTN_LANES + pos % EYE_ATTN_LANES) * elem;
        for (size_t e = 0; e < dim; e++, row += elem, at += EYE_ATTN_LANES * elem)
            memcpy(to_cache ? at : row, to_cache ? row : at, elem);
    }
    bytes += n * dim * elem;
    float *scale = view.scale ? view.scale + first : NULL;
    if (scale) memcpy(to_cache ? (void *)scale : bytes, to_cache ? (void *)bytes : scale, n * sizeof(float));
}

void eye_kv_read(const struct eye_kv *kv, size_t i_chunk, int64_t n, void *dst) { move_chunk(kv, i_chunk, 0, n, dst, false); }

void eye_kv_write(struct eye_kv *kv, size_t i_chunk, int64_t n, const void *src) {
    move_chunk(kv, i_chunk, 0, n, (void *)(uintptr_t)src, true); /* to_cache: only read */
}

void eye_kv_read_slots(const struct eye_kv *kv, size_t i_chunk, int64_t first, int64_t n, void *dst) {
    assert(first >= 0 && n >= 0 && n <= kv->n_ctx - first);
    move_chunk(kv, i_chunk, first, n, dst, false);
}

void eye_kv_write_slots(struct eye_kv *kv, size_t i_chunk, int64_t first, int64_t n, const void *src) {
    assert(first >= 0 && n >= 0 && n <= kv->n_ctx - first);
    move_chunk(kv, i_chunk, first, n, (void *)(uintptr_t)src, true);
}

/* ---- between slots ---- */

/* n positions, all of one panel where they come from and of one where they go to. */
static void copy_in_panels(uint8_t *data, size_t dim, size_t elem, size_t to, size_t from, size_t n) {
    uint8_t *dst = data + (to / EYE_ATTN_LANES * dim * EYE_ATTN_LANES + to % EYE_ATTN_LANES) * elem;
    const uint8_t *src = data + (from / EYE_ATTN_LANES * dim * EYE_ATTN_LANES + from % EYE_ATTN_LANES) * elem;
    for (size_t e = 0; e < dim; e++) memcpy(dst + e * EYE_ATTN_LANES * elem, src + e * EYE_ATTN_LANES * elem, n * elem);
}

static void copy_head(struct eye_kv_view view, const struct eye_state_spec *s, size_t elem, size_t to, size_t from, size_t n) {
    uint8_t *data = view.data;
    size_t dim = (size_t)s->dim;
    if (view.scale) memcpy(view.scale + to, view.scale + from, n * sizeof(float));
    if (!s->is_key) {
        memcpy(data + to * dim * elem, data + from * dim * elem, n * dim * elem);
        return;
    }
    if (to % EYE_ATTN_LANES == 0 && from % EYE_ATTN_LANES == 0) {
        size_t whole = n / EYE_ATTN_LANES * EYE_ATTN_LANES;
        memcpy(data + to * dim * elem, data + from * dim * elem, whole * dim * elem);
        n -= whole, to += whole, from += whole;
    }
    for (size_t run; n > 0; n -= run, to += run, from += run) {
        run = EYE_MIN(EYE_ATTN_LANES - to % EYE_ATTN_LANES, EYE_ATTN_LANES - from % EYE_ATTN_LANES);
        run = EYE_MIN(run, n);
        copy_in_panels(data, dim, elem, to, from, run);
    }
}

void eye_kv_copy(struct eye_kv *kv, int64_t dst_slot, int64_t src_slot, int64_t n) {
    assert(n >= 0 && dst_slot >= 0 && src_slot >= 0 && n <= kv->n_ctx - dst_slot && n <= kv->n_ctx - src_slot);
    assert(dst_slot + n <= src_slot || src_slot + n <= dst_slot);
    size_t elem = eye_kv_elem_bytes(kv->plan->opts.kv_type);
    for (size_t i = 0; i < kv->plan->n_states; i++)
        for (int64_t h = 0; h < kv->plan->state[i].heads; h++)
            copy_head(eye_kv_head(kv, (int32_t)i, h), &kv->plan->state[i], elem, (size_t)dst_slot, (size_t)src_slot, (size_t)n);
}
