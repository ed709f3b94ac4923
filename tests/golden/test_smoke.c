/* SPDX-License-Identifier: MIT */
/*
 * Smoke on nano, whole and broken: what is broken fails, and the stage that finds it is named.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "libprep/release/smoke.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

enum { EXPERTS = 16, FIRST_MOE = 2, LAYERS = 5 };

static const char *nano, *quantized;

static int prepare(void **state)
{
    (void)state;
    nano = test_path("%s/glm-nano", test_data());
    const struct quantize_job job = quantized_job(nano);
    quantized = quantized_run(&job);
    return 0;
}

/* A clock that goes on by a second whenever it is read. */
static double ticks;
static double now(void)
{
    return ticks++;
}

static struct smoke_job job_of(const char *model, const char *original)
{
    return (struct smoke_job){.io = &io_posix,
                              .model = model,
                              .original = original,
                              .text = {.max_windows = 2},
                              .max_nats = NAN,
                              .limits = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN},
                              .run = {.n_threads = 2, .isa = N_ISA - 1},
                              .now = now};
}

static void check_states(const struct smoke *s, const char *want)
{
    static const char letters[] = "-+!";
    char have[SMOKE_N + 1] = "";
    for (int i = 0; i < SMOKE_N; i++)
        have[i] = letters[s->stages[i].state];
    if (strcmp(have, want) != 0)
        fail_msg("stages %s, want %s: %s: %s", have, want,
                 s->failed < 0 ? "none" : smoke_stage_name((enum smoke_stage_id)s->failed),
                 s->failed < 0 ? "" : s->stages[s->failed].message);
}

/* states: + passed, ! failed, - not done, in the order open check lint run mtp compare generate. */
static void check_passes(const char *model, const char *original, const char *states)
{
    const struct smoke_job job = job_of(model, original);
    struct prep_error err = PREP_ERROR_INIT;
    struct smoke s;
    if (smoke_run(&s, &job, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    check_states(&s, states);
    assert_int_equal(s.failed, -1);
    assert_int_equal(s.stages[SMOKE_RUN].seconds > 0, 1);
}

static void check_fails(const struct smoke_job *job, const char *states, const char *says)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct smoke s;
    assert_int_equal(smoke_run(&s, job, NULL, &err), -1);
    assert_int_equal(err.code, PREP_EVERIFY);
    check_states(&s, states);
    if (!strstr(err.msg, says) || !strstr(s.stages[s.failed].message, says))
        fail_msg("%s: want \"%s\"", err.msg, says);
}

static const char *finish(struct edit *e)
{
    const char *dir = edit_write(e);
    edit_close(e);
    return dir;
}

static void whole_models_pass(void **state)
{
    (void)state;
    check_passes(nano, NULL, "+++++-+");
    check_passes(quantized, nano, "+++++++");
}

static void a_shard_that_is_cut_short_fails_to_open(void **state)
{
    const char *dir = test_path("%s/short", test_temp_dir());
    const char *shard = test_path("%s/model-00003-of-00004.safetensors", dir);
    (void)state;
    test_copy_tree(nano, dir);
    struct test_bytes b = test_read(shard);
    test_write(shard, b.p, b.n - 1000);
    free(b.p);
    const struct smoke_job job = job_of(dir, NULL);
    check_fails(&job, "!------", "model-00003-of-00004.safetensors");
}

static void a_missing_tensor_fails_the_check(void **state)
{
    struct edit e;
    (void)state;
    edit_open(&e, nano);
    edit_remove(&e, "model.layers.3.mlp.experts.3.down_proj.weight");
    const struct smoke_job job = job_of(finish(&e), NULL);
    /* The run misses it, too; so there is nothing to generate from. */
    check_fails(&job, "+!!!---", "EXPERT_INCOMPLETE");
}

static void scales_that_engines_would_share_fail_the_linter(void **state)
{
    struct edit e;
    (void)state;
    edit_open(&e, quantized);
    unsigned char *p =
        edit_bytes(&e, edit_get(&e, "model.layers.2.mlp.experts.7.up_proj.weight_scale_2"));
    store_le32(p, f32_bits(1.5F * f32_from_bits(load_le32(p))));
    const struct smoke_job job = job_of(finish(&e), NULL);
    check_fails(&job, "++!++-+", "GATE_UP_SCALE");
}

static void nan_fails_the_run(void **state)
{
    struct edit e;
    (void)state;
    edit_open(&e, nano);
    unsigned char *p = edit_bytes(&e, edit_get(&e, "model.layers.3.self_attn.o_proj.weight"));
    store_u16_at(p, 12345, 0x7FC0);
    const struct smoke_job job = job_of(finish(&e), NULL);
    check_fails(&job, "+++!---", "NOT_FINITE: layer 3: model.layers.3.self_attn.o_proj");
}

static void a_head_that_knows_nothing_fails_the_run(void **state)
{
    struct edit e;
    (void)state;
    edit_open(&e, nano);
    struct edit_tensor *t = edit_get(&e, "lm_head.weight");
    memset(edit_bytes(&e, t), 0, t->info.bytes);
    const struct smoke_job job = job_of(finish(&e), NULL);
    check_fails(&job, "+++!+-+", "7.6246 nats per token, want at most 6.0997");
}

static void an_mtp_layer_that_drafts_nonsense_fails(void **state)
{
    struct edit e;
    (void)state;
    edit_open(&e, nano);
    struct edit_tensor *t = edit_get(&e, "model.layers.5.eh_proj.weight");
    unsigned char *p = edit_bytes(&e, t);
    for (size_t i = 0; i < t->info.bytes / 2; i++)
        store_u16_at(p, i, load_u16_at(p, i) ^ 0x8000);
    const struct smoke_job job = job_of(finish(&e), NULL);
    check_fails(&job, "++++!-+", "of the drafts are what the model says");
}

/* Expert e becomes e + 1, the last one the first, in every MoE layer; routers stay. */
static void experts_in_another_order_fail_the_comparison(void **state)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    struct edit e;
    (void)state;
    edit_open(&e, nano);
    for (int layer = FIRST_MOE; layer < LAYERS; layer++)
        for (int k = 0; k < 3; k++) {
            const char *at = test_path("model.layers.%d.mlp.experts", layer);
            edit_rename(&e, test_path("%s.%d.%s.weight", at, EXPERTS - 1, parts[k]), "away");
            for (int i = EXPERTS - 1; i-- > 0;)
                edit_rename(&e, test_path("%s.%d.%s.weight", at, i, parts[k]),
                            test_path("%s.%d.%s.weight", at, i + 1, parts[k]));
            edit_rename(&e, "away", test_path("%s.0.%s.weight", at, parts[k]));
        }
    struct smoke_job job = job_of(finish(&e), nano);
    job.limits.max_kl = 0.1;
    check_fails(&job, "+++++!+", "max-kl: ");
}

