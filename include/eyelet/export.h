/* Export: a checkpoint's parts as ONNX graphs with the signatures that phone tool chains compile, written from the same graphs
 * that eyelet runs. In the static library only.
 *
 *   struct eye_export_opts opts = {.graphs = EYE_EXPORT_VISION | EYE_EXPORT_KV, .target = EYE_TARGET_QNN};
 *   struct eye_export_report report;
 *   if (eye_export_onnx("FastVLM-0.5B", "npu", &opts, &report, &err) != EYE_OK)
 *       fprintf(stderr, "%s\n", err.text);
 *   for (size_t i = 0; i < report.n_files; i++) puts(report.file[i].name);
 *
 * Tensors of each graph, files and tools around them: doc/ONNX.md.
 */
#ifndef EYELET_EXPORT_H
#define EYELET_EXPORT_H

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { /* graphs, as a set. B batch, T tokens, N rows of pictures, C width of the decoder, V vocabulary */
    EYE_EXPORT_VISION = 1,    /* pixel_values [B,3,S,S], normalised -> image_features [B,N,C] */
    EYE_EXPORT_PROJECTOR = 2, /* vision_features [B,N,Cv] -> image_features [B,N,C] */
    EYE_EXPORT_EMBEDDER = 4,  /* input_ids [B,T] -> inputs_embeds [B,T,C] */
    EYE_EXPORT_DECODER = 8,   /* inputs_embeds [B,T,C] -> logits [B,T,V], causal, nothing kept */
    EYE_EXPORT_JOINT = 16,    /* vision_features [B,N,Cv], input_ids [B,T] -> logits [B,N + T,V]: projector, embedder,
                                 decoder in one; the picture's rows stand first */
    EYE_EXPORT_PREFILL = 32,  /* inputs_embeds, attention_mask [B,T], position_ids [B,T] -> logits, keys and values */
    EYE_EXPORT_KV = 64,       /* one call of a decoder whose cache the caller owns: see kv_style */
    EYE_EXPORT_ALL = 127
};

enum eye_axes {
    EYE_AXES_AUTO = 0, /* static for QNN, else dynamic */
    EYE_AXES_STATIC, /* batch, tokens and rows of pictures are numbers */
    EYE_AXES_DYNAMIC /* they have names; KV graphs are always static */
};
enum eye_target {
    EYE_TARGET_PLAIN = 0, /* any runtime of ONNX */
    EYE_TARGET_QNN        /* what Qualcomm's converter takes: nothing is computed from shapes; positions look cosines up, since
                             the NPU computes in half precision whatever the file says */
};
enum eye_export_kv_style { /* i = layer, P = cached positions, n = new tokens, D = width of a head */
    EYE_EXPORT_KV_PLAIN = 0, /* past_key_values.i.key, past_key_values.i.value [1,Hkv,P,D]; out present.i.key, present.i.value
                                [1,Hkv,n,D] */
    EYE_EXPORT_KV_DOT,       /* keys turned round: [1,Hkv,D,P], out [1,Hkv,D,n] */
    EYE_EXPORT_KV_GENIE      /* as DOT, called past_key_i_in, past_value_i_in, past_key_i_out, past_value_i_out */
};
enum eye_export_kv_out {
    EYE_EXPORT_KV_OUT_NEW = 0, /* keys and values of the n new tokens; the caller puts them into its cache */
    EYE_EXPORT_KV_OUT_WINDOW   /* the whole cache, moved on by n: what the next call takes as it is */
};
enum eye_export_mask {
    EYE_EXPORT_MASK_AUTO = 0, /* KEYS for plain keys, else FULL */
    EYE_EXPORT_MASK_KEYS,     /* integers [1, P + n]: which positions hold something; new tokens are causal among themselves */
    EYE_EXPORT_MASK_FULL,     /* integers [1,1,n, P + n]: 0 = hidden, anything else = seen */
    EYE_EXPORT_MASK_ADDED     /* real numbers [1,1,n, P + n] that are added to the scores: 0 = seen, -1000 or less = hidden */
};

