/* Whole runs, small: captions learnt by heart with their end, resumed = uninterrupted, one thread = two, drawn scenes from
 * nothing with the picture worth more than another one, and bad data.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eyelet/eyelet.h"
#include "eyelet/train.h"
#include "format/safetensors.h"
#include "support/support.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

/* ---- eight pictures ---- */

enum { SIDE = 32 };
static const struct { const char *name; uint8_t rgb[3]; } boards[] = {
    {"red", {220, 30, 30}},     {"green", {30, 200, 40}},  {"blue", {30, 60, 220}},    {"yellow", {230, 220, 40}},
    {"white", {240, 240, 240}}, {"black", {10, 10, 10}},   {"pink", {250, 150, 180}},  {"grey", {128, 128, 128}},
};

/* A checkered board of each colour with one caption; the first of them for dev as well, under another name. */
static void make_pictures(const char *dir) {
    struct eye_buf list;
    char path[1200];
    mkdir(dir, 0777);
    eye_buf_init(&list, NULL);
    for (size_t i = 0; i < EYE_COUNT(boards) + 2; i++) {
        size_t b = i % EYE_COUNT(boards);
        bool dev = i >= EYE_COUNT(boards);
        snprintf(path, sizeof path, "%s/%s%s.ppm", dir, dev ? "dev_" : "", boards[b].name);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fprintf(f, "P6 %d %d 255\n", SIDE, SIDE);
        for (int k = 0; k < SIDE * SIDE; k++)
            for (int c = 0; c < 3; c++) fputc((k / 8 + k / SIDE / 8) % 2 ? boards[b].rgb[c] : boards[b].rgb[c] / 2, f);
        fclose(f);
        eye_buf_printf(&list, "%s%s.ppm\ta %s board with squares\t%s\n", dev ? "dev_" : "", boards[b].name, boards[b].name,
                       dev ? "dev" : "train");
    }
    snprintf(path, sizeof path, "%s/index.tsv", dir);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(list.p, 1, list.len, f);
    fclose(f);
    eye_buf_clear(&list);
}

#define STUDENT \
    "\"student\": {\"vocab\": 300, \"config\": {\"model_type\": \"eyelet_vlm\", \"vision\": {\"type\": \"mobilenetv3\", " \
    "\"variant\": \"small_minimalistic\", \"width\": 0.25, \"image_size\": 32, \"tap\": 3}, " \
    "\"projector\": {\"type\": \"linear\"}, \"text\": {\"type\": \"gpt2\", \"n_embd\": 48, \"n_layer\": 2, " \
    "\"n_head\": 4, \"n_positions\": 64}, \"prompt\": \"\", " \
    "\"image_position\": \"first\", \"preprocessing\": {\"fit\": \"stretch\", \"resample\": \"bilinear\"}}}"

static char data_dir[1024], recipe_path[1024];

