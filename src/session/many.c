/* session/many: see many.h. Slots of the cache: a stretch for each prompt, then one for each beam. */
#include "session/many.h"

#include <math.h>
#include <string.h>

#include "session/session_impl.h"

#define MAX_ANSWER_TOK 64
#define FEW_WORDS 48 /* positions beside an image, where nobody says how many */

struct eye_many {
    struct eye_model *model;
    struct eye_search_opts search;
    size_t at_once;
    int64_t prompt_slots;     /* of one prompt */
    struct eye_session *eyes; /* looks at pictures */
    struct eye_decoder decoder;
    float *logits;            /* [at_once, vocab] */
};

int32_t eye_many_at_once(const struct eye_many *m) { return (int32_t)m->at_once; }
void eye_many_seed(struct eye_many *m, uint64_t seed) { m->search.seed = seed; }

static enum eye_status resolve(struct eye_many *m, const struct eye_many_opts *o, struct eye_err *err) {
    const struct eye_model *model = m->model;
    int64_t n_ctx = model->opts.n_ctx, prompt = o->max_prompt_tok ? o->max_prompt_tok : model->image_tokens + FEW_WORDS;
    m->search = o->search;
    m->search.end = model->end;
    m->search.n_end = model->n_end;
    if (m->search.max_tok == 0) m->search.max_tok = (int32_t)EYE_MAX(EYE_MIN(n_ctx - model->image_tokens - 1, MAX_ANSWER_TOK), 1);
    m->prompt_slots = EYE_ALIGN_UP(EYE_MIN(prompt, n_ctx), EYE_ATTN_LANES);
    m->at_once = (size_t)o->at_once;
    if (o->at_once < 1 || (int64_t)o->at_once * m->search.n_beams > model->opts.n_parallel)
        return eye_fail(err, EYE_E_ARG, "%d prompts of %d beams at once: the model was opened for %d sequences (n_parallel)",
                        o->at_once, m->search.n_beams, model->opts.n_parallel);
    return EYE_OK;
}

static enum eye_status take_memory(struct eye_many *m, struct eye_err *err) {
    struct eye_model *model = m->model;
    const struct eye_part_plan *part[EYE_N_DECODE];
    const struct eye_plan *plan;
    size_t rows = (size_t)EYE_MAX(EYE_MIN(EYE_PREFILL_ROWS, model->opts.n_ctx), model->opts.n_parallel);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        EYE_TRY(eye_model_plan(model, (enum eye_part)(EYE_PART_EMBED + i), &plan, err));
        part[i] = &model->part[EYE_PART_EMBED + i];
    }
    int64_t slots = (int64_t)m->at_once * m->prompt_slots + eye_search_slots(&m->search, m->at_once);
    size_t bytes = m->at_once * (size_t)model->vlm.config.text.vocab * sizeof *m->logits;
    m->logits = eye_alloc_raw(model->alloc, bytes);
    if (!m->logits) return eye_fail_nomem(err, bytes);
    return eye_decoder_init(&m->decoder, part, rows, (size_t)model->opts.n_parallel, slots, model->alloc, err);
}

enum eye_status eye_many_new(struct eye_many **out, struct eye_model *model, const struct eye_many_opts *opts,
                             struct eye_err *err) {
    enum eye_status st;
    struct eye_many *m = eye_alloc_zero(model->alloc, sizeof *m);
    if (!m) return eye_fail_nomem(err, sizeof *m);
    m->model = model;
    EYE_TRY_GOTO(resolve(m, opts, err));
    EYE_TRY_GOTO(eye_session_new(model, NULL, &m->eyes, err));
    pthread_mutex_lock(&model->lock);
    st = take_memory(m, err);
    pthread_mutex_unlock(&model->lock);
    if (st != EYE_OK) goto fail;
    *out = m;
    return EYE_OK;
fail:
    eye_many_free(m);
    return st;
}

void eye_many_free(struct eye_many *m) {
    if (!m) return;
    const struct eye_alloc *alloc = m->model->alloc;
    eye_alloc_free(alloc, m->logits, m->at_once * (size_t)m->model->vlm.config.text.vocab * sizeof *m->logits);
    eye_decoder_clear(&m->decoder);
    eye_session_free(m->eyes);
    eye_alloc_free(alloc, m, sizeof *m);
}

/* ---- prompts ---- */

