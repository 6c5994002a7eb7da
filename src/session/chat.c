/* chat: the form of a model's conversations, and what ends an answer. In order: what the caller asks for, a name or a file; the
 * template of the family; and where the family says nothing of prompts, the checkpoint's own, else none ("raw"). An own
 * template that cannot be run is an error: another would make other answers without a word. */
#include <string.h>

#include "session/session_impl.h"

static void add_end(struct eye_model *m, int64_t id) {
    for (size_t i = 0; i < m->n_end; i++)
        if (m->end[i] == id) return;
    m->end[m->n_end++] = (int32_t)id;
}

static enum eye_status unknown(const struct eye_model *m, const char *name, enum eye_status code, struct eye_err *err) {
    struct eye_buf known;
    eye_buf_init(&known, m->alloc);
    enum eye_status st = eye_fail(err, code, "%s: chat template \"%.100s\" is not known, expected one of %s, or a file",
                                  m->ckpt.path, name, eye_template_list(&known));
    eye_buf_clear(&known);
    return st;
}

static enum eye_status use_script(struct eye_model *m, const char *src, size_t n, const char *where, struct eye_err *err) {
    EYE_TRY(eye_script_open(&m->script, src, n, where, m->tokenizer, m->alloc, err));
    m->chat = EYE_TEMPLATE_SCRIPT;
    return EYE_OK;
}

static enum eye_status asked_for(struct eye_model *m, const char *name, struct eye_err *err) {
    struct eye_map map;
    if (eye_template_by_name(name, &m->chat)) return EYE_OK;
    if (eye_map_open(&map, name, false, EYE_JINJA_MAX_BYTES, NULL) != EYE_OK) return unknown(m, name, EYE_E_ARG, err);
    enum eye_status st = use_script(m, (const char *)map.p, map.size, name, err);
    eye_map_close(&map);
    return st;
}

/* *found: there is one. */
static enum eye_status its_own(struct eye_model *m, bool *found, struct eye_err *err) {
    struct eye_buf text;
    const char *file;
    eye_buf_init(&text, m->alloc);
    enum eye_status st = eye_vlm_own_template(&m->ckpt, &text, &file, err);
    *found = st == EYE_OK && file;
    if (*found) st = use_script(m, text.p ? text.p : "", text.len, file, err);
    eye_buf_clear(&text);
    if (st == EYE_OK) return EYE_OK;
    if (st == EYE_E_UNSUPPORTED && err) {
        struct eye_err why = *err;
        return eye_fail(err, st, "%s: %.300s; --chat-template takes another's name or file", m->ckpt.path, why.text);
    }
    return eye_fail_in(err, st, "%s", m->ckpt.path);
}

enum eye_status eye_model_resolve_chat(struct eye_model *m, struct eye_err *err) {
    const struct eye_vlm_config *c = &m->vlm.config;
    int32_t stop[EYE_TEMPLATE_MAX_STOP];
    bool found = m->opts.chat_template != NULL;
    if (found) EYE_TRY(asked_for(m, m->opts.chat_template, err));
    else if (c->template_unsaid) EYE_TRY(its_own(m, &found, err));
    if (!found && !eye_template_by_name(c->chat_template, &m->chat)) return unknown(m, c->chat_template, EYE_E_UNSUPPORTED,
                                                                                    err);
    for (size_t i = 0; i < c->n_eos; i++) add_end(m, c->eos[i]);
    size_t n = eye_template_stop_ids(m->chat, m->script, m->tokenizer, stop);
    for (size_t i = 0; i < n; i++) add_end(m, stop[i]);
    return EYE_OK;
}

const char *eye_model_chat_name(const struct eye_model *m) {
    return m->script ? eye_script_where(m->script) : eye_template_name(m->chat);
}
