/* Data sets: every list format, found by itself in files and folders; entries that are wrong are counted, texts that are no
 * list are refused in one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "support/support.h"
#include "train/dataset.h"

static struct eye_dataset *open_paths(const char *const *paths, size_t n, const struct eye_dataset_opts *opts) {
    struct eye_dataset *s = NULL;
    struct eye_err err = {0};
    if (eye_dataset_open(paths, n, opts, &s, &err) != EYE_OK) fail_msg("%s", err.text);
    return s;
}

static struct eye_dataset *open_text(const char *name, const char *text) {
    const char *path = eye_scratch_write(name, text, strlen(text));
    return open_paths(&path, 1, NULL);
}

/* Every picture and caption in one text: "name/split: caption | question > answer; ..." */
static const char *dump(const struct eye_dataset *s) {
    static char out[4096];
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i <= s->n_images; i++) {
        bool none = i == s->n_images;
        size_t first = none ? (i ? s->image[i - 1].first + s->image[i - 1].n : 0) : s->image[i].first;
        size_t end = none ? s->n_captions : first + s->image[i].n;
        if (none && first == end) break;
        at += (size_t)snprintf(out + at, sizeof out - at, "%s%s/%s:", i ? "; " : "", none ? "-" : s->image[i].name,
                               none ? "none" : eye_split_name(s->image[i].split));
        for (size_t k = first; k < end; k++) {
            const struct eye_data_caption *c = &s->caption[k];
            at += (size_t)snprintf(out + at, sizeof out - at, "%s%s%s%s", k > first ? (c->turn ? " + " : " | ") : " ",
                                   c->prompt ? c->prompt : "", c->prompt ? " > " : "", c->text);
        }
    }
    return out;
}

static size_t count(const struct eye_dataset *s, enum eye_data_issue i) { return s->report.row[i].n; }
static size_t issues(const struct eye_dataset *s) {
    size_t n = 0;
    for (int i = 0; i < EYE_N_ISSUES; i++) n += count(s, (enum eye_data_issue)i);
    return n;
}

static void coco(void **state) {
    struct eye_dataset *s = open_text("captions_val2017.json",
        "{\"info\": {\"a\": [1, \"]}\"]}, \"annotations\": [{\"image_id\": 7, \"id\": 1, \"caption\": \"A cat.\\n\"},"
        "{\"image_id\": 9, \"id\": 2, \"caption\": \"Two dogs\"}, {\"image_id\": 7, \"id\": 3, \"caption\": \"a pet\"},"
        "{\"image_id\": 8, \"id\": 4, \"caption\": \"nobody\"}, {\"image_id\": 9, \"id\": 5, \"caption\": \"  \"},"
        "{\"image_id\": 9, \"id\": 6}, {\"image_id\": \"x\", \"caption\": \"y\"}],"
        "\"images\": [{\"id\": 7, \"file_name\": \"7.jpg\"}, {\"id\": 9, \"file_name\": \"9.jpg\"}, {\"id\": 5}, 3]}");
    assert_int_equal(s->format, EYE_DATA_COCO);
    assert_string_equal(dump(s), "7.jpg/dev: A cat. | a pet; 9.jpg/dev: Two dogs");
    assert_int_equal(count(s, EYE_ISSUE_CAPTION_WITHOUT_IMAGE), 1);
    assert_string_equal(s->report.row[EYE_ISSUE_CAPTION_WITHOUT_IMAGE].example[0], "image_id 8: nobody");
    assert_int_equal(count(s, EYE_ISSUE_CAPTION_EMPTY), 1);
    assert_int_equal(count(s, EYE_ISSUE_BAD_ITEM), 4);
    assert_int_equal(issues(s), 6);
    eye_dataset_close(s);
}

static void karpathy(void **state) {
    struct eye_dataset *s = open_text("dataset_tiny.json",
        "{\"images\": [{\"filename\": \"a.jpg\", \"filepath\": \"val2014\", \"split\": \"restval\", \"sentences\": "
        "[{\"raw\": \"One.\", \"tokens\": [\"one\"]}, {\"raw\": \"Two\"}]},"
        "{\"filename\": \"b.jpg\", \"split\": \"test\", \"sentences\": []},"
        "{\"filename\": \"c.jpg\", \"split\": \"elsewhere\", \"sentences\": []}], \"dataset\": \"tiny\"}");
    assert_int_equal(s->format, EYE_DATA_KARPATHY);
    assert_string_equal(dump(s), "val2014/a.jpg/train: One. | Two; b.jpg/test:");
    assert_int_equal(count(s, EYE_ISSUE_BAD_ITEM), 1);
    assert_int_equal(count(s, EYE_ISSUE_IMAGE_WITHOUT_CAPTION), 1);
    eye_dataset_close(s);
}

