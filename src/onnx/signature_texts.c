/* onnx/signature_texts: the signatures that eyelet knows by name, in the form in which others come from a file (signature_read.c).
 * They are those of the graphs that `eyelet export onnx` writes, and of the decoders that phone tool chains take: a cache that
 * the caller owns, in three styles of names and key layouts. */
#include "onnx/view.h"

#define HALVES "\"shapes\": [[1, 1, \"n\", \"head_dim/2\"], [1, \"n\", \"head_dim/2\"]]"
#define POSITIONS \
    "{\"either\": [[{\"name\": \"position_ids\", \"type\": \"int\", \"shape\": [1, \"n\"]}]," \
    "  [{\"name\": \"position_ids_sin\", \"type\": \"float\", " HALVES "}," \
    "   {\"name\": \"position_ids_cos\", \"type\": \"float\", " HALVES "}]]}"
#define ROWS "{\"name\": \"inputs_embeds\", \"type\": \"float\", \"shape\": [1, \"n\", \"hidden\"]}"
#define LOGITS "{\"name\": \"logits\", \"type\": \"float\", \"shape\": [1, \"n\", \"vocab\"]}"
#define MASK_2 "[1, \"cache+n\"]"
#define MASK_4 "[1, 1, \"n\", \"cache+n\"]"
/* keys as they lie in the cache; with P positions and with those of this call, or the whole cache again */
#define KV(name, in_key, in_value, out_key, out_value, mask, key, key_n, key_p) \
    "{\"name\": \"" name "\", \"static\": true, \"inputs\": [" ROWS "," \
    " {\"name\": \"attention_mask\", \"type\": [\"i64\", \"i32\", \"f32\", \"f16\"], \"shapes\": [" mask "]}," POSITIONS "," \
    " {\"name\": \"" in_key "\", \"type\": \"float\", \"shape\": " key "}," \
    " {\"name\": \"" in_value "\", \"type\": \"float\", \"shape\": [1, \"kv_heads\", \"cache\", \"head_dim\"]}]," \
    " \"outputs\": [" LOGITS "," \
    " {\"name\": \"" out_key "\", \"type\": \"float\", \"shapes\": [" key_n ", " key_p "]}," \
    " {\"name\": \"" out_value "\", \"type\": \"float\"," \
    "  \"shapes\": [[1, \"kv_heads\", \"n\", \"head_dim\"], [1, \"kv_heads\", \"cache\", \"head_dim\"]]}]}"
#define ROW_KEYS(p) "[1, \"kv_heads\", \"" p "\", \"head_dim\"]"
#define TURNED_KEYS(p) "[1, \"kv_heads\", \"head_dim\", \"" p "\"]"
#define PREFILL(key) \
    "{\"name\": \"prefill\"," \
    " \"inputs\": [{\"name\": \"inputs_embeds\", \"type\": \"float\", \"shape\": [\"batch\", \"n\", \"hidden\"]}," \
    " {\"name\": \"attention_mask\", \"type\": \"int\", \"shape\": [\"batch\", \"n\"]}," \
    " {\"name\": \"position_ids\", \"type\": \"int\", \"shape\": [\"batch\", \"n\"]}]," \
    " \"outputs\": [{\"name\": \"logits\", \"type\": \"float\", \"shape\": [\"batch\", \"n\", \"vocab\"]}," key "]}"
#define PREFILL_KV(out_key, out_value, shape) \
    "{\"name\": \"" out_key "\", \"type\": \"float\", \"shape\": " shape "}," \
    "{\"name\": \"" out_value "\", \"type\": \"float\", \"shape\": [\"batch\", \"kv_heads\", \"n\", \"head_dim\"]}"
#define PLAIN_IN "past_key_values.{i}.key", "past_key_values.{i}.value"
#define PLAIN_OUT "present.{i}.key", "present.{i}.value"
#define GENIE_IN "past_key_{i}_in", "past_value_{i}_in"
#define GENIE_OUT "past_key_{i}_out", "past_value_{i}_out"
#define EXPAND(m, ...) m(__VA_ARGS__)

