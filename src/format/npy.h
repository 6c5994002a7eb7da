/* format/npy: NumPy's .npy files: what `probe -o` writes and tests read. C order only.
 * Layout: "\x93NUMPY", version bytes 1 0 (2 0, 3 0), u16 (u32) header length, header: a Python dict literal
 * "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }" padded with blanks and a newline to a multiple of 64; data. */
#ifndef EYE_FORMAT_NPY_H
#define EYE_FORMAT_NPY_H

#include "base/sys.h"
#include "tensor/tensor.h"

struct eye_npy {
    struct eye_map map;
    struct eye_tensor t; /* view into the file, or of copy */
    void *copy;          /* when the data is misaligned; owned */
    size_t copy_bytes;
};

/* f2 f4 f8 i1 u1 i2 i4 i8 b1. CORRUPT; UNSUPPORTED: other types, big-endian, Fortran order, rank above EYE_MAX_RANK. */
EYE_MUST_CHECK enum eye_status eye_npy_open(struct eye_npy *a, const char *path, struct eye_err *err);
/* The same over bytes in memory, borrowed until close. */
EYE_MUST_CHECK enum eye_status eye_npy_open_bytes(struct eye_npy *a, const void *p, size_t n, const char *where,
                                                  struct eye_err *err);
void eye_npy_close(struct eye_npy *a);
/* Any plain dtype but bf16 (NumPy has none: UNSUPPORTED, as are blocks). Atomic. */
EYE_MUST_CHECK enum eye_status eye_npy_write(const char *path, const struct eye_tensor *t, struct eye_err *err);

#endif
