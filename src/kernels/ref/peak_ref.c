/* Peaks in plain C: what a compiler makes of a multiplication and an addition. */
#include "kernels/rows.h"

enum { N = 4 };

static double multiply_add(size_t rounds, float one) {
    volatile float held[N] = {0};
    float acc[N] = {0}, factor = one;
    for (size_t r = 0; r < rounds; r++)
        for (int i = 0; i < N; i++) acc[i] += factor * factor;
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (double)(held[i] = acc[i]);
    return sum;
}

double eye_peak_f32_ref(size_t rounds, float one) { return multiply_add(rounds, one); }
double eye_peak_bf16_ref(size_t rounds, float one) { return multiply_add(rounds, one); }

double eye_peak_i8_ref(size_t rounds, float one) {
    volatile int factor = (int)one; /* read each time: a product known beforehand would be none */
    int64_t sum = 0;
    for (size_t r = 0; r < rounds; r++) sum += factor * factor;
    return (double)sum;
}
