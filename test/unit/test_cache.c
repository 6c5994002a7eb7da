/* What is kept on disk: a hit gives what a miss gives, bit for bit; files that are damaged, cut off, hostile or of another
 * model are refused and change nothing; a writer that is killed leaves the old file; memory that runs out. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "answer_help.h"
#include "base/sys.h"
#include "eyelet/eyelet.h"
#include "session/state.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

static char folder[512], foreign[512];

static struct eye_model *open_model(const char *path, struct eye_model_opts opts) {
    struct eye_model *m = NULL;
    struct eye_err err = {0};
    CALL(eye_model_open(path, &opts, &m, &err));
    return m;
}

static struct eye_session *open_session(struct eye_model *m, int32_t n_ctx) {
    struct eye_session *s = NULL;
    struct eye_err err = {0};
    struct eye_session_opts o = {.n_ctx = n_ctx};
    CALL(eye_session_new(m, &o, &s, &err));
    return s;
}

static struct eye_image picture(uint8_t shade) {
    static uint8_t rgb[4][31 * 17 * 3];
    struct eye_image img;
    struct eye_err err = {0};
    uint8_t *p = rgb[shade % 4];
    for (int i = 0; i < 31 * 17 * 3; i++) p[i] = (uint8_t)(i * 37 + i / 29 * 11 + shade);
    CALL(eye_image_wrap(&img, p, 31, 17, 0, &err));
    return img;
}

/* ---- sha-256: FIPS 180-4's examples, and every way of cutting ---- */

