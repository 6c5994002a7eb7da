/* genie/dialog_config: see dialog_config.h. */
#include "genie/dialog_config.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "genie/schema.h"

struct reader {
    struct eye_genie_config *c;
    struct eye_err *err;
};

static const json_t *member(const json_t *o, const char *key) { return json_object_get(o, key); }

/* A whole number in [lo, hi]; absent: as it was. */
static enum eye_status whole(const struct reader *r, const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out) {
    const json_t *v = member(o, key);
    double d = json_number_value(v);
    if (!v) return EYE_OK;
    if (!json_is_number(v) || !(d >= (double)lo && d <= (double)hi) || d != floor(d))
        return eye_fail(r->err, EYE_E_CORRUPT, "%s is %g, expected a whole number from %lld to %lld "
                        "(GENIE_STATUS_ERROR_JSON_VALUE)", key, d, (long long)lo, (long long)hi);
    *out = json_is_integer(v) ? json_integer_value(v) : (int64_t)d;
    return EYE_OK;
}

static void real(const json_t *o, const char *key, double *out) {
    const json_t *v = member(o, key);
    if (v) *out = json_number_value(v);
}

static enum eye_status text(const struct reader *r, const json_t *v, const char **out) {
    *out = eye_arena_strdup(&r->c->arena, json_string_value(v), json_string_length(v));
    return *out ? EYE_OK : eye_fail_nomem(r->err, json_string_length(v) + 1);
}

static enum eye_status unsupported(const struct reader *r, const char *what, const char *got, const char *want) {
    return eye_fail(r->err, EYE_E_UNSUPPORTED, "%s: Genie takes \"%.64s\", this stand-in runs %s", what, got, want);
}

/* ---- parts ---- */

static enum eye_status add_eos(const struct reader *r, int64_t id) {
    struct eye_genie_config *c = r->c;
    if (id < 0) return EYE_OK; /* -1: none; no row of a table stands before its first */
    if (c->n_eos == EYE_GENIE_MAX_EOS) return eye_fail(r->err, EYE_E_LIMIT, "eos-token: more than %d ids", EYE_GENIE_MAX_EOS);
    c->eos[c->n_eos++] = id;
    return EYE_OK;
}

static enum eye_status read_context(const struct reader *r, const json_t *o) {
    struct eye_genie_config *c = r->c;
    const json_t *eos = member(o, "eos-token");
    int64_t eot = -1;
    EYE_TRY(whole(r, o, "size", 1, 1 << 24, &c->n_ctx));
    EYE_TRY(whole(r, o, "n-vocab", 1, 1 << 24, &c->n_vocab));
    EYE_TRY(whole(r, o, "bos-token", -1, c->n_vocab - 1, &c->bos));
    EYE_TRY(whole(r, o, "eot-token", -1, c->n_vocab - 1, &eot));
    EYE_TRY(add_eos(r, eot));
    if (json_is_number(eos)) {
        int64_t id = -1;
        EYE_TRY(whole(r, o, "eos-token", -1, c->n_vocab - 1, &id));
        return add_eos(r, id);
    }
    for (size_t i = 0; i < json_array_size(eos); i++) {
        const json_t *v = json_array_get(eos, i);
        if (!json_is_integer(v) || json_integer_value(v) < -1 || json_integer_value(v) >= c->n_vocab)
            return eye_fail(r->err, EYE_E_CORRUPT, "eos-token[%zu]: expected a whole number from -1 to %lld "
                            "(GENIE_STATUS_ERROR_JSON_VALUE)", i, (long long)c->n_vocab - 1);
        EYE_TRY(add_eos(r, json_integer_value(v)));
    }
    return EYE_OK;
}

static enum eye_status read_embedding(const struct reader *r, const json_t *o) {
    struct eye_genie_config *c = r->c;
    const char *type = json_string_value(member(o, "datatype"));
    const json_t *quant = member(o, "quant-param"), *lut = member(o, "lut-path");
    c->embedding = (struct eye_elements){EYE_EL_F32, 1, 0};
    if (!o) return EYE_OK;
    EYE_TRY(whole(r, o, "size", 1, 1 << 17, &c->embedding_size));
    if (type && strcmp(type, "native") != 0) eye_element_parse(type, strlen(type), EYE_EL_CONFIG, &c->embedding.type);
    real(quant, "scale", &c->embedding.scale);
    real(quant, "offset", &c->embedding.offset);
    if (!isfinite(c->embedding.scale) || c->embedding.scale == 0 || !isfinite(c->embedding.offset))
        return eye_fail(r->err, EYE_E_CORRUPT, "quant-param: a scale that is 0 or not finite (GENIE_STATUS_ERROR_JSON_VALUE)");
    return lut ? text(r, lut, &c->lut_path) : EYE_OK;
}

