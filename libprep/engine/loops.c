/* SPDX-License-Identifier: MIT */
#include "libprep/engine/loops.h"

struct loop_found loop_find(const uint32_t *tokens, size_t n)
{
    const size_t start = n > LOOP_WINDOW ? n - LOOP_WINDOW : 0;
    for (size_t p = 1; p <= LOOP_PERIODS; p++) {
        const size_t least = 3 * p > LOOP_LEAST ? 3 * p : LOOP_LEAST;
        size_t repeat = 0;
        for (size_t i = n; i > start + p && tokens[i - 1] == tokens[i - 1 - p]; i--)
            repeat++;
        if (repeat >= least)
            return (struct loop_found){(int)p, repeat};
    }
    return (struct loop_found){0, 0};
}
