/* onnx/structure: does a graph make sense by itself? Every name is made once and before it is used, outputs are made, operator
 * sets are imported. Subgraphs see the names around them. */
#include <string.h>

#include "onnx/view.h"

#define MAX_FINDINGS 100 /* then a file is broken enough */

struct scope {
    struct eye_strmap names;
    const struct scope *outer;
};
struct checker {
    const EyeOnnx__ModelProto *model;
    struct eye_onnx_report *r;
    struct eye_err *err;
};

static enum eye_status broken(struct checker *c, const char *name, const char *text) {
    if (c->r->n >= MAX_FINDINGS) return EYE_OK;
    return eye_onnx_report_add(c->r, EYE_ONNX_BROKEN_GRAPH, name, text, c->err);
}

static bool is_there(const struct scope *s, const char *name) {
    for (; s; s = s->outer)
        if (eye_strmap_get(&s->names, name, strlen(name)) >= 0) return true;
    return false;
}

static enum eye_status define(struct checker *c, struct scope *s, const char *name, const char *text) {
    bool there;
    if (is_there(s->outer, name)) return broken(c, name, "made again in a subgraph of the graph that made it");
    EYE_TRY(eye_strmap_put(&s->names, name, strlen(name), 0, &there, c->err));
    return there ? broken(c, name, text) : EYE_OK;
}

static bool imports(const EyeOnnx__ModelProto *m, const char *domain) {
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    for (size_t i = 0; i < m->n_opset_import; i++) {
        const char *d = eye_onnx_str(m->opset_import[i]->domain);
        if (strcmp(strcmp(d, "ai.onnx") == 0 ? "" : d, domain) == 0) return true;
    }
    return false;
}

static enum eye_status check_scope(struct checker *c, const EyeOnnx__GraphProto *g, const struct scope *outer);

static enum eye_status check_node(struct checker *c, const EyeOnnx__NodeProto *n, struct scope *s) {
    const char *op = eye_onnx_str(n->op_type), *name = n->name && *n->name ? n->name : op;
    if (!*op) EYE_TRY(broken(c, name, "a node without an operator"));
    if (!imports(c->model, eye_onnx_str(n->domain))) EYE_TRY(broken(c, name, "its operator set is not imported"));
    for (size_t i = 0; i < n->n_input; i++)
        if (*n->input[i] && !is_there(s, n->input[i])) EYE_TRY(broken(c, n->input[i], "used, and nothing before makes it"));
    for (size_t a = 0; a < n->n_attribute; a++) {
        const EyeOnnx__AttributeProto *at = n->attribute[a];
        if (at->g) EYE_TRY(check_scope(c, at->g, s));
        for (size_t i = 0; i < at->n_graphs; i++) EYE_TRY(check_scope(c, at->graphs[i], s));
    }
    for (size_t i = 0; i < n->n_output; i++)
        if (*n->output[i]) EYE_TRY(define(c, s, n->output[i], "made twice"));
    return EYE_OK;
}

/* Recursion as deep as subgraphs nest, which reading bounds. */
static enum eye_status check_scope(struct checker *c, const EyeOnnx__GraphProto *g, const struct scope *outer) {
    struct scope s = {.outer = outer};
    enum eye_status st = EYE_OK;
    eye_strmap_init(&s.names, NULL);
    for (size_t i = 0; i < g->n_input; i++) EYE_TRY_GOTO(define(c, &s, eye_onnx_str(g->input[i]->name), "an input twice"));
    for (size_t i = 0; i < g->n_initializer; i++) { /* may be an input too: then that is its default */
        const char *name = eye_onnx_str(g->initializer[i]->name);
        EYE_TRY_GOTO(eye_strmap_put(&s.names, name, strlen(name), 0, NULL, c->err));
    }
    for (size_t i = 0; i < g->n_sparse_initializer; i++) {
        const EyeOnnx__TensorProto *t = g->sparse_initializer[i]->values;
        const char *name = t ? eye_onnx_str(t->name) : "";
        EYE_TRY_GOTO(eye_strmap_put(&s.names, name, strlen(name), 0, NULL, c->err));
    }
    for (size_t i = 0; i < g->n_node; i++) EYE_TRY_GOTO(check_node(c, g->node[i], &s));
    for (size_t i = 0; i < g->n_output; i++) {
        const char *name = eye_onnx_str(g->output[i]->name);
        if (!is_there(&s, name)) EYE_TRY_GOTO(broken(c, name, "an output that nothing makes"));
    }
fail:
    eye_strmap_clear(&s.names);
    return st;
}

enum eye_status eye_onnx_check_graph(struct eye_onnx *m, struct eye_onnx_report *r, struct eye_err *err) {
    struct checker c = {.model = m->model, .r = r, .err = err};
    r->n_inputs = m->model->graph->n_input;
    r->n_outputs = m->model->graph->n_output;
    return check_scope(&c, m->model->graph, NULL);
}

enum eye_status eye_onnx_check(const char *path, const struct eye_onnx_check_opts *opts, struct eye_onnx_report *report,
                               struct eye_err *err) {
    static const struct eye_onnx_check_opts defaults;
    struct eye_onnx m;
    enum eye_status st;
    const struct eye_onnx_check_opts *o = opts ? opts : &defaults;
    eye_onnx_report_init(report);
    EYE_TRY(eye_onnx_load(&m, path, NULL, err));
    EYE_TRY_GOTO(eye_onnx_check_graph(&m, report, err));
    if (o->signature) EYE_TRY_GOTO(eye_onnx_check_signature(&m, o, report, err));
    EYE_TRY_GOTO(eye_onnx_check_data(&m, err));
    eye_onnx_report_sort(report);
    eye_onnx_clear(&m);
    return EYE_OK;
fail:
    eye_onnx_clear(&m);
    eye_onnx_report_clear(report);
    return st;
}
