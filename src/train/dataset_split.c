/* train/dataset_split: splits that do not leak; see eye_dataset_split in train.h. Groups of pictures that look alike are put in
 * an order that names and seed decide, and handed out whole: to test until it is full, to dev, and the rest to train. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/dataset.h"
#include "train/folder.h"

struct group {
    uint64_t key;
    uint32_t leader, n; /* pictures */
};

static int by_key(const void *a, const void *b) {
    const struct group *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return x->leader < y->leader ? -1 : x->leader > y->leader;
}

/* split [n_images] of each leader. */
static void hand_out(struct group *g, size_t n_groups, size_t n_dev, size_t n_test, uint8_t *split) {
    size_t dev = 0, test = 0;
    qsort(g, n_groups, sizeof *g, by_key);
    for (size_t i = 0; i < n_groups; i++) {
        enum eye_split s = test < n_test ? EYE_SPLIT_TEST : dev < n_dev ? EYE_SPLIT_DEV : EYE_SPLIT_TRAIN;
        split[g[i].leader] = (uint8_t)s;
        test += s == EYE_SPLIT_TEST ? g[i].n : 0;
        dev += s == EYE_SPLIT_DEV ? g[i].n : 0;
    }
}

static enum eye_status write_list(const struct eye_dataset *set, const uint32_t *leader, const uint8_t *split,
                                  enum eye_split which, const char *dir, struct eye_err *err) {
    struct eye_buf names;
    char file[16];
    eye_buf_init(&names, set->alloc);
    snprintf(file, sizeof file, "%s.txt", eye_split_name(which));
    for (size_t i = 0; i < set->n_images; i++)
        if (leader[i] != EYE_NO_IMAGE && split[leader[i]] == which) eye_buf_printf(&names, "%s\n", set->image[i].name);
    enum eye_status st = names.failed ? eye_fail_nomem(err, names.len) : eye_folder_write(dir, file, names.p, names.len, err);
    eye_buf_clear(&names);
    return st;
}

/* leader, group and split are [n_images], zeros but for leader. */
static enum eye_status split_groups(const struct eye_dataset *set, const struct eye_data_split_opts *opts,
                                    const uint32_t *leader, struct group *group, uint8_t *split, const char *dir,
                                    struct eye_data_split_result *result, struct eye_err *err) {
    size_t n_groups = 0, n = 0;
    for (size_t i = 0; i < set->n_images; i++) {
        if (leader[i] == EYE_NO_IMAGE) continue;
        const char *name = set->image[leader[i]].name;
        group[leader[i]].key = eye_hash64(name, strlen(name), opts->seed);
        group[leader[i]].leader = leader[i];
        result->n_together += group[leader[i]].n++ > 0;
        n++;
    }
    for (size_t i = 0; i < set->n_images; i++)
        if (group[i].n) group[n_groups++] = group[i];
    hand_out(group, n_groups, (size_t)(opts->dev * (double)n + 0.5), (size_t)(opts->test * (double)n + 0.5), split);
    for (size_t i = 0; i < set->n_images; i++) result->n[leader[i] == EYE_NO_IMAGE ? EYE_SPLIT_NONE : split[leader[i]]]++;
    if (!result->n[EYE_SPLIT_TRAIN])
        return eye_fail(err, EYE_E_ARG, "%zu pictures in %zu groups that look alike: none is left for training", n, n_groups);
    EYE_TRY(eye_folder_make(dir, err));
    for (int s = EYE_SPLIT_TRAIN; s < EYE_N_SPLITS; s++)
        EYE_TRY(write_list(set, leader, split, (enum eye_split)s, dir, err));
    return EYE_OK;
}

enum eye_status eye_dataset_split(const struct eye_dataset *set, const struct eye_data_split_opts *opts, const char *dir,
                                  struct eye_data_split_result *result, struct eye_data_report *report, struct eye_err *err) {
    struct eye_data_report unread = {0};
    size_t n = set->n_images, each = sizeof(struct group) + sizeof(uint32_t) + 1;
    if (!n) return eye_fail(err, EYE_E_ARG, "the data set has no pictures");
    if (!(opts->dev >= 0 && opts->test >= 0 && opts->dev + opts->test < 1))
        return eye_fail(err, EYE_E_ARG, "shares of dev %g and test %g: expected 0 or more, and less than 1 together", opts->dev,
                        opts->test);
    struct group *group = eye_alloc_zero(set->alloc, n * each);
    if (!group) return eye_fail_nomem(err, n * each);
    uint32_t *leader = (uint32_t *)(void *)(group + n);
    *result = (struct eye_data_split_result){0};
    enum eye_status st = eye_dataset_group(set, &opts->look, leader, report ? report : &unread, err);
    if (st == EYE_OK) st = split_groups(set, opts, leader, group, (uint8_t *)(leader + n), dir, result, err);
    eye_alloc_free(set->alloc, group, n * each);
    return st;
}
