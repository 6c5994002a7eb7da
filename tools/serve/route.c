/* route: which addresses there are, and the short answers. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "server.h"

/* text: JSON, freed here; NULL = there was no memory for it. */
static int put_text(struct job *j, int status, char *text) {
    j->type = "application/json";
    if (text)
        serve_buf_adds(&j->out, text);
    else
        j->out.failed = true;
    free(text);
    return status;
}

static int put_json(struct job *j, json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    return put_text(j, 200, text);
}

static int put_error(struct job *j, const struct serve_error *e) { return put_text(j, e->status, serve_error_json(e)); }

/* ---- at once ---- */

static int health(struct job *j) {
    struct serve_error e;
    if (atomic_load(&j->s->model)) return put_json(j, json_pack("{s:s}", "status", "ok"));
    serve_refuse(&e, 503, "loading", NULL, "the model is loading: try again");
    return put_error(j, &e);
}

static json_t *model_object(const struct serve *s) {
    json_t *in = json_pack("[s]", "text");
    if (s->info.image_tokens > 0) json_array_append_new(in, json_string("image"));
    return json_pack("{s:s, s:s, s:i, s:s, s:{s:o, s:[s]}, s:{s:s, s:i, s:i, s:I, s:I, s:i}}", "id", s->o.name, "object",
                     "model", "created", 0, "owned_by", "eyelet", "architecture", "input_modalities", in, "output_modalities",
                     "text", "meta",
                     "architecture", s->info.architecture, "n_ctx", s->info.n_ctx, "n_vocab", s->info.n_vocab, "n_params",
                     (json_int_t)s->info.n_params, "size", (json_int_t)s->info.file_bytes, "image_tokens",
                     s->info.image_tokens);
}

static int models(struct job *j) {
    return put_json(j, json_pack("{s:s, s:[o]}", "object", "list", "data", model_object(j->s)));
}

static int one_model(struct job *j) {
    const char *id = j->path + sizeof "/v1/models/" - 1;
    struct serve_error e;
    if (strcmp(id, j->s->o.name) == 0) return put_json(j, model_object(j->s));
    serve_refuse(&e, 404, "model_not_found", "model", "the model \"%.100s\" is not here, only \"%.100s\"", id, j->s->o.name);
    return put_error(j, &e);
}

static int props(struct job *j) {
    const struct serve *s = j->s;
    const struct serve_opts *o = &s->o;
    const struct eye_generate_opts *g = &o->sampling;
    static const char *const fits[] = {"model", "pad", "crop", "stretch"}; /* of enum eye_fit */
    json_t *sampling = json_pack("{s:f, s:i, s:f, s:f, s:f, s:f, s:f, s:i, s:i}", "temperature", (double)g->temperature,
                                 "top_k", g->top_k, "top_p", (double)g->top_p, "min_p", (double)g->min_p, "repeat_penalty",
                                 (double)g->repeat_penalty, "frequency_penalty", (double)g->frequency_penalty,
                                 "presence_penalty", (double)g->presence_penalty, "n_beams", g->n_beams, "max_tokens",
                                 o->max_tokens);
    json_t *limits = json_pack("{s:I, s:I, s:i, s:i, s:i, s:i, s:i}", "max_body_bytes", (json_int_t)o->max_body_bytes,
                               "max_image_pixels", (json_int_t)o->max_pixels, "max_images", o->max_images, "max_tokens",
                               o->max_tokens, "max_queue", o->max_queue, "read_timeout_s", o->read_s, "timeout_s",
                               o->request_s);
    return put_json(j, json_pack("{s:{s:i, s:o}, s:i, s:s, s:s, s:s+, s:{s:b, s:b}, s:i, s:i, s:s, s:s, s:[s,s,s], s:o}",
                                 "default_generation_settings", "n_ctx", s->info.n_ctx, "params", sampling, "total_slots",
                                 o->n_parallel, "model_alias", o->name, "chat_template", s->info.chat_template,
                                 "build_info", "eyelet ", eye_version(), "modalities", "vision", s->info.image_tokens > 0,
                                 "audio", 0, "image_side", s->info.image_side,
                                 "image_tokens", s->info.image_tokens, "image_fit", fits[s->info.fit], "default_prompt",
                                 s->info.default_prompt, "response_formats", "text", "json_object", "json_schema",
                                 "limits", limits));
}

static int metrics(struct job *j) {
    int n = 0;
    pthread_mutex_lock(&j->s->lock);
    for (struct conn *c = j->s->conns; c; c = c->next) n++;
    pthread_mutex_unlock(&j->s->lock);
    j->type = "text/plain; version=0.0.4; charset=utf-8";
    bool ready = atomic_load(&j->s->model) != NULL;
    struct eye_batch_stats stats = {0};
    if (ready) work_stats(j->s->work, &stats);
    metrics_write(&j->s->metrics, atomic_load(&j->s->n_jobs), n, ready, &stats, &j->out);
    return 200;
}

/* ---- on a hand's thread ---- */

static void chat(struct job *j) { job_generate(j, SERVE_CHAT); }
static void completion(struct job *j) { job_generate(j, SERVE_COMPLETION); }
static void native(struct job *j) { job_generate(j, SERVE_NATIVE); }

static void reply_json(struct job *j, json_t *o) {
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    job_reply(j, 200, "application/json", text, text ? strlen(text) : 0);
}

