/* state: files that keep what a model has computed: the rows of one image, or a session's context. Reader and writer of the
 * container; session/cache.c says what is in it. Knows no model: bytes are hostile, and everything is checked before a view is
 * handed out. Little-endian, nothing aligned:
 *
 *   offset size
 *        0    8  magic "EYELETST"
 *        8    4  version, 1; another one is refused, never guessed
 *       12    4  kind: 1 image rows, 2 session, 3 caches of a batch
 *       16   32  model key (cache.c: what it covers)
 *       48   32  image key: SHA-256 of the picture; zeros in the others
 *       80    4  n: rows of the image, positions of the session, or entries of the caches, 1 to 2^24
 *       84    4  token chosen but not yet run, -1 = none
 *       88    4  flags: EYE_STATE_*
 *       92    4  images of that question, at most n
 *       96    4  bytes of text
 *      100    4  zero
 *      104    8  bytes of data
 *      112       session: token ids [n] i32, -1 for image rows
 *                sizes of the images [images]: width, height, 4 bytes each
 *                text, UTF-8 without NUL: the first words of a question that is not finished
 *                data: image rows [n][hidden] f32, keys and values (engine.h: eye_kv_read), or as
 *                the head of batch_store.c says
 *      end-8  8  checksum: XXH64 over pieces of 4096 bytes, each seeded with the one before
 *
 * The file ends there; one byte more or less is CORRUPT. */
#ifndef EYE_STATE_H
#define EYE_STATE_H

#include "base/sys.h"

#define EYE_STATE_MAX_POSITIONS (1 << 24)
#define EYE_STATE_MAX_TEXT (1 << 24)

enum eye_state_kind { EYE_STATE_IMAGE = 1, EYE_STATE_SESSION = 2, EYE_STATE_BATCH = 3 };
enum {
    EYE_STATE_PREFIX = 1,      /* the context is the beginning of a question; text is valid */
    EYE_STATE_RAW = 2,         /* of that question: no chat template */
    EYE_STATE_IMAGES_FIRST = 4 /* images before all text */
};

struct eye_state {
    enum eye_state_kind kind;
    uint8_t model[EYE_SHA256_BYTES], image[EYE_SHA256_BYTES];
    uint32_t n, flags, n_images, text_bytes;
    int32_t pending;
    uint64_t data_bytes;
    /* Views into what was parsed; not for writing. */
    const uint8_t *ids; /* [n] i32, unaligned; only of sessions */
    const uint8_t *sizes; /* [n_images] two u32; only of sessions */
    const char *text;   /* [text_bytes] */
    const uint8_t *data;
};

/* path names the bytes in errors. CORRUPT; UNSUPPORTED (another version). p must outlive the views. */
EYE_MUST_CHECK enum eye_status eye_state_parse(struct eye_state *s, const uint8_t *p, size_t n, const char *path,
                                               struct eye_err *err);
int32_t eye_state_id(const struct eye_state *s, size_t i);
void eye_state_size(const struct eye_state *s, size_t i, uint32_t *width, uint32_t *height);

/* Writing: open puts the header; then exactly ids, sizes, text and data in pieces of any size; commit puts the checksum and
 * renames the file into place. */
struct eye_state_out {
    struct eye_writer w;
    uint8_t piece[4096];
    size_t held;
    uint64_t sum;
};
EYE_MUST_CHECK enum eye_status eye_state_open(struct eye_state_out *o, const char *path, const struct eye_state *s,
                                              struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_state_put(struct eye_state_out *o, const void *p, size_t n, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_state_commit(struct eye_state_out *o, struct eye_err *err);
void eye_state_abort(struct eye_state_out *o); /* fine after commit */

#endif
