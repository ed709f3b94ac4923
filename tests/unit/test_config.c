/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/config.h"
#include "tests/support/support.h"

/* A small valid config without its closing brace, so that keys can be added. */
#define TYPE "\"model_type\":\"glm_moe_dsa\",\"architectures\":[\"GlmMoeDsaForCausalLM\"],"
#define SIZES                                                                                      \
    "\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"moe_intermediate_size\":4,"      \
    "\"num_hidden_layers\":8,\"num_nextn_predict_layers\":1,\"num_attention_heads\":2,"            \
    "\"q_lora_rank\":4,\"kv_lora_rank\":4,\"qk_nope_head_dim\":2,\"qk_rope_head_dim\":2,"          \
    "\"v_head_dim\":2,\"index_n_heads\":2,\"index_head_dim\":4,\"index_topk\":4,"                  \
    "\"n_shared_experts\":1,\"num_experts_per_tok\":2,\"norm_topk_prob\":true,"                    \
    "\"routed_scaling_factor\":1,\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,"            \
    "\"topk_method\":\"noaux_tc\",\"indexer_rope_interleave\":true,"
#define EXPERTS "\"n_routed_experts\":6,"
#define DENSE "\"first_k_dense_replace\":2,"
#define THETA "\"rope_theta\":10000"
#define BASE TYPE SIZES EXPERTS DENSE THETA

static struct prep_error err;
static struct report report;

static int parse(struct config *c, const char *text)
{
    prep_error_clear(&err);
    report_fini(&report);
    report_init(&report);
    return config_parse(c, text, strlen(text), "config.json", &report, &err);
}

static void accept(struct config *c, const char *keys, int warnings)
{
    if (parse(c, test_path("{%s}", keys)))
        fail_msg("%s: %s", err.tag, err.msg);
    if ((int)report.n_warnings != warnings)
        fail_msg("%zu warnings, the first is %s", report.n_warnings,
                 report.n_warnings ? report.warnings[0].text : "");
}

static void refuse(const char *keys, const char *tag, const char *text)
{
    struct config c;
    assert_int_equal(parse(&c, test_path("{%s}", keys)), -1);
    if (strcmp(err.tag, tag) != 0 || !strstr(err.msg, text))
        fail_msg("%s: %s", err.tag, err.msg);
}

static void reads_values_and_fills_in_what_the_family_defines(void **state)
{
    (void)state;
    struct config c;
    accept(&c, BASE, 0);
    assert_int_equal(c.hidden_size, 8);
    assert_int_equal(c.n_layers, 9);
    assert_int_equal(c.n_group, 1);
    assert_int_equal(c.topk_group, 1);
    assert_int_equal(c.n_eos, 0);
    assert_true(c.rope_theta == 10000 && c.rms_norm_eps == 1e-5);
    assert_true(c.rope_interleave && c.norm_topk_prob && !c.tie_word_embeddings);
    assert_string_equal(c.quant_method, "");
    assert_int_equal(c.quantization, JSON_NONE);
    for (int i = 0; i < c.n_layers; i++) {
        assert_int_equal(c.is_moe[i], i >= 2);
        assert_int_equal(c.n_experts[i], i >= 2 ? 6 : 0);
        assert_int_equal(c.full_indexer[i], 1);
    }
    config_free(&c);
}

static void reads_older_spellings(void **state)
{
    (void)state;
    struct config c;
    accept(&c, BASE ",\"rope_scaling\":null,\"torch_dtype\":\"bfloat16\",\"rope_parameters\":null",
           0);
    config_free(&c);
    accept(&c, TYPE SIZES DENSE THETA ",\"num_experts\":6", 0);
    assert_int_equal(c.n_routed_experts, 6);
    config_free(&c);
    accept(&c, BASE ",\"rope_scaling\":{\"type\":\"default\"}", 0);
    config_free(&c);
    refuse(BASE ",\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4}", "UNSUPPORTED", "type is");
    refuse(BASE ",\"num_experts\":5", "CONFIG_RANGE", "n_routed_experts");
}

static void reads_a_model_inside_text_config(void **state)
{
    (void)state;
    struct config c;
    accept(&c, "\"architectures\":[\"Wrapper\"],\"text_config\":{" BASE "},\"eos_token_id\":[1,2]",
           0);
    assert_int_not_equal(c.object, 0);
    assert_int_equal(c.n_routed_experts, 6);
    assert_int_equal(c.n_eos, 2);
    config_free(&c);
}

