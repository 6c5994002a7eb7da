/* The NPU flow on this machine: a checkpoint exported, taken through the steps with their own files, and the same tokens as the
 * session gives; decoder files and tables there and back; states; what must be refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sys.h"
#include "eyelet/eyelet.h"
#include "eyelet/genie.h"
#include "eyelet/image.h"
#include "format/checkpoint.h"
#include "format/gguf_genie.h"
#include "format/gguf_write.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

#define N_TOKENS 16
#define PROMPT "What is this?"

static char hf[512], apple[512], out[512], run[512];

#define CALL(x)                                      \
    do {                                             \
        if ((x) != EYE_OK) fail_msg("%s", err.text); \
    } while (0)

static struct eye_image picture(void) {
    static uint8_t rgb[31 * 17 * 3];
    struct eye_image img;
    struct eye_err err = {0};
    for (int i = 0; i < 31 * 17 * 3; i++) rgb[i] = (uint8_t)(i * 37 + i / 29 * 11);
    CALL(eye_image_wrap(&img, rgb, 31, 17, 0, &err));
    return img;
}

static struct eye_model *open_model(const char *path) {
    struct eye_model *m = NULL;
    struct eye_err err = {0};
    struct eye_model_opts opts = {.n_threads = 1};
    CALL(eye_model_open(path, &opts, &m, &err));
    return m;
}

static const char *join(const char *dir, const char *name) {
    static char path[4][1024];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[0], "%s/%s", dir, name);
    return path[turn];
}

static struct eye_map read_all(const char *path) {
    struct eye_map map;
    struct eye_err err = {0};
    CALL(eye_map_open(&map, path, false, 0, &err));
    return map;
}

/* ---- the flow ---- */

struct heard { /* of an answer */
    char text[2048];
    int32_t token[64];
    size_t n;
    int n_begin, n_end;
};

static bool hear(void *ctx, enum eye_genie_code code, const char *text, int32_t token) {
    struct heard *h = ctx;
    h->n_begin += code == EYE_GENIE_BEGIN;
    h->n_end += code == EYE_GENIE_END;
    if (text) strncat(h->text, text, sizeof h->text - strlen(h->text) - 1);
    else if (code != EYE_GENIE_END && h->n < EYE_COUNT(h->token)) h->token[h->n++] = token;
    return false;
}

static void export(const char *model, const struct eye_genie_opts *opts) {
    struct eye_genie_report r;
    struct eye_err err = {0};
    CALL(eye_genie_export(model, out, opts, &r, &err));
    assert_int_equal(r.n_files, 12);
}

static void net_run(const char *part, const char *list, const char *dir, bool native) {
    struct eye_genie_part *n;
    struct eye_err err = {0};
    uint32_t done = 0;
    struct eye_genie_part_run_opts o = {.input_list = join(run, list), .output_dir = join(run, dir), .native_inputs = true,
                                        .native_outputs = native};
    CALL(eye_genie_part_open(join(out, part), 1, &n, &err));
    CALL(eye_genie_part_run(n, &o, &done, &err));
    assert_int_equal(done, 1);
    eye_genie_part_close(n);
}

static void steps(const char *model, bool images_first) {
    struct eye_err err = {0};
    struct eye_image img = picture();
    struct eye_model *m = open_model(model);
    struct eye_genie_prepare p = {.prompt = PROMPT, .image = &img, .images_first = images_first};
    struct eye_genie_combine c = {.n_predict = N_TOKENS};
    CALL(eye_genie_prepare_run(m, out, run, &p, &err));
    eye_model_close(m);
    net_run("vision_encoder.bin", "vision_input_list.txt", "vision_out", true);
    net_run("embed_tokens.bin", "embed_input_list.txt", "embed_out", true);
    CALL(eye_genie_combine_run(out, run, &c, NULL, &err));
}

static struct eye_genie_dialog *open_dialog(const char *config) {
    struct eye_genie_dialog *d = NULL;
    struct eye_err err = {0};
    struct eye_genie_dialog_opts o = {.n_threads = 1};
    CALL(eye_genie_dialog_open(config, &o, &d, &err));
    return d;
}

static struct heard last_step(const char *table, bool tokens) {
    struct eye_genie_dialog *d = open_dialog(join(run, "genie_config.json"));
    struct eye_err err = {0};
    struct eye_genie_answer a;
    struct heard h = {.n = 0};
    struct eye_genie_query q = {.piece = hear, .piece_ctx = &h, .tokens_out = tokens};
    if (table) CALL(eye_genie_dialog_table(d, table, &err));
    CALL(eye_genie_query_embedding(d, join(run, "combined_embeddings_fp32.raw"), &q, &a, &err));
    assert_int_equal(h.n_begin, 1);
    assert_int_equal(h.n_end, 1);
    assert_false(a.context_exceeded);
    CALL(eye_profile_save(join(run, "profile.json"), eye_genie_dialog_open_us(d), &a.result, &err));
    eye_genie_dialog_close(d);
    return h;
}

