/* default_model: where the model lies that eyelet brings with it. The build names the file and the folder it is installed to;
 * first it is looked for beside the running program, so that a build folder, a moved prefix and a folder copied to a phone find
 * their own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "session/session_impl.h"

#define PATH_BYTES 4096 /* Linux's PATH_MAX */

static enum eye_status hand_over(const char *found, char *path, size_t cap, struct eye_err *err) {
    size_t n = strlen(found) + 1;
    if (n > cap) return eye_fail(err, EYE_E_LIMIT, "the default model's path takes %zu bytes, there is room for %zu", n, cap);
    memcpy(path, found, n);
    return EYE_OK;
}

enum eye_status eye_default_model(char *path, size_t cap, struct eye_err *err) {
    static const char *const below[] = {"", "/../share/eyelet"}; /* of the program's folder */
    char program[PATH_BYTES], file[PATH_BYTES + 128];
    const char *named = getenv("EYELET_MODEL");
    if (named && *named) return hand_over(named, path, cap, err);
    bool known = eye_program_dir(program, sizeof program);
    for (size_t i = 0; known && i < EYE_COUNT(below); i++) {
        snprintf(file, sizeof file, "%s%s/%s", program, below[i], EYE_DEFAULT_MODEL);
        if (eye_path_exists(file)) return hand_over(file, path, cap, err);
    }
    if (eye_path_exists(EYE_DATADIR "/" EYE_DEFAULT_MODEL)) return hand_over(EYE_DATADIR "/" EYE_DEFAULT_MODEL, path, cap, err);
    return eye_fail(err, EYE_E_IO, "no default model: %s is neither beside the program (%.160s), in share/eyelet of its prefix, nor in %s",
                    EYE_DEFAULT_MODEL, known ? program : "its folder is not known", EYE_DATADIR);
}
