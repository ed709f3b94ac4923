/* SPDX-License-Identifier: MIT */
/* The input is the index of a folder with two shards of three tensors. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/store/checkpoint.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Header of U8 tensors with these one-letter names; the data is zeros. */
static void make_shard(struct memory_part parts[2], const char *letters, struct arena *arena)
{
    struct tensor_info t[4] = {0};
    struct prep_error err = PREP_ERROR_INIT;
    struct span header;
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++) {
        t[i].name = arena_strndup(arena, letters + i, 1, &err);
        t[i].dtype = DTYPE_U8;
        t[i].bytes = 1;
    }
    check(safetensors_layout(t, n, NULL, 0, arena, &header, &err) == 0);
    parts[0] = (struct memory_part){.p = header.p, .n = header.n};
    parts[1] = (struct memory_part){.n = n};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct memory_part first[2], second[2], index = {.p = data, .n = size};
    const struct memory_file files[] = {
        {.path = "d/model.safetensors.index.json", .parts = &index, .n_parts = 1},
        {.path = "d/x.safetensors", .parts = first, .n_parts = 2},
        {.path = "d/y.safetensors", .parts = second, .n_parts = 2},
    };
    struct prep_error err = PREP_ERROR_INIT;
    struct memory_io m;
    struct report report;
    struct checkpoint *c;
    struct arena arena;
    arena_init(&arena, 0);
    make_shard(first, "ab", &arena);
    make_shard(second, "c", &arena);
    memory_io_init(&m, files, 3);
    report_init(&report);
    if (checkpoint_open(&c, &m.io, "d", &report, &err)) {
        check((err.code == PREP_EDATA || err.code == PREP_ENOINPUT) && err.tag[0] && !c);
    } else {
        check(c->n_shards <= 2 && c->n_tensors == (c->n_shards == 2 ? 3 : c->tensor_bytes));
        for (size_t i = 0; i < c->n_tensors; i++)
            check(checkpoint_find(c, c->tensors[i].info.name) == &c->tensors[i]);
    }
    check(m.n_open == 0);
    checkpoint_close(c);
    report_fini(&report);
    arena_fini(&arena);
    return 0;
}
