/* batch_report: see batch_report.h. Everything that comes from outside goes through put_text; the page's own policy allows it
 * neither scripts nor requests. */
#include "batch_report.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "args.h"

enum { BINS_PER_OCTAVE = 16, N_BINS = 40 * BINS_PER_OCTAVE, N_TIMES = 120, N_STAGES = 6 };
static const char *const stage_name[N_STAGES] = {"decode", "resize", "vision", "projector", "prefill",
                                                 "answer"}; /* answer: the rest */

struct card {
    char *image, *text;
    uint8_t *thumbnail;
    size_t bytes;
    uint64_t n;     /* its number */
    double ms;
    size_t n_tokens;
};
struct cards { /* every step-th of what came */
    struct card card[BATCH_REPORT_SHOWN + 1];
    size_t n;
    uint64_t seen, step;
};
struct batch_report {
    struct ui *ui;
    char *path, *tmp_path;
    FILE *f;
    uint64_t n, n_failed, n_tokens, begin_us;
    double stage_us[N_STAGES], total_us;
    uint64_t bin[N_BINS]; /* of log2 of a picture's microseconds */
    uint64_t done[N_TIMES];
    double time_s;        /* width of one of done */
    struct cards cards, failures;
};

int batch_report_open(struct ui *ui, const char *path, struct batch_report **report) {
    struct stat st;
    struct batch_report *r = calloc(1, sizeof *r);
    if (!r) return ui_failf(ui, "out of memory");
    r->ui = ui;
    r->begin_us = ui_now_us();
    r->time_s = 0.25;
    r->cards.step = r->failures.step = 1;
    r->path = strdup(path);
    bool device = stat(path, &st) == 0 && !S_ISREG(st.st_mode); /* is written as it stands, not replaced */
    if ((device ? asprintf(&r->tmp_path, "%s", path) : asprintf(&r->tmp_path, "%s.tmp-%ld", path,
                                                                (long)getpid())) < 0) r->tmp_path = NULL;
    r->f = r->path && r->tmp_path ? fopen(r->tmp_path, "w") : NULL;
    *report = r;
    return r->f ? EXIT_DONE : ui_failf(ui, "%s: cannot create: %s", path, strerror(errno));
}

/* ---- collecting ---- */

static void clear_card(struct card *c) {
    free(c->image);
    free(c->text);
    free(c->thumbnail);
    *c = (struct card){0};
}

/* Keeps it if its number is one of those shown; when there are too many, every second one goes. */
static void add_card(struct cards *c, const struct batch_record *r, const void *thumbnail, size_t bytes, uint64_t n) {
    if (c->seen++ % c->step) return;
    struct card *card = &c->card[c->n++];
    *card = (struct card){.image = strdup(r->image), .n = n, .ms = (double)r->total_us / 1e3, .n_tokens = r->n_tokens};
    card->text = r->error ? strdup(r->error) : strndup(r->caption, r->caption_bytes);
    if (bytes && (card->thumbnail = malloc(bytes))) {
        memcpy(card->thumbnail, thumbnail, bytes);
        card->bytes = bytes;
    }
    if (c->n <= BATCH_REPORT_SHOWN) return;
    size_t kept = 0;
    for (size_t i = 0; i < c->n; i++) {
        if (i % 2) clear_card(&c->card[i]);
        else c->card[kept++] = c->card[i];
    }
    c->n = kept;
    c->step *= 2;
}

static void add_time(struct batch_report *r) {
    double s = (double)(ui_now_us() - r->begin_us) / 1e6;
    while (s >= r->time_s * N_TIMES) {
        for (int i = 0; i < N_TIMES; i++) r->done[i] = i < N_TIMES / 2 ? r->done[2 * i] + r->done[2 * i + 1] : 0;
        r->time_s *= 2;
    }
    r->done[(int)(s / r->time_s)]++;
}

