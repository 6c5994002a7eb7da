/* Fuzz target: the bytes are an .npy file. Every byte of the array is read. */
#include "format/npy.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_npy a;
    struct eye_err err = {0};
    size_t bytes;
    enum eye_status st = eye_npy_open_bytes(&a, p, n, "fuzz", &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    if (eye_tensor_bytes(&a.t, &bytes)) eye_fuzz_read(a.t.data, bytes);
    eye_npy_close(&a);
    return 0;
}
