/* model: opening (files, configuration, tokenizer), then parts on demand: graph -> fold -> quantize -> fuse -> plan with packed
 * weights. Nothing is packed before a session needs it, so asking for sizes or tokens stays cheap. */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "session/merge.h"
#include "session/session_impl.h"

#define DEFAULT_CTX 4096
#define DEFAULT_CACHE_BYTES ((uint64_t)1 << 30)

_Static_assert((int)EYE_WEIGHT_STORED == (int)EYE_W_EXACT && (int)EYE_WEIGHT_F32 == (int)EYE_W_F32 &&
                   (int)EYE_WEIGHT_F16 == (int)EYE_W_F16 && (int)EYE_WEIGHT_BF16 == (int)EYE_W_BF16 &&
                   (int)EYE_WEIGHT_Q8_0 == (int)EYE_W_Q8_0 && (int)EYE_WEIGHT_Q4_0 == (int)EYE_W_Q4_0 &&
                   (int)EYE_WEIGHT_Q4_K == (int)EYE_W_Q4_K && (int)EYE_WEIGHT_INT8 == (int)EYE_W_I8,
               "public and engine weight types have the same numbers");
_Static_assert((int)EYE_CACHE_F16 == (int)EYE_KV_F16 + 1 && (int)EYE_CACHE_F32 == (int)EYE_KV_F32 + 1 &&
                   (int)EYE_CACHE_I8 == (int)EYE_KV_I8 + 1,
               "public cache types are the engine's with AUTO in front");

void eye_model_log(const struct eye_model *m, enum eye_log_level level, const char *id, const char *fmt, ...) {
    char text[512];
    va_list ap;
    if (!m->opts.log) return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    m->opts.log(m->opts.log_ctx, level, id, text);
}

bool eye_cancel_flag(void *ctx) {
    return atomic_load_explicit((atomic_uchar *)ctx, memory_order_relaxed) != 0;
}

/* ---- opening ---- */

static enum eye_status check_opts(struct eye_model *m, struct eye_err *err) {
    const struct eye_model_opts *o = &m->opts;
    if (o->n_threads < 0 || o->n_threads > 1024)
        return eye_fail(err, EYE_E_ARG, "n_threads is %d, expected 0 to 1024", o->n_threads);
    if (o->n_ctx < 0) return eye_fail(err, EYE_E_ARG, "n_ctx is %d, expected 0 or more", o->n_ctx);
    if (o->n_parallel < 0 || o->n_parallel > EYE_PREFILL_ROWS)
        return eye_fail(err, EYE_E_ARG, "n_parallel is %d, expected 0 to %d", o->n_parallel, EYE_PREFILL_ROWS);
    if (o->image_tokens < 0) return eye_fail(err, EYE_E_ARG, "image_tokens is %d, expected 0 or more", o->image_tokens);
    if (o->image_side < 0) return eye_fail(err, EYE_E_ARG, "image_side is %d, expected 0 or more", o->image_side);
    if ((unsigned)o->decoder_type >= EYE_N_WTYPE || (unsigned)o->vision_type >= EYE_N_WTYPE ||
        (unsigned)o->cache_type > EYE_CACHE_I8 || (unsigned)o->fit > EYE_FIT_STRETCH ||
        (unsigned)o->image_merge > EYE_MERGE_POOL)
        return eye_fail(err, EYE_E_ARG,
                        "decoder_type, vision_type, cache_type, fit or image_merge is not one of its enum's values");
    if (o->decoder_type == EYE_WEIGHT_INT8)
        return eye_fail(err, EYE_E_ARG, "decoder_type (--decoder) is int8, which is for vision towers; q8_0 is the decoder's");
    m->cpu_flags = eye_cpu_flags();
    uint32_t allowed;
    if (!o->cpu_features) return EYE_OK;
    if (!eye_cpu_parse(o->cpu_features, &allowed)) {
        char known[128];
        eye_cpu_names(UINT32_MAX, known, sizeof known);
        return eye_fail(err, EYE_E_ARG, "cpu_features (--cpu) is \"%.100s\", expected a list of %s or \"base\"", o->cpu_features,
                        known);
    }
    m->cpu_flags &= allowed;
    return EYE_OK;
}

