/* Unit tests of the calibration set: which pictures a folder gives, which captions belong to them, what is skipped and what is
 * an error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "pack/calibration.h"
#include "support/support.h"

static struct eye_err err;

static void put(const char *name, const char *text) { eye_scratch_write(name, text, strlen(text)); }

/* A folder of n one-pixel pictures p00.ppm … */
static const char *folder(const char *name, int n) {
    static char dir[512];
    char file[64];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path(name));
    assert_int_equal(mkdir(dir, 0700), 0);
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/p%02d.ppm", name, i);
        put(file, "P3 1 1 255 10 20 30\n");
    }
    return dir;
}

static void test_captions(void **state) {
    struct eye_calibration c;
    const char *dir = folder("captions", 5);
    put("captions/captions.txt", "image,caption\n"
                                 "p00.ppm,\"a \"\"red\"\" dog, running\"\r\n"
                                 "p00.ppm,a second caption\n"
                                 "p01.ppm#0\ta cat , asleep\n"
                                 "other.ppm,not here\n"
                                 "no separator\n"
                                 "p03.ppm,\n"
                                 "p04.ppm,last line without an end");
    assert_int_equal(eye_calibration_open(&c, dir, 0, NULL, &err), EYE_OK);
    assert_int_equal(c.n, 5);
    assert_int_equal(c.n_captions, 3);
    assert_string_equal(c.item[0].caption, "a \"red\" dog, running");
    assert_string_equal(c.item[1].caption, "a cat , asleep");
    assert_string_equal(c.item[2].caption, "");
    assert_string_equal(c.item[3].caption, "");
    assert_string_equal(c.item[4].caption, "last line without an end");
    struct eye_image img;
    assert_int_equal(eye_calibration_image(&c, 4, &img, &err), EYE_OK);
    assert_int_equal(img.rgb[1], 20);
    eye_image_free(&img);
    eye_calibration_close(&c);
}

/* Ten of thirty: one of each three, and a broken one gives way to its neighbour. */
static void test_spread(void **state) {
    struct eye_calibration c;
    const char *dir = folder("spread", 30);
    put("spread/p06.ppm", "P3 1 1 255 10");
    put("spread/readme.txt", "no picture");
    assert_int_equal(eye_calibration_open(&c, dir, 10, NULL, &err), EYE_OK);
    assert_int_equal(c.n, 10);
    assert_int_equal(c.n_unreadable, 1);
    assert_non_null(strstr(c.first_unreadable, "p06.ppm"));
    assert_non_null(strstr(c.item[1].path, "/p03.ppm"));
    assert_non_null(strstr(c.item[2].path, "/p07.ppm"));
    eye_calibration_close(&c);
    assert_int_equal(eye_calibration_open(&c, dir, 0, NULL, &err), EYE_OK);
    assert_int_equal(c.n, 29);
    eye_calibration_close(&c);
}

static void test_below(void **state) {
    struct eye_calibration c;
    char dir[512];
    snprintf(dir, sizeof dir, "%s", folder("below", 0));
    folder("below/images", 2);
    put("below/captions.tsv", "p01.ppm\tone\n");
    assert_int_equal(eye_calibration_open(&c, dir, 0, NULL, &err), EYE_OK);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.item[1].caption, "one");
    eye_calibration_close(&c);
}

static void refused(const char *dir, enum eye_status want, const char *says) {
    struct eye_calibration c;
    enum eye_status st = eye_calibration_open(&c, dir, 0, NULL, &err);
    assert_true(eye_error_is(dir, st, want, &err, says));
}

static void test_refused(void **state) {
    refused("/nowhere/at/all", EYE_E_IO, "folder of pictures");
    refused(folder("empty", 0), EYE_E_ARG, "no pictures");
    const char *dir = folder("broken", 0);
    put("broken/a.jpg", "not a picture");
    put("broken/b.png", "");
    refused(dir, EYE_E_ARG, "none of 2 pictures can be read");
}

static int stop(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_captions), cmocka_unit_test(test_spread), cmocka_unit_test(test_below),
                                       cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, stop);
}
