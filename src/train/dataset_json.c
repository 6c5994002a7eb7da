/* train/dataset_json: readers of the JSON lists: COCO, Karpathy's splits, LLaVA's conversations. An entry that lacks something
 * is counted and skipped; text that is no JSON is an error. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "train/dataset.h"
#include "train/json_items.h"

/* An entry's own error: counted, and the list goes on. Others are the list's. */
static enum eye_status skip_bad(const struct eye_list *list, enum eye_status st, struct eye_err *err) {
    if (st != EYE_E_CORRUPT && st != EYE_E_LIMIT) return st;
    eye_report_add(&list->set->report, EYE_ISSUE_BAD_ITEM, "%s", err->text);
    return EYE_OK;
}

/* Calls fn for each entry of an array. */
typedef enum eye_status entry_fn(const struct eye_list *list, void *ctx, const struct eye_json_at *at, struct eye_err *err);
static enum eye_status each_entry(const struct eye_list *list, const char *key, entry_fn *fn, void *ctx, struct eye_err *err) {
    struct eye_json_items items;
    struct eye_json json;
    struct eye_err local = {0};
    bool more;
    EYE_TRY(eye_json_items_find(&items, list->p, list->n, key, list->where, &more, err));
    if (!more)
        return eye_fail(err, EYE_E_CORRUPT, "%s: expected an array %s", list->where, key ? key : "of entries");
    for (;;) {
        EYE_TRY(eye_json_items_next(&items, &json, &more, err));
        if (!more) return EYE_OK;
        struct eye_json_at at = eye_json_root(&json);
        enum eye_status st = skip_bad(list, fn(list, ctx, &at, &local), &local);
        eye_json_clear(&json);
        if (st != EYE_OK) {
            if (err) *err = local;
            return st;
        }
    }
}

/* A file's name: not empty, no NUL (eye_json_need_str refuses those). */
static enum eye_status need_name(const struct eye_json_at *at, const char *key, const char **name, struct eye_err *err) {
    EYE_TRY(eye_json_need_str(at, key, name, NULL, err));
    return **name ? EYE_OK : eye_json_fail(at, key, "expected the name of a file, got nothing", err);
}

/* ---- COCO ---- */

struct coco {
    struct eye_strmap image_of_id; /* decimal id -> index; keys in the set's strings */
};

enum { ID_CHARS = 24 };

static enum eye_status coco_id(const struct eye_json_at *at, const char *key, char id[ID_CHARS], struct eye_err *err) {
    int64_t v;
    EYE_TRY(eye_json_need_int(at, key, 0, INT64_MAX, &v, err));
    snprintf(id, ID_CHARS, "%" PRId64, v);
    return EYE_OK;
}

static enum eye_status coco_image(const struct eye_list *list, void *ctx, const struct eye_json_at *at, struct eye_err *err) {
    struct coco *k = ctx;
    char id[ID_CHARS];
    const char *name;
    uint32_t image;
    bool was_there;
    EYE_TRY(coco_id(at, "id", id, err));
    EYE_TRY(need_name(at, "file_name", &name, err));
    if (eye_strmap_get(&k->image_of_id, id, strlen(id)) >= 0)
        return eye_json_fail(at, "id", "is another picture's as well", err);
    EYE_TRY(eye_dataset_add_image(list, name, strlen(name), list->split, &image, err));
    const char *key = eye_arena_strdup(&list->set->strings, id, strlen(id));
    if (!key) return eye_fail_nomem(err, sizeof id);
    return eye_strmap_put(&k->image_of_id, key, strlen(key), (int32_t)image, &was_there, err);
}

static enum eye_status coco_annotation(const struct eye_list *list, void *ctx, const struct eye_json_at *at,
                                       struct eye_err *err) {
    const struct coco *k = ctx;
    struct eye_new_caption c = {0};
    char id[ID_CHARS];
    bool added;
    EYE_TRY(coco_id(at, "image_id", id, err));
    EYE_TRY(eye_json_need_str(at, "caption", &c.text, &c.n_text, err));
    int32_t image = eye_strmap_get(&k->image_of_id, id, strlen(id));
    if (image < 0) {
        eye_report_add(&list->set->report, EYE_ISSUE_CAPTION_WITHOUT_IMAGE, "image_id %s: %s", id, c.text);
        return EYE_OK;
    }
    c.image = (uint32_t)image;
    return eye_dataset_add_caption(list, &c, &added, err);
}

enum eye_status eye_dataset_read_coco(struct eye_list *list, struct eye_err *err) {
    struct coco k;
    eye_strmap_init(&k.image_of_id, list->set->alloc);
    enum eye_status st = each_entry(list, "images", coco_image, &k, err); /* wherever in the file: before the annotations */
    if (st == EYE_OK) st = each_entry(list, "annotations", coco_annotation, &k, err);
    eye_strmap_clear(&k.image_of_id);
    return st;
}

