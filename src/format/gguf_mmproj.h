/* format/gguf_mmproj: a vision tower with its projector in a file of its own, as llama.cpp keeps LLaVA's beside the text model
 * (general.architecture "clip"). Tensors have eyelet's names already, but for a swap that old files have; keys become an
 * eyelet_vlm configuration (doc/models/compose.md) around the text model's.
 *
 *   clip.vision.image_size, patch_size, embedding_length, feed_forward_length, attention.*, image_mean, image_std,
 * clip.use_gelu
 *   v.class_embd there: CLIP, else SigLIP;  v.post_ln there: the last layer's norm is taken
 *   as many layers as are stored: LLaVA's files end with the layer that is taken (the second to last of the tower)
 * Sources: llama.cpp's convert_image_encoder_to_gguf.py and clip.cpp. */
#ifndef EYE_FORMAT_GGUF_MMPROJ_H
#define EYE_FORMAT_GGUF_MMPROJ_H

#include "format/gguf.h"

/* text_config: the text model's config.json; text: its file. *out: the whole's, in the arena. UNSUPPORTED: another projector or
 * activation, several picture sizes (LLaVA-NeXT), by key; CORRUPT: contradictions. */
EYE_MUST_CHECK enum eye_status eye_gguf_mmproj_config(const struct eye_gguf *mm, const struct eye_gguf *text,
                                                      struct eye_str text_config, struct eye_arena *arena, struct eye_str *out,
                                                      struct eye_err *err);
/* The name that tensor i has for eyelet, in the arena or mm's; NULL = no memory. */
const char *eye_gguf_mmproj_name(const struct eye_gguf *mm, size_t i, struct eye_arena *arena);
bool eye_gguf_is_mmproj(const struct eye_gguf *g);

#endif