static struct eye_bytes side_file(const struct eye_model *m, const char *name) {
    struct eye_bytes b = {NULL, 0};
    const char *p;
    size_t n;
    if (!eye_checkpoint_text(&m->ckpt, name, &p, &n)) return b;
    b.p = p;
    b.n = n;
    return b;
}

static enum eye_status open_tokenizer(struct eye_model *m, struct eye_err *err) {
    struct eye_tokenizer_src src = {
        .tokenizer_json = side_file(m, "tokenizer.json"), .vocab_json = side_file(m, "vocab.json"),
        .merges_txt = side_file(m, "merges.txt"), .tokenizer_config = side_file(m, "tokenizer_config.json"),
        .tokenizer_model = side_file(m, "tokenizer.model"), .added_tokens = side_file(m, "added_tokens.json"),
        .special_tokens_map = side_file(m, "special_tokens_map.json"),
        .tokenizer_class = strcmp(m->vlm.config.text.family, "qwen2") == 0 ? "Qwen2Tokenizer" : NULL,
    };
    if (m->ckpt.is_compiled)
        src.lists.p = eye_compiled_find(&m->ckpt.gguf, EYE_COMPILED_TOKENIZER, EYE_COMPILED_LISTS, &src.lists.n);
    if (!src.tokenizer_json.p && !(src.vocab_json.p && src.merges_txt.p) && !src.tokenizer_model.p)
        return eye_fail(err, EYE_E_IO, "%s: no tokenizer: expected tokenizer.json, vocab.json and merges.txt, or "
                        "tokenizer.model", m->ckpt.path);
    enum eye_status st = eye_tokenizer_open(&m->tokenizer, &src, m->alloc, err);
    if (st != EYE_OK) return eye_fail_in(err, st, "%s", m->ckpt.path);
    size_t longest = 1;
    for (int32_t id = 0; id < eye_tokenizer_n_vocab(m->tokenizer); id++) {
        const char *p;
        size_t n;
        if (eye_tokenizer_token(m->tokenizer, id, &p, &n)) longest = EYE_MAX(longest, n);
    }
    m->max_piece_bytes = 3 * (longest + EYE_DETOK_MAX_HELD); /* every byte may become U+FFFD, those held back too */
    snprintf(m->tokenizer_text, sizeof m->tokenizer_text, "bpe, %d tokens", eye_tokenizer_n_vocab(m->tokenizer));
    return EYE_OK;
}

/* Tiles are what the family does to an image; a fit that the caller asks for takes their place. */
static void resolve_tiles(struct eye_model *m) {
    const struct eye_prep_config *prep = &m->vlm.config.prep;
    static const enum eye_resample filter[] = {[EYE_PREP_BICUBIC] = EYE_RESAMPLE_BICUBIC,
                                               [EYE_PREP_BILINEAR] = EYE_RESAMPLE_BILINEAR,
                                               [EYE_PREP_LANCZOS] = EYE_RESAMPLE_LANCZOS};
    m->tiled = prep->tiles.longest_px > 0 && m->opts.fit == EYE_FIT_MODEL;
    m->tiling = (struct eye_tiling){(int)prep->tiles.longest_px, 0, prep->tiles.split, filter[prep->filter]};
}

static enum eye_status resolve_rows(struct eye_model *m, struct eye_err *err) {
    const struct eye_model_opts *o = &m->opts;
    m->picture_rows = m->picture_tokens;
    if (o->image_tokens == 0 || m->picture_tokens == 0) return EYE_OK;
    m->picture_rows = eye_merge_rows(o->image_merge, m->picture_tokens, o->image_tokens);
    if (m->picture_rows > 0) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "%s: the %" PRId64 " rows of a picture are no square map, which image_merge (--image-merge) "
                    "pool needs; \"similar\" does not", m->ckpt.path, m->picture_tokens);
}