static void test_sha256(void **state) {
    (void)state;
    static const uint8_t abc[32] = {
        0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
        0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    static const uint8_t two_blocks[32] = {0x24, 0x8d, 0x6a, 0x61, 0xd2, 0x06, 0x38, 0xb8, 0xe5, 0xc0, 0x26,
                                           0x93, 0x0c, 0x3e, 0x60, 0x39, 0xa3, 0x3c, 0xe4, 0x59, 0x64, 0xff,
                                           0x21, 0x67, 0xf6, 0xec, 0xed, 0xd4, 0x19, 0xdb, 0x06, 0xc1};
    static const uint8_t nothing[32] = {
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
        0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55};
    const char *text = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
    struct eye_sha256 h;
    uint8_t out[32];
    eye_sha256_init(&h);
    eye_sha256_end(&h, out);
    assert_memory_equal(out, nothing, 32);
    eye_sha256_init(&h);
    eye_sha256_add(&h, "abc", 3);
    eye_sha256_end(&h, out);
    assert_memory_equal(out, abc, 32);
    for (size_t cut = 0; cut <= 56; cut++) {
        eye_sha256_init(&h);
        eye_sha256_add(&h, text, cut);
        eye_sha256_add(&h, text + cut, 56 - cut);
        eye_sha256_end(&h, out);
        assert_memory_equal(out, two_blocks, 32);
    }
}

/* ---- hit = miss ---- */

/* A prefix from a file against the whole question at once, for every KV type, another context size, cuts inside a word. */
static void test_prefix_is_the_whole_question(void **state) {
    (void)state;
    static const enum eye_cache_type types[] = {EYE_CACHE_F32, EYE_CACHE_F16, EYE_CACHE_I8};
    static const char *const cut[][2] = {{NULL, NULL}, {NULL, "What is it?"}, {"What is", " it?"}, {"Wha", "t is it?"},
                                          {"What is it?", NULL}};
    const char *path = eye_scratch_path("prefix.bin");
    struct eye_err err = {0};
    struct eye_image img[2] = {picture(0), picture(1)};
    for (size_t t = 0; t < EYE_COUNT(types); t++) {
        struct eye_model *m = open_model(folder, (struct eye_model_opts){.n_ctx = 300, .cache_type = types[t]});
        struct eye_session *a = open_session(m, 0), *b = open_session(m, 257);
        for (size_t i = 0; i < EYE_COUNT(cut); i++) {
            char whole[64];
            snprintf(whole, sizeof whole, "%s%s", cut[i][0] ? cut[i][0] : "", cut[i][1] ? cut[i][1] : "");
            size_t n_images = 1 + i % 2;
            struct eye_query first = {.text = cut[i][0], .images = img, .n_images = n_images}, rest = {.text = cut[i][1]};
            struct eye_query all = {.text = *whole ? whole : NULL, .images = img, .n_images = n_images};
            eye_session_reset(a);
            struct answer miss = ask(a, all);
            assert_int_equal(miss.n_cached, 0);
            CALL(eye_session_prefix(a, &first, &err));
            CALL(eye_session_save(a, path, &err));
            struct answer memory = ask(a, rest);
            CALL(eye_session_load(b, path, &err));
            struct answer hit = ask(b, rest);
            assert_same(&miss, &memory);
            assert_same(&miss, &hit);
            assert_true(hit.n_cached >= n_images * (size_t)eye_model_image_tokens(m));
            assert_int_equal(hit.vision_us, 0);
            CALL(eye_session_load(b, path, &err)); /* used up, and back again */
            hit = ask(b, rest);
            assert_same(&miss, &hit);
        }
        eye_session_free(a);
        eye_session_free(b);
        eye_model_close(m);
    }
}

/* A conversation that was saved goes on as one that was not: the pending token too. */
static void test_conversation_goes_on(void **state) {
    (void)state;
    const char *path = eye_scratch_path("talk.bin");
    struct eye_err err = {0};
    struct eye_image img = picture(2);
    struct eye_model *m = open_model(folder, (struct eye_model_opts){.n_ctx = 400});
    struct eye_session *a = open_session(m, 0), *b = open_session(m, 0);
    struct eye_query one = {.text = "One?", .images = &img, .n_images = 1, .next_turn = true};
    struct eye_query two = {.text = "Two?", .next_turn = true};
    (void)ask(a, one);
    CALL(eye_session_save(a, path, &err));
    int32_t n_past = eye_session_n_past(a);
    struct answer there = ask(a, two);
    CALL(eye_session_load(b, path, &err));
    assert_int_equal(eye_session_n_past(b), n_past);
    struct answer here = ask(b, two);
    assert_same(&there, &here);
    /* The next turn begins by closing the answer, without the template's system turn. */
    eye_session_reset(b);
    struct answer alone = ask(b, two);
    assert_true(alone.n_prompt > there.n_prompt);
    eye_session_free(a);
    eye_session_free(b);
    eye_model_close(m);
}

static size_t folder_bytes(const char *path, size_t *n_files) {
    size_t sum = 0;
    DIR *dir = opendir(path);
    assert_non_null(dir);
    *n_files = 0;
    for (const struct dirent *d; (d = readdir(dir));) {
        struct stat st;
        if (d->d_name[0] == '.') continue;
        assert_int_equal(fstatat(dirfd(dir), d->d_name, &st, 0), 0);
        sum += (size_t)st.st_size;
        ++*n_files;
    }
    closedir(dir);
    return sum;
}

static void count_warning(void *ctx, enum eye_log_level level, const char *id, const char *text) {
    (void)text;
    if (level == EYE_LOG_WARNING && strncmp(id, "cache.", 6) == 0) ++*(int *)ctx;
}

/* Damages the only file there. */
static void damage(const char *path) {
    DIR *dir = opendir(path);
    char file[1024] = "";
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));)
        if (d->d_name[0] != '.') snprintf(file, sizeof file, "%s/%.200s", path, d->d_name);
    closedir(dir);
    FILE *f = fopen(file, "r+b");
    assert_non_null(f);
    fseek(f, 200, SEEK_SET);
    fputs("damage", f);
    fclose(f);
}

