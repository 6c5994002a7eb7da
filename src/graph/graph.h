/* graph: a model described once, as values and nodes; everything else (run, quantize, compile, export, train) is a use of it.
 *
 * Values are inputs, weights, states (KV cache) or results of nodes. Nodes are rows of ops.def. Structure is static; a few
 * dims are symbolic. Weights keep the layout of the file (PyTorch order) and borrow its memory. Knows no SIMD, no file
 * format, no model family.
 *
 * Building: functions below take values and give a value; the first error sticks to the graph, later calls with EYE_NONE
 * inputs return EYE_NONE, and eye_graph_finish reports it. So a model file reads as its formula:
 *
 *     x = eye_conv2d(g, x, w, b, eye_conv_same(3, 2, channels));
 *     x = eye_tap(g, eye_act(g, x, EYE_ACT_GELU), "v.stem1");
 */
#ifndef EYE_GRAPH_H
#define EYE_GRAPH_H

#include "base/base.h"
#include "tensor/tensor.h"

typedef int32_t eye_val; /* index of a value in its graph */
#define EYE_NONE (-1)

/* Symbolic dims: negative, bound to numbers when the graph runs. */
enum {
    EYE_DIM_T = -1,     /* tokens (rows) of this call */
    EYE_DIM_CTX = -2,   /* positions a KV cache holds */
    EYE_DIM_PICKED = -3 /* rows of this call that an input names, to go on with them alone: those with a target, or whose logits
                           are wanted */
};

enum eye_op {
#define OP(name, min_in, max_in, flags) EYE_OP_##name,
#include "graph/ops.def"
    EYE_N_OP,
    EYE_OP_DEAD /* a node that a pass removed; gone after eye_graph_compact */
};
enum { /* ops.def flags */
    EYE_OPF_MAP = 1,   /* element-wise: the output may take the place of input 0 */
    EYE_OPF_VIEW = 2,  /* output shares input 0's memory */
    EYE_OPF_FUSED = 4, /* written by the fuse pass only: never seen by exporters and gradients */
    EYE_OPF_TRAIN = 8, /* of training graphs only: never seen by exporters and converters */
    EYE_OPF_NO_GRAD = 16 /* has no gradient rule: OP_NO_GRAD rows */
};
struct eye_op_info {
    const char *name;
    uint8_t min_in, max_in, flags;
};
const struct eye_op_info *eye_op_info(enum eye_op op);

enum eye_act_kind { EYE_ACT_NONE, EYE_ACT_GELU, EYE_ACT_GELU_TANH, EYE_ACT_QUICK_GELU, EYE_ACT_SILU, EYE_ACT_SIGMOID, EYE_ACT_RELU,
                    EYE_ACT_HARDSIGMOID, EYE_ACT_HARDSWISH, EYE_N_ACT };
const char *eye_act_name(enum eye_act_kind a);

/* How a linear's (or im2col convolution's) weights are kept and multiplied: set by eye_graph_quantize, read by the engine. */
enum eye_wtype {
    EYE_W_EXACT,  /* as stored (f32, f16, bf16; block types as such), f32 activations */
    EYE_W_F32, EYE_W_F16, EYE_W_BF16, /* bf16: activations rounded to bf16 as well, when packed for this type */
    EYE_W_Q8_0, EYE_W_Q4_0, EYE_W_Q4_K,
    EYE_W_I8,     /* static int8: where a value's range and int8 weights say so (eye_graph_lay_int8), else as stored */
    EYE_N_WTYPE
};

struct eye_attr { /* each op reads its own fields; all-zero otherwise */
    int32_t stride;                           /* conv2d, both axes */
    int32_t pad_top, pad_left, pad_bottom, pad_right;
    int32_t groups;
    enum eye_act_kind act;                    /* act; conv2d, linear, ffn after fusing */
    enum eye_wtype wtype;                     /* linear, conv2d, ffn, embed; attention: BF16 = q, k, v, p may be rounded to it */
    float eps;                                /* norms */
    float scale;                              /* attention: applied to q . k; sum, scale, spread */
    double theta;                             /* rope */
    int32_t axis, begin, length;              /* slice, concat */
    int32_t perm[EYE_MAX_RANK];               /* transpose */
    int32_t rank;                             /* reshape, spread */
    int64_t dims[EYE_MAX_RANK];               /* reshape, spread: the result's, symbols allowed; several gradients: what d was made from */
    bool causal;                              /* attention */
    bool inverse;                             /* rope */
    bool ta;                                  /* matmul */
    float p;                                  /* dropout: share of zeros, below 1 */
    uint32_t salt;                            /* dropout: one per place, so that masks differ */
    float smoothing, temp;                    /* losses */
};

