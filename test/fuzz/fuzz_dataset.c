/* Fuzz target: the bytes are a list of captions, in the format that they look like and in each other one; and a list of
 * names. */
#include "fuzz/fuzz.h"
#include "train/dataset.h"

static void read_as(const uint8_t *p, size_t n, enum eye_data_format format) {
    struct eye_dataset *set;
    struct eye_err err = {0};
    if (eye_dataset_new(NULL, &set, &err) != EYE_OK) abort();
    struct eye_list list = {.set = set, .p = p, .n = n, .where = "fuzz", .folder = "folder"};
    enum eye_status st = eye_dataset_read(&list, format, &err);
    if (st == EYE_OK) st = eye_dataset_read_split(&(struct eye_list){.set = set, .p = p, .n = n, .where = "names"}, &err);
    if (st == EYE_OK) st = eye_dataset_finish(set, &err);
    if (st != EYE_OK) {
        eye_fuzz_error(st, &err);
    } else {
        struct eye_data_report report;
        struct eye_dataset_info info;
        eye_dataset_get_info(set, &info);
        if (eye_dataset_check(set, &(struct eye_data_check_opts){.no_images = true}, &report, &err) != EYE_OK) abort();
        for (size_t i = 0; i < set->n_captions; i++) {
            const struct eye_data_caption *c = &set->caption[i];
            eye_fuzz_read(c->text, strlen(c->text) + 1);
            if (!*c->text || (c->image != EYE_NO_IMAGE && c->image >= set->n_images)) abort();
        }
    }
    eye_dataset_close(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    enum eye_data_format looks = eye_dataset_detect(p, n);
    if (looks) read_as(p, n, looks);
    for (int f = EYE_DATA_COCO; f < EYE_DATA_IMAGES; f++)
        if (f != (int)looks) read_as(p, n, (enum eye_data_format)f);
    return 0;
}
