/* The server over loopback, in this process, on a small random model: what programs ask and get, who may ask, limits, clients
 * that
 * go away or dawdle. The client here speaks HTTP/1.0 where it reads streams, so that they come without chunk sizes. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "serve.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "tensor/tensor.h"

static struct eye_model *model;
static struct serve *server;

/* ---- a client ---- */

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void start(struct serve_opts o, bool ready) {
    struct eye_err err = {0};
    o.name = "tiny";
    if (!o.n_parallel) o.n_parallel = 2; /* contexts of 32768 */
    if (serve_start(&server, &o, &err) != EYE_OK) fail_msg("%s", err.text);
    if (ready && serve_use(server, model, &err) != EYE_OK) fail_msg("%s", err.text);
}

static void stop(void) {
    serve_stop(server, 0);
    server = NULL;
}

static int dial(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serve_port(server)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

static bool say(int fd, const char *text, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t k = send(fd, text + at, n - at, MSG_NOSIGNAL);
        if (k <= 0) return false;
        at += (size_t)k;
    }
    return true;
}

struct reply {
    int status; /* 0 = the connection was closed without a word */
    struct eye_buf all;
    const char *head, *body; /* in all */
    size_t n;
};

static struct reply listen_to(int fd) {
    struct reply r = {0};
    char buf[4096];
    ssize_t k;
    eye_buf_init(&r.all, NULL);
    while ((k = recv(fd, buf, sizeof buf, 0)) > 0) eye_buf_add(&r.all, buf, (size_t)k);
    close(fd);
    eye_buf_adds(&r.all, "");
    r.head = r.all.p ? r.all.p : "";
    char *end = strstr(r.head, "\r\n\r\n");
    if (strncmp(r.head, "HTTP/1.", 7) == 0) r.status = atoi(r.head + 9);
    r.body = end ? end + 4 : "";
    r.n = end ? r.all.len - (size_t)(end + 4 - r.all.p) : 0;
    return r;
}

static int begin(const char *method, const char *path, const char *headers, const char *body, size_t n) {
    char head[1024];
    int fd = dial(), len = snprintf(head, sizeof head, "%s %s HTTP/1.0\r\n%s", method, path, headers);
    if (body) len += snprintf(head + len, sizeof head - (size_t)len, "Content-Type: application/json\r\nContent-Length: "
                                                                     "%zu\r\n", n);
    len += snprintf(head + len, sizeof head - (size_t)len, "\r\n");
    say(fd, head, (size_t)len);
    if (body) say(fd, body, n);
    return fd;
}

static struct reply ask(const char *method, const char *path, const char *headers, const char *body) {
    return listen_to(begin(method, path, headers, body, body ? strlen(body) : 0));
}

static json_t *json_of(const struct reply *r) {
    json_t *o = json_loadb(r->body, r->n, 0, NULL);
    if (!o) fail_msg("no JSON: %s", r->all.p);
    return o;
}

/* Status and, in an error, its code. */
static void expect(const char *what, struct reply r, int status, const char *code) {
    if (r.status != status) fail_msg("%s: status %d, expected %d: %s", what, r.status, status, r.all.p);
    if (status >= 400) {
        json_t *o = json_of(&r), *e = json_object_get(o, "error"), *c = json_object_get(e, "code");
        assert_true(json_is_string(json_object_get(e, "message")) && json_is_string(json_object_get(e, "type")));
        if (code ? !json_is_string(c) || strcmp(json_string_value(c), code) : !json_is_null(c))
            fail_msg("%s: expected code %s: %s", what, code ? code : "null", r.body);
        json_decref(o);
    }
    eye_buf_clear(&r.all);
}

static json_t *path(json_t *o, const char *a, size_t i, const char *b, const char *c) {
    o = json_object_get(json_array_get(json_object_get(o, a), i), b);
    return c ? json_object_get(o, c) : o;
}

/* A counter or gauge of /metrics. */
static double metric(const char *name) {
    struct reply r = ask("GET", "/metrics", "", NULL);
    char line[128];
    snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(r.body, line);
    double v = at ? atof(at + strlen(line)) : -1;
    eye_buf_clear(&r.all);
    return v;
}

static void wait_for(const char *name, double v) {
    for (double end = now_s() + 30; metric(name) != v;) {
        if (now_s() > end) fail_msg("%s is %g, expected %g", name, metric(name), v);
        usleep(20000);
    }
}

