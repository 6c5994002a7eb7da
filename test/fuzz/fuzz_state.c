/* Fuzz target: the bytes are a cache file, with a checksum that is made right so that the rest of the reader is reached. */
#include "base/sys.h"
#include "fuzz/fuzz.h"
#include "session/batch_impl.h"
#include "session/state.h"

static int read_state(const uint8_t *p, size_t n) {
    struct eye_state s;
    struct eye_err err = {0};
    enum eye_status st = eye_state_parse(&s, p, n, "fuzz", &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    for (uint32_t i = 0; s.ids && i < s.n; i++) (void)eye_state_id(&s, i);
    for (uint32_t i = 0, w, h; s.sizes && i < s.n_images; i++) eye_state_size(&s, i, &w, &h);
    eye_fuzz_read(s.text, s.text_bytes);
    eye_fuzz_read(s.data, (size_t)s.data_bytes);
    struct eye_store store;
    if (s.kind != EYE_STATE_BATCH) return 0;
    st = eye_store_parse(&store, s.data, (size_t)s.data_bytes, s.n, "fuzz", &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    eye_fuzz_read(store.secret, sizeof(struct eye_key_secret));
    eye_fuzz_read(store.pages, store.n_pages * (36 + (size_t)store.page_bytes));
    eye_fuzz_read(store.pictures, store.pictures_bytes);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    read_state(p, n);
    if (n < 8) return 0;
    uint8_t *copy = malloc(n);
    uint64_t sum = 0;
    if (!copy) abort();
    memcpy(copy, p, n);
    for (size_t at = 0; at < n - 8; at += 4096) sum = eye_hash64(copy + at, EYE_MIN(4096, n - 8 - at), sum);
    for (int i = 0; i < 8; i++) copy[n - 8 + (size_t)i] = (uint8_t)(sum >> (8 * i));
    read_state(copy, n);
    free(copy);
    return 0;
}
