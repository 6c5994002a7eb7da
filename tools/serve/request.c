/* request: see request.h. A row per field of OpenAI's and llama-server's requests says what becomes of it. */
#include "request.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define FAR_BYTES 1024 /* from so many on a picture is not worth a copy by the parser */
#define MAX_FAR 32     /* pictures of a request that are left out of what it reads */

struct far { /* pictures of a body that the parser does not see: in their place stands "data:@" and their number */
    struct { const char *p; size_t n; } at[MAX_FAR];
    size_t n;
};

struct parse {
    struct serve_request *r;
    struct far far;
    const struct serve_opts *o;
    struct serve_error *e;
    bool seeded, asked_top; /* there is a seed; top_logprobs */
};

/* ---- JSON ---- */

/* Is what ends in front of p[i] the name of an address? */
static bool is_address(const char *p, size_t i) {
    while (i > 0 && strchr(" \t\r\n", p[i - 1]) && p[i - 1]) i--;
    if (i == 0 || p[--i] != ':') return false;
    while (i > 0 && strchr(" \t\r\n", p[i - 1]) && p[i - 1]) i--;
    return (i >= 5 && memcmp(p + i - 5, "\"url\"", 5) == 0) || (i >= 11 && memcmp(p + i - 11, "\"image_url\"", 11) == 0);
}

/* The string in which a picture stands that begins behind p[i], a quote: its bytes; 0 = it is none, or has more to it. */
static size_t far_picture(const char *p, size_t n, size_t i) {
    const char *begin = p + i + 1, *end;
    bool plain = true;
    if (n - i - 1 < FAR_BYTES || memcmp(begin, "data:", 5) != 0 || !is_address(p, i)) return 0;
    if (!(end = memchr(begin, '"', n - i - 1)) || end - begin < FAR_BYTES) return 0;
    for (const char *at = begin; at < end; at++) plain &= *at >= ' ' && *at != '\\' && *at < 127;
    return plain ? (size_t)(end - begin) : 0;
}

/* Depth and number of values, before a parser that recurses and allocates sees them. Whether it is JSON is for the parser.
 * far: notes pictures; NULL = does not. */
static bool scan(const char *p, size_t n, struct far *far, struct serve_error *e) {
    size_t depth = 0, n_values = 0;
    bool in_string = false;
    for (size_t i = 0; i < n; i++) {
        char c = p[i];
        if (in_string) {
            if (c == '\\') i++;
            in_string = c != '"';
            continue;
        }
        size_t n_far = c == '"' && far && far->n < MAX_FAR ? far_picture(p, n, i) : 0;
        if (n_far) {
            far->at[far->n].p = p + i + 1;
            far->at[far->n++].n = n_far;
            i += n_far + 1;
            continue;
        }
        if (c == '"') in_string = true;
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && depth > 0) depth--;
        if (c == ',' || c == '{' || c == '[') n_values++;
        if (depth > SERVE_JSON_DEPTH)
            return serve_refuse(e, 400, NULL, NULL, "the JSON is nested deeper than %d", SERVE_JSON_DEPTH);
        if (n_values > SERVE_JSON_VALUES)
            return serve_refuse(e, 400, NULL, NULL, "the JSON has more than %d values", SERVE_JSON_VALUES);
    }
    return true;
}

/* The body without its far pictures. NULL = no memory. */
static char *without(const char *body, size_t n, const struct far *far, size_t *n_out) {
    const char *from = body;
    size_t at = 0;
    char *text = malloc(n + 1);
    for (size_t i = 0; text && i < far->n; i++) {
        size_t before = (size_t)(far->at[i].p - from);
        memcpy(text + at, from, before);
        at += before + (size_t)sprintf(text + at + before, "data:@%zu", i); /* less than FAR_BYTES */
        from = far->at[i].p + far->at[i].n;
    }
    if (!text) return NULL;
    memcpy(text + at, from, (size_t)(body + n - from));
    *n_out = at + (size_t)(body + n - from);
    return text;
}

