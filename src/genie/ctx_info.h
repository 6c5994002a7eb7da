/* genie/ctx_info: what one graph takes and gives, as the JSON that qnn-context-binary-utility prints about a context binary.
 * Written in its nested form; read in the three that are about: nested, nested without the graph's own "info", and flat.
 *
 *   info.graphs[0].info.graphName, graphInputs[0], graphOutputs[0]
 *   T.info.name, dimensions, dataType, quantizeParams.scaleOffset
 *
 * value = (q + offset) scale, offset <= 0. Knows JSON, no model. */
#ifndef EYE_GENIE_CTX_INFO_H
#define EYE_GENIE_CTX_INFO_H

#include "base/base.h"
#include "genie/elements.h"

enum { EYE_CTX_INFO_MAX_RANK = 5 };
#define EYE_CTX_INFO_MAX_BYTES ((size_t)16 << 20)
#define EYE_CTX_INFO_KEY "eyelet.context" /* of a part's file: the JSON */

struct eye_ctx_tensor {
    char name[64];
    int rank;
    int64_t dims[EYE_CTX_INFO_MAX_RANK];
    size_t n; /* elements */
    struct eye_elements e;
};
struct eye_ctx_info {
    char graph[64];
    struct eye_ctx_tensor in, out;
};

/* CORRUPT: names the member; UNSUPPORTED: a data type, more inputs or outputs than one. where: for error texts. A form without
 * inputs (they are made by hand) leaves in.rank 0. */
EYE_MUST_CHECK enum eye_status eye_ctx_info_parse(struct eye_ctx_info *s, const char *text, size_t n, const char *where,
                                                   struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_ctx_info_read(struct eye_ctx_info *s, const char *path, struct eye_err *err);
/* Appends it. */
EYE_MUST_CHECK enum eye_status eye_ctx_info_write(const struct eye_ctx_info *s, struct eye_buf *out, struct eye_err *err);

#endif
