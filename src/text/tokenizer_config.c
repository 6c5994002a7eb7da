/* text/tokenizer_config: the small part of tokenizer.json and tokenizer_config.json: components, added tokens, special ids. A
 * new normalizer, pre-tokenizer, decoder or post-processor begins here: one more row in the function of its kind. Whatever has
 * no row is refused by name, since a tokenizer that guesses gives wrong ids without a word. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"

static enum eye_status unsupported(const struct eye_json_at *at, const char *what, const char *name, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: %s \"%s\" is not supported", at->where, what, name);
}

/* A component's "type". */
static enum eye_status type_of(const struct eye_json_at *at, const char **type, struct eye_err *err) {
    return eye_json_need_str(at, "type", type, NULL, err);
}

/* A boolean that must be there: the library knows no default for it. */
static enum eye_status need_bool(const struct eye_json_at *at, const char *key, bool *out, struct eye_err *err) {
    if (!eye_json_has(at, key)) return eye_json_fail(at, key, "is missing, expected true or false", err);
    return eye_json_bool(at, key, false, out, err);
}

/* Items of a component: those of a Sequence, else the component itself. One level deep: nobody nests them. */
struct parts {
    struct eye_json_at list; /* v NULL = the component alone */
    size_t n;
};
static enum eye_status parts_of(const struct eye_json_at *at, const char *list_key, struct parts *parts, struct eye_err *err) {
    const char *type;
    *parts = (struct parts){.n = 1};
    EYE_TRY(type_of(at, &type, err));
    if (strcmp(type, "Sequence") != 0) return EYE_OK;
    EYE_TRY(eye_json_array(at, list_key, &parts->list, err));
    if (!parts->list.v) return eye_json_fail(at, list_key, "is missing, expected an array", err);
    parts->n = eye_json_len(&parts->list);
    return EYE_OK;
}
static struct eye_json_at part(const struct eye_json_at *at, const struct parts *parts, size_t i) {
    return parts->list.v ? eye_json_item(&parts->list, i) : *at;
}

enum { MAX_NORM_BYTES = 64 }; /* of a pattern or its replacement: bounds how much a text may grow */

static enum eye_status norm_str(struct eye_tokenizer *tk, const struct eye_json_at *at, const char *key, size_t least,
                                const char **out, size_t *n, struct eye_err *err) {
    const char *text;
    EYE_TRY(eye_json_need_str(at, key, &text, n, err));
    if (*n < least || *n > MAX_NORM_BYTES) return eye_json_fail(at, key, "expected a short text", err);
    *out = eye_arena_strdup(&tk->strings, text, *n);
    return *out ? EYE_OK : eye_fail_nomem(err, *n);
}

static enum eye_status add_norm(struct eye_tokenizer *tk, const struct eye_json_at *at, struct eye_norm step,
                                struct eye_err *err) {
    if (tk->n_norm == EYE_MAX_NORM) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d normalizers", at->where, EYE_MAX_NORM);
    tk->norm[tk->n_norm++] = step;
    return EYE_OK;
}

static enum eye_status normalizer_step(struct eye_tokenizer *tk, const struct eye_json_at *at, struct eye_err *err) {
    struct eye_norm step = {EYE_NORM_NFC, NULL, NULL, 0, 0};
    struct eye_json_at pattern;
    const char *type;
    EYE_TRY(type_of(at, &type, err));
    if (strcmp(type, "Prepend") == 0) {
        step.kind = EYE_NORM_PREPEND;
        EYE_TRY(norm_str(tk, at, "prepend", 0, &step.to, &step.n_to, err));
    } else if (strcmp(type, "Replace") == 0) {
        step.kind = EYE_NORM_REPLACE;
        EYE_TRY(eye_json_object(at, "pattern", &pattern, err));
        if (!pattern.v || !eye_json_has(&pattern, "String")) return unsupported(at, "normalizer", "Replace by a pattern", err);
        EYE_TRY(norm_str(tk, &pattern, "String", 1, &step.from, &step.n_from, err));
        EYE_TRY(norm_str(tk, at, "content", 0, &step.to, &step.n_to, err));
    } else if (strcmp(type, "Lowercase") == 0) {
        step.kind = EYE_NORM_LOWER;
    } else if (strcmp(type, "NFC") != 0) {
        return unsupported(at, "normalizer", type, err);
    }
    return add_norm(tk, at, step, err);
}

