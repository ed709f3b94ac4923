/* SPDX-License-Identifier: MIT */
#include "libprep/release/gguf.h"

#include <inttypes.h>
#include <string.h>

static const char config_name[] = "config.json";

struct work {
    const struct gguf_job *job;
    struct gguf_result *r;
    struct report *report;
    int output_type, embedding_type;
};

/* ---- the checkpoint, pruned or not ---- */

static int open_source(struct work *w, struct prep_error *err)
{
    const struct gguf_job *job = w->job;
    struct prune_result *p = &w->r->pruned;
    const int drop = job->mtp == GGUF_JOB_DROP;
    const struct prune_job prune = {.io = job->io,
                                    .source = job->source,
                                    .keep_map = job->keep_map,
                                    .options = {.mtp = drop ? MTP_DROP : MTP_PROXY}};
    const struct keep_map nothing = {0};
    const struct apply_options apply = {.drop_mtp = drop};
    if (job->keep_map ? prune_job_run(p, &prune, 0, w->report, err)
                      : source_open(&p->source, job->io, job->source, w->report, err))
        return -1;
    return prune_apply(&p->output, p->source.ckpt, &p->source.config,
                       job->keep_map ? &p->map : &nothing, &apply, w->report, err);
}

/* The config of what is written. */
static int read_config(struct work *w, struct prep_error *err)
{
    const struct prune_output *out = &w->r->pruned.output;
    const struct config *c = &w->r->pruned.source.config;
    struct span text = c->text;
    for (size_t i = 0; i < out->n_edited; i++)
        if (strcmp(out->edited[i].name, config_name) == 0)
            text = out->edited[i].text;
    if (config_parse(&w->r->config, (const char *)text.p, text.n, config_name, NULL, err))
        return -1;
    if (w->job->mtp == GGUF_JOB_SEPARATE && w->r->config.num_nextn_predict_layers == 0)
        return prep_fail(err, PREP_EUSAGE, "%s: has no MTP layer to write into a file of its own",
                         w->job->source);
    return 0;
}

/* ---- rungs ---- */

static struct gguf_pass *pass_of(struct work *w, enum gguf_order order, enum gguf_mtp mtp)
{
    struct gguf_result *r = w->r;
    for (size_t i = 0; i < r->n_passes; i++)
        if (r->passes[i].order == order && r->passes[i].mtp == mtp)
            return &r->passes[i];
    struct gguf_pass *p = &r->passes[r->n_passes++];
    p->order = order;
    p->mtp = mtp;
    return p;
}

static const char *stem_of(const struct work *w, struct prep_error *err)
{
    if (w->job->prefix)
        return w->job->prefix;
    const char *s = w->job->source;
    size_t n = strlen(s);
    while (n > 1 && s[n - 1] == '/')
        n--;
    size_t from = n;
    while (from > 0 && s[from - 1] != '/')
        from--;
    /* "ORG/NAME@revision": the name alone. */
    for (size_t i = from; i < n; i++)
        if (s[i] == '@')
            n = i;
    return arena_strndup(&w->r->arena, s + from, n - from, err);
}

static int add_output(struct work *w, const char *label, enum gguf_rung rung, int family,
                      enum gguf_mtp mtp, struct prep_error *err)
{
    const int converter = w->job->strict_parity && (rung == RUNG_BF16 || rung == RUNG_F16);
    struct gguf_pass *p = pass_of(w, converter ? GGUF_CONVERTER : GGUF_QUANTIZER, mtp);
    const char *stem = stem_of(w, err);
    if (!stem)
        return -1;
    if (p->n_outputs == GGUF_MAX_FILES)
        return prep_fail(err, PREP_EUSAGE, "more than %d files in one run", GGUF_MAX_FILES);
    for (size_t i = 0; i < p->n_outputs; i++)
        if (strcmp(p->outputs[i].label, label) == 0)
            return prep_fail(err, PREP_EUSAGE, "--type %s is given twice", label);
    struct gguf_output *o = &p->outputs[p->n_outputs++];
    *o = (struct gguf_output){.label = label, .rung = rung, .family = family};
    o->stem =
        arena_printf(&w->r->arena, err, "%s%s-%s", mtp == GGUF_MTP_ONLY ? "mtp-" : "", stem, label);
    return o->stem ? 0 : -1;
}

