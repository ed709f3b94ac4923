/* SPDX-License-Identifier: MIT */
#include "libprep/format/amax.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"

static const char amax_suffix[] = ".amax_in";
static const char tokens_suffix[] = ".tokens";

void amax_free(struct amax *a)
{
    name_table_free(&a->names);
    arena_fini(&a->arena);
    *a = (struct amax){0};
}

static int by_module(const void *a, const void *b)
{
    const struct amax_entry *x = a, *y = b;
    return strcmp(x->module, y->module);
}

static int by_key(const void *a, const void *b)
{
    const struct metadata_pair *x = a, *y = b;
    return strcmp(x->key, y->key);
}

const struct amax_entry *amax_find(const struct amax *a, const char *module)
{
    uint32_t i = a->n ? name_table_get(&a->names, module, strlen(module)) : NAME_NONE;
    return i == NAME_NONE ? NULL : &a->entries[i];
}

const char *amax_metadata(const struct amax *a, const char *key)
{
    for (size_t i = 0; i < a->n_metadata; i++)
        if (strcmp(a->metadata[i].key, key) == 0)
            return a->metadata[i].value;
    return NULL;
}

/* Sorted entries, with a table over their names. */
static int finish(struct amax *a, struct prep_error *err)
{
    if (a->n)
        qsort(a->entries, a->n, sizeof *a->entries, by_module);
    if (a->n_metadata)
        qsort(a->metadata, a->n_metadata, sizeof *a->metadata, by_key);
    if (name_table_init(&a->names, a->n, err))
        return -1;
    for (size_t i = 0; i < a->n; i++) {
        uint32_t old;
        const char *name = a->entries[i].module;
        if (name_table_add(&a->names, name, strlen(name), (uint32_t)i, &old, err))
            return -1;
    }
    return 0;
}

/* ---- reading ---- */

/* Length of the module's name when the tensor's ends in the suffix, else 0. */
static size_t module_n(const char *name, const char *suffix)
{
    size_t n = strlen(name), s = strlen(suffix);
    return n > s && strcmp(name + n - s, suffix) == 0 ? n - s : 0;
}

static int read_metadata(struct amax *a, const struct safetensors *st, const char *path,
                         struct prep_error *err)
{
    a->metadata = arena_calloc(&a->arena, st->n_metadata, sizeof *a->metadata, err);
    if (!a->metadata)
        return -1;
    for (size_t i = 0; i < st->n_metadata; i++) {
        const struct metadata_pair *p = &st->metadata[i];
        struct metadata_pair *to = &a->metadata[a->n_metadata++];
        to->key = arena_strndup(&a->arena, p->key, strlen(p->key), err);
        to->value = arena_strndup(&a->arena, p->value, strlen(p->value), err);
        if (!to->key || !to->value)
            return -1;
    }
    const char *format = amax_metadata(a, "format"), *version = amax_metadata(a, "version");
    if (!format || strcmp(format, "reap-amax") != 0 || !version || strcmp(version, "1") != 0)
        return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT",
                             "%s: metadata has format \"%s\" version \"%s\", want \"reap-amax\" "
                             "version \"1\"",
                             path, format ? format : "", version ? version : "");
    const char *experts = amax_metadata(a, "n_routed_experts");
    char *end;
    long n = experts ? strtol(experts, &end, 10) : 0;
    if (experts && (end == experts || *end || n < 1 || n > 65536))
        return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                             "%s: metadata has n_routed_experts \"%s\", want a count", path,
                             experts);
    a->n_routed_experts = (int)n;
    return 0;
}

/* The one element of a tensor as bits. */
static int read_element(const struct tensor_info *t, enum dtype want, struct span file,
                        const char *path, uint64_t *bits, struct prep_error *err)
{
    size_t size = dtype_bits(want) / 8;
    if (t->dtype != want || t->n_dims != 1 || t->shape[0] != 1)
        return prep_fail_tag(
            err, PREP_EDATA, "OBS_SHAPE",
            "%s: %s: has type %s, %d dimensions and %" PRIu64 " bytes, want %s [1]", path, t->name,
            dtype_name((enum dtype)t->dtype), t->n_dims, t->bytes, dtype_name(want));
    const unsigned char *p = file.p + t->offset;
    *bits = size == 8 ? load_le64(p) : load_le32(p);
    return 0;
}

