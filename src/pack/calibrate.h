/* pack, inside the room: a decoder's matrices, rounded one layer after the other by what goes through them.
 *
 * The rows of all pairs walk through the decoder a layer at a time. Within a layer, linears that read the same value (q, k and
 * v; gate and up) share statistics and are rounded together, in the order they run; each group sees inputs that the rounded
 * matrices before it have made, so it makes up for their errors too. The layer is a section of the unfused graph with those
 * values as outputs (eye_graph_cut), run by the engine: there is no second description of a decoder and nothing in a lowering
 * knows of this. Memory: two copies of all rows, one layer's plan, and H and its factors of one group (EYE_CALIBRATE_MAX_K).
 */
#ifndef EYE_PACK_CALIBRATE_H
#define EYE_PACK_CALIBRATE_H

#include "model/vlm.h"
#include "pack/pairs.h"
#include "pack/rounding.h"

/* Longer rows are rounded by the diagonal of H alone: the square would take more than 256 MiB. */
#define EYE_CALIBRATE_MAX_K 8192

struct eye_calibrated_tensor {
    const char *name;      /* of the weight in the graph */
    enum eye_dtype dtype;
    int64_t n, k;
    void *rows;            /* [n] rows of dtype */
    size_t bytes;
    struct eye_round_cost cost, plain; /* plain: what plain rounding would have cost on the same inputs */
    bool raised;           /* q8_0, because in the type asked for it would have cost: */
    struct eye_round_cost narrow; /* = cost if it was not raised */
};
struct eye_calibrated {
    const struct eye_alloc *alloc;
    struct eye_arena arena;
    struct eye_strmap by_name;
    struct eye_calibrated_tensor *tensor;
    size_t n, cap, n_raised;
};
struct eye_calibrate_opts {
    enum eye_wtype type; /* of the decoder: q8_0, q4_0, q4_k; matrices whose rows fall back to f16 are left alone */
    double snr_db;       /* > 0: matrices whose outputs are farther from the checkpoint's than this become q8_0 */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    bool (*cancel)(void *ctx);
    void *cancel_ctx;
};
/* weighted_all is more than snr_db above weighted_err. */
bool eye_round_is_near(const struct eye_round_cost *c, double snr_db);
/* rows: of all pairs one after the other, as the decoder gets them, [p->n_ids, hidden]; spoilt. */
EYE_MUST_CHECK enum eye_status eye_calibrate_decoder(struct eye_calibrated *c, const struct eye_vlm *m,
                                                     const struct eye_pairs *p, float *rows,
                                                     const struct eye_calibrate_opts *opts, struct eye_err *err);
void eye_calibrated_init(struct eye_calibrated *c, const struct eye_alloc *alloc);
void eye_calibrated_clear(struct eye_calibrated *c);
const struct eye_calibrated_tensor *eye_calibrated_find(const struct eye_calibrated *c, const char *name); /* NULL = not one */
/* w as it is after rounding, where it was; data is c's. */
struct eye_value eye_calibrated_value(const struct eye_calibrated *c, const struct eye_value *w);

#endif
