/* Sequence: positions and masks of a decoder's rows; see sequence.h. */
#include "export/sequence.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Added to scores of what is not seen. Two of them (a hidden row of a hidden column) stay finite in half precision. */
static double hidden(const struct eye_sequence *s) { return s->d->real == EYE_ONNX_F16 ? -30000 : -1e9; }

/* ---- dynamic lengths ---- */

/* T as i64 [1]. */
static const char *length(struct eye_sequence *s) {
    if (!s->length) s->length = eye_draft_slice(s->d, eye_draft_1(s->d, "Shape", s->rows), 0, 1, 2);
    return s->length;
}

/* 0 … T - 1 as i64 [T]. */
static const char *row_index(struct eye_sequence *s) {
    struct eye_draft *d = s->d;
    if (s->index) return s->index;
    const char *in[3] = {eye_draft_scalar(d, EYE_ONNX_I64, 0), eye_draft_1(d, "Squeeze", length(s)),
                         eye_draft_scalar(d, EYE_ONNX_I64, 1)};
    return s->index = eye_draft_node(d, "Range", in, 3, NULL);
}

/* ---- RoPE ---- */

/* Angles are computed in f32 whatever the graph's type: half precision has no fraction left at position 1024. */
static void angles(struct eye_sequence *s, const char *positions) {
    struct eye_draft *d = s->d;
    int64_t half = s->head_dim / 2;
    float freq[512];
    for (int64_t i = 0; i < half; i++) freq[i] = (float)pow(s->theta, -2.0 * (double)i / (double)s->head_dim);
    const char *f = eye_draft_table(d, "rope.frequencies", EYE_ONNX_F32, 1, &half, freq);
    const char *a = eye_draft_2(d, "Mul", eye_draft_cast(d, positions, EYE_ONNX_F32), f);
    s->cos = eye_draft_1(d, "Cos", a);
    s->sin = eye_draft_1(d, "Sin", a);
    if (d->real == EYE_ONNX_F32) return;
    s->cos = eye_draft_cast(d, s->cos, d->real);
    s->sin = eye_draft_cast(d, s->sin, d->real);
}

/* Tables of n positions, [.., n, D/2], numbers in double. */
static enum eye_status tables(struct eye_sequence *s, int64_t n, size_t rank, const char **cosines, const char **sines,
                              struct eye_err *err) {
    int64_t half = s->head_dim / 2, dims[4] = {1, 1, n, half};
    size_t count, bytes;
    float *t = eye_mul_ok((size_t)n, (size_t)half, &count) && eye_mul_ok(count, sizeof *t, &bytes)
                   ? eye_arena_alloc(&s->d->m->arena, bytes) : NULL;
    if (!t) return eye_fail(err, EYE_E_NOMEM, "RoPE tables of %lld positions: out of memory", (long long)n);
    for (int k = 0; k < 2; k++) {
        for (int64_t p = 0; p < n; p++)
            for (int64_t i = 0; i < half; i++) {
                double a = (double)p * pow(s->theta, -2.0 * (double)i / (double)s->head_dim);
                t[p * half + i] = (float)(k ? sin(a) : cos(a));
            }
        *(k ? sines : cosines) = eye_draft_table(s->d, k ? "rope.sin" : "rope.cos", s->d->real, rank, dims + 4 - rank, t);
    }
    return EYE_OK;
}

static enum eye_status looked_up(struct eye_sequence *s, struct eye_err *err) {
    struct eye_draft *d = s->d;
    const int64_t heads = 1;
    const char *table[2];
    EYE_TRY(tables(s, s->max_positions, 2, &table[0], &table[1], err));
    for (int k = 0; k < 2; k++) /* [B,T,D/2] -> [B,1,T,D/2] */
        *(k ? &s->sin : &s->cos) = eye_draft_unsqueeze(d, eye_draft_2(d, "Gather", table[k], s->position_ids), 1, &heads);
    return EYE_OK;
}

enum eye_status eye_sequence_rope(struct eye_sequence *s, double theta, int64_t head_dim, const char **cos_out,
                                  const char **sin_out, struct eye_err *err) {
    static const int64_t around[] = {1, 3}, behind[] = {1};
    if (s->head_dim && (s->theta != theta || s->head_dim != head_dim))
        return eye_fail(err, EYE_E_UNSUPPORTED, "two kinds of RoPE in one decoder have no common inputs");
    s->theta = theta;
    s->head_dim = head_dim;
    if (head_dim > 1024) return eye_fail(err, EYE_E_LIMIT, "heads of %lld are wider than 1024", (long long)head_dim);
    if (!s->cos) {
        s->d->scope = "rope";
        if (s->cos_in) {
            s->cos = s->cos_in;
            s->sin = s->sin_in;
        } else if (s->position_ids && s->tables) {
            EYE_TRY(looked_up(s, err));
        } else if (s->position_ids) { /* [B,T] -> [B,1,T,1] */
            angles(s, eye_draft_unsqueeze(s->d, s->position_ids, 2, around));
        } else if (s->tokens) {
            EYE_TRY(tables(s, s->tokens, 4, &s->cos, &s->sin, err));
        } else { /* [T] -> [T,1] */
            angles(s, eye_draft_unsqueeze(s->d, row_index(s), 1, behind));
        }
    }
    *cos_out = s->cos;
    *sin_out = s->sin;
    return EYE_OK;
}

