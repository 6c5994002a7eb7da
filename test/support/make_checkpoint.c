/* Checkpoint generator: FastVLM folders (transformers, Apple, Apple before re-parameterisation) with weights that anybody can
 * compute again without the files.
 *
 * Element i (row-major) of a tensor is
 *
 *     h0 = FNV-1a 64 of its canonical name (names.h), then mixed with the seed:  h0 = mix(h0 + (seed + 1) * G)
 *     h  = mix(h0 + (i + 1) * G),  G = 0x9E3779B97F4A7C15,  mix = splitmix64's finaliser
 *     u  = (h >> 11) * 2^-52 - 1                                uniform in [-1, 1), exact in double
 *     w  = (float)(offset + gain * u + e),                      e = 1 at a depthwise kernel's centre where "identity" is set
 *     stored as w rounded to nearest even in the file's dtype
 *
 * all products and sums in double, left to right. Names are canonical, so the hf and apple folders hold the same weights and
 * must give the same tokens. gain is g * sqrt(3 / fan_in) for matrices (variance g^2 / fan_in) and as listed in the tables
 * below for the rest; sqrt is IEEE's, so numpy has the same bits. lm_head of a tied model repeats the embedding.
 *
 * The gains keep activations near one through the tower although nothing is calibrated: mixers stay near the identity (a
 * random depthwise kernel per block would multiply its way to zero), layers before a GELU make up for the third it takes.
 */
#include "support/make_checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "tensor/tensor.h"

static const struct eye_mk_size sizes[] = {
    {"tiny", {1, 2, 2, 1, 1}, {8, 16, 32, 64, 128}, 256, 64, 160, 2, 4, 2, 600, 640, 640, true, 16},
    {"odd", {1, 1, 2, 2, 1}, {12, 24, 48, 96, 192}, 320, 80, 203, 3, 5, 1, 700, 731, 731, false, 21},
    {"0.5b", {2, 12, 24, 4, 2}, {96, 192, 384, 768, 1536}, 1024, 896, 4864, 24, 14, 2, 151643, 152000, 151936, true, 1},
};

const struct eye_mk_size *eye_mk_size_find(const char *name) {
    for (size_t i = 0; i < EYE_COUNT(sizes); i++)
        if (strcmp(sizes[i].name, name) == 0) return &sizes[i];
    return NULL;
}

/* ---- the formula ---- */

#define GOLDEN 0x9E3779B97F4A7C15u

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t stream_of(const char *canonical, uint64_t seed) {
    uint64_t h = 0xCBF29CE484222325u;
    for (; *canonical; canonical++) h = (h ^ (uint8_t)*canonical) * 0x100000001B3u;
    return mix(h + (seed + 1) * GOLDEN);
}

static double uniform(uint64_t stream, uint64_t i) {
    return (double)(mix(stream + (i + 1) * GOLDEN) >> 11) * 0x1p-52 - 1;
}

double eye_mk_uniform(const char *canonical, uint64_t seed, uint64_t i) { return uniform(stream_of(canonical, seed), i); }

/* ---- the list of tensors ---- */

enum { MAX_TENSORS = 4096 };
struct spec {
    char name[EYE_NAME_MAX];   /* in the file */
    char source[EYE_NAME_MAX]; /* canonical: what the formula hashes */
    int rank;
    int64_t dims[4];
    double offset, gain;
    bool identity, i64;        /* i64: a scalar counter */
};
struct plan {
    const struct eye_mk_opts *o;
    enum eye_name_format names;
    struct spec *spec;
    int n;
};

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

EYE_PRINTF(6, 7)
static struct spec *add(struct plan *p, double offset, double gain, int rank, const int64_t *dims, const char *fmt, ...) {
    assert(p->n < MAX_TENSORS);
    struct spec *s = &p->spec[p->n++];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(s->source, sizeof s->source, fmt, ap);
    va_end(ap);
    if (!eye_name_from_canonical(s->source, p->names, s->name, sizeof s->name))
        assert(!"a canonical name that the format lacks");
    s->rank = rank;
    memcpy(s->dims, dims, (size_t)rank * sizeof *dims);
    s->offset = offset;
    s->gain = gain;
    return s;
}

