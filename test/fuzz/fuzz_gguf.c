/* Fuzz target: the bytes are a GGUF file. Every value and every byte of every view is read. */
#include "format/gguf.h"
#include "fuzz/fuzz.h"

static void read_kv(const struct eye_gguf *g, const struct eye_gguf_kv *kv) {
    int64_t i;
    double d;
    bool b;
    struct eye_str s;
    for (size_t k = 0; k < kv->n; k++) {
        if (kv->string) {
            eye_fuzz_read(kv->string[k].p, kv->string[k].len);
        } else {
            d = eye_gguf_item_double(kv, k);
            i = eye_gguf_item_int(kv, k);
            eye_fuzz_read(&d, sizeof d);
            eye_fuzz_read(&i, sizeof i);
        }
    }
    if (eye_gguf_int(g, kv->key, 0, &i, NULL) == EYE_OK) eye_fuzz_read(&i, sizeof i);
    if (eye_gguf_double(g, kv->key, 0, &d, NULL) == EYE_OK) eye_fuzz_read(&d, sizeof d);
    if (eye_gguf_bool(g, kv->key, false, &b, NULL) == EYE_OK) eye_fuzz_read(&b, sizeof b);
    if (eye_gguf_str(g, kv->key, &s, NULL) == EYE_OK) eye_fuzz_read(s.p, s.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_gguf g;
    struct eye_err err = {0};
    enum eye_status st = eye_gguf_open_bytes(&g, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    for (size_t i = 0; i < g.n_kv; i++) read_kv(&g, &g.kv[i]);
    for (size_t i = 0; i < g.table.n; i++) eye_fuzz_read(g.table.entry[i].t.data, g.table.entry[i].bytes);
    eye_gguf_close(&g);
    return 0;
}
