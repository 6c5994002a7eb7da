/* eyelet chat: a conversation on stdin and stdout, by people or through a pipe. The session keeps the whole context, so each
 * question costs only its own tokens. Lines that begin with "/" are commands. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "json.h"

struct chat_opts {
    struct model_args model;
    struct sampling_args sampling;
    struct form_args form;
    struct arg_list image;
    const char *cache;
    int32_t n_predict, n_lookup;
    bool no_exif, json;
};
_Static_assert(sizeof(struct chat_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct chat_opts
static const struct arg chat_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'i', "image", "FILE", "picture for the first question; may be repeated", offsetof(T, image)},
    {ARG_TEXT, 0, "cache", "FILE", "begin with what \"eyelet cache\" or /save wrote", offsetof(T, cache)},
    {ARG_INT, 'n', "predict", "N", "tokens per answer at most; 0 = as far as the context allows", offsetof(T, n_predict), 0,
     1 << 24},
    NO_EXIF_ARG(T),
    SAMPLING_ARGS(T),
    FORM_ARGS(T, 'j'),
    {ARG_INT, 0, "lookup", "N", "guess up to N tokens where the answer repeats what stands before it; changes no answer",
     offsetof(T, n_lookup), 0, 16},
    {ARG_GROUP, .help = "Output"},
    {ARG_FLAG, 0, "json", NULL, "one JSON object per answer instead of text", offsetof(T, json)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

struct chat {
    const struct chat_opts *o;
    struct ui ui;
    struct eye_model *model;
    struct eye_grammar *grammar; /* NULL = none */
    struct eye_session *s;
    struct eye_image img[CLI_MAX_IMAGES]; /* for the next question */
    int32_t n_img;
    struct eye_timings last; /* of the last answer */
    size_t n_questions;
    bool terminal;           /* somebody types */
    bool failed;             /* something went wrong: the exit status through a pipe */
    bool quit;
    int code;                /* why it quits */
};

static void drop_images(struct chat *c) {
    cli_free_images(c->img, c->n_img);
    c->n_img = 0;
}

/* ---- questions ---- */

static int print_json(struct chat *c, const struct eye_result *r) {
    json_t *o = json_pack("{s:o, s:s, s:I, s:I, s:I, s:i}", "text", json_stringn(r->text, r->text_bytes), "finish_reason",
                          eye_finish_name(r->finish), "prompt_tokens", (json_int_t)r->n_prompt_tok, "image_tokens",
                          (json_int_t)r->n_image_tok, "answer_tokens", (json_int_t)r->n_tokens, "context",
                          (int)eye_session_n_past(c->s));
    return json_print(&c->ui, o);
}

static void refuse(struct chat *c, const struct eye_err *err) {
    c->failed = true;
    if (err->code == EYE_E_LIMIT)
        ui_failf(&c->ui, "%s (%d of %d positions are in use; /reset forgets them)", err->text, eye_session_n_past(c->s),
                 eye_session_n_ctx(c->s));
    else
        ui_fail(&c->ui, err);
}

static void ask(struct chat *c, const char *text) {
    struct eye_query query = {.text = text, .images = c->img, .n_images = (size_t)c->n_img, .next_turn = true};
    struct eye_generate_opts opts = cli_generate_opts(&c->o->sampling);
    struct eye_err err = {0};
    struct eye_result r;
    int32_t before = eye_session_n_past(c->s);
    opts.n_predict = c->o->n_predict;
    opts.n_lookup = c->o->n_lookup;
    opts.grammar = c->grammar;
    opts.on_text = c->o->json ? NULL : cli_print_piece;
    enum eye_status st = eye_session_generate(c->s, &query, &opts, &r, &err);
    ui_clear(&c->ui);
    if (st != EYE_OK && st != EYE_E_CANCELLED) {
        refuse(c, &err);
        return;
    }
    c->last = r.timings;
    if (eye_session_n_past(c->s) != before) { /* else it was stopped before the question was read: its images stay */
        c->n_questions++;
        drop_images(c);
    }
    if (c->o->json)
        c->failed |= print_json(c, &r) != EXIT_DONE;
    else
        putchar('\n');
    if (fflush(stdout) != 0 || r.finish == EYE_FINISH_CALLER) { /* nobody listens any more */
        c->quit = true;
        c->code = EXIT_FAILED;
    }
    if (st == EYE_OK)
        cli_note_timings(&c->ui, &r);
    else if (ui_interrupted_code() == EXIT_INTERRUPTED)
        ui_forget_interrupt(); /* Ctrl-C ends the answer, other signals the program */
    if (st == EYE_OK && r.finish == EYE_FINISH_CONTEXT)
        ui_note(&c->ui, "the context of %d positions is full; /reset forgets it", eye_session_n_ctx(c->s));
}

