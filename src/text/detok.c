/* text/detok: token ids to text. Byte-level tokens may end inside a character, so bytes are collected until one is whole; byte
 * fallback judges a run of byte tokens as a whole, so the run is. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

void eye_detok_init(struct eye_detok *d, const struct eye_tokenizer *tk, bool skip_special) {
    *d = (struct eye_detok){.tk = tk, .skip_special = skip_special, .strip_left = tk->decoder.strip};
}

/* Takes one byte in; writes out what is settled by it. */
static void push_byte(struct eye_detok *d, uint8_t byte, struct eye_buf *out) {
    d->held[d->n_held++] = byte;
    while (d->n_held) {
        size_t len;
        enum eye_utf8_state state = eye_utf8_next(d->held, d->n_held, &len);
        if (state == EYE_UTF8_PARTIAL) return; /* at most 3 bytes: there is room for one more */
        if (state == EYE_UTF8_OK)
            eye_buf_add(out, d->held, len);
        else
            eye_buf_add(out, "\xEF\xBF\xBD", 3);
        memmove(d->held, d->held + len, d->n_held - len);
        d->n_held -= len;
    }
}

static void push_byte_level(struct eye_detok *d, const uint8_t *p, size_t n, struct eye_buf *out) {
    size_t len;
    bool mapped = true; /* a token with any character outside the byte alphabet stands for itself, added tokens too */
    for (size_t i = 0; i < n && mapped; i += len) mapped = eye_char_to_byte(eye_utf8_get(p + i, &len)) >= 0;
    for (size_t i = 0; i < n; i += len) {
        len = 1;
        push_byte(d, mapped ? (uint8_t)eye_char_to_byte(eye_utf8_get(p + i, &len)) : p[i], out);
    }
}

/* Text that is settled. */
static void give(struct eye_detok *d, const void *text, size_t n, struct eye_buf *out) {
    const uint8_t *p = text;
    for (; n > 0 && d->strip_left > 0 && *p == ' '; p++, n--) d->strip_left--;
    if (n == 0) return;
    d->strip_left = 0;
    eye_buf_add(out, p, n);
}

/* The byte tokens that are held, `last`: no more of them follow. */
static void give_run(struct eye_detok *d, bool last, struct eye_buf *out) {
    size_t valid = eye_utf8_valid(d->held, d->n_held), len;
    bool cut = !last && valid > 0 && eye_utf8_next(d->held + valid, d->n_held - valid, &len) == EYE_UTF8_PARTIAL;
    if (valid == d->n_held || cut) {
        give(d, d->held, valid, out);
        memmove(d->held, d->held + valid, d->n_held - valid);
        d->n_held -= valid;
        return;
    }
    for (size_t i = 0; i < d->n_held; i++) give(d, "\xEF\xBF\xBD", 3, out);
    d->n_held = 0;
}

/* The same for decoders that judge each character of the run by itself. */
static void give_bytes(struct eye_detok *d, bool last, struct eye_buf *out) {
    size_t at = 0, len;
    while (at < d->n_held) {
        enum eye_utf8_state state = eye_utf8_next(d->held + at, d->n_held - at, &len);
        if (state == EYE_UTF8_PARTIAL && !last) break;
        d->strip_left = 0;
        if (state != EYE_UTF8_OK) len = 1;
        eye_buf_add(out, state == EYE_UTF8_OK ? (const char *)d->held + at : "\xEF\xBF\xBD", state == EYE_UTF8_OK ? len : 3);
        at += len;
    }
    memmove(d->held, d->held + at, d->n_held - at);
    d->n_held -= at;
}

static void settle(struct eye_detok *d, bool last, struct eye_buf *out) {
    if (d->tk->decoder.bytes_apart)
        give_bytes(d, last, out);
    else
        give_run(d, last, out);
}

