/* onnx: see onnx.h. */
#include "onnx.h"

#include <stdio.h>
#include <string.h>

/* In the order of enum eye_onnx_target. */
const char *const onnx_target_names[] = {"plain", "qnn", NULL};

static const struct {
    const char *title; /* those of signatures as the vendor's samples print them */
    bool text;         /* the name alone says it otherwise */
} lists[EYE_ONNX_N_FINDING_KINDS] = {
    {"Missing inputs", false}, {"Unexpected inputs", false}, {"Mismatched inputs", true},
    {"Missing outputs", false}, {"Unexpected outputs", false}, {"Mismatched outputs", true},
    {"Broken graph", true}, {"Refused operators", true}, {"Refused types", true}, {"Dynamic axes", true},
        {"Refused ranks", true},
};

void onnx_print_findings(const struct eye_onnx_report *r) {
    for (size_t i = 0; i < r->n; i++) {
        const struct eye_onnx_finding *f = &r->finding[i];
        if (i == 0 || f->kind != r->finding[i - 1].kind) printf("%s:\n", lists[f->kind].title);
        printf("  - %s%s%s\n", f->name, lists[f->kind].text ? ": " : "", lists[f->kind].text ? f->text : "");
    }
}

json_t *onnx_findings_json(const struct eye_onnx_report *r) {
    json_t *list = json_array();
    for (size_t i = 0; i < r->n; i++)
        json_array_append_new(list, json_pack("{s:s,s:o,s:o}", "kind", eye_onnx_finding_name(r->finding[i].kind), "name",
                                              json_outside(r->finding[i].name), "text", json_outside(r->finding[i].text)));
    return list;
}

char *onnx_count_findings(const struct eye_onnx_report *r, char *out, size_t cap) {
    size_t at = 0;
    out[0] = '\0';
    for (int k = 0; k < EYE_ONNX_N_FINDING_KINDS; k++) {
        size_t n = 0;
        const char *name = eye_onnx_finding_name((enum eye_onnx_finding_kind)k);
        for (size_t i = 0; i < r->n; i++) n += (int)r->finding[i].kind == k;
        if (!n || at >= cap) continue;
        bool axis = k == EYE_ONNX_DYNAMIC_AXIS && n > 1;
        at += (size_t)snprintf(out + at, cap - at, "%s%zu %.*s%s", at ? ", " : "", n, axis ? 10 : 40, name,
                               n == 1 ? "" : axis ? "es" : "s");
    }
    return out;
}
