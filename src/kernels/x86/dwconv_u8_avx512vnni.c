/* Depthwise convolution of u8, AVX512-VNNI: vectors of dwconv_quads.h are 16 channels. Unpacking works on 128 bits each, which is
 * where the panels' order of channels comes from; packing the results undoes it. */
#include <immintrin.h>
#include <stdint.h>

#include "kernels/x86/math_avx512.h"

typedef __m512i vec;
typedef __m512i block;
enum { LANES = 16 };

EYE_INLINE vec load(const void *p) { return _mm512_load_si512(p); }
EYE_INLINE void save(void *p, vec v) { _mm512_store_si512(p, v); }
EYE_INLINE vec dot(vec sum, vec quads, vec weights) { return _mm512_dpbusd_epi32(sum, quads, weights); }
EYE_INLINE vec start(vec sums, int zero) { return _mm512_mullo_epi32(sums, _mm512_set1_epi32(-zero)); }
EYE_INLINE __mmask64 bytes(size_t n) { return n >= 64 ? ~0ull : (1ull << n) - 1; }

EYE_INLINE block blank(uint8_t zero) { return _mm512_set1_epi8((char)zero); }
EYE_INLINE block read(const uint8_t *p, size_t n, int mult) {
    if (mult == 1) return n == 64 ? _mm512_loadu_si512(p) : _mm512_maskz_loadu_epi8(bytes(n), p);
    __m256i half = n == 64 ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi8((__mmask32)bytes(n / 2), p);
    __m512i q = _mm512_cvtepu8_epi16(half);
    return _mm512_or_si512(q, _mm512_slli_epi16(q, 8));
}
EYE_INLINE void mix(uint8_t *out, size_t step, const block *r) {
    const __m512i lo01 = _mm512_unpacklo_epi8(r[0], r[1]), lo23 = _mm512_unpacklo_epi8(r[2], r[3]);
    const __m512i hi01 = _mm512_unpackhi_epi8(r[0], r[1]), hi23 = _mm512_unpackhi_epi8(r[2], r[3]);
    save(out, _mm512_unpacklo_epi16(lo01, lo23));
    save(out + step, _mm512_unpackhi_epi16(lo01, lo23));
    save(out + 2 * step, _mm512_unpacklo_epi16(hi01, hi23));
    save(out + 3 * step, _mm512_unpackhi_epi16(hi01, hi23));
}

/* 4 x 4 parts of 128 bits: from the panels' order of channels to theirs, and back. */
EYE_INLINE void turn(__m512 v[4]) {
    __m512 a = _mm512_shuffle_f32x4(v[0], v[1], 0x44), b = _mm512_shuffle_f32x4(v[2], v[3], 0x44);
    __m512 c = _mm512_shuffle_f32x4(v[0], v[1], 0xee), d = _mm512_shuffle_f32x4(v[2], v[3], 0xee);
    v[0] = _mm512_shuffle_f32x4(a, b, 0x88), v[1] = _mm512_shuffle_f32x4(a, b, 0xdd);
    v[2] = _mm512_shuffle_f32x4(c, d, 0x88), v[3] = _mm512_shuffle_f32x4(c, d, 0xdd);
}
EYE_INLINE void load_floats(const float *p, size_t n, __m512 v[4]) {
    EYE_UNROLL
    for (size_t i = 0; i < 4; i++) v[i] = _mm512_maskz_loadu_ps((__mmask16)(bytes(n) >> 16 * i), p + 16 * i);
}
EYE_INLINE void store_bytes(uint8_t *p, size_t n, const __m512 v[4], __m512 inv_scale, __m512 zero) {
    __m512i q[4];
    EYE_UNROLL
    for (int i = 0; i < 4; i++) /* packing saturates, NaN and what is far below become 0: as quant_u8 has it */
        q[i] = _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255.0f), _mm512_fmadd_ps(v[i], inv_scale, zero)));
    __m512i all = _mm512_packus_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    if (n == 64) _mm512_storeu_si512(p, all);
    else if (n == 32) _mm256_storeu_si256((__m256i *)p, _mm512_castsi512_si256(all)); /* masked stores of bytes are slow */
    else _mm512_mask_storeu_epi8(p, bytes(n), all);
}

struct strip;
static void finish(const struct strip *s, size_t y, const int32_t *sums);

#include "kernels/dwconv_quads.h"

static void finish(const struct strip *s, size_t y, const int32_t *sums) {
    const struct eye_dwconv_u8_args *a = s->a;
    const size_t n_out = (size_t)a->channels_in * a->mult, at = (y * a->width_out + s->x) * n_out + s->c, n = s->n;
    const __m512 inv_scale = _mm512_set1_ps(a->q_inv_scale), zero = _mm512_set1_ps(a->q_zero);
    __m512 scale[4], bias[4], v[4];
    load_floats(a->scale + s->c, n, scale);
    load_floats(a->bias + s->c, n, bias);
    turn(scale);
    turn(bias);
    for (size_t x = 0; x < s->m; x++, sums += EYE_DW_NC) {
        EYE_UNROLL
        for (int i = 0; i < 4; i++) v[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load(sums + 16 * i)), scale[i], bias[i]);
        if (a->q) {
            store_bytes(a->q + at + x * n_out, n, v, inv_scale, zero);
            continue;
        }
        turn(v);
        EYE_UNROLL
        for (size_t i = 0; i < 4; i++)
            _mm512_mask_storeu_ps(a->out + at + x * n_out + 16 * i, (__mmask16)(bytes(n) >> 16 * i), v[i]);
    }
}

void eye_dwconv_u8_avx512vnni(const struct eye_dwconv_u8_args *a) { dwconv(a, eye_dwconv_u8_avx512); }
