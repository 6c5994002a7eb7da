/* genie/decoder_bin: the decoder as the file that Genie's CPU backend loads, in place of qnn-genai-transformer-composer; layout
 * and keys in format/gguf_genie.h. Matrices in F32 or F16, vectors in F32, no arrays, keys in the composer's order. A tied
 * output matrix is written a second time, as the composer does. Also the configuration that makes the composer do the same. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/gguf_genie.h"
#include "format/gguf_write.h"
#include "format/json.h"
#include "genie/source.h"

static const char *const layer_tensors[] = {
    "attn_norm.weight", "attn_q.weight", "attn_q.bias", "attn_k.weight", "attn_k.bias", "attn_v.weight", "attn_v.bias",
    "attn_output.weight", "attn_output.bias", "ffn_norm.weight", "ffn_gate.weight", "ffn_gate.bias", "ffn_up.weight",
    "ffn_up.bias", "ffn_down.weight", "ffn_down.bias"};

const char *eye_genie_layer_tensor(size_t i) { return i < EYE_COUNT(layer_tensors) ? layer_tensors[i] : NULL; }

struct writer {
    struct eye_gguf_writer w;
    const struct eye_vlm *m;
    enum eye_genie_float type;
    struct eye_arena arena;
    float *row;              /* scratch, the longest */
    size_t row_elems;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};

struct item {
    struct writer *to;
    struct eye_value w;
    enum eye_dtype dtype;
};

/* A decoder of another kind has other words, which the closed backend may or may not know: better none than wrong ones. */
static enum eye_status check_family(const struct eye_vlm *m, struct eye_err *err) {
    const char *family = m->config.text.family;
    if (strcmp(family, "qwen2") == 0 || strcmp(family, "llama") == 0) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: a decoder of the family %s: Genie's decoder files are written for qwen2 and "
                    "llama",
                    m->ckpt->path, family);
}

/* ---- keys ---- */

static enum eye_status put_u32(struct writer *t, const char *key, int64_t v, struct eye_err *err) {
    return eye_gguf_put_int(&t->w, key, EYE_GGUF_U32, v, err);
}

static enum eye_status put_keys(struct writer *t, const char *name, int64_t n_ctx, struct eye_err *err) {
    const struct eye_text_config *c = &t->m->config.text;
    EYE_TRY(eye_gguf_put_text(&t->w, "general.name", name, err));
    EYE_TRY(eye_gguf_put_text(&t->w, "general.architecture", "generic", err));
    EYE_TRY(eye_gguf_put_text(&t->w, "general.tokenizer", "none", err));
    EYE_TRY(eye_gguf_put_text(&t->w, "model.general.output", "logits", err));
    EYE_TRY(put_u32(t, "general.alignment", 32, err));
    EYE_TRY(eye_gguf_put_int(&t->w, EYE_GGUF_GENIE_KEY, EYE_GGUF_I32, c->vocab, err));
    EYE_TRY(put_u32(t, "generic.context_length", n_ctx, err));
    EYE_TRY(put_u32(t, "generic.embedding_length", c->hidden, err));
    EYE_TRY(put_u32(t, "generic.embedding_per_head", c->head_dim, err));
    EYE_TRY(put_u32(t, "generic.feed_forward_length", c->ffn, err));
    EYE_TRY(put_u32(t, "generic.block_count", c->n_layers, err));
    EYE_TRY(put_u32(t, "generic.attention.head_count", c->n_heads, err));
    EYE_TRY(put_u32(t, "generic.attention.head_count_kv", c->n_kv_heads, err));
    for (size_t i = 0; i < eye_genie_n_words; i++) {
        EYE_TRY(eye_gguf_put_text(&t->w, eye_genie_words[i].key, eye_genie_words[i].value, err));
        if (strcmp(eye_genie_words[i].key, "model.operation.normalization") == 0)
            EYE_TRY(eye_gguf_put_float(&t->w, "model.operation.normalization_epsilon", EYE_GGUF_F32, (double)c->rms_eps, err));
    }
    EYE_TRY(eye_gguf_put_float(&t->w, "generic.rope.freq_base", EYE_GGUF_F32, c->rope_theta, err));
    EYE_TRY(put_u32(t, "generic.rope.dimension_count", c->head_dim, err));
    EYE_TRY(put_u32(t, "general.file_type", t->type == EYE_GENIE_F16, err));
    return t->type == EYE_GENIE_F16 ? put_u32(t, "general.quantization_version", 1, err) : EYE_OK;
}

