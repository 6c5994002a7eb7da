/* eyelet onnx lint: what a target will not take, with the names of nodes and tensors. */
#include <stdio.h>

#include "onnx.h"

struct lint_opts {
    int32_t target;
    bool json;
};

#define T struct lint_opts
static const struct arg lint_args[] = {
    {ARG_CHOICE, 0, "target", "TARGET", "plain: any ONNX runtime; qnn: Qualcomm's NPU", offsetof(T, target),
     .choices = onnx_target_names},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct lint_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_onnx_report r;
    char counts[256];
    (void)n_operands;
    ui_init(&ui, false, false);
    if (eye_onnx_lint(operand[0], (enum eye_onnx_target)o->target, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    int code = r.n ? EXIT_FAILED : EXIT_DONE;
    if (o->json) {
        json_t *root = json_pack("{s:o,s:s,s:b,s:o}", "file", json_outside(operand[0]), "target", onnx_target_names[o->target],
                                 "ok", r.n == 0, "findings", onnx_findings_json(&r));
        if (json_print(&ui, root) != EXIT_DONE) code = EXIT_FAILED;
    } else if (r.n == 0) {
        printf("Lint OK: nothing that %s refuses\n", onnx_target_names[o->target]);
    } else {
        onnx_print_findings(&r);
        ui_failf(&ui, "%s: not for %s: %s", operand[0], onnx_target_names[o->target],
                 onnx_count_findings(&r, counts, sizeof counts));
    }
    eye_onnx_report_clear(&r);
    return code;
}

static const struct example examples[] = {
    {"Before it goes to the NPU's compiler", "eyelet onnx lint decoder.onnx --target qnn"},
    {NULL, NULL},
};

const struct command cmd_onnx_lint = {
    .name = "onnx lint",
    .usage = "FILE [--target plain|qnn] [--json]",
    .summary = "operators, types and axes that a target will not take",
    .details = "Exit status 1 if there are any. It knows the converter's list of operators, not the limits of a chip.",
    .args = lint_args, .examples = examples, .opts_bytes = sizeof(struct lint_opts), .operand = "FILE",
    .min_operands = 1, .max_operands = 1, .run = run,
};
