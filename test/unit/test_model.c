/* Unit tests of the model room: configurations that must fail, names of all formats, missing and left-over tensors, the fold
 * formulas in double, and all parts of a model against PyTorch's float64 results (test/reference/make_model_golden.py).
 *
 * EYELET_NAMES: folder with the full-size name lists (default ../shared/spec/names); EYELET_REF: folder of reference
 * checkpoints with golden/ inside. Both optional.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/npy.h"
#include "model/registry.h"
#include "support/eval_model.h"
#include "support/make_checkpoint.h"
#include "support/support.h"

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
    struct eye_mk_opts o = {.size = z, .format = format, .dtype = dtype, .seed = z->seed, .out = p};
    ok(eye_make_checkpoint(&o, &err));
    return p;
}

/* ---- names ---- */

static void check_list(const char *path, enum eye_name_format format, size_t n_wanted) {
    struct eye_map map;
    size_t n = 0, n_ignored = 0;
    ok(eye_map_open(&map, path, true, 0, &err));
    struct eye_strmap seen;
    struct eye_arena names;
    eye_arena_init(&names, NULL);
    eye_strmap_init(&seen, NULL);
    for (const char *p = (const char *)map.p, *end = p + map.size, *eol; p < end && (eol = memchr(p, '\n', (size_t)(end - p)));
         p = eol + 1) {
        char name[EYE_NAME_MAX], canonical[EYE_NAME_MAX], back[EYE_NAME_MAX];
        bool was_there;
        int len = (int)strcspn(p, "\t\n");
        snprintf(name, sizeof name, "%.*s", len, p);
        enum eye_name_kind kind = eye_name_to_canonical(name, canonical, sizeof canonical);
        if (kind == EYE_NAME_UNKNOWN) fail_msg("unknown: %s", name);
        n++;
        n_ignored += kind == EYE_NAME_IGNORED;
        if (kind == EYE_NAME_IGNORED) continue;
        assert_true(eye_name_from_canonical(canonical, format, back, sizeof back));
        assert_string_equal(back, name);
        ok(eye_strmap_put(&seen, eye_arena_strdup(&names, canonical, strlen(canonical)), strlen(canonical), 0, &was_there,
                          &err));
        assert_false(was_there); /* no two tensors of a file are one */
    }
    assert_int_equal(n, n_wanted);
    assert_true(n_ignored < n / 4);
    eye_strmap_clear(&seen);
    eye_arena_clear(&names);
    eye_map_close(&map);
}

static void full_lists_round_trip(void **state) {
    static const struct { const char *file; enum eye_name_format format; size_t n; } list[] = {
        {"names_fastvlm05b_hf.txt", EYE_NAMES_HF, 922},
        {"names_fastvlm05b_apple.txt", EYE_NAMES_APPLE, 924},
        {"names_fastvlm05b_apple_train.txt", EYE_NAMES_APPLE, 1825},
    };
    const char *dir = getenv("EYELET_NAMES") ? getenv("EYELET_NAMES") : TEST_DATA "/../../shared/spec/names";
    if (!eye_path_is_dir(dir)) {
        print_message("skipped: no name lists at %s\n", dir);
        skip();
    }
    for (size_t i = 0; i < EYE_COUNT(list); i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/%s", dir, list[i].file);
        check_list(path, list[i].format, list[i].n);
    }
}

static void single_names(void **state) {
    static const struct { const char *outside, *canonical; enum eye_name_kind kind;
    } t[] = {
        {"model.layers.7.self_attn.q_proj.bias", "blk.7.attn_q.bias", EYE_NAME_KNOWN},
        {"model.language_model.layers.23.mlp.down_proj.weight", "blk.23.ffn_down.weight", EYE_NAME_KNOWN},
        {"model.mm_projector.2.bias", "mm.2.bias", EYE_NAME_KNOWN},
        {"model.mm_projector.weight", "mm.0.weight", EYE_NAME_KNOWN},
        {"model.vision_tower.vision_tower.model.network.10.1.convffn.conv.bn.running_var",
         "v.stage.4.block.1.mlp.bn.running_var", EYE_NAME_KNOWN},
        {"model.vision_tower.vision_tower.model.network.0.0.token_mixer.mixer.rbr_conv.0.bn.weight",
         "v.stage.0.block.0.mixer.mix.branch.0.bn.weight", EYE_NAME_KNOWN},
        {"model.vision_tower.timm_model.stages.3.pos_emb.pos_enc.weight", "v.stage.3.cpe.pos.weight", EYE_NAME_KNOWN},
        {"model.vision_tower.vision_tower.model.head.proj", "", EYE_NAME_IGNORED},
        {"anything.num_batches_tracked", "", EYE_NAME_IGNORED},
        {"transformer.h.3.attn.c_attn.weight", "blk.3.attn_qkv.weight", EYE_NAME_KNOWN},
        {"h.11.mlp.c_proj.bias", "blk.11.ffn_down.bias", EYE_NAME_KNOWN},
        {"transformer.wpe.weight", "position_embd.weight", EYE_NAME_KNOWN},
        {"lm_head.bias", "output.bias", EYE_NAME_KNOWN},
        {"transformer.h.0.attn.bias", "", EYE_NAME_IGNORED}, /* a mask */
        {"h.0.attn.masked_bias", "", EYE_NAME_IGNORED},
        {"h.0.attn.c_attn.", "", EYE_NAME_UNKNOWN},
        {"model.rotary_emb.inv_freq", "", EYE_NAME_IGNORED},
        {"model.layers.07.self_attn.q_proj.bias", "", EYE_NAME_UNKNOWN}, /* would be layer 7 twice */
        {"model.layers..self_attn.q_proj.bias", "", EYE_NAME_UNKNOWN},
        {"model.layers.4294967296.self_attn.q_proj.bias", "", EYE_NAME_UNKNOWN},
        {"model.layers.1.self_attn.q_proj.", "", EYE_NAME_UNKNOWN},
        {"model.vision_tower.vision_tower.model.network.11.0.layer_scale", "", EYE_NAME_UNKNOWN},
        {"", "", EYE_NAME_UNKNOWN},
    };
    char out[EYE_NAME_MAX], longest[400];
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        assert_int_equal(eye_name_to_canonical(t[i].outside, out, sizeof out), t[i].kind);
        assert_string_equal(out, t[i].canonical);
    }
    memset(longest, 'a', sizeof longest - 1);
    memcpy(longest, "model.layers.1.self_attn.q_proj.", 32);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(eye_name_to_canonical(longest, out, sizeof out), EYE_NAME_UNKNOWN);
    assert_true(eye_name_folded("v.stage.0.block.0.mixer.mix.branch.0.conv.bias", out, sizeof out));
    assert_string_equal(out, "v.stage.0.block.0.mixer.conv.bias");
    assert_true(eye_name_folded("v.stage.3.cpe.pos.weight", out, sizeof out));
    assert_string_equal(out, "v.stage.3.cpe.conv.weight");
    assert_true(eye_name_folded("blk.0.attn_q.weight", out, sizeof out));
    assert_string_equal(out, "blk.0.attn_q.weight");
}

