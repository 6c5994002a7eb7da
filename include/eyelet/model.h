/* A vision-language model: open it, ask what is in it, turn text into tokens and back.
 *
 *   struct eye_model *model;
 *   struct eye_err err = {0};
 *   if (eye_model_open("FastVLM-0.5B", NULL, &model, &err) != EYE_OK) {
 *       fprintf(stderr, "%s\n", err.text);
 *       return 1;
 *   }
 *   struct eye_model_info info;
 *   eye_model_get_info(model, &info);
 *   printf("%s: %d image tokens at %d px\n", info.architecture, info.image_tokens, info.image_side);
 *   ... sessions: see session.h ...
 *   eye_model_close(model);
 *
 * Opening reads and checks metadata and the tokenizer; weights are mapped and only packed for the kernels when a session
 * first needs them. So asking a model of many gigabytes for its sizes or tokenizing with it costs little.
 */
#ifndef EYELET_MODEL_H
#define EYELET_MODEL_H

#include <stdbool.h>

#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct eye_model; /* immutable once open: may be shared by threads and sessions */

/* How weights are kept in memory and multiplied. */
enum eye_weight_type {
    EYE_WEIGHT_STORED = 0, /* as the file has them, activations in f32 */
    EYE_WEIGHT_F32,
    EYE_WEIGHT_F16,
    EYE_WEIGHT_BF16,
    EYE_WEIGHT_Q8_0, /* blocks of 32: int8 and an f16 scale */
    EYE_WEIGHT_Q4_0, /* blocks of 32: 4 bit and an f16 scale */
    EYE_WEIGHT_Q4_K, /* blocks of 256: 4 bit, a scale and a minimum per 32; rows that 256 does not divide become q4_0 */
    EYE_WEIGHT_INT8  /* vision only: int8 weights and activations, by the ranges that calibration wrote into the file */
};

/* How a session keeps keys and values. */
enum eye_cache_type {
    EYE_CACHE_AUTO = 0, /* f32 while the decoder's weights are used as stored or as f32, so that results are as exact as the
                           checkpoint; else f16 */
    EYE_CACHE_F16,
    EYE_CACHE_F32,
    EYE_CACHE_I8 /* one scale per position and head */
};

/* How an image that is not square becomes square. */
enum eye_fit {
    EYE_FIT_MODEL = 0, /* what the model's files ask for */
    EYE_FIT_PAD,       /* pad to a square of the longer side with the mean colour, then resize */
    EYE_FIT_CROP,      /* resize the shorter side, then cut the middle */
    EYE_FIT_STRETCH    /* resize both sides, whatever becomes of the aspect ratio */
};

/* How rows of a picture become fewer, where image_tokens asks for that. */
enum eye_image_merge {
    EYE_MERGE_SIMILAR = 0, /* those most alike become one, wherever they are, until image_tokens are left */
    EYE_MERGE_POOL         /* means of neighbours: the map of rows becomes the largest square map that image_tokens allows */
};

enum eye_log_level { EYE_LOG_WARNING = 0, EYE_LOG_INFO };
/* id is stable ("model.lm_head-ignored"), text is for people, one line. */
typedef void eye_log_fn(void *ctx, enum eye_log_level level, const char *id, const char *text);
/* done goes from 0 to 1 for each what ("packing decoder weights"). Called from the thread that made the call. */
typedef void eye_progress_fn(void *ctx, const char *what, double done);
/* Asked now and then while something long runs; true makes the call return EYE_E_CANCELLED. */
typedef bool eye_cancel_fn(void *ctx);
/* An eye_cancel_fn for those who have no function to give: bindings of other languages, signal handlers. ctx is the address of one
 * byte: not 0 = stop. Any thread may set it at any time. */
EYE_API bool eye_cancel_flag(void *ctx);

