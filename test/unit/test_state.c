/* A run on disk: what is saved comes back to the last bit; a full disk, a damaged file, a process killed while it writes leave
 * the last good one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/sys.h"
#include "support/support.h"
#include "train/state.h"
#include "train/student.h"

static struct eye_err err;
static struct eye_checkpoint ckpt;
static struct eye_vlm vlm;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char recipe[] =
    "{\"stages\": {}, \"student\": {\"config\": {\"model_type\": \"eyelet_vlm\", \"vision\": {\"type\": \"mobilenetv3\", "
    "\"variant\": \"small_minimalistic\", \"width\": 0.25, \"image_size\": 32}, \"projector\": {\"type\": \"linear\"}, "
    "\"text\": {\"type\": \"gpt2\", \"n_embd\": 16, \"n_layer\": 1, \"n_head\": 2, \"n_positions\": 24, \"vocab_size\": 40}}}}";

static int setup(void **state) {
    struct eye_recipe r;
    ok(eye_recipe_parse(&r, recipe, strlen(recipe), "r", NULL, 0, NULL, &err));
    ok(eye_student_make(&r, eye_scratch_dir(), false, NULL, NULL, &err));
    eye_recipe_clear(&r);
    ok(eye_checkpoint_open(&ckpt, eye_scratch_dir(), NULL, NULL, &err));
    ok(eye_vlm_open(&vlm, &ckpt, NULL, &err));
    return 0;
}

static int teardown(void **state) {
    eye_vlm_clear(&vlm);
    eye_checkpoint_close(&ckpt);
    eye_scratch_remove();
    return 0;
}

static const char *folder(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", eye_scratch_dir(), name);
    mkdir(path, 0777);
    return path;
}

/* The run's number in every array. */
static void fill(struct eye_params *p, float x) {
    for (size_t i = 0; i < p->n; i++) {
        ok(eye_params_optimise(p, i, true, &err));
        for (size_t k = 0; k < p->param[i].n; k++) {
            p->param[i].w[k] = x + (float)k;
            p->param[i].m[k] = x * 3 + (float)i;
            p->param[i].v[k] = x * 5;
        }
    }
}

static bool filled(const struct eye_params *p, float x) {
    bool same = true;
    for (size_t i = 0; i < p->n; i++) {
        const struct eye_train_param *q = &p->param[i];
        for (size_t k = 0; k < q->n; k++)
            same = same && q->w[k] == x + (float)k && q->m[k] == x * 3 + (float)i && q->v[k] == x * 5;
    }
    return same;
}

static void runs_come_back(void **state) {
    struct eye_params p, q;
    bool found;
    int n_bad;
    const char *dir = folder("back");
    struct eye_train_state s = {.stage = 1, .stage_step = 7, .step = 12, .best_mark = 1.0 / 3, .seconds = 1e9 + 0.1,
                                .recipe_hash = 99};
    ok(eye_params_init(&p, &vlm, &err));
    ok(eye_params_init(&q, &vlm, &err));
    fill(&p, 0.1f);
    ok(eye_params_average(&p, &err));
    ok(eye_state_save(&s, &p, dir, 2, &err));
    struct eye_train_state got = {.recipe_hash = 99};
    ok(eye_state_load(&got, &q, dir, &found, &n_bad, &err));
    assert_true(found && n_bad == 0 && filled(&q, 0.1f));
    assert_memory_equal(&got, &s, sizeof s);
    assert_memory_equal(q.param[0].average, p.param[0].average, q.param[0].n * 4);
    got.recipe_hash = 98;
    assert_true(eye_error_is("recipe", eye_state_load(&got, &q, dir, &found, &n_bad, &err), EYE_E_ARG, &err, "another recipe"));
    /* An empty folder has none, and changes nothing. */
    ok(eye_state_load(&got, &q, folder("empty"), &found, &n_bad, &err));
    assert_true(!found && filled(&q, 0.1f));
    eye_params_clear(&p);
    eye_params_clear(&q);
}

