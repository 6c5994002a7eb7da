/* roofline: what a model's stages cost at least, from its plans, and what a machine makes of that. */
#include <string.h>

#include "eyelet/experimental.h"
#include "session/session_impl.h"

_Static_assert((int)EYE_SPEED_F32 == (int)EYE_COST_F32 && (int)EYE_SPEED_BF16 == (int)EYE_COST_BF16 &&
                   (int)EYE_SPEED_Q8_0 == (int)EYE_COST_I8 && (int)EYE_N_SPEED == (int)EYE_N_COST,
               "kinds of units have the same numbers");

/* Adds a run of a part: t rows, of which the last `picked` are wanted (of the decoder). */
static enum eye_status add_part(struct eye_model *m, enum eye_part part, int64_t t, int64_t past, int64_t picked,
                                struct eye_stage_cost *out, struct eye_err *err) {
    const struct eye_plan *plan;
    struct eye_plan_sizes size;
    EYE_TRY(eye_model_plan(m, part, &plan, err));
    struct eye_plan_cost c = eye_plan_cost(plan, t, past, picked);
    eye_plan_measure(plan, &size);
    for (int i = 0; i < EYE_N_COST; i++) out->ops[i] += c.ops[i];
    out->bytes += c.bytes + (double)size.state_per_position * (double)(past + t);
    return EYE_OK;
}

static enum eye_status add_all(struct eye_model *m, int32_t n_prefill, int32_t n_past, struct eye_stage_cost *out,
                               struct eye_err *err) {
    if (eye_vlm_sees(&m->vlm)) {
        EYE_TRY(add_part(m, EYE_PART_VISION, 1, 0, 0, &out[EYE_STAGE_VISION], err));
        EYE_TRY(add_part(m, EYE_PART_PROJECTOR, m->picture_tokens, 0, 0, &out[EYE_STAGE_PROJECTOR], err));
    }
    for (int32_t at = 0; at < n_prefill; at += EYE_PREFILL_ROWS) {
        int32_t n = EYE_MIN(EYE_PREFILL_ROWS, n_prefill - at);
        EYE_TRY(add_part(m, EYE_PART_DECODER, n, at, at + n == n_prefill, &out[EYE_STAGE_PREFILL], err));
    }
    EYE_TRY(add_part(m, EYE_PART_HEAD, 1, 0, 0, &out[EYE_STAGE_PREFILL], err));
    EYE_TRY(add_part(m, EYE_PART_DECODER, 1, n_past, 1, &out[EYE_STAGE_DECODE], err));
    return add_part(m, EYE_PART_HEAD, 1, 0, 0, &out[EYE_STAGE_DECODE], err);
}

enum eye_status eye_model_cost(struct eye_model *m, int32_t n_prefill, int32_t n_past, struct eye_stage_cost out[EYE_N_STAGE],
                               struct eye_err *err) {
    memset(out, 0, EYE_N_STAGE * sizeof *out);
    pthread_mutex_lock(&m->lock);
    enum eye_status st = add_all(m, n_prefill, n_past, out, err);
    pthread_mutex_unlock(&m->lock);
    return st;
}

double eye_stage_limit_s(const struct eye_stage_cost *c, const struct eye_speed *s) {
    double compute = 0, read = s->read_bytes_per_s > 0 ? c->bytes / s->read_bytes_per_s : 0;
    for (int i = 0; i < EYE_N_SPEED; i++)
        if (s->peak_flop_per_s[i] > 0) compute += c->ops[i] / s->peak_flop_per_s[i];
    return EYE_MAX(compute, read);
}