static json_t *parse_json(const char *body, size_t n, struct far *far, struct serve_error *e) {
    json_error_t why;
    char *text = NULL;
    if (n == 0) {
        serve_refuse(e, 400, NULL, NULL, "the request has no body, expected a JSON object");
        return NULL;
    }
    if (!scan(body, n, far, e)) return NULL;
    if (far && far->n && !(text = without(body, n, far, &n))) {
        serve_refuse(e, 503, "out_of_memory", NULL, "no memory for a request");
        return NULL;
    }
    json_t *root = json_loadb(text ? text : body, n, JSON_REJECT_DUPLICATES, &why);
    free(text);
    if (!root) {
        serve_refuse(e, 400, "invalid_json", NULL, "the body is not JSON: %s (line %d, column %d)", why.text, why.line,
                     why.column);
    } else if (!json_is_object(root)) {
        serve_refuse(e, 400, NULL, NULL, "the body is JSON, but not an object");
        json_decref(root);
        return NULL;
    }
    return root;
}

json_t *serve_json_parse(const char *body, size_t n, struct serve_error *e) { return parse_json(body, n, NULL, e); }

/* ---- fields: what they may be ---- */

typedef bool take_fn(struct parse *p, const char *name, json_t *v);

static bool wrong(struct parse *p, const char *name, const char *expected) {
    return serve_refuse(p->e, 400, NULL, name, "%s: expected %s", name, expected);
}

static bool take_nothing(struct parse *p, const char *name, json_t *v) {
    (void)p, (void)name, (void)v;
    return true;
}

static bool take_text(struct parse *p, const char *name, json_t *v) {
    return json_is_string(v) || wrong(p, name, "a string");
}

static bool take_stream(struct parse *p, const char *name, json_t *v) {
    if (!json_is_boolean(v)) return wrong(p, name, "true or false");
    p->r->stream = json_is_true(v);
    return true;
}

static bool take_stream_options(struct parse *p, const char *name, json_t *v) {
    const char *key;
    json_t *item;
    if (!json_is_object(v)) return wrong(p, name, "an object");
    json_object_foreach(v, key, item) {
        bool usage = strcmp(key, "include_usage") == 0;
        if (!usage && strcmp(key, "include_obfuscation") != 0)
            return serve_refuse(p->e, 400, "unknown_field", name, "%s: \"%.40s\" is not known", name, key);
        if (!json_is_boolean(item) && !json_is_null(item)) return wrong(p, name, "true or false in it");
        if (usage) p->r->include_usage = json_is_true(item);
    }
    return true;
}

static bool take_return_tokens(struct parse *p, const char *name, json_t *v) {
    if (!json_is_boolean(v)) return wrong(p, name, "true or false");
    p->r->return_tokens = json_is_true(v);
    return true;
}

static bool take_ignore_eos(struct parse *p, const char *name, json_t *v) {
    if (!json_is_boolean(v)) return wrong(p, name, "true or false");
    p->r->gen.ignore_eos = json_is_true(v);
    return true;
}

static bool take_seed(struct parse *p, const char *name, json_t *v) {
    if (!json_is_integer(v)) return wrong(p, name, "a whole number");
    p->seeded = json_integer_value(v) != -1; /* llama-server's "a new one" */
    p->r->gen.seed = (uint64_t)json_integer_value(v);
    return true;
}

static bool take_max_tokens(struct parse *p, const char *name, json_t *v) {
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < -1 || n == 0 || n > INT32_MAX) return wrong(p, name, "a whole number of at least 1");
    p->r->gen.n_predict = n < 0 ? 0 : (int32_t)n;
    return true;
}

static bool add_stop(struct parse *p, const char *name, json_t *v) {
    if (!json_is_string(v) || json_string_length(v) == 0) return wrong(p, name, "strings that are not empty");
    if (p->r->gen.n_stop == SERVE_MAX_STOP)
        return serve_refuse(p->e, 400, NULL, name, "%s: more than %d strings", name, SERVE_MAX_STOP);
    p->r->stop[p->r->gen.n_stop++] = json_string_value(v);
    return true;
}