/* Gate and up of every expert four times too small: each for itself is in order. */
static void scales_that_are_wrong_fail_the_comparison(void **state)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    struct edit e;
    (void)state;
    edit_open(&e, quantized);
    for (int layer = FIRST_MOE; layer < LAYERS; layer++)
        for (int i = 0; i < EXPERTS * 3; i++) {
            unsigned char *p =
                edit_bytes(&e, edit_get(&e, "model.layers.%d.mlp.experts.%d.%s.weight_scale_2",
                                        layer, i / 3, parts[i % 3]));
            store_le32(p, f32_bits(4 * f32_from_bits(load_le32(p))));
        }
    const struct smoke_job job = job_of(finish(&e), nano);
    check_fails(&job, "+++++!+", "max-kl: ");
}

static void what_is_not_the_models_fault_is_raised(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct smoke s;
    struct smoke_job job = job_of(test_path("%s/nowhere", test_temp_dir()), NULL);
    (void)state;
    assert_int_equal(smoke_run(&s, &job, NULL, &err), -1);
    assert_int_equal(err.code, PREP_ENOINPUT);
    prep_error_clear(&err);
    job = job_of(nano, nano);
    job.reference = "x";
    assert_int_equal(smoke_run(&s, &job, NULL, &err), -1);
    assert_int_equal(err.code, PREP_EUSAGE);
    assert_int_equal(s.failed, SMOKE_RUN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_models_pass),
        cmocka_unit_test(a_shard_that_is_cut_short_fails_to_open),
        cmocka_unit_test(a_missing_tensor_fails_the_check),
        cmocka_unit_test(scales_that_engines_would_share_fail_the_linter),
        cmocka_unit_test(nan_fails_the_run),
        cmocka_unit_test(a_head_that_knows_nothing_fails_the_run),
        cmocka_unit_test(an_mtp_layer_that_drafts_nonsense_fails),
        cmocka_unit_test(experts_in_another_order_fail_the_comparison),
        cmocka_unit_test(scales_that_are_wrong_fail_the_comparison),
        cmocka_unit_test(what_is_not_the_models_fault_is_raised),
    };
    return cmocka_run_group_tests(tests, prepare, NULL);
}
