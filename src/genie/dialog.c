/* genie/dialog: genie-t2t-run's dialog with our engine. The decoder comes from the configuration's model file, rows of tokens
 * from the embedding table where there is one: a token is looked up in it, so a rounded table gives the rounded rows that it
 * would give on a device. Rules are Genie's, its faults are not: an EOS of -1 is none, a token beyond the table is an error,
 * penalties count in greedy answers, a budget of 0 tokens prefills and says nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "genie/dialog_impl.h"
#include "genie/source.h"

/* ---- opening ---- */

/* A path of the configuration: as it stands, else beside the configuration. */
static void resolve(const char *config, const char *path, char *out, size_t cap) {
    const char *slash = strrchr(config, '/');
    snprintf(out, cap, "%s", path);
    if (path[0] == '/' || eye_path_exists(path) || !slash) return;
    char beside[4096];
    int n = snprintf(beside, sizeof beside, "%.*s/%s", (int)(slash - config), config, path);
    if (n < (int)sizeof beside && (size_t)n < cap && eye_path_exists(beside)) snprintf(out, cap, "%s", beside);
}

static enum eye_status missing(const char *path, struct eye_err *err) {
    return eye_fail(err, EYE_E_IO, "File %s doesn't exists or is in bad shape.", path);
}

/* Values in the model's file win, as in Genie; what contradicts them is worth a word. */
static void warn_sizes(const struct eye_genie_dialog *d) {
    const struct eye_text_config *t = &d->model->vlm.config.text;
    const struct { const char *key; int64_t said, is; } sizes[] = {
        {"n-layer", d->c.n_layer, t->n_layers}, {"n-embd", d->c.n_embd, t->hidden}, {"n-heads", d->c.n_heads, t->n_heads},
        {"n-kv-heads", d->c.n_kv_heads, t->n_kv_heads}};
    for (size_t i = 0; i < EYE_COUNT(sizes); i++)
        if (sizes[i].said && sizes[i].said != sizes[i].is)
            eye_model_log(d->model, EYE_LOG_WARNING, "genie.size", "%s is %" PRId64 " in the configuration, %" PRId64
                          " in the model, which wins", sizes[i].key, sizes[i].said, sizes[i].is);
}

static enum eye_status check_model(const struct eye_genie_dialog *d, struct eye_err *err) {
    const struct eye_text_config *t = &d->model->vlm.config.text;
    const struct eye_genie_config *c = &d->c;
    if (c->n_vocab != t->vocab)
        return eye_fail(err, EYE_E_ARG, "n-vocab is %" PRId64 ", the model has %" PRId64 " tokens", c->n_vocab, t->vocab);
    if (c->embedding_size && c->embedding_size != t->hidden)
        return eye_fail(err, EYE_E_ARG, "embedding size is %" PRId64 ", the model's rows have %" PRId64, c->embedding_size,
                        t->hidden);
    if (c->on_npu && c->rope_dim && c->rope_dim != t->head_dim / 2)
        return eye_fail(err, EYE_E_ARG, "rope-dim is %" PRId64 ", expected %" PRId64 ", half of a head: with another the NPU "
                        "turns pairs "
                        "of a head by wrong angles, and answers nonsense", c->rope_dim, t->head_dim / 2);
    if (c->on_npu && c->kv_dim && c->kv_dim != t->head_dim)
        return eye_fail(err, EYE_E_ARG, "kv-dim is %" PRId64 ", expected %" PRId64 ", a head", c->kv_dim, t->head_dim);
    warn_sizes(d);
    return EYE_OK;
}

