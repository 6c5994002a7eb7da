/* Synthetic scenes: the same bytes everywhere, splits that share nothing, captions that their own judge finds exact and in
 * which any changed word is noticed, files that are read back as what they were. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "support/support.h"
#include "train/synth.h"

#define CALL(x)                                      \
    do {                                             \
        if ((x) != EYE_OK) fail_msg("%s", err.text); \
    } while (0)

static struct eye_synth_opts options(int level) {
    return (struct eye_synth_opts){.level = level, .side = 48, .seed = 5, .n = {0, 300, 60, 60}};
}

/* A number for all that is drawn: equal on every machine, or scenes are not what other machines train on. */
static void same_everywhere(void **state) {
    static const uint64_t want[3] = {0xc3e0fad0eee88d5au, 0x6a143eb8ce27c241u, 0xf14b9c48a23ba530u};
    static uint8_t rgb[48 * 48 * 3];
    for (int level = 1; level <= 3; level++) {
        struct eye_synth_opts o = options(level);
        uint64_t sum = 0;
        for (size_t i = 0; i < 40; i++) {
            struct eye_synth_scene s;
            char text[EYE_SYNTH_CAPTION_MAX];
            eye_synth_scene(&o, i * 10, &s);
            eye_synth_draw(&s, o.side, rgb);
            eye_synth_caption(&s, (int)(i % EYE_SYNTH_CAPTIONS), text);
            sum = eye_hash64(text, strlen(text), eye_hash64(rgb, sizeof rgb, sum));
        }
        if (sum != want[level - 1]) fail_msg("level %d: 0x%016llx", level, (unsigned long long)sum);
    }
}

/* What captions speak of, as text. */
static void attributes(const struct eye_synth_scene *s, char *out) {
    int n = sprintf(out, "%d %d", s->place, s->background);
    for (int i = 0; i < s->n_objects; i++)
        n += sprintf(out + n, " %d %d %d", s->object[i].colour, s->object[i].shape, s->object[i].size);
}

static void splits_share_nothing(void **state) {
    for (int level = 1; level <= 3; level++) {
        struct eye_err err = {0};
        struct eye_synth_opts o = options(level);
        struct eye_strmap split_of;
        static char key[420][64];
        int seen[EYE_SYNTH_COLOURS] = {0};
        size_t index;
        eye_strmap_init(&split_of, NULL);
        assert_int_equal(eye_synth_count(&o), 420);
        for (size_t i = 0; i < 420; i++) {
            struct eye_synth_scene s;
            bool there;
            enum eye_split split = eye_synth_split(&o, i, &index);
            eye_synth_scene(&o, i, &s);
            assert_int_equal(s.n_objects, level);
            attributes(&s, key[i]);
            CALL(eye_strmap_put(&split_of, key[i], strlen(key[i]), split, &there, &err));
            assert_int_equal(eye_strmap_get(&split_of, key[i], strlen(key[i])), split);
            for (int k = 0; k < level; k++) seen[s.object[k].colour]++;
        }
        for (int c = 0; c < EYE_SYNTH_COLOURS; c++) assert_true(seen[c] > 420 * level / EYE_SYNTH_COLOURS / 2);
        eye_strmap_clear(&split_of);
    }
}

/* Pictures show their scene: the background in a corner, each object's colour in its middle. */
static void pictures(void **state) {
    static uint8_t rgb[64 * 64 * 3];
    for (int level = 1; level <= 3; level++) {
        struct eye_synth_opts o = {.level = level, .side = 64, .n = {0, 200}};
        for (size_t i = 0; i < 200; i++) {
            struct eye_synth_scene s;
            eye_synth_scene(&o, i, &s);
            eye_synth_draw(&s, 64, rgb);
            assert_memory_equal(rgb, s.rgb, 3);
            for (int k = 0; k < level; k++) {
                const struct eye_synth_object *ob = &s.object[k];
                assert_memory_equal(rgb + 3 * (ob->y * 64 / 1024 * 64 + ob->x * 64 / 1024), ob->rgb, 3);
            }
        }
    }
    /* A circle's area, in pixels, is what geometry says to within its edge. */
    struct eye_synth_scene one = {.n_objects = 1, .object = {{.x = 512, .y = 512, .r = 300, .rgb = {255, 255, 255}}}};
    long sum = 0;
    eye_synth_draw(&one, 64, rgb);
    for (int i = 0; i < 64 * 64; i++) sum += rgb[3 * i];
    double area = (double)sum / 255, want = 3.14159265 * (300.0 / 16) * (300.0 / 16);
    assert_true(area > want * 0.99 && area < want * 1.01);
}

