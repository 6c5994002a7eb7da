/* A session: one context (KV cache) of a model. Images and text in, text out.
 *
 *   struct eye_session *s;
 *   struct eye_image img;
 *   ... eye_model_open(), eye_image_load() ...
 *   if (eye_session_new(model, NULL, &s, &err) != EYE_OK) goto fail;
 *   struct eye_query query = {.text = "What is on the table?", .images = &img, .n_images = 1};
 *   struct eye_generate_opts opts = {.n_predict = 128, .on_text = print_piece};
 *   struct eye_result result;
 *   if (eye_session_generate(s, &query, &opts, &result, &err) != EYE_OK) goto fail;
 *   printf("\n%zu tokens, first after %.0f ms\n", result.n_tokens, result.timings.first_token_us / 1e3);
 *   eye_session_free(s);
 *
 * All memory is taken when a session is made and when a generation begins: nothing is allocated after its first token. Same
 * model, build, prompt and seed: same tokens, whatever the number of threads.
 * Threads: one call per session at a time. Sessions of one model may be used from different threads; their runs take turns.
 */
#ifndef EYELET_SESSION_H
#define EYELET_SESSION_H

#include <stdbool.h>

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct eye_image; /* image.h */
struct eye_grammar; /* grammar.h */
struct eye_session;

struct eye_session_opts { /* all-zero = defaults */
    int32_t n_ctx;          /* positions of the context: prompt, image rows and answer together; 0 = the model's n_ctx */
    bool with_images;       /* pack the vision tower's weights now, not with the first image */
    eye_cancel_fn *cancel;  /* asked while an image or a prompt is looked at and between tokens; NULL = the model's */
    void *cancel_ctx;
};

/* The model must outlive its sessions. opts may be NULL. *session is set only on success.
 * Packs the decoder's weights if this is the model's first session. Returns EYE_OK; ARG (n_ctx); NOMEM; UNSUPPORTED;
 * CANCELLED (by the model's cancel, while packing). */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_new(struct eye_model *model, const struct eye_session_opts *opts,
                                                       struct eye_session **session, struct eye_err *err);
EYE_API void eye_session_free(struct eye_session *s); /* NULL is fine */
/* Forget the context: the next call starts at position 0. Costs nothing. */
EYE_API void eye_session_reset(struct eye_session *s);
EYE_API int32_t eye_session_n_ctx(const struct eye_session *s);
EYE_API int32_t eye_session_n_past(const struct eye_session *s); /* positions in use */

/* ---- simple: a prompt in, text out ---- */

enum eye_image_position {
    EYE_IMAGES_TEMPLATE = 0, /* where the model's chat template puts them; with raw: at each <image> mark */
    EYE_IMAGES_FIRST         /* before all text */
};

enum eye_message_role { EYE_MESSAGE_SYSTEM = 0, EYE_MESSAGE_USER, EYE_MESSAGE_ASSISTANT };

/* One message of a conversation. */
struct eye_message {
    enum eye_message_role role;
    const char *text; /* NUL-terminated UTF-8; NULL = none, of a user's message that is alone: as of eye_query.text */
    size_t n_images;  /* the query's next so many images belong to it: in front of its text, as templates put them */
};

struct eye_query {
    const char *text;               /* NUL-terminated UTF-8. Chat: the user's words, NULL = "Describe this image."; raw: all of it */
    const struct eye_image *images; /* [n_images], borrowed */
    size_t n_images;
    const struct eye_message *messages; /* [n_messages] a whole conversation, in the order it was said, in place of text (which
                                       is NULL then): rendered by the model's template, an answer to follow. A system message at
                                       its beginning replaces the template's own. Not with raw. Borrowed for the call */
    size_t n_messages;
    bool strangers;                 /* the words of users come from anyone: special tokens written in them are plain text */
    bool raw;                       /* no chat template: the text is tokenized as it stands, special tokens recognised */
    enum eye_image_position position;
    bool truncate;                  /* too long for the context: cut the end of the user's words (never the template's tail,
                                       never an image) instead of failing */
    bool next_turn;                 /* the context holds a conversation: close its last answer and go on, without the template's
                                       beginning. In an empty context: as if it were not set */
    int32_t reserve;                /* positions truncate leaves for the answer, at most a quarter of the context; 0 = 1 */
};

