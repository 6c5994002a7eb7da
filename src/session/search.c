/* session/search: beam search and sampling over many prompts. See search.h.
 *
 * A step: every live beam's last token goes through the decoder in one call (a row each); then each prompt chooses its next
 * beams from the rows of logits. Beams of a prompt share its slots as prefix. A beam's own tokens lie in its region; of the
 * children of one beam the first takes over the region, the others copy it into regions that beams without children leave. */
#include "session/search.h"

#include <math.h>
#include <string.h>

#include "session/sampler.h"

struct beam {
    int32_t *token;   /* [max_tok] */
    int32_t n, region;
    double logprob;
};
struct kept { /* an answer that is complete */
    int32_t *token;   /* [max_tok] */
    int32_t n;
    double logprob, score;
    bool ended;
};
struct hunt { /* of one prompt */
    struct beam live[EYE_MAX_BEAMS], next[EYE_MAX_BEAMS];
    struct kept kept[EYE_MAX_BEAMS]; /* best first; samples: in order */
    int32_t n_live, n_kept;
    const float *logits;             /* [rows of this step, vocab] */
};
#define BEST_BLOCK 64u
struct candidate { double logprob; int32_t beam, token; };

struct eye_hunts {
    struct eye_decoder *d;
    struct eye_search_opts opts;
    const struct eye_search_opts *o; /* &opts */
    struct eye_search_prompt *prompt; /* [n_prompts] */
    size_t n_prompts;
    int64_t first_slot, region_slots;
    struct hunt *hunt;               /* [n_prompts] */
};

static int64_t region_slots(const struct eye_search_opts *o) { return EYE_ALIGN_UP((int64_t)o->max_tok, EYE_ATTN_LANES); }

int64_t eye_search_slots(const struct eye_search_opts *o, size_t n_prompts) {
    return (int64_t)n_prompts * o->n_beams * region_slots(o);
}

static int64_t slot_of(const struct eye_hunts *s, size_t i_prompt, int32_t region) {
    return s->first_slot + ((int64_t)i_prompt * s->o->n_beams + region) * s->region_slots;
}

static bool is_end(const struct eye_search_opts *o, int32_t token) {
    for (size_t i = 0; i < o->n_end; i++)
        if (o->end[i] == token) return true;
    return false;
}

/* ---- answers ---- */

static double score(const struct eye_search_opts *o, double logprob, int32_t n_tok) {
    return logprob / pow(EYE_MAX(n_tok, 1), (double)o->length_penalty);
}

/* The place for an answer of that score among the best; NULL = too bad. A sample has its own. */
static struct kept *place_for(struct hunt *h, const struct eye_search_opts *o, int32_t region, double s) {
    int32_t at = h->n_kept;
    if (o->sample) {
        h->n_kept++;
        return &h->kept[region];
    }
    while (at > 0 && h->kept[at - 1].score < s) at--;
    if (at == o->n_beams) return NULL;
    int32_t *memory = h->kept[EYE_MIN(h->n_kept, o->n_beams - 1)].token;
    if (h->n_kept < o->n_beams) h->n_kept++;
    for (int32_t i = h->n_kept - 1; i > at; i--) h->kept[i] = h->kept[i - 1];
    h->kept[at].token = memory;
    return &h->kept[at];
}

static void keep(struct hunt *h, const struct eye_search_opts *o, const struct beam *b, double logprob, bool ended) {
    double s = score(o, logprob, b->n + ended);
    struct kept *k = place_for(h, o, b->region, s);
    if (!k) return;
    memcpy(k->token, b->token, (size_t)b->n * sizeof *b->token);
    *k = (struct kept){k->token, b->n, logprob, s, ended};
}

/* ---- choosing ---- */

/* Is any of n numbers above this one? Compilers turn it into SIMD. */
static bool any_above(const float *x, size_t n, float least) {
    int any = 0;
    for (size_t i = 0; i < n; i++) any |= x[i] > least;
    return any;
}

/* The n best continuations of one row, by logit, ties to the lower token, into best (sorted). */
static void best_of_row(const float *x, size_t vocab, int32_t n, struct candidate *best) {
    int32_t have = 0;
    for (size_t from = 0, end; from < vocab; from = end) {
        end = EYE_MIN(from + BEST_BLOCK, vocab);
        if (have == n && !any_above(x + from, end - from, (float)best[n - 1].logprob)) continue; /* most are not */
        for (size_t v = from; v < end; v++) {
            if (have == n && !((double)x[v] > best[n - 1].logprob)) continue;
            int32_t at = have < n ? have++ : n - 1;
            for (; at > 0 && best[at - 1].logprob < (double)x[v]; at--) best[at] = best[at - 1];
            best[at] = (struct candidate){(double)x[v], 0, (int32_t)v};
        }
    }
}

