/* Training by several ranks, here threads that hand memory over: the student, its best checkpoint and the losses of the log are those
 * of one process, bit for bit, for 2 and 4 ranks, also resumed with another number of them; what does not fit is refused by all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/eyelet.h"
#include "eyelet/train.h"
#include "base/sys.h"
#include "support/support.h"

enum { MAX_RANKS = 4 };

static const char recipe[] =
    "{\"seed\": 5, \"student\": {\"vocab\": 300, \"config\": {\"model_type\": \"eyelet_vlm\", \"vision\": {\"type\": \"mobilenetv3\", "
    "\"variant\": \"small_minimalistic\", \"width\": 0.25, \"image_size\": 32, \"tap\": 3}, "
    "\"projector\": {\"type\": \"linear\"}, \"text\": {\"type\": \"gpt2\", \"n_embd\": 48, \"n_layer\": 2, \"n_head\": 4, "
    "\"n_positions\": 64}, \"prompt\": \"\", \"image_position\": \"first\", "
    "\"preprocessing\": {\"fit\": \"stretch\", \"resample\": \"bilinear\"}}}, "
    "\"data\": {\"synth_train\": 32, \"synth_dev\": 8, \"max_tokens\": 24}, \"log_every\": 1, "
    "\"stages\": [{\"steps\": 4, \"batch\": 2, \"accumulate\": 4, \"lr\": 4e-3, \"dropout\": 0.1, \"train_norms\": true, \"ema\": 0.9, "
    "\"clip\": 1, \"augment\": {\"flip\": true}}], \"eval\": {\"every_epochs\": 0.5}}";
static char recipe_path[1024];

static int setup(void **state) {
    snprintf(recipe_path, sizeof recipe_path, "%s", eye_scratch_write("recipe.json", recipe, sizeof recipe - 1));
    return 0;
}

static int teardown(void **state) {
    eye_scratch_remove();
    return 0;
}

/* ---- ranks as threads ---- */

struct table { /* where they meet */
    pthread_barrier_t barrier;
    const uint8_t *mine[MAX_RANKS];
    int n;
};

struct rank {
    struct eye_ranks as;
    struct table *table;
    const char *out;
    const char *set[4];
    int n_set, stop_after, step;
    bool resume;
    enum eye_status status;
    struct eye_err err;
};

static bool gather(void *ctx, const void *mine, void *all, size_t bytes) {
    struct rank *r = ctx;
    r->table->mine[r->as.rank] = mine;
    pthread_barrier_wait(&r->table->barrier);
    for (int i = 0; i < r->table->n; i++) memcpy((uint8_t *)all + (size_t)i * bytes, r->table->mine[i], bytes);
    pthread_barrier_wait(&r->table->barrier);
    return true;
}

static bool swap(void *ctx, const void *mine, void *theirs, size_t bytes) {
    struct rank *r = ctx;
    r->table->mine[r->as.rank] = mine;
    pthread_barrier_wait(&r->table->barrier);
    for (int i = 0; i < r->table->n; i++)
        memcpy((uint8_t *)theirs + (size_t)i * bytes, r->table->mine[i] + (size_t)r->as.rank * bytes, bytes);
    pthread_barrier_wait(&r->table->barrier);
    return true;
}

static void count_step(void *ctx, const struct eye_train_progress *p) { ((struct rank *)ctx)->step = (int)p->step; }

static bool stop(void *ctx) {
    const struct rank *r = ctx;
    return r->stop_after && r->step >= r->stop_after;
}

static void *run_rank(void *ctx) {
    struct rank *r = ctx;
    struct eye_train_opts o = {.recipe = recipe_path, .out = r->out, .set = r->set, .n_set = (size_t)r->n_set, .n_threads = 1,
                               .resume = r->resume, .use = EYE_TRAIN_CAPTION, .progress = count_step, .ctx = r, .cancel = stop,
                               .cancel_ctx = r, .ranks = r->as.n > 1 ? &r->as : NULL};
    r->status = eye_train(&o, NULL, &r->err);
    return NULL;
}

