/* Name translation by tables of patterns, read in both directions.
 *
 * A rule pairs an outside pattern with a canonical one. '#' stands for a decimal number, '*' (last) for the rest of the name,
 * which the rule's next table translates (or which is copied when there is none). Rules are tried in order; one whose rest
 * finds no translation is passed over. The depth of the search is the depth of the tables, not of the input.
 *
 * Apple's FastViT numbers one list of modules (network.0 … network.10): stages, downsamplings and position convolutions in
 * order of execution. timm groups them by stage. Both trees come out as v.stage.S.{down,cpe,block}. Sources: apple/ml-fastvlm
 * and timm fastvit.py, doc/models/fastvlm.md.
 */
#include "model/names.h"

#include <stdio.h>
#include <string.h>

#define APPLE EYE_NAMES_APPLE
#define HF EYE_NAMES_HF
#define GPT2 EYE_NAMES_GPT2
#define IDEFICS EYE_NAMES_IDEFICS
#define BOTH (EYE_NAMES_APPLE | EYE_NAMES_HF | EYE_NAMES_IDEFICS) /* of what is inside, where they agree */
#define ALIAS 0 /* read only: no format of ours is written like this */

struct rule {
    int formats;              /* whose name this is when writing */
    const char *outside;
    const char *canonical;    /* NULL: ignored */
    const struct rule *next;  /* translates the '*'; NULL copies it */
};
#define END {0, NULL, NULL, NULL}

/* A MobileOne block: k×k branches, a 1×1 branch, an identity BatchNorm; or the one convolution they fold to. */
static const struct rule mobileone[] = {
    {BOTH, "reparam_conv.*", "conv.*", NULL},
    {APPLE, "rbr_conv.#.*", "branch.#.*", NULL},
    {HF, "conv_kxk.#.*", "branch.#.*", NULL},
    {APPLE, "rbr_scale.*", "scale.*", NULL},
    {HF, "conv_scale.*", "scale.*", NULL},
    {APPLE, "rbr_skip.*", "skip.*", NULL},
    {HF, "identity.*", "skip.*", NULL},
    {APPLE, "se.reduce.*", "se.fc1.*", NULL},
    {APPLE, "se.expand.*", "se.fc2.*", NULL},
    {HF, "se.fc#.*", "se.fc#.*", NULL},
    END,
};

/* The 7×7 of a downsampling: a large and a small kernel, or their sum. */
static const struct rule large_kernel[] = {
    {APPLE, "lkb_reparam.*", "conv.*", NULL},
    {HF, "reparam_conv.*", "conv.*", NULL},
    {APPLE, "lkb_origin.*", "large.*", NULL},
    {HF, "large_conv.*", "large.*", NULL},
    {BOTH, "small_conv.*", "small.*", NULL},
    END,
};

static const struct rule position_conv[] = {
    {BOTH, "reparam_conv.*", "conv.*", NULL},
    {APPLE, "pe.*", "pos.*", NULL},
    {HF, "pos_enc.*", "pos.*", NULL},
    END,
};

static const struct rule vision_block[] = {
    {BOTH, "token_mixer.reparam_conv.*", "mixer.conv.*", NULL},
    {BOTH, "token_mixer.mixer.*", "mixer.mix.*", mobileone},
    {BOTH, "token_mixer.norm.*", "mixer.norm.*", mobileone},
    {APPLE, "token_mixer.layer_scale", "mixer.layer_scale", NULL},
    {HF, "token_mixer.layer_scale.gamma", "mixer.layer_scale", NULL},
    {BOTH, "token_mixer.qkv.*", "attn.qkv.*", NULL},
    {BOTH, "token_mixer.proj.*", "attn.proj.*", NULL},
    {BOTH, "norm.*", "norm.*", NULL},
    {APPLE, "convffn.conv.conv.*", "mlp.conv.*", NULL},
    {HF, "mlp.conv.conv.*", "mlp.conv.*", NULL},
    {APPLE, "convffn.conv.bn.*", "mlp.bn.*", NULL},
    {HF, "mlp.conv.bn.*", "mlp.bn.*", NULL},
    {APPLE, "convffn.fc#.*", "mlp.fc#.*", NULL},
    {HF, "mlp.fc#.*", "mlp.fc#.*", NULL},
    {APPLE, "layer_scale", "layer_scale", NULL},
    {HF, "layer_scale.gamma", "layer_scale", NULL},
    {APPLE, "layer_scale_#", "layer_scale_#", NULL},
    {HF, "layer_scale_#.gamma", "layer_scale_#", NULL},
    END,
};

