/* Unit tests of text: Unicode, BPE, encoding and decoding against the tokenizers library's results. Fixtures: test/golden/text,
 * written by test/reference/make_text_fixtures.py. */
#include "text_help.h"

#include "text/unicode.h"

/* ---- helpers ---- */

/* A case's text: a string, {"hex": bytes} or {"repeat": [unit, n]}. */
static void case_text(const json_t *c, struct eye_buf *out) {
    const char *hex = json_string_value(json_object_get(c, "hex"));
    const json_t *repeat = json_object_get(c, "repeat");
    out->len = 0;
    eye_buf_adds(out, "");
    if (json_is_string(c)) eye_buf_add(out, json_string_value(c), json_string_length(c));
    for (; hex && hex[0] && hex[1]; hex += 2) {
        const char two[3] = {hex[0], hex[1], 0};
        eye_buf_add(out, &(char){(char)strtol(two, NULL, 16)}, 1);
    }
    for (json_int_t n = json_integer_value(json_array_get(repeat, 1)); n > 0; n--)
        eye_buf_adds(out, json_string_value(json_array_get(repeat, 0)));
}

/* The pieces of a stream are whole characters and together what decode gives. */
static void expect_stream(const struct eye_tokenizer *tk, const struct eye_ids *ids, const struct eye_buf *whole) {
    struct eye_detok d;
    struct eye_buf out;
    eye_buf_init(&out, NULL);
    eye_detok_init(&d, tk, false);
    for (size_t i = 0, from = 0; i < ids->n; i++, from = out.len) {
        eye_detok_push(&d, ids->p[i], &out);
        assert_int_equal(eye_utf8_valid((const uint8_t *)out.p + from, out.len - from), out.len - from);
    }
    eye_detok_flush(&d, &out);
    assert_int_equal(out.len, whole->len);
    if (out.len) assert_memory_equal(out.p, whole->p, out.len);
    eye_buf_clear(&out);
}

/* ---- Unicode ---- */

static void utf8_repair_groups_as_python_does(void **state) {
    static const struct { const char *in, *out; } cases[] = {
        {"plain", "plain"}, {"\xff", "\xEF\xBF\xBD"}, {"\xC3", "\xEF\xBF\xBD"}, {"\xC3(", "\xEF\xBF\xBD("},
        {"\xE2\x82(", "\xEF\xBF\xBD("}, {"\xF0\x9F\x98", "\xEF\xBF\xBD"}, {"\xF0\x9F\x98x", "\xEF\xBF\xBDx"},
        {"\xC0\xAF", "\xEF\xBF\xBD\xEF\xBF\xBD"}, {"\xED\xA0\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE0\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"}, {"\xF4\x8F\xBF\xBF", "\xF4\x8F\xBF\xBF"},
        {"\xF4\x90\x80\x80", "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"},
        {"\xE4\xBD\xA0\xE5\xA5", "\xE4\xBD\xA0\xEF\xBF\xBD"}};
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        eye_utf8_lossy((const uint8_t *)cases[i].in, strlen(cases[i].in), &b);
        assert_string_equal(b.p, cases[i].out);
        eye_buf_clear(&b);
    }
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        uint8_t utf8[4];
        size_t len;
        if (cp >= 0xD800 && cp <= 0xDFFF) continue;
        size_t n = eye_utf8_put(cp, utf8);
        assert_int_equal(eye_utf8_next(utf8, n, &len), EYE_UTF8_OK);
        assert_int_equal(len, n);
        assert_int_equal(eye_utf8_get(utf8, &len), cp);
        for (size_t cut = 1; cut < n; cut++) assert_int_equal(eye_utf8_next(utf8, cut, &len), EYE_UTF8_PARTIAL);
    }
}

static void classes_are_the_librarys(void **state) {
    size_t n[6] = {0};
    for (uint32_t cp = 0; cp < 0x120000; cp++)
        for (int bit = 0; bit < 6; bit++) n[bit] += eye_uc_flags(cp) >> bit & 1;
    assert_int_equal(n[0], 141028); /* \p{L}, \p{N}, \s, \w and Digits as counted by the generator */
    assert_int_equal(n[1], 1911);
    assert_int_equal(n[2], 25);
    assert_int_equal(n[3], 144667);
    assert_int_equal(n[4], 1924);
    assert_int_equal(eye_uc_flags('a'), EYE_UC_L | EYE_UC_W | EYE_UC_Q);
    assert_int_equal(eye_uc_flags(0x301), EYE_UC_W);
    assert_int_equal(eye_uc_flags(0x85), EYE_UC_S | EYE_UC_Q);
    assert_int_equal(eye_uc_flags(0xD800), 0);
    assert_int_equal(eye_uc_flags(0xE0100) & EYE_UC_W, EYE_UC_W);
    assert_int_equal(eye_uc_flags(UINT32_MAX), 0);
}

