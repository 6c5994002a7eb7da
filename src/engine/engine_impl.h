/* engine, inside the room: what planning, packing, lowerings and the run loop share.
 *
 * A plan is made in two passes over the same code: lowerings say what they need (blobs of prepared weights, scratch, memory
 * they take over), then the blobs are filled, unless only sizes were asked for. A blob is named by its byte offset in the
 * plan's weight block, so that a step is complete before anything is allocated.
 */
#ifndef EYE_ENGINE_IMPL_H
#define EYE_ENGINE_IMPL_H

#include "engine/engine.h"

#define EYE_NO_BLOB SIZE_MAX

static inline size_t eye_line(size_t bytes) { return EYE_ALIGN_UP(bytes, EYE_CACHE_LINE); }

struct eye_step;
struct eye_cut;
typedef enum eye_status eye_step_fn(struct eye_exec *x, const struct eye_step *s, struct eye_err *err);
/* Does what rows [row, row + n) of a step ask for. They depend on the same rows of its inputs, or on what was made before its
 * chain. */
typedef void eye_step_rows_fn(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, int i_thread);
typedef void eye_step_end_fn(struct eye_exec *x, const struct eye_step *s); /* by the caller, when all rows are done */

/* Lines (rows of pixels) of one image, the last ones made: line y lies at p + (y - first) % n_lines * line. */
struct eye_window {
    float *p;
    size_t line, first, n_lines; /* line: numbers of one */
};
/* rows, with the result at dst; and with its input in a window. */
typedef void eye_step_into_fn(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, float *dst, int i_thread);
typedef void eye_step_window_fn(struct eye_exec *x, const struct eye_step *s, size_t row, size_t n, const struct eye_window *w,
                                int i_thread);
/* run, its result a left side in bf16: panels of each of cut's threads' rows by themselves, from where the first of these would lie
 * as f32, so that each thread writes where it always does. */
typedef void eye_step_packed_fn(struct eye_exec *x, const struct eye_step *s, const struct eye_cut *cut);
/* run, and before it that of the step before, packed. */
typedef void eye_step_behind_fn(struct eye_exec *x, const struct eye_step *s, const struct eye_step *before);
struct eye_reach { /* input lines [i * stride - top, .. + k) make a convolution's line i; h lines of w pixels of c numbers */
    int64_t h, w, c, k, stride, top;
};

#define EYE_STEP_NODES 3
struct eye_step { /* one node that does something at run time */
    eye_step_fn *run;
    const struct eye_node *node;
    const struct eye_node *also[EYE_STEP_NODES - 1]; /* later nodes that it does as well, for the same outputs; or NULL */
    const void *data;  /* the lowering's own, in the plan's arena */
    uint64_t leads_to; /* bit i: output i (mod 63) needs it; bit 63: writes a state, always runs */
    eye_step_rows_fn *rows; /* the same a few rows at a time; or NULL */
    eye_step_end_fn *end;   /* with rows, or NULL: no step follows in the chain, it alone may use shared scratch */
    size_t m, unit;    /* with rows: how many there are; they are best cut in multiples of unit */
    size_t whole;      /* with rows: they must be cut in multiples of it: rows of images; 0: anywhere */
    size_t weights;    /* with rows: bytes that every cut of them reads */
    eye_step_into_fn *into; /* or NULL; with rows, of f32 */
    eye_step_window_fn *windowed; /* or NULL; with rows */
    struct eye_reach reach; /* with windowed */
    eye_step_packed_fn *packed; /* or NULL; with whole, of which cut's shares are multiples */
    eye_step_behind_fn *behind; /* or NULL: for the step before, which has packed, and whose result nobody else reads */
    bool heads;        /* reads its neighbours' rows too: can only begin a chain, or follow who feeds it */
    bool feeds;        /* its result goes to the next step of the chain, a window of it at a time, and is never whole */
    size_t chain;      /* steps from here on that one task does after another for its rows (chain.c); 1 = this alone */
};
#define EYE_STEP_ALWAYS (UINT64_C(1) << 63)

