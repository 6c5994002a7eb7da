/* Pictures from other machines: which hosts, which addresses, redirects, sizes. The other machines are threads on loopback,
 * which
 * the list has to name by address. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "fetch.h"

static void test_hosts(void **state) {
    (void)state;
    static const char *const allow[] = {"example.org", "*.cdn.net", "10.1.2.3:8080", "[::1]", "files.lan:81"};
    const struct serve_fetch f = {.allow = allow, .n_allow = EYE_COUNT(allow)};
    static const struct { const char *host; int port; bool ok, literal; } t[] = {
        {"example.org", 80, true, false}, {"EXAMPLE.org", 443, true, false}, {"example.org", 8080, false, false},
        {"www.example.org", 443, false, false}, {"example.org.evil.net", 443, false, false}, {"a.cdn.net", 443, true, false},
        {"a.b.cdn.net", 443, true, false}, {"cdn.net", 443, false, false}, {"evilcdn.net", 443, false, false},
        {"10.1.2.3", 8080, true, true}, {"10.1.2.3", 80, false, false}, {"[::1]", 80, true, true}, {"[::2]", 80, false, false},
        {"files.lan", 81, true, false}, {"127.0.0.1", 80, false, false}};
    bool literal;
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        if (serve_fetch_allows(&f, t[i].host, t[i].port, &literal) != t[i].ok || literal != t[i].literal)
            fail_msg("%s:%d", t[i].host, t[i].port);
    }
    const struct serve_fetch any = {.allow = (const char *const[]){"*"}, .n_allow = 1}, none = {.n_allow = 0};
    assert_true(serve_fetch_allows(&any, "127.0.0.1", 80, &literal) && !literal); /* refused by its address, later */
    assert_false(serve_fetch_allows(&none, "example.org", 80, &literal));
}

static void test_addresses(void **state) {
    (void)state;
    static const char *const inner[] = {
        "0.0.0.0", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.255", "169.254.169.254", "172.16.0.1",
        "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
        "203.0.113.9",
        "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::7f00:1",
        "fe80::1",
        "fc00::1", "fd12::1", "ff02::1", "2001:db8::1", "2001::1", "2002:7f00:1::", "3fff::1", "100::1"},
        *const outer[] = {"1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.167.1.1",
                          "192.169.1.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1"};
    for (size_t i = 0; i < EYE_COUNT(inner) + EYE_COUNT(outer); i++) {
        bool out = i >= EYE_COUNT(inner);
        const char *text = out ? outer[i - EYE_COUNT(inner)] : inner[i];
        struct sockaddr_in v4 = {.sin_family = AF_INET};
        struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
        bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
        if (!is_v4) assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
        const struct sockaddr *a = is_v4 ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
        if (serve_fetch_is_public(a) != out) fail_msg("%s", text);
    }
}

/* ---- another machine ---- */

struct machine {
    int fd, port;
    pthread_t thread;
    const char *reply; /* to whatever is asked; %d in it: the port of the next */
};

static void *answer(void *ctx) {
    struct machine *m = ctx;
    char buf[2048];
    for (int fd; (fd = accept(m->fd, NULL, NULL)) >= 0; close(fd)) {
        ssize_t got = recv(fd, buf, sizeof buf, 0);
        if (got > 0 && send(fd, m->reply, strlen(m->reply), MSG_NOSIGNAL) < 0) continue;
        shutdown(fd, SHUT_WR);
        while (recv(fd, buf, sizeof buf, 0) > 0) continue;
    }
    return NULL;
}

static void open_machine(struct machine *m, const char *reply) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    m->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(m->fd, 8), 0);
    assert_int_equal(getsockname(m->fd, (struct sockaddr *)&a, &n), 0);
    m->port = ntohs(a.sin_port);
    m->reply = reply;
    assert_int_equal(pthread_create(&m->thread, NULL, answer, m), 0);
}

static void close_machine(struct machine *m) {
    shutdown(m->fd, SHUT_RDWR);
    pthread_join(m->thread, NULL);
    close(m->fd);
}

static void expect(const struct serve_fetch *f, const char *url, int status, const char *says) {
    unsigned char *bytes = NULL;
    struct serve_error e = {0};
    size_t n = 0;
    bool ok = serve_fetch(f, url, &bytes, &n, "x", &e);
    if (status ? ok || e.status != status || !strstr(e.text, says) : !ok || n != strlen(says) || memcmp(bytes, says, n) != 0)
        fail_msg("%s: %s %d %s", url, ok ? "fetched" : "refused", e.status, e.text);
    free(bytes);
}

static void test_fetching(void **state) {
    (void)state;
    struct machine good, inward, around, large, missing, file;
    char entry[6][64], url[128], away[256], loop[256];
    open_machine(&good, "HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\npicture");
    open_machine(&large, "HTTP/1.0 200 OK\r\n\r\n0123456789012345678901234567890123456789");
    open_machine(&missing, "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    open_machine(&file, "HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n");
    snprintf(away, sizeof away, "HTTP/1.0 302 Found\r\nLocation: http://localhost:%d/\r\nContent-Length: 0\r\n\r\n", good.port);
    open_machine(&inward, away);
    open_machine(&around, "");
    snprintf(loop, sizeof loop, "HTTP/1.0 302 Found\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n",
             around.port);
    around.reply = loop;
    const int ports[] = {good.port, inward.port, around.port, large.port, missing.port, file.port};
    const char *allow[6], *by_name[1];
    for (int i = 0; i < 6; i++) {
        snprintf(entry[i], sizeof entry[i], "127.0.0.1:%d", ports[i]);
        allow[i] = entry[i];
    }
    struct serve_fetch f = {.allow = allow, .n_allow = 6, .max_bytes = 32, .timeout_s = 10};
    snprintf(url, sizeof url, "http://127.0.0.1:%d/a.jpg", good.port);
    expect(&f, url, 0, "picture");
    snprintf(url, sizeof url, "http://localhost:%d/", good.port);
    expect(&f, url, 403, "list");
    char name[64];
    snprintf(name, sizeof name, "localhost:%d", good.port);
    by_name[0] = name;
    expect(&(struct serve_fetch){.allow = by_name, .n_allow = 1, .max_bytes = 32, .timeout_s = 10}, url, 403, "public");
        /* by DNS */
    snprintf(url, sizeof url, "http://user:secret@127.0.0.1:%d/", good.port);
    expect(&f, url, 400, "user");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", inward.port);
    expect(&f, url, 403, "list"); /* a redirect to a name that is not on it */
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", around.port);
    expect(&f, url, 400, "leads on");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", file.port);
    expect(&f, url, 400, "not an http");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", large.port);
    expect(&f, url, 413, "more than 32");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/", missing.port);
    expect(&f, url, 400, "404");
    expect(&f, "ftp://127.0.0.1/", 400, "not an http");
    expect(&f, "http://", 400, "not an address");
    close_machine(&good);
    close_machine(&inward);
    close_machine(&around);
    close_machine(&large);
    close_machine(&missing);
    close_machine(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hosts),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_fetching),
    };
    if (!serve_fetch_init()) return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
