/* The decoder of Qwen2, Llama and Mistral: pre-norm, GQA with RoPE, SwiGLU; they differ in biases. x [T, C] f32.
 *
 *   h = rms_norm(x);  q, k, v = linears of h;  q, k turned by RoPE at past + t
 *   x = x + o(attention(q, k, v over the cache, causal, scale D^-1/2))
 *   x = x + down(silu(gate(rms_norm(x))) * up(rms_norm(x)))
 *
 * RoPE pairs element i with i + D/2 (Hugging Face's half split). Query head h reads KV head h / (H / Hkv). Image rows are
 * ordinary rows: one causal mask and one row of positions over text and image. Sources: arXiv 2407.10671 (Qwen2), 2302.13971
 * (Llama), 2310.06825 (Mistral), 2104.09864 (RoPE), 2305.13245 (GQA).
 */
#include <math.h>
#include <stdio.h>

#include "model/registry.h"

/* x W^T (+ b): the layer's tensor NAME, [rows, columns]. */
static eye_val linear(struct eye_build *m, eye_val x, int64_t layer, const char *name, int64_t rows, bool bias) {
    eye_val w = eye_build_weight(m, EYE_SHAPE(rows, eye_dim(m->g, x, -1)), "blk.%lld.%s.weight", (long long)layer, name),
            b = EYE_NONE;
    if (bias) b = eye_build_vector(m, rows, "blk.%lld.%s.bias", (long long)layer, name);
    return eye_linear(m->g, x, w, b);
}

static eye_val heads(struct eye_build *m, eye_val x, int64_t n, int64_t d) {
    return eye_reshape(m->g, x, 3, (int64_t[]){EYE_DIM_T, n, d});
}

/* Tells how the rows behind y = linear(x) are stored: a file of llama.cpp's order. */
static void rows_in_pairs(struct eye_graph *g, eye_val y, int64_t d) {
    if (y == EYE_NONE) return;
    const struct eye_node *n = &g->node[g->value[y].node];
    for (int i = 1; i < n->n_in; i++)
        if (n->in[i] != EYE_NONE) g->value[n->in[i]].pair_rows = (int32_t)d;
}

static eye_val self_attention(struct eye_build *m, const struct eye_text_config *t, eye_val x, int64_t i) {
    struct eye_graph *g = m->g;
    char name[32];
    int64_t d = t->head_dim;
    eye_val q = linear(m, x, i, "attn_q", t->n_heads * d, t->qkv_bias);
    eye_val k = linear(m, x, i, "attn_k", t->n_kv_heads * d, t->qkv_bias);
    if (t->rope_pairs) {
        rows_in_pairs(g, q, d);
        rows_in_pairs(g, k, d);
    }
    q = heads(m, q, t->n_heads, d);
    k = heads(m, k, t->n_kv_heads, d);
    eye_val v = heads(m, linear(m, x, i, "attn_v", t->n_kv_heads * d, t->qkv_bias), t->n_kv_heads, d);
    snprintf(name, sizeof name, "k_cache.%lld", (long long)i);
    eye_val k_cache = eye_state(g, name, t->n_kv_heads, d);
    name[0] = 'v';
    eye_val v_cache = eye_state(g, name, t->n_kv_heads, d);
    q = eye_rope(g, q, t->rope_theta);
    k = eye_rope(g, k, t->rope_theta);
    x = eye_attention(g, q, k, v, k_cache, v_cache, (float)(1 / sqrt((double)d)), true);
    return linear(m, x, i, "attn_output", t->hidden, t->output_bias);
}

static eye_val swiglu(struct eye_build *m, const struct eye_text_config *t, eye_val x, int64_t i) {
    eye_val gate = eye_act(m->g, linear(m, x, i, "ffn_gate", t->ffn, t->ffn_bias), EYE_ACT_SILU);
    eye_val up = linear(m, x, i, "ffn_up", t->ffn, t->ffn_bias);
    return linear(m, eye_mul(m->g, gate, up), i, "ffn_down", t->hidden, t->ffn_bias);
}

static eye_val norm(struct eye_build *m, const struct eye_text_config *t, eye_val x, int64_t i, const char *name) {
    return eye_rms_norm(m->g, x, eye_build_vector(m, t->hidden, "blk.%lld.%s.weight", (long long)i, name), t->rms_eps);
}

eye_val eye_decoder_build(struct eye_build *m, const struct eye_text_config *t, eye_val x) {
    for (int64_t i = 0; i < t->n_layers; i++) {
        long long n = (long long)i;
        eye_val a = self_attention(m, t, norm(m, t, x, i, "attn_norm"), i);
        x = eye_add(m->g, x, eye_tap(m->g, a, "t.layer%lld.attn", n));
        eye_val f = swiglu(m, t, norm(m, t, x, i, "ffn_norm"), i);
        x = eye_tap(m->g, eye_add(m->g, x, eye_tap(m->g, f, "t.layer%lld.mlp", n)), "t.layer%lld", n);
    }
    x = eye_rms_norm(m->g, x, eye_build_vector(m, t->hidden, "output_norm.weight"), t->rms_eps);
    return eye_tap(m->g, x, "t.norm");
}
