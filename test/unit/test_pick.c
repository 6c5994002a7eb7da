/* pick: the rows that nobody asks for end in the last attention. What is asked for must be what it was, bit for bit, for every
 * form of decoder, cache type and weight type, on 1 and more threads; and what comes later must find all keys and values. */
#include "rig.h"

enum { VOCAB = 97, C = 64, HEADS = 4, KV_HEADS = 2, D = 16, LAYERS = 3, CTX = 320, MAX_ROWS = 150 };
enum form { QWEN, NORMED, GPT2, N_FORM }; /* NORMED: queries and keys are normed by heads before they turn */

static eye_val linear(struct eye_graph *g, eye_val x, int64_t n) {
    int64_t k = eye_dim(g, x, -1);
    double r = 2 / sqrt((double)k);
    return eye_linear(g, x, weight(g, 2, (int64_t[]){n, k}, -r, r), weight(g, 1, (int64_t[]){n}, -1, 1));
}

static eye_val vector(struct eye_graph *g, int64_t n) { return weight(g, 1, (int64_t[]){n}, 0.5, 1.5); }

static eye_val heads(struct eye_graph *g, eye_val x, int64_t n) { return eye_reshape(g, x, 3, (int64_t[]){EYE_DIM_T, n, D}); }

static eye_val turned(struct eye_graph *g, enum form form, eye_val x, int64_t n) {
    x = heads(g, linear(g, x, n * D), n);
    if (form == NORMED) x = eye_rms_norm(g, x, vector(g, D), 1e-6f);
    return eye_rope(g, x, 1e4);
}

static eye_val attend(struct eye_graph *g, enum form form, eye_val x) {
    int64_t n_kv = form == GPT2 ? HEADS : KV_HEADS;
    eye_val ks = eye_state(g, "k", n_kv, D), vs = eye_state(g, "v", n_kv, D), in[3];
    if (form == GPT2) {
        x = linear(g, x, 3 * HEADS * D);
        for (int i = 0; i < 3; i++) in[i] = heads(g, eye_slice(g, x, 1, i * HEADS * D, HEADS * D), HEADS);
    } else {
        in[0] = turned(g, form, x, HEADS);
        in[1] = turned(g, form, x, KV_HEADS);
        in[2] = heads(g, linear(g, x, KV_HEADS * D), KV_HEADS);
    }
    return linear(g, eye_attention(g, in[0], in[1], in[2], ks, vs, 0.25f, true), C);
}

static eye_val norm(struct eye_graph *g, enum form form, eye_val x) {
    if (form == GPT2) return eye_layer_norm(g, x, vector(g, C), weight(g, 1, (int64_t[]){C}, -1, 1), 1e-5f);
    return eye_rms_norm(g, x, vector(g, C), 1e-6f);
}

static eye_val feed(struct eye_graph *g, enum form form, eye_val x) {
    eye_val up = linear(g, x, 2 * C);
    if (form == GPT2) return linear(g, eye_act(g, up, EYE_ACT_GELU_TANH), C);
    return linear(g, eye_mul(g, eye_act(g, linear(g, x, 2 * C), EYE_ACT_SILU), up), C);
}

/* The same weights each time. */
static void build(struct eye_graph *g, enum form form, enum eye_wtype want) {
    struct eye_err err;
    eye_rng_seed(&rng, 5);
    eye_graph_init(g, NULL);
    eye_val table = weight(g, 2, (int64_t[]){VOCAB, C}, -1, 1);
    eye_val x = eye_embed(g, eye_input(g, "ids", EYE_I32, 1, (int64_t[]){EYE_DIM_T}), table);
    if (form == GPT2) x = eye_add(g, x, eye_positions(g, weight(g, 2, (int64_t[]){CTX, C}, -1, 1)));
    for (int i = 0; i < LAYERS; i++) {
        x = eye_add(g, x, attend(g, form, norm(g, form, x)));
        x = eye_add(g, x, feed(g, form, norm(g, form, x)));
    }
    eye_output(g, eye_tap(g, norm(g, form, x), "out"));
    ok(eye_graph_finish(g, &err), &err);
    eye_graph_quantize(g, want);
}

static void rig_open(struct rig *r, const struct eye_engine *e, bool picks, enum form form, enum eye_wtype want,
                     enum eye_kv_type type) {
    struct eye_err err;
    build(&r->g, form, want);
    if (picks) ok(eye_graph_pick(&r->g, &err), &err);
    ok(eye_graph_fuse(&r->g, false, &err), &err);
    rig_plan(r, e, &(struct eye_plan_opts){.max_t = MAX_ROWS, .max_ctx = CTX, .kv_type = type}, CTX);
}

