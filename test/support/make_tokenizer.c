/* A byte-level BPE tokenizer in Qwen2's form, made from nothing: 256 bytes, merges learned from the sentences below, and, where
 * more tokens are asked for than they yield, merges of letters by a fixed rule, so that a vocabulary of real size has a real
 * merge table. Then the special tokens. Training splits like the Qwen2 regex does on plain ASCII: a word takes one leading
 * blank, punctuation and digits stand alone.
 */
#include "support/make_checkpoint.h"

#include <stdio.h>
#include <string.h>

static const char sentences[] =
    "A dog runs across the wet sand while two children watch from the dunes. "
    "The woman in the red coat is holding an umbrella and looking at the window of a small shop. "
    "A man stands on a ladder and paints the wall of the old house white. "
    "Three bicycles are leaning against a fence next to the river. "
    "Describe the image. What is in the picture? Describe this picture in one sentence. "
    "There is a cat on the chair and a bowl of fruit on the table. "
    "You are a helpful assistant. I see a street with cars, trees and people walking in the rain. "
    "The boy throws the ball to the girl, and she catches it with both hands. "
    "Several boats are lying in the harbor under a cloudy sky. "
    "An old train is crossing the bridge over the valley; smoke is rising from the engine. "
    "user assistant system. The image shows a kitchen with a blue door, a lamp and some flowers. "
    "A group of people is sitting around a fire at night, and one of them is playing the guitar. "
    "Where is the dog? The dog is behind the tree. How many birds are there? There are four birds on the roof. "
    "He is wearing a black hat; she is wearing glasses. It is snowing, and the mountain is hard to see. "
    "A young girl in a yellow dress is jumping into the water. The horse is standing in front of the barn. "
    "The picture was taken in the morning, because the shadows are long and the light is soft.";

