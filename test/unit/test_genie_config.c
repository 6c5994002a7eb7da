/* A dialog's configuration: every message of the schema check against test/golden/genie/errors.txt (a change to base.json, as a
 * JSON merge patch, and what is said of it), values as they are taken, hostile bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/sys.h"
#include "genie/dialog_config.h"
#include "eyelet/genie.h"
#include "genie/elements.h"
#include "genie/ctx_info.h"
#include "support/support.h"

#define GOLDEN TEST_DATA "/golden/genie/"

/* RFC 7396. */
static void merge(json_t *into, const json_t *patch) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)patch, key, v) {
        json_t *old = json_object_get(into, key);
        if (json_is_null(v)) json_object_del(into, key);
        else if (json_is_object(v) && json_is_object(old)) merge(old, v);
        else json_object_set_new(into, key, json_deep_copy(v));
    }
}

static char *patched(const char *patch) {
    json_t *base = json_load_file(GOLDEN "base.json", 0, NULL), *change = json_loads(patch, 0, NULL);
    assert_non_null(base);
    assert_non_null(change);
    merge(base, change);
    char *text = json_dumps(base, JSON_COMPACT);
    json_decref(change);
    json_decref(base);
    return text;
}

static enum eye_status parse(const char *text, struct eye_genie_config *c, struct eye_err *err) {
    err->code = EYE_OK;
    err->text[0] = '\0';
    return eye_genie_config_parse(c, text, strlen(text), "c", NULL, err);
}

static void every_message(void **state) {
    (void)state;
    FILE *f = fopen(GOLDEN "errors.txt", "r");
    static char line[4096];
    int n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        char *arrow = strstr(line, " -> ");
        if (line[0] != '{') continue;
        if (!arrow) fail_msg("errors.txt: %s", line);
        *arrow = '\0';
        arrow[strcspn(arrow + 4, "\n") + 4] = '\0';
        struct eye_genie_config c;
        struct eye_err err;
        char *text = patched(line), got[600];
        enum eye_status st = parse(text, &c, &err);
        snprintf(got, sizeof got, "%s", st == EYE_OK ? "ok" : err.text + strlen("c: "));
        if (strcmp(got, arrow + 4) != 0) fail_msg("%s\n  expected %s\n  got      %s", line, arrow + 4, got);
        if (st == EYE_OK) eye_genie_config_clear(&c);
        free(text);
        n++;
    }
    fclose(f);
    assert_true(n > 130);
}

static void text_that_is_no_json(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "expected JSON, got nothing"},
        {"{", "(GENIE_STATUS_ERROR_JSON_FORMAT)"},
        {"{\"dialog\": {}} x", "(GENIE_STATUS_ERROR_JSON_FORMAT)"},
        {"{\"dialog\": {\"type\": \"basic\", \"type\": \"basic\"}}",
         "c: Multiple dialog config key: type (GENIE_STATUS_ERROR_JSON_SCHEMA)"},
        {"[]", "dialog config is not an object (GENIE_STATUS_ERROR_JSON_SCHEMA)"},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_genie_config c;
        struct eye_err err;
        enum eye_status st = parse(cases[i][0], &c, &err);
        assert_true(eye_error_is(cases[i][0], st, EYE_E_CORRUPT, &err, cases[i][1]));
    }
}

static struct eye_genie_config take(const char *patch) {
    struct eye_genie_config c;
    struct eye_err err;
    char *text = patched(patch);
    if (parse(text, &c, &err) != EYE_OK) fail_msg("%s: %s", patch, err.text);
    free(text);
    return c;
}

