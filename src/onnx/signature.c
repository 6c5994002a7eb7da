/* onnx/signature: whether a graph's inputs and outputs are what a signature (signature_read.c) says.
 *
 * Names that the caller does not settle get the value that most tensors give them: so one wrong tensor is one mismatch, and not
 * a hundred. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnx/signature.h"

/* ---- what the caller settles ---- */

static enum eye_status settle(struct matcher *k, const char *name, size_t len, int64_t value, struct eye_err *err) {
    for (size_t i = 0; i < k->n_vars; i++)
        if (strlen(k->var[i].name) == len && memcmp(k->var[i].name, name, len) == 0) {
            k->var[i].value = value;
            k->var[i].settled = true;
            return EYE_OK;
        }
    return eye_fail(err, EYE_E_ARG, "signature %s has no size called \"%.*s\"", k->name, (int)EYE_MIN(len, 40), name);
}

static enum eye_status settle_all(struct matcher *k, const struct eye_onnx_check_opts *o, struct eye_err *err) {
    if (o->cache_len < 0 || o->cache_len > MAX_SIZE || o->n_layers < 0)
        return eye_fail(err, EYE_E_ARG, "cache length or layers: expected a positive number");
    if (o->cache_len) EYE_TRY(settle(k, "cache", 5, o->cache_len, err));
    for (size_t i = 0; i < o->n_dims; i++) {
        const char *eq = strchr(o->dim[i], '=');
        char *end;
        long long v = eq ? strtoll(eq + 1, &end, 10) : -1;
        if (!eq || end == eq + 1 || *end || v < 0 || v > MAX_SIZE)
            return eye_fail(err, EYE_E_ARG, "size \"%.80s\": expected NAME=NUMBER", o->dim[i]);
        EYE_TRY(settle(k, o->dim[i], (size_t)(eq - o->dim[i]), v, err));
    }
    return EYE_OK;
}

/* ---- pairing ---- */

static bool is_initializer(const EyeOnnx__GraphProto *g, const char *name, const struct eye_strmap *map) {
    return g->n_initializer && eye_strmap_get(map, name, strlen(name)) >= 0;
}

/* Inputs that a caller gives: old files list initializers among them too. */
static enum eye_status list_inputs(struct matcher *k, const EyeOnnx__ValueInfoProto ***out, size_t *n, struct eye_err *err) {
    const EyeOnnx__GraphProto *g = k->m->model->graph;
    struct eye_strmap map;
    enum eye_status st = EYE_OK;
    *n = 0;
    if (!(*out = eye_arena_alloc(&k->arena, (g->n_input + 1) * sizeof **out))) return eye_fail_nomem(err, g->n_input);
    eye_strmap_init(&map, NULL);
    for (size_t i = 0; i < g->n_initializer; i++) {
        const char *name = eye_onnx_str(g->initializer[i]->name);
        EYE_TRY_GOTO(eye_strmap_put(&map, name, strlen(name), (int32_t)i, NULL, err));
    }
    for (size_t i = 0; i < g->n_input; i++)
        if (!is_initializer(g, eye_onnx_str(g->input[i]->name), &map)) (*out)[(*n)++] = g->input[i];
fail:
    eye_strmap_clear(&map);
    return st;
}

struct sides {
    const EyeOnnx__ValueInfoProto **v[2];
    size_t n[2];
};

/* Of each "either" the branch of which most names are there; the first of equals. Others are dropped. */
static void choose_branches(struct matcher *k, const struct sides *s) {
    for (int g = 1; g <= (int)k->n_groups; g++) {
        int best = 0, most = -1, last = 0;
        for (size_t i = 0; i < k->n_specs; i++)
            if (k->spec[i].group == g) last = EYE_MAX(last, k->spec[i].branch);
        for (int b = 0; b <= last; b++) {
            int n = 0;
            for (size_t i = 0; i < k->n_specs; i++) {
                const struct spec *p = &k->spec[i];
                int64_t layer;
                for (size_t v = 0; p->group == g && p->branch == b && v < s->n[p->output]; v++)
                    n += eye_onnx_name_match(p->pattern, eye_onnx_str(s->v[p->output][v]->name), &layer);
            }
            if (n > most) best = b, most = n;
        }
        size_t kept = 0;
        for (size_t i = 0; i < k->n_specs; i++)
            if (k->spec[i].group != g || k->spec[i].branch == best) k->spec[kept++] = k->spec[i];
        k->n_specs = kept;
    }
}

