/* Unit tests of image: every format against Pillow's pixels, damaged files, limits. The fixtures and
 * golden.txt are written by test/reference/make_image_fixtures.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/sys.h"
#include "image/decode.h"
#include "support/support.h"
#include "unit/image_golden.h"

/* This build lacks the library: nothing to check. */
static bool lacks_library(enum eye_status st, const struct eye_err *err) {
    return st == EYE_E_UNSUPPORTED && strstr(err->text, "built without") != NULL;
}

struct fixture {
    char path[512];
    struct eye_map map;
    struct eye_image img; /* as stored */
};

/* Reads and decodes the file a decode line names. False: the build lacks its library. */
static bool fixture_open(struct fixture *x, const char *line) {
    char name[128];
    struct eye_err err = {0};
    assert_int_equal(sscanf(line, "%127s", name), 1);
    snprintf(x->path, sizeof x->path, GOLDEN "%s", name);
    assert_int_equal(eye_map_open(&x->map, x->path, false, 0, &err), EYE_OK);
    const struct eye_image_opts stored = {.no_exif_orientation = true};
    enum eye_status st = eye_image_decode(x->map.p, x->map.size, &stored, &x->img, &err);
    if (lacks_library(st, &err)) {
        eye_map_close(&x->map);
        return false;
    }
    if (st != EYE_OK) fail_msg("%s: %s", name, err.text);
    return true;
}

static void fixture_close(struct fixture *x) {
    eye_image_free(&x->img);
    eye_map_close(&x->map);
}