static void values_are_taken(void **state) {
    (void)state;
    struct eye_genie_config c = take("{}");
    assert_int_equal(c.n_ctx, 512);
    assert_int_equal(c.n_vocab, 151936);
    assert_int_equal(c.bos, 151644);
    assert_int_equal(c.n_eos, 1);
    assert_int_equal(c.eos[0], 151645);
    assert_int_equal(c.embedding_size, 896);
    assert_int_equal(c.n_threads, 6);
    assert_int_equal(c.max_tokens, -1);
    assert_true(c.use_mmap && c.embeddings_in && !c.kv_quantization && !c.on_npu && c.has_seed);
    assert_string_equal(c.model_bin, "decoder.bin");
    assert_string_equal(c.tokenizer, "tokenizer.json");
    assert_int_equal(c.sampling.seed, 42);
    assert_int_equal(c.sampling.top_k, 40);
    assert_true(c.sampling.temperature == 0.8f && c.sampling.top_p == 0.95f);
    eye_genie_config_clear(&c);
    /* eos -1 is none; eot joins and is first */
    c = take("{\"dialog\": {\"context\": {\"eos-token\": -1}}}");
    assert_int_equal(c.n_eos, 0);
    eye_genie_config_clear(&c);
    c = take("{\"dialog\": {\"context\": {\"eos-token\": [1, -1, 2], \"eot-token\": 9}}}");
    assert_int_equal(c.n_eos, 3);
    assert_int_equal(c.eos[0], 9);
    assert_int_equal(c.eos[2], 2);
    eye_genie_config_clear(&c);
    /* "greedy" counts; so do a temperature of 0 and the one best; a penalty of 0 is off, not a division */
    static const char *const greedy[] = {"{\"dialog\": {\"sampler\": {\"greedy\": true}}}", "{\"dialog\": {\"sampler\": "
                                         "{\"temp\": 0}}}",
                                         "{\"dialog\": {\"sampler\": {\"top-k\": 1}}}"};
    for (size_t i = 0; i < EYE_COUNT(greedy); i++) {
        c = take(greedy[i]);
        assert_true(c.sampling.temperature == 0);
        eye_genie_config_clear(&c);
    }
    c = take("{\"dialog\": {\"sampler\": {\"token-penalty\": {\"version\": 1, \"penalize-last-n\": 32}}}}");
    assert_int_equal(c.sampling.penalty_last_n, 32);
    assert_true(c.sampling.repeat_penalty == 0);
    eye_genie_config_clear(&c);
}

/* ---- hostile bytes ---- */

static enum eye_status open_config(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_genie_config c;
    EYE_TRY(eye_genie_config_parse(&c, p, n, "c", alloc, err));
    eye_genie_config_clear(&c);
    return EYE_OK;
}

static enum eye_status open_signature(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_ctx_info s;
    (void)alloc;
    return eye_ctx_info_parse(&s, p, n, "s", err);
}

static void survives(void **state) {
    (void)state;
    struct eye_map map;
    struct eye_err err = {0};
    assert_int_equal(eye_map_open(&map, GOLDEN "base.json", false, 0, &err), EYE_OK);
    assert_true(eye_survives_mutations(open_config, map.p, map.size, 7, 3000));
    eye_map_close(&map);
    struct eye_ctx_info s = {.graph = "g", .in = {"x", 2, {1, 8}, 8, {EYE_EL_I32, 1, 0}},
                              .out = {"y", 3, {1, 8, 4}, 32, {EYE_EL_U8, 0.25, -128}}};
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    assert_int_equal(eye_ctx_info_write(&s, &b, &err), EYE_OK);
    assert_true(eye_survives_mutations(open_signature, b.p, b.len, 8, 3000));
    eye_buf_clear(&b);
}

/* ---- signatures and numbers ---- */

