/* Llama's and Mistral's configurations, and folders that hold a decoder alone. The network is decoder.c's; sizes that a
 * configuration leaves out are transformers' defaults (LLaVA-1.5's text_config names three of them).
 */
#include "model/registry.h"

static enum eye_status read_biases(const struct eye_json_at *at, struct eye_text_config *t, struct eye_err *err) {
    EYE_TRY(eye_json_bool(at, "attention_bias", false, &t->qkv_bias, err));
    t->output_bias = t->qkv_bias;
    return eye_json_bool(at, "mlp_bias", false, &t->ffn_bias, err);
}

enum eye_status eye_llama_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_text_config *t = &c->text;
    t->hidden = 4096;
    t->n_layers = t->n_heads = 32;
    t->ffn = 11008;
    t->vocab = 32000;
    t->max_positions = 2048;
    c->bos = 1;
    EYE_TRY(eye_config_text(at, c, err));
    if (t->tie == EYE_UNSAID) t->tie = EYE_FALSE;
    if (c->n_eos == 0) c->eos[c->n_eos++] = 2;
    return read_biases(at, t, err);
}

/* A window as long as the context masks nothing. */
enum eye_status eye_mistral_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    int64_t window = 0;
    if (!eye_json_has(at, "num_key_value_heads")) return eye_json_fail(at, "num_key_value_heads", "missing", err);
    EYE_TRY(eye_config_text(at, c, err));
    c->text.family = "llama"; /* the same network; GGUF has no other name for it */
    EYE_TRY(eye_json_int(at, "sliding_window", 0, &window, err));
    if (window > 0 && window < c->text.max_positions)
        return eye_config_unsupported(at, "sliding_window", err,
                                      "got %lld, supported: null, or max_position_embeddings and more", (long long)window);
    return EYE_OK;
}

enum eye_status eye_text_only_read(const struct eye_json_at *root, struct eye_vlm_config *c, struct eye_err *err) {
    c->image_token = EYE_IMAGE_SENTINEL;
    c->template_unsaid = true; /* the network does not say what its fine-tuning was */
    return eye_config_text_part(root, "", c, err);
}
