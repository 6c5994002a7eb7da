/* onnx: ONNX models in memory: read, built, written. Stands on base and format; knows neither graphs nor engines of ours.
 *
 *   struct eye_onnx m;
 *   EYE_TRY(eye_onnx_new(&m, "scale", 17, NULL, err));
 *   EyeOnnx__GraphProto *g = m.model->graph;
 *   int64_t dims[] = {1, -1};
 *   eye_onnx_add_input(&m, g, "x", EYE_ONNX_F32, dims, 2, (const char *const[]){"", "tokens"});
 *   eye_onnx_add_output(&m, g, "y", EYE_ONNX_F32, dims, 2, (const char *const[]){"", "tokens"});
 *   eye_onnx_add_const(&m, g, "two", EYE_ONNX_F32, NULL, 0, &(float){2});
 *   eye_onnx_add_node(&m, g, "Mul", "scale", (const char *const[]){"x", "two"}, 2, (const char *const[]){"y"}, 1);
 *   st = eye_onnx_write(&(struct eye_onnx_file){&m, "scale.onnx"}, 1, NULL, err);
 *   eye_onnx_clear(&m);
 *
 * The tree is protobuf-c's, generated from ONNX's schema; whoever holds a model may read and change it directly, with memory of
 * m->arena. Two rules: a string may be NULL (absent; eye_onnx_str), and arrays of pointers grow through eye_onnx_push only.
 * Reading is our own (decode.c): protobuf-c's copies every byte and recurses as deep as the file says. One model is for one
 * thread at a time. */
#ifndef EYE_ONNX_ROOM_H
#define EYE_ONNX_ROOM_H

#include "base/base.h"
#include "base/sys.h"
#include "onnx/onnx_schema.pb-c.h"

#define EYE_ONNX_MAX_FILE ((size_t)0x7fffffff) /* what protobuf can address; bigger models keep their weights in other files */
#define EYE_ONNX_MAX_DEPTH 64                  /* of nested messages; a graph within a node's attribute adds 3 */
#define EYE_ONNX_MAX_DATA_FILES 4096

enum eye_onnx_type { /* TensorProto.DataType; a file may hold any number */
    EYE_ONNX_F32 = 1, EYE_ONNX_U8 = 2, EYE_ONNX_I8 = 3, EYE_ONNX_U16 = 4, EYE_ONNX_I16 = 5, EYE_ONNX_I32 = 6, EYE_ONNX_I64 = 7,
    EYE_ONNX_STRING = 8, EYE_ONNX_BOOL = 9, EYE_ONNX_F16 = 10, EYE_ONNX_F64 = 11, EYE_ONNX_U32 = 12, EYE_ONNX_U64 = 13,
    EYE_ONNX_BF16 = 16
};
const char *eye_onnx_type_name(int32_t type); /* "f32"; "type?" where ONNX has none of that number that we know */
int32_t eye_onnx_type_find(const char *name); /* the way back, ONNX's own names ("float16", "int64") too; 0 = none */
size_t eye_onnx_type_bits(int32_t type);      /* of one element; 0 = unknown, or text */

struct eye_onnx_pending;
struct eye_onnx {
    struct eye_arena arena; /* all of the tree */
    EyeOnnx__ModelProto *model;
    const char *where;      /* for error texts: the path it was read from, or the graph's name */
    const char *folder;     /* where its data files are, "." for a bare name; NULL = it has none yet */
    struct eye_map file;    /* raw data is borrowed from it */
    struct eye_onnx_data_file *data; /* mapped on demand */
    size_t n_data, data_cap;
    struct eye_onnx_pending *pending; /* weights whose bytes are taken while writing */
    size_t n_pending, pending_cap;
    bool failed;            /* sticky: a builder ran out of memory */
};

/* An empty model. graph_name is copied; opset: of the default domain, 7 to 24, the IR version follows from it. ARG, NOMEM. */
EYE_MUST_CHECK enum eye_status eye_onnx_new(struct eye_onnx *m, const char *graph_name, int opset,
                                            const struct eye_alloc *alloc,
                                            struct eye_err *err);
/* Reads a file, or bytes p [n] that must outlive the model (which then has no folder). Checked: lengths, depth, memory (at most
 * 16 times the file + 64 MiB), that each tensor has as many bytes as its shape says, that data files' names stay in the folder.
 * Raw data is borrowed. Returns EYE_OK; IO; CORRUPT; LIMIT; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_onnx_load(struct eye_onnx *m, const char *path, const struct eye_alloc *alloc,
                                             struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_load_bytes(struct eye_onnx *m, const void *p, size_t n, const char *where,
                                                   const struct eye_alloc *alloc, struct eye_err *err);
void eye_onnx_clear(struct eye_onnx *m); /* twice is fine */

/* ---- data of tensors ---- */
/* Bytes of a tensor in its type, little-endian, of whichever form it is stored in; they live as long as m. Text (STRING) is
 * UNSUPPORTED; data files are opened here: IO, CORRUPT (past its end), LIMIT, UNSUPPORTED (it lies outside the folder). */
EYE_MUST_CHECK enum eye_status eye_onnx_bytes(struct eye_onnx *m, const EyeOnnx__TensorProto *t, const void **p, size_t *n,
                                              struct eye_err *err);
/* Elements as the shape says; false = negative dims or too many. */
bool eye_onnx_elements(const EyeOnnx__TensorProto *t, size_t *n);
bool eye_onnx_is_external(const EyeOnnx__TensorProto *t);
/* Opens every data file and checks that all tensors' bytes are there. */
EYE_MUST_CHECK enum eye_status eye_onnx_check_data(struct eye_onnx *m, struct eye_err *err);

