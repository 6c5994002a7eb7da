/* text/tokenizer: text to token ids and back, as the tokenizers library does it for the same files. Sits below session; knows
 * nothing of models or prompts (template.h does).
 *
 *   EYE_TRY(eye_tokenizer_open(&tk, &src, NULL, err));
 *   EYE_TRY_GOTO(eye_tokenizer_encode(tk, text, strlen(text), NULL, &ids, err));
 *   eye_detok_init(&d, tk, true);
 *   for (...) { eye_detok_push(&d, id, &out); ...print out... }     eye_detok_flush(&d, &out);
 *
 * The way of a text: invalid UTF-8 repaired -> added tokens cut out -> normalizer -> added tokens of the `normalized` kind cut
 * out -> pre-tokenizer -> BPE, on bytes (GPT-2's alphabet) or on characters (SentencePiece style, with byte fallback).
 * tokenizer.json says which (from tokenizer.model: always the latter; with no_special, ids are sentencepiece's); a component
 * that eyelet does not have is EYE_E_UNSUPPORTED by name.
 * A tokenizer is read-only after open: any number of threads may use it. */
#ifndef EYE_TOKENIZER_H
#define EYE_TOKENIZER_H

#include "base/base.h"
#include "text/added.h"
#include "text/bpe.h"

struct eye_tokenizer;

struct eye_bytes { const void *p; size_t n; }; /* p NULL = there is no such file */

/* The bytes of the files; borrowed for the call. The first that is there: tokenizer_json, vocab_json and merges_txt,
 * tokenizer_model. */
struct eye_tokenizer_src {
    struct eye_bytes tokenizer_json;
    struct eye_bytes vocab_json, merges_txt;
    struct eye_bytes tokenizer_model;  /* SentencePiece's protobuf */
    struct eye_bytes tokenizer_config; /* optional: bos, eos, pad; without tokenizer_json also tokenizer_class, added tokens */
    struct eye_bytes added_tokens, special_tokens_map; /* optional, with vocab_json and no added tokens in tokenizer_config */
    struct eye_bytes lists;            /* optional: what eye_tokenizer_pack took out of this tokenizer_json; borrowed for the
                                          tokenizer's life */
    const char *tokenizer_class;       /* with vocab_json and no class in tokenizer_config: "Qwen2Tokenizer", "GPT2Tokenizer" */
};

#define EYE_TOKENIZER_MAX_ID (1 << 24)                  /* ids are below; real vocabularies end at 2^18 */
#define EYE_TOKENIZER_MAX_BYTES ((size_t)512 << 20)     /* of a file, and of a text to encode */

/* CORRUPT: bytes contradict their format, a merge names an unknown token, an id is given twice, an added token's id is not the
 * one that the tokenizers library would give it. UNSUPPORTED: an unknown component, named. LIMIT: ids or files too large, ids
 * sparse beyond 4 times the number of tokens. NOMEM. Memory is bounded by a small multiple of the files' sizes. */
EYE_MUST_CHECK enum eye_status eye_tokenizer_open(struct eye_tokenizer **tk, const struct eye_tokenizer_src *src,
                                                  const struct eye_alloc *alloc, struct eye_err *err);
void eye_tokenizer_close(struct eye_tokenizer *tk);
/* A tokenizer.json in two: vocabulary and merges as numbers, which open in a few milliseconds, and the rest. Appended. */
EYE_MUST_CHECK enum eye_status eye_tokenizer_pack(struct eye_bytes json, struct eye_buf *rest, struct eye_buf *lists,
                                                  const struct eye_alloc *alloc, struct eye_err *err);

struct eye_encode_opts {    /* all zero (or NULL) = what the library's encode(add_special_tokens=False) does */
    bool add_before;        /* the post-processor's tokens before the text (BOS); with both, add_special_tokens=True */
    bool add_after;         /* and those after it (EOS) */
    bool continued;         /* the text goes on from another: Metaspace "first" puts nothing before its first word */
    bool no_special;        /* special tokens in the text are ordinary text (the library's encode_special_tokens = True) */
    /* [n_literal] ascending, disjoint: the same for parts of the text (what a user typed into a template): a special token that
     * touches one is text. All of the text must be UTF-8 then (else ARG). A special token of the `normalized` kind is not found
     * anywhere in a piece between other added tokens that touches a range. */
    const struct eye_text_range *literal;
    size_t n_literal;
};