static bool take_stop(struct parse *p, const char *name, json_t *v) {
    size_t i;
    json_t *item;
    p->r->gen.n_stop = 0;
    if (!json_is_array(v)) return add_stop(p, name, v);
    json_array_foreach(v, i, item) if (!add_stop(p, name, item)) return false;
    return true;
}

static bool take_logprobs(struct parse *p, const char *name, json_t *v) {
    json_int_t n = json_integer_value(v);
    if (p->r->kind == SERVE_CHAT) {
        if (!json_is_boolean(v)) return wrong(p, name, "true or false");
        p->r->logprobs = json_is_true(v);
        return true;
    }
    if (!json_is_integer(v) || n < 0 || n > SERVE_MAX_LOGPROBS) return wrong(p, name, "a whole number from 0 to 20");
    p->r->logprobs = true;
    p->r->gen.n_logprobs = (int32_t)n;
    return true;
}

static bool take_n_probs(struct parse *p, const char *name, json_t *v) {
    return (json_is_integer(v) && json_integer_value(v) == 0) || take_logprobs(p, name, v);
}

static bool take_top_logprobs(struct parse *p, const char *name, json_t *v) {
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || n > SERVE_MAX_LOGPROBS) return wrong(p, name, "a whole number from 0 to 20");
    p->r->gen.n_logprobs = (int32_t)n;
    p->asked_top = n > 0;
    return true;
}

static bool take_one(struct parse *p, const char *name, json_t *v) {
    if (json_is_integer(v) && json_integer_value(v) == 1) return true;
    return serve_refuse(p->e, 400, "unsupported", name, "%s: only 1 is done here", name);
}

/* llama-server's: the schema itself. */
static bool take_schema(struct parse *p, const char *name, json_t *v) {
    if (!json_is_object(v)) return wrong(p, name, "an object, a JSON Schema");
    if (p->r->format != SERVE_TEXT) return wrong(p, name, "no response_format beside it");
    if (json_object_size(v) == 0) return true;
    p->r->format = SERVE_JSON_SCHEMA;
    p->r->schema = v;
    return true;
}

/* What the answer has to be: OpenAI's json_object and json_schema, and llama-server's json_object with a schema. */
static bool take_format(struct parse *p, const char *name, json_t *v) {
    const char *type = json_string_value(json_object_get(v, "type"));
    json_t *holder = json_object_get(v, "json_schema");
    if (!type) return wrong(p, name, "an object with a type");
    if (strcmp(type, "text") == 0) return true;
    if (p->r->format != SERVE_TEXT) return wrong(p, name, "no json_schema beside it");
    p->r->schema = json_object_get(holder ? holder : v, "schema");
    if (strcmp(type, "json_object") == 0 && !holder) {
        p->r->format = p->r->schema ? SERVE_JSON_SCHEMA : SERVE_JSON_OBJECT;
        return true;
    }
    if (strcmp(type, "json_schema") == 0) {
        p->r->format = SERVE_JSON_SCHEMA;
        return p->r->schema || wrong(p, name, "json_schema with a schema");
    }
    return serve_refuse(p->e, 400, "unsupported_response_format", name,
                        "%s: type \"%.40s\" is not known, expected text, json_object or json_schema", name, type);
}

/* Tools and the like: nothing asked for is fine. */
static bool take_none(struct parse *p, const char *name, json_t *v) {
    bool none = json_is_false(v) || (json_is_string(v) && json_string_length(v) == 0) ||
                (json_is_array(v) && json_array_size(v) == 0) ||
                (json_is_object(v) && json_object_size(v) == 0) || (json_is_string(v) && strcmp(json_string_value(v),
                                                                                                "none") == 0);
    return none || serve_refuse(p->e, 400, "unsupported", name, "%s: not done by this server", name);
}

