/* text/added: see added.h. The set is a sorted array: the candidates narrow by one byte at a time. */
#include "text/added.h"

#include <stdlib.h>
#include <string.h>

#include "text/unicode.h"

static int by_key(const void *a, const void *b) {
    const struct eye_added *x = a, *y = b;
    int c = memcmp(x->key, y->key, EYE_MIN(x->key_len, y->key_len));
    if (c) return c;
    if (x->key_len != y->key_len) return x->key_len < y->key_len ? -1 : 1;
    if (x->special != y->special) return x->special ? -1 : 1; /* the library lists special tokens first */
    return x->id < y->id ? -1 : x->id > y->id;
}

void eye_added_set_init(struct eye_added_set *s, struct eye_added *token, size_t n) {
    if (n) qsort(token, n, sizeof *token, by_key);
    *s = (struct eye_added_set){.token = token, .n = n};
    for (size_t i = 0; i < n; i++) s->first[(uint8_t)token[i].key[0] + 1]++;
    for (size_t b = 0; b < 256; b++) s->first[b + 1] += s->first[b];
}

/* The longest token at p, NULL = none. */
static const struct eye_added *longest(const struct eye_added_set *s, const uint8_t *p, size_t n) {
    size_t lo = s->first[p[0]], hi = s->first[p[0] + 1];
    const struct eye_added *best = NULL;
    for (size_t i = 1; lo < hi; i++) { /* token lo..hi share p's first i bytes; the one that ends there comes first */
        if (s->token[lo].key_len == i) {
            best = &s->token[lo];
            while (lo < hi && s->token[lo].key_len == i) lo++;
        }
        if (i == n) break;
        size_t a = lo, b = hi;
        while (a < b) {
            size_t mid = (a + b) / 2;
            if ((uint8_t)s->token[mid].key[i] < p[i])
                a = mid + 1;
            else
                b = mid;
        }
        lo = a;
        b = hi;
        while (a < b) {
            size_t mid = (a + b) / 2;
            if ((uint8_t)s->token[mid].key[i] <= p[i])
                a = mid + 1;
            else
                b = mid;
        }
        hi = a;
    }
    return best;
}

/* Start of the character that ends at i > 0. */
static size_t char_before(const uint8_t *p, size_t i) {
    do i--;
    while (i > 0 && (p[i] & 0xC0) == 0x80);
    return i;
}

static bool word_before(const uint8_t *p, size_t i) {
    size_t len;
    return i > 0 && (eye_uc_flags(eye_utf8_get(p + char_before(p, i), &len)) & EYE_UC_W);
}

static bool word_after(const uint8_t *p, size_t n, size_t i) {
    size_t len;
    return i < n && (eye_uc_flags(eye_utf8_get(p + i, &len)) & EYE_UC_W);
}

/* [from, to) touches a literal range. */
static bool is_literal(const struct eye_added_find *f, size_t from, size_t to) {
    size_t lo = 0, hi = f->n_literal;
    while (lo < hi) { /* the first range that ends after from */
        size_t mid = (lo + hi) / 2;
        if (f->literal[mid].to <= from)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < f->n_literal && f->literal[lo].from < to;
}

static size_t skip_blanks(struct eye_added_find *f, size_t i) {
    size_t len;
    if (i >= f->blank_from && i < f->blank_to) return f->blank_to;
    f->blank_from = i;
    while (i < f->n && (eye_uc_flags(eye_utf8_get(f->p + i, &len)) & EYE_UC_S)) i += len;
    return f->blank_to = i;
}

bool eye_added_next(struct eye_added_find *f, size_t *from, size_t *to, const struct eye_added **hit) {
    while (f->set->n && f->search < f->n) {
        const struct eye_added *t = longest(f->set, f->p + f->search, f->n - f->search);
        if (!t) {
            f->search++;
            continue;
        }
        size_t start = f->search, stop = start + t->key_len, len;
        f->search = stop; /* also when the token is turned down: the text it covers is not searched again */
        if (t->special && (f->no_special || is_literal(f, start, stop))) continue;
        if (t->single_word && (word_before(f->p, start) || word_after(f->p, f->n, stop))) continue;
        if (t->lstrip) {
            while (start > f->done) {
                size_t before = char_before(f->p, start);
                if (!(eye_uc_flags(eye_utf8_get(f->p + before, &len)) & EYE_UC_S)) break;
                start = before;
            }
        }
        if (t->rstrip) stop = skip_blanks(f, stop);
        *from = f->done;
        *to = EYE_MAX(start, f->done); /* start < done: it lies in the blanks that the token before has stripped */
        *hit = t;
        f->done = stop;
        return true;
    }
    *from = f->done;
    *to = f->n;
    *hit = NULL;
    f->done = f->n;
    return *from < *to;
}
