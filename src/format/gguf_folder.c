/* format/gguf_folder: see gguf_folder.h. */
#include "format/gguf_folder.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format/gguf_genie.h"
#include "format/gguf_pieces.h"
#include "format/json.h"

const char *const eye_gguf_folder_names[EYE_GGUF_N_FILES] = {"config.json", "tokenizer.json", "tokenizer_config.json",
                                                             "chat_template.jinja", "tokenizer.model"};

enum { KIND_NORMAL = 1, KIND_UNKNOWN = 2, KIND_CONTROL = 3, KIND_USER_DEFINED = 4,
      KIND_UNUSED = 5 }; /* llama.cpp's token types */

#define SPLIT(digits)                                                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" \
    "\\s+(?!\\S)|\\s+"
static const struct pre { /* tokenizer.ggml.pre */
    const char *name, *split; /* split NULL: ByteLevel's own pattern */
    bool nfc, digits, ignore_merges, bos;
} pres[] = {
    {"qwen2", SPLIT("|"), true, false, false, false},
    {"gpt-2", NULL, false, false, false, false},
    {"smollm", NULL, false, true, false, false},
    {"llama-bpe", SPLIT("{1,3}|"), false, false, true, true},
};

struct source {
    const struct eye_gguf *g;
    struct eye_arena *arena;
    char arch[16];
    struct eye_err *err;
};

static enum eye_status unsupported(const struct source *s, const char *key, const char *got, const char *want) {
    return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: got %.64s, supported: %s", key, got, want); /* the caller names the file */
}

static const char *key_of(const struct source *s, const char *key, char *out, size_t cap) {
    snprintf(out, cap, "%s.%s", s->arch, key);
    return out;
}

/* "ARCH.key" as a member of object; absent: nothing. */
static enum eye_status put_int(const struct source *s, json_t *o, const char *member, const char *key) {
    char full[96];
    int64_t v;
    EYE_TRY(eye_gguf_int(s->g, key_of(s, key, full, sizeof full), INT64_MIN, &v, s->err));
    if (v != INT64_MIN) json_object_set_new(o, member, json_integer(v));
    return EYE_OK;
}

static enum eye_status put_double(const struct source *s, json_t *o, const char *member, const char *key, double def) {
    char full[96];
    double v;
    EYE_TRY(eye_gguf_double(s->g, key_of(s, key, full, sizeof full), def, &v, s->err));
    json_t *number = json_real(v); /* NULL for NaN and infinity */
    if (!number) return eye_fail(s->err, EYE_E_CORRUPT, "%s: %s is no finite number", s->g->table.where, full);
    json_object_set_new(o, member, number);
    return EYE_OK;
}

/* Numbers that change the network in ways this version does not run: absent or off. */
static enum eye_status refuse_variants(const struct source *s) {
    static const char *const must_be_zero[] = {"expert_count", "attention.sliding_window", "rope.scaling.attn_factor"};
    char key[96];
    struct eye_str scaling;
    int64_t rotary, heads, hidden, head_dim;
    EYE_TRY(eye_gguf_str(s->g, key_of(s, "rope.scaling.type", key, sizeof key), &scaling, s->err));
    if (scaling.p && !(scaling.len == 4 && memcmp(scaling.p, "none", 4) == 0))
        return unsupported(s, key, "RoPE scaling", "none");
    if (eye_table_find(&s->g->table, "rope_freqs.weight")) return unsupported(s, "rope_freqs.weight", "RoPE scaling", "none");
    for (size_t i = 0; i < EYE_COUNT(must_be_zero); i++) {
        double v;
        EYE_TRY(eye_gguf_double(s->g, key_of(s, must_be_zero[i], key, sizeof key), 0, &v, s->err));
        if (v != 0) return unsupported(s, key, "a value", "0");
    }
    EYE_TRY(eye_gguf_int(s->g, key_of(s, "attention.head_count", key, sizeof key), 0, &heads, s->err));
    EYE_TRY(eye_gguf_int(s->g, key_of(s, "embedding_length", key, sizeof key), 0, &hidden, s->err));
    EYE_TRY(eye_gguf_int(s->g, key_of(s, "attention.key_length", key, sizeof key), heads > 0 ? hidden / heads : 0, &head_dim,
                         s->err));
    EYE_TRY(eye_gguf_int(s->g, key_of(s, "rope.dimension_count", key, sizeof key), head_dim, &rotary, s->err));
    return rotary == head_dim ? EYE_OK : unsupported(s, key, "a part of the head", "all of it");
}

