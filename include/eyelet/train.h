/* Training: data sets of pictures and captions, what is wrong with them, and what is made of them. In the static library only.
 *
 *   const char *paths[] = {"flickr8k"};
 *   struct eye_dataset *set;
 *   struct eye_dataset_info info;
 *   if (eye_dataset_open(paths, 1, NULL, &set, &err) != EYE_OK) return fprintf(stderr, "%s\n", err.text);
 *   eye_dataset_get_info(set, &info);
 *   printf("%zu pictures for training\n", info.n_images[EYE_SPLIT_TRAIN]);
 *   eye_dataset_close(set);
 */
#ifndef EYELET_TRAIN_H
#define EYELET_TRAIN_H

#include "eyelet/model.h"
#include "eyelet/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets ---- */

enum eye_data_format {
    EYE_DATA_AUTO = 0, /* told from names and contents */
    EYE_DATA_COCO,     /* captions_*.json: {"images": [{id, file_name}], "annotations": [{image_id, caption}]} */
    EYE_DATA_KARPATHY, /* dataset_*.json: {"images": [{filename, split, sentences: [{raw}]}]} */
    EYE_DATA_FLICKR,   /* Flickr8k.token.txt: NAME#K, a tab, the caption */
    EYE_DATA_CSV,      /* captions.txt of Kaggle: header image,caption; fields may be quoted */
    EYE_DATA_LLAVA,    /* [{image, conversations: [{from, value}]}] */
    EYE_DATA_TSV,      /* IMAGE, tab, CAPTION and perhaps tab, SPLIT */
    EYE_DATA_TEXT,     /* one caption a line, no pictures */
    EYE_DATA_IMAGES,   /* a folder of pictures, no captions */
    EYE_DATA_N_FORMATS
};
const char *eye_data_format_name(enum eye_data_format f); /* "coco", ...; never NULL */

enum eye_split { EYE_SPLIT_NONE = 0, EYE_SPLIT_TRAIN, EYE_SPLIT_DEV, EYE_SPLIT_TEST, EYE_N_SPLITS };
const char *eye_split_name(enum eye_split s); /* "none", "train", "dev", "test" */

/* What can be wrong with a data set. ERROR: training or its figures would be wrong; WARNING: worth a look. */
enum eye_data_severity { EYE_DATA_WARNING = 0, EYE_DATA_ERROR };
enum eye_data_issue {
    /* found while a list is read */
    EYE_ISSUE_BAD_ITEM,              /* an entry without what it must have: skipped */
    EYE_ISSUE_CAPTION_WITHOUT_IMAGE, /* it names a picture that the list does not have: skipped */
    EYE_ISSUE_CAPTION_EMPTY,         /* skipped */
    EYE_ISSUE_CAPTION_LONG,          /* more words than asked for; above 64 KiB: skipped */
    EYE_ISSUE_ENCODING,              /* not UTF-8 (repaired), or UTF-8 taken for Latin-1 once */
    EYE_ISSUE_SPLIT_UNKNOWN,         /* a split list names a picture that is not there */
    EYE_ISSUE_IMAGE_WITHOUT_SPLIT,   /* other pictures have a split, this one has none */
    EYE_ISSUE_IMAGE_WITHOUT_CAPTION,
    /* found by eye_dataset_check */
    EYE_ISSUE_IMAGE_MISSING,
    EYE_ISSUE_IMAGE_UNREADABLE,
    EYE_ISSUE_IMAGE_DAMAGED,         /* decoded, but with damage that was concealed */
    EYE_ISSUE_DUPLICATE_ACROSS,      /* the same bytes in two splits */
    EYE_ISSUE_NEAR_ACROSS,           /* pictures in two splits that look the same */
    EYE_ISSUE_DUPLICATE_WITHIN,      /* the same bytes in one split */
    EYE_ISSUE_NEAR_WITHIN,
    EYE_ISSUE_LEAK,                  /* a caption of a picture that is (nearly) in two splits, word for word in both */
    EYE_ISSUE_ANSWER_IN_QUESTION,    /* an answer of three words or more that stands in its question */
    EYE_ISSUE_CAPTION_TWICE,         /* twice on one picture */
    EYE_N_ISSUES
};
const char *eye_data_issue_name(enum eye_data_issue i); /* "bad_item", ... */
const char *eye_data_issue_text(enum eye_data_issue i); /* for people */
enum eye_data_severity eye_data_issue_severity(enum eye_data_issue i);

