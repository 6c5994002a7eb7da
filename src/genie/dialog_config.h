/* genie/dialog_config: a dialog's configuration file: checked as Genie checks it (schema.h), then its values in one struct.
 * What Genie takes and eyelet does not run is UNSUPPORTED here, by name. Knows JSON, no model. */
#ifndef EYE_GENIE_DIALOG_CONFIG_H
#define EYE_GENIE_DIALOG_CONFIG_H

#include "base/base.h"
#include "eyelet/session.h"
#include "genie/elements.h"

enum { EYE_GENIE_MAX_EOS = 16, EYE_GENIE_MAX_STOP = 64 };
#define EYE_GENIE_MAX_CONFIG ((size_t)4 << 20)

struct eye_genie_config { /* texts are the arena's */
    struct eye_arena arena;
    int64_t n_ctx, n_vocab;
    int64_t bos;                        /* -1 = none */
    int64_t eos[EYE_GENIE_MAX_EOS];     /* what ends an answer; negative ones are none and not here */
    size_t n_eos;
    int64_t embedding_size;             /* 0 = the file says nothing of an embedding */
    struct eye_elements embedding;
    const char *lut_path;               /* NULL = none */
    const char *tokenizer, *model_bin;
    bool on_npu;                        /* backend QnnHtp: model_bin is the first of its ctx-bins */
    int32_t n_threads;
    bool use_mmap, kv_quantization, embeddings_in;
    int64_t n_layer, n_embd, n_heads, n_kv_heads, rope_dim, kv_dim; /* 0 = unsaid */
    int64_t max_tokens;                 /* of an answer; -1 = as many as fit */
    const char *stop[EYE_GENIE_MAX_STOP];
    size_t n_stop;
    bool has_seed;
    struct eye_generate_opts sampling;  /* temperature, top_k, top_p, penalties, seed */
};

/* text [n] is the file `where` (borrowed). CORRUPT: Genie's message behind "where: "; UNSUPPORTED; LIMIT; NOMEM. On failure c
 * is cleared. */
EYE_MUST_CHECK enum eye_status eye_genie_config_parse(struct eye_genie_config *c, const char *text, size_t n, const char *where,
                                                      const struct eye_alloc *alloc, struct eye_err *err);
void eye_genie_config_clear(struct eye_genie_config *c);

#endif
