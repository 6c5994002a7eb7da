/* text/nfc: normal form C from the generated tables: decompose, order the marks, compose (Unicode chapter 3.11; Hangul by
 * arithmetic, chapter 3.12). The generator restates this algorithm and checks it against the tokenizers library. */
#include <string.h>

#include "text/unicode.h"

enum {
    S_BASE = 0xAC00, L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7,
    L_COUNT = 19, V_COUNT = 21, T_COUNT = 28, S_COUNT = L_COUNT * V_COUNT * T_COUNT
};

struct mark { uint32_t cp; uint32_t ccc; };
struct marks { struct mark *p; size_t n, cap; };

static uint32_t ccc_of(uint32_t cp) {
    if (cp < eye_uc_ccc[0].first) return 0;
    size_t lo = 0, hi = eye_uc_n_ccc;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > eye_uc_ccc[mid].last)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < eye_uc_n_ccc && cp >= eye_uc_ccc[lo].first ? eye_uc_ccc[lo].value : 0;
}

/* The full decomposition of cp: *n code points, or NULL when it stays itself. */
static const uint32_t *decomp_of(uint32_t cp, size_t *n) {
    if (cp < eye_uc_decomp[0].cp) return NULL;
    size_t lo = 0, hi = eye_uc_n_decomp;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (cp > eye_uc_decomp[mid].cp)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo == eye_uc_n_decomp || eye_uc_decomp[lo].cp != cp) return NULL;
    *n = eye_uc_decomp[lo].n;
    return eye_uc_decomp_pool + eye_uc_decomp[lo].at;
}

/* What starter a and b make together; 0 = nothing. */
static uint32_t compose(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT) return S_BASE + ((a - L_BASE) * V_COUNT + b - V_BASE) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1) return a + b - T_BASE;
    size_t lo = 0, hi = eye_uc_n_pair;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        const struct eye_uc_pair *q = &eye_uc_pair[mid];
        if (a > q->a || (a == q->a && b > q->b))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < eye_uc_n_pair && eye_uc_pair[lo].a == a && eye_uc_pair[lo].b == b ? eye_uc_pair[lo].made : 0;
}

/* Appends the decomposition of cp; room for 4 more is there (no decomposition is longer: asserted). */
static void decompose(struct marks *m, uint32_t cp) {
    uint32_t s = cp - S_BASE;
    size_t n = 0;
    if (s < S_COUNT) {
        m->p[m->n++] = (struct mark){L_BASE + s / (V_COUNT * T_COUNT), 0};
        m->p[m->n++] = (struct mark){V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT, 0};
        if (s % T_COUNT) m->p[m->n++] = (struct mark){T_BASE + s % T_COUNT, 0};
        return;
    }
    const uint32_t *d = decomp_of(cp, &n);
    if (!d) {
        m->p[m->n++] = (struct mark){cp, ccc_of(cp)};
        return;
    }
    assert(n <= 4);
    for (size_t i = 0; i < n; i++) m->p[m->n++] = (struct mark){d[i], ccc_of(d[i])};
}

/* Stable sort by class of a run without starters. Counting sort once it is long: a megabyte of marks stays linear. */
static void order_run(struct mark *p, size_t n, struct mark *tmp) {
    if (n <= 16) {
        for (size_t i = 1; i < n; i++) {
            struct mark x = p[i];
            size_t j = i;
            for (; j > 0 && p[j - 1].ccc > x.ccc; j--) p[j] = p[j - 1];
            p[j] = x;
        }
        return;
    }
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++) at[p[i].ccc + 1]++;
    for (size_t k = 1; k < 257; k++) at[k] += at[k - 1];
    for (size_t i = 0; i < n; i++) tmp[at[p[i].ccc]++] = p[i];
    memcpy(p, tmp, n * sizeof *p);
}

static void order_marks(struct marks *m, struct mark *tmp) {
    for (size_t i = 0; i < m->n; i++) {
        if (m->p[i].ccc == 0) continue;
        size_t end = i + 1;
        while (end < m->n && m->p[end].ccc != 0) end++;
        order_run(m->p + i, end - i, tmp);
        i = end;
    }
}

/* In place. A mark reaches its starter unless one of the same class (or a starter) stands between. */
static void compose_all(struct marks *m) {
    size_t out = 0, starter = SIZE_MAX;
    uint32_t last = 0;
    for (size_t i = 0; i < m->n; i++) {
        struct mark x = m->p[i];
        if (starter != SIZE_MAX && (out == starter + 1 || last < x.ccc)) {
            uint32_t made = compose(m->p[starter].cp, x.cp);
            if (made) {
                m->p[starter].cp = made;
                continue;
            }
        }
        if (x.ccc == 0) starter = out;
        last = x.ccc;
        m->p[out++] = x;
    }
    m->n = out;
}

static bool quick_check(const uint8_t *p, size_t n) {
    size_t i = 0, len;
    while (i < n) {
        if (p[i] < 0xCC) { /* below U+0300 everything stays; 0xCC leads the first combining marks */
            i++;
            continue;
        }
        if (!(eye_uc_flags(eye_utf8_get(p + i, &len)) & EYE_UC_Q)) return false;
        i += len;
    }
    return true;
}

enum eye_status eye_nfc(const uint8_t *p, size_t n, struct eye_buf *out, bool *same, struct eye_err *err) {
    if (quick_check(p, n)) {
        if (same)
            *same = true;
        else
            eye_buf_add(out, p, n);
        return out->failed ? eye_fail_nomem(err, n) : EYE_OK;
    }
    if (same) *same = false;
    struct marks m = {0};
    enum eye_status st = EYE_OK;
    for (size_t i = 0, len; i < n; i += len) {
        EYE_TRY_GOTO(eye_alloc_grow(out->alloc, (void **)&m.p, &m.cap, m.n + 4, sizeof *m.p, err));
        decompose(&m, eye_utf8_get(p + i, &len));
    }
    size_t tmp_bytes = m.n * sizeof *m.p;
    struct mark *tmp = eye_alloc_raw(out->alloc, tmp_bytes);
    if (!tmp) {
        st = eye_fail_nomem(err, tmp_bytes);
        goto fail;
    }
    order_marks(&m, tmp);
    eye_alloc_free(out->alloc, tmp, tmp_bytes);
    compose_all(&m);
    for (size_t i = 0; i < m.n; i++) {
        uint8_t utf8[4];
        eye_buf_add(out, utf8, eye_utf8_put(m.p[i].cp, utf8));
    }
    if (out->failed) st = eye_fail_nomem(err, n);
fail:
    eye_alloc_free(out->alloc, m.p, m.cap * sizeof *m.p);
    return st;
}
