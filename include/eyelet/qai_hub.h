/* QAI Hub: Qualcomm's service that compiles ONNX graphs to context binaries for its NPUs. It is reached by its own client,
 * qai-hub, with the user's account: eyelet opens no connection. It writes a script for that client, with all that a graph
 * needs, and reads the lists that come back. In the static library only.
 *
 *   struct eye_qai_opts opts = {.prefix = "fastvlm_"};
 *   if (eye_qai_script((const char *const[]){"npu/decoder_kv.onnx"}, 1, "npu", &opts, &report, &err) != EYE_OK) goto fail;
 *   … python3 npu/qai_hub_compile.py, where the client is …
 *   struct eye_qai_jobs jobs;
 *   if (eye_qai_jobs_read("npu/qaihub_bins/fastvlm_decoder_kv_jabc/metadata.json", &jobs, &err) != EYE_OK) goto fail;
 *   eye_qai_jobs_clear(&jobs);
 */
#ifndef EYELET_QAI_HUB_H
#define EYELET_QAI_HUB_H

#include <stdbool.h>

#include "eyelet/onnx.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EYE_QAI_SCRIPT "qai_hub_compile.py" /* its name in the folder */
#define EYE_QAI_MAX_GRAPHS 32

struct eye_qai_opts { /* all zero = defaults */
    const char *device;      /* NULL = "Snapdragon 8 Elite QRD" */
    const char *os;          /* NULL = "15", "" = whichever it has */
    const char *options;     /* of the compile jobs; NULL = what each graph needs: a context binary, floats as float16 where
                                they are float32 and nothing says otherwise, 64-bit inputs and outputs cut to 32 */
    const char *prefix;      /* in front of the jobs' names; NULL = none */
    const char *bins;        /* folder for what is downloaded, beside the script; NULL = "qaihub_bins" */
    const char *const *dim;  /* [n_dims] "batch_size=1": what symbolic dims of this name are */
    size_t n_dims;
};
struct eye_qai_report {
    struct eye_qai_report_graph {
        char name[128];      /* the file's, without .onnx: of the job too */
        char options[512];   /* without the list of outputs */
        size_t n_inputs, n_outputs;
        size_t n_refused;    /* what eye_onnx_lint for QNN finds in it, but for symbolic dims */
    } graph[EYE_QAI_MAX_GRAPHS];
    size_t n;
};
/* Writes dir/qai_hub_compile.py, made anew: uploads graphs [n] with their weights, submits a compile job for each, waits,
 * downloads, and writes metadata.json, qaihub-model-ids.txt and qaihub-jobs.txt. The graphs' SHA-256 are in it: a graph that
 * changed since is refused there. dir is made unless it is there. report may be NULL.
 * Returns EYE_OK; ARG (two graphs of one name, a symbolic dim that opts do not settle); CORRUPT (a graph that makes no sense);
 * UNSUPPORTED (an element type that the client lacks; more than one data file; names that the option --output_names would take
 * apart); IO; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_qai_script(const char *const *onnx, size_t n, const char *dir,
                                              const struct eye_qai_opts *opts, struct eye_qai_report *report,
                                              struct eye_err *err);

/* ---- what comes back ---- */

enum eye_qai_kind {
    EYE_QAI_IDS,      /* "name: model_id" per line, # comments */
    EYE_QAI_JOBS,     /* "device=… os=…", "compile_options=…", then "name: model_id=… job_id=… status=… url=…" a line */
    EYE_QAI_METADATA  /* JSON: one job's, or an array of them */
};
enum eye_qai_status { EYE_QAI_UNKNOWN = 0, EYE_QAI_SUCCESS, EYE_QAI_FAILED };
#define EYE_QAI_MAX_RANK 8
struct eye_qai_tensor {
    const char *name, *type;  /* "float16", as the client says it */
    int64_t dim[EYE_QAI_MAX_RANK];
    size_t rank;
};
struct eye_qai_job { /* "" where a file does not say it; [0] of nothing */
    const char *name, *model_id, *job_id, *message, *url, *device, *os, *options, *onnx, *file;
    enum eye_qai_status status;
    const struct eye_qai_tensor *input;
    size_t n_inputs;
    const char *const *output;
    size_t n_outputs;
};
struct eye_qai_jobs { /* give it back with eye_qai_jobs_clear */
    enum eye_qai_kind kind;
    const struct eye_qai_job *job;
    size_t n;
    void *memory; /* private */
};
/* Files are at most 4 MiB with at most 4096 jobs; bytes are taken as hostile: an unknown key, another type, a control
 * character, a line of another form is CORRUPT, with its place. Returns EYE_OK; IO; CORRUPT; LIMIT; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_qai_jobs_read(const char *path, struct eye_qai_jobs *out, struct eye_err *err);
void eye_qai_jobs_clear(struct eye_qai_jobs *jobs);

/* Is a job of metadata.json of this graph: inputs (names, types, shapes, order does not count) and outputs (names)? Symbolic
 * dims of the graph are any. Findings are no error. Returns EYE_OK; ARG (the job has no inputs: no metadata); what loading
 * returns. */
EYE_MUST_CHECK enum eye_status eye_qai_compare(const struct eye_qai_job *job, const char *onnx, struct eye_onnx_report *report,
                                               struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
