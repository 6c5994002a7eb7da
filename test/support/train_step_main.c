/* One step's loss and gradients of a checkpoint, and what AdamW makes of its weights in some steps, for
 * test/reference/train.py: the batch of train_model.h, by the oracle or the engine, and everything that PyTorch needs to do the
 * same, as one .safetensors file. Usage: see below. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "format/safetensors_write.h"
#include "support/train_model.h"
#include "train/optim.h"

#define USAGE "usage: train_step FOLDER -o FILE [--images N] [--train-norms] [--engine THREADS [--bf16]] [--steps N]\n"

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

struct runner {
    const struct eye_train_model *t;
    struct eye_engine engine; /* the optimiser's as well */
    struct eye_plan *plan;    /* NULL: the oracle computes */
    struct eye_exec *exec;
    struct eye_ref_io *out;   /* loss, gradients, statistics: where they go */
    size_t n_out;
};

static void start(struct runner *r, const struct eye_train_model *t, int n_threads, bool bf16) {
    struct eye_err err;
    struct eye_plan_opts opts = {.max_t = t->bind.t, .max_ctx = EYE_TM_CONTEXT, .train_bf16 = bf16};
    *r = (struct runner){.t = t};
    must(eye_engine_init(&r->engine, n_threads ? n_threads : 1, UINT32_MAX, NULL, &err), &err);
    if (!n_threads) return;
    must(eye_plan_new(&r->plan, &r->engine, &t->g, &opts, &err), &err);
    must(eye_exec_new(&r->exec, r->plan, &err), &err);
}

static void stop(struct runner *r) {
    eye_exec_free(r->exec);
    eye_plan_free(r->plan);
    eye_engine_clear(&r->engine);
    free(r->out);
}

static void run(const struct runner *r) {
    const struct eye_train_model *t = r->t;
    struct eye_err err;
    if (!r->exec) {
        must(eye_graph_eval_ref(&t->g, &t->bind, t->in, t->n_in, r->out, r->n_out, &err), &err);
        return;
    }
    struct eye_io in[EYE_COUNT(t->in)], *out = memory(r->n_out * sizeof *out);
    for (size_t i = 0; i < t->n_in; i++) in[i] = (struct eye_io){t->in[i].v, t->in[i].data};
    for (size_t i = 0; i < r->n_out; i++) out[i] = (struct eye_io){r->out[i].v, r->out[i].data};
    must(eye_exec_run(r->exec, NULL, &t->bind, in, t->n_in, out, r->n_out, NULL, NULL, &err), &err);
    free(out);
}

/* Room for what a run gives. */
static void put_results(struct list *l, struct runner *r) {
    const struct eye_train_model *t = r->t;
    r->out = memory((t->n_params + t->n_norms + 1) * sizeof *r->out);
#define PUT(v, prefix, name) (r->out[r->n_out++] = (struct eye_ref_io){v, put(l, t, v, prefix, name, NULL)})
    PUT(t->loss, "", "loss");
    for (size_t i = 0; i < t->n_params; i++)
        if (t->param[i].grad != EYE_NONE) PUT(t->param[i].grad, "grad.", eye_value_at(&t->g, t->param[i].v)->name);
    for (size_t i = 0; i < t->n_norms; i++) PUT(t->norm[i].stats, "stats.", eye_value_at(&t->g, t->norm[i].mean)->name);
#undef PUT
}

/* Steps of AdamW on all weights, clipped at 1; the gradients that stay are the last step's. */
static void steps(struct runner *r, int n_steps) {
    const struct eye_train_model *t = r->t;
    struct eye_optim_param *p = memory(t->n_params * sizeof *p);
    size_t n = 0;
    for (size_t i = 0; i < t->n_params; i++) {
        size_t bytes = (size_t)t->param[i].n * sizeof(float);
        if (t->param[i].grad == EYE_NONE) continue;
        p[n] = (struct eye_optim_param){.w = t->param[i].data, .g = r->out[n + 1].data, .m = memory(bytes), .v = memory(bytes),
                                        .n = (size_t)t->param[i].n, .lr = 1e-3, .weight_decay = 0.05};
        n++;
    }
    for (int k = 1; k <= n_steps; k++) {
        struct eye_optim_hyper h = {.kind = EYE_OPTIM_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .step = k};
        run(r);
        h.grad_scale = eye_optim_clip(eye_optim_norm(&r->engine, p, n), 1);
        eye_optim_step(&r->engine, &h, p, n);
    }
    for (size_t i = 0; i < n; i++) {
        free(p[i].m);
        free(p[i].v);
    }
    free(p);
}

int main(int argc, char **argv) {
    struct eye_err err;
    struct eye_opened m;
    struct eye_train_model t;
    struct eye_tm_opts o = {0};
    struct runner r;
    const char *path = NULL, *to = NULL;
    int n_threads = 0, n_steps = 0;
    bool bf16 = false;
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "-o") == 0 && more) to = argv[++i];
        else if (strcmp(argv[i], "--images") == 0 && more) o.n_images = strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--engine") == 0 && more) n_threads = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--steps") == 0 && more) n_steps = (int)strtol(argv[++i], NULL, 10);
        else if (strcmp(argv[i], "--train-norms") == 0) o.train_norms = true;
        else if (strcmp(argv[i], "--bf16") == 0) bf16 = true;
        else path = argv[i];
    }
    if (!path || !to) return fputs(USAGE, stderr), 2;
    eye_open_model(&m, path);
    eye_train_model(&t, &m.m, &o);
    start(&r, &t, n_threads, bf16);
    struct list l = {memory((2 * t.n_params + t.n_norms + 8) * sizeof *l.t), 0};
    put_results(&l, &r);
    size_t n_made = l.n;
    for (size_t i = 0; i < t.n_in; i++)
        if (strcmp(eye_value_at(&t.g, t.in[i].v)->name, "seed") != 0)
            put(&l, &t, t.in[i].v, "", eye_value_at(&t.g, t.in[i].v)->name, t.in[i].data);
    if (n_steps) steps(&r, n_steps);
    else run(&r);
    for (size_t i = 0; i < t.n_params && n_steps; i++)
        put(&l, &t, t.param[i].v, "weight.", eye_value_at(&t.g, t.param[i].v)->name, t.param[i].data);
    must(eye_safetensors_write(to, l.t, l.n, NULL, 0, NULL, &err), &err);
    for (size_t i = 0; i < l.n; i++) {
        free((void *)(uintptr_t)l.t[i].name);
        if (i < n_made) free((void *)(uintptr_t)l.t[i].t.data);
    }
    free(l.t);
    stop(&r);
    eye_train_model_clear(&t);
    eye_close_model(&m);
    return 0;
}