static bool take_zero(struct parse *p, const char *name, json_t *v) {
    return (json_is_number(v) && json_number_value(v) == 0) ||
           serve_refuse(p->e, 400, "unsupported", name, "%s: not done by this server, only 0", name);
}

static bool take_unity(struct parse *p, const char *name, json_t *v) {
    return (json_is_number(v) && json_number_value(v) == 1) ||
           serve_refuse(p->e, 400, "unsupported", name, "%s: not done by this server, only 1", name);
}

static bool take_off(struct parse *p, const char *name, json_t *v) {
    return (json_is_number(v) && json_number_value(v) <= 0) ||
           serve_refuse(p->e, 400, "unsupported", name, "%s: not done by this server, only 0 and -1", name);
}

static bool take_modalities(struct parse *p, const char *name, json_t *v) {
    const char *only = json_string_value(json_array_get(v, 0));
    if (json_array_size(v) == 1 && only && strcmp(only, "text") == 0) return true;
    return serve_refuse(p->e, 400, "unsupported", name, "%s: answers are [\"text\"] only", name);
}

static bool take_image_field(struct parse *p, const char *name, json_t *v) {
    (void)v;
    return serve_refuse(p->e, 400, "unknown_image_field", name,
                        "%s: images go into messages[].content as {\"type\": \"image_url\", \"image_url\": {\"url\": "
                        "\"data:image/...;base64,...\"}}", name);
}

/* The model's own mark for each of llama-server's. */
static char *mark_images(const char *text) {
    static const char theirs[] = "<__media__>", ours[] = "<image>";
    char *out = malloc(strlen(text) + 1), *at = out;
    for (const char *next; out && (next = strstr(text, theirs)); text = next + sizeof theirs - 1) {
        memcpy(at, text, (size_t)(next - text));
        at += next - text;
        memcpy(at, ours, sizeof ours - 1);
        at += sizeof ours - 1;
    }
    if (out) strcpy(at, text); /* shorter than before */
    return out;
}

/* A text with places for images, and their files as base64. */
static bool take_prompt_with_images(struct parse *p, const char *name, json_t *v) {
    json_t *text = json_object_get(v, "prompt_string"), *files = json_object_get(v, "multimodal_data"), *file;
    size_t i;
    if (!json_is_string(text) || json_object_size(v) != (files ? 2u : 1u))
        return wrong(p, name, "prompt_string and multimodal_data in it");
    if (files && !json_is_array(files)) return wrong(p, "multimodal_data", "a list of base64");
    json_array_foreach(files, i, file) {
        char where[64];
        snprintf(where, sizeof where, "prompt.multimodal_data[%zu]", i);
        if (!json_is_string(file)) return wrong(p, where, "base64");
        json_t *url = json_sprintf("data:;base64,%s", json_string_value(file));
        if (!url) return serve_refuse(p->e, 503, "out_of_memory", where, "no memory for an image");
        json_string_setn(file, "", 0); /* one copy is enough */
        bool ok = serve_pictures_add(&p->r->pictures, url, NULL, 0, where, (size_t)p->o->max_images, p->e);
        json_decref(url);
        if (!ok) return false;
    }
    p->r->prompt = p->r->marked = mark_images(json_string_value(text));
    return p->r->prompt || serve_refuse(p->e, 503, "out_of_memory", name, "no memory for a prompt");
}

static bool take_prompt(struct parse *p, const char *name, json_t *v) {
    if (p->r->kind == SERVE_NATIVE && json_is_object(v)) return take_prompt_with_images(p, name, v);
    if (json_is_array(v) && json_array_size(v) == 1) v = json_array_get(v, 0);
    if (!json_is_string(v)) return wrong(p, name, "a string, or a list of one string");
    p->r->prompt = json_string_value(v);
    return true;
}

/* It is gone from llama-server too; old clients send an empty list. */
static bool take_image_data(struct parse *p, const char *name, json_t *v) {
    return (json_is_array(v) && json_array_size(v) == 0) ||
           serve_refuse(p->e, 400, "unknown_image_field", name, "%s: images go into the prompt: {\"prompt_string\": "
                        "\"<__media__>...\", \"multimodal_data\": [\"base64\"]}", name);
}