/* What a session says to the same question. */
static void expect_session(const char *model, bool images_first, const struct heard *tokens, const struct heard *text) {
    struct eye_model *m = open_model(model);
    struct eye_session *s = NULL;
    struct eye_err err = {0};
    struct eye_image img = picture();
    struct eye_result r;
    struct eye_query q = {.text = PROMPT, .images = &img, .n_images = 1,
                          .position = images_first ? EYE_IMAGES_FIRST : EYE_IMAGES_TEMPLATE};
    struct eye_generate_opts o = {.n_predict = N_TOKENS};
    CALL(eye_session_new(m, NULL, &s, &err));
    CALL(eye_session_generate(s, &q, &o, &r, &err));
    assert_int_equal(tokens->n, r.n_tokens);
    assert_memory_equal(tokens->token, r.tokens, r.n_tokens * sizeof *r.tokens);
    assert_string_equal(text->text, r.text);
    eye_session_free(s);
    eye_model_close(m);
}

static void same_tokens_as_a_session(void **state) {
    (void)state;
    const char *const models[] = {hf, apple};
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    for (size_t i = 0; i < EYE_COUNT(models); i++) {
        export(models[i], &opts);
        for (int first = 0; first < 2; first++) {
            steps(models[i], first);
            struct heard tokens = last_step(join(out, "LUT.bin"), true), text = last_step(join(out, "LUT.bin"), false);
            struct heard own = last_step(NULL, true); /* without a table: the decoder's own rows */
            expect_session(models[i], first, &tokens, &text);
            assert_memory_equal(own.token, tokens.token, sizeof own.token);
        }
    }
}

/* ---- files of the flow ---- */

/* Not native in and out: float32 files with the same numbers. */
static void net_run_without_native_files(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_part *n;
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    uint32_t done = 0;
    float ids[64];
    char list[2048];
    export(hf, &opts);
    steps(hf, false);
    struct eye_map raw = read_all(join(run, "input_ids.raw")), native = read_all(join(run, "embed_out/Result_0/output_0.raw"));
    assert_int_equal(raw.size, 64 * 4);
    for (int i = 0; i < 64; i++) ids[i] = (float)(raw.p[4 * i] | raw.p[4 * i + 1] << 8);
    snprintf(list, sizeof list, "# a header\n\n  input_ids:=%s \n", eye_scratch_write("ids.f32", ids, sizeof ids));
    struct eye_genie_part_run_opts o = {.output_dir = join(run, "float_out"), .n_inferences = 3};
    o.input_list = eye_scratch_write("list.txt", list, strlen(list));
    CALL(eye_genie_part_open(join(out, "embed_tokens.bin"), 1, &n, &err));
    CALL(eye_genie_part_run(n, &o, &done, &err));
    assert_int_equal(done, 3);
    struct eye_map other = read_all(join(run, "float_out/Result_2/output_0.raw"));
    assert_int_equal(other.size, native.size);
    assert_memory_equal(other.p, native.p, native.size);
    static const struct { const char *list, *says; enum eye_status st; } bad[] = {
        {"", "names no file", EYE_E_CORRUPT},
        {"# only a header\n", "names no file", EYE_E_CORRUPT},
        {"pixels:=a.raw\n", "line 1: expected PATH or input_ids:=PATH", EYE_E_CORRUPT},
        {"%h\na.raw b.raw\n", "line 2: expected PATH", EYE_E_CORRUPT},
        {"no-such-file.raw\n", "no-such-file.raw", EYE_E_IO},
    };
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        o.input_list = eye_scratch_write("bad.txt", bad[i].list, strlen(bad[i].list));
        assert_true(eye_error_is(bad[i].list, eye_genie_part_run(n, &o, &done, &err), bad[i].st, &err, bad[i].says));
    }
    snprintf(list, sizeof list, "%s\n", eye_scratch_write("short.raw", ids, 8));
    o.input_list = eye_scratch_write("bad.txt", list, strlen(list));
    assert_true(eye_error_is("short", eye_genie_part_run(n, &o, &done, &err), EYE_E_CORRUPT, &err, "8 bytes, expected 256 for "
                             "input_ids"));
    ids[3] = 70000; /* beyond the vocabulary */
    snprintf(list, sizeof list, "%s\n", eye_scratch_write("wild.f32", ids, sizeof ids));
    o.input_list = eye_scratch_write("bad.txt", list, strlen(list));
    assert_int_equal(eye_genie_part_run(n, &o, &done, &err), EYE_E_ARG);
    eye_genie_part_close(n);
    assert_true(eye_error_is("whole", eye_genie_part_open(join(out, "decoder.bin"), 1, &n, &err), EYE_E_ARG, &err, "no part of "
                             "a model"));
    eye_map_close(&raw);
    eye_map_close(&native);
    eye_map_close(&other);
}

/* ---- a run against this computer ---- */

static void say(const char *text) { /* as genie-t2t-run prints it */
    struct eye_err err = {0};
    char all[2200];
    int n = snprintf(all, sizeof all, "Using libGenie.so version 1\n\n[BEGIN]: %s[END]\n\n", text);
    CALL(eye_mk_write_file(run, "genie_stdout.txt", all, (size_t)n, &err));
}

static struct eye_genie_verified compare(double gap) {
    struct eye_genie_verified r;
    struct eye_err err = {0};
    struct eye_genie_verify o = {.limits = {.answer_gap = gap}, .n_threads = 1};
    CALL(eye_genie_verify_run(out, run, &o, &r, &err));
    return r;
}

