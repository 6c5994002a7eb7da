/* Corpus: see corpus.h. */
#include "train/corpus.h"

#include <stdlib.h>
#include <string.h>

void eye_corpus_init(struct eye_corpus *c, int32_t bos, int32_t eos, size_t max_tok, const struct eye_alloc *alloc) {
    *c = (struct eye_corpus){.alloc = alloc, .ids.alloc = alloc, .bos = bos, .eos = eos, .max_tok = max_tok};
}

void eye_corpus_clear(struct eye_corpus *c) {
    eye_ids_clear(&c->ids);
    eye_alloc_free(c->alloc, c->begin, c->begin_cap * sizeof *c->begin);
    eye_alloc_free(c->alloc, c->picture, c->picture_cap * sizeof *c->picture);
    eye_alloc_free(c->alloc, c->first, c->first_cap * sizeof *c->first);
    *c = (struct eye_corpus){0};
}

/* ---- sequences ---- */

static enum eye_status add_text(struct eye_corpus *c, const char *text, size_t n, const struct eye_tokenizer *tk,
                                struct eye_err *err) {
    const struct eye_encode_opts plain = {.no_special = true}; /* "<eos>" in a caption is text, not an end */
    struct eye_ids ids = {.alloc = c->alloc};
    EYE_TRY(eye_alloc_grow(c->alloc, (void **)&c->begin, &c->begin_cap, c->n + 2, sizeof *c->begin, err));
    c->begin[c->n] = c->ids.n;
    enum eye_status st = eye_tokenizer_encode(tk, text, n, &plain, &ids, err);
    if (st == EYE_OK) st = eye_ids_add(&c->ids, c->bos, err);
    for (size_t i = 0; st == EYE_OK && i < EYE_MIN(ids.n, c->max_tok); i++) st = eye_ids_add(&c->ids, ids.p[i], err);
    if (st == EYE_OK) st = eye_ids_add(&c->ids, c->eos, err);
    eye_ids_clear(&ids);
    EYE_TRY(st);
    c->begin[++c->n] = c->ids.n;
    return EYE_OK;
}

static enum eye_status open_group(struct eye_corpus *c, uint32_t picture, struct eye_err *err) {
    EYE_TRY(eye_alloc_grow(c->alloc, (void **)&c->picture, &c->picture_cap, c->n_groups + 1, sizeof *c->picture, err));
    EYE_TRY(eye_alloc_grow(c->alloc, (void **)&c->first, &c->first_cap, c->n_groups + 2, sizeof *c->first, err));
    c->picture[c->n_groups] = picture;
    c->first[c->n_groups] = (uint32_t)c->n;
    return EYE_OK;
}

static void close_group(struct eye_corpus *c) { c->first[++c->n_groups] = (uint32_t)c->n; }

enum eye_status eye_corpus_add_split(struct eye_corpus *c, const struct eye_dataset *set, enum eye_split split,
                                     const uint8_t *have, size_t max_captions, size_t max_pictures,
                                     const struct eye_tokenizer *tk, struct eye_err *err) {
    for (uint32_t i = 0; i < set->n_images; i++) {
        const struct eye_data_image *image = &set->image[i];
        size_t n = max_captions ? EYE_MIN(image->n, max_captions) : image->n;
        if (c->pictures_only) n = 0;
        else if (n == 0) continue;
        if (image->split != split || (have && !have[i])) continue;
        if (max_pictures && c->n_groups == max_pictures) break;
        EYE_TRY(open_group(c, i, err));
        for (size_t k = 0; k < n; k++) {
            const char *text = set->caption[image->first + k].text;
            EYE_TRY(add_text(c, text, strlen(text), tk, err));
        }
        close_group(c);
    }
    return EYE_OK;
}

