/* answer: see answer.h. */
#include "answer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define LEAST_LOGPROB (-9999.0) /* JSON has no infinity; OpenAI's number for it */

void serve_answer_init(struct serve_answer *a, const struct serve_request *r, const struct eye_model *model, const char *name) {
    unsigned char random[12];
    *a = (struct serve_answer){.request = r, .model = model, .name = name, .created = (int64_t)time(NULL)};
    if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random) memset(random, 0, sizeof random);
    int n = snprintf(a->id, sizeof a->id, r->kind == SERVE_CHAT ? "chatcmpl-" : "cmpl-");
    for (size_t i = 0; i < sizeof random; i++) n += snprintf(a->id + n, sizeof a->id - (size_t)n, "%02x", random[i]);
    if (r->logprobs) a->logprobs = json_array();
}

void serve_answer_clear(struct serve_answer *a) {
    json_decref(a->logprobs);
    a->logprobs = NULL;
}

/* ---- log probabilities ---- */

char *serve_detokenize(const struct eye_model *m, const int32_t *ids, size_t n, size_t *n_text) {
    size_t cap = 64 + n * 8;
    char *text = NULL;
    for (;;) {
        char *p = realloc(text, cap + 1);
        if (!p || eye_model_detokenize(m, ids, n, p, cap, n_text, NULL) != EYE_OK) {
            free(p ? p : text);
            return NULL;
        }
        text = p;
        if (*n_text <= cap) break;
        cap = *n_text;
    }
    text[*n_text] = '\0';
    return text;
}

static json_t *token_text(const struct serve_answer *a, int32_t id, size_t *n) {
    char *text = serve_detokenize(a->model, &id, 1, n);
    json_t *s = text ? json_stringn(text, *n) : NULL;
    free(text);
    return s;
}

static json_t *real(float lp) { return json_real(isfinite(lp) && lp > LEAST_LOGPROB ? (double)lp : LEAST_LOGPROB); }

/* A token that is a part of a character has no text of its own, and bytes nobody can name here. */
static json_t *bytes_of(const char *text, size_t n) {
    json_t *list;
    if (strstr(text, "\xef\xbf\xbd")) return json_null();
    list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_integer((unsigned char)text[i]));
    return list;
}

static json_t *chat_logprob(const struct serve_answer *a, const struct eye_logprob *lp) {
    size_t n = 0;
    json_t *text = token_text(a, lp->token, &n);
    json_t *bytes = text ? bytes_of(json_string_value(text), n) : json_null();
    json_t *o = json_pack("{s:o*, s:o, s:o}", "token", text, "logprob", real(lp->logprob), "bytes", bytes);
    if (a->request->kind == SERVE_NATIVE) json_object_set_new(o, "id", json_integer(lp->token));
    return o;
}

void serve_answer_token(struct serve_answer *a, int32_t token, const struct eye_logprob *lp) {
    a->n_tokens++;
    if (!a->logprobs || !lp) return;
    bool listed = a->request->kind != SERVE_COMPLETION;
    json_t *item, *top = listed ? json_array() : json_object();
    size_t n = 0, n_top = (size_t)a->request->n_top;
    for (size_t i = 1; i <= n_top; i++) {
        if (listed) {
            json_array_append_new(top, chat_logprob(a, &lp[i]));
            continue;
        }
        json_t *text = token_text(a, lp[i].token, &n);
        if (text) json_object_set_new(top, json_string_value(text), real(lp[i].logprob));
        json_decref(text);
    }
    if (listed) {
        item = chat_logprob(a, lp);
        json_object_set_new(item, "top_logprobs", top);
    } else {
        json_t *text = token_text(a, token, &n);
        item = json_pack("[o*, o, o, I]", text, real(lp->logprob), top, (json_int_t)a->n_text);
        a->n_text += n;
    }
    json_array_append_new(a->logprobs, item);
}