static void llava(void **state) {
    struct eye_dataset *s = open_text("llava.json",
        "[{\"id\": \"1\", \"image\": \"x/a.jpg\", \"conversations\": ["
        "{\"from\": \"human\", \"value\": \"<image>\\nWhat is it?\"}, {\"from\": \"gpt\", \"value\": \"A cat.\"},"
        "{\"from\": \"human\", \"value\": \"Sure?\"}, {\"from\": \"gpt\", \"value\": \"Yes\"}]},"
        "{\"id\": \"2\", \"image\": \"x/a.jpg\", \"conversations\": [{\"from\": \"human\", \"value\": \"Where?\\n<image>\"},"
        "{\"from\": \"gpt\", \"value\": \"Here\"}]},"
        "{\"conversations\": [{\"from\": \"user\", \"value\": \"Hi\"}, {\"from\": \"assistant\", \"value\": \"Hello\"}]},"
        "{\"image\": [\"a\", \"b\"], \"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]},"
        "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"first\"}]}, {\"conversations\": []}]");
    assert_int_equal(s->format, EYE_DATA_LLAVA);
    assert_string_equal(dump(s), "x/a.jpg/none: What is it? > A cat. + Sure? > Yes | Where? > Here; -/none: Hi > Hello");
    assert_int_equal(count(s, EYE_ISSUE_BAD_ITEM), 3);
    eye_dataset_close(s);
}

static void lines(void **state) {
    struct eye_dataset *s = open_text("Flickr8k.token.txt",
        "a.jpg#0\tA dog .\na.jpg#1\tA hound\r\nb#1.jpg#0\tA cat\n\nbroken line\n#0\tno name\na.jpg#2\t\n");
    assert_int_equal(s->format, EYE_DATA_FLICKR);
    assert_string_equal(dump(s), "a.jpg/none: A dog . | A hound; b#1.jpg/none: A cat");
    assert_int_equal(count(s, EYE_ISSUE_BAD_ITEM), 2);
    assert_int_equal(count(s, EYE_ISSUE_CAPTION_EMPTY), 1);
    eye_dataset_close(s);

    s = open_text("captions.txt", "\xEF\xBB\xBFimage,caption\r\na.jpg,A dog .\r\na.jpg,\"A \"\"big\"\" dog, and\na man\"\n"
                                  "b.jpg,one,two\nb.jpg,\"\"\n,text\nb.jpg,a cat");
    assert_int_equal(s->format, EYE_DATA_CSV);
    assert_string_equal(dump(s), "a.jpg/none: A dog . | A \"big\" dog, and a man; b.jpg/none: a cat");
    assert_int_equal(count(s, EYE_ISSUE_BAD_ITEM), 2);
    assert_int_equal(count(s, EYE_ISSUE_CAPTION_EMPTY), 1);
    assert_non_null(strstr(s->report.row[EYE_ISSUE_BAD_ITEM].example[0], "captions.txt: line 5: expected as many fields"));
    eye_dataset_close(s);

    s = open_text("index.tsv", "a.png\ta cat\ttrain\nb.png\ta dog\ttest\nb.png\tbad\tnowhere\nc.png\tno split\n");
    assert_int_equal(s->format, EYE_DATA_TSV);
    assert_string_equal(dump(s), "a.png/train: a cat; b.png/test: a dog; c.png/none: no split");
    assert_int_equal(count(s, EYE_ISSUE_IMAGE_WITHOUT_SPLIT), 1);
    eye_dataset_close(s);

    s = open_text("plain.txt", "A man, a plan\nbad \xFF byte\nna\xC3\x83\xC2\xAFve\nlast");
    assert_int_equal(s->format, EYE_DATA_TEXT);
    assert_string_equal(dump(s), "-/none: A man, a plan | bad \xEF\xBF\xBD byte | na\xC3\x83\xC2\xAFve | last");
    assert_int_equal(count(s, EYE_ISSUE_ENCODING), 2);
    assert_int_equal(issues(s), 2);
    eye_dataset_close(s);
}

