/* cache: what is worth keeping. A session's context and the rows of an image, to files and back (state.h is the container);
 * the beginning of a question that is prefilled once and asked many times.
 *
 * A file is used only by a model with the same key. The key covers everything results depend on down to the last bit: version
 * and compiler of this build, the kernels' CPU features, weight and cache types, image side and fit, every tensor's name, type
 * and shape, the configuration files, and samples of the weights: all bytes up to 64 KiB of a tensor, else four windows of
 * 4 KiB. Reading every weight would cost more than what a cache saves. So two models that differ in nothing but bytes between
 * the windows have one key: true of no training step or quantization, but somebody could make such a pair. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eyelet/eyelet.h"
#include "session/session_impl.h"
#include "session/state.h"

#define ROWS_SUFFIX ".rows"
#define NAME_DIGITS (2 * EYE_SHA256_BYTES)

/* ---- keys ---- */

static void add_u64(struct eye_sha256 *h, uint64_t v) {
    uint8_t b[8];
    for (int i = 0; i < 8; i++) b[i] = (uint8_t)(v >> (8 * i));
    eye_sha256_add(h, b, sizeof b);
}

static void add_text(struct eye_sha256 *h, const char *s) {
    add_u64(h, strlen(s));
    eye_sha256_add(h, s, strlen(s));
}

static void add_sample(struct eye_sha256 *h, const void *bytes, size_t n) {
    enum { WHOLE = 65536, WINDOW = 4096, N_WINDOWS = 4 };
    const uint8_t *p = bytes;
    add_u64(h, n);
    if (n <= WHOLE) {
        eye_sha256_add(h, p, n);
        return;
    }
    for (size_t i = 0; i < N_WINDOWS; i++) eye_sha256_add(h, p + (n - WINDOW) / (N_WINDOWS - 1) * i, WINDOW);
}

static void add_options(struct eye_sha256 *h, const struct eye_model *m) {
    struct eye_model_info info;
    eye_model_get_info(m, &info);
    const uint64_t number[] = {
        m->cpu_flags, (uint64_t)info.decoder_type, (uint64_t)info.vision_type, (uint64_t)info.cache_type, (uint64_t)info.fit,
        (uint64_t)info.image_side, (uint64_t)info.image_tokens, (uint64_t)info.n_vocab, (uint64_t)info.hidden, m->unfused,
    };
    add_text(h, "eyelet state 1");
    add_text(h, eye_version());
    add_text(h, __VERSION__);
    add_text(h, info.architecture);
    add_text(h, info.chat_template);
    if (m->script) {
        size_t n;
        const char *src = eye_script_source(m->script, &n);
        add_u64(h, n);
        eye_sha256_add(h, src, n);
    }
    for (size_t i = 0; i < EYE_COUNT(number); i++) add_u64(h, number[i]);
    if (m->picture_rows == m->picture_tokens) return;
    add_text(h, "merged");
    add_u64(h, (uint64_t)m->opts.image_merge);
    add_u64(h, (uint64_t)m->picture_rows);
}

static void add_files(struct eye_sha256 *h, const struct eye_checkpoint *c) {
    const char *name, *text;
    size_t n, bytes;
    for (size_t i = 0; (name = eye_checkpoint_side_name(i)); i++)
        if (eye_checkpoint_text(c, name, &text, &n)) {
            add_text(h, name);
            add_sample(h, text, n);
        }
    if (c->is_gguf) add_sample(h, c->gguf.map.p, c->gguf.map.size);
    for (size_t i = 0; i < eye_checkpoint_n_tensors(c); i++) {
        const struct eye_entry *e = eye_checkpoint_tensor(c, i);
        add_text(h, e->name);
        add_u64(h, (uint64_t)e->t.dtype);
        add_u64(h, (uint64_t)e->t.rank);
        for (int k = 0; k < e->t.rank; k++) add_u64(h, (uint64_t)e->t.dims[k]);
        if (e->t.data && eye_tensor_bytes(&e->t, &bytes)) add_sample(h, e->t.data, bytes);
    }
    for (size_t i = 0; c->is_compiled && i < c->gguf.table.n; i++)
        add_sample(h, c->gguf.table.entry[i].t.data, c->gguf.table.entry[i].bytes);
}

