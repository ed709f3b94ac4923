/* SPDX-License-Identifier: MIT */
#include "libprep/prune/stitch.h"

#include <string.h>

#include "libprep/prune/check.h"
#include "libprep/prune/edit_config.h"
#include "libprep/prune/renumber.h"
#include "libprep/quant/exclude.h"

struct job {
    struct stitched *s;
    const struct stitch_input *target, *source;
    const struct keep_map *map;
    const struct stitch_options *options;
    struct report *report;
    int first, n;                              /* MTP layers [first, first + n) */
    struct keep_layer *layers;                 /* [n] what the source keeps of each */
    struct renumber renumber;                  /* of the source */
    const char *prefix_target, *prefix_source; /* before "layers." */
};

void stitched_fini(struct stitched *s)
{
    prune_output_fini(&s->out);
    *s = (struct stitched){0};
}

static int check_same_model(const struct config *t, const struct config *s, struct prep_error *err)
{
    const struct {
        const char *key;
        int64_t target, source;
    } rows[] = {
        {"hidden_size", t->hidden_size, s->hidden_size},
        {"num_hidden_layers", t->num_hidden_layers, s->num_hidden_layers},
        {"vocab_size", t->vocab_size, s->vocab_size},
        {"moe_intermediate_size", t->moe_intermediate_size, s->moe_intermediate_size},
        {"n_shared_experts", t->n_shared_experts, s->n_shared_experts},
        {"num_attention_heads", t->num_attention_heads, s->num_attention_heads},
        {"q_lora_rank", t->q_lora_rank, s->q_lora_rank},
        {"kv_lora_rank", t->kv_lora_rank, s->kv_lora_rank},
        {"qk_nope_head_dim", t->qk_nope_head_dim, s->qk_nope_head_dim},
        {"qk_rope_head_dim", t->qk_rope_head_dim, s->qk_rope_head_dim},
        {"v_head_dim", t->v_head_dim, s->v_head_dim},
        {"index_n_heads", t->index_n_heads, s->index_n_heads},
        {"index_head_dim", t->index_head_dim, s->index_head_dim},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].target != rows[i].source)
            return prep_fail_tag(err, PREP_EDATA, "STITCH_MISMATCH",
                                 "%s is %lld in the checkpoint and %lld in the source: not the "
                                 "same model",
                                 rows[i].key, (long long)rows[i].target, (long long)rows[i].source);
    return 0;
}

static struct name_parts parts_of(const struct checkpoint *ckpt, size_t i)
{
    const char *name = ckpt->tensors[i].info.name;
    return name_parse(name, strlen(name));
}

/* What stands before "layers." in the names of a checkpoint; "" when it has no layers. */
static const char *prefix_of(const struct checkpoint *ckpt, struct arena *arena,
                             struct prep_error *err)
{
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const char *name = ckpt->tensors[i].info.name;
        struct name_parts p = parts_of(ckpt, i);
        if (p.layer >= 0 && p.role != ROLE_OTHER)
            return arena_strndup(arena, name, (size_t)(strstr(name, "layers.") - name), err);
    }
    return "";
}

static int check_target(const struct job *j, struct prep_error *err)
{
    const struct checkpoint *ckpt = j->target->ckpt;
    for (size_t i = 0; i < ckpt->n_tensors; i++)
        if (parts_of(ckpt, i).layer >= j->first)
            return prep_fail_tag(err, PREP_EDATA, "STITCH_PRESENT",
                                 "%s: the checkpoint has an MTP layer already; prune it with "
                                 "--mtp drop to replace it",
                                 ckpt->tensors[i].info.name);
    return 0;
}

static int is_plain(enum dtype t)
{
    return t == DTYPE_BF16 || t == DTYPE_F16 || t == DTYPE_F32;
}

