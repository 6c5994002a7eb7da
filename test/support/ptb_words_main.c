/* The words of each line of standard input, as caption metrics see them, for test/reference/metrics.py. */
#include <stdio.h>
#include <string.h>

#include "train/ptb.h"

static enum eye_status put(void *ctx, const char *word, size_t len, struct eye_err *err) {
    (void)err;
    const char **gap = ctx;
    printf("%s%.*s", *gap, (int)len, word);
    *gap = " ";
    return EYE_OK;
}

int main(void) {
    static char line[1 << 16];
    struct eye_err err;
    while (fgets(line, sizeof line, stdin)) {
        const char *gap = "";
        line[strcspn(line, "\n")] = 0;
        if (eye_ptb_words(line, strlen(line), put, &gap, &err) != EYE_OK) return 1;
        putchar('\n');
    }
    return 0;
}
