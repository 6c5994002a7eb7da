/* export/qai: what the script for qai-hub and the reader of its lists share. */
#ifndef EYE_EXPORT_QAI_H
#define EYE_EXPORT_QAI_H

#include "base/base.h"
#include "base/sys.h"
#include "eyelet/qai_hub.h"

#define EYE_QAI_MAX_BYTES ((size_t)4 << 20)
#define EYE_QAI_MAX_JOBS 4096
#define EYE_QAI_MAX_TENSORS 4096 /* of one job */

/* The client's name of an ONNX element type, "float16"; NULL = it has none. */
const char *eye_qai_type(int32_t onnx_type);
/* A list's bytes; where: its name for error texts. As eye_qai_jobs_read. */
EYE_MUST_CHECK enum eye_status eye_qai_jobs_parse(const void *p, size_t n, const char *where, struct eye_qai_jobs *out,
                                                  struct eye_err *err);

#endif
