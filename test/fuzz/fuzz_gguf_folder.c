/* Fuzz target: the bytes are a GGUF file whose metadata becomes configuration and tokenizer files; or, if it calls itself a vision
 * tower, the configuration around a text model's. */
#include "format/gguf_folder.h"
#include "format/gguf_mmproj.h"
#include "fuzz/fuzz_gguf.h"

static enum eye_status read_file(const struct eye_gguf *g, struct eye_arena *arena, struct eye_err *err) {
    static const char text[] = "{\"model_type\": \"llama\"}";
    struct eye_str file[EYE_GGUF_N_FILES];
    if (eye_gguf_is_mmproj(g)) {
        for (size_t i = 0; i < g->table.n; i++) {
            const char *name = eye_gguf_mmproj_name(g, i, arena);
            if (!name) abort();
            eye_fuzz_read(name, strlen(name));
        }
        EYE_TRY(eye_gguf_mmproj_config(g, g, (struct eye_str){text, sizeof text - 1}, arena, &file[0], err));
        eye_fuzz_read(file[0].p, file[0].len);
        return EYE_OK;
    }
    EYE_TRY(eye_gguf_folder(g, arena, file, err));
    for (int i = 0; i < EYE_GGUF_N_FILES; i++) eye_fuzz_read(file[i].p, file[i].len);
    return EYE_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) { return eye_fuzz_gguf(p, n, read_file); }