/* Genie leaves a repetition penalty of 0 as it is, which divides by it; here 0 is "off", as it is meant. */
static enum eye_status read_penalties(const struct reader *r, const json_t *o) {
    struct eye_generate_opts *s = &r->c->sampling;
    int64_t last_n = 0;
    double repeat = 0, presence = 0, frequency = 0;
    EYE_TRY(whole(r, o, "penalize-last-n", -1, INT32_MAX, &last_n));
    real(o, "repetition-penalty", &repeat);
    real(o, "presence-penalty", &presence);
    real(o, "frequency-penalty", &frequency);
    if (last_n == 0) return EYE_OK;
    s->penalty_last_n = (int32_t)last_n;
    s->repeat_penalty = (float)repeat;
    s->presence_penalty = (float)presence;
    s->frequency_penalty = (float)frequency;
    return EYE_OK;
}

static enum eye_status read_sampler(const struct reader *r, const json_t *o) {
    struct eye_genie_config *c = r->c;
    const char *type = json_string_value(member(o, "type"));
    int64_t seed = -1, top_k = 0;
    double temp = 0.1, top_p = 0.8;
    if (!o) return eye_fail(r->err, EYE_E_CORRUPT, "Missing dialog field: sampler (GENIE_STATUS_ERROR_JSON_SCHEMA)");
    if (type && strcmp(type, "basic") != 0) return unsupported(r, "sampler type", type, "basic");
    EYE_TRY(whole(r, o, "seed", -1, INT64_MAX / 2, &seed));
    EYE_TRY(whole(r, o, "top-k", 0, INT32_MAX, &top_k));
    real(o, "temp", &temp);
    real(o, "top-p", &top_p);
    bool greedy = temp <= 0 || top_k == 1 || top_p <= 0 || json_is_true(member(o, "greedy"));
    c->has_seed = seed >= 0;
    c->sampling.seed = (uint64_t)EYE_MAX(seed, 0);
    c->sampling.temperature = greedy ? 0 : (float)temp;
    c->sampling.top_k = (int32_t)top_k;
    c->sampling.top_p = top_p >= 1 ? 1 : (float)EYE_MAX(top_p, 0);
    return read_penalties(r, member(o, "token-penalty"));
}

static enum eye_status read_backend(const struct reader *r, const json_t *o) {
    struct eye_genie_config *c = r->c;
    const char *type = json_string_value(member(o, "type"));
    const json_t *cpu = member(o, "QnnGenAiTransformer"), *npu = member(o, "QnnHtp");
    if (strcmp(type, "QnnGpu") == 0) return unsupported(r, "backend type", type, "QnnGenAiTransformer and QnnHtp, on this CPU");
    c->on_npu = npu != NULL;
    c->use_mmap = npu ? json_is_true(member(npu, "use-mmap")) : json_is_true(member(cpu, "use-mmap"));
    c->kv_quantization = json_is_true(member(cpu, "kv-quantization"));
    const char *input = json_string_value(member(cpu, "model-input"));
    c->embeddings_in = input && strcmp(input, "embeddings") == 0;
    EYE_TRY(whole(r, cpu, "n-layer", 1, 1024, &c->n_layer));
    EYE_TRY(whole(r, cpu, "n-embd", 1, 1 << 17, &c->n_embd));
    EYE_TRY(whole(r, cpu, "n-heads", 1, 1024, &c->n_heads));
    c->n_kv_heads = c->n_heads;
    EYE_TRY(whole(r, cpu, "n-kv-heads", 1, 1024, &c->n_kv_heads));
    return whole(r, npu, "kv-dim", 1, 1024, &c->kv_dim);
}

