/* format/pickle: the tensors that a state dict's pickle describes, read by a machine that builds plain values and runs nothing.
 *
 * torch.save writes a Python pickle (protocol 2): a program for a stack machine that may call any function by name. This reader
 * knows the opcodes that torch writes and a dozen names, whose meaning is written here; any other opcode or name is refused by
 * name, so no file can make it do anything but describe tensors. Source: Python's Lib/pickletools.py; torch/_utils.py.
 *
 *   opcodes   PROTO 2, STOP, MARK, literals (NONE, booleans, BININT*, LONG1 of up to 8 bytes, BINFLOAT, BINUNICODE),
 *             tuples, lists, dicts, BINPUT / BINGET (memo numbers in order), GLOBAL, BINPERSID, REDUCE, BUILD (of a dict: dropped)
 *   names     collections.OrderedDict, torch._utils._rebuild_tensor_v2, torch._utils._rebuild_parameter, torch.<Type>Storage
 *   the root  a dict name -> tensor; or a dict whose "state_dict" is one. Entries that are no tensors are ignored.
 *
 * Memory stays within about 100 times the pickle's size, which is at most EYE_PICKLE_MAX_BYTES; no recursion. */
#ifndef EYE_FORMAT_PICKLE_H
#define EYE_FORMAT_PICKLE_H

#include "format/table.h"

#define EYE_PICKLE_MAX_BYTES ((size_t)4 << 20) /* real ones have about 100 bytes per tensor */

struct eye_pickle_tensor {
    struct eye_str name;     /* in the pickle */
    struct eye_str storage;  /* key: the zip entry that holds the numbers */
    enum eye_dtype dtype;
    int64_t storage_elems, offset; /* in elements */
    int rank;
    int64_t dims[EYE_MAX_RANK], strides[EYE_MAX_RANK]; /* strides in elements; all >= 0 */
};

/* p [n] is borrowed by the names in *out, which the arena holds. CORRUPT, UNSUPPORTED (opcode or name in the text), LIMIT, NOMEM. */
EYE_MUST_CHECK enum eye_status eye_pickle_read(const struct eye_pickle_tensor **out, size_t *n_out, const uint8_t *p, size_t n,
                                               const char *where, struct eye_arena *arena, struct eye_err *err);

#endif
