/* text/template: see template.h. A new family is a row of `family`: what stands before and after each role's text. */
#include "text/template.h"

#include <string.h>

#include "text/unicode.h"

#define VICUNA_SYSTEM                                                                                             \
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, detailed, " \
    "and polite answers to the user's questions. "

struct role_form { const char *open, *close; };

static const struct family {
    const char *name[4];
    const char *start;           /* before everything */
    const char *system;          /* stands there when no system turn does */
    struct role_form role[3];    /* by enum eye_role */
    const char *user_with_image; /* the user's `open` where images follow; NULL = the same */
    const char *after_image;
    const char *again;           /* before each user turn that follows an answer */
    const char *prompt;          /* opens the answer */
    const char *need[2];         /* special tokens without which it is another model */
    const char *stop[2];
    bool strip;                  /* white space at both ends of texts goes */
    bool system_in_user;         /* the system turn has opened the user's turn already */
    bool whole;                  /* tokenized as one text, not each stretch between images by itself */
    bool images_first;           /* all images of the conversation, then BOS, then text */
} family[] = {
    [EYE_TEMPLATE_RAW] = {.name = {"raw", "none", "plain"}},
    [EYE_TEMPLATE_QWEN2] = {
        .name = {"qwen2", "qwen_2"}, .system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
        .role = {{"<|im_start|>system\n", "<|im_end|>\n"}, {"<|im_start|>user\n", "<|im_end|>\n"},
                 {"<|im_start|>assistant\n", "<|im_end|>\n"}},
        .after_image = "\n", .prompt = "<|im_start|>assistant\n", .need = {"<|im_start|>", "<|im_end|>"},
        .stop = {"<|im_end|>", "<|endoftext|>"}},
    [EYE_TEMPLATE_CHATML] = {
        .name = {"chatml"},
        .role = {{"<|im_start|>system\n", "<|im_end|>\n"}, {"<|im_start|>user\n", "<|im_end|>\n"},
                 {"<|im_start|>assistant\n", "<|im_end|>\n"}},
        .after_image = "\n", .prompt = "<|im_start|>assistant\n", .need = {"<|im_start|>", "<|im_end|>"},
        .stop = {"<|im_end|>", "<|endoftext|>"}},
    [EYE_TEMPLATE_VICUNA] = {
        .name = {"vicuna", "vicuna_v1", "llava_v1"}, .system = VICUNA_SYSTEM,
        .role = {{"", " "}, {"USER: ", " "}, {"ASSISTANT: ", "</s>"}}, .after_image = "\n", .prompt = "ASSISTANT:",
        .need = {"</s>"}, .stop = {"</s>"}},
    [EYE_TEMPLATE_LLAVA] = {
        .name = {"llava", "llava_hf"}, .role = {{"", " "}, {"USER: ", " "}, {"ASSISTANT: ", " "}}, .after_image = "\n",
        .prompt = "ASSISTANT:", .stop = {"</s>"}, .whole = true},
    [EYE_TEMPLATE_SMOLVLM] = {
        .name = {"smolvlm", "smolvlm2", "idefics3"}, .start = "<|im_start|>",
        .role = {{"System: ", "<end_of_utterance>\n"}, {"User: ", "<end_of_utterance>\n"},
                 {"Assistant: ", "<end_of_utterance>\n"}},
        .user_with_image = "User:", .prompt = "Assistant:", .need = {"<|im_start|>", "<end_of_utterance>"},
        .stop = {"<end_of_utterance>"}, .whole = true},
    [EYE_TEMPLATE_LLAMA2] = {
        .name = {"llama2", "llama-2-chat", "llama_2"},
        .role = {{"[INST] <<SYS>>\n", "\n<</SYS>>\n\n"}, {"[INST] ", " [/INST]"}, {" ", " </s>"}},
        .after_image = "\n", .again = "<s>", .need = {"<s>", "</s>"}, .stop = {"</s>"}, .strip = true,
        .system_in_user = true},
    [EYE_TEMPLATE_TINYLLAVA] = {.name = {"tinyllava"}, .images_first = true},
    [EYE_TEMPLATE_SCRIPT] = {.whole = true},
};