static void expect_nfc(const char *in, const char *want) {
    struct eye_buf b;
    struct eye_err err;
    eye_buf_init(&b, NULL);
    eye_buf_adds(&b, "");
    assert_int_equal(eye_nfc((const uint8_t *)in, strlen(in), &b, NULL, &err), EYE_OK);
    assert_string_equal(b.p, want);
    eye_buf_clear(&b);
}

static void nfc_composes_orders_and_leaves_alone(void **state) {
    expect_nfc("", "");
    expect_nfc("cafe\u0301", "caf\u00e9");
    expect_nfc("\u212b\u2126", "\u00c5\u03a9");
    expect_nfc("e\u0301\u0323", "\u1eb9\u0301");           /* marks are ordered before they compose */
    expect_nfc("\u1100\u1161\u11a8", "\uac01");
    expect_nfc("\uac00\u11a7", "\uac00\u11a7");            /* not a trailing consonant */
    expect_nfc("\u0958", "\u0915\u093c");                  /* composition exclusion */
    expect_nfc("a\u0300\u0301", "\u00e0\u0301");           /* the second mark of a class is blocked */
    expect_nfc("\u0301a", "\u0301a");
    expect_nfc("\u0344", "\u0308\u0301");
    struct eye_buf in, out;
    struct eye_err err;
    eye_buf_init(&in, NULL);
    eye_buf_init(&out, NULL);
    eye_buf_adds(&in, "a");
    for (int i = 0; i < 200; i++) eye_buf_adds(&in, i % 2 ? "\u0323" : "\u0301"); /* a run beyond insertion sort */
    assert_int_equal(eye_nfc((const uint8_t *)in.p, in.len, &out, NULL, &err), EYE_OK);
    assert_memory_equal(out.p, "\u1ea1\u0323", 5);
    assert_memory_equal(out.p + out.len - 4, "\u0301\u0301", 4);
    assert_int_equal(out.len, 3 + 2 * 199); /* one mark went into the letter */
    eye_buf_clear(&in);
    eye_buf_clear(&out);
}

/* ---- BPE ---- */

struct naive_merge { int32_t left, right, made; };

/* Lowest rank, leftmost, over and over. */
static size_t naive_bpe(const struct naive_merge *m, size_t n_merge, int32_t *sym, size_t n) {
    for (size_t rank = 0; rank < n_merge;) {
        size_t i = 0;
        while (i + 1 < n && (sym[i] != m[rank].left || sym[i + 1] != m[rank].right)) i++;
        if (i + 1 >= n) {
            rank++;
            continue;
        }
        sym[i] = m[rank].made;
        memmove(sym + i + 1, sym + i + 2, (n - i - 2) * sizeof *sym);
        n--;
        rank = 0;
    }
    return n;
}

static void heap_and_scan_merge_as_the_definition(void **state) {
    struct eye_rng rng;
    eye_rng_seed(&rng, 5);
    struct eye_bpe_scratch scratch = {0};
    for (int round = 0; round < 300; round++) {
        struct naive_merge m[40];
        struct eye_bpe b;
        struct eye_err err;
        int32_t sym[120], want[120];
        size_t n_sym = 1 + eye_rng_u64(&rng) % EYE_COUNT(sym), n_merge = 0;
        int32_t n_tok = 3;
        eye_bpe_init(&b, NULL);
        while (n_merge < EYE_COUNT(m)) {
            uint64_t r = eye_rng_u64(&rng);
            struct naive_merge x = {(int32_t)(r % (uint64_t)n_tok), (int32_t)((r >> 32) % (uint64_t)n_tok), n_tok};
            bool known = false;
            for (size_t i = 0; i < n_merge; i++) known |= m[i].left == x.left && m[i].right == x.right;
            if (known) continue;
            assert_int_equal(eye_bpe_put(&b, x.left, x.right, (uint32_t)n_merge, x.made, &err), EYE_OK);
            m[n_merge++] = x;
            n_tok++;
        }
        for (size_t i = 0; i < n_sym; i++) sym[i] = want[i] = (int32_t)(eye_rng_u64(&rng) % 3);
        size_t n_want = naive_bpe(m, n_merge, want, n_sym);
        assert_int_equal(eye_bpe_merge(&b, sym, &n_sym, &scratch, &err), EYE_OK);
        assert_int_equal(n_sym, n_want);
        assert_memory_equal(sym, want, n_want * sizeof *sym);
        eye_bpe_clear(&b);
    }
    eye_bpe_scratch_clear(&scratch);
}

