/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "libprep/release/lint_job.h"

enum { TEXT_BYTES = 400 };

/* ---- tensor parallel ---- */

static void lint_tp(struct lint_job *j, int tp)
{
    const struct config *c = j->c;
    const struct {
        const char *what;
        int64_t n;
    } rows[] = {{"heads", c->num_attention_heads},
                {"columns of a routed expert", c->moe_intermediate_size},
                {"columns of a shared expert", c->moe_intermediate_size * c->n_shared_experts},
                {"columns of a dense MLP", c->intermediate_size}};
    char text[TEXT_BYTES];
    size_t at = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].n % tp != 0)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%lld %s", at ? ", " : "",
                                   (long long)rows[i].n, rows[i].what);
    if (at)
        lint_add(j->out, "TP_DIVISIBILITY", LINT_ENGINES, "--tp",
                 "%s: not to be split over %d ranks", text, tp);
}

/* Inputs per scale of a quantized linear: 0 when it has none along them. */
static uint64_t group_of(const struct lint_module *m, uint64_t *in)
{
    const struct checkpoint_tensor *t;
    switch (m->form) {
    case FORM_NVFP4_MODELOPT:
    case FORM_NVFP4_PACKED:
        t = m->tensors[m->form == FORM_NVFP4_MODELOPT ? SUFFIX_WEIGHT : SUFFIX_WEIGHT_PACKED];
        *in = t && t->info.n_dims == 2 ? t->info.shape[1] * 2 : 0;
        return 16;
    case FORM_INT4_GPTQ:
        t = m->tensors[SUFFIX_QWEIGHT];
        *in = t && t->info.n_dims == 2 ? t->info.shape[0] * 8 : 0;
        t = m->tensors[SUFFIX_SCALES];
        return t && t->info.n_dims == 2 && t->info.shape[0] ? *in / t->info.shape[0] : 0;
    case FORM_INT4_PACKED:
        t = m->tensors[SUFFIX_WEIGHT_PACKED];
        *in = t && t->info.n_dims == 2 ? t->info.shape[1] * 8 : 0;
        t = m->tensors[SUFFIX_WEIGHT_SCALE];
        return t && t->info.n_dims == 2 && t->info.shape[1] ? *in / t->info.shape[1] : 0;
    case FORM_FP8:
        t = m->tensors[SUFFIX_WEIGHT];
        *in = t && t->info.n_dims == 2 ? t->info.shape[1] : 0;
        return 128;
    default:
        return 0;
    }
}

/* Linears whose inputs are what is split. */
static const char *split_inputs(const struct lint_module *m)
{
    if (m->role == ROLE_EXPERT && m->part == PART_DOWN)
        return "expert width";
    if (m->part == PART_SHARED_DOWN)
        return "shared expert width";
    if (m->role == ROLE_DENSE_MLP && m->part == PART_DOWN)
        return "dense MLP width";
    return m->part == PART_O ? "attention width" : NULL;
}

static void lint_tp_groups(struct lint_job *j, int tp)
{
    const char *said[4] = {0};
    for (size_t i = 0; i < j->n_modules; i++) {
        const struct lint_module *m = &j->modules[i];
        const char *what = split_inputs(m);
        uint64_t in = 0, group = what ? group_of(m, &in) : 0;
        int known = 0, k = 0;
        for (; k < 4 && said[k]; k++)
            known = known || said[k] == what;
        if (!group || !in || in % (uint64_t)tp || in / (uint64_t)tp % group == 0 || known)
            continue;
        if (k < 4)
            said[k] = what;
        const unsigned long long share = in / (uint64_t)tp;
        lint_add(j->out, "TP_GROUP", LINT_ENGINES, m->name, "%s %llu / %d = %llu is %s of %llu",
                 what, (unsigned long long)in, tp, share,
                 share * 2 == group ? "half a group" : "no multiple of a group",
                 (unsigned long long)group);
    }
}

/* ---- expert parallel ---- */

static void lint_ep(struct lint_job *j, int ep)
{
    const int n = j->c->n_routed_experts;
    char text[TEXT_BYTES];
    size_t at = 0;
    if (n % ep == 0)
        return;
    for (int d = 1; d <= n && at < sizeof text - 16; d++)
        if (n % d == 0)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s%d", at ? ", " : "", d);
    lint_add(j->out, "EP_DIVISIBILITY", LINT_ENGINES, "--ep",
             "%d experts over %d ranks: the degrees that fit are %s", n, ep, text);
}

void lint_ranks(struct lint_job *j)
{
    if (j->opt->tp > 0) {
        lint_tp(j, j->opt->tp);
        lint_tp_groups(j, j->opt->tp);
    }
    if (j->opt->ep > 0)
        lint_ep(j, j->opt->ep);
}
