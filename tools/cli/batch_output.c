/* batch_output: see batch_output.h. */
#include "batch_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "args.h"
#include "json.h"

#define MAX_RECORD ((size_t)16 << 20) /* of a file that is read again */

static const struct timing {
    const char *name;
    size_t offset; /* in struct batch_record */
} timing[] = {
    {"image_decode_ms", offsetof(struct batch_record, timings.image_decode_us)},
    {"preprocess_ms", offsetof(struct batch_record, timings.preprocess_us)},
    {"vision_ms", offsetof(struct batch_record, timings.vision_us)},
    {"projector_ms", offsetof(struct batch_record, timings.projector_us)},
    {"prefill_ms", offsetof(struct batch_record, timings.prefill_us)},
    {"first_token_ms", offsetof(struct batch_record, timings.first_token_us)},
    {"decode_ms", offsetof(struct batch_record, timings.decode_us)},
    {"total_ms", offsetof(struct batch_record, total_us)},
};
#define N_TIMINGS (sizeof timing / sizeof timing[0])
#define CSV_HEAD "image,caption,tokens,finish_reason,error"

struct held { /* what the file had when it was opened, read once more along the input */
    FILE *file;
    uint64_t end, n_left; /* bytes; records not read yet */
    char *name;           /* of the record read last, not met in the input yet */
    uint64_t *hash;       /* open addressing, 0 = free; NULL while the file follows the input's order */
    size_t cap;
};
struct batch_output {
    struct ui *ui;
    const char *path;
    int fd;
    bool csv, is_file;
    uint64_t size;        /* complete lines: where the next one begins */
    uint64_t n_held, n_cut;
    struct held held;
    char *line;           /* a CSV record being made */
    size_t len, cap;
    bool no_memory;
};

static double ms(const struct batch_record *r, size_t i) {
    uint64_t us;
    memcpy(&us, (const char *)r + timing[i].offset, sizeof us);
    return (double)us / 1000;
}

uint64_t batch_output_n_held(const struct batch_output *o) { return o->n_held; }
uint64_t batch_output_n_cut(const struct batch_output *o) { return o->n_cut; }

/* ---- reading again ---- */

/* One record into *text, its end taken off; false = the file ends here, with a complete record or without. */
static bool read_record(FILE *f, bool csv, char **text, size_t *cap, size_t *len, uint64_t *bytes) {
    bool quoted = false;
    *len = 0;
    *bytes = 0;
    for (int c; (c = getc_unlocked(f)) != EOF;) {
        ++*bytes;
        if (c == '\n' && !quoted) {
            (*text)[*len] = '\0';
            return true;
        }
        if (csv && c == '"') quoted = !quoted;
        if (*len + 2 > *cap) {
            char *more = *cap < MAX_RECORD ? realloc(*text, *cap ? 2 * *cap : 1024) : NULL;
            if (!more) return false;
            *text = more;
            *cap = *cap ? 2 * *cap : 1024;
        }
        (*text)[(*len)++] = (char)c;
    }
    return false;
}

/* The first field, unquoted in place. */
static char *csv_name(char *text) {
    if (*text != '"') {
        char *comma = strchr(text, ',');
        if (!comma) return NULL;
        *comma = '\0';
        return strdup(text);
    }
    char *to = text;
    for (const char *p = text + 1; *p; p++) {
        if (*p == '"' && *++p != '"') {
            *to = '\0';
            return *p == ',' ? strdup(text) : NULL;
        }
        *to++ = *p;
    }
    return NULL;
}

/* What picture a record is of, malloc'd; NULL = it is no record of a batch. */
static char *record_name(bool csv, char *text, size_t len) {
    if (csv) return csv_name(text);
    json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *image = json_string_value(json_object_get(o, "image"));
    char *name = image && (json_object_get(o, "caption") || json_object_get(o, "error")) ? strdup(image) : NULL;
    json_decref(o);
    return name;
}

