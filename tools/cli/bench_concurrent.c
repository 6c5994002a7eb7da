/* bench_concurrent: see bench_concurrent.h. A request is done when its last token is; the next one follows at once (a closed loop
 * of N clients). Pictures are in memory beforehand and all different, caches are off, but for the rows of the same picture. */
#include "bench_concurrent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_caption.h"
#include "json.h"

enum { WARM_UP = 8, N_PICTURES = 64, SIDE = 448, MAX_REPEATS = 50 };

struct load { /* one row: a closed loop of requests */
    const char *what;
    int32_t at_once;
    size_t n, n_submitted, n_done;
    uint64_t *first_us, *us;       /* [n] to the first token, to the end */
    uint64_t n_tokens, n_cached;
    double seconds;
};
struct concurrent {
    struct ui *ui;
    struct eye_model *model;
    struct eye_session *session;
    struct eye_batch *batch;
    struct eye_image image[N_PICTURES];
    uint8_t *pixels[N_PICTURES];   /* of made-up ones */
    size_t n_images, next_image;
    bool repeat;                   /* the same picture every time */
    struct eye_generate_opts opts;
    struct load *load;             /* running */
    struct eye_err err;
    json_t *rows;                  /* NULL: a table is printed */
};

static struct eye_query next_query(struct concurrent *c) {
    const struct eye_image *img = &c->image[c->repeat ? 0 : c->next_image++ % c->n_images];
    return (struct eye_query){.images = img, .n_images = 1};
}

static void note(struct load *l, const struct eye_result *r) {
    l->first_us[l->n_done] = r->timings.first_token_us;
    l->us[l->n_done] = r->timings.first_token_us + r->timings.decode_us;
    l->n_tokens += r->n_tokens;
    l->n_cached += r->n_cached_tok;
    l->n_done++;
}

/* ---- loops ---- */

static void submit(struct concurrent *c);

static void on_done(void *ctx, const struct eye_result *r, enum eye_status st, const struct eye_err *err) {
    struct concurrent *c = ctx;
    if (st != EYE_OK) {
        c->err = *err;
        eye_batch_stop(c->batch);
        return;
    }
    note(c->load, r);
    if (c->load->n_submitted < c->load->n) submit(c);
}

static void submit(struct concurrent *c) {
    struct eye_query q = next_query(c);
    struct eye_batch_request r = {.query = &q, .opts = &c->opts, .on_done = on_done, .ctx = c};
    c->load->n_submitted++;
    if (eye_batch_submit(c->batch, &r, NULL, &c->err) != EYE_OK) eye_batch_stop(c->batch);
}

static void run_batch(struct concurrent *c) {
    for (int32_t i = 0; i < c->load->at_once && c->load->n_submitted < c->load->n; i++) submit(c);
    eye_batch_run(c->batch, true);
}

