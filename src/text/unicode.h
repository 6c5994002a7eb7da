/* text/unicode: UTF-8, character classes and NFC, as the tokenizers library sees them. Stands on base only; knows no
 * tokenizer. The tables are generated (test/reference/make_unicode_tables.py): Unicode versions are mixed there on purpose. */
#ifndef EYE_UNICODE_H
#define EYE_UNICODE_H

#include "base/base.h"

/* Class flags of a code point. */
enum {
    EYE_UC_L = 1, /* \p{L} of the regexes */
    EYE_UC_N = 2, /* \p{N} of the regexes */
    EYE_UC_S = 4, /* \s of the regexes, white space of lstrip/rstrip */
    EYE_UC_W = 8, /* \w: what an added token with single_word must not touch */
    EYE_UC_D = 16, /* what the Digits pre-tokenizer takes for a digit */
    EYE_UC_Q = 32 /* NFC leaves it alone wherever it stands */
};

/* Generated tables (unicode_tables.c). */
enum { EYE_UC_BLOCK = 64, EYE_UC_TABLE_END = 0x32400 };
struct eye_uc_range { uint32_t first, last; uint8_t value; };
struct eye_uc_decomp { uint32_t cp; uint16_t at; uint8_t n; }; /* n code points from eye_uc_decomp_pool[at] */
struct eye_uc_pair { uint32_t a, b, made; };
struct eye_uc_shift { uint32_t first, last, step; int32_t delta; }; /* first, first + step, ... last move by delta */
extern const uint8_t eye_uc_kind_flags[16];
extern const uint8_t eye_uc_above; /* flags from EYE_UC_TABLE_END on, outside eye_uc_above_ranges */
extern const struct eye_uc_range eye_uc_above_ranges[];
extern const size_t eye_uc_n_above;
extern const uint16_t eye_uc_stage1[EYE_UC_TABLE_END / EYE_UC_BLOCK];
extern const uint8_t eye_uc_stage2[];
extern const struct eye_uc_range eye_uc_ccc[];
extern const size_t eye_uc_n_ccc;
extern const struct eye_uc_decomp eye_uc_decomp[];
extern const size_t eye_uc_n_decomp;
extern const uint32_t eye_uc_decomp_pool[];
extern const struct eye_uc_pair eye_uc_pair[];
extern const size_t eye_uc_n_pair;
extern const struct eye_uc_shift eye_uc_lower[]; /* ascending (lower_table.c) */
extern const size_t eye_uc_n_lower;

/* Flags of any number below 2^32; outside Unicode and surrogates: 0. */
uint8_t eye_uc_flags(uint32_t cp);

/* One code point of valid UTF-8 at p (at least one byte left); *len = its bytes. */
static inline uint32_t eye_utf8_get(const uint8_t *p, size_t *len) {
    if (p[0] < 0x80) { *len = 1; return p[0]; }
    if (p[0] < 0xE0) { *len = 2; return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F); }
    if (p[0] < 0xF0) { *len = 3; return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F); }
    *len = 4;
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 | (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}
/* Writes cp (a scalar value) to out[4]; returns the bytes used. */
size_t eye_utf8_put(uint32_t cp, uint8_t *out);

/* What stands at p, n >= 1 bytes left. Invalid bytes are grouped as Unicode's "maximal subparts" (chapter 3, table 3-8), which
 * is what Python's errors="replace" and Rust's from_utf8_lossy do: each group becomes one U+FFFD. */
enum eye_utf8_state {
    EYE_UTF8_OK,     /* a character of *len bytes */
    EYE_UTF8_BAD,    /* an invalid group of *len bytes */
    EYE_UTF8_PARTIAL /* all *len = n bytes (1..3) begin a character that more bytes could complete */
};
enum eye_utf8_state eye_utf8_next(const uint8_t *p, size_t n, size_t *len);
/* Length of the longest valid prefix; n if all of it is valid. */
size_t eye_utf8_valid(const uint8_t *p, size_t n);
/* Appends p with every invalid group (a cut-off end is one) as U+FFFD. */
void eye_utf8_lossy(const uint8_t *p, size_t n, struct eye_buf *out);
/* Appends valid UTF-8 in lower case, character by character, whatever stands beside them (no final sigma): the tokenizers
 * library's Lowercase. */
void eye_lower(const uint8_t *p, size_t n, struct eye_buf *out);

/* Appends the NFC form of valid UTF-8 to out. *same (may be NULL) = it already was NFC by the quick check; then nothing is
 * appended. Linear in n; 16 bytes of scratch per decomposed code point. NOMEM only. */
EYE_MUST_CHECK enum eye_status eye_nfc(const uint8_t *p, size_t n, struct eye_buf *out, bool *same, struct eye_err *err);

#endif