#define CHAT "/v1/chat/completions"
#define LONG "{\"ignore_eos\":true,\"stream\":%s,\"messages\":[{\"role\":\"user\",\"content\":\"go on\"}]}"
static const char *long_one(bool stream) {
    static char text[256];
    snprintf(text, sizeof text, LONG, stream ? "true" : "false");
    return text;
}

/* ---- what is there ---- */

static void test_routes(void **state) {
    (void)state;
    struct reply r;
    start((struct serve_opts){0}, true);
    expect("health", ask("GET", "/health", "", NULL), 200, NULL);
    expect("head", ask("HEAD", "/health", "", NULL), 200, NULL);
    expect("props", ask("GET", "/props", "", NULL), 200, NULL);
    expect("model", ask("GET", "/v1/models/tiny", "", NULL), 200, NULL);
    expect("no model", ask("GET", "/v1/models/other", "", NULL), 404, "model_not_found");
    expect("nothing", ask("GET", "/nothing", "", NULL), 404, "not_found");
    expect("post", ask("POST", "/health", "", "{}"), 405, NULL);
    expect("get", ask("GET", CHAT, "", NULL), 405, NULL);
    expect("delete", ask("DELETE", "/v1/models", "", NULL), 405, NULL);
    expect("a body to a question without one", ask("GET", "/health", "", "{}"), 400, NULL);
    expect("form", ask("POST", CHAT, "Content-Type: text/plain\r\n", NULL), 415, NULL);
    r = ask("GET", "/v1/models", "", NULL);
    json_t *o = json_of(&r);
    assert_string_equal(json_string_value(path(o, "data", 0, "id", NULL)), "tiny");
    json_decref(o);
    eye_buf_clear(&r.all);
    r = ask("POST", "/tokenize", "", "{\"content\": \"one two\"}");
    o = json_of(&r);
    char *ids = json_dumps(o, 0);
    json_decref(o);
    eye_buf_clear(&r.all);
    r = ask("POST", "/detokenize", "", ids);
    o = json_of(&r);
    assert_string_equal(json_string_value(json_object_get(o, "content")), "one two");
    json_decref(o);
    free(ids);
    eye_buf_clear(&r.all);
    expect("unknown id", ask("POST", "/detokenize", "", "{\"tokens\": [99999999]}"), 400, NULL);
    expect("no list", ask("POST", "/detokenize", "", "{\"tokens\": 1}"), 400, NULL);
    expect("unknown field", ask("POST", "/tokenize", "", "{\"text\": \"a\"}"), 400, "unknown_field");
    stop();
}

static void test_page(void **state) {
    (void)state;
    char etag[128];
    start((struct serve_opts){.keys = (const char *const[]){"secret"}, .n_keys = 1}, false);
    struct reply r = ask("GET", "/", "", NULL);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: text/html"));
    assert_non_null(strstr(r.head, "Content-Security-Policy: default-src 'none'"));
    const char *tag = strstr(r.head, "ETag: ");
    assert_non_null(tag);
    snprintf(etag, sizeof etag, "If-None-Match: %.*s\r\n", (int)strcspn(tag + 6, "\r"), tag + 6);
    eye_buf_clear(&r.all);
    r = ask("GET", "/", etag, NULL);
    assert_int_equal(r.status, 304);
    assert_int_equal(r.n, 0);
    eye_buf_clear(&r.all);
    stop();
}

static void test_loading(void **state) {
    (void)state;
    struct eye_err err;
    start((struct serve_opts){0}, false);
    expect("health", ask("GET", "/health", "", NULL), 503, "loading");
    expect("models", ask("GET", "/v1/models", "", NULL), 503, "loading");
    expect("chat", ask("POST", CHAT, "", long_one(false)), 503, "loading");
    expect("page", ask("GET", "/", "", NULL), 200, NULL);
    expect("metrics", ask("GET", "/metrics", "", NULL), 200, NULL);
    assert_int_equal(serve_use(server, model, &err), EYE_OK);
    expect("health", ask("GET", "/health", "", NULL), 200, NULL);
    stop();
}

