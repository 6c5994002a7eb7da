/* genie/schema: see schema.h. C in messages is the component's name, K a member, V a value. */
#include "genie/schema.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum kind { NUM, BOOL, STR, OBJ, ARR, OBJ_OR_ARR, NUM_OR_ARR, ANY };

struct component;
struct check { /* where a check is */
    const struct component *c;
    const json_t *o;
    struct eye_err *err;
};
typedef enum eye_status check_fn(const struct check *at, const char *key, const json_t *v);

struct member {
    const char *key;
    enum kind kind;
    bool must;
    const struct component *child; /* of an object, or of each item of an array */
    const char *const *values;     /* of a string: NULL-terminated */
    const char *bad_value;         /* "Invalid dialog type: %s" */
    check_fn *check;
};
struct component {
    const char *name;
    const struct member *member; /* mandatory ones in alphabetical order, as they are looked for */
    check_fn *cross;             /* after the members; key NULL, v the object */
};

#define SCHEMA "(GENIE_STATUS_ERROR_JSON_SCHEMA)"
#define VALUE "(GENIE_STATUS_ERROR_JSON_VALUE)"
#define VERSION {"version", NUM, .must = true, .check = check_version}
#define END {NULL, ANY}

static enum eye_status check_component(const struct component *c, const json_t *o, struct eye_err *err);

/* ---- values ---- */

/* A value as messages show it. */
static const char *shown(const json_t *v, char *out, size_t cap) {
    if (json_is_string(v)) snprintf(out, cap, "%.*s", (int)EYE_MIN(cap - 1, (size_t)100), json_string_value(v));
    else if (json_is_integer(v)) snprintf(out, cap, "%lld", (long long)json_integer_value(v));
    else if (json_is_real(v)) snprintf(out, cap, "%g", json_real_value(v));
    else snprintf(out, cap, "?");
    for (char *p = out; *p; p++)
        if ((unsigned char)*p < 32) *p = '?';
    return out;
}

static const char *text_of(const json_t *o, const char *key, const char *def) {
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : def;
}

static bool has(const json_t *o, const char *key) { return json_object_get(o, key) != NULL; }

static enum eye_status check_version(const struct check *at, const char *key, const json_t *v) {
    char text[64];
    (void)key;
    if (json_number_value(v) == 1) return EYE_OK;
    return eye_fail(at->err, EYE_E_CORRUPT, "Invalid %s config: unsupported version: %s " VALUE, at->c->name,
                    shown(v, text, sizeof text));
}

static enum eye_status check_max_tokens(const struct check *at, const char *key, const json_t *v) {
    char text[64];
    (void)key;
    if (json_number_value(v) >= 0) return EYE_OK;
    return eye_fail(at->err, EYE_E_CORRUPT, "number of tokens must be > 0. provided: %s " VALUE, shown(v, text, sizeof text));
}

static enum eye_status check_strings(const struct check *at, const char *key, const json_t *v) {
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_string(json_array_get(v, i)))
            return eye_fail(at->err, EYE_E_CORRUPT, "%s must be an array of strings " VALUE, key);
    return EYE_OK;
}

static enum eye_status check_not_empty(const struct check *at, const char *key, const json_t *v) {
    if (json_array_size(v)) return EYE_OK;
    return eye_fail(at->err, EYE_E_CORRUPT, "Invalid %s config: %s is empty " VALUE, at->c->name, key);
}

/* ---- what belongs together ---- */

/* A member named as the type is there exactly with that type. */
static enum eye_status check_own_member(const struct check *at, const char *type, const char *named, const char *what,
                                        bool must) {
    const char *got = text_of(at->o, "type", "");
    bool mine = strcmp(got, type) == 0;
    if (!mine && has(at->o, named))
        return eye_fail(at->err, EYE_E_CORRUPT, "%s %s config for incorrect %s type: %s " SCHEMA, named, what, what, got);
    if (mine && must && !has(at->o, named))
        return eye_fail(at->err, EYE_E_CORRUPT, "Missing %s %s config " SCHEMA, named, strcmp(what, "backend") ? what
                        : "dialog");
    return EYE_OK;
}

