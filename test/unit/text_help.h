/* What the test programs of the text room share: fixtures under test/golden/text and comparisons with them. */
#ifndef EYE_TEST_TEXT_HELP_H
#define EYE_TEST_TEXT_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/sys.h"
#include "text/tokenizer.h"

#define GOLDEN TEST_DATA "/golden/text/"

static inline struct eye_map map_file(const char *path) {
    struct eye_map m;
    struct eye_err err;
    if (eye_map_open(&m, path, false, 0, &err) != EYE_OK) fail_msg("%s", err.text);
    return m;
}

static inline struct eye_tokenizer *open_json(const char *path) {
    struct eye_map m = map_file(path);
    struct eye_tokenizer_src src = {.tokenizer_json = {m.p, m.size}};
    struct eye_tokenizer *tk = NULL;
    struct eye_err err;
    if (eye_tokenizer_open(&tk, &src, NULL, &err) != EYE_OK) fail_msg("%s: %s", path, err.text);
    eye_map_close(&m);
    return tk;
}

static inline struct eye_tokenizer *open_sp(const char *path, const char *config) {
    struct eye_map m = map_file(path);
    struct eye_tokenizer_src src = {.tokenizer_model = {m.p, m.size},
                                    .tokenizer_config = {config, config ? strlen(config) : 0}};
    struct eye_tokenizer *tk = NULL;
    struct eye_err err;
    if (eye_tokenizer_open(&tk, &src, NULL, &err) != EYE_OK) fail_msg("%s: %s", path, err.text);
    eye_map_close(&m);
    return tk;
}

static inline json_t *load_cases(const char *path) {
    json_error_t e;
    json_t *j = json_load_file(path, JSON_ALLOW_NUL, &e);
    if (!j) fail_msg("%s: %s", path, e.text);
    return j;
}

/* The ids of a list are want's, where [n, id, ...] stands for n times those ids. */
static inline bool ids_are(const struct eye_ids *got, const json_t *want) {
    size_t at = 0, i;
    json_t *item;
    json_array_foreach(want, i, item) {
        size_t first = json_is_array(item), period = first ? json_array_size(item) - 1 : 1;
        size_t n = first ? (size_t)json_integer_value(json_array_get(item, 0)) * period : 1;
        for (size_t k = 0; k < n; k++, at++) {
            const json_t *id = first ? json_array_get(item, 1 + k % period) : item;
            if (at >= got->n || got->p[at] != json_integer_value(id)) return false;
        }
    }
    return at == got->n;
}

static inline void expect_ids(const struct eye_ids *got, const json_t *want, const char *what, size_t i) {
    if (ids_are(got, want)) return;
    fprintf(stderr, "%s, case %zu:\n got", what, i);
    for (size_t k = 0; k < got->n; k++) fprintf(stderr, " %d", got->p[k]);
    fprintf(stderr, "\nwant ");
    json_dumpf(want, stderr, JSON_COMPACT);
    fprintf(stderr, "\n");
    fail();
}

static inline void encode_ok(const struct eye_tokenizer *tk, const char *text, size_t n, const struct eye_encode_opts *opts,
                      struct eye_ids *ids) {
    struct eye_err err;
    ids->n = 0;
    if (eye_tokenizer_encode(tk, text, n, opts, ids, &err) != EYE_OK) fail_msg("%s", err.text);
}

#endif
