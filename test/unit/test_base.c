/* Unit tests of base: errors, allocation, arenas, maps, cursor, files, CPU flags, pool, random numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cursor.h"
#include "base/sys.h"
#include "support/support.h"

/* ---- errors ---- */

static void errors_are_one_line(void **state) {
    struct eye_err err = {0};
    assert_int_equal(eye_fail(&err, EYE_E_CORRUPT, "name \"%s\"", "a\nb\x1b[2J"), EYE_E_CORRUPT);
    assert_int_equal(err.code, EYE_E_CORRUPT);
    assert_string_equal(err.text, "name \"a?b?[2J\"");
    assert_int_equal(eye_fail_in(&err, EYE_E_CORRUPT, "file %d", 7), EYE_E_CORRUPT);
    assert_string_equal(err.text, "file 7: name \"a?b?[2J\"");
    assert_int_equal(eye_fail(NULL, EYE_E_IO, "nobody listens"), EYE_E_IO);
    assert_int_equal(eye_fail_in(NULL, EYE_E_IO, "nobody listens"), EYE_E_IO);
}

static void long_errors_end_in_dots(void **state) {
    struct eye_err err;
    char name[2001];
    for (size_t i = 0; i < 2000; i += 2) memcpy(name + i, "\xc3\xa4", 2); /* two-byte letters: the cut must not split one */
    name[2000] = '\0';
    for (int shift = 0; shift < 2; shift++) {
        eye_fail(&err, EYE_E_ARG, "%s%s", shift ? "x" : "", name);
        size_t n = strlen(err.text);
        assert_true(n < sizeof err.text && n > sizeof err.text - 8);
        assert_string_equal(err.text + n - 3, "...");
        assert_int_equal((n - 3 - (size_t)shift) % 2, 0);
    }
    eye_fail(&err, EYE_E_ARG, "%s", "short");
    assert_int_equal(eye_fail_in(&err, EYE_E_ARG, "%s", name), EYE_E_ARG);
    assert_string_equal(err.text + strlen(err.text) - 3, "...");
}

static void every_status_has_a_name(void **state) {
    assert_string_equal(eye_status_name(EYE_OK), "EYE_OK");
    assert_string_equal(eye_status_name(EYE_E_CANCELLED), "EYE_E_CANCELLED");
    assert_string_equal(eye_status_name((enum eye_status)99), "EYE_E_?");
}

/* ---- memory ---- */

static void allocations_are_aligned_and_counted(void **state) {
    uint64_t before = eye_alloc_count();
    static const size_t sizes[] = {0, 1, 63, 64, 65, 100000};
    for (size_t i = 0; i < EYE_COUNT(sizes); i++) {
        unsigned char *p = eye_alloc_zero(NULL, sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % EYE_CACHE_LINE, 0);
        for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
        eye_alloc_free(NULL, p, sizes[i]);
    }
    assert_int_equal(eye_alloc_count() - before, EYE_COUNT(sizes));
    assert_null(eye_alloc_raw(NULL, SIZE_MAX));
    assert_null(eye_alloc_raw(NULL, SIZE_MAX - 10));
    eye_alloc_free(NULL, NULL, 5);
}

static void grow_keeps_what_was_there(void **state) {
    struct eye_faulty f;
    struct eye_err err = {0};
    eye_faulty_init(&f, -1);
    void *p = NULL;
    size_t cap = 0;
    for (size_t n = 1; n < 1000; n++) {
        assert_int_equal(eye_alloc_grow(&f.alloc, &p, &cap, n, sizeof(int), &err), EYE_OK);
        assert_true(cap >= n);
        ((int *)p)[n - 1] = (int)n;
    }
    for (int i = 0; i < 999; i++) assert_int_equal(((int *)p)[i], i + 1);
    void *same = p;
    size_t old = cap;
    assert_int_equal(eye_alloc_grow(&f.alloc, &p, &cap, SIZE_MAX / 2, sizeof(int), &err), EYE_E_NOMEM);
    atomic_store(&f.n_ok, 0);
    assert_int_equal(eye_alloc_grow(&f.alloc, &p, &cap, old + 1, sizeof(int), &err), EYE_E_NOMEM);
    assert_ptr_equal(p, same);
    assert_int_equal(cap, old);
    eye_alloc_free(&f.alloc, p, cap * sizeof(int));
    assert_int_equal(f.n_live, 0);
}

