/* Batches: what a row is given and what is asked of it, who sees whom, and in which order pictures come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "support/make_checkpoint.h"
#include "support/support.h"
#include "train/corpus.h"

enum { BOS = 1, EOS = 2 };
static struct eye_err err;
static struct eye_tokenizer *tokenizer;
static struct eye_dataset *set;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static int setup(void **state) {
    static const char list[] = "a.png\tone two\ttrain\na.png\tthree\ttrain\nb.png\tfour five six\ttrain\nc.png\tseven\tdev\n";
    struct eye_map json;
    ok(eye_make_tokenizer(300, false, eye_scratch_dir(), &err));
    ok(eye_map_open(&json, eye_scratch_path("tokenizer.json"), false, 0, &err));
    const struct eye_tokenizer_src src = {.tokenizer_json = {json.p, json.size}};
    ok(eye_tokenizer_open(&tokenizer, &src, NULL, &err));
    eye_map_close(&json);
    const char *path = eye_scratch_write("index.tsv", list, sizeof list - 1);
    ok(eye_dataset_open(&path, 1, NULL, &set, &err));
    return 0;
}

static int teardown(void **state) {
    eye_dataset_close(set);
    eye_tokenizer_close(tokenizer);
    eye_scratch_remove();
    return 0;
}

static void fill(struct eye_corpus *c, size_t max_tok, size_t max_captions) {
    eye_corpus_init(c, BOS, EOS, max_tok, NULL);
    ok(eye_corpus_add_split(c, set, EYE_SPLIT_TRAIN, NULL, max_captions, 0, tokenizer, &err));
}

/* Row i has token i and is asked for token i + 1: never for what it was given. */
static void targets_are_the_next_tokens(void **state) {
    struct eye_corpus c;
    struct eye_batch b;
    const uint32_t both[] = {1, 0};
    enum { ROWS = 3 };
    fill(&c, 40, 0);
    assert_int_equal(c.n_groups, 2);
    assert_int_equal(c.n, 3);
    ok(eye_batch_init(&b, eye_corpus_max_rows(&c, 2, ROWS), NULL, &err));
    eye_batch_fill(&b, &c, both, 2, ROWS, 0);
    assert_int_equal(b.t, b.max_rows); /* the two largest groups are all there are */
    assert_int_equal(b.n_segments, 2 + 3);
    assert_int_equal(b.n_targets, eye_corpus_targets(&c, 0) + eye_corpus_targets(&c, 1));
    int64_t row = 0, n_image = 0, k = 0;
    for (size_t s = 0; s < b.n_segments; s++) {
        const struct eye_segment *e = &b.segment[s];
        assert_int_equal(e->row, row);
        bool image = b.image_row[row] >= 0;
        assert_int_equal(e->pos, image ? 0 : ROWS);
        assert_int_equal(e->n_prefix, image ? 0 : ROWS);
        if (!image) assert_int_equal(b.ids[row], BOS);
        for (int64_t i = 0; i < e->n; i++, row++) {
            if (image) {
                assert_int_equal(b.ids[row], -1);
                assert_int_equal(b.image_row[row], n_image++);
            } else {
                assert_true(b.image_row[row] == -1 && b.picked[k] == (int32_t)row && b.weight[k] == 1);
                assert_int_equal(b.target[k++], i + 1 < e->n ? b.ids[row + 1] : EOS);
                assert_true(b.image_row[e->prefix] == (int32_t)(n_image - ROWS)); /* its own picture's rows */
            }
        }
    }
    assert_int_equal(k, b.n_targets);
    eye_batch_weigh(&b, 0.25f);
    for (int64_t i = 0; i < b.n_targets; i++) assert_true(b.weight[i] == 0.25f);
    /* Texts alone begin where captions will. */
    eye_batch_fill(&b, &c, both, 1, 0, 7);
    assert_true(b.n_segments == 1 && b.segment[0].pos == 7 && b.segment[0].n_prefix == 0);
    /* Nothing to learn: one row all the same, which weighs nothing. */
    eye_batch_begin(&b);
    eye_batch_add_image(&b, 0, ROWS);
    assert_true(eye_batch_picked(&b) == 1 && b.picked[0] == 0 && b.target[0] == -1 && b.weight[0] == 0);
    eye_batch_clear(&b, NULL);
    eye_corpus_clear(&c);
}

static void captions_are_cut_and_chosen(void **state) {
    struct eye_corpus c;
    fill(&c, 2, 1);
    assert_int_equal(c.n, 2); /* one of each picture */
    for (size_t i = 0; i < c.n; i++) {
        assert_true(eye_corpus_len(&c, i) <= 4);
        assert_int_equal(c.ids.p[c.begin[i]], BOS);
        assert_int_equal(c.ids.p[c.begin[i + 1] - 1], EOS); /* cut or not, it ends */
    }
    eye_corpus_clear(&c);
    eye_corpus_init(&c, BOS, EOS, 8, NULL);
    const char *path = eye_scratch_write("lines.txt", "one\r\n\n  \ntwo", 13);
    ok(eye_corpus_add_lines(&c, path, tokenizer, &err));
    assert_int_equal(c.n_groups, 2);
    eye_corpus_clear(&c);
    eye_corpus_init(&c, BOS, EOS, 8, NULL);
    c.pictures_only = true;
    ok(eye_corpus_add_split(&c, set, EYE_SPLIT_TRAIN, NULL, 0, 0, tokenizer, &err));
    assert_true(c.n_groups == 2 && c.n == 0 && eye_corpus_targets(&c, 0) == 0 && eye_corpus_max_rows(&c, 2, 5) == 10);
    eye_corpus_clear(&c);
}

/* Each pass has every picture once, in an order that position and seed alone decide. */
static void passes_are_permutations(void **state) {
    enum { N = 13 };
    uint32_t order[N], again[N], first[2][N];
    uint64_t pass;
    struct eye_stream s = {.order = order, .n = N, .seed = 3, .pass = -1}, t = {.order = again, .n = N, .seed = 3, .pass = -1};
    for (int p = 0; p < 2; p++) {
        uint32_t seen = 0;
        for (int i = 0; i < N; i++) {
            first[p][i] = eye_stream_at(&s, p * N + i, &pass);
            assert_int_equal(pass, p);
            seen |= 1u << first[p][i];
        }
        assert_int_equal(seen, (1u << N) - 1);
    }
    assert_memory_not_equal(first[0], first[1], sizeof first[0]);
    for (int i = 2 * N - 1; i >= 0; i--) assert_int_equal(eye_stream_at(&t, i, &pass), first[i / N][i % N]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_are_the_next_tokens),
        cmocka_unit_test(captions_are_cut_and_chosen),
        cmocka_unit_test(passes_are_permutations),
    };
    return cmocka_run_group_tests_name("corpus", tests, setup, teardown);
}
