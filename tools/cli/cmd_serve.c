/* eyelet serve: the server of tools/serve as a command: options, the model, signals. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "json.h"
#include "serve.h"
#include "tls.h"

#define USUAL_BEAMS 4 /* of models that search */
#define MOST_ROWS 512 /* of the head at once */
#define GRACE_MS 10000 /* after the first Ctrl-C, for answers on their way */

struct serve_args {
    struct model_args model;
    struct sampling_args sampling;
    struct arg_list key, allow;
    const char *host, *key_file, *alias, *cors, *cache_file;
    int32_t n_parallel, cache_mib, port, max_body_mib, max_images, max_tokens, max_queue, max_connections, timeout_s,
        read_timeout_s;
    float max_megapixels;
    bool tls_self_signed, json;
};
_Static_assert(sizeof(struct serve_args) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct serve_args
static const struct arg serve_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_TEXT, 0, "host", "ADDRESS", "address to listen at (default 127.0.0.1: this machine only); 0.0.0.0 = all of IPv4",
     offsetof(T, host)},
    {ARG_INT, 0, "port", "N", "0 = one that is free", offsetof(T, port), 0, 65535, .def = 8080},
    {ARG_LIST, 0, "api-key", "KEY", "a key that is needed; may be repeated. Others see arguments: better a file, or the "
                                    "variable",
     offsetof(T, key)},
    {ARG_TEXT, 0, "api-key-file", "FILE", "keys, one per line", offsetof(T, key_file)},
    {ARG_INT, 0, "parallel", "N", "answers made at once, over one stream of the weights; each has a context of its own",
     offsetof(T, n_parallel), 1, 256, .def = SERVE_PARALLEL},
    {ARG_INT, 0, "cache-ram", "MIB", "for images and beginnings of prompts seen before; 0 = none", offsetof(T, cache_mib), 0,
     1 << 20, .def = SERVE_CACHE_BYTES >> 20},
    {ARG_TEXT, 0, "cache-file", "FILE", "keep these over a restart: read at the start, written at the end; not for "
                                        "strangers' eyes",
     offsetof(T, cache_file)},
    {ARG_TEXT, 0, "alias", "NAME", "the model's name in answers; left out: its file's", offsetof(T, alias)},
    {ARG_FLAG, 0, "tls-self-signed", NULL, "https, by a certificate that this machine makes for itself: phones give a page "
                                           "their "
     "camera only over https", offsetof(T, tls_self_signed)},
    {ARG_TEXT, 0, "cors", "ORIGIN", "pages of this origin may ask, \"https://example.org\" or \"*\"", offsetof(T, cors)},
    {ARG_LIST, 0, "allow-url", "HOST", "fetch pictures from there: \"example.org\", \"*.example.org\", \"*\", with :PORT; "
                                       "may be repeated",
     offsetof(T, allow)},
    {ARG_GROUP, .help = "Limits"},
    {ARG_INT, 0, "max-body", "MIB", "of a request", offsetof(T, max_body_mib), 1, 1024, .def = 32},
    {ARG_REAL, 0, "max-pixels", "MP", "megapixels of an image", offsetof(T, max_megapixels), 0.01, 100, .def = 32},
    {ARG_INT, 0, "max-images", "N", "of a request", offsetof(T, max_images), 1, CLI_MAX_IMAGES, .def = SERVE_IMAGES},
    {ARG_INT, 'n', "predict", "N", "tokens per answer at most, and where a request says nothing; 0 = as far as the context "
                                   "allows",
     offsetof(T, max_tokens), 0, 1 << 24},
    {ARG_INT, 0, "max-queue", "N", "requests that wait or run; more are told 429", offsetof(T, max_queue), 1, 1 << 20,
     .def = SERVE_QUEUE},
    {ARG_INT, 0, "max-connections", "N", "open at once", offsetof(T, max_connections), 1, 1 << 16, .def = SERVE_CONNECTIONS},
    {ARG_INT, 0, "timeout", "S", "seconds from a request to its last token", offsetof(T, timeout_s), 1, 1 << 24,
     .def = SERVE_REQUEST_S},
    {ARG_INT, 0, "read-timeout", "S", "seconds a request may take to arrive", offsetof(T, read_timeout_s), 1, 3600,
     .def = SERVE_READ_S},
    SAMPLING_ARGS(T),
    {ARG_GROUP, .help = "Output"},
    {ARG_FLAG, 0, "json", NULL, "the address as a JSON object", offsetof(T, json)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

struct keys {
    const char *item[SERVE_MAX_KEYS];
    size_t n;
    char *text; /* of the file */
};

static bool add_key(struct keys *k, const char *key) {
    if (k->n == SERVE_MAX_KEYS) return false;
    k->item[k->n++] = key;
    return true;
}

static int read_keys(struct ui *ui, const struct serve_args *a, struct keys *k) {
    size_t len;
    bool ok = true;
    for (int32_t i = 0; i < a->key.n; i++) {
        if (!a->key.item[i][0]) return ui_failf(ui, "--api-key is empty");
        ok = ok && add_key(k, a->key.item[i]);
    }
    if (a->key_file) {
        int code = cli_read_file(ui, a->key_file, &k->text, &len);
        if (code != EXIT_DONE) return code;
        size_t before = k->n;
        for (char *line = strtok(k->text, "\r\n"); line && ok; line = strtok(NULL, "\r\n")) ok = add_key(k, line);
        if (k->n == before) return ui_failf(ui, "%s: there is no key in it", a->key_file);
    }
    return ok ? EXIT_DONE : ui_failf(ui, "more than %d keys", SERVE_MAX_KEYS);
}

/* The model's name: its file's, without folder and ending. */
static void name_of(const char *path, char *out, size_t cap) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t from = n;
    while (from > 0 && path[from - 1] != '/') from--;
    snprintf(out, cap, "%.*s", (int)(n - from), path + from);
    char *dot = strrchr(out, '.');
    if (dot && dot != out && (strcmp(dot, ".gguf") == 0 || strcmp(dot, ".eyelet") == 0)) *dot = '\0';
}

