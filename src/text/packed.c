/* text/packed: the two big lists of a tokenizer.json, vocabulary and merges, as numbers: nothing has to be scanned when they
 * are needed. Written by eye_tokenizer_pack, read in place by eye_tokenizer_open. All u32,
 * little-endian:
 *
 *   n_ids, n_tokens, n_merges, text_bytes
 *   length [n_ids]          of each id's string; 2^32 - 1 = a hole
 *   sorted [n_tokens]       ids by their strings, which is how strings are found
 *   merge  [n_merges][3]    left, right, made; the lowest rank first
 *   text   [text_bytes]     the strings by id, UTF-8
 *
 * Bytes are hostile: whatever they say, only strings of this text and ids of this list come out. */
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

#define HOLE UINT32_MAX
enum { HEAD_WORDS = 4 };

static uint32_t word(const uint8_t *p, size_t i) {
    p += 4 * i;
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_id(const struct eye_tokenizer *tk, uint32_t id) { return id < tk->n_token && tk->token[id].p; }

/* ---- finding ---- */

/* Order of strings: bytes, then length. */
static int compare(const struct eye_token *t, const char *p, size_t n) {
    int d = memcmp(t->p, p, EYE_MIN(t->len, n));
    return d ? d : (t->len > n) - (t->len < n);
}

int32_t eye_tokenizer_find(const struct eye_tokenizer *tk, const char *p, size_t n) {
    int32_t id = eye_strmap_get(&tk->id_of, p, n);
    size_t lo = 0, hi = id < 0 ? tk->n_sorted : 0;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        uint32_t at = word(tk->sorted, mid);
        if (!is_id(tk, at)) return -1; /* the file was written to since it was checked */
        int d = compare(&tk->token[at], p, n);
        if (d == 0) return (int32_t)at;
        if (d < 0) lo = mid + 1;
        else hi = mid;
    }
    return id;
}

/* ---- reading ---- */

struct lists {
    uint32_t n_ids, n_tokens, n_merges;
    size_t text_bytes;
    const uint8_t *length, *sorted, *merge;
    const char *text;
};

static enum eye_status bad(const char *what, struct eye_err *err) {
    return eye_fail(err, EYE_E_CORRUPT, "packed tokenizer: %s; compile the model again", what);
}

static enum eye_status find_lists(struct eye_bytes b, struct lists *l, struct eye_err *err) {
    if (b.n < 4 * HEAD_WORDS) return bad("cut short", err);
    *l = (struct lists){word(b.p, 0), word(b.p, 1), word(b.p, 2), word(b.p, 3), NULL, NULL, NULL, NULL};
    uint64_t words = HEAD_WORDS + (uint64_t)l->n_ids + l->n_tokens + 3 * (uint64_t)l->n_merges;
    if (l->n_ids > EYE_TOKENIZER_MAX_ID || l->n_tokens > l->n_ids || 4 * words + l->text_bytes != b.n)
        return bad("sizes that cannot be", err);
    l->length = (const uint8_t *)b.p + 4 * HEAD_WORDS;
    l->sorted = l->length + 4 * (size_t)l->n_ids;
    l->merge = l->sorted + 4 * (size_t)l->n_tokens;
    l->text = (const char *)l->merge + 12 * (size_t)l->n_merges;
    bool valid = eye_utf8_valid((const uint8_t *)l->text, l->text_bytes) == l->text_bytes;
    return valid ? EYE_OK : bad("text that is no UTF-8", err);
}

static enum eye_status read_tokens(struct eye_tokenizer *tk, const struct lists *l, struct eye_err *err) {
    void *mem = tk->token;
    size_t at = 0, n = 0;
    EYE_TRY(eye_alloc_grow(tk->alloc, &mem, &tk->token_cap, l->n_ids, sizeof *tk->token, err));
    tk->token = mem;
    for (size_t id = 0; id < l->n_ids; id++) {
        uint32_t len = word(l->length, id);
        if (len == HOLE) continue;
        bool inside = len > 0 && at < l->text_bytes && ((unsigned char)l->text[at] & 0xC0) == 0x80;
        if (len > l->text_bytes - at || inside) return bad("a token's string cannot be", err);
        tk->token[id] = (struct eye_token){.p = l->text + at, .len = len, .model = true};
        tk->max_token_bytes = EYE_MAX(tk->max_token_bytes, len);
        at += len;
        n++;
    }
    if (n != l->n_tokens || at != l->text_bytes) return bad("its tokens do not add up", err);
    tk->n_token = l->n_ids;
    tk->n_model = n;
    return EYE_OK;
}

