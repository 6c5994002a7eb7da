/* listen: sockets and HTTP by libmicrohttpd: connections, bodies, replies, streams. What is asked and what is answered is the
 * business of route.c and job.c. All callbacks here run on libmicrohttpd's one thread, so nothing in them may take long. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "assets.h"
#include "server.h"

#define CONNECTION_MEMORY (32 * 1024) /* headers; more are 431 */

static const char *header(struct job *j, const char *name) {
    return MHD_lookup_connection_value(j->mhd, MHD_HEADER_KIND, name);
}

/* ---- replies ---- */

static void put_header(struct MHD_Response *r, const char *name, const char *value) {
    if (MHD_add_response_header(r, name, value) != MHD_YES) { /* no memory, or a value that is none: the reply goes without */
    }
}

/* A page of another origin that may read the answer. */
static void put_cors(struct job *j, struct MHD_Response *r) {
    const char *origin = header(j, "Origin"), *wanted = header(j, "Access-Control-Request-Headers");
    struct serve_error e;
    bool allow = false;
    if (!origin || !guard_origin(j->s, origin, header(j, "Host"), &allow, &e) || !allow) return;
    put_header(r, "Access-Control-Allow-Origin", origin);
    put_header(r, "Vary", "Origin");
    put_header(r, "Access-Control-Allow-Methods", "GET, POST");
    if (wanted) put_header(r, "Access-Control-Allow-Headers", wanted);
}

/* Queues it and lets it go. */
static enum MHD_Result send_reply(struct job *j, struct MHD_Response *r, int status, const char *type) {
    if (!r) return MHD_NO;
    if (type) put_header(r, "Content-Type", type);
    put_header(r, "X-Content-Type-Options", "nosniff");
    if (status == 401) put_header(r, "WWW-Authenticate", "Bearer");
    if (status == 429 || status == 503) put_header(r, "Retry-After", "1");
    if (status == 405 && j->route) put_header(r, "Allow", j->route->methods);
    put_cors(j, r);
    enum MHD_Result ok = MHD_queue_response(j->mhd, (unsigned)status, r);
    MHD_destroy_response(r);
    metrics_answer(&j->s->metrics, j->route ? j->route->path : "other", status);
    return ok;
}

static enum MHD_Result send_text(struct job *j, int status, const char *type, const char *text, size_t n) {
    union { const char *in; char *out; } p = {text}; /* libmicrohttpd copies it */
    struct MHD_Response *r = MHD_create_response_from_buffer(n, p.out, MHD_RESPMEM_MUST_COPY);
    if (r) put_header(r, "Cache-Control", "no-store");
    return send_reply(j, r, status, type);
}

/* Whoever watches it sees that it is answered. */
static void mark_finished(struct job *j) {
    pthread_mutex_lock(&j->lock);
    j->finished = j->ready = j->read_all = true;
    j->quiet_us = serve_now_us();
    pthread_mutex_unlock(&j->lock);
}

static enum MHD_Result send_refusal(struct job *j) {
    char *text = serve_error_json(&j->error);
    enum MHD_Result ok = text ? send_text(j, j->error.status, "application/json", text, strlen(text)) : MHD_NO;
    mark_finished(j);
    free(text);
    return ok;
}

static enum MHD_Result send_asset(struct job *j, const struct serve_asset *a) {
    const char *known = header(j, "If-None-Match");
    bool same = known && strstr(known, a->etag);
    union { const unsigned char *in; void *out; } p = {a->bytes};
    struct MHD_Response *r = MHD_create_response_from_buffer(same ? 0 : a->n, p.out, MHD_RESPMEM_PERSISTENT);
    if (r) {
        put_header(r, "ETag", a->etag);
        put_header(r, "Cache-Control", "no-cache"); /* kept, but asked about: a new program brings a new page */
        put_header(r, "Content-Security-Policy", SERVE_CSP);
        put_header(r, "Referrer-Policy", "no-referrer");
        put_header(r, "Cross-Origin-Opener-Policy", "same-origin");
        put_header(r, "Cross-Origin-Resource-Policy", "same-origin");
        put_header(r, "Permissions-Policy", "camera=(self), microphone=(), geolocation=()");
    }
    mark_finished(j);
    return send_reply(j, r, same ? 304 : 200, a->type);
}

