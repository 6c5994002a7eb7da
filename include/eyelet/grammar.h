/* Answers that are JSON: a grammar says which tokens may come next, so an answer parses, and is of the schema, by construction.
 *
 *   struct eye_grammar *g;
 *   if (eye_grammar_json_schema(model, "{\"type\":\"object\",\"properties\":{\"people\":{\"type\":\"integer\"}},"
 *                               "\"required\":[\"people\"]}", &g, &err) != EYE_OK) goto fail;
 *   struct eye_generate_opts opts = {.grammar = g, .n_predict = 128};
 *   ... eye_session_generate(s, &query, &opts, &result, &err) ...
 *   eye_grammar_free(g);
 *
 * An answer that ends by itself is whole and valid. One that runs out of tokens closes what it has opened before they end,
 * where they are enough for that at all and the tokenizer has every single byte (byte-level BPE; byte fallback): its finish is
 * EYE_FINISH_STOP then too. A stop string of the caller's still cuts anywhere. Beams are not searched under a grammar.
 *
 * Of JSON Schema: type, properties, required, additionalProperties, items, minItems, maxItems, minLength, maxLength, pattern,
 * enum, const, anyOf, oneOf, $ref into the schema itself, minimum, maximum, exclusiveMinimum, exclusiveMaximum.
 *   oneOf     where no value can be of two of its schemas, as far as is seen: from types, from listed strings, from a property
 *             that objects must have and that has another const in each
 *   pattern   characters, classes, groups, |, * + ? {m,n}, and ^ and $ at the ends; not beside minLength, maxLength
 *   bounds    all of integers; of other numbers minimum and maximum that are whole, then without exponents
 * Keywords that only describe are passed over; all others are refused by name. Objects have their properties in the schema's
 * order and, where it lists some, no others; numbers at most 15 digits before and after the point; values nest at most 48 deep.
 */
#ifndef EYELET_GRAMMAR_H
#define EYELET_GRAMMAR_H

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct eye_grammar; /* immutable: may be shared by threads and answers */

/* Any JSON object. The model must outlive the grammar, which is for its tokens only; the first one of a model puts its
 * vocabulary in order, some 50 ms for 150,000 tokens. *g is set only on success. Returns EYE_OK; NOMEM. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_grammar_json(struct eye_model *model, struct eye_grammar **g, struct eye_err *err);
/* What a JSON Schema describes. schema  NUL-terminated UTF-8, from anyone; borrowed for the call.
 * Returns EYE_OK; CORRUPT (no JSON, a keyword of a wrong type); UNSUPPORTED (a keyword that is not done, nothing finite is so);
 * LIMIT (256 KiB, 1024 schemas, 65,536 steps with counts written out); NOMEM. The text names the place. Threads: any. */
EYE_API EYE_MUST_CHECK enum eye_status eye_grammar_json_schema(struct eye_model *model, const char *schema,
                                                               struct eye_grammar **g, struct eye_err *err);
/* No answer may be using it. NULL is fine. */
EYE_API void eye_grammar_free(struct eye_grammar *g);

#ifdef __cplusplus
}
#endif
#endif
