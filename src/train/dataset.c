/* train/dataset: the container that readers fill; see dataset.h. Opening files is dataset_open.c's work. */
#include "train/dataset.h"

#include <stdio.h>
#include <string.h>

#include "text/unicode.h"

/* ---- names ---- */

const char *eye_data_format_name(enum eye_data_format f) {
    static const char *const names[EYE_DATA_N_FORMATS] = {"auto", "coco", "karpathy", "flickr", "csv",
                                                          "llava", "tsv", "text", "images"};
    return (unsigned)f < EYE_DATA_N_FORMATS ? names[f] : "?";
}

const char *eye_split_name(enum eye_split s) {
    static const char *const names[EYE_N_SPLITS] = {"none", "train", "dev", "test"};
    return (unsigned)s < EYE_N_SPLITS ? names[s] : "?";
}

bool eye_split_parse(const char *name, size_t len, enum eye_split *split) {
    /* restval: pictures of COCO's validation half that Karpathy's split uses for training */
    static const struct { const char *name; enum eye_split split; } known[] = {
        {"train", EYE_SPLIT_TRAIN}, {"restval", EYE_SPLIT_TRAIN}, {"dev", EYE_SPLIT_DEV},   {"val", EYE_SPLIT_DEV},
        {"valid", EYE_SPLIT_DEV},   {"validation", EYE_SPLIT_DEV}, {"test", EYE_SPLIT_TEST},
    };
    for (size_t i = 0; i < EYE_COUNT(known); i++)
        if (strlen(known[i].name) == len && memcmp(known[i].name, name, len) == 0) {
            *split = known[i].split;
            return true;
        }
    return false;
}

static const struct { const char *name, *text; enum eye_data_severity severity; } issues[EYE_N_ISSUES] = {
    [EYE_ISSUE_BAD_ITEM] = {"bad_item", "entries that lack what they must have", EYE_DATA_ERROR},
    [EYE_ISSUE_CAPTION_WITHOUT_IMAGE] = {"caption_without_image", "captions of pictures that are not listed", EYE_DATA_ERROR},
    [EYE_ISSUE_CAPTION_EMPTY] = {"caption_empty", "empty captions", EYE_DATA_ERROR},
    [EYE_ISSUE_CAPTION_LONG] = {"caption_long", "overlong captions", EYE_DATA_WARNING},
    [EYE_ISSUE_ENCODING] = {"encoding", "texts with a wrong encoding", EYE_DATA_ERROR},
    [EYE_ISSUE_SPLIT_UNKNOWN] = {"split_unknown", "names in split lists without a picture", EYE_DATA_WARNING},
    [EYE_ISSUE_IMAGE_WITHOUT_SPLIT] = {"image_without_split", "pictures in no split", EYE_DATA_WARNING},
    [EYE_ISSUE_IMAGE_WITHOUT_CAPTION] = {"image_without_caption", "pictures without a caption", EYE_DATA_WARNING},
    [EYE_ISSUE_IMAGE_MISSING] = {"image_missing", "missing pictures", EYE_DATA_ERROR},
    [EYE_ISSUE_IMAGE_UNREADABLE] = {"image_unreadable", "unreadable pictures", EYE_DATA_ERROR},
    [EYE_ISSUE_IMAGE_DAMAGED] = {"image_damaged", "pictures with concealed damage", EYE_DATA_WARNING},
    [EYE_ISSUE_DUPLICATE_ACROSS] = {"duplicate_across", "the same picture in two splits", EYE_DATA_ERROR},
    [EYE_ISSUE_NEAR_ACROSS] = {"near_duplicate_across", "nearly the same picture in two splits", EYE_DATA_ERROR},
    [EYE_ISSUE_DUPLICATE_WITHIN] = {"duplicate_within", "the same picture twice in a split", EYE_DATA_WARNING},
    [EYE_ISSUE_NEAR_WITHIN] = {"near_duplicate_within", "nearly the same picture twice in a split", EYE_DATA_WARNING},
    [EYE_ISSUE_LEAK] = {"leak", "captions that leak from one split into another with their picture", EYE_DATA_ERROR},
    [EYE_ISSUE_ANSWER_IN_QUESTION] = {"answer_in_question", "answers that stand in their question", EYE_DATA_ERROR},
    [EYE_ISSUE_CAPTION_TWICE] = {"caption_twice", "captions that a picture has twice", EYE_DATA_WARNING},
};
const char *eye_data_issue_name(enum eye_data_issue i) { return issues[i].name; }
const char *eye_data_issue_text(enum eye_data_issue i) { return issues[i].text; }
enum eye_data_severity eye_data_issue_severity(enum eye_data_issue i) { return issues[i].severity; }

