/* train/ngram: word numbers and counted n-grams. See ngram.h. A key is four word numbers, EYE_NGRAM_NONE beyond the order. */
#include "train/ngram.h"

#include <stdlib.h>
#include <string.h>

#include "train/ptb.h"

#define MAX_WORDS 4096u

struct key { uint32_t word[EYE_NGRAM_MAX]; };

void eye_gram_table_init(struct eye_gram_table *t, const struct eye_alloc *alloc) {
    *t = (struct eye_gram_table){0};
    eye_arena_init(&t->arena, alloc);
    eye_strmap_init(&t->words, alloc);
    eye_strmap_init(&t->grams, alloc);
}

void eye_gram_table_clear(struct eye_gram_table *t) {
    const struct eye_alloc *alloc = t->arena.alloc;
    eye_alloc_free(alloc, t->documents, t->cap * sizeof *t->documents);
    eye_alloc_free(alloc, t->seen_in, t->cap * sizeof *t->seen_in);
    eye_strmap_clear(&t->words);
    eye_strmap_clear(&t->grams);
    eye_arena_clear(&t->arena);
    eye_gram_table_init(t, alloc);
}

/* ---- words ---- */

struct reading {
    const struct eye_gram_table *t;
    struct eye_gram_table *learn; /* t, or NULL */
    struct eye_arena *arena;
    struct eye_counted *out;
    size_t cap;
};

/* The number of a word that the table has not: that of an equal one earlier in the text, or the next free. */
static uint32_t new_number(const struct reading *r, const char *word) {
    const struct eye_counted *c = r->out;
    uint32_t next = (uint32_t)r->t->words.n;
    for (size_t i = 0; i < c->n_words; i++) {
        if (c->word[i] < r->t->words.n) continue;
        if (strcmp(c->spelling[i], word) == 0) return c->word[i];
        next = EYE_MAX(next, c->word[i] + 1);
    }
    return next;
}

static enum eye_status take_word(void *ctx, const char *word, size_t len, struct eye_err *err) {
    struct reading *r = ctx;
    struct eye_counted *c = r->out;
    if (c->n_words == r->cap) return eye_fail(err, EYE_E_LIMIT, "a caption of more than %u words", MAX_WORDS);
    char *own = eye_arena_strdup(r->learn ? &r->learn->arena : r->arena, word, len);
    if (!own) return eye_fail_nomem(err, len);
    int32_t known = eye_strmap_get(&r->t->words, word, len);
    if (known < 0 && r->learn) {
        known = (int32_t)r->t->words.n;
        EYE_TRY(eye_strmap_put(&r->learn->words, own, len, known, NULL, err));
    }
    c->word[c->n_words] = known >= 0 ? (uint32_t)known : new_number(r, own);
    c->spelling[c->n_words++] = own;
    return EYE_OK;
}

static enum eye_status give_room(struct reading *r, size_t len, struct eye_err *err) {
    r->cap = EYE_MIN(len, MAX_WORDS); /* a word has at least one byte */
    r->out->word = eye_arena_alloc(r->arena, (r->cap + 1) * sizeof *r->out->word);
    r->out->spelling = eye_arena_alloc(r->arena, (r->cap + 1) * sizeof *r->out->spelling);
    return r->out->word && r->out->spelling ? EYE_OK : eye_fail_nomem(err, r->cap * sizeof(void *));
}

/* ---- n-grams ---- */

static int by_key(const void *a, const void *b) { return memcmp(a, b, sizeof(struct key)); }

static int by_id(const void *a, const void *b) {
    uint32_t x = ((const struct eye_gram *)a)->id, y = ((const struct eye_gram *)b)->id;
    return (x > y) - (x < y);
}

