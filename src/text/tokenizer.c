/* text/tokenizer: encoding. See tokenizer.h for the way of a text and tokenizer_load.c for where the tables come from. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

int32_t eye_tokenizer_n_vocab(const struct eye_tokenizer *tk) { return (int32_t)tk->n_token; }
int32_t eye_tokenizer_bos(const struct eye_tokenizer *tk) { return tk->bos; }
int32_t eye_tokenizer_eos(const struct eye_tokenizer *tk) { return tk->eos; }
int32_t eye_tokenizer_pad(const struct eye_tokenizer *tk) { return tk->pad; }

bool eye_tokenizer_token(const struct eye_tokenizer *tk, int32_t id, const char **p, size_t *n) {
    if (id < 0 || (size_t)id >= tk->n_token || !tk->token[id].p) return false;
    *p = tk->token[id].p;
    *n = tk->token[id].len;
    return true;
}

int32_t eye_tokenizer_id(const struct eye_tokenizer *tk, const char *token, size_t n) {
    return eye_tokenizer_find(tk, token, n);
}

bool eye_tokenizer_is_special(const struct eye_tokenizer *tk, int32_t id) {
    return id >= 0 && (size_t)id < tk->n_token && tk->token[id].special;
}

/* Everything one call of encode works with. */
struct encoder {
    const struct eye_tokenizer *tk;
    const struct eye_encode_opts *opts;
    struct eye_ids *ids;
    struct eye_bpe_scratch scratch;
    struct eye_pretok_iter words;
    struct eye_buf text;   /* repaired text */
    struct eye_buf norm[2]; /* the normalised piece */
    struct eye_buf mapped; /* a word in the byte alphabet */
};

/* The model's token with this text, or -1. Words are never made into added tokens, even where those have gone unseen. */
static int32_t model_token(const struct eye_tokenizer *tk, const void *p, size_t n) {
    int32_t id = eye_tokenizer_find(tk, p, n);
    return id >= 0 && tk->token[id].model ? id : -1;
}

/* The token that is the whole word, or -1. */
static int32_t whole_word(struct encoder *e, const uint8_t *p, size_t n) {
    uint8_t utf8[4];
    if (n > e->tk->max_token_bytes) return -1;
    if (e->tk->chars) return model_token(e->tk, p, n);
    e->mapped.len = 0;
    for (size_t i = 0; i < n; i++) eye_buf_add(&e->mapped, utf8, eye_utf8_put(eye_byte_to_char(p[i]), utf8));
    return model_token(e->tk, e->mapped.p, e->mapped.len);
}

/* Bytes of a word as symbols; returns how many. */
static size_t byte_symbols(const struct eye_tokenizer *tk, const uint8_t *p, size_t n, int32_t *sym) {
    size_t n_sym = 0;
    bool unknown = false; /* an unknown byte waits to be written, or to be fused with the next */
    for (size_t i = 0; i < n; i++) {
        int32_t id = tk->byte_id[p[i]];
        if (id < 0) {
            if (tk->unk < 0) continue;
            if (unknown && !tk->fuse_unk) sym[n_sym++] = tk->unk;
            unknown = true;
            continue;
        }
        if (unknown) sym[n_sym++] = tk->unk;
        unknown = false;
        sym[n_sym++] = id;
    }
    if (unknown) sym[n_sym++] = tk->unk;
    return n_sym;
}

/* Characters of a word as symbols, never more than bytes. As in the library, bytes that stand in for a character do not end
 * the wait of an unknown one before them. */
static size_t char_symbols(const struct eye_tokenizer *tk, const uint8_t *p, size_t n, int32_t *sym) {
    size_t n_sym = 0, len;
    bool unknown = false;
    for (size_t i = 0; i < n; i += len) {
        eye_utf8_get(p + i, &len);
        int32_t id = model_token(tk, p + i, len);
        bool bytes = id < 0 && tk->byte_fallback;
        for (size_t k = 0; bytes && k < len; k++) bytes = tk->byte_id[p[i + k]] >= 0;
        if (bytes) {
            for (size_t k = 0; k < len; k++) sym[n_sym++] = tk->byte_id[p[i + k]];
        } else if (id >= 0) {
            if (unknown) sym[n_sym++] = tk->unk;
            unknown = false;
            sym[n_sym++] = id;
        } else if (tk->unk >= 0) {
            if (unknown && !tk->fuse_unk) sym[n_sym++] = tk->unk;
            unknown = true;
        }
    }
    if (unknown) sym[n_sym++] = tk->unk;
    return n_sym;
}

