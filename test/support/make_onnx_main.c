/* make_onnx: writes a small ONNX file from words, for tests of the command line.
 *
 *   make_onnx OUT [--opset N] [--external] WORD…
 *   in:NAME:TYPE:1,n,4    out:… (same)    info:… (same)     a dim that is no number is symbolic; a lone "-" is a scalar
 *   init:NAME:TYPE:2,3    an initializer of numbers 1, 2, 3 …
 *   node:[DOMAIN/]OP:in,in:out,out[:attr=1[:attr=0.5[:attr=text]]]
 *   import:DOMAIN:VERSION
 *   kv:STYLE:LAYERS:CACHE all of a small decoder-kv signature of f16, style plain, dot or genie */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/onnx.h"

static struct eye_onnx m;

static char *next(char **s, char sep) { /* up to sep; NULL behind the last */
    char *p = *s, *q = p ? strchr(p, sep) : NULL;
    if (q) *q++ = '\0';
    *s = q;
    return p;
}

static size_t read_dims(char *s, int64_t *dims, const char **params) {
    size_t n = 0;
    if (!s || strcmp(s, "-") == 0) return 0;
    for (char *d; n < 8 && (d = next(&s, ',')); n++) {
        dims[n] = strspn(d, "0123456789") == strlen(d) ? atol(d) : -1;
        params[n] = d;
    }
    return n;
}

static void value(const char *kind, char *s) {
    int64_t dims[8];
    const char *params[8], *name = next(&s, ':'), *type = next(&s, ':');
    size_t rank = read_dims(s, dims, params);
    (kind[0] == 'o' ? eye_onnx_add_output : kind[1] == 'n' && kind[2] ? eye_onnx_add_value_info : eye_onnx_add_input)(
        &m, m.model->graph, name, eye_onnx_type_find(type), dims, rank, params);
}

static void initializer(char *s) {
    int64_t dims[8];
    const char *params[8], *name = next(&s, ':'), *type = next(&s, ':');
    size_t rank = read_dims(s, dims, params), n = 1;
    int32_t t = eye_onnx_type_find(type);
    for (size_t i = 0; i < rank; i++) n *= (size_t)dims[i];
    uint8_t *p = calloc(n + 1, 8);
    if (!p) abort();
    for (size_t i = 0; i < n; i++) {
        if (t == EYE_ONNX_F32) ((float *)(void *)p)[i] = (float)(i + 1);
        else if (t == EYE_ONNX_I64) ((int64_t *)(void *)p)[i] = (int64_t)i - 1;
        else p[i] = (uint8_t)(i + 1);
    }
    eye_onnx_add_const(&m, m.model->graph, name, t, dims, rank, p);
    free(p);
}

static size_t read_names(char *s, const char **names) {
    size_t n = 0;
    for (char *d; n < 16 && (d = next(&s, ',')); n++) names[n] = d;
    return n;
}

static void node(char *s) {
    const char *in[16], *out[16];
    char *op = next(&s, ':'), *slash = strchr(op, '/'), name[300];
    size_t n_in = read_names(next(&s, ':'), in), n_out = read_names(next(&s, ':'), out);
    snprintf(name, sizeof name, "%s_%s", slash ? slash + 1 : op, out[0]);
    EyeOnnx__NodeProto *n = eye_onnx_add_node(&m, m.model->graph, slash ? slash + 1 : op, name, in, n_in, out, n_out);
    if (!n) abort();
    if (slash) {
        *slash = '\0';
        n->domain = eye_onnx_text(&m, op);
    }
    for (char *a; (a = next(&s, ':'));) {
        char *eq = strchr(a, '=');
        if (!eq) abort();
        *eq++ = '\0';
        if (strspn(eq, "-0123456789") == strlen(eq)) eye_onnx_attr_int(&m, n, a, atol(eq));
        else if (strspn(eq, "-.e0123456789") == strlen(eq)) eye_onnx_attr_float(&m, n, a, strtof(eq, NULL));
        else eye_onnx_attr_str(&m, n, a, eq);
    }
}

