/* train/tokenizer_train: a tokenizer from a data set: which texts go in, where the file goes. bpe_train.h does the learning. */
#include <string.h>

#include "train/bpe_train.h"
#include "train/dataset.h"
#include "train/folder.h"

/* What a model will be judged on must not shape its vocabulary. */
static bool is_training_text(const struct eye_dataset *set, const struct eye_data_caption *c, bool has_splits) {
    return c->image == EYE_NO_IMAGE || !has_splits || set->image[c->image].split == EYE_SPLIT_TRAIN;
}

static enum eye_status add_texts(struct eye_bpe_trainer *t, const struct eye_dataset *set, struct eye_err *err) {
    bool has_splits = false;
    for (size_t i = 0; i < set->n_images; i++) has_splits |= set->image[i].split != EYE_SPLIT_NONE;
    for (size_t i = 0; i < set->n_captions; i++) {
        const struct eye_data_caption *c = &set->caption[i];
        if (!is_training_text(set, c, has_splits)) continue;
        if (c->prompt) EYE_TRY(eye_bpe_trainer_add(t, c->prompt, strlen(c->prompt), err));
        EYE_TRY(eye_bpe_trainer_add(t, c->text, strlen(c->text), err));
    }
    return EYE_OK;
}

enum eye_status eye_tokenizer_train(const struct eye_dataset *set, const struct eye_tokenizer_train_opts *opts,
                                    const char *path, struct eye_tokenizer_report *report, struct eye_err *err) {
    struct eye_bpe_trainer *t;
    struct eye_buf json;
    EYE_TRY(eye_bpe_trainer_new(&t, opts, set->alloc, err));
    eye_buf_init(&json, set->alloc);
    enum eye_status st = add_texts(t, set, err);
    if (st == EYE_OK) st = eye_bpe_trainer_finish(t, &json, err);
    if (st == EYE_OK) st = eye_path_write(path, json.p, json.len, err);
    if (st == EYE_OK && report) eye_bpe_trainer_report(t, report);
    eye_buf_clear(&json);
    eye_bpe_trainer_free(t);
    return st;
}
