/* LLaVA (CLIP, SigLIP) and decoders alone: test/golden/llava holds configurations, lists of tensors (their values are a
 * formula) and what transformers made of them in float64 (test/reference/llava.py --fixtures). Parts by the oracle, unfolded and folded,
 * from the folder and from its GGUF; whole sessions token by token. Then configurations and checkpoints that must fail.
 */
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

#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "golden_help.h"
#include "support/eval_model.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static const char *const with_eyes[] = {"clip", "clip-old", "clip-list", "siglip", "original"};
static const char *const text_only[] = {"llama", "llama-bias", "qwen2", "mistral"};
static const int32_t before[] = {1, 77}, after[] = {201, 33, 118};
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *folder(const char *name) { return listed_folder("llava", name); }

/* The case as one file. */
static const char *converted(const char *name) {
    static char path[1100];
    snprintf(path, sizeof path, "%s.gguf", folder(name));
    ok(eye_convert(folder(name), path, NULL, NULL, &err));
    return path;
}

/* Some 70 results on the way are rounded to f32 (6e-8 of their size each); layers amplify by a few. */
static void assert_golden(const char *name, const char *what, const float *got, int64_t n) {
    assert_near_golden("llava", name, what, got, (size_t)n, 2e-5);
}

static void check_parts(const char *name, const char *path, bool fold) {
    struct eye_opened o;
    struct eye_evaluated e;
    eye_open_model(&o, path);
    int64_t side = o.m.config.prep.side_px;
    float *px = eye_test_pixels(side, 1);
    eye_eval_model(&o.m, fold, px, before, EYE_COUNT(before), after, EYE_COUNT(after), &e);
    assert_int_equal(e.n_features / o.m.config.vision.channels, eye_vlm_image_tokens(&o.m, side));
    assert_int_equal(eye_vlm_image_tokens(&o.m, side + 7), 0); /* positions are learned for one side */
    assert_golden(name, "features", e.features, e.n_features);
    assert_golden(name, "projected", e.projected, e.n_projected);
    assert_golden(name, "logits", e.logits, e.n_logits);
    eye_evaluated_free(&e);
    free(px);
    eye_close_model(&o);
}

static void parts_match_transformers(void **state) {
    for (size_t i = 0; i < EYE_COUNT(with_eyes); i++) {
        check_parts(with_eyes[i], folder(with_eyes[i]), false);
        check_parts(with_eyes[i], folder(with_eyes[i]), true);
        check_parts(with_eyes[i], converted(with_eyes[i]), true);
    }
}

/* ---- sessions ---- */

static int32_t argmax(const float *x, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[best]) best = i;
    return (int32_t)best;
}

