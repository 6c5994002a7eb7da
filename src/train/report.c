/* Report: a run as one HTML page that needs nothing else: curves as SVG, sample captions beside their pictures, settings. It is
 * drawn from log.jsonl and recipe.json alone, so it can be drawn again at any time. Pictures are samples/N.bmp, put in as data
 * URIs. Light or dark as the reader's system is. */
#include <ctype.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "train/folder.h"
#include "train/trainer.h"

enum { WIDTH = 720, HEIGHT = 220, LEFT = 56, BOTTOM = 24, MAX_POINTS = 1500 };

static const char head[] =
    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\n"
    "<title>%s</title>\n<style>\n"
    ":root{color-scheme:light dark;--bg:#fff;--fg:#1c1e21;--dim:#667;--line:#d8dae0;--card:#f6f7f9;--a:#1f6feb;--b:#d1670d;"
    "--c:#2a9d5c}\n"
    "@media(prefers-color-scheme:dark){:root{--bg:#14161a;--fg:#e6e8ec;--dim:#99a;--line:#333843;--card:#1d2026;--a:#6ea8fe;"
    "--b:#f0a15e;--c:#66cc94}}\n"
    "body{margin:2rem auto;max-width:60rem;padding:0 1rem;background:var(--bg);color:var(--fg);"
    "font:15px/1.5 system-ui,sans-serif}\n"
    "h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}svg{width:100%%;height:auto;display:block}\n"
    ".dim{color:var(--dim)}table{border-collapse:collapse;width:100%%}td,th{padding:.25rem .6rem;"
    "border-bottom:1px solid var(--line);text-align:left;font-variant-numeric:tabular-nums}\n"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:1rem}\n"
    ".card{background:var(--card);border-radius:.5rem;padding:.75rem}.card img{width:100%%;border-radius:.3rem}\n"
    "pre{background:var(--card);padding:1rem;border-radius:.5rem;overflow:auto;font-size:13px}\n"
    "text{fill:var(--dim);font:11px system-ui,sans-serif}.axis{stroke:var(--line)}.a{stroke:var(--a)}.b{stroke:var(--b)}"
    ".c{stroke:var(--c)}polyline{fill:none;stroke-width:1.6}\n</style></head><body>\n";

static void add_escaped(struct eye_buf *out, const char *s) {
    for (; s && *s; s++) {
        if (*s == '<') eye_buf_adds(out, "&lt;");
        else if (*s == '>') eye_buf_adds(out, "&gt;");
        else if (*s == '&') eye_buf_adds(out, "&amp;");
        else if (*s == '"') eye_buf_adds(out, "&quot;");
        else eye_buf_add(out, s, 1);
    }
}

static void add_base64(struct eye_buf *out, const uint8_t *p, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        char four[4] = {digit[v >> 18], digit[v >> 12 & 63], '=', '='};
        if (i + 1 < n) four[2] = digit[v >> 6 & 63];
        if (i + 2 < n) four[3] = digit[v & 63];
        eye_buf_add(out, four, 4);
    }
}

/* ---- curves ---- */

struct curve { const char *event, *key, *label, *style; };

struct range { double x0, x1, y0, y1; size_t n; bool ratios; }; /* ratios: y is a logarithm */

static bool point(const json_t *line, const struct curve *c, bool ratios, double *x, double *y) {
    const char *event = json_string_value(json_object_get(line, "event"));
    const json_t *v = json_object_get(line, c->key);
    if (!event || strcmp(event, c->event) != 0 || !json_is_number(v)) return false;
    *x = json_number_value(json_object_get(line, "step"));
    *y = json_number_value(v);
    bool good = isfinite(*y) && *y > 0;
    if (good && ratios) *y = log(*y);
    return good;
}

