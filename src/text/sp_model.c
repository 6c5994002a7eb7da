/* text/sp_model: a tokenizer from SentencePiece's tokenizer.model, a protobuf of pieces with scores and two specifications. Its
 * BPE joins the neighbours whose joint piece has the highest score; here every cut of a piece into two pieces becomes a row of
 * the merge table, ranked by score. Knows the fields that change ids or text and refuses what it does not follow.
 * Source: sentencepiece_model.proto, bpe_model.cc, normalizer.cc of google/sentencepiece. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { MAX_PIECE_BYTES = 256, MAX_FILE_BYTES = 64 << 20 }; /* real ones: some 50 bytes, 5 MB */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };

static const char where[] = "tokenizer.model";

/* ---- protobuf ---- */

struct field {
    uint32_t number;
    uint64_t value;   /* of a varint, or the bits of a fixed one */
    const uint8_t *p; /* of bytes [n]; else NULL */
    size_t n;
};

static enum eye_status corrupt(const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "%s: %s", where, what);
}

static uint64_t varint(struct eye_cursor *c) {
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        uint8_t b = eye_cursor_u8(c);
        if (shift < 64) v |= (uint64_t)(b & 0x7F) << shift;
        if (b < 0x80) return v;
    }
    c->failed = true; /* more than ten bytes */
    return 0;
}

/* The next field; *more = false at the end. */
static enum eye_status next_field(struct eye_cursor *c, struct field *f, bool *more, struct eye_err *err) {
    *more = eye_cursor_left(c) > 0;
    if (!*more) return EYE_OK;
    uint64_t key = varint(c);
    *f = (struct field){.number = (uint32_t)(key >> 3)};
    switch (key & 7) {
    case 0: f->value = varint(c); break;
    case 1: f->value = eye_cursor_u64(c); break;
    case 5: f->value = eye_cursor_u32(c); break;
    case 2:
        f->value = varint(c);
        if (!c->failed && f->value <= eye_cursor_left(c)) {
            f->n = (size_t)f->value;
            f->p = eye_cursor_bytes(c, f->n);
            break;
        }
        c->failed = true;
        break;
    default: return eye_fail(err, EYE_E_CORRUPT, "%s: byte %zu: wire type %d", where, c->pos, (int)(key & 7));
    }
    if (!c->failed && !(key >> 32)) return EYE_OK;
    return eye_fail(err, EYE_E_CORRUPT, "%s: field at byte %zu runs past its message", where, c->pos);
}

/* ---- specifications ---- */

struct spec {
    uint64_t model_type; /* 1 unigram, 2 BPE */
    bool byte_fallback, blanks_behind, dummy_prefix, squeeze, escape;
    size_t n_rules;      /* bytes of precompiled normalization rules */
    struct field unk_surface, bos, eos, pad; /* p NULL = the default */
};

static enum eye_status read_trainer(struct spec *s, struct eye_cursor c, struct eye_err *err) {
    struct field f;
    for (bool more;;) {
        EYE_TRY(next_field(&c, &f, &more, err));
        if (!more) return EYE_OK;
        if (f.number == 3) s->model_type = f.value;
        if (f.number == 24) s->blanks_behind = f.value != 0;
        if (f.number == 35) s->byte_fallback = f.value != 0;
        if (f.number == 44) s->unk_surface = f;
        if (f.number == 46) s->bos = f;
        if (f.number == 47) s->eos = f;
        if (f.number == 48) s->pad = f;
    }
}

static enum eye_status read_normalizer(struct spec *s, struct eye_cursor c, struct eye_err *err) {
    struct field f;
    for (bool more;;) {
        EYE_TRY(next_field(&c, &f, &more, err));
        if (!more) return EYE_OK;
        if (f.number == 2) s->n_rules += f.n;
        if (f.number == 3) s->dummy_prefix = f.value != 0;
        if (f.number == 4) s->squeeze = f.value != 0;
        if (f.number == 5) s->escape = f.value != 0;
    }
}