static int read_amax(struct amax_entry *e, const struct tensor_info *t, struct span file,
                     const char *path, struct prep_error *err)
{
    uint64_t bits;
    if (read_element(t, DTYPE_F32, file, path, &bits, err))
        return -1;
    uint32_t low = (uint32_t)bits;
    memcpy(&e->amax, &low, sizeof e->amax);
    if (!isfinite(e->amax))
        return prep_fail_tag(err, PREP_EDATA, "OBS_NONFINITE", "%s: %s is %g, want a finite number",
                             path, t->name, (double)e->amax);
    if (e->amax < 0)
        return prep_fail_tag(err, PREP_EDATA, "OBS_NEGATIVE", "%s: %s is %g, want a maximum >= 0",
                             path, t->name, (double)e->amax);
    return 0;
}

static int read_tokens(struct amax_entry *e, const struct tensor_info *t, struct span file,
                       const char *path, struct prep_error *err)
{
    uint64_t bits;
    if (read_element(t, DTYPE_I64, file, path, &bits, err))
        return -1;
    if (bits == 0 || bits > INT64_MAX)
        return prep_fail_tag(err, PREP_EDATA, "OBS_ZERO_TOKENS",
                             "%s: %s is %" PRId64 ", want 1 or more; a module that saw none is "
                             "left out",
                             path, t->name, (int64_t)bits);
    e->tokens = (int64_t)bits;
    return 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor_info *)a)->name, ((const struct tensor_info *)b)->name);
}

/* Sorted by name the two tensors of a module need not be neighbours: "m.x.tokens" lies between
 * "m.amax_in" and "m.tokens". */
static int read_entries(struct amax *a, struct safetensors *st, struct span file, const char *path,
                        struct prep_error *err)
{
    a->entries = arena_calloc(&a->arena, st->n_tensors, sizeof *a->entries, err);
    if (!a->entries)
        return -1;
    qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_name);
    size_t n_tokens = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const struct tensor_info *t = &st->tensors[i];
        size_t n = module_n(t->name, amax_suffix);
        if (!n && module_n(t->name, tokens_suffix)) {
            n_tokens++;
            continue;
        }
        if (!n)
            return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT",
                                 "%s: %s is neither MODULE.amax_in nor MODULE.tokens", path,
                                 t->name);
        struct amax_entry *e = &a->entries[a->n++];
        e->module = arena_strndup(&a->arena, t->name, n, err);
        struct tensor_info key = {
            .name = arena_printf(&a->arena, err, "%.*s%s", (int)n, t->name, tokens_suffix)};
        if (!e->module || !key.name)
            return -1;
        const struct tensor_info *other =
            bsearch(&key, st->tensors, st->n_tensors, sizeof *st->tensors, by_name);
        if (!other)
            return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT", "%s: %s has no %s", path, t->name,
                                 key.name);
        if (read_amax(e, t, file, path, err) || read_tokens(e, other, file, path, err))
            return -1;
    }
    if (n_tokens != a->n)
        return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT",
                             "%s: has %zu maxima and %zu token counts, want both for each module",
                             path, a->n, n_tokens);
    return 0;
}

/* A header of ours has 100 bytes per entry: no sane file passes this. */
#define MAX_FILE (UINT64_C(256) << 20)

static ssize_t span_pread(void *self, int fd, void *buf, size_t n, uint64_t offset)
{
    const struct span *file = self;
    (void)fd;
    if (offset > file->n)
        return -1;
    size_t left = file->n - (size_t)offset;
    n = n < left ? n : left;
    memcpy(buf, file->p + offset, n);
    return (ssize_t)n;
}

int amax_parse(struct amax *a, struct span file, const char *path, struct prep_error *err)
{
    struct safetensors st;
    struct arena tmp;
    *a = (struct amax){0};
    arena_init(&a->arena, 0);
    arena_init(&tmp, 0);
    const struct io memory = {.self = &file, .pread = span_pread};
    int rc = safetensors_read(&st, &memory, -1, file.n, path, &tmp, err) ||
             read_metadata(a, &st, path, err) || read_entries(a, &st, file, path, err) ||
             finish(a, err);
    arena_fini(&tmp);
    if (rc)
        amax_free(a);
    return rc ? -1 : 0;
}

int amax_read(struct amax *a, const struct io *io, const char *path, struct prep_error *err)
{
    struct span file;
    struct arena tmp;
    *a = (struct amax){0};
    arena_init(&tmp, 0);
    int rc = io_read_file(io, path, MAX_FILE, &tmp, &file, err) || amax_parse(a, file, path, err);
    arena_fini(&tmp);
    return rc ? -1 : 0;
}

/* ---- merging ---- */

/* How a key of the metadata comes together. */
enum merge_rule {
    MERGE_SET,  /* different values once each */
    MERGE_LIST, /* one value per run */
    MERGE_EQUAL,
    MERGE_ADD,
    MERGE_MOST
};