/* Counts and checks the records and says where the last one ends. */
static int survey(struct batch_output *o) {
    size_t cap = 1024, len;
    uint64_t bytes, n = 0;
    char *text = malloc(cap);
    FILE *f = text ? fopen(o->path, "rb") : NULL;
    int code = f ? EXIT_DONE : ui_failf(o->ui, "%s: cannot read what it holds: %s", o->path, strerror(errno));
    while (code == EXIT_DONE && read_record(f, o->csv, &text, &cap, &len, &bytes)) {
        bool head = o->csv && n == 0, ours;
        if (head) {
            ours = strncmp(text, CSV_HEAD, strlen(CSV_HEAD)) == 0;
        } else {
            char *name = record_name(o->csv, text, len);
            ours = name != NULL;
            free(name);
        }
        n++;
        if (!ours)
            code = ui_failf(o->ui,
                            "%s: line %llu is none that \"eyelet batch\" wrote, nothing is appended (--overwrite begins anew)",
                            o->path, (unsigned long long)n);
        o->size += bytes;
    }
    if (code == EXIT_DONE && (ferror(f) || cap >= MAX_RECORD))
        code = ui_failf(o->ui, "%s: cannot read what it holds: %s", o->path,
                        ferror(f) ? strerror(errno) : "a line without end");
    o->n_held = o->csv && n ? n - 1 : n;
    if (f) fclose(f);
    free(text);
    return code;
}

/* The next record's name into h->name, NULL behind the last. */
static enum eye_status next_held(struct batch_output *o, struct eye_err *err) {
    struct held *h = &o->held;
    size_t cap = 1024, len;
    uint64_t bytes;
    free(h->name);
    h->name = NULL;
    if (h->n_left == 0) return EYE_OK;
    char *text = malloc(cap);
    if (text && read_record(h->file, o->csv, &text, &cap, &len, &bytes)) h->name = record_name(o->csv, text, len);
    free(text);
    if (h->name) return h->n_left--, EYE_OK;
    return ui_err(err, EYE_E_IO, "%.300s: changed while it was read", o->path);
}

/* FNV-1a, its bits mixed: places in the table are taken from it. */
static uint64_t hash_of(const char *name) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++) h = (h ^ (unsigned char)*name) * 0x100000001b3u;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccdu;
    h ^= h >> 33;
    return h ? h : 1;
}

/* Its place, or the free one where it belongs. */
static uint64_t *place_of(const struct held *h, uint64_t hash) {
    size_t i = (size_t)hash & (h->cap - 1);
    while (h->hash[i] && h->hash[i] != hash) i = (i + 1) & (h->cap - 1);
    return &h->hash[i];
}

/* The input does not follow the file any more: from here on by a table of what is left. */
static enum eye_status remember(struct batch_output *o, struct eye_err *err) {
    struct held *h = &o->held;
    for (h->cap = 64; h->cap < 2 * (h->n_left + 1); h->cap *= 2) continue;
    h->hash = calloc(h->cap, sizeof *h->hash);
    if (!h->hash)
        return ui_err(err, EYE_E_NOMEM, "out of memory for the %llu lines of %.300s", (unsigned long long)h->n_left, o->path);
    while (h->name) {
        uint64_t hash = hash_of(h->name);
        *place_of(h, hash) = hash;
        enum eye_status st = next_held(o, err);
        if (st != EYE_OK) return st;
    }
    return EYE_OK;
}

/* As it stands in the file: bytes that are no UTF-8 are not there. */
static char *written_name(const char *image) {
    json_t *name = json_outside(image);
    char *copy = name ? strdup(json_string_value(name)) : NULL;
    json_decref(name);
    return copy;
}

enum eye_status batch_output_holds(struct batch_output *o, const char *image, bool *holds, struct eye_err *err) {
    struct held *h = &o->held;
    enum eye_status st = EYE_OK;
    *holds = false;
    if (!h->name && !h->hash) return EYE_OK;
    char *name = written_name(image);
    if (!name) return ui_err(err, EYE_E_NOMEM, "out of memory");
    if (!h->hash && strcmp(h->name, name) == 0) {
        *holds = true;
        st = next_held(o, err);
    } else {
        if (!h->hash) st = remember(o, err);
        if (st == EYE_OK) *holds = *place_of(h, hash_of(name)) != 0;
    }
    free(name);
    return st;
}

/* ---- opening ---- */

static int cannot(struct batch_output *o, const char *what) {
    return ui_failf(o->ui, "%s: cannot %s: %s", o->path, what, strerror(errno));
}

