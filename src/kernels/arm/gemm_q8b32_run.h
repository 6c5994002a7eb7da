/* arm: what products of q8b32 rows and q8b32, q4b32 or q4_K weights have around their tile. To be included behind it:
 *   void tile(int m, int nq, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c, size_t c_stride,
 *             const float *bias, bool accumulate, int q_bytes)     m rows, nq groups of 4 columns from column col of the panel on */
#ifndef EYE_GEMM_Q8B32_RUN_H
#define EYE_GEMM_Q8B32_RUN_H

/* One row takes a whole panel at a time, so that its bytes stream; more rows fewer columns, as registers allow. */
EYE_INLINE void run(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    assert(m <= EYE_Q8_MR);
    const size_t cols = m == 1 ? 32 : m == 2 ? 16 : 8;
    for (size_t j = 0; j < n; j += cols, c += cols) {
        const uint8_t *panel = (const uint8_t *)rhs + j / EYE_Q8_NR * rhs_panel_stride;
        const float *b = bias ? bias + j : NULL;
        float *out = c;
        size_t stride = c_stride, col = j % EYE_Q8_NR;
        struct eye_edge edge;
        if (n - j < cols) {
            eye_edge_in(&edge, cols, m, n - j, c, c_stride, b);
            out = edge.c, stride = cols, b = edge.bias;
        }
        switch (m) {
        case 1: tile(1, 8, col, k, lhs, panel, out, stride, b, accumulate, q_bytes); break;
        case 2: tile(2, 4, col, k, lhs, panel, out, stride, b, accumulate, q_bytes); break;
        case 3: tile(3, 2, col, k, lhs, panel, out, stride, b, accumulate, q_bytes); break;
        case 4: tile(4, 2, col, k, lhs, panel, out, stride, b, accumulate, q_bytes); break;
        default: break;
        }
        if (n - j < cols) eye_edge_out(&edge, cols, m, n - j, c, c_stride);
    }
}

/* `name`: run for weights of q_bytes. */
#define EYE_Q8_RUN(name, q_bytes)                                                                                             \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,       \
                     size_t c_stride, const float *bias, bool accumulate) {                                                   \
        run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, q_bytes);                                     \
    }

#endif