/* ---- messages ---- */

static bool url_of(struct parse *p, json_t *v, const char *at, json_t **url) {
    const char *key;
    json_t *item;
    *url = v;
    if (json_is_string(v)) return true;
    if (!json_is_object(v)) return wrong(p, at, "an object with a url, or a string");
    json_object_foreach(v, key, item) {
        bool detail = strcmp(key, "detail") == 0;
        if (!detail && strcmp(key, "url") != 0)
            return serve_refuse(p->e, 400, "unknown_image_field", at, "%s: \"%.40s\" is not known, expected url and detail",
                                at, key);
        const char *text = json_string_value(item);
        if (!text && !(detail && json_is_null(item))) return wrong(p, at, "strings in it");
        if (detail && text && strcmp(text, "auto") && strcmp(text, "low") && strcmp(text, "high"))
            return wrong(p, at, "detail to be auto, low or high");
    }
    *url = json_object_get(v, "url");
    return *url || wrong(p, at, "a url in it");
}

static bool take_part(struct parse *p, json_t *part, const char *at, struct eye_message *msg, struct serve_buf *text) {
    const char *type = json_string_value(json_object_get(part, "type")), *key;
    json_t *value, *url;
    if (!type) return wrong(p, at, "an object with a type");
    bool is_text = strcmp(type, "text") == 0;
    if (!is_text && strcmp(type, "image_url") != 0)
        return serve_refuse(p->e, 400, "unknown_image_field", at, "%s: type \"%.40s\" is not known, expected text or "
                                                                  "image_url", at,
                            type);
    json_object_foreach(part, key, value) if (strcmp(key, "type") != 0 && strcmp(key, type) != 0)
        return serve_refuse(p->e, 400, "unknown_image_field", at, "%s: \"%.40s\" is not known in a part of type %s", at, key,
                            type);
    value = json_object_get(part, type);
    if (is_text) {
        if (!json_is_string(value)) return wrong(p, at, "text that is a string");
        if (text->n) serve_buf_adds(text, "\n");
        serve_buf_adds(text, json_string_value(value));
        return true;
    }
    char where[64];
    snprintf(where, sizeof where, "%.50s.image_url", at);
    if (!url_of(p, value, where, &url)) return false;
    msg->n_images++;
    const char *said = json_string_value(url);
    size_t k = strncmp(said, "data:@", 6) == 0 ? strtoul(said + 6, NULL, 10) : MAX_FAR;
    const bool far = k < p->far.n;
    return serve_pictures_add(&p->r->pictures, url, far ? p->far.at[k].p : NULL, far ? p->far.at[k].n : 0, where,
                              (size_t)p->o->max_images, p->e);
}

/* The texts of the parts become one, which takes the content's place. */
static bool take_parts(struct parse *p, json_t *object, json_t *parts, const char *at, struct eye_message *msg) {
    struct serve_buf text = {0};
    size_t i;
    json_t *part, *whole = NULL;
    bool ok = true, said = false;
    json_array_foreach(parts, i, part) {
        char where[64];
        snprintf(where, sizeof where, "%.40s[%zu]", at, i);
        if (!(ok = take_part(p, part, where, msg, &text))) break;
        said = said || json_object_get(part, "text");
    }
    if (ok && said) {
        whole = text.failed ? NULL : json_stringn(text.p ? text.p : "", text.n);
        ok = whole && json_object_set_new(object, "content", whole) == 0;
        if (!ok) serve_refuse(p->e, 503, "out_of_memory", at, "no memory for a text");
        else msg->text = json_string_value(whole);
    }
    serve_buf_clear(&text);
    return ok;
}

