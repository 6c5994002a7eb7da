/* train/dataset_lines: readers of lists in lines: Flickr8k's token file, Kaggle's CSV, TSV, plain captions, and lists of the
 * pictures of a split. A line that lacks something is counted and skipped. */
#include <string.h>

#include "train/dataset.h"

struct lines {
    const char *p, *end; /* what is left */
    size_t number;       /* of the line handed out last, from 1 */
};

static struct lines lines_of(const struct eye_list *list) {
    return (struct lines){(const char *)list->p, (const char *)list->p + list->n, 0};
}

/* The next line that is not blank, without its end. */
static bool next_line(struct lines *l, const char **line, size_t *n) {
    while (l->p < l->end) {
        const char *from = l->p, *nl = memchr(from, '\n', (size_t)(l->end - from));
        const char *to = nl ? nl : l->end;
        l->p = nl ? nl + 1 : l->end;
        l->number++;
        while (to > from && (to[-1] == '\r' || to[-1] == ' ')) to--;
        if (to == from) continue;
        *line = from;
        *n = (size_t)(to - from);
        return true;
    }
    return false;
}

static void bad_line(const struct eye_list *list, const struct lines *l, const char *expected) {
    eye_report_add(&list->set->report, EYE_ISSUE_BAD_ITEM, "%s: line %zu: expected %s", list->where, l->number, expected);
}

/* A name of a picture: something, and no NUL in it. */
static bool usable_name(const char *p, size_t n) { return n > 0 && n < 4096 && !memchr(p, '\0', n); }

static enum eye_status add(const struct eye_list *list, const char *name, size_t n_name, enum eye_split split,
                           const char *text, size_t n_text, struct eye_err *err) {
    struct eye_new_caption c = {.text = text, .n_text = n_text};
    bool added;
    EYE_TRY(eye_dataset_add_image(list, name, n_name, split, &c.image, err));
    return eye_dataset_add_caption(list, &c, &added, err);
}

enum eye_status eye_dataset_read_flickr(struct eye_list *list, struct eye_err *err) {
    struct lines l = lines_of(list);
    const char *line, *tab;
    size_t n;
    while (next_line(&l, &line, &n)) {
        tab = memchr(line, '\t', n);
        const char *hash = tab ? memrchr(line, '#', (size_t)(tab - line)) : NULL;
        if (!hash || !usable_name(line, (size_t)(hash - line))) {
            bad_line(list, &l, "NAME#K, a tab and a caption");
            continue;
        }
        EYE_TRY(add(list, line, (size_t)(hash - line), list->split, tab + 1, n - (size_t)(tab + 1 - line), err));
    }
    return EYE_OK;
}

enum eye_status eye_dataset_read_tsv(struct eye_list *list, struct eye_err *err) {
    struct lines l = lines_of(list);
    const char *line;
    size_t n;
    while (next_line(&l, &line, &n)) {
        const char *end = line + n, *tab = memchr(line, '\t', n);
        if (!tab || !usable_name(line, (size_t)(tab - line))) {
            bad_line(list, &l, "IMAGE, a tab and a caption");
            continue;
        }
        const char *text = tab + 1, *more = memchr(text, '\t', (size_t)(end - text));
        enum eye_split split = list->split;
        if (more && !eye_split_parse(more + 1, (size_t)(end - more - 1), &split)) {
            bad_line(list, &l, "train, dev or test in the third column");
            continue;
        }
        EYE_TRY(add(list, line, (size_t)(tab - line), split, text, (size_t)((more ? more : end) - text), err));
    }
    return EYE_OK;
}

enum eye_status eye_dataset_read_text(struct eye_list *list, struct eye_err *err) {
    struct lines l = lines_of(list);
    struct eye_new_caption c = {.image = EYE_NO_IMAGE};
    bool added;
    while (next_line(&l, &c.text, &c.n_text)) EYE_TRY(eye_dataset_add_caption(list, &c, &added, err));
    return EYE_OK;
}

enum eye_status eye_dataset_read_split(struct eye_list *list, struct eye_err *err) {
    struct eye_dataset *s = list->set;
    struct lines l = lines_of(list);
    const char *line;
    size_t n;
    (void)err; /* nothing in a list of names can be fatal */
    while (next_line(&l, &line, &n)) {
        int32_t image = eye_strmap_get(&s->by_name, line, n);
        if (image >= 0)
            s->image[image].split = list->split;
        else
            eye_report_add(&s->report, EYE_ISSUE_SPLIT_UNKNOWN, "%s: line %zu: %.*s", list->where, l.number,
                           (int)EYE_MIN(n, 150), line);
    }
    return EYE_OK;
}

