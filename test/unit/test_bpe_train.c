/* Tokenizer training: merges worked out by hand and by a plain restatement of the rule, the file through our own reader, lower
 * case, hostile options, memory that runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sys.h"
#include "support/support.h"
#include "text/tokenizer.h"
#include "train/bpe_train.h"
#include "train/dataset.h"

#define CALL(x)                                      \
    do {                                             \
        if ((x) != EYE_OK) fail_msg("%s", err.text); \
    } while (0)

static enum eye_status train(const char *const *texts, size_t n, const struct eye_tokenizer_train_opts *o,
                             const struct eye_alloc *alloc, struct eye_buf *json, struct eye_tokenizer_report *r,
                             struct eye_err *err) {
    struct eye_bpe_trainer *t;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_bpe_trainer_new(&t, o, alloc, err));
    for (size_t i = 0; i < n; i++) EYE_TRY_GOTO(eye_bpe_trainer_add(t, texts[i], strlen(texts[i]), err));
    EYE_TRY_GOTO(eye_bpe_trainer_finish(t, json, err));
    eye_bpe_trainer_report(t, r);
fail:
    eye_bpe_trainer_free(t);
    return st;
}

static struct eye_tokenizer *read_back(const struct eye_buf *json) {
    struct eye_tokenizer_src src = {.tokenizer_json = {json->p, json->len}};
    struct eye_tokenizer *tk = NULL;
    struct eye_err err = {0};
    CALL(eye_tokenizer_open(&tk, &src, NULL, &err));
    return tk;
}

static const char *merge_list(const struct eye_buf *json) { return strstr(json->p, "\"merges\""); }

/* "hug" 10, "pug" 5, "pun" 12, "bun" 4, "hugs" 5: the textbook example, with its known first three merges. */
static void textbook(void **state) {
    static const struct { const char *word; int n; } words[] = {{"hug", 10}, {"pug", 5}, {"pun", 12}, {"bun", 4}, {"hugs", 5}};
    const char *texts[36];
    size_t n = 0;
    struct eye_err err = {0};
    struct eye_buf json;
    struct eye_tokenizer_report r;
    struct eye_ids ids = {0};
    for (size_t i = 0; i < EYE_COUNT(words); i++)
        for (int k = 0; k < words[i].n; k++) texts[n++] = words[i].word;
    struct eye_tokenizer_train_opts o = {.n_vocab = 260};
    eye_buf_init(&json, NULL);
    CALL(train(texts, n, &o, NULL, &json, &r, &err));
    assert_non_null(strstr(merge_list(&json), "[\"u\", \"g\"],\n      [\"u\", \"n\"],\n      [\"h\", \"ug\"]\n    ]"));
    assert_int_equal(r.n_vocab, 260);
    assert_int_equal(r.n_merges, 3);
    assert_int_equal(r.n_words, 5);
    struct eye_tokenizer *tk = read_back(&json);
    assert_int_equal(eye_tokenizer_id(tk, "<|endoftext|>", 13), 0);
    assert_true(eye_tokenizer_is_special(tk, 0));
    assert_int_equal(eye_tokenizer_id(tk, "!", 1), 1); /* the alphabet's first character */
    CALL(eye_tokenizer_encode(tk, "hugs bun<|endoftext|>", 21, NULL, &ids, &err));
    assert_int_equal(ids.n, 6); /* hug s blank b un end */
    assert_int_equal(ids.p[0], 259);
    assert_int_equal(ids.p[4], 258);
    assert_int_equal(ids.p[5], 0);
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
    eye_buf_clear(&json);
}

/* Equal counts: the smaller left id, then the smaller right id. */
static void ties(void **state) {
    static const char *const texts[] = {"zy", "ba", "bc", "aaaa", "aaaa"};
    static const char *const again[] = {"aaaa", "bc", "zy", "aaaa", "ba"};
    struct eye_err err = {0};
    struct eye_buf json, other;
    struct eye_tokenizer_report r;
    struct eye_tokenizer_train_opts o = {.n_vocab = 300, .min_count = 1};
    eye_buf_init(&json, NULL);
    eye_buf_init(&other, NULL);
    CALL(train(texts, EYE_COUNT(texts), &o, NULL, &json, &r, &err));
    assert_non_null(strstr(merge_list(&json), "[\"a\", \"a\"],\n      [\"aa\", \"aa\"],\n      [\"b\", \"a\"],\n"
                                              "      [\"b\", \"c\"],\n      [\"z\", \"y\"]\n    ]"));
    CALL(train(again, EYE_COUNT(again), &o, NULL, &other, &r, &err));
    assert_string_equal(json.p, other.p);
    eye_buf_clear(&json);
    eye_buf_clear(&other);
}