static int hex_digit(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte that <0xNN> writes, -1 = it is no such token. */
static int byte_of(const uint8_t *p, size_t n) {
    if (n != 6 || memcmp(p, "<0x", 3) != 0 || p[5] != '>') return -1;
    int high = p[3] == '+' ? 0 : hex_digit(p[3]), low = hex_digit(p[4]); /* the library's parser takes a sign */
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* The bytes of the byte alphabet; a token with any character outside it stands for itself. */
static void add_byte_level(const uint8_t *p, size_t n, struct eye_buf *out) {
    size_t len, before = out->len;
    for (size_t i = 0; i < n; i += len) {
        int byte = eye_char_to_byte(eye_utf8_get(p + i, &len));
        uint8_t b = (uint8_t)byte;
        if (byte < 0) {
            out->len = before;
            eye_buf_add(out, p, n);
            return;
        }
        eye_buf_add(out, &b, 1);
    }
}

bool eye_tokenizer_bytes(const struct eye_tokenizer *tk, int32_t id, struct eye_buf *out) {
    const struct eye_decoder *dec = &tk->decoder;
    const char *text;
    const uint8_t *meta;
    size_t n;
    if (!eye_tokenizer_token(tk, id, &text, &n) || tk->token[id].special) return false;
    const uint8_t *p = (const uint8_t *)text, *end = p + n;
    if (dec->byte_level) {
        add_byte_level(p, n, out);
        return true;
    }
    if (id == tk->unk) return false;
    int byte = dec->byte_runs ? byte_of(p, n) : -1;
    if (byte >= 0) {
        uint8_t b = (uint8_t)byte;
        eye_buf_add(out, &b, 1);
        return true;
    }
    for (; dec->blanks && p < end && (meta = memmem(p, (size_t)(end - p), "\xE2\x96\x81", 3)); p = meta + 3) {
        eye_buf_add(out, p, (size_t)(meta - p));
        eye_buf_add(out, " ", 1);
    }
    eye_buf_add(out, p, (size_t)(end - p));
    return true;
}

static void push_chars(struct eye_detok *d, int32_t id, const uint8_t *p, size_t n, struct eye_buf *out) {
    const struct eye_decoder *dec = &d->tk->decoder;
    const uint8_t *end = p + n, *meta;
    bool bare = dec->first_bare && !d->started;
    int byte = dec->byte_runs ? byte_of(p, n) : -1;
    d->started = true;
    if (byte >= 0) {
        if (d->n_held == sizeof d->held) settle(d, false, out);
        d->held[d->n_held++] = (uint8_t)byte;
        if (dec->bytes_apart) settle(d, false, out);
        return;
    }
    if (d->n_held) settle(d, true, out);
    if (dec->unk && id == d->tk->unk) {
        d->strip_left = 0;
        eye_buf_add(out, dec->unk, dec->n_unk);
        return;
    }
    for (; dec->blanks && p < end && (meta = memmem(p, (size_t)(end - p), "\xE2\x96\x81", 3)); p = meta + 3) {
        give(d, p, (size_t)(meta - p), out);
        if (!bare) give(d, " ", 1, out);
    }
    give(d, p, (size_t)(end - p), out);
}

void eye_detok_push(struct eye_detok *d, int32_t id, struct eye_buf *out) {
    const char *text;
    size_t n;
    if (!eye_tokenizer_token(d->tk, id, &text, &n)) return;
    if (d->skip_special && d->tk->token[id].special) {
        if (d->tk->decoder.bytes_apart && d->n_held) settle(d, true, out); /* unseen, but it ends a run all the same */
        return;
    }
    if (d->tk->decoder.byte_level)
        push_byte_level(d, (const uint8_t *)text, n, out);
    else
        push_chars(d, id, (const uint8_t *)text, n, out);
}

void eye_detok_flush(struct eye_detok *d, struct eye_buf *out) {
    if (d->n_held && d->tk->decoder.byte_level)
        eye_buf_add(out, "\xEF\xBF\xBD", 3); /* what is held is one cut-off character */
    else if (d->n_held)
        settle(d, true, out);
    eye_detok_init(d, d->tk, d->skip_special);
}

void eye_tokenizer_decode(const struct eye_tokenizer *tk, const int32_t *ids, size_t n, bool skip_special,
                          struct eye_buf *out) {
    struct eye_detok d;
    eye_detok_init(&d, tk, skip_special);
    for (size_t i = 0; i < n; i++) eye_detok_push(&d, ids[i], out);
    eye_detok_flush(&d, out);
}

const char *eye_tokenizer_text(const struct eye_tokenizer *tk, const struct eye_alloc *alloc, const int32_t *ids, size_t n,
                               struct eye_arena *arena) {
    struct eye_buf b;
    eye_buf_init(&b, alloc);
    eye_tokenizer_decode(tk, ids, n, true, &b);
    size_t first = 0, end = b.failed ? 0 : b.len;
    while (first < end && (unsigned char)b.p[first] <= ' ') first++;
    while (end > first && (unsigned char)b.p[end - 1] <= ' ') end--;
    const char *text = b.failed ? NULL : eye_arena_strdup(arena, b.p ? b.p + first : "", end - first);
    eye_buf_clear(&b);
    return text;
}