static enum eye_status resolve_image(struct eye_model *m, struct eye_err *err) {
    const struct eye_prep_config *prep = &m->vlm.config.prep;
    static const enum eye_fit fit[] = {[EYE_PREP_PAD] = EYE_FIT_PAD, [EYE_PREP_CROP] = EYE_FIT_CROP,
                                       [EYE_PREP_STRETCH] = EYE_FIT_STRETCH};
    if (!eye_vlm_sees(&m->vlm)) {
        m->opts.image_side = 0;
        return EYE_OK;
    }
    resolve_tiles(m);
    if (m->opts.fit == EYE_FIT_MODEL) m->opts.fit = fit[prep->mode];
    if (m->opts.image_side == 0) m->opts.image_side = (int32_t)prep->side_px;
    m->tiling.tile_px = m->opts.image_side;
    m->picture_tokens = eye_vlm_image_tokens(&m->vlm, m->opts.image_side);
    int64_t pictures = m->tiled ? eye_tiles_most(&m->tiling) : 1;
    if (m->picture_tokens * pictures > INT32_MAX / 2)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: an image of %" PRId64 " rows", m->ckpt.path, m->picture_tokens * pictures);
    EYE_TRY(resolve_rows(m, err));
    EYE_TRY(eye_places_open(m, err));
    m->image_tokens = m->picture_rows * pictures;
    if (m->image_tokens > 0) return EYE_OK;
    struct eye_graph g; /* its error says what the side must be */
    EYE_TRY(eye_vlm_graph(&m->vlm, EYE_PART_VISION, m->opts.image_side, &g, err));
    eye_graph_clear(&g);
    return eye_fail(err, EYE_E_ARG, "%s: no image of side %d fits this vision tower", m->ckpt.path, m->opts.image_side);
}

/* What the caller asked for, else what the file asks for. */
static enum eye_wtype part_type(const struct eye_model *m, enum eye_part part) {
    enum eye_wtype vision = m->opts.vision_type != EYE_WEIGHT_STORED ? (enum eye_wtype)m->opts.vision_type : m->vlm.vision_type;
    enum eye_wtype decoder = m->opts.decoder_type != EYE_WEIGHT_STORED ? (enum eye_wtype)m->opts.decoder_type
                                                                       : m->vlm.decoder_type;
    return eye_vlm_part_type(part, vision, decoder);
}

/* An int8 tower without ranges, or with broken ones, is found when the file is opened, not with the first picture. */
static enum eye_status check_int8(struct eye_model *m, struct eye_err *err) {
    if (!eye_vlm_sees(&m->vlm) || part_type(m, EYE_PART_VISION) != EYE_W_I8) return EYE_OK;
    for (int part = EYE_PART_VISION; part <= EYE_PART_PROJECTOR; part++) {
        struct eye_graph g;
        EYE_TRY(eye_model_graph(m, (enum eye_part)part, false, NULL, &g, NULL, err));
        eye_graph_clear(&g);
    }
    return EYE_OK;
}

/* The same by name: of matrices of several types the one that they were converted to. */
static enum eye_wtype decoder_named(const struct eye_model *m) {
    return m->opts.decoder_type != EYE_WEIGHT_STORED ? (enum eye_wtype)m->opts.decoder_type : m->vlm.decoder_base;
}

static void resolve_cache(struct eye_model *m) {
    enum eye_wtype t = decoder_named(m);
    if (m->opts.cache_type != EYE_CACHE_AUTO) return;
    m->opts.cache_type = t == EYE_W_EXACT || t == EYE_W_F32 ? EYE_CACHE_F32 : EYE_CACHE_F16;
}