/* Static int8: number = scale (q - zero), q in 0 … 255; or, where bytes cost too much, number = scale q in 16 bits, q in
 * -wide … wide. scale 0: no range is known. */
struct eye_quant {
    float scale;
    int32_t zero; /* 0 … 255 */
    int32_t wide; /* 0: bytes; else 1 … 32767, and zero is 0 */
};
static inline enum eye_dtype eye_quant_dtype(const struct eye_quant *q) { return q->wide ? EYE_I16 : EYE_U8; }
/* The largest wide of what linears of rows of k read: sums with int8 weights stay in 32 bits. */
int32_t eye_quant_widest(int64_t k);

enum eye_val_kind { EYE_VAL_INPUT, EYE_VAL_WEIGHT, EYE_VAL_STATE, EYE_VAL_NODE };

struct eye_value {
    enum eye_val_kind kind;
    enum eye_dtype dtype;        /* results f32, or u8 or i16 as quant says (eye_graph_lay_int8); inputs f32 or i32; weights as stored */
    int rank;
    int64_t dims[EYE_MAX_RANK];  /* outermost first; negative = symbolic */
    const char *name;            /* tap and weight name, "v.stage0.block1"; in the graph's arena; never NULL ("" = unnamed) */
    int32_t node;                /* producer, or -1 */
    int32_t n_uses;              /* node inputs + graph outputs that refer to it */
    const void *data;            /* weights: row-major, borrowed from the model file or owned by the graph's arena */
    int32_t pair_rows;           /* weights: 0; or D: rows j of each head of D are stored with RoPE's pairs side by side (llama.cpp's
                                    order for Llama): row i at 2i, row i + D/2 at 2i + 1 */
    const float *row_scale;      /* weights: NULL, or dims[0] factors the fold pass wants applied to the rows: readers go
                                    through eye_weight_row */
    bool transposed;             /* weights [N,K]: data is [K,N] (GPT-2's Conv1D), of a plain dtype; read by eye_weight_row too */
    bool trainable;              /* weights: data is f32, plain, and changes between runs: nothing may be packed from it beforehand */
    struct eye_quant quant;      /* results and inputs: the range calibration found */
    float rel_rms;               /* weights that eye_graph_int8_weights made: |w - q scale| / |w|; else 0 */
};

#define EYE_MAX_IN 6
struct eye_node {
    enum eye_op op;
    int n_in;
    eye_val in[EYE_MAX_IN];      /* optional inputs that are absent: EYE_NONE */
    eye_val out;
    struct eye_attr attr;
};

struct eye_graph {
    const struct eye_alloc *alloc;
    struct eye_arena arena;      /* names, folded weights */
    struct eye_value *value;
    size_t n_values, values_cap;
    struct eye_node *node;       /* topological order after finish / compact */
    size_t n_nodes, nodes_cap;
    eye_val *input, *output;
    size_t n_inputs, inputs_cap, n_outputs, outputs_cap;
    enum eye_status status;      /* first error while building */
    struct eye_err err;
};

void eye_graph_init(struct eye_graph *g, const struct eye_alloc *alloc);
void eye_graph_clear(struct eye_graph *g);
/* First building error, or a structural fault (cycle, shape rule broken). Call once after building. */
EYE_MUST_CHECK enum eye_status eye_graph_finish(struct eye_graph *g, struct eye_err *err);
/* Makes the graph fail with this text (a family file that meets an impossible configuration). Returns EYE_NONE. */
EYE_PRINTF(3, 4) eye_val eye_graph_fail(struct eye_graph *g, enum eye_status code, const char *fmt, ...);

