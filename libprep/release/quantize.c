/* SPDX-License-Identifier: MIT */
#include "libprep/release/quantize.h"

#include <inttypes.h>
#include <string.h>

#include "libprep/base/json_patch.h"
#include "libprep/prune/edit_config.h"

static const char config_name[] = "config.json";

struct work {
    const struct quantize_job *job;
    struct quantize_result *r;
    struct report *report;
    const struct keep_map *map; /* of the output, or NULL */
    struct amax amax;           /* merged */
    int has_amax;
};

/* ---- the checkpoint, pruned or not ---- */

static int open_source(struct work *w, struct prep_error *err)
{
    const struct quantize_job *job = w->job;
    struct prune_result *p = &w->r->pruned;
    const struct prune_job prune = {
        .io = job->io,
        .source = job->source,
        .keep_map = job->keep_map,
        .options = {.mtp = job->mtp == QUANT_MTP_DROP ? MTP_DROP : MTP_PROXY},
    };
    const struct keep_map nothing = {0};
    const struct apply_options apply = {.drop_mtp = job->mtp == QUANT_MTP_DROP};
    if (job->keep_map ? prune_job_run(p, &prune, 0, w->report, err)
                      : source_open(&p->source, job->io, job->source, w->report, err))
        return -1;
    w->map = job->keep_map ? &p->map : p->source.has_map ? &p->source.map : NULL;
    return prune_apply(&p->output, p->source.ckpt, &p->source.config,
                       job->keep_map ? &p->map : &nothing, &apply, w->report, err);
}

/* ---- which linears ---- */

static int is_target(const struct work *w, enum linear_form form)
{
    return w->job->layout == QUANT_GPTQ ? form == LINEAR_GPTQ || form == LINEAR_PACK_QUANTIZED
                                        : form == LINEAR_NVFP4_MODELOPT || form == LINEAR_NVFP4_CT;
}

/* What is coded as asked already must not be decoded and rounded a second time. */
static int check_forms(const struct work *w, struct prep_error *err)
{
    const struct linears *all = &w->r->linears;
    const struct linear *done = NULL, *open = NULL;
    size_t n_done = 0;
    for (size_t i = 0; i < all->n; i++) {
        if (!w->r->selection.choices[i].take)
            continue;
        const struct linear *l = &all->items[i];
        n_done += (size_t)is_target(w, l->form);
        if (is_target(w, l->form))
            done = l;
        else
            open = l;
    }
    if (!done)
        return 0;
    if (open)
        return prep_fail_tag(err, PREP_EDATA, "HALF_QUANTIZED",
                             "%s: %zu of %zu linears to quantize are coded already (%s is %s, %s "
                             "is %s); start from the unquantized model, or --exclude",
                             w->job->source, n_done, w->r->selection.n_taken, done->name,
                             linear_form_name(done->form), open->name,
                             linear_form_name(open->form));
    int same = done->form == w->r->method.want.form;
    return prep_fail_tag(
        err, PREP_EDATA, "ALREADY_QUANTIZED", "%s: is quantized already: %s is %s%s",
        w->job->source, done->name, linear_form_name(done->form),
        same ? "; nothing to do" : "; --repack stores the same codes in the other layout");
}

static int select_linears(struct work *w, struct prep_error *err)
{
    const struct quantize_job *job = w->job;
    struct quantize_result *r = w->r;
    int gptq = job->layout == QUANT_GPTQ;
    r->select = (struct quant_select_options){
        .preset_name = job->modules,
        .rules = job->rules,
        .n_rules = job->n_rules,
        .num_hidden_layers = r->pruned.source.config.num_hidden_layers,
        .mtp = job->mtp,
        .same_input = job->same_input,
        .in_multiple = gptq ? job->group_size : 16,
        .out_multiple = gptq ? 32 : 1,
    };
    if (quant_preset(&r->select.preset, job->modules))
        return prep_fail(err, PREP_EUSAGE,
                         "--modules %s: want experts, linears, portable, llama or all",
                         job->modules);
    if (quant_select(&r->selection, &r->linears, &r->select, &r->arena, err))
        return -1;
    return check_forms(w, err);
}

