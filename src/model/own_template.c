/* own_template: the chat template that a checkpoint carries, wherever transformers keeps it. In order: chat_template.jinja;
 * "chat_template" of chat_template.json, of tokenizer_config.json: a string, or a list of {name, template} of which "default"
 * is meant. */
#include <jansson.h>
#include <string.h>

#include "format/json.h"
#include "model/vlm.h"

static enum eye_status named_default(const struct eye_json_at *list, struct eye_buf *out, struct eye_err *err) {
    const char *name, *text;
    size_t n;
    for (size_t i = 0; i < eye_json_len(list); i++) {
        struct eye_json_at item = eye_json_item(list, i);
        EYE_TRY(eye_json_need_str(&item, "name", &name, NULL, err));
        if (strcmp(name, "default") != 0) continue;
        EYE_TRY(eye_json_need_str(&item, "template", &text, &n, err));
        eye_buf_add(out, text, n);
        return EYE_OK;
    }
    return eye_json_fail(list, NULL, "none of these chat templates is named \"default\"", err);
}

static enum eye_status from_json(const struct eye_json_at *root, struct eye_buf *out, struct eye_err *err) {
    struct eye_json_at list;
    const char *text;
    size_t n;
    if (!eye_json_has(root, "chat_template")) return EYE_OK;
    if (json_is_array(json_object_get(root->v, "chat_template"))) {
        EYE_TRY(eye_json_array(root, "chat_template", &list, err));
        return named_default(&list, out, err);
    }
    EYE_TRY(eye_json_need_str(root, "chat_template", &text, &n, err));
    eye_buf_add(out, text, n);
    return EYE_OK;
}

enum eye_status eye_vlm_own_template(const struct eye_checkpoint *c, struct eye_buf *out, const char **file,
                                     struct eye_err *err) {
    static const char *const in_json[] = {"chat_template.json", "tokenizer_config.json"};
    const char *p;
    size_t n;
    *file = NULL;
    if (eye_checkpoint_text(c, "chat_template.jinja", &p, &n)) {
        eye_buf_add(out, p, n);
        *file = "chat_template.jinja";
    }
    for (size_t i = 0; i < EYE_COUNT(in_json) && !*file; i++) {
        struct eye_json j;
        if (!eye_checkpoint_text(c, in_json[i], &p, &n)) continue;
        EYE_TRY(eye_json_parse(&j, p, n, EYE_JSON_MAX_BYTES, in_json[i], err));
        struct eye_json_at root = eye_json_root(&j);
        enum eye_status st = from_json(&root, out, err);
        if (st == EYE_OK && out->len) *file = in_json[i];
        eye_json_clear(&j);
        EYE_TRY(st);
    }
    return out->failed ? eye_fail_nomem(err, n) : EYE_OK;
}