enum eye_export_pixels {
    EYE_EXPORT_PIXELS_NCHW = 0, /* pixel_values [B,3,S,S], real numbers, normalised */
    EYE_EXPORT_PIXELS_U8,       /* [B,S,S,3] bytes of a picture; the graph normalises */
    EYE_EXPORT_PIXELS_U8_FLAT   /* the same as [S S,3], one picture */
};

enum eye_export_int8 { /* of a model whose tower is static int8 (eye_convert_opts.vision_type): tower and projector */
    EYE_EXPORT_INT8_NUMBERS = 0, /* the numbers its weights stand for; ranges of activations are left out */
    EYE_EXPORT_INT8_QDQ,         /* QuantizeLinear and DequantizeLinear where eyelet rounds; what reads 16 bits is floats */
    EYE_EXPORT_INT8_ENCODINGS    /* NUMBERS, and beside the graph a JSON file with the range of each tensor by name */
};

#define EYE_EXPORT_MAX_STEPS 8
struct eye_export_opts { /* all zero = defaults */
    uint32_t graphs;         /* EYE_EXPORT_…; 0 = VISION (if the model sees), EMBEDDER and KV */
    const char *mmproj;      /* as eye_model_opts.mmproj */
    bool f16;                /* weights, activations and interfaces in half precision */
    int32_t opset;           /* 14 to 18; 0 = 17 */
    enum eye_target target;
    enum eye_axes axes;
    bool external;           /* weights in a .data file even where one file could hold all; above 2 GiB, and where graphs share
                                weights, they always are */
    bool tower_only;         /* VISION without projector: -> vision_features [B,N,Cv] */
    int32_t image_side;      /* 0 = the model's own */
    enum eye_export_pixels pixels;
    enum eye_export_int8 int8;
    bool last_logits;        /* logits [B,1,V] of the last row only: blocks of a prompt need no others */
    int32_t seq_len;         /* T of static graphs; 0 = 512, or what the model has */
    int32_t cache_len;       /* KV: P of a call with one new token; 0 = 1023, or what the model has. The context is P + 1 */
    int32_t step[EYE_EXPORT_MAX_STEPS]; /* KV: new tokens per call, a graph each, all with one context and weights file */
    int32_t n_steps;         /* 0 = one graph, of one token */
    enum eye_export_kv_style kv_style;
    enum eye_export_kv_out kv_out;
    enum eye_export_mask mask;
    bool rope_inputs;        /* position_ids_cos, position_ids_sin [1,1,n,D/2] in place of position_ids [1,n] */
    bool ids32;              /* integers of the interface are int32, not int64 */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
    const struct eye_alloc *alloc;
};

#define EYE_EXPORT_MAX_FILES 16
struct eye_export_report {
    struct eye_export_report_file {
        char name[64];                 /* in the folder */
        const char *graph;             /* "vision", "decoder-kv" */
        char data_name[64];            /* its weights, or "" when they are in it */
        char encodings[64];            /* its JSON file, or "" */
        uint64_t n_nodes, n_inputs, n_outputs, bytes, data_bytes;
        uint64_t n_int8;               /* convolutions and matrices that are int8 in it */
    } file[EYE_EXPORT_MAX_FILES];
    size_t n_files;
    char warning[256];                 /* what eye_model_open would log, or "" */
};
/* Name of one graph, "decoder-with-projection"; NULL = no such. */
const char *eye_export_graph_name(uint32_t graph);

/* path      checkpoint folder or .gguf; quantized weights are written as the numbers they stand for.
 * dir       made unless it is there; files of the same names are replaced, each appears when it is whole.
 * report    may be NULL; set on success.
 * Memory: weights are mapped, and converted as they are written; folded convolutions are in memory.
 * Returns EYE_OK; ARG (options that do not go together or that the model cannot have; the text says which); what eye_model_open
 * returns; UNSUPPORTED (a number that f16 lacks); LIMIT (a static mask of more than 2^24 numbers); IO; CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_export_onnx(const char *path, const char *dir, const struct eye_export_opts *opts,
                                               struct eye_export_report *report, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
