/* tensor: choosing a block's scales, and writing the block. */
#include "tensor/grid.h"

#include <math.h>
#include <string.h>

#include "tensor/ggml_blocks.h"

#define GROUP EYE_GRID_GROUP
#define F16_MAX 65504.0f

bool eye_grid_has(enum eye_dtype t) { return t == EYE_Q8_0 || t == EYE_Q4_0 || t == EYE_Q4_K; }

static float or_zero(float x) { return isfinite(x) ? x : 0; }
static float weight_at(const float *weight, size_t e) { return weight ? weight[e] : 1; }
static uint16_t to_f16(float x) { return eye_f32_to_f16(EYE_MAX(-F16_MAX, EYE_MIN(F16_MAX, x))); }

int eye_grid_level(const struct eye_grid *g, size_t e, float x) {
    size_t i = e / GROUP;
    if (g->scale[i] == 0) return g->lo > 0 ? g->lo : 0;
    float q = (x + g->min[i]) / g->scale[i];
    return !(q > (float)g->lo) ? g->lo : q >= (float)g->hi ? g->hi : g->lo + (int)(q - (float)g->lo + 0.5f);
}

double eye_grid_error(const struct eye_grid *g, const float *x, const float *weight) {
    double sum = 0;
    for (size_t e = 0; e < eye_dtype_info(g->dtype)->block_elems; e++) {
        double err = (double)or_zero(x[e]) - (double)eye_grid_value(g, e, eye_grid_level(g, e, x[e]));
        sum += (double)weight_at(weight, e) * err * err;
    }
    return sum;
}

/* ---- q8_0 and q4_0: one scale, of either sign ---- */

void eye_grid_set_scale(struct eye_grid *g, float scale) {
    g->d = to_f16(scale);
    g->scale[0] = eye_f16_to_f32(g->d);
}

static float largest(const float *x) {
    float max = 0;
    for (size_t e = 0; e < GROUP; e++)
        if (fabsf(or_zero(x[e])) > fabsf(max)) max = x[e];
    return max;
}

/* The scale that suits levels rounded with `scale` best: least squares. */
static float refit(const struct eye_grid *g, const float *x, const float *weight) {
    double xq = 0, qq = 0;
    for (size_t e = 0; e < GROUP; e++) {
        double q = eye_grid_level(g, e, or_zero(x[e])), w = (double)weight_at(weight, e);
        xq += w * (double)or_zero(x[e]) * q;
        qq += w * q * q;
    }
    return qq > 0 ? (float)(xq / qq) : g->scale[0];
}

static void try_scale(struct eye_grid *best, double *least, float scale, const float *x, const float *weight) {
    struct eye_grid g = *best;
    eye_grid_set_scale(&g, scale);
    for (int pass = 0; pass < 2; pass++) {
        double err = eye_grid_error(&g, x, weight);
        if (err < *least) {
            *least = err;
            *best = g;
        }
        eye_grid_set_scale(&g, refit(&g, x, weight));
    }
}

static void fit_symmetric(struct eye_grid *g, const float *x, const float *weight) {
    double least = eye_grid_error(g, x, weight);
    float max = largest(x), steps = g->dtype == EYE_Q4_0 ? 8 : 127;
    if (max == 0) return;
    /* q4_0 has a level more on one side: which value gets it, and what is clipped, is what there is to win. */
    for (int i = -8; i <= 8; i++) {
        float top = steps * (1 + (float)i / 40);
        try_scale(g, &least, -max / top, x, weight);
        if (g->dtype == EYE_Q4_0) try_scale(g, &least, max / top, x, weight);
    }
}

/* ---- q4_K: a scale and a minimum per group, in 6 bits of the block's two ---- */

struct affine { /* w = scale q - min, min >= 0 */
    float scale, min;
};
struct group { /* its elements, what is not finite as zero, and their weights */
    float x[GROUP], weight[GROUP];
};

