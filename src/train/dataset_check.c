/* train/dataset_check: what is wrong with a data set that only its pictures and the whole of its captions show. See
 * eye_dataset_check in train.h.
 *
 * Nearly the same: both pictures are shrunk to 17 x 16 pixels. Their difference hashes (a bit for each of 256 steps to the
 * right that grows brighter by more than noise) differ in at most an eighth of the bits, and no pixel, once a difference in
 * overall brightness is taken off, differs by more than MAX_STEP. The hash is quick and blind to light; the pixels tell apart
 * flat scenes whose hashes are nearly empty. Finds other sizes, aspect ratios, qualities and formats; not crops or mirror
 * images. */
#include <stdlib.h>
#include <string.h>

#include "image/resize.h"
#include "train/dataset.h"

enum { THUMB_W = 17, THUMB_H = 16, HASH_WORDS = 4, NOISE = 4, MAX_BITS = 32, MAX_STEP = 12, BAND = 32 };

struct look { /* what is kept of a picture */
    uint8_t sha[EYE_SHA256_BYTES];
    uint64_t hash[HASH_WORDS];
    uint8_t thumb[THUMB_H * THUMB_W][3];
    int16_t mean[3];
    bool ok;
};

struct checker {
    const struct eye_dataset *set;
    const struct eye_data_check_opts *opts;
    struct eye_data_report *report;
    struct eye_pool *pool;
    struct look *look;       /* [n_images] */
    uint32_t *within;        /* [n_images] an earlier picture of the same split that is nearly the same, or EYE_NO_IMAGE */
    uint32_t *across;        /* [n_images] an earlier one of another split: the same or nearly */
    uint64_t *said;          /* [n_captions] hashes of captions, words only */
    uint32_t *group;         /* eye_dataset_group's result */
    struct eye_err err[BAND];
    size_t at;
};

/* ---- captions ---- */

/* The words of a text in lower case, a blank around each. */
static void words_of(const char *text, struct eye_buf *out) {
    bool in_word = false;
    out->len = 0;
    eye_buf_add(out, " ", 1);
    for (const uint8_t *p = (const uint8_t *)text; *p; p++) {
        uint8_t c = *p >= 'A' && *p <= 'Z' ? *p | 0x20 : *p;
        bool letter = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c >= 0x80;
        if (letter) eye_buf_add(out, &c, 1);
        if (!letter && in_word) eye_buf_add(out, " ", 1);
        in_word = letter;
    }
    if (in_word) eye_buf_add(out, " ", 1);
}

static const char *name_of(const struct eye_dataset *s, uint32_t image) {
    return image == EYE_NO_IMAGE ? "text" : s->image[image].name;
}