/* A run by n ranks, of whom the last is told to stop after so many steps (0 = never); all end with the same status. */
static enum eye_status train(const char *name, int n, int stop_after, bool resume, const char *set) {
    static char out[1200];
    static struct rank rank[MAX_RANKS];
    struct table table = {.n = n};
    pthread_t thread[MAX_RANKS];
    snprintf(out, sizeof out, "%s/%s", eye_scratch_dir(), name);
    pthread_barrier_init(&table.barrier, NULL, (unsigned)n);
    for (int i = 0; i < n; i++) {
        rank[i] = (struct rank){.as = {.rank = i, .n = n, .ctx = &rank[i], .gather = gather, .swap = swap}, .table = &table,
                                .out = out, .resume = resume, .stop_after = i == n - 1 ? stop_after : 0};
        if (set) rank[i].set[rank[i].n_set++] = set;
        assert_int_equal(pthread_create(&thread[i], NULL, run_rank, &rank[i]), 0);
    }
    for (int i = 0; i < n; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&table.barrier);
    for (int i = 0; i < n; i++) {
        if (rank[i].status != rank[0].status) fail_msg("rank %d: %s, rank 0: %s", i, rank[i].err.text, rank[0].err.text);
        if (rank[i].status == EYE_E_IO || rank[i].status == EYE_E_CORRUPT) fail_msg("rank %d: %s", i, rank[i].err.text);
    }
    return rank[0].status;
}

/* ---- comparisons ---- */

static void same_file(const char *a, const char *b, const char *file) {
    struct eye_map m[2];
    const char *const name[] = {a, b};
    for (int i = 0; i < 2; i++) {
        char path[1400];
        struct eye_err err = {0};
        snprintf(path, sizeof path, "%s/%s/%s", eye_scratch_dir(), name[i], file);
        if (eye_map_open(&m[i], path, false, 0, &err) != EYE_OK) fail_msg("%s", err.text);
    }
    if (m[0].size != m[1].size || memcmp(m[0].p, m[1].p, m[0].size) != 0) fail_msg("%s of %s and %s differ", file, a, b);
    for (int i = 0; i < 2; i++) eye_map_close(&m[i]);
}

/* Lines of the log: events, steps, losses and norms are equal, speeds need not be. */
static void same_log(const char *a, const char *b) {
    static const char *const keys[] = {"event", "step", "loss", "grad_norm", "lr", "dev_loss", "shuffled_loss", "cider"};
    const char *const name[] = {a, b};
    FILE *f[2];
    char line[2][20000];
    size_t n = 0;
    for (int i = 0; i < 2; i++) {
        char path[1400];
        snprintf(path, sizeof path, "%s/%s/log.jsonl", eye_scratch_dir(), name[i]);
        assert_non_null(f[i] = fopen(path, "r"));
    }
    while (fgets(line[0], sizeof line[0], f[0])) {
        assert_non_null(fgets(line[1], sizeof line[1], f[1]));
        json_t *x = json_loads(line[0], 0, NULL), *y = json_loads(line[1], 0, NULL);
        for (size_t k = 0; k < EYE_COUNT(keys); k++)
            if (!json_equal(json_object_get(x, keys[k]), json_object_get(y, keys[k])) && json_object_get(x, keys[k]))
                fail_msg("%s: %s and %s differ:\n%s%s", keys[k], a, b, line[0], line[1]);
        json_decref(x);
        json_decref(y);
        n++;
    }
    assert_null(fgets(line[1], sizeof line[1], f[1]));
    assert_true(n >= 5);
    for (int i = 0; i < 2; i++) fclose(f[i]);
}

static void same_run(const char *a, const char *b) {
    same_file(a, b, "student/model.safetensors");
    same_file(a, b, "best/model.safetensors");
    same_log(a, b);
}

/* ---- tests ---- */

static void several_are_one(void **state) {
    assert_int_equal(train("one", 1, 0, false, NULL), EYE_OK);
    assert_int_equal(train("two", 2, 0, false, NULL), EYE_OK);
    same_run("one", "two");
    assert_int_equal(train("four", 4, 0, false, NULL), EYE_OK);
    same_run("one", "four");
}

/* The last rank is asked to stop; all do, behind the same step; two go on for four. */
static void stopped_and_resumed(void **state) {
    assert_int_equal(train("resumed", 4, 2, false, NULL), EYE_E_CANCELLED);
    assert_int_equal(train("resumed", 2, 0, true, NULL), EYE_OK);
    same_run("one", "resumed");
}

static void wrong_numbers(void **state) {
    assert_int_equal(train("odd", 3, 0, false, NULL), EYE_E_ARG); /* 4 batches a step */
    assert_int_equal(train("single", 2, 0, false, "stages.0.accumulate=1"), EYE_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_are_one),
        cmocka_unit_test(stopped_and_resumed),
        cmocka_unit_test(wrong_numbers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
