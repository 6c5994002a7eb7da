/* The decoder of GPT-2: learned positions, LayerNorms with bias, fused q, k, v, GELU by tanh. x [T, C] f32.
 *
 *   x = x + positions[past + t]
 *   x = x + o(attention(q, k, v of layer_norm(x), over the cache, causal, scale D^-1/2))
 *   x = x + down(gelu_tanh(up(layer_norm(x))))
 *
 * Image rows are ordinary rows and have positions as well. Source: openai/gpt-2's model.py. Trap: its own checkpoints and
 * transformers' (Conv1D) store matrices as [in, out]; GGUF files and compositions (doc/models/compose.md) as [out, in].
 */
#include <math.h>
#include <stdio.h>

#include "model/registry.h"

static eye_val linear(struct eye_build *m, eye_val x, int64_t layer, const char *name, int64_t rows) {
    long long n = (long long)layer;
    struct eye_shape shape = EYE_SHAPE(rows, eye_dim(m->g, x, -1));
    eye_val w = m->b->format == EYE_NAMES_GPT2 ? eye_build_transposed(m, shape, "blk.%lld.%s.weight", n, name)
                                               : eye_build_weight(m, shape, "blk.%lld.%s.weight", n, name);
    return eye_linear(m->g, x, w, eye_build_vector(m, rows, "blk.%lld.%s.bias", n, name));
}

static eye_val norm(struct eye_build *m, const struct eye_text_config *t, eye_val x, const char *name) {
    eye_val w = eye_build_vector(m, t->hidden, "%s.weight", name), b = eye_build_vector(m, t->hidden, "%s.bias", name);
    return eye_layer_norm(m->g, x, w, b, t->rms_eps);
}

static eye_val self_attention(struct eye_build *m, const struct eye_text_config *t, eye_val x, int64_t i) {
    char name[32];
    eye_val qkv[3], cache[2];
    x = linear(m, x, i, "attn_qkv", 3 * t->hidden);
    for (int k = 0; k < 3; k++)
        qkv[k] = eye_reshape(m->g, eye_slice(m->g, x, 1, k * t->hidden, t->hidden), 3,
                             (int64_t[]){EYE_DIM_T, t->n_heads, t->head_dim});
    for (int k = 0; k < 2; k++) {
        snprintf(name, sizeof name, "%c_cache.%lld", "kv"[k], (long long)i);
        cache[k] = eye_state(m->g, name, t->n_heads, t->head_dim);
    }
    x = eye_attention(m->g, qkv[0], qkv[1], qkv[2], cache[0], cache[1], (float)(1 / sqrt((double)t->head_dim)), true);
    return linear(m, x, i, "attn_output", t->hidden);
}

eye_val eye_gpt2_build(struct eye_build *m, const struct eye_text_config *t, eye_val x) {
    eye_val table = eye_build_weight(m, EYE_SHAPE(t->max_positions, t->hidden), "position_embd.weight");
    x = eye_tap(m->g, eye_add(m->g, x, eye_positions(m->g, table)), "t.positions");
    for (int64_t i = 0; i < t->n_layers; i++) {
        long long n = (long long)i;
        eye_val a = self_attention(m, t, norm(m, t, x, eye_namef("blk.%lld.attn_norm", n).s), i);
        x = eye_add(m->g, x, eye_tap(m->g, a, "t.layer%lld.attn", n));
        eye_val f = linear(m, norm(m, t, x, eye_namef("blk.%lld.ffn_norm", n).s), i, "ffn_up", t->ffn);
        f = linear(m, eye_act(m->g, f, EYE_ACT_GELU_TANH), i, "ffn_down", t->hidden);
        x = eye_tap(m->g, eye_add(m->g, x, eye_tap(m->g, f, "t.layer%lld.mlp", n)), "t.layer%lld", n);
    }
    return eye_tap(m->g, norm(m, t, x, "output_norm"), "t.norm");
}

/* ---- configuration ---- */

static enum eye_status read_variants(const struct eye_json_at *at, struct eye_err *err) {
    bool on;
    EYE_TRY(eye_config_want(at, "activation_function", "gelu_new", "gelu_new", err));
    EYE_TRY(eye_json_bool(at, "scale_attn_weights", true, &on, err));
    if (!on) return eye_config_unsupported(at, "scale_attn_weights", err, "got false, supported: true");
    EYE_TRY(eye_json_bool(at, "scale_attn_by_inverse_layer_idx", false, &on, err));
    if (on) return eye_config_unsupported(at, "scale_attn_by_inverse_layer_idx", err, "got true, supported: false");
    EYE_TRY(eye_json_bool(at, "add_cross_attention", false, &on, err));
    return on ? eye_config_unsupported(at, "add_cross_attention", err, "got true, supported: false") : EYE_OK;
}

enum eye_status eye_gpt2_read(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_text_config *t = &c->text;
    double eps;
    EYE_TRY(read_variants(at, err));
    EYE_TRY(eye_json_need_int(at, "n_embd", 1, EYE_MAX_HIDDEN, &t->hidden, err));
    EYE_TRY(eye_json_need_int(at, "n_layer", 1, EYE_MAX_LAYERS, &t->n_layers, err));
    EYE_TRY(eye_json_need_int(at, "n_head", 1, EYE_MAX_HEADS, &t->n_heads, err));
    EYE_TRY(eye_json_int_in(at, "n_inner", 1, EYE_MAX_FFN, 4 * t->hidden, &t->ffn, err));
    EYE_TRY(eye_json_need_int(at, "vocab_size", 1, EYE_MAX_VOCAB, &t->vocab, err));
    EYE_TRY(eye_json_int_in(at, "embedding_rows", t->vocab, EYE_MAX_VOCAB, t->vocab, &t->embed_rows, err));
    EYE_TRY(eye_json_int_in(at, "n_positions", 1, EYE_MAX_POSITIONS, 1024, &t->max_positions, err));
    EYE_TRY(eye_config_number(at, "layer_norm_epsilon", 1e-12, 0.1, 1e-5, &eps, err));
    t->n_kv_heads = t->n_heads;
    t->rms_eps = (float)eps;
    if (t->hidden % t->n_heads != 0 || t->hidden / t->n_heads > EYE_MAX_HEAD_DIM)
        return eye_json_fail(at, "n_embd", "expected a multiple of n_head, with heads of at most 1024", err);
    t->head_dim = t->hidden / t->n_heads;
    EYE_TRY(eye_config_tie(at, &t->tie, err));
    return eye_config_ids(at, c, err);
}