static int64_t size_of(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static void the_last_good_one_stays(void **state) {
    struct eye_params p;
    struct eye_train_state s = {0};
    char path[1200], dir[1024];
    bool found;
    int n_bad;
    snprintf(dir, sizeof dir, "%s", folder("good"));
    ok(eye_params_init(&p, &vlm, &err));
    for (s.step = 1; s.step <= 4; s.step++) {
        fill(&p, (float)s.step);
        ok(eye_state_save(&s, &p, dir, 2, &err));
    }
    snprintf(path, sizeof path, "%s/step-00000002.safetensors", dir);
    assert_int_equal(size_of(path), -1); /* two were to be kept */
    /* The disk is full: a named error, the old ones are untouched, no rest is left. */
    struct rlimit old, full = {20000, 20000};
    getrlimit(RLIMIT_FSIZE, &old);
    full.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &full);
    fill(&p, 5);
    enum eye_status st = eye_state_save(&s, &p, dir, 2, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_true(eye_error_is("full disk", st, EYE_E_IO, &err, "step-00000005"));
    ok(eye_state_load(&s, &p, dir, &found, &n_bad, &err));
    assert_true(found && n_bad == 0 && s.step == 4 && filled(&p, 4));
    /* A flipped bit, then a cut-off file: the one before. */
    snprintf(path, sizeof path, "%s/step-00000004.safetensors", dir);
    FILE *f = fopen(path, "r+b");
    fseek(f, -100, SEEK_END);
    int byte = fgetc(f);
    fseek(f, -100, SEEK_END);
    fputc(byte ^ 1, f);
    fclose(f);
    ok(eye_state_load(&s, &p, dir, &found, &n_bad, &err));
    assert_true(found && n_bad == 1 && s.step == 3 && filled(&p, 3));
    assert_int_equal(truncate(path, 1000), 0);
    ok(eye_state_load(&s, &p, dir, &found, &n_bad, &err));
    assert_true(found && n_bad == 1 && s.step == 3);
    eye_params_clear(&p);
}

/* A child saves run after run and tells each one that is done; it is killed in the middle of it. */
static void killed_while_writing(void **state) {
    char dir[1024];
    snprintf(dir, sizeof dir, "%s", folder("killed"));
    for (int round = 0; round < 8; round++) {
        int tell[2];
        assert_int_equal(pipe(tell), 0);
        pid_t child = fork();
        if (child == 0) {
            struct eye_params p;
            if (eye_params_init(&p, &vlm, &err) != EYE_OK) _exit(1);
            for (int64_t step = 1 + 1000 * round;; step++) {
                struct eye_train_state s = {.step = step};
                fill(&p, (float)step);
                if (eye_state_save(&s, &p, dir, 2, &err) != EYE_OK) _exit(1);
                if (write(tell[1], &step, sizeof step) != sizeof step) _exit(1);
            }
        }
        close(tell[1]);
        int64_t done = 0, step;
        for (int i = 0; i < 2 && read(tell[0], &step, sizeof step) == sizeof step; i++) done = step;
        usleep(500 * (useconds_t)round);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        while (read(tell[0], &step, sizeof step) == sizeof step) done = step;
        close(tell[0]);
        struct eye_params p;
        struct eye_train_state s = {0};
        bool found;
        int n_bad;
        ok(eye_params_init(&p, &vlm, &err));
        ok(eye_state_load(&s, &p, dir, &found, &n_bad, &err));
        assert_true(found && n_bad == 0 && done > 0 && s.step >= done && filled(&p, (float)s.step));
        eye_params_clear(&p);
    }
}

static void students_are_exported(void **state) {
    struct eye_params p;
    struct eye_checkpoint c;
    struct eye_vlm m;
    char dir[1024];
    snprintf(dir, sizeof dir, "%s/out", eye_scratch_dir());
    ok(eye_params_init(&p, &vlm, &err));
    ok(eye_params_average(&p, &err));
    for (size_t i = 0; i < p.n; i++) p.param[i].w[0] = 42;
    eye_params_swap(&p); /* the averages, which do not know the 42 */
    ok(eye_params_export(&p, eye_scratch_dir(), dir, NULL, &err));
    eye_params_swap(&p);
    assert_true(p.param[0].w[0] == 42);
    ok(eye_checkpoint_open(&c, dir, NULL, NULL, &err));
    ok(eye_vlm_open(&m, &c, NULL, &err));
    assert_int_equal(c.n, ckpt.n);
    for (size_t i = 0; i < c.n; i++) assert_memory_equal(c.entry[i]->t.data, ckpt.entry[i]->t.data, c.entry[i]->bytes);
    eye_vlm_clear(&m);
    eye_checkpoint_close(&c);
    eye_params_clear(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_come_back),
        cmocka_unit_test(the_last_good_one_stays),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(students_are_exported),
    };
    return cmocka_run_group_tests_name("state", tests, setup, teardown);
}
