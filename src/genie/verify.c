/* genie/verify: what a device gave, stage by stage, against what this computer gives for the same inputs. Every stage has one
 * suspect: vision and embed are run here on the files that the device got, the combined rows are made here of what these gave,
 * and the decoder here is fed the rows that the device's was. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/genie.h"
#include "genie/configs.h"
#include "genie/dialog_impl.h"
#include "genie/steps.h"

#define MAX_STDOUT ((size_t)16 << 20)
#define STDOUT "genie_stdout.txt"
#define COMBINED "combined_embeddings_fp32.raw"

struct verify {
    const char *dir, *run;
    const struct eye_genie_verify *o;
    struct eye_genie_limits limits;
    struct eye_genie_exported here, there; /* signatures of dir's parts; of the device's binaries */
    struct eye_genie_tokens tokens;
    float *text, *image;                 /* [here.embed.out.n], [here.vision.out.n] made here */
    float *got;                          /* [more than either] */
    size_t n_got;
    struct eye_genie_verified *out;
};

const char *eye_genie_stage_name(enum eye_genie_stage stage) {
    static const char *const name[EYE_GENIE_STAGES] = {"vision", "embed", "combined", "answer"};
    return (unsigned)stage < EYE_GENIE_STAGES ? name[stage] : "none";
}

static void say(const struct verify *v, enum eye_genie_stage stage, double done) {
    if (v->o->progress) v->o->progress(v->o->progress_ctx, eye_genie_stage_name(stage), done);
}

/* ---- rows against rows ---- */

static double cosine_of(double ab, double aa, double bb) {
    return aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : aa == bb ? 1 : 0;
}

/* want and got [n], rows of width. */
static void compare(const float *want, const float *got, size_t n, size_t width, struct eye_genie_compared *c) {
    double ab = 0, aa = 0, bb = 0, most = 0, largest = 0;
    bool numbers = true;
    c->n = n;
    c->worst_row_cosine = 2;
    for (size_t row = 0; row < n / width; row++) {
        double xy = 0, xx = 0, yy = 0;
        for (size_t i = row * width; i < (row + 1) * width; i++) {
            double x = (double)want[i], y = (double)got[i], d = fabs(x - y);
            xy += x * y;
            xx += x * x;
            yy += y * y;
            if (!isfinite(y)) numbers = false;
            if (d > most) most = d;
            if (fabs(x) > largest) largest = fabs(x);
        }
        double cosine = cosine_of(xy, xx, yy);
        if (!(cosine >= c->worst_row_cosine)) {
            c->worst_row_cosine = isfinite(cosine) ? cosine : -1;
            c->worst_row = row;
        }
        ab += xy;
        aa += xx;
        bb += yy;
    }
    c->cosine = numbers ? cosine_of(ab, aa, bb) : -1;
    c->error = !numbers ? (double)INFINITY : largest > 0 ? most / largest : most;
}

static void judge(struct eye_genie_compared *c, double cosine, double error) {
    c->cosine_limit = cosine;
    c->error_limit = error;
    c->verdict = c->cosine >= cosine && c->error <= error ? EYE_GENIE_GOOD : EYE_GENIE_OFF;
    if (c->verdict == EYE_GENIE_GOOD) return;
    if (isinf(c->error))
        snprintf(c->why, sizeof c->why, "values that are no numbers, first in row %" PRIu64, c->worst_row);
    else if (c->cosine < cosine)
        snprintf(c->why, sizeof c->why, "cosine %.6g, expected at least %g (row %" PRIu64 ": %.3g)", c->cosine, cosine,
                 c->worst_row, c->worst_row_cosine);
    else
        snprintf(c->why, sizeof c->why, "largest error %.3g of the largest magnitude, expected at most %g", c->error, error);
}

static void absent(struct eye_genie_compared *c, const char *why) {
    c->verdict = EYE_GENIE_ABSENT;
    snprintf(c->why, sizeof c->why, "%s", why);
}

static bool is_there(const struct verify *v, const char *name) {
    char path[4096];
    struct eye_err err;
    return eye_genie_join(path, sizeof path, v->run, name, &err) == EYE_OK && eye_path_exists(path);
}

/* ---- stages ---- */

static enum eye_status run_here(const struct verify *v, const char *part, const char *input, float *out, size_t n,
                                struct eye_err *err) {
    struct eye_genie_part *net;
    char path[4096], file[4096];
    EYE_TRY(eye_genie_join(path, sizeof path, v->dir, part, err));
    EYE_TRY(eye_genie_join(file, sizeof file, v->run, input, err));
    EYE_TRY(eye_genie_part_open(path, v->o->n_threads, &net, err));
    enum eye_status st = eye_genie_part_infer(net, file, out, n, v->o->cancel, err);
    eye_genie_part_close(net);
    return st;
}

