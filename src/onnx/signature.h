/* A signature as read (signature_read.c), and what matching it against a graph fills in (signature.c). */
#ifndef EYE_ONNX_SIGNATURE_H
#define EYE_ONNX_SIGNATURE_H

#include "format/json.h"
#include "onnx/view.h"

#define MAX_VARS 32
#define MAX_TERMS 4
#define MAX_SPECS 256
#define MAX_SHAPES 4
#define MAX_LAYERS 4096
#define MAX_SIZE ((int64_t)1 << 48) /* of one dim: sums of a few stay in int64 */
#define FLOATS (1u << EYE_ONNX_F32 | 1u << EYE_ONNX_F16 | 1u << EYE_ONNX_BF16)
enum { DYNAMIC = -1, UNBOUND = -2 };

struct expr { /* a sum; none = any */
    size_t n;
    struct term {
        int var; /* index, or -1: */
        int64_t number, over;
    } term[MAX_TERMS];
};
struct spec {
    const char *pattern; /* of the JSON tree */
    uint32_t types;      /* bits of element types below 32 */
    bool precision;      /* "float" */
    bool output, layered;
    int group, branch; /* of an "either"; group 0 = none */
    size_t n_shapes;
    struct {
        size_t rank;
        struct expr dim[EYE_ONNX_MAX_RANK];
    } shape[MAX_SHAPES];
};
struct var {
    char name[32];
    int64_t value; /* or DYNAMIC, UNBOUND */
    bool settled;  /* by the caller */
};
struct entry { /* a tensor that should be there */
    const struct spec *spec;
    char *name; /* of the arena */
    const EyeOnnx__ValueInfoProto *value; /* NULL = missing */
    struct eye_onnx_shape is;
};
struct matcher {
    struct eye_onnx *m;
    struct eye_arena arena;
    struct eye_json json;
    const char *name;
    bool is_static;
    struct spec *spec; /* [MAX_SPECS] */
    size_t n_specs;
    struct var var[MAX_VARS];
    size_t n_vars, n_groups;
    int precision; /* the type that "float" is */
    int64_t layers;
    struct entry *entry;
    size_t n_entries, cap;
    struct eye_strmap names; /* of expected tensors: inputs' as they are, outputs' behind a tab */
};

/* k->json, name, is_static, spec and var from o->signature: the name of one of ours, or a .json file. k->arena is the caller's,
 * who frees it and k->json also on failure. Errors: no such signature, unreadable or malformed JSON. */
enum eye_status eye_onnx_read_signature(struct matcher *k, const struct eye_onnx_check_opts *o, struct eye_err *err);

#endif
