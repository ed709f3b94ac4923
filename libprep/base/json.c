/* SPDX-License-Identifier: MIT */
#include "libprep/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/json_text.h"
#include "libprep/base/utf8.h"

/*
 * The parser is a recursive descent over the text: each parse_*() and scan_*() takes the place
 * where its construct begins and returns the place behind it, or NULL with the error set.
 */

enum { FEW_KEYS = 8 }; /* up to here keys are compared pairwise */

struct key_slot {
    uint32_t hash;
    uint32_t node; /* 0: empty, for node 0 is the root and never a key */
};

struct parser {
    struct prep_error *err;
    const char *name;
    const char *text, *end;
    struct json_node *nodes;
    size_t n_nodes, cap_nodes;
    struct key_slot *slots; /* scratch of the duplicate check */
    size_t cap_slots;
    size_t max_bytes; /* nodes and slots together */
    char *scratch;    /* one decoded key */
    size_t cap_scratch;
    int depth;
};

static const char *fault(const struct parser *p, const char *at, const char *tag, const char *want)
{
    char found[24] = "the end";
    if (at < p->end) {
        unsigned char c = (unsigned char)*at;
        snprintf(found, sizeof found, c > 0x20 && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
    }
    size_t offset = (size_t)(at - p->text);
    prep_fail_tag(p->err, PREP_EDATA, tag, "%s: byte %zu (line %zu): found %s, want %s", p->name,
                  offset, json_line(p->text, offset), found, want);
    return NULL;
}

/* Nodes */

static int too_many(const struct parser *p)
{
    return prep_fail_tag(p->err, PREP_EDATA, "JSON",
                         "%s: more values than %zu bytes of memory hold, want fewer", p->name,
                         p->max_bytes);
}

static int grow_nodes(struct parser *p)
{
    size_t most = (p->max_bytes - p->cap_slots * sizeof *p->slots) / sizeof *p->nodes;
    size_t cap = p->cap_nodes + p->cap_nodes / 2;
    if (p->cap_nodes >= most)
        return too_many(p);
    if (cap > most)
        cap = most;
    struct json_node *nodes = realloc(p->nodes, cap * sizeof *nodes);
    if (!nodes)
        return prep_fail(p->err, PREP_ENOMEM, "%s: out of memory for %zu values", p->name, cap);
    p->nodes = nodes;
    p->cap_nodes = cap;
    return 0;
}

static inline struct json_node *add_node(struct parser *p, const char *start)
{
    if (p->n_nodes == p->cap_nodes && grow_nodes(p))
        return NULL;
    struct json_node *node = &p->nodes[p->n_nodes++];
    *node = (struct json_node){.start = (uint32_t)(start - p->text), .next = JSON_NONE};
    return node;
}

/* White space, strings, numbers */

static inline const char *skip_space(const char *s, const char *end)
{
    while (s < end && (*s == ' ' || *s == '\n' || *s == '\t' || *s == '\r'))
        s++;
    return s;
}

/*
 * The first byte that is a quote, a backslash, a control character or not ASCII. Eight bytes at
 * a time: (y - 1) & ~y & 0x80 is set in the lowest byte of y that is zero; a borrow can only
 * spoil bytes above it, and only the lowest is asked for.
 */
static inline const char *skip_plain(const char *s, const char *end)
{
    const uint64_t ones = 0x0101010101010101;
    while (end - s >= 8) {
        uint64_t x = load_le64((const unsigned char *)s);
        uint64_t quote = x ^ ones * '"', slash = x ^ ones * '\\';
        uint64_t stop =
            ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((x - ones * 0x20) & ~x) | x;
        stop &= ones * 0x80;
        if (stop)
            return s + (__builtin_ctzll(stop) >> 3);
        s += 8;
    }
    while (s < end && *s != '"' && *s != '\\' && (unsigned char)*s >= 0x20 &&
           (unsigned char)*s < 0x80)
        s++;
    return s;
}

/* s is at a backslash. */
static const char *scan_escape(const struct parser *p, const char *s)
{
    const char *const unit = "\\u and four hex digits";
    if (p->end - s < 2)
        return fault(p, p->end, "JSON", "an escape");
    if (s[1] != 'u')
        return s[1] && strchr("\"\\/bfnrt", s[1])
                   ? s + 2
                   : fault(p, s + 1, "JSON", "one of \" \\ / b f n r t u after a backslash");
    int v = p->end - s < 6 ? -1 : json_hex4(s + 2);
    if (v < 0)
        return fault(p, s, "JSON", unit);
    if (is_low_surrogate(v))
        return fault(p, s, "JSON_UTF8", "a high surrogate before a low one");
    if (!is_high_surrogate(v))
        return s + 6;
    if (p->end - s < 12 || s[6] != '\\' || s[7] != 'u' || !is_low_surrogate(json_hex4(s + 8)))
        return fault(p, s, "JSON_UTF8", "a low surrogate after a high one");
    return s + 12;
}

/* s is at the opening quote. */
static const char *parse_string(struct parser *p, const char *s)
{
    struct json_node *node = add_node(p, s);
    if (!node)
        return NULL;
    node->type = JSON_STRING;
    s = skip_plain(s + 1, p->end);
    while (s == p->end || *s != '"') {
        if (s == p->end)
            return fault(p, s, "JSON", "the closing quote of a string");
        if (*s == '\\') {
            node->escaped = 1;
            s = scan_escape(p, s);
            if (!s)
                return NULL;
        } else if ((unsigned char)*s >= 0x80) {
            size_t n = utf8_length(s, p->end);
            if (!n)
                return fault(p, s, "JSON_UTF8", "well-formed UTF-8");
            s += n;
        } else {
            return fault(p, s, "JSON", "no control character in a string");
        }
        s = skip_plain(s, p->end);
    }
    node->end = (uint32_t)(s + 1 - p->text);
    return s + 1;
}

/* At least one digit. */
static const char *scan_digits(const struct parser *p, const char *s)
{
    if (s == p->end || !is_json_digit(*s))
        return fault(p, s, "JSON", "a digit");
    while (s < p->end && is_json_digit(*s))
        s++;
    return s;
}

static const char *parse_number(struct parser *p, const char *s)
{
    struct json_node *node = add_node(p, s);
    if (!node)
        return NULL;
    node->type = JSON_NUMBER;
    if (*s == '-')
        s++;
    if (s < p->end && *s == '0')
        s++;
    else
        s = scan_digits(p, s);
    if (s && s < p->end && *s == '.')
        s = scan_digits(p, s + 1);
    if (s && s < p->end && (*s == 'e' || *s == 'E')) {
        s++;
        if (s < p->end && (*s == '+' || *s == '-'))
            s++;
        s = scan_digits(p, s);
    }
    if (s)
        node->end = (uint32_t)(s - p->text);
    return s;
}

static const char *parse_word(struct parser *p, const char *s, const char *word,
                              enum json_type type)
{
    struct json_node *node = add_node(p, s);
    size_t n = strlen(word);
    if (!node)
        return NULL;
    if ((size_t)(p->end - s) < n || memcmp(s, word, n) != 0)
        return fault(p, s, "JSON", "a value");
    node->type = (uint8_t)type;
    node->end = (uint32_t)(s + n - p->text);
    return s + n;
}

/* Duplicate keys */

static struct json_reader reader_of(const char *text, const struct json_node *node)
{
    return (struct json_reader){.s = text + node->start + 1, .end = text + node->end - 1};
}

static int same_string(const char *text, const struct json_node *a, const struct json_node *b)
{
    if (!a->escaped && !b->escaped) {
        size_t n = a->end - a->start;
        return n == b->end - b->start && memcmp(text + a->start, text + b->start, n) == 0;
    }
    struct json_reader x = reader_of(text, a), y = reader_of(text, b);
    for (;;) {
        int c = json_next_byte(&x);
        if (c != json_next_byte(&y))
            return 0;
        if (c < 0)
            return 1;
    }
}

static int duplicate(const struct parser *p, uint32_t key)
{
    const struct json_node *k = &p->nodes[key];
    size_t n = k->end - k->start;
    return prep_fail_tag(
        p->err, PREP_EDATA, "JSON_DUPLICATE_KEY",
        "%s: byte %u (line %zu): key %.*s%s appears twice in one object, want once", p->name,
        k->start, json_line(p->text, k->start), n > 120 ? 120 : (int)n, p->text + k->start,
        n > 120 ? "..." : "");
}

static int check_few_keys(const struct parser *p, uint32_t first)
{
    uint32_t keys[FEW_KEYS], n = 0;
    for (uint32_t key = first; key != JSON_NONE; key = p->nodes[p->nodes[key].next].next) {
        for (uint32_t i = 0; i < n; i++)
            if (same_string(p->text, &p->nodes[keys[i]], &p->nodes[key]))
                return duplicate(p, key);
        keys[n++] = key;
    }
    return 0;
}

/* Hash of the decoded key, so that "\u0061" meets "a". */
static int hash_key(struct parser *p, const struct json_node *key, uint32_t *hash)
{
    const char *s = p->text + key->start + 1;
    size_t n = key->end - key->start - 2;
    if (key->escaped) {
        if (n > p->cap_scratch) {
            char *scratch = realloc(p->scratch, n);
            if (!scratch)
                return prep_fail(p->err, PREP_ENOMEM, "%s: out of memory for a key", p->name);
            p->scratch = scratch;
            p->cap_scratch = n;
        }
        n = json_unescape(s, s + n, p->scratch);
        s = p->scratch;
    }
    *hash = (uint32_t)hash64(s, n);
    return 0;
}

static int clear_slots(struct parser *p, size_t cap)
{
    if (cap > p->cap_slots) {
        size_t used = p->n_nodes * sizeof *p->nodes;
        if (cap > (p->max_bytes - used) / sizeof *p->slots)
            return too_many(p);
        struct key_slot *slots = realloc(p->slots, cap * sizeof *slots);
        if (!slots)
            return prep_fail(p->err, PREP_ENOMEM, "%s: out of memory for %zu keys", p->name, cap);
        p->slots = slots;
        p->cap_slots = cap;
    }
    memset(p->slots, 0, cap * sizeof *p->slots);
    return 0;
}

static int check_keys(struct parser *p, uint32_t first, size_t n_keys)
{
    if (n_keys <= FEW_KEYS)
        return check_few_keys(p, first);
    size_t cap = 32;
    while (cap / 3 * 2 < n_keys)
        cap *= 2;
    if (clear_slots(p, cap))
        return -1;
    for (uint32_t key = first; key != JSON_NONE; key = p->nodes[p->nodes[key].next].next) {
        uint32_t hash = 0;
        if (hash_key(p, &p->nodes[key], &hash))
            return -1;
        size_t i = hash & (cap - 1);
        for (; p->slots[i].node; i = (i + 1) & (cap - 1)) {
            const struct json_node *other = &p->nodes[p->slots[i].node];
            if (p->slots[i].hash == hash && same_string(p->text, other, &p->nodes[key]))
                return duplicate(p, key);
        }
        p->slots[i] = (struct key_slot){hash, key};
    }
    return 0;
}

/* Values */

static const char *parse_value(struct parser *p, const char *s);

/* s is behind '['; the node of the array exists. */
static const char *parse_elements(struct parser *p, const char *s)
{
    uint32_t last = JSON_NONE;
    s = skip_space(s, p->end);
    if (s < p->end && *s == ']')
        return s + 1;
    for (;;) {
        uint32_t value = (uint32_t)p->n_nodes;
        s = parse_value(p, s);
        if (!s)
            return NULL;
        if (last != JSON_NONE)
            p->nodes[last].next = value;
        last = value;
        s = skip_space(s, p->end);
        if (s < p->end && *s == ']')
            return s + 1;
        if (s == p->end || *s != ',')
            return fault(p, s, "JSON", "',' or ']'");
        s = skip_space(s + 1, p->end);
    }
}

/* One "key": value; the two nodes are linked. */
static const char *parse_pair(struct parser *p, const char *s)
{
    uint32_t key = (uint32_t)p->n_nodes;
    if (s == p->end || *s != '"')
        return fault(p, s, "JSON", "a key in quotes");
    s = parse_string(p, s);
    if (!s)
        return NULL;
    s = skip_space(s, p->end);
    if (s == p->end || *s != ':')
        return fault(p, s, "JSON", "':'");
    p->nodes[key].next = (uint32_t)p->n_nodes;
    return parse_value(p, skip_space(s + 1, p->end));
}

/* s is behind '{'; the node of the object is the last one. */
static const char *parse_pairs(struct parser *p, const char *s)
{
    uint32_t first = (uint32_t)p->n_nodes, last = JSON_NONE;
    size_t n_keys = 0;
    s = skip_space(s, p->end);
    if (s < p->end && *s == '}')
        return s + 1;
    for (;;) {
        uint32_t key = (uint32_t)p->n_nodes;
        s = parse_pair(p, s);
        if (!s)
            return NULL;
        if (last != JSON_NONE)
            p->nodes[last].next = key;
        last = p->nodes[key].next;
        n_keys++;
        s = skip_space(s, p->end);
        if (s < p->end && *s == '}')
            return check_keys(p, first, n_keys) ? NULL : s + 1;
        if (s == p->end || *s != ',')
            return fault(p, s, "JSON", "',' or '}'");
        s = skip_space(s + 1, p->end);
    }
}

static const char *parse_container(struct parser *p, const char *s)
{
    uint32_t self = (uint32_t)p->n_nodes;
    if (p->depth == JSON_MAX_DEPTH)
        return fault(p, s, "JSON", "at most 64 levels of nesting");
    if (!add_node(p, s))
        return NULL;
    int object = *s == '{';
    p->depth++;
    s = object ? parse_pairs(p, s + 1) : parse_elements(p, s + 1);
    if (!s)
        return NULL;
    p->depth--;
    p->nodes[self].type = object ? JSON_OBJECT : JSON_ARRAY;
    p->nodes[self].end = (uint32_t)(s - p->text);
    return s;
}

static const char *parse_value(struct parser *p, const char *s)
{
    if (s == p->end)
        return fault(p, s, "JSON", "a value");
    switch (*s) {
    case '"':
        return parse_string(p, s);
    case '{':
    case '[':
        return parse_container(p, s);
    case 't':
        return parse_word(p, s, "true", JSON_TRUE);
    case 'f':
        return parse_word(p, s, "false", JSON_FALSE);
    case 'n':
        return parse_word(p, s, "null", JSON_NULL);
    default:
        if (*s == '-' || is_json_digit(*s))
            return parse_number(p, s);
        return fault(p, s, "JSON", "a value");
    }
}

static int parse_text(struct parser *p)
{
    const char *s = parse_value(p, skip_space(p->text, p->end));
    if (!s)
        return -1;
    s = skip_space(s, p->end);
    if (s < p->end)
        fault(p, s, "JSON", "the end");
    return s < p->end ? -1 : 0;
}

int json_parse(struct json *doc, const char *text, size_t n, const char *name,
               struct prep_error *err)
{
    *doc = (struct json){.text = text, .n = n, .name = name};
    if (n > UINT32_MAX - 1)
        return prep_fail_tag(err, PREP_EDATA, "JSON", "%s: has %zu bytes, want at most 2^32 - 2",
                             name, n);
    struct parser p = {
        .err = err,
        .name = name,
        .text = text,
        .end = text + n,
        .max_bytes = ((size_t)64 << 20) + 3 * n,
        .cap_nodes = n / 12 + 16,
    };
    p.nodes = malloc(p.cap_nodes * sizeof *p.nodes);
    if (!p.nodes)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory for %zu values", name, p.cap_nodes);
    int rc = parse_text(&p);
    free(p.slots);
    free(p.scratch);
    if (rc) {
        free(p.nodes);
        doc->fault_depth = p.depth; /* no level is left on the way out of a failure */
        return -1;
    }
    struct json_node *fit = realloc(p.nodes, p.n_nodes * sizeof *fit);
    doc->nodes = fit ? fit : p.nodes;
    doc->n_nodes = p.n_nodes;
    return 0;
}

void json_free(struct json *doc)
{
    free(doc->nodes);
    *doc = (struct json){0};
}