static int select_for_repack(struct work *w, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    const struct linears *all = &r->linears;
    static const enum linear_form other[] = {[QUANT_MODELOPT] = LINEAR_NVFP4_CT,
                                             [QUANT_COMPRESSED_TENSORS] = LINEAR_NVFP4_MODELOPT,
                                             [QUANT_GPTQ] = LINEAR_PACK_QUANTIZED};
    const enum linear_form from = other[w->job->layout];
    size_t n_input = 0;
    if (quant_select_form(&r->selection, all, from, &r->arena, err))
        return -1;
    for (size_t i = 0; i < all->n; i++) {
        const struct linear *l = &all->items[i];
        if (is_target(w, l->form) && l->form != from)
            return prep_fail_tag(err, PREP_EDATA, "NOT_REPACKABLE", "%s: %s is %s already",
                                 w->job->source, l->name, linear_form_name(l->form));
        n_input += l->form == from && linear_tensor(l, LINEAR_INPUT_SCALE) != NULL;
    }
    if (r->selection.n_taken == 0)
        return prep_fail_tag(err, PREP_EDATA, "NOT_REPACKABLE", "%s: has no linear in %s form",
                             w->job->source, linear_form_name(from));
    if (n_input && n_input != r->selection.n_taken)
        return prep_fail_tag(err, PREP_EDATA, "SCALE_MISSING",
                             "%s: %zu of %zu coded linears have an input scale, want all or none",
                             w->job->source, n_input, r->selection.n_taken);
    r->method.want.with_input = n_input > 0;
    for (size_t k = 0; k < r->selection.n_taken; k++) {
        const struct linear *l = &all->items[r->selection.taken[k]];
        struct linear to;
        const char *why;
        if (linear_layout(&to, l, &r->method.want, &r->arena, err))
            return -1;
        if (!linear_can_repack(&to, l, &why))
            return prep_fail_tag(err, PREP_EDATA, "NOT_REPACKABLE", "%s: %s", l->name, why);
    }
    return 0;
}

/* ---- how ---- */

static int choose_nvfp4(struct work *w, struct prep_error *err)
{
    static const char *const names[N_NVFP4_METHODS] = {[NVFP4_MAX] = "max",
                                                       [NVFP4_MINMAX] = "minmax",
                                                       [NVFP4_RTN] = "rtn",
                                                       [NVFP4_SWEEP] = "sweep",
                                                       [NVFP4_FOUR_OVER_SIX] = "four-over-six"};
    struct quantize_result *r = w->r;
    int modelopt = w->job->layout == QUANT_MODELOPT;
    r->method.want.form = modelopt ? LINEAR_NVFP4_MODELOPT : LINEAR_NVFP4_CT;
    r->method.fn = quant_nvfp4_step;
    r->method.nvfp4 = modelopt ? NVFP4_MAX : NVFP4_MINMAX;
    if (w->job->importance && strcmp(w->job->scales, "auto") == 0)
        r->method.nvfp4 = NVFP4_SWEEP;
    for (int i = 0; i < N_NVFP4_METHODS; i++)
        if (strcmp(w->job->scales, names[i]) == 0)
            r->method.nvfp4 = (enum nvfp4_method)i;
    r->scales = names[r->method.nvfp4];
    if (strcmp(w->job->scales, "auto") != 0 && strcmp(w->job->scales, r->scales) != 0)
        return prep_fail(err, PREP_EUSAGE,
                         "--scales %s: want auto, max, minmax, rtn, sweep or "
                         "four-over-six",
                         w->job->scales);
    if (w->job->importance && r->method.nvfp4 != NVFP4_SWEEP)
        return prep_fail(err, PREP_EUSAGE, "--importance weighs a search: it needs --scales sweep");
    return 0;
}

