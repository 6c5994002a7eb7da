/* make_checkpoint: the generator as a program. */
#include "support/make_checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

enum { LISTED_N_BPE = 300 }; /* of all lists under test/golden */

static int usage(const char *why) {
    fprintf(stderr, "make_checkpoint: %s\n"
                    "usage: make_checkpoint [--family fastvlm] [--size tiny|odd|0.5b] [--format hf|apple|apple-train]\n"
                    "                       [--dtype f32|f16|bf16] [--shards N] [--seed S] [--tokenizer DIR] -o DIR\n"
                    "       make_checkpoint --listed DIR -o DIR      what DIR/tensors.txt and DIR/config.json say\n", why);
    return 2;
}

/* Sets what option says; false = no such option or value. */
static bool set_option(struct eye_mk_opts *o, const char *option, const char *value) {
    static const char *const format[] = {"hf", "apple", "apple-train"}, *const dtype[] = {"f32", "f16", "bf16"};
    static const int dtype_value[] = {EYE_F32, EYE_F16, EYE_BF16};
    if (strcmp(option, "-o") == 0) o->out = value;
    else if (strcmp(option, "--tokenizer") == 0) o->tokenizer_dir = value;
    else if (strcmp(option, "--seed") == 0) o->seed = strtoull(value, NULL, 10);
    else if (strcmp(option, "--shards") == 0) o->n_shards = atoi(value);
    else if (strcmp(option, "--size") == 0) return (o->size = eye_mk_size_find(value)) != NULL;
    else if (strcmp(option, "--family") == 0) return strcmp(value, "fastvlm") == 0;
    else {
        for (int i = 0; i < 3; i++) {
            if (strcmp(option, "--format") == 0 && strcmp(value, format[i]) == 0)
                return o->format = (enum eye_mk_format)i, true;
            if (strcmp(option, "--dtype") == 0 && strcmp(value, dtype[i]) == 0) return o->dtype = dtype_value[i], true;
        }
        return false;
    }
    return true;
}

int main(int argc, char **argv) {
    struct eye_mk_opts o = {.size = eye_mk_size_find("tiny"), .dtype = EYE_F32};
    const char *listed = NULL;
    struct eye_err err;
    bool seeded = false;
    for (int i = 1; i < argc; i += 2) {
        char why[128];
        snprintf(why, sizeof why, "cannot use \"%.32s %.32s\"", argv[i], i + 1 < argc ? argv[i + 1] : "");
        if (i + 1 < argc && strcmp(argv[i], "--listed") == 0) listed = argv[i + 1];
        else if (i + 1 >= argc || !set_option(&o, argv[i], argv[i + 1])) return usage(why);
        seeded |= strcmp(argv[i], "--seed") == 0;
    }
    if (!seeded) o.seed = o.size->seed;
    if (!o.out) return usage("-o DIR is missing");
    if ((listed ? eye_make_listed(listed, LISTED_N_BPE, o.out, &err) : eye_make_checkpoint(&o, &err)) == EYE_OK) return 0;
    fprintf(stderr, "make_checkpoint: %s\n", err.text);
    return 1;
}
