/* Caption metrics: coco-caption's figures for captions of our own (test/golden/metrics/coco.json, written by
 * test/reference/metrics.py) to 1e-6, words of awkward captions, and what scores must do by their definition. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "train/caption_score.h"
#include "train/ptb.h"

static enum eye_status join(void *ctx, const char *word, size_t len, struct eye_err *err) {
    (void)err;
    struct eye_buf *b = ctx;
    eye_buf_add(b, word, len);
    eye_buf_adds(b, "|");
    return EYE_OK;
}

static void check_words(const char *text, const char *expected) {
    struct eye_buf b;
    struct eye_err err = {0};
    eye_buf_init(&b, NULL);
    assert_int_equal(eye_ptb_words(text, strlen(text), join, &b, &err), EYE_OK);
    assert_string_equal(b.p ? b.p : "", expected);
    eye_buf_clear(&b);
}

static void words_are_those_of_the_stanford_tokenizer(void **state) {
    (void)state;
    check_words("A man's dog can't swim.", "a|man|'s|dog|ca|n't|swim|");
    check_words("\"Hi,\" said Mr. Fox -- twice...", "hi|said|mr.|fox|twice|");
    check_words("an I.V. at 8:15; $ 3.50 (half) of 1/2", "an|i.v.|at|8:15|$|3.50|-lrb-|half|-rrb-|of|1/2|");
    check_words("t-shirt black/white o'clock I 'll cannot", "t-shirt|black/white|o'clock|i|'ll|can|not|");
    check_words("#44 &amp; 50%", "#|44|&|50|%|");
    check_words(" .,!?;:-' ", "");
    check_words("caf\xc3\xa9 \xff\xfe", "caf\xc3\xa9|\xff\xfe|");
}

static json_t *load(void) {
    json_error_t e;
    json_t *root = json_load_file(TEST_DATA "/golden/metrics/coco.json", 0, &e);
    if (!root) fail_msg("coco.json: %s", e.text);
    return root;
}

static struct eye_caption_refs *refs_of(const json_t *pictures) {
    struct eye_caption_refs *refs;
    struct eye_err err = {0};
    size_t i, k;
    json_t *p, *r;
    assert_int_equal(eye_caption_refs_new(&refs, json_array_size(pictures), NULL, &err), EYE_OK);
    json_array_foreach(pictures, i, p) {
        json_array_foreach(json_object_get(p, "references"), k, r) {
            const char *text = json_string_value(r);
            assert_int_equal(eye_caption_refs_add(refs, i, text, strlen(text), &err), EYE_OK);
        }
    }
    assert_int_equal(eye_caption_refs_finish(refs, &err), EYE_OK);
    return refs;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }

static void figures_equal_coco_caption(void **state) {
    (void)state;
    json_t *root = load(), *pictures = json_object_get(root, "pictures"), *p;
    struct eye_caption_refs *refs = refs_of(pictures);
    const char *caption[16];
    struct eye_caption_score s;
    struct eye_err err = {0};
    size_t i;
    json_array_foreach(pictures, i, p) {
        double cider;
        caption[i] = json_string_value(json_object_get(p, "caption"));
        assert_int_equal(eye_caption_cider(refs, i, caption[i], strlen(caption[i]), &cider, &err), EYE_OK);
        assert_true(fabs(cider - number(p, "cider")) < 1e-6);
    }
    assert_int_equal(eye_caption_score(refs, caption, &s, &err), EYE_OK);
    for (size_t k = 0; k < EYE_NGRAM_MAX; k++)
        assert_true(fabs(s.bleu[k] - json_number_value(json_array_get(json_object_get(root, "bleu"), k))) < 1e-6);
    assert_true(fabs(s.cider - number(root, "cider")) < 1e-6);
    assert_true(fabs(s.rouge_l - number(root, "rouge_l")) < 1e-6);
    assert_true(s.distinct == 1);
    eye_caption_refs_free(refs);
    json_decref(root);
}

static struct eye_caption_score score_two(const char *ref_a, const char *ref_b, const char *a, const char *b) {
    struct eye_caption_refs *refs;
    struct eye_caption_score s;
    struct eye_err err = {0};
    assert_int_equal(eye_caption_refs_new(&refs, 2, NULL, &err), EYE_OK);
    assert_int_equal(eye_caption_refs_add(refs, 0, ref_a, strlen(ref_a), &err), EYE_OK);
    assert_int_equal(eye_caption_refs_add(refs, 1, ref_b, strlen(ref_b), &err), EYE_OK);
    assert_int_equal(eye_caption_refs_finish(refs, &err), EYE_OK);
    assert_int_equal(eye_caption_score(refs, (const char *const[]){a, b}, &s, &err), EYE_OK);
    eye_caption_refs_free(refs);
    return s;
}

static void the_reference_itself_scores_best(void **state) {
    (void)state;
    const char *a = "a brown dog runs over the lawn", *b = "two ships sail past an old lighthouse";
    struct eye_caption_score s = score_two(a, b, a, b);
    assert_true(fabs(s.bleu[3] - 1) < 1e-6 && fabs(s.rouge_l - 1) < 1e-9 && fabs(s.cider - 10) < 1e-6);
    /* One chunk of seven matches: 1 - 0.5 / 7^3. */
    assert_true(fabs(s.meteor_lite - (1 - 0.5 / 343)) < 1e-9);
    assert_true(s.n_words == 14 && s.mean_words == 7);
    s = score_two(a, b, b, b);
    assert_true(s.distinct == 0.5);
}

static void meteor_lite_knows_stems(void **state) {
    (void)state;
    /* runs ~ running: 2 of 2 words in one chunk: 1 - 0.5 / 8. */
    struct eye_caption_score s = score_two("dogs running", "x", "dogs runs", "y");
    assert_true(fabs(s.meteor_lite - (1 - 0.5 / 8) / 2) < 1e-9);
}

static void bad_references_are_refused(void **state) {
    (void)state;
    struct eye_caption_refs *refs;
    struct eye_err err = {0};
    assert_int_equal(eye_caption_refs_new(&refs, 0, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_caption_refs_new(&refs, 2, NULL, &err), EYE_OK);
    assert_int_equal(eye_caption_refs_add(refs, 0, "...", 3, &err), EYE_E_ARG);
    assert_int_equal(eye_caption_refs_add(refs, 0, "a dog", 5, &err), EYE_OK);
    assert_int_equal(eye_caption_refs_finish(refs, &err), EYE_E_ARG); /* picture 1 has none */
    assert_non_null(strstr(err.text, "picture 1"));
    char big[3 * 5000];
    for (size_t i = 0; i < sizeof big; i++) big[i] = i % 3 ? 'b' : ' ';
    assert_int_equal(eye_caption_refs_add(refs, 1, big, sizeof big, &err), EYE_E_LIMIT);
    eye_caption_refs_free(refs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_the_stanford_tokenizer), cmocka_unit_test(figures_equal_coco_caption),
        cmocka_unit_test(the_reference_itself_scores_best), cmocka_unit_test(meteor_lite_knows_stems),
        cmocka_unit_test(bad_references_are_refused)};
    return cmocka_run_group_tests_name("caption_score", tests, NULL, NULL);
}
