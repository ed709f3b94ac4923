/* SPDX-License-Identifier: MIT */
/* The input is an archive. What is passed on keeps its promises about names and sizes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/format/bundle.h"
#include "tests/support/memory_io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct bundle_limits limits = {64, 1 << 16, 1 << 18};

static void check(int ok)
{
    if (!ok)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct memory_part part = {data, 0, size};
    const struct memory_file file = {"x.tar", &part, 1, 0};
    struct memory_io m;
    struct prep_error err = PREP_ERROR_INIT;
    struct bundle_file *files;
    struct arena arena;
    size_t n, total = 0;
    arena_init(&arena, 0);
    memory_io_init(&m, &file, 1);
    if (bundle_load(&m.io, "x.tar", &limits, NULL, &arena, &files, &n, &err)) {
        check(err.code == PREP_EDATA && strcmp(err.tag, "BUNDLE") == 0);
        n = 0;
    }
    check(n <= limits.members);
    for (size_t i = 0; i < n; i++) {
        check(files[i].name[0] != '/' && files[i].name[0] != 0 && !strstr(files[i].name, "//"));
        check(i == 0 || strcmp(files[i - 1].name, files[i].name) < 0);
        check(files[i].bytes.n <= limits.member_bytes);
        total += files[i].bytes.n;
    }
    check(total <= limits.total_bytes);
    arena_fini(&arena);
    return 0;
}
