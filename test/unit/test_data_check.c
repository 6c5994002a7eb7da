/* What `eyelet data check` finds: broken and missing pictures, the same picture in two splits as it is and in another size and
 * format, captions that leak, answers that stand in their question; and that a clean set has none of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "image/encode.h"
#include "support/support.h"
#include "train/dataset.h"
#include "train/synth.h"

#define CALL(x)                                      \
    do {                                             \
        if ((x) != EYE_OK) fail_msg("%s", err.text); \
    } while (0)

static struct eye_data_report check_path(const char *path, bool no_images) {
    struct eye_err err = {0};
    struct eye_data_report r = {0};
    struct eye_dataset *s;
    struct eye_data_check_opts o = {.no_images = no_images, .n_threads = 2};
    CALL(eye_dataset_open(&path, 1, NULL, &s, &err));
    CALL(eye_dataset_check(s, &o, &r, &err));
    eye_dataset_close(s);
    return r;
}

static size_t count_all(const struct eye_data_report *r) {
    size_t n = 0;
    for (int i = 0; i < EYE_N_ISSUES; i++) n += r->row[i].n;
    return n;
}

/* A picture of smooth waves, another one for each seed, in any size: as pixels of a scene seen by different cameras. light is
 * added to all. */
static void write_picture(const char *name, int seed, int width, int height, int light) {
    struct eye_err err = {0};
    struct eye_buf file;
    uint8_t *rgb = malloc((size_t)width * (size_t)height * 3);
    eye_buf_init(&file, NULL);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                int u = 1000 * x / width, v = 1000 * y / height; /* triangular waves: no libm, no steps */
                int a = abs((u * (seed % 5 + 2 + c) + 130 * seed) % 2000 - 1000);
                int b = abs((v * (seed % 3 + 2) + 70 * seed) % 2000 - 1000);
                rgb[3 * (y * width + x) + c] = (uint8_t)(30 + (a + b) / 12 + light);
            }
    CALL(eye_image_encode(rgb, width, height, &file, &err));
    eye_scratch_write(name, file.p, file.len);
    eye_buf_clear(&file);
    free(rgb);
}

static void pictures(void **state) {
    static const char list[] = "a.png\ta cat on a mat\ttrain\n"
                               "b.png\ttwo dogs\ttrain\n"
                               "b2.png\tTwo dogs!\ttest\n"   /* the bytes of b.png, and its caption but for case and signs */
                               "a2.png\tanother text\tdev\n" /* a.png in another size and light */
                               "c.png\tc one\ttrain\n"
                               "c2.png\tc two\ttrain\n"      /* the bytes of c.png, in the same split */
                               "d.png\ta horse\ttest\nd.png\tA horse.\ttest\n"
                               "broken.png\tx y\ttrain\n"
                               "gone.png\tz\ttrain\n"
                               "e.png\ta cat on a mat\tdev\n"; /* a caption of train's, but of quite another picture */
    write_picture("a.png", 1, 120, 80, 0);
    write_picture("a2.png", 1, 300, 210, 5);
    write_picture("b.png", 2, 64, 64, 0);
    write_picture("b2.png", 2, 64, 64, 0);
    write_picture("c.png", 3, 64, 64, 0);
    write_picture("c2.png", 3, 64, 64, 0);
    write_picture("d.png", 4, 64, 64, 0);
    write_picture("e.png", 5, 64, 64, 0);
    eye_scratch_write("broken.png", "\x89PNG\r\n\x1a\n and then nothing", 25);
    struct eye_data_report r = check_path(eye_scratch_write("list.tsv", list, sizeof list - 1), false);
    static const struct { enum eye_data_issue issue; const char *says; } want[] = {
        {EYE_ISSUE_DUPLICATE_ACROSS, "b.png (train) and b2.png (test)"},
        {EYE_ISSUE_NEAR_ACROSS, "a.png (train) and a2.png (dev)"},
        {EYE_ISSUE_LEAK, "b.png (train) and b2.png (test)"},
        {EYE_ISSUE_DUPLICATE_WITHIN, "c.png (train) and c2.png (train)"},
        {EYE_ISSUE_CAPTION_TWICE, "d.png"},
        {EYE_ISSUE_IMAGE_UNREADABLE, "broken.png: "},
        {EYE_ISSUE_IMAGE_MISSING, "gone.png"},
    };
    for (size_t i = 0; i < EYE_COUNT(want); i++) {
        const struct eye_data_row *row = &r.row[want[i].issue];
        if (row->n != 1 || !strstr(row->example[0], want[i].says))
            fail_msg("%s: %zu, \"%s\"", eye_data_issue_name(want[i].issue), row->n, row->example[0]);
    }
    assert_int_equal(count_all(&r), EYE_COUNT(want));
    r = check_path(eye_scratch_path("list.tsv"), true); /* without opening pictures */
    assert_int_equal(count_all(&r), 1);
}

static void answers(void **state) {
    static const char list[] =
        "[{\"image\": \"x.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"Is it a big red bus, or a car?\"},"
        "{\"from\": \"gpt\", \"value\": \"A big red bus.\"}, {\"from\": \"human\", \"value\": \"Is it a bus?\"},"
        "{\"from\": \"gpt\", \"value\": \"A bus\"}, {\"from\": \"human\", \"value\": \"And the big redder bus?\"},"
        "{\"from\": \"gpt\", \"value\": \"the big red\"}, {\"from\": \"human\", \"value\": \"Sure?\"},"
        "{\"from\": \"gpt\", \"value\": \"A bus\"}]}]";
    struct eye_data_report r = check_path(eye_scratch_write("llava.json", list, sizeof list - 1), true);
    assert_int_equal(r.row[EYE_ISSUE_ANSWER_IN_QUESTION].n, 1);
    assert_string_equal(r.row[EYE_ISSUE_ANSWER_IN_QUESTION].example[0], "x.jpg: A big red bus.");
    assert_int_equal(r.row[EYE_ISSUE_CAPTION_TWICE].n, 0); /* two questions may have one answer */
}