/* What was noted since the last call, as the choice's "logprobs". */
static json_t *take_logprobs(struct serve_answer *a) {
    if (!a->logprobs) return json_null();
    json_t *list = a->logprobs, *item;
    size_t i;
    a->logprobs = json_array();
    if (a->request->kind == SERVE_NATIVE) return list;
    if (a->request->kind == SERVE_CHAT) return json_pack("{s:o, s:n}", "content", list, "refusal");
    json_t *o = json_pack("{s:[], s:[], s:[], s:[]}", "tokens", "token_logprobs", "top_logprobs", "text_offset");
    static const char *const key[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    json_array_foreach(list, i, item) for (size_t k = 0; k < 4; k++)
        json_array_append(json_object_get(o, key[k]), json_array_get(item, k));
    json_decref(list);
    return o;
}

/* ---- objects ---- */

static json_t *usage(const struct eye_result *r) {
    return json_pack("{s:I, s:I, s:I, s:{s:I, s:I}}", "prompt_tokens", (json_int_t)r->n_prompt_tok, "completion_tokens",
                     (json_int_t)r->n_tokens, "total_tokens", (json_int_t)(r->n_prompt_tok + r->n_tokens),
                     "prompt_tokens_details", "cached_tokens", (json_int_t)r->n_cached_tok, "image_tokens",
                     (json_int_t)r->n_image_tok);
}

static double per_s(size_t n, uint64_t us) { return us ? (double)n * 1e6 / (double)us : 0; }
static double ms(uint64_t us) { return (double)us / 1e3; }

/* llama-server's names, then eyelet's stages. The first token's time belongs to the prompt. */
static json_t *timings(const struct serve_answer *a, const struct eye_result *r) {
    const struct eye_timings *t = &r->timings;
    size_t n_prompt = r->n_prompt_tok - r->n_cached_tok, n_more = r->n_tokens ? r->n_tokens - 1 : 0;
    json_t *o = json_pack("{s:I, s:I, s:f, s:f, s:f, s:I, s:f, s:f, s:f}", "cache_n", (json_int_t)r->n_cached_tok, "prompt_n",
                          (json_int_t)n_prompt, "prompt_ms", ms(t->prefill_us), "prompt_per_token_ms",
                          n_prompt ? ms(t->prefill_us) / (double)n_prompt : 0, "prompt_per_second", per_s(n_prompt,
                                                                                                          t->prefill_us),
                          "predicted_n", (json_int_t)r->n_tokens, "predicted_ms", ms(t->decode_us), "predicted_per_token_ms",
                          n_more ? ms(t->decode_us) / (double)n_more : 0, "predicted_per_second", per_s(n_more, t->decode_us));
    json_t *stages = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f}", "queue_ms", ms(a->queue_us), "image_decode_ms",
                               ms(a->request->pictures.decode_us), "preprocess_ms", ms(t->preprocess_us), "vision_ms",
                               ms(t->vision_us), "projector_ms", ms(t->projector_us), "first_token_ms", ms(t->first_token_us));
    json_object_update_missing_new(o, stages);
    return o;
}

static const char *finish_of(const struct eye_result *r) {
    return r->finish == EYE_FINISH_LENGTH || r->finish == EYE_FINISH_CONTEXT ? "length" : "stop";
}

static json_t *head(const struct serve_answer *a, const char *chat_object) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s+}", "id", a->id, "object",
                     a->request->kind == SERVE_CHAT ? chat_object : "text_completion", "created", (json_int_t)a->created,
                     "model", a->name, "system_fingerprint", "eyelet-", eye_version());
}

static void put(json_t *o, struct serve_buf *out, bool event) {
    char *text = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL;
    if (text) {
        if (event) serve_buf_adds(out, "data: ");
        serve_buf_adds(out, text);
        if (event) serve_buf_adds(out, "\n\n");
    } else {
        out->failed = true;
    }
    free(text);
    json_decref(o);
}

/* ---- llama-server's own ---- */

/* The stop string that ended it: the tokens have it, the text has not. NULL = none did. */
static const char *stopping_word(const struct serve_answer *a, const struct eye_result *r) {
    const struct eye_generate_opts *g = &a->request->gen;
    size_t n;
    if (r->finish != EYE_FINISH_STOP || g->n_stop == 0) return NULL;
    char *all = serve_detokenize(a->model, r->tokens, r->n_tokens, &n);
    const char *found = NULL;
    for (size_t i = 0; all && n > r->text_bytes && i < g->n_stop && !found; i++)
        if (strncmp(all + r->text_bytes, g->stop[i], strlen(g->stop[i])) == 0) found = g->stop[i];
    free(all);
    return found;
}

static json_t *settings(const struct serve_request *q) {
    const struct eye_generate_opts *g = &q->gen;
    return json_pack("{s:i, s:I, s:f, s:i, s:f, s:f, s:f, s:i, s:f, s:f, s:b, s:b}", "n_predict",
                     g->n_predict ? g->n_predict : -1, "seed", (json_int_t)g->seed, "temperature",
                     (double)g->temperature, "top_k", g->top_k, "top_p",
                     (double)g->top_p, "min_p", (double)g->min_p, "repeat_penalty", (double)g->repeat_penalty, "repeat_last_n",
                     g->penalty_last_n, "frequency_penalty", (double)g->frequency_penalty, "presence_penalty",
                     (double)g->presence_penalty, "ignore_eos", g->ignore_eos, "stream", q->stream);
}

static json_t *native_piece(struct serve_answer *a, const char *text, size_t n) {
    json_t *o = json_pack("{s:i, s:o*, s:[], s:b, s:i, s:I}", "index", 0, "content", json_stringn(text, n), "tokens", "stop", 0,
                          "id_slot", 0, "tokens_predicted", (json_int_t)a->n_tokens);
    if (a->logprobs) json_object_set_new(o, "completion_probabilities", take_logprobs(a));
    a->begun = true;
    return o;
}

