/* image/jpeg: JPEG to RGB8 through libjpeg-turbo with its defaults (accurate integer DCT, fancy upsampling), as Pillow uses it.
 *
 * Where libjpeg would rather show something, a caption engine must not: a file that ends early is an error here. libjpeg tells
 * us in three places: our source manager runs dry (no EOI), the entropy decoder warns that it hit a marker and fills the
 * rest with grey, or a progressive file ends before its scans are complete.
 *
 * CMYK: every four-component JPEG is taken as Adobe's inverted kind, as Pillow does, with its convert("RGB") arithmetic.
 *
 * Errors leave libjpeg by longjmp. decode() holds the only setjmp; all its state lives in struct reader, in the frame above,
 * so nothing it needs afterwards sits in a register. Callbacks own no resources when they jump. */
#include "image/decode.h"

#if EYE_HAVE_JPEG
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

enum { MAX_SCANS = 500, MARKER_EOI = 0xD9 };
/* Every scan of a progressive file visits all blocks, even if it has a handful of bytes: bounds the work of a scan bomb. */
#define MAX_SCAN_PIXELS ((uint64_t)4000000000)
/* A Huffman coded block of 64 pixels takes at least one bit. */
#define MAX_PIXELS_PER_BYTE 512

struct reader {
    struct jpeg_decompress_struct cinfo; /* first: callbacks get back here from cinfo */
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    jmp_buf escape;
    const struct eye_image_job *job;
    struct eye_image *img;
    struct eye_err *err;
    uint8_t *pixels;       /* img's memory, once allocated */
    uint8_t *cmyk;         /* one row, [width][4]; NULL unless needed */
    enum eye_status status; /* set by our own callbacks before they jump; OK = libjpeg's own error */
    bool ran_dry;          /* the source had no more bytes */
    bool starved;          /* the end was hit inside a scan's data, with rows of blocks to come */
    uint32_t starved_row;  /* MCU row where that was first seen */
    uint32_t seen;         /* bit i: component i had such a scan (files with several scans) */
    struct jpeg_progress_mgr progress;
};

static struct reader *reader_of(j_common_ptr cinfo) { return (struct reader *)cinfo->client_data; }

static void on_error(j_common_ptr cinfo) { longjmp(reader_of(cinfo)->escape, 1); }

static void on_text(j_common_ptr cinfo) { (void)cinfo; }

/* Does this scan carry what makes a picture, or only refine it? */
static bool scan_is_base(const struct jpeg_decompress_struct *c) { return !c->progressive_mode || (c->Ss == 0 && c->Ah == 0); }

static void on_message(j_common_ptr common, int level) {
    if (level >= 0) return; /* a trace */
    struct reader *r = reader_of(common);
    struct jpeg_decompress_struct *c = &r->cinfo;
    c->err->num_warnings++;
    if (c->err->msg_code != JWRN_HIT_MARKER || c->unread_marker != MARKER_EOI || r->starved) return;
    if (!r->ran_dry && !scan_is_base(c)) return;
    /* The end was met inside the entropy data. One missing row of blocks is what careless cameras and editors lose. */
    if (!r->ran_dry && c->input_iMCU_row + 1 >= c->total_iMCU_rows) return;
    r->starved = true;
    r->starved_row = c->input_iMCU_row;
}

static void on_progress(j_common_ptr common) {
    struct reader *r = reader_of(common);
    const struct jpeg_decompress_struct *c = &r->cinfo;
    /* Called before each row of blocks of each scan. */
    for (int i = 0; i < c->comps_in_scan && scan_is_base(c); i++) r->seen |= 1u << c->cur_comp_info[i]->component_index;
    uint64_t pixels = (uint64_t)c->image_width * c->image_height;
    uint64_t bound = EYE_MIN((uint64_t)MAX_SCANS, MAX_SCAN_PIXELS / pixels);
    if ((uint64_t)c->input_scan_number <= bound) return;
    r->status = eye_fail(r->err, EYE_E_LIMIT, "JPEG: more than %llu scans at %u x %u pixels (a decompression bomb?)",
                         (unsigned long long)bound, c->image_width, c->image_height);
    longjmp(r->escape, 1);
}

static void source_start(j_decompress_ptr cinfo) { (void)cinfo; }

/* All bytes were there from the start, so being asked for more means the file is cut. libjpeg gets an EOI to come to an end
 * with what it has; decode() decides whether that was everything. */
