/* base/error: one line of text per failure. Texts may quote names out of hostile files, so control bytes become '?'. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"

const char *eye_status_name(enum eye_status status) {
    switch (status) {
    case EYE_OK: return "EYE_OK";
    case EYE_E_ARG: return "EYE_E_ARG";
    case EYE_E_NOMEM: return "EYE_E_NOMEM";
    case EYE_E_IO: return "EYE_E_IO";
    case EYE_E_CORRUPT: return "EYE_E_CORRUPT";
    case EYE_E_UNSUPPORTED: return "EYE_E_UNSUPPORTED";
    case EYE_E_LIMIT: return "EYE_E_LIMIT";
    case EYE_E_CANCELLED: return "EYE_E_CANCELLED";
    }
    return "EYE_E_?";
}

/* Makes text one printable line; where it was cut (wanted >= cap), ends it with "..." and not inside a UTF-8 sequence. */
static void tidy(char *text, size_t cap, size_t wanted) {
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7f) *p = '?';
    if (wanted < cap) return;
    size_t end = cap - 4;
    while (end > 0 && ((unsigned char)text[end] & 0xc0) == 0x80) end--;
    memcpy(text + end, "...", 4);
}

enum eye_status eye_fail(struct eye_err *err, enum eye_status code, const char *fmt, ...) {
    if (!err) return code;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    err->code = code;
    if (n < 0) err->text[0] = '\0';
    tidy(err->text, sizeof err->text, n < 0 ? 0 : (size_t)n);
    return code;
}

enum eye_status eye_fail_in(struct eye_err *err, enum eye_status status, const char *fmt, ...) {
    if (!err || status == EYE_OK) return status;
    struct eye_err inner = *err;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : EYE_MIN((size_t)n, sizeof err->text - 1);
    int m = snprintf(err->text + at, sizeof err->text - at, ": %s", inner.text);
    err->code = status;
    tidy(err->text, sizeof err->text, (n < 0 ? 0 : (size_t)n) + (m < 0 ? 0 : (size_t)m));
    return status;
}

enum eye_status eye_fail_nomem(struct eye_err *err, size_t bytes) {
    if (bytes == SIZE_MAX) return eye_fail(err, EYE_E_NOMEM, "out of memory: a size does not fit the address space");
    return eye_fail(err, EYE_E_NOMEM, "out of memory: %zu bytes wanted", bytes);
}