/* One word: it becomes symbols at the end of ids, which are merged there. */
static enum eye_status encode_word(struct encoder *e, const uint8_t *p, size_t n, struct eye_err *err) {
    const struct eye_tokenizer *tk = e->tk;
    if (tk->ignore_merges) {
        int32_t id = whole_word(e, p, n);
        if (e->mapped.failed) return eye_fail_nomem(err, n);
        if (id >= 0) return eye_ids_add(e->ids, id, err);
    }
    EYE_TRY(eye_ids_reserve(e->ids, n, err));
    int32_t *sym = e->ids->p + e->ids->n;
    size_t n_sym = tk->chars ? char_symbols(tk, p, n, sym) : byte_symbols(tk, p, n, sym);
    EYE_TRY(eye_bpe_merge(&tk->bpe, sym, &n_sym, &e->scratch, err));
    e->ids->n += n_sym;
    return EYE_OK;
}

static enum eye_status encode_words(struct encoder *e, const uint8_t *p, size_t n, bool first, struct eye_err *err) {
    const uint8_t *word;
    size_t len;
    eye_pretok_start(&e->words, p, n, first);
    while (eye_pretok_next(&e->words, &word, &len)) EYE_TRY(encode_word(e, word, len, err));
    return e->words.changed.failed ? eye_fail_nomem(err, n) : EYE_OK;
}

static void replace(const struct eye_norm *step, const uint8_t *p, size_t n, struct eye_buf *out) {
    const uint8_t *end = p + n, *hit;
    for (; p < end && (hit = memmem(p, (size_t)(end - p), step->from, step->n_from)); p = hit + step->n_from) {
        eye_buf_add(out, p, (size_t)(hit - p));
        eye_buf_add(out, step->to, step->n_to);
    }
    eye_buf_add(out, p, (size_t)(end - p));
}

enum eye_status eye_tokenizer_normalize(const struct eye_tokenizer *tk, struct eye_buf buf[2], const uint8_t *p, size_t n,
                                        const uint8_t **out, size_t *n_out, struct eye_err *err) {
    for (size_t i = 0, k = 0; i < tk->n_norm && n > 0; i++) {
        const struct eye_norm *step = &tk->norm[i];
        struct eye_buf *b = &buf[k];
        bool same = false;
        b->len = 0;
        if (step->kind == EYE_NORM_NFC) {
            EYE_TRY(eye_nfc(p, n, b, &same, err));
        } else if (step->kind == EYE_NORM_LOWER) {
            eye_lower(p, n, b);
        } else if (step->kind == EYE_NORM_REPLACE) {
            replace(step, p, n, b);
        } else {
            eye_buf_add(b, step->to, step->n_to);
            eye_buf_add(b, p, n);
        }
        if (b->failed) return eye_fail_nomem(err, n);
        if (same) continue;
        p = (const uint8_t *)b->p;
        n = b->len;
        k = 1 - k;
    }
    *out = p;
    *n_out = n;
    return EYE_OK;
}

/* A piece between added tokens of the raw kind. first: it begins the text; touched: a literal range lies in it. */
static enum eye_status encode_piece(struct encoder *e, const uint8_t *p, size_t n, bool first, bool touched,
                                    struct eye_err *err) {
    if (n == 0) return EYE_OK;
    EYE_TRY(eye_tokenizer_normalize(e->tk, e->norm, p, n, &p, &n, err));
    struct eye_added_find find = {.set = &e->tk->normalized, .p = p, .n = n, .no_special = e->opts->no_special || touched};
    const struct eye_added *hit;
    size_t from, to;
    while (eye_added_next(&find, &from, &to, &hit)) {
        EYE_TRY(encode_words(e, p + from, to - from, first && from == 0, err));
        if (hit) EYE_TRY(eye_ids_add(e->ids, hit->id, err));
    }
    return EYE_OK;
}

