/* SPDX-License-Identifier: MIT */
#include "libprep/format/obs_build.h"

#include <stdlib.h>
#include <string.h>

#define AT(field) offsetof(struct obs_layer, field)

const struct obs_key obs_keys[OBS_N_KEYS] = {
    {"expert_frequency", OBS_I64, 0, 1, 1, AT(expert_frequency)},
    {"pairwise_expert_frequency", OBS_I64, 1, 0, 0, AT(pairwise_expert_frequency)},
    {"ean_sum", OBS_F64, 0, 1, 1, AT(ean_sum)},
    {"weighted_ean_sum", OBS_F64, 0, 1, 1, AT(weighted_ean_sum)},
    {"ean_mean", OBS_F32, 0, 0, 0, AT(ean_mean)},
    {"reap", OBS_F32, 0, 0, 0, AT(reap)},
    {"weighted_expert_frequency_sum", OBS_F64, 0, 1, 1, AT(weighted_expert_frequency_sum)},
    {"max_activations", OBS_F32, 0, 1, 0, AT(max_activations)},
    {"max_norm", OBS_F32, 0, 0, 0, AT(max_norm)},
    {"weighted_ean_sumsq", OBS_F64, 0, 0, 0, AT(weighted_ean_sumsq)},
};

void *obs_vector(const struct obs_layer *l, size_t key)
{
    void *p;
    memcpy(&p, (const char *)l + obs_keys[key].field, sizeof p);
    return p;
}

uint64_t obs_vector_n(const struct obs_layer *l, size_t key)
{
    uint64_t n = (uint64_t)l->n_experts;
    return obs_keys[key].square ? n * n : n;
}

struct obs_layer *obs_build_layer(struct obs_build *b, int layer)
{
    if (prep_grow(&b->layers, &b->cap_layers, b->n_layers, sizeof *b->layers, b->err))
        return NULL;
    struct obs_layer *l = &b->layers[b->n_layers++];
    *l = (struct obs_layer){.layer = layer};
    return l;
}

/* The first vector says how many experts the layer has, the others must agree. */
static int take_experts(struct obs_build *b, struct obs_layer *l, const char *metric, uint64_t n)
{
    if (n < 1 || n > OBS_MAX_EXPERTS)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: has %llu experts, want 1 to %d", b->path,
                       l->layer, metric, (unsigned long long)n, (int)OBS_MAX_EXPERTS);
    if (l->n_experts && n != (uint64_t)l->n_experts)
        return obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: has %llu experts, the layer has %d",
                       b->path, l->layer, metric, (unsigned long long)n, l->n_experts);
    l->n_experts = (int)n;
    return 0;
}

void *obs_build_vector(struct obs_build *b, struct obs_layer *l, size_t key, int n_dims,
                       const uint64_t *dims)
{
    const struct obs_key *k = &obs_keys[key];
    if (n_dims != 1 + k->square || (k->square && dims[0] != dims[1])) {
        obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: has %d dimensions, want %s", b->path, l->layer,
                k->name, n_dims, k->square ? "[experts, experts]" : "[experts]");
        return NULL;
    }
    if (take_experts(b, l, k->name, dims[0]))
        return NULL;
    size_t n = (size_t)obs_vector_n(l, key);
    void *p = arena_calloc(&b->run->arena, n, k->type == OBS_F32 ? 4 : 8, b->err);
    if (p)
        memcpy((char *)l + k->field, &p, sizeof p);
    return p;
}

double *obs_build_output(struct obs_build *b, struct obs_layer *l, const char *name, int n_dims,
                         const uint64_t *dims)
{
    uint64_t n;
    if (n_dims != 2 || dims[1] < 1 || dims[1] > INT32_MAX || prep_mul(&n, dims[0], dims[1])) {
        obs_bad(b, "OBS_SHAPE", "%s: layer %d: %s: has %d dimensions, want [experts, hidden]",
                b->path, l->layer, name, n_dims);
        return NULL;
    }
    if (take_experts(b, l, name, dims[0]))
        return NULL;
    l->routed_output = arena_calloc(&b->run->arena, (size_t)n, sizeof(double), b->err);
    l->routed_output_is_sum = strcmp(name, OBS_OUTPUT_SUM) == 0;
    l->hidden = (int64_t)dims[1];
    return l->routed_output;
}

int obs_parse_layer(const char *s, size_t n)
{
    int v = 0;
    if (n == 0 || n > 5 || (n > 1 && s[0] == '0'))
        return -1;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return -1;
        v = v * 10 + (s[i] - '0');
    }
    return v <= OBS_MAX_LAYER ? v : -1;
}