static int by_number(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static enum eye_status check_captions(struct checker *k, struct eye_err *err) {
    const struct eye_dataset *s = k->set;
    struct eye_buf answer, question;
    eye_buf_init(&answer, s->alloc);
    eye_buf_init(&question, s->alloc);
    for (size_t i = 0; i < s->n_captions && !answer.failed && !question.failed; i++) {
        const struct eye_data_caption *c = &s->caption[i];
        words_of(c->text, &answer);
        k->said[i] = eye_hash64(answer.p, answer.len, 0);
        if (!c->prompt || answer.failed || eye_count_words(answer.p) < 3) continue;
        words_of(c->prompt, &question);
        if (!question.failed && strstr(question.p, answer.p))
            eye_report_add(k->report, EYE_ISSUE_ANSWER_IN_QUESTION, "%s: %s", name_of(s, c->image), c->text);
    }
    for (size_t i = 0; i < s->n_images; i++) { /* sorted: equal ones are neighbours, two pictures' are merged easily */
        uint64_t *said = k->said + s->image[i].first;
        size_t n = s->image[i].n, n_plain = 0;
        for (size_t c = 0; c < n; c++) n_plain += s->caption[s->image[i].first + c].prompt == NULL;
        if (n) qsort(said, n, sizeof *said, by_number);
        for (size_t c = 1; c < n && n_plain == n; c++) /* two questions may well have one answer */
            if (said[c] == said[c - 1]) eye_report_add(k->report, EYE_ISSUE_CAPTION_TWICE, "%s", s->image[i].name);
    }
    bool failed = answer.failed || question.failed;
    eye_buf_clear(&question);
    eye_buf_clear(&answer);
    return failed ? eye_fail_nomem(err, EYE_CAPTION_MAX_BYTES) : EYE_OK;
}

/* Captions that both pictures have. */
static size_t shared_captions(const struct checker *k, uint32_t a, uint32_t b) {
    const struct eye_data_image *x = &k->set->image[a], *y = &k->set->image[b];
    size_t n = 0;
    for (uint32_t i = 0, j = 0; i < x->n && j < y->n;) {
        uint64_t p = k->said[x->first + i], q = k->said[y->first + j];
        n += p == q;
        i += p <= q;
        j += q <= p;
    }
    return n;
}

/* ---- pictures ---- */

static int brightness(const uint8_t p[3]) { return (299 * p[0] + 587 * p[1] + 114 * p[2] + 500) / 1000; }

static enum eye_status look_at(const struct eye_image *img, struct look *l, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    static const uint8_t black[3];
    int sum[3] = {0};
    EYE_TRY(eye_resize(img, eye_axis_plain(img->width, THUMB_W), eye_axis_plain(img->height, THUMB_H), black,
                       EYE_RESAMPLE_BILINEAR, l->thumb[0], (size_t)THUMB_W * 3, NULL, alloc, err));
    for (int y = 0; y < THUMB_H; y++)
        for (int x = 0; x < THUMB_W; x++) {
            uint8_t(*p)[3] = &l->thumb[y * THUMB_W + x];
            for (int c = 0; c < 3; c++) sum[c] += (*p)[c];
            if (x + 1 < THUMB_W && brightness(p[1]) > brightness(p[0]) + NOISE)
                l->hash[y / 4] |= (uint64_t)1 << (16 * (y % 4) + x);
        }
    for (int c = 0; c < 3; c++) l->mean[c] = (int16_t)(sum[c] / (THUMB_W * THUMB_H));
    l->ok = true;
    return EYE_OK;
}

static void look_task(void *ctx, int i_task, int i_thread) {
    struct checker *k = ctx;
    size_t i = k->at + (size_t)i_task;
    struct eye_err *err = &k->err[i_task];
    struct eye_map file;
    struct eye_image img = {0};
    struct eye_sha256 sha;
    (void)i_thread;
    *err = (struct eye_err){0};
    if (eye_map_open(&file, k->set->image[i].path, true, EYE_IMAGE_MAX_BYTES, err) != EYE_OK) return;
    eye_sha256_init(&sha);
    eye_sha256_add(&sha, file.p, file.size);
    eye_sha256_end(&sha, k->look[i].sha);
    if (eye_image_decode(file.p, file.size, NULL, &img, err) == EYE_OK &&
        look_at(&img, &k->look[i], k->set->alloc, err) == EYE_OK && img.n_warnings)
        err->code = EYE_E_CORRUPT; /* of a picture that is there: concealed damage */
    eye_image_free(&img);
    eye_map_close(&file);
}

static enum eye_status look_at_all(struct checker *k, struct eye_err *err) {
    const struct eye_dataset *s = k->set;
    for (k->at = 0; k->at < s->n_images; k->at += BAND) {
        size_t n = EYE_MIN((size_t)BAND, s->n_images - k->at);
        if (k->opts->cancel && k->opts->cancel(k->opts->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "stopped");
        eye_pool_run(k->pool, (int)n, look_task, k);
        for (size_t i = 0; i < n; i++) {
            const struct eye_data_image *image = &s->image[k->at + i];
            const struct eye_err *e = &k->err[i];
            if (e->code == EYE_E_NOMEM) return eye_fail(err, EYE_E_NOMEM, "%s: %s", image->path, e->text);
            if (k->look[k->at + i].ok && e->code)
                eye_report_add(k->report, EYE_ISSUE_IMAGE_DAMAGED, "%s", image->name);
            else if (e->code && !eye_path_exists(image->path))
                eye_report_add(k->report, EYE_ISSUE_IMAGE_MISSING, "%s", image->path);
            else if (e->code)
                eye_report_add(k->report, EYE_ISSUE_IMAGE_UNREADABLE, "%s: %s", image->name, e->text);
        }
        if (k->opts->progress) k->opts->progress(k->opts->progress_ctx, (double)(k->at + n) / (double)s->n_images);
    }
    return EYE_OK;
}

/* ---- duplicates ---- */

static bool splits_differ(const struct eye_dataset *s, size_t a, size_t b) {
    enum eye_split x = s->image[a].split, y = s->image[b].split;
    return x != y && x != EYE_SPLIT_NONE && y != EYE_SPLIT_NONE;
}

static void report_pair(struct checker *k, enum eye_data_issue issue, size_t a, size_t b) {
    const struct eye_data_image *x = &k->set->image[a], *y = &k->set->image[b];
    eye_report_add(k->report, issue, "%s (%s) and %s (%s)", x->name, eye_split_name(x->split), y->name,
                   eye_split_name(y->split));
}

/* Equal files. For each picture the first one of the same bytes is found, and the first of them in each split. */
static enum eye_status find_equal(struct checker *k, struct eye_err *err) {
    const struct eye_dataset *s = k->set;
    struct eye_strmap first[EYE_N_SPLITS];
    enum eye_status st = EYE_OK;
    for (int i = 0; i < EYE_N_SPLITS; i++) eye_strmap_init(&first[i], s->alloc);
    for (size_t i = 0; i < s->n_images && st == EYE_OK; i++) {
        const char *sha = (const char *)k->look[i].sha;
        bool there;
        if (!k->look[i].ok) continue;
        for (int split = 0; split < EYE_N_SPLITS; split++) {
            int32_t other = eye_strmap_get(&first[split], sha, EYE_SHA256_BYTES);
            if (other < 0) continue;
            bool differ = splits_differ(s, i, (size_t)other);
            if (differ) k->across[i] = (uint32_t)other;
            report_pair(k, differ ? EYE_ISSUE_DUPLICATE_ACROSS : EYE_ISSUE_DUPLICATE_WITHIN, (size_t)other, i);
        }
        st = eye_strmap_put(&first[s->image[i].split], sha, EYE_SHA256_BYTES, (int32_t)i, &there, err);
    }
    for (int i = 0; i < EYE_N_SPLITS; i++) eye_strmap_clear(&first[i]);
    return st;
}

static int bits(uint64_t v) { /* set bits, without asking for an instruction that not every CPU has */
    v -= v >> 1 & 0x5555555555555555u;
    v = (v & 0x3333333333333333u) + (v >> 2 & 0x3333333333333333u);
    return (int)(((v + (v >> 4)) & 0x0f0f0f0f0f0f0f0fu) * 0x0101010101010101u >> 56);
}

static bool nearly_equal(const struct look *a, const struct look *b) {
    int differing = 0;
    for (int i = 0; i < HASH_WORDS; i++) differing += bits(a->hash[i] ^ b->hash[i]);
    if (differing > MAX_BITS) return false;
    for (int i = 0; i < THUMB_W * THUMB_H; i++)
        for (int c = 0; c < 3; c++) {
            int step = a->thumb[i][c] - a->mean[c] - (b->thumb[i][c] - b->mean[c]);
            if (step > MAX_STEP || step < -MAX_STEP) return false;
        }
    return memcmp(a->sha, b->sha, sizeof a->sha) != 0; /* equal ones are counted as such */
}

/* Of picture at + i_task: the first earlier ones that look like it, in its own split and in another. */
static void near_task(void *ctx, int i_task, int i_thread) {
    struct checker *k = ctx;
    size_t i = k->at + (size_t)i_task;
    (void)i_thread;
    if (!k->look[i].ok) return;
    for (size_t j = 0; j < i; j++) {
        bool differ = splits_differ(k->set, i, j);
        uint32_t *slot = differ ? &k->across[i] : &k->within[i];
        if (*slot == EYE_NO_IMAGE && k->look[j].ok && nearly_equal(&k->look[i], &k->look[j])) *slot = (uint32_t)j;
    }
}

static enum eye_status find_near(struct checker *k, struct eye_err *err) {
    size_t n = k->set->n_images;
    for (k->at = 0; k->at < n; k->at += BAND) {
        if (k->opts->cancel && k->opts->cancel(k->opts->cancel_ctx)) return eye_fail(err, EYE_E_CANCELLED, "stopped");
        eye_pool_run(k->pool, (int)EYE_MIN((size_t)BAND, n - k->at), near_task, k);
    }
    for (size_t i = 0; i < n; i++) {
        if (k->within[i] != EYE_NO_IMAGE) report_pair(k, EYE_ISSUE_NEAR_WITHIN, k->within[i], i);
        if (k->across[i] == EYE_NO_IMAGE) continue;
        if (memcmp(k->look[i].sha, k->look[k->across[i]].sha, EYE_SHA256_BYTES) != 0)
            report_pair(k, EYE_ISSUE_NEAR_ACROSS, k->across[i], i);
        size_t shared = shared_captions(k, (uint32_t)i, k->across[i]);
        while (shared--) report_pair(k, EYE_ISSUE_LEAK, k->across[i], i);
    }
    return EYE_OK;
}

/* Looks at all pictures, then calls next, which may use k->look, k->within and k->across (all EYE_NO_IMAGE). */
static enum eye_status with_looks(struct checker *k, enum eye_status (*next)(struct checker *k, struct eye_err *err),
                                  struct eye_err *err) {
    size_t n = k->set->n_images, look_bytes = n * sizeof *k->look, index_bytes = 2 * n * sizeof *k->within;
    const struct eye_alloc *a = k->set->alloc;
    int n_threads = k->opts->n_threads > 0 ? k->opts->n_threads : eye_cpu_count();
    enum eye_status st;
    EYE_TRY(eye_pool_new(&k->pool, n_threads, a, err));
    k->look = eye_alloc_zero(a, look_bytes);
    k->within = eye_alloc_raw(a, index_bytes);
    st = k->look && k->within ? EYE_OK : eye_fail_nomem(err, look_bytes);
    if (st == EYE_OK) {
        memset(k->within, 0xff, index_bytes);
        k->across = k->within + n;
        st = look_at_all(k, err);
    }
    if (st == EYE_OK) st = next(k, err);
    eye_alloc_free(a, k->within, index_bytes);
    eye_alloc_free(a, k->look, look_bytes);
    eye_pool_free(k->pool);
    return st;
}

static enum eye_status check_images(struct checker *k, struct eye_err *err) {
    EYE_TRY(find_equal(k, err));
    return find_near(k, err);
}

enum eye_status eye_dataset_check(const struct eye_dataset *set, const struct eye_data_check_opts *opts,
                                  struct eye_data_report *report, struct eye_err *err) {
    static const struct eye_data_check_opts plain;
    struct checker k = {.set = set, .opts = opts ? opts : &plain, .report = report};
    size_t bytes = set->n_captions * sizeof *k.said;
    *report = set->report;
    k.said = eye_alloc_raw(set->alloc, bytes);
    if (!k.said) return eye_fail_nomem(err, bytes);
    enum eye_status st = check_captions(&k, err);
    if (st == EYE_OK && !k.opts->no_images && set->n_images) st = with_looks(&k, check_images, err);
    eye_alloc_free(set->alloc, k.said, bytes);
    return st;
}

/* ---- groups ---- */

static uint32_t leader(uint32_t *group, uint32_t i) {
    while (group[i] != i) i = group[i] = group[group[i]];
    return i;
}

/* A group's leader is its first picture. */
static enum eye_status join_alike(struct checker *k, struct eye_err *err) {
    uint32_t *group = k->group, n = (uint32_t)k->set->n_images;
    for (uint32_t i = 0; i < n; i++) {
        if (i % BAND == 0 && k->opts->cancel && k->opts->cancel(k->opts->cancel_ctx))
            return eye_fail(err, EYE_E_CANCELLED, "stopped");
        for (uint32_t j = 0; j < i && k->look[i].ok; j++) {
            uint32_t a = leader(group, i), b = leader(group, j);
            if (a == b || !k->look[j].ok) continue;
            bool equal = memcmp(k->look[i].sha, k->look[j].sha, EYE_SHA256_BYTES) == 0;
            if (equal || nearly_equal(&k->look[i], &k->look[j])) group[EYE_MAX(a, b)] = EYE_MIN(a, b);
        }
    }
    for (uint32_t i = 0; i < n; i++) group[i] = k->look[i].ok ? leader(group, i) : EYE_NO_IMAGE;
    return EYE_OK;
}

enum eye_status eye_dataset_group(const struct eye_dataset *set, const struct eye_data_check_opts *opts, uint32_t *group,
                                  struct eye_data_report *report, struct eye_err *err) {
    static const struct eye_data_check_opts plain;
    struct checker k = {.set = set, .opts = opts ? opts : &plain, .report = report, .group = group};
    for (size_t i = 0; i < set->n_images; i++) group[i] = (uint32_t)i;
    return with_looks(&k, join_alike, err);
}
