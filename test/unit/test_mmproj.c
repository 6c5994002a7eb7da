/* Unit tests of format/gguf_mmproj: a LLaVA as llama.cpp's two files is the folder it came from, bit for bit; and what is
 * refused.
 * (Written by Python's gguf package and run whole: test/reference/gguf_mmproj.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eyelet/eyelet.h"
#include "eyelet/convert.h"
#include "format/gguf_write.h"
#include "support/eval_model.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *folder(void) {
    const char *path = eye_scratch_path("clip");
    if (!eye_path_is_dir(path)) ok(eye_make_listed(TEST_DATA "/golden/llava/clip", 300, path, &err));
    return path;
}

static const char *text_file(void) {
    const struct eye_convert_opts o = {.part = EYE_CONVERT_DECODER};
    static char path[1024];
    snprintf(path, sizeof path, "%s", eye_scratch_path("text.gguf"));
    if (!eye_path_exists(path)) ok(eye_convert(folder(), path, &o, NULL, &err));
    return path;
}

/* One thing that is different: a key's text or number, or a tensor left out. */
struct change {
    const char *key, *text;
    double number;
    const char *without;
    enum eye_status st;
    const char *says;
};

static void put(struct eye_gguf_writer *w, const struct change *c, const char *key, int64_t v) {
    if (strcmp(c->key ? c->key : "", key) != 0) ok(eye_gguf_put_int(w, key, EYE_GGUF_U32, v, &err));
}

/* The tower up to the layer that is taken, and the projector, as converters write them; swapped: in the old way. */
static const char *mmproj(const struct change *c, bool swapped) {
    static const double half[3] = {0.48145466, 0.4578275, 0.40821073}, std[3] = {0.26862954, 0.26130258, 0.27577711};
    static char path[1024];
    struct eye_gguf_writer w;
    struct eye_opened m;
    eye_open_model(&m, folder());
    const struct eye_vit_config *v = &m.m.config.vision.vit;
    snprintf(path, sizeof path, "%s", eye_scratch_path("mmproj.gguf"));
    eye_gguf_writer_init(&w, NULL);
    if (!c->key || strcmp(c->key, "general.architecture") != 0) ok(eye_gguf_put_text(&w, "general.architecture", "clip", &err));
    put(&w, c, "clip.vision.image_size", v->side_px);
    put(&w, c, "clip.vision.patch_size", v->patch_px);
    put(&w, c, "clip.vision.embedding_length", v->hidden);
    put(&w, c, "clip.vision.feed_forward_length", v->ffn);
    put(&w, c, "clip.vision.attention.head_count", v->n_heads);
    put(&w, c, "clip.vision.block_count", v->tap[0]);
    ok(eye_gguf_put_float(&w, "clip.vision.attention.layer_norm_epsilon", EYE_GGUF_F32, (double)v->eps, &err));
    ok(eye_gguf_put_floats(&w, "clip.vision.image_mean", EYE_GGUF_F32, half, c->key && strstr(c->key, "image_mean") ? 2 : 3,
                           &err));
    ok(eye_gguf_put_floats(&w, "clip.vision.image_std", EYE_GGUF_F32, std, 3, &err));
    if (c->text) ok(eye_gguf_put_text(&w, c->key, c->text, &err));
    else if (c->key && !strstr(c->key, "image_mean")) ok(eye_gguf_put_int(&w, c->key, EYE_GGUF_I32, (int64_t)c->number, &err));
    for (size_t i = 0; i < m.m.bind.n; i++) {
        char name[EYE_NAME_MAX];
        const char *canonical = m.m.bind.canonical[i], *ffn = strstr(canonical, ".ffn_");
        bool tower = strncmp(canonical, "v.", 2) == 0 && strncmp(canonical, "v.post_ln", 9) != 0;
        if ((!tower && strncmp(canonical, "mm.", 3) != 0) || (c->without && strcmp(c->without, canonical) == 0)) continue;
        if (strncmp(canonical, "v.blk.", 6) == 0 && atoi(canonical + 6) >= v->tap[0]) continue;
        snprintf(name, sizeof name, "%s", canonical);
        if (swapped && ffn)
            snprintf(name, sizeof name, "%.*s%s%s", (int)(ffn - canonical), canonical, strstr(ffn, "up.") ? ".ffn_down"
                     : ".ffn_up",
                     strrchr(canonical, '.'));
        ok(eye_gguf_add_tensor(&w, name, &eye_checkpoint_tensor(&m.ckpt, i)->t, NULL, NULL, &err));
    }
    ok(eye_gguf_write(&w, path, &err));
    eye_gguf_writer_clear(&w);
    eye_close_model(&m);
    return path;
}

static void two_files_are_the_folder(void **state) {
    static const struct change none = {NULL};
    static const int32_t ids[] = {1, 77, 201, 33};
    struct eye_opened a;
    struct eye_evaluated x, y;
    eye_open_model(&a, folder());
    float *pixels = eye_test_pixels(a.m.config.prep.side_px, 3);
    eye_eval_model(&a.m, true, pixels, ids, 2, ids + 2, 2, &x);
    for (int swapped = 0; swapped < 2; swapped++) {
        const struct eye_checkpoint_opts o = {.mmproj = mmproj(&none, swapped)};
        struct eye_opened b;
        ok(eye_checkpoint_open(&b.ckpt, text_file(), &o, NULL, &err));
        ok(eye_vlm_open(&b.m, &b.ckpt, NULL, &err));
        eye_eval_model(&b.m, true, pixels, ids, 2, ids + 2, 2, &y);
        assert_int_equal(x.n_features, y.n_features);
        assert_memory_equal(x.features, y.features, (size_t)x.n_features * sizeof(float));
        assert_memory_equal(x.projected, y.projected, (size_t)x.n_projected * sizeof(float));
        assert_memory_equal(x.logits, y.logits, (size_t)x.n_logits * sizeof(float));
        assert_int_equal(b.m.config.prep.mode, EYE_PREP_PAD);
        assert_string_equal(b.m.config.chat_template, "vicuna");
        eye_evaluated_free(&y);
        eye_close_model(&b);
    }
    eye_evaluated_free(&x);
    free(pixels);
    eye_close_model(&a);
}