void batch_report_add(struct batch_report *r, const struct batch_record *record, const void *thumbnail,
                      size_t thumbnail_bytes) {
    const struct eye_timings *t = &record->timings;
    r->n++;
    add_time(r);
    if (record->error) {
        r->n_failed++;
        add_card(&r->failures, record, NULL, 0, r->n);
        return;
    }
    double us[N_STAGES] = {(double)t->image_decode_us, (double)t->preprocess_us, (double)t->vision_us, (double)t->projector_us,
                           (double)t->prefill_us, (double)record->total_us};
    for (int i = 0; i < N_STAGES - 1; i++) us[N_STAGES - 1] -= us[i];
    for (int i = 0; i < N_STAGES; i++) r->stage_us[i] += us[i] > 0 ? us[i] : 0;
    int bin = (int)(log2((double)record->total_us + 1) * BINS_PER_OCTAVE);
    r->bin[bin < N_BINS ? bin : N_BINS - 1]++;
    r->total_us += (double)record->total_us;
    r->n_tokens += record->n_tokens;
    add_card(&r->cards, record, thumbnail, thumbnail_bytes, r->n);
}

/* ---- the page ---- */

/* Takes away what was begun. */
static void discard(const struct batch_report *r) {
    if (strcmp(r->tmp_path, r->path) != 0) unlink(r->tmp_path);
}

/* Characters that mean something to HTML, and control characters, as what they stand for. */
static void put_text(FILE *f, const char *text) {
    for (const unsigned char *p = (const unsigned char *)(text ? text : ""); *p; p++) {
        if (strchr("<>&\"'", *p)) fprintf(f, "&#%d;", *p);
        else if (*p < ' ' || *p == 127) fprintf(f, "&#xFFFD;");
        else putc(*p, f);
    }
}

static void put_base64(FILE *f, const uint8_t *p, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0u);
        putc(digit[v >> 18], f);
        putc(digit[v >> 12 & 63], f);
        putc(i + 1 < n ? digit[v >> 6 & 63] : '=', f);
        putc(i + 2 < n ? digit[v & 63] : '=', f);
    }
}

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light "
    "dark\">\n"
    "<title>eyelet batch</title>\n<style>\n"
    ":root{--bg:#f7f7f5;--card:#fff;--ink:#1c1d1f;--soft:#62666d;--line:#dcdcd6;--bad:#b3261e;"
    "--c0:#2f6f9f;--c1:#5aa0c8;--c2:#d9822b;--c3:#e8b365;--c4:#3f8f5f;--c5:#7a5ea8}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#16181b;--card:#1f2226;--ink:#e8e8e4;--soft:#9aa0a8;--line:#34383e;--bad:#ff8a80;"
    "--c0:#5b9fd0;--c1:#8cc4e6;--c2:#e69a4c;--c3:#f0c98a;--c4:#62b586;--c5:#a48ad0}}\n"
    "*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,sans-serif}\n"
    "main{max-width:1240px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}"
    "h2{font-size:18px;margin:34px 0 12px}\n"
    ".soft{color:var(--soft)}.bad{color:var(--bad)}\n"
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:12px;margin:22px 0 0}\n"
    ".tile,.plot,.card{background:var(--card);border:1px solid var(--line);border-radius:10px}\n"
    ".tile{padding:12px 14px}.tile b{display:block;font-size:24px;font-weight:600}"
    ".tile span{color:var(--soft);font-size:13px}\n"
    ".plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,380px),1fr));gap:12px}\n"
    ".plot{margin:0;padding:14px}.plot figcaption{font-size:14px;font-weight:600;margin-bottom:8px}\n"
    ".plot svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:11px system-ui,sans-serif}"
    "svg .axis{stroke:var(--line)}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:4px 14px;margin-top:10px;font-size:13px;color:var(--soft)}\n"
    ".legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}\n"
    ".cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(200px,1fr));gap:12px}\n"
    ".card{overflow:hidden;display:flex;flex-direction:column;margin:0}"
    ".card img,.card .none{width:100%;height:150px;object-fit:cover;"
    "background:var(--line)}\n"
    ".card figcaption{padding:10px 12px}.card p{margin:0 0 6px;overflow-wrap:anywhere}"
    ".card small{color:var(--soft);overflow-wrap:anywhere}\n"
    "table{border-collapse:collapse;width:100%}td{padding:6px 10px 6px 0;border-top:1px solid var(--line);vertical-align:top;"
    "overflow-wrap:anywhere}\n"
    ".b0{fill:var(--c0);background:var(--c0)}.b1{fill:var(--c1);background:var(--c1)}.b2{fill:var(--c2);background:var(--c2)}"
    ".b3{fill:var(--c3);background:var(--c3)}.b4{fill:var(--c4);background:var(--c4)}.b5{fill:var(--c5);background:var(--c5)}\n"
    "</style>\n</head>\n<body>\n<main>\n";

