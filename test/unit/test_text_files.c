/* Unit tests of text: tokenizer files that are damaged, contradict themselves or ask for what eyelet does not have. */
#include "text_help.h"

#include "support/support.h"

static enum eye_status use(const struct eye_tokenizer_src *src, const struct eye_alloc *alloc, struct eye_err *err) {
    static const char text[] = "It's  42\n\xff cafe\u0301 <|im_end|> ~\x01";
    struct eye_tokenizer *tk;
    struct eye_ids ids = {.alloc = alloc};
    EYE_TRY(eye_tokenizer_open(&tk, src, alloc, err));
    enum eye_status st = eye_tokenizer_encode(tk, text, sizeof text - 1, NULL, &ids, err);
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
    return st;
}

static enum eye_status open_and_use(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    return use(&(struct eye_tokenizer_src){.tokenizer_json = {p, n}}, alloc, err);
}

static enum eye_status open_and_use_sp(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    return use(&(struct eye_tokenizer_src){.tokenizer_model = {p, n}}, alloc, err);
}

static void damaged_files_are_refused(void **state) {
    struct eye_map odd = map_file(GOLDEN "odd.json"), gpt2 = map_file(GOLDEN "gpt2.json");
    struct eye_map legacy = map_file(GOLDEN "legacy.json");
    assert_true(eye_refuses_truncations(open_and_use, odd.p, odd.size - 1)); /* the last byte is a line end */
    assert_true(eye_survives_mutations(open_and_use, odd.p, odd.size, 1, 3000));
    assert_true(eye_survives_mutations(open_and_use, gpt2.p, gpt2.size, 2, 1000));
    assert_true(eye_survives_faults(open_and_use, odd.p, odd.size));
    assert_true(eye_survives_faults(open_and_use, gpt2.p, gpt2.size));
    assert_true(eye_survives_mutations(open_and_use, legacy.p, legacy.size, 3, 1000));
    assert_true(eye_survives_faults(open_and_use, legacy.p, legacy.size));
    eye_map_close(&legacy);
    eye_map_close(&odd);
    eye_map_close(&gpt2);
}

#define BYTE_LEVEL "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}"
#define ADDED(id, content) \
    "{\"id\":" id ",\"content\":\"" content "\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false," \
    "\"special\":true}"
#define VOCAB "\"vocab\":{\"a\":0,\"b\":1,\"ab\":2}"
#define NO_MERGES VOCAB ",\"merges\":[]"
#define FILE_POST(post, added, normalizer, pre, model) \
    "{\"added_tokens\":[" added "],\"normalizer\":" normalizer ",\"pre_tokenizer\":" pre ",\"post_processor\":" post "," \
    "\"decoder\":" BYTE_LEVEL ",\"model\":{" model "}}"
#define METASPACE(scheme, blank) "{\"type\":\"Metaspace\",\"replacement\":\"" blank "\",\"prepend_scheme\":\"" scheme "\"}"
#define FILE_OF(added, normalizer, pre, model) FILE_POST("null", added, normalizer, pre, model)
#define TEMPLATE(id) \
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"a\"}},{\"Sequence\":{\"id\":\"A\"}}]," \
    "\"special_tokens\":{\"a\":{\"ids\":[" id "]}}}"
#define WITH_HOLE "\"vocab\":{\"a\":0,\"b\":2},\"merges\":[]"
#define MODEL(model) FILE_OF("", "null", BYTE_LEVEL, model)

