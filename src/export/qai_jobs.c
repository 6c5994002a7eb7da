/* export/qai_jobs: reads what comes back from QAI Hub: metadata.json of a compile job, lists of jobs, lists of model ids. Three
 * forms, told by their first byte and words:
 *
 *   {"model_id": …, "job_id": …, "input_specs": {"NAME": [[1, 3], "float16"]}, "output_names": […], …}   or an array
 *   device=NAME os=VERSION / compile_options=… / an empty line / NAME: model_id=… job_id=… status=SUCCESS|FAILED (WHY) url=…
 *   NAME: MODEL_ID
 *
 * Strict: what is not of its form is an error with its place, since a list that is half read sends the wrong binary to a
 * phone. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "export/qai.h"
#include "format/json.h"
#include "onnx/view.h"

#define MAX_LINE 4096

struct reader {
    struct eye_qai_jobs *out;
    struct eye_arena *arena;
    struct eye_qai_job *job;
    size_t cap;
    const char *where;
};

static enum eye_status keep(struct reader *k, const char *p, size_t n, const char **out, struct eye_err *err) {
    return (*out = eye_arena_strdup(k->arena, p, n)) ? EYE_OK : eye_fail_nomem(err, n);
}

/* A terminal shows these texts: no control characters in them. */
static bool printable(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)p[i] < ' ' || p[i] == 0x7f) return false;
    return true;
}

static enum eye_status new_job(struct reader *k, struct eye_qai_job **out, struct eye_err *err) {
    size_t n = k->out->n;
    if (n == EYE_QAI_MAX_JOBS) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d jobs", k->where, EYE_QAI_MAX_JOBS);
    EYE_TRY(eye_alloc_grow(NULL, (void **)&k->job, &k->cap, n + 1, sizeof *k->job, err));
    *out = &k->job[n];
    **out = (struct eye_qai_job){.name = "", .model_id = "", .job_id = "", .message = "", .url = "", .device = "", .os = "",
                                 .options = "", .onnx = "", .file = ""};
    k->out->n++;
    return EYE_OK;
}

/* ---- metadata.json ---- */

/* Keys of the seeds' scripts and of our own; a value is text unless a row says otherwise. */
static const struct row {
    const char *key;
    enum { TEXT, SPECS, NAMES, ANY } kind;
    size_t at; /* of TEXT in the job; SIZE_MAX = read, not kept */
} rows[] = {
    {"name", TEXT, offsetof(struct eye_qai_job, name)},        {"model_id", TEXT, offsetof(struct eye_qai_job, model_id)},
    {"job_id", TEXT, offsetof(struct eye_qai_job, job_id)},    {"compile_job_id", TEXT, offsetof(struct eye_qai_job, job_id)},
    {"device", TEXT, offsetof(struct eye_qai_job, device)},    {"os", TEXT, offsetof(struct eye_qai_job, os)},
    {"options", TEXT, offsetof(struct eye_qai_job, options)},  {"compile_options", TEXT, offsetof(struct eye_qai_job, options)},
    {"onnx", TEXT, offsetof(struct eye_qai_job, onnx)},        {"file", TEXT, offsetof(struct eye_qai_job, file)},
    {"url", TEXT, offsetof(struct eye_qai_job, url)},          {"message", TEXT, offsetof(struct eye_qai_job, message)},
    {"status", TEXT, SIZE_MAX},       {"onnx_sha256", TEXT, SIZE_MAX},       {"file_sha256", TEXT, SIZE_MAX},
    {"quant_job_id", TEXT, SIZE_MAX}, {"weights_dtype", TEXT, SIZE_MAX},     {"activations_dtype", TEXT, SIZE_MAX},
    {"calib_embed_raw", ANY, 0},      {"calib_embed_dtype", ANY, 0},         {"calib_samples", ANY, 0},
    {"input_specs", SPECS, 0},        {"output_names", NAMES, 0},
};

