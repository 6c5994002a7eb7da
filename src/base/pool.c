/* base/pool: fork-join over task indices for a runtime that forks some 300 times per decoded token.
 *
 * A run gives every thread a range of neighbouring tasks in its own 64-bit word: the first that is left (high half) and the
 * end (low half). A thread takes its own from the front, and when there are none, others' from the back. So consecutive runs over
 * the same rows find on each core what that core made, weights stream in the order of their addresses, and nobody waits for a
 * slow one. A task is claimed by compare-and-swap; a claim that succeeded keeps the run open, so the run's fields (fn, ctx) are
 * only read while they cannot change. (A swap that succeeds on a word read in an earlier run claims what that word says in this
 * one.) The run's number, written last, tells workers to look; one that wakes up too late finds nothing and goes back to
 * waiting. The caller never waits for a sleeping worker: it takes tasks itself and then waits only for those that others have
 * claimed. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/sys.h"

/* Between two dispatches of a decode step lie a few us, between two steps the choice of a token and its text: some 100 where
 * tokens of 152k are drawn. Waking a sleeper costs about 50, and a system call on either side. */
#define SPIN_NS 200000

struct worker { /* [0] is the caller */
    _Alignas(EYE_CACHE_LINE) _Atomic uint64_t range;
    _Alignas(EYE_CACHE_LINE) struct eye_pool *pool;
    pthread_t thread;
    int i_thread;
};

struct eye_pool {
    _Alignas(EYE_CACHE_LINE) _Atomic uint64_t run;  /* its number */
    _Alignas(EYE_CACHE_LINE) _Atomic int n_done;    /* tasks finished in this run */
    _Alignas(EYE_CACHE_LINE) _Atomic int n_sleeping; /* changed under lock only; read without it by the caller */
    _Atomic bool stop;
    /* The run: written by the caller before it publishes ranges. */
    _Alignas(EYE_CACHE_LINE) eye_task_fn *fn;
    void *ctx;
    /* Fixed after eye_pool_new. */
    uint64_t spin_ns;
    int n_threads;
    const struct eye_alloc *alloc;
    struct worker *worker; /* [n_threads] */
    pthread_mutex_t lock;
    pthread_cond_t wake;
};

static inline void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static inline uint32_t first_of(uint64_t range) { return (uint32_t)(range >> 32); }
static inline uint32_t end_of(uint64_t range) { return (uint32_t)range; }

/* Takes tasks of one range until none is left, its owner from the front; returns how many it ran. */
static int take(struct eye_pool *p, _Atomic uint64_t *range, bool own, int i_thread) {
    int n = 0;
    uint64_t r = atomic_load_explicit(range, memory_order_relaxed);
    while (first_of(r) < end_of(r)) {
        uint64_t rest = own ? r + (UINT64_C(1) << 32) : r - 1;
        if (!atomic_compare_exchange_weak_explicit(range, &r, rest, memory_order_acquire, memory_order_relaxed)) continue;
        p->fn(p->ctx, (int)(own ? first_of(r) : end_of(r) - 1), i_thread);
        n++;
        r = atomic_load_explicit(range, memory_order_relaxed);
    }
    return n;
}

static int work(struct eye_pool *p, int i_thread) {
    int n = take(p, &p->worker[i_thread].range, true, i_thread);
    for (int i = 1; i < p->n_threads; i++) n += take(p, &p->worker[(i_thread + i) % p->n_threads].range, false, i_thread);
    return n;
}

/* True as soon as there is a run after `seen`; false when the spin time is over. */
static bool spin_for_work(struct eye_pool *p, uint64_t seen) {
    uint64_t end = 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&p->run, memory_order_relaxed) != seen) return true;
            relax();
        }
        if (!end) end = eye_now_ns() + p->spin_ns;
    } while (eye_now_ns() < end);
    return false;
}

/* Dekker: we count ourselves in, then look at the run's number; the caller publishes that, then looks at the count. Both
 * sides sequentially consistent, so one of them sees the other. */
