/* profile: what a run took, in the JSON that Genie's --profile writes (header, metadata, components[0].events[]), so that
 * scripts which read that read this. Units are Genie's: microseconds, tokens per second. Numbers only, so no JSON library is
 * needed. */
#include <inttypes.h>
#include <time.h>

#include "base/sys.h"
#include "eyelet/eyelet.h"

#define STRING_OF(x) #x
#define VERSION_TEXT(major, minor, patch) STRING_OF(major) "." STRING_OF(minor) "." STRING_OF(patch)

const char *eye_version(void) { return VERSION_TEXT(EYE_VERSION_MAJOR, EYE_VERSION_MINOR, EYE_VERSION_PATCH); }

static void event_head(struct eye_buf *b, const char *type, uint64_t start_us, uint64_t duration_us) {
    eye_buf_printf(b,
                   "        {\n          \"type\": \"%s\",\n          \"duration\": %" PRIu64 ",\n          \"start\": %" PRIu64
                   ",\n          \"stop\": %" PRIu64,
                   type, duration_us, start_us, start_us + duration_us);
}

static void metric(struct eye_buf *b, const char *name, uint64_t value, const char *unit) {
    eye_buf_printf(b, ",\n          \"%s\": {\"value\": %" PRIu64 ", \"unit\": \"%s\"}", name, value, unit);
}

static void metric_rate(struct eye_buf *b, const char *name, uint64_t tokens, uint64_t us) {
    double rate = us ? (double)tokens * 1e6 / (double)us : 0;
    eye_buf_printf(b, ",\n          \"%s\": {\"value\": %.6f, \"unit\": \"toks/sec\"}", name, rate);
}

static void query_event(struct eye_buf *b, const struct eye_result *r) {
    const struct eye_timings *t = &r->timings;
    event_head(b, "GenieDialog_query", t->start_us, t->first_token_us + t->decode_us);
    metric(b, "num-prompt-tokens", r->n_prompt_tok, "");
    metric_rate(b, "prompt-processing-rate", r->n_prompt_tok, t->prefill_us);
    metric(b, "time-to-first-token", t->first_token_us, "us");
    metric(b, "num-generated-tokens", r->n_tokens, "");
    /* The first token belongs to the prompt's time. */
    metric_rate(b, "token-generation-rate", r->n_tokens ? r->n_tokens - 1 : 0, t->decode_us);
    metric(b, "token-generation-time", t->decode_us, "us");
    metric(b, "image-decode-time", t->image_decode_us, "us");
    metric(b, "preprocess-time", t->preprocess_us, "us");
    metric(b, "vision-time", t->vision_us, "us");
    metric(b, "projector-time", t->projector_us, "us");
    metric(b, "peak-rss", eye_peak_rss_bytes(), "bytes");
    eye_buf_adds(b, "\n        }\n");
}

static uint64_t wall_clock_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

enum eye_status eye_profile_save(const char *path, uint64_t open_us, const struct eye_result *r, struct eye_err *err) {
    static const char version[] = "{\"major\": 0, \"minor\": 1, \"patch\": 0}";
    struct eye_writer w;
    struct eye_buf b;
    uint64_t query_us = r->timings.start_us;
    eye_buf_init(&b, NULL);
    eye_buf_printf(&b,
                   "{\n  \"header\": {\"header_version\": %s, \"version\": %s, \"artifact_type\": \"GENIE_PROFILE\"},\n"
                   "  \"metadata\": {\"timestamp\": %" PRIu64 "},\n  \"components\": [\n    {\n      \"name\": \"dialog0\",\n"
                   "      \"type\": \"dialog\",\n      \"events\": [\n",
                   version, version, wall_clock_us());
    event_head(&b, "GenieDialog_create", query_us > open_us ? query_us - open_us : 0, open_us);
    metric(&b, "init-time", open_us, "us");
    eye_buf_adds(&b, "\n        },\n");
    query_event(&b, r);
    eye_buf_adds(&b, "      ]\n    }\n  ]\n}\n");
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len) : eye_writer_open(&w, path, err);
    if (st == EYE_OK) {
        st = eye_writer_put(&w, b.p, b.len, err);
        if (st == EYE_OK) st = eye_writer_commit(&w, err);
        eye_writer_abort(&w);
    }
    eye_buf_clear(&b);
    return st;
}
