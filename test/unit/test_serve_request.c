/* Requests as bytes: what is taken, what is refused and by which name, base64, pictures within limits, hostile JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "request.h"

static const struct serve_opts opts = {.max_images = 2, .max_pixels = 1, .max_tokens = 50, .sampling = {.temperature = 0.5f}};

#define USER(content) "{\"messages\":[{\"role\":\"user\",\"content\":" content "}]}"
#define WITH(field) "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]," field "}"
#define IMAGE(part) USER("[" part "]")
#define PPM "data:image/x-portable-pixmap;base64,UDYKMSAxCjI1NQr/AAA=" /* P6, 1 x 1 */
#define WIDE "data:;base64,UDYKMiAxCjI1NQoAAAAAAAA=" /* P6, 2 x 1 */

static struct serve_seen *seen;

/* Parses, and looks at the pictures. */
static bool take(struct serve_request *r, enum serve_kind kind, const char *body, size_t n, struct serve_error *e) {
    static struct serve_budget budget = {.most = 1 << 20};
    const struct serve_picture_opts how = {.max_pixels = opts.max_pixels, .budget = &budget, .seen = seen};
    char *exact = malloc(n ? n : 1);
    memcpy(exact, body, n);
    memset(e, 0, sizeof *e);
    bool ok = serve_request_parse(r, kind, exact, n, &opts, e);
    if (ok && !(ok = serve_pictures_decode(&r->pictures, &how, e))) serve_request_clear(r);
    free(exact);
    if (!ok && (e->status < 400 || e->status > 503 || !e->text[0] || !e->type)) fail_msg("a refusal without a reason: %.200s",
                                                                                         body);
    return ok;
}

