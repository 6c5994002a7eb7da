/* Configuration: what a checkpoint's JSON files say, brought into one form for all families and checked value by value.
 *
 * A struct eye_vlm_config is the whole truth about a model except its weights: family files build graphs from it and from the
 * shapes of the tensors. Numbers come from outside, so each has a range here, wide enough for any model we could run and
 * narrow enough that products of a few of them stay in int64. Of the graph it knows the names of activations, no more.
 */
#ifndef EYE_MODEL_CONFIG_H
#define EYE_MODEL_CONFIG_H

#include "format/checkpoint.h"
#include "format/json.h"
#include "graph/graph.h"
#include "model/names.h"

enum {
    EYE_MAX_STAGES = 8,
    EYE_MAX_TAPS = 8,
    EYE_MAX_EOS = 16,
    EYE_MAX_HIDDEN = 1 << 17,
    EYE_MAX_LAYERS = 1024,
    EYE_MAX_HEADS = 1024,
    EYE_MAX_HEAD_DIM = 1024,
    EYE_MAX_FFN = 1 << 20,
    EYE_MAX_VOCAB = 1 << 22,
    EYE_MAX_POSITIONS = 1 << 24,
    EYE_MAX_SIDE_PX = 8192,
    EYE_MAX_LONGEST_PX = 4096,
    EYE_MAX_SHUFFLE = 16,
    EYE_IMAGE_SENTINEL = -200 /* Apple: no token of the vocabulary stands for the image */
};

enum eye_prep_mode {
    EYE_PREP_PAD,  /* square canvas of the longer side, then resize: Apple's predict.py, LLaVA */
    EYE_PREP_CROP, /* shortest side resized, centre crop: transformers' processors */
    EYE_PREP_STRETCH /* both sides resized to the network's: aspect ratio is lost */
};
enum eye_tristate { EYE_UNSAID, EYE_FALSE, EYE_TRUE };

enum eye_prep_filter { EYE_PREP_BICUBIC, EYE_PREP_BILINEAR, EYE_PREP_LANCZOS };

struct eye_prep_tiles { /* one image as several pictures: a grid of tiles and the whole (image/tiles.h) */
    int64_t longest_px;      /* of the longer side before it is cut; 0 = an image is one picture */
    bool split;              /* false: the whole only, after all */
};
struct eye_prep_config { /* image file -> network input */
    enum eye_prep_mode mode; /* the format's convention */
    int64_t side_px;         /* of the square network input */
    enum eye_prep_filter filter;
    struct eye_prep_tiles tiles;
    float mean[3], std[3];   /* of v/255, per channel R, G, B */
};

enum eye_mobilenet_output {
    EYE_MOBILENET_MAP,       /* the map at tap, a row per position */
    EYE_MOBILENET_POOLED,    /* mean of the last map: one row */
    EYE_MOBILENET_CLASSIFIER /* one row of classes, or of what took their place */
};
struct eye_mobilenet_config {
    bool large, minimalistic;
    bool tf_same;            /* TensorFlow's SAME padding; else PyTorch's k/2 on all sides */
    bool folded;             /* there are no BatchNorms: their convolutions have biases */
    double width;            /* multiplier of all channels */
    enum eye_mobilenet_output output;
    int64_t tap;             /* MAP: the last of features.N that runs; -1 = all */
    float bn_eps;
};

struct eye_vit_config { /* a plain vision transformer, CLIP's or SigLIP's */
    int64_t hidden, n_layers, n_heads, ffn, patch_px, side_px;
    enum eye_act_kind act;
    float eps;
    bool class_row;          /* CLIP: a learned row before the patches, and a LayerNorm before the layers */
    bool patch_bias;         /* SigLIP */
    bool drop_class;         /* the class row is no feature */
    bool post_norm;          /* features are post_layernorm of the last layer's; tap[] is not read */
    /* [n_taps] hidden states whose channels are the features, side by side: 0 = before layer 0, n = after n layers. */
    int64_t tap[EYE_MAX_TAPS];
    size_t n_taps;
    char origin[96];         /* where the weights are if the checkpoint leaves them out, for error texts; "" = in it */
};

struct eye_vision_config {
    const char *family;                    /* row of the registry: "fastvithd"; NULL: the model has no eyes */
    int64_t channels;                      /* C of the features, as the config has it */
    int64_t n_stages;                      /* 0: the config does not say, the tensors do */
    int64_t width[EYE_MAX_STAGES], depth[EYE_MAX_STAGES];
    struct eye_mobilenet_config mobilenet; /* of family "mobilenetv3" */
    struct eye_vit_config vit;             /* of families "clip", "siglip" */
};

struct eye_projector_config {
    int64_t shuffle;   /* s x s neighbours become one row of s s C channels first; 0 or 1 = not */
    int64_t n_linear;  /* 0 = identity, 1 = linear, 2 = mlp2x_gelu */
    bool bias;
    enum eye_act_kind act; /* between linears; EYE_ACT_NONE: exact GELU */
};

struct eye_text_config {
    const char *family;        /* row of the registry: "qwen2" */
    int64_t hidden, n_layers, n_heads, n_kv_heads, head_dim, ffn, vocab, max_positions;
    int64_t embed_rows;        /* of the embedding where they are more than the vocabulary (TinyLLaVA); 0 = as many */
    double rope_theta;         /* 0: no RoPE, learned positions and LayerNorms (GPT-2) */
    bool rope_pairs;           /* rows of q and k are stored in the order of eye_value.pair_rows: llama.cpp's Llama */
    float rms_eps;             /* of its RMS or layer norms */
    bool qkv_bias, output_bias, ffn_bias; /* of attention's q, k, v; its output; the feed-forward's three */
    enum eye_tristate tie;     /* output matrix = embedding matrix? UNSAID: iff there is no output matrix */
};

