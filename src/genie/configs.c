/* genie/configs: see configs.h. */
#include "genie/configs.h"

#include <jansson.h>

static json_t *context_json(const struct eye_vlm *m, const struct eye_genie_ids *ids, int64_t n_ctx) {
    const struct eye_vlm_config *c = &m->config;
    json_t *eos = ids->n_end > 1 ? json_array() : json_integer(ids->n_end ? ids->end[0] : -1); /* a number where one is
                                                                                                  enough */
    for (size_t i = 0; ids->n_end > 1 && i < ids->n_end; i++) json_array_append_new(eos, json_integer(ids->end[i]));
    return json_pack("{s:i,s:I,s:I,s:i,s:o,s:I}", "version", 1, "size", (json_int_t)n_ctx, "n-vocab", (json_int_t)c->text.vocab,
                     "bos-token", (int)ids->bos, "eos-token", eos, "pad-token",
                     (json_int_t)(c->pad >= 0 ? c->pad : ids->n_end ? ids->end[0] : 0));
}

static json_t *sampler_json(const struct eye_genie_opts *o) {
    bool greedy = o->temperature <= 0;
    return json_pack("{s:i,s:I,s:f,s:i,s:f,s:b}", "version", 1, "seed", (json_int_t)o->seed, "temp",
                     greedy ? 0.0 : (double)o->temperature, "top-k", greedy ? 1 : o->top_k, "top-p",
                     o->top_p > 0 ? (double)o->top_p : 1.0, "greedy", greedy);
}

static json_t *cpu_engine(const struct eye_text_config *t) {
    return json_pack("{s:i,s:s,s:{s:i,s:s,s:b,s:I,s:I,s:I,s:I}}", "version", 1, "type", "QnnGenAiTransformer",
                     "QnnGenAiTransformer",
                     "version", 1, "model-input", "embeddings", "use-mmap", 1, "n-layer", (json_int_t)t->n_layers, "n-embd",
                     (json_int_t)t->hidden, "n-heads", (json_int_t)t->n_heads, "n-kv-heads", (json_int_t)t->n_kv_heads);
}

static json_t *npu_engine(const struct eye_text_config *t) {
    return json_pack("{s:i,s:s,s:s,s:{s:i,s:i,s:i,s:b,s:b,s:s,s:I}}", "version", 1, "type", "QnnHtp", "extensions",
                     EYE_GENIE_HTP_EXT,
                     "QnnHtp", "version", 1, "spill-fill-bufsize", 0, "mmap-budget", 0, "use-mmap", 1, "poll", 0, "cpu-mask",
                     "0xe0",
                     "kv-dim", (json_int_t)t->head_dim);
}

json_t *eye_genie_dialog_json(const struct eye_vlm *m, const struct eye_genie_opts *o, const struct eye_genie_ids *ids,
                              int64_t n_ctx,
                              bool npu) {
    const struct eye_text_config *t = &m->config.text;
    json_t *model = npu ? json_pack("{s:i,s:s,s:{s:i,s:[s]}}", "version", 1, "type", "binary", "binary", "version", 1,
                                    "ctx-bins",
                                    EYE_GENIE_DECODER_HTP)
                        : json_pack("{s:i,s:s,s:{s:i,s:s}}", "version", 1, "type", "library", "library", "version", 1,
                                    "model-bin",
                                    EYE_GENIE_DECODER);
    /* Genie makes rope-dim frequencies of theta and turns halves of a head with each: half a head, not all of it. */
    if (npu && t->rope_theta > 0)
        json_object_set_new(model, "positional-encoding", json_pack("{s:s,s:I,s:I}", "type", "rope", "rope-dim",
                                                                    (json_int_t)t->head_dim / 2, "rope-theta",
                                                                    (json_int_t)t->rope_theta));
    return json_pack("{s:{s:i,s:s,s:{s:i,s:I,s:s},s:o,s:o,s:{s:i,s:s},s:{s:i,s:i,s:o,s:o}}}", "dialog", "version", 1, "type",
                     "basic",
                     "embedding", "version", 1, "size", (json_int_t)t->hidden, "datatype", npu ? "native" : "float32",
                     "context",
                     context_json(m, ids, n_ctx), "sampler", sampler_json(o), "tokenizer", "version", 1, "path",
                     EYE_GENIE_TOKENIZER,
                     "engine", "version", 1, "n-threads", o->n_threads ? o->n_threads : 6, "backend",
                     npu ? npu_engine(t) : cpu_engine(t), "model", model);
}

json_t *eye_genie_htp_json(void) {
    return json_pack("{s:[{s:[{s:s,s:i}]}]}", "devices", "cores", "perf_profile", "burst", "rpc_control_latency", 100);
}
