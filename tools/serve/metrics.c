/* metrics: see metrics.h. */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "eyelet/eyelet.h"

static const double edge[METRICS_BUCKETS] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};

void metrics_init(struct serve_metrics *m) {
    *m = (struct serve_metrics){0};
    pthread_mutex_init(&m->lock, NULL);
}

void metrics_clear(struct serve_metrics *m) { pthread_mutex_destroy(&m->lock); }

void metrics_answer(struct serve_metrics *m, const char *route, int code) {
    int i = 0, k = 0;
    pthread_mutex_lock(&m->lock);
    while (i < METRICS_ROUTES - 1 && m->route[i].route && strcmp(m->route[i].route, route) != 0) i++;
    m->route[i].route = route;
    while (k < METRICS_CODES - 1 && m->route[i].by[k].code && m->route[i].by[k].code != code) k++;
    m->route[i].by[k].code = code;
    m->route[i].by[k].n++;
    pthread_mutex_unlock(&m->lock);
}

static void observe(struct metrics_histogram *h, double v) {
    for (int i = 0; i < METRICS_BUCKETS; i++) h->bucket[i] += v <= edge[i];
    h->n++;
    h->sum += v;
}

void metrics_result(struct serve_metrics *m, const struct eye_result *r, size_t n_images, bool cancelled, double first_s,
                    double all_s) {
    pthread_mutex_lock(&m->lock);
    m->n_prompt_tok += r->n_prompt_tok;
    m->n_cached_tok += r->n_cached_tok;
    m->n_image_tok += r->n_image_tok;
    m->n_tok += r->n_tokens;
    m->n_images += n_images;
    m->n_cancelled += cancelled;
    m->prompt_s += (double)r->timings.prefill_us / 1e6;
    m->decode_s += (double)r->timings.decode_us / 1e6;
    m->vision_s += (double)(r->timings.preprocess_us + r->timings.vision_us + r->timings.projector_us) / 1e6;
    if (first_s > 0) observe(&m->first_token_s, first_s);
    if (!cancelled) observe(&m->request_s, all_s);
    pthread_mutex_unlock(&m->lock);
}

static void about(struct serve_buf *b, const char *name, const char *type, const char *help) {
    serve_buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void count(struct serve_buf *b, const char *name, const char *help, uint64_t n) {
    about(b, name, "counter", help);
    serve_buf_printf(b, "%s %" PRIu64 "\n", name, n);
}

static void seconds(struct serve_buf *b, const char *name, const char *help, double s) {
    about(b, name, "counter", help);
    serve_buf_printf(b, "%s %.6f\n", name, s);
}

static void gauge(struct serve_buf *b, const char *name, const char *help, double v) {
    about(b, name, "gauge", help);
    serve_buf_printf(b, "%s %.0f\n", name, v);
}

static void histogram(struct serve_buf *b, const char *name, const char *help, const struct metrics_histogram *h) {
    about(b, name, "histogram", help);
    for (int i = 0; i < METRICS_BUCKETS; i++)
        serve_buf_printf(b, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name, edge[i], h->bucket[i]);
    serve_buf_printf(b, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name, h->n, name, h->sum,
                     name,
                     h->n);
}

static double resident_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static void write_batch(const struct eye_batch_stats *s, struct serve_buf *b) {
    gauge(b, "eyelet_slots", "Answers that can be made at once.", s->n_slots);
    gauge(b, "eyelet_slots_busy", "Of these, in use.", s->n_active);
    gauge(b, "eyelet_requests_deferred", "Requests that wait for a slot.", s->n_queued);
    gauge(b, "eyelet_kv_cache_positions", "Positions of keys and values.", (double)s->kv_positions);
    gauge(b, "eyelet_kv_cache_positions_used", "Of these, in use.", (double)s->kv_used);
    gauge(b, "eyelet_image_cache_bytes", "Held by the cache of images.", (double)s->image_cache_bytes);
    gauge(b, "eyelet_prefix_cache_bytes", "Held by the cache of beginnings of prompts.", (double)s->prefix_cache_bytes);
    count(b, "eyelet_image_cache_hits_total", "Images whose rows were in the cache.", s->n_image_hits);
    count(b, "eyelet_image_cache_misses_total", "Images that the vision tower looked at.", s->n_image_misses);
    count(b, "eyelet_decoder_runs_total", "Runs of the decoder.", s->n_rounds);
    count(b, "eyelet_decoder_rows_total", "Rows of these runs: over runs, how many answers share the weights.", s->n_rows);
}

void metrics_write(struct serve_metrics *m, int n_jobs, int n_connections, bool ready, const struct eye_batch_stats *s,
                   struct serve_buf *b) {
    about(b, "eyelet_build_info", "gauge", "Version of the server.");
    serve_buf_printf(b, "eyelet_build_info{version=\"%s\"} 1\n", eye_version());
    gauge(b, "eyelet_ready", "1 once the model is loaded.", ready);
    gauge(b, "eyelet_requests_processing", "Requests for answers that wait or run.", n_jobs);
    gauge(b, "eyelet_connections", "Open connections.", n_connections);
    gauge(b, "process_resident_memory_bytes", "Resident memory size in bytes.", resident_bytes());
    write_batch(s, b);
    pthread_mutex_lock(&m->lock);
    about(b, "eyelet_http_requests_total", "counter", "HTTP requests answered, by route and status.");
    for (int i = 0; i < METRICS_ROUTES && m->route[i].route; i++)
        for (int k = 0; k < METRICS_CODES && m->route[i].by[k].code; k++)
            serve_buf_printf(b, "eyelet_http_requests_total{route=\"%s\",code=\"%d\"} %" PRIu64 "\n", m->route[i].route,
                             m->route[i].by[k].code, m->route[i].by[k].n);
    count(b, "eyelet_prompt_tokens_total", "Positions of prompts, image rows included.", m->n_prompt_tok);
    count(b, "eyelet_prompt_tokens_cached_total", "Of these, taken from a cache.", m->n_cached_tok);
    count(b, "eyelet_image_tokens_total", "Of the prompts' positions, image rows.", m->n_image_tok);
    count(b, "eyelet_tokens_predicted_total", "Tokens generated.", m->n_tok);
    count(b, "eyelet_images_total", "Images in requests that were worked on.", m->n_images);
    count(b, "eyelet_requests_cancelled_total", "Requests that ended before their answer did.", m->n_cancelled);
    seconds(b, "eyelet_prompt_seconds_total", "Time in prefill.", m->prompt_s);
    seconds(b, "eyelet_predicted_seconds_total", "Time in decoding.", m->decode_s);
    seconds(b, "eyelet_vision_seconds_total", "Time in preprocessing, vision tower and projector.", m->vision_s);
    histogram(b, "eyelet_time_to_first_token_seconds", "From a request's first byte to its first token.", &m->first_token_s);
    histogram(b, "eyelet_request_seconds", "From a request's first byte to its last token.", &m->request_s);
    pthread_mutex_unlock(&m->lock);
}
