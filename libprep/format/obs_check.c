/* SPDX-License-Identifier: MIT */
/* Values in the order of section 10: layers ascending, metrics as in section 1, experts. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "libprep/format/obs_build.h"

enum { SHOWN_EXPERTS = 8 };

struct check {
    const struct obs_run *run;
    const struct obs_expect *expect;
    const struct obs_layer *l;
    int lenient;
    struct report *report;
    struct prep_error *err;
};

#define value_bad(c, tag, ...) prep_fail_tag((c)->err, PREP_EDATA, (tag), __VA_ARGS__)

/* Index of a layer in expect, or -1. */
static int expected(const struct obs_expect *expect, int layer)
{
    for (size_t i = 0; i < expect->n_layers; i++) {
        if (expect->layers[i] == layer)
            return (int)i;
    }
    return -1;
}

int obs_run_check_structure(const struct obs_run *run, const struct obs_expect *expect,
                            struct report *report, struct prep_error *err)
{
    for (size_t i = 0; i < run->n_layers; i++) {
        const struct obs_layer *l = &run->layers[i];
        int at = expected(expect, l->layer);
        if (at < 0) {
            report_warn(report, "OBS_LAYER_UNKNOWN",
                        "%s: layer %d has no routed experts in the model, ignored", run->path,
                        l->layer);
            continue;
        }
        int base = expect->n_experts[at], parent = expect->n_parent ? expect->n_parent[at] : base;
        if (l->n_experts == base || l->n_experts == parent)
            continue;
        if (base == parent)
            return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                                 "%s: layer %d: has %d experts, the model has %d", run->path,
                                 l->layer, l->n_experts, base);
        return prep_fail_tag(err, PREP_EDATA, "OBS_EXPERT_COUNT",
                             "%s: layer %d: has %d experts, the model has %d and its base %d",
                             run->path, l->layer, l->n_experts, parent, base);
    }
    return 0;
}

/* A count that does not add up: an error, or with lenient a warning. */
static int mismatch(struct check *c, const char *text)
{
    if (!c->lenient)
        return value_bad(c, "OBS_COUNT_MISMATCH", "%s", text);
    report_warn(c->report, "OBS_COUNT_MISMATCH", "%s", text);
    return 0;
}

static int check_tokens(struct check *c)
{
    const struct obs_layer *l = c->l;
    if (l->has_total_tokens && l->total_tokens < 0)
        return value_bad(c, "OBS_NEGATIVE", "%s: layer %d: total_tokens is %" PRId64, c->run->path,
                         l->layer, l->total_tokens);
    if (l->has_total_tokens && l->total_tokens == 0)
        return value_bad(c, "OBS_ZERO_TOKENS",
                         "%s: layer %d: total_tokens is 0, no token reached "
                         "the layer",
                         c->run->path, l->layer);
    return 0;
}

/* sum n = T * k, exactly. */
static int check_frequency_sum(struct check *c)
{
    const struct obs_layer *l = c->l;
    uint64_t sum = 0, want = 0;
    int over = 0;
    char text[512];
    for (int e = 0; e < l->n_experts; e++)
        over |= prep_add(&sum, sum, (uint64_t)l->expert_frequency[e]);
    if (!over && sum == 0)
        return value_bad(c, "OBS_ZERO_TOKENS", "%s: layer %d: expert_frequency is 0 throughout",
                         c->run->path, l->layer);
    if (!l->has_total_tokens || c->expect->top_k <= 0)
        return 0;
    over |= prep_mul(&want, (uint64_t)l->total_tokens, (uint64_t)c->expect->top_k);
    if (!over && sum == want)
        return 0;
    snprintf(text, sizeof text,
             "%s: layer %d: expert_frequency adds up to %" PRIu64 ", want total_tokens %" PRId64
             " x top-k %d",
             c->run->path, l->layer, sum, l->total_tokens, c->expect->top_k);
    return mismatch(c, text);
}

/* One warning per layer names the first experts that no token chose. */
static void warn_never_routed(struct check *c)
{
    const struct obs_layer *l = c->l;
    char ids[SHOWN_EXPERTS * 8] = "";
    int n = 0;
    size_t used = 0;
    for (int e = 0; e < l->n_experts; e++) {
        if (l->expert_frequency[e] == 0 && n++ < SHOWN_EXPERTS)
            used += (size_t)snprintf(ids + used, sizeof ids - used, " %d", e);
    }
    if (n)
        report_warn(c->report, "OBS_NEVER_ROUTED",
                    "%s: layer %d: %d of %d experts were never routed to:%s%s", c->run->path,
                    l->layer, n, l->n_experts, ids, n > SHOWN_EXPERTS ? " ..." : "");
}