static enum eye_status resolve_context(struct eye_model *m, struct eye_err *err) {
    int64_t most = m->vlm.config.text.max_positions - m->places_less;
    if (m->opts.n_ctx > most)
        return eye_fail(err, EYE_E_ARG, "%s: a context of %d positions (n_ctx, -c); the model was made for at most %" PRId64,
                        m->ckpt.path, m->opts.n_ctx, most);
    /* Room for an image and a conversation about it, also where the image alone takes more than the usual default. */
    if (m->opts.n_ctx == 0) m->opts.n_ctx = (int32_t)EYE_MIN(most, EYE_MAX(DEFAULT_CTX, m->image_tokens + 1024));
    return EYE_OK;
}

static void describe(struct eye_model *m) {
    const struct eye_vlm_config *c = &m->vlm.config;
    char projector[32] = "identity";
    if (c->projector.n_linear == 1) snprintf(projector, sizeof projector, "linear");
    if (c->projector.n_linear > 1) snprintf(projector, sizeof projector, "mlp%" PRId64 "x_gelu", c->projector.n_linear);
    if (!eye_vlm_sees(&m->vlm))
        snprintf(m->architecture, sizeof m->architecture, "%s (text only)", c->model_type);
    else
        snprintf(m->architecture, sizeof m->architecture, "%s (%s + %s + %s)", c->model_type, c->vision.family, projector,
                 c->text.family);
    for (size_t i = 0; i < eye_checkpoint_n_tensors(&m->ckpt); i++) {
        const char *canonical = m->vlm.bind.canonical[i];
        size_t bytes;
        if (!canonical || !*canonical || (m->vlm.tied && strcmp(canonical, "output.weight") == 0)) continue;
        const struct eye_tensor *t = &eye_checkpoint_tensor(&m->ckpt, i)->t;
        m->n_params += (uint64_t)eye_tensor_elems(t);
        if (eye_tensor_bytes(t, &bytes)) m->param_bytes += bytes;
    }
}

static enum eye_status open_files(struct eye_model *m, const char *path, struct eye_err *err) {
    struct eye_checkpoint_opts copts = {.no_mmap = m->opts.no_mmap, .mmproj = m->opts.mmproj, .takes_compiled = true,
                                         .tokenizer = m->opts.tokenizer};
    EYE_TRY(check_opts(m, err));
    if (m->opts.cache_bytes == 0) m->opts.cache_bytes = DEFAULT_CACHE_BYTES;
    if (m->opts.cache_dir) {
        const char *dir = m->opts.cache_dir;
        m->opts.cache_dir = eye_arena_strdup(&m->names, dir, strlen(dir));
        if (!m->opts.cache_dir) return eye_fail_nomem(err, strlen(dir) + 1);
    }
    EYE_TRY(eye_checkpoint_open(&m->ckpt, path, &copts, m->alloc, err));
    if (m->ckpt.is_compiled) EYE_TRY(eye_model_open_compiled(m, err));
    EYE_TRY(eye_vlm_open(&m->vlm, &m->ckpt, m->alloc, err));
    if (m->vlm.parts != (1u << EYE_N_PART) - 1)
        return eye_fail(err, EYE_E_ARG, "%s: one part of a model, which \"eyelet net-run\" runs; expected a whole one", path);
    if (m->vlm.warning[0]) eye_model_log(m, EYE_LOG_WARNING, "model.checkpoint", "%s: %s", path, m->vlm.warning);
    EYE_TRY(open_tokenizer(m, err));
    EYE_TRY(eye_model_resolve_chat(m, err));
    EYE_TRY(resolve_image(m, err));
    EYE_TRY(check_int8(m, err));
    EYE_TRY(resolve_context(m, err));
    if (m->opts.n_parallel == 0) m->opts.n_parallel = (int32_t)EYE_MIN(m->vlm.config.n_beams, EYE_MAX_BEAMS);
    resolve_cache(m);
    describe(m);
    return EYE_OK;
}

