/* batch, inside the room: what batch.c (making, running), batch_queue.c (requests), batch_lane.c (the work) and batch_cache.c
 * share.
 *
 *   submit (any thread) -> queue -> slot: prefix cache -> pictures (image cache) -> prompt -> tokens -> on_done
 *
 * A lane is a thread's share of the work: its own slots, decoder and eyes. All lanes' slots lie in one KV cache. Large models
 * have one lane that uses all threads of the pool, and so stream their weights once for all slots; models whose weights stay in
 * the processors' caches have one lane a thread, each running alone: splitting their small operations costs more than it gives.
 */
#ifndef EYE_BATCH_IMPL_H
#define EYE_BATCH_IMPL_H

#include <stdatomic.h>

#include "eyelet/batch.h"
#include "session/session_impl.h"

#define EYE_PAGE 16 /* positions of a piece of the prefix cache: a panel of the KV cache */

/* ---- batch_cache.c ---- */

struct eye_key { uint8_t b[EYE_SHA256_BYTES]; };

#define EYE_KEY_BLOCK 4096
struct eye_key_secret { uint32_t word[2][EYE_KEY_BLOCK / 4]; }; /* of a batch: see batch_cache.c */
EYE_MUST_CHECK enum eye_status eye_key_draw(struct eye_key_secret *s, struct eye_err *err);
void eye_key_image(const struct eye_key_secret *s, const struct eye_image *img, struct eye_key *out);

struct eye_rows_entry {
    struct eye_key key;
    float *rows;           /* [n] */
    size_t n;
    uint64_t used;
};
struct eye_rows_cache {    /* rows of pictures, least recently used goes first */
    const struct eye_alloc *alloc;
    pthread_mutex_t lock;
    struct eye_rows_entry *entry; /* [n], any order */
    size_t n, cap;
    size_t bytes, most_bytes;
    uint64_t now;
};
void eye_rows_init(struct eye_rows_cache *c, size_t most_bytes, const struct eye_alloc *alloc);
void eye_rows_clear(struct eye_rows_cache *c);
/* Copies n floats to out if they are there. */
bool eye_rows_find(struct eye_rows_cache *c, const struct eye_key *key, float *out, size_t n);
void eye_rows_keep(struct eye_rows_cache *c, const struct eye_key *key, const float *rows, size_t n); /* no memory: is not kept */

struct eye_page {
    struct eye_key key;
    uint64_t used;         /* 0 = free */
    int32_t depth;         /* pieces of the prompt before it */
};
struct eye_prefix_cache {  /* pieces of prompts in slots of the KV cache, behind those of the lanes */
    const struct eye_alloc *alloc;
    pthread_mutex_t lock;
    struct eye_kv *kv;     /* borrowed */
    int64_t first_slot;
    struct eye_page *page; /* [n] */
    size_t n, n_used;
    uint64_t now;
};
EYE_MUST_CHECK enum eye_status eye_prefix_init(struct eye_prefix_cache *c, struct eye_kv *kv, int64_t first_slot, size_t n,
                                               const struct eye_alloc *alloc, struct eye_err *err);
void eye_prefix_clear(struct eye_prefix_cache *c);
/* The key of a piece: that of the one before (NULL = the first), then what stands at its positions. */
struct eye_key_at { int32_t id; uint32_t row; const struct eye_key *image; }; /* row, image: where id is EYE_TOKEN_IMAGE_ROW */
void eye_prefix_key(const struct eye_key *before, const struct eye_key_at at[EYE_PAGE], struct eye_key *out);
/* Copies what is there of the first n pieces to the slots from `slot` on; how many. */
size_t eye_prefix_find(struct eye_prefix_cache *c, const struct eye_key *key, size_t n, int64_t slot);
/* Keeps those of the n pieces in slots from `slot` on that are not there. */
void eye_prefix_keep(struct eye_prefix_cache *c, const struct eye_key *key, size_t n, int64_t slot);

/* ---- requests ---- */

struct eye_request {
    struct eye_request *next;          /* in the queue */
    struct eye_arena arena;            /* of all below, and of beams */
    uint64_t id, begin_ns;
    atomic_bool cancelled;
    struct eye_generate_opts opts;
    eye_token_fn *on_token;
    eye_done_fn *on_done;
    void *ctx;
    int32_t n_beams;
    int32_t *ids;                      /* [n] */
    size_t n, n_image_tok;
    bool truncated;
    size_t n_images;
    struct eye_image *image;           /* [n_images] pixels borrowed */
    struct eye_key *image_key;         /* [n_images] */
    struct eye_key *piece;             /* [n_pieces] of the prefix cache; those of whole pieces of ids */
    size_t n_pieces;
};
void eye_request_free(struct eye_request *r);
/* Keys of whole pieces of its ids and then `more`, from the first that has none. */
void eye_request_keys(struct eye_request *r, const struct eye_model *m, const int32_t *more, size_t n_more);