/* ---- commands ---- */

static void do_image(struct chat *c, const char *arg) {
    struct arg_list one = {.item = {arg}, .n = 1};
    uint64_t us;
    if (c->n_img == CLI_MAX_IMAGES) {
        ui_failf(&c->ui, "/image: %d images are waiting already, at most %d are taken", c->n_img, CLI_MAX_IMAGES);
        c->failed = true;
    } else if (eye_model_image_tokens(c->model) == 0) {
        ui_failf(&c->ui, "/image: this model has no eyes");
        c->failed = true;
    } else if (cli_load_images(&c->ui, &one, c->o->no_exif, &c->img[c->n_img], &us) != EXIT_DONE) {
        c->failed = true;
    } else {
        c->n_img++;
        ui_note(&c->ui, "%s: %d x %d, goes with the next question", arg, c->img[c->n_img - 1].width,
                c->img[c->n_img - 1].height);
    }
}

static void do_save(struct chat *c, const char *arg) {
    struct eye_err err = {0};
    if (eye_session_save(c->s, arg, &err) != EYE_OK)
        refuse(c, &err);
    else
        ui_note(&c->ui, "%s: %d positions saved", arg, eye_session_n_past(c->s));
}

static void do_load(struct chat *c, const char *arg) {
    struct eye_err err = {0};
    if (eye_session_load(c->s, arg, &err) != EYE_OK)
        refuse(c, &err);
    else
        ui_note(&c->ui, "%s: %d of %d positions", arg, eye_session_n_past(c->s), eye_session_n_ctx(c->s));
}

static void do_reset(struct chat *c, const char *arg) {
    (void)arg;
    eye_session_reset(c->s);
    drop_images(c);
    ui_note(&c->ui, "a new conversation");
}

static void do_stats(struct chat *c, const char *arg) {
    const struct eye_timings *t = &c->last;
    (void)arg;
    ui_note(&c->ui, "%d of %d positions, %zu questions, %d images waiting; last answer: vision %.0f ms, prompt %.0f ms, first "
            "token %.0f ms, decode %.0f ms", eye_session_n_past(c->s), eye_session_n_ctx(c->s), c->n_questions, c->n_img,
            (double)(t->vision_us + t->projector_us) / 1e3, (double)t->prefill_us / 1e3, (double)t->first_token_us / 1e3,
            (double)t->decode_us / 1e3);
}

static void do_quit(struct chat *c, const char *arg) {
    (void)arg;
    c->quit = true;
}

static void do_help(struct chat *c, const char *arg);

static const struct {
    const char *name, *arg, *help; /* arg NULL = takes none */
    void (*run)(struct chat *c, const char *arg);
} chat_commands[] = {
    {"/image", "FILE", "a picture for the next question", do_image},
    {"/save", "FILE", "write the conversation's context", do_save},
    {"/load", "FILE", "go on from a file of /save or \"eyelet cache\"", do_load},
    {"/reset", NULL, "a new conversation", do_reset},
    {"/stats", NULL, "positions in use, times of the last answer", do_stats},
    {"/help", NULL, "this list", do_help},
    {"/quit", NULL, "the end, as is the end of the input", do_quit},
};
#define N_CHAT_COMMANDS (sizeof chat_commands / sizeof chat_commands[0])

static void do_help(struct chat *c, const char *arg) {
    (void)arg;
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++)
        ui_note(&c->ui, "%-7s %-4s  %s", chat_commands[i].name, chat_commands[i].arg ? chat_commands[i].arg : "",
                chat_commands[i].help);
}

