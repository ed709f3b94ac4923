/* SPDX-License-Identifier: MIT */
/* A reference that is read is consistent, and is written and read again with the same bytes. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/reference.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int read_bytes(struct reference *r, const uint8_t *data, size_t size, struct arena *arena,
                      struct prep_error *err)
{
    const struct memory_part part = {.p = data, .n = size};
    const struct memory_file file = {.path = "/r", .parts = &part, .n_parts = 1};
    struct memory_io m;
    memory_io_init(&m, &file, 1);
    int rc = reference_read(r, &m.io, "/r", arena, err);
    check(m.n_open == 0);
    return rc;
}

static void check_rows(const struct reference *r)
{
    for (uint64_t s = 0; s < r->n_sequences; s++)
        for (uint64_t at = 0; at < r->sequence; at++) {
            const struct reference_row row = reference_row(r, s, at);
            check(row.token < r->vocab_size && isfinite(row.logsumexp) && row.tail >= 0);
            for (size_t k = 0; k < r->top_k; k++)
                check(row.ids[k] < r->vocab_size && isfinite(row.logits[k]));
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct reference r, again;
    struct arena arena;
    struct span a, b;
    arena_init(&arena, 0);
    if (read_bytes(&r, data, size, &arena, &err)) {
        check(err.code == PREP_EDATA || err.code == PREP_EUNSUP);
        arena_fini(&arena);
        return 0;
    }
    check_rows(&r);
    r.metadata = NULL;
    r.n_metadata = 0;
    check(reference_write(&a, &r, &arena, &err) == 0);
    check(read_bytes(&again, a.p, a.n, &arena, &err) == 0);
    again.metadata = NULL;
    again.n_metadata = 0;
    check(reference_write(&b, &again, &arena, &err) == 0);
    check(a.n == b.n && memcmp(a.p, b.p, a.n) == 0);
    check(reference_check(&again, &r.identity, "a", "b", &err) == 0);
    arena_fini(&arena);
    return 0;
}
