/* Compiled files: what they give is what their model gives, bit for bit, for every family and type, threads, mapped or copied;
 * other CPUs, other types and broken bytes are refused; memory that runs out; writers that are stopped. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sys.h"
#include "engine/engine.h"
#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "format/compiled.h"
#include "format/gguf_write.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "text/tokenizer.h"

static struct eye_err err;
static char warned[256];

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static void hear_warning(void *ctx, enum eye_log_level level, const char *id, const char *text) {
    (void)ctx;
    if (level == EYE_LOG_WARNING && strcmp(id, "model.compiled-for-less") == 0) snprintf(warned, sizeof warned, "%s", text);
}

/* ---- models ---- */

enum { WIDTH = 24, HEIGHT = 20, PICTURE_BYTES = WIDTH * HEIGHT * 3 };

static void draw(int i, uint8_t *rgb) {
    for (int k = 0; k < PICTURE_BYTES; k++) rgb[k] = (uint8_t)(k * (7 + i) % 97 + k / 31 % 2 * 80 + i * 3);
}

static const char *pictures(void) {
    static char dir[512];
    if (dir[0]) return dir;
    snprintf(dir, sizeof dir, "%s/pictures", eye_scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < 4; i++) {
        uint8_t ppm[32 + PICTURE_BYTES];
        char name[64];
        int n = snprintf((char *)ppm, 32, "P6 %d %d 255\n", WIDTH, HEIGHT);
        draw(i, ppm + n);
        snprintf(name, sizeof name, "pictures/%d.ppm", i);
        eye_scratch_write(name, ppm, (size_t)n + PICTURE_BYTES);
    }
    return dir;
}

/* "tiny", "odd": made from a formula; else a folder under test/golden. */
static const char *model_folder(const char *name) {
    static char path[1024];
    char from[1024];
    const struct eye_mk_size *z = eye_mk_size_find(name);
    const char *slash = strrchr(name, '/');
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), slash ? slash + 1 : name);
    if (eye_path_is_dir(path)) return path;
    if (z) {
        struct eye_mk_opts o = {.size = z, .format = EYE_MK_APPLE_TRAIN, .dtype = EYE_F32, .seed = z->seed, .out = path};
        ok(eye_make_checkpoint(&o, &err));
    } else {
        snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, name);
        ok(eye_make_listed(from, 300, path, &err));
    }
    return path;
}

/* Everything a model says about one picture and one prompt. */
struct said {
    float *rows, *logits;
    size_t n_rows, n_logits;
    struct eye_memory memory;
};

static struct said listen_to(const char *path, struct eye_model_opts o) {
    struct said a = {0};
    struct eye_model *m;
    struct eye_session *s;
    uint8_t rgb[PICTURE_BYTES];
    struct eye_image img;
    struct eye_model_info info;
    const int32_t ids[] = {5, 7, 20, 33, 18, 5, 9};
    draw(9, rgb);
    o.log = hear_warning;
    warned[0] = '\0';
    ok(eye_image_wrap(&img, rgb, WIDTH, HEIGHT, 0, &err));
    ok(eye_model_open(path, &o, &m, &err));
    ok(eye_model_memory(m, 0, &a.memory, &err));
    ok(eye_session_new(m, NULL, &s, &err));
    eye_model_get_info(m, &info);
    a.n_rows = (size_t)info.image_tokens * (size_t)info.hidden;
    a.n_logits = 3 * (size_t)info.n_vocab;
    a.rows = calloc(a.n_rows + 1, sizeof *a.rows);
    a.logits = calloc(a.n_logits, sizeof *a.logits);
    if (info.image_side) ok(eye_session_encode_image(s, &img, a.rows, NULL, &err));
    ok(eye_session_prefill(s, ids, EYE_COUNT(ids), NULL, a.logits, &err));
    for (int i = 1; i < 3; i++) ok(eye_session_step(s, 3 * i, a.logits + i * info.n_vocab, &err));
    eye_session_free(s);
    eye_model_close(m);
    return a;
}

static void free_said(struct said *a) { free(a->rows), free(a->logits); }

