/* training: see training.h. */
#include "training.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "json.h"
#include "ranks.h"

static void on_note(void *ctx, const char *line) {
    struct ui *ui = ctx;
    ui_clear(ui);
    ui_note(ui, "%s", line);
}

static void on_say(void *ctx, const char *what, double done) { ui_progress(ctx, what, done); }

/* "1:02:03" */
static const char *clock_text(double seconds, char out[32]) {
    long s = seconds < 1e7 ? (long)seconds : 9999999;
    if (s >= 3600) snprintf(out, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(out, 32, "%ld:%02ld", s / 60, s % 60);
    return out;
}

static void on_step(void *ctx, const struct eye_train_progress *p) {
    char text[200], left[32];
    snprintf(text, sizeof text, "%.40s %lld/%lld, loss %.4f, %.0f rows/s, %s left", p->stage, (long long)p->step,
             (long long)p->n_steps, p->loss, p->rows_per_s, clock_text(p->seconds_left, left));
    ui_progress(ctx, text, (double)p->step / (double)p->n_steps);
}

static int finish(struct ui *ui, const struct training_args *a, const struct eye_train_result *r, bool init_only) {
    char time[32];
    if (a->json)
        return json_print(ui, json_pack("{s:I,s:I,s:I,s:f,s:f,s:f}", "parameters", (json_int_t)r->n_params, "imported",
                                        (json_int_t)r->n_imported, "steps", (json_int_t)r->steps, "seconds", r->seconds,
                                        "dev_loss", r->dev_loss, "shuffled_loss", r->shuffled_loss));
    if (a->dry_run || init_only)
        printf("%llu parameters, %llu of them imported\n", (unsigned long long)r->n_params, (unsigned long long)r->n_imported);
    else {
        printf("%s/student: %lld steps in %s", a->out, (long long)r->steps, clock_text(r->seconds, time));
        if (r->dev_loss > 0) printf(", dev loss %.4f", r->dev_loss); /* else none was measured: resumed at its end */
        putchar('\n');
    }
    return ui_finish(ui, EXIT_DONE);
}

static int run(const struct command *cmd, const struct training_args *a, const char *recipe, enum eye_train_use use,
               bool init_only) {
    struct ui ui;
    struct eye_err err = {0};
    struct eye_train_result r = {0};
    struct eye_ranks ranks;
    if (!a->out) return args_usage(cmd, "-o is missing: the folder of the run");
    ui_init(&ui, a->quiet, false);
    if (!ranks_join(&ui, &ranks)) return EXIT_FAILED;
    bool first = ranks.rank == 0; /* who speaks */
    const struct eye_train_opts o = {
        .recipe = recipe, .out = a->out, .data = a->data, .set = a->set.item, .n_set = (size_t)a->set.n, .resume = a->resume,
        .measure_only = a->dry_run, .init_only = init_only, .n_threads = a->n_threads, .use = use,
        .progress = first ? on_step : NULL, .say = first ? on_say : NULL, .note = first ? on_note : NULL, .ctx = &ui,
        .cancel = ui_interrupted, .ranks = ranks.n > 1 ? &ranks : NULL,
    };
    ui_catch_interrupt();
    enum eye_status st = eye_train(&o, &r, &err);
    ui_clear(&ui);
    if (st == EYE_E_CANCELLED && first) ui_note(&ui, "saved; go on with --resume");
    int code = EXIT_DONE;
    if (st != EYE_OK) code = ui_fail(&ui, &err);
    else if (first) code = finish(&ui, a, &r, init_only);
    ranks_leave(&ranks, code);
    return code;
}

int training_run(const struct command *cmd, const struct training_args *a, const char *recipe, enum eye_train_use use) {
    return run(cmd, a, recipe, use, false);
}

int training_init(const struct command *cmd, const struct training_args *a, const char *recipe) {
    return run(cmd, a, recipe, EYE_TRAIN_CAPTION, true);
}
