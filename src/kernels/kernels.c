/* kernels: fills the table an engine calls through, and names what it chose. Generic over kernels.def: a new row needs no
 * change here. */
#include <string.h>

#include "base/sys.h"
#include "kernels/rows.h"

void eye_kernels_init(struct eye_kernels *k, uint32_t cpu_flags) {
    k->flags = cpu_flags;
    /* The table lists weakest first, so the last row that fits stays. */
#define UKR(op, needs, sym) \
    if (((needs) & ~cpu_flags) == 0) k->op = &sym;
#define FN(op, needs, type, sym) \
    if (((needs) & ~cpu_flags) == 0) k->op = sym;
#define FN_ORACLE(op, type, sym) k->op = NULL;
#define FN_NONE(op, needs) \
    if (((needs) & ~cpu_flags) == 0) k->op = NULL;
#include "kernels/kernels.def"
}

bool eye_kernels_choice(size_t i, uint32_t cpu_flags, const char **op, const char **kernel) {
    static const char *const ops[] = {
#define UKR(op, needs, sym)
#define FN(op, needs, type, sym)
#define UKR_OP(op) #op,
#define FN_OP(op, type) #op,
#include "kernels/kernels.def"
    };
    static const struct {
        const char *op, *kernel;
        uint32_t needs;
    } rows[] = {
#define UKR(op, needs, sym) {#op, #sym, needs},
#define FN(op, needs, type, sym) {#op, #sym, needs},
#define FN_ORACLE(op, type, sym) {#op, "none", 0},
#define FN_NONE(op, needs) {#op, "none", needs},
#include "kernels/kernels.def"
    };
    if (i >= EYE_COUNT(ops)) return false;
    *op = ops[i];
    for (size_t k = 0; k < EYE_COUNT(rows); k++) /* the last row that fits, as above */
        if (strcmp(rows[k].op, ops[i]) == 0 && (rows[k].needs & ~cpu_flags) == 0) *kernel = rows[k].kernel;
    return true;
}
