/* SPDX-License-Identifier: MIT */
/* Maxima that parse write, read back equal, and do not change when merged alone. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/amax.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static void check_same(const struct amax *a, const struct amax *b)
{
    check(a->n == b->n && a->n_metadata == b->n_metadata);
    for (size_t i = 0; i < a->n; i++) {
        const struct amax_entry *x = &a->entries[i], *y = &b->entries[i];
        check(strcmp(x->module, y->module) == 0 && x->tokens == y->tokens && x->tokens > 0);
        check(memcmp(&x->amax, &y->amax, sizeof x->amax) == 0);
        check(amax_find(b, x->module) == y);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const name = "fuzz";
    struct prep_error err = PREP_ERROR_INIT;
    struct amax a, again = {0}, merged = {0};
    struct arena arena;
    struct span text;
    if (amax_parse(&a, (struct span){data, size}, name, &err)) {
        check(err.code == PREP_EDATA || err.code == PREP_EUNSUP);
        return 0;
    }
    arena_init(&arena, 0);
    /* Names that only just fit a header need not fit with another suffix beside them. */
    if (amax_write(&a, &arena, &text, &err) == 0) {
        check(amax_parse(&again, text, name, &err) == 0);
        check_same(&a, &again);
    }
    prep_error_clear(&err);
    if (amax_merge(&merged, &a, &name, 1, 0, &err) == 0)
        check_same(&a, &merged);
    else
        check(err.code == PREP_EDATA); /* a count in the metadata that is none */
    amax_free(&merged);
    amax_free(&again);
    amax_free(&a);
    arena_fini(&arena);
    return 0;
}
