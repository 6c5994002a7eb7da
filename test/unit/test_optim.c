/* optim: PyTorch's numbers (test/reference/optim.py prints the table), the same bits on 1 and 2 threads and however parameters
 * are cut into pieces, norms and clipping. */
#include "graph_help.h"
#include "train/optim.h"

enum { N = 6, STEPS = 3 };
static const float start[N] = {1.0f, -0.5f, 0.25f, 2.0f, -3.0f, 0.0f};
static const float gradient[STEPS][N] = {{0.1f, -0.2f, 0.3f, 0.0f, 5.0f, -1e-4f},
                                         {0.2f, 0.2f, -0.6f, 1e-3f, 4.0f, 2e-4f},
                                         {-0.3f, 0.5f, 0.9f, 2e-3f, -8.0f, 1e-4f}};

static const struct {
    const char *name;
    struct eye_optim_hyper h;
    double lr, weight_decay, clip;
    float want[N];
} cases[] = {
    {"AdamW", {.kind = EYE_OPTIM_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, 0.01, 0.1, 0,
     {0.978046834f, -0.494808674f, 0.23949571f, 1.97828662f, -3.01064229f, 0.00112982793f}},
    {"Adam", {.kind = EYE_OPTIM_ADAM, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-6}, 0.01, 0.1, 0,
     {0.977181315f, -0.494047254f, 0.239596277f, 1.97000003f, -3.01822662f, -0.00442251749f}},
    {"SGD", {.kind = EYE_OPTIM_SGD}, 0.1, 0.01, 0,
     {0.997043014f, -0.548521459f, 0.189250737f, 1.99370611f, -3.08960938f, -1.99999904e-05f}},
    {"SGD with momentum", {.kind = EYE_OPTIM_SGD, .momentum = 0.9}, 0.1, 0.01, 0,
     {0.959352851f, -0.531053364f, 0.191352695f, 1.98839974f, -4.29588509f, -2.09179907e-05f}},
    {"SGD, Nesterov", {.kind = EYE_OPTIM_SGD, .momentum = 0.9, .nesterov = true}, 0.1, 0, 0,
     {0.968410015f, -0.580420017f, 0.138430014f, 1.999349f, -4.28350019f, -3.88100016e-05f}},
    {"AdamW, clipped", {.kind = EYE_OPTIM_ADAMW, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8}, 0.01, 0.1, 1,
     {0.975320339f, -0.495430887f, 0.242775828f, 1.97798741f, -3.01359773f, 0.000839972869f}},
};

static void test_torch(void **state) {
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_optim_hyper h = cases[i].h;
        float w[N], m[N] = {0}, v[N] = {0};
        memcpy(w, start, sizeof w);
        for (h.step = 1; h.step <= STEPS; h.step++) {
            struct eye_optim_param p = {w, gradient[h.step - 1], m, v, N, cases[i].lr, cases[i].weight_decay};
            h.grad_scale = eye_optim_clip(eye_optim_norm(&engines[0], &p, 1), cases[i].clip);
            eye_optim_step(&engines[0], &h, &p, 1);
        }
        /* each step rounds w a few times; a step of Adam is at most some lr, off by its own few roundings */
        assert_close(w, cases[i].want, N, 16 * STEPS * (double)FLT_EPSILON, cases[i].name);
    }
}

/* ---- many parameters ---- */

enum { N_PARAMS = 6 };
static const size_t sizes[N_PARAMS] = {1, 16384, 5, 16385, 70001, 128};

struct set {
    struct eye_optim_param p[N_PARAMS];
};
static struct set make_set(void) {
    struct set s;
    eye_rng_seed(&rng, 4);
    for (int i = 0; i < N_PARAMS; i++) {
        int64_t n = (int64_t)sizes[i];
        s.p[i] = (struct eye_optim_param){floats(n, -1, 1), floats(n, -1, 1), floats(n, 0, 0), floats(n, 0, 0), sizes[i],
                                          0.01 * (i + 1), 0.1 * i};
    }
    return s;
}

static void test_threads(void **state) {
    for (size_t c = 0; c < EYE_COUNT(cases); c++) {
        struct set a = make_set(), b = make_set(), each = make_set();
        struct eye_optim_hyper h = cases[c].h;
        h.grad_scale = 0.5;
        for (h.step = 1; h.step <= 2; h.step++) {
            eye_optim_step(&engines[0], &h, a.p, N_PARAMS);
            eye_optim_step(&engines[1], &h, b.p, N_PARAMS);
            for (int i = 0; i < N_PARAMS; i++) eye_optim_step(&engines[1], &h, &each.p[i], 1);
        }
        for (int i = 0; i < N_PARAMS; i++) {
            assert_memory_equal(a.p[i].w, b.p[i].w, sizes[i] * sizeof(float));
            assert_memory_equal(a.p[i].w, each.p[i].w, sizes[i] * sizeof(float));
            assert_memory_equal(a.p[i].m, b.p[i].m, sizes[i] * sizeof(float));
            assert_memory_equal(a.p[i].v, b.p[i].v, sizes[i] * sizeof(float));
        }
    }
}

static void test_norm(void **state) {
    struct set s = make_set();
    double sum = 0, one = eye_optim_norm(&engines[0], s.p, N_PARAMS), two = eye_optim_norm(&engines[1], s.p, N_PARAMS);
    for (int i = 0; i < N_PARAMS; i++)
        for (size_t k = 0; k < sizes[i]; k++) sum += (double)s.p[i].g[k] * (double)s.p[i].g[k];
    assert_memory_equal(&one, &two, sizeof one);
    assert_true(fabs(one - sqrt(sum)) <= 300 * (double)FLT_EPSILON * sqrt(sum)); /* 1024 terms in float lanes at a time */
    ((float *)(uintptr_t)s.p[4].g)[69999] = INFINITY;
    assert_true(isinf(eye_optim_norm(&engines[1], s.p, N_PARAMS)));
    ((float *)(uintptr_t)s.p[4].g)[69999] = NAN;
    assert_true(isnan(eye_optim_norm(&engines[1], s.p, N_PARAMS)));
    assert_true(eye_optim_norm(&engines[0], s.p, 0) == 0);
    assert_true(eye_optim_clip(0.5, 1) == 1 && eye_optim_clip(4, 0) == 1);
    assert_true(fabs(eye_optim_clip(4, 1) - 0.25) < 1e-6);
}

static void test_sums(void **state) {
    enum { LEN = 40000 };
    float *a = floats(LEN, -1, 1), *b = floats(LEN, -1, 1), *sum = floats(LEN, 0, 0), *average = floats(LEN, 0, 0);
    memcpy(sum, a, LEN * sizeof *a);
    memcpy(average, a, LEN * sizeof *a);
    eye_optim_add(&engines[1], sum, b, LEN);
    eye_optim_average(&engines[1], average, b, LEN, 0.9);
    for (int i = 0; i < LEN; i++) {
        assert_true(sum[i] == a[i] + b[i]);
        assert_true(fabs((double)average[i] - (0.9 * (double)a[i] + 0.1 * (double)b[i])) <= 2 * (double)FLT_EPSILON);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_torch), cmocka_unit_test(test_threads),
                                       cmocka_unit_test(test_norm), cmocka_unit_test(test_sums)};
    return cmocka_run_group_tests(tests, setup_engines, teardown_engines);
}