bool eye_template_by_name(const char *name, enum eye_template *out) {
    for (size_t i = 0; i < EYE_COUNT(family); i++)
        for (size_t k = 0; k < EYE_COUNT(family[i].name) && family[i].name[k]; k++)
            if (strcmp(name, family[i].name[k]) == 0) {
                *out = (enum eye_template)i;
                return true;
            }
    return false;
}

const char *eye_template_name(enum eye_template kind) { return family[kind].name[0]; }

const char *eye_template_list(struct eye_buf *out) {
    for (size_t i = 0; i < EYE_COUNT(family) && family[i].name[0]; i++) {
        if (i) eye_buf_adds(out, ", ");
        eye_buf_adds(out, family[i].name[0]);
    }
    return out->failed ? "" : out->p;
}

void eye_prompt_init(struct eye_prompt *p, const struct eye_alloc *alloc) {
    *p = (struct eye_prompt){.alloc = alloc};
    eye_buf_init(&p->text, alloc);
}

void eye_prompt_clear(struct eye_prompt *p) {
    eye_alloc_free(p->alloc, p->segment, p->segment_cap * sizeof *p->segment);
    eye_alloc_free(p->alloc, p->literal, p->literal_cap * sizeof *p->literal);
    eye_buf_clear(&p->text);
    eye_prompt_init(p, p->alloc);
}

/* ---- rendering ---- */

/* The segment that text is being added to. */
static enum eye_status text_segment(struct eye_prompt *p, struct eye_prompt_piece **s, struct eye_err *err) {
    void *mem = p->segment;
    if (p->n_segment && !p->segment[p->n_segment - 1].is_image) {
        *s = &p->segment[p->n_segment - 1];
        return EYE_OK;
    }
    EYE_TRY(eye_alloc_grow(p->alloc, &mem, &p->segment_cap, p->n_segment + 1, sizeof *p->segment, err));
    p->segment = mem;
    *s = &p->segment[p->n_segment++];
    **s = (struct eye_prompt_piece){.from = p->text.len, .to = p->text.len, .i_literal = p->n_literal};
    return EYE_OK;
}

static enum eye_status add_text(struct eye_prompt *p, const char *text, size_t n, bool literal, struct eye_err *err) {
    struct eye_prompt_piece *s;
    void *mem = p->literal;
    if (n == 0) return EYE_OK;
    EYE_TRY(text_segment(p, &s, err));
    eye_utf8_lossy((const uint8_t *)text, n, &p->text);
    if (p->text.failed) return eye_fail_nomem(err, n);
    size_t from = s->to;
    s->to = p->text.len;
    if (!literal) return EYE_OK;
    EYE_TRY(eye_alloc_grow(p->alloc, &mem, &p->literal_cap, p->n_literal + 1, sizeof *p->literal, err));
    p->literal = mem;
    p->literal[p->n_literal++] = (struct eye_text_range){from - s->from, s->to - s->from};
    s->n_literal++;
    return EYE_OK;
}

/* text NULL = nothing. */
static enum eye_status add(struct eye_prompt *p, const char *text, struct eye_err *err) {
    return text ? add_text(p, text, strlen(text), false, err) : EYE_OK;
}

enum eye_status eye_prompt_add_text(struct eye_prompt *p, const char *text, struct eye_err *err) { return add(p, text, err); }

enum eye_status eye_prompt_add_image(struct eye_prompt *p, struct eye_err *err) {
    void *mem = p->segment;
    EYE_TRY(eye_alloc_grow(p->alloc, &mem, &p->segment_cap, p->n_segment + 1, sizeof *p->segment, err));
    p->segment = mem;
    p->segment[p->n_segment++] = (struct eye_prompt_piece){.is_image = true, .from = p->text.len, .to = p->text.len};
    p->n_images++;
    return EYE_OK;
}