enum eye_status eye_model_open(const char *path, const struct eye_model_opts *opts, struct eye_model **model,
                               struct eye_err *err) {
    const struct eye_alloc *alloc = opts ? opts->alloc : NULL;
    struct eye_model *m = eye_alloc_zero(alloc, sizeof *m);
    if (!m) return eye_fail_nomem(err, sizeof *m);
    if (opts) m->opts = *opts;
    if (alloc) {
        m->alloc_copy = *alloc;
        m->alloc = m->opts.alloc = &m->alloc_copy;
    }
    pthread_mutex_init(&m->lock, NULL);
    pthread_mutex_init(&m->key_lock, NULL);
    eye_arena_init(&m->names, m->alloc);
    enum eye_status st = open_files(m, path, err);
    if (st != EYE_OK) {
        eye_model_close(m);
        return st;
    }
    m->opts.cpu_features = m->opts.chat_template = m->opts.mmproj = m->opts.tokenizer = NULL; /* the caller's texts: not ours to keep */
    *model = m;
    return EYE_OK;
}

void eye_model_close(struct eye_model *m) {
    if (!m) return;
    assert(m->n_sessions == 0); /* sessions borrow the model's plans */
    for (int i = 0; i < EYE_N_PART; i++) {
        if (!m->part[i].plan) continue;
        eye_plan_free(m->part[i].plan);
        eye_graph_clear(&m->part[i].graph);
    }
    if (m->engine_ready) eye_engine_clear(&m->engine);
    eye_alloc_free(m->alloc, m->layer, m->layers_cap * sizeof *m->layer);
    eye_arena_clear(&m->names);
    eye_script_close(m->script);
    eye_tokenizer_close(m->tokenizer);
    if (m->vlm.ckpt) eye_vlm_clear(&m->vlm);
    eye_checkpoint_close(&m->ckpt);
    eye_vocabulary_clear(&m->vocabulary);
    pthread_mutex_destroy(&m->key_lock);
    pthread_mutex_destroy(&m->lock);
    struct eye_alloc copy = m->alloc_copy;
    eye_alloc_free(m->alloc ? &copy : NULL, m, sizeof *m);
}

/* ---- parts ---- */

void eye_model_leave_unfused(struct eye_model *m) { m->unfused = true; }

enum eye_status eye_model_engine(struct eye_model *m, struct eye_err *err) {
    if (m->engine_ready) return EYE_OK;
    EYE_TRY(eye_engine_init(&m->engine, m->opts.n_threads, m->cpu_flags, m->alloc, err));
    m->engine_ready = true;
    return EYE_OK;
}

enum eye_status eye_model_graph(const struct eye_model *m, enum eye_part part, bool keep_taps, const char *tap,
                                struct eye_graph *g, eye_val *tapped, struct eye_err *err) {
    struct eye_run_graph how = {.side_px = part == EYE_PART_VISION ? m->opts.image_side : 0, .type = part_type(m, part),
                                .unfused = m->unfused, .keep_taps = keep_taps, .tap = tap,
                                .picked = part == EYE_PART_DECODER && !keep_taps && !tap};
    EYE_TRY(eye_vlm_run_graph(&m->vlm, part, &how, g, tapped, err));
    if (part == EYE_PART_DECODER) eye_places_table(m, g);
    return EYE_OK;
}

struct part_progress {
    const struct eye_model *m;
    const char *what;
};

static void on_packing(void *ctx, double done) {
    const struct part_progress *p = ctx;
    p->m->opts.progress(p->m->opts.progress_ctx, p->what, done);
}

int64_t eye_model_slots(const struct eye_model *m, int32_t n_ctx) {
    int64_t beams = EYE_MIN(m->vlm.config.n_beams, EYE_MAX_BEAMS), own = EYE_MIN(n_ctx, EYE_BEAM_TOK);
    return n_ctx + (beams > 1 ? EYE_ATTN_LANES + beams * (int64_t)EYE_ALIGN_UP((uint64_t)own, EYE_ATTN_LANES) : 0);
}