static enum eye_status text_of(struct reader *k, const struct eye_json_at *at, const char *key, const char **out,
                               struct eye_err *err) {
    const char *s;
    size_t n;
    EYE_TRY(eye_json_str(at, key, "", &s, &n, err));
    if (!printable(s, n)) return eye_json_fail(at, key, "holds a control character", err);
    return keep(k, s, n, out, err);
}

static bool known_type(const char *name) {
    for (int32_t t = 0; t <= EYE_ONNX_BF16; t++) {
        const char *is = eye_qai_type(t);
        if (is && strcmp(is, name) == 0) return true;
    }
    return false;
}

/* "NAME": [[1, 3], "float16"] */
static enum eye_status read_spec(struct reader *k, const struct eye_json_at *at, const char *name, struct eye_qai_tensor *t,
                                 struct eye_err *err) {
    struct eye_json_at pair, dims, type;
    EYE_TRY(eye_json_array(at, name, &pair, err));
    if (eye_json_len(&pair) != 2) return eye_json_fail(at, name, "expected [[dims], \"type\"]", err);
    dims = eye_json_item(&pair, 0);
    type = eye_json_item(&pair, 1);
    EYE_TRY(eye_json_ints(&dims, NULL, t->dim, EYE_QAI_MAX_RANK, &t->rank, err));
    for (size_t i = 0; i < t->rank; i++)
        if (t->dim[i] < 1 || t->dim[i] > INT32_MAX) return eye_json_fail(at, name, "a dim outside 1 to 2147483647", err);
    EYE_TRY(text_of(k, &type, NULL, &t->type, err));
    if (!known_type(t->type)) return eye_json_fail(at, name, "a type that the client lacks", err);
    if (!printable(name, strlen(name))) return eye_json_fail(at, NULL, "a name holds a control character", err);
    return keep(k, name, strlen(name), &t->name, err);
}

static enum eye_status read_specs(struct reader *k, const struct eye_json_at *at, struct eye_qai_job *job,
                                  struct eye_err *err) {
    struct eye_json_at specs;
    const char *name;
    json_t *value;
    EYE_TRY(eye_json_object(at, "input_specs", &specs, err));
    size_t n = json_object_size(specs.v), i = 0;
    if (n > EYE_QAI_MAX_TENSORS) return eye_json_fail(at, "input_specs", "more than 4096 inputs", err);
    struct eye_qai_tensor *t = eye_arena_alloc(k->arena, n * sizeof *t);
    if (!t) return eye_fail_nomem(err, n * sizeof *t);
    json_object_foreach(specs.v, name, value) EYE_TRY(read_spec(k, &specs, name, &t[i++], err));
    job->input = t;
    job->n_inputs = n;
    return EYE_OK;
}

static enum eye_status read_names(struct reader *k, const struct eye_json_at *at, struct eye_qai_job *job,
                                  struct eye_err *err) {
    struct eye_json_at list, item;
    EYE_TRY(eye_json_array(at, "output_names", &list, err));
    size_t n = eye_json_len(&list);
    if (n > EYE_QAI_MAX_TENSORS) return eye_json_fail(at, "output_names", "more than 4096 outputs", err);
    const char **names = eye_arena_alloc(k->arena, n * sizeof *names);
    if (!names) return eye_fail_nomem(err, n * sizeof *names);
    for (size_t i = 0; i < n; i++) {
        item = eye_json_item(&list, i);
        EYE_TRY(text_of(k, &item, NULL, &names[i], err));
    }
    job->output = names;
    job->n_outputs = n;
    return EYE_OK;
}

static enum eye_status read_status(const struct eye_json_at *at, struct eye_qai_job *job, struct eye_err *err) {
    const char *s;
    EYE_TRY(eye_json_str(at, "status", "SUCCESS", &s, NULL, err)); /* who writes metadata without it does so behind a success */
    if (strcmp(s, "SUCCESS") != 0 && strcmp(s, "FAILED") != 0)
        return eye_json_fail(at, "status", "expected SUCCESS or FAILED", err);
    job->status = s[0] == 'S' ? EYE_QAI_SUCCESS : EYE_QAI_FAILED;
    return EYE_OK;
}