static enum eye_status check_spec(const struct spec *s, struct eye_err *err) {
    const char *what = s->model_type == 1 ? "a unigram model (only BPE is)"
                       : s->model_type != 2 ? "a word or character model (only BPE is)"
                       : s->n_rules         ? "normalization rules (precompiled_charsmap) other than identity"
                       : s->squeeze         ? "remove_extra_whitespaces"
                       : !s->escape         ? "escape_whitespaces off"
                       : s->blanks_behind   ? "treat_whitespace_as_suffix"
                                            : NULL;
    if (!what) return EYE_OK;
    return eye_fail(err, EYE_E_UNSUPPORTED, "%s: %s: not supported; a tokenizer.json beside it would be used", where, what);
}

/* All but the pieces. */
static enum eye_status read_spec(struct spec *s, struct eye_cursor c, struct eye_err *err) {
    struct field f;
    *s = (struct spec){.model_type = 1, .dummy_prefix = true, .squeeze = true, .escape = true};
    for (bool more;;) {
        EYE_TRY(next_field(&c, &f, &more, err));
        if (!more) return check_spec(s, err);
        if (f.number == 2) EYE_TRY(read_trainer(s, eye_cursor_make(f.p, f.n), err));
        if (f.number == 3) EYE_TRY(read_normalizer(s, eye_cursor_make(f.p, f.n), err));
        if (f.number == 5 && f.n) { /* the denormalizer: empty unless it has rules */
            struct spec d = *s;
            d.n_rules = 0;
            EYE_TRY(read_normalizer(&d, eye_cursor_make(f.p, f.n), err));
            if (d.n_rules) return eye_fail(err, EYE_E_UNSUPPORTED, "%s: denormalizer rules: not supported", where);
        }
    }
}

/* ---- pieces ---- */

struct piece { int32_t id; float score; };

struct loader {
    struct eye_tokenizer *tk;
    const struct spec *spec;
    struct piece *normal; /* [n_normal] */
    size_t n_normal, cap, used; /* used: of tk->vocab_text */
    size_t n_byte;
};

static enum eye_status add_byte(struct loader *l, const char *p, size_t n, int32_t id, struct eye_err *err) {
    unsigned byte;
    char name[8] = "", again[8];
    if (n == 6) memcpy(name, p, 6);
    if (sscanf(name, "<0x%2X>", &byte) != 1 || byte > 255) return corrupt("a byte piece that is not <0xNN>", err);
    snprintf(again, sizeof again, "<0x%02X>", byte);
    if (strcmp(name, again) != 0) return corrupt("a byte piece that is not <0xNN>", err);
    if (!l->spec->byte_fallback) return corrupt("byte pieces without byte_fallback", err);
    l->tk->byte_id[byte] = id; /* names differ, so ids do */
    l->n_byte++;
    return EYE_OK;
}

static enum eye_status read_piece(struct loader *l, struct eye_cursor c, struct eye_err *err) {
    struct eye_tokenizer *tk = l->tk;
    struct field f, text = {0};
    uint64_t type = NORMAL;
    uint32_t bits = 0;
    float score;
    int32_t id = (int32_t)tk->n_model;
    for (bool more = true; more;) {
        EYE_TRY(next_field(&c, &f, &more, err));
        if (!more) break;
        if (f.number == 1) text = f;
        if (f.number == 2) bits = (uint32_t)f.value;
        if (f.number == 3) type = f.value;
    }
    memcpy(&score, &bits, sizeof score);
    if (!text.n || text.n > MAX_PIECE_BYTES || eye_utf8_valid(text.p, text.n) < text.n || !isfinite(score))
        return eye_fail(err, EYE_E_CORRUPT, "%s: piece %d: expected 1 to %d bytes of UTF-8 and a score", where, id,
                        MAX_PIECE_BYTES);
    if (type == USER_DEFINED)
        return eye_fail(err, EYE_E_UNSUPPORTED, "%s: piece %d is user-defined: not supported", where, id);
    if (type < NORMAL || type > BYTE) return corrupt("a piece of an unknown type", err);
    if (id >= EYE_TOKENIZER_MAX_ID) return eye_fail(err, EYE_E_LIMIT, "%s: more than %d pieces", where, EYE_TOKENIZER_MAX_ID);
    char *p = tk->vocab_text + l->used; /* as long as the file: there is room */
    memcpy(p, text.p, text.n);
    l->used += text.n;
    EYE_TRY(eye_tokenizer_define(tk, (size_t)id, p, text.n, where, err));
    tk->n_model++;
    tk->token[id].special = type == CONTROL;
    tk->token[id].model = type == NORMAL;
    if (type == UNKNOWN && tk->unk >= 0) return corrupt("two unknown pieces", err);
    if (type == UNKNOWN) tk->unk = id;
    if (type == BYTE) return add_byte(l, p, text.n, id, err);
    if (type != NORMAL) return EYE_OK;
    void *mem = l->normal;
    EYE_TRY(eye_alloc_grow(tk->alloc, &mem, &l->cap, l->n_normal + 1, sizeof *l->normal, err));
    l->normal = mem;
    l->normal[l->n_normal++] = (struct piece){id, score};
    return EYE_OK;
}

