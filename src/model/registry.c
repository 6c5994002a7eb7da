/* The registry's tables. */
#include "model/registry.h"

#include <stdio.h>
#include <string.h>

static const struct eye_vlm_family vlm_family[] = {
    {"fast_vlm", EYE_NAMES_HF, "qwen2", true, eye_fastvlm_read_hf},
    {"llava_qwen2", EYE_NAMES_APPLE, "qwen2", false, eye_fastvlm_read_apple},
    {"llava", EYE_NAMES_HF, "llava", true, eye_llava_read},
    {"llava_llama", EYE_NAMES_APPLE, "vicuna", false, eye_llava_read},
    {"qwen2", EYE_NAMES_APPLE, "qwen2", false, eye_text_only_read},
    {"llama", EYE_NAMES_APPLE, "raw", false, eye_text_only_read},
    {"mistral", EYE_NAMES_APPLE, "raw", false, eye_text_only_read},
    {"gpt2", EYE_NAMES_GPT2, "raw", false, eye_text_only_read},
    {"smolvlm", EYE_NAMES_IDEFICS, "smolvlm", true, eye_smolvlm_read},
    {"idefics3", EYE_NAMES_IDEFICS, "smolvlm", true, eye_smolvlm_read},
    {"eyelet_vlm", EYE_NAMES_GGUF, "raw", false, eye_compose_read},
};

static const struct eye_vision_family vision_family[] = {
    {"fastvithd", eye_fastvithd_read, eye_fastvithd_stride, NULL, eye_fastvithd_build},
    {"clip", eye_clip_read, eye_vit_stride, eye_vit_tokens, eye_vit_build},
    {"siglip", eye_siglip_read, eye_vit_stride, eye_vit_tokens, eye_vit_build},
    {"mobilenetv3", eye_mobilenetv3_read, eye_mobilenetv3_stride, eye_mobilenetv3_tokens, eye_mobilenetv3_build},
};

static const struct eye_text_family text_family[] = {
    {"qwen2", true, eye_config_text, eye_decoder_build},
    {"llama", false, eye_llama_read, eye_decoder_build},
    {"mistral", false, eye_mistral_read, eye_decoder_build},
    {"gpt2", true, eye_gpt2_read, eye_gpt2_build},
};

const struct eye_vlm_family *eye_vlm_family_find(const char *model_type) {
    for (size_t i = 0; i < EYE_COUNT(vlm_family); i++)
        if (strcmp(vlm_family[i].model_type, model_type) == 0) return &vlm_family[i];
    return NULL;
}

const struct eye_vision_family *eye_vision_family_find(const char *name) {
    for (size_t i = 0; i < EYE_COUNT(vision_family); i++)
        if (strcmp(vision_family[i].name, name) == 0) return &vision_family[i];
    return NULL;
}

const struct eye_text_family *eye_text_family_find(const char *name) {
    for (size_t i = 0; i < EYE_COUNT(text_family); i++)
        if (strcmp(text_family[i].name, name) == 0) return &text_family[i];
    return NULL;
}

static void list_add(char *out, size_t cap, const char *name) {
    size_t n = strlen(out);
    snprintf(out + n, cap - n, "%s%s", n ? ", " : "", name);
}

const char *eye_vlm_family_list(char *out, size_t cap) {
    out[0] = '\0';
    for (size_t i = 0; i < EYE_COUNT(vlm_family); i++) list_add(out, cap, vlm_family[i].model_type);
    return out;
}

const char *eye_vision_family_list(char *out, size_t cap) {
    out[0] = '\0';
    for (size_t i = 0; i < EYE_COUNT(vision_family); i++) list_add(out, cap, vision_family[i].name);
    return out;
}

const char *eye_text_family_list(char *out, size_t cap) {
    out[0] = '\0';
    for (size_t i = 0; i < EYE_COUNT(text_family); i++) list_add(out, cap, text_family[i].name);
    return out;
}