enum eye_slot_state { EYE_SLOT_FREE, EYE_SLOT_LOOK, EYE_SLOT_READ, EYE_SLOT_WRITE, EYE_SLOT_SEARCH };

struct eye_slot {
    enum eye_slot_state state;
    struct eye_request *request;
    struct eye_reply reply;
    struct eye_result result;
    int64_t slot;                      /* first of the KV cache */
    int32_t n_past;                    /* positions run */
    size_t n_cached;                   /* of these, from the prefix cache */
    size_t n_rows_done;                /* image rows among them */
    float *image_rows;                 /* [all of the prompt, width] */
    size_t image_rows_bytes;
    size_t i_image;                    /* LOOK: the next one */
    size_t n_asked;                    /* images that the model's folder was asked for */
    struct eye_folder_key folder_key;  /* of the last of them */
    int32_t next;                      /* WRITE: the token to run */
    struct eye_hunts *hunts;           /* SEARCH */
    size_t n_run;                      /* in this round: positions of the prompt, 1 of an answer, beams */
    float *logits;                     /* what comes of it; NULL = nothing yet */
};

struct eye_lane {
    struct eye_batch *batch;
    struct eye_slot *slot;             /* [n_slots] */
    int32_t n_slots;
    struct eye_decoder decoder;
    struct eye_eyes eyes;
    struct eye_slot *looking;          /* whose image is in eyes; NULL = none */
    size_t i_picture, n_pictures;      /* of it */
    struct eye_decode_call *call;      /* [n_slots * n_beams] */
    float *logits;                     /* [n_slots * n_beams, vocab] */
    int32_t n_decoding;                /* these two under the batch's lock, for statistics */
    uint64_t kv_used;
};

struct eye_batch {
    struct eye_model *model;
    const struct eye_alloc *alloc;
    struct eye_batch_opts opts;        /* resolved */
    int64_t slot_positions;            /* of the KV cache, for one slot */
    uint64_t page_bytes;               /* of a piece of the prefix cache */
    size_t n_lanes, rows_per_lane;     /* rows of logits */
    struct eye_lane *lane;             /* [n_lanes] */
    struct eye_slot *slots;            /* [n_slots], lane after lane */
    struct eye_key_secret secret;
    struct eye_rows_cache rows;
    struct eye_prefix_cache prefix;
    pthread_mutex_t voice;             /* callbacks come one at a time */
    pthread_mutex_t folder;            /* files of pictures are read and written by one lane at a time */
    pthread_mutex_t lock;              /* over all below */
    pthread_cond_t change;             /* something to do, or nobody is busy any more */
    struct eye_request *first, **last; /* the queue */
    struct eye_request *dead;          /* cancelled while they waited */
    bool stop;
    int32_t n_queued, n_active, n_busy; /* busy: lanes that work */
    uint64_t next_id;
    uint64_t round_end_ns;
    struct eye_batch_stats stats;      /* counters; what is now is filled in when asked */
};

/* ---- batch_queue.c ---- */
struct eye_request *eye_batch_pop(struct eye_batch *b); /* the next one, or NULL; wants b->lock held */
void eye_batch_bury(struct eye_batch *b);               /* ends what was cancelled while it waited */
/* The end of a request, in a slot or (NULL) without one; frees it. */
void eye_request_done(struct eye_batch *b, struct eye_request *r, struct eye_slot *slot, enum eye_status st,
                      const struct eye_err *err);

/* ---- batch_store.c ---- */
struct eye_store { /* views into a file's data */
    const uint8_t *secret, *pages, *pictures;
    uint32_t n_pages, n_pictures;
    uint64_t page_bytes;
    size_t pictures_bytes;
};
/* The data of an EYE_STATE_BATCH of n_entries. CORRUPT. p must outlive the views. */
EYE_MUST_CHECK enum eye_status eye_store_parse(struct eye_store *s, const uint8_t *p, size_t n, uint32_t n_entries,
                                               const char *path, struct eye_err *err);

/* ---- batch_lane.c ---- */
/* slot: [n_slots] its share. first: the lane that made the KV cache; NULL = this does, of n_positions. Wants the model's lock
 * held. */
EYE_MUST_CHECK enum eye_status eye_lane_open(struct eye_lane *l, struct eye_batch *b, struct eye_slot *slot, int32_t n_slots,
                                             const struct eye_lane *first, int64_t n_positions, struct eye_err *err);
void eye_lane_clear(struct eye_lane *l);
/* One round; false = there was nothing to do. Wants the model's lock held, by the thread that runs the pool. */
bool eye_lane_round(struct eye_lane *l);
/* Ends all that is in its slots. */
void eye_lane_end(struct eye_lane *l, enum eye_status st, const struct eye_err *err);

#endif
