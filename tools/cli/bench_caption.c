/* bench_caption: see bench_caption.h. A picture's time is that of its worker: file read, decoded, resized, seen, captioned to the
 * end token. */
#include "bench_caption.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "json.h"

enum { MAX_WORKERS = 64, WARM_UP = 5 };
enum part { READ, RESIZE, LOOK, PREFILL, WRITE, N_PARTS }; /* of a caption's time; tenths are left for the rest */
static const char *const part_names[N_PARTS] = {"decode", "resize", "vision", "prefill", "write"};

struct worker {
    pthread_t thread;
    struct measurement *all;
    struct eye_model *model;
    struct eye_session *session;
    struct eye_err err;
    enum eye_status status;
};
struct measurement { /* one row */
    const struct bench_pictures *pictures;
    struct worker *worker; /* [n_workers], those of the measurement before among them */
    int32_t n_workers;
    uint64_t *us;          /* [n] */
    size_t n;
    atomic_size_t next;
    _Atomic uint64_t tokens, part_us[N_PARTS];
    double seconds;
};

/* ---- pictures ---- */

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void bench_free_pictures(struct bench_pictures *p) {
    for (size_t i = 0; i < p->n; i++) free(p->path[i]);
    free(p->path);
}

static bool add_picture(struct bench_pictures *p, size_t *cap, const char *folder, const char *name) {
    struct eye_image img;
    size_t len = strlen(folder) + strlen(name) + 2;
    if (p->n == *cap) {
        char **more = realloc(p->path, (*cap = *cap ? 2 * *cap : 256) * sizeof *more);
        if (!more) return false;
        p->path = more;
    }
    char *path = malloc(len);
    if (!path) return false;
    snprintf(path, len, "%s/%s", folder, name);
    if (eye_image_load(path, NULL, &img, NULL) == EYE_OK) p->path[p->n++] = path;
    else free(path);
    eye_image_free(&img);
    return true;
}

int bench_list_pictures(struct ui *ui, const char *folder, size_t most, struct bench_pictures *p) {
    struct dirent **entry;
    size_t cap = 0;
    bool ok = true;
    int n = scandir(folder, &entry, NULL, alphasort);
    if (n < 0) return ui_failf(ui, "%s: cannot be read as a folder", folder);
    for (int i = 0; i < n; i++) {
        if (ok && p->n < most && entry[i]->d_name[0] != '.') ok = add_picture(p, &cap, folder, entry[i]->d_name);
        free(entry[i]);
    }
    free(entry);
    if (!ok) return ui_failf(ui, "out of memory");
    qsort(p->path, p->n, sizeof *p->path, by_name);
    return p->n ? EXIT_DONE : ui_failf(ui, "%s: no picture in it that can be read", folder);
}

/* ---- measuring ---- */

static enum eye_status caption(struct worker *w, const char *path, struct eye_result *r, uint64_t *read_us) {
    struct eye_image img;
    uint64_t begin = ui_now_us();
    enum eye_status st = eye_image_load(path, NULL, &img, &w->err);
    if (st != EYE_OK) return st;
    *read_us = ui_now_us() - begin;
    eye_session_reset(w->session);
    st = eye_session_generate(w->session, &(struct eye_query){.images = &img, .n_images = 1}, NULL, r, &w->err);
    eye_image_free(&img);
    return st;
}

static void *work(void *arg) {
    struct worker *w = arg;
    struct measurement *m = w->all;
    struct eye_result r;
    uint64_t read_us = 0;
    for (size_t i; w->status == EYE_OK && (i = atomic_fetch_add(&m->next, 1)) < m->n;) {
        uint64_t begin = ui_now_us();
        w->status = caption(w, m->pictures->path[i % m->pictures->n], &r, &read_us);
        m->us[i] = ui_now_us() - begin;
        if (w->status != EYE_OK) break;
        uint64_t part[N_PARTS] = {read_us, r.timings.preprocess_us, r.timings.vision_us + r.timings.projector_us,
                                  r.timings.prefill_us, m->us[i] - read_us};
        for (int k = RESIZE; k < WRITE; k++) part[WRITE] -= part[k];
        for (int k = 0; k < N_PARTS; k++) m->part_us[k] += part[k];
        m->tokens += r.n_tokens;
    }
    return NULL;
}

