/* sampler: see sampler.h. Sums run in double in one fixed order, so a seed gives the same answer on every machine whose logits
 * are the same. */
#include "session/sampler.h"

#include <math.h>
#include <string.h>

static size_t vocab_bytes(const struct eye_sampler *s) {
    return sizeof *s->candidate + sizeof *s->penalized + sizeof *s->count;
}

enum eye_status eye_sampler_init(struct eye_sampler *s, int32_t n_vocab, int32_t max_window, const struct eye_alloc *alloc,
                                 struct eye_err *err) {
    size_t n = (size_t)n_vocab;
    *s = (struct eye_sampler){.alloc = alloc, .n_vocab = n_vocab, .window_cap = max_window};
    s->candidate = eye_alloc_zero(alloc, n * sizeof *s->candidate);
    s->penalized = eye_alloc_zero(alloc, n * sizeof *s->penalized);
    s->count = eye_alloc_zero(alloc, n * sizeof *s->count);
    s->window = eye_alloc_zero(alloc, (size_t)max_window * sizeof *s->window);
    if (s->candidate && s->penalized && s->count && s->window) return EYE_OK;
    eye_sampler_clear(s);
    return eye_fail_nomem(err, n * vocab_bytes(s) + (size_t)max_window * sizeof *s->window);
}

void eye_sampler_clear(struct eye_sampler *s) {
    size_t n = (size_t)s->n_vocab;
    eye_alloc_free(s->alloc, s->candidate, n * sizeof *s->candidate);
    eye_alloc_free(s->alloc, s->penalized, n * sizeof *s->penalized);
    eye_alloc_free(s->alloc, s->count, n * sizeof *s->count);
    eye_alloc_free(s->alloc, s->window, (size_t)s->window_cap * sizeof *s->window);
    *s = (struct eye_sampler){0};
}

static enum eye_status check_range(const char *name, double v, double min, double max, struct eye_err *err) {
    if (v >= min && v <= max) return EYE_OK; /* NaN fails both */
    return eye_fail(err, EYE_E_ARG, "sampling: %s is %g, expected %g to %g", name, v, min, max);
}

enum eye_status eye_sampler_check(const struct eye_generate_opts *opts, struct eye_err *err) {
    EYE_TRY(check_range("temperature", opts->temperature, 0, 1000, err));
    EYE_TRY(check_range("top_k", opts->top_k, 0, INT32_MAX, err));
    EYE_TRY(check_range("top_p", opts->top_p, 0, 1, err));
    EYE_TRY(check_range("min_p", opts->min_p, 0, 1, err));
    EYE_TRY(check_range("repeat_penalty", opts->repeat_penalty, 0, 1000, err));
    EYE_TRY(check_range("frequency_penalty", opts->frequency_penalty, -1000, 1000, err));
    EYE_TRY(check_range("presence_penalty", opts->presence_penalty, -1000, 1000, err));
    return check_range("penalty_last_n", opts->penalty_last_n, -1, INT32_MAX, err);
}

enum eye_status eye_sampler_start(struct eye_sampler *s, const struct eye_generate_opts *opts, struct eye_err *err) {
    EYE_TRY(eye_sampler_check(opts, err));
    s->opts = *opts;
    struct eye_generate_opts *o = &s->opts;
    if (o->top_p == 0) o->top_p = 1;
    if (o->repeat_penalty == 0) o->repeat_penalty = 1;
    if (o->top_k == 0 || o->top_k > s->n_vocab) o->top_k = s->n_vocab;
    int32_t want = o->penalty_last_n == 0 ? 64 : o->penalty_last_n == -1 ? s->window_cap : o->penalty_last_n;
    bool penalties = o->repeat_penalty != 1 || o->frequency_penalty != 0 || o->presence_penalty != 0;
    s->window_len = penalties ? EYE_MIN(want, s->window_cap) : 0;
    s->window_n = s->window_at = 0;
    memset(s->count, 0, (size_t)s->n_vocab * sizeof *s->count);
    eye_rng_seed(&s->rng, o->seed);
    return EYE_OK;
}

void eye_sampler_accept(struct eye_sampler *s, int32_t id) {
    if (s->window_len == 0 || id < 0 || id >= s->n_vocab) return;
    if (s->window_n == s->window_len)
        s->count[s->window[s->window_at]]--;
    else
        s->window_n++;
    s->window[s->window_at] = id;
    s->count[id]++;
    s->window_at = (s->window_at + 1) % s->window_len;
}

