/* Replays the files and folders named on the command line through one fuzz target, without libFuzzer. Each input is handed
 * over in memory of exactly its size; a crash is the failure. */
#include <dirent.h>
#include <stdio.h>

#include "base/sys.h"
#include "fuzz/fuzz.h"

static int n_replayed;

static int replay_file(const char *path) {
    struct eye_map m;
    struct eye_err err = {0};
    if (eye_map_open(&m, path, false, 0, &err) != EYE_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint8_t *exact = malloc(m.size ? m.size : 1);
    if (!exact) abort();
    if (m.size) memcpy(exact, m.p, m.size);
    fprintf(stderr, "%s\n", path); /* the last line before a crash names its cause */
    LLVMFuzzerTestOneInput(exact, m.size);
    n_replayed++;
    free(exact);
    eye_map_close(&m);
    return 0;
}

static int replay_folder(const char *path) {
    char file[4096];
    int failed = 0;
    DIR *dir = opendir(path);
    if (!dir) {
        fprintf(stderr, "%s: cannot list the folder\n", path);
        return 1;
    }
    for (const struct dirent *d; (d = readdir(dir));) {
        if (d->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, d->d_name);
        failed |= replay_file(file);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= eye_path_is_dir(argv[i]) ? replay_folder(argv[i]) : replay_file(argv[i]);
    printf("%d inputs replayed\n", n_replayed);
    return failed || n_replayed == 0;
}
