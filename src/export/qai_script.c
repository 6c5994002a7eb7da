/* export/qai_script: a script for the user's qai-hub client: what to upload, and the options, inputs and outputs of each
 * compile job, out of ONNX files of any exporter. The script's text is qai_hub_compile.py; here its plan is made, which stands
 * in it as JSON: nothing of a graph is ever Python. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "export/qai.h"
#include "format/json.h"
#include "onnx/view.h"

static const char *const script_lines[] = {
#include "export/qai_hub_compile_lines.h"
};
#define PLAN_MARK "@PLAN@"

struct planner {
    const struct eye_qai_opts *o;
    const char *dir;               /* of the script */
    char real_dir[EYE_PATH_MAX];
    json_t *graphs;
    struct eye_qai_report *report;
};

/* ---- one graph ---- */

const char *eye_qai_type(int32_t onnx_type) {
    switch (onnx_type) {
    case EYE_ONNX_F32: return "float32";
    case EYE_ONNX_F16: return "float16";
    case EYE_ONNX_I64: return "int64";
    case EYE_ONNX_I32: return "int32";
    case EYE_ONNX_I16: return "int16";
    case EYE_ONNX_I8: return "int8";
    case EYE_ONNX_U16: return "uint16";
    case EYE_ONNX_U8: return "uint8";
    default: return NULL;
    }
}

/* What opts say of a symbolic dim; 0 = nothing. */
static int64_t settled(const struct eye_qai_opts *o, const char *param) {
    size_t n = strlen(param);
    for (size_t i = 0; n && i < o->n_dims; i++) {
        long long v;
        char end;
        if (strncmp(o->dim[i], param, n) != 0 || o->dim[i][n] != '=') continue;
        if (sscanf(o->dim[i] + n + 1, "%lld%c", &v, &end) == 1 && v > 0) return v;
    }
    return 0;
}

/* [[dims], "type"] of an input. */
static enum eye_status spec_of(const struct planner *k, const struct eye_onnx *m, const char *name,
                               const struct eye_onnx_shape *s, json_t **out, struct eye_err *err) {
    const char *type = eye_qai_type(s->type);
    json_t *dims;
    if (!type)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: input \"%.100s\" is %s, which the client has no word for", m->where, name,
                        eye_onnx_type_name(s->type));
    if (!s->known) return eye_fail(err, EYE_E_ARG, "%s: input \"%.100s\" has no shape", m->where, name);
    dims = json_array();
    for (size_t i = 0; i < s->rank; i++) {
        int64_t d = s->dim[i] >= 0 ? s->dim[i] : settled(k->o, s->param[i]);
        if (d <= 0) {
            json_decref(dims);
            return eye_fail(err, EYE_E_ARG, "%s: input \"%.100s\": dim %zu is %s%.60s; an NPU wants numbers: --size %.60s=N",
                            m->where,
                            name, i, s->dim[i] == 0 ? "0" : "symbolic, ", s->param[i], s->param[i][0] ? s->param[i] : "NAME");
        }
        json_array_append_new(dims, json_integer(d));
    }
    *out = json_pack("[o,s]", dims, type);
    return *out ? EYE_OK : eye_fail_nomem(err, 1);
}

/* Is it a name that a list with commas and an options string with blanks can hold? */
static bool listable(const char *name) {
    if (!*name) return false;
    for (const unsigned char *p = (const unsigned char *)name; *p; p++)
        if (*p <= ' ' || *p == 0x7f || strchr(",\"'\\", *p)) return false;
    return true;
}

struct needs { /* what the options depend on */
    bool has_f32, has_64, has_scales;
};

static enum eye_status count_node(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    struct needs *needs = ctx;
    (void)err;
    if (msg->descriptor == &eye_onnx__node_proto__descriptor &&
        strcmp(eye_onnx_str(((EyeOnnx__NodeProto *)(void *)msg)->op_type), "QuantizeLinear") == 0)
        needs->has_scales = true;
    return EYE_OK;
}

static void note_type(struct needs *needs, int32_t type) {
    needs->has_f32 |= type == EYE_ONNX_F32;
    needs->has_64 |= type == EYE_ONNX_I64;
}

