/* Fuzz target: the bytes are a GGUF file whose metadata becomes configuration and tokenizer files. */
#include "format/gguf_folder.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_gguf g;
    struct eye_arena arena;
    struct eye_err err = {0};
    struct eye_str file[EYE_GGUF_N_FILES];
    enum eye_status st = eye_gguf_open_bytes(&g, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    eye_arena_init(&arena, NULL);
    st = eye_gguf_folder(&g, &arena, file, &err);
    for (int i = 0; st == EYE_OK && i < EYE_GGUF_N_FILES; i++) eye_fuzz_read(file[i].p, file[i].len);
    eye_arena_clear(&arena);
    eye_gguf_close(&g);
    return st == EYE_OK ? 0 : eye_fuzz_error(st, &err);
}
