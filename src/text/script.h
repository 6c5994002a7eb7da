/* text/script: a chat template that a checkpoint or a user brings, ready to render conversations. Stands on jinja; how its text
 * becomes segments and ids is template.h's.
 *
 *   EYE_TRY(eye_script_open(&s, text, n, "chat_template.jinja", tk, alloc, err));
 *   opts.script = s;
 *   EYE_TRY(eye_prompt_render(&prompt, EYE_TEMPLATE_SCRIPT, turns, n_turns, &opts, err));
 *
 * The variables are those of transformers: messages (role, content), add_generation_prompt, bos_token, eos_token, pad_token,
 * tools and documents (none). Content is a string; or, where the template wants that, a list of parts {"type": "image"} and
 * {"type": "text", "text": ...}, images first. Which of them it wants is tried out when it is opened. In a string each image is
 * "<image>" and a line end, as LLaVA's own code writes it; of parts, the template itself writes "<image>". */
#ifndef EYE_SCRIPT_H
#define EYE_SCRIPT_H

#include "text/jinja.h"
#include "text/tokenizer.h"

struct eye_script;
struct eye_turn;

/* Parses and tries it: whatever a question alone meets is refused here. tk is borrowed for the script's life. */
EYE_MUST_CHECK enum eye_status eye_script_open(struct eye_script **s, const char *src, size_t n, const char *where,
                                               const struct eye_tokenizer *tk, const struct eye_alloc *alloc,
                                               struct eye_err *err);
void eye_script_close(struct eye_script *s); /* NULL is fine */
const char *eye_script_where(const struct eye_script *s);
const struct eye_tokenizer *eye_script_tokenizer(const struct eye_script *s);
const char *eye_script_source(const struct eye_script *s, size_t *n); /* as given */
int32_t eye_script_stop_id(const struct eye_script *s);               /* the special token after an answer; -1 = none */
bool eye_script_writes_images(const struct eye_script *s);            /* "<image>" of the template's own is an image's place */

/* The conversation's text with its bytes' origins into r->out. follows: only what comes after an answer that stands before
 * these turns: *from = where that begins. */
EYE_MUST_CHECK enum eye_status eye_script_render(const struct eye_script *s, struct eye_jrun *r, const struct eye_turn *turns,
                                                 size_t n_turns, bool follows, bool generation_prompt, size_t *from,
                                                 struct eye_err *err);
void eye_script_run_init(const struct eye_script *s, struct eye_jrun *r, const struct eye_alloc *alloc);

#endif