static const struct rule fastvit_apple[] = {
    {APPLE, "patch_embed.#.*", "stem.#.*", mobileone},
    {APPLE, "network.0.#.*", "stage.0.block.#.*", vision_block},
    {APPLE, "network.1.proj.0.*", "stage.1.down.0.*", large_kernel},
    {APPLE, "network.1.proj.1.*", "stage.1.down.1.*", mobileone},
    {APPLE, "network.2.#.*", "stage.1.block.#.*", vision_block},
    {APPLE, "network.3.proj.0.*", "stage.2.down.0.*", large_kernel},
    {APPLE, "network.3.proj.1.*", "stage.2.down.1.*", mobileone},
    {APPLE, "network.4.#.*", "stage.2.block.#.*", vision_block},
    {APPLE, "network.5.proj.0.*", "stage.3.down.0.*", large_kernel},
    {APPLE, "network.5.proj.1.*", "stage.3.down.1.*", mobileone},
    {APPLE, "network.6.*", "stage.3.cpe.*", position_conv},
    {APPLE, "network.7.#.*", "stage.3.block.#.*", vision_block},
    {APPLE, "network.8.proj.0.*", "stage.4.down.0.*", large_kernel},
    {APPLE, "network.8.proj.1.*", "stage.4.down.1.*", mobileone},
    {APPLE, "network.9.*", "stage.4.cpe.*", position_conv},
    {APPLE, "network.10.#.*", "stage.4.block.#.*", vision_block},
    {APPLE, "conv_exp.*", "final.*", mobileone},
    {APPLE, "head.*", NULL, NULL}, /* CLIP's projection of the pooled map: no part of a VLM */
    END,
};

static const struct rule fastvit_timm[] = {
    {HF, "stem.#.*", "stem.#.*", mobileone},
    {HF, "stages.#.blocks.#.*", "stage.#.block.#.*", vision_block},
    {HF, "stages.#.downsample.proj.0.*", "stage.#.down.0.*", large_kernel},
    {HF, "stages.#.downsample.proj.1.*", "stage.#.down.1.*", mobileone},
    {HF, "stages.#.pos_emb.*", "stage.#.cpe.*", position_conv},
    {HF, "final_conv.*", "final.*", mobileone},
    {HF, "head.*", NULL, NULL},
    END,
};

static const struct rule decoder_layer[] = {
    {BOTH, "input_layernorm.*", "attn_norm.*", NULL},
    {BOTH, "self_attn.q_proj.*", "attn_q.*", NULL},
    {BOTH, "self_attn.k_proj.*", "attn_k.*", NULL},
    {BOTH, "self_attn.v_proj.*", "attn_v.*", NULL},
    {BOTH, "self_attn.o_proj.*", "attn_output.*", NULL},
    {BOTH, "post_attention_layernorm.*", "ffn_norm.*", NULL},
    {BOTH, "mlp.gate_proj.*", "ffn_gate.*", NULL},
    {BOTH, "mlp.up_proj.*", "ffn_up.*", NULL},
    {BOTH, "mlp.down_proj.*", "ffn_down.*", NULL},
    END,
};

static const struct rule decoder[] = {
    {BOTH, "embed_tokens.weight", "token_embd.weight", NULL},
    {BOTH, "norm.weight", "output_norm.weight", NULL},
    {BOTH, "layers.#.*", "blk.#.*", decoder_layer},
    END,
};

/* CLIP's and SigLIP's towers. A SigLIP tower's pooling head is no part of a VLM. */
static const struct rule vit_layer[] = {
    {BOTH, "layer_norm1.*", "ln1.*", NULL},
    {BOTH, "self_attn.q_proj.*", "attn_q.*", NULL},
    {BOTH, "self_attn.k_proj.*", "attn_k.*", NULL},
    {BOTH, "self_attn.v_proj.*", "attn_v.*", NULL},
    {BOTH, "self_attn.out_proj.*", "attn_out.*", NULL},
    {BOTH, "layer_norm2.*", "ln2.*", NULL},
    {BOTH, "mlp.fc1.*", "ffn_up.*", NULL},
    {BOTH, "mlp.fc2.*", "ffn_down.*", NULL},
    END,
};

