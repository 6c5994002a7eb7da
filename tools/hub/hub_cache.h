/* hub_cache: models on this machine's disk, laid out as huggingface_hub does, so that either program finds what the other
 * fetched:
 *
 *   models--OWNER--NAME/blobs/ID              the bytes; ID = SHA-256 (LFS) or git's object id, in hex
 *   models--OWNER--NAME/snapshots/COMMIT/PATH links to ../../blobs/ID
 *   models--OWNER--NAME/refs/REVISION         a file: the commit
 *   .locks/models--OWNER--NAME/ID.lock        held (flock) while ID is fetched
 *
 * Knows no network. */
#ifndef EYELET_HUB_CACHE_H
#define EYELET_HUB_CACHE_H

#include "eyelet/eyelet.h"

#define HUB_PATH_MAX 4096
#define HUB_NAME_MAX 200
#define HUB_REVISION_MAX 200

struct hub_name { /* OWNER/NAME[@REVISION] */
    char repo[HUB_NAME_MAX];         /* "apple/FastVLM-0.5B" */
    char revision[HUB_REVISION_MAX]; /* "main" */
};
/* False = text is no such name; nothing in it can lead out of a folder. */
bool hub_name_parse(const char *text, struct hub_name *name);
/* A path inside a repository, as a hub lists it: relative, without "..", control characters and empty parts. */
bool hub_path_ok(const char *path);
/* "0123abcd…": n hexadecimal digits, lower case. */
bool hub_is_hex(const char *text, size_t n);

/* The cache's folder: given, else HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME/hub, XDG_CACHE_HOME/huggingface/hub, ~/.cache/…
 * . Returns EYE_OK; ARG (no home is known, or it is too long). */
EYE_MUST_CHECK enum eye_status hub_cache_dir(const char *given, char out[HUB_PATH_MAX], struct eye_err *err);
/* Where a model lies: cache/models--OWNER--NAME[/rest]. False = too long. */
bool hub_cache_path(const char *cache, const char *repo, char out[HUB_PATH_MAX], const char *rest_fmt, ...)
    EYE_PRINTF(4, 5);

/* The snapshot of a revision that was fetched: by a branch's or tag's ref, or a commit itself. commit [41] may be NULL.
 * Returns EYE_OK; IO (it is not there: says how to fetch it). */
EYE_MUST_CHECK enum eye_status hub_cache_find(const char *cache, const struct hub_name *name, char snapshot[HUB_PATH_MAX],
                                              char *commit,
                                              struct eye_err *err);
/* What of a snapshot is MODEL: the folder, or its one .gguf where it is no checkpoint folder. mmproj [HUB_PATH_MAX]:
 * llama.cpp's file of the vision tower beside it, "" = none. */
void hub_cache_model(const char *snapshot, char model[HUB_PATH_MAX], char *mmproj);

/* ---- for the one who fetches ---- */
/* All folders of a path, which ends in a file's name. */
EYE_MUST_CHECK enum eye_status hub_make_folders(const char *path, struct eye_err *err);
/* snapshots/COMMIT/PATH becomes a link to the blob, in place of what is there. Where a disk has no links the blob moves. */
EYE_MUST_CHECK enum eye_status hub_cache_link(const char *cache, const char *repo, const char *commit, const char *path,
                                              const char *blob,
                                              struct eye_err *err);
/* refs/REVISION says commit from now on. */
EYE_MUST_CHECK enum eye_status hub_cache_set_ref(const char *cache, const struct hub_name *name, const char *commit,
                                                 struct eye_err *err);
/* Takes the lock of a blob, waiting while another process has it; *fd is to be closed. on_wait is called once before waiting. */
EYE_MUST_CHECK enum eye_status hub_cache_lock(const char *cache, const char *repo, const char *blob,
                                              void (*on_wait)(void *ctx), void *ctx,
                                              eye_cancel_fn *cancel, int *fd, struct eye_err *err);

#endif
