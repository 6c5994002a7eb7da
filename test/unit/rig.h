/* A graph with its plan, state and KV cache, for tests that run decoders. static only. */
#ifndef EYE_TEST_RIG_H
#define EYE_TEST_RIG_H

#include "graph_help.h"

struct rig {
    struct eye_graph g;
    struct eye_plan *plan;
    struct eye_exec *x;
    struct eye_kv *kv;
};

/* What r->g needs to run; n_slots: of the KV cache, 0 for none. */
static void rig_plan(struct rig *r, const struct eye_engine *e, const struct eye_plan_opts *o, int64_t n_slots) {
    struct eye_err err;
    ok(eye_plan_new(&r->plan, e, &r->g, o, &err), &err);
    ok(eye_exec_new(&r->x, r->plan, &err), &err);
    r->kv = NULL;
    if (n_slots) ok(eye_kv_new(&r->kv, r->plan, n_slots, &err), &err);
}
static void rig_close(struct rig *r) {
    eye_kv_free(r->kv);
    eye_exec_free(r->x);
    eye_plan_free(r->plan);
    eye_graph_clear(&r->g);
}

#endif