/* ---- configurations ---- */

/* The folder's file with the first `find` replaced; false = not found. */
static bool edit_file(const char *dir, const char *file, const char *find, const char *replace) {
    char path[1024];
    struct eye_map map;
    struct eye_buf b;
    snprintf(path, sizeof path, "%s/%s", dir, file);
    ok(eye_map_open(&map, path, false, 0, &err));
    const char *p = (const char *)map.p, *at = memmem(p, map.size, find, strlen(find));
    if (at) {
        eye_buf_init(&b, NULL);
        eye_buf_add(&b, p, (size_t)(at - p));
        eye_buf_adds(&b, replace);
        eye_buf_add(&b, at + strlen(find), map.size - (size_t)(at - p) - strlen(find));
        ok(eye_mk_write_file(dir, file, b.p, b.len, &err));
        eye_buf_clear(&b);
    }
    eye_map_close(&map);
    return at != NULL;
}

static enum eye_status read_config(const char *dir, struct eye_vlm_config *c) {
    struct eye_checkpoint ckpt;
    ok(eye_checkpoint_open(&ckpt, dir, NULL, NULL, &err));
    enum eye_status st = eye_vlm_config_read(c, &ckpt, &err);
    eye_checkpoint_close(&ckpt);
    return st;
}

static void configs_are_read(void **state) {
    struct eye_vlm_config c;
    ok(read_config(make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32), &c));
    assert_string_equal(c.model_type, "fast_vlm");
    assert_int_equal(c.prep.mode, EYE_PREP_CROP);
    assert_int_equal(c.prep.side_px, 256);
    assert_int_equal(c.image_token, 603);
    assert_int_equal(c.text.head_dim, 16);
    assert_int_equal(c.text.n_kv_heads, 2);
    assert_int_equal(c.text.tie, EYE_TRUE);
    assert_true(c.text.rope_theta == 1e6 && c.text.rms_eps == 1e-6f && c.text.qkv_bias);
    assert_int_equal(c.n_eos, 2); /* 602 of both files, 600 of generation_config.json */
    assert_true(c.eos[0] == 602 && c.eos[1] == 600 && c.bos == 600 && c.pad == 600);
    assert_int_equal(c.vision.n_stages, 5);
    assert_int_equal(c.vision.width[4], 128);
    ok(read_config(make("tiny-apple", "tiny", EYE_MK_APPLE, EYE_F32), &c));
    assert_int_equal(c.prep.mode, EYE_PREP_PAD);
    assert_int_equal(c.image_token, EYE_IMAGE_SENTINEL);
    assert_int_equal(c.max_prompt_tok, 8192);
    assert_int_equal(c.projector.n_linear, 2);
    assert_int_equal(c.vision.channels, 256);
}

struct edit { const char *find, *replace; enum eye_status status; const char *says; };

static void must_fail(const char *name, enum eye_mk_format format, const char *file, const struct edit *e, size_t n) {
    struct eye_vlm_config c;
    for (size_t i = 0; i < n; i++) {
        char dir[64];
        snprintf(dir, sizeof dir, "%s-%zu", name, i);
        const char *path = make(dir, "tiny", format, EYE_F32);
        if (!edit_file(path, file, e[i].find, e[i].replace)) fail_msg("no %s in %s", e[i].find, file);
        enum eye_status st = read_config(path, &c);
        if (st != e[i].status) fail_msg("%s: %s (%s)", e[i].replace, eye_status_name(st), st == EYE_OK ? "" : err.text);
        if (st != EYE_OK && (!strstr(err.text, e[i].says) || !strstr(err.text, file)))
            fail_msg("%s: text is: %s", e[i].replace, err.text);
    }
}