static enum eye_status cross_dialog(const struct check *at, const char *key, const json_t *v) {
    static const char *const types[] = {"ssd-q1", "lade", "spd", "multistream", "eaglet"};
    static const struct { const char *type, *role[2]; } pairs[] = {
        {"spd", {"draft", "target"}}, {"kv-share", {"primary", "secondary"}}, {"eaglet", {"draft", "target"}}};
    const char *type = text_of(at->o, "type", "");
    const json_t *engine = json_object_get(at->o, "engine");
    (void)key, (void)v;
    for (size_t i = 0; i < EYE_COUNT(types); i++) EYE_TRY(check_own_member(at, types[i], types[i], "dialog", true));
    for (size_t i = 0; i < EYE_COUNT(pairs); i++) {
        if (strcmp(type, pairs[i].type) != 0) continue;
        if (!json_is_array(engine) || json_array_size(engine) != 2)
            return eye_fail(at->err, EYE_E_CORRUPT, "Invalid dialog config: %s needs an array of 2 engines " SCHEMA, type);
        for (int k = 0; k < 2; k++) {
            bool found = false;
            for (size_t j = 0; j < 2; j++)
                found |= strcmp(text_of(json_array_get(engine, j), "role", ""), pairs[i].role[k]) == 0;
            if (!found)
                return eye_fail(at->err, EYE_E_CORRUPT, "Invalid dialog config: %s needs an engine of role %s " SCHEMA, type,
                                pairs[i].role[k]);
        }
        return EYE_OK;
    }
    if (json_is_array(engine))
        return eye_fail(at->err, EYE_E_CORRUPT, "Invalid dialog config: engine is not an object " SCHEMA);
    return EYE_OK;
}

static enum eye_status cross_embedding(const struct check *at, const char *key, const json_t *v) {
    bool lut = strcmp(text_of(at->o, "type", ""), "lut") == 0;
    (void)key, (void)v;
    if (lut == has(at->o, "lut-path")) return EYE_OK;
    return eye_fail(at->err, EYE_E_CORRUPT, "lut-path config option should be used with type lut " SCHEMA);
}

static enum eye_status cross_sampler(const struct check *at, const char *key, const json_t *v) {
    static const char *const basic[] = {"temp", "top-k", "top-p", "greedy"};
    const char *type = text_of(at->o, "type", "basic");
    bool custom = strcmp(type, "custom") == 0;
    (void)key, (void)v;
    if (!custom && has(at->o, "callback-name"))
        return eye_fail(at->err, EYE_E_CORRUPT, "callback-name specified but type is set to %s " SCHEMA, type);
    if (custom && !has(at->o, "callback-name"))
        return eye_fail(at->err, EYE_E_CORRUPT, "callback-name not specified but type is set to custom " SCHEMA);
    for (size_t i = 0; custom && i < EYE_COUNT(basic); i++)
        if (has(at->o, basic[i]))
            return eye_fail(at->err, EYE_E_CORRUPT, "Provided keys are not compatible with custom sampler type. " SCHEMA);
    return EYE_OK;
}

static enum eye_status cross_backend(const struct check *at, const char *key, const json_t *v) {
    (void)key, (void)v;
    EYE_TRY(check_own_member(at, "QnnHtp", "QnnHtp", "backend", true));
    return check_own_member(at, "QnnGenAiTransformer", "QnnGenAiTransformer", "backend", true);
}

static enum eye_status cross_model(const struct check *at, const char *key, const json_t *v) {
    (void)key, (void)v;
    EYE_TRY(check_own_member(at, "binary", "binary", "model", true));
    return check_own_member(at, "library", "library", "model", true);
}

static enum eye_status cross_positions(const struct check *at, const char *key, const json_t *v) {
    (void)key, (void)v;
    if (strcmp(text_of(at->o, "type", ""), "rope") == 0 && !has(at->o, "rope-dim"))
        return eye_fail(at->err, EYE_E_CORRUPT, "Missing positional-encoding field: rope-dim " SCHEMA);
    return EYE_OK;
}