#define EYE_DATA_N_EXAMPLES 3
struct eye_data_report {
    struct eye_data_row {
        size_t n;
        char example[EYE_DATA_N_EXAMPLES][200]; /* the first ones; "" = none */
    } row[EYE_N_ISSUES];
};

struct eye_dataset; /* read-only once open: any number of threads */

struct eye_dataset_opts { /* all zero = default */
    enum eye_data_format format;
    const char *images;       /* folder that names in the list are relative to; NULL = looked for beside the list */
    const char *split_list[EYE_N_SPLITS]; /* files that name the pictures of a split; NULL = those beside the list */
    int max_words;            /* of a caption, above which it is counted as long; 0 = 100 */
    const struct eye_alloc *alloc;
};

/* paths    n_paths lists, or folders with a list in them (or with pictures only).
 * Order: pictures as the lists name them, their captions likewise. A COCO file's split is in its name.
 * Entries that are not usable are counted (eye_dataset_get_report), not fatal.
 * Returns EYE_OK; IO; CORRUPT (JSON that is none, a quote that never closes); UNSUPPORTED (no known format: says which are);
 * LIMIT (a list above 4 GiB); ARG (a folder with several lists that do not belong together); NOMEM.
 * Memory: the lists' texts, once; JSON is read entry by entry. */
EYE_MUST_CHECK enum eye_status eye_dataset_open(const char *const *paths, size_t n_paths, const struct eye_dataset_opts *opts,
                                                struct eye_dataset **set, struct eye_err *err);
void eye_dataset_close(struct eye_dataset *set); /* NULL is fine */

struct eye_dataset_info {
    enum eye_data_format format;        /* of the first list */
    size_t n_images[EYE_N_SPLITS];
    size_t n_captions[EYE_N_SPLITS];    /* of pictures in that split; texts without a picture count as EYE_SPLIT_NONE */
    size_t n_answers;                   /* captions that answer a question */
    double mean_words;
    int max_words;
};
void eye_dataset_get_info(const struct eye_dataset *set, struct eye_dataset_info *info);
const struct eye_data_report *eye_dataset_get_report(const struct eye_dataset *set); /* borrowed */

struct eye_data_check_opts { /* all zero = default */
    bool no_images;           /* captions only: pictures are not opened */
    int n_threads;            /* 0 = all processors */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};
/* Opens every picture: unreadable ones, exact (SHA-256) and near (perceptual hash and colours) duplicates, captions that leak.
 * report   gets what opening the list found and what this finds.
 * Returns EYE_OK also when much is wrong; NOMEM, CANCELLED. Source of the hash: difference hash of 16 x 16 brightness steps. */
EYE_MUST_CHECK enum eye_status eye_dataset_check(const struct eye_dataset *set, const struct eye_data_check_opts *opts,
                                                 struct eye_data_report *report, struct eye_err *err);

/* ---- training ---- */

enum eye_train_use { EYE_TRAIN_CAPTION, EYE_TRAIN_LM, EYE_DISTIL_VISION, EYE_DISTIL_JOINT };
struct eye_train_progress { /* after each step */
    const char *stage;
    int64_t step, n_steps;           /* of the stage */
    double loss, lr, grad_norm;
    double rows_per_s, images_per_s;
    double seconds_left;             /* of the stage */
};
/* Processes that make one run together: each calls eye_train with the same options but rank, on the same files (out is a shared
 * folder: rank 0 writes it, the others read). A step's `accumulate` batches are dealt out, so each stage's accumulate must be a
 * multiple of n; the result is that of one process, bit for bit, if all have CPUs of one kind. A rank that fails returns while the
 * others wait in a call of theirs: it is the caller who ends them (as mpirun does). */
