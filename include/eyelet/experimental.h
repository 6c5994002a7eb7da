/* Looking inside: intermediate results, per-op times, what files hold, conversion. For the program `eyelet`, tests and the
 * curious.
 *
 *   struct eye_probe probe = {.stage = EYE_PROBE_VISION, .query = &query};
 *   struct eye_array rows = {0};
 *   if (eye_probe_run(model, &probe, &rows, &err) != EYE_OK) goto fail;
 *   if (eye_array_save(&rows, "vision.npy", &err) != EYE_OK) goto fail;
 *   eye_array_free(&rows);
 *
 * These calls are in the static library only and may change with any version.
 */
#ifndef EYELET_EXPERIMENTAL_H
#define EYELET_EXPERIMENTAL_H

#include "eyelet/model.h"
#include "eyelet/session.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

uint64_t eye_peak_rss_bytes(void); /* of this process so far */

/* ---- intermediate results ---- */
#define EYE_ARRAY_MAX_RANK 5
struct eye_array { /* f32, row-major */
    float *data;
    int32_t rank;
    int64_t dims[EYE_ARRAY_MAX_RANK];
    size_t bytes;
    const struct eye_alloc *alloc; /* private */
};
void eye_array_free(struct eye_array *a);
/* Writes a .npy file, version 1.0, '<f4'. */
EYE_MUST_CHECK enum eye_status eye_array_save(const struct eye_array *a, const char *path, struct eye_err *err);

enum eye_probe_stage {
    EYE_PROBE_PIXELS,     /* [3, H, W]: what the vision tower sees; of an image cut into tiles the whole, here and below */
    EYE_PROBE_VISION,     /* [rows of one picture, C] */
    EYE_PROBE_PROJECTED,  /* [rows of one picture, hidden], before any are merged (image_tokens) */
    EYE_PROBE_EMBEDDINGS, /* [T, hidden] after splicing */
    EYE_PROBE_LOGITS,     /* [T, n_vocab] of the prefill */
    EYE_PROBE_LAYER       /* any named value of the vision or decoder graph, in the engine's layout (images NHWC) */
};
struct eye_probe {
    enum eye_probe_stage stage;
    const char *layer;               /* LAYER: a name eye_model_layers() gives */
    const struct eye_query *query; /* its first image for PIXELS, VISION, PROJECTED and vision layers */
    const int32_t *ids;            /* [n_ids] instead of the query's text; NULL = query->text. EYE_TOKEN_IMAGE_ROW as usual */
    size_t n_ids;
    bool last;                       /* the last row only (EMBEDDINGS, LOGITS, decoder layers) */
};
/* Runs what is needed for one stage. *out is set on success; free it with eye_array_free(). Nothing is kept in the model but
 * packed weights. Returns EYE_OK; ARG (no image, no prompt, unknown layer); and what generate returns. */
EYE_MUST_CHECK enum eye_status eye_probe_run(struct eye_model *model, const struct eye_probe *probe, struct eye_array *out,
                                             struct eye_err *err);
/* Names of the values a LAYER probe takes: vision first, then decoder. They belong to the model. */
EYE_MUST_CHECK enum eye_status eye_model_layers(struct eye_model *model, const char *const **names, size_t *n,
                                                struct eye_err *err);

/* ---- time per op ---- */
struct eye_op_time {
    const char *graph; /* "vision", "projector", "decoder" */
    const char *op;    /* "linear" */
    const char *name;  /* of the value it makes; "" = unnamed */
    uint64_t ns;
};
/* From now on the session notes how long each op of its last runs took. */
void eye_session_time_ops(struct eye_session *s, bool on);
/* Of the last image and the last prefill or step: the first min(n, cap) are written, n is returned. */
size_t eye_session_op_times(const struct eye_session *s, struct eye_op_time *out, size_t cap);

/* ---- the same work, done otherwise ---- */
/* Parts of the model that are not in use yet will run as their family writes them, node by node: nothing fused, and nothing folded
 * but where int8 needs it (a row's scale takes in the batch norm; a converted file came folded). The same results but for
 * rounding, later: for measuring what the passes gain, and for finding one that is wrong. Before the model's first session. */
void eye_model_leave_unfused(struct eye_model *model);
/* eye_session_prefill with logits [n_logits, n_vocab] of the last n_logits rows; the head takes n_parallel of them at once. */
EYE_MUST_CHECK enum eye_status eye_session_prefill_logits(struct eye_session *s, const int32_t *ids, size_t n,
                                                          const float *image_rows, size_t n_logits, float *logits,
                                                          struct eye_err *err);