static bool touches(const struct eye_encode_opts *o, size_t from, size_t to, size_t *i_range) {
    while (*i_range < o->n_literal && o->literal[*i_range].to <= from) ++*i_range;
    return *i_range < o->n_literal && o->literal[*i_range].from < to;
}

static enum eye_status encode_text(struct encoder *e, const uint8_t *p, size_t n, struct eye_err *err) {
    const struct eye_encode_opts *o = e->opts;
    struct eye_added_find find = {.set = &e->tk->raw, .p = p, .n = n, .no_special = o->no_special, .literal = o->literal,
                                  .n_literal = o->n_literal};
    const struct eye_added *hit;
    size_t from, to, i_range = 0;
    while (eye_added_next(&find, &from, &to, &hit)) {
        bool first = from == 0 && !o->continued;
        EYE_TRY(encode_piece(e, p + from, to - from, first, touches(o, from, to, &i_range), err));
        if (hit) EYE_TRY(eye_ids_add(e->ids, hit->id, err));
    }
    return EYE_OK;
}

/* Repairs invalid UTF-8 and checks the literal ranges. */
static enum eye_status check_text(struct encoder *e, const uint8_t **p, size_t *n, struct eye_err *err) {
    const struct eye_encode_opts *o = e->opts;
    if (*n > EYE_TOKENIZER_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "a text of %zu bytes: at most %zu", *n, EYE_TOKENIZER_MAX_BYTES);
    size_t valid = eye_utf8_valid(*p, *n);
    for (size_t i = 0, end = 0; i < o->n_literal; i++) {
        if (o->literal[i].from < end || o->literal[i].to < o->literal[i].from || o->literal[i].to > *n)
            return eye_fail(err, EYE_E_ARG, "literal range %zu (%zu to %zu) is out of order or outside a text of %zu bytes", i,
                            o->literal[i].from, o->literal[i].to, *n);
        end = o->literal[i].to;
    }
    if (valid == *n) return EYE_OK;
    if (o->n_literal) return eye_fail(err, EYE_E_ARG, "a text with literal ranges must be UTF-8, byte %zu is not", valid);
    eye_utf8_lossy(*p, *n, &e->text);
    if (e->text.failed) return eye_fail_nomem(err, *n);
    *p = (const uint8_t *)e->text.p;
    *n = e->text.len;
    return EYE_OK;
}

enum eye_status eye_tokenizer_encode(const struct eye_tokenizer *tk, const char *text, size_t n,
                                     const struct eye_encode_opts *opts, struct eye_ids *ids, struct eye_err *err) {
    static const struct eye_encode_opts plain;
    struct encoder e = {.tk = tk, .opts = opts ? opts : &plain, .ids = ids, .scratch = {.alloc = ids->alloc}};
    const uint8_t *p = (const uint8_t *)text;
    enum eye_status st;
    eye_buf_init(&e.text, ids->alloc);
    eye_buf_init(&e.norm[0], ids->alloc);
    eye_buf_init(&e.norm[1], ids->alloc);
    eye_buf_init(&e.mapped, ids->alloc);
    eye_pretok_init(&e.words, &tk->pretok, ids->alloc);
    EYE_TRY_GOTO(check_text(&e, &p, &n, err));
    if (e.opts->add_before)
        for (size_t i = 0; i < tk->before.n; i++) EYE_TRY_GOTO(eye_ids_add(ids, tk->before.p[i], err));
    EYE_TRY_GOTO(encode_text(&e, p, n, err));
    if (e.opts->add_after)
        for (size_t i = 0; i < tk->after.n; i++) EYE_TRY_GOTO(eye_ids_add(ids, tk->after.p[i], err));
fail:
    eye_pretok_clear(&e.words);
    eye_buf_clear(&e.mapped);
    eye_buf_clear(&e.norm[1]);
    eye_buf_clear(&e.norm[0]);
    eye_buf_clear(&e.text);
    eye_bpe_scratch_clear(&e.scratch);
    return st;
}