enum eye_status eye_corpus_add_lines(struct eye_corpus *c, const char *path, const struct eye_tokenizer *tk,
                                     struct eye_err *err) {
    struct eye_map m;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_map_open(&m, path, true, EYE_LIST_MAX_BYTES, err));
    for (size_t i = 0, end; st == EYE_OK && i < m.size; i = end + 1) {
        const uint8_t *newline = memchr(m.p + i, '\n', m.size - i);
        end = newline ? (size_t)(newline - m.p) : m.size;
        size_t n = end - i;
        while (n > 0 && (m.p[i + n - 1] == '\r' || m.p[i + n - 1] == ' ')) n--;
        if (n == 0 || n > EYE_CAPTION_MAX_BYTES) continue;
        st = open_group(c, EYE_NO_IMAGE, err);
        if (st == EYE_OK) st = add_text(c, (const char *)m.p + i, n, tk, err);
        if (st == EYE_OK) close_group(c);
    }
    eye_map_close(&m);
    return st;
}

static enum eye_status add_sequence(struct eye_corpus *c, const int32_t *ids, size_t n, struct eye_err *err) {
    EYE_TRY(eye_alloc_grow(c->alloc, (void **)&c->begin, &c->begin_cap, c->n + 2, sizeof *c->begin, err));
    c->begin[c->n] = c->ids.n;
    for (size_t i = 0; i < n; i++) EYE_TRY(eye_ids_add(&c->ids, ids[i], err));
    c->begin[++c->n] = c->ids.n;
    return EYE_OK;
}

enum eye_status eye_corpus_add_texts(struct eye_corpus *c, const struct eye_corpus *from, bool keep, const char *text,
                                     size_t bytes, size_t per_group, const struct eye_tokenizer *tk, struct eye_err *err) {
    for (size_t g = 0; g < from->n_groups; g++) {
        EYE_TRY(open_group(c, from->picture[g], err));
        for (uint32_t k = from->first[g]; keep && k < from->first[g + 1]; k++)
            EYE_TRY(add_sequence(c, from->ids.p + from->begin[k], eye_corpus_len(from, k), err));
        for (size_t k = 0; k < per_group; k++) {
            const char *end = bytes ? memchr(text, '\n', bytes) : NULL;
            if (!end) return eye_fail(err, EYE_E_CORRUPT, "the texts of picture %zu of %zu are missing", g, from->n_groups);
            size_t n = (size_t)(end - text);
            if (n) EYE_TRY(add_text(c, text, n, tk, err));
            text += n + 1;
            bytes -= n + 1;
        }
        close_group(c);
    }
    return EYE_OK;
}

static int64_t group_rows(const struct eye_corpus *c, size_t g, int64_t n_image_rows) {
    size_t a = c->first[g], b = c->first[g + 1];
    if (a == b) return n_image_rows; /* begin may not be there */
    return n_image_rows + (int64_t)(c->begin[b] - c->begin[a]) - (int64_t)(b - a); /* the end token is no input */
}

int64_t eye_corpus_targets(const struct eye_corpus *c, size_t group) { return group_rows(c, group, 0); }

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

int64_t eye_corpus_max_rows(const struct eye_corpus *c, size_t n, int64_t n_image_rows) {
    int64_t sum = 0, *rows = eye_alloc_raw(c->alloc, (c->n_groups + 1) * sizeof *rows);
    if (!rows) return -1;
    for (size_t g = 0; g < c->n_groups; g++) rows[g] = group_rows(c, g, n_image_rows);
    qsort(rows, c->n_groups, sizeof *rows, by_size);
    for (size_t i = 0; i < n; i++) sum += rows[c->n_groups ? i % c->n_groups : 0]; /* a batch may be larger than the corpus */
    eye_alloc_free(c->alloc, rows, (c->n_groups + 1) * sizeof *rows);
    return sum;
}

/* ---- order ---- */