static struct range range_of(const json_t *lines, const struct curve *c, size_t n, bool ratios) {
    struct range r = {0, 1, INFINITY, -INFINITY, 0, ratios};
    double x, y;
    for (size_t i = 0; i < json_array_size(lines); i++)
        for (size_t k = 0; k < n; k++) {
            if (!point(json_array_get(lines, i), &c[k], ratios, &x, &y)) continue;
            r.x1 = EYE_MAX(r.x1, x);
            r.y0 = EYE_MIN(r.y0, y);
            r.y1 = EYE_MAX(r.y1, y);
            r.n++;
        }
    double margin = EYE_MAX((r.y1 - r.y0) * 0.05, fabs(r.y1) * 1e-3 + 1e-12);
    r.y0 = ratios ? r.y0 - margin : EYE_MAX(r.y0 - margin, 0);
    r.y1 += margin;
    return r;
}

static void add_curve(struct eye_buf *out, const json_t *log, const struct curve *c, const struct range *r) {
    size_t every = r->n / MAX_POINTS + 1, seen = 0;
    double x, y;
    eye_buf_printf(out, "<polyline class=\"%s\" points=\"", c->style);
    for (size_t i = 0; i < json_array_size(log); i++)
        if (point(json_array_get(log, i), c, r->ratios, &x, &y) && seen++ % every == 0)
            eye_buf_printf(out, "%.1f,%.1f ", LEFT + (x - r->x0) / (r->x1 - r->x0) * (WIDTH - LEFT),
                           (HEIGHT - BOTTOM) * (r->y1 - y) / (r->y1 - r->y0));
    eye_buf_adds(out, "\"/>\n");
}

static void add_chart(struct eye_buf *out, const json_t *log, const char *title, const struct curve *c, size_t n, bool ratios) {
    struct range r = range_of(log, c, n, ratios);
    if (r.n == 0) return;
    eye_buf_printf(out, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", title, WIDTH, HEIGHT,
                   title);
    for (int i = 0; i <= 4; i++) {
        double y = (HEIGHT - BOTTOM) * i / 4.0, v = r.y1 - (r.y1 - r.y0) * i / 4;
        eye_buf_printf(out, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT, WIDTH, y, y);
        eye_buf_printf(out, "<text x=\"0\" y=\"%.1f\">%.3g</text>\n", EYE_MAX(y + 4, 10), ratios ? exp(v) : v);
        eye_buf_printf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                       EYE_MIN(LEFT + (WIDTH - LEFT) * i / 4, WIDTH - 24), HEIGHT - 6, r.x0 + (r.x1 - r.x0) * i / 4);
    }
    for (size_t k = 0; k < n; k++) {
        add_curve(out, log, &c[k], &r);
        if (n == 1) break; /* the title says what it is */
        int x = LEFT + 10 + 190 * (int)k;
        eye_buf_printf(out, "<line class=\"%s\" x1=\"%d\" x2=\"%d\" y1=\"12\" y2=\"12\" stroke-width=\"3\"/>", c[k].style, x,
                       x + 20);
        eye_buf_printf(out, "<text x=\"%d\" y=\"16\">%s</text>\n", x + 26, c[k].label);
    }
    eye_buf_adds(out, "</svg>\n");
}

/* ---- samples and tables ---- */

static const json_t *last_eval(const json_t *log) {
    for (size_t i = json_array_size(log); i-- > 0;) {
        const char *event = json_string_value(json_object_get(json_array_get(log, i), "event"));
        if (event && strcmp(event, "eval") == 0) return json_array_get(log, i);
    }
    return NULL;
}

static void add_picture(struct eye_buf *out, const char *dir, const char *file) {
    char path[EYE_PATH_CAP];
    struct eye_map m;
    if (!file || !file[0] || eye_path_join(path, dir, file, NULL) != EYE_OK) return;
    if (eye_map_open(&m, path, false, (size_t)1 << 20, NULL) != EYE_OK) return;
    eye_buf_adds(out, "<img alt=\"\" src=\"data:image/bmp;base64,");
    add_base64(out, m.p, m.size);
    eye_buf_adds(out, "\">");
    eye_map_close(&m);
}

