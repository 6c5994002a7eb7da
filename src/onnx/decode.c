/* onnx/decode: protobuf's wire format into protobuf-c's structs, driven by the descriptors that protoc-c generates. Sits below
 * load.c; knows the format, and of ONNX nothing.
 *
 * Why not protobuf_c_message_unpack: it copies all raw data, recurses as deep as the file says, and takes 70 bytes of memory
 * for each 2 of the file with no bound. Here fields of bytes are borrowed, nesting and memory are bounded, and an error says
 * which field of which message at which byte. test_onnx and the fuzz target hold both against each other.
 *
 *   message  = { key, value }            key = varint (field number << 3 | wire type)
 *   value 0  = varint, 7 bits a byte, least first, at most 10 bytes
 *         1  = 8 bytes     5 = 4 bytes
 *         2  = varint n, n bytes: text, bytes, a message, or packed numbers
 *   3 and 4, groups, are of protobuf's first version: refused */
#include "onnx/decode.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_SPAN = 2, WIRE_32 = 5 };

struct decoder {
    struct eye_onnx *m;
    const uint8_t *p; /* the whole file */
    size_t left;      /* bytes of memory that may still be taken */
    struct eye_err *err;
};

struct value { /* of one field on the wire */
    unsigned wire;
    uint32_t id;
    uint64_t number;   /* VARINT, 64, 32 */
    size_t begin, end; /* of its bytes: what a SPAN holds, else the number's own */
    size_t whole;      /* where a SPAN's length begins; else begin */
};

static enum eye_status corrupt(struct decoder *d, const ProtobufCMessageDescriptor *type, const char *field, size_t at,
                               const char *what) {
    return eye_fail(d->err, EYE_E_CORRUPT, "%s: byte %zu, %s%s%s: %s; is this an ONNX file, and whole?", d->m->where, at,
                    type->short_name, field ? "." : "", field ? field : "", what);
}

static void *take(struct decoder *d, size_t n, size_t bytes) {
    size_t all;
    if (!eye_mul_ok(n, bytes, &all) || all > d->left) {
        eye_fail(d->err, EYE_E_LIMIT, "%s: unpacks into more than 16 times its size in memory; no honest model does",
                 d->m->where);
        return NULL;
    }
    void *p = eye_arena_alloc(&d->m->arena, all);
    if (!p) {
        eye_fail_nomem(d->err, all);
        return NULL;
    }
    d->left -= all;
    return p;
}
static enum eye_status not_taken(const struct decoder *d) { return d->err->code; }

static bool read_varint(const struct decoder *d, size_t *at, size_t end, uint64_t *out) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t b = d->p[(*at)++];
        v |= shift < 64 ? (uint64_t)(b & 0x7f) << shift : 0;
        if (!(b & 0x80)) {
            *out = v;
            return true;
        }
    }
    return false;
}

static uint64_t read_fixed(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

static enum eye_status read_value(struct decoder *d, const ProtobufCMessageDescriptor *type, size_t *at, size_t end,
                                  struct value *v) {
    size_t key_at = *at;
    uint64_t key, n;
    if (!read_varint(d, at, end, &key)) return corrupt(d, type, NULL, key_at, "a field's number does not end");
    v->wire = key & 7;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) return corrupt(d, type, NULL, key_at, "no field has this number");
    v->id = (uint32_t)(key >> 3);
    v->begin = v->whole = *at;
    switch (v->wire) {
    case WIRE_VARINT:
        if (!read_varint(d, at, end, &v->number)) return corrupt(d, type, NULL, v->begin, "a number does not end");
        break;
    case WIRE_64:
    case WIRE_32: {
        size_t size = v->wire == WIRE_64 ? 8 : 4;
        if (end - *at < size) return corrupt(d, type, NULL, v->begin, "the message ends within a number");
        v->number = read_fixed(d->p + *at, size);
        *at += size;
        break;
    }
    case WIRE_SPAN:
        if (!read_varint(d, at, end, &n)) return corrupt(d, type, NULL, v->begin, "a length does not end");
        if (n > end - *at) return corrupt(d, type, NULL, v->begin, "a length goes past the message's end");
        v->begin = *at;
        *at += (size_t)n;
        break;
    default: return corrupt(d, type, NULL, key_at, "a wire type that ONNX does not use");
    }
    v->end = *at;
    return EYE_OK;
}

/* ---- arrays: they hold a power of two (eye_onnx_push relies on it) ---- */

static size_t room_for(size_t n) {
    size_t cap = n ? 1 : 0;
    while (cap < n) cap *= 2;
    return cap;
}

