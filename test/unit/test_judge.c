/* Judging: captions are those of a session alone, likelihoods those of single steps, figures those of the metrics; pictures that
 * cannot be read are counted, sets that cannot be judged refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "session/many.h"
#include "session/session_impl.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "train/caption_score.h"
#include "train/dataset.h"

enum { N = 5, SIDE = 24, N_TOK = 6 };

static char list[600], folder[512];
static struct eye_model *model;
static struct eye_dataset *set;

#define CALL(x)                                        \
    do {                                               \
        struct eye_err *err_ = &err;                   \
        if ((x) != EYE_OK) fail_msg("%s", err_->text); \
    } while (0)

/* Pictures p0.ppm .. in two splits, the last one broken; two captions each. */
static void make_set(void) {
    struct eye_buf b, tsv;
    struct eye_err err;
    char name[32];
    eye_buf_init(&tsv, NULL);
    for (int i = 0; i < N; i++) {
        eye_buf_init(&b, NULL);
        eye_buf_printf(&b, "P6 %d %d 255\n", SIDE, SIDE);
        for (int k = 0; k < SIDE * SIDE * 3; k++) eye_buf_add(&b, &(uint8_t){(uint8_t)((k * (37 + 11 * i) + k / 29 * 11) % 251)}, 1);
        snprintf(name, sizeof name, "p%d.ppm", i);
        eye_scratch_write(name, b.p, i == N - 1 ? 20 : b.len);
        eye_buf_clear(&b);
        const char *split = i == 0 ? "train" : "test";
        eye_buf_printf(&tsv, "%s\ta picture of number %d\t%s\n%s\tstripes, %d\t%s\n", name, i, split, name, i, split);
    }
    snprintf(list, sizeof list, "%s", eye_scratch_write("set.tsv", tsv.p, tsv.len));
    eye_buf_clear(&tsv);
    const char *path = list;
    CALL(eye_dataset_open(&path, 1, NULL, &set, &err));
}

static int set_up(void **state) {
    (void)state;
    struct eye_err err;
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("judge"));
    CALL(eye_make_tiny(folder, &err));
    CALL(eye_model_open(folder, &(struct eye_model_opts){.n_ctx = 256, .n_parallel = 6}, &model, &err));
    make_set();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    eye_dataset_close(set);
    eye_model_close(model);
    return 0;
}

static struct eye_image load(uint32_t picture) {
    struct eye_image img;
    struct eye_err err;
    CALL(eye_image_load(set->image[picture].path, NULL, &img, &err));
    return img;
}

static size_t n_heard;
static char heard[N][512];
static double heard_cider[N];

static void hear(void *ctx, const char *picture, const char *caption, double cider) {
    (void)ctx, (void)picture;
    snprintf(heard[n_heard], sizeof heard[0], "%s", caption);
    heard_cider[n_heard++] = cider;
}

static void captions_are_what_a_session_says(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_judgement r;
    struct eye_judge_opts o = {.n_beams = 1, .max_tok = N_TOK, .on_caption = hear};
    n_heard = 0;
    CALL(eye_judge(model, set, &o, &r, &err));
    assert_int_equal(r.n_pictures, 3); /* the test split but for the broken one */
    assert_int_equal(r.n_skipped, 1);
    assert_non_null(strstr(r.first_skipped, "p4.ppm"));
    assert_int_equal(n_heard, 3);
    struct eye_caption_refs *refs;
    const char *caption[3];
    double sum = 0;
    CALL(eye_caption_refs_new(&refs, 3, NULL, &err));
    for (size_t i = 0; i < 3; i++) {
        struct eye_image img = load((uint32_t)i + 1);
        struct eye_session *s;
        struct eye_result a;
        CALL(eye_session_new(model, NULL, &s, &err));
        CALL(eye_session_generate(s, &(struct eye_query){.images = &img, .n_images = 1},
                                  &(struct eye_generate_opts){.n_predict = N_TOK}, &a, &err));
        const char *text = a.text;
        while (*text > 0 && *text <= ' ') text++;
        assert_memory_equal(heard[i], text, strlen(heard[i]));
        eye_session_free(s);
        eye_image_free(&img);
        for (uint32_t k = 0; k < 2; k++) {
            const char *ref = set->caption[set->image[i + 1].first + k].text;
            CALL(eye_caption_refs_add(refs, i, ref, strlen(ref), &err));
        }
        caption[i] = heard[i];
        sum += heard_cider[i];
    }
    struct eye_caption_score score;
    CALL(eye_caption_refs_finish(refs, &err));
    CALL(eye_caption_score(refs, caption, &score, &err));
    assert_true(memcmp(&score, &r.score, sizeof score) == 0 && fabs(sum / 3 - score.cider) < 1e-12);
    eye_caption_refs_free(refs);
}

