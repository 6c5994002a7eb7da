/* onnx/view: see view.h. */
#include "onnx/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- values ---- */

struct eye_onnx_shape eye_onnx_shape_of(const EyeOnnx__ValueInfoProto *v) {
    struct eye_onnx_shape s = {0};
    if (!v->type || v->type->value_case != EYE_ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE || !v->type->tensor_type) return s;
    const EyeOnnx__TypeProto__Tensor *t = v->type->tensor_type;
    s.type = t->elem_type;
    if (!t->shape || t->shape->n_dim > EYE_ONNX_MAX_RANK) return s;
    s.known = true;
    s.rank = t->shape->n_dim;
    for (size_t i = 0; i < s.rank; i++) {
        const EyeOnnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        bool fixed = d->value_case == EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value >= 0;
        s.dim[i] = fixed ? d->dim_value : -1;
        bool named = d->value_case == EYE_ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
        s.param[i] = named ? eye_onnx_str(d->dim_param) : "";
    }
    return s;
}

void eye_onnx_name_text(const char *name, struct eye_buf *out) {
    size_t n = strnlen(name, 200);
    while (name[n] && n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80) n--; /* not within a character */
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        eye_buf_add(out, c < 0x20 || c == 0x7f ? "?" : &name[i], 1);
    }
    if (name[n]) eye_buf_adds(out, "…");
}

void eye_onnx_shape_text(const struct eye_onnx_shape *s, struct eye_buf *out) {
    eye_buf_adds(out, "[");
    for (size_t i = 0; i < s->rank; i++) {
        if (i) eye_buf_adds(out, ", ");
        if (s->dim[i] >= 0) eye_buf_printf(out, "%lld", (long long)s->dim[i]);
        else if (s->param[i][0]) eye_onnx_name_text(s->param[i], out);
        else eye_buf_adds(out, "?");
    }
    eye_buf_adds(out, "]");
}

bool eye_onnx_name_match(const char *pattern, const char *name, int64_t *i) {
    const char *hole = strstr(pattern, "{i}");
    if (!hole) {
        *i = 0;
        return strcmp(pattern, name) == 0;
    }
    size_t n = (size_t)(hole - pattern);
    if (strncmp(pattern, name, n) != 0) return false;
    const char *p = name + n;
    int64_t v = 0;
    size_t digits = strspn(p, "0123456789");
    if (digits == 0 || digits > 6 || (digits > 1 && *p == '0')) return false;
    for (size_t k = 0; k < digits; k++) v = v * 10 + (p[k] - '0');
    *i = v;
    return strcmp(p + digits, hole + 3) == 0;
}

void eye_onnx_name_fill(const char *pattern, int64_t i, struct eye_buf *out) {
    const char *hole = strstr(pattern, "{i}");
    size_t n = hole ? (size_t)(hole - pattern) : strlen(pattern);
    eye_buf_add(out, pattern, n);
    if (hole) eye_buf_printf(out, "%lld%s", (long long)i, hole + 3);
}

/* ---- reports ---- */

static const char *const kind_names[EYE_ONNX_N_FINDING_KINDS] = {
    "missing input", "unexpected input", "mismatched input", "missing output", "unexpected output", "mismatched output",
    "graph fault", "refused operator", "refused type", "dynamic axis", "refused rank"};

const char *eye_onnx_finding_name(enum eye_onnx_finding_kind kind) {
    return (unsigned)kind < EYE_ONNX_N_FINDING_KINDS ? kind_names[kind] : "?";
}

void eye_onnx_report_init(struct eye_onnx_report *r) { *r = (struct eye_onnx_report){0}; }

void eye_onnx_report_clear(struct eye_onnx_report *r) {
    if (r->memory) {
        eye_arena_clear(r->memory);
        eye_alloc_free(NULL, r->memory, sizeof(struct eye_arena));
    }
    eye_alloc_free(NULL, r->finding, r->cap * sizeof *r->finding);
    eye_onnx_report_init(r);
}

const char *eye_onnx_report_text(struct eye_onnx_report *r, const char *text) {
    if (!r->memory) {
        if (!(r->memory = eye_alloc_zero(NULL, sizeof(struct eye_arena)))) return NULL;
        eye_arena_init(r->memory, NULL);
    }
    return eye_arena_strdup(r->memory, text, strlen(text));
}

enum eye_status eye_onnx_report_add(struct eye_onnx_report *r, enum eye_onnx_finding_kind kind, const char *name,
                                    const char *text, struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_onnx_name_text(name, &b);
    const char *copy = b.failed ? NULL : eye_onnx_report_text(r, b.len ? b.p : ""), *what = eye_onnx_report_text(r, text);
    eye_buf_clear(&b);
    if (!copy || !what) return eye_fail_nomem(err, strlen(text));
    EYE_TRY(eye_alloc_grow(NULL, (void **)&r->finding, &r->cap, r->n + 1, sizeof *r->finding, err));
    r->finding[r->n++] = (struct eye_onnx_finding){kind, copy, what};
    return EYE_OK;
}

void eye_onnx_report_sort(struct eye_onnx_report *r) { /* stable; a few findings, in a few runs */
    for (size_t i = 1; i < r->n; i++) {
        struct eye_onnx_finding f = r->finding[i];
        size_t k = i;
        for (; k > 0 && r->finding[k - 1].kind > f.kind; k--) r->finding[k] = r->finding[k - 1];
        r->finding[k] = f;
    }
}