static struct eye_synth_score judge(const struct eye_synth_scene *s, const char *caption) {
    struct eye_synth_score score = {0};
    eye_synth_judge(s, caption, &score);
    return score;
}

/* Every caption is exact of its own scene; with any one meaning word replaced by another one it is not. */
static void captions_are_judged(void **state) {
    static const char *const words[] = {"red", "green", "blue", "yellow", "purple", "orange", "circle", "square", "triangle",
                                        "star", "small", "large", "white", "grey", "black", "left", "right", "top", "bottom",
                                        "middle", "above", "below"};
    for (int level = 1; level <= 3; level++) {
        struct eye_synth_opts o = options(level);
        for (size_t i = 0; i < 60; i++) {
            struct eye_synth_scene s;
            char text[EYE_SYNTH_CAPTION_MAX], again[EYE_SYNTH_CAPTION_MAX], other[EYE_SYNTH_CAPTION_MAX + 16];
            char all[5][EYE_SYNTH_CAPTION_MAX];
            eye_synth_scene(&o, i, &s);
            for (int k = 0; k < EYE_SYNTH_CAPTIONS; k++) {
                eye_synth_caption(&s, k, text);
                memcpy(all[k], text, sizeof text);
                for (int j = 0; j < k; j++) assert_string_not_equal(all[j], text);
                assert_int_equal(judge(&s, text).n_exact, 1);
                struct eye_synth_scene read; /* the caption gives the scene back, whichever end it begins at */
                assert_true(eye_synth_scene_of(text, &read));
                for (int way = 0; way < EYE_SYNTH_CAPTIONS; way++) {
                    eye_synth_caption(&read, way, again);
                    assert_int_equal(judge(&s, again).n_exact, 1);
                }
                for (size_t a = 0; a < EYE_COUNT(words); a++) {
                    char *at = strstr(text, words[a]);
                    for (size_t b = 0; at && b < EYE_COUNT(words); b++) {
                        if (a == b) continue;
                        snprintf(other, sizeof other, "%.*s%s%s", (int)(at - text), text, words[b], at + strlen(words[a]));
                        if (judge(&s, other).n_exact) fail_msg("exact: \"%s\", but the scene is \"%s\"", other, text);
                    }
                }
            }
        }
    }
}

static void scores(void **state) {
    struct eye_synth_scene s = {.n_objects = 2, .place = 0, .background = 0,
                                .object = {{.colour = 0, .shape = 0, .size = 0}, {.colour = 2, .shape = 1, .size = 1}}};
    char text[EYE_SYNTH_CAPTION_MAX];
    eye_synth_caption(&s, 0, text);
    assert_string_equal(text, "a small red circle to the left of a large blue square on a white background");
    assert_int_equal(judge(&s, "A large BLUE square, right of a small red circle; white.").n_exact, 1);
    assert_int_equal(judge(&s, "a small red circle, a small red circle left of a large blue square, white").n_exact, 0);
    assert_int_equal(judge(&s, "a small red green circle to the left of a large blue square on white").n_exact, 0);
    struct eye_synth_score r = judge(&s, "a large red circle to the left of a large blue star");
    assert_int_equal(r.n_exact, 0);
    assert_int_equal(r.n_right[EYE_SYNTH_COUNT], 1);
    assert_int_equal(r.n_right[EYE_SYNTH_COLOUR], 2);
    assert_int_equal(r.n_right[EYE_SYNTH_SHAPE], 1);
    assert_int_equal(r.n_right[EYE_SYNTH_SIZE], 1);
    assert_int_equal(r.n_right[EYE_SYNTH_PLACE], 1);
    assert_int_equal(r.n_right[EYE_SYNTH_BACKGROUND], 0);
    assert_int_equal(r.n_of[EYE_SYNTH_SIZE], 2);
    r = judge(&s, "");
    for (int k = 0; k < EYE_SYNTH_N_KINDS; k++) assert_int_equal(r.n_right[k], 0);
    r = judge(&s, "circle circle circle circle circle circle circle circle circle circle left left left \xFF\x80");
    assert_int_equal(r.n_exact, 0);
}

