/* text/script: see script.h. */
#include "text/script.h"

#include <string.h>

#include "text/template.h"

struct eye_script {
    const struct eye_alloc *alloc;
    const struct eye_tokenizer *tk;
    struct eye_jinja *t;
    char *src;
    size_t n_src;
    bool parts, text; /* what content may be: a list of parts, a string; both: a list only where there are images */
    int32_t stop;
};

const char *eye_script_where(const struct eye_script *s) { return eye_jinja_where(s->t); }
const struct eye_tokenizer *eye_script_tokenizer(const struct eye_script *s) { return s->tk; }
int32_t eye_script_stop_id(const struct eye_script *s) { return s->stop; }
bool eye_script_writes_images(const struct eye_script *s) { return s->parts; }

const char *eye_script_source(const struct eye_script *s, size_t *n) {
    *n = s->n_src;
    return s->src;
}

void eye_script_run_init(const struct eye_script *s, struct eye_jrun *r, const struct eye_alloc *alloc) {
    eye_jinja_run_init(r, s->t, alloc);
}

/* ---- variables ---- */

static enum eye_status put_text(struct eye_jrun *r, struct eye_jvalue *dict, const char *key, const char *text, size_t n,
                                enum eye_origin origin, struct eye_err *err) {
    struct eye_jvalue v;
    EYE_TRY(eye_jinja_str(r, text, n, origin, &v, err));
    return eye_jinja_put(r, dict, key, v, err);
}

static enum eye_status add_part(struct eye_jrun *r, struct eye_jvalue *out, const char *type, struct eye_err *err) {
    EYE_TRY(eye_jinja_dict(r, out, err));
    return put_text(r, out, "type", type, strlen(type), EYE_ORIGIN_TEMPLATE, err);
}

static enum eye_status content_of_parts(struct eye_jrun *r, const struct eye_turn *t, enum eye_origin origin,
                                        struct eye_jvalue *out, struct eye_err *err) {
    size_t n_images = (size_t)t->n_images;
    EYE_TRY(eye_jinja_list(r, n_images + 1, out, err));
    for (size_t i = 0; i < n_images; i++) EYE_TRY(add_part(r, &out->list->item[i], "image", err));
    struct eye_jvalue *text = &out->list->item[n_images];
    EYE_TRY(add_part(r, text, "text", err));
    return put_text(r, text, "text", t->text, t->len, origin, err);
}

/* "<image>\n" for each image, then the text. */
static enum eye_status content_of_text(struct eye_jrun *r, const struct eye_turn *t, enum eye_origin origin,
                                       struct eye_jvalue *out, struct eye_err *err) {
    static const char mark[] = EYE_IMAGE_MARK "\n";
    struct eye_buf text;
    if (t->n_images == 0) return eye_jinja_str(r, t->text, t->len, origin, out, err);
    eye_buf_init(&text, r->arena.alloc);
    for (int i = 0; i < t->n_images; i++) eye_buf_adds(&text, mark);
    size_t n_marks = text.len;
    eye_buf_add(&text, t->text, t->len);
    enum eye_status st = text.failed ? eye_fail_nomem(err, t->len) : eye_jinja_str(r, text.p, text.len, origin, out, err);
    eye_buf_clear(&text);
    if (st != EYE_OK) return st;
    uint8_t *o = (uint8_t *)(uintptr_t)out->s.origin; /* fresh, ours */
    for (size_t i = 0; i < n_marks; i++) o[i] = out->s.p[i] == '\n' ? EYE_ORIGIN_TEMPLATE : EYE_ORIGIN_IMAGE;
    return EYE_OK;
}

static enum eye_status message(const struct eye_script *s, struct eye_jrun *r, const struct eye_turn *t, enum eye_origin origin,
                               struct eye_jvalue *out, struct eye_err *err) {
    static const char *const role[] = {"system", "user", "assistant"};
    struct eye_jvalue content;
    EYE_TRY(eye_jinja_dict(r, out, err));
    EYE_TRY(put_text(r, out, "role", role[t->role], strlen(role[t->role]), EYE_ORIGIN_TEMPLATE, err));
    EYE_TRY(s->parts && (t->n_images > 0 || !s->text) ? content_of_parts(r, t, origin, &content, err)
            : content_of_text(r, t, origin, &content, err));
    return eye_jinja_put(r, out, "content", content, err);
}

/* The text of a special token as a variable; a tokenizer without one leaves it undefined, as transformers does. */
static enum eye_status set_token(const struct eye_script *s, struct eye_jrun *r, const char *name, int32_t id,
                                 struct eye_err *err) {
    struct eye_jvalue v;
    const char *p;
    size_t n;
    if (id < 0 || !eye_tokenizer_token(s->tk, id, &p, &n)) return EYE_OK;
    EYE_TRY(eye_jinja_str(r, p, n, EYE_ORIGIN_TEMPLATE, &v, err));
    return eye_jinja_set(r, name, v, err);
}

static enum eye_status set_variables(const struct eye_script *s, struct eye_jrun *r, bool generation_prompt,
                                     struct eye_err *err) {
    const struct eye_jvalue none = {.kind = EYE_J_NONE}, open = {.kind = EYE_J_BOOL, .b = generation_prompt};
    EYE_TRY(eye_jinja_set(r, "add_generation_prompt", open, err));
    EYE_TRY(eye_jinja_set(r, "tools", none, err));
    EYE_TRY(eye_jinja_set(r, "documents", none, err));
    EYE_TRY(set_token(s, r, "bos_token", eye_tokenizer_bos(s->tk), err));
    EYE_TRY(set_token(s, r, "eos_token", eye_tokenizer_eos(s->tk), err));
    return set_token(s, r, "pad_token", eye_tokenizer_pad(s->tk), err);
}

