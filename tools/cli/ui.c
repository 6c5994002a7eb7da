/* ui: see ui.h. */
#include "ui.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "args.h"

static volatile sig_atomic_t interrupted; /* the signal; set by its handler: the one thing that cannot be
                                              passed along */

uint64_t ui_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void ui_init(struct ui *ui, bool quiet, bool verbose) {
    const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");
    *ui = (struct ui){.quiet = quiet, .verbose = verbose};
    ui->terminal = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
    ui->color = ui->terminal && !(no_color && *no_color);
}

void ui_clear(struct ui *ui) {
    if (!ui->bar_drawn) return;
    fputs("\r\x1b[K", stderr);
    fflush(stderr);
    ui->bar_drawn = false;
}

/* The label in color; without one, all of it. */
static void print_line(struct ui *ui, const char *color, const char *label, const char *text) {
    ui_clear(ui);
    if (ui->color && *label)
        fprintf(stderr, "%s%s\x1b[0m%s\n", color, label, text);
    else if (ui->color)
        fprintf(stderr, "%s%s\x1b[0m\n", color, text);
    else
        fprintf(stderr, "%s%s\n", label, text);
}

int ui_fail(struct ui *ui, const struct eye_err *err) {
    ui_clear(ui);
    if (err->code == EYE_E_CANCELLED) return ui_interrupted_code();
    if (err->code == EYE_E_NOMEM)
        return ui_failf(ui, "%s; \"eyelet doctor -m MODEL\" says how much is needed and free", err->text);
    print_line(ui, "\x1b[1;31m", "eyelet: ", err->text);
    return EXIT_FAILED;
}

enum eye_status ui_err(struct eye_err *err, enum eye_status code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return code;
}

int ui_failf(struct ui *ui, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    print_line(ui, "\x1b[1;31m", "eyelet: ", text);
    return EXIT_FAILED;
}

void ui_note(struct ui *ui, const char *fmt, ...) {
    char text[1024];
    if (ui->quiet) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    print_line(ui, "\x1b[2m", "", text);
}

void ui_log(void *ctx, enum eye_log_level level, const char *id, const char *text) {
    struct ui *ui = ctx;
    (void)id;
    if (level == EYE_LOG_WARNING ? ui->quiet : !ui->verbose) return;
    print_line(ui, "\x1b[33m", level == EYE_LOG_WARNING ? "warning: " : "", text);
}

void ui_progress(void *ctx, const char *what, double done) {
    struct ui *ui = ctx;
    if (!ui->terminal || ui->quiet) return;
    uint64_t now = ui_now_us();
    if (done >= 1) {
        ui_clear(ui);
        return;
    }
    if (ui->bar_drawn && now - ui->last_draw_us < 50000) return;
    if (done < 0) { /* nobody knows how far it is */
        fprintf(stderr, "\r\x1b[K%s", what);
        fflush(stderr);
        ui->bar_drawn = true;
        ui->last_draw_us = now;
        return;
    }
    char bar[25];
    int full = done > 0 ? (int)(done * 24) : 0;
    for (int i = 0; i < 24; i++) bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[24] = '\0';
    fprintf(stderr, "\r\x1b[K[%s] %3.0f%% %s", bar, done * 100, what);
    fflush(stderr);
    ui->bar_drawn = true;
    ui->last_draw_us = now;
}

static void on_interrupt(int sig) {
    interrupted = sig;
}

static void set_handlers(void (*handler)(int)) {
    struct sigaction sa = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND}, hup;
    sigemptyset(&sa.sa_mask);
    sigaction(SIGINT, &sa, NULL);
    sigaction(SIGTERM, &sa, NULL);
    if (sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN) sigaction(SIGHUP, &sa, NULL); /* nohup stays */
}

void ui_catch_interrupt(void) { set_handlers(on_interrupt); }
void ui_release_interrupt(void) { set_handlers(SIG_DFL); }

bool ui_interrupted(void *ctx) {
    (void)ctx;
    return interrupted != 0;
}

void ui_forget_interrupt(void) {
    interrupted = 0;
    ui_catch_interrupt();
}

int ui_interrupted_code(void) { return interrupted ? 128 + interrupted : EXIT_INTERRUPTED; }

int ui_finish(struct ui *ui, int code) {
    if (fflush(stdout) == 0 && !ferror(stdout)) return code;
    if (errno == EPIPE) return EXIT_FAILED; /* whoever read it has enough: no news */
    return ui_failf(ui, "standard output: cannot write: %s", strerror(errno));
}