static double unlikely(const float *x, int32_t v) {
    double sum = 0;
    for (int32_t i = 0; i < eye_model_n_vocab(model); i++) sum += exp((double)x[i] - (double)x[v]);
    return log(sum);
}

static void likelihoods_are_those_of_single_steps(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_many *many;
    struct eye_many_prompt p;
    struct eye_many_text text[2];
    struct eye_arena arena;
    struct eye_image img = load(1);
    struct eye_session *s;
    float *logits = malloc((size_t)eye_model_n_vocab(model) * sizeof *logits);
    double nll[2], copies[2];
    eye_arena_init(&arena, NULL);
    CALL(eye_many_new(&many, model, &(struct eye_many_opts){.at_once = 1, .search = {.n_beams = 1}}, &err));
    CALL(eye_many_prepare(many, &(struct eye_query){.images = &img, .n_images = 1}, &arena, &p, &err));
    CALL(eye_many_tokens(many, "a picture of stripes", &arena, &text[0], &err));
    CALL(eye_many_tokens(many, "no", &arena, &text[1], &err));
    CALL(eye_many_score(many, &p, text, 2, nll, copies, &err));
    CALL(eye_session_new(model, NULL, &s, &err));
    for (size_t i = 0; i < 2; i++) {
        double sum = 0, same = 0;
        eye_session_reset(s);
        CALL(eye_session_prefill(s, p.ids, p.n, p.image_rows, logits, &err));
        for (size_t k = 0; k < text[i].n; k++) {
            sum += unlikely(logits, text[i].ids[k]);
            CALL(eye_session_step(s, text[i].ids[k], logits, &err));
            same += unlikely(logits, text[i].ids[k]);
        }
        assert_int_equal(text[i].ids[text[i].n - 1], model->end[0]);
        /* The logits are the same bits; sums of exponentials are taken about another maximum: n_vocab roundings each. */
        double slack = (double)text[i].n * eye_model_n_vocab(model) * 2.3e-16 * 4;
        assert_true(fabs(sum - nll[i]) < slack && fabs(same - copies[i]) < slack);
    }
    eye_session_free(s);
    eye_many_free(many);
    eye_arena_clear(&arena);
    eye_image_free(&img);
    free(logits);
}