/* Appends the ids of text [n]; any bytes: each maximal invalid UTF-8 subsequence counts as U+FFFD (what Python's
 * decode(errors="replace") would have given the library). ids->alloc serves the scratch memory too. LIMIT, NOMEM, ARG; ids may
 * then hold a part. */
EYE_MUST_CHECK enum eye_status eye_tokenizer_encode(const struct eye_tokenizer *tk, const char *text, size_t n,
                                                    const struct eye_encode_opts *opts, struct eye_ids *ids,
                                                    struct eye_err *err);

/* Ids run from 0 to n_vocab - 1; there may be holes. */
int32_t eye_tokenizer_n_vocab(const struct eye_tokenizer *tk);
/* The token as the file writes it (byte-level: in the byte alphabet); false = no such id. */
bool eye_tokenizer_token(const struct eye_tokenizer *tk, int32_t id, const char **p, size_t *n);
/* Appends the bytes that a token stands for in the middle of a text; false: none, it is special, unknown or no token. */
bool eye_tokenizer_bytes(const struct eye_tokenizer *tk, int32_t id, struct eye_buf *out);
int32_t eye_tokenizer_id(const struct eye_tokenizer *tk, const char *token, size_t n); /* -1 = no such token */
bool eye_tokenizer_is_special(const struct eye_tokenizer *tk, int32_t id);
/* The byte alphabet of GPT-2: printable bytes stand for themselves, the others for U+0100 onwards. */
uint32_t eye_byte_to_char(uint8_t byte);
int eye_char_to_byte(uint32_t cp); /* -1 = not in the alphabet */
/* From tokenizer_config; -1 = not given or null. */
int32_t eye_tokenizer_bos(const struct eye_tokenizer *tk);
int32_t eye_tokenizer_eos(const struct eye_tokenizer *tk);
int32_t eye_tokenizer_pad(const struct eye_tokenizer *tk);

/* Appends the text of ids [n]; ids that are no tokens give nothing. Byte-level: bytes that are no UTF-8 when all tokens are put
 * together become U+FFFD, one per maximal invalid subsequence. Byte fallback: a run of byte tokens that is no UTF-8 as a whole
 * becomes one U+FFFD per byte (a run of more than EYE_DETOK_MAX_HELD bytes is judged stretch by stretch). NOMEM shows as
 * out->failed. */
void eye_tokenizer_decode(const struct eye_tokenizer *tk, const int32_t *ids, size_t n, bool skip_special, struct eye_buf *out);
/* The same as a text in the arena, without special tokens and without blanks around it; NULL = out of memory. */
const char *eye_tokenizer_text(const struct eye_tokenizer *tk, const struct eye_alloc *alloc, const int32_t *ids, size_t n,
                               struct eye_arena *arena);

#define EYE_DETOK_MAX_HELD 256

/* The same piece by piece: the pieces and the flush together are exactly what decode gives. */
struct eye_detok {
    const struct eye_tokenizer *tk;
    bool skip_special;
    uint8_t held[EYE_DETOK_MAX_HELD]; /* bytes that begin a character; with byte fallback those of the run */
    size_t n_held;
    bool started;                     /* a token has been seen */
    int strip_left;                   /* blanks that may still be dropped from the beginning */
};
void eye_detok_init(struct eye_detok *d, const struct eye_tokenizer *tk, bool skip_special);
void eye_detok_push(struct eye_detok *d, int32_t id, struct eye_buf *out); /* whole characters only */
void eye_detok_flush(struct eye_detok *d, struct eye_buf *out);            /* a character cut off becomes U+FFFD; ready anew */

#endif