static enum eye_status open_model(struct eye_genie_dialog *d, const char *config, const struct eye_genie_dialog_opts *o,
                                  struct eye_err *err) {
    char bin[4096], tokenizer[4096];
    struct eye_model_opts m = {.n_ctx = (int32_t)d->c.n_ctx, .n_threads = o->n_threads ? o->n_threads : d->c.n_threads,
                               .no_mmap = !d->c.use_mmap, .cache_type = d->c.kv_quantization ? EYE_CACHE_I8 : EYE_CACHE_F32,
                               .chat_template = "raw", .log = o->log, .log_ctx = o->log_ctx, .progress = o->progress,
                               .progress_ctx = o->progress_ctx, .cancel = o->cancel, .cancel_ctx = o->cancel_ctx};
    resolve(config, d->c.model_bin, bin, sizeof bin);
    resolve(config, d->c.tokenizer, tokenizer, sizeof tokenizer);
    if (!eye_path_exists(bin))
        return eye_fail(err, EYE_E_IO, "qnn-cpu: Model binary path does not exist: %s%s", bin,
                        d->c.on_npu ? " (an NPU's own files are not run here; name decoder.bin)" : "");
    if (!eye_path_exists(tokenizer)) return missing(tokenizer, err);
    m.tokenizer = tokenizer;
    EYE_TRY(eye_model_open(bin, &m, &d->model, err));
    EYE_TRY(check_model(d, err));
    return eye_session_new(d->model, NULL, &d->s, err);
}

static enum eye_status open_table(struct eye_genie_dialog *d, const char *path, const struct eye_elements *e,
                                  struct eye_err *err) {
    size_t row = d->width * eye_element_bytes(e->type);
    struct eye_map map;
    if (!eye_path_exists(path)) return missing(path, err);
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    if (map.size == 0 || map.size % row) {
        enum eye_status st = eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes are no rows of %zu %s", path, map.size, d->width,
                                      eye_element_name(e->type, EYE_EL_NUMPY));
        eye_map_close(&map);
        return st;
    }
    eye_map_close(&d->table);
    d->table = map;
    d->table_type = *e;
    return EYE_OK;
}

static enum eye_status open_dialog(struct eye_genie_dialog *d, const char *config, const struct eye_genie_dialog_opts *o,
                                   struct eye_err *err) {
    struct eye_map map;
    if (!eye_path_exists(config)) return missing(config, err);
    EYE_TRY(eye_map_open(&map, config, false, EYE_GENIE_MAX_CONFIG, err));
    enum eye_status st = eye_genie_config_parse(&d->c, (const char *)map.p, map.size, config, NULL, err);
    eye_map_close(&map);
    if (st != EYE_OK) return st;
    EYE_TRY(open_model(d, config, o, err));
    d->width = (size_t)d->model->vlm.config.text.hidden;
    d->row = eye_alloc_zero(NULL, d->width * sizeof *d->row);
    if (!d->row) return eye_fail_nomem(err, d->width * sizeof *d->row);
    if (!d->c.has_seed) d->c.sampling.seed = eye_now_ns();
    if (!d->c.lut_path) return EYE_OK;
    char lut[4096];
    resolve(config, d->c.lut_path, lut, sizeof lut);
    return open_table(d, lut, &d->c.embedding, err);
}

enum eye_status eye_genie_dialog_open(const char *config, const struct eye_genie_dialog_opts *opts,
                                      struct eye_genie_dialog **dialog, struct eye_err *err) {
    static const struct eye_genie_dialog_opts none;
    uint64_t begin = eye_now_ns();
    struct eye_genie_dialog *d = eye_alloc_zero(NULL, sizeof *d);
    if (!d) return eye_fail_nomem(err, sizeof *d);
    d->last_tok = -1;
    enum eye_status st = open_dialog(d, config, opts ? opts : &none, err);
    if (st != EYE_OK) {
        eye_genie_dialog_close(d);
        return st;
    }
    d->open_us = (eye_now_ns() - begin) / 1000;
    *dialog = d;
    return EYE_OK;
}

void eye_genie_dialog_close(struct eye_genie_dialog *d) {
    if (!d) return;
    eye_session_free(d->s);
    eye_model_close(d->model);
    eye_map_close(&d->table);
    eye_alloc_free(NULL, d->row, d->width * sizeof *d->row);
    eye_genie_config_clear(&d->c);
    eye_alloc_free(NULL, d, sizeof *d);
}

uint64_t eye_genie_dialog_open_us(const struct eye_genie_dialog *d) { return d->open_us; }

enum eye_status eye_genie_dialog_table(struct eye_genie_dialog *d, const char *arg, struct eye_err *err) {
    char path[4096];
    struct eye_elements e;
    EYE_TRY(eye_elements_argument(arg, path, sizeof path, &e, err));
    return open_table(d, path, &e, err);
}