enum eye_status eye_script_render(const struct eye_script *s, struct eye_jrun *r, const struct eye_turn *turns, size_t n_turns,
                                  bool follows, bool generation_prompt, size_t *from, struct eye_err *err) {
    /* What stood before: a question and an answer. Their texts do not matter, only what is written after the answer. */
    static const struct eye_turn past[] = {{EYE_ROLE_USER, "question", 8, 0}, {EYE_ROLE_ASSISTANT, "answer", 6, 0}};
    static const enum eye_origin origin[] = {EYE_ORIGIN_WRITTEN, EYE_ORIGIN_USER, EYE_ORIGIN_WRITTEN};
    size_t n_past = follows ? EYE_COUNT(past) : 0;
    struct eye_jvalue list;
    EYE_TRY(set_variables(s, r, generation_prompt, err));
    EYE_TRY(eye_jinja_list(r, n_past + n_turns, &list, err));
    for (size_t i = 0; i < n_past + n_turns; i++) {
        const struct eye_turn *t = i < n_past ? &past[i] : &turns[i - n_past];
        EYE_TRY(message(s, r, t, follows && i == 1 ? EYE_ORIGIN_ANSWER : origin[t->role], &list.list->item[i], err));
    }
    EYE_TRY(eye_jinja_set(r, "messages", list, err));
    EYE_TRY(eye_jinja_render(r, err));
    *from = 0;
    if (!follows) return EYE_OK;
    for (size_t i = r->out.origin.len; i > 0 && *from == 0; i--)
        if (r->out.origin.p[i - 1] == EYE_ORIGIN_ANSWER) *from = i;
    if (*from > 0) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: the template leaves earlier answers out, so a conversation cannot go on",
                    eye_script_where(s));
}

/* ---- opening ---- */

/* A question alone, its content in one of the two forms: does it come out? */
static enum eye_status try_content(struct eye_script *s, bool parts, bool *shown, struct eye_err *err) {
    const struct eye_turn turn = {EYE_ROLE_USER, "question", 8, 0};
    struct eye_jrun r;
    size_t from;
    s->parts = parts;
    s->text = !parts;
    eye_script_run_init(s, &r, s->alloc);
    enum eye_status st = eye_script_render(s, &r, &turn, 1, false, true, &from, err);
    *shown = st == EYE_OK && r.out.origin.len && memchr(r.out.origin.p, EYE_ORIGIN_USER, r.out.origin.len);
    eye_jinja_run_clear(&r);
    return st;
}

static enum eye_status choose_content(struct eye_script *s, struct eye_err *err) {
    bool parts = false, text;
    struct eye_err of_parts = {0}, of_text = {0};
    enum eye_status st = try_content(s, false, &text, &of_text);
    if (st != EYE_E_NOMEM && st != EYE_E_LIMIT) st = try_content(s, true, &parts, &of_parts);
    s->parts = parts;
    s->text = text;
    if (parts || text) return EYE_OK;
    if (of_text.code == EYE_OK && of_parts.code == EYE_OK)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: the template writes nothing of what a user says", eye_script_where(s));
    if (err) *err = of_text.code != EYE_OK ? of_text : of_parts;
    return of_text.code != EYE_OK ? of_text.code : of_parts.code;
}

/* The first special token behind an answer. A template that cannot render one has none to tell. */
static enum eye_status find_stop(struct eye_script *s, struct eye_err *err) {
    struct eye_jrun r;
    struct eye_ids ids = {.alloc = s->alloc};
    size_t from;
    s->stop = -1;
    eye_script_run_init(s, &r, s->alloc);
    enum eye_status st = eye_script_render(s, &r, NULL, 0, true, false, &from, NULL);
    if (st == EYE_OK) {
        st = eye_tokenizer_encode(s->tk, r.out.text.p + from, r.out.text.len - from, NULL, &ids, err);
        for (size_t i = 0; i < ids.n && s->stop < 0; i++)
            if (eye_tokenizer_is_special(s->tk, ids.p[i])) s->stop = ids.p[i];
    } else if (st != EYE_E_NOMEM) {
        st = EYE_OK;
    }
    eye_ids_clear(&ids);
    eye_jinja_run_clear(&r);
    return st;
}

enum eye_status eye_script_open(struct eye_script **out, const char *src, size_t n, const char *where,
                                const struct eye_tokenizer *tk, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_script *s = eye_alloc_zero(alloc, sizeof *s);
    enum eye_status st;
    if (!s) return eye_fail_nomem(err, sizeof *s);
    s->alloc = alloc;
    s->tk = tk;
    EYE_TRY_GOTO(eye_jinja_parse(&s->t, src, n, where, alloc, err));
    if (!(s->src = eye_alloc_raw(alloc, n + 1))) {
        st = eye_fail_nomem(err, n);
        goto fail;
    }
    s->n_src = n;
    memcpy(s->src, src, n);
    EYE_TRY_GOTO(choose_content(s, err));
    EYE_TRY_GOTO(find_stop(s, err));
    *out = s;
    return EYE_OK;
fail:
    eye_script_close(s);
    return st;
}

void eye_script_close(struct eye_script *s) {
    if (!s) return;
    eye_jinja_free(s->t);
    eye_alloc_free(s->alloc, s->src, s->n_src + 1);
    eye_alloc_free(s->alloc, s, sizeof *s);
}
