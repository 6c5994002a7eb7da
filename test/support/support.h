/* test/support: what several test programs need: allocators that fail on command, scratch folders, files. */
#ifndef EYE_TEST_SUPPORT_H
#define EYE_TEST_SUPPORT_H

#include "base/base.h"

/* Countdown allocator: the first n_ok requests succeed, all later ones fail; n_ok < 0 = never. Counts what is alive and
 * aborts the program when a block is freed with another size than it was asked for with. Any thread. */
struct eye_faulty {
    struct eye_alloc alloc; /* hand out &f.alloc */
    _Atomic long n_ok;
    _Atomic long n_live;
    _Atomic bool failed; /* a request was refused */
};
void eye_faulty_init(struct eye_faulty *f, long n_ok);

/* The same countdown for the process allocator (test programs are linked with --wrap=aligned_alloc). -1 switches it off. */
void eye_faulty_process(long n_ok);
bool eye_faulty_process_failed(void);

/* A new empty folder for this process, removed with all in it by eye_scratch_remove(). Returns a static string. */
const char *eye_scratch_dir(void);
void eye_scratch_remove(void);
/* "DIR/name" in one of 8 rotating static buffers. */
const char *eye_scratch_path(const char *name);
/* Writes a file; returns its path. Aborts on failure. */
const char *eye_scratch_write(const char *name, const void *p, size_t n);

/* ---- hostile bytes ---- */
void eye_build_le(struct eye_buf *b, uint64_t v, size_t n_bytes); /* little-endian number */
/* Length word, header text, data. */
void eye_build_safetensors(struct eye_buf *b, const char *json, const void *data, size_t n);

/* True when st is want and err's text holds says; prints what was there otherwise. */
bool eye_error_is(const char *name, enum eye_status st, enum eye_status want, const struct eye_err *err, const char *says);

/* A reader under test: opens p [n] (exactly sized, so that ASan sees one byte too far), reads what it can, closes. */
typedef enum eye_status eye_open_fn(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err);
/* Every shorter length of p [n] must be refused with a text; returns false and prints the length otherwise. */
bool eye_refuses_truncations(eye_open_fn *open, const void *p, size_t n);
/* n_rounds of 1 to 4 random changes (bit flips, bytes, 8-byte extremes): any status, no crash, a text with each error. */
bool eye_survives_mutations(eye_open_fn *open, const void *p, size_t n, uint64_t seed, int n_rounds);
/* First only 0, then 1, 2, … allocations succeed, of f's and of the process': NOMEM until it works, nothing left alive. */
bool eye_survives_faults(eye_open_fn *open, const void *p, size_t n);

#endif