static void test_refusals(void **state) {
    (void)state;
    static const struct { const char *body; int status; const char *code, *param, *says; } bad[] = {
        {"", 400, NULL, "", "no body"},
        {"{", 400, "invalid_json", "", "not JSON"},
        {"[]", 400, NULL, "", "not an object"},
        {"{\"a\":1,\"a\":2}", 400, "invalid_json", "", "duplicate"},
        {WITH("\"seed\":99999999999999999999"), 400, "invalid_json", "", "integer"},
        {"{\"x\":\"\\u0000\"}", 400, "invalid_json", "", ""},
        {"{\"x\":\"\xff\"}", 400, "invalid_json", "", ""},
        {"{}", 400, NULL, "messages", "messages"},
        {"{\"messages\":[]}", 400, NULL, "messages", "at least one"},
        {"{\"messages\":[1]}", 400, NULL, "messages[0]", "role"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}", 400, NULL, "messages[0]", "tool"},
        {"{\"messages\":[{\"role\":\"user\"}]}", 400, NULL, "messages[0].content", "expected"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"images\":[\"AAAA\"]}]}", 400, "unknown_image_field",
         "messages[0]",
         "image_url"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}", 400, "unknown_field", "messages[0]", "tool_calls"},
        {WITH("\"images\":[]"), 400, "unknown_image_field", "images", "image_url"},
        {WITH("\"image_data\":null"), 400, "unknown_image_field", "image_data", "image_url"},
        {WITH("\"colour\":1"), 400, "unknown_field", "colour", "colour"},
        {WITH("\"prompt\":\"x\""), 400, "unknown_field", "prompt", "prompt"},
        {WITH("\"temperature\":\"hot\""), 400, NULL, "temperature", "number"},
        {WITH("\"temperature\":-1"), 400, NULL, "temperature", "from 0"},
        {WITH("\"temperature\":1e999"), 400, "invalid_json", "", ""},
        {WITH("\"top_p\":1.5"), 400, NULL, "top_p", "from 0 to 1"},
        {WITH("\"top_k\":2.5"), 400, NULL, "top_k", "whole"},
        {WITH("\"max_tokens\":0"), 400, NULL, "max_tokens", "at least 1"},
        {WITH("\"max_tokens\":-5"), 400, NULL, "max_tokens", "at least 1"},
        {WITH("\"max_tokens\":51"), 400, NULL, "max_tokens", "at most 50"},
        {WITH("\"n\":2"), 400, "unsupported", "n", "only 1"},
        {WITH("\"tools\":[{}]"), 400, "unsupported", "tools", "not done"},
        {WITH("\"logit_bias\":{\"1\":5}"), 400, "unsupported", "logit_bias", "not done"},
        {WITH("\"mirostat\":2"), 400, "unsupported", "mirostat", "only 0"},
        {WITH("\"stop\":\"\""), 400, NULL, "stop", "not empty"},
        {WITH("\"stop\":[\"a\",1]"), 400, NULL, "stop", "strings"},
        {WITH("\"stream\":1"), 400, NULL, "stream", "true or false"},
        {WITH("\"stream_options\":{\"x\":true}"), 400, "unknown_field", "stream_options", "x"},
        {WITH("\"logprobs\":3"), 400, NULL, "logprobs", "true or false"},
        {WITH("\"top_logprobs\":3"), 400, NULL, "top_logprobs", "logprobs"},
        {WITH("\"logprobs\":true,\"top_logprobs\":21"), 400, NULL, "top_logprobs", "20"},
        {WITH("\"n_beams\":3"), 400, NULL, "n_beams", "temperature"},
        {WITH("\"response_format\":{\"type\":\"regex\"}"), 400, "unsupported_response_format", "response_format", "regex"},
        {WITH("\"response_format\":{\"type\":\"json_schema\"}"), 400, NULL, "response_format", "schema"},
        {WITH("\"response_format\":\"json\""), 400, NULL, "response_format", "type"},
        {WITH("\"modalities\":[\"text\",\"audio\"]"), 400, "unsupported", "modalities", "text"},
        {IMAGE("{\"type\":\"image\",\"source\":1}"), 400, "unknown_image_field", "messages[0].content[0]", "image_url"},
        {IMAGE("{\"type\":\"input_audio\",\"input_audio\":{}}"), 400, "unknown_image_field", "messages[0].content[0]",
         "input_audio"},
        {IMAGE("{\"type\":\"text\",\"text\":\"x\",\"image\":\"y\"}"), 400, "unknown_image_field", "messages[0].content[0]",
         "image"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":{}}"), 400, NULL, "messages[0].content[0].image_url", "url"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PPM "\",\"size\":3}}"), 400, "unknown_image_field",
         "messages[0].content[0].image_url", "size"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PPM "\",\"detail\":\"most\"}}"), 400, NULL,
         "messages[0].content[0].image_url", "auto"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"http://example.org/x.jpg\"}"), 400, "remote_image",
         "messages[0].content[0].image_url", "fetches no"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"file:///etc/passwd\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", "file"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"/etc/passwd\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", ""},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:image/png\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url",
         "comma"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:image/png,AAAA\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", "base64"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:text/html;base64,AAAA\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", "text/html"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", "nothing"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,AA*A\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", "character 2"},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:image/png;base64,AAAA\"}"), 400, "invalid_image",
         "messages[0].content[0].image_url", ""},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"" WIDE "\"}"), 413, "image_too_large",
         "messages[0].content[0].image_url", ""},
        {IMAGE("{\"type\":\"image_url\",\"image_url\":\"" PPM "\"},{\"type\":\"image_url\",\"image_url\":\"" PPM
               "\"},{\"type\":\"image_url\",\"image_url\":\"" PPM "\"}"), 400, "too_many_images",
               "messages[0].content[2].image_url",
         "more than 2"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":[{\"type\":\"image_url\",\"image_url\":\"" PPM "\"}]}]}", 400, NULL,
         "messages[0].content", "user's"},
    };
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        struct serve_request r;
        struct serve_error e;
        if (take(&r, SERVE_CHAT, bad[i].body, strlen(bad[i].body), &e)) fail_msg("taken: %s", bad[i].body);
        bool code = bad[i].code ? e.code && strcmp(e.code, bad[i].code) == 0 : !e.code;
        if (e.status != bad[i].status || !code || strcmp(e.param, bad[i].param) != 0 || !strstr(e.text, bad[i].says))
            fail_msg("%s: %d %s %s: %s", bad[i].body, e.status, e.code ? e.code : "null", e.param, e.text);
        char *json = serve_error_json(&e);
        assert_non_null(json);
        free(json);
    }
}

