/* tls: see tls.h. GnuTLS makes and reads the certificate; libmicrohttpd gives it to clients. */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "buf.h"

#define DAY_S 86400
#define VALID_DAYS 397 /* in all: browsers distrust certificates of longer life */
#define LEFT_DAYS 14   /* a kept one with less is made anew */
#define FILE_MOST 65536
#define SERIAL_BYTES 16

struct address {
    unsigned char bytes[16];
    unsigned n; /* 4 or 16 */
};

struct addresses {
    struct address item[TLS_MAX_ADDRESSES];
    size_t n;
};

static enum eye_status tls_fail(struct eye_err *err, const char *what, int code) {
    enum eye_status st = code == GNUTLS_E_MEMORY_ERROR ? EYE_E_NOMEM : EYE_E_UNSUPPORTED;
    return serve_fail(err, st, "self-signed certificate: %s: %s", what, gnutls_strerror(code));
}

/* ---- addresses ---- */

static bool take_address(const struct sockaddr *sa, struct address *a) {
    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)sa;
        a->n = 4;
        memcpy(a->bytes, &v4->sin_addr, 4);
        return a->bytes[0] != 169 || a->bytes[1] != 254; /* link-local */
    }
    if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)sa;
        a->n = 16;
        memcpy(a->bytes, &v6->sin6_addr, 16);
        return !IN6_IS_ADDR_LINKLOCAL(&v6->sin6_addr);
    }
    return false;
}

static void find_addresses(struct addresses *list) {
    struct ifaddrs *all = NULL;
    list->n = 0;
    if (getifaddrs(&all) != 0) return;
    for (struct ifaddrs *i = all; i && list->n < TLS_MAX_ADDRESSES; i = i->ifa_next) {
        if (!i->ifa_addr || !(i->ifa_flags & IFF_UP) || (i->ifa_flags & IFF_LOOPBACK)) continue;
        if (take_address(i->ifa_addr, &list->item[list->n])) list->n++;
    }
    freeifaddrs(all);
}

size_t serve_addresses(char out[TLS_MAX_ADDRESSES][TLS_ADDRESS_TEXT]) {
    struct addresses list;
    find_addresses(&list);
    for (size_t i = 0; i < list.n; i++) {
        char text[INET6_ADDRSTRLEN] = "";
        bool v6 = list.item[i].n == 16;
        inet_ntop(v6 ? AF_INET6 : AF_INET, list.item[i].bytes, text, sizeof text);
        snprintf(out[i], TLS_ADDRESS_TEXT, v6 ? "[%s]" : "%s", text);
    }
    return list.n;
}

/* ---- making one ---- */

static int add_name(gnutls_x509_crt_t crt, gnutls_x509_subject_alt_name_t kind, const void *p, size_t n) {
    return gnutls_x509_crt_set_subject_alt_name(crt, kind, p, (unsigned)n, GNUTLS_FSAN_APPEND);
}

/* This machine's names and addresses; loopback too, so that one address serves tests and this machine's own browser. */
static int add_names(gnutls_x509_crt_t crt) {
    static const unsigned char loop4[4] = {127, 0, 0, 1}, loop6[16] = {[15] = 1};
    char host[HOST_NAME_MAX + 1] = "";
    struct addresses list;
    int e = add_name(crt, GNUTLS_SAN_DNSNAME, "localhost", 9);
    if (e >= 0 && gethostname(host, sizeof host - 1) == 0 && host[0]) e = add_name(crt, GNUTLS_SAN_DNSNAME, host, strlen(host));
    if (e >= 0) e = add_name(crt, GNUTLS_SAN_IPADDRESS, loop4, sizeof loop4);
    if (e >= 0) e = add_name(crt, GNUTLS_SAN_IPADDRESS, loop6, sizeof loop6);
    find_addresses(&list);
    for (size_t i = 0; i < list.n && e >= 0; i++) e = add_name(crt, GNUTLS_SAN_IPADDRESS, list.item[i].bytes, list.item[i].n);
    return e;
}

