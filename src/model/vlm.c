/* The tie between configuration, tensors and graphs. */
#include "model/vlm.h"

#include <stdio.h>
#include <string.h>

#include "model/registry.h"

static const char *const wtype_name[EYE_N_WTYPE] = {"exact", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "int8"};

const char *eye_wtype_name(enum eye_wtype t) { return (unsigned)t < EYE_N_WTYPE ? wtype_name[t] : "?"; }

bool eye_wtype_parse(const char *name, enum eye_wtype *out) {
    for (int i = 0; i < EYE_N_WTYPE; i++)
        if (strcmp(name, wtype_name[i]) == 0) {
            *out = (enum eye_wtype)i;
            return true;
        }
    return false;
}

enum eye_wtype eye_vlm_part_type(enum eye_part part, enum eye_wtype vision, enum eye_wtype decoder) {
    if (part == EYE_PART_VISION || part == EYE_PART_PROJECTOR) return vision;
    bool four_bits = decoder == EYE_W_Q4_0 || decoder == EYE_W_Q4_K;
    return part != EYE_PART_DECODER && four_bits ? EYE_W_Q8_0 : decoder;
}

/* ---- parts ---- */

bool eye_vlm_sees(const struct eye_vlm *m) { return m->config.vision.family != NULL; }

static int64_t stride_px(const struct eye_vlm *m) { return eye_vision_family_find(m->config.vision.family)->stride(&m->bind); }

int64_t eye_vlm_image_tokens(const struct eye_vlm *m, int64_t side_px) {
    int64_t stride = eye_vlm_sees(m) ? stride_px(m) : 0;
    if (side_px < 1 || side_px > EYE_MAX_SIDE_PX || stride < 1 || side_px % stride != 0) return 0;
    const struct eye_vision_family *f = eye_vision_family_find(m->config.vision.family);
    int64_t n = f->tokens ? f->tokens(&m->config.vision, side_px) : (side_px / stride) * (side_px / stride);
    int64_t s = EYE_MAX(m->config.projector.shuffle, 1);
    return n % (s * s) == 0 ? n / (s * s) : 0;
}

static eye_val add_head(struct eye_build *b, const struct eye_vlm *m, eye_val x) {
    struct eye_shape shape = EYE_SHAPE(m->config.text.vocab, m->config.text.hidden);
    eye_val w = m->tied ? eye_build_again(b, shape, "token_embd.weight") : eye_build_weight(b, shape, "output.weight");
    eye_val bias = eye_build_optional(b, EYE_SHAPE(m->config.text.vocab), "output.bias");
    return eye_tap(b->g, eye_linear(b->g, x, w, bias), "t.logits");
}

static eye_val add_embed(struct eye_build *b, const struct eye_vlm *m, eye_val ids) {
    const struct eye_text_config *t = &m->config.text;
    int64_t rows = t->embed_rows ? t->embed_rows : t->vocab;
    eye_val table = eye_build_weight(b, EYE_SHAPE(rows, t->hidden), "token_embd.weight");
    return eye_tap(b->g, eye_embed(b->g, ids, table), "t.embeddings");
}

eye_val eye_vlm_add(const struct eye_vlm *m, enum eye_part part, struct eye_graph *g, eye_val x) {
    struct eye_build b = {.g = g, .b = &m->bind, .folded = m->vision_folded};
    const struct eye_vlm_config *c = &m->config;
    int64_t n_images = 1;
    switch (part) {
    case EYE_PART_VISION:
        if (x != EYE_NONE) n_images = eye_dim(g, x, 0);
        x = eye_vision_family_find(c->vision.family)->build(&b, c, x);
        return c->projector.shuffle > 1 ? eye_pixel_shuffle(&b, x, n_images, c->projector.shuffle) : x;
    case EYE_PART_PROJECTOR: return eye_tap(g, eye_projector_build(&b, c, x), "v.projected");
    case EYE_PART_EMBED: return add_embed(&b, m, x);
    case EYE_PART_DECODER: return eye_text_family_find(c->text.family)->build(&b, &c->text, x);
    case EYE_PART_HEAD: return add_head(&b, m, x);
    case EYE_N_PART: break;
    }
    assert(!"no such part");
    return EYE_NONE;
}

