/* The sampler against a plain restatement of its rules, and stop strings against every way of cutting a text into pieces. */
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "session/answer.h"
#include "session/sampler.h"

#define MAX_VOCAB 600

static void fill_normal(struct eye_rng *r, float *x, int32_t n, float spread) {
    for (int32_t i = 0; i < n; i++) {
        double sum = 0;
        for (int k = 0; k < 12; k++) sum += eye_rng_unit(r); /* near enough to a normal distribution */
        x[i] = (float)(sum - 6) * spread;
    }
}

static struct eye_sampler make(int32_t n_vocab, struct eye_generate_opts opts) {
    struct eye_sampler s;
    struct eye_err err = {0};
    assert_int_equal(eye_sampler_init(&s, n_vocab, 64, NULL, &err), EYE_OK);
    assert_int_equal(eye_sampler_start(&s, &opts, &err), EYE_OK);
    return s;
}

/* ---- selection ---- */

static void test_argmax(void **state) {
    (void)state;
    assert_int_equal(eye_argmax((float[]){1, 3, 3, 2}, 4), 1);
    assert_int_equal(eye_argmax((float[]){NAN, -INFINITY, -5, NAN}, 4), 2);
    assert_int_equal(eye_argmax((float[]){NAN, NAN}, 2), 0);
    assert_int_equal(eye_argmax((float[]){-0.0f, 0.0f}, 2), 0);
    static float x[5000];
    struct eye_rng r;
    eye_rng_seed(&r, 2);
    for (int round = 0; round < 400; round++) {
        int32_t n = 1 + (int32_t)(eye_rng_u64(&r) % EYE_COUNT(x)), want = 0;
        for (int32_t i = 0; i < n; i++) {
            x[i] = round % 4 == 3 ? -INFINITY : (float)(eye_rng_u64(&r) % 3000) - 1500.0f;
            if (eye_rng_u64(&r) % (round % 2 ? 2 : 900) == 0) x[i] = eye_rng_u64(&r) % 3 ? NAN : -INFINITY;
        }
        if (round % 7 == 0) x[eye_rng_u64(&r) % (uint64_t)n] = INFINITY;
        for (int32_t i = 1; i < n; i++)
            if (x[i] > x[want] || (isnan(x[want]) && !isnan(x[i]))) want = i;
        assert_int_equal(eye_argmax(x, n), want);
    }
}

static void test_log_sum_exp(void **state) {
    (void)state;
    static float x[5000];
    struct eye_rng r;
    eye_rng_seed(&r, 6);
    for (int round = 0; round < 300; round++) {
        size_t n = 1 + eye_rng_u64(&r) % (round % 2 ? 40 : EYE_COUNT(x));
        fill_normal(&r, x, (int32_t)n, (float)(round % 9) * 5); /* 0: all the same */
        if (round % 5 == 0) x[n - 1] = -INFINITY; /* what a grammar does not allow */
        float most = x[eye_argmax(x, (int32_t)n)];
        double sum = 0, got = eye_log_sum_exp(x, n, most);
        for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - (double)most);
        if (most > -INFINITY) assert_true(fabs(got - (double)most - log(sum)) < 1e-6 + 1e-6 * fabs((double)most));
    }
    assert_true(eye_log_sum_exp((float[]){3, NAN, 3}, 3, 3) - (3 + log(2)) < 1e-6);
}

static void test_select_best(void **state) {
    (void)state;
    struct eye_rng r;
    float x[MAX_VOCAB];
    struct eye_candidate best[MAX_VOCAB];
    eye_rng_seed(&r, 1);
    for (int round = 0; round < 300; round++) {
        int32_t n = 1 + (int32_t)(eye_rng_u64(&r) % MAX_VOCAB), k = 1 + (int32_t)(eye_rng_u64(&r) % (uint64_t)n);
        fill_normal(&r, x, n, 2);
        if (round % 2)
            for (int32_t i = 0; i < n; i++) x[i] = roundf(x[i]); /* many equals */
        if (round % 5 == 0) x[0] = NAN;
        eye_select_best(x, n, best, k);
        bool taken[MAX_VOCAB] = {false};
        for (int32_t i = 0; i < k; i++) { /* each is the best of what the earlier ones left, the lowest id among equals */
            int32_t want = -1;
            for (int32_t j = 0; j < n; j++)
                if (!taken[j] && (want < 0 || (isnan(x[want]) && !isnan(x[j])) || x[j] > x[want])) want = j;
            if (!isnan(x[want])) assert_int_equal(best[i].id, want);
            taken[best[i].id] = true;
        }
    }
}

