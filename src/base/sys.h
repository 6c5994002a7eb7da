/* base/sys: files, clock, CPU features, threads, random numbers, hashes: the operating system and machine, in one place. */
#ifndef EYE_SYS_H
#define EYE_SYS_H

#include "base/base.h"

/* ---- files ---- */
struct eye_map { /* a whole file, read-only */
    const uint8_t *p;
    size_t size;
    bool mapped; /* mmap, else read into memory */
    char *path;  /* owned, for error texts */
    struct eye_map_ahead *ahead; /* owned, NULL = nothing is read ahead */
};
/* use_mmap false reads into memory. An empty file is p = NULL, size 0. max_bytes 0 = no bound, else LIMIT above it. */
EYE_MUST_CHECK enum eye_status eye_map_open(struct eye_map *m, const char *path, bool use_mmap, size_t max_bytes,
                                            struct eye_err *err);
/* "-" reads standard input. */
EYE_MUST_CHECK enum eye_status eye_map_open_stdin(struct eye_map *m, size_t max_bytes, struct eye_err *err);
void eye_map_close(struct eye_map *m);
/* How a mapping will be read (advice.c): no promise, and nothing for what was read into memory. */
/* From `at` on all of it, again and again: asks for huge pages, which the page cache has for what is read from now on (Linux
 * 6.16 on ext4, earlier on xfs); and for what a file has in the page cache to be forgotten, so that it will be read that way. */
void eye_map_huge(const struct eye_map *m, size_t at);
void eye_file_forget(const char *path);
/* Rows here and there: a page that is touched brings no others from the disk. */
void eye_map_sparse(const struct eye_map *m, size_t at, size_t bytes);
/* From `at` to the end in this order, soon: a thread of its own has the pages read, while the caller does other things, until
 * they are there or the mapping is closed (or _end is called, which may be called again). */
void eye_map_ahead(struct eye_map *m, size_t at);
void eye_map_ahead_end(struct eye_map *m);
bool eye_path_is_dir(const char *path);
bool eye_path_exists(const char *path);
/* Folder of the running program, without a slash at its end. False = the system does not say, or cap is too small. */
bool eye_program_dir(char *out, size_t cap);
/* Size and time of the last change of a file: what tells a file that changed. False = it is not there. */
bool eye_path_stamp(const char *path, uint64_t *size, int64_t *mtime_ns);

/* The path without symbolic links, "." and "..", from the root on; false = it is not there, or longer than cap. */
#define EYE_PATH_MAX 4096
bool eye_path_real(const char *path, char *out, size_t cap);

/* Atomic writer: bytes go to "PATH.tmp-PID", commit fsyncs and renames; abort (or a crash) leaves the old file. */
struct eye_writer {
    void *file; /* FILE * */
    char *path, *tmp_path;
    uint64_t pos;
};
EYE_MUST_CHECK enum eye_status eye_writer_open(struct eye_writer *w, const char *path, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_writer_put(struct eye_writer *w, const void *p, size_t n, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_writer_pad(struct eye_writer *w, size_t align, struct eye_err *err); /* zeros */
EYE_MUST_CHECK enum eye_status eye_writer_commit(struct eye_writer *w, struct eye_err *err);
void eye_writer_abort(struct eye_writer *w); /* fine after commit, and twice */
/* Removes what writers of path, or of longer names that begin like it, left behind when they were killed ("DIR/": of any file
 * there). Files that are being written stay. */
void eye_sweep_unfinished(const char *path);

/* ---- clock, memory ---- */
uint64_t eye_now_ns(void);           /* monotonic */
uint64_t eye_peak_rss_bytes(void);   /* of this process so far */

/* ---- CPU ---- */
enum {
    EYE_CPU_AVX2 = 1u << 0,      /* AVX2 + FMA + F16C */
    EYE_CPU_AVXVNNI = 1u << 1,
    EYE_CPU_AVX512 = 1u << 2,    /* F + BW + VL + DQ */
    EYE_CPU_AVX512VNNI = 1u << 3,
    EYE_CPU_AVX512BF16 = 1u << 4,
    EYE_CPU_NEON = 1u << 8,
    EYE_CPU_DOTPROD = 1u << 9,
    EYE_CPU_I8MM = 1u << 10,
    EYE_CPU_BF16 = 1u << 11      /* Arm BF16 */
};
/* What CPU and operating system both support, cut by EYE_CPU=LIST (names as eye_cpu_names writes them; "base" = nothing). */
uint32_t eye_cpu_flags(void);
uint32_t eye_cpu_detected(void); /* the same without the cut */
void eye_cpu_names(uint32_t flags, char *out, size_t cap); /* "avx2,avx512,..." or "base" */
bool eye_cpu_parse(const char *names, uint32_t *flags); /* the way back; false = a name is not known (the others count) */
int eye_cpu_count(void); /* processors this process may use (affinity, cgroup quota) */

/* ---- thread pool: fork-join over task indices ---- */
struct eye_pool;
typedef void eye_task_fn(void *ctx, int i_task, int i_thread);
/* n_threads >= 1 counts the caller. */
EYE_MUST_CHECK enum eye_status eye_pool_new(struct eye_pool **pool, int n_threads, const struct eye_alloc *alloc,
                                            struct eye_err *err);
void eye_pool_free(struct eye_pool *pool);
int eye_pool_n_threads(const struct eye_pool *pool);
/* Runs fn for 0 <= i_task < n_tasks, handed out dynamically, and returns when all are done. i_thread < n_threads is the
 * caller's (0) or a worker's number: index of per-thread scratch. No allocation, no lock on the way. Workers spin briefly,
 * then sleep. One run at a time. A thread begins with the tasks of its part, eye_part(n_tasks, n_threads, thread). */
void eye_pool_run(struct eye_pool *pool, int n_tasks, eye_task_fn *fn, void *ctx);
/* Where part i of n items in equal parts begins. Runs that cut the same rows like this give a thread the same ones: it finds in
 * its own cache what it made in the run before. */
static inline size_t eye_part(size_t n, size_t parts, size_t i) { return eye_ceil_div(n * i, parts); }

/* ---- random numbers and hashes ---- */
struct eye_rng { uint64_t s[4]; }; /* xoshiro256**, seeded through splitmix64 */
void eye_rng_seed(struct eye_rng *r, uint64_t seed);
uint64_t eye_rng_u64(struct eye_rng *r);
double eye_rng_unit(struct eye_rng *r); /* [0,1), 53 bits */
uint64_t eye_hash64(const void *p, size_t n, uint64_t seed);

#define EYE_SHA256_BYTES 32
struct eye_sha256 {
    uint32_t h[8];
    uint64_t n; /* bytes so far */
    uint8_t held[64];
};
void eye_sha256_init(struct eye_sha256 *s);
void eye_sha256_add(struct eye_sha256 *s, const void *p, size_t n);
void eye_sha256_end(struct eye_sha256 *s, uint8_t out[EYE_SHA256_BYTES]); /* init it again before the next use */

#endif
