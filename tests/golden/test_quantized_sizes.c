/* SPDX-License-Identifier: MIT */
/*
 * Plans at full shape, over checkpoints that are computed: their sizes are the published ones
 * (family.md), to the byte where the card's arithmetic is known, and those of model/count.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/quantized.h"
#include "tests/support/support.h"
#include "tests/support/synth_model.h"

struct shape {
    int n_experts, with_mtp;
    enum quant_layout layout;
    const char *modules;
    const char *format;   /* of model/count */
    uint64_t bytes;       /* 0: only rounded */
    uint64_t ten_million; /* bytes / 10^7, rounded: 465.86 GB is 46586 */
    size_t linears;
};

static const char *replaced(const char *text, const char *key, int value)
{
    const char *at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key);
    const char *end = at + strspn(at, " :0123456789");
    return test_path("%.*s: %d%s", (int)(at - text), text, value, end);
}

static void load_config(struct config *c, const struct shape *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    const char *path = test_path("%s/glm-5.1/config.json", test_data());
    if (!test_exists(path))
        path = "tests/data-src/glm-5.1/config.json";
    struct test_bytes text = test_read(path);
    const char *t = replaced((char *)text.p, "\"n_routed_experts\"", s->n_experts);
    t = replaced(t, "\"num_nextn_predict_layers\"", s->with_mtp);
    if (config_parse(c, t, strlen(t), "config.json", NULL, &err))
        fail_msg("%s", err.msg);
    free(text.p);
}

static void expect_size(const struct shape *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct config c;
    struct synth *store;
    struct report report;
    struct quantize_result r;
    struct format_size want;
    load_config(&c, s);
    if (synth_model_new(&store, "/model", &c, 0, &err))
        fail_msg("%s", err.msg);
    struct quantize_job job = quantized_job("/model");
    job.io = synth_io(store);
    job.layout = s->layout;
    job.modules = s->modules;
    job.assume_amax = s->layout == QUANT_GPTQ ? 0 : 1;
    job.scales = s->layout == QUANT_GPTQ ? "signed" : "auto";
    job.group_size = s->layout == QUANT_GPTQ ? 128 : 16;
    report_init(&report);
    if (quantize_job_run(&r, &job, &report, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    assert_int_equal(r.selection.n_taken, s->linears);
    assert_int_equal((r.tensor_bytes + 5000000) / 10000000, s->ten_million);
    if (s->bytes)
        assert_int_equal(r.tensor_bytes, s->bytes);
    count_format(&want, &c, weight_format_by_id(s->format), s->with_mtp, 1);
    assert_int_equal(r.tensor_bytes, want.bytes);
    /* Memory for one group of linears, source and codes, however large the shards are: gate and up
     * of an expert take 50 MB in BF16, o_proj 201 MB. */
    assert_true(r.plan->floor_bytes <
                (strcmp(s->modules, "experts") == 0 ? UINT64_C(75000000) : UINT64_C(320000000)));
    quantize_result_free(&r);
    report_fini(&report);
    synth_free(store);
    config_free(&c);
}

static void community_nvfp4_of_256_experts(void **state)
{
    (void)state;
    expect_size(&(struct shape){256, 1, QUANT_MODELOPT, "experts", "nvfp4-experts", 0, 46586,
                                75 * 256 * 3});
}

static void experts_of_192(void **state)
{
    (void)state;
    expect_size(&(struct shape){192, 0, QUANT_MODELOPT, "experts", "nvfp4-experts",
                                UINT64_C(343977118464), 34398, 43200});
}

static void linears_of_192(void **state)
{
    (void)state;
    expect_size(&(struct shape){192, 0, QUANT_COMPRESSED_TENSORS, "linears", "nvfp4-linears",
                                UINT64_C(320375759640), 32038, 43971});
}

static void experts_of_160_with_the_mtp_layer(void **state)
{
    (void)state;
    expect_size(&(struct shape){160, 1, QUANT_MODELOPT, "experts", "nvfp4-experts", 0, 30564,
                                75 * 160 * 3});
}

static void gptq_of_192_as_on_the_card(void **state)
{
    (void)state;
    expect_size(&(struct shape){192, 0, QUANT_GPTQ, "linears", "gptq-linears", 0, 29716, 43971});
}

static void gptq_of_192_portable(void **state)
{
    (void)state;
    expect_size(&(struct shape){192, 0, QUANT_GPTQ, "portable", "gptq-portable", 0, 30177, 43581});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(community_nvfp4_of_256_experts),
        cmocka_unit_test(experts_of_192),
        cmocka_unit_test(linears_of_192),
        cmocka_unit_test(experts_of_160_with_the_mtp_layer),
        cmocka_unit_test(gptq_of_192_as_on_the_card),
        cmocka_unit_test(gptq_of_192_portable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
