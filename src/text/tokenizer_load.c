/* text/tokenizer_load: building a tokenizer from tokenizer.json or vocab.json + merges.txt (sp_model.c:
 * from tokenizer.model; added_files.c: added_tokens.json). The two big lists are read by
 * lists.c; the rest of tokenizer.json, with null in their places, goes through format/json and tokenizer_config.c. */
#include <stdio.h>
#include <string.h>

#include "text/lists.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

uint32_t eye_byte_to_char(uint8_t b) {
    if (b < 33) return 0x100u + b;
    if (b >= 127 && b <= 160) return 0x100u + 33 + (b - 127u);
    return b == 173 ? 0x100u + 67 : b;
}

int eye_char_to_byte(uint32_t cp) {
    if (cp >= 0x100) return cp < 0x121 ? (int)cp - 0x100 : cp < 0x143 ? (int)cp - 0x121 + 127 : cp == 0x143 ? 173 : -1;
    return cp < 33 || (cp >= 127 && cp <= 160) || cp == 173 ? -1 : (int)cp;
}

/* ---- vocabulary ---- */

enum eye_status eye_tokenizer_define(struct eye_tokenizer *tk, size_t id, const char *p, size_t len, const char *where,
                                     struct eye_err *err) {
    void *mem = tk->token;
    bool there;
    EYE_TRY(eye_alloc_grow(tk->alloc, &mem, &tk->token_cap, id + 1, sizeof *tk->token, err));
    tk->token = mem; /* grown memory is zero-filled: holes */
    if (tk->token[id].p)
        return eye_fail(err, EYE_E_CORRUPT, "%s: id %zu is given to \"%.*s\" and to \"%.*s\"", where, id, (int)EYE_MIN(len, 60),
                        p, (int)EYE_MIN(tk->token[id].len, 60), tk->token[id].p);
    EYE_TRY(eye_strmap_put(&tk->id_of, p, len, (int32_t)id, &there, err));
    if (there) return eye_fail(err, EYE_E_CORRUPT, "%s: token \"%.*s\" stands there twice", where, (int)EYE_MIN(len, 60), p);
    tk->token[id] = (struct eye_token){.p = p, .len = (uint32_t)len};
    tk->n_token = EYE_MAX(tk->n_token, id + 1);
    tk->max_token_bytes = EYE_MAX(tk->max_token_bytes, len);
    return EYE_OK;
}

static enum eye_status read_vocab(struct eye_tokenizer *tk, struct eye_list_reader *r, struct eye_err *err) {
    struct eye_list_str s;
    uint32_t id;
    bool more;
    size_t used = 0;
    tk->vocab_bytes = EYE_MAX(r->n, 1); /* a string is never longer than its JSON */
    tk->vocab_text = eye_alloc_raw(tk->alloc, tk->vocab_bytes);
    if (!tk->vocab_text) return eye_fail_nomem(err, tk->vocab_bytes);
    EYE_TRY(eye_strmap_reserve(&tk->id_of, r->n / 32, err)); /* a real entry has 18 to 30 bytes: it grows once at most */
    for (;;) {
        EYE_TRY(eye_list_vocab(r, &more, &s, &id, err));
        if (!more) break;
        /* An entry has 5 bytes at least: ids beyond that are 5 times sparser than the list, and cost memory all the same. */
        if (id >= EYE_TOKENIZER_MAX_ID || id > r->n + 65536)
            return eye_fail(err, EYE_E_LIMIT, "%s: token \"%.*s\" has id %u in a list of %zu bytes", r->where,
                            (int)EYE_MIN(s.n, 60), s.p, id, r->n);
        if (EYE_NEVER(s.n > tk->vocab_bytes - used)) return eye_fail(err, EYE_E_CORRUPT, "%s: vocabulary too long", r->where);
        char *p = tk->vocab_text + used;
        if (s.n) memcpy(p, s.p, s.n);
        used += s.n;
        EYE_TRY(eye_tokenizer_define(tk, id, p, s.n, r->where, err));
        tk->token[id].model = true;
    }
    tk->n_model = r->i;
    return EYE_OK;
}