static void hf_configs_that_fail(void **state) {
    static const struct edit e[] = {
        {"\"fast_vlm\"", "\"pixtral\"", EYE_E_UNSUPPORTED, "fast_vlm, llava_qwen2"},
        {"\"fast_vlm\"", "7", EYE_E_CORRUPT, "model_type"},
        {"\"hidden_size\":64", "\"hidden_size\":0", EYE_E_CORRUPT, "text_config.hidden_size"},
        {"\"hidden_size\":64", "\"hidden_size\":-64", EYE_E_CORRUPT, "text_config.hidden_size"},
        {"\"hidden_size\":64", "\"hidden_size\":66", EYE_E_CORRUPT, "hidden_size"},
        {"\"hidden_size\":64", "\"hidden_size\":\"64\"", EYE_E_CORRUPT, "hidden_size"},
        {"\"hidden_size\":64", "\"hidden_size\":9000000000000", EYE_E_CORRUPT, "hidden_size"},
        {"\"num_hidden_layers\":2", "\"num_hidden_layers\":1000000000", EYE_E_CORRUPT, "num_hidden_layers"},
        {"\"num_attention_heads\":4", "\"num_attention_heads\":1e300", EYE_E_CORRUPT, "num_attention_heads"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":3", EYE_E_CORRUPT, "num_key_value_heads"},
        {"\"num_key_value_heads\":2", "\"num_key_value_heads\":8", EYE_E_CORRUPT, "num_key_value_heads"},
        {"\"intermediate_size\":160", "\"intermediate_size\":2.5", EYE_E_CORRUPT, "intermediate_size"},
        {"\"vocab_size\":640", "\"vocab_size\":[640]", EYE_E_CORRUPT, "vocab_size"},
        {"\"rms_norm_eps\":1e-06", "\"rms_norm_eps\":0", EYE_E_CORRUPT, "rms_norm_eps"},
        {"\"rms_norm_eps\":1e-06", "\"rms_norm_eps\":-1e-6", EYE_E_CORRUPT, "rms_norm_eps"},
        {"\"rope_theta\":1000000.0", "\"rope_theta\":0.0", EYE_E_CORRUPT, "rope_theta"},
        {"\"rope_theta\":1000000.0", "\"rope_scaling\":{\"type\":\"linear\",\"factor\":2}", EYE_E_UNSUPPORTED,
         "rope_scaling.type"},
        {"\"rope_theta\":1000000.0", "\"rope_parameters\":{\"rope_type\":\"yarn\"}", EYE_E_UNSUPPORTED,
         "rope_parameters.rope_type"},
        {"\"rope_theta\":1000000.0", "\"rope_parameters\":{\"rope_type\":\"default\",\"rope_theta\":5e5}", EYE_OK, ""},
        {"\"use_sliding_window\":false", "\"use_sliding_window\":true", EYE_E_UNSUPPORTED, "use_sliding_window"},
        {"\"use_sliding_window\":false", "\"layer_types\":[\"sliding_attention\"]", EYE_E_UNSUPPORTED, "layer_types"},
        {"\"hidden_act\":\"silu\"", "\"hidden_act\":\"relu\"", EYE_E_UNSUPPORTED, "hidden_act"},
        {"\"qwen2\"", "\"mamba\"", EYE_E_UNSUPPORTED, "qwen2"},
        {"\"fastvit_mci3\"", "\"resnet50\"", EYE_E_UNSUPPORTED, "vision_config.architecture"},
        {"\"timm_wrapper\"", "\"clip_vision_model\"", EYE_E_UNSUPPORTED, "timm_wrapper"},
        {"\"layers\":[1,2,2,1,1]", "\"layers\":[1,2,2,1]", EYE_E_CORRUPT, "embed_dims"},
        {"\"layers\":[1,2,2,1,1]", "\"layers\":[1,2,2,1,1,1,1,1,1,1,1]", EYE_E_LIMIT, "layers"},
        {"\"projector_hidden_act\":\"gelu\"", "\"projector_hidden_act\":\"gelu_new\"", EYE_E_UNSUPPORTED,
         "projector_hidden_act"},
        {"\"vision_feature_layer\":-1", "\"vision_feature_layer\":-2", EYE_E_UNSUPPORTED, "vision_feature_layer"},
        {"\"text_config\":", "\"no_text_config\":", EYE_E_CORRUPT, "text_config"},
        {"\"eos_token_id\":602", "\"eos_token_id\":-2", EYE_E_CORRUPT, "eos_token_id"},
        {"\"image_token_index\":603", "\"image_token_index\":-7", EYE_E_CORRUPT, "image_token_index"},
        {"{\"architectures\"", "{{\"architectures\"", EYE_E_CORRUPT, "config.json"},
    };
    must_fail("hf", EYE_MK_HF, "config.json", e, EYE_COUNT(e));
}

static void apple_configs_that_fail(void **state) {
    static const struct edit e[] = {
        {"mobileclip_l_256", "mobileclip_l_", EYE_E_CORRUPT, "mm_vision_tower"},
        {"mobileclip_l_256", "mobileclip_l_-64", EYE_E_CORRUPT, "mm_vision_tower"},
        {"mobileclip_l_256", "mobileclip_l_99999999999999999999", EYE_E_CORRUPT, "mm_vision_tower"},
        {"mobileclip_l_256", "openai/clip-vit-large-patch14-336", EYE_E_UNSUPPORTED, "mobileclip_l_"},
        {"mobileclip_l_256", "some/path/mobileclip_l_320", EYE_OK, ""},
        {"\"pad\"", "\"anyres\"", EYE_E_UNSUPPORTED, "image_aspect_ratio"},
        {"\"flat\"", "\"spatial_unpad\"", EYE_E_UNSUPPORTED, "mm_patch_merge_type"},
        {"\"mm_use_im_start_end\":false", "\"mm_use_im_start_end\":true", EYE_E_UNSUPPORTED, "mm_use_im_start_end"},
        {"\"mlp2x_gelu\"", "\"mlp2x_relu\"", EYE_E_UNSUPPORTED, "mm_projector_type"},
        {"\"mlp2x_gelu\"", "\"mlp99x_gelu\"", EYE_E_UNSUPPORTED, "mm_projector_type"},
        {"\"mlp2x_gelu\"", "\"mlp2x_gelux\"", EYE_E_UNSUPPORTED, "mm_projector_type"},
        {"\"mm_hidden_size\":256", "\"mm_hidden_size\":0", EYE_E_CORRUPT, "mm_hidden_size"},
        {"\"tokenizer_model_max_length\":8192", "\"tokenizer_model_max_length\":0", EYE_E_CORRUPT,
         "tokenizer_model_max_length"},
    };
    must_fail("ap", EYE_MK_APPLE, "config.json", e, EYE_COUNT(e));
}