/* Cuts s [cap] at its last whole character and makes it one line. */
static void tidy_example(char *s, size_t cap) {
    size_t n = strnlen(s, cap - 1);
    n = eye_utf8_valid((const uint8_t *)s, n);
    s[n] = '\0';
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f) *s = ' ';
}

void eye_report_add(struct eye_data_report *r, enum eye_data_issue issue, const char *fmt, ...) {
    struct eye_data_row *row = &r->row[issue];
    if (row->n < EYE_DATA_N_EXAMPLES) {
        va_list ap;
        va_start(ap, fmt);
        vsnprintf(row->example[row->n], sizeof row->example[0], fmt, ap);
        va_end(ap);
        tidy_example(row->example[row->n], sizeof row->example[0]);
    }
    row->n++;
}

/* ---- filling ---- */

enum eye_status eye_dataset_new(const struct eye_dataset_opts *opts, struct eye_dataset **out, struct eye_err *err) {
    static const struct eye_dataset_opts plain;
    if (!opts) opts = &plain;
    struct eye_dataset *s = eye_alloc_zero(opts->alloc, sizeof *s);
    if (!s) return eye_fail_nomem(err, sizeof *s);
    s->alloc = opts->alloc;
    s->opts = *opts;
    if (s->opts.max_words <= 0) s->opts.max_words = 100;
    eye_arena_init(&s->strings, s->alloc);
    eye_strmap_init(&s->by_name, s->alloc);
    *out = s;
    return EYE_OK;
}

void eye_dataset_close(struct eye_dataset *s) {
    if (!s) return;
    eye_alloc_free(s->alloc, s->image, s->image_cap * sizeof *s->image);
    eye_alloc_free(s->alloc, s->caption, s->caption_cap * sizeof *s->caption);
    eye_strmap_clear(&s->by_name);
    eye_arena_clear(&s->strings);
    eye_alloc_free(s->alloc, s, sizeof *s);
}

/* The text in the set's memory; UTF-8 repaired, blanks at the ends cut, control characters made blanks. *repaired: it was not
 * UTF-8 (now or once: U+FFFD), or it was read as Latin-1 and written as UTF-8 again (C3 83 or C3 82, then C2 80..BF). */
static enum eye_status keep_text(struct eye_dataset *s, const char *p, size_t n, const char **out, bool *repaired,
                                 struct eye_err *err) {
    while (n && (uint8_t)p[n - 1] <= ' ') n--;
    while (n && (uint8_t)*p <= ' ') p++, n--;
    size_t valid = eye_utf8_valid((const uint8_t *)p, n);
    struct eye_buf fixed;
    *repaired = valid < n;
    eye_buf_init(&fixed, s->alloc);
    if (valid < n) {
        eye_utf8_lossy((const uint8_t *)p, n, &fixed);
        p = fixed.p;
        n = fixed.len;
    }
    for (size_t i = 0; !*repaired && i + 2 < n; i++)
        *repaired = memcmp(p + i, "\xEF\xBF\xBD", 3) == 0 ||
                    ((uint8_t)p[i] == 0xC3 && ((uint8_t)p[i + 1] | 1) == 0x83 && (uint8_t)p[i + 2] == 0xC2);
    char *copy = fixed.failed ? NULL : eye_arena_strdup(&s->strings, p, n);
    eye_buf_clear(&fixed);
    if (!copy) return eye_fail_nomem(err, n);
    for (size_t i = 0; i < n; i++)
        if ((uint8_t)copy[i] < ' ') copy[i] = ' ';
    *out = copy;
    return EYE_OK;
}