static enum eye_status count_layers(struct matcher *k, const struct sides *s, int64_t wanted, struct eye_err *err) {
    bool layered = false;
    for (size_t i = 0; i < k->n_specs; i++) {
        int64_t layer;
        layered = layered || k->spec[i].layered;
        for (size_t v = 0; k->spec[i].layered && v < s->n[k->spec[i].output]; v++)
            if (eye_onnx_name_match(k->spec[i].pattern, eye_onnx_str(s->v[k->spec[i].output][v]->name), &layer) &&
                layer < MAX_LAYERS)
                k->layers = EYE_MAX(k->layers, layer + 1);
    }
    if (wanted && !layered) return eye_fail(err, EYE_E_ARG, "signature %s has no layers", k->name);
    if (wanted > MAX_LAYERS) return eye_fail(err, EYE_E_ARG, "%lld layers: expected at most %d", (long long)wanted, MAX_LAYERS);
    if (wanted) k->layers = wanted;
    if (layered) k->layers = EYE_MAX(k->layers, 1);
    return EYE_OK;
}

static enum eye_status add_entry(struct matcher *k, const struct spec *p, int64_t layer, const struct sides *s,
                                 struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    eye_onnx_name_fill(p->pattern, layer, &b);
    char *name = b.failed ? NULL : eye_arena_strdup(&k->arena, b.p ? b.p : "", b.len);
    const char *tagged = name ? eye_arena_printf(&k->arena, "%s%s", p->output ? "\t" : "", name) : NULL;
    eye_buf_clear(&b);
    if (!tagged) return eye_fail_nomem(err, strlen(p->pattern));
    EYE_TRY(eye_strmap_put(&k->names, tagged, strlen(tagged), (int32_t)k->n_entries, NULL, err));
    EYE_TRY(eye_alloc_grow(NULL, (void **)&k->entry, &k->cap, k->n_entries + 1, sizeof *k->entry, err));
    k->entry[k->n_entries++] = (struct entry){.spec = p, .name = name};
    return EYE_OK;
}

static enum eye_status pair(struct matcher *k, const struct sides *s, struct eye_onnx_report *r, struct eye_err *err) {
    for (int side = 0; side < 2; side++)
        for (size_t i = 0; i < k->n_specs; i++) /* tensors of one layer stand together, as in the files */
            if (k->spec[i].output == side && !k->spec[i].layered) EYE_TRY(add_entry(k, &k->spec[i], 0, s, err));
    for (int64_t layer = 0; layer < k->layers; layer++)
        for (size_t i = 0; i < k->n_specs; i++)
            if (k->spec[i].layered) EYE_TRY(add_entry(k, &k->spec[i], layer, s, err));
    for (int side = 0; side < 2; side++)
        for (size_t v = 0; v < s->n[side]; v++) {
            const char *name = eye_onnx_str(s->v[side][v]->name);
            char *tagged = eye_arena_printf(&k->arena, "%s%s", side ? "\t" : "", name);
            if (!tagged) return eye_fail_nomem(err, strlen(name));
            int32_t at = eye_strmap_get(&k->names, tagged, strlen(tagged));
            if (at < 0) {
                EYE_TRY(eye_onnx_report_add(r, side ? EYE_ONNX_UNEXPECTED_OUTPUT : EYE_ONNX_UNEXPECTED_INPUT, name,
                                            "not in the signature", err));
                continue;
            }
            k->entry[at].value = s->v[side][v];
            k->entry[at].is = eye_onnx_shape_of(s->v[side][v]);
        }
    return EYE_OK;
}

/* ---- what names stand for ---- */

struct vote {
    int64_t value;
    size_t n;
};

