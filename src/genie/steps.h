/* genie, inside the room: an exported folder and a run folder as the host's steps read them. */
#ifndef EYE_GENIE_STEPS_H
#define EYE_GENIE_STEPS_H

#include "genie/ctx_info.h"

struct eye_genie_exported { /* an exported one */
    const char *dir;
    int64_t n_ctx;
    struct eye_ctx_info vision, embed;
    bool sees;
};
/* vision, embed: files about the context binaries in place of dir's; NULL = dir's. dir is borrowed. */
EYE_MUST_CHECK enum eye_status eye_genie_exported_open(struct eye_genie_exported *f, const char *dir, const char *vision,
                                                       const char *embed, struct eye_err *err);

struct eye_genie_tokens { /* of tokens.json */
    int64_t n_text, image_pos, image_rows;
};
EYE_MUST_CHECK enum eye_status eye_genie_tokens_read(const char *run, const struct eye_genie_exported *f,
                                                     struct eye_genie_tokens *t, struct eye_err *err);

/* Rows of a step ("vision_out") as f32, out [t->n]: its own type, float32 or float16, told by the size. IO: it did not run. */
EYE_MUST_CHECK enum eye_status eye_genie_step_rows(const char *run, const char *step, const struct eye_ctx_tensor *t,
                                                   float *out, struct eye_err *err);

/* dir/name; ARG: too long. */
EYE_MUST_CHECK enum eye_status eye_genie_join(char *out, size_t cap, const char *dir, const char *name, struct eye_err *err);

#endif
