/* Recipe: see recipe.h. The tables are the documentation. */
#include "train/recipe.h"

#include <jansson.h>
#include <string.h>

#include "base/sys.h"

static const char *const kinds[] = {"caption", "lm", "distil_vision", "distil_joint", NULL};
static const char *const losses[] = {"caption", "lm", "self_critical", "vision", "joint", NULL};
static const char *const schedules[] = {"cosine", "step", "constant", NULL};
static const char *const optimizers[] = {"adamw", "adam", "sgd", NULL};
static const char *const feature_losses[] = {"mse", "cosine", "centred_cosine", "softmax_kl", NULL};
static const char *const matches[] = {"names", "order", NULL};

#define AT(T, m) offsetof(struct eye_recipe_##T, m)
#define INT(T, m, lo, hi, def, doc) {EYE_FIELD_INT, #m, AT(T, m), doc, lo, hi, def, NULL, NULL, NULL, 0}
#define REAL(T, m, lo, hi, def, doc) {EYE_FIELD_REAL, #m, AT(T, m), doc, lo, hi, def, NULL, NULL, NULL, 0}
#define BOOL(T, m, def, doc) {EYE_FIELD_BOOL, #m, AT(T, m), doc, 0, 1, def, NULL, NULL, NULL, 0}
#define TEXT(T, m, def, doc) {EYE_FIELD_TEXT, #m, AT(T, m), doc, 0, 0, 0, def, NULL, NULL, 0}
#define TEXTS(T, m, doc) {EYE_FIELD_TEXTS, #m, AT(T, m), doc, 0, 0, 0, NULL, NULL, NULL, 0}
#define CHOICE(T, m, names, doc) {EYE_FIELD_CHOICE, #m, AT(T, m), doc, 0, 0, 0, NULL, names, NULL, 0}
#define OBJECT(T, m, table, doc) {EYE_FIELD_OBJECT, #m, AT(T, m), doc, 0, 0, 0, NULL, NULL, table, 0}
#define LIST(T, m, table, U, doc) {EYE_FIELD_LIST, #m, AT(T, m), doc, 0, 0, 0, NULL, NULL, table, sizeof(struct eye_recipe_##U)}
#define JSON(T, m, doc) {EYE_FIELD_JSON, #m, AT(T, m), doc, 0, 0, 0, NULL, NULL, NULL, 0}
#define END {EYE_FIELD_END, NULL, 0, NULL, 0, 0, 0, NULL, NULL, NULL, 0}

static const struct eye_field import_fields[] = {
    TEXT(import, file, NULL, "safetensors or PyTorch file, or checkpoint folder, with pretrained weights"),
    CHOICE(import, match, matches, "how its tensors find theirs: by name, or in order: k-th weight and k-th bias of the "
                                   "file (by names) for the k-th of the part, whose shapes must agree; the file may have more"),
    TEXT(import, part, "*", "tensors of the student that are filled"),
    TEXT(import, prefix, "", "put before the file's names"),
    END};
static const struct eye_field student_fields[] = {
    TEXT(student, path, NULL, "checkpoint folder to go on from"),
    JSON(student, config, "or config.json (model_type eyelet_vlm, doc/models/compose.md) of a fresh student: weights are drawn "
                          "from the seed; vocab_size and the special ids may be left out where the tokenizer is trained"),
    JSON(student, generation, "generation_config.json of a fresh student: num_beams, length_penalty"),
    TEXTS(student, optional, "optional tensors that the fresh student has, such as output.bias"),
    INT(student, free_dim, 0, 1 << 20, 0, "size of what the configuration leaves to the tensors: a classifier's output"),
    LIST(student, import, import_fields, import, "pretrained weights"),
    TEXT(student, tokenizer, NULL, "folder to copy the tokenizer from; absent: byte-level BPE trained on captions and texts"),
    INT(student, vocab, 257, 1 << 20, 4096, "tokens of a trained tokenizer, at most"),
    BOOL(student, lowercase, 0, "a trained tokenizer puts all text in lower case"),
    END};
