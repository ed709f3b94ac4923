/* SPDX-License-Identifier: MIT */
/*
 * table.h - a hash index of names: string to a 32-bit number, open addressing over XXH3.
 *
 * Ownership  names are borrowed and must outlive the table; name_table_free() accepts zero
 * Errors     PREP_ENOMEM
 * Threads    lookups are const
 */
#ifndef PREP_BASE_TABLE_H
#define PREP_BASE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

#define NAME_NONE UINT32_MAX

struct name_slot {
    const char *name;
    uint32_t n, value;
    uint64_t hash;
};

struct name_table {
    struct name_slot *slots;
    size_t cap, used; /* cap is a power of two, at most 2/3 used */
};

/* Room for n names without growing. */
PREP_MUST_CHECK int name_table_init(struct name_table *t, size_t n, struct prep_error *err);
void name_table_free(struct name_table *t);
/* Adds name, or finds it: *old is its earlier value, or NAME_NONE when it was new. */
PREP_MUST_CHECK int name_table_add(struct name_table *t, const char *name, size_t n, uint32_t value,
                                   uint32_t *old, struct prep_error *err);
/* The value, or NAME_NONE. */
uint32_t name_table_get(const struct name_table *t, const char *name, size_t n);

#ifdef __cplusplus
}
#endif
#endif
