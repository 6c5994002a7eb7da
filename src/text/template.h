/* text/template: conversations to prompts. A template is a row of a table chosen by name: a family's prompt is part of the model
 * and has to be exact; or a script (script.h), when nobody here knows the family. Sits on the tokenizer; knows no model and no
 * pixels: an image is a place in the prompt.
 *
 *   struct eye_turn turns[] = {{EYE_ROLE_USER, "Describe the image.", 19, 1}};
 *   eye_prompt_init(&prompt, alloc);
 *   EYE_TRY_GOTO(eye_prompt_render(&prompt, EYE_TEMPLATE_QWEN2, turns, 1, &opts, err));
 *   EYE_TRY_GOTO(eye_prompt_encode(&prompt, tk, &ids, err));       ids: ..., EYE_TOKEN_IMAGE, ...
 *
 * Text around images is tokenized part by part where the family's own code does that. Source: ml-fastvlm, conversation
 * "qwen_2"; see the family's page in doc/models. */
#ifndef EYE_TEMPLATE_H
#define EYE_TEMPLATE_H

#include "text/script.h"
#include "text/tokenizer.h"

#define EYE_TOKEN_IMAGE (-200) /* stands in the ids where the rows of one image belong; LLaVA's number */
#define EYE_IMAGE_MARK "<image>"

enum eye_template {
    EYE_TEMPLATE_RAW,      /* the turns' texts as they stand, one after the other */
    EYE_TEMPLATE_QWEN2,    /* ChatML with FastVLM's system prompt */
    EYE_TEMPLATE_CHATML,   /* the same without a system prompt of its own */
    EYE_TEMPLATE_VICUNA,   /* LLaVA-1.5's conversation "vicuna_v1" */
    EYE_TEMPLATE_LLAVA,    /* llava-1.5 on Hugging Face: USER and ASSISTANT without a system sentence, answers not closed */
    EYE_TEMPLATE_SMOLVLM,  /* SmolVLM, SmolVLM2, Idefics3: images stand right after "User:" */
    EYE_TEMPLATE_LLAMA2,   /* [INST] ... [/INST]; BOS before each question; texts are stripped */
    EYE_TEMPLATE_TINYLLAVA, /* all images, then BOS, then the turns' texts as they stand */
    EYE_TEMPLATE_SCRIPT    /* as eye_template_opts.script says; has no name */
};
/* "raw", "none", "plain"; "qwen2"; "chatml"; "vicuna", "vicuna_v1"; "llava"; "smolvlm", "idefics3"; "llama2", "llama-2-chat";
 * "tinyllava". false = not known. */
bool eye_template_by_name(const char *name, enum eye_template *out);
const char *eye_template_name(enum eye_template kind); /* the first of its names */
/* Appends "raw, qwen2, ...", for error texts; what is returned lies in out. */
const char *eye_template_list(struct eye_buf *out);

enum eye_role { EYE_ROLE_SYSTEM, EYE_ROLE_USER, EYE_ROLE_ASSISTANT };

/* One turn. Text is any bytes (invalid UTF-8 becomes U+FFFD). Images stand before the text, each followed by a line end where
 * the template says so. EYE_IMAGE_MARK in the text of a chat is text, never an image or an image token; in EYE_TEMPLATE_RAW it
 * is the place of the next image; images without a mark go in front; more marks than images is ARG. */
struct eye_turn {
    enum eye_role role;
    const char *text;
    size_t len;
    int n_images;
};

struct eye_prompt;
struct eye_template_opts {
    const struct eye_script *script; /* for EYE_TEMPLATE_SCRIPT; borrowed as long as the prompt is */
    bool no_generation_prompt; /* do not open the assistant's turn at the end */
    bool follows;              /* an answer stands before these turns: close it; without the template's beginning and system */
    /* Special tokens in what users wrote are plain text. Off by default: ids then equal those of the tokenizers library for the
     * rendered prompt. A server that takes text from strangers should set it. */
    bool protect_user;
    /* Puts into p what stands for image i, counted over all turns, with the two functions below; NULL = one EYE_TOKEN_IMAGE. */
    enum eye_status (*image)(void *ctx, struct eye_prompt *p, size_t i, struct eye_err *err);
    void *image_ctx;
};

/* A piece of a prompt: text [from, to) of eye_prompt.text, or an image. */
struct eye_prompt_piece {
    bool is_image;
    size_t from, to;
    size_t i_literal, n_literal; /* ranges of eye_prompt.literal in it, relative to from */
};
struct eye_prompt {
    const struct eye_alloc *alloc;
    enum eye_template kind;
    struct eye_buf text; /* valid UTF-8 */
    struct eye_prompt_piece *segment;
    size_t n_segment, segment_cap;
    struct eye_text_range *literal;
    size_t n_literal, literal_cap;
    size_t n_images;               /* image segments */
    size_t n_pictured;             /* images of turns that have come */
    bool has_bos;                  /* a script has written it */
    struct eye_template_opts opts; /* of the rendering under way */
};
void eye_prompt_init(struct eye_prompt *p, const struct eye_alloc *alloc);
void eye_prompt_clear(struct eye_prompt *p);

/* Replaces what p holds. opts NULL = defaults. Without a system turn at the beginning the template's own is put there. ARG,
 * NOMEM. */
EYE_MUST_CHECK enum eye_status eye_prompt_render(struct eye_prompt *p, enum eye_template kind, const struct eye_turn *turns,
                                                 size_t n_turns, const struct eye_template_opts *opts, struct eye_err *err);
/* For eye_template_opts.image: text of the family's own, in which special tokens are tokens (NULL = none); one
 * EYE_TOKEN_IMAGE. */
EYE_MUST_CHECK enum eye_status eye_prompt_add_text(struct eye_prompt *p, const char *text, struct eye_err *err);
EYE_MUST_CHECK enum eye_status eye_prompt_add_image(struct eye_prompt *p, struct eye_err *err);
/* Appends the ids of a rendered prompt, EYE_TOKEN_IMAGE once per image segment. UNSUPPORTED if the tokenizer lacks the template's
 * special tokens. The post-processor's tokens before a text (BOS) come first, once; not where it follows an answer, nor where a
 * script has written BOS itself. */
EYE_MUST_CHECK enum eye_status eye_prompt_encode(const struct eye_prompt *p, const struct eye_tokenizer *tk,
                                                 struct eye_ids *ids, struct eye_err *err);

/* Renders, then encodes into ids (emptied first), so that text tokens + n_image_tok per image are at most max_tok: tokens of
 * the last user turn's text are dropped from its end, never anything else. *n_dropped = how many. LIMIT if the prompt without
 * that text is still too long. (EYE_TEMPLATE_RAW: an image whose mark is cut off goes in front.) */
EYE_MUST_CHECK enum eye_status eye_prompt_fit(struct eye_prompt *p, enum eye_template kind, const struct eye_turn *turns,
                                              size_t n_turns, const struct eye_template_opts *opts,
                                              const struct eye_tokenizer *tk, size_t n_image_tok, size_t max_tok,
                                              struct eye_ids *ids, size_t *n_dropped, struct eye_err *err);

/* Tokens that end an answer; returns how many were written. */
#define EYE_TEMPLATE_MAX_STOP 4
size_t eye_template_stop_ids(enum eye_template kind, const struct eye_script *script, const struct eye_tokenizer *tk,
                             int32_t out[EYE_TEMPLATE_MAX_STOP]);

#endif
