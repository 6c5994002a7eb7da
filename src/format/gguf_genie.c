/* format/gguf_genie: see gguf_genie.h. */
#include "format/gguf_genie.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

const struct eye_genie_word eye_genie_words[] = {
    {"model.architecture.connector", "sequential_pre_layer_normalization"},
    {"model.architecture.gating", "gated"},
    {"model.operation.normalization", "RMS-norm"},
    {"model.operation.activation", "SiLU"},
    {"model.operation.positional_embedding", "RoPE"},
    {"model.operation.attention_mode", "causal"},
    {"model.operation.rope_complex_organization", "SoA"},
};
const size_t eye_genie_n_words = EYE_COUNT(eye_genie_words);

struct source {
    const struct eye_gguf *g;
    char arch[32];
    struct eye_err *err;
};

/* The words, and what would change the network in ways that are not run. */
static enum eye_status check_network(const struct source *s) {
    static const char *const variants[] = {"model.operation.rope.scaling.factor.short",
                                           "model.operation.rope.scaling.factor.long",
                                           "model.operation.rope.scaling.attn_factor", "model.operation.wpe_offset",
                                           "model.lora.alpha"};
    for (size_t i = 0; i < eye_genie_n_words; i++) {
        const struct eye_genie_word *w = &eye_genie_words[i];
        struct eye_str got;
        EYE_TRY(eye_gguf_str(s->g, w->key, &got, s->err));
        if (got.p && !(got.len == strlen(w->value) && memcmp(got.p, w->value, got.len) == 0))
            return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: got \"%.*s\", supported: %s", w->key, (int)EYE_MIN(got.len, 64),
                            got.p,
                            w->value);
    }
    for (size_t i = 0; i < EYE_COUNT(variants); i++)
        if (eye_gguf_find(s->g, variants[i]))
            return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: got a value, supported: none", variants[i]);
    if (eye_table_find(&s->g->table, "token_embd_pos.weight") || eye_table_find(&s->g->table, "blk.0.attn_q_norm.weight"))
        return eye_fail(s->err, EYE_E_UNSUPPORTED, "token_embd_pos or attn_q_norm: got learned positions or normed queries, "
                        "supported: neither");
    return EYE_OK;
}

static enum eye_status size_of(const struct source *s, const char *key, int64_t def, int64_t *out) {
    char full[96];
    snprintf(full, sizeof full, "%s.%s", s->arch, key);
    EYE_TRY(eye_gguf_int(s->g, full, def, out, s->err));
    return *out > 0 ? EYE_OK : eye_fail(s->err, EYE_E_CORRUPT, "%s: expected a number above 0, got %lld", full,
                                        (long long)*out);
}

static enum eye_status put_sizes(const struct source *s, json_t *o) {
    static const struct { const char *member, *key; } sizes[] = {
        {"hidden_size", "embedding_length"}, {"num_hidden_layers", "block_count"}, {"intermediate_size", "feed_forward_length"},
        {"max_position_embeddings", "context_length"}};
    int64_t v, heads, kv_heads, hidden, head_dim, rotary;
    for (size_t i = 0; i < EYE_COUNT(sizes); i++) {
        EYE_TRY(size_of(s, sizes[i].key, 0, &v));
        json_object_set_new(o, sizes[i].member, json_integer(v));
    }
    EYE_TRY(size_of(s, "embedding_length", 0, &hidden));
    EYE_TRY(size_of(s, "attention.head_count", 0, &heads));
    EYE_TRY(size_of(s, "attention.head_count_kv", heads, &kv_heads));
    EYE_TRY(size_of(s, "embedding_per_head", EYE_MAX(hidden / heads, 1), &head_dim));
    EYE_TRY(size_of(s, "rope.dimension_count", head_dim, &rotary));
    if (rotary != head_dim)
        return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s.rope.dimension_count: got %lld, supported: all %lld of a head", s->arch,
                        (long long)rotary, (long long)head_dim);
    json_object_set_new(o, "num_attention_heads", json_integer(heads));
    json_object_set_new(o, "num_key_value_heads", json_integer(kv_heads));
    json_object_set_new(o, "head_dim", json_integer(head_dim));
    return EYE_OK;
}

static enum eye_status put_number(const struct source *s, json_t *o, const char *member, const char *key, double def) {
    double v;
    EYE_TRY(eye_gguf_double(s->g, key, def, &v, s->err));
    if (!isfinite(v)) return eye_fail(s->err, EYE_E_CORRUPT, "%s is no finite number", key);
    json_object_set_new(o, member, json_real(v));
    return EYE_OK;
}

static enum eye_status config(const struct source *s, json_t *o) {
    const struct eye_table *t = &s->g->table;
    const struct eye_entry *embedding = eye_table_find(t, "token_embd.weight");
    bool q = eye_table_find(t, "blk.0.attn_q.bias") != NULL, all = eye_table_find(t, "blk.0.attn_output.bias") != NULL;
    char theta[96];
    if (!embedding || embedding->t.rank != 2) return eye_fail(s->err, EYE_E_CORRUPT, "no matrix token_embd.weight");
    EYE_TRY(check_network(s));
    /* Biases on q, k and v alone are Qwen2's; on all four or none, Llama's. */
    json_object_set_new(o, "model_type", json_string(q && !all ? "qwen2" : "llama"));
    json_object_set_new(o, "attention_bias", json_boolean(q && all));
    json_object_set_new(o, "mlp_bias", json_boolean(eye_table_find(t, "blk.0.ffn_gate.bias") != NULL));
    EYE_TRY(put_sizes(s, o));
    snprintf(theta, sizeof theta, "%s.rope.freq_base", s->arch);
    EYE_TRY(put_number(s, o, "rope_theta", theta, 10000));
    EYE_TRY(put_number(s, o, "rms_norm_eps", "model.operation.normalization_epsilon", 1e-6));
    json_object_set_new(o, "vocab_size", json_integer(embedding->t.dims[0]));
    json_object_set_new(o, "tie_word_embeddings", json_boolean(!eye_table_find(t, "output.weight")));
    json_object_set_new(o, "bos_token_id", json_null());
    json_object_set_new(o, "eos_token_id", json_array());
    return EYE_OK;
}

enum eye_status eye_gguf_genie_config(const struct eye_gguf *g, struct eye_arena *arena, struct eye_str *out,
                                      struct eye_err *err) {
    struct source s = {.g = g, .err = err};
    struct eye_str arch;
    EYE_TRY(eye_gguf_str(g, "general.architecture", &arch, err));
    if (!arch.p || arch.len == 0 || arch.len >= sizeof s.arch)
        return eye_fail(err, EYE_E_CORRUPT, "general.architecture: expected 1 to %zu bytes, got %zu", sizeof s.arch - 1,
                        arch.p ? arch.len : 0);
    memcpy(s.arch, arch.p, arch.len);
    if (strlen(s.arch) != arch.len) return eye_fail(err, EYE_E_CORRUPT, "general.architecture holds a NUL byte");
    json_t *o = json_object();
    enum eye_status st = config(&s, o);
    if (st == EYE_OK) st = eye_json_text(o, arena, out, err);
    json_decref(o);
    return st;
}