static void add_samples(struct eye_buf *out, const json_t *log, const char *dir) {
    const json_t *eval = last_eval(log), *list = json_object_get(eval, "samples");
    if (json_array_size(list) == 0) return;
    eye_buf_adds(out, "<h2>Captions of the dev part, greedy, at the last evaluation</h2>\n<div class=\"grid\">\n");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *s = json_array_get(list, i);
        eye_buf_adds(out, "<div class=\"card\">");
        add_picture(out, dir, json_string_value(json_object_get(s, "thumbnail")));
        eye_buf_adds(out, "<div>");
        add_escaped(out, json_string_value(json_object_get(s, "caption")));
        if (!json_is_true(json_object_get(s, "ended"))) eye_buf_adds(out, " …");
        eye_buf_adds(out, "</div><div class=\"dim\">");
        add_escaped(out, json_string_value(json_object_get(s, "reference")));
        eye_buf_adds(out, "</div></div>\n");
    }
    eye_buf_adds(out, "</div>\n");
}

static void add_evals(struct eye_buf *out, const json_t *log) {
    eye_buf_adds(out, "<h2>Evaluations</h2>\n<table><tr><th>stage<th>step<th>dev loss<th>perplexity"
                      "<th>with the pictures of others</tr>\n");
    for (size_t i = 0; i < json_array_size(log); i++) {
        const json_t *e = json_array_get(log, i);
        const char *event = json_string_value(json_object_get(e, "event"));
        if (!event || strcmp(event, "eval") != 0) continue;
        double loss = json_number_value(json_object_get(e, "dev_loss"));
        double other = json_number_value(json_object_get(e, "shuffled_loss"));
        eye_buf_adds(out, "<tr><td>");
        add_escaped(out, json_string_value(json_object_get(e, "stage")));
        eye_buf_printf(out, "<td>%" JSON_INTEGER_FORMAT "<td>%.4f<td>%.2f<td>", json_integer_value(json_object_get(e, "step")),
                       loss, exp(loss));
        if (other > 0) eye_buf_printf(out, "%.2f", exp(other));
        eye_buf_adds(out, "</tr>\n");
    }
    eye_buf_adds(out, "</table>\n");
}

/* BMP: a header of 54 bytes, then rows from the bottom, B,G,R, each padded to 4 bytes. */
enum eye_status eye_report_thumbnail(const char *dir, uint32_t number, const uint8_t *rgb, int side, char *name,
                                     struct eye_err *err) {
    enum { MAX_SIDE = 112, HEAD = 54 };
    static uint8_t const fixed[] = {'B', 'M'};
    uint8_t bmp[HEAD + MAX_SIDE * MAX_SIDE * 3] = {0};
    char folder[EYE_PATH_CAP];
    int shrink = (side + MAX_SIDE - 1) / MAX_SIDE, n = side / shrink / 4 * 4; /* rows of whole words need no padding */
    uint32_t size = (uint32_t)(HEAD + n * n * 3);
    const struct { int at; uint32_t value; } fields[] = {{2, size}, {10, HEAD}, {14, 40}, {18, (uint32_t)n}, {22, (uint32_t)n},
                                                         {26, 1 | 24u << 16}};
    memcpy(bmp, fixed, sizeof fixed);
    for (size_t i = 0; i < EYE_COUNT(fields); i++)
        for (int k = 0; k < 4; k++) bmp[fields[i].at + k] = (uint8_t)(fields[i].value >> (8 * k));
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++)
            for (int c = 0; c < 3; c++) {
                int sum = 0;
                for (int j = 0; j < shrink * shrink; j++)
                    sum += rgb[((y * shrink + j / shrink) * side + x * shrink + j % shrink) * 3 + c];
                bmp[HEAD + ((n - 1 - y) * n + x) * 3 + 2 - c] = (uint8_t)(sum / (shrink * shrink));
            }
    EYE_TRY(eye_path_join(folder, dir, "samples", err));
    EYE_TRY(eye_folder_make(folder, err));
    snprintf(name, 64, "samples/%u.bmp", number);
    return eye_folder_write(dir, name, bmp, size, err);
}