static void broken_files_say_what_is_wrong(void **state) {
    static const struct { enum eye_status st; const char *text, *json; } cases[] = {
        {EYE_OK, "", MODEL("\"type\":\"BPE\"," VOCAB ",\"merges\":[[\"a\",\"b\"]]")},
        {EYE_OK, "", MODEL(VOCAB ",\"merges\":[\"#version: 0.2\",\"a b\"],\"dropout\":0.0,\"unk_token\":null")},
        {EYE_OK, "", MODEL("\"vocab\" : { \"\\u0061\":0 , \"b\":1,\"a\\u0062\":2 } , \"merges\" : [ [ \"a\" , \"b\" ] ]")},
        {EYE_OK, "", FILE_OF(ADDED("3", "<x>") "," ADDED("4", ""), "null", BYTE_LEVEL, NO_MERGES)},
        {EYE_E_CORRUPT, "\"c\" is not in the vocabulary", MODEL(VOCAB ",\"merges\":[[\"a\",\"c\"]]")},
        {EYE_E_CORRUPT, "\"ba\" is not in the vocabulary", MODEL(VOCAB ",\"merges\":[\"b a\"]")},
        {EYE_E_CORRUPT, "two parts", MODEL(VOCAB ",\"merges\":[\"a b c\"]")},
        {EYE_E_CORRUPT, "two parts", MODEL(VOCAB ",\"merges\":[\"ab\"]")},
        {EYE_E_CORRUPT, "] after two", MODEL(VOCAB ",\"merges\":[[\"a\",\"b\",\"a\"]]")},
        {EYE_E_CORRUPT, "a merge", MODEL(VOCAB ",\"merges\":[1]")},
        {EYE_E_CORRUPT, "[", MODEL(VOCAB ",\"merges\":{}")},
        {EYE_E_CORRUPT, "model.merges", MODEL(VOCAB)},
        {EYE_E_CORRUPT, "model.vocab", MODEL("\"merges\":[]")},
        {EYE_E_CORRUPT, "model", "{}"},
        {EYE_E_CORRUPT, "twice", MODEL("\"vocab\":{},\"vocab\":{},\"merges\":[]")},
        {EYE_E_CORRUPT, "stands there twice", MODEL("\"vocab\":{\"a\":0,\"a\":1},\"merges\":[]")},
        {EYE_E_CORRUPT, "id 0 is given", MODEL("\"vocab\":{\"a\":0,\"b\":0},\"merges\":[]")},
        {EYE_E_CORRUPT, "an id", MODEL("\"vocab\":{\"a\":-1},\"merges\":[]")},
        {EYE_E_CORRUPT, ", or }", MODEL("\"vocab\":{\"a\":1.5},\"merges\":[]")},
        {EYE_E_CORRUPT, "leading zero", MODEL("\"vocab\":{\"a\":01},\"merges\":[]")},
        {EYE_E_CORRUPT, "2^32", MODEL("\"vocab\":{\"a\":99999999999999999999999},\"merges\":[]")},
        {EYE_E_LIMIT, "has id 16777216", MODEL("\"vocab\":{\"a\":16777216},\"merges\":[]")},
        {EYE_E_LIMIT, "has id 100000", MODEL("\"vocab\":{\"a\":100000},\"merges\":[]")},
        {EYE_E_CORRUPT, "low surrogate", MODEL("\"vocab\":{\"\\ud800\\u0041\":1},\"merges\":[]")},
        {EYE_E_CORRUPT, "surrogate pair", MODEL("\"vocab\":{\"\\udc00\":1},\"merges\":[]")},
        {EYE_E_CORRUPT, "escape", MODEL("\"vocab\":{\"\\x\":1},\"merges\":[]")},
        {EYE_E_CORRUPT, "expected UTF-8", MODEL("\"vocab\":{\"\xff\":1},\"merges\":[]")},
        {EYE_E_CORRUPT, "by its place it is 3", FILE_OF(ADDED("7", "<x>"), "null", BYTE_LEVEL, NO_MERGES)},
        {EYE_E_CORRUPT, "by its place it is 0", FILE_OF(ADDED("3", "a"), "null", BYTE_LEVEL, NO_MERGES)},
        {EYE_E_CORRUPT, "twice", FILE_OF(ADDED("3", "x") "," ADDED("3", "x"), "null", BYTE_LEVEL, NO_MERGES)},
        {EYE_E_CORRUPT, "single_word", FILE_OF("{\"id\":3,\"content\":\"x\",\"special\":true,\"normalized\":true}", "null",
                                               BYTE_LEVEL, NO_MERGES)},
        {EYE_OK, "", FILE_POST(TEMPLATE("2"), "", "null", BYTE_LEVEL, WITH_HOLE)},
        {EYE_E_CORRUPT, "ids of tokens", FILE_POST(TEMPLATE("1"), "", "null", BYTE_LEVEL, WITH_HOLE)},
        {EYE_E_CORRUPT, "expected 0 to 2", FILE_POST(TEMPLATE("3"), "", "null", BYTE_LEVEL, WITH_HOLE)},
        {EYE_E_UNSUPPORTED, "post_processor \"Roberta",
         FILE_POST("{\"type\":\"RobertaProcessing\"}", "", "null", BYTE_LEVEL, WITH_HOLE)},
        {EYE_E_UNSUPPORTED, "normalizer \"NFKC\"", FILE_OF("", "{\"type\":\"NFKC\"}", BYTE_LEVEL, NO_MERGES)},
        {EYE_OK, "", FILE_OF("", "null", "null", NO_MERGES)},
        {EYE_E_CORRUPT, "replacement", FILE_OF("", "null", "{\"type\":\"Metaspace\"}", NO_MERGES)},
        {EYE_OK, "", FILE_OF("", "null", METASPACE("first", "\u2581"), NO_MERGES)},
        {EYE_E_UNSUPPORTED, "prepend_scheme \"maybe\"", FILE_OF("", "null", METASPACE("maybe", "\u2581"), NO_MERGES)},
        {EYE_E_UNSUPPORTED, "replacement \"_\"", FILE_OF("", "null", METASPACE("first", "_"), NO_MERGES)},
        {EYE_E_UNSUPPORTED, "Replace by a pattern", FILE_OF("", "{\"type\":\"Replace\",\"pattern\":{\"Regex\":\" \"},"
            "\"content\":\"\"}", BYTE_LEVEL, NO_MERGES)},
        {EYE_E_CORRUPT, "short text", FILE_OF("", "{\"type\":\"Replace\",\"pattern\":{\"String\":\"\"},\"content\":\"x\"}",
                                              BYTE_LEVEL, NO_MERGES)},
        {EYE_E_UNSUPPORTED, "not known: \\w+", FILE_OF("", "null", "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\w+\"},"
            "\"behavior\":\"Isolated\",\"invert\":false}", NO_MERGES)},
        {EYE_E_UNSUPPORTED, "ByteLevel before", FILE_OF("", "null", "{\"type\":\"Sequence\",\"pretokenizers\":[" BYTE_LEVEL ","
            BYTE_LEVEL "]}", NO_MERGES)},
        {EYE_E_UNSUPPORTED, "model \"Unigram\"", MODEL("\"type\":\"Unigram\"," NO_MERGES)},
        {EYE_E_UNSUPPORTED, "\"surprise\"", MODEL("\"surprise\":1," NO_MERGES)},
        {EYE_E_UNSUPPORTED, "dropout", MODEL("\"dropout\":0.1," NO_MERGES)},
        {EYE_E_UNSUPPORTED, "byte_fallback", MODEL("\"byte_fallback\":true," NO_MERGES)},
        {EYE_E_UNSUPPORTED, "continuing_subword_prefix \"##\"", MODEL("\"continuing_subword_prefix\":\"##\"," NO_MERGES)},
        {EYE_E_UNSUPPORTED, "unk_token \"?\"", MODEL("\"unk_token\":\"?\"," NO_MERGES)},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_err err = {0};
        enum eye_status st = open_and_use(cases[i].json, strlen(cases[i].json), NULL, &err);
        if (st != cases[i].st || !strstr(err.text, cases[i].text))
            fail_msg("case %zu: %s \"%s\", expected %s \"%s\"", i, eye_status_name(st), err.text, eye_status_name(cases[i].st),
                     cases[i].text);
    }
}