static int check_source(const struct job *j, struct prep_error *err)
{
    const struct checkpoint *ckpt = j->source->ckpt;
    size_t found = 0;
    for (size_t i = 0; i < ckpt->n_tensors; i++) {
        const struct tensor_info *t = &ckpt->tensors[i].info;
        if (parts_of(ckpt, i).layer < j->first)
            continue;
        found++;
        if (!is_plain((enum dtype)t->dtype))
            return prep_fail_tag(err, PREP_EUNSUP, "STITCH_QUANTISED",
                                 "%s is %s: the source's MTP layer is quantized, want one in BF16",
                                 t->name, dtype_name((enum dtype)t->dtype));
    }
    if (j->n == 0 || found == 0)
        return prep_fail_tag(err, PREP_EDATA, "STITCH_NO_MTP",
                             "%s has no MTP layer (num_nextn_predict_layers is %d, %zu tensors)",
                             ckpt->dir, j->n, found);
    return 0;
}

/* The map's entry that stands for an MTP layer. */
static const struct keep_layer *find_entry(const struct job *j, int layer, struct prep_error *err)
{
    const struct keep_map *map = j->map;
    const struct keep_layer *own = keep_map_layer(map, layer), *proxy = NULL;
    if (own && !j->options->has_proxy)
        return own;
    if (j->options->has_proxy) {
        proxy = keep_map_layer(map, j->options->proxy);
        if (!proxy || proxy->layer >= j->first) {
            prep_fail(err, PREP_EUSAGE,
                      "the keep-map has no layer %d below the MTP layer to be "
                      "its proxy",
                      j->options->proxy);
            return NULL;
        }
        return proxy;
    }
    for (size_t i = 0; i < map->n_layers && map->layers[i].layer < j->first; i++)
        proxy = &map->layers[i];
    if (!proxy)
        prep_fail_tag(err, PREP_EDATA, "KEEP_MAP",
                      "the keep-map names no layer below the MTP layer %d", layer);
    return proxy;
}

static int check_counts(const struct job *j, const struct keep_layer *k, struct prep_error *err)
{
    const struct config *t = j->target->config, *s = j->source->config;
    int n_source = s->n_experts[k->layer], uniform = 1;
    for (int i = 0; i < t->num_hidden_layers; i++)
        uniform &= t->n_experts[i] == 0 || t->n_experts[i] == t->n_routed_experts;
    if (uniform ? k->n_kept != t->n_routed_experts : k->n_kept > t->n_routed_experts)
        return prep_fail_tag(err, PREP_EDATA, "STITCH_COUNT",
                             "the keep-map keeps %d experts of layer %d, the checkpoint has %d",
                             k->n_kept, k->layer, t->n_routed_experts);
    int n_base = j->map && j->map->full ? j->map->base_n_routed_experts : n_source;
    if (n_source != n_base)
        return prep_fail_tag(err, PREP_EDATA, "STITCH_COUNT",
                             "layer %d of the source has %d experts, the keep-map counts ids of a "
                             "base with %d",
                             k->layer, n_source, n_base);
    return 0;
}

static int choose_experts(struct job *j, struct prep_error *err)
{
    struct arena *arena = &j->s->out.arena;
    j->layers = arena_calloc(arena, (size_t)j->n, sizeof *j->layers, err);
    if (!j->layers)
        return -1;
    for (int i = 0; i < j->n; i++) {
        struct keep_layer *k = &j->layers[i];
        int layer = j->first + i;
        if (!j->map) { /* never pruned: every expert, and nothing to renumber */
            *k = (struct keep_layer){.layer = layer, .n_kept = j->source->config->n_experts[layer]};
        } else {
            const struct keep_layer *entry = find_entry(j, layer, err);
            if (!entry)
                return -1;
            *k = *entry;
            k->layer = layer;
            if (entry->layer != layer)
                k->origin = arena_printf(arena, err, "proxy:%d", entry->layer);
            if (entry->layer != layer && !k->origin)
                return -1;
        }
        if (check_counts(j, k, err))
            return -1;
    }
    return 0;
}