static void pages_are_zero_and_aligned(void **state) {
    static const size_t sizes[] = {1, 4096, (2u << 20) - 1, 2u << 20, (5u << 20) + 12345};
    for (size_t i = 0; i < EYE_COUNT(sizes); i++) {
        unsigned char *p = eye_pages_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (sizes[i] >= 2u << 20 ? 2u << 20 : 4096), 0);
        assert_int_equal(p[0] | p[sizes[i] - 1], 0);
        memset(p, 1, sizes[i]);
        eye_pages_free(p, sizes[i]);
    }
    assert_null(eye_pages_alloc(SIZE_MAX));
    assert_null(eye_pages_alloc(SIZE_MAX / 2));
}

static void arena_gives_distinct_zeroed_blocks(void **state) {
    struct eye_faulty f;
    struct eye_arena a;
    struct eye_rng rng;
    eye_faulty_init(&f, -1);
    eye_arena_init(&a, &f.alloc);
    eye_rng_seed(&rng, 1);
    unsigned char *p[500];
    size_t n[500];
    for (int i = 0; i < 500; i++) {
        n[i] = (size_t)(eye_rng_u64(&rng) % (i % 50 == 0 ? 100000 : 200));
        p[i] = eye_arena_alloc(&a, n[i]);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % (n[i] >= 64 ? 64 : 16), 0);
        for (size_t k = 0; k < n[i]; k++) assert_int_equal(p[i][k], 0);
        memset(p[i], i & 0xff, n[i]);
    }
    for (int i = 0; i < 500; i++)
        for (size_t k = 0; k < n[i]; k++) assert_int_equal(p[i][k], i & 0xff);
    assert_string_equal(eye_arena_strdup(&a, "abcdef", 3), "abc");
    assert_string_equal(eye_arena_strdup(&a, NULL, 0), "");
    assert_string_equal(eye_arena_printf(&a, "%d-%s", 42, "x"), "42-x");
    assert_null(eye_arena_alloc(&a, SIZE_MAX));
    assert_null(eye_arena_alloc(&a, SIZE_MAX - 70));
    atomic_store(&f.n_ok, 0);
    assert_null(eye_arena_alloc(&a, 10 << 20));
    assert_null(eye_arena_strdup(&a, "x", SIZE_MAX));
    eye_arena_clear(&a);
    assert_int_equal(f.n_live, 0);
    assert_int_equal(a.total_bytes, 0);
}

static void buffer_grows_and_fails_sticky(void **state) {
    struct eye_faulty f;
    struct eye_buf b;
    eye_faulty_init(&f, -1);
    eye_buf_init(&b, &f.alloc);
    for (int i = 0; i < 1000; i++) eye_buf_printf(&b, "%d,", i);
    eye_buf_adds(&b, "end");
    eye_buf_add(&b, NULL, 0);
    assert_false(b.failed);
    assert_int_equal(b.len, strlen(b.p));
    assert_memory_equal(b.p, "0,1,2,3,", 8);
    assert_string_equal(b.p + b.len - 7, "999,end");
    atomic_store(&f.n_ok, 0);
    char big[8192] = {0};
    eye_buf_add(&b, big, sizeof big);
    assert_true(b.failed);
    eye_buf_adds(&b, "ignored");
    eye_buf_clear(&b);
    assert_int_equal(f.n_live, 0);
}

/* ---- map ---- */

