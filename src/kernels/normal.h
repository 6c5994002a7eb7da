/* The normal distribution for vector files: 1 - Phi(t) = poly(r) r e^(-t^2/2) with r = 1 / (1 + SCALE t), t >= 0, to 7.5e-8.
 * That is erfc by Abramowitz and Stegun 7.1.26, halved, t being sqrt(2) times their x. */
#ifndef EYE_NORMAL_H
#define EYE_NORMAL_H

#define EYE_NORMAL_SCALE 0.231641888f   /* 0.3275911 / sqrt 2 */
#define EYE_NORMAL_DENSITY 0.398942280f /* 1 / sqrt(2 pi) */
static const float eye_normal_poly[5] = {0.127414796f, -0.142248368f, 0.7107068705f, -0.7265760135f, 0.5307027145f};

#endif
