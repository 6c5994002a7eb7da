/* genie/dialog_state: a dialog's state as Genie saves it, a folder:
 *
 *   dialog.json                 n-past, n-prompt, n-generated, n-queries, last-tok, process-state, unprocessed-*-size
 *   unprocessed-data            tokens and rows not yet run: always none here
 *   sampler.primary.rng         the draw's state, as text. Genie's is a std::mt19937; eyelet's is another generator and says so
 *   kv-cache.primary.qnn-cpu    16 bytes, then K of all layers, then V: layer, KV head, position, element; f32
 *       0 u32 2 * layers | 4 u32 0x0000C0DE | 8 u8 type, 10 = f32 | 9 u8 0
 *       10 u16 query heads | 12 u16 head dim | 14 u16 positions
 *
 * The cache file has room for 65,535 positions: more are refused, not wrapped. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "format/json.h"
#include "genie/dialog_impl.h"
#include "genie/source.h"

#define KV_FILE "kv-cache.primary.qnn-cpu"
#define RNG_FILE "sampler.primary.rng"
#define RNG_NAME "eyelet-xoshiro256**"
#define KV_MAGIC 0x0000C0DEu
#define KV_HEADER 16
#define KV_F32 10

static bool path_in(const char *dir, const char *name, char *out, size_t cap) {
    return snprintf(out, cap, "%s/%s", dir, name) < (int)cap;
}

/* ---- saving ---- */

static void put_le(uint8_t *p, uint32_t v, int bytes) {
    for (int i = 0; i < bytes; i++) p[i] = (uint8_t)(v >> (8 * i));
}

/* The cache's states are k of layer 0, v of layer 0, k of layer 1, …; a chunk is one head of one of them. */
static size_t chunk_of(const struct eye_text_config *t, int v, int64_t layer, int64_t head) {
    return (size_t)((2 * layer + v) * t->n_kv_heads + head);
}

static enum eye_status put_cache(const struct eye_genie_dialog *d, struct eye_writer *w, uint8_t *chunk, struct eye_err *err) {
    const struct eye_text_config *t = &d->model->vlm.config.text;
    const struct eye_kv *kv = d->s->decoder.kv;
    uint8_t head[KV_HEADER] = {0};
    put_le(head, (uint32_t)(2 * t->n_layers), 4);
    put_le(head + 4, KV_MAGIC, 4);
    head[8] = KV_F32;
    put_le(head + 10, (uint32_t)t->n_heads, 2);
    put_le(head + 12, (uint32_t)t->head_dim, 2);
    put_le(head + 14, (uint32_t)d->s->n_past, 2);
    EYE_TRY(eye_writer_put(w, head, sizeof head, err));
    for (int v = 0; v < 2; v++)
        for (int64_t layer = 0; layer < t->n_layers; layer++)
            for (int64_t h = 0; h < t->n_kv_heads; h++) {
                size_t i = chunk_of(t, v, layer, h);
                eye_kv_read(kv, i, d->s->n_past, chunk);
                EYE_TRY(eye_writer_put(w, chunk, eye_kv_chunk_bytes(kv, i, d->s->n_past), err));
            }
    return eye_writer_commit(w, err);
}

static enum eye_status save_cache(const struct eye_genie_dialog *d, const char *dir, struct eye_err *err) {
    struct eye_writer w = {0};
    char path[4096];
    if (d->c.kv_quantization)
        return eye_fail(err, EYE_E_UNSUPPORTED, "Failed to save. kv-quantization: Genie's layout of int8 keys and values is "
                        "not written");
    if (d->s->n_past > UINT16_MAX)
        return eye_fail(err, EYE_E_LIMIT, "Failed to save. %d positions, the file has room for %d", d->s->n_past, UINT16_MAX);
    if (!path_in(dir, KV_FILE, path, sizeof path)) return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", dir);
    size_t bytes = eye_kv_chunk_bytes(d->s->decoder.kv, 0, d->s->n_past);
    uint8_t *chunk = eye_alloc_raw(NULL, bytes + 1);
    if (!chunk) return eye_fail_nomem(err, bytes);
    enum eye_status st = eye_writer_open(&w, path, err);
    if (st == EYE_OK) st = put_cache(d, &w, chunk, err);
    eye_writer_abort(&w);
    eye_alloc_free(NULL, chunk, bytes + 1);
    return st;
}

