/* Critical: see critical.h. */
#include "train/critical.h"

#include <string.h>

#include "train/scribe.h"

struct eye_critical {
    struct eye_stage *g;
    struct eye_caption_refs *refs; /* by group of the corpus */
    size_t n, n_samples;           /* pictures of a batch; captions of a picture */
    int64_t image_rows;
};

int64_t eye_critical_max_targets(const struct eye_stage *g) {
    return g->s->batch * g->s->samples * (eye_scribe_max_tok(g) + 1);
}

enum eye_status eye_critical_references(const struct eye_trainer *t, const struct eye_corpus *corpus, size_t n,
                                        struct eye_caption_refs **out, struct eye_err *err) {
    struct eye_caption_refs *refs;
    EYE_TRY(eye_caption_refs_new(&refs, n, t->alloc, err));
    enum eye_status st = EYE_OK;
    for (size_t i = 0; i < n && st == EYE_OK; i++) {
        const struct eye_data_image *img = &t->set->image[corpus->picture[i]];
        for (uint32_t r = 0; r < img->n && st == EYE_OK; r++) {
            const char *text = t->set->caption[img->first + r].text;
            st = eye_caption_refs_add(refs, i, text, strlen(text), err);
        }
    }
    if (st == EYE_OK) st = eye_caption_refs_finish(refs, err);
    if (st == EYE_OK) *out = refs;
    else eye_caption_refs_free(refs);
    return st;
}

enum eye_status eye_critical_new(struct eye_critical **out, struct eye_stage *g, struct eye_err *err) {
    struct eye_critical *c = eye_alloc_zero(g->t->alloc, sizeof *c);
    if (!c) return eye_fail_nomem(err, sizeof *c);
    c->g = g;
    c->n = (size_t)g->s->batch;
    c->n_samples = (size_t)g->s->samples;
    c->image_rows = eye_vlm_image_tokens(&g->t->vlm, g->t->vlm.config.prep.side_px);
    enum eye_status st = eye_critical_references(g->t, g->corpus, g->corpus->n_groups, &c->refs, err);
    if (st == EYE_OK) *out = c;
    else eye_critical_free(c);
    return st;
}

void eye_critical_free(struct eye_critical *c) {
    if (!c) return;
    const struct eye_alloc *alloc = c->g->t->alloc;
    eye_caption_refs_free(c->refs);
    eye_alloc_free(alloc, c, sizeof *c);
}

/* ---- marks ---- */

struct marking {
    const struct eye_critical *c;
    const uint32_t *group;
    const char **text;       /* [n, n_samples] */
    double *reward;          /* [n, n_samples] */
    enum eye_status *status; /* [n] */
};

/* Task: the captions of one picture. */
static void mark_picture(void *ctx, int i_task, int i_thread) {
    (void)i_thread;
    struct marking *m = ctx;
    for (size_t k = 0; k < m->c->n_samples; k++) {
        size_t at = (size_t)i_task * m->c->n_samples + k;
        enum eye_status st = eye_caption_cider(m->c->refs, m->group[i_task], m->text[at], strlen(m->text[at]), &m->reward[at], NULL);
        if (st != EYE_OK) m->status[i_task] = st;
    }
}

static enum eye_status mark(const struct eye_critical *c, const uint32_t *group, const struct eye_scribe *w,
                            const struct eye_search_answer *answer, struct eye_arena *arena, double **reward, struct eye_err *err) {
    size_t n = c->n * c->n_samples;
    struct marking m = {c, group, eye_arena_alloc(arena, n * sizeof *m.text), eye_arena_alloc(arena, n * sizeof *m.reward),
                        eye_arena_alloc(arena, c->n * sizeof *m.status)};
    if (!m.text || !m.reward || !m.status) return eye_fail_nomem(err, n * sizeof *m.text);
    for (size_t i = 0; i < n; i++)
        if (!(m.text[i] = eye_scribe_text(w, &answer[i], arena))) return eye_fail_nomem(err, answer[i].n);
    eye_pool_run(c->g->t->engine.pool, (int)c->n, mark_picture, &m);
    for (size_t i = 0; i < c->n; i++)
        if (m.status[i] != EYE_OK) return eye_fail(err, m.status[i], "a caption could not be judged (out of memory?)");
    *reward = m.reward;
    return EYE_OK;
}

/* ---- the batch ---- */

/* begin, tokens, end (where the student ended) with their advantage for weight. */
static void add_sample(struct eye_critical *c, const struct eye_search_answer *a, double advantage, int32_t *ids) {
    struct eye_batch *b = &c->g->batch;
    int64_t n = 0, first = b->n_targets;
    ids[n++] = c->g->corpus->bos;
    for (size_t i = 0; i < a->n; i++) ids[n++] = a->tokens[i];
    if (a->ended) ids[n++] = c->g->corpus->eos;
    eye_batch_add_sequence(b, ids, n - 1, 0);
    for (int64_t i = first; i < b->n_targets; i++) b->weight[i] = (float)advantage;
}

/* A caption's advantage: its mark less the mean of the picture's others. Targets of the batch count the same. */
static void fill(struct eye_critical *c, const struct eye_search_answer *answer, const double *reward, int32_t *ids, double *mean) {
    struct eye_batch *b = &c->g->batch;
    size_t k = c->n_samples;
    double total = 0;
    eye_batch_begin(b);
    for (size_t i = 0; i < c->n; i++) {
        double sum = 0;
        for (size_t s = 0; s < k; s++) sum += reward[i * k + s];
        eye_batch_add_image(b, (int64_t)i * c->image_rows, c->image_rows);
        for (size_t s = 0; s < k; s++) {
            double mine = reward[i * k + s], others = (sum - mine) / (double)(k - 1);
            if (answer[i * k + s].n + answer[i * k + s].ended > 0) add_sample(c, &answer[i * k + s], mine - others, ids);
        }
        total += sum;
    }
    for (int64_t i = 0; i < b->n_targets; i++) b->weight[i] /= (float)b->n_targets;
    *mean = total / (double)(c->n * k);
}

static enum eye_status write_batch(struct eye_critical *c, const uint32_t *group, struct eye_scribe *w, struct eye_arena *arena,
                                   double *mean, struct eye_err *err) {
    struct eye_search_answer *answer = eye_arena_alloc(arena, c->n * c->n_samples * sizeof *answer);
    int32_t *ids = eye_arena_alloc(arena, (size_t)(w->search.max_tok + 2) * sizeof *ids);
    double *reward = NULL;
    if (!answer || !ids) return eye_fail_nomem(err, c->n * c->n_samples * sizeof *answer);
    EYE_TRY(eye_scribe_write(w, c->g->image, arena, answer, err));
    EYE_TRY(mark(c, group, w, answer, arena, &reward, err));
    fill(c, answer, reward, ids, mean);
    return EYE_OK;
}

enum eye_status eye_critical_fill(struct eye_critical *c, const uint32_t *group, double *reward, struct eye_err *err) {
    const struct eye_trainer *t = c->g->t;
    struct eye_search_opts o = {.n_beams = (int32_t)c->n_samples, .sample = true, .temperature = (float)c->g->s->temperature,
                                .seed = eye_hash64(&t->state.step, sizeof t->state.step, (uint64_t)t->recipe.seed)};
    struct eye_scribe w;
    struct eye_arena arena;
    EYE_TRY(eye_scribe_open(&w, c->g, &o, err));
    eye_arena_init(&arena, t->alloc);
    enum eye_status st = write_batch(c, group, &w, &arena, reward, err);
    eye_arena_clear(&arena);
    eye_scribe_close(&w);
    return st;
}