/* ---- golden ids ---- */

/* texts: of the cases, which are their ids; NULL: a case is [text, ids]. */
static void check_encode(const struct eye_tokenizer *tk, const json_t *texts, const json_t *cases, const char *list,
                         const struct eye_encode_opts *opts) {
    struct eye_ids ids = {0};
    struct eye_buf text, decoded;
    size_t i;
    json_t *c;
    eye_buf_init(&text, NULL);
    eye_buf_init(&decoded, NULL);
    assert_true(json_array_size(json_object_get(cases, list)) > 20);
    json_array_foreach(json_object_get(cases, list), i, c) {
        case_text(texts ? json_array_get(texts, i) : json_array_get(c, 0), &text);
        encode_ok(tk, text.p, text.len, opts, &ids);
        expect_ids(&ids, texts ? c : json_array_get(c, 1), list, i);
        decoded.len = 0;
        eye_tokenizer_decode(tk, ids.p, ids.n, false, &decoded);
        expect_stream(tk, &ids, &decoded);
    }
    eye_ids_clear(&ids);
    eye_buf_clear(&text);
    eye_buf_clear(&decoded);
}

static void check_decode(const struct eye_tokenizer *tk, const json_t *cases) {
    struct eye_ids ids = {0};
    struct eye_buf out;
    struct eye_err err;
    size_t i, k;
    json_t *c, *id;
    eye_buf_init(&out, NULL);
    json_array_foreach(json_object_get(cases, "decode"), i, c) {
        ids.n = 0;
        json_array_foreach(json_array_get(c, 0), k, id)
            assert_int_equal(eye_ids_add(&ids, (int32_t)json_integer_value(id), &err), EYE_OK);
        for (int skip = 1; skip >= 0; skip--) {
            const json_t *want = json_array_get(c, skip ? 2 : 1);
            out.len = 0;
            eye_buf_adds(&out, "");
            eye_tokenizer_decode(tk, ids.p, ids.n, skip, &out);
            assert_int_equal(out.len, json_string_length(want));
            assert_memory_equal(out.p, json_string_value(want), out.len + 1);
        }
        expect_stream(tk, &ids, &out);
    }
    eye_ids_clear(&ids);
    eye_buf_clear(&out);
}

static void ids_equal_the_librarys(void **state) {
    static const char *const names[] = {"modern", "gpt2", "odd", "meta", "legacy", "partial"};
    json_t *file = load_cases(GOLDEN "texts.json");
    const json_t *texts = json_object_get(file, "texts");
    for (size_t i = 0; i < EYE_COUNT(names); i++) {
        char path[512];
        snprintf(path, sizeof path, GOLDEN "%s.json", names[i]);
        struct eye_tokenizer *tk = open_json(path);
        snprintf(path, sizeof path, GOLDEN "cases_%s.json", names[i]);
        json_t *cases = load_cases(path);
        const struct eye_encode_opts no_special = {.no_special = true}, both = {.add_before = true, .add_after = true};
        check_encode(tk, texts, cases, "encode", NULL);
        check_encode(tk, NULL, cases, "encode_no_special", &no_special);
        check_encode(tk, texts, cases, "encode_with_template", &both);
        check_decode(tk, cases);
        json_decref(cases);
        eye_tokenizer_close(tk);
    }
    json_decref(file);
}