/* A piece: field 1 of the file, with its text, a score of 0 and a type. The lengths stand in octal. */
#define PIECE(len, text_len, text, type) "\n" len "\n" text_len text "\025\0\0\0\0\030" type
#define UNK PIECE("\016", "\005", "<unk>", "\002")
#define LETTER(c) PIECE("\012", "\001", c, "\001")
#define BPE_SPEC "\022\002\030\002"
#define PLAIN_SPEC "\032\002\040\0" /* remove_extra_whitespaces off */

static void hostile_tokenizer_models(void **state) {
#define ROW(st, text, bytes) {st, text, bytes, sizeof bytes - 1}
    static const struct { enum eye_status st; const char *text, *p; size_t n; } cases[] = {
        ROW(EYE_OK, "", UNK LETTER("a") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_UNSUPPORTED, "unigram", UNK LETTER("a") PLAIN_SPEC),
        ROW(EYE_E_UNSUPPORTED, "word or character", UNK "\022\002\030\003" PLAIN_SPEC),
        ROW(EYE_E_UNSUPPORTED, "remove_extra_whitespaces", UNK LETTER("a") BPE_SPEC),
        ROW(EYE_E_UNSUPPORTED, "precompiled_charsmap", UNK BPE_SPEC "\032\005\040\0\022\001x"),
        ROW(EYE_E_UNSUPPORTED, "escape_whitespaces", UNK BPE_SPEC "\032\004\040\0\050\0"),
        ROW(EYE_E_UNSUPPORTED, "treat_whitespace_as_suffix", UNK "\022\005\030\002\300\001\001" PLAIN_SPEC),
        ROW(EYE_E_UNSUPPORTED, "denormalizer", UNK BPE_SPEC PLAIN_SPEC "\052\003\022\001x"),
        ROW(EYE_E_UNSUPPORTED, "user-defined", UNK PIECE("\012", "\001", "a", "\004") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_UNSUPPORTED, "character of piece 1", UNK PIECE("\013", "\002", "ab", "\001") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "unknown type", UNK PIECE("\012", "\001", "a", "\007") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "no unknown piece", LETTER("a") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "two unknown pieces", UNK PIECE("\012", "\001", "a", "\002") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "stands there twice", UNK LETTER("a") LETTER("a") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "<0xNN>", UNK PIECE("\012", "\001", "a", "\006") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "256 byte pieces", UNK "\022\005\030\002\230\002\001" PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "UTF-8", UNK LETTER("\377") BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "and a score", UNK "\n\012\n\001a\025\0\0\300\177\030\001" BPE_SPEC PLAIN_SPEC),
        ROW(EYE_E_CORRUPT, "wire type 3", "\013"),
        ROW(EYE_E_CORRUPT, "past its message", "\n\177x"),
        ROW(EYE_E_CORRUPT, "past its message", "\n\377\377\377\377\377\377\377\377\377\001"),
        ROW(EYE_E_CORRUPT, "past its message", "\020\377\377\377\377\377\377\377\377\377\377\001"),
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_err err = {0};
        enum eye_status st = open_and_use_sp(cases[i].p, cases[i].n, NULL, &err);
        if (st != cases[i].st || !strstr(err.text, cases[i].text))
            fail_msg("case %zu: %s \"%s\", expected \"%s\"", i, eye_status_name(st), err.text, cases[i].text);
    }
    struct eye_map sp = map_file(GOLDEN "sp.model");
    assert_true(eye_survives_mutations(open_and_use_sp, sp.p, sp.size, 4, 3000));
    assert_true(eye_survives_faults(open_and_use_sp, sp.p, sp.size));
    eye_map_close(&sp);
}

