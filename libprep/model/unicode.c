/* SPDX-License-Identifier: MIT */
#include "libprep/model/unicode.h"

#include <string.h>

/* A page of one class, shared by all that are like it. */
static const uint8_t *uniform_page(const uint8_t *shared[16], unsigned classes, struct arena *arena,
                                   struct prep_error *err)
{
    if (!shared[classes]) {
        uint8_t *page = arena_alloc(arena, 256, err);
        if (!page)
            return NULL;
        memset(page, (int)classes, 256);
        shared[classes] = page;
    }
    return shared[classes];
}

/* The classes of a page; *r is the first range that ends in it or after it. */
static void fill_page(uint8_t page[256], uint32_t begin, size_t *r)
{
    memset(page, 0, 256);
    for (; *r < unicode_n_ranges; ++*r) {
        const struct unicode_range *range = &unicode_ranges[*r];
        uint32_t first = range->first > begin ? range->first : begin;
        uint32_t last = range->last < begin + 255 ? range->last : begin + 255;
        if (first <= last)
            memset(page + (first - begin), range->classes, last - first + 1);
        if (range->last > begin + 255)
            break;
    }
}

int unicode_map_init(struct unicode_map *map, struct arena *arena, struct prep_error *err)
{
    const uint8_t *shared[16] = {NULL};
    uint8_t page[256];
    size_t r = 0;
    for (uint32_t i = 0; i < UNICODE_PAGES; i++) {
        fill_page(page, i << 8, &r);
        if (memcmp(page, page + 1, 255) == 0) {
            map->pages[i] = uniform_page(shared, page[0], arena, err);
        } else {
            uint8_t *own = arena_alloc(arena, sizeof page, err);
            if (own)
                memcpy(own, page, sizeof page);
            map->pages[i] = own;
        }
        if (!map->pages[i])
            return -1;
    }
    return 0;
}