static void import(char *s) {
    EyeOnnx__OperatorSetIdProto *set = eye_onnx_alloc(&m, 1, sizeof *set);
    if (!set) abort();
    eye_onnx__operator_set_id_proto__init(set);
    set->domain = eye_onnx_text(&m, next(&s, ':'));
    set->has_version = 1;
    set->version = s ? atol(s) : 1;
    eye_onnx_push(&m, &m.model->n_opset_import, &m.model->opset_import, set);
}

static void word(char *s);

static void words(const char *fmt, long long layer, long long cache, const char *key) {
    char text[256];
    snprintf(text, sizeof text, fmt, layer, cache, key);
    word(text);
}

static void decoder(char *s) {
    const char *style = next(&s, ':');
    long long layers = atol(next(&s, ':')), cache = atol(s);
    bool genie = strcmp(style, "genie") == 0, rows = strcmp(style, "plain") == 0;
    words("in:inputs_embeds:f16:1,1,8", 0, 0, "");
    if (rows) words("in:attention_mask:i64:1,%2$lld", layers, cache + 1, "");
    else words("in:attention_mask:i64:1,1,1,%2$lld", layers, cache + 1, "");
    words("in:position_ids:i64:1,1", 0, 0, "");
    words("out:logits:f16:1,1,32", 0, 0, "");
    words("node:Identity:inputs_embeds:logits", 0, 0, "");
    for (long long i = 0; i < layers; i++) {
        if (rows) words("in:past_key_values.%1$lld.key:f16:1,2,%2$lld,4", i, cache, "");
        else words(genie ? "in:past_key_%1$lld_in:f16:1,2,4,%2$lld" : "in:past_key_values.%1$lld.key:f16:1,2,4,%2$lld", i, cache, "");
        words(genie ? "in:past_value_%1$lld_in:f16:1,2,%2$lld,4" : "in:past_key_values.%1$lld.value:f16:1,2,%2$lld,4", i, cache, "");
        if (rows) words("out:present.%1$lld.key:f16:1,2,1,4", i, 0, "");
        else words(genie ? "out:past_key_%1$lld_out:f16:1,2,4,1" : "out:present.%1$lld.key:f16:1,2,4,1", i, 0, "");
        words(genie ? "out:past_value_%1$lld_out:f16:1,2,1,4" : "out:present.%1$lld.value:f16:1,2,1,4", i, 0, "");
        for (int v = 0; v < 2; v++) {
            char text[200];
            const char *kind = v ? "value" : "key";
            if (genie) snprintf(text, sizeof text, "node:Identity:past_%s_%lld_in:past_%s_%lld_out", kind, i, kind, i);
            else snprintf(text, sizeof text, "node:Identity:past_key_values.%lld.%s:present.%lld.%s", i, kind, i, kind);
            word(text);
        }
    }
}

static void word(char *s) {
    char *kind = next(&s, ':');
    if (strcmp(kind, "in") == 0 || strcmp(kind, "out") == 0 || strcmp(kind, "info") == 0) value(kind, s);
    else if (strcmp(kind, "init") == 0) initializer(s);
    else if (strcmp(kind, "node") == 0) node(s);
    else if (strcmp(kind, "import") == 0) import(s);
    else if (strcmp(kind, "kv") == 0) decoder(s);
    else fprintf(stderr, "make_onnx: what is \"%s\"?\n", kind), exit(2);
}

int main(int argc, char **argv) {
    struct eye_err err = {0};
    struct eye_onnx_write_opts opts = {0};
    int opset = 17;
    if (argc < 2) return 2;
    for (int i = 2; i + 1 < argc; i++)
        if (strcmp(argv[i], "--opset") == 0) opset = atoi(argv[i + 1]);
    if (eye_onnx_new(&m, "made", opset, NULL, &err) != EYE_OK) goto fail;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--opset") == 0) i++;
        else if (strcmp(argv[i], "--external") == 0) opts = (struct eye_onnx_write_opts){.place = EYE_ONNX_EXTERNAL, .external_from = 1};
        else word(argv[i]);
    }
    if (eye_onnx_write(&(struct eye_onnx_file){&m, argv[1]}, 1, &opts, &err) == EYE_OK) {
        eye_onnx_clear(&m);
        return 0;
    }
fail:
    fprintf(stderr, "make_onnx: %s\n", err.text);
    return 1;
}
