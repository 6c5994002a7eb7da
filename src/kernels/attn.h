/* kernels: the entries of the attention files: each has qk() and pv() for all kinds of elements, which must be constants there. */
#ifndef EYE_KERNELS_ATTN_H
#define EYE_KERNELS_ATTN_H

enum elem { ELEM_F32, ELEM_F16, ELEM_I8 };

#define EYE_QK(name, e)                                                                                               \
    void name(size_t m, size_t d, size_t n_keys, const float *q, size_t q_stride, const void *k, float scale, float *s, \
              size_t s_stride) {                                                                                      \
        qk(m, d, n_keys, q, q_stride, k, scale, s, s_stride, e);                                                      \
    }
#define EYE_PV(name, e)                                                                                               \
    void name(size_t m, size_t d, size_t n_keys, const float *p, size_t p_stride, const void *v, size_t v_stride,     \
              float *out, size_t out_stride, bool add) {                                                              \
        pv(m, d, n_keys, p, p_stride, v, v_stride, out, out_stride, add, e);                                          \
    }
#define EYE_ATTN(isa)                         \
    EYE_QK(eye_attn_qk_f32_##isa, ELEM_F32)   \
    EYE_QK(eye_attn_qk_f16_##isa, ELEM_F16)   \
    EYE_QK(eye_attn_qk_i8_##isa, ELEM_I8)     \
    EYE_PV(eye_attn_pv_f32_##isa, ELEM_F32)   \
    EYE_PV(eye_attn_pv_f16_##isa, ELEM_F16)   \
    EYE_PV(eye_attn_pv_i8_##isa, ELEM_I8)

#endif
