/* eyelet distill: a student that imitates a teacher: a vision tower, or a whole captioner that sees the image. */
#include <string.h>

#include "cli.h"
#include "training.h"

static const struct arg distill_args[] = {TRAINING_ARGS};

static int run(void *opts, char *const *operand, int n_operands) {
    bool joint = strcmp(operand[0], "joint") == 0;
    if (!joint && strcmp(operand[0], "vision") != 0)
        return args_usage(&cmd_distill, "\"%s\", expected vision or joint", operand[0]);
    if (n_operands < 2) return args_usage(&cmd_distill, "the recipe is missing: a JSON file");
    return training_run(&cmd_distill, opts, operand[1], joint ? EYE_DISTIL_JOINT : EYE_DISTIL_VISION);
}

static const struct example examples[] = {
    {"A small tower from a large one's features",
     "eyelet distill vision recipes/distil_vision.json -o run --set teacher.path=clip-folder --data ../shared/data"},
    {"A small captioner from a large one",
     "eyelet distill joint recipes/distil_joint.json -o run --set teacher.path=big/student --data ../shared/data"},
    {NULL, NULL},
};

const struct command cmd_distill = {
    .name = "distill",
    .usage = "vision|joint RECIPE -o DIR [--data DIR] [--set KEY=VALUE]… [--resume]",
    .summary = "train a student to imitate a teacher",
    .details = "vision: features of any model's tower, or of a file; the score of a constant vector is told beside it.\n"
               "joint: the teacher sees the image; what it holds likeliest after each token is learnt, beside the captions.\n"
               "See doc/TRAINING.md.",
    .args = distill_args,
    .examples = examples,
    .opts_bytes = sizeof(struct training_args),
    .operand = "vision|joint",
    .min_operands = 1,
    .max_operands = 2,
    .run = run,
};
