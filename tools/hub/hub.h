/* hub: fetching a model from a hub of Hugging Face's kind: asks for the files of a revision, fetches those wanted into the
 * cache, goes on with what an earlier call left unfinished, and believes nothing: paths are checked, sizes bounded, bytes
 * hashed. */
#ifndef EYELET_HUB_H
#define EYELET_HUB_H

#include "eyelet/eyelet.h"
#include "hub_cache.h"

#define HUB_ENDPOINT "https://huggingface.co"

struct hub_opts { /* texts are borrowed */
    const char *endpoint, *token;  /* token NULL = none */
    const char *cache;
    const char *const *include;    /* [n_include] patterns (fnmatch) of paths; 0 = what eyelet reads */
    size_t n_include;
    bool all;
    void (*on_note)(void *ctx, const char *text);                        /* a line for people */
    void (*on_progress)(void *ctx, const char *file, uint64_t done, uint64_t total); /* bytes of all files wanted */
    void *ctx;
    eye_cancel_fn *cancel;
};

struct hub_file {
    char *path;
    char blob[65];       /* SHA-256 or git's id, hex */
    uint64_t size;
    bool wanted;
};
struct hub_listing {
    char commit[41];
    char license[64];    /* "" = the hub does not say */
    struct hub_file *file;
    size_t n_files, n_wanted;
    uint64_t wanted_bytes, fetched_bytes; /* fetched: over the network, by this call */
};
/* Fetches; the listing is filled as far as it came and is to be cleared in any case. Returns EYE_OK; IO (network, disk, what
 * the hub refuses: says what to do); CORRUPT (what it says or sends is not right); LIMIT (too much for the disk or for us);
 * CANCELLED; ARG; NOMEM. */
EYE_MUST_CHECK enum eye_status hub_pull(const struct hub_name *name, const struct hub_opts *opts, struct hub_listing *list,
                                        struct eye_err *err);
void hub_listing_clear(struct hub_listing *list);

/* For hub.c: the hub's answer to /api/models/…; checks all of it. Text of n bytes. */
EYE_MUST_CHECK enum eye_status hub_listing_parse(const char *text, size_t n, struct hub_listing *list, struct eye_err *err);
/* The hash of a file by which a hub names it, hex: SHA-256 for 64 digits, git's blob id for 40. */
EYE_MUST_CHECK enum eye_status hub_file_id(const char *path, size_t n_digits, char out[65], struct eye_err *err);

#endif