/* Each line is a comment, or a name, labels and a number; each name was announced by HELP and TYPE. */
static void test_metrics_grammar(void **state) {
    (void)state;
    start((struct serve_opts){0}, true);
    expect("chat", ask("POST", CHAT, "", "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"), 200, NULL);
    struct reply r = ask("GET", "/metrics", "", NULL);
    char type[64] = "", *save = NULL, *text = strdup(r.body);
    assert_non_null(strstr(r.head, "text/plain; version=0.0.4"));
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        double v;
        char *value = strrchr(line, ' '), tail;
        if (sscanf(line, "# TYPE %63s", type) == 1 || strncmp(line, "# HELP ", 7) == 0) continue;
        if (strncmp(line, type, strlen(type)) != 0) fail_msg("not announced: %s", line);
        assert_int_equal(sscanf(value + 1, "%lf%c", &v, &tail), 1);
        assert_non_null(strchr(" {_", line[strlen(type)]));
    }
    free(text);
    eye_buf_clear(&r.all);
    assert_true(metric("eyelet_tokens_predicted_total") == 3);
    assert_true(metric("eyelet_time_to_first_token_seconds_count") == 1);
    stop();
}

/* ---- who may ask ---- */

static void test_keys(void **state) {
    (void)state;
    const char *const keys[] = {"first-key", "second"};
    start((struct serve_opts){.keys = keys, .n_keys = 2}, true);
    expect("none", ask("GET", "/v1/models", "", NULL), 401, "missing_api_key");
    expect("wrong", ask("GET", "/v1/models", "Authorization: Bearer nope\r\n", NULL), 401, "invalid_api_key");
    expect("a part", ask("GET", "/v1/models", "Authorization: Bearer first\r\n", NULL), 401, "invalid_api_key");
    expect("twice", ask("GET", "/v1/models", "Authorization: Bearer secondsecond\r\n", NULL), 401, "invalid_api_key");
    expect("empty", ask("GET", "/v1/models", "Authorization: Bearer \r\n", NULL), 401, "invalid_api_key");
    expect("basic", ask("GET", "/v1/models", "Authorization: second\r\n", NULL), 401, "invalid_api_key");
    expect("metrics", ask("GET", "/metrics", "", NULL), 401, "missing_api_key");
    expect("post", ask("POST", CHAT, "", long_one(false)), 401, "missing_api_key");
    expect("right", ask("GET", "/v1/models", "Authorization: Bearer second\r\n", NULL), 200, NULL);
    expect("health", ask("GET", "/health", "", NULL), 200, NULL);
    stop();
}

static void test_origins(void **state) {
    (void)state;
    start((struct serve_opts){0}, true);
    char own[128];
    snprintf(own, sizeof own, "Host: localhost:%d\r\nOrigin: http://localhost:%d\r\n", serve_port(server), serve_port(server));
    expect("own page", ask("GET", "/v1/models", own, NULL), 200, NULL);
    expect("other page", ask("GET", "/v1/models", "Origin: https://evil.example\r\n", NULL), 403, "foreign_origin");
    expect("sandbox", ask("GET", "/v1/models", "Origin: null\r\n", NULL), 403, "foreign_origin");
    expect("preflight", ask("OPTIONS", CHAT, "Origin: https://evil.example\r\n", NULL), 403, "foreign_origin");
    expect("rebinding", ask("GET", "/v1/models", "Host: evil.example\r\n", NULL), 403, "wrong_host");
    expect("lookalike", ask("GET", "/v1/models", "Host: 127.0.0.1.evil.example\r\n", NULL), 403, "wrong_host");
    expect("by number", ask("GET", "/v1/models", "Host: 127.0.0.1:80\r\n", NULL), 200, NULL);
    stop();
    start((struct serve_opts){.cors = "https://app.example"}, true);
    struct reply r = ask("OPTIONS", CHAT, "Origin: https://app.example\r\nAccess-Control-Request-Headers: authorization\r\n",
                         NULL);
    assert_int_equal(r.status, 204);
    assert_non_null(strstr(r.head, "Access-Control-Allow-Origin: https://app.example"));
    assert_non_null(strstr(r.head, "Access-Control-Allow-Headers: authorization"));
    eye_buf_clear(&r.all);
    expect("another", ask("OPTIONS", CHAT, "Origin: https://evil.example\r\n", NULL), 403, "foreign_origin");
    stop();
}

/* ---- answers ---- */

#define PPM "UDYKMSAxCjI1NQr/AAA=" /* P6, 1 x 1, red */