/* Best first, earlier beams first among equals. */
static void merge(struct candidate *list, int32_t *n, int32_t cap, struct candidate c) {
    int32_t at = *n;
    while (at > 0 && list[at - 1].logprob < c.logprob) at--;
    if (at == cap) return;
    if (*n < cap) ++*n;
    memmove(list + at + 1, list + at, (size_t)(*n - 1 - at) * sizeof *list);
    list[at] = c;
}

/* Twice as many candidates as beams: if half of them end an answer, the others still fill the beams. */
static int32_t candidates(const struct eye_hunts *s, const struct hunt *h, struct candidate *list) {
    int32_t n = 0, cap = EYE_MIN(2 * s->o->n_beams, (int32_t)s->d->vocab);
    struct candidate row[2 * EYE_MAX_BEAMS];
    for (int32_t b = 0; b < h->n_live; b++) {
        const float *x = h->logits + (size_t)b * s->d->vocab;
        best_of_row(x, s->d->vocab, cap, row);
        double lse = eye_log_sum_exp(x, s->d->vocab, (float)row[0].logprob);
        for (int32_t i = 0; i < cap; i++)
            merge(list, &n, cap, (struct candidate){h->live[b].logprob + row[i].logprob - lse, b, row[i].token});
    }
    return n;
}

static struct candidate draw(const struct eye_hunts *s, const struct hunt *h, size_t i_prompt, int32_t b) {
    struct { uint64_t prompt, sample, position; } key = {i_prompt, (uint64_t)h->live[b].region, (uint64_t)h->live[b].n};
    const float *x = h->logits + (size_t)(h->live[b].n ? b : 0) * s->d->vocab;
    size_t vocab = s->d->vocab, v = 0;
    struct eye_rng rng;
    double sum = 0;
    float most = x[eye_argmax(x, (int32_t)vocab)];
    eye_rng_seed(&rng, eye_hash64(&key, sizeof key, s->o->seed));
    for (size_t i = 0; i < vocab; i++) sum += (double)expf((x[i] - most) / s->o->temperature);
    double left = eye_rng_unit(&rng) * sum;
    for (; v + 1 < vocab; v++) {
        left -= (double)expf((x[v] - most) / s->o->temperature);
        if (left < 0) break;
    }
    return (struct candidate){h->live[b].logprob + (double)x[v] - eye_log_sum_exp(x, vocab, most), b, (int32_t)v};
}

static void add_next(struct hunt *h, int32_t *n, const struct candidate *c) {
    struct beam *to = &h->next[*n];
    const struct beam *from = &h->live[c->beam];
    int32_t *token = to->token;
    memcpy(token, from->token, (size_t)from->n * sizeof *token);
    token[from->n] = c->token;
    *to = (struct beam){token, from->n + 1, from->region, c->logprob};
    ++*n;
}

/* Regions for the chosen: see the head of this file. */
static void move_regions(struct eye_hunts *s, size_t i_prompt, struct hunt *h, int32_t n_next) {
    bool taken[EYE_MAX_BEAMS] = {false}, has_own[EYE_MAX_BEAMS] = {false};
    for (int32_t i = 0; i < n_next; i++) {
        has_own[i] = !taken[h->next[i].region];
        taken[h->next[i].region] = true;
    }
    for (int32_t i = 0, free = 0; i < n_next; i++) {
        if (has_own[i]) continue;
        while (taken[free]) free++;
        int32_t cached = h->next[i].n - 1;
        if (cached)
            eye_kv_copy(s->d->kv, slot_of(s, i_prompt, free), slot_of(s, i_prompt, h->next[i].region), cached);
        h->next[i].region = free;
        taken[free] = true;
    }
}

static void become_next(struct hunt *h, int32_t n_next) {
    struct beam old[EYE_MAX_BEAMS];
    memcpy(old, h->live, sizeof old);
    memcpy(h->live, h->next, sizeof old);
    memcpy(h->next, old, sizeof old); /* their token memory */
    h->n_live = n_next;
}

