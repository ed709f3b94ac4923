/* SPDX-License-Identifier: MIT */
#include "libprep/prune/recover.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/model/names.h"

/* The two tensors of a layer that tell its experts apart. */
struct router {
    const struct checkpoint_tensor *weight, *bias; /* bias may be NULL */
};

struct side {
    const struct checkpoint *ckpt;
    struct router *routers; /* [n_layers] */
};

/* The base's rows, sorted by hash. */
struct row {
    uint64_t hash;
    int id;
};

struct job {
    struct side pruned, base;
    int n_layers;
    struct arena scratch; /* per layer */
};

static int ambiguous(int layer, const char *what, int expert, struct prep_error *err)
{
    return prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS", "layer %d: expert %d %s", layer,
                         expert, what);
}

static int find_routers(struct side *s, int n_layers, struct arena *arena, struct prep_error *err)
{
    s->routers = arena_calloc(arena, (size_t)n_layers, sizeof *s->routers, err);
    if (!s->routers)
        return -1;
    for (size_t i = 0; i < s->ckpt->n_tensors; i++) {
        const struct checkpoint_tensor *t = &s->ckpt->tensors[i];
        struct name_parts p = name_parse(t->info.name, strlen(t->info.name));
        if (p.role != ROLE_ROUTER || p.layer < 0 || p.layer >= n_layers)
            continue;
        if (name_suffix_is(&p, "weight"))
            s->routers[p.layer].weight = t;
        else if (name_suffix_is(&p, "e_score_correction_bias"))
            s->routers[p.layer].bias = t;
    }
    return 0;
}

static unsigned char *read_tensor(struct job *j, const struct side *s,
                                  const struct checkpoint_tensor *t, struct prep_error *err)
{
    if (t->info.bytes > SIZE_MAX) {
        prep_fail(err, PREP_ENOMEM, "%s does not fit in memory", t->info.name);
        return NULL;
    }
    unsigned char *p = arena_alloc(&j->scratch, (size_t)t->info.bytes, err);
    if (!p || checkpoint_read(s->ckpt, t, 0, p, (size_t)t->info.bytes, err))
        return NULL;
    return p;
}

/* Bytes of one row, or 0 when the two tensors have no rows that could be equal. */
static size_t common_row_bytes(const struct checkpoint_tensor *a, const struct checkpoint_tensor *b)
{
    const struct tensor_info *x = &a->info, *y = &b->info;
    if (x->dtype != y->dtype || x->n_dims < 1 || x->n_dims != y->n_dims || x->shape[0] == 0 ||
        y->shape[0] == 0 || x->shape[0] > CONFIG_MAX_EXPERTS || y->shape[0] > CONFIG_MAX_EXPERTS ||
        x->bytes % x->shape[0] != 0)
        return 0;
    for (int i = 1; i < x->n_dims; i++)
        if (x->shape[i] != y->shape[i])
            return 0;
    return (size_t)(x->bytes / x->shape[0]);
}

static int by_hash(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static struct row *hash_rows(struct job *j, const unsigned char *rows, int n, size_t bytes,
                             struct prep_error *err)
{
    struct row *table = arena_calloc(&j->scratch, (size_t)n, sizeof *table, err);
    for (int i = 0; table && i < n; i++)
        table[i] = (struct row){hash64(rows + (size_t)i * bytes, bytes), i};
    if (table)
        qsort(table, (size_t)n, sizeof *table, by_hash);
    return table;
}

/* Rows of the base that equal this one: how many, and the first. */
static int find_row(const struct row *table, int n, const unsigned char *base,
                    const unsigned char *row, size_t bytes, int *first)
{
    uint64_t hash = hash64(row, bytes);
    int low = 0, high = n, found = 0;
    while (low < high) {
        int mid = low + (high - low) / 2;
        if (table[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < n && table[low].hash == hash; low++) {
        if (memcmp(base + (size_t)table[low].id * bytes, row, bytes) != 0)
            continue;
        if (found++ == 0)
            *first = table[low].id;
    }
    return found;
}

static int match_rows(struct job *j, int layer, struct keep_layer *k, struct prep_error *err)
{
    const struct checkpoint_tensor *p = j->pruned.routers[layer].weight;
    const struct checkpoint_tensor *b = j->base.routers[layer].weight;
    size_t bytes = common_row_bytes(p, b);
    if (bytes == 0)
        return prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS",
                             "layer %d: the routers have other dtypes or widths", layer);
    const unsigned char *rows = read_tensor(j, &j->pruned, p, err);
    const unsigned char *base = rows ? read_tensor(j, &j->base, b, err) : NULL;
    int n_base = (int)b->info.shape[0];
    const struct row *table = base ? hash_rows(j, base, n_base, bytes, err) : NULL;
    if (!table)
        return -1;
    for (int i = 0; i < k->n_kept; i++) {
        int id = -1;
        int n = find_row(table, n_base, base, rows + (size_t)i * bytes, bytes, &id);
        if (n != 1)
            return ambiguous(layer,
                             n ? "has a router row that the base has several times"
                               : "has a router row that the base has not",
                             i, err);
        if (i && id <= k->kept_source[i - 1])
            return ambiguous(layer, "stands out of the base's order", i, err);
        k->kept_source[i] = id;
    }
    return 0;
}

static int match_bias(struct job *j, int layer, const struct keep_layer *k, struct prep_error *err)
{
    const struct checkpoint_tensor *p = j->pruned.routers[layer].bias;
    const struct checkpoint_tensor *b = j->base.routers[layer].bias;
    if (!p && !b)
        return 0;
    size_t bytes = p && b ? common_row_bytes(p, b) : 0;
    if (bytes == 0 || p->info.shape[0] != (uint64_t)k->n_kept ||
        b->info.shape[0] != (uint64_t)k->n_parent)
        return prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS",
                             "layer %d: the correction biases do not fit each other", layer);
    const unsigned char *rows = read_tensor(j, &j->pruned, p, err);
    const unsigned char *base = rows ? read_tensor(j, &j->base, b, err) : NULL;
    if (!base)
        return -1;
    for (int i = 0; i < k->n_kept; i++)
        if (memcmp(rows + (size_t)i * bytes, base + (size_t)k->kept_source[i] * bytes, bytes) != 0)
            return ambiguous(layer, "has the router row of a base expert and not its bias", i, err);
    return 0;
}

static int recover_layer(struct job *j, struct keep_map *map, int layer, struct prep_error *err)
{
    struct keep_layer *k = &map->layers[map->n_layers];
    const struct checkpoint_tensor *p = j->pruned.routers[layer].weight;
    const struct checkpoint_tensor *b = j->base.routers[layer].weight;
    if (!p && !b)
        return 0;
    if (!p || !b) {
        if (layer >= map->num_hidden_layers)
            return 0; /* an MTP layer that one of them has not */
        return prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS",
                             "layer %d: only %s has a router", layer,
                             p ? "the pruned checkpoint" : "the base");
    }
    if (common_row_bytes(p, b) == 0 || p->info.shape[0] > b->info.shape[0])
        return prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS",
                             "layer %d: the router cannot be cut from the base's", layer);
    *k = (struct keep_layer){.layer = layer,
                             .n_parent = (int)b->info.shape[0],
                             .n_kept = (int)p->info.shape[0],
                             .origin = "explicit"};
    if (k->n_kept == k->n_parent)
        k->origin = "identity";
    k->kept_source = arena_calloc(&map->arena, (size_t)k->n_kept, sizeof *k->kept_source, err);
    k->kept_parent = k->kept_source;
    if (!k->kept_source || match_rows(j, layer, k, err) || match_bias(j, layer, k, err))
        return -1;
    map->n_layers++;
    return 0;
}

