/* Fresh students: folders that open, numbers that depend on seed and name alone, pretrained weights by name and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "format/safetensors_write.h"
#include "model/vlm.h"
#include "support/support.h"
#include "train/student.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

#define CONFIG(variant, extra) \
    "{\"model_type\": \"eyelet_vlm\", \"vision\": {\"type\": \"mobilenetv3\", \"variant\": \"" variant "\", \"width\": 0.25, " \
    "\"image_size\": 32, \"padding\": \"tf_same\", \"batch_norm\": false}, \"projector\": {\"type\": \"linear\"}, " \
    "\"text\": {\"type\": \"gpt2\", \"n_embd\": 16, \"n_layer\": 2, \"n_head\": 2, \"n_positions\": 24" extra "}, " \
    "\"image_position\": \"first\"}"
#define RECIPE(config, more) "{\"seed\": 3, \"stages\": {}, \"student\": {\"config\": " config more "}}"
#define SIZED ", \"vocab_size\": 40, \"eos_token_id\": 1"

/* Makes the recipe's student in a new folder of the scratch one. */
static enum eye_status make(const char *text, const char *name, char dir[1024], struct eye_student_report *report) {
    struct eye_recipe r;
    snprintf(dir, 1024, "%s/%s", eye_scratch_dir(), name);
    mkdir(dir, 0777);
    ok(eye_recipe_parse(&r, text, strlen(text), name, NULL, 0, NULL, &err));
    enum eye_status st = eye_student_make(&r, dir, false, NULL, report, &err);
    eye_recipe_clear(&r);
    return st;
}

static void students_open_as_checkpoints(void **state) {
    char dir[2][1024];
    struct eye_student_report report;
    struct eye_checkpoint c[2];
    struct eye_vlm m;
    for (int i = 0; i < 2; i++) {
        ok(make(RECIPE(CONFIG("small_minimalistic", SIZED), ""), i ? "b" : "a", dir[i], &report));
        ok(eye_checkpoint_open(&c[i], dir[i], NULL, NULL, &err));
    }
    ok(eye_vlm_open(&m, &c[0], NULL, &err));
    assert_true(m.tied && m.config.text.vocab == 40 && m.config.eos[0] == 1);
    assert_int_equal(report.n_tensors, eye_checkpoint_n_tensors(&c[0]));
    assert_int_equal(report.n_params * 4, c[0].data_bytes);
    for (size_t i = 0; i < c[0].n; i++) /* the same seed: the same bits */
        assert_memory_equal(c[0].entry[i]->t.data, c[1].entry[i]->t.data, c[0].entry[i]->bytes);
    const float *up = eye_checkpoint_find(&c[0], "blk.1.ffn_up.weight")->data;
    const float *down = eye_checkpoint_find(&c[0], "blk.1.ffn_down.weight")->data;
    double square[2] = {0};
    for (int i = 0; i < 1024; i++) {
        square[0] += pow(up[i], 2) / 1024;
        square[1] += pow(down[i], 2) / 1024;
    }
    /* A sample variance of 1024 normal numbers: relative standard error sqrt(2 / 1024) = 4.4 %; five of them. */
    assert_true(fabs(square[0] / 4e-4 - 1) < 0.22 && fabs(square[1] / 1e-4 - 1) < 0.22);
    eye_vlm_clear(&m);
    for (int i = 0; i < 2; i++) eye_checkpoint_close(&c[i]);
}

#define NO_WIDTH \
    "{\"model_type\": \"eyelet_vlm\", \"vision\": {\"type\": \"mobilenetv3\", \"variant\": \"small\", " \
    "\"output\": \"classifier\"}, \"projector\": {\"type\": \"linear\"}, \"text\": {\"type\": \"gpt2\", " \
    "\"n_embd\": 16, \"n_layer\": 1, \"n_head\": 2, \"vocab_size\": 9}}"

static void faults_are_named(void **state) {
    char dir[1024];
    static const struct { const char *text; enum eye_status st; const char *says; } bad[] = {
        {RECIPE(CONFIG("small", ""), ""), EYE_E_CORRUPT, "vocab_size"},
        {RECIPE("{\"model_type\": \"x\"}", ""), EYE_E_UNSUPPORTED, "\"x\""},
        {RECIPE(NO_WIDTH, ""), EYE_E_ARG, "v.classifier.3.weight"},
        {RECIPE(CONFIG("small", SIZED), ", \"import\": {\"file\": \"/nowhere.safetensors\"}"), EYE_E_IO, "/nowhere"},
    };
    for (size_t i = 0; i < EYE_COUNT(bad); i++)
        assert_true(eye_error_is(bad[i].text, make(bad[i].text, "c", dir, NULL), bad[i].st, &err, bad[i].says));
}

/* The study's model, to the last parameter: MobileNetV3-Small with 768 outputs, linear, DistilGPT2 with 4096 positions and a
 * head of 32000 with bias. */