uint32_t eye_stream_at(struct eye_stream *s, int64_t k, uint64_t *pass) {
    int64_t of = k / (int64_t)s->n;
    *pass = (uint64_t)of;
    if (s->in_order) return (uint32_t)(k % (int64_t)s->n);
    if (s->pass != of) {
        for (size_t i = 0; i < s->n; i++) s->order[i] = (uint32_t)i;
        eye_shuffle(s->order, s->n, s->seed, (uint64_t)of);
        s->pass = of;
    }
    return s->order[k % (int64_t)s->n];
}

/* ---- batches ---- */

enum eye_status eye_batch_init(struct eye_batch *b, int64_t max_rows, const struct eye_alloc *alloc, struct eye_err *err) {
    size_t n = (size_t)max_rows, per_row = 5 * sizeof(int32_t) + sizeof(struct eye_segment), bytes;
    *b = (struct eye_batch){.max_rows = max_rows};
    if (max_rows < 1 || !eye_mul_ok(n, per_row, &bytes))
        return eye_fail(err, EYE_E_LIMIT, "a batch of %lld rows", (long long)max_rows);
    b->block_bytes = bytes;
    if (!(b->block = eye_alloc_zero(alloc, bytes))) return eye_fail_nomem(err, bytes);
    b->segment = (struct eye_segment *)(void *)b->block; /* the largest alignment first */
    b->ids = (int32_t *)(void *)(b->segment + n);
    b->image_row = b->ids + n;
    b->picked = b->image_row + n;
    b->target = b->picked + n;
    b->weight = (float *)(void *)(b->target + n);
    return EYE_OK;
}

void eye_batch_clear(struct eye_batch *b, const struct eye_alloc *alloc) {
    eye_alloc_free(alloc, b->block, b->block_bytes);
    *b = (struct eye_batch){0};
}

void eye_batch_begin(struct eye_batch *b) {
    b->t = b->n_targets = b->prefix = b->n_prefix = 0;
    b->n_segments = 0;
    b->picked[0] = 0;
    b->target[0] = -1;
    b->weight[0] = 0;
}

void eye_batch_add_image(struct eye_batch *b, int64_t from, int64_t n) {
    assert(b->t + n <= b->max_rows);
    b->prefix = b->t;
    b->n_prefix = n;
    b->segment[b->n_segments++] = (struct eye_segment){.row = b->t, .n = n};
    for (int64_t i = 0; i < n; i++) {
        b->ids[b->t] = -1;
        b->image_row[b->t++] = (int32_t)(from + i);
    }
}

void eye_batch_add_sequence(struct eye_batch *b, const int32_t *ids, int64_t n, int64_t text_pos) {
    assert(b->t + n <= b->max_rows);
    b->segment[b->n_segments++] = (struct eye_segment){
        .row = b->t, .n = n, .pos = b->n_prefix ? b->n_prefix : text_pos, .prefix = b->prefix, .n_prefix = b->n_prefix};
    for (int64_t i = 0; i < n; i++) {
        b->picked[b->n_targets] = (int32_t)b->t;
        b->target[b->n_targets] = ids[i + 1];
        b->weight[b->n_targets++] = 1;
        b->ids[b->t] = ids[i];
        b->image_row[b->t++] = -1;
    }
}

void eye_batch_fill(struct eye_batch *b, const struct eye_corpus *c, const uint32_t *group, size_t n, int64_t n_image_rows,
                    int64_t text_pos) {
    eye_batch_begin(b);
    for (size_t i = 0; i < n; i++) {
        if (n_image_rows) eye_batch_add_image(b, (int64_t)i * n_image_rows, n_image_rows);
        for (uint32_t k = c->first[group[i]]; k < c->first[group[i] + 1]; k++)
            eye_batch_add_sequence(b, c->ids.p + c->begin[k], (int64_t)eye_corpus_len(c, k) - 1, text_pos);
    }
}

void eye_batch_weigh(struct eye_batch *b, float w) {
    for (int64_t i = 0; i < b->n_targets; i++) b->weight[i] = w;
}
