/* Fuzz target: a picture file of any format, EXIF blocks, and preprocessing of whatever was decoded.
 * Corpus: test/golden/image. */
#include <stdlib.h>

#include "image/decode.h"
#include "image/preproc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every pixel: a picture that is not all there is found by the sanitizers. */
static unsigned touch(const struct eye_image *img) {
    unsigned sum = 0;
    for (int y = 0; y < img->height; y++)
        for (int x = 0; x < img->width * 3; x++) sum += img->rgb[(size_t)y * img->stride + (size_t)x];
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct eye_image_opts opts = {.max_pixels = 1 << 16, .max_bytes = 1 << 20};
    struct eye_image img;
    struct eye_err err = {0};
    int orientation = eye_exif_orientation(data, size);
    if (orientation < 1 || orientation > 8) abort();
    if (eye_image_decode(data, size, &opts, &img, &err) != EYE_OK) {
        if (img.rgb || err.text[0] == 0) abort();
        return 0;
    }
    if (img.width < 1 || img.height < 1 || (int64_t)img.width * img.height > 1 << 16) abort();
    if (touch(&img) > 255u * 3 * (1 << 16)) abort();
    uint8_t out[24 * 24 * 3];
    struct eye_preproc pp = {24, 24, (enum eye_preproc_mode)(size % 3), (enum eye_resample)(size / 3 % 2), {1, 2, 3}, {0}, {0}};
    if (eye_preproc_u8(&pp, &img, out, NULL, NULL, NULL, &err) != EYE_OK) abort();
    eye_image_free(&img);
    return 0;
}
