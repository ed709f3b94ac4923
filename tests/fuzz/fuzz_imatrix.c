/* SPDX-License-Identifier: MIT */
/* An importance matrix that is accepted has finite values, and written again in its own form it is
 * read back the same. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/imatrix.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int open_bytes(struct imatrix *m, const uint8_t *p, size_t n)
{
    const struct memory_part part = {.p = p, .n = n};
    const struct memory_file file = {.path = "f", .parts = &part, .n_parts = 1};
    struct memory_io io;
    struct prep_error err = PREP_ERROR_INIT;
    memory_io_init(&io, &file, 1);
    int rc = imatrix_open(m, &io.io, "f", 1, &err);
    check(rc == 0 || (err.code == PREP_EDATA && err.tag[0]));
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct imatrix m, again;
    struct arena arena;
    struct span out;
    struct prep_error err = PREP_ERROR_INIT;
    if (open_bytes(&m, data, size))
        return 0;
    arena_init(&arena, 0);
    for (size_t i = 0; i < m.n; i++) {
        const struct imatrix_entry *e = &m.entries[i];
        for (uint64_t k = 0; k < e->n_values; k++)
            check(isfinite(e->values[k]) && e->values[k] >= 0);
        check(imatrix_find(&m, e->name) == e && e->n_values % e->slices == 0);
    }
    /* Both writers take both forms; names of the second may be too long for the first. */
    if (!m.legacy && imatrix_write(&m, &arena, &out, &err) == 0) {
        check(open_bytes(&again, out.p, out.n) == 0 && again.n == m.n);
        imatrix_free(&again);
    }
    check(imatrix_write_legacy(&m, &arena, &out, &err) == 0);
    arena_fini(&arena);
    imatrix_free(&m);
    return 0;
}
