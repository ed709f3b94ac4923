/* SPDX-License-Identifier: MIT */
#include "libprep/probe/tool_call.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/probe/answer.h"

static const char call_open[] = "<tool_call>", call_close[] = "</tool_call>";
static const char key_open[] = "<arg_key>", key_close[] = "</arg_key>";
static const char value_open[] = "<arg_value>", value_close[] = "</arg_value>";

const char *tool_fault_text(enum tool_fault fault)
{
    static const char *const texts[] = {
        [TOOL_SOUND] = "sound",
        [TOOL_UNFINISHED] = "a tag is not closed",
        [TOOL_STRAY] = "something stands in a call that does not belong there",
        [TOOL_TEXT_BEHIND] = "text behind the last call",
        [TOOL_NO_NAME] = "a call without a name",
        [TOOL_UNKNOWN_NAME] = "a call of a tool that there is not",
        [TOOL_UNKNOWN_KEY] = "an argument that the tool does not have",
        [TOOL_REPEATED_KEY] = "an argument is given twice",
        [TOOL_MISSING_KEY] = "a required argument is missing",
        [TOOL_WRONG_TYPE] = "a value has the wrong type",
        [TOOL_NOT_IN_ENUM] = "a value is none of those allowed",
    };
    return texts[fault];
}

/* ---- the format ---- */

static int is_blank(unsigned char c)
{
    return c == ' ' || (c >= 9 && c <= 13);
}

