/* train/json_items: the entries of a big JSON array, one at a time, so that a list of any size takes the memory of its largest
 * entry (a tree of COCO's captions would take a gigabyte). Finds where entries begin and end; whether each is JSON, and what is
 * in it, is format/json's work. */
#ifndef EYE_JSON_ITEMS_H
#define EYE_JSON_ITEMS_H

#include "format/json.h"

#define EYE_JSON_ITEM_MAX_BYTES ((size_t)16 << 20)

struct eye_json_items {
    const char *p; /* the text [n], borrowed */
    size_t n, pos;
    const char *where; /* file */
    const char *key;   /* "" = the text is the array */
    size_t i;          /* entries handed out */
    char item[512];    /* "FILE: key[i]" of the current entry */
};

/* The array under a key of the object p [n]; key NULL = the text itself. *found false: there is no such array. CORRUPT
 * where the text is not JSON as far as it was read. */
EYE_MUST_CHECK enum eye_status eye_json_items_find(struct eye_json_items *it, const void *p, size_t n, const char *key,
                                                   const char *where, bool *found, struct eye_err *err);
/* The next entry as a tree of its own, to be cleared by the caller. *more false: that was all, nothing to clear.
 * Bytes that are no UTF-8 are U+FFFD in it. CORRUPT (with the entry's number), LIMIT (an entry above
 * EYE_JSON_ITEM_MAX_BYTES). */
EYE_MUST_CHECK enum eye_status eye_json_items_next(struct eye_json_items *it, struct eye_json *json, bool *more,
                                                   struct eye_err *err);

#endif