/* ---- the distribution ---- */

/* What each token's probability should be: temperature, then top-k, then top-p, then min-p, each on what the one before left.
 */
static void expected(const float *x, int32_t n, const struct eye_generate_opts *o, double *p) {
    int32_t order[MAX_VOCAB];
    double sum = 0, mass = 0;
    for (int32_t i = 0; i < n; i++) order[i] = i;
    for (int32_t i = 1; i < n; i++) /* insertion sort, stable: lower ids first among equals */
        for (int32_t j = i; j > 0 && x[order[j]] > x[order[j - 1]]; j--) {
            int32_t t = order[j];
            order[j] = order[j - 1];
            order[j - 1] = t;
        }
    int32_t kept = o->top_k > 0 ? EYE_MIN(o->top_k, n) : n, cut = 0;
    for (int32_t i = 0; i < n; i++) p[i] = 0;
    for (int32_t i = 0; i < kept; i++) sum += exp((double)x[order[i]] / (double)o->temperature);
    while (cut < kept && (o->top_p <= 0 || o->top_p >= 1 || mass < (double)o->top_p)) /* keep while less than p stands above */
        mass += exp((double)x[order[cut++]] / (double)o->temperature) / sum;
    double best = exp((double)x[order[0]] / (double)o->temperature), total = 0;
    for (int32_t i = 0; i < cut; i++) {
        double w = exp((double)x[order[i]] / (double)o->temperature);
        if (w < (double)o->min_p * best) continue;
        p[order[i]] = w;
        total += w;
    }
    for (int32_t i = 0; i < n; i++) p[i] /= total;
}

/* Pearson's chi-squared over cells that expect at least 10 draws, the rest in one. Its mean is the degrees of freedom df, its
 * variance 2 df; df + 8 sqrt(2 df) + 30 is beyond the 1e-9 quantile for every df here (Laurent-Massart bound with x = 21:
 * df + 2 sqrt(21 df) + 42), so only a wrong distribution gets there. */
static void check_distribution(const float *x, int32_t n, struct eye_generate_opts o) {
    enum { DRAWS = 6000 };
    double p[MAX_VOCAB], chi2 = 0, rest_p = 0;
    long drawn[MAX_VOCAB] = {0}, rest = 0, cells = 0;
    struct eye_sampler s = make(n, o);
    expected(x, n, &o, p);
    for (int i = 0; i < DRAWS; i++) drawn[eye_sampler_pick(&s, x)]++;
    for (int32_t i = 0; i < n; i++) {
        if (p[i] == 0) assert_int_equal(drawn[i], 0);
        if (p[i] * DRAWS < 10) {
            rest += drawn[i];
            rest_p += p[i];
            continue;
        }
        double d = (double)drawn[i] - p[i] * DRAWS;
        chi2 += d * d / (p[i] * DRAWS);
        cells++;
    }
    if (rest_p * DRAWS >= 10) {
        double d = (double)rest - rest_p * DRAWS;
        chi2 += d * d / (rest_p * DRAWS);
        cells++;
    }
    double df = (double)(cells > 1 ? cells - 1 : 1);
    assert_true(chi2 <= df + 2 * sqrt(21 * df) + 42);
    eye_sampler_clear(&s);
}

