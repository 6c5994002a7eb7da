/* text/tokenizer, inside: what tokenizer.c, tokenizer_load.c, tokenizer_config.c, added_files.c, sp_model.c and detok.c share.
 * Nobody else includes this. */
#ifndef EYE_TOKENIZER_IMPL_H
#define EYE_TOKENIZER_IMPL_H

#include "format/json.h"
#include "text/pretok.h"
#include "text/tokenizer.h"

struct eye_token {
    const char *p; /* NULL = a hole in the ids; in vocab_text or strings */
    uint32_t len;
    bool special, added;
    bool model; /* in the model's own vocabulary, which alone words are made of */
};

/* One normalizer step. */
enum eye_norm_kind { EYE_NORM_NFC, EYE_NORM_LOWER, EYE_NORM_PREPEND, EYE_NORM_REPLACE };
struct eye_norm {
    enum eye_norm_kind kind;
    const char *from, *to; /* REPLACE each from by to; PREPEND to; in the tokenizer's strings */
    size_t n_from, n_to;
};
#define EYE_MAX_NORM 8

struct eye_decoder {
    bool byte_level;
    bool blanks;       /* U+2581 is a blank */
    bool first_bare;   /* Metaspace: in the first token it is nothing */
    bool byte_runs;    /* <0xNN> are bytes */
    bool bytes_apart;  /* SentencePiece: what is no UTF-8 in a run is U+FFFD by the byte, the rest is text; only a piece's own
                        * blank is stripped */
    const char *unk;   /* the text of the unknown token [n_unk]; NULL = its own */
    size_t n_unk;
    int strip;         /* so many blanks at the beginning of all go */
};

struct eye_tokenizer {
    const struct eye_alloc *alloc;
    /* vocabulary */
    char *vocab_text;        /* the model's token strings, one after the other [vocab_bytes] */
    size_t vocab_bytes;
    struct eye_arena strings; /* of added tokens */
    struct eye_token *token; /* by id [n_token] */
    size_t n_token, token_cap;
    size_t n_model;          /* tokens of the model itself, added ones not counted */
    size_t max_token_bytes;
    struct eye_strmap id_of; /* ask eye_tokenizer_find */
    const uint8_t *sorted;   /* of packed lists [n_sorted]: see packed.c; borrowed */
    size_t n_sorted;
    struct eye_bpe bpe;
    bool chars;              /* words begin as characters, not as bytes */
    bool byte_fallback;      /* chars: those that the vocabulary lacks become <0xNN> */
    int32_t byte_id[256];    /* symbol of a byte; -1 = the vocabulary has none */
    int32_t unk;             /* for such bytes; -1 = they vanish */
    bool fuse_unk;           /* neighbouring unknowns are one */
    bool ignore_merges;      /* a word that is a token is taken whole */
    /* stages */
    struct eye_norm norm[EYE_MAX_NORM];
    size_t n_norm;
    struct eye_pretok pretok;
    struct eye_decoder decoder;
    /* added tokens: [n_raw] found in the raw text, then [n_added - n_raw] in the normalised */
    struct eye_added *added;
    size_t n_added, added_cap;
    int32_t max_added_id; /* -1 = none yet */
    struct eye_added_set raw, normalized;
    struct eye_ids before, after; /* the post-processor's tokens */
    int32_t bos, eos, pad;
};

/* ---- tokenizer.c ---- */
/* Normalises p [n]; *out is p itself, or lies in one of the buffers. */
enum eye_status eye_tokenizer_normalize(const struct eye_tokenizer *tk, struct eye_buf buf[2], const uint8_t *p, size_t n,
                                        const uint8_t **out, size_t *n_out, struct eye_err *err);

/* ---- packed.c ---- */
int32_t eye_tokenizer_find(const struct eye_tokenizer *tk, const char *p, size_t n); /* the id of a string; -1 = none has it */
/* Vocabulary and merges. lists is borrowed for the tokenizer's life. */
enum eye_status eye_tokenizer_unpack(struct eye_tokenizer *tk, struct eye_bytes lists, struct eye_err *err);
enum eye_status eye_tokenizer_put_lists(const struct eye_tokenizer *tk, struct eye_buf *out, struct eye_err *err);

/* ---- tokenizer_load.c ---- */
/* Gives id to the string p [len], which lives as long as the tokenizer. */
enum eye_status eye_tokenizer_define(struct eye_tokenizer *tk, size_t id, const char *p, size_t len, const char *where,
                                     struct eye_err *err);
/* Adds one more token to the vocabulary under the id that the tokenizers library would give it. id -1 = no opinion, else the
 * file's, CORRUPT if it differs. Empty content is skipped, as there. */
struct eye_added_def {
    const char *content;
    size_t len;
    int64_t id;
    bool special, normalized, single_word, lstrip, rstrip;
};
enum eye_status eye_tokenizer_add(struct eye_tokenizer *tk, const struct eye_added_def *def, const char *where,
                                  struct eye_err *err);

/* ---- sp_model.c ---- */
/* A tokenizer.model; config->v may be NULL. */
enum eye_status eye_sp_model_load(struct eye_tokenizer *tk, const void *data, size_t n, const struct eye_json_at *config,
                                  struct eye_err *err);

/* ---- tokenizer_config.c: what the JSON trees say ---- */
/* normalizer, pre_tokenizer, decoder and the model's options of tokenizer.json. *unk = unk_token or NULL, borrowed. */
enum eye_status eye_config_components(struct eye_tokenizer *tk, const struct eye_json_at *root, const char **unk,
                                      struct eye_err *err);
/* The same for a tokenizer_class, where there is no tokenizer.json; config->v may be NULL. */
enum eye_status eye_config_by_class(struct eye_tokenizer *tk, const char *cls, const struct eye_json_at *config,
                                    struct eye_err *err);
/* added_tokens of tokenizer.json. */
enum eye_status eye_config_added(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err);
int eye_added_by_id(const void *a, const void *b); /* qsort's, of struct eye_added_def */
/* A token by its content or as an object with flags, said to be special, without id: member key of at, or at itself (NULL). */
enum eye_status eye_config_named(const struct eye_json_at *at, const char *key, struct eye_added_def *def,
                                 struct eye_err *err);
/* added_tokens_decoder of tokenizer_config.json. */
enum eye_status eye_config_added_decoder(struct eye_tokenizer *tk, const struct eye_json_at *config, struct eye_err *err);
/* post_processor of tokenizer.json. */
enum eye_status eye_config_post(struct eye_tokenizer *tk, const struct eye_json_at *root, struct eye_err *err);
/* bos_token, eos_token, pad_token of tokenizer_config.json or special_tokens_map.json. */
enum eye_status eye_config_special_ids(struct eye_tokenizer *tk, const struct eye_json_at *config, struct eye_err *err);

/* ---- added_files.c ---- */
/* What a folder without tokenizer.json and without added_tokens_decoder adds: added_tokens.json, then the special tokens that
 * special_tokens_map.json, or else tokenizer_config.json, names; then BOS, EOS and PAD.
 * v NULL = no such file. class_gpt2: else Qwen2's. */
struct eye_added_files { const struct eye_json_at *config, *added, *map; bool class_gpt2; };
enum eye_status eye_added_files_load(struct eye_tokenizer *tk, const struct eye_added_files *files, struct eye_err *err);

#endif
