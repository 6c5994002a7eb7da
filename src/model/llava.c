/* LLaVA-1.5's two configurations: transformers' (nested: vision_config, text_config) and the original one (flat, mm_* keys, the
 * tower named by its repository). The network is a CLIP or SigLIP tower, a projector and any decoder of the registry. See
 * doc/models/llava.md.
 */
#include <stdio.h>
#include <string.h>

#include "model/registry.h"

static enum eye_status read_tower(const struct eye_json_at *vision, struct eye_vlm_config *c, struct eye_err *err) {
    const char *type;
    EYE_TRY(eye_json_str(vision, "model_type", "clip_vision_model", &type, NULL, err));
    if (strcmp(type, "clip_vision_model") == 0) return eye_clip_sizes(vision, c, err);
    if (strcmp(type, "siglip_vision_model") == 0) return eye_siglip_sizes(vision, c, err);
    return eye_config_unsupported(vision, "model_type", err, "got \"%.64s\", supported: clip_vision_model, siglip_vision_model",
                                  type);
}

/* The prompt's form goes with the decoder it was tuned on; the registry's row has Vicuna's. */
static void choose_template(struct eye_vlm_config *c, const char *text_type) {
    if (strcmp(text_type, "qwen2") == 0) c->chat_template = "chatml";
    if (strcmp(text_type, "qwen2") == 0 || strcmp(text_type, "llama") == 0) return;
    c->chat_template = "raw";
    c->template_unsaid = true;
}

/* ---- transformers ---- */

static enum eye_status read_hf(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at vision, text;
    const char *text_type;
    int64_t n;
    EYE_TRY(eye_json_object(root, "vision_config", &vision, err));
    if (!vision.v) return eye_json_fail(root, "vision_config", "missing", err);
    EYE_TRY(eye_json_object(root, "text_config", &text, err));
    if (!text.v) return eye_json_fail(root, "text_config", "missing", err);
    c->prep.mode = EYE_PREP_CROP;
    EYE_TRY(read_tower(&vision, c, err));
    EYE_TRY(eye_vit_features(root, c, err));
    c->projector.n_linear = 2;
    EYE_TRY(eye_config_act(root, "projector_hidden_act", "gelu", &c->projector.act, err));
    EYE_TRY(eye_json_bool(root, "multimodal_projector_bias", true, &c->projector.bias, err));
    EYE_TRY(eye_config_text_part(&text, "llama", c, err));
    EYE_TRY(eye_json_str(&text, "model_type", "llama", &text_type, NULL, err));
    choose_template(c, text_type);
    EYE_TRY(eye_config_tie(root, &c->text.tie, err)); /* the outer flag is the one transformers acts on */
    EYE_TRY(eye_json_int_in(root, "image_token_id", 0, INT32_MAX, 32000, &n, err));
    return eye_json_int_in(root, "image_token_index", 0, INT32_MAX, n, &c->image_token, err);
}

/* ---- the original ---- */

struct known_tower {
    const char *name; /* the end of mm_vision_tower */
    bool siglip;
    int hidden, n_layers, n_heads, ffn, patch, side;
};
static const struct known_tower known_tower[] = {
    {"clip-vit-large-patch14-336", false, 1024, 24, 16, 4096, 14, 336},
    {"clip-vit-large-patch14", false, 1024, 24, 16, 4096, 14, 224},
    {"clip-vit-base-patch16", false, 768, 12, 12, 3072, 16, 224},
    {"clip-vit-base-patch32", false, 768, 12, 12, 3072, 32, 224},
    {"siglip-so400m-patch14-384", true, 1152, 27, 16, 4304, 14, 384},
};