static boolean source_fill(j_decompress_ptr cinfo) {
    static const JOCTET eoi[2] = {0xFF, JPEG_EOI};
    reader_of((j_common_ptr)cinfo)->ran_dry = true;
    cinfo->src->next_input_byte = eoi;
    cinfo->src->bytes_in_buffer = sizeof eoi;
    return TRUE;
}

static void source_skip(j_decompress_ptr cinfo, long n) {
    if (n <= 0) return;
    if ((size_t)n > cinfo->src->bytes_in_buffer) {
        source_fill(cinfo);
        return;
    }
    cinfo->src->next_input_byte += n;
    cinfo->src->bytes_in_buffer -= (size_t)n;
}

static void read_orientation(struct reader *r) {
    for (jpeg_saved_marker_ptr m = r->cinfo.marker_list; m; m = m->next) {
        if (m->marker != JPEG_APP0 + 1 || m->data_length < 6 || memcmp(m->data, "Exif\0\0", 6) != 0) continue;
        r->img->orientation = eye_exif_orientation(m->data, m->data_length);
        return; /* the first one counts; later ones belong to previews */
    }
}

static enum eye_status bad_precision(struct reader *r) {
    return eye_fail(r->err, EYE_E_UNSUPPORTED, "JPEG: %d bits per sample, expected 8: convert it to an 8-bit JPEG or PNG",
                    r->cinfo.data_precision);
}

/* Bounds and memory, before libjpeg allocates anything of the picture's size. */
static enum eye_status prepare(struct reader *r) {
    struct jpeg_decompress_struct *c = &r->cinfo;
    if (c->num_components != 1 && c->num_components != 3 && c->num_components != 4)
        return eye_fail(r->err, EYE_E_UNSUPPORTED, "JPEG: %d colour components, expected 1 (grey), 3 (colour) or 4 (CMYK)",
                        c->num_components);
    if (c->data_precision != 8) return bad_precision(r);
    uint64_t pixels = (uint64_t)c->image_width * c->image_height;
    if (!c->arith_code && pixels / MAX_PIXELS_PER_BYTE > r->job->size && pixels <= r->job->max_pixels)
        return eye_fail(r->err, EYE_E_CORRUPT, "JPEG: %u x %u pixels cannot come out of %zu bytes (truncated?)", c->image_width,
                        c->image_height, r->job->size);
    EYE_TRY(eye_image_alloc(r->job, "JPEG", c->image_width, c->image_height, r->img, &r->pixels, r->err));
    bool cmyk = c->num_components == 4;
    if (cmyk) {
        r->cmyk = eye_alloc_raw(r->job->alloc, (size_t)c->image_width * 4);
        if (!r->cmyk) return eye_fail_nomem(r->err, (size_t)c->image_width * 4);
    }
    c->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    return EYE_OK;
}

/* x * y / 255, rounded: Pillow's MULDIV255. */
static unsigned mul_255(unsigned x, unsigned y) {
    unsigned t = x * y + 128;
    return ((t >> 8) + t) >> 8;
}

/* Stored inverted: a stored k is 255 - K. Pillow: out = (255 - K) - C * (255 - K) / 255. */
static void cmyk_row(const uint8_t *s, uint8_t *d, unsigned width) {
    for (unsigned x = 0; x < width; x++, s += 4, d += 3) {
        unsigned k = s[3];
        for (int i = 0; i < 3; i++) d[i] = (uint8_t)(k - mul_255(255u - s[i], k));
    }
}

static void read_rows(struct reader *r) {
    struct jpeg_decompress_struct *c = &r->cinfo;
    while (c->output_scanline < c->output_height && !r->starved) {
        uint8_t *row = r->pixels + (size_t)c->output_scanline * r->img->stride;
        JSAMPROW into = r->cmyk ? r->cmyk : row;
        if (jpeg_read_scanlines(c, &into, 1) != 1) break; /* only a suspending source does that */
        if (r->cmyk) cmyk_row(r->cmyk, row, c->output_width);
    }
}

/* A progressive picture is whole when every coefficient of every component has been sent to its last bit. */
static bool scans_complete(const struct jpeg_decompress_struct *c) {
    if (!c->progressive_mode || !c->coef_bits) return true;
    for (int i = 0; i < c->num_components; i++)
        for (int k = 0; k < DCTSIZE2; k++)
            if (c->coef_bits[i][k] != 0) return false;
    return true;
}

