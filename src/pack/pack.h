/* pack, inside the room: what conversion and its metadata share. */
#ifndef EYE_PACK_H
#define EYE_PACK_H

#include "eyelet/convert.h"
#include "format/gguf_write.h"
#include "model/vlm.h"

/* Is the decoder stored as llama.cpp has this architecture? Llama is not: there RoPE turns neighbours, and rows of q and k are
 * permuted to fit. Such files get an architecture of our own, so that llama.cpp refuses them. */
bool eye_pack_for_llama(const struct eye_vlm *m);
/* general.*, the decoder's sizes and the tokenizer, under the keys llama.cpp reads. */
EYE_MUST_CHECK enum eye_status eye_pack_llama_keys(struct eye_gguf_writer *w, const struct eye_vlm *m,
                                                   enum eye_wtype decoder_type, struct eye_err *err);
/* eyelet.*: form and types of the parts, and the checkpoint's side files as strings eyelet.file.NAME. */
EYE_MUST_CHECK enum eye_status eye_pack_own_keys(struct eye_gguf_writer *w, const struct eye_vlm *m, enum eye_wtype vision_type,
                                                 enum eye_wtype decoder_type, struct eye_err *err);

#endif