static enum eye_status read_record(struct reader *k, const struct eye_json_at *at, struct eye_err *err) {
    struct eye_qai_job *job;
    const char *key, *unused;
    json_t *value;
    if (!json_is_object(at->v)) return eye_json_fail(at, NULL, "expected an object, a job's metadata", err);
    EYE_TRY(new_job(k, &job, err));
    json_object_foreach(at->v, key, value) {
        size_t i = 0;
        while (i < EYE_COUNT(rows) && strcmp(rows[i].key, key) != 0) i++;
        if (i == EYE_COUNT(rows))
            return eye_json_fail(at, printable(key, strlen(key)) ? key : NULL, "a key that is not known", err);
        if (rows[i].kind == SPECS) EYE_TRY(read_specs(k, at, job, err));
        if (rows[i].kind == NAMES) EYE_TRY(read_names(k, at, job, err));
        if (rows[i].kind == TEXT)
            EYE_TRY(text_of(k, at, key, rows[i].at == SIZE_MAX ? &unused : (const char **)(void *)((char *)job + rows[i].at),
                            err));
    }
    if (!job->job_id[0]) return eye_json_fail(at, "job_id", "missing", err);
    if (!job->n_inputs || !job->n_outputs)
        return eye_json_fail(at, job->n_inputs ? "output_names" : "input_specs", "missing", err);
    return read_status(at, job, err);
}

static enum eye_status read_json(struct reader *k, const void *p, size_t n, struct eye_err *err) {
    struct eye_json j;
    EYE_TRY(eye_json_parse(&j, p, n, EYE_QAI_MAX_BYTES, k->where, err));
    struct eye_json_at root = eye_json_root(&j), item;
    enum eye_status st = EYE_OK;
    k->out->kind = EYE_QAI_METADATA;
    if (!json_is_array(root.v)) st = read_record(k, &root, err);
    for (size_t i = 0; st == EYE_OK && json_is_array(root.v) && i < eye_json_len(&root); i++) {
        item = eye_json_item(&root, i);
        st = read_record(k, &item, err);
    }
    eye_json_clear(&j);
    return st;
}

/* ---- lists of lines ---- */

struct lines {
    struct reader *k;
    const char *device, *os, *options;
    size_t number;
    bool in_jobs; /* the file began with "device=" */
};

static enum eye_status bad_line(const struct lines *l, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s:%zu: %s", l->k->where, l->number, what);
}

/* Text of "before" up to "after" (NULL: to the end) in s; moves s behind it. False = not there. */
static bool between(const char **s, const char *before, const char *after, const char **p, size_t *n) {
    size_t len = strlen(before);
    if (strncmp(*s, before, len) != 0) return false;
    *p = *s + len;
    const char *end = after ? strstr(*p, after) : *p + strlen(*p);
    if (!end) return false;
    *n = (size_t)(end - *p);
    *s = end;
    return true;
}