static enum eye_status check_whole(struct reader *r) {
    const struct jpeg_decompress_struct *c = &r->cinfo;
    if (r->starved) {
        unsigned rows = c->total_iMCU_rows ? c->total_iMCU_rows : 1;
        uint64_t at = (uint64_t)r->starved_row * c->image_height / rows;
        return eye_fail(r->err, EYE_E_CORRUPT, "JPEG: data ends at row %llu of %u (%llu %%) of scan %d: truncated file?",
                        (unsigned long long)at, c->image_height, (unsigned long long)(at * 100 / c->image_height),
                        c->input_scan_number);
    }
    /* The arithmetic decoder feeds itself zeros without a word. */
    if (r->ran_dry && (c->arith_code || !scans_complete(c)))
        return eye_fail(r->err, EYE_E_CORRUPT, "JPEG: data ends in scan %d, before the picture is complete: truncated file?",
                        c->input_scan_number);
    if (jpeg_has_multiple_scans(&r->cinfo) && r->seen + 1 != 1u << c->num_components)
        return eye_fail(r->err, EYE_E_CORRUPT, "JPEG: %d scans leave a colour component without data: truncated file?",
                        c->input_scan_number);
    return EYE_OK;
}

/* What libjpeg said, as one of our codes. */
static enum eye_status library_error(struct reader *r) {
    char text[JMSG_LENGTH_MAX];
    r->errors.format_message((j_common_ptr)&r->cinfo, text);
    switch (r->errors.msg_code) {
    case JERR_OUT_OF_MEMORY: return eye_fail(r->err, EYE_E_NOMEM, "JPEG: %s", text);
    case JERR_BAD_PRECISION: return bad_precision(r);
    case JERR_SOF_UNSUPPORTED:
    case JERR_ARITH_NOTIMPL:
    case JERR_NOT_COMPILED:
    case JERR_CONVERSION_NOTIMPL:
    case JERR_CCIR601_NOTIMPL:
    case JERR_FRACT_SAMPLE_NOTIMPL:
        return eye_fail(r->err, EYE_E_UNSUPPORTED, "JPEG: %s: convert it to a baseline JPEG or PNG", text);
    case JERR_IMAGE_TOO_BIG: return eye_fail(r->err, EYE_E_LIMIT, "JPEG: %s", text);
    default: return eye_fail(r->err, EYE_E_CORRUPT, "JPEG: %s%s", text, r->ran_dry ? " (truncated file?)" : "");
    }
}

static enum eye_status decode(struct reader *r) {
    struct jpeg_decompress_struct *c = &r->cinfo;
    if (setjmp(r->escape)) return r->status != EYE_OK ? r->status : library_error(r);
    jpeg_create_decompress(c);
    c->src = &r->source;
    c->progress = &r->progress;
    jpeg_save_markers(c, JPEG_APP0 + 1, 0xFFFF);
    jpeg_read_header(c, TRUE);
    read_orientation(r);
    EYE_TRY(prepare(r));
    jpeg_start_decompress(c);
    if (!r->starved) read_rows(r);
    EYE_TRY(check_whole(r));
    r->img->n_warnings = c->err->num_warnings > 1000000 ? 1000000 : (int)c->err->num_warnings;
    return EYE_OK;
}

enum eye_status eye_jpeg_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    struct reader r;
    memset(&r, 0, sizeof r);
    r.cinfo.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = on_error;
    r.errors.output_message = on_text;
    r.errors.emit_message = on_message;
    r.cinfo.client_data = &r;
    r.progress.progress_monitor = on_progress;
    r.source = (struct jpeg_source_mgr){job->p, job->size, source_start, source_fill, source_skip, jpeg_resync_to_restart,
                                        source_start};
    r.job = job;
    r.img = img;
    r.err = err;
    enum eye_status st = decode(&r);
    jpeg_destroy_decompress(&r.cinfo);
    if (r.cmyk) eye_alloc_free(job->alloc, r.cmyk, (size_t)img->width * 4);
    return st;
}

#else

enum eye_status eye_jpeg_decode(const struct eye_image_job *job, struct eye_image *img, struct eye_err *err) {
    return eye_fail(err, EYE_E_UNSUPPORTED,
                    "JPEG: eyelet was built without libjpeg: convert to PPM or BMP, or rebuild with -Djpeg=enabled");
}

#endif