/* The same texts under the real vocabularies, where those are. */
static void check_real(const char *name, const char *cls) {
    const char *data = getenv("EYELET_DATA");
    char path[3][1024];
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};
    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof path[i], "%s/tokenizers/%s/%s", data ? data : TEST_DATA "/../../shared/data", name, files[i]);
    if (!eye_path_exists(path[0])) {
        fprintf(stderr, "skipped: real %s vocabulary, no %s\n", name, path[0]);
        return;
    }
    struct eye_map vocab = map_file(path[0]), merges = map_file(path[1]), config = {0};
    struct eye_tokenizer_src src = {.vocab_json = {vocab.p, vocab.size}, .merges_txt = {merges.p, merges.size},
                                    .tokenizer_class = cls};
    if (!cls) {
        config = map_file(path[2]);
        src.tokenizer_config = (struct eye_bytes){config.p, config.size};
    }
    struct eye_tokenizer *tk;
    struct eye_err err;
    if (eye_tokenizer_open(&tk, &src, NULL, &err) != EYE_OK) fail_msg("%s: %s", name, err.text);
    snprintf(path[0], sizeof path[0], GOLDEN "real_%s.json", name);
    json_t *cases = load_cases(GOLDEN "texts.json"), *real = load_cases(path[0]);
    const json_t *list = json_object_get(cases, "texts"), *want = json_object_get(real, "ids");
    struct eye_ids ids = {0};
    struct eye_buf text;
    eye_buf_init(&text, NULL);
    assert_int_equal(json_array_size(list), json_array_size(want));
    for (size_t i = 0; i < json_array_size(list); i++) {
        case_text(json_array_get(list, i), &text);
        encode_ok(tk, text.p, text.len, NULL, &ids);
        expect_ids(&ids, json_array_get(want, i), name, i);
    }
    if (!cls) {
        assert_int_equal(eye_tokenizer_n_vocab(tk), 151646);
        assert_int_equal(eye_tokenizer_eos(tk), 151645);
        assert_int_equal(eye_tokenizer_pad(tk), 151643);
        assert_int_equal(eye_tokenizer_bos(tk), -1);
    }
    eye_buf_clear(&text);
    eye_ids_clear(&ids);
    json_decref(cases);
    json_decref(real);
    eye_tokenizer_close(tk);
    eye_map_close(&vocab);
    eye_map_close(&merges);
    if (!cls) eye_map_close(&config);
}

static void ids_equal_under_real_vocabularies(void **state) {
    check_real("qwen2", NULL);
    check_real("gpt2", "GPT2Tokenizer");
}

static void long_texts_take_linear_time(void **state) {
    static const char *const units[] = {"a", " ", "\u4e2d", "a\u0301", "<|im_", " \n", "\xff", "ing"};
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_ids ids = {0};
    for (size_t i = 0; i < EYE_COUNT(units); i++) {
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        while (b.len < 1 << 20) eye_buf_adds(&b, units[i]);
        uint64_t t0 = eye_now_ns();
        encode_ok(tk, b.p, b.len, NULL, &ids);
        /* Linear: well under a second, some seconds under sanitizers. Quadratic would be the better part of an hour. */
        assert_true(eye_now_ns() - t0 < 30u * 1000000000u);
        eye_buf_clear(&b);
    }
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
}

/* ---- SentencePiece style ---- */

static void expect_name(const struct eye_tokenizer *tk, int32_t id, const char *want) {
    const char *p;
    size_t n;
    assert_true(eye_tokenizer_token(tk, id, &p, &n));
    assert_true(n == strlen(want) && memcmp(p, want, n) == 0);
}

static void only_a_texts_beginning_gets_a_blank(void **state) {
    struct eye_tokenizer *meta = open_json(GOLDEN "meta.json"), *legacy = open_json(GOLDEN "legacy.json");
    struct eye_encode_opts opts = {.continued = true};
    struct eye_ids ids = {0};
    encode_ok(meta, "~", 1, NULL, &ids);
    assert_int_equal(ids.n, 2);
    expect_name(meta, ids.p[0], "\u2581");
    encode_ok(meta, "~", 1, &opts, &ids);
    assert_int_equal(ids.n, 1);
    encode_ok(legacy, "~", 1, &opts, &ids); /* a normalizer's blank stands before every piece */
    assert_int_equal(ids.n, 2);
    eye_ids_clear(&ids);
    eye_tokenizer_close(meta);
    eye_tokenizer_close(legacy);
}

static int32_t byte_token(const struct eye_tokenizer *tk, unsigned b) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", b);
    return eye_tokenizer_id(tk, name, 6);
}

