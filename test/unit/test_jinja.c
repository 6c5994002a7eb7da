/* Unit tests of text/jinja: what transformers' environment renders (golden/template, written by make_template_fixtures.py),
 * refusals with their places, bounds, and where each byte came from. */
#include "text_help.h"

#include "text/jinja.h"

static enum eye_status value_of(struct eye_jrun *r, const json_t *j, struct eye_jvalue *out, struct eye_err *err) {
    const char *key;
    const json_t *item;
    size_t i;
    *out = (struct eye_jvalue){.kind = EYE_J_NONE};
    if (json_is_boolean(j)) *out = (struct eye_jvalue){.kind = EYE_J_BOOL, .b = json_is_true(j)};
    if (json_is_integer(j)) *out = (struct eye_jvalue){.kind = EYE_J_INT, .i = json_integer_value(j)};
    if (json_is_real(j)) *out = (struct eye_jvalue){.kind = EYE_J_FLOAT, .f = json_real_value(j)};
    if (json_is_string(j))
        return eye_jinja_str(r, json_string_value(j), json_string_length(j), EYE_ORIGIN_USER, out, err);
    if (json_is_array(j)) {
        EYE_TRY(eye_jinja_list(r, json_array_size(j), out, err));
        json_array_foreach(j, i, item) EYE_TRY(value_of(r, item, &out->list->item[i], err));
    }
    if (json_is_object(j)) {
        EYE_TRY(eye_jinja_dict(r, out, err));
        json_object_foreach((json_t *)(uintptr_t)j, key, item) {
            struct eye_jvalue v;
            EYE_TRY(value_of(r, item, &v, err));
            EYE_TRY(eye_jinja_put(r, out, key, v, err));
        }
    }
    return EYE_OK;
}

/* Renders with the members of vars; r is the caller's to clear. */
static enum eye_status render(struct eye_jrun *r, const struct eye_jinja *t, const json_t *vars, struct eye_err *err) {
    const char *key;
    const json_t *item;
    struct eye_jvalue v;
    eye_jinja_run_init(r, t, NULL);
    json_object_foreach((json_t *)(uintptr_t)vars, key, item) {
        EYE_TRY(value_of(r, item, &v, err));
        EYE_TRY(eye_jinja_set(r, key, v, err));
    }
    return eye_jinja_render(r, err);
}

static void equals_transformers(void **state) {
    json_t *file = load_cases(TEST_DATA "/golden/template/cases.json"), *c;
    size_t i, n_failed = 0;
    json_array_foreach(json_object_get(file, "cases"), i, c) {
        const char *name = json_string_value(json_object_get(c, "name")), *want = json_string_value(json_object_get(c, "want"));
        json_t *template = json_object_get(c, "template"), *vars = json_object_get(c, "vars");
        if (json_is_object(template))
            template = json_object_get(json_object_get(file, "chats"), json_string_value(json_object_get(template, "chat")));
        if (json_is_string(vars)) vars = json_object_get(file, json_string_value(vars));
        struct eye_jinja *t = NULL;
        struct eye_jrun r;
        struct eye_err err = {0};
        enum eye_status st = eye_jinja_parse(&t, json_string_value(template), json_string_length(template), name, NULL, &err);
        if (st == EYE_OK) st = render(&r, t, vars, &err);
        const char *got = t && r.out.text.p ? r.out.text.p : "";
        if (st != EYE_OK || strcmp(got, want) != 0) {
            n_failed++;
            print_error("%s: %s\n  template %s\n  want %s\n  got  %s\n", name, st == EYE_OK ? "" : err.text,
                        json_string_value(template), want, got);
        }
        assert_true(!t || r.out.text.len == r.out.origin.len);
        if (t) eye_jinja_run_clear(&r);
        eye_jinja_free(t);
    }
    assert_true(i > 150);
    assert_int_equal(n_failed, 0);
    json_decref(file);
}