static int add_rung(struct work *w, const char *text, struct prep_error *err)
{
    static const char prefix[] = "family:";
    const int family = strncmp(text, prefix, sizeof prefix - 1) == 0;
    const enum gguf_rung rung = gguf_rung_from_name(family ? text + sizeof prefix - 1 : text);
    if (rung == RUNG_COUNT)
        return prep_fail(err, PREP_EUSAGE,
                         "--type %s: want one of BF16 F16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_1 Q5_0 Q4_K_M "
                         "Q4_K_S Q4_1 Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K Q2_K_S, with "
                         "family: before it for the family's mixture",
                         text);
    const char *label = family ? arena_printf(&w->r->arena, err, "%s-family", gguf_rung_name(rung))
                               : gguf_rung_name(rung);
    const enum gguf_mtp trunk = w->job->mtp == GGUF_JOB_KEEP ? GGUF_MTP_KEEP : GGUF_MTP_DROP;
    if (!label || add_output(w, label, rung, family, trunk, err))
        return -1;
    return w->job->mtp == GGUF_JOB_SEPARATE ? add_output(w, label, rung, family, GGUF_MTP_ONLY, err)
                                            : 0;
}

/* ---- types ---- */

static int one_type(int *type, const char *name, const char *option, struct prep_error *err)
{
    *type = name ? gguf_type_from_name(name) : GGUF_NO_TYPE;
    if (name && *type == GGUF_NO_TYPE)
        return prep_fail(err, PREP_EUSAGE, "--%s %s: not a type that make-gguf writes", option,
                         name);
    return 0;
}

static int open_patterns(struct work *w, struct prep_error *err)
{
    const struct gguf_job *job = w->job;
    struct arena *arena = &w->r->arena;
    const char **more = NULL;
    size_t n_more = 0;
    struct span text;
    if (one_type(&w->output_type, job->output_type, "output-type", err) ||
        one_type(&w->embedding_type, job->embedding_type, "embedding-type", err))
        return -1;
    if (job->type_file && (io_read_file(job->io, job->type_file, 1 << 20, arena, &text, err) ||
                           gguf_patterns_split(&more, &n_more, text, arena, err)))
        return -1;
    const char **all = arena_calloc(arena, job->n_patterns + n_more, sizeof *all, err);
    if (!all)
        return -1;
    for (size_t i = 0; i < job->n_patterns; i++)
        all[i] = job->patterns[i];
    for (size_t i = 0; i < n_more; i++)
        all[job->n_patterns + i] = more[i];
    return gguf_patterns_open(&w->r->patterns, all, job->n_patterns + n_more, arena, err);
}

static struct gguf_type_options type_options(const struct work *w, const struct gguf_pass *p,
                                             enum gguf_rung rung, int family)
{
    const struct config *c = &w->r->config;
    return (struct gguf_type_options){
        .rule = {.rung = rung,
                 .family_mixture = family,
                 .has_imatrix = w->job->imatrix != NULL,
                 .indexer_proj_f32 = !w->job->strict_parity,
                 .block_count = p->mtp == GGUF_MTP_DROP ? c->num_hidden_layers : c->n_layers,
                 .expert_count = c->n_routed_experts,
                 .tied = c->tie_word_embeddings},
        .pure = w->job->pure,
        .output = w->output_type,
        .embedding = w->embedding_type,
        .patterns = &w->r->patterns};
}

static int choose_types(struct work *w, struct gguf_pass *p, struct gguf_output *o,
                        struct prep_error *err)
{
    const struct gguf_type_options options = type_options(w, p, o->rung, o->family);
    const struct gguf_target *example = NULL;
    enum ggml_type wanted;
    o->types = arena_calloc(&w->r->arena, p->map.n, sizeof *o->types, err);
    if (!o->types)
        return -1;
    for (size_t i = 0; i < p->map.n; i++) {
        const struct gguf_target *t = &p->map.targets[i];
        const struct gguf_tensor g = gguf_target_tensor(t);
        if (gguf_choose_type(&o->types[i], &wanted, &options, t, err))
            return -1;
        o->tensor_bytes += gguf_pad(gguf_tensor_bytes(&g, o->types[i]), GGUF_ALIGNMENT);
        if (o->types[i] != wanted) {
            o->n_fallback++;
            example = t;
        }
    }
    if (example) {
        const size_t i = (size_t)(example - p->map.targets);
        if (gguf_choose_type(&o->types[i], &wanted, &options, example, err))
            return -1;
        report_warn(w->report, "TYPE_FALLBACK",
                    "%s: %" PRIu64 " tensors like %s have rows of %" PRIu64
                    " values, no whole blocks of %s: %s in its place",
                    o->stem, o->n_fallback, example->name, example->n_cols,
                    ggml_type_info(wanted)->name, ggml_type_info(o->types[i])->name);
    }
    return 0;
}

