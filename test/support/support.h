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

#endif