static enum eye_status add_image(struct eye_prompt *p, struct eye_err *err) {
    size_t i = p->n_pictured++;
    return p->opts.image ? p->opts.image(p->opts.image_ctx, p, i, err) : eye_prompt_add_image(p, err);
}

static const char *find_mark(const char *p, size_t n) {
    return n ? memmem(p, n, EYE_IMAGE_MARK, sizeof EYE_IMAGE_MARK - 1) : NULL;
}

/* What somebody wrote: image marks in it are never more than text. */
static enum eye_status add_written(struct eye_prompt *p, const char *text, size_t n, bool protect, struct eye_err *err) {
    const char *end = text + n, *mark;
    if (protect) return add_text(p, text, n, true, err);
    while ((mark = find_mark(text, (size_t)(end - text)))) {
        EYE_TRY(add_text(p, text, (size_t)(mark - text), false, err));
        text = mark + sizeof EYE_IMAGE_MARK - 1;
        EYE_TRY(add_text(p, mark, (size_t)(text - mark), true, err));
    }
    return add_text(p, text, (size_t)(end - text), false, err);
}

static enum eye_status add_images(struct eye_prompt *p, int n, const char *after, struct eye_err *err) {
    for (int k = 0; k < n; k++) {
        EYE_TRY(add_image(p, err));
        EYE_TRY(add(p, after, err));
    }
    return EYE_OK;
}

/* The turn's text without the blanks that Python's strip() takes from ASCII text. */
static struct eye_turn stripped(struct eye_turn t) {
    static const char blank[] = " \t\n\v\f\r\x1c\x1d\x1e\x1f";
    while (t.len && memchr(blank, t.text[0], sizeof blank - 1)) t.text++, t.len--;
    while (t.len && memchr(blank, t.text[t.len - 1], sizeof blank - 1)) t.len--;
    return t;
}

static enum eye_status render_turn(struct eye_prompt *p, const struct family *f, const struct eye_turn *turns, size_t i,
                                   const struct eye_template_opts *opts, struct eye_err *err) {
    struct eye_turn t = f->strip ? stripped(turns[i]) : turns[i];
    const char *open = f->role[t.role].open;
    bool user = t.role == EYE_ROLE_USER, after_system = i > 0 && turns[i - 1].role == EYE_ROLE_SYSTEM;
    if (user && t.n_images && f->user_with_image) open = f->user_with_image;
    if (user && f->system_in_user && after_system) open = "";
    bool after_answer = i > 0 ? turns[i - 1].role == EYE_ROLE_ASSISTANT : opts->follows;
    if (user && f->again && after_answer) EYE_TRY(add(p, f->again, err));
    EYE_TRY(add(p, open, err));
    if (!f->images_first) EYE_TRY(add_images(p, t.n_images, f->after_image, err));
    EYE_TRY(add_written(p, t.text, t.len, user && opts->protect_user, err));
    return add(p, f->role[t.role].close, err);
}

static enum eye_status render_chat(struct eye_prompt *p, const struct family *f, const struct eye_turn *turns, size_t n,
                                   const struct eye_template_opts *opts, struct eye_err *err) {
    for (size_t i = 0; f->images_first && i < n; i++) EYE_TRY(add_images(p, turns[i].n_images, NULL, err));
    if (opts->follows)
        EYE_TRY(add(p, f->role[EYE_ROLE_ASSISTANT].close, err));
    else
        EYE_TRY(add(p, f->start, err));
    if (!opts->follows && (n == 0 || turns[0].role != EYE_ROLE_SYSTEM)) EYE_TRY(add(p, f->system, err));
    for (size_t i = 0; i < n; i++) EYE_TRY(render_turn(p, f, turns, i, opts, err));
    return opts->no_generation_prompt ? EYE_OK : add(p, f->prompt, err);
}

