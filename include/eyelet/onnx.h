/* ONNX files: what is in them, whether they are what a tool chain expects, and changes to them: names, fused operators, masks. Files
 * of any exporter, not of eyelet's alone; no model is run.
 *
 *   struct eye_onnx_check_opts opts = {.signature = "decoder-kv", .kv_style = EYE_ONNX_KV_GENIE, .cache_len = 1023};
 *   struct eye_onnx_report report;
 *   if (eye_onnx_check("decoder.onnx", &opts, &report, &err) != EYE_OK) return fail(&err);
 *   for (size_t i = 0; i < report.n; i++) printf("%s: %s\n", report.finding[i].name, report.finding[i].text);
 *   eye_onnx_report_clear(&report);
 *
 * Bytes are taken as hostile: sizes, nesting, memory and the places of data files are checked. In the static library only. See
 * doc/ONNX.md.
 */
#ifndef EYELET_ONNX_H
#define EYELET_ONNX_H

#include <stdbool.h>

#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- findings ---- */

enum eye_onnx_finding_kind {
    EYE_ONNX_MISSING_INPUT, EYE_ONNX_UNEXPECTED_INPUT, EYE_ONNX_MISMATCHED_INPUT, /* against a signature */
    EYE_ONNX_MISSING_OUTPUT, EYE_ONNX_UNEXPECTED_OUTPUT, EYE_ONNX_MISMATCHED_OUTPUT,
    EYE_ONNX_BROKEN_GRAPH,  /* no model: a name that nothing makes, made twice, an operator set that is not imported */
    EYE_ONNX_REFUSED_OP, EYE_ONNX_REFUSED_TYPE, EYE_ONNX_DYNAMIC_AXIS, EYE_ONNX_REFUSED_RANK, /* by a target */
    EYE_ONNX_N_FINDING_KINDS
};
const char *eye_onnx_finding_name(enum eye_onnx_finding_kind kind); /* "missing input" */

struct eye_onnx_finding {
    enum eye_onnx_finding_kind kind;
    const char *name; /* of the tensor or node */
    const char *text; /* what is wrong with it; of a MISMATCHED one "expected=((1, 1, 896), 10), actual=…  # why" */
};
struct eye_onnx_report { /* give it back with eye_onnx_report_clear */
    struct eye_onnx_finding *finding;
    size_t n;
    size_t n_inputs, n_outputs; /* of the graph */
    const char *signature;      /* its name; NULL = none was asked for */
    const char *dims;           /* what its names stand for: "cache=1023 layers=24 …" */
    size_t cap;                 /* private, and so is: */
    void *memory;
};
void eye_onnx_report_clear(struct eye_onnx_report *r);

/* ---- looking ---- */

struct eye_onnx_value {
    const char *name, *type; /* "f32"; "" = no tensor, or not said */
    const char *shape;       /* "[1, 2, tokens, 64]"; "" = not said */
};
struct eye_onnx_op_count {
    const char *domain, *op; /* "" = ONNX's own operators */
    size_t n;                /* nodes, of subgraphs too */
};
struct eye_onnx_summary { /* give it back with eye_onnx_summary_clear */
    int64_t ir_version;
    const char *producer, *graph;
    const struct eye_onnx_op_set {
        const char *domain;
        int64_t version;
    } *op_set;
    const struct eye_onnx_value *input, *output;
    const struct eye_onnx_op_count *op; /* most frequent first */
    size_t n_op_sets, n_inputs, n_outputs, n_ops, n_nodes, n_initializers;
    uint64_t n_weights, weight_bytes, outside_bytes; /* elements; bytes by their shapes; of these, in data files */
    const char *const *data_file; /* [n_data_files] names */
    size_t n_data_files;
    const char *signature; /* JSON that eye_onnx_check takes: inputs and outputs as they are */
    void *memory;          /* private */
};
/* Reads the model alone, no data files. Returns EYE_OK; IO; CORRUPT; LIMIT; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_onnx_summarize(const char *path, struct eye_onnx_summary *out, struct eye_err *err);
void eye_onnx_summary_clear(struct eye_onnx_summary *s);

/* ---- checking ---- */

enum eye_onnx_kv_style { /* of the signatures with a cache */
    EYE_ONNX_KV_PLAIN = 0, /* past_key_values.N.key [1,Hkv,P,D] -> present.N.key */
    EYE_ONNX_KV_DOT,       /* the same names, keys [1,Hkv,D,P] */
    EYE_ONNX_KV_GENIE      /* past_key_N_in [1,Hkv,D,P] -> past_key_N_out */
};
struct eye_onnx_check_opts { /* all zero: the graph's own sense alone */
    const char *signature;   /* a name of eye_onnx_signature_name(), or a path of a JSON file; NULL = none */
    enum eye_onnx_kv_style kv_style;
    int64_t cache_len, n_layers;   /* 0 = as the graph has it */
    const char *const *dim;  /* [n_dims] "hidden=896": other names of the signature that are settled */
    size_t n_dims;
};
/* Holds inputs AND outputs (names, types, shapes, how many) against a signature, and checks that the graph makes sense: each
 * name is made once and before it is used, operator sets are imported, data files hold what tensors say. Sizes that the
 * signature names ("cache") and the caller does not settle are taken from the graph, the same everywhere. Findings, in the
 * order of the kinds, are no error. Returns EYE_OK; ARG (no such signature, a dim it does not have); CORRUPT (a signature file
 * that is none; what loading returns); IO; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_onnx_check(const char *path, const struct eye_onnx_check_opts *opts,
                                              struct eye_onnx_report *report, struct eye_err *err);
const char *eye_onnx_signature_name(size_t i); /* NULL behind the last */

