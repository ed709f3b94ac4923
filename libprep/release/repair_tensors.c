/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "libprep/base/hash.h"
#include "libprep/model/check.h"
#include "libprep/quant/rescale.h"
#include "libprep/release/lint_scan.h"
#include "libprep/release/repair_job.h"

enum { MAX_PASSES = 1000 };

static uint32_t index_of(const struct repairing *k, const struct checkpoint_tensor *t)
{
    return (uint32_t)(t - k->r->ckpt->tensors);
}

/* ---- unequal global scales ---- */

static const struct checkpoint_tensor *global_of(const struct lint_module *m)
{
    return m->form == FORM_NVFP4_MODELOPT ? m->tensors[SUFFIX_WEIGHT_SCALE_2]
                                          : m->tensors[SUFFIX_WEIGHT_GLOBAL_SCALE];
}

static int add_rescale(struct repairing *k, const struct lint_module *small,
                       const struct lint_module *large, struct prep_error *err)
{
    const uint32_t scales = index_of(k, small->tensors[SUFFIX_WEIGHT_SCALE]);
    const uint32_t global = index_of(k, global_of(small));
    struct rescale *arg = arena_calloc(&k->r->arena, 1, sizeof *arg, err);
    struct rework *w = arena_calloc(&k->r->arena, 2, sizeof *w, err);
    if (!arg || !w)
        return -1;
    arg->divides = small->form == FORM_NVFP4_PACKED;
    w[0] = (struct rework){.tensor = scales,
                           .output = &arg->scales,
                           .of = &w[0],
                           .fn = rescale_step,
                           .arg = arg,
                           .inputs = {scales, global, index_of(k, global_of(large))},
                           .n_inputs = 3};
    w[1] = (struct rework){.tensor = global, .output = &arg->global, .of = &w[0]};
    k->rework[scales] = &w[0];
    k->rework[global] = &w[1];
    return 0;
}

static int can_rescale(const struct lint_module *m)
{
    const struct checkpoint_tensor *s = m->tensors[SUFFIX_WEIGHT_SCALE], *g = global_of(m);
    return s && g && s->info.dtype == DTYPE_F8_E4M3 && g->info.dtype == DTYPE_F32 &&
           g->info.bytes == 4;
}

/* 1 when the pair was unequal and is mended. */
static int mend_pair(struct repairing *k, const struct scan *scans, const struct lint_module *a,
                     const struct lint_module *b, struct prep_error *err)
{
    if (!a || !b || a->form != b->form || !is_nvfp4(a) || !can_rescale(a) || !can_rescale(b))
        return 0;
    const float x = scans[index_of(k, global_of(a))].value;
    const float y = scans[index_of(k, global_of(b))].value;
    if (!isfinite(x) || !isfinite(y) || x <= 0 || y <= 0 || x == y)
        return 0;
    const int a_is_small = a->form == FORM_NVFP4_MODELOPT ? x < y : x > y;
    return add_rescale(k, a_is_small ? a : b, a_is_small ? b : a, err) ? -1 : 1;
}

static int is_gate_up(const struct lint_module *a, const struct lint_module *b)
{
    return a->layer == b->layer && a->expert == b->expert && a->role == b->role &&
           ((a->part == PART_GATE && b->part == PART_UP) ||
            (a->part == PART_SHARED_GATE && b->part == PART_SHARED_UP));
}

static int mend_scales(struct repairing *k, struct prep_error *err)
{
    const struct lint_job *j = &k->modules;
    const int gates = repair_wants(k, "GATE_UP_SCALE"), fused = repair_wants(k, "FUSED_SCALE");
    size_t n_gates = 0, n_fused = 0;
    if (!gates && !fused)
        return 0;
    struct scan *scans = arena_calloc(&k->r->arena, k->r->ckpt->n_tensors, sizeof *scans, err);
    if (!scans)
        return -1;
    for (size_t i = 0; i < j->n_modules; i++)
        if (is_nvfp4(&j->modules[i]) && can_rescale(&j->modules[i]))
            scans[index_of(k, global_of(&j->modules[i]))].kind = SCAN_ONE;
    if (lint_scan(scans, k->r->ckpt, k->job->n_threads, err))
        return -1;
    for (size_t i = 0; gates && i + 1 < j->n_modules; i++) {
        const struct lint_module *a = &j->modules[i];
        int rc = is_gate_up(a, a + 1) ? mend_pair(k, scans, a, a + 1, err) : 0;
        if (rc < 0)
            return -1;
        n_gates += (size_t)rc;
    }
    for (int i = 0; fused && i < k->r->config->n_layers; i++) {
        const struct lint_module *const *p = j->layers[i].parts;
        int rc = mend_pair(k, scans, p[PART_Q_A], p[PART_KV_A], err);
        if (rc < 0)
            return -1;
        n_fused += (size_t)rc;
    }
    repair_mended(k, "GATE_UP_SCALE", n_gates, "the smaller half rescaled");
    repair_mended(k, "FUSED_SCALE", n_fused, "the smaller one rescaled");
    return 0;
}

