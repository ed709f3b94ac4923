/* SPDX-License-Identifier: MIT */
#include "libprep/base/json_patch.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum change_kind { CHANGE_REMOVE, CHANGE_EXPAND, CHANGE_REPLACE, CHANGE_APPEND };

struct json_change {
    uint32_t container; /* JSON_NONE for CHANGE_REPLACE */
    uint32_t child;     /* JSON_NONE for CHANGE_APPEND */
    enum change_kind kind;
    size_t seq;      /* order of the calls: the last one on a child wins */
    const char *key; /* of an appended member, else NULL */
    const char *text;
    size_t n;
};

/* White space around the children of a container, as the file does it. */
struct layout {
    const char *lead;   /* after the opening bracket */
    const char *comma;  /* between two children, comma included */
    const char *trail;  /* before the closing bracket */
    const char *indent; /* of a child's line; NULL when children stand in one line */
    const char *colon;
};

void json_patch_init(struct json_patch *p, const struct json *doc, struct arena *arena)
{
    *p = (struct json_patch){.doc = doc, .arena = arena};
}

void json_patch_free(struct json_patch *p)
{
    free(p->changes);
    *p = (struct json_patch){0};
}

static int is_object(const struct json *d, uint32_t node)
{
    return json_type(d, node) == JSON_OBJECT;
}

/* Node whose end is the end of a child: of an object the value that belongs to the key. */
static uint32_t child_tail(const struct json *d, uint32_t container, uint32_t child)
{
    return is_object(d, container) ? json_next(d, child) : child;
}

static uint32_t child_next(const struct json *d, uint32_t container, uint32_t child)
{
    return json_next(d, child_tail(d, container, child));
}

static size_t child_end(const struct json *d, uint32_t container, uint32_t child)
{
    return d->nodes[child_tail(d, container, child)].end;
}

static char *slice(const struct json_patch *p, size_t start, size_t end, struct prep_error *err)
{
    return arena_strndup(p->arena, p->doc->text + start, end - start, err);
}

/* White space at the start of the line that holds byte `at`. */
static char *line_indent(const struct json_patch *p, size_t at, struct prep_error *err)
{
    const char *text = p->doc->text;
    size_t start = at, end;
    while (start > 0 && text[start - 1] != '\n')
        start--;
    for (end = start; end < at && (text[end] == ' ' || text[end] == '\t'); end++)
        continue;
    return slice(p, start, end, err);
}

/* What follows the last line end, when that is an indentation; NULL in the middle of a line. */
static const char *after_newline(const char *space)
{
    const char *nl = strrchr(space, '\n');
    return nl && !strchr(nl, ',') ? nl + 1 : NULL;
}

/* Between key and value: as in this object, else as in the root, else ": ". */
static const char *colon_of(const struct json_patch *p, uint32_t container, struct prep_error *err)
{
    const struct json *d = p->doc;
    const uint32_t places[2] = {container, 0};
    for (int i = 0; i < 2; i++) {
        uint32_t key = is_object(d, places[i]) ? json_first(d, places[i]) : JSON_NONE;
        if (key != JSON_NONE)
            return slice(p, d->nodes[key].end, d->nodes[json_next(d, key)].start, err);
    }
    return ": ";
}

/* One step of indentation: that of the root's children, or NULL when the file has no lines. */
static int indent_unit(const char **unit, const struct json_patch *p, struct prep_error *err)
{
    const struct json *d = p->doc;
    uint32_t first = json_first(d, 0);
    *unit = NULL;
    if (first == JSON_NONE)
        return 0;
    const char *space = slice(p, d->nodes[0].start + 1, d->nodes[first].start, err);
    if (!space)
        return -1;
    *unit = after_newline(space);
    return 0;
}

