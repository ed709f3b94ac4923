/* SPDX-License-Identifier: MIT */
#include "libprep/prune/apply.h"

#include <string.h>

#include "libprep/prune/check.h"
#include "libprep/prune/edit_config.h"

enum { MAX_EDITED = 8 };

static const char config_name[] = "config.json";

/* What the writer makes anew, or what an earlier pass said about its own output. */
static const char *const not_copied[] = {"model.safetensors.index.json", "keep_map.json",
                                         "prep-manifest.json", "prep-report.html"};

/* What the steps of prune_apply() share. */
struct job {
    struct prune_output *out;
    const struct checkpoint *ckpt;
    const struct config *config;
    const struct apply_options *options;
    struct report *report;
    struct renumber renumber;
    struct module_list modules;
    int *present; /* [n_layers of the input] has the layer any tensor? */
};

void prune_output_fini(struct prune_output *out)
{
    view_fini(&out->view);
    arena_fini(&out->arena);
    *out = (struct prune_output){0};
}

static int add_tensor(struct job *j, uint32_t i, struct prep_error *err)
{
    struct prune_output *out = j->out;
    const struct tensor_info *t = &j->ckpt->tensors[i].info;
    struct renumber_fate fate;
    if (renumber_tensor(&fate, &j->renumber, t, err))
        return -1;
    struct name_parts parts = fate.parts;
    if (parts.layer >= j->config->n_layers && fate.action != RENUMBER_DROP &&
        (parts.role == ROLE_EXPERT || parts.role == ROLE_FUSED_EXPERTS))
        return prep_fail_tag(err, PREP_EDATA, "APPLY_UNKNOWN_TENSOR",
                             "%s: config.json has %d layers, MTP included", t->name,
                             j->config->n_layers);
    if (parts.layer >= 0 && parts.layer < j->config->n_layers)
        j->present[parts.layer] = 1;
    if (fate.action == RENUMBER_DROP) {
        out->n_dropped++;
        return 0;
    }
    const char *name = t->name;
    const int *rows = NULL;
    size_t n_rows = 0;
    if (fate.action == RENUMBER_RENAME) {
        name = name_with_expert(&out->arena, name, &parts, fate.expert, err);
        if (!name)
            return -1;
        parts = name_parse(name, strlen(name));
        out->n_renamed++;
    }
    if (fate.action == RENUMBER_GATHER) {
        rows = fate.layer->kept;
        n_rows = (size_t)fate.layer->n_kept;
        out->n_gathered++;
    }
    out->n_out++;
    return view_add(&out->view, 0, i, name, rows, n_rows, name_order(&parts), name_group(&parts),
                    err);
}

static int build_view(struct job *j, struct prep_error *err)
{
    struct prune_output *out = j->out;
    j->present = arena_calloc(&out->arena, (size_t)j->config->n_layers, sizeof *j->present, err);
    if (!j->present)
        return -1;
    out->view.sources[0] = j->ckpt;
    out->view.n_sources = 1;
    out->n_in = j->ckpt->n_tensors;
    for (uint32_t i = 0; i < j->ckpt->n_tensors; i++)
        if (add_tensor(j, i, err))
            return -1;
    if (out->n_in != out->n_out + out->n_dropped)
        return prep_fail(err, PREP_EBUG, "%llu tensors became %llu and %llu dropped",
                         (unsigned long long)out->n_in, (unsigned long long)out->n_out,
                         (unsigned long long)out->n_dropped);
    return view_finish(&out->view, err);
}

/* Can the router still choose? A layer of n experts. */
static int check_routing(const struct config *c, int layer, int n, struct prep_error *err)
{
    if (n < c->num_experts_per_tok)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_TOPK",
                             "layer %d keeps %d experts, every token needs %d", layer, n,
                             c->num_experts_per_tok);
    if (c->n_group < 2)
        return 0;
    int group = n / c->n_group;
    if (n % c->n_group != 0 || group < 2 || (int64_t)c->topk_group * group < c->num_experts_per_tok)
        return prep_fail_tag(err, PREP_EUSAGE, "PLAN_GROUP_DIVISIBILITY",
                             "layer %d keeps %d experts, want a multiple of %d with groups large "
                             "enough to choose %d experts from %d of them",
                             layer, n, c->n_group, c->num_experts_per_tok, c->topk_group);
    return 0;
}

static int count_experts(struct job *j, struct prep_error *err)
{
    struct prune_output *out = j->out;
    const struct config *c = j->config;
    out->num_nextn_predict_layers = j->options->drop_mtp ? 0 : c->num_nextn_predict_layers;
    out->n_layers = c->num_hidden_layers + out->num_nextn_predict_layers;
    out->n_experts = arena_calloc(&out->arena, (size_t)out->n_layers, sizeof *out->n_experts, err);
    if (!out->n_experts)
        return -1;
    int least = 0;
    for (int i = 0; i < out->n_layers; i++) {
        int n = j->renumber.layers[i].n_kept;
        if (n == 0 || (i >= c->num_hidden_layers && !j->present[i]))
            continue;
        if (renumber_pruned(&j->renumber, i) && check_routing(c, i, n, err))
            return -1;
        out->n_experts[i] = n;
        least = least == 0 || n < least ? n : least;
        out->n_routed_experts = n > out->n_routed_experts ? n : out->n_routed_experts;
    }
    out->uniform = least == out->n_routed_experts;
    /* An MTP layer that config.json counts and nobody stored follows the others. */
    for (int i = c->num_hidden_layers; i < out->n_layers; i++)
        if (j->renumber.layers[i].n_kept && !j->present[i])
            out->n_experts[i] = out->n_routed_experts;
    if (!out->uniform)
        report_warn(j->report, "PLAN_NONUNIFORM",
                    "layers have %d to %d experts: num_routed_experts_per_layer says so, and "
                    "engines that do not read it cannot load this checkpoint",
                    least, out->n_routed_experts);
    return 0;
}

