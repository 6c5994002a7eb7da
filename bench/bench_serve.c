/* bench_serve: what `eyelet serve` gives through HTTP on loopback: requests a second, N at once against one at a time, and the
 * time to the first token of a picture seen before against a new one. The server is a process of its own with its default
 * options; the client is this process: requests are made before the clock starts, a thread for each connection, kept open, that
 * sends bytes and counts bytes. Its CPU time is printed beside the server's.
 * Usage: bench_serve [-c AT_ONCE] [-n REQUESTS] [-r ROUNDS] [-b BEAMS] EYELET [PICTURE.jpg…] [-arguments of eyelet serve]
 * No picture is sent twice where it must be new: where there are too few, JPEGs get other quantization tables. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_AT_ONCE = 64, MAX_ROUNDS = 99, REPLY = 1 << 16 };

static _Noreturn void die(const char *what) {
    fprintf(stderr, "bench_serve: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(double *v, size_t n, double q) { /* sorts v */
    qsort(v, n, sizeof *v, by_size);
    return v[n ? (size_t)(q * (double)(n - 1) + 0.5) : 0];
}

/* ---- pictures ---- */

struct bytes { unsigned char *p; size_t n; };

static struct bytes read_file(const char *path) {
    struct bytes b = {0};
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END) != 0) die(path);
    b.n = (size_t)ftell(f);
    rewind(f);
    if (!(b.p = malloc(b.n + 1)) || fread(b.p, 1, b.n, f) != b.n) die(path);
    fclose(f);
    return b;
}

/* The k-th variation of a JPEG: its first table's first entries, as a number of base 8. */
static void vary(struct bytes b, unsigned k) {
    for (size_t at = 2; at + 4 < b.n && b.p[at] == 0xFF && b.p[at + 1] != 0xDA;
         at += 2 + (size_t)(b.p[at + 2] << 8 | b.p[at + 3])) {
        unsigned char *entry = b.p + at + 6; /* the second: the first is the mean's */
        if (b.p[at + 1] != 0xDB || b.p[at + 4] >= 16 || at + 69 >= b.n) continue;
        for (; k; entry++, k /= 8) *entry = (unsigned char)((*entry + k % 8) % 255 + 1);
        return;
    }
    fprintf(stderr, "bench_serve: too few pictures, and this one is no JPEG that can be varied\n");
    exit(1);
}

struct set { /* of requests, each of another picture */
    struct bytes *picture, *request;
    size_t n_pictures, n_requests, next;
    int n_beams;
};

static struct bytes make_request(struct bytes jpeg, int n_beams, bool stream) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct bytes r = {malloc(jpeg.n / 3 * 4 + 1024), 0};
    char head[512], front[256];
    if (!r.p) die("memory");
    size_t n_text = (jpeg.n + 2) / 3 * 4;
    int n_front = snprintf(front, sizeof front, "{%s\"n_beams\":%d,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
                           "\"image_url\",\"image_url\":{\"url\":\"data:image/jpeg;base64,",
                           stream ? "\"stream\":true," : "", n_beams);
    int n_head = snprintf(head, sizeof head, "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                          "application/json\r\nContent-Length: %zu\r\n\r\n", (size_t)n_front + n_text + 7);
    memcpy(r.p, head, (size_t)n_head);
    memcpy(r.p + n_head, front, (size_t)n_front);
    r.n = (size_t)(n_head + n_front);
    for (size_t i = 0; i < jpeg.n; i += 3) {
        uint32_t v = 0;
        for (size_t k = 0; k < 3; k++) v = v << 8 | (i + k < jpeg.n ? jpeg.p[i + k] : 0);
        for (size_t k = 0; k < 4; k++) r.p[r.n++] = i + k <= jpeg.n ? (unsigned char)digits[v >> (18 - 6 * k) & 63] : '=';
    }
    memcpy(r.p + r.n, "\"}}]}]}", 7);
    r.n += 7;
    return r;
}

static void make_requests(struct set *s, size_t n, bool stream) {
    for (size_t i = 0; i < s->n_requests; i++) free(s->request[i].p);
    free(s->request);
    if (!(s->request = calloc(n, sizeof *s->request))) die("memory");
    s->n_requests = n;
    for (size_t i = 0; i < n; i++, s->next++) {
        struct bytes from = s->picture[s->next % s->n_pictures], copy = {malloc(from.n), from.n};
        if (!copy.p) die("memory");
        memcpy(copy.p, from.p, from.n);
        if (s->next >= s->n_pictures) vary(copy, (unsigned)(s->next / s->n_pictures));
        s->request[i] = make_request(copy, s->n_beams, stream);
        free(copy.p);
    }
}

/* ---- the server ---- */

struct server { pid_t pid; int port, out; };

