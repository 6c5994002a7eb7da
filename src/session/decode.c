/* session/decode: see decode.h.
 *
 *   ids -> EMBED -> image rows spliced -> DECODER (appends to the KV cache) -> hidden (wanted rows only) -> HEAD -> logits
 *
 * Calls are laid one after the other into runs of at most `rows` rows; a call too long for what is left of a run goes on in
 * the next. A step is a call of one row: same code, same numbers, whatever else is in the run. */
#include "session/decode.h"

#include <string.h>

/* shared NULL: a cache of its own. */
static enum eye_status init(struct eye_decoder *d, const struct eye_part_plan *const part[EYE_N_DECODE], size_t rows,
                            size_t head_rows, struct eye_kv *shared, int64_t n_slots, const struct eye_alloc *alloc,
                            struct eye_err *err) {
    enum eye_status st;
    *d = (struct eye_decoder){.alloc = alloc, .rows = rows, .head_rows = head_rows, .kv = shared, .shares_kv = shared != NULL};
    const struct eye_graph *head = &part[EYE_DECODE_HEAD]->graph;
    assert(part[EYE_DECODE_DECODER]->graph.n_inputs == 2);
    d->width = (size_t)eye_dim(head, head->input[0], -1);
    d->vocab = (size_t)eye_dim(head, head->output[0], -1);
    for (int i = 0; i < EYE_N_DECODE; i++) {
        d->part[i] = part[i];
        EYE_TRY_GOTO(eye_exec_new(&d->exec[i], part[i]->plan, err));
    }
    if (!shared) EYE_TRY_GOTO(eye_kv_new(&d->kv, part[EYE_DECODE_DECODER]->plan, n_slots, err));
    size_t bytes = rows * d->width * sizeof(float);
    d->ids = eye_alloc_zero(alloc, rows * sizeof *d->ids);
    d->embeds = eye_alloc_zero(alloc, bytes);
    d->hidden = eye_alloc_zero(alloc, bytes);
    d->last = eye_alloc_zero(alloc, head_rows * d->width * sizeof(float));
    d->segment = eye_alloc_zero(alloc, rows * sizeof *d->segment);
    d->image_row = eye_alloc_zero(alloc, rows * sizeof *d->image_row);
    d->wanted = eye_alloc_zero(alloc, rows * sizeof *d->wanted);
    if (d->ids && d->embeds && d->hidden && d->last && d->segment && d->image_row && d->wanted) return EYE_OK;
    st = eye_fail_nomem(err, 2 * bytes);
fail:
    eye_decoder_clear(d);
    return st;
}

enum eye_status eye_decoder_init(struct eye_decoder *d, const struct eye_part_plan *const part[EYE_N_DECODE], size_t rows,
                                 size_t head_rows, int64_t n_slots, const struct eye_alloc *alloc, struct eye_err *err) {
    return init(d, part, rows, head_rows, NULL, n_slots, alloc, err);
}

enum eye_status eye_decoder_share(struct eye_decoder *d, const struct eye_decoder *of, struct eye_err *err) {
    return init(d, of->part, of->rows, of->head_rows, of->kv, 0, of->alloc, err);
}

void eye_decoder_alone(struct eye_decoder *d) {
    for (int i = 0; i < EYE_N_DECODE; i++) eye_exec_alone(d->exec[i]);
}

void eye_decoder_clear(struct eye_decoder *d) {
    size_t bytes = d->rows * d->width * sizeof(float);
    for (int i = 0; i < EYE_N_DECODE; i++) eye_exec_free(d->exec[i]);
    if (!d->shares_kv) eye_kv_free(d->kv);
    eye_alloc_free(d->alloc, d->ids, d->rows * sizeof *d->ids);
    eye_alloc_free(d->alloc, d->embeds, bytes);
    eye_alloc_free(d->alloc, d->hidden, bytes);
    eye_alloc_free(d->alloc, d->last, d->head_rows * d->width * sizeof(float));
    eye_alloc_free(d->alloc, d->image_row, d->rows * sizeof *d->image_row);
    eye_alloc_free(d->alloc, d->segment, d->rows * sizeof *d->segment);
    eye_alloc_free(d->alloc, d->wanted, d->rows * sizeof *d->wanted);
    *d = (struct eye_decoder){0};
}

struct job { /* one eye_decode */
    struct eye_decoder *d;
    bool (*cancel)(void *);
    void *cancel_ctx;
    struct eye_bind bind;  /* of the run being laid out */
    size_t n_last;         /* rows waiting in d->last for the head */
    float *logits;         /* where the next of them go */
};