static void cast(struct vote *vote, size_t *n, size_t cap, int64_t value) {
    for (size_t i = 0; i < *n; i++)
        if (vote[i].value == value) {
            vote[i].n++;
            return;
        }
    if (*n < cap) vote[(*n)++] = (struct vote){value, 1};
}
static int64_t winner(const struct vote *vote, size_t n, int64_t none) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (vote[i].n > vote[best].n) best = i;
    return n ? vote[best].value : none;
}

/* The only shape that can be meant, or -1. */
static int sole_shape(const struct entry *e) {
    int found = -1;
    for (size_t i = 0; i < e->spec->n_shapes && e->value && e->is.known; i++) {
        if (e->spec->shape[i].rank != e->is.rank) continue;
        if (found >= 0) return -1;
        found = (int)i;
    }
    return found;
}

static void choose_values(struct matcher *k) {
    struct vote vote[64];
    size_t n = 0;
    for (size_t i = 0; i < k->n_entries; i++)
        if (k->entry[i].spec->precision && k->entry[i].value && k->entry[i].is.type > 0 && k->entry[i].is.type < 32 &&
            (FLOATS >> k->entry[i].is.type & 1))
            cast(vote, &n, EYE_COUNT(vote), k->entry[i].is.type);
    k->precision = (int)winner(vote, n, EYE_ONNX_F32);
    for (size_t v = 0; v < k->n_vars; v++) {
        n = 0;
        for (size_t i = 0; i < k->n_entries && !k->var[v].settled; i++) {
            const struct entry *e = &k->entry[i];
            int shape = sole_shape(e);
            for (size_t d = 0; shape >= 0 && d < e->is.rank; d++) {
                const struct expr *x = &e->spec->shape[shape].dim[d];
                if (x->n != 1 || x->term[0].var != (int)v || x->term[0].over != 1) continue;
                if (e->is.dim[d] > MAX_SIZE) continue;
                if (e->is.dim[d] >= 0 || !k->is_static) cast(vote, &n, EYE_COUNT(vote),
                                                             e->is.dim[d] >= 0 ? e->is.dim[d] : DYNAMIC);
            }
        }
        if (n) k->var[v].value = winner(vote, n, UNBOUND);
    }
}

/* A name that only sums hold, from the first of them that says it. */
static void solve_sums(struct matcher *k) {
    for (size_t i = 0; i < k->n_entries; i++) {
        const struct entry *e = &k->entry[i];
        int shape = sole_shape(e);
        for (size_t d = 0; shape >= 0 && d < e->is.rank; d++) {
            const struct expr *x = &e->spec->shape[shape].dim[d];
            const struct term *open = NULL;
            int64_t rest = e->is.dim[d];
            size_t n_open = 0;
            for (size_t t = 0; t < x->n; t++) {
                int64_t v = x->term[t].var < 0 ? x->term[t].number : k->var[x->term[t].var].value;
                if (v == UNBOUND) open = &x->term[t], n_open++;
                else if (v == DYNAMIC) rest = -1;
                else rest -= v / x->term[t].over;
            }
            if (n_open == 1 && rest >= 0 && rest < INT32_MAX) k->var[open->var].value = rest * open->over;
        }
    }
}

static int64_t evaluate(const struct matcher *k, const struct expr *e) {
    int64_t sum = e->n ? 0 : UNBOUND;
    for (size_t t = 0; t < e->n; t++) {
        int64_t v = e->term[t].var < 0 ? e->term[t].number : k->var[e->term[t].var].value;
        if (v == UNBOUND) return UNBOUND;
        if (v == DYNAMIC || sum == DYNAMIC) sum = DYNAMIC;
        else sum += v / e->term[t].over;
    }
    return sum;
}

/* ---- judging ---- */

static void add_dims(struct eye_buf *b, size_t rank) {
    eye_buf_adds(b, rank == 1 ? ",)" : ")"); /* as Python writes tuples */
}

