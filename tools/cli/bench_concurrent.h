/* bench_concurrent: requests a second, one at a time in a session and several at once in a batch; what its caches give. */
#ifndef EYELET_CLI_BENCH_CONCURRENT_H
#define EYELET_CLI_BENCH_CONCURRENT_H

#include "cli.h"

/* folder: of picture files, the first 64; NULL = made-up pictures. at_once: requests in flight. n_beams: 0 = the model's own.
 * n: requests a row. Returns the exit code. */
int bench_concurrent(struct ui *ui, const struct model_args *model, const char *folder, int32_t at_once, int32_t n_beams,
                     int32_t n, bool json);

#endif