static enum merge_rule rule_of(const char *key)
{
    static const struct {
        const char *key;
        enum merge_rule rule;
    } rules[] = {
        {"architecture", MERGE_EQUAL},
        {"model", MERGE_EQUAL},
        {"id_space", MERGE_EQUAL},
        {"keep_map_sha256", MERGE_EQUAL},
        {"n_routed_experts", MERGE_EQUAL},
        {"num_experts_per_tok", MERGE_EQUAL},
        {"tokens", MERGE_ADD},
        {"sequences", MERGE_ADD},
        {"max_sequence", MERGE_MOST},
        {"run", MERGE_LIST},
        {"text_sha256", MERGE_LIST},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(key, rules[i].key) == 0)
            return rules[i].rule;
    return MERGE_SET;
}

static int check_equal(const struct amax *parts, const char *const *paths, size_t n,
                       int mix_semantics, struct prep_error *err)
{
    static const char *const keys[] = {
        "n_routed_experts", "num_experts_per_tok", "architecture",  "model",
        "id_space",         "keep_map_sha256",     "gate_semantics"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *want = amax_metadata(&parts[0], keys[k]);
        int semantics = strcmp(keys[k], "gate_semantics") == 0;
        for (size_t i = 1; i < n; i++) {
            const char *got = amax_metadata(&parts[i], keys[k]);
            if (strcmp(want ? want : "", got ? got : "") == 0 || (semantics && mix_semantics))
                continue;
            return prep_fail_tag(err, PREP_EDATA,
                                 semantics ? "OBS_SEMANTICS_MIX"
                                 : k < 2   ? "OBS_EXPERT_COUNT"
                                           : "OBS_SPACE_MIX",
                                 "%s: %s is \"%s\", in %s it is \"%s\"", paths[i], keys[k],
                                 got ? got : "", paths[0], want ? want : "");
        }
    }
    return 0;
}

static int parse_count(const char *text, uint64_t *v)
{
    *v = 0;
    for (const char *p = text; *p; p++)
        if (*p < '0' || *p > '9' || prep_mul(v, *v, 10) || prep_add(v, *v, (uint64_t)(*p - '0')))
            return -1;
    return *text ? 0 : -1;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "a+c" and "b": "a+b+c". */
static int join(struct amax *out, const char *const *values, size_t n, int once,
                const char **joined, struct prep_error *err)
{
    size_t words = 0, bytes = 1;
    for (size_t i = 0; i < n; i++) {
        bytes += strlen(values[i]) + 1;
        for (const char *p = values[i]; p; p = strchr(p, '+'), p = p ? p + 1 : NULL)
            words++;
    }
    const char **list = arena_calloc(&out->arena, words, sizeof *list, err);
    char *text = arena_calloc(&out->arena, bytes, 1, err);
    if (!list || !text)
        return -1;
    words = 0;
    for (size_t i = 0; i < n; i++) {
        char *copy = arena_strndup(&out->arena, values[i], strlen(values[i]), err), *save;
        if (!copy)
            return -1;
        for (char *w = strtok_r(copy, "+", &save); w; w = strtok_r(NULL, "+", &save))
            list[words++] = w;
    }
    qsort(list, words, sizeof *list, by_text);
    for (size_t i = 0, at = 0; i < words; i++) {
        size_t len = strlen(list[i]);
        if (i && once && strcmp(list[i], list[i - 1]) == 0)
            continue;
        if (at)
            text[at++] = '+';
        memcpy(text + at, list[i], len);
        at += len;
    }
    *joined = text;
    return 0;
}

static int merge_key(struct amax *out, const struct amax *parts, const char *const *paths, size_t n,
                     const char *key, struct prep_error *err)
{
    enum merge_rule rule = rule_of(key);
    const char **values = arena_calloc(&out->arena, n, sizeof *values, err);
    struct metadata_pair *to = &out->metadata[out->n_metadata++];
    uint64_t total = 0;
    size_t have = 0;
    if (!values)
        return -1;
    for (size_t i = 0; i < n; i++) {
        const char *v = amax_metadata(&parts[i], key);
        uint64_t count;
        if (!v)
            continue;
        values[have++] = v;
        if (rule != MERGE_ADD && rule != MERGE_MOST)
            continue;
        if (parse_count(v, &count) || (rule == MERGE_ADD && prep_add(&total, total, count)))
            return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT",
                                 "%s: metadata has %s \"%s\", want a count", paths[i], key, v);
        if (rule == MERGE_MOST && count > total)
            total = count;
    }
    to->key = key;
    if (rule == MERGE_SET || rule == MERGE_LIST)
        return join(out, values, have, rule == MERGE_SET, &to->value, err);
    if (rule == MERGE_EQUAL) {
        to->value = values[0];
        return 0;
    }
    to->value = arena_printf(&out->arena, err, "%" PRIu64, total);
    return to->value ? 0 : -1;
}

