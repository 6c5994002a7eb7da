/* compiled: models that were packed ahead of time. The file says how its weights are laid out; here is decided whether the
 * kernels of this machine read them so. Layouts are compared, not names of CPUs: a file that was made elsewhere runs wherever
 * the same numbers become the same bytes. */
#include <stdio.h>
#include <string.h>

#include "session/session_impl.h"

static const void *find(const void *ctx, const char *form, const char *name, size_t *bytes) {
    return eye_compiled_find(ctx, form, name, bytes);
}

/* The first form that these CPU features lay out in another way, or NULL. */
static const struct eye_compiled_form *other_layout(const struct eye_compiled *c, uint32_t cpu_flags, const char **kernel) {
    struct eye_kernels k;
    eye_kernels_init(&k, cpu_flags);
    for (size_t i = 0; i < c->n_forms; i++) {
        uint64_t layout;
        *kernel = "nothing";
        if (!eye_packed_layout(&k, c->form[i].name, kernel, &layout) || layout != c->form[i].layout) return &c->form[i];
    }
    return NULL;
}

/* The features of the CPU it was made for. */
static uint32_t made_for(const struct eye_compiled *c) {
    char names[256];
    uint32_t flags = 0;
    size_t n = EYE_MIN(c->cpu.len, sizeof names - 1);
    if (n) memcpy(names, c->cpu.p, n);
    names[n] = '\0';
    (void)eye_cpu_parse(names, &flags); /* names of another build's features count for nothing */
    return flags;
}

/* Where in the mapping something lies; what does not lie there comes out beyond its end. */
static size_t place(const struct eye_gguf *g, const void *p) { return (uintptr_t)p - (uintptr_t)g->map.p; }

/* The disk is the slowest part of a start. The decoder, of which every answer needs all, is read while tokenizer and plans are
 * made and, for a picture, while the tower computes, whose own pages come when it touches them: an answer to text needs none.
 * Of the embedding a prompt reads some rows. */
static void expect_reading(struct eye_model *m) {
    const struct eye_compiled *c = &m->ckpt.compiled;
    struct eye_gguf *g = &m->ckpt.gguf;
    const struct eye_entry *rows = eye_table_find(&g->table, "token_embd.weight");
    if (rows) eye_map_sparse(&g->map, place(g, rows->t.data), rows->bytes);
    eye_map_huge(&g->map, place(g, c->panels));
    if (!m->opts.no_mmap) eye_map_ahead(&g->map, place(g, c->decoder));
}

enum eye_status eye_model_open_compiled(struct eye_model *m, struct eye_err *err) {
    const struct eye_compiled *c = &m->ckpt.compiled;
    const char *kernel;
    uint32_t less = m->cpu_flags & made_for(c);
    const struct eye_compiled_form *f = other_layout(c, m->cpu_flags, &kernel);
    if (f && less != m->cpu_flags && !other_layout(c, less, &kernel)) {
        char names[128];
        m->cpu_flags = less;
        eye_cpu_names(less, names, sizeof names);
        eye_model_log(m, EYE_LOG_WARNING, "model.compiled-for-less",
                      "%s: compiled for a CPU with %s only; compiled on this one it would run faster", m->ckpt.path, names);
        f = NULL;
    }
    if (f) {
        (void)other_layout(c, m->cpu_flags, &kernel);
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: compiled for another kind of CPU (%.*s) or by another eyelet: its weights "
                        "lie as %.*s wants them, this machine has %s; compile the model again here", m->ckpt.path,
                        (int)EYE_MIN(c->cpu.len, 100), c->cpu.p ? c->cpu.p : "", (int)EYE_MIN(f->kernel.len, 64), f->kernel.p,
                        kernel);
    }
    expect_reading(m);
    m->packed = (struct eye_packed){.find = find, .ctx = &m->ckpt.gguf, .copy = m->opts.no_mmap};
    return EYE_OK;
}
