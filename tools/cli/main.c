/* eyelet: the command line. One row per command; this file finds it, parses its options, runs it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

static const struct command *const commands[] = {&cmd_run, &cmd_probe, &cmd_tokens, &cmd_convert, &cmd_inspect, &cmd_bench,
                                               &cmd_doctor};
#define N_COMMANDS (sizeof commands / sizeof commands[0])
static const char *const other_words[] = {"help", "version"};
#define N_WORDS (N_COMMANDS + sizeof other_words / sizeof other_words[0])

static void print_overview(void) {
    printf("eyelet %s: vision-language models on edge devices\n\n"
           "Usage: eyelet COMMAND [OPTIONS]\n\n", eye_version());
    for (size_t i = 0; i < N_COMMANDS; i++) printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("  %-10s %s\n  %-10s %s\n", "version", "the version of this program", "help",
           "this text, or \"eyelet help COMMAND\"");
    printf("\nResults go to standard output, messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    const char *names[N_WORDS];
    size_t n = 0;
    for (; n < N_COMMANDS; n++) names[n] = commands[n]->name;
    for (size_t i = 0; n < N_WORDS; i++) names[n++] = other_words[i];
    const char *near = args_nearest(name, names, n);
    if (near) return args_usage(NULL, "unknown command \"%s\", did you mean \"%s\"", name, near);
    return args_usage(NULL, "unknown command \"%s\"", name);
}

static int run_command(const struct command *cmd, int argc, char *const *argv) {
    void *opts = calloc(1, cmd->opts_bytes);
    char **operand = calloc((size_t)argc + 1, sizeof *operand);
    int n_operands, code = EXIT_FAILED;
    bool want_help;
    if (!opts || !operand) {
        fprintf(stderr, "eyelet: out of memory\n");
    } else if (!args_parse(cmd, argc, argv, opts, operand, &n_operands, &want_help)) {
        code = EXIT_USAGE;
    } else if (want_help) {
        args_help(cmd);
        code = EXIT_DONE;
    } else {
        code = cmd->run(opts, operand, n_operands);
    }
    free(operand);
    free(opts);
    return code;
}

static int help(int argc, char *const *argv) {
    if (argc == 0) {
        print_overview();
        return EXIT_DONE;
    }
    const struct command *cmd = find_command(argv[0]);
    if (!cmd) return unknown_command(argv[0]);
    args_help(cmd);
    return EXIT_DONE;
}

int main(int argc, char **argv) {
    struct ui ui;
    int code;
    ui_init(&ui, false, false);
    if (argc < 2) {
        fprintf(stderr, "eyelet: no command; see \"eyelet help\"\n");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    const struct command *cmd = find_command(name);
    if (cmd)
        code = run_command(cmd, argc - 2, argv + 2);
    else if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        code = help(argc - 2, argv + 2);
    else if (strcmp(name, "version") == 0 || strcmp(name, "--version") == 0) {
        printf("eyelet %s\n", eye_version());
        code = EXIT_DONE;
    } else if (name[0] == '-')
        code = args_usage(NULL, "unknown option \"%s\" before a command", name);
    else
        code = unknown_command(name);
    return ui_finish(&ui, code);
}
