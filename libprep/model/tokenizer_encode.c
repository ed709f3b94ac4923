/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/pattern.h"
#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer_parts.h"
#include "libprep/model/tokenizer_split.h"

/* 2^15 entries of 64 bytes: 2 MB, and words repeat. */
enum { CACHE_BITS = 15, CACHED_BYTES = 26, CACHED_IDS = 8, GONE = -1 };

/* What a short piece was encoded to. */
struct cached {
    uint32_t hash;
    uint8_t n, n_ids; /* n is 0 in an unused entry */
    char bytes[CACHED_BYTES];
    uint32_t ids[CACHED_IDS];
};

/* Symbols of the piece being merged: a list over the places where its bytes were. */
struct symbol {
    uint32_t id;         /* TOKENIZER_NONE once it is part of the one before */
    uint32_t prev, next; /* places; the piece's length is "none" after the last */
};

/* Two neighbours that could be merged when this was noted. */
struct candidate {
    uint64_t key; /* rank << 32 | place of the left one: the lowest comes first */
    uint32_t left, right, id;
};

struct tokenizer_encoder {
    const struct tokenizer *t;
    struct pattern *pattern; /* NULL: tokenizer_split() */
    struct cached *cache;
    struct symbol *symbols;
    size_t cap_symbols;
    struct candidate *heap;
    size_t n_heap, cap_heap;
};

int tokenizer_encoder_new(struct tokenizer_encoder **out, const struct tokenizer *t,
                          struct prep_error *err)
{
    *out = NULL;
    struct tokenizer_encoder *e = calloc(1, sizeof *e);
    if (!e)
        return prep_fail(err, PREP_ENOMEM, "out of memory making a text encoder");
    e->t = t;
    e->cache = calloc((size_t)1 << CACHE_BITS, sizeof *e->cache);
    if (!e->cache) {
        prep_fail(err, PREP_ENOMEM, "out of memory making a text encoder");
        goto fail;
    }
    if (t->pattern &&
        pattern_compile(&e->pattern, t->pattern, t->pattern_bytes, PATTERN_SEARCH, err))
        goto fail;
    *out = e;
    return 0;
fail:
    tokenizer_encoder_free(e);
    return -1;
}

void tokenizer_encoder_free(struct tokenizer_encoder *e)
{
    if (!e)
        return;
    pattern_free(e->pattern);
    free(e->cache);
    free(e->symbols);
    free(e->heap);
    free(e);
}

const struct tokenizer *tokenizer_of(const struct tokenizer_encoder *e)
{
    return e->t;
}

int token_ids_push(struct token_ids *l, uint32_t id, struct prep_error *err)
{
    if (prep_grow(&l->ids, &l->cap, l->n, sizeof *l->ids, err))
        return -1;
    l->ids[l->n++] = id;
    return 0;
}

void token_ids_free(struct token_ids *l)
{
    free(l->ids);
    *l = (struct token_ids){NULL, 0, 0};
}

/* ---- merging the bytes of a piece ---- */

static void sift_down(struct candidate *heap, size_t n, size_t i)
{
    struct candidate moving = heap[i];
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && heap[child + 1].key < heap[child].key)
            child++;
        if (heap[child].key >= moving.key)
            break;
        heap[i] = heap[child];
    }
    heap[i] = moving;
}

/* Note the pair at `place`, if it can be merged. */
static int offer(struct tokenizer_encoder *e, uint32_t place, uint32_t next, struct prep_error *err)
{
    uint32_t left = e->symbols[place].id, right = e->symbols[next].id;
    const struct merge *m = merge_find(&e->t->merges, left, right);
    if (!m)
        return 0;
    if (prep_grow(&e->heap, &e->cap_heap, e->n_heap, sizeof *e->heap, err))
        return -1;
    uint64_t key = (uint64_t)m->rank << 32 | place;
    size_t i = e->n_heap++;
    for (; i > 0 && e->heap[(i - 1) / 2].key > key; i = (i - 1) / 2)
        e->heap[i] = e->heap[(i - 1) / 2];
    e->heap[i] = (struct candidate){key, left, right, m->id};
    return 0;
}