static bool same_pixels(const struct eye_image *a, const struct eye_image *b) {
    if (a->width != b->width || a->height != b->height) return false;
    return memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

/* ---- decoding ---- */

static void check_decode(const char *line) {
    struct fixture x;
    char name[128];
    int w, h, orientation, uw, uh;
    unsigned crc, ucrc;
    assert_int_equal(sscanf(line, "%127s %d %d %x %d %d %d %x", name, &w, &h, &crc, &orientation, &uw, &uh, &ucrc), 8);
    if (!fixture_open(&x, line)) return;
    if (x.img.width != w || x.img.height != h || crc_image(&x.img) != crc || x.img.orientation != orientation)
        fail_msg("%s: %d x %d crc %08x orientation %d, expected %d x %d %08x %d", name, x.img.width, x.img.height,
                 (unsigned)crc_image(&x.img), x.img.orientation, w, h, crc, orientation);
    assert_int_equal(x.img.stride, (size_t)w * 3);
    struct eye_image up;
    struct eye_err err = {0};
    assert_int_equal(eye_image_load(x.path, NULL, &up, &err), EYE_OK);
    if (up.width != uw || up.height != uh || crc_image(&up) != ucrc || up.orientation != orientation || up.n_warnings != 0)
        fail_msg("%s upright: %d x %d crc %08x, expected %d x %d %08x", name, up.width, up.height, (unsigned)crc_image(&up), uw,
                 uh, ucrc);
    eye_image_free(&up);
    eye_image_free(&up);
    fixture_close(&x);
}
static void every_format_gives_pillows_pixels(void **state) { assert_true(each_golden("decode", check_decode) > 80); }

/* A prefix of a file is refused, or it is the whole picture (only a trailer was cut): never something in between. */
static void check_prefixes(const char *line) {
    struct fixture x;
    if (!fixture_open(&x, line)) return;
    const struct eye_image_opts stored = {.no_exif_orientation = true};
    /* Plain numbers have no end mark: 25 is a prefix of 255. Only the last of them may be affected. */
    bool plain = x.map.p[0] == 'P' && x.map.p[1] <= '3';
    size_t n = plain ? x.map.size - 4 : x.map.size;
    for (size_t i = 0; i < n; i++) {
        uint8_t *part = malloc(i ? i : 1); /* its own block: reading past it is seen by ASan */
        memcpy(part, x.map.p, i);
        struct eye_image img;
        struct eye_err err = {0};
        enum eye_status st = eye_image_decode(part, i, &stored, &img, &err);
        if (st == EYE_OK) {
            if (!same_pixels(&img, &x.img)) fail_msg("%s: %zu of %zu bytes give other pixels", x.path, i, x.map.size);
        } else {
            assert_non_null(memchr(err.text, 0, sizeof err.text));
            assert_true(err.text[0] != 0 && err.code == st);
            if (i > 40 && st != EYE_E_CORRUPT) fail_msg("%s: %zu of %zu bytes: %s", x.path, i, x.map.size, err.text);
            assert_null(img.rgb);
        }
        eye_image_free(&img);
        free(part);
    }
    fixture_close(&x);
}
static void cut_files_are_refused_or_whole(void **state) { each_golden("decode", check_prefixes); }

/* Any damage gives a picture within bounds or an error. */
static void check_flips(const char *line) {
    struct fixture x;
    if (!fixture_open(&x, line)) return;
    const struct eye_image_opts small = {.max_pixels = 100000};
    struct eye_rng rng;
    eye_rng_seed(&rng, x.map.size);
    uint8_t *copy = malloc(x.map.size);
    for (int i = 0; i < 400; i++) {
        memcpy(copy, x.map.p, x.map.size);
        int flips = 1 + (int)(eye_rng_u64(&rng) % 3);
        for (int k = 0; k < flips; k++) {
            uint64_t r = eye_rng_u64(&rng); /* headers are small: hit them as often as the rest */
            size_t at = (size_t)(r >> 8) % (i % 2 ? x.map.size : EYE_MIN(x.map.size, (size_t)64));
            copy[at] ^= (uint8_t)(1u << (r & 7));
        }
        struct eye_image img;
        struct eye_err err = {0};
        enum eye_status st = eye_image_decode(copy, x.map.size, &small, &img, &err);
        if (st == EYE_OK)
            assert_true(img.width > 0 && img.height > 0 && (int64_t)img.width * img.height <= 100000);
        else
            assert_true(err.text[0] != 0 && !img.rgb && st != EYE_E_NOMEM && st != EYE_E_ARG && st != EYE_E_IO);
        eye_image_free(&img);
    }
    free(copy);
    fixture_close(&x);
}
static void damaged_files_do_no_harm(void **state) { each_golden("decode", check_flips); }

static void check_faults(const char *line) {
    struct fixture x;
    if (!fixture_open(&x, line)) return;
    for (long n = 0;; n++) {
        struct eye_faulty f;
        eye_faulty_init(&f, n);
        const struct eye_image_opts opts = {.alloc = &f.alloc};
        struct eye_image img;
        struct eye_err err = {0};
        enum eye_status st = eye_image_decode(x.map.p, x.map.size, &opts, &img, &err);
        assert_int_equal(st, f.failed ? EYE_E_NOMEM : EYE_OK);
        eye_image_free(&img);
        assert_int_equal(f.n_live, 0);
        if (!f.failed) break;
    }
    fixture_close(&x);
}
static void out_of_memory_is_an_error(void **state) { each_golden("decode", check_faults); }

/* Around width, height, planes, bits and compression (16 bytes) of a 40-byte header; rows at byte 53, before the palette. */
#define BMP_HEAD "BM\0\0\0\0\0\0\0\0\x35\0\0\0\x28\0\0\0"
#define BMP_TAIL "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static void limits_hold(void **state) {
    struct eye_image img;
    struct eye_err err = {0};
    static const uint8_t ppm[] = "P6 2 1 255\nabcdef";
    const struct eye_image_opts one = {.max_pixels = 1}, two = {.max_pixels = 2};
    const struct eye_image_opts few = {.max_bytes = 10}, enough = {.max_bytes = 17};
    assert_int_equal(eye_image_decode(ppm, sizeof ppm - 1, &one, &img, &err), EYE_E_LIMIT);
    assert_int_equal(eye_image_decode(ppm, sizeof ppm - 1, &few, &img, &err), EYE_E_LIMIT);
    assert_int_equal(eye_image_decode(ppm, sizeof ppm - 1, &two, &img, &err), EYE_OK);
    eye_image_free(&img);
    assert_int_equal(eye_image_decode(ppm, sizeof ppm - 1, &enough, &img, &err), EYE_OK);
    eye_image_free(&img);
    assert_int_equal(eye_image_load(GOLDEN "pnm_p6.ppm", &few, &img, &err), EYE_E_LIMIT);
    assert_non_null(strstr(err.text, "pnm_p6.ppm"));
    /* Bombs: sizes that their bytes cannot hold, or sides beyond the fixed bound, before anything is allocated. */
    static const struct {
        const char *p;
        size_t n;
        enum eye_status want;
    } bombs[] = {
        {"P6 65536 1 255\n", 15, EYE_E_LIMIT},
        {"P1 1 99999999\n0", 15, EYE_E_LIMIT},
        {"P6 9000 9000 255\nabc", 20, EYE_E_CORRUPT},
        {"P2 9000 9000 255\n1 2", 20, EYE_E_CORRUPT},
        {"P6 0 9 255\n", 11, EYE_E_CORRUPT},
        {BMP_HEAD "\0\x20\0\0\0\x20\0\0\1\0\x18\0\0\0\0\0" BMP_TAIL, 54, EYE_E_CORRUPT}, /* 8192 x 8192 without a row */
        {BMP_HEAD "\0\0\1\0\0\x20\0\0\1\0\x08\0\1\0\0\0" BMP_TAIL, 54, EYE_E_LIMIT},       /* 65536 x 8192, RLE */
        {BMP_HEAD "\1\0\0\0\0\0\0\x80\1\0\x08\0\0\0\0\0" BMP_TAIL, 54, EYE_E_LIMIT},       /* 1 x -2147483648 */
    };
    for (size_t i = 0; i < EYE_COUNT(bombs); i++) {
        struct eye_faulty f;
        eye_faulty_init(&f, -1);
        const struct eye_image_opts opts = {.alloc = &f.alloc};
        enum eye_status st = eye_image_decode(bombs[i].p, bombs[i].n, &opts, &img, &err);
        if (st != bombs[i].want) fail_msg("bomb %zu: %s (%s)", i, eye_status_name(st), err.text);
    }
}

