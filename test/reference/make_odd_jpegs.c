/* test/reference/make_odd_jpegs: JPEG variants that Pillow cannot write. make_image_fixtures.py compiles and runs it:
 *
 *     make_odd_jpegs FOLDER WIDTH HEIGHT < packed RGB
 *
 * Arithmetic coding (sequential and progressive), YCCK, colour in three separate scans, only the first scan of a progressive
 * picture, and two components, which is no picture. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

enum { MAX_BYTES = 3 << 16 };

struct source {
    const unsigned char *rgb;
    int width, height;
};

/* variant: 0 arithmetic, 1 arithmetic progressive, 2 YCCK, 3 separate scans, 4 DC scan only, 5 two components */
static void write_jpeg(const char *path, const struct source *s, int variant) {
    static const jpeg_scan_info separate[3] = {{1, {0}, 0, 63, 0, 0}, {1, {1}, 0, 63, 0, 0}, {1, {2}, 0, 63, 0, 0}};
    static const jpeg_scan_info dc_only[1] = {{3, {0, 1, 2}, 0, 0, 0, 0}};
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    FILE *f = fopen(path, "wb");
    if (!f) exit(1);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_stdio_dest(&c, f);
    c.image_width = (JDIMENSION)s->width;
    c.image_height = (JDIMENSION)s->height;
    c.input_components = variant == 2 ? 4 : variant == 5 ? 2 : 3;
    c.in_color_space = variant == 2 ? JCS_CMYK : variant == 5 ? JCS_UNKNOWN : JCS_RGB;
    jpeg_set_defaults(&c);
    if (variant == 2) jpeg_set_colorspace(&c, JCS_YCCK);
    jpeg_set_quality(&c, 70, TRUE);
    c.arith_code = variant <= 1;
    if (variant == 1) jpeg_simple_progression(&c);
    if (variant == 3) {
        c.scan_info = separate;
        c.num_scans = 3;
    }
    if (variant == 4) {
        c.scan_info = dc_only;
        c.num_scans = 1;
    }
    jpeg_start_compress(&c, TRUE);
    for (int y = 0; y < s->height; y++) {
        unsigned char row[4 * 4096];
        for (int x = 0; x < s->width; x++)
            for (int k = 0; k < c.input_components; k++)
                row[x * c.input_components + k] = k < 3 ? s->rgb[(y * s->width + x) * 3 + k] : (unsigned char)(255 - x);
        JSAMPROW rows[1] = {row};
        jpeg_write_scanlines(&c, rows, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    fclose(f);
}

int main(int argc, char **argv) {
    static const char *const names[] = {"jpeg_arithmetic.jpg", "jpeg_arithmetic_progressive.jpg", "jpeg_ycck.jpg",
                                        "jpeg_separate_scans.jpg", "jpeg_dc_only.jpg", "jpeg_two_components.jpg"};
    static unsigned char rgb[MAX_BYTES];
    if (argc != 4) return 2;
    struct source s = {rgb, atoi(argv[2]), atoi(argv[3])};
    if (s.width < 1 || s.height < 1 || s.width > 4096 || s.width * s.height * 3 > MAX_BYTES) return 2;
    if (fread(rgb, 1, (size_t)(s.width * s.height * 3), stdin) != (size_t)(s.width * s.height * 3)) return 1;
    for (int i = 0; i < 6; i++) {
        char path[4096];
        if (snprintf(path, sizeof path, "%s/%s", argv[1], names[i]) >= (int)sizeof path) return 2;
        write_jpeg(path, &s, i);
    }
    return 0;
}