static enum eye_status read_merges(struct eye_tokenizer *tk, struct eye_list_reader *r, bool json, struct eye_err *err) {
    struct eye_list_str pair[2];
    struct eye_buf both;
    enum eye_status st;
    eye_buf_init(&both, tk->alloc);
    EYE_TRY_GOTO(eye_bpe_reserve(&tk->bpe, EYE_MIN(tk->n_model, r->n / 4), err)); /* every merge makes a token */
    for (uint32_t rank = 0;; rank++) {
        bool more;
        EYE_TRY_GOTO(json ? eye_list_merge(r, &more, pair, err) : eye_list_merge_line(r, &more, pair, err));
        if (!more) break;
        both.len = 0;
        eye_buf_add(&both, pair[0].p, pair[0].n);
        eye_buf_add(&both, pair[1].p, pair[1].n);
        if (both.failed) {
            st = eye_fail_nomem(err, pair[0].n + pair[1].n);
            goto fail;
        }
        int32_t left = eye_strmap_get(&tk->id_of, pair[0].p, pair[0].n);
        int32_t right = eye_strmap_get(&tk->id_of, pair[1].p, pair[1].n);
        int32_t made = eye_strmap_get(&tk->id_of, both.p, both.len);
        if (left < 0 || right < 0 || made < 0) {
            const char *p = left < 0 ? pair[0].p : right < 0 ? pair[1].p : both.p;
            size_t n = left < 0 ? pair[0].n : right < 0 ? pair[1].n : both.len;
            st = eye_fail(err, EYE_E_CORRUPT, "%s: merge %zu: \"%.*s\" is not in the vocabulary", r->where, r->i,
                          (int)EYE_MIN(n, 60), p);
            goto fail;
        }
        EYE_TRY_GOTO(eye_bpe_put(&tk->bpe, left, right, rank, made, err));
    }
fail:
    eye_buf_clear(&both);
    return st;
}

/* The symbols that words begin as, and what stands for those that the vocabulary lacks. */
static enum eye_status bind_bytes(struct eye_tokenizer *tk, const char *unk, struct eye_err *err) {
    tk->unk = unk ? eye_tokenizer_find(tk, unk, strlen(unk)) : -1;
    bool need_unk = tk->chars && !tk->byte_fallback;
    for (int b = 0; b < 256; b++) {
        char name[8] = "";
        size_t len = 6;
        if (tk->chars)
            snprintf(name, sizeof name, "<0x%02X>", (unsigned)b);
        else
            len = eye_utf8_put(eye_byte_to_char((uint8_t)b), (uint8_t *)name);
        tk->byte_id[b] = tk->chars && !tk->byte_fallback ? -1 : eye_tokenizer_find(tk, name, len);
        need_unk |= tk->byte_id[b] < 0;
    }
    if (need_unk && unk && tk->unk < 0)
        return eye_fail(err, EYE_E_UNSUPPORTED, "model: no tokens for all bytes, and unk_token \"%s\" is unknown", unk);
    return EYE_OK;
}

static enum eye_status read_lists(struct eye_tokenizer *tk, struct eye_list_reader *vocab, struct eye_list_reader *merges,
                                  bool json, const char *unk, struct eye_err *err) {
    EYE_TRY(read_vocab(tk, vocab, err));
    EYE_TRY(read_merges(tk, merges, json, err));
    return bind_bytes(tk, unk, err);
}

/* ---- added tokens ---- */

/* The library ignores the id in the file: a string that the model knows keeps its id, others count on from the largest added
 * id, or from the number of the model's tokens. A file that says otherwise would have been used with other ids than it says. */
static int32_t id_by_place(const struct eye_tokenizer *tk) {
    bool after_model = tk->max_added_id >= 0 && (size_t)tk->max_added_id >= tk->n_model;
    return after_model ? tk->max_added_id + 1 : (int32_t)tk->n_model;
}

