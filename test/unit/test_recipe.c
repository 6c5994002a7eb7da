/* Recipes: what is read, defaults, overrides, and errors that name the key. Patterns of weight names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "support/support.h"
#include "train/recipe.h"

static struct eye_err err;

#define STUDENT "\"student\": {\"path\": \"m\"}"
#define STAGES \
    "\"stages\": [{\"lr\": 0.01}, " \
    "{\"loss\": \"lm\", \"freeze\": [\"v.*\", \"mm.*\"], \"groups\": {\"match\": \"blk.*\", \"lr\": 0.5}}]"
#define GOOD "{\"#\": \"a remark\", \"seed\": 7, " STUDENT ", \"data\": {\"texts\": \"a.txt\"}, " STAGES "}"

static enum eye_status parse(struct eye_recipe *r, const char *text, const char *const *set, size_t n) {
    return eye_recipe_parse(r, text, strlen(text), "r.json", set, n, NULL, &err);
}

static void recipes_are_read(void **state) {
    struct eye_recipe r;
    const char *const set[] = {"stages.1.lr=3e-4", "name=mine", "data.captions=2", "teacher.path=t",
                               "stages.0.freeze=[\"a\",\"b\"]"};
    assert_int_equal(parse(&r, GOOD, set, 5), EYE_OK);
    assert_int_equal(r.seed, 7);
    assert_string_equal(r.name, "mine");
    assert_int_equal(r.data.captions, 2);
    assert_string_equal(r.data.texts.item[0], "a.txt");
    assert_int_equal(r.stages.n, 2);
    const struct eye_recipe_stage *a = eye_recipe_stage(&r, 0), *b = eye_recipe_stage(&r, 1);
    assert_true(a->lr == 0.01 && a->loss == EYE_LOSS_CAPTION && a->batch == 32 && a->bf16 && a->freeze.n == 2);
    assert_true(b->lr == 3e-4 && b->loss == EYE_LOSS_LM && b->clip == 1 && b->freeze.n == 2 && b->groups.n == 1);
    assert_string_equal(b->freeze.item[1], "mm.*");
    assert_true(((const struct eye_recipe_group *)b->groups.item)->lr == 0.5);
    /* What a run keeps is what it ran: overrides are in the text, and it reads back to the same. */
    struct eye_recipe again;
    assert_int_equal(eye_recipe_parse(&again, r.text.p, r.text.len, "text", NULL, 0, NULL, &err), EYE_OK);
    assert_string_equal(again.text.p, r.text.p);
    eye_recipe_clear(&again);
    eye_recipe_clear(&r);
}

static void bad_recipes_are_refused(void **state) {
    static const struct { const char *text, *says; } bad[] = {
        {"{", "line 1"},
        {"[]", "expected an object"},
        {"{" STUDENT "}", "stages"},
        {"{\"stages\": {}}", "student: expected either a path or a config"},
        {"{" STUDENT ", \"stages\": [{\"batches\": 3}]}", "r.json: stages[0].batches: no such key; there are name, loss"},
        {"{" STUDENT ", \"stages\": [{\"batch\": \"3\"}]}", "stages[0].batch"},
        {"{" STUDENT ", \"stages\": [{\"batch\": 0}]}", "stages[0].batch"},
        {"{" STUDENT ", \"stages\": [{\"lr\": -1}]}", "stages[0].lr: expected a number in 0..100, got -1"},
        {"{" STUDENT ", \"stages\": [{}, {\"schedule\": \"linear\"}]}", "stages[1].schedule: got \"linear\", expected one of"},
        {"{" STUDENT ", \"stages\": [{\"bf16\": 1}]}", "stages[0].bf16"},
        {"{" STUDENT ", \"stages\": [{\"freeze\": [1]}]}", "stages[0].freeze[0]"},
        {"{" STUDENT ", \"stages\": [{\"loss\": \"lm\"}]}", "data.texts: expected files for loss lm"},
        {"{" STUDENT ", \"stages\": [{\"loss\": \"joint\"}]}", "stages[0].loss: is not one of this kind"},
        {"{" STUDENT ", \"kind\": \"distil_joint\", \"stages\": [{\"loss\": \"joint\"}]}", "teacher.path: missing"},
        {"{" STUDENT ", \"stages\": [{\"cache\": \"v.features\", \"augment\": {\"crop\": 0.8}}]}", "knows flips only"},
        {"{\"student\": {\"path\": \"m\", \"config\": {}}, \"stages\": {}}", "expected either a path or a config"},
        {"{\"student\": {\"config\": {}, \"import\": {}}, \"stages\": {}}", "student.import.file: missing"},
    };
    struct eye_recipe r;
    for (size_t i = 0; i < EYE_COUNT(bad); i++)
        assert_true(eye_error_is(bad[i].text, parse(&r, bad[i].text, NULL, 0), EYE_E_CORRUPT, &err, bad[i].says));
    static const char *const sets[][2] = {{"lr", "expected key.path=value"}, {"=3", "expected key.path=value"},
                                          {"stages.5.lr=1", "leads to no object"}, {"seed.x=1", "leads to no object"}};
    for (size_t i = 0; i < EYE_COUNT(sets); i++)
        assert_true(eye_error_is(sets[i][0], parse(&r, GOOD, &sets[i][0], 1), EYE_E_ARG, &err, sets[i][1]));
    const char *const typo[] = {"stages.0.lrate=1"};
    assert_true(eye_error_is("typo", parse(&r, GOOD, typo, 1), EYE_E_CORRUPT, &err, "stages[0].lrate: no such key"));
    assert_int_equal(eye_recipe_open(&r, "/nowhere.json", NULL, 0, NULL, &err), EYE_E_IO);
}

static void patterns_match_whole_names(void **state) {
    static const struct { const char *pattern, *name; bool yes; } cases[] = {
        {"*", "", true},
        {"v.*", "v.features.0.0.weight", true},
        {"v.*", "mm.0.weight", false},
        {"blk.?.attn*", "blk.3.attn_qkv.bias", true},
        {"blk.?.attn*", "blk.13.attn_qkv.bias", false}, {"*.bias", "a.bias.bias", true}, {"*.bias", "a.bias.weight", false},
        {"a*b*c", "aXbXbXc", true}, {"a*b*c", "aXbXbX", false}, {"", "a", false}, {"a", "ab", false},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++)
        if (eye_pattern_matches(cases[i].pattern, cases[i].name) != cases[i].yes)
            fail_msg("\"%s\" against \"%s\"", cases[i].pattern, cases[i].name);
}

static void every_key_is_documented(void **state) {
    struct eye_buf b;
    struct eye_map doc;
    eye_buf_init(&b, NULL);
    eye_recipe_document(&b);
    assert_false(b.failed);
    assert_non_null(strstr(b.p, "  - `label_smoothing` (0..0.9, default 0): "));
    assert_non_null(strstr(b.p, "- `kind` (caption (default), lm, distil_vision, distil_joint): "));
    /* The page ends with what `eyelet train keys` prints. */
    assert_int_equal(eye_map_open(&doc, TEST_DATA "/../doc/TRAINING.md", false, 0, &err), EYE_OK);
    assert_true(doc.size > b.len && memcmp(doc.p + doc.size - b.len, b.p, b.len) == 0);
    eye_map_close(&doc);
    eye_buf_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recipes_are_read),
        cmocka_unit_test(bad_recipes_are_refused),
        cmocka_unit_test(patterns_match_whole_names),
        cmocka_unit_test(every_key_is_documented),
    };
    return cmocka_run_group_tests_name("recipe", tests, NULL, NULL);
}
