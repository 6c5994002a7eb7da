/* Genie and QNN, Qualcomm's runtime for NPUs: the files it takes, made from a checkpoint, and stand-ins for its programs that
 * run them on this CPU. doc/npu.md tells the flow, and what of it has met hardware.
 *
 *   struct eye_genie_opts opts = {.n_ctx = 1024};
 *   if (eye_genie_export("FastVLM-0.5B", "fastvlm-genie", &opts, &report, &err) != EYE_OK) goto fail;
 *
 *   struct eye_genie_dialog *d;
 *   if (eye_genie_dialog_open("fastvlm-genie/genie_config.json", NULL, &d, &err) != EYE_OK) goto fail;
 *   if (eye_genie_query_text(d, "Hello", &query, &result, &err) != EYE_OK) goto fail;
 *
 * In the static library only; may change with any version.
 */
#ifndef EYELET_GENIE_H
#define EYELET_GENIE_H

#include "eyelet/model.h"
#include "eyelet/session.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct eye_image;

/* ---- export ---- */

enum eye_lut_type {
    EYE_LUT_F32 = 0,
    EYE_LUT_F16, /* Genie's own program refuses it; the stand-in takes it */
    EYE_LUT_INT8 /* value = q scale, scale = largest magnitude / 127 */
};
struct eye_lut_info {
    uint64_t rows, columns, bytes;
    double scale, offset;  /* of int8; 1, 0 else */
    double rel_rms;        /* |w - v| / |w| */
};
/* The table of token embeddings, headerless and row-major: row = token. Streams: no copy in memory.
 * Returns EYE_OK; what eye_model_open returns; IO. */
EYE_MUST_CHECK enum eye_status eye_lut_export(const char *model, const char *out, enum eye_lut_type type,
                                              struct eye_lut_info *info, struct eye_err *err);

enum eye_genie_float { EYE_GENIE_F32 = 0, EYE_GENIE_F16 };

struct eye_genie_opts { /* all-zero = defaults */
    int32_t n_ctx;                    /* positions: prompt, image rows and answer; 0 = the model's own, at most 4096 */
    int32_t n_embed;                  /* tokens that the embedder takes at once; 0 = 512, at most n_ctx */
    int32_t n_threads;                /* of the decoder, in the configuration; 0 = 6 */
    enum eye_genie_float decoder;     /* of the decoder's matrices */
    enum eye_lut_type lut;
    enum eye_weight_type vision;      /* as eye_convert_opts.vision_type; INT8 takes bytes and gives bytes, and needs
                                         calibration */
    const char *calibration;          /* folder of pictures */
    uint32_t max_pictures;            /* of it; 0 = 64 */
    float temperature, top_p;         /* of the configuration's sampler; 0 = greedy, 0 = 1 */
    int32_t top_k;
    uint64_t seed;
    const char *tokenizer_json;       /* for models that have none of that name; NULL = the model's own */
    void (*progress)(void *ctx, const char *what, double done);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};
#define EYE_GENIE_MAX_FILES 16
struct eye_genie_report {
    struct {
        char name[40], what[80];
        uint64_t bytes;
        char sha256[65];
    } file[EYE_GENIE_MAX_FILES];
    uint32_t n_files;
    struct eye_lut_info lut;
    bool sees;                        /* a model without eyes has no vision files */
    double feature_scale, feature_offset; /* of vision INT8's result; else 1, 0 */
};
/* Writes the folder dir, made if absent: decoder, tables, tokenizer, configurations, parts for net-run, manifest.json last.
 * Files of the same names are replaced. Returns EYE_OK; UNSUPPORTED (a decoder that Genie has no words for; a tokenizer that is
 * not tokenizer.json); what eye_model_open and eye_convert return. */
EYE_MUST_CHECK enum eye_status eye_genie_export(const char *model, const char *dir, const struct eye_genie_opts *opts,
                                                struct eye_genie_report *report, struct eye_err *err);