/* Module names are only needed where a quantization config may list some. */
static int build_modules(struct job *j, struct prep_error *err)
{
    const char **names = arena_calloc(&j->out->arena, j->ckpt->n_tensors, sizeof *names, err);
    if (!names)
        return -1;
    for (size_t i = 0; i < j->ckpt->n_tensors; i++)
        names[i] = j->ckpt->tensors[i].info.name;
    return module_list_init(&j->modules, &j->renumber, names, j->ckpt->n_tensors, err);
}

int prune_output_edit(struct prune_output *out, const char *name, struct json_patch *patch,
                      struct prep_error *err)
{
    if (!out->edited) {
        out->edited = arena_calloc(&out->arena, MAX_EDITED, sizeof *out->edited, err);
        if (!out->edited)
            return -1;
    }
    if (out->n_edited == MAX_EDITED)
        return prep_fail(err, PREP_EBUG, "%s: more than %d edited files", name, MAX_EDITED);
    struct edited_file *f = &out->edited[out->n_edited];
    f->name = name;
    if (json_patch_finish(patch, &f->text, err))
        return prep_note(err, "%s", name);
    out->n_edited++;
    return 0;
}

static int edit_main_config(struct job *j, int any_lists, struct prep_error *err)
{
    const struct config *c = j->config;
    struct prune_output *out = j->out;
    struct expert_counts counts = {
        .before = c->n_routed_experts,
        .after = out->n_routed_experts,
        .uniform = out->uniform,
        .n_experts = out->n_experts,
        .n_layers = out->n_layers,
        .mtp_before = c->num_nextn_predict_layers,
        .mtp_after = out->num_nextn_predict_layers,
    };
    struct json_patch p;
    json_patch_init(&p, &c->json, &out->arena);
    int rc = edit_expert_counts(&p, c->object, &counts, j->report, err);
    if (!rc && any_lists)
        rc = edit_module_lists(&p, &j->modules, j->options->expand_patterns, err);
    if (!rc)
        rc = prune_output_edit(out, config_name, &p, err);
    json_patch_free(&p);
    return rc;
}

static int edit_sidecar(struct job *j, const char *name, struct prep_error *err)
{
    struct json doc = {0};
    struct json_patch p = {0};
    struct span text;
    int rc = -1;
    if (checkpoint_read_file(j->ckpt, name, &j->out->arena, &text, err) ||
        json_parse(&doc, (const char *)text.p, text.n, name, err))
        goto out;
    json_patch_init(&p, &doc, &j->out->arena);
    if (edit_module_lists(&p, &j->modules, j->options->expand_patterns, err) ||
        prune_output_edit(j->out, name, &p, err))
        goto out;
    rc = 0;
out:
    json_patch_free(&p);
    json_free(&doc);
    return rc;
}

static int edit_files(struct job *j, struct prep_error *err)
{
    int any_lists = quantization_node(&j->config->json, 0) != JSON_NONE;
    for (size_t i = 0; quantization_files[i]; i++)
        any_lists |= checkpoint_file(j->ckpt, quantization_files[i]) >= 0;
    if (any_lists && build_modules(j, err))
        return -1;
    if (edit_main_config(j, any_lists, err))
        return -1;
    for (size_t i = 0; quantization_files[i]; i++)
        if (checkpoint_file(j->ckpt, quantization_files[i]) >= 0 &&
            edit_sidecar(j, quantization_files[i], err))
            return -1;
    return 0;
}

static int is_copied(const struct prune_output *out, const char *name)
{
    for (size_t i = 0; i < sizeof not_copied / sizeof *not_copied; i++)
        if (strcmp(name, not_copied[i]) == 0)
            return 0;
    for (size_t i = 0; i < out->n_edited; i++)
        if (strcmp(name, out->edited[i].name) == 0)
            return 0;
    return 1;
}

int prune_output_sidecars(struct prune_output *out, const struct checkpoint *ckpt,
                          struct prep_error *err)
{
    out->sidecars =
        arena_calloc(&out->arena, ckpt->n_files - ckpt->n_shards, sizeof *out->sidecars, err);
    if (!out->sidecars)
        return -1;
    for (size_t i = ckpt->n_shards; i < ckpt->n_files; i++)
        if (is_copied(out, ckpt->files[i].name))
            out->sidecars[out->n_sidecars++] = ckpt->files[i].name;
    return 0;
}

int prune_apply(struct prune_output *out, const struct checkpoint *ckpt,
                const struct config *config, const struct keep_map *map,
                const struct apply_options *options, struct report *report, struct prep_error *err)
{
    struct job j = {
        .out = out, .ckpt = ckpt, .config = config, .options = options, .report = report};
    int rc = -1;
    *out = (struct prune_output){0};
    arena_init(&out->arena, 0);
    view_init(&out->view);
    if (renumber_init(&j.renumber, config, map, options->drop_mtp, err))
        goto out;
    out->from_base = j.renumber.from_base;
    if (build_view(&j, err) || count_experts(&j, err) ||
        prune_check_view(&out->view, out->n_experts, out->n_layers, config->num_hidden_layers,
                         err) ||
        edit_files(&j, err) || prune_output_sidecars(out, ckpt, err))
        goto out;
    rc = 0;
out:
    module_list_fini(&j.modules);
    renumber_fini(&j.renumber);
    if (rc)
        prune_output_fini(out);
    return rc;
}
