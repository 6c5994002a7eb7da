/* training: what `train` and `distill` share: options, progress, and how a run ends. */
#ifndef EYELET_CLI_TRAINING_H
#define EYELET_CLI_TRAINING_H

#include "args.h"
#include "eyelet/train.h"

struct training_args {
    const char *out, *data;
    struct arg_list set;
    int32_t n_threads;
    bool resume, dry_run, json, quiet;
};
#define TRAINING_ARGS \
    {ARG_TEXT, 'o', "output", "DIR", "folder of the run: log, report, checkpoints, student", \
     offsetof(struct training_args, out)}, \
    {ARG_TEXT, 0, "data", "DIR", "what DATA/ in the recipe's paths stands for", offsetof(struct training_args, data)}, \
    {ARG_LIST, 0, "set", "KEY=VALUE", "over the recipe, such as stages.0.lr=1e-3; may be repeated", \
     offsetof(struct training_args, set)}, \
    {ARG_FLAG, 0, "resume", NULL, "go on with the run in that folder", offsetof(struct training_args, resume)}, \
    {ARG_FLAG, 0, "dry-run", NULL, "count the student's parameters and stop", offsetof(struct training_args, dry_run)}, \
    {ARG_INT, 't', "threads", "N", "threads that compute; 0 = all processors; results do not depend on it", \
     offsetof(struct training_args, n_threads), 0, 1024}, \
    {ARG_FLAG, 0, "json", NULL, "one JSON object at the end", offsetof(struct training_args, json)}, \
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(struct training_args, quiet)}, \
    {ARG_END}

/* Runs the recipe; says all itself. Returns the exit code. */
int training_run(const struct command *cmd, const struct training_args *a, const char *recipe, enum eye_train_use use);
/* The student as it begins, nothing more. */
int training_init(const struct command *cmd, const struct training_args *a, const char *recipe);

#endif
