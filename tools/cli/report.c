/* report: the table for people, the object for programs. */
#include "report.h"

#include <inttypes.h>
#include <math.h>

#include "cli.h"

/* ---- text ---- */

static void percent(char *out, size_t cap, double x) {
    if (x < 0) snprintf(out, cap, "-");
    else snprintf(out, cap, "%.3f %%", 100 * x);
}

/* Signal to noise of outputs with this relative error. */
static double snr_db(double rel) { return -20 * log10(rel); }

static void decibels(char *out, size_t cap, double rel) {
    if (rel < 0) snprintf(out, cap, "-");
    else snprintf(out, cap, "%.1f dB", snr_db(rel));
}

/* Matrices that are as they were are counted, not listed. */
static void text_tensors(FILE *f, const struct eye_convert_report *r) {
    bool calibrated = r->n_pairs > 0, chosen = r->n_could_raise > 0;
    uint64_t n_same = 0;
    fprintf(f, "%-32s %-6s %10s %11s", "matrix", "type", "size", "rel. RMS");
    if (calibrated) fprintf(f, " %11s %11s %9s", "of outputs", "if plain", "SNR");
    if (chosen) fprintf(f, " %9s", "in 4 bits");
    fprintf(f, "\n");
    for (uint64_t i = 0; i < r->n_matrices; i++) {
        const struct eye_convert_tensor *t = &r->tensor[i];
        char size[32], rms[32], weighted[32], plain[32], snr[32], narrow[32];
        if (t->rel_rms == 0) {
            n_same++;
            continue;
        }
        percent(rms, sizeof rms, t->rel_rms);
        percent(weighted, sizeof weighted, t->weighted);
        percent(plain, sizeof plain, t->weighted_plain);
        fprintf(f, "%-32s %-6s %10s %11s", t->name, t->type, cli_bytes(t->bytes, size, sizeof size), rms);
        decibels(snr, sizeof snr, t->weighted);
        decibels(narrow, sizeof narrow, t->weighted_4bit);
        if (calibrated) fprintf(f, " %11s %11s %9s", weighted, plain, snr);
        if (chosen) fprintf(f, " %9s", narrow);
        fprintf(f, "\n");
    }
    if (n_same) fprintf(f, "%" PRIu64 " matrices as stored\n", n_same);
}

static void text_quality(FILE *f, const struct eye_quality *q) {
    fprintf(f, "judged on            %" PRIu64 " pairs%s, %" PRIu64 " positions of answers\n", q->n_pairs,
            q->held_out ? " held out" : " (the only one there is: calibration may have seen it)", q->n_positions);
    fprintf(f, "KL divergence        %.3g nats (most %.3g)\n", q->kl_mean, q->kl_max);
    fprintf(f, "same likeliest token %.2f %%\n", 100 * q->top1);
    if (q->perplexity_a > 0) fprintf(f, "perplexity           %.4g, checkpoint %.4g\n", q->perplexity_b, q->perplexity_a);
    if (q->n_answers) {
        fprintf(f, "greedy answers       %" PRIu64 " of %" PRIu64 " equal; edit distance %.1f %%", q->n_equal, q->n_answers,
                100 * q->edit_distance);
        if (q->n_equal < q->n_answers) fprintf(f, ", first difference at token %.1f on average", q->first_difference);
        fprintf(f, "\n");
    }
    if (q->n_features)
        fprintf(f, "vision features      cosine %.6f, SNR %.1f dB\n", q->features_cosine, q->features_snr_db);
}

/* Of an int8 tower: where activations lose it. */
static void text_layers(FILE *f, const struct eye_quality *q) {
    if (!q->n_layers) return;
    fprintf(f, "\n%-32s %-6s %10s %11s\n", "layer (rounded activations)", "input", "SNR", "cosine");
    for (uint64_t i = 0; i < q->n_layers; i++) {
        const struct eye_quality_layer *l = &q->layer[i];
        fprintf(f, "%-32s %-6s %7.1f dB %11.6f\n", l->name, l->input, l->snr_db, l->cosine);
    }
}