static void side_configs_that_fail(void **state) {
    static const struct edit prep[] = {
        {"\"do_resize\":true", "\"do_resize\":false", EYE_E_UNSUPPORTED, "do_resize"},
        {"\"resample\":3", "\"resample\":0", EYE_E_UNSUPPORTED, "resample"},
        {"0.00392156862745098", "0.5", EYE_E_UNSUPPORTED, "rescale_factor"},
        {"\"shortest_edge\":256", "\"shortest_edge\":0", EYE_E_CORRUPT, "size.shortest_edge"},
        {"\"shortest_edge\":256", "\"shortest_edge\":288", EYE_E_UNSUPPORTED, "crop_size"},
        {"\"width\":256", "\"width\":128", EYE_E_UNSUPPORTED, "crop_size"},
        {"\"image_std\":[1.0,1.0,1.0]", "\"image_std\":[1.0,0.0,1.0]", EYE_E_CORRUPT, "image_std"},
        {"\"image_mean\":[0.0,0.0,0.0]", "\"image_mean\":[0.0,0.0]", EYE_E_CORRUPT, "image_mean"},
        {"\"do_normalize\":true", "\"do_normalize\":false", EYE_OK, ""},
    };
    static const struct edit generation[] = {
        {"[602,600]", "[602,\"a\"]", EYE_E_CORRUPT, "eos_token_id"},
        {"[602,600]", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]", EYE_E_LIMIT, "eos_token_id"},
        {"[602,600]", "600", EYE_OK, ""},
    };
    must_fail("prep", EYE_MK_HF, "preprocessor_config.json", prep, EYE_COUNT(prep));
    must_fail("gen", EYE_MK_HF, "generation_config.json", generation, EYE_COUNT(generation));
}

/* ---- tensors that do not fit the configuration ---- */

static enum eye_status open_vlm(const char *path, const struct eye_alloc *alloc, struct eye_err *e) {
    struct eye_checkpoint ckpt;
    struct eye_vlm m;
    EYE_TRY(eye_checkpoint_open(&ckpt, path, NULL, alloc, e));
    enum eye_status st = eye_vlm_open(&m, &ckpt, alloc, e);
    if (st == EYE_OK) eye_vlm_clear(&m);
    eye_checkpoint_close(&ckpt);
    return st;
}

static void wrong_tensors_are_named(void **state) {
    static const struct {
        enum eye_mk_format format;
        const char *file, *find, *replace, *says[3];
    } t[] = {
        {EYE_MK_HF,
         "config.json",
         "\"num_hidden_layers\":2",
         "\"num_hidden_layers\":3",
         {"12 tensors missing", "model.language_model.layers.2.input_layernorm.weight", "incomplete download"}},
        {EYE_MK_HF,
         "config.json",
         "\"num_hidden_layers\":2",
         "\"num_hidden_layers\":1",
         {"12 tensors without a place", "model.language_model.layers.1.input_layernorm.weight", "another model"}},
        {EYE_MK_APPLE,
         "model.safetensors",
         "network.2.1.layer_scale\"",
         "network.2.1.layer_scal_\"",
         {"1 tensor missing", "model.vision_tower.vision_tower.model.network.2.1.layer_scale", ""}},
        {EYE_MK_APPLE_TRAIN,
         "model.safetensors",
         "network.2.1.token_mixer.norm.rbr_skip.bias\"",
         "network.2.1.token_mixer.norm.rbr_skip.biaz\"",
         {"1 tensor missing", "network.2.1.token_mixer.norm.rbr_skip.bias", ""}},
        {EYE_MK_APPLE,
         "model.safetensors",
         "model.norm.weight\"",
         "model.nrom.weight\"",
         {"1 tensor missing", "model.norm.weight", ""}},
        {EYE_MK_HF,
         "config.json",
         "\"intermediate_size\":160",
         "\"intermediate_size\":161",
         {"gate_proj", "[161, 64]", "[160, 64]"}},
        {EYE_MK_HF, "config.json", "\"vocab_size\":640", "\"vocab_size\":641", {"embed_tokens", "[641, 64]", "[640, 64]"}},
        {EYE_MK_HF, "config.json", "\"layers\":[1,2,2,1,1]", "\"layers\":[1,2,3,1,1]", {"layers[2]", "is 3", "have 2"}},
        {EYE_MK_HF, "config.json", "\"embed_dims\":[8,", "\"embed_dims\":[9,", {"embed_dims[0]", "is 9", "have 8"}},
        {EYE_MK_APPLE, "config.json", "\"mm_hidden_size\":256", "\"mm_hidden_size\":255", {"255", "256", ""}},
        {EYE_MK_APPLE, "config.json", "mobileclip_l_256", "mobileclip_l_250", {"image side 250", "multiple of 64", ""}},
        {EYE_MK_HF,
         "config.json",
         "\"tie_word_embeddings\":true",
         "\"tie_word_embeddings\":false",
         {"1 tensor missing", "lm_head.weight", ""}},
        /* a block number nobody has that many tensors for */
        {EYE_MK_APPLE,
         "model.safetensors",
         "\"model.vision_tower.vision_tower.model.network.2.1.layer_scale\"",
         "\"model.vision_tower.vision_tower.model.network.2.99999999.layer_scale\"",
         {"missing", "network.2.1.layer_scale", ""}},
        {EYE_MK_APPLE,
         "model.safetensors",
         "\"model.norm.weight\":{\"dtype\":\"F32\"",
         "\"model.norm.weight\":{\"dtype\":\"I32\"",
         {"model.norm.weight", "data type", "i32"}},
    };
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        char name[32];
        snprintf(name, sizeof name, "wrong-%zu", i);
        const char *path = make(name, "tiny", t[i].format, EYE_F32);
        /* a longer name makes a longer header: the padding blanks behind the JSON give way, so that data stays in place */
        size_t grow = strlen(t[i].replace) - strlen(t[i].find);
        bool weights = strcmp(t[i].file, "model.safetensors") == 0;
        if (!edit_file(path, t[i].file, t[i].find, t[i].replace)) fail_msg("nothing to edit: %s", t[i].find);
        if (weights && grow) {
            char file[600];
            snprintf(file, sizeof file, "%s/model.safetensors", path);
            FILE *f = fopen(file, "r+b");
            uint64_t n;
            assert_true(f && fread(&n, 8, 1, f) == 1);
            n += grow;
            rewind(f);
            assert_true(fwrite(&n, 8, 1, f) == 1 && fclose(f) == 0);
        }
        enum eye_status st = open_vlm(path, NULL, &err);
        if (st == EYE_OK) fail_msg("%s: opened", t[i].replace);
        for (int k = 0; k < 3; k++)
            if (!strstr(err.text, t[i].says[k])) fail_msg("%s: no \"%s\" in: %s", t[i].replace, t[i].says[k], err.text);
        assert_non_null(strstr(err.text, "wrong-")); /* where */
    }
}

