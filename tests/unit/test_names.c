/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/io.h"
#include "libprep/model/names.h"
#include "tests/support/support.h"

static struct name_parts parse(const char *name)
{
    return name_parse(name, strlen(name));
}

static void assert_name(const char *name, enum role role, enum part part, int layer, int expert,
                        const char *module, const char *suffix)
{
    struct name_parts p = parse(name);
    if (p.role != role || p.part != part || p.layer != layer || p.expert != expert)
        fail_msg("%s: role %d part %d layer %d expert %d", name, (int)p.role, (int)p.part, p.layer,
                 p.expert);
    assert_int_equal(p.module_n, strlen(module));
    assert_memory_equal(p.module, module, p.module_n);
    assert_int_equal(p.suffix_n, strlen(suffix));
    assert_memory_equal(p.suffix, suffix, p.suffix_n);
    assert_true(p.suffix + p.suffix_n == name + strlen(name));
}

static void reads_globals_behind_any_model_prefix(void **state)
{
    (void)state;
    assert_name("lm_head.weight", ROLE_LM_HEAD, PART_LM_HEAD, -1, -1, "lm_head", "weight");
    assert_name("lm_head", ROLE_LM_HEAD, PART_LM_HEAD, -1, -1, "lm_head", "");
    assert_name("model.embed_tokens.weight", ROLE_EMBED, PART_EMBED, -1, -1, "model.embed_tokens",
                "weight");
    assert_name("language_model.model.norm.weight", ROLE_FINAL_NORM, PART_FINAL_NORM, -1, -1,
                "language_model.model.norm", "weight");
    assert_name("norm.weight", ROLE_FINAL_NORM, PART_FINAL_NORM, -1, -1, "norm", "weight");
    assert_name("visual.norm.weight", ROLE_OTHER, PART_OTHER, -1, -1, "visual.norm", "weight");
    assert_name("", ROLE_OTHER, PART_OTHER, -1, -1, "", "");
    assert_name(".", ROLE_OTHER, PART_OTHER, -1, -1, "", "");
}

