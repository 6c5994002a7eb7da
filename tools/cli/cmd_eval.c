/* eyelet eval: how well a model captions pictures it has not seen, or how good captions from elsewhere are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "eyelet/train.h"
#include "json.h"

struct eval_opts {
    struct model_args model;
    struct arg_list data;
    const char *images, *prompt, *captions, *out;
    int32_t split, limit, n_beams, max_tok, n_parallel;
    float length_penalty;
    bool perplexity, baselines, hpml, json;
};
_Static_assert(sizeof(struct eval_opts) <= ARG_MAX_OPTS, "options fit what main.c allocates");

static const char *const split_names[] = {"auto", "train", "dev", "test", NULL}; /* order of enum eye_split */

#define T struct eval_opts
static const struct arg eval_args[] = {
    MODEL_PATH_ARG(T),
    {ARG_LIST, 'd', "data", "PATH", "list of captions or a folder with one: COCO, Karpathy, Flickr8k, TSV; may be repeated",
     offsetof(T, data)},
    {ARG_TEXT, 0, "images", "DIR", "where the list's pictures are; left out: looked for beside it", offsetof(T, images)},
    {ARG_CHOICE, 0, "split", "SPLIT", "which pictures; auto: test, or all where nothing has a split", offsetof(T, split),
     .choices = split_names},
    {ARG_INT, 0, "limit", "N", "pictures at most; 0 = all", offsetof(T, limit), 0, INT32_MAX},
    {ARG_TEXT, 'p', "prompt", "TEXT", "what to ask; left out: the model's own prompt", offsetof(T, prompt)},
    {ARG_INT, 0, "beams", "N", "beam search with N beams, 1 = greedy; 0 = as the model says", offsetof(T, n_beams), 0, 16},
    {ARG_REAL, 0, "length-penalty", "P", "of beam search; 0 = as the model says", offsetof(T, length_penalty), -10, 10},
    {ARG_INT, 'n', "predict", "N", "tokens of a caption at most; 0 = 64", offsetof(T, max_tok), 0, 4096},
    {ARG_INT, 0, "parallel", "N", "captions written at once; changes no result", offsetof(T, n_parallel), 1, 32, .def = 16},
    {ARG_GROUP, .help = "What to judge besides the captions"},
    {ARG_FLAG, 0, "perplexity", NULL, "of the references, with true, zeroed and shuffled pictures", offsetof(T, perplexity)},
    {ARG_FLAG, 0, "baselines", NULL, "a constant, the nearest neighbour's and an image-blind caption", offsetof(T, baselines)},
    {ARG_FLAG, 0, "hpml", NULL, "the unshifted \"perplexity\" of the HPML study as well: that of copying", offsetof(T, hpml)},
    {ARG_GROUP, .help = "Captions from elsewhere"},
    {ARG_TEXT, 0, "captions", "FILE", "judge these, no model: lines of JSON with image and caption", offsetof(T, captions)},
    {ARG_GROUP, .help = "Output"},
    {ARG_TEXT, 'o', "output", "FILE", "write image, caption and CIDEr-D, a line of JSON each", offsetof(T, out)},
    {ARG_FLAG, 0, "json", NULL, "one JSON object instead of text", offsetof(T, json)},
    MODEL_ARGS(T),
    {ARG_END},
};
#undef T

/* ---- what comes out ---- */

static json_t *score_json(const struct eye_caption_score *s) {
    return json_pack("{s:[f,f,f,f], s:f, s:f, s:f, s:f, s:f, s:I}", "bleu", s->bleu[0], s->bleu[1], s->bleu[2], s->bleu[3],
                     "cider", s->cider, "rouge_l", s->rouge_l, "meteor_lite", s->meteor_lite, "distinct", s->distinct,
                     "mean_words", s->mean_words, "words_used", (json_int_t)s->n_words);
}

static json_t *scenes_json(const struct eye_synth_score *s) {
    json_t *o = json_pack("{s:f}", "exact", (double)s->n_exact / (double)s->n);
    for (int k = 0; k < EYE_SYNTH_N_KINDS; k++)
        json_object_set_new(o, eye_synth_kind_name((enum eye_synth_kind)k),
                            json_real((double)s->n_right[k] / (double)s->n_of[k]));
    return o;
}

static json_t *perplexity_json(const struct eye_perplexity *p) {
    return json_pack("{s:f, s:f}", "per_token", p->per_token, "per_word", p->per_word);
}

