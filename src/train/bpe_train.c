/* train/bpe_train: see bpe_train.h. Works on the different words and their counts: 170,000 captions are some 20,000 words. A
 * pair knows its count and the words it was seen in; a heap gives the next pair to merge; a merge visits the pair's words only.
 * Heap entries are corrected when they come up, counts may only have fallen since. Source: Sennrich et al., arXiv 1508.07909;
 * order of merges as in the tokenizers library's BpeTrainer. */
#include "train/bpe_train.h"

#include <string.h>

#include "text/pretok.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#define NONE UINT32_MAX
#define MAX_SYMBOLS ((size_t)1 << 31)

struct word {
    uint32_t first, n; /* its symbols */
    int64_t count;
};
struct pair {
    int32_t left, right; /* left -1 = free slot */
    int64_t count;
    uint32_t seen;       /* head of its list of words */
    uint32_t step;       /* the merge that last made one of it */
};
struct seen { uint32_t word, next; };
struct entry { int64_t count; int32_t left, right; };
struct token { const char *p; uint32_t n; }; /* raw bytes; special tokens: as they are */

struct eye_bpe_trainer {
    const struct eye_alloc *alloc;
    struct eye_tokenizer_train_opts opts;
    struct eye_arena strings;
    /* words */
    struct eye_strmap word_of;
    struct word *word;
    size_t n_words, word_cap;
    int32_t *sym;
    size_t n_sym, sym_cap;
    uint64_t n_texts, n_bytes;
    struct eye_pretok pretok;
    struct eye_pretok_iter cut;
    struct eye_buf text, lower;
    /* pairs */
    struct pair *pair;     /* open addressing, pair_cap a power of two */
    size_t n_pairs, pair_cap;
    struct seen *seen;
    size_t n_seen, seen_cap;
    struct entry *heap;
    size_t n_heap, heap_cap;
    struct entry *risen;   /* pairs that the current merge made */
    size_t n_risen, risen_cap;
    /* tokens */
    struct eye_strmap id_of; /* raw bytes of a token; special tokens are not in it: no merge is one of them */
    struct token *token;
    size_t n_tokens, token_cap;
    struct entry *merge;   /* count unused */
    size_t n_merges, merge_cap;
};

/* GROW(t, array, n, cap): room for one more. */
#define GROW(t, array, count, cap, err)                                                             \
    do {                                                                                            \
        void *grow_ = (t)->array;                                                                   \
        enum eye_status grow_st_ =                                                                  \
            eye_alloc_grow((t)->alloc, &grow_, &(t)->cap, (t)->count + 1, sizeof *(t)->array, err); \
        (t)->array = grow_;                                                                         \
        EYE_TRY(grow_st_);                                                                          \
    } while (0)

/* ---- beginning and end ---- */

static enum eye_status add_token(struct eye_bpe_trainer *t, const char *p, size_t n, struct eye_err *err) {
    char *copy = eye_arena_strdup(&t->strings, p, n);
    if (!copy) return eye_fail_nomem(err, n);
    GROW(t, token, n_tokens, token_cap, err);
    t->token[t->n_tokens++] = (struct token){copy, (uint32_t)n};
    return EYE_OK;
}

/* A token that merges may make: found again by its bytes. */
static enum eye_status add_merged(struct eye_bpe_trainer *t, const char *p, size_t n, struct eye_err *err) {
    bool was_there;
    EYE_TRY(add_token(t, p, n, err));
    const struct token *k = &t->token[t->n_tokens - 1];
    return eye_strmap_put(&t->id_of, k->p, k->n, (int32_t)t->n_tokens - 1, &was_there, err);
}

static enum eye_status check_specials(const struct eye_tokenizer_train_opts *o, struct eye_err *err) {
    for (size_t i = 0; i < o->n_special; i++) {
        const char *s = o->special[i];
        size_t n = strlen(s), first = 0;
        if (n == 0 || n > 256 || eye_utf8_valid((const uint8_t *)s, n) < n)
            return eye_fail(err, EYE_E_ARG, "special token %zu: expected 1 to 256 bytes of UTF-8, got %zu", i, n);
        (void)eye_utf8_get((const uint8_t *)s, &first);
        if (first == n) return eye_fail(err, EYE_E_ARG, "special token \"%s\": one character could be a byte's own token", s);
        for (size_t k = 0; k < i; k++)
            if (strcmp(o->special[k], s) == 0) return eye_fail(err, EYE_E_ARG, "special token \"%s\" is given twice", s);
    }
    if (o->n_vocab < 0 || o->n_vocab > EYE_TOKENIZER_MAX_ID || (size_t)o->n_vocab < 256 + o->n_special)
        return eye_fail(err, EYE_E_ARG, "a vocabulary of %d: expected %zu (256 bytes and %zu special tokens) to %d", o->n_vocab,
                        256 + o->n_special, o->n_special, EYE_TOKENIZER_MAX_ID);
    return EYE_OK;
}

