/* SPDX-License-Identifier: MIT */
#include "libprep/quant/importance.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *quant_ids_name(const struct quant_ids *ids, const struct linear *l, struct arena *arena,
                           struct prep_error *err)
{
    if (!ids->ids || l->role != ROLE_EXPERT || l->layer >= ids->n_layers || !ids->ids[l->layer])
        return l->name;
    struct name_parts parts = name_parse(l->name, strlen(l->name));
    return name_with_expert(arena, l->name, &parts, ids->ids[l->layer][l->expert], err);
}

static const char *metadata(const struct safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->n_metadata; i++)
        if (strcmp(st->metadata[i].key, key) == 0)
            return st->metadata[i].value;
    return "";
}

static int check_metadata(struct importance *p, const char *path, struct prep_error *err)
{
    const char *format = metadata(&p->st, "format"), *version = metadata(&p->st, "version");
    const char *experts = metadata(&p->st, "n_routed_experts");
    if (strcmp(format, "reap-importance") != 0 || strcmp(version, "1") != 0)
        return prep_fail_tag(err, PREP_EDATA, "IMPORTANCE",
                             "%s: metadata has format \"%s\" version \"%s\", want "
                             "\"reap-importance\" version \"1\"",
                             path, format, version);
    char *end;
    long n = strtol(experts, &end, 10);
    if (end == experts || *end || n < 1 || n > 65536)
        return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                             "%s: metadata has n_routed_experts \"%s\", want a count", path,
                             experts);
    p->n_routed_experts = (int)n;
    return 0;
}

static int list_names(struct importance *p, struct prep_error *err)
{
    if (name_table_init(&p->names, p->st.n_tensors, err))
        return -1;
    for (size_t i = 0; i < p->st.n_tensors; i++) {
        const char *name = p->st.tensors[i].name;
        uint32_t old;
        if (name_table_add(&p->names, name, strlen(name), (uint32_t)i, &old, err))
            return -1;
    }
    return 0;
}

int importance_open(struct importance *p, const struct io *io, const char *path,
                    struct prep_error *err)
{
    struct io_stat st;
    int fd = -1;
    *p = (struct importance){0};
    arena_init(&p->arena, 0);
    int rc = io_open_read(io, path, &fd, &st, err) ||
             safetensors_read(&p->st, io, fd, st.size, path, &p->arena, err) ||
             check_metadata(p, path, err) || list_names(p, err);
    io_close_read(io, fd);
    char *copy = rc ? NULL : arena_strndup(&p->arena, path, strlen(path), err);
    if (!copy) {
        importance_close(p);
        return -1;
    }
    const char *slash = strrchr(copy, '/');
    p->file = (struct source_file){.name = slash ? slash + 1 : copy,
                                   .path = copy,
                                   .bytes = st.size,
                                   .dev = st.dev,
                                   .ino = st.ino,
                                   .mtime_ns = st.mtime_ns,
                                   .header_hi = p->st.header_hash.hi,
                                   .header_lo = p->st.header_hash.lo};
    p->source = (struct checkpoint){.io = io, .files = &p->file, .n_files = 1};
    return 0;
}

void importance_close(struct importance *p)
{
    name_table_free(&p->names);
    arena_fini(&p->arena);
    *p = (struct importance){0};
}

int importance_find(const struct importance *p, const struct linear *l,
                    const struct tensor_info **t, struct arena *arena, struct prep_error *err)
{
    const char *module = quant_ids_name(&p->ids, l, arena, err);
    const char *name = module ? arena_printf(arena, err, "%s.importance", module) : NULL;
    if (!name)
        return -1;
    uint32_t i = name_table_get(&p->names, name, strlen(name));
    *t = i == NAME_NONE ? NULL : &p->st.tensors[i];
    if (*t && ((*t)->dtype != DTYPE_F32 || (*t)->n_dims != 1 || (*t)->shape[0] != l->in))
        return prep_fail_tag(err, PREP_EDATA, "IMPORTANCE",
                             "%s: %s has type %s and %" PRIu64 " bytes, want F32 [%" PRIu64 "]",
                             p->file.path, name, dtype_name((enum dtype)(*t)->dtype), (*t)->bytes,
                             l->in);
    return 0;
}
