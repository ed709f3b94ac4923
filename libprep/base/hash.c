/* SPDX-License-Identifier: MIT */
#include "libprep/base/hash.h"

/*
 * EVP hides its state and cannot be saved; the older interface is the same assembler with a
 * public struct. It is deprecated, not gone, in every OpenSSL 3.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
/* Where the library has it: the same functions, with vectors as wide as the machine's. */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>
#endif

_Static_assert(sizeof(SHA256_CTX) <= sizeof(struct sha256), "SHA256_CTX grew");

static SHA256_CTX *context(struct sha256 *h)
{
    return (SHA256_CTX *)(void *)h->state;
}

void sha256_init(struct sha256 *h)
{
    memset(h, 0, sizeof *h);
    SHA256_Init(context(h));
}

void sha256_update(struct sha256 *h, const void *p, size_t n)
{
    SHA256_Update(context(h), p, n);
}

void sha256_final(struct sha256 *h, unsigned char digest[SHA256_BYTES])
{
    SHA256_Final(digest, context(h));
}

/*  0..31 h[8]   32..39 bit count (low, high)   40..43 bytes pending   48..111 pending bytes */
void sha256_save(const struct sha256 *h, unsigned char out[SHA256_STATE_BYTES])
{
    const SHA256_CTX *c = (const SHA256_CTX *)(const void *)h->state;
    memset(out, 0, SHA256_STATE_BYTES);
    for (int i = 0; i < 8; i++)
        store_le32(out + 4 * i, c->h[i]);
    store_le32(out + 32, c->Nl);
    store_le32(out + 36, c->Nh);
    store_le32(out + 40, c->num);
    memcpy(out + 48, c->data, c->num);
}

int sha256_restore(struct sha256 *h, const unsigned char in[SHA256_STATE_BYTES])
{
    sha256_init(h);
    SHA256_CTX *c = context(h);
    uint32_t num = load_le32(in + 40);
    if (num >= SHA256_CBLOCK)
        return -1;
    for (int i = 0; i < 8; i++)
        c->h[i] = load_le32(in + 4 * i);
    c->Nl = load_le32(in + 32);
    c->Nh = load_le32(in + 36);
    c->num = num;
    memcpy(c->data, in + 48, num);
    return 0;
}

static void to_hex(const unsigned char *p, size_t n, char *hex)
{
    static const char digit[] = "0123456789abcdef";
    for (size_t i = 0; i < n; i++) {
        hex[2 * i] = digit[p[i] >> 4];
        hex[2 * i + 1] = digit[p[i] & 15];
    }
    hex[2 * n] = 0;
}

void sha256_to_hex(const unsigned char digest[SHA256_BYTES], char hex[SHA256_HEX])
{
    to_hex(digest, SHA256_BYTES, hex);
}

void sha256_hex(const void *p, size_t n, char hex[SHA256_HEX])
{
    struct sha256 h;
    unsigned char digest[SHA256_BYTES];
    sha256_init(&h);
    sha256_update(&h, p, n);
    sha256_final(&h, digest);
    sha256_to_hex(digest, hex);
}

/* The library aligns its own state; struct xxh128 is never defined, only pointed to. */
struct xxh128 *xxh128_new(void)
{
    XXH3_state_t *s = XXH3_createState();
    if (s)
        XXH3_128bits_reset(s);
    return (struct xxh128 *)(void *)s;
}

void xxh128_free(struct xxh128 *h)
{
    XXH3_freeState((XXH3_state_t *)(void *)h);
}

void xxh128_reset(struct xxh128 *h)
{
    XXH3_128bits_reset((XXH3_state_t *)(void *)h);
}

void xxh128_update(struct xxh128 *h, const void *p, size_t n)
{
    XXH3_128bits_update((XXH3_state_t *)(void *)h, p, n);
}

static struct hash128 from_xxh(XXH128_hash_t v)
{
    return (struct hash128){v.high64, v.low64};
}

struct hash128 xxh128_digest(const struct xxh128 *h)
{
    return from_xxh(XXH3_128bits_digest((const XXH3_state_t *)(const void *)h));
}

void hash128_to_hex(struct hash128 v, char hex[XXH128_HEX])
{
    unsigned char be[16];
    for (int i = 0; i < 8; i++) {
        be[i] = (unsigned char)(v.hi >> 8 * (7 - i));
        be[8 + i] = (unsigned char)(v.lo >> 8 * (7 - i));
    }
    to_hex(be, 16, hex);
}

uint64_t hash64(const void *p, size_t n)
{
    return XXH3_64bits(p, n);
}

struct hash128 hash128(const void *p, size_t n)
{
    return from_xxh(XXH3_128bits(p, n));
}
