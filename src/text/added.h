/* text/added: finding added tokens (special and other) in text, before anything else happens to it. Semantics of the
 * tokenizers library's AddedVocabulary: leftmost-longest, then the conditions of the token found. */
#ifndef EYE_ADDED_H
#define EYE_ADDED_H

#include "base/base.h"

struct eye_added {
    int32_t id;
    bool special, normalized; /* normalized: matched, in its normalised form, against normalised text */
    bool single_word, lstrip, rstrip;
    const char *key;          /* what is searched for: the content, normalised if `normalized`; owned by the tokenizer */
    uint32_t key_len;         /* 1..EYE_ADDED_MAX_BYTES */
};
#define EYE_ADDED_MAX_BYTES 1024 /* bounds the work per position of text */

struct eye_added_set {
    const struct eye_added *token; /* [n] sorted by key, borrowed */
    size_t n;
    uint32_t first[257];           /* tokens whose key begins with byte b: first[b] .. first[b + 1] */
};
/* Sorts token [n] in place; of equal keys the first one is found. */
void eye_added_set_init(struct eye_added_set *s, struct eye_added *token, size_t n);

struct eye_text_range { size_t from, to; }; /* bytes [from, to) */

struct eye_added_find {
    const struct eye_added_set *set;
    const uint8_t *p; /* valid UTF-8 */
    size_t n;
    bool no_special;  /* special tokens are text like any other */
    const struct eye_text_range *literal; /* [n_literal] ascending: special tokens that touch one are text */
    size_t n_literal;
    size_t search, done; /* state, 0 at first: where to look on; up to where all was handed out */
    size_t blank_from, blank_to; /* state: the last run of white space that rstrip measured, lest a long one be walked again */
};
/* The next token: text before it (may be empty) is [*from, *to), then *hit. At the end *hit is NULL and the text is the rest.
 * false when nothing is left at all. */
bool eye_added_next(struct eye_added_find *f, size_t *from, size_t *to, const struct eye_added **hit);

#endif