static void test_distribution(void **state) {
    (void)state;
    static const struct eye_generate_opts cases[] = {
        {.temperature = 1},
        {.temperature = 0.5f},
        {.temperature = 3},
        {.temperature = 1, .top_k = 5},
        {.temperature = 1, .top_p = 0.5f},
        {.temperature = 2, .top_p = 0.9f},
        {.temperature = 0.7f, .top_k = 40, .top_p = 0.95f},
        {.temperature = 1, .min_p = 0.2f},
        {.temperature = 1.5f, .top_k = 100, .top_p = 0.8f, .min_p = 0.05f},
        {.temperature = 100, .top_p = 0.999f}, /* nearly uniform: the selection has to grow to the whole vocabulary */
    };
    struct eye_rng r;
    float x[MAX_VOCAB];
    eye_rng_seed(&r, 2);
    for (size_t i = 0; i < EYE_COUNT(cases); i++)
        for (int round = 0; round < 3; round++) {
            int32_t n = round == 0 ? 7 : round == 1 ? 64 : MAX_VOCAB;
            struct eye_generate_opts o = cases[i];
            o.seed = i * 10 + (uint64_t)round;
            fill_normal(&r, x, n, 2);
            check_distribution(x, n, o);
        }
}

/* Logits 2, 1, 0, -1 at T = 4 are 0.35, 0.27, 0.21, 0.17: 0.7 needs three of them. With top-p first (at T = 1: 0.64, 0.24, …)
 * two would do. */
static void test_temperature_comes_before_top_p(void **state) {
    (void)state;
    const float x[] = {2, 1, 0, -1};
    bool seen[4] = {false};
    struct eye_sampler s = make(4, (struct eye_generate_opts){.temperature = 4, .top_p = 0.7f});
    for (int i = 0; i < 1000; i++) seen[eye_sampler_pick(&s, x)] = true;
    assert_true(seen[0] && seen[1] && seen[2] && !seen[3]);
    eye_sampler_clear(&s);
}

static void test_determinism(void **state) {
    (void)state;
    struct eye_rng r;
    float x[64];
    int differs = 0;
    eye_rng_seed(&r, 3);
    fill_normal(&r, x, 64, 1);
    struct eye_sampler a = make(64, (struct eye_generate_opts){.temperature = 1, .seed = 7});
    struct eye_sampler b = make(64, (struct eye_generate_opts){.temperature = 1, .seed = 7});
    struct eye_sampler c = make(64, (struct eye_generate_opts){.temperature = 1, .seed = 8});
    for (int i = 0; i < 100; i++) {
        int32_t id = eye_sampler_pick(&a, x);
        assert_int_equal(id, eye_sampler_pick(&b, x));
        differs += id != eye_sampler_pick(&c, x);
    }
    assert_true(differs > 10);
    eye_sampler_clear(&a);
    eye_sampler_clear(&b);
    eye_sampler_clear(&c);
}

/* Extreme logits, and none at all worth speaking of. */
static void test_extremes(void **state) {
    (void)state;
    const float inf[] = {-INFINITY, 5, -INFINITY}, nan[] = {NAN, NAN, -3}, huge[] = {FLT_MAX, -FLT_MAX, 0},
                plus[] = {1, INFINITY, 2};
    struct eye_sampler s = make(3, (struct eye_generate_opts){.temperature = 0.001f, .top_p = 0.9f});
    for (int i = 0; i < 20; i++) {
        assert_int_equal(eye_sampler_pick(&s, inf), 1);
        assert_int_equal(eye_sampler_pick(&s, nan), 2);
        assert_int_equal(eye_sampler_pick(&s, huge), 0);
        assert_int_equal(eye_sampler_pick(&s, plus), 1);
    }
    eye_sampler_clear(&s);
}

/* ---- penalties ---- */

