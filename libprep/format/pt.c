/* SPDX-License-Identifier: MIT */
/*
 *   P/data.pkl      pickle, protocol 2: the tree, tensors as views into storages
 *   P/data/<key>    the bytes of one storage
 *   P/byteorder     "little" (old writers leave it out)
 *   P/version, P/.format_version, P/.storage_alignment, P/.data/serialization_id   not needed
 *
 * The prefix P is the stem of the file or "archive"; whatever it is, all members share it.
 */
#include "libprep/format/pt.h"

#include <string.h>

#include "libprep/format/pt_pickle.h"

const char *pt_type_name(const struct pt_value *v)
{
    static const char *const names[] = {
        [PT_NONE] = "None",     [PT_BOOL] = "bool",       [PT_INT] = "integer",
        [PT_FLOAT] = "float",   [PT_STRING] = "string",   [PT_TUPLE] = "tuple",
        [PT_LIST] = "list",     [PT_DICT] = "dictionary", [PT_OBJECT] = "object",
        [PT_TENSOR] = "tensor", [PT_GLOBAL] = "global",   [PT_STORAGE] = "storage"};
    return names[v->type];
}

int pt_string_is(const struct pt_value *v, const char *s)
{
    return v->type == PT_STRING && v->s.n == strlen(s) && memcmp(v->s.p, s, v->s.n) == 0;
}

const struct pt_value *pt_get(const struct pt_value *v, const char *key)
{
    if (v->type != PT_DICT && v->type != PT_OBJECT)
        return NULL;
    for (uint32_t i = 0; i < v->n; i += 2) {
        if (pt_string_is(v->items[i], key))
            return v->items[i + 1];
    }
    return NULL;
}

/* The name of the one member that ends in "/data.pkl" gives the prefix of all. */
static int find_pickle(struct pt *pt, const struct zip_member **pickle, struct prep_error *err)
{
    static const char tail[] = "/data.pkl";
    *pickle = NULL;
    for (size_t i = 0; i < pt->zip.n_members; i++) {
        const struct zip_member *m = &pt->zip.members[i];
        size_t n = strlen(m->name);
        if (n < sizeof tail || strcmp(m->name + n + 1 - sizeof tail, tail) != 0)
            continue;
        if (*pickle)
            return prep_fail_tag(err, PREP_EDATA, "OBS_ZIP_CORRUPT",
                                 "%s: holds both %s and %s, want one pickle", pt->path,
                                 (*pickle)->name, m->name);
        *pickle = m;
    }
    if (!*pickle)
        return prep_fail_tag(err, PREP_EDATA, "OBS_NOT_PT",
                             "%s: is a ZIP archive without a member NAME/data.pkl", pt->path);
    pt->prefix = arena_strndup(&pt->arena, (*pickle)->name,
                               strlen((*pickle)->name) - strlen("data.pkl"), err);
    return pt->prefix ? 0 : -1;
}

static int check_members(const struct pt *pt, struct prep_error *err)
{
    size_t n = strlen(pt->prefix);
    for (size_t i = 0; i < pt->zip.n_members; i++) {
        const struct zip_member *m = &pt->zip.members[i];
        if (strncmp(m->name, pt->prefix, n) != 0)
            return prep_fail_tag(err, PREP_EDATA, "OBS_ZIP_CORRUPT",
                                 "%s: member %s is outside of %s", pt->path, m->name, pt->prefix);
        if (zip_verify(&pt->zip, m, err))
            return -1;
    }
    return 0;
}

static int check_byteorder(struct pt *pt, struct prep_error *err)
{
    const char *name = arena_printf(&pt->arena, err, "%sbyteorder", pt->prefix);
    if (!name)
        return -1;
    const struct zip_member *m = zip_find(&pt->zip, name);
    if (!m || (m->bytes.n == 6 && memcmp(m->bytes.p, "little", 6) == 0))
        return 0;
    return prep_fail_tag(err, PREP_EDATA, "OBS_BYTEORDER", "%s: %s says \"%.*s\", want \"little\"",
                         pt->path, name, (int)(m->bytes.n < 20 ? m->bytes.n : 20),
                         (const char *)m->bytes.p);
}

int pt_read(struct pt *pt, struct span file, const char *path, struct prep_error *err)
{
    /* PROTO 2, then torch's magic number 0x1950a86a20f9469cfc6c as LONG1. */
    static const unsigned char legacy[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c,
                                           0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    const struct zip_member *pickle;
    *pt = (struct pt){.path = path};
    arena_init(&pt->arena, 0);
    if (file.n > PT_MAX_FILE_BYTES)
        return prep_fail_tag(err, PREP_EDATA, "OBS_PICKLE_LIMIT",
                             "%s: has %zu bytes, want at most %llu", path, file.n,
                             (unsigned long long)PT_MAX_FILE_BYTES);
    if (file.n >= sizeof legacy && memcmp(file.p, legacy, sizeof legacy) == 0)
        return prep_fail_tag(err, PREP_EDATA, "OBS_LEGACY_FORMAT",
                             "%s: was written by torch before 1.6; load it there and save it "
                             "again with a newer torch",
                             path);
    if (zip_open(&pt->zip, file, path, &pt->arena, err) || find_pickle(pt, &pickle, err) ||
        check_members(pt, err) || check_byteorder(pt, err))
        return -1;
    return pt_pickle_run(pt, pickle->bytes, err);
}

void pt_free(struct pt *pt)
{
    arena_fini(&pt->arena);
    *pt = (struct pt){0};
}
