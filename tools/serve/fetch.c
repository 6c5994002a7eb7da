/* fetch: see fetch.h. libcurl's own parser takes the address apart, so that what is checked is what is asked; its socket
 * callback
 * sees the number that DNS gave, so that a name cannot point inwards at the second look. */
#include "fetch.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define MAX_REDIRECTS 3

bool serve_fetch_init(void) { return curl_global_init(CURL_GLOBAL_DEFAULT) == 0; }

/* ---- what is allowed ---- */

static bool public_v4(uint32_t a) {
    static const struct { uint32_t net; int bits; } inner[] = {
        {0x00000000, 8}, {0x0a000000, 8}, {0x64400000, 10}, {0x7f000000, 8}, {0xa9fe0000, 16}, {0xac100000, 12},
        {0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16}, {0xc6120000, 15}, {0xc6336400, 24},
        {0xcb007100, 24}, {0xe0000000, 4}, {0xf0000000, 4}};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++)
        if ((a ^ inner[i].net) >> (32 - inner[i].bits) == 0) return false;
    return true;
}

/* 2000::/3 is what is given out; of it, what carries other addresses inside (Teredo, 6to4) or is for documents is not. Mapped
 * and
 * translated IPv4 lies outside. */
static bool public_v6(const uint8_t a[16]) {
    if (a[0] >> 5 != 1) return false;
    uint32_t begin = (uint32_t)a[0] << 24 | (uint32_t)a[1] << 16 | (uint32_t)a[2] << 8 | a[3];
    if (begin >> 9 == 0x20010000 >> 9) return false; /* 2001::/23 */
    return begin != 0x20010db8 && begin >> 16 != 0x2002 && begin >> 12 != 0x3fff0000 >> 12;
}

bool serve_fetch_is_public(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) return public_v4(ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr));
    return a->sa_family == AF_INET6 && public_v6(((const struct sockaddr_in6 *)(const void *)a)->sin6_addr.s6_addr);
}

/* host: as libcurl writes it, an IPv6 address in brackets. */
static bool is_address(const char *host) {
    struct in_addr v4;
    return host[0] == '[' || inet_pton(AF_INET, host, &v4) == 1;
}

static bool entry_allows(const char *entry, const char *host, int port) {
    const char *colon = entry[0] == '[' ? strchr(entry, ']') : entry;
    colon = colon ? strchr(colon, ':') : NULL;
    size_t n = colon ? (size_t)(colon - entry) : strlen(entry), len = strlen(host);
    if (colon ? atoi(colon + 1) != port : port != 80 && port != 443) return false;
    if (n == 1 && entry[0] == '*') return true;
    if (n > 2 && entry[0] == '*' && entry[1] == '.') /* "*.example.org": ".example.org" and something before */
        return !is_address(host) && len > n - 1 && strncasecmp(host + len - (n - 1), entry + 1, n - 1) == 0;
    return n == len && strncasecmp(entry, host, n) == 0;
}

bool serve_fetch_allows(const struct serve_fetch *f, const char *host, int port, bool *literal) {
    bool allowed = false;
    *literal = false;
    for (size_t i = 0; i < f->n_allow; i++) {
        if (!entry_allows(f->allow[i], host, port)) continue;
        allowed = true;
        *literal = *literal || (is_address(host) && f->allow[i][0] != '*');
    }
    return allowed;
}

/* ---- one request ---- */

struct fetching {
    const struct serve_fetch *f;
    struct serve_buf body;
    bool literal, inner, too_large;
};

static size_t on_bytes(char *p, size_t size, size_t n, void *ctx) {
    struct fetching *t = ctx;
    (void)size; /* 1 */
    if (n > t->f->max_bytes - t->body.n) {
        t->too_large = true;
        return 0;
    }
    serve_buf_add(&t->body, p, n);
    return t->body.failed ? 0 : n;
}

