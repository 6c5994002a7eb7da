/* The quantize pass: how each matrix is kept and multiplied. One rule, shared by convert and load. */
#include "graph/graph_impl.h"

static bool is_block(enum eye_wtype t) { return t == EYE_W_Q8_0 || t == EYE_W_Q4_0 || t == EYE_W_Q4_K; }

enum eye_wtype eye_wtype_for(enum eye_wtype want, int64_t k) {
    if (want == EYE_W_Q4_K && k % 256 != 0) want = EYE_W_Q4_0;
    return is_block(want) && k % 32 != 0 ? EYE_W_F16 : want;
}

enum eye_dtype eye_wtype_dtype(enum eye_wtype t) {
    static const enum eye_dtype dtype[EYE_N_WTYPE] = {EYE_F32, EYE_F32, EYE_F16, EYE_BF16, EYE_Q8_0, EYE_Q4_0, EYE_Q4_K, EYE_I8};
    return dtype[t];
}

/* The type of one linear: what was asked for; "as stored" where no kernel reads the stored blocks is q8_0. */
static enum eye_wtype linear_type(const struct eye_value *w, enum eye_wtype want) {
    bool read_only = eye_dtype_info(w->dtype)->block_elems > 1 && w->dtype != EYE_Q8_0 && w->dtype != EYE_Q4_0 &&
                     w->dtype != EYE_Q4_K;
    return eye_wtype_for(want == EYE_W_EXACT && read_only ? EYE_W_Q8_0 : want, w->dims[1]);
}

void eye_graph_quantize(struct eye_graph *g, enum eye_wtype want) {
    bool pairs = want == EYE_W_BF16 || want == EYE_W_I8;
    if (want == EYE_W_I8) want = EYE_W_EXACT; /* int8 nodes are told by their ranges and weights */
    for (size_t i = 0; i < g->n_nodes; i++) {
        struct eye_node *n = &g->node[i];
        if (n->op == EYE_OP_linear) {
            n->attr.wtype = linear_type(&g->value[n->in[1]], want);
        } else if (n->op == EYE_OP_embed) { /* rows are rounded as a converted file's table is: both run the same */
            n->attr.wtype = eye_wtype_for(want, g->value[n->in[1]].dims[1]);
        } else if (n->op == EYE_OP_attention) { /* bf16 is the least that any of these asks for */
            n->attr.wtype = pairs ? EYE_W_BF16 : EYE_W_EXACT;
        } else if (n->op == EYE_OP_ffn) { /* both matrices of a fused block share a type: the one that fits both */
            enum eye_wtype a = eye_wtype_for(want, g->value[n->in[1]].dims[1]), b = eye_wtype_for(want, g->value[n->in[3]].dims[1]);
            n->attr.wtype = a == want ? b : a;
        } else if (n->op == EYE_OP_conv2d && n->attr.groups == 1) {
            /* im2col convolutions (a stem) are few and sensitive: 16 bit at the least */
            n->attr.wtype = is_block(want) ? EYE_W_F16 : want;
        } else if (n->op == EYE_OP_conv2d && want == EYE_W_BF16) { /* depthwise: other types have no products of their own */
            n->attr.wtype = EYE_W_BF16;
        }
    }
}
