/* train/synth_text: what captions say of a scene, and whether a caption says what there is; see synth.h. One list of words
 * serves both. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "train/synth.h"

static const char *const colour_words[] = {"red", "green", "blue", "yellow", "purple", "orange", NULL};
static const char *const shape_words[] = {"circle", "square", "triangle", "star", NULL};
static const char *const size_words[] = {"small", "large", NULL};
static const char *const background_words[] = {"white", "grey", "black", NULL};
/* As in eye_synth_scene.place, with what stands before it. */
static const char *const place_words[] = {"left", "right", "top", "bottom", "middle", NULL};
static const char *const place_phrases[] = {"on the left", "on the right", "at the top", "at the bottom", "in the middle"};
/* [row or column][forwards or backwards] */
static const char *const relations[2][2] = {{"to the left of", "to the right of"}, {"above", "below"}};
static const char *const orders[2][2] = {{"from left to right", "from right to left"},
                                         {"from top to bottom", "from bottom to top"}};

const char *eye_synth_kind_name(enum eye_synth_kind k) {
    static const char *const names[EYE_SYNTH_N_KINDS] = {"count", "colour", "shape", "size", "place", "background"};
    return (unsigned)k < EYE_SYNTH_N_KINDS ? names[k] : "?";
}

/* ---- writing ---- */

enum { PHRASE = 40 };
static void phrase(const struct eye_synth_object *o, char out[PHRASE]) {
    snprintf(out, PHRASE, "a %s %s %s", size_words[o->size], colour_words[o->colour], shape_words[o->shape]);
}

static void caption_one(const struct eye_synth_scene *s, int k, char *out) {
    const struct eye_synth_object *o = &s->object[0];
    const char *place = place_phrases[s->place], *b = background_words[s->background];
    char a[PHRASE];
    size_t cap = EYE_SYNTH_CAPTION_MAX;
    phrase(o, a);
    switch (k) {
    case 0: snprintf(out, cap, "%s %s of a %s background", a, place, b); break;
    case 1: snprintf(out, cap, "there is %s %s and the background is %s", a, place, b); break;
    case 2: snprintf(out, cap, "%s of a %s picture is %s", place, b, a); break;
    case 3: snprintf(out, cap, "a %s picture with %s %s", b, a, place); break;
    default:
        snprintf(out, cap, "the %s %s %s is %s and the background is %s", colour_words[o->colour], shape_words[o->shape], place,
                 size_words[o->size], b);
    }
}

static void caption_two(const struct eye_synth_scene *s, int k, char *out) {
    const char *there = relations[s->place][0], *back = relations[s->place][1], *b = background_words[s->background];
    char p[2][PHRASE];
    size_t cap = EYE_SYNTH_CAPTION_MAX;
    for (int i = 0; i < 2; i++) phrase(&s->object[i], p[i]);
    switch (k) {
    case 0: snprintf(out, cap, "%s %s %s on a %s background", p[0], there, p[1], b); break;
    case 1: snprintf(out, cap, "there is %s %s %s and the background is %s", p[0], there, p[1], b); break;
    case 2: snprintf(out, cap, "%s %s %s on a %s background", p[1], back, p[0], b); break;
    case 3: snprintf(out, cap, "on a %s background %s is %s %s", b, p[0], there, p[1]); break;
    default: snprintf(out, cap, "a %s picture where %s is %s %s", b, p[1], back, p[0]);
    }
}

static void caption_three(const struct eye_synth_scene *s, int k, char *out) {
    bool backwards = k == 2 || k == 4;
    const char *order = orders[s->place][backwards], *b = background_words[s->background];
    char p[3][PHRASE];
    size_t cap = EYE_SYNTH_CAPTION_MAX;
    for (int i = 0; i < 3; i++) phrase(&s->object[backwards ? 2 - i : i], p[i]);
    switch (k) {
    case 0:
    case 2: snprintf(out, cap, "%s, %s and %s %s on a %s background", p[0], p[1], p[2], order, b); break;
    case 1: snprintf(out, cap, "%s there are %s, %s and %s and the background is %s", order, p[0], p[1], p[2], b); break;
    case 3: snprintf(out, cap, "a %s picture with %s, %s and %s %s", b, p[0], p[1], p[2], order); break;
    default: snprintf(out, cap, "on a %s background there are %s, %s and %s %s", b, p[0], p[1], p[2], order);
    }
}

void eye_synth_caption(const struct eye_synth_scene *s, int k, char out[EYE_SYNTH_CAPTION_MAX]) {
    if (s->n_objects == 1)
        caption_one(s, k, out);
    else if (s->n_objects == 2)
        caption_two(s, k, out);
    else
        caption_three(s, k, out);
}

/* ---- reading ---- */

enum { UNSAID = -1, CONTRADICTED = -2, MAX_SAID = 8, MIDDLE = 4, ABOVE = 5 };

struct said { int colour, shape, size; };
struct claim { /* what a caption says */
    struct said object[MAX_SAID];
    int n_objects;
    struct said pending;         /* adjectives whose noun has not come yet */
    int background;
    int direction[2], n_directions; /* words of place in the order of the text: place_words, then above, below */
    bool too_many;
};

static int word_in(const char *const *words, const char *p, size_t n) {
    for (int i = 0; words[i]; i++)
        if (strlen(words[i]) == n && memcmp(words[i], p, n) == 0) return i;
    return -1;
}

static void say(int *slot, int value) { *slot = *slot == UNSAID || *slot == value ? value : CONTRADICTED; }

