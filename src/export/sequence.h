/* Sequence: what a decoder knows of its rows beyond their values: positions (RoPE's angles, learned positions), who sees whom
 * (masks), and keys and values of calls before. One per ONNX graph; tensors are made when the first layer asks and shared by
 * the others.
 *
 * Causal attention without past and without inputs takes it all from the number of rows. With a fixed cache the caller says it
 * by inputs: attention_mask and position_ids, or position_ids_cos and position_ids_sin.
 */
#ifndef EYE_EXPORT_SEQUENCE_H
#define EYE_EXPORT_SEQUENCE_H

#include "export/draft.h"

enum eye_kv_style {
    EYE_KV_PLAIN, /* keys [1,Hkv,P,D]; past_key_values.N.key, present.N.key */
    EYE_KV_DOT,   /* keys [1,Hkv,D,P]; the same names */
    EYE_KV_GENIE, /* keys [1,Hkv,D,P]; past_key_N_in, past_key_N_out */
    EYE_N_KV_STYLE
};
enum eye_mask_form {
    EYE_MASK_NONE, /* causal by itself */
    EYE_MASK_KEYS, /* integers [B, P + T]: which positions exist; the rows of the call are causal among themselves */
    EYE_MASK_FULL, /* integers [B,1,T,P + T]: all said by the caller; any number but 0 = is seen */
    EYE_MASK_ADDED /* real numbers of that shape, added to the scores: 0 = is seen */
};
enum eye_present_form {
    EYE_PRESENT_NEW,   /* of the rows of this call only */
    EYE_PRESENT_WINDOW /* past and new, cut at its front to the past's length: what the next call takes */
};

struct eye_sequence {
    struct eye_draft *d;
    int64_t tokens;             /* T; 0 = dynamic */
    int64_t past;               /* P positions of inputs; 0 = none */
    int64_t max_positions;      /* more there are not: P + T, or the model's own; 0 = not known */
    bool tables;                /* positions look numbers up in tables: they are exact in half precision too */
    bool keeps;                 /* keys and values are outputs */
    enum eye_kv_style style;
    enum eye_present_form present;
    enum eye_mask_form mask;
    const char *rows;           /* [B,T,C] that enters the decoder: where a dynamic T is read off */
    const char *mask_in, *position_ids, *cos_in, *sin_in; /* graph inputs, or NULL */
    /* private: made on first use */
    const char *mask_added, *index, *length, *cos, *sin;
    double theta;
    int64_t head_dim;
};

/* RoPE's tables for heads of D, each to combine with [B,H,T,D/2]. CORRUPT: two kinds in one decoder. */
EYE_MUST_CHECK enum eye_status eye_sequence_rope(struct eye_sequence *s, double theta, int64_t head_dim, const char **cos_out,
                                                 const char **sin_out, struct eye_err *err);
/* What is added to causal attention's scores [B,H,T,P + T]; NULL: nothing, a single row sees itself and no other is there. */
const char *eye_sequence_mask(struct eye_sequence *s);
/* Rows of table [n_rows, C] at the positions of the call. */
const char *eye_sequence_rows(struct eye_sequence *s, const char *table, int64_t n_rows);

/* Names of layer i's tensors, kind "key" or "value". Returns out. */
enum { EYE_KV_NAME_CAP = 64 };
char *eye_kv_past_name(enum eye_kv_style style, int64_t layer, const char *kind, char out[EYE_KV_NAME_CAP]);
char *eye_kv_present_name(enum eye_kv_style style, int64_t layer, const char *kind, char out[EYE_KV_NAME_CAP]);

#endif