static int fill(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key) {
    static const char name[] = "eyelet on this machine";
    unsigned char serial[SERIAL_BYTES];
    time_t now = time(NULL);
    int e = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof serial);
    serial[0] &= 0x7f; /* positive */
    if (e >= 0) e = gnutls_x509_crt_set_version(crt, 3);
    if (e >= 0) e = gnutls_x509_crt_set_serial(crt, serial, sizeof serial);
    if (e >= 0) e = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, sizeof name - 1);
    if (e >= 0) e = gnutls_x509_crt_set_activation_time(crt, now - DAY_S); /* clocks of phones differ */
    if (e >= 0) e = gnutls_x509_crt_set_expiration_time(crt, now + (time_t)(VALID_DAYS - 1) * DAY_S);
    if (e >= 0) e = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
    if (e >= 0) e = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (e >= 0) e = gnutls_x509_crt_set_key_purpose_oid(crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
    if (e >= 0) e = gnutls_x509_crt_set_key(crt, key);
    if (e >= 0) e = add_names(crt);
    return e < 0 ? e : gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
}

/* ---- taking it out ---- */

static void set_fingerprint(const unsigned char *sha, size_t n, char *out) {
    for (size_t i = 0; i < n; i++) snprintf(out + 3 * i, 4, "%02X%s", sha[i], i + 1 < n ? ":" : "");
}

/* PEM texts and fingerprint; what GnuTLS allocates is copied, so that the owner frees as he frees all else. */
static int take_out(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct serve_tls *t) {
    gnutls_datum_t cert = {0}, secret = {0};
    unsigned char sha[32];
    size_t n = sizeof sha;
    int e = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &cert);
    if (e >= 0) e = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &secret);
    if (e >= 0) e = gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, sha, &n);
    if (e >= 0) {
        t->cert_pem = strndup((const char *)cert.data, cert.size);
        t->key_pem = strndup((const char *)secret.data, secret.size);
        if (!t->cert_pem || !t->key_pem) e = GNUTLS_E_MEMORY_ERROR;
    }
    if (e >= 0) {
        t->cert_bytes = cert.size;
        t->key_bytes = secret.size;
        set_fingerprint(sha, n, t->fingerprint);
    }
    if (secret.data) gnutls_memset(secret.data, 0, secret.size);
    gnutls_free(secret.data);
    gnutls_free(cert.data);
    return e;
}

void serve_tls_clear(struct serve_tls *t) {
    if (t->key_pem) gnutls_memset(t->key_pem, 0, t->key_bytes);
    free(t->key_pem);
    free(t->cert_pem);
    *t = (struct serve_tls){0};
}

/* ---- the file ---- */

/* Of a kept certificate: its time is not over and it names every address of today. */
static bool still_good(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key) {
    unsigned char of_crt[64], of_key[64];
    size_t n_crt = sizeof of_crt, n_key = sizeof of_key;
    struct addresses list;
    time_t now = time(NULL);
    if (gnutls_x509_crt_get_key_id(crt, GNUTLS_KEYID_USE_SHA256, of_crt, &n_crt) < 0 ||
        gnutls_x509_privkey_get_key_id(key, GNUTLS_KEYID_USE_SHA256, of_key, &n_key) < 0)
        return false;
    if (n_crt != n_key || memcmp(of_crt, of_key, n_crt) != 0) return false;
    if (gnutls_x509_crt_get_activation_time(crt) > now) return false;
    if (gnutls_x509_crt_get_expiration_time(crt) < now + (time_t)LEFT_DAYS * DAY_S) return false;
    find_addresses(&list);
    for (size_t i = 0; i < list.n; i++)
        if (!gnutls_x509_crt_check_ip(crt, list.item[i].bytes, list.item[i].n, 0)) return false;
    return true;
}

/* The file's bytes. *n = 0: there is none, or none of use. A key that others may read is no secret: that is an error. */
static enum eye_status read_file(const char *path, unsigned char *out, size_t *n, struct eye_err *err) {
    struct stat st;
    ssize_t got = 0;
    *n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return EYE_OK;
    if (fd < 0) return serve_fail(err, EYE_E_IO, "%s: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077)) {
        close(fd);
        return serve_fail(err, EYE_E_IO, "%s: holds a private key, so nobody but its user may read it (chmod 600, or delete it)",
                          path);
    }
    while (*n < FILE_MOST && (got = read(fd, out + *n, FILE_MOST - *n)) > 0) *n += (size_t)got;
    if (got < 0 || *n == FILE_MOST) *n = 0;
    close(fd);
    return EYE_OK;
}

static bool make_folders(const char *folder) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s", folder) >= (int)sizeof path) return false;
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return false;
        *p = '/';
    }
    return mkdir(path, 0755) == 0 || errno == EEXIST;
}