/* A run of byte tokens is text only when it ends, or when it is longer than what is held. */
static void byte_runs_wait_for_their_end(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "meta.json");
    struct eye_detok d;
    struct eye_buf out;
    eye_buf_init(&out, NULL);
    eye_detok_init(&d, tk, false);
    eye_detok_push(&d, eye_tokenizer_id(tk, "\u2581", 3), &out); /* the first blank goes */
    eye_detok_push(&d, byte_token(tk, 0xC3), &out);
    eye_detok_push(&d, byte_token(tk, 0xA9), &out);
    assert_int_equal(out.len, 0);
    eye_detok_push(&d, eye_tokenizer_id(tk, "\u2581", 3), &out);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.p, "\u00e9 ", 3);
    eye_detok_push(&d, byte_token(tk, 'a'), &out);
    eye_detok_push(&d, byte_token(tk, 0xC3), &out);
    eye_detok_flush(&d, &out); /* one that is no text is U+FFFD, byte by byte */
    assert_int_equal(out.len, 9);
    assert_memory_equal(out.p, "\u00e9 \ufffd\ufffd", 9);
    out.len = 0;
    for (int i = 0; i < 1000; i++) eye_detok_push(&d, byte_token(tk, i % 2 ? 0xA9 : 0xC3), &out);
    assert_true(out.len >= 1000 - EYE_DETOK_MAX_HELD);
    eye_detok_flush(&d, &out);
    assert_int_equal(out.len, 1000);
    for (size_t i = 0; i < out.len; i++) assert_int_equal((uint8_t)out.p[i], i % 2 ? 0xA9 : 0xC3);
    eye_buf_clear(&out);
    eye_tokenizer_close(tk);
}

static void one_long_word_takes_linear_time(void **state) {
    static const char *const unit[] = {"a", " the dog", "\U0001f600 "};
    struct eye_tokenizer *tk = open_json(GOLDEN "meta.json");
    struct eye_ids ids = {0};
    for (size_t k = 0; k < EYE_COUNT(unit); k++) {
        struct eye_buf b;
        eye_buf_init(&b, NULL);
        while (b.len < (1u << 20)) eye_buf_adds(&b, unit[k]);
        uint64_t t0 = eye_now_ns();
        encode_ok(tk, b.p, b.len, NULL, &ids);
        assert_true(eye_now_ns() - t0 < 30u * 1000000000u); /* as above */
        eye_buf_clear(&b);
    }
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
}

static void tokenizer_model_equals_sentencepiece(void **state) {
    struct eye_tokenizer *tk = open_sp(GOLDEN "sp.model", NULL);
    json_t *file = load_cases(GOLDEN "texts.json"), *cases = load_cases(GOLDEN "cases_sp.json"), *c, *id;
    const struct eye_encode_opts no_special = {.no_special = true};
    struct eye_ids ids = {0};
    struct eye_buf out;
    struct eye_err err;
    size_t i, k;
    eye_buf_init(&out, NULL);
    check_encode(tk, json_object_get(file, "texts"), cases, "encode", &no_special);
    json_array_foreach(json_object_get(cases, "decode"), i, c) {
        const json_t *want = json_array_get(c, 1);
        ids.n = out.len = 0;
        json_array_foreach(json_array_get(c, 0), k, id)
            assert_int_equal(eye_ids_add(&ids, (int32_t)json_integer_value(id), &err), EYE_OK);
        eye_buf_adds(&out, "");
        eye_tokenizer_decode(tk, ids.p, ids.n, true, &out);
        assert_string_equal(out.p, json_string_value(want));
    }
    assert_true(i > 30);
    eye_ids_clear(&ids);
    eye_buf_clear(&out);
    json_decref(file);
    json_decref(cases);
    eye_tokenizer_close(tk);
}

