/* Fuzz target: the bytes are a list of QAI Hub: metadata.json, jobs or model ids. */
#include "export/qai.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_qai_jobs jobs;
    struct eye_err err = {0};
    enum eye_status st = eye_qai_jobs_parse(p, n, "fuzz", &jobs, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    for (size_t i = 0; i < jobs.n; i++) {
        const struct eye_qai_job *j = &jobs.job[i];
        const char *const texts[] = {j->name, j->model_id, j->job_id, j->message, j->url, j->device, j->os, j->options, j->onnx, j->file};
        for (size_t k = 0; k < EYE_COUNT(texts); k++) eye_fuzz_read(texts[k], strlen(texts[k]));
        for (size_t k = 0; k < j->n_inputs; k++) {
            if (j->input[k].rank > EYE_QAI_MAX_RANK) abort();
            eye_fuzz_read(j->input[k].name, strlen(j->input[k].name));
        }
        for (size_t k = 0; k < j->n_outputs; k++) eye_fuzz_read(j->output[k], strlen(j->output[k]));
    }
    eye_qai_jobs_clear(&jobs);
    return 0;
}