static void sleep_for_work(struct eye_pool *p, uint64_t seen) {
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->n_sleeping, 1);
    while (atomic_load(&p->run) == seen && !atomic_load(&p->stop)) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->n_sleeping, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct eye_pool *p = w->pool;
    while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
        uint64_t run = atomic_load_explicit(&p->run, memory_order_acquire); /* all its ranges are there */
        int n = work(p, w->i_thread);
        if (n) atomic_fetch_add_explicit(&p->n_done, n, memory_order_release);
        if (!spin_for_work(p, run)) sleep_for_work(p, run);
    }
    return NULL;
}

void eye_pool_run(struct eye_pool *p, int n_tasks, eye_task_fn *fn, void *ctx) {
    if (n_tasks <= 1 || p->n_threads == 1) {
        for (int i = 0; i < n_tasks; i++) fn(ctx, i, 0);
        return;
    }
    p->fn = fn;
    p->ctx = ctx;
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    for (int i = 0; i < p->n_threads; i++) {
        size_t first = eye_part((size_t)n_tasks, (size_t)p->n_threads, (size_t)i);
        size_t end = eye_part((size_t)n_tasks, (size_t)p->n_threads, (size_t)i + 1);
        atomic_store_explicit(&p->worker[i].range, (uint64_t)first << 32 | end, memory_order_release);
    }
    atomic_store(&p->run, atomic_load_explicit(&p->run, memory_order_relaxed) + 1);
    int n_sleeping = atomic_load(&p->n_sleeping);
    if (n_sleeping > 0) {
        pthread_mutex_lock(&p->lock);
        if (n_sleeping <= n_tasks - 1)
            pthread_cond_broadcast(&p->wake);
        else
            for (int i = 0; i < n_tasks - 1; i++) pthread_cond_signal(&p->wake);
        pthread_mutex_unlock(&p->lock);
    }
    int mine = work(p, 0);
    /* The others are finishing their last task. One that was preempted needs our processor: give it away after a while. */
    for (int i = 0; atomic_load_explicit(&p->n_done, memory_order_acquire) + mine < n_tasks; i++) {
        if (i < 2048 && p->spin_ns)
            relax();
        else
            sched_yield();
    }
}

static void join_workers(struct eye_pool *p, int n) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i <= n; i++) pthread_join(p->worker[i].thread, NULL);
}

static void pool_release(struct eye_pool *p) {
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    eye_alloc_free(p->alloc, p->worker, (size_t)p->n_threads * sizeof *p->worker);
    eye_alloc_free(p->alloc, p, sizeof *p);
}

enum eye_status eye_pool_new(struct eye_pool **out, int n_threads, const struct eye_alloc *alloc, struct eye_err *err) {
    if (n_threads < 1 || n_threads > 1024) return eye_fail(err, EYE_E_ARG, "threads: expected 1 to 1024, got %d", n_threads);
    struct eye_pool *p = eye_alloc_zero(alloc, sizeof *p);
    if (!p) return eye_fail_nomem(err, sizeof *p);
    size_t bytes = (size_t)n_threads * sizeof *p->worker;
    p->worker = eye_alloc_zero(alloc, bytes);
    if (!p->worker) {
        eye_alloc_free(alloc, p, sizeof *p);
        return eye_fail_nomem(err, bytes);
    }
    p->alloc = alloc;
    p->n_threads = n_threads;
    /* More threads than processors: a spinning one only keeps a working one from running. */
    p->spin_ns = n_threads <= eye_cpu_count() ? SPIN_NS : 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    /* Signals are the application's: workers take none. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int n = 0, rc = 0; /* n: workers that run */
    for (; n < n_threads - 1; n++) {
        struct worker *w = &p->worker[n + 1];
        w->pool = p;
        w->i_thread = n + 1;
        if ((rc = pthread_create(&w->thread, NULL, worker_main, w)) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        join_workers(p, n);
        pool_release(p);
        return eye_fail(err, EYE_E_IO, "cannot start thread %d of %d: the system's limit is reached (ulimit -u)", n + 1,
                        n_threads);
    }
    *out = p;
    return EYE_OK;
}

void eye_pool_free(struct eye_pool *p) {
    if (!p) return;
    join_workers(p, p->n_threads - 1);
    pool_release(p);
}

int eye_pool_n_threads(const struct eye_pool *p) { return p->n_threads; }
