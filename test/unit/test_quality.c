/* Calibrated conversion from end to end, and what is measured of it: tiny checkpoints of each family, a folder of made-up
 * pictures with captions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "eyelet/convert.h"
#include "eyelet/experimental.h"
#include "pack/calibrate.h"
#include "pack/pairs.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *path(const char *name) {
    static char list[128][512]; /* more than one test asks for */
    static int next;
    char *p = list[next++ % 128];
    snprintf(p, sizeof list[0], "%s", eye_scratch_path(name));
    return p;
}

static const char *tiny(void) {
    const char *p = path("tiny");
    if (!eye_path_exists(p)) ok(eye_make_tiny(p, &err));
    return p;
}

static const char *listed(const char *which) {
    char name[64], from[512];
    snprintf(name, sizeof name, "%s", which);
    for (char *c = name; *c; c++) *c = *c == '/' ? '-' : *c;
    snprintf(from, sizeof from, "%s/golden/%s", TEST_DATA, which);
    const char *p = path(name);
    if (!eye_path_exists(p)) ok(eye_make_listed(from, 300, p, &err));
    return p;
}

/* n pictures p00.ppm … of 24 x 24 waves, each another; captions for the first n_captions. */
static const char *pictures(const char *name, int n, int n_captions) {
    const char *dir = path(name);
    static char captions[8192];
    size_t len = 0;
    if (eye_path_exists(dir)) return dir;
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < n; i++) {
        char file[96], head[] = "P6 24 24 255\n";
        uint8_t rgb[sizeof head - 1 + 24 * 24 * 3];
        memcpy(rgb, head, sizeof head - 1);
        for (int k = 0; k < 24 * 24 * 3; k++)
            rgb[sizeof head - 1 + (size_t)k] =
                (uint8_t)(127 + 120 * sin(0.1 * (i + 1) * (k / 3 % 24) + 0.07 * (k / 72) + k % 3));
        snprintf(file, sizeof file, "%s/p%02d.ppm", name, i);
        eye_scratch_write(file, rgb, sizeof rgb);
        if (i < n_captions)
            len += (size_t)snprintf(captions + len, sizeof captions - len, "p%02d.ppm\twaves of colour, picture %d of many\n",
                                    i, i);
    }
    char file[96];
    snprintf(file, sizeof file, "%s/captions.tsv", name);
    eye_scratch_write(file, captions, len);
    return dir;
}

static struct eye_convert_report convert(const char *model, const char *out, enum eye_weight_type type, const char *dir) {
    struct eye_convert_opts o = {.decoder_type = type, .calibration = dir, .per_tensor = true};
    struct eye_convert_report r;
    ok(eye_convert(model, out, &o, &r, &err));
    return r;
}

static bool same_bytes(const char *a, const char *b) {
    struct eye_map x, y;
    ok(eye_map_open(&x, a, true, 0, &err));
    ok(eye_map_open(&y, b, true, 0, &err));
    bool same = x.size == y.size && memcmp(x.p, y.p, x.size) == 0;
    eye_map_close(&x);
    eye_map_close(&y);
    return same;
}

/* ---- conversion ---- */

