/* cli: what the commands share: the list of them, options of every command that opens a model, small helpers. */
#ifndef EYELET_CLI_H
#define EYELET_CLI_H

#include <stddef.h>

#include "args.h"
#include "ui.h"

extern const struct command cmd_run, cmd_chat, cmd_batch, cmd_cache, cmd_probe, cmd_tokens, cmd_convert, cmd_calibrate, cmd_compile, cmd_inspect, cmd_bench,
    cmd_serve, cmd_doctor, cmd_train, cmd_distill, cmd_eval, cmd_pull, cmd_version;
extern const struct command cmd_export_onnx;
extern const struct command cmd_data_info, cmd_data_check, cmd_data_split, cmd_data_cache, cmd_data_synth, cmd_data_tokenizer;
extern const struct command cmd_onnx_print, cmd_onnx_check, cmd_onnx_rename, cmd_onnx_lint, cmd_onnx_patch;
extern const struct command cmd_fastvlm_e2e, cmd_fastvlm_cache, cmd_fastvlm_export_decoder, cmd_fastvlm_compile;
extern const struct command cmd_export_qai_hub, cmd_export_qai_jobs;
extern const struct command cmd_export_genie, cmd_export_lut, cmd_genie_prepare, cmd_genie_combine, cmd_genie_t2t_run, cmd_net_run,
    cmd_ctx_info, cmd_device_list, cmd_device_doctor, cmd_device_push, cmd_device_run, cmd_device_verify;

/* ---- opening a model ---- */
struct model_args { /* a member `model` of each command's options */
    const char *path;
    int32_t n_threads, n_ctx, image_side, image_tokens;
    int32_t image_merge; /* enum eye_image_merge */
    int32_t n_parallel; /* set by commands, not by an option */
    int32_t decoder, vision; /* enum eye_weight_type */
    int32_t cache, fit;      /* enum eye_cache_type, enum eye_fit */
    const char *cpu, *chat_template, *mmproj, *tokenizer, *cache_dir;
    int32_t cache_mib;
    bool no_mmap, quiet, verbose;
};
extern const char *const cli_weight_names[], *const cli_cache_names[], *const cli_fit_names[], *const cli_merge_names[],
    *const cli_position_names[];

#define JSON_ARG(T) {ARG_FLAG, 0, "json", NULL, "one JSON object", offsetof(T, json)}
#define QUIET_ARG(T) {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, quiet)}
#define IMAGE_POSITION_ARG(T, member) \
    {ARG_CHOICE, 0, "image-position", "WHERE", "where image rows go", offsetof(T, member), .choices = cli_position_names}
#define NO_EXIF_ARG(T) {ARG_FLAG, 0, "no-exif", NULL, "ignore the EXIF orientation of pictures", offsetof(T, no_exif)}
#define MODEL_PATH_ARG(T) \
    {ARG_TEXT, 'm', "model", "MODEL", "checkpoint folder, .gguf, compiled file, or a name that was pulled; left out: the default model", \
     offsetof(T, model.path)}
#define CHAT_TEMPLATE_ARG(T) \
    {ARG_TEXT, 0, "chat-template", "NAME", \
     "qwen2, chatml, vicuna, llava, smolvlm, llama2, tinyllava or raw, or a Jinja file; not the model's own", \
     offsetof(T, model.chat_template)}
#define MMPROJ_AT(T, member) \
    {ARG_TEXT, 0, "mmproj", "FILE", "llama.cpp's .gguf of vision tower and projector, beside a .gguf of text", offsetof(T, member)}
#define MMPROJ_ARG(T) MMPROJ_AT(T, model.mmproj)
#define TOKENIZER_ARG(T) \
    {ARG_TEXT, 0, "tokenizer", "FILE", "tokenizer.json in place of the model's own, for files without one", \
     offsetof(T, model.tokenizer)}