static int choose_method(struct work *w, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    linear_codec_init(&r->method.codec, w->job->isa);
    r->decode = (struct quant_method){.fn = quant_decode_step,
                                      .want = {.form = LINEAR_PLAIN, .scale_dtype = DTYPE_BF16},
                                      .codec = r->method.codec};
    r->layout = quant_layout_name(w->job->layout);
    if (w->job->layout == QUANT_GPTQ) {
        r->method.fn = quant_int4_step;
        r->method.want = (struct linear_want){.form = LINEAR_GPTQ,
                                              .group = w->job->group_size,
                                              .scale_dtype = DTYPE_F16,
                                              .zero_bias = 1,
                                              .with_g_idx = 1};
        r->method.int4 = strcmp(w->job->scales, "classic") == 0 ? INT4_CLASSIC : INT4_SIGNED;
        r->scales = r->method.int4 == INT4_CLASSIC ? "classic" : "signed";
    } else if (choose_nvfp4(w, err)) {
        return -1;
    }
    if (w->job->repack) {
        r->method.fn = quant_repack_step;
        r->scales = "as they are";
    }
    return 0;
}

/* ---- statistics ---- */

/*
 * Whose expert ids a file with n experts has: the base's, those of the checkpoint at hand before
 * it is pruned, or those of the output.
 */
static int match_ids(struct work *w, int n, const char *path, struct quant_ids *ids,
                     struct prep_error *err)
{
    const struct prune_result *p = &w->r->pruned;
    const int n_layers = p->source.config.n_layers;
    const int n_out = p->output.n_routed_experts, n_in = p->source.config.n_routed_experts;
    *ids = (struct quant_ids){0};
    if (n == 0 || n == n_out)
        return 0;
    int base = w->map && w->map->full && n == w->map->base_n_routed_experts;
    if (!base && !(w->job->keep_map && n == n_in))
        return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                             "%s: is about %d experts per layer, the model has %d%s", path, n,
                             n_out, w->map ? "" : " and no keep-map says which they were");
    const int **lists = arena_calloc(&w->r->arena, (size_t)n_layers, sizeof *lists, err);
    if (!lists)
        return -1;
    for (int i = 0; i < n_layers; i++) {
        const struct keep_layer *l = keep_map_layer(w->map, i);
        if (l)
            lists[i] = base ? l->kept_source : l->kept_parent;
    }
    *ids = (struct quant_ids){lists, n_layers};
    return 0;
}

static int read_amax(struct work *w, struct prep_error *err)
{
    const struct quantize_job *job = w->job;
    struct amax *parts = arena_calloc(&w->r->arena, job->n_amax, sizeof *parts, err);
    size_t n = 0;
    int rc = parts ? 0 : -1;
    for (; n < job->n_amax && !rc; n += !rc)
        rc = amax_read(&parts[n], job->io, job->amax[n], err);
    if (!rc)
        rc = amax_merge(&w->amax, parts, job->amax, n, job->mix_semantics, err);
    w->has_amax = !rc;
    for (size_t i = 0; i < n; i++)
        amax_free(&parts[i]);
    return rc;
}

static int find_inputs(struct work *w, struct prep_error *err)
{
    const struct quantize_job *job = w->job;
    const struct config *c = &w->r->pruned.source.config;
    struct input_options o = {.per_expert = job->per_expert,
                              .min_tokens = job->min_tokens,
                              .assumed = (float)job->assume_amax,
                              .num_hidden_layers = c->num_hidden_layers,
                              .n_layers = c->n_layers};
    if (job->repack || job->layout == QUANT_GPTQ)
        return 0;
    if (!job->n_amax && job->assume_amax == 0) {
        report_warn(w->report, "WEIGHTS_ONLY",
                    "no activation maxima: weights only, engines keep activations in BF16; --amax "
                    "or --assume-amax gives W4A4");
        return 0;
    }
    if (job->n_amax &&
        (read_amax(w, err) || match_ids(w, w->amax.n_routed_experts, job->amax[0], &o.ids, err)))
        return -1;
    w->r->method.want.with_input = 1;
    return input_scales_make(&w->r->inputs, &w->r->linears, &w->r->selection,
                             w->has_amax ? &w->amax : NULL, &o, &w->r->arena, w->report, err);
}