static bool only_keys(json_t *root, const char *const *keys, struct serve_error *e) {
    const char *key;
    json_t *v;
    json_object_foreach(root, key, v) {
        size_t i = 0;
        while (keys[i] && strcmp(keys[i], key) != 0) i++;
        if (!keys[i]) return serve_refuse(e, 400, "unknown_field", key, "\"%.60s\" is not known", key);
    }
    return true;
}

static bool flag(json_t *root, const char *name, bool def, bool *out, struct serve_error *e) {
    json_t *v = json_object_get(root, name);
    *out = v && !json_is_null(v) ? json_is_true(v) : def;
    return !v || json_is_null(v) || json_is_boolean(v) || serve_refuse(e, 400, NULL, name, "%s: expected true or false", name);
}

static json_t *ids_of(struct job *j, json_t *root, struct serve_error *e) {
    static const char *const keys[] = {"content", "add_special", "parse_special", NULL};
    json_t *content = json_object_get(root, "content"), *list = NULL;
    bool special, parse;
    struct eye_err err = {0};
    size_t n;
    if (!only_keys(root, keys, e) || !flag(root, "add_special", false, &special, e) || !flag(root, "parse_special", true,
                                                                                             &parse, e))
        return NULL;
    if (!json_is_string(content)) {
        serve_refuse(e, 400, NULL, "content", "content: expected a string");
        return NULL;
    }
    size_t len = json_string_length(content), cap = len + 16; /* a token has a byte at least, special ones around it aside */
    int32_t *ids = malloc(cap * sizeof *ids);
    uint32_t flags = (special ? EYE_TOKENIZE_BOS : 0u) | (parse ? EYE_TOKENIZE_SPECIAL : 0u);
    enum eye_status st = EYE_E_NOMEM;
    if (ids) st = eye_model_tokenize(atomic_load(&j->s->model), json_string_value(content), len, flags, ids, cap, &n, &err);
    if (st != EYE_OK)
        serve_error_of(e, st, &err);
    else if ((list = json_array()))
        for (size_t i = 0; i < n && i < cap; i++) json_array_append_new(list, json_integer(ids[i]));
    free(ids);
    return list;
}

static void tokenize(struct job *j) {
    struct serve_error e = {0};
    json_t *root = serve_json_parse(j->body.p, j->body.n, &e), *list = root ? ids_of(j, root, &e) : NULL;
    if (list)
        reply_json(j, json_pack("{s:o}", "tokens", list));
    else
        job_refuse(j, &e);
    json_decref(root);
}

static char *text_of(struct job *j, json_t *root, size_t *n_text, struct serve_error *e) {
    static const char *const keys[] = {"tokens", NULL};
    json_t *list = json_object_get(root, "tokens"), *v;
    char *text = NULL;
    size_t i;
    if (!only_keys(root, keys, e)) return NULL;
    if (!json_is_array(list)) {
        serve_refuse(e, 400, NULL, "tokens", "tokens: expected a list of ids");
        return NULL;
    }
    size_t n = json_array_size(list);
    int32_t *ids = malloc((n + 1) * sizeof *ids);
    bool ok = ids != NULL || serve_refuse(e, 503, "out_of_memory", NULL, "out of memory");
    json_array_foreach(list, i, v) {
        json_int_t id = json_integer_value(v);
        if (!ok || !json_is_integer(v) || id < 0 || id >= j->s->info.n_vocab) {
            if (ok) ok = serve_refuse(e, 400, NULL, "tokens", "tokens[%zu]: expected an id from 0 to %d", i,
                                      j->s->info.n_vocab - 1);
            break;
        }
        ids[i] = (int32_t)id;
    }
    if (ok && !(text = serve_detokenize(atomic_load(&j->s->model), ids, n, n_text)))
        serve_refuse(e, 503, "out_of_memory", NULL, "out of memory");
    free(ids);
    return text;
}

static void detokenize(struct job *j) {
    struct serve_error e = {0};
    size_t n = 0;
    json_t *root = serve_json_parse(j->body.p, j->body.n, &e);
    char *text = root ? text_of(j, root, &n, &e) : NULL;
    if (text)
        reply_json(j, json_pack("{s:o}", "content", json_stringn(text, n)));
    else
        job_refuse(j, &e);
    free(text);
    json_decref(root);
}

/* ---- the table ---- */

static const struct route routes[] = {
    {.path = "/health", .methods = "GET", .open = true, .unready = true, .now = health},
    {.path = "/v1/health", .methods = "GET", .open = true, .unready = true, .now = health},
    {.path = "/metrics", .methods = "GET", .unready = true, .now = metrics},
    {.path = "/v1/models", .methods = "GET", .now = models},
    {.path = "/models", .methods = "GET", .now = models},
    {.path = "/props", .methods = "GET", .now = props},
    {.path = "/v1/chat/completions", .methods = "POST", .later = chat},
    {.path = "/chat/completions", .methods = "POST", .later = chat},
    {.path = "/v1/completions", .methods = "POST", .later = completion},
    {.path = "/completion", .methods = "POST", .later = native},
    {.path = "/tokenize", .methods = "POST", .later = tokenize},
    {.path = "/detokenize", .methods = "POST", .later = detokenize},
};
static const struct route by_name = {.path = "/v1/models/", .methods = "GET", .now = one_model};

const struct route *route_find(const char *path, struct serve_error *e) {
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        if (strcmp(routes[i].path, path) == 0) return &routes[i];
    if (strncmp(path, by_name.path, strlen(by_name.path)) == 0) return &by_name;
    serve_refuse(e, 404, "not_found", NULL, "there is nothing at %.100s", path);
    return NULL;
}
