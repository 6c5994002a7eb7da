/* ngram: texts as word numbers and counted n-grams, with the number of documents that hold each. What BLEU and CIDEr stand on.
 * Filled with references first, read-only afterwards. Stands on base and ptb. */
#ifndef EYE_NGRAM_H
#define EYE_NGRAM_H

#include "base/base.h"
#include "eyelet/train.h"

#define EYE_NGRAM_NONE UINT32_MAX

struct eye_gram_table {
    struct eye_arena arena;      /* words and keys */
    struct eye_strmap words, grams;
    uint32_t *documents;         /* [grams.n]: how many hold the n-gram */
    uint32_t *seen_in;           /* [grams.n]: the last one that did */
    size_t cap;
};
void eye_gram_table_init(struct eye_gram_table *t, const struct eye_alloc *alloc);
void eye_gram_table_clear(struct eye_gram_table *t);

struct eye_gram { /* one n-gram of a text */
    uint32_t id;  /* EYE_NGRAM_NONE: no reference has it */
    uint32_t n;   /* times it occurs in the text */
};
struct eye_counted { /* a text; everything in the caller's arena */
    uint32_t *word;          /* [n_words]: numbers; words that no reference has: numbers from words.n up, equal words alike */
    char **spelling;         /* [n_words] */
    size_t n_words;
    struct eye_gram *gram[EYE_NGRAM_MAX]; /* by order - 1; sorted by id, each id once, but for EYE_NGRAM_NONE */
    size_t n_grams[EYE_NGRAM_MAX];
};
/* Counts a text: _add lets its words and n-grams enter the table, where document (ascending over calls) then holds them;
 * _known only reads the table. LIMIT: more than 4096 words. */
EYE_MUST_CHECK enum eye_status eye_gram_add(struct eye_gram_table *t, uint32_t document, const char *text, size_t len,
                                            struct eye_arena *arena, struct eye_counted *out, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_gram_known(const struct eye_gram_table *t, const char *text, size_t len,
                                              struct eye_arena *arena, struct eye_counted *out, struct eye_err *err);
/* Times the text has the n-gram of that order; 0 = never. */
uint32_t eye_gram_times(const struct eye_counted *c, int order, uint32_t id);

#endif
