/* SPDX-License-Identifier: MIT */
#include "libprep/calib/mix.h"

#include <string.h>

#include "libprep/base/json.h"

enum { MAX_FILE = 16 << 20, SHOWN = 100 };

struct mix_reader {
    const struct json *doc;
    const char *folder;
    struct arena *arena;
    struct prep_error *err;
    struct pack_options *options;
    struct pack_source *source; /* the one being read, or NULL */
};

static int bad_value(const struct mix_reader *r, uint32_t node, const char *key, const char *want)
{
    char where[512];
    const struct json_node *k = &r->doc->nodes[node];
    int n = k->end - k->start > SHOWN ? SHOWN : (int)(k->end - k->start);
    return prep_fail_tag(r->err, PREP_EDATA, "MIX", "%s: %s is %.*s, want %s",
                         json_where(r->doc, node, where, sizeof where), key, n,
                         r->doc->text + k->start, want);
}

/* Text without NUL; an empty one only where it means something. */
static int read_text(const struct mix_reader *r, uint32_t node, const char *key, int may_be_empty,
                     const char **to)
{
    size_t n;
    if (json_type(r->doc, node) != JSON_STRING)
        return bad_value(r, node, key, "a string");
    *to = json_string(r->doc, node, r->arena, &n, r->err);
    if (!*to)
        return -1;
    if (strlen(*to) != n || (n == 0 && !may_be_empty))
        return bad_value(r, node, key, "a text");
    return 0;
}

static int read_count(const struct mix_reader *r, uint32_t node, const char *key, uint64_t *to)
{
    if (json_u64(r->doc, node, to) || *to == 0 || *to > INT64_MAX)
        return bad_value(r, node, key, "an integer above 0");
    return 0;
}

static int read_mode(const struct mix_reader *r, uint32_t node, int *to)
{
    const char *name;
    if (read_text(r, node, "mode", 0, &name))
        return -1;
    *to = mix_mode(name);
    return *to < 0 ? bad_value(r, node, "mode", "all, nospecial or raw") : 0;
}

int mix_mode(const char *name)
{
    static const char *const modes[] = {"all", "nospecial", "raw"};
    for (int i = 0; i < 3; i++)
        if (strcmp(name, modes[i]) == 0)
            return i;
    return -1;
}

static int read_path(struct mix_reader *r, uint32_t node)
{
    struct pack_source *s = r->source;
    if (read_text(r, node, "path", 0, &s->name))
        return -1;
    s->documents.path = s->name[0] == '/' ? s->name : io_join(r->arena, r->folder, s->name, r->err);
    return s->documents.path ? 0 : -1;
}

static int read_where(struct mix_reader *r, uint32_t node)
{
    const struct json *d = r->doc;
    if (json_type(d, node) != JSON_OBJECT)
        return bad_value(r, node, "where", "an object of strings");
    struct document_filter *f = arena_calloc(r->arena, json_count(d, node), sizeof *f, r->err);
    if (!f)
        return -1;
    r->source->documents.filters = f;
    for (uint32_t k = json_first(d, node), v; k != JSON_NONE; k = json_next(d, v), f++) {
        v = json_next(d, k);
        if (read_text(r, k, "key", 0, &f->key) || read_text(r, v, "where", 1, &f->value))
            return -1;
        r->source->documents.n_filters++;
    }
    return 0;
}

static int read_weight(struct mix_reader *r, uint32_t node)
{
    double *w = &r->source->weight;
    if (json_f64(r->doc, node, w) || !(*w > 0 && *w <= 1e9))
        return bad_value(r, node, "weight", "a number above 0, at most 1e9");
    return 0;
}

/* One key of a source. */
static int read_source_key(struct mix_reader *r, uint32_t key, uint32_t v)
{
    const struct json *d = r->doc;
    struct pack_source *s = r->source;
    if (json_equal(d, key, "path"))
        return read_path(r, v);
    if (json_equal(d, key, "members"))
        return read_text(r, v, "members", 0, &s->documents.members);
    if (json_equal(d, key, "field"))
        return read_text(r, v, "field", 0, &s->documents.field);
    if (json_equal(d, key, "where"))
        return read_where(r, v);
    if (json_equal(d, key, "documents"))
        return read_count(r, v, "documents", &s->take);
    if (json_equal(d, key, "weight"))
        return read_weight(r, v);
    if (json_equal(d, key, "mode"))
        return read_mode(r, v, &s->mode);
    if (json_equal(d, key, "note"))
        return 0;
    return bad_value(r, key, "key of a source",
                     "path, members, field, where, documents, weight, mode or note");
}

