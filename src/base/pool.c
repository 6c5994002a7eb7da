/* base/pool: fork-join over task indices for a runtime that forks some 300 times per decoded token.
 *
 * Each thread has a share of its own, the same part of the tasks in every run, so that what it wrote in one run it mostly
 * finds in its cache in the next; who is done with it takes from the others'. All that a share needs to hand out is one
 * 64-bit word, the ticket: run number (high half) and tasks left (low half). A thread claims a task by lowering it with
 * compare-and-swap; a claim that succeeded keeps the run open, so the run's fields (fn, ctx, n_tasks) are only read while they
 * cannot change, and a worker that wakes up too late sees tickets with nothing left and goes back to waiting. The caller never
 * waits for a sleeping worker: it takes tasks itself and then waits only for those that others have claimed. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

#include "base/sys.h"

/* Between two dispatches of a decode step lie a few us, between two steps the choice of a token and its text: some 100 where
 * tokens of 152k are drawn. Waking a sleeper costs about 50, and a system call on either side. */
#define SPIN_NS 200000

struct worker {
    _Alignas(EYE_CACHE_LINE) _Atomic uint64_t ticket; /* of its share */
    struct eye_pool *pool;
    pthread_t thread; /* of all but the first, who is the caller */
    int i_thread;
};

struct eye_pool {
    _Alignas(EYE_CACHE_LINE) _Atomic uint32_t run;  /* number of the last one; told after its tickets */
    _Alignas(EYE_CACHE_LINE) _Atomic int n_done;    /* tasks finished in this run */
    _Alignas(EYE_CACHE_LINE) _Atomic int n_sleeping; /* changed under lock only; read without it by the caller */
    _Atomic bool stop;
    /* The run: written by the caller before it publishes the tickets. */
    _Alignas(EYE_CACHE_LINE) eye_task_fn *fn;
    void *ctx;
    int n_tasks;
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

static inline uint32_t tasks_left(uint64_t ticket) { return (uint32_t)ticket; }

/* The first task of thread i's share. */
static inline int first_task(int n_tasks, int i, int n_threads) { return (int)((int64_t)n_tasks * i / n_threads); }

/* Takes tasks of share i until none is left; returns how many it ran. */
static int work_on(struct eye_pool *p, int i, int i_thread) {
    int n = 0;
    _Atomic uint64_t *ticket = &p->worker[i].ticket;
    uint64_t t = atomic_load_explicit(ticket, memory_order_relaxed);
    while (tasks_left(t)) {
        if (!atomic_compare_exchange_weak_explicit(ticket, &t, t - 1, memory_order_acquire, memory_order_relaxed)) continue;
        p->fn(p->ctx, first_task(p->n_tasks, i + 1, p->n_threads) - (int)tasks_left(t), i_thread);
        n++;
        t = atomic_load_explicit(ticket, memory_order_relaxed);
    }
    return n;
}

static int work(struct eye_pool *p, int i_thread) {
    int n = 0;
    for (int k = 0; k < p->n_threads; k++) n += work_on(p, (i_thread + k) % p->n_threads, i_thread);
    return n;
}

/* True as soon as there is another run than `seen`; false when the spin time is over. */
static bool spin_for_work(struct eye_pool *p, uint32_t seen) {
    uint64_t end = 0;
    do {
        for (int i = 0; i < 32; i++) {
            if (atomic_load_explicit(&p->run, memory_order_acquire) != seen) return true;
            relax();
        }
        if (!end) end = eye_now_ns() + p->spin_ns;
    } while (eye_now_ns() < end);
    return false;
}

/* Dekker: we count ourselves in, then look at the run; the caller publishes the run, then looks at the count. Both
 * sides sequentially consistent, so one of them sees the other. */
static void sleep_for_work(struct eye_pool *p, uint32_t seen) {
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
        uint32_t seen = atomic_load_explicit(&p->run, memory_order_acquire);
        int n = work(p, w->i_thread);
        if (n) atomic_fetch_add_explicit(&p->n_done, n, memory_order_release);
        if (!spin_for_work(p, seen)) sleep_for_work(p, seen);
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
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->n_done, 0, memory_order_relaxed);
    uint32_t run = atomic_load_explicit(&p->run, memory_order_relaxed) + 1;
    for (int i = 0; i < p->n_threads; i++) {
        int n = first_task(n_tasks, i + 1, p->n_threads) - first_task(n_tasks, i, p->n_threads);
        atomic_store_explicit(&p->worker[i].ticket, (uint64_t)run << 32 | (uint32_t)n, memory_order_release);
    }
    atomic_store(&p->run, run);
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

/* Those before the n-th. */
static void join_workers(struct eye_pool *p, int n) {
    pthread_mutex_lock(&p->lock);
    atomic_store(&p->stop, true);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
    for (int i = 1; i < n; i++) pthread_join(p->worker[i].thread, NULL);
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
    int n = 1, rc = 0;
    for (; n < n_threads; n++) {
        p->worker[n].pool = p;
        p->worker[n].i_thread = n;
        if ((rc = pthread_create(&p->worker[n].thread, NULL, worker_main, &p->worker[n])) != 0) break;
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
    join_workers(p, p->n_threads);
    pool_release(p);
}

int eye_pool_n_threads(const struct eye_pool *p) { return p->n_threads; }
