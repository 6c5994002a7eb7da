/* Folders: paths, small files and copies, as several parts of this room need them. */
#ifndef EYE_TRAIN_FOLDER_H
#define EYE_TRAIN_FOLDER_H

#include "base/base.h"

enum { EYE_PATH_CAP = 4096 };

/* "dir/name" into out [EYE_PATH_CAP]; LIMIT. */
EYE_MUST_CHECK enum eye_status eye_path_join(char *out, const char *dir, const char *name, struct eye_err *err);
bool eye_text_ends(const char *s, const char *end);
/* Makes the last folder of the path unless it is there. IO. */
EYE_MUST_CHECK enum eye_status eye_folder_make(const char *dir, struct eye_err *err);
/* The file gets these bytes, whole or not at all. */
EYE_MUST_CHECK enum eye_status eye_path_write(const char *path, const void *p, size_t n, struct eye_err *err);
/* The same for dir/name. */
EYE_MUST_CHECK enum eye_status eye_folder_write(const char *dir, const char *name, const void *p, size_t n,
                                                struct eye_err *err);
/* from/name to dir/name. *copied: it was there. */
EYE_MUST_CHECK enum eye_status eye_folder_copy(const char *from, const char *dir, const char *name, bool *copied,
                                               struct eye_err *err);

#endif