/* The server's answer is the session's, whole and as a stream. */
static void test_chat(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_session *s;
    struct eye_result want;
    struct eye_image img;
    static const uint8_t red[] = {255, 0, 0};
    assert_int_equal(eye_image_wrap(&img, red, 1, 1, 0, &err), EYE_OK);
    const struct eye_message talk[] = {{EYE_MESSAGE_SYSTEM, "Be short.", 0}, {EYE_MESSAGE_USER, "one\ntwo", 1},
                                       {EYE_MESSAGE_ASSISTANT, "three", 0}, {EYE_MESSAGE_USER, "four", 0}};
    struct eye_query q = {.messages = talk, .n_messages = 4, .images = &img, .n_images = 1, .strangers = true};
    struct eye_generate_opts o = {.n_predict = 12, .ignore_eos = true};
    static const char *const body =
        "{\"model\":\"any\",\"max_completion_tokens\":12,\"ignore_eos\":true,\"user\":\"u\",\"tools\":null,%s\"messages\":["
        "{\"role\":\"developer\",\"content\":\"Be short.\"},"
        "{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"one\"},{\"type\":\"image_url\",\"image_url\":{\"url\":"
        "\"data:image/x-portable-pixmap;base64," PPM "\",\"detail\":\"auto\"}},{\"type\":\"text\",\"text\":\"two\"}]},"
        "{\"role\":\"assistant\",\"content\":\"three\",\"refusal\":null},{\"role\":\"user\",\"content\":\"four\"}]}";
    char text[1024];
    if (eye_session_new(model, NULL, &s, &err) != EYE_OK) fail_msg("%s", err.text);
    if (eye_session_generate(s, &q, &o, &want, &err) != EYE_OK) fail_msg("%s", err.text);
    start((struct serve_opts){0}, true);
    snprintf(text, sizeof text, body, "");
    struct reply r = ask("POST", CHAT, "", text);
    json_t *a = json_of(&r), *usage = json_object_get(a, "usage");
    assert_string_equal(json_string_value(path(a, "choices", 0, "message", "content")), want.text);
    assert_string_equal(json_string_value(path(a, "choices", 0, "finish_reason", NULL)), "length");
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), want.n_prompt_tok);
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 12);
    assert_true(json_number_value(json_object_get(json_object_get(a, "timings"), "first_token_ms")) > 0);
    json_decref(a);
    eye_buf_clear(&r.all);

    snprintf(text, sizeof text, body, "\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                                      "\"logprobs\":true,\"top_logprobs\":2,");
    r = ask("POST", CHAT, "", text);
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.head, "Content-Type: text/event-stream"));
    struct eye_buf said;
    eye_buf_init(&said, NULL);
    size_t n_tokens = 0, n_usage = 0;
    const char *at = r.body;
    for (; strncmp(at, "data: {", 7) == 0; at = strstr(at, "\n\n") + 2) {
        json_t *e = json_loadb(at + 6, (size_t)(strstr(at, "\n\n") - at - 6), 0, NULL), *text_of;
        assert_non_null(e);
        if ((text_of = path(e, "choices", 0, "delta", "content"))) eye_buf_adds(&said, json_string_value(text_of));
        n_tokens += json_array_size(path(e, "choices", 0, "logprobs", "content"));
        json_t *u = json_object_get(e, "usage");
        if (json_is_object(u)) n_usage += (size_t)json_integer_value(json_object_get(u, "completion_tokens"));
        json_decref(e);
    }
    assert_string_equal(at, "data: [DONE]\n\n");
    eye_buf_adds(&said, "");
    assert_string_equal(said.p, want.text);
    assert_int_equal(n_tokens, 12);
    assert_int_equal(n_usage, 12);
    eye_buf_clear(&said);
    eye_buf_clear(&r.all);
    eye_session_free(s);
    stop();
}