static void strangers_are_named(void **state) {
    static const struct {
        const char *p;
        size_t n;
        enum eye_status st;
        const char *word;
    } rows[] = {
        {"", 0, EYE_E_CORRUPT, "empty"},
        {"GIF89a\1\0\1\0", 10, EYE_E_UNSUPPORTED, "GIF is not supported: convert it to PNG or JPEG"},
        {"II*\0\10\0\0\0", 8, EYE_E_UNSUPPORTED, "TIFF"},
        {"MM\0*\0\0\0\10", 8, EYE_E_UNSUPPORTED, "TIFF"},
        {"\0\0\0\x18" "ftypheic\0\0\0\0", 16, EYE_E_UNSUPPORTED, "HEIC"},
        {"\0\0\0\x18" "ftypavif\0\0\0\0", 16, EYE_E_UNSUPPORTED, "AVIF"},
        {"\0\0\0\x18" "ftypisom\0\0\0\0", 16, EYE_E_UNSUPPORTED, "video"},
        {"%PDF-1.4", 8, EYE_E_UNSUPPORTED, "PDF"},
        {"\xef\xbb\xbf\n <SVG xmlns", 15, EYE_E_UNSUPPORTED, "SVG"},
        {"<?xml version", 13, EYE_E_UNSUPPORTED, "SVG or XML"},
        {"<!DOCTYPE html>", 15, EYE_E_UNSUPPORTED, "HTML"},
        {"<html>", 6, EYE_E_UNSUPPORTED, "HTML"},
        {"\xff\x0a\0", 3, EYE_E_UNSUPPORTED, "JPEG XL"},
        {"P7\nWIDTH 1", 10, EYE_E_UNSUPPORTED, "PAM"},
        {"GGUF\3\0\0\0", 8, EYE_E_UNSUPPORTED, "model file"},
        {"hello", 5, EYE_E_UNSUPPORTED, "not a known image (begins 68 65 6c 6c, 5 bytes)"},
        {"\xff", 1, EYE_E_UNSUPPORTED, "not a known image"},
        {"RIFF\4\0\0\0WAVE", 12, EYE_E_UNSUPPORTED, "not a known image"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_image img;
        struct eye_err err = {0};
        enum eye_status st = eye_image_decode(rows[i].p, rows[i].n, NULL, &img, &err);
        if (st != rows[i].st || !strstr(err.text, rows[i].word)) fail_msg("row %zu: %s: %s", i, eye_status_name(st), err.text);
    }
}

static void bad_arguments_are_refused(void **state) {
    struct eye_image img;
    struct eye_err err = {0};
    uint8_t px[12] = {0};
    assert_int_equal(eye_image_load(NULL, NULL, &img, &err), EYE_E_ARG);
    assert_int_equal(eye_image_decode(NULL, 5, NULL, &img, &err), EYE_E_ARG);
    assert_int_equal(eye_image_load("/nonexistent/cat.jpg", NULL, &img, &err), EYE_E_IO);
    assert_non_null(strstr(err.text, "/nonexistent/cat.jpg"));
    assert_int_equal(eye_image_load(GOLDEN, NULL, &img, &err), EYE_E_IO);
    assert_int_equal(eye_image_wrap(&img, NULL, 1, 1, 0, &err), EYE_E_ARG);
    assert_int_equal(eye_image_wrap(&img, px, 0, 1, 0, &err), EYE_E_ARG);
    assert_int_equal(eye_image_wrap(&img, px, 1, EYE_IMAGE_MAX_SIDE + 1, 0, &err), EYE_E_ARG);
    assert_int_equal(eye_image_wrap(&img, px, 2, 1, 5, &err), EYE_E_ARG);
    assert_int_equal(eye_image_wrap(&img, px, 2, 2, 6, &err), EYE_OK);
    assert_ptr_equal(img.rgb, px);
    eye_image_free(&img);
    eye_image_free(NULL);
    assert_string_equal(eye_image_format_name(EYE_IMAGE_WEBP), "WebP");
}

static void standard_input_is_a_file(void **state) {
    int saved = dup(0), fd = open(GOLDEN "pnm_p6.ppm", O_RDONLY);
    assert_true(saved >= 0 && fd >= 0 && dup2(fd, 0) == 0);
    struct eye_image in, file;
    struct eye_err err = {0};
    enum eye_status st = eye_image_load("-", NULL, &in, &err);
    dup2(saved, 0);
    close(saved);
    close(fd);
    assert_int_equal(st, EYE_OK);
    assert_int_equal(eye_image_load(GOLDEN "pnm_p6.ppm", NULL, &file, &err), EYE_OK);
    assert_true(same_pixels(&in, &file));
    eye_image_free(&in);
    eye_image_free(&file);
}

/* ---- JPEG's own dangers ---- */

static uint8_t *read_fixture(const char *name, size_t extra, size_t *size) {
    char path[512];
    struct eye_map m;
    snprintf(path, sizeof path, GOLDEN "%s", name);
    assert_int_equal(eye_map_open(&m, path, false, 0, NULL), EYE_OK);
    uint8_t *p = malloc(m.size + extra);
    assert_non_null(p);
    memcpy(p, m.p, m.size);
    *size = m.size;
    eye_map_close(&m);
    return p;
}

static enum eye_status decode_only(const uint8_t *p, size_t n, struct eye_err *err) {
    struct eye_image img;
    enum eye_status st = eye_image_decode(p, n, NULL, &img, err);
    eye_image_free(&img);
    return st;
}

/* Offset of the last marker with this code; the fixtures' entropy data holds no such byte pair by construction of JPEG. */
static size_t last_marker(const uint8_t *p, size_t n, uint8_t code) {
    for (size_t i = n - 1; i > 0; i--)
        if (p[i - 1] == 0xFF && p[i] == code) return i - 1;
    fail_msg("no marker %02x", code);
    return 0;
}

static void scan_bombs_are_stopped(void **state) {
    enum { COPIES = 600 };
    size_t n;
    struct eye_err err = {0};
    uint8_t *p = read_fixture("jpeg_progressive.jpg", 0, &n);
    size_t scan = last_marker(p, n, 0xDA), end = n - 2;
    uint8_t *bomb = malloc(n + COPIES * (end - scan));
    memcpy(bomb, p, end);
    size_t at = end;
    for (int i = 0; i < COPIES; i++, at += end - scan) memcpy(bomb + at, p + scan, end - scan);
    memcpy(bomb + at, p + end, 2);
    enum eye_status st = decode_only(bomb, at + 2, &err);
    if (!lacks_library(st, &err)) {
        assert_int_equal(st, EYE_E_LIMIT);
        assert_non_null(strstr(err.text, "500 scans"));
    }
    free(bomb);
    free(p);
}

/* An EOI put into the middle of the data: a cut file that somebody "repaired". libjpeg shows it with a grey lower half. */
static void a_moved_end_is_noticed(void **state) {
    static const char *const names[] = {"jpeg_444.jpg", "jpeg_420.jpg", "jpeg_grey.jpg", "jpeg_rgb.jpg", "jpeg_cmyk.jpg"};
    for (size_t i = 0; i < EYE_COUNT(names); i++) {
        size_t n;
        struct eye_err err = {0};
        uint8_t *p = read_fixture(names[i], 0, &n);
        size_t scan = last_marker(p, n, 0xDA), half = scan + (n - scan) / 2;
        while (p[half - 1] == 0xFF) half--;
        p[half] = 0xFF;
        p[half + 1] = 0xD9;
        enum eye_status st = decode_only(p, half + 2, &err);
        if (!lacks_library(st, &err)) {
            if (st != EYE_E_CORRUPT || !strstr(err.text, "data ends at row"))
                fail_msg("%s: %s %s", names[i], eye_status_name(st), err.text);
        }
        free(p);
    }
}

static void odd_jpegs_are_named(void **state) {
    struct eye_err err = {0};
    size_t n;
    uint8_t *p = read_fixture("jpeg_two_components.jpg", 0, &n);
    enum eye_status st = decode_only(p, n, &err);
    free(p);
    if (lacks_library(st, &err)) return;
    assert_int_equal(st, EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "2 colour components"));
    p = read_fixture("jpeg_dc_only.jpg", 0, &n); /* fewer scans than usual, but it says so: a picture */
    assert_int_equal(decode_only(p, n, &err), EYE_OK);
    free(p);
    p = read_fixture("jpeg_444.jpg", 0, &n);
    size_t sof = last_marker(p, n, 0xC0);
    p[sof + 4] = 12;
    assert_int_equal(decode_only(p, n, &err), EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "12 bits"));
    p[sof + 4] = 8;
    p[sof + 1] = 0xC3; /* lossless */
    assert_int_equal(decode_only(p, n, &err), n ? err.code : EYE_OK);
    assert_true(err.code == EYE_E_UNSUPPORTED || err.code == EYE_E_CORRUPT);
    p[sof + 1] = 0xC0;
    memcpy(p + sof + 5, "\xff\x00\xff\x00", 4); /* 65280 x 65280 */
    assert_int_equal(decode_only(p, n, &err), EYE_E_LIMIT);
    memcpy(p + sof + 5, "\x20\x00\x20\x00", 4); /* 8192 x 8192 from 2 KB */
    assert_int_equal(decode_only(p, n, &err), EYE_E_CORRUPT);
    assert_non_null(strstr(err.text, "cannot come out of"));
    free(p);
}