/* ---- zero points ---- */

struct zeros {
    uint32_t want, other, output;
};

static int zeros_step(const struct step_memory *m, const void *arg, struct prep_error *err)
{
    const struct zeros *z = arg;
    (void)err;
    for (size_t i = 0; i + 4 <= m->inputs[0].n; i += 4) {
        uint32_t v = load_le32(m->inputs[0].p + i);
        store_le32(m->outputs[z->output] + i, v == z->other ? z->want : v);
    }
    return 0;
}

static int mend_zeros(struct repairing *k, struct prep_error *err)
{
    const struct lint_job *j = &k->modules;
    const uint32_t v1 = 0x77777777u, v2 = 0x88888888u;
    size_t n = 0;
    if (!repair_wants(k, "QZEROS_CONVENTION"))
        return 0;
    struct scan *scans = arena_calloc(&k->r->arena, k->r->ckpt->n_tensors, sizeof *scans, err);
    if (!scans)
        return -1;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct checkpoint_tensor *t = j->modules[i].tensors[SUFFIX_QZEROS];
        if (j->modules[i].form == FORM_INT4_GPTQ && t && t->info.dtype == DTYPE_I32)
            scans[index_of(k, t)] =
                (struct scan){.kind = SCAN_WORDS, .want = j->quant.zero_bias ? v1 : v2};
    }
    if (lint_scan(scans, k->r->ckpt, k->job->n_threads, err))
        return -1;
    for (uint32_t i = 0; i < k->r->ckpt->n_tensors; i++) {
        if (!scans[i].wrong)
            continue;
        struct zeros *z = arena_calloc(&k->r->arena, 1, sizeof *z, err);
        struct rework *w = arena_calloc(&k->r->arena, 1, sizeof *w, err);
        if (!z || !w)
            return -1;
        z->want = scans[i].want;
        z->other = z->want == v1 ? v2 : v1;
        *w = (struct rework){.tensor = i,
                             .output = &z->output,
                             .of = w,
                             .fn = zeros_step,
                             .arg = z,
                             .inputs = {i},
                             .n_inputs = 1};
        k->rework[i] = w;
        n++;
    }
    repair_mended(k, "QZEROS_CONVENTION", n, "zero points stored as checkpoint_format says");
    return 0;
}

/* ---- padded scales ---- */

/* Only zeros from row n on? */
static int is_padding(struct repairing *k, const struct checkpoint_tensor *t, uint64_t n, int *yes,
                      struct prep_error *err)
{
    const uint64_t offset = n * t->info.shape[1];
    const size_t left = (size_t)(t->info.bytes - offset);
    unsigned char *p = malloc(left + 1);
    if (!p)
        return prep_fail(err, PREP_ENOMEM, "%s: out of memory", t->info.name);
    int rc = checkpoint_read(k->r->ckpt, t, offset, p, left, err);
    *yes = 1;
    for (size_t i = 0; i < left && !rc; i++)
        *yes = *yes && p[i] == 0;
    free(p);
    return rc;
}

static int mend_padding(struct repairing *k, struct prep_error *err)
{
    const struct lint_job *j = &k->modules;
    size_t n = 0;
    if (!repair_wants(k, "SCALE_SHAPE"))
        return 0;
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        const struct checkpoint_tensor *s = m->tensors[SUFFIX_WEIGHT_SCALE];
        const struct checkpoint_tensor *codes =
            m->tensors[m->form == FORM_NVFP4_MODELOPT ? SUFFIX_WEIGHT : SUFFIX_WEIGHT_PACKED];
        int yes = 0;
        if (!is_nvfp4(m) || !s || !codes || s->info.n_dims != 2 || codes->info.n_dims != 2 ||
            s->info.dtype != DTYPE_F8_E4M3 || s->info.shape[1] != codes->info.shape[1] / 8 ||
            s->info.shape[0] <= codes->info.shape[0] || codes->info.shape[0] > INT32_MAX)
            continue;
        if (is_padding(k, s, codes->info.shape[0], &yes, err))
            return -1;
        if (!yes)
            continue;
        k->rows[index_of(k, s)] = codes->info.shape[0];
        n++;
    }
    repair_mended(k, "SCALE_SHAPE", n, "padding rows cut");
    return 0;
}

