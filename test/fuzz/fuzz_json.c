/* Fuzz target: the bytes are JSON. Every getter is asked for every top-level member. */
#include <jansson.h>

#include "format/json.h"
#include "fuzz/fuzz.h"

static void read_member(const struct eye_json_at *at, const char *key) {
    int64_t i, list[8];
    double d;
    bool b;
    size_t n;
    const char *s;
    struct eye_json_at child;
    struct eye_err err = {0};
    enum eye_status st;
    if ((st = eye_json_need_int(at, key, -5, 5000, &i, &err)) != EYE_OK) eye_fuzz_error(st, &err);
    if ((st = eye_json_int(at, key, 0, &i, &err)) != EYE_OK) eye_fuzz_error(st, &err);
    if ((st = eye_json_double(at, key, 0, &d, &err)) != EYE_OK) eye_fuzz_error(st, &err);
    if ((st = eye_json_bool(at, key, false, &b, &err)) != EYE_OK) eye_fuzz_error(st, &err);
    if ((st = eye_json_ints(at, key, list, EYE_COUNT(list), &n, &err)) != EYE_OK) eye_fuzz_error(st, &err);
    if ((st = eye_json_str(at, key, "", &s, &n, &err)) == EYE_OK)
        eye_fuzz_read(s, n);
    else
        eye_fuzz_error(st, &err);
    if (eye_json_object(at, key, &child, &err) == EYE_OK) (void)eye_json_has(&child, "a");
    if (eye_json_array(at, key, &child, &err) == EYE_OK)
        for (size_t k = 0; k < eye_json_len(&child); k++) {
            struct eye_json_at item = eye_json_item(&child, k);
            if (eye_json_int(&item, NULL, 0, &i, &err) != EYE_OK && eye_json_int(&item, "x", 0, &i, &err) != EYE_OK)
                eye_fuzz_error(EYE_E_CORRUPT, &err);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_json j;
    struct eye_err err = {0};
    enum eye_status st = eye_json_parse(&j, p, n, 1 << 20, "fuzz", &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    struct eye_json_at root = eye_json_root(&j);
    const char *key;
    json_t *value;
    json_object_foreach(root.v, key, value) read_member(&root, key);
    read_member(&root, NULL);
    eye_json_clear(&j);
    return 0;
}
