/* eyelet: the command line. One row per command; this file finds it, parses its options, runs it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "docs.h"

static const struct command *const commands[] = {&cmd_run, &cmd_chat, &cmd_cache, &cmd_probe, &cmd_tokens, &cmd_convert,
                                               &cmd_inspect, &cmd_bench, &cmd_doctor, &cmd_train, &cmd_eval,
                                               &cmd_version, NULL};
#define N_COMMANDS (sizeof commands / sizeof commands[0] - 1)

static void print_overview(void) {
    printf("eyelet %s: vision-language models on edge devices\n\n"
           "Usage: eyelet COMMAND [OPTIONS]\n\n", eye_version());
    for (size_t i = 0; i < N_COMMANDS; i++) printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("  %-10s %s\n", "help", "this text, or \"eyelet help COMMAND\"");
    printf("\nResults go to standard output, messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

static int unknown_command(const char *name) {
    static const char *const planned[] = {"batch", "calibrate", "compile", "data", "device", "distill",
                                          "export", "onnx", "pull", "serve"};
    for (size_t i = 0; i < sizeof planned / sizeof planned[0]; i++)
        if (strcmp(planned[i], name) == 0) return args_usage(NULL, "\"%s\" is not in this version (%s)", name, eye_version());
    const char *names[N_COMMANDS + 1] = {"help"};
    for (size_t i = 0; i < N_COMMANDS; i++) names[i + 1] = commands[i]->name;
    const char *near = args_nearest(name, names, N_COMMANDS + 1);
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

/* --man [COMMAND] and --completion SHELL are for the build, which installs what they print. */
static int help(int argc, char *const *argv) {
    bool man = argc > 0 && strcmp(argv[0], "--man") == 0;
    if (argc > 1 && strcmp(argv[0], "--completion") == 0)
        return docs_completion(commands, argv[1])
                   ? EXIT_DONE
                   : args_usage(NULL, "completion for \"%s\", expected bash, zsh or fish", argv[1]);
    if (argc == man) {
        if (man)
            docs_man(commands, NULL, eye_version());
        else
            print_overview();
        return EXIT_DONE;
    }
    const struct command *cmd = find_command(argv[man]);
    if (!cmd) return unknown_command(argv[man]);
    if (man)
        docs_man(commands, cmd, eye_version());
    else
        args_help(cmd);
    return EXIT_DONE;
}

int main(int argc, char **argv) {
    struct ui ui;
    int code;
    ui_init(&ui, false, false);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk, which removes what was begun */
    if (argc < 2) {
        fprintf(stderr, "eyelet: no command; see \"eyelet help\"\n");
        return EXIT_USAGE;
    }
    const char *name = strcmp(argv[1], "--version") == 0 ? "version" : argv[1];
    const struct command *cmd = find_command(name);
    if (cmd)
        code = run_command(cmd, argc - 2, argv + 2);
    else if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        code = help(argc - 2, argv + 2);
    else if (name[0] == '-')
        code = args_usage(NULL, "unknown option \"%s\" before a command", name);
    else
        code = unknown_command(name);
    return ui_finish(&ui, code);
}
