/* bench_hpml: the benchmark of the HPML study, one forward over ten tokens, with the picture in it. */
#ifndef EYELET_BENCH_HPML_H
#define EYELET_BENCH_HPML_H

#include "cli.h"

/* Four rows: plain, quantized, compiled, both; the median of n_runs forwards each. Returns the exit code. */
int bench_hpml(struct ui *ui, const struct model_args *model, int32_t n_runs, bool json);

#endif
