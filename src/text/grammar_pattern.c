/* text/grammar_pattern: "pattern" of JSON Schema, the regular part of ECMA-262's expressions: characters, classes, groups, |,
 * and * + ? {m,n}. Written as it is read; what is repeated is read again for each time. Where engines differ on what a
 * character is (spaces beyond ASCII, line ends, characters beyond the first plane), such characters are not written: an
 * answer may be narrower than the pattern, never outside of it. */
#include <string.h>

#include "text/grammar_write.h"

#define MAX_GROUPS 8 /* in groups: what is repeated is read twice per level */

struct pattern {
    struct eye_gw *c;
    const char *p;
    int depth;
};

struct chars { /* a set of characters */
    bool ascii[128];
    bool wide;   /* all others */
    bool unsure; /* some of the others: so neither it nor its complement has them */
};

static void refuse(struct pattern *x, const char *why) {
    eye_gw_refuse(x->c, EYE_E_UNSUPPORTED, "pattern: %s at \"%.20s\"", why, x->p);
}

static void add(struct chars *s, int from, int to) {
    for (int i = from; i <= to; i++) s->ascii[i] = true;
}

static void invert(struct chars *s) {
    for (int i = 0; i < 128; i++) s->ascii[i] = !s->ascii[i];
    s->wide = !s->wide;
}

/* One of them, as a JSON string has it. */
static void one_of(struct pattern *x, const struct chars *s) {
    static const char names[] = "\"\"\\\\\tt\nn\rr"; /* a character, the letter of its escape */
    struct eye_gw *c = x->c;
    char plain[256], escaped[16];
    size_t n = 0, m = 0;
    for (int b = ' '; b < 127; b++)
        if (s->ascii[b] && b != '"' && b != '\\') plain[n++] = (char)b, plain[n++] = (char)b;
    for (const char *e = names; *e; e += 2)
        if (s->ascii[(uint8_t)e[0]]) escaped[m++] = e[1], escaped[m++] = e[1];
    plain[n] = escaped[m] = '\0';
    bool wide = s->wide && !s->unsure;
    int kinds = (n > 0) + (m > 0) + wide;
    int32_t end = eye_gw_new_label(c);
    if (!kinds) refuse(x, "no character is so");
    for (int k = 0; k < 3; k++) {
        if (!(k == 0 ? n > 0 : k == 1 ? m > 0 : wide)) continue;
        int32_t next = --kinds ? eye_gw_or_else(c) : 0;
        if (k == 1) eye_gw_byte(c, '\\');
        if (k < 2) eye_gw_one_of(c, k == 0 ? plain : escaped);
        else eye_gw_call_builtin(c, EYE_GW_WIDE);
        if (next) {
            eye_gw_jump(c, end);
            eye_gw_put_label(c, next);
        }
    }
    eye_gw_put_label(c, end);
}

/* What stands behind a backslash. Returns the character, or -1 for a class. */
static int escape(struct pattern *x, struct chars *s) {
    static const char letters[] = "n\nt\tr\rf\fv\v";
    int e = (uint8_t)*x->p;
    const char *control = e ? strchr(letters, e) : NULL;
    struct chars one = {0};
    if (e && strchr("dDwWsS", e)) {
        int kind = e | 0x20;
        if (kind == 's') add(&one, '\t', '\r'), one.unsure = true, one.ascii[' '] = true;
        if (kind != 's') add(&one, '0', '9');
        if (kind == 'w') add(&one, 'a', 'z'), add(&one, 'A', 'Z'), one.ascii['_'] = true;
        if (kind != e) invert(&one);
        for (int i = 0; i < 128; i++) s->ascii[i] |= one.ascii[i];
        s->wide |= one.wide;
        s->unsure |= one.unsure;
        x->p++;
        return -1;
    }
    if (!e || e > 127 || (e >= '0' && e <= '9') || (((e | 0x20) >= 'a' && (e | 0x20) <= 'z') && !control)) {
        refuse(x, "this escape is not done");
        return -1;
    }
    x->p++;
    if (control && (control - letters) % 2 == 0) e = control[1];
    s->ascii[e] = true;
    return e;
}

/* A member of a class. Returns the character, or -1. */
static int member(struct pattern *x, struct chars *s) {
    int b = (uint8_t)*x->p;
    if (!b || b > 127) {
        refuse(x, b ? "characters beyond ASCII in a class are not done" : "\"]\" is missing");
        return -1;
    }
    x->p++;
    if (b == '\\') return escape(x, s);
    s->ascii[b] = true;
    return b;
}

/* Behind "[". */
static void class(struct pattern *x) {
    struct chars s = {0};
    bool no = *x->p == '^';
    x->p += no;
    while (*x->p != ']' && x->c->st == EYE_OK) {
        int from = member(x, &s);
        if (x->p[0] != '-' || x->p[1] == ']') continue;
        x->p++;
        int to = member(x, &s);
        if (from < 0 || to < from) refuse(x, "no range");
        else add(&s, from, to);
    }
    if (x->c->st != EYE_OK) return;
    x->p++;
    if (no) invert(&s);
    one_of(x, &s);
}

static void alternatives(struct pattern *x, bool top);

