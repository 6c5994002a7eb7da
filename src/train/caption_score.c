/* train/caption_score: BLEU, CIDEr-D and diversity; ROUGE-L and METEOR-lite are in caption_align.c. See caption_score.h. */
#include "train/caption_score.h"

#include <math.h>
#include <string.h>

#include "train/caption_align.h"

struct reference {
    struct eye_counted text;
    double norm[EYE_NGRAM_MAX]; /* of its CIDEr vector */
};
struct picture {
    struct reference *ref;
    size_t n, cap;
};
struct eye_caption_refs {
    const struct eye_alloc *alloc;
    struct eye_arena arena;
    struct eye_gram_table table;
    struct eye_stems stems;
    struct picture *picture;
    size_t n_pictures;
    double log_pictures;
};

enum eye_status eye_caption_refs_new(struct eye_caption_refs **out, size_t n_pictures, const struct eye_alloc *alloc,
                                     struct eye_err *err) {
    size_t bytes;
    if (n_pictures == 0 || n_pictures > UINT32_MAX || !eye_mul_ok(n_pictures, sizeof(struct picture), &bytes))
        return eye_fail(err, EYE_E_ARG, "references of %zu pictures: expected 1 to %u", n_pictures, UINT32_MAX);
    struct eye_caption_refs *r = eye_alloc_zero(alloc, sizeof *r);
    if (!r) return eye_fail_nomem(err, sizeof *r);
    r->alloc = alloc;
    r->n_pictures = n_pictures;
    eye_arena_init(&r->arena, alloc);
    eye_gram_table_init(&r->table, alloc);
    r->picture = eye_alloc_zero(alloc, bytes);
    enum eye_status st = r->picture ? eye_stems_init(&r->stems, alloc, err) : eye_fail_nomem(err, bytes);
    if (st != EYE_OK) {
        eye_caption_refs_free(r);
        return st;
    }
    *out = r;
    return EYE_OK;
}

void eye_caption_refs_free(struct eye_caption_refs *r) {
    if (!r) return;
    for (size_t i = 0; r->picture && i < r->n_pictures; i++)
        eye_alloc_free(r->alloc, r->picture[i].ref, r->picture[i].cap * sizeof *r->picture[i].ref);
    eye_alloc_free(r->alloc, r->picture, r->n_pictures * sizeof *r->picture);
    eye_stems_clear(&r->stems);
    eye_gram_table_clear(&r->table);
    eye_arena_clear(&r->arena);
    eye_alloc_free(r->alloc, r, sizeof *r);
}

enum eye_status eye_caption_refs_add(struct eye_caption_refs *r, size_t i_picture, const char *text, size_t n,
                                     struct eye_err *err) {
    assert(i_picture < r->n_pictures);
    struct picture *p = &r->picture[i_picture];
    EYE_TRY(eye_alloc_grow(r->alloc, (void **)&p->ref, &p->cap, p->n + 1, sizeof *p->ref, err));
    struct reference *ref = &p->ref[p->n];
    *ref = (struct reference){0};
    EYE_TRY(eye_gram_add(&r->table, (uint32_t)i_picture, text, n, &r->arena, &ref->text, err));
    if (ref->text.n_words == 0)
        return eye_fail(err, EYE_E_ARG, "a reference of picture %zu has no words: \"%.*s\"", i_picture, (int)EYE_MIN(n, 40), text);
    p->n++;
    return EYE_OK;
}

/* ---- CIDEr-D ---- */

/* How much one occurrence of an n-gram says: nothing if every picture has it. */
static double weight(const struct eye_caption_refs *r, uint32_t id) {
    return r->log_pictures - (id == EYE_NGRAM_NONE ? 0 : log(r->table.documents[id]));
}

static double norm(const struct eye_caption_refs *r, const struct eye_counted *c, int order) {
    double sum = 0;
    for (size_t i = 0; i < c->n_grams[order - 1]; i++) {
        const struct eye_gram *g = &c->gram[order - 1][i];
        double w = g->n * weight(r, g->id);
        sum += w * w;
    }
    return sqrt(sum);
}

