/* format/compiled: see compiled.h. */
#include "format/compiled.h"

#include <stdio.h>
#include <string.h>

bool eye_gguf_is_compiled(const struct eye_gguf *g) { return eye_gguf_find(g, EYE_COMPILED_KEY "version") != NULL; }

bool eye_compiled_is_packed(const char *name) {
    return strncmp(name, EYE_COMPILED_PREFIX, strlen(EYE_COMPILED_PREFIX)) == 0;
}

/* An array of n items (SIZE_MAX: any number) of a type; an absent one has none. */
static enum eye_status array(const struct eye_gguf *g, const char *key, enum eye_gguf_type type, size_t n,
                             const struct eye_gguf_kv **out, struct eye_err *err) {
    static const struct eye_gguf_kv none = {.key = ""};
    const struct eye_gguf_kv *kv = eye_gguf_find(g, key);
    *out = kv ? kv : &none;
    if (kv && (!kv->is_array || kv->type != type))
        return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%s\": expected an array of %s", g->table.where, key,
                        eye_gguf_type_name(type));
    if (n == SIZE_MAX || (*out)->n == n) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "%s: key \"%s\": expected %zu items, got %zu", g->table.where, key, n, (*out)->n);
}

static enum eye_status read_version(const struct eye_gguf *g, struct eye_err *err) {
    int64_t version;
    EYE_TRY(eye_gguf_int(g, EYE_COMPILED_KEY "version", 0, &version, err));
    if (version == EYE_COMPILED_VERSION) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: a compiled file of version %lld; this eyelet reads version %d: compile the "
                    "model again", g->table.where, (long long)version, EYE_COMPILED_VERSION);
}

static enum eye_status read_forms(struct eye_compiled *c, const struct eye_gguf *g, struct eye_arena *arena,
                                  struct eye_err *err) {
    const struct eye_gguf_kv *names, *kernels, *layouts;
    EYE_TRY(array(g, EYE_COMPILED_KEY "forms", EYE_GGUF_STRING, SIZE_MAX, &names, err));
    EYE_TRY(array(g, EYE_COMPILED_KEY "kernels", EYE_GGUF_STRING, names->n, &kernels, err));
    EYE_TRY(array(g, EYE_COMPILED_KEY "layouts", EYE_GGUF_U64, names->n, &layouts, err));
    if (names->n > EYE_COMPILED_MAX_FORMS)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu forms of packed weights, expected at most %d", g->table.where, names->n,
                        EYE_COMPILED_MAX_FORMS);
    c->form = eye_arena_alloc(arena, names->n * sizeof *c->form);
    if (!c->form) return eye_fail_nomem(err, names->n * sizeof *c->form);
    for (size_t i = 0; i < names->n; i++) {
        struct eye_compiled_form *f = &c->form[c->n_forms++];
        struct eye_str s = names->string[i];
        if (s.len == 0 || s.len >= sizeof f->name || memchr(s.p, 0, s.len))
            return eye_fail(err, EYE_E_CORRUPT, "%s: form %zu of packed weights has no name", g->table.where, i);
        memcpy(f->name, s.p, s.len);
        f->name[s.len] = '\0';
        f->kernel = kernels->string[i];
        f->layout = (uint64_t)eye_gguf_item_int(layouts, i);
    }
    return EYE_OK;
}

static enum eye_status bad_absent(const struct eye_gguf *g, const char *name, const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: weight \"%.100s\" (only packed): %s", g->table.where, name, what);
}

static enum eye_status read_absent(struct eye_entry *e, const struct eye_gguf *g, const struct eye_gguf_kv *dims, size_t i,
                                   uint32_t type, struct eye_err *err) {
    if (!eye_gguf_ggml_dtype(type, &e->t.dtype)) return bad_absent(g, e->name, "an unknown type", err);
    for (size_t k = 0; k < 4; k++) {
        int64_t d = eye_gguf_item_int(dims, 4 * i + k);
        if (d == 0) break;
        if (d < 0) return bad_absent(g, e->name, "a negative dimension", err);
        e->t.dims[e->t.rank++] = d;
    }
    if (e->t.rank == 0 || !eye_tensor_bytes(&e->t, &e->bytes)) return bad_absent(g, e->name, "no shape", err);
    if (eye_compiled_is_packed(e->name) || eye_table_find(&g->table, e->name))
        return bad_absent(g, e->name, "it is there as well", err);
    return EYE_OK;
}