/* "16.0 ms", "1.05 s" */
static char *time_text(double ms, char out[24]) {
    if (ms >= 1000) snprintf(out, 24, "%.3g s", ms / 1000);
    else snprintf(out, 24, "%.3g ms", ms);
    return out;
}

static void put_tile(FILE *f, const char *value, const char *name, bool bad) {
    fprintf(f, "<div class=\"tile\"><b%s>%s</b><span>%s</span></div>\n", bad ? " class=\"bad\"" : "", value, name);
}

/* The time that a share q of the pictures does not exceed: a bin's middle, so right to 2 %. */
static double quantile_ms(const struct batch_report *r, double q) {
    uint64_t n = r->n - r->n_failed, want = (uint64_t)(q * (double)n), sum = 0;
    for (int i = 0; i < N_BINS; i++)
        if ((sum += r->bin[i]) > want || (sum == n && n)) return exp2((i + 0.5) / BINS_PER_OCTAVE) / 1e3;
    return 0;
}

static void put_tiles(const struct batch_report *r, const struct batch_report_head *h) {
    char text[64];
    uint64_t n = r->n - r->n_failed;
    fputs("<div class=\"tiles\">\n", r->f);
    snprintf(text, sizeof text, "%llu", (unsigned long long)n);
    put_tile(r->f, text, "captions", false);
    snprintf(text, sizeof text, "%llu", (unsigned long long)r->n_failed);
    put_tile(r->f, text, "failed", r->n_failed > 0);
    snprintf(text, sizeof text, "%.1f", h->seconds > 0 ? (double)r->n / h->seconds : 0);
    put_tile(r->f, text, "pictures a second", false);
    put_tile(r->f, time_text(quantile_ms(r, 0.5), text), "median, one picture", false);
    put_tile(r->f, time_text(quantile_ms(r, 0.95), text), "95th percentile", false);
    snprintf(text, sizeof text, "%.1f", n ? (double)r->n_tokens / (double)n : 0);
    put_tile(r->f, text, "tokens a caption", false);
    fputs("</div>\n", r->f);
}

static void put_stages(const struct batch_report *r) {
    double sum = 0, x = 0, n = (double)(r->n - r->n_failed);
    char text[24];
    for (int i = 0; i < N_STAGES; i++) sum += r->stage_us[i];
    fputs("<figure class=\"plot\"><figcaption>Where a picture's time goes</figcaption>\n"
          "<svg viewBox=\"0 0 400 44\" role=\"img\" aria-label=\"share of each stage\">", r->f);
    for (int i = 0; i < N_STAGES; i++) {
        double width = 400 * r->stage_us[i] / sum;
        fprintf(r->f, "<rect class=\"b%d\" x=\"%.2f\" y=\"6\" width=\"%.2f\" height=\"32\"/>", i, x, width);
        x += width;
    }
    fputs("</svg>\n<div class=\"legend\">", r->f);
    for (int i = 0; i < N_STAGES; i++)
        fprintf(r->f, "<span><i class=\"b%d\"></i>%s %s</span>", i, stage_name[i], time_text(r->stage_us[i] / n / 1e3, text));
    fputs("</div></figure>\n", r->f);
}

