/* FastVLM's two configurations: Apple's own (model_type llava_qwen2, flat) and transformers' (fast_vlm, nested). The networks
 * are the same, FastViTHD + mlp2x_gelu + Qwen2; they differ in names, in the default preprocessing and in how the prompt marks
 * the image. See doc/models/fastvlm.md.
 */
#include <stdlib.h>
#include <string.h>

#include "model/registry.h"

/* "mobileclip_l_1024", perhaps behind a path: the number is the image side. */
static enum eye_status read_tower(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    static const char prefix[] = "mobileclip_l_";
    const char *tower;
    char *end;
    EYE_TRY(eye_json_need_str(root, "mm_vision_tower", &tower, NULL, err));
    const char *base = strrchr(tower, '/');
    base = base ? base + 1 : tower;
    if (strncmp(base, prefix, sizeof prefix - 1) != 0)
        return eye_config_unsupported(root, "mm_vision_tower", err, "got \"%.64s\", supported: \"%s<image side>\"", tower,
                                      prefix);
    base += sizeof prefix - 1;
    long side = strtol(base, &end, 10);
    if (end == base || *end || *base < '1' || *base > '9' || side < 1 || side > EYE_MAX_SIDE_PX)
        return eye_json_fail(root, "mm_vision_tower", "no usable image side at its end", err);
    c->prep.side_px = side;
    c->vision.family = "fastvithd";
    return eye_json_need_int(root, "mm_hidden_size", 1, EYE_MAX_HIDDEN, &c->vision.channels, err);
}

enum eye_status eye_fastvlm_read_apple(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    const char *s;
    bool on;
    EYE_TRY(read_tower(root, c, err));
    EYE_TRY(eye_json_str(root, "image_aspect_ratio", "square", &s, NULL, err));
    if (strcmp(s, "pad") == 0) c->prep.mode = EYE_PREP_PAD;
    else if (strcmp(s, "square") == 0) c->prep.mode = EYE_PREP_CROP;
    else return eye_config_unsupported(root, "image_aspect_ratio", err, "got \"%.64s\", supported: pad, square", s);
    EYE_TRY(eye_config_want(root, "mm_patch_merge_type", "flat", "flat", err));
    EYE_TRY(eye_json_bool(root, "mm_use_im_start_end", false, &on, err));
    if (on) return eye_config_unsupported(root, "mm_use_im_start_end", err, "got true, supported: false");
    EYE_TRY(eye_json_str(root, "mm_projector_type", "linear", &s, NULL, err));
    EYE_TRY(eye_config_projector_type(root, "mm_projector_type", s, &c->projector, err));
    c->text.family = "qwen2";
    c->text.qkv_bias = true;
    EYE_TRY(eye_config_text(root, c, err));
    EYE_TRY(eye_json_int_in(root, "tokenizer_model_max_length", 1, EYE_MAX_POSITIONS, c->text.max_positions, &c->max_prompt_tok,
                            err));
    c->max_prompt_tok = EYE_MIN(c->max_prompt_tok, c->text.max_positions);
    c->image_token = EYE_IMAGE_SENTINEL;
    return EYE_OK;
}

/* layers and embed_dims of timm's model_args: optional, and only a cross-check, since the tensors say it as well. */
static enum eye_status read_timm(const struct eye_json_at *root, struct eye_vision_config *v, struct eye_err *err) {
    struct eye_json_at vision, args;
    size_t n_depth, n_width;
    EYE_TRY(eye_json_object(root, "vision_config", &vision, err));
    if (!vision.v) return eye_json_fail(root, "vision_config", "missing", err);
    EYE_TRY(eye_config_want(&vision, "model_type", "timm_wrapper", "timm_wrapper", err));
    EYE_TRY(eye_config_want(&vision, "architecture", "fastvit_mci3", "fastvit_mci3", err));
    v->family = "fastvithd";
    EYE_TRY(eye_json_int_in(&vision, "num_features", 1, EYE_MAX_HIDDEN, 0, &v->channels, err));
    EYE_TRY(eye_json_int_in(&vision, "hidden_size", 1, EYE_MAX_HIDDEN, v->channels, &v->channels, err));
    EYE_TRY(eye_json_object(&vision, "model_args", &args, err));
    if (!args.v) return EYE_OK;
    EYE_TRY(eye_json_ints(&args, "layers", v->depth, EYE_MAX_STAGES, &n_depth, err));
    EYE_TRY(eye_json_ints(&args, "embed_dims", v->width, EYE_MAX_STAGES, &n_width, err));
    if (n_depth && n_width && n_depth != n_width)
        return eye_json_fail(&args, "embed_dims", "its length differs from that of layers", err);
    v->n_stages = (int64_t)EYE_MAX(n_depth, n_width);
    return EYE_OK;
}

enum eye_status eye_fastvlm_read_hf(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at text;
    int64_t n;
    EYE_TRY(read_timm(root, &c->vision, err));
    EYE_TRY(eye_json_int(root, "vision_feature_layer", -1, &n, err));
    if (n != -1) return eye_config_unsupported(root, "vision_feature_layer", err, "got %lld, supported: -1", (long long)n);
    EYE_TRY(eye_config_want(root, "vision_feature_select_strategy", "full", "full", err));
    EYE_TRY(eye_config_want(root, "projector_hidden_act", "gelu", "gelu", err));
    c->projector.n_linear = 2;
    EYE_TRY(eye_json_bool(root, "multimodal_projector_bias", true, &c->projector.bias, err));
    /* The side follows from the number of image tokens, (side / 64)^2; preprocessor_config.json, read later, outranks it. */
    EYE_TRY(eye_json_int_in(root, "image_seq_length", 1, (EYE_MAX_SIDE_PX / 64) * (EYE_MAX_SIDE_PX / 64), 0, &n, err));
    for (int64_t i = 1; i * i <= n; i++)
        if (i * i == n) c->prep.side_px = 64 * i;
    c->prep.mode = EYE_PREP_CROP;
    EYE_TRY(eye_json_object(root, "text_config", &text, err));
    if (!text.v) return eye_json_fail(root, "text_config", "missing", err);
    EYE_TRY(eye_config_text_part(&text, "qwen2", c, err));
    EYE_TRY(eye_config_tie(root, &c->text.tie, err)); /* the outer flag is the one transformers acts on */
    EYE_TRY(eye_json_int_in(root, "image_token_id", 0, INT32_MAX, -1, &n, err));
    return eye_json_int_in(root, "image_token_index", 0, INT32_MAX, n >= 0 ? n : 151646, &c->image_token, err);
}