static void loose_files_need_a_class(void **state) {
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2}", merges[] = "#version: 0.2\na b\r\n";
    struct eye_tokenizer_src src = {.vocab_json = {vocab, sizeof vocab - 1}, .merges_txt = {merges, sizeof merges - 1}};
    struct eye_tokenizer *tk;
    struct eye_ids ids = {0};
    struct eye_err err;
    assert_int_equal(eye_tokenizer_open(&tk, &src, NULL, &err), EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "tokenizer_class"));
    static const char config[] =
        "{\"tokenizer_class\":\"Qwen2TokenizerFast\",\"eos_token\":{\"content\":\"<y>\"},\"bos_token\":\"<none>\","
        "\"added_tokens_decoder\":{\"4\":{\"content\":\"<y>\",\"special\":true},"
        "\"3\":{\"content\":\"<x>\",\"special\":false}}}";
    src.tokenizer_config = (struct eye_bytes){config, sizeof config - 1};
    src.added_tokens = (struct eye_bytes){"{\"<z>\":3}", 9}; /* what tokenizer_config says is all there is */
    assert_int_equal(eye_tokenizer_open(&tk, &src, NULL, &err), EYE_OK);
    encode_ok(tk, "ab<x><y>", 8, NULL, &ids);
    assert_int_equal(ids.n, 3);
    assert_memory_equal(ids.p, ((int32_t[]){2, 3, 4}), 3 * sizeof(int32_t));
    assert_int_equal(eye_tokenizer_eos(tk), 4);
    assert_int_equal(eye_tokenizer_bos(tk), -1);
    assert_false(eye_tokenizer_is_special(tk, 3));
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
    src = (struct eye_tokenizer_src){.vocab_json = src.vocab_json, .tokenizer_class = "BertTokenizer"};
    assert_int_equal(eye_tokenizer_open(&tk, &src, NULL, &err), EYE_E_ARG);
    src.merges_txt = (struct eye_bytes){merges, sizeof merges - 1};
    assert_int_equal(eye_tokenizer_open(&tk, &src, NULL, &err), EYE_E_UNSUPPORTED);
    src.merges_txt.p = "a  b\n";
    src.merges_txt.n = 5;
    src.tokenizer_class = "GPT2Tokenizer";
    assert_int_equal(eye_tokenizer_open(&tk, &src, NULL, &err), EYE_E_CORRUPT);
    assert_int_equal(eye_tokenizer_open(&tk, &(struct eye_tokenizer_src){0}, NULL, &err), EYE_E_ARG);
}

