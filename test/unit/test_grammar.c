/* Answers that are JSON: what grammars let through over bytes, what schemas are refused, and random models under them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/sys.h"
#include "eyelet/eyelet.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"
#include "text/grammar.h"

#define SAMPLE \
    "{\"type\":\"object\",\"properties\":{\"caption\":{\"type\":\"string\",\"maxLength\":12},\"people\":{\"type\":\"integer\"}," \
    "\"outdoors\":{\"type\":\"boolean\"},\"kind\":{\"enum\":[\"photo\",\"\xC3\xA9\"]}," \
    "\"colours\":{\"type\":\"array\",\"items\":{\"type\":\"string\"},\"minItems\":1,\"maxItems\":2}}," \
    "\"required\":[\"caption\",\"people\",\"outdoors\"],\"additionalProperties\":false}"
#define TREE \
    "{\"$ref\":\"#/$defs/t\",\"$defs\":{\"t\":{\"type\":\"object\",\"properties\":{\"v\":{\"type\":[\"number\",\"null\"]}," \
    "\"l\":{\"$ref\":\"#/$defs/t\"},\"r\":{\"anyOf\":[{\"$ref\":\"#/$defs/t\"},{\"const\":null}]}},\"required\":[\"v\",\"r\"]}}}"
#define ONE \
    "{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"},\"n\":{\"type\":\"integer\"}},\"required\":[\"k\",\"n\"]}," \
    "{\"$ref\":\"#/$defs/b\"},{\"type\":\"null\"}],\"discriminator\":{\"propertyName\":\"k\"},\"$defs\":{\"b\":{\"type\":\"object\"," \
    "\"properties\":{\"k\":{\"const\":\"b\"},\"n\":{\"type\":\"boolean\"}},\"required\":[\"n\",\"k\"]}}}"

/* ---- bytes ---- */

static struct eye_grammar_code compiled(const char *schema) {
    struct eye_grammar_code g;
    struct eye_err err = {0};
    enum eye_status st = schema ? eye_grammar_compile_schema(&g, schema, strlen(schema), NULL, &err)
                                : eye_grammar_compile_json(&g, NULL, &err);
    if (st != EYE_OK) fail_msg("%s", err.text);
    return g;
}

static struct eye_matcher *matcher(int32_t n_vocab) {
    struct eye_matcher *m;
    struct eye_err err = {0};
    if (eye_matcher_new(&m, n_vocab, NULL, &err) != EYE_OK) fail_msg("%s", err.text);
    return m;
}

/* Whole, a beginning, or wrong. */
static const char *judge(const struct eye_grammar_code *g, const char *text) {
    static const struct eye_vocabulary none;
    struct eye_matcher *m = matcher(1);
    eye_matcher_start(m, g, &none);
    bool ok = eye_matcher_take(m, (const uint8_t *)text, strlen(text));
    const char *is = !ok ? "wrong" : eye_matcher_may_end(m) ? "whole" : "beginning";
    eye_matcher_free(m);
    return is;
}