/* ---- rows ---- */

enum eye_status eye_genie_rows(const struct eye_genie_dialog *d, const struct eye_map *map, const struct eye_elements *e,
                               float **rows, size_t *n, size_t *bytes, struct eye_err *err) {
    size_t row = d->width * eye_element_bytes(e->type);
    if (map->size == 0 || map->size % row)
        return eye_fail(err, EYE_E_CORRUPT, "%s: The embeddings buffer size must be an integer multiple of the embedding "
                        "vector size in "
                        "bytes. (%zu of %zu)", map->path, map->size, row);
    *n = map->size / row;
    if (!eye_mul_ok(*n * d->width, sizeof(float), bytes)) return eye_fail_nomem(err, SIZE_MAX);
    *rows = eye_alloc_raw(NULL, *bytes);
    if (!*rows) return eye_fail_nomem(err, *bytes);
    eye_elements_to_f32(e, map->p, *rows, *n * d->width);
    return EYE_OK;
}

/* The row of a token out of the table into d->row. */
static enum eye_status look_up(struct eye_genie_dialog *d, int32_t id, struct eye_err *err) {
    size_t row = d->width * eye_element_bytes(d->table_type.type);
    if (id < 0 || (size_t)id >= d->table.size / row)
        return eye_fail(err, EYE_E_ARG, "%s: " EYE_GENIE_OVERFLOW " Token %d of %zu rows", d->table.path, id,
                        d->table.size / row);
    eye_elements_to_f32(&d->table_type, d->table.p + (size_t)id * row, d->row, d->width);
    return EYE_OK;
}

enum eye_status eye_genie_feed(struct eye_genie_dialog *d, int32_t id, float *logits, struct eye_err *err) {
    static const int32_t by_row = EYE_TOKEN_IMAGE_ROW;
    if (!d->table.path) return eye_session_append(d->s, &id, 1, NULL, logits, err);
    EYE_TRY(look_up(d, id, err));
    return eye_session_append(d->s, &by_row, 1, d->row, logits, err);
}

/* ---- one answer ---- */

struct answer {
    struct eye_genie_dialog *d;
    const struct eye_genie_query *q;
    struct eye_genie_answer *a;
    struct eye_generate_opts opts;
    struct eye_detok detok;
    uint64_t begin_ns, first_ns;
    bool begun, over;
};

static bool give(struct answer *t, const char *text, int32_t token) {
    enum eye_genie_code code = t->begun ? EYE_GENIE_CONTINUE : EYE_GENIE_BEGIN;
    t->begun = true;
    return t->q->piece && t->q->piece(t->q->piece_ctx, code, text, token);
}

static bool on_text(void *ctx, const char *text, size_t bytes) {
    (void)bytes;
    return give(ctx, text, -1);
}

static void end_answer(struct answer *t) {
    struct eye_session *s = t->d->s;
    if (!t->q->tokens_out) {
        s->reply.piece.len = 0;
        eye_detok_flush(&t->detok, &s->reply.piece);
        if (s->reply.piece.len) eye_answer_add(&s->reply.answer, s->reply.piece.p, s->reply.piece.len);
        eye_answer_finish(&s->reply.answer);
        t->a->result.text_bytes = s->reply.answer.len;
    }
    if (!t->begun) give(t, "", -1);
    if (t->q->piece) t->q->piece(t->q->piece_ctx, EYE_GENIE_END, NULL, -1);
}

static bool is_end(const struct eye_genie_dialog *d, int32_t id) {
    for (size_t i = 0; i < d->c.n_eos; i++)
        if (d->c.eos[i] == id) return true;
    return false;
}

