/* SPDX-License-Identifier: MIT */
/* Whole lists for the nano model; texts of the peers are compared in tests/golden. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/quantized.h"
#include "tests/support/support.h"

static struct quantize_job nano_job(enum quant_layout layout, const char *modules)
{
    struct quantize_job job = quantized_job(test_path("%s/glm-nano", test_data()));
    job.layout = layout;
    job.modules = modules;
    if (layout == QUANT_GPTQ) {
        job.group_size = 128;
        job.scales = "signed";
    }
    return job;
}

/* The config's object; the caller deletes it. */
static cJSON *config_of(const struct quantize_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct quantize_result r;
    report_init(&report);
    if (quantize_job_run(&r, job, &report, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    cJSON *q = cJSON_Parse((const char *)r.configs.quantization_config.p);
    assert_non_null(q);
    quantize_result_free(&r);
    report_fini(&report);
    return q;
}

/* Entries of a list, or keys of a dictionary, in order, joined by spaces. */
static const char *entries(const cJSON *q, const char *key)
{
    const cJSON *list = cJSON_GetObjectItem(q, key);
    const char *text = "";
    for (const cJSON *e = list ? list->child : NULL; e; e = e->next)
        text = test_path("%s%s%s", text, *text ? " " : "", e->string ? e->string : e->valuestring);
    return text;
}

static void gptq_portable_excludes_by_pattern(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_GPTQ, "portable");
    cJSON *q = config_of(&job);
    assert_string_equal(
        entries(q, "dynamic"),
        "-:.*layers\\.[0-1]\\.mlp\\..* "
        "-:.*self_attn\\.(q_a_proj|kv_a_proj_with_mqa|fused_qkv_a_proj_with_mqa|kv_b_proj).* "
        "-:.*indexer.* -:.*lm_head.* -:.*layers\\.5\\..* -:model\\.decoder\\..*");
    assert_string_equal(cJSON_GetObjectItem(q, "quant_method")->valuestring, "gptq");
    assert_string_equal(cJSON_GetObjectItem(q, "checkpoint_format")->valuestring, "gptq");
    assert_int_equal(cJSON_GetObjectItem(q, "bits")->valueint, 4);
    assert_int_equal(cJSON_GetObjectItem(q, "group_size")->valueint, 128);
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(q, "sym")));
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(q, "desc_act")));
    assert_null(cJSON_GetObjectItem(q, "modules_in_block_to_quantize"));
    cJSON_Delete(q);
}

static void gptq_of_the_card_keeps_the_indexers_weights(void **state)
{
    (void)state;
    /* weights_proj of the nano has four rows, which the layout could not hold */
    struct quantize_job job = nano_job(QUANT_GPTQ, "linears");
    job.mtp = QUANT_MTP_DROP;
    cJSON *q = config_of(&job);
    assert_string_equal(entries(q, "dynamic"), "-:.*layers\\.[0-1]\\.mlp\\..* "
                                               "-:.*indexer\\.(weights_proj|wk_weights_proj).* "
                                               "-:.*lm_head.*");
    cJSON_Delete(q);
}

static void single_exceptions_are_named(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_GPTQ, "portable");
    const struct quant_rule rule = {"*.layers.3.self_attn.o_proj", 0};
    job.rules = &rule;
    job.n_rules = 1;
    job.mtp = QUANT_MTP_DROP;
    cJSON *q = config_of(&job);
    assert_non_null(strstr(entries(q, "dynamic"), "-:model\\.layers\\.3\\.self_attn\\.o_proj$"));
    cJSON_Delete(q);
}

static void a_quantized_mtp_layer_is_named_as_engines_run_it(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_GPTQ, "portable");
    job.mtp = QUANT_MTP_QUANTIZE;
    cJSON *q = config_of(&job);
    const char *dynamic = entries(q, "dynamic");
    assert_non_null(strstr(dynamic, "-:model\\.layers\\.5\\.eh_proj$"));
    assert_non_null(strstr(dynamic, "-:model\\.(decoder\\.)?eh_proj$"));
    assert_null(strstr(dynamic, "-:model\\.decoder\\..*"));
    cJSON_Delete(q);
    job = nano_job(QUANT_COMPRESSED_TENSORS, "experts");
    job.mtp = QUANT_MTP_QUANTIZE;
    q = config_of(&job);
    assert_non_null(strstr(entries(q, "ignore"), "re:model\\.(decoder\\.)?mlp\\.gate$"));
    assert_null(strstr(entries(q, "ignore"), "re:model\\.decoder\\..*"));
    cJSON_Delete(q);
}