static void choose_samples(const struct eye_hunts *s, size_t i_prompt, struct hunt *h) {
    int32_t n_next = 0;
    for (int32_t b = 0; b < h->n_live; b++) {
        struct candidate c = draw(s, h, i_prompt, b);
        if (is_end(s->o, c.token)) keep(h, s->o, &h->live[b], c.logprob, true);
        else add_next(h, &n_next, &c);
    }
    become_next(h, n_next);
}

static void choose_beams(struct eye_hunts *s, size_t i_prompt, struct hunt *h) {
    struct candidate list[2 * EYE_MAX_BEAMS];
    int32_t n = candidates(s, h, list), n_next = 0, n_tok = h->live[0].n + 1;
    for (int32_t i = 0; i < n && n_next < s->o->n_beams; i++) {
        if (!is_end(s->o, list[i].token)) add_next(h, &n_next, &list[i]);
        else if (i < s->o->n_beams) keep(h, s->o, &h->live[list[i].beam], list[i].logprob, true);
    }
    move_regions(s, i_prompt, h, n_next);
    become_next(h, n_next);
    bool full = h->n_kept == s->o->n_beams;
    if (n_next == 0 || (full && h->kept[h->n_kept - 1].score >= score(s->o, h->live[0].logprob, n_tok))) h->n_live = 0;
}

/* From the logits of a step to the beams of the next. */
static void choose(struct eye_hunts *s, size_t i_prompt) {
    struct hunt *h = &s->hunt[i_prompt];
    if (h->n_live == 0) return;
    if (s->o->sample) choose_samples(s, i_prompt, h);
    else choose_beams(s, i_prompt, h);
    if (h->n_live == 0 || h->live[0].n < s->o->max_tok) return;
    for (int32_t b = 0; b < h->n_live; b++) keep(h, s->o, &h->live[b], h->live[b].logprob, false);
    h->n_live = 0;
}

/* ---- running ---- */

/* One row for each live beam. */
size_t eye_hunts_lay_out(const struct eye_hunts *s, struct eye_decode_call *call) {
    size_t n = 0;
    for (size_t p = 0; p < s->n_prompts; p++) {
        const struct hunt *h = &s->hunt[p];
        for (int32_t b = 0; b < h->n_live; b++) {
            const struct beam *live = &h->live[b];
            int32_t cached = live->n - 1;
            call[n++] = (struct eye_decode_call){
                .ids = &live->token[cached], .n = 1, .n_logits = 1,
                .at = {.pos = s->prompt[p].n + cached, .prefix = s->prompt[p].slot, .n_prefix = s->prompt[p].n,
                       .slot = slot_of(s, p, live->region) + cached, .n_own = cached}};
        }
    }
    return n;
}

void eye_hunts_choose(struct eye_hunts *s, const float *logits) {
    for (size_t p = 0; p < s->n_prompts; p++) {
        s->hunt[p].logits = logits;
        logits += (size_t)s->hunt[p].n_live * s->d->vocab;
        choose(s, p);
    }
}

static bool take_memory(struct eye_hunts *s, struct eye_arena *a) {
    size_t bytes = (size_t)s->o->max_tok * sizeof(int32_t);
    s->hunt = eye_arena_alloc(a, s->n_prompts * sizeof *s->hunt);
    if (!s->hunt) return false;
    for (size_t p = 0; p < s->n_prompts; p++) {
        struct hunt *h = &s->hunt[p];
        *h = (struct hunt){.n_live = 0};
        for (int32_t b = 0; b < s->o->n_beams; b++) {
            h->live[b] = (struct beam){.token = eye_arena_alloc(a, bytes), .region = b};
            h->next[b].token = eye_arena_alloc(a, bytes);
            h->kept[b].token = eye_arena_alloc(a, bytes);
            if (!h->live[b].token || !h->next[b].token || !h->kept[b].token) return false;
        }
    }
    return true;
}

/* One beam to begin with, at the prompt's own logits; samples differ from the first token on. */
static void begin(struct eye_hunts *s) {
    for (size_t p = 0; p < s->n_prompts; p++) {
        s->hunt[p].n_live = s->o->sample ? s->o->n_beams : 1;
        s->hunt[p].logits = s->prompt[p].logits;
        choose(s, p);
    }
}

