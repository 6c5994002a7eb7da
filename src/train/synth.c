/* train/synth: scenes, how they are drawn, and the set that they make in memory; see synth.h. Captions are in synth_text.c. */
#include "train/synth.h"

#include <stdio.h>
#include <string.h>

/* ---- attributes ---- */

/* No two are near in colour, and none is near a background. */
static const uint8_t colours[EYE_SYNTH_COLOURS][3] = {{215, 40, 40},  {40, 150, 60},  {50, 80, 215},
                                                      {235, 205, 40}, {150, 60, 185}, {240, 135, 30}};
static const uint8_t backgrounds[EYE_SYNTH_BACKGROUNDS] = {240, 128, 20};
enum { SHADE_JITTER = 12, ONE = 1024 };

size_t eye_synth_count(const struct eye_synth_opts *o) {
    return o->n[EYE_SPLIT_TRAIN] + o->n[EYE_SPLIT_DEV] + o->n[EYE_SPLIT_TEST];
}

enum eye_split eye_synth_split(const struct eye_synth_opts *o, size_t i, size_t *index) {
    int split = EYE_SPLIT_TRAIN;
    while (split < EYE_SPLIT_TEST && i >= o->n[split]) i -= o->n[split++];
    *index = i;
    return (enum eye_split)split;
}

enum eye_status eye_synth_check(struct eye_synth_opts *o, struct eye_err *err) {
    if (!o->level) o->level = 1;
    if (!o->side) o->side = 64;
    if (!eye_synth_count(o)) {
        o->n[EYE_SPLIT_TRAIN] = 4000;
        o->n[EYE_SPLIT_DEV] = o->n[EYE_SPLIT_TEST] = 500;
    }
    if (o->level < 1 || o->level > EYE_SYNTH_MAX_OBJECTS)
        return eye_fail(err, EYE_E_ARG, "synth: level %d, expected 1 to %d", o->level, EYE_SYNTH_MAX_OBJECTS);
    if (o->side < 16 || o->side > 1024)
        return eye_fail(err, EYE_E_ARG, "synth: pictures of %d pixels, expected 16 to 1024", o->side);
    for (int k = EYE_SPLIT_TRAIN; k < EYE_N_SPLITS; k++)
        if (o->n[k] > 10000000)
            return eye_fail(err, EYE_E_ARG, "synth: %zu pictures for %s, at most 10000000", o->n[k],
                            eye_split_name((enum eye_split)k));
    return EYE_OK;
}

static int draw(struct eye_rng *r, int n) { return (int)eye_rng_below(r, (uint64_t)n); }
static int around(struct eye_rng *r, int middle, int spread) { return middle - spread + draw(r, 2 * spread + 1); }

/* What captions speak of. Two objects of one colour and shape could not be told apart. */
static void draw_attributes(struct eye_rng *r, int level, struct eye_synth_scene *s) {
    memset(s, 0, sizeof *s);
    s->n_objects = level;
    s->place = draw(r, level == 1 ? EYE_SYNTH_PLACES : 2);
    s->background = draw(r, EYE_SYNTH_BACKGROUNDS);
    for (int i = 0; i < level; i++) {
        struct eye_synth_object *o = &s->object[i];
        bool again;
        do {
            o->colour = draw(r, EYE_SYNTH_COLOURS);
            o->shape = draw(r, EYE_SYNTH_SHAPES);
            o->size = draw(r, EYE_SYNTH_SIZES);
            again = false;
            for (int k = 0; k < i; k++) again |= s->object[k].colour == o->colour && s->object[k].shape == o->shape;
        } while (again);
    }
}

/* One combination in ten is for dev, one for test, whatever the seed is: no run ever trains on what another one tests. */
static enum eye_split split_of(const struct eye_synth_scene *s) {
    uint8_t key[2 + 3 * EYE_SYNTH_MAX_OBJECTS] = {(uint8_t)s->place, (uint8_t)s->background};
    for (int i = 0; i < s->n_objects; i++) {
        key[2 + 3 * i] = (uint8_t)s->object[i].colour;
        key[3 + 3 * i] = (uint8_t)s->object[i].shape;
        key[4 + 3 * i] = (uint8_t)s->object[i].size;
    }
    uint64_t h = eye_hash64(key, sizeof key, (uint64_t)s->n_objects) % 10;
    return h == 0 ? EYE_SPLIT_TEST : h == 1 ? EYE_SPLIT_DEV : EYE_SPLIT_TRAIN;
}

