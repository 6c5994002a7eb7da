/* The vision transformers of CLIP and SigLIP: pixels -> features.
 *
 *   rows       P×P patches of the image, row-major, each to C channels by one linear (a convolution of stride P)
 *              CLIP: a learned class row before them;  + learned positions;  CLIP: LayerNorm
 *   layer n    x = x + out(attention(q, k, v of layer_norm1(x)));  x = x + fc2(act(fc1(layer_norm2(x))))
 *   features   the rows after some layers, channels side by side if there are several; CLIP: usually without the class row
 *
 * Which layers: LLaVA takes the last but one. Layers after the ones that are taken are never built, their tensors stay unread.
 * The final LayerNorm is only applied where the configuration says so (post_norm): transformers' hidden_states lack it.
 * Positions are learned for one image side, so no other fits. Sources: arXiv 2103.00020 (CLIP), 2303.15343 (SigLIP),
 * 2310.03744 (LLaVA-1.5); transformers' modeling_clip.py and modeling_siglip.py; doc/models/llava.md.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/registry.h"

typedef struct eye_build B;
#define NAME(...) eye_namef(__VA_ARGS__).s

static eye_val linear(B *m, eye_val x, int64_t rows, const char *name) {
    eye_val w = eye_build_weight(m, EYE_SHAPE(rows, eye_dim(m->g, x, -1)), "%s.weight", name);
    return eye_linear(m->g, x, w, eye_build_vector(m, rows, "%s.bias", name));
}

static eye_val norm(B *m, const struct eye_vit_config *v, eye_val x, const char *name) {
    eye_val w = eye_build_vector(m, v->hidden, "%s.weight", name), b = eye_build_vector(m, v->hidden, "%s.bias", name);
    return eye_layer_norm(m->g, x, w, b, v->eps);
}

static eye_val attention(B *m, const struct eye_vit_config *v, eye_val x, const char *layer) {
    int64_t d = v->hidden / v->n_heads, t = eye_dim(m->g, x, 0);
    eye_val qkv[3];
    for (int i = 0; i < 3; i++)
        qkv[i] = eye_reshape(m->g, linear(m, x, v->hidden, NAME("%s.attn_%c", layer, "qkv"[i])), 3,
                             (int64_t[]){t, v->n_heads, d});
    x = eye_attention(m->g, qkv[0], qkv[1], qkv[2], EYE_NONE, EYE_NONE, (float)(1 / sqrt((double)d)), false);
    return linear(m, x, v->hidden, NAME("%s.attn_out", layer));
}

static eye_val feed_forward(B *m, const struct eye_vit_config *v, eye_val x, const char *layer) {
    x = eye_act(m->g, linear(m, x, v->ffn, NAME("%s.ffn_up", layer)), v->act);
    return linear(m, x, v->hidden, NAME("%s.ffn_down", layer));
}

/* [rows, C] before the layers. */
static eye_val embed(B *m, const struct eye_vit_config *v, eye_val pixels) {
    struct eye_conv c = {(int32_t)v->patch_px, 0, 0, 0, 0, 1};
    int64_t across = v->side_px / v->patch_px, n_patches = across * across; /* what is left of the image is not looked at */
    eye_val w = eye_build_weight(m, EYE_SHAPE(v->hidden, 3, v->patch_px, v->patch_px), "v.patch_embd.weight"), b = EYE_NONE;
    if (v->patch_bias) b = eye_build_vector(m, v->hidden, "v.patch_embd.bias");
    eye_val x = eye_reshape(m->g, eye_conv2d(m->g, pixels, w, b, c), 2, (int64_t[]){n_patches, v->hidden});
    if (v->class_row) x = eye_concat(m->g, eye_build_row(m, v->hidden, "v.class_embd"), x, 0);
    x = eye_add(m->g, x, eye_build_weight(m, EYE_SHAPE(n_patches + v->class_row, v->hidden), "v.position_embd.weight"));
    x = eye_tap(m->g, x, "v.embed");
    if (v->class_row) x = eye_tap(m->g, norm(m, v, x, "v.pre_ln"), "v.pre_ln");
    return x;
}