static const struct eye_field data_fields[] = {
    TEXTS(data, path, "captions files or folders, as `eyelet data check` takes them; none: synth, scenes that are drawn. Here "
                      "and in all paths below, DATA/ stands for the folder that the command is given or $EYELET_DATA names"),
    TEXT(data, images, NULL, "folder of the pictures, where it is not beside the list"),
    TEXT(data, train_list, NULL, "file that names the pictures to train on, where it is not beside the list"),
    TEXT(data, dev_list, NULL, "the same for the dev loss and the samples"),
    INT(data, synth_level, 1, 3, 1, "synth: objects in a scene"),
    INT(data, synth_train, 1, 1 << 24, 4000, "synth: pictures of the training split"),
    INT(data, synth_dev, 1, 1 << 20, 200, "synth: pictures of the dev split"),
    INT(data, max_images, 0, 1 << 24, 0,
        "at most so many training pictures, the first of the list; others are in no cache; 0 = all"),
    INT(data, captions, 0, 64, 0, "captions per picture; 0 = all"),
    INT(data, max_tokens, 4, 4096, 40, "longer captions are cut"),
    TEXTS(data, texts, "files of one text a line: for stages with loss lm, and the tokenizer"),
    END};
static const struct eye_field teacher_fields[] = {
    TEXT(teacher, path, NULL, "checkpoint that runs; distil vision: also a feature file (.npy, .safetensors; [pictures, C])"),
    CHOICE(teacher, feature_loss, feature_losses, "distil vision; softmax_kl takes features for logits, as HPML does"),
    REAL(teacher, temperature, 0.05, 100, 1, "of both sides' softmax"),
    REAL(teacher, hard, 0, 1, 0.5, "distil joint: share of cross-entropy with the captions; 1: the teacher's logits are not "
                                   "asked for"),
    INT(teacher, top_k, 1, 1024, 32, "distil joint: the teacher's most likely tokens that are kept; the rest is one bucket"),
    BOOL(teacher, store, 0, "distil joint: they are computed once for every token and kept in a file (8 top_k bytes each), "
                            "instead of in every step: the same numbers"),
    INT(teacher, captions, 0, 16, 0, "distil joint: captions of each training picture that the teacher writes, to learn from "
                                     "as from the data's; kept in a file. With hard 1 they are all that is taken from it: then it "
                                     "may be any model that sees, with any tokenizer"),
    REAL(teacher, captions_temperature, 0, 10, 0, "these are drawn at this temperature; 0: the best ones of a beam search"),
    BOOL(teacher, captions_only, 0, "the data's own captions are left out"),
    TEXT(teacher, prompt, NULL, "what an instructed teacher is asked for a caption; absent: what it asks by itself"),
    END};
static const struct eye_field group_fields[] = {
    TEXT(group, match, "*", "pattern of weight names"),
    REAL(group, lr, 0, 1000, 1, "factor of the stage's lr"),
    REAL(group, weight_decay, -1, 10, -1, "negative: the stage's"),
    END};
static const struct eye_field augment_fields[] = {
    BOOL(augment, flip, 0, "mirror half of the pictures; with a cache: the mirrored view is kept as well"),
    REAL(augment, crop, 0.1, 1, 1, "random crops keep at least this part of each side"),
    REAL(augment, colour, 0, 1, 0, "brightness, contrast and saturation vary by this much"),
    END};
static const struct eye_field lora_fields[] = {
    INT(lora, rank, 0, 4096, 0, "0 = no adapters"),
    REAL(lora, alpha, 0, 10000, 16, "adapters are scaled by alpha / rank"),
    TEXT(lora, match, "blk.*", "matrices that get adapters; all else is frozen, and they are merged at the end of the stage"),
    END};
