/* What the tests of image/ share: the pictures that test/reference/make_image_fixtures.py draws, its golden.txt, checksums. */
#ifndef EYE_TEST_IMAGE_GOLDEN_H
#define EYE_TEST_IMAGE_GOLDEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image/decode.h"

#define GOLDEN TEST_DATA "/golden/image/"

/* zlib's CRC-32, as golden.txt has it. */
static inline uint32_t crc_add(uint32_t crc, const void *p, size_t n) {
    const uint8_t *b = p;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= b[i];
        for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (0xEDB88320u & (0u - (crc & 1)));
    }
    return ~crc;
}

static inline uint32_t crc_image(const struct eye_image *img) {
    uint32_t crc = 0;
    for (int y = 0; y < img->height; y++) crc = crc_add(crc, img->rgb + (size_t)y * img->stride, (size_t)img->width * 3);
    return crc;
}

/* The formula of make_image_fixtures.py. */
static inline uint8_t *draw(int w, int h) {
    uint8_t *p = malloc((size_t)w * (size_t)h * 3), *d = p;
    assert_non_null(p);
    for (uint64_t y = 0; y < (uint64_t)h; y++) {
        for (uint64_t x = 0; x < (uint64_t)w; x++) {
            uint64_t smooth[3] = {x * 255 / (uint64_t)EYE_MAX(w - 1, 1), y * 255 / (uint64_t)EYE_MAX(h - 1, 1),
                                  ((x / 8 + y / 8) & 1) * 255};
            for (uint64_t c = 0; c < 3; c++) {
                uint64_t n = (x * 73856093 ^ y * 19349663 ^ (c + 1) * 83492791) & 0xFFFFFFFF;
                n = (n * 2654435761 & 0xFFFFFFFF) >> 24;
                *d++ = (uint8_t)((smooth[c] * 3 + n) / 4);
            }
        }
    }
    return p;
}

static inline struct eye_image drawn(int w, int h) {
    struct eye_image img;
    uint8_t *p = draw(w, h);
    assert_int_equal(eye_image_wrap(&img, p, w, h, 0, NULL), EYE_OK);
    return img;
}

static inline void forget(struct eye_image *img) {
    free((void *)(uintptr_t)img->rgb);
    eye_image_free(img);
}

/* Calls fn for each line of golden.txt that begins with word; returns how many there were. */
static inline int each_golden(const char *word, void (*fn)(const char *line)) {
    FILE *f = fopen(GOLDEN "golden.txt", "r");
    assert_non_null(f);
    char line[256];
    int n = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, word, strlen(word)) != 0 || line[strlen(word)] != ' ') continue;
        fn(line + strlen(word) + 1);
        n++;
    }
    fclose(f);
    return n;
}

#endif
