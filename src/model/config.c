/* Reading of what all families' configurations share: decoder sizes, special ids, projector type, image processor. What is
 * particular to a family stands in its own file and is found through the registry.
 */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/registry.h"

#define SMALL_JSON ((size_t)4 << 20) /* no configuration file is larger; the tokenizer is read elsewhere */

enum eye_status eye_config_unsupported(const struct eye_json_at *at, const char *key, struct eye_err *err, const char *fmt,
                                       ...) {
    char what[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    (void)eye_json_fail(at, key, what, err); /* writes the place; only the code differs */
    if (err) err->code = EYE_E_UNSUPPORTED;
    return EYE_E_UNSUPPORTED;
}

enum eye_status eye_config_number(const struct eye_json_at *at, const char *key, double lo, double hi, double def, double *out,
                                  struct eye_err *err) {
    char what[96];
    EYE_TRY(eye_json_double(at, key, def, out, err));
    if (isfinite(*out) && *out >= lo && *out <= hi) return EYE_OK;
    snprintf(what, sizeof what, "expected a number in %g..%g, got %g", lo, hi, *out);
    return eye_json_fail(at, key, what, err);
}

enum eye_status eye_config_want(const struct eye_json_at *at, const char *key, const char *def, const char *wanted,
                                struct eye_err *err) {
    const char *s;
    EYE_TRY(eye_json_str(at, key, def, &s, NULL, err));
    if (strcmp(s, wanted) != 0) return eye_config_unsupported(at, key, err, "got \"%.64s\", supported: \"%s\"", s, wanted);
    return EYE_OK;
}

/* ---- decoder ---- */

/* rope_theta, or rope_parameters.rope_theta (transformers 5). Any scaling but "default" changes the angles: refused. */
static enum eye_status read_rope(const struct eye_json_at *at, double *theta, struct eye_err *err) {
    static const char *const scaling_key[] = {"rope_parameters", "rope_scaling"};
    double partial;
    EYE_TRY(eye_config_number(at, "rope_theta", 1, 1e12, 10000.0, theta, err));
    EYE_TRY(eye_config_number(at, "partial_rotary_factor", 0, 1, 1, &partial, err));
    for (size_t i = 0; i < EYE_COUNT(scaling_key); i++) {
        struct eye_json_at r;
        EYE_TRY(eye_json_object(at, scaling_key[i], &r, err));
        if (!r.v) continue;
        EYE_TRY(eye_config_want(&r, "rope_type", "default", "default", err));
        EYE_TRY(eye_config_want(&r, "type", "default", "default", err));
        EYE_TRY(eye_config_number(&r, "rope_theta", 1, 1e12, *theta, theta, err));
        EYE_TRY(eye_config_number(&r, "partial_rotary_factor", 0, 1, partial, &partial, err));
    }
    if (partial != 1) return eye_config_unsupported(at, "partial_rotary_factor", err, "got %g, supported: 1", partial);
    return EYE_OK;
}

static enum eye_status read_windows(const struct eye_json_at *at, struct eye_err *err) {
    struct eye_json_at types;
    bool windows;
    EYE_TRY(eye_json_bool(at, "use_sliding_window", false, &windows, err));
    if (windows) return eye_config_unsupported(at, "use_sliding_window", err, "got true, supported: false");
    EYE_TRY(eye_json_array(at, "layer_types", &types, err));
    for (size_t i = 0; i < eye_json_len(&types); i++) {
        struct eye_json_at item = eye_json_item(&types, i);
        EYE_TRY(eye_config_want(&item, NULL, "full_attention", "full_attention", err));
    }
    return EYE_OK;
}

/* A key with a default only if *v has one. */
static enum eye_status read_size(const struct eye_json_at *at, const char *key, int64_t max, int64_t *v, struct eye_err *err) {
    return *v ? eye_json_int_in(at, key, 1, max, *v, v, err) : eye_json_need_int(at, key, 1, max, v, err);
}

static enum eye_status read_sizes(const struct eye_json_at *at, struct eye_text_config *t, struct eye_err *err) {
    char what[128];
    EYE_TRY(read_size(at, "hidden_size", EYE_MAX_HIDDEN, &t->hidden, err));
    EYE_TRY(read_size(at, "num_hidden_layers", EYE_MAX_LAYERS, &t->n_layers, err));
    EYE_TRY(read_size(at, "num_attention_heads", EYE_MAX_HEADS, &t->n_heads, err));
    EYE_TRY(eye_json_int_in(at, "num_key_value_heads", 1, EYE_MAX_HEADS, t->n_heads, &t->n_kv_heads, err));
    EYE_TRY(eye_json_int_in(at, "head_dim", 2, EYE_MAX_HEAD_DIM, 0, &t->head_dim, err));
    EYE_TRY(read_size(at, "intermediate_size", EYE_MAX_FFN, &t->ffn, err));
    EYE_TRY(read_size(at, "vocab_size", EYE_MAX_VOCAB, &t->vocab, err));
    EYE_TRY(eye_json_int_in(at, "max_position_embeddings", 1, EYE_MAX_POSITIONS, t->max_positions ? t->max_positions : 32768,
                            &t->max_positions, err));
    if (t->n_heads % t->n_kv_heads != 0) {
        snprintf(what, sizeof what, "expected a divisor of num_attention_heads %lld, got %lld", (long long)t->n_heads,
                 (long long)t->n_kv_heads);
        return eye_json_fail(at, "num_key_value_heads", what, err);
    }
    if (t->head_dim == 0) { /* not said: hidden / heads */
        if (t->hidden % t->n_heads != 0) {
            snprintf(what, sizeof what, "%lld is no multiple of num_attention_heads %lld and there is no head_dim",
                     (long long)t->hidden, (long long)t->n_heads);
            return eye_json_fail(at, "hidden_size", what, err);
        }
        t->head_dim = t->hidden / t->n_heads;
    }
    if (t->head_dim % 2 != 0 || t->head_dim > EYE_MAX_HEAD_DIM) { /* RoPE turns pairs */
        snprintf(what, sizeof what, "head dimension %lld: expected an even number up to %d", (long long)t->head_dim,
                 EYE_MAX_HEAD_DIM);
        return eye_json_fail(at, "hidden_size", what, err);
    }
    return EYE_OK;
}

enum eye_status eye_config_tie(const struct eye_json_at *at, enum eye_tristate *tie, struct eye_err *err) {
    bool b;
    if (!eye_json_has(at, "tie_word_embeddings")) return EYE_OK;
    EYE_TRY(eye_json_bool(at, "tie_word_embeddings", false, &b, err));
    *tie = b ? EYE_TRUE : EYE_FALSE;
    return EYE_OK;
}

/* eos_token_id of at (a number or a list) joins the stop ids. */
static enum eye_status read_eos(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    int64_t ids[EYE_MAX_EOS];
    size_t n = 0;
    if (!eye_json_has(at, "eos_token_id")) return EYE_OK;
    struct eye_json_at list;
    struct eye_err not_a_list;
    if (eye_json_array(at, "eos_token_id", &list, &not_a_list) == EYE_OK) {
        EYE_TRY(eye_json_ints(at, "eos_token_id", ids, EYE_MAX_EOS, &n, err));
    } else {
        EYE_TRY(eye_json_need_int(at, "eos_token_id", 0, INT32_MAX, &ids[0], err));
        n = 1;
    }
    for (size_t i = 0; i < n; i++) {
        bool known = false;
        if (ids[i] < 0 || ids[i] > INT32_MAX)
            return eye_json_fail(at, "eos_token_id", "a token id is negative or beyond 2^31", err);
        for (size_t k = 0; k < c->n_eos; k++) known |= c->eos[k] == ids[i];
        if (known) continue;
        if (c->n_eos == EYE_MAX_EOS) return eye_json_fail(at, "eos_token_id", "more than 16 different stop ids", err);
        c->eos[c->n_eos++] = ids[i];
    }
    return EYE_OK;
}

enum eye_status eye_config_ids(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    EYE_TRY(read_eos(at, c, err));
    EYE_TRY(eye_json_int_in(at, "bos_token_id", -1, INT32_MAX, c->bos, &c->bos, err));
    return eye_json_int_in(at, "pad_token_id", -1, INT32_MAX, c->pad, &c->pad, err);
}

enum eye_status eye_config_text(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err) {
    struct eye_text_config *t = &c->text;
    double eps;
    EYE_TRY(read_sizes(at, t, err));
    EYE_TRY(read_rope(at, &t->rope_theta, err));
    EYE_TRY(read_windows(at, err));
    EYE_TRY(eye_config_want(at, "hidden_act", "silu", "silu", err));
    EYE_TRY(eye_config_number(at, "rms_norm_eps", 1e-12, 0.1, 1e-6, &eps, err));
    t->rms_eps = (float)eps;
    EYE_TRY(eye_config_tie(at, &t->tie, err));
    return eye_config_ids(at, c, err);
}

enum eye_status eye_config_text_part(const struct eye_json_at *at, const char *def, struct eye_vlm_config *c,
                                     struct eye_err *err) {
    char known[256];
    const char *name;
    EYE_TRY(eye_json_str(at, "model_type", def, &name, NULL, err));
    const struct eye_text_family *f = eye_text_family_find(name);
    if (!f)
        return eye_config_unsupported(at, "model_type", err, "got \"%.64s\", supported: %s", name,
                                      eye_text_family_list(known, sizeof known));
    c->text.family = f->name;
    c->text.qkv_bias = f->qkv_bias;
    EYE_TRY(f->read(at, c, err));
    c->max_prompt_tok = c->text.max_positions;
    return EYE_OK;
}

enum eye_status eye_config_act(const struct eye_json_at *at, const char *key, const char *def, enum eye_act_kind *act,
                               struct eye_err *err) {
    static const struct { const char *name; enum eye_act_kind act; } known[] = {
        {"gelu", EYE_ACT_GELU}, {"quick_gelu", EYE_ACT_QUICK_GELU}, {"gelu_pytorch_tanh", EYE_ACT_GELU_TANH},
        {"gelu_new", EYE_ACT_GELU_TANH}, {"silu", EYE_ACT_SILU}, {"relu", EYE_ACT_RELU}};
    const char *s;
    EYE_TRY(eye_json_str(at, key, def, &s, NULL, err));
    for (size_t i = 0; i < EYE_COUNT(known); i++)
        if (strcmp(s, known[i].name) == 0) {
            *act = known[i].act;
            return EYE_OK;
        }
    return eye_config_unsupported(at, key, err,
                                  "got \"%.64s\", supported: gelu, quick_gelu, gelu_pytorch_tanh, gelu_new, silu, relu", s);
}

/* ---- projector, image processor ---- */

enum eye_status eye_config_projector_type(const struct eye_json_at *at, const char *key, const char *type,
                                          struct eye_projector_config *p, struct eye_err *err) {
    int n = 0, end = 0;
    p->bias = true;
    if (strcmp(type, "identity") == 0) p->n_linear = 0;
    else if (strcmp(type, "linear") == 0) p->n_linear = 1;
    else if (strlen(type) < 24 && sscanf(type, "mlp%2dx_gelu%n", &n, &end) == 1 && end > 0 && type[end] == '\0' && n >= 1 &&
             n <= 16)
        p->n_linear = n;
    else
        return eye_config_unsupported(at, key, err, "got \"%.64s\", supported: identity, linear, mlp<N>x_gelu (N up to 16)",
                                      type);
    return EYE_OK;
}

static enum eye_status read_channels(const struct eye_json_at *at, const char *key, double lo, double hi, float out[3],
                                     struct eye_err *err) {
    struct eye_json_at list;
    EYE_TRY(eye_json_array(at, key, &list, err));
    if (!list.v) return EYE_OK;
    if (eye_json_len(&list) != 3) return eye_json_fail(at, key, "expected three numbers, one per channel", err);
    for (size_t i = 0; i < 3; i++) {
        struct eye_json_at item = eye_json_item(&list, i);
        double v;
        EYE_TRY(eye_config_number(&item, NULL, lo, hi, 0, &v, err));
        out[i] = (float)v;
    }
    return EYE_OK;
}

/* size or crop_size: a number, {"shortest_edge": n} or {"height": n, "width": n}. 0 when it is absent. */
static enum eye_status read_side(const struct eye_json_at *at, const char *key, int64_t *side, struct eye_err *err) {
    struct eye_json_at o;
    struct eye_err not_an_object;
    *side = 0;
    if (eye_json_object(at, key, &o, &not_an_object) != EYE_OK)
        return eye_json_need_int(at, key, 1, EYE_MAX_SIDE_PX, side, err);
    if (!o.v) return EYE_OK;
    if (eye_json_has(&o, "shortest_edge")) return eye_json_need_int(&o, "shortest_edge", 1, EYE_MAX_SIDE_PX, side, err);
    int64_t width;
    EYE_TRY(eye_json_need_int(&o, "height", 1, EYE_MAX_SIDE_PX, side, err));
    EYE_TRY(eye_json_need_int(&o, "width", 1, EYE_MAX_SIDE_PX, &width, err));
    return width == *side ? EYE_OK
                          : eye_config_unsupported(at, key, err, "%lldx%lld is not square", (long long)*side, (long long)width);
}

/* size and max_image_size of a processor that cuts tiles: {"longest_edge": n}. */
static enum eye_status read_tiles(const struct eye_json_at *at, struct eye_prep_config *p, struct eye_err *err) {
    struct eye_json_at o;
    EYE_TRY(eye_json_object(at, "size", &o, err));
    if (o.v) EYE_TRY(eye_json_need_int(&o, "longest_edge", 1, EYE_MAX_LONGEST_PX, &p->tiles.longest_px, err));
    EYE_TRY(eye_json_object(at, "max_image_size", &o, err));
    if (o.v) EYE_TRY(eye_json_need_int(&o, "longest_edge", 1, EYE_MAX_SIDE_PX, &p->side_px, err));
    return eye_json_bool(at, "do_image_splitting", p->tiles.split, &p->tiles.split, err);
}

static enum eye_status read_square(const struct eye_json_at *at, struct eye_prep_config *p, struct eye_err *err) {
    int64_t resize, crop;
    EYE_TRY(read_side(at, "size", &resize, err));
    EYE_TRY(read_side(at, "crop_size", &crop, err));
    if (crop && resize && crop != resize)
        return eye_config_unsupported(at, "crop_size", err, "%lld differs from size %lld", (long long)crop, (long long)resize);
    if (crop || resize) p->side_px = crop ? crop : resize;
    return EYE_OK;
}

/* Pillow's numbers. */
static enum eye_status read_resample(const struct eye_json_at *at, enum eye_prep_filter *filter, struct eye_err *err) {
    static const int64_t number[] = {[EYE_PREP_BICUBIC] = 3, [EYE_PREP_BILINEAR] = 2, [EYE_PREP_LANCZOS] = 1};
    int64_t n;
    EYE_TRY(eye_json_int(at, "resample", number[*filter], &n, err));
    for (size_t i = 0; i < EYE_COUNT(number); i++)
        if (n == number[i]) {
            *filter = (enum eye_prep_filter)i;
            return EYE_OK;
        }
    return eye_config_unsupported(at, "resample", err, "got %lld, supported: 1 (lanczos), 2 (bilinear), 3 (bicubic)",
                                  (long long)n);
}

enum eye_status eye_config_image_processor(const struct eye_json_at *at, struct eye_prep_config *p, struct eye_err *err) {
    static const char *const must_do[] = {"do_resize", "do_rescale", "do_center_crop"};
    double factor;
    bool on;
    for (size_t i = 0; i < EYE_COUNT(must_do); i++) {
        EYE_TRY(eye_json_bool(at, must_do[i], true, &on, err));
        if (!on) return eye_config_unsupported(at, must_do[i], err, "got false, supported: true");
    }
    EYE_TRY(read_resample(at, &p->filter, err));
    EYE_TRY(eye_config_number(at, "rescale_factor", 0, 1, 1.0 / 255, &factor, err));
    if (fabs(factor * 255 - 1) > 1e-6)
        return eye_config_unsupported(at, "rescale_factor", err, "got %g, supported: 1/255", factor);
    EYE_TRY(p->tiles.longest_px ? read_tiles(at, p, err) : read_square(at, p, err));
    EYE_TRY(eye_json_bool(at, "do_normalize", true, &on, err));
    for (int i = 0; !on && i < 3; i++) {
        p->mean[i] = 0;
        p->std[i] = 1;
    }
    if (!on) return EYE_OK;
    EYE_TRY(read_channels(at, "image_mean", -10, 10, p->mean, err));
    return read_channels(at, "image_std", 1e-6, 1e3, p->std, err);
}

enum eye_status eye_config_preprocessing(const struct eye_json_at *at, struct eye_prep_config *p, struct eye_err *err) {
    static const char *const fit[] = {"pad", "crop", "stretch"};
    static const char *const filter[] = {"bicubic", "bilinear", "lanczos"};
    const char *s;
    int mode = 0, k = 0;
    EYE_TRY(eye_json_str(at, "fit", fit[p->mode], &s, NULL, err));
    while (mode < 3 && strcmp(s, fit[mode]) != 0) mode++;
    if (mode == 3) return eye_config_unsupported(at, "fit", err, "got \"%.64s\", supported: pad, crop, stretch", s);
    p->mode = (enum eye_prep_mode)mode;
    EYE_TRY(eye_json_str(at, "resample", filter[p->filter], &s, NULL, err));
    while (k < 3 && strcmp(s, filter[k]) != 0) k++;
    if (k == 3) return eye_config_unsupported(at, "resample", err, "got \"%.64s\", supported: bicubic, bilinear, lanczos", s);
    p->filter = (enum eye_prep_filter)k;
    EYE_TRY(eye_json_int_in(at, "size", 1, EYE_MAX_SIDE_PX, p->side_px, &p->side_px, err));
    EYE_TRY(read_channels(at, "mean", -10, 10, p->mean, err));
    return read_channels(at, "std", 1e-6, 1e3, p->std, err);
}

/* ---- the files ---- */

/* A side file as JSON; absent: *there = false and OK. */
static enum eye_status open_json(const struct eye_checkpoint *ckpt, const char *file, struct eye_json *j, bool *there,
                                 struct eye_err *err) {
    const char *p;
    size_t n;
    *there = eye_checkpoint_text(ckpt, file, &p, &n);
    return *there ? eye_json_parse(j, p, n, SMALL_JSON, file, err) : EYE_OK;
}

static enum eye_status read_generation(struct eye_vlm_config *c, const struct eye_checkpoint *ckpt, struct eye_err *err) {
    struct eye_json j;
    bool there;
    EYE_TRY(open_json(ckpt, "generation_config.json", &j, &there, err));
    if (!there) return EYE_OK;
    struct eye_json_at root = eye_json_root(&j);
    enum eye_status st = eye_config_ids(&root, c, err);
    if (st == EYE_OK) st = eye_json_int_in(&root, "num_beams", 1, 1024, 1, &c->n_beams, err);
    if (st == EYE_OK) st = eye_json_double(&root, "length_penalty", 1, &c->length_penalty, err);
    eye_json_clear(&j);
    return st;
}

/* transformers 4 writes preprocessor_config.json; 5 may put the same object into processor_config.json. */
static enum eye_status read_preprocessor(struct eye_vlm_config *c, const struct eye_checkpoint *ckpt, struct eye_err *err) {
    struct eye_json j;
    bool there;
    EYE_TRY(open_json(ckpt, "preprocessor_config.json", &j, &there, err));
    if (there) {
        struct eye_json_at root = eye_json_root(&j);
        enum eye_status st = eye_config_image_processor(&root, &c->prep, err);
        eye_json_clear(&j);
        return st;
    }
    EYE_TRY(open_json(ckpt, "processor_config.json", &j, &there, err));
    if (!there) return EYE_OK;
    struct eye_json_at root = eye_json_root(&j), image;
    enum eye_status st = eye_json_object(&root, "image_processor", &image, err);
    if (st == EYE_OK && image.v) st = eye_config_image_processor(&image, &c->prep, err);
    eye_json_clear(&j);
    return st;
}

static enum eye_status read_root(struct eye_vlm_config *c, const struct eye_checkpoint *ckpt, const struct eye_json_at *root,
                                 struct eye_err *err) {
    const char *model_type;
    char known[256];
    EYE_TRY(eye_json_need_str(root, "model_type", &model_type, NULL, err));
    const struct eye_vlm_family *f = eye_vlm_family_find(model_type);
    if (!f)
        return eye_config_unsupported(root, "model_type", err, "got \"%.64s\", supported: %s", model_type,
                                      eye_vlm_family_list(known, sizeof known));
    c->model_type = f->model_type;
    c->names = f->names;
    c->chat_template = f->chat_template;
    EYE_TRY(f->read_config(root, c, err));
    EYE_TRY(read_generation(c, ckpt, err));
    if (f->reads_image_processor) EYE_TRY(read_preprocessor(c, ckpt, err));
    if (c->vision.family && c->prep.side_px == 0)
        return eye_fail(err, EYE_E_CORRUPT, "config.json: nothing says the image side (preprocessor_config.json missing?)");
    return EYE_OK;
}

enum eye_status eye_vlm_config_read(struct eye_vlm_config *c, const struct eye_checkpoint *ckpt, struct eye_err *err) {
    struct eye_json j;
    bool there;
    memset(c, 0, sizeof *c);
    c->bos = c->pad = -1;
    c->n_beams = 1;
    c->length_penalty = 1;
    for (int i = 0; i < 3; i++) c->prep.std[i] = 1;
    EYE_TRY(open_json(ckpt, "config.json", &j, &there, err));
    if (!there && ckpt->no_files.code != EYE_OK) {
        if (err) *err = ckpt->no_files;
        return ckpt->no_files.code;
    }
    if (!there)
        return eye_fail(err, EYE_E_UNSUPPORTED,
                        "%s: no config.json in it; expected a checkpoint folder or a .gguf written by eyelet convert",
                        ckpt->path);
    struct eye_json_at root = eye_json_root(&j);
    enum eye_status st = read_root(c, ckpt, &root, err);
    eye_json_clear(&j);
    return st;
}
