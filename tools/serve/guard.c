/* guard: who may ask: the key, and pages of other sites that a browser visits. A server on loopback is reached by every page
 * that a person on the machine looks at: a foreign Origin is refused, and so is a Host that is not this machine's (a name of an
 * attacker's that resolves to 127.0.0.1). */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "server.h"

/* The host without its port. */
static size_t host_length(const char *host) {
    if (host[0] == '[') {
        const char *end = strchr(host, ']');
        return end ? (size_t)(end - host) + 1 : strlen(host);
    }
    return strcspn(host, ":");
}

static bool is_host(const char *host, size_t n, const char *name) { return strlen(name) == n && strncasecmp(host, name, n) ==
    0; }

bool guard_host(const struct serve *s, const char *host, struct serve_error *e) {
    if (!s->loopback || !host) return true;
    size_t n = host_length(host), tail = sizeof ".localhost" - 1;
    bool ok = is_host(host, n, "localhost") || is_host(host, n, "[::1]") || is_host(host, n, s->o.host);
    ok = ok || (n > tail && strncasecmp(host + n - tail, ".localhost", tail) == 0);
    if (!ok && n >= 9 && strncmp(host, "127.", 4) == 0) ok = strspn(host, "0123456789.") >= n;
    return ok || serve_refuse(e, 403, "wrong_host", NULL, "host \"%.60s\": this server listens on this machine only", host);
}

bool guard_origin(const struct serve *s, const char *origin, const char *host, bool *allow, struct serve_error *e) {
    *allow = false;
    if (!origin) return true;
    const char *rest = strncasecmp(origin, "http://", 7) == 0 ? origin + 7 : strncasecmp(origin, "https://", 8) == 0
    ? origin + 8 : NULL;
    if (rest && host && strcasecmp(rest, host) == 0) return true;
    *allow = s->o.cors && (strcmp(s->o.cors, "*") == 0 || strcmp(s->o.cors, origin) == 0);
    return *allow || serve_refuse(e, 403, "foreign_origin", NULL, "pages of %.60s may not ask (--cors)", origin);
}

/* The time depends on the length of what was sent alone. */
static bool same(const char *key, const char *sent) {
    size_t n = strlen(key), m = strlen(sent);
    unsigned differs = n != m;
    for (size_t i = 0; i < m; i++) differs |= (unsigned char)sent[i] ^ (unsigned char)key[n ? i % n : 0];
    return differs == 0;
}

bool guard_key(const struct serve *s, const char *authorization, struct serve_error *e) {
    bool ok = s->o.n_keys == 0;
    if (!ok && !authorization) return serve_refuse(e, 401, "missing_api_key", NULL,
                                                   "a key is needed: Authorization: Bearer KEY");
    if (!ok && strncasecmp(authorization, "Bearer ", 7) == 0)
        for (size_t i = 0; i < s->o.n_keys; i++) ok |= same(s->o.keys[i], authorization + 7); /* no early end */
    return ok || serve_refuse(e, 401, "invalid_api_key", NULL, "the key is not one of this server's");
}
