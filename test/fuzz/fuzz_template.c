/* Fuzz target: chat templates. Whatever parses is rendered over a conversation; the output and its origins must match. Corpus:
 * corpus/template. */
#include "fuzz.h"

#include "text/jinja.h"
#include "text/unicode.h"

static enum eye_status message(struct eye_jrun *r, const char *role, const char *text, bool of_parts, struct eye_jvalue *out,
                               struct eye_err *err) {
    struct eye_jvalue v, part;
    EYE_TRY(eye_jinja_dict(r, out, err));
    EYE_TRY(eye_jinja_str(r, role, strlen(role), EYE_ORIGIN_TEMPLATE, &v, err));
    EYE_TRY(eye_jinja_put(r, out, "role", v, err));
    EYE_TRY(eye_jinja_str(r, text, strlen(text), EYE_ORIGIN_USER, &v, err));
    if (of_parts) {
        EYE_TRY(eye_jinja_dict(r, &part, err));
        EYE_TRY(eye_jinja_put(r, &part, "text", v, err));
        EYE_TRY(eye_jinja_list(r, 1, &v, err));
        v.list->item[0] = part;
    }
    return eye_jinja_put(r, out, "content", v, err);
}

static enum eye_status render(struct eye_jrun *r, bool of_parts, struct eye_err *err) {
    static const char *const said[][2] = {{"system", " Be \xe4\xb8\xad brief "}, {"user", "What, <image>?\n"},
                                          {"assistant", "</think> A"}};
    const struct eye_jvalue yes = {.kind = EYE_J_BOOL, .b = true};
    struct eye_jvalue list;
    EYE_TRY(eye_jinja_list(r, EYE_COUNT(said), &list, err));
    for (size_t i = 0; i < EYE_COUNT(said); i++)
        EYE_TRY(message(r, said[i][0], said[i][1], of_parts, &list.list->item[i], err));
    EYE_TRY(eye_jinja_set(r, "messages", list, err));
    EYE_TRY(eye_jinja_set(r, "add_generation_prompt", yes, err));
    return eye_jinja_render(r, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_jinja *t;
    struct eye_err err = {0};
    enum eye_status st = eye_jinja_parse(&t, (const char *)p, n, "fuzz", NULL, &err);
    if (st != EYE_OK) return eye_fuzz_error(st, &err);
    for (int of_parts = 0; of_parts < 2; of_parts++) {
        struct eye_jrun r;
        eye_jinja_run_init(&r, t, NULL);
        err = (struct eye_err){0};
        st = render(&r, of_parts, &err);
        if (st != EYE_OK) eye_fuzz_error(st, &err);
        if (r.out.text.len != r.out.origin.len) abort();
        if (st == EYE_OK && r.out.text.len && eye_utf8_valid((const uint8_t *)r.out.text.p,
                                                             r.out.text.len) != r.out.text.len) abort();
        eye_jinja_run_clear(&r);
    }
    eye_jinja_free(t);
    return 0;
}