static const struct rule vit_parts[] = {
    {BOTH, "embeddings.class_embedding", "class_embd", NULL},
    {BOTH, "embeddings.patch_embedding.*", "patch_embd.*", NULL},
    {BOTH, "embeddings.position_embedding.weight", "position_embd.weight", NULL},
    {BOTH, "pre_layrnorm.*", "pre_ln.*", NULL}, /* sic */
    {BOTH, "encoder.layers.#.*", "blk.#.*", vit_layer},
    {BOTH, "post_layernorm.*", "post_ln.*", NULL},
    {BOTH, "head.*", NULL, NULL},
    END,
};

static const struct rule vit[] = {
    {APPLE, "vision_model.*", "*", vit_parts},
    {HF, "*", "*", vit_parts},
    END,
};

static const struct rule idefics[] = {
    {IDEFICS, "vision_model.*", "v.*", vit_parts},
    {IDEFICS, "connector.modality_projection.proj.*", "mm.0.*", NULL},
    {IDEFICS, "text_model.*", "*", decoder},
    END,
};

static const struct rule gpt2_layer[] = {
    {GPT2, "ln_1.*", "attn_norm.*", NULL},
    {GPT2, "ln_2.*", "ffn_norm.*", NULL},
    {GPT2, "attn.c_attn.*", "attn_qkv.*", NULL},
    {GPT2, "attn.c_proj.*", "attn_output.*", NULL},
    {GPT2, "mlp.c_fc.*", "ffn_up.*", NULL},
    {GPT2, "mlp.c_proj.*", "ffn_down.*", NULL},
    {GPT2, "attn.bias", NULL, NULL}, /* causal masks as buffers */
    {GPT2, "attn.masked_bias", NULL, NULL},
    END,
};

static const struct rule gpt2[] = {
    {GPT2, "wte.weight", "token_embd.weight", NULL},
    {GPT2, "wpe.weight", "position_embd.weight", NULL},
    {GPT2, "ln_f.*", "output_norm.*", NULL},
    {GPT2, "h.#.*", "blk.#.*", gpt2_layer},
    END,
};

static const struct rule root[] = {
    {APPLE, "model.vision_tower.vision_tower.model.*", "v.*", fastvit_apple},
    {HF, "model.vision_tower.timm_model.*", "v.*", fastvit_timm},
    {APPLE, "model.vision_tower.vision_tower.*", "v.*", vit},
    {HF, "model.vision_tower.*", "v.*", vit},
    {ALIAS, "vision_tower.*", "v.*", vit}, /* transformers 4 and older wrote its modules without "model." */
    {ALIAS, "multi_modal_projector.linear_1.*", "mm.0.*", NULL},
    {ALIAS, "multi_modal_projector.linear_2.*", "mm.2.*", NULL},
    {ALIAS, "language_model.lm_head.weight", "output.weight", NULL},
    {ALIAS, "language_model.model.*", "*", decoder},
    {ALIAS, "language_model.*", "*", decoder},
    {APPLE, "model.mm_projector.#.*", "mm.#.*", NULL},
    {ALIAS, "model.mm_projector.*", "mm.0.*", NULL}, /* projector type "linear": a bare nn.Linear */
    {HF, "model.multi_modal_projector.linear_1.*", "mm.0.*", NULL},
    {HF, "model.multi_modal_projector.linear_2.*", "mm.2.*", NULL},
    {BOTH | GPT2, "lm_head.weight", "output.weight", NULL},
    {GPT2, "lm_head.bias", "output.bias", NULL},
    {GPT2, "transformer.*", "*", gpt2},
    {ALIAS, "*", "*", gpt2}, /* the bare decoder, as openai's own file has it */
    {HF, "model.language_model.*", "*", decoder},
    {IDEFICS, "model.*", "*", idefics},
    {APPLE, "model.*", "*", decoder},
    END,
};

/* Buffers that training code stores beside the weights. */
static const char *const ignored_tails[] = {".num_batches_tracked", ".rotary_emb.inv_freq", ".position_ids"};

/* ---- patterns ---- */

#define MAX_CAPTURES 2
struct match {
    const char *number[MAX_CAPTURES];
    int number_len[MAX_CAPTURES], n;
    const char *rest; /* NULL: the pattern has no '*' */
};