size_t eye_model_rows(const struct eye_model *m) {
    return (size_t)EYE_MAX(EYE_MIN(EYE_PREFILL_ROWS, m->opts.n_ctx), m->opts.n_parallel);
}

struct eye_plan_opts eye_model_plan_opts(const struct eye_model *m, enum eye_part part, bool measure_only) {
    struct eye_plan_opts o = {.max_t = 1, .kv_type = (enum eye_kv_type)(m->opts.cache_type - 1), .measure_only = measure_only,
                              .packed = m->packed.find ? &m->packed : NULL, .cancel = m->opts.cancel,
                              .cancel_ctx = m->opts.cancel_ctx};
    if (part == EYE_PART_PROJECTOR) o.max_t = m->picture_tokens;
    if (part == EYE_PART_EMBED || part == EYE_PART_DECODER)
        o.max_t = (int64_t)eye_model_rows(m);
    if (part == EYE_PART_HEAD) o.max_t = m->opts.n_parallel;
    if (part == EYE_PART_DECODER) o.max_ctx = m->opts.n_ctx;
    return o;
}

enum eye_status eye_model_plan(struct eye_model *m, enum eye_part part, const struct eye_plan **plan, struct eye_err *err) {
    static const char *const what[EYE_N_PART] = {"packing vision weights", "packing projector weights", "packing embeddings",
                                                 "packing decoder weights", "packing head weights"};
    struct eye_part_plan *p = &m->part[part];
    if (!p->plan) {
        EYE_TRY(eye_model_engine(m, err));
        EYE_TRY(eye_model_graph(m, part, false, NULL, &p->graph, NULL, err));
        struct part_progress progress = {m, what[part]};
        struct eye_plan_opts o = eye_model_plan_opts(m, part, false);
        if (m->opts.progress) {
            o.progress = on_packing;
            o.progress_ctx = &progress;
        }
        enum eye_status st = eye_plan_new(&p->plan, &m->engine, &p->graph, &o, err);
        if (st != EYE_OK) {
            p->plan = NULL;
            eye_graph_clear(&p->graph);
            return m->ckpt.is_compiled ? eye_fail_in(err, st, "%s", m->ckpt.path) : st;
        }
        if (m->opts.progress) m->opts.progress(m->opts.progress_ctx, what[part], 1);
    }
    *plan = p->plan;
    return EYE_OK;
}

/* ---- memory ---- */

enum eye_status eye_model_measure(struct eye_model *m, enum eye_part part, struct eye_plan_sizes *out, struct eye_err *err) {
    if (m->part[part].plan) {
        eye_plan_measure(m->part[part].plan, out);
        return EYE_OK;
    }
    struct eye_graph g;
    struct eye_plan *plan = NULL;
    struct eye_plan_opts o = eye_model_plan_opts(m, part, true);
    EYE_TRY(eye_model_graph(m, part, false, NULL, &g, NULL, err));
    enum eye_status st = eye_plan_new(&plan, &m->engine, &g, &o, err);
    if (st == EYE_OK) {
        eye_plan_measure(plan, out);
        eye_plan_free(plan);
    }
    eye_graph_clear(&g);
    return st;
}

static uint64_t file_bytes(const struct eye_model *m) {
    uint64_t sum = 0;
    if (m->ckpt.is_gguf) return m->ckpt.gguf.map.size + m->ckpt.mmproj.map.size;
    for (size_t i = 0; i < m->ckpt.n_shards; i++) sum += m->ckpt.shard[i].map.size;
    return sum;
}

static enum eye_status measure_parts(struct eye_model *m, int32_t n_ctx, struct eye_memory *out, struct eye_err *err) {
    EYE_TRY(eye_model_engine(m, err));
    for (int part = eye_vlm_sees(&m->vlm) ? 0 : EYE_PART_EMBED; part < EYE_N_PART; part++) {
        struct eye_plan_sizes size = {0};
        EYE_TRY(eye_model_measure(m, (enum eye_part)part, &size, err));
        out->weights += size.weights;
        out->activations += size.activations + size.scratch;
        out->cache += (uint64_t)size.state_per_position * EYE_ALIGN_UP((uint64_t)eye_model_slots(m, n_ctx), EYE_ATTN_LANES);
    }
    return EYE_OK;
}

