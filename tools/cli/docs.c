/* docs: see docs.h. */
#include "docs.h"

#include <stdio.h>
#include <string.h>

/* ---- commands of two words ("data check") ---- */

/* The second word of a name; NULL = it has one word. */
static const char *second_word(const struct command *cmd) {
    const char *blank = strchr(cmd->name, ' ');
    return blank ? blank + 1 : NULL;
}

static int first_len(const struct command *cmd) { return (int)strcspn(cmd->name, " "); }

/* Does a command before this one have the same first word? */
static bool group_begun(const struct command *const *commands, const struct command *cmd) {
    for (; *commands != cmd; commands++)
        if (first_len(*commands) == first_len(cmd) && strncmp((*commands)->name, cmd->name, (size_t)first_len(cmd)) == 0)
            return true;
    return false;
}

/* Second words of all commands that begin like this one. */
static void print_second_words(const struct command *const *commands, const struct command *cmd, const char *between) {
    bool first = true;
    for (; *commands; commands++)
        if (second_word(*commands) && strncmp((*commands)->name, cmd->name, (size_t)first_len(cmd) + 1) == 0) {
            printf("%s%s", first ? "" : between, second_word(*commands));
            first = false;
        }
}

/* The name of a manual page: "data-check", with the dashes as given. */
static void print_page_name(const char *name, const char *dash) {
    for (; *name; name++) {
        if (*name == ' ' || *name == '-')
            fputs(dash, stdout);
        else
            putchar(*name);
    }
}

/* ---- manual pages ---- */

/* Text for roff: backslashes and dashes escaped, no line that begins like a macro. */
static void roff(const char *text) {
    bool line_begins = true;
    for (const char *p = text; *p; p++) {
        if (line_begins && (*p == '.' || *p == '\'')) fputs("\\&", stdout);
        if (*p == '\\')
            fputs("\\e", stdout);
        else if (*p == '-')
            fputs("\\-", stdout);
        else
            putchar(*p);
        line_begins = *p == '\n';
    }
}

static void roff_line(const char *before, const char *text, const char *after) {
    fputs(before, stdout);
    roff(text);
    printf("%s\n", after);
}

static void man_option(const struct arg *a) {
    char note[ARG_NOTE_MAX];
    printf(".TP\n"); /* the next input line is the tag: all of it on that line */
    if (a->letter) printf("\\fB\\-%c\\fR, ", a->letter);
    fputs("\\fB\\-\\-", stdout);
    roff(a->name);
    fputs("\\fR", stdout);
    if (a->value) {
        fputs(" \\fI", stdout);
        roff(a->value);
        fputs("\\fR", stdout);
    }
    args_note(a, note, sizeof note);
    roff_line("\n", note, "");
}

static void man_options(const struct command *cmd) {
    bool first = true;
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++) {
        if (a->type == ARG_GROUP) {
            printf(first ? ".SH OPTIONS\n" : "");
            roff_line(".SS ", a->help, "");
        } else {
            printf(first ? ".SH OPTIONS\n" : "");
            man_option(a);
        }
        first = false;
    }
    printf("%s.TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nA short text about the options.\n", first ? ".SH OPTIONS\n" : "");
}

static void man_environment(const struct command *cmd) {
    char name[ARG_VARIABLE_MAX];
    printf(".SH ENVIRONMENT\nEach option has a twin variable; what the command line says wins.\n");
    for (const struct arg *a = cmd ? cmd->args : NULL; a && a->type != ARG_END; a++) {
        if (a->type == ARG_GROUP) continue;
        args_variable(a, name, sizeof name);
        printf(".TP\n.B %s\n", name);
        roff_line("as \\fB\\-\\-", a->name, a->type == ARG_FLAG ? "\\fR: 1 or 0" : "\\fR");
    }
    printf(".TP\n.B EYE_CPU\nuse at most these CPU features: \"avx2,avx512\"; \"base\" means none\n"
           ".TP\n.B NO_COLOR\nif not empty: no colors, on a terminal either\n");
}