/* Rows of a step, those that count, against here. */
static enum eye_status compare_step(struct verify *v, enum eye_genie_stage stage, const char *step,
                                    const struct eye_ctx_tensor *t, const float *want, size_t n, struct eye_err *err) {
    struct eye_genie_compared *c = &v->out->stage[stage];
    if (!is_there(v, step)) return absent(c, "this step did not run"), EYE_OK;
    EYE_TRY(eye_genie_step_rows(v->run, step, t, v->got, err));
    compare(want, v->got, n, (size_t)t->dims[2], c);
    bool vision = stage == EYE_GENIE_STAGE_VISION;
    judge(c, vision ? v->limits.vision_cosine : v->limits.embed_cosine,
          vision ? v->limits.vision_error : v->limits.embed_error);
    return EYE_OK;
}

static enum eye_status check_vision(struct verify *v, struct eye_err *err) {
    const struct eye_ctx_tensor *t = &v->there.vision.out;
    if (!v->tokens.image_rows)
        return absent(&v->out->stage[EYE_GENIE_STAGE_VISION], "no image in this run"), EYE_OK;
    say(v, EYE_GENIE_STAGE_VISION, 0);
    EYE_TRY(run_here(v, EYE_GENIE_VISION, "pixel_values.raw", v->image, v->here.vision.out.n, err));
    return compare_step(v, EYE_GENIE_STAGE_VISION, "vision_out", t, v->image, t->n, err);
}

static enum eye_status check_embed(struct verify *v, struct eye_err *err) {
    const struct eye_ctx_tensor *t = &v->there.embed.out;
    say(v, EYE_GENIE_STAGE_EMBED, 0.3);
    EYE_TRY(run_here(v, EYE_GENIE_EMBED, "input_ids.raw", v->text, v->here.embed.out.n, err));
    return compare_step(v, EYE_GENIE_STAGE_EMBED, "embed_out", t, v->text, (size_t)(v->tokens.n_text * t->dims[2]), err);
}

/* The sequence, with image rows at their place, as combine makes it. */
static enum eye_status check_combined(struct verify *v, struct eye_err *err) {
    struct eye_genie_compared *c = &v->out->stage[EYE_GENIE_STAGE_COMBINED];
    size_t width = (size_t)v->here.embed.out.dims[2], rows = (size_t)v->tokens.image_rows, text = (size_t)v->tokens.n_text;
    size_t pos = (size_t)EYE_MAX(v->tokens.image_pos, 0), n = (rows + text) * width;
    struct eye_map map;
    char path[4096];
    say(v, EYE_GENIE_STAGE_COMBINED, 0.4);
    if (!is_there(v, COMBINED)) return absent(c, "no " COMBINED), EYE_OK;
    EYE_TRY(eye_genie_join(path, sizeof path, v->run, COMBINED, err));
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    enum eye_status st = EYE_OK;
    if (map.size != n * sizeof(float))
        st = eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, expected %zu: %zu rows of the image and %zu of text", path, map.size,
                      n * sizeof(float), rows, text);
    if (st == EYE_OK) {
        size_t behind = (text - pos) * width; /* text behind the image makes room for it, in place */
        memcpy(v->got, map.p, map.size);
        float *want = v->got + n;
        memcpy(want, v->text, pos * width * sizeof *want);
        memcpy(want + pos * width, v->image, rows * width * sizeof *want);
        memcpy(want + (pos + rows) * width, v->text + pos * width, behind * sizeof *want);
        compare(want, v->got, n, width, c);
        judge(c, rows ? v->limits.vision_cosine : v->limits.embed_cosine, rows ? v->limits.vision_error
                                                                              : v->limits.embed_error);
    }
    eye_map_close(&map);
    return st;
}

/* ---- the answer ---- */

static void collect(void *ctx, const char *piece, size_t n) { eye_buf_add(ctx, piece, n); }

/* Its text out of the program's standard output; false: there is none, and why is said. */
static enum eye_status read_answer(const struct verify *v, struct eye_buf *text, bool *found, struct eye_err *err) {
    struct eye_genie_compared *c = &v->out->stage[EYE_GENIE_STAGE_ANSWER];
    struct eye_genie_transcript t = {.text = collect, .text_ctx = text};
    struct eye_map map;
    char path[4096];
    *found = false;
    if (!is_there(v, STDOUT)) return absent(c, "no " STDOUT ", what genie-t2t-run printed"), EYE_OK;
    EYE_TRY(eye_genie_join(path, sizeof path, v->run, STDOUT, err));
    EYE_TRY(eye_map_open(&map, path, false, MAX_STDOUT, err));
    eye_genie_transcript_feed(&t, (const char *)map.p, map.size);
    eye_genie_transcript_end(&t);
    eye_map_close(&map);
    if (text->failed) return eye_fail_nomem(err, text->len);
    *found = t.said == EYE_GENIE_DONE;
    if (*found) return EYE_OK;
    c->verdict = EYE_GENIE_OFF;
    snprintf(c->why, sizeof c->why, t.said ? "the answer has no [END]: it broke off" : "no [BEGIN] in " STDOUT);
    return EYE_OK;
}

