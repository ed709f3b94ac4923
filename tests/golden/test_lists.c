/* SPDX-License-Identifier: MIT */
/* Tensor names, configs and module lists before and after pruning: fixture lists/cases.json. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/report.h"
#include "libprep/prune/edit_config.h"
#include "tests/support/support.h"

enum { N_LAYERS = 6, MAX_NAMES = 1000 };

struct cases {
    struct test_bytes file;
    struct json doc;
    struct arena arena;
    struct renumber renumber;
    struct module_list modules;
    int n_in, n_out;
    int n_experts[N_LAYERS];
    struct prep_error err;
};

static const char *string_at(struct cases *c, uint32_t node)
{
    const char *s = json_string(&c->doc, node, &c->arena, NULL, &c->err);
    assert_non_null(s);
    return s;
}

static int int_at(struct cases *c, const char *key)
{
    int64_t v;
    assert_int_equal(json_i64(&c->doc, json_get(&c->doc, 0, key), &v), 0);
    return (int)v;
}

static void read_kept(struct cases *c, struct keep_layer layers[N_LAYERS], size_t *n)
{
    const struct json *d = &c->doc;
    uint32_t object = json_get(d, 0, "kept_parent");
    *n = 0;
    for (uint32_t k = json_first(d, object), v; k != JSON_NONE; k = json_next(d, v)) {
        struct keep_layer *l = &layers[(*n)++];
        v = json_next(d, k);
        *l = (struct keep_layer){.layer = atoi(string_at(c, k)), .n_parent = c->n_in};
        l->kept_parent = arena_calloc(&c->arena, json_count(d, v), sizeof(int), &c->err);
        for (uint32_t e = json_first(d, v); e != JSON_NONE; e = json_next(d, e)) {
            int64_t id;
            assert_int_equal(json_i64(d, e, &id), 0);
            l->kept_parent[l->n_kept++] = (int)id;
        }
        l->kept_source = l->kept_parent;
    }
}

static void set_up_renumbering(struct cases *c)
{
    struct keep_layer layers[N_LAYERS];
    unsigned char is_moe[N_LAYERS] = {0};
    int experts_before[N_LAYERS] = {0};
    struct keep_map map = {.layers = layers};
    struct config config = {.num_hidden_layers = N_LAYERS - 1,
                            .num_nextn_predict_layers = 1,
                            .n_layers = N_LAYERS,
                            .is_moe = is_moe,
                            .n_experts = experts_before,
                            .n_routed_experts = c->n_in};
    read_kept(c, layers, &map.n_layers);
    for (size_t i = 0; i < map.n_layers; i++) {
        is_moe[layers[i].layer] = 1;
        experts_before[layers[i].layer] = c->n_in;
        c->n_experts[layers[i].layer] = layers[i].n_kept;
    }
    assert_int_equal(renumber_init(&c->renumber, &config, &map, 0, &c->err), 0);
}

static void set_up_modules(struct cases *c)
{
    const struct json *d = &c->doc;
    static const char *names[MAX_NAMES];
    size_t n = 0;
    uint32_t pairs = json_get(d, 0, "names");
    for (uint32_t p = json_first(d, pairs); p != JSON_NONE; p = json_next(d, p)) {
        assert_true(n < MAX_NAMES);
        names[n++] = string_at(c, json_first(d, p));
    }
    assert_int_equal(module_list_init(&c->modules, &c->renumber, names, n, &c->err), 0);
}

static int open_cases(void **state)
{
    struct cases *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->file = test_read(test_path("%s/observations/lists/cases.json", test_data()));
    arena_init(&c->arena, 0);
    assert_int_equal(json_parse(&c->doc, (const char *)c->file.p, c->file.n, "cases.json", &c->err),
                     0);
    c->n_in = int_at(c, "n_in");
    c->n_out = int_at(c, "n_out");
    set_up_renumbering(c);
    set_up_modules(c);
    *state = c;
    return 0;
}

static int close_cases(void **state)
{
    struct cases *c = *state;
    module_list_fini(&c->modules);
    renumber_fini(&c->renumber);
    arena_fini(&c->arena);
    json_free(&c->doc);
    free(c->file.p);
    free(c);
    return 0;
}

static void every_tensor_is_dropped_renamed_or_kept(void **state)
{
    struct cases *c = *state;
    const struct json *d = &c->doc;
    uint32_t pairs = json_get(d, 0, "names");
    for (uint32_t p = json_first(d, pairs); p != JSON_NONE; p = json_next(d, p)) {
        uint32_t from = json_first(d, p), to = json_next(d, from);
        const char *name = string_at(c, from);
        struct tensor_info t = {.name = name, .n_dims = 2, .shape = {4, 8}};
        struct renumber_fate fate;
        if (strstr(name, "mlp.gate."))
            t.shape[0] = (uint64_t)c->n_in;
        assert_int_equal(renumber_tensor(&fate, &c->renumber, &t, &c->err), 0);
        if (json_type(d, to) == JSON_NULL) {
            assert_int_equal(fate.action, RENUMBER_DROP);
            continue;
        }
        if (fate.action == RENUMBER_RENAME)
            name = name_with_expert(&c->arena, name, &fate.parts, fate.expert, &c->err);
        assert_int_not_equal(fate.action, RENUMBER_DROP);
        assert_string_equal(name, string_at(c, to));
        assert_int_equal(fate.action == RENUMBER_GATHER, strstr(name, "mlp.gate.") != NULL);
    }
}

/* A value of cases.json as a document of its own. */
static void open_member(struct cases *c, const char *key, struct json *doc)
{
    const struct json_node *node = &c->doc.nodes[json_get(&c->doc, 0, key)];
    assert_int_equal(
        json_parse(doc, c->doc.text + node->start, node->end - node->start, key, &c->err), 0);
}