/* The rule restated: all pairs are counted anew for each merge. Random words of few letters, with many ties and overlaps. */
enum { N_WORDS = 60, MAX_LEN = 12, N_MERGES = 80 };
struct plain { int n, sym[MAX_LEN]; };

static void plain_merges(struct plain *w, int made[N_MERGES][2], int *n_made, int first_id) {
    static int count[400][400];
    for (*n_made = 0; *n_made < N_MERGES; ++*n_made) {
        int best[2] = {0, 0}, most = 0;
        memset(count, 0, sizeof count);
        for (int i = 0; i < N_WORDS; i++)
            for (int k = 0; k + 1 < w[i].n; k++) count[w[i].sym[k]][w[i].sym[k + 1]]++;
        for (int a = 0; a < 400; a++)
            for (int b = 0; b < 400; b++)
                if (count[a][b] > most) most = count[best[0] = a][best[1] = b];
        if (most < 2) return;
        memcpy(made[*n_made], best, sizeof best);
        for (int i = 0; i < N_WORDS; i++) {
            int to = 0;
            for (int k = 0; k < w[i].n; k++) {
                bool hit = k + 1 < w[i].n && w[i].sym[k] == best[0] && w[i].sym[k + 1] == best[1];
                w[i].sym[to++] = hit ? first_id + *n_made : w[i].sym[k];
                k += hit;
            }
            w[i].n = to;
        }
    }
}

static void against_the_rule(void **state) {
    for (uint64_t seed = 0; seed < 40; seed++) {
        static struct plain words[N_WORDS];
        static char text[N_WORDS][MAX_LEN + 1];
        const char *texts[N_WORDS];
        int made[N_MERGES][2], n_made;
        struct eye_rng rng;
        struct eye_err err = {0};
        struct eye_buf json, want;
        struct eye_tokenizer_report r;
        eye_rng_seed(&rng, seed);
        for (int i = 0; i < N_WORDS; i++) {
            words[i].n = 1 + (int)(eye_rng_u64(&rng) % MAX_LEN);
            for (int k = 0; k < words[i].n; k++) {
                int letter = (int)(eye_rng_u64(&rng) % (2 + seed % 5));
                words[i].sym[k] = 'a' - '!' + 1 + letter; /* id: one special token, then characters from '!' on */
                text[i][k] = (char)('a' + letter);
            }
            text[i][words[i].n] = '\0';
            texts[i] = text[i];
        }
        plain_merges(words, made, &n_made, 257);
        struct eye_tokenizer_train_opts o = {.n_vocab = 257 + N_MERGES};
        eye_buf_init(&json, NULL);
        eye_buf_init(&want, NULL);
        CALL(train(texts, N_WORDS, &o, NULL, &json, &r, &err));
        struct eye_tokenizer *tk = read_back(&json);
        eye_buf_adds(&want, "\"merges\": [");
        for (int i = 0; i < n_made; i++) {
            const char *p[2];
            size_t n[2];
            for (int k = 0; k < 2; k++) assert_true(eye_tokenizer_token(tk, made[i][k], &p[k], &n[k]));
            eye_buf_printf(&want, "%s\n      [\"%.*s\", \"%.*s\"]", i ? "," : "", (int)n[0], p[0], (int)n[1], p[1]);
        }
        eye_buf_adds(&want, "\n    ]\n  }\n}\n");
        /* Two pairs may make the same bytes (ab + c, a + bc): then ids differ, and the plain count says nothing. */
        if (r.n_vocab == 257 + r.n_merges) assert_string_equal(merge_list(&json), want.p);
        eye_tokenizer_close(tk);
        eye_buf_clear(&want);
        eye_buf_clear(&json);
    }
}

/* Every text comes back as it was, whatever its bytes; in lower case with the normalizer. */
static void round_trip(void **state) {
    static const char *const texts[] = {"A \"quoted\" \\ dog's 3rd\tTAB\n", "na\xC3\xAFve CAF\xC3\x89 \xF0\x9F\x90\xB6",
                                        "\xC4\xB0stanbul"};
    for (int lower = 0; lower < 2; lower++) {
        struct eye_tokenizer_train_opts o = {.n_vocab = 400, .min_count = 1, .lowercase = lower,
                                             .special = (const char *const[]){"<|endoftext|>", "<\"\\\x01>"}, .n_special = 2};
        struct eye_err err = {0};
        struct eye_buf json, out;
        struct eye_tokenizer_report r;
        eye_buf_init(&json, NULL);
        eye_buf_init(&out, NULL);
        CALL(train(texts, EYE_COUNT(texts), &o, NULL, &json, &r, &err));
        struct eye_tokenizer *tk = read_back(&json);
        assert_int_equal(eye_tokenizer_id(tk, "<\"\\\x01>", 5), 1);
        for (size_t i = 0; i < EYE_COUNT(texts); i++) {
            static const char *const lowered[] = {"a \"quoted\" \\ dog's 3rd\ttab\n",
                                                  "na\xC3\xAFve caf\xC3\xA9 \xF0\x9F\x90\xB6", "i\xCC\x87stanbul"};
            struct eye_ids ids = {0};
            out.len = 0;
            CALL(eye_tokenizer_encode(tk, texts[i], strlen(texts[i]), NULL, &ids, &err));
            eye_tokenizer_decode(tk, ids.p, ids.n, true, &out);
            assert_string_equal(out.p, lower ? lowered[i] : texts[i]);
            eye_ids_clear(&ids);
        }
        eye_tokenizer_close(tk);
        eye_buf_clear(&out);
        eye_buf_clear(&json);
    }
}