static enum eye_status cross_engine(const struct check *at, const char *key, const json_t *v) {
    static const char *const old[] = {"pos-id-dim", "rope-theta"};
    const json_t *backend = json_object_get(at->o, "backend"), *htp = json_object_get(backend, "QnnHtp");
    (void)key, (void)v;
    for (size_t i = 0; has(json_object_get(at->o, "model"), "positional-encoding") && i < EYE_COUNT(old); i++)
        if (has(htp, old[i]))
            return eye_fail(at->err, EYE_E_CORRUPT, "Specify one config from %s and positional-encoding " SCHEMA, old[i]);
    if (has(at->o, "longcontext") && strcmp(text_of(backend, "type", ""), "QnnGenAiTransformer") == 0)
        return eye_fail(at->err, EYE_E_CORRUPT, "Long Context is not supported on CPU. " VALUE);
    return EYE_OK;
}

/* ---- components ---- */

static const struct component tokenizer = {"tokenizer", (const struct member[]){{"path", STR, .must = true}, VERSION, END}};

static const struct component context = {"context", (const struct member[]){
    {"bos-token", NUM, .must = true}, {"eos-token", NUM_OR_ARR, .must = true}, {"n-vocab", NUM, .must = true},
    {"size", NUM, .must = true}, VERSION, {"eot-token", NUM}, {"pad-token", NUM}, {"n-embd", NUM}, {"img-token", NUM},
    {"draft-n-vocab", NUM}, END}};

static const struct component quant_param = {"quant-param", (const struct member[]){{"scale", NUM}, {"offset", NUM}, END}};
static const struct component embedding = {"embedding", (const struct member[]){
    {"size", NUM, .must = true}, VERSION,
    {"type", STR, .values = (const char *const[]){"lut", "callback", NULL}, .bad_value = "Unknown embedding type: %s " VALUE},
    {"lut-path", STR},
    {"datatype", STR, .values = (const char *const[]){"float32", "native", "ufixed8", "ufixed16", "sfixed8", "sfixed16", NULL},
     .bad_value = "Unknown embedding datatype: %s " VALUE},
    {"quant-param", OBJ, .child = &quant_param}, END}, cross_embedding};

static const struct component token_penalty = {"token-penalty", (const struct member[]){
    VERSION, {"penalize-last-n", NUM}, {"repetition-penalty", NUM}, {"presence-penalty", NUM}, {"frequency-penalty", NUM},
    END}};
static const struct component sampler = {"sampler", (const struct member[]){
    VERSION, {"type", STR, .values = (const char *const[]){"basic", "custom", NULL}, .bad_value = "Invalid sampler type: %s "
              "" VALUE},
    {"seed", NUM}, {"temp", NUM}, {"top-k", NUM}, {"top-p", NUM}, {"greedy", BOOL}, {"callback-name", STR},
    {"token-penalty", OBJ, .child = &token_penalty}, END}, cross_sampler};

static const struct component htp = {"QnnHtp", (const struct member[]){
    {"cpu-mask", STR, .must = true}, {"mmap-budget", NUM, .must = true}, {"poll", BOOL, .must = true},
    {"spill-fill-bufsize", NUM, .must = true}, {"use-mmap", BOOL, .must = true}, VERSION, {"kv-dim", NUM},
    {"data-alignment-size", NUM}, {"pos-id-dim", NUM}, {"rope-theta", NUM}, {"kv-update-method", STR},
    {"allow-async-init", BOOL}, {"enable-graph-switching", BOOL}, {"shared-engine", BOOL}, {"skip-lora-validation", BOOL},
    {"graph-switching-lora-policy", STR, .values = (const char *const[]){"lazy", "eager", NULL},
     .bad_value = "Invalid graph-switching-lora-policy: %s " VALUE}, END}};