/* Special tokens, then bytes by their characters: those that stand for themselves, then those that GPT-2 moved to U+0100 on. */
static enum eye_status first_tokens(struct eye_bpe_trainer *t, struct eye_err *err) {
    for (size_t i = 0; i < t->opts.n_special; i++)
        EYE_TRY(add_token(t, t->opts.special[i], strlen(t->opts.special[i]), err));
    for (int moved = 0; moved < 2; moved++)
        for (int b = 0; b < 256; b++)
            if ((eye_byte_to_char((uint8_t)b) >= 0x100) == moved) EYE_TRY(add_merged(t, &(char){(char)b}, 1, err));
    return EYE_OK;
}

enum eye_status eye_bpe_trainer_new(struct eye_bpe_trainer **out, const struct eye_tokenizer_train_opts *opts,
                                    const struct eye_alloc *alloc, struct eye_err *err) {
    static const char *const end_of_text[] = {"<|endoftext|>"};
    struct eye_tokenizer_train_opts o = opts ? *opts : (struct eye_tokenizer_train_opts){0};
    if (!o.special) {
        o.special = end_of_text;
        o.n_special = 1;
    }
    if (!o.n_vocab) o.n_vocab = 4096;
    if (o.min_count <= 0) o.min_count = 2;
    EYE_TRY(check_specials(&o, err));
    struct eye_bpe_trainer *t = eye_alloc_zero(alloc, sizeof *t);
    if (!t) return eye_fail_nomem(err, sizeof *t);
    t->alloc = alloc;
    t->opts = o;
    t->pretok = (struct eye_pretok){{{EYE_PRETOK_GPT2, 0}}, 1};
    eye_arena_init(&t->strings, alloc);
    eye_strmap_init(&t->word_of, alloc);
    eye_strmap_init(&t->id_of, alloc);
    eye_pretok_init(&t->cut, &t->pretok, alloc);
    eye_buf_init(&t->text, alloc);
    eye_buf_init(&t->lower, alloc);
    enum eye_status st = first_tokens(t, err);
    if (st == EYE_OK)
        *out = t;
    else
        eye_bpe_trainer_free(t);
    return st;
}

void eye_bpe_trainer_free(struct eye_bpe_trainer *t) {
    if (!t) return;
    eye_alloc_free(t->alloc, t->merge, t->merge_cap * sizeof *t->merge);
    eye_alloc_free(t->alloc, t->token, t->token_cap * sizeof *t->token);
    eye_alloc_free(t->alloc, t->risen, t->risen_cap * sizeof *t->risen);
    eye_alloc_free(t->alloc, t->heap, t->heap_cap * sizeof *t->heap);
    eye_alloc_free(t->alloc, t->seen, t->seen_cap * sizeof *t->seen);
    eye_alloc_free(t->alloc, t->pair, t->pair_cap * sizeof *t->pair);
    eye_alloc_free(t->alloc, t->sym, t->sym_cap * sizeof *t->sym);
    eye_alloc_free(t->alloc, t->word, t->word_cap * sizeof *t->word);
    eye_buf_clear(&t->lower);
    eye_buf_clear(&t->text);
    eye_pretok_clear(&t->cut);
    eye_strmap_clear(&t->id_of);
    eye_strmap_clear(&t->word_of);
    eye_arena_clear(&t->strings);
    eye_alloc_free(t->alloc, t, sizeof *t);
}

/* ---- words ---- */