/* ---- leaves ---- */
eye_val eye_input(struct eye_graph *g, const char *name, enum eye_dtype dtype, int rank, const int64_t *dims);
eye_val eye_weight(struct eye_graph *g, const char *name, const struct eye_tensor *t); /* t NULL = EYE_NONE (absent) */
/* A matrix stored as its transpose: t [K,N] gives the weight [N,K]; no copy is made. Plain dtypes only. */
eye_val eye_weight_transposed(struct eye_graph *g, const char *name, const struct eye_tensor *t);
/* A KV cache: [EYE_DIM_CTX, n_kv_heads, head_dim]; its dtype and layout are the engine's. */
eye_val eye_state(struct eye_graph *g, const char *name, int64_t n_kv_heads, int64_t head_dim);
void eye_output(struct eye_graph *g, eye_val v);
/* Names v (the tap of `probe --stage layer:NAME`); returns v. */
EYE_PRINTF(3, 4) eye_val eye_tap(struct eye_graph *g, eye_val v, const char *fmt, ...);
eye_val eye_graph_find(const struct eye_graph *g, const char *name); /* by name; EYE_NONE = absent */

/* ---- nodes; x images are [N,H,W,C] f32, sequences [T,C] f32. See ops.def for each one's formula ---- */
struct eye_conv { int32_t stride, pad_top, pad_left, pad_bottom, pad_right, groups; };
static inline struct eye_conv eye_conv_same(int k, int stride, int groups) { /* PyTorch padding k/2 on all sides */
    struct eye_conv c = {stride, k / 2, k / 2, k / 2, k / 2, groups};
    return c;
}
eye_val eye_conv2d(struct eye_graph *g, eye_val x, eye_val w, eye_val b, struct eye_conv c);
eye_val eye_linear(struct eye_graph *g, eye_val x, eye_val w, eye_val b);
eye_val eye_batch_norm(struct eye_graph *g, eye_val x, eye_val gamma, eye_val beta, eye_val mean, eye_val var, float eps);
eye_val eye_layer_norm(struct eye_graph *g, eye_val x, eye_val w, eye_val b, float eps);
eye_val eye_rms_norm(struct eye_graph *g, eye_val x, eye_val w, float eps);
eye_val eye_act(struct eye_graph *g, eye_val x, enum eye_act_kind act);
eye_val eye_add(struct eye_graph *g, eye_val a, eye_val b); /* b: a's shape, or [C], or [N,1,1,C] */
eye_val eye_sub(struct eye_graph *g, eye_val a, eye_val b);
eye_val eye_mul(struct eye_graph *g, eye_val a, eye_val b);
eye_val eye_mean_hw(struct eye_graph *g, eye_val x);
eye_val eye_softmax(struct eye_graph *g, eye_val x);
eye_val eye_embed(struct eye_graph *g, eye_val ids, eye_val table);
eye_val eye_positions(struct eye_graph *g, eye_val table); /* learned positions: rows past.. of the table, one per row of T */
eye_val eye_rope(struct eye_graph *g, eye_val x, double theta);
/* q [(N,) T, H, D], k, v [(N,) T, Hkv, D]; caches EYE_NONE or states. -> [(N,) T, H*D] */
eye_val eye_attention(struct eye_graph *g, eye_val q, eye_val k, eye_val v, eye_val k_cache, eye_val v_cache, float scale, bool causal);
eye_val eye_reshape(struct eye_graph *g, eye_val x, int rank, const int64_t *dims);
eye_val eye_transpose(struct eye_graph *g, eye_val x, const int32_t *perm);
eye_val eye_concat(struct eye_graph *g, eye_val a, eye_val b, int axis);
eye_val eye_slice(struct eye_graph *g, eye_val x, int axis, int64_t begin, int64_t length);