/* ---- masks ---- */

/* Rows of the call see each other causally, and all P before: [1,1,T,P + T]. */
static const char *causal(struct eye_sequence *s) {
    struct eye_draft *d = s->d;
    int64_t t = s->tokens, n = s->past + t, dims[4] = {1, 1, t, n};
    size_t count;
    if (t == 1) return NULL;
    if (t == 0) { /* without past: column k is seen by row q if k <= q */
        const int64_t behind = 1;
        const char *k = row_index(s), *q = eye_draft_unsqueeze(d, k, 1, &behind);
        const char *in[3] = {eye_draft_2(d, "LessOrEqual", k, q), eye_draft_real(d, 0), eye_draft_real(d, hidden(s))};
        return eye_draft_node(d, "Where", in, 3, NULL);
    }
    float *m = eye_mul_ok((size_t)t, (size_t)n, &count) ? eye_arena_alloc(&d->m->arena, count * sizeof *m) : NULL;
    if (!m) {
        d->m->failed = true;
        return NULL;
    }
    for (int64_t q = 0; q < t; q++)
        for (int64_t k = 0; k < n; k++) m[q * n + k] = k <= s->past + q ? 0 : (float)hidden(s);
    return eye_draft_table(d, "causal_mask", d->real, 4, dims, m);
}

/* Integers to what is added: (m m - 1) * 30000. Genie writes -1 for seen, everybody else 1. */
static const char *from_integers(struct eye_sequence *s) {
    struct eye_draft *d = s->d;
    const char *m = eye_draft_cast(d, s->mask_in, d->real);
    m = eye_draft_2(d, "Sub", eye_draft_2(d, "Mul", m, m), eye_draft_real(d, 1));
    return eye_draft_2(d, "Mul", m, eye_draft_real(d, -hidden(s)));
}

const char *eye_sequence_mask(struct eye_sequence *s) {
    static const int64_t middle[] = {1, 2};
    if (s->mask_added) return s->mask_added;
    s->d->scope = "mask";
    switch (s->mask) {
    case EYE_MASK_NONE: s->mask_added = causal(s); break;
    case EYE_MASK_ADDED: s->mask_added = s->mask_in; break;
    case EYE_MASK_FULL: s->mask_added = from_integers(s); break;
    case EYE_MASK_KEYS: {
        const char *keys = eye_draft_unsqueeze(s->d, from_integers(s), 2, middle), *rows = causal(s);
        s->mask_added = rows ? eye_draft_2(s->d, "Add", keys, rows) : keys;
        break;
    }
    }
    return s->mask_added;
}

/* ---- learned positions ---- */

const char *eye_sequence_rows(struct eye_sequence *s, const char *table, int64_t n_rows) {
    struct eye_draft *d = s->d;
    const int64_t zero = 0;
    if (s->position_ids) return eye_draft_2(d, "Gather", table, s->position_ids);
    if (s->tokens) return s->tokens == n_rows ? table : eye_draft_slice(d, table, 0, 0, s->tokens);
    const char *in[4] = {table, eye_draft_ints(d, 1, &zero), length(s), eye_draft_ints(d, 1, &zero)};
    return eye_draft_node(d, "Slice", in, 4, NULL);
}

/* ---- names ---- */

char *eye_kv_past_name(enum eye_kv_style style, int64_t layer, const char *kind, char out[EYE_KV_NAME_CAP]) {
    if (style == EYE_KV_GENIE) snprintf(out, EYE_KV_NAME_CAP, "past_%s_%lld_in", kind, (long long)layer);
    else snprintf(out, EYE_KV_NAME_CAP, "past_key_values.%lld.%s", (long long)layer, kind);
    return out;
}

char *eye_kv_present_name(enum eye_kv_style style, int64_t layer, const char *kind, char out[EYE_KV_NAME_CAP]) {
    if (style == EYE_KV_GENIE) snprintf(out, EYE_KV_NAME_CAP, "past_%s_%lld_out", kind, (long long)layer);
    else snprintf(out, EYE_KV_NAME_CAP, "present.%lld.%s", (long long)layer, kind);
    return out;
}