/* before, the picture's rows if the model sees, after; then greedy: a prefill and single steps. */
static void check_session(const char *name, const char *path, bool sees) {
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    size_t n_want, n = EYE_COUNT(before);
    int32_t *want = golden("llava", name, "greedy", &n_want), ids[256];
    float *rows = NULL;
    ok(eye_model_open(path, NULL, &m, &err));
    ok(eye_session_new(m, NULL, &s, &err));
    memcpy(ids, before, sizeof before);
    if (sees) {
        ok(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
        rows = malloc((size_t)eye_model_image_tokens(m) * (size_t)eye_model_hidden(m) * sizeof *rows);
        ok(eye_session_encode_image(s, &img, rows, NULL, &err));
        for (int32_t i = 0; i < eye_model_image_tokens(m); i++) ids[n++] = EYE_TOKEN_IMAGE_ROW;
        eye_image_free(&img);
    }
    memcpy(ids + n, after, sizeof after);
    size_t vocab = (size_t)eye_model_n_vocab(m);
    float *logits = malloc(vocab * sizeof *logits);
    ok(eye_session_prefill(s, ids, n + EYE_COUNT(after), rows, logits, &err));
    if (!sees) assert_golden(name, "logits", logits, (int64_t)vocab);
    for (size_t i = 0; i < n_want; i++) {
        assert_int_equal(argmax(logits, vocab), want[i]);
        ok(eye_session_step(s, want[i], logits, &err));
    }
    free(logits);
    free(rows);
    free(want);
    eye_session_free(s);
    eye_model_close(m);
}

static void sessions_match_transformers(void **state) {
    for (size_t i = 0; i < EYE_COUNT(with_eyes); i++) {
        check_session(with_eyes[i], folder(with_eyes[i]), true);
        check_session(with_eyes[i], converted(with_eyes[i]), true);
    }
    for (size_t i = 0; i < EYE_COUNT(text_only); i++) {
        check_session(text_only[i], folder(text_only[i]), false);
        check_session(text_only[i], converted(text_only[i]), false);
    }
}

static void text_models_refuse_images(void **state) {
    struct eye_model *m;
    struct eye_session *s;
    struct eye_image img;
    struct eye_model_info info;
    struct eye_memory memory;
    struct eye_result r;
    int32_t ids[64];
    size_t n;
    const char *const *layers;
    float row[64];
    ok(eye_model_open(folder("qwen2"), NULL, &m, &err));
    ok(eye_session_new(m, NULL, &s, &err));
    ok(eye_image_load(TEST_DATA "/../doc/demo.jpg", NULL, &img, &err));
    struct eye_query q = {.text = "A picture", .images = &img, .n_images = 1};
    assert_int_equal(eye_session_assemble(s, &q, ids, EYE_COUNT(ids), &n, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_session_encode_image(s, &img, row, NULL, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "takes no images"));
    q.n_images = 0;
    struct eye_generate_opts go = {.n_predict = 4, .ignore_eos = true};
    ok(eye_session_generate(s, &q, &go, &r, &err));
    assert_int_equal(r.n_tokens, 4);
    eye_model_get_info(m, &info);
    assert_int_equal(info.image_side, 0);
    assert_string_equal(info.architecture, "qwen2 (text only)");
    ok(eye_model_memory(m, 0, &memory, &err));
    ok(eye_model_layers(m, &layers, &n, &err));
    assert_int_equal(n, 3 * info.n_layers + 1);
    eye_image_free(&img);
    eye_session_free(s);
    eye_model_close(m);
}

/* llama.cpp's Llama turns neighbours: its files, and ours, have the rows of q and k by twos. */
static void llama_files_are_llama_cpps(void **state) {
    struct eye_convert_opts o = {.part = EYE_CONVERT_DECODER};
    const size_t d = 12, k = 48; /* rows of a head, columns */
    char path[1100];
    struct eye_opened m, alone;
    struct eye_str arch;
    int64_t n, n_alone;
    snprintf(path, sizeof path, "%s-alone.gguf", folder("llama"));
    ok(eye_convert(folder("llama"), path, &o, NULL, &err));
    eye_open_model(&m, folder("llama"));
    eye_open_model(&alone, path);
    ok(eye_gguf_str(&alone.ckpt.gguf, "general.architecture", &arch, &err));
    assert_int_equal(arch.len, 5);
    assert_memory_equal(arch.p, "llama", arch.len);
    const float *q = eye_binder_find(&m.m.bind, "blk.1.attn_q.weight")->data,
                *stored = eye_binder_find(&alone.m.bind, "blk.1.attn_q.weight")->data;
    for (size_t h = 0; h < 4; h++)
        for (size_t i = 0; i < d; i++) {
            size_t from = h * d + i / 2 + (i % 2) * d / 2;
            assert_memory_equal(stored + (h * d + i) * k, q + from * k, k * sizeof *q);
        }
    float *rows = eye_test_pixels(8, 5), /* any numbers: four rows */
          *x = eye_eval_part(&m.m, EYE_PART_DECODER, true, rows, 4, &n),
          *y = eye_eval_part(&alone.m, EYE_PART_DECODER, true, rows, 4, &n_alone);
    assert_int_equal(n, n_alone);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
    free(rows);
    free(x);
    free(y);
    eye_close_model(&m);
    eye_close_model(&alone);
}

/* ---- what must fail ---- */

static void read_text(const char *name, const char *file, struct eye_buf *b) {
    char path[1024];
    struct eye_map map;
    snprintf(path, sizeof path, "%s/golden/llava/%s/%s", TEST_DATA, name, file);
    ok(eye_map_open(&map, path, true, 0, &err));
    eye_buf_init(b, NULL);
    eye_buf_add(b, (const char *)map.p, map.size);
    eye_map_close(&map);
}

/* The case with one replacement in config.json, and without the tensors whose names begin so (NULL = none). */
static const char *edited(const char *name, const char *find, const char *replace, const char *without) {
    static char path[1024];
    static int k;
    char from[1024];
    struct eye_buf config, tensors, b;
    snprintf(from, sizeof from, "%s/from-%d", eye_scratch_dir(), k);
    snprintf(path, sizeof path, "%s/edited-%d", eye_scratch_dir(), k++);
    assert_int_equal(mkdir(from, 0777), 0);
    read_text(name, "config.json", &config);
    const char *at = memmem(config.p, config.len, find, strlen(find));
    if (!at) fail_msg("%s has no %s", name, find);
    eye_buf_init(&b, NULL);
    eye_buf_add(&b, config.p, (size_t)(at - config.p));
    eye_buf_adds(&b, replace);
    at += strlen(find);
    eye_buf_add(&b, at, (size_t)(config.p + config.len - at));
    ok(eye_mk_write_file(from, "config.json", b.p, b.len, &err));
    b.len = 0;
    read_text(name, "tensors.txt", &tensors);
    for (const char *line = tensors.p, *end = tensors.p + tensors.len, *next; line < end; line = next) {
        next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if (!without || strncmp(line, without, strlen(without)) != 0) eye_buf_add(&b, line, (size_t)(next - line));
    }
    ok(eye_mk_write_file(from, "tensors.txt", b.p, b.len, &err));
    eye_buf_clear(&b);
    eye_buf_clear(&tensors);
    eye_buf_clear(&config);
    ok(eye_make_listed(from, N_BPE, path, &err));
    return path;
}

static void wrong_models_fail(void **state) {
    static const struct { const char *name, *find, *replace, *without; enum eye_status st; const char *says; } t[] = {
        {"clip", "\"clip_vision_model\"", "\"eva_vision\"", NULL, EYE_E_UNSUPPORTED, "vision_config.model_type"},
        {"clip", "\"vision_config\"", "\"vision\"", NULL, EYE_E_CORRUPT, "vision_config: missing"},
        {"clip", "\"text_config\"", "\"text\"", NULL, EYE_E_CORRUPT, "text_config: missing"},
        {"clip", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": -5", NULL, EYE_E_CORRUPT, "there are 3 layers"},
        {"clip", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": 4", NULL, EYE_E_CORRUPT, "there are 3 layers"},
        {"clip", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": []", NULL, EYE_E_CORRUPT, "the list is empty"},
        {"clip", "\"vision_feature_layer\": -2", "\"vision_feature_layer\": [1, 2]", NULL, EYE_E_CORRUPT, "linear_1.weight"},
        {"clip", "\"default\"", "\"some\"", NULL, EYE_E_UNSUPPORTED, "vision_feature_select_strategy"},
        {"siglip", "\"full\"", "\"default\"", NULL, EYE_E_UNSUPPORTED, "vision_feature_select_strategy"},
        {"clip", "\"num_attention_heads\": 2", "\"num_attention_heads\": 3", NULL, EYE_E_CORRUPT, "num_attention_heads"},
        {"clip", "\"image_size\": 28", "\"image_size\": 35", NULL, EYE_E_CORRUPT, "position_embedding"},
        {"clip", "\"image_size\": 28", "\"image_size\": 6", NULL, EYE_E_CORRUPT, "vision_config.image_size"},
        {"clip", "\"patch_size\": 7", "\"patch_size\": 4", NULL, EYE_E_CORRUPT, "patch_embedding"},
        {"clip", "\"patch_size\": 7", "\"patch_size\": 0", NULL, EYE_E_CORRUPT, "patch_size"},
        {"clip", "\"image_size\": 28", "\"image_size\": 28, \"hidden_act\": \"mish\"", NULL, EYE_E_UNSUPPORTED, "hidden_act"},
        {"clip", "\"image_size\": 28", "\"image_size\": 28, \"num_channels\": 1", NULL, EYE_E_UNSUPPORTED, "num_channels"},
        {"clip", "\"llama\"", "\"gemma\"", NULL, EYE_E_UNSUPPORTED, "text_config.model_type"},
        {"clip", "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 2", NULL, EYE_E_CORRUPT, "layers.2"},
        {"clip", "\"image_size\": 28", "\"image_size\": 28", "model.vision_tower.encoder.layers.1.", EYE_E_CORRUPT, "layers.1"},
        {"original", "\"somebody/tiny-clip\"", "\"somebody/tiny-clip\"", "model.vision_tower.", EYE_E_UNSUPPORTED,
         "config.json leaves it in somebody/tiny-clip"},
        {"original", "\"vision_config\"", "\"vision\"", NULL, EYE_E_UNSUPPORTED, "add a vision_config"},
        {"original", "\"pad\"", "\"anyres\"", NULL, EYE_E_UNSUPPORTED, "image_aspect_ratio"},
        {"original", "\"patch\"", "\"cls\"", NULL, EYE_E_UNSUPPORTED, "mm_vision_select_feature"},
        {"original", "\"mm_vision_select_layer\": -2", "\"mm_vision_select_layer\": 9", NULL, EYE_E_CORRUPT, "no such layer"},
        {"llama", "\"rope_theta\"", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8.0}, \"rope_theta\"", NULL,
         EYE_E_UNSUPPORTED, "rope_scaling"},
        {"llama", "\"hidden_size\"", "\"attention_bias\": true, \"hidden_size\"", NULL, EYE_E_CORRUPT, "q_proj.bias"},
        {"llama-bias", "\"mlp_bias\": true", "\"mlp_bias\": false", NULL, EYE_E_CORRUPT, "mlp.gate_proj.bias"},
        {"llama", "\"llama\"", "\"phi\"", NULL, EYE_E_UNSUPPORTED, "model_type"},
        {"mistral", "\"sliding_window\": null", "\"sliding_window\": 128", NULL, EYE_E_UNSUPPORTED, "sliding_window"},
        {"mistral", "\"num_key_value_heads\": 2, ", "", NULL, EYE_E_CORRUPT, "num_key_value_heads"},
    };
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        struct eye_checkpoint ckpt;
        struct eye_vlm m;
        ok(eye_checkpoint_open(&ckpt, edited(t[i].name, t[i].find, t[i].replace, t[i].without), NULL, NULL, &err));
        enum eye_status st = eye_vlm_open(&m, &ckpt, NULL, &err);
        if (st != t[i].st || !strstr(err.text, t[i].says))
            fail_msg("%s, %s: %s: %s", t[i].name, t[i].replace, eye_status_name(st), st == EYE_OK ? "" : err.text);
        eye_checkpoint_close(&ckpt);
    }
}

/* A window that is no shorter than the context, and layers that are not there and not needed. */
static void harmless_variants_open(void **state) {
    static const struct { const char *name, *find, *replace, *without; } t[] = {
        {"mistral", "\"sliding_window\": null", "\"sliding_window\": 256", NULL},
        {"clip", "\"image_size\": 28", "\"image_size\": 28", "model.vision_tower.encoder.layers.2."},
        {"clip", "\"image_size\": 28", "\"image_size\": 28", "model.vision_tower.post_layernorm."},
    };
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        struct eye_opened o;
        eye_open_model(&o, edited(t[i].name, t[i].find, t[i].replace, t[i].without));
        eye_close_model(&o);
    }
}

static int teardown(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_match_transformers), cmocka_unit_test(sessions_match_transformers),
        cmocka_unit_test(text_models_refuse_images), cmocka_unit_test(llama_files_are_llama_cpps),
        cmocka_unit_test(wrong_models_fail), cmocka_unit_test(harmless_variants_open),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