/* " status=SUCCESS url=…" or " status=FAILED (why) url=…"; the reason may hold anything, so the last " url=" counts. */
static enum eye_status read_end(const struct lines *l, const char *s, struct eye_qai_job *job, struct eye_err *err) {
    static const char failed[] = " status=FAILED", success[] = " status=SUCCESS";
    const char *url = NULL;
    for (const char *at = s; (at = strstr(at, " url=")) != NULL; at++) url = at;
    if (!url) return bad_line(l, "expected \" url=\" at its end", err);
    if (strncmp(s, success, sizeof success - 1) == 0 && s + sizeof success - 1 == url) {
        job->status = EYE_QAI_SUCCESS;
    } else if (strncmp(s, failed, sizeof failed - 1) == 0 && url >= s + sizeof failed - 1) {
        const char *why = s + sizeof failed - 1;
        job->status = EYE_QAI_FAILED;
        if (why < url && (url - why < 3 || why[0] != ' ' || why[1] != '(' || url[-1] != ')'))
            return bad_line(l, "expected \"status=FAILED (why)\"", err);
        if (why < url) EYE_TRY(keep(l->k, why + 2, (size_t)(url - why) - 3, &job->message, err));
    } else {
        return bad_line(l, "expected \"status=SUCCESS\" or \"status=FAILED (why)\"", err);
    }
    return keep(l->k, url + 5, strlen(url + 5), &job->url, err);
}

static enum eye_status read_job(struct lines *l, const char *s, struct eye_err *err) {
    const char *p, *name = s, *colon = strstr(s, ": model_id=");
    struct eye_qai_job *job;
    size_t n;
    if (!colon || colon == s) return bad_line(l, "expected \"name: model_id=… job_id=… status=… url=…\"", err);
    EYE_TRY(new_job(l->k, &job, err));
    job->device = l->device;
    job->os = l->os;
    job->options = l->options;
    EYE_TRY(keep(l->k, name, (size_t)(colon - name), &job->name, err));
    s = colon + 2;
    if (!between(&s, "model_id=", " ", &p, &n)) return bad_line(l, "expected \" job_id=\" behind model_id", err);
    EYE_TRY(keep(l->k, p, n, &job->model_id, err));
    if (!between(&s, " job_id=", " ", &p, &n) || n == 0) return bad_line(l, "expected \" job_id=… status=\"", err);
    EYE_TRY(keep(l->k, p, n, &job->job_id, err));
    return read_end(l, s, job, err);
}

static enum eye_status read_id(struct lines *l, char *s, struct eye_err *err) {
    struct eye_qai_job *job;
    char *colon = strchr(s, ':');
    if (!colon || colon == s) return bad_line(l, "expected \"name: model_id\"", err);
    const char *id = colon + 1 + strspn(colon + 1, " ");
    size_t n = strcspn(id, " ");
    if (n == 0 || id[n + strspn(id + n, " ")]) return bad_line(l, "expected one model id behind the colon", err);
    EYE_TRY(new_job(l->k, &job, err));
    EYE_TRY(keep(l->k, s, (size_t)(colon - s), &job->name, err));
    return keep(l->k, id, n, &job->model_id, err);
}

static enum eye_status read_head(struct lines *l, const char *s, struct eye_err *err) {
    const char *p, *os = NULL;
    size_t n;
    if (!between(&s, "device=", NULL, &p, &n)) return bad_line(l, "expected \"device=… os=…\"", err);
    for (const char *at = p; (at = strstr(at, " os=")) != NULL; at++) os = at;
    if (!os) return bad_line(l, "expected \" os=\" behind the device", err);
    EYE_TRY(keep(l->k, p, (size_t)(os - p), &l->device, err));
    l->in_jobs = true;
    return keep(l->k, os + 4, strlen(os + 4), &l->os, err);
}

static enum eye_status read_line(struct lines *l, char *s, struct eye_err *err) {
    const char *p, *rest = s;
    size_t n;
    if (l->number == 1 && strncmp(s, "device=", 7) == 0) return read_head(l, s, err);
    if (l->in_jobs && l->number == 2) {
        if (!between(&rest, "compile_options=", NULL, &p, &n)) return bad_line(l, "expected \"compile_options=…\"", err);
        return keep(l->k, p, n, &l->options, err);
    }
    if (!l->in_jobs) s[strcspn(s, "#")] = '\0';
    for (n = strlen(s); n && s[n - 1] == ' '; n--) s[n - 1] = '\0';
    if (!*s) return EYE_OK;
    return l->in_jobs ? read_job(l, s, err) : read_id(l, s, err);
}

