/* Critical: see critical.h. Samples come from the ordinary decoder over a KV cache; its plans pack the weights of the moment, so
 * they are made anew for each batch (some milliseconds; the samples take hundreds). */
#include "train/critical.h"

#include <string.h>

#include "session/search.h"

struct eye_critical {
    struct eye_stage *g;
    struct eye_arena arena;
    struct eye_caption_refs *refs; /* by group of the corpus */
    size_t n, n_samples;           /* pictures of a batch; captions of a picture */
    int64_t image_rows, max_tok;
    int32_t *prompt;               /* [image_rows + 1]: image rows, begin token */
    float *rows;                   /* [n, image_rows, width] */
    float *logits;                 /* [n, vocab] */
    double *reward;                /* [n, n_samples] */
};

/* The weights of the moment, ready to sample. */
struct writer {
    struct eye_net tower; /* what is left of it, and the projector */
    struct eye_part_plan part[EYE_N_DECODE];
    struct eye_decoder decoder;
};

static const struct eye_recipe_stage *stage(const struct eye_critical *c) { return c->g->s; }

/* ---- opening ---- */

static int64_t longest(const struct eye_stage *g) {
    const struct eye_text_config *t = &g->t->vlm.config.text;
    int64_t rows = eye_vlm_image_tokens(&g->t->vlm, g->t->vlm.config.prep.side_px);
    return EYE_MIN((int64_t)g->corpus->max_tok, t->max_positions - rows - 1);
}

int64_t eye_critical_max_rows(const struct eye_stage *g) {
    int64_t rows = eye_vlm_image_tokens(&g->t->vlm, g->t->vlm.config.prep.side_px);
    return g->s->batch * (rows + g->s->samples * (longest(g) + 1));
}

static enum eye_status add_references(struct eye_critical *c, struct eye_err *err) {
    const struct eye_corpus *k = c->g->corpus;
    const struct eye_dataset *set = c->g->t->set;
    EYE_TRY(eye_caption_refs_new(&c->refs, k->n_groups, c->g->t->alloc, err));
    for (size_t i = 0; i < k->n_groups; i++) {
        const struct eye_data_image *img = &set->image[k->picture[i]];
        for (uint32_t r = 0; r < img->n; r++) {
            const char *text = set->caption[img->first + r].text;
            EYE_TRY(eye_caption_refs_add(c->refs, i, text, strlen(text), err));
        }
    }
    return eye_caption_refs_finish(c->refs, err);
}

enum eye_status eye_critical_new(struct eye_critical **out, struct eye_stage *g, struct eye_err *err) {
    const struct eye_text_config *t = &g->t->vlm.config.text;
    enum eye_status st;
    struct eye_critical *c = eye_alloc_zero(g->t->alloc, sizeof *c);
    if (!c) return eye_fail_nomem(err, sizeof *c);
    c->g = g;
    c->n = (size_t)g->s->batch;
    c->n_samples = (size_t)g->s->samples;
    c->image_rows = eye_vlm_image_tokens(&g->t->vlm, g->t->vlm.config.prep.side_px);
    c->max_tok = longest(g);
    eye_arena_init(&c->arena, g->t->alloc);
    size_t row_floats = c->n * (size_t)(c->image_rows * t->hidden);
    c->prompt = eye_arena_alloc(&c->arena, (size_t)(c->image_rows + 1) * sizeof *c->prompt);
    c->rows = eye_arena_alloc(&c->arena, row_floats * sizeof *c->rows);
    c->logits = eye_arena_alloc(&c->arena, c->n * (size_t)t->vocab * sizeof *c->logits);
    c->reward = eye_arena_alloc(&c->arena, c->n * c->n_samples * sizeof *c->reward);
    if (!c->prompt || !c->rows || !c->logits || !c->reward) {
        st = eye_fail_nomem(err, row_floats * sizeof *c->rows);
        goto fail;
    }
    for (int64_t i = 0; i < c->image_rows; i++) c->prompt[i] = -1;
    c->prompt[c->image_rows] = g->corpus->bos;
    EYE_TRY_GOTO(add_references(c, err));
    *out = c;
    return EYE_OK;
fail:
    eye_critical_free(c);
    return st;
}

void eye_critical_free(struct eye_critical *c) {
    if (!c) return;
    const struct eye_alloc *alloc = c->g->t->alloc;
    eye_caption_refs_free(c->refs);
    eye_arena_clear(&c->arena);
    eye_alloc_free(alloc, c, sizeof *c);
}

/* ---- the writer ---- */