#define MODEL_ARGS(T) \
    {ARG_GROUP, .help = "Model"}, \
    {ARG_INT, 't', "threads", "N", "threads that compute; 0 = all processors", offsetof(T, model.n_threads), 0, 1024}, \
    {ARG_INT, 'c', "ctx-size", "N", "positions of the context; 0 = the model's own, at most 4096", \
     offsetof(T, model.n_ctx), 0, 1 << 24}, \
    {ARG_CHOICE, 0, "decoder", "TYPE", "weights of the decoder", offsetof(T, model.decoder), .choices = cli_weight_names}, \
    {ARG_CHOICE, 0, "vision", "TYPE", "weights of the vision tower", offsetof(T, model.vision), .choices = cli_weight_names}, \
    {ARG_CHOICE, 0, "kv", "TYPE", "keys and values", offsetof(T, model.cache), .choices = cli_cache_names}, \
    {ARG_INT, 0, "image-side", "N", "pixels of the square the vision tower sees; 0 = the model's own", \
     offsetof(T, model.image_side), 0, 8192}, \
    {ARG_INT, 0, "image-tokens", "N", "merge the rows of a picture (or tile) until N at most are left; 0 = all", \
     offsetof(T, model.image_tokens), 0, 1 << 24}, \
    {ARG_CHOICE, 0, "image-merge", "HOW", "what becomes one: rows most alike, or neighbours of the map", \
     offsetof(T, model.image_merge), .choices = cli_merge_names}, \
    {ARG_CHOICE, 0, "preprocess", "HOW", "how an image becomes square", offsetof(T, model.fit), .choices = cli_fit_names}, \
    CHAT_TEMPLATE_ARG(T), \
    MMPROJ_ARG(T), \
    TOKENIZER_ARG(T), \
    {ARG_TEXT, 0, "cpu", "LIST", "use at most these CPU features, \"avx2,avx512\"; \"base\" = none", offsetof(T, model.cpu)}, \
    {ARG_TEXT, 0, "cache-dir", "DIR", "keep image features there: a picture seen before skips the vision tower", \
     offsetof(T, model.cache_dir)}, \
    {ARG_INT, 0, "cache-size", "MIB", "most that folder may hold; what was used longest ago goes", \
     offsetof(T, model.cache_mib), 1, 1 << 24, .def = 1024}, \
    {ARG_FLAG, 0, "no-mmap", NULL, "read files into memory instead of mapping them; compiled ones into huge pages", \
     offsetof(T, model.no_mmap)}, \
    {ARG_GROUP, .help = "Messages"}, \
    {ARG_FLAG, 'q', "quiet", NULL, "errors only", offsetof(T, model.quiet)}, \
    {ARG_FLAG, 'v', "verbose", NULL, "say more", offsetof(T, model.verbose)}

#define CLI_PATH_MAX 4096
/* The path of a model to open, in buf [CLI_PATH_MAX] or as given: a path that is there, else OWNER/NAME[@REVISION] that
 * "eyelet pull" fetched; where given is NULL, the default model's. NULL: there is none, and that was said. */
const char *cli_model_path(struct ui *ui, const char *given, char *buf);
/* Opens the model, or the default one, with progress and warnings on ui, and from now on catches Ctrl-C; says what is wrong itself. Returns
 * EXIT_DONE or another exit code. */
int cli_open(struct ui *ui, const struct model_args *a, struct eye_model **model);

/* ---- images ---- */
/* A made-up picture, [side, side, 3], malloc'd: smooth colours and some texture, another one for each kind. NULL = no memory. */
uint8_t *cli_make_pixels(int side, int kind);
/* Loads n pictures into img[]; *decode_us is the time it took. On failure none is left open. */
int cli_load_images(struct ui *ui, const struct arg_list *files, bool no_exif, struct eye_image *img, uint64_t *decode_us);
void cli_free_images(struct eye_image *img, int32_t n);

#define CLI_MAX_IMAGES 64

