/* SPDX-License-Identifier: MIT */
/*
 * The model: vocabulary and merges.
 *
 *   "model": {"type": "BPE", "vocab": {"!": 0, "\u0120the": 257, ...},
 *             "merges": [["\u0120", "t"], ...] or ["\u0120 t", ...]}
 *
 * Byte b is spelled as the code point b where that prints (33..126, 161..172, 174..255); the other
 * 68 bytes are spelled U+0100, U+0101, ... in ascending order.
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/base/utf8.h"
#include "libprep/model/tokenizer_parts.h"

enum { SHOWN = 80 };

static void spell_bytes(int16_t byte_of[TOKENIZER_SPELLINGS])
{
    int next = 0x100;
    for (int c = 0; c < TOKENIZER_SPELLINGS; c++)
        byte_of[c] = -1;
    for (int b = 0; b < 256; b++) {
        int prints = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        byte_of[prints ? b : next++] = (int16_t)b;
    }
}

/* The bytes that text stands for, into out; 0 when one of its characters stands for none. */
static int read_spelling(const struct tokenizer_reader *r, const char *s, size_t n, char *out,
                         size_t *n_out)
{
    char *o = out;
    size_t len;
    for (size_t i = 0; i < n; i += len) {
        uint32_t c = utf8_decode(s + i, &len);
        if (c >= TOKENIZER_SPELLINGS || r->byte_of[c] < 0)
            return 0;
        *o++ = (char)r->byte_of[c];
    }
    *n_out = (size_t)(o - out);
    return 1;
}

uint32_t tokenizer_spelled(const struct tokenizer_reader *r, const char *s, size_t n)
{
    size_t n_bytes;
    if (read_spelling(r, s, n, r->bytes, &n_bytes))
        return name_table_get(&r->t->vocab, r->bytes, n_bytes);
    return name_table_get(&r->foreign, s, n);
}

/* One entry; *bytes is where its bytes go, and moves on. */
static int read_entry(struct tokenizer_reader *r, uint32_t key, char **bytes)
{
    struct tokenizer *t = r->t;
    uint64_t id;
    uint32_t old;
    uint32_t value = json_next(r->doc, key);
    if (json_u64(r->doc, value, &id) || id > INT32_MAX)
        return tokenizer_fault(r, value, PREP_EDATA, "TOK_VOCAB",
                               "token id is no integer from 0 to 2147483647");
    size_t n = json_decode(r->doc, key, r->scratch), n_bytes;
    struct name_table *table = &t->vocab;
    if (!read_spelling(r, r->scratch, n, *bytes, &n_bytes)) {
        table = &r->foreign;
        memcpy(*bytes, r->scratch, n);
        n_bytes = n;
    }
    t->tokens[t->n_tokens++] = (struct token){(uint32_t)id, (uint32_t)n_bytes, *bytes, 0, 0};
    if (name_table_add(table, *bytes, n_bytes, (uint32_t)id, &old, r->err))
        return -1;
    *bytes += n_bytes;
    return 0;
}

static int read_vocab(struct tokenizer_reader *r, uint32_t vocab)
{
    struct tokenizer *t = r->t;
    spell_bytes(r->byte_of);
    r->n_vocab = json_count(r->doc, vocab);
    t->tokens = arena_calloc(&t->arena, r->n_vocab, sizeof *t->tokens, r->err);
    /* A string is no longer decoded than in the file; an empty one has a place all the same. */
    const struct json_node *node = &r->doc->nodes[vocab];
    char *bytes = arena_alloc(&t->arena, node->end - node->start, r->err);
    if (!t->tokens || !bytes || name_table_init(&t->vocab, r->n_vocab, r->err) ||
        name_table_init(&r->foreign, 0, r->err))
        return -1;
    for (uint32_t k = json_first(r->doc, vocab); k != JSON_NONE;
         k = json_next(r->doc, json_next(r->doc, k)))
        if (read_entry(r, k, &bytes))
            return -1;
    for (int b = 0; b < 256; b++) {
        char c = (char)b;
        t->byte_ids[b] = name_table_get(&t->vocab, &c, 1);
        if (t->byte_ids[b] == NAME_NONE)
            return tokenizer_fault(r, vocab, PREP_EDATA, "TOK_VOCAB",
                                   "no token for byte 0x%02x, want one for each of the 256", b);
    }
    return 0;
}

static int merge_fault(const struct tokenizer_reader *r, uint32_t node, const char *what)
{
    const struct json_node *k = &r->doc->nodes[node];
    int n = k->end - k->start > SHOWN ? SHOWN : (int)(k->end - k->start);
    return tokenizer_fault(r, node, PREP_EDATA, "TOK_MERGE", "merge %.*s %s", n,
                           r->doc->text + k->start, what);
}