static enum eye_status read_engine(const struct reader *r, const json_t *o) {
    const json_t *model = member(o, "model"), *library = member(model, "library"), *binary = member(model, "binary");
    const json_t *bins = member(binary, "ctx-bins"), *rope = member(model, "positional-encoding");
    int64_t n_threads = 1;
    if (member(o, "longcontext") || member(o, "cache-groups"))
        return unsupported(r, "engine", "longcontext, cache-groups", "neither");
    if (member(library ? library : binary, "lora")) return unsupported(r, "model", "lora", "no adapters");
    if (member(rope, "rope-scaling")) return unsupported(r, "positional-encoding", "rope-scaling", "none");
    EYE_TRY(read_backend(r, member(o, "backend")));
    EYE_TRY(whole(r, o, "n-threads", 0, 1024, &n_threads));
    r->c->n_threads = (int32_t)n_threads;
    EYE_TRY(whole(r, rope, "rope-dim", 1, 1024, &r->c->rope_dim));
    if (library) return text(r, member(library, "model-bin"), &r->c->model_bin);
    if (json_array_size(bins) == 0) return eye_fail(r->err, EYE_E_CORRUPT, "ctx-bins is empty (GENIE_STATUS_ERROR_JSON_VALUE)");
    return text(r, json_array_get(bins, 0), &r->c->model_bin);
}

static enum eye_status read_dialog(const struct reader *r, const json_t *o) {
    struct eye_genie_config *c = r->c;
    const char *type = json_string_value(member(o, "type"));
    const json_t *stop = member(o, "stop-sequence");
    if (strcmp(type, "basic") != 0) return unsupported(r, "dialog type", type, "basic");
    c->bos = c->max_tokens = -1;
    EYE_TRY(read_context(r, member(o, "context")));
    EYE_TRY(read_embedding(r, member(o, "embedding")));
    EYE_TRY(read_sampler(r, member(o, "sampler")));
    EYE_TRY(text(r, member(member(o, "tokenizer"), "path"), &c->tokenizer));
    EYE_TRY(read_engine(r, member(o, "engine")));
    EYE_TRY(whole(r, o, "max-num-tokens", 0, UINT32_MAX, &c->max_tokens));
    if (json_array_size(stop) > EYE_GENIE_MAX_STOP)
        return eye_fail(r->err, EYE_E_LIMIT, "stop-sequence: more than %d", EYE_GENIE_MAX_STOP);
    for (size_t i = 0; i < json_array_size(stop); i++) EYE_TRY(text(r, json_array_get(stop, i), &c->stop[c->n_stop++]));
    return EYE_OK;
}

/* ---- the file ---- */

/* jansson refuses a member that occurs twice, with its own words; Genie has others. */
static enum eye_status parse_failed(enum eye_status st, struct eye_err *err, const char *where) {
    static const char mark[] = "duplicate object key near '\"";
    const char *key = err ? strstr(err->text, mark) : NULL, *end = key ? strchr(key + sizeof mark - 1, '"') : NULL;
    if (st != EYE_E_CORRUPT || !err) return st;
    if (end) {
        char name[101];
        snprintf(name, sizeof name, "%.*s", (int)EYE_MIN((size_t)(end - key - (ptrdiff_t)sizeof mark + 1), sizeof name - 1),
                 key + sizeof mark - 1);
        return eye_fail(err, st, "%s: Multiple dialog config key: %s (GENIE_STATUS_ERROR_JSON_SCHEMA)", where, name);
    }
    char why[sizeof err->text];
    snprintf(why, sizeof why, "%s", err->text);
    return eye_fail(err, st, "%.440s (GENIE_STATUS_ERROR_JSON_FORMAT)", why);
}

enum eye_status eye_genie_config_parse(struct eye_genie_config *c, const char *p, size_t n, const char *where,
                                       const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_json j;
    struct eye_err why = {0};
    struct reader r = {c, err ? err : &why};
    *c = (struct eye_genie_config){.n_ctx = 0};
    eye_arena_init(&c->arena, alloc);
    enum eye_status st = eye_json_parse(&j, p, n, EYE_GENIE_MAX_CONFIG, where, r.err);
    if (st != EYE_OK) return parse_failed(st, r.err, where);
    st = eye_genie_check_dialog(j.root, r.err);
    if (st == EYE_OK) st = read_dialog(&r, json_object_get(j.root, "dialog"));
    eye_json_clear(&j);
    if (st == EYE_OK) return EYE_OK;
    eye_genie_config_clear(c);
    return eye_fail_in(r.err, st, "%s", where);
}

void eye_genie_config_clear(struct eye_genie_config *c) {
    eye_arena_clear(&c->arena);
    *c = (struct eye_genie_config){.n_ctx = 0};
}
