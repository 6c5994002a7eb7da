/* segments: several sequences in one call. Each must give what it gives alone, bit for bit: whatever else is in the call,
 * wherever its prefix and its own rows lie in the cache, on 1 and 2 threads, for every cache type and weight type. */
#include "rig.h"

enum { VOCAB = 97, C = 64, HEADS = 4, KV_HEADS = 2, D = 16, LAYERS = 2, CTX = 160, MAX_ROWS = 200, STEPS = 3 };

static eye_val linear(struct eye_graph *g, eye_val x, int64_t n) {
    int64_t k = eye_dim(g, x, -1);
    double r = 2 / sqrt((double)k);
    return eye_linear(g, x, weight(g, 2, (int64_t[]){n, k}, -r, r), EYE_NONE);
}

static eye_val heads(struct eye_graph *g, eye_val x, int64_t n) {
    return eye_reshape(g, linear(g, x, n * D), 3, (int64_t[]){EYE_DIM_T, n, D});
}

/* A small decoder with learned positions and RoPE, with caches or without. */
static void build(struct eye_graph *g, bool cached, enum eye_wtype want) {
    struct eye_err err;
    eye_rng_seed(&rng, 5); /* the same weights each time */
    eye_graph_init(g, NULL);
    eye_val table = weight(g, 2, (int64_t[]){VOCAB, C}, -1, 1);
    eye_val x = eye_embed(g, eye_input(g, "ids", EYE_I32, 1, (int64_t[]){EYE_DIM_T}), table);
    x = eye_add(g, x, eye_positions(g, weight(g, 2, (int64_t[]){CTX + MAX_ROWS, C}, -1, 1)));
    for (int i = 0; i < LAYERS; i++) {
        eye_val n = eye_rms_norm(g, x, weight(g, 1, (int64_t[]){C}, 0.5, 1.5), 1e-6f);
        eye_val q = eye_rope(g, heads(g, n, HEADS), 1e4), k = eye_rope(g, heads(g, n, KV_HEADS), 1e4);
        eye_val v = heads(g, n, KV_HEADS), ks = EYE_NONE, vs = EYE_NONE;
        if (cached) ks = eye_state(g, "k", KV_HEADS, D), vs = eye_state(g, "v", KV_HEADS, D);
        x = eye_add(g, x, linear(g, eye_attention(g, q, k, v, ks, vs, 0.25f, true), C));
        x = eye_add(g, x, linear(g, eye_act(g, linear(g, x, 2 * C), EYE_ACT_SILU), C));
    }
    eye_output(g, x);
    ok(eye_graph_finish(g, &err), &err);
    eye_graph_quantize(g, want);
}

static void rig_open(struct rig *r, const struct eye_engine *e, bool cached, enum eye_wtype want, enum eye_kv_type type) {
    int64_t n_ctx = CTX + MAX_ROWS;
    build(&r->g, cached, want);
    rig_plan(r, e, &(struct eye_plan_opts){.max_t = MAX_ROWS, .max_ctx = n_ctx, .kv_type = type}, cached ? n_ctx : 0);
}

static enum eye_status try_run(struct rig *r, const struct eye_bind *b, int32_t *ids, float *y, struct eye_err *err) {
    struct eye_io in = {r->g.input[0], ids}, out = {r->g.output[0], y};
    return eye_exec_run(r->x, r->kv, b, &in, 1, &out, 1, NULL, NULL, err);
}
static void run(struct rig *r, const struct eye_bind *b, int32_t *ids, float *y) {
    struct eye_err err;
    uint64_t before = eye_alloc_count();
    ok(try_run(r, b, ids, y, &err), &err);
    assert_int_equal(eye_alloc_count(), before);
}