/* Pictures beside the list, in images/, or in a folder that is named; split lists; several COCO files; pictures alone. */
static void the_first_to_learn_from(void **state) {
    static const char list[] = "t.png\tone\ttest\na.png\ttwo\ttrain\nd.png\tthree\tdev\nb.png\tfour\ttrain\n"
                               "a.png\tfive\ttrain\nc.png\tsix\ttrain\nd.png\tseven\tdev\n";
    static const char loose[] = "a.png\tone\nb.png\ttwo\nc.png\tthree\n";
    struct eye_err err;
    struct eye_dataset *s = open_text("first.tsv", list);
    assert_int_equal(eye_dataset_keep_training(s, 2, false, &err), EYE_OK);
    assert_string_equal(dump(s), "a.png/train: two | five; d.png/dev: three | seven; b.png/train: four");
    assert_int_equal(s->caption[2].image, 1);
    assert_int_equal(eye_strmap_get(&s->by_name, "b.png", 5), 2);
    assert_int_equal(eye_strmap_get(&s->by_name, "c.png", 5), -1);
    eye_dataset_close(s);
    s = open_text("loose.tsv", loose);
    assert_int_equal(eye_dataset_keep_training(s, 9, false, &err), EYE_OK);
    assert_int_equal(s->n_images, 3);
    assert_int_equal(eye_dataset_keep_training(s, 1, true, &err), EYE_OK);
    assert_string_equal(dump(s), "a.png/none: one");
    eye_dataset_close(s);
}

static void folders(void **state) {
    struct eye_err err = {0};
    char dir[512], path[600];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("flickr"));
    mkdir(dir, 0777);
    snprintf(path, sizeof path, "%s/images", dir);
    mkdir(path, 0777);
    eye_scratch_write("flickr/captions.txt", "image,caption\na.jpg,x y\nb.jpg,z\nc.jpg,w\n", 40);
    eye_scratch_write("flickr/Flickr_8k.trainImages.txt", "a.jpg\n", 6);
    eye_scratch_write("flickr/Flickr_8k.testImages.txt", "b.jpg\nghost.jpg", 15);
    eye_scratch_write("flickr/README.txt", "see", 3);
    eye_scratch_write("flickr/images/b.jpg", "", 0);
    const char *p = dir;
    struct eye_dataset *s = open_paths(&p, 1, NULL);
    assert_string_equal(dump(s), "a.jpg/train: x y; b.jpg/test: z; c.jpg/none: w");
    snprintf(path, sizeof path, "%s/images/b.jpg", dir);
    assert_string_equal(s->image[1].path, path);
    assert_int_equal(count(s, EYE_ISSUE_SPLIT_UNKNOWN), 1);
    assert_int_equal(count(s, EYE_ISSUE_IMAGE_WITHOUT_SPLIT), 1);
    struct eye_dataset_info info;
    eye_dataset_get_info(s, &info);
    assert_int_equal(info.n_images[EYE_SPLIT_TRAIN], 1);
    assert_int_equal(info.n_captions[EYE_SPLIT_TEST], 1);
    assert_int_equal(info.max_words, 2);
    eye_dataset_close(s);

    struct eye_dataset_opts opts = {.images = "/pictures"};
    s = open_paths(&p, 1, &opts);
    assert_string_equal(s->image[0].path, "/pictures/a.jpg");
    eye_dataset_close(s);

    eye_scratch_write("flickr/more.csv", "image,caption\n", 14);
    assert_int_equal(eye_dataset_open(&p, 1, NULL, &s, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "several lists (captions.txt, more.csv"));

    p = eye_scratch_path("flickr/images");
    s = open_paths(&p, 1, NULL);
    assert_int_equal(s->format, EYE_DATA_IMAGES);
    assert_string_equal(dump(s), "b.jpg/none:");
    assert_int_equal(issues(s), 0);
    eye_dataset_close(s);
}

