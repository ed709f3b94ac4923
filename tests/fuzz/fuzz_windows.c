/* SPDX-License-Identifier: MIT */
/* Windows that are read hold token ids, as many as they say. */
#include <stdint.h>
#include <stdlib.h>

#include "libprep/format/windows.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct token_windows w;
    struct arena arena;
    arena_init(&arena, 0);
    if (windows_parse(&w, (const char *)data, size, "evaluation", "fuzz", &arena, &err)) {
        check(err.code == PREP_EDATA || err.code == PREP_EUSAGE);
    } else {
        check(w.n_windows > 0 && w.length > 1);
        for (uint64_t i = 0; i < w.n_windows * w.length; i++)
            check(w.tokens[i] <= INT32_MAX);
    }
    arena_fini(&arena);
    return 0;
}