struct eye_ranks {
    int32_t rank, n; /* 0 to n - 1; at most 1024 */
    void *ctx;
    /* mine [bytes] of each rank, in their order, to all: all [n, bytes]. false = failed. Called by one thread, by all ranks in the
     * same order with the same bytes; so is swap. */
    bool (*gather)(void *ctx, const void *mine, void *all, size_t bytes);
    /* Block r of mine [n, bytes] goes to rank r; block r of theirs [n, bytes] comes from rank r. */
    bool (*swap)(void *ctx, const void *mine, void *theirs, size_t bytes);
};

struct eye_train_opts {
    const char *recipe;              /* JSON file; keys: doc/TRAINING.md */
    const char *out;                 /* folder of the run; made if absent */
    const char *data;                /* what DATA/ in the recipe's paths stands for; NULL = none may be in them */
    const char *const *set;          /* [n_set] "key.path=value" over the recipe */
    size_t n_set;
    bool resume;                     /* go on with the run in out; else a folder with a run in it is refused */
    bool measure_only;               /* count the student's parameters, train nothing */
    bool init_only;                  /* make the student as it begins, in out/student, and train nothing; use is not looked at */
    int n_threads;                   /* 0 = all processors */
    enum eye_train_use use;          /* must be the recipe's kind */
    void (*progress)(void *ctx, const struct eye_train_progress *p);
    void (*say)(void *ctx, const char *what, double done_0_to_1); /* long preparations */
    void (*note)(void *ctx, const char *line);                    /* a line for people: evaluations, warnings */
    void *ctx;
    eye_cancel_fn *cancel;           /* asked often: the run is saved and can be resumed */
    void *cancel_ctx;
    const struct eye_ranks *ranks;   /* NULL = this process alone */
    const struct eye_alloc *alloc;
};
struct eye_train_result {
    uint64_t n_params, n_imported;   /* of a fresh student */
    int64_t steps;                   /* in all */
    double seconds;
    double dev_loss, shuffled_loss;  /* of the last evaluation, with true pictures and with those of others; 0 = none */
};
/* Runs a recipe. out gets recipe.json, log.jsonl, report.html, checkpoints/, best/ and student/: the last two are checkpoint
 * folders that everything else takes.
 * Results depend on recipe, data and seed alone: not on the number of threads, nor on being stopped and resumed.
 * Returns EYE_OK; CORRUPT (recipe, student, data: by file and key); ARG; IO; CANCELLED (saved); NOMEM; UNSUPPORTED. */
EYE_MUST_CHECK enum eye_status eye_train(const struct eye_train_opts *opts, struct eye_train_result *result,
                                         struct eye_err *err);
/* All keys of a recipe, their ranges, defaults and meaning, as a Markdown list. */
void eye_train_keys(void (*out)(void *ctx, const char *text, size_t n), void *ctx);

/* ---- splits ---- */

struct eye_data_split_opts {
    double dev, test;         /* shares of the pictures, 0 to 1; the rest is for training */
    uint64_t seed;
    struct eye_data_check_opts look; /* threads, progress, cancel */
};
struct eye_data_split_result {
    size_t n[EYE_N_SPLITS];   /* pictures of each; NONE: left out since they cannot be read */
    size_t n_together;        /* pictures that were kept with one that looks (nearly) the same */
};
/* A set's pictures into new splits, whatever splits it has: dir/train.txt, dev.txt and test.txt, a name a line, as
 * eye_dataset_opts.split_list takes them. Pictures that look the same (as eye_dataset_check finds them) stay in one split, so
 * nothing leaks. Who goes where depends on names and seed. The folder is made if absent.
 * report   gets the pictures that cannot be read; may be NULL.
 * Returns EYE_OK; ARG (shares that leave nothing for training, no pictures); IO; CANCELLED; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_dataset_split(const struct eye_dataset *set, const struct eye_data_split_opts *opts,
                                                 const char *dir, struct eye_data_split_result *result,
                                                 struct eye_data_report *report, struct eye_err *err);

/* ---- pixel cache ---- */

