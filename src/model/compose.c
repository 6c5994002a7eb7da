/* Compositions: any vision tower, projector and decoder of the registry, put together in one config.json of model_type
 * "eyelet_vlm" (doc/models/compose.md). Each part is an object whose "type" names a row of the registry; the rest of the object
 * is read by that row's own reader. Tensors have their canonical names.
 */
#include <string.h>

#include "model/registry.h"

static enum eye_status need_part(const struct eye_json_at *root, const char *key, struct eye_json_at *part, const char **type,
                                 struct eye_err *err) {
    EYE_TRY(eye_json_object(root, key, part, err));
    if (!part->v) return eye_json_fail(root, key, "missing", err);
    return eye_json_need_str(part, "type", type, NULL, err);
}

static enum eye_status read_vision(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    char known[256];
    struct eye_json_at at;
    const char *type;
    EYE_TRY(need_part(root, "vision", &at, &type, err));
    const struct eye_vision_family *f = eye_vision_family_find(type);
    if (!f)
        return eye_config_unsupported(&at, "type", err, "got \"%.64s\", supported: %s", type,
                                      eye_vision_family_list(known, sizeof known));
    c->vision.family = f->name;
    return f->read(&at, c, err);
}

static enum eye_status read_text(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    char known[256];
    struct eye_json_at at;
    const char *type;
    EYE_TRY(need_part(root, "text", &at, &type, err));
    const struct eye_text_family *f = eye_text_family_find(type);
    if (!f)
        return eye_config_unsupported(&at, "type", err, "got \"%.64s\", supported: %s", type,
                                      eye_text_family_list(known, sizeof known));
    c->text.family = f->name;
    c->text.qkv_bias = f->qkv_bias;
    EYE_TRY(f->read(&at, c, err));
    c->max_prompt_tok = c->text.max_positions;
    return EYE_OK;
}

static enum eye_status read_projector(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at at;
    const char *type;
    EYE_TRY(need_part(root, "projector", &at, &type, err));
    EYE_TRY(eye_config_projector_type(&at, "type", type, &c->projector, err));
    EYE_TRY(eye_json_int_in(&at, "shuffle", 1, EYE_MAX_SHUFFLE, 1, &c->projector.shuffle, err));
    return eye_json_bool(&at, "bias", c->projector.bias, &c->projector.bias, err);
}

static enum eye_status read_image(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    const char *position;
    EYE_TRY(eye_json_int_in(root, "image_token_id", 0, INT32_MAX, EYE_IMAGE_SENTINEL, &c->image_token, err));
    EYE_TRY(eye_json_str(root, "image_position", "template", &position, NULL, err));
    if (strcmp(position, "first") == 0) c->images_first = true;
    else if (strcmp(position, "template") != 0)
        return eye_config_unsupported(root, "image_position", err, "got \"%.64s\", supported: template, first", position);
    return EYE_OK;
}

static enum eye_status read_prompt(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    const char *text;
    size_t n;
    if (!eye_json_has(root, "prompt")) return EYE_OK;
    EYE_TRY(eye_json_need_str(root, "prompt", &text, &n, err));
    if (n >= sizeof c->prompt || strlen(text) != n)
        return eye_json_fail(root, "prompt", "expected at most 255 bytes and no NUL", err);
    memcpy(c->prompt, text, n + 1);
    c->has_prompt = true;
    return EYE_OK;
}

enum eye_status eye_compose_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at prep;
    const char *name;
    size_t n;
    c->prep.mode = EYE_PREP_CROP;
    EYE_TRY(read_vision(root, c, err));
    EYE_TRY(read_projector(root, c, err));
    EYE_TRY(read_text(root, c, err));
    EYE_TRY(read_image(root, c, err));
    EYE_TRY(read_prompt(root, c, err));
    EYE_TRY(eye_json_object(root, "preprocessing", &prep, err));
    if (prep.v) EYE_TRY(eye_config_preprocessing(&prep, &c->prep, err));
    c->template_unsaid = !eye_json_has(root, "chat_template");
    if (c->template_unsaid) return EYE_OK;
    EYE_TRY(eye_json_need_str(root, "chat_template", &name, &n, err));
    if (n >= sizeof c->own_template) return eye_json_fail(root, "chat_template", "no template has so long a name", err);
    memcpy(c->own_template, name, n + 1);
    c->chat_template = c->own_template; /* whether there is such a template is the text room's to say */
    return EYE_OK;
}
