/* eyelet export qai-jobs: what came back from Qualcomm AI Hub: metadata.json, lists of jobs and of model ids. */
#include <stdio.h>

#include "eyelet/qai_hub.h"
#include "onnx.h"

struct jobs_opts {
    const char *onnx;
    bool json;
};

#define T struct jobs_opts
static const struct arg jobs_args[] = {
    {ARG_TEXT, 0, "onnx", "GRAPH", "is the job of metadata.json this graph's: inputs and outputs are compared",
     offsetof(T, onnx)},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

static const char *const status_names[] = {"unknown", "SUCCESS", "FAILED"};

static json_t *job_json(const struct eye_qai_job *j) {
    json_t *inputs = json_object(), *outputs = json_array();
    for (size_t i = 0; i < j->n_inputs; i++) {
        json_t *dims = json_array();
        for (size_t d = 0; d < j->input[i].rank; d++) json_array_append_new(dims, json_integer(j->input[i].dim[d]));
        json_object_set_new(inputs, j->input[i].name, json_pack("[o,s]", dims, j->input[i].type));
    }
    for (size_t i = 0; i < j->n_outputs; i++) json_array_append_new(outputs, json_string(j->output[i]));
    return json_pack("{s:o,s:s,s:s,s:s,s:o,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "name", json_outside(j->name), "status",
                     status_names[j->status], "job_id", j->job_id, "model_id", j->model_id, "message", json_outside(j->message),
                     "url", j->url, "device", j->device, "os", j->os, "options", j->options, "onnx", json_outside(j->onnx),
                     "file", json_outside(j->file), "input_specs", inputs, "output_names", outputs);
}

static void print_job(const struct eye_qai_job *j, enum eye_qai_kind kind) {
    if (kind == EYE_QAI_IDS) {
        printf("%-28s model %s\n", j->name, j->model_id);
        return;
    }
    printf("%-28s %-8s job %s", j->name[0] ? j->name : "-", status_names[j->status], j->job_id);
    if (j->model_id[0]) printf(", model %s", j->model_id);
    if (j->n_inputs) printf(", %zu inputs, %zu outputs", j->n_inputs, j->n_outputs);
    if (j->file[0]) printf(", %s", j->file);
    if (j->message[0]) printf(": %s", j->message);
    putchar('\n');
}

static int compare(struct ui *ui, const struct eye_qai_jobs *jobs, const char *list, const char *onnx, bool json) {
    struct eye_onnx_report r;
    struct eye_err err = {0};
    char counts[256];
    if (jobs->n != 1) return ui_failf(ui, "%s: %zu jobs; --onnx takes the metadata.json of one", list, jobs->n);
    if (eye_qai_compare(&jobs->job[0], onnx, &r, &err) != EYE_OK) return ui_fail(ui, &err);
    int code = EXIT_DONE;
    if (json) {
        code = json_print(ui, json_pack("{s:b,s:o,s:o}", "ok", r.n == 0, "job", job_json(&jobs->job[0]), "findings",
                                        onnx_findings_json(&r)));
        if (r.n) code = EXIT_FAILED;
    } else if (r.n == 0) {
        printf("%s is of this graph: %zu inputs, %zu outputs\n", jobs->job[0].job_id, r.n_inputs, r.n_outputs);
    } else {
        onnx_print_findings(&r);
        code = ui_failf(ui, "%s: not what %s was compiled from: %s", onnx, jobs->job[0].job_id,
                        onnx_count_findings(&r, counts, sizeof counts));
    }
    eye_onnx_report_clear(&r);
    return code;
}

static int print(struct ui *ui, const struct eye_qai_jobs *jobs, bool json) {
    json_t *list = json ? json_array() : NULL;
    for (size_t i = 0; i < jobs->n; i++) {
        if (json) json_array_append_new(list, job_json(&jobs->job[i]));
        else print_job(&jobs->job[i], jobs->kind);
    }
    return json ? json_print(ui, json_pack("{s:o}", "jobs", list)) : EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct jobs_opts *o = opts;
    struct eye_qai_jobs jobs;
    struct eye_err err = {0};
    struct ui ui;
    (void)n_operands;
    ui_init(&ui, false, false);
    if (eye_qai_jobs_read(operand[0], &jobs, &err) != EYE_OK) return ui_fail(&ui, &err);
    int code = o->onnx ? compare(&ui, &jobs, operand[0], o->onnx, o->json) : print(&ui, &jobs, o->json);
    eye_qai_jobs_clear(&jobs);
    return code;
}

static const struct example examples[] = {
    {"Which jobs went well", "eyelet export qai-jobs npu/qaihub_bins/qaihub-jobs.txt"},
    {"Is this binary of that graph",
     "eyelet export qai-jobs npu/qaihub_bins/decoder_kv_jabc/metadata.json --onnx npu/decoder_kv.onnx"},
    {NULL, NULL},
};

const struct command cmd_export_qai_jobs = {
    .name = "export qai-jobs",
    .usage = "FILE [--onnx GRAPH] [--json]",
    .summary = "lists that came back from Qualcomm AI Hub",
    .details = "FILE: metadata.json, qaihub-jobs.txt or qaihub-model-ids.txt of the script of \"eyelet export qai-hub\", or\n"
               "such of others' scripts. With --onnx the exit status is 1 if the job is not of that graph.",
    .args = jobs_args, .examples = examples, .opts_bytes = sizeof(struct jobs_opts), .operand = "FILE", .min_operands = 1,
    .max_operands = 1, .run = run,
};
