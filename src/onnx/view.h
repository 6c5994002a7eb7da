/* onnx/view: what checking, printing and changing of graphs share: values' types and shapes, reports. */
#ifndef EYE_ONNX_VIEW_H
#define EYE_ONNX_VIEW_H

#include "eyelet/onnx.h"
#include "onnx/onnx.h"

/* ---- values ---- */
#define EYE_ONNX_MAX_RANK 16
struct eye_onnx_shape {
    int32_t type;           /* of the elements; 0 = no tensor */
    bool known;             /* rank and dims are said */
    size_t rank;
    int64_t dim[EYE_ONNX_MAX_RANK];      /* -1 = symbolic */
    const char *param[EYE_ONNX_MAX_RANK]; /* its name or "" */
};
/* A rank above EYE_ONNX_MAX_RANK counts as not known. */
struct eye_onnx_shape eye_onnx_shape_of(const EyeOnnx__ValueInfoProto *v);
/* "[1, 2, tokens, 64]" */
void eye_onnx_shape_text(const struct eye_onnx_shape *s, struct eye_buf *out);
/* Name as one printable line in at most 200 bytes: control characters become '?'. */
void eye_onnx_name_text(const char *name, struct eye_buf *out);

/* The index of past_key_values.N.key and the like: does name match a pattern with one "{i}"? */
bool eye_onnx_name_match(const char *pattern, const char *name, int64_t *i);
void eye_onnx_name_fill(const char *pattern, int64_t i, struct eye_buf *out);

/* ---- reports ---- */
void eye_onnx_report_init(struct eye_onnx_report *r);
/* Texts are copied; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_onnx_report_add(struct eye_onnx_report *r, enum eye_onnx_finding_kind kind, const char *name,
                                                   const char *text, struct eye_err *err);
/* A copy that lives as long as the report; NULL = no memory. */
const char *eye_onnx_report_text(struct eye_onnx_report *r, const char *text);
void eye_onnx_report_sort(struct eye_onnx_report *r); /* by kind, else in the order they came */

/* ---- the parts of eye_onnx_check ---- */
EYE_MUST_CHECK enum eye_status eye_onnx_check_graph(struct eye_onnx *m, struct eye_onnx_report *r, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_check_signature(struct eye_onnx *m, const struct eye_onnx_check_opts *opts,
                                                        struct eye_onnx_report *r, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_lint_model(struct eye_onnx *m, enum eye_onnx_target target, struct eye_onnx_report *r,
                                                   struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_rename_model(struct eye_onnx *m, const struct eye_onnx_rename_opts *opts, size_t *n,
                                                     struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_patch_model(struct eye_onnx *m, const struct eye_onnx_patch_opts *opts,
                                                    struct eye_onnx_patch_report *report, struct eye_err *err);

/* JSON texts of the built-in signatures, ended by a NULL name. style -1: for all styles. */
struct eye_onnx_signature_text {
    const char *name;
    int style;
    const char *json;
};
extern const struct eye_onnx_signature_text eye_onnx_signature_texts[];

#endif