static bool check_keys(struct parse *p, json_t *object, const char *at) {
    static const char *const known[] = {"role", "content", "name"};
    static const char *const empty[] = {"refusal", "tool_calls", "function_call", "audio", "reasoning_content", "annotations"};
    const char *key;
    json_t *v;
    json_object_foreach(object, key, v) {
        bool ok = false;
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) ok = ok || strcmp(key, known[i]) == 0;
        for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
            ok = ok || (strcmp(key, empty[i]) == 0 &&
                        (json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0) ||
                         (json_is_string(v) && json_string_length(v) == 0)));
        if (ok) continue;
        if (strncmp(key, "image", 5) == 0) return take_image_field(p, at, v);
        return serve_refuse(p->e, 400, "unknown_field", at, "%s: \"%.40s\" is not known, or not done by this server", at, key);
    }
    return true;
}

static bool take_message(struct parse *p, json_t *object, size_t i, struct eye_message *msg) {
    static const struct { const char *name; enum eye_message_role role; } roles[] = {
        {"system", EYE_MESSAGE_SYSTEM}, {"developer", EYE_MESSAGE_SYSTEM}, {"user", EYE_MESSAGE_USER},
        {"assistant", EYE_MESSAGE_ASSISTANT}};
    const char *role = json_string_value(json_object_get(object, "role"));
    json_t *content = json_object_get(object, "content");
    char at[64];
    size_t k = 0, n = sizeof roles / sizeof *roles;
    snprintf(at, sizeof at, "messages[%zu]", i);
    if (!role) return wrong(p, at, "an object with a role");
    while (k < n && strcmp(role, roles[k].name) != 0) k++;
    if (k == n)
        return serve_refuse(p->e, 400, NULL, at, "%s: role \"%.40s\" is not known, expected system, developer, user or "
                                                 "assistant", at,
                            role);
    if (!check_keys(p, object, at)) return false;
    msg->role = roles[k].role;
    snprintf(at, sizeof at, "messages[%zu].content", i);
    if (json_is_string(content)) {
        msg->text = json_string_value(content);
        return true;
    }
    if (json_is_array(content)) {
        if (!take_parts(p, object, content, at, msg)) return false;
        return msg->n_images == 0 || msg->role == EYE_MESSAGE_USER || wrong(p, at, "images in the user's messages only");
    }
    if (msg->role == EYE_MESSAGE_ASSISTANT && (!content || json_is_null(content))) return true;
    return wrong(p, at, "a string or a list of parts");
}

static bool take_messages(struct parse *p, const char *name, json_t *v) {
    size_t i, n = json_array_size(v);
    json_t *item;
    if (n == 0) return wrong(p, name, "a list of at least one message");
    if (!(p->r->message = calloc(n, sizeof *p->r->message)))
        return serve_refuse(p->e, 503, "out_of_memory", name, "no memory for %zu messages", n);
    p->r->n_messages = n;
    json_array_foreach(v, i, item) if (!take_message(p, item, i, &p->r->message[i])) return false;
    return true;
}

/* ---- the table ---- */

enum { CHAT = SERVE_CHAT, TEXT = SERVE_COMPLETION, OWN = SERVE_NATIVE, BOTH = CHAT | TEXT | OWN };
enum number { NONE, REAL, INT };
#define OPT(field) offsetof(struct eye_generate_opts, field)

