/* engine: turns a finished, folded, fused graph into a plan (packed weights, placed memory, steps) and executes it on threads.
 *
 * plan  = immutable: kernels chosen, weights packed once (RoPE tables too), offsets placed once; shared by any number of execs.
 * exec  = one user's memory: activations and per-thread scratch. All execs of an engine share its threads: one run at a time
 *         per engine (callers serialise).
 * state = KV cache of one session for one plan's states.
 * No allocation after eye_exec_new / eye_kv_new: a run touches only what was placed. Results do not depend on the number of
 * threads (work is split over outputs, never over a sum).
 */
#ifndef EYE_ENGINE_H
#define EYE_ENGINE_H

#include "base/sys.h"
#include "graph/graph.h"
#include "kernels/kernels.h"

struct eye_engine { /* one per loaded model; initialised by the caller, borrowed by its plans */
    const struct eye_alloc *alloc;
    struct eye_pool *pool;
    struct eye_kernels kernels;
};
/* n_threads 0 = eye_cpu_count(). */
EYE_MUST_CHECK enum eye_status eye_engine_init(struct eye_engine *e, int n_threads, uint32_t cpu_flags,
                                               const struct eye_alloc *alloc, struct eye_err *err);
void eye_engine_clear(struct eye_engine *e);

enum eye_kv_type { EYE_KV_F16, EYE_KV_F32, EYE_KV_I8 }; /* i8: one scale per position and head */

/* Matrices that were packed ahead of time (a compiled file). */
struct eye_packed {
    /* The panels of weight `name` in the form `form`, *bytes of them, aligned to cache lines, for the plan's life; NULL = there
     * are none. */
    const void *(*find)(const void *ctx, const char *form, const char *name, size_t *bytes);
    const void *ctx;
    bool copy; /* into the plan's own memory of huge pages; else they are read where they lie */
};

struct eye_plan;
struct eye_plan_opts {
    int64_t max_t;        /* largest T a run may bind; 0 = 1 */
    int64_t max_picked;   /* most rows a run may pick of them; 0 = max_t */
    int64_t max_ctx;      /* largest context (score rows, RoPE tables); 0 = max_t; less: the T rows are of several sequences */
    enum eye_kv_type kv_type;
    bool train_bf16;      /* products of f32 numbers round both sides to bf16 and sum in f32, where the CPU does that */
    bool measure_only;    /* sizes only: nothing is packed; the plan cannot run */
    const struct eye_packed *packed; /* looked at before a matrix is packed; borrowed; may be NULL */
    void (*progress)(void *ctx, double done_0_to_1); /* packing; may be NULL */
    void *progress_ctx;
    bool (*cancel)(void *ctx); /* polled between weights while packing: true stops with CANCELLED; may be NULL */
    void *cancel_ctx;
};
struct eye_plan_sizes { /* bytes */
    size_t weights;       /* packed, with small tables */
    size_t ready;         /* of eye_packed, read where they lie */
    size_t activations;   /* one exec's arena at max_t */
    size_t scratch;       /* one exec's per-thread scratch, all threads */
    size_t state_per_position; /* KV cache bytes per position, all layers */
};
/* g is borrowed for the plan's life. Fails with UNSUPPORTED naming the op/value when a lowering lacks something. */
EYE_MUST_CHECK enum eye_status eye_plan_new(struct eye_plan **plan, const struct eye_engine *e, const struct eye_graph *g,
                                            const struct eye_plan_opts *opts, struct eye_err *err);
void eye_plan_free(struct eye_plan *plan);
void eye_plan_measure(const struct eye_plan *plan, struct eye_plan_sizes *out);

/* What a run of t rows after `past` cached ones, the last `picked` of them wanted, cannot do without: see cost.c. ops: 2 a
 * multiply-add. bytes: of weights. */
enum eye_cost_kind { EYE_COST_F32, EYE_COST_BF16, EYE_COST_I8, EYE_N_COST };
struct eye_plan_cost { double ops[EYE_N_COST], bytes; };
struct eye_plan_cost eye_plan_cost(const struct eye_plan *plan, int64_t t, int64_t past, int64_t picked);

/* ---- packing ahead of time ---- */
/* What a plan has packed under a name that finds it again: matrices, and sums that stand for them. Weights whose own numbers no
 * step and no other blob reads can be left out of a file that has these. */