/* ---- tensors ---- */

static enum eye_status give_rows(void *ctx, int64_t row, int64_t n_rows, void *dst, struct eye_err *err) {
    const struct item *t = ctx;
    size_t k = (size_t)t->w.dims[t->w.rank - 1], bytes;
    if (t->to->cancel && t->to->cancel(t->to->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "cancelled");
    if (!eye_dtype_row_bytes(t->dtype, k, &bytes)) return eye_fail(err, EYE_E_LIMIT, "%s: a row is too large", t->w.name);
    for (int64_t i = 0; i < n_rows; i++) {
        if (t->w.rank == 2) eye_weight_row(&t->w, row + i, t->to->row);
        else for (size_t j = 0; j < k; j++) eye_weight_row(&t->w, (int64_t)j, t->to->row + j);
        eye_row_from_f32(t->dtype, t->to->row, (char *)dst + (size_t)i * bytes, k);
    }
    return EYE_OK;
}

/* from: the canonical name of what is stored. Absent: nothing. */
static enum eye_status add_tensor(struct writer *t, const char *name, const char *from, struct eye_err *err) {
    struct item *item = eye_arena_alloc(&t->arena, sizeof *item);
    if (!item) return eye_fail_nomem(err, sizeof *item);
    *item = (struct item){.to = t, .w = eye_genie_weight(t->m, from)};
    if (!item->w.data) return EYE_OK;
    item->w.name = name;
    item->dtype = item->w.rank == 2 && t->type == EYE_GENIE_F16 ? EYE_F16 : EYE_F32;
    struct eye_tensor shape = {.dtype = item->dtype, .rank = item->w.rank};
    memcpy(shape.dims, item->w.dims, sizeof shape.dims);
    t->row_elems = EYE_MAX(t->row_elems, (size_t)shape.dims[shape.rank - 1]);
    return eye_gguf_add_tensor(&t->w, name, &shape, give_rows, item, err);
}

static enum eye_status add_tensors(struct writer *t, struct eye_err *err) {
    EYE_TRY(add_tensor(t, "token_embd.weight", "token_embd.weight", err));
    for (int64_t layer = 0; layer < t->m->config.text.n_layers; layer++)
        for (size_t i = 0; i < EYE_COUNT(layer_tensors); i++) {
            const char *name = eye_arena_printf(&t->arena, "blk.%" PRId64 ".%s", layer, layer_tensors[i]);
            if (!name) return eye_fail_nomem(err, 64);
            EYE_TRY(add_tensor(t, name, name, err));
        }
    EYE_TRY(add_tensor(t, "output_norm.weight", "output_norm.weight", err));
    EYE_TRY(add_tensor(t, "output.weight", t->m->tied ? "token_embd.weight" : "output.weight", err));
    return add_tensor(t, "output.bias", "output.bias", err);
}

enum eye_status eye_genie_decoder_write(const struct eye_vlm *m, const char *name, const char *out, int64_t n_ctx,
                                        enum eye_genie_float type, eye_cancel_fn *cancel, void *cancel_ctx,
                                        struct eye_err *err) {
    struct writer t = {.m = m, .type = type, .cancel = cancel, .cancel_ctx = cancel_ctx};
    enum eye_status st;
    EYE_TRY(check_family(m, err));
    eye_gguf_writer_init(&t.w, NULL);
    eye_arena_init(&t.arena, NULL);
    t.w.version = 2;
    EYE_TRY_GOTO(put_keys(&t, name, n_ctx, err));
    EYE_TRY_GOTO(add_tensors(&t, err));
    t.row = eye_arena_alloc(&t.arena, (t.row_elems + 1) * sizeof *t.row);
    if (!t.row) {
        st = eye_fail_nomem(err, t.row_elems * sizeof *t.row);
        goto fail;
    }
    st = eye_gguf_write(&t.w, out, err);
fail:
    eye_gguf_writer_clear(&t.w);
    eye_arena_clear(&t.arena);
    return st;
}

/* ---- the composer's configuration ---- */

/* "attn_q.weight": {"name": the checkpoint's, "transposed": true}: it is [out, in] already. */
static void map_tensor(const struct eye_vlm *m, json_t *map, const char *shown, const char *canonical, const char *cut) {
    char name[EYE_NAME_MAX];
    if (!eye_binder_find(&m->bind, canonical)) return;
    eye_name_from_canonical(canonical, m->config.names, name, sizeof name);
    const char *at = strstr(name, cut);
    json_object_set_new(map, shown, json_pack("{s:s,s:b}", "name", at ? at + strlen(cut) : name, "transposed", 1));
}

static json_t *tensor_map(const struct eye_vlm *m) {
    char name[EYE_NAME_MAX], layer[EYE_NAME_MAX + 16];
    eye_name_from_canonical("blk.0.attn_q.weight", m->config.names, name, sizeof name);
    const char *number = strstr(name, "layers.0.");
    snprintf(layer, sizeof layer, "%.*slayers.(\\d+).", number ? (int)(number - name) : 0, name);
    json_t *map = json_pack("{s:s}", "layer_name", layer);
    for (size_t i = 0; i < EYE_COUNT(layer_tensors); i++) {
        struct eye_name canonical = eye_namef("blk.0.%s", layer_tensors[i]);
        map_tensor(m, map, layer_tensors[i], canonical.s, "layers.0.");
    }
    map_tensor(m, map, "token_embd.weight", "token_embd.weight", "");
    map_tensor(m, map, "output_norm.weight", "output_norm.weight", "");
    if (!m->tied) map_tensor(m, map, "output.weight", "output.weight", "");
    return map;
}

/* A float as it is written in decimals, not as the double it becomes. */
static double as_written(float f) {
    char text[32];
    snprintf(text, sizeof text, "%.7g", (double)f);
    return strtod(text, NULL);
}

static const char *word(const char *key) {
    for (size_t i = 0; i < eye_genie_n_words; i++)
        if (strcmp(eye_genie_words[i].key, key) == 0) return eye_genie_words[i].value;
    return "";
}

enum eye_status eye_genie_composer_config(const struct eye_vlm *m, const char *name, int64_t n_ctx, struct eye_buf *out,
                                          struct eye_err *err) {
    const struct eye_text_config *c = &m->config.text;
    EYE_TRY(check_family(m, err));
    json_t *o = json_pack(
        "{s:{s:s,s:s,s:s,s:i}, s:{s:I,s:I,s:I,s:I}, s:{s:I,s:I,s:I,s:s,s:s}, s:{s:s,s:f,s:s,s:s,s:s,s:I,s:f}, s:o}",
        "general", "name", name, "architecture", "generic", "tokenizer", "none", "alignment", 32,
        "size", "vocabulary", (json_int_t)c->vocab, "context", (json_int_t)n_ctx, "embedding", (json_int_t)c->hidden,
        "feedforward",
        (json_int_t)c->ffn,
        "architecture", "num_decoders", (json_int_t)c->n_layers, "num_heads", (json_int_t)c->n_heads, "num_kv_heads",
        (json_int_t)c->n_kv_heads, "connector", word("model.architecture.connector"), "gating",
        word("model.architecture.gating"),
        "operation", "normalization", word("model.operation.normalization"), "normalization_epsilon", as_written(c->rms_eps),
        "activation", word("model.operation.activation"), "positional_embedding", word("model.operation.positional_embedding"),
        "rope_complex_organization", word("model.operation.rope_complex_organization"), "rope_num_rotations",
        (json_int_t)c->head_dim, "rope_scaling", c->rope_theta,
        "tensor", tensor_map(m));
    enum eye_status st = o ? eye_json_write(o, 2, out, err) : eye_fail_nomem(err, 0);
    json_decref(o);
    if (st == EYE_OK) eye_buf_adds(out, "\n");
    return st;
}
