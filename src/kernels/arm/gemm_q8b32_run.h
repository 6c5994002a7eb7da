/* arm: what products of q8b32 rows and q8b32, q4b32 or q4_K weights have around their tile. To be included behind it:
 *   void tile(int m, int nq, size_t first, size_t rows, size_t col, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c,
 *             size_t c_stride, const float *bias, bool accumulate, int q_bytes)
 *       rows first … first + m - 1 of a panel of `rows`, nq groups of 4 columns from column col of the panel on */
#ifndef EYE_GEMM_Q8B32_RUN_H
#define EYE_GEMM_Q8B32_RUN_H

/* m rows (constant: 1, 2, 4 or 8) times n <= 32 columns. One row takes all columns at a time, so that their bytes stream; more
 * rows fewer, as registers allow. */
EYE_INLINE void run_rows(int m, size_t first, size_t rows, size_t n, size_t k, const uint8_t *lhs, const uint8_t *rhs, float *c,
                         size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    const int nq = 8 / m;
    const size_t cols = 4 * (size_t)nq;
    c += first * c_stride;
    for (size_t j = 0; j < n; j += cols, c += cols) {
        const float *b = bias ? bias + j : NULL;
        const bool cut = n - j < cols;
        struct eye_edge edge;
        if (cut) eye_edge_in(&edge, cols, (size_t)m, n - j, c, c_stride, b);
        tile(m, nq, first, rows, j, k, lhs, rhs, cut ? edge.c : c, cut ? cols : c_stride, cut && b ? edge.bias : b, accumulate,
             q_bytes);
        if (cut) eye_edge_out(&edge, cols, (size_t)m, n - j, c, c_stride);
    }
}

EYE_INLINE void run(size_t m, size_t n, size_t k, const uint8_t *lhs, const uint8_t *rhs, size_t rhs_panel_stride, float *c,
                    size_t c_stride, const float *bias, bool accumulate, int q_bytes) {
    assert(m <= EYE_Q8_MR);
    for (size_t j = 0; j < n; j += EYE_Q8_NR, c += EYE_Q8_NR, rhs += rhs_panel_stride) {
        const size_t cols = n - j < EYE_Q8_NR ? n - j : EYE_Q8_NR;
        const float *b = bias ? bias + j : NULL;
        size_t i = 0;
        if (m == 8) run_rows(8, 0, m, cols, k, lhs, rhs, c, c_stride, b, accumulate, q_bytes), i = 8;
        if (m - i >= 4) run_rows(4, i, m, cols, k, lhs, rhs, c, c_stride, b, accumulate, q_bytes), i += 4;
        if (m - i >= 2) run_rows(2, i, m, cols, k, lhs, rhs, c, c_stride, b, accumulate, q_bytes), i += 2;
        if (m - i >= 1) run_rows(1, i, m, cols, k, lhs, rhs, c, c_stride, b, accumulate, q_bytes);
    }
}

/* `name`: run for weights of q_bytes. */
#define EYE_Q8_RUN(name, q_bytes)                                                                                             \
    static void name(size_t m, size_t n, size_t k, const void *lhs, const void *rhs, size_t rhs_panel_stride, float *c,       \
                     size_t c_stride, const float *bias, bool accumulate) {                                                   \
        run(m, n, k, lhs, rhs, rhs_panel_stride, c, c_stride, bias, accumulate, q_bytes);                                     \
    }

#endif
