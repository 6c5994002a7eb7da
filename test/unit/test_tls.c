/* The certificate that eyelet serve --tls-self-signed makes: kept, private, made anew when the file is of no use; and a client's
 * handshake with a server that has it. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "serve.h"
#include "support/support.h"
#include "tls.h"

static struct serve_tls make(const char *folder) {
    struct serve_tls t;
    struct eye_err err = {0};
    if (serve_tls_make(folder, &t, &err) != EYE_OK) fail_msg("%s", err.text);
    assert_int_equal(strlen(t.fingerprint), 95);
    assert_int_equal(strlen(t.cert_pem), t.cert_bytes);
    assert_int_equal(strlen(t.key_pem), t.key_bytes);
    return t;
}

/* Makes one in folder and says whether it is the one of this fingerprint. */
static bool is_kept(const char *folder, const char *fingerprint) {
    struct serve_tls t = make(folder);
    bool same = strcmp(t.fingerprint, fingerprint) == 0;
    assert_int_equal(t.made, !same);
    serve_tls_clear(&t);
    return same;
}

static void test_kept(void **state) {
    (void)state;
    char folder[256], file[300], first[TLS_FINGERPRINT_TEXT];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("a/b/c"));
    snprintf(file, sizeof file, "%s/tls.pem", folder);
    struct serve_tls t = make(folder);
    assert_true(t.made);
    memcpy(first, t.fingerprint, sizeof first);
    serve_tls_clear(&t);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(is_kept(folder, first));
    t = make(NULL);
    assert_true(t.made);
    assert_string_not_equal(t.fingerprint, first);
    serve_tls_clear(&t);
    assert_true(is_kept(folder, first));
}

/* A key that others can read, something else in its place, half a file, another key's certificate. */
static void test_bad_files(void **state) {
    (void)state;
    char folder[256], file[300], other[256];
    struct eye_err err = {0};
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("bad"));
    snprintf(file, sizeof file, "%s/tls.pem", folder);
    snprintf(other, sizeof other, "%s", eye_scratch_write("file", "x", 1));
    struct serve_tls t = make(folder), u = make(NULL);
    assert_int_equal(chmod(file, 0644), 0);
    struct serve_tls none;
    assert_true(eye_error_is("mode", serve_tls_make(folder, &none, &err), EYE_E_IO, &err, "nobody but its user may read it"));
    assert_null(none.key_pem);
    assert_int_equal(chmod(file, 0600), 0);
    assert_true(is_kept(folder, t.fingerprint));
    assert_int_equal(truncate(file, (off_t)(t.key_bytes + 40)), 0);
    assert_false(is_kept(folder, t.fingerprint));
    FILE *f = fopen(file, "w");
    fprintf(f, "%s%s", t.key_pem, u.cert_pem);
    fclose(f);
    assert_false(is_kept(folder, u.fingerprint));
    f = fopen(file, "w");
    for (int i = 0; i < 20000; i++) fputs("-----BEGIN ", f);
    fclose(f);
    assert_false(is_kept(folder, t.fingerprint));
    assert_int_equal(unlink(file), 0);
    assert_int_equal(symlink(other, file), 0);
    assert_true(eye_error_is("link", serve_tls_make(folder, &none, &err), EYE_E_IO, &err, file));
    assert_true(eye_error_is("file for folder", serve_tls_make(other, &none, &err), EYE_E_IO, &err, other));
    serve_tls_clear(&t);
    serve_tls_clear(&u);
}

/* HTTPS as a browser that was told to trust the fingerprint. */
static void test_handshake(void **state) {
    (void)state;
    struct serve_tls t = make(NULL);
    struct serve *s = NULL;
    struct eye_err err = {0};
    struct serve_opts o = {.tls_cert = t.cert_pem, .tls_key = t.key_pem};
    if (serve_start(&s, &o, &err) != EYE_OK) fail_msg("%s", err.text);
    assert_int_equal(strncmp(serve_url(s), "https://127.0.0.1:", 18), 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serve_port(s)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    gnutls_session_t c;
    gnutls_certificate_credentials_t cred;
    assert_int_equal(gnutls_init(&c, GNUTLS_CLIENT), 0);
    assert_int_equal(gnutls_certificate_allocate_credentials(&cred), 0);
    gnutls_datum_t root = {(unsigned char *)t.cert_pem, (unsigned)t.cert_bytes};
    assert_int_equal(gnutls_certificate_set_x509_trust_mem(cred, &root, GNUTLS_X509_FMT_PEM), 1);
    gnutls_credentials_set(c, GNUTLS_CRD_CERTIFICATE, cred);
    gnutls_set_default_priority(c);
    gnutls_session_set_verify_cert(c, "127.0.0.1", 0);
    gnutls_transport_set_int(c, fd);
    int e;
    do e = gnutls_handshake(c);
    while (e < 0 && !gnutls_error_is_fatal(e));
    if (e < 0) fail_msg("handshake: %s", gnutls_strerror(e));
    static const char ask[] = "GET / HTTP/1.0\r\n\r\n";
    char got[16] = "";
    assert_int_equal(gnutls_record_send(c, ask, sizeof ask - 1), sizeof ask - 1);
    assert_true(gnutls_record_recv(c, got, sizeof got - 1) > 12);
    assert_int_equal(strncmp(got, "HTTP/1.1 200", 12), 0);
    gnutls_deinit(c);
    gnutls_certificate_free_credentials(cred);
    close(fd);
    serve_stop(s, 0);
    serve_tls_clear(&t);
}

static void test_addresses(void **state) {
    (void)state;
    char at[TLS_MAX_ADDRESSES][TLS_ADDRESS_TEXT];
    size_t n = serve_addresses(at);
    for (size_t i = 0; i < n; i++) assert_true(strncmp(at[i], "127.", 4) != 0 && strncmp(at[i], "[fe80", 5) != 0 && at[i][0]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_handshake),
        cmocka_unit_test(test_addresses),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    eye_scratch_remove();
    return failed;
}
