/* Fuzz target: any bytes as a text, through each pre-tokenizer, with and without NFC, special tokens and literal ranges. The
 * first byte chooses. Checked: the stream equals the whole, and without NFC a text comes back as it was. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer.h"
#include "text/unicode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BYTE_LEVEL(prefix, regex) "{\"type\":\"ByteLevel\",\"add_prefix_space\":" prefix ",\"use_regex\":" regex "}"
#define SPLIT(digits) "{\"type\":\"Split\",\"behavior\":\"Isolated\",\"invert\":false,\"pattern\":{\"Regex\":\"" \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*" \
    "|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}}"
#define CHAIN(first) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," BYTE_LEVEL("false", "false") "]}"

static const char *const pre_tokenizers[4] = {BYTE_LEVEL("false", "true"), CHAIN(SPLIT("")),
    CHAIN("{\"type\":\"Digits\",\"individual_digits\":true}," SPLIT("{1,3}")), BYTE_LEVEL("true", "true")};

/* The byte alphabet, a few merges of each kind of symbol, two special tokens. */
static struct eye_tokenizer *make(const char *pre, bool nfc) {
    static const char *const merges[] = {"a a", "aa aa", "\u0120 \u0120", "\u0120\u0120 \u0120\u0120", "t h", "th e",
                                         "\u0120 the", "\u00cc \u0123", "\u00c3 \u00a9", "\u010a \u010a", "! !", "1 1"};
    struct eye_buf b;
    struct eye_tokenizer *tk;
    struct eye_err err;
    int id = 0;
    eye_buf_init(&b, NULL);
    eye_buf_printf(&b, "{\"normalizer\":%s,\"pre_tokenizer\":%s,\"decoder\":", nfc ? "{\"type\":\"NFC\"}" : "null", pre);
    eye_buf_adds(&b, BYTE_LEVEL("true", "true") ",\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t cp = 0; cp < 0x144; cp++) {
        uint8_t utf8[4];
        if (cp < 33 || (cp >= 127 && cp <= 160) || cp == 173) continue;
        eye_buf_adds(&b, id ? ",\"" : "\"");
        if (cp == '"' || cp == '\\') eye_buf_adds(&b, "\\");
        eye_buf_add(&b, utf8, eye_utf8_put(cp, utf8));
        eye_buf_printf(&b, "\":%d", id++);
    }
    for (size_t i = 0; i < EYE_COUNT(merges); i++) {
        size_t left = strcspn(merges[i], " ");
        eye_buf_printf(&b, ",\"%.*s%s\":%d", (int)left, merges[i], merges[i] + left + 1, id++);
    }
    eye_buf_adds(&b, "},\"merges\":[");
    for (size_t i = 0; i < EYE_COUNT(merges); i++) eye_buf_printf(&b, "%s\"%s\"", i ? "," : "", merges[i]);
    eye_buf_adds(&b, "]},\"added_tokens\":[");
    for (int i = 0; i < 2; i++)
        eye_buf_printf(&b, "%s{\"id\":%d,\"content\":\"<%s>\",\"normalized\":%s,\"special\":true,\"single_word\":false,"
                       "\"lstrip\":false,\"rstrip\":false}", i ? "," : "", id + i, i ? "n" : "s", i ? "true" : "false");
    eye_buf_adds(&b, "]}");
    const struct eye_tokenizer_src src = {.tokenizer_json = {b.p, b.len}};
    if (eye_tokenizer_open(&tk, &src, NULL, &err) != EYE_OK) abort();
    eye_buf_clear(&b);
    return tk;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct eye_tokenizer *made[8]; /* kept for the next input: a fuzzer's process ends without a word */
    if (size < 1) return 0;
    uint8_t mode = data[0];
    bool nfc = mode & 4;
    struct eye_tokenizer **tk = &made[mode & 7];
    if (!*tk) *tk = make(pre_tokenizers[mode & 3], nfc);
    const char *text = (const char *)data + 1;
    size_t n = size - 1;
    const struct eye_text_range half = {0, n / 2};
    const struct eye_encode_opts opts = {.no_special = mode & 8, .literal = &half, .n_literal = mode >> 4 & 1};
    bool valid = eye_utf8_valid(data + 1, n) == n;
    struct eye_ids ids = {0};
    struct eye_buf whole, stream, want;
    struct eye_detok d;
    struct eye_err err;
    eye_buf_init(&whole, NULL);
    eye_buf_init(&stream, NULL);
    eye_buf_init(&want, NULL);
    enum eye_status st = eye_tokenizer_encode(*tk, text, n, &opts, &ids, &err);
    if (st != (opts.n_literal && !valid ? EYE_E_ARG : EYE_OK)) abort();
    eye_tokenizer_decode(*tk, ids.p, ids.n, false, &whole);
    eye_detok_init(&d, *tk, false);
    for (size_t i = 0; i < ids.n; i++) {
        eye_detok_push(&d, ids.p[i], &stream);
        if (stream.len && eye_utf8_valid((const uint8_t *)stream.p, stream.len) != stream.len) abort();
    }
    eye_detok_flush(&d, &stream);
    if (stream.len != whole.len || (whole.len && memcmp(stream.p, whole.p, whole.len) != 0)) abort();
    if (st == EYE_OK && !nfc && (mode & 3) != 3) {
        eye_utf8_lossy(data + 1, n, &want);
        if (want.len != whole.len || (want.len && memcmp(want.p, whole.p, want.len) != 0)) abort();
    }
    eye_ids_clear(&ids);
    eye_buf_clear(&whole);
    eye_buf_clear(&stream);
    eye_buf_clear(&want);
    return 0;
}