static void test_what_is_taken(void **state) {
    (void)state;
    struct serve_request r;
    struct serve_error e;
    static const char body[] =
        "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true,\"include_obfuscation\":false},"
        "\"max_tokens\":7,"
        "\"temperature\":null,\"top_p\":0.25,\"top_k\":-1,\"min_p\":0,\"seed\":5,\"stop\":[\"a\",\"bc\"],\"logprobs\":true,"
        "\"repeat_last_n\":-1,\"tools\":[],\"tool_choice\":\"none\",\"n\":1,"
        "\"response_format\":{\"type\":\"text\"},\"messages\":["
        "{\"role\":\"system\",\"content\":\"s\",\"name\":\"x\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[]},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PPM "\",\"detail\":\"low\"}},"
        "{\"type\":\"text\",\"text\":\"two\"}]}]}";
    if (!take(&r, SERVE_CHAT, body, sizeof body - 1, &e)) fail_msg("%s", e.text);
    assert_int_equal(r.n_messages, 3);
    assert_int_equal(r.message[1].role, EYE_MESSAGE_ASSISTANT);
    assert_null(r.message[1].text);
    assert_string_equal(r.message[2].text, "one\ntwo");
    assert_int_equal(r.message[2].n_images, 1);
    assert_int_equal(r.pictures.image[0].width, 1);
    assert_int_equal(r.pictures.image[0].rgb[0], 255);
    assert_true(r.gen.temperature == 0.5f); /* null: as if it were not there */
    assert_true(r.gen.top_p == 0.25f && r.gen.top_k == 0 && r.gen.seed == 5 && r.gen.n_predict == 7 && r.gen.penalty_last_n ==
        -1);
    assert_int_equal(r.gen.n_stop, 2);
    assert_string_equal(r.gen.stop[1], "bc");
    assert_true(r.stream && r.include_usage && r.logprobs && r.n_top == 0 && r.gen.n_logprobs == 1);
    struct eye_query q = serve_request_query(&r);
    assert_true(q.strangers && q.n_images == 1 && q.n_messages == 3 && !q.raw);
    serve_request_clear(&r);

    static const char text[] = "{\"prompt\":\"once\",\"logprobs\":0,\"echo\":false}";
    if (!take(&r, SERVE_COMPLETION, text, sizeof text - 1, &e)) fail_msg("%s", e.text);
    assert_string_equal(serve_request_query(&r).text, "once");
    assert_true(serve_request_query(&r).raw && r.logprobs && r.gen.n_predict == 50);
    serve_request_clear(&r);

    static const char alone[] = USER("[{\"type\":\"image_url\",\"image_url\":\"" PPM "\"}]");
    if (!take(&r, SERVE_CHAT, alone, sizeof alone - 1, &e)) fail_msg("%s", e.text);
    assert_null(r.message[0].text); /* the model's own question */
    serve_request_clear(&r);
}

static void test_base64(void **state) {
    (void)state;
    static const struct { const char *text, *bytes; } good[] = {
        {"", ""}, {"Zg==", "f"}, {"Zg", "f"}, {"Zm8=", "fo"}, {"Zm9v", "foo"}, {"Zm9v\nYmFy", "foobar"},
        {"-_-_", "\xfb\xff\xbf"},
        {"+/+/", "\xfb\xff\xbf"}, {" Z g = = ", "f"}};
    static const struct { const char *text; size_t at; } bad[] = {
        {"Z", 1}, {"=", 0}, {"Zg=", 3}, {"Zg===", 4}, {"Zg=a", 3}, {"Zm9v=", 4}, {"Zm%3D", 2}, {"Zm9vZ", 5}};
    unsigned char out[64];
    size_t n, at;
    for (size_t i = 0; i < EYE_COUNT(good); i++) {
        assert_true(serve_base64(good[i].text, strlen(good[i].text), out, &n, &at));
        assert_int_equal(n, strlen(good[i].bytes));
        assert_memory_equal(out, good[i].bytes, n);
    }
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        assert_false(serve_base64(bad[i].text, strlen(bad[i].text), out, &n, &at));
        assert_int_equal(at, bad[i].at);
    }
}