static enum eye_status put_ids(const struct source *s, json_t *o) {
    static const char *const keys[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                          {"pad_token_id", "tokenizer.ggml.padding_token_id"}};
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"};
    json_t *list = json_array();
    json_object_set_new(o, "eos_token_id", list);
    int64_t id;
    for (size_t i = 0; i < EYE_COUNT(keys); i++) {
        EYE_TRY(eye_gguf_int(s->g, keys[i][1], -1, &id, s->err));
        json_object_set_new(o, keys[i][0], id < 0 ? json_null() : json_integer(id));
    }
    for (size_t i = 0; i < EYE_COUNT(ends); i++) {
        EYE_TRY(eye_gguf_int(s->g, ends[i], -1, &id, s->err));
        if (id >= 0) json_array_append_new(list, json_integer(id));
    }
    return EYE_OK;
}

/* What GPT-2's configuration calls otherwise. */
static enum eye_status config_gpt2(const struct source *s, json_t *o) {
    static const char *const ints[][2] = {{"n_embd", "embedding_length"}, {"n_layer", "block_count"},
                                          {"n_inner", "feed_forward_length"},
                                          {"n_head", "attention.head_count"}, {"n_positions", "context_length"}};
    for (size_t i = 0; i < EYE_COUNT(ints); i++) EYE_TRY(put_int(s, o, ints[i][0], ints[i][1]));
    return put_double(s, o, "layer_norm_epsilon", "attention.layer_norm_epsilon", 1e-5);
}

static enum eye_status config_llama(const struct source *s, json_t *o) {
    static const char *const ints[][2] = {
        {"hidden_size", "embedding_length"}, {"num_hidden_layers", "block_count"}, {"intermediate_size", "feed_forward_length"},
        {"num_attention_heads", "attention.head_count"}, {"num_key_value_heads", "attention.head_count_kv"},
        {"head_dim", "attention.key_length"}, {"max_position_embeddings", "context_length"}};
    for (size_t i = 0; i < EYE_COUNT(ints); i++) EYE_TRY(put_int(s, o, ints[i][0], ints[i][1]));
    json_object_set_new(o, "attention_bias", json_boolean(eye_table_find(&s->g->table, "blk.0.attn_q.bias") != NULL));
    json_object_set_new(o, "mlp_bias", json_boolean(eye_table_find(&s->g->table, "blk.0.ffn_gate.bias") != NULL));
    EYE_TRY(put_double(s, o, "rope_theta", "rope.freq_base", 10000));
    return put_double(s, o, "rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6);
}

static enum eye_status config(const struct source *s, json_t *o) {
    const struct eye_entry *embedding = eye_table_find(&s->g->table, "token_embd.weight");
    if (!embedding || embedding->t.rank != 2)
        return eye_fail(s->err, EYE_E_CORRUPT, "%s: no matrix token_embd.weight", s->g->table.where);
    EYE_TRY(refuse_variants(s));
    json_object_set_new(o, "model_type", json_string(s->arch));
    EYE_TRY(strcmp(s->arch, "gpt2") == 0 ? config_gpt2(s, o) : config_llama(s, o));
    json_object_set_new(o, "vocab_size", json_integer(embedding->t.dims[0]));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(!eye_table_find(&s->g->table, "output.weight")));
    return put_ids(s, o);
}

/* ---- vocabulary ---- */

static bool is_text(struct eye_str s, const char *text) { return s.len == strlen(text) && memcmp(s.p, text, s.len) == 0; }