static enum eye_status run_part(const struct job *j, int part, const struct eye_bind *bind, void *in, float *out,
                                struct eye_err *err) {
    const struct eye_graph *g = &j->d->part[part]->graph;
    struct eye_io i[2] = {{g->input[0], in}}, o = {g->output[0], out};
    struct eye_kv *kv = NULL;
    size_t n_in = 1;
    if (part == EYE_DECODE_DECODER) {
        i[n_in++] = (struct eye_io){g->input[1], j->d->wanted};
        kv = j->d->kv;
    }
    return eye_exec_run(j->d->exec[part], kv, bind, i, n_in, &o, 1, j->cancel, j->cancel_ctx, err);
}

/* An id as the next row to embed: of image rows none (-1), they are copied. */
static void put_id(struct eye_decoder *d, size_t row, int32_t id, const float **image_rows) {
    d->ids[row] = EYE_MAX(id, -1);
    d->image_row[row] = id < 0 ? *image_rows : NULL;
    if (id < 0) *image_rows += d->width;
}

static enum eye_status embed(const struct job *j, size_t n, struct eye_err *err) {
    struct eye_decoder *d = j->d;
    struct eye_bind bind = {.t = (int64_t)n};
    EYE_TRY(run_part(j, EYE_DECODE_EMBED, &bind, d->ids, d->embeds, err));
    for (size_t i = 0; i < n; i++)
        if (d->image_row[i]) memcpy(d->embeds + i * d->width, d->image_row[i], d->width * sizeof(float));
    return EYE_OK;
}

enum eye_status eye_decode_embed(struct eye_decoder *d, const int32_t *ids, size_t n, const float **image_rows,
                                 struct eye_err *err) {
    struct job j = {.d = d};
    for (size_t i = 0; i < n; i++) put_id(d, i, ids[i], image_rows);
    return embed(&j, n, err);
}

/* The rows that wait, through the head. */
static enum eye_status run_head(struct job *j, struct eye_err *err) {
    struct eye_bind bind = {.t = (int64_t)j->n_last};
    if (j->n_last == 0) return EYE_OK;
    EYE_TRY(run_part(j, EYE_DECODE_HEAD, &bind, j->d->last, j->logits, err));
    j->logits += j->n_last * j->d->vocab;
    j->n_last = 0;
    return EYE_OK;
}

/* The rows laid out, through the decoder. */
static enum eye_status run_rows(struct job *j, struct eye_err *err) {
    struct eye_decoder *d = j->d;
    if (j->bind.t == 0) return EYE_OK;
    EYE_TRY(embed(j, (size_t)j->bind.t, err));
    EYE_TRY(run_part(j, EYE_DECODE_DECODER, &j->bind, d->embeds, d->hidden, err));
    for (size_t row = 0; row < (size_t)j->bind.picked; row++) {
        memcpy(d->last + j->n_last++ * d->width, d->hidden + row * d->width, d->width * sizeof(float));
        if (j->n_last == d->head_rows) EYE_TRY(run_head(j, err));
    }
    j->bind.t = j->bind.picked = 0;
    j->bind.n_segments = 0;
    return EYE_OK;
}

/* n ids of a call, from its i-th on, as the next segment of the run. */
static void lay_out(struct job *j, const struct eye_decode_call *c, size_t i, size_t n, const float **image_rows) {
    struct eye_decoder *d = j->d;
    struct eye_segment *s = &d->segment[j->bind.n_segments];
    *s = c->at;
    s->row = j->bind.t;
    s->n = (int64_t)n;
    s->pos += (int64_t)i;
    s->slot += (int64_t)i;
    s->n_own += (int64_t)i;
    for (size_t k = 0; k < n; k++) put_id(d, (size_t)s->row + k, c->ids[i + k], image_rows);
    for (size_t k = 0; k < n; k++)
        if (i + k >= c->n - c->n_logits) d->wanted[j->bind.picked++] = (int32_t)((size_t)s->row + k);
    j->bind.n_segments++;
    j->bind.t += s->n;
}

enum eye_status eye_decode(struct eye_decoder *d, const struct eye_decode_call *call, size_t n_calls, float *logits,
                           bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err) {
    struct job j = {.d = d, .cancel = cancel, .cancel_ctx = cancel_ctx, .bind = {.segment = d->segment}, .logits = logits};
    for (size_t c = 0; c < n_calls; c++) {
        const float *image_rows = call[c].image_rows;
        assert(call[c].n > 0);
        for (size_t i = 0; i < call[c].n;) {
            size_t n = EYE_MIN(call[c].n - i, d->rows - (size_t)j.bind.t);
            lay_out(&j, &call[c], i, n, &image_rows);
            i += n;
            if ((size_t)j.bind.t == d->rows) EYE_TRY(run_rows(&j, err));
        }
    }
    EYE_TRY(run_rows(&j, err));
    return run_head(&j, err);
}
