/* Calibration sets: pictures as a vision tower gets them, in raw files with a list, for tool chains that find ranges of
 * activations themselves (Qualcomm's converters). eyelet's own calibration reads pictures: convert.h. In the static library
 * only.
 *
 *   struct eye_samples_opts opts = {.pictures = "photos"};
 *   struct eye_samples_report report;
 *   if (eye_samples_write("FastVLM-0.5B", "calibration", &opts, &report, &err) != EYE_OK)
 *       fprintf(stderr, "%s\n", err.text);
 *   eye_samples_report_clear(&report);
 *
 * DIR/sample_000.raw …  one picture each, little-endian, C order, without a header
 * DIR/input_list.txt    a line for each
 * DIR/samples.json      what they are, and of which pictures
 */
#ifndef EYELET_CALIBRATE_H
#define EYELET_CALIBRATE_H

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

enum eye_sample_layout { /* S: the tower's side */
    EYE_SAMPLE_NCHW_F32 = 0, /* [1,3,S,S], normalised: what exported graphs call pixel_values */
    EYE_SAMPLE_NCHW_F16,
    EYE_SAMPLE_NCHW_U8,      /* the picture's bytes, scaled and placed, not normalised */
    EYE_SAMPLE_HWC_F32,      /* [1,S,S,3] */
    EYE_SAMPLE_HWC_F16,
    EYE_SAMPLE_HWC_U8
};
/* "nchw-f32"; NULL = no such layout. */
const char *eye_sample_layout_name(enum eye_sample_layout layout);

struct eye_samples_opts { /* all zero = defaults, but for pictures or random */
    const char *pictures;     /* folder of pictures, as in eye_convert_opts.calibration */
    bool random;              /* noise in place of pictures, to try a tool chain out: ranges found on it are wrong for pictures */
    uint64_t seed;            /* of the noise */
    uint32_t max_samples;     /* spread evenly over the folder; 0 = 64; at most 65,536 */
    enum eye_sample_layout layout;
    const char *input;        /* lines are "input:=path", for graphs of several inputs; NULL: "path" */
    const char *list_dir;     /* the folder that paths of the list begin with, on a device say; NULL: dir's own, absolute */
    int32_t image_side;       /* 0 = the model's own */
    const char *mmproj;       /* as eye_model_opts.mmproj */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
    const struct eye_alloc *alloc;
};

struct eye_samples_report { /* give it back with eye_samples_report_clear */
    uint64_t n_samples, sample_bytes;
    int32_t side;
    uint64_t n_removed;       /* samples of an earlier, larger set in that folder */
    char **unreadable;        /* [n_unreadable] pictures that were left out, and why */
    uint64_t n_unreadable, unreadable_cap;
    const struct eye_alloc *alloc; /* private */
};
void eye_samples_report_clear(struct eye_samples_report *r);

/* path      checkpoint folder, .gguf or compiled file of a model with a vision tower: its preprocessing is what counts. Of a
 *           picture that it cuts into tiles the whole, scaled down, is the sample.
 * dir       made unless it is there. An earlier set's list is removed first and the new one written last, so files and list
 *           always agree; files sample_N.raw that the new set does not have are removed.
 * report    may be NULL; set on success, and on failure as far as pictures were looked at: clear it in any case.
 * Returns EYE_OK; ARG (neither or both of pictures and random, no picture that can be read, a model of text, a path with
 * blanks, where the list's readers would cut it); what eye_model_open returns; IO; CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_samples_write(const char *path, const char *dir, const struct eye_samples_opts *opts,
                                                 struct eye_samples_report *report, struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