enum eye_status eye_caption_refs_finish(struct eye_caption_refs *r, struct eye_err *err) {
    r->log_pictures = log((double)r->n_pictures);
    for (size_t i = 0; i < r->n_pictures; i++) {
        struct picture *p = &r->picture[i];
        if (p->n == 0) return eye_fail(err, EYE_E_ARG, "picture %zu has no reference caption", i);
        for (size_t k = 0; k < p->n; k++)
            for (int order = 1; order <= EYE_NGRAM_MAX; order++) p->ref[k].norm[order - 1] = norm(r, &p->ref[k].text, order);
    }
    return EYE_OK;
}

size_t eye_caption_refs_count(const struct eye_caption_refs *r) { return r->n_pictures; }

/* Clipped cosine of two vectors of one order; clipping is what the D adds: repeating a good word does not pay. */
static double similarity(const struct eye_caption_refs *r, const struct eye_counted *c, double c_norm, const struct reference *ref,
                         int order) {
    double dot = 0;
    for (size_t i = 0; i < c->n_grams[order - 1]; i++) {
        const struct eye_gram *g = &c->gram[order - 1][i];
        uint32_t times = eye_gram_times(&ref->text, order, g->id);
        double w = times ? weight(r, g->id) : 0;
        dot += EYE_MIN(g->n * w, times * w) * times * w;
    }
    double norms = c_norm * ref->norm[order - 1];
    return norms != 0 ? dot / norms : dot;
}

static double bigrams(const struct eye_counted *c) { return c->n_words > 1 ? (double)(c->n_words - 1) : 0; }

static double cider(const struct eye_caption_refs *r, size_t i_picture, const struct eye_counted *c) {
    const double sigma = 6; /* of the length penalty; coco-caption counts length in bigrams */
    const struct picture *p = &r->picture[i_picture];
    double sum = 0;
    for (int order = 1; order <= EYE_NGRAM_MAX; order++) {
        double c_norm = norm(r, c, order);
        for (size_t k = 0; k < p->n; k++) {
            double delta = bigrams(c) - bigrams(&p->ref[k].text);
            sum += similarity(r, c, c_norm, &p->ref[k], order) * exp(-(delta * delta) / (2 * sigma * sigma));
        }
    }
    return 10 * sum / EYE_NGRAM_MAX / (double)p->n;
}

enum eye_status eye_caption_cider(const struct eye_caption_refs *r, size_t i_picture, const char *text, size_t n, double *out,
                                  struct eye_err *err) {
    assert(i_picture < r->n_pictures);
    struct eye_arena arena;
    struct eye_counted c;
    eye_arena_init(&arena, r->alloc);
    enum eye_status st = eye_gram_known(&r->table, text, n, &arena, &c, err);
    if (st == EYE_OK) *out = cider(r, i_picture, &c);
    eye_arena_clear(&arena);
    return st;
}

/* ---- BLEU ---- */

struct bleu {
    double guess[EYE_NGRAM_MAX], correct[EYE_NGRAM_MAX], length, ref_length;
};

static void bleu_add(struct bleu *b, const struct picture *p, const struct eye_counted *c) {
    size_t closest = p->ref[0].text.n_words;
    for (size_t k = 1; k < p->n; k++) {
        size_t n = p->ref[k].text.n_words, d = n > c->n_words ? n - c->n_words : c->n_words - n;
        size_t best = closest > c->n_words ? closest - c->n_words : c->n_words - closest;
        if (d < best || (d == best && n < closest)) closest = n;
    }
    b->length += (double)c->n_words;
    b->ref_length += (double)closest;
    for (int order = 1; order <= EYE_NGRAM_MAX; order++) {
        for (size_t i = 0; i < c->n_grams[order - 1]; i++) {
            const struct eye_gram *g = &c->gram[order - 1][i];
            uint32_t most = 0;
            for (size_t k = 0; k < p->n; k++) most = EYE_MAX(most, eye_gram_times(&p->ref[k].text, order, g->id));
            b->guess[order - 1] += g->n;
            b->correct[order - 1] += EYE_MIN(g->n, most);
        }
    }
}

