/* What a converted file says besides its tensors.
 *
 * For llama.cpp: architecture, sizes, and the vocabulary as arrays: tokens, their kinds, and merges (bytes) or scores (pieces).
 * It takes the number of tokens for the rows of the embedding, so rows without a token get "[PAD<id>]", of kind unused. A
 * tokenizer that llama.cpp has no kind for leaves the vocabulary out of a whole file, and makes a decoder alone an error.
 * For eyelet: the folder's JSON files themselves; configuration and tokenizer are read from those, never from the keys above.
 * Keys: GGUF specification; llama.cpp's gguf-py/gguf/constants.py.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "pack/pack.h"
#include "text/ggml_vocab.h"

struct keys { /* the first error sticks */
    struct eye_gguf_writer *w;
    const char *prefix; /* "qwen2" */
    enum eye_status st;
    struct eye_err *err;
};

static void put_u32(struct keys *k, const char *key, int64_t v) {
    char full[128];
    if (k->st != EYE_OK) return;
    snprintf(full, sizeof full, "%s.%s", k->prefix, key);
    k->st = eye_gguf_put_int(k->w, full, EYE_GGUF_U32, v, k->err);
}

static void put_f32(struct keys *k, const char *key, double v) {
    char full[128];
    if (k->st != EYE_OK) return;
    snprintf(full, sizeof full, "%s.%s", k->prefix, key);
    k->st = eye_gguf_put_float(k->w, full, EYE_GGUF_F32, v, k->err);
}