/* An empty container shows no style of its own: one level deeper than the line it stands on. */
static int layout_empty(struct layout *l, const struct json_patch *p, uint32_t container,
                        struct prep_error *err)
{
    const char *unit;
    if (indent_unit(&unit, p, err))
        return -1;
    l->lead = l->trail = "";
    l->comma = strcmp(l->colon, ":") == 0 ? "," : ", ";
    if (!unit)
        return 0;
    const char *base = line_indent(p, p->doc->nodes[container].start, err);
    if (!base)
        return -1;
    l->lead = arena_printf(p->arena, err, "\n%s%s", base, unit);
    l->trail = arena_printf(p->arena, err, "\n%s", base);
    l->comma = arena_printf(p->arena, err, ",\n%s%s", base, unit);
    return l->lead && l->trail && l->comma ? 0 : -1;
}

static int layout_of(struct layout *l, const struct json_patch *p, uint32_t container,
                     struct prep_error *err)
{
    const struct json *d = p->doc;
    *l = (struct layout){.colon = colon_of(p, container, err)};
    if (!l->colon)
        return -1;
    uint32_t first = json_first(d, container);
    if (first == JSON_NONE) {
        if (layout_empty(l, p, container, err))
            return -1;
        l->indent = after_newline(l->lead);
        return 0;
    }
    l->lead = slice(p, d->nodes[container].start + 1, d->nodes[first].start, err);
    l->trail = "";
    if (!l->lead)
        return -1;
    uint32_t second = child_next(d, container, first);
    if (second != JSON_NONE)
        l->comma = slice(p, child_end(d, container, first), d->nodes[second].start, err);
    else if (after_newline(l->lead))
        l->comma = arena_printf(p->arena, err, ",%s", l->lead);
    else
        l->comma = strcmp(l->colon, ":") == 0 ? "," : ", ";
    if (!l->comma)
        return -1;
    l->indent = after_newline(l->comma);
    if (!l->indent && strchr(l->comma, '\n'))
        l->indent = after_newline(l->lead); /* the comma stands first in its line */
    return 0;
}

/* Copy of JSON text without outer white space, its further lines indented. */
static char *indented(struct arena *arena, const char *json, size_t n, const char *indent,
                      size_t *n_out, struct prep_error *err)
{
    static const char space[] = " \t\r\n";
    while (n && strchr(space, json[n - 1]))
        n--;
    while (n && strchr(space, *json)) {
        json++;
        n--;
    }
    size_t n_lines = 0, n_indent = indent ? strlen(indent) : 0;
    for (size_t i = 0; i < n; i++)
        n_lines += json[i] == '\n';
    char *out = arena_alloc(arena, n + n_lines * n_indent + 1, err);
    if (!out)
        return NULL;
    char *o = out;
    for (size_t i = 0; i < n; i++) {
        *o++ = json[i];
        if (json[i] == '\n' && n_indent) {
            memcpy(o, indent, n_indent);
            o += n_indent;
        }
    }
    *o = 0;
    *n_out = (size_t)(o - out);
    return out;
}

static int add_change(struct json_patch *p, struct json_change c, struct prep_error *err)
{
    if (prep_grow(&p->changes, &p->cap, p->n, sizeof *p->changes, err))
        return -1;
    c.seq = p->n;
    p->changes[p->n++] = c;
    return 0;
}

int json_patch_replace(struct json_patch *p, uint32_t node, const char *json, size_t n,
                       struct prep_error *err)
{
    struct json_change c = {.container = JSON_NONE, .child = node, .kind = CHANGE_REPLACE};
    const char *indent = line_indent(p, p->doc->nodes[node].start, err);
    if (!indent)
        return -1;
    c.text = indented(p->arena, json, n, indent, &c.n, err);
    return c.text ? add_change(p, c, err) : -1;
}

int json_patch_replace_string(struct json_patch *p, uint32_t node, const char *s,
                              struct prep_error *err)
{
    const char *quoted = json_quote(p->arena, s, err);
    return quoted ? json_patch_replace(p, node, quoted, strlen(quoted), err) : -1;
}

int json_patch_remove(struct json_patch *p, uint32_t container, uint32_t child,
                      struct prep_error *err)
{
    struct json_change c = {.container = container, .child = child, .kind = CHANGE_REMOVE};
    return add_change(p, c, err);
}