/* What an exported folder is, out of its manifest. */
struct eye_genie_folder {
    char model[128];                  /* the checkpoint's name, as the export took it from its path */
    int64_t n_ctx;
    enum eye_genie_float decoder;
    enum eye_lut_type lut;
    double lut_scale, lut_offset;     /* 1, 0 unless int8 */
    bool sees, takes_bytes;           /* takes_bytes: the vision part, as --vision int8 makes it */
};
/* Returns EYE_OK; IO (no manifest: no whole export); CORRUPT. */
EYE_MUST_CHECK enum eye_status eye_genie_folder_read(const char *dir, struct eye_genie_folder *out, struct eye_err *err);

/* SHA-256 of a file in hexadecimal, as manifests have it. */
EYE_MUST_CHECK enum eye_status eye_file_sha256(const char *path, char hex[65], struct eye_err *err);

/* ---- steps of the host: what scripts do between the programs ---- */

struct eye_genie_prepare { /* all-zero = defaults */
    const char *prompt;               /* NULL = the model's own question */
    const struct eye_image *image;    /* NULL = none */
    bool raw;                         /* no chat template; <image> marks the image's place */
    bool images_first;                /* image rows before all text, as the field's scripts do; else where the template puts
                                         them */
    const char *device_dir;           /* where the run folder will lie when net-run reads the lists; NULL = where it is */
};
/* In run (made if absent): pixel_values.raw, input_ids.raw, vision_input_list.txt, embed_input_list.txt, tokens.json, as the
 * parts in dir take them. Returns EYE_OK; LIMIT (the prompt does not fit: names both numbers); UNSUPPORTED (images cut into
 * tiles). */
EYE_MUST_CHECK enum eye_status eye_genie_prepare_run(struct eye_model *model, const char *dir, const char *run,
                                                     const struct eye_genie_prepare *p, struct eye_err *err);

struct eye_genie_combine {
    int32_t n_predict;                /* tokens at most; 0 = as many as fit */
    bool prefill_only;                /* the dialog reads the rows and says nothing: for a state that is saved behind them */
    const char *device_dir;           /* of dir's files in the configuration; NULL = dir */
    const char *vision_ctx_info, *embed_ctx_info; /* files; NULL = those in dir. The context binary's own, on a device */
};
struct eye_genie_combined { uint32_t n_image_rows, n_text_rows, n_predict; };
/* Rows of run/vision_out at their place among those of run/embed_out (the last Result_n of each) to
 * run/combined_embeddings_fp32.raw, and run/genie_config.json for it. Returns EYE_OK; IO (a step did not run); CORRUPT (sizes);
 * LIMIT (does not fit the context). */
EYE_MUST_CHECK enum eye_status eye_genie_combine_run(const char *dir, const char *run, const struct eye_genie_combine *c,
                                                     struct eye_genie_combined *out, struct eye_err *err);

/* ---- stand-in for qnn-net-run and qnn-context-binary-utility ---- */

struct eye_genie_part; /* one part of a model, ready to run */
EYE_MUST_CHECK enum eye_status eye_genie_part_open(const char *path, int32_t n_threads, struct eye_genie_part **net,
                                                   struct eye_err *err);
void eye_genie_part_close(struct eye_genie_part *net);
/* What it takes and gives, as qnn-context-binary-utility's JSON. Lives as long as net. */
const char *eye_genie_part_info(const struct eye_genie_part *net);
/* The same of a file without packing it. text: [cap], NUL-terminated; LIMIT if it is longer. */
EYE_MUST_CHECK enum eye_status eye_genie_part_read_info(const char *path, char *text, size_t cap, struct eye_err *err);

struct eye_genie_part_run_opts {
    const char *input_list;           /* file: one inference per line, PATH or NAME:=PATH */
    const char *output_dir;           /* Result_0, … are made in it */
    bool native_inputs, native_outputs; /* files of the tensors' own types; else float32 */
    uint32_t n_inferences;            /* 0 = each line once; more than lines: from the first again */
    eye_cancel_fn *cancel;
};
/* *n: inferences done. Returns EYE_OK; IO; CORRUPT (a list or file that does not fit: names it, expected and got);
 * CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_genie_part_run(struct eye_genie_part *net, const struct eye_genie_part_run_opts *o,
                                                  uint32_t *n, struct eye_err *err);

/* ---- stand-in for genie-t2t-run ---- */