static double fan_in(double g, int64_t n) { return g * sqrt(3.0 / (double)n); }

/* name.weight [o, c, k, k] (c = inputs per group), and name.bias if bias > 0 */
static struct spec *conv(struct plan *p, double g, double bias, int64_t o, int64_t c, int64_t k, const char *name) {
    struct spec *s = add(p, 0, fan_in(g, c * k * k), DIMS(o, c, k, k), "%s.weight", name);
    if (bias > 0) add(p, 0, bias, DIMS(o), "%s.bias", name);
    return s;
}

static void batch_norm(struct plan *p, int64_t c, const char *name) {
    add(p, 1, 0.5, DIMS(c), "%s.weight", name);
    add(p, 0, 0.2, DIMS(c), "%s.bias", name);
    add(p, 0, 0.2, DIMS(c), "%s.running_mean", name);
    add(p, 1, 0.5, DIMS(c), "%s.running_var", name);
    /* a training counter: in real files, of no use, outside the canonical names */
    struct spec *s = &p->spec[p->n++];
    *s = (struct spec){.rank = 0, .i64 = true, .offset = 1000};
    snprintf(s->name, sizeof s->name, "%s", s[-1].name);
    char *tail = strstr(s->name, "running_var");
    snprintf(tail, sizeof s->name - (size_t)(tail - s->name), "num_batches_tracked");
}

static void conv_bn(struct plan *p, double g, int64_t o, int64_t c, int64_t k, const char *name) {
    char part[EYE_NAME_MAX - 16];
    snprintf(part, sizeof part, "%s.conv", name);
    conv(p, g, 0, o, c, k, part);
    snprintf(part, sizeof part, "%s.bn", name);
    batch_norm(p, o, part);
}

/* A MobileOne block, either form. skip: in = out and stride 1; scale: a 1×1 branch beside a larger kernel. */
static void mobileone(struct plan *p, double g, int64_t o, int64_t c, int64_t k, bool scale, bool skip, const char *name) {
    char part[EYE_NAME_MAX - 32];
    if (p->o->format != EYE_MK_APPLE_TRAIN) {
        snprintf(part, sizeof part, "%s.conv", name);
        conv(p, g, 0.1, o, c, k, part);
        return;
    }
    snprintf(part, sizeof part, "%s.branch.0", name);
    double rest = g * g - (skip ? 1 : 0) - (scale ? 0.25 : 0); /* variance the other branches leave to this one */
    conv_bn(p, 0.9 * sqrt(rest > 0.3 ? rest : 0.3), o, c, k, part);
    snprintf(part, sizeof part, "%s.scale", name);
    if (scale) conv_bn(p, 0.5, o, c, 1, part);
    snprintf(part, sizeof part, "%s.skip", name);
    if (skip) batch_norm(p, o, part);
}

static void ffn(struct plan *p, int64_t c, const char *block) {
    char part[EYE_NAME_MAX - 32];
    snprintf(part, sizeof part, "%s.mlp.conv", block);
    conv(p, 1, 0, c, 1, 7, part);
    snprintf(part, sizeof part, "%s.mlp.bn", block);
    batch_norm(p, c, part);
    snprintf(part, sizeof part, "%s.mlp.fc1", block);
    conv(p, 1.2, 0.2, 4 * c, c, 1, part);
    snprintf(part, sizeof part, "%s.mlp.fc2", block);
    conv(p, 1.5, 0.1, c, 4 * c, 1, part);
}