/* Where the connection goes, in numbers. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    struct fetching *t = ctx;
    if (purpose != CURLSOCKTYPE_IPCXN || (!t->literal && !serve_fetch_is_public(&a->addr))) {
        t->inner = true;
        return CURL_SOCKET_BAD;
    }
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static bool check_url(const struct serve_fetch *f, CURLU *u, bool *literal, const char *where, struct serve_error *e) {
    char *host = NULL, *port = NULL, *scheme = NULL, *user = NULL;
    bool ok = curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK && curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) ==
        CURLUE_OK &&
              curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    if (!ok || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        ok = serve_refuse(e, 400, "invalid_image", where, "not an http or https address");
    else if (curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_OK)
        ok = serve_refuse(e, 400, "invalid_image", where, "an address with a user's name in it");
    else if (!serve_fetch_allows(f, host, atoi(port), literal))
        ok = serve_refuse(e, 403, "remote_image", where, "%.60s:%.6s is not on the server's list (--allow-url)", host, port);
    curl_free(host);
    curl_free(port);
    curl_free(scheme);
    curl_free(user);
    return ok;
}

static void set_up(CURL *c, struct fetching *t, CURLU *u, long timeout_ms) {
    curl_easy_setopt(c, CURLOPT_CURLU, u);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L); /* each is checked like the first */
    curl_easy_setopt(c, CURLOPT_PROXY, "");          /* whatever the environment says: a proxy would do the DNS */
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout_ms);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "eyelet");
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, on_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, t);
}

static bool say_why(CURLcode code, long status, const struct fetching *t, const char *where, struct serve_error *e) {
    if (t->inner) return serve_refuse(e, 403, "remote_image", where, "its host's address is not one of the public Internet");
    if (t->too_large) return serve_refuse(e, 413, "image_too_large", where, "more than %zu bytes", t->f->max_bytes);
    if (t->body.failed) return serve_refuse(e, 503, "out_of_memory", where, "out of memory");
    if (status >= 400) return serve_refuse(e, 400, "remote_image", where, "its host answers %ld", status);
    return serve_refuse(e, 400, "remote_image", where, "it cannot be fetched: %.200s", curl_easy_strerror(code));
}

static long ms_since(const struct timespec *begin) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long)(now.tv_sec - begin->tv_sec) * 1000 + (now.tv_nsec - begin->tv_nsec) / 1000000;
}

/* The address in u, and where it leads. */
static bool follow(CURL *c, CURLU *u, struct fetching *t, const char *where, struct serve_error *e) {
    struct timespec begin;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i <= MAX_REDIRECTS; i++) {
        char *next = NULL;
        long status = 0, left = (long)t->f->timeout_s * 1000 - ms_since(&begin);
        if (!check_url(t->f, u, &t->literal, where, e)) return false;
        if (left < 1) return say_why(CURLE_OPERATION_TIMEDOUT, 0, t, where, e);
        t->body.n = 0;
        curl_easy_reset(c);
        set_up(c, t, u, left);
        CURLcode code = curl_easy_perform(c);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(c, CURLINFO_REDIRECT_URL, &next);
        if (code != CURLE_OK) return say_why(code, status, t, where, e);
        if (!next) return true;
        if (curl_url_set(u, CURLUPART_URL, next, 0) != CURLUE_OK)
            return serve_refuse(e, 400, "remote_image", where, "its host leads to something that is no address");
    }
    return serve_refuse(e, 400, "remote_image", where, "its host leads on more than %d times", MAX_REDIRECTS);
}

bool serve_fetch(const struct serve_fetch *f, const char *url, unsigned char **bytes, size_t *n, const char *where,
                 struct serve_error *e) {
    struct fetching t = {.f = f};
    CURL *c = curl_easy_init();
    CURLU *u = curl_url();
    bool ok;
    if (!c || !u)
        ok = serve_refuse(e, 503, "out_of_memory", where, "out of memory");
    else if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK)
        ok = serve_refuse(e, 400, "invalid_image", where, "not an address");
    else
        ok = follow(c, u, &t, where, e);
    curl_easy_cleanup(c);
    curl_url_cleanup(u);
    if (ok && t.body.n == 0) ok = serve_refuse(e, 400, "invalid_image", where, "its host answers with nothing");
    if (!ok) {
        serve_buf_clear(&t.body);
        return false;
    }
    *bytes = (unsigned char *)t.body.p;
    *n = t.body.n;
    return true;
}
