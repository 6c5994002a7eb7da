/* report: what a conversion cost, as `convert --report` shows it: matrix by matrix, and the file against its checkpoint on
 * pictures. */
#ifndef EYELET_CLI_REPORT_H
#define EYELET_CLI_REPORT_H

#include <stdio.h>

#include "eyelet/convert.h"
#include "json.h"

struct report {
    const struct eye_convert_report *convert;
    const struct eye_quality *quality; /* NULL: nothing was measured end to end, and why: */
    const char *why_not;
};
void report_text(FILE *f, const struct report *r);
json_t *report_json(const struct report *r); /* NULL = no memory */

#endif