static bool write_all(int fd, const char *p, size_t n) {
    while (n > 0) {
        ssize_t put = write(fd, p, n);
        if (put < 0 && errno != EINTR) return false;
        if (put < 0) continue;
        p += put;
        n -= (size_t)put;
    }
    return true;
}

/* At once or not at all: a temporary file of mode 0600 takes the name. */
static enum eye_status keep(const char *folder, const char *path, const struct serve_tls *t, struct eye_err *err) {
    char temp[PATH_MAX];
    if (!make_folders(folder)) return serve_fail(err, EYE_E_IO, "%s: cannot be made: %s", folder, strerror(errno));
    if (snprintf(temp, sizeof temp, "%s.XXXXXX", path) >= (int)sizeof temp)
        return serve_fail(err, EYE_E_IO, "%s: the name is too long", path);
    int fd = mkstemp(temp);
    if (fd < 0) return serve_fail(err, EYE_E_IO, "%s: %s", temp, strerror(errno));
    bool ok = write_all(fd, t->key_pem, t->key_bytes) && write_all(fd, t->cert_pem, t->cert_bytes);
    int why = errno;
    if (close(fd) != 0 && ok) {
        ok = false;
        why = errno;
    }
    if (ok && rename(temp, path) != 0) {
        ok = false;
        why = errno;
    }
    if (ok) return EYE_OK;
    unlink(temp);
    return serve_fail(err, EYE_E_IO, "%s: %s", path, strerror(why));
}

/* ---- the whole ---- */

/* From the file if it is still good; else new, and kept. */
static enum eye_status make_with(const char *folder, gnutls_x509_crt_t crt[2], gnutls_x509_privkey_t key[2], unsigned char *file,
                                 struct serve_tls *t, struct eye_err *err) {
    char path[PATH_MAX] = "";
    size_t n = 0;
    if (folder) {
        if (snprintf(path, sizeof path, "%s/tls.pem", folder) >= (int)sizeof path)
            return serve_fail(err, EYE_E_IO, "%s: the name is too long", folder);
        enum eye_status st = read_file(path, file, &n, err);
        if (st != EYE_OK) return st;
    }
    gnutls_datum_t text = {file, (unsigned)n};
    if (n && gnutls_x509_privkey_import(key[0], &text, GNUTLS_X509_FMT_PEM) >= 0 &&
        gnutls_x509_crt_import(crt[0], &text, GNUTLS_X509_FMT_PEM) >= 0 && still_good(crt[0], key[0])) {
        int e = take_out(crt[0], key[0], t);
        return e < 0 ? tls_fail(err, path, e) : EYE_OK;
    }
    int e = gnutls_x509_privkey_generate(key[1], GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (e < 0) return tls_fail(err, "no key", e);
    if ((e = fill(crt[1], key[1])) < 0) return tls_fail(err, "cannot be made", e);
    if ((e = take_out(crt[1], key[1], t)) < 0) return tls_fail(err, "cannot be written", e);
    t->made = true;
    return folder ? keep(folder, path, t, err) : EYE_OK;
}

enum eye_status serve_tls_make(const char *folder, struct serve_tls *t, struct eye_err *err) {
    gnutls_x509_crt_t crt[2] = {NULL, NULL}; /* [0] read, [1] new */
    gnutls_x509_privkey_t key[2] = {NULL, NULL};
    unsigned char *file = malloc(FILE_MOST);
    *t = (struct serve_tls){0};
    int e = file ? 0 : GNUTLS_E_MEMORY_ERROR;
    for (int i = 0; i < 2 && e >= 0; i++) {
        e = gnutls_x509_crt_init(&crt[i]);
        if (e >= 0) e = gnutls_x509_privkey_init(&key[i]);
    }
    enum eye_status st = e < 0 ? tls_fail(err, "GnuTLS", e) : make_with(folder, crt, key, file, t, err);
    for (int i = 0; i < 2; i++) {
        if (crt[i]) gnutls_x509_crt_deinit(crt[i]);
        if (key[i]) gnutls_x509_privkey_deinit(key[i]);
    }
    if (file) gnutls_memset(file, 0, FILE_MOST);
    free(file);
    if (st != EYE_OK) serve_tls_clear(t);
    return st;
}

bool serve_tls_folder(char *out, size_t cap) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (cache && cache[0] == '/') n = snprintf(out, cap, "%s/eyelet", cache);
    else if (home && home[0] == '/') n = snprintf(out, cap, "%s/.cache/eyelet", home);
    return n > 0 && (size_t)n < cap;
}
