/* pack, inside the room: a vision tower and its projector in static int8, calibrated on pictures. */
#ifndef EYE_PACK_INT8_H
#define EYE_PACK_INT8_H

#include "format/gguf_write.h"
#include "model/vlm.h"
#include "pack/ranges.h"

struct eye_int8_opts {
    const char *pictures;            /* the calibration set's folder */
    uint32_t max_pictures;           /* 0 = EYE_CALIBRATION_DEFAULT; every fourth of them is left for eye_quality_measure */
    enum eye_range_method method;
    double snr_db;                   /* of the features: what costs most gets 16 bits until it is met; 0 = bytes everywhere */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    bool (*cancel)(void *ctx);
    void *cancel_ctx;
};
struct eye_int8_counts {
    uint64_t n_pictures, n_unreadable;
    char first_unreadable[256];
    uint64_t n_int8, n_could;        /* nodes that multiply int8, and that could, both parts */
    uint64_t n_wide;                 /* of n_int8: whose input has 16 bits */
};
/* vision, projector: folded graphs of m. On success values have ranges and weights are int8 wherever eye_graph_int8_fits and it
 * pays; the network's other weights may have changed too (equalized). */
EYE_MUST_CHECK enum eye_status eye_int8_calibrate(const struct eye_vlm *m, struct eye_graph *vision,
                                                  struct eye_graph *projector, const struct eye_int8_opts *opts,
                                                  struct eye_int8_counts *counts, struct eye_err *err);
/* Ranges of both graphs as metadata: what eye_vlm_ranges reads. */
EYE_MUST_CHECK enum eye_status eye_int8_put_ranges(struct eye_gguf_writer *w, const struct eye_graph *vision,
                                                   const struct eye_graph *projector, struct eye_err *err);

#endif