static void tokenizer_model_with_a_config(void **state) {
    static const char config[] = "{\"add_bos_token\":false,\"add_eos_token\":true,\"pad_token\":\"<p>\","
                                 "\"added_tokens_decoder\":{\"1\":{\"content\":\"<s>\",\"special\":true},"
                                 "\"420\":{\"content\":\"<p>\",\"special\":true}}}";
    const struct eye_encode_opts both = {.add_before = true, .add_after = true};
    struct eye_tokenizer *tk = open_sp(GOLDEN "sp.model", NULL);
    struct eye_ids ids = {0};
    encode_ok(tk, "</s>", 4, &both, &ids);
    assert_true(ids.n == 2 && ids.p[0] == 1 && ids.p[1] == 2); /* BOS of its own, a control piece found */
    assert_true(eye_tokenizer_bos(tk) == 1 && eye_tokenizer_eos(tk) == 2 && eye_tokenizer_pad(tk) == -1);
    eye_tokenizer_close(tk);
    tk = open_sp(GOLDEN "sp.model", config);
    encode_ok(tk, "<p>", 3, &both, &ids);
    assert_true(ids.n == 2 && ids.p[0] == 420 && ids.p[1] == 2);
    assert_int_equal(eye_tokenizer_pad(tk), 420);
    eye_ids_clear(&ids);
    eye_tokenizer_close(tk);
}

/* ---- special tokens, literal ranges ---- */

static void literal_ranges_keep_special_tokens_text(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_ids a = {0}, b = {0};
    struct eye_err err;
    const char text[] = "<|im_end|>x<|im_end|>y<|im_end|>";
    int32_t end = eye_tokenizer_id(tk, "<|im_end|>", 10);
    assert_true(eye_tokenizer_is_special(tk, end));
    const struct eye_text_range one = {11, 21}, edge = {0, 1}, wrong[] = {{5, 6}, {4, 8}}, outside = {30, 33};
    struct eye_encode_opts opts = {.literal = &one, .n_literal = 1};
    encode_ok(tk, text, sizeof text - 1, &opts, &a);
    assert_int_equal(a.p[0], end);
    assert_int_equal(a.p[a.n - 1], end);
    for (size_t i = 1; i + 1 < a.n; i++) assert_int_not_equal(a.p[i], end);
    opts.literal = &edge; /* one byte of the token is enough */
    encode_ok(tk, text, sizeof text - 1, &opts, &b);
    assert_int_not_equal(b.p[0], end);
    opts = (struct eye_encode_opts){.literal = wrong, .n_literal = 2};
    assert_int_equal(eye_tokenizer_encode(tk, text, sizeof text - 1, &opts, &b, &err), EYE_E_ARG);
    opts = (struct eye_encode_opts){.literal = &outside, .n_literal = 1};
    assert_int_equal(eye_tokenizer_encode(tk, text, sizeof text - 1, &opts, &b, &err), EYE_E_ARG);
    opts.literal = &edge;
    assert_int_equal(eye_tokenizer_encode(tk, "a\xff", 2, &opts, &b, &err), EYE_E_ARG);
    eye_ids_clear(&a);
    eye_ids_clear(&b);
    eye_tokenizer_close(tk);
}

static void tokens_are_found_by_id_and_name(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    const char *p;
    size_t n;
    int32_t id = eye_tokenizer_id(tk, "<image>", 7);
    assert_int_equal(id, eye_tokenizer_n_vocab(tk) - 1);
    assert_true(eye_tokenizer_token(tk, id, &p, &n) && n == 7 && memcmp(p, "<image>", 7) == 0);
    assert_false(eye_tokenizer_token(tk, id + 1, &p, &n) || eye_tokenizer_token(tk, -1, &p, &n));
    assert_false(eye_tokenizer_is_special(tk, -1) || eye_tokenizer_is_special(tk, 0) || eye_tokenizer_is_special(tk, 1 << 30));
    assert_int_equal(eye_tokenizer_id(tk, "no such token", 13), -1);
    eye_tokenizer_close(tk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_repair_groups_as_python_does),
        cmocka_unit_test(classes_are_the_librarys),
        cmocka_unit_test(nfc_composes_orders_and_leaves_alone),
        cmocka_unit_test(heap_and_scan_merge_as_the_definition),
        cmocka_unit_test(ids_equal_the_librarys),
        cmocka_unit_test(ids_equal_under_real_vocabularies),
        cmocka_unit_test(long_texts_take_linear_time),
        cmocka_unit_test(only_a_texts_beginning_gets_a_blank),
        cmocka_unit_test(byte_runs_wait_for_their_end),
        cmocka_unit_test(one_long_word_takes_linear_time),
        cmocka_unit_test(tokenizer_model_equals_sentencepiece),
        cmocka_unit_test(tokenizer_model_with_a_config),
        cmocka_unit_test(literal_ranges_keep_special_tokens_text),
        cmocka_unit_test(tokens_are_found_by_id_and_name),
    };
    return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
