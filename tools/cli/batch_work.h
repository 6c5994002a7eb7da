/* batch_work: the pipeline of a batch. Loaders take paths in order and read pictures ahead of the engine; the library's batch
 * captions several at once; the caller's thread gets the answers in the order of the input. At most BATCH_AHEAD pictures a
 * slot of the batch are on their way, and BATCH_AHEAD_BYTES of pixels wait, so memory does not depend on how many there are. */
#ifndef EYELET_CLI_BATCH_WORK_H
#define EYELET_CLI_BATCH_WORK_H

#include "batch_output.h"
#include "batch_source.h"
#include "eyelet/eyelet.h"
#include "ui.h"

#define BATCH_MAX_JOBS 256
#define BATCH_AHEAD 4
#define BATCH_AHEAD_BYTES ((uint64_t)256 << 20)

/* What the caller hears of each picture, in order, on its own thread. An exit code other than EXIT_DONE ends the batch.
 * thumbnail: the bytes of a small copy, NULL if there is none. */
typedef int batch_answer_fn(void *ctx, const struct batch_record *r, const void *thumbnail, size_t thumbnail_bytes);

struct batch_work {
    struct ui *ui;
    struct batch_source *source;
    struct batch_output *output;  /* asked what it holds already */
    struct eye_batch *batch;      /* freed at the end */
    int n_jobs;                   /* its slots */
    int n_loaders;                /* threads that read pictures, at most BATCH_MAX_JOBS */
    struct eye_query query;       /* without its pictures */
    struct eye_generate_opts opts;
    struct eye_image_opts image;
    int thumbnail_side;           /* 0 = none are made */
    batch_answer_fn *on_answer;
    void (*on_tick)(void *ctx, uint64_t n_skipped); /* about ten times a second, also while nothing is ready */
    void *ctx;
};
/* To the end of the source, or until Ctrl-C or a failure, which it says itself. Returns an exit code. *n_skipped: pictures
 * that the output held. */
int batch_work_run(const struct batch_work *w, uint64_t *n_skipped);

#endif