/* The renumbering of the source: base ids are its own. */
static int set_up_renumbering(struct job *j, struct prep_error *err)
{
    struct arena *arena = &j->s->out.arena;
    struct keep_map cut = {.n_layers = j->map ? (size_t)j->n : 0};
    cut.layers = arena_calloc(arena, cut.n_layers, sizeof *cut.layers, err);
    if (!cut.layers)
        return -1;
    for (size_t i = 0; i < cut.n_layers; i++) {
        cut.layers[i] = j->layers[i];
        cut.layers[i].kept_parent = j->layers[i].kept_source;
        cut.layers[i].n_parent = j->source->config->n_experts[j->layers[i].layer];
    }
    return renumber_init(&j->renumber, j->source->config, &cut, 0, err);
}

static int add_target(struct job *j, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    const struct checkpoint *ckpt = j->target->ckpt;
    for (uint32_t i = 0; i < ckpt->n_tensors; i++) {
        struct name_parts p = parts_of(ckpt, i);
        if (view_add(&out->view, 0, i, ckpt->tensors[i].info.name, NULL, 0, name_order(&p),
                     name_group(&p), err))
            return -1;
    }
    out->n_in = out->n_out = ckpt->n_tensors;
    return 0;
}

/* One tensor of the source's MTP layer under its name in the target. */
static int add_grafted(struct job *j, uint32_t i, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    const struct tensor_info *t = &j->source->ckpt->tensors[i].info;
    struct renumber_fate fate;
    if (renumber_tensor(&fate, &j->renumber, t, err))
        return -1;
    out->n_in++;
    if (fate.action == RENUMBER_DROP) {
        out->n_dropped++;
        return 0;
    }
    const char *name = t->name;
    size_t n_prefix = strlen(j->prefix_source);
    if (fate.action == RENUMBER_RENAME)
        name = name_with_expert(&out->arena, name, &fate.parts, fate.expert, err);
    if (name && strcmp(j->prefix_source, j->prefix_target) != 0 &&
        strncmp(name, j->prefix_source, n_prefix) == 0)
        name = arena_printf(&out->arena, err, "%s%s", j->prefix_target, name + n_prefix);
    if (!name)
        return -1;
    out->n_renamed += strcmp(name, t->name) != 0;
    const int *rows = fate.action == RENUMBER_GATHER ? fate.layer->kept : NULL;
    size_t n_rows = rows ? (size_t)fate.layer->n_kept : 0;
    out->n_gathered += rows != NULL;
    out->n_out++;
    struct name_parts p = name_parse(name, strlen(name));
    return view_add(&out->view, 1, i, name, rows, n_rows, name_order(&p), name_group(&p), err);
}

static int build_view(struct job *j, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    const struct checkpoint *source = j->source->ckpt;
    out->view.sources[0] = j->target->ckpt;
    out->view.sources[1] = source;
    out->view.n_sources = 2;
    j->prefix_target = prefix_of(j->target->ckpt, &out->arena, err);
    j->prefix_source = j->prefix_target ? prefix_of(source, &out->arena, err) : NULL;
    if (!j->prefix_source || add_target(j, err))
        return -1;
    for (uint32_t i = 0; i < source->n_tensors; i++) {
        int layer = parts_of(source, i).layer;
        if (layer >= j->first && layer < j->first + j->n && add_grafted(j, i, err))
            return -1;
    }
    return view_finish(&out->view, err);
}

static int count_experts(struct job *j, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    const struct config *t = j->target->config;
    out->n_routed_experts = t->n_routed_experts;
    out->num_nextn_predict_layers = j->n;
    out->n_layers = j->first + j->n;
    out->uniform = 1;
    out->n_experts = arena_calloc(&out->arena, (size_t)out->n_layers, sizeof *out->n_experts, err);
    if (!out->n_experts)
        return -1;
    for (int i = 0; i < out->n_layers; i++) {
        out->n_experts[i] = i < j->first ? t->n_experts[i] : j->layers[i - j->first].n_kept;
        out->uniform &= out->n_experts[i] == 0 || out->n_experts[i] == out->n_routed_experts;
    }
    return 0;
}