enum eye_status eye_many_prepare(struct eye_many *m, const struct eye_query *q, struct eye_arena *arena,
                                 struct eye_many_prompt *out, struct eye_err *err) {
    struct eye_session *s = m->eyes;
    size_t width = m->decoder.width, n_rows = eye_query_image_rows(m->model, q);
    bool truncated;
    EYE_TRY(eye_query_assemble(m->model, q, m->model->opts.n_ctx, &s->prompt, &truncated, err));
    if ((int64_t)s->prompt.n > m->prompt_slots)
        return eye_fail(err, EYE_E_LIMIT, "a prompt of %zu tokens: the most here is %lld (max_prompt_tok)", s->prompt.n,
                        (long long)m->prompt_slots);
    EYE_TRY(eye_session_encode_images(s, q, NULL, err));
    int32_t *ids = eye_arena_alloc(arena, s->prompt.n * sizeof *ids);
    float *rows = eye_arena_alloc(arena, n_rows * width * sizeof *rows + 1);
    if (!ids || !rows) return eye_fail_nomem(err, n_rows * width * sizeof *rows);
    memcpy(ids, s->prompt.p, s->prompt.n * sizeof *ids);
    if (n_rows) memcpy(rows, s->image_rows, n_rows * width * sizeof *rows);
    *out = (struct eye_many_prompt){ids, s->prompt.n, rows};
    return EYE_OK;
}

const char *eye_many_text(const struct eye_many *m, const int32_t *tokens, size_t n, struct eye_arena *arena) {
    return eye_tokenizer_text(m->model->tokenizer, m->model->alloc, tokens, n, arena);
}

enum eye_status eye_many_tokens(const struct eye_many *m, const char *text, struct eye_arena *arena, struct eye_many_text *out,
                                struct eye_err *err) {
    struct eye_ids list = {.alloc = m->model->alloc};
    struct eye_encode_opts opts = {.no_special = true};
    enum eye_status st = eye_tokenizer_encode(m->model->tokenizer, text, strlen(text), &opts, &list, err);
    int32_t *ids = st == EYE_OK ? eye_arena_alloc(arena, (list.n + 1) * sizeof *ids) : NULL;
    if (st == EYE_OK && !ids) st = eye_fail_nomem(err, list.n * sizeof *ids);
    if (st == EYE_OK) {
        if (list.n) memcpy(ids, list.p, list.n * sizeof *ids);
        if (m->model->n_end) ids[list.n] = m->model->end[0];
        *out = (struct eye_many_text){ids, list.n + (m->model->n_end > 0)};
    }
    eye_ids_clear(&list);
    return st;
}

/* ---- running ---- */

static struct eye_decode_call prompt_call(const struct eye_many *m, const struct eye_many_prompt *p, size_t i) {
    return (struct eye_decode_call){.ids = p->ids, .n = p->n, .image_rows = p->image_rows, .n_logits = 1,
                                    .at = {.slot = (int64_t)i * m->prompt_slots}};
}

static bool asked_to_stop(void *ctx) {
    const struct eye_model_opts *o = &((const struct eye_many *)ctx)->model->opts;
    return o->cancel && o->cancel(o->cancel_ctx);
}

static enum eye_status answer_locked(struct eye_many *m, const struct eye_many_prompt *prompt, size_t n, struct eye_arena *own,
                                     struct eye_arena *arena, struct eye_search_answer *answer, struct eye_err *err) {
    struct eye_decode_call *call = eye_arena_alloc(own, n * sizeof *call);
    struct eye_search_prompt *begun = eye_arena_alloc(own, n * sizeof *begun);
    if (!call || !begun) return eye_fail_nomem(err, n * sizeof *call);
    for (size_t i = 0; i < n; i++) {
        call[i] = prompt_call(m, &prompt[i], i);
        begun[i] = (struct eye_search_prompt){call[i].at.slot, (int64_t)prompt[i].n, m->logits + i * m->decoder.vocab};
    }
    EYE_TRY(eye_decode(&m->decoder, call, n, m->logits, asked_to_stop, m, err));
    return eye_search(&m->decoder, &m->search, begun, n, (int64_t)m->at_once * m->prompt_slots, arena, answer, asked_to_stop, m,
                      err);
}

enum eye_status eye_many_answer(struct eye_many *m, const struct eye_many_prompt *prompt, size_t n_prompts,
                                struct eye_arena *arena, struct eye_search_answer *answer, struct eye_err *err) {
    struct eye_arena own;
    if (n_prompts > m->at_once)
        return eye_fail(err, EYE_E_ARG, "%zu prompts at once, expected at most %zu", n_prompts, m->at_once);
    eye_arena_init(&own, m->model->alloc);
    pthread_mutex_lock(&m->model->lock);
    enum eye_status st = answer_locked(m, prompt, n_prompts, &own, arena, answer, err);
    pthread_mutex_unlock(&m->model->lock);
    eye_arena_clear(&own);
    return st;
}

