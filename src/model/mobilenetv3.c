/* MobileNetV3, small and large, and their minimalistic forms (no squeeze-excite, 3×3 kernels, ReLU): pixels -> features.
 *
 *   features.0       3×3 s2, 3 -> 16; hardswish
 *   features.1..n    [1×1 expand, act]  depthwise k×k, act  [squeeze-excite]  1×1 project;  + x where stride is 1 and widths agree
 *   features.n+1     1×1, C -> 6 C; hardswish
 *   classifier       mean over the map, linear, hardswish, linear
 *
 * A BatchNorm (eps 1e-3) follows each convolution, or is in its weights already. Squeeze-excite: mean, 1×1 to a quarter, ReLU,
 * 1×1, hardsigmoid, gate; it stands after the depthwise activation. Features are the map at a tap, [H W, C], or one row: the
 * mean of the map, or what the classifier says. Tensor names are torchvision's behind "v.". Sources: arXiv 1905.02244;
 * torchvision's mobilenetv3.py for names and the rounding of widths; keras' mobilenet_v3.py for the minimalistic form.
 *
 * Traps: there is no expansion where the expanded width equals the block's input; SAME padding as TensorFlow does it puts the
 * odd pixel at the bottom and the right, and none at the top left of an even image under stride 2.
 */
#include <stdio.h>
#include <string.h>

#include "model/registry.h"

typedef struct eye_build B;
#define NAME(...) eye_namef(__VA_ARGS__).s

struct block { int k, expanded, out, se, hard, stride; }; /* hard: hardswish, else ReLU */
static const struct block small[] = {
    {3, 16, 16, 1, 0, 2},  {3, 72, 24, 0, 0, 2},  {3, 88, 24, 0, 0, 1},  {5, 96, 40, 1, 1, 2},  {5, 240, 40, 1, 1, 1},
    {5, 240, 40, 1, 1, 1}, {5, 120, 48, 1, 1, 1}, {5, 144, 48, 1, 1, 1}, {5, 288, 96, 1, 1, 2}, {5, 576, 96, 1, 1, 1},
    {5, 576, 96, 1, 1, 1},
};
static const struct block large[] = {
    {3, 16, 16, 0, 0, 1},   {3, 64, 24, 0, 0, 2},   {3, 72, 24, 0, 0, 1},   {5, 72, 40, 1, 0, 2},   {5, 120, 40, 1, 0, 1},
    {5, 120, 40, 1, 0, 1},  {3, 240, 80, 0, 1, 2},  {3, 200, 80, 0, 1, 1},  {3, 184, 80, 0, 1, 1},  {3, 184, 80, 0, 1, 1},
    {3, 480, 112, 1, 1, 1}, {3, 672, 112, 1, 1, 1}, {5, 672, 160, 1, 1, 2}, {5, 960, 160, 1, 1, 1}, {5, 960, 160, 1, 1, 1},
};

static const struct block *blocks(const struct eye_mobilenet_config *c, int *n) {
    *n = c->large ? (int)EYE_COUNT(large) : (int)EYE_COUNT(small);
    return c->large ? large : small;
}

/* ---- widths ---- */

/* The nearest multiple of 8, never less than 0.9 of v. */
static int64_t divisible(double v) {
    int64_t n = EYE_MAX((int64_t)(v + 4) / 8 * 8, 8);
    return (double)n < 0.9 * v ? n + 8 : n;
}

static int64_t width(const struct eye_mobilenet_config *c, int channels) { return divisible(channels * c->width); }

/* ---- layers ---- */

/* One axis: output ceil(n / stride); the odd pixel goes to the end. */
static void same_axis(int64_t n, int k, int stride, int32_t *before, int32_t *after) {
    int64_t total = EYE_MAX(((n + stride - 1) / stride - 1) * stride + k - n, 0);
    *before = (int32_t)(total / 2);
    *after = (int32_t)(total - total / 2);
}

static struct eye_conv geometry(B *m, const struct eye_mobilenet_config *c, eye_val x, int k, int stride, int64_t groups) {
    struct eye_conv g = eye_conv_same(k, stride, (int)groups);
    if (c->tf_same && x != EYE_NONE) {
        same_axis(eye_dim(m->g, x, 1), k, stride, &g.pad_top, &g.pad_bottom);
        same_axis(eye_dim(m->g, x, 2), k, stride, &g.pad_left, &g.pad_right);
    }
    return g;
}

static eye_val batch_norm(B *m, const struct eye_mobilenet_config *c, eye_val x, const char *name) {
    int64_t n = eye_dim(m->g, x, -1);
    eye_val w = eye_build_vector(m, n, "%s.weight", name), b = eye_build_vector(m, n, "%s.bias", name);
    eye_val mean = eye_build_vector(m, n, "%s.running_mean", name), var = eye_build_vector(m, n, "%s.running_var", name);
    return eye_batch_norm(m->g, x, w, b, mean, var, c->bn_eps);
}