static void same(const char *what, const char *a, struct eye_model_opts oa, const char *b, struct eye_model_opts ob) {
    struct said x = listen_to(a, oa), y = listen_to(b, ob);
    assert_int_equal(x.n_rows, y.n_rows);
    assert_int_equal(x.n_logits, y.n_logits);
    if (memcmp(x.rows, y.rows, x.n_rows * sizeof *x.rows) != 0) fail_msg("%s: image rows differ", what);
    if (memcmp(x.logits, y.logits, x.n_logits * sizeof *x.logits) != 0) fail_msg("%s: logits differ", what);
    free_said(&x), free_said(&y);
}

static const char *compiled(const char *from, const struct eye_compile_opts *o, struct eye_compile_report *r) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/model.eyelet", eye_scratch_dir());
    ok(eye_compile(from, path, o, r, &err));
    return path;
}

/* ---- the same model ---- */

static void test_families(void **state) {
    static const char *const models[] = {"tiny", "odd", "compose/small-map", "compose/gpt2", "compose/large-pooled",
                                         "llava/clip", "llava/siglip", "llava/llama-bias", "llava/qwen2"};
    (void)state;
    for (size_t i = 0; i < EYE_COUNT(models); i++) {
        struct eye_compile_report r;
        const char *folder = model_folder(models[i]), *file = compiled(folder, NULL, &r);
        assert_true(r.n_packed > 4 && r.n_kept > 4);
        same(models[i], folder, (struct eye_model_opts){0}, file, (struct eye_model_opts){0});
    }
}

static void test_types(void **state) {
    static const struct { enum eye_weight_type decoder, vision; } type[] = {
        {EYE_WEIGHT_F32, EYE_WEIGHT_F32},   {EYE_WEIGHT_F16, EYE_WEIGHT_F16},   {EYE_WEIGHT_BF16, EYE_WEIGHT_BF16},
        {EYE_WEIGHT_Q8_0, EYE_WEIGHT_F16},  {EYE_WEIGHT_Q4_0, EYE_WEIGHT_BF16}, {EYE_WEIGHT_Q4_K, EYE_WEIGHT_Q8_0},
    };
    const char *folder = model_folder("tiny");
    (void)state;
    for (size_t i = 0; i < EYE_COUNT(type); i++) {
        struct eye_compile_opts o = {.decoder_type = type[i].decoder, .vision_type = type[i].vision, .n_threads = 2};
        struct eye_model_opts asked = {.decoder_type = type[i].decoder, .vision_type = type[i].vision};
        char what[32];
        snprintf(what, sizeof what, "type %zu", i);
        const char *file = compiled(folder, &o, NULL);
        same(what, folder, asked, file, (struct eye_model_opts){.n_threads = 3});
        same(what, folder, asked, file, asked); /* to ask for what is there is fine */
    }
}

static void test_int8(void **state) {
    static const char *const models[] = {"tiny", "compose/small-map"};
    (void)state;
    for (size_t i = 0; i < EYE_COUNT(models); i++) {
        char gguf[1024];
        struct eye_convert_opts o = {.vision_type = EYE_WEIGHT_INT8, .calibration = pictures()};
        snprintf(gguf, sizeof gguf, "%s/int8.gguf", eye_scratch_dir());
        ok(eye_convert(model_folder(models[i]), gguf, &o, NULL, &err));
        same(models[i], gguf, (struct eye_model_opts){0}, compiled(gguf, NULL, NULL), (struct eye_model_opts){0});
    }
}

