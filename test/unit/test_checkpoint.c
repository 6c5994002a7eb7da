/* Unit tests of format/checkpoint: folders, shards, GGUF files, and every way in which they can be incomplete. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/checkpoint.h"
#include "format/gguf_write.h"
#include "support/support.h"

#define ENTRY(name, begin, end) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" #begin "," #end "]}"

static const float numbers[8] = {1, 2, 3, 4, 5, 6, 7, 8};

static char folder[256];

/* A fresh folder with a config.json. */
static int begin(void **state) {
    static int n;
    snprintf(folder, sizeof folder, "m%d", n++);
    mkdir(eye_scratch_path(folder), 0777);
    char name[300];
    snprintf(name, sizeof name, "%s/config.json", folder);
    eye_scratch_write(name, "{}", 2);
    return 0;
}

static void add(const char *file, const void *p, size_t n) {
    char name[300];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    eye_scratch_write(name, p, n);
}

static void add_text(const char *file, const char *text) { add(file, text, strlen(text)); }

static void add_weights(const char *file, const char *json, size_t n_floats) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_build_safetensors(&b, json, numbers, n_floats * sizeof(float));
    add(file, b.p, b.len);
    eye_buf_clear(&b);
}

static void remove_file(const char *file) {
    char name[300];
    snprintf(name, sizeof name, "%s/%s", folder, file);
    assert_int_equal(remove(eye_scratch_path(name)), 0);
}

static void expect(enum eye_status want, const char *says) {
    struct eye_checkpoint c;
    struct eye_err err = {0};
    enum eye_status st = eye_checkpoint_open(&c, eye_scratch_path(folder), NULL, NULL, &err);
    assert_true(eye_error_is(folder, st, want, &err, says));
    if (st == EYE_OK) eye_checkpoint_close(&c);
}

static void a_folder_with_one_file(void **state) {
    static const char *const names[] = {"model.safetensors", "pytorch_model.safetensors"};
    for (size_t i = 0; i < EYE_COUNT(names); i++)
        for (int no_mmap = 0; no_mmap < 2; no_mmap++) {
            struct eye_checkpoint c;
            struct eye_err err = {0};
            const char *p;
            size_t len;
            begin(NULL);
            add_weights(names[i], "{" ENTRY("b", 8, 16) "," ENTRY("a", 0, 8) "}", 4);
            add_text("tokenizer.json", "{\"x\":1}");
            add_text("merges.txt", "");
            struct eye_checkpoint_opts opts = {.no_mmap = no_mmap};
            assert_int_equal(eye_checkpoint_open(&c, eye_scratch_path(folder), &opts, NULL, &err), EYE_OK);
            assert_true(!c.is_gguf && c.n_shards == 1 && c.data_bytes == 16);
            assert_int_equal(eye_checkpoint_n_tensors(&c), 2);
            assert_string_equal(eye_checkpoint_tensor(&c, 0)->name, "b");
            const struct eye_tensor *t = eye_checkpoint_find(&c, "b");
            assert_non_null(t);
            assert_memory_equal(t->data, numbers + 2, 8);
            assert_null(eye_checkpoint_find(&c, "c"));
            assert_true(eye_checkpoint_text(&c, "tokenizer.json", &p, &len));
            assert_int_equal(len, 7);
            assert_memory_equal(p, "{\"x\":1}", 7);
            assert_true(eye_checkpoint_text(&c, "merges.txt", &p, &len));
            assert_true(p && len == 0);
            assert_false(eye_checkpoint_text(&c, "vocab.json", &p, &len));
            assert_false(eye_checkpoint_text(&c, "../config.json", &p, &len));
            eye_checkpoint_close(&c);
            eye_checkpoint_close(&c);
        }
    assert_string_equal(eye_checkpoint_side_name(0), "config.json");
    assert_null(eye_checkpoint_side_name(1000));
}

#define INDEX(map) "{\"metadata\":{\"total_size\":24},\"weight_map\":" map "}"

