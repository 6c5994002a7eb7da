/* text/unicode: class lookup, UTF-8 reading and repair. Normal form C is in nfc.c, the tables in unicode_tables.c. */
#include "text/unicode.h"

#include <string.h>

uint8_t eye_uc_flags(uint32_t cp) {
    if (cp < EYE_UC_TABLE_END) {
        uint8_t two = eye_uc_stage2[eye_uc_stage1[cp / EYE_UC_BLOCK] * (EYE_UC_BLOCK / 2) + cp % EYE_UC_BLOCK / 2];
        return eye_uc_kind_flags[cp & 1 ? two >> 4 : two & 15];
    }
    if (cp > 0x10FFFF) return 0;
    for (size_t i = 0; i < eye_uc_n_above; i++)
        if (cp >= eye_uc_above_ranges[i].first && cp <= eye_uc_above_ranges[i].last) return eye_uc_above_ranges[i].value;
    return eye_uc_above;
}

size_t eye_utf8_put(uint32_t cp, uint8_t *out) {
    if (cp < 0x80) {
        out[0] = (uint8_t)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (uint8_t)(0xC0 | cp >> 6);
        out[1] = (uint8_t)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (uint8_t)(0xE0 | cp >> 12);
        out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | cp >> 18);
    out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (cp & 0x3F));
    return 4;
}

enum eye_utf8_state eye_utf8_next(const uint8_t *p, size_t n, size_t *len) {
    uint8_t c = p[0], low = 0x80, high = 0xBF; /* bounds of the second byte: no overlong forms, no surrogates, <= 10FFFF */
    size_t want;
    *len = 1;
    if (c < 0x80) return EYE_UTF8_OK;
    if (c < 0xC2 || c > 0xF4) return EYE_UTF8_BAD;
    if (c < 0xE0) {
        want = 2;
    } else if (c < 0xF0) {
        want = 3;
        if (c == 0xE0) low = 0xA0;
        if (c == 0xED) high = 0x9F;
    } else {
        want = 4;
        if (c == 0xF0) low = 0x90;
        if (c == 0xF4) high = 0x8F;
    }
    for (size_t i = 1; i < want; i++) {
        *len = i;
        if (i == n) return EYE_UTF8_PARTIAL;
        if (p[i] < low || p[i] > high) return EYE_UTF8_BAD;
        low = 0x80, high = 0xBF;
    }
    *len = want;
    return EYE_UTF8_OK;
}

size_t eye_utf8_valid(const uint8_t *p, size_t n) {
    size_t i = 0, len;
    while (i < n) {
        uint64_t eight;
        if (n - i >= 8 && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        if (eye_utf8_next(p + i, n - i, &len) != EYE_UTF8_OK) return i;
        i += len;
    }
    return n;
}

void eye_utf8_lossy(const uint8_t *p, size_t n, struct eye_buf *out) {
    for (size_t i = 0, len; i < n; i += len) {
        len = eye_utf8_valid(p + i, n - i);
        eye_buf_add(out, p + i, len);
        i += len;
        if (i == n) return;
        (void)eye_utf8_next(p + i, n - i, &len);
        eye_buf_add(out, "\xEF\xBF\xBD", 3);
    }
}

static uint32_t lower_of(uint32_t cp) {
    size_t lo = 0, hi = eye_uc_n_lower;
    while (lo < hi) { /* the first range that does not end before cp */
        size_t mid = (lo + hi) / 2;
        if (eye_uc_lower[mid].last < cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == eye_uc_n_lower) return cp;
    const struct eye_uc_shift *s = &eye_uc_lower[lo];
    return cp < s->first || (cp - s->first) % s->step ? cp : (uint32_t)((int32_t)cp + s->delta);
}

void eye_lower(const uint8_t *p, size_t n, struct eye_buf *out) {
    uint8_t utf8[4];
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = eye_utf8_get(p + i, &len);
        if (cp == 0x130) /* the only one that becomes two: i and a dot above */
            eye_buf_adds(out, "i\xCC\x87");
        else
            eye_buf_add(out, utf8, eye_utf8_put(lower_of(cp), utf8));
    }
}