void eye_model_key(struct eye_model *m, uint8_t out[EYE_SHA256_BYTES]) {
    pthread_mutex_lock(&m->key_lock);
    if (!m->key_made) {
        struct eye_sha256 h;
        eye_sha256_init(&h);
        add_options(&h, m);
        add_files(&h, &m->ckpt);
        eye_sha256_end(&h, m->key);
        m->key_made = true;
    }
    memcpy(out, m->key, sizeof m->key);
    pthread_mutex_unlock(&m->key_lock);
}

static void image_key(const struct eye_image *img, uint8_t out[EYE_SHA256_BYTES]) {
    struct eye_sha256 h;
    eye_sha256_init(&h);
    add_u64(&h, (uint64_t)img->width);
    add_u64(&h, (uint64_t)img->height);
    for (int y = 0; y < img->height; y++) eye_sha256_add(&h, img->rgb + (size_t)y * img->stride, (size_t)img->width * 3);
    eye_sha256_end(&h, out);
}

/* ---- reading ---- */

enum eye_status eye_model_open_state(struct eye_model *m, const char *path, enum eye_state_kind kind, struct eye_map *map,
                                     struct eye_state *st, struct eye_err *err) {
    static const char *const what[] = {[EYE_STATE_IMAGE] = "rows of an image", [EYE_STATE_SESSION] = "a session's context",
                                       [EYE_STATE_BATCH] = "a batch's caches"};
    uint8_t key[EYE_SHA256_BYTES];
    EYE_TRY(eye_map_open(map, path, !m->opts.no_mmap, 0, err));
    enum eye_status status = eye_state_parse(st, map->p, map->size, path, err);
    if (status == EYE_OK && st->kind != kind)
        status = eye_fail(err, EYE_E_CORRUPT, "%s: expected %s, got %s", path, what[kind], what[st->kind]);
    if (status == EYE_OK) {
        eye_model_key(m, key);
        if (memcmp(key, st->model, sizeof key) != 0)
            status = eye_fail(err, EYE_E_ARG, "%s: made with another model, build, kind of CPU or with other options "
                              "(weight and KV types, image side and tokens): make it anew with these", path);
    }
    if (status != EYE_OK) eye_map_close(map);
    return status;
}

/* ---- sessions ---- */

/* Text and room for the sizes of n_images. */
static enum eye_status set_prefix(struct eye_session *s, const char *text, size_t n, size_t n_images, struct eye_err *err) {
    void *p = s->prefix.image;
    EYE_TRY(eye_alloc_grow(s->alloc, &p, &s->prefix.image_cap, n_images, sizeof *s->prefix.image, err));
    s->prefix.image = p;
    s->prefix.active = false;
    s->prefix.text.len = 0;
    eye_buf_add(&s->prefix.text, text, n);
    if (!s->prefix.text.failed) return EYE_OK;
    eye_buf_clear(&s->prefix.text);
    eye_buf_init(&s->prefix.text, s->alloc);
    return eye_fail_nomem(err, n);
}

static size_t kv_bytes(const struct eye_session *s, int64_t n) {
    size_t sum = 0;
    for (size_t i = 0; i < eye_kv_n_chunks(s->decoder.kv); i++) sum += eye_kv_chunk_bytes(s->decoder.kv, i, n);
    return sum;
}