static void reads_every_module_of_a_layer(void **state)
{
    (void)state;
    static const struct {
        const char *module, *suffix;
        enum role role;
        enum part part;
    } rows[] = {
        {"input_layernorm", "weight", ROLE_LAYER_NORM, PART_INPUT_NORM},
        {"post_attention_layernorm", "weight", ROLE_LAYER_NORM, PART_POST_NORM},
        {"self_attn.q_a_proj", "weight_packed", ROLE_ATTENTION, PART_Q_A},
        {"self_attn.q_a_layernorm", "weight", ROLE_ATTENTION, PART_Q_A_NORM},
        {"self_attn.q_b_proj", "qweight", ROLE_ATTENTION, PART_Q_B},
        {"self_attn.kv_a_proj_with_mqa", "weight_scale_inv", ROLE_ATTENTION, PART_KV_A},
        {"self_attn.kv_a_layernorm", "weight", ROLE_ATTENTION, PART_KV_A_NORM},
        {"self_attn.kv_b_proj", "weight", ROLE_ATTENTION, PART_KV_B},
        {"self_attn.o_proj", "g_idx", ROLE_ATTENTION, PART_O},
        {"self_attn.fused_qkv_a_proj_with_mqa", "weight", ROLE_ATTENTION, PART_OTHER},
        {"self_attn.k_proj", "k_scale", ROLE_ATTENTION, PART_OTHER},
        {"self_attn.indexer.wq_b", "weight", ROLE_INDEXER, PART_INDEXER_WQ_B},
        {"self_attn.indexer.wk", "weight", ROLE_INDEXER, PART_INDEXER_WK},
        {"self_attn.indexer.k_norm", "bias", ROLE_INDEXER, PART_INDEXER_K_NORM},
        {"self_attn.indexer.weights_proj", "weight", ROLE_INDEXER, PART_INDEXER_WEIGHTS},
        {"self_attn.indexers_proj", "", ROLE_INDEXER, PART_INDEXER_WEIGHTS},
        {"mlp.gate", "weight", ROLE_ROUTER, PART_ROUTER},
        {"mlp.gate", "e_score_correction_bias", ROLE_ROUTER, PART_ROUTER},
        {"mlp", "e_score_correction_bias", ROLE_ROUTER, PART_ROUTER},
        {"mlp.gate_proj", "weight", ROLE_DENSE_MLP, PART_GATE},
        {"mlp.up_proj", "weight", ROLE_DENSE_MLP, PART_UP},
        {"mlp.down_proj", "", ROLE_DENSE_MLP, PART_DOWN},
        {"mlp.shared_experts.gate_proj", "scales", ROLE_SHARED_EXPERT, PART_SHARED_GATE},
        {"mlp.shared_experts.up_proj", "qzeros", ROLE_SHARED_EXPERT, PART_SHARED_UP},
        {"mlp.shared_experts.down_proj", "weight", ROLE_SHARED_EXPERT, PART_SHARED_DOWN},
        {"mlp.experts.gate_up_proj", "", ROLE_FUSED_EXPERTS, PART_OTHER},
        {"mlp.experts.down_proj", "weight", ROLE_FUSED_EXPERTS, PART_OTHER},
        {"mlp.experts", "", ROLE_FUSED_EXPERTS, PART_OTHER},
        {"mlp.shared_experts", "", ROLE_SHARED_EXPERT, PART_OTHER},
        {"enorm", "weight", ROLE_MTP_GLUE, PART_ENORM},
        {"hnorm", "weight", ROLE_MTP_GLUE, PART_HNORM},
        {"eh_proj", "weight", ROLE_MTP_GLUE, PART_EH_PROJ},
        {"shared_head.norm", "weight", ROLE_MTP_GLUE, PART_SHARED_HEAD_NORM},
        {"embed_tokens", "weight", ROLE_MTP_GLUE, PART_MTP_EMBED},
        {"shared_head.head", "weight", ROLE_MTP_GLUE, PART_MTP_HEAD},
        {"mlp.gateway", "weight", ROLE_OTHER, PART_OTHER},
        {"self_attention.q_proj", "weight", ROLE_OTHER, PART_OTHER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char name[128];
        snprintf(name, sizeof name, "model.layers.77.%s%s%s", rows[i].module,
                 rows[i].suffix[0] ? "." : "", rows[i].suffix);
        assert_name(name, rows[i].role, rows[i].part, 77, -1, rows[i].module, rows[i].suffix);
    }
}

static void reads_expert_ids_as_numbers(void **state)
{
    (void)state;
    assert_name("model.layers.3.mlp.experts.255.up_proj.weight_scale_2", ROLE_EXPERT, PART_UP, 3,
                255, "mlp.experts.255.up_proj", "weight_scale_2");
    assert_name("model.layers.3.mlp.experts.0.gate_proj", ROLE_EXPERT, PART_GATE, 3, 0,
                "mlp.experts.0.gate_proj", "");
    assert_name("layers.3.mlp.experts.7", ROLE_EXPERT, PART_OTHER, 3, 7, "mlp.experts.7", "");
    assert_name("layers.3.mlp.experts.7.act_fn.alpha", ROLE_EXPERT, PART_OTHER, 3, 7,
                "mlp.experts.7.act_fn", "alpha");
}

static void refuses_malformed_and_huge_ids(void **state)
{
    (void)state;
    static const char *const names[] = {
        "model.layers.03.mlp.experts.1.up_proj.weight",
        "model.layers.-1.mlp.experts.1.up_proj.weight",
        "model.layers.99999999999999999999.mlp.experts.1.up_proj.weight",
        "model.layers.1048576.mlp.experts.1.up_proj.weight",
        "model.layers..mlp.experts.1.up_proj.weight",
        "model.layers.3x.mlp.experts.1.up_proj.weight",
        "model.layers.3.mlp.experts.01.up_proj.weight",
        "model.layers.3.mlp.experts.1e3.up_proj.weight",
        "model.layers.3.mlp.experts.18446744073709551617.up_proj.weight",
        "model.layers.3.mlp.experts.16777216.up_proj.weight",
        "model.layers.3.mlp.experts.",
        "model.layers.3.mlp.experts_1.up_proj.weight",
        "model.layers.3",
        "model.layers.",
        "model.layers",
        "model.xlayers.3.mlp.experts.1.up_proj.weight",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (parse(names[i]).role != ROLE_OTHER)
            fail_msg("%s is read as role %d", names[i], (int)parse(names[i]).role);
}

static void never_reads_past_the_given_length(void **state)
{
    (void)state;
    static const char name[] = "model.layers.3.mlp.experts.12.gate_proj.weight";
    for (size_t n = 0; n < sizeof name; n++) {
        char *copy = malloc(n ? n : 1); /* exact, so that ASan sees an overrun */
        assert_non_null(copy);
        memcpy(copy, name, n);
        struct name_parts p = name_parse(copy, n);
        assert_true(p.module_n <= n && p.suffix_n <= n);
        free(copy);
    }
}

static int by_order(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    struct name_parts p = parse(*x), q = parse(*y);
    uint64_t i = name_order(&p), k = name_order(&q);
    if (i != k)
        return i < k ? -1 : 1;
    return strcmp(*x, *y);
}

static void orders_globals_then_layers_then_experts_by_number(void **state)
{
    (void)state;
    static const char *const want[] = {
        "model.embed_tokens.weight",
        "model.norm.weight",
        "lm_head.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.2.self_attn.q_a_proj.weight",
        "model.layers.2.self_attn.indexer.k_norm.weight",
        "model.layers.2.self_attn.indexer.k_norm.bias",
        "model.layers.2.mlp.gate.weight",
        "model.layers.2.mlp.gate.e_score_correction_bias",
        "model.layers.2.mlp.shared_experts.gate_proj.weight",
        "model.layers.2.strange.a",
        "model.layers.2.strange.b",
        "model.layers.2.mlp.experts.2.gate_proj.weight",
        "model.layers.2.mlp.experts.2.gate_proj.weight_scale",
        "model.layers.2.mlp.experts.2.gate_proj.weight_scale_2",
        "model.layers.2.mlp.experts.2.gate_proj.input_scale",
        "model.layers.2.mlp.experts.2.up_proj.qweight",
        "model.layers.2.mlp.experts.2.up_proj.scales",
        "model.layers.2.mlp.experts.2.up_proj.qzeros",
        "model.layers.2.mlp.experts.2.up_proj.g_idx",
        "model.layers.2.mlp.experts.2.down_proj.weight",
        "model.layers.2.mlp.experts.10.gate_proj.weight",
        "model.layers.10.input_layernorm.weight",
        "model.layers.10.eh_proj.weight",
        "something.else",
    };
    enum { N = sizeof want / sizeof want[0] };
    const char *got[N];
    for (size_t i = 0; i < N; i++)
        got[i] = want[(i * 11 + 4) % N]; /* 11 and 25 have no common divisor */
    qsort(got, N, sizeof got[0], by_order);
    for (size_t i = 0; i < N; i++)
        assert_string_equal(got[i], want[i]);
}

static uint64_t group(const char *name)
{
    struct name_parts p = parse(name);
    return name_group(&p);
}

static void groups_an_expert_and_the_rest_of_a_layer(void **state)
{
    (void)state;
    uint64_t expert = group("model.layers.3.mlp.experts.5.gate_proj.weight");
    struct name_parts p = parse("model.layers.3.mlp.experts.5.down_proj.input_scale");
    assert_true(expert == name_order(&p) >> 16);
    assert_true(expert == group("layers.3.mlp.experts.5.other.weight"));
    assert_true(expert != group("model.layers.3.mlp.experts.6.gate_proj.weight"));
    assert_true(expert != group("model.layers.4.mlp.experts.5.gate_proj.weight"));
    uint64_t rest = group("model.layers.3.mlp.gate.weight");
    assert_true(rest == group("model.layers.3.self_attn.o_proj.weight"));
    assert_true(rest != expert && rest != group("model.layers.4.mlp.gate.weight"));
    assert_true(group("lm_head.weight") != group("model.embed_tokens.weight"));
    assert_true(group("vision.a.weight") == group("vision.a.weight_scale"));
    assert_true(group("vision.a.weight") != group("vision.b.weight"));
}

static cJSON *load_cases(struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span text;
    char path[512];
    snprintf(path, sizeof path, "%s/observations/lists/cases.json", test_data());
    if (io_read_file(&io_posix, path, 1 << 20, arena, &text, &err))
        fail_msg("%s", err.msg);
    cJSON *root = cJSON_Parse((const char *)text.p);
    assert_non_null(root);
    return root;
}

/* The fixture renumbers kept_parent[layer][i] to i; null stands for a dropped tensor. */
static void renumbers_the_fixture_names(void **state)
{
    (void)state;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    cJSON *root = load_cases(&arena);
    const cJSON *kept = cJSON_GetObjectItem(root, "kept_parent"), *pair;
    int n = 0;
    cJSON_ArrayForEach(pair, cJSON_GetObjectItem(root, "names"))
    {
        const char *in = cJSON_GetArrayItem(pair, 0)->valuestring;
        const char *want = cJSON_GetArrayItem(pair, 1)->valuestring; /* NULL for null */
        struct name_parts p = parse(in);
        char layer[16];
        snprintf(layer, sizeof layer, "%d", p.layer);
        const cJSON *ids = cJSON_GetObjectItem(kept, layer), *id;
        const char *got = in;
        if (p.role == ROLE_EXPERT && ids) {
            int k = 0;
            got = NULL;
            cJSON_ArrayForEach(id, ids)
            {
                if (id->valueint == p.expert)
                    got = name_with_expert(&arena, in, &p, k, &err);
                k++;
            }
        }
        if (want)
            assert_string_equal(got, want);
        else
            assert_null(got);
        n++;
    }
    assert_true(n > 80);
    cJSON_Delete(root);
    arena_fini(&arena);
}

static void splices_an_id_of_another_width(void **state)
{
    (void)state;
    struct arena arena;
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(&arena, 0);
    const char *name = "language_model.model.layers.11.mlp.experts.111.up_proj.weight_scale";
    struct name_parts p = parse(name);
    assert_string_equal(name_with_expert(&arena, name, &p, 9, &err),
                        "language_model.model.layers.11.mlp.experts.9.up_proj.weight_scale");
    assert_string_equal(name_with_expert(&arena, name, &p, 65535, &err),
                        "language_model.model.layers.11.mlp.experts.65535.up_proj.weight_scale");
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_globals_behind_any_model_prefix),
        cmocka_unit_test(reads_every_module_of_a_layer),
        cmocka_unit_test(reads_expert_ids_as_numbers),
        cmocka_unit_test(refuses_malformed_and_huge_ids),
        cmocka_unit_test(never_reads_past_the_given_length),
        cmocka_unit_test(orders_globals_then_layers_then_experts_by_number),
        cmocka_unit_test(groups_an_expert_and_the_rest_of_a_layer),
        cmocka_unit_test(renumbers_the_fixture_names),
        cmocka_unit_test(splices_an_id_of_another_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
