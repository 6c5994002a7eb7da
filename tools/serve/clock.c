/* clock: looks at every connection a few times a second: requests that take too long to arrive, clients that went away while
 * their request was worked on, answers that take too long, streams that have been silent. */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "server.h"

#define TICK_US 100000

static bool hung_up(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* What began after the clock was read has taken no time. */
static bool longer(uint64_t since, uint64_t now, uint64_t us) { return now > since && now - since > us; }

/* Gives the job a reference if it must be cancelled: not under the server's lock, since work may call back. */
static struct job *look_at(struct serve *s, struct conn *c, uint64_t now, enum job_end *why) {
    uint64_t read_us = (uint64_t)s->o.read_s * 1000000;
    struct job *j = c->job;
    *why = JOB_GOES_ON;
    if (!j) {
        if (longer(c->since_us, now, 2 * read_us)) shutdown(c->fd, SHUT_RDWR);
        return NULL;
    }
    pthread_mutex_lock(&j->lock);
    if (!j->read_all) {
        if (longer(j->begin_us, now, read_us)) shutdown(c->fd, SHUT_RDWR);
    } else if (!j->finished) {
        if (longer(j->begin_us, now, (uint64_t)s->o.request_s * 1000000)) *why = JOB_LATE;
        if (hung_up(c->fd)) *why = JOB_GONE;
        bool silent = j->submitted && j->request.stream && j->request.kind != SERVE_NATIVE &&
                      longer(j->quiet_us, now, (uint64_t)s->o.ping_s * 1000000);
        if (silent && *why == JOB_GOES_ON) { /* before the first event too: proxies lose patience */
            static const char comment[] = ": keep-alive\n\n";
            j->ready = j->streaming = true;
            j->status = 200;
            j->type = "text/event-stream";
            serve_buf_add(&j->out, comment, sizeof comment - 1);
            j->quiet_us = now;
            listen_wake(j);
        }
    } else if (longer(j->quiet_us, now, 2 * read_us)) { /* the last byte is not taken */
        shutdown(c->fd, SHUT_RDWR);
    }
    if (j->end != JOB_GOES_ON) *why = JOB_GOES_ON; /* it is on its way out */
    pthread_mutex_unlock(&j->lock);
    if (*why == JOB_GOES_ON) return NULL;
    job_ref(j);
    return j;
}

#define MOST 64 /* of one round: the next comes soon */

void *clock_run(void *ctx) {
    struct serve *s = ctx;
    while (!atomic_load(&s->stopping)) {
        struct job *cancel[MOST];
        enum job_end why[MOST];
        size_t n = 0;
        uint64_t now = serve_now_us();
        pthread_mutex_lock(&s->lock);
        for (struct conn *c = s->conns; c && n < MOST; c = c->next) {
            cancel[n] = look_at(s, c, now, &why[n]);
            n += cancel[n] != NULL;
        }
        pthread_mutex_unlock(&s->lock);
        for (size_t i = 0; i < n; i++) {
            job_cancel(cancel[i], why[i]);
            job_unref(cancel[i]);
        }
        nanosleep(&(struct timespec){.tv_nsec = TICK_US * 1000L}, NULL);
    }
    return NULL;
}
