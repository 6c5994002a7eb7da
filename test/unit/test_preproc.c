/* Unit tests of image: resizing bit for bit as Pillow, preprocessing as the reference, tiles. golden.txt is written by
 * test/reference/make_image_fixtures.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "image/decode.h"
#include "image/preproc.h"
#include "image/tiles.h"
#include "support/support.h"
#include "unit/image_golden.h"

static struct eye_pool *pools[2]; /* 1 and 3 threads */

static void resize_case(const struct eye_image *img, int ow, int oh, int filter, unsigned want, const char *line) {
    /* A destination with room between its rows, which must stay untouched. */
    size_t stride = (size_t)ow * 3 + 5;
    uint8_t *out = malloc(stride * (size_t)oh), fill[3] = {0};
    for (int i = 0; i < 3; i++) {
        memset(out, 0x5a, stride * (size_t)oh);
        assert_int_equal(eye_resize(img, eye_axis_plain(img->width, ow), eye_axis_plain(img->height, oh), fill,
                                    (enum eye_resample)filter, out, stride, i ? pools[i - 1] : NULL, NULL, NULL), EYE_OK);
        uint32_t crc = 0;
        for (int y = 0; y < oh; y++) {
            crc = crc_add(crc, out + (size_t)y * stride, (size_t)ow * 3);
            for (int k = 0; k < 5; k++) assert_int_equal(out[(size_t)y * stride + (size_t)ow * 3 + (size_t)k], 0x5a);
        }
        if (crc != want) fail_msg("resize %s: crc %08x, pool %d", line, (unsigned)crc, i);
    }
    free(out);
}

static void check_resize(const char *line) {
    int w, h, ow, oh, filter;
    unsigned want;
    assert_int_equal(sscanf(line, "%d %d %d %d %d %x", &w, &h, &ow, &oh, &filter, &want), 6);
    struct eye_image img = drawn(w, h);
    resize_case(&img, ow, oh, filter, want, line);
    setenv("EYE_CPU", "base", 1);
    resize_case(&img, ow, oh, filter, want, line);
    unsetenv("EYE_CPU");
    /* The same picture with a row stride. */
    uint8_t *wide = malloc((size_t)(w + 3) * 3 * (size_t)h);
    for (int y = 0; y < h; y++) memcpy(wide + (size_t)y * (size_t)(w + 3) * 3, img.rgb + (size_t)y * img.stride, (size_t)w * 3);
    struct eye_image strided;
    assert_int_equal(eye_image_wrap(&strided, wide, w, h, (size_t)(w + 3) * 3, NULL), EYE_OK);
    resize_case(&strided, ow, oh, filter, want, line);
    free(wide);
    forget(&img);
}
static void resize_is_pillows(void **state) { assert_true(each_golden("resize", check_resize) > 40); }

static const double clip_mean[3] = {0.48145466, 0.4578275, 0.40821073}, clip_std[3] = {0.26862954, 0.26130258, 0.27577711};

static struct eye_preproc preproc(int side, int mode, int filter) {
    struct eye_preproc pp = {.width = side, .height = side};
    pp.mode = (enum eye_preproc_mode)mode;
    pp.resample = (enum eye_resample)filter;
    memcpy(pp.mean, clip_mean, sizeof clip_mean);
    memcpy(pp.std, clip_std, sizeof clip_std);
    eye_preproc_fill(pp.mean, pp.fill);
    return pp;
}

