/* cold: a whole llama.cpp process up to its first token: load, tokenize, prefill, choose.
 * peer_llama_cpp.py builds and times it.
 * Usage: cold FILE.gguf PROMPT THREADS */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <llama.h>

static void quiet(enum ggml_log_level level, const char *text, void *ctx) { (void)level, (void)text, (void)ctx; }

int main(int argc, char **argv) {
    llama_token ids[256];
    if (argc != 4) return 2;
    llama_log_set(quiet, NULL);
    llama_backend_init();
    struct llama_model *m = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!m) return 1;
    const struct llama_vocab *v = llama_model_get_vocab(m);
    int n = llama_tokenize(v, argv[2], (int)strlen(argv[2]), ids, 256, false, true);
    struct llama_context_params p = llama_context_default_params();
    p.n_ctx = 1024;
    p.n_threads = p.n_threads_batch = atoi(argv[3]);
    struct llama_context *c = llama_init_from_model(m, p);
    if (!c || n <= 0 || llama_decode(c, llama_batch_get_one(ids, n))) return 1;
    const float *logits = llama_get_logits_ith(c, -1);
    int best = 0;
    for (int i = 1; i < llama_vocab_n_tokens(v); i++) best = logits[i] > logits[best] ? i : best;
    char text[64];
    int len = llama_token_to_piece(v, best, text, sizeof text, 0, true);
    printf("%.*s\n", len > 0 ? len : 0, text);
    return 0;
}
