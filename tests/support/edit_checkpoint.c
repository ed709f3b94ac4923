/* SPDX-License-Identifier: MIT */
#include "tests/support/edit_checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "libprep/base/json.h"
#include "libprep/format/hf_index.h"

static struct prep_error err = PREP_ERROR_INIT;

static void must(int rc)
{
    if (rc)
        fail_msg("%s", err.msg);
}

void edit_open(struct edit *e, const char *dir)
{
    *e = (struct edit){.dir = realpath(dir, NULL)};
    arena_init(&e->arena, 0);
    assert_non_null(e->dir);
    must(checkpoint_open(&e->ckpt, &io_posix, dir, NULL, &err));
    e->n = e->ckpt->n_tensors;
    e->cap = e->n;
    e->tensors = calloc(e->cap, sizeof *e->tensors);
    e->touched = calloc(e->ckpt->n_shards, 1);
    assert_non_null(e->tensors);
    assert_non_null(e->touched);
    for (size_t i = 0; i < e->n; i++)
        e->tensors[i] = (struct edit_tensor){.info = e->ckpt->tensors[i].info,
                                             .file = e->ckpt->tensors[i].file,
                                             .original = (uint32_t)i};
    for (size_t i = e->ckpt->n_shards; i < e->ckpt->n_files; i++) {
        const char *name = e->ckpt->files[i].name;
        assert_true(e->n_files < sizeof e->files / sizeof *e->files);
        if (strcmp(name, HF_INDEX_NAME) != 0 && strcmp(name, "prep-manifest.json") != 0)
            e->files[e->n_files++] = (struct edit_file){.name = name};
    }
}

void edit_close(struct edit *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->tensors[i].bytes);
    for (size_t i = 0; i < e->n_files; i++)
        free(e->files[i].text);
    free(e->tensors);
    free(e->touched);
    free((char *)(uintptr_t)e->dir);
    checkpoint_close(e->ckpt);
    arena_fini(&e->arena);
}

/* ---- tensors ---- */

static struct edit_tensor *find(struct edit *e, const char *name)
{
    for (size_t i = 0; i < e->n; i++)
        if (strcmp(e->tensors[i].info.name, name) == 0)
            return &e->tensors[i];
    fail_msg("%s: no tensor %s", e->dir, name);
    return NULL;
}

struct edit_tensor *edit_get(struct edit *e, const char *fmt, ...)
{
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return find(e, name);
}

unsigned char *edit_bytes(struct edit *e, struct edit_tensor *t)
{
    e->touched[t->file] = 1;
    if (t->bytes)
        return t->bytes;
    t->bytes = malloc((size_t)t->info.bytes + 1);
    assert_non_null(t->bytes);
    must(checkpoint_read(e->ckpt, &e->ckpt->tensors[t->original], 0, t->bytes,
                         (size_t)t->info.bytes, &err));
    return t->bytes;
}

void edit_remove(struct edit *e, const char *name)
{
    struct edit_tensor *t = find(e, name);
    e->touched[t->file] = 1;
    free(t->bytes);
    memmove(t, t + 1, (size_t)(e->tensors + e->n - t - 1) * sizeof *t);
    e->n--;
}

void edit_rename(struct edit *e, const char *from, const char *to)
{
    struct edit_tensor *t = find(e, from);
    e->touched[t->file] = 1;
    t->info.name = arena_strndup(&e->arena, to, strlen(to), &err);
    assert_non_null(t->info.name);
}

void edit_set(struct edit *e, struct edit_tensor *t, enum dtype dtype, int n_dims,
              const uint64_t *shape, const void *bytes)
{
    e->touched[t->file] = 1;
    free(t->bytes);
    t->info.dtype = (uint8_t)dtype;
    t->info.n_dims = (uint8_t)n_dims;
    for (int i = 0; i < n_dims; i++)
        t->info.shape[i] = shape[i];
    assert_int_equal(tensor_bytes(dtype, t->info.shape, n_dims, &t->info.bytes), 0);
    t->bytes = malloc((size_t)t->info.bytes + 1);
    assert_non_null(t->bytes);
    memcpy(t->bytes, bytes, (size_t)t->info.bytes);
}

void edit_add(struct edit *e, const char *beside, const char *name, enum dtype dtype, int n_dims,
              const uint64_t *shape, const void *bytes)
{
    const uint32_t file = find(e, beside)->file;
    must(prep_grow(&e->tensors, &e->cap, e->n, sizeof *e->tensors, &err));
    struct edit_tensor *t = &e->tensors[e->n++];
    *t = (struct edit_tensor){.file = file};
    t->info.name = arena_strndup(&e->arena, name, strlen(name), &err);
    edit_set(e, t, dtype, n_dims, shape, bytes);
}

/* ---- files ---- */