static int by_time(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int measure(struct ui *ui, struct measurement *m) {
    uint64_t begin = ui_now_us();
    int32_t started = 0;
    for (int32_t i = 0; i < m->n_workers; i++) m->worker[i].all = m;
    while (started < m->n_workers && pthread_create(&m->worker[started].thread, NULL, work, &m->worker[started]) == 0) started++;
    for (int32_t i = 0; i < started; i++) pthread_join(m->worker[i].thread, NULL);
    m->seconds = (double)(ui_now_us() - begin) / 1e6;
    if (started < m->n_workers) return ui_failf(ui, "cannot start %d threads", m->n_workers);
    for (int32_t i = 0; i < m->n_workers; i++)
        if (m->worker[i].status != EYE_OK) return ui_fail(ui, &m->worker[i].err);
    qsort(m->us, m->n, sizeof *m->us, by_time);
    return EXIT_DONE;
}

/* ---- results ---- */

static double quantile_ms(const struct measurement *m, double q) { return (double)m->us[(size_t)(q * (double)(m->n - 1))] / 1e3; }

static json_t *to_json(const struct measurement *m) {
    json_t *parts = json_object();
    for (int k = 0; k < N_PARTS; k++)
        json_object_set_new(parts, part_names[k], json_real((double)m->part_us[k] / 1e3 / (double)m->n));
    return json_pack("{s:i, s:f, s:f, s:f, s:f, s:o}", "workers", (int)m->n_workers, "captions_per_s", (double)m->n / m->seconds,
                     "p50_ms", quantile_ms(m, 0.5), "p95_ms", quantile_ms(m, 0.95), "tokens_per_caption",
                     (double)m->tokens / (double)m->n, "mean_ms", parts);
}

static void print_row(const struct measurement *m) {
    printf("%7d %10.1f %8.2f %8.2f %8.1f ", m->n_workers, (double)m->n / m->seconds, quantile_ms(m, 0.5), quantile_ms(m, 0.95),
           (double)m->tokens / (double)m->n);
    for (int k = 0; k < N_PARTS; k++) printf(" %8.2f", (double)m->part_us[k] / 1e3 / (double)m->n);
    printf("\n");
}

static int run_row(struct ui *ui, const struct bench_pictures *p, struct worker *worker, int32_t n_workers, size_t n, json_t *rows) {
    struct measurement warm = {.pictures = p, .worker = worker, .n_workers = n_workers, .n = (size_t)n_workers * WARM_UP};
    struct measurement m = {.pictures = p, .worker = worker, .n_workers = n_workers, .n = n};
    warm.us = calloc(warm.n, sizeof *warm.us);
    m.us = calloc(m.n, sizeof *m.us);
    int code = warm.us && m.us ? measure(ui, &warm) : ui_failf(ui, "out of memory");
    if (code == EXIT_DONE) code = measure(ui, &m);
    if (code == EXIT_DONE) {
        if (rows) json_array_append_new(rows, to_json(&m));
        else print_row(&m);
    }
    free(warm.us);
    free(m.us);
    return code;
}

static int open_workers(struct ui *ui, const struct model_args *args, struct worker *worker, int32_t n) {
    struct model_args one = *args;
    one.n_threads = 1;
    one.cache_dir = NULL; /* a picture seen before would not be looked at */
    for (int32_t i = 0; i < n; i++) {
        int code = cli_open(ui, &one, &worker[i].model);
        if (code != EXIT_DONE) return code;
        struct eye_session_opts o = {.with_images = true};
        if (eye_session_new(worker[i].model, &o, &worker[i].session, &worker[i].err) != EYE_OK) return ui_fail(ui, &worker[i].err);
    }
    ui_clear(ui);
    return EXIT_DONE;
}

int bench_captions(struct ui *ui, const struct model_args *model, const char *folder, int32_t n, bool json) {
    struct bench_pictures p = {0};
    struct worker worker[MAX_WORKERS] = {{.model = NULL}};
    struct eye_machine machine;
    eye_machine_get(&machine);
    int32_t n_workers = model->n_threads ? model->n_threads : machine.n_cpus;
    if (n_workers > MAX_WORKERS) n_workers = MAX_WORKERS;
    json_t *rows = json ? json_array() : NULL;
    int code = bench_list_pictures(ui, folder, (size_t)n, &p);
    if (code == EXIT_DONE) code = open_workers(ui, model, worker, n_workers);
    if (code == EXIT_DONE && !json) {
        printf("%d captions of %zu pictures; milliseconds\n%7s %10s %8s %8s %8s ", n, p.n, "workers", "captions/s", "p50", "p95", "tokens");
        for (int k = 0; k < N_PARTS; k++) printf(" %8s", part_names[k]);
        printf("\n");
    }
    const int32_t at_once[] = {1, 2, n_workers};
    for (int k = 0; code == EXIT_DONE && k < 3; k++)
        if (at_once[k] <= n_workers && (k < 2 || at_once[k] > 2)) code = run_row(ui, &p, worker, at_once[k], (size_t)n, rows);
    if (code == EXIT_DONE && json) code = json_print(ui, json_pack("{s:i, s:I, s:O}", "captions", n, "pictures", (json_int_t)p.n, "rows", rows));
    json_decref(rows);
    for (int32_t i = 0; i < n_workers; i++) {
        eye_session_free(worker[i].session);
        eye_model_close(worker[i].model);
    }
    bench_free_pictures(&p);
    return code;
}