/* A piece of the answer: complete UTF-8 characters, NUL-terminated, valid for the call. True = stop. */
typedef bool eye_text_fn(void *ctx, const char *text, size_t bytes);

struct eye_generate_opts { /* all-zero: greedy, to the end of the answer or of the context */
    int32_t n_predict;       /* tokens at most; 0 = as far as the context allows */
    float temperature;       /* 0 = greedy: the largest logit, the lowest id among equals */
    int32_t top_k;           /* keep the k most likely; 0 = all */
    float top_p;             /* keep the smallest set of at least this probability; 0 or 1 = all */
    float min_p;             /* drop what is less likely than this times the most likely; 0 = none */
    float repeat_penalty;    /* > 1 discourages tokens of the last penalty_last_n; 0 or 1 = off. Keskar, arXiv 1909.05858 */
    float frequency_penalty; /* subtracted once per occurrence there; 0 = off */
    float presence_penalty;  /* subtracted if it occurs there at all; 0 = off */
    int32_t penalty_last_n;  /* tokens of prompt and answer looked back at; 0 = 64, -1 = the whole context */
    uint64_t seed;           /* of the draw; the same seed gives the same answer */
    const char *const *stop; /* [n_stop] the answer ends before the first of these */
    size_t n_stop;
    int32_t n_beams;         /* beam search for the likeliest answer, up to 16: slower, its text comes at once at the end; 1 = off,
                                0 = as the model says (generation_config.json's num_beams), off with temperature or logprobs */
    float length_penalty;    /* of beam search: answers rank by log probability / tokens^penalty; 0 = as the model says, else 1 */
    int32_t n_lookup;        /* > 0, up to 16: guess that many tokens where the answer's last two or three stood before in prompt or
                                answer, and run them with the next one, in one pass over the weights. The answer is the same, bit
                                for bit, drawn ones too; faster where it repeats what stands there, slower by what wrong guesses
                                cost. Open the model with n_parallel > n_lookup, or its head runs row by row. Of sessions; beam
                                search and batches guess nothing. 0 = off */
    bool ignore_eos;         /* go on after the model's end-of-answer token */
    const struct eye_grammar *grammar; /* what the answer may be, of this model's; NULL = anything. n_beams is at most 1 then */
    int32_t n_logprobs;      /* > 0: result.logprobs, with this many most likely alternatives per token */
    eye_text_fn *on_text;    /* NULL = none: the text is in the result */
    void *on_text_ctx;
};

enum eye_finish {
    EYE_FINISH_STOP,    /* end-of-answer token or stop string */
    EYE_FINISH_LENGTH,  /* n_predict tokens */
    EYE_FINISH_CONTEXT, /* the context is full */
    EYE_FINISH_CALLER   /* on_text returned true */
};
EYE_API const char *eye_finish_name(enum eye_finish finish); /* "stop", "length", "context", "caller" */

struct eye_timings { /* microseconds; 0 = did not happen */
    uint64_t image_decode_us; /* file to pixels: the caller's, not filled here */
    uint64_t preprocess_us;   /* resize, pad or crop, normalise; all images */
    uint64_t vision_us;
    uint64_t projector_us;
    uint64_t prefill_us;      /* prompt and image rows through the decoder */
    uint64_t first_token_us;  /* from the call to the first token chosen */
    uint64_t decode_us;       /* from the first token chosen to the last */
    uint64_t start_us;        /* when the call began, on the monotonic clock */
    uint64_t queue_us;        /* waiting for a slot of a batch */
};

struct eye_logprob {
    int32_t token;
    float logprob; /* natural logarithm, of the model's own distribution (before penalties and temperature) */
};

struct eye_result { /* memory belongs to the session: valid until its next generate, or free */
    const char *text;      /* NUL-terminated UTF-8 */
    size_t text_bytes;
    const int32_t *tokens; /* as chosen, the end-of-answer token left out; those of a stop string are here, its text is not */
    size_t n_tokens;
    enum eye_finish finish;
    size_t n_prompt_tok;   /* positions the prompt took, image rows included */
    size_t n_image_tok;    /* of these, image rows */
    size_t n_cached_tok;   /* of these, what the session's prefix held already */
    bool truncated;        /* the user's words were cut */
    size_t n_guessed;      /* n_lookup: tokens guessed */
    size_t n_guessed_right; /* of these, chosen: passes over the weights that were saved */
    struct eye_timings timings;
    const struct eye_logprob *logprobs; /* [n_tokens][1 + n_logprobs]: the chosen one, then the most likely; else NULL */
    size_t n_logprobs;     /* alternatives per token */
};

