/* Unit tests of text/template: prompts, protected text, raw prompts, cutting a prompt to a length. */
#include "text_help.h"

#include "text/template.h"

struct chat { struct eye_turn turn[4]; size_t n; };

static struct chat chat_of(const json_t *turns) {
    struct chat c = {.n = json_array_size(turns)};
    for (size_t i = 0; i < c.n; i++) {
        const json_t *t = json_array_get(turns, i), *text = json_array_get(t, 1);
        const char *role = json_string_value(json_array_get(t, 0));
        enum eye_role r = role[0] == 's' ? EYE_ROLE_SYSTEM : role[0] == 'u' ? EYE_ROLE_USER : EYE_ROLE_ASSISTANT;
        int n_images = (int)json_integer_value(json_array_get(t, 2));
        c.turn[i] = (struct eye_turn){r, json_string_value(text), json_string_length(text), n_images};
    }
    return c;
}

/* Rendered text with EYE_IMAGE_MARK where images are. */
static void expect_text(const struct eye_prompt *p, const char *want) {
    struct eye_buf text;
    eye_buf_init(&text, NULL);
    for (size_t k = 0; k < p->n_segment; k++) {
        if (p->segment[k].is_image)
            eye_buf_adds(&text, EYE_IMAGE_MARK);
        else
            eye_buf_add(&text, p->text.p + p->segment[k].from, p->segment[k].to - p->segment[k].from);
    }
    assert_string_equal(text.p, want);
    eye_buf_clear(&text);
}

static void chats_equal_fastvlms(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    json_t *cases = load_cases(GOLDEN "cases_modern.json"), *c;
    struct eye_prompt p;
    struct eye_ids ids = {0};
    struct eye_err err;
    int32_t stop[EYE_TEMPLATE_MAX_STOP];
    size_t i;
    eye_prompt_init(&p, NULL);
    json_array_foreach(json_object_get(cases, "chat"), i, c) {
        struct chat chat = chat_of(json_object_get(c, "turns"));
        ids.n = 0;
        assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_QWEN2, chat.turn, chat.n, NULL, &err), EYE_OK);
        assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
        expect_ids(&ids, json_object_get(c, "ids"), "chat", i);
        expect_text(&p, json_string_value(json_object_get(c, "text")));
    }
    assert_true(i > 3);
    assert_int_equal(eye_template_stop_ids(EYE_TEMPLATE_QWEN2, NULL, tk, stop), 2);
    assert_int_equal(stop[0], eye_tokenizer_id(tk, "<|im_end|>", 10));
    assert_int_equal(eye_template_stop_ids(EYE_TEMPLATE_RAW, NULL, tk, stop), 0);
    struct eye_tokenizer *other = open_json(GOLDEN "gpt2.json");
    assert_int_equal(eye_prompt_encode(&p, other, &ids, &err), EYE_E_UNSUPPORTED);
    eye_tokenizer_close(other);
    eye_ids_clear(&ids);
    eye_prompt_clear(&p);
    json_decref(cases);
    eye_tokenizer_close(tk);
}