/* The run's own configuration says how long its answer may be; -1 = it does not, or is not there. */
static int64_t read_max_tokens(const struct verify *v) {
    struct eye_genie_config c;
    struct eye_map map;
    struct eye_err err;
    char path[4096];
    int64_t n = -1;
    if (eye_genie_join(path, sizeof path, v->run, EYE_GENIE_CONFIG, &err) != EYE_OK || !eye_path_exists(path)) return -1;
    if (eye_map_open(&map, path, false, EYE_GENIE_MAX_CONFIG, &err) != EYE_OK) return -1;
    if (eye_genie_config_parse(&c, (const char *)map.p, map.size, path, NULL, &err) == EYE_OK) {
        n = c.max_tokens;
        eye_genie_config_clear(&c);
    }
    eye_map_close(&map);
    return n;
}

static bool draws(const struct eye_generate_opts *o) {
    return (o->temperature > 0 && o->top_k != 1) || (o->repeat_penalty != 0 && o->repeat_penalty != 1) ||
           o->frequency_penalty != 0 || o->presence_penalty != 0;
}

static enum eye_status open_decoder(const struct verify *v, struct eye_genie_dialog **d, struct eye_err *err) {
    char path[4096], table[4096 + EYE_GENIE_TABLE_ARG], arg[EYE_GENIE_TABLE_ARG];
    struct eye_genie_dialog_opts o = {.n_threads = v->o->n_threads, .cancel = v->o->cancel, .cancel_ctx = v->o->cancel_ctx};
    EYE_TRY(eye_genie_join(path, sizeof path, v->dir, EYE_GENIE_CONFIG, err));
    EYE_TRY(eye_genie_table_arg(v->dir, arg, err));
    snprintf(table, sizeof table, "%s/%s%s", v->dir, EYE_GENIE_TABLE, arg);
    EYE_TRY(eye_genie_dialog_open(path, &o, d, err));
    enum eye_status st = eye_genie_dialog_table(*d, table, err);
    if (st != EYE_OK) eye_genie_dialog_close(*d);
    return st;
}

static enum eye_status follow(struct verify *v, struct eye_genie_dialog *d, const struct eye_buf *text, struct eye_err *err) {
    struct eye_genie_compared *c = &v->out->stage[EYE_GENIE_STAGE_ANSWER];
    struct eye_genie_followed f;
    struct eye_map map;
    char path[4096];
    if (draws(&d->c.sampling)) return absent(c, "the answer was drawn, or penalties changed it: not compared"), EYE_OK;
    EYE_TRY(eye_genie_join(path, sizeof path, v->run, COMBINED, err));
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    memcpy(v->got, map.p, EYE_MIN(map.size, v->n_got * sizeof *v->got)); /* its size was checked */
    eye_map_close(&map);
    EYE_TRY(eye_genie_feed_rows(d, v->got, (size_t)(v->tokens.n_text + v->tokens.image_rows), err));
    EYE_TRY(eye_genie_follow(d, text->p ? text->p : "", text->len, read_max_tokens(v), v->limits.answer_gap, &f, err));
    *c = (struct eye_genie_compared){.verdict = f.off ? EYE_GENIE_OFF : EYE_GENIE_GOOD, .n = f.n_tokens, .n_ties = f.n_ties,
                                     .gap = f.gap, .error_limit = v->limits.answer_gap};
    if (!f.off) return EYE_OK;
    if (f.gap > v->limits.answer_gap)
        snprintf(c->why, sizeof c->why, "%s (%.3g nats apart, expected at most %g)", f.why, f.gap, v->limits.answer_gap);
    else
        snprintf(c->why, sizeof c->why, "%s", f.why);
    return EYE_OK;
}

static enum eye_status check_answer(struct verify *v, struct eye_err *err) {
    struct eye_genie_dialog *d;
    struct eye_buf text;
    bool found;
    if (v->out->stage[EYE_GENIE_STAGE_COMBINED].verdict == EYE_GENIE_ABSENT)
        return absent(&v->out->stage[EYE_GENIE_STAGE_ANSWER], "no " COMBINED " to answer to"), EYE_OK;
    say(v, EYE_GENIE_STAGE_ANSWER, 0.5);
    eye_buf_init(&text, NULL);
    enum eye_status st = read_answer(v, &text, &found, err);
    if (st == EYE_OK && found) {
        st = open_decoder(v, &d, err);
        if (st == EYE_OK) {
            st = follow(v, d, &text, err);
            eye_genie_dialog_close(d);
        }
    }
    eye_buf_clear(&text);
    return st;
}