/* Decimal digits without sign, at most max. */
static int parse_number(struct obs_build *b, uint64_t *v, const char *key, const char *text,
                        uint64_t max)
{
    *v = 0;
    int ok = *text != 0;
    for (const char *s = text; ok && *s; s++) {
        ok = *s >= '0' && *s <= '9' && !prep_mul(v, *v, 10) &&
             !prep_add(v, *v, (uint64_t)(*s - '0')) && *v <= max;
    }
    return ok ? 0
              : obs_bad(b, "OBS_SHAPE", "%s: metadata %s is \"%s\", want a number up to %llu",
                        b->path, key, text, (unsigned long long)max);
}

static int take_count(struct obs_build *b, int *field, const char *key, const char *value)
{
    uint64_t v = 0;
    if (parse_number(b, &v, key, value, OBS_MAX_EXPERTS))
        return -1;
    *field = (int)v;
    return 0;
}

static int add_pair(struct obs_build *b, const char *key, const char *value)
{
    struct obs_run *run = b->run;
    if (run->n_metadata == b->cap_metadata) {
        size_t cap = b->cap_metadata ? b->cap_metadata * 2 : 32;
        struct obs_metadata *grown = arena_calloc(&run->arena, cap, sizeof *grown, b->err);
        if (!grown)
            return -1;
        if (run->n_metadata)
            memcpy(grown, run->metadata, run->n_metadata * sizeof *grown);
        run->metadata = grown;
        b->cap_metadata = cap;
    }
    run->metadata[run->n_metadata++] = (struct obs_metadata){key, value};
    return 0;
}

int obs_build_metadata(struct obs_build *b, const char *key, const char *value)
{
    struct obs_run *run = b->run;
    const struct {
        const char *key;
        const char **field;
    } texts[] = {
        {"run", &run->label},
        {"model", &run->model},
        {"gate_semantics", &run->gate_semantics},
        {"id_space", &run->id_space},
        {"keep_map_sha256", &run->keep_map_sha256},
        {"config_sha256", &run->config_sha256},
        {"index_sha256", &run->index_sha256},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (strcmp(key, texts[i].key) == 0)
            *texts[i].field = value;
    }
    if ((strcmp(key, "format") == 0 && strcmp(value, "reap-obs") != 0) ||
        (strcmp(key, "version") == 0 && strcmp(value, "1") != 0))
        return obs_bad(b, "OBS_SHAPE", "%s: metadata %s is \"%s\", want reap-obs, version 1",
                       b->path, key, value);
    if (strcmp(key, "id_space") == 0 && strcmp(value, "base") != 0 &&
        strcmp(value, "keep-map") != 0)
        return obs_bad(b, "OBS_SHAPE", "%s: metadata id_space is \"%s\", want base or keep-map",
                       b->path, value);
    if ((strcmp(key, "tokens") == 0 && parse_number(b, &run->tokens, key, value, INT64_MAX)) ||
        (strcmp(key, "n_routed_experts") == 0 &&
         take_count(b, &run->n_routed_experts, key, value)) ||
        (strcmp(key, "num_experts_per_tok") == 0 &&
         take_count(b, &run->num_experts_per_tok, key, value)))
        return -1;
    return add_pair(b, key, value);
}

/* A second gate rule's vectors were chosen: the file's own rule does not apply to them. */
int obs_build_native(struct obs_build *b)
{
    struct obs_run *run = b->run;
    for (size_t i = 0; i < b->n_layers; i++) {
        struct obs_layer *l = &b->layers[i];
        for (size_t k = 0; k < OBS_N_KEYS; k++) {
            if (*b->suffix && obs_keys[k].suffixed && !obs_vector(l, k))
                return obs_bad(b, "OBS_METRIC_MISSING", "%s: layer %d: no %s%s", b->path, l->layer,
                               obs_keys[k].name, b->suffix);
        }
        if (run->n_routed_experts && l->n_experts > run->n_routed_experts)
            return obs_bad(b, "OBS_EXPERT_COUNT",
                           "%s: layer %d: has %d experts, the metadata says %d", b->path, l->layer,
                           l->n_experts, run->n_routed_experts);
    }
    if (!*b->suffix)
        return 0;
    char *rule = arena_strndup(&run->arena, b->suffix + 1, strlen(b->suffix + 1), b->err);
    if (!rule)
        return -1;
    for (char *s = rule; *s; s++)
        *s = *s == '_' ? '-' : *s;
    run->gate_semantics = rule;
    return 0;
}