enum eye_status eye_tokenizer_add(struct eye_tokenizer *tk, const struct eye_added_def *def, const char *where,
                                  struct eye_err *err) {
    int shown = (int)EYE_MIN(def->len, 60);
    if (def->len == 0) return EYE_OK;
    if (def->len > EYE_ADDED_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "%s: added token of %zu bytes: at most %d", where, def->len, EYE_ADDED_MAX_BYTES);
    int32_t id = eye_tokenizer_find(tk, def->content, def->len);
    bool known = id >= 0;
    if (!known) id = id_by_place(tk);
    if (def->id >= 0 && def->id != id)
        return eye_fail(err, EYE_E_CORRUPT, "%s: added token \"%.*s\" has id %lld, but by its place it is %d", where, shown,
                        def->content, (long long)def->id, id);
    if (id >= EYE_TOKENIZER_MAX_ID) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d ids", where, EYE_TOKENIZER_MAX_ID);
    if (known && tk->token[id].added)
        return eye_fail(err, EYE_E_CORRUPT, "%s: added token \"%.*s\" stands there twice", where, shown, def->content);
    if (!known) {
        char *copy = eye_arena_strdup(&tk->strings, def->content, def->len);
        if (!copy) return eye_fail_nomem(err, def->len);
        EYE_TRY(eye_tokenizer_define(tk, (size_t)id, copy, def->len, where, err));
    }
    void *mem = tk->added;
    EYE_TRY(eye_alloc_grow(tk->alloc, &mem, &tk->added_cap, tk->n_added + 1, sizeof *tk->added, err));
    tk->added = mem;
    tk->added[tk->n_added++] = (struct eye_added){
        .id = id, .special = def->special, .normalized = def->normalized, .single_word = def->single_word,
        .lstrip = def->lstrip, .rstrip = def->rstrip, .key = tk->token[id].p, .key_len = tk->token[id].len};
    tk->token[id].special = def->special;
    tk->token[id].added = true;
    tk->max_added_id = EYE_MAX(tk->max_added_id, id);
    return EYE_OK;
}

/* Normalises the keys of the second group and sorts both. */
static enum eye_status seal_added(struct eye_tokenizer *tk, struct eye_err *err) {
    struct eye_buf buf[2];
    enum eye_status st = EYE_OK;
    size_t n_raw = 0;
    eye_buf_init(&buf[0], tk->alloc);
    eye_buf_init(&buf[1], tk->alloc);
    for (size_t i = 0; i < tk->n_added; i++) {
        struct eye_added *a = &tk->added[i], swap = *a;
        const uint8_t *key = (const uint8_t *)a->key;
        size_t len = a->key_len;
        if (a->normalized) EYE_TRY_GOTO(eye_tokenizer_normalize(tk, buf, key, len, &key, &len, err));
        if (key != (const uint8_t *)a->key) {
            if (len == 0 || len > EYE_ADDED_MAX_BYTES) {
                st = eye_fail(err, EYE_E_LIMIT, "added token of %zu bytes when normalized: expected 1 to %d", len,
                              EYE_ADDED_MAX_BYTES);
                goto fail;
            }
            a->key = eye_arena_strdup(&tk->strings, (const char *)key, len);
            a->key_len = (uint32_t)len;
            if (!a->key) {
                st = eye_fail_nomem(err, len);
                goto fail;
            }
            tk->token[a->id].p = a->key; /* the library also decodes it to its normal form */
            tk->token[a->id].len = a->key_len;
        }
        if (a->normalized) continue;
        *a = tk->added[n_raw];
        tk->added[n_raw++] = swap;
    }
    eye_added_set_init(&tk->raw, tk->added, n_raw);
    eye_added_set_init(&tk->normalized, tk->added ? tk->added + n_raw : NULL, tk->n_added - n_raw);
fail:
    eye_buf_clear(&buf[1]);
    eye_buf_clear(&buf[0]);
    return st;
}

