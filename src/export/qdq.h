/* QDQ: towers and projectors in static int8, in ONNX. Two forms:
 *
 *   QDQ        QuantizeLinear and DequantizeLinear stand where the engine rounds: around the inputs of convolutions and
 *              matrices, int8 weights with a scale per output channel, biases as int32. A runtime that knows the pattern
 *              multiplies bytes; one that does not computes the same in floats.
 *   ENCODINGS  a graph of floats, its weights on their int8 grid, and beside it a JSON file: range of each tensor by name.
 *
 * Where the engine rounds is asked of the pass that says so to the engine (eye_graph_lay_int8). In QDQ whatever reads 16 bits
 * is floats, its weights too: the default domain has bytes only before opset 21, and int8 weights beside float activations are
 * what ONNX Runtime takes as leave to round these activations to blocks of int8 (MatMulNBits).
 */
#ifndef EYE_EXPORT_QDQ_H
#define EYE_EXPORT_QDQ_H

#include "export/draft.h"
#include "eyelet/export.h"
#include "model/vlm.h"

struct eye_encoding { /* of one tensor */
    const char *tensor;      /* in the model's arena */
    struct eye_quant quant;  /* of an activation */
    const float *row_scale;  /* of a weight: [n_rows], borrowed from its graph; else NULL */
    int64_t n_rows;
};
struct eye_qdq { /* of one ONNX graph; zeroed with form NUMBERS: nothing is int8 there */
    enum eye_export_int8 form;
    const struct eye_alloc *alloc;
    struct eye_encoding *encoding; /* ENCODINGS: as they were met; QDQ: the same, for counts */
    size_t n, cap;
};
void eye_qdq_clear(struct eye_qdq *q);

/* g, a folded part of m, gets its ranges. *rounded [g->n_values]: the values that their maker rounds, for all their readers;
 * the others of a range are rounded for int8 readers alone. In g's arena. ARG: m has no int8 tower. */
EYE_MUST_CHECK enum eye_status eye_qdq_read(const struct eye_vlm *m, enum eye_part part, int64_t side_px, struct eye_graph *g,
                                            const bool **rounded, struct eye_err *err);

/* The JSON file, whole or not at all: version 0.5.0 of AIMET's encodings. number = scale (q + offset), q in 0 … 2^bitwidth - 1 */
EYE_MUST_CHECK enum eye_status eye_qdq_write(const struct eye_qdq *q, const char *path, struct eye_err *err);

#endif
