/* text/added_files: the added tokens of folders from before 2023, where added_tokens.json and special_tokens_map.json say what
 * newer ones put into tokenizer_config.json's added_tokens_decoder. Does as transformers 5 does in from_pretrained() for its
 * Qwen2Tokenizer and GPT2Tokenizer; sits beside tokenizer_config.c, knows nothing of vocab.json and merges.txt.
 *
 *   added_tokens.json {"<|im_end|>": 151645, ...}: in the order of the ids. A token that the other files name is special and
 *   found in the raw text; any other is plain, found in the normalised text.
 *   Then the named ones that are not among them, in the order of the table below, then additional_special_tokens.
 *
 * Two differences, both on purpose: an id that is not the one that the token's place gives is refused, as everywhere in this
 * room (transformers renumbers); additional_special_tokens are special for both classes, as they were in transformers 4. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "text/tokenizer_impl.h"

/* In transformers' order. A class has "<|endoftext|>" for some that no file mentions; null in a file means none. */
static const struct { const char *key; bool gpt2, qwen2; } special[] = {
    {"bos_token", true, false}, {"eos_token", true, true}, {"unk_token", true, true}, {"sep_token", false, false},
    {"pad_token", false, true}, {"cls_token", false, false}, {"mask_token", false, false},
};
static const struct eye_added_def endoftext = {.content = "<|endoftext|>", .len = 13, .id = -1, .special = true};

/* Of a token that a file names. Qwen2Tokenizer adds these once more by their content alone: flags are lost. */
static enum eye_status named_def(const struct eye_added_files *f, const struct eye_json_at *at, const char *key,
                                 struct eye_added_def *def, struct eye_err *err) {
    EYE_TRY(eye_config_named(at, key, def, err));
    if (!f->class_gpt2) *def = (struct eye_added_def){def->content, def->len, .id = -1, .special = true};
    return EYE_OK;
}

/* The special tokens, in order, into def [EYE_COUNT(special) + the list's length]. */
static enum eye_status read_named(const struct eye_added_files *f, const struct eye_json_at *list, struct eye_added_def *def,
                                  size_t *n, struct eye_err *err) {
    for (size_t i = 0; i < EYE_COUNT(special); i++) {
        const char *key = special[i].key;
        const struct eye_json_at *at = json_object_get((json_t *)f->map->v, key) ? f->map : f->config;
        if (eye_json_has(at, key))
            EYE_TRY(named_def(f, at, key, &def[(*n)++], err));
        else if (!json_object_get((json_t *)at->v, key) && (f->class_gpt2 ? special[i].gpt2 : special[i].qwen2))
            def[(*n)++] = endoftext;
    }
    for (size_t i = 0; i < eye_json_len(list); i++) {
        struct eye_json_at item = eye_json_item(list, i);
        EYE_TRY(named_def(f, &item, NULL, &def[(*n)++], err));
    }
    return EYE_OK;
}

/* added_tokens.json; names: the special ones. */
static enum eye_status add_listed(struct eye_tokenizer *tk, const struct eye_json_at *added, const struct eye_strmap *names,
                                  struct eye_err *err) {
    const char *key;
    json_t *value;
    enum eye_status st = EYE_OK;
    size_t n = 0, bytes = (json_object_size((json_t *)added->v) + 1) * sizeof(struct eye_added_def);
    struct eye_added_def *def = eye_alloc_zero(tk->alloc, bytes);
    if (!def) return eye_fail_nomem(err, bytes);
    json_object_foreach((json_t *)added->v, key, value) {
        struct eye_added_def *d = &def[n++];
        d->content = key;
        d->len = strlen(key);
        d->special = eye_strmap_get(names, key, d->len) >= 0;
        d->normalized = !d->special;
        EYE_TRY_GOTO(eye_json_need_int(added, key, 0, EYE_TOKENIZER_MAX_ID - 1, &d->id, err));
    }
    qsort(def, n, sizeof *def, eye_added_by_id);
    for (size_t i = 0; i < n; i++) EYE_TRY_GOTO(eye_tokenizer_add(tk, &def[i], added->where, err));
fail:
    eye_alloc_free(tk->alloc, def, bytes);
    return st;
}

enum eye_status eye_added_files_load(struct eye_tokenizer *tk, const struct eye_added_files *files, struct eye_err *err) {
    struct eye_json_at list = {0};
    struct eye_strmap names;
    size_t n = 0;
    enum eye_status st;
    EYE_TRY(eye_json_array(eye_json_has(files->map, "additional_special_tokens") ? files->map : files->config,
                           "additional_special_tokens", &list, err));
    size_t bytes = (EYE_COUNT(special) + eye_json_len(&list)) * sizeof(struct eye_added_def);
    struct eye_added_def *def = eye_alloc_zero(tk->alloc, bytes);
    if (!def) return eye_fail_nomem(err, bytes);
    eye_strmap_init(&names, tk->alloc);
    EYE_TRY_GOTO(read_named(files, &list, def, &n, err));
    for (size_t i = 0; i < n; i++) EYE_TRY_GOTO(eye_strmap_put(&names, def[i].content, def[i].len, 0, NULL, err));
    EYE_TRY_GOTO(add_listed(tk, files->added, &names, err));
    for (size_t i = 0; i < n; i++) {
        int32_t id = eye_tokenizer_id(tk, def[i].content, def[i].len);
        if (id < 0 || !tk->token[id].added) EYE_TRY_GOTO(eye_tokenizer_add(tk, &def[i], "special_tokens_map.json", err));
    }
    tk->eos = eye_tokenizer_id(tk, endoftext.content, endoftext.len); /* until a file says otherwise; -1 if it is not added */
    *(files->class_gpt2 ? &tk->bos : &tk->pad) = tk->eos;
    EYE_TRY_GOTO(eye_config_special_ids(tk, files->config, err));
    EYE_TRY_GOTO(eye_config_special_ids(tk, files->map, err)); /* it has the last word */
fail:
    eye_strmap_clear(&names);
    eye_alloc_free(tk->alloc, def, bytes);
    return st;
}