static enum eye_status render_raw(struct eye_prompt *p, const struct eye_turn *turns, size_t n,
                                  const struct eye_template_opts *opts, struct eye_err *err) {
    for (size_t i = 0; i < n; i++) {
        const char *text = turns[i].text, *end = text + turns[i].len, *mark;
        bool literal = opts->protect_user && turns[i].role == EYE_ROLE_USER;
        int n_marks = 0;
        for (const char *q = text; (q = find_mark(q, (size_t)(end - q))); q += sizeof EYE_IMAGE_MARK - 1) n_marks++;
        if (n_marks > turns[i].n_images)
            return eye_fail(err, EYE_E_ARG, "prompt: %d " EYE_IMAGE_MARK " marks, but %d images", n_marks, turns[i].n_images);
        for (int k = n_marks; k < turns[i].n_images; k++) EYE_TRY(add_image(p, err));
        while ((mark = find_mark(text, (size_t)(end - text)))) {
            EYE_TRY(add_text(p, text, (size_t)(mark - text), literal, err));
            EYE_TRY(add_image(p, err));
            text = mark + sizeof EYE_IMAGE_MARK - 1;
        }
        EYE_TRY(add_text(p, text, (size_t)(end - text), literal, err));
    }
    return EYE_OK;
}

/* ---- scripts ---- */

/* Bytes [from, to) that the template wrote: each mark is an image's place if it writes those itself. */
static enum eye_status add_scripted(struct eye_prompt *p, const char *text, size_t n, bool marks, struct eye_err *err) {
    const char *end = text + n, *mark;
    while (marks && (mark = find_mark(text, (size_t)(end - text)))) {
        EYE_TRY(add_text(p, text, (size_t)(mark - text), false, err));
        EYE_TRY(add_image(p, err));
        text = mark + sizeof EYE_IMAGE_MARK - 1;
    }
    return add_text(p, text, (size_t)(end - text), false, err);
}

/* The finished text, cut where its origin changes. */
static enum eye_status add_runs(struct eye_prompt *p, const struct eye_jout *out, size_t from, struct eye_err *err) {
    const struct eye_template_opts *o = &p->opts;
    bool marks = eye_script_writes_images(o->script);
    for (size_t to; from < out->text.len; from = to) {
        const char *text = out->text.p + from;
        enum eye_origin origin = (enum eye_origin)out->origin.p[from];
        for (to = from + 1; to < out->text.len && (enum eye_origin)out->origin.p[to] == origin;) to++;
        if (origin == EYE_ORIGIN_TEMPLATE)
            EYE_TRY(add_scripted(p, text, to - from, marks, err));
        else if (origin == EYE_ORIGIN_IMAGE)
            EYE_TRY(add_scripted(p, text, to - from, true, err));
        else
            EYE_TRY(add_written(p, text, to - from, o->protect_user && origin == EYE_ORIGIN_USER, err));
    }
    return EYE_OK;
}

static bool begins_with_bos(const struct eye_jout *out, int32_t bos, const struct eye_tokenizer *tk) {
    const char *p;
    size_t n;
    return bos >= 0 && eye_tokenizer_token(tk, bos, &p, &n) && n > 0 && n <= out->text.len && memcmp(out->text.p, p, n) == 0 &&
           out->origin.p[0] == EYE_ORIGIN_TEMPLATE;
}

static enum eye_status render_script(struct eye_prompt *p, const struct eye_turn *turns, size_t n, struct eye_err *err) {
    const struct eye_script *s = p->opts.script;
    size_t n_images = 0, from;
    struct eye_jrun r;
    if (!s) return eye_fail(err, EYE_E_ARG, "the template is a script, but there is none");
    for (size_t i = 0; i < n; i++) n_images += (size_t)turns[i].n_images;
    eye_script_run_init(s, &r, p->alloc);
    enum eye_status st = eye_script_render(s, &r, turns, n, p->opts.follows, !p->opts.no_generation_prompt, &from, err);
    if (st == EYE_OK) {
        p->has_bos = begins_with_bos(&r.out, eye_tokenizer_bos(eye_script_tokenizer(s)), eye_script_tokenizer(s));
        st = add_runs(p, &r.out, from, err);
    }
    eye_jinja_run_clear(&r);
    if (st == EYE_OK && p->n_pictured != n_images)
        st = eye_fail(err, EYE_E_UNSUPPORTED, "%s: the template wrote %zu places " EYE_IMAGE_MARK " for %zu images",
                      eye_script_where(s), p->n_pictured, n_images);
    return st;
}