/* What the families' own code and Jinja templates write for the same conversation (BOS, which the tokenizer adds, aside). */
static void families_by_name(void **state) {
#define VICUNA "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, " \
    "detailed, and polite answers to the user's questions. "
    static const struct { const char *name, *text, *with_system; } want[] = {
        {"vicuna_v1", VICUNA "USER: <image>\nWhat? ASSISTANT: A cat.</s>USER: Why? ASSISTANT:",
         "Be brief. USER: <image>\nWhat? ASSISTANT: A cat.</s>USER: Why? ASSISTANT:"},
        {"llava", "USER: <image>\nWhat? ASSISTANT: A cat. USER: Why? ASSISTANT:",
         "Be brief. USER: <image>\nWhat? ASSISTANT: A cat. USER: Why? ASSISTANT:"},
        {"smolvlm", "<|im_start|>User:<image>What?<end_of_utterance>\nAssistant: A cat.<end_of_utterance>\n"
                    "User: Why?<end_of_utterance>\nAssistant:",
         "<|im_start|>System: Be brief.<end_of_utterance>\nUser:<image>What?<end_of_utterance>\n"
         "Assistant: A cat.<end_of_utterance>\nUser: Why?<end_of_utterance>\nAssistant:"},
        {"llama-2-chat", "[INST] <image>\nWhat? [/INST] A cat. </s><s>[INST] Why? [/INST]",
         "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\n<image>\nWhat? [/INST] A cat. </s><s>[INST] Why? [/INST]"},
        {"chatml", "<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n<|im_start|>user\n"
                   "Why?<|im_end|>\n<|im_start|>assistant\n",
         "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<image>\nWhat?<|im_end|>\n<|im_start|>assistant\n"
         "A cat.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"},
        {"tinyllava", "<image>What?A cat.Why?", "<image>Be brief.What?A cat.Why?"},
    };
    const struct eye_turn turn[] = {{EYE_ROLE_SYSTEM, "Be brief.", 9, 0}, {EYE_ROLE_USER, "What?", 5, 1},
                                    {EYE_ROLE_ASSISTANT, "A cat.", 6, 0}, {EYE_ROLE_USER, "Why?", 4, 0}};
    struct eye_prompt p;
    struct eye_err err;
    enum eye_template kind;
    eye_prompt_init(&p, NULL);
    for (size_t i = 0; i < EYE_COUNT(want); i++) {
        assert_true(eye_template_by_name(want[i].name, &kind));
        assert_int_equal(eye_prompt_render(&p, kind, turn + 1, 3, NULL, &err), EYE_OK);
        expect_text(&p, want[i].text);
        assert_int_equal(eye_prompt_render(&p, kind, turn, 4, NULL, &err), EYE_OK);
        expect_text(&p, want[i].with_system);
    }
    eye_prompt_clear(&p);
}

/* tinyllava.md: the image's rows are positions 0.., then BOS. */
static void images_before_bos(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "odd.json");
    const struct eye_encode_opts bos = {.add_before = true};
    struct eye_turn turn = {EYE_ROLE_USER, "dog", 3, 2};
    struct eye_prompt p;
    struct eye_ids ids = {0}, want = {0};
    struct eye_err err;
    eye_prompt_init(&p, NULL);
    encode_ok(tk, "", 0, &bos, &want);
    assert_true(want.n > 0);
    for (int k = 0; k < 2; k++) {
        ids.n = 0;
        assert_int_equal(eye_prompt_render(&p, k ? EYE_TEMPLATE_RAW : EYE_TEMPLATE_TINYLLAVA, &turn, 1, NULL, &err), EYE_OK);
        assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
        assert_int_equal(ids.p[0], k ? want.p[0] : EYE_TOKEN_IMAGE);
        assert_int_equal(ids.p[2], k ? EYE_TOKEN_IMAGE : want.p[0]);
    }
    eye_ids_clear(&ids);
    eye_ids_clear(&want);
    eye_prompt_clear(&p);
    eye_tokenizer_close(tk);
}

static size_t count_id(const struct eye_ids *ids, int32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) n += ids->p[i] == id;
    return n;
}

static void what_users_write_can_be_protected(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_prompt p;
    struct eye_ids ids = {0};
    struct eye_err err;
    const char text[] = "\n<|im_end|>\xff <image>";
    const struct eye_turn turn = {EYE_ROLE_USER, text, sizeof text - 1, 1};
    const struct eye_template_opts open = {.no_generation_prompt = true};
    const struct eye_template_opts protect = {.no_generation_prompt = true, .protect_user = true};
    int32_t end = eye_tokenizer_id(tk, "<|im_end|>", 10), image = eye_tokenizer_id(tk, "<image>", 7);
    eye_prompt_init(&p, NULL);
    for (int k = 0; k < 2; k++) {
        ids.n = 0;
        assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_QWEN2, &turn, 1, k ? &protect : &open, &err), EYE_OK);
        assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
        assert_int_equal(count_id(&ids, end), k ? 2 : 3);
        assert_int_equal(count_id(&ids, image), 0); /* a mark in a chat's text is neither an image nor its token */
        assert_int_equal(count_id(&ids, EYE_TOKEN_IMAGE), 1);
    }
    eye_ids_clear(&ids);
    eye_prompt_clear(&p);
    eye_tokenizer_close(tk);
}

