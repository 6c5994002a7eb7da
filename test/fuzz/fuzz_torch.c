/* Fuzz target: the bytes are a file of torch.save. Every byte of every view is read. */
#include "format/torch_zip.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_safetensors s;
    struct eye_err err = {0};
    enum eye_status st = eye_torch_open_bytes(&s, p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    for (size_t i = 0; i < s.table.n; i++) eye_fuzz_read(s.table.entry[i].t.data, s.table.entry[i].bytes);
    eye_safetensors_close(&s);
    return 0;
}
