/* json: see json.h. */
#include "json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"

/* Bytes of the UTF-8 sequence at p; 0 = none. RFC 3629: nothing overlong, no surrogates, up to U+10FFFF. */
static size_t sequence(const unsigned char *p) {
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;
    if (n < 2) return n;
    uint32_t c = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2) return 0; /* the text's end as well */
        c = c << 6 | (p[i] & 0x3f);
    }
    return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

json_t *json_outside(const char *text) {
    json_t *o = json_string(text);
    if (o) return o;
    char *copy = malloc(3 * strlen(text) + 1);
    size_t at = 0;
    if (!copy) return NULL;
    while (*text) {
        size_t n = sequence((const unsigned char *)text);
        memcpy(copy + at, n ? text : "\xef\xbf\xbd", n ? n : 3);
        at += n ? n : 3;
        text += n ? n : 1;
    }
    o = json_stringn(copy, at);
    free(copy);
    return o;
}

int json_print(struct ui *ui, json_t *o) {
    if (!o) return ui_failf(ui, "out of memory");
    json_dumpf(o, stdout, JSON_REAL_PRECISION(6)); /* a failed write is stdout's error, which ui_finish reports */
    putchar('\n');
    json_decref(o);
    return EXIT_DONE;
}