/* What all requests hold together is bounded, and given back. */
static void test_budget(void **state) {
    (void)state;
    struct serve_budget budget = {.most = 4}; /* one pixel of three bytes */
    const struct serve_picture_opts how = {.max_pixels = 100, .budget = &budget};
    struct serve_request a, b;
    struct serve_error e;
    static const char body[] = USER("[{\"type\":\"image_url\",\"image_url\":\"" PPM "\"}]");
    assert_true(serve_request_parse(&a, SERVE_CHAT, body, sizeof body - 1, &opts, &e));
    assert_true(serve_request_parse(&b, SERVE_CHAT, body, sizeof body - 1, &opts, &e));
    assert_true(serve_pictures_decode(&a.pictures, &how, &e));
    assert_false(serve_pictures_decode(&b.pictures, &how, &e));
    assert_int_equal(e.status, 503);
    serve_request_clear(&a);
    serve_request_clear(&b);
    assert_int_equal(budget.used, 0);
    assert_true(serve_request_parse(&b, SERVE_CHAT, body, sizeof body - 1, &opts, &e));
    assert_true(serve_pictures_decode(&b.pictures, &how, &e));
    serve_request_clear(&b);
    assert_int_equal(budget.used, 0);
}

/* Large pictures do not go through the JSON parser: all that is said about small ones holds for them. */
static void test_far(void **state) {
    (void)state;
    static const char front[] = "{\"stop\":\"data:\",\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                                "\"image_url\":", base[] = "data:image/x-portable-pixmap;base64,UDYKMSAxCjI1NQr/AAA";
    static const struct { const char *open, *close; bool ok; } form[] = {
        {"{\"url\" : ", "\"}}]}]}", true}, {"", "\"}]}]}", true}, {"{\"url\": \n ", "\",\"detail\":\"low\"}}]}]}", true},
        {"", "*\"}]}]}", false}, {"", "\\u0041\"}]}]}", true}, {"", "\\n\"}]}]}", true}, {"", "\n\"}]}]}", false},
        {"", "\x80\"}]}]}", false}, {"", "", false}, {"", "\"", false}, {"{\"name\":", "\"}}]}]}", false}};
    char body[8192];
    struct serve_request r;
    struct serve_error e;
    for (size_t n_pad = 900; n_pad < 5000; n_pad += 1032)
        for (size_t i = 0; i < EYE_COUNT(form); i++) {
            size_t n = (size_t)snprintf(body, sizeof body, "%s%s\"%s", front, form[i].open, base);
            memset(body + n, 'A', n_pad);
            n += n_pad;
            n += (size_t)snprintf(body + n, sizeof body - n, "%s", form[i].close);
            if (take(&r, SERVE_CHAT, body, n, &e) != form[i].ok) fail_msg("%zu, %zu bytes: %s", i, n_pad, e.text);
            if (!form[i].ok) continue;
            assert_int_equal(r.pictures.image[0].rgb[0], 255);
            assert_string_equal(r.gen.stop[0], "data:");
            serve_request_clear(&r);
        }
    static const char mark[] = IMAGE("{\"type\":\"image_url\",\"image_url\":\"data:@0\"}");
    assert_false(take(&r, SERVE_CHAT, mark, sizeof mark - 1, &e));
    assert_string_equal(e.code, "invalid_image");
}

