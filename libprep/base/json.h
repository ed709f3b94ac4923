/* SPDX-License-Identifier: MIT */
/*
 * json.h - strict JSON in, exact JSON out.
 *
 * json_parse() accepts RFC 8259 and nothing else (UTF-8 without overlong forms or half
 * surrogates, no BOM, no duplicate key in any object, no leading zeros, NaN or trailing bytes,
 * depth <= 64) and leaves a flat table of nodes that point into the text. Numbers keep their
 * text, so 64-bit integers are exact; every node knows its byte range, so an edit can be a
 * splice into the original text. cJSON is used for building reports (base/report.h), behind
 * this door: nothing unvalidated reaches it.
 *
 * Shapes     nodes are numbered in text order; 0 is the root; JSON_NONE is "no such node".
 *            Children of an object alternate key, value, key, value...
 * Units      start and end are byte offsets into the text, end exclusive, quotes included
 * Ownership  a struct json borrows its text and owns its nodes; strings are decoded on request
 *            into the caller's arena, or borrowed from the text when they hold no escape
 * Errors     PREP_EDATA, tag "JSON", "JSON_UTF8" or "JSON_DUPLICATE_KEY" (the caller may rewrite
 *            err->tag), message with byte offset, what was found and wanted; PREP_ENOMEM.
 *            Memory is at most 64 MiB + 3 x the text, more is PREP_EDATA.
 * Threads    a parsed document is const and may be shared
 */
#ifndef PREP_BASE_JSON_H
#define PREP_BASE_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "libprep/base/arena.h"
#include "libprep/base/error.h"

#ifdef __cplusplus
extern "C" {
#endif

enum json_type {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

#define JSON_NONE UINT32_MAX
enum { JSON_MAX_DEPTH = 64 };

struct json_node {
    uint32_t start, end;
    uint32_t next;   /* sibling, JSON_NONE at the end */
    uint8_t type;    /* enum json_type */
    uint8_t escaped; /* string holds a backslash */
    uint16_t unused;
};

struct json {
    const char *text;
    size_t n;
    const char *name; /* for messages, borrowed */
    struct json_node *nodes;
    size_t n_nodes;
    int fault_depth; /* after JSON_DUPLICATE_KEY: depth of the object, 1 is the root */
};

/* text need not be NUL-terminated, at most 2^32 - 2 bytes; name is the file, for messages. */
PREP_MUST_CHECK int json_parse(struct json *doc, const char *text, size_t n, const char *name,
                               struct prep_error *err);
void json_free(struct json *doc); /* accepts a zeroed struct */

static inline enum json_type json_type(const struct json *d, uint32_t node)
{
    return (enum json_type)d->nodes[node].type;
}

/* First child of an array or object, or JSON_NONE. */
static inline uint32_t json_first(const struct json *d, uint32_t node)
{
    enum json_type t = (enum json_type)d->nodes[node].type;
    if ((t != JSON_ARRAY && t != JSON_OBJECT) || node + 1 >= d->n_nodes ||
        d->nodes[node + 1].start >= d->nodes[node].end)
        return JSON_NONE;
    return node + 1;
}

static inline uint32_t json_next(const struct json *d, uint32_t node)
{
    return d->nodes[node].next;
}

/* Number of elements or of key-value pairs. */
size_t json_count(const struct json *d, uint32_t node);
/* Value of a key in an object, by a linear walk: for small objects. JSON_NONE when absent. */
uint32_t json_get(const struct json *d, uint32_t object, const char *key);
/* Is this string node equal to s (after decoding)? */
int json_equal(const struct json *d, uint32_t node, const char *s);
int json_equal_n(const struct json *d, uint32_t node, const char *s, size_t n);
/* Are both strings, and equal? */
int json_same_string(const struct json *a, uint32_t x, const struct json *b, uint32_t y);

/*
 * Decoded string, NUL-terminated copy in the arena; *n (may be NULL) is its length. An embedded
 * NUL is kept: compare lengths where that matters. NULL with err set when out of memory.
 */
char *json_string(const struct json *d, uint32_t node, struct arena *arena, size_t *n,
                  struct prep_error *err);
/* The same into caller memory of end - start - 2 bytes, without a NUL; returns the length. */
size_t json_decode(const struct json *d, uint32_t node, char *out);

/* 0 and the value, or -1 when the node is no number token of that kind (1.0 is no integer). */
int json_i64(const struct json *d, uint32_t node, int64_t *v);
int json_u64(const struct json *d, uint32_t node, uint64_t *v);
/* Nearest double of any number token, independent of the locale; overflow gives infinity. */
int json_f64(const struct json *d, uint32_t node, double *v);

/* "file: byte 123 (line 4)" of a node in the caller's buffer, for messages. */
const char *json_where(const struct json *d, uint32_t node, char *buf, size_t size);

/*
 * Splices: replace, insert or delete byte ranges of a text, leaving every other byte as it is.
 * Edits may be added in any order and must not overlap (PREP_EBUG); several inserted at one place
 * appear in the order given.
 */
struct json_edit {
    size_t start, end; /* replaced range; start == end inserts */
    const char *text;  /* borrowed until json_splice() */
    size_t n;
};

PREP_MUST_CHECK int json_splice(struct span *out, const char *text, size_t n,
                                struct json_edit *edits, size_t n_edits, struct arena *arena,
                                struct prep_error *err);

/*
 * Streaming writer into a growing heap buffer: exact integers, shortest digits that read back to
 * the same double. Errors (memory only) are kept and reported by json_out_finish().
 */
enum { JSON_ONE_LINE = 0, JSON_COMPACT = -1 };

struct json_out {
    char *text;
    size_t n, cap;
    int depth, indent; /* spaces per level; or one line, or one line without spaces */
    unsigned char first[JSON_MAX_DEPTH + 1], after_key, failed;
    char closing[JSON_MAX_DEPTH + 1];
};

void json_out_init(struct json_out *o, int indent);
void json_out_free(struct json_out *o);
void json_out_open(struct json_out *o, char bracket); /* '{' or '[' */
void json_out_close(struct json_out *o);
void json_out_key(struct json_out *o, const char *key);
void json_out_key_n(struct json_out *o, const char *key, size_t n);
void json_out_string(struct json_out *o, const char *s);
void json_out_string_n(struct json_out *o, const char *s, size_t n); /* bad UTF-8: U+FFFD */
void json_out_i64(struct json_out *o, int64_t v);
void json_out_u64(struct json_out *o, uint64_t v);
void json_out_f64(struct json_out *o, double v); /* null when v is not finite */
void json_out_bool(struct json_out *o, int v);
void json_out_null(struct json_out *o);
/* Text that is JSON already. */
void json_out_raw(struct json_out *o, const char *json, size_t n);
/* Adds the final newline; the text stays owned by o. */
PREP_MUST_CHECK int json_out_finish(struct json_out *o, struct span *out, struct prep_error *err);

/* Shortest decimal that reads back to v, spelled as Python does: "1e-05", "0.1", "3.0", "1e+16".
 * Finite v only. */
void json_format_f64(double v, char buf[32]);

#ifdef __cplusplus
}
#endif
#endif
