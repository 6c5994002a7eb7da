/* args: see args.h. Usage errors are one line on stderr: what was wrong and what would be right. */
#include "args.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 64

int args_usage(const struct command *cmd, const char *fmt, ...) {
    va_list ap;
    fprintf(stderr, "eyelet: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "; see \"eyelet help%s%s\"\n", cmd ? " " : "", cmd ? cmd->name : "");
    return EXIT_USAGE;
}

/* ---- suggestions ---- */

/* Optimal string alignment distance (insert, delete, replace, swap neighbours), of names shorter than MAX_NAME. */
static size_t distance(const char *a, const char *b) {
    size_t row[3][MAX_NAME + 1], na = strlen(a), nb = strlen(b);
    if (na > MAX_NAME || nb > MAX_NAME) return SIZE_MAX;
    for (size_t j = 0; j <= nb; j++) row[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *cur = row[i % 3], *up = row[(i + 2) % 3], *up2 = row[(i + 1) % 3];
        cur[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            size_t best = up[j - 1] + (a[i - 1] != b[j - 1]);
            if (up[j] + 1 < best) best = up[j] + 1;
            if (cur[j - 1] + 1 < best) best = cur[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && up2[j - 2] + 1 < best) best = up2[j - 2] + 1;
            cur[j] = best;
        }
    }
    return row[na % 3][nb];
}

const char *args_nearest(const char *typed, const char *const *names, size_t n) {
    const char *best = NULL;
    size_t best_distance = SIZE_MAX, len = strlen(typed);
    for (size_t i = 0; i < n; i++) {
        size_t d = distance(typed, names[i]);
        if (len >= 3 && strncmp(typed, names[i], len) == 0) d = 1; /* the beginning of a name */
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best_distance <= 1 + len / 4 ? best : NULL;
}

/* ---- values ---- */

static void *field(const struct arg *a, void *opts) { return (char *)opts + a->offset; }

static bool parse_flag(const char *text, bool *out) {
    static const char *const yes[] = {"1", "true", "yes", "on"}, *const no[] = {"0", "false", "no", "off", ""};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        if (strcmp(text, yes[i]) == 0) return *out = true, true;
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        if (strcmp(text, no[i]) == 0) return *out = false, true;
    return false;
}

static int bad_value(const struct command *cmd, const struct arg *a, const char *from, const char *text, const char *want) {
    return args_usage(cmd, "%s is \"%s\", expected %s", from, text, want);
}

/* from: how the user gave it, "--temp" or "EYELET_TEMP". True = stored. */
static bool set_value(const struct command *cmd, const struct arg *a, const char *from, const char *text, void *opts) {
    char *end = NULL, want[256];
    errno = 0;
    switch (a->type) {
    case ARG_INT: {
        long long v = strtoll(text, &end, 10);
        snprintf(want, sizeof want, "a whole number from %.0f to %.0f", a->min, a->max);
        if (end == text || *end || errno || (double)v < a->min || (double)v > a->max)
            return bad_value(cmd, a, from, text, want), false;
        *(int32_t *)field(a, opts) = (int32_t)v;
        return true;
    }
    case ARG_U64: {
        unsigned long long v = strtoull(text, &end, 10);
        if (end == text || *end || errno || strchr(text, '-'))
            return bad_value(cmd, a, from, text, "a whole number from 0 to 18446744073709551615"), false;
        *(uint64_t *)field(a, opts) = v;
        return true;
    }
    case ARG_REAL: {
        double v = strtod(text, &end);
        snprintf(want, sizeof want, "a number from %g to %g", a->min, a->max);
        if (end == text || *end || !isfinite(v) || v < a->min || v > a->max) return bad_value(cmd, a, from, text, want), false;
        *(float *)field(a, opts) = (float)v;
        return true;
    }
    case ARG_TEXT: *(const char **)field(a, opts) = text; return true;
    case ARG_LIST: {
        struct arg_list *list = field(a, opts);
        if (list->n == ARG_MAX_LIST) return args_usage(cmd, "%s is given more than %d times", from, ARG_MAX_LIST), false;
        list->item[list->n++] = text;
        return true;
    }
    case ARG_CHOICE: {
        size_t at = (size_t)snprintf(want, sizeof want, "one of");
        for (int i = 0; a->choices[i]; i++) {
            if (strcmp(a->choices[i], text) == 0) return *(int32_t *)field(a, opts) = i, true;
            if (at < sizeof want) at += (size_t)snprintf(want + at, sizeof want - at, "%s %s", i ? "," : "", a->choices[i]);
        }
        return bad_value(cmd, a, from, text, want), false;
    }
    case ARG_FLAG: {
        bool v;
        if (!parse_flag(text, &v)) return bad_value(cmd, a, from, text, "1 or 0"), false;
        *(bool *)field(a, opts) = v;
        return true;
    }
    case ARG_END:
    case ARG_GROUP: break;
    }
    return false;
}

static void set_default(const struct arg *a, void *opts) {
    if (a->type == ARG_INT) *(int32_t *)field(a, opts) = (int32_t)a->def;
    if (a->type == ARG_REAL) *(float *)field(a, opts) = (float)a->def;
}

void args_variable(const struct arg *a, char *out, size_t cap) {
    size_t at = (size_t)snprintf(out, cap, "EYELET_");
    for (const char *p = a->name; *p && at + 1 < cap; p++) out[at++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
    out[at] = '\0';
}

static bool from_environment(const struct command *cmd, void *opts) {
    char name[ARG_VARIABLE_MAX];
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++) {
        if (a->type == ARG_GROUP) continue;
        set_default(a, opts);
        args_variable(a, name, sizeof name);
        const char *text = getenv(name);
        if (text && (*text || a->type == ARG_FLAG) && !set_value(cmd, a, name, text, opts)) return false;
    }
    return true;
}

/* ---- the command line ---- */

static const struct arg *find_long(const struct command *cmd, const char *name, size_t len) {
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++)
        if (a->type != ARG_GROUP && strlen(a->name) == len && memcmp(a->name, name, len) == 0) return a;
    return NULL;
}

