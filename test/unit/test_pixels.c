/* The pixel cache: what is in it, what it refuses, what is left when the disk is full or the writer is killed; and augmented
 * batches, which depend on seed, epoch and picture alone. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "support/support.h"
#include "train/pixels.h"

#define CALL(x)                                      \
    do {                                             \
        if ((x) != EYE_OK) fail_msg("%s", err.text); \
    } while (0)

enum { N = 70, SIDE = 24, WIDTH = 40, HEIGHT = 30 }; /* more than one chunk */

static char cache_path[600];
static struct eye_dataset *set;

/* N pictures, of which number 5 is broken and number 66 is missing. */
static int make_pictures(void **state) {
    static uint8_t file[64 + WIDTH * HEIGHT * 3];
    char dir[512], path[600], name[32];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("pictures"));
    mkdir(dir, 0777);
    snprintf(path, sizeof path, "%s/list.tsv", dir);
    FILE *list = fopen(path, "w");
    assert_non_null(list);
    for (int i = 0; i < N; i++) {
        int n = snprintf((char *)file, 64, "P6\n%d %d\n255\n", WIDTH, HEIGHT);
        for (int k = 0; k < WIDTH * HEIGHT * 3; k++) file[n + k] = (uint8_t)(k * 7 + i * 31 + k / 90 * (i + 3));
        snprintf(name, sizeof name, "pictures/%02d.ppm", i);
        if (i != 66) eye_scratch_write(name, file, i == 5 ? 100 : (size_t)(n + WIDTH * HEIGHT * 3));
        fprintf(list, "%02d.ppm\tpicture %d\n", i, i);
    }
    fclose(list);
    struct eye_err err = {0};
    const char *p = path;
    CALL(eye_dataset_open(&p, 1, NULL, &set, &err));
    snprintf(cache_path, sizeof cache_path, "%s", eye_scratch_path("cache.pixels"));
    return 0;
}

static int scratch_remove(void **state) {
    eye_dataset_close(set);
    eye_scratch_remove();
    return 0;
}

static struct eye_pixels_opts options(struct eye_pool *pool) {
    return (struct eye_pixels_opts){.pp = {.width = SIDE, .height = SIDE, .mode = EYE_PREPROC_CROP,
                                           .mean = {0.5, 0.4, 0.3}, .std = {0.2, 0.25, 0.3}},
                                    .pool = pool};
}

static size_t files_like_cache(void) { /* the cache and whatever stands beside it */
    char command[700];
    size_t n = 0;
    snprintf(command, sizeof command, "ls %s* 2>/dev/null | wc -l", cache_path);
    FILE *f = popen(command, "r");
    assert_int_equal(fscanf(f, "%zu", &n), 1);
    pclose(f);
    return n;
}

static void contents(void **state) {
    struct eye_err err = {0};
    struct eye_data_report report = {0};
    struct eye_pixels px, again;
    struct eye_pool *pool;
    struct eye_image img;
    uint8_t want[SIDE * SIDE * 3];
    bool made;
    CALL(eye_pool_new(&pool, 3, NULL, &err));
    struct eye_pixels_opts o = options(pool);
    CALL(eye_pixels_ensure(cache_path, set, &o, &px, &made, &report, &err));
    assert_true(made);
    assert_int_equal(px.n, N);
    assert_int_equal(px.side, SIDE);
    assert_int_equal(report.row[EYE_ISSUE_IMAGE_UNREADABLE].n, 1);
    assert_non_null(strstr(report.row[EYE_ISSUE_IMAGE_UNREADABLE].example[0], "05.ppm"));
    assert_int_equal(report.row[EYE_ISSUE_IMAGE_MISSING].n, 1);
    CALL(eye_pixels_verify(&px, cache_path, &err));
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(px.have[i], i != 5 && i != 66);
        memset(want, 0, sizeof want);
        if (px.have[i]) {
            CALL(eye_image_load(set->image[i].path, NULL, &img, &err));
            CALL(eye_preproc_u8(&o.pp, &img, want, NULL, NULL, NULL, &err));
            eye_image_free(&img);
        }
        assert_memory_equal(eye_pixels_at(&px, i), want, sizeof want);
    }
    struct eye_pixels_opts alone = options(NULL); /* one thread: it fits, nothing is made; made anew it has the same bytes */
    CALL(eye_pixels_ensure(cache_path, set, &alone, &again, &made, &report, &err));
    assert_false(made);
    CALL(eye_pixels_make(cache_path, set, &alone, &report, &err));
    eye_pixels_close(&again);
    CALL(eye_pixels_open(cache_path, NULL, NULL, &again, &err));
    assert_int_equal(again.map.size, px.map.size);
    assert_memory_equal(again.map.p, px.map.p, px.map.size);
    eye_pixels_close(&again);
    eye_pixels_close(&px);
    eye_pool_free(pool);
}

