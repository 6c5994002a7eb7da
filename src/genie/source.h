/* genie, inside the room: a checkpoint opened for its decoder and files; what the exporters share. */
#ifndef EYE_GENIE_SOURCE_H
#define EYE_GENIE_SOURCE_H

#include "eyelet/genie.h"
#include "model/vlm.h"

struct eye_genie_source {
    struct eye_checkpoint ckpt;
    struct eye_vlm vlm;
};
/* part: the file is one part of a model, else a whole one. s may be closed after a failure as well. */
EYE_MUST_CHECK enum eye_status eye_genie_source_open(struct eye_genie_source *s, const char *path, bool part,
                                                     struct eye_err *err);
void eye_genie_source_close(struct eye_genie_source *s);

/* A stored matrix or vector as a weight whose rows eye_weight_row gives in Hugging Face's order. NULL data: there is none. */
struct eye_value eye_genie_weight(const struct eye_vlm *m, const char *canonical);

/* ---- lut.c ---- */
EYE_MUST_CHECK enum eye_status eye_lut_write(const struct eye_vlm *m, const char *out, enum eye_lut_type type,
                                             struct eye_lut_info *info, eye_cancel_fn *cancel, void *cancel_ctx,
                                             struct eye_err *err);
/* ---- decoder_bin.c ---- */
/* UNSUPPORTED: a decoder that Genie has no words for (GPT-2). */
EYE_MUST_CHECK enum eye_status eye_genie_decoder_write(const struct eye_vlm *m, const char *name, const char *out,
                                                       int64_t n_ctx,
                                                       enum eye_genie_float type, eye_cancel_fn *cancel, void *cancel_ctx,
                                                       struct eye_err *err);
/* Appends the composer's configuration that makes the same file out of the checkpoint. */
EYE_MUST_CHECK enum eye_status eye_genie_composer_config(const struct eye_vlm *m, const char *name, int64_t n_ctx,
                                                         struct eye_buf *out, struct eye_err *err);
/* The i-th canonical tensor name of layer 0 ("attn_q.weight"); NULL past the end. */
const char *eye_genie_layer_tensor(size_t i);

/* ---- part.c ---- */
/* One inference: a file of the input's own type to out [n_out], before its type rounds it. */
EYE_MUST_CHECK enum eye_status eye_genie_part_infer(struct eye_genie_part *n, const char *path, float *out, size_t n_out,
                                                    eye_cancel_fn *cancel, struct eye_err *err);

/* ---- files ---- */
EYE_MUST_CHECK enum eye_status eye_genie_write_file(const char *dir, const char *name, const void *p, size_t n,
                                                    struct eye_err *err);
/* Makes a folder and those above it. */
EYE_MUST_CHECK enum eye_status eye_genie_make_dir(const char *path, struct eye_err *err);

#endif