static int setup(void **state) {
    static const char recipe[] =
        "{\"seed\": 5, " STUDENT ", \"data\": {\"path\": \"DATA/index.tsv\"}, \"stages\": [{\"epochs\": 12, \"batch\": 4, "
        "\"lr\": 4e-3, \"dropout\": 0.1, \"train_norms\": true, \"ema\": 0.9, \"accumulate\": 2, "
        "\"augment\": {\"flip\": true}}], \"eval\": {\"every_epochs\": 4}}";
    snprintf(data_dir, sizeof data_dir, "%s/pictures", eye_scratch_dir());
    make_pictures(data_dir);
    snprintf(recipe_path, sizeof recipe_path, "%s", eye_scratch_write("recipe.json", recipe, sizeof recipe - 1));
    return 0;
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

/* ---- runs ---- */

struct run {
    const char *name;             /* of its folder */
    const char *set[8];
    int n_set, n_threads;
    bool resume;
    enum eye_train_use use;
    int64_t stop_after;           /* cancelled once so many steps are made; 0 = never */
    int64_t steps;
    char notes[1000];             /* what it said, a line each */
};

static bool stop(void *ctx) {
    const struct run *r = ctx;
    return r->stop_after && r->steps >= r->stop_after;
}

static void keep_note(void *ctx, const char *line) {
    char *notes = ((struct run *)ctx)->notes;
    size_t n = strlen(notes);
    snprintf(notes + n, sizeof((struct run *)ctx)->notes - n, "%s\n", line);
}

static void count_step(void *ctx, const struct eye_train_progress *p) { ((struct run *)ctx)->steps = p->step; }

static enum eye_status train(struct run *r, struct eye_train_result *result) {
    char out[1200];
    snprintf(out, sizeof out, "%s/%s", eye_scratch_dir(), r->name);
    const struct eye_train_opts o = {.recipe = recipe_path, .out = out, .data = data_dir, .set = r->set,
                                     .n_set = (size_t)r->n_set, .resume = r->resume, .use = r->use,
                                     .n_threads = r->n_threads ? r->n_threads : 2, .progress = count_step, .note = keep_note,
                                     .ctx = r, .cancel = stop, .cancel_ctx = r};
    return eye_train(&o, result, &err);
}

/* Tensors of two runs' students: how many differ of those in `within` (a start of names); others must not. */
static size_t n_changed(const char *a, const char *b, const char *within) {
    struct eye_safetensors s[2];
    size_t n = 0;
    const char *const name[] = {a, b};
    for (int i = 0; i < 2; i++) {
        char path[1300];
        snprintf(path, sizeof path, "%s/%s/student/model.safetensors", eye_scratch_dir(), name[i]);
        ok(eye_safetensors_open(&s[i], path, true, NULL, &err));
    }
    assert_int_equal(s[0].table.n, s[1].table.n);
    for (size_t i = 0; i < s[0].table.n; i++) {
        const struct eye_entry *e = &s[0].table.entry[i], *f = eye_table_find(&s[1].table, e->name);
        if (f && f->bytes == e->bytes && memcmp(e->t.data, f->t.data, e->bytes) == 0) continue;
        if (!within || strncmp(e->name, within, strlen(within)) != 0) fail_msg("%s differs", e->name);
        n++;
    }
    for (int i = 0; i < 2; i++) eye_safetensors_close(&s[i]);
    return n;
}

static void assert_same_students(const char *a, const char *b) { (void)n_changed(a, b, NULL); }

/* Dropout, augmentation, averages, batch norms, accumulation, cut at any step, and by any number of threads. */
static void resumed_equals_uninterrupted(void **state) {
    struct eye_train_result whole, result;
    struct run r = {.name = "whole", .n_threads = 1};
    ok(train(&r, &whole));
    assert_int_equal(whole.steps, 12); /* 8 pictures, 2 batches of 4 a step: an epoch each */
    static const int64_t cuts[] = {1, 4, 11};
    for (size_t i = 0; i < EYE_COUNT(cuts); i++) {
        char name[16];
        snprintf(name, sizeof name, "cut%zu", i);
        struct run first = {.name = name, .stop_after = cuts[i]}, again = {.name = name};
        struct run second = {.name = name, .resume = true};
        assert_int_equal(train(&first, NULL), EYE_E_CANCELLED);
        assert_true(eye_error_is("again", train(&again, NULL), EYE_E_ARG, &err, "there is a run in it"));
        ok(train(&second, &result));
        assert_int_equal(result.steps, whole.steps);
        assert_true(result.dev_loss == whole.dev_loss && result.shuffled_loss == whole.shuffled_loss);
        assert_same_students("whole", name);
    }
    struct run other = {.name = "cut0", .resume = true, .set = {"stages.0.lr=1"}, .n_set = 1};
    assert_true(eye_error_is("recipe", train(&other, NULL), EYE_E_ARG, &err, "another recipe"));
}

/* Saving after each step: killed at any moment, or on a full disk, a run goes on to the same student. */
static void killed_equals_uninterrupted(void **state) {
    struct eye_train_result result;
    struct rlimit old, full = {600000, 600000}; /* the fresh student fits, a checkpoint with its moments does not */
    struct run disk = {.name = "disk", .set = {"save_minutes=0"}, .n_set = 1};
    getrlimit(RLIMIT_FSIZE, &old);
    full.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &full);
    enum eye_status st = train(&disk, NULL);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_true(eye_error_is("full disk", st, EYE_E_IO, &err, "step-000000"));
    disk.resume = true;
    ok(train(&disk, NULL));
    assert_same_students("whole", "disk");
    for (int round = 0; round < 3; round++) {
        char name[16];
        snprintf(name, sizeof name, "killed%d", round);
        struct run r = {.name = name, .set = {"save_minutes=0"}, .n_set = 1};
        pid_t child = fork();
        if (child == 0) _exit(train(&r, NULL) != EYE_OK);
        usleep(60000 + 70000 * (useconds_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        r.resume = true;
        ok(train(&r, &result));
        assert_int_equal(result.steps, 12);
        assert_same_students("whole", name);
    }
}

/* With patience a stage ends when nothing gets better, and leaves what it was best with: the same as if it had been that
 * short; cut at any step, too. Without best/ the last weights go on. */
static void impatient_stages_leave_their_best(void **state) {
    static const char stages[] =
        "stages=[{\"epochs\": 9, \"batch\": 4, \"lr\": 1e-4, \"schedule\": \"constant\", \"warmup\": 0, "
        "\"train_norms\": true, \"ema\": 0.5}, {\"epochs\": 1, \"batch\": 4, \"lr\": 1e-4, "
        "\"dropout\": 0}]"; /* draws follow from all steps made */
    struct eye_train_result whole, result;
    struct run r = {.name = "patient", .set = {stages, "eval.patience=2", "eval.every_epochs=1"}, .n_set = 3};
    struct run brief = {.name = "brief", .set = {stages, "stages.0.epochs=1", "eval.every_epochs=1"}, .n_set = 3};
    ok(train(&r, &whole));
    ok(train(&brief, &result));
    assert_int_equal(result.steps, 2 + 2);
    assert_int_equal(whole.steps, 3 * 2 + 2); /* its captions are no better after the second and third epoch */
    assert_same_students("patient", "brief");
    for (int i = 0; i < 3; i++) {
        static const int64_t cuts[] = {1, 3, 5};
        char name[32], best[1200];
        snprintf(name, sizeof name, "patient_%d", i);
        struct run cut = r;
        cut.name = name;
        cut.steps = 0;
        cut.stop_after = cuts[i];
        assert_int_equal(train(&cut, NULL), EYE_E_CANCELLED);
        snprintf(best, sizeof best, "%s/%s/best/model.safetensors", eye_scratch_dir(), name);
        if (i == 2) assert_int_equal(unlink(best), 0);
        cut.resume = true;
        cut.stop_after = 0;
        ok(train(&cut, &result));
        assert_int_equal(result.steps, whole.steps);
        if (i < 2) assert_same_students("patient", name);
        else assert_true(n_changed("patient", name, "") > 0);
    }
}

static void threads_change_nothing(void **state) {
    static const char *const bf16[] = {"stages.0.bf16=false", "stages.0.bf16=true"};
    for (int i = 0; i < 2; i++) {
        struct run one = {.name = i ? "one_bf16" : "one", .n_threads = 1, .set = {bf16[i]}, .n_set = 1};
        struct run three = {.name = i ? "three_bf16" : "three", .n_threads = 3, .set = {bf16[i]}, .n_set = 1};
        ok(train(&one, NULL));
        ok(train(&three, NULL));
        assert_same_students(one.name, three.name);
    }
}

/* The caption of a picture, by the same session that everybody uses. */
static void caption(const char *student, const char *picture, char out[200]) {
    struct eye_model *model;
    struct eye_session *session;
    struct eye_result result;
    struct eye_image image;
    ok(eye_model_open(student, NULL, &model, &err));
    ok(eye_session_new(model, NULL, &session, &err));
    ok(eye_image_load(picture, NULL, &image, &err));
    struct eye_query q = {.images = &image, .n_images = 1}; /* no words: the model's own prompt, which is empty */
    ok(eye_session_generate(session, &q, NULL, &result, &err));
    snprintf(out, 200, "%s%s", result.text, result.finish == EYE_FINISH_STOP ? "" : " (no end)");
    eye_image_free(&image);
    eye_session_free(session);
    eye_model_close(model);
}

static void eight_captions_by_heart(void **state) {
    struct eye_train_result result;
    char student[1200], picture[1300], text[200], want[64];
    struct run r = {.name = "heart", .n_set = 6, .set = {"stages.0.epochs=150", "stages.0.dropout=0", "stages.0.ema=0",
                    "stages.0.augment={}", "stages.0.weight_decay=0", "stages.0.accumulate=1"}};
    ok(train(&r, &result));
    /* The dev pictures are two of the training ones: their loss is that of what was learnt. */
    assert_true(result.dev_loss < 0.05);
    assert_true(result.shuffled_loss > 10 * result.dev_loss);
    snprintf(student, sizeof student, "%s/heart/student", eye_scratch_dir());
    for (size_t i = 0; i < EYE_COUNT(boards); i++) {
        snprintf(picture, sizeof picture, "%s/%s.ppm", data_dir, boards[i].name);
        snprintf(want, sizeof want, "a %s board with squares", boards[i].name);
        caption(student, picture, text);
        assert_string_equal(text, want);
    }
}

/* The student of the test before as teacher: its tower's features, then what it says. */
static void students_imitate_teachers(void **state) {
    struct eye_train_result result, before;
    char teacher[1200], tokenizer[1200];
    snprintf(teacher, sizeof teacher, "teacher.path=%s/heart/student", eye_scratch_dir());
    snprintf(tokenizer, sizeof tokenizer, "student.tokenizer=%s/heart/student", eye_scratch_dir());
    struct run tower = {.name = "tower", .use = EYE_DISTIL_VISION, .n_set = 7, .set = {"kind=distil_vision",
                        "stages.0.loss=vision", teacher, "teacher.feature_loss=centred_cosine", "stages.0.ema=0",
                        "stages.0.lr=0", tokenizer}};
    ok(train(&tower, &before));
    tower.name = "tower2";
    tower.set[5] = "stages.0.epochs=150";
    ok(train(&tower, &result));
    /* 1 - cosine once the mean is gone: about 1 for a stranger, 0 for a twin. */
    assert_true(before.dev_loss > 0.5 && result.dev_loss < 0.3 && result.shuffled_loss > 2 * result.dev_loss);
    struct run whole = {.name = "joint", .use = EYE_DISTIL_JOINT, .n_set = 8, .set = {"kind=distil_joint",
                        "stages.0.loss=joint", teacher, tokenizer, "teacher.hard=0", "teacher.top_k=8", "stages.0.epochs=150",
                        "stages.0.ema=0"}};
    ok(train(&whole, &result)); /* no caption is ever a target here: all it knows is what the teacher holds likely */
    assert_true(result.dev_loss < 0.3 && result.shuffled_loss > 2 * result.dev_loss);
    struct run none = {.name = "none", .use = EYE_DISTIL_JOINT, .n_set = 4, .set = {"kind=distil_joint", "stages.0.loss=joint",
                       teacher, "student.vocab=260"}};
    assert_true(eye_error_is("tokens", train(&none, NULL), EYE_E_ARG, &err, "must share a tokenizer"));
}

static void file_of(char out[1300], const char *run, const char *name) {
    snprintf(out, 1300, "%s/%s/%s", eye_scratch_dir(), run, name);
}

/* The teacher of the test before: kept logits are the asked ones, to the last bit, and damage is mended; its captions teach,
 * also where it shares no tokenizer. */
static void what_teachers_say_is_kept(void **state) {
    static const char *const epochs = "stages.0.epochs=3";
    struct eye_train_result a, b;
    struct eye_map m;
    char teacher[1200], tokenizer[1200], logits[1300], captions[1300];
    snprintf(teacher, sizeof teacher, "teacher.path=%s/heart/student", eye_scratch_dir());
    snprintf(tokenizer, sizeof tokenizer, "student.tokenizer=%s/heart/student", eye_scratch_dir());
    struct run asked = {.name = "asked", .use = EYE_DISTIL_JOINT, .n_set = 7, .set = {"kind=distil_joint",
                        "stages.0.loss=joint", teacher, tokenizer, epochs, "teacher.top_k=8", "teacher.captions=2"}};
    struct run kept = asked;
    kept.name = "kept";
    kept.set[kept.n_set++] = "teacher.store=true";
    ok(train(&asked, &a));
    ok(train(&kept, &b));
    assert_true(a.dev_loss == b.dev_loss);
    assert_same_students("asked", "kept");
    file_of(logits, "kept", "teacher-logits.bin");
    file_of(captions, "kept", "teacher-captions.bin");
    ok(eye_map_open(&m, captions, false, 0, &err));
    assert_non_null(memmem(m.p, m.size, "a red board with squares\n", 25)); /* to be read by anybody */
    eye_map_close(&m);
    /* Resumed with a flipped bit in one file and the other cut off: both are made anew. */
    struct run cut = kept;
    cut.name = "kept_cut";
    cut.steps = 0;
    cut.stop_after = 2;
    assert_int_equal(train(&cut, NULL), EYE_E_CANCELLED);
    file_of(logits, "kept_cut", "teacher-logits.bin");
    file_of(captions, "kept_cut", "teacher-captions.bin");
    FILE *f = fopen(logits, "r+b");
    assert_non_null(f);
    fseek(f, 5000, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, 5000, SEEK_SET);
    fputc(byte ^ 64, f);
    fclose(f);
    assert_int_equal(truncate(captions, 4200), 0);
    cut.resume = true;
    cut.stop_after = 0;
    ok(train(&cut, NULL));
    assert_same_students("asked", "kept_cut");
    /* Words alone, drawn, to a student of other tokens; it learns what the data never says. */
    struct run words = {.name = "words", .use = EYE_DISTIL_JOINT, .n_set = 8, .set = {"kind=distil_joint",
                        "stages.0.loss=joint", teacher, "student.vocab=290", "teacher.hard=1", "teacher.captions=3",
                        "teacher.captions_only=true", "stages.0.epochs=150"}};
    ok(train(&words, &a));
    assert_true(a.dev_loss < 0.5 && a.shuffled_loss > 2 * a.dev_loss);
    struct run none = {.name = "no_words", .use = EYE_DISTIL_JOINT, .n_set = 4, .set = {"kind=distil_joint",
                       "stages.0.loss=joint", teacher, "teacher.captions_only=true"}};
    assert_true(eye_error_is("captions", train(&none, NULL), EYE_E_ARG, &err, "teacher.captions is 0"));
}

/* Rows of a cached value train what rows from pixels do: the tower is frozen, so both see the same numbers, to f16. */
static void cached_features_serve(void **state) {
    struct eye_train_result a, b;
    struct run pixels = {.name = "pixels", .set = {"stages.0.freeze=v.*", "stages.0.train_norms=false"}, .n_set = 2};
    struct run cached = {.name = "cached", .set = {"stages.0.freeze=v.*", "stages.0.train_norms=false",
                         "stages.0.cache=v.features.2"}, .n_set = 3};
    ok(train(&pixels, &a));
    ok(train(&cached, &b));
    assert_true(a.dev_loss > 0 && b.dev_loss / a.dev_loss > 0.9 && b.dev_loss / a.dev_loss < 1.1);
    struct run wrong = {.name = "wrong", .set = {"stages.0.cache=v.nothing", "stages.0.train_norms=false"}, .n_set = 2};
    assert_true(eye_error_is("cache", train(&wrong, NULL), EYE_E_ARG, &err, "no value \"v.nothing\""));
}

/* Adapters change the matrices they are for and nothing else, also when a run is cut; students do not show them. */
static void adapters_are_merged(void **state) {
    static const char *const set[] = {"stages.0.lora.rank=3", "stages.0.train_norms=false"};
    struct eye_train_result whole, result;
    struct run one = {.name = "lora_1", .set = {set[0], set[1], "stages.0.steps=1"}, .n_set = 3};
    struct run all = {.name = "lora", .set = {set[0], set[1]}, .n_set = 2};
    struct run cut = {.name = "lora_cut", .set = {set[0], set[1]}, .n_set = 2, .stop_after = 5};
    ok(train(&one, &result));
    ok(train(&all, &whole));
    assert_true(whole.dev_loss < result.dev_loss);
    assert_int_equal(n_changed("lora_1", "lora", "blk."), 2 * 4); /* qkv, output, up, down of two layers */
    assert_int_equal(train(&cut, NULL), EYE_E_CANCELLED);
    cut.resume = true;
    cut.stop_after = 0;
    ok(train(&cut, &result));
    assert_true(result.dev_loss == whole.dev_loss);
    assert_same_students("lora", "lora_cut");
    struct run wrong = {.name = "lora_none", .set = {set[0], set[1], "stages.0.lora.match=nothing.*"}, .n_set = 3};
    assert_true(eye_error_is("match", train(&wrong, NULL), EYE_E_ARG, &err, "no matrix is called"));
}

/* Captions that a student writes with its adapters, and learns from with them; cut and resumed. */
static void adapters_learn_from_their_own_captions(void **state) {
    struct eye_train_result result;
    char student[1200];
    snprintf(student, sizeof student, "student={\"path\": \"%s/heart/student\"}", eye_scratch_dir());
    struct run whole = {.name = "critical", .n_set = 7, .set = {student, "stages.0.loss=self_critical", "stages.0.lora.rank=2",
                        "stages.0.train_norms=false", "stages.0.ema=0", "stages.0.epochs=4", "stages.0.accumulate=1"}};
    struct run cut = whole;
    cut.name = "critical_cut";
    cut.stop_after = 3;
    ok(train(&whole, &result));
    assert_int_equal(train(&cut, NULL), EYE_E_CANCELLED);
    cut.resume = true;
    cut.stop_after = 0;
    ok(train(&cut, &result));
    assert_same_students("critical", "critical_cut");
    assert_int_equal(n_changed("heart", "critical", "blk."), 2 * 4);
}

/* Share of the attributes (colour, shape, size, place, background) that captions name rightly. */
static double right(const struct eye_synth_score *s) {
    size_t n = 0, of = 0;
    for (int k = EYE_SYNTH_COLOUR; k < EYE_SYNTH_N_KINDS; k++) {
        n += s->n_right[k];
        of += s->n_of[k];
    }
    assert_true(of > 0);
    return (double)n / (double)of;
}

/* A student of scenes on some that it has not seen, with them and blind. */
static void describes_what_it_sees(const char *student) {
    enum { N = 60 };
    static const struct eye_synth_opts scenes = {.seed = 1, .n = {[EYE_SPLIT_TRAIN] = N, [EYE_SPLIT_TEST] = N}};
    static const struct eye_judge_opts look = {.split = EYE_SPLIT_TEST, .perplexity = true, .baselines = true};
    struct eye_judgement j, blind;
    struct eye_dataset *set;
    struct eye_model *model;
    char dir[1200], name[N][32];
    const char *names[N], *captions[N], *path = dir;
    snprintf(dir, sizeof dir, "%s/scenes", eye_scratch_dir());
    ok(eye_synth_write(dir, &scenes, NULL, NULL, NULL, &err));
    ok(eye_dataset_open(&path, 1, NULL, &set, &err));
    ok(eye_model_open(student, &(struct eye_model_opts){.n_parallel = 32, .n_threads = 2}, &model, &err));
    ok(eye_judge(model, set, &look, &j, &err));
    for (int i = 0; i < N; i++) {
        snprintf(name[i], sizeof name[i], "test_%06d.png", i);
        names[i] = name[i];
        captions[i] = j.blind_caption;
    }
    ok(eye_judge_captions(set, EYE_SPLIT_TEST, names, captions, N, &blind, &err));
    eye_model_close(model);
    eye_dataset_close(set);
    print_message("attributes that are right: %.3f, blind %.3f; captions wholly right: %.3f; perplexity %.3f, shuffled %.3f\n",
                  right(&j.scenes), right(&blind.scenes), (double)j.scenes.n_exact / N, j.perplexity[EYE_JUDGE_TRUE].per_token,
                  j.perplexity[EYE_JUDGE_SHUFFLED].per_token);
    assert_true(right(&j.scenes) > 0.45 && right(&j.scenes) > 1.5 * right(&blind.scenes)); /* 0.55 and 0.21 */
    assert_true(j.perplexity[EYE_JUDGE_SHUFFLED].per_token > 1.15 * j.perplexity[EYE_JUDGE_TRUE].per_token); /* 3.3 and 2.5 */
}

/* The shipped recipe in short: scenes whose combinations were never seen, described with and without their picture. */
static void drawn_scenes_from_nothing(void **state) {
    struct eye_train_result result;
    snprintf(recipe_path, sizeof recipe_path, "%s", TEST_DATA "/../recipes/synth.json");
    struct run r = {.name = "synth", .n_set = 5, .set = {"data.synth_train=960", "data.synth_dev=100", "stages.0.epochs=4",
                    "data.captions=3", "eval.every_epochs=4"}};
    ok(train(&r, &result));
    print_message("dev loss %.4f, with the pictures of others %.4f, %.0f s\n", result.dev_loss, result.shuffled_loss,
                  result.seconds);
    assert_true(result.dev_loss < 0.35);
    assert_true(result.shuffled_loss > 1.5 * result.dev_loss);
    char student[1200];
    snprintf(student, sizeof student, "%s/synth/student", eye_scratch_dir());
    describes_what_it_sees(student);
}

static void says(const struct run *r, const char *what) {
    if (!strstr(r->notes, what)) fail_msg("\"%s\" is not in: %s", what, r->notes);
}

/* Pictures that are broken or missing and captions of no words are left out and counted. */
/* Pictures that are not learnt from are in no cache, though vocabulary is made of all captions. */
static void few_pictures_are_cached(void **state) {
    struct run r = {.name = "few", .set = {"data.max_images=3", "stages.0.epochs=1", "stages.0.batch=1"}, .n_set = 3};
    struct stat st;
    ok(train(&r, NULL));
    assert_int_equal(stat(eye_scratch_path("few/pixels.bin"), &st), 0);
    assert_int_equal(st.st_size, 4096 + (3 + 2) * (SIDE * SIDE * 3 + 1 + 8) + 8); /* pixels.h; two of dev */
    assert_int_equal(r.steps, 2); /* two accumulate to one */
}

static void bad_entries_are_counted(void **state) {
    static const char cut_jpeg[] = "\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\0\x11\x08\0\x20\0";
    static const char good[] = "red.ppm\ta red board\ttrain\nblue.ppm\ta blue board\ttrain\ndev_red.ppm\ta red board\tdev\n";
    static const char bad[] = "broken.ppm\tx\ttrain\ncut.jpg\tx\ttrain\nmissing.ppm\ty\ttrain\nred.ppm\t\ttrain\n"
                              "blue.ppm\t  \ttrain\nno tabs at all\n";
    char list[1200], text[sizeof good + sizeof bad];
    struct run r = {.name = "bad", .set = {list, "stages.0.epochs=1"}, .n_set = 2}, clean = r;
    eye_scratch_write("pictures/broken.ppm", "P6 32 32 255\nabc", 16);
    eye_scratch_write("pictures/cut.jpg", cut_jpeg, sizeof cut_jpeg - 1);
    snprintf(text, sizeof text, "%s%s", good, bad);
    snprintf(list, sizeof list, "data.path=%s", eye_scratch_write("pictures/bad.tsv", text, strlen(text)));
    ok(train(&r, NULL));
    says(&r, "3 pictures could not be read and are left out");
    says(&r, "left out: 2 empty captions (red.ppm");
    says(&r, "left out: 1 entries that lack what they must have (");
    clean.name = "clean";
    snprintf(list, sizeof list, "data.path=%s", eye_scratch_write("pictures/good.tsv", good, sizeof good - 1));
    ok(train(&clean, NULL));
    if (strstr(clean.notes, "left out")) fail_msg("%s", clean.notes);
}

/* Lists and recipes that are none: the file, the place and the reason, and no run is begun. */
static void bad_files_are_named(void **state) {
    static const char coco[] = "{\"images\": [{\"id\": 1, \"file_name\": \"red.ppm\"}], "
                               "\"annotations\": [{\"caption\": \"x\", \"image_id\": 1}";
    char list[1200], good_recipe[sizeof recipe_path], student[1300];
    struct run r = {.name = "not_begun", .set = {list}, .n_set = 1};
    struct stat s;
    snprintf(list, sizeof list, "data.path=/nowhere.tsv");
    assert_true(eye_error_is("no list", train(&r, NULL), EYE_E_IO, &err, "/nowhere.tsv"));
    snprintf(list, sizeof list, "data.path=%s", eye_scratch_write("pictures/cut.json", coco, sizeof coco - 1));
    assert_true(eye_error_is("cut list", train(&r, NULL), EYE_E_CORRUPT, &err, "cut.json: byte "));
    snprintf(good_recipe, sizeof good_recipe, "%s", recipe_path);
    snprintf(recipe_path, sizeof recipe_path, "%s", eye_scratch_write("wrong.json", "{\"seed\": 5,, }", 14));
    assert_true(eye_error_is("recipe", train(&r, NULL), EYE_E_CORRUPT, &err, "wrong.json: line 1 column"));
    snprintf(recipe_path, sizeof recipe_path, "%s", good_recipe);
    snprintf(student, sizeof student, "%s/not_begun/student/model.safetensors", eye_scratch_dir());
    assert_int_equal(stat(student, &s), -1);
}

/* Killed while it decodes pictures into its cache: the next run has no rest of it, and ends as if nothing had been. */
static void killed_caches_are_swept(void **state) {
    char out[1200], tmp[1300];
    struct stat s;
    struct run r = {.name = "swept"};
    snprintf(out, sizeof out, "%s/swept", eye_scratch_dir());
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {20000, 20000}; /* of 30 KB: the signal kills it in mid-write */
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        if (mkdir(out, 0777) != 0) _exit(2);
        char index[1300];
        const char *list[] = {index};
        struct eye_dataset *set;
        snprintf(tmp, sizeof tmp, "%s/pixels.bin", out);
        snprintf(index, sizeof index, "%s/index.tsv", data_dir); /* other lists lie there, too */
        const struct eye_pixel_cache_opts o = {.side = SIDE, .n_threads = 1};
        struct eye_pixel_cache_result result;
        if (eye_dataset_open(list, 1, NULL, &set, &err) != EYE_OK) _exit(3);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(eye_pixel_cache(tmp, set, &o, &result, NULL, &err) == EYE_OK ? 4 : 5);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    snprintf(tmp, sizeof tmp, "%s/pixels.bin.tmp-%ld", out, (long)child);
    assert_int_equal(stat(tmp, &s), 0);
    ok(train(&r, NULL));
    assert_int_equal(stat(tmp, &s), -1);
    assert_same_students("whole", "swept");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resumed_equals_uninterrupted),
        cmocka_unit_test(killed_equals_uninterrupted),
        cmocka_unit_test(impatient_stages_leave_their_best),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(eight_captions_by_heart),
        cmocka_unit_test(students_imitate_teachers),
        cmocka_unit_test(what_teachers_say_is_kept),
        cmocka_unit_test(cached_features_serve), cmocka_unit_test(adapters_are_merged),
        cmocka_unit_test(adapters_learn_from_their_own_captions),
        cmocka_unit_test(few_pictures_are_cached),
        cmocka_unit_test(bad_entries_are_counted),
        cmocka_unit_test(bad_files_are_named),
        cmocka_unit_test(killed_caches_are_swept),
        cmocka_unit_test(drawn_scenes_from_nothing),
    };
    return cmocka_run_group_tests_name("train", tests, setup, teardown);
}
