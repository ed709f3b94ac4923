/* SPDX-License-Identifier: MIT */
#include "tests/support/tiny_linear.h"

#include "tests/support/tiny_checkpoint.h"

const char *tiny_write_module(const struct tiny_part parts[TINY_PARTS], const char *extra)
{
    struct tiny_checkpoint t;
    tiny_init(&t);
    tiny_add(&t, DTYPE_BF16, 8, -1, "model.norm.weight");
    for (int i = 0; i < TINY_PARTS && parts[i].suffix; i++)
        tiny_add(&t, parts[i].dtype, parts[i].rows, parts[i].cols, TINY_MODULE ".%s",
                 parts[i].suffix);
    const char *dir = tiny_write(&t, tiny_config(0, extra));
    tiny_fini(&t);
    return dir;
}
