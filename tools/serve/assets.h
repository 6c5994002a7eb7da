/* assets: the page's files, in the program. The table is made by embed.c from tools/serve/page when eyelet is built. */
#ifndef EYELET_SERVE_ASSETS_H
#define EYELET_SERVE_ASSETS_H

#include <stddef.h>

struct serve_asset {
    const char *path;   /* "/app.js"; "/" of index.html */
    const char *type;   /* media type */
    const char *etag;   /* quoted hash of the bytes */
    const unsigned char *bytes;
    size_t n;
};
extern const struct serve_asset serve_assets[]; /* ended by a NULL path */

/* The file of this path, or NULL. */
const struct serve_asset *serve_asset_find(const char *path);

/* What a page of this server may load and do: its own files, and what it makes itself (blob: and data: images, the camera). */
#define SERVE_CSP \
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; " \
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'"

#endif