static enum eye_status read_inputs(const struct planner *k, const struct eye_onnx *m, json_t *specs, struct needs *needs,
                                   struct eye_err *err) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_input; i++) {
        struct eye_onnx_shape s = eye_onnx_shape_of(g->input[i]);
        const char *name = eye_onnx_str(g->input[i]->name);
        json_t *spec;
        EYE_TRY(spec_of(k, m, name, &s, &spec, err));
        if (json_object_set_new(specs, name, spec) != 0)
            return eye_fail(err, EYE_E_UNSUPPORTED, "%s: input %zu: its name is no UTF-8", m->where, i);
        note_type(needs, s.type);
    }
    return EYE_OK;
}

/* out: "a,b,c". */
static enum eye_status read_outputs(const struct eye_onnx *m, json_t *names, struct needs *needs, struct eye_buf *out,
                                    struct eye_err *err) {
    const EyeOnnx__GraphProto *g = m->model->graph;
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = eye_onnx_str(g->output[i]->name);
        if (!listable(name) || json_array_append_new(names, json_string(name)) != 0)
            return eye_fail(err, EYE_E_UNSUPPORTED, "%s: output %zu: \"--output_names\" would take its name apart; \"eyelet "
                            "onnx rename\" "
                            "gives it another", m->where, i);
        eye_buf_printf(out, "%s%s", i ? "," : "", name);
        note_type(needs, eye_onnx_shape_of(g->output[i]).type);
    }
    return out->failed ? eye_fail_nomem(err, out->len) : EYE_OK;
}

static void make_options(const struct planner *k, const struct needs *needs, char *out, size_t cap) {
    if (k->o->options)
        snprintf(out, cap, "%s", k->o->options);
    else
        snprintf(out, cap, "--target_runtime qnn_context_binary%s%s",
                 needs->has_f32 && !needs->has_scales ? " --quantize_full_type float16" : "",
                 needs->has_64 ? " --truncate_64bit_io" : "");
}

/* ---- files ---- */

/* The graph's path as the script has it: relative where it lies below the script's folder. */
static enum eye_status script_path(const struct planner *k, const char *path, char *out, size_t cap, struct eye_err *err) {
    char real[EYE_PATH_MAX];
    size_t n = strlen(k->real_dir);
    if (!eye_path_real(path, real, sizeof real)) return eye_fail(err, EYE_E_IO, "%s: not there", path);
    bool below = strncmp(real, k->real_dir, n) == 0 && real[n] == '/';
    snprintf(out, cap, "%s", below ? real + n + 1 : real);
    return EYE_OK;
}

static enum eye_status file_hash(const char *path, char hex[65], struct eye_err *err) {
    struct eye_sha256 s;
    struct eye_map map;
    uint8_t sum[EYE_SHA256_BYTES];
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    eye_sha256_init(&s);
    eye_sha256_add(&s, map.p, map.size);
    eye_sha256_end(&s, sum);
    eye_map_close(&map);
    for (int i = 0; i < EYE_SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    return EYE_OK;
}

/* Names of data files; the client takes one. */
static enum eye_status add_data(void *ctx, ProtobufCMessage *msg, struct eye_err *err) {
    json_t *list = ctx;
    (void)err;
    if (msg->descriptor != &eye_onnx__tensor_proto__descriptor) return EYE_OK;
    const EyeOnnx__TensorProto *t = (EyeOnnx__TensorProto *)(void *)msg;
    for (size_t i = 0; eye_onnx_is_external(t) && i < t->n_external_data; i++) {
        const char *name = eye_onnx_str(t->external_data[i]->value);
        const char *last = json_string_value(json_array_get(list, json_array_size(list) - 1));
        if (strcmp(eye_onnx_str(t->external_data[i]->key), "location") != 0 || (last && strcmp(last, name) == 0)) continue;
        if (json_array_size(list) < 2) json_array_append_new(list, json_string(name));
    }
    return EYE_OK;
}

static enum eye_status data_of(const struct eye_onnx *m, json_t *list, struct eye_err *err) {
    EYE_TRY(eye_onnx_walk(&m->model->base, add_data, list, err));
    const char *name = json_string_value(json_array_get(list, 0));
    if (json_array_size(list) > 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: weights in several files; the client takes one beside the graph",
                        m->where);
    size_t n = name ? strlen(name) : 0;
    if (name && (n < 5 || strcmp(name + n - 5, ".data") != 0 || strchr(name, '/')))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: weights in \"%.100s\"; the client takes NAME.data beside the graph",
                        m->where, name);
    return EYE_OK;
}

/* ---- the plan ---- */

