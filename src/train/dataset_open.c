/* train/dataset_open: which files make up a data set, what format each has, where its pictures are. See dataset.h; the readers
 * do the reading. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "train/dataset.h"
#include "train/json_items.h"

#define ACCEPTED \
    "COCO captions JSON, Karpathy dataset JSON, Flickr8k token file, CSV with image and caption, LLaVA conversations JSON, " \
    "IMAGE<tab>CAPTION lines, or plain captions one a line"

/* ---- formats ---- */

/* Is there an array under key whose first entry has a member with this name? */
static bool has_entries(const uint8_t *p, size_t n, const char *key, const char *member) {
    struct eye_json_items items;
    struct eye_json json;
    bool found, more, has = false;
    if (eye_json_items_find(&items, p, n, key, "", &found, NULL) != EYE_OK || !found) return false;
    if (eye_json_items_next(&items, &json, &more, NULL) != EYE_OK || !more) return false;
    struct eye_json_at at = eye_json_root(&json);
    has = eye_json_has(&at, member);
    eye_json_clear(&json);
    return has;
}

static bool is_csv_header(const char *line, size_t n) {
    const char *image = memmem(line, n, "image", 5), *file = memmem(line, n, "file", 4);
    return memchr(line, ',', n) && (image || file) &&
           (memmem(line, n, "caption", 7) || memmem(line, n, "comment", 7) || memmem(line, n, "text", 4)) && n < 200;
}

enum eye_data_format eye_dataset_detect(const uint8_t *p, size_t n) {
    size_t i = 0, head = EYE_MIN(n, (size_t)64 << 10);
    while (i < n && (p[i] == ' ' || p[i] == '\n' || p[i] == '\r' || p[i] == '\t')) i++;
    if (i < n && (p[i] == '{' || p[i] == '[')) {
        if (p[i] == '[') return has_entries(p, n, NULL, "conversations") ? EYE_DATA_LLAVA : EYE_DATA_AUTO;
        if (has_entries(p, n, "annotations", "caption")) return EYE_DATA_COCO;
        return has_entries(p, n, "images", "sentences") ? EYE_DATA_KARPATHY : EYE_DATA_AUTO;
    }
    for (size_t k = 0; k < head; k++)
        if (p[k] < ' ' && p[k] != '\t' && p[k] != '\n' && p[k] != '\r') return EYE_DATA_AUTO; /* not a text */
    const char *line = (const char *)p + i, *nl = i < n ? memchr(line, '\n', n - i) : NULL;
    size_t len = nl ? (size_t)(nl - line) : n - i;
    if (!len) return EYE_DATA_AUTO;
    const char *tab = memchr(line, '\t', len);
    if (tab) return memrchr(line, '#', (size_t)(tab - line)) ? EYE_DATA_FLICKR : EYE_DATA_TSV;
    return is_csv_header(line, len) ? EYE_DATA_CSV : EYE_DATA_TEXT;
}

/* ---- where the pictures are ---- */

static const char *const image_folders[] = {"", "images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "flickr30k_images",
                                            "flickr30k-images", "train2017", "val2017", "train2014", "val2014", "image"};

/* Up to so many pictures may be missing before a folder counts as the wrong one. */
enum { TRY_IMAGES = 16 };

static bool holds_images(const struct eye_dataset *s, size_t from, const char *folder) {
    char path[4096];
    for (size_t i = from; i < s->n_images && i < from + TRY_IMAGES; i++) {
        if (s->image[i].name[0] == '/') return true;
        int n = snprintf(path, sizeof path, "%s/%s", folder, s->image[i].name);
        if (n > 0 && (size_t)n < sizeof path && eye_path_exists(path)) return true;
    }
    return false;
}

/* Gives the pictures from `from` on their paths: below the folder of the list, or of one beside it. */
static enum eye_status find_images(struct eye_list *list, size_t from, struct eye_err *err) {
    struct eye_dataset *s = list->set;
    const char *slash = strrchr(list->where, '/'), *best = NULL;
    char beside[4096], dir[4200];
    snprintf(beside, sizeof beside, "%.*s", slash ? (int)EYE_MIN((size_t)(slash - list->where), sizeof beside - 1) : 1,
             slash ? list->where : ".");
    for (int up = 0; up < 2 && !best && from < s->n_images; up++)
        for (size_t i = 0; i < EYE_COUNT(image_folders) && !best; i++) {
            const char *name = image_folders[i];
            int n = snprintf(dir, sizeof dir, "%s%s%s%s", beside, up ? "/.." : "", *name ? "/" : "", name);
            if (n > 0 && (size_t)n < sizeof dir && holds_images(s, from, dir)) best = dir;
        }
    if (!best) best = beside; /* they are missing: errors then name the place where they should be */
    for (size_t i = from; i < s->n_images; i++) {
        struct eye_data_image *image = &s->image[i];
        if (image->name[0] == '/') continue;
        image->path = eye_arena_printf(&s->strings, "%s/%s", best, image->name);
        if (!image->path) return eye_fail_nomem(err, strlen(image->name));
    }
    return EYE_OK;
}

