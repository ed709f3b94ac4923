/* SPDX-License-Identifier: MIT */
/*
 * A header that is accepted tiles its file, and laid out again it is read back the same. The input
 * is the file up to the end of its header; as much data follows as a first reading asks for.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/safetensors.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

static int read_bytes(struct safetensors *st, const uint8_t *p, size_t n, uint64_t claimed,
                      struct arena *arena, struct prep_error *err)
{
    const struct memory_part part = {.p = p, .n = n};
    const struct memory_file file = {.path = "f", .parts = &part, .n_parts = 1, .claimed = claimed};
    struct memory_io m;
    memory_io_init(&m, &file, 1);
    int rc = safetensors_read(st, &m.io, 0, claimed, "f", arena, err);
    check(rc == 0 || err->code == PREP_EUNSUP || (err->code == PREP_EDATA && err->tag[0]));
    check(arena->used <= (64u << 20) + 4 * (uint64_t)n);
    return rc;
}

static void check_layout(struct safetensors *st, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct safetensors again;
    struct span header;
    uint64_t end = 8 + st->header_bytes;
    for (size_t i = 0; i < st->n_tensors; i++) {
        check(st->tensors[i].offset == end && st->tensors[i].bytes <= st->file_bytes - end);
        end += st->tensors[i].bytes;
    }
    check(end == st->file_bytes);
    uint64_t bytes = end - 8 - st->header_bytes;
    check(safetensors_layout(st->tensors, st->n_tensors, st->metadata, st->n_metadata, arena,
                             &header, &err) == 0);
    check(read_bytes(&again, header.p, header.n, header.n + bytes, arena, &err) == 0);
    check(again.n_tensors == st->n_tensors && again.n_metadata == st->n_metadata);
    for (size_t i = 0; i < st->n_tensors; i++)
        check(again.tensors[i].bytes == st->tensors[i].bytes);
    for (size_t i = 0; i < st->n_metadata; i++)
        check(strcmp(again.metadata[i].value, st->metadata[i].value) == 0);
}

/* "...header wants N": the data that would make the file whole. */
static uint64_t wanted(const struct prep_error *err)
{
    const char *s = strstr(err->msg, "header wants ");
    return s ? strtoull(s + strlen("header wants "), NULL, 10) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct safetensors st;
    struct arena arena;
    arena_init(&arena, 0);
    int rc = read_bytes(&st, data, size, size, &arena, &err);
    if (rc && strcmp(err.tag, "SHORT_DATA") == 0) {
        uint64_t more = wanted(&err), claimed = 0;
        prep_error_clear(&err);
        check(st.header_bytes && prep_add(&claimed, 8 + st.header_bytes, more) == 0);
        rc = read_bytes(&st, data, size, claimed, &arena, &err);
        check(rc == 0);
    }
    if (!rc)
        check_layout(&st, &arena);
    arena_fini(&arena);
    return 0;
}