static const struct arg *find_letter(const struct command *cmd, char letter) {
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++)
        if (a->type != ARG_GROUP && a->letter && a->letter == letter) return a;
    return NULL;
}

static bool unknown_option(const struct command *cmd, const char *typed, size_t len) {
    const char *names[128];
    char name[MAX_NAME + 1];
    size_t n = 0;
    for (const struct arg *a = cmd->args; a->type != ARG_END && n < 127; a++)
        if (a->type != ARG_GROUP) names[n++] = a->name;
    names[n++] = "help";
    snprintf(name, sizeof name, "%.*s", (int)(len < MAX_NAME ? len : MAX_NAME), typed);
    const char *near = args_nearest(name, names, n);
    if (near)
        args_usage(cmd, "unknown option \"--%s\", did you mean \"--%s\"", name, near);
    else
        args_usage(cmd, "unknown option \"--%s\"", name);
    return false;
}

struct line {
    const struct command *cmd;
    int argc;
    char *const *argv;
    int at;          /* next argument */
    void *opts;
    uint8_t seen[128]; /* per table row: met on the command line */
};

/* value: text after "=" or glued to the letter, or NULL = the next argument. from: as the user wrote it. */
static bool take(struct line *l, const struct arg *a, const char *from, const char *value) {
    if (a->type == ARG_FLAG) {
        if (value) return args_usage(l->cmd, "option \"%s\" takes no value", from), false;
        return *(bool *)field(a, l->opts) = true, true;
    }
    if (!value && l->at < l->argc) value = l->argv[l->at++];
    if (!value) return args_usage(l->cmd, "option \"%s\" needs a value: %s", from, a->value), false;
    size_t row = (size_t)(a - l->cmd->args);
    if (a->type == ARG_LIST && row < sizeof l->seen && !l->seen[row]) {
        ((struct arg_list *)field(a, l->opts))->n = 0;
        l->seen[row] = 1;
    }
    return set_value(l->cmd, a, from, value, l->opts);
}

static bool take_long(struct line *l, const char *text, bool *want_help) {
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : strlen(text);
    char from[MAX_NAME + 3];
    if (len == 4 && memcmp(text, "help", 4) == 0) return *want_help = true, true;
    const struct arg *a = find_long(l->cmd, text, len);
    if (!a) return unknown_option(l->cmd, text, len);
    snprintf(from, sizeof from, "--%s", a->name);
    return take(l, a, from, eq ? eq + 1 : NULL);
}

