/* text/grammar: which bytes an answer may go on with, so that it is JSON of a schema. Three parts:
 *   grammar   (grammar_schema.c) a schema compiled to a small program over bytes: sets, choices, calls; immutable
 *   matcher   (grammar.c) where an answer stands in it: a pushdown automaton with all its threads, made deterministic
 *   vocabulary (vocabulary.c) the tokens' bytes in order, so that a mask over all of them is one walk that shares prefixes
 * Exact over bytes: a character that tokens cut apart is followed through its pieces. Knows no model and no sampling.
 *
 * All memory of a matcher is taken when it is made; time and memory per token are bounded by its pools. When they are full,
 * what does not fit counts as not allowed: an answer is never wrong for it, at worst narrower. */
#ifndef EYE_GRAMMAR_H
#define EYE_GRAMMAR_H

#include "base/base.h"
#include "text/tokenizer.h"

/* ---- the program ---- */

enum eye_grammar_op {
    EYE_GRAMMAR_SET,   /* one byte of set a */
    EYE_GRAMMAR_SPLIT, /* here or at a */
    EYE_GRAMMAR_JUMP,  /* at a */
    EYE_GRAMMAR_CALL,  /* rule a; deep: it counts as nesting */
    EYE_GRAMMAR_RETURN
};

struct eye_grammar_inst {
    uint8_t op;
    bool deep;
    int32_t a;
};

#define EYE_GRAMMAR_MAX_CODE 65536
#define EYE_GRAMMAR_MAX_RULES 1024
#define EYE_GRAMMAR_MAX_SETS 320
#define EYE_GRAMMAR_MAX_NESTING 48       /* calls of values in values; an answer does not nest deeper */
#define EYE_GRAMMAR_MAX_SCHEMA_BYTES ((size_t)256 << 10)
#define EYE_GRAMMAR_NEVER UINT32_MAX

struct eye_grammar_code {
    const struct eye_alloc *alloc;
    struct eye_grammar_inst *inst; /* [n_inst] */
    size_t n_inst, inst_cap;
    uint32_t *cost;                /* [n_inst] bytes to the end of its rule, at least; NEVER = it has none */
    size_t cost_cap;
    uint8_t *need;                 /* [n_inst] nesting that the way to there takes, at least */
    size_t need_cap;
    uint32_t set[EYE_GRAMMAR_MAX_SETS][8]; /* bit b of word b / 32 */
    int32_t n_sets;
    int32_t rule[EYE_GRAMMAR_MAX_RULES]; /* where each begins; [0] is the whole */
    int32_t n_rules;
};

/* Any JSON object. */
EYE_MUST_CHECK enum eye_status eye_grammar_compile_json(struct eye_grammar_code *g, const struct eye_alloc *alloc,
                                                        struct eye_err *err);
/* JSON Schema, text [n]. What is understood: type (also a list of types), properties, required, additionalProperties, items,
 * minItems, maxItems, minLength, maxLength, pattern, minimum, maximum, their exclusive ones, enum, const, anyOf, oneOf where no
 * value can be of two, $ref into $defs or definitions or "#", true, {}; title, description, default, examples, format and the
 * like say nothing here. Every other keyword is UNSUPPORTED, by name and place.
 * Objects have their properties in the schema's order and, where it lists any, no others; blanks between tokens are few.
 * Returns EYE_OK; CORRUPT (no JSON, a keyword of a wrong type); UNSUPPORTED; LIMIT (too large); NOMEM. */
EYE_MUST_CHECK enum eye_status eye_grammar_compile_schema(struct eye_grammar_code *g, const char *text, size_t n,
                                                          const struct eye_alloc *alloc, struct eye_err *err);
void eye_grammar_code_clear(struct eye_grammar_code *g);

/* ---- the vocabulary ---- */

#define EYE_VOCABULARY_MAX_BYTES 256 /* tokens of more bytes are never chosen under a grammar */

struct eye_vocabulary {
    const struct eye_alloc *alloc;
    int32_t n_vocab, n;  /* n have bytes: neither special nor unknown nor empty */
    int32_t *id;         /* [n] by bytes */
    uint32_t *at;        /* [n + 1] of their bytes */
    uint16_t *shared;    /* [n] bytes in common with the one before */
    uint8_t *bytes;      /* [n_bytes] */
    size_t n_bytes;
};
EYE_MUST_CHECK enum eye_status eye_vocabulary_init(struct eye_vocabulary *v, const struct eye_tokenizer *tk, int32_t n_vocab,
                                                   const struct eye_alloc *alloc, struct eye_err *err);
void eye_vocabulary_clear(struct eye_vocabulary *v);

/* ---- the matcher ---- */

struct eye_matcher;
/* g and v are borrowed while an answer is matched. */
EYE_MUST_CHECK enum eye_status eye_matcher_new(struct eye_matcher **m, int32_t n_vocab, const struct eye_alloc *alloc,
                                               struct eye_err *err);
void eye_matcher_free(struct eye_matcher *m);
void eye_matcher_start(struct eye_matcher *m, const struct eye_grammar_code *g, const struct eye_vocabulary *v);
/* Bytes that were chosen. False: they are not allowed; the matcher is stuck from then on. */
bool eye_matcher_take(struct eye_matcher *m, const uint8_t *p, size_t n);
bool eye_matcher_may_end(const struct eye_matcher *m);  /* what was taken is a whole answer */
bool eye_matcher_must_end(const struct eye_matcher *m); /* and nothing may follow, or it is stuck */
/* Bytes that an answer needs to become whole, at least. */
uint32_t eye_matcher_distance(const struct eye_matcher *m);
/* Tokens that may come next: bit id of the result, [n_vocab] bits, which lives until the next call. room: tokens that may
 * follow the one to be chosen; of tokens after which more bytes than that are missing, only those that do not move away from
 * the end stay, so that an answer closes before it is cut, wherever single bytes are tokens. */
const uint32_t *eye_matcher_mask(struct eye_matcher *m, uint32_t room);

#endif
