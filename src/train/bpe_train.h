/* train/bpe_train: a byte-level BPE vocabulary from texts, as tokenizer.json. Text is cut by GPT-2's pre-tokenizer
 * (text/pretok); the result is read by text/tokenizer and by the tokenizers library with equal ids.
 *
 *   EYE_TRY(eye_bpe_trainer_new(&t, &opts, alloc, err));
 *   for (...) EYE_TRY_GOTO(eye_bpe_trainer_add(t, caption, len, err));
 *   EYE_TRY_GOTO(eye_bpe_trainer_finish(t, &json, err));          json: the file's bytes
 *   fail: eye_bpe_trainer_free(t);
 *
 * Ids: special tokens, then the 256 bytes in the order of their characters in GPT-2's alphabet, then merges.
 * Order of merges: the most frequent pair first; among equals the one with the smaller left id, then the smaller right id. That
 * is the order of the library's BpeTrainer; it alone decides, so the same texts in any order give the same file. */
#ifndef EYE_BPE_TRAIN_H
#define EYE_BPE_TRAIN_H

#include "base/base.h"
#include "eyelet/train.h"

struct eye_bpe_trainer;

/* Strings of opts are borrowed until the trainer is freed. ARG: a vocabulary that is smaller than the bytes and the special
 * tokens, a special token that is empty, no UTF-8, given twice or a single character of the byte alphabet. */
EYE_MUST_CHECK enum eye_status eye_bpe_trainer_new(struct eye_bpe_trainer **t, const struct eye_tokenizer_train_opts *opts,
                                                   const struct eye_alloc *alloc, struct eye_err *err);
void eye_bpe_trainer_free(struct eye_bpe_trainer *t);
/* One text; invalid UTF-8 counts as U+FFFD, as when it is encoded. LIMIT above 2^31 bytes of different words. */
EYE_MUST_CHECK enum eye_status eye_bpe_trainer_add(struct eye_bpe_trainer *t, const char *text, size_t n, struct eye_err *err);
/* Learns the merges and appends the file to json. Once. ARG when nothing was added. */
EYE_MUST_CHECK enum eye_status eye_bpe_trainer_finish(struct eye_bpe_trainer *t, struct eye_buf *json, struct eye_err *err);
/* What there was and what came of it. */
void eye_bpe_trainer_report(const struct eye_bpe_trainer *t, struct eye_tokenizer_report *r);

#endif