struct eye_model_opts { /* all-zero = defaults */
    int32_t n_threads;                  /* threads that compute, the caller's included; 0 = processors this process may use */
    const char *cpu_features;           /* NULL = all this CPU has; else at most these: "avx2,avx512", "base" = none */
    int32_t n_ctx;                      /* largest context a session may have; 0 = the model's own, at most 4096 */
    int32_t n_parallel;                 /* sequences decoded at once: beams, prompts of a batch, a token and its guesses
                                           (n_lookup); 0 = as many as the model's beams */
    int32_t image_side;                 /* pixels, a multiple of the vision tower's stride; 0 = the model's own */
    int32_t image_tokens;               /* rows of one picture at most (of each tile, where images are cut into tiles): more are
                                           merged before the decoder sees them, which costs detail and saves prefill, see
                                           doc/SPEED.md; 0 = all that the projector gives */
    enum eye_image_merge image_merge;   /* how; without image_tokens it means nothing */
    bool no_mmap;                       /* read files into memory instead of mapping them; of a compiled file the packed
                                           weights: copied into huge pages */
    enum eye_weight_type decoder_type;
    enum eye_weight_type vision_type;   /* vision tower and projector */
    enum eye_cache_type cache_type;
    enum eye_fit fit;
    const char *mmproj;                 /* llama.cpp's .gguf of vision tower and projector, beside one of text; borrowed for
                                           the call; NULL = none. See doc/GGUF.md */
    const char *tokenizer;              /* a tokenizer.json in place of the model's own, for files that have none: Genie's
                                           decoder .bin; borrowed for the call; NULL = the model's */
    const char *chat_template;          /* NULL = the model's own; else by name: "qwen2", "chatml", "vicuna", "llava", "smolvlm",
                                           "llama2", "tinyllava", "raw"; else a file, see doc/TEMPLATES.md; borrowed for the call */
    const char *cache_dir;              /* keep image rows in this folder (made if absent), so that a picture seen before skips
                                           the vision tower; NULL = no. Whatever fails there is a warning; see doc/CACHE.md */
    uint64_t cache_bytes;               /* at most so much there: what was used longest ago goes; 0 = 1 GiB */
    eye_log_fn *log;                    /* NULL = silence */
    void *log_ctx;
    eye_progress_fn *progress;          /* NULL = none */
    void *progress_ctx;
    eye_cancel_fn *cancel;              /* asked while weights are packed, and by sessions that bring none; NULL = never */
    void *cancel_ctx;
    const struct eye_alloc *alloc;      /* NULL = malloc; copied, its ctx must outlive the model */
};

/* Open a checkpoint folder (config.json, *.safetensors, tokenizer.json), a .gguf file or a compiled file (eyelet/convert.h).
 * path    folder or file; borrowed for the call.
 * opts    may be NULL; copied.
 * *model  the new model, set only on success; give it to eye_model_close().
 * Returns EYE_OK; ARG (bad option); IO; CORRUPT; UNSUPPORTED (architecture, op or type); LIMIT; NOMEM.
 * Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_model_open(const char *path, const struct eye_model_opts *opts,
                                                      struct eye_model **model, struct eye_err *err);

/* Path of the model to use when nobody names one: $EYELET_MODEL if it is set, else the one that eyelet brings, a small captioner
 * (captioner.gguf), beside the running program, in share/eyelet of the program's prefix, or where eyelet was installed to.
 * path   [cap] bytes, NUL-terminated on success; 4096 are enough.
 * Returns EYE_OK; IO (none found: says where it was looked for); LIMIT (cap is too small). Threads: any, while nobody changes
 * the environment. */
EYE_API EYE_MUST_CHECK enum eye_status eye_default_model(char *path, size_t cap, struct eye_err *err);

/* Frees the model and unmaps its files. All its sessions must have been freed. NULL is fine. */
EYE_API void eye_model_close(struct eye_model *model);