static const struct eye_field stage_fields[] = {
    TEXT(stage, name, "train", "for the log and the report"),
    CHOICE(stage, loss, losses, "what is learned"),
    REAL(stage, epochs, 0, 10000, 1, "passes over the pictures (all captions of a picture count as one), or over the texts"),
    INT(stage, steps, 0, 1 << 30, 0, "instead of epochs"),
    INT(stage, batch, 1, 65536, 32, "pictures of a step; loss lm: texts"),
    INT(stage, accumulate, 1, 4096, 1, "batches whose gradients make one step"),
    INT(stage, samples, 2, 16, 5, "self_critical: captions drawn of each picture"),
    REAL(stage, temperature, 0.01, 10, 1, "self_critical: that they are drawn with"),
    REAL(stage, lr, 0, 100, 1e-3, "highest learning rate"),
    REAL(stage, min_lr, 0, 1, 0.1, "cosine ends at this part of it"),
    REAL(stage, warmup, 0, 1, 0.03, "part of the steps during which it rises"),
    CHOICE(stage, schedule, schedules, "course of the learning rate"),
    REAL(stage, step_every, 0.001, 10000, 1, "schedule step: epochs between two drops"),
    REAL(stage, step_gamma, 0, 1, 0.5, "schedule step: factor of a drop"),
    CHOICE(stage, optimizer, optimizers, "adam adds its decay to the gradient, adamw takes it off the weights"),
    REAL(stage, beta1, 0, 0.9999, 0.9, "Adam"),
    REAL(stage, beta2, 0, 0.99999, 0.95, "Adam"),
    REAL(stage, eps, 1e-16, 1, 1e-8, "Adam"),
    REAL(stage, momentum, 0, 0.9999, 0.9, "SGD"),
    REAL(stage, weight_decay, 0, 10, 0.05, "of matrices and kernels; never of biases, norms and positions"),
    REAL(stage, clip, 0, 1e9, 1, "bound of the gradients' norm; 0 = none"),
    REAL(stage, dropout, 0, 0.95, 0.1, "on the decoder's input and on each residual branch"),
    REAL(stage, label_smoothing, 0, 0.9, 0, "of the cross-entropy"),
    REAL(stage, ema, 0, 0.99999, 0, "factor of a moving average of the weights, which is then exported and judged; 0 = none"),
    BOOL(stage, bf16, 1, "matrices and activations enter multiplications as bf16 where the CPU has such instructions"),
    BOOL(stage, train_norms, 0, "batch norms use the batch's statistics; else they are frozen"),
    TEXTS(stage, freeze, "patterns of weights that stay as they are"),
    LIST(stage, groups, group_fields, group, "learning rates of parts of the model; the first match counts"),
    TEXT(stage, cache, NULL, "keep this value of the vision tower (v.features, v.features.12, …) of every picture: the tower "
                             "must be frozen up to there"),
    OBJECT(stage, augment, augment_fields, "views of a picture; a cache keeps only the mirrored one"),
    OBJECT(stage, lora, lora_fields, "low-rank adapters"),
    END};
static const struct eye_field eval_fields[] = {
    REAL(eval, every_epochs, 0.01, 10000, 1, "dev loss, with true and with shuffled images, after so many epochs"),
    INT(eval, images, 0, 1 << 20, 200, "of the dev split; 0 = all"),
    INT(eval, samples, 0, 64, 8, "captions in the report"),
    INT(eval, patience, 0, 1000, 0, "a stage ends after so many evaluations without a better mark (CIDEr-D where captions "
                                   "are judged, else the dev loss) and hands on its best weights, however it ends; 0 = never, "
                                   "and the last weights"),
    END};