static void prefixes_cover_what_is_not_quantized(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_MODELOPT, "portable");
    cJSON *q = config_of(&job);
    assert_string_equal(
        entries(q, "ignore"),
        "*shared_head* lm_head model.embed_tokens "
        "model.layers.0.mlp* model.layers.0.self_attn.indexer* "
        "model.layers.0.self_attn.kv_a_proj_with_mqa model.layers.0.self_attn.kv_b_proj "
        "model.layers.0.self_attn.q_a_proj "
        "model.layers.1.mlp* model.layers.1.self_attn.indexer* "
        "model.layers.1.self_attn.kv_a_proj_with_mqa model.layers.1.self_attn.kv_b_proj "
        "model.layers.1.self_attn.q_a_proj "
        "model.layers.2.mlp.gate model.layers.2.self_attn.indexer* "
        "model.layers.2.self_attn.kv_a_proj_with_mqa model.layers.2.self_attn.kv_b_proj "
        "model.layers.2.self_attn.q_a_proj "
        "model.layers.3.mlp.gate model.layers.3.self_attn.indexer* "
        "model.layers.3.self_attn.kv_a_proj_with_mqa model.layers.3.self_attn.kv_b_proj "
        "model.layers.3.self_attn.q_a_proj "
        "model.layers.4.mlp.gate model.layers.4.self_attn.indexer* "
        "model.layers.4.self_attn.kv_a_proj_with_mqa model.layers.4.self_attn.kv_b_proj "
        "model.layers.4.self_attn.q_a_proj model.layers.5*");
    cJSON_Delete(q);
}

static void weights_only_is_said_in_every_layout(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_MODELOPT, "experts");
    cJSON *q = config_of(&job);
    assert_string_equal(cJSON_GetObjectItem(q, "quant_algo")->valuestring, "W4A16_NVFP4");
    cJSON *group = cJSON_GetObjectItem(cJSON_GetObjectItem(q, "config_groups"), "group_0");
    assert_null(cJSON_GetObjectItem(group, "input_activations"));
    cJSON_Delete(q);
    job = nano_job(QUANT_COMPRESSED_TENSORS, "experts");
    q = config_of(&job);
    group = cJSON_GetObjectItem(cJSON_GetObjectItem(q, "config_groups"), "group_0");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(group, "input_activations")));
    cJSON_Delete(q);
    job.assume_amax = 2;
    q = config_of(&job);
    group = cJSON_GetObjectItem(cJSON_GetObjectItem(q, "config_groups"), "group_0");
    assert_true(cJSON_IsObject(cJSON_GetObjectItem(group, "input_activations")));
    cJSON_Delete(q);
}

static int warns_of_engines(const struct quantize_job *job)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct report report;
    struct quantize_result r;
    report_init(&report);
    if (quantize_job_run(&r, job, &report, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    int warned = report_has(&report, "ENGINE");
    quantize_result_free(&r);
    report_fini(&report);
    return warned;
}

static void choices_that_engines_refuse_are_warned_of(void **state)
{
    (void)state;
    struct quantize_job job = nano_job(QUANT_MODELOPT, "portable");
    assert_false(warns_of_engines(&job));
    job.modules = "linears";
    assert_true(warns_of_engines(&job));
    job.modules = "experts";
    job.mtp = QUANT_MTP_QUANTIZE;
    assert_true(warns_of_engines(&job));
    job = nano_job(QUANT_GPTQ, "portable");
    assert_true(warns_of_engines(&job));
    job.mtp = QUANT_MTP_DROP;
    assert_false(warns_of_engines(&job));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gptq_portable_excludes_by_pattern),
        cmocka_unit_test(gptq_of_the_card_keeps_the_indexers_weights),
        cmocka_unit_test(single_exceptions_are_named),
        cmocka_unit_test(a_quantized_mtp_layer_is_named_as_engines_run_it),
        cmocka_unit_test(prefixes_cover_what_is_not_quantized),
        cmocka_unit_test(weights_only_is_said_in_every_layout),
        cmocka_unit_test(choices_that_engines_refuse_are_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
