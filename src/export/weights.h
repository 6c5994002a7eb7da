/* Weights of a graph as initializers of ONNX models, read from the checkpoint row by row when the files are written: nothing is
 * held twice. Matrices of MatMul are turned round in bands. Several models may name the same weight.
 */
#ifndef EYE_EXPORT_WEIGHTS_H
#define EYE_EXPORT_WEIGHTS_H

#include "export/draft.h"
#include "graph/graph.h"

enum eye_weight_form {
    EYE_FORM_ROWS,      /* as the graph has it */
    EYE_FORM_TRANSPOSED /* [N,K] as [K,N]: the right side of MatMul */
};

struct eye_weight_scratch { /* shared by all weights of one export; zeroed: empty */
    const struct eye_alloc *alloc;
    float *row;           /* one row of the graph's weight */
    size_t row_cap;
    char *band;           /* rows of a transposed weight */
    size_t band_cap;
    size_t band_most;     /* bytes of it at most, but one row; 0 = 64 MiB */
    const void *owner;    /* whose rows band holds: [first, first + n) */
    int64_t first, n;
};
void eye_weight_scratch_clear(struct eye_weight_scratch *s);

/* Initializer of weight w, of the draft's real type. rank 0: the weight's own dims (turned round if so asked); else dims, of as
 * many elements and with the same first dim: [C] as [C,1,1]. What w points to must live until the models are written. */
EYE_MUST_CHECK enum eye_status eye_draft_weight(struct eye_draft *d, struct eye_weight_scratch *s, const struct eye_value *w,
                                                enum eye_weight_form form, size_t rank, const int64_t *dims, const char **out,
                                                struct eye_err *err);

#endif