static int open_importance(struct work *w, struct prep_error *err)
{
    struct importance *p = &w->r->importance;
    const struct quant_selection *s = &w->r->selection;
    size_t without = 0;
    if (!w->job->importance)
        return 0;
    if (importance_open(p, w->job->io, w->job->importance, err) ||
        match_ids(w, p->n_routed_experts, w->job->importance, &p->ids, err))
        return -1;
    for (size_t k = 0; k < s->n_taken; k++) {
        const struct tensor_info *t;
        if (importance_find(p, &w->r->linears.items[s->taken[k]], &t, &w->r->arena, err))
            return -1;
        without += !t;
    }
    if (without == s->n_taken)
        return prep_fail_tag(err, PREP_EDATA, "IMPORTANCE",
                             "%s: has none for any of %zu linears: it is another model's",
                             w->job->importance, without);
    if (without)
        report_warn(w->report, "IMPORTANCE_MISSING",
                    "%zu of %zu linears have no importance: their inputs count alike", without,
                    s->n_taken);
    return 0;
}

/* ---- config and the files around ---- */

static struct span edited_config(const struct prune_output *out)
{
    for (size_t i = 0; i < out->n_edited; i++)
        if (strcmp(out->edited[i].name, config_name) == 0)
            return out->edited[i].text;
    return (struct span){0};
}

static int edit_config(struct work *w, struct span *text, struct prep_error *err)
{
    struct span old = edited_config(&w->r->pruned.output);
    struct span value = w->r->configs.quantization_config;
    struct json doc = {0};
    struct json_patch p = {0};
    int rc = json_parse(&doc, (const char *)old.p, old.n, config_name, err);
    if (!rc) {
        json_patch_init(&p, &doc, &w->r->arena);
        uint32_t inner = json_get(&doc, 0, "text_config");
        if (inner != JSON_NONE && json_type(&doc, inner) == JSON_OBJECT)
            rc = json_patch_remove_key(&p, inner, "quantization_config", err);
        rc = rc ||
             json_patch_set(&p, 0, "quantization_config", (const char *)value.p, value.n, err) ||
             json_patch_finish(&p, text, err);
    }
    json_patch_free(&p);
    json_free(&doc);
    return rc ? -1 : 0;
}

static int list_texts(struct work *w, struct layout *l, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    struct layout_text *texts = arena_calloc(&r->arena, 3, sizeof *texts, err);
    if (!texts)
        return -1;
    texts[0] = (struct layout_text){.name = config_name, .stage = PLAN_CONFIG};
    if (edit_config(w, &texts[0].text, err))
        return -1;
    l->n_texts = 1;
    if (r->configs.beside)
        texts[l->n_texts++] =
            (struct layout_text){r->configs.beside, r->configs.beside_text, PLAN_SIDECAR};
    if (w->job->keep_map) {
        struct layout_text *t = &texts[l->n_texts++];
        *t = (struct layout_text){.name = KEEP_MAP_NAME, .stage = PLAN_SIDECAR};
        if (keep_map_write(w->map, &r->arena, &t->text, err))
            return -1;
    }
    l->texts = texts;
    return 0;
}

/* All that reap-prune copies, and the keep-map of an earlier pass. */
static int list_sidecars(struct work *w, struct layout *l, struct prep_error *err)
{
    const struct prune_output *out = &w->r->pruned.output;
    const struct checkpoint *ckpt = w->r->pruned.source.ckpt;
    struct layout_sidecar *side =
        arena_calloc(&w->r->arena, out->n_sidecars + 1, sizeof *side, err);
    if (!side)
        return -1;
    for (size_t i = 0; i < out->n_sidecars; i++)
        side[l->n_sidecars++] = (struct layout_sidecar){
            out->sidecars[i], 0, (uint32_t)checkpoint_file(ckpt, out->sidecars[i])};
    int map = checkpoint_file(ckpt, KEEP_MAP_NAME);
    if (!w->job->keep_map && map >= 0)
        side[l->n_sidecars++] = (struct layout_sidecar){KEEP_MAP_NAME, 0, (uint32_t)map};
    l->sidecars = side;
    return 0;
}