static void three_forms(void **state) {
    (void)state;
    static const char t[] = "{\"name\": \"f\", \"dimensions\": [1, 4, 2], \"dataType\": \"QNN_DATATYPE_UFIXED_POINT_8\", "
                            "\"quantizeParams\": {\"scaleOffset\": {\"scale\": 0.5, \"offset\": -3}}}";
    static const char *const forms[] = {"{\"info\": {\"graphs\": [{\"info\": {\"graphOutputs\": [{\"info\": %s}]}}]}}",
                                        "{\"info\": {\"graphs\": [{\"graphOutputs\": [%s]}]}}", "{\"graphs\": "
                                            "[{\"graphOutputs\": [%s]}]}"};
    for (size_t i = 0; i < EYE_COUNT(forms); i++) {
        const char *mark = strstr(forms[i], "%s");
        char text[1024];
        struct eye_ctx_info s;
        struct eye_err err = {0};
        int n = snprintf(text, sizeof text, "%.*s%s%s", (int)(mark - forms[i]), forms[i], t, mark + 2);
        if (eye_ctx_info_parse(&s, text, (size_t)n, "s", &err) != EYE_OK) fail_msg("%s", err.text);
        assert_string_equal(s.out.name, "f");
        assert_int_equal(s.out.n, 8);
        assert_int_equal(s.out.e.type, EYE_EL_U8);
        assert_true(s.out.e.scale == 0.5 && s.out.e.offset == -3);
    }
}

static void signature_round_trip(void **state) {
    (void)state;
    struct eye_ctx_info s = {.graph = "g", .in = {"x", 4, {1, 6, 6, 3}, 108, {EYE_EL_U8, 1.0 / 255, 0}},
                              .out = {"y", 3, {1, 8, 4}, 32, {EYE_EL_I16, 0.1, -128}}}, back;
    struct eye_err err = {0};
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    assert_int_equal(eye_ctx_info_write(&s, &b, &err), EYE_OK);
    assert_int_equal(eye_ctx_info_parse(&back, b.p, b.len, "s", &err), EYE_OK);
    assert_memory_equal(&s, &back, sizeof s);
    eye_buf_clear(&b);
}

static void elements(void **state) {
    (void)state;
    const float x[] = {0, 1, -1, 0.24f, 100, -100, 0.0f / 1};
    struct eye_elements e = {EYE_EL_I8, 0.5, 0};
    uint8_t raw[7];
    float back[7];
    eye_elements_from_f32(&e, x, raw, 7);
    eye_elements_to_f32(&e, raw, back, 7);
    static const float want[] = {0, 1, -1, 0, 63.5f, -64, 0};
    for (int i = 0; i < 7; i++) assert_true(back[i] == want[i]);
    e = (struct eye_elements){EYE_EL_U8, 0.5, -10}; /* 5 below 0 to 122.5 */
    eye_elements_from_f32(&e, x, raw, 7);
    assert_int_equal(raw[0], 10);
    assert_int_equal(raw[2], 8);
    assert_int_equal(raw[4], 210);
    assert_int_equal(raw[5], 0);
}

static void arguments(void **state) {
    (void)state;
    static const struct { const char *arg, *says; } bad[] = {
        {"", "ERROR: Invalid embedding argument: "},
        {"a,int8", "ERROR: Invalid embedding argument: a,int8"},
        {"a,int8,1", "ERROR: Invalid embedding argument: a,int8,1"},
        {"a,int8,1,0,0", "ERROR: Invalid embedding argument: a,int8,1,0,0"},
        {"a,int4,1,0", "ERROR: invalid datatype: int4"},
        {"a,int8,x,0", "ERROR: Invalid quantization encodings: {x, 0}"},
        {"a,int8,0,0", "ERROR: Invalid quantization encodings: {0, 0}"},
        {"a,int8,nan,0", "ERROR: Invalid quantization encodings: {nan, 0}"},
    };
    struct eye_elements e;
    struct eye_err err;
    char path[32];
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        enum eye_status st = eye_elements_argument(bad[i].arg, path, sizeof path, &e, &err);
        assert_true(eye_error_is(bad[i].arg, st, EYE_E_ARG, &err, bad[i].says));
    }
    assert_int_equal(eye_elements_argument("d/a.bin,uint16,0.25,-7", path, sizeof path, &e, &err), EYE_OK);
    assert_string_equal(path, "d/a.bin");
    assert_true(e.type == EYE_EL_U16 && e.scale == 0.25 && e.offset == -7);
    assert_int_equal(eye_elements_argument("a.bin,float16,1,0", path, sizeof path, &e, &err), EYE_OK);
    assert_int_equal(e.type, EYE_EL_F16);
    assert_int_equal(eye_elements_argument("a.bin", path, sizeof path, &e, &err), EYE_OK);
    assert_int_equal(e.type, EYE_EL_F32);
}