/* name.weight (+ name.bias): x has channels inputs; a 1×1 of a converted file is a matrix. */
static eye_val conv(B *m, const struct eye_mobilenet_config *c, eye_val x, const char *name, int64_t in, int64_t out, int k,
                    int stride, bool depthwise, bool bias) {
    bool matrix = m->folded && k == 1;
    eye_val w = eye_build_weight(m, matrix ? EYE_SHAPE(out, in) : EYE_SHAPE(out, depthwise ? 1 : in, k, k), "%s.weight", name);
    eye_val b = bias ? eye_build_vector(m, out, "%s.bias", name) : EYE_NONE;
    if (matrix) return eye_linear(m->g, x, w, b);
    return eye_conv2d(m->g, x, w, b, geometry(m, c, x, k, stride, depthwise ? in : 1));
}

/* torchvision's Conv2dNormActivation: name.0 the convolution, name.1 the BatchNorm. */
static eye_val conv_bn(B *m, const struct eye_mobilenet_config *c, eye_val x, const char *name, int64_t in, int64_t out, int k,
                       int stride, bool depthwise) {
    bool folded = m->folded || c->folded;
    x = conv(m, c, x, NAME("%s.0", name), in, out, k, stride, depthwise, folded);
    return folded ? x : batch_norm(m, c, x, NAME("%s.1", name));
}

static eye_val squeeze_excite(B *m, const struct eye_mobilenet_config *c, eye_val x, const char *name, int64_t channels) {
    int64_t squeezed = divisible((double)(channels / 4));
    eye_val s = eye_mean_hw(m->g, x);
    s = eye_act(m->g, conv(m, c, s, NAME("%s.fc1", name), channels, squeezed, 1, 1, false, true), EYE_ACT_RELU);
    s = eye_act(m->g, conv(m, c, s, NAME("%s.fc2", name), squeezed, channels, 1, 1, false, true), EYE_ACT_HARDSIGMOID);
    return eye_mul(m->g, x, s);
}

static enum eye_act_kind act_kind(const struct eye_mobilenet_config *c, bool hard) {
    return hard && !c->minimalistic ? EYE_ACT_HARDSWISH : EYE_ACT_RELU;
}

/* features.i: an inverted residual; its parts are numbered, absent ones have no number. */
static eye_val inverted_residual(B *m, const struct eye_mobilenet_config *c, eye_val x, int i, const struct block *b,
                                 int64_t in) {
    struct eye_name name = eye_namef("v.features.%d.block", i);
    int64_t expanded = width(c, b->expanded), out = width(c, b->out);
    enum eye_act_kind act = act_kind(c, b->hard);
    int part = 0, k = c->minimalistic ? 3 : b->k;
    eye_val y = x;
    if (expanded != in)
        y = eye_act(m->g, conv_bn(m, c, y, NAME("%s.%d", name.s, part++), in, expanded, 1, 1, false), act);
    y = eye_act(m->g, conv_bn(m, c, y, NAME("%s.%d", name.s, part++), expanded, expanded, k, b->stride, true), act);
    if (b->se && !c->minimalistic) y = squeeze_excite(m, c, y, NAME("%s.%d", name.s, part++), expanded);
    y = conv_bn(m, c, y, NAME("%s.%d", name.s, part), expanded, out, 1, 1, false);
    return b->stride == 1 && in == out ? eye_add(m->g, x, y) : y;
}

/* ---- the tower ---- */

static int last_feature(const struct eye_mobilenet_config *c) {
    int n;
    blocks(c, &n);
    return c->tap >= 0 ? (int)c->tap : n + 1;
}

int64_t eye_mobilenetv3_stride(const struct eye_binder *b) {
    return eye_binder_count(b, "v.features.") > 0; /* any side: sizes are rounded up at each stride */
}

int64_t eye_mobilenetv3_tokens(const struct eye_vision_config *v, int64_t side_px) {
    const struct eye_mobilenet_config *c = &v->mobilenet;
    int n, last = last_feature(c);
    const struct block *b = blocks(c, &n);
    if (c->output != EYE_MOBILENET_MAP) return 1;
    side_px = (side_px + 1) / 2;
    for (int i = 1; i <= EYE_MIN(n, last); i++) side_px = (side_px + b[i - 1].stride - 1) / b[i - 1].stride;
    return side_px * side_px;
}

