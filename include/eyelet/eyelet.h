/* eyelet: vision-language models on edge devices, in C.
 *
 *   struct eye_model *model;
 *   struct eye_session *s;
 *   struct eye_image img;
 *   struct eye_result r;
 *   struct eye_err err = {0};
 *   if (eye_model_open("model.gguf", NULL, &model, &err) == EYE_OK && eye_session_new(model, NULL, &s, &err) == EYE_OK &&
 *       eye_image_load("cat.jpg", NULL, &img, &err) == EYE_OK) {
 *       struct eye_query p = {.text = "Describe this image.", .images = &img, .n_images = 1};
 *       if (eye_session_generate(s, &p, NULL, &r, &err) == EYE_OK) puts(r.text);
 *   }
 *   if (err.code != EYE_OK) fprintf(stderr, "%s\n", err.text);
 *
 * status.h errors · image.h files to pixels · model.h open and ask · session.h images and text in, text out ·
 * batch.h many requests at once · grammar.h answers that are JSON.
 */
#ifndef EYELET_EYELET_H
#define EYELET_EYELET_H

#include "eyelet/batch.h"
#include "eyelet/grammar.h"
#include "eyelet/image.h"
#include "eyelet/model.h"
#include "eyelet/session.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EYE_VERSION_MAJOR 0
#define EYE_VERSION_MINOR 1
#define EYE_VERSION_PATCH 0

/* Of the library that runs, "0.1.0"; the macros are of the headers that were compiled. */
EYE_API const char *eye_version(void);

#ifdef __cplusplus
}
#endif
#endif