static void every_matrix_is_rounded_for_its_inputs(void **state) {
    static const enum eye_weight_type types[] = {EYE_WEIGHT_Q8_0, EYE_WEIGHT_Q4_0, EYE_WEIGHT_Q4_K};
    const char *dir = pictures("pictures", 8, 8), *out = path("a.gguf"), *again = path("b.gguf"), *plain = path("plain.gguf");
    for (size_t t = 0; t < EYE_COUNT(types); t++) {
        struct eye_convert_report r = convert(tiny(), out, types[t], dir);
        size_t n = 0;
        assert_int_equal(r.n_pairs, 6); /* every fourth is held out */
        assert_true(r.n_rows > 6 * 8);
        for (size_t i = 0; i < r.n_matrices; i++) {
            const struct eye_convert_tensor *m = &r.tensor[i];
            bool of_layer = strncmp(m->name, "blk.", 4) == 0;
            assert_true(of_layer == (m->weighted >= 0));
            if (!of_layer) continue;
            assert_true(m->weighted <= m->weighted_plain && m->weighted > 0 && m->rel_rms > 0);
            n++;
        }
        assert_int_equal(n, 2 * 7);
        eye_convert_report_clear(&r);
        r = convert(tiny(), again, types[t], dir);
        assert_true(same_bytes(out, again));
        eye_convert_report_clear(&r);
        r = convert(tiny(), plain, types[t], NULL);
        assert_false(same_bytes(out, plain));
        assert_int_equal(r.n_pairs, 0);
        for (size_t i = 0; i < r.n_matrices; i++) assert_true(r.tensor[i].weighted < 0);
        eye_convert_report_clear(&r);
        struct eye_convert_opts o = {0}; /* and the file can be converted on */
        ok(eye_convert(out, again, &o, NULL, &err));
        assert_true(same_bytes(out, again));
    }
}

/* A matrix's type and size by what it loses in 4 bits; the middle one's loss is the bound, so there are both kinds. */
static void sensitive_matrices_get_8_bits(void **state) {
    static const enum eye_weight_type types[] = {EYE_WEIGHT_Q4_0, EYE_WEIGHT_Q4_K};
    const char *dir = pictures("pictures", 8, 8), *out = path("mixed.gguf"), *one = path("one-thread.gguf");
    for (size_t t = 0; t < EYE_COUNT(types); t++) {
        struct eye_convert_report r = convert(tiny(), out, types[t], dir);
        struct eye_convert_opts o = {.decoder_type = types[t], .calibration = dir, .per_tensor = true};
        double most = 0, least = 1;
        for (size_t i = 0; i < r.n_matrices; i++) {
            if (r.tensor[i].weighted < 0) continue;
            assert_true(r.tensor[i].weighted_4bit < 0);
            most = fmax(most, r.tensor[i].weighted);
            least = fmin(least, r.tensor[i].weighted);
        }
        assert_true(r.n_raised == 0 && r.n_could_raise == 0);
        uint64_t bytes = r.bytes_out;
        eye_convert_report_clear(&r);
        o.decoder_snr_db = -10 * log10(most * least); /* halfway, in decibels */
        ok(eye_convert(tiny(), out, &o, &r, &err));
        uint64_t n_raised = 0;
        for (size_t i = 0; i < r.n_matrices; i++) {
            const struct eye_convert_tensor *m = &r.tensor[i];
            if (m->weighted < 0) continue;
            bool raised = strcmp(m->type, "q8_0") == 0;
            assert_true(raised == (-20 * log10(m->weighted_4bit) < o.decoder_snr_db));
            assert_true(raised ? m->weighted < m->weighted_4bit : m->weighted == m->weighted_4bit);
            n_raised += raised;
        }
        assert_true(n_raised > 0 && n_raised < 14 && r.n_raised == n_raised && r.n_could_raise == 14 && r.bytes_out > bytes);
        eye_convert_report_clear(&r);
        cpu_set_t all, first; /* as many threads as there are processors */
        assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
        CPU_ZERO(&first);
        for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) == 0; i++)
            if (CPU_ISSET(i, &all)) CPU_SET(i, &first);
        assert_int_equal(sched_setaffinity(0, sizeof first, &first), 0);
        ok(eye_convert(tiny(), one, &o, NULL, &err));
        assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
        assert_true(same_bytes(out, one));
        ok(eye_convert(out, one, NULL, NULL, &err)); /* converted on: as it is */
        assert_true(same_bytes(out, one));
        o.decoder_snr_db = EYE_MAX_DECODER_SNR_DB; /* all of them: the file of 8 bits */
        ok(eye_convert(tiny(), out, &o, NULL, &err));
        r = convert(tiny(), one, EYE_WEIGHT_Q8_0, dir);
        eye_convert_report_clear(&r);
        assert_true(same_bytes(out, one));
    }
}