static void test_image_rows(void **state) {
    (void)state;
    char dir[512];
    int n_warnings = 0;
    size_t n_files;
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("rows"));
    struct eye_model *plain = open_model(folder, (struct eye_model_opts){.n_ctx = 300});
    struct eye_model_opts opts = {.n_ctx = 300, .cache_dir = dir, .log = count_warning, .log_ctx = &n_warnings};
    struct eye_model *m = open_model(folder, opts);
    struct eye_session *a = open_session(plain, 0), *b = open_session(m, 0);
    struct eye_image img = picture(0), other = picture(1);
    struct eye_query q = {.text = "Well?", .images = &img, .n_images = 1};
    struct answer miss = ask(a, q), first = ask(b, q);
    eye_session_reset(b);
    struct answer hit = ask(b, q);
    assert_same(&miss, &first);
    assert_same(&miss, &hit);
    assert_true(first.vision_us > 0);
    assert_int_equal(hit.vision_us, 0);
    damage(dir);
    eye_session_reset(b);
    struct answer again = ask(b, q); /* refused, said, made anew */
    assert_same(&miss, &again);
    assert_true(again.vision_us > 0);
    assert_int_equal(n_warnings, 1);
    size_t one = folder_bytes(dir, &n_files);
    assert_int_equal(n_files, 1);
    eye_session_free(b);
    eye_model_close(m);
    /* Room for one: the one used last stays. */
    m = open_model(folder, (struct eye_model_opts){.n_ctx = 300, .cache_dir = dir, .cache_bytes = one});
    b = open_session(m, 0);
    q.images = &other;
    (void)ask(b, q);
    assert_int_equal(folder_bytes(dir, &n_files), one);
    assert_int_equal(n_files, 1);
    eye_session_reset(b);
    assert_int_equal(ask(b, q).vision_us, 0);
    eye_session_free(a);
    eye_session_free(b);
    eye_model_close(m);
    eye_model_close(plain);
}

/* ---- refusals ---- */

static void write_prefix(const char *path, const char *text) {
    struct eye_err err = {0};
    struct eye_model *m = open_model(folder, (struct eye_model_opts){.n_ctx = 300});
    struct eye_session *s = open_session(m, 0);
    struct eye_image img = picture(0);
    struct eye_query q = {.text = text, .images = &img, .n_images = 1};
    CALL(eye_session_prefix(s, &q, &err));
    CALL(eye_session_save(s, path, &err));
    eye_session_free(s);
    eye_model_close(m);
}

static void refused_by(const char *model, struct eye_model_opts opts, int32_t n_ctx, const char *path, enum eye_status want,
                       const char *says) {
    struct eye_model *m = open_model(model, opts);
    struct eye_session *s = open_session(m, n_ctx);
    struct eye_err err = {0};
    enum eye_status st = eye_session_load(s, path, &err);
    assert_true(eye_error_is(says, st, want, &err, says));
    assert_int_equal(eye_session_n_past(s), 0);
    eye_session_free(s);
    eye_model_close(m);
}

static void test_foreign_files(void **state) {
    (void)state;
    const char *path = eye_scratch_path("own.bin"), *other = "made with another model";
    write_prefix(path, "Look: ");
    refused_by(foreign, (struct eye_model_opts){.n_ctx = 300}, 0, path, EYE_E_ARG, other);
    refused_by(folder, (struct eye_model_opts){.n_ctx = 300, .decoder_type = EYE_WEIGHT_Q8_0}, 0, path, EYE_E_ARG, other);
    refused_by(folder, (struct eye_model_opts){.n_ctx = 300, .vision_type = EYE_WEIGHT_BF16}, 0, path, EYE_E_ARG, other);
    refused_by(folder, (struct eye_model_opts){.n_ctx = 300, .cache_type = EYE_CACHE_I8}, 0, path, EYE_E_ARG, other);
    if (eye_cpu_flags())
        refused_by(folder, (struct eye_model_opts){.n_ctx = 300, .cpu_features = "base"}, 0, path, EYE_E_ARG, other);
    refused_by(folder, (struct eye_model_opts){.n_ctx = 300}, 20, path, EYE_E_LIMIT, "do not fit a context of 20");
    refused_by(folder, (struct eye_model_opts){.n_ctx = 300}, 0, eye_scratch_path("none.bin"), EYE_E_IO, "none.bin");
    struct eye_model *m = open_model(folder, (struct eye_model_opts){.n_ctx = 300});
    struct eye_session *s = open_session(m, 0);
    struct eye_err err = {0};
    struct eye_image img = picture(1);
    assert_int_equal(eye_session_save(s, path, &err), EYE_E_ARG); /* nothing in it */
    assert_int_equal(eye_session_prefix(s, &(struct eye_query){.text = ""}, &err), EYE_E_ARG);
    CALL(eye_session_load(s, path, &err));
    struct eye_result r;
    struct eye_query more = {.text = "x", .images = &img, .n_images = 1};
    assert_int_equal(eye_session_generate(s, &more, NULL, &r, &err), EYE_E_ARG);
    eye_session_free(s);
    eye_model_close(m);
}