/* ---- streams ---- */

void listen_wake(struct job *j) {
    if (!j->suspended) return;
    j->suspended = false;
    MHD_resume_connection(j->mhd);
}

static ssize_t read_stream(void *ctx, uint64_t pos, char *out, size_t most) {
    struct job *j = ctx;
    ssize_t given = 0;
    (void)pos;
    pthread_mutex_lock(&j->lock);
    size_t left = j->out.n - j->n_sent;
    if (left) {
        given = (ssize_t)(left < most ? left : most);
        memcpy(out, j->out.p + j->n_sent, (size_t)given);
        j->n_sent += (size_t)given;
    } else if (j->finished) {
        given = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        j->suspended = true;
        MHD_suspend_connection(j->mhd);
    }
    pthread_mutex_unlock(&j->lock);
    return given;
}

static void drop_stream(void *ctx) { job_unref(ctx); }

static enum MHD_Result send_stream(struct job *j) {
    job_ref(j);
    struct MHD_Response *r = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096, read_stream, j, drop_stream);
    if (!r) {
        job_unref(j);
        return MHD_NO;
    }
    put_header(r, "Cache-Control", "no-cache");
    put_header(r, "X-Accel-Buffering", "no"); /* nginx would hold the events back */
    return send_reply(j, r, 200, "text/event-stream");
}

/* What a hand or work has made ready. */
static enum MHD_Result send_ready(struct job *j) {
    pthread_mutex_lock(&j->lock);
    bool streaming = j->streaming;
    pthread_mutex_unlock(&j->lock);
    if (streaming) return send_stream(j);
    return send_text(j, j->status, j->type, j->out.p ? j->out.p : "", j->out.n);
}

/* ---- requests ---- */

static bool refuse(struct job *j, bool ok) {
    j->refused = j->refused || !ok;
    return ok;
}

static void check_body(struct job *j) {
    const char *length = header(j, "Content-Length"), *type = header(j, "Content-Type");
    if (length) {
        char *end;
        errno = 0;
        unsigned long long n = strtoull(length, &end, 10);
        if (errno || *end || n > j->s->o.max_body_bytes)
            refuse(j, serve_refuse(&j->error, 413, "body_too_large", NULL,
                                   "a body of %.20s bytes, at most %llu are taken (--max-body)",
                                   length, (unsigned long long)j->s->o.max_body_bytes));
    }
    if (!j->refused && type && (strncasecmp(type, "application/json", 16) != 0 || (type[16] && !strchr("; ", type[16]))))
        refuse(j, serve_refuse(&j->error, 415, NULL, NULL, "Content-Type is %.60s, expected application/json", type));
}

/* The headers are there: everything that can be refused before the body is read. */
static void first_look(struct job *j, const char *path, const char *method) {
    struct serve *s = j->s;
    bool allow;
    j->seen = true;
    if (!refuse(j, guard_host(s, header(j, "Host"), &j->error))) return;
    if (!refuse(j, guard_origin(s, header(j, "Origin"), header(j, "Host"), &allow, &j->error))) return;
    j->path = path;
    if (strcmp(method, "OPTIONS") == 0) return; /* a preflight: no key, nothing is done */
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0)
        if (serve_asset_find(path)) return;
    if (!refuse(j, (j->route = route_find(path, &j->error)) != NULL)) return;
    if (!j->route->open && !refuse(j, guard_key(s, header(j, "Authorization"), &j->error))) return;
    const char *asked = strcmp(method, "HEAD") == 0 ? "GET" : method;
    if (strcmp(j->route->methods, asked) != 0) {
        refuse(j, serve_refuse(&j->error, 405, NULL, NULL, "%.60s is asked by %s", path, j->route->methods));
        return;
    }
    if (atomic_load(&s->stopping))
        refuse(j, serve_refuse(&j->error, 503, "stopping", NULL, "the server stops"));
    else if (!j->route->unready && !atomic_load(&s->model))
        refuse(j, serve_refuse(&j->error, 503, "loading", NULL, "the model is loading: try again"));
    else if (j->route->later)
        check_body(j);
}

