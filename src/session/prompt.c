/* prompt: a query to ids. The text room renders and tokenizes; here images become rows, the image-first order is made, and the
 * whole is held against the context. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "session/session_impl.h"

/* What an image is asked when nobody asks, and the model's configuration does not say either. */
#define DEFAULT_PROMPT "Describe this image."

struct assembly {
    const struct eye_model *m;
    const struct eye_query *q;
    enum eye_template kind;
    struct eye_turn single, *turn; /* [n_turn]: &single where there is no conversation */
    size_t n_turn;
    size_t n_first; /* image rows before everything */
    struct eye_template_opts opts;
};

size_t eye_query_image_rows(const struct eye_model *m, const struct eye_query *q) {
    size_t n = 0;
    for (size_t i = 0; i < q->n_images; i++) n += (size_t)eye_model_image_rows(m, &q->images[i]);
    return n;
}

/* Image i as its pictures and the text around them. */
static enum eye_status lay_out(void *ctx, struct eye_prompt *p, size_t i, struct eye_err *err) {
    const struct assembly *a = ctx;
    const struct eye_tile_text *t = &a->m->vlm.config.tile_text;
    struct eye_tiles tiles;
    EYE_TRY(eye_model_tiles(a->m, &a->q->images[i], &tiles, err));
    for (int row = 1; row <= tiles.rows; row++) {
        for (int col = 1; col <= tiles.cols; col++) {
            char mark[128];
            snprintf(mark, sizeof mark, "%s%d%s%d%s", t->tile[0], row, t->tile[1], col, t->tile[2]);
            EYE_TRY(eye_prompt_add_text(p, t->tile[0] ? mark : NULL, err));
            EYE_TRY(eye_prompt_add_image(p, err));
        }
        EYE_TRY(eye_prompt_add_text(p, t->row_end, err));
    }
    EYE_TRY(eye_prompt_add_text(p, tiles.rows ? t->whole : t->alone, err));
    EYE_TRY(eye_prompt_add_image(p, err));
    return eye_prompt_add_text(p, t->end, err);
}

static enum eye_status check_messages(const struct eye_query *q, struct eye_err *err) {
    size_t n_images = 0;
    if (q->text || q->raw)
        return eye_fail(err, EYE_E_ARG, "prompt: %zu messages and a %s, expected one of them", q->n_messages,
                        q->raw ? "raw prompt" : "text");
    for (size_t i = 0; i < q->n_messages; i++) {
        const struct eye_message *msg = &q->messages[i];
        if (msg->role < EYE_MESSAGE_SYSTEM || msg->role > EYE_MESSAGE_ASSISTANT)
            return eye_fail(err, EYE_E_ARG, "prompt: message %zu has role %d, expected 0 to 2", i, (int)msg->role);
        if (msg->n_images > q->n_images - n_images)
            return eye_fail(err, EYE_E_ARG, "prompt: message %zu is the first without its images, of which there are %zu", i,
                            q->n_images);
        n_images += msg->n_images;
    }
    if (n_images == q->n_images) return EYE_OK;
    return eye_fail(err, EYE_E_ARG, "prompt: %zu images, but the messages have %zu", q->n_images, n_images);
}

static enum eye_status check_query(const struct eye_model *m, const struct eye_query *q, struct eye_err *err) {
    if (q->n_messages && !q->messages)
        return eye_fail(err, EYE_E_ARG, "prompt: %zu messages, but no memory with them", q->n_messages);
    if (q->n_messages) EYE_TRY(check_messages(q, err));
    if (!q->text && q->raw) return eye_fail(err, EYE_E_ARG, "prompt: a raw one needs a text");
    if (q->n_images && !q->images) return eye_fail(err, EYE_E_ARG, "prompt: %zu images, but no memory with them", q->n_images);
    if (q->n_images && m->image_tokens == 0)
        return eye_fail(err, EYE_E_ARG, "prompt: %zu images to a model without eyes", q->n_images);
    /* More than any context takes, and few enough for the sums below. */
    if (q->n_images > (size_t)m->opts.n_ctx)
        return eye_fail(err, EYE_E_LIMIT, "prompt: %zu images do not fit a context of %d positions", q->n_images,
                        m->opts.n_ctx);
    return EYE_OK;
}

/* Positions the ids take, image marks counted in rows. */
static size_t positions(const struct assembly *a, const struct eye_ids *ids) {
    size_t n = a->n_first;
    for (size_t i = 0; i < ids->n; i++) n += ids->p[i] == EYE_TOKEN_IMAGE ? (size_t)a->m->picture_rows : 1;
    return n;
}