/* A decoder of several types: run and compiled as it is, not rounded again. */
static void test_mixed(void **state) {
    char gguf[1024];
    struct eye_convert_report r;
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q4_0, .calibration = pictures(), .per_tensor = true};
    double most = 0, least = 1;
    (void)state;
    snprintf(gguf, sizeof gguf, "%s/mixed.gguf", eye_scratch_dir());
    ok(eye_convert(model_folder("tiny"), gguf, &o, &r, &err));
    for (size_t i = 0; i < r.n_matrices; i++) {
        if (r.tensor[i].weighted < 0) continue;
        most = fmax(most, r.tensor[i].weighted);
        least = fmin(least, r.tensor[i].weighted);
    }
    eye_convert_report_clear(&r);
    o.decoder_snr_db = -10 * log10(most * least);
    o.per_tensor = false;
    ok(eye_convert(model_folder("tiny"), gguf, &o, &r, &err));
    assert_true(r.n_raised > 0 && r.n_raised < r.n_could_raise);
    const char *file = compiled(gguf, NULL, NULL);
    same("mixed", gguf, (struct eye_model_opts){.n_threads = 1}, file, (struct eye_model_opts){.n_threads = 3});
    struct eye_model_opts narrow = {.decoder_type = EYE_WEIGHT_Q4_0};
    struct said a = listen_to(gguf, (struct eye_model_opts){0}), b = listen_to(gguf, narrow);
    assert_true(memcmp(a.logits, b.logits, a.n_logits * sizeof *a.logits) != 0);
    free_said(&a), free_said(&b);
    const char *const path[] = {gguf, file};
    for (int i = 0; i < 2; i++) { /* and by name it is what it was converted to */
        struct eye_model *m;
        struct eye_model_info info;
        ok(eye_model_open(path[i], NULL, &m, &err));
        eye_model_get_info(m, &info);
        assert_true(info.decoder_type == EYE_WEIGHT_Q4_0 && info.cache_type == EYE_CACHE_F16);
        eye_model_close(m);
    }
}

/* Copies in huge pages, other contexts, caches and threads; weights are not counted twice. */
static void test_options(void **state) {
    (void)state;
    const struct eye_model_opts opts[] = {{.no_mmap = true}, {.n_ctx = 64}, {.n_threads = 3}, {.cache_type = EYE_CACHE_I8},
                                          {.no_mmap = true, .n_threads = 2, .n_ctx = 100}, {.n_parallel = 4}};
    char gguf[1024];
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q4_0, .vision_type = EYE_WEIGHT_BF16};
    snprintf(gguf, sizeof gguf, "%s/options.gguf", eye_scratch_dir());
    ok(eye_convert(model_folder("tiny"), gguf, &o, NULL, &err));
    const char *file = compiled(gguf, NULL, NULL);
    for (size_t i = 0; i < EYE_COUNT(opts); i++) same("options", gguf, opts[i], file, opts[i]);
    struct said a = listen_to(gguf, opts[1]), mapped = listen_to(file, opts[1]), copied = listen_to(file, opts[0]);
    assert_true(mapped.memory.weights < a.memory.weights / 2);
    assert_true(copied.memory.weights > mapped.memory.weights);
    free_said(&a), free_said(&mapped), free_said(&copied);
}

/* What reads graphs before they are fused still finds its matrices. */
static void test_layers(void **state) {
    char gguf[1024];
    uint8_t rgb[PICTURE_BYTES];
    struct eye_image img;
    struct eye_array out[2];
    (void)state;
    snprintf(gguf, sizeof gguf, "%s/layers.gguf", eye_scratch_dir());
    ok(eye_convert(model_folder("tiny"), gguf, NULL, NULL, &err));
    const char *const path[] = {gguf, compiled(gguf, NULL, NULL)};
    draw(9, rgb);
    ok(eye_image_wrap(&img, rgb, WIDTH, HEIGHT, 0, &err));
    struct eye_query q = {.text = "Why?", .images = &img, .n_images = 1};
    for (int i = 0; i < 2; i++) {
        struct eye_model *m;
        const char *const *names;
        size_t n;
        ok(eye_model_open(path[i], NULL, &m, &err));
        ok(eye_model_layers(m, &names, &n, &err));
        assert_true(n > 3);
        struct eye_probe p = {.stage = EYE_PROBE_LAYER, .layer = names[n / 2], .query = &q};
        ok(eye_probe_run(m, &p, &out[i], &err));
        eye_model_close(m);
    }
    assert_int_equal(out[0].bytes, out[1].bytes);
    assert_memory_equal(out[0].data, out[1].data, out[0].bytes);
    eye_array_free(&out[0]);
    eye_array_free(&out[1]);
}