/* llama-server's own: whole, as a stream that has no [DONE], with log probabilities, a stop string, pictures. */
static void test_native(void **state) {
    (void)state;
    start((struct serve_opts){0}, true);
    static const char front[] = "{\"prompt\":\"once upon\",\"n_predict\":6,\"ignore_eos\":true,\"tfs_z\":1,"
                                "\"penalize_nl\":true,\"samplers\":[\"top_k\"],\"stop\":null,\"image_data\":[],";
    char text[1024];
    snprintf(text, sizeof text, "%s\"n_probs\":2,\"return_tokens\":true}", front);
    struct reply r = ask("POST", "/completion", "", text);
    json_t *a = json_of(&r), *p = json_object_get(a, "completion_probabilities");
    assert_true(json_is_true(json_object_get(a, "stop")));
    assert_string_equal(json_string_value(json_object_get(a, "stop_type")), "limit");
    assert_string_equal(json_string_value(json_object_get(a, "prompt")), "once upon");
    assert_int_equal(json_integer_value(json_object_get(a, "tokens_predicted")), 6);
    assert_int_equal(json_array_size(json_object_get(a, "tokens")), 6);
    assert_int_equal(json_array_size(p), 6);
    assert_int_equal(json_array_size(json_object_get(json_array_get(p, 5), "top_logprobs")), 2);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(p, 5), "id")),
                     json_integer_value(json_array_get(json_object_get(a, "tokens"), 5)));
    char *whole = strdup(json_string_value(json_object_get(a, "content")));
    json_decref(a);
    eye_buf_clear(&r.all);

    snprintf(text, sizeof text, "%s\"stream\":true}", front);
    r = ask("POST", "/completion", "", text);
    struct eye_buf said;
    eye_buf_init(&said, NULL);
    bool over = false;
    for (const char *at = r.body; *at; at = strstr(at, "\n\n") + 2) {
        assert_true(!over && strncmp(at, "data: {", 7) == 0);
        json_t *e = json_loadb(at + 6, (size_t)(strstr(at, "\n\n") - at - 6), 0, NULL);
        eye_buf_adds(&said, json_string_value(json_object_get(e, "content")));
        over = json_is_true(json_object_get(e, "stop"));
        json_decref(e);
    }
    eye_buf_adds(&said, "");
    assert_true(over);
    assert_string_equal(said.p, whole);
    eye_buf_clear(&said);
    eye_buf_clear(&r.all);

    char word[2] = {(char)(whole[strlen(whole) / 2] & 127), 0};
    if (word[0] >= 'A' && word[0] != '\\' && word[0] != 127) { /* a random model's: mostly letters */
        snprintf(text, sizeof text, "{\"prompt\":\"once upon\",\"n_predict\":6,\"ignore_eos\":true,\"stop\":[\"%s\"]}",
                 word);
        r = ask("POST", "/completion", "", text);
        a = json_of(&r);
        assert_string_equal(json_string_value(json_object_get(a, "stop_type")), "word");
        assert_string_equal(json_string_value(json_object_get(a, "stopping_word")), word);
        assert_null(strstr(json_string_value(json_object_get(a, "content")), word));
        json_decref(a);
        eye_buf_clear(&r.all);
    }
    free(whole);
    r = ask("POST", "/completion", "", "{\"prompt\":{\"prompt_string\":\"a <__media__> b\",\"multimodal_data\":[\"" PPM "\"]},"
                                       "\"n_predict\":3,\"json_schema\":{\"type\":\"integer\",\"minimum\":5,\"maximum\":9}}");
    a = json_of(&r);
    assert_int_equal(strlen(json_string_value(json_object_get(a, "content"))), 1);
    json_decref(a);
    eye_buf_clear(&r.all);
    expect("old images", ask("POST", "/completion", "", "{\"prompt\":\"a\",\"image_data\":[{\"data\":\"" PPM "\"}]}"), 400,
           "unknown_image_field");
    expect("two marks", ask("POST", "/completion", "", "{\"prompt\":{\"prompt_string\":\"<__media__> <__media__>\","
                            "\"multimodal_data\":[\"" PPM "\"]}}"), 400, NULL);
    expect("grammar", ask("POST", "/completion", "", "{\"prompt\":\"a\",\"grammar\":\"root ::= x\"}"), 400, "unsupported");
    stop();
}