static void add_shards(void) {
    add_weights("s-1.safetensors", "{" ENTRY("a", 0, 8) "," ENTRY("b", 8, 16) "}", 4);
    add_weights("s-2.safetensors", "{" ENTRY("c", 0, 8) "}", 2);
    add_text("model.safetensors.index.json",
             INDEX("{\"c\":\"s-2.safetensors\",\"a\":\"s-1.safetensors\",\"b\":\"s-1.safetensors\"}"));
}

static void shards_are_one_model(void **state) {
    struct eye_checkpoint c;
    struct eye_err err = {0};
    begin(NULL);
    add_shards();
    add_weights("unrelated.safetensors", "{" ENTRY("z", 0, 8) "}", 2); /* not in the index: not ours */
    assert_int_equal(eye_checkpoint_open(&c, eye_scratch_path(folder), NULL, NULL, &err), EYE_OK);
    assert_true(c.n_shards == 2 && c.n == 3 && c.data_bytes == 24);
    assert_memory_equal(eye_checkpoint_find(&c, "b")->data, numbers + 2, 8);
    assert_memory_equal(eye_checkpoint_find(&c, "c")->data, numbers, 8);
    assert_null(eye_checkpoint_find(&c, "z"));
    eye_checkpoint_close(&c);
}

static void bad_indexes_are_refused(void **state) {
    static const struct {
        const char *index;
        enum eye_status st;
        const char *says;
    } rows[] = {
        {"", EYE_E_CORRUPT, "nothing"},
        {"[]", EYE_E_CORRUPT, "(top level): expected an object"},
        {"{}", EYE_E_CORRUPT, "weight_map"},
        {INDEX("{}"), EYE_E_CORRUPT, "weight_map"},
        {INDEX("[\"s-1.safetensors\"]"), EYE_E_CORRUPT, "weight_map: expected an object"},
        {INDEX("{\"a\":7}"), EYE_E_CORRUPT, "weight_map.a: expected a string"},
        {INDEX("{\"a\":\"../s-1.safetensors\"}"), EYE_E_CORRUPT, "plain file name"},
        {INDEX("{\"a\":\"/etc/passwd\"}"), EYE_E_CORRUPT, "plain file name"},
        {INDEX("{\"a\":\"..\"}"), EYE_E_CORRUPT, "plain file name"},
        {INDEX("{\"a\":\"\"}"), EYE_E_CORRUPT, "plain file name"},
        {INDEX("{\"a\":\"s-1\\u0000.safetensors\"}"), EYE_E_CORRUPT, "\\u0000"},
        {INDEX("{\"a\":\"s-3.safetensors\"}"), EYE_E_IO, "shard 1 of 1 is missing"},
        {INDEX("{\"a\":\"s-1.safetensors\"}"), EYE_E_CORRUPT, "the index says nothing of it"},
        {INDEX("{\"a\":\"s-1.safetensors\",\"b\":\"s-1.safetensors\",\"c\":\"s-2.safetensors\",\"d\":\"s-2.safetensors\"}"),
         EYE_E_CORRUPT, "\"d\" is not in s-2.safetensors"},
        {INDEX("{\"a\":\"s-1.safetensors\",\"b\":\"s-2.safetensors\",\"c\":\"s-2.safetensors\"}"), EYE_E_CORRUPT,
         "\"b\" is in s-1.safetensors; the index says s-2.safetensors"},
        {INDEX("{\"a\":\"s-1.safetensors\",\"b\":\"s-1.safetensors\",\"a2\":\"copy.safetensors\"}"), EYE_E_CORRUPT,
         "another shard too"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        begin(NULL);
        add_shards();
        add_weights("copy.safetensors", "{" ENTRY("a", 0, 8) "}", 2);
        add_text("model.safetensors.index.json", rows[i].index);
        expect(rows[i].st, rows[i].says);
    }
}

static void add_torch(const char *file) { /* what torch.save wrote: a, of two floats */
    struct eye_map m;
    struct eye_err err;
    assert_int_equal(eye_map_open(&m, TEST_DATA "/golden/torch/lightning.ckpt", false, 0, &err), EYE_OK);
    add(file, m.p, m.size);
    eye_map_close(&m);
}

static void pytorch_files_are_weights_too(void **state) {
    begin(NULL);
    add_torch("consolidated.pth");
    expect(EYE_OK, "");
    add_torch("other.pt");
    expect(EYE_E_CORRUPT, "2 PyTorch files");
    add_torch("pytorch_model.bin");
    expect(EYE_OK, "");
    add_weights("model.safetensors", "{" ENTRY("b", 0, 8) "}", 2); /* preferred */
    add_text("pytorch_model.bin", "x");
    expect(EYE_OK, "");
    begin(NULL);
    add_torch("pytorch_model-00001-of-00001.bin");
    add_text("pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00001.bin\"}}");
    expect(EYE_OK, "");
    add_text("pytorch_model.bin.index.json", "{\"weight_map\":{\"b\":\"pytorch_model-00001-of-00001.bin\"}}");
    expect(EYE_E_CORRUPT, "\"a\" is in pytorch_model-00001-of-00001.bin; the index says nothing");
}

static void many_shards_are_a_limit(void **state) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_buf_adds(&b, "{\"weight_map\":{");
    for (int i = 0; i <= EYE_CHECKPOINT_MAX_SHARDS; i++) eye_buf_printf(&b, "%s\"t%d\":\"s%d\"", i ? "," : "", i, i);
    eye_buf_adds(&b, "}}");
    begin(NULL);
    add("model.safetensors.index.json", b.p, b.len);
    expect(EYE_E_LIMIT, "more than 4096 shards");
    eye_buf_clear(&b);
}