static void expected_text(const struct matcher *k, const struct spec *p, size_t shape, int32_t type, struct eye_buf *b) {
    size_t rank = p->n_shapes ? p->shape[shape].rank : 0;
    eye_buf_adds(b, p->n_shapes ? "((" : "(any");
    for (size_t d = 0; d < rank; d++) {
        const struct expr *e = &p->shape[shape].dim[d];
        int64_t v = evaluate(k, e);
        if (d) eye_buf_adds(b, ", ");
        if (v >= 0) {
            eye_buf_printf(b, "%lld", (long long)v);
            continue;
        }
        eye_buf_adds(b, "'");
        if (!e->n) eye_buf_adds(b, "any");
        for (size_t t = 0; t < e->n; t++) {
            if (t) eye_buf_adds(b, "+");
            if (e->term[t].var < 0) eye_buf_printf(b, "%lld", (long long)e->term[t].number);
            else eye_buf_adds(b, k->var[e->term[t].var].name);
            if (e->term[t].over > 1) eye_buf_printf(b, "/%lld", (long long)e->term[t].over);
        }
        eye_buf_adds(b, "'");
    }
    if (p->n_shapes) add_dims(b, rank);
    eye_buf_printf(b, ", %d)", (int)type);
}

static void actual_text(const struct eye_onnx_shape *s, struct eye_buf *b) {
    eye_buf_adds(b, s->known ? "((" : "(None");
    for (size_t d = 0; s->known && d < s->rank; d++) {
        if (d) eye_buf_adds(b, ", ");
        if (s->dim[d] >= 0) {
            eye_buf_printf(b, "%lld", (long long)s->dim[d]);
        } else {
            eye_buf_adds(b, "'");
            eye_onnx_name_text(s->param[d][0] ? s->param[d] : "?", b);
            eye_buf_adds(b, "'");
        }
    }
    if (s->known) add_dims(b, s->rank);
    eye_buf_printf(b, ", %d)", (int)s->type);
}

static bool dim_fits(const struct matcher *k, const struct expr *e, int64_t is) {
    int64_t v = evaluate(k, e);
    if (is < 0) return !k->is_static && v < 0;
    return v == UNBOUND || v == is;
}

/* The shape that fits best, and how many of its dims do not. */
static size_t best_shape(const struct matcher *k, const struct entry *e, size_t *n_bad) {
    size_t best = 0;
    *n_bad = e->spec->n_shapes ? SIZE_MAX : 0;
    for (size_t i = 0; i < e->spec->n_shapes; i++) {
        size_t bad = e->is.known && e->spec->shape[i].rank == e->is.rank ? 0 : EYE_ONNX_MAX_RANK + 1;
        for (size_t d = 0; bad <= EYE_ONNX_MAX_RANK && d < e->is.rank; d++)
            bad += !dim_fits(k, &e->spec->shape[i].dim[d], e->is.dim[d]);
        if (bad < *n_bad) best = i, *n_bad = bad;
    }
    return best;
}

static int32_t expected_type(const struct matcher *k, const struct spec *p) {
    if (p->precision) return k->precision;
    for (int32_t t = EYE_ONNX_I64; t < EYE_ONNX_I64 + 32; t++) /* int64 is what exporters write by default */
        if (p->types >> t % 32 & 1) return t % 32;
    return 0;
}

static void reasons(const struct matcher *k, const struct entry *e, size_t shape, bool type_ok, struct eye_buf *b) {
    const struct spec *p = e->spec;
    const char *sep = "  # ";
    if (!type_ok) {
        eye_buf_printf(b, "%stype %s, got %s", sep, eye_onnx_type_name(expected_type(k, p)),
                       e->is.type ? eye_onnx_type_name(e->is.type) : "no tensor");
        sep = "; ";
    }
    if (!p->n_shapes) return;
    if (!e->is.known || e->is.rank != p->shape[shape].rank) {
        if (e->is.known) eye_buf_printf(b, "%srank %zu, got %zu", sep, p->shape[shape].rank, e->is.rank);
        else eye_buf_printf(b, "%sno shape is said", sep);
        return;
    }
    for (size_t d = 0; d < e->is.rank; d++) {
        int64_t v = evaluate(k, &p->shape[shape].dim[d]);
        if (dim_fits(k, &p->shape[shape].dim[d], e->is.dim[d])) continue;
        eye_buf_printf(b, "%sdim %zu", sep, d);
        if (v >= 0) eye_buf_printf(b, " is %lld", (long long)v);
        else eye_buf_adds(b, v == DYNAMIC ? " is symbolic elsewhere" : " is a number");
        if (e->is.dim[d] >= 0) eye_buf_printf(b, ", got %lld", (long long)e->is.dim[d]);
        else eye_buf_adds(b, ", got a symbolic one");
        sep = "; ";
    }
}