/* The patched text has to be the expected member of cases.json, white space included. */
static void check_patch(struct cases *c, struct json_patch *p, const char *key)
{
    struct json want;
    struct span got;
    open_member(c, key, &want);
    assert_int_equal(json_patch_finish(p, &got, &c->err), 0);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.text, want.n);
    json_free(&want);
}

static void config_counts_and_lists_change_and_nothing_else(void **state)
{
    struct cases *c = *state;
    struct json doc;
    struct json_patch p;
    struct report report;
    struct expert_counts counts = {.before = c->n_in,
                                   .after = c->n_out,
                                   .uniform = 1,
                                   .n_experts = c->n_experts,
                                   .n_layers = N_LAYERS,
                                   .mtp_before = 1,
                                   .mtp_after = 1};
    open_member(c, "config_in", &doc);
    report_init(&report);
    json_patch_init(&p, &doc, &c->arena);
    assert_int_equal(edit_expert_counts(&p, 0, &counts, &report, &c->err), 0);
    assert_int_equal(edit_module_lists(&p, &c->modules, 0, &c->err), 0);
    check_patch(c, &p, "config_out");

    uint32_t warnings = json_get(&c->doc, 0, "warnings");
    assert_int_equal(report.n_warnings, json_count(&c->doc, warnings));
    const char *want = string_at(c, json_first(&c->doc, warnings));
    assert_int_equal(strncmp(want, report.warnings[0].tag, strlen(report.warnings[0].tag)), 0);
    assert_non_null(strstr(report.warnings[0].text, strchr(want, ':') + 1));
    report_fini(&report);
    json_patch_free(&p);
    json_free(&doc);
}

static void lists_of_hf_quant_config_change_and_nothing_else(void **state)
{
    struct cases *c = *state;
    struct json doc;
    struct json_patch p;
    open_member(c, "hf_quant_config_in", &doc);
    json_patch_init(&p, &doc, &c->arena);
    assert_int_equal(edit_module_lists(&p, &c->modules, 0, &c->err), 0);
    check_patch(c, &p, "hf_quant_config_out");
    json_patch_free(&p);
    json_free(&doc);
}

static void patterns_that_tell_experts_apart_are_refused(void **state)
{
    struct cases *c = *state;
    const struct json *d = &c->doc;
    uint32_t list = json_get(d, 0, "patterns");
    for (uint32_t v = json_first(d, list); v != JSON_NONE; v = json_next(d, v)) {
        uint32_t entries = json_get(d, v, "list"), tag = json_get(d, v, "error");
        const char *entry = string_at(c, json_first(d, entries));
        struct prep_error err = PREP_ERROR_INIT;
        struct entry_fate fate;
        int rc = module_entry(&fate, &c->modules, entry, SYNTAX_GLOB, 0, &c->arena, &err);
        assert_int_equal(rc, tag == JSON_NONE ? 0 : -1);
        if (rc == 0)
            assert_int_equal(fate.action, ENTRY_KEEP);
        else
            assert_string_equal(err.tag, string_at(c, tag));
    }
}

static void patterns_are_expanded_to_the_names_they_matched(void **state)
{
    struct cases *c = *state;
    static const char text[] =
        "{\"quantization_config\": {\"ignore\": [\n"
        "  \"lm_head\",\n"
        "  \"re:.*layers\\\\.3\\\\.mlp\\\\.experts\\\\.[0-3]\\\\.gate.*\",\n"
        "  \"model.layers.3.mlp.experts.0.gate_proj\"\n"
        "], \"dynamic\": {\"-:.*\\\\.3\\\\.mlp\\\\.experts\\\\.5\\\\..*\": {\"a\": 1}}}}";
    static const char want[] =
        "{\"quantization_config\": {\"ignore\": [\n"
        "  \"lm_head\",\n"
        "  \"model.layers.3.mlp.experts.1.gate_proj\",\n"
        "  \"model.layers.3.mlp.experts.0.gate_proj\"\n"
        "], \"dynamic\": {\"-:model.layers.3.mlp.experts.2.gate_proj\": {\"a\": 1}}}}";
    struct json doc;
    struct json_patch p;
    struct span out;
    assert_int_equal(json_parse(&doc, text, sizeof text - 1, "config.json", &c->err), 0);
    json_patch_init(&p, &doc, &c->arena);
    assert_int_equal(edit_module_lists(&p, &c->modules, 1, &c->err), 0);
    assert_int_equal(json_patch_finish(&p, &out, &c->err), 0);
    assert_string_equal(arena_strndup(&c->arena, (const char *)out.p, out.n, &c->err), want);
    json_patch_free(&p);
    json_free(&doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_dropped_renamed_or_kept),
        cmocka_unit_test(config_counts_and_lists_change_and_nothing_else),
        cmocka_unit_test(lists_of_hf_quant_config_change_and_nothing_else),
        cmocka_unit_test(patterns_that_tell_experts_apart_are_refused),
        cmocka_unit_test(patterns_are_expanded_to_the_names_they_matched),
    };
    return cmocka_run_group_tests(tests, open_cases, close_cases);
}