static void tied_matrix_that_differs_warns(void **state) {
    struct eye_opened o;
    eye_open_model(&o, make("tiny-apple", "tiny", EYE_MK_APPLE, EYE_F32));
    assert_true(o.m.tied && o.m.warning[0] == '\0'); /* the copy in Apple's files is the embedding */
    eye_close_model(&o);
    const char *odd = make("odd-tied", "odd", EYE_MK_APPLE, EYE_F32);
    assert_true(edit_file(odd, "config.json", "\"tie_word_embeddings\":false", "\"tie_word_embeddings\":true"));
    eye_open_model(&o, odd);
    assert_true(o.m.tied);
    assert_non_null(strstr(o.m.warning, "lm_head.weight differs"));
    eye_close_model(&o);
    assert_true(edit_file(odd, "config.json", "\"tie_word_embeddings\":true", "\"tie_word_embeddings\":null"));
    eye_open_model(&o, odd); /* unsaid: a stored matrix is used */
    assert_false(o.m.tied);
    eye_close_model(&o);
}

/* Every allocation fails once: NOMEM (or success), never a crash or a leak. */
static void open_without_memory(void **state) {
    struct eye_faulty f;
    const char *path = make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32);
    bool done = false;
    for (long n = 0; !done; n++) {
        eye_faulty_init(&f, n);
        enum eye_status st = open_vlm(path, &f.alloc, &err);
        done = st == EYE_OK && !f.failed;
        if (st != EYE_OK) assert_int_equal(st, EYE_E_NOMEM);
        assert_int_equal(f.n_live, 0);
    }
}

/* The beginning of a file with a few bytes changed: any status, no crash (run under ASan), a text with each error. */
static void survive(const char *path, const char *file, size_t span, uint64_t seed, int n_rounds) {
    char full[600];
    uint8_t was[4096];
    struct eye_rng r;
    snprintf(full, sizeof full, "%s/%s", path, file);
    FILE *f = fopen(full, "r+b");
    assert_non_null(f);
    size_t n = fread(was, 1, EYE_MIN(span, sizeof was), f);
    eye_rng_seed(&r, seed);
    for (int round = 0; round < n_rounds; round++) {
        uint8_t now[sizeof was];
        memcpy(now, was, n);
        for (int k = 0; k <= round % 4; k++) {
            size_t at = eye_rng_u64(&r) % n;
            static const char likely[] = "0123456789-[]{},.\"";
            now[at] = round % 3 ? (uint8_t)likely[eye_rng_u64(&r) % (sizeof likely - 1)]
                                : (uint8_t)(now[at] ^ 1u << eye_rng_u64(&r) % 8);
        }
        rewind(f);
        assert_true(fwrite(now, 1, n, f) == n && fflush(f) == 0);
        err.text[0] = '\0';
        if (open_vlm(path, NULL, &err) != EYE_OK) assert_true(err.text[0] != '\0');
    }
    rewind(f);
    assert_true(fwrite(was, 1, n, f) == n && fclose(f) == 0);
    ok(open_vlm(path, NULL, &err));
}

static void hostile_bytes(void **state) {
    const char *path = make("hostile", "tiny", EYE_MK_HF, EYE_F32),
               *apple = make("hostile-apple", "tiny", EYE_MK_APPLE_TRAIN, EYE_BF16);
    survive(path, "config.json", 4096, 1, 600);
    survive(path, "preprocessor_config.json", 4096, 2, 200);
    survive(path, "model.safetensors", 4096, 3, 300);
    survive(apple, "config.json", 4096, 4, 600);
    survive(apple, "model.safetensors", 4096, 5, 300);
}

/* ---- against PyTorch ---- */