static const struct field {
    const char *name;
    int where;
    take_fn *take;
    enum number number; /* else: a number from min to max at offset of gen */
    size_t offset;
    double min, max;
} fields[] = {
    {"messages", CHAT, take_messages},
    {"prompt", TEXT | OWN, take_prompt},
    {"model", BOTH, take_text},
    {"stream", BOTH, take_stream},
    {"stream_options", CHAT | TEXT, take_stream_options},
    {"max_tokens", BOTH, take_max_tokens},
    {"max_completion_tokens", CHAT, take_max_tokens},
    {"n_predict", BOTH, take_max_tokens},
    {"stop", BOTH, take_stop},
    {"seed", BOTH, take_seed},
    {"logprobs", CHAT | TEXT, take_logprobs},
    {"n_probs", OWN, take_n_probs},
    {"return_tokens", OWN, take_return_tokens},
    {"image_data", OWN, take_image_data},
    {"top_logprobs", CHAT, take_top_logprobs},
    {"response_format", CHAT, take_format},
    {"ignore_eos", BOTH, take_ignore_eos},
    {"temperature", BOTH, NULL, REAL, OPT(temperature), 0, 100},
    {"top_p", BOTH, NULL, REAL, OPT(top_p), 0, 1},
    {"min_p", BOTH, NULL, REAL, OPT(min_p), 0, 1},
    {"top_k", BOTH, NULL, INT, OPT(top_k), -1, INT32_MAX},
    {"repeat_penalty", BOTH, NULL, REAL, OPT(repeat_penalty), 0, 100},
    {"repeat_last_n", BOTH, NULL, INT, OPT(penalty_last_n), -1, 1 << 24},
    {"frequency_penalty", BOTH, NULL, REAL, OPT(frequency_penalty), -100, 100},
    {"presence_penalty", BOTH, NULL, REAL, OPT(presence_penalty), -100, 100},
    {"n_beams", BOTH, NULL, INT, OPT(n_beams), 0, 16},
    {"length_penalty", BOTH, NULL, REAL, OPT(length_penalty), -10, 10},
    /* about the client or its bookkeeping: nothing depends on them */
    {"user", BOTH, take_nothing}, {"metadata", CHAT, take_nothing}, {"store", CHAT, take_nothing},
    {"service_tier", CHAT, take_nothing}, {"safety_identifier", CHAT, take_nothing}, {"prompt_cache_key", CHAT, take_nothing},
    {"parallel_tool_calls", CHAT, take_nothing}, {"cache_prompt", BOTH, take_nothing}, {"id_slot", BOTH, take_nothing},
    {"timings_per_token", BOTH, take_nothing}, {"return_progress", BOTH, take_nothing}, {"samplers", BOTH, take_nothing},
    {"reasoning_format", CHAT, take_nothing},
    /* taken where they ask for nothing */
    {"n", BOTH, take_one}, {"best_of", TEXT, take_one}, {"echo", TEXT, take_none}, {"suffix", TEXT, take_none},
    {"tools", CHAT, take_none}, {"tool_choice", CHAT, take_none}, {"functions", CHAT, take_none}, {"function_call", CHAT,
                                                                                                   take_none},
    {"logit_bias", BOTH, take_none}, {"audio", CHAT, take_none}, {"prediction", CHAT, take_none}, {"grammar", BOTH, take_none},
    {"json_schema", BOTH, take_schema}, {"modalities", CHAT, take_modalities}, {"typical_p", BOTH, take_unity},
    {"mirostat", BOTH, take_zero}, {"mirostat_tau", BOTH, take_nothing}, {"mirostat_eta", BOTH, take_nothing},
    {"dynatemp_range", BOTH, take_zero}, {"dynatemp_exponent", BOTH, take_nothing}, {"dry_multiplier", BOTH, take_zero},
    {"dry_base", BOTH, take_nothing}, {"dry_allowed_length", BOTH, take_nothing}, {"dry_penalty_last_n", BOTH, take_nothing},
    {"xtc_probability", BOTH, take_zero}, {"xtc_threshold", BOTH, take_nothing}, {"dry_sequence_breakers", BOTH, take_nothing},
    {"tfs_z", BOTH, take_unity}, {"top_n_sigma", BOTH, take_off}, {"min_keep", BOTH, take_zero}, {"n_indent", OWN, take_zero},
    {"t_max_predict_ms", OWN, take_off}, {"post_sampling_probs", BOTH, take_none}, {"lora", BOTH, take_none},
    {"response_fields", OWN, take_none}, {"penalty_prompt", BOTH, take_none},
    {"n_keep", BOTH, take_nothing}, {"n_discard", BOTH, take_nothing}, /* of contexts that are shifted: here none is */
    {"penalize_nl", BOTH, take_nothing}, /* gone from llama-server too: line ends are tokens like others */
};

