/* SPDX-License-Identifier: MIT */
/*
 * load.h - elements of stored arrays, little-endian, at any address.
 *
 * Units      i counts elements
 * Threads    pure functions
 */
#ifndef KERNELS_LOAD_H
#define KERNELS_LOAD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

static inline uint16_t load_u16_at(const void *p, size_t i)
{
    const unsigned char *b = (const unsigned char *)p + 2 * i;
    return (uint16_t)(b[0] | b[1] << 8);
}

static inline uint32_t load_u32_at(const void *p, size_t i)
{
    const unsigned char *b = (const unsigned char *)p + 4 * i;
    return (uint32_t)b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

static inline void store_u16_at(void *p, size_t i, uint16_t v)
{
    unsigned char *b = (unsigned char *)p + 2 * i;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
}

static inline void store_u32_at(void *p, size_t i, uint32_t v)
{
    unsigned char *b = (unsigned char *)p + 4 * i;
    b[0] = (unsigned char)v;
    b[1] = (unsigned char)(v >> 8);
    b[2] = (unsigned char)(v >> 16);
    b[3] = (unsigned char)(v >> 24);
}

#ifdef __cplusplus
}
#endif
#endif
