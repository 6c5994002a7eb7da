/* The calibration set: a folder of pictures, some with captions, that quantization looks at. One loader for both halves: ranges
 * of the vision tower, activation statistics of the decoder. Knows files and pictures, no model.
 *
 *   DIR/NAME.jpg, .png …  or in DIR/images, DIR/Images where DIR has no pictures itself
 *   DIR/captions.tsv      or captions.txt: lines "image<TAB>caption" or "image,caption", the first of each picture counts;
 *                         "image#2" is the same picture (Flickr8k's token files); a caption may stand in double quotes
 */
#ifndef EYE_PACK_CALIBRATION_H
#define EYE_PACK_CALIBRATION_H

#include "base/base.h"
#include "eyelet/image.h"

#define EYE_CALIBRATION_DEFAULT 64u /* pictures */

struct eye_calibration_item {
    const char *path;
    const char *caption; /* "" = none */
};
struct eye_calibration {
    struct eye_arena arena;
    struct eye_calibration_item *item; /* in order of their file names; each was decoded once */
    size_t n, n_captions;
    size_t n_unreadable, unreadable_cap; /* skipped on the way */
    const char **unreadable;           /* [n_unreadable] why: each begins with its path */
    char first_unreadable[256];        /* why, of one of them; "" */
};

/* max_items 0 = EYE_CALIBRATION_DEFAULT. A folder that has more gives pictures spread evenly over its sorted names: the same
 * ones each time. IO: no such folder; ARG: no picture in it, or none that can be read. */
EYE_MUST_CHECK enum eye_status eye_calibration_open(struct eye_calibration *c, const char *dir, size_t max_items,
                                                    const struct eye_alloc *alloc, struct eye_err *err);
void eye_calibration_close(struct eye_calibration *c);
/* Picture i, decoded anew: a set of large photographs does not fit memory. Free it with eye_image_free. */
EYE_MUST_CHECK enum eye_status eye_calibration_image(const struct eye_calibration *c, size_t i, struct eye_image *img,
                                                     struct eye_err *err);

#endif
