/* text/grammar_write: how a grammar's program is written: steps, labels, sets of bytes, rules; and what is measured in the end.
 * Knows nothing of JSON. */
#include "text/grammar_write.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_LABELS EYE_GRAMMAR_MAX_CODE
#define MAX_WRITTEN (8 * EYE_GRAMMAR_MAX_CODE)

void eye_gw_refuse(struct eye_gw *c, enum eye_status st, const char *fmt, ...) {
    if (c->st != EYE_OK) return;
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->st = eye_fail(c->err, st, "schema, %s: %s", c->at ? c->at->path : "#", text);
}

/* ---- code ---- */

void eye_gw_emit(struct eye_gw *c, enum eye_grammar_op op, int32_t a, bool deep) {
    struct eye_grammar_code *g = c->g;
    void *p = g->inst;
    if (c->st != EYE_OK) return;
    if (g->n_inst == EYE_GRAMMAR_MAX_CODE || c->n_written++ == MAX_WRITTEN) {
        eye_gw_refuse(c, EYE_E_LIMIT, "too large: counts of items and characters, and enums, are written out, %d steps at most",
               EYE_GRAMMAR_MAX_CODE);
        return;
    }
    c->st = eye_alloc_grow(g->alloc, &p, &g->inst_cap, g->n_inst + 1, sizeof *g->inst, c->err);
    g->inst = p;
    if (c->st == EYE_OK) g->inst[g->n_inst++] = (struct eye_grammar_inst){(uint8_t)op, deep, a};
}

int32_t eye_gw_new_label(struct eye_gw *c) {
    void *p = c->label;
    if (c->st != EYE_OK) return -1;
    if (c->n_labels == MAX_LABELS || c->n_written++ == MAX_WRITTEN) {
        eye_gw_refuse(c, EYE_E_LIMIT, "too large");
        return -1;
    }
    c->st = eye_alloc_grow(c->g->alloc, &p, &c->label_cap, c->n_labels + 1, sizeof *c->label, c->err);
    c->label = p;
    if (c->st != EYE_OK) return -1;
    c->label[c->n_labels++] = -1;
    return -(int32_t)c->n_labels;
}

void eye_gw_put_label(struct eye_gw *c, int32_t label) {
    if (c->st == EYE_OK) c->label[-label - 1] = (int32_t)c->g->n_inst;
}

/* The number of a set, whose like may be there already. */
static int32_t set_of(struct eye_gw *c, const uint32_t bits[8]) {
    struct eye_grammar_code *g = c->g;
    int32_t k = 0;
    while (k < g->n_sets && memcmp(g->set[k], bits, sizeof g->set[k]) != 0) k++;
    if (k == EYE_GRAMMAR_MAX_SETS) eye_gw_refuse(c, EYE_E_LIMIT, "too many kinds of bytes");
    if (c->st != EYE_OK) return 0;
    if (k == g->n_sets) memcpy(g->set[g->n_sets++], bits, sizeof g->set[k]);
    return k;
}

void eye_gw_one_of(struct eye_gw *c, const char *ranges) {
    uint32_t bits[8] = {0};
    for (size_t i = 0; ranges[i] && ranges[i + 1]; i += 2)
        for (int b = (uint8_t)ranges[i]; b <= (uint8_t)ranges[i + 1]; b++) bits[b / 32] |= 1u << (b % 32);
    eye_gw_emit(c, EYE_GRAMMAR_SET, set_of(c, bits), false);
}

void eye_gw_byte(struct eye_gw *c, uint8_t b) {
    uint32_t bits[8] = {0};
    bits[b / 32] |= 1u << (b % 32);
    if (c->single[b] < 0) c->single[b] = set_of(c, bits);
    eye_gw_emit(c, EYE_GRAMMAR_SET, c->single[b], false);
}

void eye_gw_text(struct eye_gw *c, const char *s) {
    for (; *s; s++) eye_gw_byte(c, (uint8_t)*s);
}

void eye_gw_split(struct eye_gw *c, int32_t label) { eye_gw_emit(c, EYE_GRAMMAR_SPLIT, label, false); }
void eye_gw_jump(struct eye_gw *c, int32_t label) { eye_gw_emit(c, EYE_GRAMMAR_JUMP, label, false); }
void eye_gw_give_back(struct eye_gw *c) { eye_gw_emit(c, EYE_GRAMMAR_RETURN, 0, false); }

int32_t eye_gw_or_else(struct eye_gw *c) {
    int32_t next = eye_gw_new_label(c);
    eye_gw_split(c, next);
    return next;
}

/* ---- rules ---- */

