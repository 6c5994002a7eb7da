/* text/ggml_vocab: a tokenizer as llama.cpp's kinds of vocabulary: what a GGUF file has to say so that llama.cpp makes the
 * same ids.
 * Byte-level BPE is its "gpt2" (tokens in the byte alphabet, merges, a name for the pattern that cuts text into words), BPE on
 * characters its "llama" (pieces with scores, as SentencePiece has them). */
#ifndef EYE_GGML_VOCAB_H
#define EYE_GGML_VOCAB_H

#include "text/tokenizer.h"

enum eye_ggml_kind { /* llama.cpp's token types */
    EYE_GGML_NORMAL = 1, EYE_GGML_UNKNOWN, EYE_GGML_CONTROL, EYE_GGML_USER_DEFINED, EYE_GGML_UNUSED, EYE_GGML_BYTE
};

struct eye_ggml_vocab {
    bool pieces;       /* model "llama"; else "gpt2" */
    const char *pre;   /* of gpt2 */
    bool add_prefix;   /* of llama: a blank goes before the text */
    bool add_bos, add_eos;
    int32_t bos;       /* -1 = the tokenizer knows none */
};

/* UNSUPPORTED, with the reason: llama.cpp has no vocabulary that makes these ids. */
EYE_MUST_CHECK enum eye_status eye_ggml_vocab(const struct eye_tokenizer *tk, struct eye_ggml_vocab *out, struct eye_err *err);
enum eye_ggml_kind eye_ggml_kind(const struct eye_tokenizer *tk, int32_t id);
/* Of pieces: score [n_vocab], higher = joined earlier. */
void eye_ggml_scores(const struct eye_tokenizer *tk, double *score);

#endif
