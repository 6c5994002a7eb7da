/* Random checkpoints in the formats people have, for tests, demos and benchmarks that download nothing. See make_checkpoint.c
 * for the weights' formula and make_tokenizer.c for the tokenizer.
 */
#ifndef EYE_MAKE_CHECKPOINT_H
#define EYE_MAKE_CHECKPOINT_H

#include "base/base.h"
#include "model/names.h"

struct eye_mk_size {
    const char *name;
    int64_t depth[5], width[5], side_px;                     /* tower */
    int64_t hidden, ffn, n_layers, n_heads, n_kv_heads;      /* decoder */
    int64_t n_bpe;                                           /* tokens before the special ones */
    int64_t vocab_hf, vocab_apple;                           /* rows of the embedding */
    bool tied;
    uint64_t seed;                                           /* one that gives varied greedy tokens */
};
const struct eye_mk_size *eye_mk_size_find(const char *name); /* "tiny", "odd", "0.5b"; NULL = unknown */

enum eye_mk_format { EYE_MK_HF, EYE_MK_APPLE, EYE_MK_APPLE_TRAIN };

struct eye_mk_opts {
    const struct eye_mk_size *size;
    enum eye_mk_format format;
    int dtype;                  /* EYE_F32, EYE_F16, EYE_BF16 */
    int n_shards;               /* 0, 1 = one file */
    uint64_t seed;              /* usually size->seed */
    const char *tokenizer_dir;  /* take tokenizer.json from here; NULL = make one */
    const char *out;            /* folder; created if absent */
};
/* Writes the folder; existing files of the same names are replaced. */
EYE_MUST_CHECK enum eye_status eye_make_checkpoint(const struct eye_mk_opts *o, struct eye_err *err);
/* The one that most tests want: "tiny", as Hugging Face has it, f32, its own seed. */
EYE_MUST_CHECK enum eye_status eye_make_tiny(const char *out, struct eye_err *err);

/* tokenizer.json and tokenizer_config.json of a byte-level BPE with n_bpe tokens, then <|endoftext|>, <|im_start|>, <|im_end|>
 * and, for hf, <image>. */
EYE_MUST_CHECK enum eye_status eye_make_tokenizer(int64_t n_bpe, bool hf, const char *out, struct eye_err *err);

/* A folder from DIR/tensors.txt and DIR/config.json: see make_listed.c. */
EYE_MUST_CHECK enum eye_status eye_make_listed(const char *dir, int64_t n_bpe, const char *out, struct eye_err *err);

/* Element i of the tensor canonical, before rounding: uniform in [-1, 1). */
double eye_mk_uniform(const char *canonical, uint64_t seed, uint64_t i);

/* out/name gets these bytes. */
EYE_MUST_CHECK enum eye_status eye_mk_write_file(const char *out, const char *name, const void *p, size_t n,
                                                 struct eye_err *err);

#endif