int32_t eye_gw_add_rule(struct eye_gw *c, enum eye_gw_kind b, json_t *schema, const char *path) {
    struct eye_grammar_code *g = c->g;
    if (g->n_rules == EYE_GRAMMAR_MAX_RULES) eye_gw_refuse(c, EYE_E_LIMIT, "more than %d schemas in it", EYE_GRAMMAR_MAX_RULES);
    if (c->st != EYE_OK) return 0;
    c->source[g->n_rules] = (struct eye_gw_rule){.builtin = b, .schema = schema};
    snprintf(c->source[g->n_rules].path, sizeof c->source->path, "%s", path);
    return g->n_rules++;
}

void eye_gw_call_builtin(struct eye_gw *c, enum eye_gw_kind b) {
    if (c->builtin[b] < 0) c->builtin[b] = eye_gw_add_rule(c, b, NULL, "#");
    eye_gw_emit(c, EYE_GRAMMAR_CALL, c->builtin[b], b == EYE_GW_VALUE);
}

void eye_gw_call_schema(struct eye_gw *c, json_t *schema, const char *step) {
    char path[96];
    int32_t k = 0;
    if (c->st != EYE_OK) return;
    if (json_is_true(schema)) {
        eye_gw_call_builtin(c, EYE_GW_VALUE);
        return;
    }
    while (k < c->g->n_rules && c->source[k].schema != schema) k++;
    if (k == c->g->n_rules) {
        snprintf(path, sizeof path, "%.60s/%.30s", c->at ? c->at->path : "#", step);
        k = eye_gw_add_rule(c, EYE_GW_NONE, schema, path);
    }
    eye_gw_emit(c, EYE_GRAMMAR_CALL, k, true);
}

void eye_gw_blank(struct eye_gw *c) { eye_gw_call_builtin(c, EYE_GW_BLANK); }

/* ---- the whole ---- */

static void resolve(struct eye_gw *c) {
    struct eye_grammar_code *g = c->g;
    for (size_t i = 0; i < g->n_inst; i++) {
        struct eye_grammar_inst *in = &g->inst[i];
        if ((in->op == EYE_GRAMMAR_SPLIT || in->op == EYE_GRAMMAR_JUMP) && in->a < 0) in->a = c->label[-in->a - 1];
    }
}

static uint32_t plus(uint32_t a, uint32_t b) { return a >= EYE_GRAMMAR_NEVER - b ? EYE_GRAMMAR_NEVER : a + b; }

/* Passes until nothing falls any more, each from the end, so that only calls need more than one. */
static enum eye_status measure(struct eye_grammar_code *g, struct eye_err *err) {
    void *cost = NULL, *need = NULL;
    EYE_TRY(eye_alloc_grow(g->alloc, &cost, &g->cost_cap, g->n_inst, sizeof *g->cost, err));
    g->cost = cost;
    EYE_TRY(eye_alloc_grow(g->alloc, &need, &g->need_cap, g->n_inst, 1, err));
    g->need = need;
    for (size_t i = 0; i < g->n_inst; i++) {
        g->cost[i] = EYE_GRAMMAR_NEVER;
        g->need[i] = UINT8_MAX;
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = g->n_inst; i-- > 0;) {
            const struct eye_grammar_inst *in = &g->inst[i];
            uint32_t next = i + 1 < g->n_inst ? g->cost[i + 1] : EYE_GRAMMAR_NEVER, c = 0;
            int need_next = i + 1 < g->n_inst ? g->need[i + 1] : UINT8_MAX, n = 0;
            int32_t to = in->op == EYE_GRAMMAR_CALL ? g->rule[in->a] : in->a;
            if (in->op == EYE_GRAMMAR_SET) c = plus(next, 1), n = need_next;
            if (in->op == EYE_GRAMMAR_JUMP) c = g->cost[to], n = g->need[to];
            if (in->op == EYE_GRAMMAR_SPLIT) c = EYE_MIN(next, g->cost[to]), n = EYE_MIN(need_next, g->need[to]);
            if (in->op == EYE_GRAMMAR_CALL)
                c = plus(next, g->cost[to]), n = EYE_MAX(need_next, EYE_MIN(g->need[to] + in->deep, UINT8_MAX));
            if (c < g->cost[i] || n < g->need[i]) {
                g->cost[i] = EYE_MIN(c, g->cost[i]);
                g->need[i] = (uint8_t)EYE_MIN(n, g->need[i]);
                changed = true;
            }
        }
    }
    return EYE_OK;
}

void eye_gw_finish(struct eye_gw *c) {
    if (c->st != EYE_OK) return;
    resolve(c);
    c->st = measure(c->g, c->err);
}

void eye_grammar_code_clear(struct eye_grammar_code *g) {
    eye_alloc_free(g->alloc, g->inst, g->inst_cap * sizeof *g->inst);
    eye_alloc_free(g->alloc, g->cost, g->cost_cap * sizeof *g->cost);
    eye_alloc_free(g->alloc, g->need, g->need_cap);
    *g = (struct eye_grammar_code){0};
}
