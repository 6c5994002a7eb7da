/* A token costs no allocation and no system call, once the first has been there. A child generates while this process watches
 * its system calls (ptrace), between two calls of its own that mean nothing; allocations are counted in the C library's own
 * entry points, so that what libraries do counts as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eyelet/eyelet.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

static char folder[512];

/* ---- allocations ---- */

static _Atomic unsigned long n_mallocs;

#if defined(__GLIBC__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 1
void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

#pragma GCC visibility push(default) /* the C library calls them too */
void *malloc(size_t n) {
    atomic_fetch_add(&n_mallocs, 1);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    atomic_fetch_add(&n_mallocs, 1);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    atomic_fetch_add(&n_mallocs, 1);
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n) {
    atomic_fetch_add(&n_mallocs, 1);
    return __libc_memalign(align, n);
}
#pragma GCC visibility pop
#else
#define COUNTS_MALLOC 0
#endif

/* ---- the child ---- */

enum { MARK_BEGIN = -77001, MARK_END = -77002 };
static void mark(long which) { (void)syscall(SYS_getpgid, which); } /* no such process: nothing happens */

struct task {
    const char *name;
    int n_threads;
    struct eye_generate_opts opts;
    enum eye_weight_type decoder;
    bool step;  /* eye_session_step in place of generate */
    bool noisy; /* does what none of them may: one call and one allocation a token */
};

enum { WARM = 6, LAST = 30 }; /* pieces of text; a token may be a part of a character */

struct heard {
    const struct task *task;
    unsigned long n, mallocs_then, mallocs_after;
};

static void make_noise(void) {
    char *volatile p = strdup("within the C library");
    free(p);
    (void)syscall(SYS_getppid);
}

static bool hear(void *ctx, const char *text, size_t bytes) {
    struct heard *h = ctx;
    (void)text;
    (void)bytes;
    if (++h->n == WARM) {
        h->mallocs_then = atomic_load(&n_mallocs);
        mark(MARK_BEGIN);
    }
    if (h->task->noisy) make_noise();
    if (h->n < LAST) return false;
    mark(MARK_END);
    h->mallocs_after = atomic_load(&n_mallocs);
    return true;
}

static void must(enum eye_status st, const struct eye_err *err) {
    if (st == EYE_OK) return;
    fprintf(stderr, "%s\n", err->text);
    _exit(3);
}

static void step_on(struct eye_session *s, struct heard *h, float *logits, struct eye_err *err) {
    const int32_t ids[] = {5, 9, 12};
    must(eye_session_prefill(s, ids, EYE_COUNT(ids), NULL, logits, err), err);
    for (int32_t i = 0; i < LAST; i++) {
        hear(h, "", 0);
        must(eye_session_step(s, i % 7 + 1, logits, err), err);
    }
}

/* 0 fine, 2 allocations, 3 an error, 4 too short an answer. */
static int child(const struct task *t) {
    struct eye_err err = {0};
    struct eye_model *m;
    struct eye_session *s;
    struct eye_result r;
    struct heard h = {.task = t};
    struct eye_generate_opts o = t->opts;
    const struct eye_query q = {.text = "once upon a time", .raw = true};
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) return 5; /* an emulator */
    raise(SIGSTOP);
    const struct eye_model_opts mo = {.n_threads = t->n_threads, .decoder_type = t->decoder};
    must(eye_model_open(folder, &mo, &m, &err), &err);
    must(eye_session_new(m, NULL, &s, &err), &err);
    float *logits = calloc((size_t)eye_model_n_vocab(m), sizeof *logits);
    o.ignore_eos = true;
    o.n_predict = 200;
    o.on_text = hear;
    o.on_text_ctx = &h;
    if (t->step) step_on(s, &h, logits, &err);
    else must(eye_session_generate(s, &q, &o, &r, &err), &err);
    free(logits);
    eye_session_free(s);
    eye_model_close(m);
    if (h.n < LAST) return 4;
    return h.mallocs_after != h.mallocs_then ? 2 : 0;
}

/* ---- the watcher ---- */

struct calls {
    bool cannot, inside, over;
    int exit_code;
    long number[64], count[64];
    size_t n;
};

static void count_call(struct calls *c, long number) {
    size_t i = 0;
    while (i < c->n && c->number[i] != number) i++;
    if (i == EYE_COUNT(c->number)) return;
    if (i == c->n) c->number[c->n++] = number;
    c->count[i]++;
}

#ifdef PTRACE_GET_SYSCALL_INFO
static bool at_call(pid_t tid, struct calls *c) {
    struct __ptrace_syscall_info info;
    if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof info, &info) <= 0) return false;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) return true;
    bool marks = info.entry.nr == SYS_getpgid;
    if (marks && (int)info.entry.args[0] == MARK_END) c->inside = false, c->over = true;
    if (c->inside) count_call(c, (long)info.entry.nr);
    if (marks && (int)info.entry.args[0] == MARK_BEGIN) c->inside = true;
    return true;
}
#else
static bool at_call(pid_t tid, struct calls *c) { return false; }
#endif

