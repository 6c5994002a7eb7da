/* Fuzz target: the bytes are a hub's list of files, the name of a model, and a path inside a repository. */
#include "../../tools/hub/hub.h"
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct hub_listing list;
    struct hub_name name;
    struct eye_err err = {0};
    char text[512], place[HUB_PATH_MAX];
    enum eye_status st = hub_listing_parse((const char *)p, n, &list, &err);
    for (size_t i = 0; st == EYE_OK && i < list.n_files; i++) {
        const struct hub_file *f = &list.file[i];
        if (!hub_path_ok(f->path) || f->path[0] == '/' || strstr(f->path, "//") || strcmp(f->path, "..") == 0 ||
            strncmp(f->path, "../", 3) == 0 || strstr(f->path, "/../") || strlen(f->blob) < 40)
            abort();
    }
    hub_listing_clear(&list);
    memcpy(text, p, EYE_MIN(n, sizeof text - 1));
    text[EYE_MIN(n, sizeof text - 1)] = '\0';
    if (hub_name_parse(text, &name)) {
        if (strstr(name.repo, "..") || strstr(name.revision, "..") == name.revision || strchr(name.repo, '/') != strrchr(name.repo, '/') ||
            !hub_cache_path("/cache", name.repo, place, "/refs/%s", name.revision) || strncmp(place, "/cache/models--", 15) != 0)
            abort();
    }
    return st == EYE_OK ? 0 : eye_fuzz_error(st, &err);
}