void report_text(FILE *f, const struct report *r) {
    char in[32], out[32];
    text_tensors(f, r->convert);
    if (r->quality) text_layers(f, r->quality);
    fprintf(f, "\nsize                 %s from %s\n", cli_bytes(r->convert->bytes_out, out, sizeof out),
            cli_bytes(r->convert->bytes_in, in, sizeof in));
    if (r->convert->n_fallback)
        fprintf(f, "other types          %" PRIu64 " matrices (%s, …): the block does not divide their rows\n",
                r->convert->n_fallback, r->convert->first_fallback);
    if (r->convert->n_could_raise)
        fprintf(f, "in 8 bits            %" PRIu64 " of %" PRIu64 " matrices of the decoder's layers\n", r->convert->n_raised,
                r->convert->n_could_raise);
    if (r->convert->n_pairs)
        fprintf(f, "calibrated on        %" PRIu64 " pairs, %" PRIu64 " rows\n", r->convert->n_pairs, r->convert->n_rows);
    if (r->quality) text_quality(f, r->quality);
    else fprintf(f, "end to end           not measured: %s\n", r->why_not);
}

/* ---- JSON ---- */

/* Infinity is no JSON number: null. */
static json_t *number(double x) { return isfinite(x) ? json_real(x) : json_null(); }

static json_t *json_tensors(const struct eye_convert_report *r) {
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < r->n_matrices; i++) {
        const struct eye_convert_tensor *t = &r->tensor[i];
        json_t *o = json_pack("{s:s,s:s,s:I,s:f}", "name", t->name, "type", t->type, "bytes", (json_int_t)t->bytes, "rel_rms",
                              t->rel_rms);
        if (o && t->weighted >= 0) {
            json_object_set_new(o, "output_rel_rms", json_real(t->weighted));
            json_object_set_new(o, "output_rel_rms_plain", json_real(t->weighted_plain));
            json_object_set_new(o, "output_snr_db", number(snr_db(t->weighted)));
            if (t->weighted_4bit >= 0) json_object_set_new(o, "output_snr_db_4bit", number(snr_db(t->weighted_4bit)));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *json_layers(const struct eye_quality *q) {
    json_t *list = json_array();
    for (uint64_t i = 0; list && i < q->n_layers; i++) {
        const struct eye_quality_layer *l = &q->layer[i];
        json_array_append_new(list, json_pack("{s:s,s:s,s:o,s:f}", "name", l->name, "input", l->input, "snr_db",
                                              number(l->snr_db), "cosine", l->cosine));
    }
    return list;
}

static json_t *json_quality(const struct eye_quality *q) {
    json_t *o = json_pack("{s:I,s:I,s:b,s:I,s:I,s:o,s:o,s:f,s:f,s:f,s:I,s:I,s:f,s:f,s:I,s:f,s:o}", "pairs",
                     (json_int_t)q->n_pairs, "images", (json_int_t)q->n_images, "held_out", (int)q->held_out, "unreadable",
                     (json_int_t)q->n_unreadable, "positions", (json_int_t)q->n_positions, "kl_mean", number(q->kl_mean),
                     "kl_max", number(q->kl_max), "top1", q->top1, "perplexity", q->perplexity_b, "perplexity_checkpoint",
                     q->perplexity_a, "answers", (json_int_t)q->n_answers, "answers_equal", (json_int_t)q->n_equal,
                     "first_difference", q->first_difference, "edit_distance", q->edit_distance, "features",
                     (json_int_t)q->n_features, "features_cosine", q->features_cosine, "features_snr_db",
                     number(q->features_snr_db));
    if (o && q->n_layers) json_object_set_new(o, "layers", json_layers(q));
    return o;
}

json_t *report_json(const struct report *r) {
    json_t *o = json_pack("{s:o,s:I,s:I,s:I,s:I,s:I}", "matrices", json_tensors(r->convert), "bytes_in",
                          (json_int_t)r->convert->bytes_in, "bytes_out", (json_int_t)r->convert->bytes_out, "fallbacks",
                          (json_int_t)r->convert->n_fallback, "calibration_pairs", (json_int_t)r->convert->n_pairs,
                          "calibration_rows", (json_int_t)r->convert->n_rows);
    if (!o) return NULL;
    if (r->convert->n_could_raise) json_object_set_new(o, "raised", json_integer((json_int_t)r->convert->n_raised));
    if (r->quality) json_object_set_new(o, "end_to_end", json_quality(r->quality));
    else json_object_set_new(o, "end_to_end_missing", json_string(r->why_not));
    return o;
}
