/* Unit tests of format/gguf_folder: a GGUF of llama.cpp's as a folder, and what is refused by name. (Whole models of that
 * kind: the decoder-only file in test_pack; against llama.cpp itself: test/reference/gguf_peers.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "format/checkpoint.h"
#include "format/gguf_write.h"
#include "support/support.h"

static const struct eye_str tokens[] = {{"a", 1}, {"b", 1}, {"ab", 2}, {"<|end|>", 7}, {"[PAD4]", 6}};
static const int64_t kinds[] = {1, 1, 1, 3, 5};
static const struct eye_str merges[] = {{"a b", 3}};

struct change { const char *key, *text; double number; enum eye_status st; const char *says; };

/* A file of a Qwen2's keys with one of them changed. */
static const char *write(const struct change *c) {
    static const char *const ints[] = {"qwen2.embedding_length", "qwen2.block_count", "qwen2.attention.head_count"};
    static const float numbers[8];
    static char path[1024];
    struct eye_gguf_writer w;
    struct eye_err err;
    struct eye_tensor t = {numbers, EYE_F32, 2, {4, 2}};
    enum eye_status st = EYE_OK;
    const char *key = c->key ? c->key : "";
    eye_gguf_writer_init(&w, NULL);
    snprintf(path, sizeof path, "%s", eye_scratch_path("folder.gguf"));
    static const char *const texts[][2] = {{"general.architecture", "qwen2"}, {"tokenizer.ggml.model", "gpt2"},
                                           {"tokenizer.ggml.pre", "qwen2"}};
    for (size_t i = 0; i < EYE_COUNT(texts); i++)
        if (strcmp(key, texts[i][0]) != 0) st |= eye_gguf_put_text(&w, texts[i][0], texts[i][1], &err);
    for (size_t i = 0; i < EYE_COUNT(ints); i++) st |= eye_gguf_put_int(&w, ints[i], EYE_GGUF_U32, 2, &err);
    if (strcmp(key, "tokenizer.ggml.tokens") != 0)
        st |= eye_gguf_put_strs(&w, "tokenizer.ggml.tokens", tokens, EYE_COUNT(tokens), &err);
    st |= eye_gguf_put_ints(&w, "tokenizer.ggml.token_type", EYE_GGUF_I32, kinds, EYE_COUNT(kinds), &err);
    st |= eye_gguf_put_strs(&w, "tokenizer.ggml.merges", merges, EYE_COUNT(merges), &err);
    if (strcmp(key, "tokenizer.ggml.bos_token_id") != 0)
        st |= eye_gguf_put_int(&w, "tokenizer.ggml.bos_token_id", EYE_GGUF_U32, 3, &err);
    if (c->text) st |= eye_gguf_put_text(&w, key, c->text, &err);
    else if (*key && c->number >= 0) st |= eye_gguf_put_float(&w, key, EYE_GGUF_F32, c->number, &err);
    st |= eye_gguf_add_tensor(&w, "token_embd.weight", &t, NULL, NULL, &err);
    if (st == EYE_OK) st = eye_gguf_write(&w, path, &err);
    eye_gguf_writer_clear(&w);
    assert_int_equal(st, EYE_OK);
    return path;
}

static bool has(const struct eye_checkpoint *c, const char *file, const char *part) {
    const char *p;
    size_t n;
    return eye_checkpoint_text(c, file, &p, &n) && memmem(p, n, part, strlen(part));
}

static void keys_become_files(void **state) {
    static const struct change none = {NULL};
    struct eye_checkpoint c;
    struct eye_err err = {0};
    assert_int_equal(eye_checkpoint_open(&c, write(&none), NULL, NULL, &err), EYE_OK);
    if (c.no_files.code != EYE_OK) fail_msg("%s", c.no_files.text);
    assert_true(has(&c, "config.json", "\"model_type\":\"qwen2\"") && has(&c, "config.json", "\"vocab_size\":4"));
    assert_true(has(&c, "config.json", "\"tie_word_embeddings\":true") && has(&c, "config.json", "\"bos_token_id\":3"));
    assert_true(has(&c, "tokenizer.json", "\"ab\":2") && has(&c, "tokenizer.json", "\"NFC\"") &&
                has(&c, "tokenizer.json", "\"a b\""));
    assert_true(has(&c, "tokenizer.json", "\"special\":true") && !has(&c, "tokenizer.json", "[PAD4]"));
    assert_true(has(&c, "tokenizer_config.json", "\"bos_token\":\"<|end|>\""));
    assert_false(has(&c, "chat_template.jinja", "") || has(&c, "merges.txt", ""));
    eye_checkpoint_close(&c);
}

static void what_does_not_run_is_named(void **state) {
    static const struct change rows[] = {
        {"general.architecture", "mamba", 0, EYE_E_UNSUPPORTED, "general.architecture: got mamba"},
        {"general.architecture", "qwen2moe", 0, EYE_E_UNSUPPORTED, "got qwen2moe"},
        {"tokenizer.ggml.model", "bert", 0, EYE_E_UNSUPPORTED, "tokenizer.ggml.model: got bert"},
        {"tokenizer.ggml.model", "llama", 0, EYE_E_CORRUPT, "tokenizer.ggml.scores"},
        {"tokenizer.ggml.pre", "deepseek-coder", 0, EYE_E_UNSUPPORTED, "got deepseek-coder"},
        {"qwen2.rope.scaling.type", "yarn", 0, EYE_E_UNSUPPORTED, "qwen2.rope.scaling.type"},
        {"qwen2.rope.scaling.type", "none", 0, EYE_OK, ""},
        {"qwen2.expert_count", NULL, 8, EYE_E_UNSUPPORTED, "qwen2.expert_count"},
        {"tokenizer.ggml.tokens", "abc", 0, EYE_E_CORRUPT, "expected an array of strings"},
        {"tokenizer.ggml.bos_token_id", "x", 0, EYE_E_CORRUPT, "bos_token_id"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_checkpoint c;
        struct eye_err err = {0};
        assert_int_equal(eye_checkpoint_open(&c, write(&rows[i]), NULL, NULL, &err), EYE_OK); /* it can be listed */
        if (rows[i].st == EYE_OK) assert_int_equal(c.no_files.code, EYE_OK);
        else assert_true(eye_error_is(rows[i].key, c.no_files.code, rows[i].st, &c.no_files, rows[i].says));
        assert_true((rows[i].st == EYE_OK) == has(&c, "config.json", ""));
        eye_checkpoint_close(&c);
    }
}

static int finish(void **state) {
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_become_files),
        cmocka_unit_test(what_does_not_run_is_named),
    };
    return cmocka_run_group_tests_name("gguf_folder", tests, NULL, finish);
}