static void derives_layer_kinds_from_mlp_layer_types(void **state)
{
    (void)state;
#define D "\"dense\","
#define S "\"sparse\","
    struct config c;
    accept(&c, TYPE SIZES EXPERTS THETA ",\"mlp_layer_types\":[" D D D S S S S "\"sparse\"]", 0);
    assert_int_equal(c.first_k_dense_replace, 3);
    assert_true(!c.is_moe[2] && c.is_moe[3] && c.is_moe[8]);
    config_free(&c);
    refuse(BASE ",\"mlp_layer_types\":[" D D D S S S S "\"sparse\"]", "CONFIG_RANGE",
           "first_k_dense_replace");
    refuse(BASE ",\"mlp_layer_types\":[" D S D S S S S "\"sparse\"]", "UNSUPPORTED", "dense");
    refuse(BASE ",\"mlp_layer_types\":[" D "\"sparse\"]", "CONFIG_RANGE", "2 entries");
    refuse(BASE ",\"mlp_layer_types\":[" D D D S S S S "\"moe\"]", "CONFIG_TYPE", "moe");
    refuse(TYPE SIZES EXPERTS THETA, "CONFIG_KEY", "first_k_dense_replace");
#undef D
#undef S
}

static void reads_experts_per_layer(void **state)
{
    (void)state;
    struct config c;
    accept(&c, BASE ",\"num_routed_experts_per_layer\":[0,0,6,5,4,6,6,6,3]", 0);
    assert_int_equal(c.n_experts[4], 4);
    assert_int_equal(c.n_experts[8], 3);
    config_free(&c);
    refuse(BASE ",\"num_routed_experts_per_layer\":[0,1,6,5,4,6,6,6,3]", "CONFIG_RANGE", "is 1");
    refuse(BASE ",\"num_routed_experts_per_layer\":[0,0,6,7,4,6,6,6,3]", "CONFIG_RANGE", "is 7");
    refuse(BASE ",\"num_routed_experts_per_layer\":[0,0,6,1,4,6,6,6,3]", "CONFIG_RANGE", "is 1");
    refuse(BASE ",\"num_routed_experts_per_layer\":[0,0,5,5,4,5,5,5,3]", "CONFIG_RANGE", "largest");
}

static void assert_indexers(const struct config *c, const char *want)
{
    for (int i = 0; i < c->n_layers; i++)
        if (c->full_indexer[i] != (want[i] == 'F'))
            fail_msg("layer %d", i);
}

static void derives_who_shares_an_indexer_in_order_of_precedence(void **state)
{
    (void)state;
    struct config c;
    /* the schedule of 5.2: 0, 1, 2, 6, 10, ... */
    accept(&c, BASE ",\"index_topk_freq\":4,\"index_skip_topk_offset\":3", 0);
    assert_indexers(&c, "FFFSSSFSF");
    assert_int_equal(c.shared_indexers_stored, 0);
    config_free(&c);
    accept(&c, BASE ",\"index_topk_freq\":4,\"index_topk_pattern\":\"FFSSFFSS\"", 0);
    assert_indexers(&c, "FFSSFFSSF");
    assert_int_equal(c.shared_indexers_stored, 1);
    config_free(&c);
    accept(&c,
           BASE ",\"index_topk_pattern\":\"FFFFFFFS\",\"indexer_types\":[\"full\",\"full\","
                "\"full\",\"full\",\"full\",\"full\",\"full\",\"shared\"]",
           0);
    assert_indexers(&c, "FFFFFFFSF");
    config_free(&c);
    refuse(BASE ",\"index_topk_freq\":4,\"index_skip_topk_offset\":0", "INDEXCACHE", "layer 0");
    refuse(BASE ",\"indexer_types\":[\"full\"]", "INDEXCACHE", "1 entries");
}

static void refuses_models_too_large_to_count(void **state)
{
    (void)state;
    static const char *const wide[] = {"vocab_size", "hidden_size", "intermediate_size",
                                       "moe_intermediate_size"};
    char text[4096] = "{" BASE "}";
    for (size_t i = 0; i < 4; i++) { /* each at its own limit is fine, all of them are not */
        char key[64], value[96], old[4096];
        strcpy(old, text);
        snprintf(key, sizeof key, "\"%s\":", wide[i]);
        char *at = strstr(old, key);
        assert_non_null(at);
        snprintf(value, sizeof value, "%s16777216", key);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - old), old, value, at + strcspn(at, ","));
    }
    struct config c;
    assert_int_equal(parse(&c, text), 0);
    config_free(&c);
    char *at = strstr(text, "\"n_routed_experts\":6");
    assert_non_null(at);
    char larger[4200];
    snprintf(larger, sizeof larger, "%.*s\"n_routed_experts\":65536%s", (int)(at - text), text,
             at + strlen("\"n_routed_experts\":6"));
    assert_int_equal(parse(&c, larger), -1);
    assert_string_equal(err.tag, "CONFIG_RANGE");
    assert_non_null(strstr(err.msg, "2^58"));
}