static enum eye_status find_pre(const struct source *s, const struct pre **out) {
    struct eye_str model, pre;
    char got[65];
    EYE_TRY(eye_gguf_str(s->g, "tokenizer.ggml.model", &model, s->err));
    EYE_TRY(eye_gguf_str(s->g, "tokenizer.ggml.pre", &pre, s->err));
    if (!model.p) return unsupported(s, "tokenizer.ggml.model", "nothing", "gpt2, llama");
    snprintf(got, sizeof got, "%.*s", (int)EYE_MIN(model.len, 64), model.p);
    if (!is_text(model, "gpt2")) return unsupported(s, "tokenizer.ggml.model", got, "gpt2, llama");
    for (size_t i = 0; pre.p && i < EYE_COUNT(pres); i++)
        if (is_text(pre, pres[i].name)) {
            *out = &pres[i];
            return EYE_OK;
        }
    snprintf(got, sizeof got, "%.*s", pre.p ? (int)EYE_MIN(pre.len, 64) : 7, pre.p ? pre.p : "nothing");
    return unsupported(s, "tokenizer.ggml.pre", got, "qwen2, gpt-2, smollm, llama-bpe");
}

/* NULL for texts that JSON or a C string cannot hold. */
static json_t *text_of(struct eye_str s) { return memchr(s.p, 0, s.len) ? NULL : json_stringn(s.p, s.len); }

static enum eye_status need_strings(const struct source *s, const char *key, const struct eye_gguf_kv **out) {
    *out = eye_gguf_find(s->g, key);
    if (*out && (*out)->is_array && (*out)->string) return EYE_OK;
    return eye_fail(s->err, EYE_E_CORRUPT, "%s: %s: expected an array of strings", s->g->table.where, key);
}

static int64_t kind_of(const struct eye_gguf_kv *kinds, size_t i) { return kinds ? eye_gguf_item_int(kinds, i) : KIND_NORMAL; }

static enum eye_status put_vocab(const struct source *s, json_t *vocab, json_t *added) {
    const struct eye_gguf_kv *tokens = NULL, *kinds = eye_gguf_find(s->g, "tokenizer.ggml.token_type");
    EYE_TRY(need_strings(s, "tokenizer.ggml.tokens", &tokens));
    if (kinds && (!kinds->is_array || !kinds->data || kinds->n != tokens->n))
        return eye_fail(s->err, EYE_E_CORRUPT, "%s: tokenizer.ggml.token_type: expected %zu numbers", s->g->table.where,
                        tokens->n);
    for (size_t i = 0; i < tokens->n; i++) {
        int64_t kind = kind_of(kinds, i);
        if (kind == KIND_UNUSED) continue;
        if (kind < KIND_NORMAL || kind > KIND_UNUSED)
            return unsupported(s, "tokenizer.ggml.token_type", "byte tokens", "1 to 5");
        json_t *text = text_of(tokens->string[i]);
        if (!text || json_object_get(vocab, json_string_value(text))) {
            json_decref(text);
            return eye_fail(s->err, EYE_E_CORRUPT, "%s: tokenizer.ggml.tokens[%zu] is no text, or occurs twice",
                            s->g->table.where, i);
        }
        json_object_set_new(vocab, json_string_value(text), json_integer((json_int_t)i));
        if (kind != KIND_NORMAL)
            json_array_append_new(added, json_pack("{s:I,s:O,s:b,s:b,s:b,s:b,s:b}", "id", (json_int_t)i, "content", text,
                                                   "special",
                                                   kind != KIND_USER_DEFINED, "normalized", 0, "single_word", 0, "lstrip", 0,
                                                   "rstrip", 0));
        json_decref(text);
    }
    return EYE_OK;
}

static enum eye_status put_merges(const struct source *s, json_t *merges) {
    const struct eye_gguf_kv *list = NULL;
    EYE_TRY(need_strings(s, "tokenizer.ggml.merges", &list));
    for (size_t i = 0; i < list->n; i++)
        if (json_array_append_new(merges, text_of(list->string[i])) != 0)
            return eye_fail(s->err, EYE_E_CORRUPT, "%s: tokenizer.ggml.merges[%zu] is no text", s->g->table.where, i);
    return EYE_OK;
}

static json_t *pre_tokenizer(const struct pre *pre) {
    json_t *list = json_array();
    if (pre->split)
        json_array_append_new(list, json_pack("{s:s,s:{s:s},s:s,s:b}", "type", "Split", "pattern", "Regex", pre->split,
                                              "behavior",
                                              "Isolated", "invert", 0));
    if (pre->digits) json_array_append_new(list, json_pack("{s:s,s:b}", "type", "Digits", "individual_digits", 1));
    json_array_append_new(list, json_pack("{s:s,s:b,s:b}", "type", "ByteLevel", "add_prefix_space", 0, "use_regex",
                                          !pre->split));
    return json_pack("{s:s,s:o}", "type", "Sequence", "pretokenizers", list);
}

