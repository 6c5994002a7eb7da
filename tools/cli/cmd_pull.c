/* eyelet pull: a model from a hub into the cache that it shares with huggingface_hub. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "hub.h"
#include "json.h"

struct pull_opts {
    struct arg_list include;
    const char *dir, *endpoint;
    bool all, offline, json, quiet;
};
_Static_assert(sizeof(struct pull_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct pull_opts
static const struct arg pull_args[] = {
    {ARG_LIST, 0, "include", "PATTERN", "files to fetch (\"*Q8_0*\"), in place of what eyelet reads; may be repeated",
     offsetof(T, include)},
    {ARG_FLAG, 0, "all", NULL, "fetch every file of the repository", offsetof(T, all)},
    {ARG_FLAG, 0, "offline", NULL, "no network: say where an earlier pull put it", offsetof(T, offline)},
    {ARG_TEXT, 0, "hub-cache", "DIR", "the cache; left out: $HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub",
     offsetof(T, dir)},
    {ARG_TEXT, 0, "hub-endpoint", "URL", "the hub; left out: $HF_ENDPOINT or " HUB_ENDPOINT, offsetof(T, endpoint)},
    {ARG_FLAG, 0, "json", NULL, "one JSON object in place of the model's path", offsetof(T, json)},
    QUIET_ARG(T),
    {ARG_END},
};
#undef T

struct pulling {
    struct ui ui;
    uint64_t begin_us, first; /* bytes that were there when the first came */
    bool begun;
};

static void on_note(void *ctx, const char *text) { ui_note(&((struct pulling *)ctx)->ui, "%s", text); }

static void on_progress(void *ctx, const char *file, uint64_t done, uint64_t total) {
    struct pulling *p = ctx;
    char text[160], have[32], all[32];
    if (!p->begun) {
        p->begun = true;
        p->first = done;
        p->begin_us = ui_now_us();
    }
    double s = (double)(ui_now_us() - p->begin_us) / 1e6, rate = s > 0.5 ? (double)(done - p->first) / s : 0;
    size_t at = (size_t)snprintf(text, sizeof text, "%s of %s", cli_bytes(done, have, sizeof have), cli_bytes(total, all,
        sizeof all));
    if (rate > 0)
        at += (size_t)snprintf(text + at, sizeof text - at, ", %.1f MB/s, %.0f s left", rate / 1e6,
                               (double)(total - done) / rate);
    snprintf(text + at, sizeof text - at, ", %.40s", file);
    ui_progress(&p->ui, text, total ? (double)done / ((double)total + 1) : 0);
}

/* A token of the environment, or of the file where huggingface_hub's login puts it, in text [cap]. NULL = none. */
static const char *find_token(char *text, size_t cap) {
    const char *token = getenv("HF_TOKEN"), *home = getenv("HF_HOME"), *file = getenv("HF_TOKEN_PATH");
    char path[HUB_PATH_MAX];
    if (token && *token) {
        snprintf(text, cap, "%s", token);
    } else {
        if (file && *file) snprintf(path, sizeof path, "%s", file);
        else if (home && *home) snprintf(path, sizeof path, "%s/token", home);
        else snprintf(path, sizeof path, "%s/.cache/huggingface/token", getenv("HOME") ? getenv("HOME") : "");
        FILE *f = fopen(path, "r");
        if (!f || !fgets(text, (int)cap, f)) *text = '\0';
        if (f) fclose(f);
    }
    text[strcspn(text, " \t\r\n")] = '\0'; /* it becomes a header's line */
    return *text ? text : NULL;
}

/* huggingface_hub's flags: "1", "true", "yes", "on". */
static bool set_in_environment(const char *name) {
    static const char *const yes[] = {"1", "true", "True", "TRUE", "yes", "YES", "on", "ON"};
    const char *text = getenv(name);
    for (size_t i = 0; text && i < sizeof yes / sizeof yes[0]; i++)
        if (strcmp(text, yes[i]) == 0) return true;
    return false;
}

static int print(struct pulling *p, const struct pull_opts *o, const struct hub_name *name, const char *snapshot,
                 const char *commit,
                 const struct hub_listing *list) {
    char model[HUB_PATH_MAX], mmproj[HUB_PATH_MAX];
    hub_cache_model(snapshot, model, mmproj);
    if (mmproj[0]) ui_note(&p->ui, "its vision tower: --mmproj %s", mmproj);
    if (!o->json) {
        printf("%s\n", model);
        return EXIT_DONE;
    }
    json_t *files = json_array();
    for (size_t i = 0; i < list->n_files; i++)
        if (list->file[i].wanted)
            json_array_append_new(files, json_pack("{s:o,s:I,s:s}", "path", json_outside(list->file[i].path), "bytes",
                                                   (json_int_t)list->file[i].size, "id", list->file[i].blob));
    return json_print(&p->ui, json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:I}", "repo", name->repo, "revision", name->revision,
                                        "commit",
                                        commit, "path", json_outside(model), "snapshot", json_outside(snapshot), "mmproj",
                                        mmproj[0] ? json_outside(mmproj) : json_null(), "files", files, "fetched_bytes",
                                        (json_int_t)list->fetched_bytes));
}

