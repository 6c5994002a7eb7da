/* text/grammar_json: JSON's own values as rules of a grammar: blanks, strings, numbers, lists, objects. Knows no schema but
 * those it hands on. */
#include "text/grammar_write.h"

#define MAX_INDENT 16

/* Nothing, a blank, or a line's end and what it is indented by: what models write, and no room to dawdle in. */
static void write_blank(struct eye_gw *c) {
    int32_t end = eye_gw_new_label(c), line = eye_gw_new_label(c);
    eye_gw_split(c, end);
    eye_gw_split(c, line);
    eye_gw_byte(c, ' ');
    eye_gw_give_back(c);
    eye_gw_put_label(c, line);
    eye_gw_byte(c, '\n');
    for (int i = 0; i < MAX_INDENT; i++) {
        eye_gw_split(c, end);
        eye_gw_byte(c, ' ');
    }
    eye_gw_put_label(c, end);
    eye_gw_give_back(c);
}

/* \uXXXX: no NUL and no controls, surrogates left out (as characters they may stand). */
static void write_escape(struct eye_gw *c) {
    static const char *const hex[][4] = {{"19acefACEF", "09afAF", "09afAF", "09afAF"}, {"DDdd", "07", "09afAF", "09afAF"},
                                         {"00", "19afAF", "09afAF", "09afAF"}, {"00", "00", "29afAF", "09afAF"}};
    eye_gw_byte(c, '\\');
    int32_t u = eye_gw_or_else(c);
    eye_gw_one_of(c, "\"\"\\\\//bbffnnrrtt");
    eye_gw_give_back(c);
    eye_gw_put_label(c, u);
    eye_gw_byte(c, 'u');
    for (int i = 0; i < 4; i++) {
        int32_t next = i < 3 ? eye_gw_or_else(c) : 0;
        for (int k = 0; k < 4; k++) eye_gw_one_of(c, hex[i][k]);
        eye_gw_give_back(c);
        if (i < 3) eye_gw_put_label(c, next);
    }
}

/* A character of a string: UTF-8 as RFC 3629 has it, byte by byte. */
static void write_char(struct eye_gw *c) {
    static const char *const form[][4] = {{"\xC2\xDF", "\x80\xBF"}, {"\xE0\xE0", "\xA0\xBF", "\x80\xBF"},
        {"\xE1\xEC\xEE\xEF", "\x80\xBF", "\x80\xBF"}, {"\xED\xED", "\x80\x9F", "\x80\xBF"},
        {"\xF0\xF0", "\x90\xBF", "\x80\xBF", "\x80\xBF"}, {"\xF1\xF3", "\x80\xBF", "\x80\xBF", "\x80\xBF"},
        {"\xF4\xF4", "\x80\x8F", "\x80\xBF", "\x80\xBF"}};
    int32_t next = eye_gw_or_else(c);
    eye_gw_one_of(c, " !#[]~");
    eye_gw_give_back(c);
    eye_gw_put_label(c, next);
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        next = eye_gw_or_else(c);
        for (int k = 0; k < 4 && form[i][k]; k++) eye_gw_one_of(c, form[i][k]);
        eye_gw_give_back(c);
        eye_gw_put_label(c, next);
    }
    write_escape(c);
}

/* A character that is not ASCII, of the first plane, not a line's end. */
static void write_wide(struct eye_gw *c) {
    static const char *const form[][3] = {{"\xC2\xDF", "\x80\xBF"}, {"\xE0\xE0", "\xA0\xBF", "\x80\xBF"},
        {"\xE1\xE1\xE3\xEC\xEE\xEF", "\x80\xBF", "\x80\xBF"}, {"\xE2\xE2", "\x81\xBF", "\x80\xBF"},
        {"\xE2\xE2", "\x80\x80", "\x80\xA7\xAA\xBF"}, {"\xED\xED", "\x80\x9F", "\x80\xBF"}};
    for (size_t i = 0, n = sizeof form / sizeof *form; i < n; i++) {
        int32_t next = i + 1 < n ? eye_gw_or_else(c) : 0;
        for (int k = 0; k < 3 && form[i][k]; k++) eye_gw_one_of(c, form[i][k]);
        eye_gw_give_back(c);
        if (next) eye_gw_put_label(c, next);
    }
}

void eye_gw_characters(struct eye_gw *c, int64_t min, int64_t max) {
    int32_t end = eye_gw_new_label(c), again = eye_gw_new_label(c);
    eye_gw_byte(c, '"');
    for (int64_t i = 0; i < min && c->st == EYE_OK; i++) eye_gw_call_builtin(c, EYE_GW_CHAR);
    for (int64_t i = min; i < max && c->st == EYE_OK; i++) {
        eye_gw_split(c, end);
        eye_gw_call_builtin(c, EYE_GW_CHAR);
    }
    if (max < 0) {
        eye_gw_put_label(c, again);
        eye_gw_split(c, end);
        eye_gw_call_builtin(c, EYE_GW_CHAR);
        eye_gw_jump(c, again);
    }
    eye_gw_put_label(c, end);
    eye_gw_byte(c, '"');
    eye_gw_give_back(c);
}

