/* format/gguf_pieces: see gguf_pieces.h. Fields by number: sentencepiece_model.proto. ModelProto: pieces 1, trainer_spec 2,
 * normalizer_spec 3; a piece: text 1, score 2 (float), type 3. GGUF's token types are SentencePiece's numbers. */
#include "format/gguf_pieces.h"

#include <math.h>
#include <string.h>

enum { CONTROL = 3, USER_DEFINED = 4, N_TYPES = 6 };
enum { VARINT = 0, BYTES = 2, FIXED32 = 5 };

static void put_varint(struct eye_buf *b, uint64_t v) {
    uint8_t byte;
    do {
        byte = (uint8_t)(v & 0x7F) | (v > 0x7F ? 0x80 : 0);
        eye_buf_add(b, &byte, 1);
    } while (v >>= 7);
}

static void put_number(struct eye_buf *b, int field, uint64_t v) {
    put_varint(b, (uint64_t)field << 3 | VARINT);
    put_varint(b, v);
}

static void put_bytes(struct eye_buf *b, int field, const void *p, size_t n) {
    put_varint(b, (uint64_t)field << 3 | BYTES);
    put_varint(b, n);
    eye_buf_add(b, p, n);
}

static void put_float(struct eye_buf *b, int field, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    const uint8_t le[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16), (uint8_t)(bits >> 24)};
    put_varint(b, (uint64_t)field << 3 | FIXED32);
    eye_buf_add(b, le, sizeof le);
}

static enum eye_status corrupt(const struct eye_gguf *g, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: %s", g->table.where, what);
}

static enum eye_status put_pieces(const struct eye_gguf *g, struct eye_buf *b, struct eye_buf *piece, struct eye_err *err) {
    const struct eye_gguf_kv *tokens = eye_gguf_find(g, "tokenizer.ggml.tokens"),
        *scores = eye_gguf_find(g, "tokenizer.ggml.scores"),
                             *types = eye_gguf_find(g, "tokenizer.ggml.token_type");
    if (!tokens || !tokens->is_array || !tokens->string)
        return corrupt(g, "tokenizer.ggml.tokens: expected an array of strings", err);
    if (!scores || !scores->is_array || !scores->data || scores->n != tokens->n)
        return corrupt(g, "tokenizer.ggml.scores: expected as many numbers as tokens", err);
    if (!types || !types->is_array || !types->data || types->n != tokens->n)
        return corrupt(g, "tokenizer.ggml.token_type: expected as many numbers as tokens", err);
    for (size_t i = 0; i < tokens->n; i++) {
        double score = eye_gguf_item_double(scores, i);
        int64_t type = eye_gguf_item_int(types, i);
        if (type < 1 || type > N_TYPES || !isfinite((float)score))
            return eye_fail(err, EYE_E_CORRUPT, "%s: token %zu has type %lld and score %g, expected 1 to %d and a number",
                            g->table.where, i, (long long)type, score, N_TYPES);
        piece->len = 0;
        put_bytes(piece, 1, tokens->string[i].p, tokens->string[i].len);
        put_float(piece, 2, (float)score);
        put_number(piece, 3, (uint64_t)(type == USER_DEFINED ? CONTROL : type));
        if (piece->failed) return eye_fail_nomem(err, tokens->string[i].len);
        put_bytes(b, 1, piece->p, piece->len);
    }
    return EYE_OK;
}

/* The names of bos, eos and pad, which the specification has, not their ids. */
static enum eye_status put_trainer(const struct eye_gguf *g, struct eye_buf *b, struct eye_buf *spec, struct eye_err *err) {
    static const struct { const char *key; int field; } special[] = {
        {"tokenizer.ggml.bos_token_id", 46}, {"tokenizer.ggml.eos_token_id", 47}, {"tokenizer.ggml.padding_token_id", 48}};
    const struct eye_gguf_kv *tokens = eye_gguf_find(g, "tokenizer.ggml.tokens");
    spec->len = 0;
    put_number(spec, 3, 2);  /* BPE */
    put_number(spec, 35, 1); /* byte_fallback */
    for (size_t i = 0; i < EYE_COUNT(special); i++) {
        int64_t id;
        EYE_TRY(eye_gguf_int(g, special[i].key, -1, &id, err));
        if (id >= (int64_t)tokens->n)
            return eye_fail(err, EYE_E_CORRUPT, "%s: %s is %lld of %zu tokens", g->table.where, special[i].key, (long long)id,
                            tokens->n);
        if (id >= 0) put_bytes(spec, special[i].field, tokens->string[id].p, tokens->string[id].len);
    }
    if (spec->failed) return eye_fail_nomem(err, spec->cap);
    put_bytes(b, 2, spec->p, spec->len);
    return EYE_OK;
}

static enum eye_status put_normalizer(const struct eye_gguf *g, struct eye_buf *b, struct eye_buf *spec, struct eye_err *err) {
    bool prefix;
    EYE_TRY(eye_gguf_bool(g, "tokenizer.ggml.add_space_prefix", true, &prefix, err));
    spec->len = 0;
    put_number(spec, 3, prefix);
    put_number(spec, 4, 0); /* remove_extra_whitespaces */
    put_number(spec, 5, 1); /* escape_whitespaces */
    if (spec->failed) return eye_fail_nomem(err, spec->cap);
    put_bytes(b, 3, spec->p, spec->len);
    return EYE_OK;
}

enum eye_status eye_gguf_pieces(const struct eye_gguf *g, struct eye_arena *arena, struct eye_str *out, struct eye_err *err) {
    struct eye_buf b, message;
    eye_buf_init(&b, arena->alloc);
    eye_buf_init(&message, arena->alloc);
    enum eye_status st = put_pieces(g, &b, &message, err);
    if (st == EYE_OK) st = put_trainer(g, &b, &message, err);
    if (st == EYE_OK) st = put_normalizer(g, &b, &message, err);
    if (st == EYE_OK) {
        out->len = b.len;
        out->p = b.failed ? NULL : eye_arena_strdup(arena, b.p, b.len);
        if (!out->p) st = eye_fail_nomem(err, b.len);
    }
    eye_buf_clear(&b);
    eye_buf_clear(&message);
    return st;
}