static void test_bytes(void **state) {
    (void)state;
    static const struct { const char *schema, *text, *is; } cases[] = {
        {NULL, "{}", "whole"}, {NULL, "[]", "wrong"}, {NULL, "{ }", "whole"}, {NULL, "{  }", "whole"}, {NULL, "{   }", "wrong"},
        {NULL, "{\"a\": [1, -2.5e+3, true, null, \"x\"]}", "whole"}, {NULL, "{\"a\": 01}", "wrong"}, {NULL, "{\"a\":1,}", "wrong"},
        {NULL, "{\n  \"a\": 1\n}", "whole"}, {NULL, "{\"a\": \"\\u00e9\\n\"}", "whole"}, {NULL, "{\"a\": \"\\u0000", "wrong"},
        {NULL, "{\"a\": \"\\ud800", "wrong"}, {NULL, "{\"a\": \"\n", "wrong"}, {NULL, "{\"\xC3\xA9\": 1}", "whole"},
        {NULL, "{\"\xC3", "beginning"}, {NULL, "{\"\xC0", "wrong"}, {NULL, "{\"\xED\xA0", "wrong"}, {NULL, "{\"\xF4\x90", "wrong"},
        {NULL, "{\"\xF0\x9F\x98\x80\":\"\xE2\x82\xAC\"}", "whole"}, {NULL, "{}x", "wrong"}, {NULL, "{\"a\": 1234567890123456", "wrong"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true}", "whole"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true,\"colours\":[\"red\"]}", "whole"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true,\"colours\":[]", "wrong"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true,\"colours\":[\"a\",\"b\",", "wrong"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3.", "wrong"}, {SAMPLE, "{\"people\"", "wrong"}, {SAMPLE, "{}", "wrong"},
        {SAMPLE, "{\"caption\":\"123456789\xC3\xA9" "12\"", "beginning"}, {SAMPLE, "{\"caption\":\"1234567890123", "wrong"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true,\"kind\":\"\xC3\xA9\"}", "whole"},
        {SAMPLE, "{\"caption\":\"a\",\"people\":3,\"outdoors\":true,\"kind\":\"p\"", "wrong"},
        {TREE, "{\"v\":1,\"r\":{\"v\":null,\"l\":{\"v\":2,\"r\":null},\"r\":null}}", "whole"}, {TREE, "{\"v\":1}", "wrong"},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}", "{\"a\":1,\"b\":2}", "whole"},
        {"{\"type\":\"object\",\"additionalProperties\":{\"type\":\"integer\"}}", "{\"a\":\"", "wrong"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{},\"b\":true}}", "{\"b\":[{}]}", "whole"},
        {"{\"type\":\"object\",\"additionalProperties\":false}", "{\"", "wrong"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":2}", "[true,false,true]", "whole"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"boolean\"},\"minItems\":2}", "[true]", "wrong"},
        {"{\"type\":\"array\",\"maxItems\":0}", "[]", "whole"}, {"{\"type\":\"array\",\"maxItems\":0}", "[1", "wrong"},
        {"{\"enum\":[1,\"1\",null,[1,2],{\"a\":1.5}]}", "{\"a\":1.5}", "whole"}, {"{\"enum\":[1,12]}", "1", "whole"},
        {"{\"enum\":[1,12]}", "13", "wrong"}, {"{\"type\":\"string\",\"enum\":[\"1\",2]}", "2", "wrong"},
        {"{\"type\":\"string\",\"minLength\":2}", "\"a\"", "wrong"}, {"true", "null", "whole"},
        {"{\"minimum\":0,\"maximum\":1}", "0.25", "whole"}, {"{\"minimum\":0,\"maximum\":1}", "1", "whole"},
        {"{\"minimum\":0,\"maximum\":1}", "1.", "wrong"}, {"{\"minimum\":0,\"maximum\":1}", "-", "wrong"},
        {"{\"minimum\":-2,\"maximum\":12}", "-1.75", "whole"}, {"{\"minimum\":-2,\"maximum\":12}", "-2.", "wrong"},
        {"{\"minimum\":-2,\"maximum\":12}", "11.9", "whole"}, {"{\"minimum\":-2,\"maximum\":12}", "13", "wrong"},
        {"{\"type\":\"integer\",\"minimum\":1}", "999999999999999", "whole"},
        {"{\"type\":\"integer\",\"minimum\":1}", "1000000000000000", "wrong"},
        {ONE, "{\"k\":\"a\",\"n\":1}", "whole"}, {ONE, "{\"k\":\"b\",\"n\":true}", "whole"},
        {ONE, "{\"k\":\"a\",\"n\":t", "wrong"}, {ONE, "null", "whole"}, {ONE, "3", "wrong"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct eye_grammar_code g = compiled(cases[i].schema);
        const char *is = judge(&g, cases[i].text);
        if (strcmp(is, cases[i].is)) fail_msg("%s under %s: %s, expected %s", cases[i].text, cases[i].schema, is, cases[i].is);
        eye_grammar_code_clear(&g);
    }
}

