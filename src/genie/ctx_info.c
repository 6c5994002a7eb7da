/* genie/ctx_info: see ctx_info.h. */
#include "genie/ctx_info.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/sys.h"
#include "eyelet/eyelet.h"
#include "format/json.h"

/* ---- reading ---- */

/* The object's "info", or itself where that layer is missing. */
static enum eye_status inside(const struct eye_json_at *at, struct eye_json_at *out, struct eye_err *err) {
    EYE_TRY(eye_json_object(at, "info", out, err));
    if (!out->v) *out = *at;
    return EYE_OK;
}

static enum eye_status read_name(const struct eye_json_at *at, const char *key, char *out, size_t cap, struct eye_err *err) {
    const char *s;
    EYE_TRY(eye_json_str(at, key, "", &s, NULL, err));
    if (strlen(s) >= cap || strchr(s, '/')) return eye_json_fail(at, key, "a name that is too long, or holds a /", err);
    snprintf(out, cap, "%s", s);
    return EYE_OK;
}

static enum eye_status read_dims(const struct eye_json_at *at, struct eye_ctx_tensor *t, struct eye_err *err) {
    size_t rank;
    EYE_TRY(eye_json_ints(at, "dimensions", t->dims, EYE_CTX_INFO_MAX_RANK, &rank, err));
    t->rank = (int)rank;
    t->n = 1;
    for (size_t i = 0; i < rank; i++)
        if (t->dims[i] < 1 || !eye_mul_ok(t->n, (size_t)t->dims[i], &t->n) || t->n > (size_t)1 << 32)
            return eye_json_fail(at, "dimensions", "expected numbers above 0 of at most 2^32 elements", err);
    return rank ? EYE_OK : eye_json_fail(at, "dimensions", "missing", err);
}

/* A form without a data type is float32. */
static enum eye_status read_type(const struct eye_json_at *at, struct eye_elements *e, struct eye_err *err) {
    struct eye_json_at quant, pair;
    const char *type;
    *e = (struct eye_elements){EYE_EL_F32, 1, 0};
    EYE_TRY(eye_json_str(at, "dataType", "QNN_DATATYPE_FLOAT_32", &type, NULL, err));
    if (!eye_element_parse(type, strlen(type), EYE_EL_QNN, &e->type))
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: dataType %.64s: supported are FLOAT_32, FLOAT_16, [U|S]FIXED_POINT_8 and "
                        "_16, "
                        "INT_32", at->where, type);
    EYE_TRY(eye_json_object(at, "quantizeParams", &quant, err));
    EYE_TRY(eye_json_object(&quant, "scaleOffset", &pair, err));
    if (e->type == EYE_EL_F32 || e->type == EYE_EL_F16 || e->type == EYE_EL_I32) return EYE_OK;
    EYE_TRY(eye_json_double(&pair, "scale", 1, &e->scale, err));
    EYE_TRY(eye_json_double(&pair, "offset", 0, &e->offset, err));
    if (!isfinite(e->scale) || e->scale <= 0 || !isfinite(e->offset))
        return eye_json_fail(&pair, "scale", "expected a finite number above 0", err);
    return EYE_OK;
}

static enum eye_status read_tensor(const struct eye_json_at *graph, const char *list_key, bool must, struct eye_ctx_tensor *t,
                                   struct eye_err *err) {
    struct eye_json_at list, item, at;
    EYE_TRY(eye_json_array(graph, list_key, &list, err));
    if (!list.v && !must) return EYE_OK;
    if (eye_json_len(&list) != 1)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: %s: %zu tensors, supported: one", graph->where, list_key,
                        eye_json_len(&list));
    item = eye_json_item(&list, 0);
    EYE_TRY(inside(&item, &at, err));
    EYE_TRY(read_name(&at, "name", t->name, sizeof t->name, err));
    EYE_TRY(read_dims(&at, t, err));
    return read_type(&at, &t->e, err);
}