/* The token of an id that a key names; p NULL = none. */
static enum eye_status token_of(const struct source *s, const char *key, struct eye_str *out, int64_t *id) {
    const struct eye_gguf_kv *tokens = NULL;
    *out = (struct eye_str){NULL, 0};
    EYE_TRY(eye_gguf_int(s->g, key, -1, id, s->err));
    EYE_TRY(need_strings(s, "tokenizer.ggml.tokens", &tokens));
    if (*id >= (int64_t)tokens->n)
        return eye_fail(s->err, EYE_E_CORRUPT, "%s: %s is %lld of %zu tokens", s->g->table.where, key, (long long)*id,
                        tokens->n);
    if (*id >= 0) *out = tokens->string[*id];
    return EYE_OK;
}

static enum eye_status put_bos(const struct source *s, const struct pre *pre, json_t *o) {
    struct eye_str bos;
    int64_t id;
    bool add, after;
    EYE_TRY(eye_gguf_bool(s->g, "tokenizer.ggml.add_bos_token", pre->bos, &add, s->err));
    EYE_TRY(eye_gguf_bool(s->g, "tokenizer.ggml.add_eos_token", false, &after, s->err));
    if (after) return unsupported(s, "tokenizer.ggml.add_eos_token", "true", "false");
    EYE_TRY(token_of(s, "tokenizer.ggml.bos_token_id", &bos, &id));
    if (!add || !bos.p) return EYE_OK;
    json_t *text = text_of(bos), *special = json_object();
    if (text)
        json_object_set_new(special, json_string_value(text), json_pack("{s:O,s:[I],s:[O]}", "id", text, "ids", (json_int_t)id,
                                                                        "tokens", text));
    json_object_set_new(o, "post_processor", json_pack("{s:s,s:[{s:{s:O,s:i}},{s:{s:s,s:i}}],s:o}", "type",
                                                       "TemplateProcessing", "single",
                                                       "SpecialToken", "id", text, "type_id", 0, "Sequence", "id", "A",
                                                           "type_id", 0,
                                                       "special_tokens", special));
    json_decref(text);
    return EYE_OK;
}

static enum eye_status tokenizer(const struct source *s, json_t *o) {
    const struct pre *pre = NULL;
    json_t *vocab = json_object(), *merges = json_array(), *added = json_array();
    json_object_set_new(o, "added_tokens", added);
    json_object_set_new(o, "model", json_pack("{s:s,s:o,s:o}", "type", "BPE", "vocab", vocab, "merges", merges));
    EYE_TRY(find_pre(s, &pre));
    EYE_TRY(put_vocab(s, vocab, added));
    EYE_TRY(put_merges(s, merges));
    json_object_set_new(json_object_get(o, "model"), "ignore_merges", json_boolean(pre->ignore_merges));
    if (pre->nfc) json_object_set_new(o, "normalizer", json_pack("{s:s}", "type", "NFC"));
    json_object_set_new(o, "pre_tokenizer", pre_tokenizer(pre));
    json_object_set_new(o, "decoder", json_pack("{s:s}", "type", "ByteLevel"));
    return put_bos(s, pre, o);
}

static bool has_pieces(const struct source *s) {
    struct eye_str model;
    return eye_gguf_str(s->g, "tokenizer.ggml.model", &model, NULL) == EYE_OK && model.p && is_text(model, "llama");
}

