/* ui: what people see on stderr: errors, warnings, progress bars, timings; and Ctrl-C. stdout belongs to the commands and is
 * data only. Bars and colours appear on a terminal only; NO_COLOR (no-color.org) and TERM=dumb are honoured. */
#ifndef EYELET_CLI_UI_H
#define EYELET_CLI_UI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eyelet/eyelet.h"

struct ui {
    bool quiet, verbose;
    bool terminal;       /* stderr is one that can draw */
    bool color;
    bool bar_drawn;      /* the cursor stands on a bar that must go before anything else is written */
    uint64_t last_draw_us;
};
void ui_init(struct ui *ui, bool quiet, bool verbose);

/* "eyelet: text"; returns EXIT_FAILED, or ui_interrupted_code() if the status is
 * EYE_E_CANCELLED (then nothing is printed). */
int ui_fail(struct ui *ui, const struct eye_err *err);
/* The same for the program's own errors. */
__attribute__((format(printf, 2, 3))) int ui_failf(struct ui *ui, const char *fmt, ...);
/* Fills err in for whoever will say it; returns code. */
__attribute__((format(printf, 3, 4))) enum eye_status ui_err(struct eye_err *err, enum eye_status code, const char *fmt, ...);
/* A line for people, unless quiet. */
__attribute__((format(printf, 2, 3))) void ui_note(struct ui *ui, const char *fmt, ...);
/* Callbacks for the library; ctx is the struct ui. */
void ui_log(void *ctx, enum eye_log_level level, const char *id, const char *text);
void ui_progress(void *ctx, const char *what, double done); /* done < 0: no bar, only what */
void ui_clear(struct ui *ui); /* removes a bar */

/* From now on the first Ctrl-C (or SIGTERM, SIGHUP) only sets a flag, the second ends the program. */
void ui_catch_interrupt(void);
/* Back to ending at once: while nothing is done but waiting for input. */
void ui_release_interrupt(void);
bool ui_interrupted(void *ctx);
/* The interrupt is dealt with: the next Ctrl-C is a first one again. */
void ui_forget_interrupt(void);
int ui_interrupted_code(void); /* exit status then: 130 for Ctrl-C, else 128 + the signal's number */

/* Flushes stdout; code, or EXIT_FAILED with a message if it could not be written. */
int ui_finish(struct ui *ui, int code);
uint64_t ui_now_us(void); /* monotonic */

#endif