struct eye_plan {
    const struct eye_engine *e;
    const struct eye_graph *g;
    struct eye_plan_opts opts;   /* defaults resolved */
    struct eye_arena arena;      /* steps' data, tables below */
    struct eye_step *step;
    size_t n_steps;
    eye_val *root;               /* [n_values]: whose memory it uses (its own, or what a view or in-place op took over) */
    size_t *offset;              /* [n_values]: of roots, in the activations block */
    size_t *operand;             /* [n_values]: weights read as ordinary f32 operands: their blob; else EYE_NO_BLOB */
    int32_t *state_slot;         /* [n_values]: states: index into state[] below; else -1 */
    struct eye_state_spec *state;
    size_t n_states;
    bool has_positions;          /* states or rope: past + t is bounded by max_ctx */
    uint8_t *weights;            /* the blobs; NULL when measure_only */
    struct eye_ready *ready;     /* [n_ready] what eye_packed had, and what it may have next time */
    size_t n_ready, ready_cap;
    bool *reads;                 /* [n_values]: weights whose own numbers are read */
    struct eye_cost_item *cost;  /* [n_costs] */
    size_t n_costs, cost_cap;
    size_t read_bytes;           /* of weights, by matrices, in one run */
    size_t weights_bytes, activations_bytes, thread_bytes, shared_bytes;
    size_t window;               /* where in a thread's scratch windows lie */
};

/* A blob with a name, for eye_packed. */
struct eye_ready {
    const char *form;            /* static */
    const struct eye_value *w;   /* its name is the blob's */
    const void *data;            /* eye_packed's; or NULL: */
    size_t blob;                 /* the plan's own */
    size_t bytes;
    const void *ctx;             /* what fill would have been told: tells uses of one weight apart */
};
#define EYE_BLOB_READY (~(SIZE_MAX >> 1)) /* a blob with this bit is ready[the rest].data */

#define EYE_COST_ATTENTION EYE_N_COST /* f32, per key */
struct eye_cost_item {
    const struct eye_node *node;
    enum eye_cost_kind kind;
    double per_row;              /* multiply-adds, by rows of the node's result */
    size_t bytes;                /* of weights */
};

struct eye_state_spec {
    eye_val v;
    bool is_key; /* panels [pos/16][D][16] per head; else rows [pos][D] per head */
    int64_t heads, dim;
};

#define EYE_BLOCK_ROWS 16u
struct eye_block { /* up to EYE_BLOCK_ROWS rows of one segment (or image): the unit of attention's tasks */
    int32_t segment, first, n; /* first: counted in the segment */
    int32_t picked;            /* of picked rows (eye_exec_pick): which of them is its first */
};

struct eye_exec {
    const struct eye_plan *plan;
    struct eye_kv *kv;      /* of the current run */
    struct eye_bind bind;   /* of the current run; ctx: the cache's */
    int64_t t;              /* bind.t */
    struct eye_block *block; /* [max_t]: of the current run's segments */
    int32_t *key_at;        /* [max_t]: by segment, where its keys lie when they are laid out without a cache */
    size_t n_blocks, n_key_slots, most_keys; /* most_keys: that any row sees */
    void **ptr;             /* [n_values]: by root */
    uint8_t *activations, *scratch;
    size_t scratch_bytes;
    uint64_t *ns;           /* [n_steps] */
    bool timing, alone;
    eye_observe_fn *observe; /* or NULL */
    void *observe_ctx;
};

/* ---- while planning ---- */
struct eye_blob;
struct eye_lower {
    struct eye_plan *plan;
    const struct eye_engine *e;
    const struct eye_graph *g;
    eye_val *alias;             /* [n_values] for eye_graph_place */
    int32_t *uses;              /* [n_values] readers, outputs included */
    int32_t *last;              /* [n_values] the last node that reads it; INT32_MAX: an output */
    int32_t *early;             /* [n_values] for eye_graph_place: -1, or the node whose step makes it before its own turn */
    struct eye_blob *blob;
    size_t n_blobs, blobs_cap;
    size_t weights_bytes;
    size_t packer_bytes;        /* scratch per thread while filling */
};

