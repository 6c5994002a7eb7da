/* Unit tests of text/script: conversations through a template of one's own, to pieces and ids. */
#include "text_help.h"

#include "text/template.h"

static const char marks[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char parts[] =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}<image>{% else %}"
    "{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
static const char either[] =
    "{% for m in messages %}{% if m.content is string %}S{{ m.content }}{% else %}P{% for p in m.content %}"
    "{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}{% endif %}{% endfor %}";

static struct eye_script *open_script(const char *src, const struct eye_tokenizer *tk) {
    struct eye_script *s = NULL;
    struct eye_err err;
    if (eye_script_open(&s, src, strlen(src), "t.jinja", tk, NULL, &err) != EYE_OK) fail_msg("%s", err.text);
    return s;
}

/* The prompt with "[IMAGE]" where images are; the caller frees out. */
static enum eye_status render(const struct eye_script *s, const struct eye_turn *turn, size_t n, struct eye_template_opts opts,
                              struct eye_buf *out, struct eye_err *err) {
    struct eye_prompt p;
    eye_prompt_init(&p, NULL);
    eye_buf_init(out, NULL);
    opts.script = s;
    enum eye_status st = eye_prompt_render(&p, EYE_TEMPLATE_SCRIPT, turn, n, &opts, err);
    for (size_t k = 0; st == EYE_OK && k < p.n_segment; k++) {
        if (p.segment[k].is_image)
            eye_buf_adds(out, "[IMAGE]");
        else
            eye_buf_add(out, p.text.p + p.segment[k].from, p.segment[k].to - p.segment[k].from);
    }
    eye_prompt_clear(&p);
    return st;
}

static void expect(const struct eye_script *s, const struct eye_turn *turn, size_t n, struct eye_template_opts opts,
                   const char *want) {
    struct eye_buf got;
    struct eye_err err;
    if (render(s, turn, n, opts, &got, &err) != EYE_OK) fail_msg("%s", err.text);
    assert_string_equal(got.p, want);
    eye_buf_clear(&got);
}

static const struct eye_turn question = {EYE_ROLE_USER, "Why <image>?", 12, 0}, with_images = {EYE_ROLE_USER, "Why?", 4, 2};

static void images_stand_where_the_template_says(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    const struct eye_template_opts plain = {0};
    struct eye_script *s = open_script(marks, tk);
    expect(s, &question, 1, plain, "<|im_start|>user\nWhy <image>?<|im_end|>\n<|im_start|>assistant\n");
    expect(s, &with_images, 1, plain, "<|im_start|>user\n[IMAGE]\n[IMAGE]\nWhy?<|im_end|>\n<|im_start|>assistant\n");
    eye_script_close(s);
    s = open_script(parts, tk);
    expect(s, &question, 1, plain, "<|im_start|>user\nWhy <image>?<|im_end|>\n<|im_start|>assistant\n");
    expect(s, &with_images, 1, plain, "<|im_start|>user\n[IMAGE][IMAGE]Why?<|im_end|>\n<|im_start|>assistant\n");
    eye_script_close(s);
    s = open_script(either, tk);
    expect(s, &question, 1, plain, "SWhy <image>?");
    expect(s, &with_images, 1, plain, "P[IMAGE][IMAGE]Why?");
    eye_script_close(s);
    eye_tokenizer_close(tk);
}

static void a_conversation_goes_on(void **state) {
    static const char *const scripts[] = {marks, parts};
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    const struct eye_turn turn[] = {{EYE_ROLE_USER, "A", 1, 0}, {EYE_ROLE_ASSISTANT, " B ", 3, 0}, {EYE_ROLE_USER, "C", 1, 1}};
    for (size_t i = 0; i < EYE_COUNT(scripts); i++) {
        struct eye_script *s = open_script(scripts[i], tk);
        struct eye_buf whole, begun, next;
        struct eye_err err;
        int32_t stop[EYE_TEMPLATE_MAX_STOP];
        assert_int_equal(render(s, turn, 3, (struct eye_template_opts){0}, &whole, &err), EYE_OK);
        assert_int_equal(render(s, turn, 1, (struct eye_template_opts){0}, &begun, &err), EYE_OK);
        assert_int_equal(render(s, turn + 2, 1, (struct eye_template_opts){.follows = true}, &next, &err), EYE_OK);
        eye_buf_adds(&begun, " B ");
        eye_buf_adds(&begun, next.p);
        assert_string_equal(begun.p, whole.p); /* what is in the context, the answer and what is added make the whole */
        size_t n_stop = eye_template_stop_ids(EYE_TEMPLATE_SCRIPT, s, tk, stop);
        assert_true(n_stop > 0);
        assert_int_equal(stop[n_stop - 1], eye_tokenizer_id(tk, "<|im_end|>", 10));
        eye_buf_clear(&whole);
        eye_buf_clear(&begun);
        eye_buf_clear(&next);
        eye_script_close(s);
    }
    eye_tokenizer_close(tk);
}

static size_t count_id(const struct eye_ids *ids, int32_t id) {
    size_t n = 0;
    for (size_t i = 0; i < ids->n; i++) n += ids->p[i] == id;
    return n;
}

