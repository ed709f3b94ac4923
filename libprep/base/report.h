/* SPDX-License-Identifier: MIT */
/*
 * report.h - what a run found: warnings with a class, facts as a cJSON tree.
 *
 * libprep prints nothing. It adds warnings and facts here; the tool renders them as text, or
 * with --json as one object.
 *
 * Ownership  report_init / report_fini; facts belong to the report
 * Errors     PREP_ENOMEM is remembered and returned by report_ok()
 * Threads    one thread at a time
 */
#ifndef PREP_BASE_REPORT_H
#define PREP_BASE_REPORT_H

#include <cjson/cJSON.h>
#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

struct warning {
    const char *tag;  /* "OBS_NEVER_ROUTED", a literal */
    const char *text; /* one line */
};

struct report {
    struct arena arena;
    struct warning *warnings;
    size_t n_warnings, cap_warnings;
    cJSON *facts; /* an object; the tool adds "schema" */
    int failed;
};

void report_init(struct report *r);
void report_fini(struct report *r); /* accepts a zeroed struct */
/* A NULL report swallows warnings. */
void report_warn(struct report *r, const char *tag, const char *fmt, ...) PREP_PRINTF(3, 4);
/* Has a warning of this class been given? */
int report_has(const struct report *r, const char *tag);
PREP_MUST_CHECK int report_ok(const struct report *r, struct prep_error *err);

/* Exact integers in a cJSON tree, which would print 2^53 + 1 wrong. */
void report_u64(cJSON *object, const char *key, uint64_t v);
/* The item becomes the array's last, or is freed where memory for it or the array was lost. */
void report_add(cJSON *array, cJSON *item);
/* A new last object; NULL, which every cJSON_Add...() takes, where memory was lost. */
cJSON *report_add_object(cJSON *array);

#ifdef __cplusplus
}
#endif
#endif