/* ---- what a file or folder holds ---- */
struct eye_listing;
struct eye_listed_tensor {
    const char *name;   /* as in the file */
    const char *dtype;  /* "f32", "q8_0" */
    int32_t rank;
    int64_t dims[EYE_ARRAY_MAX_RANK]; /* outermost first */
    uint64_t bytes;
};
/* A folder, a .gguf or a .safetensors file; reads headers only. */
EYE_MUST_CHECK enum eye_status eye_listing_open(const char *path, struct eye_listing **listing, struct eye_err *err);
void eye_listing_close(struct eye_listing *l);
const char *eye_listing_format(const struct eye_listing *l); /* "gguf", "compiled", "safetensors" */
/* Reads all of a compiled file: CORRUPT if its bytes are not those that were written. ARG: another kind of file has no sums. */
EYE_MUST_CHECK enum eye_status eye_listing_check(const struct eye_listing *l, struct eye_err *err);
size_t eye_listing_n_tensors(const struct eye_listing *l);
void eye_listing_tensor(const struct eye_listing *l, size_t i, struct eye_listed_tensor *out);
/* Metadata as text; false = no such entry. Long values are cut and end in "…". */
size_t eye_listing_n_metadata(const struct eye_listing *l);
bool eye_listing_metadata(const struct eye_listing *l, size_t i, const char **key, const char **value);

/* ---- the machine: what `eyelet doctor` says about it ---- */
struct eye_machine {
    const char *compiler;                     /* "gcc 12.2.0" */
    char jpeg[32], png[32], webp[32];         /* library and version; "" = built without */
    char cpu_detected[128], cpu_allowed[128]; /* "avx2,avx512", "base"; allowed: after EYE_CPU */
    bool cpu_unknown;                         /* EYE_CPU holds a name that is none */
    int32_t n_cpus;                           /* processors this process may use: affinity, cgroup quota */
};
void eye_machine_get(struct eye_machine *out);

struct eye_kernel_choice {
    const char *op, *kernel; /* "gemm_f32_f32_f32", "eye_gemm_f32_f32_f32_avx2"; "none": not an operation for this CPU */
};
/* What the engine would run with here: the first min(n, cap) are written, n is returned. */
size_t eye_kernel_choices(struct eye_kernel_choice *out, size_t cap);

enum eye_speed_type { EYE_SPEED_F32, EYE_SPEED_BF16, EYE_SPEED_Q8_0, EYE_N_SPEED };
struct eye_speed {
    double read_1_bytes_per_s, read_bytes_per_s; /* memory, by one thread and by all */
    uint64_t buffer_bytes, huge_bytes;           /* of the buffer read; of it, in huge pages (as packed weights would be) */
    bool huge_known;                             /* else the kernel does not say */
    double peak_flop_per_s[EYE_N_SPEED];         /* what the multipliers do on registers alone: the roof; Q8_0: of int8 */
    double gemm_flop_per_s[EYE_N_SPEED];         /* 128 rows times a 1024 x 1024 matrix, all threads */
};
/* About a second of measuring. n_threads 0 = all processors; buffer_bytes of memory are taken and given back, at least 2 MiB.
 * cancel may be NULL. Returns EYE_OK; ARG; NOMEM; CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_speed_measure(int32_t n_threads, uint64_t buffer_bytes, eye_cancel_fn *cancel,
                                                 void *cancel_ctx, struct eye_speed *out, struct eye_err *err);

/* What each stage of a model cannot do without: products of matrices, convolutions and attention by the units that do them, and
 * bytes that have to come from memory. Norms, activations and copies are not counted. */
enum eye_stage { EYE_STAGE_VISION, EYE_STAGE_PROJECTOR, EYE_STAGE_PREFILL, EYE_STAGE_DECODE, EYE_N_STAGE };
struct eye_stage_cost {
    double ops[EYE_N_SPEED]; /* 2 a multiply-add */
    double bytes;            /* weights, and keys and values */
};
/* n_prefill tokens from an empty context; one token decoded after n_past others; vision: one picture. Packs weights that are not
 * packed yet. Returns EYE_OK; what sessions return. */
EYE_MUST_CHECK enum eye_status eye_model_cost(struct eye_model *model, int32_t n_prefill, int32_t n_past,
                                              struct eye_stage_cost out[EYE_N_STAGE], struct eye_err *err);
/* Seconds that takes at least on such a machine, computing and reading at the same time. */
double eye_stage_limit_s(const struct eye_stage_cost *cost, const struct eye_speed *speed);

struct eye_self_check {
    int32_t n_results;  /* compared */
    double worst;       /* largest difference, in units of what rounding may explain: at most 1 = they agree */
    char worst_op[32];  /* "linear q8_0" */
};
/* A small graph by the engine with the kernels of this CPU, and by the plain C kernels. Returns EYE_OK (also when they differ);
 * NOMEM. */
EYE_MUST_CHECK enum eye_status eye_self_check(struct eye_self_check *out, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
