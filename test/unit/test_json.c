/* Unit tests of format/json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"
#include "support/support.h"

static enum eye_status parse(struct eye_json *j, const char *text, struct eye_err *err) {
    return eye_json_parse(j, text, strlen(text), 1 << 20, "f.json", err);
}

static void typed_reads(void **state) {
    struct eye_err err = {0};
    struct eye_json j;
    int64_t i, list[4];
    size_t n;
    double d;
    bool b;
    const char *s;
    assert_int_equal(parse(&j, "{\"a\": 5, \"r\": 1e6, \"h\": 0.5, \"t\": true, \"s\": \"x\\u0000y\", \"z\": null, "
                               "\"l\": [1, 2.0, -3], \"o\": {\"p\": [{\"q\": \"no\"}]}}", &err), EYE_OK);
    struct eye_json_at at = eye_json_root(&j), o, p;
    assert_int_equal(eye_json_int(&at, "a", 0, &i, &err), EYE_OK);
    assert_int_equal(i, 5);
    assert_int_equal(eye_json_int(&at, "r", 0, &i, &err), EYE_OK);
    assert_int_equal(i, 1000000);
    assert_int_equal(eye_json_int(&at, "h", 0, &i, &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: h: expected an integer, got a real number");
    assert_int_equal(eye_json_int(&at, "none", 17, &i, &err), EYE_OK);
    assert_int_equal(i, 17);
    assert_int_equal(eye_json_int(&at, "z", 18, &i, &err), EYE_OK);
    assert_int_equal(i, 18);
    assert_int_equal(eye_json_need_int(&at, "none", 0, 9, &i, &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: none: expected an integer, got nothing");
    assert_int_equal(eye_json_need_int(&at, "a", 6, 9, &i, &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: a: expected 6 to 9, got 5");
    assert_int_equal(eye_json_int_in(&at, "none", 6, 9, -1, &i, &err), EYE_OK);
    assert_int_equal(i, -1);
    assert_int_equal(eye_json_double(&at, "h", 0, &d, &err), EYE_OK);
    assert_true(d == 0.5);
    assert_int_equal(eye_json_double(&at, "a", 0, &d, &err), EYE_OK);
    assert_true(d == 5);
    assert_int_equal(eye_json_bool(&at, "t", false, &b, &err), EYE_OK);
    assert_true(b);
    assert_int_equal(eye_json_bool(&at, "a", false, &b, &err), EYE_E_CORRUPT);
    assert_int_equal(eye_json_str(&at, "s", NULL, &s, &n, &err), EYE_OK);
    assert_int_equal(n, 3);
    assert_memory_equal(s, "x\0y", 3);
    assert_int_equal(eye_json_str(&at, "s", NULL, &s, NULL, &err), EYE_E_CORRUPT); /* would end at the NUL */
    assert_int_equal(eye_json_str(&at, "none", "def", &s, NULL, &err), EYE_OK);
    assert_string_equal(s, "def");
    assert_int_equal(eye_json_need_str(&at, "none", &s, NULL, &err), EYE_E_CORRUPT);
    assert_int_equal(eye_json_ints(&at, "l", list, 4, &n, &err), EYE_OK);
    assert_true(n == 3 && list[0] == 1 && list[1] == 2 && list[2] == -3);
    assert_int_equal(eye_json_ints(&at, "l", list, 2, &n, &err), EYE_E_LIMIT);
    assert_int_equal(eye_json_ints(&at, "none", list, 2, &n, &err), EYE_OK);
    assert_int_equal(n, 0);
    assert_true(eye_json_has(&at, "a") && !eye_json_has(&at, "z") && !eye_json_has(&at, "none"));
    assert_int_equal(eye_json_object(&at, "o", &o, &err), EYE_OK);
    assert_int_equal(eye_json_array(&o, "p", &p, &err), EYE_OK);
    struct eye_json_at item = eye_json_item(&p, 0);
    assert_int_equal(eye_json_int(&item, "q", 0, &i, &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: o.p[0].q: expected an integer, got a string");
    assert_int_equal(eye_json_int(&p, "q", 0, &i, &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: o.p: expected an object, got an array");
    assert_int_equal(eye_json_object(&at, "a", &o, &err), EYE_E_CORRUPT);
    assert_int_equal(eye_json_object(&at, "none", &o, &err), EYE_OK);
    assert_null(o.v);
    assert_int_equal(eye_json_int(&o, "x", 3, &i, &err), EYE_OK); /* absent object, absent member */
    assert_int_equal(i, 3);
    assert_int_equal(eye_json_fail(&at, NULL, "bad", &err), EYE_E_CORRUPT);
    assert_string_equal(err.text, "f.json: (top level): bad");
    eye_json_clear(&j);
    eye_json_clear(&j);
}

static void long_paths_keep_their_end(void **state) {
    char text[800] = "", key[101] = "";
    struct eye_err err;
    struct eye_json j;
    struct eye_json_at at[5];
    int64_t v;
    memset(key, 'k', 100);
    for (int i = 0; i < 4; i++) strcat(strcat(strcat(text, "{\""), key), "\":");
    strcat(text, "{\"end\":\"s\"}}}}}");
    assert_int_equal(parse(&j, text, &err), EYE_OK);
    at[0] = eye_json_root(&j);
    for (int i = 0; i < 4; i++) assert_int_equal(eye_json_object(&at[i], key, &at[i + 1], &err), EYE_OK);
    assert_int_equal(eye_json_int(&at[4], "end", 0, &v, &err), EYE_E_CORRUPT);
    assert_non_null(strstr(err.text, ".end: expected an integer, got a string"));
    eye_json_clear(&j);
}

static void bad_text_is_refused(void **state) {
    static const struct {
        const char *text;
        const char *says;
    } rows[] = {
        {"", "nothing"},
        {" ", "line 1"},
        {"{\"a\":1,}", "line 1 column"},
        {"{\n\"a\":1,\n\"a\":2}", "line 3"},
        {"{\"a\":1} x", "end of file"},
        {"[1,2", "line 1"},
        {"{\"a\":01}", "line 1"},
        {"[1e999]", "overflow"},
        {"[00000000000000000000000001]", "line 1"},
        {"[-]", "line 1"},
        {"[\"\\ud800\"]", "line 1"},
        {"[\"\xff\"]", "line 1"},
        {"[\"a\nb\"]", "line 1"},
        {"{\"a\\u0000b\":1}", "line 1"},
        {"[NaN]", "line 1"},
        {"[\"unfinished", "line 1"},
        {"[\"unfinished\\", "line 1"},
        {"[1-2]", "line 1"},
        {"[9999999999999999999999e]", "line 1"},
    };
    for (size_t i = 0; i < EYE_COUNT(rows); i++) {
        struct eye_err err = {0};
        struct eye_json j;
        assert_int_equal(parse(&j, rows[i].text, &err), EYE_E_CORRUPT);
        assert_memory_equal(err.text, "f.json: ", 8);
        if (!strstr(err.text, rows[i].says)) fail_msg("%s: \"%s\" lacks \"%s\"", rows[i].text, err.text, rows[i].says);
    }
    struct eye_err err;
    struct eye_json j;
    assert_int_equal(eye_json_parse(&j, "[1, 2]", 6, 5, "f.json", &err), EYE_E_LIMIT);
}

static void depth_is_bounded(void **state) {
    enum { N = 1000000 };
    char *text = malloc(2 * N + 1);
    struct eye_err err;
    struct eye_json j;
    assert_non_null(text);
    for (int depth = EYE_JSON_MAX_DEPTH; depth <= EYE_JSON_MAX_DEPTH + 1; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        enum eye_status st = eye_json_parse(&j, text, 2 * (size_t)depth, 4 * N, "f.json", &err);
        assert_int_equal(st, depth > EYE_JSON_MAX_DEPTH ? EYE_E_CORRUPT : EYE_OK);
        if (st == EYE_OK) eye_json_clear(&j);
    }
    memset(text, '[', 2 * N);
    assert_int_equal(eye_json_parse(&j, text, 2 * N, 4 * N, "f.json", &err), EYE_E_CORRUPT);
    assert_int_equal(parse(&j, "[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"]", &err),
                     EYE_OK);
    eye_json_clear(&j);
    free(text);
}

static void integers_beyond_64_bits_become_reals(void **state) {
    struct eye_err err;
    struct eye_json j;
    double d;
    int64_t i;
    assert_int_equal(parse(&j, "{\"model_max_length\":1000000000000000019884624838656,\"n\":-99999999999999999999,"
                               "\"max\":9223372036854775807,\"over\":9223372036854775808,"
                               "\"s\":\"99999999999999999999\"}", &err), EYE_OK);
    struct eye_json_at at = eye_json_root(&j);
    assert_int_equal(eye_json_double(&at, "model_max_length", 0, &d, &err), EYE_OK);
    assert_true(d > 0.999999999999e30 && d < 1.000000000001e30);
    assert_int_equal(eye_json_int(&at, "model_max_length", 0, &i, &err), EYE_E_CORRUPT);
    assert_int_equal(eye_json_double(&at, "n", 0, &d, &err), EYE_OK);
    assert_true(d < -0.999999999999e20 && d > -1.000000000001e20);
    assert_int_equal(eye_json_int(&at, "max", 0, &i, &err), EYE_OK);
    assert_true(i == INT64_MAX);
    assert_int_equal(eye_json_double(&at, "over", 0, &d, &err), EYE_OK);
    assert_true(d > 9.2233720368547e18 && d < 9.2233720368549e18);
    const char *s;
    assert_int_equal(eye_json_str(&at, "s", NULL, &s, NULL, &err), EYE_OK);
    assert_string_equal(s, "99999999999999999999");
    eye_json_clear(&j);
    char many[600];
    memset(many, '9', sizeof many); /* beyond double */
    assert_int_equal(eye_json_parse(&j, many, sizeof many, sizeof many, "f.json", &err), EYE_E_CORRUPT);
}

/* ---- jansson's own memory ---- */

static _Atomic long n_live, n_ok = -1;

static void *counted(size_t n) {
    if (n_ok == 0) return NULL;
    if (n_ok > 0) n_ok--;
    n_live++;
    return malloc(n);
}

static void uncounted(void *p) {
    if (p) n_live--;
    free(p);
}

/* jansson does not tell all its failures apart (some look like bad syntax): any error will do, but no leak and no crash. */
static void faults_inside_jansson_leak_nothing(void **state) {
    static const char text[] = "{\"a\": [1, 2.5, \"text that is long enough to grow its buffer\", {\"b\": null}], \"c\": true}";
    struct eye_err err;
    struct eye_json j;
    enum eye_status st = EYE_E_NOMEM;
    json_set_alloc_funcs(counted, uncounted);
    for (long k = 0; st != EYE_OK; k++) {
        n_ok = k;
        st = parse(&j, text, &err);
        n_ok = -1;
        if (st == EYE_OK) eye_json_clear(&j);
        assert_true(st == EYE_OK || err.text[0]);
        assert_int_equal(n_live, 0);
        assert_true(k < 200);
    }
    json_set_alloc_funcs(malloc, free);
    eye_faulty_process(0); /* our copy for softened integers */
    assert_int_equal(parse(&j, "[99999999999999999999]", &err), EYE_E_NOMEM);
    eye_faulty_process(-1);
}

static enum eye_status open_json(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_json j;
    enum eye_status st = eye_json_parse(&j, p, n, 1 << 20, "mutant", err);
    if (st == EYE_OK) eye_json_clear(&j);
    return st;
}

static void mutants_do_no_harm(void **state) {
    static const char text[] = "{\"a\": [1, 2.5e3, \"\\u00e4\\n\", {\"b\": null}], \"c\": true, "
                               "\"d\": 123456789012345678901234567890}";
    assert_true(eye_refuses_truncations(open_json, text, sizeof text - 1));
    assert_true(eye_survives_mutations(open_json, text, sizeof text - 1, 5, 20000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typed_reads),
        cmocka_unit_test(long_paths_keep_their_end),
        cmocka_unit_test(bad_text_is_refused),
        cmocka_unit_test(depth_is_bounded),
        cmocka_unit_test(integers_beyond_64_bits_become_reals),
        cmocka_unit_test(faults_inside_jansson_leak_nothing),
        cmocka_unit_test(mutants_do_no_harm),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
