/* FastViTHD, the vision tower of FastVLM (Apple's fastvithd = timm's fastvit_mci3): pixels -> features.
 *
 *   stem       dense 3×3 s2, depthwise 3×3 s2, 1×1; GELU after each
 *   stage s    [down: depthwise 7×7 s2 with two outputs per channel, GELU, 1×1, GELU]   s > 0
 *              [cpe: depthwise 7×7, + x]                                                where the tensors have one
 *              blocks: RepMixer  x = mix(x);  x = x + ls ffn(x)
 *                      attention x = x + ls1 attn(ln(x));  x = x + ls2 ffn(x)
 *              ffn: depthwise 7×7, BatchNorm, 1×1 C->F, GELU, 1×1 F->C
 *   final      depthwise 3×3 with two outputs per channel, squeeze-excite, GELU
 *   features   [H W, C] row-major
 *
 * Widths, depths and which stages attend come from the tensors. The graph is built in the form the checkpoint has: train-time
 * branches, one convolution per block, or a converted file's convolutions with everything folded in; the fold pass makes
 * the same convolutions of the first two. GELU is exact (erf). Sources: arXiv 2412.13303 (FastVLM), 2303.14189 (FastViT),
 * 2206.04040 (MobileOne); shapes and formulas in doc/models/fastvlm.md.
 *
 * Traps: depthwise with multiplier two is groups = input channels, so outputs 2c and 2c + 1 read channel c. RepMixer replaces
 * x, the identity is inside its kernel. The squeeze-excite pools the convolution's output, before GELU. qkv has no bias.
 */
#include "model/registry.h"

#define BN_EPS 1e-5f
#define LN_EPS 1e-5f
#define HEAD_DIM 32

typedef struct eye_build B;
#define NAME(...) eye_namef(__VA_ARGS__).s

static eye_val gelu(B *m, eye_val x) { return eye_act(m->g, x, EYE_ACT_GELU); }

static eye_val batch_norm(B *m, eye_val x, const char *name) {
    int64_t c = eye_dim(m->g, x, -1);
    eye_val w = eye_build_vector(m, c, "%s.weight", name), b = eye_build_vector(m, c, "%s.bias", name);
    eye_val mean = eye_build_vector(m, c, "%s.running_mean", name), var = eye_build_vector(m, c, "%s.running_var", name);
    return eye_batch_norm(m->g, x, w, b, mean, var, BN_EPS);
}

/* name.weight over channels / groups; the outputs' number is the tensor's. A 1×1 of a folded file is a matrix. */
static eye_val conv(B *m, eye_val x, const char *name, int k, int stride, bool depthwise, bool bias) {
    int64_t c = eye_dim(m->g, x, -1);
    bool matrix = m->folded && k == 1 && stride == 1 && !depthwise;
    struct eye_shape shape = matrix ? EYE_SHAPE(EYE_ANY, c) : EYE_SHAPE(EYE_ANY, depthwise ? 1 : c, k, k);
    eye_val w = eye_build_weight(m, shape, "%s.weight", name), b = EYE_NONE;
    if (bias) b = eye_build_vector(m, w == EYE_NONE ? EYE_ANY : eye_dim(m->g, w, 0), "%s.bias", name);
    if (matrix) return eye_linear(m->g, x, w, b);
    return eye_conv2d(m->g, x, w, b, eye_conv_same(k, stride, depthwise ? (int)c : 1));
}

/* name.conv without bias, then name.bn */
static eye_val conv_bn(B *m, eye_val x, const char *name, int k, int stride, bool depthwise) {
    x = conv(m, x, NAME("%s.conv", name), k, stride, depthwise, false);
    return batch_norm(m, x, NAME("%s.bn", name));
}

static eye_val plus(B *m, eye_val sum, eye_val x) { return sum == EYE_NONE ? x : eye_add(m->g, sum, x); }