/* Key node of a member, or JSON_NONE. */
static uint32_t find_key(const struct json *d, uint32_t object, const char *key)
{
    uint32_t k = json_first(d, object);
    while (k != JSON_NONE && !json_equal(d, k, key))
        k = child_next(d, object, k);
    return k;
}

int json_patch_remove_key(struct json_patch *p, uint32_t object, const char *key,
                          struct prep_error *err)
{
    uint32_t k = find_key(p->doc, object, key);
    return k == JSON_NONE ? 0 : json_patch_remove(p, object, k, err);
}

int json_patch_append(struct json_patch *p, uint32_t array, const char *json, size_t n,
                      struct prep_error *err)
{
    struct json_change c = {.container = array, .child = JSON_NONE, .kind = CHANGE_APPEND};
    struct layout l;
    if (layout_of(&l, p, array, err))
        return -1;
    c.text = indented(p->arena, json, n, l.indent, &c.n, err);
    return c.text ? add_change(p, c, err) : -1;
}

static int append_member(struct json_patch *p, uint32_t object, const char *key, const char *json,
                         size_t n, struct prep_error *err)
{
    struct json_change c = {.container = object, .child = JSON_NONE, .kind = CHANGE_APPEND};
    struct layout l;
    if (layout_of(&l, p, object, err))
        return -1;
    const char *quoted = json_quote(p->arena, key, err);
    const char *value = quoted ? indented(p->arena, json, n, l.indent, &n, err) : NULL;
    c.key = value ? arena_strndup(p->arena, key, strlen(key), err) : NULL;
    c.text = c.key ? arena_printf(p->arena, err, "%s%s%s", quoted, l.colon, value) : NULL;
    if (!c.text)
        return -1;
    c.n = strlen(c.text);
    for (size_t i = 0; i < p->n; i++) {
        struct json_change *old = &p->changes[i];
        if (old->kind == CHANGE_APPEND && old->container == object && old->key &&
            strcmp(old->key, key) == 0) {
            old->text = c.text;
            old->n = c.n;
            return 0;
        }
    }
    return add_change(p, c, err);
}

int json_patch_set(struct json_patch *p, uint32_t object, const char *key, const char *json,
                   size_t n, struct prep_error *err)
{
    uint32_t k = find_key(p->doc, object, key);
    if (k != JSON_NONE)
        return json_patch_replace(p, json_next(p->doc, k), json, n, err);
    return append_member(p, object, key, json, n, err);
}

int json_patch_set_i64(struct json_patch *p, uint32_t object, const char *key, int64_t v,
                       struct prep_error *err)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64, v);
    return json_patch_set(p, object, key, text, (size_t)n, err);
}

/* A new list: one number per line where the object has lines. */
static int add_ints(struct json_patch *p, uint32_t object, const char *key, const int *values,
                    size_t n, struct prep_error *err)
{
    struct layout l;
    const char *unit;
    if (layout_of(&l, p, object, err) || indent_unit(&unit, p, err))
        return -1;
    size_t n_unit = l.indent && unit ? strlen(unit) : 0;
    uint64_t size; /* 11 characters each, a comma, a line end and its indentation */
    if (prep_mul(&size, n + 1, 16 + n_unit) || size > SIZE_MAX)
        return prep_fail(err, PREP_ENOMEM, "out of memory for a list of %zu integers", n);
    char *text = arena_alloc(p->arena, (size_t)size, err), *o = text;
    if (!text)
        return -1;
    *o++ = '[';
    for (size_t i = 0; i < n; i++) {
        if (n_unit)
            o += sprintf(o, "%s\n%s%d", i ? "," : "", unit, values[i]);
        else
            o += sprintf(o, "%s%d", i ? ", " : "", values[i]);
    }
    o = stpcpy(o, n_unit && n ? "\n]" : "]");
    return json_patch_set(p, object, key, text, (size_t)(o - text), err);
}

static int replace_int(struct json_patch *p, uint32_t node, int v, struct prep_error *err)
{
    char text[16];
    int64_t old;
    if (json_i64(p->doc, node, &old) == 0 && old == v)
        return 0;
    int n = snprintf(text, sizeof text, "%d", v);
    return json_patch_replace(p, node, text, (size_t)n, err);
}