static struct edit_file *file_of(struct edit *e, const char *name)
{
    for (size_t i = 0; i < e->n_files; i++)
        if (strcmp(e->files[i].name, name) == 0)
            return &e->files[i];
    fail_msg("%s: no file %s", e->dir, name);
    return NULL;
}

const char *edit_text(struct edit *e, const char *name)
{
    struct edit_file *f = file_of(e, name);
    if (!f->text) {
        struct test_bytes b = test_read(test_path("%s/%s", e->dir, name));
        f->text = (char *)b.p;
        f->n = b.n;
    }
    return f->text;
}

void edit_set_text(struct edit *e, const char *name, const char *text)
{
    struct edit_file *f = file_of(e, name);
    char *copy = strdup(text);
    assert_non_null(copy);
    free(f->text);
    f->text = copy;
    f->n = strlen(copy);
}

void edit_drop_file(struct edit *e, const char *name)
{
    file_of(e, name)->removed = 1;
}

void edit_replace(struct edit *e, const char *name, const char *from, const char *to)
{
    const char *text = edit_text(e, name), *at = strstr(text, from);
    if (!at)
        fail_msg("%s: no \"%s\" to replace", name, from);
    char *out = calloc(1, strlen(text) * (strlen(to) + 1) + 1), *p = out;
    assert_non_null(out);
    for (; at; at = strstr(text, from)) {
        p = mempcpy(p, text, (size_t)(at - text));
        p = stpcpy(p, to);
        text = at + strlen(from);
    }
    stpcpy(p, text);
    edit_set_text(e, name, out);
    free(out);
}

/* ---- writing ---- */

static void write_shard(struct edit *e, uint32_t file, const char *path)
{
    struct tensor_info *list = calloc(e->n + 1, sizeof *list);
    uint32_t *from = calloc(e->n + 1, sizeof *from);
    struct metadata_pair format = {"format", "pt"};
    struct span header;
    size_t n = 0, bytes = 0;
    assert_non_null(list);
    assert_non_null(from);
    for (size_t i = 0; i < e->n; i++) {
        if (e->tensors[i].file != file)
            continue;
        from[n] = (uint32_t)i;
        list[n++] = e->tensors[i].info;
        bytes += (size_t)e->tensors[i].info.bytes;
    }
    must(safetensors_layout(list, n, &format, 1, &e->arena, &header, &err));
    unsigned char *out = malloc(header.n + bytes);
    assert_non_null(out);
    memcpy(out, header.p, header.n);
    for (size_t i = 0; i < n; i++)
        memcpy(out + list[i].offset, edit_bytes(e, &e->tensors[from[i]]), (size_t)list[i].bytes);
    test_write(path, out, header.n + bytes);
    free(out);
    free(from);
    free(list);
}

static void write_index(struct edit *e, const char *path)
{
    struct json_out o;
    struct span text;
    uint64_t total = 0;
    for (size_t i = 0; i < e->n; i++)
        total += e->tensors[i].info.bytes;
    json_out_init(&o, 2);
    json_out_open(&o, '{');
    json_out_key(&o, "metadata");
    json_out_open(&o, '{');
    json_out_key(&o, "total_size");
    json_out_u64(&o, total);
    json_out_close(&o);
    json_out_key(&o, "weight_map");
    json_out_open(&o, '{');
    for (size_t i = 0; i < e->n; i++) {
        json_out_key(&o, e->tensors[i].info.name);
        json_out_string(&o, e->ckpt->files[e->tensors[i].file].name);
    }
    if (e->extra_entry) {
        json_out_key(&o, e->extra_entry);
        json_out_string(&o, e->ckpt->files[0].name);
    }
    json_out_close(&o);
    json_out_close(&o);
    must(json_out_finish(&o, &text, &err));
    test_write(path, text.p, text.n);
    json_out_free(&o);
}

static int is_used(const struct edit *e, uint32_t file)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->tensors[i].file == file)
            return 1;
    return 0;
}

const char *edit_write(struct edit *e)
{
    const char *dir = test_temp_dir();
    for (uint32_t s = 0; s < e->ckpt->n_shards; s++) {
        const char *name = e->ckpt->files[s].name, *path = test_path("%s/%s", dir, name);
        if (e->touched[s] && is_used(e, s))
            write_shard(e, s, path);
        else if (!e->touched[s])
            assert_int_equal(symlink(test_path("%s/%s", e->dir, name), path), 0);
    }
    for (size_t i = 0; i < e->n_files; i++) {
        const struct edit_file *f = &e->files[i];
        const char *path = test_path("%s/%s", dir, f->name);
        if (f->text && !f->removed)
            test_write(path, f->text, f->n);
        else if (!f->removed)
            assert_int_equal(symlink(test_path("%s/%s", e->dir, f->name), path), 0);
    }
    if (!e->ckpt->single_file)
        write_index(e, test_path("%s/%s", dir, HF_INDEX_NAME));
    return dir;
}