static void test_penalties(void **state) {
    (void)state;
    struct eye_generate_opts o = {
        .repeat_penalty = 2, .frequency_penalty = 0.5f, .presence_penalty = 0.25f, .penalty_last_n = 3};
    struct eye_sampler s = make(4, o);
    const float x[] = {3, 2.9f, -1, 0.5f};
    assert_int_equal(eye_sampler_pick(&s, x), 0);
    eye_sampler_accept(&s, 0);
    eye_sampler_accept(&s, -1);  /* an image row */
    eye_sampler_accept(&s, 400); /* not in the vocabulary */
    assert_int_equal(eye_sampler_pick(&s, x), 1);
    assert_float_equal(s.penalized[0], 3.0 / 2 - 0.5 - 0.25, 0);
    eye_sampler_accept(&s, 0);
    eye_sampler_accept(&s, 2);
    eye_sampler_pick(&s, x);
    assert_float_equal(s.penalized[0], 3.0 / 2 - 2 * 0.5 - 0.25, 0);
    assert_float_equal(s.penalized[2], -1.0 * 2 - 0.5 - 0.25, 0);
    assert_float_equal(s.penalized[3], 0.5, 0);
    for (int i = 0; i < 3; i++) eye_sampler_accept(&s, 3); /* the window is full of 3s: the others are forgotten */
    eye_sampler_pick(&s, x);
    assert_float_equal(s.penalized[0], 3, 0);
    assert_float_equal(s.penalized[3], 0.5 / 2 - 3 * 0.5 - 0.25, 0);
    eye_sampler_clear(&s);
}

static void test_options(void **state) {
    (void)state;
    static const struct eye_generate_opts bad[] = {
        {.temperature = -1}, {.temperature = NAN}, {.top_k = -1}, {.top_p = 1.5f}, {.min_p = -0.1f}, {.repeat_penalty = -1},
        {.frequency_penalty = INFINITY}, {.presence_penalty = NAN}, {.penalty_last_n = -2},
    };
    struct eye_sampler s = make(4, (struct eye_generate_opts){0});
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        struct eye_err err = {0};
        assert_int_equal(eye_sampler_start(&s, &bad[i], &err), EYE_E_ARG);
        assert_non_null(strstr(err.text, "expected"));
    }
    eye_sampler_clear(&s);
}

static void test_no_allocation(void **state) {
    (void)state;
    struct eye_rng r;
    float x[MAX_VOCAB];
    eye_rng_seed(&r, 4);
    fill_normal(&r, x, MAX_VOCAB, 1);
    struct eye_sampler s = make(MAX_VOCAB,
                                (struct eye_generate_opts){.temperature = 9, .top_p = 0.99f, .repeat_penalty = 1.1f});
    uint64_t before = eye_alloc_count();
    for (int i = 0; i < 100; i++) eye_sampler_accept(&s, eye_sampler_pick(&s, x));
    assert_int_equal(eye_alloc_count(), before);
    eye_sampler_clear(&s);
}

static void test_logprobs(void **state) {
    (void)state;
    struct eye_rng r;
    float x[50];
    struct eye_candidate scratch[50];
    struct eye_logprob out[51];
    double sum = 0;
    eye_rng_seed(&r, 5);
    fill_normal(&r, x, 50, 3);
    eye_logprobs(x, 50, 17, 50, scratch, out);
    for (int i = 1; i <= 50; i++) {
        sum += exp((double)out[i].logprob);
        if (i > 1) assert_true(out[i].logprob <= out[i - 1].logprob);
        if (out[i].token == 17) assert_float_equal(out[i].logprob, out[0].logprob, 0);
    }
    assert_int_equal(out[0].token, 17);
    /* 50 values, each rounded to float: at most 2^-24 relative to a logarithm below 32. */
    assert_true(fabs(sum - 1) < 50 * 32 * 6e-8);
}

/* ---- stop strings ---- */

struct heard {
    char text[512];
    size_t len;
    size_t stop_after; /* calls; 0 = never */
    size_t n_calls;
};

static bool hear(void *ctx, const char *text, size_t n) {
    struct heard *h = ctx;
    assert_int_equal(strlen(text), n);
    assert_true(n > 0);
    memcpy(h->text + h->len, text, n);
    h->len += n;
    h->text[h->len] = '\0';
    return ++h->n_calls == h->stop_after;
}