static struct calls watch(const struct task *t) {
    struct calls c = {0};
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(child(t));
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status)) {
        c.cannot = true;
        return c;
    }
    const uintptr_t options = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL;
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)options) != 0) {
        c.cannot = true;
        kill(pid, SIGKILL);
        waitpid(pid, &status, __WALL);
        return c;
    }
    ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
    for (;;) {
        pid_t tid = waitpid(-1, &status, __WALL);
        if (tid < 0) break;
        if (tid == pid && (WIFEXITED(status) || WIFSIGNALED(status))) {
            c.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            break;
        }
        if (!WIFSTOPPED(status)) continue;
        int sig = WSTOPSIG(status);
        if (sig == (SIGTRAP | 0x80) && !at_call(tid, &c)) c.cannot = true;
        bool ours = sig == (SIGTRAP | 0x80) || sig == SIGTRAP || sig == SIGSTOP; /* a new thread stops as it begins */
        ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(uintptr_t)(ours ? 0 : sig));
    }
    return c;
}

/* ---- tests ---- */

/* Waiting for one another is all that threads may call the system for, and only when a processor is not there. */
static bool is_waiting(long number) { return number == SYS_futex || number == SYS_sched_yield; }

/* What the C library calls once as a thread begins: on a busy machine it may get its first processor among the tokens. */
static bool is_beginning(long number) {
#ifdef SYS_rseq
    if (number == SYS_rseq) return true;
#endif
#ifdef __SANITIZE_ADDRESS__ /* its runtime makes a thread's own memory, and gives back what was freed seconds ago */
    if (number == SYS_mmap || number == SYS_madvise || number == SYS_sigaltstack) return true;
#endif
    return number == SYS_set_robust_list || number == SYS_rt_sigprocmask;
}

static void check(const struct task *t) {
    struct calls c = watch(t);
    if (c.cannot) {
        print_message("skipped: system calls cannot be watched here\n");
        return;
    }
    if (c.exit_code == 2) fail_msg("%s: tokens allocate", t->name);
    if (c.exit_code != 0 || !c.over) fail_msg("%s: the child ended with %d", t->name, c.exit_code);
    for (size_t i = 0; i < c.n; i++) {
        bool begins = is_beginning(c.number[i]) && c.count[i] < t->n_threads; /* the first one has been there */
        if (t->n_threads == 1 || !(begins || is_waiting(c.number[i])))
            fail_msg("%s: system call %ld, %ld times in %d pieces of text", t->name, c.number[i], c.count[i], LAST - WARM);
    }
}

static const struct eye_generate_opts drawn = {.temperature = 0.9f, .top_k = 20, .top_p = 0.95f, .min_p = 0.01f,
                                               .repeat_penalty = 1.1f, .frequency_penalty = 0.1f, .seed = 3};

static void test_one_thread(void **state) {
    static const char *const stop[] = {"never said", "nor this"};
    (void)state;
    check(&(struct task){.name = "greedy", .n_threads = 1});
    check(&(struct task){.name = "greedy q4_0", .n_threads = 1, .decoder = EYE_WEIGHT_Q4_0});
    check(&(struct task){.name = "drawn", .n_threads = 1, .opts = drawn});
    check(&(struct task){.name = "logprobs, stops", .n_threads = 1, .opts = {.n_logprobs = 4, .stop = stop, .n_stop = 2}});
    check(&(struct task){.name = "guesses", .n_threads = 1, .opts = {.n_lookup = 4, .presence_penalty = -20}});
    check(&(struct task){.name = "steps", .n_threads = 1, .step = true});
}

static void test_threads(void **state) {
    (void)state;
    check(&(struct task){.name = "two threads", .n_threads = 2, .decoder = EYE_WEIGHT_Q8_0});
    check(&(struct task){.name = "three threads", .n_threads = 3, .opts = drawn});
}

/* The watch sees what it is there to see. */
static void test_watching(void **state) {
    (void)state;
    struct calls c = watch(&(struct task){.name = "noisy", .n_threads = 1, .noisy = true});
    if (c.cannot) return;
    assert_true(c.over);
    assert_int_equal(c.exit_code, COUNTS_MALLOC ? 2 : 0);
    assert_int_equal(c.n, 1);
    assert_int_equal(c.number[0], SYS_getppid);
    assert_int_equal(c.count[0], LAST - WARM + 1);
}

static int setup(void **state) {
    struct eye_err err = {0};
    (void)state;
    snprintf(folder, sizeof folder, "%s/model", eye_scratch_dir());
    return eye_make_tiny(folder, &err) == EYE_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_watching),
    };
    return cmocka_run_group_tests_name("steady", tests, setup, teardown);
}