static int dial(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void start(struct server *s, const char *eyelet, char **more) {
    int pipe_of[2];
    char line[256], *argv[64] = {(char *)(uintptr_t)eyelet, "serve", "--port", "0", "-q"};
    for (int i = 5; more && *more && i < 63; i++) argv[i] = *more++;
    if (pipe(pipe_of) != 0 || (s->pid = fork()) < 0) die("fork");
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody leaves a server behind */
        dup2(pipe_of[1], 1);
        close(pipe_of[0]);
        execv(eyelet, argv);
        _exit(127);
    }
    close(pipe_of[1]);
    FILE *f = fdopen(pipe_of[0], "r");
    if (!f || !fgets(line, sizeof line, f) || !strrchr(line, ':')) die("eyelet serve");
    s->port = atoi(strrchr(line, ':') + 1);
    for (char text[512] = ""; !strstr(text, " 200 ");) { /* until the model is loaded */
        static const char ask[] = "GET /health HTTP/1.0\r\n\r\n";
        int fd = dial(s->port);
        if (write(fd, ask, sizeof ask - 1) < 0) die("health");
        ssize_t n = read(fd, text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        close(fd);
        usleep(20000);
    }
}

static double cpu_of(pid_t pid) { /* ms, of all its threads */
    char path[64], text[1024];
    unsigned long user = 0, system = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (!f || !fgets(text, sizeof text, f) ||
        sscanf(strrchr(text, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) die(path);
    fclose(f);
    return (double)(user + system) * 1000 / (double)sysconf(_SC_CLK_TCK);
}

static double cpu_of_self(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

/* ---- load ---- */

struct load {
    const struct set *set;
    int port;
    bool repeat;               /* the first request every time */
    pthread_mutex_t lock;
    size_t next;
    double *ms, *first_ms;     /* [n] */
};

/* Reads one reply; when its first text came goes to *first. */
static void read_reply(int fd, double *first) {
    static _Thread_local char buf[REPLY];
    size_t n = 0, want = 0;
    bool chunked = false;
    *first = 0;
    for (;;) {
        if (n == sizeof buf - 1) die("a reply of more than 64 KiB");
        ssize_t k = read(fd, buf + n, sizeof buf - 1 - n);
        if (k <= 0) die("reply");
        buf[n += (size_t)k] = '\0';
        const char *end = strstr(buf, "\r\n\r\n"), *length = strstr(buf, "Content-Length: ");
        if (!end) continue;
        if (strncmp(buf, "HTTP/1.1 200", 12) != 0) {
            fprintf(stderr, "bench_serve: %s\n", buf);
            exit(1);
        }
        chunked = !length || length > end;
        if (!chunked) want = (size_t)(end + 4 - buf) + strtoul(length + 16, NULL, 10);
        const char *text = strstr(end, "\"content\":\"");
        if (*first <= 0 && text && text[11] && (text[11] != '"' || strstr(text + 11, "\"content\":\""))) *first = now_ms();
        if (chunked ? n >= 5 && memcmp(buf + n - 5, "0\r\n\r\n", 5) == 0 : n >= want) return;
    }
}

static void *client(void *ctx) {
    struct load *l = ctx;
    int fd = dial(l->port);
    for (;;) {
        pthread_mutex_lock(&l->lock);
        size_t i = l->next++;
        pthread_mutex_unlock(&l->lock);
        if (i >= l->set->n_requests) break;
        struct bytes r = l->set->request[l->repeat ? 0 : i];
        double begin = now_ms(), first;
        for (size_t at = 0; at < r.n;) {
            ssize_t k = write(fd, r.p + at, r.n - at);
            if (k <= 0) die("send");
            at += (size_t)k;
        }
        read_reply(fd, &first);
        l->ms[i] = now_ms() - begin;
        l->first_ms[i] = first - begin;
    }
    close(fd);
    return NULL;
}

struct row { double per_s, p50, p95, first_p50, first_p95, client_cpu, server_cpu; }; /* ms; CPU a request */

static struct row run(const struct server *s, const struct set *set, int at_once, bool repeat) {
    size_t n = set->n_requests;
    struct load l = {.set = set, .port = s->port, .repeat = repeat, .ms = calloc(n, sizeof(double)),
                     .first_ms = calloc(n, sizeof(double))};
    pthread_t thread[MAX_AT_ONCE];
    if (!l.ms || !l.first_ms) die("memory");
    pthread_mutex_init(&l.lock, NULL);
    double own = cpu_of_self(), its = cpu_of(s->pid), begin = now_ms();
    for (int i = 0; i < at_once; i++)
        if (pthread_create(&thread[i], NULL, client, &l) != 0) die("threads");
    for (int i = 0; i < at_once; i++) pthread_join(thread[i], NULL);
    double ms = now_ms() - begin, count = (double)n;
    struct row r = {.per_s = count * 1e3 / ms, .client_cpu = (cpu_of_self() - own) / count,
                    .server_cpu = (cpu_of(s->pid) - its) / count};
    r.p50 = quantile(l.ms, n, 0.5), r.p95 = quantile(l.ms, n, 0.95);
    r.first_p50 = quantile(l.first_ms, n, 0.5), r.first_p95 = quantile(l.first_ms, n, 0.95);
    free(l.ms);
    free(l.first_ms);
    return r;
}

static void print(const char *what, struct row r) {
    printf("%-22s %7.1f requests/s  p50 %6.2f  p95 %6.2f ms   CPU a request: server %5.2f, client %4.2f ms\n", what, r.per_s,
           r.p50, r.p95, r.server_cpu, r.client_cpu);
    fflush(stdout);
}

/* ---- the whole ---- */

struct bench {
    struct server server;
    struct set set;
    int at_once, rounds;
    size_t n;                 /* requests of a round */
    double ratio[MAX_ROUNDS];
};

static void throughput(struct bench *b) {
    char what[64];
    size_t rounds = (size_t)b->rounds;
    snprintf(what, sizeof what, "%d at once", b->at_once);
    for (size_t i = 0; i < rounds; i++) {
        make_requests(&b->set, b->n / 2, false);
        struct row one = run(&b->server, &b->set, 1, false);
        make_requests(&b->set, b->n, false);
        struct row many = run(&b->server, &b->set, b->at_once, false);
        print("1 at a time", one);
        print(what, many);
        b->ratio[i] = many.per_s / one.per_s;
        printf("%22s %7.3f times\n", "", b->ratio[i]);
    }
    double middle = quantile(b->ratio, rounds, 0.5);
    printf("%d at once against 1: median %.3f of %d rounds (%.3f to %.3f)\n", b->at_once, middle, b->rounds, b->ratio[0],
           b->ratio[rounds - 1]);
}

static void first_tokens(struct bench *b) {
    for (int i = 0; i < b->rounds; i++) {
        make_requests(&b->set, b->n / 8, true);
        struct row cold = run(&b->server, &b->set, 1, false);
        run(&b->server, &b->set, 1, true);
        struct row again = run(&b->server, &b->set, 1, true);
        b->ratio[i] = cold.first_p50 / again.first_p50;
        printf("first token: new picture p50 %.2f p95 %.2f ms, seen before %.2f, %.2f: %.1f times\n", cold.first_p50,
               cold.first_p95, again.first_p50, again.first_p95, b->ratio[i]);
    }
    double middle = quantile(b->ratio, (size_t)b->rounds, 0.5);
    printf("first token of a picture seen before: median %.1f of %d rounds, least %.1f\n", middle, b->rounds, b->ratio[0]);
}

int main(int argc, char **argv) {
    static struct bench b = {.set.n_beams = 1, .at_once = 8, .rounds = 5, .n = 200};
    int opt, status;
    while ((opt = getopt(argc, argv, "+c:n:r:b:")) != -1) {
        int v = opt == '?' ? 0 : atoi(optarg);
        if (opt == 'c') b.at_once = v;
        if (opt == 'n') b.n = (size_t)(v > 0 ? v : 0);
        if (opt == 'r') b.rounds = v;
        if (opt == 'b') b.set.n_beams = v;
    }
    char **eyelet = argv + optind, **end = eyelet + 1;
    if (optind >= argc || b.at_once < 1 || b.at_once > MAX_AT_ONCE || b.n < 8 || b.rounds < 1 || b.rounds > MAX_ROUNDS) {
        fprintf(stderr, "usage: bench_serve [-c AT_ONCE] [-n REQUESTS] [-r ROUNDS] [-b BEAMS] EYELET [PICTURE.jpg...] "
                "[-arguments of serve]\n");
        return 2;
    }
    while (*end && **end != '-') end++;
    size_t n_named = (size_t)(end - eyelet) - 1;
    b.set.n_pictures = n_named ? n_named : 1;
    if (!(b.set.picture = calloc(b.set.n_pictures, sizeof *b.set.picture))) die("memory");
    for (size_t i = 0; i < b.set.n_pictures; i++) b.set.picture[i] = read_file(n_named ? eyelet[1 + i] : "doc/demo.jpg");
    signal(SIGPIPE, SIG_IGN);
    start(&b.server, *eyelet, end);
    make_requests(&b.set, b.n / 4, false);
    run(&b.server, &b.set, b.at_once, false); /* memory, pages */
    throughput(&b);
    first_tokens(&b);
    kill(b.server.pid, SIGTERM);
    waitpid(b.server.pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : 1;
}