enum eye_status eye_genie_dialog_save(struct eye_genie_dialog *d, const char *dir, struct eye_err *err) {
    char rng[160];
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    EYE_TRY(eye_genie_make_dir(dir, err));
    EYE_TRY(save_cache(d, dir, err));
    int n = snprintf(rng, sizeof rng, RNG_NAME " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", d->rng.s[0], d->rng.s[1],
                     d->rng.s[2],
                     d->rng.s[3]);
    EYE_TRY(eye_genie_write_file(dir, RNG_FILE, rng, (size_t)n, err));
    EYE_TRY(eye_genie_write_file(dir, "unprocessed-data", "", 0, err));
    json_t *o = json_pack("{s:i,s:I,s:I,s:I,s:i,s:i,s:i,s:i}", "n-past", (int)d->s->n_past, "n-prompt", (json_int_t)d->n_prompt,
                          "n-generated", (json_int_t)d->n_generated, "n-queries", (json_int_t)d->n_queries, "last-tok",
                          (int)d->last_tok,
                          "process-state", 0, "unprocessed-tokens-size", 0, "unprocessed-embedding-size", 0);
    enum eye_status st = o ? eye_json_write(o, 2, &b, err) : eye_fail_nomem(err, 0);
    json_decref(o);
    if (st == EYE_OK) st = eye_genie_write_file(dir, "dialog.json", b.p, b.len, err);
    eye_buf_clear(&b);
    return st;
}

/* ---- restoring: the folder may come from anyone ---- */

struct saved {
    int64_t n_past, n_prompt, n_generated, n_queries, last_tok;
};

static enum eye_status read_dialog_json(const char *dir, const struct eye_genie_dialog *d, struct saved *s,
                                        struct eye_err *err) {
    struct eye_map map;
    struct eye_json j;
    char path[4096];
    int64_t tokens, rows;
    if (!path_in(dir, "dialog.json", path, sizeof path)) return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", dir);
    EYE_TRY(eye_map_open(&map, path, false, EYE_GENIE_MAX_CONFIG, err));
    enum eye_status st = eye_json_parse(&j, map.p, map.size, EYE_GENIE_MAX_CONFIG, path, err);
    if (st == EYE_OK) {
        struct eye_json_at at = eye_json_root(&j);
        if (st == EYE_OK) st = eye_json_need_int(&at, "n-past", 1, d->s->n_ctx, &s->n_past, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "n-prompt", 0, UINT32_MAX, 0, &s->n_prompt, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "n-generated", 0, UINT32_MAX, 0, &s->n_generated, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "n-queries", 0, UINT32_MAX, 0, &s->n_queries, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "last-tok", -1, eye_model_n_vocab(d->model) - 1, -1, &s->last_tok, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "unprocessed-tokens-size", 0, INT64_MAX, 0, &tokens, err);
        if (st == EYE_OK) st = eye_json_int_in(&at, "unprocessed-embedding-size", 0, INT64_MAX, 0, &rows, err);
        if (st == EYE_OK && (tokens || rows))
            st = eye_fail(err, EYE_E_UNSUPPORTED, "%s: tokens or rows that were not yet run; a state without is read", path);
        eye_json_clear(&j);
    }
    eye_map_close(&map);
    return st;
}