/* most: positions the prompt may take. */
static enum eye_status encode_whole(const struct assembly *a, struct eye_prompt *p, size_t most, struct eye_ids *ids,
                                    struct eye_err *err) {
    EYE_TRY(eye_prompt_render(p, a->kind, a->turn, a->n_turn, &a->opts, err));
    EYE_TRY(eye_prompt_encode(p, a->m->tokenizer, ids, err));
    size_t n = positions(a, ids), n_image = eye_query_image_rows(a->m, a->q);
    if (n == 0) return eye_fail(err, EYE_E_ARG, "prompt: it is empty");
    if (n <= most) return EYE_OK;
    return eye_fail(err, EYE_E_LIMIT,
                    "prompt: %zu tokens (%zu of images) and an answer do not fit: the context has room for %zu and one; "
                    "raise it (n_ctx, -c), shorten the text, or let it be cut (truncate, --truncate)",
                    n, n_image, most);
}

static enum eye_status encode_cut(const struct assembly *a, struct eye_prompt *p, size_t room, struct eye_ids *ids,
                                  bool *truncated, struct eye_err *err) {
    /* Room for the answer as asked for, but no more than a quarter of what there is: the question matters too. */
    size_t reserve = (size_t)EYE_MAX(a->q->reserve, 1), most = room - EYE_MAX(EYE_MIN(reserve, room / 4), 1), n_dropped;
    if (a->n_first > most)
        return eye_fail(err, EYE_E_LIMIT, "prompt: %zu image rows do not fit: the context has room for %zu", a->n_first, most);
    EYE_TRY(eye_prompt_fit(p, a->kind, a->turn, a->n_turn, &a->opts, a->m->tokenizer, (size_t)a->m->picture_rows,
                           most - a->n_first, ids, &n_dropped, err));
    *truncated = n_dropped > 0;
    if (positions(a, ids) == 0) return eye_fail(err, EYE_E_ARG, "prompt: it is empty");
    return EYE_OK;
}

/* Each mark becomes its rows, from the back so that nothing is overwritten before it is read. */
static enum eye_status expand_images(const struct assembly *a, struct eye_ids *ids, struct eye_err *err) {
    size_t from = ids->n, to = positions(a, ids), rows = (size_t)a->m->picture_rows;
    EYE_TRY(eye_ids_reserve(ids, to - from, err));
    ids->n = to;
    while (from > 0) {
        int32_t id = ids->p[--from];
        size_t n = id == EYE_TOKEN_IMAGE ? rows : 1;
        to -= n;
        for (size_t i = 0; i < n; i++) ids->p[to + i] = id == EYE_TOKEN_IMAGE ? EYE_TOKEN_IMAGE_ROW : id;
    }
    for (size_t i = 0; i < a->n_first; i++) ids->p[i] = EYE_TOKEN_IMAGE_ROW;
    return EYE_OK;
}

const char *eye_model_default_prompt(const struct eye_vlm_config *c) { return c->has_prompt ? c->prompt : DEFAULT_PROMPT; }

/* What the template renders. first: the images stand before all text, so no turn has any. */
static enum eye_status make_turns(struct assembly *a, bool first, struct eye_err *err) {
    static const enum eye_role role[] = {EYE_ROLE_SYSTEM, EYE_ROLE_USER, EYE_ROLE_ASSISTANT};
    const struct eye_vlm_config *c = &a->m->vlm.config;
    const struct eye_query *q = a->q;
    const char *own = eye_model_default_prompt(c);
    const struct eye_message alone = {EYE_MESSAGE_USER, q->text, q->n_images}, *msg = q->n_messages ? q->messages : &alone;
    a->turn = &a->single;
    a->n_turn = EYE_MAX(q->n_messages, 1);
    size_t bytes;
    if (a->n_turn > 1) {
        if (!eye_mul_ok(a->n_turn, sizeof *a->turn, &bytes)) return eye_fail_nomem(err, SIZE_MAX);
        if (!(a->turn = eye_alloc_raw(a->m->alloc, bytes))) return eye_fail_nomem(err, bytes);
    }
    for (size_t i = 0; i < a->n_turn; i++) {
        const char *text = msg[i].text;
        if (!text) text = a->n_turn == 1 && msg[i].role == EYE_MESSAGE_USER ? own : "";
        a->turn[i] = (struct eye_turn){role[msg[i].role], text, strlen(text), first ? 0 : (int)msg[i].n_images};
    }
    return EYE_OK;
}