struct eye_pixel_cache_opts { /* all zero = default */
    int side;                 /* of the squares that are kept; 0 = 224 */
    enum eye_fit fit;         /* how pictures become square; EYE_FIT_MODEL = CROP */
    int resample;             /* 0 bicubic, 1 bilinear, 2 Lanczos; as a student's preprocessor says */
    uint8_t pad[3];           /* R,G,B around a picture with EYE_FIT_PAD */
    int n_threads;            /* 0 = all processors */
    void (*progress)(void *ctx, double done_0_to_1);
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};
struct eye_pixel_cache_result {
    bool made;                /* false: it was there, fits and has been verified */
    size_t n_images, n_unreadable;
    uint64_t bytes;           /* of the file */
};
/* The pictures of a set, decoded and made square, in one file that training maps (the set's order; about 150 KB a picture at
 * side 224). Training makes it itself where it lacks; this is for making it ahead, elsewhere or on other terms. A cache that
 * fits the set, its files' sizes and times, and opts is verified and kept; any other is replaced once the new one is whole.
 * report   gets the unreadable pictures; may be NULL.
 * Returns EYE_OK; ARG (path is another kind of file; no pictures); IO (disk full; no picture can be read); CANCELLED; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_pixel_cache(const char *path, const struct eye_dataset *set,
                                               const struct eye_pixel_cache_opts *opts, struct eye_pixel_cache_result *result,
                                               struct eye_data_report *report, struct eye_err *err);

/* ---- synthetic scenes ---- */

struct eye_synth_opts { /* all zero = default */
    int level;                /* objects in a picture, 1 to 3; 0 = 1, which a small model learns in minutes */
    int side;                 /* pixels; 0 = 64 */
    uint64_t seed;
    size_t n[EYE_N_SPLITS];   /* pictures of each split; all 0 = 4000 for training, 500 for dev, 500 for test */
};
/* Pictures of coloured shapes with five captions each, as files: dir/images/SPLIT_NNNNNN.png, dir/dataset_synth.json
 * (Karpathy's form) and dir/annotations/captions_SPLIT.json (COCO's). No combination of attributes is in two splits. The folder
 * is made if absent; files of these names are replaced.
 * progress, cancel   may be NULL.
 * Returns EYE_OK; ARG; IO; CANCELLED; NOMEM. */
EYE_MUST_CHECK enum eye_status eye_synth_write(const char *dir, const struct eye_synth_opts *opts,
                                               void (*progress)(void *ctx, double done_0_to_1), eye_cancel_fn *cancel,
                                               void *ctx, struct eye_err *err);

/* How well captions say what is in synthetic scenes: sums over captions. */
enum eye_synth_kind {
    EYE_SYNTH_COUNT, EYE_SYNTH_COLOUR, EYE_SYNTH_SHAPE, EYE_SYNTH_SIZE, EYE_SYNTH_PLACE, EYE_SYNTH_BACKGROUND, EYE_SYNTH_N_KINDS
};
const char *eye_synth_kind_name(enum eye_synth_kind k); /* "count", ...; never NULL */
struct eye_synth_score {
    size_t n, n_exact;                      /* captions; those that say exactly what there is, and nothing else */
    size_t n_right[EYE_SYNTH_N_KINDS], n_of[EYE_SYNTH_N_KINDS]; /* attributes of the scenes that captions give rightly */
};

/* ---- tokenizers ---- */

struct eye_tokenizer_train_opts { /* all zero = default */
    int32_t n_vocab;            /* tokens in all, special ones included; 0 = 4096 */
    int64_t min_count;          /* pairs that are seen less often are not merged; 0 = 2 */
    bool lowercase;             /* texts are put in lower case before they are cut */
    const char *const *special; /* [n_special] tokens that texts never become; NULL = "<|endoftext|>" */
    size_t n_special;
};
struct eye_tokenizer_report {
    uint64_t n_texts, n_words;  /* different words */
    uint64_t n_bytes, n_tok;    /* of all texts */
    int32_t n_vocab, n_merges;
};
/* A byte-level BPE from the captions of the training split, the questions they answer, and texts without a picture, written to
 * path as tokenizer.json. Pictures of no split count as training where there are no splits at all.
 * report   may be NULL.
 * Returns EYE_OK; ARG (an impossible vocabulary, no text); IO; NOMEM. The same texts give the same file. */