static void refusals(void **state) {
    static const struct { const char *name, *text, *says; enum eye_status st; } cases[] = {
        {"cut.json",
         "{\"images\": [{\"id\": 1, \"file_name\": \"a\"}], \"annotations\": [{\"caption\": \"x\", \"image_id\": 1}",
         "cut.json: byte 89: expected \",\" or \"]\", got the end (cut off?)", EYE_E_CORRUPT},
        {"bad.json", "[{\"conversations\": [1, 2}]", "not a known list: accepted are COCO", EYE_E_UNSUPPORTED},
        {"bad2.json", "[{\"conversations\": [1]}, {nonsense}]", "bad2.json: [1]: line 1 column", EYE_E_CORRUPT},
        {"other.json", "{\"images\": 3}", "not a known list: accepted are COCO captions JSON", EYE_E_UNSUPPORTED},
        {"empty.txt", "", "not a known list", EYE_E_UNSUPPORTED},
        {"binary.bin", "\x89PNG\r\n\x1a\n", "not a known list", EYE_E_UNSUPPORTED},
        {"quote.csv", "image,caption\na.jpg,\"never closed\n", "quote.csv: line 2: a quoted field never ends", EYE_E_CORRUPT},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        const char *path = eye_scratch_write(cases[i].name, cases[i].text, strlen(cases[i].text));
        struct eye_dataset *s = NULL;
        struct eye_err err = {0};
        assert_true(eye_error_is(cases[i].name, eye_dataset_open(&path, 1, NULL, &s, &err), cases[i].st, &err, cases[i].says));
        assert_null(s);
        assert_null(strchr(err.text, '\n'));
    }
    const char *none = "/no/such/list";
    struct eye_dataset *s;
    struct eye_err err = {0};
    assert_int_equal(eye_dataset_open(&none, 1, NULL, &s, &err), EYE_E_IO);
}

/* Reads p [n] as whatever it is, for the tormentors. */
static enum eye_status open_bytes(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_dataset_opts opts = {.alloc = alloc};
    struct eye_dataset *s;
    EYE_TRY(eye_dataset_new(&opts, &s, err));
    struct eye_list list = {.set = s, .p = p, .n = n, .where = "list", .folder = "f"};
    enum eye_status st = eye_dataset_read(&list, eye_dataset_detect(p, n), err);
    if (st == EYE_OK) st = eye_dataset_finish(s, err);
    eye_dataset_close(s);
    return st;
}

static const char coco_text[] =
    "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 2, \"file_name\": \"b.jpg\"}], "
    "\"annotations\": [{\"image_id\": 1, \"caption\": \"a b\"}, {\"image_id\": 2, \"caption\": \"c\"}]}";
static const char csv_text[] = "image,caption\na.jpg,\"x, \"\"y\"\"\"\nb.jpg,z\n";

static void torment(void **state) {
    assert_true(eye_refuses_truncations(open_bytes, coco_text, sizeof coco_text - 3)); /* the last brace is not needed */
    assert_true(eye_survives_mutations(open_bytes, coco_text, sizeof coco_text - 1, 1, 3000));
    assert_true(eye_survives_mutations(open_bytes, csv_text, sizeof csv_text - 1, 2, 3000));
    assert_true(eye_survives_faults(open_bytes, coco_text, sizeof coco_text - 1));
    assert_true(eye_survives_faults(open_bytes, csv_text, sizeof csv_text - 1));
}

static void shuffles(void **state) {
    uint32_t a[100], b[100], seen[100] = {0};
    int moved = 0, same = 0;
    for (uint32_t i = 0; i < 100; i++) a[i] = b[i] = i;
    eye_shuffle(a, 100, 7, 3);
    eye_shuffle(b, 100, 7, 3);
    assert_memory_equal(a, b, sizeof a);
    for (uint32_t i = 0; i < 100; i++) {
        seen[a[i]]++;
        moved += a[i] != i;
        b[i] = i;
    }
    for (int i = 0; i < 100; i++) assert_int_equal(seen[i], 1);
    assert_true(moved > 80);
    eye_shuffle(b, 100, 7, 4);
    for (int i = 0; i < 100; i++) same += a[i] == b[i];
    assert_true(same < 20);
    /* Unbiased: each of 3 numbers 1000 times in 3000, five standard deviations (26) around. */
    struct eye_rng r = eye_rng_for(1, 2, 3);
    int n[3] = {0};
    for (int i = 0; i < 3000; i++) n[eye_rng_below(&r, 3)]++;
    for (int i = 0; i < 3; i++) assert_in_range(n[i], 870, 1130);
}

static int scratch_remove(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(coco),    cmocka_unit_test(karpathy), cmocka_unit_test(llava),   cmocka_unit_test(lines),
        cmocka_unit_test(the_first_to_learn_from),
        cmocka_unit_test(folders), cmocka_unit_test(refusals), cmocka_unit_test(torment), cmocka_unit_test(shuffles),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
