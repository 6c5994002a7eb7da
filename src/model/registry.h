/* Registry: which families exist. Three short tables; a new architecture is one file with its functions and one row here.
 *
 *   vlm families     config.json's model_type -> how the configuration reads, names, template
 *   vision towers    pixels -> features
 *   decoders         embeddings -> hidden rows
 */
#ifndef EYE_MODEL_REGISTRY_H
#define EYE_MODEL_REGISTRY_H

#include "model/bind.h"
#include "model/config.h"

struct eye_vlm_family {
    const char *model_type;         /* config.json */
    enum eye_name_format names;     /* of a folder's tensors */
    const char *chat_template;      /* built-in template of the text room */
    bool reads_image_processor;     /* preprocessor_config.json has a say */
    /* Fills c from config.json's root: vision, projector, text, image token, preprocessing defaults. */
    enum eye_status (*read_config)(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err);
};
const struct eye_vlm_family *eye_vlm_family_find(const char *model_type); /* NULL = unknown */
/* "fast_vlm, llava_qwen2": what is supported, for error texts. Returns out. */
const char *eye_vlm_family_list(char *out, size_t cap);

struct eye_vision_family {
    const char *name;
    /* The composition's object of this type (compose.c): sizes, and the image side as prep.side_px. */
    enum eye_status (*read)(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
    /* What the image side must be a multiple of, from the tensors; 0 = nothing to be seen there. */
    int64_t (*stride)(const struct eye_binder *b);
    /* Rows of the features at a side that stride allows; NULL = (side / stride)^2. */
    int64_t (*tokens)(const struct eye_vision_config *v, int64_t side_px);
    /* pixels [N, side, side, 3] f32, normalised -> features [N n_tok, C]; N = 1 but for towers that are trained. */
    eye_val (*build)(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels);
};
const struct eye_vision_family *eye_vision_family_find(const char *name);
const char *eye_vision_family_list(char *out, size_t cap);

struct eye_text_family {
    const char *name;      /* text model_type of a Hugging Face configuration, and GGUF's general.architecture */
    bool qkv_bias;
    /* A Hugging Face configuration of it: c->text, special ids. */
    enum eye_status (*read)(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
    /* x [T, hidden] f32 -> normed hidden rows [T, hidden]; appends to one pair of states per layer. */
    eye_val (*build)(struct eye_build *m, const struct eye_text_config *t, eye_val x);
};
const struct eye_text_family *eye_text_family_find(const char *name);
const char *eye_text_family_list(char *out, size_t cap);

/* ---- what the rows point to; each in the file of its family ---- */
enum eye_status eye_fastvlm_read_apple(const struct eye_json_at *root, struct eye_vlm_config *c,
                                       struct eye_err *err); /* fastvlm.c */
enum eye_status eye_fastvlm_read_hf(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err);
enum eye_status eye_llava_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err); /* llava.c */
enum eye_status eye_text_only_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err); /* llama.c */
enum eye_status eye_smolvlm_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err); /* smolvlm.c */
enum eye_status eye_compose_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err); /* compose.c */
enum eye_status eye_fastvithd_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
int64_t eye_fastvithd_stride(const struct eye_binder *b); /* fastvithd.c */
eye_val eye_fastvithd_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels);
enum eye_status eye_mobilenetv3_read(const struct eye_json_at *at, struct eye_vlm_config *c,
                                     struct eye_err *err); /* mobilenetv3.c */
int64_t eye_mobilenetv3_stride(const struct eye_binder *b);
int64_t eye_mobilenetv3_tokens(const struct eye_vision_config *v, int64_t side_px);
eye_val eye_mobilenetv3_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels);
enum eye_status eye_clip_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err); /* vit.c */
enum eye_status eye_siglip_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
/* Without what is taken from the tower, which LLaVA's configurations say elsewhere; defaults of preprocessing as well. */
enum eye_status eye_clip_sizes(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
enum eye_status eye_siglip_sizes(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
/* vision_feature_layer, vision_feature_select_strategy. */
enum eye_status eye_vit_features(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
int64_t eye_vit_stride(const struct eye_binder *b);
int64_t eye_vit_tokens(const struct eye_vision_config *v, int64_t side_px);
eye_val eye_vit_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val pixels);
enum eye_status eye_llama_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err); /* llama.c */
enum eye_status eye_mistral_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
enum eye_status eye_gpt2_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err); /* gpt2.c */
eye_val eye_gpt2_build(struct eye_build *m, const struct eye_text_config *t, eye_val x);
eye_val eye_decoder_build(struct eye_build *m, const struct eye_text_config *t, eye_val x); /* decoder.c */

/* features [n, vision.channels] -> [n, text.hidden]; projector.c */
eye_val eye_projector_build(struct eye_build *m, const struct eye_vlm_config *c, eye_val features);
/* features [N n, C] of N square maps -> [N n / s^2, s^2 C]; the end of VISION where projector.shuffle asks for it; projector.c
 */
eye_val eye_pixel_shuffle(struct eye_build *m, eye_val x, int64_t n_images, int64_t s);

#endif