static void strmap_finds_all(void **state) {
    struct eye_faulty f;
    struct eye_strmap m;
    struct eye_err err;
    static char keys[5000][12];
    bool was_there;
    eye_faulty_init(&f, -1);
    eye_strmap_init(&m, &f.alloc);
    assert_int_equal(eye_strmap_get(&m, "x", 1), -1);
    for (int i = 0; i < 5000; i++) {
        int n = snprintf(keys[i], sizeof keys[i], "k%d", i);
        assert_int_equal(eye_strmap_put(&m, keys[i], (size_t)n, i, &was_there, &err), EYE_OK);
        assert_false(was_there);
    }
    for (int i = 0; i < 5000; i++) assert_int_equal(eye_strmap_get(&m, keys[i], strlen(keys[i])), i);
    assert_int_equal(eye_strmap_get(&m, "k50000", 6), -1);
    assert_int_equal(eye_strmap_put(&m, "k7", 2, 99, &was_there, &err), EYE_OK);
    assert_true(was_there);
    assert_int_equal(eye_strmap_get(&m, "k7", 2), 7);
    assert_int_equal(eye_strmap_get(&m, "k77", 2), 7); /* a length, not a NUL, ends a key */
    assert_int_equal(eye_strmap_get(&m, "", 0), -1);
    assert_int_equal(eye_strmap_put(&m, NULL, 0, 1234, &was_there, &err), EYE_OK);
    assert_int_equal(eye_strmap_get(&m, "", 0), 1234);
    assert_int_equal(m.n, 5001);
    atomic_store(&f.n_ok, 0);
    assert_int_equal(eye_strmap_reserve(&m, 1 << 20, &err), EYE_E_NOMEM);
    assert_int_equal(eye_strmap_reserve(&m, SIZE_MAX / 2, &err), EYE_E_NOMEM);
    assert_int_equal(eye_strmap_get(&m, "k4999", 5), 4999);
    eye_strmap_clear(&m);
    assert_int_equal(f.n_live, 0);
}

/* ---- cursor ---- */

static void cursor_reads_little_endian(void **state) {
    static const uint8_t b[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x12, 0x34, 0xde, 0xad, 0xbe, 0xef};
    struct eye_cursor c = eye_cursor_make(b, sizeof b);
    assert_int_equal(eye_cursor_u8(&c), 1);
    assert_int_equal(eye_cursor_u16(&c), 0x0302);
    assert_int_equal(eye_cursor_u32(&c), 0x07060504);
    assert_true(eye_cursor_u64(&c) == 0x0f0e0d0c0b0a0908u);
    assert_int_equal(eye_cursor_u16be(&c), 0x1234);
    assert_true(eye_cursor_u32be(&c) == 0xdeadbeefu);
    assert_int_equal(eye_cursor_left(&c), 0);
    assert_non_null(eye_cursor_bytes(&c, 0));
    assert_false(c.failed);
}

static void cursor_errors_stick(void **state) {
    static const uint8_t b[5] = {1, 2, 3, 4, 5};
    struct eye_cursor c = eye_cursor_make(b, sizeof b);
    eye_cursor_u16(&c);
    assert_int_equal(eye_cursor_u32(&c), 0);
    assert_true(c.failed);
    assert_int_equal(c.fail_pos, 2);
    assert_int_equal(eye_cursor_u8(&c), 0); /* would fit, but the error sticks */
    assert_null(eye_cursor_bytes(&c, SIZE_MAX));
    assert_int_equal(c.fail_pos, 2);
    c = eye_cursor_make(NULL, 0);
    assert_non_null(eye_cursor_bytes(&c, 0));
    assert_null(eye_cursor_bytes(&c, 1));
}

/* ---- files ---- */