/* int8: bytes in, bytes out; features within what their scale allows on top of the tower's own rounding. */
static void vision_of_bytes(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    struct eye_image img = picture();
    char dir[600];
    snprintf(dir, sizeof dir, "%s", eye_scratch_path("pictures"));
    export(hf, &opts);
    steps(hf, false);
    struct eye_map f32 = read_all(join(run, "vision_out/Result_0/image_features.raw"));
    char ppm[31 * 17 * 3 + 32];
    int head = snprintf(ppm, sizeof ppm, "P6 31 17 255\n");
    memcpy(ppm + head, img.rgb, 31 * 17 * 3);
    char command[1300];
    snprintf(command, sizeof command, "mkdir -p '%s'", dir);
    assert_int_equal(system(command), 0);
    CALL(eye_mk_write_file(dir, "a.ppm", ppm, (size_t)head + 31 * 17 * 3, &err));
    opts.vision = EYE_WEIGHT_INT8;
    assert_true(eye_error_is("no pictures", eye_genie_export(hf, out, &opts, NULL, &err), EYE_E_ARG, &err, "--calibration"));
    opts.calibration = dir;
    export(hf, &opts);
    steps(hf, false);
    struct eye_map pixels = read_all(join(run, "pixel_values.raw"));
    struct eye_map u8 = read_all(join(run, "vision_out/Result_0/image_features_native.raw"));
    assert_int_equal(pixels.size, 256 * 256 * 3);
    assert_int_equal(u8.size, f32.size / 4);
    struct eye_map rows = read_all(join(run, "combined_embeddings_fp32.raw"));
    /* image rows stand somewhere in the sequence: find the features' place by the template, at tokens.json's position */
    struct eye_map tokens = read_all(join(run, "tokens.json"));
    const char *at = strstr((const char *)tokens.p, "\"image_token_pos\": ");
    assert_non_null(at);
    size_t pos = (size_t)atoi(at + 19), n = f32.size / 4;
    const float *a = (const float *)f32.p, *b = (const float *)rows.p + pos * 64;
    double wrong = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        all += (double)a[i] * (double)a[i];
    }
    assert_true(wrong < all * 1e-3); /* 30 dB: rounding a tower this small to 8 bits costs about 37 */
    assert_true(wrong > 0);
    /* Bytes against what was to become bytes: half a step, or what the range cuts off. It has the least squared error, so what is
     * cut off one value is at most the rounding of all: n step^2 / 12. */
    struct eye_genie_verified r = compare(0);
    const struct eye_genie_compared *vision = &r.stage[EYE_GENIE_STAGE_VISION];
    assert_int_equal(vision->verdict, EYE_GENIE_GOOD);
    assert_true(vision->error > 0 && vision->error < (0.5 + sqrt((double)n / 12)) / 127);
    assert_true(vision->cosine > 1 - 1e-4); /* 37 dB */
    assert_int_equal(r.stage[EYE_GENIE_STAGE_ANSWER].verdict, EYE_GENIE_ABSENT);
    eye_map_close(&f32), eye_map_close(&pixels), eye_map_close(&u8), eye_map_close(&rows), eye_map_close(&tokens);
}

static void steps_refuse(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_image img = picture();
    struct eye_genie_opts opts = {.n_ctx = 50, .n_embed = 45};
    struct eye_genie_prepare p = {.prompt = PROMPT, .image = &img};
    struct eye_genie_combine c = {.n_predict = 4};
    export(hf, &opts);
    struct eye_model *m = open_model(hf);
    assert_true(eye_error_is("context", eye_genie_prepare_run(m, out, run, &p, &err), EYE_E_LIMIT, &err, "a context of 50"));
    opts = (struct eye_genie_opts){.n_ctx = 300, .n_embed = 8};
    export(hf, &opts);
    assert_true(eye_error_is("embedder", eye_genie_prepare_run(m, out, run, &p, &err), EYE_E_LIMIT, &err, "an embedder of 8"));
    assert_true(eye_error_is("folder", eye_genie_prepare_run(m, run, run, &p, &err), EYE_E_IO, &err, "manifest.json: not "
                             "there"));
    eye_model_close(m);
    opts.n_embed = 64;
    export(hf, &opts);
    steps(hf, false);
    assert_int_equal(remove(join(run, "embed_out/Result_0/output_0.raw")), 0);
    assert_true(eye_error_is("no raw", eye_genie_combine_run(out, run, &c, NULL, &err), EYE_E_IO, &err, "no .raw file in it"));
    CALL(eye_mk_write_file(join(run, "embed_out/Result_0"), "output_0.raw", "abc", 3, &err));
    assert_true(eye_error_is("size", eye_genie_combine_run(out, run, &c, NULL, &err), EYE_E_CORRUPT, &err, "3 bytes, "
                             "expected"));
    CALL(eye_mk_write_file(run, "tokens.json", "{\"token_ids\": [1], \"image_token_pos\": 2}", 40, &err));
    assert_true(eye_error_is("tokens", eye_genie_combine_run(out, run, &c, NULL, &err), EYE_E_CORRUPT, &err,
                             "image_token_pos"));
}

