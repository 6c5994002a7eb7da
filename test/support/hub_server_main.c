/* A hub to test against, on loopback, with the faults that networks have. Usage: hub_server ROOT; prints its port, serves
 * until killed.
 *
 *   /api/models/OWNER/NAME/revision/REV…   ROOT/api/NAME.json
 *   /OWNER/NAME/resolve/COMMIT/PATH        ROOT/files/PATH, with the fault that NAME stands for
 *   /elsewhere/PATH                        ROOT/files/PATH
 *
 * ROOT/log gets a line for each request: its path, its Range, its Authorization ("-" = none). */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BODY = 1 << 25, CUT = 1000 };

static const char *root;
static int port;
static atomic_int n_busy; /* answers of the busy repository */
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;

struct request {
    int fd;
    char line[4096], path[2048], range[64], auth[256];
};

static void send_all(int fd, const char *p, size_t n) {
    for (ssize_t some; n && (some = send(fd, p, n, MSG_NOSIGNAL)) > 0; n -= (size_t)some) p += some;
}

static void answer(int fd, int status, const char *headers, const char *body, size_t n, size_t n_sent) {
    char head[2048];
    int len = snprintf(head, sizeof head, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n%s\r\n", status, n,
                       headers);
    send_all(fd, head, (size_t)len);
    send_all(fd, body, n_sent < n ? n_sent : n);
}

static size_t read_file(const char *folder, const char *name, char *buf) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", root, folder, name);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(buf, 1, MAX_BODY - 1, f) : 0;
    if (f) fclose(f);
    buf[n] = '\0';
    return f ? n : (size_t)-1;
}

static void write_log(const struct request *r) {
    char path[4096];
    snprintf(path, sizeof path, "%s/log", root);
    pthread_mutex_lock(&log_lock);
    FILE *f = fopen(path, "a");
    if (f) fprintf(f, "%s %s %s\n", r->path, r->range[0] ? r->range : "-", r->auth[0] ? r->auth : "-");
    if (f) fclose(f);
    pthread_mutex_unlock(&log_lock);
}

/* The file, or what is asked for of it. most: bytes that are really sent. */
static void send_file(const struct request *r, const char *name, bool ranges, const char *headers, char *buf, size_t extra,
                      size_t most) {
    char all[1024];
    size_t n = read_file("files", name, buf), from = 0;
    if (n == (size_t)-1) {
        answer(r->fd, 404, "", "", 0, 0);
        return;
    }
    bool part = ranges && sscanf(r->range, "bytes=%zu-", &from) == 1;
    if (part && from >= n) {
        answer(r->fd, 416, "", "", 0, 0);
        return;
    }
    if (!part) from = 0;
    int at = snprintf(all, sizeof all, "%s", headers);
    if (part) snprintf(all + at, sizeof all - (size_t)at, "Content-Range: bytes %zu-%zu/%zu\r\n", from, n - 1, n);
    answer(r->fd, part ? 206 : 200, all, buf + from, n - from + extra, most);
}

static void send_slowly(const struct request *r, const char *name, char *buf) {
    size_t n = read_file("files", name, buf);
    answer(r->fd, 200, "", buf, n, 0);
    for (size_t at = 0; at < n; at += (n + 9) / 10) {
        nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
        send_all(r->fd, buf + at, n - at < (n + 9) / 10 ? n - at : (n + 9) / 10);
    }
}

static void redirect(const struct request *r, const char *fmt, int at_port, const char *rest) {
    char headers[1024], to[512];
    snprintf(to, sizeof to, fmt, at_port, rest);
    snprintf(headers, sizeof headers, "Location: %s\r\nETag: \"of-the-redirect\"\r\n", to);
    answer(r->fd, 302, headers, "moved", 5, 5);
}