enum eye_onnx_target {
    EYE_ONNX_TARGET_PLAIN = 0, /* any runtime: operators of ONNX's own set alone */
    EYE_ONNX_TARGET_QNN        /* what Qualcomm's converter takes for the NPU */
};
/* What the target will not take: operators, types, symbolic dims, ranks, with the names of nodes and tensors. Returns as
 * check. */
EYE_MUST_CHECK enum eye_status eye_onnx_lint(const char *path, enum eye_onnx_target target, struct eye_onnx_report *report,
                                             struct eye_err *err);

/* ---- changing. out appears when it is whole and may be the file itself. Beside in it goes on using its data files; in
 * another folder they are copied to OUT.data. ---- */

enum eye_onnx_names {
    EYE_ONNX_NAMES_ASIS = 0, /* pairs alone */
    EYE_ONNX_NAMES_GENIE,    /* past_key_values.N.key -> past_key_N_in, present.N.key -> past_key_N_out; value likewise */
    EYE_ONNX_NAMES_PLAIN     /* the way back */
};
struct eye_onnx_rename_opts {
    enum eye_onnx_names names;
    const char *const *pair; /* [n_pairs] "from=to" */
    size_t n_pairs;
    int64_t n_layers;        /* with names: exactly so many; 0 = as many as there are */
};
/* Renames tensors everywhere they occur: inputs, outputs, shapes, initializers, nodes, subgraphs. *n_renamed (may be NULL):
 * tensors. Returns EYE_OK; ARG (nothing matched, a pair did not match, another number of layers, two tensors would get one
 * name); and what loading and writing return. */
EYE_MUST_CHECK enum eye_status eye_onnx_rename(const char *in, const char *out, const struct eye_onnx_rename_opts *opts,
                                               size_t *n_renamed, struct eye_err *err);

enum eye_onnx_present { /* what taken apart attention gives of keys and values */
    EYE_ONNX_PRESENT_ALL = 0, /* past and new, as the fused node */
    EYE_ONNX_PRESENT_NEW      /* those of this call's tokens; the caller puts them into its cache */
};
enum eye_onnx_mask {
    EYE_ONNX_MASK_KEEP = 0, /* attention: computed from the node's lengths; an input: as it is */
    EYE_ONNX_MASK_I64,      /* the input attention_mask: 0 = hidden, any other number = seen */
    EYE_ONNX_MASK_I32,
    EYE_ONNX_MASK_ADDED     /* of attention only: added to the scores, 0 = seen */
};
struct eye_onnx_patch_opts { /* all zero: everything fused is taken apart, to the same results */
    bool keep_norms, keep_ropes, keep_attentions;
    bool norms_as_stored;          /* f16 norms square in f16, which overflows at 256; the nodes widen to f32 */
    enum eye_onnx_present present;
    bool turned_keys;              /* keys in and out are [B,Hkv,D,P]; dot and genie signatures want it */
    enum eye_onnx_mask mask;       /* attention reads it from an input attention_mask [B,1,S,P + S] instead of lengths */
    enum eye_onnx_mask mask_type;  /* I64 or I32: type of an input attention_mask that is there already */
    bool mask_nonzero;             /* and in it any number but 0 counts as 1 */
    const char *const *dim;        /* [n_dims] "sequence_length=1": symbolic dims of this name become numbers first */
    size_t n_dims;
    bool rope_inputs;              /* cosines and sines come as inputs position_ids_cos, position_ids_sin [1,1,S,dims/2] */
};
struct eye_onnx_patch_report {
    size_t n_norms, n_ropes, n_attentions; /* nodes taken apart */
    size_t n_inputs_changed, n_inputs_added, n_inputs_dropped;
    size_t n_dropped; /* other nodes that nothing needs any more */
};
/* Takes fused nodes apart into ONNX's own operators: SimplifiedLayerNormalization, SkipSimplifiedLayerNormalization,
 * RMSNormalization; com.microsoft's RotaryEmbedding and GroupQueryAttention. Epsilons, styles of rotation, scales and windows
 * are the nodes' own. What a node says that plain operators are not written for is UNSUPPORTED, by name; ARG: there is nothing
 * to patch; and what loading and writing return. report may be NULL. */
EYE_MUST_CHECK enum eye_status eye_onnx_patch(const char *in, const char *out, const struct eye_onnx_patch_opts *opts,
                                              struct eye_onnx_patch_report *report, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