/* What every rung would weigh, by the rules alone. */
static void weigh_rungs(struct work *w, const struct gguf_pass *p)
{
    for (int rung = 0; rung < RUNG_COUNT; rung++) {
        uint64_t bytes[2] = {0, 0};
        for (int family = 0; family < 2; family++) {
            const struct gguf_type_options o = type_options(w, p, (enum gguf_rung)rung, family);
            for (size_t i = 0; i < p->map.n; i++) {
                const struct gguf_tensor g = gguf_target_tensor(&p->map.targets[i]);
                bytes[family] +=
                    gguf_pad(gguf_tensor_bytes(&g, gguf_type_of(&o.rule, &g)), GGUF_ALIGNMENT);
            }
        }
        w->r->sizes[rung] = (struct gguf_size){(enum gguf_rung)rung, bytes[0], bytes[1]};
    }
}

static void warn_patterns(const struct work *w)
{
    for (size_t i = 0; i < w->r->patterns.n; i++)
        if (!w->r->patterns.items[i].matched)
            report_warn(w->report, "TYPE_NO_MATCH",
                        "%s: matches no tensor, or only such as an "
                        "earlier one matches",
                        w->r->patterns.items[i].text);
}

/* ---- passes ---- */

static int build_pass(struct work *w, struct gguf_pass *p, struct prep_error *err)
{
    struct gguf_result *r = w->r;
    const struct gguf_map_request request = {.view = &r->pruned.output.view,
                                             .linears = &r->linears,
                                             .config = &r->config,
                                             .mtp = p->mtp};
    if (gguf_map_build(&p->map, &request, &r->arena, err))
        return -1;
    gguf_map_sort(&p->map, p->order);
    char label[64];
    gguf_size_label(label, p->map.n_shared, p->map.n_expert, r->config.n_routed_experts);
    p->size_label = arena_strndup(&r->arena, label, strlen(label), err);
    if (!p->size_label)
        return -1;
    for (size_t i = 0; i < p->n_outputs; i++)
        if (choose_types(w, p, &p->outputs[i], err))
            return -1;
    if (w->job->imatrix && gguf_match_imatrix(r, p, w->report, err))
        return -1;
    return 0;
}

static void warn_ignored(const struct work *w, const struct gguf_map *m)
{
    if (m->n_ignored)
        report_warn(w->report, "TENSOR_IGNORED",
                    "%zu tensors like %s have no place in the format and are left out",
                    m->n_ignored, m->ignored[0]);
}

static int build_passes(struct work *w, struct prep_error *err)
{
    struct gguf_result *r = w->r;
    for (size_t i = 0; i < w->job->n_rungs; i++)
        if (add_rung(w, w->job->rungs[i], err))
            return -1;
    if (r->n_passes == 0)
        return prep_fail(err, PREP_EUSAGE, "no rung is asked for: give --type");
    for (size_t i = 0; i < r->n_passes; i++)
        if (build_pass(w, &r->passes[i], err))
            return -1;
    weigh_rungs(w, &r->passes[0]);
    warn_patterns(w);
    warn_ignored(w, &r->passes[0].map);
    return 0;
}

int gguf_job_run(struct gguf_result *result, const struct gguf_job *job, struct report *report,
                 struct prep_error *err)
{
    *result = (struct gguf_result){.job = job};
    arena_init(&result->arena, 0);
    struct work w = {.job = job, .r = result, .report = report};
    if (open_source(&w, err) || read_config(&w, err) ||
        linears_of_view(&result->linears, &result->pruned.output.view,
                        &result->pruned.source.config, &result->arena, report, err) ||
        open_patterns(&w, err) || (job->imatrix && gguf_open_imatrix(result, report, err)) ||
        build_passes(&w, err) || gguf_make_plan(result, report, err))
        return -1;
    gguf_facts(result, report);
    return report_ok(report, err);
}

void gguf_result_free(struct gguf_result *r)
{
    plan_free(r->plan);
    gguf_patterns_close(&r->patterns);
    imatrix_free(&r->imatrix);
    config_free(&r->config);
    prune_result_free(&r->pruned);
    arena_fini(&r->arena);
    *r = (struct gguf_result){0};
}