/* ---- the tokenizer ---- */

static size_t tokenize(const char *path, const char *text, int32_t *ids, size_t cap) {
    struct eye_model *m;
    size_t n;
    ok(eye_model_open(path, NULL, &m, &err));
    ok(eye_model_tokenize(m, text, strlen(text), EYE_TOKENIZE_SPECIAL, ids, cap, &n, &err));
    eye_model_close(m);
    assert_true(n <= cap);
    return n;
}

static void test_tokens(void **state) {
    static const char *const texts[] = {"hello world, hello again", "<|im_start|>user\ngr\xc3\xb6\xc3\x9f" "e<|im_end|>",
                                        "1234  \t\xf0\x9f\x98\x80 \xff", ""};
    static const char *const models[] = {"tiny", "llava/clip", "compose/gpt2"};
    (void)state;
    for (size_t k = 0; k < EYE_COUNT(models); k++) {
        const char *folder = model_folder(models[k]), *file = compiled(folder, NULL, NULL);
        for (size_t i = 0; i < EYE_COUNT(texts); i++) {
            int32_t a[128], b[128];
            size_t n = tokenize(folder, texts[i], a, EYE_COUNT(a));
            assert_int_equal(tokenize(file, texts[i], b, EYE_COUNT(b)), n);
            assert_memory_equal(a, b, n * sizeof *a);
        }
    }
}

static struct eye_buf rest; /* of tokenizer.json, for the readers below */

static enum eye_status open_lists(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *e) {
    struct eye_tokenizer_src src = {.tokenizer_json = {rest.p, rest.len}, .lists = {p, n}};
    struct eye_tokenizer *tk;
    struct eye_ids ids = {.alloc = alloc};
    enum eye_status st = eye_tokenizer_open(&tk, &src, alloc, e);
    if (st != EYE_OK) return st;
    st = eye_tokenizer_encode(tk, "hello world", 11, NULL, &ids, e);
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
    return st;
}

static void test_lists(void **state) {
    char path[1024];
    struct eye_map map;
    struct eye_buf lists;
    (void)state;
    snprintf(path, sizeof path, "%s/tokenizer.json", model_folder("tiny"));
    ok(eye_map_open(&map, path, true, 0, &err));
    eye_buf_init(&rest, NULL);
    eye_buf_init(&lists, NULL);
    ok(eye_tokenizer_pack((struct eye_bytes){map.p, map.size}, &rest, &lists, NULL, &err));
    eye_map_close(&map);
    ok(open_lists(lists.p, lists.len, NULL, &err));
    struct eye_tokenizer_src no_lists = {.tokenizer_json = {rest.p, rest.len}};
    struct eye_tokenizer *tk;
    enum eye_status st = eye_tokenizer_open(&tk, &no_lists, NULL, &err);
    assert_true(eye_error_is("no lists", st, EYE_E_CORRUPT, &err, "vocab"));
    uint8_t *head = malloc(64);
    memcpy(head, lists.p, 64);
    for (size_t n = 1; n <= 64; n++) assert_int_equal(open_lists(head + 64 - n, n, NULL, &err), EYE_E_CORRUPT);
    free(head);
    assert_int_equal(open_lists(lists.p, lists.len - 1, NULL, &err), EYE_E_CORRUPT);
    assert_true(eye_survives_mutations(open_lists, lists.p, lists.len, 3, 300));
    assert_true(eye_survives_faults(open_lists, lists.p, lists.len));
    eye_buf_clear(&lists);
    eye_buf_clear(&rest);
}

/* ---- CPUs ---- */

static bool lay_out_alike(uint32_t a, uint32_t b, const char *form) {
    struct eye_kernels ka, kb;
    uint64_t x, y;
    eye_kernels_init(&ka, a);
    eye_kernels_init(&kb, b);
    assert_true(eye_packed_layout(&ka, form, NULL, &x));
    assert_true(eye_packed_layout(&kb, form, NULL, &y));
    return x == y;
}