/* Where things are drawn. Radii leave a gap between small and large, places between each other. */
static void draw_places(struct eye_rng *r, struct eye_synth_scene *s) {
    static const int one[EYE_SYNTH_PLACES][2] = {{256, 512}, {768, 512}, {512, 256}, {512, 768}, {512, 512}};
    static const int along[EYE_SYNTH_MAX_OBJECTS][3] = {{512}, {272, 752}, {180, 512, 844}};
    static const int radius[EYE_SYNTH_MAX_OBJECTS][EYE_SYNTH_SIZES] = {{105, 190}, {95, 165}, {75, 125}};
    int n = s->n_objects;
    for (int i = 0; i < n; i++) {
        struct eye_synth_object *o = &s->object[i];
        int main = along[n - 1][i], side = 512, spread = n == 1 ? 40 : n == 2 ? 30 : 16;
        o->x = around(r, n == 1 ? one[s->place][0] : s->place ? side : main, s->place || n == 1 ? 40 : spread);
        o->y = around(r, n == 1 ? one[s->place][1] : s->place ? main : side, s->place && n > 1 ? spread : 40);
        o->r = around(r, radius[n - 1][o->size], 10);
        for (int c = 0; c < 3; c++) o->rgb[c] = (uint8_t)around(r, colours[o->colour][c], SHADE_JITTER);
    }
    int shade = around(r, backgrounds[s->background], SHADE_JITTER);
    for (int c = 0; c < 3; c++) s->rgb[c] = (uint8_t)shade;
}

void eye_synth_scene(const struct eye_synth_opts *o, size_t i, struct eye_synth_scene *scene) {
    size_t index;
    enum eye_split split = eye_synth_split(o, i, &index);
    struct eye_rng r = eye_rng_for(o->seed, (uint64_t)o->level << 8 | (uint64_t)split, index);
    do draw_attributes(&r, o->level, scene);
    while (split_of(scene) != split);
    draw_places(&r, scene);
}

/* ---- drawing ---- */

/* Corners around (0, 0) for a radius of 256; shapes look equally large. Even-odd rule. */
static const int16_t square[][2] = {{-227, -227}, {227, -227}, {227, 227}, {-227, 227}};
static const int16_t triangle[][2] = {{0, -307}, {266, 154}, {-266, 154}};
static const int16_t star[][2] = {{0, -330}, {78, -107}, {314, -102}, {126, 41}, {194, 267},
                                  {0, 132},  {-194, 267}, {-126, 41}, {-314, -102}, {-78, -107}};
static const struct { const int16_t (*corner)[2]; int n; } polygons[EYE_SYNTH_SHAPES] = {
    {NULL, 0}, {square, 4}, {triangle, 3}, {star, 10}}; /* the circle has none */

/* Is the point (x, y), in units of 1/256 radius, in the shape? */
static bool inside(int shape, int64_t x, int64_t y) {
    if (!polygons[shape].n) return x * x + y * y <= 256 * 256;
    const int16_t(*c)[2] = polygons[shape].corner;
    bool in = false;
    for (int i = 0, k = polygons[shape].n - 1; i < polygons[shape].n; k = i++) {
        if ((c[i][1] > y) == (c[k][1] > y)) continue;
        int64_t cross = (x - c[i][0]) * (c[k][1] - c[i][1]) - (y - c[i][1]) * (c[k][0] - c[i][0]);
        in ^= (cross < 0) == (c[k][1] > c[i][1]);
    }
    return in;
}

/* Samples of 4 x 4 in a pixel that lie in the object. */
static int coverage(const struct eye_synth_object *o, int side, int px, int py) {
    int n = 0;
    for (int k = 0; k < 16; k++) { /* sample centres in 1/8 pixels, then in 1/1024 of the side times 8 side */
        int64_t x = (int64_t)(8 * px + 2 * (k % 4) + 1) * ONE - (int64_t)o->x * 8 * side;
        int64_t y = (int64_t)(8 * py + 2 * (k / 4) + 1) * ONE - (int64_t)o->y * 8 * side;
        int64_t r = (int64_t)o->r * 8 * side;
        n += inside(o->shape, x * 256 / r, y * 256 / r);
    }
    return n;
}

