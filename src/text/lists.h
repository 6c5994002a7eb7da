/* text/lists: the two big lists of a BPE model, vocabulary and merges, read straight from JSON text or merges.txt. No tree is
 * built: for Qwen2's 300,000 entries a tree costs 60 MB and most of the load time. Knows JSON strings, integers and nesting;
 * all else of tokenizer.json goes through format/json. */
#ifndef EYE_LISTS_H
#define EYE_LISTS_H

#include "base/base.h"

struct eye_list_span { size_t at, len; }; /* bytes of the text; len 0 = not there */

/* Finds the values of "vocab" and "merges" in the top-level object "model" of JSON text p [n] (valid UTF-8). Keys must be
 * spelled without escapes. Checks only what it needs to find them; CORRUPT. */
EYE_MUST_CHECK enum eye_status eye_lists_find(const char *p, size_t n, struct eye_list_span *vocab,
                                              struct eye_list_span *merges, struct eye_err *err);

/* Reads one list entry by entry. */
struct eye_list_reader {
    const char *p;
    size_t n, pos;
    size_t i;                /* entries handed out */
    const char *where;       /* for error texts */
    struct eye_buf text[2];  /* strings that had escapes in them */
};
void eye_list_init(struct eye_list_reader *r, const char *p, size_t n, const char *where, const struct eye_alloc *alloc);
void eye_list_clear(struct eye_list_reader *r);

struct eye_list_str { const char *p; size_t n; }; /* valid until the next entry is read */

/* Next member of {"string": integer, ...}: *more = false at the closing brace, which must end the text. id 0..2^32-1. */
EYE_MUST_CHECK enum eye_status eye_list_vocab(struct eye_list_reader *r, bool *more, struct eye_list_str *token, uint32_t *id,
                                              struct eye_err *err);
/* Next merge of a JSON array of "left right" or ["left", "right"]. */
EYE_MUST_CHECK enum eye_status eye_list_merge(struct eye_list_reader *r, bool *more, struct eye_list_str pair[2],
                                              struct eye_err *err);
/* Next merge of merges.txt: lines "left right"; lines that begin with #version are skipped. */
EYE_MUST_CHECK enum eye_status eye_list_merge_line(struct eye_list_reader *r, bool *more, struct eye_list_str pair[2],
                                                   struct eye_err *err);

#endif