static enum eye_status name_of(struct planner *k, const char *path, struct eye_qai_report_graph *r, struct eye_err *err) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    size_t n = strlen(base);
    if (n > 5 && strcmp(base + n - 5, ".onnx") == 0) n -= 5;
    if (n == 0 || n >= sizeof r->name)
        return eye_fail(err, EYE_E_ARG, "%s: a file name of 1 to %zu bytes is expected", path, sizeof r->name - 1);
    memcpy(r->name, base, n);
    r->name[n] = '\0';
    if (strspn(r->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n || r->name[0] == '.')
        return eye_fail(err, EYE_E_ARG, "%s: a job is called after it: letters, digits, \"._-\" only", path);
    for (size_t i = 0; i < k->report->n; i++)
        if (strcmp(k->report->graph[i].name, r->name) == 0)
            return eye_fail(err, EYE_E_ARG, "%s: a second graph called %s", path, r->name);
    return EYE_OK;
}

/* A broken graph would cost an upload to find out. */
static enum eye_status check(struct eye_onnx *m, struct eye_qai_report_graph *r, struct eye_err *err) {
    struct eye_onnx_report found;
    eye_onnx_report_init(&found);
    enum eye_status st = eye_onnx_check_graph(m, &found, err);
    if (st == EYE_OK && found.n)
        st = eye_fail(err, EYE_E_CORRUPT, "%s: %s: %s", m->where, found.finding[0].name, found.finding[0].text);
    eye_onnx_report_clear(&found);
    EYE_TRY(st);
    eye_onnx_report_init(&found);
    st = eye_onnx_lint_model(m, EYE_ONNX_TARGET_QNN, &found, err);
    r->n_refused = 0;
    for (size_t i = 0; st == EYE_OK && i < found.n; i++)
        r->n_refused += found.finding[i].kind != EYE_ONNX_DYNAMIC_AXIS; /* sizes are settled below, or it fails */
    eye_onnx_report_clear(&found);
    return st;
}

static enum eye_status plan_graph(struct planner *k, struct eye_onnx *m, const char *path, struct eye_qai_report_graph *r,
                                  struct eye_err *err) {
    char place[EYE_PATH_MAX], hex[65];
    json_t *specs = json_object(), *names = json_array(), *data = json_array();
    struct needs needs = {false, false, false};
    struct eye_buf outputs;
    eye_buf_init(&outputs, NULL);
    enum eye_status st = check(m, r, err);
    if (st == EYE_OK) st = read_inputs(k, m, specs, &needs, err);
    if (st == EYE_OK) st = read_outputs(m, names, &needs, &outputs, err);
    if (st == EYE_OK) st = data_of(m, data, err);
    if (st == EYE_OK) st = eye_onnx_walk(&m->model->base, count_node, &needs, err);
    if (st == EYE_OK) st = script_path(k, path, place, sizeof place, err);
    if (st == EYE_OK) st = file_hash(path, hex, err);
    if (st == EYE_OK) {
        make_options(k, &needs, r->options, sizeof r->options);
        r->n_inputs = json_object_size(specs);
        r->n_outputs = json_array_size(names);
        const char *list = strstr(r->options, "--output_names") ? NULL : outputs.p;
        json_t *o = json_pack("{s:s,s:o,s:s,s:s,s:O,s:o,s:O,s:O}", "name", r->name, "job",
                              json_sprintf("%s%s", k->o->prefix ? k->o->prefix : "", r->name), "onnx", place, "onnx_sha256",
                              hex,                               "data", data, "options",
                              json_sprintf("%s%s%s", r->options, list ? " --output_names " : "", list ? list : ""),
                              "input_specs", specs, "output_names", names);
        if (!o || json_array_append_new(k->graphs, o) != 0)
            st = eye_fail(err, EYE_E_ARG, "%s: its path, the options or the prefix are no UTF-8", path);
    }
    eye_buf_clear(&outputs);
    json_decref(specs);
    json_decref(names);
    json_decref(data);
    return st;
}

static enum eye_status plan(struct planner *k, const char *path, struct eye_err *err) {
    struct eye_qai_report_graph *r = &k->report->graph[k->report->n];
    struct eye_onnx m;
    EYE_TRY(name_of(k, path, r, err));
    EYE_TRY(eye_onnx_load(&m, path, NULL, err));
    enum eye_status st = plan_graph(k, &m, path, r, err);
    eye_onnx_clear(&m);
    if (st == EYE_OK) k->report->n++;
    return st;
}

/* ---- the script ---- */