static enum eye_status judge(struct matcher *k, const struct entry *e, struct eye_onnx_report *r, struct eye_err *err) {
    const struct spec *p = e->spec;
    struct eye_buf b;
    size_t n_bad, shape = best_shape(k, e, &n_bad);
    bool type_ok = e->is.type > 0 && e->is.type < 32 &&
        (p->precision ? e->is.type == k->precision : p->types >> e->is.type & 1);
    if (e->value && type_ok && !n_bad) return EYE_OK;
    eye_buf_init(&b, NULL);
    eye_buf_adds(&b, "expected=");
    expected_text(k, p, shape, expected_type(k, p), &b);
    if (e->value) {
        eye_buf_adds(&b, ", actual=");
        actual_text(&e->is, &b);
        reasons(k, e, shape, type_ok, &b);
    }
    enum eye_onnx_finding_kind kind = e->value ? p->output ? EYE_ONNX_MISMATCHED_OUTPUT : EYE_ONNX_MISMATCHED_INPUT
                                      : p->output ? EYE_ONNX_MISSING_OUTPUT : EYE_ONNX_MISSING_INPUT;
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.len) : eye_onnx_report_add(r, kind, e->name, b.p, err);
    eye_buf_clear(&b);
    return st;
}

static enum eye_status say_dims(const struct matcher *k, struct eye_onnx_report *r, struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    if (k->layers) eye_buf_printf(&b, "layers=%lld ", (long long)k->layers);
    for (size_t i = 0; i < k->n_vars; i++) {
        if (k->var[i].value >= 0) eye_buf_printf(&b, "%s=%lld ", k->var[i].name, (long long)k->var[i].value);
        else if (k->var[i].value == DYNAMIC) eye_buf_printf(&b, "%s=? ", k->var[i].name);
    }
    if (b.len) b.p[b.len - 1] = '\0';
    r->dims = b.failed ? NULL : eye_onnx_report_text(r, b.len ? b.p : "");
    r->signature = eye_onnx_report_text(r, k->name);
    eye_buf_clear(&b);
    return r->dims && r->signature ? EYE_OK : eye_fail_nomem(err, 1);
}

static enum eye_status match(struct matcher *k, const struct eye_onnx_check_opts *o, struct eye_onnx_report *r,
                             struct eye_err *err) {
    const EyeOnnx__GraphProto *g = k->m->model->graph;
    struct sides s = {{NULL, (const EyeOnnx__ValueInfoProto **)(void *)g->output}, {0, g->n_output}};
    EYE_TRY(eye_onnx_read_signature(k, o, err));
    EYE_TRY(settle_all(k, o, err));
    EYE_TRY(list_inputs(k, &s.v[0], &s.n[0], err));
    r->n_inputs = s.n[0];
    r->n_outputs = s.n[1];
    choose_branches(k, &s);
    EYE_TRY(count_layers(k, &s, o->n_layers, err));
    EYE_TRY(pair(k, &s, r, err));
    choose_values(k);
    solve_sums(k);
    for (size_t i = 0; i < k->n_entries; i++) EYE_TRY(judge(k, &k->entry[i], r, err));
    return say_dims(k, r, err);
}

enum eye_status eye_onnx_check_signature(struct eye_onnx *m, const struct eye_onnx_check_opts *opts, struct eye_onnx_report *r,
                                         struct eye_err *err) {
    struct matcher *k = eye_alloc_zero(NULL, sizeof *k);
    if (!k) return eye_fail_nomem(err, sizeof *k);
    k->m = m;
    eye_arena_init(&k->arena, NULL);
    eye_strmap_init(&k->names, NULL);
    enum eye_status st = match(k, opts, r, err);
    eye_strmap_clear(&k->names);
    eye_alloc_free(NULL, k->entry, k->cap * sizeof *k->entry);
    if (k->json.root) eye_json_clear(&k->json);
    eye_arena_clear(&k->arena);
    eye_alloc_free(NULL, k, sizeof *k);
    return st;
}
