/* json: what --json prints: one object on one line of stdout. */
#ifndef EYELET_CLI_JSON_H
#define EYELET_CLI_JSON_H

#include <jansson.h>

#include "ui.h"

/* A string of the world outside (file names, names in files): bytes that are no UTF-8 become U+FFFD. NULL = no memory. */
json_t *json_outside(const char *text);
/* Prints o, which may be NULL for lack of memory, and releases it. Returns the exit code; says what went wrong itself. */
int json_print(struct ui *ui, json_t *o);

#endif