static int make_configs(struct work *w, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    const struct quant_config_request request = {
        .layout = w->job->layout,
        .view = &r->pruned.output.view,
        .linears = &r->linears,
        .choices = r->selection.choices,
        .num_hidden_layers = r->pruned.source.config.num_hidden_layers,
        .has_input = r->method.want.with_input,
        .group_size = w->job->group_size,
    };
    quant_warn_engines(&request, w->report);
    return quant_configs_make(&r->configs, &request, &r->arena, err);
}

/* ---- the plan ---- */

/* Everything that decides bytes and is not in the layout of the files. */
static int add_options(struct work *w, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    struct plan *p = r->plan;
    char hex[17] = "none";
    if (r->inputs.amax) {
        uint64_t h = hash64(r->inputs.amax, r->linears.n * sizeof *r->inputs.amax);
        for (int i = 0; i < 16; i++)
            hex[i] = "0123456789abcdef"[h >> (60 - 4 * i) & 15];
    }
    return plan_option(p, "layout", r->layout, err) || plan_option(p, "scales", r->scales, err) ||
                   plan_option(p, "share", w->job->same_input ? "same-input" : "fused", err) ||
                   plan_option(p, "input-scales", hex, err)
               ? -1
               : 0;
}

static int build_steps(struct work *w, struct layout *l, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    const struct view *view = &r->pruned.output.view;
    uint32_t importance = 0;
    for (size_t i = 0; i < view->n_sources; i++)
        if (plan_add_checkpoint(r->plan, view->sources[i], &l->first_source[i], err))
            return -1;
    if (w->job->importance && plan_add_checkpoint(r->plan, &r->importance.source, &importance, err))
        return -1;
    const struct quant_request request = {
        .view = view,
        .first_source = l->first_source,
        .linears = &r->linears,
        .selection = &r->selection,
        .method = &r->method,
        .decode = &r->decode,
        .keep_codes = w->job->repack,
        .input_amax = r->inputs.amax,
        .importance = w->job->importance ? &r->importance : NULL,
        .importance_source = importance,
        .apart_from = w->job->mtp == QUANT_MTP_SEPARATE ? r->select.num_hidden_layers : -1,
    };
    if (quant_build(&r->built, r->plan, &request, err))
        return -1;
    l->tensors = r->built.tensors;
    l->n_tensors = r->built.n_tensors;
    for (size_t i = 0; i < l->n_tensors; i++)
        r->tensor_bytes += l->tensors[i].info.bytes;
    return 0;
}

static int make_plan(struct work *w, struct prep_error *err)
{
    struct quantize_result *r = w->r;
    const struct checkpoint *main = r->pruned.source.ckpt;
    struct layout l = {.view = &r->pruned.output.view,
                       .index = main->index_text,
                       .single_file = main->single_file,
                       .shard_bytes = w->job->shard_bytes};
    if (plan_new(&r->plan, w->job->tool, PREP_VERSION, err) || add_options(w, err) ||
        build_steps(w, &l, err) || list_texts(w, &l, err) || list_sidecars(w, &l, err) ||
        layout_plan(r->plan, &l, w->report, err))
        return -1;
    r->plan->manifest = quantize_manifest;
    r->plan->manifest_arg = r;
    return plan_finish(r->plan, err);
}

int quantize_job_run(struct quantize_result *result, const struct quantize_job *job,
                     struct report *report, struct prep_error *err)
{
    *result = (struct quantize_result){.job = job};
    arena_init(&result->arena, 0);
    struct work w = {.job = job, .r = result, .report = report};
    int rc = -1;
    if (open_source(&w, err) ||
        linears_of_view(&result->linears, &result->pruned.output.view,
                        &result->pruned.source.config, &result->arena, report, err) ||
        choose_method(&w, err) ||
        (job->repack ? select_for_repack(&w, err) : select_linears(&w, err)) ||
        find_inputs(&w, err) || open_importance(&w, err) || make_configs(&w, err) ||
        make_plan(&w, err))
        goto out;
    quantize_facts(result, report);
    rc = report_ok(report, err);
out:
    amax_free(&w.amax);
    return rc;
}

void quantize_result_free(struct quantize_result *r)
{
    plan_free(r->plan);
    importance_close(&r->importance);
    prune_result_free(&r->pruned);
    arena_fini(&r->arena);
    *r = (struct quantize_result){0};
}