/* Patterns: strings as JSON writes them. */
static void test_patterns(void **state) {
    (void)state;
    static const struct { const char *pattern, *text, *is; } cases[] = {
        {"^[0-9]{4}-[0-9]{2}$", "2026-11", "whole"}, {"^[0-9]{4}-[0-9]{2}$", "2026-1", "wrong"}, {"^\\\\d+$", "", "wrong"},
        {"^\\\\d+$", "007", "whole"}, {"^\\\\d+$", "0a", "wrong"}, {"b", "abc", "whole"}, {"b", "ac", "wrong"}, {"^b", "bc", "whole"},
        {"^b", "ab", "wrong"}, {"b$", "ab", "whole"}, {"b$", "ba", "wrong"}, {"^a|b$", "ax", "whole"}, {"^a|b$", "xb", "whole"},
        {"^a|b$", "xa", "wrong"}, {"^(a|bc)*$", "abcbca", "whole"}, {"^(a|bc)*$", "", "whole"}, {"^(a|bc)*$", "ab", "wrong"},
        {"^(?:ab){2,3}$", "abab", "whole"}, {"^(?:ab){2,3}$", "ab", "wrong"}, {"^(?:ab){2,3}$", "abababab", "wrong"},
        {"^a{2,}$", "aaaa", "whole"}, {"^a{2,}$", "a", "wrong"}, {"^a{0}$", "", "whole"}, {"^a{0}$", "a", "wrong"}, {"^a{1}?$", "a", "whole"},
        {"^[^a-c]$", "d", "whole"}, {"^[^a-c]$", "b", "wrong"}, {"^[^a-c]$", "\xC3\xA9", "whole"}, {"^[^a-c]$", "\\n", "whole"},
        {"^.$", "\\\"", "whole"}, {"^.$", "\\\\", "whole"}, {"^.$", "\\n", "wrong"}, {"^.$", "\xE2\x80\xA8", "wrong"},
        {"^.$", "\xE2\x82\xAC", "whole"}, {"^\\\\S$", "x", "whole"}, {"^\\\\S$", " ", "wrong"}, {"^\\\\S$", "\xC2\xA0", "wrong"},
        {"^\\\\W$", "\xC3\xA9", "whole"}, {"^\\\\W$", "w", "wrong"}, {"^[\\\\w.-]+@x\\\\.org$", "a.b-c_9@x.org", "whole"},
        {"^[\\\\w.-]+@x\\\\.org$", "a@xyorg", "wrong"}, {"^\xC3\xA9+$", "\xC3\xA9\xC3\xA9", "whole"}, {"^(a?)*b$", "aab", "whole"},
        {"^(|a)$", "", "whole"}, {"", "anything", "whole"}, {"^$", "", "whole"}, {"^$", "a", "wrong"}, {"^[)|(]$", "|", "whole"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char schema[128], text[64];
        snprintf(schema, sizeof schema, "{\"pattern\":\"%s\"}", cases[i].pattern);
        snprintf(text, sizeof text, "\"%s\"", cases[i].text);
        struct eye_grammar_code g = compiled(schema);
        const char *is = judge(&g, text);
        if (strcmp(is, cases[i].is)) fail_msg("%s under %s: %s, expected %s", text, schema, is, cases[i].is);
        eye_grammar_code_clear(&g);
    }
}

/* Bounds of integers, against counting: every number of up to four digits, and what is no number. */
static void test_bounds(void **state) {
    (void)state;
    static const int bounds[][2] = {{0, 0}, {0, 9}, {1, 1}, {3, 7}, {0, 100}, {1, 99}, {17, 17}, {15, 23}, {10, 99}, {98, 1002},
                                    {199, 201}, {-1, 1}, {-9, -2}, {-120, 45}, {-1000, -999}, {-57, 0}, {305, 999}, {120, 1120}};
    static const char *const bad[] = {"-0", "00", "07", "-01", "", "-", "1a", "+1"};
    for (size_t i = 0; i < sizeof bounds / sizeof *bounds; i++) {
        char schema[128], text[16];
        int lo = bounds[i][0], hi = bounds[i][1];
        snprintf(schema, sizeof schema, "{\"type\":\"integer\",\"%s\":%d,\"%s\":%.1f}", i % 2 ? "minimum" : "exclusiveMinimum",
                 i % 2 ? lo : lo - 1, i % 3 ? "maximum" : "exclusiveMaximum", hi + 0.5);
        struct eye_grammar_code g = compiled(schema);
        for (int k = -1200; k <= 1200; k++) {
            snprintf(text, sizeof text, "%d", k);
            bool whole = strcmp(judge(&g, text), "whole") == 0;
            if (whole != (k >= lo && k <= hi)) fail_msg("%d under %s: %s", k, schema, whole ? "taken" : "refused");
        }
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            if (strcmp(judge(&g, bad[k]), "whole") == 0) fail_msg("\"%s\" under %s: taken", bad[k], schema);
        eye_grammar_code_clear(&g);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct { const char *schema; enum eye_status st; const char *says; } cases[] = {
        {"[", EYE_E_CORRUPT, "schema"}, {"1", EYE_E_CORRUPT, "expected a schema"}, {"false", EYE_E_UNSUPPORTED, "nothing is so"},
        {"{\"uniqueItems\":true}", EYE_E_UNSUPPORTED, "\"uniqueItems\""},
        {"{\"pattern\":3}", EYE_E_CORRUPT, "pattern: expected text"}, {"{\"pattern\":\"x\",\"minLength\":1}", EYE_E_UNSUPPORTED, "beside"},
        {"{\"pattern\":\"a(?=b)\"}", EYE_E_UNSUPPORTED, "this kind of group"}, {"{\"pattern\":\"(a\"}", EYE_E_UNSUPPORTED, "is missing"},
        {"{\"pattern\":\"a)\"}", EYE_E_UNSUPPORTED, "not done here"}, {"{\"pattern\":\"[a\"}", EYE_E_UNSUPPORTED, "is missing"},
        {"{\"pattern\":\"*\"}", EYE_E_UNSUPPORTED, "not done here"}, {"{\"pattern\":\"a$b\"}", EYE_E_UNSUPPORTED, "not done here"},
        {"{\"pattern\":\"(a)\\\\1\"}", EYE_E_UNSUPPORTED, "this escape"}, {"{\"pattern\":\"\\\\bx\"}", EYE_E_UNSUPPORTED, "this escape"},
        {"{\"pattern\":\"[z-a]\"}", EYE_E_UNSUPPORTED, "no range"}, {"{\"pattern\":\"a{3,2}\"}", EYE_E_UNSUPPORTED, "{N,M}"},
        {"{\"pattern\":\"((((a{99}){99}){99}){99})\"}", EYE_E_LIMIT, "too large"},
        {"{\"pattern\":\"(a{60000}){0}(a{60000}){0}(a{60000}){0}(a{60000}){0}(a{60000}){0}\"}", EYE_E_LIMIT, "too large"},
        {"{\"pattern\":\"((((){999}){999}){999})\"}", EYE_E_LIMIT, "too large"},
        {"{\"pattern\":\"(((((((((a)))))))))\"}", EYE_E_UNSUPPORTED, "groups in groups"},
        {"{\"oneOf\":[]}", EYE_E_CORRUPT, "oneOf: expected"},
        {"{\"properties\":{\"deep\":{\"multipleOf\":3}}}", EYE_E_UNSUPPORTED, "#/deep: the keyword \"multipleOf\""},
        {"{\"type\":\"integer\",\"minimum\":\"3\"}", EYE_E_CORRUPT, "minimum: expected a number"},
        {"{\"type\":\"integer\",\"minimum\":3,\"exclusiveMaximum\":3}", EYE_E_UNSUPPORTED, "within the bounds"},
        {"{\"type\":\"integer\",\"minimum\":1e15}", EYE_E_UNSUPPORTED, "within the bounds"},
        {"{\"minimum\":0.5}", EYE_E_UNSUPPORTED, "where it is not whole"},
        {"{\"type\":\"number\",\"exclusiveMaximum\":1}", EYE_E_UNSUPPORTED, "exclusiveMaximum"},
        {"{\"oneOf\":[{\"type\":\"integer\"},{\"type\":\"number\"}]}", EYE_E_UNSUPPORTED, "number 0 and 1 at once"},
        {"{\"oneOf\":[{\"type\":\"string\"},{\"minimum\":3}]}", EYE_E_UNSUPPORTED, "at once"},
        {"{\"oneOf\":[{\"enum\":[\"a\",\"b\"]},{\"const\":\"b\"}]}", EYE_E_UNSUPPORTED, "at once"},
        {"{\"oneOf\":[{\"type\":\"object\",\"properties\":{\"k\":{\"const\":\"a\"}}},{\"type\":\"object\",\"properties\":{\"k\":"
         "{\"const\":\"b\"}}}]}", EYE_E_UNSUPPORTED, "at once"},
        {"{\"type\":\"strin\"}", EYE_E_CORRUPT, "strin"}, {"{\"type\":[]}", EYE_E_CORRUPT, "empty"},
        {"{\"$ref\":\"#\"}", EYE_E_UNSUPPORTED, "nothing finite"}, {"{\"$ref\":\"#/a/b\"}", EYE_E_CORRUPT, "leads to no schema"},
        {"{\"$ref\":\"http://x/y\"}", EYE_E_UNSUPPORTED, "only places in this schema"},
        {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}},\"required\":[\"a\"]}", EYE_E_UNSUPPORTED, "nothing finite"},
        {"{\"type\":\"array\",\"minItems\":70000}", EYE_E_LIMIT, "too many"}, {"{\"minItems\":-1}", EYE_E_CORRUPT, "not negative"},
        {"{\"type\":\"string\",\"minLength\":60000,\"maxLength\":65000}", EYE_E_LIMIT, "too large"},
        {"{\"minLength\":3,\"maxLength\":2}", EYE_E_UNSUPPORTED, "nothing is so"}, {"{\"enum\":[]}", EYE_E_UNSUPPORTED, "no value"},
        {"{\"enum\":3}", EYE_E_CORRUPT, "expected a list"}, {"{\"anyOf\":[]}", EYE_E_CORRUPT, "expected a list"},
        {"{\"anyOf\":[{}],\"minLength\":3}", EYE_E_UNSUPPORTED, "beside"}, {"{\"const\":1,\"type\":\"string\"}", EYE_E_UNSUPPORTED, "type"},
        {"{\"required\":[\"z\"]}", EYE_E_UNSUPPORTED, "\"z\""}, {"{\"required\":3}", EYE_E_CORRUPT, "names"},
        {"{\"properties\":3}", EYE_E_CORRUPT, "object"}, {"{\"items\":[{}]}", EYE_E_UNSUPPORTED, "items"},
        {"{\"additionalProperties\":3}", EYE_E_CORRUPT, "expected a schema"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct eye_grammar_code g;
        struct eye_err err = {0};
        enum eye_status st = eye_grammar_compile_schema(&g, cases[i].schema, strlen(cases[i].schema), NULL, &err);
        assert_true(eye_error_is(cases[i].schema, st, cases[i].st, &err, cases[i].says));
    }
}

/* ---- random models ---- */

static struct eye_model *model;

static bool is_sample(json_t *o) {
    json_t *caption = json_object_get(o, "caption"), *colours = json_object_get(o, "colours"), *kind = json_object_get(o, "kind");
    return json_is_object(o) && json_is_string(caption) && json_is_integer(json_object_get(o, "people")) &&
           json_is_boolean(json_object_get(o, "outdoors")) &&
           (!kind || !strcmp(json_string_value(kind), "photo") || !strcmp(json_string_value(kind), "\xC3\xA9")) &&
           (!colours || (json_array_size(colours) >= 1 && json_array_size(colours) <= 2)) &&
           json_object_size(o) == 3u + (kind != NULL) + (colours != NULL);
}

static bool is_tree(json_t *o) {
    json_t *v = json_object_get(o, "v"), *r = json_object_get(o, "r");
    return json_is_object(o) && (json_is_number(v) || json_is_null(v)) && (json_is_object(r) || json_is_null(r));
}

static bool is_any(json_t *o) { return json_is_object(o); }

/* Answers of a model that knows nothing, drawn hot and greedily, short of tokens and not: each is whole and of its schema. */
static void test_models(void **state) {
    (void)state;
    static const struct { const char *schema; bool (*is)(json_t *); int32_t least; } kinds[] = {
        {NULL, is_any, 2}, {SAMPLE, is_sample, 60}, {TREE, is_tree, 24}};
    struct eye_session *s;
    struct eye_err err = {0};
    if (eye_session_new(model, NULL, &s, &err) != EYE_OK) fail_msg("%s", err.text);
    for (size_t k = 0; k < 3; k++) {
        struct eye_grammar *g;
        enum eye_status st = kinds[k].schema ? eye_grammar_json_schema(model, kinds[k].schema, &g, &err) : eye_grammar_json(model, &g, &err);
        if (st != EYE_OK) fail_msg("%s", err.text);
        for (uint64_t seed = 0; seed < 24; seed++) {
            struct eye_query q = {.text = "What is there?"};
            struct eye_generate_opts o = {.grammar = g, .seed = seed, .temperature = (float)(seed % 4), .ignore_eos = seed % 5 == 0,
                                          .n_predict = seed % 3 ? 160 : kinds[k].least, .repeat_penalty = seed % 2 ? 1.3f : 0};
            struct eye_result r;
            json_error_t why;
            eye_session_reset(s);
            if (eye_session_generate(s, &q, &o, &r, &err) != EYE_OK) fail_msg("%s", err.text);
            json_t *v = json_loadb(r.text, r.text_bytes, JSON_DECODE_ANY, &why);
            if (!v || !kinds[k].is(v)) fail_msg("schema %zu, seed %d: %s: %s", k, (int)seed, v ? "not of it" : why.text, r.text);
            json_decref(v);
        }
        eye_grammar_free(g);
    }
    eye_session_free(s);
}

static void test_options(void **state) {
    (void)state;
    struct eye_session *s;
    struct eye_grammar *g;
    struct eye_err err = {0};
    struct eye_result r;
    struct eye_query q = {.text = "a"};
    assert_int_equal(eye_session_new(model, NULL, &s, &err), EYE_OK);
    assert_int_equal(eye_grammar_json(model, &g, &err), EYE_OK);
    struct eye_generate_opts o = {.grammar = g, .n_beams = 3};
    assert_true(eye_error_is("beams", eye_session_generate(s, &q, &o, &r, &err), EYE_E_ARG, &err, "beams"));
    assert_true(eye_error_is("schema", eye_grammar_json_schema(model, "{\"not\":{}}", &g, &err), EYE_E_UNSUPPORTED, &err, "\"not\""));
    eye_grammar_free(g);
    eye_grammar_free(NULL);
    eye_session_free(s);
}

/* A hundred thousand random tokens in one answer: pools fill and are cleaned, and it stays right. */
static void test_pools(void **state) {
    (void)state;
    uint8_t bytes[256];
    int32_t id[256];
    uint32_t at[257];
    uint16_t shared[256] = {0};
    for (int i = 0; i < 256; i++) bytes[i] = (uint8_t)i, id[i] = i, at[i] = (uint32_t)i;
    at[256] = 256;
    struct eye_vocabulary v = {.n_vocab = 256, .n = 256, .id = id, .at = at, .shared = shared, .bytes = bytes, .n_bytes = 256};
    struct eye_grammar_code g = compiled("{\"type\":\"array\",\"items\":{\"type\":\"object\",\"additionalProperties\":"
                                         "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":300}}}}");
    struct eye_matcher *m = matcher(256);
    struct eye_rng rng;
    struct eye_buf all;
    const int n = 20000;
    eye_rng_seed(&rng, 3);
    eye_buf_init(&all, NULL);
    eye_matcher_start(m, &g, &v);
    for (int i = 0; i < n && !eye_matcher_must_end(m); i++) {
        const uint32_t *mask = eye_matcher_mask(m, (uint32_t)(n - 1 - i));
        int pick = -1, seen = 0;
        for (int b = 0; b < 256; b++)
            if ((mask[b / 32] >> (b % 32) & 1) && b != ']' && eye_rng_unit(&rng) * ++seen < 1) pick = b;
        if (pick < 0) pick = ']';
        assert_true(mask[pick / 32] >> (pick % 32) & 1);
        uint8_t b = (uint8_t)pick;
        assert_true(eye_matcher_take(m, &b, 1));
        eye_buf_add(&all, &b, 1);
    }
    assert_true(eye_matcher_may_end(m));
    json_t *o = json_loadb(all.p, all.len, 0, NULL);
    assert_non_null(o);
    json_decref(o);
    eye_buf_clear(&all);
    eye_matcher_free(m);
    eye_grammar_code_clear(&g);
}

static int open_model(void **state) {
    (void)state;
    char folder[256];
    struct eye_err err = {0};
    snprintf(folder, sizeof folder, "%s", eye_scratch_path("tiny"));
    if (eye_make_tiny(folder, &err) != EYE_OK) {
        print_error("%s\n", err.text);
        return -1;
    }
    if (eye_model_open(folder, &(struct eye_model_opts){.n_threads = 1, .n_ctx = 512}, &model, &err) == EYE_OK) return 0;
    print_error("%s\n", err.text);
    return -1;
}

static int close_model(void **state) {
    (void)state;
    eye_model_close(model);
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_bounds), cmocka_unit_test(test_patterns),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_models), cmocka_unit_test(test_options),
                                       cmocka_unit_test(test_pools)};
    return cmocka_run_group_tests(tests, open_model, close_model);
}