/* ---- what genie-t2t-run prints ---- */

struct heard {
    char text[128];
    size_t n;
};

static void hear(void *ctx, const char *p, size_t n) {
    struct heard *h = ctx;
    assert_true(n > 0 && h->n + n < sizeof h->text);
    memcpy(h->text + h->n, p, n);
    h->n += n;
}

/* In pieces of `step` bytes, the first of `first`. */
static enum eye_genie_said feed(const char *text, size_t first, size_t step, struct heard *h) {
    struct eye_genie_transcript t = {.text = hear, .text_ctx = h};
    size_t n = strlen(text), at = EYE_MIN(first, n);
    memset(h, 0, sizeof *h);
    eye_genie_transcript_feed(&t, text, at);
    for (; at < n; at += EYE_MIN(step, n - at)) eye_genie_transcript_feed(&t, text + at, EYE_MIN(step, n - at));
    eye_genie_transcript_end(&t);
    return t.said;
}

static void transcripts(void **state) {
    (void)state;
    static const struct { const char *said, *text; enum eye_genie_said how; } cases[] = {
        {"Using libGenie.so version 1\n\nEmbedding file size: 8 bytes\n\n[BEGIN]: A cat.[END]\n\n", "A cat.", EYE_GENIE_DONE},
        {"[BEGIN]: two\nlines\n[END]\n[BEGIN]: again[END]\n", "two\nlines\n", EYE_GENIE_DONE},
        {"[BEGIN]: [END][END]\n", "[END]", EYE_GENIE_DONE},
        {"[BEGIN]: [END] or [END\n] or [E[END] \n[END]\n", "[END] or [END\n] or [E[END] \n", EYE_GENIE_DONE},
        {"[BEGIN]: old\r\nadb\r[END]\r\n", "old\nadb\r", EYE_GENIE_DONE},
        {"[BEGIN]: \r\r\n[END]\r\r[END]", "\r\n[END]\r\r", EYE_GENIE_DONE},
        {"[BEGIN]: [END]\n", "", EYE_GENIE_DONE},
        {"x [BEGIN]: no\n[BEGIN] : no\n[BEGI\n[COMPLETE]: yes[END]", "yes", EYE_GENIE_DONE},
        {"[ABORT]: stopped[END]\r", "stopped", EYE_GENIE_DONE},
        {"[RESUME]: cut off [EN", "cut off [EN", EYE_GENIE_SPEAKS},
        {"[BEGIN]: cut off\r", "cut off\r", EYE_GENIE_SPEAKS},
        {"[BEGIN]:no", "", EYE_GENIE_NOT_BEGUN},
        {"", "", EYE_GENIE_NOT_BEGUN},
    };
    struct heard h;
    for (size_t i = 0; i < EYE_COUNT(cases); i++)
        for (size_t first = 0; first <= strlen(cases[i].said); first++)
            for (size_t step = 1; step < 100; step += 33) {
                if (feed(cases[i].said, first, step, &h) != cases[i].how || strcmp(h.text, cases[i].text) != 0)
                    fail_msg("case %zu, %zu and %zu bytes: \"%s\"", i, first, step, h.text);
            }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message),  cmocka_unit_test(text_that_is_no_json), cmocka_unit_test(values_are_taken),
        cmocka_unit_test(survives),       cmocka_unit_test(three_forms),          cmocka_unit_test(signature_round_trip),
        cmocka_unit_test(elements),       cmocka_unit_test(arguments),            cmocka_unit_test(transcripts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
