/* seen: see seen.h. Files are compared whole, so nobody can be shown another's picture; there are few, since their bytes are
 * bounded. */
#include "seen.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ENTRIES 256

struct serve_seen_entry {
    struct serve_seen_entry *next; /* used longer ago */
    struct eye_image image;
    unsigned char *file;           /* [n] */
    size_t n, bytes;               /* of both */
    int n_held;
    bool gone;                     /* from the list: freed by the last who releases it */
};

struct serve_seen {
    pthread_mutex_t lock;
    struct serve_seen_entry *first; /* used last */
    size_t n, bytes, most_bytes;
};

static void free_entry(struct serve_seen_entry *e) {
    eye_image_free(&e->image);
    free(e->file);
    free(e);
}

struct serve_seen *serve_seen_new(size_t most_bytes) {
    struct serve_seen *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->most_bytes = most_bytes;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

/* The place of the last one that is used. */
static void drop_oldest(struct serve_seen *s) {
    struct serve_seen_entry **at = &s->first;
    while ((*at)->next) at = &(*at)->next;
    struct serve_seen_entry *e = *at;
    *at = NULL;
    s->n--;
    s->bytes -= e->bytes;
    e->gone = true;
    if (!e->n_held) free_entry(e);
}

void serve_seen_free(struct serve_seen *s) {
    if (!s) return;
    while (s->first) drop_oldest(s);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static struct eye_image borrowed(const struct serve_seen_entry *e) {
    struct eye_image img = e->image;
    img.owned = NULL;
    return img;
}

/* Of the list, to its front. Wants the lock. */
static struct serve_seen_entry *find(struct serve_seen *s, const unsigned char *file, size_t n) {
    for (struct serve_seen_entry **at = &s->first, *e; (e = *at); at = &e->next) {
        if (e->n != n || memcmp(e->file, file, n) != 0) continue;
        *at = e->next;
        e->next = s->first;
        s->first = e;
        e->n_held++;
        return e;
    }
    return NULL;
}

struct serve_seen_entry *serve_seen_find(struct serve_seen *s, const unsigned char *file, size_t n, struct eye_image *img) {
    pthread_mutex_lock(&s->lock);
    struct serve_seen_entry *e = find(s, file, n);
    pthread_mutex_unlock(&s->lock);
    if (e) *img = borrowed(e);
    return e;
}

struct serve_seen_entry *serve_seen_keep(struct serve_seen *s, const unsigned char *file, size_t n, struct eye_image *img) {
    size_t bytes = n + img->stride * (size_t)img->height;
    struct serve_seen_entry *e;
    if (bytes > s->most_bytes / 2 || !(e = calloc(1, sizeof *e))) return NULL;
    if (!(e->file = malloc(n))) {
        free(e);
        return NULL;
    }
    memcpy(e->file, file, n);
    *e = (struct serve_seen_entry){.image = *img, .file = e->file, .n = n, .bytes = bytes, .n_held = 1};
    pthread_mutex_lock(&s->lock);
    while (s->first && (s->bytes + bytes > s->most_bytes || s->n == MAX_ENTRIES)) drop_oldest(s);
    e->next = s->first;
    s->first = e;
    s->n++;
    s->bytes += bytes;
    pthread_mutex_unlock(&s->lock);
    *img = borrowed(e);
    return e;
}

void serve_seen_release(struct serve_seen *s, struct serve_seen_entry *e) {
    pthread_mutex_lock(&s->lock);
    bool last = --e->n_held == 0 && e->gone;
    pthread_mutex_unlock(&s->lock);
    if (last) free_entry(e);
}
