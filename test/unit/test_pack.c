/* Unit tests of the pack room: a folder and the GGUF made of it are the same model, bit for bit, for every type; what the file
 * says to llama.cpp and to us; what conversion must refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "eyelet/convert.h"
#include "support/eval_model.h"
#include "support/make_checkpoint.h"
#include "support/support.h"
#include "text/tokenizer.h"

static struct eye_err err;

static void ok(enum eye_status st) {
    if (st != EYE_OK) fail_msg("%s: %s", eye_status_name(st), err.text);
}

static const char *make(const char *name, const char *size, enum eye_mk_format format, int dtype) {
    static char path[8][512];
    static int next;
    char *p = path[next++ % 8];
    snprintf(p, sizeof path[0], "%s", eye_scratch_path(name));
    if (eye_path_exists(p)) return p;
    const struct eye_mk_size *z = eye_mk_size_find(size);
    struct eye_mk_opts o = {.size = z, .format = format, .dtype = dtype, .n_shards = 2, .seed = z->seed, .out = p};
    ok(eye_make_checkpoint(&o, &err));
    return p;
}

static const char *convert(const char *folder, const char *name, enum eye_weight_type decoder, enum eye_weight_type vision,
                           struct eye_convert_report *report) {
    struct eye_convert_opts o = {.decoder_type = decoder, .vision_type = vision};
    const char *out = eye_scratch_path(name);
    ok(eye_convert(folder, out, &o, report, &err));
    return out;
}

/* ---- the same model ---- */

/* The rows a node's matrix has once it is in the type it is multiplied in, as f32. */
static float *rows_as(const struct eye_value *w, enum eye_wtype t, size_t *bytes) {
    size_t k = 1, packed;
    for (int i = 1; i < w->rank; i++) k *= (size_t)w->dims[i];
    *bytes = (size_t)w->dims[0] * k * sizeof(float);
    float *f = malloc(*bytes + 1);
    assert_true(eye_dtype_row_bytes(eye_wtype_dtype(t), k, &packed));
    void *tmp = malloc(packed + 1);
    for (int64_t r = 0; r < w->dims[0]; r++) {
        eye_weight_row(w, r, f + (size_t)r * k);
        eye_row_from_f32(eye_wtype_dtype(t), f + (size_t)r * k, tmp, k);
        eye_row_to_f32(eye_wtype_dtype(t), tmp, f + (size_t)r * k, k);
    }
    free(tmp);
    return f;
}

/* Node by node, weight by weight: what the folder's graph multiplies with when these types are asked for is what the file's
 * does. */
static void same_part(const struct eye_vlm *a, const struct eye_vlm *b, enum eye_part part, enum eye_wtype type) {
    struct eye_graph g, h;
    ok(eye_vlm_graph(a, part, 0, &g, &err));
    ok(eye_vlm_graph(b, part, 0, &h, &err));
    ok(eye_graph_fold(&g, &err));
    ok(eye_graph_fold(&h, &err));
    eye_graph_quantize(&g, type);
    eye_graph_quantize(&h, type);
    assert_int_equal(g.n_nodes, h.n_nodes);
    for (size_t n = 0; n < g.n_nodes; n++) {
        const struct eye_node *x = &g.node[n], *y = &h.node[n];
        assert_int_equal(x->op, y->op);
        assert_int_equal(x->n_in, y->n_in);
        assert_memory_equal(&x->attr, &y->attr, sizeof x->attr);
        for (int i = 0; i < x->n_in; i++) {
            if (x->in[i] == EYE_NONE || eye_value_at(&g, x->in[i])->kind != EYE_VAL_WEIGHT) continue;
            const struct eye_value *v = eye_value_at(&g, x->in[i]), *w = eye_value_at(&h, y->in[i]);
            bool table = x->op == EYE_OP_embed, matrix = i == 1 && (x->op == EYE_OP_linear || x->op == EYE_OP_conv2d);
            enum eye_wtype t = table ? eye_wtype_for(type, v->dims[1]) : matrix ? x->attr.wtype : EYE_W_EXACT;
            size_t nv, nw;
            float *fv = rows_as(v, t, &nv), *fw = rows_as(w, EYE_W_EXACT, &nw), *again = rows_as(w, t, &nw);
            assert_int_equal(nv, nw);
            if (matrix && x->op == EYE_OP_conv2d) { /* kept in f32, rounded when packed */
                assert_memory_equal(fv, again, nv);
            } else {
                if (memcmp(fv, fw, nv) != 0) fail_msg("%s: the file's rows differ", v->name);
                assert_memory_equal(fw, again, nv); /* rounding what is rounded changes nothing */
            }
            free(fv);
            free(fw);
            free(again);
        }
    }
    eye_graph_clear(&g);
    eye_graph_clear(&h);
}

