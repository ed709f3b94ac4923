/* SPDX-License-Identifier: MIT */
/*
 * Any JSON as a config file: counts and module lists are edited, and the result is JSON again.
 * The first byte's low bit asks for patterns to be expanded.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/prune/edit_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int kept[] = {1, 3};

static const char *const names[] = {
    "lm_head.weight",
    "model.layers.1.self_attn.o_proj.weight",
    "model.layers.1.mlp.experts.0.up_proj.weight",
    "model.layers.1.mlp.experts.1.up_proj.weight",
    "model.layers.1.mlp.experts.2.up_proj.weight",
    "model.layers.1.mlp.experts.3.up_proj.weight",
    "model.layers.2.mlp.experts.0.up_proj.weight",
};

static void require(int ok)
{
    if (!ok)
        abort();
}

static void edit(const char *text, size_t n, int expand, const struct module_list *modules)
{
    static const int n_experts[] = {0, 2};
    const struct expert_counts counts = {
        .before = 4, .after = 2, .n_experts = n_experts, .n_layers = 2, .mtp_before = 1};
    struct prep_error err = PREP_ERROR_INIT;
    struct json doc, again;
    struct json_patch p = {0};
    struct arena arena;
    struct span out;
    arena_init(&arena, 256u << 20);
    if (json_parse(&doc, text, n, "config.json", &err) == 0) {
        json_patch_init(&p, &doc, &arena);
        if ((json_type(&doc, 0) != JSON_OBJECT ||
             edit_expert_counts(&p, 0, &counts, NULL, &err) == 0) &&
            edit_module_lists(&p, modules, expand, &err) == 0) {
            require(json_patch_finish(&p, &out, &err) == 0);
            require(json_parse(&again, (const char *)out.p, out.n, "edited", &err) == 0);
            json_free(&again);
        }
        json_patch_free(&p);
    }
    json_free(&doc);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keep_layer layer = {
        .layer = 1, .n_parent = 4, .n_kept = 2, .kept_parent = kept, .kept_source = kept};
    const struct keep_map map = {.layers = &layer, .n_layers = 1};
    unsigned char is_moe[] = {0, 1, 1};
    int n_experts[] = {0, 4, 4};
    const struct config config = {.num_hidden_layers = 2,
                                  .num_nextn_predict_layers = 1,
                                  .n_layers = 3,
                                  .is_moe = is_moe,
                                  .n_experts = n_experts};
    struct prep_error err = PREP_ERROR_INIT;
    struct renumber renumber;
    struct module_list modules;
    if (size == 0)
        return 0;
    require(renumber_init(&renumber, &config, &map, 1, &err) == 0);
    require(module_list_init(&modules, &renumber, names, sizeof names / sizeof *names, &err) == 0);
    edit((const char *)data + 1, size - 1, data[0] & 1, &modules);
    module_list_fini(&modules);
    renumber_fini(&renumber);
    return 0;
}
