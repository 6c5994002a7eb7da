/* Declares every row of kernels.def. Included by the files that define rows and by kernels.c; not for other rooms, which
 * take a kernel from struct eye_kernels. */
#ifndef EYE_KERNEL_ROWS_H
#define EYE_KERNEL_ROWS_H

#include "kernels/kernels.h"

#define UKR(op, needs, sym) extern const struct eye_gemm_ukr sym;
#define FN(op, needs, type, sym) type sym;
#include "kernels/kernels.def"

#endif
