/* SPDX-License-Identifier: MIT */
/*
 * Added tokens: reading them, and finding them in text.
 *
 *   "added_tokens": [{"id": 1984, "content": "<|user|>", "special": true, "normalized": false,
 *                     "lstrip": false, "rstrip": false, "single_word": false}, ...]
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer_parts.h"

static int by_content(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp(x->content, y->content, n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

static int read_flag(const struct tokenizer_reader *r, uint32_t node, const char *key, uint8_t *to)
{
    int v = tokenizer_flag(r, node, key, 0);
    if (v < 0)
        return tokenizer_fault(r, node, PREP_EDATA, "TOK_FILE",
                               "added token: %s is neither true nor false", key);
    *to = (uint8_t)v;
    return 0;
}

/* The id the library gives it, whatever the file says: so the file must say the same. */
static int check_id(const struct tokenizer_reader *r, uint32_t node, struct added_token *a,
                    uint32_t *next)
{
    uint64_t id;
    uint32_t id_node = tokenizer_key(r, node, "id");
    uint32_t want = tokenizer_spelled(r, a->content, a->n);
    if (want == NAME_NONE)
        want = *next;
    if (id_node == JSON_NONE || json_u64(r->doc, id_node, &id))
        return tokenizer_fault(r, node, PREP_EDATA, "TOK_ADDED_ID",
                               "added token \"%s\" has no integer id, want %u", a->content, want);
    if (id != want || want > INT32_MAX)
        return tokenizer_fault(r, id_node, PREP_EDATA, "TOK_ADDED_ID",
                               "added token \"%s\" has id %llu, want %u", a->content,
                               (unsigned long long)id, want);
    a->id = want;
    if (want >= *next)
        *next = want + 1;
    return 0;
}

static int read_one(struct tokenizer_reader *r, uint32_t node, struct added_token *a,
                    uint32_t *next)
{
    size_t n;
    uint32_t content = JSON_NONE;
    if (json_type(r->doc, node) == JSON_OBJECT)
        content = tokenizer_key(r, node, "content");
    if (content == JSON_NONE || json_type(r->doc, content) != JSON_STRING)
        return tokenizer_fault(r, node, PREP_EDATA, "TOK_FILE",
                               "added token without a text \"content\"");
    a->content = json_string(r->doc, content, &r->t->arena, &n, r->err);
    if (!a->content)
        return -1;
    if (n == 0 || n > TOKENIZER_MAX_CONTENT)
        return tokenizer_fault(r, content, PREP_EDATA, "TOK_FILE",
                               "added token of %zu bytes, want 1 to %d", n, TOKENIZER_MAX_CONTENT);
    a->n = (uint32_t)n;
    if (read_flag(r, node, "special", &a->special) ||
        read_flag(r, node, "normalized", &a->normalized) ||
        read_flag(r, node, "lstrip", &a->lstrip) || read_flag(r, node, "rstrip", &a->rstrip) ||
        read_flag(r, node, "single_word", &a->single_word))
        return -1;
    return check_id(r, node, a, next);
}

/* Sorted, with an index by first byte. */
static int index_set(struct tokenizer_reader *r, uint32_t list, struct added_set *set)
{
    qsort(set->items, set->n, sizeof *set->items, by_content);
    for (size_t i = 1; i < set->n; i++)
        if (by_content(&set->items[i - 1], &set->items[i]) == 0)
            return tokenizer_fault(r, list, PREP_EDATA, "TOK_ADDED_ID",
                                   "added token \"%s\" is there twice", set->items[i].content);
    for (size_t i = 0, b = 0; b <= 256; b++) {
        while (i < set->n && (unsigned char)set->items[i].content[0] < b)
            i++;
        set->first[b] = i;
    }
    return 0;
}

/* Added tokens decode to their content, those of the vocabulary too. */
static void list_token(struct tokenizer *t, const struct added_token *a)
{
    t->tokens[t->n_tokens++] = (struct token){a->id, a->n, a->content, 1, a->special};
}

