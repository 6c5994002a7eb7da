/* Must-fail files: one for each published vulnerability of llama.cpp, ollama and llama-cpp-python in reading models,
 * tokenizers and templates, made here and opened as a user would. Each is refused with one line that says what is wrong.
 * Vision projectors: test_mmproj.c; what else templates try: test_jinja.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "eyelet/eyelet.h"
#include "format/gguf_write.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "text/tokenizer.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

/* Opens the bytes as a model, and clears them. */
static void refused(const char *name, struct eye_buf *b, enum eye_status want, const char *says) {
    struct eye_model *m = NULL;
    eye_scratch_write("cve.gguf", b->p, b->len);
    enum eye_status st = eye_model_open(eye_scratch_path("cve.gguf"), NULL, &m, &err);
    assert_true(eye_error_is(name, st, want, &err, says));
    assert_null(strchr(err.text, '\n'));
    eye_buf_clear(b);
}

/* ---- headers, byte by byte ---- */

static void head(struct eye_buf *b, uint64_t n_tensors, uint64_t n_kv) {
    eye_buf_init(b, NULL);
    eye_buf_adds(b, "GGUF");
    eye_build_le(b, 3, 4);
    eye_build_le(b, n_tensors, 8);
    eye_build_le(b, n_kv, 8);
}

static void text(struct eye_buf *b, const char *s) {
    eye_build_le(b, strlen(s), 8);
    eye_buf_adds(b, s);
}

static void tensor(struct eye_buf *b, const char *name, uint64_t rows, uint64_t columns, uint64_t offset) {
    text(b, name);
    eye_build_le(b, 2, 4);
    eye_build_le(b, columns, 8);
    eye_build_le(b, rows, 8);
    eye_build_le(b, 0, 4); /* f32 */
    eye_build_le(b, offset, 8);
}

/* Some bytes more: the number announced is believable, what follows is not. */
static void rest(struct eye_buf *b) {
    for (int i = 0; i < 16; i++) eye_build_le(b, 0, 8);
}

static void gguf_headers(void **state) {
    struct eye_buf b;
    head(&b, UINT64_MAX, 0);
    refused("CVE-2024-21802: number of tensors", &b, EYE_E_CORRUPT, "tensors");
    head(&b, 0, UINT64_MAX / 8);
    refused("CVE-2024-21836: number of keys", &b, EYE_E_CORRUPT, "keys");
    head(&b, 0, 1);
    text(&b, "k");
    eye_build_le(&b, EYE_GGUF_ARRAY, 4);
    eye_build_le(&b, EYE_GGUF_STRING, 4);
    eye_build_le(&b, ((uint64_t)1 << 60) + 1, 8);
    refused("CVE-2024-21825: number of strings times their size wraps", &b, EYE_E_CORRUPT, "do not fit");
    head(&b, 0, 1);
    eye_build_le(&b, UINT64_MAX, 8);
    rest(&b);
    refused("CVE-2024-23496: length of a string, plus one", &b, EYE_E_CORRUPT, "past the end");
    head(&b, 1, 0);
    text(&b, "t");
    eye_build_le(&b, UINT32_MAX, 4);
    rest(&b);
    refused("CVE-2024-23605: number of dimensions", &b, EYE_E_CORRUPT, "dimensions");
    head(&b, 0, 3);
    text(&b, "general.architecture");
    eye_build_le(&b, EYE_GGUF_STRING, 4);
    refused("CVE-2024-32878: the end amid the keys", &b, EYE_E_CORRUPT, "");
    head(&b, 0, 1);
    text(&b, "");
    eye_build_le(&b, EYE_GGUF_U8, 4);
    eye_build_le(&b, 1, 1);
    rest(&b);
    refused("llama.cpp #24884: an empty key", &b, EYE_E_CORRUPT, "expected 1 to 65535 bytes");
}

static void gguf_tensors(void **state) {
    struct eye_buf b;
    head(&b, 2, 0);
    tensor(&b, "a", (uint64_t)1 << 31, (uint64_t)1 << 30, 0);
    tensor(&b, "b", (uint64_t)1 << 31, (uint64_t)1 << 30, (uint64_t)1 << 63);
    refused("CVE-2025-53630, CVE-2026-27940: sizes whose sum wraps", &b, EYE_E_CORRUPT, "");
    head(&b, 1, 0);
    tensor(&b, "a", 1 << 20, 1 << 10, 0);
    for (int i = 0; i < 256; i++) eye_build_le(&b, 0, 8);
    refused("CVE-2026-7482: a tensor longer than its file", &b, EYE_E_CORRUPT, "truncated");
    head(&b, 1, 0);
    tensor(&b, "a", 0, 4, 0);
    refused("llama.cpp PR 20874: a dimension of zero", &b, EYE_E_CORRUPT, "is 0");
    head(&b, 1, 0);
    tensor(&b, "a", (uint64_t)1 << 33, (uint64_t)1 << 33, 0);
    refused("llama.cpp PR 19856: elements that wrap", &b, EYE_E_CORRUPT, "overflows");
}

/* ---- vocabularies ---- */