/* A file for less than this CPU runs as with --cpu; one for more, or for none, is refused. */
static void test_other_cpus(void **state) {
    const char *folder = model_folder("tiny");
    struct eye_model *m;
    (void)state;
    struct eye_compile_opts base = {.cpu_features = "base"};
    struct eye_compile_report r;
    const char *file = compiled(folder, &base, &r);
    assert_string_equal(r.cpu, "base");
    same("base", folder, (struct eye_model_opts){.cpu_features = "base"}, file, (struct eye_model_opts){0});
    if (lay_out_alike(0, eye_cpu_flags(), "gemm_f32_f32_f32")) {
        print_message("skipped: this CPU lays weights out as plain C does\n");
        return;
    }
    same("base", folder, (struct eye_model_opts){.cpu_features = "base"}, file, (struct eye_model_opts){0});
    assert_non_null(strstr(warned, "compiled for a CPU with base only"));
    file = compiled(folder, NULL, &r);
    enum eye_status st = eye_model_open(file, &(struct eye_model_opts){.cpu_features = "base"}, &m, &err);
    assert_true(eye_error_is("base", st, EYE_E_UNSUPPORTED, &err, "compile the model again here"));
}

static void test_layouts(void **state) {
    struct eye_kernels k;
    uint64_t a, b;
    const char *kernel;
    (void)state;
    eye_kernels_init(&k, eye_cpu_flags());
    assert_true(eye_packed_layout(&k, "gemm_f32_f32_f16", &kernel, &a));
    assert_memory_equal(kernel, "eye_gemm_f32_f32_f16_", 21);
    assert_true(eye_packed_layout(&k, "gemm_f32_f32_f16_taps", NULL, &b));
    assert_int_equal(a, b);
    assert_true(eye_packed_layout(&k, "gemm_f32_f32_f32", NULL, &b));
    assert_true(a != b);
    assert_false(eye_packed_layout(&k, "gemm", NULL, &b));
}

/* ---- refused ---- */

static void test_only_runs(void **state) {
    struct eye_model *m;
    char file[1024];
    const char *out = eye_scratch_path("again.eyelet");
    (void)state;
    snprintf(file, sizeof file, "%s", compiled(model_folder("tiny"), NULL, NULL));
    enum eye_status st = eye_convert(file, out, NULL, NULL, &err);
    assert_true(eye_error_is("convert", st, EYE_E_ARG, &err, "the model it was made from"));
    st = eye_compile(file, out, NULL, NULL, &err);
    assert_true(eye_error_is("compile", st, EYE_E_ARG, &err, "the model it was made from"));
    st = eye_model_open(file, &(struct eye_model_opts){.mmproj = file}, &m, &err);
    assert_true(eye_error_is("mmproj", st, EYE_E_ARG, &err, "takes no --mmproj"));
    struct eye_session *s;
    ok(eye_model_open(file, &(struct eye_model_opts){.decoder_type = EYE_WEIGHT_Q4_0}, &m, &err));
    st = eye_session_new(m, NULL, &s, &err);
    assert_true(eye_error_is("type", st, EYE_E_UNSUPPORTED, &err, "only as its kernels want it"));
    eye_model_close(m);
    char gguf[1024];
    snprintf(gguf, sizeof gguf, "%s/itself.gguf", eye_scratch_dir());
    ok(eye_convert(model_folder("tiny"), gguf, NULL, NULL, &err));
    assert_true(eye_error_is("itself", eye_compile(gguf, gguf, NULL, NULL, &err), EYE_E_ARG, &err, "is the input"));
}

/* The file again, one key replaced or one tensor cut short. */
struct edit {
    const char *key;   /* left out, or: */
    uint64_t layout;   /* not 0: of every form */
    int64_t version;   /* not 0 */
    size_t cut;        /* bytes that the first packed tensor lacks */
    bool floats;       /* it is said to be f32 */
    bool both;         /* the first absent weight is there as well */
    int64_t dims;      /* not 0: of all absent weights */
    int64_t decoder;   /* not 0: where it is said to begin */
};