static void run_session(struct concurrent *c) {
    struct eye_result r;
    while (c->load->n_done < c->load->n && c->err.code == EYE_OK) {
        struct eye_query q = next_query(c);
        eye_session_reset(c->session);
        if (eye_session_generate(c->session, &q, &c->opts, &r, &c->err) == EYE_OK) note(c->load, &r);
    }
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int run_load(struct concurrent *c, struct load *l) {
    l->first_us = calloc(l->n, sizeof *l->first_us);
    l->us = calloc(l->n, sizeof *l->us);
    if (!l->first_us || !l->us) return ui_failf(c->ui, "out of memory");
    c->load = l;
    uint64_t begin = ui_now_us();
    if (c->batch) run_batch(c);
    else run_session(c);
    l->seconds = (double)(ui_now_us() - begin) / 1e6;
    if (c->err.code != EYE_OK) return ui_fail(c->ui, &c->err);
    qsort(l->first_us, l->n, sizeof *l->first_us, by_time);
    qsort(l->us, l->n, sizeof *l->us, by_time);
    return EXIT_DONE;
}

/* ---- results ---- */

static double quantile_ms(const uint64_t *us, size_t n, double q) { return (double)us[(size_t)(q * (double)(n - 1))] / 1e3; }

static void show(const struct concurrent *c, const struct load *l, double base) {
    double rate = (double)l->n / l->seconds, tokens = (double)l->n_tokens / (double)l->n;
    if (c->rows) {
        json_array_append_new(c->rows, json_pack(
            "{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "what", l->what, "at_once", (int)l->at_once, "requests_per_s", rate,
            "ratio", rate / base, "first_token_p50_ms", quantile_ms(l->first_us, l->n, 0.5), "first_token_p95_ms",
            quantile_ms(l->first_us, l->n, 0.95), "p50_ms", quantile_ms(l->us, l->n, 0.5), "p95_ms", quantile_ms(l->us, l->n, 0.95),
            "tokens", tokens));
        return;
    }
    printf("%-16s %7d %10.1f %7.2f %10.2f %10.2f %10.2f %10.2f %7.1f\n", l->what, l->at_once, rate, rate / base,
           quantile_ms(l->first_us, l->n, 0.5), quantile_ms(l->first_us, l->n, 0.95), quantile_ms(l->us, l->n, 0.5),
           quantile_ms(l->us, l->n, 0.95), tokens);
}

/* A row, after a few requests that are not counted. *rate (may be NULL): requests a second. base 0: it is the base. */
static int row(struct concurrent *c, const char *what, int32_t at_once, size_t n, double base, double *rate) {
    struct load warm = {.what = what, .at_once = at_once, .n = WARM_UP}, l = {.what = what, .at_once = at_once, .n = n};
    int code = run_load(c, &warm);
    if (code == EXIT_DONE) code = run_load(c, &l);
    if (code == EXIT_DONE) show(c, &l, base > 0 ? base : (double)l.n / l.seconds);
    if (code == EXIT_DONE && rate) *rate = (double)l.n / l.seconds;
    free(warm.first_us), free(warm.us), free(l.first_us), free(l.us);
    return code;
}

static int batch_row(struct concurrent *c, const char *what, int32_t at_once, bool caches, size_t n, double base) {
    struct eye_batch_opts o = {.n_slots = at_once, .n_beams = c->opts.n_beams};
    if (!caches) o.image_cache_bytes = o.prefix_cache_bytes = -1;
    if (eye_batch_new(c->model, &o, &c->batch, &c->err) != EYE_OK) return ui_fail(c->ui, &c->err);
    int code = row(c, what, at_once, n, base, NULL);
    eye_batch_free(c->batch);
    c->batch = NULL;
    return code;
}

static int run_rows(struct concurrent *c, int32_t at_once, size_t n) {
    double base = 0;
    struct eye_session_opts with = {.with_images = true};
    if (eye_session_new(c->model, &with, &c->session, &c->err) != EYE_OK) return ui_fail(c->ui, &c->err);
    ui_clear(c->ui);
    if (!c->rows)
        printf("%-16s %7s %10s %7s %10s %10s %10s %10s %7s\n", "", "at once", "requests/s", "ratio", "first p50", "p95 ms",
               "end p50", "p95 ms", "tokens");
    int code = row(c, "session", 1, n, 0, &base);
    if (code == EXIT_DONE) code = batch_row(c, "batch", 1, false, n, base);
    if (code == EXIT_DONE && at_once > 1) code = batch_row(c, "batch", at_once, false, n, base);
    c->repeat = true;
    if (code == EXIT_DONE) code = batch_row(c, "same picture", 1, true, n < MAX_REPEATS ? n : MAX_REPEATS, base);
    if (code == EXIT_DONE && at_once > 1) code = batch_row(c, "same picture", at_once, true, n, base);
    return code;
}

/* ---- pictures ---- */

static int make_pictures(struct concurrent *c) {
    for (; c->n_images < N_PICTURES; c->n_images++) {
        size_t i = c->n_images;
        c->pixels[i] = cli_make_pixels(SIDE, (int)i + 1);
        if (!c->pixels[i]) return ui_failf(c->ui, "out of memory");
        if (eye_image_wrap(&c->image[i], c->pixels[i], SIDE, SIDE, 0, &c->err) != EYE_OK) return ui_fail(c->ui, &c->err);
    }
    return EXIT_DONE;
}

static int load_pictures(struct concurrent *c, const char *folder) {
    struct bench_pictures p = {0};
    int code = bench_list_pictures(c->ui, folder, N_PICTURES, &p);
    for (; code == EXIT_DONE && c->n_images < p.n; c->n_images++)
        if (eye_image_load(p.path[c->n_images], NULL, &c->image[c->n_images], &c->err) != EYE_OK) code = ui_fail(c->ui, &c->err);
    bench_free_pictures(&p);
    return code;
}

int bench_concurrent(struct ui *ui, const struct model_args *model, const char *folder, int32_t at_once, int32_t n_beams,
                     int32_t n, bool json) {
    struct concurrent c = {.ui = ui, .opts = {.n_beams = n_beams}, .rows = json ? json_array() : NULL};
    struct model_args args = *model;
    args.cache_dir = NULL; /* a picture seen before would not be looked at */
    args.n_parallel = at_once * (n_beams > 0 ? n_beams : 1);
    int code = cli_open(ui, &args, &c.model);
    if (code == EXIT_DONE) code = folder ? load_pictures(&c, folder) : make_pictures(&c);
    if (code == EXIT_DONE) code = run_rows(&c, at_once, (size_t)n);
    if (code == EXIT_DONE && json) code = json_print(ui, json_pack("{s:O}", "rows", c.rows));
    json_decref(c.rows);
    eye_session_free(c.session);
    for (size_t i = 0; i < c.n_images; i++) eye_image_free(&c.image[i]);
    for (size_t i = 0; i < N_PICTURES; i++) free(c.pixels[i]);
    eye_model_close(c.model);
    return code;
}
