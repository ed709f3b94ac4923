/* SPDX-License-Identifier: MIT */
/* check_page FILE...: say what is wrong with pages; exit 1 when anything is. */
#include <stdio.h>
#include <stdlib.h>

#include "libprep/base/io.h"
#include "tests/support/xml_check.h"

int main(int argc, char **argv)
{
    int any = argc < 2;
    for (int i = 1; i < argc; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        struct arena arena;
        struct span text;
        arena_init(&arena, 0);
        const char *fault = io_read_file(&io_posix, argv[i], 1 << 26, &arena, &text, &err)
                                ? err.msg
                                : xml_fault((const char *)text.p, text.n);
        if (fault)
            printf("%s: %s\n", argv[i], fault);
        any |= fault != NULL;
        arena_fini(&arena);
    }
    return any;
}