static int check_pairwise(struct check *c)
{
    const struct obs_layer *l = c->l;
    const int64_t *n = l->expert_frequency;
    char text[512];
    if (!n)
        return 0;
    for (int i = 0; i < l->n_experts; i++) {
        for (int j = 0; j < l->n_experts; j++) {
            int64_t want,
                got = l->pairwise_expert_frequency[(size_t)i * (size_t)l->n_experts + (size_t)j];
            if (!__builtin_add_overflow(n[i], n[j], &want) && got == want)
                continue;
            snprintf(text, sizeof text,
                     "%s: layer %d: pairwise_expert_frequency: experts %d and %d have %" PRId64
                     ", want %" PRId64 " + %" PRId64,
                     c->run->path, l->layer, i, j, got, n[i], n[j]);
            return mismatch(c, text);
        }
    }
    return 0;
}

static int check_counts(struct check *c, size_t key, const int64_t *v)
{
    for (uint64_t i = 0; i < obs_vector_n(c->l, key); i++) {
        if (v[i] < 0)
            return value_bad(c, "OBS_NEGATIVE", "%s: layer %d: %s: expert %" PRIu64 " is %" PRId64,
                             c->run->path, c->l->layer, obs_keys[key].name,
                             i % (uint64_t)c->l->n_experts, v[i]);
    }
    if (key == OBS_PAIRWISE)
        return check_pairwise(c);
    warn_never_routed(c);
    return check_frequency_sum(c);
}

static int check_number(struct check *c, size_t key, int expert, double v)
{
    if (!isfinite(v))
        return value_bad(c, "OBS_NONFINITE", "%s: layer %d: %s: expert %d is %g, want a number",
                         c->run->path, c->l->layer, obs_keys[key].name, expert, v);
    if (v < 0)
        return value_bad(c, "OBS_NEGATIVE", "%s: layer %d: %s: expert %d is %g, want >= 0",
                         c->run->path, c->l->layer, obs_keys[key].name, expert, v);
    return 0;
}

/* A sum over no tokens is 0; anything else would make an infinite mean, even when lenient. */
static int check_sum(struct check *c, size_t key, int expert, double v)
{
    const int64_t *n = c->l->expert_frequency;
    if (obs_keys[key].type != OBS_F64 || !n || n[expert] > 0 || !(v > 0))
        return 0;
    return value_bad(c, "OBS_COUNT_MISMATCH",
                     "%s: layer %d: %s: expert %d is %g, but no token was routed to it",
                     c->run->path, c->l->layer, obs_keys[key].name, expert, v);
}

static int is_rebuilt(const struct obs_layer *l, const void *v)
{
    return (v == l->ean_sum && l->ean_sum_from_mean) ||
           (v == l->weighted_ean_sum && l->weighted_ean_sum_from_mean);
}

static int check_vector(struct check *c, size_t key)
{
    const void *v = obs_vector(c->l, key);
    if (!v || is_rebuilt(c->l, v)) /* faults of a rebuilt sum are its mean's */
        return 0;
    if (obs_keys[key].type == OBS_I64)
        return check_counts(c, key, v);
    for (int e = 0; e < c->l->n_experts; e++) {
        double x =
            obs_keys[key].type == OBS_F64 ? ((const double *)v)[e] : (double)((const float *)v)[e];
        if (check_number(c, key, e, x) || check_sum(c, key, e, x))
            return -1;
    }
    return 0;
}

static int check_output(struct check *c)
{
    const struct obs_layer *l = c->l;
    const double *v = l->routed_output;
    for (int e = 0; v && e < l->n_experts; e++) {
        for (int64_t i = 0; i < l->hidden; i++, v++) {
            if (!isfinite(*v))
                return value_bad(
                    c, "OBS_NONFINITE", "%s: layer %d: %s: expert %d is %g at %" PRId64,
                    c->run->path, l->layer,
                    l->routed_output_is_sum ? OBS_OUTPUT_SUM : OBS_OUTPUT_MEAN, e, *v, i);
        }
    }
    return 0;
}

int obs_run_check_values(const struct obs_run *run, const struct obs_expect *expect, int lenient,
                         struct report *report, struct prep_error *err)
{
    struct check c = {run, expect, NULL, lenient, report, err};
    for (size_t i = 0; i < run->n_layers; i++) {
        c.l = &run->layers[i];
        if (expected(expect, c.l->layer) < 0)
            continue;
        if (check_tokens(&c))
            return -1;
        for (size_t k = 0; k < OBS_N_KEYS; k++) {
            if (check_vector(&c, k))
                return -1;
        }
        if (check_output(&c))
            return -1;
    }
    return 0;
}
