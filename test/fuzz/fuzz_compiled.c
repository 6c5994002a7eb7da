/* Fuzz target: the bytes are a compiled file. Its lists are read, its panels are found by name and read, its sums compared. */
#include "format/compiled.h"
#include "fuzz/fuzz_gguf.h"

static enum eye_status read_file(const struct eye_gguf *g, struct eye_arena *arena, struct eye_err *err) {
    struct eye_compiled c;
    EYE_TRY(eye_compiled_read(&c, g, arena, err));
    eye_fuzz_read(c.cpu.p, c.cpu.len);
    for (size_t i = 0; i < c.n_absent; i++) {
        const struct eye_entry *e = &c.absent[i];
        size_t bytes;
        if (e->t.data || e->t.rank < 1 || !eye_tensor_bytes(&e->t, &bytes) || bytes != e->bytes) abort();
        for (size_t k = 0; k < c.n_forms; k++) {
            const void *p = eye_compiled_find(g, c.form[k].name, e->name, &bytes);
            if (p) eye_fuzz_read(p, bytes);
        }
    }
    for (size_t k = 0; k < c.n_forms; k++) eye_fuzz_read(c.form[k].kernel.p, c.form[k].kernel.len);
    return eye_compiled_check(g, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) { return eye_fuzz_gguf(p, n, read_file); }
