/* text/grammar: the matcher; see grammar.h.
 *
 * A thread is a place in the program (a SET, or the end) and a stack of places to return to. Stacks are nodes that point to the
 * stack below and are kept once, so a thread is two numbers. A state is a sorted set of threads; states are kept once as well
 * and remember where each byte leads, so most bytes cost one look into a table. Pools are of fixed size; when one is full
 * between two tokens, all but the present state is forgotten. */
#include "text/grammar.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_NODES = 16384,
    N_STATES = 2048,
    N_THREADS = 131072, /* of all states */
    N_WORK = 8192,      /* threads that one byte may lead to */
    N_HASH = 32768,     /* of nodes; of threads seen; power of two */
    N_STATE_HASH = 4096,
    N_MASKS = 24,
    UNKNOWN = -1,
    DEAD = -2,
    END = INT32_MAX     /* a thread's place when the whole is matched */
};

struct node { /* [0] is the empty stack */
    int32_t back;     /* where to go on */
    int32_t below;
    int32_t nesting;
    uint32_t cost;    /* bytes from the call's end to the end of all, at least */
};

struct thread {
    int32_t at, stack;
};

struct state {
    uint32_t first, n;  /* of its threads */
    uint32_t distance;
    int32_t mask;       /* -1 = none kept */
    bool may_end;
    int32_t next[256];
};

struct eye_matcher {
    const struct eye_alloc *alloc;
    int32_t n_vocab;
    const struct eye_grammar_code *g;
    const struct eye_vocabulary *v;
    int32_t now;               /* state; DEAD = stuck */
    bool full;                 /* a pool was: clean up before the next token */
    struct node *node;         /* [N_NODES] */
    int32_t n_nodes;
    int32_t *node_hash;        /* [N_HASH], -1 = free */
    struct state *state;       /* [N_STATES] */
    int32_t n_states;
    int32_t *state_hash;       /* [N_STATE_HASH] */
    struct thread *thread;     /* [N_THREADS] */
    uint32_t n_threads;
    struct thread *work, *found; /* [N_WORK] */
    int32_t n_work, n_found;
    struct { uint32_t round; struct thread t; } *seen; /* [N_HASH] threads of this closure */
    uint32_t round;
    int32_t n_seen;
    uint32_t *mask;            /* [N_MASKS + 1, words]; the last for those that depend on the room */
    size_t words;
    uint32_t reach[N_MASKS];   /* the largest distance that a token of the mask leads to */
    int32_t n_masks;
};

static uint32_t mix(uint32_t a, uint32_t b) {
    uint64_t x = ((uint64_t)a << 32 | b) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(x >> 32) ^ (uint32_t)(x >> 15);
}

static uint32_t add_cost(uint32_t a, uint32_t b) { return a >= EYE_GRAMMAR_NEVER - b ? EYE_GRAMMAR_NEVER : a + b; }

/* ---- stacks ---- */

/* -1: the pool is full. */
static int32_t push(struct eye_matcher *m, int32_t back, int32_t below, bool deep) {
    uint32_t h = mix((uint32_t)back, (uint32_t)below) & (N_HASH - 1);
    for (; m->node_hash[h] >= 0; h = (h + 1) & (N_HASH - 1)) {
        const struct node *n = &m->node[m->node_hash[h]];
        if (n->back == back && n->below == below) return m->node_hash[h];
    }
    if (m->n_nodes == N_NODES) {
        m->full = true;
        return -1;
    }
    m->node[m->n_nodes] = (struct node){back, below, m->node[below].nesting + deep,
                                        add_cost(m->g->cost[back], m->node[below].cost)};
    m->node_hash[h] = m->n_nodes;
    return m->n_nodes++;
}

/* ---- threads to states ---- */

static void queue(struct eye_matcher *m, int32_t at, int32_t stack) {
    uint32_t h = mix((uint32_t)at, (uint32_t)stack) & (N_HASH - 1);
    for (; m->seen[h].round == m->round; h = (h + 1) & (N_HASH - 1))
        if (m->seen[h].t.at == at && m->seen[h].t.stack == stack) return;
    if (m->n_work == N_WORK || m->n_seen == N_HASH / 2) {
        m->full = true;
        return;
    }
    m->seen[h].round = m->round;
    m->seen[h].t = (struct thread){at, stack};
    m->n_seen++;
    m->work[m->n_work++] = (struct thread){at, stack};
}