/* Room for more elements of `size` bytes in the repeated field at base; NULL = not taken. */
static char *grow(struct decoder *d, char *base, const ProtobufCFieldDescriptor *f, size_t more, size_t size) {
    size_t *n = (size_t *)(void *)(base + f->quantifier_offset);
    char *old;
    memcpy(&old, base + f->offset, sizeof old);
    size_t cap = room_for(*n + more); /* both counts are below the file's size */
    if (cap > room_for(*n)) {
        char *grown = take(d, cap, size);
        if (!grown) return NULL;
        if (*n) memcpy(grown, old, *n * size);
        memcpy(base + f->offset, &grown, sizeof grown);
        old = grown;
    }
    old += *n * size;
    *n += more;
    return old;
}

static enum eye_status keep_unknown(struct decoder *d, ProtobufCMessage *msg, const struct value *v) {
    unsigned n = msg->n_unknown_fields;
    if (room_for((size_t)n + 1) > room_for(n)) {
        ProtobufCMessageUnknownField *grown = take(d, room_for((size_t)n + 1), sizeof *grown);
        if (!grown) return not_taken(d);
        if (n) memcpy(grown, msg->unknown_fields, n * sizeof *grown);
        msg->unknown_fields = grown;
    }
    msg->unknown_fields[msg->n_unknown_fields++] = (ProtobufCMessageUnknownField){
        .tag = v->id, .wire_type = (ProtobufCWireType)v->wire, .len = v->end - v->whole,
        .data = (uint8_t *)(uintptr_t)(d->p + v->whole)};
    return EYE_OK;
}

/* ---- fields ---- */

static size_t number_size(ProtobufCType type) {
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_FLOAT: return 4;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE: return 8;
    default: return 0; /* no number, or a kind of number that ONNX's schema has none of */
    }
}
static unsigned number_wire(ProtobufCType type) {
    return type == PROTOBUF_C_TYPE_FLOAT ? WIRE_32 : type == PROTOBUF_C_TYPE_DOUBLE ? WIRE_64 : WIRE_VARINT;
}
static void put_number(char *at, size_t size, uint64_t v) {
    uint32_t low = (uint32_t)v;
    if (size == 4) memcpy(at, &low, 4);
    else memcpy(at, &v, 8);
}

/* A SPAN of numbers for a repeated field. */
static enum eye_status read_packed(struct decoder *d, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                                   const struct value *v) {
    size_t size = number_size(f->type), n = 0, at = v->begin;
    unsigned wire = number_wire(f->type);
    if (wire == WIRE_VARINT)
        for (size_t i = v->begin; i < v->end; i++) n += !(d->p[i] & 0x80);
    else if ((v->end - v->begin) % size)
        return corrupt(d, msg->descriptor, f->name, v->begin, "the bytes are no whole number of elements");
    else
        n = (v->end - v->begin) / size;
    char *out = n ? grow(d, (char *)msg, f, n, size) : NULL;
    if (n && !out) return not_taken(d);
    if (wire != WIRE_VARINT) {
        if (n) memcpy(out, d->p + at, n * size);
        return EYE_OK;
    }
    for (size_t i = 0; at < v->end; i++) {
        uint64_t number;
        if (!read_varint(d, &at, v->end, &number)) return corrupt(d, msg->descriptor, f->name, at, "a number does not end");
        put_number(out + i * size, size, number); /* i < n: each number that ends was counted */
    }
    return EYE_OK;
}

static enum eye_status read_text(struct decoder *d, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                                 const struct value *v, char **out) {
    size_t n = v->end - v->begin;
    if (n && memchr(d->p + v->begin, 0, n)) return corrupt(d, msg->descriptor, f->name, v->begin, "text with a zero byte");
    if (!(*out = take(d, n + 1, 1))) return not_taken(d);
    if (n) memcpy(*out, d->p + v->begin, n);
    return EYE_OK;
}

static enum eye_status decode_message(struct decoder *d, ProtobufCMessage *msg, size_t at, size_t end, int depth);

/* One that is there already is added to, as protobuf wants. */
static enum eye_status read_message(struct decoder *d, ProtobufCMessage *parent, const ProtobufCFieldDescriptor *f,
                                    const struct value *v, ProtobufCMessage **slot, int depth) {
    const ProtobufCMessageDescriptor *type = f->descriptor;
    if (depth >= EYE_ONNX_MAX_DEPTH)
        return eye_fail(d->err, EYE_E_LIMIT, "%s: byte %zu, %s.%s: messages are nested deeper than %d", d->m->where, v->begin,
                        parent->descriptor->short_name, f->name, EYE_ONNX_MAX_DEPTH);
    if (!*slot) {
        if (!(*slot = take(d, 1, type->sizeof_message))) return not_taken(d);
        protobuf_c_message_init(type, *slot);
    }
    return decode_message(d, *slot, v->begin, v->end, depth + 1);
}