enum eye_status eye_dataset_add_image(const struct eye_list *list, const char *name, size_t len, enum eye_split split,
                                      uint32_t *index, struct eye_err *err) {
    struct eye_dataset *s = list->set;
    bool was_there;
    int32_t found = eye_strmap_get(&s->by_name, name, len);
    if (found >= 0) {
        if (split != EYE_SPLIT_NONE) s->image[found].split = split;
        *index = (uint32_t)found;
        return EYE_OK;
    }
    if (s->n_images >= INT32_MAX) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d pictures", list->where, INT32_MAX);
    void *p = s->image;
    enum eye_status st = eye_alloc_grow(s->alloc, &p, &s->image_cap, s->n_images + 1, sizeof *s->image, err);
    s->image = p;
    EYE_TRY(st);
    const char *kept = eye_arena_strdup(&s->strings, name, len);
    if (!kept) return eye_fail_nomem(err, len);
    const char *path = kept;
    if (*name != '/' && list->folder && !(path = eye_arena_printf(&s->strings, "%s/%s", list->folder, kept)))
        return eye_fail_nomem(err, len);
    EYE_TRY(eye_strmap_put(&s->by_name, kept, len, (int32_t)s->n_images, &was_there, err));
    *index = (uint32_t)s->n_images;
    s->image[s->n_images++] = (struct eye_data_image){.name = kept, .path = path, .split = split};
    return EYE_OK;
}

static const char *image_name(const struct eye_dataset *s, uint32_t image) {
    return image == EYE_NO_IMAGE ? "text" : s->image[image].name;
}

enum eye_status eye_dataset_add_caption(const struct eye_list *list, const struct eye_new_caption *c, bool *added,
                                        struct eye_err *err) {
    struct eye_dataset *s = list->set;
    const char *text, *prompt = NULL;
    bool bad, bad_prompt = false;
    *added = false;
    if (c->n_text > EYE_CAPTION_MAX_BYTES || c->n_prompt > EYE_CAPTION_MAX_BYTES) {
        eye_report_add(&s->report, EYE_ISSUE_CAPTION_LONG, "%s: %zu bytes, at most %zu are taken", image_name(s, c->image),
                       EYE_MAX(c->n_text, c->n_prompt), EYE_CAPTION_MAX_BYTES);
        return EYE_OK;
    }
    EYE_TRY(keep_text(s, c->text, c->n_text, &text, &bad, err));
    if (!*text) {
        eye_report_add(&s->report, EYE_ISSUE_CAPTION_EMPTY, "%s", image_name(s, c->image));
        return EYE_OK;
    }
    if (c->prompt) EYE_TRY(keep_text(s, c->prompt, c->n_prompt, &prompt, &bad_prompt, err));
    if (bad || bad_prompt)
        eye_report_add(&s->report, EYE_ISSUE_ENCODING, "%s: %s", image_name(s, c->image), bad ? text : prompt);
    size_t words = eye_count_words(text);
    if (words > (size_t)s->opts.max_words)
        eye_report_add(&s->report, EYE_ISSUE_CAPTION_LONG, "%s: %zu words: %s", image_name(s, c->image), words, text);
    if (s->n_captions >= EYE_NO_IMAGE - 1) return eye_fail(err, EYE_E_LIMIT, "%s: too many captions", list->where);
    void *p = s->caption;
    enum eye_status st = eye_alloc_grow(s->alloc, &p, &s->caption_cap, s->n_captions + 1, sizeof *s->caption, err);
    s->caption = p;
    EYE_TRY(st);
    s->caption[s->n_captions++] = (struct eye_data_caption){.text = text, .prompt = prompt, .image = c->image, .turn = c->turn};
    *added = true;
    return EYE_OK;
}

/* What only the whole list shows. */
static void judge_images(struct eye_dataset *s) {
    bool has_split = false;
    for (size_t i = 0; i < s->n_images; i++) has_split |= s->image[i].split != EYE_SPLIT_NONE;
    for (size_t i = 0; i < s->n_images; i++) {
        if (has_split && s->image[i].split == EYE_SPLIT_NONE)
            eye_report_add(&s->report, EYE_ISSUE_IMAGE_WITHOUT_SPLIT, "%s", s->image[i].name);
        if (!s->image[i].n && s->format != EYE_DATA_IMAGES)
            eye_report_add(&s->report, EYE_ISSUE_IMAGE_WITHOUT_CAPTION, "%s", s->image[i].name);
    }
}

enum eye_status eye_dataset_finish(struct eye_dataset *s, struct eye_err *err) {
    size_t bytes = s->n_captions * sizeof *s->caption;
    struct eye_data_caption *sorted = eye_alloc_raw(s->alloc, bytes);
    if (!sorted) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < s->n_captions; i++)
        if (s->caption[i].image != EYE_NO_IMAGE) s->image[s->caption[i].image].n++;
    uint32_t at = 0;
    for (size_t i = 0; i < s->n_images; i++) {
        s->image[i].first = at;
        at += s->image[i].n;
        s->image[i].n = 0;
    }
    for (size_t i = 0; i < s->n_captions; i++) {
        struct eye_data_image *image = s->caption[i].image == EYE_NO_IMAGE ? NULL : &s->image[s->caption[i].image];
        sorted[image ? image->first + image->n++ : at++] = s->caption[i];
    }
    eye_alloc_free(s->alloc, s->caption, s->caption_cap * sizeof *s->caption);
    s->caption = sorted;
    s->caption_cap = s->n_captions;
    judge_images(s);
    return EYE_OK;
}

