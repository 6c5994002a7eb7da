/* session, inside the room: what model.c, session.c, prompt.c, generate.c and probe.c share. */
#ifndef EYE_SESSION_IMPL_H
#define EYE_SESSION_IMPL_H

#include <pthread.h>

#include "base/sys.h"
#include "engine/engine.h"
#include "eyelet/image.h"
#include "eyelet/model.h"
#include "eyelet/session.h"
#include "format/checkpoint.h"
#include "image/preproc.h"
#include "image/tiles.h"
#include "model/vlm.h"
#include "session/decode.h"
#include "session/eyes.h"
#include "session/reply.h"
#include "session/state.h"
#include "text/grammar.h"
#include "text/template.h"

#define EYE_BEAM_TOK 128
#define EYE_PREFILL_ROWS 512 /* a prompt goes through the decoder in pieces of so many rows */

struct eye_model {
    struct eye_alloc alloc_copy;
    const struct eye_alloc *alloc; /* NULL, or &alloc_copy */
    struct eye_model_opts opts;    /* every 0 resolved, but for types "as stored" */
    struct eye_checkpoint ckpt;
    struct eye_vlm vlm;
    struct eye_tokenizer *tokenizer;
    char architecture[128], tokenizer_text[64];
    uint64_t n_params, param_bytes;
    int64_t picture_tokens;        /* rows of one run of tower and projector */
    int64_t picture_rows;          /* what they become before the decoder: picture_tokens, or fewer */
    const float *places;           /* [positions, hidden] learned ones for merged rows, see places.c; NULL = the model's own */
    const float *row_places;       /* [picture_tokens, hidden] those that rows had */
    int64_t places_less;           /* positions that the table has less */
    int64_t image_tokens;          /* such rows of one image, at most */
    bool tiled;                    /* an image is several pictures, as tiling says; else one */
    struct eye_tiling tiling;      /* its filter is right for single pictures too */
    uint32_t cpu_flags;
    uint8_t key[EYE_SHA256_BYTES];  /* of its contents and options; see cache.c */
    bool key_made;
    pthread_mutex_t key_lock;      /* over these two */
    size_t max_piece_bytes;        /* longest text one token can become */
    enum eye_template chat;
    struct eye_script *script;     /* of EYE_TEMPLATE_SCRIPT */
    int32_t end[EYE_MAX_EOS + EYE_TEMPLATE_MAX_STOP]; /* [n_end] tokens that end an answer */
    size_t n_end;
    struct eye_vocabulary vocabulary; /* under lock until a grammar has it; see grammar.c */
    pthread_mutex_t lock;          /* over all below, and over the pool: runs of different sessions take turns */
    struct eye_engine engine;
    bool engine_ready;
    bool unfused;                  /* see eye_model_leave_unfused */
    struct eye_packed packed;      /* of a compiled file; find NULL: it is none */
    struct eye_part_plan part[EYE_N_PART]; /* built when first needed */
    char **layer;                  /* [n_layers] names for probes */
    size_t n_layers, layers_cap;
    bool layers_listed;
    struct eye_arena names;        /* of layer; places */
    uint32_t n_sessions;
};

struct eye_grammar {
    struct eye_model *model;
    struct eye_grammar_code code;
};

struct eye_session {
    struct eye_model *model;
    const struct eye_alloc *alloc;
    struct eye_session_opts opts;
    int32_t n_ctx, n_past;
    int32_t pending;               /* last token of an answer: chosen, its position is taken, not yet run; -1 = none */
    struct eye_eyes eyes;          /* open with the first image */
    struct eye_decoder decoder;
    float *logits;                 /* [n_vocab] */
    float *ahead;                  /* [ahead_cap] logits of a token and of guesses behind it */
    size_t ahead_cap;
    int32_t *past;                 /* [n_ctx] what stands at each position; EYE_TOKEN_IMAGE_ROW for image rows */
    struct {                       /* the context is the beginning of a question */
        bool active, raw, images_first;
        struct eye_image *image;   /* [n_images] sizes only */
        size_t n_images, image_cap;
        struct eye_buf text;       /* its first words */
    } prefix;
    struct eye_reply reply;        /* of the last generation */
    bool time_ops;
    struct eye_ids prompt;         /* of the last generation; EYE_TOKEN_IMAGE_ROW for image rows */
    float *image_rows;             /* [image_rows_cap] */
    size_t image_rows_cap;
};