static void incomplete_folders_say_what_is_missing(void **state) {
    static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    begin(NULL);
    expect(EYE_E_IO, "no weights");
    add_text("pytorch_model.bin", "x");
    expect(EYE_E_UNSUPPORTED, "PyTorch before 1.6");
    begin(NULL);
    add_text("model.gguf", "x");
    expect(EYE_E_ARG, "name its .gguf file");
    begin(NULL);
    add_weights("a.safetensors", "{" ENTRY("a", 0, 8) "}", 2);
    add_weights("b.safetensors", "{" ENTRY("b", 0, 8) "}", 2);
    expect(EYE_E_CORRUPT, "2 *.safetensors files");
    add_text("model.safetensors", lfs);
    expect(EYE_E_CORRUPT, "git lfs pull");
    add_text("model.safetensors", "");
    expect(EYE_E_CORRUPT, "empty");
    add_weights("model.safetensors", "{" ENTRY("a", 0, 8) "}", 2);
    expect(EYE_OK, "");
    add_text("config.json", lfs);
    expect(EYE_E_CORRUPT, "git lfs pull");
    add_text("config.json", "");
    expect(EYE_E_CORRUPT, "empty");
    remove_file("config.json");
    expect(EYE_E_IO, "no config.json");
    begin(NULL);
    char name[300];
    snprintf(name, sizeof name, "%s/model.safetensors", folder);
    mkdir(eye_scratch_path(name), 0777);
    expect(EYE_E_IO, "expected a file, got a folder");
}

static void wrong_paths_say_what_they_are(void **state) {
    struct eye_checkpoint c;
    struct eye_err err = {0};
    enum eye_status st = eye_checkpoint_open(&c, eye_scratch_path("none"), NULL, NULL, &err);
    assert_true(eye_error_is("none", st, EYE_E_IO, &err, "no such file"));
    st = eye_checkpoint_open(&c, eye_scratch_write("x.safetensors", "x", 1), NULL, NULL, &err);
    assert_true(eye_error_is("safetensors", st, EYE_E_ARG, &err, "name the folder"));
    st = eye_checkpoint_open(&c, eye_scratch_write("x.txt", "hello", 5), NULL, NULL, &err);
    assert_true(eye_error_is("text", st, EYE_E_CORRUPT, &err, "expected a GGUF file"));
    st = eye_checkpoint_open(&c, eye_scratch_write("x.gguf", "", 0), NULL, NULL, &err);
    assert_true(eye_error_is("empty", st, EYE_E_CORRUPT, &err, "empty"));
}