static struct span trim(struct span s)
{
    while (s.n && is_blank(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Where the tag begins, or s.n. */
static size_t find(struct span s, const char *tag)
{
    const void *hit = s.n ? memmem(s.p, s.n, tag, strlen(tag)) : NULL;
    return hit ? (size_t)((const unsigned char *)hit - s.p) : s.n;
}

static struct span behind(struct span s, size_t n)
{
    return (struct span){s.p + n, s.n - n};
}

/* White space and then a tag: passed. */
static int take_tag(struct span *s, const char *tag)
{
    size_t i = 0, n = strlen(tag);
    while (i < s->n && is_blank(s->p[i]))
        i++;
    if (s->n - i < n || memcmp(s->p + i, tag, n) != 0)
        return 0;
    *s = behind(*s, i + n);
    return 1;
}

/* <open>inside<close> at the beginning: a fault, or TOOL_SOUND. */
static enum tool_fault take_element(struct span *s, const char *open, const char *close,
                                    struct span *inside)
{
    if (!take_tag(s, open))
        return TOOL_STRAY;
    size_t end = find(*s, close);
    if (end == s->n)
        return TOOL_UNFINISHED;
    *inside = (struct span){s->p, end};
    *s = behind(*s, end + strlen(close));
    return TOOL_SOUND;
}

/* A call from behind its opening tag. 0, with the fault in out->fault, or -1. */
static int take_call(struct tool_calls *out, struct span *s, struct prep_error *err)
{
    size_t args = find(*s, key_open), end = find(*s, call_close);
    struct tool_call call = {trim((struct span){s->p, args < end ? args : end}), out->n_arguments,
                             0};
    if (end == s->n) {
        out->fault = TOOL_UNFINISHED;
        return 0;
    }
    out->fault = !call.name.n                                     ? TOOL_NO_NAME
                 : memchr(call.name.p, '<', call.name.n) != NULL  ? TOOL_STRAY
                 : memchr(call.name.p, '\n', call.name.n) != NULL ? TOOL_STRAY
                                                                  : TOOL_SOUND;
    *s = behind(*s, args < end ? args : end);
    while (!out->fault && !take_tag(s, call_close)) {
        struct tool_argument a;
        out->fault = take_element(s, key_open, key_close, &a.key);
        if (!out->fault)
            out->fault = take_element(s, value_open, value_close, &a.value);
        if (out->fault)
            break;
        a.key = trim(a.key);
        if (prep_grow(&out->arguments, &out->cap_arguments, out->n_arguments,
                      sizeof *out->arguments, err))
            return -1;
        out->arguments[out->n_arguments++] = a;
        call.n++;
    }
    if (out->fault)
        return 0;
    if (prep_grow(&out->calls, &out->cap, out->n, sizeof *out->calls, err))
        return -1;
    out->calls[out->n++] = call;
    return 0;
}

int tool_calls_parse(struct tool_calls *out, const char *text, size_t n, struct prep_error *err)
{
    memset(out, 0, sizeof *out);
    struct span s = answer_visible(text, n);
    size_t first = find(s, call_open);
    out->text = trim((struct span){s.p, first});
    if (find(out->text, call_close) < out->text.n || find(out->text, key_open) < out->text.n ||
        find(out->text, value_open) < out->text.n)
        out->fault = TOOL_STRAY;
    s = behind(s, first);
    while (!out->fault && take_tag(&s, call_open))
        if (take_call(out, &s, err)) {
            tool_calls_free(out);
            return -1;
        }
    if (!out->fault && out->n && trim(s).n)
        out->fault = TOOL_TEXT_BEHIND;
    return 0;
}

void tool_calls_free(struct tool_calls *calls)
{
    free(calls->calls);
    free(calls->arguments);
    memset(calls, 0, sizeof *calls);
}

/* ---- values ---- */

static uint32_t member(const struct json *d, uint32_t object, const char *key)
{
    return object != JSON_NONE && json_type(d, object) == JSON_OBJECT ? json_get(d, object, key)
                                                                      : JSON_NONE;
}

static int is_text(struct span s, const struct json *d, uint32_t node)
{
    return json_equal_n(d, node, (const char *)s.p, s.n);
}

static int same(const struct json *a, uint32_t x, const struct json *b, uint32_t y);

static int same_children(const struct json *a, uint32_t x, const struct json *b, uint32_t y)
{
    uint32_t i = json_first(a, x), k = json_first(b, y);
    if (json_count(a, x) != json_count(b, y))
        return 0;
    if (json_type(a, x) == JSON_ARRAY) {
        for (; i != JSON_NONE && k != JSON_NONE; i = json_next(a, i), k = json_next(b, k))
            if (!same(a, i, b, k))
                return 0;
        return 1;
    }
    for (; i != JSON_NONE; i = json_next(a, json_next(a, i))) {
        for (k = json_first(b, y); k != JSON_NONE; k = json_next(b, json_next(b, k)))
            if (json_same_string(a, i, b, k))
                break;
        if (k == JSON_NONE || !same(a, json_next(a, i), b, json_next(b, k)))
            return 0;
    }
    return 1;
}

/* Equal JSON: 1 and 1.0 are, objects in any order are. */
static int same(const struct json *a, uint32_t x, const struct json *b, uint32_t y)
{
    double u, v;
    if (json_type(a, x) != json_type(b, y))
        return 0;
    switch (json_type(a, x)) {
    case JSON_NUMBER:
        return json_f64(a, x, &u) == 0 && json_f64(b, y, &v) == 0 && u == v;
    case JSON_STRING:
        return json_same_string(a, x, b, y);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return same_children(a, x, b, y);
    default:
        return 1;
    }
}

/* A raw value as JSON: 1, 0 when it is none, -1. */
static int parse_value(struct json *v, struct span value, struct prep_error *err)
{
    struct prep_error e = PREP_ERROR_INIT;
    if (json_parse(v, (const char *)value.p, value.n, "value", &e) == 0)
        return 1;
    return e.code == PREP_EDATA ? 0 : prep_fail(err, e.code, "%s", e.msg);
}

int tool_value_is(struct span value, const struct json *d, uint32_t node, struct prep_error *err)
{
    struct json v;
    if (json_type(d, node) == JSON_STRING)
        return is_text(value, d, node);
    int parsed = parse_value(&v, value, err);
    if (parsed <= 0)
        return parsed;
    int equal = same(&v, 0, d, node);
    json_free(&v);
    return equal;
}

/* Is parsed JSON of the type that a schema names? */
static int has_type(const struct json *v, const struct json *d, uint32_t type)
{
    enum json_type t = json_type(v, 0);
    double f;
    if (json_equal(d, type, "integer"))
        return t == JSON_NUMBER && json_f64(v, 0, &f) == 0 && f == floor(f);
    return (t == JSON_NUMBER && json_equal(d, type, "number")) ||
           ((t == JSON_TRUE || t == JSON_FALSE) && json_equal(d, type, "boolean")) ||
           (t == JSON_NULL && json_equal(d, type, "null")) ||
           (t == JSON_ARRAY && json_equal(d, type, "array")) ||
           (t == JSON_OBJECT && json_equal(d, type, "object"));
}

static int fits_type(struct span value, const struct json *d, uint32_t type, struct prep_error *err)
{
    struct json v;
    if (json_type(d, type) == JSON_ARRAY) {
        for (uint32_t k = json_first(d, type); k != JSON_NONE; k = json_next(d, k)) {
            int fits = json_type(d, k) == JSON_STRING ? fits_type(value, d, k, err) : 0;
            if (fits)
                return fits;
        }
        return 0;
    }
    if (json_type(d, type) != JSON_STRING || json_equal(d, type, "string"))
        return 1;
    int parsed = parse_value(&v, value, err);
    if (parsed <= 0)
        return parsed;
    int fits = has_type(&v, d, type);
    json_free(&v);
    return fits;
}

static int check_value(enum tool_fault *fault, struct span value, const struct json *d,
                       uint32_t schema, struct prep_error *err)
{
    uint32_t type = member(d, schema, "type"), list = member(d, schema, "enum");
    int fits = type == JSON_NONE ? 1 : fits_type(value, d, type, err);
    *fault = fits ? TOOL_SOUND : TOOL_WRONG_TYPE;
    if (fits <= 0 || list == JSON_NONE || json_type(d, list) != JSON_ARRAY)
        return fits < 0 ? -1 : 0;
    for (uint32_t k = json_first(d, list); k != JSON_NONE; k = json_next(d, k)) {
        int is = tool_value_is(value, d, k, err);
        if (is)
            return is < 0 ? -1 : 0;
    }
    *fault = TOOL_NOT_IN_ENUM;
    return 0;
}

/* ---- a call against the tools ---- */

/* The tool of a name, or JSON_NONE. */
static uint32_t find_tool(const struct json *d, uint32_t list, struct span name)
{
    for (uint32_t k = json_first(d, list); k != JSON_NONE; k = json_next(d, k)) {
        uint32_t f = member(d, k, "function");
        uint32_t tool = f != JSON_NONE ? f : k, n = member(d, tool, "name");
        if (n != JSON_NONE && json_type(d, n) == JSON_STRING && is_text(name, d, n))
            return tool;
    }
    return JSON_NONE;
}

/* The schema of a property, or JSON_NONE. */
static uint32_t find_property(const struct json *d, uint32_t properties, struct span key)
{
    if (properties == JSON_NONE || json_type(d, properties) != JSON_OBJECT)
        return JSON_NONE;
    for (uint32_t k = json_first(d, properties); k != JSON_NONE; k = json_next(d, json_next(d, k)))
        if (is_text(key, d, k))
            return json_next(d, k);
    return JSON_NONE;
}

static int has_key(const struct tool_argument *a, size_t n, const struct json *d, uint32_t key)
{
    for (size_t i = 0; i < n; i++)
        if (is_text(a[i].key, d, key))
            return 1;
    return 0;
}

static int check_arguments(enum tool_fault *fault, const struct tool_argument *a, size_t n,
                           const struct json *d, uint32_t properties, struct prep_error *err)
{
    for (size_t i = 0; i < n && !*fault; i++) {
        uint32_t property = find_property(d, properties, a[i].key);
        for (size_t k = 0; k < i; k++)
            if (a[k].key.n == a[i].key.n && memcmp(a[k].key.p, a[i].key.p, a[i].key.n) == 0)
                *fault = TOOL_REPEATED_KEY;
        if (property == JSON_NONE)
            *fault = TOOL_UNKNOWN_KEY;
        if (!*fault && check_value(fault, a[i].value, d, property, err))
            return -1;
    }
    return 0;
}

static int check_call(enum tool_fault *fault, const struct tool_call *call,
                      const struct tool_argument *a, const struct json *d, uint32_t list,
                      struct prep_error *err)
{
    uint32_t tool = find_tool(d, list, call->name);
    if (tool == JSON_NONE) {
        *fault = TOOL_UNKNOWN_NAME;
        return 0;
    }
    uint32_t schema = member(d, tool, "parameters"), required = member(d, schema, "required");
    if (check_arguments(fault, a, call->n, d, member(d, schema, "properties"), err))
        return -1;
    if (!*fault && required != JSON_NONE && json_type(d, required) == JSON_ARRAY)
        for (uint32_t k = json_first(d, required); k != JSON_NONE; k = json_next(d, k))
            if (json_type(d, k) == JSON_STRING && !has_key(a, call->n, d, k))
                *fault = TOOL_MISSING_KEY;
    return 0;
}

int tool_calls_check(enum tool_fault *fault, const struct tool_calls *calls,
                     const struct json *tools, uint32_t list, struct prep_error *err)
{
    *fault = calls->fault;
    for (size_t i = 0; !*fault && i < calls->n; i++)
        if (check_call(fault, &calls->calls[i], calls->arguments + calls->calls[i].first, tools,
                       list, err))
            return -1;
    return 0;
}
