/* SPDX-License-Identifier: MIT */
#include "libprep/engine/generate.h"

#include <stdlib.h>

#include "libprep/engine/runtime_parts.h"

size_t greedy_pick(const float *logits, size_t n)
{
    size_t best = 0;
    for (size_t i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

/* One step: new tokens through the model, and the logits after the last of them. */
struct step {
    struct runtime *r;
    struct kv_cache *cache;
    float *z, *logits;
};

static int forward(const struct step *s, const uint32_t *tokens, size_t n, size_t position,
                   struct prep_error *err)
{
    const struct sequence q = {tokens, n, position, s->cache};
    struct batch *b = NULL;
    int rc = batch_new(&b, s->r, &q, 1, err) || runtime_embed(s->r, b, err);
    for (int layer = 0; layer < s->r->config->num_hidden_layers && !rc; layer++)
        rc = runtime_layer(s->r, layer, b, NULL, err);
    rc = rc || runtime_final(s->r, -1, b, n - 1, 1, s->z, err) ||
         runtime_logits(s->r, s->z, 1, s->logits, NULL, err);
    batch_free(b);
    return rc ? -1 : 0;
}

static int is_stop(const struct greedy *g, uint32_t token)
{
    for (size_t i = 0; i < g->n_stop; i++)
        if (g->stop[i] == token)
            return 1;
    return 0;
}

static int go_on(const struct step *s, const struct greedy *g, uint32_t *out, size_t *n,
                 struct prep_error *err)
{
    const size_t vocab = (size_t)s->r->config->vocab_size;
    int rc = forward(s, g->prompt, g->n_prompt, 0, err);
    while (!rc) {
        if (g->step && g->step(g->arg, *n, s->logits, err))
            return -1;
        out[*n] = (uint32_t)greedy_pick(s->logits, vocab);
        ++*n;
        if (*n == g->n_new || is_stop(g, out[*n - 1]))
            return 0;
        rc = forward(s, &out[*n - 1], 1, g->n_prompt + *n - 1, err);
    }
    return -1;
}

int greedy_generate(struct runtime *r, const struct greedy *g, uint32_t *out, size_t *n,
                    struct prep_error *err)
{
    const struct config *c = r->config;
    struct step s = {.r = r};
    int rc = -1;
    *n = 0;
    if (g->n_new == 0)
        return 0;
    if (g->n_prompt == 0)
        return prep_fail(err, PREP_EUSAGE, "nothing to go on from: the prompt has no token");
    s.z = calloc((size_t)c->hidden_size, sizeof *s.z);
    s.logits = calloc((size_t)c->vocab_size, sizeof *s.logits);
    if (!s.z || !s.logits)
        prep_fail(err, PREP_ENOMEM, "no memory for logits");
    else if (!kv_cache_new(&s.cache, r, 0, c->num_hidden_layers, g->n_prompt + g->n_new - 1, err))
        rc = go_on(&s, g, out, n, err);
    kv_cache_free(s.cache);
    free(s.z);
    free(s.logits);
    return rc;
}
