/* Fuzz target: the bytes are the body of a request to `eyelet serve`: of a completion where they end in a line end, of
 * llama-server's where they end in a blank, else of a chat. */
#include "fuzz/fuzz.h"
#include "request.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n) {
    static const struct serve_opts o = {.max_images = 4, .max_tokens = 100};
    struct serve_budget budget = {.most = 1 << 20};
    struct serve_seen *seen = serve_seen_new(1 << 16);
    struct serve_request r;
    struct serve_error e = {0};
    char last = n ? (char)p[n - 1] : 0;
    enum serve_kind kind = last == '\n' ? SERVE_COMPLETION : last == ' ' ? SERVE_NATIVE : SERVE_CHAT;
    bool ok = serve_request_parse(&r, kind, (const char *)p, n, &o, &e);
    if (ok) {
        const struct serve_picture_opts how = {.max_pixels = 10000, .budget = &budget, .seen = seen};
        ok = serve_pictures_decode(&r.pictures, &how, &e);
        struct eye_query q = serve_request_query(&r);
        size_t n_images = 0;
        for (size_t i = 0; i < q.n_messages; i++) {
            if (q.messages[i].text) eye_fuzz_read(q.messages[i].text, strlen(q.messages[i].text));
            n_images += q.messages[i].n_images;
        }
        if (kind == SERVE_CHAT ? n_images != q.n_images : n_images || !q.text) abort();
        for (size_t i = 0; ok && i < q.n_images; i++) eye_fuzz_read(q.images[i].rgb,
                                                                    q.images[i].stride * (size_t)q.images[i].height);
        for (size_t i = 0; i < r.gen.n_stop; i++) eye_fuzz_read(r.gen.stop[i], strlen(r.gen.stop[i]));
        serve_request_clear(&r);
    }
    if (atomic_load(&budget.used) != 0) abort();
    serve_seen_free(seen);
    if (ok) return 0;
    char *json = serve_error_json(&e);
    if (e.status < 400 || !e.text[0] || !json) abort();
    free(json);
    return 0;
}