static enum eye_status read_repeated(struct decoder *d, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                                     const struct value *v, int depth) {
    size_t size = number_size(f->type);
    char *at, *text;
    if (size && v->wire == WIRE_SPAN) return read_packed(d, msg, f, v);
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *sub = NULL; /* first the message, then its place: the array never holds half of one */
        EYE_TRY(read_message(d, msg, f, v, &sub, depth));
        if (!(at = grow(d, (char *)msg, f, 1, sizeof sub))) return not_taken(d);
        memcpy(at, &sub, sizeof sub);
        return EYE_OK;
    }
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        EYE_TRY(read_text(d, msg, f, v, &text));
        if (!(at = grow(d, (char *)msg, f, 1, sizeof text))) return not_taken(d);
        memcpy(at, &text, sizeof text);
        return EYE_OK;
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData bytes = {v->end - v->begin, (uint8_t *)(uintptr_t)(d->p + v->begin)};
        if (!(at = grow(d, (char *)msg, f, 1, sizeof bytes))) return not_taken(d);
        memcpy(at, &bytes, sizeof bytes);
        return EYE_OK;
    }
    if (!(at = grow(d, (char *)msg, f, 1, size))) return not_taken(d);
    put_number(at, size, v->number);
    return EYE_OK;
}

static enum eye_status read_single(struct decoder *d, ProtobufCMessage *msg, const ProtobufCFieldDescriptor *f,
                                   const struct value *v, int depth) {
    char *base = (char *)msg, *at = base + f->offset;
    uint32_t set = 1, *has = f->quantifier_offset ? (uint32_t *)(void *)(base + f->quantifier_offset) : NULL;
    bool oneof = (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
    if (oneof && *has != f->id) memset(at, 0, 8); /* another member of the union was there: the last one counts */
    if (oneof) set = f->id;
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage *sub;
        memcpy(&sub, at, sizeof sub);
        EYE_TRY(read_message(d, msg, f, v, &sub, depth));
        memcpy(at, &sub, sizeof sub);
    } else if (f->type == PROTOBUF_C_TYPE_STRING) {
        char *text;
        EYE_TRY(read_text(d, msg, f, v, &text));
        memcpy(at, &text, sizeof text);
    } else if (f->type == PROTOBUF_C_TYPE_BYTES) {
        ProtobufCBinaryData bytes = {v->end - v->begin, (uint8_t *)(uintptr_t)(d->p + v->begin)};
        memcpy(at, &bytes, sizeof bytes);
    } else {
        put_number(at, number_size(f->type), v->number);
    }
    if (has) *has = set;
    return EYE_OK;
}
_Static_assert(sizeof(protobuf_c_boolean) == 4 && sizeof(EyeOnnx__TypeProto__ValueCase) == 4, "quantifiers are 32 bits");
_Static_assert(sizeof(void *) <= 8 && sizeof(int64_t) == 8, "a union of a schema's oneof is at most 8 bytes");

static enum eye_status decode_message(struct decoder *d, ProtobufCMessage *msg, size_t at, size_t end, int depth) {
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    while (at < end) {
        struct value v = {0};
        EYE_TRY(read_value(d, type, &at, end, &v));
        const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(type, v.id);
        if (!f) {
            EYE_TRY(keep_unknown(d, msg, &v));
            continue;
        }
        size_t size = number_size(f->type);
        bool repeated = f->label == PROTOBUF_C_LABEL_REPEATED;
        bool fits = size ? v.wire == number_wire(f->type) || (repeated && v.wire == WIRE_SPAN) : v.wire == WIRE_SPAN;
        if (!fits) return corrupt(d, type, f->name, v.begin, "the field has another wire type");
        EYE_TRY(repeated ? read_repeated(d, msg, f, &v, depth) : read_single(d, msg, f, &v, depth));
    }
    return EYE_OK;
}

enum eye_status eye_onnx_decode(struct eye_onnx *m, const uint8_t *p, size_t n, struct eye_err *err) {
    struct eye_err own; /* take() leaves its status there */
    if (n > EYE_ONNX_MAX_FILE)
        return eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes; a protobuf message has at most %zu (weights beyond that are kept in "
                                          "data files)", m->where, n, EYE_ONNX_MAX_FILE);
    struct decoder d = {.m = m, .p = p, .left = ((size_t)64 << 20) + 16 * n, .err = err ? err : &own};
    EyeOnnx__ModelProto *model = take(&d, 1, sizeof *model);
    if (!model) return not_taken(&d);
    eye_onnx__model_proto__init(model);
    m->model = model;
    return decode_message(&d, &model->base, 0, n, 0);
}