static enum eye_status check_session(const struct eye_session *s, const struct eye_state *st, const char *path,
                                     struct eye_err *err) {
    int32_t n_vocab = eye_model_n_vocab(s->model);
    size_t n_rows = 0, n_expected = 0, room = (size_t)s->n_ctx;
    if ((size_t)st->n + (st->pending >= 0) > room)
        return eye_fail(err, EYE_E_LIMIT, "%s: %u positions do not fit a context of %d: make it larger", path, st->n, s->n_ctx);
    if (st->data_bytes != kv_bytes(s, st->n))
        return eye_fail(err, EYE_E_CORRUPT, "%s: %" PRIu64 " bytes of keys and values, expected %zu", path, st->data_bytes,
                        kv_bytes(s, st->n));
    for (size_t i = 0; i < st->n; i++) {
        int32_t id = eye_state_id(st, i);
        n_rows += id == EYE_TOKEN_IMAGE_ROW;
        if (id < -1 || id >= n_vocab) return eye_fail(err, EYE_E_CORRUPT, "%s: token %zu is %d", path, i, id);
    }
    if (st->pending >= n_vocab) return eye_fail(err, EYE_E_CORRUPT, "%s: the pending token is %d", path, st->pending);
    for (size_t i = 0; i < st->n_images; i++) {
        uint32_t width, height;
        eye_state_size(st, i, &width, &height);
        if (width < 1 || width > EYE_IMAGE_MAX_SIDE || height < 1 || height > EYE_IMAGE_MAX_SIDE)
            return eye_fail(err, EYE_E_CORRUPT, "%s: image %zu is %u x %u", path, i, width, height);
        struct eye_image size = {.width = (int)width, .height = (int)height};
        n_expected += (size_t)eye_model_image_rows(s->model, &size);
    }
    if ((st->flags & EYE_STATE_PREFIX) && n_rows != n_expected)
        return eye_fail(err, EYE_E_CORRUPT, "%s: %zu image rows are not those of %u images", path, n_rows, st->n_images);
    return EYE_OK;
}

enum eye_status eye_session_load(struct eye_session *s, const char *path, struct eye_err *err) {
    struct eye_map map;
    struct eye_state st;
    EYE_TRY(eye_model_open_state(s->model, path, EYE_STATE_SESSION, &map, &st, err));
    enum eye_status status = check_session(s, &st, path, err);
    if (status == EYE_OK) status = set_prefix(s, st.text, st.text_bytes, st.n_images, err);
    if (status == EYE_OK) { /* nothing can fail from here on */
        const uint8_t *p = st.data;
        for (size_t i = 0; i < eye_kv_n_chunks(s->decoder.kv); i++) {
            eye_kv_write(s->decoder.kv, i, st.n, p);
            p += eye_kv_chunk_bytes(s->decoder.kv, i, st.n);
        }
        for (size_t i = 0; i < st.n; i++) s->past[i] = eye_state_id(&st, i);
        s->n_past = (int32_t)st.n;
        s->pending = st.pending;
        s->prefix.active = st.flags & EYE_STATE_PREFIX;
        s->prefix.raw = st.flags & EYE_STATE_RAW;
        s->prefix.images_first = st.flags & EYE_STATE_IMAGES_FIRST;
        s->prefix.n_images = st.n_images;
        for (size_t i = 0; i < st.n_images; i++) {
            uint32_t width, height;
            eye_state_size(&st, i, &width, &height);
            s->prefix.image[i] = (struct eye_image){.width = (int)width, .height = (int)height};
        }
    }
    eye_map_close(&map);
    return status;
}

static enum eye_status put_u32(struct eye_state_out *out, uint32_t v, struct eye_err *err) {
    uint8_t b[4] = {(uint8_t)v, (uint8_t)(v >> 8), (uint8_t)(v >> 16), (uint8_t)(v >> 24)};
    return eye_state_put(out, b, sizeof b, err);
}

static enum eye_status put_context(const struct eye_session *s, struct eye_state_out *out, const struct eye_state *st,
                                   uint8_t *chunk, struct eye_err *err) {
    for (size_t i = 0; i < st->n; i++) EYE_TRY(put_u32(out, (uint32_t)s->past[i], err));
    for (size_t i = 0; i < st->n_images; i++) {
        EYE_TRY(put_u32(out, (uint32_t)s->prefix.image[i].width, err));
        EYE_TRY(put_u32(out, (uint32_t)s->prefix.image[i].height, err));
    }
    EYE_TRY(eye_state_put(out, s->prefix.text.p, st->text_bytes, err));
    for (size_t i = 0; i < eye_kv_n_chunks(s->decoder.kv); i++) {
        eye_kv_read(s->decoder.kv, i, st->n, chunk);
        EYE_TRY(eye_state_put(out, chunk, eye_kv_chunk_bytes(s->decoder.kv, i, st->n), err));
    }
    return eye_state_commit(out, err);
}