/* The same file is decoded once while there is room for it, and stays while somebody holds it. */
static void test_seen(void **state) {
    (void)state;
    struct eye_err err;
    struct serve_seen *s = serve_seen_new(1000);
    struct serve_seen_entry *e[4];
    unsigned char file[4][64];
    for (int i = 0; i < 4; i++) {
        struct eye_image img, again;
        memcpy(file[i], "P6\n5 5\n255\n", 11);
        memset(file[i] + 11, i, 53);
        unsigned char whole[11 + 75];
        memcpy(whole, file[i], 11);
        memset(whole + 11, i, 75);
        assert_null(serve_seen_find(s, file[i], 64, &again));
        assert_int_equal(eye_image_decode(whole, sizeof whole, NULL, &img, &err), EYE_OK);
        assert_non_null(e[i] = serve_seen_keep(s, file[i], 64, &img));
        assert_ptr_equal(serve_seen_find(s, file[i], 64, &again), e[i]);
        assert_true(again.rgb == img.rgb && img.rgb[74] == i && img.width == 5);
        serve_seen_release(s, e[i]);
        eye_image_free(&img); /* borrowed: nothing */
    }
    struct eye_image img, large;
    static unsigned char pixels[3 * 400];
    for (int i = 0; i < 4; i++) {
        assert_ptr_equal(serve_seen_find(s, file[i], 64, &img), e[i]);
        serve_seen_release(s, e[i]);
    }
    assert_int_equal(eye_image_wrap(&large, pixels, 20, 20, 0, &err), EYE_OK);
    assert_null(serve_seen_keep(s, pixels, 8, &large)); /* more than half of all */
    for (int i = 0; i < 6; i++) { /* others push all of them out; those that are held keep their pixels */
        struct eye_image other;
        assert_int_equal(eye_image_wrap(&other, pixels, 10, 10, 0, &err), EYE_OK);
        unsigned char name[2] = {(unsigned char)i, 1};
        serve_seen_release(s, serve_seen_keep(s, name, 2, &other));
    }
    for (int i = 0; i < 4; i++) assert_null(serve_seen_find(s, file[i], 64, &img));
    for (int i = 0; i < 4; i++) serve_seen_release(s, e[i]);
    serve_seen_free(s);
}

static void test_hostile_json(void **state) {
    (void)state;
    struct serve_request r;
    struct serve_error e;
    size_t n = 1 << 20;
    char *p = malloc(n);
    memset(p, '[', n);
    assert_false(take(&r, SERVE_CHAT, p, n, &e));
    assert_non_null(strstr(e.text, "deeper"));
    for (size_t i = 0; i < n; i++) p[i] = i % 2 ? ',' : '0';
    p[0] = '[';
    assert_false(take(&r, SERVE_CHAT, p, n, &e));
    assert_non_null(strstr(e.text, "more than"));
    memset(p, '\\', n); /* an escape at the very end of a string that does not end */
    p[0] = '"';
    assert_false(take(&r, SERVE_CHAT, p, n, &e));
    free(p);
    /* every beginning of a request is refused; changed ones are anything but a crash */
    static const char body[] =
        "{\"stop\":[\"a\"],\"seed\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\"},"
        "{\"type\":\"image_url\",\"image_url\":{\"url\":\"" PPM "\"}}]}]}";
    for (size_t len = 0; len < sizeof body - 1; len++) assert_false(take(&r, SERVE_CHAT, body, len, &e));
    uint64_t x = 88172645463325252u;
    int n_taken = 0;
    for (int round = 0; round < 20000; round++) {
        char copy[sizeof body];
        memcpy(copy, body, sizeof body);
        for (int k = 0; k < 1 + round % 3; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            copy[x % (sizeof body - 1)] = (char)(x >> 32);
        }
        if (!take(&r, round % 2 ? SERVE_CHAT : SERVE_COMPLETION, copy, sizeof body - 1, &e)) continue;
        n_taken++;
        serve_request_clear(&r);
    }
    assert_true(n_taken > 10);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_what_is_taken),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_budget),
        cmocka_unit_test(test_far),
        cmocka_unit_test(test_seen),
        cmocka_unit_test(test_hostile_json),
    };
    seen = serve_seen_new(1 << 16);
    int n_failed = cmocka_run_group_tests(tests, NULL, NULL);
    serve_seen_free(seen);
    return n_failed;
}