/* Another size, another file, another time of a file: the key does not fit any more. */
static void stale(void **state) {
    struct eye_err err = {0};
    struct eye_pixels px;
    struct eye_data_report report = {0};
    struct eye_pixels_opts o = options(NULL);
    CALL(eye_pixels_make(cache_path, set, &o, &report, &err));
    struct eye_preproc other = o.pp;
    other.resample = EYE_RESAMPLE_BILINEAR;
    assert_int_equal(eye_pixels_open(cache_path, set, &other, &px, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "made from other pictures or with other preprocessing"));
    struct eye_image img;
    CALL(eye_image_load(set->image[3].path, NULL, &img, &err)); /* the same bytes, written a moment later */
    eye_image_free(&img);
    struct timespec times[2] = {{.tv_sec = 12345}, {.tv_sec = 12345}};
    assert_int_equal(utimensat(AT_FDCWD, set->image[3].path, times, 0), 0);
    assert_int_equal(eye_pixels_open(cache_path, set, &o.pp, &px, &err), EYE_E_ARG);
    eye_scratch_write("mine.txt", "precious", 8);
    assert_int_equal(eye_pixels_make(eye_scratch_path("mine.txt"), set, &o, &report, &err), EYE_E_ARG);
    assert_non_null(strstr(err.text, "is no pixel cache and will not be replaced"));
}

static enum eye_status open_bytes(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    const char *path = eye_scratch_write("bytes.pixels", p, n);
    struct eye_pixels px;
    (void)alloc;
    EYE_TRY(eye_pixels_open(path, NULL, NULL, &px, err));
    enum eye_status st = eye_pixels_verify(&px, path, err);
    eye_pixels_close(&px);
    return st;
}

/* A cache of one picture of 2 x 2, whole and damaged. */
static void hostile(void **state) {
    struct eye_err err = {0};
    struct eye_data_report report = {0};
    struct eye_map m;
    char path[600];
    const char *list = eye_scratch_write("one.tsv", "pictures/00.ppm\tx\n", 18);
    struct eye_dataset *one;
    CALL(eye_dataset_open(&list, 1, NULL, &one, &err));
    struct eye_pixels_opts o = options(NULL);
    o.pp.width = o.pp.height = 2;
    snprintf(path, sizeof path, "%s", eye_scratch_path("one.pixels"));
    CALL(eye_pixels_make(path, one, &o, &report, &err));
    CALL(eye_map_open(&m, path, false, 0, &err));
    assert_int_equal(m.size, 4096 + 12 + 1 + 8 + 8);
    CALL(open_bytes(m.p, m.size, NULL, &err));
    assert_int_equal(open_bytes(m.p, m.size - 1, NULL, &err), EYE_E_CORRUPT);
    uint8_t *copy = malloc(m.size);
    for (size_t i = 0; i < m.size; i++) { /* every bit that means something is covered by a check */
        if (i == 56) i = 4096;
        memcpy(copy, m.p, m.size);
        copy[i] ^= 1u << (i % 8);
        assert_int_equal(open_bytes(copy, m.size, NULL, &err), EYE_E_CORRUPT);
    }
    free(copy);
    eye_map_close(&m);
    eye_dataset_close(one);
}