static void bleu_finish(const struct bleu *b, double *out) {
    const double tiny = 1e-15, small = 1e-9; /* coco-caption's guards: without matches a score is small, not zero */
    double ratio = (b->length + tiny) / (b->ref_length + small), product = 1;
    for (int i = 0; i < EYE_NGRAM_MAX; i++) {
        product *= (b->correct[i] + tiny) / (b->guess[i] + small);
        out[i] = pow(product, 1.0 / (i + 1)) * (ratio < 1 ? exp(1 - 1 / ratio) : 1);
    }
}

/* ---- all of them ---- */

struct diversity {
    struct eye_arena arena;
    struct eye_strmap captions, words;
};

static enum eye_status diversity_add(struct diversity *d, const struct eye_counted *c, struct eye_err *err) {
    struct eye_buf all;
    eye_buf_init(&all, d->arena.alloc);
    for (size_t i = 0; i < c->n_words; i++) eye_buf_printf(&all, "%s ", c->spelling[i]);
    char *own = all.failed ? NULL : eye_arena_strdup(&d->arena, all.p ? all.p : "", all.len);
    size_t len = all.len, at = 0;
    eye_buf_clear(&all);
    if (!own) return eye_fail_nomem(err, len);
    EYE_TRY(eye_strmap_put(&d->captions, own, len, 0, NULL, err));
    for (size_t i = 0; i < c->n_words; i++) {
        size_t n = strlen(c->spelling[i]);
        EYE_TRY(eye_strmap_put(&d->words, own + at, n, 0, NULL, err));
        at += n + 1;
    }
    return EYE_OK;
}

static enum eye_status score_one(const struct eye_caption_refs *r, size_t i, const char *caption, struct bleu *b,
                                 struct diversity *d, struct eye_arena *arena, struct eye_caption_score *out, struct eye_err *err) {
    const struct picture *p = &r->picture[i];
    struct eye_counted c;
    EYE_TRY(eye_gram_known(&r->table, caption, strlen(caption), arena, &c, err));
    EYE_TRY(diversity_add(d, &c, err));
    bleu_add(b, p, &c);
    out->cider += cider(r, i, &c);
    out->mean_words += (double)c.n_words;
    double precision = 0, recall = 0, meteor = 0;
    for (size_t k = 0; k < p->n; k++) {
        double pr, rc, m;
        EYE_TRY(eye_caption_lcs(&c, &p->ref[k].text, arena, &pr, &rc, err));
        EYE_TRY(eye_caption_meteor_lite(&r->stems, &c, &p->ref[k].text, arena, &m, err));
        precision = EYE_MAX(precision, pr);
        recall = EYE_MAX(recall, rc);
        meteor = EYE_MAX(meteor, m);
    }
    const double beta2 = 1.2 * 1.2;
    if (precision > 0 && recall > 0) out->rouge_l += (1 + beta2) * precision * recall / (recall + beta2 * precision);
    out->meteor_lite += meteor;
    return EYE_OK;
}

enum eye_status eye_caption_score(const struct eye_caption_refs *r, const char *const *caption, struct eye_caption_score *out,
                                  struct eye_err *err) {
    struct bleu b = {0};
    struct diversity d = {0};
    struct eye_arena arena;
    enum eye_status st = EYE_OK;
    *out = (struct eye_caption_score){0};
    eye_arena_init(&arena, r->alloc);
    eye_arena_init(&d.arena, r->alloc);
    eye_strmap_init(&d.captions, r->alloc);
    eye_strmap_init(&d.words, r->alloc);
    for (size_t i = 0; i < r->n_pictures && st == EYE_OK; i++) {
        st = score_one(r, i, caption[i], &b, &d, &arena, out, err);
        eye_arena_clear(&arena);
    }
    double n = (double)r->n_pictures;
    bleu_finish(&b, out->bleu);
    out->cider /= n;
    out->rouge_l /= n;
    out->meteor_lite /= n;
    out->mean_words /= n;
    out->distinct = (double)d.captions.n / n;
    out->n_words = d.words.n;
    eye_strmap_clear(&d.captions);
    eye_strmap_clear(&d.words);
    eye_arena_clear(&d.arena);
    return st;
}