static int by_score(const void *a, const void *b) {
    const struct piece *x = a, *y = b;
    return x->score != y->score ? (x->score < y->score) - (x->score > y->score) : (x->id > y->id) - (x->id < y->id);
}

/* A row for each way to cut each piece in two; of equal scores the leftmost pair joins first, so they share a rank. */
static enum eye_status make_merges(struct loader *l, struct eye_err *err) {
    struct eye_tokenizer *tk = l->tk;
    uint32_t rank = 0;
    if (l->n_normal) qsort(l->normal, l->n_normal, sizeof *l->normal, by_score);
    for (size_t i = 0; i < l->n_normal; i++) {
        const struct eye_token *t = &tk->token[l->normal[i].id];
        size_t len;
        if (i && l->normal[i].score != l->normal[i - 1].score) rank++;
        for (size_t at = 0; at < t->len; at += len) {
            eye_utf8_get((const uint8_t *)t->p + at, &len);
            int32_t one = eye_strmap_get(&tk->id_of, t->p + at, len);
            if (one < 0 || !tk->token[one].model) /* it could join others without a number of its own */
                return eye_fail(err, EYE_E_UNSUPPORTED, "%s: a character of piece %d is no piece", where, l->normal[i].id);
            if (at == 0) continue;
            int32_t left = eye_strmap_get(&tk->id_of, t->p, at), right = eye_strmap_get(&tk->id_of, t->p + at, t->len - at);
            if (left < 0 || right < 0 || !tk->token[left].model || !tk->token[right].model) continue;
            EYE_TRY(eye_bpe_put(&tk->bpe, left, right, rank, l->normal[i].id, err));
        }
    }
    return EYE_OK;
}

/* The library joins neighbours to an unused piece as well and takes it apart in the end. One that no two others make never
 * comes up. */
static enum eye_status check_unused(const struct eye_tokenizer *tk, struct eye_err *err) {
    for (size_t id = 0; id < tk->n_model; id++) {
        const struct eye_token *t = &tk->token[id];
        size_t len;
        if (t->model || t->special || (int32_t)id == tk->unk || (t->len == 6 && memcmp(t->p, "<0x", 3) == 0)) continue;
        for (size_t at = 0; at < t->len; at += len) {
            eye_utf8_get((const uint8_t *)t->p + at, &len);
            int32_t left = eye_strmap_get(&tk->id_of, t->p, at), right = eye_strmap_get(&tk->id_of, t->p + at, t->len - at);
            if (at && left >= 0 && right >= 0 && tk->token[left].model && tk->token[right].model)
                return eye_fail(err, EYE_E_UNSUPPORTED, "%s: piece %zu is unused, but others make it: not supported", where,
                                id);
        }
    }
    return EYE_OK;
}

/* ---- the rest ---- */

static int32_t control_id(const struct eye_tokenizer *tk, const struct field *name, const char *usual) {
    const char *p = name->p ? (const char *)name->p : usual;
    int32_t id = eye_strmap_get(&tk->id_of, p, name->p ? name->n : strlen(p));
    return id >= 0 && tk->token[id].special ? id : -1;
}

