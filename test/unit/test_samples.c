/* Calibration sets for other tool chains: samples are what the model sees, in every layout; the list and the files agree, also
 * after a smaller set, a broken picture, a failure; noise only if asked for; what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sys.h"
#include "eyelet/calibrate.h"
#include "eyelet/experimental.h"
#include "eyelet/eyelet.h"
#include "format/json.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

enum { WIDTH = 50, HEIGHT = 30, PICTURE_BYTES = WIDTH * HEIGHT * 3, SIDE = 256, N = 3 * SIDE * SIDE };
static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *model(void) {
    static char path[640];
    snprintf(path, sizeof path, "%s/model", eye_scratch_dir());
    if (!eye_path_is_dir(path)) ok(eye_make_tiny(path, &err));
    return path;
}

static void write_picture(const char *name, int i, bool whole) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_buf_printf(&b, "P6 %d %d 255\n", WIDTH, HEIGHT);
    for (int k = 0; k < (whole ? PICTURE_BYTES : PICTURE_BYTES / 2); k++) {
        uint8_t v = (uint8_t)(k * (3 + 2 * i) + k / 150 * 7);
        eye_buf_add(&b, &v, 1);
    }
    eye_scratch_write(name, b.p, b.len);
    eye_buf_clear(&b);
}

/* Three pictures, and two that are broken, before the first and among the others. */
static const char *pictures(void) {
    static char dir[640];
    if (dir[0]) return dir;
    snprintf(dir, sizeof dir, "%s/pictures", eye_scratch_dir());
    assert_int_equal(mkdir(dir, 0700), 0);
    write_picture("pictures/a-cut.ppm", 9, false);
    write_picture("pictures/b.ppm", 0, true);
    write_picture("pictures/c.ppm", 1, true);
    eye_scratch_write("pictures/d-empty.png", "", 0);
    write_picture("pictures/e.ppm", 2, true);
    return dir;
}

static char out[1024]; /* the set's folder */

static void make_set(struct eye_samples_opts o, struct eye_samples_report *r) {
    snprintf(out, sizeof out, "%s/set", eye_scratch_dir());
    if (!o.random) o.pictures = pictures();
    ok(eye_samples_write(model(), out, &o, r, &err));
}

static size_t count_samples(void) {
    size_t n = 0;
    DIR *d = opendir(out);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d)) != NULL;) n += strncmp(e->d_name, "sample_", 7) == 0;
    closedir(d);
    return n;
}

static struct eye_map map_file(const char *name) {
    char path[2048];
    struct eye_map m;
    snprintf(path, sizeof path, "%s/%s", out, name);
    ok(eye_map_open(&m, path, true, 0, &err));
    return m;
}

/* [3, SIDE, SIDE] of a picture, as probe says. */
static struct eye_array pixels_of(struct eye_model *m, const char *name) {
    char path[2048];
    struct eye_image img;
    struct eye_array a;
    snprintf(path, sizeof path, "%s/%s", pictures(), name);
    ok(eye_image_load(path, NULL, &img, &err));
    struct eye_query q = {.images = &img, .n_images = 1};
    ok(eye_probe_run(m, &(struct eye_probe){.stage = EYE_PROBE_PIXELS, .query = &q}, &a, &err));
    eye_image_free(&img);
    assert_int_equal(a.bytes, N * 4);
    return a;
}

/* ---- tests ---- */

/* Element i of channel c, in both orders. */
static size_t at(enum eye_sample_layout l, size_t c, size_t i) {
    return l < EYE_SAMPLE_HWC_F32 ? c * SIDE * SIDE + i : i * 3 + c;
}

