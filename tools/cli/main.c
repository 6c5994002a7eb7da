/* eyelet: the command line. One row per command; this file finds it, parses its options, runs it. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "docs.h"

static const struct command *const commands[] = {&cmd_run, &cmd_chat, &cmd_batch, &cmd_cache, &cmd_probe, &cmd_tokens, &cmd_convert, &cmd_calibrate,
                                               &cmd_compile, &cmd_inspect, &cmd_serve, &cmd_bench, &cmd_doctor, &cmd_train, &cmd_distill,
                                               &cmd_eval, &cmd_data_info, &cmd_data_check, &cmd_data_split, &cmd_data_cache,
                                               &cmd_data_synth, &cmd_data_tokenizer, &cmd_export_onnx, &cmd_export_genie, &cmd_export_lut, &cmd_export_qai_hub, &cmd_export_qai_jobs,
                                               &cmd_onnx_print, &cmd_onnx_check, &cmd_onnx_rename, &cmd_onnx_lint, &cmd_onnx_patch,
                                               &cmd_genie_prepare, &cmd_genie_combine, &cmd_genie_t2t_run, &cmd_net_run, &cmd_ctx_info,
                                               &cmd_device_list, &cmd_device_doctor, &cmd_device_push, &cmd_device_run,
                                               &cmd_device_verify, &cmd_fastvlm_e2e,
                                               &cmd_fastvlm_cache, &cmd_fastvlm_export_decoder, &cmd_fastvlm_compile, &cmd_pull, &cmd_version, NULL};
#define N_COMMANDS (sizeof commands / sizeof commands[0] - 1)

static void print_overview(void) {
    printf("eyelet %s: vision-language models on edge devices\n\n"
           "Usage: eyelet COMMAND [OPTIONS]\n\n", eye_version());
    for (size_t i = 0; i < N_COMMANDS; i++) printf("  %-22s %s\n", commands[i]->name, commands[i]->summary);
    printf("  %-22s %s\n", "help", "this text, or \"eyelet help COMMAND\"");
    printf("\nResults go to standard output, messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage.\n");
}

/* The command that argv begins with, of one word or of two ("data check"); *n_words of them. */
static const struct command *find_command(int argc, char *const *argv, int *n_words) {
    for (size_t i = 0; i < N_COMMANDS; i++) {
        const char *name = commands[i]->name, *second = strchr(name, ' ');
        size_t len = second ? (size_t)(second - name) : strlen(name);
        *n_words = second ? 2 : 1;
        if (argc >= *n_words && strlen(argv[0]) == len && memcmp(argv[0], name, len) == 0 &&
            (!second || strcmp(argv[1], second + 1) == 0))
            return commands[i];
    }
    return NULL;
}

/* Of a group ("data") without a command of it. True: it is one, and was said. */
static bool lacks_second_word(const char *group, const char *second) {
    char list[256];
    size_t at = 0, len = strlen(group);
    for (size_t i = 0; i < N_COMMANDS && at < sizeof list; i++)
        if (strncmp(commands[i]->name, group, len) == 0 && commands[i]->name[len] == ' ')
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", at ? ", " : "", commands[i]->name + len + 1);
    if (at && second && second[0] != '-')
        args_usage(NULL, "\"%s %s\": expected %s and one of %s", group, second, group, list);
    else if (at)
        args_usage(NULL, "\"%s\" needs a second word: %s", group, list);
    return at > 0;
}

/* "fastvlm help": the commands of a group. False: there is no such group. */
static bool group_help(const char *group) {
    size_t len = strlen(group);
    bool any = false;
    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strncmp(commands[i]->name, group, len) != 0 || commands[i]->name[len] != ' ') continue;
        if (!any) printf("Usage: eyelet %s COMMAND [OPTIONS]\n\n", group);
        printf("  %-16s %s\n", commands[i]->name + len + 1, commands[i]->summary);
        any = true;
    }
    if (any) printf("\n\"eyelet help %s COMMAND\" tells more of one.\n", group);
    return any;
}

static bool is_help(const char *word) { return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0; }

static int unknown_command(const char *name, const char *second) {
    if (lacks_second_word(name, second)) return EXIT_USAGE;
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
    int n_words;
    const struct command *cmd = find_command(argc - man, argv + man, &n_words);
    if (!cmd && !man && argc == 1 && group_help(argv[0])) return EXIT_DONE;
    if (!cmd) return unknown_command(argv[man], argc > man + 1 ? argv[man + 1] : NULL);
    if (man)
        docs_man(commands, cmd, eye_version());
    else
        args_help(cmd);
    return EXIT_DONE;
}

/* Under the name of a vendor's program (a link in PATH) it is its stand-in, so that scripts which call that run as they are. */
static const struct command *find_stand_in(const char *argv0) {
    static const struct { const char *name; const struct command *cmd; } names[] = {
        {"genie-t2t-run", &cmd_genie_t2t_run}, {"qnn-net-run", &cmd_net_run}, {"qnn-context-binary-utility", &cmd_ctx_info}};
    const char *slash = argv0 ? strrchr(argv0, '/') : NULL, *base = slash ? slash + 1 : argv0;
    for (size_t i = 0; base && i < sizeof names / sizeof names[0]; i++)
        if (strcmp(base, names[i].name) == 0) return names[i].cmd;
    return NULL;
}

int main(int argc, char **argv) {
    struct ui ui;
    int code;
    ui_init(&ui, false, false);
    signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk, which removes what was begun */
    const struct command *stand_in = find_stand_in(argv[0]);
    if (stand_in) return ui_finish(&ui, run_command(stand_in, argc - 1, argv + 1));
    if (argc < 2) {
        fprintf(stderr, "eyelet: no command; see \"eyelet help\"\n");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    int n_words = 1;
    const struct command *cmd = strcmp(name, "--version") == 0 ? &cmd_version : find_command(argc - 1, argv + 1, &n_words);
    if (cmd)
        code = run_command(cmd, argc - 1 - n_words, argv + 1 + n_words);
    else if (argc == 3 && is_help(argv[2]) && group_help(name))
        code = EXIT_DONE;
    else if (is_help(name))
        code = help(argc - 2, argv + 2);
    else if (name[0] == '-')
        code = args_usage(NULL, "unknown option \"%s\" before a command", name);
    else
        code = unknown_command(name, argc > 2 ? argv[2] : NULL);
    return ui_finish(&ui, code);
}