static const struct component transformer = {"QnnGenAiTransformer", (const struct member[]){
    VERSION, {"use-mmap", BOOL}, {"kv-quantization", BOOL},
    {"model-input", STR, .values = (const char *const[]){"tokens", "embeddings", NULL},
     .bad_value = "Invalid model-input: %s " VALUE},
    {"n-logits", NUM}, {"n-layer", NUM}, {"n-embd", NUM}, {"n-heads", NUM}, {"n-kv-heads", NUM}, {"shared-engine", BOOL}, END}};
static const struct component backend = {"backend", (const struct member[]){
    {"type", STR, .must = true, .values = (const char *const[]){"QnnHtp", "QnnGenAiTransformer", "QnnGpu", NULL},
     .bad_value = "Invalid backend type: %s " VALUE},
    VERSION, {"extensions", STR}, {"QnnHtp", OBJ, .child = &htp}, {"QnnGenAiTransformer", OBJ, .child = &transformer}, END},
    cross_backend};

static const struct component lora_adapter = {"lora adapter", (const struct member[]){
    {"name", STR, .must = true}, VERSION, {"alphas", ARR}, {"bin-sections", ARR}, {"path", STR}, END}};
static const struct component lora_group = {"lora group", (const struct member[]){
    {"members", ARR, .must = true}, {"name", STR, .must = true}, VERSION, {"quant-bin-sections", ARR}, END}};
static const struct component lora = {"lora", (const struct member[]){
    {"adapters", ARR, .must = true, .child = &lora_adapter}, VERSION, {"alpha-tensor-name", STR},
    {"groups", ARR, .child = &lora_group}, {"lora-version", NUM}, END}};
static const struct component binary = {"binary", (const struct member[]){
    {"ctx-bins", ARR, .must = true, .check = check_strings}, VERSION, {"lora", OBJ, .child = &lora}, END}};
static const struct component library = {"library", (const struct member[]){
    {"model-bin", STR, .must = true}, VERSION, {"lora", OBJ, .child = &lora}, END}};
static const struct component rope_scaling = {"rope-scaling", (const struct member[]){
    {"rope-type", STR, .values = (const char *const[]){"default", "llama3", "longrope", "qwen2vl-mrope", "yarnrope", "linear",
                                                       "hunyuan", NULL}, .bad_value = "Invalid rope-type: %s " VALUE},
    {"factor", NUM}, {"low-freq-factor", NUM}, {"high-freq-factor", NUM}, {"original-max-position-embeddings", NUM},
    {"time-step", NUM}, {"spatial-merge-size", NUM}, {"dim", NUM}, {"extrapolation-factor", NUM}, {"attn-factor", NUM},
    {"beta-fast", NUM}, {"beta-slow", NUM}, {"short-factor", ARR}, {"long-factor", ARR}, {"mrope-section", ARR}, END}};
static const struct component positions = {"positional-encoding", (const struct member[]){
    {"type", STR, .must = true, .values = (const char *const[]){"rope", "absolute", "alibi", "none", NULL},
     .bad_value = "Invalid positional-encoding type: %s " VALUE},
    {"rope-dim", NUM}, {"rope-theta", NUM}, {"rope-scaling", OBJ, .child = &rope_scaling}, END}, cross_positions};
static const struct component model = {"model", (const struct member[]){
    {"type", STR, .must = true, .values = (const char *const[]){"binary", "library", NULL},
     .bad_value = "Invalid model type: %s " VALUE},
    VERSION, {"binary", OBJ, .child = &binary}, {"library", OBJ, .child = &library},
    {"positional-encoding", OBJ, .child = &positions}, {"mask-type", STR}, {"cross-attention", BOOL}, {"draft-token-map", STR},
    END}, cross_model};

static const struct component keydiff = {"keydiff", (const struct member[]){
    VERSION, {"scoring-network", STR}, {"update-frequency", NUM}, {"anchor-alpha", NUM}, END}};
static const struct component sliding_window = {"sliding-window", (const struct member[]){VERSION, {"window-size", NUM}, END}};
static const struct component longcontext = {"longcontext", (const struct member[]){
    {"type", STR, .must = true, .values = (const char *const[]){"keydiff", "sliding-window", NULL},
     .bad_value = "Invalid longcontext type: %s " VALUE},
    VERSION, {"reserved-tokens", NUM}, {"keydiff", OBJ, .child = &keydiff}, {"sliding-window", OBJ, .child = &sliding_window},
    END}};
