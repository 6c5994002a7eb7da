/* judge, inside: what judge.c, judge_baselines.c and judge_likelihood.c share. */
#ifndef EYE_JUDGE_IMPL_H
#define EYE_JUDGE_IMPL_H

#include "eyelet/train.h"
#include "session/many.h"
#include "train/caption_score.h"
#include "train/dataset.h"

struct eye_judge {
    struct eye_model *model;
    const struct eye_dataset *set;
    const struct eye_judge_opts *opts;
    const struct eye_alloc *alloc;
    struct eye_many *many;
    struct eye_arena arena;        /* of the whole judgement */
    uint32_t *picture;             /* [n] judged ones: indices into the set */
    const char **caption;          /* [n] */
    float *feature;                /* [n, width] means of their image rows; with baselines */
    size_t n, width;
    struct eye_many_prompt blind;  /* a picture of the mean colour */
    struct eye_caption_refs *refs; /* of the n pictures */
    struct eye_judgement *out;
};

/* A picture of the set as a prompt. UNREADABLE pictures are counted: *ok is false then, and EYE_OK returned. */
EYE_MUST_CHECK enum eye_status eye_judge_look(struct eye_judge *j, uint32_t picture, struct eye_arena *arena,
                                              struct eye_many_prompt *out, bool *ok, struct eye_err *err);
bool eye_judge_report(const struct eye_judge *j, const char *what, size_t done, size_t n); /* progress; true = stop */
/* The mean of a prompt's image rows to feature [width]. */
void eye_judge_feature(const struct eye_judge *j, const struct eye_many_prompt *p, float *feature);
bool eye_judge_usable(const struct eye_dataset *set, uint32_t picture, enum eye_split split); /* in the split, with captions */

/* ---- judge_likelihood.c ---- */
struct eye_likelihood { /* sums over reference captions */
    double nll[EYE_N_JUDGE_IMAGES], copies;
    size_t n_tok, n_words;
};
/* other: another picture's prompt. */
EYE_MUST_CHECK enum eye_status eye_judge_likelihood(struct eye_judge *j, uint32_t picture, const struct eye_many_prompt *p,
                                                    const struct eye_many_prompt *other, struct eye_likelihood *sum,
                                                    struct eye_err *err);
void eye_judge_perplexity(const struct eye_likelihood *sum, struct eye_judgement *out);

/* ---- judge_baselines.c ---- */
EYE_MUST_CHECK enum eye_status eye_judge_baselines(struct eye_judge *j, struct eye_err *err);

#endif