/* Runs query at the end of the session's context, then generates. On EYE_OK and EYE_E_CANCELLED *result is what there is.
 * Returns EYE_OK; ARG (options out of range, <image> marks and images differ in number, an image to a model without eyes);
 * LIMIT (the prompt does not fit: names both numbers); NOMEM; CANCELLED. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_generate(struct eye_session *s, const struct eye_query *query,
                                                            const struct eye_generate_opts *opts, struct eye_result *result,
                                                            struct eye_err *err);

/* ---- keeping what was computed: doc/CACHE.md ---- */

/* Prefills the beginning of a question in place of what the context holds: query's images and the first words of its text (NULL
 * = none). The next eye_session_generate, here or after save and load, brings the rest: its text follows at once in the same
 * turn (put the blank where you want it), its images, raw, position and next_turn do not count (an image is ARG). The answer is
 * bit for bit that of the whole question asked at once. Generating uses the prefix up: load again for the next question.
 * Returns what eye_session_generate returns for the prompt; the context is empty after a failure. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_prefix(struct eye_session *s, const struct eye_query *query,
                                                          struct eye_err *err);
/* Writes the context (tokens, keys and values, prefix) to a file; replaces one that is there, at once or not at all.
 * Returns EYE_OK; ARG (the context is empty); IO; NOMEM. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_save(struct eye_session *s, const char *path, struct eye_err *err);
/* The way back, in place of what the context holds; on failure that stays. The file may come from anyone.
 * Returns EYE_OK; ARG (made by another model, build, kind of CPU, or under other options); CORRUPT; UNSUPPORTED (another
 * version of the format); LIMIT (more positions than this context has: names both numbers); IO; NOMEM. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_load(struct eye_session *s, const char *path, struct eye_err *err);

/* ---- by hand: rows in, logits out ---- */

#define EYE_TOKEN_IMAGE_ROW (-1) /* in a list of ids: one row of an image's features */

/* One image to decoder rows. out [eye_model_image_rows, hidden] f32, row-major, caller's memory.
 * Packs the vision tower's weights if this is the model's first image. timings may be NULL; its vision fields are added to. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_encode_image(struct eye_session *s, const struct eye_image *img, float *out,
                                                                struct eye_timings *timings, struct eye_err *err);

/* A query to ids: EYE_TOKEN_IMAGE_ROW stands eye_model_image_rows times for each image, in order. Of images only
 * the sizes are read.
 * ids [cap]; the first min(*n, cap) are written. *truncated may be NULL. Returns EYE_OK; ARG; LIMIT (too long for what the
 * context has left: names both numbers); NOMEM. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_assemble(struct eye_session *s, const struct eye_query *query, int32_t *ids,
                                                            size_t cap, size_t *n, bool *truncated, struct eye_err *err);

/* n ids through the decoder at the end of the context.
 * image_rows [number of EYE_TOKEN_IMAGE_ROW in ids, hidden] f32, in order; NULL if there are none.
 * logits     [n_vocab] f32 of the last row; NULL = not wanted.
 * Returns EYE_OK; ARG (unknown id, n 0); LIMIT (context full: names both numbers); CANCELLED (the context is as before). */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_prefill(struct eye_session *s, const int32_t *ids, size_t n,
                                                           const float *image_rows, float *logits, struct eye_err *err);
/* The same for one token. Bit for bit what prefill gives. */
EYE_API EYE_MUST_CHECK enum eye_status eye_session_step(struct eye_session *s, int32_t id, float *logits, struct eye_err *err);

/* ---- profile ---- */

/* Writes Genie's profile JSON: components[0].events[] with GenieDialog_create and GenieDialog_query, metrics {value, unit}.
 * open_us  microseconds from the start of opening to a ready session. Returns EYE_OK; IO; NOMEM. */
EYE_API EYE_MUST_CHECK enum eye_status eye_profile_save(const char *path, uint64_t open_us, const struct eye_result *result,
                                                        struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