/* One row: name.0, activation, name.3 (1 and 2 are an activation and a dropout). */
static eye_val classifier(B *m, const struct eye_mobilenet_config *c, eye_val x, int64_t in) {
    int64_t hidden = width(c, c->large ? 1280 : 1024);
    eye_val w = eye_build_weight(m, EYE_SHAPE(hidden, in), "v.classifier.0.weight");
    x = eye_linear(m->g, x, w, eye_build_vector(m, hidden, "v.classifier.0.bias"));
    x = eye_tap(m->g, eye_act(m->g, x, act_kind(c, true)), "v.classifier.0");
    w = eye_build_weight(m, EYE_SHAPE(EYE_ANY, hidden), "v.classifier.3.weight");
    return eye_linear(m->g, x, w, eye_build_vector(m, w == EYE_NONE ? EYE_ANY : eye_dim(m->g, w, 0), "v.classifier.3.bias"));
}

eye_val eye_mobilenetv3_build(struct eye_build *m, const struct eye_vlm_config *config, eye_val pixels) {
    const struct eye_mobilenet_config *c = &config->vision.mobilenet;
    int n, last = last_feature(c);
    const struct block *b = blocks(c, &n);
    int64_t in = width(c, 16);
    eye_val x = eye_act(m->g, conv_bn(m, c, pixels, "v.features.0", 3, in, 3, 2, false), act_kind(c, true));
    eye_tap(m->g, x, "v.features.0");
    for (int i = 1; i <= EYE_MIN(n, last); i++) {
        x = eye_tap(m->g, inverted_residual(m, c, x, i, &b[i - 1], in), "v.features.%d", i);
        in = width(c, b[i - 1].out);
    }
    if (last > n) {
        x = conv_bn(m, c, x, NAME("v.features.%d", last), in, 6 * in, 1, 1, false);
        x = eye_tap(m->g, eye_act(m->g, x, act_kind(c, true)), "v.features.%d", last);
        in *= 6;
    }
    for (int i = last + 1; i <= n + 1; i++) eye_build_leave(m, NAME("v.features.%d.", i));
    if (c->output != EYE_MOBILENET_CLASSIFIER) eye_build_leave(m, "v.classifier.");
    if (c->output != EYE_MOBILENET_MAP) x = eye_mean_hw(m->g, x);
    int64_t rows = eye_dim(m->g, x, 0) * eye_dim(m->g, x, 1) * eye_dim(m->g, x, 2);
    x = eye_reshape(m->g, x, 2, (int64_t[]){rows, in});
    if (c->output == EYE_MOBILENET_CLASSIFIER) x = classifier(m, c, x, in);
    return eye_tap(m->g, x, "v.features");
}

/* ---- configuration ---- */

static enum eye_status choose(const struct eye_json_at *at, const char *key, const char *const *names, int n, int *out,
                              struct eye_err *err) {
    char known[160] = "";
    const char *s;
    EYE_TRY(eye_json_str(at, key, names[0], &s, NULL, err));
    for (*out = 0; *out < n; ++*out)
        if (strcmp(s, names[*out]) == 0) return EYE_OK;
    for (int i = 0; i < n; i++) {
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", names[i]);
    }
    return eye_config_unsupported(at, key, err, "got \"%.64s\", supported: %s", s, known);
}

enum eye_status eye_mobilenetv3_read(const struct eye_json_at *at, struct eye_vlm_config *config, struct eye_err *err) {
    static const char *const variant[] = {"small", "large", "small_minimalistic", "large_minimalistic"};
    static const char *const padding[] = {"pytorch", "tf_same"}, *const output[] = {"map", "pooled", "classifier"};
    struct eye_mobilenet_config *c = &config->vision.mobilenet;
    int v, same, out, n;
    bool batch_norm;
    double eps;
    if (!eye_json_has(at, "variant")) return eye_json_fail(at, "variant", "missing", err);
    EYE_TRY(choose(at, "variant", variant, 4, &v, err));
    EYE_TRY(choose(at, "padding", padding, 2, &same, err));
    EYE_TRY(choose(at, "output", output, 3, &out, err));
    EYE_TRY(eye_config_number(at, "width", 0.05, 8, 1, &c->width, err));
    EYE_TRY(eye_json_bool(at, "batch_norm", true, &batch_norm, err));
    EYE_TRY(eye_config_number(at, "batch_norm_eps", 1e-12, 0.1, 1e-3, &eps, err));
    c->large = v % 2;
    c->minimalistic = v >= 2;
    c->tf_same = same;
    c->output = (enum eye_mobilenet_output)out;
    c->folded = !batch_norm;
    c->bn_eps = (float)eps;
    blocks(c, &n);
    EYE_TRY(eye_json_int_in(at, "tap", -1, n + 1, -1, &c->tap, err));
    if (c->output != EYE_MOBILENET_MAP && c->tap >= 0)
        return eye_config_unsupported(at, "tap", err, "only the output \"map\" can end early");
    return eye_json_int_in(at, "image_size", 1, EYE_MAX_SIDE_PX, 224, &config->prep.side_px, err);
}
