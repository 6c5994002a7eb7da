/* genie/schema: what Genie accepts of a dialog's configuration, and the texts it refuses the rest with. One table of components
 * and their members; the order of checks is Genie's: mandatory members by name, then each member as the file has them, then
 * what must fit together. Knows JSON and no model; what eyelet can run of it is dialog_config.c's affair. */
#ifndef EYE_GENIE_SCHEMA_H
#define EYE_GENIE_SCHEMA_H

#include "base/base.h"

struct json_t;

/* OK: the object below "dialog" in root is one that Genie takes. Else CORRUPT; the text is Genie's message, then its status in
 * parentheses: GENIE_STATUS_ERROR_JSON_SCHEMA or _VALUE. */
EYE_MUST_CHECK enum eye_status eye_genie_check_dialog(const struct json_t *root, struct eye_err *err);

#endif