/* Bars over a logarithmic axis of times. */
static void put_histogram(const struct batch_report *r) {
    int first = N_BINS, last = 0;
    char text[24];
    uint64_t most = 1, n = r->n - r->n_failed;
    for (int i = 0; i < N_BINS; i++)
        if (r->bin[i]) {
            first = i < first ? i : first;
            last = i;
            most = r->bin[i] > most ? r->bin[i] : most;
        }
    int low = first - 1, count = last - first + 3; /* a bin of air on both sides */
    double width = 380.0 / count;
    fprintf(r->f,
            "<figure class=\"plot\"><figcaption>Time of one picture</figcaption>\n<svg viewBox=\"0 0 400 150\" role=\"img\" "
                  "aria-label=\"histogram of times\">");
    for (int i = first; i <= last; i++)
        if (r->bin[i])
            fprintf(r->f,
                    "<rect class=\"b0\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%s: %llu of "
                    "%llu</title></rect>",
                    10 + (i - low) * width, 120 - 112 * (double)r->bin[i] / (double)most, width > 3 ? width - 1 : width,
                    112 * (double)r->bin[i] / (double)most, time_text(exp2((i + 0.5) / BINS_PER_OCTAVE) / 1e3,
                                                                      text), (unsigned long long)r->bin[i],
                    (unsigned long long)n);
    fputs("<line class=\"axis\" x1=\"10\" y1=\"120\" x2=\"390\" y2=\"120\"/>", r->f);
    for (int k = 0; k <= 4; k++) {
        double at = low + count * k / 4.0;
        fprintf(r->f, "<text x=\"%.1f\" y=\"137\" text-anchor=\"%s\">%s</text>", 10 + 95.0 * k,
                k == 0 ? "start" : k == 4 ? "end" : "middle", time_text(exp2(at / BINS_PER_OCTAVE) / 1e3, text));
    }
    fputs("</svg></figure>\n", r->f);
}

static void put_rate(const struct batch_report *r, double seconds) {
    int n = (int)(seconds / r->time_s);
    uint64_t most = 1;
    n = n < 1 ? 1 : n > N_TIMES ? N_TIMES : n; /* the last one is not full: left out, unless it is all there is */
    for (int i = 0; i < n; i++) most = r->done[i] > most ? r->done[i] : most;
    double step = 380.0 / n;
    fprintf(r->f,
            "<figure class=\"plot\"><figcaption>Pictures a second</figcaption>\n<svg viewBox=\"0 0 400 150\" role=\"img\" "
                  "aria-label=\"rate over time\"><path class=\"b4\" d=\"M10 120");
    for (int i = 0; i < n; i++) {
        double y = 120 - 108 * (double)r->done[i] / (double)most;
        fprintf(r->f, "L%.2f %.2fL%.2f %.2f", 10 + i * step, y, 10 + (i + 1) * step, y);
    }
    fprintf(r->f,
            "L390 120Z\"/><line class=\"axis\" x1=\"10\" y1=\"120\" x2=\"390\" y2=\"120\"/><text x=\"10\" y=\"137\">0 s</text>"
                  "<text x=\"390\" y=\"137\" text-anchor=\"end\">%.3g s</text><text x=\"10\" y=\"9\">at most "
                  "%.3g</text></svg></figure>\n",
            n * r->time_s, (double)most / r->time_s);
}

static void put_card(FILE *f, const struct card *c) {
    char text[24];
    fputs("<figure class=\"card\">", f);
    if (c->bytes) {
        bool webp = c->bytes > 4 && memcmp(c->thumbnail, "RIFF", 4) == 0;
        fprintf(f, "<img alt=\"\" loading=\"lazy\" src=\"data:image/%s;base64,", webp ? "webp" : "png");
        put_base64(f, c->thumbnail, c->bytes);
        fputs("\">", f);
    } else {
        fputs("<div class=\"none\"></div>", f);
    }
    fputs("<figcaption><p>", f);
    put_text(f, c->text);
    fputs("</p><small>", f);
    put_text(f, c->image);
    fprintf(f, "<br>%s · %zu tokens</small></figcaption></figure>\n", time_text(c->ms, text), c->n_tokens);
}