static void man_exit_status(void) {
    printf(".SH EXIT STATUS\n.TP\n.B 0\ndone\n.TP\n.B 1\nfailed; one line on standard error says why\n"
           ".TP\n.B 2\nwrong usage\n.TP\n.B 130\ninterrupted (Ctrl\\-C): what there was of the answer has been printed\n");
}

static void man_command(const struct command *const *commands, const struct command *cmd) {
    fputs(".SH NAME\neyelet\\-", stdout); /* one line: what whatis and apropos read */
    print_page_name(cmd->name, "\\-");
    roff_line(" \\- ", cmd->summary, "");
    roff_line(".SH SYNOPSIS\n.B eyelet ", cmd->name, "");
    roff_line("", cmd->usage, "");
    if (cmd->details) roff_line(".SH DESCRIPTION\n", cmd->details, "");
    man_options(cmd);
    man_environment(cmd);
    man_exit_status();
    if (cmd->examples) printf(".SH EXAMPLES\n");
    for (const struct example *e = cmd->examples; e && e->line; e++) {
        roff_line(".PP\n", e->what, ":");
        roff_line(".PP\n.nf\n.RS\n", e->line, "\n.RE\n.fi");
    }
    printf(".SH SEE ALSO\n\\fBeyelet\\fR(1)");
    for (; *commands; commands++) {
        if (*commands == cmd) continue;
        printf(", \\fBeyelet\\-");
        print_page_name((*commands)->name, "\\-");
        printf("\\fR(1)");
    }
    printf("\n");
}

static void man_program(const struct command *const *commands) {
    printf(".SH NAME\neyelet \\- vision\\-language models on edge devices\n"
           ".SH SYNOPSIS\n.B eyelet\nCOMMAND [OPTIONS]\n"
           ".SH DESCRIPTION\nRuns vision\\-language models on the CPUs of phones, boards and mini\\-PCs: a picture and a "
           "question in, text out. Results go to standard output, messages to standard error.\n.SH COMMANDS\n");
    for (const struct command *const *c = commands; *c; c++) {
        printf(".TP\n\\fBeyelet\\-");
        print_page_name((*c)->name, "\\-");
        printf("\\fR(1)\n");
        roff_line("", (*c)->summary, "");
    }
    printf(".TP\n\\fBeyelet help\\fR [COMMAND]\nthe options of a command\n");
    man_environment(NULL);
    man_exit_status();
    printf(".SH EXAMPLES\n");
    for (const struct command *const *c = commands; *c; c++)
        if ((*c)->examples) {
            roff_line(".PP\n", (*c)->examples->what, ":");
            roff_line(".PP\n.nf\n.RS\n", (*c)->examples->line, "\n.RE\n.fi");
        }
}

