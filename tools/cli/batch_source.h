/* batch_source: the pictures of a batch, one after the other: folders in order of their names, single pictures, and lists, a
 * path a line, from files or standard input. Lists are streamed; of a folder the names are held, never pictures. Knows no
 * model. */
#ifndef EYELET_CLI_BATCH_SOURCE_H
#define EYELET_CLI_BATCH_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "eyelet/eyelet.h"

#define BATCH_MAX_PATH 4096 /* bytes of a path in a list, NUL included: Linux's PATH_MAX */
#define BATCH_MAX_DEPTH 64  /* folders in folders */

struct batch_source_opts {
    const char *const *input; /* [n] "-" = standard input; borrowed */
    int n;
    bool recursive;           /* folders in folders; links to folders are not followed */
    bool null;                /* lists end their paths with a zero byte, so that names may hold line ends */
};
/* Asked several times a second while a pipe has nothing to give; true = stop waiting. */
typedef bool batch_stop_fn(void *ctx);

struct batch_source;
/* Every input must be there and readable. Returns EYE_OK; ARG; IO; NOMEM. */
EYE_MUST_CHECK enum eye_status batch_source_open(const struct batch_source_opts *opts, struct batch_source **source,
                                                 struct eye_err *err);
void batch_source_close(struct batch_source *s); /* NULL is fine */

enum batch_next { BATCH_PATH, BATCH_BAD_PATH, BATCH_END, BATCH_FAILED };
/* The next path, malloc'd, the caller's. BAD_PATH: it can be no picture's (a folder inside that cannot be read, a line too
 * long): err says why, path is what there is of it. FAILED: the list itself cannot be read on, or stop said so (CANCELLED). */
enum batch_next batch_source_next(struct batch_source *s, batch_stop_fn *stop, void *stop_ctx, char **path,
                                  struct eye_err *err);

/* How many paths there are; false = nobody can say before the end (a pipe). Reads lists once. */
bool batch_source_count(const struct batch_source_opts *opts, batch_stop_fn *stop, void *stop_ctx, uint64_t *n);

#endif