/* References that the context has no room for: refused one by one, left out and counted by a judgement. */
static void long_references_are_left_out(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_judgement all, some;
    struct eye_model *tight;
    struct eye_many *many;
    struct eye_many_prompt p;
    struct eye_many_text text[2];
    struct eye_arena arena;
    struct eye_image img = load(1);
    double nll[2];
    struct eye_judge_opts o = {.n_beams = 1, .max_tok = 1, .perplexity = true};
    CALL(eye_judge(model, set, &o, &all, &err));
    assert_int_equal(all.n_too_long, 0);
    eye_arena_init(&arena, NULL);
    CALL(eye_many_new(&many, model, &(struct eye_many_opts){.at_once = 1, .search = {.n_beams = 1}}, &err));
    CALL(eye_many_prepare(many, &(struct eye_query){.images = &img, .n_images = 1}, &arena, &p, &err));
    for (int i = 0; i < 2; i++) CALL(eye_many_tokens(many, set->caption[set->image[1].first + i].text, &arena, &text[i], &err));
    int shorter = text[1].n < text[0].n;
    assert_true(text[0].n != text[1].n);
    int32_t n_ctx = (int32_t)(p.n + text[shorter].n);
    eye_many_free(many);
    CALL(eye_model_open(folder, &(struct eye_model_opts){.n_ctx = n_ctx, .n_parallel = 6}, &tight, &err));
    CALL(eye_many_new(&many, tight, &(struct eye_many_opts){.at_once = 1, .search = {.n_beams = 1}}, &err));
    assert_int_equal(eye_many_room(many, &p), text[shorter].n);
    CALL(eye_many_score(many, &p, &text[shorter], 1, nll, NULL, &err));
    assert_int_equal(eye_many_score(many, &p, text, 2, nll, NULL, &err), EYE_E_LIMIT);
    assert_non_null(strstr(err.text, "there is room for "));
    eye_many_free(many);
    CALL(eye_judge(tight, set, &o, &some, &err));
    assert_int_equal(some.n_too_long, 3); /* one of each picture's two */
    assert_true(some.has_perplexity && some.perplexity[EYE_JUDGE_TRUE].per_token > 1);
    eye_model_close(tight);
    eye_arena_clear(&arena);
    eye_image_free(&img);
}

static void beams_and_company_change_no_caption(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_judgement a, b;
    struct eye_judge_opts o = {.n_beams = 3, .length_penalty = 0.7F, .max_tok = N_TOK, .perplexity = true};
    CALL(eye_judge(model, set, &o, &a, &err)); /* two at once */
    o.n_beams = 6;
    CALL(eye_judge(model, set, &o, &b, &err)); /* one at once: no other picture to shuffle with */
    assert_true(a.has_perplexity && !b.has_perplexity);
    assert_true(a.perplexity[EYE_JUDGE_TRUE].per_token > 1 && a.perplexity[EYE_JUDGE_TRUE].per_word > a.perplexity[0].per_token);
    assert_true(a.perplexity[EYE_JUDGE_TRUE].per_token != a.perplexity[EYE_JUDGE_SHUFFLED].per_token);
    assert_true(a.unshifted > 1);
    o = (struct eye_judge_opts){.n_beams = 1, .max_tok = N_TOK, .baselines = true};
    CALL(eye_judge(model, set, &o, &a, &err));
    assert_true(a.has_baselines && strcmp(a.constant_caption, "a picture of number 0") == 0);
    assert_true(a.neighbour.distinct < 0.34 && a.blind.distinct < 0.34); /* one training picture; one caption for all */
}

static void what_cannot_be_judged_is_refused(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_judgement r;
    struct eye_judge_opts o = {.split = EYE_SPLIT_DEV, .n_beams = 1};
    assert_int_equal(eye_judge(model, set, &o, &r, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "dev"));
    o = (struct eye_judge_opts){.n_beams = 7};
    assert_int_equal(eye_judge(model, set, &o, &r, &err), EYE_E_ARG); /* more than n_parallel */
}

static void captions_from_elsewhere(void **state) {
    (void)state;
    struct eye_err err;
    struct eye_judgement r;
    const char *name[] = {"p1.ppm", "p3.ppm", "nobody.ppm"}, *caption[] = {"a picture of number 1", "stripes", "x"};
    CALL(eye_judge_captions(set, EYE_SPLIT_TEST, name, caption, 3, &r, &err));
    assert_int_equal(r.n_pictures, 4);
    assert_int_equal(r.n_skipped, 1);
    assert_true(r.score.cider > 0 && r.score.distinct == 0.75); /* two are empty, and alike */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(captions_are_what_a_session_says), cmocka_unit_test(likelihoods_are_those_of_single_steps),
        cmocka_unit_test(long_references_are_left_out), cmocka_unit_test(beams_and_company_change_no_caption),
        cmocka_unit_test(what_cannot_be_judged_is_refused), cmocka_unit_test(captions_from_elsewhere)};
    return cmocka_run_group_tests_name("judge", tests, set_up, tear_down);
}