enum eye_status eye_query_assemble(const struct eye_model *m, const struct eye_query *q, int32_t room, struct eye_ids *ids,
                                   bool *truncated, struct eye_err *err) {
    ids->n = 0;
    *truncated = false;
    EYE_TRY(check_query(m, q, err));
    if (room >= 0 && room < 2) return eye_fail(err, EYE_E_LIMIT, "prompt: the context is full (%d positions left)", room);
    bool first = q->position == EYE_IMAGES_FIRST || (m->vlm.config.images_first && !q->raw);
    struct assembly a = {.m = m, .q = q, .kind = q->raw ? EYE_TEMPLATE_RAW : m->chat,
                         .n_first = first ? eye_query_image_rows(m, q) : 0};
    EYE_TRY(make_turns(&a, first, err));
    if (m->vlm.config.prep.tiles.longest_px) a.opts = (struct eye_template_opts){.image = lay_out, .image_ctx = &a};
    a.opts.follows = q->next_turn;
    a.opts.script = m->script;
    a.opts.protect_user = q->strangers;
    struct eye_prompt p;
    enum eye_status st;
    eye_prompt_init(&p, m->alloc);
    if (q->truncate && room >= 0)
        st = encode_cut(&a, &p, (size_t)room, ids, truncated, err);
    else
        st = encode_whole(&a, &p, room < 0 ? SIZE_MAX : (size_t)room - 1, ids, err);
    if (st == EYE_OK) st = expand_images(&a, ids, err);
    eye_prompt_clear(&p);
    if (a.turn != &a.single) eye_alloc_free(m->alloc, a.turn, a.n_turn * sizeof *a.turn);
    return st;
}

enum eye_status eye_session_assemble(struct eye_session *s, const struct eye_query *query, int32_t *ids, size_t cap, size_t *n,
                                     bool *truncated, struct eye_err *err) {
    struct eye_ids list = {.alloc = s->alloc};
    bool cut;
    enum eye_status st = eye_query_assemble(s->model, query, s->n_ctx - eye_session_n_past(s), &list, &cut, err);
    if (st == EYE_OK) {
        for (size_t i = 0; i < EYE_MIN(list.n, cap); i++) ids[i] = list.p[i];
        *n = list.n;
        if (truncated) *truncated = cut;
    }
    eye_ids_clear(&list);
    return st;
}

/* ---- text without a session ---- */

enum eye_status eye_model_tokenize(const struct eye_model *m, const char *text, size_t len, uint32_t flags, int32_t *ids,
                                   size_t cap, size_t *n, struct eye_err *err) {
    struct eye_ids list = {.alloc = m->alloc};
    struct eye_encode_opts opts = {.add_before = (flags & EYE_TOKENIZE_BOS) != 0,
                                   .no_special = !(flags & EYE_TOKENIZE_SPECIAL)};
    enum eye_status st = eye_tokenizer_encode(m->tokenizer, text, len, &opts, &list, err);
    if (st == EYE_OK) {
        if (EYE_MIN(list.n, cap)) memcpy(ids, list.p, EYE_MIN(list.n, cap) * sizeof *ids);
        *n = list.n;
    }
    eye_ids_clear(&list);
    return st;
}

static enum eye_status give_text(struct eye_buf *b, char *out, size_t cap, size_t *len, struct eye_err *err) {
    enum eye_status st = b->failed ? eye_fail_nomem(err, b->len) : EYE_OK;
    if (st == EYE_OK) {
        if (EYE_MIN(b->len, cap)) memcpy(out, b->p, EYE_MIN(b->len, cap));
        *len = b->len;
    }
    eye_buf_clear(b);
    return st;
}

enum eye_status eye_model_detokenize(const struct eye_model *m, const int32_t *ids, size_t n, char *out, size_t cap,
                                     size_t *len, struct eye_err *err) {
    struct eye_buf text;
    eye_buf_init(&text, m->alloc);
    eye_tokenizer_decode(m->tokenizer, ids, n, false, &text);
    return give_text(&text, out, cap, len, err);
}

enum eye_status eye_model_chat_text(const struct eye_model *m, const char *user, int32_t n_images, char *out, size_t cap,
                                    size_t *len, struct eye_err *err) {
    struct eye_turn turn = {EYE_ROLE_USER, user, strlen(user), n_images};
    const struct eye_template_opts opts = {.script = m->script};
    struct eye_prompt p;
    struct eye_buf text;
    if (n_images < 0 || n_images > m->opts.n_ctx)
        return eye_fail(err, EYE_E_ARG, "n_images is %d, expected 0 to %d", n_images, m->opts.n_ctx);
    eye_prompt_init(&p, m->alloc);
    eye_buf_init(&text, m->alloc);
    enum eye_status st = eye_prompt_render(&p, m->chat, &turn, 1, &opts, err);
    for (size_t i = 0; st == EYE_OK && i < p.n_segment; i++) {
        const struct eye_prompt_piece *s = &p.segment[i];
        if (s->is_image)
            eye_buf_adds(&text, EYE_IMAGE_MARK);
        else
            eye_buf_add(&text, p.text.p + s->from, s->to - s->from);
    }
    eye_prompt_clear(&p);
    if (st == EYE_OK) return give_text(&text, out, cap, len, err);
    eye_buf_clear(&text);
    return st;
}
