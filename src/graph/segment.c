/* The rows of a call as segments of sequences: where each row stands, what it sees, and whether that can be. The oracle and the
 * engine read segments through here, so that they agree on what a call without any means. */
#include "graph/graph.h"

size_t eye_bind_n_segments(const struct eye_bind *b) { return b->n_segments ? b->n_segments : 1; }

struct eye_segment eye_bind_segment(const struct eye_bind *b, size_t i) {
    if (b->n_segments) return b->segment[i];
    return (struct eye_segment){.n = b->t, .pos = b->past, .slot = b->past, .n_own = b->past};
}

size_t eye_bind_segment_of(const struct eye_bind *b, int64_t row) {
    size_t first = 0, end = eye_bind_n_segments(b);
    while (end - first > 1) { /* segment[first].row <= row < segment[end].row */
        size_t middle = (first + end) / 2;
        if (b->segment[middle].row <= row) first = middle;
        else end = middle;
    }
    return first;
}

int64_t eye_bind_pos(const struct eye_bind *b, int64_t row) {
    struct eye_segment s = eye_bind_segment(b, eye_bind_segment_of(b, row));
    return s.pos + (row - s.row);
}

static bool within(int64_t begin, int64_t n, int64_t end) { return begin >= 0 && n >= 0 && begin <= end && n <= end - begin; }

enum eye_status eye_bind_check(const struct eye_bind *b, bool states, struct eye_err *err) {
    int64_t row = 0;
    if (!b->n_segments && b->t == 0) return EYE_OK; /* a graph without rows */
    for (size_t i = 0; i < eye_bind_n_segments(b); i++) {
        struct eye_segment s = eye_bind_segment(b, i);
        if (s.row != row || s.n < 1 || s.n > b->t - row)
            return eye_fail(err, EYE_E_ARG, "run: segment %zu: expected 1 to %lld rows from %lld on, got %lld from %lld on", i,
                            (long long)(b->t - row), (long long)row, (long long)s.n, (long long)s.row);
        if (s.pos < 0 || s.pos > INT32_MAX - s.n)
            return eye_fail(err, EYE_E_ARG, "run: segment %zu: position %lld is out of range", i, (long long)s.pos);
        bool fits = within(s.slot, s.n, b->ctx) && within(0, s.n_own, s.slot) && within(s.prefix, s.n_prefix, b->ctx) &&
                    s.n_prefix <= b->ctx - s.n_own - s.n; /* all it sees are different slots */
        if (states && !fits)
            return eye_fail(err, EYE_E_ARG, "run: segment %zu: %lld rows at slot %lld with %lld of its own before them, after a "
                            "prefix of %lld at %lld: not in a cache of %lld", i, (long long)s.n, (long long)s.slot,
                            (long long)s.n_own, (long long)s.n_prefix, (long long)s.prefix, (long long)b->ctx);
        if (!states && s.n_prefix) {
            struct eye_segment p = {0};
            if (within(s.prefix, s.n_prefix, row)) p = eye_bind_segment(b, eye_bind_segment_of(b, s.prefix));
            if (s.n_prefix > p.row + p.n - s.prefix)
                return eye_fail(err, EYE_E_ARG, "run: segment %zu: its prefix, %lld rows from %lld on, is not of one earlier "
                                "segment", i, (long long)s.n_prefix, (long long)s.prefix);
        }
        row += s.n;
    }
    if (row != b->t)
        return eye_fail(err, EYE_E_ARG, "run: segments hold %lld rows of %lld", (long long)row, (long long)b->t);
    return EYE_OK;
}