static enum eye_status open_part(struct eye_critical *c, enum eye_part part, int64_t max_t, struct eye_part_plan *p,
                                 struct eye_err *err) {
    struct eye_trainer *t = c->g->t;
    struct eye_plan_opts o = {.max_t = max_t, .max_ctx = c->image_rows + 1 + c->max_tok, .kv_type = EYE_KV_F32};
    EYE_TRY(eye_net_part(&p->graph, &t->vlm, part, &t->params, stage(c)->bf16 ? EYE_W_BF16 : EYE_W_F32, err));
    enum eye_status st = eye_plan_new(&p->plan, &t->engine, &p->graph, &o, err);
    if (st == EYE_OK) return EYE_OK;
    p->plan = NULL;
    eye_graph_clear(&p->graph);
    return st;
}

static void close_writer(struct writer *w) {
    eye_decoder_clear(&w->decoder);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        if (!w->part[i].plan) continue;
        eye_plan_free(w->part[i].plan);
        eye_graph_clear(&w->part[i].graph);
    }
    if (w->tower.engine) eye_net_clear(&w->tower);
}

static enum eye_status open_writer(struct eye_critical *c, struct writer *w, const struct eye_search_opts *o, struct eye_err *err) {
    struct eye_trainer *t = c->g->t;
    const struct eye_part_plan *part[EYE_N_DECODE];
    int64_t rows = EYE_MAX(512, (int64_t)(c->n * c->n_samples)), prompt = EYE_ALIGN_UP(c->image_rows + 1, EYE_ATTN_LANES);
    struct eye_net_opts net = {.use = EYE_NET_ROWS, .stage = stage(c), .n_pictures = stage(c)->batch};
    EYE_TRY(eye_net_init(&w->tower, &net, &t->engine, &t->vlm, &t->params, err));
    for (int i = 0; i < EYE_N_DECODE; i++) {
        part[i] = &w->part[i];
        EYE_TRY(open_part(c, (enum eye_part)(EYE_PART_EMBED + i), rows, &w->part[i], err));
    }
    return eye_decoder_init(&w->decoder, part, (size_t)rows, c->n * c->n_samples,
                            (int64_t)c->n * prompt + eye_search_slots(o, c->n), t->alloc, err);
}

/* ---- samples ---- */

static enum eye_status draw(struct eye_critical *c, struct writer *w, const struct eye_search_opts *o, struct eye_arena *arena,
                            struct eye_search_answer *answer, struct eye_err *err) {
    struct eye_trainer *t = c->g->t;
    struct eye_net_call look = {.image = c->g->image, .tap = c->rows, .cancel = eye_trainer_cancelled, .cancel_ctx = t};
    struct eye_decode_call *call = eye_arena_alloc(arena, c->n * sizeof *call);
    struct eye_search_prompt *prompt = eye_arena_alloc(arena, c->n * sizeof *prompt);
    size_t picture = (size_t)(c->image_rows * t->vlm.config.text.hidden);
    int64_t n_prompt = c->image_rows + 1, slots = EYE_ALIGN_UP(n_prompt, EYE_ATTN_LANES);
    if (!call || !prompt) return eye_fail_nomem(err, c->n * sizeof *call);
    EYE_TRY(eye_net_run(&w->tower, &look, err));
    for (size_t i = 0; i < c->n; i++) {
        call[i] = (struct eye_decode_call){.ids = c->prompt, .n = (size_t)n_prompt, .image_rows = c->rows + i * picture,
                                           .n_logits = 1, .at = {.slot = (int64_t)i * slots}};
        prompt[i] = (struct eye_search_prompt){(int64_t)i * slots, n_prompt, c->logits + i * w->decoder.vocab};
    }
    EYE_TRY(eye_decode(&w->decoder, call, c->n, c->logits, eye_trainer_cancelled, t, err));
    return eye_search(&w->decoder, o, prompt, c->n, (int64_t)c->n * slots, arena, answer, eye_trainer_cancelled, t, err);
}

struct marking {
    struct eye_critical *c;
    const uint32_t *group;
    const struct eye_search_answer *answer;
    enum eye_status *status; /* [n] */
};

