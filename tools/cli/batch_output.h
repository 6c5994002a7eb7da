/* batch_output: the lines of a batch: JSON objects, or CSV by RFC 4180. Each is written in one piece when it is complete; what
 * a killed run left behind is read again, a half-written end cut off. Knows no model. */
#ifndef EYELET_CLI_BATCH_OUTPUT_H
#define EYELET_CLI_BATCH_OUTPUT_H

#include "eyelet/eyelet.h"
#include "ui.h"

enum batch_format { BATCH_AUTO, BATCH_JSONL, BATCH_CSV }; /* AUTO: by the file's ending, else JSONL */

struct batch_record { /* borrowed */
    const char *image;
    const char *error;     /* NULL = there is a caption */
    const char *caption;
    size_t caption_bytes;
    const int32_t *tokens; /* [n_tokens] */
    size_t n_tokens;
    enum eye_finish finish;
    struct eye_timings timings;
    uint64_t total_us;     /* file read to answer complete */
};

struct batch_output_opts {
    const char *path;      /* NULL or "-" = standard output */
    enum batch_format format;
    bool resume;           /* go on behind what the file holds */
    bool overwrite;        /* begin anew whatever it holds */
};
struct batch_output;
/* Says itself what is wrong; returns an exit code. A file with something in it is neither appended to nor emptied unless one of
 * resume and overwrite says so. No two processes write the same file. */
int batch_output_open(struct ui *ui, const struct batch_output_opts *opts, struct batch_output **out);
/* Lines that were there and are kept; bytes of a half-written one that were cut off. */
uint64_t batch_output_n_held(const struct batch_output *o);
uint64_t batch_output_n_cut(const struct batch_output *o);
/* Does the file hold this picture already? To be asked in the order of the input, for each path once: as long as the file
 * follows that order nothing has to be remembered, from the first difference on 8 to 32 bytes a line. Returns EYE_OK; IO;
 * NOMEM. */
EYE_MUST_CHECK enum eye_status batch_output_holds(struct batch_output *o, const char *image, bool *holds, struct eye_err *err);
/* Writes a line. Returns an exit code, having said what is wrong; the file then ends with its last complete line. */
int batch_output_put(struct batch_output *o, const struct batch_record *r);
/* Flushed to the disk; code, or EXIT_FAILED with a message. NULL is fine. */
int batch_output_close(struct batch_output *o, int code);

#endif