/* The disk is full, or the program is killed while it writes: the old cache stays, and nothing of a full disk's try. */
static void interrupted(void **state) {
    struct eye_err err = {0};
    struct eye_data_report report = {0};
    struct eye_pixels px;
    struct eye_pixels_opts o = options(NULL);
    CALL(eye_pixels_make(cache_path, set, &o, &report, &err));
    struct eye_pixels_opts bigger = options(NULL);
    bigger.pp.width = bigger.pp.height = 200;
    for (int kill_it = 0; kill_it < 2; kill_it++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct eye_err why = {0};
            struct rlimit limit = {5 << 20, 5 << 20}; /* of 8.4 MB */
            signal(SIGXFSZ, kill_it ? SIG_DFL : SIG_IGN); /* the limit kills, or is an error like a full disk */
            setrlimit(RLIMIT_FSIZE, &limit);
            setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
            enum eye_status st = eye_pixels_make(cache_path, set, &bigger, &report, &why);
            _exit(st == EYE_E_IO && strstr(why.text, "File too large") ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (kill_it)
            assert_true(WIFSIGNALED(status));
        else
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        assert_int_equal(files_like_cache(), kill_it ? 2 : 1); /* a killed writer leaves what it had under another name */
        CALL(eye_pixels_open(cache_path, set, &o.pp, &px, &err));
        CALL(eye_pixels_verify(&px, cache_path, &err));
        eye_pixels_close(&px);
    }
    CALL(eye_pixels_make(cache_path, set, &o, &report, &err));
    assert_int_equal(files_like_cache(), 1); /* the next one takes it away */
}

static bool stop(void *ctx) { return ++*(int *)ctx > 1; }

static void refused(void **state) {
    struct eye_err err = {0};
    struct eye_data_report report = {0};
    struct eye_pixels_opts o = options(NULL);
    int asked = 0;
    o.cancel = stop;
    o.cancel_ctx = &asked;
    assert_int_equal(eye_pixels_make(eye_scratch_path("c.pixels"), set, &o, &report, &err), EYE_E_CANCELLED);
    assert_false(eye_path_exists(eye_scratch_path("c.pixels")));
    const char *list = eye_scratch_write("gone.tsv", "gone.jpg\tx\n", 11);
    struct eye_dataset *gone;
    CALL(eye_dataset_open(&list, 1, NULL, &gone, &err));
    o.cancel = NULL;
    assert_int_equal(eye_pixels_make(eye_scratch_path("c.pixels"), gone, &o, &report, &err), EYE_E_IO);
    assert_non_null(strstr(err.text, "none of 1 pictures can be read"));
    assert_false(eye_path_exists(eye_scratch_path("c.pixels")));
    eye_dataset_close(gone);
}

/* ---- batches ---- */

static struct eye_augment plain(void) {
    return (struct eye_augment){.side = SIDE, .mean = {0.5f, 0.4f, 0.3f}, .std = {0.2f, 0.25f, 0.3f}, .seed = 11};
}

enum { PICTURE = SIDE * SIDE * 3 };

static void batches(void **state) {
    static float a[8 * PICTURE], b[8 * PICTURE], exact[PICTURE];
    struct eye_err err = {0};
    struct eye_data_report report = {0};
    struct eye_pixels px;
    struct eye_pool *pool;
    uint32_t index[8] = {3, 60, 0, 17, 3, 20, 21, 22}, back[8];
    bool made;
    for (int i = 0; i < 8; i++) back[i] = index[7 - i];
    CALL(eye_pool_new(&pool, 3, NULL, &err));
    struct eye_pixels_opts o = options(pool);
    CALL(eye_pixels_ensure(cache_path, set, &o, &px, &made, &report, &err));
    struct eye_augment none = plain();
    CALL(eye_pixels_batch(&px, &none, index, 8, 0, a, pool, &err));
    CALL(eye_preproc_f32(&o.pp, eye_pixels_at(&px, 60), EYE_PREPROC_HWC, exact, NULL, &err));
    assert_memory_equal(a + PICTURE, exact, sizeof exact); /* what inference sees */
    struct eye_augment all = plain();
    all.flip = true;
    all.crop_area = 0.4f;
    all.brightness = all.contrast = all.saturation = 0.3f;
    CALL(eye_pixels_batch(&px, &all, index, 8, 5, a, pool, &err));
    CALL(eye_pixels_batch(&px, &all, back, 8, 5, b, NULL, &err)); /* another order, one thread */
    for (int i = 0; i < 8; i++) assert_memory_equal(a + i * PICTURE, b + (7 - i) * PICTURE, PICTURE * sizeof *a);
    CALL(eye_pixels_batch(&px, &all, index, 8, 6, b, pool, &err));
    for (int i = 0; i < 8; i++) assert_memory_not_equal(a + i * PICTURE, b + i * PICTURE, PICTURE * sizeof *a);
    for (int i = 0; i < 8 * PICTURE; i++) { /* colours stay within 0..1 before they are normalised */
        float v = a[i] * none.std[i % 3] + none.mean[i % 3];
        assert_true(v > -1e-6f && v < 1 + 1e-6f);
    }
    all.crop_area = 1.5f;
    assert_int_equal(eye_pixels_batch(&px, &all, index, 8, 6, b, pool, &err), EYE_E_ARG);
    none.side = SIDE + 1;
    assert_int_equal(eye_pixels_batch(&px, &none, index, 8, 6, b, pool, &err), EYE_E_ARG);
    index[3] = N;
    none.side = SIDE;
    assert_int_equal(eye_pixels_batch(&px, &none, index, 8, 6, b, pool, &err), EYE_E_ARG);
    eye_pixels_close(&px);
    eye_pool_free(pool);
}

/* Each change alone, on pictures whose result can be told. */
static void augmentations(void **state) {
    static uint8_t rgb[2 * PICTURE];
    static float out[2 * PICTURE], mirrored[PICTURE];
    struct eye_err err = {0};
    uint8_t have[2] = {1, 1};
    uint32_t index[2] = {0, 1};
    int n_flipped = 0;
    for (int i = 0; i < PICTURE; i++) { /* 0: a ramp along x in red, along y in green; 1: one colour */
        int x = i / 3 % SIDE, y = i / 3 / SIDE;
        rgb[i] = (uint8_t)(i % 3 == 0 ? 10 * x : i % 3 == 1 ? 10 * y : 100);
        rgb[PICTURE + i] = (uint8_t)(i % 3 == 0 ? 50 : i % 3 == 1 ? 100 : 200);
    }
    struct eye_pixels px = {.side = SIDE, .n = 2, .rgb = rgb, .have = have};
    struct eye_augment a = {.side = SIDE, .std = {1, 1, 1}, .flip = true};
    for (uint64_t epoch = 0; epoch < 400; epoch++) {
        CALL(eye_pixels_batch(&px, &a, index, 1, epoch, out, NULL, &err));
        bool flipped = out[0] > 0.5f;
        n_flipped += flipped;
        for (int i = 0; i < PICTURE; i++) {
            int x = i / 3 % SIDE, y = i / 3 / SIDE;
            mirrored[i] = (float)(rgb[(y * SIDE + SIDE - 1 - x) * 3 + i % 3] * (1.0 / 255));
        }
        if (flipped) assert_memory_equal(out, mirrored, sizeof mirrored);
    }
    assert_in_range(n_flipped, 150, 250); /* five standard deviations of a coin */
    a = (struct eye_augment){.side = SIDE, .std = {1, 1, 1}, .crop_area = 0.3f};
    float least = 1, most = 0;
    for (uint64_t epoch = 0; epoch < 200; epoch++) { /* a crop of a ramp is a ramp, as wide as the crop; of one colour that colour */
        CALL(eye_pixels_batch(&px, &a, index, 2, epoch, out, NULL, &err));
        float width = (out[3 * (SIDE - 2)] - out[3]) * 255 / 10;
        float height = (out[3 * SIDE * (SIDE - 2) + 1] - out[3 * SIDE + 1]) * 255 / 10;
        float area = width * height / ((SIDE - 3) * (SIDE - 3));
        least = EYE_MIN(least, area);
        most = EYE_MAX(most, area);
        for (int i = 0; i < PICTURE; i++) assert_true(out[PICTURE + i] * 255 - (float)rgb[PICTURE + i] < 1e-3f &&
                                                      out[PICTURE + i] * 255 - (float)rgb[PICTURE + i] > -1e-3f);
    }
    assert_true(least > 0.27f && least < 0.4f && most > 0.85f && most < 1.02f);
    a = (struct eye_augment){.side = SIDE, .std = {1, 1, 1}, .brightness = 0.2f};
    CALL(eye_pixels_batch(&px, &a, index, 2, 1, out, NULL, &err));
    float factor = out[PICTURE] / (50 / 255.0f); /* brightness multiplies all alike */
    assert_true(factor > 0.79f && factor < 1.21f && factor != 1);
    for (int i = 0; i < PICTURE; i++) assert_true(out[PICTURE + i] - factor * (float)rgb[PICTURE + i] / 255 < 1e-5f &&
                                                  out[PICTURE + i] - factor * (float)rgb[PICTURE + i] / 255 > -1e-5f);
    a = (struct eye_augment){.side = SIDE, .std = {1, 1, 1}, .saturation = 0.2f, .contrast = 0.2f};
    CALL(eye_pixels_batch(&px, &a, index, 2, 1, out, NULL, &err));
    float grey = 0.299f * 50 + 0.587f * 100 + 0.114f * 200; /* of one colour: contrast and saturation keep its grey */
    float now = 255 * (0.299f * out[PICTURE] + 0.587f * out[PICTURE + 1] + 0.114f * out[PICTURE + 2]);
    assert_true(now - grey < 1e-3f && now - grey > -1e-3f && out[PICTURE] != 50 / 255.0f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(contents), cmocka_unit_test(stale),   cmocka_unit_test(hostile),      cmocka_unit_test(interrupted),
        cmocka_unit_test(refused),  cmocka_unit_test(batches), cmocka_unit_test(augmentations),
    };
    return cmocka_run_group_tests(tests, make_pictures, scratch_remove);
}
