/* ptb: captions into the words that caption metrics count, as coco-caption does: lower case, Penn Treebank tokens, punctuation
 * left out. Stands on base; knows no metric. */
#ifndef EYE_PTB_H
#define EYE_PTB_H

#include "base/base.h"

/* Called for each word in order. word: lower case, len >= 1 bytes, valid during the call only. */
typedef enum eye_status eye_ptb_fn(void *ctx, const char *word, size_t len, struct eye_err *err);

/* text   n bytes, any; line ends are blanks. Bytes from 0x80 on are taken as letters and keep their case (the tool it follows
 *        lowers them too: captions in English rarely have any).
 * Returns EYE_OK or what fn returned. Source: the Stanford tokenizer 3.4.1 with -lowerCase, then coco-caption's list of
 * punctuation; every word of 206,000 captions of Flickr8k, Flickr30k and COCO is compared in test/reference/metrics.py. */
EYE_MUST_CHECK enum eye_status eye_ptb_words(const char *text, size_t n, eye_ptb_fn *fn, void *ctx, struct eye_err *err);

#endif
