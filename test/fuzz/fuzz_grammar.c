/* Fuzz target: JSON schemas, and answers under those that compile: bytes are drawn among the allowed ones by the input's own, and
 * what comes out has to parse. Corpus: corpus/grammar. */
#include <jansson.h>

#include "fuzz.h"

#include "text/grammar.h"

#define TOKENS 400

/* Every byte is a token. */
static struct eye_vocabulary bytes(void) {
    static uint8_t byte[256];
    static int32_t id[256];
    static uint32_t at[257];
    static uint16_t shared[256];
    for (int i = 0; i < 256; i++) byte[i] = (uint8_t)i, id[i] = i, at[i] = (uint32_t)i;
    at[256] = 256;
    return (struct eye_vocabulary){.n_vocab = 256, .n = 256, .id = id, .at = at, .shared = shared, .bytes = byte, .n_bytes = 256};
}

static void answer(const struct eye_grammar_code *g, struct eye_matcher *m, const uint8_t *p, size_t n) {
    struct eye_vocabulary v = bytes();
    char text[TOKENS];
    size_t len = 0;
    eye_matcher_start(m, g, &v);
    bool enough = eye_matcher_distance(m) <= TOKENS;
    while (len < TOKENS && !eye_matcher_must_end(m)) {
        const uint32_t *mask = eye_matcher_mask(m, (uint32_t)(TOKENS - 1 - len));
        int want = p[(len * 7 + 3) % n] ^ (int)(len * 31 & 255), b = 0;
        while (b < 256 && !(mask[(want + b) % 256 / 32] >> ((want + b) % 32) & 1)) b++;
        if (b == 256) abort(); /* stuck */
        uint8_t byte = (uint8_t)(want + b);
        if (!eye_matcher_take(m, &byte, 1)) abort();
        text[len++] = (char)byte;
    }
    if (!enough) return;
    if (!eye_matcher_may_end(m)) abort();
    json_t *o = json_loadb(text, len, JSON_DECODE_ANY, NULL);
    if (!o) abort();
    json_decref(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_grammar_code g;
    struct eye_err err = {0};
    enum eye_status st = eye_grammar_compile_schema(&g, (const char *)p, n, NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    struct eye_matcher *m;
    if (eye_matcher_new(&m, 256, NULL, &err) == EYE_OK) {
        answer(&g, m, p, n);
        eye_matcher_free(m);
    }
    eye_grammar_code_clear(&g);
    return 0;
}