static enum eye_status try_run(struct rig *r, const struct eye_bind *b, int32_t *ids, int32_t *picked, float *y,
                               struct eye_err *err) {
    struct eye_io in[2] = {{r->g.input[0], ids}}, out = {r->g.output[0], y};
    if (picked) in[1] = (struct eye_io){r->g.input[1], picked};
    uint64_t before = eye_alloc_count();
    enum eye_status st = eye_exec_run(r->x, r->kv, b, in, picked ? 2 : 1, &out, 1, NULL, NULL, err);
    assert_int_equal(eye_alloc_count(), before);
    return st;
}

static int32_t ids[MAX_ROWS];

/* Both rigs do the same rows; the one that picks gives the other's rows. */
static void same_rows(struct rig *all, struct rig *some, struct eye_bind b, int32_t *picked, int64_t n, const char *what) {
    struct eye_err err;
    float *y = floats(b.t * C, 9, 9), *z = floats((n + 1) * C, 9, 9), after = z[n * C];
    ok(try_run(all, &b, ids, NULL, y, &err), &err);
    b.picked = n;
    ok(try_run(some, &b, ids, picked, z, &err), &err);
    for (int64_t i = 0; i < n * C; i++)
        if (memcmp(&z[i], &y[picked[i / C] * C + i % C], sizeof *z) != 0)
            fail_msg("%s: picked row %d, column %ld is %.9g, among all %.9g", what, picked[i / C], (long)(i % C), (double)z[i],
                     (double)y[picked[i / C] * C + i % C]);
    assert_true(z[n * C] == after);
}

/* Chunks of a prompt, sequences beside each other on a prefix they share, single steps; what is picked: nothing, the last row,
 * some in any order, all. */
static void same_as_all(const struct eye_engine *e, enum form form, enum eye_wtype want, enum eye_kv_type type) {
    struct rig all, some;
    int32_t last[] = {69}, few[] = {0, 58, 57, 3, 59, 4, 5, 6, 2}, every[MAX_ROWS];
    for (int32_t i = 0; i < MAX_ROWS; i++) every[i] = i;
    struct eye_segment three[] = {{.n = 1, .pos = 140, .slot = 140, .n_own = 140},
                                  {.row = 1, .n = 33, .pos = 60, .slot = 145, .prefix = 0, .n_prefix = 60},
                                  {.row = 34, .n = 26, .pos = 0, .slot = 180}};
    rig_open(&all, e, false, form, want, type);
    rig_open(&some, e, true, form, want, type);
    same_rows(&all, &some, (struct eye_bind){.t = 70}, every, 0, "nothing of a prompt's first piece");
    same_rows(&all, &some, (struct eye_bind){.t = 70, .past = 70}, last, 1, "the last row");
    struct eye_bind b = {.t = 60, .segment = three, .n_segments = 3};
    same_rows(&all, &some, b, few, EYE_COUNT(few), "some rows of three sequences");
    same_rows(&all, &some, (struct eye_bind){.t = 1, .past = 141}, every, 1, "a step");
    same_rows(&all, &some, (struct eye_bind){.t = MAX_ROWS, .past = 142}, every, MAX_ROWS, "all rows");
    rig_close(&all);
    rig_close(&some);
}

static void test_forms(void **state) {
    for (int form = 0; form < N_FORM; form++)
        for (int e = 0; e < N_ENGINES; e++)
            for (int type = 0; type <= EYE_KV_I8; type++)
                same_as_all(&engines[e], (enum form)form, EYE_W_EXACT, (enum eye_kv_type)type);
}

static void test_weight_types(void **state) {
    static const enum eye_wtype types[] = {EYE_W_F16, EYE_W_BF16, EYE_W_Q8_0, EYE_W_Q4_0, EYE_W_Q4_K};
    for (size_t i = 0; i < EYE_COUNT(types); i++)
        for (int form = 0; form < N_FORM; form++) same_as_all(&engines[i % N_ENGINES], (enum form)form, types[i], EYE_KV_F16);
}

/* ---- the graph ---- */

static size_t count(const struct eye_graph *g, enum eye_op op, int64_t dim) {
    size_t n = 0;
    for (size_t k = 0; k < g->n_nodes; k++)
        if (g->node[k].op == op && eye_dim(g, g->node[k].out, 0) == dim) n++;
    return n;
}

/* All rows of the last layer go through the products of keys and values (GPT-2: of queries with them), no other. */
static void test_products(void **state) {
    static const size_t per_layer[N_FORM] = {7, 7, 4}, last[N_FORM] = {2, 2, 1}, looked_up[N_FORM] = {2, 2, 1};
    struct eye_err err;
    struct eye_graph g;
    for (int form = 0; form < N_FORM; form++) {
        build(&g, (enum form)form, EYE_W_EXACT);
        assert_int_equal(count(&g, EYE_OP_linear, EYE_DIM_T), LAYERS * per_layer[form]);
        ok(eye_graph_pick(&g, &err), &err);
        assert_int_equal(count(&g, EYE_OP_linear, EYE_DIM_T), (LAYERS - 1) * per_layer[form] + last[form]);
        assert_int_equal(count(&g, EYE_OP_linear, EYE_DIM_PICKED), per_layer[form] - last[form]);
        assert_int_equal(count(&g, EYE_OP_embed, EYE_DIM_PICKED), looked_up[form]);
        assert_int_equal(count(&g, EYE_OP_attention, EYE_DIM_PICKED), 1);
        assert_int_equal(g.n_inputs, 2);
        assert_string_equal(g.value[g.input[1]].name, "picked");
        assert_string_equal(g.value[g.output[0]].name, "out");
        eye_graph_clear(&g);
    }
}

