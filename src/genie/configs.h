/* genie, inside the room: the JSON files that Genie and its backend read, out of a model's own numbers. */
#ifndef EYE_GENIE_CONFIGS_H
#define EYE_GENIE_CONFIGS_H

#include "genie/source.h"

/* Names in the exported folder. */
#define EYE_GENIE_CONFIG "genie_config.json"
#define EYE_GENIE_CONFIG_HTP "genie_config_htp.json"
#define EYE_GENIE_DECODER "decoder.bin"
#define EYE_GENIE_DECODER_HTP "decoder_htp.bin" /* not written: what QNN's tools make of the decoder's ONNX file */
#define EYE_GENIE_TABLE "LUT.bin"
#define EYE_GENIE_TOKENIZER "tokenizer.json"
#define EYE_GENIE_COMPOSER "composer_config.json"
#define EYE_GENIE_HTP_EXT "htp_backend_ext_config.json"
#define EYE_GENIE_VISION "vision_encoder.bin"
#define EYE_GENIE_VISION_INFO "vision_ctx_info.json"
#define EYE_GENIE_EMBED "embed_tokens.bin"
#define EYE_GENIE_EMBED_INFO "embed_ctx_info.json"
#define EYE_GENIE_MANIFEST "manifest.json"

struct json_t;
/* A dialog's configuration; npu: for QnnHtp, else for the CPU backend. bos: what the tokenizer puts before a text, -1 =
 * nothing; end: what ends an answer. The caller's reference; NULL = no memory. */
struct eye_genie_ids { int32_t bos; const int32_t *end; size_t n_end; };
struct json_t *eye_genie_dialog_json(const struct eye_vlm *m, const struct eye_genie_opts *o, const struct eye_genie_ids *ids,
                                     int64_t n_ctx, bool npu);
/* What QnnHtp is given beside it. */
struct json_t *eye_genie_htp_json(void);

#endif
