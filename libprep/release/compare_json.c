/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/base/table.h"
#include "libprep/release/compare.h"

enum { PATH_BYTES = 512, SHOWN_VALUE = 60 };

struct walk {
    struct findings *out;
    const char *name;
    struct json a, b;
    struct arena arena; /* decoded keys */
    struct prep_error *err;
};

static struct span text_of(const struct json *d, uint32_t node)
{
    const struct json_node *n = &d->nodes[node];
    return (struct span){(const unsigned char *)d->text + n->start, n->end - n->start};
}

static int same_text(struct span a, struct span b)
{
    return a.n == b.n && memcmp(a.p, b.p, a.n) == 0;
}

/* A value for a message; lists and long texts only by their beginning. */
static const char *shown(const struct json *d, uint32_t node, char buf[SHOWN_VALUE + 8])
{
    struct span t = text_of(d, node);
    int n = t.n > SHOWN_VALUE ? SHOWN_VALUE : (int)t.n;
    snprintf(buf, SHOWN_VALUE + 8, "%.*s%s", n, (const char *)t.p, t.n > SHOWN_VALUE ? "..." : "");
    return buf;
}

static void differ(struct walk *w, const char *path, uint32_t a, uint32_t b)
{
    char x[SHOWN_VALUE + 8], y[SHOWN_VALUE + 8], place[PATH_BYTES + 300];
    snprintf(place, sizeof place, "%s: %s", w->name, *path ? path : "(whole file)");
    if (a == JSON_NONE)
        findings_add(w->out, FINDING_ERROR, "CONFIG", place, "only in B: %s", shown(&w->b, b, y));
    else if (b == JSON_NONE)
        findings_add(w->out, FINDING_ERROR, "CONFIG", place, "only in A: %s", shown(&w->a, a, x));
    else
        findings_add(w->out, FINDING_ERROR, "CONFIG", place, "A has %s, B has %s",
                     shown(&w->a, a, x), shown(&w->b, b, y));
}

static int same_number(const struct walk *w, uint32_t a, uint32_t b)
{
    int64_t i, j;
    double x, y;
    int a_int = json_i64(&w->a, a, &i) == 0, b_int = json_i64(&w->b, b, &j) == 0;
    if (a_int && b_int)
        return i == j;
    return json_f64(&w->a, a, &x) == 0 && json_f64(&w->b, b, &y) == 0 && !(x < y) && !(x > y);
}

static int compare_values(struct walk *w, const char *path, uint32_t a, uint32_t b);

/* "path.key" or "path[i]"; what is too long is cut, it is only for people. */
static void extend(char out[PATH_BYTES], const char *path, const char *key, size_t i)
{
    if (key)
        snprintf(out, PATH_BYTES, "%s%s%s", path, *path ? "." : "", key);
    else
        snprintf(out, PATH_BYTES, "%s[%zu]", path, i);
}

/* Keys of an object as a table: objects may have a hundred thousand of them. */
static int index_keys(struct walk *w, const struct json *d, uint32_t object, struct name_table *t)
{
    if (name_table_init(t, json_count(d, object), w->err))
        return -1;
    for (uint32_t k = json_first(d, object); k != JSON_NONE; k = json_next(d, json_next(d, k))) {
        size_t n;
        uint32_t old;
        const char *key = json_string(d, k, &w->arena, &n, w->err);
        if (!key || name_table_add(t, key, n, json_next(d, k), &old, w->err))
            return -1;
    }
    return 0;
}

static int compare_objects(struct walk *w, const char *path, uint32_t a, uint32_t b)
{
    struct name_table in_a = {0}, in_b = {0};
    char below[PATH_BYTES];
    size_t n;
    int rc = -1;
    if (index_keys(w, &w->a, a, &in_a) || index_keys(w, &w->b, b, &in_b))
        goto out;
    for (uint32_t k = json_first(&w->a, a); k != JSON_NONE;) {
        const char *key = json_string(&w->a, k, &w->arena, &n, w->err);
        uint32_t v = json_next(&w->a, k);
        if (!key)
            goto out;
        extend(below, path, key, 0);
        uint32_t other = name_table_get(&in_b, key, n);
        if (other == NAME_NONE)
            differ(w, below, v, JSON_NONE);
        else if (compare_values(w, below, v, other))
            goto out;
        k = json_next(&w->a, v);
    }
    for (uint32_t k = json_first(&w->b, b); k != JSON_NONE;
         k = json_next(&w->b, json_next(&w->b, k))) {
        const char *key = json_string(&w->b, k, &w->arena, &n, w->err);
        if (!key)
            goto out;
        extend(below, path, key, 0);
        if (name_table_get(&in_a, key, n) == NAME_NONE)
            differ(w, below, JSON_NONE, json_next(&w->b, k));
    }
    rc = 0;
out:
    name_table_free(&in_a);
    name_table_free(&in_b);
    return rc;
}

static int compare_lists(struct walk *w, const char *path, uint32_t a, uint32_t b)
{
    size_t n = json_count(&w->a, a), m = json_count(&w->b, b), i = 0;
    char below[PATH_BYTES], place[PATH_BYTES + 300];
    if (n != m) {
        snprintf(place, sizeof place, "%s: %s", w->name, path);
        findings_add(w->out, FINDING_ERROR, "CONFIG", place,
                     "a list of %zu entries in A, of %zu in B", n, m);
        return 0;
    }
    uint32_t x = json_first(&w->a, a), y = json_first(&w->b, b);
    for (; x != JSON_NONE; x = json_next(&w->a, x), y = json_next(&w->b, y), i++) {
        extend(below, path, NULL, i);
        if (compare_values(w, below, x, y))
            return -1;
    }
    return 0;
}

/* The parser limits the depth to JSON_MAX_DEPTH. */
static int compare_values(struct walk *w, const char *path, uint32_t a, uint32_t b)
{
    enum json_type t = json_type(&w->a, a);
    if (same_text(text_of(&w->a, a), text_of(&w->b, b)))
        return 0;
    if (t != json_type(&w->b, b)) {
        differ(w, path, a, b);
        return 0;
    }
    if (t == JSON_OBJECT)
        return compare_objects(w, path, a, b);
    if (t == JSON_ARRAY)
        return compare_lists(w, path, a, b);
    if (t != JSON_NUMBER || !same_number(w, a, b))
        differ(w, path, a, b);
    return 0;
}

int compare_json(struct findings *out, const char *name, struct span a, struct span b,
                 struct prep_error *err)
{
    struct walk w = {.out = out, .name = name, .err = err};
    int rc = -1;
    arena_init(&w.arena, 0);
    if (json_parse(&w.a, (const char *)a.p, a.n, name, err) ||
        json_parse(&w.b, (const char *)b.p, b.n, name, err))
        goto out;
    rc = compare_values(&w, "", 0, 0);
out:
    json_free(&w.a);
    json_free(&w.b);
    arena_fini(&w.arena);
    return rc;
}