static void call(struct eye_matcher *m, const struct eye_grammar_inst *i, struct thread t) {
    if (m->node[t.stack].nesting + m->g->need[t.at] > EYE_GRAMMAR_MAX_NESTING) return;
    int32_t stack = push(m, t.at + 1, t.stack, i->deep);
    if (stack >= 0) queue(m, m->g->rule[i->a], stack);
}

/* What is queued, followed to the places that want a byte. */
static void follow(struct eye_matcher *m) {
    while (m->n_work) {
        struct thread t = m->work[--m->n_work];
        const struct eye_grammar_inst *i = t.at == END ? NULL : &m->g->inst[t.at];
        if (!i || i->op == EYE_GRAMMAR_SET) {
            /* One that cannot come to its end within the nesting allowed is no thread: else an answer could get stuck. */
            if (i && m->node[t.stack].nesting + m->g->need[t.at] > EYE_GRAMMAR_MAX_NESTING) continue;
            if (m->n_found < N_WORK) m->found[m->n_found++] = t;
            else m->full = true;
        } else if (i->op == EYE_GRAMMAR_JUMP) {
            queue(m, i->a, t.stack);
        } else if (i->op == EYE_GRAMMAR_SPLIT) {
            queue(m, i->a, t.stack);
            queue(m, t.at + 1, t.stack);
        } else if (i->op == EYE_GRAMMAR_CALL) {
            call(m, i, t);
        } else if (t.stack == 0) {
            queue(m, END, 0);
        } else {
            queue(m, m->node[t.stack].back, m->node[t.stack].below);
        }
    }
}

static void begin_set(struct eye_matcher *m) {
    m->n_work = m->n_found = m->n_seen = 0;
    if (++m->round == 0) { /* it has gone round: old marks would look new */
        memset(m->seen, 0, N_HASH * sizeof *m->seen);
        m->round = 1;
    }
}

static int by_place(const void *a, const void *b) {
    const struct thread *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->stack < y->stack ? -1 : x->stack > y->stack;
}

static uint32_t distance_of(const struct eye_matcher *m, struct thread t) {
    return t.at == END ? 0 : add_cost(m->g->cost[t.at], m->node[t.stack].cost);
}

static int32_t add_state(struct eye_matcher *m, uint32_t hash_at) {
    uint32_t n = (uint32_t)m->n_found;
    if (m->n_states == N_STATES || n > N_THREADS - m->n_threads) {
        m->full = true;
        return DEAD;
    }
    struct state *s = &m->state[m->n_states];
    *s = (struct state){.first = m->n_threads, .n = n, .distance = EYE_GRAMMAR_NEVER, .mask = -1};
    memcpy(m->thread + s->first, m->found, n * sizeof *m->found);
    m->n_threads += n;
    for (int i = 0; i < 256; i++) s->next[i] = UNKNOWN;
    for (uint32_t i = 0; i < n; i++) {
        s->may_end = s->may_end || m->found[i].at == END;
        s->distance = EYE_MIN(s->distance, distance_of(m, m->found[i]));
    }
    m->state_hash[hash_at] = m->n_states;
    return m->n_states++;
}

/* The state of what was found. */
static int32_t state_of_found(struct eye_matcher *m) {
    uint32_t n = (uint32_t)m->n_found, h = n;
    if (n == 0) return DEAD;
    qsort(m->found, n, sizeof *m->found, by_place);
    for (uint32_t i = 0; i < n; i++) h = mix(h ^ (uint32_t)m->found[i].at, (uint32_t)m->found[i].stack + h);
    for (h &= N_STATE_HASH - 1; m->state_hash[h] >= 0; h = (h + 1) & (N_STATE_HASH - 1)) {
        const struct state *s = &m->state[m->state_hash[h]];
        if (s->n == n && memcmp(m->thread + s->first, m->found, n * sizeof *m->found) == 0) return m->state_hash[h];
    }
    return add_state(m, h);
}

static int32_t step(struct eye_matcher *m, int32_t from, uint8_t byte) {
    struct state *s = &m->state[from];
    if (s->next[byte] != UNKNOWN) return s->next[byte];
    bool was_full = m->full;
    m->full = false;
    begin_set(m);
    for (uint32_t i = 0; i < s->n; i++) {
        struct thread t = m->thread[s->first + i];
        if (t.at == END) continue;
        const uint32_t *set = m->g->set[m->g->inst[t.at].a];
        if (set[byte / 32] >> (byte % 32) & 1) queue(m, t.at + 1, t.stack);
    }
    follow(m);
    int32_t to = state_of_found(m);
    if (to >= 0 && m->state[to].distance == EYE_GRAMMAR_NEVER) to = DEAD;
    if (!m->full) m->state[from].next[byte] = to; /* what a full pool left out is not remembered */
    m->full = m->full || was_full;
    return to;
}