/* Memory and beginnings; the session's, since its own generation has the same. */
static enum eye_status start(struct answer *t, struct eye_err *err) {
    struct eye_genie_dialog *d = t->d;
    struct eye_session *s = d->s;
    t->a->result = (struct eye_result){.text = ""};
    t->a->context_exceeded = false;
    t->begin_ns = eye_now_ns();
    t->a->result.timings.start_us = t->begin_ns / 1000;
    t->opts = d->c.sampling;
    t->opts.stop = d->c.stop;
    t->opts.n_stop = t->q->tokens_out ? 0 : d->c.n_stop;
    t->opts.on_text = on_text;
    t->opts.on_text_ctx = t;
    EYE_TRY(eye_reply_reserve(&s->reply, &t->opts, err));
    EYE_TRY(eye_sampler_start(&s->reply.sampler, &t->opts, err));
    if (d->restored) s->reply.sampler.rng = d->rng;
    EYE_TRY(eye_answer_start(&s->reply.answer, s->reply.text, s->reply.text_bytes, &t->opts, err));
    eye_detok_init(&t->detok, d->model->tokenizer, false);
    t->a->result.text = s->reply.text;
    t->a->result.tokens = s->reply.tokens;
    return EYE_OK;
}

/* A token that was chosen; true = the answer is over. */
static bool take(struct answer *t, int32_t id) {
    struct eye_genie_dialog *d = t->d;
    struct eye_session *s = d->s;
    struct eye_result *r = &t->a->result;
    d->last_tok = id;
    d->n_generated++;
    eye_sampler_accept(&s->reply.sampler, id);
    if (is_end(d, id)) {
        r->finish = EYE_FINISH_STOP;
        return true;
    }
    s->reply.tokens[r->n_tokens++] = id;
    bool stop = false;
    if (t->q->tokens_out) {
        stop = give(t, NULL, id);
    } else {
        s->reply.piece.len = 0;
        eye_detok_push(&t->detok, id, &s->reply.piece);
        stop = s->reply.piece.len && eye_answer_add(&s->reply.answer, s->reply.piece.p, s->reply.piece.len);
    }
    r->finish = stop && s->reply.answer.stopped ? EYE_FINISH_STOP : stop ? EYE_FINISH_CALLER : EYE_FINISH_LENGTH;
    int64_t most = t->q->n_predict > 0 ? t->q->n_predict : d->c.max_tokens;
    return stop || (most >= 0 && (int64_t)r->n_tokens >= most);
}

