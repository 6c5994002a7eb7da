/* Tensor names: what each checkpoint format calls a tensor, and what eyelet calls it.
 *
 * Canonical names are llama.cpp's for the decoder (token_embd.weight, blk.N.attn_q.weight, …, output.weight), the projector
 * (mm.0.weight, mm.2.weight) and for CLIP and SigLIP (v.patch_embd.weight, v.blk.N.attn_q.weight, …), and a scheme of our own
 * for other vision towers (v.stem.0.…, v.stage.2.block.5.…). They are the names in our GGUF files, so a GGUF needs no
 * translation. Knows strings only: no shapes, no checkpoint.
 */
#ifndef EYE_NAMES_H
#define EYE_NAMES_H

#include "base/base.h"

#define EYE_NAME_MAX 128 /* bytes with the NUL; a longer outside name is unknown */

enum eye_name_format {
    EYE_NAMES_GGUF = 0,  /* canonical already */
    EYE_NAMES_APPLE = 1, /* flat: the layout of the original LLaVA, Apple's llava_qwen2, and of decoders alone */
    EYE_NAMES_HF = 2,    /* transformers-native */
    EYE_NAMES_GPT2 = 4,  /* transformers' GPT-2, whose matrices are stored [in, out] */
    EYE_NAMES_IDEFICS = 8 /* transformers' Idefics3 and SmolVLM */
};

enum eye_name_kind { EYE_NAME_UNKNOWN, EYE_NAME_KNOWN, EYE_NAME_IGNORED };

/* Canonical name of a tensor in any of the folder formats (they do not contradict each other, so the format need not be known).
 * IGNORED: training leftovers and parts no model of ours runs; out is then empty. */
enum eye_name_kind eye_name_to_canonical(const char *name, char *out, size_t cap);

/* The name that canonical has in a format, for error texts and for writing checkpoints. False: that format has no such name
 * (out is then the canonical name itself). */
bool eye_name_from_canonical(const char *canonical, enum eye_name_format format, char *out, size_t cap);

/* The canonical name of the folded tensor that a train-time weight's convolution becomes:
 * "v.stem.0.branch.0.conv.weight" -> "v.stem.0.conv.weight"; names that are folded already stay. False: out is too small. */
bool eye_name_folded(const char *canonical, char *out, size_t cap);

#endif
