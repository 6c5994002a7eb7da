/* Scribe: see scribe.h. */
#include "train/scribe.h"

#include <string.h>

static int64_t rows_of(const struct eye_stage *g) {
    return eye_vlm_image_tokens(&g->t->vlm, g->t->vlm.config.prep.side_px);
}

int64_t eye_scribe_max_tok(const struct eye_stage *g) {
    return EYE_MAX(EYE_MIN((int64_t)g->corpus->max_tok, g->t->vlm.config.text.max_positions - rows_of(g) - 1), 1);
}

static enum eye_status open_part(struct eye_scribe *w, int i, int64_t max_t, struct eye_err *err) {
    struct eye_trainer *t = w->g->t;
    struct eye_part_plan *p = &w->part[i];
    struct eye_plan_opts o = {.max_t = max_t, .max_ctx = w->image_rows + 1 + w->search.max_tok, .kv_type = EYE_KV_F32};
    enum eye_wtype type = w->g->s->bf16 ? EYE_W_BF16 : EYE_W_F32;
    EYE_TRY(eye_net_part(&p->graph, &t->vlm, (enum eye_part)(EYE_PART_EMBED + i), &t->params, type, err));
    enum eye_status st = eye_plan_new(&p->plan, &t->engine, &p->graph, &o, err);
    if (st == EYE_OK) return EYE_OK;
    p->plan = NULL;
    eye_graph_clear(&p->graph);
    return st;
}

static enum eye_status open_decoder(struct eye_scribe *w, struct eye_err *err) {
    const struct eye_part_plan *part[EYE_N_DECODE];
    size_t beams = w->n * (size_t)w->search.n_beams, rows = EYE_MAX(512, beams);
    int64_t slots = EYE_ALIGN_UP(w->image_rows + 1, EYE_ATTN_LANES) * (int64_t)w->n + eye_search_slots(&w->search, w->n);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        part[i] = &w->part[i];
        EYE_TRY(open_part(w, i, (int64_t)rows, err));
    }
    return eye_decoder_init(&w->decoder, part, rows, beams, slots, w->g->t->alloc, err);
}

static enum eye_status take_memory(struct eye_scribe *w, struct eye_err *err) {
    const struct eye_text_config *t = &w->g->t->vlm.config.text;
    size_t floats = w->n * (size_t)(w->image_rows * t->hidden);
    w->prompt = eye_arena_alloc(&w->arena, (size_t)(w->image_rows + 1) * sizeof *w->prompt);
    w->rows = eye_arena_alloc(&w->arena, floats * sizeof *w->rows);
    w->logits = eye_arena_alloc(&w->arena, w->n * (size_t)t->vocab * sizeof *w->logits);
    if (!w->prompt || !w->rows || !w->logits) return eye_fail_nomem(err, floats * sizeof *w->rows);
    for (int64_t i = 0; i < w->image_rows; i++) w->prompt[i] = -1;
    w->prompt[w->image_rows] = w->g->corpus->bos;
    return EYE_OK;
}

enum eye_status eye_scribe_open(struct eye_scribe *w, struct eye_stage *g, const struct eye_search_opts *search,
                                struct eye_err *err) {
    enum eye_status st;
    struct eye_net_opts net = {.use = EYE_NET_ROWS, .stage = g->s, .n_pictures = g->s->batch};
    *w = (struct eye_scribe){.g = g, .search = *search, .n = (size_t)g->s->batch, .image_rows = rows_of(g)};
    if (w->search.max_tok == 0) w->search.max_tok = (int32_t)eye_scribe_max_tok(g);
    w->search.end = &g->corpus->eos;
    w->search.n_end = 1;
    eye_arena_init(&w->arena, g->t->alloc);
    EYE_TRY_GOTO(take_memory(w, err));
    EYE_TRY_GOTO(eye_net_init(&w->tower, &net, &g->t->engine, &g->t->vlm, &g->t->params, err));
    EYE_TRY_GOTO(open_decoder(w, err));
    return EYE_OK;
fail:
    eye_scribe_close(w);
    return st;
}

void eye_scribe_close(struct eye_scribe *w) {
    eye_decoder_clear(&w->decoder);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        if (!w->part[i].plan) continue;
        eye_plan_free(w->part[i].plan);
        eye_graph_clear(&w->part[i].graph);
    }
    if (w->tower.engine) eye_net_clear(&w->tower);
    eye_arena_clear(&w->arena);
    *w = (struct eye_scribe){0};
}

enum eye_status eye_scribe_write(struct eye_scribe *w, const float *image, struct eye_arena *arena,
                                 struct eye_search_answer *answer, struct eye_err *err) {
    struct eye_trainer *t = w->g->t;
    struct eye_net_call look = {.image = image, .tap = w->rows, .cancel = eye_trainer_cancelled, .cancel_ctx = t};
    struct eye_decode_call *call = eye_arena_alloc(arena, w->n * sizeof *call);
    struct eye_search_prompt *prompt = eye_arena_alloc(arena, w->n * sizeof *prompt);
    size_t picture = (size_t)w->image_rows * w->decoder.width;
    int64_t n_prompt = w->image_rows + 1, slots = EYE_ALIGN_UP(n_prompt, EYE_ATTN_LANES);
    if (!call || !prompt) return eye_fail_nomem(err, w->n * sizeof *call);
    EYE_TRY(eye_net_run(&w->tower, &look, err));
    for (size_t i = 0; i < w->n; i++) {
        call[i] = (struct eye_decode_call){.ids = w->prompt, .n = (size_t)n_prompt, .image_rows = w->rows + i * picture,
                                           .n_logits = 1, .at = {.slot = (int64_t)i * slots}};
        prompt[i] = (struct eye_search_prompt){(int64_t)i * slots, n_prompt, w->logits + i * w->decoder.vocab};
    }
    EYE_TRY(eye_decode(&w->decoder, call, w->n, w->logits, eye_trainer_cancelled, t, err));
    return eye_search(&w->decoder, &w->search, prompt, w->n, (int64_t)w->n * slots, arena, answer, eye_trainer_cancelled, t, err);
}

const char *eye_scribe_text(const struct eye_scribe *w, const struct eye_search_answer *a, struct eye_arena *arena) {
    return eye_tokenizer_text(w->g->t->tokenizer, w->g->t->alloc, a->tokens, a->n, arena);
}