static void repmixer_block(struct plan *p, int64_t c, const char *block) {
    char part[EYE_NAME_MAX - 48];
    if (p->o->format == EYE_MK_APPLE_TRAIN) {
        snprintf(part, sizeof part, "%s.mixer.mix", block);
        mobileone(p, 1, c, 1, 3, true, true, part);
        snprintf(part, sizeof part, "%s.mixer.norm.skip", block);
        batch_norm(p, c, part);
        add(p, 0.2, 0.15, DIMS(c, 1, 1), "%s.mixer.layer_scale", block);
    } else {
        snprintf(part, sizeof part, "%s.mixer.conv", block);
        conv(p, 0.2, 0.1, c, 1, 3, part)->identity = true;
    }
    ffn(p, c, block);
    add(p, 0.15, 0.1, DIMS(c, 1, 1), "%s.layer_scale", block);
}

static void attention_block(struct plan *p, int64_t c, const char *block) {
    add(p, 1, 0.5, DIMS(c), "%s.norm.weight", block);
    add(p, 0, 0.2, DIMS(c), "%s.norm.bias", block);
    add(p, 0, fan_in(1.3, c), DIMS(3 * c, c), "%s.attn.qkv.weight", block);
    add(p, 0, fan_in(1.5, c), DIMS(c, c), "%s.attn.proj.weight", block);
    add(p, 0, 0.1, DIMS(c), "%s.attn.proj.bias", block);
    add(p, 0.15, 0.1, DIMS(c, 1, 1), "%s.layer_scale_1", block);
    ffn(p, c, block);
    add(p, 0.15, 0.1, DIMS(c, 1, 1), "%s.layer_scale_2", block);
}

static void downsample(struct plan *p, int64_t c, int stage) {
    char name[64];
    snprintf(name, sizeof name, "v.stage.%d.down.0", stage);
    if (p->o->format == EYE_MK_APPLE_TRAIN) {
        snprintf(name, sizeof name, "v.stage.%d.down.0.large", stage);
        conv_bn(p, 1.1, 2 * c, 1, 7, name);
        snprintf(name, sizeof name, "v.stage.%d.down.0.small", stage);
        conv_bn(p, 0.8, 2 * c, 1, 3, name);
    } else {
        snprintf(name, sizeof name, "v.stage.%d.down.0.conv", stage);
        conv(p, 1.5, 0.1, 2 * c, 1, 7, name);
    }
    snprintf(name, sizeof name, "v.stage.%d.down.1", stage);
    mobileone(p, 1.5, 2 * c, 2 * c, 1, false, true, name);
}

static void tower(struct plan *p) {
    const struct eye_mk_size *z = p->o->size;
    bool train = p->o->format == EYE_MK_APPLE_TRAIN;
    char name[64];
    mobileone(p, 2, z->width[0], 3, 3, false, false, "v.stem.0");
    mobileone(p, 1.7, z->width[0], 1, 3, false, false, "v.stem.1");
    mobileone(p, 1.6, z->width[0], z->width[0], 1, false, true, "v.stem.2");
    for (int s = 0; s < 5; s++) {
        int64_t c = z->width[s];
        if (s > 0) downsample(p, z->width[s - 1], s);
        snprintf(name, sizeof name, "v.stage.%d.cpe.%s", s, train ? "pos" : "conv");
        if (s > 2) conv(p, 0.3, 0.1, c, 1, 7, name)->identity = !train;
        for (int64_t i = 0; i < z->depth[s]; i++) {
            snprintf(name, sizeof name, "v.stage.%d.block.%lld", s, (long long)i);
            (s > 2 ? attention_block : repmixer_block)(p, c, name);
        }
    }
    int64_t c = 2 * z->width[4];
    mobileone(p, 2, c, 1, 3, true, false, "v.final");
    conv(p, 2, 0.2, c / 16, c, 1, "v.final.se.fc1");
    conv(p, 2, 0.5, c, c / 16, 1, "v.final.se.fc2");
}

static int64_t vocab(const struct eye_mk_opts *o) { return o->format == EYE_MK_HF ? o->size->vocab_hf : o->size->vocab_apple; }

