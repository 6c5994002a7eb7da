/* seen: pictures that were decoded before, by the bytes of their files: a client that asks again about a picture sends it
 * again. Threads: any. */
#ifndef EYELET_SERVE_SEEN_H
#define EYELET_SERVE_SEEN_H

#include <stdbool.h>
#include <stddef.h>

#include "eyelet/eyelet.h"

struct serve_seen;
struct serve_seen_entry; /* held: its pixels stay */

/* most_bytes: of files and pixels together. NULL = no memory. */
struct serve_seen *serve_seen_new(size_t most_bytes);
void serve_seen_free(struct serve_seen *s); /* nothing may be held any more. NULL is fine */
/* The same file's pixels, borrowed until the entry is released; NULL = not there. */
struct serve_seen_entry *serve_seen_find(struct serve_seen *s, const unsigned char *file, size_t n, struct eye_image *img);
/* Takes img, which becomes borrowed as above, and a copy of the file; NULL: it is too large or memory is short, and img is as
 * it was. What was used longest ago goes. */
struct serve_seen_entry *serve_seen_keep(struct serve_seen *s, const unsigned char *file, size_t n, struct eye_image *img);
void serve_seen_release(struct serve_seen *s, struct serve_seen_entry *e);

#endif
