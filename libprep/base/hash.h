/* SPDX-License-Identifier: MIT */
/*
 * hash.h - SHA-256 with a state that survives a restart, and XXH3 for everything internal.
 *
 * SHA-256 (libcrypto's assembler) identifies files to the world; XXH3-128 identifies tensors,
 * XXH3-64 guards journal records. A SHA-256 in progress can be saved to bytes and restored, so
 * that a 300 GB file is not read again after a kill.
 *
 * Ownership  plain structs, no allocation
 * Errors     none
 * Threads    one state, one thread at a time
 */
#ifndef PREP_BASE_HASH_H
#define PREP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SHA256_BYTES = 32, SHA256_STATE_BYTES = 112, SHA256_HEX = 65, XXH128_HEX = 33 };

struct sha256 {
    uint64_t state[16]; /* libcrypto's context */
};

void sha256_init(struct sha256 *h);
void sha256_update(struct sha256 *h, const void *p, size_t n);
void sha256_final(struct sha256 *h, unsigned char digest[SHA256_BYTES]);
/* The state as little-endian words, independent of the machine. */
void sha256_save(const struct sha256 *h, unsigned char out[SHA256_STATE_BYTES]);
/* -1 when the bytes are not a state. */
int sha256_restore(struct sha256 *h, const unsigned char in[SHA256_STATE_BYTES]);
/* One buffer; hex is lower case and NUL-terminated. */
void sha256_hex(const void *p, size_t n, char hex[SHA256_HEX]);
void sha256_to_hex(const unsigned char digest[SHA256_BYTES], char hex[SHA256_HEX]);

struct hash128 {
    uint64_t hi, lo;
};

struct xxh128; /* a streaming state */

struct xxh128 *xxh128_new(void); /* NULL when out of memory */
void xxh128_free(struct xxh128 *h);
void xxh128_reset(struct xxh128 *h);
void xxh128_update(struct xxh128 *h, const void *p, size_t n);
struct hash128 xxh128_digest(const struct xxh128 *h);
/* Canonical form: most significant digit first, as xxhsum prints it. */
void hash128_to_hex(struct hash128 v, char hex[XXH128_HEX]);

uint64_t hash64(const void *p, size_t n);
struct hash128 hash128(const void *p, size_t n);

static inline uint16_t load_le16(const unsigned char *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t load_le32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t load_le64(const unsigned char *p)
{
    return (uint64_t)load_le32(p) | (uint64_t)load_le32(p + 4) << 32;
}

static inline void store_le32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static inline void store_le64(unsigned char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

#ifdef __cplusplus
}
#endif
#endif