enum eye_status eye_prompt_render(struct eye_prompt *p, enum eye_template kind, const struct eye_turn *turns, size_t n_turns,
                                  const struct eye_template_opts *opts, struct eye_err *err) {
    static const struct eye_template_opts plain;
    p->kind = kind;
    p->text.len = p->n_segment = p->n_literal = p->n_images = p->n_pictured = 0;
    p->has_bos = false;
    for (size_t i = 0; i < n_turns; i++)
        if (turns[i].n_images < 0 || turns[i].role < EYE_ROLE_SYSTEM || turns[i].role > EYE_ROLE_ASSISTANT)
            return eye_fail(err, EYE_E_ARG, "turn %zu: role %d with %d images", i, (int)turns[i].role, turns[i].n_images);
    if (!opts) opts = &plain;
    p->opts = *opts;
    if (kind == EYE_TEMPLATE_RAW) return render_raw(p, turns, n_turns, opts, err);
    if (kind == EYE_TEMPLATE_SCRIPT) return render_script(p, turns, n_turns, err);
    return render_chat(p, &family[kind], turns, n_turns, opts, err);
}

/* ---- encoding ---- */

static enum eye_status need_special(const struct eye_tokenizer *tk, const char *token, struct eye_err *err) {
    int32_t id = eye_tokenizer_id(tk, token, strlen(token));
    if (id >= 0 && eye_tokenizer_is_special(tk, id)) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "the tokenizer has no special token %s: not a model for this chat template", token);
}

enum eye_status eye_prompt_encode(const struct eye_prompt *p, const struct eye_tokenizer *tk, struct eye_ids *ids,
                                  struct eye_err *err) {
    const struct eye_encode_opts bos = {.add_before = true};
    const struct family *f = &family[p->kind];
    size_t i = 0;
    for (size_t k = 0; k < EYE_COUNT(f->need) && f->need[k]; k++) EYE_TRY(need_special(tk, f->need[k], err));
    for (; f->images_first && i < p->n_segment && p->segment[i].is_image; i++) EYE_TRY(eye_ids_add(ids, EYE_TOKEN_IMAGE, err));
    if (!p->opts.follows && !p->has_bos) EYE_TRY(eye_tokenizer_encode(tk, "", 0, &bos, ids, err));
    for (; i < p->n_segment; i++) {
        const struct eye_prompt_piece *s = &p->segment[i];
        if (s->is_image) {
            EYE_TRY(eye_ids_add(ids, EYE_TOKEN_IMAGE, err));
            continue;
        }
        struct eye_encode_opts opts = {.continued = f->whole && i > 0, .literal = p->literal + s->i_literal,
                                        .n_literal = s->n_literal};
        EYE_TRY(eye_tokenizer_encode(tk, p->text.p + s->from, s->to - s->from, &opts, ids, err));
    }
    return EYE_OK;
}

/* Renders and encodes; *total = positions that the prompt takes. */
static enum eye_status measure(struct eye_prompt *p, enum eye_template kind, const struct eye_turn *turns, size_t n,
                               const struct eye_template_opts *opts, const struct eye_tokenizer *tk, size_t n_image_tok,
                               struct eye_ids *ids, size_t *total, struct eye_err *err) {
    size_t rows;
    ids->n = 0;
    EYE_TRY(eye_prompt_render(p, kind, turns, n, opts, err));
    EYE_TRY(eye_prompt_encode(p, tk, ids, err));
    if (!eye_mul_ok(p->n_images, n_image_tok, &rows) || !eye_add_ok(ids->n - p->n_images, rows, total))
        return eye_fail(err, EYE_E_LIMIT, "prompt: %zu images of %zu tokens", p->n_images, n_image_tok);
    return EYE_OK;
}

