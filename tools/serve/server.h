/* server: what the server's own files share: the server, a job, a route.
 *
 * Threads: libmicrohttpd's one thread does all sockets and what answers at once; a few hands read requests (JSON, base64,
 * pictures) and tokenize; work's thread generates; the clock watches time limits and clients that go away. A job is one HTTP
 * request, counted: the connection has a reference, and whoever works on it. While it is worked on its connection is
 * suspended. */
#ifndef EYELET_SERVE_SERVER_H
#define EYELET_SERVE_SERVER_H

#include <microhttpd.h>
#include <pthread.h>
#include <stdatomic.h>

#include "answer.h"
#include "metrics.h"
#include "request.h"
#include "serve.h"
#include "work.h"

#define SERVE_HANDS 8
#define SERVE_FETCH_S 20                /* of a picture from another machine */
#define SERVE_BODIES_FACTOR 8            /* all bodies together: so many times the largest */
#define SERVE_IMAGES_BYTES ((uint64_t)512 << 20) /* pixels of all requests together */
#define SERVE_DISCARD_BYTES ((uint64_t)256 << 20) /* of a body that is refused: read so far, so that the client hears why */
#define SERVE_STREAM_BYTES ((size_t)8 << 20)      /* of a stream that its client does not read */

enum job_end { JOB_GOES_ON = 0, JOB_GONE, JOB_LATE, JOB_STOPPED }; /* why it is cancelled: client left, time is up,
server stops */

struct job;
struct route {
    const char *path;
    const char *methods; /* "GET" (HEAD too) or "POST" */
    bool open;           /* no key needed */
    bool unready;        /* also while the model is loading */
    int (*now)(struct job *j);   /* answers on the HTTP thread into j->out: the status */
    void (*later)(struct job *j); /* on a hand's thread; ends by job_reply, job_refuse, or work's on_done does */
};

struct conn { /* a TCP connection; under serve.lock */
    struct conn *next, **at;
    int fd;
    uint64_t since_us;   /* of the wait for a request's first line */
    struct job *job;     /* on its way; NULL = none */
};

struct job {
    struct serve *s;
    struct MHD_Connection *mhd;
    const struct route *route;
    _Atomic int refs;
    uint64_t begin_us;           /* its first line came */
    struct job *next;            /* in the hands' queue */
    /* the HTTP thread's */
    const char *path;            /* borrowed from the connection while it lives */
    bool seen, handed, counted;
    bool refused;
    struct serve_error error;
    struct serve_buf body;       /* taken from serve.bodies */
    uint64_t discarded;
    /* of whoever works on it */
    struct serve_request request;
    struct serve_answer answer;
    uint64_t first_us;           /* when its first token came */
    /* under lock */
    pthread_mutex_t lock;
    bool suspended;
    bool ready;                  /* status and kind of the reply are known */
    bool streaming, finished;    /* finished: out is all */
    int status;
    const char *type;            /* of out; static */
    struct serve_buf out;
    size_t n_sent;
    uint64_t quiet_us;           /* since when nothing was put out */
    enum job_end end;
    bool submitted, done;        /* work has it; had it */
    uint64_t work_id;
    bool read_all;               /* its body is complete */
};

struct serve {
    struct serve_opts o; /* resolved */
    char url[128], host_name[128];
    int port;
    bool loopback;
    struct MHD_Daemon *mhd;
    struct eye_model *_Atomic model; /* NULL = loading */
    struct work *work;
    struct eye_model_info info;
    struct serve_metrics metrics;
    struct serve_budget bodies, pixels;
    struct serve_seen *seen;         /* NULL = no caches */
    _Atomic int32_t n_jobs;          /* handed over and not over */
    _Atomic bool stopping;
    pthread_mutex_t lock;
    pthread_cond_t some;             /* queue, stopping */
    struct conn *conns;
    struct job *queue, **queue_end;
    pthread_t hand[SERVE_HANDS], clock;
    int n_hands;
    bool has_clock;
};

uint64_t serve_now_us(void);

/* ---- job.c ---- */
struct job *job_new(struct serve *s);
void job_ref(struct job *j);
void job_unref(struct job *j);
/* The body and a reference to the hands. Its connection must be suspended. */
void job_hand_over(struct job *j);
/* The whole answer; text is freed by it, NULL = no memory. */
void job_reply(struct job *j, int status, const char *type, char *text, size_t n);
void job_refuse(struct job *j, const struct serve_error *e);
/* Makes it end soon. */
void job_cancel(struct job *j, enum job_end why);
/* Adds to a stream, which begins with it. */
void job_stream(struct job *j, const char *text, size_t n);
void job_generate(struct job *j, enum serve_kind kind); /* a route's `later` */
bool serve_start_hands(struct serve *s);

/* ---- listen.c ---- */
void listen_wake(struct job *j); /* lets a suspended connection go on; wants j->lock */

/* ---- route.c ---- */
/* NULL: there is none, which *e says. */
const struct route *route_find(const char *path, struct serve_error *e);

/* ---- guard.c ---- */
bool guard_host(const struct serve *s, const char *host, struct serve_error *e);
/* *allow: the page may read the answer: say so. */
bool guard_origin(const struct serve *s, const char *origin, const char *host, bool *allow, struct serve_error *e);
bool guard_key(const struct serve *s, const char *authorization, struct serve_error *e);

/* ---- clock.c ---- */
void *clock_run(void *serve);

#endif