/* The first error that a template meets, parsed and rendered with x = "text". */
static enum eye_status first_error(const char *src, size_t n, struct eye_err *err) {
    json_t *vars = json_pack("{s:s,s:[i,i]}", "x", "text", "l", 1, 2);
    struct eye_jinja *t;
    struct eye_jrun r;
    *err = (struct eye_err){0};
    enum eye_status st = eye_jinja_parse(&t, src, n, "t.jinja", NULL, err);
    if (st == EYE_OK) {
        st = render(&r, t, vars, err);
        eye_jinja_run_clear(&r);
        eye_jinja_free(t);
    }
    json_decref(vars);
    return st;
}

static void refusals_name_place_and_construct(void **state) {
    static const struct { const char *src; enum eye_status code; const char *text; } cases[] = {
        {"a\n{% include 'x' %}", EYE_E_UNSUPPORTED, "t.jinja:2:4: the statement \"include\" is not supported"},
        {"{% call m() %}{% endcall %}", EYE_E_UNSUPPORTED, "\"call\""},
        {"{{ x | dictsort }}", EYE_E_UNSUPPORTED, "t.jinja:1:8: the filter \"dictsort\" is not supported"},
        {"{{ x is filter }}", EYE_E_UNSUPPORTED, "the test \"filter\""},
        {"{{ x.zfill(3) }}", EYE_E_UNSUPPORTED, "the method \"zfill\" of a string"},
        {"{{ l.append(3) }}", EYE_E_UNSUPPORTED, "the method \"append\" of a list"},
        {"{{ x.__class__.__mro__ }}", EYE_E_ARG, "the member \"__mro__\" of an undefined value"}, /* CVE-2024-34359 */
        {"{{ lipsum.__globals__['os'].popen('id').read() }}", EYE_E_ARG, "undefined value"},
        {"{{ cycler() }}", EYE_E_UNSUPPORTED, "the function \"cycler\""},
        {"{{ strftime_now('%d') }}", EYE_E_UNSUPPORTED, "\"strftime_now\""},
        {"{{ l }}", EYE_E_UNSUPPORTED, "a list cannot be written as text"},
        {"{{ 1 < 2 < 3 }}", EYE_E_UNSUPPORTED, "chain"},
        {"{{ '\xc3\xa9' | upper }}", EYE_E_UNSUPPORTED, "outside ASCII"},
        {"{{ raise_exception('no\nway') }}", EYE_E_ARG, "t.jinja:1:4: the template refuses this conversation: no way"},
        {"{{ nobody.said }}", EYE_E_ARG, "the member \"said\" of an undefined value"},
        {"{{ 1 + x }}", EYE_E_ARG, "arithmetic of an integer and a string"},
        {"{{ 1 // 0 }}", EYE_E_ARG, "a division by zero"},
        {"{{ 9223372036854775 * 9999999 }}", EYE_E_LIMIT, "beyond 64 bits"},
        {"{% set x.y = 1 %}", EYE_E_ARG, "only a namespace's members"},
        {"{{ range(1000000000) }}", EYE_E_LIMIT, "range"},
        {"{% if x %}", EYE_E_CORRUPT, "expected elif, else or endif"},
        {"{% endif %}", EYE_E_CORRUPT, "got endif, expected a statement"},
        {"{{ x", EYE_E_CORRUPT, "t.jinja:1:5: the template ends inside a tag, expected }}"},
        {"{{ 'x }}", EYE_E_CORRUPT, "the string is not closed"},
        {"\n\n  {{ x ! }}", EYE_E_CORRUPT, "t.jinja:3:8: got byte 0x21"},
        {"{{ (x }}", EYE_E_CORRUPT, "expected \")\""},
        {"{{ x y }}", EYE_E_CORRUPT, "got y, expected }}"},
        {"{# x", EYE_E_CORRUPT, "the comment is not closed"},
        {"{{ '\\N{DIGIT}' }}", EYE_E_CORRUPT, "no such escape"},
        {"{% for %}", EYE_E_CORRUPT, "expected a variable's name"},
        {"\xff", EYE_E_CORRUPT, "not UTF-8"},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_err err;
        enum eye_status st = first_error(cases[i].src, strlen(cases[i].src), &err);
        if (st != cases[i].code || !strstr(err.text, cases[i].text))
            fail_msg("%s: %d %s, expected %s", cases[i].src, (int)st, err.text, cases[i].text);
    }
}