/* Sizes of a tower by its repository's name, unless a vision_config says them. */
static enum eye_status read_named_tower(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at vision, none = {.where = root->where};
    const char *name;
    EYE_TRY(eye_json_need_str(root, "mm_vision_tower", &name, NULL, err));
    EYE_TRY(eye_json_object(root, "vision_config", &vision, err));
    if (vision.v) {
        EYE_TRY(read_tower(&vision, c, err));
    } else {
        const char *base = strrchr(name, '/');
        const struct known_tower *t = known_tower, *end = known_tower + EYE_COUNT(known_tower);
        base = base ? base + 1 : name;
        while (t < end && strcmp(base, t->name) != 0) t++;
        if (t == end)
            return eye_config_unsupported(root, "mm_vision_tower", err,
                                          "got \"%.64s\"; known: OpenAI's CLIP (clip-vit-large-patch14-336, …) and "
                                          "siglip-so400m-patch14-384; add a vision_config for others", name);
        EYE_TRY(t->siglip ? eye_siglip_sizes(&none, c, err) : eye_clip_sizes(&none, c, err));
        struct eye_vit_config *v = &c->vision.vit;
        v->hidden = t->hidden;
        v->n_layers = t->n_layers;
        v->n_heads = t->n_heads;
        v->ffn = t->ffn;
        v->patch_px = t->patch;
        v->side_px = c->prep.side_px = t->side;
    }
    snprintf(c->vision.vit.origin, sizeof c->vision.vit.origin, "%s", name);
    return EYE_OK;
}

static enum eye_status read_selection(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_vit_config *v = &c->vision.vit;
    const char *s;
    int64_t n;
    EYE_TRY(eye_json_int(root, "mm_vision_select_layer", -2, &n, err));
    if (n < 0) n += v->n_layers + 1;
    if (n < 0 || n > v->n_layers) return eye_json_fail(root, "mm_vision_select_layer", "no such layer in the tower", err);
    v->tap[0] = n;
    v->n_taps = 1;
    c->vision.channels = v->hidden;
    EYE_TRY(eye_json_str(root, "mm_vision_select_feature", "patch", &s, NULL, err));
    if (strcmp(s, "patch") != 0 && strcmp(s, "cls_patch") != 0)
        return eye_config_unsupported(root, "mm_vision_select_feature", err, "got \"%.64s\", supported: patch, cls_patch", s);
    v->drop_class = v->class_row && strcmp(s, "patch") == 0;
    return EYE_OK;
}

static enum eye_status read_original(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    const char *s;
    bool on;
    c->names = EYE_NAMES_APPLE;
    c->chat_template = "vicuna";
    EYE_TRY(read_named_tower(root, c, err));
    EYE_TRY(read_selection(root, c, err));
    EYE_TRY(eye_json_str(root, "image_aspect_ratio", "square", &s, NULL, err));
    if (strcmp(s, "pad") == 0) c->prep.mode = EYE_PREP_PAD;
    else if (strcmp(s, "square") != 0)
        return eye_config_unsupported(root, "image_aspect_ratio", err, "got \"%.64s\", supported: pad, square", s);
    else if (c->vision.vit.class_row) c->prep.mode = EYE_PREP_CROP; /* what CLIP's own processor does */
    EYE_TRY(eye_config_want(root, "mm_patch_merge_type", "flat", "flat", err));
    EYE_TRY(eye_json_bool(root, "mm_use_im_start_end", false, &on, err));
    if (on) return eye_config_unsupported(root, "mm_use_im_start_end", err, "got true, supported: false");
    EYE_TRY(eye_json_str(root, "mm_projector_type", "linear", &s, NULL, err));
    EYE_TRY(eye_config_projector_type(root, "mm_projector_type", s, &c->projector, err));
    c->text.family = "llama";
    EYE_TRY(eye_llama_read(root, c, err));
    c->max_prompt_tok = c->text.max_positions;
    c->image_token = EYE_IMAGE_SENTINEL;
    return EYE_OK;
}

/* Both call themselves "llava"; only the original names its tower. */
enum eye_status eye_llava_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    return eye_json_has(root, "mm_vision_tower") ? read_original(root, c, err) : read_hf(root, c, err);
}