static eye_val part_input(const struct eye_vlm *m, enum eye_part part, int64_t side_px, struct eye_graph *g) {
    const struct eye_vlm_config *c = &m->config;
    int64_t stride = part == EYE_PART_VISION ? stride_px(m) : 1;
    switch (part) {
    case EYE_PART_VISION:
        if (side_px == 0) side_px = c->prep.side_px;
        /* A tower whose stages are all missing has no stride: let the build name what is missing. */
        if (side_px < 1 || side_px > EYE_MAX_SIDE_PX || (stride && side_px % stride != 0))
            return eye_graph_fail(g, EYE_E_ARG, "image side %lld: expected a multiple of %lld up to %d", (long long)side_px,
                                  (long long)stride, EYE_MAX_SIDE_PX);
        return eye_input(g, "pixels", EYE_F32, 4, (int64_t[]){1, side_px, side_px, 3});
    case EYE_PART_PROJECTOR: return eye_input(g, "features", EYE_F32, 2, (int64_t[]){EYE_DIM_T, c->vision.channels});
    case EYE_PART_EMBED: return eye_input(g, "ids", EYE_I32, 1, (int64_t[]){EYE_DIM_T});
    case EYE_PART_DECODER: return eye_input(g, "t.inputs_embeds", EYE_F32, 2, (int64_t[]){EYE_DIM_T, c->text.hidden});
    default: return eye_input(g, "hidden", EYE_F32, 2, (int64_t[]){EYE_DIM_T, c->text.hidden});
    }
}

enum eye_status eye_vlm_graph(const struct eye_vlm *m, enum eye_part part, int64_t side_px, struct eye_graph *g,
                              struct eye_err *err) {
    bool eyes = part == EYE_PART_VISION || part == EYE_PART_PROJECTOR;
    if (eyes && !eye_vlm_sees(m)) return eye_fail(err, EYE_E_ARG, "%s: a model of text: it takes no images", m->ckpt->path);
    eye_graph_init(g, m->alloc);
    eye_output(g, eye_vlm_add(m, part, g, part_input(m, part, side_px, g)));
    enum eye_status st = eye_graph_finish(g, err);
    if (st != EYE_OK) {
        eye_graph_clear(g);
        return eye_fail_in(err, st, "%s", m->ckpt->path);
    }
    return EYE_OK;
}

enum eye_status eye_vlm_run_graph(const struct eye_vlm *m, enum eye_part part, const struct eye_run_graph *how, struct eye_graph *g,
                                  eye_val *tapped, struct eye_err *err) {
    enum eye_status st;
    bool int8 = how->type == EYE_W_I8;
    EYE_TRY(eye_vlm_graph(m, part, how->side_px, g, err));
    if (!how->unfused || int8) EYE_TRY_GOTO(eye_graph_fold(g, err));
    eye_graph_quantize(g, how->type);
    if (int8) EYE_TRY_GOTO(eye_vlm_ranges(m, g, err));
    if (how->picked) EYE_TRY_GOTO(eye_graph_pick(g, err));
    if (!how->unfused) EYE_TRY_GOTO(eye_graph_fuse(g, how->keep_taps || how->tap, err));
    if (how->tap) {
        eye_val v = eye_graph_find(g, how->tap);
        if (v == EYE_NONE) {
            st = eye_fail(err, EYE_E_ARG, "no layer \"%s\"", how->tap);
            goto fail;
        }
        if (v != g->output[0]) eye_output(g, v);
        EYE_TRY_GOTO(eye_graph_compact(g, err));
        if (tapped) *tapped = v;
    }
    if (int8) EYE_TRY_GOTO(eye_graph_lay_int8(g, err));
    return EYE_OK;
fail:
    eye_graph_clear(g);
    return st;
}

/* ---- opening ---- */

/* Every part once, vision first: it decides the width of the features where the configuration leaves that open. */
static enum eye_status check_parts(struct eye_vlm *m, struct eye_err *err) {
    struct eye_bind_account account;
    enum eye_status first = EYE_OK;
    eye_binder_check_begin(&m->bind, &account);
    for (int part = eye_vlm_sees(m) ? 0 : EYE_PART_EMBED; part < EYE_N_PART; part++) {
        struct eye_graph g;
        struct eye_err why;
        if (!(m->parts & 1u << part)) continue;
        enum eye_status st = eye_vlm_graph(m, (enum eye_part)part, 0, &g, &why);
        if (st == EYE_OK && part == EYE_PART_VISION) m->config.vision.channels = eye_dim(&g, g.output[0], -1);
        if (st == EYE_OK) eye_graph_clear(&g);
        else if (first == EYE_OK) {
            first = st;
            if (err) *err = why;
        }
    }
    return eye_binder_check_end(&m->bind, first, err);
}

/* The flag decides; without one a stored output matrix is used. With a flag and a matrix the matrix is redundant: Apple's files
 * have it. A few rows tell a copy from a matrix of its own without reading it all from disk. */
static void decide_tie(struct eye_vlm *m) {
    const struct eye_tensor *out = eye_binder_find(&m->bind, "output.weight"),
                            *embd = eye_binder_find(&m->bind, "token_embd.weight");
    enum eye_tristate flag = m->config.text.tie;
    m->tied = flag == EYE_TRUE || (flag == EYE_UNSAID && !out);
    if (!m->tied || !out) return;
    eye_binder_ignore(&m->bind, "output.weight");
    size_t row;
    bool same = embd && out->data && embd->data && embd->rank == 2 && out->rank == 2 && out->dtype == embd->dtype &&
                out->dims[0] > 0 && out->dims[0] == embd->dims[0] && out->dims[1] == embd->dims[1] &&
                eye_dtype_row_bytes(out->dtype, (uint64_t)out->dims[1], &row);
    for (int i = 0; same && i < 64; i++) {
        size_t at = (size_t)(out->dims[0] - 1) * (size_t)i / 63 * row;
        same = memcmp((const char *)out->data + at, (const char *)embd->data + at, row) == 0;
    }
    if (!same)
        snprintf(m->warning, sizeof m->warning,
                 "lm_head.weight differs from the embedding, but tie_word_embeddings is true: ignored "
                 "(set it to false in config.json if the output is nonsense)");
}

