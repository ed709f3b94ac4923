/* SPDX-License-Identifier: MIT */
/* Which experts every line may use: from keep-maps, from pruned models, drawn. */
#include <string.h>

#include "libprep/prune/random_keep.h"
#include "libprep/prune/renumber.h"
#include "libprep/release/cuts_parts.h"

static int check_job(const struct cuts_job *job, struct prep_error *err)
{
    const size_t n = job->n_models + job->n_keep_maps;
    if (n < 1)
        return prep_fail(err, PREP_EUSAGE, "nothing was cut: give keep-maps or pruned models");
    if (n > CUTS_MOST || job->n_draws > CUTS_MOST_DRAWS)
        return prep_fail(err, PREP_EUSAGE, "%zu cuts and %zu draws, want at most %d and %d", n,
                         job->n_draws, (int)CUTS_MOST, (int)CUTS_MOST_DRAWS);
    return 0;
}

static int read_text(struct cuts *c, const struct cuts_job *job, struct report *report,
                     struct prep_error *err)
{
    struct tokenizer *t = NULL;
    const int has_tokenizer =
        job->tokenizer || strcmp(c->original.identity.tokenizer_sha256, "none") != 0;
    int rc = 0;
    if (!job->text.windows && has_tokenizer)
        rc = tokenizer_open(&t, job->io, job->tokenizer ? job->tokenizer : job->original, report,
                            err);
    rc = rc || judge_text_read(&c->text, &job->text, t, job->io, &c->arena, err);
    tokenizer_free(t);
    return rc ? -1 : 0;
}

/* ---- sizes ---- */

/* Experts that a cut keeps in each main layer, 0 in dense ones. */
static int count_kept(int *n_experts, const struct cuts *c, const struct cuts_line *line,
                      struct prep_error *err)
{
    const struct config *original = c->original.config;
    for (int i = 0; i < original->num_hidden_layers; i++) {
        const int all = original->is_moe[i] ? original->n_experts[i] : 0;
        const struct expert_set *set = line->sets ? &line->sets[i] : NULL;
        n_experts[i] = line->model           ? line->model->config->n_experts[i]
                       : set && set->experts ? (int)set->n
                                             : all;
        if (!all)
            n_experts[i] = 0;
        if (n_experts[i] > all)
            return prep_fail_tag(
                err, PREP_EDATA, "JUDGE_MODEL",
                "%s: layer %d has %d experts, the original %d: this is no cut of it",
                line->model->path, i, n_experts[i], all);
    }
    return 0;
}

static void find_range(struct cuts_size *s, int n_layers)
{
    for (int i = 0; i < n_layers; i++) {
        const int n = s->n_experts[i];
        s->least = n && (!s->least || n < s->least) ? n : s->least;
        s->most = n > s->most ? n : s->most;
    }
}

static int find_size(struct cuts *c, struct judged_cut *cut, struct prep_error *err)
{
    const int n_layers = c->original.config->num_hidden_layers;
    const size_t bytes = (size_t)n_layers * sizeof(int);
    struct cuts_size *s = &c->sizes[c->n_sizes];
    s->n_experts = arena_calloc(&c->arena, (size_t)n_layers, sizeof(int), err);
    if (!s->n_experts || count_kept(s->n_experts, c, &cut->line, err))
        return -1;
    for (cut->size = 0; cut->size < c->n_sizes; cut->size++)
        if (memcmp(c->sizes[cut->size].n_experts, s->n_experts, bytes) == 0)
            return 0;
    find_range(s, n_layers);
    c->n_sizes++;
    return 0;
}

/* ---- cuts ---- */

static struct expert_set *new_sets(struct cuts *c, struct prep_error *err)
{
    return arena_calloc(&c->arena, (size_t)c->original.config->n_layers, sizeof(struct expert_set),
                        err);
}

static int copy_set(struct cuts *c, struct expert_set *to, const int *kept, int n,
                    struct prep_error *err)
{
    uint32_t *experts = arena_calloc(&c->arena, (size_t)n, sizeof *experts, err);
    for (int i = 0; experts && i < n; i++)
        experts[i] = (uint32_t)kept[i];
    *to = (struct expert_set){experts, (size_t)n};
    return experts ? 0 : -1;
}

/* Warnings of the map itself; how well its numbers suit an engine is not asked here. */
static void pass_on(struct report *to, const struct report *from)
{
    for (size_t i = 0; i < from->n_warnings; i++)
        if (strncmp(from->warnings[i].tag, "KEEP_MAP", strlen("KEEP_MAP")) == 0)
            report_warn(to, from->warnings[i].tag, "%s", from->warnings[i].text);
}