static void obey(struct chat *c, char *line) {
    size_t n = strcspn(line, " \t");
    char *arg = line + n + strspn(line + n, " \t");
    const char *names[N_CHAT_COMMANDS];
    line[n] = '\0';
    for (size_t i = 0; i < N_CHAT_COMMANDS; i++) {
        names[i] = chat_commands[i].name;
        if (strcmp(line, names[i]) != 0) continue;
        bool wants = chat_commands[i].arg != NULL;
        if (wants == (*arg != '\0')) {
            chat_commands[i].run(c, arg);
            return;
        }
        c->failed = true;
        ui_failf(&c->ui, wants ? "%s: the file name is missing" : "%s takes nothing after it", line);
        return;
    }
    const char *near = args_nearest(line, names, N_CHAT_COMMANDS);
    c->failed = true;
    ui_failf(&c->ui, "unknown command \"%s\"%s%s; /help lists them", line, near ? ", did you mean " : "", near ? near : "");
}

/* ---- the conversation ---- */

static void converse(struct chat *c) {
    char *line = NULL;
    size_t cap = 0;
    while (!c->quit) {
        if (c->terminal) {
            fputs("> ", stderr);
            fflush(stderr);
        }
        ssize_t n = getline(&line, &cap, stdin);
        if (ui_interrupted(NULL)) {
            if (c->terminal) fputc('\n', stderr);
            c->code = ui_interrupted_code();
            break;
        }
        if (n < 0) {
            if (ferror(stdin)) c->code = ui_failf(&c->ui, "standard input: cannot read: %s", strerror(errno));
            break;
        }
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r')) line[--n] = '\0';
        if (line[0] == '/')
            obey(c, line);
        else if (line[0])
            ask(c, line);
        if (ui_interrupted(NULL)) { /* not forgotten: a signal that ends the program */
            c->code = ui_interrupted_code();
            break;
        }
    }
    free(line);
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct chat *c = calloc(1, sizeof *c);
    struct eye_err err = {0};
    char *schema;
    (void)operand, (void)n_operands;
    if (!c) {
        fprintf(stderr, "eyelet: out of memory\n");
        return EXIT_FAILED;
    }
    c->o = opts;
    c->terminal = isatty(STDIN_FILENO);
    ui_init(&c->ui, c->o->model.quiet, c->o->model.verbose);
    struct model_args args = c->o->model;
    if (c->o->n_lookup) args.n_parallel = 1 + c->o->n_lookup;
    c->code = cli_read_schema(&c->ui, &cmd_chat, &c->o->form, &schema);
    if (c->code == EXIT_DONE) c->code = cli_open(&c->ui, &args, &c->model);
    if (c->code == EXIT_DONE) c->code = cli_make_grammar(&c->ui, c->model, schema, &c->grammar);
    free(schema);
    if (c->code == EXIT_DONE && eye_session_new(c->model, NULL, &c->s, &err) != EYE_OK) c->code = ui_fail(&c->ui, &err);
    if (c->code == EXIT_DONE && c->o->cache && eye_session_load(c->s, c->o->cache, &err) != EYE_OK)
        c->code = ui_fail(&c->ui, &err);
    for (int32_t i = 0; c->code == EXIT_DONE && i < c->o->image.n; i++) {
        do_image(c, c->o->image.item[i]);
        if (c->failed) c->code = EXIT_FAILED;
    }
    if (c->code == EXIT_DONE) {
        if (c->terminal) ui_note(&c->ui, "/help lists the commands; Ctrl-D ends");
        converse(c);
        if (c->code == EXIT_DONE && c->failed && !c->terminal) c->code = EXIT_FAILED;
    }
    int code = c->code;
    drop_images(c);
    ui_clear(&c->ui);
    eye_session_free(c->s);
    eye_grammar_free(c->grammar);
    eye_model_close(c->model);
    free(c);
    return code;
}

static const struct example examples[] = {
    {"A conversation about a picture", "eyelet chat -m FastVLM-0.5B -i photo.jpg"},
    {"Through a pipe, one answer per line",
     "printf 'Hello\\n/image a.jpg\\nWhat is this?\\n' | eyelet chat -m FastVLM-0.5B --json"},
    {NULL, NULL},
};

const struct command cmd_chat = {
    .name = "chat",
    .usage = "[-m MODEL] [-i IMAGE]… [OPTIONS]",
    .summary = "the same in a conversation, with /image, /save, /load",
    .details = "Each line of standard input is a question, or a command: /image FILE, /save FILE, /load FILE, /reset, /stats,\n"
               "/help, /quit. Ctrl-C ends an answer; at the prompt it ends the program, as the end of the input does.",
    .args = chat_args, .examples = examples, .opts_bytes = sizeof(struct chat_opts), .run = run,
};