/* False: the connection is to be closed. */
static bool take_body(struct job *j, const char *p, size_t n) {
    struct serve *s = j->s;
    if (!j->refused && !(j->route && j->route->later))
        refuse(j, serve_refuse(&j->error, 400, NULL, NULL, "this request takes no body"));
    if (!j->refused && n > s->o.max_body_bytes - j->body.n)
        refuse(j, serve_refuse(&j->error, 413, "body_too_large", NULL, "a body of more than %llu bytes (--max-body)",
                               (unsigned long long)s->o.max_body_bytes));
    if (!j->refused) {
        size_t before = j->body.cap;
        serve_buf_add(&j->body, p, n);
        uint64_t used = atomic_fetch_add(&s->bodies.used, j->body.cap - before) + (j->body.cap - before);
        if (j->body.failed || used > s->bodies.most)
            refuse(j, serve_refuse(&j->error, 503, "busy", NULL, "other requests take all memory: try again"));
    }
    if (j->refused && j->body.cap) {
        atomic_fetch_sub(&s->bodies.used, j->body.cap);
        serve_buf_clear(&j->body);
    }
    if (j->refused) j->discarded += n;
    return j->discarded <= SERVE_DISCARD_BYTES;
}

static enum MHD_Result hand_over(struct job *j) {
    struct serve *s = j->s;
    j->handed = true;
    if (atomic_fetch_add(&s->n_jobs, 1) >= s->o.max_queue) {
        atomic_fetch_sub(&s->n_jobs, 1);
        refuse(j, serve_refuse(&j->error, 429, "busy", NULL, "%d requests wait or run already: try again later",
                               s->o.max_queue));
        return send_refusal(j);
    }
    pthread_mutex_lock(&j->lock);
    j->counted = j->suspended = j->read_all = true;
    MHD_suspend_connection(j->mhd);
    pthread_mutex_unlock(&j->lock);
    job_hand_over(j);
    return MHD_YES;
}