static const char *edited(const char *file, const struct edit *e) {
    const char *out = eye_scratch_path("edited.eyelet");
    struct eye_gguf g;
    struct eye_gguf_writer w;
    ok(eye_gguf_open(&g, file, true, NULL, &err));
    eye_gguf_writer_init(&w, NULL);
    for (size_t i = 0; i < g.n_kv; i++) {
        const struct eye_gguf_kv *kv = &g.kv[i];
        uint64_t layout[EYE_COMPILED_MAX_FORMS];
        int64_t dims[4096];
        for (size_t k = 0; k < EYE_COUNT(layout); k++) layout[k] = e->layout;
        for (size_t k = 0; k < EYE_COUNT(dims); k++) dims[k] = e->dims;
        if (e->key && strcmp(kv->key, e->key) == 0) continue;
        if (strcmp(kv->key, "general.alignment") == 0) ok(eye_gguf_set_alignment(&w, 4096, &err));
        else if (e->layout && strcmp(kv->key, EYE_COMPILED_KEY "layouts") == 0)
            ok(eye_gguf_put_u64s(&w, kv->key, layout, kv->n, &err));
        else if (e->version && strcmp(kv->key, EYE_COMPILED_KEY "version") == 0)
            ok(eye_gguf_put_int(&w, kv->key, EYE_GGUF_U32, e->version, &err));
        else if (e->dims && strcmp(kv->key, EYE_COMPILED_KEY "dims") == 0)
            ok(eye_gguf_put_ints(&w, kv->key, EYE_GGUF_I64, dims, EYE_MIN(kv->n, EYE_COUNT(dims)), &err));
        else if (e->decoder && strcmp(kv->key, EYE_COMPILED_KEY "decoder") == 0)
            ok(eye_gguf_put_int(&w, kv->key, EYE_GGUF_I64, e->decoder, &err));
        else ok(eye_gguf_put_kv(&w, kv, &err));
    }
    bool first = true;
    for (size_t i = 0; i < g.table.n; i++) {
        struct eye_tensor t = g.table.entry[i].t;
        if (first && strncmp(g.table.entry[i].name, "packed.gemm", 11) == 0) {
            first = false;
            t.dims[0] -= (int64_t)e->cut;
            if (e->floats) t.dtype = EYE_F32, t.dims[0] /= 4;
        }
        ok(eye_gguf_add_tensor(&w, g.table.entry[i].name, &t, NULL, NULL, &err));
    }
    if (e->both) {
        const struct eye_gguf_kv *names = eye_gguf_find(&g, EYE_COMPILED_KEY "weights");
        struct eye_tensor t = {.data = "none of its", .dtype = EYE_I8, .rank = 1, .dims = {8}};
        char name[256];
        snprintf(name, sizeof name, "%.*s", (int)names->string[0].len, names->string[0].p);
        ok(eye_gguf_add_tensor(&w, name, &t, NULL, NULL, &err));
    }
    ok(eye_gguf_write(&w, out, &err));
    eye_gguf_writer_clear(&w);
    eye_gguf_close(&g);
    return out;
}

static enum eye_status use(const char *path) {
    struct eye_model *m;
    struct eye_session *s;
    struct eye_session_opts o = {.with_images = true};
    enum eye_status st = eye_model_open(path, NULL, &m, &err);
    if (st != EYE_OK) return st;
    st = eye_session_new(m, &o, &s, &err);
    if (st == EYE_OK) eye_session_free(s);
    eye_model_close(m);
    return st;
}

