/* pack, inside the room: what conversion and its metadata share. */
#ifndef EYE_PACK_H
#define EYE_PACK_H

#include "eyelet/convert.h"
#include "format/gguf_write.h"
#include "model/vlm.h"

/* general.*, the decoder's sizes and the tokenizer, under the keys llama.cpp reads. A tokenizer that it has no kind for is left
 * out of a whole file; UNSUPPORTED in a decoder alone. */
EYE_MUST_CHECK enum eye_status eye_pack_llama_keys(struct eye_gguf_writer *w, const struct eye_vlm *m,
                                                   enum eye_wtype decoder_type, bool whole, struct eye_err *err);
/* eyelet.*: form and types of the parts, and the checkpoint's side files as strings eyelet.file.NAME; those of the tokenizer
 * only with text. mixed: matrices of the decoder are of several types, most of decoder_type. */
EYE_MUST_CHECK enum eye_status eye_pack_own_keys(struct eye_gguf_writer *w, const struct eye_vlm *m, enum eye_wtype vision_type,
                                                 enum eye_wtype decoder_type, bool mixed, bool text, struct eye_err *err);

#endif
