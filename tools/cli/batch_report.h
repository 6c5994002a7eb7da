/* batch_report: the page of a batch, one HTML file that needs nothing else: figures, plots as SVG, thumbnails with captions.
 * Memory is bounded: times are counted in bins, and of very many pictures every second, fourth, … is shown. */
#ifndef EYELET_CLI_BATCH_REPORT_H
#define EYELET_CLI_BATCH_REPORT_H

#include "batch_output.h"

#define BATCH_REPORT_SIDE 200  /* pixels of thumbnails */
#define BATCH_REPORT_SHOWN 400 /* pictures at most; errors likewise */

struct batch_report_head { /* texts may be NULL; borrowed */
    const char *model, *prompt;
    double seconds;
    int n_jobs, n_threads;
    uint64_t n_held; /* skipped: the output had them */
};
struct batch_report;
/* Creates the file that close will complete. Returns an exit code, having said what is wrong. */
int batch_report_open(struct ui *ui, const char *path, struct batch_report **report);
void batch_report_add(struct batch_report *r, const struct batch_record *record, const void *thumbnail, size_t thumbnail_bytes);
/* Writes the page in place of what path held and frees the report. Returns code, or EXIT_FAILED having said what is wrong. */
int batch_report_close(struct batch_report *r, const struct batch_report_head *head, int code);

#endif