static void verify_of_itself(void **state) {
    (void)state;
    static const enum eye_lut_type luts[] = {EYE_LUT_F32, EYE_LUT_F16};
    for (size_t i = 0; i < EYE_COUNT(luts); i++) {
        struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64, .lut = luts[i]};
        char table[1200];
        export(i ? apple : hf, &opts);
        steps(i ? apple : hf, i == 1);
        snprintf(table, sizeof table, "%s%s", join(out, "LUT.bin"), i ? ",float16,1,0" : "");
        struct heard h = last_step(table, false);
        say(h.text);
        struct eye_genie_verified r = compare(0);
        for (int s = 0; s < EYE_GENIE_STAGES; s++)
            if (r.stage[s].verdict != EYE_GENIE_GOOD)
                fail_msg("%s: %s", eye_genie_stage_name((enum eye_genie_stage)s), r.stage[s].why);
        assert_int_equal(r.first_off, EYE_GENIE_STAGES);
        assert_true(r.stage[EYE_GENIE_STAGE_VISION].error == 0 && r.stage[EYE_GENIE_STAGE_EMBED].error == 0);
        assert_int_equal(r.stage[EYE_GENIE_STAGE_ANSWER].n, N_TOKENS);
        assert_int_equal(r.stage[EYE_GENIE_STAGE_ANSWER].n_ties, 0);
    }
}

/* Words that this decoder would not have said are followed all the same, if they may be as unlikely as that. */
static void verify_of_other_words(void **state) {
    (void)state;
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    export(hf, &opts);
    steps(hf, false);
    say("a fox and \xc3\xa9\xf0\x9f\x98\x80 a dog \xef\xbf\xbd!");
    struct eye_genie_verified r = compare(1000);
    if (r.first_off != EYE_GENIE_STAGES) fail_msg("%s", r.stage[r.first_off].why);
    assert_true(r.stage[EYE_GENIE_STAGE_ANSWER].n_ties > 3 && r.stage[EYE_GENIE_STAGE_ANSWER].gap > 0.5);
    r = compare(0);
    assert_int_equal(r.first_off, EYE_GENIE_STAGE_ANSWER);
    assert_non_null(strstr(r.stage[EYE_GENIE_STAGE_ANSWER].why, "tokens the device says \"a fox"));
    assert_non_null(strstr(r.stage[EYE_GENIE_STAGE_ANSWER].why, "nats apart, expected at most 0.5"));
    say(""); /* over at once, without its end token */
    r = compare(1e-6);
    assert_int_equal(r.first_off, EYE_GENIE_STAGE_ANSWER);
    assert_non_null(strstr(r.stage[EYE_GENIE_STAGE_ANSWER].why, "after 0 tokens the device ends, here"));
}

#define MADE "{\"context\": 9, \"model\": {\"name\": \"m\"}, \"lut\": "
static void verify_refuses(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_verified r;
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64, .temperature = 1};
    export(hf, &opts);
    steps(hf, false);
    say("anything");
    r = compare(0);
    assert_int_equal(r.stage[EYE_GENIE_STAGE_ANSWER].verdict, EYE_GENIE_ABSENT);
    assert_non_null(strstr(r.stage[EYE_GENIE_STAGE_ANSWER].why, "drawn"));
    struct eye_genie_verify o = {.embed_ctx_info = join(out, "vision_ctx_info.json")};
    assert_true(eye_error_is("shape", eye_genie_verify_run(out, run, &o, &r, &err), EYE_E_ARG, &err,
                             "embed: the device's binary gives [1, "));
    CALL(eye_mk_write_file(run, "combined_embeddings_fp32.raw", "abcd", 4, &err));
    assert_true(eye_error_is("size", eye_genie_verify_run(out, run, NULL, &r, &err), EYE_E_CORRUPT, &err, "4 bytes, expected"));
    CALL(eye_mk_write_file(run, "pixel_values.raw", "abcd", 4, &err));
    assert_true(eye_error_is("input", eye_genie_verify_run(out, run, NULL, &r, &err), EYE_E_CORRUPT, &err,
                             "pixel_values.raw: 4 bytes"));
    char arg[EYE_GENIE_TABLE_ARG];
    assert_true(eye_error_is("no folder", eye_genie_table_arg(run, arg, &err), EYE_E_IO, &err, "manifest.json: not there"));
    static const struct { const char *json, *says; } bad[] = {
        {MADE "{\"type\": \"int8;rm\", \"scale\": 1}}", "not a type that"},
        {MADE "{\"type\": 8}}", "type"},
        {MADE "{\"type\": \"int8\", \"scale\": \"x\"}}", "scale"},
        {"{\"lut\": ", "manifest.json"},
    };
    for (size_t i = 0; i < EYE_COUNT(bad); i++) {
        CALL(eye_mk_write_file(run, "manifest.json", bad[i].json, strlen(bad[i].json), &err));
        assert_true(eye_error_is(bad[i].json, eye_genie_table_arg(run, arg, &err), EYE_E_CORRUPT, &err, bad[i].says));
    }
    assert_int_equal(remove(join(run, "manifest.json")), 0);
}

/* ---- the decoder's file ---- */