static int print_json(struct ui *ui, const struct eval_opts *o, const struct eye_judgement *r) {
    json_t *root = json_pack("{s:I, s:I, s:o, s:f}", "pictures", (json_int_t)r->n_pictures, "skipped", (json_int_t)r->n_skipped,
                             "captions", score_json(&r->score), "seconds", r->seconds);
    if (r->scenes.n) json_object_set_new(root, "scenes", scenes_json(&r->scenes));
    if (r->has_perplexity) {
        json_object_set_new(root, "perplexity", json_pack("{s:o, s:o, s:o}", "true", perplexity_json(&r->perplexity[EYE_JUDGE_TRUE]),
                                                          "zeroed", perplexity_json(&r->perplexity[EYE_JUDGE_ZEROED]), "shuffled",
                                                          perplexity_json(&r->perplexity[EYE_JUDGE_SHUFFLED])));
        if (o->hpml) json_object_set_new(root, "hpml_unshifted", json_real(r->unshifted));
        json_object_set_new(root, "references_too_long", json_integer((json_int_t)r->n_too_long));
    }
    if (r->has_baselines) {
        json_t *constant = score_json(&r->constant), *blind = score_json(&r->blind);
        json_object_set_new(constant, "caption", json_outside(r->constant_caption));
        json_object_set_new(blind, "caption", json_outside(r->blind_caption));
        json_object_set_new(root, "baselines", json_pack("{s:o, s:o, s:o}", "constant", constant, "blind", blind, "neighbour",
                                                         score_json(&r->neighbour)));
    }
    return json_print(ui, root);
}

static void print_score(const char *what, const struct eye_caption_score *s) {
    printf("%-12s %7.3f %7.3f %7.3f %7.3f %7.3f %7.3f %7.3f %8.1f%% %6.1f\n", what, s->bleu[0], s->bleu[1], s->bleu[2], s->bleu[3],
           s->cider, s->rouge_l, s->meteor_lite, 100 * s->distinct, s->mean_words);
}

static void print_scenes(const struct eye_synth_score *s) {
    printf("\nsynthetic scenes: %.1f%% of captions say exactly what is there; right are",
           100.0 * (double)s->n_exact / (double)s->n);
    for (int k = 0; k < EYE_SYNTH_N_KINDS; k++)
        printf("%s %s %.1f%%", k ? "," : "", eye_synth_kind_name((enum eye_synth_kind)k),
               100.0 * (double)s->n_right[k] / (double)s->n_of[k]);
    printf("\n");
}

static void print_text(const struct eval_opts *o, const struct eye_judgement *r) {
    static const char *const image[EYE_N_JUDGE_IMAGES] = {"true picture", "no picture", "another's"};
    printf("%zu pictures, %zu different words\n\n", r->n_pictures, r->score.n_words);
    printf("%-12s %7s %7s %7s %7s %7s %7s %7s %9s %6s\n", "", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "CIDEr-D", "ROUGE-L", "METEOR*",
           "distinct", "words");
    print_score("captions", &r->score);
    if (r->has_baselines) {
        print_score("constant", &r->constant);
        print_score("image-blind", &r->blind);
        print_score("neighbour", &r->neighbour);
    }
    printf("* METEOR-lite: equal words and stems only\n");
    if (r->scenes.n) print_scenes(&r->scenes);
    if (r->has_baselines) printf("constant: \"%s\"\nimage-blind: \"%s\"\n", r->constant_caption, r->blind_caption);
    if (!r->has_perplexity) return;
    printf("\nperplexity of the references, end token included\n%-14s %9s %9s\n", "", "per token", "per word");
    for (int i = 0; i < EYE_N_JUDGE_IMAGES; i++)
        printf("%-14s %9.2f %9.2f\n", image[i], r->perplexity[i].per_token, r->perplexity[i].per_word);
    if (o->hpml)
        printf("%-14s %9.4f   logits at a token held against that same token: what the HPML study calls perplexity.\n"
               "%26s A model that copies what it was just given reaches 1; it says nothing of captions.\n", "unshifted", r->unshifted, "");
}

/* ---- captions from elsewhere ---- */

struct given { /* lines of JSON */
    char *text;
    json_t **line;
    const char **name, **caption;
    size_t n;
};

static void free_given(struct given *g) {
    for (size_t i = 0; g->line && i < g->n; i++) json_decref(g->line[i]);
    free(g->line);
    free(g->name);
    free(g->caption);
    free(g->text);
}

static int parse_line(struct ui *ui, const char *path, size_t number, const char *text, size_t len, struct given *g) {
    json_error_t e;
    json_t *o = json_loadb(text, len, 0, &e);
    const char *name = json_string_value(json_object_get(o, "image")), *caption = json_string_value(json_object_get(o, "caption"));
    if (!name || !caption) {
        json_decref(o);
        return ui_failf(ui, "%s:%zu: expected {\"image\": NAME, \"caption\": TEXT}%s%s", path, number, o ? "" : ", ", o ? "" : e.text);
    }
    g->line[g->n] = o;
    g->name[g->n] = name;
    g->caption[g->n++] = caption;
    return EXIT_DONE;
}

static int read_given(struct ui *ui, const char *path, struct given *g) {
    size_t len, n_lines = 1, number = 0;
    int code = cli_read_file(ui, path, &g->text, &len);
    if (code != EXIT_DONE) return code;
    for (size_t i = 0; i < len; i++) n_lines += g->text[i] == '\n';
    g->line = calloc(n_lines, sizeof *g->line);
    g->name = calloc(n_lines, sizeof *g->name);
    g->caption = calloc(n_lines, sizeof *g->caption);
    if (!g->line || !g->name || !g->caption) return ui_failf(ui, "out of memory for %zu captions", n_lines);
    for (const char *p = g->text; *p && code == EXIT_DONE;) {
        size_t n = strcspn(p, "\n");
        number++;
        if (strspn(p, " \t\r") < n) code = parse_line(ui, path, number, p, n, g);
        p += n + (p[n] == '\n');
    }
    return code;
}