/* Sets whose references describe scenes are judged by them, others are not. */
static void sets(void **state) {
    struct eye_err err = {0};
    struct eye_synth_opts o = {.level = 1, .n = {0, 0, 20}};
    struct eye_synth_score score;
    struct eye_synth_scene scene;
    struct eye_dataset *set;
    uint32_t picture[20];
    const char *caption[20];
    CALL(eye_synth_dataset(&o, NULL, &set, &err));
    for (uint32_t i = 0; i < 20; i++) {
        picture[i] = i;
        caption[i] = set->caption[set->image[i].first + i % 5].text;
    }
    eye_synth_judge_set(set, picture, caption, 20, &score);
    assert_int_equal(score.n, 20);
    assert_int_equal(score.n_exact, 20);
    caption[3] = "a dog";
    eye_synth_judge_set(set, picture, caption, 20, &score);
    assert_int_equal(score.n_exact, 19);
    assert_int_equal(score.n_right[EYE_SYNTH_COLOUR], 19);
    set->caption[set->image[7].first].text = "a small red circle";
    eye_synth_judge_set(set, picture, caption, 20, &score);
    assert_int_equal(score.n, 0);
    eye_dataset_close(set);
    static const char *const none[] = {"", "a small red circle on the left", "a small circle on the left of a white background",
                                       "a red circle on the left of a white background", "a small red circle on white",
                                       "a small red circle and a large blue star on white",
                                       "a small red blue circle on the left of a white background"};
    for (size_t i = 0; i < EYE_COUNT(none); i++) assert_false(eye_synth_scene_of(none[i], &scene));
}

/* The set in memory and the one in files are one: names aside, captions, splits and pixels. */
static void files(void **state) {
    struct eye_err err = {0};
    struct eye_synth_opts o = {.level = 2, .side = 32, .seed = 9, .n = {0, 12, 3, 4}};
    struct eye_dataset *memory, *disk;
    struct eye_pixels px;
    struct eye_image img;
    char dir[512], coco[600];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("synth"));
    CALL(eye_synth_write(dir, &o, NULL, NULL, NULL, &err));
    const char *p = dir;
    CALL(eye_dataset_open(&p, 1, NULL, &disk, &err));
    CALL(eye_synth_dataset(&o, NULL, &memory, &err));
    CALL(eye_synth_pixels(&o, NULL, &px, &err));
    assert_int_equal(disk->format, EYE_DATA_KARPATHY);
    assert_int_equal(disk->n_images, 19);
    assert_int_equal(memory->n_images, 19);
    assert_int_equal(px.n, 19);
    for (size_t i = 0; i < 19; i++) {
        const struct eye_data_image *a = &disk->image[i], *b = &memory->image[i];
        assert_int_equal(a->split, b->split);
        assert_int_equal(a->n, EYE_SYNTH_CAPTIONS);
        for (uint32_t k = 0; k < a->n; k++)
            assert_string_equal(disk->caption[a->first + k].text, memory->caption[b->first + k].text);
        CALL(eye_image_load(a->path, NULL, &img, &err));
        assert_int_equal(img.width, 32);
        assert_memory_equal(img.rgb, eye_pixels_at(&px, i), 32 * 32 * 3);
        eye_image_free(&img);
    }
    eye_dataset_close(disk);
    snprintf(coco, sizeof coco, "%s/annotations/captions_val.json", dir);
    p = coco;
    CALL(eye_dataset_open(&p, 1, NULL, &disk, &err));
    assert_int_equal(disk->format, EYE_DATA_COCO);
    assert_int_equal(disk->n_images, 3);
    assert_int_equal(disk->image[0].split, EYE_SPLIT_DEV);
    assert_string_equal(disk->caption[0].text, memory->caption[memory->image[12].first].text);
    CALL(eye_image_load(disk->image[2].path, NULL, &img, &err));
    eye_image_free(&img);
    eye_dataset_close(disk);
    eye_dataset_close(memory);
    eye_pixels_close(&px);
    o.level = 4;
    assert_int_equal(eye_synth_write(dir, &o, NULL, NULL, NULL, &err), EYE_E_ARG);
    o.level = 1;
    o.side = 8;
    assert_int_equal(eye_synth_write(dir, &o, NULL, NULL, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_synth_write("/proc/no/such", NULL, NULL, NULL, NULL, &err), EYE_E_IO);
}

static int scratch_remove(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_everywhere),     cmocka_unit_test(splits_share_nothing), cmocka_unit_test(pictures),
        cmocka_unit_test(captions_are_judged), cmocka_unit_test(scores),               cmocka_unit_test(sets),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, scratch_remove);
}
