/* hub_id: the hashes by which a hub names files: SHA-256 of large ones, and git's own of small ones, which is the SHA-1 (FIPS
 * 180-4) of "blob SIZE\0" and the bytes. SHA-1 is no proof against someone who makes two files of one hash; nothing of that
 * name is trusted more than the hub itself. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "eyelet/genie.h"
#include "hub.h"
#include "http.h"

struct sha1 {
    uint32_t h[5];
    uint64_t n;
    uint8_t held[64];
};

static uint32_t turn(uint32_t x, int bits) { return x << bits | x >> (32 - bits); }

static void block(uint32_t h[5], const uint8_t p[64]) {
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = turn(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 ? b ^ c ^ d : i < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
        uint32_t t = turn(a, 5) + f + e + k + w[i];
        e = d, d = c, c = turn(b, 30), b = a, a = t;
    }
    h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

static void add(struct sha1 *s, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    while (n) {
        size_t at = s->n % 64, take = 64 - at < n ? 64 - at : n;
        memcpy(s->held + at, p, take);
        s->n += take;
        p += take;
        n -= take;
        if (at + take == 64) block(s->h, s->held);
    }
}

static void end(struct sha1 *s, uint8_t out[20]) {
    uint64_t bits = s->n * 8;
    uint8_t tail[72] = {0x80};
    size_t pad = 64 - (s->n + 8) % 64;
    for (int i = 0; i < 8; i++) tail[pad + (size_t)i] = (uint8_t)(bits >> (56 - 8 * i));
    add(s, tail, pad + 8);
    for (int i = 0; i < 20; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - 8 * (i % 4)));
}

static enum eye_status git_id(const char *path, uint8_t out[20], struct eye_err *err) {
    struct sha1 s = {.h = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}};
    char buf[65536];
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) {
        http_fail(err, EYE_E_IO, "%.300s: cannot read: %s", path, strerror(errno));
        if (f) fclose(f);
        return EYE_E_IO;
    }
    add(&s, buf, (size_t)snprintf(buf, sizeof buf, "blob %" PRIu64, (uint64_t)st.st_size) + 1); /* its NUL too */
    for (size_t n; (n = fread(buf, 1, sizeof buf, f));) add(&s, buf, n);
    enum eye_status status = ferror(f) ? http_fail(err, EYE_E_IO, "%.300s: cannot read: %s", path, strerror(errno)) : EYE_OK;
    fclose(f);
    end(&s, out);
    return status;
}

enum eye_status hub_file_id(const char *path, size_t n_digits, char out[65], struct eye_err *err) {
    uint8_t hash[20];
    if (n_digits == 64) return eye_file_sha256(path, out, err);
    enum eye_status st = git_id(path, hash, err);
    for (size_t i = 0; st == EYE_OK && i < sizeof hash; i++) snprintf(out + 2 * i, 3, "%02x", hash[i]);
    return st;
}