struct eye_plan_part {
    const char *form, *name; /* as eye_packed.find will be asked */
    const struct eye_value *w; /* whose numbers they are */
    const void *data;
    size_t bytes;
};
size_t eye_plan_n_parts(const struct eye_plan *plan);
struct eye_plan_part eye_plan_part(const struct eye_plan *plan, size_t i);
bool eye_plan_reads(const struct eye_plan *plan, eye_val weight); /* its own numbers, while planning or running */
/* A number that stands for the layout of a form under these kernels: equal where the same weights become the same bytes. kernel:
 * which one packs (may be NULL). False: there is no such form. */
bool eye_packed_layout(const struct eye_kernels *k, const char *form, const char **kernel, uint64_t *layout);

/* KV cache of n_ctx slots, for one sequence or for several (more than max_ctx then), for every state of the plan's graph. K is
 * kept in attention panels [slot/16][D][16] per head, V as rows [slot][D] per head. */
struct eye_kv;
EYE_MUST_CHECK enum eye_status eye_kv_new(struct eye_kv **kv, const struct eye_plan *plan, int64_t n_ctx, struct eye_err *err);
void eye_kv_free(struct eye_kv *kv);
int64_t eye_kv_ctx(const struct eye_kv *kv);
/* Its first n positions as bytes that do not depend on n_ctx or on panels: state after state, head after head, rows [n][D] in
 * the cache's type, and for i8 then f32 scales [n]. A chunk is one head of one state; all chunks of a state have one size. */
size_t eye_kv_n_chunks(const struct eye_kv *kv);
size_t eye_kv_chunk_bytes(const struct eye_kv *kv, size_t i_chunk, int64_t n);
void eye_kv_read(const struct eye_kv *kv, size_t i_chunk, int64_t n, void *dst);
void eye_kv_write(struct eye_kv *kv, size_t i_chunk, int64_t n, const void *src); /* src needs no alignment */
/* The same of slots [first, first + n). */
void eye_kv_read_slots(const struct eye_kv *kv, size_t i_chunk, int64_t first, int64_t n, void *dst);
void eye_kv_write_slots(struct eye_kv *kv, size_t i_chunk, int64_t first, int64_t n, const void *src);
/* Slots [src_slot, src_slot + n) of every state to [dst_slot, dst_slot + n); the two do not overlap. Beams change places this way;
 * fastest when both begin at multiples of 16. */
void eye_kv_copy(struct eye_kv *kv, int64_t dst_slot, int64_t src_slot, int64_t n);

struct eye_exec;
EYE_MUST_CHECK enum eye_status eye_exec_new(struct eye_exec **x, const struct eye_plan *plan, struct eye_err *err);
void eye_exec_free(struct eye_exec *x);
/* Its runs stay on the caller's thread: they need no pool, so several such execs may run at once, each on a thread, inside one
 * task each of the pool or beside it. Same results. */
void eye_exec_alone(struct eye_exec *x);

struct eye_io { eye_val v; void *data; }; /* caller's memory, contiguous, shape as bound */
/* Runs the bind's T rows (its ctx is not read: the cache knows). in: every input of the graph. out: any values that are graph
 * outputs; their results are written straight to data (f32). Steps that neither a wanted output nor a state needs are skipped,
 * and those of picked rows when none is.
 * kv may be NULL when the graph has no state. Segments: what a sequence gives does not depend on what else is in the call, and
 * is bit for bit what it gives alone; no two segments may write a slot. cancel (may be NULL) is polled between steps: true stops
 * with CANCELLED (a cache then holds some layers' rows of this run: run them again). Errors: ARG (t > max_t, past + t > the
 * cache's positions or max_ctx, segments that cannot be, an id outside its table, an input missing), CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_exec_run(struct eye_exec *x, struct eye_kv *kv, const struct eye_bind *bind,
                                            const struct eye_io *in, size_t n_in, const struct eye_io *out, size_t n_out,
                                            bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err);
/* Time per step of the last run for `bench --ops`: fills up to cap entries, returns the number of steps. Off unless enabled;
 * skipped steps have 0. */
/* Called after each step of a run with its result v [n] (one call for each of several), in order, from the thread that
 * runs: calibration, layers compared. Wanted outputs are in the caller's memory already. data: f32, or u8 or i16 where the value is; what it changes there
 * is what later steps read. NULL = nobody. */
typedef void eye_observe_fn(void *ctx, eye_val v, void *data, size_t n);
void eye_exec_observe(struct eye_exec *x, eye_observe_fn *fn, void *ctx);
/* Of linears that are run together the first's name. */
struct eye_step_time { const char *op; const char *name; uint64_t ns; };
void eye_exec_timing(struct eye_exec *x, bool on); /* steps that run in one go (chain.c): the first thread's time for each */
size_t eye_exec_times(const struct eye_exec *x, struct eye_step_time *out, size_t cap);

#endif