static enum eye_status normalizer(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at at;
    struct parts parts;
    EYE_TRY(eye_json_object(root, "normalizer", &at, err));
    if (!at.v) return EYE_OK;
    EYE_TRY(parts_of(&at, "normalizers", &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        struct eye_json_at item = part(&at, &parts, i);
        EYE_TRY(normalizer_step(tk, &item, err));
    }
    return EYE_OK;
}

static enum eye_status add_stage(struct eye_tokenizer *tk, const struct eye_json_at *at, enum eye_pretok_kind kind, int arg,
                                 struct eye_err *err) {
    if (tk->pretok.n == EYE_PRETOK_MAX_STAGES)
        return eye_fail(err, EYE_E_LIMIT, "%s: more than %d pre-tokenizers", at->where, EYE_PRETOK_MAX_STAGES);
    tk->pretok.stage[tk->pretok.n++] = (struct eye_pretok_stage){kind, arg};
    return EYE_OK;
}

static enum eye_status split(struct eye_tokenizer *tk, const struct eye_json_at *at, struct eye_err *err) {
    struct eye_json_at pattern;
    struct eye_pretok_stage stage;
    const char *regex, *behavior;
    bool invert;
    EYE_TRY(eye_json_object(at, "pattern", &pattern, err));
    EYE_TRY(eye_json_need_str(at, "behavior", &behavior, NULL, err));
    EYE_TRY(need_bool(at, "invert", &invert, err));
    if (!pattern.v || !eye_json_has(&pattern, "Regex")) return unsupported(at, "pre_tokenizer", "Split by a string", err);
    EYE_TRY(eye_json_need_str(&pattern, "Regex", &regex, NULL, err));
    if (!eye_pretok_pattern(regex, &stage))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: Split: this pattern is not known: %s", at->where, regex);
    /* Each known pattern matches everything, so keeping the matches (Removed, inverted) is isolating them. */
    if (strcmp(behavior, invert ? "Removed" : "Isolated") != 0) return unsupported(at, "Split behavior", behavior, err);
    return add_stage(tk, at, stage.kind, stage.arg, err);
}

static enum eye_status byte_level(struct eye_tokenizer *tk, const struct eye_json_at *at, struct eye_err *err) {
    bool prefix, regex;
    EYE_TRY(need_bool(at, "add_prefix_space", &prefix, err));
    EYE_TRY(eye_json_bool(at, "use_regex", true, &regex, err));
    if (prefix) EYE_TRY(add_stage(tk, at, EYE_PRETOK_PREFIX_SPACE, 0, err));
    return regex ? add_stage(tk, at, EYE_PRETOK_GPT2, 0, err) : EYE_OK;
}

#define META "\xE2\x96\x81"

/* The options that Metaspace has as a pre-tokenizer and as a decoder. scheme: 0 never, 1 first, 2 always. Files of before 2024
 * say add_prefix_space. */
static enum eye_status metaspace_options(const struct eye_json_at *at, int *scheme, struct eye_err *err) {
    static const char *const names[] = {"never", "first", "always"};
    const char *replacement, *name;
    bool prefix;
    EYE_TRY(eye_json_need_str(at, "replacement", &replacement, NULL, err));
    if (strcmp(replacement, META) != 0) return unsupported(at, "Metaspace replacement", replacement, err);
    EYE_TRY(eye_json_bool(at, "add_prefix_space", true, &prefix, err));
    EYE_TRY(eye_json_str(at, "prepend_scheme", prefix ? "always" : "never", &name, NULL, err));
    for (*scheme = 0; *scheme < 3; ++*scheme)
        if (strcmp(name, names[*scheme]) == 0) return EYE_OK;
    return unsupported(at, "Metaspace prepend_scheme", name, err);
}

static enum eye_status metaspace(struct eye_tokenizer *tk, const struct eye_json_at *at, struct eye_err *err) {
    int scheme;
    bool cut;
    EYE_TRY(metaspace_options(at, &scheme, err));
    EYE_TRY(eye_json_bool(at, "split", true, &cut, err));
    tk->chars = true;
    EYE_TRY(add_stage(tk, at, EYE_PRETOK_METASPACE, scheme, err));
    return cut ? add_stage(tk, at, EYE_PRETOK_META_SPLIT, 0, err) : EYE_OK;
}

static enum eye_status pre_tokenizer(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at at;
    struct parts parts;
    const char *type = "";
    bool each;
    EYE_TRY(eye_json_object(root, "pre_tokenizer", &at, err));
    tk->chars = !at.v;
    if (!at.v) return EYE_OK;
    EYE_TRY(parts_of(&at, "pretokenizers", &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        struct eye_json_at item = part(&at, &parts, i);
        EYE_TRY(type_of(&item, &type, err));
        if (strcmp(type, "Split") == 0) {
            EYE_TRY(split(tk, &item, err));
        } else if (strcmp(type, "Digits") == 0) {
            EYE_TRY(need_bool(&item, "individual_digits", &each, err));
            EYE_TRY(add_stage(tk, &item, EYE_PRETOK_DIGITS, each, err));
        } else if (strcmp(type, "ByteLevel") == 0 && i + 1 == parts.n) {
            return byte_level(tk, &item, err);
        } else if (strcmp(type, "Metaspace") == 0 && parts.n == 1) {
            return metaspace(tk, &item, err);
        } else {
            return unsupported(&item, "pre_tokenizer", strcmp(type, "ByteLevel") ? type : "ByteLevel before others", err);
        }
    }
    return unsupported(&at, "pre_tokenizer", "a chain that does not end with ByteLevel", err);
}

/* One decoder of a SentencePiece-style chain; before: those ahead of it, a bit each. */
static enum eye_status decoder_step(struct eye_decoder *d, const struct eye_json_at *at, unsigned *before,
                                    struct eye_err *err) {
    enum { REPLACE = 1, BYTES = 2, FUSE = 4, STRIP = 8, META_ALONE = 16 };
    struct eye_json_at pattern;
    const char *type, *from = "", *to = "";
    int64_t start, stop;
    int scheme;
    unsigned bit;
    EYE_TRY(type_of(at, &type, err));
    if (strcmp(type, "Replace") == 0) {
        bit = REPLACE;
        EYE_TRY(eye_json_object(at, "pattern", &pattern, err));
        if (pattern.v) EYE_TRY(eye_json_str(&pattern, "String", "", &from, NULL, err));
        EYE_TRY(eye_json_need_str(at, "content", &to, NULL, err));
        if (strcmp(from, META) != 0 || strcmp(to, " ") != 0) return unsupported(at, "decoder", "Replace of others", err);
        d->blanks = true;
    } else if (strcmp(type, "ByteFallback") == 0) {
        bit = BYTES;
        d->byte_runs = true;
    } else if (strcmp(type, "Fuse") == 0) {
        bit = FUSE;
    } else if (strcmp(type, "Strip") == 0) {
        bit = STRIP;
        EYE_TRY(eye_json_need_str(at, "content", &to, NULL, err));
        EYE_TRY(eye_json_need_int(at, "start", 0, 1024, &start, err));
        EYE_TRY(eye_json_need_int(at, "stop", 0, 1024, &stop, err));
        if (strcmp(to, " ") != 0 || stop || !(*before & FUSE)) return unsupported(at, "decoder", "Strip of others", err);
        d->strip = (int)start;
    } else if (strcmp(type, "Metaspace") == 0) {
        bit = META_ALONE;
        EYE_TRY(metaspace_options(at, &scheme, err));
        d->blanks = true;
        d->first_bare = scheme != 0;
    } else {
        return unsupported(at, "decoder", type, err);
    }
    if (*before >= bit || (*before && bit == META_ALONE)) return unsupported(at, "decoder", "this order of decoders, at", err);
    *before |= bit;
    return EYE_OK;
}

static enum eye_status decoder(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at at;
    struct parts parts;
    const char *type;
    unsigned before = 0;
    EYE_TRY(eye_json_object(root, "decoder", &at, err));
    if (!at.v) return unsupported(root, "decoder", "null", err);
    EYE_TRY(parts_of(&at, "decoders", &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        struct eye_json_at item = part(&at, &parts, i);
        EYE_TRY(type_of(&item, &type, err));
        tk->decoder.byte_level = strcmp(type, "ByteLevel") == 0;
        if (tk->decoder.byte_level) return parts.n == 1 ? EYE_OK : unsupported(&at, "decoder", "ByteLevel with others", err);
        EYE_TRY(decoder_step(&tk->decoder, &item, &before, err));
    }
    return EYE_OK;
}

static enum eye_status model(struct eye_tokenizer *tk, const struct eye_json_at *root, const char **unk, struct eye_err *err) {
    static const char *const known[] = {"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                                        "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"};
    struct eye_json_at at;
    const char *type, *prefix, *suffix, *key;
    double dropout;
    json_t *value;
    EYE_TRY(eye_json_object(root, "model", &at, err));
    if (!at.v) return eye_json_fail(root, "model", "is missing, expected an object", err);
    EYE_TRY(eye_json_str(&at, "type", "BPE", &type, NULL, err)); /* files of 2020 have no type: only BPE has merges */
    if (strcmp(type, "BPE") != 0) return unsupported(&at, "model", type, err);
    json_object_foreach((json_t *)at.v, key, value) {
        size_t i = 0;
        while (i < EYE_COUNT(known) && strcmp(key, known[i]) != 0) i++;
        if (i == EYE_COUNT(known)) return unsupported(&at, "model option", key, err);
    }
    EYE_TRY(eye_json_double(&at, "dropout", 0, &dropout, err));
    if (dropout != 0) return unsupported(&at, "model option", "dropout", err);
    EYE_TRY(eye_json_str(&at, "continuing_subword_prefix", "", &prefix, NULL, err));
    EYE_TRY(eye_json_str(&at, "end_of_word_suffix", "", &suffix, NULL, err));
    if (*prefix) return unsupported(&at, "continuing_subword_prefix", prefix, err);
    if (*suffix) return unsupported(&at, "end_of_word_suffix", suffix, err);
    EYE_TRY(eye_json_bool(&at, "byte_fallback", false, &tk->byte_fallback, err));
    EYE_TRY(eye_json_bool(&at, "fuse_unk", false, &tk->fuse_unk, err));
    EYE_TRY(eye_json_bool(&at, "ignore_merges", false, &tk->ignore_merges, err));
    return eye_json_str(&at, "unk_token", NULL, unk, NULL, err);
}

enum eye_status eye_config_components(struct eye_tokenizer *tk, const struct eye_json_at *root, const char **unk,
                                      struct eye_err *err) {
    EYE_TRY(model(tk, root, unk, err));
    EYE_TRY(normalizer(tk, root, err));
    EYE_TRY(pre_tokenizer(tk, root, err));
    EYE_TRY(decoder(tk, root, err));
    if (tk->byte_fallback && !tk->chars) return unsupported(root, "model option", "byte_fallback on bytes", err);
    return EYE_OK;
}

enum eye_status eye_config_by_class(struct eye_tokenizer *tk, const char *cls, const struct eye_json_at *config,
                                    struct eye_err *err) {
    bool prefix = false;
    size_t len = strlen(cls);
    tk->decoder.byte_level = true;
    if (len > 4 && strcmp(cls + len - 4, "Fast") == 0) len -= 4;
    if (config->v) EYE_TRY(eye_json_bool(config, "add_prefix_space", false, &prefix, err));
    if (len == 14 && memcmp(cls, "Qwen2Tokenizer", len) == 0) {
        if (prefix) return unsupported(config, "Qwen2Tokenizer option", "add_prefix_space", err);
        EYE_TRY(add_norm(tk, config, (struct eye_norm){EYE_NORM_NFC, NULL, NULL, 0, 0}, err));
        return add_stage(tk, config, EYE_PRETOK_MODERN, 1, err);
    }
    if (len == 13 && memcmp(cls, "GPT2Tokenizer", len) == 0) {
        if (prefix) EYE_TRY(add_stage(tk, config, EYE_PRETOK_PREFIX_SPACE, 0, err));
        return add_stage(tk, config, EYE_PRETOK_GPT2, 0, err);
    }
    return eye_fail(err, EYE_E_UNSUPPORTED, "tokenizer_class \"%s\" without a tokenizer.json is not supported", cls);
}

enum eye_status eye_config_added(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at list;
    EYE_TRY(eye_json_array(root, "added_tokens", &list, err));
    for (size_t i = 0; i < eye_json_len(&list); i++) {
        struct eye_json_at at = eye_json_item(&list, i);
        struct eye_added_def def = {0};
        EYE_TRY(eye_json_need_int(&at, "id", 0, UINT32_MAX, &def.id, err));
        EYE_TRY(eye_json_need_str(&at, "content", &def.content, &def.len, err));
        EYE_TRY(need_bool(&at, "special", &def.special, err));
        EYE_TRY(need_bool(&at, "normalized", &def.normalized, err));
        EYE_TRY(need_bool(&at, "single_word", &def.single_word, err));
        EYE_TRY(need_bool(&at, "lstrip", &def.lstrip, err));
        EYE_TRY(need_bool(&at, "rstrip", &def.rstrip, err));
        EYE_TRY(eye_tokenizer_add(tk, &def, root->where, err));
    }
    return EYE_OK;
}

int eye_added_by_id(const void *a, const void *b) {
    int64_t x = ((const struct eye_added_def *)a)->id, y = ((const struct eye_added_def *)b)->id;
    return x < y ? -1 : x > y;
}

/* The flags of a token's object, with transformers' defaults; def->special is the default for itself. */
static enum eye_status added_flags(const struct eye_json_at *at, struct eye_added_def *def, struct eye_err *err) {
    EYE_TRY(eye_json_bool(at, "special", def->special, &def->special, err));
    EYE_TRY(eye_json_bool(at, "normalized", !def->special, &def->normalized, err));
    EYE_TRY(eye_json_bool(at, "single_word", false, &def->single_word, err));
    EYE_TRY(eye_json_bool(at, "lstrip", false, &def->lstrip, err));
    return eye_json_bool(at, "rstrip", false, &def->rstrip, err);
}

/* {"151643": {"content": ..., flags}}: keys are decimal ids, in any order. */
enum eye_status eye_config_added_decoder(struct eye_tokenizer *tk, const struct eye_json_at *config, struct eye_err *err) {
    struct eye_json_at map, at;
    const char *key;
    json_t *value;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_json_object(config, "added_tokens_decoder", &map, err));
    size_t n = json_object_size((json_t *)map.v), i = 0, bytes = (n + 1) * sizeof(struct eye_added_def);
    struct eye_added_def *def = eye_alloc_zero(tk->alloc, bytes);
    if (!def) return eye_fail_nomem(err, bytes);
    json_object_foreach((json_t *)map.v, key, value) {
        char *end;
        struct eye_added_def *d = &def[i++];
        d->id = strtoll(key, &end, 10);
        if (*key < '0' || *key > '9' || *end || d->id >= EYE_TOKENIZER_MAX_ID) {
            st = eye_json_fail(&map, key, "expected a token id for a key", err);
            goto fail;
        }
        EYE_TRY_GOTO(eye_json_object(&map, key, &at, err));
        EYE_TRY_GOTO(eye_json_need_str(&at, "content", &d->content, &d->len, err));
        EYE_TRY_GOTO(added_flags(&at, d, err));
    }
    qsort(def, n, sizeof *def, eye_added_by_id);
    for (i = 0; i < n; i++) EYE_TRY_GOTO(eye_tokenizer_add(tk, &def[i], config->where, err));
fail:
    eye_alloc_free(tk->alloc, def, bytes);
    return st;
}

enum { MAX_TEMPLATE_IDS = 64 };

/* One item of TemplateProcessing's "single": the text, or the ids of a special token. */
static enum eye_status template_item(struct eye_tokenizer *tk, const struct eye_json_at *at, const struct eye_json_at *item,
                                     bool *seen_text, struct eye_err *err) {
    struct eye_json_at token, special, def, ids;
    const char *name;
    int64_t id;
    if (eye_json_has(item, "Sequence")) {
        if (*seen_text) return unsupported(at, "post_processor", "TemplateProcessing with the text twice", err);
        *seen_text = true;
        return EYE_OK;
    }
    EYE_TRY(eye_json_object(item, "SpecialToken", &token, err));
    EYE_TRY(eye_json_need_str(&token, "id", &name, NULL, err));
    EYE_TRY(eye_json_object(at, "special_tokens", &special, err));
    EYE_TRY(eye_json_object(&special, name, &def, err));
    EYE_TRY(eye_json_array(&def, "ids", &ids, err));
    if (!ids.v) return eye_json_fail(at, "special_tokens", "lacks a token that the template names", err);
    for (size_t i = 0; i < eye_json_len(&ids); i++) {
        struct eye_json_at one = eye_json_item(&ids, i);
        EYE_TRY(eye_json_need_int(&one, NULL, 0, (int64_t)tk->n_token - 1, &id, err));
        if (!tk->token[id].p) return eye_json_fail(at, "special_tokens", "expected ids of tokens", err);
        if (tk->before.n + tk->after.n == MAX_TEMPLATE_IDS)
            return eye_fail(err, EYE_E_LIMIT, "%s: post_processor: more than %d tokens around a text", at->where,
                            MAX_TEMPLATE_IDS);
        EYE_TRY(eye_ids_add(*seen_text ? &tk->after : &tk->before, (int32_t)id, err));
    }
    return EYE_OK;
}

enum eye_status eye_config_post(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err) {
    struct eye_json_at at, single;
    struct parts parts;
    const char *type;
    bool seen_template = false;
    EYE_TRY(eye_json_object(root, "post_processor", &at, err));
    if (!at.v) return EYE_OK;
    EYE_TRY(parts_of(&at, "processors", &parts, err));
    for (size_t i = 0; i < parts.n; i++) {
        struct eye_json_at item = part(&at, &parts, i);
        bool seen_text = false;
        EYE_TRY(type_of(&item, &type, err));
        if (strcmp(type, "ByteLevel") == 0) continue; /* it only moves offsets */
        if (strcmp(type, "TemplateProcessing") != 0 || seen_template) return unsupported(&item, "post_processor", type, err);
        seen_template = true;
        EYE_TRY(eye_json_array(&item, "single", &single, err));
        for (size_t k = 0; k < eye_json_len(&single); k++) {
            struct eye_json_at one = eye_json_item(&single, k);
            EYE_TRY(template_item(tk, &item, &one, &seen_text, err));
        }
        if (!seen_text) return eye_json_fail(&item, "single", "expected a template with the text in it", err);
    }
    return EYE_OK;
}

enum eye_status eye_config_named(const struct eye_json_at *at, const char *key, struct eye_added_def *def,
                                 struct eye_err *err) {
    struct eye_json_at token = *at;
    *def = (struct eye_added_def){.id = -1, .special = true};
    if (!json_is_object(key ? json_object_get((json_t *)at->v, key) : at->v))
        return eye_json_need_str(at, key, &def->content, &def->len, err);
    if (key) EYE_TRY(eye_json_object(at, key, &token, err));
    EYE_TRY(eye_json_need_str(&token, "content", &def->content, &def->len, err));
    EYE_TRY(added_flags(&token, def, err));
    def->special = true;
    return EYE_OK;
}

/* null, absent and unknown ones are -1. */
static enum eye_status special_id(const struct eye_tokenizer *tk, const struct eye_json_at *config, const char *key,
                                  int32_t *id, struct eye_err *err) {
    struct eye_added_def def;
    if (!eye_json_has(config, key)) return EYE_OK;
    EYE_TRY(eye_config_named(config, key, &def, err));
    *id = eye_tokenizer_id(tk, def.content, def.len);
    return EYE_OK;
}

enum eye_status eye_config_special_ids(struct eye_tokenizer *tk, const struct eye_json_at *config, struct eye_err *err) {
    EYE_TRY(special_id(tk, config, "bos_token", &tk->bos, err));
    EYE_TRY(special_id(tk, config, "eos_token", &tk->eos, err));
    return special_id(tk, config, "pad_token", &tk->pad, err);
}