/* ---- EXIF ---- */

static void exif_never_fails(void **state) {
    static const struct {
        const char *p;
        size_t n;
        int want;
    } rows[] = {
        {"II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 6},
        {"Exif\0\0II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 28, 6},
        {"MM\0*\0\0\0\10\0\1\1\x12\0\3\0\0\0\1\0\x8\0\0", 22, 8},
        {"MM\0*\0\0\0\10\0\1\1\x12\0\4\0\0\0\1\0\0\0\3", 22, 3}, /* LONG */
        {"II*\0\10\0\0\0\1\0\x12\1\1\0\1\0\0\0\5\0\0\0", 22, 5},   /* BYTE */
        {"II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\x9\0\0\0", 22, 1},  /* out of range */
        {"II*\0\10\0\0\0\1\0\x12\1\3\0\2\0\0\0\6\0\0\0", 22, 1},   /* two values */
        {"II*\0\10\0\0\0\1\0\x12\1\2\0\1\0\0\0\6\0\0\0", 22, 1},   /* text */
        {"II*\0\xff\xff\xff\xff\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
        {"II*\0\10\0\0\0\xff\xff\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 6}, /* count too large, entry there */
        {"II*\0\10\0\0\0\xff\xff\x11\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
        {"II*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0", 18, 1},
        {"IM*\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
        {"II+\0\10\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0", 22, 1},
        {"II*\0\0\0\0\0", 8, 1},
        {"II", 2, 1},
        {"", 0, 1},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        uint8_t *p = malloc(rows[i].n ? rows[i].n : 1);
        memcpy(p, rows[i].p, rows[i].n);
        if (eye_exif_orientation(p, rows[i].n) != rows[i].want) fail_msg("row %zu", i);
        free(p);
    }
}

/* ---- files that are not ours to keep here ---- */

/* What other people's test suites hold. Pillow 13 agrees, pixel by pixel, with three exceptions: it takes the small GIF, which
 * eyelet does not read; it refuses jpeg_truncated.jpg, whose picture is complete (only the last byte of its end mark is
 * missing); and bmp_badrle.bmp, whose runs pass the ends of rows, it wraps into the next row where viewers clip. */
static void hostile_files_behave(void **state) {
    static const struct {
        const char *name;
        enum eye_status st;
        int width, height, orientation; /* stored */
        uint32_t crc;                   /* of the stored pixels; 0 = ours alone */
    } rows[] = {
        {"bmp_badrle.bmp", EYE_OK, 127, 64, 1, 0},
        {"bmp_rgb565.bmp", EYE_OK, 127, 64, 1, 0x8c73a2ff},
        {"exif_orient_2_landscape.jpg", EYE_OK, 1800, 1200, 2, 0x5c10dec0},
        {"exif_orient_3_landscape.jpg", EYE_OK, 1800, 1200, 3, 0x2748f4cc},
        {"exif_orient_5_landscape.jpg", EYE_OK, 1200, 1800, 5, 0xbfffe4d6},
        {"exif_orient_6.webp", EYE_OK, 128, 128, 6, 0x2b518c12},
        {"exif_orient_6_portrait.jpg", EYE_OK, 1800, 1200, 6, 0x9293d58a},
        {"exif_orient_7_landscape.jpg", EYE_OK, 1200, 1800, 7, 0xd79dd96b},
        {"gif_bomb.gif", EYE_E_UNSUPPORTED, 0, 0, 0, 0},
        {"gif_palette.gif", EYE_E_UNSUPPORTED, 0, 0, 0, 0},
        {"jpeg_12bit.jpg", EYE_E_UNSUPPORTED, 0, 0, 0, 0},
        {"jpeg_16bit_qtables.jpg", EYE_OK, 128, 128, 1, 0x2dd7843c},
        {"jpeg_bad_exif.jpg", EYE_OK, 500, 500, 1, 0}, /* coefficients overflow: libjpeg-turbo differs by instruction set */
        {"jpeg_baseline_227x149.jpg", EYE_OK, 227, 149, 1, 0x9518fe98},
        {"jpeg_cmyk_adobe.jpg", EYE_OK, 100, 100, 1, 0xb166528d},
        {"jpeg_cmyk_truncated_app14.jpg", EYE_OK, 100, 100, 1, 0x2bcac30b},
        {"jpeg_ff00_header.jpg", EYE_OK, 300, 225, 1, 0x38fa8804},
        {"jpeg_gray.jpg", EYE_OK, 128, 128, 1, 0x7af19e35},
        {"jpeg_multiple_exif.jpg", EYE_OK, 1, 1, 1, 0xff41d912},
        {"jpeg_truncated.jpg", EYE_OK, 100, 100, 1, 0},
        {"jpeg_ultrahdr.jpg", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"jpeg_xyb_icc.jpg", EYE_OK, 290, 442, 1, 0xccb81284},
        {"photo_grace_hopper.bmp", EYE_OK, 512, 600, 1, 0xa146070e},
        {"png_16bit.png", EYE_OK, 149, 227, 1, 0xf0e9710f},
        {"png_bad_depth99.png", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"png_bad_ihdr_crc.png", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"png_broken_stream.png", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"png_gray1.png", EYE_OK, 32, 32, 1, 0x1d8b1934},
        {"png_graya.png", EYE_OK, 32, 32, 1, 0xde73dab8},
        {"png_idat_after_end.png", EYE_OK, 128, 128, 1, 0xdc3ef74f},
        {"png_missing_idat.png", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"png_palette4.png", EYE_OK, 32, 32, 1, 0x3a9e038e},
        {"png_rgb16_interlaced.png", EYE_OK, 32, 32, 1, 0xffcc1ed1},
        {"png_rgba16.png", EYE_OK, 32, 32, 1, 0x54f0fb2e},
        {"png_rgba_transparent.png", EYE_OK, 200, 150, 1, 0xbb7dde27},
        {"png_truncated.png", EYE_E_CORRUPT, 0, 0, 0, 0},
        {"webp_alpha.webp", EYE_OK, 200, 150, 1, 0xc407c560},
        {"webp_big_height.webp", EYE_OK, 13, 169, 1, 0x7e92d469},
    };
    const char *data = getenv("EYELET_DATA");
    char path[1024];
    snprintf(path, sizeof path, "%s/hostile_images", data ? data : TEST_DATA "/../../shared/data");
    if (!eye_path_is_dir(path)) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    size_t at = strlen(path);
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        snprintf(path + at, sizeof path - at, "/%s", rows[i].name);
        struct eye_image img;
        struct eye_err err = {0};
        const struct eye_image_opts stored = {.no_exif_orientation = true};
        enum eye_status st = eye_image_load(path, &stored, &img, &err);
        if (lacks_library(st, &err)) continue;
        if (st != rows[i].st) fail_msg("%s: %s: %s", rows[i].name, eye_status_name(st), err.text);
        if (st != EYE_OK) continue;
        if (img.width != rows[i].width || img.height != rows[i].height || img.orientation != rows[i].orientation ||
            (rows[i].crc && crc_image(&img) != rows[i].crc))
            fail_msg("%s: %d x %d orientation %d crc %08x", rows[i].name, img.width, img.height, img.orientation,
                     (unsigned)crc_image(&img));
        eye_image_free(&img);
    }
}

static void thumbnails_are_small_pictures(void **state) {
    static uint8_t pixels[300 * 100 * 3], file[20000];
    struct eye_image img, small;
    struct eye_err err = {0};
    size_t n;
    (void)state;
    memset(pixels, 200, sizeof pixels);
    assert_int_equal(eye_image_wrap(&img, pixels, 300, 100, 0, &err), EYE_OK);
    assert_int_equal(eye_image_thumbnail(&img, 64, file, sizeof file, &n, &err), EYE_OK);
    assert_int_equal(eye_image_decode(file, n, NULL, &small, &err), EYE_OK);
    assert_int_equal(small.width, 64);
    assert_int_equal(small.height, 21);
    assert_in_range(small.rgb[0], 190, 210); /* WebP loses a little */
    eye_image_free(&small);
    assert_int_equal(eye_image_thumbnail(&img, 1024, file, sizeof file, &n, &err), EYE_OK); /* never enlarged */
    assert_int_equal(eye_image_decode(file, n, NULL, &small, &err), EYE_OK);
    assert_int_equal(small.width, 300);
    eye_image_free(&small);
    assert_int_equal(eye_image_thumbnail(&img, 0, file, sizeof file, &n, &err), EYE_E_ARG);
    assert_int_equal(eye_image_thumbnail(&img, 1025, file, sizeof file, &n, &err), EYE_E_ARG);
    assert_int_equal(eye_image_thumbnail(&img, 64, file, 10, &n, &err), EYE_E_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_gives_pillows_pixels),
        cmocka_unit_test(cut_files_are_refused_or_whole),
        cmocka_unit_test(damaged_files_do_no_harm),
        cmocka_unit_test(out_of_memory_is_an_error),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(strangers_are_named),
        cmocka_unit_test(bad_arguments_are_refused),
        cmocka_unit_test(standard_input_is_a_file),
        cmocka_unit_test(scan_bombs_are_stopped),
        cmocka_unit_test(a_moved_end_is_noticed),
        cmocka_unit_test(odd_jpegs_are_named),
        cmocka_unit_test(exif_never_fails),
        cmocka_unit_test(hostile_files_behave),
        cmocka_unit_test(thumbnails_are_small_pictures),
    };
    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
