/* lookup: guesses how an answer goes on: as it did where its last tokens stood before, in the prompt or further up in the answer
 * (prompt lookup decoding). Whoever asks checks the guesses; a wrong one costs time only. Knows tokens, no model. */
#ifndef EYE_LOOKUP_H
#define EYE_LOOKUP_H

#include "base/base.h"

#define EYE_MAX_LOOKUP 16 /* guesses at once, at most */

struct eye_lookup {
    size_t most;  /* guesses at once that the caller allows */
    size_t reach; /* that are made now: fewer where they were wrong */
};
void eye_lookup_start(struct eye_lookup *l, size_t most);
/* past [n]: all that stands before, what was chosen last at its end; negative ids (image rows) match nothing and end a guess.
 * guess [room]. Returns how many there are, 0 where nothing stood before. */
size_t eye_lookup_guess(const struct eye_lookup *l, const int32_t *past, size_t n, int32_t *guess, size_t room);
/* Of n_guessed the first n_right were right. */
void eye_lookup_learn(struct eye_lookup *l, size_t n_guessed, size_t n_right);

#endif
