/* One step's loss and gradients of a checkpoint, for test/reference/train.py: the batch of train_model.h, by the oracle or the
 * engine, and everything that PyTorch needs to do the same, as one .safetensors file.
 * Usage: train_step FOLDER -o FILE [--images N] [--train-norms] [--engine THREADS [--bf16]] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "format/safetensors_write.h"
#include "support/train_model.h"

struct list {
    struct eye_named_tensor *t;
    size_t n;
};

static void must(enum eye_status st, const struct eye_err *err) {
    if (st == EYE_OK) return;
    fprintf(stderr, "train_step: %s: %s\n", eye_status_name(st), err->text);
    exit(1);
}

static void *memory(size_t bytes) {
    void *p = calloc(bytes + 1, 1);
    if (!p) abort();
    return p;
}

/* v of graph g under prefix + its name; data NULL: room for it. Returns the data. */
static void *put(struct list *l, const struct eye_train_model *t, eye_val v, const char *prefix, const char *name, void *data) {
    const struct eye_value *x = eye_value_at(&t->g, v);
    struct eye_named_tensor *e = &l->t[l->n++];
    char *full = memory(strlen(prefix) + strlen(name));
    int64_t n;
    if (!eye_value_elems(x, &t->bind, &n)) abort();
    strcat(strcpy(full, prefix), name);
    *e = (struct eye_named_tensor){full, {.dtype = x->dtype, .rank = x->rank}};
    for (int i = 0; i < x->rank; i++) e->t.dims[i] = x->dims[i] == EYE_DIM_T ? t->bind.t : x->dims[i];
    e->t.data = data ? data : memory((size_t)n * 4);
    return (void *)(uintptr_t)e->t.data;
}

static void by_engine(const struct eye_train_model *t, int n_threads, bool bf16, struct eye_ref_io *out, size_t n_out) {
    struct eye_err err;
    struct eye_engine e;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_plan_opts opts = {.max_t = t->bind.t, .train_bf16 = bf16};
    must(eye_engine_init(&e, n_threads, UINT32_MAX, NULL, &err), &err);
    must(eye_plan_new(&plan, &e, &t->g, &opts, &err), &err);
    must(eye_exec_new(&x, plan, &err), &err);
    struct eye_io in[6], *o = memory(n_out * sizeof *o);
    size_t n_in = 0;
    for (size_t i = 0; i < t->n_in; i++)
        for (size_t k = 0; k < t->g.n_inputs; k++)
            if (t->g.input[k] == t->in[i].v) in[n_in++] = (struct eye_io){t->in[i].v, t->in[i].data};
    for (size_t i = 0; i < n_out; i++) o[i] = (struct eye_io){out[i].v, out[i].data};
    must(eye_exec_run(x, NULL, &t->bind, in, n_in, o, n_out, NULL, NULL, &err), &err);
    free(o);
    eye_exec_free(x);
    eye_plan_free(plan);
    eye_engine_clear(&e);
}

static void write_results(struct list *l, const struct eye_train_model *t, int n_threads, bool bf16) {
    struct eye_err err;
    size_t first = l->n, n = 0;
    eye_val *v = memory((t->n_params + t->n_norms + 1) * sizeof *v);
    put(l, t, v[n++] = t->loss, "", "loss", NULL);
    for (size_t i = 0; i < t->n_params; i++)
        if (t->param[i].grad != EYE_NONE)
            put(l, t, v[n++] = t->param[i].grad, "grad.", eye_value_at(&t->g, t->param[i].v)->name, NULL);
    for (size_t i = 0; i < t->n_norms; i++)
        put(l, t, v[n++] = t->norm[i].stats, "stats.", eye_value_at(&t->g, t->norm[i].mean)->name, NULL);
    struct eye_ref_io *out = memory(n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = (struct eye_ref_io){v[i], (void *)(uintptr_t)l->t[first + i].t.data};
    if (n_threads) by_engine(t, n_threads, bf16, out, n);
    else must(eye_graph_eval_ref(&t->g, &t->bind, t->in, t->n_in, out, n, &err), &err);
    free(out);
    free(v);
}

int main(int argc, char **argv) {
    struct eye_err err;
    struct eye_opened m;
    struct eye_train_model t;
    struct eye_tm_opts o = {0};
    const char *path = NULL, *to = NULL;
    int n_threads = 0;
    bool bf16 = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "-o") == 0 && more) to = argv[++i];
        else if (strcmp(argv[i], "--images") == 0 && more) o.n_images = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--engine") == 0 && more) n_threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--train-norms") == 0) o.train_norms = true;
        else if (strcmp(argv[i], "--bf16") == 0) bf16 = true;
        else path = argv[i];
    }
    if (!path || !to) {
        fprintf(stderr, "usage: train_step FOLDER -o FILE [--images N] [--train-norms] [--engine THREADS [--bf16]]\n");
        return 2;
    }
    eye_open_model(&m, path);
    eye_train_model(&t, &m.m, &o);
    struct list l = {memory((t.n_params + t.n_norms + 8) * sizeof *l.t), 0};
    for (size_t i = 0; i < t.n_in; i++)
        if (strcmp(eye_value_at(&t.g, t.in[i].v)->name, "seed") != 0)
            put(&l, &t, t.in[i].v, "", eye_value_at(&t.g, t.in[i].v)->name, t.in[i].data);
    size_t n_in = l.n;
    write_results(&l, &t, n_threads, bf16);
    must(eye_safetensors_write(to, l.t, l.n, NULL, 0, NULL, &err), &err);
    for (size_t i = 0; i < l.n; i++) {
        free((void *)(uintptr_t)l.t[i].name);
        if (i >= n_in) free((void *)(uintptr_t)l.t[i].t.data);
    }
    free(l.t);
    eye_train_model_clear(&t);
    eye_close_model(&m);
    return 0;
}