/* The container alone. */
static volatile uint64_t eye_checked; /* so that reading is not optimised away */
static enum eye_status parse(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_state s;
    (void)alloc;
    EYE_TRY(eye_state_parse(&s, p, n, "state", err));
    uint64_t sum = 0;
    for (uint32_t i = 0; s.ids && i < s.n; i++) sum += (uint64_t)eye_state_id(&s, i);
    for (uint64_t i = 0; i < s.data_bytes; i++) sum += s.data[i];
    eye_checked += sum;
    return EYE_OK;
}

static void set_le(uint8_t *p, uint64_t v, size_t n) {
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* The checksum made right again, as somebody who wants to harm would. */
static void seal(uint8_t *p, size_t n) {
    uint64_t sum = 0;
    for (size_t at = 0; at < n - 8; at += 4096) sum = eye_hash64(p + at, EYE_MIN(4096, n - 8 - at), sum);
    set_le(p + n - 8, sum, 8);
}

static void test_hostile_bytes(void **state) {
    (void)state;
    const char *path = eye_scratch_path("hostile.bin");
    struct eye_err err = {0};
    struct eye_map map;
    write_prefix(path, "Look: ");
    CALL(eye_map_open(&map, path, false, 0, &err));
    uint8_t *copy = malloc(map.size);
    assert_non_null(copy);
    assert_true(eye_refuses_truncations(parse, map.p, map.size));
    assert_true(eye_survives_mutations(parse, map.p, map.size, 11, 20000));
    for (size_t i = 0; i < map.size; i += i < 130 ? 1 : 97) { /* one bit anywhere */
        memcpy(copy, map.p, map.size);
        copy[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_not_equal(parse(copy, map.size, NULL, &err), EYE_OK);
    }
    struct eye_model *m = open_model(folder, (struct eye_model_opts){.n_ctx = 300});
    struct eye_session *s = open_session(m, 0);
    struct eye_query q = {.text = "A question", .next_turn = true};
    (void)ask(s, q);
    static const struct { size_t at, n; uint64_t v; } change[] = {
        {8, 4, 2}, {12, 4, 1}, {12, 4, 7}, {80, 4, 0}, {80, 4, UINT32_MAX}, {80, 4, 1u << 24}, {80, 4, 53}, {84, 4, 5},
        {88, 4, 0}, {88, 4, 64}, {92, 4, 2}, {92, 4, UINT32_MAX}, {96, 4, UINT32_MAX}, {96, 4, 0}, {100, 4, 1},
        {104, 8, UINT64_MAX}, {104, 8, 0}, {112, 4, INT32_MAX}, {112, 4, (uint32_t)-2}, {112, 4, (uint32_t)-1},
    };
    for (size_t i = 0; i < EYE_COUNT(change); i++) { /* with a checksum that is right */
        memcpy(copy, map.p, map.size);
        set_le(copy + change[i].at, change[i].v, change[i].n);
        seal(copy, map.size);
        const char *bad = eye_scratch_write("bad.bin", copy, map.size);
        err = (struct eye_err){0};
        if (eye_session_load(s, bad, &err) == EYE_OK) fail_msg("change %zu was taken", i);
        assert_true(err.text[0] && !strchr(err.text, '\n'));
    }
    memcpy(copy, map.p, map.size); /* all of the data as NaN: an answer of any kind, no crash */
    memset(copy + map.size - 8 - 4096, 0xff, 4096);
    seal(copy, map.size);
    struct eye_session *b = open_session(m, 0);
    CALL(eye_session_load(b, eye_scratch_write("nan.bin", copy, map.size), &err));
    (void)ask(b, (struct eye_query){.text = "Well?"});
    eye_session_reset(b);
    (void)ask(b, q);
    struct answer next = ask(b, q), after = ask(s, q); /* refusals left the context as it was */
    assert_same(&next, &after);
    free(copy);
    eye_map_close(&map);
    eye_session_free(s);
    eye_session_free(b);
    eye_model_close(m);
}

/* ---- writers that die ---- */

static void test_killed_while_writing(void **state) {
    (void)state;
    const char *path = eye_scratch_path("kept.bin");
    struct eye_err err = {0};
    write_prefix(path, "Look: ");
    struct eye_map before, after;
    CALL(eye_map_open(&before, path, false, 0, &err));
    for (size_t n = 0; n < 40000; n += 13333) { /* after the header, in the middle, all but the commit */
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            static uint8_t junk[40000];
            struct eye_state s = {.kind = EYE_STATE_IMAGE, .n = 1, .pending = -1, .data_bytes = sizeof junk};
            struct eye_state_out out;
            if (eye_state_open(&out, path, &s, NULL) == EYE_OK && eye_state_put(&out, junk, n, NULL) == EYE_OK)
                kill(getpid(), SIGKILL);
            _exit(1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        CALL(eye_map_open(&after, path, false, 0, &err));
        assert_int_equal(after.size, before.size);
        assert_memory_equal(after.p, before.p, before.size);
        eye_map_close(&after);
    }
    eye_map_close(&before);
}

static enum eye_status whole_way(const struct eye_alloc *alloc, const char *path, struct eye_err *err) {
    struct eye_model_opts o = {.n_ctx = 300, .alloc = alloc, .n_threads = 1};
    struct eye_image img = picture(0);
    struct eye_query q = {.text = "Look: ", .images = &img, .n_images = 1}, rest = {.text = "well?"};
    struct eye_generate_opts g = {.n_predict = 2, .ignore_eos = true};
    struct eye_model *m = NULL;
    struct eye_session *s = NULL;
    struct eye_result r;
    enum eye_status st = eye_model_open(folder, &o, &m, err);
    if (st == EYE_OK) st = eye_session_new(m, NULL, &s, err);
    if (st == EYE_OK) st = eye_session_prefix(s, &q, err);
    if (st == EYE_OK) st = eye_session_save(s, path, err);
    if (st == EYE_OK) st = eye_session_load(s, path, err);
    if (st == EYE_OK) st = eye_session_generate(s, &rest, &g, &r, err);
    eye_session_free(s);
    eye_model_close(m);
    return st;
}

static void test_memory_runs_out(void **state) {
    (void)state;
    struct eye_faulty f;
    struct eye_err err;
    char path[512];
    snprintf(path, sizeof path, "%s", eye_scratch_path("faults.bin"));
    for (long n_ok = 0;; n_ok += 1 + n_ok / 16) {
        eye_faulty_init(&f, n_ok);
        enum eye_status st = whole_way(&f.alloc, path, &err);
        assert_int_equal(f.n_live, 0);
        if (st == EYE_OK) break;
        assert_int_equal(st, EYE_E_NOMEM);
    }
}

static int make_one(const char *name, uint64_t seed, char out[512]) {
    struct eye_err err = {0};
    struct eye_mk_opts o = {.size = eye_mk_size_find("tiny"), .format = EYE_MK_HF, .dtype = EYE_F32, .out = out};
    o.seed = o.size->seed + seed;
    snprintf(out, 512, "%s", eye_scratch_path(name));
    if (eye_make_checkpoint(&o, &err) == EYE_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

static int make(void **state) {
    (void)state;
    return make_one("model", 0, folder) || make_one("foreign", 1, foreign);
}

static int unmake(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256),
        cmocka_unit_test(test_prefix_is_the_whole_question),
        cmocka_unit_test(test_conversation_goes_on),
        cmocka_unit_test(test_image_rows),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_hostile_bytes),
        cmocka_unit_test(test_killed_while_writing),
        cmocka_unit_test(test_memory_runs_out),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