typedef enum eye_status reader_fn(struct eye_list *list, struct eye_err *err);

enum eye_status eye_dataset_read(struct eye_list *list, enum eye_data_format format, struct eye_err *err) {
    static reader_fn *const readers[EYE_DATA_N_FORMATS] = {
        [EYE_DATA_COCO] = eye_dataset_read_coco, [EYE_DATA_KARPATHY] = eye_dataset_read_karpathy,
        [EYE_DATA_FLICKR] = eye_dataset_read_flickr, [EYE_DATA_CSV] = eye_dataset_read_csv,
        [EYE_DATA_LLAVA] = eye_dataset_read_llava, [EYE_DATA_TSV] = eye_dataset_read_tsv,
        [EYE_DATA_TEXT] = eye_dataset_read_text,
    };
    size_t from = list->set->n_images;
    if ((unsigned)format >= EYE_DATA_N_FORMATS || !readers[format])
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: not a known list: accepted are " ACCEPTED, list->where);
    if (list->n >= 3 && memcmp(list->p, "\xEF\xBB\xBF", 3) == 0) {
        list->p += 3;
        list->n -= 3;
    }
    if (!list->set->format) list->set->format = format;
    EYE_TRY(readers[format](list, err));
    return list->folder ? EYE_OK : find_images(list, from, err);
}

/* ---- one list file ---- */

/* The split that a file's name tells: captions_val2017.json. */
static enum eye_split split_of_name(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    return strstr(name, "train") ? EYE_SPLIT_TRAIN
           : strstr(name, "val") || strstr(name, "dev") ? EYE_SPLIT_DEV
           : strstr(name, "test") ? EYE_SPLIT_TEST : EYE_SPLIT_NONE;
}

static enum eye_status read_list(struct eye_dataset *s, const char *path, struct eye_err *err) {
    struct eye_map m;
    EYE_TRY(eye_map_open(&m, path, true, EYE_LIST_MAX_BYTES, err));
    struct eye_list list = {.set = s, .p = m.p, .n = m.size, .where = path};
    enum eye_data_format format = s->opts.format ? s->opts.format : eye_dataset_detect(m.p, m.size);
    enum eye_status st = EYE_OK;
    if (format == EYE_DATA_COCO || format == EYE_DATA_LLAVA) list.split = split_of_name(path);
    if (s->opts.images && !(list.folder = eye_arena_strdup(&s->strings, s->opts.images, strlen(s->opts.images))))
        st = eye_fail_nomem(err, strlen(s->opts.images));
    if (st == EYE_OK) st = eye_dataset_read(&list, format, err);
    eye_map_close(&m);
    return st;
}

static enum eye_status read_split(struct eye_dataset *s, const char *path, enum eye_split split, struct eye_err *err) {
    struct eye_map m;
    EYE_TRY(eye_map_open(&m, path, true, EYE_LIST_MAX_BYTES, err));
    struct eye_list list = {.set = s, .p = m.p, .n = m.size, .where = path, .split = split};
    enum eye_status st = eye_dataset_read_split(&list, err);
    eye_map_close(&m);
    return st;
}

/* ---- folders ---- */

struct names { /* of files in a folder, sorted */
    struct eye_arena text;
    const char **name;
    size_t n, cap;
};

static void names_clear(struct names *names) {
    eye_alloc_free(NULL, names->name, names->cap * sizeof *names->name);
    eye_arena_clear(&names->text);
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcasecmp(s + n - m, end) == 0;
}

static bool ends_with_one(const char *s, const char *const *ends) {
    while (*ends && !ends_with(s, *ends)) ends++;
    return *ends != NULL;
}

static const char *const list_ends[] = {".json", ".txt", ".tsv", ".csv", ".token", NULL};
static const char *const picture_ends[] = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", NULL};
static const struct { const char *end; enum eye_split split; } split_ends[] = {
    {"trainImages.txt", EYE_SPLIT_TRAIN}, {"devImages.txt", EYE_SPLIT_DEV}, {"testImages.txt", EYE_SPLIT_TEST}};

