/* What `eyelet doctor` asks the library: kernels chosen, speeds, the self-check; bad arguments, cancelling, no memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/sys.h"
#include "eyelet/experimental.h"
#include "support/support.h"

static void kernels_follow_the_features(void **state) {
    struct eye_kernel_choice all[256], base[256];
    char isa[8];
    size_t n_other = 0;
    (void)state;
    size_t n = eye_kernel_choices(all, EYE_COUNT(all));
    assert_true(n > 20 && n <= EYE_COUNT(all));
    setenv("EYE_CPU", "base", 1);
    assert_int_equal(eye_kernel_choices(base, EYE_COUNT(base)), n);
    unsetenv("EYE_CPU");
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(base[i].kernel);
        assert_string_equal(all[i].op, base[i].op);
        n_other += strcmp(all[i].kernel, base[i].kernel) != 0;
        if (strcmp(base[i].kernel, "none") == 0) continue;
        assert_true(strstr(base[i].kernel, base[i].op) && len > 4);
        snprintf(isa, sizeof isa, "%s", base[i].kernel + len - 4);
        assert_string_equal(isa, "_ref");
    }
    assert_true((n_other > 0) == (eye_cpu_flags() != 0));
    memset(&all[0], 0, sizeof all[0]);
    assert_int_equal(eye_kernel_choices(all, 0), n); /* counts only */
    assert_null(all[0].op);
}

static void the_machine(void **state) {
    struct eye_machine m;
    (void)state;
    setenv("EYE_CPU", "base", 1);
    eye_machine_get(&m);
    assert_string_equal(m.cpu_allowed, "base");
    assert_false(m.cpu_unknown);
    setenv("EYE_CPU", "sse9", 1);
    eye_machine_get(&m);
    assert_true(m.cpu_unknown);
    unsetenv("EYE_CPU");
    eye_machine_get(&m);
    assert_string_equal(m.cpu_allowed, m.cpu_detected);
    assert_false(m.cpu_unknown);
    assert_int_equal(m.n_cpus, eye_cpu_count());
}

static bool yes(void *ctx) {
    (void)ctx;
    return true;
}

static void speeds(void **state) {
    struct eye_err err = {0};
    struct eye_speed s;
    (void)state;
    assert_int_equal(eye_speed_measure(-1, 0, NULL, NULL, &s, &err), EYE_E_ARG);
    assert_int_equal(eye_speed_measure(1025, 0, NULL, NULL, &s, &err), EYE_E_ARG);
    assert_int_equal(eye_speed_measure(1, 0, yes, NULL, &s, &err), EYE_E_CANCELLED);
    assert_int_equal(eye_speed_measure(2, 5000000, NULL, NULL, &s, &err), EYE_OK);
    assert_int_equal(s.buffer_bytes, 4 << 20); /* whole chunks of 2 MiB */
    assert_true(s.huge_bytes <= s.buffer_bytes && s.read_1_bytes_per_s > 0 && s.read_bytes_per_s > 0);
    for (int k = 0; k < EYE_N_SPEED; k++) assert_true(s.gemm_flop_per_s[k] > 0 && s.peak_flop_per_s[k] > 0);
    /* Computing and reading at the same time: the slower of the two. */
    s = (struct eye_speed){.read_bytes_per_s = 10, .peak_flop_per_s = {2, 4, 8}};
    assert_true(eye_stage_limit_s(&(struct eye_stage_cost){{2, 8, 8}, 30}, &s) == 4);
    assert_true(eye_stage_limit_s(&(struct eye_stage_cost){{2, 8, 8}, 90}, &s) == 9);
}

static void kernels_agree(void **state) {
    struct eye_err err = {0};
    struct eye_self_check c;
    (void)state;
    assert_int_equal(eye_self_check(&c, &err), EYE_OK);
    assert_true(c.worst <= 1 && c.n_results > 10000);
    setenv("EYE_CPU", "base", 1); /* plain C against itself */
    assert_int_equal(eye_self_check(&c, &err), EYE_OK);
    assert_true(c.worst == 0 && !c.worst_op[0]);
    unsetenv("EYE_CPU");
}

static void memory_runs_out(void **state) {
    struct eye_err err = {0};
    struct eye_self_check c;
    (void)state;
    for (long n = 0;; n++) {
        eye_faulty_process(n);
        enum eye_status st = eye_self_check(&c, &err);
        bool refused = eye_faulty_process_failed();
        eye_faulty_process(-1);
        assert_int_equal(st, refused ? EYE_E_NOMEM : EYE_OK);
        if (!refused) break;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_follow_the_features),
        cmocka_unit_test(the_machine),
        cmocka_unit_test(speeds),
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(memory_runs_out),
    };
    unsetenv("EYE_CPU");
    return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