/* ---- answers ---- */
struct sampling_args { /* a member `sampling` of the options of commands that generate */
    struct arg_list stop;
    float temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty, length_penalty;
    int32_t n_beams, top_k, penalty_last_n;
    uint64_t seed;
    bool ignore_eos;
};
#define SAMPLING_ARGS(T) \
    {ARG_GROUP, .help = "Sampling"}, \
    {ARG_REAL, 0, "temp", "T", "temperature; 0 = greedy (default)", offsetof(T, sampling.temperature), 0, 1000}, \
    {ARG_INT, 0, "top-k", "K", "keep the K most likely tokens; 0 = all", offsetof(T, sampling.top_k), 0, INT32_MAX}, \
    {ARG_REAL, 0, "top-p", "P", "keep the most likely tokens up to probability P; 1 = all", \
     offsetof(T, sampling.top_p), 0, 1, .def = 1}, \
    {ARG_REAL, 0, "min-p", "P", "drop tokens below P times the most likely one", offsetof(T, sampling.min_p), 0, 1}, \
    {ARG_REAL, 0, "repeat-penalty", "R", "above 1 discourages repetition", \
     offsetof(T, sampling.repeat_penalty), 0, 1000, .def = 1}, \
    {ARG_REAL, 0, "frequency-penalty", "F", "taken off per occurrence", offsetof(T, sampling.frequency_penalty), -1000, 1000}, \
    {ARG_REAL, 0, "presence-penalty", "F", "taken off once", offsetof(T, sampling.presence_penalty), -1000, 1000}, \
    {ARG_INT, 0, "repeat-last-n", "N", "tokens the penalties look back at; -1 = all", \
     offsetof(T, sampling.penalty_last_n), -1, 1 << 24, .def = 64}, \
    {ARG_INT, 0, "beams", "N", "beam search with N beams, 1 = off; 0 = as the model says", offsetof(T, sampling.n_beams), 0, 16}, \
    {ARG_REAL, 0, "length-penalty", "P", "of beam search: above 1 prefers longer answers; 0 = as the model says", \
     offsetof(T, sampling.length_penalty), -10, 10}, \
    {ARG_U64, 's', "seed", "SEED", "the same seed gives the same answer", offsetof(T, sampling.seed)}, \
    {ARG_LIST, 0, "stop", "TEXT", "end the answer before this text; may be repeated", offsetof(T, sampling.stop)}, \
    {ARG_FLAG, 0, "ignore-eos", NULL, "go on after the end-of-answer token", offsetof(T, sampling.ignore_eos)}
struct eye_generate_opts cli_generate_opts(const struct sampling_args *a);

struct form_args { /* a member `form` of the options of commands whose answers may have to be JSON */
    const char *schema;
    bool object;
};
#define FORM_ARGS(T, LETTER) \
    {ARG_TEXT, LETTER, "json-schema", "SCHEMA|FILE", \
     "the answer is JSON of this JSON Schema: \"{…}\" itself, or a file that holds it", offsetof(T, form.schema)}, \
    {ARG_FLAG, 0, "json-object", NULL, "the answer is a JSON object, of any kind", offsetof(T, form.object)}
/* What schema answers must be of, malloc'd text; NULL: none. Files are read here, once. Says what is wrong itself. */
int cli_read_schema(struct ui *ui, const struct command *cmd, const struct form_args *a, char **schema);
/* The model's grammar of it; NULL of NULL. Freed before the model is closed. */
int cli_make_grammar(struct ui *ui, struct eye_model *model, const char *schema, struct eye_grammar **g);

/* on_text: to stdout at once; true when nobody listens any more. */
bool cli_print_piece(void *ctx, const char *text, size_t bytes);
/* Tokens per second: of the prompt that were computed; after the first one, which belongs to the prompt's time. */
double cli_prefill_rate(const struct eye_result *r);
double cli_decode_rate(const struct eye_result *r);
/* A line about speed for people at a terminal, or who asked for it (-v). */
void cli_note_timings(struct ui *ui, const struct eye_result *r);

/* ---- text ---- */
/* "1 2 3" (blanks or commas) to ids of at least min, malloc'd; false = not numbers, or no memory. */
bool cli_parse_ids(const char *text, int32_t min, int32_t **ids, size_t *n);
/* "1.50 GiB" into out; returns out. */
char *cli_bytes(uint64_t bytes, char *out, size_t cap);
/* Whole file ("-" = standard input) into malloc'd, NUL-terminated memory. */
int cli_read_file(struct ui *ui, const char *path, char **text, size_t *len);

#endif