static const char regex[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                            "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

struct vocab {
    struct eye_arena arena;
    struct eye_strmap ids;      /* bytes of a token -> id */
    const char **token;         /* [n] UTF-8 in the byte alphabet */
    int64_t n, cap;
    int32_t (*merge)[2];        /* [n_merges] */
    int64_t n_merges;
};

/* GPT-2's byte alphabet: printable bytes stand for themselves, the others for U+0100 and on. */
static int byte_char(int byte, char *out) {
    static const int hidden_before[] = {0x21, 0xA1, 0xAE}; /* first printable bytes after each gap */
    bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    int c = byte;
    if (!printable) c = 256 + (byte < hidden_before[0] ? byte : byte < hidden_before[1] ? byte - 0x7F + 33 : 67);
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    out[0] = (char)(0xC0 | c >> 6);
    out[1] = (char)(0x80 | (c & 0x3F));
    return 2;
}

/* The alphabet's characters in code point order get the first 256 ids, as in published vocabularies. */
static int32_t add_token(struct vocab *v, const char *text, size_t len, struct eye_err *err) {
    bool was_there = false;
    char *copy = eye_arena_strdup(&v->arena, text, len);
    if (!copy || eye_strmap_put(&v->ids, copy, len, (int32_t)v->n, &was_there, err) != EYE_OK || was_there) return -1;
    v->token[v->n] = copy;
    return (int32_t)v->n++;
}

/* Joins a and b if that makes a new token. */
static bool add_merge(struct vocab *v, int32_t a, int32_t b) {
    char joined[256];
    size_t n = (size_t)snprintf(joined, sizeof joined, "%s%s", v->token[a], v->token[b]);
    if (v->n >= v->cap || n >= sizeof joined || eye_strmap_get(&v->ids, joined, n) >= 0) return false;
    if (add_token(v, joined, n, NULL) < 0) return false;
    v->merge[v->n_merges][0] = a;
    v->merge[v->n_merges++][1] = b;
    return true;
}

/* ---- learning ---- */

struct word { int32_t piece[64]; int n; };

static int split(struct word *word, int max_words, const struct vocab *v) {
    int n = 0;
    for (const char *p = sentences; *p && n < max_words;) {
        struct word *w = &word[n++];
        w->n = 0;
        do { /* a blank, or letters that follow one */
            char text[2];
            int len = byte_char((unsigned char)*p, text);
            w->piece[w->n++] = eye_strmap_get(&v->ids, text, (size_t)len);
            p++;
        } while (w->n < 63 && ((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z')));
    }
    return n;
}

/* The most frequent pair, the smallest one among equals; its count. */
static int best_pair(const struct word *word, int n_words, int64_t n_tokens, int32_t *count, int32_t *a, int32_t *b) {
    int best = 0;
    memset(count, 0, (size_t)(n_tokens * n_tokens) * sizeof *count);
    for (int w = 0; w < n_words; w++)
        for (int i = 0; i + 1 < word[w].n; i++) count[word[w].piece[i] * n_tokens + word[w].piece[i + 1]]++;
    for (int64_t i = 0; i < n_tokens * n_tokens; i++)
        if (count[i] > best) {
            best = count[i];
            *a = (int32_t)(i / n_tokens);
            *b = (int32_t)(i % n_tokens);
        }
    return best;
}

static void join(struct word *word, int n_words, int32_t a, int32_t b, int32_t ab) {
    for (int w = 0; w < n_words; w++) {
        int out = 0;
        for (int i = 0; i < word[w].n; i++) {
            bool pair = i + 1 < word[w].n && word[w].piece[i] == a && word[w].piece[i + 1] == b;
            word[w].piece[out++] = pair ? ab : word[w].piece[i];
            i += pair;
        }
        word[w].n = out;
    }
}

static enum eye_status learn(struct vocab *v, struct eye_err *err) {
    enum { MAX_WORDS = 2048, MAX_LEARNED = 1200 };
    struct word *word = eye_alloc_zero(NULL, MAX_WORDS * sizeof *word);
    int32_t *count = eye_alloc_zero(NULL, (size_t)MAX_LEARNED * MAX_LEARNED * sizeof *count), a = 0, b = 0;
    enum eye_status st = EYE_OK;
    if (!word || !count) st = eye_fail_nomem(err, (size_t)MAX_LEARNED * MAX_LEARNED * sizeof *count);
    int n = st == EYE_OK ? split(word, MAX_WORDS, v) : 0;
    while (st == EYE_OK && v->n < EYE_MIN(v->cap, MAX_LEARNED) && best_pair(word, n, v->n, count, &a, &b) > 1) {
        if (!add_merge(v, a, b)) break;
        join(word, n, a, b, (int32_t)v->n - 1);
    }
    eye_alloc_free(NULL, count, (size_t)MAX_LEARNED * MAX_LEARNED * sizeof *count);
    eye_alloc_free(NULL, word, MAX_WORDS * sizeof *word);
    return st;
}

/* Pairs of letters, then pairs of those: each part is a token by then. */
static void invent(struct vocab *v) {
    int32_t letter[26], pair[26 * 26];
    for (int i = 0; i < 26; i++) letter[i] = eye_strmap_get(&v->ids, &(char){(char)('a' + i)}, 1);
    for (int i = 0; i < 26 * 26; i++) {
        char text[2] = {(char)('a' + i / 26), (char)('a' + i % 26)};
        (void)add_merge(v, letter[i / 26], letter[i % 26]);
        pair[i] = eye_strmap_get(&v->ids, text, 2);
    }
    for (int i = 0; i < 26 * 26 && v->n < v->cap; i++)
        for (int k = 0; k < 26 * 26 && v->n < v->cap; k++) (void)add_merge(v, pair[i], pair[k]);
}

static enum eye_status build(struct vocab *v, struct eye_err *err) {
    static const int first[] = {0x21, 0xA1, 0xAE}, last[] = {0x7E, 0xAC, 0xFF};
    char text[2];
    for (int pass = 0; pass < 2; pass++) /* printable bytes first: their characters have the smaller code points */
        for (int byte = 0; byte < 256; byte++) {
            bool printable = false;
            for (int i = 0; i < 3; i++) printable |= byte >= first[i] && byte <= last[i];
            if (printable == (pass == 0) && add_token(v, text, (size_t)byte_char(byte, text), err) < 0)
                return eye_fail_nomem(err, 2);
        }
    EYE_TRY(learn(v, err));
    invent(v);
    return v->n == v->cap
               ? EYE_OK
               : eye_fail(err, EYE_E_ARG, "tokenizer: %lld tokens wanted, %lld made", (long long)v->cap, (long long)v->n);
}

/* ---- writing ---- */

static void put_string(struct eye_buf *b, const char *s) {
    eye_buf_adds(b, "\"");
    for (; *s; s++) {
        if (*s == '"' || *s == '\\') eye_buf_adds(b, "\\");
        eye_buf_add(b, s, 1);
    }
    eye_buf_adds(b, "\"");
}

static const char *const special[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>"};

static void put_special(struct eye_buf *b, int i, int64_t id, bool with_id) {
    eye_buf_adds(b, "{");
    if (with_id) eye_buf_printf(b, "\"id\":%lld,", (long long)id);
    eye_buf_printf(
        b, "\"content\":\"%s\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,\"special\":true}",
        special[i]);
}

static void put_tokenizer(struct eye_buf *b, const struct vocab *v, int n_special) {
    eye_buf_adds(b, "{\"version\":\"1.0\",\"truncation\":null,\"padding\":null,\"added_tokens\":[");
    for (int i = 0; i < n_special; i++) {
        if (i) eye_buf_adds(b, ",");
        put_special(b, i, v->n + i, true);
    }
    eye_buf_adds(
        b,
        "],\n\"normalizer\":{\"type\":\"NFC\"},\n\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\","
        "\"pattern\":{\"Regex\":");
    put_string(b, regex);
    eye_buf_adds(
        b,
        "},\"behavior\":\"Isolated\",\"invert\":false},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,"
        "\"use_regex\":false}]},\n\"post_processor\":null,\n\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
        "\"trim_offsets\":false,\"use_regex\":false},\n\"model\":{\"type\":\"BPE\",\"dropout\":null,\"unk_token\":null,"
        "\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,\"byte_fallback\":false,"
        "\"ignore_merges\":false,\"vocab\":{");
    for (int64_t i = 0; i < v->n; i++) {
        if (i) eye_buf_adds(b, i % 16 ? "," : ",\n");
        put_string(b, v->token[i]);
        eye_buf_printf(b, ":%lld", (long long)i);
    }
    eye_buf_adds(b, "},\n\"merges\":[");
    for (int64_t i = 0; i < v->n_merges; i++) {
        eye_buf_adds(b, i == 0 ? "[" : i % 16 ? ",[" : ",\n[");
        put_string(b, v->token[v->merge[i][0]]);
        eye_buf_adds(b, ",");
        put_string(b, v->token[v->merge[i][1]]);
        eye_buf_adds(b, "]");
    }
    eye_buf_adds(b, "]}}\n");
}

static enum eye_status write_files(const struct vocab *v, int n_special, const char *out, struct eye_err *err) {
    struct eye_buf b;
    eye_buf_init(&b, NULL);
    put_tokenizer(&b, v, n_special);
    enum eye_status st = b.failed ? eye_fail_nomem(err, b.cap) : eye_mk_write_file(out, "tokenizer.json", b.p, b.len, err);
    eye_buf_clear(&b);
    if (st != EYE_OK) return st;
    eye_buf_adds(
        &b,
        "{\"tokenizer_class\":\"Qwen2Tokenizer\",\"model_max_length\":32768,\"bos_token\":null,\"eos_token\":\"<|im_end|>\","
        "\"pad_token\":\"<|endoftext|>\",\"unk_token\":null,\"errors\":\"replace\",\"add_prefix_space\":false,"
        "\"clean_up_tokenization_spaces\":false,\"added_tokens_decoder\":{");
    for (int i = 0; i < n_special; i++) {
        eye_buf_printf(&b, "%s\"%lld\":", i ? "," : "", (long long)v->n + i);
        put_special(&b, i, 0, false);
    }
    eye_buf_adds(&b, "}}\n");
    st = b.failed ? eye_fail_nomem(err, b.cap) : eye_mk_write_file(out, "tokenizer_config.json", b.p, b.len, err);
    eye_buf_clear(&b);
    return st;
}

enum eye_status eye_make_tokenizer(int64_t n_bpe, bool hf, const char *out, struct eye_err *err) {
    struct vocab v = {.cap = n_bpe};
    if (n_bpe < 256 || n_bpe > 400000)
        return eye_fail(err, EYE_E_ARG, "tokenizer: %lld tokens; expected 256 to 400000", (long long)n_bpe);
    eye_arena_init(&v.arena, NULL);
    eye_strmap_init(&v.ids, NULL);
    v.token = eye_arena_alloc(&v.arena, (size_t)n_bpe * sizeof *v.token);
    v.merge = eye_arena_alloc(&v.arena, (size_t)n_bpe * sizeof *v.merge);
    enum eye_status st = v.token && v.merge ? eye_strmap_reserve(&v.ids, (size_t)n_bpe, err)
                                            : eye_fail_nomem(err, (size_t)n_bpe * 8);
    if (st == EYE_OK) st = build(&v, err);
    if (st == EYE_OK) st = write_files(&v, hf ? 4 : 3, out, err);
    eye_strmap_clear(&v.ids);
    eye_arena_clear(&v.arena);
    return st;
}