static bool is_text(const struct eye_str *s, const char *text) {
    return s->p && s->len == strlen(text) && memcmp(s->p, text, s->len) == 0;
}

/* key: a type's name; absent = exact. */
static enum eye_status read_type(const struct eye_vlm *m, const char *key, enum eye_wtype *out, struct eye_err *err) {
    struct eye_str s;
    EYE_TRY(eye_gguf_str(&m->ckpt->gguf, key, &s, err));
    *out = EYE_W_EXACT;
    if (!s.p) return EYE_OK;
    for (int i = 0; i < EYE_N_WTYPE; i++)
        if (is_text(&s, wtype_name[i])) {
            *out = (enum eye_wtype)i;
            return EYE_OK;
        }
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: %s is \"%.*s\", not a type this version knows", m->ckpt->path, key,
                    (int)EYE_MIN(s.len, 32), s.p);
}

/* What a converted file says about itself beyond the configuration it carries. */
static enum eye_status read_metadata(struct eye_vlm *m, struct eye_err *err) {
    struct eye_str form, architecture, parts;
    m->parts = (1u << EYE_N_PART) - 1;
    if (!m->ckpt->is_gguf) return EYE_OK;
    EYE_TRY(eye_gguf_str(&m->ckpt->gguf, EYE_PARTS_KEY, &parts, err));
    if (is_text(&parts, EYE_PARTS_VISION)) m->parts = 1u << EYE_PART_VISION | 1u << EYE_PART_PROJECTOR;
    else if (is_text(&parts, EYE_PARTS_EMBED)) m->parts = 1u << EYE_PART_EMBED;
    else if (parts.p)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: " EYE_PARTS_KEY " is \"%.*s\", expected " EYE_PARTS_VISION " or "
                        EYE_PARTS_EMBED, m->ckpt->path, (int)EYE_MIN(parts.len, 32), parts.p);
    m->config.names = EYE_NAMES_GGUF;
    EYE_TRY(eye_gguf_str(&m->ckpt->gguf, "general.architecture", &architecture, err));
    m->config.text.rope_pairs = is_text(&architecture, "llama");
    EYE_TRY(eye_gguf_str(&m->ckpt->gguf, "eyelet.vision.form", &form, err));
    if (eye_vlm_sees(m) && !m->ckpt->has_mmproj && !is_text(&form, "folded"))
        return eye_fail(err, EYE_E_UNSUPPORTED,
                        "%s: eyelet.vision.form is not \"folded\": no vision tower of a kind this version reads (a "
                        "decoder-only file?)",
                        m->ckpt->path);
    m->vision_folded = true;
    EYE_TRY(read_type(m, "eyelet.vision.type", &m->vision_type, err));
    EYE_TRY(read_type(m, "eyelet.decoder.type", &m->decoder_type, err));
    EYE_TRY(read_type(m, EYE_BASE_TYPE_KEY, &m->decoder_base, err));
    if (m->decoder_base == EYE_W_EXACT) m->decoder_base = m->decoder_type;
    if (m->decoder_type == EYE_W_I8 || m->decoder_base == EYE_W_I8)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: eyelet.decoder.type is \"int8\": only vision towers are", m->ckpt->path);
    if (m->decoder_type == EYE_W_EXACT || m->decoder_base == m->decoder_type) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: eyelet.decoder.type is \"%s\" and " EYE_BASE_TYPE_KEY " \"%s\"; expected one",
                    m->ckpt->path, eye_wtype_name(m->decoder_type), eye_wtype_name(m->decoder_base));
}

enum eye_status eye_vlm_open(struct eye_vlm *m, const struct eye_checkpoint *ckpt, const struct eye_alloc *alloc,
                             struct eye_err *err) {
    enum eye_status st;
    memset(m, 0, sizeof *m);
    m->alloc = alloc;
    m->ckpt = ckpt;
    st = eye_vlm_config_read(&m->config, ckpt, err);
    if (st != EYE_OK) return eye_fail_in(err, st, "%s", ckpt->path);
    EYE_TRY(read_metadata(m, err));
    EYE_TRY(eye_binder_init(&m->bind, ckpt, m->config.names, alloc, err));
    decide_tie(m);
    st = check_parts(m, err);
    if (st != EYE_OK) eye_vlm_clear(m);
    return st;
}

void eye_vlm_clear(struct eye_vlm *m) {
    eye_binder_clear(&m->bind);
    memset(m, 0, sizeof *m);
}
