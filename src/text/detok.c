/* text/detok: token ids to text. Byte-level tokens may end inside a character, so bytes are collected until one is whole. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

void eye_detok_init(struct eye_detok *d, const struct eye_tokenizer *tk, bool skip_special) {
    *d = (struct eye_detok){.tk = tk, .skip_special = skip_special};
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

void eye_detok_push(struct eye_detok *d, int32_t id, struct eye_buf *out) {
    const char *text;
    size_t n, len;
    if (!eye_tokenizer_token(d->tk, id, &text, &n)) return;
    if (d->skip_special && d->tk->token[id].special) return;
    const uint8_t *p = (const uint8_t *)text;
    bool mapped = true; /* a token with any character outside the byte alphabet stands for itself, added tokens too */
    for (size_t i = 0; i < n && mapped; i += len) mapped = eye_char_to_byte(eye_utf8_get(p + i, &len)) >= 0;
    for (size_t i = 0; i < n; i += len) {
        len = 1;
        push_byte(d, mapped ? (uint8_t)eye_char_to_byte(eye_utf8_get(p + i, &len)) : p[i], out);
    }
}

void eye_detok_flush(struct eye_detok *d, struct eye_buf *out) {
    if (d->n_held) eye_buf_add(out, "\xEF\xBF\xBD", 3); /* what is held is one cut-off character */
    d->n_held = 0;
}

void eye_tokenizer_decode(const struct eye_tokenizer *tk, const int32_t *ids, size_t n, bool skip_special,
                          struct eye_buf *out) {
    struct eye_detok d;
    eye_detok_init(&d, tk, skip_special);
    for (size_t i = 0; i < n; i++) eye_detok_push(&d, ids[i], out);
    eye_detok_flush(&d, out);
}