/* ---- nodes of training graphs ---- */
eye_val eye_dropout(struct eye_graph *g, eye_val x, eye_val seed, float p, uint32_t salt); /* mask: dropout.h */
eye_val eye_bn_stats(struct eye_graph *g, eye_val x);
eye_val eye_bn_apply(struct eye_graph *g, eye_val x, eye_val stats, eye_val gamma, eye_val beta, float eps);
eye_val eye_cross_entropy(struct eye_graph *g, eye_val logits, eye_val target, eye_val weight, float smoothing);
eye_val eye_kl_rows(struct eye_graph *g, eye_val student, eye_val teacher, eye_val weight, float temp);
#define EYE_LEAST_REST 1e-7 /* kl_topk: the rest's share is at least this; sums of K rounded numbers may exceed 1 */
eye_val eye_kl_topk(struct eye_graph *g, eye_val student, eye_val ids, eye_val logp, eye_val weight, float temp);
eye_val eye_mse_rows(struct eye_graph *g, eye_val a, eye_val b);
eye_val eye_cosine_rows(struct eye_graph *g, eye_val a, eye_val b);
eye_val eye_sum(struct eye_graph *g, eye_val x, float scale);
eye_val eye_scale(struct eye_graph *g, eye_val x, float scale);
/* Turns weight v into one that a trainer owns: data is f32, row-major in v's shape (rows as eye_weight_row gives them), outlives
 * the graph, and may change between runs. */
void eye_graph_unfreeze(struct eye_graph *g, eye_val v, float *data);

/* ---- reading ---- */
const struct eye_value *eye_value_at(const struct eye_graph *g, eye_val v);
int64_t eye_dim(const struct eye_graph *g, eye_val v, int axis); /* negative axis counts from the end */
/* Where row is stored: another place only with pair_rows. */
int64_t eye_weight_stored_row(const struct eye_value *w, int64_t row);
/* One row (index into dims[0]; the rest flattened) of a weight as f32, row_scale applied in double. */
void eye_weight_row(const struct eye_value *w, int64_t row, float *dst);

/* ---- one run ---- */
/* n consecutive rows of one sequence. Row i of it stands at position pos + i (RoPE, learned positions). In attention with states
 * or causal attention over the T rows of the call it sees its prefix, its own past, and (causal) the segment's rows up to itself.
 * A prefix that is computed in the same call is a segment of its own: causal among its rows. */
struct eye_segment {
    int64_t row, n;             /* rows [row, row + n) of the call */
    int64_t pos;                /* position of its first row */
    int64_t prefix, n_prefix;   /* with states: cache slots [prefix, prefix + n_prefix), which may be shared;
                                   without: rows [prefix, prefix + n_prefix) of the call, of one earlier segment */
    int64_t slot, n_own;        /* states only: slot of its first new row; the n_own slots before it are its own past */
};
/* Numbers for the symbols of one run, and whose its rows are. Segments follow each other and hold all t rows; n_segments 0: all
 * rows are one sequence's, from position and slot `past` on, after `past` cached ones. */
struct eye_bind {
    int64_t t, ctx, past, picked;
    const struct eye_segment *segment;
    size_t n_segments;
};
static inline int64_t eye_bind_dim(const struct eye_bind *b, int64_t dim) {
    return dim == EYE_DIM_T ? b->t : dim == EYE_DIM_CTX ? b->ctx : dim == EYE_DIM_PICKED ? b->picked : dim;
}
size_t eye_bind_n_segments(const struct eye_bind *b); /* 1 when none are given */
struct eye_segment eye_bind_segment(const struct eye_bind *b, size_t i);
size_t eye_bind_segment_of(const struct eye_bind *b, int64_t row);
int64_t eye_bind_pos(const struct eye_bind *b, int64_t row);
/* Segments that cannot be: ARG. states: slots count, and lie below ctx; else prefixes are rows. */
EYE_MUST_CHECK enum eye_status eye_bind_check(const struct eye_bind *b, bool states, struct eye_err *err);
/* Elements of v with its symbols bound; false = overflow. */
bool eye_value_elems(const struct eye_value *v, const struct eye_bind *bind, int64_t *out);

/* ---- passes: each leaves a finished graph ---- */
/* fold: batch norms, re-parameterisable branches, layer scales into convolutions and linears; 1x1 convolutions become
 * linears. Each rule computes in double and rounds to f32 once; formulas in fold.c. Trainable weights are left as they are. */
EYE_MUST_CHECK enum eye_status eye_graph_fold(struct eye_graph *g, struct eye_err *err);
/* fuse: activations, residual adds and whole feed-forward blocks into the node that makes them. keep_taps: nothing named is
 * fused away (probe). */
