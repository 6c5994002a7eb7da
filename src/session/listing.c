/* listing: what a folder, .gguf or .safetensors file holds: tensors and metadata. Only headers are read; nothing has to be a
 * model. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eyelet/experimental.h"
#include "format/checkpoint.h"

#define MAX_TEXT 160  /* bytes shown of one value */
#define MAX_ITEMS 8   /* items shown of an array */

struct eye_listing {
    struct eye_checkpoint ckpt;     /* folder or .gguf */
    struct eye_safetensors lone;    /* else */
    bool is_lone;
    struct eye_arena texts;         /* metadata values */
    struct eye_metadata *metadata;  /* [n_metadata] */
    size_t n_metadata;
};

/* ---- metadata as text ---- */

static void add_bytes(struct eye_buf *b, const char *p, size_t len) {
    size_t shown = EYE_MIN(len, MAX_TEXT);
    while (shown < len && shown > 0 && ((unsigned char)p[shown] & 0xC0) == 0x80) shown--; /* not through a character */
    for (size_t i = 0; i < shown; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c < 0x20 || c == 0x7F) /* a file must not be able to steer a terminal */
            eye_buf_printf(b, "\\x%02x", c);
        else
            eye_buf_add(b, &p[i], 1);
    }
    if (shown < len) eye_buf_adds(b, "…");
}

static void add_item(struct eye_buf *b, const struct eye_gguf_kv *kv, size_t i) {
    switch (kv->type) {
    case EYE_GGUF_STRING: add_bytes(b, kv->string[i].p, kv->string[i].len); break;
    case EYE_GGUF_F32:
    case EYE_GGUF_F64: eye_buf_printf(b, "%g", eye_gguf_item_double(kv, i)); break;
    case EYE_GGUF_BOOL: eye_buf_adds(b, eye_gguf_item_int(kv, i) ? "true" : "false"); break;
    default: eye_buf_printf(b, "%" PRId64, eye_gguf_item_int(kv, i)); break;
    }
}

static void add_value(struct eye_buf *b, const struct eye_gguf_kv *kv) {
    if (!kv->is_array) {
        add_item(b, kv, 0);
        return;
    }
    eye_buf_printf(b, "[%zu x %s] ", kv->n, eye_gguf_type_name(kv->type));
    for (size_t i = 0; i < EYE_MIN(kv->n, MAX_ITEMS); i++) {
        if (i) eye_buf_adds(b, ", ");
        add_item(b, kv, i);
    }
    if (kv->n > MAX_ITEMS) eye_buf_adds(b, ", …");
}

static enum eye_status keep(struct eye_listing *l, const char *key, struct eye_buf *value, struct eye_err *err) {
    char *text = value->failed ? NULL : eye_arena_strdup(&l->texts, value->p ? value->p : "", value->len);
    value->len = 0;
    if (!text) return eye_fail_nomem(err, value->cap);
    l->metadata[l->n_metadata++] = (struct eye_metadata){key, text};
    return EYE_OK;
}

static enum eye_status read_metadata(struct eye_listing *l, struct eye_err *err) {
    const struct eye_gguf *g = l->ckpt.is_gguf && !l->is_lone ? &l->ckpt.gguf : NULL;
    const struct eye_safetensors *s = l->is_lone ? &l->lone : g ? NULL : l->ckpt.shard;
    size_t n = g ? g->n_kv : s ? s->n_metadata : 0;
    struct eye_buf value;
    enum eye_status st = EYE_OK;
    l->metadata = eye_arena_alloc(&l->texts, n * sizeof *l->metadata);
    if (!l->metadata) return eye_fail_nomem(err, n * sizeof *l->metadata);
    eye_buf_init(&value, NULL);
    for (size_t i = 0; i < n && st == EYE_OK; i++) {
        if (g)
            add_value(&value, &g->kv[i]);
        else
            add_bytes(&value, s->metadata[i].value, strlen(s->metadata[i].value));
        st = keep(l, g ? g->kv[i].key : s->metadata[i].key, &value, err);
    }
    eye_buf_clear(&value);
    return st;
}

/* ---- public ---- */

enum eye_status eye_listing_open(const char *path, struct eye_listing **listing, struct eye_err *err) {
    struct eye_listing *l = eye_alloc_zero(NULL, sizeof *l);
    size_t len = strlen(path);
    if (!l) return eye_fail_nomem(err, sizeof *l);
    eye_arena_init(&l->texts, NULL);
    l->is_lone = len >= 12 && strcmp(path + len - 12, ".safetensors") == 0 && !eye_path_is_dir(path);
    enum eye_status st = l->is_lone ? eye_safetensors_open(&l->lone, path, true, NULL, err)
                                    : eye_checkpoint_open(&l->ckpt, path, &(struct eye_checkpoint_opts){.takes_compiled = true}, NULL, err);
    if (st == EYE_OK) st = read_metadata(l, err);
    if (st != EYE_OK) {
        eye_listing_close(l);
        return st;
    }
    *listing = l;
    return EYE_OK;
}

void eye_listing_close(struct eye_listing *l) {
    if (!l) return;
    eye_arena_clear(&l->texts);
    eye_safetensors_close(&l->lone);
    eye_checkpoint_close(&l->ckpt);
    eye_alloc_free(NULL, l, sizeof *l);
}

const char *eye_listing_format(const struct eye_listing *l) {
    if (l->is_lone || !l->ckpt.is_gguf) return "safetensors";
    return l->ckpt.is_compiled ? "compiled" : "gguf";
}

enum eye_status eye_listing_check(const struct eye_listing *l, struct eye_err *err) {
    if (!l->is_lone && l->ckpt.is_compiled) return eye_compiled_check(&l->ckpt.gguf, err);
    return eye_fail(err, EYE_E_ARG, "only compiled files have sums to check");
}

size_t eye_listing_n_tensors(const struct eye_listing *l) {
    return l->is_lone ? l->lone.table.n : eye_checkpoint_n_tensors(&l->ckpt);
}

void eye_listing_tensor(const struct eye_listing *l, size_t i, struct eye_listed_tensor *out) {
    const struct eye_entry *e = l->is_lone ? &l->lone.table.entry[i] : eye_checkpoint_tensor(&l->ckpt, i);
    *out = (struct eye_listed_tensor){
        .name = e->name, .dtype = eye_dtype_info(e->t.dtype)->name, .rank = e->t.rank, .bytes = e->bytes};
    for (int k = 0; k < e->t.rank; k++) out->dims[k] = e->t.dims[k];
}

size_t eye_listing_n_metadata(const struct eye_listing *l) { return l->n_metadata; }

bool eye_listing_metadata(const struct eye_listing *l, size_t i, const char **key, const char **value) {
    if (i >= l->n_metadata) return false;
    *key = l->metadata[i].key;
    *value = l->metadata[i].value;
    return true;
}