enum eye_status eye_session_save(struct eye_session *s, const char *path, struct eye_err *err) {
    struct eye_state st = {.kind = EYE_STATE_SESSION, .n = (uint32_t)s->n_past, .pending = s->pending};
    struct eye_state_out out;
    size_t largest = 0;
    if (s->n_past == 0) return eye_fail(err, EYE_E_ARG, "%s: the context is empty: there is nothing to save", path);
    if (s->prefix.active) {
        st.flags = EYE_STATE_PREFIX | (s->prefix.raw ? EYE_STATE_RAW : 0u) |
                   (s->prefix.images_first ? EYE_STATE_IMAGES_FIRST : 0u);
        st.n_images = (uint32_t)s->prefix.n_images;
        st.text_bytes = (uint32_t)s->prefix.text.len;
    }
    st.data_bytes = kv_bytes(s, s->n_past);
    for (size_t i = 0; i < eye_kv_n_chunks(s->decoder.kv); i++)
        largest = EYE_MAX(largest, eye_kv_chunk_bytes(s->decoder.kv, i, s->n_past));
    uint8_t *chunk = eye_alloc_raw(s->alloc, largest);
    if (!chunk) return eye_fail_nomem(err, largest);
    eye_model_key(s->model, st.model);
    enum eye_status status = eye_state_open(&out, path, &st, err);
    if (status == EYE_OK) {
        status = put_context(s, &out, &st, chunk, err);
        if (status != EYE_OK) eye_state_abort(&out);
    }
    eye_alloc_free(s->alloc, chunk, largest);
    return status;
}

/* ---- the beginning of a question ---- */

enum eye_status eye_session_prefix(struct eye_session *s, const struct eye_query *query, struct eye_err *err) {
    struct eye_query q = *query;
    bool truncated;
    if (q.n_messages) return eye_fail(err, EYE_E_ARG, "prefix: %zu messages, expected a text", q.n_messages);
    if (!q.text) q.text = "";
    q.truncate = q.next_turn = false;
    size_t n = strlen(q.text);
    if (n == 0 && q.n_images == 0) return eye_fail(err, EYE_E_ARG, "prefix: neither images nor text: nothing to prefill");
    if (n > EYE_STATE_MAX_TEXT)
        return eye_fail(err, EYE_E_LIMIT, "prefix: %zu bytes of text, at most %d are taken", n, EYE_STATE_MAX_TEXT);
    eye_session_reset(s);
    EYE_TRY(set_prefix(s, q.text, n, q.n_images, err));
    EYE_TRY(eye_query_assemble(s->model, &q, s->n_ctx, &s->prompt, &truncated, err));
    EYE_TRY(eye_session_encode_images(s, &q, NULL, err));
    EYE_TRY(eye_session_prefill(s, s->prompt.p, s->prompt.n, s->image_rows, NULL, err));
    s->prefix.active = true;
    s->prefix.raw = q.raw;
    s->prefix.images_first = q.position == EYE_IMAGES_FIRST;
    s->prefix.n_images = q.n_images;
    for (size_t i = 0; i < q.n_images; i++)
        s->prefix.image[i] = (struct eye_image){.width = q.images[i].width, .height = q.images[i].height};
    return EYE_OK;
}

/* The whole question's ids; how many of them the context has already, at its beginning. Tokens may merge over the place where
 * prefix and question meet, and what closes the turn stands in the context too: only what agrees is kept. */