#define THREE "{\"<y>\":5,\"<x>\":4,\"<|endoftext|>\":3}"
struct older {
    const char *added, *map, *config; /* the files; of tokenizer_config.json what follows the class */
    const char *text, *special;       /* special: of the tokens 3, 4, 5: y, n, or - where there is none */
    int32_t ids[3];                   /* of text */
    int32_t eos;
};

static enum eye_status open_older(const struct older *c, const char *cls, struct eye_tokenizer **tk, struct eye_err *err) {
    static const char vocab[] = "{\"a\":0,\"b\":1,\"ab\":2}", merges[] = "#version: 0.2\na b\n";
    char config[256];
    size_t n = (size_t)snprintf(config, sizeof config, "{\"tokenizer_class\":\"%s\"%s}", cls, c->config);
    struct eye_tokenizer_src src = {.vocab_json = {vocab, sizeof vocab - 1}, .merges_txt = {merges, sizeof merges - 1},
                                    .tokenizer_config = {config, n}};
    if (c->added) src.added_tokens = (struct eye_bytes){c->added, strlen(c->added)};
    if (c->map) src.special_tokens_map = (struct eye_bytes){c->map, strlen(c->map)};
    return eye_tokenizer_open(tk, &src, NULL, err);
}

/* Expected: what transformers 5.23's from_pretrained() made of these files, the same for both classes. */
static void older_folders_add_their_tokens(void **state) {
    static const struct older cases[] = {
        {NULL, NULL, "", "ab<|endoftext|>a", "y--", {2, 3, 0}, 3},
        {THREE, NULL, "", "<x>ab<y>", "ynn", {4, 2, 5}, 3},
        {"{\"<y>\":4,\"<x>\":3}", NULL, "", "<x><y><|endoftext|>", "nny", {3, 4, 5}, 5},
        {THREE, "{\"eos_token\":\"<y>\",\"pad_token\":\"<x>\"}", ",\"eos_token\":\"<x>\"", "<x>ab<y>", "yyy", {4, 2, 5}, 5},
        {THREE, NULL, ",\"eos_token\":\"<y>\",\"additional_special_tokens\":[\"<x>\"]", "<x>ab<y>", "yyy", {4, 2, 5}, 5},
        {"{\"<x>\":3}", "{\"eos_token\":{\"content\":\"<y>\",\"normalized\":false}}",
         ",\"unk_token\":\"<x>\",\"pad_token\":\"<x>\",\"bos_token\":null", "<x>ab<y>", "yy-", {3, 2, 4}, 4},
    };
    for (size_t i = 0; i < 2 * EYE_COUNT(cases); i++) {
        const struct older *c = &cases[i / 2];
        struct eye_tokenizer *tk;
        struct eye_ids ids = {0};
        struct eye_err err = {0};
        if (open_older(c, i % 2 ? "GPT2Tokenizer" : "Qwen2Tokenizer", &tk, &err) != EYE_OK)
            fail_msg("case %zu: %s", i, err.text);
        encode_ok(tk, c->text, strlen(c->text), NULL, &ids);
        assert_int_equal(ids.n, 3);
        assert_memory_equal(ids.p, c->ids, sizeof c->ids);
        for (int32_t id = 3; id < 6; id++) {
            char is = id >= eye_tokenizer_n_vocab(tk) ? '-' : eye_tokenizer_is_special(tk, id) ? 'y' : 'n';
            if (is != c->special[id - 3]) fail_msg("case %zu: token %d is %c, expected %s", i, id, is, c->special);
        }
        assert_int_equal(eye_tokenizer_eos(tk), c->eos);
        eye_ids_clear(&ids);
        eye_tokenizer_close(tk);
    }
}