static enum eye_status read_weights(struct eye_compiled *c, const struct eye_gguf *g, struct eye_arena *arena,
                                    struct eye_err *err) {
    const struct eye_gguf_kv *names, *types, *dims;
    size_t bytes, n_dims;
    EYE_TRY(array(g, EYE_COMPILED_KEY "weights", EYE_GGUF_STRING, SIZE_MAX, &names, err));
    EYE_TRY(array(g, EYE_COMPILED_KEY "types", EYE_GGUF_U32, names->n, &types, err));
    if (!eye_mul_ok(names->n, 4, &n_dims) || !eye_mul_ok(names->n, sizeof *c->absent, &bytes))
        return eye_fail_nomem(err, SIZE_MAX);
    EYE_TRY(array(g, EYE_COMPILED_KEY "dims", EYE_GGUF_I64, n_dims, &dims, err));
    if (!(c->absent = eye_arena_alloc(arena, bytes))) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < names->n; i++) {
        struct eye_entry *e = &c->absent[c->n_absent];
        struct eye_str s = names->string[i];
        if (s.len == 0 || s.len > 65535 || memchr(s.p, 0, s.len)) return bad_absent(g, "", "no name", err);
        if (!(e->name = eye_arena_strdup(arena, s.p, s.len))) return eye_fail_nomem(err, s.len + 1);
        EYE_TRY(read_absent(e, g, dims, i, (uint32_t)eye_gguf_item_int(types, i), err));
        c->n_absent++;
    }
    return EYE_OK;
}

static enum eye_status read_places(struct eye_compiled *c, const struct eye_gguf *g, struct eye_err *err) {
    int64_t decoder;
    EYE_TRY(eye_gguf_int(g, EYE_COMPILED_KEY "decoder", -1, &decoder, err));
    for (size_t i = 0; i < g->table.n; i++) {
        const struct eye_entry *e = &g->table.entry[i];
        if (!eye_compiled_is_packed(e->name)) continue;
        if (e->t.dtype != EYE_I8 || e->t.rank != 1)
            return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\": expected bytes", g->table.where, e->name);
        if (!c->panels) c->panels = e->t.data;
        if ((int64_t)i == decoder) c->decoder = e->t.data;
    }
    if (decoder == -1 || c->decoder) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "%s: key \"" EYE_COMPILED_KEY "decoder\": expected the number of a packed tensor, got "
                    "%lld", g->table.where, (long long)decoder);
}

enum eye_status eye_compiled_read(struct eye_compiled *c, const struct eye_gguf *g, struct eye_arena *arena,
                                  struct eye_err *err) {
    *c = (struct eye_compiled){0};
    EYE_TRY(read_version(g, err));
    EYE_TRY(eye_gguf_str(g, EYE_COMPILED_KEY "cpu", &c->cpu, err));
    EYE_TRY(read_places(c, g, err));
    EYE_TRY(read_forms(c, g, arena, err));
    return read_weights(c, g, arena, err);
}

const void *eye_compiled_find(const struct eye_gguf *g, const char *form, const char *name, size_t *bytes) {
    char full[512];
    int n = snprintf(full, sizeof full, EYE_COMPILED_PREFIX "%s.%s", form, name);
    const struct eye_entry *e = n > 0 && (size_t)n < sizeof full ? eye_table_find(&g->table, full) : NULL;
    if (!e) return NULL;
    *bytes = e->bytes;
    return e->t.data;
}

enum eye_status eye_compiled_check(const struct eye_gguf *g, struct eye_err *err) {
    const struct eye_gguf_kv *sums;
    EYE_TRY(array(g, EYE_COMPILED_KEY "sums", EYE_GGUF_U64, g->table.n, &sums, err));
    for (size_t i = 0; i < g->table.n; i++) {
        const struct eye_entry *e = &g->table.entry[i];
        if (eye_hash64(e->t.data, e->bytes, 0) == (uint64_t)eye_gguf_item_int(sums, i)) continue;
        return eye_fail(err, EYE_E_CORRUPT, "%s: tensor \"%.100s\": its bytes are not those that were written: make or copy "
                        "the file again", g->table.where, e->name);
    }
    return EYE_OK;
}