static void snr_is_a_share_of_what_comes_out(void **state) {
    const struct eye_round_cost c = {.weighted_err = 1, .weighted_all = 1000}, none = {0}, broken = {.weighted_err = NAN};
    assert_true(eye_round_is_near(&c, 29.9));
    assert_false(eye_round_is_near(&c, 30.1));
    assert_true(eye_round_is_near(&none, 80)); /* nothing ever came in */
    assert_false(eye_round_is_near(&broken, 1));
}

static void families_are_calibrated(void **state) {
    static const char *const model[] = {"llava/clip", "llava/siglip", "llava/qwen2", "llava/llama", "llava/llama-bias",
                                        "compose/gpt2", "compose/small-map", "compose/large-pooled"};
    const char *dir = pictures("pictures", 8, 8), *out = path("family.gguf");
    for (size_t i = 0; i < EYE_COUNT(model); i++) {
        struct eye_convert_report r = convert(listed(model[i]), out, EYE_WEIGHT_Q4_0, dir);
        struct eye_quality q;
        assert_int_equal(r.n_pairs, 6);
        for (size_t k = 0; k < r.n_matrices; k++) assert_true(r.tensor[k].weighted <= r.tensor[k].weighted_plain);
        eye_convert_report_clear(&r);
        ok(eye_quality_measure(listed(model[i]), out, &(struct eye_quality_opts){.pairs = dir, .n_greedy = 4}, &q, &err));
        assert_int_equal(q.n_pairs, 2);
        assert_true(q.held_out && isfinite(q.kl_mean) && q.kl_mean >= 0 && q.n_positions > 8);
        assert_true(q.n_images == 0 || (q.n_answers == 2 && q.features_snr_db > 100)); /* the tower is as it was */
    }
}

static void captions_may_be_missing(void **state) {
    const char *dir = pictures("no-captions", 2, 0), *out = path("silent.gguf");
    struct eye_convert_report r = convert(tiny(), out, EYE_WEIGHT_Q4_0, dir);
    assert_int_equal(r.n_pairs, 1); /* the model answered itself */
    eye_convert_report_clear(&r);
    r = convert(tiny(), out, EYE_WEIGHT_Q4_0, pictures("single", 1, 1));
    assert_int_equal(r.n_pairs, 1);
    eye_convert_report_clear(&r);
}

static void refused(const char *model, enum eye_weight_type type, const char *dir, enum eye_status want, const char *says) {
    const char *out = path("refused.gguf");
    struct eye_convert_opts o = {.decoder_type = type, .calibration = dir, .per_tensor = true};
    assert_true(eye_error_is(dir, eye_convert(model, out, &o, NULL, &err), want, &err, says));
    assert_false(eye_path_exists(out));
}

static void snr_refused(enum eye_weight_type type, const char *dir, double db, const char *says) {
    const char *out = path("refused.gguf");
    struct eye_convert_opts o = {.decoder_type = type, .calibration = dir, .decoder_snr_db = db};
    assert_true(eye_error_is(says, eye_convert(tiny(), out, &o, NULL, &err), EYE_E_ARG, &err, says));
    assert_false(eye_path_exists(out));
}