EYE_MUST_CHECK enum eye_status eye_tokenizer_train(const struct eye_dataset *set, const struct eye_tokenizer_train_opts *opts,
                                                   const char *path, struct eye_tokenizer_report *report, struct eye_err *err);

/* ---- judging captions: doc/TRAINING.md ---- */

#define EYE_NGRAM_MAX 4
struct eye_caption_score {
    double bleu[EYE_NGRAM_MAX]; /* corpus BLEU-1..4, closest reference length; Papineni et al. 2002 */
    double cider;               /* mean CIDEr-D, 0 to 10; Vedantam et al., arXiv 1411.5726 */
    double rouge_l;             /* mean over pictures, beta 1.2; Lin 2004 */
    double meteor_lite;         /* exact words, then Porter stems; no synonyms, no paraphrases: not comparable with METEOR */
    double distinct;            /* different captions / captions */
    double mean_words;
    size_t n_words;             /* different words used */
};

enum eye_judge_image { EYE_JUDGE_TRUE, EYE_JUDGE_ZEROED, EYE_JUDGE_SHUFFLED, EYE_N_JUDGE_IMAGES };
struct eye_perplexity { double per_token, per_word; };

struct eye_judge_opts { /* all zero = captions of the test split, or of all pictures where there are no splits */
    enum eye_split split;
    size_t limit;             /* pictures at most; 0 = all */
    int32_t n_beams;          /* 0 = as the model says */
    float length_penalty;     /* 0 = as the model says */
    int32_t max_tok;          /* of a caption; 0 = 64, or what the context leaves */
    const char *prompt;       /* NULL = the model's own */
    bool perplexity;          /* of the references, with true, zeroed and shuffled pictures; and the unshifted figure */
    bool baselines;           /* constant, nearest neighbour's and image-blind captions; needs a train split */
    void (*on_caption)(void *ctx, const char *picture, const char *caption, double cider); /* may be NULL */
    void *on_caption_ctx;
    void (*progress)(void *ctx, const char *what, double done_0_to_1); /* may be NULL */
    void *progress_ctx;
    eye_cancel_fn *cancel;
    void *cancel_ctx;
};

struct eye_judgement {
    size_t n_pictures, n_skipped;       /* skipped: unreadable, or without a reference */
    char first_skipped[256];            /* why, of the first; "" */
    struct eye_caption_score score;
    bool has_perplexity, has_baselines;
    struct eye_perplexity perplexity[EYE_N_JUDGE_IMAGES]; /* of reference captions with their end token; zeroed = a picture of
                                           the mean colour, shuffled = another picture's */
    size_t n_too_long;                  /* references that these leave out: they do not fit the context */
    double unshifted;                   /* exp of the mean loss of each caption token at its own position: a copy's "perplexity" */
    struct eye_caption_score constant, neighbour, blind;
    char constant_caption[256], blind_caption[256];
    struct eye_synth_score scenes;      /* n is 0 unless all references are of synthetic scenes */
    double seconds;                     /* looking and captioning, without files' decoding */
};
/* Free-running captions of a split, judged. The model is opened with n_parallel >= n_beams; the larger, the faster.
 * Returns EYE_OK; ARG (no picture of the split is usable; baselines without a train split); what running returns; CANCELLED. */
EYE_MUST_CHECK enum eye_status eye_judge(struct eye_model *model, const struct eye_dataset *set, const struct eye_judge_opts *opts,
                                         struct eye_judgement *out, struct eye_err *err);
/* Captions from elsewhere: caption[i] (NUL-terminated) of the picture named name[i]. Pictures of the split without one count as
 * the empty caption. */
EYE_MUST_CHECK enum eye_status eye_judge_captions(const struct eye_dataset *set, enum eye_split split, const char *const *name,
                                                  const char *const *caption, size_t n, struct eye_judgement *out,
                                                  struct eye_err *err);

#ifdef __cplusplus
}
#endif
#endif