/* Sum of the branches that exist: name.branch.N (k×k), name.scale (1×1), name.skip (BatchNorm of x). The k×k branch comes
 * first: the folded weight is named after it. */
static eye_val branches(B *m, eye_val x, const char *name, int k, int stride, bool depthwise) {
    eye_val sum = EYE_NONE;
    for (int i = 0; eye_build_has(m, "%s.branch.%d.conv.weight", name, i); i++)
        sum = plus(m, sum, conv_bn(m, x, NAME("%s.branch.%d", name, i), k, stride, depthwise));
    if (eye_build_has(m, "%s.scale.conv.weight", name))
        sum = plus(m, sum, conv_bn(m, x, NAME("%s.scale", name), 1, stride, depthwise));
    if (eye_build_has(m, "%s.skip.weight", name))
        sum = plus(m, sum, batch_norm(m, x, NAME("%s.skip", name)));
    return sum;
}

/* A MobileOne block in either form; no activation. */
static eye_val mobileone(B *m, eye_val x, const char *name, int k, int stride, bool depthwise) {
    bool train = eye_build_has(m, "%s.branch.0.conv.weight", name);
    if (train && !m->folded) return branches(m, x, name, k, stride, depthwise);
    return conv(m, x, NAME("%s.conv", name), k, stride, depthwise, true);
}

/* ---- blocks ---- */

/* x + layer_scale (mixer(x) - norm(x)), or the one depthwise convolution that is. */
static eye_val rep_mixer(B *m, eye_val x, const char *block) {
    if (m->folded || !eye_build_has(m, "%s.mixer.layer_scale", block))
        return conv(m, x, NAME("%s.mixer.conv", block), 3, 1, true, true);
    eye_val mix = branches(m, x, NAME("%s.mixer.mix", block), 3, 1, true);
    eye_val diff = eye_sub(m->g, mix, batch_norm(m, x, NAME("%s.mixer.norm.skip", block)));
    eye_val scale = eye_build_vector(m, eye_dim(m->g, x, -1), "%s.mixer.layer_scale", block);
    return eye_add(m->g, x, eye_mul(m->g, diff, scale));
}

static eye_val layer_scale(B *m, eye_val x, const char *block, const char *name) {
    if (m->folded) return x;
    return eye_mul(m->g, x, eye_build_vector(m, eye_dim(m->g, x, -1), "%s.%s", block, name));
}

static eye_val ffn(B *m, eye_val x, const char *block) {
    int64_t channels = eye_dim(m->g, x, -1);
    x = conv(m, x, NAME("%s.mlp.conv", block), 7, 1, true, m->folded);
    if (!m->folded)
        x = batch_norm(m, x, NAME("%s.mlp.bn", block));
    x = gelu(m, conv(m, x, NAME("%s.mlp.fc1", block), 1, 1, false, true));
    x = conv(m, x, NAME("%s.mlp.fc2", block), 1, 1, false, true);
    if (x != EYE_NONE && eye_dim(m->g, x, -1) != channels)
        return eye_graph_fail(m->g, EYE_E_CORRUPT, "tensor \"%s.mlp.fc2.weight\" gives %lld channels, the block has %lld",
                              block, (long long)eye_dim(m->g, x, -1), (long long)channels);
    return x;
}

