/* SPDX-License-Identifier: MIT */
#include "libprep/release/judge_load.h"

int judge_load_init(struct judge_load *l, const struct config *config, struct arena *arena,
                    struct prep_error *err)
{
    *l = (struct judge_load){.n_layers = config->num_hidden_layers, .n_experts = config->n_experts};
    l->tokens = arena_calloc(arena, (size_t)l->n_layers, sizeof *l->tokens, err);
    if (!l->tokens)
        return -1;
    for (int i = 0; i < l->n_layers; i++) {
        if (l->n_experts[i] <= 0)
            continue;
        l->tokens[i] = arena_calloc(arena, (size_t)l->n_experts[i], sizeof **l->tokens, err);
        if (!l->tokens[i])
            return -1;
    }
    return 0;
}

uint64_t judge_load_memory(const struct config *config)
{
    uint64_t bytes = 0;
    for (int i = 0; i < config->num_hidden_layers; i++)
        bytes += (uint64_t)(config->n_experts[i] > 0 ? config->n_experts[i] : 0) * sizeof(uint64_t);
    return bytes;
}

void judge_load_add(struct judge_load *l, int layer, const int32_t *experts, size_t k)
{
    uint64_t *tokens = l->tokens[layer];
    for (size_t i = 0; tokens && i < k; i++)
        if (experts[i] >= 0 && experts[i] < l->n_experts[layer])
            tokens[experts[i]]++;
}

void judge_load_figures(struct load_figures *f, const struct judge_load *l, int layer)
{
    const uint64_t *tokens = l->tokens[layer];
    uint64_t most = 0;
    *f = (struct load_figures){0};
    if (!tokens)
        return;
    f->n_experts = l->n_experts[layer];
    for (int e = 0; e < f->n_experts; e++) {
        f->choices += tokens[e];
        f->n_unused += tokens[e] == 0;
        if (tokens[e] > most) {
            most = tokens[e];
            f->busiest = e;
        }
    }
    if (!f->choices) {
        *f = (struct load_figures){0};
        return;
    }
    f->most = (double)most / (double)f->choices;
    f->even = 1.0 / (double)f->n_experts;
}