/* Both parts one after the other in scratch; the first has *n_left of its *n bytes. */
static int read_parts(struct tokenizer_reader *r, uint32_t node, size_t *n_left, size_t *n)
{
    const struct json *d = r->doc;
    if (json_type(d, node) == JSON_STRING) {
        *n = json_decode(d, node, r->scratch);
        char *space = memchr(r->scratch, ' ', *n);
        if (!space || memchr(space + 1, ' ', *n - (size_t)(space + 1 - r->scratch)))
            return merge_fault(r, node, "has not exactly one space");
        *n_left = (size_t)(space - r->scratch);
        memmove(space, space + 1, --*n - *n_left);
        return 0;
    }
    uint32_t left = json_first(d, node), right = left == JSON_NONE ? left : json_next(d, left);
    if (json_type(d, node) != JSON_ARRAY || right == JSON_NONE ||
        json_next(d, right) != JSON_NONE || json_type(d, left) != JSON_STRING ||
        json_type(d, right) != JSON_STRING)
        return merge_fault(r, node, "is neither two strings nor one");
    *n_left = json_decode(d, left, r->scratch);
    *n = *n_left + json_decode(d, right, r->scratch + *n_left);
    return 0;
}

/* Of equal pairs the later one counts. */
static void put_merge(struct merge_table *t, struct merge m)
{
    size_t i = merge_slot(t, m.pair);
    while (t->slots[i].pair != MERGE_EMPTY && t->slots[i].pair != m.pair)
        i = (i + 1) & t->mask;
    t->slots[i] = m;
}

static int read_merges(struct tokenizer_reader *r, uint32_t merges)
{
    struct merge_table *t = &r->t->merges;
    size_t slots = 16, n_left = 0, n = 0; /* at most half full */
    uint32_t rank = 0;
    while (slots / 2 < json_count(r->doc, merges))
        slots *= 2;
    t->slots = arena_alloc(&r->t->arena, slots * sizeof *t->slots, r->err);
    if (!t->slots)
        return -1;
    memset(t->slots, 0xff, slots * sizeof *t->slots);
    t->mask = slots - 1;
    for (uint32_t i = json_first(r->doc, merges); i != JSON_NONE; i = json_next(r->doc, i)) {
        if (read_parts(r, i, &n_left, &n))
            return -1;
        uint32_t whole = tokenizer_spelled(r, r->scratch, n);
        uint32_t right = tokenizer_spelled(r, r->scratch + n_left, n - n_left);
        uint32_t left = tokenizer_spelled(r, r->scratch, n_left);
        if (left == NAME_NONE || right == NAME_NONE || whole == NAME_NONE)
            return merge_fault(r, i, "names a token that is not in the vocabulary");
        put_merge(t, (struct merge){(uint64_t)left << 32 | right, rank++, whole});
    }
    return 0;
}

/* Options that must be absent, null, or the value that switches them off. */
static int check_options(const struct tokenizer_reader *r, uint32_t model)
{
    static const char *const text[] = {"unk_token", "continuing_subword_prefix",
                                       "end_of_word_suffix"};
    uint32_t type = tokenizer_key(r, model, "type");
    if (type != JSON_NONE && !tokenizer_is(r, model, "BPE"))
        return tokenizer_fault(r, type, PREP_EUNSUP, "TOK_MODEL", "model is not BPE");
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        uint32_t node = tokenizer_key(r, model, text[i]);
        int empty = i > 0 && node != JSON_NONE && json_type(r->doc, node) == JSON_STRING &&
                    json_equal(r->doc, node, "");
        if (node != JSON_NONE && !empty)
            return tokenizer_fault(r, node, PREP_EUNSUP, "TOK_MODEL", "model.%s is set, want null",
                                   text[i]);
    }
    double dropout = 0;
    uint32_t node = tokenizer_key(r, model, "dropout");
    if (node != JSON_NONE && (json_f64(r->doc, node, &dropout) || dropout != 0))
        return tokenizer_fault(r, node, PREP_EUNSUP, "TOK_MODEL",
                               "model.dropout is set, want null or 0");
    if (tokenizer_flag(r, model, "byte_fallback", 0) != 0)
        return tokenizer_fault(r, model, PREP_EUNSUP, "TOK_MODEL",
                               "model.byte_fallback is not false");
    return 0;
}

int tokenizer_read_model(struct tokenizer_reader *r)
{
    const struct json *d = r->doc;
    uint32_t model = tokenizer_key(r, 0, "model");
    if (model == JSON_NONE || json_type(d, model) != JSON_OBJECT)
        return tokenizer_fault(r, 0, PREP_EDATA, "TOK_FILE", "no object \"model\" at the top");
    if (check_options(r, model))
        return -1;
    uint32_t vocab = tokenizer_key(r, model, "vocab"), merges = tokenizer_key(r, model, "merges");
    if (vocab == JSON_NONE || json_type(d, vocab) != JSON_OBJECT)
        return tokenizer_fault(r, model, PREP_EDATA, "TOK_VOCAB", "model.vocab is no object");
    if (merges == JSON_NONE || json_type(d, merges) != JSON_ARRAY)
        return tokenizer_fault(r, model, PREP_EDATA, "TOK_MERGE", "model.merges is no list");
    int ignore = tokenizer_flag(r, model, "ignore_merges", 0);
    if (ignore < 0)
        return tokenizer_fault(r, model, PREP_EDATA, "TOK_MODEL",
                               "model.ignore_merges is neither true nor false");
    r->t->ignore_merges = ignore;
    return read_vocab(r, vocab) || read_merges(r, merges) ? -1 : 0;
}