/* Task: the captions of one picture. */
static void mark_picture(void *ctx, int i_task, int i_thread) {
    (void)i_thread;
    struct marking *m = ctx;
    struct eye_critical *c = m->c;
    for (size_t k = 0; k < c->n_samples; k++) {
        size_t at = (size_t)i_task * c->n_samples + k;
        struct eye_buf text;
        eye_buf_init(&text, c->g->t->alloc);
        eye_tokenizer_decode(c->g->t->tokenizer, m->answer[at].tokens, m->answer[at].n, true, &text);
        enum eye_status st = text.failed ? EYE_E_NOMEM
                                         : eye_caption_cider(c->refs, m->group[i_task], text.p ? text.p : "", text.len,
                                                             &c->reward[at], NULL);
        eye_buf_clear(&text);
        if (st != EYE_OK) m->status[i_task] = st;
    }
}

static enum eye_status mark(struct eye_critical *c, const uint32_t *group, const struct eye_search_answer *answer,
                            struct eye_arena *arena, struct eye_err *err) {
    struct marking m = {c, group, answer, eye_arena_alloc(arena, c->n * sizeof *m.status)};
    if (!m.status) return eye_fail_nomem(err, c->n * sizeof *m.status);
    eye_pool_run(c->g->t->engine.pool, (int)c->n, mark_picture, &m);
    for (size_t i = 0; i < c->n; i++)
        if (m.status[i] != EYE_OK) return eye_fail(err, m.status[i], "a caption could not be judged (out of memory?)");
    return EYE_OK;
}

/* ---- the batch ---- */

/* begin, tokens, end (where the student ended) with their advantage for weight; n_tok targets in all. */
static void add_sample(struct eye_critical *c, const struct eye_search_answer *a, double advantage, int32_t *ids) {
    struct eye_batch *b = &c->g->batch;
    int64_t n = 0, first = b->t;
    ids[n++] = c->g->corpus->bos;
    for (size_t i = 0; i < a->n; i++) ids[n++] = a->tokens[i];
    if (a->ended) ids[n++] = c->g->corpus->eos;
    eye_batch_add_sequence(b, ids, n - 1, 0);
    for (int64_t i = first; i < b->t; i++) b->weight[i] = (float)advantage;
}

static void fill(struct eye_critical *c, const struct eye_search_answer *answer, int32_t *ids, double *mean) {
    struct eye_batch *b = &c->g->batch;
    size_t k = c->n_samples;
    double total = 0;
    eye_batch_begin(b);
    for (size_t i = 0; i < c->n; i++) {
        double sum = 0;
        for (size_t s = 0; s < k; s++) sum += c->reward[i * k + s];
        eye_batch_add_image(b, (int64_t)i * c->image_rows, c->image_rows);
        for (size_t s = 0; s < k; s++) {
            double mine = c->reward[i * k + s], others = (sum - mine) / (double)(k - 1);
            if (answer[i * k + s].n + answer[i * k + s].ended > 0) add_sample(c, &answer[i * k + s], mine - others, ids);
        }
        total += sum;
    }
    for (int64_t r = 0; r < b->t; r++) b->weight[r] /= (float)EYE_MAX(b->n_targets, 1);
    *mean = total / (double)(c->n * k);
}

static enum eye_status sample(struct eye_critical *c, const uint32_t *group, struct writer *w, struct eye_arena *arena,
                              double *reward, struct eye_err *err) {
    struct eye_trainer *t = c->g->t;
    struct eye_search_opts o = {.n_beams = (int32_t)c->n_samples, .sample = true, .temperature = (float)stage(c)->temperature,
                                .seed = eye_hash64(&t->state.step, sizeof t->state.step, (uint64_t)t->recipe.seed),
                                .max_tok = (int32_t)c->max_tok, .end = &c->g->corpus->eos, .n_end = 1};
    struct eye_search_answer *answer = eye_arena_alloc(arena, c->n * c->n_samples * sizeof *answer);
    int32_t *ids = eye_arena_alloc(arena, (size_t)(c->max_tok + 2) * sizeof *ids);
    if (!answer || !ids) return eye_fail_nomem(err, c->n * c->n_samples * sizeof *answer);
    EYE_TRY(open_writer(c, w, &o, err));
    EYE_TRY(draw(c, w, &o, arena, answer, err));
    EYE_TRY(mark(c, group, answer, arena, err));
    fill(c, answer, ids, reward);
    return EYE_OK;
}

enum eye_status eye_critical_fill(struct eye_critical *c, const uint32_t *group, double *reward, struct eye_err *err) {
    struct writer w = {.tower = {.engine = NULL}};
    struct eye_arena arena;
    eye_arena_init(&arena, c->g->t->alloc);
    enum eye_status st = sample(c, group, &w, &arena, reward, err);
    close_writer(&w);
    eye_arena_clear(&arena);
    return st;
}