static void load_group(struct group *v, const float *x, const float *weight) {
    for (size_t e = 0; e < GROUP; e++) {
        v->x[e] = or_zero(x[e]);
        v->weight[e] = weight_at(weight, e);
    }
}

/* Weighted squared error of a's levels; *better gets the scale and minimum that suit these levels best, by least squares. Loops
 * that the compiler makes vectors of: a plain conversion comes through here some forty times per weight. */
static float try_affine(struct affine a, const struct group *v, struct affine *better) {
    float inverse = a.scale > 0 ? 1 / a.scale : 0, q[GROUP], sum[6] = {0};
    for (size_t e = 0; e < GROUP; e++) {
        float level = (v->x[e] + a.min) * inverse + 0.5f;
        q[e] = (float)(int)(!(level > 0) ? 0 : level > 15 ? 15 : level); /* NaN too: infinity times nothing */
    }
    for (size_t e = 0; e < GROUP; e++) {
        float w = v->weight[e], err = v->x[e] - (a.scale * q[e] - a.min);
        sum[0] += w * err * err;
        sum[1] += w;
        sum[2] += w * q[e];
        sum[3] += w * q[e] * q[e];
        sum[4] += w * v->x[e];
        sum[5] += w * v->x[e] * q[e];
    }
    double det = (double)sum[1] * (double)sum[3] - (double)sum[2] * (double)sum[2];
    double scale = (double)sum[1] * (double)sum[5] - (double)sum[2] * (double)sum[4];
    double min = (double)sum[2] * (double)sum[5] - (double)sum[3] * (double)sum[4];
    *better = a;
    if (!(det > 0)) return sum[0];
    if (min < 0) { /* the format has no other sign */
        min = 0;
        scale = sum[3] > 0 ? (double)sum[5] / (double)sum[3] * det : scale;
    }
    if (scale > 0) *better = (struct affine){(float)(scale / det), (float)(min / det)};
    return sum[0];
}

static struct affine fit_group(const struct group *v) {
    float lo = 0, hi = 0, least = INFINITY;
    for (size_t e = 0; e < GROUP; e++) {
        lo = EYE_MIN(lo, v->x[e]);
        hi = EYE_MAX(hi, v->x[e]);
    }
    struct affine best = {(hi - lo) / 15, -lo};
    if (!(hi - lo > 0)) return (struct affine){0, -lo};
    for (int i = -6; i <= 3; i++) {
        struct affine a = {(hi - lo) / (15 + (float)i / 2), -lo}, better;
        for (int pass = 0; pass < 3; pass++, a = better) {
            float err = try_affine(a, v, &better);
            if (err < least) {
                least = err;
                best = a;
            }
        }
    }
    return best;
}

static void set_group(struct eye_grid *g, size_t i, int scale, int min) {
    g->scale_bits[i] = (uint8_t)scale;
    g->min_bits[i] = (uint8_t)min;
    g->scale[i] = eye_f16_to_f32(g->d) * (float)scale;
    g->min[i] = eye_f16_to_f32(g->dmin) * (float)min;
}

static int six_bits(float x, uint16_t unit) {
    float u = eye_f16_to_f32(unit), q = u > 0 ? x / u + 0.5f : 0;
    return !(q > 0) ? 0 : q >= 63 ? 63 : (int)q;
}

/* The rounded pair nearest to `want` and its neighbours: the best for this group. */
static void choose_bits(struct eye_grid *g, size_t i, struct affine want, const struct group *v) {
    int scale = six_bits(want.scale, g->d), min = six_bits(want.min, g->dmin), best_scale = scale, best_min = min;
    float least = INFINITY;
    struct affine unused;
    for (int s = EYE_MAX(scale - 1, 0); s <= EYE_MIN(scale + 1, 63); s++) {
        for (int m = EYE_MAX(min - 1, 0); m <= EYE_MIN(min + 1, 63); m++) {
            set_group(g, i, s, m);
            float err = try_affine((struct affine){g->scale[i], g->min[i]}, v, &unused);
            if (err >= least) continue;
            least = err;
            best_scale = s;
            best_min = m;
        }
    }
    set_group(g, i, best_scale, best_min);
}