static enum eye_status put_decoder(struct eye_gguf_writer *w, const struct eye_text_config *t, struct eye_err *err) {
    struct keys k = {w, t->family, EYE_OK, err};
    put_u32(&k, "block_count", t->n_layers);
    put_u32(&k, "context_length", t->max_positions);
    put_u32(&k, "embedding_length", t->hidden);
    put_u32(&k, "feed_forward_length", t->ffn);
    put_u32(&k, "attention.head_count", t->n_heads);
    put_u32(&k, "attention.head_count_kv", t->n_kv_heads);
    put_u32(&k, "vocab_size", t->vocab);
    if (t->head_dim * t->n_heads != t->hidden) {
        put_u32(&k, "attention.key_length", t->head_dim);
        put_u32(&k, "attention.value_length", t->head_dim);
    }
    if (t->rope_theta > 0) {
        put_u32(&k, "rope.dimension_count", t->head_dim);
        put_f32(&k, "rope.freq_base", t->rope_theta);
    }
    put_f32(&k, t->rope_theta > 0 ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon", (double)t->rms_eps);
    return k.st;
}

/* ---- vocabulary ---- */

struct vocab {
    struct eye_arena arena;
    struct eye_str *token;
    int64_t *kind;
    size_t n;
    struct eye_str *merge;
    size_t n_merges;
    double *score;        /* of pieces, in place of merges */
};

static struct eye_bytes side_file(const struct eye_vlm *m, const char *name) {
    const char *p;
    size_t n;
    struct eye_bytes b = {NULL, 0};
    if (eye_checkpoint_text(m->ckpt, name, &p, &n)) b = (struct eye_bytes){p, n};
    return b;
}

static enum eye_status fill_tokens(struct vocab *v, const struct eye_tokenizer *tk, struct eye_err *err) {
    for (size_t i = 0; i < v->n; i++) {
        char pad[32];
        const char *p;
        size_t n;
        v->kind[i] = (int64_t)i < eye_tokenizer_n_vocab(tk) ? eye_ggml_kind(tk, (int32_t)i) : EYE_GGML_UNUSED;
        if (v->kind[i] == EYE_GGML_UNUSED || !eye_tokenizer_token(tk, (int32_t)i, &p, &n)) {
            p = pad;
            n = (size_t)snprintf(pad, sizeof pad, "[PAD%zu]", i);
        }
        v->token[i].p = eye_arena_strdup(&v->arena, p, n);
        v->token[i].len = n;
        if (!v->token[i].p) return eye_fail_nomem(err, n);
    }
    return EYE_OK;
}

/* "a b" out of "a b" or ["a", "b"]; the two spellings of tokenizer.json. */
static enum eye_status fill_merge(struct vocab *v, const struct eye_json_at *merge, struct eye_str *out, struct eye_err *err) {
    const char *a, *b = NULL;
    size_t na, nb = 0;
    if (json_is_array(merge->v)) {
        struct eye_json_at first = eye_json_item(merge, 0), second = eye_json_item(merge, 1);
        EYE_TRY(eye_json_need_str(&first, NULL, &a, &na, err));
        EYE_TRY(eye_json_need_str(&second, NULL, &b, &nb, err));
    } else {
        EYE_TRY(eye_json_need_str(merge, NULL, &a, &na, err));
    }
    char *s = eye_arena_alloc(&v->arena, na + nb + 2);
    if (!s) return eye_fail_nomem(err, na + nb + 2);
    memcpy(s, a, na);
    out->p = s;
    out->len = na;
    if (!b) return EYE_OK;
    s[na] = ' ';
    memcpy(s + na + 1, b, nb);
    out->len = na + 1 + nb;
    return EYE_OK;
}

static enum eye_status alloc_merges(struct vocab *v, size_t n, struct eye_err *err) {
    size_t bytes;
    if (!eye_mul_ok(n + 1, sizeof *v->merge, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    v->merge = eye_arena_alloc(&v->arena, bytes);
    return v->merge ? EYE_OK : eye_fail_nomem(err, bytes);
}

static enum eye_status read_tokenizer_json(struct vocab *v, struct eye_bytes file, struct eye_err *err) {
    struct eye_json j;
    EYE_TRY(eye_json_parse(&j, file.p, file.n, EYE_JSON_MAX_BYTES, "tokenizer.json", err));
    struct eye_json_at root = eye_json_root(&j), model, merges;
    enum eye_status st;
    EYE_TRY_GOTO(eye_json_object(&root, "model", &model, err));
    EYE_TRY_GOTO(eye_json_array(&model, "merges", &merges, err));
    EYE_TRY_GOTO(alloc_merges(v, eye_json_len(&merges), err));
    for (size_t i = 0; i < eye_json_len(&merges); i++) {
        struct eye_json_at item = eye_json_item(&merges, i);
        EYE_TRY_GOTO(fill_merge(v, &item, &v->merge[v->n_merges++], err));
    }
    st = EYE_OK;
fail:
    eye_json_clear(&j);
    return st;
}

/* merges.txt: "#version" once, then a merge per line, as the key wants them. */
static enum eye_status read_merges_txt(struct vocab *v, struct eye_bytes file, struct eye_err *err) {
    const char *p = file.p, *end = p + file.n;
    size_t n_lines = 1;
    for (const char *q = p; q < end; q++) n_lines += *q == '\n';
    EYE_TRY(alloc_merges(v, n_lines, err));
    for (const char *next; p < end; p = next) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        next = eol ? eol + 1 : end;
        size_t n = (size_t)((eol ? eol : end) - p);
        if (n && p[n - 1] == '\r') n--;
        bool version = v->n_merges == 0 && n >= 8 && memcmp(p, "#version", 8) == 0;
        if (n && !version) v->merge[v->n_merges++] = (struct eye_str){p, n};
    }
    return EYE_OK;
}

static enum eye_status open_tokenizer(const struct eye_vlm *m, const struct eye_tokenizer_src *src, struct eye_tokenizer **tk,
                                      struct eye_err *err) {
    if (!src->tokenizer_json.p && !(src->vocab_json.p && src->merges_txt.p) && !src->tokenizer_model.p)
        return eye_fail(err, EYE_E_IO,
                        "%s: no tokenizer: expected tokenizer.json, vocab.json and merges.txt, or tokenizer.model",
                        m->ckpt->path);
    return eye_tokenizer_open(tk, src, m->alloc, err);
}

/* Tokens, kinds, and what joins them. form: what llama.cpp calls this tokenizer; found = false: nothing. */
static enum eye_status read_vocab(struct vocab *v, const struct eye_vlm *m, struct eye_ggml_vocab *form, struct eye_err *why,
                                  struct eye_err *err) {
    const struct eye_tokenizer_src src = {
        .tokenizer_json = side_file(m, "tokenizer.json"), .vocab_json = side_file(m, "vocab.json"),
        .merges_txt = side_file(m, "merges.txt"), .tokenizer_config = side_file(m, "tokenizer_config.json"),
        .tokenizer_model = side_file(m, "tokenizer.model"), .added_tokens = side_file(m, "added_tokens.json"),
        .special_tokens_map = side_file(m, "special_tokens_map.json"),
        .tokenizer_class = strcmp(m->config.text.family, "qwen2") == 0 ? "Qwen2Tokenizer" : NULL,
    };
    struct eye_tokenizer *tk;
    enum eye_status st;
    EYE_TRY(open_tokenizer(m, &src, &tk, err));
    if (eye_ggml_vocab(tk, form, why) != EYE_OK) {
        eye_tokenizer_close(tk);
        return EYE_OK;
    }
    v->n = (size_t)m->config.text.vocab;
    v->token = eye_arena_alloc(&v->arena, v->n * sizeof *v->token);
    v->kind = eye_arena_alloc(&v->arena, v->n * sizeof *v->kind);
    v->score = eye_arena_alloc(&v->arena, EYE_MAX(v->n, (size_t)eye_tokenizer_n_vocab(tk)) * sizeof *v->score);
    st = v->token && v->kind && v->score ? fill_tokens(v, tk, err) : eye_fail_nomem(err, v->n * sizeof *v->token);
    if (st == EYE_OK && form->pieces) eye_ggml_scores(tk, v->score);
    eye_tokenizer_close(tk);
    if (st != EYE_OK || form->pieces) return st;
    return src.tokenizer_json.p ? read_tokenizer_json(v, src.tokenizer_json, err) : read_merges_txt(v, src.merges_txt, err);
}

static enum eye_status put_chat_template(struct eye_gguf_writer *w, const struct eye_vlm *m, struct eye_err *err) {
    struct eye_buf text;
    const char *file;
    eye_buf_init(&text, m->alloc);
    enum eye_status st = eye_vlm_own_template(m->ckpt, &text, &file, err);
    if (st == EYE_OK && file) st = eye_gguf_put_str(w, "tokenizer.chat_template", text.p ? text.p : "", text.len, err);
    eye_buf_clear(&text);
    return st;
}

static enum eye_status put_special(struct eye_gguf_writer *w, const struct eye_vlm_config *c, const struct eye_ggml_vocab *form,
                                   struct eye_err *err) {
    int64_t bos = form->bos >= 0 ? form->bos : c->bos;
    if (bos >= 0) EYE_TRY(eye_gguf_put_int(w, "tokenizer.ggml.bos_token_id", EYE_GGUF_U32, bos, err));
    if (c->n_eos) EYE_TRY(eye_gguf_put_int(w, "tokenizer.ggml.eos_token_id", EYE_GGUF_U32, c->eos[0], err));
    if (c->pad >= 0) EYE_TRY(eye_gguf_put_int(w, "tokenizer.ggml.padding_token_id", EYE_GGUF_U32, c->pad, err));
    EYE_TRY(eye_gguf_put_bool(w, "tokenizer.ggml.add_bos_token", form->add_bos, err));
    if (form->add_eos) EYE_TRY(eye_gguf_put_bool(w, "tokenizer.ggml.add_eos_token", true, err));
    return form->pieces ? eye_gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", form->add_prefix, err) : EYE_OK;
}

/* whole: the file has its tokenizer as side files too. */
static enum eye_status put_vocab(struct eye_gguf_writer *w, const struct eye_vlm *m, bool whole, struct eye_err *err) {
    struct vocab v = {.n = 0};
    struct eye_ggml_vocab form;
    struct eye_err why = {0};
    enum eye_status st;
    eye_arena_init(&v.arena, m->alloc);
    EYE_TRY_GOTO(read_vocab(&v, m, &form, &why, err));
    if (why.code != EYE_OK) {
        if (!whole) st = eye_fail(err, why.code, "%s: a decoder alone: %.300s", m->ckpt->path, why.text);
        goto fail;
    }
    EYE_TRY_GOTO(eye_gguf_put_text(w, "tokenizer.ggml.model", form.pieces ? "llama" : "gpt2", err));
    EYE_TRY_GOTO(eye_gguf_put_text(w, "tokenizer.ggml.pre", form.pieces ? "default" : form.pre, err));
    EYE_TRY_GOTO(eye_gguf_put_strs(w, "tokenizer.ggml.tokens", v.token, v.n, err));
    EYE_TRY_GOTO(eye_gguf_put_ints(w, "tokenizer.ggml.token_type", EYE_GGUF_I32, v.kind, v.n, err));
    if (form.pieces) EYE_TRY_GOTO(eye_gguf_put_floats(w, "tokenizer.ggml.scores", EYE_GGUF_F32, v.score, v.n, err));
    else EYE_TRY_GOTO(eye_gguf_put_strs(w, "tokenizer.ggml.merges", v.merge, v.n_merges, err));
    EYE_TRY_GOTO(put_special(w, &m->config, &form, err));
    EYE_TRY_GOTO(put_chat_template(w, m, err));
fail:
    eye_arena_clear(&v.arena);
    return st;
}

/* ---- */

enum eye_status eye_pack_llama_keys(struct eye_gguf_writer *w, const struct eye_vlm *m, enum eye_wtype decoder_type, bool whole,
                                    struct eye_err *err) {
    /* llama.cpp's names of whole-file types, for its listings; as stored: no claim */
    static const int file_type[EYE_N_WTYPE] = {-1, 0, 1, 32, 7, 2, 14};
    EYE_TRY(eye_gguf_put_text(w, "general.architecture", m->config.text.family, err));
    if (file_type[decoder_type] > 0 || decoder_type == EYE_W_F32)
        EYE_TRY(eye_gguf_put_int(w, "general.file_type", EYE_GGUF_U32, file_type[decoder_type], err));
    EYE_TRY(eye_gguf_put_int(w, "general.quantization_version", EYE_GGUF_U32, 2, err));
    EYE_TRY(put_decoder(w, &m->config.text, err));
    return put_vocab(w, m, whole, err);
}

enum eye_status eye_pack_own_keys(struct eye_gguf_writer *w, const struct eye_vlm *m, enum eye_wtype vision_type,
                                  enum eye_wtype decoder_type, bool mixed, bool text, struct eye_err *err) {
    bool has_json = side_file(m, "tokenizer.json").p != NULL;
    if (eye_vlm_sees(m)) {
        EYE_TRY(eye_gguf_put_text(w, "eyelet.vision.family", m->config.vision.family, err));
        EYE_TRY(eye_gguf_put_text(w, "eyelet.vision.form", "folded", err));
        EYE_TRY(eye_gguf_put_text(w, "eyelet.vision.type", eye_wtype_name(vision_type), err));
    }
    EYE_TRY(eye_gguf_put_text(w, "eyelet.decoder.type", eye_wtype_name(mixed ? EYE_W_EXACT : decoder_type), err));
    if (mixed) EYE_TRY(eye_gguf_put_text(w, EYE_BASE_TYPE_KEY, eye_wtype_name(decoder_type), err));
    for (size_t i = 0; eye_checkpoint_side_name(i); i++) {
        const char *name = eye_checkpoint_side_name(i);
        struct eye_bytes b = side_file(m, name);
        char key[128];
        bool again = strcmp(name, "vocab.json") == 0 || strcmp(name, "merges.txt") == 0 || strcmp(name, "tokenizer.model") == 0;
        if (has_json && again) continue; /* they say what tokenizer.json says as well */
        if (!text && !strstr(name, "config.json")) continue;
        if (!text && strcmp(name, "tokenizer_config.json") == 0) continue;
        if (!b.p) continue;
        snprintf(key, sizeof key, EYE_CHECKPOINT_FILE_KEY "%s", name);
        EYE_TRY(eye_gguf_put_str(w, key, b.p, b.n, err));
    }
    return EYE_OK;
}