static int read_sources(struct mix_reader *r, uint32_t list)
{
    const struct json *d = r->doc;
    size_t n = json_type(d, list) == JSON_ARRAY ? json_count(d, list) : 0;
    if (n == 0 || n > PACK_MAX_SOURCES)
        return bad_value(r, list, "sources", "a list of 1 to 4096 sources");
    struct pack_source *sources = arena_calloc(r->arena, n, sizeof *sources, r->err);
    if (!sources)
        return -1;
    r->options->sources = sources;
    r->options->n_sources = n;
    for (uint32_t i = json_first(d, list); i != JSON_NONE; i = json_next(d, i)) {
        r->source = sources++;
        r->source->mode = -1;
        if (json_type(d, i) != JSON_OBJECT)
            return bad_value(r, i, "source", "an object");
        for (uint32_t k = json_first(d, i), v; k != JSON_NONE; k = json_next(d, v)) {
            v = json_next(d, k);
            if (read_source_key(r, k, v))
                return -1;
        }
        if (!r->source->name)
            return bad_value(r, i, "source", "one with a path");
    }
    return 0;
}

/* One key of the top. */
static int read_key(struct mix_reader *r, uint32_t key, uint32_t v)
{
    const struct json *d = r->doc;
    struct pack_options *o = r->options;
    uint64_t version = 0;
    if (json_equal(d, key, "format"))
        return json_type(d, v) == JSON_STRING && json_equal(d, v, "prep-mix")
                   ? 0
                   : bad_value(r, v, "format", "\"prep-mix\"");
    if (json_equal(d, key, "version"))
        return json_u64(d, v, &version) || version != 1 ? bad_value(r, v, "version", "1") : 0;
    if (json_equal(d, key, "seed")) {
        o->shuffle = 1;
        return json_u64(d, v, &o->seed) ? bad_value(r, v, "seed", "an integer from 0") : 0;
    }
    if (json_equal(d, key, "sequences"))
        return read_count(r, v, "sequences", &o->n_sequences);
    if (json_equal(d, key, "separator"))
        return read_text(r, v, "separator", 1, &o->separator);
    if (json_equal(d, key, "prefix"))
        return read_text(r, v, "prefix", 1, &o->prefix);
    if (json_equal(d, key, "mode"))
        return read_mode(r, v, &o->mode);
    if (json_equal(d, key, "sources"))
        return read_sources(r, v);
    if (json_equal(d, key, "note"))
        return 0;
    return bad_value(r, key, "key of the mix",
                     "format, version, seed, sequences, separator, prefix, mode, sources or note");
}

int mix_parse(struct pack_options *options, const char *text, size_t n, const char *name,
              const char *folder, struct arena *arena, struct prep_error *err)
{
    static const char *const needed[] = {"format", "version", "sources"};
    struct json doc = {0};
    struct mix_reader r = {
        .doc = &doc, .folder = folder, .arena = arena, .err = err, .options = options};
    char *hash = arena_alloc(arena, SHA256_HEX, err);
    int rc = -1;
    if (!hash || json_parse(&doc, text, n, name, err))
        goto out;
    sha256_hex(text, n, hash);
    options->mix_sha256 = hash;
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
        if (json_type(&doc, 0) != JSON_OBJECT || json_get(&doc, 0, needed[i]) == JSON_NONE) {
            prep_fail_tag(err, PREP_EDATA, "MIX", "%s: no \"%s\": not a mix file", name, needed[i]);
            goto out;
        }
    for (uint32_t k = json_first(&doc, 0), v; k != JSON_NONE; k = json_next(&doc, v)) {
        v = json_next(&doc, k);
        if (read_key(&r, k, v))
            goto out;
    }
    rc = 0;
out:
    json_free(&doc);
    return rc;
}

int mix_read(struct pack_options *options, const struct io *io, const char *path,
             struct arena *arena, struct prep_error *err)
{
    struct span text;
    const char *slash = strrchr(path, '/');
    const char *folder =
        slash ? arena_strndup(arena, path, slash == path ? 1 : (size_t)(slash - path), err) : ".";
    if (!folder || io_read_file(io, path, MAX_FILE, arena, &text, err))
        return -1;
    return mix_parse(options, (const char *)text.p, text.n, path, folder, arena, err);
}
