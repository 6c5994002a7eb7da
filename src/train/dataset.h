/* train/dataset: pictures and captions out of any list, in one form, in a fixed order. Readers of the formats
 * (dataset_json.c, dataset_lines.c) fill it, everything else in this room reads it. Knows no model and opens no picture.
 *
 * Captions stand grouped by picture; a question's answers stand in the order of their conversation. */
#ifndef EYE_DATASET_H
#define EYE_DATASET_H

#include "base/sys.h"
#include "eyelet/train.h"

#define EYE_NO_IMAGE UINT32_MAX
#define EYE_CAPTION_MAX_BYTES ((size_t)64 << 10)
#define EYE_LIST_MAX_BYTES ((size_t)4 << 30)

struct eye_data_image {
    const char *name;       /* as the list has it; unique in the set */
    const char *path;       /* file to open */
    uint32_t first, n;      /* its captions */
    enum eye_split split;
};

struct eye_data_caption {
    const char *text;       /* valid UTF-8, trimmed, never empty, NUL-terminated */
    const char *prompt;     /* the question it answers, without "<image>"; NULL = a plain caption */
    uint32_t image;         /* EYE_NO_IMAGE = none */
    uint32_t turn;          /* 0 begins a conversation, k > 0 goes on from the caption before */
};

struct eye_dataset {
    const struct eye_alloc *alloc;
    struct eye_dataset_opts opts; /* strings in it are borrowed for the time of opening */
    struct eye_arena strings;
    struct eye_data_image *image;     /* [n_images] */
    size_t n_images, image_cap;
    struct eye_data_caption *caption; /* [n_captions]; those without a picture last */
    size_t n_captions, caption_cap;
    struct eye_strmap by_name;
    struct eye_data_report report;
    enum eye_data_format format;
};

/* ---- for readers ---- */

/* One list being read. */
struct eye_list {
    struct eye_dataset *set;
    const uint8_t *p;       /* [n], without a byte order mark */
    size_t n;
    const char *where;      /* its path, for errors */
    const char *folder;     /* of its pictures; lives in set->strings */
    enum eye_split split;   /* of all its pictures, where the format does not say; from the file's name */
};
/* A picture by the name that the list uses; the same name again is the same picture (split NONE then changes nothing). */
EYE_MUST_CHECK enum eye_status eye_dataset_add_image(const struct eye_list *list, const char *name, size_t len,
                                                     enum eye_split split, uint32_t *index, struct eye_err *err);
/* Repairs, trims, judges and adds. An unusable caption is counted, added is false then. */
struct eye_new_caption {
    uint32_t image;
    uint32_t turn;
    const char *text, *prompt; /* prompt NULL = none; any bytes */
    size_t n_text, n_prompt;
};
EYE_MUST_CHECK enum eye_status eye_dataset_add_caption(const struct eye_list *list, const struct eye_new_caption *c,
                                                       bool *added, struct eye_err *err);
/* Counts an issue and keeps the first few texts of it. */
EYE_PRINTF(3, 4) void eye_report_add(struct eye_data_report *r, enum eye_data_issue issue, const char *fmt, ...);
bool eye_split_parse(const char *name, size_t len, enum eye_split *split); /* also val, valid, validation, restval */

/* The readers. */
EYE_MUST_CHECK enum eye_status eye_dataset_read_coco(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_karpathy(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_llava(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_flickr(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_csv(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_tsv(struct eye_list *list, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_dataset_read_text(struct eye_list *list, struct eye_err *err);
/* A list of picture names, one a line: gives them list->split. */
EYE_MUST_CHECK enum eye_status eye_dataset_read_split(struct eye_list *list, struct eye_err *err);

/* ---- opening, in parts (tests and the fuzz target use them) ---- */
EYE_MUST_CHECK enum eye_status eye_dataset_new(const struct eye_dataset_opts *opts, struct eye_dataset **set,
                                               struct eye_err *err);
/* The format that these bytes have; AUTO = none. */
enum eye_data_format eye_dataset_detect(const uint8_t *p, size_t n);
/* list->folder NULL = looked for around the folder of list->where. */
EYE_MUST_CHECK enum eye_status eye_dataset_read(struct eye_list *list, enum eye_data_format format, struct eye_err *err);
/* Groups captions by picture; after it the set is read-only. */
EYE_MUST_CHECK enum eye_status eye_dataset_finish(struct eye_dataset *set, struct eye_err *err);

/* ---- for users ---- */

/* Leaves dev pictures and the first `most` pictures to learn from: of the training split, or of none in a list without one;
 * that have captions, or any if bare. Others' captions go with them. On failure (NOMEM) the set is only good for closing. */
EYE_MUST_CHECK enum eye_status eye_dataset_keep_training(struct eye_dataset *set, size_t most, bool bare, struct eye_err *err);

/* group [n_images] gets for each picture the index of the first one in the set that it is equal or nearly equal to, directly or
 * through others; EYE_NO_IMAGE for those that cannot be read, which are counted in report. CANCELLED, NOMEM. */
EYE_MUST_CHECK enum eye_status eye_dataset_group(const struct eye_dataset *set, const struct eye_data_check_opts *opts,
                                                 uint32_t *group, struct eye_data_report *report, struct eye_err *err);

size_t eye_count_words(const char *text); /* runs of anything but blanks */

/* Random numbers of one thing at one time: the same whatever was drawn before, so a resumed run goes on as it would have. */
struct eye_rng eye_rng_for(uint64_t seed, uint64_t epoch, uint64_t index);
uint64_t eye_rng_below(struct eye_rng *r, uint64_t n); /* [0, n) without bias; n >= 1 */
/* order [n] gets a permutation of its contents that depends on seed and epoch alone. */
void eye_shuffle(uint32_t *order, size_t n, uint64_t seed, uint64_t epoch);

#endif