static enum eye_status read_lines(struct reader *k, const char *p, size_t n, struct eye_err *err) {
    struct lines l = {.k = k, .device = "", .os = "", .options = ""};
    char line[MAX_LINE];
    for (size_t at = 0; at < n;) {
        const char *end = memchr(p + at, '\n', n - at);
        size_t len = end ? (size_t)(end - p) - at : n - at, kept = len && p[at + len - 1] == '\r' ? len - 1 : len;
        l.number++;
        if (kept >= sizeof line) return bad_line(&l, "a line of more than 4095 bytes", err);
        if (!printable(p + at, kept)) return bad_line(&l, "a control character", err);
        memcpy(line, p + at, kept);
        line[kept] = '\0';
        EYE_TRY(read_line(&l, line, err));
        at += len + 1;
    }
    k->out->kind = l.in_jobs ? EYE_QAI_JOBS : EYE_QAI_IDS;
    if (k->out->n) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "%s: neither metadata.json nor a list of jobs or model ids", k->where);
}

/* ---- ---- */

enum eye_status eye_qai_jobs_parse(const void *p, size_t n, const char *where, struct eye_qai_jobs *out, struct eye_err *err) {
    const char *text = p;
    size_t first = 0;
    *out = (struct eye_qai_jobs){.n = 0};
    if (n > EYE_QAI_MAX_BYTES)
        return eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes, at most %zu are taken", where, n, EYE_QAI_MAX_BYTES);
    struct reader k = {.out = out, .arena = eye_alloc_zero(NULL, sizeof *k.arena), .where = where};
    if (!k.arena) return eye_fail_nomem(err, sizeof *k.arena);
    eye_arena_init(k.arena, NULL);
    out->memory = k.arena;
    while (first < n && strchr(" \t\r\n", text[first]) && text[first]) first++;
    bool json = first < n && (text[first] == '{' || text[first] == '[');
    enum eye_status st = json ? read_json(&k, p, n, err) : read_lines(&k, p, n, err);
    if (st == EYE_OK) {
        struct eye_qai_job *job = eye_arena_alloc(k.arena, out->n * sizeof *job);
        if (!job) st = eye_fail_nomem(err, out->n * sizeof *job);
        else if (out->n) memcpy(job, k.job, out->n * sizeof *job);
        out->job = job;
    }
    eye_alloc_free(NULL, k.job, k.cap * sizeof *k.job);
    if (st != EYE_OK) eye_qai_jobs_clear(out);
    return st;
}

enum eye_status eye_qai_jobs_read(const char *path, struct eye_qai_jobs *out, struct eye_err *err) {
    struct eye_map map;
    *out = (struct eye_qai_jobs){.n = 0};
    EYE_TRY(eye_map_open(&map, path, false, EYE_QAI_MAX_BYTES, err));
    enum eye_status st = eye_qai_jobs_parse(map.p, map.size, path, out, err);
    eye_map_close(&map);
    return st;
}

void eye_qai_jobs_clear(struct eye_qai_jobs *jobs) {
    if (jobs->memory) {
        eye_arena_clear(jobs->memory);
        eye_alloc_free(NULL, jobs->memory, sizeof(struct eye_arena));
    }
    *jobs = (struct eye_qai_jobs){.n = 0};
}

/* ---- against a graph ---- */

static bool same_spec(const struct eye_qai_tensor *t, const struct eye_onnx_shape *s) {
    const char *type = eye_qai_type(s->type);
    bool same = type && strcmp(type, t->type) == 0 && s->known && s->rank == t->rank;
    for (size_t i = 0; same && i < t->rank; i++) same = s->dim[i] < 0 || s->dim[i] == t->dim[i];
    return same;
}

