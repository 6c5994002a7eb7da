/* places: learned positions where image rows are merged. A table that was learned with all rows of a picture in front says nothing
 * useful of text right behind fewer of them, and its first rows tell which part of the picture they stand for. So, in a model that
 * puts its image before everything, text keeps the positions it had, and a merged row stands for the mean of its rows' positions:
 *
 *   table:  row i < picture_rows as it was; behind them that of the position so many further as there are rows less
 *   rows:   position i is added to row i before merging and that of the place where it comes to stand taken off afterwards
 *
 * Positions by rotation are relative and need none of this. Where images stand anywhere, nothing is done. */
#include "session/session_impl.h"

static eye_val table_of(const struct eye_graph *g) {
    for (size_t i = 0; i < g->n_nodes; i++)
        if (g->node[i].op == EYE_OP_positions) return g->node[i].in[0];
    return EYE_NONE;
}

static enum eye_status copy_table(struct eye_model *m, const struct eye_graph *g, struct eye_err *err) {
    eye_val v = table_of(g);
    if (v == EYE_NONE) return EYE_OK;
    const struct eye_value *w = eye_value_at(g, v);
    int64_t n = w->dims[0], less = m->picture_tokens - m->picture_rows;
    size_t width = (size_t)w->dims[1], bytes;
    if (n <= m->picture_tokens || width != (size_t)m->vlm.config.text.hidden) return EYE_OK;
    if (!eye_mul_ok((size_t)(n + m->picture_tokens), width * sizeof(float), &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    float *table = eye_arena_alloc(&m->names, bytes);
    if (!table) return eye_fail_nomem(err, bytes);
    for (int64_t i = 0; i < n; i++)
        eye_weight_row(w, i < m->picture_rows ? i : EYE_MIN(i + less, n - 1), table + (size_t)i * width);
    for (int64_t i = 0; i < m->picture_tokens; i++) eye_weight_row(w, i, table + (size_t)(n + i) * width);
    m->places = table;
    m->row_places = table + (size_t)n * width;
    m->places_less = less;
    return EYE_OK;
}

enum eye_status eye_places_open(struct eye_model *m, struct eye_err *err) {
    struct eye_graph g;
    if (m->picture_rows == m->picture_tokens || m->tiled || !m->vlm.config.images_first) return EYE_OK;
    EYE_TRY(eye_vlm_graph(&m->vlm, EYE_PART_DECODER, 0, &g, err));
    enum eye_status st = copy_table(m, &g, err);
    eye_graph_clear(&g);
    return st;
}

void eye_places_table(const struct eye_model *m, struct eye_graph *g) {
    eye_val v = m->places ? table_of(g) : EYE_NONE;
    if (v == EYE_NONE) return;
    struct eye_value *w = &g->value[v];
    w->dtype = EYE_F32;
    w->data = m->places;
    w->row_scale = NULL;
    w->transposed = false;
}

void eye_places_add(const struct eye_model *m, float *rows, int64_t n, float sign) {
    size_t total = (size_t)n * (size_t)m->vlm.config.text.hidden;
    for (size_t i = 0; m->places && i < total; i++) rows[i] += sign * m->row_places[i];
}