static void decoder(struct plan *p) {
    const struct eye_mk_size *z = p->o->size;
    int64_t h = z->hidden, kv = h / z->n_heads * z->n_kv_heads;
    double row = 2.5; /* norm of an embedding row: logits of a normed state then spread over a few units */
    add(p, 0, fan_in(row, h), DIMS(vocab(p->o), h), "token_embd.weight");
    for (int i = 0; i < z->n_layers; i++) {
        const struct { const char *name; int64_t rows, columns; double gain, bias; } matrix[] = {
            {"attn_q", h, h, 1.3, 0.8}, {"attn_k", kv, h, 1.3, 2}, {"attn_v", kv, h, 1, 0.8}, {"attn_output", h, h, 1, 0},
            {"ffn_gate", z->ffn, h, 1, 0}, {"ffn_up", z->ffn, h, 1, 0}, {"ffn_down", h, z->ffn, 2.4, 0},
        };
        add(p, 1, 0.5, DIMS(h), "blk.%d.attn_norm.weight", i);
        add(p, 1, 0.5, DIMS(h), "blk.%d.ffn_norm.weight", i);
        for (size_t k = 0; k < EYE_COUNT(matrix); k++) {
            add(p, 0, fan_in(matrix[k].gain, matrix[k].columns), DIMS(matrix[k].rows, matrix[k].columns), "blk.%d.%s.weight", i,
                matrix[k].name);
            if (matrix[k].bias > 0) add(p, 0, matrix[k].bias, DIMS(matrix[k].rows), "blk.%d.%s.bias", i, matrix[k].name);
        }
    }
    add(p, 1, 0.5, DIMS(h), "output_norm.weight");
    if (!z->tied || p->o->format != EYE_MK_HF) {
        struct spec *s = add(p, 0, fan_in(row, h), DIMS(vocab(p->o), h), "output.weight");
        if (z->tied) snprintf(s->source, sizeof s->source, "token_embd.weight"); /* Apple's files keep the copy */
    }
}

static void projector(struct plan *p) {
    int64_t c = 2 * p->o->size->width[4], h = p->o->size->hidden;
    add(p, 0, fan_in(1, c), DIMS(h, c), "mm.0.weight");
    add(p, 0, 0.2, DIMS(h), "mm.0.bias");
    add(p, 0, fan_in(5.8 / sqrt((double)h), h), DIMS(h, h), "mm.2.weight"); /* rows as long as 1.5 embeddings */
    add(p, 0, 0.2 / sqrt((double)h), DIMS(h), "mm.2.bias");
}

static void list_tensors(struct plan *p) {
    tower(p);
    projector(p);
    decoder(p);
    if (p->o->format == EYE_MK_HF) return;
    struct spec *s = &p->spec[p->n++]; /* CLIP's head: in Apple's files, of no use */
    *s = (struct spec){.rank = 2, .dims = {2 * p->o->size->width[4], p->o->size->width[4] / 2}, .gain = 0.1};
    snprintf(s->name, sizeof s->name, "model.vision_tower.vision_tower.model.head.proj");
    snprintf(s->source, sizeof s->source, "head.proj");
}

/* ---- writing ---- */

static size_t elems(const struct spec *s) {
    size_t n = 1;
    for (int i = 0; i < s->rank; i++) n *= (size_t)s->dims[i];
    return n;
}

static size_t bytes(const struct spec *s, int dtype) { return elems(s) * (s->i64 ? 8 : dtype == EYE_F32 ? 4 : 2); }

