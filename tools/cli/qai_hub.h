/* qai_hub: shared by "export qai-hub" and "fastvlm compile". */
#ifndef EYELET_CLI_QAI_HUB_H
#define EYELET_CLI_QAI_HUB_H

#include "cli.h"
#include "eyelet/qai_hub.h"

/* Writes the script and says what is in it. Returns the exit code. */
int cli_qai_script(struct ui *ui, const char *const *onnx, size_t n, const char *dir, const struct eye_qai_opts *opts,
                   bool json);

#endif