int json_patch_set_ints(struct json_patch *p, uint32_t object, const char *key, const int *values,
                        size_t n, struct prep_error *err)
{
    const struct json *d = p->doc;
    uint32_t list = json_get(d, object, key), c;
    size_t i = 0;
    if (list == JSON_NONE || json_type(d, list) != JSON_ARRAY || json_count(d, list) == 0)
        return add_ints(p, object, key, values, n, err);
    for (c = json_first(d, list); c != JSON_NONE; c = json_next(d, c), i++)
        if (i < n ? replace_int(p, c, values[i], err) : json_patch_remove(p, list, c, err))
            return -1;
    for (; i < n; i++) {
        char text[16];
        int k = snprintf(text, sizeof text, "%d", values[i]);
        if (json_patch_append(p, list, text, (size_t)k, err))
            return -1;
    }
    return 0;
}

/* Texts joined by a separator that also goes in front when `leading`. */
static char *join(struct arena *arena, const char *const *texts, size_t n, const char *comma,
                  int leading, size_t *n_out, struct prep_error *err)
{
    size_t total = 1, n_comma = strlen(comma);
    for (size_t i = 0; i < n; i++)
        total += strlen(texts[i]) + n_comma;
    char *out = arena_alloc(arena, total, err);
    if (!out)
        return NULL;
    char *o = out;
    for (size_t i = 0; i < n; i++) {
        if (i || leading)
            o = stpcpy(o, comma);
        o = stpcpy(o, texts[i]);
    }
    *o = 0;
    *n_out = (size_t)(o - out);
    return out;
}

int json_patch_expand(struct json_patch *p, uint32_t container, uint32_t child,
                      const char *const *strings, size_t n, struct prep_error *err)
{
    struct json_change c = {.container = container, .child = child, .kind = CHANGE_EXPAND};
    const struct json *d = p->doc;
    struct layout l;
    const char **texts = arena_calloc(p->arena, n, sizeof *texts, err);
    if (!texts || layout_of(&l, p, container, err))
        return -1;
    const char *tail = "";
    if (is_object(d, container))
        tail = slice(p, d->nodes[child].end, child_end(d, container, child), err);
    for (size_t i = 0; i < n && tail; i++) {
        texts[i] = json_quote(p->arena, strings[i], err);
        if (texts[i] && *tail)
            texts[i] = arena_printf(p->arena, err, "%s%s", texts[i], tail);
        if (!texts[i])
            return -1;
    }
    c.text = tail ? join(p->arena, texts, n, l.comma, 0, &c.n, err) : NULL;
    return c.text ? add_change(p, c, err) : -1;
}

