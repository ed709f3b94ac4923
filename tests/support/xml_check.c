/* SPDX-License-Identifier: MIT */
#include "tests/support/xml_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "libprep/base/utf8.h"

enum { MOST_DEPTH = 64, MOST_IDS = 4096, MOST_ATTRIBUTES = 32 };

struct piece {
    const char *p;
    size_t n;
};

struct reader {
    const char *text, *at, *end;
    struct piece open[MOST_DEPTH];
    size_t depth, n_roots, n_ids, n_targets;
    struct piece ids[MOST_IDS], targets[MOST_IDS];
    int style;
};

static char fault_text[200];
static int failed;

__attribute__((format(printf, 2, 3))) static void fault(const struct reader *r, const char *fmt,
                                                        ...)
{
    va_list args;
    if (failed)
        return;
    failed = 1;
    const int n = snprintf(fault_text, sizeof fault_text, "byte %zu: ", (size_t)(r->at - r->text));
    va_start(args, fmt);
    vsnprintf(fault_text + n, sizeof fault_text - (size_t)n, fmt, args);
    va_end(args);
}

static int is(const struct piece *p, const char *s)
{
    return p->n == strlen(s) && memcmp(p->p, s, p->n) == 0;
}

static int same(const struct piece *a, const struct piece *b)
{
    return a->n == b->n && memcmp(a->p, b->p, a->n) == 0;
}

static int has(const struct piece *p, const char *s)
{
    return memmem(p->p, p->n, s, strlen(s)) != NULL;
}

static struct piece name_at(struct reader *r)
{
    struct piece name = {r->at, 0};
    while (r->at < r->end && (strchr("-_:.", *r->at) || (*r->at >= '0' && *r->at <= '9') ||
                              (*r->at >= 'a' && *r->at <= 'z') || (*r->at >= 'A' && *r->at <= 'Z')))
        r->at++;
    name.n = (size_t)(r->at - name.p);
    if (!name.n)
        fault(r, "a name is missing");
    return name;
}

/* At &: one of the references that are written. */
static void reference(struct reader *r)
{
    static const char *const known[] = {"&lt;",  "&gt;",  "&amp;", "&quot;",
                                        "&#39;", "&#10;", "&#9;"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const size_t n = strlen(known[i]);
        if ((size_t)(r->end - r->at) >= n && memcmp(r->at, known[i], n) == 0) {
            r->at += n;
            return;
        }
    }
    fault(r, "a stray &");
}

static void keep(struct reader *r, struct piece *list, size_t *n, struct piece value)
{
    if (*n == MOST_IDS)
        fault(r, "too many ids");
    else
        list[(*n)++] = value;
}

/* Each word of it is an id. */
static void keep_targets(struct reader *r, struct piece value)
{
    const char *end = value.p + value.n;
    for (const char *p = value.p; p < end;) {
        const char *stop = memchr(p, ' ', (size_t)(end - p));
        stop = stop ? stop : end;
        keep(r, r->targets, &r->n_targets, (struct piece){p, (size_t)(stop - p)});
        p = stop < end ? stop + 1 : end;
    }
}

static void judge_attribute(struct reader *r, const struct piece *name, struct piece value)
{
    if (is(name, "id"))
        keep(r, r->ids, &r->n_ids, value);
    else if (is(name, "aria-labelledby"))
        keep_targets(r, value);
    else if (is(name, "href") && value.n > 1 && value.p[0] == '#')
        keep(r, r->targets, &r->n_targets, (struct piece){value.p + 1, value.n - 1});
    else if (is(name, "href") || is(name, "src") || is(name, "srcset") || is(name, "action") ||
             is(name, "xlink:href") || is(name, "style") ||
             (name->n > 2 && !memcmp(name->p, "on", 2)))
        fault(r, "%.*s is not wanted here", (int)name->n, name->p);
}

static void attribute(struct reader *r, struct piece *seen, size_t *n_seen)
{
    const struct piece name = name_at(r);
    for (size_t i = 0; i < *n_seen; i++)
        if (same(&seen[i], &name))
            fault(r, "%.*s given twice", (int)name.n, name.p);
    if (*n_seen < MOST_ATTRIBUTES)
        seen[(*n_seen)++] = name;
    if (r->end - r->at < 2 || r->at[0] != '=' || r->at[1] != '"') {
        fault(r, "%.*s has no value", (int)name.n, name.p);
        return;
    }
    r->at += 2;
    struct piece value = {r->at, 0};
    while (!failed && r->at < r->end && *r->at != '"') {
        if (*r->at == '&')
            reference(r);
        else if (*r->at == '<')
            fault(r, "< in a value");
        else
            r->at++;
    }
    value.n = (size_t)(r->at - value.p);
    if (r->at == r->end)
        fault(r, "a value does not end");
    else
        r->at++;
    judge_attribute(r, &name, value);
}