static const struct component cache_group = {"cache-group", (const struct member[]){
    {"prefix", STR, .must = true}, VERSION, {"longcontext", OBJ, .child = &longcontext}, {"attention-mask-tensor-name", STR},
    {"cache-index-tensor-name", STR}, END}};
static const struct component engine = {"engine", (const struct member[]){
    {"backend", OBJ, .must = true, .child = &backend}, {"model", OBJ, .must = true, .child = &model},
    {"n-threads", NUM, .must = true}, VERSION, {"role", STR}, {"longcontext", OBJ, .child = &longcontext},
    {"cache-groups", ARR, .child = &cache_group, .check = check_not_empty}, END}, cross_engine};

static const struct component debug = {"debug", (const struct member[]){
    {"path", STR}, {"dump-tensors", BOOL}, {"dump-specs", BOOL}, {"dump-outputs", BOOL}, END}};
static const struct component ssd = {"ssd-q1", (const struct member[]){
    {"branches", ARR, .must = true}, {"forecast-prefix", NUM, .must = true}, {"forecast-prefix-name", STR, .must = true},
    {"forecast-token-count", NUM, .must = true}, {"ssd-version", NUM, .must = true}, VERSION,
    {"branch-mode", STR, .values = (const char *const[]){"top-1", "all-expand", NULL}, .bad_value = "Invalid branch-mode: %s "
     "" VALUE},
    {"n-streams", NUM}, {"p-threshold", NUM}, END}};
static const struct component lade = {"lade", (const struct member[]){
    {"gcap", NUM, .must = true}, {"ngram", NUM, .must = true},
    {"update-mode", STR, .must = true, .values = (const char *const[]){"FWD_MAX_HIT", "FWD_LEVEL", "ALWAYS_FWD_ONE", NULL},
     .bad_value = "Invalid update-mode: %s " VALUE},
    VERSION, {"window", NUM, .must = true}, END}};
static const struct component spd = {"spd", (const struct member[]){{"draft-len", NUM, .must = true}, VERSION, END}};
static const struct component eaglet = {"eaglet", (const struct member[]){
    {"draft-kv-cache", BOOL, .must = true}, {"draft-len", NUM, .must = true}, {"eaglet-version", NUM, .must = true},
    {"max-tokens-target-can-evaluate", NUM, .must = true}, {"n-branches", NUM, .must = true}, VERSION, END}};
static const struct component multistream = {"multistream", (const struct member[]){
    {"n-streams", NUM, .must = true}, VERSION, {"p-threshold", NUM}, END}};
static const struct component kv_share = {"kv-share", (const struct member[]){{"enable-in-memory-kv-share", BOOL}, END}};

static const struct component dialog = {"dialog", (const struct member[]){
    {"context", OBJ, .must = true, .child = &context}, {"engine", OBJ_OR_ARR, .must = true, .child = &engine},
    {"tokenizer", OBJ, .must = true, .child = &tokenizer},
    {"type", STR, .must = true, .values = (const char *const[]){"basic", "ssd-q1", "lade", "spd", "multistream", "eaglet",
                                                                "kv-share", NULL},
     .bad_value = "Invalid dialog type: %s " VALUE},
    VERSION, {"sampler", OBJ, .child = &sampler}, {"embedding", OBJ, .child = &embedding},
    {"stop-sequence", ARR, .check = check_strings}, {"max-num-tokens", NUM, .check = check_max_tokens}, {"accumulator-size",
                                                                                                         ANY},
    {"debug", OBJ, .child = &debug}, {"ssd-q1", OBJ, .child = &ssd}, {"lade", OBJ, .child = &lade}, {"spd", OBJ, .child = &spd},
    {"eaglet", OBJ, .child = &eaglet}, {"multistream", OBJ, .child = &multistream}, {"kv-share", OBJ, .child = &kv_share}, END},
    cross_dialog};