/* A copy with each token of the window penalized once: its count is negated when it is done, then all signs are put back. */
static const float *penalize(struct eye_sampler *s, const float *original) {
    const struct eye_generate_opts *o = &s->opts;
    float *logits = s->penalized;
    memcpy(logits, original, (size_t)s->n_vocab * sizeof *logits);
    for (int32_t i = 0; i < s->window_n; i++) {
        int32_t id = s->window[i], count = s->count[id];
        if (count < 0) continue;
        float l = logits[id];
        l = l > 0 ? l / o->repeat_penalty : l * o->repeat_penalty;
        logits[id] = l - (float)count * o->frequency_penalty - o->presence_penalty;
        s->count[id] = -count;
    }
    for (int32_t i = 0; i < s->window_n; i++)
        if (s->count[s->window[i]] < 0) s->count[s->window[i]] = -s->count[s->window[i]];
    return logits;
}

static int32_t plain_argmax(const float *x, int32_t n) {
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best] || (isnan(x[best]) && !isnan(x[i]))) best = i;
    return best;
}

/* A vocabulary of 152k: 9 us; one by one 125, in which the pool's threads fell asleep. */
int32_t eye_argmax(const float *x, int32_t n) {
    enum { LANES = 32, BLOCK = 1024 };
    int32_t block = 0;
    float max = -INFINITY;
    for (int32_t from = 0; from + BLOCK <= n; from += BLOCK) {
        float lane[LANES], most = -INFINITY;
        for (int j = 0; j < LANES; j++) lane[j] = -INFINITY;
        for (int32_t i = from; i < from + BLOCK; i += LANES)
            for (int j = 0; j < LANES; j++) lane[j] = x[i + j] > lane[j] ? x[i + j] : lane[j]; /* NaN never is */
        for (int j = 0; j < LANES; j++) most = lane[j] > most ? lane[j] : most;
        if (most > max) max = most, block = from;
    }
    int32_t rest = n / BLOCK * BLOCK, last = rest < n ? rest + plain_argmax(x + rest, n - rest) : 0;
    if (!(max > -INFINITY)) return plain_argmax(x, n); /* short, or no numbers worth the name */
    int32_t best = block;
    while (x[best] != max) best++;
    return rest < n && x[last] > max ? last : best;
}

enum { EXP_BLOCK = 256, EXP_LANES = 16 };

/* t to 2^t in place, t <= 0, to 2e-7 of itself: its nearest whole number by the exponent's bits, the rest by a polynomial. Below
 * -126, and of NaN: next to nothing. Loops of few steps and many turns, which compilers turn into SIMD. */
static void exp2_block(float t[EXP_BLOCK]) {
    float power[EXP_BLOCK];
    int32_t k[EXP_BLOCK];
    for (int j = 0; j < EXP_BLOCK; j++) t[j] = t[j] > -126 ? t[j] : -126;
    for (int j = 0; j < EXP_BLOCK; j++) {
        int32_t whole = (int32_t)(t[j] - 0.5F);
        t[j] -= (float)whole;
        k[j] = (whole + 127) * (1 << 23);
    }
    memcpy(power, k, sizeof power);
    for (int j = 0; j < EXP_BLOCK; j++) {
        float f = t[j], p = 1.540353e-4F * f + 1.3333558e-3F;
        p = p * f + 9.6181291e-3F;
        p = p * f + 5.5504109e-2F;
        p = p * f + 2.4022651e-1F;
        p = p * f + 6.9314718e-1F;
        t[j] = (p * f + 1.0F) * power[j];
    }
}

double eye_log_sum_exp(const float *x, size_t n, float most) {
    const float log2_e = 1.44269504F;
    double sum = 0;
    for (size_t from = 0; from < n; from += EXP_BLOCK) {
        size_t here = EYE_MIN((size_t)EXP_BLOCK, n - from);
        float t[EXP_BLOCK], lane[EXP_LANES] = {0};
        for (size_t j = 0; j < here; j++) t[j] = (x[from + j] - most) * log2_e;
        for (size_t j = here; j < EXP_BLOCK; j++) t[j] = -INFINITY;
        exp2_block(t);
        for (int i = 0; i < EXP_BLOCK; i += EXP_LANES)
            for (int j = 0; j < EXP_LANES; j++) lane[j] += t[i + j];
        for (int j = 0; j < EXP_LANES; j++) sum += (double)lane[j];
    }
    return (double)most + log(sum);
}

/* ---- the k best: a heap with the worst of them on top; most values lose against it at once ---- */

static bool worse(struct eye_candidate a, struct eye_candidate b) {
    return a.logit < b.logit || (a.logit == b.logit && a.id > b.id);
}

static void sift_down(struct eye_candidate *heap, int32_t n, int32_t i) {
    struct eye_candidate c = heap[i];
    for (int32_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && worse(heap[child + 1], heap[child])) child++;
        if (!worse(heap[child], c)) break;
        heap[i] = heap[child];
    }
    heap[i] = c;
}

static struct eye_candidate candidate_at(const float *logits, int32_t id) {
    struct eye_candidate c = {isnan(logits[id]) ? -INFINITY : logits[id], id};
    return c;
}

