/* SPDX-License-Identifier: MIT */
/*
 * Plans of GGUF files at full shape, over checkpoints that are computed: to the byte the tensor
 * bytes of gguf-quants.md, whose rounded figures are the published ones (family.md).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/gguf_made.h"
#include "tests/support/support.h"
#include "tests/support/synth_model.h"

struct shape {
    int n_experts, with_mtp;
    uint64_t plain, family; /* Q4_K_M */
};

static const struct shape SHAPES[] = {
    {256, 0, UINT64_C(448404833280), UINT64_C(457434387456)},
    {256, 1, UINT64_C(454843376640), UINT64_C(464012719104)},
    {192, 0, UINT64_C(339098630400), UINT64_C(348128184576)},
    {192, 1, UINT64_C(343969028096), UINT64_C(353138370560)},
    {160, 0, UINT64_C(284445528960), UINT64_C(293475083136)},
    {160, 1, UINT64_C(288531853824), UINT64_C(297701196288)},
    {154, 0, UINT64_C(274198074240), UINT64_C(283227628416)},
    {154, 1, UINT64_C(278137385472), UINT64_C(287306727936)},
};

static const char *replaced(const char *text, const char *key, int value)
{
    const char *at = strstr(text, key);
    assert_non_null(at);
    at += strlen(key);
    const char *end = at + strspn(at, " :0123456789");
    return test_path("%.*s: %d%s", (int)(at - text), text, value, end);
}

static void make_store(struct synth **store, struct config *c, const struct shape *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_bytes text = test_read("tests/data-src/glm-5.1/config.json");
    struct test_bytes words = test_read(test_path("%s/glm-nano/tokenizer.json", test_data()));
    const char *t = replaced((char *)text.p, "\"n_routed_experts\"", s->n_experts);
    t = replaced(t, "\"num_nextn_predict_layers\"", s->with_mtp);
    if (config_parse(c, t, strlen(t), "config.json", NULL, &err) ||
        synth_model_new(store, "/GLM-5.1", c, 0, &err) ||
        synth_add_text(*store, "tokenizer.json", words.p, words.n, &err))
        fail_msg("%s", err.msg);
    free(text.p);
    free(words.p);
}

/* Every rung of the ladder, by the rules alone: above Q8_0 nothing is left for the mixture. */
static void check_ladder(const struct gguf_result *r)
{
    for (int i = 0; i < RUNG_COUNT; i++) {
        const struct gguf_size *s = &r->sizes[i];
        assert_true(s->plain > 0);
        assert_true(i <= RUNG_Q8_0 ? s->family == s->plain : s->family > s->plain);
    }
}

static void expect_sizes(const struct shape *s)
{
    static const char *const rungs[] = {"Q4_K_M", "family:Q4_K_M"};
    struct prep_error err = PREP_ERROR_INIT;
    struct synth *store;
    struct config c;
    struct report report;
    struct gguf_result r;
    make_store(&store, &c, s);
    struct gguf_job job = gguf_made_job("/GLM-5.1", rungs, 2);
    job.io = synth_io(store);
    job.strict_parity = 1;
    report_init(&report);
    if (gguf_job_run(&r, &job, &report, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    assert_int_equal(r.n_passes, 1);
    assert_true(r.passes[0].outputs[0].tensor_bytes == s->plain);
    assert_true(r.passes[0].outputs[1].tensor_bytes == s->family);
    assert_string_equal(r.passes[0].outputs[0].stem, "GLM-5.1-Q4_K_M");
    assert_string_equal(r.passes[0].size_label, test_path("%dx22B", s->n_experts));
    assert_true(r.sizes[RUNG_Q4_K_M].plain == s->plain && r.sizes[RUNG_Q4_K_M].family == s->family);
    check_ladder(&r);
    /* A stacked tensor has 4.8 GB as BF16; a unit has one expert's 25 MB, cut in two. */
    assert_true(r.plan->floor_bytes < UINT64_C(200000000));
    assert_int_equal(r.plan->n_files, 2);
    gguf_result_free(&r);
    report_fini(&report);
    synth_free(store);
    config_free(&c);
}

static void the_published_sizes(void **state)
{
    (void)state;
    expect_sizes(&SHAPES[2]);
    expect_sizes(&SHAPES[6]);
}

static void every_other_count_of_experts_with_and_without_the_mtp_layer(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        if (i != 2 && i != 6)
            expect_sizes(&SHAPES[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_sizes),
        cmocka_unit_test(every_other_count_of_experts_with_and_without_the_mtp_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