/* From the prompt's last logits on. */
static enum eye_status run(struct answer *t, struct eye_err *err) {
    struct eye_genie_dialog *d = t->d;
    struct eye_session *s = d->s;
    struct eye_result *r = &t->a->result;
    for (;;) {
        int32_t id = eye_sampler_pick(&s->reply.sampler, s->logits);
        uint64_t now = eye_now_ns();
        if (!t->first_ns) {
            t->first_ns = now;
            r->timings.first_token_us = (now - t->begin_ns) / 1000;
        }
        r->timings.decode_us = (now - t->first_ns) / 1000;
        if (take(t, id)) return EYE_OK;
        if (s->n_past + 1 > s->n_ctx || r->n_tokens == (size_t)s->n_ctx) {
            r->finish = EYE_FINISH_CONTEXT;
            t->a->context_exceeded = true;
            return EYE_OK;
        }
        if (s->opts.cancel && s->opts.cancel(s->opts.cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
        EYE_TRY(eye_genie_feed(d, id, s->logits, err));
        d->last_tok = -1;
    }
}

/* The prompt is in the context, its last logits in s->logits. */
static enum eye_status finish(struct answer *t, size_t n_prompt, uint64_t prefill_begin_ns, struct eye_err *err) {
    struct eye_genie_dialog *d = t->d;
    t->a->result.n_prompt_tok = n_prompt;
    t->a->result.timings.prefill_us = (eye_now_ns() - prefill_begin_ns) / 1000;
    d->n_prompt += (uint32_t)n_prompt;
    d->n_queries++;
    d->last_tok = -1;
    if (d->c.max_tokens == 0 && t->q->n_predict <= 0) return EYE_OK; /* only to fill the context */
    enum eye_status st = run(t, err);
    d->rng = d->s->reply.sampler.rng;
    d->restored = true;
    end_answer(t);
    return st;
}

static enum eye_status overflow(const struct eye_genie_dialog *d, size_t n, struct eye_err *err) {
    return eye_fail(err, EYE_E_LIMIT, "Context Size was exceeded. %zu tokens on top of %d, room for %d", n, d->s->n_past,
                    d->s->n_ctx);
}

enum eye_status eye_genie_query_tokens(struct eye_genie_dialog *d, const int32_t *ids, size_t n,
                                       const struct eye_genie_query *q,
                                       struct eye_genie_answer *answer, struct eye_err *err) {
    struct answer t = {.d = d, .q = q, .a = answer};
    EYE_TRY(start(&t, err));
    bool goes_on = d->last_tok >= 0;
    if (n == 0) return eye_fail(err, EYE_E_ARG, "a query of no tokens");
    if (n + goes_on > (size_t)(d->s->n_ctx - d->s->n_past)) return overflow(d, n, err);
    uint64_t begin = eye_now_ns();
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= eye_model_n_vocab(d->model))
            return eye_fail(err, EYE_E_ARG, "token %zu is %d, expected 0 to %d", i, ids[i], eye_model_n_vocab(d->model) - 1);
    if (goes_on) EYE_TRY(eye_genie_feed(d, d->last_tok, NULL, err)); /* what the last answer ended with */
    for (size_t i = 0; d->table.path && i < n; i++) EYE_TRY(eye_genie_feed(d, ids[i], i + 1 == n ? d->s->logits : NULL, err));
    if (!d->table.path) EYE_TRY(eye_session_append(d->s, ids, n, NULL, d->s->logits, err));
    for (size_t i = 0; i < n; i++) eye_sampler_accept(&d->s->reply.sampler, ids[i]);
    return finish(&t, n + goes_on, begin, err);
}

enum eye_status eye_genie_query_text(struct eye_genie_dialog *d, const char *text, const struct eye_genie_query *q,
                                     struct eye_genie_answer *answer, struct eye_err *err) {
    struct eye_ids ids = {.alloc = NULL};
    bool first = d->n_queries == 0 && d->s->n_past == 0 && d->c.bos >= 0;
    enum eye_status st = EYE_OK;
    if (first) st = eye_ids_add(&ids, (int32_t)d->c.bos, err);
    if (st == EYE_OK) st = eye_tokenizer_encode(d->model->tokenizer, text, strlen(text), NULL, &ids, err);
    if (st == EYE_OK) st = eye_genie_query_tokens(d, ids.p, ids.n, q, answer, err);
    eye_ids_clear(&ids);
    return st;
}

enum eye_status eye_genie_feed_rows(struct eye_genie_dialog *d, const float *rows, size_t n, struct eye_err *err) {
    struct eye_session *s = d->s;
    int32_t piece[EYE_PREFILL_ROWS];
    if (n > (size_t)(s->n_ctx - s->n_past)) return overflow(d, n, err);
    for (size_t i = 0; i < EYE_COUNT(piece); i++) piece[i] = EYE_TOKEN_IMAGE_ROW;
    for (size_t i = 0; i < n;) {
        size_t k = EYE_MIN(n - i, EYE_COUNT(piece));
        EYE_TRY(eye_session_append(s, piece, k, rows + i * d->width, i + k == n ? s->logits : NULL, err));
        i += k;
    }
    return EYE_OK;
}

static enum eye_status query_rows(struct answer *t, const float *rows, size_t n, struct eye_err *err) {
    uint64_t begin = eye_now_ns();
    EYE_TRY(eye_genie_feed_rows(t->d, rows, n, err));
    return finish(t, n, begin, err);
}

enum eye_status eye_genie_query_embedding(struct eye_genie_dialog *d, const char *arg, const struct eye_genie_query *q,
                                          struct eye_genie_answer *answer, struct eye_err *err) {
    struct answer t = {.d = d, .q = q, .a = answer};
    struct eye_elements e;
    struct eye_map map;
    char path[4096];
    float *rows = NULL;
    size_t n, bytes = 0;
    EYE_TRY(eye_elements_argument(arg, path, sizeof path, &e, err));
    if (!eye_path_exists(path)) return missing(path, err);
    EYE_TRY(start(&t, err));
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    enum eye_status st = eye_genie_rows(d, &map, &e, &rows, &n, &bytes, err);
    if (st == EYE_OK) st = query_rows(&t, rows, n, err);
    eye_alloc_free(NULL, rows, bytes);
    eye_map_close(&map);
    return st;
}