/* Multi-head attention over all positions of the map; x is normed. */
static eye_val attention(B *m, eye_val x, const char *block) {
    struct eye_graph *g = m->g;
    int64_t h = eye_dim(g, x, 1), w = eye_dim(g, x, 2), c = eye_dim(g, x, 3), t = h * w, heads = c / HEAD_DIM;
    eye_val qkv[3];
    if (x != EYE_NONE && c % HEAD_DIM != 0)
        return eye_graph_fail(g, EYE_E_CORRUPT, "%s: %lld channels are no multiple of the head dimension %d", block,
                              (long long)c, HEAD_DIM);
    x = eye_reshape(g, x, 2, (int64_t[]){t, c});
    x = eye_linear(g, x, eye_build_weight(m, EYE_SHAPE(3 * c, c), "%s.attn.qkv.weight", block), EYE_NONE);
    for (int i = 0; i < 3; i++) qkv[i] = eye_reshape(g, eye_slice(g, x, 1, i * c, c), 3, (int64_t[]){t, heads, HEAD_DIM});
    x = eye_attention(g, qkv[0], qkv[1], qkv[2], EYE_NONE, EYE_NONE, 0.17677669529663687f /* 32^-0.5 */, false);
    x = eye_reshape(g, x, 4, (int64_t[]){1, h, w, c}); /* before the projection, so that it feeds the residual add itself */
    eye_val weight = eye_build_weight(m, EYE_SHAPE(c, c), "%s.attn.proj.weight", block);
    return eye_linear(g, x, weight, eye_build_vector(m, c, "%s.attn.proj.bias", block));
}

static eye_val attention_block(B *m, eye_val x, const char *block, const char *tap) {
    int64_t c = eye_dim(m->g, x, -1);
    eye_val w = eye_build_vector(m, c, "%s.norm.weight", block), b = eye_build_vector(m, c, "%s.norm.bias", block);
    eye_val y = attention(m, eye_layer_norm(m->g, x, w, b, LN_EPS), block);
    y = eye_tap(m->g, y, "%s.mixer", tap); /* before its layer scale, as the reference has it; gone once that is folded */
    x = eye_add(m->g, x, layer_scale(m, y, block, "layer_scale_1"));
    return eye_add(m->g, x, layer_scale(m, ffn(m, x, block), block, "layer_scale_2"));
}

static eye_val repmixer_block(B *m, eye_val x, const char *block, const char *tap) {
    x = eye_tap(m->g, rep_mixer(m, x, block), "%s.mixer", tap);
    return eye_add(m->g, x, layer_scale(m, ffn(m, x, block), block, "layer_scale"));
}

/* ---- the tower ---- */

static eye_val stem(B *m, eye_val x) {
    static const struct { int k, stride; bool depthwise; } part[3] = {{3, 2, false}, {3, 2, true}, {1, 1, false}};
    for (int i = 0; i < 3; i++) {
        x = gelu(m, mobileone(m, x, NAME("v.stem.%d", i), part[i].k, part[i].stride, part[i].depthwise));
        eye_tap(m->g, x, "v.stem%d", i);
    }
    return x;
}

static eye_val downsample(B *m, eye_val x, int s) {
    if (m->folded || !eye_build_has(m, "v.stage.%d.down.0.large.conv.weight", s)) {
        x = conv(m, x, NAME("v.stage.%d.down.0.conv", s), 7, 2, true, true);
    } else {
        eye_val in = x;
        x = conv_bn(m, in, NAME("v.stage.%d.down.0.large", s), 7, 2, true);
        if (eye_build_has(m, "v.stage.%d.down.0.small.conv.weight", s))
            x = eye_add(m->g, x, conv_bn(m, in, NAME("v.stage.%d.down.0.small", s), 3, 2, true));
    }
    x = eye_tap(m->g, gelu(m, x), "v.stage%d.down0", s);
    x = gelu(m, mobileone(m, x, NAME("v.stage.%d.down.1", s), 1, 1, false));
    return eye_tap(m->g, x, "v.stage%d.down", s);
}

/* Conditional position encoding: x + depthwise(x), or one kernel with the identity in it. */
static eye_val position(B *m, eye_val x, int stage) {
    if (!m->folded && eye_build_has(m, "v.stage.%d.cpe.pos.weight", stage)) {
        x = eye_add(m->g, x, conv(m, x, NAME("v.stage.%d.cpe.pos", stage), 7, 1, true, true));
    } else if (eye_build_has(m, "v.stage.%d.cpe.conv.weight", stage)) {
        x = conv(m, x, NAME("v.stage.%d.cpe.conv", stage), 7, 1, true, true);
    } else 
        return x;
    return eye_tap(m->g, x, "v.stage%d.cpe", stage);
}