static void expect_limit(const char *head, const char *unit, size_t n, const char *tail) {
    struct eye_buf src;
    struct eye_err err;
    eye_buf_init(&src, NULL);
    eye_buf_adds(&src, head);
    for (size_t i = 0; i < n; i++) eye_buf_adds(&src, unit);
    eye_buf_adds(&src, tail);
    assert_int_equal(first_error(src.p, src.len, &err), EYE_E_LIMIT);
    assert_null(strchr(err.text, '\n'));
    eye_buf_clear(&src);
}

static void hostile_templates_end(void **state) {
    expect_limit("{{ ", "(", 100000, "");
    expect_limit("{{ ", "[", 100000, "");
    expect_limit("{{ ", "not ", 100000, "x }}");
    expect_limit("{{ ", "-", 100000, "1 }}");
    expect_limit("{{ 1", "+1", 100000, " }}");
    expect_limit("{{ x", ".a", 100000, " }}");
    expect_limit("{{ x", "|d", 100000, " }}");
    expect_limit("{{ 1", " if x else 1", 50000, " }}");
    expect_limit("", "{% if x %}", 50000, "");
    expect_limit("", "{{x}}", 70000, "");
    expect_limit("", "x", EYE_JINJA_MAX_BYTES + 1, "");
    expect_limit("{% set ns = namespace(s='0123456789') %}", "{% set ns.s = ns.s ~ ns.s %}", 40, "");
    expect_limit("{% for a in range(100000) %}", "{% for b in range(100000) %}", 2, "x{% endfor %}{% endfor %}{% endfor %}");
    expect_limit("{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}", "", 0, "");
    expect_limit("{% set ns = namespace(l=[]) %}{% for i in range(90000) %}",
                 "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson }}", 1, "");
    expect_limit("{% set ns = namespace(s='a') %}{% for i in range(24) %}{% set ns.s = ns.s.replace('a', 'aa') %}{% endfor %}",
                 "{{ ns.s }}",
                 64, "");
}

static void bytes_remember_where_they_came_from(void **state) {
    static const char src[] = "[{{ (x ~ '!').strip().replace('b', 'B') | upper }}]{{ {'k': x[1:]} | tojson }}";
    /* the user's " abc " */
    static const char want[] = "[ABC !]{\"k\": \"abc \"}", origin[] = "tuuuutttttttttuuuutt";
    static const char letters[] = "twuia";
    json_t *vars = json_pack("{s:s}", "x", " abc ");
    struct eye_jinja *t;
    struct eye_jrun r;
    struct eye_err err;
    assert_int_equal(eye_jinja_parse(&t, src, sizeof src - 1, "t", NULL, &err), EYE_OK);
    assert_int_equal(render(&r, t, vars, &err), EYE_OK);
    assert_string_equal(r.out.text.p, want);
    for (size_t i = 0; i < r.out.text.len; i++) {
        char got = letters[(int)r.out.origin.p[i]], should = want[i] == 'B' ? 't' : origin[i];
        if (got != should) fail_msg("byte %zu (%c) is from %c, expected %c", i, want[i], got, should);
    }
    eye_jinja_run_clear(&r);
    eye_jinja_free(t);
    json_decref(vars);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_transformers),
        cmocka_unit_test(refusals_name_place_and_construct),
        cmocka_unit_test(hostile_templates_end),
        cmocka_unit_test(bytes_remember_where_they_came_from),
    };
    return cmocka_run_group_tests_name("jinja", tests, NULL, NULL);
}
