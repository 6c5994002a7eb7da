/* session/grammar: a model's grammars, eyelet/grammar.h. The work is text/grammar's; here its parts meet the model: the
 * vocabulary in order is the model's, made with the first grammar. */
#include "eyelet/grammar.h"

#include <string.h>

#include "session/session_impl.h"

static enum eye_status order_vocabulary(struct eye_model *m, struct eye_err *err) {
    enum eye_status st = EYE_OK;
    pthread_mutex_lock(&m->lock);
    if (!m->vocabulary.at) {
        struct eye_vocabulary v;
        st = eye_vocabulary_init(&v, m->tokenizer, eye_model_n_vocab(m), m->alloc, err);
        if (st == EYE_OK) m->vocabulary = v;
    }
    pthread_mutex_unlock(&m->lock);
    return st;
}

static enum eye_status make(struct eye_model *m, const char *schema, struct eye_grammar **out, struct eye_err *err) {
    EYE_TRY(order_vocabulary(m, err));
    struct eye_grammar *g = eye_alloc_zero(m->alloc, sizeof *g);
    if (!g) return eye_fail_nomem(err, sizeof *g);
    g->model = m;
    enum eye_status st = schema ? eye_grammar_compile_schema(&g->code, schema, strlen(schema), m->alloc, err)
                                : eye_grammar_compile_json(&g->code, m->alloc, err);
    if (st == EYE_OK) *out = g;
    else eye_alloc_free(m->alloc, g, sizeof *g);
    return st;
}

enum eye_status eye_grammar_json(struct eye_model *model, struct eye_grammar **g, struct eye_err *err) {
    return make(model, NULL, g, err);
}

enum eye_status eye_grammar_json_schema(struct eye_model *model, const char *schema, struct eye_grammar **g,
                                        struct eye_err *err) {
    return make(model, schema, g, err);
}

void eye_grammar_free(struct eye_grammar *g) {
    if (!g) return;
    const struct eye_alloc *alloc = g->model->alloc;
    eye_grammar_code_clear(&g->code);
    eye_alloc_free(alloc, g, sizeof *g);
}
