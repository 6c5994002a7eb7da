/* tls: a certificate that this machine makes for itself, so that phones may use their camera in the page: browsers give one only
 * to pages over https. Nobody vouches for such a certificate: the fingerprint is printed, for people to compare.
 *
 * The certificate and its key are kept in one file that only its user may read, so that what a phone was told once stays true;
 * they are made anew when they near their end, or when the machine has an address that they do not name. Knows no sockets. */
#ifndef EYELET_SERVE_TLS_H
#define EYELET_SERVE_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "eyelet/status.h"

#define TLS_FINGERPRINT_TEXT 96 /* bytes of "AB:CD:…", SHA-256, with its end */
#define TLS_MAX_ADDRESSES 32
#define TLS_ADDRESS_TEXT 48

struct serve_tls {
    char *cert_pem, *key_pem; /* NUL-terminated */
    size_t cert_bytes, key_bytes; /* without the NUL */
    char fingerprint[TLS_FINGERPRINT_TEXT];
    bool made;                /* new; else it was kept from an earlier start */
};

/* folder  where tls.pem is kept, made with its parents if it is not there; NULL = nowhere: a new one at each start.
 * *t      empty on failure; else serve_tls_clear().
 * Returns EYE_OK; IO (the folder cannot be written; tls.pem may be read by others); NOMEM; UNSUPPORTED (GnuTLS refuses). */
EYE_MUST_CHECK enum eye_status serve_tls_make(const char *folder, struct serve_tls *t, struct eye_err *err);
void serve_tls_clear(struct serve_tls *t);

/* "$XDG_CACHE_HOME/eyelet" or "$HOME/.cache/eyelet"; false: neither is set, or it does not fit. */
bool serve_tls_folder(char *out, size_t cap);

/* Addresses at which other machines reach this one, as they stand in a URL (IPv6 in brackets); loopback and link-local ones are
 * left out. Returns how many. */
size_t serve_addresses(char out[TLS_MAX_ADDRESSES][TLS_ADDRESS_TEXT]);

#endif