enum eye_status eye_session_resume(struct eye_session *s, const struct eye_query *query, struct eye_ids *ids, size_t *n_kept,
                                   bool *truncated, struct eye_err *err) {
    struct eye_query q = *query;
    struct eye_buf text;
    if (q.n_messages)
        return eye_fail(err, EYE_E_ARG, "the context begins with a prefix: a text can follow, not %zu messages", q.n_messages);
    if (q.n_images)
        return eye_fail(err, EYE_E_ARG, "the context begins with a prefix and its %zu images: no more can follow",
                        s->prefix.n_images);
    eye_buf_init(&text, s->alloc);
    eye_buf_add(&text, s->prefix.text.p, s->prefix.text.len);
    eye_buf_adds(&text, q.text ? q.text : "");
    q.text = text.len || s->prefix.raw ? text.p : NULL;
    q.images = s->prefix.image; /* only their sizes are read */
    q.n_images = s->prefix.n_images;
    q.raw = s->prefix.raw;
    q.position = s->prefix.images_first ? EYE_IMAGES_FIRST : EYE_IMAGES_TEMPLATE;
    q.next_turn = false;
    enum eye_status st = text.failed ? eye_fail_nomem(err, text.len)
                                     : eye_query_assemble(s->model, &q, s->n_ctx, ids, truncated, err);
    eye_buf_clear(&text);
    if (st != EYE_OK) return st;
    size_t n = 0, most = EYE_MIN((size_t)s->n_past, ids->n - 1); /* the last one runs again: its logits are wanted */
    while (n < most && s->past[n] == ids->p[n]) n++;
    for (size_t i = n; i < ids->n; i++)
        if (ids->p[i] == EYE_TOKEN_IMAGE_ROW)
            return eye_fail(err, EYE_E_ARG, "the question must follow the prefix and its images, but an image row at position "
                            "%zu is not in the context", i);
    *n_kept = n;
    return EYE_OK;
}

/* ---- rows of images ---- */

static enum eye_status rows_path(struct eye_model *m, const uint8_t model[EYE_SHA256_BYTES],
                                 const uint8_t image[EYE_SHA256_BYTES], struct eye_buf *path, struct eye_err *err) {
    uint8_t name[EYE_SHA256_BYTES];
    struct eye_sha256 h;
    eye_sha256_init(&h);
    eye_sha256_add(&h, model, EYE_SHA256_BYTES);
    eye_sha256_add(&h, image, EYE_SHA256_BYTES);
    eye_sha256_end(&h, name);
    eye_buf_printf(path, "%s/", m->opts.cache_dir);
    for (size_t i = 0; i < sizeof name; i++) eye_buf_printf(path, "%02x", name[i]);
    eye_buf_adds(path, ROWS_SUFFIX);
    return path->failed ? eye_fail_nomem(err, NAME_DIGITS) : EYE_OK;
}

static enum eye_status read_rows(struct eye_model *m, const struct eye_image *img, const char *path,
                                 const uint8_t image[EYE_SHA256_BYTES], float *out, struct eye_err *err) {
    size_t n = (size_t)eye_model_image_rows(m, img), bytes = n * (size_t)m->vlm.config.text.hidden * sizeof *out;
    struct eye_map map;
    struct eye_state st;
    EYE_TRY(eye_model_open_state(m, path, EYE_STATE_IMAGE, &map, &st, err));
    enum eye_status status = EYE_OK;
    if (memcmp(st.image, image, sizeof st.image) != 0 || st.n != n || st.data_bytes != bytes)
        status = eye_fail(err, EYE_E_CORRUPT, "%s: it is of another picture", path);
    else
        memcpy(out, st.data, bytes);
    eye_map_close(&map);
    return status;
}

static enum eye_status write_rows(struct eye_model *m, const struct eye_image *img, const char *path, struct eye_state *st,
                                  const float *rows, struct eye_err *err) {
    struct eye_state_out out;
    st->kind = EYE_STATE_IMAGE;
    st->pending = -1;
    st->n = (uint32_t)eye_model_image_rows(m, img);
    st->data_bytes = (uint64_t)st->n * (uint64_t)m->vlm.config.text.hidden * sizeof *rows;
    mkdir(m->opts.cache_dir, 0777); /* there already, or the next line says what is wrong */
    EYE_TRY(eye_state_open(&out, path, st, err));
    enum eye_status status = eye_state_put(&out, rows, (size_t)st->data_bytes, err);
    if (status == EYE_OK) status = eye_state_commit(&out, err);
    if (status != EYE_OK) eye_state_abort(&out);
    return status;
}

