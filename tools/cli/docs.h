/* docs: manual pages and shell completion from the tables that parse the command line and print the help texts, so that none
 * of them can say anything else. Knows no single command. */
#ifndef EYELET_CLI_DOCS_H
#define EYELET_CLI_DOCS_H

#include "args.h"

/* commands: NULL-terminated. To stdout, in man(7) macros. cmd NULL = the page of the program itself. */
void docs_man(const struct command *const *commands, const struct command *cmd, const char *version);
/* shell: "bash", "zsh" or "fish"; false = none of these, nothing was printed. */
bool docs_completion(const struct command *const *commands, const char *shell);

#endif