/* Also files that say two things of their types. */
static void choices_that_make_no_sense(void **state) {
    const char *dir = pictures("pictures", 8, 8), *out = path("two.gguf");
    struct eye_convert_text base = {"eyelet.decoder.base", "int8"};
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q8_0, .text = &base, .n_text = 1};
    struct eye_model *m;
    snr_refused(EYE_WEIGHT_Q4_0, NULL, 30, "give a folder of them (--calibration DIR)");
    snr_refused(EYE_WEIGHT_Q8_0, dir, 30, "the decoder's type is q8_0; expected q4_0 or q4_k");
    snr_refused(EYE_WEIGHT_STORED, dir, 30, "the decoder's type is exact");
    snr_refused(EYE_WEIGHT_Q4_0, dir, -1, "is -1; expected 0 to 80");
    snr_refused(EYE_WEIGHT_Q4_K, dir, 80.5, "is 80.5; expected 0 to 80");
    snr_refused(EYE_WEIGHT_Q4_0, dir, (double)NAN, "expected 0 to 80");
    snr_refused(EYE_WEIGHT_Q4_0, dir, (double)INFINITY, "expected 0 to 80");
    ok(eye_convert(tiny(), out, &o, NULL, &err));
    assert_true(eye_error_is("int8", eye_model_open(out, NULL, &m, &err), EYE_E_UNSUPPORTED, &err, "only vision towers are"));
    base.value = "q4_0";
    ok(eye_convert(tiny(), out, &o, NULL, &err));
    assert_true(eye_error_is("q4_0", eye_model_open(out, NULL, &m, &err), EYE_E_UNSUPPORTED, &err, "expected one"));
}

static bool always(void *ctx) { return true; }

static void what_cannot_be_calibrated(void **state) {
    const char *empty = path("empty"), *broken = path("broken"), *words = path("words"), *out = path("cancelled.gguf");
    assert_int_equal(mkdir(empty, 0700), 0);
    assert_int_equal(mkdir(broken, 0700), 0);
    assert_int_equal(mkdir(words, 0700), 0);
    eye_scratch_write("broken/a.jpg", "\xff\xd8\xff\xe0 no more", 12);
    eye_scratch_write("words/captions.txt", "\n\n", 2);
    refused(tiny(), EYE_WEIGHT_Q4_0, path("nowhere"), EYE_E_IO, "expected a folder");
    refused(tiny(), EYE_WEIGHT_Q4_0, empty, EYE_E_ARG, "no pictures");
    refused(tiny(), EYE_WEIGHT_Q4_0, broken, EYE_E_ARG, "none of 1 pictures can be read");
    refused(tiny(), EYE_WEIGHT_F16, pictures("pictures", 8, 8), EYE_E_ARG, "the decoder's type is f16");
    refused(tiny(), EYE_WEIGHT_STORED, pictures("pictures", 8, 8), EYE_E_ARG, "the decoder's type is exact");
    refused(listed("compose/gpt2"), EYE_WEIGHT_Q4_0, empty, EYE_E_ARG, "calibrated on lines of text");
    refused(listed("compose/gpt2"), EYE_WEIGHT_Q4_0, words, EYE_E_ARG, "no pair");
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q4_0, .calibration = pictures("pictures", 8, 8), .cancel = always};
    assert_int_equal(eye_convert(tiny(), out, &o, NULL, &err), EYE_E_CANCELLED);
    assert_false(eye_path_exists(out));
}

/* ---- pairs ---- */

static void lines_of_text_are_pairs(void **state) {
    static const char text[] = "a.jpg,the first line\nb.png#3\tthe second line\nno picture, only words\r\n\nlast words";
    const char *dir = path("lines");
    struct eye_model *m;
    struct eye_pairs p;
    assert_int_equal(mkdir(dir, 0700), 0);
    eye_scratch_write("lines/captions.txt", text, sizeof text - 1);
    ok(eye_model_open(listed("compose/gpt2"), NULL, &m, &err));
    ok(eye_pairs_open(&p, m, dir, 0, NULL, &err));
    assert_int_equal(p.n, 4);
    assert_int_equal(p.n_held_out, 1);
    assert_string_equal(p.pair[0].text, "the first line");
    assert_string_equal(p.pair[1].text, "the second line");
    assert_string_equal(p.pair[2].text, "no picture, only words");
    assert_string_equal(p.pair[3].text, "last words");
    assert_true(p.pair[3].held_out && !p.pair[0].held_out && p.pair[0].n_prompt == 0);
    eye_pairs_close(&p);
    eye_model_close(m);
}