static void maps_are_the_file(void **state) {
    static char text[100000];
    struct eye_err err = {0};
    struct eye_map m;
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i * 7);
    const char *path = eye_scratch_write("data", text, sizeof text);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        assert_int_equal(eye_map_open(&m, path, use_mmap, 0, &err), EYE_OK);
        assert_int_equal(m.mapped, use_mmap);
        assert_int_equal(m.size, sizeof text);
        assert_memory_equal(m.p, text, sizeof text);
        assert_string_equal(m.path, path);
        eye_map_close(&m);
        eye_map_close(&m);
        assert_int_equal(eye_map_open(&m, path, use_mmap, sizeof text, &err), EYE_OK);
        eye_map_close(&m);
        assert_int_equal(eye_map_open(&m, path, use_mmap, sizeof text - 1, &err), EYE_E_LIMIT);
        assert_non_null(strstr(err.text, path));
        const char *empty = eye_scratch_write("empty", NULL, 0);
        assert_int_equal(eye_map_open(&m, empty, use_mmap, 0, &err), EYE_OK);
        assert_null(m.p);
        assert_int_equal(m.size, 0);
        eye_map_close(&m);
        assert_int_equal(eye_map_open(&m, eye_scratch_path("none"), use_mmap, 0, &err), EYE_E_IO);
        assert_int_equal(eye_map_open(&m, eye_scratch_dir(), use_mmap, 0, &err), EYE_E_IO);
        assert_non_null(strstr(err.text, "folder"));
    }
    assert_int_equal(eye_map_open(&m, "/dev/zero", true, 5000, &err), EYE_E_LIMIT); /* endless, but bounded */
    assert_true(eye_path_is_dir(eye_scratch_dir()) && !eye_path_is_dir(path));
    assert_true(eye_path_exists(path) && !eye_path_exists(eye_scratch_path("none")));
}

/* Advice changes no byte, wherever it points, and a mapping may be closed while it is read ahead. */
static void advice_is_harmless(void **state) {
    enum { SIZE = (9 << 20) + 123 };
    static const size_t at[] = {0, 1, 5000, SIZE - 1, SIZE, SIZE_MAX, SIZE_MAX - 4000};
    struct eye_err err = {0};
    struct eye_map m;
    char *text = malloc(SIZE);
    (void)state;
    for (size_t i = 0; i < SIZE; i++) text[i] = (char)(i * 7 + i / 5000);
    const char *path = eye_scratch_write("large", text, SIZE);
    for (int use_mmap = 0; use_mmap < 2; use_mmap++) {
        for (size_t i = 0; i < EYE_COUNT(at); i++) {
            eye_file_forget(path);
            assert_int_equal(eye_map_open(&m, path, use_mmap, 0, &err), EYE_OK);
            eye_map_sparse(&m, at[i], 10000);
            eye_map_huge(&m, at[i]);
            eye_map_ahead(&m, at[i]);
            eye_map_ahead(&m, at[i]); /* the first goes on */
            assert_int_equal(m.ahead != NULL, use_mmap && at[i] < SIZE);
            if (i % 2 == 0) assert_memory_equal(m.p, text, SIZE);
            if (i == 1) eye_map_ahead_end(&m);
            eye_map_close(&m);
            assert_null(m.ahead);
        }
    }
    free(text);
}

static void standard_input_is_read_to_its_end(void **state) {
    struct eye_err err;
    struct eye_map m;
    int saved = dup(STDIN_FILENO);
    for (size_t max = 0; max < 40; max += 20) { /* unbounded, then one byte short */
        int fd[2];
        assert_int_equal(pipe(fd), 0);
        assert_int_equal(write(fd[1], "twenty-one bytes long", 21), 21);
        close(fd[1]);
        dup2(fd[0], STDIN_FILENO);
        close(fd[0]);
        enum eye_status st = eye_map_open_stdin(&m, max, &err);
        assert_int_equal(st, max ? EYE_E_LIMIT : EYE_OK);
        if (st != EYE_OK) continue;
        assert_int_equal(m.size, 21);
        assert_memory_equal(m.p, "twenty-one bytes long", 21);
        eye_map_close(&m);
    }
    dup2(saved, STDIN_FILENO);
    close(saved);
}

static void file_faults_give_nomem(void **state) {
    struct eye_err err;
    struct eye_map m;
    struct eye_writer w;
    const char *path = eye_scratch_write("f", "1234", 4), *out = eye_scratch_path("g");
    for (int what = 0; what < 3; what++) {
        bool failed = true;
        for (long k = 0; failed; k++) {
            eye_faulty_process(k);
            enum eye_status st = what < 2 ? eye_map_open(&m, path, what, 0, &err) : eye_writer_open(&w, out, &err);
            failed = eye_faulty_process_failed();
            eye_faulty_process(-1);
            assert_int_equal(st, failed ? EYE_E_NOMEM : EYE_OK);
            if (st == EYE_OK && what < 2) eye_map_close(&m);
            if (st == EYE_OK && what == 2) eye_writer_abort(&w);
            assert_true(k < 20);
        }
    }
    assert_false(eye_path_exists(out));
}