static eye_val stage(B *m, eye_val x, int s, const struct eye_vision_config *v) {
    if (s > 0) x = downsample(m, x, s);
    x = position(m, x, s);
    int64_t depth = eye_binder_count(m->b, NAME("v.stage.%d.block.", s));
    for (int64_t i = 0; i < depth; i++) {
        struct eye_name block = eye_namef("v.stage.%d.block.%lld", s, (long long)i),
                        tap = eye_namef("v.stage%d.block%lld", s, (long long)i);
        bool attends = eye_build_has(m, "%s.attn.qkv.weight", block.s);
        x = (attends ? attention_block : repmixer_block)(m, x, block.s, tap.s);
        eye_tap(m->g, x, "%s", tap.s);
    }
    if (v->n_stages && x != EYE_NONE) { /* the configuration names sizes: they must be these */
        if (v->depth[s] && v->depth[s] != depth)
            return eye_graph_fail(m->g, EYE_E_CORRUPT,
                                  "config.json: vision_config.model_args.layers[%d] is %lld, the tensors have %lld", s,
                                  (long long)v->depth[s], (long long)depth);
        if (v->width[s] && v->width[s] != eye_dim(m->g, x, -1))
            return eye_graph_fail(m->g, EYE_E_CORRUPT,
                                  "config.json: vision_config.model_args.embed_dims[%d] is %lld, the tensors have %lld", s,
                                  (long long)v->width[s], (long long)eye_dim(m->g, x, -1));
    }
    return x;
}

static eye_val squeeze_excite(B *m, eye_val x) {
    eye_val s = eye_mean_hw(m->g, x);
    s = eye_act(m->g, conv(m, s, "v.final.se.fc1", 1, 1, false, true), EYE_ACT_RELU);
    s = eye_act(m->g, conv(m, s, "v.final.se.fc2", 1, 1, false, true), EYE_ACT_SIGMOID);
    return eye_mul(m->g, x, s);
}

enum eye_status eye_fastvithd_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    return eye_json_int_in(at, "image_size", 1, EYE_MAX_SIDE_PX, 1024, &c->prep.side_px, err);
}

int64_t eye_fastvithd_stride(const struct eye_binder *b) {
    int64_t n = eye_binder_count(b, "v.stage.");
    return n < 1 ? 0 : (int64_t)4 << (EYE_MIN(n, EYE_MAX_STAGES) - 1);
}

eye_val eye_fastvithd_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels) {
    int64_t n = eye_binder_count(m->b, "v.stage.");
    if (n < 1 || n > EYE_MAX_STAGES)
        return eye_graph_fail(m->g, EYE_E_CORRUPT, "the vision tower has %lld stages; expected 1 to %d", (long long)n,
                              EYE_MAX_STAGES);
    if (c->vision.n_stages && c->vision.n_stages != n)
        return eye_graph_fail(m->g, EYE_E_CORRUPT,
                              "config.json: vision_config.model_args lists %lld stages, the tensors have %lld",
                              (long long)c->vision.n_stages, (long long)n);
    eye_val x = stem(m, pixels);
    for (int s = 0; s < n; s++) x = stage(m, x, s, &c->vision);
    x = eye_tap(m->g, mobileone(m, x, "v.final", 3, 1, true), "v.final_preact_se");
    x = eye_tap(m->g, gelu(m, squeeze_excite(m, x)), "v.final");
    int64_t channels = eye_dim(m->g, x, -1);
    if (x != EYE_NONE && c->vision.channels && channels != c->vision.channels)
        return eye_graph_fail(m->g, EYE_E_CORRUPT, "config.json says %lld vision features, the tensors give %lld",
                              (long long)c->vision.channels, (long long)channels);
    return eye_tap(m->g, eye_reshape(m->g, x, 2, (int64_t[]){eye_dim(m->g, x, 1) * eye_dim(m->g, x, 2), channels}),
                   "v.features");
}
