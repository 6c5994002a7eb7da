/* Conversion: a checkpoint into one .gguf file, its vision tower folded, its matrices in the types asked for.
 *
 *   struct eye_convert_opts opts = {.decoder_type = EYE_WEIGHT_Q8_0};
 *   struct eye_convert_report report;
 *   if (eye_convert("FastVLM-0.5B", "fastvlm.gguf", &opts, &report, &err) != EYE_OK)
 *       fprintf(stderr, "%s\n", err.text);
 *
 * The file is a checkpoint like the folder was: opened with the same options both give the same bits. In the static library
 * only.
 */
#ifndef EYELET_CONVERT_H
#define EYELET_CONVERT_H

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum eye_convert_part {
    EYE_CONVERT_ALL = 0,
    EYE_CONVERT_DECODER, /* what llama.cpp loads as it is: it refuses files with tensors it does not know */
    EYE_CONVERT_VISION,  /* tower and projector, without a tokenizer: what net-run runs; see genie.h */
    EYE_CONVERT_EMBED    /* the table of token embeddings, likewise */
};

struct eye_convert_text { /* a key of the caller's, written as a string */
    const char *key, *value;
};

enum eye_range_method { /* of int8 activations, out of what calibration saw */
    EYE_RANGE_MSE = 0,    /* least squared error of rounding and cutting off */
    EYE_RANGE_MINMAX,     /* nothing is cut off */
    EYE_RANGE_PERCENTILE  /* 1 in 10,000 on either side is */
};

#define EYE_MAX_DECODER_SNR_DB 80

struct eye_convert_opts { /* all zero = everything, as stored: nothing is lost */
    enum eye_convert_part part;
    const char *mmproj;                /* as eye_model_opts.mmproj */
    enum eye_weight_type decoder_type; /* of a q4_0 decoder, embedding and head are q8_0 */
    enum eye_weight_type
        vision_type; /* tower and projector; STORED keeps what folding leaves: f32 where a factor was folded in */
    const char *calibration;   /* folder of pictures with captions (models of text: lines of text) that the decoder's matrices
                                  are rounded for: NULL = plainly. See doc/QUANTIZATION.md */
    enum eye_range_method range_method; /* vision_type INT8, which needs calibration as well */
    double vision_snr_db;      /* vision_type INT8: inputs whose rounding costs the features most get 16 bits until, by an
                                  estimate on calibration pictures, this is met; 0 = bytes everywhere. See doc/QUANTIZATION.md */
    double decoder_snr_db;     /* decoder_type Q4_0 or Q4_K with calibration: matrices whose outputs, rounded to 4 bits, are
                                  farther from the checkpoint's than this (signal to noise, on the calibration pairs) become
                                  q8_0; up to EYE_MAX_DECODER_SNR_DB; 0 = none. See doc/QUANTIZATION.md */
    uint32_t max_pairs;        /* of it at most, spread evenly; 0 = 64. Every fourth is kept for eye_quality_measure */
    const struct eye_convert_text *text; /* [n_text], borrowed for the call */
    size_t n_text;
    bool per_tensor;           /* fill report.tensor */
    void (*progress)(void *ctx, double done_0_to_1); /* may be NULL */
    void *progress_ctx;
    eye_cancel_fn *cancel; /* asked between rows; NULL = never */
    void *cancel_ctx;
    const struct eye_alloc *alloc;     /* NULL = malloc */
};

struct eye_convert_tensor { /* what rounding did to one matrix */
    char name[64];
    const char *type;          /* "q4_0" */
    uint64_t bytes;
    double rel_rms;            /* |w - v| / |w|; 0 = as stored */
    double weighted;           /* the same of its products with the calibration inputs; negative = not calibrated */
    double weighted_plain;     /* of these, what plain rounding would have cost */
    double weighted_4bit;      /* with decoder_snr_db: weighted in the 4-bit type, by which it was chosen; else negative */
};

struct eye_convert_report {
    uint64_t n_tensors, bytes_in, bytes_out; /* of tensor data */
    uint64_t n_fallback;       /* matrices whose rows are no multiple of a block: written as f16 */
    char first_fallback[64];   /* the name of one of them, or "" */
    char warning[256];         /* what eye_model_open would log, or "" */
    uint64_t n_pairs, n_rows;  /* the decoder was calibrated on; 0 = it was not */
    uint64_t n_raised, n_could_raise; /* matrices that decoder_snr_db made q8_0, of so many */
    uint64_t n_unreadable;     /* pictures of the calibration set that were left out */
    char first_unreadable[256]; /* why, of one of them, or "" */
    uint64_t n_pictures;       /* the tower was calibrated on */
    uint64_t n_int8, n_could_int8; /* its matrices and kernels that became int8, of so many that could */
    uint64_t n_wide;               /* of n_int8: whose inputs have 16 bits */
    struct eye_convert_tensor *tensor; /* [n_matrices] with per_tensor: give it back with eye_convert_report_clear */
    uint64_t n_matrices, tensor_cap;
    const struct eye_alloc *alloc;     /* private */
};
void eye_convert_report_clear(struct eye_convert_report *report);