/* What tokenizer.model does not say of a vocabulary of pieces: BOS and EOS, and tokens that are text but found whole. */
static enum eye_status piece_config(const struct source *s, json_t *o) {
    const struct eye_gguf_kv *tokens = NULL, *kinds = eye_gguf_find(s->g, "tokenizer.ggml.token_type");
    json_t *added = json_object();
    bool bos, eos;
    json_object_set_new(o, "added_tokens_decoder", added);
    EYE_TRY(eye_gguf_bool(s->g, "tokenizer.ggml.add_bos_token", true, &bos, s->err));
    EYE_TRY(eye_gguf_bool(s->g, "tokenizer.ggml.add_eos_token", false, &eos, s->err));
    json_object_set_new(o, "add_bos_token", json_boolean(bos));
    json_object_set_new(o, "add_eos_token", json_boolean(eos));
    EYE_TRY(need_strings(s, "tokenizer.ggml.tokens", &tokens));
    for (size_t i = 0; kinds && kinds->is_array && kinds->data && i < EYE_MIN(kinds->n, tokens->n); i++) {
        char id[24];
        if (kind_of(kinds, i) != KIND_USER_DEFINED) continue;
        json_t *text = text_of(tokens->string[i]);
        if (!text || memmem(tokens->string[i].p, tokens->string[i].len, "\xE2\x96\x81", 3)) {
            json_decref(text);
            return eye_fail(s->err, EYE_E_UNSUPPORTED,
                            "%s: tokenizer.ggml.tokens[%zu]: a user-defined token of blanks, or no text",
                            s->g->table.where, i);
        }
        snprintf(id, sizeof id, "%zu", i);
        json_object_set_new(added, id, json_pack("{s:o,s:b,s:b}", "content", text, "special", 0, "normalized", 0));
    }
    return EYE_OK;
}

static enum eye_status tokenizer_config(const struct source *s, json_t *o) {
    static const char *const keys[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"},
                                          {"eos_token", "tokenizer.ggml.eos_token_id"},
                                          {"pad_token", "tokenizer.ggml.padding_token_id"}};
    for (size_t i = 0; i < EYE_COUNT(keys); i++) {
        struct eye_str token;
        int64_t id;
        EYE_TRY(token_of(s, keys[i][1], &token, &id));
        if (token.p) json_object_set_new(o, keys[i][0], text_of(token));
    }
    return has_pieces(s) ? piece_config(s, o) : EYE_OK;
}

/* ---- */

static enum eye_status write_file(struct source *s, enum eye_status (*fill)(const struct source *s, json_t *o),
                                  struct eye_str *out) {
    json_t *o = json_object();
    enum eye_status st = fill(s, o);
    if (st == EYE_OK) st = eye_json_text(o, s->arena, out, s->err);
    json_decref(o);
    return st;
}

enum eye_status eye_gguf_folder(const struct eye_gguf *g, struct eye_arena *arena, struct eye_str file[EYE_GGUF_N_FILES],
                                struct eye_err *err) {
    struct source s = {.g = g, .arena = arena, .err = err};
    struct eye_str arch;
    for (int i = 0; i < EYE_GGUF_N_FILES; i++) file[i] = (struct eye_str){NULL, 0};
    if (g->genie) return eye_gguf_genie_config(g, arena, &file[EYE_GGUF_CONFIG], err);
    EYE_TRY(eye_gguf_str(g, "general.architecture", &arch, err));
    static const char *const known[] = {"qwen2", "llama", "gpt2"};
    size_t i = 0;
    if (!arch.p) return unsupported(&s, "general.architecture", "nothing", "qwen2, llama, gpt2");
    snprintf(s.arch, sizeof s.arch, "%.*s", (int)EYE_MIN(arch.len, sizeof s.arch - 1), arch.p);
    while (i < EYE_COUNT(known) && !is_text(arch, known[i])) i++;
    if (is_text(arch, "clip"))
        return eye_fail(err, EYE_E_UNSUPPORTED, "a vision tower alone: name the text model's .gguf, and this one with --mmproj");
    if (i == EYE_COUNT(known)) return unsupported(&s, "general.architecture", s.arch, "qwen2, llama, gpt2");
    EYE_TRY(write_file(&s, config, &file[EYE_GGUF_CONFIG]));
    if (has_pieces(&s)) EYE_TRY(eye_gguf_pieces(g, arena, &file[EYE_GGUF_PIECES], err));
    else EYE_TRY(write_file(&s, tokenizer, &file[EYE_GGUF_TOKENIZER]));
    EYE_TRY(write_file(&s, tokenizer_config, &file[EYE_GGUF_TOKENIZER_CONFIG]));
    return eye_gguf_str(g, "tokenizer.chat_template", &file[EYE_GGUF_TEMPLATE], err);
}