/* The first n tokens of ids as text, without a character that is cut in two. */
static enum eye_status first_tokens(const struct eye_tokenizer *tk, const struct eye_ids *ids, size_t n, struct eye_buf *text,
                                    struct eye_err *err) {
    struct eye_detok d;
    text->len = 0;
    eye_detok_init(&d, tk, false);
    for (size_t i = 0; i < n; i++) eye_detok_push(&d, ids->p[i], text);
    return text->failed ? eye_fail_nomem(err, n) : EYE_OK;
}

enum eye_status eye_prompt_fit(struct eye_prompt *p, enum eye_template kind, const struct eye_turn *turns, size_t n_turns,
                               const struct eye_template_opts *opts, const struct eye_tokenizer *tk, size_t n_image_tok,
                               size_t max_tok, struct eye_ids *ids, size_t *n_dropped, struct eye_err *err) {
    struct eye_encode_opts user_opts = {.no_special = opts && opts->protect_user};
    struct eye_ids user = {.alloc = p->alloc};
    struct eye_turn *cut = NULL;
    struct eye_buf text;
    size_t total = 0, i_user = n_turns, keep, bytes = n_turns * sizeof *cut;
    enum eye_status st = EYE_OK;
    *n_dropped = 0;
    EYE_TRY(measure(p, kind, turns, n_turns, opts, tk, n_image_tok, ids, &total, err));
    if (total <= max_tok) return EYE_OK;
    eye_buf_init(&text, p->alloc);
    while (i_user > 0 && turns[i_user - 1].role != EYE_ROLE_USER) i_user--;
    if (i_user-- > 0) {
        if (!(cut = eye_alloc_raw(p->alloc, bytes))) return eye_fail_nomem(err, bytes);
        memcpy(cut, turns, bytes);
        EYE_TRY_GOTO(eye_tokenizer_encode(tk, turns[i_user].text, turns[i_user].len, &user_opts, &user, err));
    }
    /* The first guess nearly always fits: tokens merge over the cut only by accident. Steps grow, so the loop is short. */
    keep = user.n;
    for (size_t round = 1; total > max_tok; round++) {
        if (keep == 0) {
            st = eye_fail(err, EYE_E_LIMIT, "prompt: %zu tokens without the user's text; at most %zu fit", total, max_tok);
            goto fail;
        }
        size_t step = (total - max_tok) * round;
        keep -= EYE_MIN(step, keep);
        EYE_TRY_GOTO(first_tokens(tk, &user, keep, &text, err));
        cut[i_user].text = text.p ? text.p : "";
        cut[i_user].len = text.len;
        EYE_TRY_GOTO(measure(p, kind, cut, n_turns, opts, tk, n_image_tok, ids, &total, err));
    }
    *n_dropped = user.n - keep;
fail:
    eye_alloc_free(p->alloc, cut, bytes);
    eye_ids_clear(&user);
    eye_buf_clear(&text);
    return st;
}

size_t eye_template_stop_ids(enum eye_template kind, const struct eye_script *script, const struct eye_tokenizer *tk,
                             int32_t out[EYE_TEMPLATE_MAX_STOP]) {
    const struct family *f = &family[kind];
    int32_t eos = eye_tokenizer_eos(tk);
    size_t n = 0;
    if (eos >= 0) out[n++] = eos;
    if (script && eye_script_stop_id(script) >= 0 && eye_script_stop_id(script) != eos) out[n++] = eye_script_stop_id(script);
    for (size_t i = 0; i < EYE_COUNT(f->stop) && f->stop[i]; i++) {
        int32_t id = eye_tokenizer_id(tk, f->stop[i], strlen(f->stop[i]));
        if (id >= 0 && id != eos) out[n++] = id;
    }
    return n;
}
