/* Ranks: see ranks.h. All numbers of all weights stand in one row, which is cut into pieces of n blocks, block r of each piece
 * being rank r's; so a message holds many small weights, and no rank needs memory for more than two pieces. */
#include "train/ranks.h"

#include <string.h>

#define BLOCK ((size_t)1 << 18) /* floats of a block: 1 MiB a message */
#define MAX_RANKS 1024

static enum eye_status gone(struct eye_err *err) {
    return eye_fail(err, EYE_E_IO, "the other processes of this training cannot be reached: has one of them failed?");
}

static enum eye_status gather(const struct eye_ranks *r, const void *mine, void *all, size_t bytes, struct eye_err *err) {
    return r->gather(r->ctx, mine, all, bytes) ? EYE_OK : gone(err);
}

enum eye_status eye_ranks_take(const struct eye_ranks *r, int32_t from, void *what, size_t bytes, const struct eye_alloc *alloc,
                               struct eye_err *err) {
    if (!r || bytes == 0) return EYE_OK;
    size_t total = bytes * (size_t)r->n;
    uint8_t *all = eye_alloc_raw(alloc, total);
    if (!all) return eye_fail_nomem(err, total);
    enum eye_status st = gather(r, what, all, bytes, err);
    if (st == EYE_OK) memcpy(what, all + (size_t)from * bytes, bytes);
    eye_alloc_free(alloc, all, total);
    return st;
}

enum eye_status eye_ranks_check(const struct eye_ranks *r, const void *what, size_t bytes, struct eye_err *err) {
    uint64_t mine, all[MAX_RANKS];
    if (!r) return EYE_OK;
    if (r->n < 1 || r->n > MAX_RANKS || r->rank < 0 || r->rank >= r->n)
        return eye_fail(err, EYE_E_ARG, "rank %d of %d, expected at most %d processes", r->rank, r->n, MAX_RANKS);
    mine = eye_hash64(what, bytes, 0);
    EYE_TRY(gather(r, &mine, all, sizeof mine, err));
    for (int32_t i = 1; i < r->n; i++)
        if (all[i] != all[0])
            return eye_fail(err, EYE_E_ARG, "process %d has another recipe, run or kind of CPU than process 0: give all the same files "
                            "(a shared folder) and the same EYE_CPU", i);
    return EYE_OK;
}

enum eye_status eye_ranks_wait(const struct eye_ranks *r, struct eye_err *err) {
    uint8_t mine = 1, all[MAX_RANKS];
    return r ? gather(r, &mine, all, sizeof mine, err) : EYE_OK;
}

enum eye_status eye_ranks_each(const struct eye_ranks *r, float mine, float *all, struct eye_err *err) {
    all[0] = mine;
    return r ? gather(r, &mine, all, sizeof mine, err) : EYE_OK;
}

/* ---- sums ---- */

enum way { TAKE_G, TAKE_SUM, PUT_SUM };

/* Numbers at … at + n of the row, to or from buf. */
static void copy(const struct eye_rank_sum *s, size_t n_sums, size_t at, size_t n, float *buf, enum way way) {
    for (size_t i = 0; i < n_sums && n > 0; i++) {
        if (at >= s[i].n) {
            at -= s[i].n;
            continue;
        }
        size_t some = EYE_MIN(s[i].n - at, n);
        if (way == PUT_SUM) memcpy(s[i].sum + at, buf, some * sizeof *buf);
        else memcpy(buf, (way == TAKE_G ? s[i].g : s[i].sum) + at, some * sizeof *buf);
        buf += some;
        n -= some;
        at = 0;
    }
}

struct piece { /* of the row */
    size_t at, n, block; /* begins, numbers, of a block */
    size_t mine_at, mine_n;
};

static struct piece cut(const struct eye_ranks *r, size_t at, size_t total) {
    size_t n_ranks = (size_t)r->n, me = (size_t)r->rank;
    struct piece p = {.at = at, .n = EYE_MIN(total - at, BLOCK * n_ranks)};
    p.block = (p.n + n_ranks - 1) / n_ranks;
    size_t from = EYE_MIN(me * p.block, p.n);
    p.mine_at = at + from;
    p.mine_n = EYE_MIN(p.block, p.n - from);
    return p;
}

static size_t count(const struct eye_rank_sum *s, size_t n) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) total += s[i].n;
    return total;
}

enum eye_status eye_ranks_add(const struct eye_ranks *r, const struct eye_engine *e, const struct eye_rank_sum *s, size_t n,
                              bool first, struct eye_err *err) {
    size_t total = count(s, n), bytes = 2 * BLOCK * (size_t)r->n * sizeof(float);
    float *buf = eye_alloc_zero(e->alloc, bytes), *theirs = buf ? buf + BLOCK * (size_t)r->n : NULL, *sum = buf;
    enum eye_status st = buf ? EYE_OK : eye_fail_nomem(err, bytes);
    for (size_t at = 0; st == EYE_OK && at < total; at += BLOCK * (size_t)r->n) {
        struct piece p = cut(r, at, total);
        copy(s, n, p.at, p.n, buf, TAKE_G);
        if (!r->swap(r->ctx, buf, theirs, p.block * sizeof *buf)) st = gone(err);
        if (first) memcpy(sum, theirs, p.mine_n * sizeof *sum);
        else copy(s, n, p.mine_at, p.mine_n, sum, TAKE_SUM);
        for (size_t i = first; i < (size_t)r->n && p.mine_n > 0; i++) eye_optim_add(e, sum, theirs + i * p.block, p.mine_n);
        copy(s, n, p.mine_at, p.mine_n, sum, PUT_SUM);
    }
    eye_alloc_free(e->alloc, buf, bytes);
    return st;
}

enum eye_status eye_ranks_share(const struct eye_ranks *r, const struct eye_engine *e, const struct eye_rank_sum *s, size_t n,
                                struct eye_err *err) {
    size_t total = count(s, n), bytes = (BLOCK + BLOCK * (size_t)r->n) * sizeof(float);
    float *mine = eye_alloc_zero(e->alloc, bytes), *all = mine ? mine + BLOCK : NULL;
    enum eye_status st = mine ? EYE_OK : eye_fail_nomem(err, bytes);
    for (size_t at = 0; st == EYE_OK && at < total; at += BLOCK * (size_t)r->n) {
        struct piece p = cut(r, at, total);
        copy(s, n, p.mine_at, p.mine_n, mine, TAKE_SUM);
        st = gather(r, mine, all, p.block * sizeof *mine, err);
        copy(s, n, p.at, p.n, all, PUT_SUM);
    }
    eye_alloc_free(e->alloc, mine, bytes);
    return st;
}