/* Keys of a small text model; its vocabulary is the caller's. */
static void text_model(struct eye_gguf_writer *w, const char *model) {
    static const char *const ints[] = {"qwen2.embedding_length", "qwen2.block_count", "qwen2.attention.head_count"};
    static const float numbers[8];
    eye_gguf_writer_init(w, NULL);
    ok(eye_gguf_put_text(w, "general.architecture", "qwen2", &err));
    ok(eye_gguf_put_text(w, "tokenizer.ggml.model", model, &err));
    ok(eye_gguf_put_text(w, "tokenizer.ggml.pre", "qwen2", &err));
    for (size_t i = 0; i < EYE_COUNT(ints); i++) ok(eye_gguf_put_int(w, ints[i], EYE_GGUF_U32, 2, &err));
    ok(eye_gguf_add_tensor(w, "token_embd.weight", &(struct eye_tensor){numbers, EYE_F32, 2, {4, 2}}, NULL, NULL, &err));
}

static void finish_refused(const char *name, struct eye_gguf_writer *w, enum eye_status want, const char *says) {
    struct eye_model *m = NULL;
    const char *path = eye_scratch_path("vocab.gguf");
    ok(eye_gguf_write(w, path, &err));
    eye_gguf_writer_clear(w);
    assert_true(eye_error_is(name, eye_model_open(path, NULL, &m, &err), want, &err, says));
}

static void vocabularies(void **state) {
    static const struct eye_str twice[] = {{"a", 1}, {"a", 1}, {"b", 1}, {"c", 1}}, merges[] = {{"a b", 3}};
    static const struct eye_str good[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"c", 1}};
    static const double scores[] = {0, -1, -2};
    static const int64_t kinds[] = {1, 1, 1, 99};
    struct eye_gguf_writer w;
    struct eye_buf b;
    text_model(&w, "gpt2");
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.tokens", twice, 4, &err));
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.merges", merges, 1, &err));
    finish_refused("llama.cpp #24885: a token twice", &w, EYE_E_CORRUPT, "occurs twice");
    text_model(&w, "gpt2");
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.tokens", good, 4, &err));
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.merges", merges, 1, &err));
    ok(eye_gguf_put_int(&w, "tokenizer.ggml.bos_token_id", EYE_GGUF_U32, 4, &err));
    finish_refused("llama.cpp #25969, #26511: an id beyond the vocabulary", &w, EYE_E_CORRUPT, "is 4 of 4 tokens");
    text_model(&w, "llama");
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.tokens", good, 4, &err));
    ok(eye_gguf_put_floats(&w, "tokenizer.ggml.scores", EYE_GGUF_F32, scores, 3, &err));
    finish_refused("fewer scores than tokens", &w, EYE_E_CORRUPT, "scores");
    text_model(&w, "gpt2");
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.tokens", good, 4, &err));
    ok(eye_gguf_put_ints(&w, "tokenizer.ggml.token_type", EYE_GGUF_I32, kinds, 4, &err));
    ok(eye_gguf_put_strs(&w, "tokenizer.ggml.merges", merges, 1, &err));
    finish_refused("a kind of token that is none", &w, EYE_E_UNSUPPORTED, "token_type");
    head(&b, 0, 1);
    text(&b, "tokenizer.ggml.tokens");
    eye_build_le(&b, EYE_GGUF_ARRAY, 4);
    eye_build_le(&b, EYE_GGUF_STRING, 4);
    eye_build_le(&b, 1, 8);
    eye_build_le(&b, (uint64_t)INT32_MAX + 1, 8);
    refused("CVE-2025-49847: a token longer than an int", &b, EYE_E_CORRUPT, "past the end");
}

/* CVE-2025-52566: a text of more bytes than an int counts is refused before any of them is read. */
static void texts_too_long(void **state) {
    const char *folder = eye_scratch_path("qwen2");
    char path[1100];
    struct eye_map map;
    struct eye_tokenizer *tk;
    struct eye_ids ids = {0};
    ok(eye_make_listed(TEST_DATA "/golden/llava/qwen2", 300, folder, &err));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    ok(eye_map_open(&map, path, false, 0, &err));
    ok(eye_tokenizer_open(&tk, &(struct eye_tokenizer_src){.tokenizer_json = {map.p, map.size}}, NULL, &err));
    assert_int_equal(eye_tokenizer_encode(tk, "x", (size_t)INT32_MAX + 1, NULL, &ids, &err), EYE_E_LIMIT);
    assert_int_equal(ids.n, 0);
    eye_tokenizer_close(tk);
    eye_map_close(&map);
}

/* CVE-2024-34359: a checkpoint's template that reaches for Python's objects. */
static void templates(void **state) {
    static const struct { const char *text; enum eye_status st; const char *says; } rows[] = {
        {"{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}", EYE_E_ARG, "__base__"},
        {"{{ messages.__init__.__globals__['os'].system('id') }}", EYE_E_ARG, "__globals__"},
        {"{% include '/etc/passwd' %}", EYE_E_UNSUPPORTED, "\"include\""},
        {"{% set ns = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", EYE_E_LIMIT,
         ""},
    };
    const char *folder = eye_scratch_path("qwen2");
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_model *m = NULL;
        eye_scratch_write("qwen2/chat_template.jinja", rows[i].text, strlen(rows[i].text));
        assert_true(eye_error_is(rows[i].text, eye_model_open(folder, NULL, &m, &err), rows[i].st, &err, rows[i].says));
        assert_non_null(strstr(err.text, "chat_template.jinja:1:"));
    }
}

static int finish(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_headers), cmocka_unit_test(gguf_tensors), cmocka_unit_test(vocabularies),
        cmocka_unit_test(texts_too_long), cmocka_unit_test(templates),
    };
    return cmocka_run_group_tests_name("cve", tests, NULL, finish);
}