/* Answers of a random model that are JSON all the same, and a schema that is not done. */
static void test_formats(void **state) {
    (void)state;
#define ASK(format) \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":60,\"response_format\":" format "}"
    static const char *const format[] = {
        ASK("{\"type\":\"json_object\"}"),
        ASK("{\"type\":\"json_object\",\"schema\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},"
            "\"required\":[\"n\"]}}"),
        ASK("{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"strict\":true,\"schema\":{\"type\":\"object\","
            "\"properties\":{\"n\":{\"type\":\"integer\"}},\"required\":[\"n\"]}}}")};
    start((struct serve_opts){0}, true);
    for (int i = 0; i < 3; i++) {
        struct reply r = ask("POST", CHAT, "", format[i]);
        assert_int_equal(r.status, 200);
        json_t *o = json_of(&r), *answer = json_loads(json_string_value(path(o, "choices", 0, "message", "content")), 0, NULL);
        assert_true(json_is_object(answer));
        if (i) assert_true(json_is_integer(json_object_get(answer, "n")));
        json_decref(answer);
        json_decref(o);
        eye_buf_clear(&r.all);
    }
    expect("keyword", ask("POST", CHAT, "", ASK("{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"not\":{}}}}")), 400,
           "invalid_schema");
#undef ASK
    stop();
}

static void test_completions(void **state) {
    (void)state;
    start((struct serve_opts){.max_tokens = 20}, true);
    struct reply r = ask("POST", "/v1/completions", "", "{\"prompt\":[\"once "
                                                        "upon\"],\"max_tokens\":5,\"logprobs\":2,\"ignore_eos\":true}");
    json_t *a = json_of(&r), *lp = path(a, "choices", 0, "logprobs", NULL);
    assert_string_equal(json_string_value(json_object_get(a, "object")), "text_completion");
    static const char *const list[] = {"tokens", "token_logprobs", "top_logprobs", "text_offset"};
    for (size_t i = 0; i < EYE_COUNT(list); i++) assert_int_equal(json_array_size(json_object_get(lp, list[i])), 5);
    json_decref(a);
    eye_buf_clear(&r.all);
    expect("more than given", ask("POST", "/v1/completions", "", "{\"prompt\":\"a\",\"max_tokens\":21}"), 400, NULL);
    r = ask("POST", "/v1/completions", "", "{\"prompt\":\"a\",\"ignore_eos\":true}");
    a = json_of(&r);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(a, "usage"), "completion_tokens")), 20);
    json_decref(a);
    eye_buf_clear(&r.all);
    stop();
}

/* ---- limits ---- */

static void test_bodies(void **state) {
    (void)state;
    start((struct serve_opts){.max_body_bytes = 4096}, true);
    size_t n = (size_t)100 << 20;
    char *big = malloc(n + 1);
    memset(big, 'x', n);
    expect("100 MB", listen_to(begin("POST", CHAT, "", big, n)), 413, "body_too_large");
    big[5000] = '\0';
    expect("a little too much", ask("POST", CHAT, "", big), 413, "body_too_large");
    int fd = dial(); /* who waits for a word hears it before sending anything */
    static const char waits[] = "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                             "application/json\r\nContent-Length: "
                                "99999999\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    say(fd, waits, sizeof waits - 1);
    expect("expected", listen_to(fd), 413, "body_too_large");
    fd = dial(); /* of unknown length */
    static const char chunked[] = "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                               "application/json\r\nTransfer-Encoding: "
                                  "chunked\r\nConnection: close\r\n\r\n1800\r\n";
    say(fd, chunked, sizeof chunked - 1);
    memset(big, ' ', 0x1800);
    say(fd, big, 0x1800);
    say(fd, "\r\n0\r\n\r\n", 7);
    expect("chunks", listen_to(fd), 413, "body_too_large");
    free(big);
    stop();
}

static void test_late_and_many(void **state) {
    (void)state;
    start((struct serve_opts){.request_s = 1, .max_queue = 1}, true);
    int fd = begin("POST", CHAT, "", long_one(false), strlen(long_one(false)));
    wait_for("eyelet_requests_processing", 1);
    expect("one too many", ask("POST", CHAT, "", long_one(false)), 429, "busy");
    expect("too late", listen_to(fd), 504, "timeout");
    struct reply r = ask("POST", CHAT, "", long_one(true)); /* a stream has begun: the error is its last event */
    assert_int_equal(r.status, 200);
    assert_non_null(strstr(r.body, "\"code\":\"timeout\""));
    assert_null(strstr(r.body, "[DONE]"));
    eye_buf_clear(&r.all);
    stop();
}