static void decoder_file_is_what_genie_reads(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_gguf g;
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64, .decoder = EYE_GENIE_F16};
    export(apple, &opts);
    CALL(eye_gguf_open(&g, join(out, "decoder.bin"), false, NULL, &err));
    assert_int_equal(g.version, 2);
    assert_int_equal(g.alignment, 32);
    assert_true(g.genie);
    static const char *const order[] = {"general.name", "general.architecture", "general.tokenizer", "model.general.output",
                                        "general.alignment", "model.size.vocabulary", "generic.context_length",
                                        "generic.embedding_length", "generic.embedding_per_head", "generic.feed_forward_length",
                                        "generic.block_count", "generic.attention.head_count",
                                        "generic.attention.head_count_kv",
                                        "model.architecture.connector", "model.architecture.gating",
                                        "model.operation.normalization",
                                        "model.operation.normalization_epsilon", "model.operation.activation",
                                        "model.operation.positional_embedding", "model.operation.attention_mode",
                                        "model.operation.rope_complex_organization", "generic.rope.freq_base",
                                        "generic.rope.dimension_count", "general.file_type", "general.quantization_version"};
    assert_int_equal(g.n_kv, EYE_COUNT(order));
    for (size_t i = 0; i < g.n_kv; i++) {
        assert_string_equal(g.kv[i].key, order[i]);
        assert_false(g.kv[i].is_array); /* Genie's reader loses its way in arrays */
    }
    assert_int_equal(eye_gguf_find(&g, "model.size.vocabulary")->type, EYE_GGUF_I32);
    assert_int_equal(g.table.n, 12 * 2 + 3);
    for (size_t i = 0; i < g.table.n; i++)
        assert_int_equal(g.table.entry[i].t.dtype, g.table.entry[i].t.rank == 2 ? EYE_F16 : EYE_F32);
    eye_gguf_close(&g);
}

/* A file of Genie's with one tensor of a type. */
static const char *write_bin(uint32_t type, const char *key, const char *text, bool twice) {
    struct eye_buf b;
    static char path[1024];
    static const char *const ints[] = {"context_length", "embedding_length", "feed_forward_length", "block_count",
                                       "attention.head_count"};
    size_t n_kv = 2 + EYE_COUNT(ints) + (key != NULL);
    eye_buf_init(&b, NULL);
    eye_buf_add(&b, "GGUF", 4);
    eye_build_le(&b, 2, 4);
    eye_build_le(&b, 1, 8);
    eye_build_le(&b, n_kv, 8);
    eye_build_le(&b, strlen(EYE_GGUF_GENIE_KEY), 8);
    eye_buf_adds(&b, EYE_GGUF_GENIE_KEY);
    eye_build_le(&b, 5, 4);
    eye_build_le(&b, 8, 4);
    eye_build_le(&b, 20, 8);
    eye_buf_adds(&b, "general.architecture");
    eye_build_le(&b, 8, 4);
    eye_build_le(&b, 1, 8);
    eye_buf_adds(&b, "g");
    for (size_t i = 0; i < EYE_COUNT(ints); i++) {
        eye_build_le(&b, strlen(ints[i]) + 2, 8);
        eye_buf_printf(&b, "g.%s", ints[i]);
        eye_build_le(&b, 4, 4);
        eye_build_le(&b, 4, 4);
    }
    if (key) {
        eye_build_le(&b, strlen(key), 8);
        eye_buf_adds(&b, key);
        eye_build_le(&b, 8, 4);
        eye_build_le(&b, strlen(text), 8);
        eye_buf_adds(&b, text);
    }
    eye_build_le(&b, 17, 8);
    eye_buf_adds(&b, "token_embd.weight");
    eye_build_le(&b, 2, 4);
    eye_build_le(&b, 4, 8);
    eye_build_le(&b, 8, 8);
    eye_build_le(&b, type, 4);
    eye_build_le(&b, 0, 8);
    if (twice) eye_buf_add(&b, "GGUF", 4);
    while (b.len % 32) eye_build_le(&b, 0, 1);
    for (int i = 0; i < 32; i++) eye_build_le(&b, 0, 4);
    snprintf(path, sizeof path, "%s", eye_scratch_write("one.bin", b.p, b.len));
    eye_buf_clear(&b);
    return path;
}

static void vendor_types_are_refused_by_name(void **state) {
    (void)state;
    static const struct { uint32_t type; const char *says; } types[] = {
        {20, "Genie's type Z4 (20)"}, {21, "Genie's type Z4_FP16 (21)"}, {22, "Genie's type Z4_BF16 (22)"},
        {30, "Genie's type Q4 (30)"}, {4038, "Genie's type Z8 (4038)"},  {2, "unknown Genie type 2"}};
    struct eye_checkpoint c;
    struct eye_err err = {0};
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        assert_true(eye_error_is(types[i].says, eye_checkpoint_open(&c, write_bin(types[i].type, NULL, NULL, false), NULL, NULL,
                                                                    &err),
                                 EYE_E_UNSUPPORTED, &err, types[i].says));
    assert_true(eye_error_is("lora", eye_checkpoint_open(&c, write_bin(0, NULL, NULL, true), NULL, NULL, &err),
                             EYE_E_UNSUPPORTED, &err,
                             "several models in one file"));
    static const char *const others[][2] = {{"model.operation.normalization", "layer-norm"},
                                            {"model.operation.rope_complex_organization", "AoS"},
                                            {"model.operation.positional_embedding", "WPE"},
                                            {"model.lora.alpha", "1"}};
    for (size_t i = 0; i < EYE_COUNT(others); i++) {
        CALL(eye_checkpoint_open(&c, write_bin(0, others[i][0], others[i][1], false), NULL, NULL, &err));
        assert_int_equal(c.no_files.code, EYE_E_UNSUPPORTED);
        assert_non_null(strstr(c.no_files.text, others[i][0]));
        eye_checkpoint_close(&c);
    }
    CALL(eye_checkpoint_open(&c, write_bin(0, NULL, NULL, false), NULL, NULL, &err));
    assert_int_equal(c.no_files.code, EYE_OK);
    eye_checkpoint_close(&c);
}