/* ---- model.c ---- */
/* These want model->lock held. */
EYE_MUST_CHECK enum eye_status eye_model_engine(struct eye_model *m, struct eye_err *err);
/* The part's plan, built and its weights packed if it is not there yet. */
EYE_MUST_CHECK enum eye_status eye_model_plan(struct eye_model *m, enum eye_part part, const struct eye_plan **plan,
                                              struct eye_err *err);
/* What the part's plan takes, made or not; wants the engine ready. */
EYE_MUST_CHECK enum eye_status eye_model_measure(struct eye_model *m, enum eye_part part, struct eye_plan_sizes *out,
                                                 struct eye_err *err);
size_t eye_model_rows(const struct eye_model *m); /* most of one run of embedding and decoder */
/* A part's graph after fold, quantize and fuse, as the engine wants it. tap: a value to make an output as well; with it, or
 * with keep_taps, named values survive. *tapped (may be NULL) is that value. The caller clears g. */
EYE_MUST_CHECK enum eye_status eye_model_graph(const struct eye_model *m, enum eye_part part, bool keep_taps, const char *tap,
                                               struct eye_graph *g, eye_val *tapped, struct eye_err *err);
/* Plan options of a part; progress only when not measuring. */
struct eye_plan_opts eye_model_plan_opts(const struct eye_model *m, enum eye_part part, bool measure_only);
EYE_PRINTF(4, 5) void eye_model_log(const struct eye_model *m, enum eye_log_level level, const char *id, const char *fmt, ...);

/* ---- compiled.c ---- */
/* A compiled file: are its panels those of this build and CPU? Takes features away until they are, if that helps. */
EYE_MUST_CHECK enum eye_status eye_model_open_compiled(struct eye_model *m, struct eye_err *err);

/* ---- chat.c ---- */
/* Template and what ends an answer, once tokenizer and configuration are there. */
EYE_MUST_CHECK enum eye_status eye_model_resolve_chat(struct eye_model *m, struct eye_err *err);
const char *eye_model_chat_name(const struct eye_model *m);
/* What an image is asked when nobody asks. */
const char *eye_model_default_prompt(const struct eye_vlm_config *c);

/* Slots that the KV cache of a session of n_ctx positions has: these, and where the model's own answers are searched with beams, room
 * for EYE_BEAM_TOK tokens of each, so that a prompt which fills a small context leaves them some. */
int64_t eye_model_slots(const struct eye_model *m, int32_t n_ctx);

/* ---- pictures.c ---- */
size_t eye_model_max_pictures(const struct eye_model *m); /* of one image */
/* How an image is cut; n = 1, no grid, where the model takes it whole. */
EYE_MUST_CHECK enum eye_status eye_model_tiles(const struct eye_model *m, const struct eye_image *img, struct eye_tiles *t,
                                               struct eye_err *err);
/* The pictures, [n, side, side, 3] uint8; only_whole: the last of them. These two take the model's lock. */
EYE_MUST_CHECK enum eye_status eye_model_cut(struct eye_model *m, const struct eye_image *img, bool only_whole, uint8_t *u8,
                                             struct eye_err *err);
/* One picture to the tower's input, f32. */
EYE_MUST_CHECK enum eye_status eye_model_normalise(struct eye_model *m, const uint8_t *u8, enum eye_preproc_layout layout,
                                                   float *pixels, struct eye_err *err);
