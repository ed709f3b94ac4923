/* SPDX-License-Identifier: MIT */
#include "tests/support/hostile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "libprep/format/safetensors.h"

enum { MAX_TENSORS = 16 };

static struct prep_error err = PREP_ERROR_INIT;

struct hostile *hostile_open(const char *name)
{
    struct hostile *h = calloc(1, sizeof *h);
    assert_non_null(h);
    arena_init(&h->arena, 0);
    h->text = test_read(test_path("%s/hostile/%s", test_data(), name));
    if (json_parse(&h->doc, (char *)h->text.p, h->text.n, name, &err))
        fail_msg("%s", err.msg);
    return h;
}

void hostile_close(struct hostile *h)
{
    json_free(&h->doc);
    arena_fini(&h->arena);
    free(h->text.p);
    free(h);
}

char *hostile_string(struct hostile *h, uint32_t node)
{
    char *s = json_string(&h->doc, node, &h->arena, NULL, &err);
    assert_non_null(s);
    return s;
}

const char *hostile_text(struct hostile *h, uint32_t object, const char *key)
{
    uint32_t node = json_get(&h->doc, object, key);
    return node == JSON_NONE ? NULL : hostile_string(h, node);
}

/* ---- safetensors.json ---- */

static struct memory_part base64_part(struct hostile *f, uint32_t object)
{
    struct test_bytes b = test_base64(hostile_text(f, object, "b64"));
    unsigned char *p = arena_alloc(&f->arena, b.n + 1, &err);
    assert_non_null(p);
    memcpy(p, b.p, b.n);
    free(b.p);
    return (struct memory_part){.p = p, .n = b.n};
}

size_t hostile_parts(struct hostile *f, uint32_t c, struct memory_part parts[HOSTILE_PARTS])
{
    uint32_t recipe = json_get(&f->doc, c, "recipe");
    size_t n = 0;
    if (recipe == JSON_NONE) {
        parts[0] = base64_part(f, c);
        return 1;
    }
    for (uint32_t i = json_first(&f->doc, recipe); i != JSON_NONE; i = json_next(&f->doc, i)) {
        uint64_t byte = 0, count = 0;
        assert_true(n < HOSTILE_PARTS);
        if (json_get(&f->doc, i, "b64") != JSON_NONE) {
            parts[n++] = base64_part(f, i);
            continue;
        }
        assert_int_equal(json_u64(&f->doc, json_get(&f->doc, i, "byte"), &byte), 0);
        assert_int_equal(json_u64(&f->doc, json_get(&f->doc, i, "count"), &count), 0);
        parts[n++] = (struct memory_part){.byte = (unsigned char)byte, .n = count};
    }
    return n;
}

/* ---- index.json ---- */

/* {"name": [dtype, shape]}: header, then zeros. */
static void write_shard(struct hostile *f, const char *path, uint32_t tensors)
{
    struct tensor_info t[MAX_TENSORS] = {0};
    struct span header;
    size_t n = 0;
    uint64_t bytes = 0;
    for (uint32_t k = json_first(&f->doc, tensors); k != JSON_NONE; n++) {
        uint32_t value = json_next(&f->doc, k), dtype = json_first(&f->doc, value);
        uint32_t shape = json_next(&f->doc, dtype);
        const char *name = hostile_string(f, dtype);
        assert_true(n < MAX_TENSORS);
        t[n].name = hostile_string(f, k);
        t[n].dtype = (uint8_t)dtype_from_name(name, strlen(name));
        for (uint32_t d = json_first(&f->doc, shape); d != JSON_NONE; d = json_next(&f->doc, d))
            assert_int_equal(json_u64(&f->doc, d, &t[n].shape[t[n].n_dims++]), 0);
        assert_int_equal(tensor_bytes((enum dtype)t[n].dtype, t[n].shape, t[n].n_dims, &t[n].bytes),
                         0);
        bytes += t[n].bytes;
        k = json_next(&f->doc, value);
    }
    assert_int_equal(safetensors_layout(t, n, NULL, 0, &f->arena, &header, &err), 0);
    unsigned char *file = calloc(1, header.n + bytes);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    test_write(path, file, header.n + bytes);
    free(file);
}

/* The node as written in the fixture, without white space outside strings. */
static void write_json(struct hostile *f, const char *path, uint32_t node)
{
    const struct json_node *k = &f->doc.nodes[node];
    char *out = malloc(k->end - k->start);
    size_t n = 0;
    int quoted = 0;
    assert_non_null(out);
    for (uint32_t i = k->start; i < k->end; i++) {
        char c = f->doc.text[i];
        if (c == '"' && f->doc.text[i - 1] != '\\')
            quoted = !quoted;
        if (quoted || (c != ' ' && c != '\n'))
            out[n++] = c;
    }
    test_write(path, out, n);
    free(out);
}

