/* SPDX-License-Identifier: MIT */
/* A text that parses is written again from its nodes, and that parses to the same nodes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
    if (!ok)
        abort();
}

/* Decoded, without the NUL; free() it. */
static char *decoded(const struct json *d, uint32_t node, size_t *n)
{
    char *s = malloc(d->nodes[node].end - d->nodes[node].start - 1u);
    check(s != NULL);
    *n = json_decode(d, node, s);
    check(*n <= d->nodes[node].end - d->nodes[node].start - 2u);
    s[*n] = 0;
    return s;
}

static void put_number(struct json_out *o, const struct json *d, uint32_t node)
{
    uint64_t u;
    int64_t i;
    double v = 0;
    check(json_f64(d, node, &v) == 0);
    if (json_u64(d, node, &u) == 0)
        json_out_u64(o, u);
    else if (json_i64(d, node, &i) == 0)
        json_out_i64(o, i);
    else if (v - v == 0)
        json_out_f64(o, v);
    else
        json_out_raw(o, v < 0 ? "-1e999" : "1e999", v < 0 ? 6 : 5);
}

static void put(struct json_out *o, const struct json *d, uint32_t node)
{
    size_t n;
    char *s;
    switch (json_type(d, node)) {
    case JSON_NULL:
        json_out_null(o);
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        json_out_bool(o, json_type(d, node) == JSON_TRUE);
        return;
    case JSON_NUMBER:
        put_number(o, d, node);
        return;
    case JSON_STRING:
        s = decoded(d, node, &n);
        json_out_string_n(o, s, n);
        free(s);
        return;
    default:
        break;
    }
    int object = json_type(d, node) == JSON_OBJECT;
    json_out_open(o, object ? '{' : '[');
    for (uint32_t i = json_first(d, node); i != JSON_NONE; i = json_next(d, i)) {
        check(i > node && i < d->n_nodes && d->nodes[i].end <= d->nodes[node].end);
        if (object) {
            s = decoded(d, i, &n);
            json_out_key_n(o, s, n);
            free(s);
            i = json_next(d, i);
        }
        put(o, d, i);
    }
    json_out_close(o);
}

static void check_same(const struct json *a, const struct json *b)
{
    check(a->n_nodes == b->n_nodes);
    for (uint32_t i = 0; i < a->n_nodes; i++) {
        double x = 0, y = 0;
        size_t n, m;
        check(a->nodes[i].type == b->nodes[i].type && a->nodes[i].next == b->nodes[i].next);
        check(json_f64(a, i, &x) == json_f64(b, i, &y) && x == y);
        if (json_type(a, i) != JSON_STRING)
            continue;
        char *s = decoded(a, i, &n), *t = decoded(b, i, &m);
        check(n == m && memcmp(s, t, n) == 0);
        free(s);
        free(t);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct json d, again;
    struct json_out o;
    struct span text;
    if (json_parse(&d, (const char *)data, size, "fuzz", &err)) {
        check(err.code == PREP_EDATA && strncmp(err.tag, "JSON", 4) == 0 && !d.nodes);
        return 0;
    }
    json_out_init(&o, (int)(size % 4) - 1);
    put(&o, &d, 0);
    check(json_out_finish(&o, &text, &err) == 0);
    check(json_parse(&again, (const char *)text.p, text.n, "again", &err) == 0);
    check_same(&d, &again);
    json_free(&again);
    json_out_free(&o);
    json_free(&d);
    return 0;
}
