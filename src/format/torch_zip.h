/* format/torch_zip: read what torch.save wrote (.bin, .pth, .pt since PyTorch 1.6): a zip archive of stored entries. Views
 * point into the mapped file; tensors that share a storage (tied weights) share its bytes.
 *
 *   NAME/data.pkl     the pickle that names the tensors (pickle.h)
 *   NAME/data/KEY     one storage each, little-endian; NAME/byteorder, when there, says "little"
 *   others            ignored
 *   zip: local header "PK\3\4", 30 bytes + name + extra, then the data; central directory "PK\1\2", 46 bytes + name + extra +
 *   comment per entry; zip64 record "PK\6\6" and locator "PK\6\7"; end record "PK\5\6". Source: PKWARE's APPNOTE.TXT.
 *
 * Strict: entries compressed or encrypted, duplicate names, strided tensors (.contiguous() before saving helps) are refused.
 * Checksums are not verified: as with the other formats, a flipped bit in a weight is not found. */
#ifndef EYE_FORMAT_TORCH_ZIP_H
#define EYE_FORMAT_TORCH_ZIP_H

#include "format/safetensors.h"

/* The result is what a .safetensors file would have given (no metadata); eye_safetensors_close closes it. CORRUPT; UNSUPPORTED
 * (older formats, compression, anything in the pickle but tensors); LIMIT; NOMEM; IO. */
EYE_MUST_CHECK enum eye_status eye_torch_open(struct eye_safetensors *s, const char *path, bool use_mmap,
                                              const struct eye_alloc *alloc, struct eye_err *err);
/* The same over bytes in memory; p [n] and where are borrowed until close. */
EYE_MUST_CHECK enum eye_status eye_torch_open_bytes(struct eye_safetensors *s, const void *p, size_t n, const char *where,
                                                    const struct eye_alloc *alloc, struct eye_err *err);

#endif