/* ---- the page ---- */

static enum eye_status read_log(const char *dir, json_t **log, struct eye_err *err) {
    char path[EYE_PATH_CAP];
    struct eye_map m;
    EYE_TRY(eye_path_join(path, dir, "log.jsonl", err));
    EYE_TRY(eye_map_open(&m, path, false, 0, err));
    *log = json_array();
    for (size_t i = 0, end; i < m.size; i = end + 1) {
        const uint8_t *newline = memchr(m.p + i, '\n', m.size - i);
        end = newline ? (size_t)(newline - m.p) : m.size;
        json_t *line = json_loadb((const char *)m.p + i, end - i, 0, NULL);
        if (line) json_array_append_new(*log, line);
    }
    eye_map_close(&m);
    return *log ? EYE_OK : eye_fail_nomem(err, 1);
}

/* The recipe as text, appended to text; nothing if it cannot be read. */
static void read_recipe(const char *dir, struct eye_buf *text) {
    char path[EYE_PATH_CAP];
    struct eye_map m;
    if (eye_path_join(path, dir, "recipe.json", NULL) != EYE_OK || eye_map_open(&m, path, false, 0, NULL) != EYE_OK) return;
    eye_buf_add(text, m.p, m.size);
    eye_map_close(&m);
}

static void add_title(struct eye_buf *out, const struct eye_buf *recipe, size_t n_lines) {
    json_t *r = json_loadb(recipe->p ? recipe->p : "", recipe->len, 0, NULL);
    const char *name = json_string_value(json_object_get(r, "name"));
    eye_buf_adds(out, "<h1>");
    add_escaped(out, name ? name : "Training");
    eye_buf_printf(out, "</h1>\n<p class=\"dim\">%zu lines of log, drawn by eyelet</p>\n", n_lines);
    json_decref(r);
}

enum eye_status eye_report_write(const char *dir, const struct eye_alloc *alloc, struct eye_err *err) {
    static const struct curve loss[] = {{"step", "loss", "training", "a"}, {"eval", "dev_loss", "dev", "b"},
                                        {"eval", "shuffled_loss", "dev, pictures of others", "c"}},
                              lr = {"step", "lr", "learning rate", "a"}, norm = {"step", "grad_norm", "norm", "a"},
                              speed = {"step", "rows_per_s", "rows/s", "a"},
                              cider = {"eval", "cider", "CIDEr-D", "b"};
    struct eye_buf out, recipe;
    json_t *log;
    EYE_TRY(read_log(dir, &log, err));
    eye_buf_init(&out, alloc);
    eye_buf_printf(&out, head, "eyelet training");
    eye_buf_init(&recipe, alloc);
    read_recipe(dir, &recipe);
    add_title(&out, &recipe, json_array_size(log));
    add_chart(&out, log, "Loss", loss, EYE_COUNT(loss), true);
    add_chart(&out, log, "CIDEr-D of greedy captions of the dev part", &cider, 1, false);
    add_evals(&out, log);
    add_samples(&out, log, dir);
    add_chart(&out, log, "Learning rate", &lr, 1, false);
    add_chart(&out, log, "Norm of the gradients", &norm, 1, true);
    add_chart(&out, log, "Rows a second", &speed, 1, false);
    eye_buf_adds(&out, "<h2>Recipe</h2>\n<pre>");
    add_escaped(&out, recipe.p);
    eye_buf_adds(&out, "</pre>\n</body></html>\n");
    eye_buf_clear(&recipe);
    enum eye_status st = out.failed ? eye_fail_nomem(err, out.cap) : eye_folder_write(dir, "report.html", out.p, out.len, err);
    eye_buf_clear(&out);
    json_decref(log);
    return st;
}