/* -log softmax(x)[v] */
static double unlikeliness(const float *x, size_t vocab, int32_t v) {
    float most = x[0];
    double sum = 0;
    for (size_t i = 1; i < vocab; i++) most = EYE_MAX(most, x[i]);
    for (size_t i = 0; i < vocab; i++) sum += exp((double)x[i] - (double)most);
    return log(sum) + (double)most - (double)x[v];
}

/* The logits at a text's last token predict nothing of it: they are wanted for copies alone. */
static void sum_up(const struct eye_many *m, const float *first, const float *rows, const struct eye_many_text *t, double *nll,
                   double *copies) {
    size_t vocab = m->decoder.vocab;
    *nll = unlikeliness(first, vocab, t->ids[0]);
    for (size_t k = 1; k < t->n; k++) *nll += unlikeliness(rows + (k - 1) * vocab, vocab, t->ids[k]);
    for (size_t k = 0; copies && k < t->n; k++) *copies += unlikeliness(rows + k * vocab, vocab, t->ids[k]);
}

size_t eye_many_room(const struct eye_many *m, const struct eye_many_prompt *prompt) {
    int64_t n = (int64_t)prompt->n, slots = eye_kv_ctx(m->decoder.kv) - EYE_ALIGN_UP(n, EYE_ATTN_LANES);
    return (size_t)EYE_MAX(EYE_MIN(slots, m->model->opts.n_ctx - n), 0);
}

/* As many texts as fit behind the prompt in the cache, from the first on; 0 = not even that one. */
static size_t lay_texts(const struct eye_many *m, const struct eye_many_prompt *prompt, const struct eye_many_text *text, size_t n,
                        struct eye_decode_call *call, size_t *n_tok) {
    int64_t slot = EYE_ALIGN_UP((int64_t)prompt->n, EYE_ATTN_LANES), end = eye_kv_ctx(m->decoder.kv);
    size_t i = 0, room = eye_many_room(m, prompt);
    *n_tok = 0;
    for (; i < n && text[i].n <= room && (int64_t)text[i].n <= end - slot; i++) {
        call[i] = (struct eye_decode_call){.ids = text[i].ids, .n = text[i].n, .n_logits = text[i].n,
                                           .at = {.pos = (int64_t)prompt->n, .n_prefix = (int64_t)prompt->n, .slot = slot}};
        slot += EYE_ALIGN_UP((int64_t)text[i].n, EYE_ATTN_LANES);
        *n_tok += text[i].n;
    }
    return i;
}

static enum eye_status score_locked(struct eye_many *m, const struct eye_many_prompt *prompt, const struct eye_many_text *text,
                                    size_t n, struct eye_arena *own, double *nll, double *copies, struct eye_err *err) {
    struct eye_decode_call p = prompt_call(m, prompt, 0), *call = eye_arena_alloc(own, n * sizeof *call);
    if (!call) return eye_fail_nomem(err, n * sizeof *call);
    EYE_TRY(eye_decode(&m->decoder, &p, 1, m->logits, asked_to_stop, m, err));
    for (size_t done = 0, some, n_tok; done < n; done += some) {
        some = lay_texts(m, prompt, text + done, n - done, call, &n_tok);
        if (some == 0)
            return eye_fail(err, EYE_E_LIMIT, "a text of %zu tokens: there is room for %zu", text[done].n, eye_many_room(m, prompt));
        float *rows = eye_arena_alloc(own, n_tok * m->decoder.vocab * sizeof *rows);
        if (!rows) return eye_fail_nomem(err, n_tok * m->decoder.vocab * sizeof *rows);
        EYE_TRY(eye_decode(&m->decoder, call, some, rows, asked_to_stop, m, err));
        for (size_t i = done; i < done + some; i++) {
            if (copies) copies[i] = 0;
            sum_up(m, m->logits, rows, &text[i], &nll[i], copies ? &copies[i] : NULL);
            rows += text[i].n * m->decoder.vocab;
        }
    }
    return EYE_OK;
}

enum eye_status eye_many_score(struct eye_many *m, const struct eye_many_prompt *prompt, const struct eye_many_text *text, size_t n,
                               double *nll, double *copies, struct eye_err *err) {
    struct eye_arena own;
    eye_arena_init(&own, m->model->alloc);
    pthread_mutex_lock(&m->model->lock);
    enum eye_status st = score_locked(m, prompt, text, n, &own, nll, copies, err);
    pthread_mutex_unlock(&m->model->lock);
    eye_arena_clear(&own);
    return st;
}