static int take_map(struct cuts *c, struct judged_cut *cut, const struct cuts_job *job,
                    struct report *report, struct prep_error *err)
{
    const struct prune_job prune = {.io = job->io,
                                    .source = job->original,
                                    .keep_map = cut->path,
                                    .options = {.mtp = MTP_PROXY}};
    struct prune_result p = {0};
    struct renumber r = {0};
    struct report warnings;
    report_init(&warnings);
    cut->line.sets = new_sets(c, err);
    int rc = !cut->line.sets || prune_job_run(&p, &prune, 0, &warnings, err) ||
             renumber_init(&r, c->original.config, &p.map, 0, err);
    for (int i = 0; !rc && i < r.n_layers; i++) {
        const struct renumber_layer *l = renumber_pruned(&r, i);
        rc = l ? copy_set(c, &cut->line.sets[i], l->kept, l->n_kept, err) : 0;
    }
    if (rc)
        prep_note(err, "%s", cut->path);
    pass_on(report, &warnings);
    report_fini(&warnings);
    renumber_fini(&r);
    prune_result_free(&p);
    return rc ? -1 : 0;
}

static int is_quantized(const struct judge_model *m)
{
    for (size_t i = 0; i < m->linears.n; i++)
        if (m->linears.items[i].form != LINEAR_PLAIN)
            return 1;
    return 0;
}

static int take_model(struct cuts *c, struct judged_cut *cut, const struct cuts_job *job,
                      struct report *report, struct prep_error *err)
{
    struct judge_model *m = &c->models[c->n_models++];
    cut->line.model = m;
    if (judge_model_open(m, job->io, cut->path, NULL, report, err) ||
        judge_model_match(&c->original, m, report, err))
        return -1;
    if (is_quantized(m) && !is_quantized(&c->original))
        report_warn(report, "CUTS_FORMS",
                    "%s is quantized: its loss holds that, too, those of the draws do not",
                    cut->path);
    return 0;
}

static int take_cuts(struct cuts *c, const struct cuts_job *job, struct report *report,
                     struct prep_error *err)
{
    const size_t n = job->n_keep_maps + job->n_models;
    c->cuts = arena_calloc(&c->arena, n, sizeof *c->cuts, err);
    c->sizes = arena_calloc(&c->arena, n, sizeof *c->sizes, err);
    c->models = arena_calloc(&c->arena, job->n_models, sizeof *c->models, err);
    if (!c->cuts || !c->sizes || !c->models)
        return -1;
    for (size_t i = 0; i < n; i++) {
        struct judged_cut *cut = &c->cuts[c->n_cuts++];
        const int is_map = i < job->n_keep_maps;
        cut->path = is_map ? job->keep_maps[i] : job->models[i - job->n_keep_maps];
        if ((is_map ? take_map(c, cut, job, report, err) : take_model(c, cut, job, report, err)) ||
            find_size(c, cut, err))
            return -1;
    }
    return 0;
}

/* ---- draws ---- */

static int draw_set(struct cuts *c, struct expert_set *to, int layer, int n, uint64_t seed,
                    struct prep_error *err)
{
    const struct config *config = c->original.config;
    const struct random_layer from = {.layer = layer,
                                      .n_experts = config->n_experts[layer],
                                      .n_group = (int)config->n_group,
                                      .seed = seed};
    uint32_t *experts = arena_calloc(&c->arena, (size_t)n, sizeof *experts, err);
    *to = (struct expert_set){experts, (size_t)n};
    return experts ? random_keep(experts, n, &from, err) : -1;
}

static int draw(struct cuts *c, struct cuts_size *s, struct prep_error *err)
{
    s->draws = arena_calloc(&c->arena, c->n_draws + 1, sizeof *s->draws, err);
    s->increases = arena_calloc(&c->arena, c->n_draws + 1, sizeof *s->increases, err);
    if (!s->draws || !s->increases)
        return -1;
    for (size_t i = 0; i < c->n_draws; i++) {
        struct cuts_line *line = &s->draws[i];
        line->sets = new_sets(c, err);
        if (!line->sets)
            return -1;
        for (int layer = 0; layer < c->original.config->num_hidden_layers; layer++) {
            const int n = s->n_experts[layer];
            if (n < c->original.config->n_experts[layer] &&
                draw_set(c, &line->sets[layer], layer, n, i + 1, err))
                return -1;
        }
    }
    return 0;
}

int cuts_open(struct cuts *c, const struct cuts_job *job, struct report *report,
              struct prep_error *err)
{
    c->n_draws = job->n_draws;
    if (check_job(job, err) ||
        judge_model_open(&c->original, job->io, job->original, NULL, report, err) ||
        read_text(c, job, report, err) || take_cuts(c, job, report, err))
        return -1;
    for (size_t i = 0; i < c->n_sizes; i++)
        if (draw(c, &c->sizes[i], err))
            return -1;
    return 0;
}