static enum eye_status count_word(struct eye_bpe_trainer *t, const uint8_t *p, size_t n, struct eye_err *err) {
    bool was_there;
    int32_t found = eye_strmap_get(&t->word_of, (const char *)p, n);
    if (found >= 0) {
        t->word[found].count++;
        return EYE_OK;
    }
    if (t->n_sym + n > MAX_SYMBOLS) return eye_fail(err, EYE_E_LIMIT, "more than %zu bytes of different words", MAX_SYMBOLS);
    char *copy = eye_arena_strdup(&t->strings, (const char *)p, n);
    if (!copy) return eye_fail_nomem(err, n);
    GROW(t, word, n_words, word_cap, err);
    void *sym = t->sym;
    enum eye_status st = eye_alloc_grow(t->alloc, &sym, &t->sym_cap, t->n_sym + n, sizeof *t->sym, err);
    t->sym = sym;
    EYE_TRY(st);
    EYE_TRY(eye_strmap_put(&t->word_of, copy, n, (int32_t)t->n_words, &was_there, err));
    t->word[t->n_words++] = (struct word){(uint32_t)t->n_sym, (uint32_t)n, 1};
    for (size_t i = 0; i < n; i++) t->sym[t->n_sym++] = eye_strmap_get(&t->id_of, copy + i, 1);
    return EYE_OK;
}

enum eye_status eye_bpe_trainer_add(struct eye_bpe_trainer *t, const char *text, size_t n, struct eye_err *err) {
    const uint8_t *p = (const uint8_t *)text, *word;
    size_t len;
    t->n_texts++;
    t->n_bytes += n;
    if (eye_utf8_valid(p, n) < n) {
        t->text.len = 0;
        eye_utf8_lossy(p, n, &t->text);
        if (t->text.failed) return eye_fail_nomem(err, n);
        p = (const uint8_t *)t->text.p;
        n = t->text.len;
    }
    if (t->opts.lowercase) {
        t->lower.len = 0;
        eye_lower(p, n, &t->lower);
        if (t->lower.failed) return eye_fail_nomem(err, n);
        p = (const uint8_t *)t->lower.p;
        n = t->lower.len;
    }
    eye_pretok_start(&t->cut, p, n, true);
    while (eye_pretok_next(&t->cut, &word, &len)) EYE_TRY(count_word(t, word, len, err));
    return t->cut.changed.failed ? eye_fail_nomem(err, n) : EYE_OK;
}

/* ---- pairs ---- */

static size_t slot_of(const struct eye_bpe_trainer *t, int32_t left, int32_t right) {
    uint64_t h = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h >> 32) & (t->pair_cap - 1);
    while (t->pair[i].left >= 0 && (t->pair[i].left != left || t->pair[i].right != right)) i = (i + 1) & (t->pair_cap - 1);
    return i;
}

static enum eye_status grow_pairs(struct eye_bpe_trainer *t, struct eye_err *err) {
    struct pair *old = t->pair;
    size_t old_cap = t->pair_cap, cap = old_cap ? old_cap * 2 : 4096, bytes;
    if (!eye_mul_ok(cap, sizeof *old, &bytes)) return eye_fail(err, EYE_E_LIMIT, "too many different pairs");
    struct pair *grown = eye_alloc_raw(t->alloc, bytes);
    if (!grown) return eye_fail_nomem(err, bytes);
    for (size_t i = 0; i < cap; i++) grown[i].left = -1;
    t->pair = grown;
    t->pair_cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].left >= 0) t->pair[slot_of(t, old[i].left, old[i].right)] = old[i];
    eye_alloc_free(t->alloc, old, old_cap * sizeof *old);
    return EYE_OK;
}

/* `count` more of a pair in this word. step: of the merge that makes them. */
static enum eye_status more_of(struct eye_bpe_trainer *t, int32_t left, int32_t right, uint32_t word, uint32_t step,
                               struct eye_err *err) {
    if ((t->n_pairs + 1) * 4 > t->pair_cap * 3) EYE_TRY(grow_pairs(t, err));
    struct pair *p = &t->pair[slot_of(t, left, right)];
    if (p->left < 0) {
        *p = (struct pair){.left = left, .right = right, .seen = NONE, .step = NONE};
        t->n_pairs++;
    }
    p->count += t->word[word].count;
    if (p->step != step) {
        p->step = step;
        GROW(t, risen, n_risen, risen_cap, err);
        t->risen[t->n_risen++] = (struct entry){0, left, right};
    }
    if (p->seen != NONE && t->seen[p->seen].word == word) return EYE_OK;
    if (t->n_seen >= NONE) return eye_fail(err, EYE_E_LIMIT, "too many places of pairs");
    GROW(t, seen, n_seen, seen_cap, err);
    t->seen[t->n_seen] = (struct seen){word, p->seen};
    p->seen = (uint32_t)t->n_seen++;
    return EYE_OK;
}