static int by_place(const void *a, const void *b)
{
    const struct json_change *x = a, *y = b;
    if (x->container != y->container)
        return x->container < y->container ? -1 : 1;
    if (x->child != y->child)
        return x->child < y->child ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

/* Sort by place and keep the last change of each child and every appended one. */
static void order_changes(struct json_patch *p)
{
    if (p->n)
        qsort(p->changes, p->n, sizeof *p->changes, by_place);
    size_t kept = 0;
    for (size_t i = 0; i < p->n; i++) {
        const struct json_change *c = &p->changes[i];
        if (kept && c->child != JSON_NONE && p->changes[kept - 1].child == c->child &&
            p->changes[kept - 1].container == c->container)
            kept--;
        p->changes[kept++] = *c;
    }
    p->n = kept;
}

struct edit_list {
    struct json_edit *edits;
    size_t n; /* never more than there are changes */
};

static void add_edit(struct edit_list *l, size_t start, size_t end, const char *text, size_t n)
{
    l->edits[l->n++] = (struct json_edit){start, end, text, n};
}

/*
 * Splices for the children that go or multiply. A removed child takes the comma before it; those
 * in front of the first that stays take the comma behind.
 */
static void patch_children(struct edit_list *l, const struct json *d,
                           const struct json_change *changes, size_t n)
{
    uint32_t container = changes->container;
    size_t next_change = 0, prev_end = 0;
    int any_kept = 0;
    for (uint32_t c = json_first(d, container); c != JSON_NONE && next_change < n;
         c = child_next(d, container, c)) {
        size_t start = d->nodes[c].start, end = child_end(d, container, c);
        const struct json_change *change = &changes[next_change];
        if (change->child != c) {
            any_kept = 1;
        } else if (change->kind == CHANGE_EXPAND) {
            add_edit(l, start, end, change->text, change->n);
            any_kept = 1;
            next_change++;
        } else {
            if (any_kept)
                add_edit(l, prev_end, end, NULL, 0);
            else
                add_edit(l, start, d->nodes[child_next(d, container, c)].start, NULL, 0);
            next_change++;
        }
        prev_end = end;
    }
}

static size_t last_end(const struct json *d, uint32_t container)
{
    size_t end = 0;
    for (uint32_t c = json_first(d, container); c != JSON_NONE; c = child_next(d, container, c))
        end = child_end(d, container, c);
    return end;
}

/* Splices for one container whose children change (changes[0..n_child)) and grow (the rest). */
static int patch_container(struct edit_list *l, const struct json_patch *p,
                           const struct json_change *changes, size_t n_child, size_t n,
                           struct prep_error *err)
{
    const struct json *d = p->doc;
    uint32_t container = changes->container, first = json_first(d, container);
    size_t inner = d->nodes[container].start + 1, close = d->nodes[container].end - 1;
    size_t n_removed = 0, n_text = 0;
    for (size_t i = 0; i < n_child; i++)
        n_removed += changes[i].kind == CHANGE_REMOVE;
    int emptied = n_removed == json_count(d, container);
    if (!emptied && n_child)
        patch_children(l, d, changes, n_child);
    if (n == n_child) {
        if (emptied && n_child)
            add_edit(l, inner, close, NULL, 0);
        return 0;
    }
    struct layout w;
    const char **texts = arena_calloc(p->arena, n - n_child, sizeof *texts, err);
    if (!texts || layout_of(&w, p, container, err))
        return -1;
    for (size_t i = n_child; i < n; i++)
        texts[i - n_child] = changes[i].text;
    const char *text = join(p->arena, texts, n - n_child, w.comma, !emptied, &n_text, err);
    if (!text)
        return -1;
    if (first == JSON_NONE) {
        text = arena_printf(p->arena, err, "%s%s%s", w.lead, text, w.trail);
        if (!text)
            return -1;
        add_edit(l, inner, close, text, strlen(text));
    } else if (emptied) {
        add_edit(l, d->nodes[first].start, last_end(d, container), text, n_text);
    } else {
        size_t at = last_end(d, container);
        add_edit(l, at, at, text, n_text);
    }
    return 0;
}

int json_patch_finish(struct json_patch *p, struct span *out, struct prep_error *err)
{
    order_changes(p);
    struct edit_list l = {arena_calloc(p->arena, p->n + 1, sizeof *l.edits, err), 0};
    if (!l.edits)
        return -1;
    for (size_t i = 0, j; i < p->n; i = j) {
        const struct json_change *c = &p->changes[i];
        j = i + 1;
        if (c->kind == CHANGE_REPLACE) {
            const struct json_node *node = &p->doc->nodes[c->child];
            add_edit(&l, node->start, node->end, c->text, c->n);
            continue;
        }
        size_t n_child = c->kind != CHANGE_APPEND;
        for (; j < p->n && p->changes[j].container == c->container; j++)
            n_child += p->changes[j].kind != CHANGE_APPEND;
        if (patch_container(&l, p, c, n_child, j - i, err))
            return -1;
    }
    return json_splice(out, p->doc->text, p->doc->n, l.edits, l.n, p->arena, err);
}

char *json_quote(struct arena *arena, const char *s, struct prep_error *err)
{
    struct json_out o;
    struct span text;
    json_out_init(&o, 0);
    json_out_string(&o, s);
    char *quoted = NULL;
    if (json_out_finish(&o, &text, err) == 0)
        quoted = arena_strndup(arena, (const char *)text.p, text.n - 1, err);
    json_out_free(&o);
    return quoted;
}
