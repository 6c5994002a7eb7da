/* genie/elements: see elements.h. */
#include "genie/elements.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tensor/tensor.h"

static const struct {
    const char *name[4]; /* by enum eye_element_dialect */
    size_t bytes;
    double lo, hi;
} elements[EYE_EL_N] = {
    [EYE_EL_F32] = {{"float32", "float32", "QNN_DATATYPE_FLOAT_32", "float32"}, 4, 0, 0},
    [EYE_EL_F16] = {{"float16", "float16", "QNN_DATATYPE_FLOAT_16", "float16"}, 2, 0, 0},
    [EYE_EL_U8] = {{"ufixed8", "uint8", "QNN_DATATYPE_UFIXED_POINT_8", "uint8"}, 1, 0, 255},
    [EYE_EL_I8] = {{"sfixed8", "int8", "QNN_DATATYPE_SFIXED_POINT_8", "int8"}, 1, -128, 127},
    [EYE_EL_U16] = {{"ufixed16", "uint16", "QNN_DATATYPE_UFIXED_POINT_16", "uint16"}, 2, 0, 65535},
    [EYE_EL_I16] = {{"sfixed16", "int16", "QNN_DATATYPE_SFIXED_POINT_16", "int16"}, 2, -32768, 32767},
    [EYE_EL_I32] = {{NULL, NULL, "QNN_DATATYPE_INT_32", "int32"}, 4, -2147483648.0, 2147483647.0},
};

size_t eye_element_bytes(enum eye_element e) { return elements[e].bytes; }

const char *eye_element_name(enum eye_element e, enum eye_element_dialect d) { return elements[e].name[d]; }

bool eye_element_parse(const char *name, size_t len, enum eye_element_dialect d, enum eye_element *out) {
    for (int i = 0; i < EYE_EL_N; i++) {
        const char *known = elements[i].name[d];
        if (!known || strlen(known) != len || memcmp(known, name, len) != 0) continue;
        *out = (enum eye_element)i;
        return true;
    }
    return false;
}

static double integer_at(enum eye_element e, const uint8_t *p) {
    uint32_t v = p[0];
    for (size_t i = 1; i < elements[e].bytes; i++) v |= (uint32_t)p[i] << (8 * i);
    switch (e) {
    case EYE_EL_I8: return (int8_t)v;
    case EYE_EL_I16: return (int16_t)v;
    case EYE_EL_I32: return (int32_t)v;
    default: return v;
    }
}

void eye_elements_to_f32(const struct eye_elements *e, const void *src, float *dst, size_t n) {
    const uint8_t *p = src;
    if (e->type == EYE_EL_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i++, p += elements[e->type].bytes)
        dst[i] = e->type == EYE_EL_F16 ? eye_f16_to_f32((uint16_t)(p[0] | p[1] << 8))
                                       : (float)((integer_at(e->type, p) + e->offset) * e->scale);
}

void eye_elements_from_f32(const struct eye_elements *e, const float *src, void *dst, size_t n) {
    uint8_t *p = dst;
    if (e->type == EYE_EL_F32) {
        memcpy(dst, src, n * sizeof *src);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        if (e->type == EYE_EL_F16) {
            bits = eye_f32_to_f16(src[i]);
        } else {
            double q = nearbyint((double)src[i] / e->scale - e->offset);
            if (isnan(q)) q = -e->offset;
            q = EYE_MIN(EYE_MAX(q, elements[e->type].lo), elements[e->type].hi);
            bits = (uint32_t)(int64_t)q;
        }
        for (size_t b = 0; b < elements[e->type].bytes; b++) *p++ = (uint8_t)(bits >> (8 * b));
    }
}

static bool number(const char *p, size_t len, double *out) {
    char text[64], *end;
    if (len == 0 || len >= sizeof text) return false;
    memcpy(text, p, len);
    text[len] = '\0';
    errno = 0;
    *out = strtod(text, &end);
    return *end == '\0' && !errno && isfinite(*out);
}

enum eye_status eye_elements_argument(const char *arg, char *path, size_t cap, struct eye_elements *e, struct eye_err *err) {
    const char *part[4] = {arg}, *end = arg + strlen(arg);
    size_t n = 1, len[4];
    for (const char *p = arg; (p = strchr(p, ',')) != NULL; p++, n++)
        if (n < 4) part[n] = p + 1;
    for (size_t i = 0; i < EYE_MIN(n, 4); i++) len[i] = (size_t)((i + 1 < n && i < 3 ? part[i + 1] - 1 : end) - part[i]);
    *e = (struct eye_elements){EYE_EL_F32, 1, 0};
    if ((n != 1 && n != 4) || len[0] == 0 || len[0] >= cap)
        return eye_fail(err, EYE_E_ARG, "ERROR: Invalid embedding argument: %.200s", arg);
    memcpy(path, arg, len[0]);
    path[len[0]] = '\0';
    if (n == 1) return EYE_OK;
    if (!eye_element_parse(part[1], len[1], EYE_EL_ARGUMENT, &e->type))
        return eye_fail(err, EYE_E_ARG, "ERROR: invalid datatype: %.*s", (int)EYE_MIN(len[1], 64), part[1]);
    if (!number(part[2], len[2], &e->scale) || !number(part[3], len[3], &e->offset) || e->scale == 0)
        return eye_fail(err, EYE_E_ARG, "ERROR: Invalid quantization encodings: {%.*s, %.*s}", (int)EYE_MIN(len[2], 64),
                        part[2],
                        (int)EYE_MIN(len[3], 64), part[3]);
    return EYE_OK;
}