static void test_gone_clients(void **state) {
    (void)state;
    char buf[64];
    start((struct serve_opts){0}, true);
    for (int i = 0; i < 2; i++) {
        int fd = begin("POST", CHAT, "", long_one(i), strlen(long_one(i)));
        wait_for("eyelet_requests_processing", 1);
        if (i) assert_true(recv(fd, buf, sizeof buf, 0) > 0);
        close(fd);
        wait_for("eyelet_requests_cancelled_total", i + 1);
        wait_for("eyelet_requests_processing", 0);
    }
    expect("the next", ask("POST", CHAT, "", "{\"max_tokens\":2,\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}"), 200,
           NULL);
    stop();
}

/* One byte now and then: in the first line, in the headers, in the body. */
static void test_slow_clients(void **state) {
    (void)state;
    static const char *const first[] = {"GE", "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ",
                                        "POST " CHAT " HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
                                                     "application/json\r\nContent-Length: "
                                        "1000\r\n\r\n{"};
    start((struct serve_opts){.read_s = 1}, true);
    int fd[EYE_COUNT(first)];
    bool open[EYE_COUNT(first)];
    size_t n_open = EYE_COUNT(first);
    for (size_t i = 0; i < EYE_COUNT(first); i++) {
        open[i] = say(fd[i] = dial(), first[i], strlen(first[i]));
        assert_true(open[i]);
    }
    for (double end = now_s() + 20; n_open > 0 && now_s() < end;) {
        usleep(200000);
        for (size_t i = 0; i < EYE_COUNT(first); i++)
            if (open[i] && !say(fd[i], "x", 1)) open[i] = false, n_open--;
    }
    assert_int_equal(n_open, 0);
    for (size_t i = 0; i < EYE_COUNT(first); i++) close(fd[i]);
    expect("others", ask("GET", "/health", "", NULL), 200, NULL);
    stop();
}

static void test_stop_while_running(void **state) {
    (void)state;
    start((struct serve_opts){0}, true);
    int fd[3];
    for (int i = 0; i < 3; i++) fd[i] = begin("POST", CHAT, "", long_one(i == 0), strlen(long_one(i == 0)));
    wait_for("eyelet_requests_processing", 3);
    stop();
    for (int i = 0; i < 3; i++) {
        struct reply r = listen_to(fd[i]);
        assert_true(r.status == 0 || r.status == 503 || (i == 0 && r.status == 200));
        eye_buf_clear(&r.all);
    }
}

/* What was seen before a restart is not looked at again. */
static void test_restart(void **state) {
    (void)state;
    static const char body[] = "{\"max_tokens\":3,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\","
                               "\"image_url\":\"data:image/x-portable-pixmap;base64," PPM "\"}]}]}";
    const char *file = eye_scratch_path("caches");
    for (int i = 0; i < 2; i++) {
        start((struct serve_opts){.cache_file = file, .cache_bytes = 8 << 20}, true);
        struct reply r = ask("POST", CHAT, "", body);
        json_t *a = json_of(&r), *t = json_object_get(a, "timings");
        assert_true((json_number_value(json_object_get(t, "vision_ms")) > 0) == (i == 0));
        assert_true((json_integer_value(json_object_get(t, "cache_n")) > 0) == (i == 1));
        json_decref(a);
        eye_buf_clear(&r.all);
        stop();
    }
    eye_scratch_write("caches", "nonsense", 8);
    start((struct serve_opts){.cache_file = file}, true); /* no reason to fail */
    expect("after a bad file", ask("POST", CHAT, "", body), 200, NULL);
    stop();
}

static int make(void **state) {
    (void)state;
    struct eye_err err = {0};
    const char *folder = eye_scratch_path("model");
    struct eye_model_opts m = {.n_ctx = 32768};
    if (eye_make_tiny(folder, &err) == EYE_OK && eye_model_open(folder, &m, &model, &err) == EYE_OK) return 0;
    fprintf(stderr, "%s\n", err.text);
    return 1;
}

static int unmake(void **state) {
    (void)state;
    eye_model_close(model);
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_routes),
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_loading),
        cmocka_unit_test(test_metrics_grammar),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_origins),
        cmocka_unit_test(test_chat),
        cmocka_unit_test(test_native),
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_completions),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_late_and_many),
        cmocka_unit_test(test_gone_clients),
        cmocka_unit_test(test_slow_clients),
        cmocka_unit_test(test_stop_while_running),
        cmocka_unit_test(test_restart),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