/* The plan goes between r''' and ''': an apostrophe becomes JSON's own escape of it. */
static void add_plan(struct eye_buf *out, const struct eye_buf *json) {
    for (const char *p = json->p; p && *p; p++) {
        if (*p == '\'') eye_buf_adds(out, "\\u0027");
        else eye_buf_add(out, p, 1);
    }
}

static enum eye_status write_script(const struct planner *k, json_t *plan_json, struct eye_err *err) {
    struct eye_buf json, text;
    struct eye_writer w = {0};
    char path[EYE_PATH_MAX];
    eye_buf_init(&json, NULL);
    eye_buf_init(&text, NULL);
    enum eye_status st = eye_json_write(plan_json, 1, &json, err);
    for (size_t i = 0; i < EYE_COUNT(script_lines); i++) {
        const char *line = script_lines[i], *mark = strstr(line, PLAN_MARK);
        if (mark) {
            eye_buf_add(&text, line, (size_t)(mark - line));
            add_plan(&text, &json);
            line = mark + strlen(PLAN_MARK);
        }
        eye_buf_printf(&text, "%s\n", line);
    }
    if (st == EYE_OK && (text.failed || json.failed)) st = eye_fail_nomem(err, text.len);
    if (st == EYE_OK && snprintf(path, sizeof path, "%s/%s", k->dir, EYE_QAI_SCRIPT) >= (int)sizeof path)
        st = eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", k->dir);
    if (st == EYE_OK) st = eye_writer_open(&w, path, err);
    if (st == EYE_OK) st = eye_writer_put(&w, text.p, text.len, err);
    if (st == EYE_OK) st = eye_writer_commit(&w, err);
    eye_writer_abort(&w);
    eye_buf_clear(&text);
    eye_buf_clear(&json);
    return st;
}

static enum eye_status check_opts(const struct eye_qai_opts *o, size_t n, struct eye_err *err) {
    if (n == 0 || n > EYE_QAI_MAX_GRAPHS)
        return eye_fail(err, EYE_E_ARG, "%zu graphs, expected 1 to %d", n, EYE_QAI_MAX_GRAPHS);
    if (o->options && strlen(o->options) >= sizeof ((struct eye_qai_report_graph *)NULL)->options)
        return eye_fail(err, EYE_E_ARG, "options of %zu bytes, at most %zu are taken", strlen(o->options),
                        sizeof ((struct eye_qai_report_graph *)NULL)->options - 1);
    const char *const folders[] = {o->prefix, o->bins};
    for (size_t i = 0; i < 2; i++)
        if (folders[i] && (strchr(folders[i], '/') || folders[i][0] == '.' || (i && !folders[i][0])))
            return eye_fail(err, EYE_E_ARG, "\"%.100s\": folders beside the script are called so: no /, no dot in front",
                            folders[i]);
    return EYE_OK;
}

enum eye_status eye_qai_script(const char *const *onnx, size_t n, const char *dir, const struct eye_qai_opts *opts,
                               struct eye_qai_report *report, struct eye_err *err) {
    static const struct eye_qai_opts none;
    struct eye_qai_report own;
    struct planner k = {.o = opts ? opts : &none, .dir = dir, .report = report ? report : &own};
    EYE_TRY(check_opts(k.o, n, err));
    k.report->n = 0;
    if (mkdir(dir, 0777) != 0 && !eye_path_is_dir(dir)) return eye_fail(err, EYE_E_IO, "%s: cannot be made as a folder", dir);
    if (!eye_path_real(dir, k.real_dir, sizeof k.real_dir)) return eye_fail(err, EYE_E_IO, "%s: not there", dir);
    k.graphs = json_array();
    enum eye_status st = EYE_OK;
    for (size_t i = 0; st == EYE_OK && i < n; i++) st = plan(&k, onnx[i], err);
    json_t *root = st != EYE_OK ? NULL
                                : json_pack("{s:s,s:s,s:s,s:O}", "device", k.o->device ? k.o->device : "Snapdragon 8 Elite QRD",
                                            "os", k.o->os ? k.o->os : "15", "bins", k.o->bins ? k.o->bins : "qaihub_bins",
                                            "graphs", k.graphs);
    if (st == EYE_OK) st = root ? write_script(&k, root, err) : eye_fail(err, EYE_E_ARG, "device, os or folder are no UTF-8");
    json_decref(root);
    json_decref(k.graphs);
    return st;
}