static enum eye_status open_bin(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_gguf g;
    struct eye_arena arena;
    struct eye_str config;
    EYE_TRY(eye_gguf_open_bytes(&g, p, n, "bin", alloc, err));
    eye_arena_init(&arena, alloc);
    enum eye_status st = g.genie ? eye_gguf_genie_config(&g, &arena, &config, err) : EYE_OK;
    eye_arena_clear(&arena);
    eye_gguf_close(&g);
    return st;
}

static void decoder_files_are_hostile(void **state) {
    (void)state;
    struct eye_map map = read_all(write_bin(0, NULL, NULL, false));
    assert_true(eye_survives_mutations(open_bin, map.p, map.size, 11, 4000));
    assert_true(eye_refuses_truncations(open_bin, map.p, map.size));
    eye_map_close(&map);
}

/* ---- tables ---- */

static void tables(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_lut_info f32, f16, i8;
    char path[3][600];
    for (int i = 0; i < 3; i++) snprintf(path[i], sizeof path[i], "%s", eye_scratch_path(i == 0 ? "f32" : i == 1 ? "f16"
                                                                                         : "i8"));
    CALL(eye_lut_export(hf, path[0], EYE_LUT_F32, &f32, &err));
    CALL(eye_lut_export(hf, path[1], EYE_LUT_F16, &f16, &err));
    CALL(eye_lut_export(hf, path[2], EYE_LUT_INT8, &i8, &err));
    assert_true(f32.rows == 640 && f32.columns == 64 && f32.rel_rms == 0 && f32.bytes == 640 * 64 * 4);
    assert_true(f16.rel_rms > 0 && f16.rel_rms < 5e-4 && f16.bytes == f32.bytes / 2); /* half a unit of 11 bits */
    assert_true(i8.offset == 0 && i8.rel_rms > 0 && i8.rel_rms < 0.02 && i8.bytes == f32.bytes / 4);
    struct eye_checkpoint c;
    CALL(eye_checkpoint_open(&c, hf, NULL, NULL, &err));
    const struct eye_tensor *t = eye_checkpoint_find(&c, "model.language_model.embed_tokens.weight");
    struct eye_map a = read_all(path[0]), b = read_all(path[2]);
    assert_non_null(t);
    assert_memory_equal(a.p, t->data, a.size);
    bool more_than_signs = false; /* a table of -1, 0, 1 is what a wrong scale gives */
    for (size_t i = 0; i < b.size; i++) {
        int q = (int8_t)b.p[i];
        double w = (double)((const float *)a.p)[i];
        assert_true(fabs(w - q * i8.scale) <= i8.scale * 0.5000001);
        more_than_signs |= q > 1 || q < -1;
    }
    assert_true(more_than_signs);
    eye_map_close(&a);
    eye_map_close(&b);
    eye_checkpoint_close(&c);
}

/* ---- dialogs ---- */

static struct heard ask(struct eye_genie_dialog *d, const char *text, struct eye_genie_answer *a) {
    struct eye_err err = {0};
    struct heard h = {.n = 0};
    struct eye_genie_query q = {.piece = hear, .piece_ctx = &h, .tokens_out = true};
    CALL(eye_genie_query_text(d, text, &q, a, &err));
    return h;
}

/* The exported configuration with one number in place of another. */
static const char *edited_config(const char *from, const char *to) {
    static char text[8192], path[600];
    struct eye_map map = read_all(join(out, "genie_config.json"));
    const char *p = (const char *)map.p, *at = memmem(p, map.size, from, strlen(from));
    assert_non_null(at);
    int n = snprintf(text, sizeof text, "%.*s%s%.*s", (int)(at - p), p, to, (int)(map.size - (size_t)(at - p) - strlen(from)),
                     at + strlen(from));
    eye_map_close(&map);
    struct eye_err err = {0};
    CALL(eye_mk_write_file(out, "edited.json", text, (size_t)n, &err));
    snprintf(path, sizeof path, "%s/edited.json", out);
    return path;
}

