/* SPDX-License-Identifier: MIT */
#include "libprep/store/manifest.h"

#include <stdio.h>
#include <string.h>

#include "libprep/base/json.h"
#include "libprep/format/safetensors.h"

struct reader {
    struct json doc;
    struct manifest *m;
    struct prep_error *err;
};

static int bad(const struct reader *r, uint32_t node, const char *want)
{
    char where[512];
    return prep_fail_tag(r->err, PREP_EDATA, "MANIFEST", "%s: want %s",
                         json_where(&r->doc, node, where, sizeof where), want);
}

static uint32_t member(const struct reader *r, uint32_t object, const char *key,
                       enum json_type type)
{
    uint32_t v = json_get(&r->doc, object, key);
    if (v != JSON_NONE && json_type(&r->doc, v) == type)
        return v;
    char want[96];
    snprintf(want, sizeof want, "\"%s\", %s", key,
             type == JSON_ARRAY    ? "a list"
             : type == JSON_OBJECT ? "an object"
                                   : "a string");
    bad(r, v == JSON_NONE ? object : v, want);
    return JSON_NONE;
}

/* A string without NUL; absent gives NULL. */
static int get_text(const struct reader *r, uint32_t object, const char *key, const char **out)
{
    uint32_t v = json_get(&r->doc, object, key);
    size_t n;
    *out = NULL;
    if (v == JSON_NONE)
        return 0;
    if (json_type(&r->doc, v) != JSON_STRING)
        return bad(r, v, "a string");
    *out = json_string(&r->doc, v, &r->m->arena, &n, r->err);
    if (!*out)
        return -1;
    return strlen(*out) == n ? 0 : bad(r, v, "a string without NUL");
}

static int get_hex(const struct reader *r, uint32_t object, const char *key, size_t digits,
                   const char **out)
{
    if (get_text(r, object, key, out))
        return -1;
    if (*out && (strlen(*out) != digits || strspn(*out, "0123456789abcdef") != digits))
        return bad(r, object,
                   digits == 64 ? "\"sha256\", 64 lower-case hex digits"
                                : "\"xxh3_128\", 32 lower-case hex digits");
    return 0;
}

static int get_bytes(const struct reader *r, uint32_t object, uint64_t *out)
{
    uint32_t v = json_get(&r->doc, object, "bytes");
    if (v == JSON_NONE || json_u64(&r->doc, v, out))
        return bad(r, v == JSON_NONE ? object : v, "\"bytes\", a count");
    return 0;
}

static int read_file(const struct reader *r, uint32_t v, struct manifest_file *f)
{
    if (json_type(&r->doc, v) != JSON_OBJECT)
        return bad(r, v, "an object for each file");
    if (get_text(r, v, "name", &f->name) || get_bytes(r, v, &f->bytes) ||
        get_hex(r, v, "sha256", 64, &f->sha256))
        return -1;
    if (!f->name || file_name_fault(f->name, strlen(f->name)))
        return bad(r, v, "\"name\", a plain file name");
    return 0;
}

static int read_files(const struct reader *r)
{
    struct manifest *m = r->m;
    uint32_t list = member(r, 0, "files", JSON_ARRAY);
    if (list == JSON_NONE)
        return -1;
    m->files = arena_calloc(&m->arena, json_count(&r->doc, list), sizeof *m->files, r->err);
    if (!m->files)
        return -1;
    for (uint32_t v = json_first(&r->doc, list); v != JSON_NONE; v = json_next(&r->doc, v))
        if (read_file(r, v, &m->files[m->n_files++]))
            return -1;
    return 0;
}

