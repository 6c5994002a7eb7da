/* format/checkpoint: where a model's weights and side files come from, whatever the packaging:
 *   a folder   config.json, the side files of eye_checkpoint_text(), and weights: model.safetensors; or the shards of
 *              model.safetensors.index.json; else pytorch_model.bin or its shards; else the only *.safetensors there; else the
 *              only *.bin, *.pth or *.pt
 *              (with opts.mmproj: a text model's, and llama.cpp's file of tower and projector beside it)
 *   a .gguf    the same in one file: weights as tensors, side files as string keys "eyelet.file.NAME"; one that llama.cpp's
 *              tools made has none: its files are written from its metadata (gguf_folder.h); nor has a decoder in Genie's form
 *              (gguf_genie.h), whose tokenizer.json is a file of its own: opts.tokenizer
 *   a compiled file (compiled.h), which is a .gguf too: weights may have no data
 * Knows nothing of what the names mean. Read-only after open: reads may run on several threads. */
#ifndef EYE_FORMAT_CHECKPOINT_H
#define EYE_FORMAT_CHECKPOINT_H

#include "format/compiled.h"
#include "format/gguf_folder.h"
#include "format/safetensors.h"

#define EYE_CHECKPOINT_FILE_KEY "eyelet.file."
#define EYE_CHECKPOINT_MAX_SHARDS 4096

struct eye_checkpoint_opts {
    bool no_mmap;       /* read into memory in place of mapping */
    bool takes_compiled; /* the caller can do without the weights' own numbers; else a compiled file is refused */
    const char *tokenizer; /* NULL, or a tokenizer.json in place of the checkpoint's own, if it has one */
    const char *mmproj; /* NULL, or a GGUF of architecture "clip": path must then be a GGUF of a text model of llama.cpp's */
};

struct eye_checkpoint {
    char *path; /* as given, for texts; in the arena */
    bool is_gguf;
    struct eye_gguf gguf;           /* when is_gguf */
    bool is_compiled;
    struct eye_compiled compiled;   /* when is_compiled */
    bool has_mmproj;
    struct eye_gguf mmproj;         /* when has_mmproj */
    struct eye_str made[EYE_GGUF_N_FILES]; /* of a GGUF without files: what its metadata says; p NULL = none */
    struct eye_err no_files;        /* code != OK: why there are none */
    struct eye_safetensors *shard;  /* else [n_shards]; PyTorch's files as well */
    size_t n_shards;                /* 1 for a GGUF */
    struct eye_arena arena;
    const struct eye_entry **entry; /* [n], in file order, shard after shard */
    size_t n;
    uint64_t data_bytes;            /* of all tensors */
    struct eye_strmap index;
    struct eye_map tokenizer;       /* opts.tokenizer; path NULL = not asked for */
    struct eye_map *side;           /* [EYE_COUNT of the names below]: path NULL = not there */
};

/* opts NULL = defaults; alloc NULL = process. c is set on success. IO: not there, or parts missing; CORRUPT: contradictions;
 * UNSUPPORTED: dtypes we lack, PyTorch's format before 1.6. */
EYE_MUST_CHECK enum eye_status eye_checkpoint_open(struct eye_checkpoint *c, const char *path,
                                                   const struct eye_checkpoint_opts *opts, const struct eye_alloc *alloc,
                                                   struct eye_err *err);
void eye_checkpoint_close(struct eye_checkpoint *c); /* zero-initialised is fine */

const struct eye_tensor *eye_checkpoint_find(const struct eye_checkpoint *c, const char *name); /* NULL = absent */
static inline size_t eye_checkpoint_n_tensors(const struct eye_checkpoint *c) { return c->n; }
static inline const struct eye_entry *eye_checkpoint_tensor(const struct eye_checkpoint *c, size_t i) { return c->entry[i]; }

/* Bytes of a side file, borrowed; false = absent. In a folder these are known: config.json, generation_config.json,
 * preprocessor_config.json, processor_config.json, tokenizer.json, tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, vocab.json, merges.txt, chat_template.jinja, chat_template.json, tokenizer.model (bytes, no text). Not
 * NUL-terminated. */
bool eye_checkpoint_text(const struct eye_checkpoint *c, const char *name, const char **p, size_t *len);
/* The i-th known name, NULL past the end (for `convert`, which carries them over). */
const char *eye_checkpoint_side_name(size_t i);

#endif