/* ---- judging ---- */

static void write_caption(void *ctx, const char *picture, const char *caption, double cider) {
    json_t *o = json_pack("{s:o, s:o, s:f}", "image", json_outside(picture), "caption", json_outside(caption), "cider", cider);
    if (o) {
        json_dumpf(o, ctx, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
        fputc('\n', ctx);
    }
    json_decref(o);
}

static int judge_model(struct ui *ui, struct eval_opts *o, const struct eye_dataset *set, struct eye_judgement *r) {
    struct eye_err err = {0};
    struct eye_model *model = NULL;
    o->model.n_parallel = o->n_parallel * (o->n_beams ? o->n_beams : 4);
    int code = cli_open(ui, &o->model, &model);
    if (code != EXIT_DONE) return code;
    FILE *out = o->out ? fopen(o->out, "w") : NULL;
    if (o->out && !out) {
        eye_model_close(model);
        return ui_failf(ui, "%s: cannot be written", o->out);
    }
    struct eye_judge_opts opts = {
        .split = (enum eye_split)o->split, .limit = (size_t)o->limit, .n_beams = o->n_beams, .length_penalty = o->length_penalty,
        .max_tok = o->max_tok, .prompt = o->prompt, .perplexity = o->perplexity || o->hpml, .baselines = o->baselines,
        .on_caption = out ? write_caption : NULL, .on_caption_ctx = out, .progress = ui_progress, .progress_ctx = ui,
        .cancel = ui_interrupted};
    enum eye_status st = eye_judge(model, set, &opts, r, &err);
    ui_clear(ui);
    eye_model_close(model);
    bool written = !out || (fflush(out) == 0 && !ferror(out));
    if (out) fclose(out);
    if (st != EYE_OK) return ui_fail(ui, &err);
    return written ? EXIT_DONE : ui_failf(ui, "%s: cannot be written (disk full?)", o->out);
}

static int judge_given(struct ui *ui, const struct eval_opts *o, const struct eye_dataset *set, struct eye_judgement *r) {
    struct eye_err err = {0};
    struct given g = {0};
    int code = read_given(ui, o->captions, &g);
    if (code == EXIT_DONE &&
        eye_judge_captions(set, (enum eye_split)o->split, g.name, g.caption, g.n, r, &err) != EYE_OK)
        code = ui_fail(ui, &err);
    free_given(&g);
    return code;
}

static int check(const struct eval_opts *o) {
    if (!o->data.n) return args_usage(&cmd_eval, "-d is missing: a list of reference captions, or a folder with one");
    if (o->captions && (o->model.path || o->perplexity || o->baselines || o->hpml || o->out))
        return args_usage(&cmd_eval, "--captions judges captions, no model: no -m, -o, --perplexity, --baselines, --hpml beside it");
    return EXIT_DONE;
}

static int run(void *opts, char *const *operand, int n_operands) {
    struct eval_opts *o = opts;
    struct eye_dataset *set = NULL;
    struct eye_judgement r;
    struct eye_err err = {0};
    struct ui ui;
    (void)operand, (void)n_operands;
    int code = check(o);
    if (code != EXIT_DONE) return code;
    ui_init(&ui, o->model.quiet, o->model.verbose);
    struct eye_dataset_opts dopts = {.images = o->images};
    if (eye_dataset_open(o->data.item, (size_t)o->data.n, &dopts, &set, &err) != EYE_OK) return ui_fail(&ui, &err);
    code = o->captions ? judge_given(&ui, o, set, &r) : judge_model(&ui, o, set, &r);
    eye_dataset_close(set);
    if (code != EXIT_DONE) return code;
    if (r.n_skipped)
        ui_note(&ui, "warning: %zu %s left out; the first: %s", r.n_skipped, o->captions ? "captions were" : "pictures were",
                r.first_skipped);
    if (r.n_too_long)
        ui_note(&ui, "warning: %zu references do not fit the model's context: perplexity leaves them out", r.n_too_long);
    if (o->json) return print_json(&ui, o, &r);
    print_text(o, &r);
    return ui_finish(&ui, EXIT_DONE);
}

static const struct example examples[] = {
    {"A captioner on Flickr8k's test split, with what it must beat", "eyelet eval -m student -d flickr8k --baselines --perplexity"},
    {"Captions of another program", "eyelet eval --captions theirs.jsonl -d dataset_flickr8k.json --split test"},
    {NULL, NULL},
};

const struct command cmd_eval = {
    .name = "eval",
    .usage = "[-m MODEL] -d PATH… [OPTIONS]",
    .summary = "judge captions: BLEU, CIDEr-D, ROUGE-L, perplexity, baselines",
    .details = "BLEU, CIDEr-D and ROUGE-L are coco-caption's, to the last digit shown. Captions run free: the model sees the\n"
               "picture and its own words, never a reference.",
    .args = eval_args, .examples = examples, .opts_bytes = sizeof(struct eval_opts), .run = run,
};
