/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "libprep/release/judge.h"

struct limit {
    const char *name;
    double limit, found;
    int least; /* the figure must be at least the limit, else at most */
};

static double worst_block(const struct judge_result *r)
{
    double worst = NAN;
    for (int i = 0; r->has_layers && i < r->layers.n_layers; i++)
        if (!(r->at[i].block_error <= worst) && !isnan(r->at[i].block_error))
            worst = r->at[i].block_error;
    return worst;
}

int judge_limits_check(struct judge_verdict **verdicts, size_t *n, const struct judge_limits *l,
                       struct judgement *j, struct prep_error *err)
{
    enum { N_LIMITS = 8 };
    const int judged = j->has_original || j->has_reference;
    *n = 0;
    *verdicts = arena_calloc(&j->arena, j->n_results * N_LIMITS, sizeof **verdicts, err);
    if (!*verdicts)
        return -1;
    for (size_t i = 0; i < j->n_results; i++) {
        const struct judge_result *r = &j->results[i];
        const struct limit limits[N_LIMITS] = {
            {"max-kl", l->max_kl, judged ? r->free.kl.mean : NAN, 0},
            {"max-forced-kl", l->max_forced_kl, r->has_forced ? r->forced.kl.mean : NAN, 0},
            {"max-token-kl", l->max_token_kl, judged ? r->free.kl_max : NAN, 0},
            {"max-nll-increase", l->max_nll_increase, judged ? r->free.more_nll.mean : NAN, 0},
            {"min-top1", l->min_top1, judged ? r->free.first.mean : NAN, 1},
            {"min-top5", l->min_top5, judged ? r->free.five.mean : NAN, 1},
            /* Nothing changed: nothing is wrong. */
            {"max-nmse", l->max_nmse,
             !r->has_linears ? NAN
             : r->all.n      ? r->all.worst
                             : 0,
             0},
            {"max-block-error", l->max_block_error, worst_block(r), 0},
        };
        for (size_t k = 0; k < N_LIMITS; k++) {
            const struct limit *x = &limits[k];
            if (isnan(x->limit))
                continue;
            (*verdicts)[(*n)++] = (struct judge_verdict){.name = x->name,
                                                         .result = i,
                                                         .limit = x->limit,
                                                         .found = x->found,
                                                         .holds = x->least ? x->found >= x->limit
                                                                           : x->found <= x->limit};
        }
    }
    return 0;
}