static const struct component root_component = {"dialog", (const struct member[]){
    {"dialog", OBJ, .must = true, .child = &dialog}, END}};

/* ---- the check ---- */

static bool is_kind(const json_t *v, enum kind kind) {
    switch (kind) {
    case NUM: return json_is_number(v);
    case BOOL: return json_is_boolean(v);
    case STR: return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v);
    case OBJ: return json_is_object(v);
    case ARR: return json_is_array(v);
    case OBJ_OR_ARR: return json_is_object(v) || json_is_array(v);
    case NUM_OR_ARR: return json_is_number(v) || json_is_array(v);
    case ANY: break;
    }
    return true;
}

static enum eye_status check_kind(const struct check *at, const struct member *m, const json_t *v) {
    static const char *const expected[] = {[NUM] = "numeric", [BOOL] = "boolean", [STR] = "a string", [OBJ] = "an object",
                                           [ARR] = "an array", [OBJ_OR_ARR] = "an array or object",
                                           [NUM_OR_ARR] = "an array or numeric"};
    if (is_kind(v, m->kind)) return EYE_OK;
    if (m->kind == OBJ && m->child)
        return eye_fail(at->err, EYE_E_CORRUPT, "%s config is not an object " SCHEMA, m->child->name);
    return eye_fail(at->err, EYE_E_CORRUPT, "Invalid %s config: %s is not %s " SCHEMA, at->c->name, m->key, expected[m->kind]);
}

static enum eye_status check_value(const struct check *at, const struct member *m, const json_t *v) {
    char text[128], message[192];
    bool known = !m->values;
    for (const char *const *s = m->values; s && *s; s++) known |= strcmp(*s, json_string_value(v)) == 0;
    if (known) return m->check ? m->check(at, m->key, v) : EYE_OK;
    /* bad_value has one %s: put in by hand, since a format must be a literal */
    const char *mark = strstr(m->bad_value, "%s");
    snprintf(message, sizeof message, "%.*s%s%s", (int)(mark - m->bad_value), m->bad_value, shown(v, text, sizeof text),
             mark + 2);
    return eye_fail(at->err, EYE_E_CORRUPT, "%s", message);
}

static enum eye_status check_member(const struct check *at, const char *key, const json_t *v) {
    const struct member *m = at->c->member;
    while (m->key && strcmp(m->key, key) != 0) m++;
    if (!m->key) {
        char name[101];
        json_t *outside = json_string_nocheck(key);
        eye_fail(at->err, EYE_E_CORRUPT, "Unknown %s config key: %s " SCHEMA, at->c->name, shown(outside, name, sizeof name));
        json_decref(outside);
        return EYE_E_CORRUPT;
    }
    EYE_TRY(check_kind(at, m, v));
    EYE_TRY(check_value(at, m, v));
    if (!m->child) return EYE_OK;
    if (json_is_object(v)) return check_component(m->child, v, at->err);
    for (size_t i = 0; i < json_array_size(v); i++) EYE_TRY(check_component(m->child, json_array_get(v, i), at->err));
    return EYE_OK;
}

/* Recursion is as deep as the table, not as the text. */
static enum eye_status check_component(const struct component *c, const json_t *o, struct eye_err *err) {
    struct check at = {c, o, err};
    const char *key;
    json_t *v;
    if (!json_is_object(o)) return eye_fail(err, EYE_E_CORRUPT, "%s config is not an object " SCHEMA, c->name);
    for (const struct member *m = c->member; m->key; m++)
        if (m->must && !has(o, m->key)) return eye_fail(err, EYE_E_CORRUPT, "Missing %s field: %s " SCHEMA, c->name, m->key);
    /* jansson keeps the file's order */
    json_object_foreach((json_t *)(uintptr_t)o, key, v) EYE_TRY(check_member(&at, key, v));
    return c->cross ? c->cross(&at, NULL, o) : EYE_OK;
}

enum eye_status eye_genie_check_dialog(const struct json_t *root, struct eye_err *err) {
    return check_component(&root_component, root, err);
}