void eye_select_best(const float *logits, int32_t n, struct eye_candidate *best, int32_t k) {
    if (k <= 0) return;
    for (int32_t i = 0; i < k; i++) best[i] = candidate_at(logits, i);
    for (int32_t i = k / 2 - 1; i >= 0; i--) sift_down(best, k, i);
    for (int32_t i = k; i < n; i++) {
        struct eye_candidate c = candidate_at(logits, i);
        if (!worse(best[0], c)) continue;
        best[0] = c;
        sift_down(best, k, 0);
    }
    for (int32_t len = k - 1; len > 0; len--) { /* heap sort: the worst goes to the end each time */
        struct eye_candidate c = best[0];
        best[0] = best[len];
        best[len] = c;
        sift_down(best, len, 0);
    }
}

/* ---- cuts; candidates are sorted, best first; each returns how many stay, at least one ----
 * Dividing by the temperature changes no order, so logits stay as they are and the division happens inside the exponential. */

static double weight(const struct eye_sampler *s, float logit, float max) {
    return exp(((double)logit - (double)max) / (double)s->opts.temperature);
}

/* The smallest set whose weight reaches top_p of total, the weight of all that are shared by; 0 = all n do not reach it. */
static int32_t cut_top_p(const struct eye_sampler *s, int32_t n, double total) {
    double sum = 0;
    for (int32_t i = 0; i < n; i++) {
        sum += weight(s, s->candidate[i].logit, s->candidate[0].logit);
        if (sum >= (double)s->opts.top_p * total) return i + 1;
    }
    return 0;
}

/* Top-p over the whole vocabulary: sort only as many as it takes, 64, 512, … */
static int32_t select_top_p(struct eye_sampler *s, const float *logits, float max) {
    int32_t n = s->n_vocab;
    double total = 0;
    for (int32_t i = 0; i < n; i++)
        if (!isnan(logits[i])) total += weight(s, logits[i], max);
    for (int32_t k = EYE_MIN(64, n);; k = k > n / 8 ? n : k * 8) {
        eye_select_best(logits, n, s->candidate, k);
        int32_t kept = cut_top_p(s, k, total);
        if (kept > 0 || k == n) return kept > 0 ? kept : n;
    }
}

static int32_t select_top_k(struct eye_sampler *s, const float *logits, float max) {
    int32_t k = s->opts.top_k;
    eye_select_best(logits, s->n_vocab, s->candidate, k);
    if (s->opts.top_p >= 1) return k;
    double total = 0;
    for (int32_t i = 0; i < k; i++) total += weight(s, s->candidate[i].logit, max);
    int32_t kept = cut_top_p(s, k, total);
    return kept > 0 ? kept : k;
}

/* No cut, so no order needed: all of them, by id. */
static int32_t select_all(struct eye_sampler *s, const float *logits) {
    for (int32_t i = 0; i < s->n_vocab; i++) s->candidate[i] = candidate_at(logits, i);
    return s->n_vocab;
}

int32_t eye_sampler_pick(struct eye_sampler *s, const float *logits) {
    const struct eye_generate_opts *o = &s->opts;
    if (s->window_n > 0) logits = penalize(s, logits);
    int32_t best = eye_argmax(logits, s->n_vocab);
    float max = logits[best];
    if (o->temperature == 0 || o->top_k == 1 || !isfinite(max)) return best;
    int32_t n = o->top_k < s->n_vocab ? select_top_k(s, logits, max)
                : o->top_p < 1        ? select_top_p(s, logits, max)
                                      : select_all(s, logits);
    struct eye_candidate *c = s->candidate;
    double total = 0;
    int32_t kept = 0;
    for (int32_t i = 0; i < n; i++) { /* min-p, and weights (the best has 1) in place of logits */
        float w = (float)weight(s, c[i].logit, max);
        if (w < o->min_p || w == 0) continue;
        c[kept].id = c[i].id;
        c[kept++].logit = w;
        total += (double)w;
    }
    double point = eye_rng_unit(&s->rng) * total, sum = 0;
    for (int32_t i = 0; i < kept; i++) {
        sum += (double)c[i].logit;
        if (point < sum) return c[i].id;
    }
    return best; /* the point was rounded up to the total itself */
}

void eye_logprobs(const float *logits, int32_t n, int32_t chosen, int32_t k, struct eye_candidate *scratch,
                  struct eye_logprob *out) {
    double max = (double)logits[eye_argmax(logits, n)], total = 0;
    for (int32_t i = 0; i < n; i++)
        if (!isnan(logits[i])) total += exp((double)logits[i] - max);
    double log_total = max + log(total);
    k = EYE_MIN(k, n);
    out[0] = (struct eye_logprob){chosen, (float)((double)logits[chosen] - log_total)};
    eye_select_best(logits, n, scratch, k);
    for (int32_t i = 0; i < k; i++)
        out[1 + i] = (struct eye_logprob){scratch[i].id, (float)((double)scratch[i].logit - log_total)};
}