static enum eye_status read_cache(struct eye_genie_dialog *d, const struct eye_map *map, int64_t n_past, struct eye_err *err) {
    const struct eye_text_config *t = &d->model->vlm.config.text;
    struct eye_kv *kv = d->s->decoder.kv;
    struct eye_cursor c = eye_cursor_make(map->p, map->size);
    uint32_t n_tensors = eye_cursor_u32(&c), magic = eye_cursor_u32(&c);
    uint8_t type = eye_cursor_u8(&c);
    eye_cursor_u8(&c);
    uint16_t heads = eye_cursor_u16(&c), dim = eye_cursor_u16(&c), n = eye_cursor_u16(&c);
    size_t chunk = eye_kv_chunk_bytes(kv, 0, n_past), chunks = eye_kv_n_chunks(kv), want = KV_HEADER;
    if (!c.failed && magic != KV_MAGIC)
        return eye_fail(err, EYE_E_CORRUPT, "%s: Incorrect magic number. 0xC0DE. Found 0x%X", map->path, magic);
    if (c.failed || !eye_mul_ok(chunk, chunks, &want) || map->size != want + KV_HEADER)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu bytes, expected %zu for %" PRId64 " positions", map->path, map->size,
                        want + KV_HEADER, n_past);
    if (type != KV_F32 || n_tensors != 2 * t->n_layers || heads != t->n_heads || dim != t->head_dim || n != n_past)
        return eye_fail(err, EYE_E_CORRUPT, "%s: type %u, %u tensors, %u heads of %u, %u positions; expected %u, %" PRId64 ", "
                        "%" PRId64
                        " of %" PRId64 ", %" PRId64, map->path, type, n_tensors, heads, dim, n, KV_F32, 2 * t->n_layers,
                        t->n_heads,
                        t->head_dim, n_past);
    for (int v = 0; v < 2; v++)
        for (int64_t layer = 0; layer < t->n_layers; layer++)
            for (int64_t h = 0; h < t->n_kv_heads; h++)
                eye_kv_write(kv, chunk_of(t, v, layer, h), n_past, eye_cursor_bytes(&c, chunk));
    return EYE_OK;
}

/* Ours goes on; another's cannot, which matters to draws alone. */
static void read_rng(struct eye_genie_dialog *d, const char *dir) {
    struct eye_map map;
    char path[4096], text[160] = "";
    d->restored = false;
    if (!path_in(dir, RNG_FILE, path, sizeof path) || eye_map_open(&map, path, false, 1 << 20, NULL) != EYE_OK) return;
    memcpy(text, map.p ? (const char *)map.p : "", EYE_MIN(map.size, sizeof text - 1));
    eye_map_close(&map);
    d->restored = sscanf(text, RNG_NAME " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64, &d->rng.s[0], &d->rng.s[1],
                         &d->rng.s[2],
                         &d->rng.s[3]) == 4;
    if (!d->restored && d->c.sampling.temperature > 0)
        eye_model_log(d->model, EYE_LOG_WARNING, "genie.rng", "%s: another generator's state: draws begin anew with the seed",
                      path);
}

enum eye_status eye_genie_dialog_restore(struct eye_genie_dialog *d, const char *dir, struct eye_err *err) {
    struct eye_map map;
    struct saved s = {.last_tok = -1};
    char path[4096];
    if (d->c.kv_quantization)
        return eye_fail(err, EYE_E_UNSUPPORTED, "kv-quantization: Genie's layout of int8 keys and values is not read");
    EYE_TRY(read_dialog_json(dir, d, &s, err));
    if (!path_in(dir, KV_FILE, path, sizeof path)) return eye_fail(err, EYE_E_ARG, "%.200s…: the path is too long", dir);
    EYE_TRY(eye_map_open(&map, path, true, 0, err));
    enum eye_status st = read_cache(d, &map, s.n_past, err);
    eye_map_close(&map);
    if (st != EYE_OK) return st;
    for (int64_t i = 0; i < s.n_past; i++) d->s->past[i] = EYE_TOKEN_IMAGE_ROW; /* what stands there is not in the folder */
    d->s->n_past = (int32_t)s.n_past;
    d->s->pending = -1;
    d->last_tok = (int32_t)s.last_tok;
    d->n_prompt = (uint32_t)s.n_prompt;
    d->n_generated = (uint32_t)s.n_generated;
    d->n_queries = (uint32_t)s.n_queries;
    read_rng(d, dir);
    return EYE_OK;
}