/* Two turns in one dialog equal one, its state through a folder, and the second; greedy and drawn. */
static void states_go_on(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_answer a;
    const char *dir = "state";
    char folder[600];
    snprintf(folder, sizeof folder, "%s/%s", run, dir);
    for (int drawn = 0; drawn < 2; drawn++) {
        struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64, .temperature = drawn ? 0.9f : 0, .top_k = 20, .seed = 5};
        export(hf, &opts);
        const char *config = edited_config("\"type\": \"basic\"", "\"type\": \"basic\", \"max-num-tokens\": 9");
        struct eye_genie_dialog *d = open_dialog(config);
        ask(d, "a fox", &a);
        CALL(eye_genie_dialog_save(d, folder, &err));
        struct heard whole = ask(d, " and a dog", &a);
        eye_genie_dialog_close(d);
        d = open_dialog(config);
        CALL(eye_genie_dialog_restore(d, folder, &err));
        struct heard parts = ask(d, " and a dog", &a);
        assert_int_equal(whole.n, 9);
        assert_memory_equal(&whole, &parts, sizeof whole);
        eye_genie_dialog_close(d);
    }
    struct eye_map kv = read_all(join(folder, "kv-cache.primary.qnn-cpu"));
    static const uint8_t head[] = {4, 0, 0, 0, 0xDE, 0xC0, 0, 0, 10, 0, 4, 0, 16, 0};
    assert_memory_equal(kv.p, head, sizeof head);
    assert_int_equal(kv.size, 16 + (size_t)(kv.p[14] | kv.p[15] << 8) * 2 * 2 * 2 * 16 * 4); /* positions, layers, heads, K and
                                                                                                V */
    /* damage: refused, and the dialog goes on without */
    uint8_t *copy = malloc(kv.size);
    assert_non_null(copy);
    struct eye_genie_dialog *d = open_dialog(join(out, "edited.json"));
    static const struct { size_t at; uint8_t v; const char *says; } damage[] = {
        {4, 0, "Incorrect magic number. 0xC0DE. Found 0xC000"}, {0, 9, "9 tensors"}, {8, 9, "type 9"}, {14, 1, "positions"}};
    for (size_t i = 0; i < EYE_COUNT(damage); i++) {
        memcpy(copy, kv.p, kv.size);
        copy[damage[i].at] = damage[i].v;
        CALL(eye_mk_write_file(folder, "kv-cache.primary.qnn-cpu", copy, kv.size, &err));
        assert_true(eye_error_is(damage[i].says, eye_genie_dialog_restore(d, folder, &err), EYE_E_CORRUPT, &err,
                                 damage[i].says));
    }
    CALL(eye_mk_write_file(folder, "kv-cache.primary.qnn-cpu", kv.p, kv.size - 4, &err));
    assert_true(eye_error_is("short", eye_genie_dialog_restore(d, folder, &err), EYE_E_CORRUPT, &err, "bytes, expected"));
    CALL(eye_mk_write_file(folder, "dialog.json", "{\"n-past\": 301}", 15, &err));
    assert_true(eye_error_is("n-past", eye_genie_dialog_restore(d, folder, &err), EYE_E_CORRUPT, &err, "n-past"));
    ask(d, "a fox", &a);
    eye_genie_dialog_close(d);
    free(copy);
    eye_map_close(&kv);
}

/* A budget of nothing fills the context and says nothing; the rest of the question then gives what the whole gives. */
static void a_prefix_is_filled_in(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_answer a;
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    char folder[600];
    snprintf(folder, sizeof folder, "%s/prefix", run);
    export(hf, &opts);
    struct eye_genie_dialog *d = open_dialog(edited_config("\"type\": \"basic\"", "\"type\": \"basic\", \"max-num-tokens\": "
                                                           "0"));
    struct heard none = ask(d, "a fox", &a);
    assert_int_equal(none.n + (size_t)none.n_begin + (size_t)none.n_end, 0);
    CALL(eye_genie_dialog_save(d, folder, &err));
    eye_genie_dialog_close(d);
    const char *config = edited_config("\"type\": \"basic\"", "\"type\": \"basic\", \"max-num-tokens\": 9");
    d = open_dialog(config);
    CALL(eye_genie_dialog_restore(d, folder, &err));
    struct heard rest = ask(d, " jumps", &a);
    eye_genie_dialog_close(d);
    d = open_dialog(config);
    struct heard whole = ask(d, "a fox jumps", &a);
    assert_memory_equal(&whole, &rest, sizeof whole);
    eye_genie_dialog_close(d);
}

static void contexts_end(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_genie_answer a;
    struct eye_genie_opts opts = {.n_ctx = 12, .n_embed = 8};
    struct eye_genie_query q = {0};
    export(hf, &opts);
    /* nothing ends the answer but the context: 12 positions, the last token needs none */
    struct eye_genie_dialog *d = open_dialog(edited_config("\"top-k\": 1", "\"top-k\": 1"));
    static const int32_t ids[12] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
    CALL(eye_genie_query_tokens(d, ids, 4, &q, &a, &err));
    if (a.result.finish == EYE_FINISH_CONTEXT) {
        assert_true(a.context_exceeded);
        assert_int_equal(a.result.n_tokens, 9);
    }
    assert_true(eye_error_is("more", eye_genie_query_tokens(d, ids, 12, &q, &a, &err), EYE_E_LIMIT, &err, "Context Size was "
                             "exceeded."));
    eye_genie_dialog_close(d);
    /* a table that ends before the tokens do is an error, not a read behind it */
    d = open_dialog(join(out, "genie_config.json"));
    static const float rows[2 * 64];
    CALL(eye_genie_dialog_table(d, eye_scratch_write("short.lut", rows, sizeof rows), &err));
    assert_true(eye_error_is("table", eye_genie_query_tokens(d, ids, 2, &q, &a, &err), EYE_E_ARG, &err,
                             "Error: T2E conversion overflow. Token 5 of 2 rows"));
    assert_true(eye_error_is("no rows", eye_genie_dialog_table(d, eye_scratch_write("odd.lut", rows, 7), &err), EYE_E_CORRUPT,
                             &err,
                             "7 bytes are no rows of 64 float32"));
    assert_true(eye_error_is("embedding", eye_genie_query_embedding(d, eye_scratch_write("odd.raw", rows, 300), &q, &a, &err),
                             EYE_E_CORRUPT, &err, "must be an integer multiple of the embedding vector size in bytes"));
    assert_true(eye_error_is("absent", eye_genie_query_embedding(d, "nowhere.raw", &q, &a, &err), EYE_E_IO, &err,
                             "File nowhere.raw doesn't exists or is in bad shape."));
    eye_genie_dialog_close(d);
}