EYE_MUST_CHECK enum eye_status eye_graph_fuse(struct eye_graph *g, bool keep_taps, struct eye_err *err);
/* pick, before fuse: the first output, rows [T,C], becomes its rows that a new, last input names ("picked", i32 [PICKED], rows
 * of the call in any order); what only leads there is computed for them alone, the same numbers. Rules in pick.c. */
EYE_MUST_CHECK enum eye_status eye_graph_pick(struct eye_graph *g, struct eye_err *err);
/* quantize: chooses attr.wtype of every linear (and im2col convolution) whose weight is a 2-D (or 1x1) matrix, from want;
 * EYE_W_EXACT leaves all as stored, but for linears of blocks that no kernel multiplies (q4_1, q5_*, q6_K): those become q8_0, whose
 * rounding (1/254 of a block's largest weight) is small beside theirs; ask for EYE_W_F32 to keep every number. Rows that no block
 * fits fall back: see eye_wtype_for. */
void eye_graph_quantize(struct eye_graph *g, enum eye_wtype want);
/* The storage type a weight of rows of k elements gets when want is asked for: q8_0 and q4_0 need k % 32 == 0, else f16; q4_K
 * needs k % 256 == 0, else q4_0, which is as large. The one rule that convert and load share, so that a folder and its GGUF run the
 * same. */
enum eye_wtype eye_wtype_for(enum eye_wtype want, int64_t k);
/* equalize, folded and unfused: brings the channels of what int8 nodes read to like size. x_max[v] (v < n_values): largest magnitude
 * of each channel of v, or NULL; rules in equalize.c. */
EYE_MUST_CHECK enum eye_status eye_graph_equalize(struct eye_graph *g, const float *const *x_max, size_t n_values,
                                                  struct eye_err *err);
/* What calibration knows of the numbers a node reads; zero = nothing. */
struct eye_int8_input {
    const double *mean;  /* of each channel: biases take back what rounding did to the node's mean */
    const float *u, *d;  /* of linears: covariance of the c channels = u diag(d) u^T, u [c, c] upper triangular with ones */
};
/* int8_weights: weights of nodes that fit and whose input has a range become int8, a scale per row. in[v] (v < n_values): of v. */
EYE_MUST_CHECK enum eye_status eye_graph_int8_weights(struct eye_graph *g, const struct eye_int8_input *in, size_t n_values,
                                                      struct eye_err *err);
/* lay_int8, after fuse: nodes with a range on their input and int8 weights (dtype i8, row_scale) multiply integers, and the edges
 * between them become u8 or i16; see int8.c. */
EYE_MUST_CHECK enum eye_status eye_graph_lay_int8(struct eye_graph *g, struct eye_err *err);
/* Could n be such a node: a linear, a dense or a depthwise convolution with constant weights whose sums stay in range? */
bool eye_graph_int8_fits(const struct eye_graph *g, const struct eye_node *n);
/* Does n fit, and is a depthwise convolution? */
bool eye_graph_is_depthwise(const struct eye_graph *g, const struct eye_node *n);
/* Is it one: it fits, its weights are int8, and its input has a range (a wide one: n is a linear, and no sum overflows)? */
bool eye_node_is_int8(const struct eye_graph *g, const struct eye_node *n);
/* The number that stands for x in u8 or i16. */
double eye_quant_round(const struct eye_quant *q, double x);
/* How a type's weights are stored; EYE_W_EXACT: f32. */
enum eye_dtype eye_wtype_dtype(enum eye_wtype t);
/* Makes v an output and removes nodes no output needs; renumbers nothing. */
EYE_MUST_CHECK enum eye_status eye_graph_compact(struct eye_graph *g, struct eye_err *err);
/* Keeps a section of a finished graph: the nodes between `in`, a node's result that becomes an input, and `out`, which becomes the
 * only output. What the section needs besides must be weights and states, else ARG. */
EYE_MUST_CHECK enum eye_status eye_graph_cut(struct eye_graph *g, eye_val in, eye_val out, struct eye_err *err);