static void close_tag(struct reader *r)
{
    const struct piece name = name_at(r);
    if (r->depth == 0 || !same(&r->open[r->depth - 1], &name) || r->at == r->end || *r->at != '>')
        fault(r, "</%.*s> closes nothing", (int)name.n, name.p);
    else
        r->depth--, r->at++;
    r->style = 0;
}

static void open_tag(struct reader *r)
{
    struct piece seen[MOST_ATTRIBUTES];
    size_t n_seen = 0;
    const struct piece name = name_at(r);
    static const char *const unwanted[] = {"script", "iframe", "img",    "object", "embed",
                                           "link",   "base",   "source", "video",  "foreignObject"};
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        if (is(&name, unwanted[i]))
            fault(r, "<%s> is not wanted", unwanted[i]);
    while (!failed && r->at < r->end && *r->at == ' ') {
        r->at++;
        attribute(r, seen, &n_seen);
    }
    const int empty = r->end - r->at >= 2 && r->at[0] == '/' && r->at[1] == '>';
    if (!empty && (r->at == r->end || *r->at != '>')) {
        fault(r, "<%.*s does not end", (int)name.n, name.p);
        return;
    }
    r->at += empty ? 2 : 1;
    if (r->depth == 0 && r->n_roots++)
        fault(r, "a second root");
    if (empty)
        return;
    if (r->depth == MOST_DEPTH)
        fault(r, "too deep");
    else
        r->open[r->depth++] = name;
    r->style = is(&name, "style");
}

static void content(struct reader *r)
{
    const struct piece text = {r->at, strcspn(r->at, "<&")};
    if (r->style && (has(&text, "url(") || has(&text, "@import")))
        fault(r, "the style sheet fetches something");
    if (r->depth == 0 && strspn(r->at, "\n ") < text.n)
        fault(r, "text outside of the root");
    r->at += text.n;
}

static void find_controls(struct reader *r)
{
    for (r->at = r->text; r->at < r->end; r->at++)
        if (((unsigned char)*r->at < 0x20 && *r->at != '\n' && *r->at != '\t') || *r->at == 0x7f) {
            fault(r, "control character %#x", (unsigned)(unsigned char)*r->at);
            return;
        }
    const size_t valid = utf8_valid(r->text, (size_t)(r->end - r->text));
    r->at = r->text + valid;
    if (r->at < r->end)
        fault(r, "not UTF-8");
}

static void match_ids(struct reader *r)
{
    for (size_t i = 0; i < r->n_ids; i++)
        for (size_t k = 0; k < i; k++)
            if (same(&r->ids[i], &r->ids[k]))
                fault(r, "id %.*s given twice", (int)r->ids[i].n, r->ids[i].p);
    for (size_t i = 0; i < r->n_targets; i++) {
        size_t k = 0;
        while (k < r->n_ids && !same(&r->ids[k], &r->targets[i]))
            k++;
        if (k == r->n_ids)
            fault(r, "nothing has the id %.*s", (int)r->targets[i].n, r->targets[i].p);
    }
}

const char *xml_fault(const char *text, size_t n)
{
    static const char type[] = "<!DOCTYPE html>\n";
    static struct reader r;
    r = (struct reader){.text = text, .at = text, .end = text + n};
    failed = 0;
    find_controls(&r);
    r.at = text;
    if (n > sizeof type && memcmp(text, type, sizeof type - 1) == 0)
        r.at += sizeof type - 1;
    while (!failed && r.at < r.end) {
        if (*r.at == '&') {
            reference(&r);
        } else if (*r.at != '<') {
            content(&r);
        } else if (r.end - r.at > 1 && r.at[1] == '/') {
            r.at += 2;
            close_tag(&r);
        } else {
            r.at++;
            open_tag(&r);
        }
    }
    if (!failed && (r.depth || !r.n_roots))
        fault(&r, "an element is not closed");
    if (!failed)
        match_ids(&r);
    return failed ? fault_text : NULL;
}
