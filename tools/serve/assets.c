/* assets: see assets.h. */
#include "assets.h"

#include <string.h>

const struct serve_asset *serve_asset_find(const char *path) {
    if (strcmp(path, "/index.html") == 0) path = "/";
    for (const struct serve_asset *a = serve_assets; a->path; a++)
        if (strcmp(a->path, path) == 0) return a;
    return NULL;
}
