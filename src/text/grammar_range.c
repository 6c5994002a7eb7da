/* text/grammar_range: the numbers between two whole bounds, as digits: of each length those that share a bound's first digits
 * and then leave it to the inside. Some hundred steps for bounds of 15 digits. */
#include <stdio.h>

#include "text/grammar_write.h"

static void digit(struct eye_gw *c, int from, int to) {
    char range[3] = {(char)from, (char)to, 0};
    eye_gw_one_of(c, range);
}

/* One of from to to, then n more of any kind, then at tail. */
static void branch(struct eye_gw *c, int from, int to, int n, int32_t tail) {
    digit(c, from, to);
    for (int i = 0; i < n; i++) digit(c, '0', '9');
    eye_gw_jump(c, tail);
}

/* n digits that are not below (up) or not above s. */
static void beside(struct eye_gw *c, const char *s, int n, bool up, int32_t tail) {
    for (int k = 0; k < n; k++) {
        if (s[k] != (up ? '9' : '0')) {
            int32_t next = eye_gw_or_else(c);
            branch(c, up ? s[k] + 1 : '0', up ? '9' : s[k] - 1, n - k - 1, tail);
            eye_gw_put_label(c, next);
        }
        eye_gw_byte(c, (uint8_t)s[k]);
    }
    eye_gw_jump(c, tail);
}

/* Both bounds have n digits. */
static void same_length(struct eye_gw *c, const char *lo, const char *hi, int n, int32_t tail) {
    int i = 0;
    for (; i < n && lo[i] == hi[i]; i++) eye_gw_byte(c, (uint8_t)lo[i]);
    if (i == n) {
        eye_gw_jump(c, tail);
        return;
    }
    int rest = n - i - 1;
    bool low = false, high = false; /* behind a bound's digit not all digits may stand */
    for (int k = i + 1; k < n; k++) low |= lo[k] != '0', high |= hi[k] != '9';
    int from = lo[i] + low, to = hi[i] - high;
    if (from <= to) {
        int32_t next = low || high ? eye_gw_or_else(c) : 0;
        branch(c, from, to, rest, tail);
        if (next) eye_gw_put_label(c, next);
    }
    if (low) {
        int32_t next = high ? eye_gw_or_else(c) : 0;
        eye_gw_byte(c, (uint8_t)lo[i]);
        beside(c, lo + i + 1, rest, true, tail);
        if (next) eye_gw_put_label(c, next);
    }
    if (high) {
        eye_gw_byte(c, (uint8_t)hi[i]);
        beside(c, hi + i + 1, rest, false, tail);
    }
}

static void whole(struct eye_gw *c, int64_t lo, int64_t hi, int32_t tail) {
    char least[24], most[24];
    int a = snprintf(least, sizeof least, "%lld", (long long)lo), b = snprintf(most, sizeof most, "%lld", (long long)hi);
    for (int n = a; n <= b; n++) {
        int32_t next = n < b ? eye_gw_or_else(c) : 0;
        same_length(c, n == a ? least : "1000000000000000000", n == b ? most : "9999999999999999999", n, tail);
        if (next) eye_gw_put_label(c, next);
    }
}

/* 0 <= lo <= hi. Between whole ones: those from lo that are below hi, with digits behind the point; and hi itself. */
static void magnitude(struct eye_gw *c, int64_t lo, int64_t hi, bool fraction) {
    int32_t end = eye_gw_new_label(c), point = eye_gw_new_label(c);
    if (fraction && lo < hi) {
        int32_t next = eye_gw_or_else(c);
        whole(c, lo, hi - 1, point);
        eye_gw_put_label(c, next);
        lo = hi;
    }
    whole(c, lo, hi, end);
    eye_gw_put_label(c, point);
    if (fraction) {
        eye_gw_split(c, end);
        eye_gw_byte(c, '.');
        digit(c, '0', '9');
        eye_gw_digits(c, EYE_GW_MAX_DIGITS - 1);
    }
    eye_gw_put_label(c, end);
    eye_gw_give_back(c);
}

void eye_gw_range(struct eye_gw *c, int64_t lo, int64_t hi, bool fraction) {
    int32_t next = lo < 0 && hi >= 0 ? eye_gw_or_else(c) : 0;
    if (lo < 0) {
        eye_gw_byte(c, '-');
        magnitude(c, hi < 0 ? -hi : fraction ? 0 : 1, -lo, fraction);
    }
    if (next) eye_gw_put_label(c, next);
    if (hi >= 0) magnitude(c, lo > 0 ? lo : 0, hi, fraction);
}