static const char *write_gguf(void) {
    struct eye_gguf_writer w;
    struct eye_tensor t = {numbers, EYE_F32, 2, {2, 4}};
    const char *path = eye_scratch_path("model.gguf");
    eye_gguf_writer_init(&w, NULL);
    assert_int_equal(eye_gguf_put_text(&w, "eyelet.file.config.json", "{\"a\":1}", NULL), EYE_OK);
    assert_int_equal(eye_gguf_put_bool(&w, "eyelet.file.vocab.json", true, NULL), EYE_OK); /* of another type: not there */
    assert_int_equal(eye_gguf_add_tensor(&w, "w", &t, NULL, NULL, NULL), EYE_OK);
    assert_int_equal(eye_gguf_write(&w, path, NULL), EYE_OK);
    eye_gguf_writer_clear(&w);
    return path;
}

static void a_gguf_is_a_folder_in_one_file(void **state) {
    struct eye_checkpoint c;
    struct eye_err err = {0};
    const char *p, *path = write_gguf();
    size_t len;
    assert_int_equal(eye_checkpoint_open(&c, path, NULL, NULL, &err), EYE_OK);
    assert_true(c.is_gguf && c.n_shards == 1 && c.n == 1 && c.data_bytes == 32);
    assert_memory_equal(eye_checkpoint_find(&c, "w")->data, numbers, 32);
    assert_true(eye_checkpoint_text(&c, "config.json", &p, &len));
    assert_int_equal(len, 7);
    assert_memory_equal(p, "{\"a\":1}", 7);
    assert_false(eye_checkpoint_text(&c, "vocab.json", &p, &len));
    assert_false(eye_checkpoint_text(&c, "tokenizer.json", &p, &len));
    eye_checkpoint_close(&c);
}

static void faults_leak_nothing(void **state) {
    char path[3][512];
    begin(NULL);
    add_weights("model.safetensors", "{" ENTRY("a", 0, 8) "}", 2);
    snprintf(path[0], sizeof path[0], "%s", eye_scratch_path(folder));
    begin(NULL);
    add_shards();
    snprintf(path[1], sizeof path[1], "%s", eye_scratch_path(folder));
    snprintf(path[2], sizeof path[2], "%s", write_gguf());
    for (int i = 0; i < 6; i++) {
        bool failed = true, process = i >= 3;
        for (long k = 0; failed; k++) {
            struct eye_faulty f;
            struct eye_checkpoint c;
            struct eye_err err = {0};
            eye_faulty_init(&f, process ? -1 : k);
            if (process) eye_faulty_process(k);
            enum eye_status st = eye_checkpoint_open(&c, path[i % 3], NULL, &f.alloc, &err);
            failed = process ? eye_faulty_process_failed() : atomic_load(&f.failed);
            eye_faulty_process(-1);
            if (st == EYE_OK) eye_checkpoint_close(&c);
            assert_int_equal(st, failed ? EYE_E_NOMEM : EYE_OK);
            assert_int_equal(f.n_live, 0);
            assert_true(k < 200);
        }
    }
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_with_one_file),
        cmocka_unit_test(shards_are_one_model),
        cmocka_unit_test(bad_indexes_are_refused),
        cmocka_unit_test(pytorch_files_are_weights_too),
        cmocka_unit_test(many_shards_are_a_limit),
        cmocka_unit_test(incomplete_folders_say_what_is_missing),
        cmocka_unit_test(wrong_paths_say_what_they_are),
        cmocka_unit_test(a_gguf_is_a_folder_in_one_file),
        cmocka_unit_test(faults_leak_nothing),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, teardown);
}