/* A folder decides nothing about memory: long lines are cut, many of them end at a bound. */
static void pairs_are_bounded(void **state) {
    enum { LINE = 4000, LINES = 40 };
    const char *dir = path("long");
    char *text = malloc((size_t)LINE * LINES);
    struct eye_model *m;
    struct eye_pairs p;
    memset(text, 'x', (size_t)LINE * LINES);
    for (int i = 1; i <= LINES; i++) text[i * LINE - 1] = '\n';
    assert_int_equal(mkdir(dir, 0700), 0);
    eye_scratch_write("long/captions.txt", text, (size_t)LINE * LINES);
    ok(eye_model_open(tiny(), NULL, &m, &err));
    eye_model_close(m);
    ok(eye_model_open(listed("compose/gpt2"), NULL, &m, &err));
    ok(eye_pairs_open(&p, m, dir, 0, NULL, &err));
    struct eye_model_info info;
    eye_model_get_info(m, &info);
    assert_true(p.n > 1 && p.n_ids <= EYE_PAIRS_MAX_ROWS && p.longest <= (size_t)info.n_ctx);
    eye_pairs_close(&p);
    eye_model_close(m);
    free(text);
}

/* ---- what is measured ---- */

static void a_model_equals_itself(void **state) {
    struct eye_quality q;
    struct eye_quality_opts o = {.pairs = pictures("pictures", 8, 8), .n_greedy = 8};
    ok(eye_quality_measure(tiny(), tiny(), &o, &q, &err));
    assert_int_equal(q.n_pairs, 2);
    assert_int_equal(q.n_images, 2);
    assert_true(q.held_out && q.n_positions > 10 && q.n_features > 0);
    assert_true(q.kl_mean == 0 && q.kl_max == 0 && q.top1 == 1);
    assert_true(q.perplexity_a > 1 && q.perplexity_a == q.perplexity_b);
    assert_true(q.n_answers == 2 && q.n_equal == 2 && q.edit_distance == 0);
    assert_true(fabs(q.features_cosine - 1) < 1e-12 && isinf(q.features_snr_db) && q.features_snr_db > 0);
}

static void rounding_shows(void **state) {
    const char *out = path("four.gguf");
    struct eye_convert_opts c = {.decoder_type = EYE_WEIGHT_Q4_0, .vision_type = EYE_WEIGHT_BF16};
    struct eye_quality q;
    struct eye_quality_opts o = {.pairs = pictures("pictures", 8, 8), .n_greedy = 8};
    ok(eye_convert(tiny(), out, &c, NULL, &err));
    ok(eye_quality_measure(tiny(), out, &o, &q, &err));
    assert_true(q.kl_mean > 1e-6 && q.kl_max >= q.kl_mean && q.top1 <= 1);
    assert_true(q.features_snr_db > 20 && q.features_snr_db < 100 && q.features_cosine < 1);
    o.pairs = NULL;
    assert_int_equal(eye_quality_measure(tiny(), out, &o, &q, &err), EYE_E_ARG);
    o.pairs = pictures("pictures", 8, 8);
    assert_int_equal(eye_quality_measure(tiny(), listed("llava/clip"), &o, &q, &err), EYE_E_ARG);
}

static int begin(void **state) {
    eye_scratch_dir();
    return 0;
}
static int end(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_matrix_is_rounded_for_its_inputs), cmocka_unit_test(families_are_calibrated),
        cmocka_unit_test(sensitive_matrices_get_8_bits),          cmocka_unit_test(snr_is_a_share_of_what_comes_out),
        cmocka_unit_test(choices_that_make_no_sense),
        cmocka_unit_test(captions_may_be_missing),                cmocka_unit_test(what_cannot_be_calibrated),
        cmocka_unit_test(lines_of_text_are_pairs),                cmocka_unit_test(pairs_are_bounded),
        cmocka_unit_test(a_model_equals_itself),                  cmocka_unit_test(rounding_shows),
    };
    return cmocka_run_group_tests_name("quality", tests, begin, end);
}
