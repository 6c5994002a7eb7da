/* engine/lower_todo: rows of ops.def that have no lowering yet: planning them is UNSUPPORTED. */
#include "engine/engine_impl.h"

#define TODO(name) \
    enum eye_status eye_lower_##name(struct eye_lower *l, const struct eye_node *n, struct eye_step *s, struct eye_err *err) { \
        return eye_fail(err, EYE_E_UNSUPPORTED, "engine: no lowering yet"); \
    }