static void group(struct pattern *x) {
    if (x->p[0] == '?' && x->p[1] == ':') x->p += 2;
    else if (x->p[0] == '?') refuse(x, "this kind of group is not done");
    if (++x->depth > MAX_GROUPS) refuse(x, "groups in groups in groups");
    if (x->c->st != EYE_OK) return;
    alternatives(x, false);
    x->depth--;
    if (*x->p != ')') refuse(x, "\")\" is missing");
    else x->p++;
}

static void atom(struct pattern *x) {
    struct chars s = {0};
    uint8_t b = (uint8_t)*x->p++;
    switch (b) {
    case '(': group(x); return;
    case '[': class(x); return;
    case '\\': escape(x, &s); break;
    case '.':
        s.ascii['\n'] = s.ascii['\r'] = true;
        invert(&s);
        break;
    case '*': case '+': case '?': case '{': case '^': case '$': case ')':
        x->p--;
        refuse(x, "this is not done here");
        return;
    default:
        if (b > 127) { /* itself: whole, as all text of JSON is */
            for (x->p--; (uint8_t)*x->p > 127; x->p++) {
                eye_gw_byte(x->c, (uint8_t)*x->p);
                if (((uint8_t)x->p[1] & 0xC0) != 0x80) {
                    x->p++;
                    return;
                }
            }
            return;
        }
        s.ascii[b] = true;
    }
    if (x->c->st == EYE_OK) one_of(x, &s);
}

static int number(struct pattern *x) {
    int n = 0;
    if (*x->p < '0' || *x->p > '9') refuse(x, "expected a number");
    for (; *x->p >= '0' && *x->p <= '9'; x->p++) n = EYE_MIN(n * 10 + *x->p - '0', EYE_GRAMMAR_MAX_CODE + 1);
    return n;
}

/* How often; false: nothing is said. max < 0: any number. */
static bool quantifier(struct pattern *x, int *min, int *max) {
    char q = *x->p;
    if (q != '*' && q != '+' && q != '?' && q != '{') return false;
    x->p++;
    *min = q == '+';
    *max = q == '?' ? 1 : -1;
    if (q == '{') {
        *min = *max = number(x);
        if (*x->p == ',') *max = *++x->p == '}' ? -1 : number(x);
        if (*x->p != '}' || (*max >= 0 && *max < *min)) refuse(x, "expected {N}, {N,} or {N,M}");
        else x->p++;
    }
    if (*x->p == '?') x->p++; /* lazy: the same strings */
    return true;
}

static void repeated(struct pattern *x) {
    struct eye_gw *c = x->c;
    const char *from = x->p, *after;
    size_t n_inst = c->g->n_inst, n_labels = c->n_labels;
    int min, max;
    atom(x);
    if (c->st != EYE_OK || !quantifier(x, &min, &max) || c->st != EYE_OK) return;
    after = x->p;
    c->g->n_inst = n_inst; /* once more from here, as often as it is said */
    c->n_labels = n_labels;
    int32_t end = eye_gw_new_label(c), again = eye_gw_new_label(c);
    for (int i = 0; i < EYE_MAX(min, max) + (max < 0) && c->st == EYE_OK; i++) {
        if (i == min && max < 0) eye_gw_put_label(c, again);
        if (i >= min) eye_gw_split(c, end);
        x->p = from;
        atom(x);
    }
    if (max < 0) eye_gw_jump(c, again);
    eye_gw_put_label(c, end);
    x->p = after;
}

static void anything(struct eye_gw *c) {
    int32_t end = eye_gw_new_label(c), again = eye_gw_new_label(c);
    eye_gw_put_label(c, again);
    eye_gw_split(c, end);
    eye_gw_call_builtin(c, EYE_GW_CHAR);
    eye_gw_jump(c, again);
    eye_gw_put_label(c, end);
}

/* Does a "|" follow, in this group? */
static bool another(const char *p) {
    int depth = 0;
    bool in_class = false;
    for (; *p; p++) {
        if (*p == '\\' && p[1]) p++;
        else if (in_class) in_class = *p != ']';
        else if (*p == '[') in_class = true;
        else if (*p == '(') depth++;
        else if (*p == ')' && depth-- == 0) return false;
        else if (*p == '|' && depth == 0) return true;
    }
    return false;
}

/* top: of the whole pattern, which is looked for anywhere in a string where it has no ^ and $. */
static void alternatives(struct pattern *x, bool top) {
    struct eye_gw *c = x->c;
    int32_t end = eye_gw_new_label(c);
    for (bool more = true; more && c->st == EYE_OK;) {
        bool closed = false;
        more = another(x->p);
        int32_t next = more ? eye_gw_or_else(c) : 0;
        if (top && *x->p == '^') x->p++;
        else if (top) anything(c);
        while (*x->p && *x->p != '|' && (top || *x->p != ')') && c->st == EYE_OK && !closed) {
            closed = top && x->p[0] == '$' && (!x->p[1] || x->p[1] == '|');
            if (closed) x->p++;
            else repeated(x);
        }
        if (top && !closed) anything(c);
        if (!more || c->st != EYE_OK) break;
        eye_gw_jump(c, end);
        eye_gw_put_label(c, next);
        x->p++;
    }
    eye_gw_put_label(c, end);
}

void eye_gw_pattern(struct eye_gw *c, const char *pattern) {
    struct pattern x = {.c = c, .p = pattern};
    eye_gw_byte(c, '"');
    alternatives(&x, true);
    eye_gw_byte(c, '"');
    eye_gw_give_back(c);
}