static void same_model(const char *folder, const char *gguf, enum eye_wtype vision, enum eye_wtype decoder) {
    struct eye_opened a, b;
    eye_open_model(&a, folder);
    eye_open_model(&b, gguf);
    assert_int_equal(b.m.vision_type, vision);
    assert_int_equal(b.m.decoder_type, decoder);
    assert_true(b.m.vision_folded);
    b.m.config.names = a.m.config.names; /* all else is read from the same config.json */
    struct eye_vlm_config x = a.m.config, y = b.m.config;
    assert_memory_equal(&x, &y, sizeof x);
    assert_int_equal(a.m.tied, b.m.tied);
    for (int part = 0; part < EYE_N_PART; part++)
        same_part(&a.m, &b.m, (enum eye_part)part, eye_vlm_part_type((enum eye_part)part, vision, decoder));
    eye_close_model(&a);
    eye_close_model(&b);
}

static void folder_and_file_are_one_model(void **state) {
    static const struct { const char *name, *size; enum eye_mk_format format; int dtype; } model[] = {
        {"tiny-hf", "tiny", EYE_MK_HF, EYE_F32}, {"odd-train", "odd", EYE_MK_APPLE_TRAIN, EYE_F32},
        {"tiny-bf16", "tiny", EYE_MK_APPLE, EYE_BF16}, {"odd-f16", "odd", EYE_MK_HF, EYE_F16},
    };
    static const struct { enum eye_weight_type decoder, vision; } type[] = {
        {EYE_WEIGHT_STORED, EYE_WEIGHT_STORED}, {EYE_WEIGHT_F32, EYE_WEIGHT_F32}, {EYE_WEIGHT_F16, EYE_WEIGHT_F16},
        {EYE_WEIGHT_BF16, EYE_WEIGHT_BF16}, {EYE_WEIGHT_Q8_0, EYE_WEIGHT_F16}, {EYE_WEIGHT_Q4_0, EYE_WEIGHT_BF16},
        {EYE_WEIGHT_Q4_K, EYE_WEIGHT_Q8_0},
    };
    for (size_t i = 0; i < EYE_COUNT(model); i++) {
        const char *folder = make(model[i].name, model[i].size, model[i].format, model[i].dtype);
        for (size_t k = 0; k < EYE_COUNT(type); k++) {
            const char *gguf = convert(folder, "x.gguf", type[k].decoder, type[k].vision, NULL);
            same_model(folder, gguf, (enum eye_wtype)type[k].vision, (enum eye_wtype)type[k].decoder);
        }
    }
}