const struct eye_onnx_signature_text eye_onnx_signature_texts[] = {
    {"vision", -1,
     "{\"name\": \"vision\","
     " \"inputs\": [{\"name\": \"pixel_values\", \"type\": \"float\", \"shape\": [\"batch\", 3, \"side\", \"side\"]}],"
     " \"outputs\": [{\"name\": \"image_features\", \"type\": \"float\", \"shape\": [\"batch\", \"rows\", \"hidden\"]}]}"},
    {"vision-tower", -1,
     "{\"name\": \"vision-tower\","
     " \"inputs\": [{\"name\": \"pixel_values\", \"type\": \"float\", \"shape\": [\"batch\", 3, \"side\", \"side\"]}],"
     " \"outputs\": [{\"name\": \"vision_features\", \"type\": \"float\", \"shape\": [\"batch\", \"rows\", \"width\"]}]}"},
    {"projector", -1,
     "{\"name\": \"projector\","
     " \"inputs\": [{\"name\": \"vision_features\", \"type\": \"float\", \"shape\": [\"batch\", \"rows\", \"width\"]}],"
     " \"outputs\": [{\"name\": \"image_features\", \"type\": \"float\", \"shape\": [\"batch\", \"rows\", \"hidden\"]}]}"},
    {"embedder", -1,
     "{\"name\": \"embedder\", \"inputs\": [{\"name\": \"input_ids\", \"type\": \"int\", \"shape\": [\"batch\", \"n\"]}],"
     " \"outputs\": [{\"name\": \"inputs_embeds\", \"type\": \"float\", \"shape\": [\"batch\", \"n\", \"hidden\"]}]}"},
    {"decoder", -1,
     "{\"name\": \"decoder\","
     " \"inputs\": [{\"name\": \"inputs_embeds\", \"type\": \"float\", \"shape\": [\"batch\", \"n\", \"hidden\"]}],"
     " \"outputs\": [{\"name\": \"logits\", \"type\": \"float\", \"shape\": [\"batch\", \"n\", \"vocab\"]}]}"},
    {"decoder-with-projection", -1,
     "{\"name\": \"decoder-with-projection\","
     " \"inputs\": [{\"name\": \"vision_features\", \"type\": \"float\", \"shape\": [\"batch\", \"rows\", \"width\"]},"
     "  {\"name\": \"input_ids\", \"type\": \"int\", \"shape\": [\"batch\", \"n\"]}],"
     " \"outputs\": [{\"name\": \"logits\", \"type\": \"float\", \"shape\": [\"batch\", \"rows+n\", \"vocab\"]}]}"},
    {"prefill", EYE_ONNX_KV_PLAIN, PREFILL(EXPAND(PREFILL_KV, PLAIN_OUT, "[\"batch\", \"kv_heads\", \"n\", \"head_dim\"]"))},
    {"prefill", EYE_ONNX_KV_DOT, PREFILL(EXPAND(PREFILL_KV, PLAIN_OUT, "[\"batch\", \"kv_heads\", \"head_dim\", \"n\"]"))},
    {"prefill", EYE_ONNX_KV_GENIE, PREFILL(EXPAND(PREFILL_KV, GENIE_OUT, "[\"batch\", \"kv_heads\", \"head_dim\", \"n\"]"))},
    {"decoder-kv", EYE_ONNX_KV_PLAIN, EXPAND(KV, "decoder-kv", PLAIN_IN, PLAIN_OUT, MASK_2 ", " MASK_4, ROW_KEYS("cache"),
                                             ROW_KEYS("n"), ROW_KEYS("cache"))},
    {"decoder-kv", EYE_ONNX_KV_DOT, EXPAND(KV, "decoder-kv", PLAIN_IN, PLAIN_OUT, MASK_4 ", " MASK_2, TURNED_KEYS("cache"),
                                           TURNED_KEYS("n"), TURNED_KEYS("cache"))},
    {"decoder-kv", EYE_ONNX_KV_GENIE, EXPAND(KV, "decoder-kv", GENIE_IN, GENIE_OUT, MASK_4 ", " MASK_2, TURNED_KEYS("cache"),
                                             TURNED_KEYS("n"), TURNED_KEYS("cache"))},
    {NULL, -1, NULL},
};