static void test_refused(void **state) {
    static const struct {
        struct edit edit;
        enum eye_status want;
        const char *says;
    } t[] = {
        {{.version = 7}, EYE_E_UNSUPPORTED, "version 7; this eyelet reads version 1"},
        {{.layout = 99}, EYE_E_UNSUPPORTED, "compile the model again here"},
        {{.key = EYE_COMPILED_KEY "layouts"}, EYE_E_CORRUPT, "expected 2 items, got 0"},
        {{.key = EYE_COMPILED_KEY "kernels"}, EYE_E_CORRUPT, "kernels"},
        {{.key = EYE_COMPILED_KEY "types"}, EYE_E_CORRUPT, "types"},
        {{.key = EYE_COMPILED_KEY "weights"}, EYE_E_CORRUPT, "expected 0 items"},
        {{.key = EYE_COMPILED_KEY "version"}, EYE_E_CORRUPT, "missing"},
        {{.cut = 64}, EYE_E_CORRUPT, "bytes, got"},
        {{.floats = true}, EYE_E_CORRUPT, "expected bytes"},
        {{.both = true}, EYE_E_CORRUPT, "it is there as well"},
        {{.dims = -1}, EYE_E_CORRUPT, "a negative dimension"},
        {{.dims = 1 << 20}, EYE_E_CORRUPT, "shape"},
        {{.dims = INT64_MAX}, EYE_E_CORRUPT, "no shape"},
        {{.decoder = -2}, EYE_E_CORRUPT, "expected the number of a packed tensor, got -2"},
        {{.decoder = 1}, EYE_E_CORRUPT, "expected the number of a packed tensor, got 1"},
        {{.decoder = INT64_MAX}, EYE_E_CORRUPT, "expected the number of a packed tensor"},
    };
    char file[1024];
    (void)state;
    snprintf(file, sizeof file, "%s", compiled(model_folder("tiny"), NULL, NULL));
    ok(use(edited(file, &(struct edit){0})));
    ok(use(edited(file, &(struct edit){.key = EYE_COMPILED_KEY "decoder"}))); /* nothing is read ahead */
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        const char *path = edited(file, &t[i].edit);
        assert_true(eye_error_is(t[i].says, use(path), t[i].want, &err, t[i].says));
    }
}

/* The decoder's panels lie behind all others, where the file says. */
static void test_decoder_place(void **state) {
    struct eye_gguf g;
    int64_t first;
    size_t n_before = 0;
    (void)state;
    ok(eye_gguf_open(&g, compiled(model_folder("tiny"), NULL, NULL), true, NULL, &err));
    ok(eye_gguf_int(&g, EYE_COMPILED_KEY "decoder", -1, &first, &err));
    assert_true(first > 0 && (size_t)first < g.table.n);
    for (size_t i = 0; i < g.table.n; i++) {
        const char *name = g.table.entry[i].name;
        bool packed = eye_compiled_is_packed(name), decoder = strstr(name, ".blk.") && !strstr(name, ".v.");
        if (decoder && packed) assert_true(i >= (size_t)first);
        if (i >= (size_t)first) assert_true(packed && (decoder || strstr(name, "output") || strstr(name, "token_embd")));
        if (i > 0) assert_true((const uint8_t *)g.table.entry[i].t.data > (const uint8_t *)g.table.entry[i - 1].t.data);
        n_before += packed && i < (size_t)first;
    }
    assert_true(n_before > 1); /* the tower's, the tokenizer's */
    eye_gguf_close(&g);
}

static void test_sums(void **state) {
    struct eye_map map;
    struct eye_listing *l;
    struct eye_gguf g;
    const char *file = compiled(model_folder("tiny"), NULL, NULL);
    (void)state;
    ok(eye_listing_open(file, &l, &err));
    assert_string_equal(eye_listing_format(l), "compiled");
    ok(eye_listing_check(l, &err));
    eye_listing_close(l);
    ok(eye_gguf_open(&g, file, true, NULL, &err));
    const struct eye_entry *last = &g.table.entry[g.table.n - 1];
    size_t at = (size_t)((const uint8_t *)last->t.data - g.map.p) + last->bytes / 2;
    eye_gguf_close(&g);
    ok(eye_map_open(&map, file, true, 0, &err));
    uint8_t *copy = malloc(map.size);
    memcpy(copy, map.p, map.size);
    copy[at] ^= 4;
    const char *bad = eye_scratch_write("bad.eyelet", copy, map.size);
    free(copy);
    eye_map_close(&map);
    ok(eye_listing_open(bad, &l, &err));
    assert_true(eye_error_is("a bit", eye_listing_check(l, &err), EYE_E_CORRUPT, &err, "packed."));
    eye_listing_close(l);
    ok(eye_listing_open(model_folder("tiny"), &l, &err));
    assert_true(eye_error_is("folder", eye_listing_check(l, &err), EYE_E_ARG, &err, "only compiled files"));
    eye_listing_close(l);
}

