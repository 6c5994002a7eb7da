/* fetch: a picture from another machine, where the operator allows that: only hosts of a list, only addresses that are nobody's
 * inner network, checked where the connection is made (after DNS), and again for each redirect. */
#ifndef EYELET_SERVE_FETCH_H
#define EYELET_SERVE_FETCH_H

#include <sys/socket.h>

#include "buf.h"

struct serve_fetch { /* what may be fetched */
    const char *const *allow; /* [n_allow] "example.org", "*.example.org", "*", each with ":port" or 80 and 443;
        an IP address named
                                 here may be a private one */
    size_t n_allow;           /* 0 = nothing */
    size_t max_bytes;
    int32_t timeout_s;        /* redirects included */
};

/* Once, before any thread fetches. */
bool serve_fetch_init(void);
/* The bytes of an http(s) address, malloc'd. where: the field, for errors. */
bool serve_fetch(const struct serve_fetch *f, const char *url, unsigned char **bytes, size_t *n, const char *where,
                 struct serve_error *e);

/* For tests. *literal: an entry names this very address. */
bool serve_fetch_allows(const struct serve_fetch *f, const char *host, int port, bool *literal);
/* An address of the public Internet. */
bool serve_fetch_is_public(const struct sockaddr *a);

#endif
