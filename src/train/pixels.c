/* train/pixels: making, checking and mapping the pixel cache; see pixels.h for its layout. */
#include "train/pixels.h"

#include <string.h>

#include "eyelet/image.h"

enum { HEADER_BYTES = 56, PIXELS_AT = 4096, CHUNK = 64, VERSION = 1 };
static const char magic[8] = "EYEPIXEL";

static void put_le(uint8_t *p, uint64_t v, int n) {
    for (int i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}
static uint64_t get_le(const uint8_t *p, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

/* ---- the key ---- */

static void hash_u64(struct eye_sha256 *h, uint64_t v) {
    uint8_t b[8];
    put_le(b, v, 8);
    eye_sha256_add(h, b, sizeof b);
}

/* Means and deviations are not in it: pixels are stored before they are normalised. */
static void make_key(const struct eye_dataset *set, const struct eye_preproc *pp, uint8_t key[EYE_SHA256_BYTES]) {
    struct eye_sha256 h;
    eye_sha256_init(&h);
    hash_u64(&h, (uint64_t)pp->width);
    hash_u64(&h, (uint64_t)pp->mode);
    hash_u64(&h, (uint64_t)pp->resample);
    if (pp->mode == EYE_PREPROC_PAD) eye_sha256_add(&h, pp->fill, sizeof pp->fill);
    hash_u64(&h, set->n_images);
    for (size_t i = 0; i < set->n_images; i++) {
        uint64_t size = UINT64_MAX;
        int64_t mtime_ns = 0;
        eye_sha256_add(&h, set->image[i].name, strlen(set->image[i].name) + 1);
        (void)eye_path_stamp(set->image[i].path, &size, &mtime_ns); /* a missing file keeps the size that none has */
        hash_u64(&h, size);
        hash_u64(&h, (uint64_t)mtime_ns);
    }
    eye_sha256_end(&h, key);
}

/* ---- making ---- */

struct maker {
    const struct eye_dataset *set;
    const struct eye_pixels_opts *opts;
    struct eye_data_report *report;
    struct eye_writer w;
    uint64_t check;      /* running hash of header, flags and hashes */
    size_t picture_bytes, n_bad;
    size_t at;           /* first picture of the chunk */
    uint8_t *pixels;     /* [CHUNK][picture_bytes] */
    struct eye_err *err; /* [CHUNK] code OK = there */
    uint8_t *flag;       /* [n] */
    uint8_t *hash;       /* [n] u64, little-endian */
};

static void make_one(void *ctx, int i_task, int i_thread) {
    struct maker *m = ctx;
    size_t i = m->at + (size_t)i_task;
    uint8_t *out = m->pixels + (size_t)i_task * m->picture_bytes;
    struct eye_err *err = &m->err[i_task];
    struct eye_image img = {0};
    (void)i_thread;
    *err = (struct eye_err){0};
    if (eye_image_load(m->set->image[i].path, NULL, &img, err) != EYE_OK ||
        eye_preproc_u8(&m->opts->pp, &img, out, NULL, NULL, m->set->alloc, err) != EYE_OK)
        memset(out, 0, m->picture_bytes);
    eye_image_free(&img);
    m->flag[i] = err->code == EYE_OK;
    put_le(m->hash + 8 * i, eye_hash64(out, m->picture_bytes, 0), 8);
}

static enum eye_status make_chunk(struct maker *m, size_t n, struct eye_err *err) {
    if (m->opts->pool)
        eye_pool_run(m->opts->pool, (int)n, make_one, m);
    else
        for (size_t i = 0; i < n; i++) make_one(m, (int)i, 0);
    for (size_t i = 0; i < n; i++) {
        const char *path = m->set->image[m->at + i].path;
        if (m->err[i].code == EYE_OK) continue;
        if (m->err[i].code == EYE_E_NOMEM) return eye_fail(err, EYE_E_NOMEM, "%s", m->err[i].text);
        eye_report_add(m->report, eye_path_exists(path) ? EYE_ISSUE_IMAGE_UNREADABLE : EYE_ISSUE_IMAGE_MISSING, "%s",
                       m->err[i].text);
        m->n_bad++;
    }
    return eye_writer_put(&m->w, m->pixels, n * m->picture_bytes, err);
}

static enum eye_status write_cache(struct maker *m, const char *path, struct eye_err *err) {
    uint8_t head[HEADER_BYTES] = {0}, tail[8];
    size_t n = m->set->n_images;
    memcpy(head, magic, sizeof magic);
    put_le(head + 8, VERSION, 4);
    put_le(head + 12, (uint64_t)m->opts->pp.width, 4);
    put_le(head + 16, n, 8);
    make_key(m->set, &m->opts->pp, head + 24);
    EYE_TRY(eye_writer_put(&m->w, head, sizeof head, err));
    EYE_TRY(eye_writer_pad(&m->w, PIXELS_AT, err));
    for (m->at = 0; m->at < n; m->at += CHUNK) {
        if (m->opts->cancel && m->opts->cancel(m->opts->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "%s: stopped", path);
        EYE_TRY(make_chunk(m, EYE_MIN((size_t)CHUNK, n - m->at), err));
        if (m->opts->progress) m->opts->progress(m->opts->progress_ctx, (double)EYE_MIN(m->at + CHUNK, n) / (double)n);
    }
    if (m->n_bad == n) return eye_fail(err, EYE_E_IO, "%s: none of %zu pictures can be read: %s", path, n, m->err[0].text);
    put_le(tail, eye_hash64(m->hash, 8 * n, eye_hash64(m->flag, n, eye_hash64(head, sizeof head, 0))), 8);
    EYE_TRY(eye_writer_put(&m->w, m->flag, n, err));
    EYE_TRY(eye_writer_put(&m->w, m->hash, 8 * n, err));
    EYE_TRY(eye_writer_put(&m->w, tail, sizeof tail, err));
    return eye_writer_commit(&m->w, err);
}

/* A cache may be replaced, another file may not. */
static enum eye_status check_target(const char *path, struct eye_err *err) {
    struct eye_map m;
    if (!eye_path_exists(path)) return EYE_OK;
    EYE_TRY(eye_map_open(&m, path, true, 0, err));
    bool ours = m.size == 0 || (m.size >= sizeof magic && memcmp(m.p, magic, sizeof magic) == 0);
    eye_map_close(&m);
    return ours ? EYE_OK : eye_fail(err, EYE_E_ARG, "%s: is no pixel cache and will not be replaced by one", path);
}

enum eye_status eye_pixels_make(const char *path, const struct eye_dataset *set, const struct eye_pixels_opts *opts,
                                struct eye_data_report *report, struct eye_err *err) {
    struct maker m = {.set = set, .opts = opts, .report = report};
    size_t n = set->n_images, side = (size_t)opts->pp.width;
    enum eye_status st = EYE_OK;
    if (!n) return eye_fail(err, EYE_E_ARG, "%s: the data set has no pictures", path);
    if (opts->pp.width != opts->pp.height || opts->pp.width < 1 || opts->pp.width > EYE_PREPROC_MAX_SIDE)
        return eye_fail(err, EYE_E_ARG, "%s: pictures of %d x %d: expected squares", path, opts->pp.width, opts->pp.height);
    m.picture_bytes = side * side * 3;
    size_t chunk_bytes = EYE_MIN((size_t)CHUNK, n) * m.picture_bytes;
    EYE_TRY(check_target(path, err));
    eye_sweep_unfinished(path);
    EYE_TRY(eye_writer_open(&m.w, path, err));
    m.pixels = eye_alloc_raw(set->alloc, chunk_bytes);
    m.err = eye_alloc_zero(set->alloc, CHUNK * sizeof *m.err);
    m.flag = eye_alloc_zero(set->alloc, n);
    m.hash = eye_alloc_zero(set->alloc, 8 * n);
    if (m.pixels && m.err && m.flag && m.hash)
        st = write_cache(&m, path, err);
    else
        st = eye_fail_nomem(err, chunk_bytes);
    eye_alloc_free(set->alloc, m.hash, 8 * n);
    eye_alloc_free(set->alloc, m.flag, n);
    eye_alloc_free(set->alloc, m.err, CHUNK * sizeof *m.err);
    eye_alloc_free(set->alloc, m.pixels, chunk_bytes);
    eye_writer_abort(&m.w);
    return st;
}

/* ---- opening ---- */

static enum eye_status parse(const char *path, struct eye_pixels *px, struct eye_err *err) {
    const uint8_t *p = px->map.p;
    size_t size = px->map.size, picture, pixels, need;
    if (size < PIXELS_AT || memcmp(p, magic, sizeof magic) != 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: expected a pixel cache, got %zu other bytes", path, size);
    uint64_t version = get_le(p + 8, 4), side = get_le(p + 12, 4), n = get_le(p + 16, 8);
    if (version != VERSION)
        return eye_fail(err, EYE_E_CORRUPT, "%s: version %llu, expected %d", path, (unsigned long long)version, VERSION);
    if (side < 1 || side > EYE_PREPROC_MAX_SIDE || n < 1 || n > size)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %llu pictures of side %llu", path, (unsigned long long)n,
                        (unsigned long long)side);
    picture = (size_t)(side * side) * 3;
    if (!eye_mul_ok((size_t)n, picture, &pixels) || !eye_add_ok(pixels, PIXELS_AT + 9 * (size_t)n + 8, &need) || need != size)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes do not fit %llu pictures of side %llu (cut off?)", path, size,
                        (unsigned long long)n, (unsigned long long)side);
    px->side = (int)side;
    px->n = (size_t)n;
    px->rgb = p + PIXELS_AT;
    px->have = px->rgb + pixels;
    const uint8_t *hash = px->have + n, *tail = hash + 8 * n;
    if (get_le(tail, 8) != eye_hash64(hash, 8 * px->n, eye_hash64(px->have, px->n, eye_hash64(p, HEADER_BYTES, 0))))
        return eye_fail(err, EYE_E_CORRUPT, "%s: its checksum does not hold: make it anew", path);
    return EYE_OK;
}

enum eye_status eye_pixels_open(const char *path, const struct eye_dataset *set, const struct eye_preproc *pp,
                                struct eye_pixels *out, struct eye_err *err) {
    struct eye_pixels px = {0};
    uint8_t key[EYE_SHA256_BYTES];
    EYE_TRY(eye_map_open(&px.map, path, true, 0, err));
    enum eye_status st = parse(path, &px, err);
    if (st == EYE_OK && set) {
        make_key(set, pp, key);
        if (px.n != set->n_images || memcmp(key, px.map.p + 24, sizeof key) != 0)
            st = eye_fail(err, EYE_E_ARG, "%s: made from other pictures or with other preprocessing: make it anew", path);
    }
    if (st == EYE_OK)
        *out = px;
    else
        eye_map_close(&px.map);
    return st;
}

void eye_pixels_close(struct eye_pixels *px) {
    if (px->map.path) eye_map_close(&px->map);
    eye_pages_free(px->owned, px->owned_bytes);
    *px = (struct eye_pixels){0};
}

enum eye_status eye_pixels_ensure(const char *path, const struct eye_dataset *set, const struct eye_pixels_opts *opts,
                                  struct eye_pixels *px, bool *made, struct eye_data_report *report, struct eye_err *err) {
    struct eye_err why = {0};
    enum eye_status st = eye_path_exists(path) ? eye_pixels_open(path, set, &opts->pp, px, &why) : EYE_E_IO;
    *made = st != EYE_OK;
    if (st == EYE_OK) return EYE_OK;
    EYE_TRY(eye_pixels_make(path, set, opts, report, err));
    return eye_pixels_open(path, set, &opts->pp, px, err);
}

uint64_t eye_pixels_hash(const struct eye_pixels *px, uint64_t seed) {
    if (px->map.p) return eye_hash64(px->map.p, HEADER_BYTES, seed); /* holds the key */
    return eye_hash64(px->rgb, px->n * (size_t)px->side * (size_t)px->side * 3, seed);
}

enum eye_status eye_pixels_verify(const struct eye_pixels *px, const char *path, struct eye_err *err) {
    size_t picture = (size_t)px->side * (size_t)px->side * 3;
    const uint8_t *hash = px->have + px->n;
    for (size_t i = 0; i < px->n; i++)
        if (get_le(hash + 8 * i, 8) != eye_hash64(eye_pixels_at(px, i), picture, 0))
            return eye_fail(err, EYE_E_CORRUPT, "%s: the pixels of picture %zu have changed: make it anew", path, i);
    return EYE_OK;
}

/* ---- the public call ---- */

static enum eye_preproc_mode mode_of(enum eye_fit fit) {
    return fit == EYE_FIT_PAD ? EYE_PREPROC_PAD : fit == EYE_FIT_STRETCH ? EYE_PREPROC_SQUASH : EYE_PREPROC_CROP;
}

enum eye_status eye_pixel_cache(const char *path, const struct eye_dataset *set, const struct eye_pixel_cache_opts *opts,
                                struct eye_pixel_cache_result *result, struct eye_data_report *report, struct eye_err *err) {
    static const struct eye_pixel_cache_opts plain;
    struct eye_data_report unread = {0};
    struct eye_pixels px;
    if (!opts) opts = &plain;
    int side = opts->side ? opts->side : 224, n_threads = opts->n_threads > 0 ? opts->n_threads : eye_cpu_count();
    struct eye_pixels_opts o = {
        .pp = {.width = side, .height = side, .mode = mode_of(opts->fit), .resample = (enum eye_resample)opts->resample,
               .fill = {opts->pad[0], opts->pad[1], opts->pad[2]}},
        .progress = opts->progress, .progress_ctx = opts->progress_ctx, .cancel = opts->cancel, .cancel_ctx = opts->cancel_ctx};
    if (opts->resample < 0 || opts->resample > EYE_RESAMPLE_LANCZOS)
        return eye_fail(err, EYE_E_ARG, "resampling %d, expected 0 to %d", opts->resample, EYE_RESAMPLE_LANCZOS);
    EYE_TRY(eye_pool_new(&o.pool, n_threads, set->alloc, err));
    *result = (struct eye_pixel_cache_result){0};
    enum eye_status st = eye_pixels_ensure(path, set, &o, &px, &result->made, report ? report : &unread, err);
    eye_pool_free(o.pool);
    if (st != EYE_OK) return st;
    if (!result->made) st = eye_pixels_verify(&px, path, err);
    result->n_images = px.n;
    result->bytes = px.map.size;
    for (size_t i = 0; i < px.n; i++) result->n_unreadable += !px.have[i];
    eye_pixels_close(&px);
    return st;
}