static void fit_q4_k(struct eye_grid *g, const float *x, const float *weight) {
    struct affine a[EYE_GRID_GROUPS];
    struct group v[EYE_GRID_GROUPS];
    float scale = 0, min = 0;
    for (size_t i = 0; i < EYE_GRID_GROUPS; i++) {
        load_group(&v[i], x + i * GROUP, weight ? weight + i * GROUP : NULL);
        a[i] = fit_group(&v[i]);
        scale = EYE_MAX(scale, a[i].scale);
        min = EYE_MAX(min, a[i].min);
    }
    g->d = to_f16(scale / 63);
    g->dmin = to_f16(min / 63);
    for (size_t i = 0; i < EYE_GRID_GROUPS; i++) choose_bits(g, i, a[i], &v[i]);
}

/* ---- */

void eye_grid_plain(struct eye_grid *g, enum eye_dtype t, const float *x) {
    assert(eye_grid_has(t));
    memset(g, 0, sizeof *g);
    g->dtype = t;
    g->lo = t == EYE_Q8_0 ? -127 : t == EYE_Q4_0 ? -8 : 0;
    g->hi = t == EYE_Q8_0 ? 127 : t == EYE_Q4_0 ? 7 : 15;
    if (t == EYE_Q4_K) fit_q4_k(g, x, NULL);
    else eye_grid_set_scale(g, t == EYE_Q4_0 ? largest(x) / -8 : fabsf(largest(x)) / 127);
}

void eye_grid_fit(struct eye_grid *g, enum eye_dtype t, const float *x, const float *weight) {
    eye_grid_plain(g, t, x);
    if (t != EYE_Q4_K) {
        fit_symmetric(g, x, weight);
    } else if (weight) {
        struct eye_grid w = *g;
        fit_q4_k(&w, x, weight);
        if (eye_grid_error(&w, x, weight) < eye_grid_error(g, x, weight)) *g = w;
    }
}

/* ---- bytes ---- */

static void store_q4_k(const struct eye_grid *g, const int8_t *level, struct eye_block_q4_k *b) {
    memset(b, 0, sizeof *b);
    b->d = g->d;
    b->dmin = g->dmin;
    for (size_t i = 0; i < EYE_GRID_GROUPS; i++) {
        uint8_t s = g->scale_bits[i], m = g->min_bits[i];
        if (i < 4) {
            b->scales[i] |= s;
            b->scales[i + 4] |= m;
        } else {
            b->scales[i + 4] = (uint8_t)((s & 15) | (m & 15) << 4);
            b->scales[i - 4] |= (uint8_t)(s >> 4 << 6);
            b->scales[i] |= (uint8_t)(m >> 4 << 6);
        }
    }
    for (size_t e = 0; e < EYE_SUPER_BLOCK; e++) b->q[e / 64 * 32 + e % 32] |= (uint8_t)(level[e] << (e % 64 < 32 ? 0 : 4));
}

void eye_grid_store(const struct eye_grid *g, const int8_t *level, void *block) {
    struct eye_block_q8_0 *b8 = block;
    struct eye_block_q4_0 *b4 = block;
    switch (g->dtype) {
    case EYE_Q8_0:
        b8->d = g->d;
        memcpy(b8->q, level, GROUP);
        return;
    case EYE_Q4_0:
        b4->d = g->d;
        for (size_t j = 0; j < GROUP / 2; j++)
            b4->q[j] = (uint8_t)((level[j] + 8) | (level[j + GROUP / 2] + 8) << 4);
        return;
    default: store_q4_k(g, level, block);
    }
}
