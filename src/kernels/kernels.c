/* kernels: fills the table an engine calls through. Generic over kernels.def: a new row needs no change here. */
#include "base/sys.h"
#include "kernels/rows.h"

void eye_kernels_init(struct eye_kernels *k, uint32_t cpu_flags) {
    k->flags = cpu_flags;
    /* The table lists weakest first, so the last row that fits stays. */
#define UKR(op, needs, sym) \
    if (((needs) & ~cpu_flags) == 0) k->op = &sym;
#define FN(op, needs, type, sym) \
    if (((needs) & ~cpu_flags) == 0) k->op = sym;
#include "kernels/kernels.def"
}