/* ---- forgetting ---- */

static void forget_states(struct eye_matcher *m) {
    m->n_states = m->n_masks = 0;
    m->n_threads = 0;
    memset(m->state_hash, 0xff, N_STATE_HASH * sizeof *m->state_hash);
}

/* Keeps the present state's stacks and nothing else. A node's below comes before it, so one pass marks and one moves. */
static void clean_up(struct eye_matcher *m) {
    struct state s = m->state[m->now];
    m->full = false;
    m->n_found = 0;
    for (uint32_t i = 0; i < s.n && i < N_WORK; i++) m->found[m->n_found++] = m->thread[s.first + i];
    int32_t *to = m->node_hash; /* free for the moment, and larger than the nodes */
    memset(to, 0, N_NODES * sizeof *to);
    for (int32_t i = 0; i < m->n_found; i++) to[m->found[i].stack] = 1;
    for (int32_t i = m->n_nodes - 1; i > 0; i--)
        if (to[i]) to[m->node[i].below] = 1;
    int32_t n = 1;
    to[0] = 0;
    for (int32_t i = 1; i < m->n_nodes; i++) {
        if (!to[i]) continue;
        m->node[n] = m->node[i];
        m->node[n].below = to[m->node[n].below];
        to[i] = n++;
    }
    for (int32_t i = 0; i < m->n_found; i++) m->found[i].stack = to[m->found[i].stack];
    m->n_nodes = n;
    memset(m->node_hash, 0xff, N_HASH * sizeof *m->node_hash);
    for (int32_t i = 1; i < n; i++) {
        uint32_t h = mix((uint32_t)m->node[i].back, (uint32_t)m->node[i].below) & (N_HASH - 1);
        while (m->node_hash[h] >= 0) h = (h + 1) & (N_HASH - 1);
        m->node_hash[h] = i;
    }
    forget_states(m);
    m->now = state_of_found(m);
}

/* ---- the whole ---- */

void eye_matcher_start(struct eye_matcher *m, const struct eye_grammar_code *g, const struct eye_vocabulary *v) {
    m->g = g;
    m->v = v;
    m->full = false;
    m->node[0] = (struct node){0};
    m->n_nodes = 1;
    memset(m->node_hash, 0xff, N_HASH * sizeof *m->node_hash);
    forget_states(m);
    begin_set(m);
    queue(m, g->rule[0], 0);
    follow(m);
    m->now = state_of_found(m);
}

bool eye_matcher_take(struct eye_matcher *m, const uint8_t *p, size_t n) {
    if (m->now >= 0 && (m->full || m->n_states > N_STATES / 2 || m->n_nodes > N_NODES / 2)) clean_up(m);
    for (size_t i = 0; i < n && m->now >= 0; i++) m->now = step(m, m->now, p[i]);
    return m->now >= 0;
}

bool eye_matcher_may_end(const struct eye_matcher *m) { return m->now >= 0 && m->state[m->now].may_end; }

bool eye_matcher_must_end(const struct eye_matcher *m) {
    return m->now < 0 || (m->state[m->now].n == 1 && m->thread[m->state[m->now].first].at == END);
}

uint32_t eye_matcher_distance(const struct eye_matcher *m) {
    return m->now >= 0 ? m->state[m->now].distance : EYE_GRAMMAR_NEVER;
}

/* Tokens that lead to no more than room, into mask; returns the largest distance they lead to. One walk in order; path [d] is
 * the state after d bytes. A token whose beginning is dead is passed over. */
static uint32_t walk(struct eye_matcher *m, uint32_t room, uint32_t *mask) {
    const struct eye_vocabulary *v = m->v;
    int32_t path[EYE_VOCABULARY_MAX_BYTES + 1];
    uint32_t alive = 0, reach = 0; /* path [0, alive] are states */
    memset(mask, 0, m->words * sizeof *mask);
    path[0] = m->now;
    for (int32_t i = 0; i < v->n; i++) {
        const uint8_t *p = v->bytes + v->at[i];
        uint32_t n = v->at[i + 1] - v->at[i], d = v->shared[i];
        if (d > alive) continue; /* what it shares with the one before is dead already */
        alive = d;
        while (d < n && (path[d + 1] = step(m, path[d], p[d])) >= 0) alive = ++d;
        if (d < n || m->state[path[n]].distance > room) continue;
        mask[v->id[i] / 32] |= 1u << (v->id[i] % 32);
        reach = EYE_MAX(reach, m->state[path[n]].distance);
    }
    return reach;
}