/* plan memory: offsets for values alive in node order, greedy best fit. On success offset[v] (64-aligned) and *total_bytes. */
struct eye_place_opts {
    const size_t *bytes;  /* [n_values]; 0 = not placed here (weights, states, views) */
    const eye_val *alias; /* [n_values] or NULL: EYE_NONE, or the value whose memory v shares */
    const int32_t *early; /* [n_values] or NULL: -1, or the number of a node before v's own that writes v already */
    const int32_t *until; /* [n_nodes] or NULL: what node k reads or makes stays until node until[k] is done; NULL: k */
    /* Values of different sizes share no memory if that takes at most so many bytes: a thread that always has the same part of the
     * rows then writes where it wrote last, not where another did. If it takes more, they share none for some nodes after a value's
     * last, if that takes at most a quarter more than the least memory. 0: the least memory. */
    size_t apart_bytes;
    const bool *loose; /* [n_values] or NULL: hardly ever written, so that it does not matter what shares their memory */
};
EYE_MUST_CHECK enum eye_status eye_graph_place(const struct eye_graph *g, const struct eye_place_opts *o, size_t *offset,
                                               size_t *total_bytes, struct eye_err *err);

/* ---- passes of training, before the gradient: edits of a graph that need no order. NULL wants: all ---- */
/* Attention loses its caches: the rows of a call see rows of that call only (struct eye_segment). */
void eye_graph_drop_states(struct eye_graph *g);
/* Whatever reads v so far reads dropout(v, seed) from now on, which is returned. */
eye_val eye_graph_add_dropout(struct eye_graph *g, eye_val v, eye_val seed, float p, uint32_t salt);
/* Batch norms take the statistics of their batch; those that are not wanted stay truly frozen. Each one's stats [2,C] become an
 * output. Returns how many are wanted, of which at most cap are done: out[cap]. */
struct eye_train_norm {
    eye_val mean, var; /* weights: the running statistics, the trainer's to update */
    eye_val stats;     /* mean, biased variance (PyTorch keeps var n / (n - 1) of n = rows of x) */
    eye_val x;
};
size_t eye_graph_train_norms(struct eye_graph *g, bool (*wants)(void *ctx, const char *gamma), void *ctx,
                             struct eye_train_norm *out, size_t cap);
/* Low-rank side branches (LoRA, arXiv 2106.09685): each linear of matrix w [N,K] becomes w x + scale B A x. pair: A [rank,K] and
 * B [N,rank], weights "<w>.lora_a" and "<w>.lora_b" without data until they are unfrozen. Returns how many linears read w. */
size_t eye_graph_add_lora(struct eye_graph *g, eye_val w, int64_t rank, float scale, eye_val pair[2]);

/* gradient: appends the nodes that compute d loss / d wrt[i]; loss [1], wrt any values. grad[i] (EYE_NONE when the loss does not
 * depend on wrt[i]) becomes an output of the graph, and the loss too. Only what leads from a wrt to the loss is computed. Before
 * fuse; no attention may have a cache. On failure the graph is of no further use. */
EYE_MUST_CHECK enum eye_status eye_graph_gradient(struct eye_graph *g, eye_val loss, const eye_val *wrt, size_t n, eye_val *grad,
                                                  struct eye_err *err);

/* ---- the oracle: plain C, all in double, one value after the other; runs any graph, folded or not ---- */
struct eye_ref_io { eye_val v; void *data; };
/* in: data for every input. Each state's data must be [bind.ctx, Hkv, D] f32, given in in[] as well, and is updated.
 * Results of the values in out[] are copied to their data (f32). Allocates freely: for tests and tools. */
EYE_MUST_CHECK enum eye_status eye_graph_eval_ref(const struct eye_graph *g, const struct eye_bind *bind, const struct eye_ref_io *in,
                                                  size_t n_in, const struct eye_ref_io *out, size_t n_out, struct eye_err *err);
/* The same, but out[]'s data are doubles, not rounded: what differences are taken of. */
EYE_MUST_CHECK enum eye_status eye_graph_eval_f64(const struct eye_graph *g, const struct eye_bind *bind, const struct eye_ref_io *in,
                                                  size_t n_in, const struct eye_ref_io *out, size_t n_out, struct eye_err *err);

#endif