void docs_man(const struct command *const *commands, const struct command *cmd, const char *version) {
    printf(".TH EYELET");
    if (cmd) printf("\\-");
    for (const char *p = cmd ? cmd->name : ""; *p; p++)
        if (*p == ' ' || *p == '-')
            printf("\\-");
        else
            putchar(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
    printf(" 1 \"\" \"eyelet %s\" \"eyelet\"\n", version);
    if (cmd)
        man_command(commands, cmd);
    else
        man_program(commands);
}

/* ---- completion ---- */

/* Values that are names of files; the placeholders say so. */
static bool is_path(const char *value) {
    static const char *const words[] = {"FILE", "MODEL", "CHECKPOINT", "FOLDER", "DIR"};
    for (size_t i = 0; value && i < sizeof words / sizeof words[0]; i++)
        if (strstr(value, words[i])) return true;
    return false;
}

static void print_choices(const struct arg *a) {
    for (int i = 0; a->choices[i]; i++) printf("%s%s", i ? " " : "", a->choices[i]);
}

static void print_names(const struct command *const *commands) {
    for (const struct command *const *c = commands; *c; c++)
        if (!group_begun(commands, *c)) printf("%.*s ", first_len(*c), (*c)->name);
    printf("help");
}

static void bash_command(const struct command *cmd) {
    printf("    '%s')\n        case $prev in\n", cmd->name);
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++) {
        if (!a->value || is_path(a->value)) continue; /* files: what readline does by itself */
        printf("        ");
        if (a->letter) printf("-%c | ", a->letter);
        printf("--%s) ", a->name);
        if (a->type == ARG_CHOICE) {
            printf("COMPREPLY=($(compgen -W \"");
            print_choices(a);
            printf("\" -- \"$cur\")); ");
        } else {
            printf("COMPREPLY=(\"$cur\"); ");
        }
        printf("return ;;\n");
    }
    printf("        esac\n        [[ $cur == -* ]] && COMPREPLY=($(compgen -W \"");
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++)
        if (a->type != ARG_GROUP) printf("--%s ", a->name);
    printf("--help\" -- \"$cur\")) ;;\n");
}

static void bash(const struct command *const *commands) {
    printf("# bash completion of eyelet\n_eyelet() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} names=\"");
    print_names(commands);
    printf("\"\n    COMPREPLY=()\n"
           "    if [[ $COMP_CWORD -eq 1 ]]; then COMPREPLY=($(compgen -W \"$names\" -- \"$cur\")); return; fi\n"
           "    local name=${COMP_WORDS[1]}\n    case $name in\n");
    for (const struct command *const *c = commands; *c; c++) {
        if (!second_word(*c) || group_begun(commands, *c)) continue;
        printf("    %.*s)\n        if [[ $COMP_CWORD -eq 2 ]]; then COMPREPLY=($(compgen -W \"", first_len(*c), (*c)->name);
        print_second_words(commands, *c, " ");
        printf("\" -- \"$cur\")); return; fi\n        name=\"$name ${COMP_WORDS[2]}\" ;;\n");
    }
    printf("    esac\n    case $name in\n    help) COMPREPLY=($(compgen -W \"$names\" -- \"$cur\")) ;;\n");
    for (; *commands; commands++) bash_command(*commands);
    printf("    esac\n}\ncomplete -o bashdefault -o default -F _eyelet eyelet\n");
}

/* Inside '…' of zsh and fish; escaped: what needs a backslash before it there. */
static void quoted(const char *text, const char *escaped) {
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else if (strchr(escaped, *text))
            printf("\\%c", *text);
        else
            putchar(*text);
    }
}

static void zsh_option(const struct arg *a) {
    const char *many = a->type == ARG_LIST ? "*" : "";
    printf(" \\\n            ");
    if (a->letter && *many)
        printf("'*'{-%c+,--%s=}'[", a->letter, a->name);
    else if (a->letter)
        printf("'(-%c --%s)'{-%c%s,--%s%s}'[", a->letter, a->name, a->letter, a->value ? "+" : "", a->name,
               a->value ? "=" : "");
    else
        printf("'%s--%s%s[", many, a->name, a->value ? "=" : "");
    quoted(a->help, "[]:\\");
    printf("]");
    if (a->value) {
        printf(":");
        quoted(a->value, ":\\");
        printf(":%s", is_path(a->value) ? "_files" : a->type == ARG_CHOICE ? "(" : " ");
        if (a->type == ARG_CHOICE) {
            print_choices(a);
            printf(")");
        }
    }
    printf("'");
}