static void check_preproc(const char *line) {
    int w, h, side, mode, filter;
    unsigned want, want_f32;
    assert_int_equal(sscanf(line, "%d %d %d %d %d %x %x", &w, &h, &side, &mode, &filter, &want, &want_f32), 7);
    struct eye_preproc pp = preproc(side, mode, filter);
    struct eye_image img = drawn(w, h);
    size_t n = (size_t)side * (size_t)side;
    uint8_t *u8 = malloc(n * 3);
    float *chw = malloc(n * 3 * sizeof *chw), *hwc = malloc(n * 3 * sizeof *hwc);
    for (int i = 0; i < 3; i++) {
        struct eye_pool *pool = i ? pools[i - 1] : NULL;
        assert_int_equal(eye_preproc_u8(&pp, &img, u8, NULL, pool, NULL, NULL), EYE_OK);
        if (crc_add(0, u8, n * 3) != want) fail_msg("preproc %s", line);
        assert_int_equal(eye_preproc_f32(&pp, u8, EYE_PREPROC_CHW, chw, pool, NULL), EYE_OK);
        if (crc_add(0, chw, n * 3 * sizeof *chw) != want_f32) fail_msg("preproc f32 %s", line);
        assert_int_equal(eye_preproc_f32(&pp, u8, EYE_PREPROC_HWC, hwc, pool, NULL), EYE_OK);
        for (size_t p = 0; p < n; p++)
            for (size_t c = 0; c < 3; c++) assert_true(hwc[p * 3 + c] == chw[c * n + p]);
    }
    free(u8);
    free(chw);
    free(hwc);
    forget(&img);
}
static void preprocessing_is_the_reference(void **state) { assert_true(each_golden("preproc", check_preproc) > 100); }

static void check_tiles(const char *line) {
    int w, h, split, rows, cols;
    unsigned want;
    struct eye_tiling o = {.resample = EYE_RESAMPLE_LANCZOS};
    struct eye_tiles t;
    assert_int_equal(sscanf(line, "%d %d %d %d %d %d %d %x", &w, &h, &o.longest_px, &o.tile_px, &split, &rows, &cols, &want), 8);
    o.split = split;
    assert_int_equal(eye_tiles_plan(&o, w, h, &t, NULL), EYE_OK);
    if (t.rows != rows || t.cols != cols || t.n != rows * cols + 1 || t.n > eye_tiles_most(&o))
        fail_msg("tiles %s: %d rows, %d cols, %d in all, at most %d", line, t.rows, t.cols, t.n, eye_tiles_most(&o));
    struct eye_image img = drawn(w, h);
    size_t one = (size_t)o.tile_px * (size_t)o.tile_px * 3, all = one * (size_t)t.n;
    uint8_t *out = malloc(all), *whole = malloc(one);
    for (int i = 0; i < 3; i++) {
        struct eye_pool *pool = i ? pools[i - 1] : NULL;
        assert_int_equal(eye_tiles_u8(&o, &img, false, out, pool, NULL, NULL), EYE_OK);
        if (crc_add(0, out, all) != want) fail_msg("tiles %s", line);
        assert_int_equal(eye_tiles_u8(&o, &img, true, whole, pool, NULL, NULL), EYE_OK);
        assert_memory_equal(whole, out + all - one, one);
    }
    free(out);
    free(whole);
    forget(&img);
}
static void tiles_are_transformers(void **state) { assert_int_equal(each_golden("tiles", check_tiles), 72); }

static void no_picture_has_more_tiles(void **state) {
    struct eye_tiling bad[] = {{0, 32, true, EYE_RESAMPLE_LANCZOS},
                               {EYE_TILES_MAX_LONGEST + 1, 32, true, EYE_RESAMPLE_LANCZOS},
                               {64, 0, true, EYE_RESAMPLE_LANCZOS}, {64, EYE_TILES_MAX_SIDE + 1, true, EYE_RESAMPLE_LANCZOS}};
    struct eye_tiling o = {97, 13, true, EYE_RESAMPLE_LANCZOS};
    struct eye_tiles t;
    for (size_t i = 0; i < EYE_COUNT(bad); i++) assert_int_equal(eye_tiles_plan(&bad[i], 10, 10, &t, NULL), EYE_E_ARG);
    assert_int_equal(eye_tiles_plan(&o, 0, 10, &t, NULL), EYE_E_ARG);
    for (int w = 1; w < 400; w += 3)
        for (int h = 1; h < 400; h += 7) {
            assert_int_equal(eye_tiles_plan(&o, w, h, &t, NULL), EYE_OK);
            assert_true(t.n >= 1 && t.n <= eye_tiles_most(&o) && t.grid_w % 13 == 0 && t.grid_h % 13 == 0 && t.grid_h > 0);
        }
}