static enum eye_split split_list_kind(const char *name) {
    for (size_t i = 0; i < EYE_COUNT(split_ends); i++)
        if (ends_with(name, split_ends[i].end)) return split_ends[i].split;
    return EYE_SPLIT_NONE;
}

/* Files of dir whose names end so. */
static enum eye_status list_folder(const char *dir, const char *const *ends, struct names *names, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    *names = (struct names){0};
    eye_arena_init(&names->text, NULL);
    DIR *d = opendir(dir);
    if (!d) return eye_fail(err, EYE_E_IO, "%s: cannot list the folder: %s", dir, strerror(errno));
    for (const struct dirent *e; st == EYE_OK && (e = readdir(d));) {
        if (e->d_name[0] == '.' || !ends_with_one(e->d_name, ends)) continue;
        void *p = names->name;
        st = eye_alloc_grow(NULL, &p, &names->cap, names->n + 1, sizeof *names->name, err);
        names->name = p;
        const char *copy = st == EYE_OK ? eye_arena_strdup(&names->text, e->d_name, strlen(e->d_name)) : NULL;
        if (st == EYE_OK && !copy) st = eye_fail_nomem(err, strlen(e->d_name));
        if (st == EYE_OK) names->name[names->n++] = copy;
    }
    closedir(d);
    if (names->n) qsort(names->name, names->n, sizeof *names->name, by_text);
    return st;
}

/* Text beside a data set that is no list of captions. */
static bool is_other_text(const char *name) {
    static const char *const others[] = {"readme", "license", "expertannotations", "crowdflowerannotations", "lemma", "labels",
                                         "index.html", "requirements", NULL};
    for (const char *const *o = others; *o; o++)
        if (strcasestr(name, *o)) return true;
    return split_list_kind(name) != EYE_SPLIT_NONE;
}

/* The formats in the order in which a folder's lists are preferred: what says most comes first. */
static const enum eye_data_format preference[] = {EYE_DATA_KARPATHY, EYE_DATA_COCO, EYE_DATA_FLICKR, EYE_DATA_CSV,
                                                  EYE_DATA_LLAVA,    EYE_DATA_TSV,  EYE_DATA_TEXT};

static enum eye_status detect_file(const char *path, enum eye_data_format *format, struct eye_err *err) {
    struct eye_map m;
    EYE_TRY(eye_map_open(&m, path, true, EYE_LIST_MAX_BYTES, err));
    *format = eye_dataset_detect(m.p, m.size);
    eye_map_close(&m);
    return EYE_OK;
}

/* Keeps in names the lists of the best format that is there, and says which; AUTO = none. */
static enum eye_status best_lists(const char *dir, struct names *names, enum eye_data_format *best, struct eye_err *err) {
    char path[4096];
    size_t n = 0, best_rank = EYE_COUNT(preference);
    for (size_t i = 0; i < names->n; i++) {
        enum eye_data_format format;
        size_t rank = 0;
        if (is_other_text(names->name[i])) continue;
        if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, names->name[i]) >= sizeof path || eye_path_is_dir(path)) continue;
        EYE_TRY(detect_file(path, &format, err));
        while (rank < EYE_COUNT(preference) && preference[rank] != format) rank++;
        if (rank == EYE_COUNT(preference) || rank > best_rank) continue;
        if (rank < best_rank) n = 0;
        best_rank = rank;
        names->name[n++] = names->name[i];
    }
    names->n = n;
    *best = n ? preference[best_rank] : EYE_DATA_AUTO;
    return EYE_OK;
}

static enum eye_status read_lists(struct eye_dataset *s, const char *dir, const struct names *names,
                                  enum eye_data_format format, struct eye_err *err) {
    char path[4400];
    bool several = format == EYE_DATA_COCO || format == EYE_DATA_LLAVA || format == EYE_DATA_TEXT || format == EYE_DATA_TSV;
    if (names->n > 1 && !several)
        return eye_fail(err, EYE_E_ARG, "%s: several lists (%s, %s, …): name the one to use", dir, names->name[0],
                        names->name[1]);
    for (size_t i = 0; i < names->n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names->name[i]);
        EYE_TRY(read_list(s, path, err));
    }
    return EYE_OK;
}