struct eye_genie_dialog;
struct eye_genie_dialog_opts { /* all-zero = defaults */
    int32_t n_threads;                /* 0 = as the configuration says */
    eye_log_fn *log;
    void *log_ctx;
    void (*progress)(void *ctx, const char *what, double done);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};
/* Paths in the configuration are tried as they stand, then beside it. Returns CORRUPT with Genie's message for what Genie
 * refuses; UNSUPPORTED for what it takes and eyelet does not run. */
EYE_MUST_CHECK enum eye_status eye_genie_dialog_open(const char *config, const struct eye_genie_dialog_opts *opts,
                                                     struct eye_genie_dialog **dialog, struct eye_err *err);
void eye_genie_dialog_close(struct eye_genie_dialog *d);
uint64_t eye_genie_dialog_open_us(const struct eye_genie_dialog *d); /* what opening took; for eye_profile_save */
/* --embedding_table: PATH or PATH,TYPE,SCALE,OFFSET. Rows of tokens come from there, else from the decoder itself. */
EYE_MUST_CHECK enum eye_status eye_genie_dialog_table(struct eye_genie_dialog *d, const char *arg, struct eye_err *err);

enum eye_genie_code { EYE_GENIE_BEGIN, EYE_GENIE_CONTINUE, EYE_GENIE_END };
/* One piece of the answer: text, or one token (text NULL) where tokens are asked for; END has neither. True = stop. */
typedef bool eye_genie_piece_fn(void *ctx, enum eye_genie_code code, const char *text, int32_t token);
struct eye_genie_query {
    eye_genie_piece_fn *piece;        /* NULL = nobody */
    void *piece_ctx;
    bool tokens_out;
    int32_t n_predict;                /* tokens at most; 0 = as the configuration says */
};
struct eye_genie_answer {
    struct eye_result result;         /* for eye_profile_save; text and tokens belong to the dialog */
    bool context_exceeded;            /* the answer ended because the context is full */
};
EYE_MUST_CHECK enum eye_status eye_genie_query_text(struct eye_genie_dialog *d, const char *text,
                                                    const struct eye_genie_query *q,
                                                    struct eye_genie_answer *answer, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_genie_query_tokens(struct eye_genie_dialog *d, const int32_t *ids, size_t n,
                                                      const struct eye_genie_query *q, struct eye_genie_answer *answer,
                                                      struct eye_err *err);
/* arg as for the table: rows of embeddings. */
EYE_MUST_CHECK enum eye_status eye_genie_query_embedding(struct eye_genie_dialog *d, const char *arg,
                                                         const struct eye_genie_query *q, struct eye_genie_answer *answer,
                                                         struct eye_err *err);
/* The dialog's state as a folder: dialog.json, unprocessed-data, sampler.primary.rng, kv-cache.primary.qnn-cpu. */
EYE_MUST_CHECK enum eye_status eye_genie_dialog_save(struct eye_genie_dialog *d, const char *dir, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_genie_dialog_restore(struct eye_genie_dialog *d, const char *dir, struct eye_err *err);

/* ---- what genie-t2t-run prints, read while it comes ----
 * The answer stands behind "[BEGIN]: " (also "[COMPLETE]: ", "[RESUME]: ", "[ABORT]: ") at the beginning of a line and before
 * "[END]" at the end of one; \r\n counts as \n. What may yet become the end is held back, so a piece is part of the answer. */

enum eye_genie_said { EYE_GENIE_NOT_BEGUN = 0, EYE_GENIE_SPEAKS, EYE_GENIE_DONE };
struct eye_genie_transcript { /* all-zero = the beginning */
    enum eye_genie_said said;
    char held[16];
    uint32_t n_held;
    bool mid_line;                    /* before the answer: this line cannot begin it */
    void (*text)(void *ctx, const char *piece, size_t n); /* bytes of the answer, not NUL-terminated; NULL = nobody */
    void *text_ctx;
};
/* n more bytes of standard output, cut anywhere. */
void eye_genie_transcript_feed(struct eye_genie_transcript *t, const char *p, size_t n);
/* Nothing comes any more: what was held back is part of the answer, or its end. */
void eye_genie_transcript_end(struct eye_genie_transcript *t);

/* ---- what a device gave, against this computer ---- */

/* Each stage is judged by what it was given, so that one fault shows in one place: vision and embed run here on the run
 * folder's own inputs, combined against rows made here throughout, the answer against the decoder here on the device's rows. */
enum eye_genie_stage {
    EYE_GENIE_STAGE_VISION = 0,
    EYE_GENIE_STAGE_EMBED,
    EYE_GENIE_STAGE_COMBINED,
    EYE_GENIE_STAGE_ANSWER,
    EYE_GENIE_STAGES
};
const char *eye_genie_stage_name(enum eye_genie_stage stage); /* "vision", "embed", "combined", "answer" */

struct eye_genie_limits { /* 0 = default */
    double vision_cosine;             /* at least; default 0.99 */
    double vision_error;              /* largest difference over largest magnitude, at most; default 0.1 */
    double embed_cosine;              /* 0.9999 */
    double embed_error;               /* 0.01 */
    double answer_gap;                /* nats by which a token of the device may be less likely here than the likeliest; 0.5 */
};
struct eye_genie_verify { /* all-zero = defaults */
    struct eye_genie_limits limits;
    const char *vision_ctx_info, *embed_ctx_info; /* of the device's binaries; NULL = those in dir */
    int32_t n_threads;                /* 0 = all processors */
    void (*progress)(void *ctx, const char *what, double done);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};
enum eye_genie_verdict { EYE_GENIE_ABSENT = 0, EYE_GENIE_GOOD, EYE_GENIE_OFF };
struct eye_genie_compared { /* one stage */
    enum eye_genie_verdict verdict;
    char why[200];                    /* of ABSENT and OFF: what is not there, or which limit with expected and got */
    uint64_t n;                       /* numbers, or tokens of the answer */
    double cosine, error;             /* as limits have them; error is infinite where the device gave no number */
    double cosine_limit, error_limit; /* what held; of the answer error_limit alone */
    uint64_t worst_row;               /* by cosine */
    double worst_row_cosine;
    uint32_t n_ties;                  /* of the answer: tokens that were not the likeliest here */
    double gap;                       /* of the answer: the largest, nats */
};
struct eye_genie_verified {
    struct eye_genie_compared stage[EYE_GENIE_STAGES];
    enum eye_genie_stage first_off;   /* EYE_GENIE_STAGES = none */
    uint32_t n_compared;
};
/* dir: exported (eye_genie_export); run: a run folder with vision_out, embed_out, combined_embeddings_fp32.raw and
 * genie_stdout.txt (what genie-t2t-run printed), as far as they are there. The answer is followed token by token: each must be
 * the likeliest here or nearly so, and its end an end here; answers that are drawn are not compared. Returns EYE_OK also where
 * stages are off; IO (nothing to compare); CORRUPT (sizes: names the file); what opening dir's parts returns. */
EYE_MUST_CHECK enum eye_status eye_genie_verify_run(const char *dir, const char *run, const struct eye_genie_verify *opts,
                                                    struct eye_genie_verified *out, struct eye_err *err);
/* ",TYPE,SCALE,OFFSET" of dir's LUT.bin for --embedding_table, "" for float32, by its manifest. */
#define EYE_GENIE_TABLE_ARG 96
EYE_MUST_CHECK enum eye_status eye_genie_table_arg(const char *dir, char arg[EYE_GENIE_TABLE_ARG], struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