enum eye_status eye_model_memory(struct eye_model *m, int32_t n_ctx, struct eye_memory *out, struct eye_err *err) {
    const struct eye_text_config *t = &m->vlm.config.text;
    struct eye_memory sum = {.files = file_bytes(m)};
    if (n_ctx < 0 || n_ctx > m->opts.n_ctx)
        return eye_fail(err, EYE_E_ARG, "n_ctx is %d, expected 0 to %d (the model's)", n_ctx, m->opts.n_ctx);
    if (n_ctx == 0) n_ctx = m->opts.n_ctx;
    pthread_mutex_lock(&m->lock);
    enum eye_status st = measure_parts(m, n_ctx, &sum, err);
    pthread_mutex_unlock(&m->lock);
    if (st != EYE_OK) return st;
    uint64_t side = (uint64_t)m->opts.image_side, rows = EYE_MIN(EYE_PREFILL_ROWS, (uint64_t)n_ctx);
    sum.activations += side * side * 3 * (eye_model_max_pictures(m) + sizeof(float)); /* pixels */
    sum.activations += (uint64_t)m->picture_tokens * (uint64_t)m->vlm.config.vision.channels * sizeof(float);
    sum.activations += eye_eyes_merge_bytes(m);
    sum.activations += rows * (uint64_t)t->hidden * 2 * sizeof(float); /* embeddings, hidden rows */
    sum.activations += (uint64_t)t->vocab * (2 * sizeof(float) + sizeof(struct eye_candidate) + sizeof(int32_t)); /* sampling */
    sum.total = sum.weights + sum.cache + sum.activations + (m->opts.no_mmap ? sum.files : 0);
    *out = sum;
    return EYE_OK;
}

/* ---- what it is ---- */

void eye_model_get_info(const struct eye_model *m, struct eye_model_info *out) {
    const struct eye_vlm_config *c = &m->vlm.config;
    *out = (struct eye_model_info){
        .architecture = m->architecture,
        .file_format = m->ckpt.is_compiled ? "compiled" : m->ckpt.is_gguf ? "gguf" : "safetensors",
        .tokenizer = m->tokenizer_text,
        .chat_template = eye_model_chat_name(m),
        .n_params = m->n_params,
        .file_bytes = m->param_bytes,
        .n_vocab = (int32_t)c->text.vocab,
        .n_layers = (int32_t)c->text.n_layers,
        .n_heads = (int32_t)c->text.n_heads,
        .n_kv_heads = (int32_t)c->text.n_kv_heads,
        .head_dim = (int32_t)c->text.head_dim,
        .hidden = (int32_t)c->text.hidden,
        .ffn = (int32_t)c->text.ffn,
        .n_ctx_trained = (int32_t)c->text.max_positions,
        .n_ctx = m->opts.n_ctx,
        .image_side = m->opts.image_side,
        .image_tokens = (int32_t)m->image_tokens,
        .vision_channels = (int32_t)c->vision.channels,
        .n_threads = m->opts.n_threads ? m->opts.n_threads : eye_cpu_count(),
        .decoder_type = (enum eye_weight_type)decoder_named(m),
        .vision_type = (enum eye_weight_type)part_type(m, EYE_PART_VISION),
        .cache_type = m->opts.cache_type,
        .fit = m->opts.fit,
        .default_prompt = eye_model_default_prompt(&m->vlm.config),
    };
}

int32_t eye_model_n_vocab(const struct eye_model *m) { return (int32_t)m->vlm.config.text.vocab; }
int32_t eye_model_image_tokens(const struct eye_model *m) { return (int32_t)m->image_tokens; }
int32_t eye_model_hidden(const struct eye_model *m) { return (int32_t)m->vlm.config.text.hidden; }