static int write_all(struct batch_output *o, const char *p, size_t n);

static int begin_anew(struct batch_output *o) {
    if (o->is_file && ftruncate(o->fd, 0) != 0) return cannot(o, "empty it");
    o->size = 0;
    if (!o->csv) return EXIT_DONE;
    char head[512];
    size_t at = (size_t)snprintf(head, sizeof head, CSV_HEAD);
    for (size_t i = 0; i < N_TIMINGS; i++) at += (size_t)snprintf(head + at, sizeof head - at, ",%s", timing[i].name);
    head[at++] = '\n';
    return write_all(o, head, at);
}

static int go_on(struct batch_output *o, uint64_t bytes) {
    int code = survey(o);
    if (code != EXIT_DONE) return code;
    o->n_cut = bytes - o->size;
    if (o->n_cut && ftruncate(o->fd, (off_t)o->size) != 0) return cannot(o, "cut its half-written end");
    if (o->size == 0) return begin_anew(o);
    struct eye_err err = {0};
    o->held = (struct held){.file = fopen(o->path, "rb"), .n_left = o->n_held};
    if (!o->held.file) return cannot(o, "read what it holds");
    if (o->csv)
        for (int c; (c = getc_unlocked(o->held.file)) != EOF && c != '\n';) continue; /* the head holds no quotes */
    return next_held(o, &err) == EYE_OK ? EXIT_DONE : ui_fail(o->ui, &err);
}