static void test_layouts(void **state) {
    static const char *const name[] = {"b.ppm", "c.ppm", "e.ppm"};
    static const size_t size[] = {4, 2, 1, 4, 2, 1};
    struct eye_model *m;
    (void)state;
    ok(eye_model_open(model(), NULL, &m, &err));
    for (int l = EYE_SAMPLE_NCHW_F32; l <= EYE_SAMPLE_HWC_U8; l++) {
        struct eye_samples_report r;
        make_set((struct eye_samples_opts){.layout = (enum eye_sample_layout)l}, &r);
        assert_int_equal(r.n_samples, 3);
        assert_int_equal(r.sample_bytes, N * size[l]);
        assert_int_equal(r.side, SIDE);
        for (int s = 0; s < 3; s++) {
            char file[32];
            snprintf(file, sizeof file, "sample_%03d.raw", s);
            struct eye_map raw = map_file(file);
            struct eye_array want = pixels_of(m, name[s]);
            assert_int_equal(raw.size, r.sample_bytes);
            for (size_t k = 0; k < N; k++) {
                size_t i = at((enum eye_sample_layout)l, k / (SIDE * SIDE), k % (SIDE * SIDE));
                uint16_t half = eye_f32_to_f16(want.data[k]);
                if (size[l] == 4) assert_memory_equal(raw.p + 4 * i, &want.data[k], 4);
                if (size[l] == 2) assert_memory_equal(raw.p + 2 * i, &half, 2);
                if (size[l] == 1) assert_int_equal(raw.p[i], (int)(want.data[k] * 255 + 0.5F)); /* its mean is 0, its std 1 */
            }
            eye_array_free(&want);
            eye_map_close(&raw);
        }
        eye_samples_report_clear(&r);
    }
    eye_model_close(m);
    assert_string_equal(eye_sample_layout_name(EYE_SAMPLE_HWC_U8), "hwc-u8");
    assert_null(eye_sample_layout_name((enum eye_sample_layout)6));
}

static void assert_list(const char *wanted) {
    struct eye_map m = map_file("input_list.txt");
    assert_int_equal(m.size, strlen(wanted));
    assert_memory_equal(m.p, wanted, m.size);
    eye_map_close(&m);
}

static void test_list(void **state) {
    (void)state;
    char real[EYE_PATH_MAX], wanted[4 * EYE_PATH_MAX];
    struct eye_samples_report r;
    make_set((struct eye_samples_opts){.layout = EYE_SAMPLE_HWC_U8}, &r);
    assert_true(eye_path_real(out, real, sizeof real));
    snprintf(wanted, sizeof wanted, "%s/sample_000.raw\n%s/sample_001.raw\n%s/sample_002.raw\n", real, real, real);
    assert_list(wanted);
    /* the broken ones are named, and are in neither list nor folder */
    assert_int_equal(r.n_unreadable, 2);
    assert_non_null(strstr(r.unreadable[0], "a-cut.ppm"));
    assert_non_null(strstr(r.unreadable[1], "d-empty.png"));
    assert_int_equal(count_samples(), 3);
    eye_samples_report_clear(&r);
    /* a smaller set: the rest goes, other files stay */
    eye_scratch_write("set/sample_1.raw", "mine", 4);
    eye_scratch_write("set/sample_007.raw", "of a larger set", 15);
    make_set((struct eye_samples_opts){.layout = EYE_SAMPLE_HWC_U8, .max_samples = 1, .input = "pixel_values",
                                       .list_dir = "/data/c/"}, &r);
    assert_list("pixel_values:=/data/c/sample_000.raw\n");
    assert_int_equal(r.n_removed, 3);
    assert_int_equal(count_samples(), 2);
    eye_samples_report_clear(&r);
}

static void test_description(void **state) {
    (void)state;
    struct eye_samples_report r;
    struct eye_json j;
    make_set((struct eye_samples_opts){.layout = EYE_SAMPLE_HWC_F16}, &r);
    struct eye_map m = map_file("samples.json");
    ok(eye_json_parse(&j, m.p, m.size, EYE_JSON_MAX_BYTES, "samples.json", &err));
    struct eye_json_at root = eye_json_root(&j), list, third;
    const char *text;
    int64_t shape[4];
    size_t n;
    ok(eye_json_need_str(&root, "layout", &text, NULL, &err));
    assert_string_equal(text, "hwc-f16");
    ok(eye_json_ints(&root, "shape", shape, 4, &n, &err));
    assert_true(n == 4 && shape[0] == 1 && shape[1] == SIDE && shape[2] == SIDE && shape[3] == 3);
    ok(eye_json_array(&root, "samples", &list, &err));
    assert_int_equal(eye_json_len(&list), 3);
    third = eye_json_item(&list, 2);
    ok(eye_json_need_str(&third, "file", &text, NULL, &err));
    assert_string_equal(text, "sample_002.raw");
    ok(eye_json_need_str(&third, "picture", &text, NULL, &err));
    assert_non_null(strstr(text, "e.ppm"));
    eye_json_clear(&j);
    eye_map_close(&m);
    eye_samples_report_clear(&r);
}