/* Layers up to the last that is needed; the taken states, side by side. */
static eye_val layers(B *m, const struct eye_vit_config *v, eye_val x) {
    eye_val taken[EYE_MAX_TAPS], all = EYE_NONE;
    int64_t deepest = v->post_norm ? v->n_layers : 0;
    size_t n_taps = v->post_norm ? 0 : v->n_taps;
    for (size_t k = 0; k < n_taps; k++) deepest = EYE_MAX(deepest, v->tap[k]);
    for (int64_t i = 0; i <= deepest; i++) {
        for (size_t k = 0; k < n_taps; k++)
            if (v->tap[k] == i) taken[k] = x;
        if (i == deepest) break;
        struct eye_name layer = eye_namef("v.blk.%lld", (long long)i);
        x = eye_add(m->g, x, attention(m, v, norm(m, v, x, NAME("%s.ln1", layer.s)), layer.s));
        x = eye_add(m->g, x, feed_forward(m, v, norm(m, v, x, NAME("%s.ln2", layer.s)), layer.s));
        x = eye_tap(m->g, x, "v.layer%lld", (long long)i);
    }
    for (int64_t i = deepest; i < v->n_layers; i++) eye_build_leave(m, NAME("v.blk.%lld.", (long long)i));
    if (v->post_norm) return norm(m, v, x, "v.post_ln");
    eye_build_leave(m, "v.post_ln.");
    for (size_t k = 0; k < n_taps; k++) all = k ? eye_concat(m->g, all, taken[k], 1) : taken[k];
    return all;
}

int64_t eye_vit_stride(const struct eye_binder *b) {
    const struct eye_tensor *w = eye_binder_find(b, "v.patch_embd.weight");
    return w ? 1 : 0; /* one side fits, and eye_vit_tokens knows it */
}

int64_t eye_vit_tokens(const struct eye_vision_config *v, int64_t side_px) {
    const struct eye_vit_config *t = &v->vit;
    if (side_px != t->side_px) return 0;
    return (side_px / t->patch_px) * (side_px / t->patch_px) + (t->class_row && !t->drop_class);
}

eye_val eye_vit_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels) {
    const struct eye_vit_config *v = &c->vision.vit;
    if (v->origin[0] && !eye_build_has(m, "v.patch_embd.weight"))
        return eye_graph_fail(m->g, EYE_E_UNSUPPORTED,
                              "the vision tower is not in this checkpoint; config.json leaves it in %s: use a version of "
                              "the model that contains it (for LLaVA-1.5 the ones converted for transformers)",
                              v->origin);
    if (pixels != EYE_NONE && eye_dim(m->g, pixels, 1) != v->side_px)
        return eye_graph_fail(m->g, EYE_E_ARG, "image side %lld: this vision tower has positions for %lld only",
                              (long long)eye_dim(m->g, pixels, 1), (long long)v->side_px);
    eye_val x = layers(m, v, embed(m, v, pixels));
    if (v->class_row && v->drop_class && x != EYE_NONE) x = eye_slice(m->g, x, 0, 1, eye_dim(m->g, x, 0) - 1);
    return eye_tap(m->g, x, "v.features");
}

/* ---- configuration ---- */

/* vision_feature_layer of transformers' indices into hidden_states: a number, or a list; negative counts from the end. */
static enum eye_status read_taps(const struct eye_json_at *at, struct eye_vit_config *v, struct eye_err *err) {
    struct eye_json_at list;
    struct eye_err not_a_list;
    char what[96];
    v->n_taps = 1;
    if (eye_json_array(at, "vision_feature_layer", &list, &not_a_list) == EYE_OK && list.v) {
        EYE_TRY(eye_json_ints(at, "vision_feature_layer", v->tap, EYE_MAX_TAPS, &v->n_taps, err));
        if (v->n_taps == 0) return eye_json_fail(at, "vision_feature_layer", "the list is empty", err);
    } else {
        EYE_TRY(eye_json_int(at, "vision_feature_layer", -2, &v->tap[0], err));
    }
    for (size_t i = 0; i < v->n_taps; i++) {
        int64_t n = v->tap[i] < 0 ? v->n_layers + 1 + v->tap[i] : v->tap[i];
        if (n < 0 || n > v->n_layers) {
            snprintf(what, sizeof what, "%lld: there are %lld layers", (long long)v->tap[i], (long long)v->n_layers);
            return eye_json_fail(at, "vision_feature_layer", what, err);
        }
        v->tap[i] = n;
    }
    return EYE_OK;
}