static bool is_empty(const uint32_t *mask, size_t words) {
    for (size_t i = 0; i < words; i++)
        if (mask[i]) return false;
    return true;
}

const uint32_t *eye_matcher_mask(struct eye_matcher *m, uint32_t room) {
    uint32_t *own = m->mask + N_MASKS * m->words;
    if (m->now < 0) {
        memset(own, 0, m->words * sizeof *own);
        return own;
    }
    if (m->full) clean_up(m);
    int32_t k = m->state[m->now].mask;
    if (k < 0) {
        if (m->n_masks == N_MASKS) {
            for (int32_t i = 0; i < m->n_states; i++) m->state[i].mask = -1;
            m->n_masks = 0;
        }
        k = m->n_masks++;
        m->reach[k] = walk(m, EYE_GRAMMAR_NEVER - 1, m->mask + (size_t)k * m->words);
        m->state[m->now].mask = k;
    }
    if (m->reach[k] > room) { /* some would lead too far away from the end */
        walk(m, room, own);
        if (!is_empty(own, m->words)) return own;
    } /* none can close in time: then at least it is right as far as it goes */
    return m->mask + (size_t)k * m->words;
}

/* ---- memory ---- */

static size_t mask_bytes(const struct eye_matcher *m) { return (N_MASKS + 1) * m->words * sizeof *m->mask; }

enum eye_status eye_matcher_new(struct eye_matcher **out, int32_t n_vocab, const struct eye_alloc *alloc, struct eye_err *err) {
    struct eye_matcher *m = eye_alloc_zero(alloc, sizeof *m);
    if (!m) return eye_fail_nomem(err, sizeof *m);
    m->alloc = alloc;
    m->n_vocab = n_vocab;
    m->now = DEAD;
    m->words = ((size_t)EYE_MAX(n_vocab, 1) + 31) / 32;
    m->node = eye_alloc_raw(alloc, N_NODES * sizeof *m->node);
    m->node_hash = eye_alloc_raw(alloc, N_HASH * sizeof *m->node_hash);
    m->state = eye_alloc_raw(alloc, N_STATES * sizeof *m->state);
    m->state_hash = eye_alloc_raw(alloc, N_STATE_HASH * sizeof *m->state_hash);
    m->thread = eye_alloc_raw(alloc, N_THREADS * sizeof *m->thread);
    m->work = eye_alloc_raw(alloc, N_WORK * sizeof *m->work);
    m->found = eye_alloc_raw(alloc, N_WORK * sizeof *m->found);
    m->seen = eye_alloc_zero(alloc, N_HASH * sizeof *m->seen);
    m->mask = eye_alloc_raw(alloc, mask_bytes(m));
    if (m->node && m->node_hash && m->state && m->state_hash && m->thread && m->work && m->found && m->seen && m->mask) {
        *out = m;
        return EYE_OK;
    }
    eye_matcher_free(m);
    return eye_fail_nomem(err, mask_bytes(m));
}

void eye_matcher_free(struct eye_matcher *m) {
    if (!m) return;
    const struct eye_alloc *alloc = m->alloc;
    eye_alloc_free(alloc, m->node, N_NODES * sizeof *m->node);
    eye_alloc_free(alloc, m->node_hash, N_HASH * sizeof *m->node_hash);
    eye_alloc_free(alloc, m->state, N_STATES * sizeof *m->state);
    eye_alloc_free(alloc, m->state_hash, N_STATE_HASH * sizeof *m->state_hash);
    eye_alloc_free(alloc, m->thread, N_THREADS * sizeof *m->thread);
    eye_alloc_free(alloc, m->work, N_WORK * sizeof *m->work);
    eye_alloc_free(alloc, m->found, N_WORK * sizeof *m->found);
    eye_alloc_free(alloc, m->seen, N_HASH * sizeof *m->seen);
    eye_alloc_free(alloc, m->mask, mask_bytes(m));
    eye_alloc_free(alloc, m, sizeof *m);
}