#define RECIPE(type, m) type, #m, offsetof(struct eye_recipe, m)
static const struct eye_field recipe_fields[] = {
    {RECIPE(EYE_FIELD_TEXT, name), "title", 0, 0, 0, "training", NULL, NULL, 0},
    {RECIPE(EYE_FIELD_CHOICE, kind), "the command that runs it", 0, 0, 0, NULL, kinds, NULL, 0},
    {RECIPE(EYE_FIELD_INT, seed), "of everything that is drawn", 0, 1e15, 1, NULL, NULL, NULL, 0},
    {RECIPE(EYE_FIELD_INT, keep), "checkpoints kept beside the best", 1, 1000, 2, NULL, NULL, NULL, 0},
    {RECIPE(EYE_FIELD_INT, log_every), "steps between two lines of the log", 1, 1 << 20, 10, NULL, NULL, NULL, 0},
    {RECIPE(EYE_FIELD_REAL, save_minutes), "time between two checkpoints", 0, 1e6, 10, NULL, NULL, NULL, 0},
    {RECIPE(EYE_FIELD_OBJECT, student), "the model", 0, 0, 0, NULL, NULL, student_fields, 0},
    {RECIPE(EYE_FIELD_OBJECT, data), "pictures, captions, texts", 0, 0, 0, NULL, NULL, data_fields, 0},
    {RECIPE(EYE_FIELD_OBJECT, teacher), "distillation", 0, 0, 0, NULL, NULL, teacher_fields, 0},
    {RECIPE(EYE_FIELD_LIST, stages), "run one after the other", 0, 0, 0, NULL, NULL, stage_fields,
     sizeof(struct eye_recipe_stage)},
    {RECIPE(EYE_FIELD_OBJECT, eval), "judging on the way", 0, 0, 0, NULL, NULL, eval_fields, 0},
    END};

/* ---- reading ---- */

/* What no single key shows. */
static enum eye_status check(const struct eye_recipe *r, const struct eye_json_at *root, struct eye_err *err) {
    const struct eye_recipe_student *s = &r->student;
    enum { LANGUAGE = 1u << EYE_LOSS_CAPTION | 1u << EYE_LOSS_LM | 1u << EYE_LOSS_CRITICAL };
    static const unsigned allowed[] = {LANGUAGE, 1u << EYE_LOSS_LM, 1u << EYE_LOSS_VISION, LANGUAGE | 1u << EYE_LOSS_JOINT};
    if (!s->path == !s->config.p) return eye_json_fail(root, "student", "expected either a path or a config", err);
    if (s->path && s->import.n) return eye_json_fail(root, "student", "import belongs to a config, not to a path", err);
    if (r->stages.n == 0) return eye_json_fail(root, "stages", "expected at least one", err);
    for (size_t i = 0; i < r->stages.n; i++) {
        const struct eye_recipe_stage *g = eye_recipe_stage(r, i);
        struct eye_json_at stages = {json_object_get(root->v, "stages"), root->where, root, "stages", 0};
        struct eye_json_at at = json_is_array(stages.v) ? eye_json_item(&stages, i) : stages;
        if (!(allowed[r->kind] >> g->loss & 1)) return eye_json_fail(&at, "loss", "is not one of this kind of recipe", err);
        if (g->loss == EYE_LOSS_LM && r->data.texts.n == 0)
            return eye_json_fail(root, "data.texts", "expected files for loss lm", err);
        if (g->loss >= EYE_LOSS_VISION && !r->teacher.path) return eye_json_fail(root, "teacher.path", "missing", err);
        if (g->cache && (g->augment.crop < 1 || g->augment.colour > 0))
            return eye_json_fail(&at, "augment", "a cached value knows flips only", err);
        if (g->cache && g->train_norms) return eye_json_fail(&at, "train_norms", "a cached value needs frozen norms", err);
    }
    for (size_t i = 0; i < s->import.n; i++)
        if (!((const struct eye_recipe_import *)s->import.item)[i].file)
            return eye_json_fail(root, "student.import.file", "missing", err);
    return EYE_OK;
}

