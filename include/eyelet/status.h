/* Status codes, error text and the allocator hook: what every other eyelet header needs.
 *
 *   struct eye_err err = {0};
 *   if (eye_model_open("model.gguf", NULL, &model, &err) != EYE_OK)
 *       fprintf(stderr, "%s\n", err.text);
 *
 * No global error state exists. A call that can fail returns an enum eye_status, hands results out through pointers
 * (set only on success) and, if its last argument is not NULL, writes one line of text: where, what, expected, got, hint.
 */
#ifndef EYELET_STATUS_H
#define EYELET_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define EYE_API __attribute__((visibility("default")))
#define EYE_MUST_CHECK __attribute__((warn_unused_result))
#define EYE_PRINTF(fmt_arg, first_arg) __attribute__((format(printf, fmt_arg, first_arg)))
#else
#define EYE_API
#define EYE_MUST_CHECK
#define EYE_PRINTF(fmt_arg, first_arg)
#endif

enum eye_status {
    EYE_OK = 0,
    EYE_E_ARG,         /* the caller's argument is unusable */
    EYE_E_NOMEM,       /* an allocation failed */
    EYE_E_IO,          /* the operating system refused: open, read, write, map */
    EYE_E_CORRUPT,     /* bytes contradict their format */
    EYE_E_UNSUPPORTED, /* valid, but nothing eyelet can run (yet) */
    EYE_E_LIMIT,       /* would exceed a configured bound */
    EYE_E_CANCELLED    /* the caller's callback asked to stop */
};

struct eye_err {
    enum eye_status code;
    char text[512]; /* one line, NUL-terminated, no trailing newline */
};

/* "EYE_E_CORRUPT" and so on; never NULL. */
EYE_API const char *eye_status_name(enum eye_status status);

/* Memory source of an engine. alloc returns memory aligned to align (a power of two <= 64) or NULL; free gets the same size
 * that was asked for. Both may be called from any thread. A NULL allocator anywhere in the API means malloc/free. */
struct eye_alloc {
    void *(*alloc)(void *ctx, size_t bytes, size_t align);
    void (*free)(void *ctx, void *p, size_t bytes);
    void *ctx;
};

#ifdef __cplusplus
}
#endif
#endif
