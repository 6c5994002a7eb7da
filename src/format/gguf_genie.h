/* format/gguf_genie: the decoder file of Qualcomm's Genie for its CPU backend ("….bin" of qnn-genai-transformer-composer) is a
 * GGUF v2 container with keys and tensor types of its own; eyelet writes the same (src/genie/decoder_bin.c). Tensors have the
 * names and shapes that llama.cpp gives them, q and k in the order of Hugging Face (half split, "SoA").
 *
 *   model.size.vocabulary i32; A.context_length, embedding_length, embedding_per_head, feed_forward_length, block_count,
 *   attention.head_count, attention.head_count_kv u32 (A = general.architecture, "generic")       sizes
 *   model.architecture.connector, gating; model.operation.normalization, activation, …             the network, by name
 *   model.operation.normalization_epsilon, A.rope.freq_base f32; A.rope.dimension_count u32
 *   tensor types: 0 F32, 1 F16, 201 BF16; 20 to 22 Z4, 30 Q4, 4038 Z8 are refused: their bits are not public
 * A file has no tokenizer. Genie's own reader takes no arrays, so there are none. */
#ifndef EYE_FORMAT_GGUF_GENIE_H
#define EYE_FORMAT_GGUF_GENIE_H

#include "format/gguf.h"

/* What the words of a network that eyelet runs are: written as they are here, and wanted when read. */
extern const struct eye_genie_word {
    const char *key, *value;
} eye_genie_words[];
extern const size_t eye_genie_n_words;

/* config.json of such a file; out is the arena's. UNSUPPORTED: another network, by key; CORRUPT; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_gguf_genie_config(const struct eye_gguf *g, struct eye_arena *arena, struct eye_str *out,
                                                     struct eye_err *err);

#endif
