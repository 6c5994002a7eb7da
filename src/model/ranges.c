/* Ranges of a static int8 tower, as a converted file has them: for each int8 weight the scale and zero point of what enters its
 * node. Outside bytes: every list is checked before a graph sees it. */
#include <math.h>
#include <string.h>

#include "model/vlm.h"

static enum eye_status bad(const struct eye_vlm *m, struct eye_err *err, const char *what) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: " EYE_INT8_KEY_WEIGHT ": %s; convert the model again", m->ckpt->path, what);
}

/* The lists, of one length; NULL: the file has none. */
struct lists {
    const struct eye_gguf_kv *weight, *scale, *zero, *wide;
};

static enum eye_status find_lists(const struct eye_vlm *m, struct lists *l, struct eye_err *err) {
    const struct eye_gguf *g = &m->ckpt->gguf;
    *l = (struct lists){eye_gguf_find(g, EYE_INT8_KEY_WEIGHT), eye_gguf_find(g, EYE_INT8_KEY_SCALE),
                        eye_gguf_find(g, EYE_INT8_KEY_ZERO), eye_gguf_find(g, EYE_INT8_KEY_WIDE)};
    if (!l->weight || !l->scale || !l->zero)
        return bad(m, err, "the file says its vision tower is int8, but its ranges are missing");
    if (!l->weight->is_array || l->weight->type != EYE_GGUF_STRING || !l->scale->is_array || l->scale->type != EYE_GGUF_F32 ||
        !l->zero->is_array || l->zero->type != EYE_GGUF_U8)
        return bad(m, err, "expected lists of strings, f32 scales and u8 zero points");
    if (l->wide && (!l->wide->is_array || l->wide->type != EYE_GGUF_U16)) return bad(m, err, "expected u16 limits of wide ranges");
    if (l->weight->n != l->scale->n || l->weight->n != l->zero->n || (l->wide && l->weight->n != l->wide->n)) return bad(m, err, "the lists differ in length");
    for (size_t i = 0; i < l->scale->n; i++) {
        double s = eye_gguf_item_double(l->scale, i);
        if (!(s >= 1e-30 && s <= 1e30)) return bad(m, err, "a scale is not a positive number");
    }
    return EYE_OK;
}

static bool is_of(const struct eye_graph *g, const struct eye_node *n, const struct eye_str *name) {
    char folded[EYE_NAME_MAX];
    const struct eye_value *w = n->in[1] == EYE_NONE ? NULL : &g->value[n->in[1]];
    return w && w->kind == EYE_VAL_WEIGHT && w->dtype == EYE_I8 && eye_name_folded(w->name, folded, sizeof folded) &&
           strlen(folded) == name->len && memcmp(folded, name->p, name->len) == 0;
}

enum eye_status eye_vlm_ranges(const struct eye_vlm *m, struct eye_graph *g, struct eye_err *err) {
    struct lists l;
    if (m->vision_type != EYE_W_I8)
        return eye_fail(err, EYE_E_ARG,
                        "%s: its vision tower has no int8 ranges, which come from pictures: make a file that has with "
                        "eyelet convert CHECKPOINT -o FILE.gguf --vision int8 --calibration DIR", m->ckpt->path);
    EYE_TRY(find_lists(m, &l, err));
    for (size_t k = 0; k < g->n_nodes; k++) {
        const struct eye_node *n = &g->node[k];
        if (!eye_graph_int8_fits(g, n)) continue;
        for (size_t i = 0; i < l.weight->n; i++) {
            if (!is_of(g, n, &l.weight->string[i])) continue;
            struct eye_quant q = {(float)eye_gguf_item_double(l.scale, i), (int32_t)eye_gguf_item_int(l.zero, i),
                                  l.wide ? (int32_t)eye_gguf_item_int(l.wide, i) : 0};
            struct eye_quant *had = &g->value[n->in[0]].quant;
            if (had->scale > 0 && (had->scale != q.scale || had->zero != q.zero || had->wide != q.wide))
                return bad(m, err, "two ranges for one value");
            *had = q;
            if (q.wide && (q.zero || !eye_node_is_int8(g, n))) return bad(m, err, "16 bits for a layer that cannot have them");
        }
    }
    return EYE_OK;
}