/* The synthetic splits must look different to the check, however small the shapes are. */
static void synth_is_clean(void **state) {
    struct eye_err err = {0};
    struct eye_synth_opts o = {.n = {0, 300, 50, 50}};
    char dir[512];
    for (o.level = 1; o.level <= 3; o.level++) {
        snprintf(dir, sizeof dir, "%s", eye_scratch_path("synth"));
        CALL(eye_synth_write(dir, &o, NULL, NULL, NULL, &err));
        struct eye_data_report r = check_path(dir, false);
        for (int i = 0; i < EYE_N_ISSUES; i++)
            if (r.row[i].n && eye_data_issue_severity((enum eye_data_issue)i) == EYE_DATA_ERROR)
                fail_msg("%s: %s", eye_data_issue_name((enum eye_data_issue)i), r.row[i].example[0]);
    }
}

/* Pictures that look the same stay together, through a third one too; every readable picture is in one list. */
static void splits_keep_groups(void **state) {
    struct eye_err err = {0};
    struct eye_dataset *set, *again;
    struct eye_data_split_result r;
    char list[4096] = "", dir[512], lists[3][600], first[4096];
    size_t at = 0;
    for (int i = 0; i < 30; i++) { /* 10 scenes; the second and third picture of each are larger, lighter ones of the first */
        char name[32];
        snprintf(name, sizeof name, "g%02d.png", i);
        write_picture(name, 10 + i % 10, 60 + i / 10 * 37, 50 + i / 10 * 20, i / 10 * 4);
        at += (size_t)snprintf(list + at, sizeof list - at, "%s\tpicture\n", name);
    }
    snprintf(list + at, sizeof list - at, "gone.png\tnothing\n");
    const char *path = eye_scratch_write("groups.tsv", list, strlen(list));
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("lists"));
    CALL(eye_dataset_open(&path, 1, NULL, &set, &err));
    struct eye_data_split_opts o = {.dev = 0.2, .test = 0.2, .seed = 3, .look = {.n_threads = 2}};
    CALL(eye_dataset_split(set, &o, dir, &r, NULL, &err));
    assert_int_equal(r.n[EYE_SPLIT_NONE], 1);
    assert_int_equal(r.n[EYE_SPLIT_TEST], 6);
    assert_int_equal(r.n[EYE_SPLIT_DEV], 6);
    assert_int_equal(r.n[EYE_SPLIT_TRAIN], 18);
    assert_int_equal(r.n_together, 20);
    struct eye_dataset_opts opts = {0};
    for (int s = EYE_SPLIT_TRAIN; s < EYE_N_SPLITS; s++) {
        snprintf(lists[s - 1], sizeof lists[0], "%s/%s.txt", dir, eye_split_name((enum eye_split)s));
        opts.split_list[s] = lists[s - 1];
    }
    CALL(eye_dataset_open(&path, 1, &opts, &again, &err));
    first[0] = '\0';
    for (size_t i = 0; i < 30; i++) {
        assert_int_not_equal(again->image[i].split, EYE_SPLIT_NONE);
        assert_int_equal(again->image[i].split, again->image[i % 10].split);
        first[i] = (char)('0' + again->image[i].split);
    }
    eye_dataset_close(again);
    o.seed = 4; /* another seed, other splits */
    CALL(eye_dataset_split(set, &o, dir, &r, NULL, &err));
    CALL(eye_dataset_open(&path, 1, &opts, &again, &err));
    bool same = true;
    for (size_t i = 0; i < 30; i++) same &= first[i] == (char)('0' + again->image[i].split);
    assert_false(same);
    eye_dataset_close(again);
    o.dev = o.test = 0.5;
    assert_int_equal(eye_dataset_split(set, &o, dir, &r, NULL, &err), EYE_E_ARG);
    o.dev = 0, o.test = 0.99; /* groups of three: test takes all */
    assert_int_equal(eye_dataset_split(set, &o, dir, &r, NULL, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "none is left for training"));
    eye_dataset_close(set);
}

static bool stop(void *ctx) { return true; }

static void gives_up(void **state) {
    struct eye_err err = {0};
    struct eye_data_report r;
    struct eye_dataset *s;
    struct eye_data_check_opts o = {.cancel = stop};
    const char *path = eye_scratch_path("list.tsv");
    CALL(eye_dataset_open(&path, 1, NULL, &s, &err));
    assert_int_equal(eye_dataset_check(s, &o, &r, &err), EYE_E_CANCELLED);
    eye_dataset_close(s);
    struct eye_faulty f;
    for (long n_ok = 0;; n_ok++) { /* memory that runs out at any time */
        eye_faulty_init(&f, -1);
        struct eye_dataset_opts opts = {.alloc = &f.alloc};
        CALL(eye_dataset_open(&path, 1, &opts, &s, &err));
        f.n_ok = n_ok;
        o = (struct eye_data_check_opts){.n_threads = 1};
        enum eye_status st = eye_dataset_check(s, &o, &r, &err);
        eye_dataset_close(s);
        assert_int_equal(f.n_live, 0);
        if (!f.failed) break;
        assert_int_equal(st, EYE_E_NOMEM);
    }
}

static int scratch_remove(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures),           cmocka_unit_test(answers),  cmocka_unit_test(synth_is_clean),
        cmocka_unit_test(splits_keep_groups), cmocka_unit_test(gives_up),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