/* Sequences: a prefix that may be shared, then their own rows, then STEPS rows one by one. */
struct sequence {
    int prefix;     /* index into prefixes, or -1 */
    int64_t n, pos; /* own rows of the first call */
};
static const int64_t prefixes[] = {16, 21, 7};
static const struct sequence sequences[] = {{0, 13, 16}, {0, 9, 16}, {1, 1, 21}, {1, 31, 21},
                                            {-1, 18, 0}, {2, 5, 7},  {1, 16, 21}};
enum { N_PREFIXES = EYE_COUNT(prefixes), N_SEQUENCES = EYE_COUNT(sequences) };

static int32_t *prefix_ids[N_PREFIXES], *own_ids[N_SEQUENCES]; /* own: with those of the steps */
static float *prefix_y[N_PREFIXES], *own_y[N_SEQUENCES];       /* what they give alone */

static int32_t *some_ids(int64_t n) {
    int32_t *ids = eye_arena_alloc(&mem, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++) ids[i] = (int32_t)(eye_rng_u64(&rng) % VOCAB);
    return ids;
}
static void make_ids(void) {
    for (int i = 0; i < N_PREFIXES; i++) prefix_ids[i] = some_ids(prefixes[i]);
    for (int i = 0; i < N_SEQUENCES; i++) own_ids[i] = some_ids(sequences[i].n + STEPS);
}

/* Each alone, from slot 0 on, as one sequence of a session. */
static void run_alone(struct rig *r) {
    for (int i = 0; i < N_PREFIXES; i++) {
        prefix_y[i] = floats(prefixes[i] * C, 9, 9);
        run(r, &(struct eye_bind){.t = prefixes[i]}, prefix_ids[i], prefix_y[i]);
    }
    for (int i = 0; i < N_SEQUENCES; i++) {
        const struct sequence *s = &sequences[i];
        int64_t past = s->prefix < 0 ? 0 : prefixes[s->prefix];
        float *scrap = floats(MAX_ROWS * C, 9, 9);
        own_y[i] = floats((s->n + STEPS) * C, 9, 9);
        if (past) run(r, &(struct eye_bind){.t = past}, prefix_ids[s->prefix], scrap);
        run(r, &(struct eye_bind){.t = s->n, .past = past}, own_ids[i], own_y[i]);
        for (int64_t t = s->n; t < s->n + STEPS; t++)
            run(r, &(struct eye_bind){.t = 1, .past = past + t}, own_ids[i] + t, own_y[i] + t * C);
    }
}

static void assert_rows(const float *y, const float *want, int64_t n, const char *what, int i) {
    for (int64_t k = 0; k < n * C; k++)
        if (memcmp(&y[k], &want[k], sizeof *y) != 0)
            fail_msg("%s %d: row %ld, column %ld is %.9g, alone %.9g", what, i, (long)(k / C), (long)(k % C), (double)y[k],
                     (double)want[k]);
}

struct batch {
    struct eye_segment seg[N_PREFIXES + N_SEQUENCES];
    int32_t ids[MAX_ROWS];
    float *y;
    struct eye_bind b;
};
static void batch_start(struct batch *b) {
    *b = (struct batch){.y = floats(MAX_ROWS * C, 9, 9)};
    b->b.segment = b->seg;
}
static void batch_add(struct batch *b, struct eye_segment s, const int32_t *ids) {
    s.row = b->b.t;
    memcpy(b->ids + s.row, ids, (size_t)s.n * sizeof *ids);
    b->seg[b->b.n_segments++] = s;
    b->b.t += s.n;
}