/* ---- names ---- */

/* Tensors that belong to nothing; the check lists some at a time. */
static int mend_unknown(struct repairing *k, struct prep_error *err)
{
    const struct checkpoint *c = k->r->ckpt;
    size_t total = 0, fresh = 1;
    if (!repair_wants(k, "TENSOR_UNKNOWN") && !repair_wants(k, "SRC_FP8_SCALE_ORPHAN"))
        return 0;
    const struct tensor_info **list = arena_calloc(&k->r->arena, c->n_tensors, sizeof *list, err);
    if (!list)
        return -1;
    for (int pass = 0; pass < MAX_PASSES && fresh; pass++) {
        struct findings found;
        size_t n = 0;
        fresh = 0;
        for (size_t i = 0; i < c->n_tensors; i++)
            if (!k->dropped[i])
                list[n++] = &c->tensors[i].info;
        findings_init(&found);
        int rc = check_inventory(&found, k->r->config, list, n, err);
        for (size_t i = 0; i < found.n && !rc; i++) {
            const struct finding *f = &found.items[i];
            const struct checkpoint_tensor *t = checkpoint_find(c, f->place);
            if (!t || k->dropped[index_of(k, t)] ||
                (strcmp(f->code, "TENSOR_UNKNOWN") != 0 &&
                 strcmp(f->code, "SRC_FP8_SCALE_ORPHAN") != 0))
                continue;
            k->dropped[index_of(k, t)] = 1;
            fresh++;
        }
        findings_fini(&found);
        if (rc)
            return -1;
        total += fresh;
    }
    repair_mended(k, "TENSOR_UNKNOWN", total, "left out");
    return 0;
}

/* Experts of one layer: [first, first + n) of the modules. */
static size_t renumber_layer(struct repairing *k, size_t first, size_t n)
{
    const struct lint_job *j = &k->modules;
    const struct lint_module *m = &j->modules[first];
    const struct lint_module *router = j->layers[m->layer].parts[PART_ROUTER];
    const struct checkpoint_tensor *gate = router ? router->tensors[SUFFIX_WEIGHT] : NULL;
    size_t experts = 0;
    int wrong = 0;
    for (size_t i = 0; i < n; i++) {
        experts += i == 0 || m[i].expert != m[i - 1].expert;
        wrong |= m[i].expert != (int)experts - 1;
    }
    /* The rows of the router are in order; without one for each there is nothing to go by. */
    if (!wrong || !gate || gate->info.n_dims != 2 || gate->info.shape[0] != experts)
        return 0;
    int next = -1;
    for (size_t i = 0; i < n; i++) {
        next += i == 0 || m[i].expert != m[i - 1].expert;
        k->new_expert[first + i] = next;
    }
    return 1;
}

static void mend_gaps(struct repairing *k)
{
    const struct lint_job *j = &k->modules;
    size_t n = 0;
    if (!repair_wants(k, "EXPERT_IDS"))
        return;
    for (size_t i = 0, end; i < j->n_modules; i = end) {
        const struct lint_module *m = &j->modules[i];
        for (end = i + 1; end < j->n_modules && j->modules[end].layer == m->layer &&
                          (j->modules[end].role == ROLE_EXPERT) == (m->role == ROLE_EXPERT);)
            end++;
        if (m->role == ROLE_EXPERT && m->layer < k->r->config->n_layers)
            n += renumber_layer(k, i, end - i);
    }
    repair_mended(k, "EXPERT_IDS", n, "numbered in the order of the router rows");
}