static void zsh(const struct command *const *commands) {
    printf("#compdef eyelet\n_eyelet() {\n    local -a names\n    names=(\n");
    for (const struct command *const *c = commands; *c; c++) {
        if (group_begun(commands, *c)) continue;
        printf("        '%.*s:", first_len(*c), (*c)->name);
        if (second_word(*c))
            print_second_words(commands, *c, ", ");
        else
            quoted((*c)->summary, ":\\");
        printf("'\n");
    }
    printf("        'help:what a command does'\n    )\n"
           "    if (( CURRENT == 2 )); then _describe command names; return; fi\n"
           "    local name=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $name in\n");
    for (const struct command *const *c = commands; *c; c++) {
        if (!second_word(*c) || group_begun(commands, *c)) continue;
        printf("    %.*s)\n        if (( CURRENT == 2 )); then compadd ", first_len(*c), (*c)->name);
        print_second_words(commands, *c, " ");
        printf("; return; fi\n        name=\"$name $words[2]\"\n        shift words\n        (( CURRENT-- )) ;;\n");
    }
    printf("    esac\n    case $name in\n    help) _describe command names ;;\n");
    for (; *commands; commands++) {
        printf("    '%s')\n        _arguments -s", (*commands)->name);
        for (const struct arg *a = (*commands)->args; a->type != ARG_END; a++)
            if (a->type != ARG_GROUP) zsh_option(a);
        printf(" \\\n            '(-h --help)'{-h,--help}'[help]'");
        if ((*commands)->operand)
            printf(" \\\n            '*:%s:%s'", (*commands)->operand, is_path((*commands)->operand) ? "_files" : " ");
        printf("\n        ;;\n");
    }
    printf("    esac\n}\n_eyelet \"$@\"\n");
}

/* "complete" for what follows a command. */
static void fish_after(const struct command *cmd) {
    printf("complete -c eyelet -n '__fish_seen_subcommand_from %.*s", first_len(cmd), cmd->name);
    if (second_word(cmd)) printf("; and __fish_seen_subcommand_from %s", second_word(cmd));
    printf("'");
}

static void fish_option(const struct command *cmd, const struct arg *a) {
    fish_after(cmd);
    if (a->letter) printf(" -s %c", a->letter);
    printf(" -l %s", a->name);
    if (a->value) printf(is_path(a->value) ? " -r -F" : " -x");
    if (a->type == ARG_CHOICE) {
        printf(" -a '");
        print_choices(a);
        printf("'");
    }
    printf(" -d '");
    quoted(a->help, "\\");
    printf("'\n");
}

static void fish(const struct command *const *commands) {
    printf("# fish completion of eyelet\n");
    for (const struct command *const *c = commands; *c; c++) {
        const char *second = second_word(*c);
        if (!group_begun(commands, *c)) {
            printf("complete -c eyelet -n __fish_use_subcommand -f -a %.*s -d '", first_len(*c), (*c)->name);
            if (second)
                print_second_words(commands, *c, ", ");
            else
                quoted((*c)->summary, "\\");
            printf("'\n");
        }
        if (!second) continue;
        printf("complete -c eyelet -n '__fish_seen_subcommand_from %.*s; and not __fish_seen_subcommand_from ", first_len(*c),
               (*c)->name);
        print_second_words(commands, *c, " ");
        printf("' -f -a %s -d '", second);
        quoted((*c)->summary, "\\");
        printf("'\n");
    }
    printf("complete -c eyelet -n __fish_use_subcommand -f -a help -d 'what a command does'\n"
           "complete -c eyelet -n '__fish_seen_subcommand_from help' -f -a '");
    print_names(commands);
    printf("'\n");
    for (; *commands; commands++) {
        if (!is_path((*commands)->operand)) {
            fish_after(*commands);
            printf(" -f\n");
        }
        for (const struct arg *a = (*commands)->args; a->type != ARG_END; a++)
            if (a->type != ARG_GROUP) fish_option(*commands, a);
    }
}

bool docs_completion(const struct command *const *commands, const char *shell) {
    if (strcmp(shell, "bash") == 0)
        bash(commands);
    else if (strcmp(shell, "zsh") == 0)
        zsh(commands);
    else if (strcmp(shell, "fish") == 0)
        fish(commands);
    else
        return false;
    return true;
}
