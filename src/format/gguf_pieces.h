/* format/gguf_pieces: the SentencePiece vocabulary of a llama.cpp GGUF (tokenizer.ggml.model = llama) as a tokenizer.model, so
 * that one reader knows pieces and scores. */
#ifndef EYE_FORMAT_GGUF_PIECES_H
#define EYE_FORMAT_GGUF_PIECES_H

#include "format/gguf.h"

/* Bytes of the arena. User-defined tokens are written as control ones: tokenizer_config.json says what they are. CORRUPT:
 * arrays of different lengths, types that are none, scores that are no numbers; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_gguf_pieces(const struct eye_gguf *g, struct eye_arena *arena, struct eye_str *out,
                                               struct eye_err *err);

#endif