/* "-n 5", "-n5"; flags may be bundled: "-vq". */
static bool take_letters(struct line *l, const char *text, bool *want_help) {
    for (; *text; text++) {
        char from[3] = {'-', *text, '\0'};
        const struct arg *a = find_letter(l->cmd, *text);
        if (!a && *text == 'h') return *want_help = true, true;
        if (!a) return args_usage(l->cmd, "unknown option \"-%c\"", *text), false;
        if (a->type != ARG_FLAG) return take(l, a, from, text[1] ? text + 1 : NULL);
        if (!take(l, a, from, NULL)) return false;
    }
    return true;
}

bool args_parse(const struct command *cmd, int argc, char *const *argv, void *opts, char **operand, int *n_operands,
                bool *want_help) {
    struct line l = {.cmd = cmd, .argc = argc, .argv = argv, .opts = opts};
    *n_operands = 0;
    *want_help = false;
    if (!from_environment(cmd, opts)) return false;
    bool only_operands = false;
    while (l.at < argc && !*want_help) {
        char *text = argv[l.at++];
        bool ok = true;
        if (only_operands || text[0] != '-' || text[1] == '\0')
            operand[(*n_operands)++] = text;
        else if (strcmp(text, "--") == 0)
            only_operands = true;
        else if (text[1] == '-')
            ok = take_long(&l, text + 2, want_help);
        else
            ok = take_letters(&l, text + 1, want_help);
        if (!ok) return false;
    }
    if (*want_help) return true;
    if (*n_operands > cmd->max_operands) {
        if (cmd->operand)
            args_usage(cmd, "\"%s\" is one argument too many (%s)", operand[cmd->max_operands], cmd->operand);
        else
            args_usage(cmd, "unexpected argument \"%s\"", operand[0]);
        return false;
    }
    if (*n_operands < cmd->min_operands) return args_usage(cmd, "%s is missing", cmd->operand), false;
    return true;
}

/* ---- help ---- */

#define HELP_COLUMN 30
#define HELP_WIDTH 110

/* Words of text from column at on, wrapped, later lines indented to column. */
static void print_wrapped(const char *text, int column) {
    int at = column;
    while (*text) {
        int len = (int)strcspn(text, " ");
        if (at > column && at + 1 + len > HELP_WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (at > column) {
            putchar(' ');
            at++;
        }
        printf("%.*s", len, text);
        at += len;
        text += len;
        text += strspn(text, " ");
    }
}

void args_note(const struct arg *a, char *out, size_t cap) {
    size_t at = (size_t)snprintf(out, cap, "%s", a->help);
    if (a->type == ARG_CHOICE)
        for (int i = 0; a->choices[i] && at < cap; i++)
            at += (size_t)snprintf(out + at, cap - at, "%s%s%s", i ? ", " : ": ", a->choices[i], i ? "" : " (default)");
    if ((a->type == ARG_INT || a->type == ARG_REAL) && a->def != 0 && at < cap)
        snprintf(out + at, cap - at, " (default %g)", a->def);
}

static void help_row(const struct arg *a) {
    char left[128], note[ARG_NOTE_MAX];
    int n = snprintf(left, sizeof left, "  %c%c%c --%s%s%s", a->letter ? '-' : ' ', a->letter ? a->letter : ' ',
                     a->letter ? ',' : ' ', a->name, a->value ? " " : "", a->value ? a->value : "");
    printf("%s%*s", left, n < HELP_COLUMN - 1 ? HELP_COLUMN - n : 1, "");
    if (n >= HELP_COLUMN - 1) printf("\n%*s", HELP_COLUMN, "");
    args_note(a, note, sizeof note);
    print_wrapped(note, HELP_COLUMN);
    putchar('\n');
}

void args_help(const struct command *cmd) {
    printf("Usage: eyelet %s %s\n\n", cmd->name, cmd->usage);
    print_wrapped(cmd->summary, 0);
    putchar('\n');
    bool first = true;
    for (const struct arg *a = cmd->args; a->type != ARG_END; a++) {
        if (a->type == ARG_GROUP)
            printf("\n%s\n", a->help);
        else {
            if (first) printf("\nOptions\n");
            help_row(a);
        }
        first = false;
    }
    printf("%s  -h, --help%*sthis text\n", cmd->args[0].type == ARG_END ? "\nOptions\n" : "", HELP_COLUMN - 12, "");
    if (cmd->details) printf("\n%s\n", cmd->details);
    if (cmd->examples) printf("\nExamples\n");
    for (const struct example *e = cmd->examples; e && e->line; e++) printf("  %s:\n      %s\n", e->what, e->line);
    printf("\nEach option has a twin variable: --top-k is EYELET_TOP_K. What the command line says wins.\n");
}