typedef enum eye_status eye_lower_fn(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err);
#define OP(name, min_in, max_in, flags) eye_lower_fn eye_lower_##name;
#include "graph/ops.def"

/* Zeroed memory of the plan's life for a step's data; NULL = no memory (eye_fail_nomem is the caller's). */
void *eye_lower_data(struct eye_lower *l, struct eye_step *s, size_t bytes);
/* Scratch one run of a step needs: per thread, and shared by all. The exec has the largest of all steps. */
void eye_lower_scratch(struct eye_lower *l, size_t thread_bytes, size_t shared_bytes);
/* Lets n's result take the memory of `over` if nobody reads that later and the sizes agree. */
void eye_lower_in_place(struct eye_lower *l, const struct eye_node *n, eye_val over);
/* v, an input of n (NULL: an output of the graph), is read through eye_exec_ptr at run time: weights become f32 blobs,
 * trainable ones are read where their owner keeps them. */
EYE_MUST_CHECK enum eye_status eye_lower_operand(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err);
/* v, an input of n, is an i32 input of the graph, read through eye_exec_ptr; else UNSUPPORTED. */
EYE_MUST_CHECK enum eye_status eye_lower_ids(struct eye_lower *l, const struct eye_node *n, eye_val v, struct eye_err *err);
/* The input is absent or too early in the list: EYE_NONE. */
static inline eye_val eye_node_in(const struct eye_node *n, int i) { return i < n->n_in ? n->in[i] : EYE_NONE; }
static inline bool eye_writes_state(const struct eye_node *n) {
    return n->op == EYE_OP_attention && eye_node_in(n, 3) != EYE_NONE;
}
/* A trainable weight: it changes between runs, so nothing may be packed from it. */
static inline bool eye_lower_is_live(const struct eye_lower *l, eye_val v) {
    return v != EYE_NONE && eye_value_at(l->g, v)->trainable;
}
/* The same of any value. */
static inline bool eye_lower_changes(const struct eye_lower *l, eye_val v) {
    return v != EYE_NONE && (eye_value_at(l->g, v)->kind != EYE_VAL_WEIGHT || eye_lower_is_live(l, v));
}
/* v's own numbers will be read, while planning or running. UNSUPPORTED unless it is a stored float weight. */
EYE_MUST_CHECK enum eye_status eye_lower_want_weight(struct eye_lower *l, const struct eye_node *n, eye_val v,
                                                     struct eye_err *err);
/* Largest element count of v: T = max_t, PICKED = max_picked. */
size_t eye_lower_elems(const struct eye_lower *l, eye_val v);

/* ---- blobs (pack.c) ---- */
struct eye_packer { /* while filling */
    const struct eye_plan *plan;
    struct eye_pool *pool;
    uint8_t *scratch; /* [n_threads][thread_bytes] */
    size_t thread_bytes;
};
typedef void eye_fill_fn(const struct eye_packer *p, void *dst, const void *ctx);
/* A block of bytes that fill(ctx) makes later. ctx (copied; zero its padding) identifies the contents: equal ones are stored
 * once. scratch: bytes per thread that fill needs. */
EYE_MUST_CHECK enum eye_status eye_lower_blob(struct eye_lower *l, size_t bytes, eye_fill_fn *fill, const void *ctx,
                                              size_t ctx_bytes, size_t scratch, size_t *blob, struct eye_err *err);
/* The same, for what a compiled file may have ready: form ("gemm_f32_q8b32_q8b32") and w's name find it. */
EYE_MUST_CHECK enum eye_status eye_lower_ready(struct eye_lower *l, const char *form, const struct eye_value *w, size_t bytes,
                                               eye_fill_fn *fill, const void *ctx, size_t ctx_bytes, size_t scratch,
                                               size_t *blob, struct eye_err *err);