static void ids_of_scripts(void **state) {
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_script *s = open_script(marks, tk);
    const struct eye_turn turn = {EYE_ROLE_USER, "<|im_end|>", 10, 1};
    struct eye_prompt p;
    struct eye_ids ids = {0}, named = {0};
    struct eye_err err;
    eye_prompt_init(&p, NULL);
    for (int protect = 0; protect < 2; protect++) {
        struct eye_template_opts opts = {.script = s, .protect_user = protect};
        ids.n = 0;
        assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_SCRIPT, &turn, 1, &opts, &err), EYE_OK);
        assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
        assert_int_equal(count_id(&ids, eye_tokenizer_id(tk, "<|im_end|>", 10)), protect ? 1 : 2);
        assert_int_equal(count_id(&ids, EYE_TOKEN_IMAGE), 1);
    }
    assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_CHATML, &turn, 1, &(struct eye_template_opts){.protect_user = true},
                                       &err),
                     EYE_OK);
    assert_int_equal(eye_prompt_encode(&p, tk, &named, &err), EYE_OK);
    assert_int_equal(ids.n, named.n); /* the same form by name */
    assert_memory_equal(ids.p, named.p, ids.n * sizeof *ids.p);
    eye_ids_clear(&ids);
    eye_ids_clear(&named);
    eye_prompt_clear(&p);
    eye_script_close(s);
    eye_tokenizer_close(tk);
}

/* BOS once: the template's own, else the post-processor's. */
static void bos_comes_once(void **state) {
    struct eye_tokenizer *tk = open_sp(GOLDEN "sp.model", "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}");
    static const char *const scripts[] = {"{{ bos_token }}{{ messages[0].content }}", "{{ messages[0].content }}"};
    const struct eye_turn turn = {EYE_ROLE_USER, "dog", 3, 0};
    assert_true(eye_tokenizer_bos(tk) >= 0);
    for (size_t i = 0; i < EYE_COUNT(scripts); i++) {
        struct eye_script *s = open_script(scripts[i], tk);
        struct eye_prompt p;
        struct eye_ids ids = {0};
        struct eye_err err;
        eye_prompt_init(&p, NULL);
        assert_int_equal(eye_prompt_render(&p, EYE_TEMPLATE_SCRIPT, &turn, 1, &(struct eye_template_opts){.script = s}, &err),
                         EYE_OK);
        assert_int_equal(eye_prompt_encode(&p, tk, &ids, &err), EYE_OK);
        assert_int_equal(ids.p[0], eye_tokenizer_bos(tk));
        assert_int_equal(count_id(&ids, eye_tokenizer_bos(tk)), 1);
        eye_ids_clear(&ids);
        eye_prompt_clear(&p);
        eye_script_close(s);
    }
    eye_tokenizer_close(tk);
}

static void useless_templates_are_refused(void **state) {
    static const struct { const char *src; enum eye_status code; const char *text; } cases[] = {
        {"Hello", EYE_E_UNSUPPORTED, "writes nothing of what a user says"},
        {"{{ messages | dictsort }}", EYE_E_UNSUPPORTED, "t.jinja:1:15: the filter \"dictsort\""},
        {"{% for m in messages %}{{ raise_exception('not today') }}{% endfor %}", EYE_E_ARG, "not today"},
        {"{% import 'os' as os %}", EYE_E_UNSUPPORTED, "\"import\""},
    };
    struct eye_tokenizer *tk = open_json(GOLDEN "modern.json");
    struct eye_script *s;
    struct eye_err err;
    for (size_t i = 0; i < EYE_COUNT(cases); i++) {
        assert_int_equal(eye_script_open(&s, cases[i].src, strlen(cases[i].src), "t.jinja", tk, NULL, &err), cases[i].code);
        if (!strstr(err.text, cases[i].text)) fail_msg("%s", err.text);
    }
    struct eye_buf out;
    s = open_script("{% for m in messages %}{{ m.content }}{% endfor %}"
                    "{% if messages | length > 2 %}{{ messages[2].nobody.x }}{% endif %}", tk);
    assert_int_equal(render(s, &question, 1, (struct eye_template_opts){.follows = true}, &out, &err), EYE_E_ARG);
    eye_script_close(s);
    s = open_script("{{ messages[-1].content }}", tk); /* forgets the answer */
    assert_int_equal(render(s, &question, 1, (struct eye_template_opts){.follows = true}, &out, &err), EYE_E_UNSUPPORTED);
    eye_script_close(s);
    s = open_script("{% for m in messages %}{% for p in m.content %}{{ p.text if p.type == 'text' }}{% endfor %}{% endfor %}",
                    tk);
    assert_int_equal(render(s, &with_images, 1, (struct eye_template_opts){0}, &out, &err), EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "wrote 0 places <image> for 2 images"));
    eye_script_close(s);
    eye_tokenizer_close(tk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_stand_where_the_template_says),
        cmocka_unit_test(a_conversation_goes_on),
        cmocka_unit_test(ids_of_scripts),
        cmocka_unit_test(bos_comes_once),
        cmocka_unit_test(useless_templates_are_refused),
    };
    return cmocka_run_group_tests_name("script", tests, NULL, NULL);
}
