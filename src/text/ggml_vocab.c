/* text/ggml_vocab: see ggml_vocab.h. */
#include "text/ggml_vocab.h"

#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

static enum eye_status no_vocab(const char *why, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED, "tokenizer: llama.cpp has no vocabulary that makes the same ids: %s", why);
}

static bool has_stages(const struct eye_tokenizer *tk, const struct eye_pretok_stage *stage, int n) {
    if (tk->pretok.n != n) return false;
    for (int i = 0; i < n; i++)
        if (tk->pretok.stage[i].kind != stage[i].kind || tk->pretok.stage[i].arg != stage[i].arg) return false;
    return true;
}

/* ---- bytes ---- */

/* llama.cpp normalises nothing, so NFC is passed over where its own converter does that too. */
static enum eye_status byte_vocab(const struct eye_tokenizer *tk, struct eye_ggml_vocab *out, struct eye_err *err) {
    static const struct { const char *pre; struct eye_pretok_stage stage[2]; int n; bool nfc, ignore_merges; } known[] = {
        {"qwen2", {{EYE_PRETOK_MODERN, 1}}, 1, true, false},
        {"llama-bpe", {{EYE_PRETOK_MODERN, 3}}, 1, false, true},
        {"gpt-2", {{EYE_PRETOK_GPT2, 0}}, 1, false, false},
        {"smollm", {{EYE_PRETOK_DIGITS, 1}, {EYE_PRETOK_GPT2, 0}}, 2, false, false},
    };
    bool nfc = tk->n_norm == 1 && tk->norm[0].kind == EYE_NORM_NFC;
    if (tk->n_norm > 0 && !nfc) return no_vocab("its normalizer", err);
    for (size_t i = 0; i < EYE_COUNT(known) && !out->pre; i++)
        if (has_stages(tk, known[i].stage, known[i].n) && tk->ignore_merges == known[i].ignore_merges && (!nfc || known[i].nfc))
            out->pre = known[i].pre;
    return out->pre ? EYE_OK : no_vocab("its pre-tokenizer", err);
}

/* ---- pieces ---- */

static bool is_mark(const char *p, size_t n) { return n == 3 && memcmp(p, "\xE2\x96\x81", 3) == 0; }

/* Blanks to U+2581, perhaps one in front: by normalizers (older files) or by Metaspace. */
static bool blanks_as_pieces(const struct eye_tokenizer *tk, bool *prefix) {
    size_t i = 0;
    *prefix = tk->n_norm > 0 && tk->norm[0].kind == EYE_NORM_PREPEND && is_mark(tk->norm[0].to, tk->norm[0].n_to);
    i += *prefix;
    bool replaced = i < tk->n_norm && tk->norm[i].kind == EYE_NORM_REPLACE && tk->norm[i].n_from == 1 &&
                    tk->norm[i].from[0] == ' ' && is_mark(tk->norm[i].to, tk->norm[i].n_to);
    i += replaced;
    if (i != tk->n_norm) return false;
    if (replaced) return tk->pretok.n == 0;
    if (tk->pretok.n != 1 || tk->pretok.stage[0].kind != EYE_PRETOK_METASPACE) return false; /* cut words would join less */
    *prefix = tk->pretok.stage[0].arg != 0;
    return true;
}

static bool joins(const struct eye_tokenizer *tk, int32_t id) { return id >= 0 && tk->token[id].model &&
                                                               !tk->token[id].special; }

/* Ways to cut a piece into two pieces. */
static size_t count_cuts(const struct eye_tokenizer *tk, const struct eye_token *t) {
    size_t n = 0, len;
    for (size_t at = 0; at < t->len; at += len) {
        eye_utf8_get((const uint8_t *)t->p + at, &len);
        n += at > 0 && joins(tk, eye_tokenizer_find(tk, t->p, at)) &&
             joins(tk, eye_tokenizer_find(tk, t->p + at, t->len - at));
    }
    return n;
}

