/* Many requests at once over one stream of the model's weights ("continuous batching"): what a server stands on. Requests come
 * and go at any time; each is answered with the tokens that eye_session_generate gives for it alone, bit for bit, whatever
 * else is in the batch.
 *
 *   static void done(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *err) {
 *       puts(st == EYE_OK ? r->text : err->text);
 *   }
 *   struct eye_model_opts mopts = {.n_parallel = 8};
 *   ... eye_model_open(path, &mopts, &model, &err), eye_image_load(...) ...
 *   struct eye_batch_opts bopts = {.n_slots = 8};
 *   if (eye_batch_new(model, &bopts, &batch, &err) != EYE_OK) goto fail;
 *   struct eye_query q = {.images = &img, .n_images = 1};
 *   struct eye_generate_opts g = {.n_predict = 64, .n_beams = 1};
 *   struct eye_batch_request req = {.query = &q, .opts = &g, .on_done = done};
 *   if (eye_batch_submit(batch, &req, NULL, &err) != EYE_OK) goto fail;  (from any thread, also while it runs)
 *   eye_batch_run(batch, true);                                          (here: until all are answered)
 *   eye_batch_free(batch);
 *
 * Threads: submit, cancel, stop and stats may be called from any thread at any time, also from callbacks. new, run, step and
 * free: one thread at a time. Callbacks come while one of these runs, never two at once, from that thread or (several lanes) from a
 * thread of the model's pool; what they take, all wait for. The library makes no threads but that pool.
 * Memory: all of it is stated by eye_batch_get_memory and taken when the batch is made and when a request is submitted or
 * begins; nothing is allocated per token. doc/BATCHING.md.
 */
#ifndef EYELET_BATCH_H
#define EYELET_BATCH_H

#include <stdbool.h>

#include "eyelet/model.h"
#include "eyelet/session.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct eye_batch;

#define EYE_LANES_MOST (-1)

struct eye_batch_opts { /* all-zero = defaults */
    int32_t n_slots;      /* requests in work at once, 1 to 256; 0 = 8, or what suits EYE_LANES_MOST. Open the model with n_parallel
                             of about n_slots * n_beams (of one lane): with fewer it works the same, but the head's weights are
                             read several times a step */
    int32_t n_ctx;        /* positions of each: prompt, image rows and answer; 0 = the model's n_ctx. Keys and values for all are
                             taken at once: n_slots * n_ctx positions, so say how many are needed */
    int32_t n_beams;      /* most that a request may ask for; 0 = the model's own number (1 for most models). Memory for as many
                             rows of logits per slot */
    int32_t max_queued;   /* requests that wait beside those in work; more are refused; 0 = 1024 */
    int32_t prefill_tok;  /* prompt rows run in one go while others decode: the less, the steadier their pace, the later the
                             newcomer's first token; 0 = 128. With nobody decoding as many as the decoder takes at once (512) */
    int32_t n_lanes;      /* groups of slots that work side by side, each on a thread of its own; 1 = all threads together on one
                             stream of the weights. 0 = 1 for large models, as many as threads where all weights stay in the
                             processors' caches (32 MiB), so that a stream is not worth sharing. EYE_LANES_MOST = what gives most
                             answers in an hour, where nobody waits for one of them. No result depends on it */
    int64_t image_cache_bytes;  /* rows of pictures seen before, by their pixels; what was used longest ago goes. 0 = 64 MiB,
                                   -1 = none */
    int64_t prefix_cache_bytes; /* keys and values of prompts seen before, in pieces of 16 positions, their images included;
                                   taken when the batch is made. 0 = 64 MiB, -1 = none */
};

/* The model must outlive the batch. opts may be NULL. *batch is set only on success.
 * Packs what of the model's weights is not packed yet, those of the vision tower too.
 * Returns EYE_OK; ARG (names the option); NOMEM; LIMIT (more memory than can be addressed); UNSUPPORTED; CANCELLED (by the
 * model's cancel, while packing). */
EYE_API EYE_MUST_CHECK enum eye_status eye_batch_new(struct eye_model *model, const struct eye_batch_opts *opts,
                                                     struct eye_batch **batch, struct eye_err *err);
/* Requests that are not done end as CANCELLED: their on_done is called from here. NULL is fine. */
EYE_API void eye_batch_free(struct eye_batch *batch);

struct eye_batch_memory { /* bytes, beside the model's packed weights (eye_model_memory) */
    uint64_t slot;         /* one slot: keys and values of n_ctx positions (with room for beams), sampling, logits, text */
    uint64_t slots;        /* all of them */
    uint64_t activations;  /* results in flight, scratch of all threads; of pictures too */
    uint64_t image_cache, prefix_cache; /* at most */
    uint64_t total;
};
/* What such a batch takes, before any of it is allocated. Not in it: requests that wait (their tokens: 4 bytes a position) and
 * image rows of requests in work (at most n_ctx * hidden floats a slot, where nothing but images stands in the prompt).
 * Returns EYE_OK; ARG; UNSUPPORTED; NOMEM; LIMIT. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_batch_get_memory(struct eye_model *model, const struct eye_batch_opts *opts,
                                                            struct eye_batch_memory *out, struct eye_err *err);

/* ---- requests ---- */