static enum eye_status check(const struct eye_hunts *s, struct eye_err *err) {
    const struct eye_search_opts *o = s->o;
    if (o->n_beams < 1 || o->n_beams > EYE_MAX_BEAMS)
        return eye_fail(err, EYE_E_ARG, "%d beams: expected 1 to %d", o->n_beams, EYE_MAX_BEAMS);
    if (o->max_tok < 1) return eye_fail(err, EYE_E_ARG, "answers of at most %d tokens: expected 1 or more", o->max_tok);
    if (o->sample && !(o->temperature > 0))
        return eye_fail(err, EYE_E_ARG, "samples at temperature %g: expected more than 0", (double)o->temperature);
    if (s->n_prompts * (size_t)o->n_beams > s->d->rows)
        return eye_fail(err, EYE_E_ARG, "%zu prompts of %d beams: the decoder runs %zu rows at most", s->n_prompts, o->n_beams,
                        s->d->rows);
    return EYE_OK;
}

enum eye_status eye_hunts_begin(struct eye_hunts **out, struct eye_decoder *d, const struct eye_search_opts *o,
                                const struct eye_search_prompt *prompt, size_t n_prompts, int64_t first_slot,
                                struct eye_arena *arena, struct eye_err *err) {
    struct eye_hunts *s = eye_arena_alloc(arena, sizeof *s);
    if (!s) return eye_fail_nomem(err, sizeof *s);
    *s = (struct eye_hunts){.d = d, .opts = *o, .n_prompts = n_prompts, .first_slot = first_slot, .region_slots = region_slots(o)};
    s->o = &s->opts;
    EYE_TRY(check(s, err));
    s->prompt = eye_arena_alloc(arena, n_prompts * sizeof *s->prompt);
    if (!s->prompt || !take_memory(s, arena)) return eye_fail_nomem(err, n_prompts * sizeof *s->hunt);
    memcpy(s->prompt, prompt, n_prompts * sizeof *prompt);
    begin(s);
    *out = s;
    return EYE_OK;
}

bool eye_hunts_over(const struct eye_hunts *s) {
    for (size_t p = 0; p < s->n_prompts; p++)
        if (s->hunt[p].n_live) return false;
    return true;
}

struct eye_search_answer eye_hunts_answer(const struct eye_hunts *s, size_t i_prompt, int32_t i_beam) {
    const struct hunt *h = &s->hunt[i_prompt];
    const struct kept *k = &h->kept[EYE_MIN(i_beam, h->n_kept - 1)];
    return (struct eye_search_answer){k->token, (size_t)k->n, k->logprob, k->ended};
}

/* ---- all at once ---- */

static enum eye_status give(const struct eye_hunts *s, struct eye_arena *arena, struct eye_search_answer *answer,
                            struct eye_err *err) {
    for (size_t p = 0; p < s->n_prompts; p++) {
        for (int32_t b = 0; b < s->o->n_beams; b++) {
            struct eye_search_answer *a = &answer[p * (size_t)s->o->n_beams + (size_t)b];
            *a = eye_hunts_answer(s, p, b);
            size_t bytes = a->n * sizeof(int32_t);
            int32_t *tokens = eye_arena_alloc(arena, bytes + 1);
            if (!tokens) return eye_fail_nomem(err, bytes);
            if (bytes) memcpy(tokens, a->tokens, bytes);
            a->tokens = tokens;
        }
    }
    return EYE_OK;
}

enum eye_status eye_search(struct eye_decoder *d, const struct eye_search_opts *o, const struct eye_search_prompt *prompt,
                           size_t n_prompts, int64_t first_slot, struct eye_arena *arena, struct eye_search_answer *answer,
                           bool (*cancel)(void *), void *cancel_ctx, struct eye_err *err) {
    struct eye_hunts *s = NULL;
    struct eye_arena own;
    eye_arena_init(&own, d->alloc);
    enum eye_status st = eye_hunts_begin(&s, d, o, prompt, n_prompts, first_slot, &own, err);
    if (st == EYE_OK) {
        size_t rows = n_prompts * (size_t)o->n_beams;
        struct eye_decode_call *call = eye_arena_alloc(&own, rows * sizeof *call);
        float *logits = eye_arena_alloc(&own, rows * d->vocab * sizeof *logits);
        if (!call || !logits) st = eye_fail_nomem(err, rows * d->vocab * sizeof *logits);
        for (size_t n; st == EYE_OK && (n = eye_hunts_lay_out(s, call)) > 0;) {
            st = eye_decode(d, call, n, logits, cancel, cancel_ctx, err);
            if (st == EYE_OK) eye_hunts_choose(s, logits);
        }
    }
    if (st == EYE_OK) st = give(s, arena, answer, err);
    eye_arena_clear(&own);
    return st;
}