static struct candidate take(struct tokenizer_encoder *e)
{
    struct candidate best = e->heap[0];
    e->heap[0] = e->heap[--e->n_heap];
    if (e->n_heap > 1)
        sift_down(e->heap, e->n_heap, 0);
    return best;
}

/* One symbol per byte, and every pair that can be merged. */
static int begin_merging(struct tokenizer_encoder *e, const char *s, uint32_t n,
                         struct prep_error *err)
{
    if (n > e->cap_symbols) {
        struct symbol *bigger = realloc(e->symbols, n * sizeof *bigger);
        if (!bigger)
            return prep_fail(err, PREP_ENOMEM, "out of memory encoding a piece of %u bytes", n);
        e->symbols = bigger;
        e->cap_symbols = n;
    }
    for (uint32_t i = 0; i < n; i++)
        e->symbols[i] = (struct symbol){e->t->byte_ids[(unsigned char)s[i]], i - 1, i + 1};
    e->n_heap = 0;
    for (uint32_t i = 0; i + 1 < n; i++)
        if (offer(e, i, i + 1, err))
            return -1;
    return 0;
}

/*
 * Merge the pair of lowest rank, of these the leftmost, until none is left. A candidate whose
 * symbols have changed since it was noted is passed over.
 */
static int merge_piece(struct tokenizer_encoder *e, const char *s, uint32_t n,
                       struct token_ids *out, struct prep_error *err)
{
    struct symbol *symbol;
    if (begin_merging(e, s, n, err))
        return -1;
    symbol = e->symbols;
    while (e->n_heap > 0) {
        struct candidate c = take(e);
        uint32_t at = (uint32_t)c.key, next = symbol[at].next;
        if (symbol[at].id != c.left || next == n || symbol[next].id != c.right)
            continue;
        symbol[at].id = c.id;
        symbol[at].next = symbol[next].next;
        symbol[next].id = TOKENIZER_NONE;
        if (symbol[at].next < n) {
            symbol[symbol[at].next].prev = at;
            if (offer(e, at, symbol[at].next, err))
                return -1;
        }
        if (at > 0 && offer(e, symbol[at].prev, at, err))
            return -1;
    }
    for (uint32_t i = 0; i < n; i = symbol[i].next)
        if (token_ids_push(out, symbol[i].id, err))
            return -1;
    return 0;
}

static int encode_new_piece(struct tokenizer_encoder *e, const char *s, size_t n,
                            struct token_ids *out, struct prep_error *err)
{
    uint32_t id = e->t->ignore_merges ? name_table_get(&e->t->vocab, s, n) : NAME_NONE;
    return id != NAME_NONE ? token_ids_push(out, id, err)
                           : merge_piece(e, s, (uint32_t)n, out, err);
}

static int encode_piece(struct tokenizer_encoder *e, const char *s, size_t n, struct token_ids *out,
                        struct prep_error *err)
{
    if (n > CACHED_BYTES)
        return encode_new_piece(e, s, n, out, err);
    uint64_t hash = hash64(s, n);
    struct cached *c = &e->cache[hash >> (64 - CACHE_BITS)];
    if (c->hash != (uint32_t)hash || c->n != n || memcmp(c->bytes, s, n) != 0) {
        size_t before = out->n;
        if (encode_new_piece(e, s, n, out, err))
            return -1;
        if (out->n - before > CACHED_IDS)
            return 0;
        c->hash = (uint32_t)hash;
        c->n = (uint8_t)n;
        c->n_ids = (uint8_t)(out->n - before);
        memcpy(c->bytes, s, n);
        memcpy(c->ids, out->ids + before, c->n_ids * sizeof *c->ids);
        return 0;
    }
    for (int i = 0; i < c->n_ids; i++)
        if (token_ids_push(out, c->ids[i], err))
            return -1;
    return 0;
}

/* ---- cutting text into pieces ---- */