static void reads_quantization_configs_of_every_method(void **state)
{
    (void)state;
#define Q(body) BASE ",\"quantization_config\":{" body "}"
    struct config c;
    accept(&c, Q("\"quant_method\":\"fp8\",\"weight_block_size\":[128,64]"), 0);
    assert_string_equal(c.quant_method, "fp8");
    assert_true(c.quant_block[0] == 128 && c.quant_block[1] == 64);
    config_free(&c);
    accept(&c, Q("\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":128,\"sym\":true"), 0);
    assert_int_equal(c.quant_group_size, 128);
    config_free(&c);
    accept(&c, Q("\"quant_algo\":\"NVFP4\",\"ignore\":[\"lm_head\",\"model.layers.0*\"]"), 0);
    assert_string_equal(c.quant_method, "modelopt");
    config_free(&c);
    refuse(Q("\"quant_method\":\"fp8\""), "UNSUPPORTED", "weight_block_size");
    refuse(Q("\"quant_method\":\"fp8\",\"weight_block_size\":[128]"), "CONFIG_TYPE", "two");
    refuse(Q("\"quant_method\":\"fp8\",\"weight_block_size\":[128,0]"), "CONFIG_RANGE", "is 0");
    refuse(Q("\"quant_method\":\"gptq\",\"bits\":8"), "UNSUPPORTED", "bits is 8");
    refuse(Q("\"quant_method\":\"gptq\",\"dynamic\":{\"-:[\":{}}"), "PATTERN", "compile");
    refuse(Q("\"quant_method\":\"auto-round\",\"extra_config\":{\"*x\":{}}"), "PATTERN", "compile");
    refuse(Q("\"bits\":4"), "CONFIG_KEY", "quant_method");
    refuse(Q("\"quant_method\":\"modelopt\",\"ignore\":[1]"), "CONFIG_TYPE", "ignore is 1");
    refuse(Q("\"quant_method\":\"modelopt\",\"config_groups\":{\"g\":1}"), "CONFIG_TYPE",
           "config_groups");
    refuse(Q("\"quant_method\":\"modelopt\",\"config_groups\":{\"g\":{\"targets\":[\"re:(\"]}}"),
           "PATTERN", "compile");
#undef Q
}

static void names_the_file_the_key_and_both_values(void **state)
{
    (void)state;
    refuse(BASE ",\"n_group\":4", "CONFIG_RANGE",
           "config.json: n_group is 4, want a divisor of the number of routed experts");
    refuse(BASE ",\"qk_head_dim\":5", "CONFIG_RANGE",
           "config.json: qk_head_dim is 5, want qk_nope_head_dim + qk_rope_head_dim");
    refuse(BASE ",\"eos_token_id\":[-1]", "CONFIG_RANGE", "eos_token_id is -1, want 0 to");
    refuse(BASE ",\"scoring_func\":7", "CONFIG_TYPE", "scoring_func is 7, want a string");
    refuse(BASE ",\"index_topk_pattern\":3", "CONFIG_TYPE", "a string of F and S");
}

static void loads_a_file_or_the_folder_it_is_in(void **state)
{
    (void)state;
    struct config c;
    prep_error_clear(&err);
    const char *dir = test_path("%s/observations/rand32/checkpoint", test_data());
    assert_int_equal(config_load(&c, &io_posix, dir, NULL, &err), 0);
    assert_int_equal(c.n_routed_experts, 32);
    config_free(&c);
    assert_int_equal(config_load(&c, &io_posix, test_path("%s/config.json", dir), NULL, &err), 0);
    config_free(&c);
    assert_int_equal(config_load(&c, &io_posix, test_path("%s/none", dir), NULL, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    assert_string_equal(err.tag, "NO_CONFIG");
    config_free(&c);
}

static int free_report(void **state)
{
    (void)state;
    report_fini(&report);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values_and_fills_in_what_the_family_defines),
        cmocka_unit_test(reads_older_spellings),
        cmocka_unit_test(reads_a_model_inside_text_config),
        cmocka_unit_test(derives_layer_kinds_from_mlp_layer_types),
        cmocka_unit_test(reads_experts_per_layer),
        cmocka_unit_test(derives_who_shares_an_indexer_in_order_of_precedence),
        cmocka_unit_test(refuses_models_too_large_to_count),
        cmocka_unit_test(reads_quantization_configs_of_every_method),
        cmocka_unit_test(names_the_file_the_key_and_both_values),
        cmocka_unit_test(loads_a_file_or_the_folder_it_is_in),
    };
    return cmocka_run_group_tests(tests, NULL, free_report);
}