/* The whole, or what ends a stream: without the text. */
static json_t *native_end(struct serve_answer *a, const struct eye_result *r) {
    const char *word = stopping_word(a, r);
    bool stopped = r->finish == EYE_FINISH_STOP, whole = !a->request->stream;
    json_t *o = native_piece(a, whole ? r->text : "", whole ? r->text_bytes : 0), *tokens = json_object_get(o, "tokens");
    if (a->request->return_tokens && whole)
        for (size_t i = 0; i < r->n_tokens; i++) json_array_append_new(tokens, json_integer(r->tokens[i]));
    json_t *end = json_pack("{s:b, s:s, s:o, s:s, s:I, s:I, s:I, s:b, s:b, s:s, s:s, s:o}", "stop", 1, "model", a->name,
                            "generation_settings", settings(a->request), "prompt", a->request->prompt, "tokens_predicted",
                            (json_int_t)r->n_tokens, "tokens_evaluated", (json_int_t)r->n_prompt_tok, "tokens_cached",
                            (json_int_t)(r->n_prompt_tok + r->n_tokens), "truncated", r->truncated, "has_new_line",
                            strchr(r->text, '\n') != NULL, "stop_type", !stopped ? "limit" : word ? "word" : "eos",
                            "stopping_word", word ? word : "", "timings", timings(a, r));
    json_object_update_new(o, end);
    return o;
}

/* One chunk: text (NULL = none), and how it ended (NULL = it goes on). */
static json_t *chunk(struct serve_answer *a, const char *text, size_t n, const char *finish) {
    json_t *o = head(a, "chat.completion.chunk"), *choice;
    json_t *end = finish ? json_string(finish) : json_null(), *said = text ? json_stringn(text, n) : NULL;
    if (a->request->kind == SERVE_COMPLETION) {
        choice = json_pack("{s:i, s:o, s:o, s:o}", "index", 0, "text", said ? said : json_string(""), "logprobs",
                           take_logprobs(a),
                           "finish_reason", end);
    } else {
        json_t *delta = json_object();
        if (!a->begun) json_object_set_new(delta, "role", json_string("assistant"));
        if (said) json_object_set_new(delta, "content", said);
        json_t *lp = a->logprobs && json_array_size(a->logprobs) ? take_logprobs(a) : json_null();
        choice = json_pack("{s:i, s:o, s:o, s:o}", "index", 0, "delta", delta, "logprobs", lp, "finish_reason", end);
    }
    a->begun = true;
    json_object_set_new(o, "choices", json_pack("[o]", choice));
    if (a->request->include_usage) json_object_set_new(o, "usage", json_null());
    return o;
}

void serve_answer_piece(struct serve_answer *a, const char *text, size_t n, struct serve_buf *out) {
    put(a->request->kind == SERVE_NATIVE ? native_piece(a, text, n) : chunk(a, text, n, NULL), out, true);
}

void serve_answer_end(struct serve_answer *a, const struct eye_result *r, struct serve_buf *out) {
    if (a->request->kind == SERVE_NATIVE) {
        put(native_end(a, r), out, true);
        return;
    }
    if (!a->begun) serve_answer_piece(a, "", 0, out);
    json_t *o = chunk(a, NULL, 0, finish_of(r));
    if (!a->request->include_usage) json_object_set_new(o, "timings", timings(a, r));
    put(o, out, true);
    if (a->request->include_usage) {
        o = head(a, "chat.completion.chunk");
        json_object_set_new(o, "choices", json_array());
        json_object_set_new(o, "usage", usage(r));
        json_object_set_new(o, "timings", timings(a, r));
        put(o, out, true);
    }
    serve_buf_adds(out, "data: [DONE]\n\n");
}

void serve_answer_whole(struct serve_answer *a, const struct eye_result *r, struct serve_buf *out) {
    if (a->request->kind == SERVE_NATIVE) {
        put(native_end(a, r), out, false);
        return;
    }
    json_t *o = head(a, "chat.completion"), *text = json_stringn(r->text, r->text_bytes), *choice;
    if (a->request->kind == SERVE_CHAT)
        choice = json_pack("{s:i, s:{s:s, s:o*, s:n}, s:o, s:s}", "index", 0, "message", "role", "assistant", "content", text,
                           "refusal", "logprobs", take_logprobs(a), "finish_reason", finish_of(r));
    else
        choice = json_pack("{s:i, s:o*, s:o, s:s}", "index", 0, "text", text, "logprobs", take_logprobs(a), "finish_reason",
                           finish_of(r));
    json_object_set_new(o, "choices", json_pack("[o*]", choice));
    json_object_set_new(o, "usage", usage(r));
    json_object_set_new(o, "timings", timings(a, r));
    put(o, out, false);
}