/* ---- CSV, RFC 4180 ---- */

enum { CSV_COLUMNS = 16 };
struct csv {
    const char *p, *end;
    size_t line;                        /* where the record began */
    size_t next_line;
    struct eye_buf field[CSV_COLUMNS];
    size_t n_fields;                    /* of the record; may be above CSV_COLUMNS, those are dropped */
};

/* A field in quotes, "" being one quote; it may hold commas and line ends. False: the quote never closes. */
static bool quoted_field(struct csv *c, struct eye_buf *out) {
    for (c->p++; c->p < c->end; c->p++) {
        if (*c->p == '"') {
            if (c->p + 1 == c->end || c->p[1] != '"') return c->p++, true;
            c->p++;
        }
        c->next_line += *c->p == '\n';
        if (out) eye_buf_add(out, c->p, 1);
    }
    return false;
}

/* The next record that is not an empty line. */
static enum eye_status next_record(struct csv *c, const char *where, bool *more, struct eye_err *err) {
    while (c->p < c->end && (*c->p == '\n' || *c->p == '\r')) c->next_line += *c->p++ == '\n';
    *more = c->p < c->end;
    c->line = c->next_line;
    c->n_fields = 0;
    for (bool ended = !*more; !ended;) {
        struct eye_buf *out = c->n_fields < CSV_COLUMNS ? &c->field[c->n_fields] : NULL;
        c->n_fields++;
        if (out) out->len = 0;
        if (c->p < c->end && *c->p == '"' && !quoted_field(c, out))
            return eye_fail(err, EYE_E_CORRUPT, "%s: line %zu: a quoted field never ends", where, c->line);
        size_t n = 0;
        while (c->p + n < c->end && c->p[n] != ',' && c->p[n] != '\n') n++;
        bool cr = n && c->p[n - 1] == '\r' && c->p + n < c->end && c->p[n] == '\n';
        if (out) eye_buf_add(out, c->p, n - cr);
        if (out && out->failed) return eye_fail_nomem(err, n);
        c->p += n;
        ended = c->p == c->end || *c->p == '\n';
        c->next_line += c->p < c->end && *c->p == '\n';
        if (c->p < c->end) c->p++;
    }
    return EYE_OK;
}

static int csv_column(const struct csv *c, const char *const *names) {
    for (; *names; names++)
        for (size_t i = 0; i < EYE_MIN(c->n_fields, CSV_COLUMNS); i++)
            if (c->field[i].len == strlen(*names) && memcmp(c->field[i].p, *names, c->field[i].len) == 0) return (int)i;
    return -1;
}

static enum eye_status csv_records(struct csv *c, struct eye_list *list, struct eye_err *err) {
    static const char *const image_names[] = {"image", "image_name", "file_name", "filename", NULL};
    static const char *const caption_names[] = {"caption", "comment", "text", NULL}, *const split_names[] = {"split", NULL};
    bool more;
    EYE_TRY(next_record(c, list->where, &more, err));
    int image = csv_column(c, image_names), caption = csv_column(c, caption_names), in_split = csv_column(c, split_names);
    size_t n_columns = c->n_fields;
    if (image < 0 || caption < 0)
        return eye_fail(err, EYE_E_CORRUPT, "%s: line 1: expected a header with image and caption", list->where);
    for (;;) {
        EYE_TRY(next_record(c, list->where, &more, err));
        if (!more) return EYE_OK;
        struct lines at = {.number = c->line};
        enum eye_split split = list->split;
        if (c->n_fields != n_columns) {
            bad_line(list, &at, "as many fields as the header has (a comma in a caption needs quotes)");
            continue;
        }
        const struct eye_buf *name = &c->field[image], *text = &c->field[caption];
        if (!usable_name(name->p, name->len)) {
            bad_line(list, &at, "the name of a picture");
            continue;
        }
        if (in_split >= 0 && !eye_split_parse(c->field[in_split].p, c->field[in_split].len, &split)) {
            bad_line(list, &at, "train, dev or test");
            continue;
        }
        EYE_TRY(add(list, name->p, name->len, split, text->p, text->len, err));
    }
}

enum eye_status eye_dataset_read_csv(struct eye_list *list, struct eye_err *err) {
    struct csv c = {.p = (const char *)list->p, .end = (const char *)list->p + list->n, .next_line = 1};
    for (size_t i = 0; i < CSV_COLUMNS; i++) eye_buf_init(&c.field[i], list->set->alloc);
    enum eye_status st = csv_records(&c, list, err);
    for (size_t i = 0; i < CSV_COLUMNS; i++) eye_buf_clear(&c.field[i]);
    return st;
}
