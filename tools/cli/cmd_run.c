/* eyelet run: image(s) and a prompt to text, streamed to stdout. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/experimental.h"
#include "json.h"

struct run_opts {
    struct model_args model;
    struct sampling_args sampling;
    struct form_args form;
    struct eye_grammar *grammar; /* of form, made here */
    struct arg_list image;
    const char *prompt, *profile, *cache;
    int32_t n_predict, n_lookup, n_logprobs, image_position;
    bool raw, truncate, no_exif, json;
};
_Static_assert(sizeof(struct run_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

#define T struct run_opts
static const struct arg run_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'i', "image", "FILE", "picture, \"-\" for standard input; may be repeated", offsetof(T, image)},
    {ARG_TEXT, 'p', "prompt", "TEXT", "what to ask; left out: a description of the image", offsetof(T, prompt)},
    {ARG_TEXT, 0, "cache", "FILE", "go on from what \"eyelet cache\" wrote: its images and first words are not computed again",
     offsetof(T, cache)},
    {ARG_INT, 'n', "predict", "N", "tokens at most; 0 = as far as the context allows", offsetof(T, n_predict), 0, 1 << 24,
     .def = 256},
    {ARG_FLAG, 0, "raw", NULL, "no chat template: the prompt as it stands, <image> marks the image's place", offsetof(T, raw)},
    IMAGE_POSITION_ARG(T, image_position),
    {ARG_FLAG, 0, "truncate", NULL, "cut the end of a prompt that does not fit the context", offsetof(T, truncate)},
    NO_EXIF_ARG(T),
    SAMPLING_ARGS(T),
    FORM_ARGS(T, 'j'),
    {ARG_INT, 0, "lookup", "N", "guess up to N tokens where the answer repeats what stands before it; changes no answer",
     offsetof(T, n_lookup), 0, 16},
    {ARG_GROUP, .help = "Output"},
    {ARG_FLAG, 0, "json", NULL, "one JSON object instead of text", offsetof(T, json)},
    {ARG_INT, 0, "logprobs", "N", "with --json: log probabilities, and N alternatives per token", offsetof(T, n_logprobs), 0,
     1000},
    {ARG_TEXT, 0, "profile", "FILE", "write a Genie profile", offsetof(T, profile)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

/* ---- --json ---- */

static void add_ms(json_t *o, const char *name, uint64_t us) { json_object_set_new(o, name, json_real((double)us / 1000)); }

static json_t *timings_json(const struct eye_result *r) {
    json_t *o = json_object();
    add_ms(o, "image_decode_ms", r->timings.image_decode_us);
    add_ms(o, "preprocess_ms", r->timings.preprocess_us);
    add_ms(o, "vision_ms", r->timings.vision_us);
    add_ms(o, "projector_ms", r->timings.projector_us);
    add_ms(o, "prefill_ms", r->timings.prefill_us);
    add_ms(o, "first_token_ms", r->timings.first_token_us);
    add_ms(o, "decode_ms", r->timings.decode_us);
    json_object_set_new(o, "prefill_tok_per_s", json_real(cli_prefill_rate(r)));
    json_object_set_new(o, "decode_tok_per_s", json_real(cli_decode_rate(r)));
    json_object_set_new(o, "peak_rss_bytes", json_integer((json_int_t)eye_peak_rss_bytes()));
    return o;
}

/* The text of one token; bytes that are only part of a character become U+FFFD. */
static json_t *token_text(const struct eye_model *model, int32_t id) {
    char text[512];
    size_t len;
    if (eye_model_detokenize(model, &id, 1, text, sizeof text, &len, NULL) != EYE_OK || len > sizeof text) return json_null();
    return json_stringn(text, len);
}

static json_t *logprob_json(const struct eye_model *model, const struct eye_logprob *p) {
    json_t *o = json_object();
    json_object_set_new(o, "token", json_integer(p->token));
    json_object_set_new(o, "text", token_text(model, p->token));
    json_object_set_new(o, "logprob", json_real((double)p->logprob));
    return o;
}

static json_t *logprobs_json(const struct eye_model *model, const struct eye_result *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_tokens; i++) {
        const struct eye_logprob *p = r->logprobs + i * (1 + r->n_logprobs);
        json_t *o = logprob_json(model, p), *top = json_array();
        for (size_t j = 1; j <= r->n_logprobs; j++) json_array_append_new(top, logprob_json(model, &p[j]));
        json_object_set_new(o, "top", top);
        json_array_append_new(list, o);
    }
    return list;
}

static int print_json(struct ui *ui, const struct eye_model *model, const struct eye_result *r) {
    json_t *o = json_object(), *tokens = json_array();
    for (size_t i = 0; i < r->n_tokens; i++) json_array_append_new(tokens, json_integer(r->tokens[i]));
    json_object_set_new(o, "text", json_stringn(r->text, r->text_bytes));
    json_object_set_new(o, "tokens", tokens);
    json_object_set_new(o, "finish_reason", json_string(eye_finish_name(r->finish)));
    json_object_set_new(o, "prompt_tokens", json_integer((json_int_t)r->n_prompt_tok));
    json_object_set_new(o, "image_tokens", json_integer((json_int_t)r->n_image_tok));
    if (r->n_cached_tok) json_object_set_new(o, "cached_tokens", json_integer((json_int_t)r->n_cached_tok));
    if (r->n_guessed)
        json_object_set_new(o, "lookup", json_pack("{s:I, s:I}", "guessed", (json_int_t)r->n_guessed, "right",
                                                   (json_int_t)r->n_guessed_right));
    if (r->truncated) json_object_set_new(o, "truncated", json_true());
    json_object_set_new(o, "timings", timings_json(r));
    if (r->logprobs) json_object_set_new(o, "logprobs", logprobs_json(model, r));
    return json_print(ui, o);
}

/* ---- the run ---- */

static int check(const struct run_opts *o) {
    if (o->image.n > CLI_MAX_IMAGES) return args_usage(&cmd_run, "%d images, at most %d are taken", o->image.n, CLI_MAX_IMAGES);
    if (o->n_logprobs && !o->json) return args_usage(&cmd_run, "--logprobs shows in --json only");
    if (o->cache && o->image.n) return args_usage(&cmd_run, "--cache brings its images: no -i beside it");
    if (o->cache && (o->raw || o->image_position))
        return args_usage(&cmd_run, "--raw and --image-position belong to \"eyelet cache\": they are in the file");
    if (!o->prompt && o->raw) return args_usage(&cmd_run, "--raw needs a prompt (-p)");
    if (!o->prompt && !o->image.n && !o->cache)
        return args_usage(&cmd_run, "nothing to do: give an image (-i), a prompt (-p) or both");
    return EXIT_DONE;
}

static int generate(struct ui *ui, const struct run_opts *o, struct eye_model *model, struct eye_session *s,
                    const struct eye_image *img, uint64_t decode_us, uint64_t open_us) {
    struct eye_err err = {0};
    struct eye_result r;
    struct eye_query query = {
        .text = o->prompt, .images = img, .n_images = (size_t)o->image.n, .raw = o->raw, .truncate = o->truncate,
        .position = (enum eye_image_position)o->image_position, .reserve = o->n_predict,
    };
    struct eye_generate_opts opts = cli_generate_opts(&o->sampling);
    opts.n_predict = o->n_predict;
    opts.n_lookup = o->n_lookup;
    opts.grammar = o->grammar;
    opts.n_logprobs = o->n_logprobs;
    opts.on_text = o->json ? NULL : cli_print_piece;
    enum eye_status st = eye_session_generate(s, &query, &opts, &r, &err);
    bool cancelled = st == EYE_E_CANCELLED;
    if (st != EYE_OK && !cancelled) return ui_fail(ui, &err);
    r.timings.image_decode_us = decode_us;
    r.timings.first_token_us += r.timings.first_token_us ? decode_us : 0;
    if (r.truncated) ui_note(ui, "warning: the prompt was cut to fit the context of %d tokens", eye_session_n_ctx(s));
    int code = EXIT_DONE;
    if (o->json)
        code = print_json(ui, model, &r);
    else
        putchar('\n');
    fflush(stdout);
    if (cancelled) return ui_interrupted_code();
    cli_note_timings(ui, &r);
    if (code == EXIT_DONE && o->profile && eye_profile_save(o->profile, open_us, &r, &err) != EYE_OK) code = ui_fail(ui, &err);
    return code;
}

static int open_session(struct ui *ui, const struct run_opts *o, struct eye_model *model, struct eye_session **s) {
    struct eye_session_opts opts = {.with_images = o->image.n > 0};
    struct eye_err err = {0};
    if (eye_session_new(model, &opts, s, &err) != EYE_OK || (o->cache && eye_session_load(*s, o->cache, &err) != EYE_OK))
        return ui_fail(ui, &err);
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct run_opts *o = opts;
    struct ui ui;
    struct eye_image img[CLI_MAX_IMAGES];
    struct eye_model *model = NULL;
    struct eye_session *s = NULL;
    char *schema;
    uint64_t decode_us = 0, begin = ui_now_us();
    (void)operand, (void)n_operands;
    int code = check(o);
    if (code != EXIT_DONE) return code;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    if (o->n_lookup) o->model.n_parallel = 1 + o->n_lookup;
    code = cli_read_schema(&ui, &cmd_run, &o->form, &schema);
    if (code == EXIT_DONE) code = cli_open(&ui, &o->model, &model);
    if (code == EXIT_DONE) code = cli_make_grammar(&ui, model, schema, &o->grammar);
    free(schema);
    if (code == EXIT_DONE) code = open_session(&ui, o, model, &s);
    uint64_t open_us = ui_now_us() - begin;
    if (code == EXIT_DONE) code = cli_load_images(&ui, &o->image, o->no_exif, img, &decode_us);
    if (code == EXIT_DONE) {
        code = generate(&ui, o, model, s, img, decode_us, open_us);
        cli_free_images(img, o->image.n);
    }
    ui_clear(&ui);
    eye_session_free(s);
    eye_grammar_free(o->grammar);
    eye_model_close(model);
    return code;
}

static const struct example examples[] = {
    {"What is in a picture, by the default model", "eyelet run -i photo.jpg"},
    {"By another", "eyelet run -m FastVLM-0.5B -i photo.jpg"},
    {"A question about it, the answer as JSON", "eyelet run -m FastVLM-0.5B -i photo.jpg -p \"What is on the table?\" --json"},
    {"An answer in fields",
     "eyelet run -m FastVLM-0.5B -i photo.jpg"
     " -j '{\"properties\": {\"people\": {\"type\": \"integer\"}}, \"required\": [\"people\"]}'"},
    {"Quantized while loading, four threads, a picture from a pipe",
     "curl -s https://example.org/a.jpg | eyelet run -m FastVLM-0.5B --decoder q4_0 --vision bf16 -t 4 -i"
     " - -p \"Read the sign.\""},
    {"A picture that was looked at once by \"eyelet cache\"",
     "eyelet run -m FastVLM-0.5B --cache door.cache -p \"Is it open?\""},
    {NULL, NULL},
};

const struct command cmd_run = {
    .name = "run",
    .usage = "[-m MODEL] [-i IMAGE]… [--cache FILE] [-p PROMPT] [OPTIONS]",
    .summary = "image(s) and a prompt to text, streamed",
    .details = "MODEL is a checkpoint folder (config.json, *.safetensors, tokenizer.json), a .gguf or compiled file, or the\n"
               "name of one that was pulled. Without -m and EYELET_MODEL it is the one that eyelet brings: captioner.gguf\n"
               "beside the program, in share/eyelet of its prefix, or where eyelet was installed to.",
    .args = run_args, .examples = examples, .opts_bytes = sizeof(struct run_opts), .run = run,
};