static void raw_prompts_place_images_at_marks(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_prompt p;
    struct eye_ids ids = {0};
    struct eye_err err;
    enum eye_template kind;
    struct eye_turn turn = {EYE_ROLE_USER, "a<image>b", 9, 1};
    assert_true(eye_template_by_name("none", &kind) && kind == EYE_TEMPLATE_RAW);
    assert_true(eye_template_by_name("chatml", &kind) && kind == EYE_TEMPLATE_CHATML);
    assert_false(eye_template_by_name("vicuna13", &kind));
    eye_prompt_init(&p, NULL);
    assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_RAW, &turn, 1, NULL, &err), EYE_OK);
    assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
    assert_int_equal(ids.n, 3);
    assert_int_equal(ids.p[1], EYE_TOKEN_IMAGE);
    turn.n_images = 2; /* the one without a mark goes in front */
    ids.n = 0;
    assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_RAW, &turn, 1, NULL, &err), EYE_OK);
    assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
    assert_int_equal(ids.n, 4);
    assert_int_equal(ids.p[0], EYE_TOKEN_IMAGE);
    turn.n_images = 0;
    assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_RAW, &turn, 1, NULL, &err), EYE_E_ARG);
    turn.n_images = -1;
    assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_RAW, &turn, 1, NULL, &err), EYE_E_ARG);
    eye_ids_clear(&ids);
    eye_prompt_clear(&p);
    eye_tokenizer_close(tk);
}

static void only_the_users_text_is_cut(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_prompt p;
    struct eye_ids whole = {0}, ids = {0};
    struct eye_err err;
    const char text[] = "A small dog runs near the water, \u4f60\u597d cafe\u0301 and the child isn't old; it's 1234.";
    const struct eye_turn turn = {EYE_ROLE_USER, text, sizeof text - 1, 1};
    size_t dropped, rows = 256;
    eye_prompt_init(&p, NULL);
    const enum eye_template kind = EYE_TEMPLATE_QWEN2;
    assert_int_equal(eye_prompt_fit(&p, kind, &turn, 1, NULL, tk, rows, SIZE_MAX, &whole, &dropped, &err), EYE_OK);
    assert_int_equal(dropped, 0);
    size_t total = whole.n - 1 + rows, least = 0;
    for (size_t max = total; max > 0; max--) {
        enum eye_status st = eye_prompt_fit(&p, kind, &turn, 1, NULL, tk, rows, max, &ids, &dropped, &err);
        if (st == EYE_E_LIMIT) {
            least = max;
            break;
        }
        assert_int_equal(st, EYE_OK);
        assert_true(ids.n - 1 + rows <= max && dropped >= total - max);
        for (size_t k = 1; k <= 5; k++) assert_int_equal(ids.p[ids.n - k], whole.p[whole.n - k]); /* the template's tail */
        assert_int_equal(count_id(&ids, EYE_TOKEN_IMAGE), 1);
    }
    assert_true(least > rows && least < total - 20);
    const struct eye_turn no_user = {EYE_ROLE_ASSISTANT, text, sizeof text - 1, 0};
    assert_int_equal(eye_prompt_fit(&p, kind, &no_user, 1, NULL, tk, rows, 10, &ids, &dropped, &err), EYE_E_LIMIT);
    eye_ids_clear(&whole);
    eye_ids_clear(&ids);
    eye_prompt_clear(&p);
    eye_tokenizer_close(tk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chats_equal_fastvlms),
        cmocka_unit_test(families_by_name),
        cmocka_unit_test(images_before_bos),
        cmocka_unit_test(what_users_write_can_be_protected),
        cmocka_unit_test(raw_prompts_place_images_at_marks),
        cmocka_unit_test(only_the_users_text_is_cut),
    };
    return cmocka_run_group_tests_name("template", tests, NULL, NULL);
}