static bool match_pattern(const char *pattern, const char *s, struct match *m) {
    *m = (struct match){.n = 0};
    for (; *pattern; pattern++) {
        if (*pattern == '*') {
            m->rest = s;
            return *s != '\0';
        }
        if (*pattern == '#') {
            int len = 0;
            while (s[len] >= '0' && s[len] <= '9') len++;
            if (len == 0 || len > 9 || (len > 1 && s[0] == '0')) return false; /* "01" would name one tensor twice */
            m->number[m->n] = s;
            m->number_len[m->n++] = len;
            s += len;
        } else if (*s++ != *pattern) {
            return false;
        }
    }
    return *s == '\0';
}

/* pattern with m's numbers in it, up to '*'. False: out is too small. */
static bool put_pattern(const char *pattern, const struct match *m, char *out, size_t cap, size_t *len) {
    int i = 0;
    for (; *pattern && *pattern != '*'; pattern++) {
        const char *src = pattern;
        size_t n = 1;
        if (*pattern == '#') {
            src = m->number[i];
            n = (size_t)m->number_len[i++];
        }
        if (*len + n >= cap) return false;
        memcpy(out + *len, src, n);
        *len += n;
    }
    out[*len] = '\0';
    return true;
}

/* One direction or the other over a table and what it leads to. format 0 accepts every rule (reading). */
static enum eye_name_kind translate(const struct rule *table, int format, const char *name, char *out, size_t cap, size_t len) {
    for (const struct rule *r = table; r->outside; r++) {
        const char *from = format ? r->canonical : r->outside, *to = format ? r->outside : r->canonical;
        struct match m;
        size_t at = len;
        if (format && (!(r->formats & format) || !from)) continue;
        if (!match_pattern(from, name, &m)) continue;
        if (!to) return EYE_NAME_IGNORED;
        if (!put_pattern(to, &m, out, cap, &at)) continue;
        if (!m.rest) return EYE_NAME_KNOWN;
        if (r->next) {
            enum eye_name_kind kind = translate(r->next, format, m.rest, out, cap, at);
            if (kind != EYE_NAME_UNKNOWN) return kind;
        } else if (at + strlen(m.rest) < cap) {
            memcpy(out + at, m.rest, strlen(m.rest) + 1);
            return EYE_NAME_KNOWN;
        }
    }
    return EYE_NAME_UNKNOWN;
}

enum eye_name_kind eye_name_to_canonical(const char *name, char *out, size_t cap) {
    size_t len = strlen(name);
    enum eye_name_kind kind = EYE_NAME_UNKNOWN;
    for (size_t i = 0; i < EYE_COUNT(ignored_tails); i++) {
        size_t n = strlen(ignored_tails[i]);
        if (len > n && strcmp(name + len - n, ignored_tails[i]) == 0) kind = EYE_NAME_IGNORED;
    }
    if (kind == EYE_NAME_UNKNOWN && len < EYE_NAME_MAX) kind = translate(root, 0, name, out, cap, 0);
    if (kind != EYE_NAME_KNOWN) out[0] = '\0';
    return kind;
}

bool eye_name_from_canonical(const char *canonical, enum eye_name_format format, char *out, size_t cap) {
    if (format != EYE_NAMES_GGUF && translate(root, (int)format, canonical, out, cap, 0) == EYE_NAME_KNOWN) return true;
    snprintf(out, cap, "%s", canonical);
    return format == EYE_NAMES_GGUF;
}

bool eye_name_folded(const char *canonical, char *out, size_t cap) {
    /* Segments of the train form, and what stands in their place once folded. */
    static const char *const segment[][2] = {
        {".mixer.mix.branch.0.conv.", ".mixer.conv."},
        {".branch.0.conv.", ".conv."},
        {".large.conv.", ".conv."},
        {".pos.", ".conv."},
    };
    for (size_t i = 0; i < EYE_COUNT(segment); i++) {
        const char *at = strstr(canonical, segment[i][0]);
        if (!at) continue;
        int n = snprintf(out, cap, "%.*s%s%s", (int)(at - canonical), canonical, segment[i][1], at + strlen(segment[i][0]));
        return n > 0 && (size_t)n < cap;
    }
    int n = snprintf(out, cap, "%s", canonical);
    return n >= 0 && (size_t)n < cap;
}