/* Multiply-adds per row of n's result, and bytes of weights, for eye_plan_cost. */
EYE_MUST_CHECK enum eye_status eye_lower_cost(struct eye_lower *l, const struct eye_node *n, enum eye_cost_kind kind,
                                              double per_row, size_t bytes, struct eye_err *err);
/* UNSUPPORTED: a weight that is only there packed. */
EYE_MUST_CHECK enum eye_status eye_lower_has_data(const struct eye_value *w, struct eye_err *err);
/* The kernel for weights of dtype, and its form. round_lhs: activations are rounded to bf16 too; taps: see ready.c. */
const struct eye_gemm_ukr *eye_form_choose(const struct eye_kernels *k, enum eye_dtype dtype, bool round_lhs, bool taps,
                                           const char **form);
#define EYE_FORM_I8 "i8"           /* panels of kernels/int8.h */
#define EYE_FORM_I8_BIAS "i8_bias" /* f32, with the zero point's share, which takes the sums of the weights' rows */
/* All elements of a weight as f32. v EYE_NONE gives EYE_NO_BLOB. Not for trainable ones: those are operands. */
EYE_MUST_CHECK enum eye_status eye_lower_vector(struct eye_lower *l, const struct eye_node *n, eye_val v, size_t *blob,
                                                struct eye_err *err);
size_t eye_blob_size(void); /* of one entry of eye_lower.blob */
EYE_MUST_CHECK enum eye_status eye_pack_all(struct eye_lower *l, struct eye_err *err);
static inline const void *eye_blob_ptr(const struct eye_plan *p, size_t blob) {
    if (blob == EYE_NO_BLOB) return NULL;
    return blob & EYE_BLOB_READY ? p->ready[blob & ~EYE_BLOB_READY].data : p->weights + blob;
}

/* ---- chains (chain.c) ---- */
/* Sets the steps' chains, when all are lowered; some results need memory of their own after all (alias). until [n_nodes]: the
 * last node of its chain, for eye_place_opts. */
void eye_chain_steps(struct eye_lower *l, int32_t *until);
void eye_chain_run(struct eye_exec *x, const struct eye_step *first);
/* Rows of n's result, if they are known when planning and as many as its input has; else 0. */
size_t eye_lower_fixed_rows(const struct eye_lower *l, const struct eye_node *n);

/* ---- matrices and the GEMM driver (pack.c, gemm.c) ---- */
struct eye_matrix { /* weights [n, k], packed for ukr, and the blocking that suits them */
    const struct eye_gemm_ukr *ukr;
    size_t n, k;
    size_t steps;       /* ceil(k / kr) */
    size_t panel_bytes; /* one rhs panel */
    size_t lhs_bytes;   /* one full lhs panel, rounded up to cache lines */
    size_t blob, bias;  /* bias: blob of n f32, or EYE_NO_BLOB */
    size_t k_chunk;     /* elements of k per pass when several lhs panels share an rhs block */
    size_t range_cols;  /* columns of one rhs block at most: it and the chunk stay in L2 */
    size_t block_rows;  /* rows a task packs for itself when there are many; a multiple of mr */
};
static inline size_t eye_matrix_bytes(const struct eye_matrix *w) { /* of its panels */
    return eye_ceil_div(w->n, w->ukr->nr) * w->panel_bytes;
}
/* w: [n, ..] weight; the rest of its dims is k. conv: reorder k from [C, kh, kw] to [kh, kw, C]. b: bias or EYE_NONE. */
EYE_MUST_CHECK enum eye_status eye_lower_matrix(struct eye_lower *l, const struct eye_node *n, eye_val w, eye_val b,
                                                enum eye_wtype wtype, bool conv, struct eye_matrix *out, struct eye_err *err);

