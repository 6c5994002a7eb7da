/* metrics: counters, and their text for Prometheus (exposition format 0.0.4). Any thread. */
#ifndef EYELET_SERVE_METRICS_H
#define EYELET_SERVE_METRICS_H

#include <pthread.h>

#include "buf.h"
#include "eyelet/batch.h"

#define METRICS_ROUTES 24
#define METRICS_CODES 16
#define METRICS_BUCKETS 12

struct metrics_histogram {
    uint64_t bucket[METRICS_BUCKETS], n;
    double sum;
};

struct serve_metrics {
    pthread_mutex_t lock;
    struct { const char *route; struct { int code; uint64_t n; } by[METRICS_CODES]; } route[METRICS_ROUTES];
    uint64_t n_prompt_tok, n_cached_tok, n_image_tok, n_tok, n_images, n_cancelled;
    double prompt_s, decode_s, vision_s;
    struct metrics_histogram first_token_s, request_s;
};
void metrics_init(struct serve_metrics *m);
void metrics_clear(struct serve_metrics *m);
/* An HTTP answer. route is static. */
void metrics_answer(struct serve_metrics *m, const char *route, int code);
/* A generation that came to an end. */
void metrics_result(struct serve_metrics *m, const struct eye_result *r, size_t n_images, bool cancelled, double first_s,
                    double all_s);
/* Now: requests that are worked on, connections, the batch. */
void metrics_write(struct serve_metrics *m, int n_jobs, int n_connections, bool ready, const struct eye_batch_stats *s,
                   struct serve_buf *out);

#endif