static void models_that_do_not_fit(void **state) {
    (void)state;
    static const struct { const char *from, *to, *says; } edits[] = {
        {"\"n-vocab\": 640", "\"n-vocab\": 639", "n-vocab is 639, the model has 640 tokens"},
        {"\"size\": 64", "\"size\": 65", "embedding size is 65, the model's rows have 64"},
        {"\"size\": 300", "\"size\": 301", "301"},
        {"decoder.bin", "nothing.bin", "qnn-cpu: Model binary path does not exist: nothing.bin"},
        {"tokenizer.json", "nothing.json", "File nothing.json doesn't exists or is in bad shape."},
    };
    struct eye_genie_opts opts = {.n_ctx = 300, .n_embed = 64};
    struct eye_genie_dialog *d;
    struct eye_err err = {0};
    export(hf, &opts);
    for (size_t i = 0; i < EYE_COUNT(edits); i++) {
        enum eye_status st = eye_genie_dialog_open(edited_config(edits[i].from, edits[i].to), NULL, &d, &err);
        assert_true(st != EYE_OK && eye_error_is(edits[i].says, st, st, &err, edits[i].says));
    }
    /* the NPU's configuration: half a head, on our own file in place of the NPU's */
    struct eye_map map = read_all(join(out, "genie_config_htp.json"));
    assert_non_null(memmem(map.p, map.size, "\"rope-dim\": 8", 13)); /* heads of 16 */
    char text[8192];
    snprintf(text, sizeof text, "%.*s", (int)map.size, (const char *)map.p);
    eye_map_close(&map);
    memcpy(strstr(text, "decoder_htp.bin"), "decoder.bin\"   ", 15);
    *strstr(text, "   \"") = ' ';
    for (char *p = strstr(text, "decoder.bin\"") + 12; *p && *p != '\n'; p++) *p = ' ';
    CALL(eye_mk_write_file(out, "htp.json", text, strlen(text), &err));
    d = open_dialog(join(out, "htp.json"));
    eye_genie_dialog_close(d);
    memcpy(strstr(text, "\"rope-dim\": 8"), "\"rope-dim\": 9", 13);
    CALL(eye_mk_write_file(out, "htp.json", text, strlen(text), &err));
    assert_true(eye_error_is("rope-dim", eye_genie_dialog_open(join(out, "htp.json"), NULL, &d, &err), EYE_E_ARG, &err,
                             "rope-dim is 9, expected 8, half of a head"));
}

static int make(void **state) {
    (void)state;
    struct eye_err err = {0};
    struct eye_mk_opts o = {.size = eye_mk_size_find("tiny"), .dtype = 0, .format = EYE_MK_HF, .out = hf};
    o.seed = o.size->seed;
    snprintf(hf, sizeof hf, "%s", eye_scratch_path("hf"));
    snprintf(apple, sizeof apple, "%s", eye_scratch_path("apple"));
    snprintf(out, sizeof out, "%s", eye_scratch_path("genie"));
    snprintf(run, sizeof run, "%s", eye_scratch_path("run"));
    if (eye_make_checkpoint(&o, &err) != EYE_OK) return -1;
    o.format = EYE_MK_APPLE;
    o.out = apple;
    return eye_make_checkpoint(&o, &err) == EYE_OK ? 0 : -1;
}

static int unmake(void **state) {
    (void)state;
    eye_scratch_remove();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_tokens_as_a_session),
        cmocka_unit_test(net_run_without_native_files),
        cmocka_unit_test(vision_of_bytes),
        cmocka_unit_test(steps_refuse),
        cmocka_unit_test(verify_of_itself),
        cmocka_unit_test(verify_of_other_words),
        cmocka_unit_test(verify_refuses),
        cmocka_unit_test(decoder_file_is_what_genie_reads),
        cmocka_unit_test(vendor_types_are_refused_by_name),
        cmocka_unit_test(decoder_files_are_hostile),
        cmocka_unit_test(tables),
        cmocka_unit_test(states_go_on),
        cmocka_unit_test(a_prefix_is_filled_in),
        cmocka_unit_test(contexts_end),
        cmocka_unit_test(models_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, make, unmake);
}