static void make_file(struct hostile *f, const char *folder, const char *name, uint32_t file)
{
    const struct json *doc = &f->doc;
    const char *path = test_path("%s/%s", folder, name), *link = hostile_text(f, file, "symlink");
    uint32_t content;
    if (link) {
        assert_int_equal(symlink(link, path), 0);
        path = test_path("%s/%s", folder, link);
    }
    content = json_get(doc, file, "safetensors");
    if (content != JSON_NONE)
        write_shard(f, path, json_get(doc, content, "tensors"));
    content = json_get(doc, file, "json");
    if (content != JSON_NONE)
        write_json(f, path, content);
    content = json_get(doc, file, "text");
    if (content != JSON_NONE)
        test_write(path, hostile_string(f, content), strlen(hostile_string(f, content)));
    if (json_get(doc, file, "dir") != JSON_NONE)
        assert_int_equal(mkdir(path, 0777), 0);
    if (json_get(doc, file, "fifo") != JSON_NONE)
        assert_int_equal(mkfifo(path, 0666), 0);
}

/* Two folders deep, so that ../../blobs stays inside the temporary one. */
const char *hostile_folder(struct hostile *f, uint32_t c)
{
    const char *folder = test_path("%s/snapshots/x", test_temp_dir());
    uint32_t files = json_get(&f->doc, c, "files");
    test_mkdirs(folder);
    for (uint32_t k = json_first(&f->doc, files); k != JSON_NONE;) {
        uint32_t file = json_next(&f->doc, k);
        make_file(f, folder, hostile_string(f, k), file);
        k = json_next(&f->doc, file);
    }
    return folder;
}

/* ---- config.json ---- */

/* Byte range of a pair in the base, with the comma that goes with it. */
static void delete_key(struct json_edit *e, const struct json *base, const char *key)
{
    size_t last_end = 0; /* of the pair before */
    for (uint32_t k = json_first(base, 0); k != JSON_NONE;) {
        const uint32_t value = json_next(base, k), next = json_next(base, value);
        if (json_equal(base, k, key)) {
            *e = next != JSON_NONE
                     ? (struct json_edit){base->nodes[k].start, base->nodes[next].start, "", 0}
                     : (struct json_edit){last_end, base->nodes[value].end, "", 0};
            return;
        }
        last_end = base->nodes[value].end;
        k = next;
    }
    fail_msg("no key %s to delete", key);
}

static struct span edit_keys(struct hostile *w, struct span original, uint32_t edit)
{
    struct json base;
    struct json_edit edits[8];
    struct span out = {NULL, 0};
    size_t n = 0;
    const char *text = (const char *)original.p;
    assert_int_equal(json_parse(&base, text, original.n, "base", &err), 0);
    const uint32_t deletes = json_get(&w->doc, edit, "delete"),
                   sets = json_get(&w->doc, edit, "set");
    for (uint32_t k = deletes == JSON_NONE ? JSON_NONE : json_first(&w->doc, deletes);
         k != JSON_NONE; k = json_next(&w->doc, k))
        delete_key(&edits[n++], &base, hostile_string(w, k));
    for (uint32_t k = sets == JSON_NONE ? JSON_NONE : json_first(&w->doc, sets); k != JSON_NONE;
         k = json_next(&w->doc, json_next(&w->doc, k))) {
        const char *key = hostile_string(w, k);
        const struct json_node *v = &w->doc.nodes[json_next(&w->doc, k)];
        const uint32_t old = json_get(&base, 0, key);
        struct json_edit *e = &edits[n++];
        assert_true(n <= 8);
        if (old == JSON_NONE)
            e->text = arena_printf(&w->arena, &err, "\n  \"%s\": %.*s,", key,
                                   (int)(v->end - v->start), w->doc.text + v->start);
        else
            e->text = arena_printf(&w->arena, &err, "%.*s", (int)(v->end - v->start),
                                   w->doc.text + v->start);
        e->n = strlen(e->text);
        e->start = old == JSON_NONE ? base.nodes[0].start + 1 : base.nodes[old].start;
        e->end = old == JSON_NONE ? e->start : base.nodes[old].end;
    }
    assert_int_equal(json_splice(&out, text, original.n, edits, n, &w->arena, &err), 0);
    json_free(&base);
    return out;
}

static struct span replace_once(struct hostile *w, struct span original, uint32_t pair)
{
    const uint32_t first = json_first(&w->doc, pair);
    const char *old = hostile_string(w, first);
    const char *new = hostile_string(w, json_next(&w->doc, first));
    const char *text = (const char *)original.p, *at = strstr(text, old);
    assert_non_null(at);
    char *s =
        arena_printf(&w->arena, &err, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
    assert_non_null(s);
    return (struct span){(unsigned char *)s, strlen(s)};
}

struct span hostile_config(struct hostile *w, struct span original, uint32_t edit)
{
    uint32_t node;
    if ((node = json_get(&w->doc, edit, "replace")) != JSON_NONE)
        return replace_once(w, original, node);
    if ((node = json_get(&w->doc, edit, "text")) != JSON_NONE) {
        size_t n;
        char *s = json_string(&w->doc, node, &w->arena, &n, &err);
        return (struct span){(unsigned char *)s, n};
    }
    return edit_keys(w, original, edit);
}