/* At which addresses phones and other machines reach it, and by what they know it. */
static json_t *json_tls(const struct serve *s, const struct serve_tls *tls) {
    char at[TLS_MAX_ADDRESSES][TLS_ADDRESS_TEXT];
    json_t *list = json_array();
    for (size_t i = 0, n = serve_addresses(at); i < n; i++)
        json_array_append_new(list, json_sprintf("https://%s:%d", at[i], serve_port(s)));
    return json_pack("{s:s, s:o}", "fingerprint", tls->fingerprint, "addresses", list);
}

static void say_tls(struct ui *ui, const struct serve *s, const char *host, const struct serve_tls *tls) {
    char at[TLS_MAX_ADDRESSES][TLS_ADDRESS_TEXT];
    bool all = host && (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0);
    for (size_t i = 0, n = all ? serve_addresses(at) : 0; i < n; i++)
        ui_note(ui, "phones open https://%s:%d", at[i], serve_port(s));
    ui_note(ui, "browsers will warn of a certificate that nobody vouches for. Its SHA-256 fingerprint%s: %s",
            tls->made ? ", new" : "", tls->fingerprint);
}

static int say_where(struct ui *ui, const struct serve *s, const struct serve_args *a, const char *name,
                     const struct serve_tls *tls) {
    if (tls->cert_pem) say_tls(ui, s, a->host, tls);
    if (a->json) {
        json_t *o = json_pack("{s:s, s:i, s:o}", "url", serve_url(s), "port", serve_port(s), "model", json_outside(name));
        json_t *more = tls->cert_pem ? json_tls(s, tls) : NULL;
        if (more) json_object_update(o, more);
        json_decref(more);
        int code = json_print(ui, o);
        return fflush(stdout) == 0 ? code : EXIT_FAILED;
    }
    printf("%s\n", serve_url(s));
    return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

static void wait_for_end(void) {
    while (!ui_interrupted(NULL)) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
}

static bool is_private(const char *host) {
    return !host || strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

static int serve(struct ui *ui, const struct serve_args *a, const char *name, const struct keys *keys) {
    struct serve_opts o = {
        .host = a->host, .port = a->port, .name = name, .keys = keys->item, .n_keys = keys->n, .cors = a->cors,
        .allow_urls = a->allow.item, .n_allow_urls = (size_t)a->allow.n,
        .sampling = cli_generate_opts(&a->sampling), .n_parallel = a->n_parallel,
        .cache_bytes = (uint64_t)a->cache_mib << 20, .no_cache = a->cache_mib == 0,
        .cache_file = a->cache_file, .log = ui_log, .log_ctx = ui, .max_body_bytes =
            (uint64_t)a->max_body_mib << 20,
        .max_pixels = (uint64_t)((double)a->max_megapixels * 1e6), .max_images = a->max_images, .max_tokens = a->max_tokens,
        .max_queue = a->max_queue, .max_connections = a->max_connections, .read_s = a->read_timeout_s, .request_s =
            a->timeout_s};
    struct eye_model *model = NULL;
    struct eye_err err = {0};
    struct serve *s;
    struct serve_tls tls = {0};
    char folder[CLI_PATH_MAX];
    if (a->tls_self_signed) {
        if (serve_tls_make(serve_tls_folder(folder, sizeof folder) ? folder : NULL, &tls, &err) != EYE_OK) return ui_fail(ui,
                                                                                                                          &err);
        o.tls_cert = tls.cert_pem;
        o.tls_key = tls.key_pem;
    }
    ui_catch_interrupt(); /* before anybody knows that it is there */
    if (serve_start(&s, &o, &err) != EYE_OK) {
        serve_tls_clear(&tls);
        return ui_fail(ui, &err);
    }
    if (keys->n == 0 && !is_private(a->host))
        ui_note(ui, "without --api-key everybody who reaches %s can ask", serve_url(s));
    int code = say_where(ui, s, a, name, &tls);
    struct model_args how = a->model;
    int32_t rows = a->n_parallel * (a->sampling.n_beams ? a->sampling.n_beams : USUAL_BEAMS);
    how.n_parallel = rows < MOST_ROWS ? rows : MOST_ROWS;
    if (code == EXIT_DONE) code = cli_open(ui, &how, &model);
    if (code == EXIT_DONE && serve_use(s, model, &err) != EYE_OK) code = ui_fail(ui, &err);
    ui_clear(ui);
    if (code == EXIT_DONE) {
        ui_note(ui, "%s answers at %s; Ctrl-C ends", name, serve_url(s));
        wait_for_end();
    }
    serve_stop(s, code == EXIT_DONE ? GRACE_MS : 0);
    if (ui_interrupted(NULL)) code = EXIT_DONE; /* also while the model was loading: that is how a server ends */
    eye_model_close(model);
    serve_tls_clear(&tls);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct serve_args *a = opts;
    struct keys keys = {.n = 0};
    char buf[CLI_PATH_MAX], name[SERVE_MAX_NAME];
    struct ui ui;
    (void)operand, (void)n_operands;
    ui_init(&ui, a->model.quiet, a->model.verbose);
    const char *path = cli_model_path(&ui, a->model.path, buf);
    if (!path) return EXIT_FAILED;
    name_of(a->alias ? a->alias : path, name, sizeof name);
    if (a->alias) snprintf(name, sizeof name, "%s", a->alias);
    int code = read_keys(&ui, a, &keys);
    if (code == EXIT_DONE) code = serve(&ui, a, name, &keys);
    free(keys.text);
    return code;
}

static const struct example examples[] = {
    {"The default model, for programs and people on this machine", "eyelet serve"},
    {"What it says about a picture (doc/SERVE.md has more)",
     "curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d @request.json"},
    {"For a network, with a key", "EYELET_API_KEY=secret eyelet serve -m FastVLM-0.5B --host 0.0.0.0"},
    {NULL, NULL},
};

const struct command cmd_serve = {
    .name = "serve",
    .usage = "[-m MODEL] [--host ADDRESS] [--port N] [--api-key KEY]… [OPTIONS]",
    .summary = "OpenAI-compatible API over HTTP, and a page for people",
    .details = "The address goes to standard output as soon as it is listened at; until the model is loaded, /health and all\n"
               "requests are answered with 503. Sampling options are what requests without their own get. Ctrl-C and "
               "SIGTERM let\n"
               "answers on their way come to an end, 10 s at most. doc/SERVE.md says what is spoken.",
    .args = serve_args, .examples = examples, .opts_bytes = sizeof(struct serve_args), .run = run,
};
