/* SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/pattern.h"
#include "libprep/model/tokenizer_parts.h"
#include "libprep/model/tokenizer_split.h"
#include "libprep/store/hub.h"

/* GLM-5.1's has 20 MB. */
enum { MAX_FILE = 256 << 20, MAX_CONFIG = 16 << 20 };

int tokenizer_fault(const struct tokenizer_reader *r, uint32_t node, enum prep_code code,
                    const char *tag, const char *fmt, ...)
{
    char text[512], where[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return prep_fail_tag(r->err, code, tag, "%s: %s", json_where(r->doc, node, where, sizeof where),
                         text);
}

uint32_t tokenizer_key(const struct tokenizer_reader *r, uint32_t object, const char *key)
{
    uint32_t node = json_get(r->doc, object, key);
    return node != JSON_NONE && json_type(r->doc, node) == JSON_NULL ? JSON_NONE : node;
}

int tokenizer_is(const struct tokenizer_reader *r, uint32_t node, const char *type)
{
    if (node == JSON_NONE || json_type(r->doc, node) != JSON_OBJECT)
        return 0;
    uint32_t t = json_get(r->doc, node, "type");
    return t != JSON_NONE && json_type(r->doc, t) == JSON_STRING && json_equal(r->doc, t, type);
}

int tokenizer_flag(const struct tokenizer_reader *r, uint32_t object, const char *key, int absent)
{
    uint32_t node = json_get(r->doc, object, key);
    if (node == JSON_NONE)
        return absent;
    enum json_type t = json_type(r->doc, node);
    return t == JSON_TRUE ? 1 : t == JSON_FALSE ? 0 : -1;
}

static int by_id(const void *a, const void *b)
{
    const struct token *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->added - y->added;
}

/*
 * Tokens by id. An added token replaces the vocabulary entry of the same text; two vocabulary
 * entries, or an added token and another entry, must not share an id.
 */
static int sort_tokens(struct tokenizer_reader *r)
{
    struct tokenizer *t = r->t;
    size_t n = 0;
    qsort(t->tokens, t->n_tokens, sizeof *t->tokens, by_id);
    for (size_t i = 0; i < t->n_tokens; i++) {
        const struct token *last = n ? &t->tokens[n - 1] : NULL, *k = &t->tokens[i];
        int same = last && last->id == k->id;
        int replaces =
            same && k->added && !last->added && tokenizer_spelled(r, k->bytes, k->n) == k->id;
        if (same && !replaces)
            return prep_fail_tag(r->err, PREP_EDATA, k->added ? "TOK_ADDED_ID" : "TOK_VOCAB",
                                 "%s: two tokens have id %u", r->doc->name, k->id);
        t->tokens[replaces ? n - 1 : n++] = *k;
    }
    t->n_tokens = n;
    return 0;
}

static int check_header(const struct tokenizer_reader *r)
{
    static const char *const ignored[] = {"truncation", "padding"};
    uint32_t version = tokenizer_key(r, 0, "version");
    if (version == JSON_NONE || json_type(r->doc, version) != JSON_STRING ||
        !json_equal(r->doc, version, "1.0"))
        report_warn(r->report, "TOK_VERSION", "%s: version is not \"1.0\"", r->doc->name);
    for (int i = 0; i < 2; i++)
        if (tokenizer_key(r, 0, ignored[i]) != JSON_NONE)
            report_warn(r->report, "TOK_IGNORED", "%s: %s is not applied", r->doc->name,
                        ignored[i]);
    uint32_t node = tokenizer_key(r, 0, "normalizer");
    if (node != JSON_NONE)
        return tokenizer_fault(r, node, PREP_EUNSUP, "TOK_NORMALIZER",
                               "there is a normalizer, want null");
    node = tokenizer_key(r, 0, "decoder");
    if (node != JSON_NONE && !tokenizer_is(r, node, "ByteLevel"))
        return tokenizer_fault(r, node, PREP_EUNSUP, "TOK_DECODER",
                               "decoder is not ByteLevel or null");
    return 0;
}

/* Another pattern than ours: it must compile; encoders make their own copies. */
static int take_pattern(struct tokenizer_reader *r, uint32_t node)
{
    struct tokenizer *t = r->t;
    struct pattern *trial;
    if (json_equal(r->doc, node, tokenizer_split_pattern))
        return 0;
    t->pattern = json_string(r->doc, node, &t->arena, &t->pattern_bytes, r->err);
    if (!t->pattern)
        return -1;
    if (pattern_compile(&trial, t->pattern, t->pattern_bytes, PATTERN_SEARCH, r->err)) {
        if (r->err->code == PREP_EDATA)
            r->err->tag = "TOK_REGEX";
        return prep_note(r->err, "%s", r->doc->name);
    }
    pattern_free(trial);
    report_warn(r->report, "TOK_REGEX",
                "%s: the split pattern is not GLM's; PCRE2 runs it, with Unicode tables of its own",
                r->doc->name);
    return 0;
}

static int read_pretokenizer(struct tokenizer_reader *r)
{
    const struct json *d = r->doc;
    uint32_t top = tokenizer_key(r, 0, "pre_tokenizer"), list = JSON_NONE, split = JSON_NONE;
    uint32_t bytes = JSON_NONE, regex = JSON_NONE;
    if (tokenizer_is(r, top, "Sequence"))
        list = tokenizer_key(r, top, "pretokenizers");
    if (list != JSON_NONE && json_type(d, list) == JSON_ARRAY && json_count(d, list) == 2) {
        split = json_first(d, list);
        bytes = json_next(d, split);
    }
    if (!tokenizer_is(r, split, "Split") || !tokenizer_is(r, bytes, "ByteLevel"))
        return tokenizer_fault(r, top == JSON_NONE ? 0 : top, PREP_EUNSUP, "TOK_PRETOKENIZER",
                               "pre_tokenizer is not a Sequence of Split and ByteLevel");
    if (tokenizer_flag(r, bytes, "add_prefix_space", 1) != 0 ||
        tokenizer_flag(r, bytes, "use_regex", 1) != 0)
        return tokenizer_fault(r, bytes, PREP_EUNSUP, "TOK_PRETOKENIZER",
                               "ByteLevel needs add_prefix_space and use_regex false");
    uint32_t pattern = tokenizer_key(r, split, "pattern");
    uint32_t behavior = tokenizer_key(r, split, "behavior");
    if (pattern != JSON_NONE && json_type(d, pattern) == JSON_OBJECT)
        regex = tokenizer_key(r, pattern, "Regex");
    if (regex == JSON_NONE || json_type(d, regex) != JSON_STRING || behavior == JSON_NONE ||
        json_type(d, behavior) != JSON_STRING || !json_equal(d, behavior, "Isolated") ||
        tokenizer_flag(r, split, "invert", 0) != 0)
        return tokenizer_fault(r, split, PREP_EUNSUP, "TOK_PRETOKENIZER",
                               "Split needs a Regex, behavior Isolated and invert false");
    return take_pattern(r, regex);
}

/* Room for two strings of the file, however they are decoded. */
static int make_scratch(struct tokenizer_reader *r)
{
    size_t longest = 0;
    for (size_t i = 0; i < r->doc->n_nodes; i++) {
        const struct json_node *k = &r->doc->nodes[i];
        if (k->type == JSON_STRING && k->end - k->start > longest)
            longest = k->end - k->start;
    }
    r->scratch = malloc(2 * longest + 1);
    r->bytes = malloc(2 * longest + 1);
    if (!r->scratch || !r->bytes)
        return prep_fail(r->err, PREP_ENOMEM, "out of memory reading %s", r->doc->name);
    return 0;
}

static int read_all(struct tokenizer_reader *r, uint64_t vocab_size)
{
    struct tokenizer *t = r->t;
    if (json_type(r->doc, 0) != JSON_OBJECT)
        return tokenizer_fault(r, 0, PREP_EDATA, "TOK_FILE", "not an object");
    if (make_scratch(r) || unicode_map_init(&t->classes, &t->arena, r->err) || check_header(r) ||
        read_pretokenizer(r) || tokenizer_read_model(r) || tokenizer_read_added(r) ||
        sort_tokens(r) || tokenizer_read_post(r))
        return -1;
    if (vocab_size && tokenizer_size(t) > vocab_size)
        return prep_fail_tag(r->err, PREP_EDATA, "TOK_VOCAB_SIZE",
                             "%s: token id %u, but config.json has vocab_size %llu", r->doc->name,
                             tokenizer_size(t) - 1, (unsigned long long)vocab_size);
    return 0;
}

int tokenizer_parse(struct tokenizer **out, const char *text, size_t n, const char *name,
                    uint64_t vocab_size, struct report *report, struct prep_error *err)
{
    struct json doc = {0};
    struct tokenizer_reader r = {.doc = &doc, .report = report, .err = err};
    int rc = -1;
    *out = NULL;
    r.t = calloc(1, sizeof *r.t);
    if (!r.t)
        return prep_fail(err, PREP_ENOMEM, "out of memory opening %s", name);
    arena_init(&r.t->arena, 0);
    sha256_hex(text, n, r.t->sha256);
    if (json_parse(&doc, text, n, name, err) || read_all(&r, vocab_size))
        goto out;
    *out = r.t;
    r.t = NULL;
    rc = 0;
out:
    name_table_free(&r.foreign);
    free(r.scratch);
    free(r.bytes);
    json_free(&doc);
    tokenizer_free(r.t);
    return rc;
}

void tokenizer_free(struct tokenizer *t)
{
    if (!t)
        return;
    name_table_free(&t->vocab);
    token_ids_free(&t->wrap[0]);
    token_ids_free(&t->wrap[1]);
    arena_fini(&t->arena);
    free(t);
}

/* vocab_size of the folder's config.json, 0 when it says nothing of the kind. */
static int read_vocab_size(const struct io *io, const char *dir, struct arena *arena,
                           uint64_t *vocab_size, struct prep_error *err)
{
    struct io_stat st;
    struct span text;
    struct json doc = {0};
    const char *path = io_join(arena, dir, "config.json", err);
    *vocab_size = 0;
    if (!path)
        return -1;
    if (io->stat(io->self, path, &st) < 0)
        return 0;
    if (io_read_file(io, path, MAX_CONFIG, arena, &text, err) ||
        json_parse(&doc, (const char *)text.p, text.n, path, err))
        return -1;
    uint32_t node = json_type(&doc, 0) == JSON_OBJECT ? json_get(&doc, 0, "vocab_size") : JSON_NONE;
    if (node != JSON_NONE && json_u64(&doc, node, vocab_size))
        *vocab_size = 0;
    json_free(&doc);
    return 0;
}

int tokenizer_open(struct tokenizer **t, const struct io *io, const char *path,
                   struct report *report, struct prep_error *err)
{
    struct arena arena;
    struct io_stat st;
    struct span text;
    const char *dir, *revision;
    uint64_t vocab_size = 0;
    int rc = -1;
    *t = NULL;
    arena_init(&arena, 0);
    if (io->stat(io->self, path, &st) < 0 || st.kind == IO_DIRECTORY) {
        if (hub_resolve(io, path, &arena, &dir, &revision, err) ||
            read_vocab_size(io, dir, &arena, &vocab_size, err))
            goto out;
        path = io_join(&arena, dir, "tokenizer.json", err);
        if (!path)
            goto out;
    }
    if (io_read_file(io, path, MAX_FILE, &arena, &text, err))
        goto out;
    rc = tokenizer_parse(t, (const char *)text.p, text.n, path, vocab_size, report, err);
out:
    arena_fini(&arena);
    return rc;
}

const char *tokenizer_sha256(const struct tokenizer *t)
{
    return t->sha256;
}

uint32_t tokenizer_size(const struct tokenizer *t)
{
    return t->tokens[t->n_tokens - 1].id + 1;
}

const struct token *tokenizer_token(const struct tokenizer *t, uint32_t id)
{
    size_t lo = 0, hi = t->n_tokens;
    if (id < hi && t->tokens[id].id == id) /* no holes below */
        return &t->tokens[id];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (t->tokens[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < t->n_tokens && t->tokens[lo].id == id ? &t->tokens[lo] : NULL;
}

uint32_t tokenizer_find(const struct tokenizer *t, const char *text, size_t n)
{
    struct added_match m;
    for (int i = 0; i < 2 && n > 0; i++)
        if (added_find(&t->added[i], text, n, 0, &m) && m.start == 0 && m.end == n)
            return m.token->id;
    return name_table_get(&t->vocab, text, n);
}
