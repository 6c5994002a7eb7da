/* args: command lines from tables. A command is a row with a table of options; parsing, EYELET_… variables, help text and
 * suggestions all come from it. Knows no command and no model.
 *
 * An option's value lands at an offset of the command's own options struct, which the caller zero-fills. Order: default, then
 * the variable EYELET_<LONG_NAME>, then the command line (a list given there replaces the variable's).
 */
#ifndef EYELET_CLI_ARGS_H
#define EYELET_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_INTERRUPTED = 130 };

enum arg_type {
    ARG_END,    /* closes a table */
    ARG_FLAG,   /* bool; no value */
    ARG_INT,    /* int32_t in [min, max] */
    ARG_U64,    /* uint64_t */
    ARG_REAL,   /* float in [min, max] */
    ARG_TEXT,   /* const char * */
    ARG_LIST,   /* struct arg_list; may be repeated */
    ARG_CHOICE, /* int32_t: the choice's number */
    ARG_GROUP   /* no option: a headline in the help text */
};

#define ARG_MAX_LIST 256
struct arg_list {
    const char *item[ARG_MAX_LIST]; /* borrowed from argv or the environment */
    int32_t n;
};

struct arg {
    enum arg_type type;
    char letter;                /* 0 = none */
    const char *name;           /* long name, without dashes */
    const char *value;          /* "N", "FILE"; NULL for flags */
    const char *help;
    size_t offset;              /* in the options struct */
    double min, max;            /* INT, REAL */
    const char *const *choices; /* CHOICE: NULL-terminated; the first is the default */
    double def;                 /* INT, REAL: the value when it is not given */
};

struct example {
    const char *what, *line; /* "A picture in one sentence", "eyelet run …" */
};

struct command {
    const char *name;
    const char *usage;   /* "[-m MODEL] [-i IMAGE]…", after the name */
    const char *summary; /* one line */
    const char *details; /* lines at the end of the help text; NULL = none */
    const struct arg *args;
    const struct example *examples; /* ended by a NULL line; NULL = none */
    size_t opts_bytes;   /* of the options struct, <= ARG_MAX_OPTS */
    const char *operand; /* what positional arguments are, "TEXT"; NULL = none taken */
    int min_operands, max_operands;
    int (*run)(void *opts, char *const *operand, int n_operands); /* returns the exit code */
};
#define ARG_MAX_OPTS 16384

/* Fills opts (zeroed, cmd->opts_bytes) from the table's defaults, the environment and argv; operand gets room for argc
 * pointers. False: a usage error was printed to stderr in one line. *want_help: -h or --help was met. */
bool args_parse(const struct command *cmd, int argc, char *const *argv, void *opts, char **operand, int *n_operands,
                bool *want_help);
/* Help text of one command to stdout. */
void args_help(const struct command *cmd);
/* What an option's help says: its text, choices and default. */
#define ARG_NOTE_MAX 512
void args_note(const struct arg *a, char *out, size_t cap);
/* "EYELET_TOP_K" */
#define ARG_VARIABLE_MAX 80
void args_variable(const struct arg *a, char *out, size_t cap);
/* The nearest of n names to what was typed, or NULL when none is near. */
const char *args_nearest(const char *typed, const char *const *names, size_t n);
/* One line to stderr, "eyelet: …; see "eyelet help CMD""; returns EXIT_USAGE. cmd may be NULL. */
__attribute__((format(printf, 2, 3))) int args_usage(const struct command *cmd, const char *fmt, ...);

#endif