static void read_word(struct claim *c, const char *p, size_t n) {
    static const char *const stacked[] = {"above", "below", NULL};
    int v;
    if ((v = word_in(colour_words, p, n)) >= 0) {
        say(&c->pending.colour, v);
    } else if ((v = word_in(size_words, p, n)) >= 0) {
        say(&c->pending.size, v);
    } else if ((v = word_in(shape_words, p, n)) >= 0) {
        c->pending.shape = v;
        if (c->n_objects < MAX_SAID) c->object[c->n_objects++] = c->pending;
        c->pending = (struct said){UNSAID, UNSAID, UNSAID};
    } else if ((v = word_in(background_words, p, n)) >= 0) {
        say(&c->background, v);
    } else if ((v = word_in(place_words, p, n)) >= 0 || (v = word_in(stacked, p, n) + ABOVE) >= ABOVE) {
        if (c->n_directions < 2)
            c->direction[c->n_directions++] = v;
        else
            c->too_many = true;
    }
}

static struct claim read_caption(const char *text) {
    struct claim c = {.pending = {UNSAID, UNSAID, UNSAID}, .background = UNSAID};
    while (*text) {
        char word[16];
        size_t n = 0, len = 0;
        while (*text && !isalpha((unsigned char)*text)) text++;
        for (; isalpha((unsigned char)text[len]); len++)
            if (n < sizeof word) word[n++] = (char)tolower((unsigned char)text[len]);
        if (len && len < sizeof word) read_word(&c, word, n);
        text += len;
    }
    if (c.n_objects) { /* "the red circle is small": adjectives that no noun followed */
        struct said *last = &c.object[c.n_objects - 1];
        if (c.pending.size != UNSAID) say(&last->size, c.pending.size);
        if (c.pending.colour != UNSAID) say(&last->colour, c.pending.colour);
    }
    return c;
}

/* How n objects stand by the words of place, or UNSAID. *backwards: the caption names them from the other end. Of one object
 * there is one such word; of two too ("a is left of b"); of three two opposite ones ("from left to right"). */
static int place_of(const struct claim *c, int n, bool *backwards) {
    int first = c->n_directions ? c->direction[0] : UNSAID;
    *backwards = false;
    if (first == UNSAID || c->too_many || c->n_directions != (n == 3 ? 2 : 1)) return UNSAID;
    if (n == 1) return first < ABOVE ? first : UNSAID;
    if (n == 2 && first >= ABOVE) first += 2 - ABOVE; /* in a column neighbours are above and below, ends are top and bottom */
    else if (first >= (n == 2 ? 2 : MIDDLE)) return UNSAID;
    *backwards = first & 1;
    return n == 3 && c->direction[1] != (first ^ 1) ? UNSAID : first / 2;
}

void eye_synth_judge(const struct eye_synth_scene *s, const char *caption, struct eye_synth_score *sum) {
    struct claim c = read_caption(caption);
    size_t right[EYE_SYNTH_N_KINDS] = {0};
    bool backwards;
    right[EYE_SYNTH_PLACE] = place_of(&c, s->n_objects, &backwards) == s->place;
    right[EYE_SYNTH_BACKGROUND] = c.background == s->background;
    right[EYE_SYNTH_COUNT] = c.n_objects == s->n_objects;
    for (int i = 0; i < s->n_objects && i < c.n_objects; i++) {
        const struct eye_synth_object *o = &s->object[backwards ? s->n_objects - 1 - i : i];
        right[EYE_SYNTH_COLOUR] += c.object[i].colour == o->colour;
        right[EYE_SYNTH_SHAPE] += c.object[i].shape == o->shape;
        right[EYE_SYNTH_SIZE] += c.object[i].size == o->size;
    }
    bool exact = true;
    for (int k = 0; k < EYE_SYNTH_N_KINDS; k++) {
        bool of_objects = k == EYE_SYNTH_COLOUR || k == EYE_SYNTH_SHAPE || k == EYE_SYNTH_SIZE;
        size_t of = of_objects ? (size_t)s->n_objects : 1;
        sum->n_of[k] += of;
        sum->n_right[k] += right[k];
        exact &= right[k] == of;
    }
    sum->n++;
    sum->n_exact += exact;
}

bool eye_synth_scene_of(const char *caption, struct eye_synth_scene *s) {
    struct claim c = read_caption(caption);
    bool backwards, whole = c.n_objects >= 1 && c.n_objects <= EYE_SYNTH_MAX_OBJECTS && c.background >= 0;
    if (!whole) return false;
    *s = (struct eye_synth_scene){.n_objects = c.n_objects, .background = c.background};
    s->place = place_of(&c, c.n_objects, &backwards);
    for (int i = 0; i < c.n_objects; i++) {
        const struct said *o = &c.object[backwards ? c.n_objects - 1 - i : i];
        whole &= o->colour >= 0 && o->size >= 0;
        s->object[i] = (struct eye_synth_object){.colour = o->colour, .shape = o->shape, .size = o->size};
    }
    return whole && s->place >= 0;
}

void eye_synth_judge_set(const struct eye_dataset *set, const uint32_t *picture, const char *const *caption, size_t n,
                         struct eye_synth_score *sum) {
    *sum = (struct eye_synth_score){0};
    for (size_t i = 0; i < n; i++) {
        struct eye_synth_scene scene;
        if (!eye_synth_scene_of(set->caption[set->image[picture[i]].first].text, &scene)) {
            *sum = (struct eye_synth_score){0};
            return;
        }
        eye_synth_judge(&scene, caption[i], sum);
    }
}