/* ---- Karpathy ---- */

static enum eye_status karpathy_image(const struct eye_list *list, void *ctx, const struct eye_json_at *at,
                                      struct eye_err *err) {
    const char *name, *folder, *split_name;
    enum eye_split split;
    struct eye_json_at sentences;
    uint32_t image;
    char path[1024];
    (void)ctx;
    EYE_TRY(need_name(at, "filename", &name, err));
    EYE_TRY(eye_json_str(at, "filepath", "", &folder, NULL, err)); /* COCO's half: train2014, val2014 */
    EYE_TRY(eye_json_need_str(at, "split", &split_name, NULL, err));
    if (!eye_split_parse(split_name, strlen(split_name), &split))
        return eye_json_fail(at, "split", "expected train, restval, val or test", err);
    EYE_TRY(eye_json_array(at, "sentences", &sentences, err));
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", folder, *folder ? "/" : "", name) >= sizeof path)
        return eye_json_fail(at, "filename", "is too long", err);
    EYE_TRY(eye_dataset_add_image(list, path, strlen(path), split, &image, err));
    for (size_t i = 0; i < eye_json_len(&sentences); i++) {
        struct eye_json_at one = eye_json_item(&sentences, i);
        struct eye_new_caption c = {.image = image};
        bool added;
        EYE_TRY(eye_json_need_str(&one, "raw", &c.text, &c.n_text, err));
        EYE_TRY(eye_dataset_add_caption(list, &c, &added, err));
    }
    return EYE_OK;
}

enum eye_status eye_dataset_read_karpathy(struct eye_list *list, struct eye_err *err) {
    return each_entry(list, "images", karpathy_image, NULL, err);
}

/* ---- LLaVA ---- */

/* Without "<image>" markers and the line end beside each. Writes over text [n]; returns the length. */
static size_t drop_markers(char *text, size_t n) {
    static const char marker[] = "<image>";
    size_t len = sizeof marker - 1, to = 0;
    for (size_t i = 0; i < n;) {
        if (n - i >= len && memcmp(text + i, marker, len) == 0) {
            i += len;
            if (i < n && text[i] == '\n') i++;
            while (i == n && to && text[to - 1] == '\n') to--;
        } else {
            text[to++] = text[i++];
        }
    }
    return to;
}

static enum eye_status llava_image(const struct eye_list *list, const struct eye_json_at *at, uint32_t *image,
                                   struct eye_err *err) {
    const char *name;
    *image = EYE_NO_IMAGE;
    if (!eye_json_has(at, "image")) return EYE_OK; /* a conversation in words alone */
    EYE_TRY(need_name(at, "image", &name, err));
    return eye_dataset_add_image(list, name, strlen(name), list->split, image, err);
}

/* Who speaks: ShareGPT's names and those of chat templates. */
static bool speaker(const char *from, bool *human) {
    *human = strcmp(from, "human") == 0 || strcmp(from, "user") == 0;
    return *human || strcmp(from, "gpt") == 0 || strcmp(from, "assistant") == 0;
}

static enum eye_status llava_entry(const struct eye_list *list, void *ctx, const struct eye_json_at *at, struct eye_err *err) {
    struct eye_json_at turns;
    struct eye_new_caption c = {0};
    struct eye_buf *question = ctx;
    EYE_TRY(eye_json_array(at, "conversations", &turns, err));
    if (!eye_json_len(&turns)) return eye_json_fail(at, "conversations", "expected turns, got none", err);
    EYE_TRY(llava_image(list, at, &c.image, err));
    for (size_t i = 0; i < eye_json_len(&turns); i++) {
        struct eye_json_at one = eye_json_item(&turns, i);
        const char *from, *value;
        size_t n;
        bool human, added;
        EYE_TRY(eye_json_need_str(&one, "from", &from, NULL, err));
        EYE_TRY(eye_json_need_str(&one, "value", &value, &n, err));
        if (!speaker(from, &human)) return eye_json_fail(&one, "from", "expected human or gpt", err);
        if (human != (i % 2 == 0)) return eye_json_fail(&one, "from", "expected human and gpt in turn", err);
        if (human) {
            question->len = 0;
            eye_buf_add(question, value, n);
            if (question->failed) return eye_fail_nomem(err, n);
            continue;
        }
        c.prompt = question->p;
        c.n_prompt = drop_markers(question->p, question->len);
        c.text = value;
        c.n_text = n;
        EYE_TRY(eye_dataset_add_caption(list, &c, &added, err));
        if (!added) return EYE_OK; /* what follows goes on from an answer that is not there */
        c.turn++;
    }
    return EYE_OK;
}

enum eye_status eye_dataset_read_llava(struct eye_list *list, struct eye_err *err) {
    struct eye_buf question;
    eye_buf_init(&question, list->set->alloc);
    enum eye_status st = each_entry(list, NULL, llava_entry, &question, err);
    eye_buf_clear(&question);
    return st;
}
