/* Ranges of values: counted in bins, chosen by what is lost.
 *
 *   minmax       all that was seen fits; one far number costs everybody's precision
 *   percentile   1 in 10,000 on either side may be cut
 *   mse          the range with the least squared error: rounding inside (step^2 / 12 each) and cutting outside */
#include "pack/ranges.h"

#include <math.h>
#include <string.h>

#define PERCENTILE 0.9999
#define N_TRIED 48
#define LEAST_SHARE 0.06 /* of the outermost number seen */

static void widen(struct eye_seen *s, double need) {
    if (s->limit == 0) s->limit = need;
    while (s->limit < need) { /* two bins become one, around the middle */
        uint64_t half[EYE_SEEN_BINS] = {0};
        for (size_t i = 0; i < EYE_SEEN_BINS; i++) half[EYE_SEEN_BINS / 4 + i / 2] += s->bin[i];
        memcpy(s->bin, half, sizeof half);
        s->limit *= 2;
    }
}

void eye_seen_add(struct eye_seen *s, const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) most = isfinite(x[i]) && fabsf(x[i]) > most ? fabsf(x[i]) : most;
    if (most > 0) widen(s, (double)most);
    double per = s->limit > 0 ? EYE_SEEN_BINS / 2 / s->limit : 0;
    for (size_t i = 0, c = 0; i < n; i++, c = c + 1 == (size_t)s->n_channels ? 0 : c + 1) {
        if (!isfinite(x[i])) continue;
        size_t at = (size_t)((double)x[i] * per + EYE_SEEN_BINS / 2);
        s->bin[EYE_MIN(at, EYE_SEEN_BINS - 1)]++;
        s->min = fminf(s->min, x[i]);
        s->max = fmaxf(s->max, x[i]);
        s->channel_max[c] = fmaxf(s->channel_max[c], fabsf(x[i]));
        s->channel_sum[c] += (double)x[i];
        s->n++;
    }
    s->n_rows += n / (size_t)s->n_channels;
}

static double centre(const struct eye_seen *s, size_t bin) {
    return ((double)bin + 0.5 - EYE_SEEN_BINS / 2) * s->limit / (EYE_SEEN_BINS / 2);
}

static double lost(const struct eye_seen *s, double lo, double hi) {
    double step = (hi - lo) / 255, sum = 0;
    for (size_t i = 0; i < EYE_SEEN_BINS; i++) {
        if (!s->bin[i] || i == EYE_SEEN_BINS / 2) continue; /* what ReLU cut off is exact */
        double x = centre(s, i), cut = x < lo ? lo - x : x > hi ? x - hi : 0;
        sum += (double)s->bin[i] * (cut > 0 ? cut * cut : step * step / 12);
    }
    return sum;
}

static void least_error(const struct eye_seen *s, double *lo, double *hi) {
    double best = INFINITY, min = *lo, max = *hi;
    for (int i = 0; i < N_TRIED; i++) {
        double share = 1 - (1 - LEAST_SHARE) * i / N_TRIED;
        for (int side = 0; side < 2; side++) { /* both ends together; then the longer one alone */
            bool upper = max > -min;
            double l = side == 0 || !upper ? min * share : min, h = side == 0 || upper ? max * share : max, e = lost(s, l, h);
            if (!(e < best) || h <= l) continue;
            best = e;
            *lo = l;
            *hi = h;
        }
    }
}

static void percentile(const struct eye_seen *s, double *lo, double *hi) {
    double allowed = (double)s->n * (1 - PERCENTILE), below = 0, above = 0;
    size_t i = 0, j = EYE_SEEN_BINS;
    while (i < EYE_SEEN_BINS && below + (double)s->bin[i] <= allowed) below += (double)s->bin[i++];
    while (j > i && above + (double)s->bin[j - 1] <= allowed) above += (double)s->bin[--j];
    *lo = EYE_MAX(*lo, EYE_MIN(centre(s, i), 0));
    *hi = EYE_MIN(*hi, EYE_MAX(centre(s, j ? j - 1 : 0), 0));
}

struct eye_quant eye_seen_range(const struct eye_seen *s, enum eye_range_method method) {
    double lo = EYE_MIN((double)s->min, 0), hi = EYE_MAX((double)s->max, 0);
    if (method == EYE_RANGE_PERCENTILE) percentile(s, &lo, &hi);
    if (method == EYE_RANGE_MSE) least_error(s, &lo, &hi);
    struct eye_quant q = {.scale = (float)((hi - lo) / 255)};
    if (!(q.scale > 1e-30f) || !isfinite(q.scale)) return (struct eye_quant){.scale = 1};
    q.zero = (int32_t)nearbyint(EYE_MIN(EYE_MAX(-lo / (double)q.scale, 0), 255));
    return q;
}

#define MOST_ROOM 4.0       /* times what was seen: other pictures than the calibration's go beyond it */
#define LEAST_ROOM 1.25
#define STEPS_SEEN 2048     /* between 0 and the largest that was seen, before room is given for it */

struct eye_quant eye_seen_wide_range(const struct eye_seen *s, int64_t k) {
    int32_t widest = eye_quant_widest(k);
    double room = EYE_MIN(EYE_MAX((double)widest / STEPS_SEEN, LEAST_ROOM), MOST_ROOM);
    double most = room * EYE_MAX(fabs((double)s->min), fabs((double)s->max));
    struct eye_quant q = {.scale = (float)(most / EYE_MAX(widest, 1)), .wide = widest};
    return widest && q.scale > 0 && isfinite(q.scale) ? q : (struct eye_quant){0};
}
