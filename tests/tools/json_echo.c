/* SPDX-License-Identifier: MIT */
/*
 * json_echo - what json_parse() makes of each text, for comparison with another parser.
 *
 *   json_echo <TEXTS
 *
 * Texts come as a 32-bit little-endian length and that many bytes. For each one line: the document
 * on one line, written again from its nodes, or "!TAG" when it is refused.
 */
#include <stdio.h>
#include <stdlib.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"

enum { MAX_TEXT = 1 << 20 };

/* Numbers in 64 bits as such, others as the double; an infinite one as a number that reads so. */
static void put_number(struct json_out *o, const struct json *d, uint32_t node)
{
    uint64_t u;
    int64_t i;
    double v = 0;
    if (json_u64(d, node, &u) == 0)
        json_out_u64(o, u);
    else if (json_i64(d, node, &i) == 0)
        json_out_i64(o, i);
    else if (json_f64(d, node, &v) == 0 && v - v == 0)
        json_out_f64(o, v);
    else
        json_out_raw(o, v < 0 ? "-1e999" : "1e999", v < 0 ? 6 : 5);
}

/* Decoded text of a string node; in the arena. */
static const char *text_of(const struct json *d, uint32_t node, struct arena *a, size_t *n)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *s = json_string(d, node, a, n, &err);
    if (!s) {
        fprintf(stderr, "json_echo: %s\n", err.msg);
        exit(71);
    }
    return s;
}

static void put(struct json_out *o, const struct json *d, uint32_t node, struct arena *a)
{
    const enum json_type type = json_type(d, node);
    const char *s;
    size_t n;
    if (type == JSON_NULL) {
        json_out_null(o);
    } else if (type == JSON_TRUE || type == JSON_FALSE) {
        json_out_bool(o, type == JSON_TRUE);
    } else if (type == JSON_NUMBER) {
        put_number(o, d, node);
    } else if (type == JSON_STRING) {
        s = text_of(d, node, a, &n);
        json_out_string_n(o, s, n);
    } else {
        json_out_open(o, type == JSON_OBJECT ? '{' : '[');
        for (uint32_t i = json_first(d, node); i != JSON_NONE; i = json_next(d, i)) {
            if (type == JSON_OBJECT) {
                s = text_of(d, i, a, &n);
                json_out_key_n(o, s, n);
                i = json_next(d, i);
            }
            put(o, d, i, a);
        }
        json_out_close(o);
    }
}

static int echo(const char *text, size_t n, struct prep_error *err)
{
    struct json d = {0};
    struct json_out o;
    struct arena a;
    struct span line;
    if (json_parse(&d, text, n, "text", err)) {
        if (err->code != PREP_EDATA)
            return -1;
        printf("!%s\n", err->tag);
        prep_error_clear(err);
        return 0;
    }
    arena_init(&a, 0);
    json_out_init(&o, JSON_ONE_LINE);
    put(&o, &d, 0, &a);
    int rc = json_out_finish(&o, &line, err);
    if (rc == 0)
        fwrite(line.p, 1, line.n, stdout);
    json_out_free(&o);
    arena_fini(&a);
    json_free(&d);
    return rc;
}

int main(void)
{
    static char text[MAX_TEXT];
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char length[4];
    while (fread(length, 1, sizeof length, stdin) == sizeof length) {
        size_t n = load_le32(length);
        if (n > sizeof text || fread(text, 1, n, stdin) != n) {
            fprintf(stderr, "json_echo: want at most %d bytes, and as many as said\n", MAX_TEXT);
            return 65;
        }
        if (echo(text, n, &err)) {
            fprintf(stderr, "json_echo: %s\n", err.msg);
            return prep_exit_code(err.code);
        }
    }
    return fflush(stdout) ? 74 : 0;
}