static void refused(void **state) {
    const struct { struct eye_tokenizer_train_opts o; const char *says; } cases[] = {
        {{.n_vocab = 256}, "a vocabulary of 256: expected 257"},
        {{.n_vocab = -1}, "a vocabulary of -1"},
        {{.n_vocab = INT32_MAX}, "a vocabulary of 2147483647"},
        {{.special = (const char *const[]){""}, .n_special = 1}, "special token 0: expected 1 to 256 bytes"},
        {{.special = (const char *const[]){"\xFF\xFF"}, .n_special = 1}, "special token 0: expected"},
        {{.special = (const char *const[]){"a"}, .n_special = 1}, "one character could be a byte's own token"},
        {{.special = (const char *const[]){"<a>", "<a>"}, .n_special = 2}, "\"<a>\" is given twice"},
    };
    struct eye_bpe_trainer *t;
    struct eye_buf json;
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_err err = {0};
        assert_true(eye_error_is("case", eye_bpe_trainer_new(&t, &cases[i].o, NULL, &err), EYE_E_ARG, &err, cases[i].says));
    }
    struct eye_err err = {0};
    eye_buf_init(&json, NULL);
    CALL(eye_bpe_trainer_new(&t, NULL, NULL, &err));
    assert_int_equal(eye_bpe_trainer_finish(t, &json, &err), EYE_E_ARG);
    eye_bpe_trainer_free(t);
}

static enum eye_status train_bytes(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_tokenizer_train_opts o = {.n_vocab = 280, .min_count = 1, .lowercase = true};
    struct eye_bpe_trainer *t;
    struct eye_buf json;
    EYE_TRY(eye_bpe_trainer_new(&t, &o, alloc, err));
    eye_buf_init(&json, alloc);
    enum eye_status st = eye_bpe_trainer_add(t, p, n, err);
    if (st == EYE_OK) st = eye_bpe_trainer_finish(t, &json, err);
    eye_buf_clear(&json);
    eye_bpe_trainer_free(t);
    return st;
}

static void torment(void **state) {
    static const char text[] = "a big dog and a big cat and a \xC3\xA9 dog";
    assert_true(eye_survives_mutations(train_bytes, text, sizeof text - 1, 3, 500));
    assert_true(eye_survives_faults(train_bytes, text, sizeof text - 1));
}

/* From a data set: the test split's words stay out. */
static void from_a_set(void **state) {
    struct eye_err err = {0};
    struct eye_dataset *set;
    struct eye_tokenizer_report r;
    struct eye_map m;
    char path[600];
    const char *list = eye_scratch_write("set.tsv", "a.jpg\tdog dog dog\ttrain\nb.jpg\tcat cat cat\ttest\n", 47);
    CALL(eye_dataset_open(&list, 1, NULL, &set, &err));
    snprintf(path, sizeof path, "%s", eye_scratch_path("tokenizer.json"));
    CALL(eye_tokenizer_train(set, NULL, path, &r, &err));
    assert_int_equal(r.n_texts, 1);
    CALL(eye_map_open(&m, path, false, 0, &err));
    struct eye_buf json = {.p = (char *)(uintptr_t)m.p, .len = m.size};
    struct eye_tokenizer *tk = read_back(&json);
    assert_true(eye_tokenizer_id(tk, "dog", 3) > 0);
    assert_int_equal(eye_tokenizer_id(tk, "ca", 2), -1);
    eye_tokenizer_close(tk);
    eye_map_close(&m);
    eye_dataset_close(set);
}

static int scratch_remove(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(textbook), cmocka_unit_test(ties),    cmocka_unit_test(against_the_rule), cmocka_unit_test(round_trip),
        cmocka_unit_test(refused),  cmocka_unit_test(torment), cmocka_unit_test(from_a_set),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
