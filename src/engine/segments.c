/* engine/segments: a run's rows as attention works on them: which sequence each block of rows belongs to, and where the keys of
 * each sequence go when there is no cache to hold them. Checks what the caller bound. */
#include "engine/engine_impl.h"

/* Late rows see most keys under a causal mask: a segment's last block goes first. */
static void cut_blocks(struct eye_exec *x) {
    x->n_blocks = x->most_keys = 0;
    for (size_t i = 0; i < eye_bind_n_segments(&x->bind); i++) {
        struct eye_segment s = eye_bind_segment(&x->bind, i);
        int64_t n_blocks = (s.n + EYE_BLOCK_ROWS - 1) / EYE_BLOCK_ROWS;
        for (int64_t k = n_blocks; k-- > 0;) {
            int64_t first = k * EYE_BLOCK_ROWS;
            x->block[x->n_blocks++] =
                (struct eye_block){(int32_t)i, (int32_t)first, (int32_t)EYE_MIN(s.n - first, (int64_t)EYE_BLOCK_ROWS), 0};
        }
        x->most_keys = EYE_MAX(x->most_keys, (size_t)(s.n_prefix + s.n_own + s.n));
    }
}

static bool goes_on(const struct eye_exec *x, const struct eye_block *b, int32_t row) {
    struct eye_segment s = eye_bind_segment(&x->bind, (size_t)b->segment);
    return b->n < (int32_t)EYE_BLOCK_ROWS && row == s.row + b->first + b->n && row < s.row + s.n;
}

enum eye_status eye_exec_pick(const struct eye_exec *x, eye_val ids, struct eye_block *block, size_t *n_blocks,
                              struct eye_err *err) {
    const int32_t *row = eye_exec_ptr(x, ids);
    size_t n = 0;
    for (int64_t i = 0; i < x->bind.picked; i++) {
        if (row[i] < 0 || row[i] >= x->t)
            return eye_fail(err, EYE_E_ARG, "run: picked row %d is outside the call's %lld", row[i], (long long)x->t);
        if (n && goes_on(x, &block[n - 1], row[i])) {
            block[n - 1].n++;
            continue;
        }
        size_t segment = eye_bind_segment_of(&x->bind, row[i]);
        int64_t first = row[i] - eye_bind_segment(&x->bind, segment).row;
        block[n++] = (struct eye_block){(int32_t)segment, (int32_t)first, 1, (int32_t)i};
    }
    for (size_t i = 0; i < n / 2; i++) {
        struct eye_block b = block[i];
        block[i] = block[n - 1 - i];
        block[n - 1 - i] = b;
    }
    *n_blocks = n;
    return EYE_OK;
}

/* Segments begin at panels, so that no panel is read for a few of its keys only; so many short ones that this takes more than
 * eye_key_slots lie row by row. */
static void lay_out_keys(struct eye_exec *x) {
    size_t n = eye_bind_n_segments(&x->bind), lanes = EYE_ATTN_LANES, room = eye_key_slots(x->plan->opts.max_t);
    for (size_t tight = 0; tight < 2; tight++) {
        x->n_key_slots = 0;
        for (size_t i = 0; i < n; i++) {
            struct eye_segment s = eye_bind_segment(&x->bind, i);
            x->key_at[i] = (int32_t)(tight ? (size_t)s.row : x->n_key_slots);
            x->n_key_slots += tight ? (size_t)s.n : EYE_ALIGN_UP((size_t)s.n, lanes);
            if (!tight && x->n_key_slots > room) break;
        }
        if (x->n_key_slots <= room) break;
    }
    x->n_key_slots = EYE_ALIGN_UP(x->n_key_slots, lanes);
}

enum eye_status eye_exec_bind_segments(struct eye_exec *x, struct eye_err *err) {
    const struct eye_plan *p = x->plan;
    if (x->bind.n_segments) EYE_TRY(eye_bind_check(&x->bind, p->n_states > 0, err));
    for (size_t i = 0; i < x->bind.n_segments && p->has_positions; i++) {
        const struct eye_segment *s = &x->bind.segment[i];
        if (p->n_states && s->n_prefix > p->opts.max_ctx - s->n_own - s->n)
            return eye_fail(err, EYE_E_ARG, "run: segment %zu: sees %lld keys, expected at most %lld", i,
                            (long long)(s->n_prefix + s->n_own + s->n), (long long)p->opts.max_ctx);
        if (s->pos > p->opts.max_ctx - s->n)
            return eye_fail(err, EYE_E_ARG, "run: segment %zu: positions %lld to %lld do not fit the context of %lld", i,
                            (long long)s->pos, (long long)(s->pos + s->n - 1), (long long)p->opts.max_ctx);
    }
    cut_blocks(x);
    lay_out_keys(x);
    return EYE_OK;
}
