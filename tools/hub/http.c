/* http: see http.h. */
#include "http.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { MAX_REDIRECTS = 8, CONNECT_S = 30, SILENT_S = 60 };

struct http {
    CURL *curl;
};
struct hop { /* one request of a chain of redirects */
    CURL *curl;
    const struct http_request *r;
    struct http_answer *answer;
    struct eye_err *err;
    bool first, head_given;
    uint64_t n_body;
    enum eye_status status; /* what the caller's functions said */
};

enum eye_status http_fail(struct eye_err *err, enum eye_status code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    for (char *p = err->text; *p; p++) /* names come from anywhere: one line, and nothing that a terminal obeys */
        if ((unsigned char)*p < ' ' || *p == 127) *p = '?';
    return code;
}

struct http *http_new(void) {
    struct http *h = calloc(1, sizeof *h);
    if (h && curl_global_init(CURL_GLOBAL_DEFAULT) == 0) h->curl = curl_easy_init();
    if (h && h->curl) return h;
    free(h);
    return NULL;
}

void http_free(struct http *h) {
    if (!h) return;
    curl_easy_cleanup(h->curl);
    curl_global_cleanup();
    free(h);
}

/* ---- the answer's head ---- */

/* The value of a line "Name: value", without blanks around it; NULL = another header. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *len) {
    size_t n_name = strlen(name);
    if (n <= n_name || strncasecmp(line, name, n_name) != 0 || line[n_name] != ':') return NULL;
    const char *p = line + n_name + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t')) p++;
    while (end > p && (unsigned char)end[-1] <= ' ') end--;
    *len = (size_t)(end - p);
    return p;
}

/* Printable ASCII alone: it will stand in messages. */
static void copy_text(char *out, size_t cap, const char *p, size_t n) {
    size_t at = 0;
    for (size_t i = 0; i < n && at + 1 < cap; i++) out[at++] = p[i] >= ' ' && p[i] < 127 ? p[i] : '?';
    out[at] = '\0';
}

static void copy_etag(struct http_answer *a, const char *p, size_t n) {
    if (n > 2 && memcmp(p, "W/", 2) == 0) p += 2, n -= 2;
    if (n >= 2 && p[0] == '"' && p[n - 1] == '"') p++, n -= 2;
    copy_text(a->etag, sizeof a->etag, p, n);
}

/* Seconds, or a date of HTTP. */
static uint32_t retry_after(const char *p, size_t n) {
    char text[64];
    copy_text(text, sizeof text, p, n);
    if (text[0] >= '0' && text[0] <= '9') {
        unsigned long s = strtoul(text, NULL, 10);
        return s < UINT32_MAX ? (uint32_t)s : UINT32_MAX;
    }
    time_t at = curl_getdate(text, NULL), now = time(NULL);
    return at > now ? (uint32_t)(at - now < UINT32_MAX ? at - now : UINT32_MAX) : 0;
}

static void take_range(struct http_answer *a, const char *p, size_t n) {
    char text[96];
    copy_text(text, sizeof text, p, n);
    a->has_range = sscanf(text, "bytes %" SCNu64 "-%*u/%" SCNu64, &a->range_first, &a->range_total) == 2;
}

static size_t on_header(char *line, size_t one, size_t n, void *ctx) {
    struct hop *hop = ctx;
    struct http_answer *a = hop->answer;
    const char *p;
    size_t len;
    (void)one;
    if ((p = header_value(line, n, "x-linked-etag", &len))) copy_etag(a, p, len);
    else if (hop->first && !a->etag[0] && (p = header_value(line, n, "etag", &len))) copy_etag(a, p, len);
    else if ((p = header_value(line, n, "x-error-message", &len))) copy_text(a->message, sizeof a->message, p, len);
    else if ((p = header_value(line, n, "retry-after", &len))) a->retry_after_s = retry_after(p, len);
    else if ((p = header_value(line, n, "content-range", &len))) take_range(a, p, len);
    return n;
}

/* ---- its body ---- */

/* Whatever is no answer to keep is thrown away, within its bound too. */
static size_t on_data(char *p, size_t one, size_t n, void *ctx) {
    struct hop *hop = ctx;
    const struct http_request *r = hop->r;
    (void)one;
    curl_easy_getinfo(hop->curl, CURLINFO_RESPONSE_CODE, &hop->answer->status);
    if (n > r->max_bytes - hop->n_body) {
        hop->status = http_fail(hop->err, EYE_E_LIMIT, "%.300s: answers more than %" PRIu64 " bytes", r->url, r->max_bytes);
        return 0;
    }
    hop->n_body += n;
    if (hop->answer->status != 200 && hop->answer->status != 206) return n;
    if (!hop->head_given && r->on_head) hop->status = r->on_head(r->ctx, hop->answer, hop->err);
    hop->head_given = true;
    if (hop->status == EYE_OK) hop->status = r->on_body(r->ctx, p, n, hop->err);
    return hop->status == EYE_OK ? n : 0;
}

