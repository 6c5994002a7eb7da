/* image/encode: RGB8 pixels into the bytes of a picture file, without loss. */
#ifndef EYE_IMAGE_ENCODE_H
#define EYE_IMAGE_ENCODE_H

#include "base/base.h"

/* The ending of the names of such files: "png", or "ppm" in a build without libspng. */
const char *eye_image_encoding(void);
/* Appends the file of rgb [height][width][3] to out. Returns EYE_OK; ARG (a side outside 1 to 65535); NOMEM. */
EYE_MUST_CHECK enum eye_status eye_image_encode(const uint8_t *rgb, int width, int height, struct eye_buf *out,
                                                struct eye_err *err);

#endif