enum eye_status eye_vit_features(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_vit_config *v = &c->vision.vit;
    const char *s;
    EYE_TRY(read_taps(at, v, err));
    EYE_TRY(eye_json_str(at, "vision_feature_select_strategy", v->class_row ? "default" : "full", &s, NULL, err));
    v->drop_class = strcmp(s, "default") == 0;
    if (!v->drop_class && strcmp(s, "full") != 0)
        return eye_config_unsupported(at, "vision_feature_select_strategy", err, "got \"%.64s\", supported: default, full", s);
    if (v->drop_class && !v->class_row)
        return eye_config_unsupported(at, "vision_feature_select_strategy", err,
                                      "got \"default\", which drops the first patch of a tower without class row; "
                                      "supported: full");
    c->vision.channels = v->hidden * (int64_t)v->n_taps;
    return EYE_OK;
}

/* v has the family's defaults. */
static enum eye_status read_sizes(const struct eye_json_at *at, const char *act, double eps, struct eye_vlm_config *c,
                                  struct eye_err *err) {
    struct eye_vit_config *v = &c->vision.vit;
    int64_t n;
    EYE_TRY(eye_json_int_in(at, "hidden_size", 1, EYE_MAX_HIDDEN, v->hidden, &v->hidden, err));
    EYE_TRY(eye_json_int_in(at, "num_hidden_layers", 1, EYE_MAX_LAYERS, v->n_layers, &v->n_layers, err));
    EYE_TRY(eye_json_int_in(at, "num_attention_heads", 1, EYE_MAX_HEADS, v->n_heads, &v->n_heads, err));
    EYE_TRY(eye_json_int_in(at, "intermediate_size", 1, EYE_MAX_FFN, v->ffn, &v->ffn, err));
    EYE_TRY(eye_json_int_in(at, "image_size", 1, EYE_MAX_SIDE_PX, v->side_px, &v->side_px, err));
    EYE_TRY(eye_json_int_in(at, "patch_size", 1, 64, v->patch_px, &v->patch_px, err));
    EYE_TRY(eye_json_int_in(at, "num_channels", 1, 64, 3, &n, err));
    if (n != 3) return eye_config_unsupported(at, "num_channels", err, "got %lld, supported: 3", (long long)n);
    if (v->hidden % v->n_heads != 0 || v->hidden / v->n_heads > EYE_MAX_HEAD_DIM)
        return eye_json_fail(at, "hidden_size", "expected a multiple of num_attention_heads, with heads of at most 1024", err);
    if (v->side_px < v->patch_px) return eye_json_fail(at, "image_size", "less than patch_size", err);
    EYE_TRY(eye_config_act(at, "hidden_act", act, &v->act, err));
    EYE_TRY(eye_config_number(at, "layer_norm_eps", 1e-12, 0.1, eps, &eps, err));
    v->eps = (float)eps;
    c->prep.side_px = v->side_px;
    return EYE_OK;
}

enum eye_status eye_clip_sizes(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    c->vision.family = "clip";
    c->vision.vit = (struct eye_vit_config){.hidden = 768, .n_layers = 12, .n_heads = 12, .ffn = 3072, .patch_px = 32,
                                            .side_px = 224, .class_row = true};
    memcpy(c->prep.mean, (float[]){0.48145466f, 0.4578275f, 0.40821073f}, sizeof c->prep.mean);
    memcpy(c->prep.std, (float[]){0.26862954f, 0.26130258f, 0.27577711f}, sizeof c->prep.std);
    return read_sizes(at, "quick_gelu", 1e-5, c, err);
}

enum eye_status eye_siglip_sizes(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    c->vision.family = "siglip";
    c->vision.vit = (struct eye_vit_config){.hidden = 768, .n_layers = 12, .n_heads = 12, .ffn = 3072, .patch_px = 16,
                                            .side_px = 224, .patch_bias = true};
    c->prep.mode = EYE_PREP_STRETCH;
    for (int i = 0; i < 3; i++) c->prep.mean[i] = c->prep.std[i] = 0.5f;
    return read_sizes(at, "gelu_pytorch_tanh", 1e-6, c, err);
}

/* In a composition the object says what is taken as well. */
static enum eye_status read_composed(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    EYE_TRY(eye_vit_features(at, c, err));
    EYE_TRY(eye_json_bool(at, "post_norm", false, &c->vision.vit.post_norm, err));
    if (c->vision.vit.post_norm) c->vision.channels = c->vision.vit.hidden;
    return EYE_OK;
}

enum eye_status eye_clip_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    EYE_TRY(eye_clip_sizes(at, c, err));
    return read_composed(at, c, err);
}

enum eye_status eye_siglip_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    EYE_TRY(eye_siglip_sizes(at, c, err));
    return read_composed(at, c, err);
}