/* What a prompt says around the rows of an image that is cut into tiles; NULL = nothing. */
struct eye_tile_text {
    const char *tile[3];    /* before each tile of the grid: [0] row [1] column [2], both from 1 */
    const char *row_end;
    const char *whole;      /* before the whole, after a grid */
    const char *alone;      /* before the whole that has no grid */
    const char *end;
};

struct eye_vlm_config {
    const char *model_type;            /* row of the registry: "fast_vlm" */
    enum eye_name_format names;        /* of the checkpoint's tensors */
    struct eye_vision_config vision;
    struct eye_prep_config prep;
    struct eye_projector_config projector;
    struct eye_text_config text;
    int64_t image_token;               /* id that stands for an image row in prompts, or EYE_IMAGE_SENTINEL */
    struct eye_tile_text tile_text;    /* of prep.tiles */
    bool images_first;                 /* image rows stand before the whole prompt, BOS too; else where the template says */
    int64_t bos, pad;                  /* -1 = none */
    int64_t eos[EYE_MAX_EOS];          /* config.json's and generation_config.json's */
    size_t n_eos;
    int64_t n_beams;                   /* generation_config.json: how the model is meant to be run; 1 unless said */
    double length_penalty;
    int64_t max_prompt_tok;            /* tokenizer_model_max_length, at most text.max_positions */
    const char *chat_template;         /* name of the built-in template: "qwen2" */
    char own_template[32];             /* storage of that name when the configuration gives it */
    bool template_unsaid;              /* the name is for want of a better one: what the checkpoint carries goes before it */
    bool has_prompt;                   /* the configuration says what is asked when nobody asks: */
    char prompt[256];                  /* perhaps nothing */
};

/* Reads config.json, generation_config.json and preprocessor_config.json (or processor_config.json's image_processor) of a
 * checkpoint. CORRUPT for values of a wrong type or range (file and key named), UNSUPPORTED for what eyelet cannot run (rope
 * scaling, sliding windows, an unknown model_type, …; the text says which value and what is supported). */
EYE_MUST_CHECK enum eye_status eye_vlm_config_read(struct eye_vlm_config *c, const struct eye_checkpoint *ckpt,
                                                   struct eye_err *err);

/* ---- for family files: parts that several families' config.json share ---- */

/* UNSUPPORTED "config.json: key.path: got …, supported: …" */
EYE_PRINTF(4, 5) enum eye_status eye_config_unsupported(const struct eye_json_at *at, const char *key, struct eye_err *err,
                                                        const char *fmt, ...);
/* UNSUPPORTED unless the string is the one that is wanted (or absent, and the default is). */
EYE_MUST_CHECK enum eye_status eye_config_want(const struct eye_json_at *at, const char *key, const char *def,
                                               const char *wanted, struct eye_err *err);
/* A Hugging Face decoder configuration (the object that holds hidden_size): sizes, RoPE, eps, tie, special ids. A size that
 * c->text has already is the default of its key. */
EYE_MUST_CHECK enum eye_status eye_config_text(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
/* GELU and its kin as configurations spell them: "gelu", "quick_gelu", "gelu_pytorch_tanh", … */
EYE_MUST_CHECK enum eye_status eye_config_act(const struct eye_json_at *at, const char *key, const char *def,
                                              enum eye_act_kind *act, struct eye_err *err);
/* text_config: any decoder of the registry by its model_type (def when it has none), all of c that it says. */
EYE_MUST_CHECK enum eye_status eye_config_text_part(const struct eye_json_at *at, const char *def, struct eye_vlm_config *c,
                                                    struct eye_err *err);
/* "linear", "identity", "mlp2x_gelu", … */
EYE_MUST_CHECK enum eye_status eye_config_projector_type(const struct eye_json_at *at, const char *key, const char *type,
                                                         struct eye_projector_config *p, struct eye_err *err);
/* A CLIPImageProcessor's configuration. Absent members keep what c->prep has. */
EYE_MUST_CHECK enum eye_status eye_config_image_processor(const struct eye_json_at *at, struct eye_prep_config *p,
                                                          struct eye_err *err);
/* A composition's own words for the same: fit, resample, size, mean, std. Absent members keep what p has. */
EYE_MUST_CHECK enum eye_status eye_config_preprocessing(const struct eye_json_at *at, struct eye_prep_config *p,
                                                        struct eye_err *err);
/* A finite number in [lo, hi]. */
EYE_MUST_CHECK enum eye_status eye_config_number(const struct eye_json_at *at, const char *key, double lo, double hi, double def,
                                                 double *out, struct eye_err *err);
/* eos_token_id (a number or a list; joins the stop ids), bos_token_id, pad_token_id. */
EYE_MUST_CHECK enum eye_status eye_config_ids(const struct eye_json_at *at, struct eye_vlm_config *c, struct eye_err *err);
/* tie_word_embeddings of at, if it is there. */
EYE_MUST_CHECK enum eye_status eye_config_tie(const struct eye_json_at *at, enum eye_tristate *tie, struct eye_err *err);

#endif