enum eye_status eye_mk_write_file(const char *out, const char *name, const void *p, size_t n, struct eye_err *err) {
    char path[1024];
    struct eye_writer w;
    snprintf(path, sizeof path, "%s/%s", out, name);
    EYE_TRY(eye_writer_open(&w, path, err));
    enum eye_status st = eye_writer_put(&w, p, n, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    if (st != EYE_OK) eye_writer_abort(&w);
    return st;
}

static enum eye_status put_tensor(struct eye_writer *w, const struct spec *s, const struct eye_mk_opts *o,
                                  struct eye_err *err) {
    union { float f[4096]; uint16_t h[4096]; } chunk;
    size_t n = elems(s);
    uint64_t stream = stream_of(s->source, o->seed);
    if (s->i64) {
        uint64_t v = (uint64_t)s->offset;
        return eye_writer_put(w, &v, 8, err);
    }
    size_t kernel = s->rank == 4 ? (size_t)(s->dims[2] * s->dims[3]) : 1;
    for (size_t at = 0; at < n; at += 4096) {
        size_t k = EYE_MIN(n - at, (size_t)4096);
        for (size_t i = 0; i < k; i++) {
            double v = s->offset + s->gain * uniform(stream, at + i);
            if (s->identity && (at + i) % kernel == kernel / 2) v += 1;
            float f = (float)v;
            if (o->dtype == EYE_F32) chunk.f[i] = f;
            else chunk.h[i] = o->dtype == EYE_F16 ? eye_f32_to_f16(f) : eye_f32_to_bf16(f);
        }
        EYE_TRY(eye_writer_put(w, &chunk, k * (o->dtype == EYE_F32 ? 4 : 2), err));
    }
    return EYE_OK;
}

/* tensors [first, end) as one safetensors file */
static enum eye_status write_shard(const struct plan *p, int first, int end, const char *name, struct eye_err *err) {
    const char *dtype = p->o->dtype == EYE_F32 ? "F32" : p->o->dtype == EYE_F16 ? "F16" : "BF16";
    struct eye_buf h;
    struct eye_writer w;
    char path[1024];
    size_t at = 0;
    eye_buf_init(&h, NULL);
    eye_buf_adds(&h, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (int i = first; i < end; i++) {
        const struct spec *s = &p->spec[i];
        size_t n = bytes(s, p->o->dtype);
        eye_buf_printf(&h, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", s->name, s->i64 ? "I64" : dtype);
        for (int k = 0; k < s->rank; k++) eye_buf_printf(&h, "%s%lld", k ? "," : "", (long long)s->dims[k]);
        eye_buf_printf(&h, "],\"data_offsets\":[%zu,%zu]}", at, at + n);
        at += n;
    }
    eye_buf_adds(&h, "}");
    while (h.len % 8) eye_buf_adds(&h, " ");
    uint64_t header_bytes = h.len;
    snprintf(path, sizeof path, "%s/%s", p->o->out, name);
    enum eye_status st = h.failed ? eye_fail_nomem(err, h.cap) : eye_writer_open(&w, path, err);
    if (st == EYE_OK) {
        st = eye_writer_put(&w, &header_bytes, 8, err);
        if (st == EYE_OK) st = eye_writer_put(&w, h.p, h.len, err);
        for (int i = first; i < end && st == EYE_OK; i++) st = put_tensor(&w, &p->spec[i], p->o, err);
        if (st == EYE_OK) st = eye_writer_commit(&w, err);
        if (st != EYE_OK) eye_writer_abort(&w);
    }
    eye_buf_clear(&h);
    return st;
}

static enum eye_status write_weights(const struct plan *p, struct eye_err *err) {
    int n_shards = p->o->n_shards < 1 ? 1 : p->o->n_shards, first = 0;
    size_t total = 0, done = 0;
    struct eye_buf index;
    for (int i = 0; i < p->n; i++) total += bytes(&p->spec[i], p->o->dtype);
    if (n_shards == 1) return write_shard(p, 0, p->n, "model.safetensors", err);
    eye_buf_init(&index, NULL);
    eye_buf_printf(&index, "{\"metadata\":{\"total_size\":%zu},\"weight_map\":{", total);
    enum eye_status st = EYE_OK;
    for (int k = 1; k <= n_shards && st == EYE_OK; k++) {
        char name[64];
        int end = first;
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", k, n_shards);
        while (end < p->n - (n_shards - k) && (k == n_shards || end == first || done < total / (size_t)n_shards * (size_t)k)) {
            done += bytes(&p->spec[end], p->o->dtype);
            eye_buf_printf(&index, "%s\n\"%s\":\"%s\"", end ? "," : "", p->spec[end].name, name);
            end++;
        }
        st = write_shard(p, first, end, name, err);
        first = end;
    }
    eye_buf_adds(&index, "}}\n");
    if (st == EYE_OK)
        st = index.failed ? eye_fail_nomem(err, index.cap)
                          : eye_mk_write_file(p->o->out, "model.safetensors.index.json", index.p, index.len, err);
    eye_buf_clear(&index);
    return st;
}

/* ---- configurations ---- */

static void put_text_config(struct eye_buf *b, const struct eye_mk_opts *o) {
    const struct eye_mk_size *z = o->size;
    eye_buf_printf(b,
                   "\"hidden_size\":%lld,\"intermediate_size\":%lld,\"num_hidden_layers\":%lld,\"num_attention_heads\":%lld,"
                   "\"num_key_value_heads\":%lld,\"vocab_size\":%lld,",
                   (long long)z->hidden, (long long)z->ffn, (long long)z->n_layers, (long long)z->n_heads,
                   (long long)z->n_kv_heads, (long long)vocab(o));
    eye_buf_printf(b,
                   "\"hidden_act\":\"silu\",\"max_position_embeddings\":32768,\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,"
                   "\"use_sliding_window\":false,\"tie_word_embeddings\":%s,\"bos_token_id\":%lld,\"eos_token_id\":%lld",
                   z->tied ? "true" : "false", (long long)z->n_bpe, (long long)z->n_bpe + 2);
}

static void put_config(struct eye_buf *b, const struct eye_mk_opts *o) {
    const struct eye_mk_size *z = o->size;
    if (o->format != EYE_MK_HF) {
        eye_buf_printf(
            b,
            "{\"architectures\":[\"LlavaQwen2ForCausalLM\"],\"model_type\":\"llava_qwen2\",\"image_aspect_ratio\":\"pad\","
            "\"mm_hidden_size\":%lld,\"mm_projector_type\":\"mlp2x_gelu\",\"mm_vision_tower\":\"mobileclip_l_%lld\","
            "\"mm_patch_merge_type\":\"flat\",\"mm_use_im_start_end\":false,\"mm_vision_select_layer\":-2,"
            "\"tokenizer_model_max_length\":8192,",
            (long long)z->width[4] * 2, (long long)z->side_px);
        put_text_config(b, o);
        eye_buf_adds(b, "}\n");
        return;
    }
    eye_buf_printf(
        b,
        "{\"architectures\":[\"FastVlmForConditionalGeneration\"],\"model_type\":\"fast_vlm\",\"image_token_index\":%lld,"
        "\"image_seq_length\":%lld,\"projector_hidden_act\":\"gelu\",\"multimodal_projector_bias\":true,"
        "\"vision_feature_layer\":-1,\"vision_feature_select_strategy\":\"full\",\"tie_word_embeddings\":%s,",
        (long long)z->n_bpe + 3, (long long)((z->side_px / 64) * (z->side_px / 64)), z->tied ? "true" : "false");
    eye_buf_printf(
        b,
        "\"vision_config\":{\"model_type\":\"timm_wrapper\",\"architecture\":\"fastvit_mci3\",\"hidden_size\":%lld,"
        "\"model_args\":{\"inference_mode\":true,\"layers\":[%lld,%lld,%lld,%lld,%lld],\"embed_dims\":[%lld,%lld,%lld,%lld,%lld]}},",
        (long long)z->width[4] * 2, (long long)z->depth[0], (long long)z->depth[1], (long long)z->depth[2],
        (long long)z->depth[3], (long long)z->depth[4], (long long)z->width[0], (long long)z->width[1], (long long)z->width[2],
        (long long)z->width[3], (long long)z->width[4]);
    eye_buf_adds(b, "\"text_config\":{\"model_type\":\"qwen2\",");
    put_text_config(b, o);
    eye_buf_adds(b, "}}\n");
}

static enum eye_status put_file(struct eye_buf *b, const struct eye_mk_opts *o, const char *name, struct eye_err *err) {
    enum eye_status st = b->failed ? eye_fail_nomem(err, b->cap) : eye_mk_write_file(o->out, name, b->p, b->len, err);
    eye_buf_clear(b);
    return st;
}

static enum eye_status write_configs(const struct eye_mk_opts *o, struct eye_err *err) {
    long long bos = o->size->n_bpe, side = o->size->side_px;
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    put_config(&b, o);
    EYE_TRY(put_file(&b, o, "config.json", err));
    eye_buf_init(&b, NULL);
    eye_buf_printf(
        &b,
        "{\"bos_token_id\":%lld,\"eos_token_id\":[%lld,%lld],\"pad_token_id\":%lld,\"do_sample\":true,\"temperature\":0.2,"
        "\"top_k\":50}\n",
        bos, bos + 2, bos, bos);
    EYE_TRY(put_file(&b, o, "generation_config.json", err));
    if (o->format != EYE_MK_HF) return EYE_OK;
    eye_buf_init(&b, NULL);
    eye_buf_printf(
        &b,
        "{\"image_processor_type\":\"CLIPImageProcessor\",\"do_resize\":true,\"do_center_crop\":true,\"do_rescale\":true,"
        "\"do_normalize\":true,\"do_convert_rgb\":true,\"resample\":3,\"rescale_factor\":0.00392156862745098,"
        "\"size\":{\"shortest_edge\":%lld},\"crop_size\":{\"height\":%lld,\"width\":%lld},\"image_mean\":[0.0,0.0,0.0],"
        "\"image_std\":[1.0,1.0,1.0]}\n",
        side, side, side);
    return put_file(&b, o, "preprocessor_config.json", err);
}

static enum eye_status copy_tokenizer(const struct eye_mk_opts *o, struct eye_err *err) {
    static const char *const file[] = {"tokenizer.json", "tokenizer_config.json"};
    for (size_t i = 0; i < EYE_COUNT(file); i++) {
        char path[1024];
        struct eye_map m;
        snprintf(path, sizeof path, "%s/%s", o->tokenizer_dir, file[i]);
        EYE_TRY(eye_map_open(&m, path, true, 0, err));
        enum eye_status st = eye_mk_write_file(o->out, file[i], m.p, m.size, err);
        eye_map_close(&m);
        if (st != EYE_OK) return st;
    }
    return EYE_OK;
}

enum eye_status eye_make_checkpoint(const struct eye_mk_opts *o, struct eye_err *err) {
    struct plan p = {.o = o, .names = o->format == EYE_MK_HF ? EYE_NAMES_HF : EYE_NAMES_APPLE};
    if (mkdir(o->out, 0777) != 0 && !eye_path_is_dir(o->out))
        return eye_fail(err, EYE_E_IO, "%s: cannot create the folder", o->out);
    p.spec = eye_alloc_zero(NULL, MAX_TENSORS * sizeof *p.spec);
    if (!p.spec) return eye_fail_nomem(err, MAX_TENSORS * sizeof *p.spec);
    list_tensors(&p);
    enum eye_status st = write_weights(&p, err);
    if (st == EYE_OK) st = write_configs(o, err);
    if (st == EYE_OK)
        st = o->tokenizer_dir ? copy_tokenizer(o, err)
                              : eye_make_tokenizer(o->size->n_bpe, o->format == EYE_MK_HF, o->out, err);
    eye_alloc_free(NULL, p.spec, MAX_TENSORS * sizeof *p.spec);
    return st;
}

enum eye_status eye_make_tiny(const char *out, struct eye_err *err) {
    const struct eye_mk_size *size = eye_mk_size_find("tiny");
    return eye_make_checkpoint(&(struct eye_mk_opts){.size = size, .dtype = EYE_F32, .seed = size->seed, .out = out}, err);
}
