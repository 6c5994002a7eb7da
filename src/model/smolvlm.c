/* Idefics3 and SmolVLM (SmolVLM2 is the same network): a SigLIP tower that sees tiles of the image and the image in small,
 * pixel shuffle, one linear, Llama. Both model_types have one configuration and one set of names. See doc/models/smolvlm.md.
 */
#include "model/registry.h"

/* Idefics3 numbers positions by fractions of the side, i/n sorted into bins of 1/n, in float32. For these n some row or column
 * falls into its neighbour's bin, and which one depends on how the sum is rounded: not ours to guess. Published models have 26,
 * 27, 32. */
static bool positions_are_plain(int64_t n) {
    static const uint8_t shifted[] = {19, 25, 29, 31, 38, 40, 41, 43, 47, 49, 50, 54, 55, 58, 59, 61, 62};
    for (size_t i = 0; i < sizeof shifted; i++)
        if (n == shifted[i]) return false;
    return n <= 64;
}

static enum eye_status read_vision(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_vit_config *v = &c->vision.vit;
    struct eye_json_at at;
    int64_t s;
    EYE_TRY(eye_json_object(root, "vision_config", &at, err));
    if (!at.v) return eye_json_fail(root, "vision_config", "missing", err);
    EYE_TRY(eye_siglip_sizes(&at, c, err));
    /* Three defaults of Idefics3's own. */
    EYE_TRY(eye_json_int_in(&at, "hidden_size", 1, EYE_MAX_HIDDEN, 1152, &v->hidden, err));
    EYE_TRY(eye_json_int_in(&at, "num_attention_heads", 1, EYE_MAX_HEADS, 16, &v->n_heads, err));
    EYE_TRY(eye_json_int_in(&at, "patch_size", 1, 64, 32, &v->patch_px, err));
    if (v->hidden % v->n_heads != 0 || v->hidden / v->n_heads > EYE_MAX_HEAD_DIM)
        return eye_json_fail(&at, "hidden_size", "expected a multiple of num_attention_heads, with heads of at most 1024", err);
    if (v->side_px < v->patch_px) return eye_json_fail(&at, "image_size", "less than patch_size", err);
    if (!positions_are_plain(v->side_px / v->patch_px))
        return eye_config_unsupported(&at, "image_size", err,
                                      "%lld patches across: its positions are not in order there (doc/models/smolvlm.md)",
                                      (long long)(v->side_px / v->patch_px));
    v->post_norm = true;
    EYE_TRY(eye_json_int_in(root, "scale_factor", 1, EYE_MAX_SHUFFLE, 2, &s, err));
    c->projector.shuffle = s;
    c->projector.n_linear = 1;
    c->vision.channels = v->hidden * s * s;
    return EYE_OK;
}

enum eye_status eye_smolvlm_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_json_at text;
    EYE_TRY(read_vision(root, c, err));
    c->prep.filter = EYE_PREP_LANCZOS;
    c->prep.tiles.longest_px = EYE_MIN(4 * c->prep.side_px, EYE_MAX_LONGEST_PX);
    c->prep.tiles.split = true;
    c->tile_text = (struct eye_tile_text){
        .tile = {"<fake_token_around_image><row_", "_col_", ">"}, .row_end = "\n",
        .whole = "\n<fake_token_around_image><global-img>",
        .alone = "<fake_token_around_image><global-img>", .end = "<fake_token_around_image>"};
    EYE_TRY(eye_json_object(root, "text_config", &text, err));
    if (!text.v) return eye_json_fail(root, "text_config", "missing", err);
    EYE_TRY(eye_config_text_part(&text, "llama", c, err));
    EYE_TRY(eye_config_tie(root, &c->text.tie, err)); /* the outer flag is the one transformers acts on */
    return eye_json_int_in(root, "image_token_id", 0, INT32_MAX, 128257, &c->image_token, err);
}