/* What another output wants of all rows keeps them. */
static void test_other_output(void **state) {
    struct eye_err err;
    struct eye_graph g;
    build(&g, QWEN, EYE_W_EXACT);
    for (size_t k = g.n_nodes; k-- > 0;)
        if (g.node[k].op == EYE_OP_attention) {
            eye_output(&g, g.node[k].out);
            break;
        }
    ok(eye_graph_pick(&g, &err), &err);
    assert_int_equal(count(&g, EYE_OP_attention, EYE_DIM_PICKED), 0);
    assert_int_equal(count(&g, EYE_OP_linear, EYE_DIM_PICKED), 4);
    assert_int_equal(eye_dim(&g, g.output[1], 0), EYE_DIM_T);
    eye_graph_clear(&g);
}

/* The oracle has both forms of each op too. */
static void test_oracle(void **state) {
    struct eye_segment two[] = {{.n = 9, .slot = 3}, {.row = 9, .n = 11, .pos = 4, .slot = 20, .prefix = 3, .n_prefix = 4}};
    struct eye_bind b = {.t = 20, .ctx = 40, .segment = two, .n_segments = 2, .picked = 4};
    int32_t picked[] = {19, 3, 9, 8};
    for (int form = 0; form < N_FORM; form++) {
        float *y[2] = {floats(20 * C, 0, 0), floats(4 * C, 0, 0)};
        for (int i = 0; i < 2; i++) {
            struct eye_err err;
            struct eye_graph g;
            struct eye_ref_io in[2 + 2 * LAYERS], out = {0, y[i]};
            size_t n_in = 0;
            build(&g, (enum form)form, EYE_W_EXACT);
            if (i) ok(eye_graph_pick(&g, &err), &err);
            in[n_in++] = (struct eye_ref_io){g.input[0], ids};
            if (i) in[n_in++] = (struct eye_ref_io){g.input[1], picked};
            for (size_t v = 0; v < g.n_values; v++)
                if (g.value[v].kind == EYE_VAL_STATE) in[n_in++] = (struct eye_ref_io){(eye_val)v, floats(40 * C, 0, 0)};
            out.v = g.output[0];
            ok(eye_graph_eval_ref(&g, &b, in, n_in, &out, 1, &err), &err);
            eye_graph_clear(&g);
        }
        for (int k = 0; k < 4; k++) assert_memory_equal(y[1] + k * C, y[0] + picked[k] * C, C * sizeof(float));
    }
}

static void test_errors(void **state) {
    struct eye_err err;
    struct eye_graph g;
    float *y = floats(MAX_ROWS * C, 9, 9);
    for (int form = 0; form < N_FORM; form++) {
        struct rig r;
        rig_open(&r, &engines[0], true, (enum form)form, EYE_W_EXACT, EYE_KV_F16);
        static const int32_t wrong[] = {-1, 10, INT32_MIN, INT32_MAX};
        for (size_t i = 0; i < EYE_COUNT(wrong); i++) {
            int32_t picked[] = {9, wrong[i]};
            assert_int_equal(try_run(&r, &(struct eye_bind){.t = 10, .picked = 2}, ids, picked, y, &err), EYE_E_ARG);
        }
        int32_t fine[] = {9, 0};
        ok(try_run(&r, &(struct eye_bind){.t = 10, .picked = 2}, ids, fine, y, &err), &err);
        assert_int_equal(try_run(&r, &(struct eye_bind){.t = 10, .picked = MAX_ROWS + 1}, ids, fine, y, &err), EYE_E_ARG);
        assert_int_equal(try_run(&r, &(struct eye_bind){.t = 10, .picked = 2}, ids, NULL, y, &err), EYE_E_ARG);
        rig_close(&r);
    }
    eye_graph_init(&g, NULL);
    eye_output(&g, eye_input(&g, "x", EYE_F32, 2, (int64_t[]){3, C}));
    ok(eye_graph_finish(&g, &err), &err);
    assert_int_equal(eye_graph_pick(&g, &err), EYE_E_ARG); /* no rows of a call */
    eye_graph_clear(&g);
}

static int setup(void **state) {
    setup_engines(state);
    for (int i = 0; i < MAX_ROWS; i++) ids[i] = (int32_t)(eye_rng_u64(&rng) % VOCAB);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),        cmocka_unit_test(test_weight_types), cmocka_unit_test(test_products),
        cmocka_unit_test(test_other_output), cmocka_unit_test(test_oracle),       cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, setup, teardown_engines);
}