static void fill_colours_are_truncated(void **state) {
    uint8_t fill[3];
    eye_preproc_fill(clip_mean, fill);
    assert_true(fill[0] == 122 && fill[1] == 116 && fill[2] == 104);
    const double odd[3] = {0.0, 2.0, -1.0}, none[3] = {NAN, 1.0, 0.999};
    eye_preproc_fill(odd, fill);
    assert_true(fill[0] == 0 && fill[1] == 255 && fill[2] == 0);
    eye_preproc_fill(none, fill);
    assert_true(fill[0] == 0 && fill[1] == 255 && fill[2] == 254);
}

/* A white square on black keeps its place: the map says where. */
static void maps_lead_back(void **state) {
    static const int sizes[][2] = {{200, 120}, {120, 200}, {150, 150}};
    for (size_t s = 0; s < EYE_COUNT(sizes); s++) {
        for (int mode = 0; mode < 3; mode++) {
            int w = sizes[s][0], h = sizes[s][1], x0 = w / 2 - 11, y0 = h / 2 + 6;
            struct eye_image img = drawn(w, h);
            uint8_t *p = (uint8_t *)(uintptr_t)img.rgb, out[64 * 64 * 3];
            memset(p, 0, (size_t)w * (size_t)h * 3);
            for (int y = y0; y < y0 + 20; y++) memset(p + (size_t)y * img.stride + (size_t)x0 * 3, 255, 20 * 3);
            struct eye_preproc pp = preproc(64, mode, 0);
            memset(pp.fill, 0, 3);
            struct eye_preproc_map m;
            assert_int_equal(eye_preproc_u8(&pp, &img, out, &m, NULL, NULL, NULL), EYE_OK);
            double mass = 0, cx = 0, cy = 0;
            for (int i = 0; i < 64 * 64; i++) {
                mass += out[i * 3];
                cx += out[i * 3] * (i % 64 + 0.5);
                cy += out[i * 3] * (i / 64 + 0.5);
            }
            assert_true(mass > 0);
            /* The filter is symmetric, so the centre of mass moves with the map; clipping costs a little. */
            assert_true(fabs((cx / mass - m.offset_x) / m.scale_x - (x0 + 10)) < 0.5);
            assert_true(fabs((cy / mass - m.offset_y) / m.scale_y - (y0 + 10)) < 0.5);
            forget(&img);
        }
    }
}

/* Long strips: the same as the reference for short ones, and no memory to speak of. */
static void strips_cost_nothing(void **state) {
    static const int sizes[][2] = {{60000, 1}, {1, 60000}, {60000, 7}, {7, 60000}};
    uint8_t *out = malloc(336 * 336 * 3);
    for (size_t s = 0; s < EYE_COUNT(sizes); s++) {
        for (int mode = 0; mode < 3; mode++) {
            struct eye_image img = drawn(sizes[s][0], sizes[s][1]);
            struct eye_preproc pp = preproc(336, mode, 0);
            struct eye_faulty f;
            eye_faulty_init(&f, -1);
            assert_int_equal(eye_preproc_u8(&pp, &img, out, NULL, NULL, &f.alloc, NULL), EYE_OK);
            assert_int_equal(f.n_live, 0);
            if (mode == EYE_PREPROC_PAD) assert_memory_equal(out, pp.fill, 3); /* a corner is canvas */
            forget(&img);
        }
    }
    free(out);
    assert_true(eye_peak_rss_bytes() < (uint64_t)1 << 30); /* the square of 60000 would be 10 GB */
}