/* With a pattern from the file: what lies between its matches is a piece too. */
static int encode_by_pattern(struct tokenizer_encoder *e, const char *s, size_t n,
                             struct token_ids *out, struct prep_error *err)
{
    size_t done = 0, from = 0, start, end;
    while (from < n) {
        enum pattern_result found = pattern_find(e->pattern, s, n, from, &start, &end);
        if (found == PATTERN_NO)
            break;
        if (found == PATTERN_LIMIT)
            return prep_fail_tag(err, PREP_EDATA, "TOK_REGEX",
                                 "the split pattern gives up at byte %zu of a text", from);
        if (start < done || end < start)
            start = end = from; /* \K can turn a match around */
        if (start > done && encode_piece(e, s + done, start - done, out, err))
            return -1;
        if (end > start && encode_piece(e, s + start, end - start, out, err))
            return -1;
        done = end;
        from = end;
        if (end == start && from < n) { /* an empty match: look on behind the next character */
            size_t len;
            utf8_decode(s + from, &len);
            from += len;
        }
    }
    return done < n ? encode_piece(e, s + done, n - done, out, err) : 0;
}

static int encode_plain(struct tokenizer_encoder *e, const char *s, size_t n, struct token_ids *out,
                        struct prep_error *err)
{
    if (e->pattern)
        return encode_by_pattern(e, s, n, out, err);
    for (size_t at = 0, len; at < n; at += len) {
        len = tokenizer_split(&e->t->classes, s + at, n - at);
        if (encode_piece(e, s + at, len, out, err))
            return -1;
    }
    return 0;
}

/* Text between added tokens; `pass` 0 looks for those without `normalized`, then 1 for the rest. */
static int encode_stretch(struct tokenizer_encoder *e, int pass, unsigned how, const char *s,
                          size_t n, struct token_ids *out, struct prep_error *err)
{
    struct added_walk walk = {0, 0};
    struct added_match m = {NULL, 0, 0};
    size_t at = 0;
    if (pass == 2)
        return encode_plain(e, s, n, out, err);
    const struct added_set *set = &e->t->added[pass];
    while (added_find(set, s, n, at, &m)) {
        at = m.end;
        if ((how & TOKENIZER_NOSPECIAL) && m.token->special)
            continue;
        if (!added_accept(e->t, &m, s, n, &walk))
            continue;
        if ((m.start > walk.done &&
             encode_stretch(e, pass + 1, how, s + walk.done, m.start - walk.done, out, err)) ||
            token_ids_push(out, m.token->id, err))
            return -1;
        walk.done = m.end;
    }
    if (walk.done == n)
        return 0;
    return encode_stretch(e, pass + 1, how, s + walk.done, n - walk.done, out, err);
}

static int push_all(struct token_ids *out, const struct token_ids *l, struct prep_error *err)
{
    for (size_t i = 0; i < l->n; i++)
        if (token_ids_push(out, l->ids[i], err))
            return -1;
    return 0;
}

static int encode_valid(struct token_ids *out, struct tokenizer_encoder *e, unsigned how,
                        const char *text, size_t n, struct prep_error *err)
{
    size_t before = out->n;
    int wrap = (how & TOKENIZER_WRAP) != 0;
    if ((wrap && push_all(out, &e->t->wrap[0], err)) ||
        encode_stretch(e, how & TOKENIZER_RAW ? 2 : 0, how, text, n, out, err) ||
        (wrap && push_all(out, &e->t->wrap[1], err))) {
        out->n = before;
        return -1;
    }
    return 0;
}

int tokenizer_encode(struct token_ids *out, struct tokenizer_encoder *e, unsigned how,
                     const char *text, size_t n, struct prep_error *err)
{
    if (n > TOKENIZER_MAX_TEXT)
        return prep_fail(err, PREP_EDATA, "text of %zu bytes, at most 1 GiB is encoded at once", n);
    size_t good = utf8_valid(text, n);
    if (good == n)
        return encode_valid(out, e, how, text, n, err);
    if (!(how & TOKENIZER_LOSSY))
        return prep_fail_tag(err, PREP_EDATA, "TOK_UTF8",
                             "byte %zu of a text is 0x%02x, want UTF-8", good,
                             (unsigned char)text[good]);
    char *repaired = malloc(3 * n);
    if (!repaired)
        return prep_fail(err, PREP_ENOMEM, "out of memory repairing a text of %zu bytes", n);
    int rc = encode_valid(out, e, how, repaired, utf8_repair(text, n, repaired), err);
    free(repaired);
    return rc;
}