/* ---- a part of it ---- */

static enum eye_split training_split(const struct eye_dataset *s, bool bare) {
    for (size_t i = 0; i < s->n_images; i++)
        if (s->image[i].split == EYE_SPLIT_TRAIN && (bare || s->image[i].n)) return EYE_SPLIT_TRAIN;
    return EYE_SPLIT_NONE;
}

/* Pictures and captions keep their order, so both move down in place. */
enum eye_status eye_dataset_keep_training(struct eye_dataset *s, size_t most, bool bare, struct eye_err *err) {
    enum eye_split train = training_split(s, bare);
    size_t n = 0, n_captions = 0, n_train = 0, i_none = 0;
    bool was_there;
    eye_strmap_clear(&s->by_name);
    eye_strmap_init(&s->by_name, s->alloc);
    for (size_t i = 0; i < s->n_images; i++) {
        struct eye_data_image image = s->image[i];
        bool learnt = image.split == train && (bare || image.n) && n_train < most;
        i_none = (size_t)image.first + image.n;
        if (!learnt && image.split != EYE_SPLIT_DEV) continue;
        n_train += learnt;
        for (uint32_t k = 0; k < image.n; k++) {
            s->caption[n_captions + k] = s->caption[image.first + k];
            s->caption[n_captions + k].image = (uint32_t)n;
        }
        image.first = (uint32_t)n_captions;
        n_captions += image.n;
        s->image[n] = image;
        EYE_TRY(eye_strmap_put(&s->by_name, image.name, strlen(image.name), (int32_t)n++, &was_there, err));
    }
    for (; i_none < s->n_captions; i_none++) s->caption[n_captions++] = s->caption[i_none];
    s->n_images = n;
    s->n_captions = n_captions;
    return EYE_OK;
}

/* ---- reading ---- */

size_t eye_count_words(const char *text) {
    size_t n = 0;
    for (const char *p = text; *p;) {
        p += strspn(p, " \t");
        if (*p) n++;
        p += strcspn(p, " \t");
    }
    return n;
}

const struct eye_data_report *eye_dataset_get_report(const struct eye_dataset *s) { return &s->report; }

void eye_dataset_get_info(const struct eye_dataset *s, struct eye_dataset_info *info) {
    size_t n_words = 0;
    *info = (struct eye_dataset_info){.format = s->format};
    for (size_t i = 0; i < s->n_images; i++) info->n_images[s->image[i].split]++;
    for (size_t i = 0; i < s->n_captions; i++) {
        const struct eye_data_caption *c = &s->caption[i];
        size_t words = eye_count_words(c->text);
        info->n_captions[c->image == EYE_NO_IMAGE ? EYE_SPLIT_NONE : s->image[c->image].split]++;
        info->n_answers += c->prompt != NULL;
        n_words += words;
        info->max_words = EYE_MAX(info->max_words, (int)words);
    }
    info->mean_words = s->n_captions ? (double)n_words / (double)s->n_captions : 0;
}

struct eye_rng eye_rng_for(uint64_t seed, uint64_t epoch, uint64_t index) {
    struct eye_rng r;
    uint8_t key[24];
    for (int i = 0; i < 8; i++) {
        key[i] = (uint8_t)(seed >> (8 * i));
        key[8 + i] = (uint8_t)(epoch >> (8 * i));
        key[16 + i] = (uint8_t)(index >> (8 * i));
    }
    eye_rng_seed(&r, eye_hash64(key, sizeof key, 0));
    return r;
}

uint64_t eye_rng_below(struct eye_rng *r, uint64_t n) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, v; /* a multiple of n: what lies above it would favour small numbers */
    do v = eye_rng_u64(r);
    while (v >= limit);
    return v % n;
}

void eye_shuffle(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch) {
    struct eye_rng r = eye_rng_for(seed, epoch, UINT64_MAX); /* no picture has this number */
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)eye_rng_below(&r, i);
        uint32_t t = order[i - 1];
        order[i - 1] = order[j];
        order[j] = t;
    }
}
