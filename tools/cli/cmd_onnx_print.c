/* eyelet onnx print: what is in an ONNX file. */
#include <stdio.h>

#include "onnx.h"

struct print_opts {
    bool signature, json;
};

#define T struct print_opts
static const struct arg print_args[] = {
    {ARG_FLAG, 0, "signature", NULL, "inputs and outputs alone, as JSON that onnx check takes", offsetof(T, signature)},
    JSON_ARG(T),
    {ARG_END},
};
#undef T

static void print_values(const char *title, const struct eye_onnx_value *v, size_t n) {
    for (size_t i = 0; i < n; i++) printf("%-10s %-44s %-6s %s\n", i ? "" : title, v[i].name, v[i].type, v[i].shape);
}

static void print_text(const char *path, const struct eye_onnx_summary *s) {
    char all[32], outside[32];
    printf("file       %s\n", path);
    printf("graph      %s%s%s, IR version %lld\n", s->graph, *s->producer ? ", by " : "", s->producer,
           (long long)s->ir_version);
    for (size_t i = 0; i < s->n_op_sets; i++)
        printf("%-10s %s %lld\n", i ? "" : "operators", *s->op_set[i].domain ? s->op_set[i].domain : "ai.onnx",
               (long long)s->op_set[i].version);
    printf("weights    %llu in %zu initializers, %s", (unsigned long long)s->n_weights, s->n_initializers,
           cli_bytes(s->weight_bytes, all, sizeof all));
    if (s->outside_bytes) printf(", %s of it in data files", cli_bytes(s->outside_bytes, outside, sizeof outside));
    putchar('\n');
    for (size_t i = 0; i < s->n_data_files; i++) printf("%-10s %s\n", i ? "" : "data files", s->data_file[i]);
    print_values("inputs", s->input, s->n_inputs);
    print_values("outputs", s->output, s->n_outputs);
    printf("nodes      %zu\n", s->n_nodes);
    for (size_t i = 0; i < s->n_ops; i++)
        printf("%10zu %s%s%s\n", s->op[i].n, s->op[i].domain, *s->op[i].domain ? "." : "", s->op[i].op);
}

static json_t *values_json(const struct eye_onnx_value *v, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:o,s:s,s:o}", "name", json_outside(v[i].name), "type", v[i].type, "shape",
                                              json_outside(v[i].shape)));
    return list;
}

static json_t *summary_json(const char *path, const struct eye_onnx_summary *s) {
    json_t *sets = json_object(), *ops = json_array(), *files = json_array();
    for (size_t i = 0; i < s->n_op_sets; i++) json_object_set_new(sets, s->op_set[i].domain,
                                                                  json_integer(s->op_set[i].version));
    for (size_t i = 0; i < s->n_ops; i++)
        json_array_append_new(ops, json_pack("{s:o,s:o,s:I}", "domain", json_outside(s->op[i].domain), "op",
                                             json_outside(s->op[i].op), "nodes", (json_int_t)s->op[i].n));
    for (size_t i = 0; i < s->n_data_files; i++) json_array_append_new(files, json_outside(s->data_file[i]));
    return json_pack("{s:o,s:o,s:o,s:I,s:o,s:I,s:I,s:I,s:I,s:o,s:o,s:o,s:I,s:o}", "file", json_outside(path), "graph",
                     json_outside(s->graph), "producer", json_outside(s->producer), "ir_version", (json_int_t)s->ir_version,
                     "operator_sets", sets, "weights", (json_int_t)s->n_weights, "initializers", (json_int_t)s->n_initializers,
                     "bytes", (json_int_t)s->weight_bytes, "bytes_outside", (json_int_t)s->outside_bytes, "data_files", files,
                     "inputs", values_json(s->input, s->n_inputs), "outputs", values_json(s->output, s->n_outputs), "nodes",
                     (json_int_t)s->n_nodes, "operators", ops);
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct print_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_onnx_summary s;
    (void)n_operands;
    ui_init(&ui, false, false);
    if (eye_onnx_summarize(operand[0], &s, &err) != EYE_OK) return ui_fail(&ui, &err);
    int code = EXIT_DONE;
    if (o->signature) puts(s.signature);
    else if (o->json) code = json_print(&ui, summary_json(operand[0], &s));
    else print_text(operand[0], &s);
    eye_onnx_summary_clear(&s);
    return code;
}

static const struct example examples[] = {
    {"What is it", "eyelet onnx print decoder.onnx"},
    {"Its inputs and outputs, to check others against", "eyelet onnx print decoder.onnx --signature > decoder.json"},
    {NULL, NULL},
};

const struct command cmd_onnx_print = {
    .name = "onnx print",
    .usage = "FILE [--signature] [--json]",
    .summary = "what is in an ONNX file: inputs, outputs, operators, weights",
    .args = print_args, .examples = examples, .opts_bytes = sizeof(struct print_opts), .operand = "FILE",
    .min_operands = 1, .max_operands = 1, .run = run,
};
