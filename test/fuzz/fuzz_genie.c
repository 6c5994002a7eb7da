/* Fuzz target: the bytes are a dialog's configuration, a context's information, an argument of --embedding_file, and what
 * genie-t2t-run prints. */
#include "eyelet/genie.h"
#include "fuzz/fuzz.h"
#include "genie/dialog_config.h"
#include "genie/ctx_info.h"

static void count(void *ctx, const char *p, size_t n) {
    eye_fuzz_read(p, n);
    *(size_t *)ctx += n;
}

/* All at once and byte by byte: the same answer, no longer than what was printed. */
static void transcribe(const char *p, size_t n) {
    size_t once = 0, bytes = 0;
    struct eye_genie_transcript a = {.text = count, .text_ctx = &once}, b = {.text = count, .text_ctx = &bytes};
    eye_genie_transcript_feed(&a, p, n);
    for (size_t i = 0; i < n; i++) eye_genie_transcript_feed(&b, p + i, 1);
    eye_genie_transcript_end(&a);
    eye_genie_transcript_end(&b);
    if (once != bytes || a.said != b.said || once > n) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    struct eye_genie_config c;
    struct eye_ctx_info s;
    struct eye_elements e;
    struct eye_err err = {0};
    char arg[256], path[64];
    transcribe((const char *)p, n);
    enum eye_status st = eye_genie_config_parse(&c, (const char *)p, n, "fuzz", NULL, &err);
    if (st == EYE_OK) {
        for (size_t i = 0; i < c.n_stop; i++) eye_fuzz_read(c.stop[i], strlen(c.stop[i]));
        eye_fuzz_read(c.model_bin, strlen(c.model_bin));
        if (c.n_eos > EYE_GENIE_MAX_EOS || c.n_ctx < 1) abort();
        eye_genie_config_clear(&c);
    } else {
        eye_fuzz_error(st, &err);
    }
    st = eye_ctx_info_parse(&s, (const char *)p, n, "fuzz", &err);
    if (st != EYE_OK) eye_fuzz_error(st, &err);
    else if (strlen(s.out.name) >= sizeof s.out.name || s.out.n == 0) abort();
    n = EYE_MIN(n, sizeof arg - 1);
    memcpy(arg, p, n);
    arg[n] = '\0';
    st = eye_elements_argument(arg, path, sizeof path, &e, &err);
    for (char *q = err.text; *q; q++) /* an argument of the command line is shown as it is */
        if (*q == '\n') *q = ' ';
    return st == EYE_OK ? 0 : eye_fuzz_error(st, &err);
}