/* And the one file that convert makes of them. */
static void two_files_become_one(void **state) {
    static const struct change none = {NULL};
    struct eye_convert_opts o = {.mmproj = mmproj(&none, true)};
    struct eye_model_opts mo = {.mmproj = o.mmproj};
    struct eye_model *pair, *one;
    struct eye_model_info a, b;
    const char *out = eye_scratch_path("one.gguf");
    ok(eye_convert(text_file(), out, &o, NULL, &err));
    ok(eye_model_open(text_file(), &mo, &pair, &err));
    ok(eye_model_open(out, NULL, &one, &err));
    eye_model_get_info(pair, &a);
    eye_model_get_info(one, &b);
    assert_string_equal(a.architecture, b.architecture);
    assert_int_equal(a.image_tokens, b.image_tokens);
    assert_true(a.n_params == b.n_params && a.image_tokens > 0);
    eye_model_close(pair);
    eye_model_close(one);
    assert_int_equal(eye_convert(text_file(), o.mmproj, &o, NULL, &err), EYE_E_ARG); /* would destroy its input */
    assert_int_equal(eye_model_open(folder(), &mo, &one, &err), EYE_E_ARG);
    assert_int_equal(eye_model_open(out, &mo, &one, &err), EYE_E_ARG);
    assert_int_equal(eye_model_open(o.mmproj, NULL, &one, &err), EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "with --mmproj"));
}

/* Vision projectors are where llama.cpp had its crashes: a divisor of zero (#24085), sizes that are no sizes (#27223),
 * positions beyond a table (#27166). Each is one line here. */
static void hostile_files_are_refused(void **state) {
    static const struct change rows[] = {
        {"general.architecture", "llama", 0, NULL, EYE_E_ARG, "no vision tower of llama.cpp's"},
        {"clip.projector_type", "ldp", 0, NULL, EYE_E_UNSUPPORTED, "clip.projector_type: got ldp, supported: mlp"},
        {"clip.projector_type", "resampler", 0, NULL, EYE_E_UNSUPPORTED, "got resampler"},
        {"clip.vision.mm_patch_merge_type", "spatial_unpad", 0, NULL, EYE_E_UNSUPPORTED, "LLaVA-NeXT"},
        {"clip.vision.feature_layer", NULL, 3, NULL, EYE_E_UNSUPPORTED, "clip.vision.feature_layer"},
        {"clip.vision.attention.head_count", NULL, 0, NULL, EYE_E_CORRUPT, "head_count is 0, expected 1 or more"},
        {"clip.vision.attention.head_count", NULL, 7, NULL, EYE_E_CORRUPT, ""},
        {"clip.vision.patch_size", NULL, 0, NULL, EYE_E_CORRUPT, "patch_size is 0"},
        {"clip.vision.patch_size", NULL, -14, NULL, EYE_E_CORRUPT, "patch_size is -14"},
        {"clip.vision.patch_size", NULL, 2147483647, NULL, EYE_E_CORRUPT, "patch_size"},
        {"clip.vision.image_size", NULL, 16384, NULL, EYE_E_CORRUPT, "image_size"},
        {"clip.vision.image_size", NULL, 56, NULL, EYE_E_CORRUPT, "v.position_embd.weight"},
        {"clip.vision.embedding_length", NULL, 64, NULL, EYE_E_CORRUPT, ""},
        {"clip.vision.feed_forward_length", NULL, 2000000000, NULL, EYE_E_CORRUPT, "intermediate_size"},
        {"clip.vision.image_mean", NULL, 0, NULL, EYE_E_CORRUPT, "clip.vision.image_mean: expected three numbers"},
        {NULL, NULL, 0, "v.position_embd.weight", EYE_E_CORRUPT, "v.position_embd.weight"},
        {NULL, NULL, 0, "v.blk.0.attn_q.weight", EYE_E_CORRUPT, "v.blk.0.attn_q.weight"},
        {NULL, NULL, 0, "v.blk.0.ln1.weight", EYE_E_CORRUPT, ""},
        {NULL, NULL, 0, "mm.0.weight", EYE_E_UNSUPPORTED, "mm.0"},
        {NULL, NULL, 0, "mm.2.weight", EYE_E_CORRUPT, "mm.2.bias"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_model_opts o = {.mmproj = mmproj(&rows[i], false)};
        struct eye_model *m = NULL;
        char what[64];
        snprintf(what, sizeof what, "row %zu", i);
        assert_true(eye_error_is(what, eye_model_open(text_file(), &o, &m, &err), rows[i].st, &err, rows[i].says));
    }
}

static int finish(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_files_are_the_folder),
        cmocka_unit_test(two_files_become_one),
        cmocka_unit_test(hostile_files_are_refused),
    };
    return cmocka_run_group_tests_name("mmproj", tests, NULL, finish);
}
