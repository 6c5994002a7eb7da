/* Store: numbers that are dear to compute and follow from what the run reads anyway, in one file that is mapped: what a frozen
 * tower says of each picture (features.h), what a teacher says (answers.c). Knows nothing of what is in it.
 *
 * File, little-endian:
 *   offset    size  meaning
 *   0         8     what it is: "EYEFEATS", …
 *   8         8     key: hash of everything that decides the contents
 *   16        4080  zeros
 *   4096      n     contents
 *   4096 + n  8     n
 *   then      8     XXH64 of the first 16 bytes and of the contents in blocks of 64 KiB, each hash the next one's seed
 * It appears whole or not at all. One that is damaged, or was made from other things, is made anew. */
#ifndef EYE_TRAIN_STORE_H
#define EYE_TRAIN_STORE_H

#include "base/sys.h"

enum { EYE_STORE_BLOCK = 1 << 16 };

struct eye_store { /* read-only */
    struct eye_map map;
    const uint8_t *p; /* contents, a multiple of 64 bytes into a page; NULL = not open */
    size_t n;
};
/* False: there is no such file, or none that is whole and of this magic [8] and key. */
bool eye_store_open(struct eye_store *s, const char *path, const char *magic, uint64_t key);
void eye_store_close(struct eye_store *s);

struct eye_store_writer {
    struct eye_writer w;
    uint64_t n, hash;
    size_t fill;     /* of block */
    uint8_t *block;  /* [EYE_STORE_BLOCK] */
};
/* IO; NOMEM. After begin: put as often as needed, then commit; abort in any case. */
EYE_MUST_CHECK enum eye_status eye_store_begin(struct eye_store_writer *w, const char *path, const char *magic, uint64_t key,
                                               struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_store_put(struct eye_store_writer *w, const void *p, size_t n, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_store_commit(struct eye_store_writer *w, struct eye_err *err);
void eye_store_abort(struct eye_store_writer *w); /* fine after commit, and twice */

#endif