static void less_of(struct eye_bpe_trainer *t, int32_t left, int32_t right, uint32_t word) {
    t->pair[slot_of(t, left, right)].count -= t->word[word].count; /* it is there: it was counted when it came to be */
}

/* ---- the heap ---- */

static bool before(const struct entry *a, const struct entry *b) {
    if (a->count != b->count) return a->count > b->count;
    return a->left != b->left ? a->left < b->left : a->right < b->right;
}

static enum eye_status push(struct eye_bpe_trainer *t, struct entry e, struct eye_err *err) {
    GROW(t, heap, n_heap, heap_cap, err);
    size_t i = t->n_heap++;
    for (; i > 0 && before(&e, &t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = e;
    return EYE_OK;
}

static struct entry pop(struct eye_bpe_trainer *t) {
    struct entry top = t->heap[0], last = t->heap[--t->n_heap];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->n_heap; i = child) {
        if (child + 1 < t->n_heap && before(&t->heap[child + 1], &t->heap[child])) child++;
        if (!before(&t->heap[child], &last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return top;
}

/* Pairs that have risen come into the heap with what they now count. */
static enum eye_status push_risen(struct eye_bpe_trainer *t, struct eye_err *err) {
    for (size_t i = 0; i < t->n_risen; i++) {
        struct entry e = t->risen[i];
        e.count = t->pair[slot_of(t, e.left, e.right)].count;
        if (e.count > 0) EYE_TRY(push(t, e, err));
    }
    t->n_risen = 0;
    return EYE_OK;
}

/* ---- merging ---- */

/* Each left, right in a word becomes made; counts of the neighbours follow. */
static enum eye_status merge_word(struct eye_bpe_trainer *t, uint32_t i_word, const struct entry *e, int32_t made,
                                  uint32_t step, struct eye_err *err) {
    struct word *w = &t->word[i_word];
    int32_t *s = t->sym + w->first;
    uint32_t to = 0;
    for (uint32_t i = 0; i < w->n;) {
        if (i + 1 == w->n || s[i] != e->left || s[i + 1] != e->right) {
            s[to++] = s[i++];
            continue;
        }
        if (to > 0) {
            less_of(t, s[to - 1], e->left, i_word);
            EYE_TRY(more_of(t, s[to - 1], made, i_word, step, err));
        }
        if (i + 2 < w->n) {
            less_of(t, e->right, s[i + 2], i_word);
            EYE_TRY(more_of(t, made, s[i + 2], i_word, step, err));
        }
        s[to++] = made;
        i += 2;
    }
    w->n = to;
    return EYE_OK;
}

/* The token that a pair becomes: new, or one of the same bytes that another pair made before. */
static enum eye_status made_of(struct eye_bpe_trainer *t, const struct entry *e, int32_t *made, struct eye_err *err) {
    t->text.len = 0;
    eye_buf_add(&t->text, t->token[e->left].p, t->token[e->left].n);
    eye_buf_add(&t->text, t->token[e->right].p, t->token[e->right].n);
    if (t->text.failed) return eye_fail_nomem(err, t->token[e->left].n);
    *made = eye_strmap_get(&t->id_of, t->text.p, t->text.len);
    if (*made >= 0) return EYE_OK;
    *made = (int32_t)t->n_tokens;
    return add_merged(t, t->text.p, t->text.len, err);
}

static enum eye_status merge_pair(struct eye_bpe_trainer *t, const struct entry *e, struct eye_err *err) {
    uint32_t step = (uint32_t)t->n_merges;
    int32_t made = -1;
    EYE_TRY(made_of(t, e, &made, err));
    GROW(t, merge, n_merges, merge_cap, err);
    t->merge[t->n_merges++] = *e;
    size_t slot = slot_of(t, e->left, e->right);
    uint32_t at = t->pair[slot].seen;
    t->pair[slot].count = 0;
    t->pair[slot].seen = NONE;
    for (; at != NONE; at = t->seen[at].next) EYE_TRY(merge_word(t, t->seen[at].word, e, made, step, err));
    t->pair[slot_of(t, e->left, e->right)].count = 0; /* overlaps (a a a) have taken off what was taken off already */
    return push_risen(t, err);
}

static enum eye_status learn(struct eye_bpe_trainer *t, struct eye_err *err) {
    for (size_t w = 0; w < t->n_words; w++)
        for (uint32_t i = 0; i + 1 < t->word[w].n; i++) {
            const int32_t *s = t->sym + t->word[w].first + i;
            EYE_TRY(more_of(t, s[0], s[1], (uint32_t)w, NONE - 1, err));
        }
    EYE_TRY(push_risen(t, err));
    while (t->n_tokens < (size_t)t->opts.n_vocab && t->n_heap) {
        struct entry e = pop(t);
        int64_t now = t->pair[slot_of(t, e.left, e.right)].count;
        if (now != e.count) { /* it has fallen since it was pushed, or a later entry has its rise */
            e.count = now;
            if (now > 0) EYE_TRY(push(t, e, err));
            continue;
        }
        if (e.count < t->opts.min_count) break;
        EYE_TRY(merge_pair(t, &e, err));
    }
    return EYE_OK;
}

/* ---- the file ---- */

static void put_string(struct eye_buf *out, const char *p, size_t n) {
    eye_buf_adds(out, "\"");
    for (size_t i = 0; i < n; i++) {
        uint8_t c = (uint8_t)p[i];
        if (c == '"' || c == '\\')
            eye_buf_printf(out, "\\%c", c);
        else if (c < ' ')
            eye_buf_printf(out, "\\u%04x", c);
        else
            eye_buf_add(out, p + i, 1);
    }
    eye_buf_adds(out, "\"");
}

static void put_token(const struct eye_bpe_trainer *t, size_t id, struct eye_buf *out) {
    const struct token *k = &t->token[id];
    uint8_t utf8[4];
    if (id < t->opts.n_special) {
        put_string(out, k->p, k->n);
        return;
    }
    eye_buf_adds(out, "\"");
    for (size_t i = 0; i < k->n; i++) {
        size_t n = eye_utf8_put(eye_byte_to_char((uint8_t)k->p[i]), utf8);
        if (utf8[0] == '"' || utf8[0] == '\\') eye_buf_adds(out, "\\");
        eye_buf_add(out, utf8, n);
    }
    eye_buf_adds(out, "\"");
}

static void put_file(const struct eye_bpe_trainer *t, struct eye_buf *out) {
    eye_buf_adds(out, "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [");
    for (size_t i = 0; i < t->opts.n_special; i++) {
        eye_buf_printf(out, "%s\n    {\"id\": %zu, \"content\": ", i ? "," : "", i);
        put_token(t, i, out);
        eye_buf_adds(out, ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
                          "\"special\": true}");
    }
    eye_buf_printf(out, "\n  ],\n  \"normalizer\": %s,\n", t->opts.lowercase ? "{\"type\": \"Lowercase\"}" : "null");
    static const char *const uses[] = {"pre_tokenizer", "post_processor", "decoder"};
    for (size_t i = 0; i < EYE_COUNT(uses); i++)
        eye_buf_printf(out, "  \"%s\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
                            "\"use_regex\": true},\n", uses[i]);
    eye_buf_adds(out, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
                      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
                      "    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": {");
    for (size_t i = 0; i < t->n_tokens; i++) {
        eye_buf_adds(out, i ? ",\n      " : "\n      ");
        put_token(t, i, out);
        eye_buf_printf(out, ": %zu", i);
    }
    eye_buf_adds(out, "\n    },\n    \"merges\": [");
    for (size_t i = 0; i < t->n_merges; i++) {
        eye_buf_adds(out, i ? ",\n      [" : "\n      [");
        put_token(t, (size_t)t->merge[i].left, out);
        eye_buf_adds(out, ", ");
        put_token(t, (size_t)t->merge[i].right, out);
        eye_buf_adds(out, "]");
    }
    eye_buf_adds(out, "\n    ]\n  }\n}\n");
}

enum eye_status eye_bpe_trainer_finish(struct eye_bpe_trainer *t, struct eye_buf *json, struct eye_err *err) {
    if (!t->n_words) return eye_fail(err, EYE_E_ARG, "no text to train a tokenizer from");
    EYE_TRY(learn(t, err));
    put_file(t, json);
    return json->failed ? eye_fail_nomem(err, json->len) : EYE_OK;
}

void eye_bpe_trainer_report(const struct eye_bpe_trainer *t, struct eye_tokenizer_report *r) {
    uint64_t n_tok = 0;
    for (size_t i = 0; i < t->n_words; i++) n_tok += (uint64_t)t->word[i].count * t->word[i].n;
    *r = (struct eye_tokenizer_report){.n_texts = t->n_texts, .n_words = t->n_words, .n_vocab = (int32_t)t->n_tokens,
                                       .n_merges = (int32_t)t->n_merges, .n_bytes = t->n_bytes, .n_tok = n_tok};
}