static int edit_main_config(struct job *j, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    const struct config *t = j->target->config;
    struct expert_counts counts = {
        .before = t->n_routed_experts,
        .after = t->n_routed_experts,
        .uniform = out->uniform,
        .n_experts = out->n_experts,
        .n_layers = out->n_layers,
        .mtp_before = t->num_nextn_predict_layers,
        .mtp_after = j->n,
    };
    struct json_patch p;
    json_patch_init(&p, &t->json, &out->arena);
    int rc = edit_expert_counts(&p, t->object, &counts, j->report, err);
    for (int i = 0; i < j->n && !rc; i++)
        rc = exclude_layer(&p, quantization_node(&t->json, 0), t->quant_method, j->prefix_target,
                           j->first + i, j->report, err);
    if (!rc)
        rc = prune_output_edit(out, "config.json", &p, err);
    json_patch_free(&p);
    return rc;
}

static int edit_sidecar(struct job *j, const char *name, struct prep_error *err)
{
    struct prune_output *out = &j->s->out;
    struct json doc = {0};
    struct json_patch p = {0};
    struct span text;
    int rc = -1;
    if (checkpoint_read_file(j->target->ckpt, name, &out->arena, &text, err) ||
        json_parse(&doc, (const char *)text.p, text.n, name, err))
        goto out;
    json_patch_init(&p, &doc, &out->arena);
    const char *method = j->target->config->quant_method;
    if (strcmp(name, "hf_quant_config.json") == 0)
        method = "hf_quant_config"; /* does not say its method, and needs not */
    for (int i = 0; i < j->n; i++)
        if (exclude_layer(&p, quantization_node(&doc, 1), method, j->prefix_target, j->first + i,
                          j->report, err))
            goto out;
    rc = prune_output_edit(out, name, &p, err);
out:
    json_patch_free(&p);
    json_free(&doc);
    return rc;
}

static int edit_files(struct job *j, struct prep_error *err)
{
    if (edit_main_config(j, err))
        return -1;
    for (size_t i = 0; quantization_files[i]; i++)
        if (checkpoint_file(j->target->ckpt, quantization_files[i]) >= 0 &&
            edit_sidecar(j, quantization_files[i], err))
            return -1;
    return prune_output_sidecars(&j->s->out, j->target->ckpt, err);
}

/* The map again, its entries of MTP layers replaced by what was done here. */
static int extend_map(struct job *j, struct prep_error *err)
{
    struct keep_map *map = &j->s->map;
    if (!j->map)
        return 0;
    *map = *j->map;
    map->arena = (struct arena){0}; /* everything is borrowed */
    map->layers =
        arena_calloc(&j->s->out.arena, j->map->n_layers + (size_t)j->n, sizeof *map->layers, err);
    if (!map->layers)
        return -1;
    map->n_layers = 0;
    for (size_t i = 0; i < j->map->n_layers; i++)
        if (j->map->layers[i].layer < j->first)
            map->layers[map->n_layers++] = j->map->layers[i];
    for (int i = 0; i < j->n; i++)
        map->layers[map->n_layers++] = j->layers[i];
    map->num_nextn_predict_layers = j->n;
    return 0;
}

int stitch_mtp(struct stitched *s, const struct stitch_input *target,
               const struct stitch_input *source, const struct keep_map *map,
               const struct stitch_options *options, struct report *report, struct prep_error *err)
{
    struct job j = {.s = s,
                    .target = target,
                    .source = source,
                    .map = map,
                    .options = options,
                    .report = report,
                    .first = target->config->num_hidden_layers,
                    .n = source->config->num_nextn_predict_layers};
    int rc = -1;
    *s = (struct stitched){0};
    arena_init(&s->out.arena, 0);
    view_init(&s->out.view);
    if (check_same_model(target->config, source->config, err) || check_target(&j, err) ||
        check_source(&j, err) || choose_experts(&j, err) || set_up_renumbering(&j, err) ||
        build_view(&j, err) || count_experts(&j, err) ||
        prune_check_view(&s->out.view, s->out.n_experts, s->out.n_layers, j.first, err) ||
        edit_files(&j, err) || extend_map(&j, err))
        goto out;
    rc = 0;
out:
    renumber_fini(&j.renumber);
    if (rc)
        stitched_fini(s);
    return rc;
}
