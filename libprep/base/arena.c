/* SPDX-License-Identifier: MIT */
#include "libprep/base/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define PREP_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PREP_ASAN 1
#endif
#endif
#ifdef PREP_ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) ASAN_POISON_MEMORY_REGION((p), (n))
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION((p), (n))
#else
#define poison(p, n) ((void)0)
#define unpoison(p, n) ((void)0)
#endif

enum { ALIGN = 16, MIN_CHUNK = 64 << 10 };

struct arena_chunk {
    struct arena_chunk *next;
    size_t size, used;
    _Alignas(16) unsigned char data[];
};

void arena_init(struct arena *a, size_t limit)
{
    *a = (struct arena){.limit = limit};
}

static void free_chunks(struct arena_chunk *c)
{
    while (c) {
        struct arena_chunk *next = c->next;
        unpoison(c->data, c->size);
        free(c);
        c = next;
    }
}

void arena_fini(struct arena *a)
{
    free_chunks(a->head);
    *a = (struct arena){.limit = a->limit};
}

void arena_reset(struct arena *a)
{
    if (a->head) {
        free_chunks(a->head->next);
        a->head->next = NULL;
        a->head->used = 0;
        poison(a->head->data, a->head->size);
    }
    a->used = 0;
}

static int add_chunk(struct arena *a, size_t need, struct prep_error *err)
{
    /* Chunks double up to 1 MB, so that small arenas stay small and large ones make few calls. */
    size_t size = a->head ? a->head->size * 2 : MIN_CHUNK;
    if (size > (1u << 20))
        size = 1u << 20;
    if (size < need)
        size = need;
    struct arena_chunk *c = malloc(sizeof *c + size);
    if (!c)
        return prep_fail(err, PREP_ENOMEM, "out of memory asking for %zu bytes", size);
    c->next = a->head;
    c->size = size;
    c->used = 0;
    poison(c->data, size);
    a->head = c;
    return 0;
}

void *arena_alloc(struct arena *a, size_t bytes, struct prep_error *err)
{
    if (bytes > SIZE_MAX - ALIGN - sizeof(struct arena_chunk)) {
        prep_fail(err, PREP_ENOMEM, "out of memory asking for %zu bytes", bytes);
        return NULL;
    }
    size_t need = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    if (need == 0)
        need = ALIGN;
    if (a->limit && (need > a->limit || a->used > a->limit - need)) {
        prep_fail(err, PREP_ENOMEM, "needs more than the %zu bytes allowed here", a->limit);
        return NULL;
    }
    if (!a->head || a->head->size - a->head->used < need) {
        if (add_chunk(a, need, err))
            return NULL;
    }
    unsigned char *p = a->head->data + a->head->used;
    a->head->used += need;
    a->used += need;
    unpoison(p, bytes);
    return p;
}

void *arena_calloc(struct arena *a, size_t n, size_t size, struct prep_error *err)
{
    uint64_t bytes;
    if (prep_mul(&bytes, n, size)) {
        prep_fail(err, PREP_ENOMEM, "out of memory asking for %zu x %zu bytes", n, size);
        return NULL;
    }
    void *p = arena_alloc(a, (size_t)bytes, err);
    return p ? memset(p, 0, (size_t)bytes) : NULL;
}

char *arena_strndup(struct arena *a, const char *s, size_t n, struct prep_error *err)
{
    char *p = arena_alloc(a, n + 1, err);
    if (!p)
        return NULL;
    if (n)
        memcpy(p, s, n);
    p[n] = 0;
    return p;
}

char *arena_printf(struct arena *a, struct prep_error *err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = arena_alloc(a, n < 0 ? 1 : (size_t)n + 1, err);
    if (!p)
        return NULL;
    p[0] = 0;
    va_start(ap, fmt);
    if (n > 0)
        vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

int prep_mul(uint64_t *out, uint64_t a, uint64_t b)
{
    return __builtin_mul_overflow(a, b, out) ? -1 : 0;
}

int prep_add(uint64_t *out, uint64_t a, uint64_t b)
{
    return __builtin_add_overflow(a, b, out) ? -1 : 0;
}

int prep_grow(void *items, size_t *cap, size_t n, size_t size, struct prep_error *err)
{
    if (n < *cap)
        return 0;
    size_t want = *cap ? *cap * 2 : 16;
    uint64_t bytes;
    void *old, *p = NULL;
    memcpy(&old, items, sizeof old);
    if (want > *cap && !prep_mul(&bytes, want, size))
        p = realloc(old, (size_t)bytes);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "out of memory growing a table to %zu entries", want);
    memcpy(items, &p, sizeof p);
    *cap = want;
    return 0;
}
