/* format/gguf_mmproj: see gguf_mmproj.h. */
#include "format/gguf_mmproj.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"

enum { MAX_LAYERS = 1024 };

struct source {
    const struct eye_gguf *g;
    struct eye_err *err;
};

static enum eye_status unsupported(const struct source *s, const char *key, const char *got, const char *want) {
    return eye_fail(s->err, EYE_E_UNSUPPORTED, "%s: %s: got %.64s, supported: %s", s->g->table.where, key, got, want);
}

static bool is_text(struct eye_str s, const char *text) {
    return s.p && s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

static const struct eye_entry *tensor(const struct source *s, const char *name) { return eye_table_find(&s->g->table, name); }

bool eye_gguf_is_mmproj(const struct eye_gguf *g) {
    struct eye_str arch;
    return eye_gguf_str(g, "general.architecture", &arch, NULL) == EYE_OK && is_text(arch, "clip");
}

/* ---- names ---- */

/* Old converters call the first matrix of a layer "ffn_down": it takes rows as wide as the tower. */
static bool is_swapped(const struct eye_gguf *g) {
    int64_t hidden;
    const struct eye_entry *down = eye_table_find(&g->table, "v.blk.0.ffn_down.weight");
    if (eye_gguf_int(g, "clip.vision.embedding_length", 0, &hidden, NULL) != EYE_OK || !down) return false;
    return down->t.rank == 2 && down->t.dims[1] == hidden;
}

const char *eye_gguf_mmproj_name(const struct eye_gguf *mm, size_t i, struct eye_arena *arena) {
    const char *name = mm->table.entry[i].name, *at;
    if (strncmp(name, "v.blk.", 6) != 0 || !is_swapped(mm)) return name;
    if ((at = strstr(name, ".ffn_down."))) return eye_arena_printf(arena, "%.*s.ffn_up.%s", (int)(at - name), name, at + 10);
    if ((at = strstr(name, ".ffn_up."))) return eye_arena_printf(arena, "%.*s.ffn_down.%s", (int)(at - name), name, at + 8);
    return name;
}

/* ---- configuration ---- */

static enum eye_status need_int(const struct source *s, json_t *o, const char *member, const char *key) {
    int64_t v;
    EYE_TRY(eye_gguf_int(s->g, key, 0, &v, s->err));
    if (v < 1 || v > INT32_MAX)
        return eye_fail(s->err, EYE_E_CORRUPT, "%s: %s is %lld, expected 1 or more", s->g->table.where, key, (long long)v);
    json_object_set_new(o, member, json_integer(v));
    return EYE_OK;
}

/* Three numbers, one per channel. */
static enum eye_status need_channels(const struct source *s, json_t *o, const char *member, const char *key) {
    const struct eye_gguf_kv *kv = eye_gguf_find(s->g, key);
    json_t *list = json_array();
    json_object_set_new(o, member, list);
    bool good = kv && kv->is_array && kv->data && kv->n == 3;
    for (size_t i = 0; good && i < 3; i++) good = json_array_append_new(list, json_real(eye_gguf_item_double(kv, i))) == 0;
    if (good) return EYE_OK;
    return eye_fail(s->err, EYE_E_CORRUPT, "%s: %s: expected three numbers", s->g->table.where, key);
}

static enum eye_status refuse_variants(const struct source *s) {
    struct eye_str projector, merge;
    char got[65];
    EYE_TRY(eye_gguf_str(s->g, "clip.projector_type", &projector, s->err));
    snprintf(got, sizeof got, "%.*s", (int)EYE_MIN(projector.len, 64), projector.p ? projector.p : "");
    if (projector.p && !is_text(projector, "mlp")) return unsupported(s, "clip.projector_type", got, "mlp");
    EYE_TRY(eye_gguf_str(s->g, "clip.vision.mm_patch_merge_type", &merge, s->err));
    if ((merge.p && !is_text(merge, "flat")) || tensor(s, "model.image_newline"))
        return unsupported(s, "clip.vision.mm_patch_merge_type", "LLaVA-NeXT's tiles", "flat");
    if (eye_gguf_find(s->g, "clip.vision.feature_layer"))
        return unsupported(s, "clip.vision.feature_layer", "a list", "none: the last layer that is stored");
    if (tensor(s, "mm.0.weight") && !tensor(s, "mm.1.weight") && !tensor(s, "mm.3.weight")) return EYE_OK;
    return unsupported(s, "mm.0.weight", "nothing", "a linear or an MLP of two, mm.0 and mm.2");
}

static int64_t count_layers(const struct source *s) {
    char name[64];
    int64_t n = 0;
    for (; n < MAX_LAYERS; n++) {
        snprintf(name, sizeof name, "v.blk.%lld.ln1.weight", (long long)n);
        if (!tensor(s, name)) break;
    }
    return n;
}

static enum eye_status vision(const struct source *s, json_t *o) {
    static const char *const ints[][2] = {
        {"image_size", "clip.vision.image_size"}, {"patch_size", "clip.vision.patch_size"},
        {"hidden_size", "clip.vision.embedding_length"}, {"intermediate_size", "clip.vision.feed_forward_length"},
        {"num_attention_heads", "clip.vision.attention.head_count"}};
    bool clip = tensor(s, "v.class_embd") != NULL, gelu, silu, post = tensor(s, "v.post_ln.weight") != NULL;
    double eps;
    EYE_TRY(eye_gguf_bool(s->g, "clip.use_gelu", false, &gelu, s->err));
    EYE_TRY(eye_gguf_bool(s->g, "clip.use_silu", false, &silu, s->err));
    if (silu) return unsupported(s, "clip.use_silu", "true", "false");
    EYE_TRY(eye_gguf_double(s->g, "clip.vision.attention.layer_norm_epsilon", 1e-5, &eps, s->err));
    json_t *epsilon = json_real(eps); /* NULL for what is no number */
    if (!epsilon)
        return eye_fail(s->err, EYE_E_CORRUPT, "%s: clip.vision.attention.layer_norm_epsilon is no number", s->g->table.where);
    json_object_set_new(o, "layer_norm_eps", epsilon);
    json_object_set_new(o, "type", json_string(clip ? "clip" : "siglip"));
    json_object_set_new(o, "hidden_act", json_string(!gelu ? "quick_gelu" : clip ? "gelu" : "gelu_pytorch_tanh"));
    json_object_set_new(o, "num_hidden_layers", json_integer(count_layers(s)));
    json_object_set_new(o, "vision_feature_layer", json_integer(-1));
    json_object_set_new(o, "vision_feature_select_strategy", json_string(clip ? "default" : "full"));
    json_object_set_new(o, "post_norm", json_boolean(post));
    for (size_t i = 0; i < EYE_COUNT(ints); i++) EYE_TRY(need_int(s, o, ints[i][0], ints[i][1]));
    return EYE_OK;
}

static enum eye_status preprocessing(const struct source *s, json_t *o) {
    json_object_set_new(o, "fit", json_string("pad")); /* LLaVA-1.5's own way, and llama.cpp's */
    json_object_set_new(o, "resample", json_string("bicubic"));
    EYE_TRY(need_channels(s, o, "mean", "clip.vision.image_mean"));
    return need_channels(s, o, "std", "clip.vision.image_std");
}

/* The text model's configuration as the composition's part. A model without a template gets the one LLaVA was tuned with. */
static enum eye_status text_part(const struct source *s, const struct eye_gguf *text, struct eye_str config, json_t *o) {
    struct eye_json j;
    struct eye_str own;
    EYE_TRY(eye_json_parse(&j, config.p, config.len, EYE_JSON_MAX_BYTES, "config.json", s->err));
    json_t *part = json_copy(j.root), *type = json_object_get(part, "model_type");
    bool llama = type && strcmp(json_string_value(type), "llama") == 0;
    json_object_set(part, "type", type);
    json_object_set_new(o, "text", part);
    eye_json_clear(&j);
    EYE_TRY(eye_gguf_str(text, "tokenizer.chat_template", &own, s->err));
    if (!own.p) json_object_set_new(o, "chat_template", json_string(llama ? "vicuna" : "chatml"));
    return EYE_OK;
}

static enum eye_status whole(const struct source *s, const struct eye_gguf *text, struct eye_str text_config, json_t *o) {
    json_t *eyes = json_object(), *prep = json_object();
    bool mlp = tensor(s, "mm.2.weight") != NULL;
    json_object_set_new(o, "model_type", json_string("eyelet_vlm"));
    json_object_set_new(o, "vision", eyes);
    json_object_set_new(o, "preprocessing", prep);
    json_object_set_new(o, "projector", json_pack("{s:s,s:b}", "type", mlp ? "mlp2x_gelu" : "linear", "bias",
                                                  tensor(s, "mm.0.bias") != NULL));
    EYE_TRY(refuse_variants(s));
    EYE_TRY(vision(s, eyes));
    EYE_TRY(preprocessing(s, prep));
    return text_part(s, text, text_config, o);
}

enum eye_status eye_gguf_mmproj_config(const struct eye_gguf *mm, const struct eye_gguf *text, struct eye_str text_config,
                                       struct eye_arena *arena, struct eye_str *out, struct eye_err *err) {
    struct source s = {mm, err};
    json_t *o = json_object();
    enum eye_status st = whole(&s, text, text_config, o);
    if (st == EYE_OK) st = eye_json_text(o, arena, out, err);
    json_decref(o);
    return st;
}