int tokenizer_read_added(struct tokenizer_reader *r)
{
    struct tokenizer *t = r->t;
    uint32_t list = tokenizer_key(r, 0, "added_tokens"), next = (uint32_t)r->n_vocab;
    if (list == JSON_NONE)
        return 0;
    if (json_type(r->doc, list) != JSON_ARRAY)
        return tokenizer_fault(r, list, PREP_EDATA, "TOK_FILE", "added_tokens is no list");
    size_t n = json_count(r->doc, list);
    struct token *tokens = arena_calloc(&t->arena, t->n_tokens + n, sizeof *tokens, r->err);
    for (int i = 0; i < 2; i++) {
        t->added[i].items = arena_calloc(&t->arena, n, sizeof *t->added[i].items, r->err);
        if (!t->added[i].items)
            return -1;
    }
    if (!tokens)
        return -1;
    memcpy(tokens, t->tokens, t->n_tokens * sizeof *tokens);
    t->tokens = tokens;
    for (uint32_t i = json_first(r->doc, list); i != JSON_NONE; i = json_next(r->doc, i)) {
        struct added_token a = {0};
        if (read_one(r, i, &a, &next))
            return -1;
        struct added_set *set = &t->added[a.normalized];
        set->items[set->n++] = a;
        list_token(t, &a);
    }
    return index_set(r, list, &t->added[0]) || index_set(r, list, &t->added[1]) ? -1 : 0;
}

/* Narrow items [*lo, *hi), which agree in their first d bytes, to those with byte c next. */
static void narrow(const struct added_set *set, size_t d, unsigned char c, size_t *lo, size_t *hi)
{
    size_t a = *lo, b = *hi;
    while (a < b) {
        size_t mid = a + (b - a) / 2;
        if ((unsigned char)set->items[mid].content[d] < c)
            a = mid + 1;
        else
            b = mid;
    }
    size_t end = a;
    for (b = *hi; end < b;) {
        size_t mid = end + (b - end) / 2;
        if ((unsigned char)set->items[mid].content[d] <= c)
            end = mid + 1;
        else
            b = mid;
    }
    *lo = a;
    *hi = end;
}

/* The longest token at the start of s, or NULL. */
static const struct added_token *longest(const struct added_set *set, const char *s, size_t n)
{
    const struct added_token *best = NULL;
    unsigned char c = (unsigned char)s[0];
    size_t lo = set->first[c], hi = set->first[c + 1];
    for (size_t d = 1; lo < hi; d++) {
        if (set->items[lo].n == d)
            best = &set->items[lo++];
        if (d == n)
            break;
        narrow(set, d, (unsigned char)s[d], &lo, &hi);
    }
    return best;
}

int added_find(const struct added_set *set, const char *s, size_t n, size_t at,
               struct added_match *m)
{
    for (size_t i = at; i < n && set->n > 0; i++) {
        unsigned char c = (unsigned char)s[i];
        if (set->first[c] == set->first[c + 1])
            continue;
        const struct added_token *a = longest(set, s + i, n - i);
        if (!a)
            continue;
        *m = (struct added_match){a, i, i + a->n};
        return 1;
    }
    return 0;
}

/* Classes of the code point before `at`, whose beginning goes to *begin. */
static unsigned class_before(const struct tokenizer *t, const char *s, size_t at, size_t *begin)
{
    size_t n;
    do
        at--;
    while (at > 0 && ((unsigned char)s[at] & 0xc0) == 0x80);
    *begin = at;
    return unicode_class(&t->classes, utf8_decode(s + at, &n));
}

static unsigned class_after(const struct tokenizer *t, const char *s, size_t at, size_t *end)
{
    size_t n;
    unsigned classes = unicode_class(&t->classes, utf8_decode(s + at, &n));
    *end = at + n;
    return classes;
}

int added_accept(const struct tokenizer *t, struct added_match *m, const char *s, size_t n,
                 struct added_walk *walk)
{
    size_t next;
    if (m->token->single_word &&
        ((m->start > 0 && class_before(t, s, m->start, &next) & UNICODE_WORD) ||
         (m->end < n && class_after(t, s, m->end, &next) & UNICODE_WORD)))
        return 0;
    if (m->token->lstrip && m->start < walk->done)
        m->start = walk->done;
    while (m->token->lstrip && m->start > walk->done &&
           class_before(t, s, m->start, &next) & UNICODE_SPACE)
        m->start = next;
    if (m->token->rstrip) {
        /* The search goes on inside what was swallowed; no white space is walked over twice. */
        if (m->end < walk->blank_to)
            m->end = walk->blank_to;
        while (m->end < n && class_after(t, s, m->end, &next) & UNICODE_SPACE)
            m->end = next;
        walk->blank_to = m->end;
    }
    return 1;
}