static int on_time(void *ctx, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up) {
    const struct http_request *r = ctx;
    (void)total, (void)now, (void)up_total, (void)up;
    return r->cancel && r->cancel(r->cancel_ctx);
}

/* ---- hops ---- */

/* "https://host:port" of a URL, malloc'd; NULL = it is none of http or https. */
static char *origin_of(const char *url) {
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL, *origin = NULL;
    if (u && curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_SCHEME, &scheme,
                                                                                 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
        (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0) && asprintf(&origin, "%s://%s:%s", scheme, host,
                                                                                  port) < 0)
        origin = NULL;
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return origin;
}

static enum eye_status transfer_error(const struct hop *hop, const char *url, CURLcode rc, const char *detail) {
    if (hop->status != EYE_OK) return hop->status;
    if (rc == CURLE_ABORTED_BY_CALLBACK) return http_fail(hop->err, EYE_E_CANCELLED, "stopped");
    if (rc == CURLE_OUT_OF_MEMORY) return http_fail(hop->err, EYE_E_NOMEM, "out of memory");
    return http_fail(hop->err, EYE_E_IO, "%.200s: %s", url, *detail ? detail : curl_easy_strerror(rc));
}

static struct curl_slist *headers_for(const struct http_request *r, bool with_token) {
    struct curl_slist *list = NULL;
    char *line = NULL;
    if (!with_token || asprintf(&line, "Authorization: Bearer %s", r->token) < 0) return NULL;
    list = curl_slist_append(NULL, line);
    memset(line, 0, strlen(line));
    free(line);
    return list;
}

static enum eye_status run_hop(struct http *h, struct hop *hop, const char *url, bool with_token) {
    const struct http_request *r = hop->r;
    char detail[CURL_ERROR_SIZE] = "", range[32];
    CURL *c = hop->curl = h->curl;
    struct curl_slist *headers = headers_for(r, with_token);
    if (with_token && !headers) return http_fail(hop->err, EYE_E_NOMEM, "out of memory");
    snprintf(range, sizeof range, "%" PRIu64 "-", r->from);
    curl_easy_reset(c);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_USERAGENT, "eyelet");
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, (long)SILENT_S);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, detail);
    curl_easy_setopt(c, CURLOPT_RANGE, r->from ? range : NULL);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, hop);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, hop);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_time);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, (void *)r);
    CURLcode rc = curl_easy_perform(c);
    curl_slist_free_all(headers);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &hop->answer->status);
    if (rc != CURLE_OK || hop->status != EYE_OK) return transfer_error(hop, url, rc, detail);
    bool kept = hop->answer->status == 200 || hop->answer->status == 206;
    return kept && !hop->head_given && r->on_head ? r->on_head(r->ctx, hop->answer, hop->err) : EYE_OK; /* an empty body */
}

static bool is_redirect(long status) { return status == 301 || status == 302 || status == 303 || status == 307 ||
                                      status == 308; }

/* Where the answer points to, malloc'd. A way from https to http would show what is fetched, and let anyone change it. */
static enum eye_status next_url(struct http *h, const char *from, char **to, struct eye_err *err) {
    char *url = NULL;
    curl_easy_getinfo(h->curl, CURLINFO_REDIRECT_URL, &url);
    if (!url) return http_fail(err, EYE_E_CORRUPT, "%.300s: a redirect to nowhere", from);
    if (strncasecmp(from, "https:", 6) == 0 && strncasecmp(url, "https:", 6) != 0)
        return http_fail(err, EYE_E_CORRUPT, "%.200s: a redirect from https to %.100s is not followed", from, url);
    *to = strdup(url);
    return *to ? EYE_OK : http_fail(err, EYE_E_NOMEM, "out of memory");
}

enum eye_status http_get(struct http *h, const struct http_request *r, struct http_answer *answer, struct eye_err *err) {
    char *home = origin_of(r->url), *url = strdup(r->url);
    enum eye_status st = home && url ? EYE_OK : http_fail(err, EYE_E_ARG, "%.300s: no URL of http or https", r->url);
    *answer = (struct http_answer){0};
    for (int i = 0; st == EYE_OK; i++) {
        char *origin = origin_of(url), *to = NULL;
        struct hop hop = {.r = r, .answer = answer, .err = err, .first = i == 0};
        if (!origin) st = http_fail(err, EYE_E_CORRUPT, "%.300s: a redirect to another protocol", url);
        if (st == EYE_OK) st = run_hop(h, &hop, url, r->token && strcmp(origin, home) == 0);
        free(origin);
        if (st != EYE_OK || !is_redirect(answer->status)) break;
        if (i == MAX_REDIRECTS) st = http_fail(err, EYE_E_CORRUPT, "%.300s: more than %d redirects", r->url, MAX_REDIRECTS);
        if (st == EYE_OK) st = next_url(h, url, &to, err);
        if (st != EYE_OK) break;
        free(url);
        url = to;
    }
    free(home);
    free(url);
    return st;
}
