/* eyelet onnx patch: fused operators of graphs exported elsewhere, taken apart into plain ones. */
#include <stdio.h>

#include "onnx.h"

struct patch_opts {
    struct arg_list dim;
    bool turned_keys, keep_norms, keep_ropes, keep_attentions, norms_as_stored, nonzero, rope_inputs, json, quiet;
    int32_t present, mask, mask_type;
};

static const char *const present_names[] = {"all", "new", NULL};                /* enum eye_onnx_present */
static const char *const mask_names[] = {"lengths", "i64", "i32", "added", NULL}; /* enum eye_onnx_mask */
static const char *const mask_types[] = {"keep", "i64", "i32", NULL};

#define T struct patch_opts
static const struct arg patch_args[] = {
    {ARG_GROUP, .help = "Attention"},
    {ARG_CHOICE, 0, "present", "WHAT", "keys and values that come out: all, past and new; new, of this call's tokens alone",
     offsetof(T, present), .choices = present_names},
    {ARG_FLAG, 0, "turned-keys", NULL, "keys in and out are [B,Hkv,D,P], as dot and genie signatures want them",
     offsetof(T, turned_keys)},
    {ARG_CHOICE, 0, "mask", "FORM", "who sees whom: computed from the lengths that the fused nodes read; or an input "
     "attention_mask [B,1,S,P+S]: integers (0 = hidden, any other = seen), or numbers that are added to the scores",
     offsetof(T, mask), .choices = mask_names},
    {ARG_FLAG, 0, "rope-inputs", NULL, "cosines and sines are inputs position_ids_cos and position_ids_sin [1,1,S,dims/2]",
     offsetof(T, rope_inputs)},
    {ARG_LIST, 0, "size", "NAME=N", "symbolic dims of this name become N; may be repeated", offsetof(T, dim)},
    {ARG_GROUP, .help = "An attention_mask that is an input already"},
    {ARG_CHOICE, 0, "mask-type", "TYPE", "type of its integers", offsetof(T, mask_type), .choices = mask_types},
    {ARG_FLAG, 0, "mask-nonzero", NULL, "whatever is not 0 counts as 1 (Genie writes -1)", offsetof(T, nonzero)},
    {ARG_GROUP, .help = "Normalization"},
    {ARG_FLAG, 0, "norms-as-stored", NULL, "f16 norms stay in f16, whose squares overflow at 256",
     offsetof(T, norms_as_stored)},
    {ARG_GROUP, .help = "What stays fused"},
    {ARG_FLAG, 0, "keep-norms", NULL, "RMS norms", offsetof(T, keep_norms)},
    {ARG_FLAG, 0, "keep-ropes", NULL, "rotary embeddings", offsetof(T, keep_ropes)},
    {ARG_FLAG, 0, "keep-attentions", NULL, "group query attention", offsetof(T, keep_attentions)},
    {ARG_GROUP, .help = "Messages"},
    JSON_ARG(T),
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

static int run(void *opts, char *const *operand, int n_operands) {
    const struct patch_opts *o = opts;
    struct ui ui;
    struct eye_err err = {0};
    struct eye_onnx_patch_report r;
    (void)n_operands;
    ui_init(&ui, o->quiet, false);
    struct eye_onnx_patch_opts popts = {
        .keep_norms = o->keep_norms, .keep_ropes = o->keep_ropes, .keep_attentions = o->keep_attentions,
        .norms_as_stored = o->norms_as_stored, .present = (enum eye_onnx_present)o->present,
        .mask = (enum eye_onnx_mask)o->mask, .mask_type = (enum eye_onnx_mask)o->mask_type, .mask_nonzero = o->nonzero,
        .rope_inputs = o->rope_inputs, .turned_keys = o->turned_keys, .dim = o->dim.item, .n_dims = (size_t)o->dim.n};
    if (eye_onnx_patch(operand[0], operand[1], &popts, &r, &err) != EYE_OK) return ui_fail(&ui, &err);
    if (o->json)
        return json_print(&ui, json_pack("{s:o,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "file", json_outside(operand[1]), "norms",
                                         (json_int_t)r.n_norms, "ropes", (json_int_t)r.n_ropes, "attentions",
                                         (json_int_t)r.n_attentions, "inputs_changed", (json_int_t)r.n_inputs_changed,
                                         "inputs_added", (json_int_t)r.n_inputs_added, "inputs_dropped",
                                         (json_int_t)r.n_inputs_dropped, "nodes_dropped", (json_int_t)r.n_dropped));
    printf("Replaced %zu RMSNorm, %zu RotaryEmbedding, %zu GroupQueryAttention nodes. Saved to %s\n", r.n_norms, r.n_ropes,
           r.n_attentions, operand[1]);
    if (r.n_inputs_changed || r.n_inputs_added || r.n_inputs_dropped)
        ui_note(&ui, "inputs: %zu changed, %zu added, %zu dropped that nothing reads any more", r.n_inputs_changed,
                r.n_inputs_added,
                r.n_inputs_dropped);
    return EXIT_DONE;
}

static const struct example examples[] = {
    {"Into plain operators, to the same results", "eyelet onnx patch model.onnx plain.onnx"},
    {"For an NPU whose caller owns the cache", "eyelet onnx patch model.onnx npu.onnx --present new --turned-keys --mask i32"},
    {"With numbers for symbolic sizes", "eyelet onnx patch model.onnx npu.onnx --size batch_size=1 --size sequence_length=1"},
    {NULL, NULL},
};

const struct command cmd_onnx_patch = {
    .name = "onnx patch",
    .usage = "IN OUT [--present new] [--mask i64|i32|added] [--rope-inputs]",
    .summary = "take fused normalization, rotation and attention apart into plain operators",
    .details = "Epsilons, styles of rotation, scales and windows are the nodes' own; what cannot be taken apart is refused by\n"
               "name. Fails if there is nothing to patch. OUT may be IN.",
    .args = patch_args, .examples = examples, .opts_bytes = sizeof(struct patch_opts), .operand = "IN OUT",
    .min_operands = 2, .max_operands = 2, .run = run,
};