static void preprocessing_refuses_nonsense(void **state) {
    struct eye_image img = drawn(8, 8);
    uint8_t out[16 * 16 * 3], fill[3] = {0};
    float f32[3];
    struct eye_preproc pp = preproc(0, 0, 0);
    struct eye_err err = {0};
    assert_int_equal(eye_preproc_u8(&pp, &img, out, NULL, NULL, NULL, &err), EYE_E_ARG);
    pp = preproc(EYE_PREPROC_MAX_SIDE + 1, 0, 0);
    assert_int_equal(eye_preproc_u8(&pp, &img, out, NULL, NULL, NULL, &err), EYE_E_ARG);
    pp = preproc(16, 1, 0);
    pp.height = 8;
    assert_int_equal(eye_preproc_u8(&pp, &img, out, NULL, NULL, NULL, &err), EYE_E_ARG);
    pp.mode = EYE_PREPROC_SQUASH;
    assert_int_equal(eye_preproc_u8(&pp, &img, out, NULL, NULL, NULL, &err), EYE_OK);
    pp = preproc(1, 0, 0);
    pp.std[1] = 0.0;
    assert_int_equal(eye_preproc_f32(&pp, out, EYE_PREPROC_HWC, f32, NULL, &err), EYE_E_ARG);
    pp.std[1] = NAN;
    assert_int_equal(eye_preproc_f32(&pp, out, EYE_PREPROC_HWC, f32, NULL, &err), EYE_E_ARG);
    struct eye_axis good = eye_axis_plain(8, 4);
    const struct eye_axis bad[] = {
        {8, 1, 8, 4, 0, 4}, {8, 0, 7, 4, 0, 4}, {8, 0, 8, 4, 1, 4}, {8, 0, 8, 4, 0, 0}, {8, -1, 8, 4, 0, 4}};
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        assert_int_equal(eye_resize(&img, bad[i], good, fill, EYE_RESAMPLE_BICUBIC, out, 48, NULL, NULL, &err), EYE_E_ARG);
        assert_int_equal(eye_resize(&img, good, bad[i], fill, EYE_RESAMPLE_BICUBIC, out, 48, NULL, NULL, &err), EYE_E_ARG);
    }
    assert_int_equal(eye_resize(&img, good, good, fill, EYE_RESAMPLE_BICUBIC, out, 11, NULL, NULL, &err), EYE_E_ARG);
    forget(&img);
}

static void resize_survives_lack_of_memory(void **state) {
    for (long n = 0;; n++) {
        struct eye_image img = drawn(40, 30);
        struct eye_preproc pp = preproc(16, EYE_PREPROC_PAD, 0);
        uint8_t out[16 * 16 * 3];
        struct eye_faulty f;
        eye_faulty_init(&f, n);
        enum eye_status st = eye_preproc_u8(&pp, &img, out, NULL, NULL, &f.alloc, NULL);
        assert_int_equal(st, f.failed ? EYE_E_NOMEM : EYE_OK);
        assert_int_equal(f.n_live, 0);
        forget(&img);
        if (!f.failed) break;
    }
}

static int setup(void **state) {
    if (eye_pool_new(&pools[0], 1, NULL, NULL) != EYE_OK) return 1;
    return eye_pool_new(&pools[1], 3, NULL, NULL) != EYE_OK;
}

static int teardown(void **state) {
    eye_pool_free(pools[0]);
    eye_pool_free(pools[1]);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resize_is_pillows),
        cmocka_unit_test(preprocessing_is_the_reference),
        cmocka_unit_test(tiles_are_transformers),
        cmocka_unit_test(no_picture_has_more_tiles),
        cmocka_unit_test(fill_colours_are_truncated),
        cmocka_unit_test(maps_lead_back),
        cmocka_unit_test(strips_cost_nothing),
        cmocka_unit_test(preprocessing_refuses_nonsense),
        cmocka_unit_test(resize_survives_lack_of_memory),
    };
    return cmocka_run_group_tests_name("preproc", tests, setup, teardown);
}