/* Feeds text in pieces whose cuts are the bits of mask; returns what was heard, all of it once finished. */
static void feed(struct eye_answer *a, struct heard *h, const char *text, unsigned mask, const char *const *stop,
                 size_t n_stop) {
    static char memory[512];
    struct eye_generate_opts o = {.stop = stop, .n_stop = n_stop, .on_text = hear, .on_text_ctx = h};
    struct eye_err err;
    size_t from = 0, len = strlen(text);
    assert_int_equal(eye_answer_start(a, memory, sizeof memory, &o, &err), EYE_OK);
    for (size_t i = 1; i <= len; i++) {
        if (i < len && !(mask >> (i - 1) & 1)) continue;
        bool over = eye_answer_add(a, text + from, i - from);
        from = i;
        if (over) break;
    }
    eye_answer_finish(a);
}

static void test_stop_strings(void **state) {
    (void)state;
    static const struct {
        const char *text, *want;
        const char *stop[3];
        bool stopped;
    } cases[] = {
        {"one two three", "one ", {"two"}, true},
        {"one two three", "one two three", {"four"}, false},
        {"aaab", "a", {"aab"}, true},
        {"ababac", "ab", {"abac"}, true},
        {"ab<|e", "ab<|e", {"<|end|>"}, false},      /* held back to the last, then given */
        {"xyz", "", {"xyz"}, true},
        {"hello world", "hell", {"world", "o w"}, true}, /* the earliest counts, not the first in the list */
        {"abcd", "a", {"bcd", "bc"}, true},
        {"a\nb", "a", {"\n"}, true},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        size_t n_stop = 0, len = strlen(cases[i].text);
        while (n_stop < 3 && cases[i].stop[n_stop]) n_stop++;
        for (unsigned mask = 0; mask < 1u << (len - 1); mask++) {
            struct eye_answer a;
            struct heard h = {.len = 0};
            feed(&a, &h, cases[i].text, mask, cases[i].stop, n_stop);
            assert_string_equal(h.text, cases[i].want);
            assert_string_equal(a.text, cases[i].want);
            assert_int_equal(a.stopped, cases[i].stopped);
        }
    }
}

static void test_text_is_not_held_longer_than_needed(void **state) {
    (void)state;
    static char memory[64];
    static const char *const stop[] = {"END"};
    struct heard h = {.len = 0};
    struct eye_generate_opts o = {.stop = stop, .n_stop = 1, .on_text = hear, .on_text_ctx = &h};
    struct eye_answer a;
    struct eye_err err;
    assert_int_equal(eye_answer_start(&a, memory, sizeof memory, &o, &err), EYE_OK);
    eye_answer_add(&a, "see E", 5);
    assert_string_equal(h.text, "see ");
    eye_answer_add(&a, "N", 1);
    assert_string_equal(h.text, "see ");
    eye_answer_add(&a, "T", 1);
    assert_string_equal(h.text, "see ENT");
}

static void test_caller_stops(void **state) {
    (void)state;
    struct eye_answer a;
    struct heard h = {.stop_after = 2};
    feed(&a, &h, "abcdef", 0x3f, NULL, 0);
    assert_true(a.wanted_end);
    assert_false(a.stopped);
    assert_string_equal(h.text, "ab");
}

static void test_bad_stop_strings(void **state) {
    (void)state;
    static char memory[8];
    static const char *const empty[] = {"x", ""}, *const cut[] = {"\xa9x"};
    struct eye_generate_opts o = {.stop = empty, .n_stop = 2}, p = {.stop = cut, .n_stop = 1};
    struct eye_answer a;
    struct eye_err err;
    assert_int_equal(eye_answer_start(&a, memory, sizeof memory, &o, &err), EYE_E_ARG);
    assert_string_equal(err.text, "stop string 2 is empty");
    assert_int_equal(eye_answer_start(&a, memory, sizeof memory, &p, &err), EYE_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_argmax),
        cmocka_unit_test(test_log_sum_exp),
        cmocka_unit_test(test_select_best),
        cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_temperature_comes_before_top_p),
        cmocka_unit_test(test_determinism),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_stop_strings),
        cmocka_unit_test(test_text_is_not_held_longer_than_needed),
        cmocka_unit_test(test_caller_stops),
        cmocka_unit_test(test_bad_stop_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