int repair_tensors(struct repairing *k, struct prep_error *err)
{
    const size_t n = k->r->ckpt->n_tensors, n_modules = k->modules.n_modules;
    k->rework = arena_calloc(&k->r->arena, n, sizeof(struct rework *), err);
    k->dropped = arena_calloc(&k->r->arena, n, 1, err);
    k->rows = arena_calloc(&k->r->arena, n, sizeof *k->rows, err);
    k->new_expert = arena_calloc(&k->r->arena, n_modules, sizeof *k->new_expert, err);
    if (!k->rework || !k->dropped || !k->rows || !k->new_expert)
        return -1;
    for (size_t i = 0; i < n_modules; i++)
        k->new_expert[i] = -1;
    mend_gaps(k);
    return mend_scales(k, err) || mend_zeros(k, err) || mend_padding(k, err) || mend_unknown(k, err)
               ? -1
               : 0;
}

/* ---- the view ---- */

static int add_to_view(struct repairing *k, uint32_t tensor, const char *name,
                       struct prep_error *err)
{
    const struct name_parts p = name_parse(name, strlen(name));
    const uint64_t n_rows = k->rows[tensor];
    int *rows = NULL;
    if (n_rows) {
        rows = malloc((size_t)n_rows * sizeof *rows);
        if (!rows)
            return prep_fail(err, PREP_ENOMEM, "%s: out of memory", name);
        for (int i = 0; i < (int)n_rows; i++)
            rows[i] = i;
    }
    int rc = view_add(&k->r->view, 0, tensor, name, rows, (size_t)n_rows, name_order(&p),
                      name_group(&p), err);
    free(rows);
    return rc;
}

static int add_module(struct repairing *k, size_t i, unsigned char *seen, struct prep_error *err)
{
    const struct lint_module *m = &k->modules.modules[i];
    for (int s = 0; s < SUFFIX_COUNT; s++) {
        const struct checkpoint_tensor *t = m->tensors[s];
        if (!t)
            continue;
        const uint32_t at = index_of(k, t);
        const char *name = t->info.name;
        seen[at] = 1;
        if (k->dropped[at])
            continue;
        if (k->new_expert[i] >= 0) {
            const struct name_parts p = name_parse(name, strlen(name));
            name = name_with_expert(&k->r->arena, name, &p, k->new_expert[i], err);
        }
        if (!name || add_to_view(k, at, name, err))
            return -1;
    }
    return 0;
}

/* gate and up read the same input: the scale of one is that of the other. */
static int lend_input_scale(struct repairing *k, const struct lint_module *from,
                            const struct lint_module *to, size_t *n, struct prep_error *err)
{
    const int s =
        from->form == FORM_NVFP4_MODELOPT ? SUFFIX_INPUT_SCALE : SUFFIX_INPUT_GLOBAL_SCALE;
    if (from->form != to->form || !is_nvfp4(from) || !from->tensors[s] || to->tensors[s])
        return 0;
    const char *name =
        arena_printf(&k->r->arena, err, "%s.%s", to->name, suffix_name((enum suffix)s));
    (*n)++;
    return name ? add_to_view(k, index_of(k, from->tensors[s]), name, err) : -1;
}

static int lend_input_scales(struct repairing *k, struct prep_error *err)
{
    const struct lint_job *j = &k->modules;
    size_t n = 0;
    for (size_t i = 0; repair_wants(k, "SCALE_MISSING") && i + 1 < j->n_modules; i++) {
        const struct lint_module *a = &j->modules[i], *b = a + 1;
        if (is_gate_up(a, b) && k->new_expert[i] < 0 &&
            (lend_input_scale(k, a, b, &n, err) || lend_input_scale(k, b, a, &n, err)))
            return -1;
    }
    repair_mended(k, "SCALE_MISSING", n,
                  "input scale taken from the other half, of the same input");
    return 0;
}

int repair_view(struct repairing *k, struct prep_error *err)
{
    const size_t n = k->r->ckpt->n_tensors;
    unsigned char *seen = arena_calloc(&k->r->arena, n, 1, err);
    if (!seen)
        return -1;
    k->r->view.sources[0] = k->r->ckpt;
    k->r->view.n_sources = 1;
    for (size_t i = 0; i < k->modules.n_modules; i++)
        if (add_module(k, i, seen, err))
            return -1;
    for (uint32_t i = 0; i < n; i++) /* suffixes that no format has */
        if (!seen[i] && !k->dropped[i] && add_to_view(k, i, k->r->ckpt->tensors[i].info.name, err))
            return -1;
    return lend_input_scales(k, err) || view_finish(&k->r->view, err) ? -1 : 0;
}
