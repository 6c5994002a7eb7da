/* vlm: a checkpoint as one vision-language model: its configuration and the graphs of its parts.
 *
 *   pixels -> VISION -> features -> PROJECTOR -> rows \
 *   ids -> EMBED ------------------------------------> spliced embeddings -> DECODER (KV states) -> hidden -> HEAD -> logits
 *
 * Parts are graphs of their own because they run at different times and sizes; the eye_vlm_add_* functions put several into
 * one graph (export does). Building is cheap (a few hundred nodes, weights borrowed from the checkpoint), so a part may be
 * built again for another image side. Sits between format and session; knows no kernels and no tokenizer.
 */
#ifndef EYE_VLM_H
#define EYE_VLM_H

#include "model/bind.h"
#include "model/config.h"

enum eye_part {
    EYE_PART_VISION,    /* "pixels" [1, side, side, 3] f32 NHWC, normalised -> "v.features" [n_tok, C], or "v.shuffled" of them */
    EYE_PART_PROJECTOR, /* "features" [T, C] -> "v.projected" [T, hidden] */
    EYE_PART_EMBED,     /* "ids" [T] i32 -> "t.embeddings" [T, hidden] */
    EYE_PART_DECODER,   /* "t.inputs_embeds" [T, hidden], states k_cache.N, v_cache.N -> "t.norm" [T, hidden] */
    EYE_PART_HEAD,      /* "hidden" [T, hidden] -> "t.logits" [T, vocab] */
    EYE_N_PART
};

struct eye_vlm {
    const struct eye_alloc *alloc;
    const struct eye_checkpoint *ckpt;  /* borrowed: its mapped weights are what the graphs point to */
    struct eye_vlm_config config;
    struct eye_binder bind;
    uint32_t parts;                     /* bit 1 << enum eye_part: what is in it; all, but for files of some parts (EYE_PARTS_KEY) */
    bool tied;                          /* the head reads token_embd.weight */
    bool vision_folded;                 /* a converted file: see struct eye_build */
    /* How a converted file wants its matrices multiplied, so that it computes what its folder did under the same options;
     * EYE_W_EXACT for folders, and for a decoder whose matrices have several types: decoder_base is the one it was converted
     * to, from which some of them depart (else it is decoder_type). */
    enum eye_wtype vision_type, decoder_type, decoder_base;
    char warning[256];                  /* "" or one line for the log */
};

/* Reads the configuration, then builds every part once to see that tensors and configuration agree. CORRUPT lists missing or
 * left-over tensors by their names in the checkpoint. ckpt must outlive the model. */
EYE_MUST_CHECK enum eye_status eye_vlm_open(struct eye_vlm *m, const struct eye_checkpoint *ckpt, const struct eye_alloc *alloc,
                                            struct eye_err *err);
void eye_vlm_clear(struct eye_vlm *m);

/* One part as a finished graph, which this initialises (on failure it is cleared). side_px: VISION only, 0 = the
 * configuration's; ARG if it is no positive multiple of the tower's stride or above EYE_MAX_SIDE_PX. */
EYE_MUST_CHECK enum eye_status eye_vlm_graph(const struct eye_vlm *m, enum eye_part part, int64_t side_px, struct eye_graph *g,
                                             struct eye_err *err);
/* A part's graph as it runs: folded, its matrices as type says, int8 edges laid, fused. *tapped (may be NULL) is the value of tap.
 * The caller clears g. */
struct eye_run_graph {
    int64_t side_px;   /* as above */
    enum eye_wtype type;
    bool picked;       /* of the rows that input "picked" names (eye_graph_pick) */
    bool unfused;      /* only what int8 needs of the passes: to measure what they are worth */
    bool keep_taps;    /* named values survive */
    const char *tap;   /* NULL, or a value to make an output as well; named values survive then too */
};
EYE_MUST_CHECK enum eye_status eye_vlm_run_graph(const struct eye_vlm *m, enum eye_part part, const struct eye_run_graph *how,
                                                 struct eye_graph *g, eye_val *tapped, struct eye_err *err);
/* Has it a vision tower? Else VISION and PROJECTOR are no parts of it: ARG. */
bool eye_vlm_sees(const struct eye_vlm *m);
/* Appends the chat template that the checkpoint itself carries, Jinja's text; *file = where it stood, NULL = there is none. */
EYE_MUST_CHECK enum eye_status eye_vlm_own_template(const struct eye_checkpoint *c, struct eye_buf *out, const char **file,
                                                    struct eye_err *err);
/* Rows one picture becomes at that side; 0 = no such side. */
int64_t eye_vlm_image_tokens(const struct eye_vlm *m, int64_t side_px);

/* A part's nodes in a graph under construction: input value -> output value, tapped as above. Several parts may share a graph:
 * a tied matrix is one weight there. VISION takes pixels of N images where the tower can (mobilenetv3). */
eye_val eye_vlm_add(const struct eye_vlm *m, enum eye_part part, struct eye_graph *g, eye_val x);

/* The type of a part's matrices when the caller asks for these two. The one rule for running a folder and for writing its GGUF:
 * embedding and head are q8_0 where the decoder is q4_0 or q4_K. They are one matrix in tied models, every logit is a row of it, and 4
 * bit there costs more quality than its size saves; llama.cpp keeps them larger too. */
enum eye_wtype eye_vlm_part_type(enum eye_part part, enum eye_wtype vision, enum eye_wtype decoder);

/* A converted file of some parts alone: what net-run runs. */
#define EYE_PARTS_KEY "eyelet.parts"
/* A decoder of several types: the one most were converted to; eyelet.decoder.type is "exact" then. */
#define EYE_BASE_TYPE_KEY "eyelet.decoder.base"
#define EYE_PARTS_VISION "vision" /* VISION and PROJECTOR */
#define EYE_PARTS_EMBED "embed"   /* EMBED */

/* Where a converted file keeps the ranges of a static int8 tower and projector: lists of one length. */
#define EYE_INT8_KEY_WEIGHT "eyelet.vision.int8.weight" /* names of int8 weights */
#define EYE_INT8_KEY_SCALE "eyelet.vision.int8.scale"   /* f32, of what enters the weight's node */
#define EYE_INT8_KEY_ZERO "eyelet.vision.int8.zero"     /* u8 */
#define EYE_INT8_KEY_WIDE "eyelet.vision.int8.wide"     /* u16: 0 = bytes, else 16 bits in -wide … wide; older files have none */
/* Gives the values of a folded VISION or PROJECTOR graph their ranges. ARG: m is no int8 file; CORRUPT: its lists are no ranges. */
EYE_MUST_CHECK enum eye_status eye_vlm_ranges(const struct eye_vlm *m, struct eye_graph *g, struct eye_err *err);

/* Names of engine types in files and options: "exact", "f32", "f16", "bf16", "q8_0", "q4_0", "q4_k", "int8". */
const char *eye_wtype_name(enum eye_wtype t);
bool eye_wtype_parse(const char *name, enum eye_wtype *out);

#endif