/* A token was chosen. logprob: [1 + n_logprobs] as in eye_result, the chosen one first; NULL where none were asked for. Called
 * before the on_text that brings its text, if that comes at once: a piece may wait for the rest of a character or of a stop
 * string. Not called for the end-of-answer token; with beams all come at the end. Values are valid for the call. */
typedef void eye_token_fn(void *ctx, int32_t token, const struct eye_logprob *logprob);
/* The request is over: called exactly once for each one submitted. status: what eye_session_generate would return. result is
 * never NULL: what there is, also after an error; its memory is valid for the call. err is never NULL (its text is "" with
 * EYE_OK). */
typedef void eye_done_fn(void *ctx, const struct eye_result *result, enum eye_status status, const struct eye_err *err);

struct eye_batch_request {
    const struct eye_query *query;        /* copied, but for the images' pixels: those are borrowed until on_done. next_turn does
                                             not count: every request begins at position 0 */
    const struct eye_generate_opts *opts; /* copied, with the stop strings; NULL = all-zero. n_beams 0 means here what it means to a
                                             session: as the model says; ask for 1 where text is to come token by token.
                                             on_text and on_text_ctx are used; on_text returning true ends the answer */
    eye_token_fn *on_token;               /* NULL = none */
    eye_done_fn *on_done;                 /* NULL = none */
    void *ctx;                            /* of on_token and on_done */
};

#define EYE_BATCH_FULL UINT64_MAX
/* Queues a request. The prompt is made here, on the caller's thread: what is wrong with it is said at once.
 * id  its number, for cancel; numbers are not used again; may be NULL.
 * Returns EYE_OK; ARG; LIMIT: the prompt does not fit n_ctx (names both numbers), or max_queued wait already (then, and only
 * then, *id is EYE_BATCH_FULL: try again later); NOMEM. on_done is called only after EYE_OK. */
EYE_API EYE_MUST_CHECK enum eye_status eye_batch_submit(struct eye_batch *batch, const struct eye_batch_request *request,
                                                        uint64_t *id, struct eye_err *err);
/* Ends a request soon, as CANCELLED: between two tokens, pieces of the prompt or steps of the vision tower. Nothing happens if it
 * is over or never was. Returns at once: on_done comes from the thread that runs the batch. */
EYE_API void eye_batch_cancel(struct eye_batch *batch, uint64_t id);

/* ---- running ---- */

/* Works until eye_batch_stop, sleeping while there is nothing to do; until_idle: or until no request is left. Requests that are not
 * done when it returns stay as they are: the next call goes on with them. */
EYE_API void eye_batch_run(struct eye_batch *batch, bool until_idle);
/* One round: takes in waiting requests, looks at one picture (small towers: one on each processor), runs a piece of waiting
 * prompts and one token of every request that is so far. Returns whether requests are left. Never sleeps. */
EYE_API bool eye_batch_step(struct eye_batch *batch);
/* Makes eye_batch_run return after its present round; if none is running, the next one returns at once. */
EYE_API void eye_batch_stop(struct eye_batch *batch);

/* ---- the caches over a restart ---- */

/* Writes both caches to a file, which replaces one that is there at once or not at all. Lanes wait meanwhile where they need
 * a cache. The file holds what pictures and prompts have become, and the secret that keeps one client's pictures from passing for
 * another's: keep it from strangers. Returns EYE_OK; ARG (nothing is in them); IO; NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_batch_save(struct eye_batch *batch, const char *path, struct eye_err *err);
/* The way back, before the first request: what was used last, as far as it fits. On failure the caches stay empty. The file may
 * come from anyone. Returns EYE_OK; ARG (made by another model, build, kind of CPU, or under other options; there was a
 * request); CORRUPT; UNSUPPORTED (another version of the format); IO; NOMEM. Threads: as new. */
EYE_API EYE_MUST_CHECK enum eye_status eye_batch_load(struct eye_batch *batch, const char *path, struct eye_err *err);

struct eye_batch_stats {
    /* now */
    int32_t n_slots, n_queued, n_active;  /* active: in a slot */
    int32_t n_decoding;                   /* of these, past their prompt */
    uint64_t kv_positions, kv_used;       /* of the slots: all, in use */
    uint64_t image_cache_bytes, image_cache_cap, prefix_cache_bytes, prefix_cache_cap; /* held, at most */
    /* since the batch was made */
    uint64_t n_submitted, n_done, n_cancelled, n_failed; /* done: EYE_OK */
    uint64_t n_prompt_tok, n_cached_tok;  /* positions of prompts (image rows included); of these, from the prefix cache */
    uint64_t n_tokens;                    /* generated */
    uint64_t n_image_hits, n_image_misses; /* images whose rows were there, had to be made; of those inside a cached prefix none
                                              are needed: they are neither */
    uint64_t n_rounds, n_rows;            /* with a run of the decoder; rows of these runs (prompts, tokens, beams) */
    uint64_t vision_us, decoder_us;       /* time in the vision tower (with preprocessing and projector), in the decoder */
};
EYE_API void eye_batch_get_stats(struct eye_batch *batch, struct eye_batch_stats *out);

#ifdef __cplusplus
}
#endif
#endif