static enum eye_status read_pictures(struct eye_dataset *s, const char *dir, struct eye_err *err) {
    struct names names;
    struct eye_list list = {.set = s, .where = dir, .folder = eye_arena_strdup(&s->strings, dir, strlen(dir))};
    uint32_t image;
    enum eye_status st = list_folder(dir, picture_ends, &names, err);
    if (st == EYE_OK && !list.folder) st = eye_fail_nomem(err, strlen(dir));
    if (st == EYE_OK && !names.n)
        st = eye_fail(err, EYE_E_UNSUPPORTED, "%s: no pictures and no known list: accepted are " ACCEPTED, dir);
    if (!s->format) s->format = EYE_DATA_IMAGES;
    for (size_t i = 0; st == EYE_OK && i < names.n; i++)
        st = eye_dataset_add_image(&list, names.name[i], strlen(names.name[i]), EYE_SPLIT_NONE, &image, err);
    names_clear(&names);
    return st;
}

/* Lists stand in the folder itself or, as COCO has them, in annotations/. */
static enum eye_status read_folder(struct eye_dataset *s, const char *dir, struct eye_err *err) {
    static const char *const places[] = {"", "/annotations"};
    char place[4096];
    for (size_t i = 0; i < EYE_COUNT(places) && s->opts.format != EYE_DATA_IMAGES; i++) {
        struct names names;
        enum eye_data_format format = EYE_DATA_AUTO;
        if ((size_t)snprintf(place, sizeof place, "%s%s", dir, places[i]) >= sizeof place || !eye_path_is_dir(place)) continue;
        enum eye_status st = list_folder(place, list_ends, &names, err);
        if (st == EYE_OK) st = best_lists(place, &names, &format, err);
        if (st == EYE_OK && format) st = read_lists(s, place, &names, format, err);
        names_clear(&names);
        if (st != EYE_OK || format) return st;
    }
    return read_pictures(s, dir, err);
}

/* Split lists beside the list file, or in the folder, unless the caller named some. */
static enum eye_status read_splits_beside(struct eye_dataset *s, const char *path, struct eye_err *err) {
    static const char *const ends[] = {"Images.txt", NULL};
    const char *slash = strrchr(path, '/');
    char dir[4096], file[4400];
    struct names names;
    if (eye_path_is_dir(path))
        snprintf(dir, sizeof dir, "%s", path);
    else
        snprintf(dir, sizeof dir, "%.*s", slash ? (int)EYE_MIN((size_t)(slash - path), sizeof dir - 1) : 1, slash ? path : ".");
    enum eye_status st = list_folder(dir, ends, &names, err);
    for (size_t i = 0; st == EYE_OK && i < names.n; i++) {
        enum eye_split split = split_list_kind(names.name[i]);
        snprintf(file, sizeof file, "%s/%s", dir, names.name[i]);
        if (split != EYE_SPLIT_NONE) st = read_split(s, file, split, err);
    }
    names_clear(&names);
    return st;
}

static enum eye_status open_all(struct eye_dataset *s, const char *const *paths, size_t n_paths, struct eye_err *err) {
    bool named = false;
    for (size_t i = 0; i < n_paths; i++) {
        bool folder = eye_path_is_dir(paths[i]);
        if (folder)
            EYE_TRY(read_folder(s, paths[i], err));
        else
            EYE_TRY(read_list(s, paths[i], err));
    }
    for (int k = EYE_SPLIT_TRAIN; k < EYE_N_SPLITS; k++) {
        if (!s->opts.split_list[k]) continue;
        named = true;
        EYE_TRY(read_split(s, s->opts.split_list[k], (enum eye_split)k, err));
    }
    /* Only these formats come with lists of splits; a folder of TSV files might hold any Images.txt. */
    bool lists = s->format == EYE_DATA_FLICKR || s->format == EYE_DATA_CSV;
    for (size_t i = 0; i < n_paths && lists && !named; i++) EYE_TRY(read_splits_beside(s, paths[i], err));
    return eye_dataset_finish(s, err);
}

enum eye_status eye_dataset_open(const char *const *paths, size_t n_paths, const struct eye_dataset_opts *opts,
                                 struct eye_dataset **set, struct eye_err *err) {
    struct eye_dataset *s;
    if (!n_paths) return eye_fail(err, EYE_E_ARG, "no data set: expected a list or a folder");
    EYE_TRY(eye_dataset_new(opts, &s, err));
    enum eye_status st = open_all(s, paths, n_paths, err);
    if (st == EYE_OK)
        *set = s;
    else
        eye_dataset_close(s);
    return st;
}