/* The same noise for the same seed, all values in it. */
static void test_noise(void **state) {
    (void)state;
    static uint8_t first[N];
    struct eye_samples_report r;
    for (uint64_t seed = 0; seed < 3; seed++) {
        size_t n[256] = {0};
        make_set((struct eye_samples_opts){.random = true, .seed = seed / 2, .max_samples = 2, .layout = EYE_SAMPLE_HWC_U8}, &r);
        assert_int_equal(r.n_samples, 2);
        struct eye_map m = map_file("sample_001.raw");
        for (size_t i = 0; i < N; i++) n[m.p[i]]++;
        for (size_t v = 0; v < 256; v++) assert_true(n[v] > N / 512 && n[v] < N / 128);
        if (seed) assert_int_equal(memcmp(first, m.p, N) == 0, seed == 1);
        memcpy(first, m.p, N);
        eye_map_close(&m);
        eye_samples_report_clear(&r);
    }
}

static void on_progress(void *ctx, double done) { *(bool *)ctx = done > 0; }
static bool is_set(void *ctx) { return *(bool *)ctx; }

/* A set that was begun and not finished has no list. */
static void test_unfinished(void **state) {
    (void)state;
    struct eye_samples_report r;
    char path[2048];
    bool begun = false;
    make_set((struct eye_samples_opts){.layout = EYE_SAMPLE_HWC_U8}, &r);
    eye_samples_report_clear(&r);
    snprintf(path, sizeof path, "%s/input_list.txt", out);
    assert_true(eye_path_exists(path));
    struct eye_samples_opts o = {.pictures = pictures(), .cancel = is_set, .cancel_ctx = &begun, .progress = on_progress,
                                 .progress_ctx = &begun};
    enum eye_status st = eye_samples_write(model(), out, &o, NULL, &err);
    assert_true(eye_error_is("cancelled", st, EYE_E_CANCELLED, &err, "cancelled"));
    assert_false(eye_path_exists(path));
}

static void refuse(const char *path, const char *dir, struct eye_samples_opts o, enum eye_status want, const char *says) {
    struct eye_samples_report r;
    enum eye_status st = eye_samples_write(path, dir, &o, &r, &err);
    assert_true(eye_error_is(says, st, want, &err, says));
    eye_samples_report_clear(&r);
}

static void test_refused(void **state) {
    (void)state;
    char empty[640], blank[640], text[640], from[640];
    const char *p = pictures();
    snprintf(out, sizeof out, "%s/set", eye_scratch_dir());
    snprintf(empty, sizeof empty, "%s/empty", eye_scratch_dir());
    snprintf(blank, sizeof blank, "%s/two words", eye_scratch_dir());
    assert_int_equal(mkdir(empty, 0700), 0);
    refuse(model(), out, (struct eye_samples_opts){0}, EYE_E_ARG, "no folder of pictures");
    refuse(model(), out, (struct eye_samples_opts){.pictures = p, .random = true}, EYE_E_ARG, "not both");
    refuse(model(), out, (struct eye_samples_opts){.pictures = p, .layout = (enum eye_sample_layout)9}, EYE_E_ARG, "layout");
    refuse(model(), out, (struct eye_samples_opts){.pictures = p, .max_samples = 1 << 20}, EYE_E_ARG, "65536");
    refuse(model(), out, (struct eye_samples_opts){.pictures = empty}, EYE_E_ARG, "no pictures");
    refuse(model(), out, (struct eye_samples_opts){.pictures = "/nowhere"}, EYE_E_IO, "nowhere");
    refuse(model(), blank, (struct eye_samples_opts){.pictures = p}, EYE_E_ARG, "has a blank");
    refuse(model(), out, (struct eye_samples_opts){.pictures = p, .list_dir = "/a b"}, EYE_E_ARG, "has a blank");
    refuse(model(), out, (struct eye_samples_opts){.pictures = p, .input = "a b"}, EYE_E_ARG, "no name of an input");
    refuse("/nowhere", out, (struct eye_samples_opts){.pictures = p}, EYE_E_IO, "nowhere");
    snprintf(text, sizeof text, "%s/text", eye_scratch_dir());
    snprintf(from, sizeof from, "%s/golden/compose/gpt2", TEST_DATA);
    ok(eye_make_listed(from, 300, text, &err));
    refuse(text, out, (struct eye_samples_opts){.pictures = p}, EYE_E_ARG, "model of text");
}

static int stop(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layouts), cmocka_unit_test(test_list),       cmocka_unit_test(test_description),
        cmocka_unit_test(test_noise),   cmocka_unit_test(test_unfinished), cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests_name("samples", tests, NULL, stop);
}