static enum eye_status enter(struct eye_gram_table *t, uint32_t document, const struct key *k, uint32_t *id, struct eye_err *err) {
    int32_t known = eye_strmap_get(&t->grams, (const char *)k, sizeof *k);
    if (known < 0) {
        size_t n = t->grams.n, cap = t->cap;
        char *own = eye_arena_strdup(&t->arena, (const char *)k, sizeof *k);
        if (!own) return eye_fail_nomem(err, sizeof *k);
        EYE_TRY(eye_alloc_grow(t->arena.alloc, (void **)&t->documents, &cap, n + 1, sizeof *t->documents, err));
        EYE_TRY(eye_alloc_grow(t->arena.alloc, (void **)&t->seen_in, &t->cap, n + 1, sizeof *t->seen_in, err));
        known = (int32_t)n;
        EYE_TRY(eye_strmap_put(&t->grams, own, sizeof *k, known, NULL, err));
        t->documents[known] = 0;
    }
    if (t->documents[known] == 0 || t->seen_in[known] != document) t->documents[known]++;
    t->seen_in[known] = document;
    *id = (uint32_t)known;
    return EYE_OK;
}

/* keys: room for all of the order. */
static enum eye_status count_order(const struct reading *r, uint32_t document, int order, struct key *key, struct eye_err *err) {
    struct eye_counted *c = r->out;
    size_t n = c->n_words >= (size_t)order ? c->n_words - (size_t)order + 1 : 0;
    for (size_t i = 0; i < n; i++) {
        memset(&key[i], 0xFF, sizeof key[i]);
        memcpy(key[i].word, c->word + i, (size_t)order * sizeof *c->word);
    }
    qsort(key, n, sizeof *key, by_key);
    struct eye_gram *gram = eye_arena_alloc(r->arena, (n + 1) * sizeof *gram);
    if (!gram) return eye_fail_nomem(err, n * sizeof *gram);
    size_t n_grams = 0;
    for (size_t i = 0; i < n; n_grams++) {
        size_t first = i;
        while (i < n && by_key(&key[i], &key[first]) == 0) i++;
        gram[n_grams].n = (uint32_t)(i - first);
        if (r->learn) {
            EYE_TRY(enter(r->learn, document, &key[first], &gram[n_grams].id, err));
        } else {
            gram[n_grams].id = (uint32_t)eye_strmap_get(&r->t->grams, (const char *)&key[first], sizeof *key); /* -1 = NONE */
        }
    }
    qsort(gram, n_grams, sizeof *gram, by_id);
    c->gram[order - 1] = gram;
    c->n_grams[order - 1] = n_grams;
    return EYE_OK;
}

static enum eye_status count(struct reading *r, uint32_t document, const char *text, size_t len, struct eye_err *err) {
    *r->out = (struct eye_counted){0};
    EYE_TRY(give_room(r, len, err));
    EYE_TRY(eye_ptb_words(text, len, take_word, r, err));
    struct key *key = eye_arena_alloc(r->arena, (r->out->n_words + 1) * sizeof *key);
    if (!key) return eye_fail_nomem(err, r->out->n_words * sizeof *key);
    for (int order = 1; order <= EYE_NGRAM_MAX; order++) EYE_TRY(count_order(r, document, order, key, err));
    return EYE_OK;
}

enum eye_status eye_gram_add(struct eye_gram_table *t, uint32_t document, const char *text, size_t len, struct eye_arena *arena,
                             struct eye_counted *out, struct eye_err *err) {
    struct reading r = {.t = t, .learn = t, .arena = arena, .out = out};
    return count(&r, document, text, len, err);
}

enum eye_status eye_gram_known(const struct eye_gram_table *t, const char *text, size_t len, struct eye_arena *arena,
                               struct eye_counted *out, struct eye_err *err) {
    struct reading r = {.t = t, .arena = arena, .out = out};
    return count(&r, 0, text, len, err);
}

uint32_t eye_gram_times(const struct eye_counted *c, int order, uint32_t id) {
    const struct eye_gram want = {.id = id};
    if (id == EYE_NGRAM_NONE) return 0;
    const struct eye_gram *g = bsearch(&want, c->gram[order - 1], c->n_grams[order - 1], sizeof want, by_id);
    return g ? g->n : 0;
}
