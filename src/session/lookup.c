/* session/lookup: see lookup.h. The longest ending of 3, then 2 tokens counts, where it stood last. One token alone stands before
 * nearly always and says little. */
#include "session/lookup.h"

enum { LONGEST = 3, SHORTEST = 2 };

void eye_lookup_start(struct eye_lookup *l, size_t most) {
    *l = (struct eye_lookup){.most = EYE_MIN(most, EYE_MAX_LOOKUP)};
    l->reach = EYE_MIN(l->most, 4);
}

static bool same(const int32_t *a, const int32_t *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i] || a[i] < 0) return false;
    return true;
}

/* What follows past[at - 1]; past its end the guesses themselves, so that a loop goes on as one. */
static size_t copy(const int32_t *past, size_t n, size_t at, int32_t *guess, size_t room) {
    size_t k = 0;
    for (; k < room; k++) {
        guess[k] = at + k < n ? past[at + k] : guess[at + k - n];
        if (guess[k] < 0) break;
    }
    return k;
}

size_t eye_lookup_guess(const struct eye_lookup *l, const int32_t *past, size_t n, int32_t *guess, size_t room) {
    room = EYE_MIN(room, l->reach);
    if (room == 0) return 0;
    for (size_t len = LONGEST; len >= SHORTEST; len--) {
        if (n <= len) continue;
        for (size_t at = n - len; at-- > 0;) {
            if (!same(past + at, past + n - len, len)) continue;
            size_t k = copy(past, n, at + len, guess, room);
            if (k) return k;
        }
    }
    return 0;
}

/* All right: twice as many. Else one more than were right: where guesses fail they soon cost one row. */
void eye_lookup_learn(struct eye_lookup *l, size_t n_guessed, size_t n_right) {
    if (n_guessed) l->reach = EYE_MIN(n_right == n_guessed ? EYE_MAX(2 * n_right, l->reach) : n_right + 1, l->most);
}