void eye_gw_digits(struct eye_gw *c, int n) {
    int32_t end = eye_gw_new_label(c);
    for (int i = 0; i < n; i++) {
        eye_gw_split(c, end);
        eye_gw_one_of(c, "09");
    }
    eye_gw_put_label(c, end);
}

static void write_integer(struct eye_gw *c) {
    int32_t plus = eye_gw_new_label(c);
    eye_gw_split(c, plus);
    eye_gw_byte(c, '-');
    eye_gw_put_label(c, plus);
    int32_t more = eye_gw_or_else(c);
    eye_gw_byte(c, '0');
    eye_gw_give_back(c);
    eye_gw_put_label(c, more);
    eye_gw_one_of(c, "19");
    eye_gw_digits(c, EYE_GW_MAX_DIGITS - 1);
    eye_gw_give_back(c);
}

static void write_number(struct eye_gw *c) {
    int32_t exponent = eye_gw_new_label(c), end = eye_gw_new_label(c), bare = eye_gw_new_label(c);
    eye_gw_call_builtin(c, EYE_GW_INTEGER);
    eye_gw_split(c, exponent);
    eye_gw_byte(c, '.');
    eye_gw_one_of(c, "09");
    eye_gw_digits(c, EYE_GW_MAX_DIGITS - 1);
    eye_gw_put_label(c, exponent);
    eye_gw_split(c, end);
    eye_gw_one_of(c, "eeEE");
    eye_gw_split(c, bare);
    eye_gw_one_of(c, "++--");
    eye_gw_put_label(c, bare);
    eye_gw_one_of(c, "09");
    eye_gw_digits(c, 1);
    eye_gw_put_label(c, end);
    eye_gw_give_back(c);
}

/* end: a label, for one that may be left out; 0 = it may not. */
static void item(struct eye_gw *c, json_t *schema, bool comma, int32_t end) {
    if (end) eye_gw_split(c, end);
    if (comma) eye_gw_byte(c, ',');
    if (comma) eye_gw_blank(c);
    if (schema) eye_gw_call_schema(c, schema, "items");
    else eye_gw_call_builtin(c, EYE_GW_VALUE);
}

void eye_gw_items(struct eye_gw *c, json_t *schema, int64_t min, int64_t max) {
    int32_t end = eye_gw_new_label(c), again = eye_gw_new_label(c);
    eye_gw_byte(c, '[');
    eye_gw_blank(c);
    int64_t written = max < 0 ? EYE_MAX(min, 1) : max;
    for (int64_t i = 0; i < written && c->st == EYE_OK; i++) item(c, schema, i > 0, i >= min ? end : 0);
    if (max < 0) {
        eye_gw_put_label(c, again);
        item(c, schema, true, end);
        eye_gw_jump(c, again);
    }
    eye_gw_put_label(c, end);
    eye_gw_blank(c);
    eye_gw_byte(c, ']');
    eye_gw_give_back(c);
}

void eye_gw_pairs(struct eye_gw *c, json_t *schema) {
    int32_t end = eye_gw_new_label(c), again = eye_gw_new_label(c), first = eye_gw_new_label(c);
    eye_gw_byte(c, '{');
    eye_gw_blank(c);
    eye_gw_split(c, end);
    eye_gw_jump(c, first);
    eye_gw_put_label(c, again);
    eye_gw_split(c, end);
    eye_gw_byte(c, ',');
    eye_gw_blank(c);
    eye_gw_put_label(c, first);
    eye_gw_call_builtin(c, EYE_GW_STRING);
    eye_gw_byte(c, ':');
    eye_gw_blank(c);
    if (schema) eye_gw_call_schema(c, schema, "additionalProperties");
    else eye_gw_call_builtin(c, EYE_GW_VALUE);
    eye_gw_jump(c, again);
    eye_gw_put_label(c, end);
    eye_gw_blank(c);
    eye_gw_byte(c, '}');
    eye_gw_give_back(c);
}

void eye_gw_word(struct eye_gw *c, const char *s) {
    eye_gw_text(c, s);
    eye_gw_give_back(c);
}

void eye_gw_write_builtin(struct eye_gw *c, enum eye_gw_kind b) {
    switch (b) {
    case EYE_GW_BLANK: write_blank(c); return;
    case EYE_GW_CHAR: write_char(c); return;
    case EYE_GW_WIDE: write_wide(c); return;
    case EYE_GW_STRING: eye_gw_characters(c, 0, -1); return;
    case EYE_GW_INTEGER: write_integer(c); return;
    case EYE_GW_NUMBER: write_number(c); return;
    case EYE_GW_OBJECT: eye_gw_pairs(c, NULL); return;
    case EYE_GW_ARRAY: eye_gw_items(c, NULL, 0, -1); return;
    default: break;
    }
    static const enum eye_gw_kind kind[] = {EYE_GW_STRING, EYE_GW_NUMBER, EYE_GW_OBJECT, EYE_GW_ARRAY};
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 7; i++) {
        int32_t next = i < 6 ? eye_gw_or_else(c) : 0;
        if (i < 4) {
            eye_gw_call_builtin(c, kind[i]);
            eye_gw_give_back(c);
        } else {
            eye_gw_word(c, words[i - 4]);
        }
        if (i < 6) eye_gw_put_label(c, next);
    }
}