/* ---- the two kinds of source ---- */

static enum eye_status check_bytes(const char *where, struct eye_bytes b, struct eye_err *err) {
    if (b.n > EYE_TOKENIZER_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes: at most %zu", where, b.n, EYE_TOKENIZER_MAX_BYTES);
    size_t valid = eye_utf8_valid(b.p, b.n);
    if (valid < b.n) return eye_fail(err, EYE_E_CORRUPT, "%s: byte %zu: expected UTF-8", where, valid);
    return EYE_OK;
}

static const char json_name[] = "tokenizer.json";

/* The text without the two lists, which are null there. */
static enum eye_status without_lists(const char *p, size_t n, struct eye_list_span a, struct eye_list_span b,
                                     struct eye_buf *out, struct eye_err *err) {
    if (a.at > b.at) {
        struct eye_list_span swap = a;
        a = b;
        b = swap;
    }
    eye_buf_add(out, p, a.at);
    eye_buf_adds(out, "null");
    eye_buf_add(out, p + a.at + a.len, b.at - a.at - a.len);
    eye_buf_adds(out, "null");
    eye_buf_add(out, p + b.at + b.len, n - b.at - b.len);
    return out->failed ? eye_fail_nomem(err, n) : EYE_OK;
}

static enum eye_status load_packed(struct eye_tokenizer *tk, const struct eye_tokenizer_src *src, struct eye_err *err) {
    struct eye_json json = {0};
    const char *unk = NULL;
    enum eye_status st;
    EYE_TRY_GOTO(eye_json_parse(&json, src->tokenizer_json.p, src->tokenizer_json.n, EYE_JSON_MAX_BYTES, json_name, err));
    struct eye_json_at root = eye_json_root(&json);
    EYE_TRY_GOTO(eye_config_components(tk, &root, &unk, err));
    EYE_TRY_GOTO(eye_tokenizer_unpack(tk, src->lists, err));
    EYE_TRY_GOTO(bind_bytes(tk, unk, err));
    EYE_TRY_GOTO(eye_config_added(tk, &root, err));
    EYE_TRY_GOTO(eye_config_post(tk, &root, err));
fail:
    if (json.root) eye_json_clear(&json);
    return st;
}

static enum eye_status load_json(struct eye_tokenizer *tk, struct eye_bytes src, struct eye_err *err) {
    static const char *const where = json_name;
    struct eye_list_span vocab, merges;
    struct eye_list_reader r_vocab, r_merges;
    struct eye_json json = {0};
    struct eye_buf rest;
    const char *unk = NULL, *p = src.p;
    enum eye_status st;
    EYE_TRY(check_bytes(where, src, err));
    EYE_TRY(eye_lists_find(p, src.n, &vocab, &merges, err));
    if (!vocab.len || !merges.len)
        return eye_fail(err, EYE_E_CORRUPT, "%s: expected model.%s, got none", where, vocab.len ? "merges" : "vocab");
    eye_buf_init(&rest, tk->alloc);
    eye_list_init(&r_vocab, p + vocab.at, vocab.len, "tokenizer.json: model.vocab", tk->alloc);
    eye_list_init(&r_merges, p + merges.at, merges.len, "tokenizer.json: model.merges", tk->alloc);
    EYE_TRY_GOTO(without_lists(p, src.n, vocab, merges, &rest, err));
    EYE_TRY_GOTO(eye_json_parse(&json, rest.p, rest.len, EYE_JSON_MAX_BYTES, where, err));
    struct eye_json_at root = eye_json_root(&json);
    EYE_TRY_GOTO(eye_config_components(tk, &root, &unk, err));
    EYE_TRY_GOTO(read_lists(tk, &r_vocab, &r_merges, true, unk, err));
    EYE_TRY_GOTO(eye_config_added(tk, &root, err));
    EYE_TRY_GOTO(eye_config_post(tk, &root, err));
fail:
    if (json.root) eye_json_clear(&json);
    eye_buf_clear(&rest);
    eye_list_clear(&r_vocab);
    eye_list_clear(&r_merges);
    return st;
}

/* Which tokens are added and which are BOS, EOS and PAD, where vocab.json and merges.txt say the rest. */
static enum eye_status load_added(struct eye_tokenizer *tk, const struct eye_tokenizer_src *src,
                                  const struct eye_json_at *config, bool gpt2, struct eye_err *err) {
    struct eye_json added = {0}, map = {0};
    struct eye_json_at at[2] = {{.where = "added_tokens.json"}, {.where = "special_tokens_map.json"}};
    enum eye_status st = EYE_OK;
    if (eye_json_has(config, "added_tokens_decoder")) {
        EYE_TRY(eye_config_added_decoder(tk, config, err));
        return eye_config_special_ids(tk, config, err);
    }
    if (src->added_tokens.p) {
        EYE_TRY_GOTO(eye_json_parse(&added, src->added_tokens.p, src->added_tokens.n, EYE_JSON_MAX_BYTES, at[0].where, err));
        at[0] = eye_json_root(&added);
    }
    if (src->special_tokens_map.p) {
        EYE_TRY_GOTO(eye_json_parse(&map, src->special_tokens_map.p, src->special_tokens_map.n, EYE_JSON_MAX_BYTES, at[1].where,
                                    err));
        at[1] = eye_json_root(&map);
    }
    EYE_TRY_GOTO(eye_added_files_load(tk, &(struct eye_added_files){config, &at[0], &at[1], gpt2}, err));
fail:
    if (added.root) eye_json_clear(&added);
    if (map.root) eye_json_clear(&map);
    return st;
}

static enum eye_status load_files(struct eye_tokenizer *tk, const struct eye_tokenizer_src *src,
                                  const struct eye_json_at *config, struct eye_err *err) {
    struct eye_list_reader vocab, merges;
    const char *cls = src->tokenizer_class;
    enum eye_status st;
    if (!src->merges_txt.p) return eye_fail(err, EYE_E_ARG, "vocab.json without merges.txt: a BPE tokenizer needs both");
    EYE_TRY(check_bytes("vocab.json", src->vocab_json, err));
    EYE_TRY(check_bytes("merges.txt", src->merges_txt, err));
    EYE_TRY(eye_json_str(config, "tokenizer_class", cls, &cls, NULL, err));
    if (!cls)
        return eye_fail(err, EYE_E_UNSUPPORTED, "tokenizer_config.json: expected tokenizer_class, got none (vocab.json and "
                        "merges.txt alone do not say how text is split)");
    EYE_TRY(eye_config_by_class(tk, cls, config, err));
    eye_list_init(&vocab, src->vocab_json.p, src->vocab_json.n, "vocab.json", tk->alloc);
    eye_list_init(&merges, src->merges_txt.p, src->merges_txt.n, "merges.txt", tk->alloc);
    EYE_TRY_GOTO(read_lists(tk, &vocab, &merges, false, NULL, err));
    EYE_TRY_GOTO(load_added(tk, src, config, strncmp(cls, "GPT2", 4) == 0, err));
fail:
    eye_list_clear(&vocab);
    eye_list_clear(&merges);
    return st;
}

static enum eye_status load(struct eye_tokenizer *tk, const struct eye_tokenizer_src *src, struct eye_err *err) {
    struct eye_json json = {0};
    struct eye_json_at config = {.where = "tokenizer_config.json"};
    enum eye_status st;
    if (src->tokenizer_config.p) {
        EYE_TRY(eye_json_parse(&json, src->tokenizer_config.p, src->tokenizer_config.n, EYE_JSON_MAX_BYTES, config.where, err));
        config = eye_json_root(&json);
    }
    if (src->tokenizer_json.p) {
        EYE_TRY_GOTO(src->lists.p ? load_packed(tk, src, err) : load_json(tk, src->tokenizer_json, err));
        EYE_TRY_GOTO(eye_config_special_ids(tk, &config, err));
    } else if (src->vocab_json.p) {
        EYE_TRY_GOTO(load_files(tk, src, &config, err));
    } else {
        EYE_TRY_GOTO(eye_sp_model_load(tk, src->tokenizer_model.p, src->tokenizer_model.n, &config, err));
        EYE_TRY_GOTO(eye_config_special_ids(tk, &config, err));
    }
    EYE_TRY_GOTO(seal_added(tk, err));
fail:
    if (json.root) eye_json_clear(&json);
    return st;
}

static struct eye_tokenizer *tokenizer_new(const struct eye_alloc *alloc) {
    struct eye_tokenizer *t = eye_alloc_zero(alloc, sizeof *t);
    if (!t) return NULL;
    t->alloc = alloc;
    t->before.alloc = t->after.alloc = alloc;
    t->unk = t->bos = t->eos = t->pad = t->max_added_id = -1;
    eye_arena_init(&t->strings, alloc);
    eye_strmap_init(&t->id_of, alloc);
    eye_bpe_init(&t->bpe, alloc);
    return t;
}

/* The lists alone: added tokens, which may change a token's string, stay in the JSON. */
enum eye_status eye_tokenizer_pack(struct eye_bytes json, struct eye_buf *rest, struct eye_buf *lists,
                                   const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_list_span vocab, merges;
    struct eye_list_reader r_vocab, r_merges;
    const char *p = json.p;
    enum eye_status st;
    EYE_TRY(check_bytes(json_name, json, err));
    EYE_TRY(eye_lists_find(p, json.n, &vocab, &merges, err));
    if (!vocab.len || !merges.len) return eye_fail(err, EYE_E_CORRUPT, "%s: expected model.vocab and model.merges", json_name);
    struct eye_tokenizer *t = tokenizer_new(alloc);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    eye_list_init(&r_vocab, p + vocab.at, vocab.len, json_name, alloc);
    eye_list_init(&r_merges, p + merges.at, merges.len, json_name, alloc);
    EYE_TRY_GOTO(read_vocab(t, &r_vocab, err));
    EYE_TRY_GOTO(read_merges(t, &r_merges, true, err));
    EYE_TRY_GOTO(eye_tokenizer_put_lists(t, lists, err));
    EYE_TRY_GOTO(without_lists(p, json.n, vocab, merges, rest, err));
fail:
    eye_list_clear(&r_vocab);
    eye_list_clear(&r_merges);
    eye_tokenizer_close(t);
    return st;
}

enum eye_status eye_tokenizer_open(struct eye_tokenizer **tk, const struct eye_tokenizer_src *src,
                                   const struct eye_alloc *alloc, struct eye_err *err) {
    if (!src->tokenizer_json.p && !src->vocab_json.p && !src->tokenizer_model.p)
        return eye_fail(err, EYE_E_ARG, "no tokenizer: expected tokenizer.json, vocab.json and merges.txt, or tokenizer.model");
    struct eye_tokenizer *t = tokenizer_new(alloc);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    enum eye_status st = load(t, src, err);
    if (st == EYE_OK)
        *tk = t;
    else
        eye_tokenizer_close(t);
    return st;
}

void eye_tokenizer_close(struct eye_tokenizer *tk) {
    if (!tk) return;
    eye_ids_clear(&tk->before);
    eye_ids_clear(&tk->after);
    eye_alloc_free(tk->alloc, tk->added, tk->added_cap * sizeof *tk->added);
    eye_bpe_clear(&tk->bpe);
    eye_strmap_clear(&tk->id_of);
    eye_alloc_free(tk->alloc, tk->token, tk->token_cap * sizeof *tk->token);
    eye_arena_clear(&tk->strings);
    eye_alloc_free(tk->alloc, tk->vocab_text, tk->vocab_bytes);
    eye_alloc_free(tk->alloc, tk, sizeof *tk);
}