/* ---- */

enum eye_status eye_genie_table_arg(const char *dir, char arg[EYE_GENIE_TABLE_ARG], struct eye_err *err) {
    static const char *const types[] = {"float32", "float16", "int8"};
    struct eye_genie_folder f;
    EYE_TRY(eye_genie_folder_read(dir, &f, err));
    arg[0] = '\0';
    if (f.lut != EYE_LUT_F32)
        snprintf(arg, EYE_GENIE_TABLE_ARG, ",%s,%.9g,%g", types[f.lut], f.lut_scale, f.lut_offset);
    return EYE_OK;
}

static double limit(double given, double def) { return given != 0 ? given : def; }

static enum eye_status same_shape(const struct eye_ctx_tensor *a, const struct eye_ctx_tensor *b, const char *what,
                                  struct eye_err *err) {
    for (int i = 0; i < 3; i++)
        if (a->dims[i] != b->dims[i])
            return eye_fail(err, EYE_E_ARG, "%s: the device's binary gives [%" PRId64 ", %" PRId64 ", %" PRId64 "], the part "
                            "here [%" PRId64 ", %" PRId64 ", %" PRId64 "]", what, b->dims[0], b->dims[1], b->dims[2], a->dims[0],
                            a->dims[1], a->dims[2]);
    return EYE_OK;
}

static enum eye_status open_all(struct verify *v, struct eye_err *err) {
    EYE_TRY(eye_genie_exported_open(&v->here, v->dir, NULL, NULL, err));
    EYE_TRY(eye_genie_exported_open(&v->there, v->dir, v->o->vision_ctx_info, v->o->embed_ctx_info, err));
    EYE_TRY(same_shape(&v->here.embed.out, &v->there.embed.out, "embed", err));
    if (v->here.sees) EYE_TRY(same_shape(&v->here.vision.out, &v->there.vision.out, "vision", err));
    EYE_TRY(eye_genie_tokens_read(v->run, &v->here, &v->tokens, err));
    size_t text = v->here.embed.out.n, image = v->here.sees ? v->here.vision.out.n : 0, all, bytes;
    v->n_got = 2 * (text + image);
    if (!eye_mul_ok(3, text + image, &all) || !eye_mul_ok(all, sizeof(float), &bytes)) return eye_fail_nomem(err, SIZE_MAX);
    v->text = eye_alloc_zero(NULL, bytes);
    if (!v->text) return eye_fail_nomem(err, bytes);
    v->image = v->text + text;
    v->got = v->image + image;
    return EYE_OK;
}

enum eye_status eye_genie_verify_run(const char *dir, const char *run, const struct eye_genie_verify *opts,
                                     struct eye_genie_verified *out, struct eye_err *err) {
    static const struct eye_genie_verify none;
    const struct eye_genie_verify *o = opts ? opts : &none;
    const struct eye_genie_limits *l = &o->limits;
    struct verify v = {.dir = dir, .run = run, .o = o, .out = out,
                       .limits = {limit(l->vision_cosine, 0.99), limit(l->vision_error, 0.1), limit(l->embed_cosine, 0.9999),
                                  limit(l->embed_error, 0.01), limit(l->answer_gap, 0.5)}};
    memset(out, 0, sizeof *out);
    out->first_off = EYE_GENIE_STAGES;
    enum eye_status st = open_all(&v, err);
    if (st == EYE_OK) st = check_vision(&v, err);
    if (st == EYE_OK) st = check_embed(&v, err);
    if (st == EYE_OK) st = check_combined(&v, err);
    if (st == EYE_OK) st = check_answer(&v, err);
    if (o->progress) o->progress(o->progress_ctx, "", 1);
    eye_alloc_free(NULL, v.text, 3 * (v.here.embed.out.n + (v.here.sees ? v.here.vision.out.n : 0)) * sizeof *v.text);
    for (int i = EYE_GENIE_STAGES; i-- > 0;) {
        out->n_compared += out->stage[i].verdict != EYE_GENIE_ABSENT;
        if (out->stage[i].verdict == EYE_GENIE_OFF) out->first_off = (enum eye_genie_stage)i;
    }
    if (st == EYE_OK && !out->n_compared)
        st = eye_fail(err, EYE_E_IO, "%s: nothing of a device's in it: no vision_out, embed_out, %s or %s", run, COMBINED,
                      STDOUT);
    return st;
}