static void expect_file(const char *path, const void *p, size_t n) {
    struct eye_map m;
    assert_int_equal(eye_map_open(&m, path, false, 0, NULL), EYE_OK);
    assert_int_equal(m.size, n);
    if (n) assert_memory_equal(m.p, p, n);
    eye_map_close(&m);
}

static void writer_is_all_or_nothing(void **state) {
    struct eye_err err = {0};
    struct eye_writer w;
    const char *path = eye_scratch_write("old", "old", 3);
    assert_int_equal(eye_writer_open(&w, path, &err), EYE_OK);
    assert_int_equal(eye_writer_put(&w, "new", 3, &err), EYE_OK);
    char tmp[512];
    snprintf(tmp, sizeof tmp, "%s", w.tmp_path);
    assert_true(eye_path_exists(tmp));
    eye_writer_abort(&w);
    eye_writer_abort(&w);
    expect_file(path, "old", 3);
    assert_false(eye_path_exists(tmp));
    assert_int_equal(eye_writer_open(&w, path, &err), EYE_OK);
    assert_int_equal(eye_writer_put(&w, "newer", 5, &err), EYE_OK);
    assert_int_equal(eye_writer_pad(&w, 8, &err), EYE_OK);
    assert_int_equal(eye_writer_pad(&w, 8, &err), EYE_OK);
    assert_int_equal(w.pos, 8);
    expect_file(path, "old", 3);
    assert_int_equal(eye_writer_commit(&w, &err), EYE_OK);
    eye_writer_abort(&w);
    expect_file(path, "newer\0\0\0", 8);
    assert_false(eye_path_exists(tmp));
}

