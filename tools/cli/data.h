/* data: what the commands `data …` share: options that say which data set, opening it, a line about what it lacks. */
#ifndef EYELET_CLI_DATA_H
#define EYELET_CLI_DATA_H

#include "cli.h"
#include "eyelet/train.h"
#include "json.h"

struct data_args { /* a member `data` of each command's options */
    int32_t format; /* enum eye_data_format */
    const char *images, *train, *dev, *test;
    int32_t max_words;
    bool json, quiet;
};
extern const char *const data_format_names[];

#define DATA_ARGS(T) \
    {ARG_GROUP, .help = "Data set"}, \
    {ARG_CHOICE, 0, "format", "FORMAT", "of the lists; auto looks at them", offsetof(T, data.format), \
     .choices = data_format_names}, \
    {ARG_TEXT, 0, "images", "DIR", "where the pictures are; left out: looked for beside the list", offsetof(T, data.images)}, \
    {ARG_TEXT, 0, "train", "FILE", "names of the pictures for training, one a line", offsetof(T, data.train)}, \
    {ARG_TEXT, 0, "dev", "FILE", "of those for development", offsetof(T, data.dev)}, \
    {ARG_TEXT, 0, "test", "FILE", "of those for testing", offsetof(T, data.test)}, \
    {ARG_INT, 0, "max-words", "N", "captions with more words count as long", offsetof(T, data.max_words), 1, 100000, \
     .def = 100}, \
    {ARG_GROUP, .help = "Messages"}, \
    {ARG_FLAG, 0, "json", NULL, "one JSON object", offsetof(T, data.json)}, \
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, data.quiet)}

#define DATA_OPERAND "LIST|DIR"
enum { DATA_MAX_OPERANDS = 64 };

/* Opens what operands name; says what is wrong itself. Returns EXIT_DONE or another exit code. */
int data_open(struct ui *ui, const struct data_args *a, char *const *operand, int n_operands, struct eye_dataset **set);
/* progress of the library; ctx is the struct ui. */
void data_progress(void *ctx, double done);
/* Pictures and captions of each split, as lines or as JSON. */
void data_print_counts(const struct eye_dataset *set);
json_t *data_counts_json(const struct eye_dataset *set);
/* What was found, with examples, errors first. */
void data_print_issues(const struct eye_data_report *r);
json_t *data_issues_json(const struct eye_data_report *r);
/* Findings of one severity, added up. */
size_t data_count(const struct eye_data_report *r, enum eye_data_severity severity);
/* A line for people if something was left out or is odd. */
void data_note_issues(struct ui *ui, const struct eye_data_report *r);

#endif