/* What comes before the weights, with bits and bytes changed, over and over: it opens or it does not, and says why. */
static void test_mutations(void **state) {
    char file[1024];
    struct eye_map map;
    struct eye_gguf g;
    struct eye_rng rng;
    (void)state;
    snprintf(file, sizeof file, "%s", compiled(model_folder("tiny"), NULL, NULL));
    ok(eye_gguf_open(&g, file, true, NULL, &err));
    size_t head = (size_t)((const uint8_t *)g.table.entry[0].t.data - g.map.p);
    eye_gguf_close(&g);
    ok(eye_map_open(&map, file, true, 0, &err));
    uint8_t *copy = malloc(map.size);
    eye_rng_seed(&rng, 11);
    for (int i = 0; i < 150; i++) {
        memcpy(copy, map.p, map.size);
        /* The end of it holds the lists and the tensors' places; the tokenizer's files before are others' to test. */
        for (uint64_t n = 1 + eye_rng_u64(&rng) % 3; n > 0; n--)
            copy[head - 1 - eye_rng_u64(&rng) % EYE_MIN(head, 24000)] ^= (uint8_t)(1u << eye_rng_u64(&rng) % 8);
        enum eye_status st = use(eye_scratch_write("mutated.eyelet", copy, map.size));
        if (st != EYE_OK && !err.text[0]) fail_msg("round %d: %s without a text", i, eye_status_name(st));
    }
    free(copy);
    eye_map_close(&map);
}

/* ---- faults ---- */

static void test_faults(void **state) {
    char file[1024];
    (void)state;
    snprintf(file, sizeof file, "%s", compiled(model_folder("tiny"), NULL, NULL));
    for (long n = 0;; n += 1 + n / 40) {
        struct eye_faulty f;
        struct eye_model *m;
        struct eye_session *s = NULL;
        eye_faulty_init(&f, n);
        enum eye_status st = eye_model_open(file, &(struct eye_model_opts){.alloc = &f.alloc, .n_threads = 1}, &m, &err);
        if (st == EYE_OK) {
            st = eye_session_new(m, &(struct eye_session_opts){.with_images = true}, &s, &err);
            if (st == EYE_OK) eye_session_free(s);
            eye_model_close(m);
        }
        assert_int_equal(f.n_live, 0);
        if (!f.failed) break;
        assert_int_equal(st, EYE_E_NOMEM);
    }
}

static bool stop_at(void *ctx) { return --*(int *)ctx < 0; }

/* Stopped anywhere, it leaves neither its file nor the one in between. */
static void test_cancel(void **state) {
    char dir[512], out[1024];
    (void)state;
    snprintf(dir, sizeof dir, "%s/stopped", eye_scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    snprintf(out, sizeof out, "%s/x.eyelet", dir);
    for (int n = 0; n < 60; n += 7) {
        int left = n;
        struct eye_compile_opts o = {.cancel = stop_at, .cancel_ctx = &left};
        assert_int_equal(eye_compile(model_folder("tiny"), out, &o, NULL, &err), EYE_E_CANCELLED);
        assert_int_equal(rmdir(dir), 0);
        assert_int_equal(mkdir(dir, 0700), 0);
    }
}

static int teardown(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families), cmocka_unit_test(test_types), cmocka_unit_test(test_int8),
        cmocka_unit_test(test_options), cmocka_unit_test(test_layers), cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_lists), cmocka_unit_test(test_other_cpus), cmocka_unit_test(test_layouts),
        cmocka_unit_test(test_only_runs), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_decoder_place), cmocka_unit_test(test_sums),
        cmocka_unit_test(test_mutations), cmocka_unit_test(test_faults), cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_mixed),
    };
    return cmocka_run_group_tests_name("compile", tests, NULL, teardown);
}