/* Ours by its name: what a killed writer left counts too. */
static bool is_rows_name(const char *name) {
    return strspn(name, "0123456789abcdef") == NAME_DIGITS && strncmp(name + NAME_DIGITS, ROWS_SUFFIX, 5) == 0;
}

/* Removes the file that was used longest ago until the rest fits; one pass over the folder each. */
static void shrink(const struct eye_model *m) {
    uint64_t cap = m->opts.cache_bytes;
    for (;;) {
        char oldest[NAME_MAX + 1] = "";
        struct timespec when = {0};
        uint64_t sum = 0;
        DIR *dir = opendir(m->opts.cache_dir);
        if (!dir) return;
        for (const struct dirent *d; (d = readdir(dir));) {
            struct stat st;
            if (!is_rows_name(d->d_name) || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) continue;
            sum += (uint64_t)st.st_size;
            if (*oldest && (st.st_mtim.tv_sec > when.tv_sec ||
                            (st.st_mtim.tv_sec == when.tv_sec && st.st_mtim.tv_nsec >= when.tv_nsec)))
                continue;
            when = st.st_mtim;
            snprintf(oldest, sizeof oldest, "%s", d->d_name);
        }
        bool done = sum <= cap || !*oldest || unlinkat(dirfd(dir), oldest, 0) != 0;
        closedir(dir);
        if (done) return;
    }
}

bool eye_folder_find(struct eye_model *m, const struct eye_image *img, struct eye_folder_key *key, float *out) {
    struct eye_err ignored = {0};
    struct eye_buf path;
    bool found = false;
    eye_model_key(m, key->model);
    image_key(img, key->image);
    eye_buf_init(&path, m->alloc);
    if (rows_path(m, key->model, key->image, &path, &ignored) == EYE_OK && eye_path_exists(path.p)) {
        found = read_rows(m, img, path.p, key->image, out, &ignored) == EYE_OK;
        if (found) utimensat(AT_FDCWD, path.p, NULL, 0); /* used just now; failing only makes it look older */
        else eye_model_log(m, EYE_LOG_WARNING, "cache.unreadable", "%s; it is made anew", ignored.text);
    }
    eye_buf_clear(&path);
    return found;
}

void eye_folder_keep(struct eye_model *m, const struct eye_image *img, const struct eye_folder_key *key, const float *rows) {
    struct eye_err ignored = {0};
    struct eye_state st = {0};
    struct eye_buf path;
    memcpy(st.model, key->model, sizeof st.model);
    memcpy(st.image, key->image, sizeof st.image);
    eye_buf_init(&path, m->alloc);
    if (rows_path(m, st.model, st.image, &path, &ignored) != EYE_OK ||
        write_rows(m, img, path.p, &st, rows, &ignored) != EYE_OK)
        eye_model_log(m, EYE_LOG_WARNING, "cache.unwritable", "%s; the image is not kept", ignored.text);
    shrink(m);
    eye_buf_clear(&path);
}

enum eye_status eye_session_encode_image(struct eye_session *s, const struct eye_image *img, float *out,
                                         struct eye_timings *timings, struct eye_err *err) {
    struct eye_model *m = s->model;
    struct eye_folder_key key;
    if (!m->opts.cache_dir) return eye_session_look(s, img, out, timings, err);
    uint64_t begin = eye_now_ns();
    if (eye_folder_find(m, img, &key, out)) {
        if (timings) timings->preprocess_us += (eye_now_ns() - begin) / 1000;
        return EYE_OK;
    }
    EYE_TRY(eye_session_look(s, img, out, timings, err));
    eye_folder_keep(m, img, &key, out); /* a cache that cannot be written is no reason to fail */
    return EYE_OK;
}