static enum eye_status open_added(const void *p, size_t n, const struct eye_alloc *alloc, struct eye_err *err) {
    return use(&(struct eye_tokenizer_src){.vocab_json = {"{\"a\":0}", 7}, .merges_txt = {"", 0}, .added_tokens = {p, n},
                                           .special_tokens_map = {"{\"eos_token\":\"<x>\"}", 19},
                                           .tokenizer_class = "Qwen2Tokenizer"}, alloc, err);
}

static void damaged_older_files_are_refused(void **state) {
    static const char added[] = "{\"<x>\":1,\"<|endoftext|>\":2}";
    static const struct { struct older files; const char *text; } cases[] = {
        {{"{\"<x>\":400}", NULL, "", NULL, NULL, {0}, 0}, "added_tokens.json: added token \"<x>\" has id 400, but by its"},
        {{"{\"<x>\":3,\"<y>\":3}", NULL, "", NULL, NULL, {0}, 0}, "by its place it is 4"},
        {{"{\"<x>\":-1}", NULL, "", NULL, NULL, {0}, 0}, "added_tokens.json: <x>"},
        {{NULL, "{\"eos_token\":7}", "", NULL, NULL, {0}, 0}, "special_tokens_map.json: eos_token"},
        {{NULL, "{\"additional_special_tokens\":[7]}", "", NULL, NULL, {0}, 0}, "additional_special_tokens"},
    };
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_tokenizer *tk;
        struct eye_err err = {0};
        assert_int_equal(open_older(&cases[i].files, "GPT2Tokenizer", &tk, &err), EYE_E_CORRUPT);
        if (!strstr(err.text, cases[i].text)) fail_msg("case %zu: \"%s\", expected \"%s\"", i, err.text, cases[i].text);
    }
    assert_true(eye_refuses_truncations(open_added, added, sizeof added - 1));
    assert_true(eye_survives_mutations(open_added, added, sizeof added - 1, 5, 1000));
    assert_true(eye_survives_faults(open_added, added, sizeof added - 1));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_files_are_refused),
        cmocka_unit_test(broken_files_say_what_is_wrong),
        cmocka_unit_test(hostile_tokenizer_models),
        cmocka_unit_test(loose_files_need_a_class),
        cmocka_unit_test(older_folders_add_their_tokens),
        cmocka_unit_test(damaged_older_files_are_refused),
    };
    return cmocka_run_group_tests_name("text_files", tests, NULL, NULL);
}