/* SentencePiece joins two neighbours whenever they make a piece, whichever two they are, and asks for the piece's score. Merges
 * say the same only if each cut of a piece in two is one of them, and if the merges of a piece have no other piece's in
 * between. */
static enum eye_status check_merges(const struct eye_tokenizer *tk, struct eye_err *err) {
    size_t n_cuts = 0, bytes = tk->n_token * 2 * sizeof(uint32_t);
    uint32_t *low = eye_alloc_zero(tk->alloc, bytes), *high = low + tk->n_token;
    bool apart = true;
    if (!low) return eye_fail_nomem(err, bytes);
    memset(low, 0xFF, tk->n_token * sizeof *low);
    for (size_t i = 0; i < tk->bpe.cap; i++) {
        const struct eye_bpe_slot *s = &tk->bpe.slot[i];
        if (s->left < 0) continue;
        low[s->made] = EYE_MIN(low[s->made], s->rank);
        high[s->made] = EYE_MAX(high[s->made], s->rank);
    }
    for (size_t id = 0; id < tk->n_token; id++) {
        const struct eye_token *t = &tk->token[id];
        if (t->p && joins(tk, (int32_t)id) && eye_ggml_kind(tk, (int32_t)id) != EYE_GGML_BYTE) n_cuts += count_cuts(tk, t);
        if (low[id] < high[id]) apart = apart && high[id] - low[id] < t->len;
    }
    eye_alloc_free(tk->alloc, low, bytes);
    return apart && n_cuts == tk->bpe.n ? EYE_OK : no_vocab("its merges are not SentencePiece's", err);
}

static enum eye_status piece_vocab(const struct eye_tokenizer *tk, struct eye_ggml_vocab *out, struct eye_err *err) {
    if (!blanks_as_pieces(tk, &out->add_prefix)) return no_vocab("its normalizer or pre-tokenizer", err);
    if (!tk->byte_fallback || tk->unk < 0) return no_vocab("no byte fallback, or no unknown token", err);
    for (int b = 0; b < 256; b++)
        if (tk->byte_id[b] < 0) return no_vocab("byte tokens are missing", err);
    return check_merges(tk, err);
}

enum eye_status eye_ggml_vocab(const struct eye_tokenizer *tk, struct eye_ggml_vocab *out, struct eye_err *err) {
    *out = (struct eye_ggml_vocab){.pieces = tk->chars, .bos = tk->bos, .add_bos = tk->before.n == 1 && tk->before.p[0] ==
       tk->bos,
                                   .add_eos = tk->after.n == 1 && tk->after.p[0] == tk->eos};
    if (tk->before.n > out->add_bos || tk->after.n > out->add_eos) return no_vocab("what its post-processor adds", err);
    return tk->chars ? piece_vocab(tk, out, err) : byte_vocab(tk, out, err);
}

enum eye_ggml_kind eye_ggml_kind(const struct eye_tokenizer *tk, int32_t id) {
    const struct eye_token *t = id >= 0 && (size_t)id < tk->n_token ? &tk->token[id] : NULL;
    if (!t || !t->p) return EYE_GGML_UNUSED;
    if (tk->chars && id == tk->unk) return EYE_GGML_UNKNOWN;
    if (t->special) return EYE_GGML_CONTROL;
    if (t->added) return EYE_GGML_USER_DEFINED;
    for (int b = 0; tk->byte_fallback && b < 256; b++)
        if (tk->byte_id[b] == id) return EYE_GGML_BYTE;
    return EYE_GGML_NORMAL;
}

void eye_ggml_scores(const struct eye_tokenizer *tk, double *score) {
    for (size_t id = 0; id < tk->n_token; id++) score[id] = 0;
    for (size_t i = 0; i < tk->bpe.cap; i++) {
        const struct eye_bpe_slot *s = &tk->bpe.slot[i];
        double own = -1 - (double)s->rank;
        if (s->left >= 0 && (score[s->made] == 0 || own > score[s->made])) score[s->made] = own;
    }
}