static double max_diff(const float *a, const float *b, size_t n) {
    double worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void compare_golden(const char *name, const char *key, const float *got, int64_t n, double noise) {
    char path[512];
    struct eye_npy want;
    snprintf(path, sizeof path, TEST_DATA "/golden/model/%s-%s.npy", name, key);
    ok(eye_npy_open(&want, path, &err));
    assert_int_equal(eye_tensor_elems(&want.t), n);
    double d = max_diff(got, want.t.data, (size_t)n);
    /* Both round each result to f32 and start from the same f32 weights; a folded graph rounds its weights once more. What
     * PyTorch's own f32 run is off from f64 is the size of such noise; four times its maximum is no chance event. */
    if (!(d <= 4 * noise)) fail_msg("%s %s: off by %.3g, noise is %.3g", name, key, d, noise);
    eye_npy_close(&want);
}

static void parts_match_pytorch(void **state) {
    static const struct { const char *name, *size; enum eye_mk_format format; } t[] = {
        {"tiny-hf", "tiny", EYE_MK_HF}, {"tiny-train", "tiny", EYE_MK_APPLE_TRAIN}, {"odd-hf", "odd", EYE_MK_HF},
        {"odd-train", "odd", EYE_MK_APPLE_TRAIN},
    };
    static const int32_t before[] = {5, 300, 77}, after[] = {401, 12, 599, 33};
    for (size_t i = 0; i < EYE_COUNT(t); i++) {
        struct eye_opened o;
        struct eye_npy noise;
        char path[512];
        snprintf(path, sizeof path, TEST_DATA "/golden/model/%s-noise.npy", t[i].name);
        ok(eye_npy_open(&noise, path, &err));
        const float *bound = noise.t.data;
        eye_open_model(&o, make(t[i].name, t[i].size, t[i].format, EYE_F32));
        float *pixels = eye_test_pixels(o.m.config.prep.side_px, 1);
        for (int fold = 0; fold < 2; fold++) {
            struct eye_evaluated e;
            eye_eval_model(&o.m, fold, pixels, before, 3, after, 4, &e);
            compare_golden(t[i].name, "features", e.features, e.n_features, (double)bound[0]);
            compare_golden(t[i].name, "projected", e.projected, e.n_projected, (double)bound[1]);
            compare_golden(t[i].name, "logits", e.logits, e.n_logits, (double)bound[2]);
            eye_evaluated_free(&e);
        }
        free(pixels);
        eye_npy_close(&noise);
        eye_close_model(&o);
    }
}

/* The same weights under Apple's and transformers' names: the same graph, so the same bits. */
static void formats_agree(void **state) {
    struct eye_opened a, b;
    int64_t n, n2;
    eye_open_model(&a, make("odd-hf", "odd", EYE_MK_HF, EYE_F32));
    eye_open_model(&b, make("odd-apple", "odd", EYE_MK_APPLE, EYE_F32));
    float *pixels = eye_test_pixels(320, 1);
    float *fa = eye_eval_part(&a.m, EYE_PART_VISION, true, pixels, 0, &n),
          *fb = eye_eval_part(&b.m, EYE_PART_VISION, true, pixels, 0, &n2);
    assert_int_equal(n, n2);
    assert_memory_equal(fa, fb, (size_t)n * sizeof(float));
    free(fa);
    free(fb);
    free(pixels);
    eye_close_model(&a);
    eye_close_model(&b);
}

static void other_sides(void **state) {
    struct eye_opened o;
    struct eye_graph g;
    eye_open_model(&o, make("tiny-hf", "tiny", EYE_MK_HF, EYE_F32));
    assert_int_equal(eye_vlm_image_tokens(&o.m, 256), 16);
    assert_int_equal(eye_vlm_image_tokens(&o.m, 1024), 256);
    assert_int_equal(eye_vlm_image_tokens(&o.m, 250), 0);
    assert_int_equal(eye_vlm_image_tokens(&o.m, 0), 0);
    assert_int_equal(eye_vlm_image_tokens(&o.m, INT64_MAX), 0);
    for (int64_t side = 64; side <= 512; side += 64) {
        ok(eye_vlm_graph(&o.m, EYE_PART_VISION, side, &g, &err));
        assert_int_equal(eye_dim(&g, g.output[0], 0), eye_vlm_image_tokens(&o.m, side));
        eye_graph_clear(&g);
    }
    assert_int_equal(eye_vlm_graph(&o.m, EYE_PART_VISION, 96, &g, &err), EYE_E_ARG);
    assert_int_equal(eye_vlm_graph(&o.m, EYE_PART_VISION, -64, &g, &err), EYE_E_ARG);
    assert_int_equal(eye_vlm_graph(&o.m, EYE_PART_VISION, EYE_MAX_SIDE_PX + 64, &g, &err), EYE_E_ARG);
    eye_close_model(&o);
}

/* ---- the fold formulas, in double, straight from the checkpoint's tensors ---- */

static double at(const struct eye_vlm *m, const char *name, int64_t i) {
    const struct eye_tensor *t = eye_binder_find(&m->bind, name);
    if (!t) fail_msg("no tensor %s", name);
    return (double)((const float *)t->data)[i];
}
static double at2(const struct eye_vlm *m, const char *prefix, const char *leaf, int64_t i) {
    return at(m, eye_namef("%s.%s", prefix, leaf).s, i);
}
/* t = gamma / sqrt(var + eps), and the shift beta - mean t */
static double bn_t(const struct eye_vlm *m, const char *bn, int64_t o) {
    return at2(m, bn, "weight", o) / sqrt(at2(m, bn, "running_var", o) + 1e-5);
}
static double bn_b(const struct eye_vlm *m, const char *bn, int64_t o) {
    return at2(m, bn, "bias", o) - at2(m, bn, "running_mean", o) * bn_t(m, bn, o);
}

/* Element of the folded graph's weight whose folded name is this. */
static double folded(const struct eye_graph *g, const char *name, int64_t row, int64_t i) {
    for (size_t v = 0; v < g->n_values; v++) {
        char folded_name[EYE_NAME_MAX];
        float values[4096];
        const struct eye_value *w = &g->value[v];
        if (w->kind != EYE_VAL_WEIGHT || w->n_uses == 0 || !eye_name_folded(w->name, folded_name, sizeof folded_name)) continue;
        if (strcmp(folded_name, name) != 0) continue;
        eye_weight_row(w, row, values);
        return (double)values[i];
    }
    fail_msg("the folded graph has no %s", name);
    return 0;
}

/* A fold rounds to f32 after each rule; the deepest chain (RepMixer) has five, each within half an ulp of its largest term. */
static void close_to(double got, double want, double scale) {
    if (!(fabs(got - want) <= 5 * ldexp(scale, -24))) fail_msg("got %.9g, want %.9g", got, want);
}

static void fold_formulas(void **state) {
    struct eye_opened o;
    struct eye_graph g;
    eye_open_model(&o, make("tiny-train", "tiny", EYE_MK_APPLE_TRAIN, EYE_F32));
    const struct eye_vlm *m = &o.m;
    ok(eye_vlm_graph(m, EYE_PART_VISION, 0, &g, &err));
    ok(eye_graph_fold(&g, &err));
    for (int64_t c = 0; c < 8; c++) {
        /* stem.2, 1×1: conv + skip */
        const char *p = "v.stem.2";
        double t = bn_t(m, "v.stem.2.branch.0.bn", c), s = bn_t(m, "v.stem.2.skip", c);
        for (int64_t i = 0; i < 8; i++)
            close_to(folded(&g, "v.stem.2.conv.weight", c, i),
                     t * at2(m, p, "branch.0.conv.weight", c * 8 + i) + (i == c ? s : 0), 4);
        close_to(folded(&g, "v.stem.2.conv.bias", c, 0), bn_b(m, "v.stem.2.branch.0.bn", c) + bn_b(m, "v.stem.2.skip", c), 4);

        /* RepMixer: W = E + l (Wm - Wn), b = l (bm - bn) */
        p = "v.stage.0.block.0.mixer";
        double l = at2(m, p, "layer_scale", c), n = bn_t(m, "v.stage.0.block.0.mixer.norm.skip", c);
        double tc = bn_t(m, "v.stage.0.block.0.mixer.mix.branch.0.bn", c),
               ts = bn_t(m, "v.stage.0.block.0.mixer.mix.scale.bn", c);
        double tk = bn_t(m, "v.stage.0.block.0.mixer.mix.skip", c);
        for (int64_t i = 0; i < 9; i++) {
            double w = tc * at2(m, p, "mix.branch.0.conv.weight", c * 9 + i);
            if (i == 4) w += ts * at2(m, p, "mix.scale.conv.weight", c) + tk - n;
            close_to(folded(&g, "v.stage.0.block.0.mixer.conv.weight", c, i), (i == 4) + l * w, 4);
        }
        double b = bn_b(m, "v.stage.0.block.0.mixer.mix.branch.0.bn", c) + bn_b(m, "v.stage.0.block.0.mixer.mix.scale.bn", c) +
                   bn_b(m, "v.stage.0.block.0.mixer.mix.skip", c) - bn_b(m, "v.stage.0.block.0.mixer.norm.skip", c);
        close_to(folded(&g, "v.stage.0.block.0.mixer.conv.bias", c, 0), l * b, 4);

        /* feed-forward: BatchNorm into the 7×7, layer scale into fc2's rows and bias */
        p = "v.stage.0.block.0.mlp";
        for (int64_t i = 0; i < 49; i++)
            close_to(folded(&g, "v.stage.0.block.0.mlp.conv.weight", c, i),
                     bn_t(m, "v.stage.0.block.0.mlp.bn", c) * at2(m, p, "conv.weight", c * 49 + i), 2);
        close_to(folded(&g, "v.stage.0.block.0.mlp.conv.bias", c, 0), bn_b(m, "v.stage.0.block.0.mlp.bn", c), 2);
        double ls = at(m, "v.stage.0.block.0.layer_scale", c);
        for (int64_t i = 0; i < 32; i++)
            close_to(folded(&g, "v.stage.0.block.0.mlp.fc2.weight", c, i), ls * at2(m, p, "fc2.weight", c * 32 + i), 1);
        close_to(folded(&g, "v.stage.0.block.0.mlp.fc2.bias", c, 0), ls * at2(m, p, "fc2.bias", c), 1);
    }
    for (int64_t c = 0; c < 16; c++) /* downsampling: W7 + the 3×3 around its centre */
        for (int64_t y = 0; y < 7; y++)
            for (int64_t x = 0; x < 7; x++) {
                double w = bn_t(m, "v.stage.1.down.0.large.bn", c) *
                           at(m, "v.stage.1.down.0.large.conv.weight", c * 49 + y * 7 + x);
                if (y >= 2 && y < 5 && x >= 2 && x < 5)
                    w += bn_t(m, "v.stage.1.down.0.small.bn", c) *
                         at(m, "v.stage.1.down.0.small.conv.weight", c * 9 + (y - 2) * 3 + x - 2);
                close_to(folded(&g, "v.stage.1.down.0.conv.weight", c, y * 7 + x), w, 4);
            }
    for (int64_t c = 0; c < 64; c++) { /* cpe: W + E; attention's layer scale */
        for (int64_t i = 0; i < 49; i++)
            close_to(folded(&g, "v.stage.3.cpe.conv.weight", c, i), at(m, "v.stage.3.cpe.pos.weight", c * 49 + i) + (i == 24),
                     2);
        double l = at(m, "v.stage.3.block.0.layer_scale_1", c);
        for (int64_t i = 0; i < 64; i++)
            close_to(folded(&g, "v.stage.3.block.0.attn.proj.weight", c, i),
                     l * at(m, "v.stage.3.block.0.attn.proj.weight", c * 64 + i), 1);
    }
    size_t n_bn = 0;
    for (size_t i = 0; i < g.n_nodes; i++) n_bn += g.node[i].op == EYE_OP_batch_norm || g.node[i].op == EYE_OP_sub;
    assert_int_equal(n_bn, 0); /* nothing is left of the train form */
    eye_graph_clear(&g);
    eye_close_model(&o);
}

/* ---- reference checkpoints, when they are there: every tap ---- */

/* golden/NAME.npy is [C,H,W] for maps, [T,C] for rows; ours is [1,H,W,C] or [T,C]. */
static double tap_diff(const float *got, const struct eye_value *v, const struct eye_npy *want) {
    const float *w = want->t.data;
    double worst = 0;
    int64_t n = eye_tensor_elems(&want->t), c = v->dims[v->rank - 1], hw = n / c;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)(v->rank == 4 ? w[i % c * hw + i / c] : w[i]));
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static size_t check_taps(const struct eye_vlm *m, const char *dir, bool fold) {
    char path[600];
    struct eye_npy npy;
    struct eye_graph g;
    struct eye_bind bind = {0};
    size_t n_checked = 0;
    int64_t s = m->config.prep.side_px;
    snprintf(path, sizeof path, "%s/golden/pixels.npy", dir);
    ok(eye_npy_open(&npy, path, &err));
    float *x = malloc((size_t)(3 * s * s) * sizeof *x);
    for (int64_t i = 0; i < s * s; i++)
        for (int k = 0; k < 3; k++) x[3 * i + k] = ((const float *)npy.t.data)[k * s * s + i];
    eye_npy_close(&npy);
    ok(eye_vlm_graph(m, EYE_PART_VISION, 0, &g, &err));
    if (fold) ok(eye_graph_fold(&g, &err));
    struct eye_ref_io in = {g.input[0], x}, *out = calloc(g.n_values, sizeof *out);
    size_t n_out = 0;
    for (size_t v = 0; v < g.n_values; v++) {
        int64_t n;
        if (g.value[v].kind != EYE_VAL_NODE || g.value[v].node < 0 || !g.value[v].name[0]) continue;
        assert_true(eye_value_elems(&g.value[v], &bind, &n));
        out[n_out++] = (struct eye_ref_io){(eye_val)v, malloc((size_t)n * sizeof(float))};
    }
    ok(eye_graph_eval_ref(&g, &bind, &in, 1, out, n_out, &err));
    for (size_t i = 0; i < n_out; i++) {
        const struct eye_value *v = eye_value_at(&g, out[i].v);
        snprintf(path, sizeof path, "%s/golden/%s.npy", dir, v->name);
        for (char *p = path + strlen(dir) + 8; *p; p++)
            if (*p == '.' && strcmp(p, ".npy") != 0) *p = '_';
        if (eye_npy_open(&npy, path, &err) == EYE_OK) {
            double d = tap_diff(out[i].data, v, &npy);
            /* PyTorch's float32 against float64: at most 3e-5 on these features; both of us round, over maps of this size */
            if (!(d <= 1.5e-4)) fail_msg("%s: %s is off by %.3g", dir, v->name, d);
            n_checked++;
            eye_npy_close(&npy);
        }
        free(out[i].data);
    }
    free(out);
    free(x);
    eye_graph_clear(&g);
    return n_checked;
}