static int read_tensor(const struct reader *r, uint32_t key, uint32_t v, struct manifest_tensor *t)
{
    size_t n;
    uint32_t old;
    if (json_type(&r->doc, v) != JSON_OBJECT)
        return bad(r, v, "an object for each tensor");
    t->name = json_string(&r->doc, key, &r->m->arena, &n, r->err);
    if (!t->name)
        return -1;
    if (tensor_name_fault(t->name, n))
        return bad(r, key, "a tensor name");
    if (get_bytes(r, v, &t->bytes) || get_hex(r, v, "xxh3_128", 32, &t->xxh3) ||
        get_text(r, v, "copy_of", &t->copy_of))
        return -1;
    return name_table_add(&r->m->names, t->name, n, (uint32_t)(t - r->m->tensors), &old, r->err);
}

static int read_tensors(const struct reader *r)
{
    struct manifest *m = r->m;
    uint32_t object = member(r, 0, "tensors", JSON_OBJECT);
    if (object == JSON_NONE)
        return -1;
    size_t n = json_count(&r->doc, object);
    m->tensors = arena_calloc(&m->arena, n, sizeof *m->tensors, r->err);
    if (!m->tensors || name_table_init(&m->names, n, r->err))
        return -1;
    for (uint32_t k = json_first(&r->doc, object); k != JSON_NONE;) {
        uint32_t v = json_next(&r->doc, k);
        if (read_tensor(r, k, v, &m->tensors[m->n_tensors++]))
            return -1;
        k = json_next(&r->doc, v);
    }
    return 0;
}

static int read_all(const struct reader *r)
{
    struct manifest *m = r->m;
    const struct json *d = &r->doc;
    int64_t version;
    if (json_type(d, 0) != JSON_OBJECT)
        return bad(r, 0, "an object");
    uint32_t format = member(r, 0, "format", JSON_STRING);
    if (format == JSON_NONE)
        return -1;
    if (!json_equal(d, format, "prep-manifest"))
        return bad(r, format, "\"prep-manifest\"");
    uint32_t v = json_get(d, 0, "version");
    if (v == JSON_NONE || json_i64(d, v, &version))
        return bad(r, v == JSON_NONE ? 0 : v, "\"version\", an integer");
    if (version != 1)
        return prep_fail_tag(r->err, PREP_EUNSUP, "MANIFEST", "%s: version %lld, want 1", d->name,
                             (long long)version);
    uint32_t sources = json_get(d, 0, "sources"), run = json_get(d, 0, "run");
    if (sources != JSON_NONE)
        m->n_sources = json_count(d, sources);
    if (run != JSON_NONE && json_type(d, run) == JSON_OBJECT) {
        m->run.n = d->nodes[run].end - d->nodes[run].start;
        m->run.p = (const unsigned char *)arena_strndup(&m->arena, d->text + d->nodes[run].start,
                                                        m->run.n, r->err);
        if (!m->run.p)
            return -1;
    }
    return read_files(r) || read_tensors(r) ? -1 : 0;
}

int manifest_parse(struct manifest *m, const char *text, size_t n, const char *name,
                   struct prep_error *err)
{
    *m = (struct manifest){0};
    arena_init(&m->arena, 0);
    struct reader r = {.m = m, .err = err};
    int rc = json_parse(&r.doc, text, n, name, err);
    if (rc)
        err->tag = "MANIFEST";
    else
        rc = read_all(&r);
    json_free(&r.doc);
    if (rc)
        manifest_free(m);
    return rc;
}

void manifest_free(struct manifest *m)
{
    name_table_free(&m->names);
    arena_fini(&m->arena);
    *m = (struct manifest){0};
}

const struct manifest_tensor *manifest_find(const struct manifest *m, const char *tensor)
{
    if (!m->n_tensors)
        return NULL;
    uint32_t i = name_table_get(&m->names, tensor, strlen(tensor));
    return i == NAME_NONE ? NULL : &m->tensors[i];
}

const struct manifest_file *manifest_find_file(const struct manifest *m, const char *file)
{
    for (size_t i = 0; i < m->n_files; i++)
        if (strcmp(m->files[i].name, file) == 0)
            return &m->files[i];
    return NULL;
}