static void resolve(const struct request *r, const char *repo, const char *name, char *buf) {
    bool big = strstr(name, ".safetensors") != NULL;
    if (strcmp(repo, "cut") == 0 && big) send_file(r, name, true, "", buf, 0, CUT);
    else if (strcmp(repo, "short") == 0 && big) send_file(r, name, false, "Retry-After: 1\r\n", buf, 0,
                                                          CUT); /* never more, whatever is asked for */
    else if (strcmp(repo, "norange") == 0) send_file(r, name, false, "", buf, 0, MAX_BODY);
    else if (strcmp(repo, "more") == 0 && big) send_file(r, name, true, "", buf, 500, MAX_BODY);
    else if (strcmp(repo, "away") == 0) redirect(r, "http://localhost:%d/elsewhere/%s", port, name);
    else if (strcmp(repo, "loop") == 0) redirect(r, "http://127.0.0.1:%d/acme/loop/resolve/x/%s", port, name);
    else if (strcmp(repo, "local") == 0) redirect(r, "file:///%d%s", port, name);
    else if (strcmp(repo, "etag") == 0) send_file(r, name, true, "ETag: \"0123456789012345678901234567890123456789\"\r\n", buf,
                                                  0, MAX_BODY);
    else if (strcmp(repo, "down") == 0) answer(r->fd, 503, "Retry-After: 1\r\n", "", 0, 0);
    else if (strcmp(repo, "wait") == 0) answer(r->fd, 429, "Retry-After: 4000\r\n", "", 0, 0);
    else if (strcmp(repo, "busy") == 0 && n_busy++ == 0) answer(r->fd, 429, "Retry-After: 1\r\n", "slow down", 9, 9);
    else if (strcmp(repo, "gated") == 0 && strcmp(r->auth, "Bearer good") != 0)
        answer(r->fd, 403, "X-Error-Message: Access to this model is restricted\r\n", "", 0, 0);
    else if (strcmp(repo, "slow") == 0 && big) send_slowly(r, name, buf);
    else if (strcmp(repo, "wrong") == 0 && big) send_file(r, "other.bin", true, "", buf, 0, MAX_BODY);
    else send_file(r, name, true, "", buf, 0, MAX_BODY);
}

/* %XX to the byte, in place. */
static void unescape(char *p) {
    char *to = p;
    for (unsigned byte; *p; p++) {
        if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1) *to++ = (char)byte, p += 2;
        else *to++ = *p;
    }
    *to = '\0';
}

static void header(const char *text, const char *name, char *out, size_t cap) {
    const char *p = strcasestr(text, name);
    size_t n = p ? strcspn(p + strlen(name), "\r\n") : 0;
    snprintf(out, cap, "%.*s", (int)n, p ? p + strlen(name) : "");
}

static void *serve(void *arg) {
    struct request r = {.fd = *(int *)arg};
    char *buf = malloc(MAX_BODY), repo[256], name[1024];
    size_t n = 0;
    free(arg);
    for (ssize_t got; n + 1 < sizeof r.line && !strstr(r.line, "\r\n\r\n") && (got = recv(r.fd, r.line + n,
                                                                                          sizeof r.line - 1 - n, 0)) > 0;)
        n += (size_t)got;
    if (buf && sscanf(r.line, "GET %2047s", r.path) == 1) {
        header(r.line, "\r\nRange: ", r.range, sizeof r.range);
        header(r.line, "\r\nAuthorization: ", r.auth, sizeof r.auth);
        write_log(&r);
        if (sscanf(r.path, "/api/models/%*[^/]/%255[^/]", repo) == 1) {
            snprintf(name, sizeof name, "%s.json", repo);
            size_t len = read_file("api", name, buf);
            answer(r.fd, len == (size_t)-1 ? 404 : 200, "", buf, len == (size_t)-1 ? 0 : len, MAX_BODY);
        } else if (sscanf(r.path, "/elsewhere/%1023s", name) == 1) {
            send_file(&r, name, true, "", buf, 0, MAX_BODY);
        } else if (sscanf(r.path, "/%*[^/]/%255[^/]/resolve/%*[^/]/%1023s", repo, name) == 2) {
            unescape(name);
            resolve(&r, repo, name, buf);
        } else {
            answer(r.fd, 404, "", "", 0, 0);
        }
    }
    free(buf);
    shutdown(r.fd, SHUT_WR);
    while (recv(r.fd, name, sizeof name, 0) > 0) continue;
    close(r.fd);
    return NULL;
}

int main(int argc, char **argv) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    root = argc > 1 ? argv[1] : ".";
    signal(SIGPIPE, SIG_IGN);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 64) != 0 || getsockname(fd, (struct sockaddr *)&at,
        &len) != 0)
        return 1;
    port = ntohs(at.sin_port);
    printf("%d\n", port);
    fflush(stdout);
    for (;;) {
        pthread_t thread;
        int *client = malloc(sizeof *client);
        if (!client) return 1;
        *client = accept(fd, NULL, NULL);
        if (*client < 0 || pthread_create(&thread, NULL, serve, client) != 0) free(client);
        else pthread_detach(thread);
    }
}