static bool take_number(struct parse *p, const struct field *f, json_t *v) {
    char *at = (char *)&p->r->gen + f->offset;
    double x = json_number_value(v);
    char text[64];
    snprintf(text, sizeof text, "a %snumber from %g to %g", f->number == INT ? "whole " : "", f->min, f->max);
    if (!(f->number == INT ? json_is_integer(v) : json_is_number(v)) || !(x >= f->min && x <= f->max)) return wrong(p,
                                                                                                                    f->name,
                                                                                                                    text);
    if (f->number == INT)
        *(int32_t *)(void *)at = (int32_t)x;
    else
        *(float *)(void *)at = (float)x;
    return true;
}

static bool take_field(struct parse *p, const char *key, json_t *v) {
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const struct field *f = &fields[i];
        if (!(f->where & (int)p->r->kind) || strcmp(f->name, key) != 0) continue;
        if (json_is_null(v)) return true;
        return f->take ? f->take(p, f->name, v) : take_number(p, f, v);
    }
    if (strncmp(key, "image", 5) == 0) return take_image_field(p, key, v);
    return serve_refuse(p->e, 400, "unknown_field", key, "\"%.60s\" is not known, or not done by this server", key);
}

/* ---- the whole ---- */

static bool finish(struct parse *p) {
    struct serve_request *r = p->r;
    int32_t most = p->o->max_tokens;
    if (r->kind == SERVE_CHAT && !r->message) return wrong(p, "messages", "a list of messages");
    if (r->kind != SERVE_CHAT && !r->prompt) return wrong(p, "prompt", "a string");
    if (p->asked_top && !r->logprobs) return wrong(p, "top_logprobs", "logprobs to be true beside it");
    if (r->gen.top_k < 0) r->gen.top_k = 0;
    if (r->gen.n_beams > 1 && (r->gen.temperature > 0 || r->logprobs))
        return wrong(p, "n_beams", "neither temperature nor logprobs beside it");
    if (most > 0 && r->gen.n_predict > most)
        return serve_refuse(p->e, 400, NULL, "max_tokens", "max_tokens: %d, this server gives at most %d", r->gen.n_predict,
                            most);
    if (most > 0 && r->gen.n_predict == 0) r->gen.n_predict = most;
    if (!p->seeded && p->o->sampling.seed == 0 && getrandom(&r->gen.seed, sizeof r->gen.seed,
                                                            GRND_NONBLOCK) < 0) r->gen.seed = 0;
    r->n_top = r->gen.n_logprobs;
    if (r->logprobs && r->n_top == 0) r->gen.n_logprobs = 1;
    if (r->gen.n_stop) r->gen.stop = r->stop;
    return true;
}

bool serve_request_parse(struct serve_request *r, enum serve_kind kind, const char *body, size_t n, const struct serve_opts *o,
                         struct serve_error *e) {
    struct parse p = {.r = r, .o = o, .e = e};
    const char *key;
    json_t *v;
    *r = (struct serve_request){.kind = kind, .gen = o->sampling};
    bool ok = (r->root = parse_json(body, n, &p.far, e)) != NULL;
    if (ok) json_object_foreach(r->root, key, v) if (!(ok = take_field(&p, key, v))) break;
    ok = ok && finish(&p);
    if (!ok) serve_request_clear(r);
    return ok;
}

void serve_request_clear(struct serve_request *r) {
    eye_grammar_free(r->grammar);
    serve_pictures_clear(&r->pictures);
    free(r->marked);
    free(r->message);
    json_decref(r->root);
    *r = (struct serve_request){0};
}

struct eye_query serve_request_query(const struct serve_request *r) {
    if (r->kind != SERVE_CHAT)
        return (struct eye_query){.text = r->prompt, .raw = true, .images = r->pictures.image, .n_images = r->pictures.n};
    return (struct eye_query){.messages = r->message, .n_messages = r->n_messages, .images = r->pictures.image,
                              .n_images = r->pictures.n, .strangers = true};
}