/* Makes rows [row0, row0 + n) of the left side: dst [n][k]. */
typedef void eye_rows_fn(const void *ctx, size_t row0, size_t n, float *dst);
struct eye_gemm { /* y [m, n] = act(x w^T + bias) + residual */
    const struct eye_matrix *w;
    const void *rhs;       /* panels made for this run; NULL: w's blob */
    const float *bias;     /* of this run; NULL: w's blob, if any */
    size_t m, width;       /* rows; eye_exec_width of the result */
    const float *x;        /* [m, k], or NULL: rows makes them */
    bool x_by_k;           /* x is [k, m] */
    eye_rows_fn *rows;
    const void *rows_ctx;
    float *y;              /* may be residual's memory */
    const float *residual; /* [m, n] or NULL */
    eye_map_fn *act;       /* or NULL */
};
void eye_gemm_run(struct eye_exec *x, const struct eye_gemm *j);
/* n_jobs <= EYE_STEP_NODES products of one left side (m, x, rows; ukr and k of w), packed once and shared out in one go. */
void eye_gemm_run_all(struct eye_exec *x, const struct eye_gemm *j, size_t n_jobs);
/* By one thread, rows [row, row + n) alone; if eye_gemm_has_rows (sizes m of the run). */
void eye_gemm_rows(const struct eye_exec *x, const struct eye_gemm *j, size_t row, size_t n, int i_thread);
bool eye_gemm_has_rows(const struct eye_engine *e, const struct eye_matrix *w, size_t m);
/* Scratch for any m <= m_max. made_rows: x comes from a rows function. */
void eye_lower_gemm_scratch(struct eye_lower *l, const struct eye_matrix *w, size_t m_max, bool made_rows);
size_t eye_gemm_shared_bytes(const struct eye_matrix *w, size_t m_max); /* of it shared: the left side */
/* The blocking of weights [n, k] for a kernel; no blobs. */
void eye_matrix_init(struct eye_matrix *m, const struct eye_gemm_ukr *ukr, size_t n, size_t k);
/* True when m rows are so many that tasks are blocks of rows that share nothing; false: the left side is shared. */
static inline bool eye_by_blocks(const struct eye_engine *e, const struct eye_matrix *w, size_t m) {
    return eye_ceil_div(m, w->block_rows) >= 8 * (size_t)eye_pool_n_threads(e->pool);
}
/* Left sides that are packed once for all threads are done in chunks of this many rows. */
#define EYE_SHARED_ROWS 512

/* ---- products whose both sides change between runs (product.c) ---- */
struct eye_side { /* n rows of k numbers */
    const float *p;      /* row i, element e: p[i k + e]; by_k: p[e n + i]; NULL: rows makes them */
    bool by_k;
    eye_rows_fn *rows;   /* rows i of k numbers; by_k: rows e of n numbers */
    const void *rows_ctx;
};
struct eye_product { /* y [m, n] = act(a b^T + bias) + residual */
    const struct eye_gemm_ukr *ukr;
    size_t m, n, k;
    struct eye_side a, b; /* a by_k: b too, and a is not made by rows */
    float *y;
    const float *bias, *residual; /* residual, act: not when a is by_k */
    eye_map_fn *act;
    size_t taps;         /* above 1: a row of the product is [taps][n / taps], of y [n / taps][taps]; both sides by_k */
};
void eye_product_run(struct eye_exec *x, const struct eye_product *j);
/* Scratch for any product of this form up to these sizes; p's pointers are not looked at (rows and taps are). */
void eye_lower_product_scratch(struct eye_lower *l, const struct eye_product *p);
/* What a matrix of weights that do not change is packed as. */
enum eye_wtype eye_lower_wtype(const struct eye_lower *l, const struct eye_node *n);
/* The kernel of a plan's products: f32, or bf16 where the plan allows it and the CPU has it. */
const struct eye_gemm_ukr *eye_product_ukr(const struct eye_lower *l);