/* What the library does around pieces, and which tokens stand around a text. */
static enum eye_status finish(struct eye_tokenizer *tk, const struct spec *s, const struct eye_json_at *config,
                              struct eye_err *err) {
    static const char surface[] = " \xE2\x81\x87 ";
    bool bos = true, eos = false;
    tk->chars = tk->fuse_unk = true;
    tk->byte_fallback = s->byte_fallback;
    tk->pretok.stage[tk->pretok.n++] = (struct eye_pretok_stage){EYE_PRETOK_METASPACE, s->dummy_prefix ? 3 : 0};
    tk->decoder = (struct eye_decoder){.blanks = true, .byte_runs = s->byte_fallback, .bytes_apart = true,
                                       .strip = s->dummy_prefix, .unk = surface, .n_unk = sizeof surface - 1};
    if (s->unk_surface.p) {
        if (eye_utf8_valid(s->unk_surface.p, s->unk_surface.n) < s->unk_surface.n)
            return corrupt("unk_surface is no UTF-8", err);
        tk->decoder.unk = eye_arena_strdup(&tk->strings, (const char *)s->unk_surface.p, s->unk_surface.n);
        tk->decoder.n_unk = s->unk_surface.n;
        if (!tk->decoder.unk) return eye_fail_nomem(err, s->unk_surface.n);
    }
    tk->bos = control_id(tk, &s->bos, "<s>");
    tk->eos = control_id(tk, &s->eos, "</s>");
    tk->pad = control_id(tk, &s->pad, "<pad>");
    if (config->v) {
        EYE_TRY(eye_json_bool(config, "add_bos_token", true, &bos, err));
        EYE_TRY(eye_json_bool(config, "add_eos_token", false, &eos, err));
        if (eye_json_has(config, "added_tokens_decoder")) EYE_TRY(eye_config_added_decoder(tk, config, err));
    }
    for (size_t id = 0; id < tk->n_model; id++) {
        const struct eye_token *t = &tk->token[id];
        struct eye_added_def def = {.content = t->p, .len = t->len, .id = (int64_t)id, .special = true};
        if (t->special && !t->added) EYE_TRY(eye_tokenizer_add(tk, &def, where, err));
    }
    if (bos && tk->bos >= 0) EYE_TRY(eye_ids_add(&tk->before, tk->bos, err));
    return eos && tk->eos >= 0 ? eye_ids_add(&tk->after, tk->eos, err) : EYE_OK;
}

enum eye_status eye_sp_model_load(struct eye_tokenizer *tk, const void *data, size_t n, const struct eye_json_at *config,
                                  struct eye_err *err) {
    struct eye_cursor c = eye_cursor_make(data, n);
    struct spec spec;
    struct loader l = {.tk = tk, .spec = &spec};
    struct field f;
    enum eye_status st;
    if (n > MAX_FILE_BYTES) return eye_fail(err, EYE_E_LIMIT, "%s: %zu bytes: at most %d", where, n, (int)MAX_FILE_BYTES);
    EYE_TRY(read_spec(&spec, c, err));
    tk->vocab_bytes = EYE_MAX(n, 1);
    if (!(tk->vocab_text = eye_alloc_raw(tk->alloc, tk->vocab_bytes))) return eye_fail_nomem(err, tk->vocab_bytes);
    for (int b = 0; b < 256; b++) tk->byte_id[b] = -1;
    for (bool more = true; more;) {
        EYE_TRY_GOTO(next_field(&c, &f, &more, err));
        if (more && f.number == 1) EYE_TRY_GOTO(read_piece(&l, eye_cursor_make(f.p, f.n), err));
    }
    if (tk->unk < 0 || (spec.byte_fallback && l.n_byte != 256)) {
        st = corrupt(tk->unk < 0 ? "no unknown piece" : "byte_fallback without 256 byte pieces", err);
        goto fail;
    }
    EYE_TRY_GOTO(make_merges(&l, err));
    EYE_TRY_GOTO(check_unused(tk, err));
    EYE_TRY_GOTO(finish(tk, &spec, config, err));
fail:
    eye_alloc_free(tk->alloc, l.normal, l.cap * sizeof *l.normal);
    return st;
}
