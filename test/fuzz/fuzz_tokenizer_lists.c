/* Fuzz target: the bytes are the packed lists of a compiled file, beside the rest of a small tokenizer.json. What opens encodes
 * and decodes. */
#include "fuzz/fuzz.h"
#include "text/tokenizer.h"

static const char json[] =
    "{\"added_tokens\": [], \"normalizer\": null, \"post_processor\": null, \"pre_tokenizer\": {\"type\": \"ByteLevel\", "
    "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}, \"decoder\": {\"type\": \"ByteLevel\"}, "
    "\"model\": {\"type\": \"BPE\", \"vocab\": null, \"merges\": null}}";

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const char text[] = "abc ab\xc3\xa4 bca";
    struct eye_tokenizer_src src = {.tokenizer_json = {json, sizeof json - 1}, .lists = {p, n}};
    struct eye_tokenizer *tk;
    struct eye_err err = {0};
    struct eye_ids ids = {0};
    struct eye_buf out;
    if (n == 0) return 0;
    enum eye_status st = eye_tokenizer_open(&tk, &src, NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    if (eye_tokenizer_encode(tk, text, sizeof text - 1, NULL, &ids, &err) != EYE_OK) abort();
    for (size_t i = 0; i < ids.n; i++)
        if (ids.p[i] < 0 || ids.p[i] >= eye_tokenizer_n_vocab(tk)) abort();
    eye_buf_init(&out, NULL);
    eye_tokenizer_decode(tk, ids.p, ids.n, false, &out);
    for (int32_t id = 0; id < eye_tokenizer_n_vocab(tk); id++) {
        const char *s;
        size_t len;
        if (eye_tokenizer_token(tk, id, &s, &len)) eye_fuzz_read(s, len);
    }
    eye_buf_clear(&out);
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
    return 0;
}
