/* Fuzz target: tokenizer.model, then encoding and decoding with whatever was accepted. Corpus: test/golden/text. */
#include <stdlib.h>

#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char text[] = " It's  12345\n\n\xff cafe\xcc\x81 \xe4\xb8\xad</s> <s>  dog ~\x01";
    const struct eye_encode_opts all = {.add_before = true, .add_after = true};
    const struct eye_tokenizer_src src = {.tokenizer_model = {data, size}};
    struct eye_tokenizer *tk;
    struct eye_ids ids = {0};
    struct eye_buf out;
    struct eye_err err = {0};
    if (eye_tokenizer_open(&tk, &src, NULL, &err) != EYE_OK) {
        if (!err.text[0]) abort();
        return 0;
    }
    eye_buf_init(&out, NULL);
    if (eye_tokenizer_encode(tk, text, sizeof text - 1, &all, &ids, &err) != EYE_OK) abort();
    for (size_t i = 0; i < ids.n; i++) {
        const char *p;
        size_t n;
        if (!eye_tokenizer_token(tk, ids.p[i], &p, &n)) abort();
    }
    eye_tokenizer_decode(tk, ids.p, ids.n, true, &out);
    eye_ids_clear(&ids);
    eye_buf_clear(&out);
    eye_tokenizer_close(tk);
    return 0;
}