/* The same by a pool that nobody else uses meanwhile; NULL = by this thread alone. */
EYE_MUST_CHECK enum eye_status eye_model_cut_by(const struct eye_model *m, struct eye_pool *pool, const struct eye_image *img,
                                                bool only_whole, uint8_t *u8, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_model_normalise_by(const struct eye_model *m, struct eye_pool *pool, const uint8_t *u8,
                                                      enum eye_preproc_layout layout, float *pixels, struct eye_err *err);

/* ---- places.c ---- */
EYE_MUST_CHECK enum eye_status eye_places_open(struct eye_model *m, struct eye_err *err); /* once picture_rows is known */
void eye_places_table(const struct eye_model *m, struct eye_graph *g); /* into the decoder's graph */
/* Adds sign (1, -1) times the positions of the first n rows of a picture to rows [n, hidden]; nothing without places. */
void eye_places_add(const struct eye_model *m, float *rows, int64_t n, float sign);

/* ---- session.c ---- */
/* The part's executor; NULL = not made yet. */
struct eye_exec *eye_session_exec(const struct eye_session *s, enum eye_part part);
/* eye_session_prefill without the pending token. */
EYE_MUST_CHECK enum eye_status eye_session_append(struct eye_session *s, const int32_t *ids, size_t n, const float *image_rows,
                                                  float *logits, struct eye_err *err);
/* Tokens alone; logits [n, n_vocab] of all of them. */
EYE_MUST_CHECK enum eye_status eye_session_append_all(struct eye_session *s, const int32_t *ids, size_t n, float *logits,
                                                      struct eye_err *err);
/* Checks ids against the vocabulary and counts image rows. */
EYE_MUST_CHECK enum eye_status eye_session_check_ids(const struct eye_session *s, const int32_t *ids, size_t n,
                                                     size_t *n_image_rows, struct eye_err *err);

/* eye_session_encode_image without the cache of image rows. */
EYE_MUST_CHECK enum eye_status eye_session_look(struct eye_session *s, const struct eye_image *img, float *out,
                                                struct eye_timings *timings, struct eye_err *err);

/* ---- generate.c ---- */
/* All images of q to s->image_rows. t may be NULL. */
EYE_MUST_CHECK enum eye_status eye_session_encode_images(struct eye_session *s, const struct eye_query *q,
                                                         struct eye_timings *t, struct eye_err *err);

/* ---- cache.c ---- */
/* What results of this model depend on; see the head of cache.c. */
void eye_model_key(struct eye_model *m, uint8_t out[EYE_SHA256_BYTES]);
/* Opens a file of this kind made by this model. The map is the caller's to close on success. */
EYE_MUST_CHECK enum eye_status eye_model_open_state(struct eye_model *m, const char *path, enum eye_state_kind kind,
                                                    struct eye_map *map, struct eye_state *st, struct eye_err *err);
/* Rows of a picture in the model's folder of such (opts.cache_dir is set). What fails is a warning. find makes the key. */
struct eye_folder_key { uint8_t model[EYE_SHA256_BYTES], image[EYE_SHA256_BYTES]; };
bool eye_folder_find(struct eye_model *m, const struct eye_image *img, struct eye_folder_key *key, float *out);
void eye_folder_keep(struct eye_model *m, const struct eye_image *img, const struct eye_folder_key *key, const float *rows);
/* A question that follows the session's prefix: its ids from position 0 on, of which the context has the first *n_kept. */
EYE_MUST_CHECK enum eye_status eye_session_resume(struct eye_session *s, const struct eye_query *q, struct eye_ids *ids,
                                                  size_t *n_kept, bool *truncated, struct eye_err *err);

/* ---- prompt.c ---- */
size_t eye_query_image_rows(const struct eye_model *m, const struct eye_query *q); /* of all its images */
/* Query to ids for `room` free positions, one of them kept for the answer; EYE_TOKEN_IMAGE_ROW for image rows. Replaces what is
 * in ids. room < 0: any length. */
EYE_MUST_CHECK enum eye_status eye_query_assemble(const struct eye_model *m, const struct eye_query *q, int32_t room,
                                                  struct eye_ids *ids, bool *truncated, struct eye_err *err);

#endif