void eye_synth_draw(const struct eye_synth_scene *s, int side, uint8_t *rgb) {
    for (size_t i = 0; i < (size_t)side * (size_t)side; i++) memcpy(rgb + 3 * i, s->rgb, 3);
    for (int k = 0; k < s->n_objects; k++) {
        const struct eye_synth_object *o = &s->object[k];
        int reach = (o->r * 4 / 3 * side) / ONE + 1; /* a star's tips are 1.3 radii away */
        int x0 = o->x * side / ONE, y0 = o->y * side / ONE;
        for (int y = EYE_MAX(y0 - reach, 0); y <= EYE_MIN(y0 + reach, side - 1); y++)
            for (int x = EYE_MAX(x0 - reach, 0); x <= EYE_MIN(x0 + reach, side - 1); x++) {
                int n = coverage(o, side, x, y);
                uint8_t *p = rgb + 3 * ((size_t)y * (size_t)side + (size_t)x);
                for (int c = 0; c < 3 && n; c++) p[c] = (uint8_t)((o->rgb[c] * n + p[c] * (16 - n) + 8) / 16);
            }
    }
}

/* ---- the set ---- */

enum eye_status eye_synth_dataset(const struct eye_synth_opts *opts, const struct eye_alloc *alloc, struct eye_dataset **out,
                                  struct eye_err *err) {
    struct eye_synth_opts o = *opts;
    struct eye_dataset *set;
    EYE_TRY(eye_synth_check(&o, err));
    EYE_TRY(eye_dataset_new(&(struct eye_dataset_opts){.alloc = alloc}, &set, err));
    struct eye_list list = {.set = set, .where = "synth"};
    enum eye_status st = EYE_OK;
    set->format = EYE_DATA_KARPATHY; /* what eye_synth_write writes */
    for (size_t i = 0, n = eye_synth_count(&o); i < n; i++) {
        struct eye_synth_scene scene;
        struct eye_new_caption c = {0};
        char name[64], text[EYE_SYNTH_CAPTION_MAX];
        bool added;
        size_t k;
        enum eye_split split = eye_synth_split(&o, i, &k);
        eye_synth_scene(&o, i, &scene);
        int len = snprintf(name, sizeof name, "%s_%06zu", eye_split_name(split), k);
        EYE_TRY_GOTO(eye_dataset_add_image(&list, name, (size_t)len, split, &c.image, err));
        for (int caption = 0; caption < EYE_SYNTH_CAPTIONS; caption++) {
            eye_synth_caption(&scene, caption, text);
            c.text = text;
            c.n_text = strlen(text);
            EYE_TRY_GOTO(eye_dataset_add_caption(&list, &c, &added, err));
        }
    }
    EYE_TRY_GOTO(eye_dataset_finish(set, err));
    *out = set;
    return EYE_OK;
fail:
    eye_dataset_close(set);
    return st;
}

struct painter {
    const struct eye_synth_opts *o;
    uint8_t *rgb;
};
static void paint_task(void *ctx, int i_task, int i_thread) {
    const struct painter *p = ctx;
    struct eye_synth_scene scene;
    (void)i_thread;
    eye_synth_scene(p->o, (size_t)i_task, &scene);
    eye_synth_draw(&scene, p->o->side, p->rgb + (size_t)i_task * (size_t)p->o->side * (size_t)p->o->side * 3);
}

enum eye_status eye_synth_pixels(const struct eye_synth_opts *opts, struct eye_pool *pool, struct eye_pixels *px,
                                 struct eye_err *err) {
    struct eye_synth_opts o = *opts;
    EYE_TRY(eye_synth_check(&o, err));
    size_t n = eye_synth_count(&o), pixels, bytes;
    if (!eye_mul_ok(n, (size_t)o.side * (size_t)o.side * 3, &pixels) || !eye_add_ok(pixels, n, &bytes) || n > INT32_MAX)
        return eye_fail(err, EYE_E_LIMIT, "synth: %zu pictures of side %d do not fit in memory", n, o.side);
    uint8_t *p = eye_pages_alloc(bytes);
    if (!p) return eye_fail_nomem(err, bytes);
    struct painter painter = {&o, p};
    if (pool)
        eye_pool_run(pool, (int)n, paint_task, &painter);
    else
        for (size_t i = 0; i < n; i++) paint_task(&painter, (int)i, 0);
    memset(p + pixels, 1, n);
    *px = (struct eye_pixels){.side = o.side, .n = n, .rgb = p, .have = p + pixels, .owned = p, .owned_bytes = bytes};
    return EYE_OK;
}
