/* pack, inside the room: what rounding activations costs, layer by layer: an int8 tower and projector beside the same weights with
 * activations in floats, on the same pictures. */
#ifndef EYE_PACK_LAYERS_H
#define EYE_PACK_LAYERS_H

#include "eyelet/convert.h"
#include "session/session_impl.h"

struct eye_layers; /* both, ready to run */
/* m: a model of an int8 file; it must outlive *out. ARG: it is none. */
EYE_MUST_CHECK enum eye_status eye_layers_new(struct eye_layers **out, struct eye_model *m, struct eye_err *err);
void eye_layers_free(struct eye_layers *l);
/* Runs both on a picture. */
EYE_MUST_CHECK enum eye_status eye_layers_add(struct eye_layers *l, const struct eye_image *img, struct eye_err *err);
/* What was seen so far, in the order of execution, appended to q->layer. */
EYE_MUST_CHECK enum eye_status eye_layers_conclude(const struct eye_layers *l, struct eye_quality *q, struct eye_err *err);

#endif
