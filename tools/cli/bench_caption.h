/* bench_caption: finished captions a second, from picture files to the end of each sentence, on one core and on several. */
#ifndef EYELET_CLI_BENCH_CAPTION_H
#define EYELET_CLI_BENCH_CAPTION_H

#include "cli.h"

struct bench_pictures {
    char **path; /* [n] */
    size_t n;
};
/* The first `most` files of the folder, by name, that are pictures. Returns the exit code. */
int bench_list_pictures(struct ui *ui, const char *folder, size_t most, struct bench_pictures *p);
void bench_free_pictures(struct bench_pictures *p);

/* folder: of picture files. n: captions to measure, after some to warm up. Workers are threads with a one-thread model each:
 * that is what gives most captions a second. Rows: one worker, two, as many as the model's threads. Returns the exit code. */
int bench_captions(struct ui *ui, const struct model_args *model, const char *folder, int32_t n, bool json);

#endif
