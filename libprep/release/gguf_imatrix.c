/* SPDX-License-Identifier: MIT */
/* Which entry of an importance matrix weighs which target. */
#include <inttypes.h>
#include <string.h>

#include "libprep/release/gguf.h"

int gguf_open_imatrix(struct gguf_result *r, struct report *report, struct prep_error *err)
{
    const char *path = r->job->imatrix;
    struct io_stat st;
    (void)report;
    if (imatrix_open(&r->imatrix, r->job->io, path, 0, err))
        return -1;
    int sys = r->job->io->stat(r->job->io->self, path, &st);
    if (sys < 0)
        return prep_fail_sys(err, PREP_ENOINPUT, -sys, "%s: cannot be read", path);
    const char *slash = strrchr(path, '/');
    r->imatrix_file = (struct source_file){.name = slash ? slash + 1 : path,
                                           .path = path,
                                           .bytes = st.size,
                                           .dev = st.dev,
                                           .ino = st.ino,
                                           .mtime_ns = st.mtime_ns};
    r->imatrix_source =
        (struct checkpoint){.io = r->job->io, .files = &r->imatrix_file, .n_files = 1};
    return 0;
}

struct matching {
    struct gguf_result *r;
    const struct gguf_pass *pass;
    uint64_t n_matched, n_without, n_mtp_without, n_empty;
    const char *without; /* an example */
    int empty_layer;
};

/* Whose expert ids the file has, with n experts: NULL the same as the output. */
static int slices_of(const struct matching *m, const struct gguf_target *t, uint64_t n,
                     const int **slice_of, struct prep_error *err)
{
    const struct prune_result *p = &m->r->pruned;
    const struct keep_map *map = m->r->job->keep_map ? &p->map
                                 : p->source.has_map ? &p->source.map
                                                     : NULL;
    const struct keep_layer *layer = map ? keep_map_layer(map, t->spec.layer) : NULL;
    *slice_of = NULL;
    if (n == t->slices)
        return 0;
    const int base = map && map->full && n == (uint64_t)map->base_n_routed_experts;
    const int parent = m->r->job->keep_map && n == (uint64_t)p->source.config.n_routed_experts;
    if (!layer || (!base && !parent))
        return prep_fail_tag(err, PREP_EDATA, "IMATRIX_SHAPE",
                             "%s: %s has %" PRIu64 " experts, the model has %" PRIu64
                             "%s; it is another model's",
                             m->r->job->imatrix, t->name, n, t->slices,
                             layer ? "" : " and no keep-map says which they were");
    *slice_of = base ? layer->kept_source : layer->kept_parent;
    return 0;
}

static int match(struct matching *m, const struct gguf_target *t, struct gguf_weights *w,
                 struct prep_error *err)
{
    const struct imatrix_entry *e = imatrix_find(&m->r->imatrix, t->name);
    const int experts = t->spec.role == ROLE_EXPERT;
    if (!e || t->fixed_f32)
        return 0;
    const uint64_t n = e->n_values / t->n_cols;
    int bad = e->n_values % t->n_cols != 0 || n == 0 || (e->slices != 1 && e->slices != n);
    if (!bad && !experts)
        bad = n != t->slices;
    if (bad && t->spec.part == PART_EMBED)
        return 0; /* collected as a lookup: of no use, and the reference passes over it */
    if (bad)
        return prep_fail_tag(err, PREP_EDATA, "IMATRIX_SHAPE",
                             "%s: %s has %" PRIu64 " values in %" PRIu64 " slices, want %" PRIu64
                             " x %" PRIu64 "; it is another model's",
                             m->r->job->imatrix, t->name, e->n_values, e->slices, t->n_cols,
                             t->slices);
    if (experts && slices_of(m, t, n, &w->slice_of, err))
        return -1;
    w->entry = e;
    m->n_matched++;
    for (uint64_t s = 0; s < t->slices && e->slices > 1; s++) {
        const uint64_t at = w->slice_of ? (uint64_t)w->slice_of[s] : s;
        if (e->counts[at] == 0) {
            m->n_empty++;
            m->empty_layer = t->spec.layer;
        }
    }
    return 0;
}

static void count_without(struct matching *m, const struct gguf_target *t)
{
    /* Nobody collects for these: lookups, and what stays F32. */
    if (t->fixed_f32 || t->spec.part == PART_EMBED || t->spec.part == PART_LM_HEAD ||
        t->spec.part == PART_INDEXER_WEIGHTS)
        return;
    if (t->spec.layer >= m->r->config.num_hidden_layers) {
        m->n_mtp_without++;
        return;
    }
    m->n_without++;
    m->without = t->name;
}

static int report_matching(const struct matching *m, struct report *report, struct prep_error *err)
{
    const char *path = m->r->job->imatrix;
    if (m->n_matched == 0 && m->pass->mtp != GGUF_MTP_ONLY)
        return prep_fail_tag(err, PREP_EDATA, "IMATRIX_SHAPE",
                             "%s: names no tensor of the model: it is another model's", path);
    if (m->n_without)
        report_warn(report, "IMATRIX_MISSING",
                    "%s: has nothing for %" PRIu64 " tensors like %s: they are quantized without "
                    "weights",
                    path, m->n_without, m->without);
    if (m->n_mtp_without)
        report_warn(report, "IMATRIX_NO_MTP",
                    "%s: has nothing for %" PRIu64 " tensors of the MTP layer, which is not run "
                    "when it is collected: they are quantized without weights",
                    path, m->n_mtp_without);
    if (m->n_empty)
        report_warn(report, "IMATRIX_EMPTY",
                    "%s: %" PRIu64 " expert matrices saw no token (layer %d, for one): all their "
                    "columns count alike",
                    path, m->n_empty, m->empty_layer);
    return 0;
}

int gguf_match_imatrix(struct gguf_result *r, struct gguf_pass *pass, struct report *report,
                       struct prep_error *err)
{
    struct matching m = {.r = r, .pass = pass};
    pass->weights = arena_calloc(&r->arena, pass->map.n, sizeof *pass->weights, err);
    if (!pass->weights)
        return -1;
    for (size_t i = 0; i < pass->map.n; i++) {
        if (match(&m, &pass->map.targets[i], &pass->weights[i], err))
            return -1;
        if (!pass->weights[i].entry)
            count_without(&m, &pass->map.targets[i]);
    }
    return report_matching(&m, report, err);
}