static const char *hex_of(struct span text, struct arena *arena, struct prep_error *err)
{
    char hex[SHA256_HEX];
    sha256_hex(text.p, text.n, hex);
    return arena_strndup(arena, hex, SHA256_HEX - 1, err);
}

static int describe(struct keep_map *map, const struct config *pruned, const struct config *base,
                    const struct checkpoint *base_ckpt, struct prep_error *err)
{
    map->full = 1;
    map->base_n_routed_experts = base->n_routed_experts;
    map->n_routed_experts = pruned->n_routed_experts;
    map->num_hidden_layers = pruned->num_hidden_layers;
    map->num_nextn_predict_layers = pruned->num_nextn_predict_layers;
    map->base_config_sha256 = hex_of(base->text, &map->arena, err);
    if (!map->base_config_sha256)
        return -1;
    if (!base_ckpt->single_file) {
        map->base_index_sha256 = hex_of(base_ckpt->index_text, &map->arena, err);
        if (!map->base_index_sha256)
            return -1;
    }
    map->passes = arena_calloc(&map->arena, 1, sizeof *map->passes, err);
    if (!map->passes)
        return -1;
    map->n_passes = 1;
    map->passes[0] = (struct keep_pass){
        .from = base->n_routed_experts,
        .to = pruned->n_routed_experts,
        .metric = "unknown",
        .pool = "unknown",
        .source = "router rows",
        .gate_semantics = "unknown",
        .protect = "unknown",
        .tool_version = PREP_VERSION,
    };
    return 0;
}

int recover_keep_map(struct keep_map *map, const struct checkpoint *pruned,
                     const struct config *pruned_config, const struct checkpoint *base,
                     const struct config *base_config, struct prep_error *err)
{
    struct job j = {.pruned = {.ckpt = pruned}, .base = {.ckpt = base}};
    int rc = -1;
    *map = (struct keep_map){0};
    arena_init(&map->arena, 0);
    arena_init(&j.scratch, 0);
    j.n_layers = pruned_config->n_layers;
    if (pruned_config->num_hidden_layers != base_config->num_hidden_layers ||
        pruned_config->hidden_size != base_config->hidden_size) {
        prep_fail_tag(err, PREP_EDATA, "PLAN_RECOVER_AMBIGUOUS",
                      "the base has %d layers of width %lld, the checkpoint %d of %lld: not the "
                      "same model",
                      base_config->num_hidden_layers, (long long)base_config->hidden_size,
                      pruned_config->num_hidden_layers, (long long)pruned_config->hidden_size);
        goto out;
    }
    map->layers = arena_calloc(&map->arena, (size_t)j.n_layers, sizeof *map->layers, err);
    if (!map->layers || describe(map, pruned_config, base_config, base, err) ||
        find_routers(&j.pruned, j.n_layers, &map->arena, err) ||
        find_routers(&j.base, j.n_layers, &map->arena, err))
        goto out;
    for (int layer = 0; layer < j.n_layers; layer++) {
        arena_reset(&j.scratch);
        if (recover_layer(&j, map, layer, err))
            goto out;
    }
    rc = 0;
out:
    arena_fini(&j.scratch);
    if (rc)
        keep_map_free(map);
    return rc;
}