static enum MHD_Result answer_now(struct job *j, const char *method) {
    const struct serve_asset *a = j->route ? NULL : serve_asset_find(j->path);
    if (strcmp(method, "OPTIONS") == 0) {
        mark_finished(j);
        return send_text(j, 204, NULL, "", 0);
    }
    if (a) return send_asset(j, a);
    int status = j->route->now(j);
    mark_finished(j);
    return send_text(j, j->out.failed ? 503 : status, j->type, j->out.p ? j->out.p : "", j->out.n);
}

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version,
                                  const char *data, size_t *n, void **con) {
    struct job *j = *con;
    (void)ctx, (void)version;
    if (!j) return MHD_NO; /* no memory */
    j->mhd = c;
    if (!j->seen) {
        first_look(j, path, method);
        /* Who waits for a word before the body hears it now; others must get rid of the body first, or they never read. */
        if (j->refused && header(j, "Expect")) return send_refusal(j);
        return MHD_YES;
    }
    if (*n) {
        bool ok = take_body(j, data, *n);
        *n = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    if (j->refused) return send_refusal(j);
    if (!j->route || !j->route->later || strcmp(method, "OPTIONS") == 0) return answer_now(j, method);
    return j->handed ? send_ready(j) : hand_over(j);
}

/* ---- connections ---- */

static void on_connection(void *ctx, struct MHD_Connection *c, void **socket_ctx, enum MHD_ConnectionNotificationCode what) {
    struct serve *s = ctx;
    struct conn *n = *socket_ctx;
    pthread_mutex_lock(&s->lock);
    if (what == MHD_CONNECTION_NOTIFY_STARTED && (n = calloc(1, sizeof *n))) {
        n->fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
        n->since_us = serve_now_us();
        n->next = s->conns;
        n->at = &s->conns;
        if (n->next) n->next->at = &n->next;
        s->conns = n;
        *socket_ctx = n;
    } else if (what == MHD_CONNECTION_NOTIFY_CLOSED && n) {
        *n->at = n->next;
        if (n->next) n->next->at = n->at;
        free(n);
        *socket_ctx = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

static struct conn *conn_of(struct MHD_Connection *c) {
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

/* The first line has come. */
static void *on_line(void *ctx, const char *uri, struct MHD_Connection *c) {
    struct serve *s = ctx;
    struct conn *n = conn_of(c);
    struct job *j = n ? job_new(s) : NULL;
    (void)uri;
    if (!j) return NULL;
    j->mhd = c;
    pthread_mutex_lock(&s->lock);
    n->job = j;
    pthread_mutex_unlock(&s->lock);
    return j;
}

static void on_completed(void *ctx, struct MHD_Connection *c, void **con, enum MHD_RequestTerminationCode why) {
    struct serve *s = ctx;
    struct job *j = *con;
    struct conn *n = conn_of(c);
    (void)why;
    *con = NULL;
    if (!j) return;
    pthread_mutex_lock(&s->lock);
    if (n) {
        n->job = NULL;
        n->since_us = serve_now_us();
    }
    pthread_mutex_unlock(&s->lock);
    job_cancel(j, JOB_GONE);
    job_unref(j);
}

/* ---- the socket ---- */

/* A bound socket of the first address that works. */
static int bind_to(const char *host, int port, struct eye_err *err) {
    struct addrinfo want = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    char service[16];
    int fd = -1, why = 0, one = 1;
    snprintf(service, sizeof service, "%d", port);
    int st = getaddrinfo(host, service, &want, &list);
    if (st != 0) {
        (void)serve_fail(err, EYE_E_ARG, "host \"%.200s\": %s", host, gai_strerror(st));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) {
            why = errno;
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(fd, a->ai_addr, a->ai_addrlen) != 0 || listen(fd, 511) != 0) {
            why = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    if (fd < 0) (void)serve_fail(err, EYE_E_IO, "cannot listen at %.200s port %d: %s", host, port, strerror(why));
    return fd;
}

static void note_address(struct serve *s, int fd) {
    struct sockaddr_storage a;
    socklen_t n = sizeof a;
    char host[64] = "";
    if (getsockname(fd, (struct sockaddr *)&a, &n) == 0) {
        if (a.ss_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&a;
            s->port = ntohs(v6->sin6_port);
            s->loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
            inet_ntop(AF_INET6, &v6->sin6_addr, host + 1, sizeof host - 2);
            host[0] = '[';
            strcat(host, "]");
        } else {
            const struct sockaddr_in *v4 = (const struct sockaddr_in *)&a;
            s->port = ntohs(v4->sin_port);
            s->loopback = ntohl(v4->sin_addr.s_addr) >> 24 == 127;
            inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
        }
    }
    snprintf(s->url, sizeof s->url, "%s://%s:%d", s->o.tls_cert ? "https" : "http", host, s->port);
}

static enum eye_status open_daemon(struct serve *s, struct eye_err *err) {
    int fd = bind_to(s->o.host, s->o.port, err);
    if (fd < 0) return err ? err->code : EYE_E_IO;
    note_address(s, fd);
    union { const char *in; void *out; } cert = {s->o.tls_cert}, key = {s->o.tls_key}; /* libmicrohttpd only reads them */
    struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, cert.out}, {MHD_OPTION_HTTPS_MEM_KEY, 0, key.out},
                                   {MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (s->o.tls_cert ? MHD_USE_TLS : 0u);
    s->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, s,
                              MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->o.max_connections,
                              MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->o.read_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                              (size_t)CONNECTION_MEMORY, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
                              MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_URI_LOG_CALLBACK, on_line, s,
                              MHD_OPTION_ARRAY, s->o.tls_cert ? tls : tls + 2, MHD_OPTION_END);
    if (s->mhd) return EYE_OK;
    close(fd);
    return serve_fail(err, EYE_E_IO, "the HTTP server does not start: %s", strerror(errno));
}

/* ---- the whole ---- */

static void resolve(struct serve_opts *o) {
    if (!o->host) o->host = "127.0.0.1";
    if (!o->name) o->name = "model";
    if (!o->max_body_bytes) o->max_body_bytes = SERVE_BODY_BYTES;
    if (!o->max_pixels) o->max_pixels = SERVE_PIXELS;
    if (!o->max_images) o->max_images = SERVE_IMAGES;
    if (!o->n_parallel) o->n_parallel = SERVE_PARALLEL;
    if (!o->cache_bytes) o->cache_bytes = SERVE_CACHE_BYTES;
    if (!o->max_queue) o->max_queue = SERVE_QUEUE;
    if (!o->max_connections) o->max_connections = SERVE_CONNECTIONS;
    if (!o->read_s) o->read_s = SERVE_READ_S;
    if (!o->request_s) o->request_s = SERVE_REQUEST_S;
    if (!o->ping_s) o->ping_s = SERVE_PING_S;
}

enum eye_status serve_start(struct serve **out, const struct serve_opts *o, struct eye_err *err) {
    if (o->port < 0 || o->port > 65535) return serve_fail(err, EYE_E_ARG, "port %d, expected 0 to 65535", o->port);
    if (o->n_allow_urls && !serve_fetch_init()) return serve_fail(err, EYE_E_NOMEM, "libcurl does not start");
    struct serve *s = calloc(1, sizeof *s);
    if (!s) return serve_fail(err, EYE_E_NOMEM, "out of memory");
    s->o = *o;
    resolve(&s->o);
    s->bodies.most = SERVE_BODIES_FACTOR * s->o.max_body_bytes;
    s->pixels.most = SERVE_IMAGES_BYTES;
    s->queue_end = &s->queue;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->some, NULL);
    metrics_init(&s->metrics);
    enum eye_status st = EYE_OK;
    s->has_clock = pthread_create(&s->clock, NULL, clock_run, s) == 0;
    if (!s->has_clock || !serve_start_hands(s)) st = serve_fail(err, EYE_E_NOMEM, "no threads to serve with");
    if (st == EYE_OK) st = open_daemon(s, err);
    if (st == EYE_OK)
        *out = s;
    else
        serve_stop(s, 0);
    return st;
}

const char *serve_url(const struct serve *s) { return s->url; }
int serve_port(const struct serve *s) { return s->port; }

enum eye_status serve_use(struct serve *s, struct eye_model *model, struct eye_err *err) {
    eye_model_get_info(model, &s->info);
    struct eye_batch_opts o = {.n_slots = s->o.n_parallel, .n_beams = s->o.sampling.n_beams, .max_queued = s->o.max_queue,
                               .image_cache_bytes = s->o.no_cache ? -1 : (int64_t)(s->o.cache_bytes / 8),
                               .prefix_cache_bytes = s->o.no_cache ? -1 : (int64_t)(s->o.cache_bytes - s->o.cache_bytes / 4)};
    const struct work_keep keep = {s->o.no_cache ? NULL : s->o.cache_file, s->o.log, s->o.log_ctx};
    if (!s->o.no_cache && !(s->seen = serve_seen_new((size_t)(s->o.cache_bytes / 8)))) /* files and pixels; rows as much */
        return serve_fail(err, EYE_E_NOMEM, "out of memory");
    enum eye_status st = work_new(&s->work, model, &o, &keep, err);
    if (st == EYE_OK) atomic_store(&s->model, model);
    return st;
}

/* Of every request on its way. */
static void cancel_all(struct serve *s) {
    for (;;) {
        struct job *j = NULL;
        pthread_mutex_lock(&s->lock);
        for (struct conn *c = s->conns; c && !j; c = c->next) {
            if (!c->job) continue;
            pthread_mutex_lock(&c->job->lock);
            if (c->job->end == JOB_GOES_ON && !c->job->finished && c->job->read_all) j = c->job;
            pthread_mutex_unlock(&c->job->lock);
        }
        if (j) job_ref(j);
        pthread_mutex_unlock(&s->lock);
        if (!j) return;
        job_cancel(j, JOB_STOPPED);
        job_unref(j);
    }
}

void serve_stop(struct serve *s, int32_t grace_ms) {
    if (!s) return;
    int fd = s->mhd ? MHD_quiesce_daemon(s->mhd) : -1;
    for (int32_t t = 0; t < grace_ms && atomic_load(&s->n_jobs) > 0; t += 20) usleep(20000);
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->stopping, true);
    pthread_cond_broadcast(&s->some);
    pthread_mutex_unlock(&s->lock);
    cancel_all(s);
    for (int i = 0; i < s->n_hands; i++) pthread_join(s->hand[i], NULL);
    if (s->has_clock) pthread_join(s->clock, NULL);
    work_stop(s->work); /* every job that was handed over has its answer now: no connection is suspended */
    if (s->mhd) MHD_stop_daemon(s->mhd);
    work_free(s->work);
    serve_seen_free(s->seen);
    if (fd >= 0) close(fd);
    metrics_clear(&s->metrics);
    pthread_cond_destroy(&s->some);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