/* ---- looking ---- */
static inline const char *eye_onnx_str(const char *s) { return s ? s : ""; }
/* Calls fn for msg and every message below it, parents first. fn's status other than OK ends the walk and is returned. */
typedef enum eye_status eye_onnx_walk_fn(void *ctx, ProtobufCMessage *msg, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_onnx_walk(ProtobufCMessage *msg, eye_onnx_walk_fn *fn, void *ctx, struct eye_err *err);
/* The attribute of this name, or NULL. */
EyeOnnx__AttributeProto *eye_onnx_attr(const EyeOnnx__NodeProto *n, const char *name);

/* ---- building. Names and values are copied. Out of memory sets m->failed; from then on builders return NULL, take NULL and do
 * nothing, and eye_onnx_write says NOMEM. Nothing here checks that the model makes sense. ---- */
/* in [n_in], out [n_out]: names; "" = left out. name may be NULL. */
EyeOnnx__NodeProto *eye_onnx_add_node(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *op, const char *name,
                                      const char *const *in, size_t n_in, const char *const *out, size_t n_out);
/* The same without a place in a graph, for who makes a new list of nodes. */
EyeOnnx__NodeProto *eye_onnx_make_node(struct eye_onnx *m, const char *op, const char *name, const char *const *in, size_t n_in,
                                       const char *const *out, size_t n_out);
void eye_onnx_attr_int(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, int64_t v);
void eye_onnx_attr_float(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, float v);
void eye_onnx_attr_str(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const char *v);
void eye_onnx_attr_ints(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const int64_t *v, size_t n_v);
void eye_onnx_attr_floats(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, const float *v, size_t n_v);
void eye_onnx_attr_tensor(struct eye_onnx *m, EyeOnnx__NodeProto *n, const char *name, EyeOnnx__TensorProto *v); /* of m */

/* dims[i] < 0: symbolic, called params[i] (NULL or "": without a name). params may be NULL. */
EyeOnnx__ValueInfoProto *eye_onnx_add_input(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                            const int64_t *dims, size_t rank, const char *const *params);
EyeOnnx__ValueInfoProto *eye_onnx_add_output(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                             const int64_t *dims, size_t rank, const char *const *params);
EyeOnnx__ValueInfoProto *eye_onnx_add_value_info(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                                 const int64_t *dims, size_t rank, const char *const *params);

/* Initializers of type [dims]. const: bytes are copied now (shapes, scalars). weight: borrowed until the model is written.
 * rows: made while it is written. g NULL: the tensor stands in no graph (for eye_onnx_attr_tensor); const only. */
EyeOnnx__TensorProto *eye_onnx_add_const(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                         const int64_t *dims, size_t rank, const void *bytes);
EyeOnnx__TensorProto *eye_onnx_add_weight(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                          const int64_t *dims, size_t rank, const void *bytes);
/* Fills dst with rows [row, row + n_rows): a row is all that stands behind the first dim (a scalar is one row). Asked for in
 * order, in chunks of about 1 MiB. ctx is borrowed until the model is written. */
typedef enum eye_status eye_onnx_rows_fn(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err);
EyeOnnx__TensorProto *eye_onnx_add_rows(struct eye_onnx *m, EyeOnnx__GraphProto *g, const char *name, int32_t type,
                                        const int64_t *dims, size_t rank, eye_onnx_rows_fn *rows, void *ctx);

char *eye_onnx_text(struct eye_onnx *m, const char *s);           /* a copy in m's arena; NULL = failed */
void *eye_onnx_alloc(struct eye_onnx *m, size_t n, size_t bytes); /* zeroed [n] of so many bytes; NULL = failed */
/* Appends a pointer to an array of them in the tree, given by its address and its count: eye_onnx_push(m, &g->n_node, &g->node,
 * node). */
void eye_onnx_push(struct eye_onnx *m, size_t *n, void *array, void *item);

/* ---- writing ---- */
struct eye_onnx_file {
    struct eye_onnx *m;
    const char *path;
};
enum eye_onnx_place {
    EYE_ONNX_AUTO = 0, /* inline,
        unless a file would pass 2 GiB or several models share weights; tensors of a model that was
                          read from the folder it is written to stay in their data files */
    EYE_ONNX_INLINE,   /* LIMIT where it does not fit */
    EYE_ONNX_EXTERNAL  /* initializers in a data file beside the model */
};
struct eye_onnx_write_opts { /* all zero = defaults */
    enum eye_onnx_place place;
    const char *data_name; /* of the data file, without a folder; NULL = the first model's file name + ".data" */
    size_t external_from;  /* smaller initializers stay inline; 0 = 1024 bytes */
    size_t align;          /* of each tensor in the data file; 0 = 4096, so that it can be mapped */
    bool (*cancel)(void *ctx); /* asked between chunks; NULL = never */
    void (*progress)(void *ctx, double done_0_to_1);
    void *ctx;
};
/* Writes n models, all into one folder. Weights of one name (and, where their bytes are known, the same bytes) are stored
 * once, which is how graphs of several sequence lengths share them: ARG where rows of one name differ in type or size. The
 * data file is whole before the first model appears under its name, and each model appears whole. Weights are streamed: none
 * is in memory that was not. Afterwards the models may only be cleared. Returns EYE_OK; ARG (other folders, a data file's name
 * with a folder); NOMEM; IO; LIMIT; CANCELLED; what reading data gives. */
EYE_MUST_CHECK enum eye_status eye_onnx_write(const struct eye_onnx_file *file, size_t n,
                                              const struct eye_onnx_write_opts *opts,
                                              struct eye_err *err);

#endif
