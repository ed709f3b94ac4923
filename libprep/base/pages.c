/* SPDX-License-Identifier: MIT */
#include "libprep/base/pages.h"

#include <stdlib.h>
#include <sys/mman.h>

static uint64_t whole(uint64_t bytes)
{
    return bytes == 0 ? PAGES_ALIGN : (bytes + PAGES_ALIGN - 1) / PAGES_ALIGN * PAGES_ALIGN;
}

unsigned char *pages_take(uint64_t bytes)
{
    if (bytes > SIZE_MAX / 2)
        return NULL;
    const size_t n = (size_t)whole(bytes);
    if (PAGES_WATCHED)
        return aligned_alloc(PAGES_ALIGN, n);
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

void pages_give(unsigned char *p, uint64_t bytes)
{
    if (PAGES_WATCHED)
        free(p);
    else if (p)
        munmap(p, (size_t)whole(bytes));
}