static int merge_metadata(struct amax *out, const struct amax *parts, const char *const *paths,
                          size_t n, struct prep_error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most += parts[i].n_metadata;
    out->metadata = arena_calloc(&out->arena, most, sizeof *out->metadata, err);
    if (!out->metadata)
        return -1;
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < parts[i].n_metadata; k++) {
            const char *given = parts[i].metadata[k].key;
            if (amax_metadata(out, given))
                continue;
            const char *key = arena_strndup(&out->arena, given, strlen(given), err);
            if (!key || merge_key(out, parts, paths, n, key, err))
                return -1;
        }
    }
    /* The values may still lie in the parts. */
    for (size_t k = 0; k < out->n_metadata; k++) {
        const char *v = out->metadata[k].value;
        out->metadata[k].value = arena_strndup(&out->arena, v, strlen(v), err);
        if (!out->metadata[k].value)
            return -1;
    }
    out->n_routed_experts = parts[0].n_routed_experts;
    return 0;
}

/* Entries of all parts, sorted, fall together by name. */
static int merge_entries(struct amax *out, const struct amax *parts, size_t n,
                         struct prep_error *err)
{
    size_t total = 0, at = 0;
    for (size_t i = 0; i < n; i++)
        total += parts[i].n;
    struct amax_entry *all = arena_calloc(&out->arena, total, sizeof *all, err);
    if (!all)
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (parts[i].n)
            memcpy(all + at, parts[i].entries, parts[i].n * sizeof *all);
        at += parts[i].n;
    }
    qsort(all, total, sizeof *all, by_module);
    for (size_t i = 0; i < total; i++) {
        struct amax_entry *last = out->n ? &all[out->n - 1] : NULL;
        if (!last || strcmp(last->module, all[i].module) != 0) {
            all[out->n] = all[i];
            all[out->n].module =
                arena_strndup(&out->arena, all[i].module, strlen(all[i].module), err);
            if (!all[out->n++].module)
                return -1;
            continue;
        }
        if (all[i].amax > last->amax)
            last->amax = all[i].amax;
        if (all[i].tokens > INT64_MAX - last->tokens)
            return prep_fail_tag(err, PREP_EDATA, "AMAX_FORMAT",
                                 "%s: the token counts add up to more than 2^63", last->module);
        last->tokens += all[i].tokens;
    }
    out->entries = all;
    return 0;
}

int amax_merge(struct amax *out, const struct amax *parts, const char *const *paths, size_t n,
               int mix_semantics, struct prep_error *err)
{
    *out = (struct amax){0};
    arena_init(&out->arena, 0);
    if (n == 0)
        return prep_fail(err, PREP_EBUG, "no activation maxima to merge");
    int rc = check_equal(parts, paths, n, mix_semantics, err) ||
             merge_metadata(out, parts, paths, n, err) || merge_entries(out, parts, n, err) ||
             finish(out, err);
    if (rc)
        amax_free(out);
    return rc ? -1 : 0;
}

/* ---- writing ---- */

int amax_write(const struct amax *a, struct arena *arena, struct span *out, struct prep_error *err)
{
    struct tensor_info *infos = arena_calloc(arena, 2 * a->n, sizeof *infos, err);
    struct span header;
    if (!infos)
        return -1;
    for (size_t i = 0; i < a->n; i++) {
        infos[i] = (struct tensor_info){.n_dims = 1, .shape = {1}, .dtype = DTYPE_I64, .bytes = 8};
        infos[a->n + i] =
            (struct tensor_info){.n_dims = 1, .shape = {1}, .dtype = DTYPE_F32, .bytes = 4};
        const char *module = a->entries[i].module;
        infos[i].name = arena_printf(arena, err, "%s%s", module, tokens_suffix);
        infos[a->n + i].name = arena_printf(arena, err, "%s%s", module, amax_suffix);
        if (!infos[i].name || !infos[a->n + i].name)
            return -1;
    }
    if (safetensors_layout(infos, 2 * a->n, a->metadata, a->n_metadata, arena, &header, err))
        return -1;
    unsigned char *p = arena_alloc(arena, header.n + 12 * a->n, err);
    if (!p)
        return -1;
    memcpy(p, header.p, header.n);
    for (size_t i = 0; i < a->n; i++) {
        uint32_t bits;
        memcpy(&bits, &a->entries[i].amax, sizeof bits);
        store_le64(p + header.n + 8 * i, (uint64_t)a->entries[i].tokens);
        store_le32(p + header.n + 8 * a->n + 4 * i, bits);
    }
    *out = (struct span){p, header.n + 12 * a->n};
    return 0;
}
