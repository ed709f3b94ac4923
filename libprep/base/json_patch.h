/* SPDX-License-Identifier: MIT */
/*
 * json_patch.h - change a few values of a JSON file and leave every other byte as it is.
 *
 * Changes are collected by node of a parsed document and turned into splices at the end. What is
 * removed takes one separator and its white space along; what is added looks like its neighbours:
 * own line and indentation in a file that has lines, the same colon and comma.
 *
 *   "ignore": [        remove "b"        "ignore": [
 *     "a",            ----------->         "a",
 *     "b",                                 "c"
 *     "c"                                ],
 *   ],
 *
 * Shapes     the child of an array is the element's node, of an object the key's node
 * Ownership  document and arena are borrowed until json_patch_free(); texts given are copied
 *            into the arena, and so is the result
 * Errors     PREP_ENOMEM; PREP_EBUG when two changes overlap (one inside what another removes)
 * Threads    one patch, one thread
 */
#ifndef PREP_BASE_JSON_PATCH_H
#define PREP_BASE_JSON_PATCH_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_change;

struct json_patch {
    const struct json *doc;
    struct arena *arena;
    struct json_change *changes;
    size_t n, cap;
};

void json_patch_init(struct json_patch *p, const struct json *doc, struct arena *arena);
void json_patch_free(struct json_patch *p); /* accepts a zeroed struct */

/*
 * Give a key of an object this value (JSON text): replaced where the key stands, else added as
 * the last member. Lines of a value that has several are indented to where it goes. Setting a
 * key twice keeps the later value.
 */
PREP_MUST_CHECK int json_patch_set(struct json_patch *p, uint32_t object, const char *key,
                                   const char *json, size_t n, struct prep_error *err);
PREP_MUST_CHECK int json_patch_set_i64(struct json_patch *p, uint32_t object, const char *key,
                                       int64_t v, struct prep_error *err);
/*
 * The same for a list of integers. A list that stands there keeps its layout: only numbers that
 * differ change, and elements are dropped from or added to its end.
 */
PREP_MUST_CHECK int json_patch_set_ints(struct json_patch *p, uint32_t object, const char *key,
                                        const int *values, size_t n, struct prep_error *err);
/* Drop a key and its value; nothing happens when it is absent. */
PREP_MUST_CHECK int json_patch_remove_key(struct json_patch *p, uint32_t object, const char *key,
                                          struct prep_error *err);

/* Put JSON text in place of a value or key. */
PREP_MUST_CHECK int json_patch_replace(struct json_patch *p, uint32_t node, const char *json,
                                       size_t n, struct prep_error *err);
PREP_MUST_CHECK int json_patch_replace_string(struct json_patch *p, uint32_t node, const char *s,
                                              struct prep_error *err);
/* Drop a child of an array or object. */
PREP_MUST_CHECK int json_patch_remove(struct json_patch *p, uint32_t container, uint32_t child,
                                      struct prep_error *err);
/*
 * Put n strings in place of one child: in an array as elements, in an object as keys, each with
 * the value the child had. n > 0.
 */
PREP_MUST_CHECK int json_patch_expand(struct json_patch *p, uint32_t container, uint32_t child,
                                      const char *const *strings, size_t n, struct prep_error *err);
/* Add an element at the end of an array, or a member (`"key": value`) at the end of an object. */
PREP_MUST_CHECK int json_patch_append(struct json_patch *p, uint32_t array, const char *json,
                                      size_t n, struct prep_error *err);

/* The edited text, in the arena; the original bytes when nothing was changed. */
PREP_MUST_CHECK int json_patch_finish(struct json_patch *p, struct span *out,
                                      struct prep_error *err);

/* A string as JSON, quotes and escapes included. */
char *json_quote(struct arena *arena, const char *s, struct prep_error *err);

#ifdef __cplusplus
}
#endif
#endif
