/* format/gguf_folder: a GGUF file of llama.cpp's as the folder it was made from: config.json and tokenizer files, written from
 * its metadata, so that everything behind reads one form. Architectures qwen2 and llama; vocabularies of bytes and of pieces.
 *
 *   ARCH.embedding_length, block_count, attention.head_count, …            -> config.json
 *   tokenizer.ggml.tokens, token_type, merges, pre, add_bos_token          -> tokenizer.json
 *   tokenizer.ggml.tokens, token_type, scores, add_space_prefix            -> tokenizer.model (pieces)
 *   tokenizer.ggml.bos_token_id, eos_token_id, padding_token_id            -> tokenizer_config.json
 *   tokenizer.chat_template                                                -> chat_template.jinja
 * Keys: GGUF specification; llama.cpp's gguf-py/gguf/constants.py. pre names the pattern that cuts text into words; only known
 * ones are taken, since another cut gives other tokens. */
#ifndef EYE_FORMAT_GGUF_FOLDER_H
#define EYE_FORMAT_GGUF_FOLDER_H

#include "format/gguf.h"

enum { EYE_GGUF_CONFIG, EYE_GGUF_TOKENIZER, EYE_GGUF_TOKENIZER_CONFIG, EYE_GGUF_TEMPLATE, EYE_GGUF_PIECES, EYE_GGUF_N_FILES };
extern const char *const eye_gguf_folder_names[EYE_GGUF_N_FILES];

/* file[i].p NULL = there is none. Texts are the arena's or g's. UNSUPPORTED: another architecture, RoPE scaling, experts, a
 * vocabulary of another kind, …, by key; CORRUPT: contradictions; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_gguf_folder(const struct eye_gguf *g, struct eye_arena *arena,
                                               struct eye_str file[EYE_GGUF_N_FILES],
                                               struct eye_err *err);

#endif
