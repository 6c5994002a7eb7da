/* Vocabulary: a fresh student's tokenizer, from the captions and texts it will be trained on: byte-level BPE with one special
 * token that begins and ends every text. */
#include <jansson.h>
#include <string.h>

#include "train/bpe_train.h"
#include "train/folder.h"
#include "train/trainer.h"

#define END_TOKEN "<|endoftext|>"

static enum eye_status add_lines(struct eye_bpe_trainer *b, const char *path, struct eye_err *err) {
    struct eye_map m;
    enum eye_status st = EYE_OK;
    EYE_TRY(eye_map_open(&m, path, true, EYE_LIST_MAX_BYTES, err));
    for (size_t i = 0, end; st == EYE_OK && i < m.size; i = end + 1) {
        const uint8_t *newline = memchr(m.p + i, '\n', m.size - i);
        end = newline ? (size_t)(newline - m.p) : m.size;
        st = eye_bpe_trainer_add(b, (const char *)m.p + i, end - i, err);
    }
    eye_map_close(&m);
    return st;
}

static enum eye_status add_all(struct eye_bpe_trainer *b, const struct eye_trainer *t, struct eye_err *err) {
    for (size_t i = 0; t->set && i < t->set->n_images; i++) {
        const struct eye_data_image *image = &t->set->image[i];
        for (uint32_t k = 0; image->split == EYE_SPLIT_TRAIN && k < image->n; k++) {
            const char *text = t->set->caption[image->first + k].text;
            EYE_TRY(eye_bpe_trainer_add(b, text, strlen(text), err));
        }
    }
    for (size_t i = 0; i < t->recipe.data.texts.n; i++) EYE_TRY(add_lines(b, t->recipe.data.texts.item[i], err));
    return EYE_OK;
}

/* Texts begin with the end token, as GPT-2's do: the post-processor says so to whoever encodes with special tokens. */
static enum eye_status write_tokenizer(const char *dir, const struct eye_buf *json, const struct eye_alloc *alloc,
                                       struct eye_err *err) {
    static const char config[] = "{\"bos_token\": \"" END_TOKEN "\", \"eos_token\": \"" END_TOKEN "\", "
                                 "\"pad_token\": \"" END_TOKEN "\", \"tokenizer_class\": \"PreTrainedTokenizerFast\"}\n";
    struct eye_json j;
    struct eye_buf text;
    EYE_TRY(eye_json_parse(&j, json->p, json->len, EYE_JSON_MAX_BYTES, "tokenizer.json", err));
    json_t *token = json_pack("{s:{s:s, s:i}}", "SpecialToken", "id", END_TOKEN, "type_id", 0);
    json_t *a = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "A", "type_id", 0);
    json_t *b = json_pack("{s:{s:s, s:i}}", "Sequence", "id", "B", "type_id", 1);
    json_t *post = json_pack("{s:s, s:[O, O], s:[O, O, O], s:{s:{s:s, s:[i], s:[s]}}}", "type", "TemplateProcessing", "single",
                             token, a, "pair", token, a, b, "special_tokens", END_TOKEN, "id", END_TOKEN, "ids", 0, "tokens",
                             END_TOKEN);
    json_decref(token);
    json_decref(a);
    json_decref(b);
    eye_buf_init(&text, alloc);
    enum eye_status st = json_object_set_new(j.root, "post_processor", post) == 0 ? EYE_OK : eye_fail_nomem(err, 1);
    if (st == EYE_OK) st = eye_json_write(j.root, 1, &text, err);
    if (st == EYE_OK) st = eye_folder_write(dir, "tokenizer.json", text.p, text.len, err);
    if (st == EYE_OK) st = eye_folder_write(dir, "tokenizer_config.json", config, sizeof config - 1, err);
    eye_buf_clear(&text);
    eye_json_clear(&j);
    return st;
}

enum eye_status eye_trainer_vocabulary(struct eye_trainer *t, struct eye_err *err) {
    static const char *const special[] = {END_TOKEN};
    const struct eye_tokenizer_train_opts o = {.n_vocab = (int32_t)t->recipe.student.vocab, .special = special, .n_special = 1,
                                               .lowercase = t->recipe.student.lowercase};
    struct eye_bpe_trainer *b;
    struct eye_buf json;
    EYE_TRY(eye_bpe_trainer_new(&b, &o, t->alloc, err));
    eye_buf_init(&json, t->alloc);
    enum eye_status st = add_all(b, t, err);
    if (st == EYE_OK) st = eye_bpe_trainer_finish(b, &json, err);
    if (st == EYE_OK) st = write_tokenizer(t->student, &json, t->alloc, err);
    eye_buf_clear(&json);
    eye_bpe_trainer_free(b);
    return st;
}
