/* genie/elements: numbers as Genie's and QNN's raw files have them: headerless, row-major, little-endian, of a type that is
 * said elsewhere; integers stand for (q + offset) scale. */
#ifndef EYE_GENIE_ELEMENTS_H
#define EYE_GENIE_ELEMENTS_H

#include "base/base.h"

enum eye_element { EYE_EL_F32, EYE_EL_F16, EYE_EL_U8, EYE_EL_I8, EYE_EL_U16, EYE_EL_I16, EYE_EL_I32, EYE_EL_N };
struct eye_elements {
    enum eye_element type;
    double scale, offset; /* of integers; 1, 0 else */
};

size_t eye_element_bytes(enum eye_element e);
/* In Genie's configurations ("sfixed8"), on its command line ("int8"; "float16" is eyelet's own there), in QNN's information
 * about a context ("QNN_DATATYPE_SFIXED_POINT_8"); and NumPy's names for manifests. NULL = not there. */
enum eye_element_dialect { EYE_EL_CONFIG, EYE_EL_ARGUMENT, EYE_EL_QNN, EYE_EL_NUMPY };
const char *eye_element_name(enum eye_element e, enum eye_element_dialect d);
bool eye_element_parse(const char *name, size_t len, enum eye_element_dialect d, enum eye_element *out);

/* n of them to f32, and back: rounded to nearest, halves to even, cut off at the type's ends; NaN becomes the offset. src and
 * dst need no alignment where they are raw. */
void eye_elements_to_f32(const struct eye_elements *e, const void *src, float *dst, size_t n);
void eye_elements_from_f32(const struct eye_elements *e, const float *src, void *dst, size_t n);

/* PATH or PATH,TYPE,SCALE,OFFSET, Genie's --embedding_file. ARG with Genie's message. path [cap]. */
EYE_MUST_CHECK enum eye_status eye_elements_argument(const char *arg, char *path, size_t cap, struct eye_elements *e,
                                                     struct eye_err *err);

#endif