static int fetch(struct pulling *p, const struct pull_opts *o, const struct hub_name *name, const char *cache) {
    char endpoint[1024], token[512], snapshot[HUB_PATH_MAX], size[32];
    struct eye_err err = {0};
    struct hub_listing list;
    const char *hub = o->endpoint && *o->endpoint ? o->endpoint : getenv("HF_ENDPOINT");
    if (snprintf(endpoint, sizeof endpoint, "%s", hub && *hub ? hub : HUB_ENDPOINT) >= (int)sizeof endpoint)
        return ui_failf(&p->ui, "HF_ENDPOINT is too long");
    for (size_t n = strlen(endpoint); n && endpoint[n - 1] == '/'; n--) endpoint[n - 1] = '\0';
    const struct hub_opts opts = {.endpoint = endpoint, .token = find_token(token, sizeof token), .cache = cache,
                                  .include = o->include.item, .n_include = (size_t)o->include.n, .all = o->all,
                                  .on_note = on_note,
                                  .on_progress = on_progress, .ctx = p, .cancel = ui_interrupted};
    ui_catch_interrupt();
    enum eye_status st = hub_pull(name, &opts, &list, &err);
    ui_clear(&p->ui);
    int code = st == EYE_OK ? EXIT_DONE : ui_fail(&p->ui, &err);
    if (st == EYE_OK && !hub_cache_path(cache, name->repo, snapshot, "/snapshots/%s", list.commit)) code = EXIT_FAILED;
    if (code == EXIT_DONE) {
        ui_note(&p->ui, "%s@%s: %zu of its %zu files, %s%s%s", name->repo, name->revision, list.n_wanted, list.n_files,
                cli_bytes(list.wanted_bytes, size, sizeof size), list.license[0] ? ", licence " : "", list.license);
        code = print(p, o, name, snapshot, list.commit, &list);
    }
    hub_listing_clear(&list);
    return code;
}

static int run(void *opts, char *const *operand, int n_operands) {
    const struct pull_opts *o = opts;
    struct pulling p = {.begun = false};
    struct hub_name name;
    struct eye_err err = {0};
    struct hub_listing none = {0};
    char cache[HUB_PATH_MAX], snapshot[HUB_PATH_MAX], commit[64];
    (void)n_operands;
    if (!hub_name_parse(operand[0], &name))
        return args_usage(&cmd_pull, "\"%s\", expected OWNER/NAME or OWNER/NAME@REVISION", operand[0]);
    if (o->all && o->include.n) return args_usage(&cmd_pull, "--all fetches everything, --include some: which of them?");
    ui_init(&p.ui, o->quiet, false);
    if (hub_cache_dir(o->dir, cache, &err) != EYE_OK) return ui_fail(&p.ui, &err);
    if (!o->offline && !set_in_environment("HF_HUB_OFFLINE")) return fetch(&p, o, &name, cache);
    if (hub_cache_find(cache, &name, snapshot, commit, &err) != EYE_OK) return ui_fail(&p.ui, &err);
    return print(&p, o, &name, snapshot, commit, &none);
}

static const struct example examples[] = {
    {"Fetch a model, then use it", "eyelet pull apple/FastVLM-0.5B && eyelet run -m apple/FastVLM-0.5B -i photo.jpg"},
    {"One file of many, of a commit", "eyelet pull ggml-org/SmolVLM-256M-Instruct-GGUF@main --include \"*Q8_0*\""},
    {"From a mirror", "HF_ENDPOINT=https://hub.example.org eyelet pull apple/FastVLM-0.5B"},
    {NULL, NULL},
};

const struct command cmd_pull = {
    .name = "pull",
    .usage = "OWNER/NAME[@REVISION] [--include PATTERN…|--all] [--offline]",
    .summary = "download a model from a Hugging Face style hub: resumed, verified, kept where huggingface_hub keeps it",
    .details = "Prints the path for -m; every command also takes OWNER/NAME[@REVISION] itself for a model that was pulled,\n"
               "and downloads nothing. Fetched are the files of the repository's top folder that eyelet reads: configuration,\n"
               "tokenizer, *.safetensors (pytorch_model*.bin where there are none), *.gguf. A call that was cut off is gone on\n"
               "with by the next. HF_TOKEN, or huggingface_hub's login, opens private and gated models; it is sent to the hub\n"
               "alone.",
    .args = pull_args, .examples = examples, .opts_bytes = sizeof(struct pull_opts), .operand = "OWNER/NAME[@REVISION]",
    .min_operands = 1, .max_operands = 1, .run = run,
};