/* path      checkpoint folder, or a .gguf of eyelet's (to change its types).
 * out       .gguf to write; appears only when it is whole. An existing file is replaced, unless it is part of path.
 * report    may be NULL; set on success.
 * Memory: the checkpoint is mapped, rows are converted as they are written; folded convolutions and the tokenizer are in
 * memory; with calibration also the decoder as stored while pictures become rows, then its rounded matrices and one layer.
 * Returns EYE_OK; ARG (out is part of path, a type that is none, calibration: a folder without pictures, a decoder type
 * that is not of blocks; decoder_snr_db: out of range, without calibration, a decoder type not of 4 bits); what
 * eye_model_open returns; IO (disk full, no such folder); CANCELLED (nothing is left behind). */
EYE_MUST_CHECK enum eye_status eye_convert(const char *path, const char *out, const struct eye_convert_opts *opts,
                                           struct eye_convert_report *report, struct eye_err *err);

/* ---- compilation: weights as the kernels want them, mapped and shared. See doc/COMPILE.md ---- */

struct eye_compile_opts { /* all zero = as stored, for this CPU */
    const char *mmproj;                /* as eye_model_opts.mmproj */
    enum eye_weight_type decoder_type, vision_type; /* as in eye_convert_opts */
    const char *cpu_features;          /* as eye_model_opts.cpu_features: what the file may use at most */
    int32_t n_threads;                 /* that pack; 0 = processors */
    eye_progress_fn *progress;         /* may be NULL */
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
    const struct eye_alloc *alloc;     /* NULL = malloc */
};
struct eye_compile_report {
    uint64_t n_packed, packed_bytes;   /* matrices, in the order their kernels read */
    uint64_t n_kept, kept_bytes;       /* tensors as they were: norms, biases, the embedding */
    char cpu[128];                     /* features it was made for: "avx2,avx512,…" */
};

/* path      checkpoint folder or .gguf.
 * out       file to write; appears only when it is whole. It is a model like path was, and gives the same bits as path opened
 *           with the same types. It runs where weights are laid out in this way, which eye_model_open checks.
 * report    may be NULL; set on success.
 * Memory: the packed weights of all parts. Disk: a folder, or other types than path's, are converted first, beside out.
 * Returns EYE_OK; ARG (path is a compiled file); what eye_convert and eye_model_open return. */
EYE_MUST_CHECK enum eye_status eye_compile(const char *path, const char *out, const struct eye_compile_opts *opts,
                                           struct eye_compile_report *report, struct eye_err *err);

/* ---- what a conversion cost, end to end ---- */

struct eye_quality_opts { /* all zero = defaults */
    const char *pairs;         /* folder of pictures with captions, as for calibration; of it every fourth pair is used */
    uint32_t max_pairs;        /* 0 = 64: the same number as in eye_convert_opts gives pairs that calibration did not see */
    int32_t n_greedy;          /* tokens of each greedy answer; 0 = 32 */
    bool per_layer;            /* of an int8 tower: fill layer */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
    const struct eye_alloc *alloc;
};

struct eye_quality_layer {     /* an int8 tower's or projector's: b's weights with rounded activations against floats */
    char name[64];             /* of its weight */
    const char *input;         /* "u8" or "i16" */
    double snr_db, cosine;     /* of what it makes, with all that was lost before it; infinite = the same */
};

struct eye_quality { /* of b against a; give it back with eye_quality_clear */
    uint64_t n_pairs, n_images;
    bool held_out;             /* false: the folder has one pair, calibration may have seen it */
    uint64_t n_unreadable;     /* pictures left out */
    uint64_t n_positions;      /* at which a token of an answer is predicted */
    double kl_mean, kl_max;    /* of a's distribution from b's, nats */
    double top1;               /* share of positions with the same likeliest token */
    double perplexity_a, perplexity_b; /* of the captions; 0 = none */
    uint64_t n_answers, n_equal;       /* greedy answers; those without a difference */
    double first_difference;   /* of the others: its mean position, in tokens from 0 */
    double edit_distance;      /* mean over answers: edits from a's tokens to b's / the longer one's length */
    uint64_t n_features;       /* of the vision tower, over all pictures; 0 = no picture */
    double features_cosine, features_snr_db; /* infinite = the same */
    struct eye_quality_layer *layer; /* [n_layers] with per_layer, in the order they run */
    uint64_t n_layers, layers_cap;
    const struct eye_alloc *alloc;   /* private */
};
void eye_quality_clear(struct eye_quality *q);
/* a, b: checkpoints of one model, b rounded; both run as stored. Returns EYE_OK; ARG (not one model; no pairs); what
 * eye_model_open, sessions and calibration return. */
EYE_MUST_CHECK enum eye_status eye_quality_measure(const char *a, const char *b, const struct eye_quality_opts *opts,
                                                   struct eye_quality *out, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