/* Slots: prefixes and sequences one after the other, `gap` slots between them; gap 0 and odd ones put borders inside panels. */
static void run_cached(struct rig *r, int64_t gap) {
    struct batch b;
    int64_t prefix_slot[N_PREFIXES], slot[N_SEQUENCES], at = 0;
    batch_start(&b);
    for (int i = 0; i < N_PREFIXES; at += prefixes[i++] + gap)
        batch_add(&b, (struct eye_segment){.n = prefixes[i], .slot = prefix_slot[i] = at}, prefix_ids[i]);
    run(r, &b.b, b.ids, b.y);
    for (int i = 0; i < N_PREFIXES; i++) assert_rows(b.y + b.seg[i].row * C, prefix_y[i], prefixes[i], "prefix", i);
    for (int64_t step = -1; step < STEPS; step++) {
        batch_start(&b);
        for (int i = 0; i < N_SEQUENCES; i++) {
            const struct sequence *s = &sequences[i];
            int64_t done = step < 0 ? 0 : s->n + step;
            if (step < 0) slot[i] = at, at += s->n + STEPS + gap;
            struct eye_segment e = {.n = step < 0 ? s->n : 1, .pos = s->pos + done, .slot = slot[i] + done, .n_own = done};
            if (s->prefix >= 0) e.prefix = prefix_slot[s->prefix], e.n_prefix = prefixes[s->prefix];
            batch_add(&b, e, own_ids[i] + done);
        }
        run(r, &b.b, b.ids, b.y);
        for (int i = 0; i < N_SEQUENCES; i++)
            assert_rows(b.y + b.seg[i].row * C, own_y[i] + b.seg[i].n_own * C, b.seg[i].n, "sequence", i);
        if (step == 0) { /* a beam moves */
            int64_t n = sequences[3].n + 1;
            eye_kv_copy(r->kv, at, slot[3], n);
            slot[3] = at;
            at += n + STEPS + gap;
        }
    }
}

static void test_cached(void **state) {
    for (int type = 0; type <= EYE_KV_I8; type++)
        for (int e = 0; e < N_ENGINES; e++) {
            struct rig r;
            rig_open(&r, &engines[e], true, EYE_W_EXACT, (enum eye_kv_type)type);
            if (e == 0) run_alone(&r);
            run_cached(&r, 0);
            run_cached(&r, 5);
            rig_close(&r);
        }
}

static void test_weight_types(void **state) {
    static const enum eye_wtype types[] = {EYE_W_F16, EYE_W_BF16, EYE_W_Q8_0, EYE_W_Q4_0};
    for (size_t i = 0; i < EYE_COUNT(types); i++) {
        struct rig r;
        rig_open(&r, &engines[i % N_ENGINES], true, types[i], EYE_KV_F16);
        run_alone(&r);
        run_cached(&r, 1);
        rig_close(&r);
    }
}

/* Teacher forcing: no cache, prefixes are rows of the call. The same bits as with an f32 cache. */
static void run_uncached(struct rig *r, struct batch *b) {
    int64_t row[N_PREFIXES];
    batch_start(b);
    for (int i = 0; i < N_PREFIXES; i++) {
        row[i] = b->b.t;
        batch_add(b, (struct eye_segment){.n = prefixes[i]}, prefix_ids[i]);
    }
    for (int i = 0; i < N_SEQUENCES; i++) {
        const struct sequence *s = &sequences[i];
        struct eye_segment e = {.n = s->n, .pos = s->pos};
        if (s->prefix >= 0) e.prefix = row[s->prefix], e.n_prefix = prefixes[s->prefix];
        batch_add(b, e, own_ids[i]);
    }
    run(r, &b->b, b->ids, b->y);
    for (int i = 0; i < N_PREFIXES; i++) assert_rows(b->y + b->seg[i].row * C, prefix_y[i], prefixes[i], "prefix", i);
    for (int i = 0; i < N_SEQUENCES; i++)
        assert_rows(b->y + b->seg[N_PREFIXES + i].row * C, own_y[i], sequences[i].n, "sequence", i);
}

