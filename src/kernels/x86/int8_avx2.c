/* Static int8 element-wise, AVX2. Bit for bit the plain C versions; tails go through a small buffer. */
#include <string.h>

#include "kernels/gelu_tables.h"
#include "kernels/rows.h"
#include "kernels/x86/math_avx2.h"

/* To 0 … 255, but that packing with saturation does the lower end: what is too large for int32 would become the least one, hence
 * min. NaN becomes that one, too, and so 0. */
EYE_INLINE __m256i to_int(__m256 v) { return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(255.0f), v)); }

EYE_INLINE void store_32(uint8_t *q, const __m256 v[4]) {
    __m256i a = _mm256_packs_epi32(to_int(v[0]), to_int(v[1])), b = _mm256_packs_epi32(to_int(v[2]), to_int(v[3]));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* packs work on 128 bits each */
    _mm256_storeu_si256((__m256i *)q, _mm256_permutevar8x32_epi32(_mm256_packus_epi16(a, b), order));
}
/* n <= 8. */
EYE_INLINE void store_8(uint8_t *q, size_t n, __m256 v) {
    __m256i r = to_int(v);
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
    int64_t b = _mm_cvtsi128_si64(_mm_packus_epi16(h, h));
    if (n >= 8) _mm_storeu_si64(q, _mm_cvtsi64_si128(b));
    else memcpy(q, &b, n);
}

void eye_quant_u8_avx2(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m256 s = _mm256_set1_ps(inv_scale), z = _mm256_set1_ps(zero);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256 v[4];
        EYE_UNROLL
        for (size_t j = 0; j < 4; j++) v[j] = _mm256_fmadd_ps(_mm256_loadu_ps(x + i + 8 * j), s, z);
        store_32(q + i, v);
    }
    for (; i < n; i += 8) store_8(q + i, n - i, _mm256_fmadd_ps(eye_load8(x + i, n - i), s, z));
}

/* Of 16 numbers those at the low bits of i; high: its bit 3, at the top of each lane. */
EYE_INLINE __m256 look_up(__m256 lo, __m256 hi, __m256i i, __m256 high) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(lo, i), _mm256_permutevar8x32_ps(hi, i), high);
}

struct coarse_gelu {
    __m256 k[3][2]; /* [degree][half of 16 pieces] */
};

/* Pieces of 4 t are made pieces of t, as in gelu_u8_avx512.h: powers of two change no rounding. */
EYE_INLINE struct coarse_gelu coarse_gelu_load(void) {
    static const float by[3] = {1.0f, 4.0f, 16.0f};
    struct coarse_gelu c;
    EYE_UNROLL
    for (size_t d = 0; d < 3; d++) {
        EYE_UNROLL
        for (size_t h = 0; h < 2; h++)
            c.k[d][h] = _mm256_mul_ps(_mm256_loadu_ps(eye_gelu_coarse[d] + 8 * h), _mm256_set1_ps(by[d]));
    }
    return c;
}

EYE_INLINE __m256 coarse_gelu_of(__m256 x, const struct coarse_gelu *c) {
    const __m256 magic = _mm256_set1_ps(3145728.0f); /* 1.5 x 2^21: adding it rounds to quarters, counted in the low bits */
    __m256 t = _mm256_min_ps(_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x), _mm256_set1_ps(EYE_GELU_COARSE_MAX)); /* NaN: the end */
    __m256 biased = _mm256_add_ps(t, magic), u = _mm256_sub_ps(t, _mm256_sub_ps(biased, magic));
    __m256i i = _mm256_castps_si256(biased);
    __m256 high = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));
    __m256 k = _mm256_fmadd_ps(look_up(c->k[2][0], c->k[2][1], i, high), u, look_up(c->k[1][0], c->k[1][1], i, high));
    k = _mm256_fmadd_ps(k, u, look_up(c->k[0][0], c->k[0][1], i, high));
    return _mm256_sub_ps(_mm256_max_ps(x, _mm256_setzero_ps()), k);
}

void eye_gelu_u8_avx2(uint8_t *q, const float *x, size_t n, float inv_scale, float zero) {
    const __m256 s = _mm256_set1_ps(inv_scale), z = _mm256_set1_ps(zero);
    const struct coarse_gelu c = coarse_gelu_load();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256 v[4];
        EYE_UNROLL
        for (size_t j = 0; j < 4; j++) v[j] = _mm256_fmadd_ps(coarse_gelu_of(_mm256_loadu_ps(x + i + 8 * j), &c), s, z);
        store_32(q + i, v);
    }
    for (; i < n; i += 8) store_8(q + i, n - i, _mm256_fmadd_ps(coarse_gelu_of(eye_load8(x + i, n - i), &c), s, z));
}

void eye_add_u8_avx2(float *y, const uint8_t *q, const float *a, size_t n, float scale, float zero) {
    const __m256 s = _mm256_set1_ps(scale), z = _mm256_set1_ps(zero);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, q + i, n - i < 8 ? n - i : 8);
        __m256 v = _mm256_sub_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)eight))), z);
        __m256 start = a ? eye_load8(a + i, n - i) : _mm256_setzero_ps();
        eye_store8(y + i, n - i, _mm256_fmadd_ps(v, s, start));
    }
}

void eye_quant_i16_avx2(int16_t *q, const float *x, size_t n, float inv_scale, float top) {
    const __m256 s = _mm256_set1_ps(inv_scale), hi = _mm256_set1_ps(top), lo = _mm256_set1_ps(-top);
    for (size_t i = 0; i < n; i += 8) {
        __m256 v = _mm256_mul_ps(eye_load8(x + i, n - i), s);
        v = _mm256_min_ps(_mm256_max_ps(v, lo), hi); /* second operand where the first is NaN */
        __m256i r = _mm256_cvtps_epi32(v);
        __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
        if (n - i >= 8) _mm_storeu_si128((__m128i *)(q + i), h);
        else memcpy(q + i, &h, (n - i) * sizeof *q);
    }
}

void eye_add_i16_avx2(float *y, const int16_t *q, const float *a, size_t n, float scale) {
    const __m256 s = _mm256_set1_ps(scale);
    for (size_t i = 0; i < n; i += 8) {
        __m128i eight = _mm_setzero_si128();
        if (n - i >= 8) eight = _mm_loadu_si128((const __m128i *)(q + i));
        else memcpy(&eight, q + i, (n - i) * sizeof *q);
        __m256 v = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(eight));
        __m256 start = a ? eye_load8(a + i, n - i) : _mm256_setzero_ps();
        eye_store8(y + i, n - i, _mm256_fmadd_ps(v, s, start));
    }
}
