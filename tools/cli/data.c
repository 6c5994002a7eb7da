/* data: see data.h. */
#include "data.h"

#include <stdio.h>

/* In the order of enum eye_data_format. */
const char *const data_format_names[] = {"auto", "coco", "karpathy", "flickr", "csv", "llava", "tsv", "text", "images", NULL};

int data_open(struct ui *ui, const struct data_args *a, char *const *operand, int n_operands, struct eye_dataset **set) {
    struct eye_err err = {0};
    struct eye_dataset_opts opts = {.format = (enum eye_data_format)a->format, .images = a->images, .max_words = a->max_words,
                                    .split_list = {NULL, a->train, a->dev, a->test}};
    enum eye_status st = eye_dataset_open((const char *const *)operand, (size_t)n_operands, &opts, set, &err);
    return st == EYE_OK ? EXIT_DONE : ui_fail(ui, &err);
}

void data_progress(void *ctx, double done) { ui_progress(ctx, "pictures", done); }

/* ---- counts ---- */

void data_print_counts(const struct eye_dataset *set) {
    struct eye_dataset_info i;
    eye_dataset_get_info(set, &i);
    printf("%-10s %10s %10s\n", "split", "pictures", "captions");
    for (int s = EYE_SPLIT_TRAIN; s <= EYE_N_SPLITS; s++) {
        int k = s % EYE_N_SPLITS; /* "none" comes last */
        if (i.n_images[k] || i.n_captions[k])
            printf("%-10s %10zu %10zu\n", eye_split_name((enum eye_split)k), i.n_images[k], i.n_captions[k]);
    }
    printf("words      %.1f a caption, at most %d\n", i.mean_words, i.max_words);
    if (i.n_answers) printf("answers    %zu captions answer a question\n", i.n_answers);
    printf("format     %s\n", eye_data_format_name(i.format));
}

json_t *data_counts_json(const struct eye_dataset *set) {
    struct eye_dataset_info i;
    json_t *splits = json_object();
    eye_dataset_get_info(set, &i);
    for (int s = 0; s < EYE_N_SPLITS; s++)
        json_object_set_new(splits, eye_split_name((enum eye_split)s),
                            json_pack("{s:I,s:I}", "pictures", (json_int_t)i.n_images[s], "captions",
                                      (json_int_t)i.n_captions[s]));
    return json_pack("{s:s,s:o,s:I,s:f,s:i}", "format", eye_data_format_name(i.format), "splits", splits, "answers",
                     (json_int_t)i.n_answers, "mean_words", i.mean_words, "max_words", i.max_words);
}

/* ---- issues ---- */

size_t data_count(const struct eye_data_report *r, enum eye_data_severity severity) {
    size_t n = 0;
    for (int i = 0; i < EYE_N_ISSUES; i++)
        if (eye_data_issue_severity((enum eye_data_issue)i) == severity) n += r->row[i].n;
    return n;
}

static const char *severity_name(enum eye_data_severity s) { return s == EYE_DATA_ERROR ? "error" : "warning"; }

void data_print_issues(const struct eye_data_report *r) {
    for (int s = EYE_DATA_ERROR; s >= EYE_DATA_WARNING; s--)
        for (int i = 0; i < EYE_N_ISSUES; i++) {
            const struct eye_data_row *row = &r->row[i];
            enum eye_data_issue issue = (enum eye_data_issue)i;
            if (!row->n || eye_data_issue_severity(issue) != (enum eye_data_severity)s) continue;
            printf("%-8s %8zu  %s (%s)\n", severity_name((enum eye_data_severity)s), row->n, eye_data_issue_text(issue),
                   eye_data_issue_name(issue));
            for (size_t k = 0; k < row->n && k < EYE_DATA_N_EXAMPLES; k++) printf("%19s%s\n", "", row->example[k]);
            if (row->n > EYE_DATA_N_EXAMPLES) printf("%19s…\n", "");
        }
}

json_t *data_issues_json(const struct eye_data_report *r) {
    json_t *list = json_array();
    for (int i = 0; i < EYE_N_ISSUES; i++) {
        const struct eye_data_row *row = &r->row[i];
        enum eye_data_issue issue = (enum eye_data_issue)i;
        json_t *examples = json_array();
        for (size_t k = 0; k < row->n && k < EYE_DATA_N_EXAMPLES; k++)
            json_array_append_new(examples, json_outside(row->example[k]));
        json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:o}", "issue", eye_data_issue_name(issue), "severity",
                                              severity_name(eye_data_issue_severity(issue)), "count", (json_int_t)row->n,
                                              "examples", examples));
    }
    return list;
}

void data_note_issues(struct ui *ui, const struct eye_data_report *r) {
    size_t errors = data_count(r, EYE_DATA_ERROR), warnings = data_count(r, EYE_DATA_WARNING);
    if (errors || warnings)
        ui_note(ui, "warning: %zu entries with errors, %zu with oddities: see \"eyelet data check\"", errors, warnings);
}
