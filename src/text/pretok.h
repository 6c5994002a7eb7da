/* text/pretok: cutting normalised text into the words that BPE works on. A pre-tokenizer is a short list of stages; each cuts
 * the pieces of the one before. Stands on unicode; knows no vocabulary. A new pre-tokenizer is a new kind here and a row in
 * config.c. All matchers are restatements of one exact pattern string each: eye_pretok_pattern tells which are known. */
#ifndef EYE_PRETOK_H
#define EYE_PRETOK_H

#include "base/base.h"

enum eye_pretok_kind {
    EYE_PRETOK_GPT2,         /* ByteLevel's own pattern */
    EYE_PRETOK_MODERN,       /* Qwen2 (arg 1: one digit at a time), Llama 3 and cl100k (arg 3: up to three) */
    EYE_PRETOK_DIGITS,       /* Digits: arg 1 each digit alone, 0 runs of digits */
    EYE_PRETOK_PREFIX_SPACE, /* ByteLevel's add_prefix_space: a piece that does not begin with a blank gets one */
    EYE_PRETOK_METASPACE,    /* blanks become U+2581; arg 2: each piece begins with one, 1: the text's first piece, 0: none;
                              * 3: the text's first piece gets one more, even if it has one */
    EYE_PRETOK_META_SPLIT    /* cuts before each U+2581 */
};
struct eye_pretok_stage {
    enum eye_pretok_kind kind;
    int arg;
};
#define EYE_PRETOK_MAX_STAGES 8
struct eye_pretok {
    struct eye_pretok_stage stage[EYE_PRETOK_MAX_STAGES];
    int n;
};

/* The stage for a regular expression as tokenizer.json writes it; false = not known. */
bool eye_pretok_pattern(const char *regex, struct eye_pretok_stage *stage);

/* Walks over the words of one piece of valid UTF-8. No memory but for changed blanks. */
struct eye_pretok_iter {
    const struct eye_pretok *pt;
    struct { const uint8_t *p, *end; } level[EYE_PRETOK_MAX_STAGES]; /* what stage i has left to cut */
    const uint8_t *p, *end;                                          /* the piece itself, until it is taken */
    bool first;                                                      /* it begins its text */
    struct eye_buf changed;                                          /* the piece with other blanks */
};
void eye_pretok_init(struct eye_pretok_iter *it, const struct eye_pretok *pt, const struct eye_alloc *alloc);
void eye_pretok_start(struct eye_pretok_iter *it, const uint8_t *p, size_t n, bool first);
/* The next word, never empty; valid until the next call. false = done, or it->changed.failed (no memory). */
bool eye_pretok_next(struct eye_pretok_iter *it, const uint8_t **p, size_t *n);
void eye_pretok_clear(struct eye_pretok_iter *it);

#endif