enum eye_status eye_ctx_info_parse(struct eye_ctx_info *s, const char *text, size_t n, const char *where, struct eye_err *err) {
    struct eye_json j;
    struct eye_json_at root, info, graphs, item, graph;
    enum eye_status st;
    memset(s, 0, sizeof *s);
    EYE_TRY(eye_json_parse(&j, text, n, EYE_CTX_INFO_MAX_BYTES, where, err));
    root = eye_json_root(&j);
    EYE_TRY_GOTO(inside(&root, &info, err));
    EYE_TRY_GOTO(eye_json_array(&info, "graphs", &graphs, err));
    if (eye_json_len(&graphs) == 0) {
        st = eye_json_fail(&info, "graphs", "expected at least one graph", err);
        goto fail;
    }
    item = eye_json_item(&graphs, 0);
    EYE_TRY_GOTO(inside(&item, &graph, err));
    EYE_TRY_GOTO(read_name(&graph, "graphName", s->graph, sizeof s->graph, err));
    EYE_TRY_GOTO(read_tensor(&graph, "graphInputs", false, &s->in, err));
    st = read_tensor(&graph, "graphOutputs", true, &s->out, err);
fail:
    eye_json_clear(&j);
    return st;
}

enum eye_status eye_ctx_info_read(struct eye_ctx_info *s, const char *path, struct eye_err *err) {
    struct eye_map map;
    EYE_TRY(eye_map_open(&map, path, false, EYE_CTX_INFO_MAX_BYTES, err));
    enum eye_status st = eye_ctx_info_parse(s, (const char *)map.p, map.size, path, err);
    eye_map_close(&map);
    return st;
}

/* ---- writing ---- */

static json_t *tensor_json(const struct eye_ctx_tensor *t, int id) {
    bool fixed = t->e.type != EYE_EL_F32 && t->e.type != EYE_EL_F16 && t->e.type != EYE_EL_I32;
    json_t *dims = json_array();
    for (int i = 0; i < t->rank; i++) json_array_append_new(dims, json_integer(t->dims[i]));
    return json_pack("{s:{s:i,s:s,s:o,s:s,s:{s:s,s:s,s:{s:f,s:f}}}}", "info", "id", id, "name", t->name, "dimensions", dims,
                     "dataType",
                     eye_element_name(t->e.type, EYE_EL_QNN), "quantizeParams", "definition",
                     fixed ? "QNN_DEFINITION_DEFINED" : "QNN_DEFINITION_UNDEFINED", "encoding",
                     fixed ? "QNN_QUANTIZATION_ENCODING_SCALE_OFFSET" : "QNN_QUANTIZATION_ENCODING_UNDEFINED", "scaleOffset",
                     "scale",
                     fixed ? t->e.scale : 0.0, "offset", fixed ? t->e.offset : 0.0);
}

enum eye_status eye_ctx_info_write(const struct eye_ctx_info *s, struct eye_buf *out, struct eye_err *err) {
    char build[64];
    snprintf(build, sizeof build, "eyelet %s", eye_version());
    json_t *o = json_pack("{s:{s:i,s:s,s:i,s:[],s:[{s:{s:s,s:i,s:[o],s:i,s:[o],s:i,s:[]}}]}}", "info", "backendId", 0,
                          "buildId", build,
                          "contextBlobVersion", 0, "contextTensors", "graphs", "info", "graphName", s->graph, "numGraphInputs",
                          1,
                          "graphInputs", tensor_json(&s->in, 1), "numGraphOutputs", 1, "graphOutputs", tensor_json(&s->out, 2),
                          "numUpdateableTensors", 0, "updateableTensors");
    enum eye_status st = o ? eye_json_write(o, 2, out, err) : eye_fail_nomem(err, 0);
    json_decref(o);
    if (st == EYE_OK) eye_buf_adds(out, "\n");
    return st;
}