static int open_file(struct batch_output *o, const struct batch_output_opts *opts) {
    struct stat st;
    o->fd = open(o->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (o->fd < 0) o->fd = open(o->path, O_WRONLY | O_APPEND | O_CLOEXEC); /* a device */
    if (o->fd < 0 || fstat(o->fd, &st) != 0) return cannot(o, "open it for writing");
    o->is_file = S_ISREG(st.st_mode);
    if (!o->is_file) return begin_anew(o);
    if (flock(o->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return ui_failf(o->ui, "%s: another \"eyelet batch\" is writing it", o->path);
    if (opts->resume) return go_on(o, (uint64_t)st.st_size);
    if (st.st_size > 0 && !opts->overwrite)
        return ui_failf(o->ui, "%s: holds %lld bytes already: --resume goes on behind them, --overwrite begins anew", o->path,
                        (long long)st.st_size);
    return begin_anew(o);
}

int batch_output_open(struct ui *ui, const struct batch_output_opts *opts, struct batch_output **out) {
    struct batch_output *o = calloc(1, sizeof *o);
    if (!o) return ui_failf(ui, "out of memory");
    bool to_stdout = !opts->path || strcmp(opts->path, "-") == 0;
    const char *dot = to_stdout ? NULL : strrchr(opts->path, '.');
    o->ui = ui;
    o->path = to_stdout ? "standard output" : opts->path;
    o->csv = opts->format == BATCH_CSV || (opts->format == BATCH_AUTO && dot && strcasecmp(dot, ".csv") == 0);
    o->fd = STDOUT_FILENO;
    int code = to_stdout ? begin_anew(o) : open_file(o, opts);
    if (code == EXIT_DONE) *out = o;
    else batch_output_close(o, code);
    return code;
}

int batch_output_close(struct batch_output *o, int code) {
    if (!o) return code;
    bool own = o->fd >= 0 && o->fd != STDOUT_FILENO;
    if (own && o->is_file && code == EXIT_DONE && fsync(o->fd) != 0) code = cannot(o, "write it to the disk");
    if (own && close(o->fd) != 0 && code == EXIT_DONE) code = cannot(o, "close it");
    if (o->held.file) fclose(o->held.file);
    free(o->held.name);
    free(o->held.hash);
    free(o->line);
    free(o);
    return code;
}

/* ---- writing ---- */

static int write_all(struct batch_output *o, const char *p, size_t n) {
    size_t done = 0;
    while (done < n) {
        ssize_t some = write(o->fd, p + done, n - done);
        if (some < 0 && errno == EINTR) continue;
        if (some <= 0) {
            int why = some < 0 ? errno : ENOSPC;
            if (o->is_file && done && ftruncate(o->fd, (off_t)o->size) != 0) /* --resume will */
                ui_note(o->ui, "%s: ends with half a line", o->path);
            return ui_failf(o->ui, "%s: cannot write: %s%s", o->path, strerror(why),
                            o->is_file ? "; what it holds is complete, --resume goes on behind it" : "");
        }
        done += (size_t)some;
    }
    o->size += n;
    return EXIT_DONE;
}

static json_t *to_json(const struct batch_record *r) {
    json_t *o = json_object();
    json_object_set_new(o, "image", json_outside(r->image));
    if (r->error) {
        json_object_set_new(o, "error", json_outside(r->error));
        return o;
    }
    json_t *tokens = json_array(), *timings = json_object();
    for (size_t i = 0; i < r->n_tokens; i++) json_array_append_new(tokens, json_integer(r->tokens[i]));
    for (size_t i = 0; i < N_TIMINGS; i++) json_object_set_new(timings, timing[i].name, json_real(ms(r, i)));
    json_object_set_new(o, "caption", json_stringn(r->caption, r->caption_bytes));
    json_object_set_new(o, "tokens", tokens);
    json_object_set_new(o, "finish_reason", json_string(eye_finish_name(r->finish)));
    json_object_set_new(o, "timings", timings);
    return o;
}

static void add(struct batch_output *o, const char *p, size_t n) {
    if (o->no_memory) return;
    if (o->len + n > o->cap) {
        size_t cap = 2 * (o->len + n) + 1024;
        char *more = realloc(o->line, cap);
        if (!more) {
            o->no_memory = true;
            return;
        }
        o->line = more;
        o->cap = cap;
    }
    memcpy(o->line + o->len, p, n);
    o->len += n;
}

/* A field and the comma in front of it. */
static void add_field(struct batch_output *o, const char *text, size_t n) {
    if (o->len) add(o, ",", 1);
    bool quote = n && (text[0] == ' ' || text[n - 1] == ' ');
    for (size_t i = 0; i < n; i++) quote = quote || strchr(",\"\r\n", text[i]);
    if (!quote) {
        add(o, text, n);
        return;
    }
    add(o, "\"", 1);
    for (size_t i = 0; i < n; i++) add(o, text[i] == '"' ? "\"\"" : text + i, text[i] == '"' ? 2 : 1);
    add(o, "\"", 1);
}

static void to_csv(struct batch_output *o, const struct batch_record *r) {
    char number[32], *image = written_name(r->image), *error = r->error ? written_name(r->error) : NULL;
    o->len = 0;
    o->no_memory = o->no_memory || !image || (r->error && !error);
    if (image) add_field(o, image, strlen(image));
    add_field(o, r->error ? "" : r->caption, r->error ? 0 : r->caption_bytes);
    add(o, ",", 1); /* ids need no quotes */
    for (size_t i = 0; !r->error && i < r->n_tokens; i++)
        add(o, number, (size_t)snprintf(number, sizeof number, "%s%d", i ? " " : "", r->tokens[i]));
    const char *finish = r->error ? "" : eye_finish_name(r->finish);
    add_field(o, finish, strlen(finish));
    add_field(o, error ? error : "", error ? strlen(error) : 0);
    for (size_t i = 0; i < N_TIMINGS; i++)
        add_field(o, number, r->error ? 0 : (size_t)snprintf(number, sizeof number, "%.3f", ms(r, i)));
    add(o, "\n", 1);
    free(image);
    free(error);
}

int batch_output_put(struct batch_output *o, const struct batch_record *r) {
    if (o->csv) {
        to_csv(o, r);
        return o->no_memory ? ui_failf(o->ui, "out of memory") : write_all(o, o->line, o->len);
    }
    json_t *line = to_json(r);
    char *text = line ? json_dumps(line, JSON_REAL_PRECISION(6)) : NULL;
    size_t n = text ? strlen(text) : 0;
    int code = text ? EXIT_DONE : ui_failf(o->ui, "out of memory");
    json_decref(line);
    if (code == EXIT_DONE) {
        text[n] = '\n'; /* in place of the NUL: one write */
        code = write_all(o, text, n + 1);
    }
    free(text);
    return code;
}
