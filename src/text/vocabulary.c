/* text/vocabulary: the tokens' bytes in order; see grammar.h. */
#include <stdlib.h>
#include <string.h>

#include "text/grammar.h"

struct entry {
    const uint8_t *p;
    uint32_t n;
    int32_t id;
};

static int by_bytes(const void *a, const void *b) {
    const struct entry *x = a, *y = b;
    int order = memcmp(x->p, y->p, EYE_MIN(x->n, y->n));
    if (order) return order;
    if (x->n != y->n) return x->n < y->n ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

static uint16_t shared_bytes(const struct entry *x, const struct entry *y) {
    uint16_t n = 0;
    while (n < x->n && n < y->n && x->p[n] == y->p[n]) n++;
    return n;
}

/* In order, into v. */
static enum eye_status lay_out(struct eye_vocabulary *v, const struct entry *e, size_t n, size_t n_bytes, struct eye_err *err) {
    v->id = eye_alloc_raw(v->alloc, EYE_MAX(n, 1) * sizeof *v->id);
    v->at = eye_alloc_raw(v->alloc, (n + 1) * sizeof *v->at);
    v->shared = eye_alloc_raw(v->alloc, EYE_MAX(n, 1) * sizeof *v->shared);
    v->bytes = eye_alloc_raw(v->alloc, EYE_MAX(n_bytes, 1));
    v->n = (int32_t)n;
    v->n_bytes = n_bytes;
    if (!v->id || !v->at || !v->shared || !v->bytes) return eye_fail_nomem(err, n_bytes);
    uint32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        v->id[i] = e[i].id;
        v->at[i] = at;
        v->shared[i] = i ? shared_bytes(&e[i - 1], &e[i]) : 0;
        memcpy(v->bytes + at, e[i].p, e[i].n);
        at += e[i].n;
    }
    v->at[n] = at;
    return EYE_OK;
}

enum eye_status eye_vocabulary_init(struct eye_vocabulary *v, const struct eye_tokenizer *tk, int32_t n_vocab,
                                    const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_buf all;
    *v = (struct eye_vocabulary){.alloc = alloc, .n_vocab = n_vocab};
    size_t most = (size_t)EYE_MAX(n_vocab, 1) * sizeof(struct entry), n = 0;
    struct entry *e = eye_alloc_raw(alloc, most);
    if (!e) return eye_fail_nomem(err, most);
    eye_buf_init(&all, alloc);
    for (int32_t id = 0; id < n_vocab; id++) { /* offsets first: the buffer moves while it grows */
        size_t before = all.len;
        if (!eye_tokenizer_bytes(tk, id, &all)) continue;
        size_t len = all.len - before;
        if (len == 0 || len > EYE_VOCABULARY_MAX_BYTES) {
            all.len = before;
            continue;
        }
        e[n++] = (struct entry){.n = (uint32_t)len, .id = id};
    }
    enum eye_status st = all.failed ? eye_fail_nomem(err, all.len) : EYE_OK;
    const uint8_t *p = (const uint8_t *)all.p;
    for (size_t i = 0; i < n && st == EYE_OK; p += e[i++].n) e[i].p = p;
    if (st == EYE_OK && n) qsort(e, n, sizeof *e, by_bytes);
    if (st == EYE_OK) st = lay_out(v, e, n, all.len, err);
    eye_buf_clear(&all);
    eye_alloc_free(alloc, e, most);
    if (st != EYE_OK) eye_vocabulary_clear(v);
    return st;
}

void eye_vocabulary_clear(struct eye_vocabulary *v) {
    size_t n = (size_t)v->n;
    eye_alloc_free(v->alloc, v->id, EYE_MAX(n, 1) * sizeof *v->id);
    eye_alloc_free(v->alloc, v->at, (n + 1) * sizeof *v->at);
    eye_alloc_free(v->alloc, v->shared, EYE_MAX(n, 1) * sizeof *v->shared);
    eye_alloc_free(v->alloc, v->bytes, EYE_MAX(v->n_bytes, 1));
    *v = (struct eye_vocabulary){0};
}
