/* test/fuzz: what all targets share. A target is one file fuzz_NAME.c with LLVMFuzzerTestOneInput(), a row in meson.build,
 * and seeds in corpus/NAME/. It is built twice: with libFuzzer (-Dfuzz=true, clang) and, always, as a replayer of its corpus
 * that runs with the tests. Whatever a fuzzer finds becomes a file of the corpus. */
#ifndef EYE_FUZZ_H
#define EYE_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Every refusal must say why, in one line, with the code it returns. Returns 0, what a target returns. */
static inline int eye_fuzz_error(enum eye_status st, const struct eye_err *err) {
    if (err->code != st || !err->text[0] || strchr(err->text, '\n')) abort();
    return 0;
}

/* Reads each byte, so that sanitizers see those that are not ours. */
static inline void eye_fuzz_read(const void *p, size_t n) {
    const volatile uint8_t *b = p;
    for (size_t i = 0; i < n; i++) (void)b[i];
}

#endif