struct eye_model_info { /* texts live as long as the model */
    const char *architecture;  /* "llava_qwen2 (fastvithd + mlp2x_gelu + qwen2)" */
    const char *file_format;   /* "safetensors", "gguf", "compiled" */
    const char *tokenizer;     /* "bpe, 151646 tokens" */
    const char *chat_template; /* "chatml", "vicuna", …, or the file that a template was read from */
    uint64_t n_params;         /* elements of all weights in use */
    uint64_t file_bytes;       /* of these weights, as stored */
    int32_t n_vocab;           /* columns of the logits */
    int32_t n_layers, n_heads, n_kv_heads, head_dim;
    int32_t hidden, ffn;       /* decoder */
    int32_t n_ctx_trained;     /* largest position the model was made for */
    int32_t n_ctx;             /* largest context a session of this model may have */
    int32_t image_side;        /* pixels; 0 = a model without eyes */
    int32_t image_tokens;      /* rows one image takes in the context, after merging; at most so many where images are cut into
                                  tiles */
    int32_t vision_channels;   /* of the vision tower's result */
    int32_t n_threads;
    enum eye_weight_type decoder_type, vision_type; /* as asked for, else as the file was made for */
    enum eye_cache_type cache_type; /* what is done: not AUTO */
    enum eye_fit fit;          /* what is done: PAD or CROP */
    const char *default_prompt; /* what an image is asked when nobody asks; "" = nothing, and words are out of its world */
};
EYE_API void eye_model_get_info(const struct eye_model *model, struct eye_model_info *out);

/* Rows that this image takes: as encode_image writes them, as a query has them in its ids. image_tokens for most families; with
 * tiles it depends on the image's proportions. */
struct eye_image;
EYE_API int32_t eye_model_image_rows(const struct eye_model *model, const struct eye_image *img);
/* Columns of the logits; rows one image takes at most; floats per row of features and embeddings. */
EYE_API int32_t eye_model_n_vocab(const struct eye_model *model);
EYE_API int32_t eye_model_image_tokens(const struct eye_model *model);
EYE_API int32_t eye_model_hidden(const struct eye_model *model);

struct eye_memory { /* bytes */
    uint64_t files;       /* mapped (shared, evictable) or read */
    uint64_t weights;     /* packed for the kernels, once per model */
    uint64_t cache;       /* keys and values of one session of n_ctx positions */
    uint64_t activations; /* of one session: results in flight, scratch of all threads */
    uint64_t total;       /* weights + cache + activations, and files if they are read rather than mapped */
};
/* What one session of n_ctx positions (0 = the default) needs, before any of it is allocated.
 * Returns EYE_OK; ARG (n_ctx beyond the model's); UNSUPPORTED; NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_model_memory(struct eye_model *model, int32_t n_ctx, struct eye_memory *out,
                                                        struct eye_err *err);

/* ---- text ---- */
enum {
    EYE_TOKENIZE_SPECIAL = 1, /* recognise special tokens ("<|im_end|>") written in the text */
    EYE_TOKENIZE_BOS = 2      /* add what the tokenizer puts around a whole text (Llama's <s>) */
};
/* Text to token ids.
 * text   len bytes, UTF-8 (invalid sequences are treated as U+FFFD); borrowed.
 * flags  EYE_TOKENIZE_*.
 * ids    [cap] caller's memory; the first min(*n, cap) ids are written. NULL with cap 0 counts.
 * *n     number of ids the text has.
 * Returns EYE_OK (also when cap was too small); NOMEM; LIMIT (text too long). Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_model_tokenize(const struct eye_model *model, const char *text, size_t len,
                                                          uint32_t flags, int32_t *ids, size_t cap, size_t *n,
                                                          struct eye_err *err);
/* Token ids to text, special tokens included as they are written. Ids the tokenizer does not know are nothing.
 * out    [cap] bytes; the first min(*len, cap) are written, no NUL. *len  bytes of the whole text, valid UTF-8.
 * Returns EYE_OK; NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_model_detokenize(const struct eye_model *model, const int32_t *ids, size_t n,
                                                            char *out, size_t cap, size_t *len, struct eye_err *err);
/* One user turn in the model's chat template, ready for an answer; "<image>" marks the place of each image.
 * user   NUL-terminated text. out, cap, *len: as above. Returns EYE_OK; NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_model_chat_text(const struct eye_model *model, const char *user, int32_t n_images,
                                                           char *out, size_t cap, size_t *len, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