/* A writer that is killed leaves its file; the next one to ask takes it away, and leaves those that still have a writer. */
static void killed_writers_are_swept(void **state) {
    struct eye_err err = {0};
    struct eye_writer mine;
    char path[512], live[512], dead[600], other[512], text[64];
    int tell[2];
    snprintf(path, sizeof path, "%s", eye_scratch_path("cache.bin"));
    snprintf(other, sizeof other, "%s", eye_scratch_write("cache.bin.tmp-notes", "x", 1));
    assert_int_equal(pipe(tell), 0);
    pid_t child = fork();
    if (child == 0) {
        struct eye_writer w;
        if (eye_writer_open(&w, path, &err) != EYE_OK || eye_writer_put(&w, text, sizeof text, &err) != EYE_OK) _exit(1);
        if (write(tell[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_int_equal(read(tell[0], text, 1), 1);
    close(tell[0]);
    close(tell[1]);
    snprintf(dead, sizeof dead, "%s.tmp-%ld", path, (long)child);
    assert_int_equal(eye_writer_open(&mine, path, &err), EYE_OK);
    snprintf(live, sizeof live, "%s", mine.tmp_path);
    eye_sweep_unfinished(path);
    assert_true(eye_path_exists(dead) && eye_path_exists(live)); /* it lives */
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    eye_sweep_unfinished(eye_scratch_path("other.bin"));
    assert_true(eye_path_exists(dead)); /* another's */
    eye_sweep_unfinished(path);
    assert_true(!eye_path_exists(dead) && eye_path_exists(live) && eye_path_exists(other));
    /* A rest with our own number, from an earlier life: written over. */
    eye_writer_abort(&mine);
    FILE *f = fopen(live, "wb");
    assert_non_null(f);
    fputs("older and longer", f);
    fclose(f);
    assert_int_equal(eye_writer_open(&mine, path, &err), EYE_OK);
    assert_int_equal(eye_writer_put(&mine, "new", 3, &err), EYE_OK);
    assert_int_equal(eye_writer_commit(&mine, &err), EYE_OK);
    expect_file(path, "new", 3);
    eye_sweep_unfinished(eye_scratch_path(""));
    expect_file(path, "new", 3);
    unlink(other);
}

static void writer_keeps_links_and_devices(void **state) {
    struct eye_err err = {0};
    struct eye_writer w;
    char target[512], link_path[512];
    snprintf(target, sizeof target, "%s", eye_scratch_write("target", "x", 1));
    snprintf(link_path, sizeof link_path, "%s", eye_scratch_path("link"));
    assert_int_equal(symlink(target, link_path), 0);
    assert_int_equal(eye_writer_open(&w, link_path, &err), EYE_OK);
    assert_int_equal(eye_writer_put(&w, "through", 7, &err), EYE_OK);
    assert_int_equal(eye_writer_commit(&w, &err), EYE_OK);
    expect_file(target, "through", 7);
    assert_int_equal(readlink(link_path, target, sizeof target) > 0, 1); /* still a link */
    assert_int_equal(eye_writer_open(&w, eye_scratch_dir(), &err), EYE_E_IO);
    assert_int_equal(eye_writer_open(&w, eye_scratch_path("no/such/folder"), &err), EYE_E_IO);
    if (!eye_path_exists("/dev/full")) return;
    assert_int_equal(eye_writer_open(&w, "/dev/full", &err), EYE_OK); /* written in place, never renamed over */
    assert_null(w.tmp_path);
    static const char block[1 << 16];
    enum eye_status st = eye_writer_put(&w, block, 5, &err);
    if (st == EYE_OK) st = eye_writer_commit(&w, &err);
    assert_int_equal(st, EYE_E_IO);
    eye_writer_abort(&w);
    assert_true(eye_path_exists("/dev/full"));
}

/* ---- machine ---- */

static void cpu_mask_cuts_features(void **state) {
    char text[256];
    uint32_t all = eye_cpu_flags();
    eye_cpu_names(all, text, sizeof text);
    setenv("EYE_CPU", text, 1);
    assert_int_equal(eye_cpu_flags(), all);
    setenv("EYE_CPU", "base", 1);
    assert_int_equal(eye_cpu_flags(), 0);
    setenv("EYE_CPU", "nothing,avx2,neon", 1);
    assert_int_equal(eye_cpu_flags(), all & (EYE_CPU_AVX2 | EYE_CPU_NEON));
    unsetenv("EYE_CPU");
    assert_int_equal(eye_cpu_flags(), all);
    eye_cpu_names(0, text, sizeof text);
    assert_string_equal(text, "base");
    eye_cpu_names(EYE_CPU_AVX2 | EYE_CPU_BF16, text, sizeof text);
    assert_string_equal(text, "avx2,bf16");
    eye_cpu_names(EYE_CPU_AVX2 | EYE_CPU_BF16, text, 6); /* cut, not overrun */
    assert_string_equal(text, "avx2,");
    assert_true(eye_cpu_count() >= 1);
    assert_true(eye_peak_rss_bytes() > 100000);
    uint64_t t = eye_now_ns();
    assert_true(eye_now_ns() >= t);
}

struct tally {
    _Atomic int hits[300];
    int plain[300]; /* written by tasks, read after the run: the join must order them */
    _Atomic int bad_thread;
    int n_threads;
};

static void count_task(void *ctx, int i_task, int i_thread) {
    struct tally *t = ctx;
    atomic_fetch_add_explicit(&t->hits[i_task], 1, memory_order_relaxed);
    t->plain[i_task]++;
    if (i_thread < 0 || i_thread >= t->n_threads) atomic_store(&t->bad_thread, 1);
}

static void pool_runs_each_task_once(void **state) {
    struct eye_err err = {0};
    for (int n_threads = 1; n_threads <= 6; n_threads++) {
        struct eye_pool *pool;
        struct tally t = {.n_threads = n_threads};
        int runs[300] = {0};
        assert_int_equal(eye_pool_new(&pool, n_threads, NULL, &err), EYE_OK);
        assert_int_equal(eye_pool_n_threads(pool), n_threads);
        uint64_t before = eye_alloc_count();
        for (int round = 0; round < 400; round++) {
            int n = round < 20 ? round : (round * 37) % 300;
            if (round % 100 == 99) nanosleep(&(struct timespec){0, 500000}, NULL); /* long enough for workers to sleep */
            eye_pool_run(pool, n, count_task, &t);
            for (int i = 0; i < n; i++) runs[i]++;
            for (int i = 0; i < 300; i++) assert_int_equal(t.plain[i], runs[i]);
        }
        for (int i = 0; i < 300; i++) assert_int_equal(t.hits[i], runs[i]);
        assert_int_equal(eye_alloc_count(), before);
        assert_int_equal(t.bad_thread, 0);
        eye_pool_free(pool);
    }
    eye_pool_free(NULL);
}

static void pool_refuses_nonsense(void **state) {
    struct eye_err err;
    struct eye_pool *pool;
    assert_int_equal(eye_pool_new(&pool, 0, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_pool_new(&pool, -3, NULL, &err), EYE_E_ARG);
    assert_int_equal(eye_pool_new(&pool, 1 << 30, NULL, &err), EYE_E_ARG);
    for (long k = 0; k < 3; k++) {
        struct eye_faulty f;
        eye_faulty_init(&f, k);
        assert_int_equal(eye_pool_new(&pool, 3, &f.alloc, &err), k < 2 ? EYE_E_NOMEM : EYE_OK);
        if (k == 2) eye_pool_free(pool);
        assert_int_equal(f.n_live, 0);
    }
}

/* Expected numbers: xoshiro256** from its authors' C code as tested by rand_xoshiro; splitmix64's first output for seed 0;
 * XXH64 from the reference implementation. */
static void random_numbers_are_the_published_ones(void **state) {
    struct eye_rng r = {{1, 2, 3, 4}};
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240u};
    for (size_t i = 0; i < EYE_COUNT(want); i++) assert_true(eye_rng_u64(&r) == want[i]);
    eye_rng_seed(&r, 0);
    assert_true(r.s[0] == 0xe220a8397b1dcdafu);
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        double u = eye_rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    /* Mean of n uniforms: standard deviation sqrt(1/12/n) = 0.00091; six of them. */
    assert_true(sum / 100000 > 0.5 - 0.0055 && sum / 100000 < 0.5 + 0.0055);
    assert_true(eye_hash64("", 0, 0) == 0xef46db3751d8e999u);
    assert_true(eye_hash64("a", 1, 0) == 0xd24ec4f1a98c6e5bu);
    assert_true(eye_hash64("abc", 3, 0) == 0x44bc2cf5ad770999u);
    assert_true(eye_hash64("Nobody inspects the spammish repetition", 39, 0) == 0xfbcea83c8a378bf1u);
    assert_true(eye_hash64("abc", 3, 1) != eye_hash64("abc", 3, 0));
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_one_line),
        cmocka_unit_test(long_errors_end_in_dots),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(allocations_are_aligned_and_counted),
        cmocka_unit_test(grow_keeps_what_was_there),
        cmocka_unit_test(pages_are_zero_and_aligned),
        cmocka_unit_test(arena_gives_distinct_zeroed_blocks),
        cmocka_unit_test(buffer_grows_and_fails_sticky),
        cmocka_unit_test(strmap_finds_all),
        cmocka_unit_test(cursor_reads_little_endian),
        cmocka_unit_test(cursor_errors_stick),
        cmocka_unit_test(maps_are_the_file),
        cmocka_unit_test(advice_is_harmless), cmocka_unit_test(standard_input_is_read_to_its_end),
        cmocka_unit_test(file_faults_give_nomem),
        cmocka_unit_test(writer_is_all_or_nothing),
        cmocka_unit_test(killed_writers_are_swept),
        cmocka_unit_test(writer_keeps_links_and_devices),
        cmocka_unit_test(cpu_mask_cuts_features),
        cmocka_unit_test(pool_runs_each_task_once),
        cmocka_unit_test(pool_refuses_nonsense),
        cmocka_unit_test(random_numbers_are_the_published_ones),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, teardown);
}