/* As stored: every result has the same bits, and converting the file again gives the same file. */
static void nothing_is_lost_by_default(void **state) {
    static const int32_t ids[] = {5, 300, 77, 401};
    const char *folder = make("odd-train", "odd", EYE_MK_APPLE_TRAIN, EYE_F32);
    const char *gguf = convert(folder, "exact.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL);
    struct eye_opened a, b;
    struct eye_evaluated x, y;
    eye_open_model(&a, folder);
    eye_open_model(&b, gguf);
    float *pixels = eye_test_pixels(320, 3);
    eye_eval_model(&a.m, true, pixels, ids, 2, ids + 2, 2, &x);
    eye_eval_model(&b.m, true, pixels, ids, 2, ids + 2, 2, &y);
    assert_memory_equal(x.features, y.features, (size_t)x.n_features * sizeof(float));
    assert_memory_equal(x.projected, y.projected, (size_t)x.n_projected * sizeof(float));
    assert_memory_equal(x.logits, y.logits, (size_t)x.n_logits * sizeof(float));
    eye_evaluated_free(&x);
    eye_evaluated_free(&y);
    free(pixels);
    eye_close_model(&a);
    eye_close_model(&b);
    const char *again = convert(gguf, "again.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL);
    struct eye_map p, q;
    ok(eye_map_open(&p, gguf, true, 0, &err));
    ok(eye_map_open(&q, again, true, 0, &err));
    assert_int_equal(p.size, q.size);
    assert_memory_equal(p.p, q.p, p.size);
    eye_map_close(&p);
    eye_map_close(&q);
}

/* ---- what the file says ---- */

static int64_t kv_int(const struct eye_gguf *g, const char *key) {
    int64_t v;
    ok(eye_gguf_int(g, key, -1, &v, &err));
    return v;
}

static void llama_keys(void **state) {
    struct eye_gguf g;
    struct eye_str s;
    struct eye_convert_opts o = {.part = EYE_CONVERT_DECODER, .decoder_type = EYE_WEIGHT_Q4_0};
    const char *out = eye_scratch_path("decoder.gguf");
    ok(eye_convert(make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32), out, &o, NULL, &err));
    ok(eye_gguf_open(&g, out, true, NULL, &err));
    ok(eye_gguf_str(&g, "general.architecture", &s, &err));
    assert_true(s.len == 5 && memcmp(s.p, "qwen2", 5) == 0);
    assert_int_equal(kv_int(&g, "general.file_type"), 2);
    assert_int_equal(kv_int(&g, "qwen2.block_count"), 2);
    assert_int_equal(kv_int(&g, "qwen2.embedding_length"), 64);
    assert_int_equal(kv_int(&g, "qwen2.feed_forward_length"), 160);
    assert_int_equal(kv_int(&g, "qwen2.attention.head_count"), 4);
    assert_int_equal(kv_int(&g, "qwen2.attention.head_count_kv"), 2);
    assert_int_equal(kv_int(&g, "qwen2.context_length"), 32768);
    assert_int_equal(kv_int(&g, "tokenizer.ggml.eos_token_id"), 602);
    const struct eye_gguf_kv *tokens = eye_gguf_find(&g, "tokenizer.ggml.tokens"),
                             *kinds = eye_gguf_find(&g, "tokenizer.ggml.token_type"),
                             *merges = eye_gguf_find(&g, "tokenizer.ggml.merges");
    assert_true(tokens && tokens->n == 640 && kinds && kinds->n == 640 && merges && merges->n == 600 - 256);
    assert_true(tokens->string[602].len == 10 && memcmp(tokens->string[602].p, "<|im_end|>", 10) == 0);
    assert_true(tokens->string[639].len == 8 && memcmp(tokens->string[639].p, "[PAD639]", 8) == 0);
    assert_int_equal(eye_gguf_item_int(kinds, 0), 1);
    assert_int_equal(eye_gguf_item_int(kinds, 602), 3);
    assert_int_equal(eye_gguf_item_int(kinds, 639), 5);
    assert_non_null(memchr(merges->string[0].p, ' ', merges->string[0].len));
    /* exactly the tensors llama.cpp asks for: 12 per layer, embedding, final norm; the tied output matrix once */
    assert_int_equal(g.table.n, 2 * 12 + 2);
    assert_null(eye_table_find(&g.table, "mm.0.weight"));
    assert_int_equal(eye_table_find(&g.table, "token_embd.weight")->t.dtype, EYE_Q8_0);
    assert_int_equal(eye_table_find(&g.table, "blk.1.ffn_down.weight")->t.dtype, EYE_Q4_0);
    assert_int_equal(eye_table_find(&g.table, "blk.1.attn_q.bias")->t.dtype, EYE_F32);
    for (size_t i = 0; i < g.table.n; i++) assert_true(strncmp(g.table.entry[i].name, "v.", 2) != 0);
    eye_gguf_close(&g);
    /* and by those keys it is a text model */
    struct eye_checkpoint ckpt;
    struct eye_vlm m;
    ok(eye_checkpoint_open(&ckpt, out, NULL, NULL, &err));
    ok(eye_vlm_open(&m, &ckpt, NULL, &err));
    assert_true(!eye_vlm_sees(&m) && m.tied && m.config.text.qkv_bias && m.config.text.n_layers == 2);
    eye_vlm_clear(&m);
    eye_checkpoint_close(&ckpt);
}

static void side_files_are_carried(void **state) {
    static const char *const name[] = {"config.json", "generation_config.json", "preprocessor_config.json", "tokenizer.json",
                                       "tokenizer_config.json"};
    const char *folder = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32);
    const char *gguf = convert(folder, "side.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL);
    struct eye_checkpoint a, b;
    ok(eye_checkpoint_open(&a, folder, NULL, NULL, &err));
    ok(eye_checkpoint_open(&b, gguf, NULL, NULL, &err));
    for (size_t i = 0; i < EYE_COUNT(name); i++) {
        const char *p, *q;
        size_t n, k;
        assert_true(eye_checkpoint_text(&a, name[i], &p, &n));
        assert_true(eye_checkpoint_text(&b, name[i], &q, &k));
        assert_int_equal(n, k);
        assert_memory_equal(p, q, n);
    }
    eye_checkpoint_close(&a);
    eye_checkpoint_close(&b);
}

/* Whole, the file itself is carried; a decoder alone says the same in llama.cpp's arrays, and is read from those. */
static void pieces_travel(void **state) {
    struct eye_map sp;
    struct eye_tokenizer *a, *b;
    struct eye_ids x = {0}, y = {0};
    static const char text[] = "a dog \xe4\xb8\xad runs  on";
    const struct eye_encode_opts bos = {.add_before = true};
    const char *folder = make("sp", "tiny", EYE_MK_HF, EYE_F32), *p, *out = eye_scratch_path("sp-alone.gguf");
    struct eye_convert_opts o = {.part = EYE_CONVERT_DECODER};
    char path[600];
    size_t n;
    struct eye_checkpoint c;
    ok(eye_map_open(&sp, TEST_DATA "/golden/text/sp.model", false, 0, &err));
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    assert_int_equal(unlink(path), 0);
    eye_scratch_write("sp/tokenizer.model", sp.p, sp.size);
    ok(eye_checkpoint_open(&c, convert(folder, "sp.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL), NULL, NULL, &err));
    assert_true(eye_checkpoint_text(&c, "tokenizer.model", &p, &n));
    assert_int_equal(n, sp.size);
    assert_memory_equal(p, sp.p, n);
    eye_checkpoint_close(&c);
    ok(eye_convert(folder, out, &o, NULL, &err));
    ok(eye_checkpoint_open(&c, out, NULL, NULL, &err));
    assert_true(eye_checkpoint_text(&c, "tokenizer.model", &p, &n));
    ok(eye_tokenizer_open(&a, &(struct eye_tokenizer_src){.tokenizer_model = {sp.p, sp.size}}, NULL, &err));
    ok(eye_tokenizer_open(&b, &(struct eye_tokenizer_src){.tokenizer_model = {p, n}}, NULL, &err));
    ok(eye_tokenizer_encode(a, text, sizeof text - 1, &bos, &x, &err));
    ok(eye_tokenizer_encode(b, text, sizeof text - 1, &bos, &y, &err));
    assert_int_equal(x.n, y.n);
    assert_memory_equal(x.p, y.p, x.n * sizeof *x.p);
    eye_ids_clear(&x);
    eye_ids_clear(&y);
    eye_tokenizer_close(a);
    eye_tokenizer_close(b);
    eye_checkpoint_close(&c);
    eye_map_close(&sp);
}

/* A tokenizer that llama.cpp has no kind for: a whole file leaves its arrays out, a decoder alone is refused with why. */
static void tokenizers_llama_cpp_lacks(void **state) {
    const char *folder = make("lower", "tiny", EYE_MK_HF, EYE_F32);
    struct eye_convert_opts o = {.part = EYE_CONVERT_DECODER};
    struct eye_gguf g;
    char path[600];
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    json_t *j = json_load_file(path, 0, NULL);
    json_object_set_new(j, "normalizer", json_pack("{s:s}", "type", "Lowercase"));
    assert_int_equal(json_dump_file(j, path, 0), 0);
    json_decref(j);
    ok(eye_gguf_open(&g, convert(folder, "lower.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL), true, NULL, &err));
    assert_null(eye_gguf_find(&g, "tokenizer.ggml.model"));
    assert_non_null(eye_gguf_find(&g, "eyelet.file.tokenizer.json"));
    eye_gguf_close(&g);
    assert_int_equal(eye_convert(folder, eye_scratch_path("lower-alone.gguf"), &o, NULL, &err), EYE_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "makes the same ids: its normalizer"));
}

static void on_progress(void *ctx, double done) {
    double *last = ctx;
    assert_true(done >= *last && done <= 1);
    *last = done;
}

static void report_and_progress(void **state) {
    double last = 0;
    struct eye_convert_report r;
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q8_0, .progress = on_progress, .progress_ctx = &last};
    ok(eye_convert(make("odd-f16", "odd", EYE_MK_HF, EYE_F16), eye_scratch_path("r.gguf"), &o, &r, &err));
    /* rows of 80 and 203 are no multiple of 32: all 7 matrices of 3 layers, embedding, head */
    assert_int_equal(r.n_fallback, 3 * 7 + 2);
    assert_string_equal(r.first_fallback, "token_embd.weight");
    assert_true(r.bytes_in > 0 && r.bytes_out > 0 && r.n_tensors > 100 && last > 0.9);
    last = 0;
    ok(eye_convert(make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32), eye_scratch_path("r.gguf"), &o, &r, &err));
    assert_int_equal(r.n_fallback, 0);
    assert_string_equal(r.first_fallback, "");
}

/* ---- what must fail ---- */

static bool cancel_after(void *ctx) { return --*(int *)ctx < 0; }

static void cancelled(void **state) {
    const char *folder = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32), *out = eye_scratch_path("cancelled.gguf");
    int left = 0;
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q8_0, .cancel = cancel_after, .cancel_ctx = &left};
    enum eye_status st = EYE_E_CANCELLED;
    int n_cancelled = 0;
    char tmp[600];
    snprintf(tmp, sizeof tmp, "%s.tmp-%ld", out, (long)getpid());
    for (int n = 0; st == EYE_E_CANCELLED; n += 11) {
        assert_true(access(out, F_OK) != 0 && access(tmp, F_OK) != 0);
        left = n;
        st = eye_convert(folder, out, &o, NULL, &err);
        n_cancelled += st == EYE_E_CANCELLED;
    }
    ok(st);
    assert_true(n_cancelled > 1 && access(out, F_OK) == 0);
}

static enum eye_status try_convert(const char *path, const char *out, const struct eye_convert_opts *o) {
    return eye_convert(path, out, o, NULL, &err);
}

static void refusals(void **state) {
    const char *folder = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32);
    struct eye_convert_opts o = {.decoder_type = EYE_WEIGHT_Q8_0};
    char shard[600];
    snprintf(shard, sizeof shard, "%s/model-00001-of-00002.safetensors", folder);
    assert_int_equal(try_convert(folder, shard, &o), EYE_E_ARG); /* would destroy its input */
    assert_non_null(strstr(err.text, "part of the input"));
    snprintf(shard, sizeof shard, "%s/config.json", folder);
    assert_int_equal(try_convert(folder, shard, &o), EYE_E_ARG);
    const char *gguf = convert(folder, "own.gguf", EYE_WEIGHT_STORED, EYE_WEIGHT_STORED, NULL),
               *other = eye_scratch_path("link.gguf");
    assert_int_equal(try_convert(gguf, gguf, &o), EYE_E_ARG);
    assert_int_equal(symlink(gguf, other), 0);
    assert_int_equal(try_convert(gguf, other, &o), EYE_E_ARG);
    assert_int_equal(try_convert(folder, eye_scratch_path("no/such/folder/x.gguf"), &o), EYE_E_IO);
    assert_int_equal(try_convert(eye_scratch_path("nothing"), eye_scratch_path("y.gguf"), &o), EYE_E_IO);
    o.decoder_type = (enum eye_weight_type)17;
    assert_int_equal(try_convert(folder, eye_scratch_path("y.gguf"), &o), EYE_E_ARG);
    assert_false(eye_path_exists(eye_scratch_path("y.gguf")));
}

/* A full disk: a clean error, no file, and what was there before stays. */
static void disk_full(void **state) {
    struct rlimit old, small = {200000, 0};
    const char *folder = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32);
    const char *out = eye_scratch_write("full.gguf", "before", 6);
    char kept[512];
    snprintf(kept, sizeof kept, "%s", out);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum eye_status st = try_convert(folder, kept, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(st, EYE_E_IO);
    assert_non_null(strstr(err.text, "full.gguf"));
    struct eye_map m;
    ok(eye_map_open(&m, kept, false, 0, &err));
    assert_true(m.size == 6 && memcmp(m.p, "before", 6) == 0);
    eye_map_close(&m);
}

static void convert_without_memory(void **state) {
    struct eye_faulty f;
    const char *folder = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32), *out = eye_scratch_path("faulty.gguf");
    bool done = false;
    for (long n = 0; !done; n += 1 + n / 16) { /* every one at first, then samples: tokenizers have thousands */
        eye_faulty_init(&f, n);
        struct eye_convert_opts o = {.alloc = &f.alloc};
        enum eye_status st = try_convert(folder, out, &o);
        done = st == EYE_OK && !f.failed;
        if (st != EYE_OK) assert_int_equal(st, EYE_E_NOMEM);
        assert_int_equal(f.n_live, 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folder_and_file_are_one_model),
        cmocka_unit_test(nothing_is_lost_by_default),
        cmocka_unit_test(llama_keys),
        cmocka_unit_test(side_files_are_carried),
        cmocka_unit_test(pieces_travel),
        cmocka_unit_test(tokenizers_llama_cpp_lacks),
        cmocka_unit_test(report_and_progress),
        cmocka_unit_test(cancelled),
        cmocka_unit_test(refusals),
        cmocka_unit_test(disk_full),
        cmocka_unit_test(convert_without_memory),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    eye_scratch_remove();
    return failed;
}
