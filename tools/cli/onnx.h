/* onnx: what the commands `onnx …` share: reports as text and as JSON. */
#ifndef EYELET_CLI_ONNX_H
#define EYELET_CLI_ONNX_H

#include "cli.h"
#include "eyelet/onnx.h"
#include "json.h"

extern const char *const onnx_target_names[];

/* The lists of a report on stdout: "Missing inputs:" and under it a line for each. */
void onnx_print_findings(const struct eye_onnx_report *r);
json_t *onnx_findings_json(const struct eye_onnx_report *r);
/* "2 missing inputs, 1 refused operator" into out; returns out. */
char *onnx_count_findings(const struct eye_onnx_report *r, char *out, size_t cap);

#endif