static enum eye_status read_tree(struct eye_recipe *r, const struct eye_json *j, struct eye_err *err) {
    struct eye_json_at root = eye_json_root(j);
    struct eye_buf text;
    eye_buf_init(&text, r->arena.alloc);
    enum eye_status st = eye_json_write(j->root, 1, &text, err);
    if (st == EYE_OK) {
        r->text = (struct eye_text){eye_arena_strdup(&r->arena, text.p, text.len), text.len};
        if (!r->text.p) st = eye_fail_nomem(err, text.len);
    }
    eye_buf_clear(&text);
    EYE_TRY(st);
    EYE_TRY(eye_fields_read(recipe_fields, &root, r, &r->arena, err));
    return check(r, &root, err);
}

enum eye_status eye_recipe_parse(struct eye_recipe *r, const void *p, size_t n, const char *where, const char *const *set,
                                 size_t n_set, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_json j;
    enum eye_status st = EYE_OK;
    memset(r, 0, sizeof *r);
    eye_arena_init(&r->arena, alloc);
    EYE_TRY(eye_json_parse(&j, p, n, (size_t)1 << 20, where, err));
    for (size_t i = 0; i < n_set; i++) EYE_TRY_GOTO(eye_fields_set(&j, set[i], err));
    EYE_TRY_GOTO(read_tree(r, &j, err));
fail:
    eye_json_clear(&j);
    if (st != EYE_OK) eye_recipe_clear(r);
    return st;
}

enum eye_status eye_recipe_open(struct eye_recipe *r, const char *path, const char *const *set, size_t n_set,
                                const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_map m;
    EYE_TRY(eye_map_open(&m, path, false, (size_t)1 << 20, err));
    enum eye_status st = eye_recipe_parse(r, m.p, m.size, path, set, n_set, alloc, err);
    eye_map_close(&m);
    return st;
}

static enum eye_status resolve(struct eye_recipe *r, const char **path, const char *data, struct eye_err *err) {
    if (!*path || strncmp(*path, "DATA/", 5) != 0) return EYE_OK;
    if (!data)
        return eye_fail(err, EYE_E_ARG, "%s: which folder does DATA/ stand for? Give --data DIR, or set EYELET_DATA", *path);
    *path = eye_arena_printf(&r->arena, "%s/%s", data, *path + 5);
    return *path ? EYE_OK : eye_fail_nomem(err, strlen(data));
}

enum eye_status eye_recipe_resolve(struct eye_recipe *r, const char *data, struct eye_err *err) {
    struct eye_recipe_import *import = r->student.import.item;
    const char **const paths[] = {&r->student.path,    &r->student.tokenizer, &r->data.images,
                                  &r->data.train_list, &r->data.dev_list,     &r->teacher.path};
    const struct eye_texts *const lists[] = {&r->data.path, &r->data.texts};
    for (size_t i = 0; i < EYE_COUNT(paths); i++) EYE_TRY(resolve(r, paths[i], data, err));
    for (size_t i = 0; i < EYE_COUNT(lists); i++)
        for (size_t k = 0; k < lists[i]->n; k++) EYE_TRY(resolve(r, &lists[i]->item[k], data, err));
    for (size_t i = 0; i < r->student.import.n; i++) EYE_TRY(resolve(r, &import[i].file, data, err));
    return EYE_OK;
}

void eye_recipe_clear(struct eye_recipe *r) {
    eye_arena_clear(&r->arena);
    memset(r, 0, sizeof *r);
}

void eye_recipe_document(struct eye_buf *out) { eye_fields_document(recipe_fields, 0, out); }

/* ---- patterns ---- */

bool eye_pattern_matches(const char *pattern, const char *name) {
    const char *star = NULL, *mark = NULL; /* where to go on after a '*' that took too little */
    while (*name) {
        if (*pattern == '*') star = pattern++, mark = name;
        else if (*pattern == '?' || *pattern == *name) pattern++, name++;
        else if (star) pattern = star + 1, name = ++mark;
        else return false;
    }
    while (*pattern == '*') pattern++;
    return *pattern == '\0';
}

bool eye_pattern_any(const struct eye_texts *patterns, const char *name) {
    for (size_t i = 0; i < patterns->n; i++)
        if (eye_pattern_matches(patterns->item[i], name)) return true;
    return false;
}