static void reference_checkpoints(void **state) {
    static const char *const name[] = {"fastvlm-tiny", "fastvlm-tiny-apple", "fastvlm-tiny-apple-train", "fastvlm-tiny-bf16",
                                       "fastvlm-tiny-apple-f16", "fastvlm-odd"};
    const char *root = getenv("EYELET_REF");
    size_t n = 0;
    for (size_t i = 0; root && i < EYE_COUNT(name); i++) {
        char dir[512];
        struct eye_opened o;
        snprintf(dir, sizeof dir, "%s/%s", root, name[i]);
        if (!eye_path_is_dir(dir)) continue;
        eye_open_model(&o, dir);
        for (int fold = 0; fold < 2; fold++) n += check_taps(&o.m, dir, fold);
        eye_close_model(&o);
    }
    if (n == 0) {
        print_message("skipped: EYELET_REF names no reference checkpoints\n");
        skip();
    }
    print_message("%zu taps compared\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_lists_round_trip),
        cmocka_unit_test(single_names),
        cmocka_unit_test(configs_are_read),
        cmocka_unit_test(hf_configs_that_fail),
        cmocka_unit_test(apple_configs_that_fail),
        cmocka_unit_test(side_configs_that_fail),
        cmocka_unit_test(wrong_tensors_are_named),
        cmocka_unit_test(tied_matrix_that_differs_warns),
        cmocka_unit_test(open_without_memory),
        cmocka_unit_test(hostile_bytes),
        cmocka_unit_test(parts_match_pytorch),
        cmocka_unit_test(formats_agree),
        cmocka_unit_test(other_sides),
        cmocka_unit_test(fold_formulas),
        cmocka_unit_test(reference_checkpoints),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    eye_scratch_remove();
    return failed;
}