static void hpml_has_its_parameters(void **state) {
    struct eye_recipe r;
    struct eye_student_report report;
    ok(eye_recipe_open(&r, TEST_DATA "/../recipes/hpml.json", NULL, 0, NULL, &err));
    ok(eye_student_make(&r, eye_scratch_dir(), true, NULL, &report, &err));
    assert_int_equal(report.n_params, 111775520);
    assert_int_equal(report.n_buffers, 12112); /* torch counts 34 step counters more */
    eye_recipe_clear(&r);
}

static void weights_are_imported(void **state) {
    char from[1024], to[1024], text[4096];
    struct eye_checkpoint a, b;
    struct eye_student_report report;
    ok(make(RECIPE(CONFIG("small_minimalistic", SIZED), ""), "from", from, &report));
    ok(eye_checkpoint_open(&a, from, NULL, NULL, &err));
    /* By name, part of it; another seed draws the rest. */
    snprintf(text, sizeof text, "{\"seed\": 4, \"stages\": {}, \"student\": {\"config\": " CONFIG("small_minimalistic", SIZED)
             ", \"import\": {\"file\": \"%s\", \"part\": \"v.*\"}}}", from);
    ok(make(text, "to", to, &report));
    ok(eye_checkpoint_open(&b, to, NULL, NULL, &err));
    uint64_t tower = 0;
    for (size_t i = 0; i < a.n; i++) {
        bool seen = strncmp(a.entry[i]->name, "v.", 2) == 0, drawn = strstr(a.entry[i]->name, "_embd.weight") != NULL;
        bool same = memcmp(a.entry[i]->t.data, b.entry[i]->t.data, a.entry[i]->bytes) == 0;
        if (seen) assert_true(same);
        if (drawn) assert_false(same);
        tower += seen ? a.entry[i]->bytes / 4 : 0;
    }
    assert_int_equal(report.n_imported, tower);
    eye_checkpoint_close(&b);
    eye_checkpoint_close(&a);
}

/* GPT-2's own names and its [in, out] matrices; 8 positions stretched to 24. */
static void gpt2_is_imported(void **state) {
    static float qkv[16 * 48], wpe[8 * 16], numbered[2][8];
    char to[1024], file[1024], text[4096];
    struct eye_checkpoint b;
    for (int i = 0; i < 16 * 48; i++) qkv[i] = (float)i;
    for (int i = 0; i < 8 * 16; i++) wpe[i] = (float)(i / 16);
    const struct eye_named_tensor t[] = {{"transformer.h.1.attn.c_attn.weight", {qkv, EYE_F32, 2, {16, 48}}},
                                         {"transformer.wpe.weight", {wpe, EYE_F32, 2, {8, 16}}}};
    snprintf(file, sizeof file, "%s", eye_scratch_path("gpt2.safetensors"));
    ok(eye_safetensors_write(file, t, 2, NULL, 0, NULL, &err));
    snprintf(text, sizeof text, RECIPE(CONFIG("small", SIZED), ", \"import\": {\"file\": \"%s\"}"), file);
    ok(make(text, "gpt2", to, NULL));
    ok(eye_checkpoint_open(&b, to, NULL, NULL, &err));
    const float *w = eye_checkpoint_find(&b, "blk.1.attn_qkv.weight")->data;
    const float *p = eye_checkpoint_find(&b, "position_embd.weight")->data;
    assert_true(w[0 * 16 + 3] == qkv[3 * 48 + 0] && w[47 * 16 + 2] == qkv[2 * 48 + 47]);
    /* Row i of the new table stands at (i + 0.5) / 3 - 0.5 of the old one, within its ends. */
    assert_true(p[0] == 0 && p[1 * 16] == 0 && fabsf(p[2 * 16] - 1.0f / 3) < 1e-6f && p[4 * 16] == 1 && p[23 * 16] == 7);
    eye_checkpoint_close(&b);
    /* In order: shapes must agree. */
    const struct eye_named_tensor odd = {"000.weight", {numbered, EYE_F32, 2, {2, 8}}};
    ok(eye_safetensors_write(file, &odd, 1, NULL, 0, NULL, &err));
    snprintf(text, sizeof text, RECIPE(CONFIG("small_minimalistic", SIZED),
             ", \"import\": {\"file\": \"%s\", \"match\": \"order\", \"part\": \"v.*\"}"), file);
    assert_true(eye_error_is("order", make(text, "order", to, NULL), EYE_E_CORRUPT, &err, "cannot be v.features.0.0.weight"));
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(students_open_as_checkpoints),
        cmocka_unit_test(faults_are_named),
        cmocka_unit_test(hpml_has_its_parameters),
        cmocka_unit_test(weights_are_imported),
        cmocka_unit_test(gpt2_is_imported),
    };
    return cmocka_run_group_tests_name("student", tests, NULL, teardown);
}
