/* Fuzz target: the bytes are a state dict's pickle, outside its archive. */
#include "format/pickle.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_arena arena;
    struct eye_err err = {0};
    const struct eye_pickle_tensor *t;
    size_t n_tensors;
    eye_arena_init(&arena, NULL);
    enum eye_status st = eye_pickle_read(&t, &n_tensors, p, n, "fuzz", &arena, &err);
    for (size_t i = 0; st == EYE_OK && i < n_tensors; i++) {
        eye_fuzz_read(t[i].name.p, t[i].name.len);
        eye_fuzz_read(t[i].storage.p, t[i].storage.len);
        eye_fuzz_read(t[i].dims, (size_t)t[i].rank * sizeof *t[i].dims);
    }
    eye_arena_clear(&arena);
    return st == EYE_OK ? 0 : eye_fuzz_error(st, &err);
}
