/* train/synth: a data set that needs no files: pictures of coloured shapes and captions that say what is in them. What a
 * caption claims can be checked word by word, so learning from it has an exact measure.
 *
 * A scene is its attributes (what captions speak of) and where exactly things are drawn (what makes pictures differ). Splits
 * share no combination of attributes: what is tested was never seen, though each colour, shape and place was. Everything
 * depends on level, seed and index alone and is drawn in integers: the same bytes on every machine.
 *
 *   level  objects  captions speak of
 *   1      1        colour, shape, size, place of five, background of three: 720 combinations
 *   2      2        the same without place, and left of / right of / above / below
 *   3      3        the same, in a row or a column
 */
#ifndef EYE_SYNTH_H
#define EYE_SYNTH_H

#include "train/dataset.h"
#include "train/pixels.h"

enum { EYE_SYNTH_COLOURS = 6, EYE_SYNTH_SHAPES = 4, EYE_SYNTH_SIZES = 2, EYE_SYNTH_PLACES = 5, EYE_SYNTH_BACKGROUNDS = 3 };
#define EYE_SYNTH_MAX_OBJECTS 3
#define EYE_SYNTH_CAPTIONS 5
#define EYE_SYNTH_CAPTION_MAX 192 /* bytes of a caption, with its NUL */

struct eye_synth_object {
    int colour, shape, size;
    int x, y, r;         /* centre and radius in 1/1024 of the side */
    uint8_t rgb[3];
};
struct eye_synth_scene {
    int n_objects;
    struct eye_synth_object object[EYE_SYNTH_MAX_OBJECTS]; /* from left to right, or from top to bottom */
    int place;           /* one object: left, right, top, bottom, middle; more: 0 = in a row, 1 = in a column */
    int background;
    uint8_t rgb[3];      /* of the background */
};

/* Pictures in all; index i is of the training split first, then dev, then test. */
size_t eye_synth_count(const struct eye_synth_opts *o);
enum eye_split eye_synth_split(const struct eye_synth_opts *o, size_t i, size_t *index_in_split);
/* Checks opts and fills in defaults. ARG. */
EYE_MUST_CHECK enum eye_status eye_synth_check(struct eye_synth_opts *o, struct eye_err *err);

void eye_synth_scene(const struct eye_synth_opts *o, size_t i, struct eye_synth_scene *scene);
/* rgb [side][side][3]; edges are smoothed over 4 x 4 samples. */
void eye_synth_draw(const struct eye_synth_scene *scene, int side, uint8_t *rgb);
/* Caption k of EYE_SYNTH_CAPTIONS; each names all attributes, in other words or another order. */
void eye_synth_caption(const struct eye_synth_scene *scene, int k, char out[EYE_SYNTH_CAPTION_MAX]);

/* The data set in memory, and its pixels. Names are those that eye_synth_write gives the files. */
EYE_MUST_CHECK enum eye_status eye_synth_dataset(const struct eye_synth_opts *o, const struct eye_alloc *alloc,
                                                 struct eye_dataset **set, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_synth_pixels(const struct eye_synth_opts *o, struct eye_pool *pool, struct eye_pixels *px,
                                                struct eye_err *err);

/* ---- judging ---- */

/* Adds a caption to sum. Reads any text: words that mean nothing here are passed over; what is said twice and differently is
 * wrong. Relations count in either direction: "a left of b" is "b right of a". */
void eye_synth_judge(const struct eye_synth_scene *scene, const char *caption, struct eye_synth_score *sum);
/* The attributes of the scene that a caption of ours describes (not where exactly things lie); false: it describes none. */
bool eye_synth_scene_of(const char *caption, struct eye_synth_scene *scene);
/* Captions of pictures [n] of a set, against what the pictures' own first captions say. sum->n stays 0 if those are not all of
 * synthetic scenes: then there is nothing to count. */
void eye_synth_judge_set(const struct eye_dataset *set, const uint32_t *picture, const char *const *caption, size_t n,
                         struct eye_synth_score *sum);

#endif