enum eye_status eye_tokenizer_unpack(struct eye_tokenizer *tk, struct eye_bytes lists, struct eye_err *err) {
    struct lists l = {0};
    EYE_TRY(find_lists(lists, &l, err));
    EYE_TRY(read_tokens(tk, &l, err));
    for (size_t i = 0; i < l.n_tokens; i++)
        if (!is_id(tk, word(l.sorted, i))) return bad("an order of ids that are none", err);
    tk->sorted = l.sorted;
    tk->n_sorted = l.n_tokens;
    EYE_TRY(eye_bpe_reserve(&tk->bpe, l.n_merges, err));
    for (uint32_t i = 0; i < l.n_merges; i++) {
        const uint8_t *m = l.merge + 12 * (size_t)i;
        uint32_t left = word(m, 0), right = word(m, 1), made = word(m, 2);
        if (!is_id(tk, left) || !is_id(tk, right) || !is_id(tk, made)) return bad("a merge of ids that are none", err);
        EYE_TRY(eye_bpe_put(&tk->bpe, (int32_t)left, (int32_t)right, i, (int32_t)made, err));
    }
    return EYE_OK;
}

/* ---- writing ---- */

static void put_word(struct eye_buf *b, uint32_t v) {
    const uint8_t le[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    eye_buf_add(b, le, sizeof le);
}

struct place { /* of a token in the order of strings */
    const struct eye_token *t;
    uint32_t id;
};

static int by_string(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    return compare(x->t, y->t->p, y->t->len);
}

static int by_rank(const void *a, const void *b) {
    const struct eye_bpe_slot *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

static void put_tokens(const struct eye_tokenizer *tk, struct place *place, size_t n, struct eye_buf *out) {
    for (size_t id = 0, i = 0; id < tk->n_token; id++) {
        put_word(out, tk->token[id].p ? tk->token[id].len : HOLE);
        if (tk->token[id].p) place[i++] = (struct place){&tk->token[id], (uint32_t)id};
    }
    qsort(place, n, sizeof *place, by_string);
    for (size_t i = 0; i < n; i++) put_word(out, place[i].id);
}

static void put_merges(const struct eye_tokenizer *tk, struct eye_bpe_slot *merge, struct eye_buf *out) {
    size_t n = 0;
    for (size_t i = 0; i < tk->bpe.cap; i++)
        if (tk->bpe.slot[i].left >= 0) merge[n++] = tk->bpe.slot[i];
    qsort(merge, n, sizeof *merge, by_rank);
    for (size_t i = 0; i < n; i++) {
        put_word(out, (uint32_t)merge[i].left);
        put_word(out, (uint32_t)merge[i].right);
        put_word(out, (uint32_t)merge[i].made);
    }
}

enum eye_status eye_tokenizer_put_lists(const struct eye_tokenizer *tk, struct eye_buf *out, struct eye_err *err) {
    size_t n = 0, text = 0, n_merges = tk->bpe.n;
    for (size_t id = 0; id < tk->n_token; id++) {
        n += tk->token[id].p != NULL;
        text += tk->token[id].p ? tk->token[id].len : 0;
    }
    if (text > UINT32_MAX || n_merges > UINT32_MAX) return eye_fail(err, EYE_E_LIMIT, "a vocabulary of %zu bytes", text);
    size_t place_bytes = (n + 1) * sizeof(struct place), merge_bytes = (n_merges + 1) * sizeof(struct eye_bpe_slot);
    struct place *place = eye_alloc_raw(tk->alloc, place_bytes);
    struct eye_bpe_slot *merge = eye_alloc_raw(tk->alloc, merge_bytes);
    bool ok = place && merge;
    if (ok) {
        put_word(out, (uint32_t)tk->n_token);
        put_word(out, (uint32_t)n);
        put_word(out, (uint32_t)n_merges);
        put_word(out, (uint32_t)text);
        put_tokens(tk, place, n, out);
        put_merges(tk, merge, out);
        for (size_t id = 0; id < tk->n_token; id++)
            if (tk->token[id].p) eye_buf_add(out, tk->token[id].p, tk->token[id].len);
    }
    eye_alloc_free(tk->alloc, place, place_bytes);
    eye_alloc_free(tk->alloc, merge, merge_bytes);
    return ok && !out->failed ? EYE_OK : eye_fail_nomem(err, place_bytes + merge_bytes);
}