/* ---- while running ---- */
static inline void *eye_exec_ptr(const struct eye_exec *x, eye_val v) {
    return v == EYE_NONE ? NULL : x->ptr[x->plan->root[v]];
}
static inline uint8_t *eye_exec_thread(const struct eye_exec *x, int i_thread) {
    return x->scratch + x->plan->shared_bytes + (size_t)i_thread * x->plan->thread_bytes;
}
static inline uint8_t *eye_exec_shared(const struct eye_exec *x) { return x->scratch; }
/* Elements of v with this run's T. */
size_t eye_exec_elems(const struct eye_exec *x, eye_val v);
/* Rows of v: elements / last dim. */
size_t eye_exec_rows(const struct eye_exec *x, eye_val v);
/* The pool, or the caller alone when the work (about one unit per element touched) is not worth waking anybody. */
void eye_exec_tasks(struct eye_exec *x, size_t work, size_t n_tasks, eye_task_fn *fn, void *ctx);
#define EYE_INLINE_WORK 16384
/* n items in about 4 pieces per thread of at least `least` items each; returns the piece size. */
size_t eye_exec_piece(const struct eye_exec *x, size_t n, size_t least);
/* Parts of n items: 4 per thread, fewer of fewer items, more so that none has more than `most`. */
size_t eye_exec_parts(const struct eye_exec *x, size_t n, size_t most);

/* Rows cut in parts, `each` for every thread. Where one thread's rows end and the next one's begin is the same for all steps of
 * an image: at a multiple of its width. */
struct eye_cut {
    size_t m, width, unit, threads, each;
};
/* About 4 parts per thread, in multiples of unit from the thread's first row on, none of more than `most` rows. width: of the
 * image that the m rows are, or 0. */
struct eye_cut eye_exec_cut(const struct eye_exec *x, size_t m, size_t width, size_t unit, size_t most);
size_t eye_cut_row(const struct eye_cut *c, size_t i); /* the first of part i; m at the end. Parts may be empty */
struct eye_share { size_t row, end; }; /* a thread's rows */
struct eye_share eye_cut_share(const struct eye_cut *c, size_t thread);
static inline size_t eye_cut_parts(const struct eye_cut *c) { return c->threads * c->each; }
/* Of v [N, H, W, C], where it has rows for all threads; else 0. */
size_t eye_plan_width(const struct eye_plan *p, eye_val v);
static inline size_t eye_exec_width(const struct eye_exec *x, eye_val v) { return eye_plan_width(x->plan, v); }

/* ---- rows and segments (segments.c) ---- */
/* Checks the bind's segments and cuts them into blocks. */
EYE_MUST_CHECK enum eye_status eye_exec_bind_segments(struct eye_exec *x, struct eye_err *err);
/* The rows that ids [PICKED] names, cut into blocks of neighbouring ones, late rows first; block [max_picked]. ARG: one is no
 * row of the call. */
EYE_MUST_CHECK enum eye_status eye_exec_pick(const struct eye_exec *x, eye_val ids, struct eye_block *block, size_t *n_blocks,
                                             struct eye_err *err);
/* Key slots that laying out max_t rows without a cache may take: eye_exec.n_key_slots is at most this. */
static inline size_t eye_key_slots(int64_t max_t) { return 2 * EYE_ALIGN_UP((size_t)max_t, EYE_ATTN_LANES); }

/* ---- KV cache (kv.c) ---- */
struct eye_kv_view { /* one head of one state */
    void *data;
    float *scale; /* i8: per position */
};
struct eye_kv_view eye_kv_head(const struct eye_kv *kv, int32_t slot, int64_t head);
const struct eye_plan *eye_kv_plan(const struct eye_kv *kv);
size_t eye_kv_elem_bytes(enum eye_kv_type t);
/* Bytes of one state for n_ctx positions (a multiple of 16); false = overflow. */
bool eye_kv_state_bytes(const struct eye_state_spec *s, enum eye_kv_type t, int64_t n_ctx, size_t *out);

eye_map_fn *eye_act_kernel(const struct eye_kernels *k, enum eye_act_kind act); /* NULL for NONE */
eye_zip_fn *eye_act_grad_kernel(const struct eye_kernels *k, enum eye_act_kind act); /* the same; (dst, x, d) */
/* batch_norm with a trainable weight (lower_norm_maps.c). */
eye_lower_fn eye_lower_live_batch_norm;

#endif