static void test_uncached(void **state) {
    struct rig r;
    struct batch b;
    rig_open(&r, &engines[1], true, EYE_W_EXACT, EYE_KV_F32);
    run_alone(&r);
    rig_close(&r);
    for (int e = 0; e < N_ENGINES; e++) {
        struct eye_err err;
        rig_open(&r, &engines[e], false, EYE_W_EXACT, EYE_KV_F32);
        run_uncached(&r, &b);
        float *ref = floats(b.b.t * C, 0, 0);
        struct eye_ref_io in = {r.g.input[0], b.ids}, out = {r.g.output[0], ref};
        ok(eye_graph_eval_ref(&r.g, &b.b, &in, 1, &out, 1, &err), &err);
        /* LAYERS x 6 ops, each a sum of up to 2 C terms relative to its input's scale */
        assert_close(b.y, ref, b.b.t * C, LAYERS * 6 * (2 * C + 4) * (double)FLT_EPSILON, "oracle");
        rig_close(&r);
    }
}

/* So many one-row segments that their keys cannot each have a panel. */
static void test_single_rows(void **state) {
    struct rig r;
    struct eye_segment seg[MAX_ROWS];
    int32_t *ids = some_ids(MAX_ROWS);
    float *y = floats(MAX_ROWS * C, 9, 9), *alone = floats(2 * C, 9, 9);
    rig_open(&r, &engines[1], false, EYE_W_EXACT, EYE_KV_F32);
    for (int64_t i = 0; i < MAX_ROWS; i++) /* odd rows see the one before */
        seg[i] = (struct eye_segment){.row = i, .n = 1, .pos = i % 2, .prefix = i % 2 ? i - 1 : 0, .n_prefix = i % 2};
    run(&r, &(struct eye_bind){.t = MAX_ROWS, .segment = seg, .n_segments = MAX_ROWS}, ids, y);
    for (int64_t i = 0; i < MAX_ROWS; i += 2) {
        run(&r, &(struct eye_bind){.t = 2}, ids + i, alone);
        assert_rows(y + i * C, alone, 2, "pair", (int)i);
    }
    rig_close(&r);
}

static void test_errors(void **state) {
    struct rig cached, rows;
    struct eye_err err;
    int32_t *ids = some_ids(10);
    float *y = floats(10 * C, 9, 9);
    int64_t end = CTX + MAX_ROWS;
    rig_open(&cached, &engines[0], true, EYE_W_EXACT, EYE_KV_F16);
    rig_open(&rows, &engines[0], false, EYE_W_EXACT, EYE_KV_F16);
    const struct { struct eye_segment seg[2]; bool cached, fine; } cases[] = {
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 4}}, true, true},
        {{{.n = 4}, {.row = 5, .n = 5, .slot = 4}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 5, .slot = 4}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 7, .slot = 4}}, true, false},
        {{{.n = 0}, {.row = 0, .n = 10}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = end - 5}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .n_own = 9}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .prefix = end - 2, .n_prefix = 3}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .prefix = INT64_MAX, .n_prefix = 3}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .prefix = 0, .n_prefix = end - 2}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .pos = end - 5}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .slot = 8, .pos = -1}}, true, false},
        {{{.n = 4}, {.row = 4, .n = 6, .prefix = 1, .n_prefix = 3}}, false, true},
        {{{.n = 4}, {.row = 4, .n = 6, .prefix = 1, .n_prefix = 4}}, false, false},
        {{{.n = 4}, {.row = 4, .n = 6, .prefix = -1, .n_prefix = 2}}, false, false},
        {{{.n = 4, .prefix = 4, .n_prefix = 2}, {.row = 4, .n = 6}}, false, false},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_bind b = {.t = 10, .segment = cases[i].seg, .n_segments = 2};
        enum eye_status st = try_run(cases[i].cached ? &cached : &rows, &b, ids, y, &err);
        if (st != (cases[i].fine ? EYE_OK : EYE_E_ARG)) fail_msg("case %zu gave %d", i, (int)st);
    }
    rig_close(&cached);
    rig_close(&rows);
}

static int setup(void **state) {
    setup_engines(state);
    make_ids();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cached),      cmocka_unit_test(test_weight_types), cmocka_unit_test(test_uncached),
        cmocka_unit_test(test_single_rows), cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown_engines);
}
