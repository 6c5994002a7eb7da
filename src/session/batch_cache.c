/* session/batch_cache: rows of pictures and pieces of prompts that were computed before, shared by all slots of a batch.
 *
 * Keys. Clients of a server share the caches, so nobody may be able to make a picture that passes for another's. A picture's
 * key is the SHA-256 of its blocks of 4 KiB after NH (Black et al., UMAC, CRYPTO '99) under two secret keys: two different
 * blocks agree with probability 2^-64 at most for whoever does not know the secret, which is drawn when the batch is made. That is
 * some ten times as fast as SHA-256 of all pixels, which would cost a small model more than looking again. A piece of a prompt is
 * 16 positions; its key chains that of the piece before and the 16 ids, of image rows the picture's key and the row.
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "session/batch_impl.h"

#define BLOCK EYE_KEY_BLOCK

/* ---- keys ---- */

enum eye_status eye_key_draw(struct eye_key_secret *s, struct eye_err *err) {
    uint8_t *p = (uint8_t *)s;
    for (size_t done = 0; done < sizeof *s;) {
        ssize_t n = getrandom(p + done, EYE_MIN(sizeof *s - done, 256), 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return eye_fail(err, EYE_E_IO, "batch: the system gives no random numbers: %s", strerror(errno));
        done += (size_t)n;
    }
    return EYE_OK;
}

/* NH: sums of products of pairs of 32-bit words, each with a key word added; mod 2^64. */
static void add_block(struct eye_sha256 *h, const struct eye_key_secret *s, const uint8_t p[BLOCK]) {
    uint32_t w[BLOCK / 4];
    memcpy(w, p, BLOCK);
    for (int k = 0; k < 2; k++) {
        uint64_t sum = 0;
        for (int i = 0; i < BLOCK / 8; i++)
            sum += (uint64_t)(uint32_t)(w[i] + s->word[k][i]) * (uint32_t)(w[i + BLOCK / 8] + s->word[k][i + BLOCK / 8]);
        eye_sha256_add(h, &sum, sizeof sum);
    }
}

void eye_key_image(const struct eye_key_secret *s, const struct eye_image *img, struct eye_key *out) {
    uint64_t size[2] = {(uint64_t)img->width, (uint64_t)img->height};
    uint8_t block[BLOCK];
    struct eye_sha256 h;
    size_t n = 0;
    eye_sha256_init(&h);
    eye_sha256_add(&h, size, sizeof size);
    for (int y = 0; y < img->height; y++) {
        const uint8_t *p = img->rgb + (size_t)y * img->stride;
        for (size_t left = (size_t)img->width * 3, some; left > 0; left -= some, p += some) {
            some = EYE_MIN(left, BLOCK - n);
            if (n == 0 && some == BLOCK) {
                add_block(&h, s, p);
                continue;
            }
            memcpy(block + n, p, some);
            n += some;
            if (n < BLOCK) continue;
            add_block(&h, s, block);
            n = 0;
        }
    }
    if (n) {
        memset(block + n, 0, BLOCK - n); /* the size says what is filling */
        add_block(&h, s, block);
    }
    eye_sha256_end(&h, out->b);
}

/* ---- rows of pictures ---- */

void eye_rows_init(struct eye_rows_cache *c, size_t most_bytes, const struct eye_alloc *alloc) {
    *c = (struct eye_rows_cache){.alloc = alloc, .most_bytes = most_bytes};
    pthread_mutex_init(&c->lock, NULL);
}

static void drop(struct eye_rows_cache *c, size_t i) {
    eye_alloc_free(c->alloc, c->entry[i].rows, c->entry[i].n * sizeof(float));
    c->bytes -= c->entry[i].n * sizeof(float);
    c->entry[i] = c->entry[--c->n];
}

void eye_rows_clear(struct eye_rows_cache *c) {
    while (c->n) drop(c, c->n - 1);
    eye_alloc_free(c->alloc, c->entry, c->cap * sizeof *c->entry);
    pthread_mutex_destroy(&c->lock);
}

/* Index of the entry, or n. */
static size_t find_rows(const struct eye_rows_cache *c, const struct eye_key *key) {
    size_t i = 0;
    while (i < c->n && memcmp(&c->entry[i].key, key, sizeof *key) != 0) i++;
    return i;
}

bool eye_rows_find(struct eye_rows_cache *c, const struct eye_key *key, float *out, size_t n) {
    pthread_mutex_lock(&c->lock);
    size_t i = find_rows(c, key);
    bool there = i < c->n && c->entry[i].n == n;
    if (there) {
        memcpy(out, c->entry[i].rows, n * sizeof *out);
        c->entry[i].used = ++c->now;
    }
    pthread_mutex_unlock(&c->lock);
    return there;
}

static void make_room(struct eye_rows_cache *c, size_t bytes) {
    while (c->n && c->bytes + bytes > c->most_bytes) {
        size_t oldest = 0;
        for (size_t i = 1; i < c->n; i++)
            if (c->entry[i].used < c->entry[oldest].used) oldest = i;
        drop(c, oldest);
    }
}

void eye_rows_keep(struct eye_rows_cache *c, const struct eye_key *key, const float *rows, size_t n) {
    size_t bytes = n * sizeof *rows;
    if (bytes > c->most_bytes) return;
    pthread_mutex_lock(&c->lock);
    if (find_rows(c, key) == c->n) {
        make_room(c, bytes);
        void *list = c->entry;
        float *copy = eye_alloc_grow(c->alloc, &list, &c->cap, c->n + 1, sizeof *c->entry, NULL) == EYE_OK
                          ? eye_alloc_raw(c->alloc, bytes) : NULL;
        c->entry = list;
        if (copy) {
            memcpy(copy, rows, bytes);
            c->entry[c->n++] = (struct eye_rows_entry){*key, copy, n, ++c->now};
            c->bytes += bytes;
        }
    }
    pthread_mutex_unlock(&c->lock);
}

/* ---- pieces of prompts ---- */

enum eye_status eye_prefix_init(struct eye_prefix_cache *c, struct eye_kv *kv, int64_t first_slot, size_t n,
                                const struct eye_alloc *alloc, struct eye_err *err) {
    *c = (struct eye_prefix_cache){.alloc = alloc, .kv = kv, .first_slot = first_slot, .n = n};
    pthread_mutex_init(&c->lock, NULL);
    c->page = eye_alloc_zero(alloc, n * sizeof *c->page);
    return c->page ? EYE_OK : eye_fail_nomem(err, n * sizeof *c->page);
}

void eye_prefix_clear(struct eye_prefix_cache *c) {
    eye_alloc_free(c->alloc, c->page, c->n * sizeof *c->page);
    pthread_mutex_destroy(&c->lock);
}

void eye_prefix_key(const struct eye_key *before, const struct eye_key_at at[EYE_PAGE], struct eye_key *out) {
    static const struct eye_key none;
    struct eye_sha256 h;
    eye_sha256_init(&h);
    eye_sha256_add(&h, before ? before : &none, sizeof *before);
    for (int i = 0; i < EYE_PAGE; i++) {
        eye_sha256_add(&h, &at[i].id, sizeof at[i].id);
        if (at[i].id != EYE_TOKEN_IMAGE_ROW) continue;
        eye_sha256_add(&h, &at[i].row, sizeof at[i].row);
        eye_sha256_add(&h, at[i].image, sizeof *at[i].image);
    }
    eye_sha256_end(&h, out->b);
}

static struct eye_page *find_page(const struct eye_prefix_cache *c, const struct eye_key *key) {
    for (size_t i = 0; i < c->n_used; i++)
        if (memcmp(&c->page[i].key, key, sizeof *key) == 0) return &c->page[i];
    return NULL;
}

static int64_t page_slot(const struct eye_prefix_cache *c, const struct eye_page *p) {
    return c->first_slot + (p - c->page) * EYE_PAGE;
}

size_t eye_prefix_find(struct eye_prefix_cache *c, const struct eye_key *key, size_t n, int64_t slot) {
    size_t i = 0;
    pthread_mutex_lock(&c->lock);
    c->now++;
    for (struct eye_page *p; i < n && (p = find_page(c, &key[i])); i++) {
        p->used = c->now;
        eye_kv_copy(c->kv, slot + (int64_t)i * EYE_PAGE, page_slot(c, p), EYE_PAGE);
    }
    pthread_mutex_unlock(&c->lock);
    return i;
}

/* A free one, else the one used longest ago, of equals the one that fewest others lead on from. NULL: all are of now. */
static struct eye_page *take_page(struct eye_prefix_cache *c) {
    struct eye_page *oldest = NULL;
    if (c->n_used < c->n) return &c->page[c->n_used++];
    for (size_t i = 0; i < c->n; i++) {
        struct eye_page *p = &c->page[i];
        if (!oldest || p->used < oldest->used || (p->used == oldest->used && p->depth > oldest->depth)) oldest = p;
    }
    return oldest && oldest->used < c->now ? oldest : NULL;
}

void eye_prefix_keep(struct eye_prefix_cache *c, const struct eye_key *key, size_t n, int64_t slot) {
    pthread_mutex_lock(&c->lock);
    c->now++;
    for (size_t i = 0; i < n; i++) {
        struct eye_page *p = find_page(c, &key[i]);
        if (!p) {
            p = take_page(c);
            if (!p) break;
            p->key = key[i];
            p->depth = (int32_t)i;
            eye_kv_copy(c->kv, page_slot(c, p), slot + (int64_t)i * EYE_PAGE, EYE_PAGE);
        }
        p->used = c->now;
    }
    pthread_mutex_unlock(&c->lock);
}
