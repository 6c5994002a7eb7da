/* train/caption_align: alignments of two short texts. See caption_align.h. */
#include "train/caption_align.h"

#include <libstemmer.h>
#include <math.h>
#include <string.h>

enum eye_status eye_caption_lcs(const struct eye_counted *c, const struct eye_counted *ref, struct eye_arena *arena,
                                double *precision, double *recall, struct eye_err *err) {
    size_t n = ref->n_words + 1;
    uint32_t *row = eye_arena_alloc(arena, n * sizeof *row); /* row[j]: lcs of what was read of c and the first j words of ref */
    if (!row) return eye_fail_nomem(err, n * sizeof *row);
    for (size_t i = 0; i < c->n_words; i++) {
        uint32_t corner = 0;
        for (size_t j = 1; j < n; j++) {
            uint32_t above = row[j];
            row[j] = c->word[i] == ref->word[j - 1] ? corner + 1 : EYE_MAX(above, row[j - 1]);
            corner = above;
        }
    }
    *precision = c->n_words ? (double)row[n - 1] / (double)c->n_words : 0;
    *recall = ref->n_words ? (double)row[n - 1] / (double)ref->n_words : 0;
    return EYE_OK;
}

enum eye_status eye_stems_init(struct eye_stems *s, const struct eye_alloc *alloc, struct eye_err *err) {
    (void)alloc; /* the library has its own */
    s->stemmer = sb_stemmer_new("porter", "UTF_8");
    return s->stemmer ? EYE_OK : eye_fail(err, EYE_E_NOMEM, "libstemmer gave no Porter stemmer");
}

void eye_stems_clear(struct eye_stems *s) {
    if (s->stemmer) sb_stemmer_delete(s->stemmer);
    s->stemmer = NULL;
}

#define FREE SIZE_MAX

struct matching {
    const struct eye_counted *c, *ref;
    char **c_stem, **ref_stem;
    size_t *to;   /* [words of c]: word of ref, or FREE */
    bool *taken;  /* [words of ref] */
};

static char **stems(const struct eye_stems *s, const struct eye_counted *c, struct eye_arena *arena) {
    char **out = eye_arena_alloc(arena, (c->n_words + 1) * sizeof *out);
    for (size_t i = 0; out && i < c->n_words; i++) {
        const sb_symbol *w = sb_stemmer_stem(s->stemmer, (const sb_symbol *)c->spelling[i], (int)strlen(c->spelling[i]));
        out[i] = w ? eye_arena_strdup(arena, (const char *)w, (size_t)sb_stemmer_length(s->stemmer)) : NULL;
        if (!out[i]) return NULL;
    }
    return out;
}

static bool alike(const struct matching *m, size_t i, size_t j, bool by_stem) {
    return by_stem ? strcmp(m->c_stem[i], m->ref_stem[j]) == 0 : m->c->word[i] == m->ref->word[j];
}

/* One stage: matches what is still free. */
static void match(struct matching *m, bool by_stem) {
    for (size_t i = 0; i < m->c->n_words; i++) {
        if (m->to[i] != FREE) continue;
        size_t next = i && m->to[i - 1] != FREE ? m->to[i - 1] + 1 : FREE, found = FREE;
        for (size_t j = 0; j < m->ref->n_words; j++) {
            if (m->taken[j] || !alike(m, i, j, by_stem)) continue;
            if (found == FREE || j == next) found = j;
        }
        if (found == FREE) continue;
        m->to[i] = found;
        m->taken[found] = true;
    }
}

enum eye_status eye_caption_meteor_lite(const struct eye_stems *s, const struct eye_counted *c, const struct eye_counted *ref,
                                        struct eye_arena *arena, double *score, struct eye_err *err) {
    struct matching m = {.c = c, .ref = ref, .c_stem = stems(s, c, arena), .ref_stem = stems(s, ref, arena),
                         .to = eye_arena_alloc(arena, (c->n_words + 1) * sizeof *m.to),
                         .taken = eye_arena_alloc(arena, ref->n_words + 1)};
    if (!m.c_stem || !m.ref_stem || !m.to || !m.taken) return eye_fail_nomem(err, c->n_words * sizeof *m.to);
    for (size_t i = 0; i < c->n_words; i++) m.to[i] = FREE;
    match(&m, false);
    match(&m, true);
    size_t matches = 0, chunks = 0;
    for (size_t i = 0; i < c->n_words; i++) {
        if (m.to[i] == FREE) continue;
        matches++;
        if (i == 0 || m.to[i - 1] == FREE || m.to[i] != m.to[i - 1] + 1) chunks++;
    }
    *score = 0;
    if (matches == 0) return EYE_OK;
    double p = (double)matches / (double)c->n_words, r = (double)matches / (double)ref->n_words;
    *score = 10 * p * r / (r + 9 * p) * (1 - 0.5 * pow((double)chunks / (double)matches, 3));
    return EYE_OK;
}