static enum eye_status differ(struct eye_onnx_report *r, const struct eye_qai_tensor *t, const struct eye_onnx_shape *s,
                              struct eye_err *err) {
    struct eye_onnx_shape was = {.known = true, .rank = t->rank};
    struct eye_buf text;
    memcpy(was.dim, t->dim, sizeof t->dim);
    eye_buf_init(&text, NULL);
    eye_buf_printf(&text, "the job has %s ", t->type);
    eye_onnx_shape_text(&was, &text);
    eye_buf_printf(&text, ", the graph %s ", eye_qai_type(s->type) ? eye_qai_type(s->type) : eye_onnx_type_name(s->type));
    if (s->known) eye_onnx_shape_text(s, &text);
    enum eye_status st = text.failed ? eye_fail_nomem(err, text.len)
                                     : eye_onnx_report_add(r, EYE_ONNX_MISMATCHED_INPUT, t->name, text.p, err);
    eye_buf_clear(&text);
    return st;
}

static enum eye_status compare_inputs(const struct eye_qai_job *job, const EyeOnnx__GraphProto *g, struct eye_onnx_report *r,
                                      struct eye_err *err) {
    for (size_t i = 0; i < job->n_inputs; i++) {
        size_t k = 0;
        while (k < g->n_input && strcmp(eye_onnx_str(g->input[k]->name), job->input[i].name) != 0) k++;
        struct eye_onnx_shape s = {.known = false};
        if (k < g->n_input) s = eye_onnx_shape_of(g->input[k]);
        if (k == g->n_input)
            EYE_TRY(eye_onnx_report_add(r, EYE_ONNX_MISSING_INPUT, job->input[i].name, "the job has it", err));
        else if (!same_spec(&job->input[i], &s))
            EYE_TRY(differ(r, &job->input[i], &s, err));
    }
    for (size_t k = 0; k < g->n_input; k++) {
        const char *name = eye_onnx_str(g->input[k]->name);
        size_t i = 0;
        while (i < job->n_inputs && strcmp(name, job->input[i].name) != 0) i++;
        if (i == job->n_inputs) EYE_TRY(eye_onnx_report_add(r, EYE_ONNX_UNEXPECTED_INPUT, name, "the job lacks it", err));
    }
    return EYE_OK;
}

static enum eye_status compare_outputs(const struct eye_qai_job *job, const EyeOnnx__GraphProto *g, struct eye_onnx_report *r,
                                       struct eye_err *err) {
    for (size_t i = 0; i < EYE_MAX(job->n_outputs, g->n_output); i++) { /* their order is the binary's */
        const char *was = i < job->n_outputs ? job->output[i] : NULL;
        const char *is = i < g->n_output ? eye_onnx_str(g->output[i]->name) : NULL;
        if (was && is && strcmp(was, is) == 0) continue;
        if (was) EYE_TRY(eye_onnx_report_add(r, EYE_ONNX_MISSING_OUTPUT, was, "the job has it at this place", err));
        if (is) EYE_TRY(eye_onnx_report_add(r, EYE_ONNX_UNEXPECTED_OUTPUT, is, "the job lacks it at this place", err));
    }
    return EYE_OK;
}

enum eye_status eye_qai_compare(const struct eye_qai_job *job, const char *onnx, struct eye_onnx_report *report,
                                struct eye_err *err) {
    struct eye_onnx m;
    if (!job->n_inputs) return eye_fail(err, EYE_E_ARG, "%s: inputs and outputs are in metadata.json only", job->name);
    EYE_TRY(eye_onnx_load(&m, onnx, NULL, err));
    eye_onnx_report_init(report);
    report->n_inputs = m.model->graph->n_input;
    report->n_outputs = m.model->graph->n_output;
    enum eye_status st = compare_inputs(job, m.model->graph, report, err);
    if (st == EYE_OK) st = compare_outputs(job, m.model->graph, report, err);
    if (st == EYE_OK) eye_onnx_report_sort(report);
    else eye_onnx_report_clear(report);
    eye_onnx_clear(&m);
    return st;
}
