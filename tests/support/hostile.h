/* SPDX-License-Identifier: MIT */
/*
 * hostile.h - the cases of the hostile fixtures made real: files, folders, configs.
 *
 * Ownership  hostile_open / hostile_close; texts live in the arena, folders until the process ends
 * Errors     fail the running test
 * Threads    the main thread only
 */
#ifndef PREP_TESTS_HOSTILE_H
#define PREP_TESTS_HOSTILE_H

#include "libprep/base/json.h"
#include "tests/support/memory_io.h"
#include "tests/support/support.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { HOSTILE_PARTS = 8 };

struct hostile {
    struct test_bytes text;
    struct json doc;
    struct arena arena;
};

/* "index.json" */
struct hostile *hostile_open(const char *name);
void hostile_close(struct hostile *h);

char *hostile_string(struct hostile *h, uint32_t node);
/* The text of a key, or NULL. */
const char *hostile_text(struct hostile *h, uint32_t object, const char *key);

/* safetensors.json: the bytes of a case. Returns how many parts. */
size_t hostile_parts(struct hostile *h, uint32_t c, struct memory_part parts[HOSTILE_PARTS]);
/* index.json: the folder of a case. */
const char *hostile_folder(struct hostile *h, uint32_t c);
/* config.json: the original with the edit of a case. */
struct span hostile_config(struct hostile *h, struct span original, uint32_t edit);

#ifdef __cplusplus
}
#endif
#endif