static void put_shown(FILE *f, const struct cards *c, const char *what, uint64_t of) {
    fprintf(f, "<h2>%s", what);
    if (c->step > 1) fprintf(f, " <span class=\"soft\">%zu of %llu, each %lluth</span>", c->n, (unsigned long long)of,
                             (unsigned long long)c->step);
    fputs("</h2>\n", f);
}

static void put_head(const struct batch_report *r, const struct batch_report_head *h, int code) {
    char date[64];
    time_t now = time(NULL);
    struct tm tm;
    strftime(date, sizeof date, "%Y-%m-%d %H:%M %Z", localtime_r(&now, &tm));
    fputs(page_head, r->f);
    fputs("<h1>eyelet batch</h1>\n<div class=\"soft\">", r->f);
    put_text(r->f, h->model ? h->model : "the default model");
    if (h->prompt) {
        fputs(" · “", r->f);
        put_text(r->f, h->prompt);
        fputs("”", r->f);
    }
    fprintf(r->f, " · %s · %.1f s · %d job%s, %d thread%s · eyelet %s</div>\n", date, h->seconds, h->n_jobs,
            h->n_jobs > 1 ? "s" : "",
            h->n_threads, h->n_threads > 1 ? "s" : "", eye_version());
    if (code != EXIT_DONE) fputs("<p class=\"bad\">The batch ended early: this is what was done until then.</p>\n", r->f);
    if (h->n_held)
        fprintf(r->f, "<p class=\"soft\">%llu pictures were in the output already: they are not on this page.</p>\n",
                (unsigned long long)h->n_held);
}

static void put_page(const struct batch_report *r, const struct batch_report_head *h, int code) {
    put_head(r, h, code);
    put_tiles(r, h);
    if (r->n > r->n_failed) {
        fputs("<h2>Times</h2>\n<div class=\"plots\">\n", r->f);
        put_stages(r);
        put_histogram(r);
        put_rate(r, h->seconds);
        fputs("</div>\n", r->f);
        put_shown(r->f, &r->cards, "Captions", r->n - r->n_failed);
        fputs("<div class=\"cards\">\n", r->f);
        for (size_t i = 0; i < r->cards.n; i++) put_card(r->f, &r->cards.card[i]);
        fputs("</div>\n", r->f);
    }
    if (r->n_failed) {
        put_shown(r->f, &r->failures, "Failed", r->n_failed);
        fputs("<table>\n", r->f);
        for (size_t i = 0; i < r->failures.n; i++) {
            fputs("<tr><td>", r->f);
            put_text(r->f, r->failures.card[i].image);
            fputs("</td><td class=\"bad\">", r->f);
            put_text(r->f, r->failures.card[i].text);
            fputs("</td></tr>\n", r->f);
        }
        fputs("</table>\n", r->f);
    }
    fputs("</main>\n</body>\n</html>\n", r->f);
}

int batch_report_close(struct batch_report *r, const struct batch_report_head *head, int code) {
    if (r->f && r->n == 0 && code != EXIT_DONE) { /* nothing was done: what path held stays */
        fclose(r->f);
        discard(r);
    } else if (r->f) {
        put_page(r, head, code);
        bool ok = fflush(r->f) == 0 && !ferror(r->f);
        int why = errno;
        ok = fclose(r->f) == 0 && ok;
        if (!ok || rename(r->tmp_path, r->path) != 0) {
            int failed = ui_failf(r->ui, "%s: cannot write: %s", r->path, strerror(ok ? errno : why));
            discard(r);
            code = code == EXIT_DONE ? failed : code;
        }
    }
    for (size_t i = 0; i < r->cards.n; i++) clear_card(&r->cards.card[i]);
    for (size_t i = 0; i < r->failures.n; i++) clear_card(&r->failures.card[i]);
    free(r->path);
    free(r->tmp_path);
    free(r);
    return code;
}
