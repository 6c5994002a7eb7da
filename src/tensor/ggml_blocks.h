/* tensor, inside the room: block formats of GGUF files that eyelet reads; of these it writes q4_K alone. All numbers little-endian, offsets in
 * bytes. Elements are counted from 0 in the block. Source of the layouts: GGUF files as ggml writes them (ggml-common.h).
 *
 *   q4_1   32 elements  0 d f16 · 2 m f16 · 4 q[16]: byte j has element j (low nibble) and j + 16 (high)      w = d q + m
 *   q5_0   32           0 d f16 · 2 high[4]: bit j of the u32 is bit 4 of element j · 6 q[16] as in q4_1      w = d (q - 16)
 *   q5_1   32           0 d f16 · 2 m f16 · 4 high[4] · 8 q[16]                                               w = d q + m
 *   q4_K   256          0 d f16 · 2 dmin f16 · 4 scales[12] · 16 q[128]                        w = (d scale_g) q - dmin min_g
 *   q5_K   256          0 d f16 · 2 dmin f16 · 4 scales[12] · 16 high[32] · 48 q[128]          the same with 5-bit q
 *   q6_K   256          0 low[128] · 128 high[64] · 192 scale[16] i8 · 208 d f16               w = (d scale_g) (q - 32)
 *
 * q4_K and q5_K: groups g of 32 elements, each with a 6-bit scale and a 6-bit min in scales[12]:
 *   g < 4: scale = low 6 bits of byte g, min = low 6 bits of byte g + 4
 *   g >= 4: low nibbles from byte g + 4 (scale: its low, min: its high), top 2 bits from bits 6-7 of byte g - 4 (scale) and g (min)
 *   q: 64 elements share 32 bytes: byte 32 (e / 64) + e % 32, low nibble for the first 32 of them, high for the others;
 *   q5_K's bit 4 of element e: bit e / 32 of high[e % 32].
 * q6_K: groups of 16; 128 elements share 64 bytes of low and 32 of high. With e' = e % 128: low nibble byte 64 (e / 128) + e' % 64,
 *   its low half for e' < 64; bits 4-5 of q: bits 2 (e' / 32), of high[32 (e / 128) + e' % 32].
 */
#ifndef EYE_TENSOR_GGML_BLOCKS_H
#define EYE_TENSOR_GGML_BLOCKS_H

#include "tensor/tensor.h"

#define EYE_SUPER_BLOCK 256

struct eye_block_q4_1 { uint16_t d, m; uint8_t q[16]; };
struct eye_block_q5_0 { uint16_t d; uint8_t high[4], q[16]; };
struct eye_block_q5_1 { uint16_t d, m; uint8_t high[4], q[16]; };
struct eye_block_q4_k { uint16_t d, dmin; uint8_t scales[12], q[EYE_SUPER_BLOCK / 2]; };
struct eye_block_q5_k { uint16_t d, dmin; uint8_t scales[12], high[EYE_SUPER_BLOCK / 8], q[EYE_SUPER_BLOCK / 2]; };
struct eye_block_q6_k { uint8_t low[EYE_SUPER_BLOCK / 2], high[EYE_SUPER_BLOCK / 4]; int8_t scale[16]; uint16_t d; };
_Static_assert(sizeof(struct eye_block_q4_1) == 20 && sizeof(struct eye_block_q5_0) == 22 && sizeof(struct eye_block_q5_1) == 24 &&
                   sizeof(struct eye_block_q4_k) == 144 && sizeof(struct eye_block_q5_k) == 176 &&
                   sizeof(struct eye_block_q6_k) == 210,
               "GGUF block layouts are packed");

/* n elements of a row to f32, by the formulas above, one float rounding per operation: ggml's numbers. t: q4_1 to q6_K. */
void eye_ggml_row_to_f32(enum eye_dtype t, const void *src, float *dst, size_t n);

#endif
