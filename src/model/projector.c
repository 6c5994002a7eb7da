/* The projector: vision features -> rows the decoder takes for embeddings. linear, or N linears with GELU between (exact,
 * mlpNx_gelu, unless the configuration names another), or nothing. Tensors mm.0, mm.2, mm.4, …: LLaVA's nn.Sequential counts
 * the activations too.
 */
#include "model/registry.h"

eye_val eye_projector_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val features) {
    eye_val x = features;
    enum eye_act_kind act = c->projector.act == EYE_ACT_NONE ? EYE_ACT_GELU : c->projector.act;
    for (int64_t i = 0; i < c->projector.n_linear; i++) {
        int n = (int)(2 * i);
        if (i > 0) x = eye_act(m->g, x, act);
        eye_val w = eye_build_weight(m, EYE_SHAPE(c->text.hidden, eye_dim(m->g, x, -1)), "mm.%d.weight", n), b = EYE_NONE;
        if (c->projector.bias) b = eye_build_vector(m, c->text.hidden, "mm.%d.bias", n);
        x = eye_linear(m->g, x, w, b);
    }
    if (x != EYE_NONE && eye_dim(m->g, x, -1) != c->text.hidden)
        return eye_graph_fail(m->g, EYE_E_CORRUPT,
                              "without a projector the %lld vision features cannot be %lld wide embeddings",
                              (long long)eye_dim(m->g, x, -1), (long long)c->text.hidden);
    return x;
}

/* Row (y, x) of an image's result holds rows (s y + i, s x + j), channels in the order i, j, c. */
eye_val eye_pixel_shuffle(struct eye_build *m, eye_val x, int64_t n_images, int64_t s) {
    struct eye_graph *g = m->g;
    int64_t n = eye_dim(g, x, 0) / EYE_MAX(n_images, 1), c = eye_dim(g, x, -1), side = 1;
    while (side * side < n) side++;
    if (x == EYE_NONE) return x;
    if (side * side != n || side % s != 0)
        return eye_graph_fail(g, EYE_E_UNSUPPORTED, "pixel shuffle: %lld features are no square of a multiple of %lld",
                              (long long)n, (long long)s);
    int64_t w = side / s;
    const int32_t swap[] = {0, 2, 1, 3};
    x = eye_reshape(g, x, 4, (int64_t[]){n_images, side, w, s * c});
    x = eye_reshape(g, eye_transpose(g, x, swap), 4, (int64_t[]){n_images, w, w, s * s * c});
    return eye_tap(g, eye_reshape(g, eye_transpose(g, x, swap), 2, (int64_t[]){n_images * w * w, s * s * c}), "v.shuffled");
}
