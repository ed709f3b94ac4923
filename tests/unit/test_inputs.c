/* SPDX-License-Identifier: MIT */
/* Activations of 4 bits on nano: what is measured, which scale a linear gets, and what follows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/nvfp4/nvfp4.h"
#include "libprep/engine/inputs.h"
#include "libprep/engine/runtime_parts.h"
#include "libprep/engine/schedule.h"
#include "tests/support/edit_checkpoint.h"
#include "tests/support/forward.h"
#include "tests/support/quantized_folder.h"

enum { WINDOW = 12, WINDOWS = 2, VOCAB = 2048, LAYERS = 6, MAIN = 5, DENSE = 2, EXPERTS = 16 };
enum { HIDDEN = 256, WIDE = 256, LAYER = 3, ASSUMED = 16 };

static const uint32_t TEXT[WINDOWS * WINDOW] = {17,   900, 3,  41,  1200, 77,  5,   640,
                                                8,    99,  31, 7,   2,    300, 300, 12,
                                                1999, 64,  1,  720, 55,   410, 6,   88};

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

static void open_model(struct test_model *m, const char *dir, enum inputs_scope inputs)
{
    struct runtime_options options = test_model_options();
    options.inputs = inputs;
    test_model_open(m, dir, &options);
}

/* ---- maxima ---- */

/* By the definition, and by expert: the last one is all that is not routed. */
struct seen {
    struct inputs_amax amax;
    float most[LAYERS][EXPERTS + 1][PART_OTHER];
};

static int watch(void *arg, const struct tap_rows *rows, struct prep_error *err)
{
    struct seen *s = arg;
    float *most = &s->most[rows->layer][rows->expert < 0 ? EXPERTS : rows->expert][rows->part];
    for (size_t i = 0; i < rows->n; i++)
        for (size_t j = 0; j < rows->cols; j++)
            *most = fmaxf(*most, fabsf(rows->x[i * rows->ld + j]));
    return s->amax.taps.input(s->amax.taps.arg, rows, err);
}

static void measure(struct seen *s, struct runtime *r, size_t first, size_t n, struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct sequence windows[WINDOWS];
    memset(s, 0, sizeof *s);
    assert_int_equal(inputs_amax_init(&s->amax, r, arena, &err), 0);
    assert_int_equal(s->amax.n_layers, LAYERS);
    const struct taps taps = {.arg = s, .input = watch};
    const struct lane lane = {.runtime = r, .forced_by = -1, .fed_by = -1, .taps = &taps};
    for (size_t i = 0; i < n; i++)
        windows[i] = (struct sequence){.tokens = TEXT + (first + i) * WINDOW, .n = WINDOW};
    const struct schedule run = {.sequences = windows,
                                 .n_sequences = n,
                                 .unit_sequences = 1,
                                 .lanes = &lane,
                                 .n_lanes = 1,
                                 .io = &io_posix};
    if (schedule_run(&run, &err))
        fail_msg("%s", err.msg);
}

static float amax_of(const struct seen *s, int layer, enum part part)
{
    return s->amax.amax[layer * PART_OTHER + (int)part];
}

static void routed_experts_of_a_layer_share_a_maximum(void **state)
{
    static struct seen s;
    static const enum part parts[] = {PART_GATE, PART_DOWN};
    struct test_model m;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_AS_THEY_ARE);
    measure(&s, m.runtime, 0, WINDOWS, &arena);
    for (int layer = DENSE; layer < MAIN; layer++) {
        for (int p = 0; p < 2; p++) {
            float most = 0, least = INFINITY;
            for (int e = 0; e < EXPERTS; e++) {
                const float x = s.most[layer][e][parts[p]];
                most = fmaxf(most, x);
                least = x > 0 ? fminf(least, x) : least;
            }
            assert_true(least < most);
            assert_true(amax_of(&s, layer, parts[p]) == most);
        }
        assert_true(amax_of(&s, layer, PART_UP) == 0);
        assert_true(amax_of(&s, layer, PART_GATE) != amax_of(&s, layer, PART_DOWN));
    }
    test_model_close(&m);
    arena_fini(&arena);
}

static void a_maximum_is_that_of_all_windows(void **state)
{
    static struct seen both, one[WINDOWS];
    struct test_model m;
    struct arena arena;
    size_t larger[WINDOWS] = {0};
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_AS_THEY_ARE);
    measure(&both, m.runtime, 0, WINDOWS, &arena);
    measure(&one[0], m.runtime, 0, 1, &arena);
    measure(&one[1], m.runtime, 1, 1, &arena);
    for (size_t i = 0; i < (size_t)LAYERS * PART_OTHER; i++) {
        const float a = one[0].amax.amax[i], b = one[1].amax.amax[i];
        assert_true(both.amax.amax[i] == fmaxf(a, b));
        larger[0] += a > b;
        larger[1] += b > a;
    }
    assert_true(larger[0] > 0 && larger[1] > 0);
    for (int layer = 0; layer < MAIN; layer++)
        assert_true(amax_of(&both, layer, PART_Q_A) == both.most[layer][EXPERTS][PART_Q_A]);
    assert_true(amax_of(&both, MAIN, PART_GATE) == 0); /* the MTP layer is not run */
    test_model_close(&m);
    arena_fini(&arena);
}

/* ---- scales ---- */

static void must_round(struct runtime *r, const struct inputs_amax *a)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (runtime_round_inputs(r, a, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

static void experts_without_scales_get_those_of_their_layer(void **state)
{
    static struct seen s;
    struct test_model m;
    struct arena arena;
    size_t n = 0;
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_NVFP4_EXPERTS);
    measure(&s, m.runtime, 0, WINDOWS, &arena);
    must_round(m.runtime, &s.amax);
    for (size_t i = 0; i < m.runtime->linears.n; i++) {
        const struct linear *l = &m.runtime->linears.items[i];
        const int rounded = l->role == ROLE_EXPERT && l->layer < MAIN;
        const enum part site = l->part == PART_DOWN ? PART_DOWN : PART_GATE;
        const float want = rounded ? amax_of(&s, l->layer, site) / 2688 : 0;
        if (m.runtime->input_scales[i] != want)
            fail_msg("%s: %a, want %a", l->name, (double)m.runtime->input_scales[i], (double)want);
        n += (size_t)rounded;
    }
    assert_int_equal(n, 3 * EXPERTS * (MAIN - DENSE));
    test_model_close(&m);
    arena_fini(&arena);
}

/* The scale a stored number stands for, on every linear in NVFP4 and no other. */
static void check_stored(enum quantized_as as, float want)
{
    static struct seen s;
    struct test_model m;
    struct arena arena;
    size_t n = 0;
    arena_init(&arena, 0);
    open_model(&m, quantized_folder(nano(), as, ASSUMED, NULL), INPUTS_NVFP4);
    measure(&s, m.runtime, 0, 1, &arena);
    for (int with_maxima = 0; with_maxima < 2; with_maxima++) {
        must_round(m.runtime, with_maxima ? &s.amax : NULL);
        for (size_t i = 0; i < m.runtime->linears.n; i++) {
            const struct linear *l = &m.runtime->linears.items[i];
            const int rounded = l->form != LINEAR_PLAIN && l->layer < MAIN;
            assert_true(m.runtime->input_scales[i] == (rounded ? want : 0));
            n += (size_t)rounded;
        }
    }
    assert_int_equal(n, 2 * 3 * EXPERTS * (MAIN - DENSE));
    assert_true(amax_of(&s, LAYER, PART_GATE) / 2688 != want);
    test_model_close(&m);
    arena_fini(&arena);
}

static void a_stored_scale_goes_before_a_maximum(void **state)
{
    (void)state;
    check_stored(AS_MODELOPT, (float)ASSUMED / 2688);
    check_stored(AS_COMPRESSED_TENSORS, 1 / (2688 / (float)ASSUMED));
}

/* ---- what rounding does ---- */

enum { ROW_WANTED = -1 };

struct products {
    int expert; /* of the first one that LAYER asks, or ROW_WANTED */
    float in[WIDE], out[HIDDEN];
};

static int keep_down(void *arg, const struct tap_rows *r, struct prep_error *err)
{
    struct products *p = arg;
    (void)err;
    if (r->layer == LAYER && r->part == PART_DOWN && r->expert >= 0 && p->expert == ROW_WANTED) {
        p->expert = r->expert;
        memcpy(p->in, r->x, sizeof p->in);
    }
    return 0;
}

static int keep_output(void *arg, const struct tap_rows *r, struct prep_error *err)
{
    struct products *p = arg;
    (void)err;
    if (r->layer == LAYER && r->expert == p->expert && p->out[0] == 0)
        memcpy(p->out, r->x, sizeof p->out);
    return 0;
}

/* Largest difference between out and the product of the expert's down_proj with x. */
static double distance(const struct test_model *m, const struct products *p, const float *x)
{
    static unsigned char w[HIDDEN * WIDE * 2];
    struct prep_error err = PREP_ERROR_INIT;
    const struct checkpoint_tensor *t = checkpoint_find(
        m->ckpt, test_path("model.layers.%d.mlp.experts.%d.down_proj.weight", LAYER, p->expert));
    double most = 0;
    assert_non_null(t);
    assert_int_equal(t->info.bytes, sizeof w);
    assert_int_equal(checkpoint_read(m->ckpt, t, 0, w, sizeof w, &err), 0);
    for (size_t i = 0; i < HIDDEN; i++) {
        double sum = 0;
        for (size_t k = 0; k < WIDE; k++)
            sum += (double)f32_from_bf16(load_u16_at(w, i * WIDE + k)) * (double)x[k];
        most = fmax(most, fabs(sum - (double)p->out[i]));
    }
    return most;
}

static void an_expert_is_multiplied_with_rounded_inputs(void **state)
{
    static struct seen s;
    static struct products p = {.expert = ROW_WANTED};
    struct prep_error err = PREP_ERROR_INIT;
    const struct taps taps = {.arg = &p, .input = keep_down, .expert_output = keep_output};
    struct test_model m;
    struct arena arena;
    float rounded[WIDE];
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_NVFP4_EXPERTS);
    measure(&s, m.runtime, 0, WINDOWS, &arena);
    must_round(m.runtime, &s.amax);
    struct batch *b = test_batch(m.runtime, TEXT, 1, WINDOW);
    assert_int_equal(runtime_embed(m.runtime, b, &err), 0);
    for (int layer = 0; layer <= LAYER; layer++)
        assert_int_equal(runtime_layer(m.runtime, layer, b, &taps, &err), 0);
    assert_true(p.expert >= 0);
    nvfp4_kernels(ISA_SCALAR)->inputs(rounded, p.in, WIDE, amax_of(&s, LAYER, PART_DOWN) / 2688);
    const double apart = distance(&m, &p, p.in);
    assert_true(apart > 0 && distance(&m, &p, rounded) < 1e-3 * apart);
    batch_free(b);
    test_model_close(&m);
    arena_fini(&arena);
}

static void rounded_inputs_of_zero_stay_zero(void **state)
{
    static struct seen s;
    static float h[WINDOW * HIDDEN];
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_NVFP4_EXPERTS);
    measure(&s, m.runtime, 0, 1, &arena);
    must_round(m.runtime, &s.amax);
    struct batch *b = test_batch(m.runtime, TEXT, 1, WINDOW);
    assert_int_equal(batch_set_hidden(b, 0, WINDOW, h, &err), 0);
    assert_int_equal(runtime_layer(m.runtime, LAYER, b, NULL, &err), 0);
    h[0] = 1;
    assert_int_equal(batch_get_hidden(b, 0, WINDOW, h, &err), 0);
    for (size_t i = 0; i < WINDOW * HIDDEN; i++)
        assert_true(h[i] == 0);
    batch_free(b);
    test_model_close(&m);
    arena_fini(&arena);
}

static void nothing_changes_where_activations_are_as_they_are(void **state)
{
    static const enum inputs_scope scopes[] = {INPUTS_AS_THEY_ARE, INPUTS_NVFP4_EXPERTS};
    static struct seen s;
    const size_t bytes = sizeof(float) * WINDOW * VOCAB;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct test_model m;
        struct arena arena;
        arena_init(&arena, 0);
        open_model(&m, nano(), scopes[i]);
        float *before = test_model_logits(m.runtime, TEXT, 1, WINDOW);
        measure(&s, m.runtime, 0, WINDOWS, &arena);
        must_round(m.runtime, &s.amax);
        float *after = test_model_logits(m.runtime, TEXT, 1, WINDOW);
        assert_int_equal(memcmp(before, after, bytes) != 0, scopes[i] != INPUTS_AS_THEY_ARE);
        free(before);
        free(after);
        test_model_close(&m);
        arena_fini(&arena);
    }
}

/* ---- what is refused ---- */

static void expect_refusal(const char *dir, enum inputs_scope inputs, int code, const char *want)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_model m;
    open_model(&m, dir, inputs);
    assert_int_equal(runtime_round_inputs(m.runtime, NULL, &err), -1);
    assert_string_equal(err.msg, want);
    assert_int_equal(err.code, code);
    assert_string_equal(err.tag, code == PREP_EDATA ? "INPUT_SCALE" : "");
    assert_null(m.runtime->input_scales); /* and it goes on as it was */
    test_model_close(&m);
}

static void a_linear_without_scale_and_maximum_is_refused(void **state)
{
    const char *const want = "model.layers.2.mlp.experts.0.gate_proj: no input scale is stored "
                             "with it and a calibration "
                             "text gave none (0); give a text that reaches it";
    (void)state;
    expect_refusal(nano(), INPUTS_NVFP4_EXPERTS, PREP_EDATA, want);
    expect_refusal(quantized_folder(nano(), AS_MODELOPT, 0, NULL), INPUTS_NVFP4, PREP_EDATA, want);
}

static void a_maximum_of_zero_or_infinity_gives_no_scale(void **state)
{
    static const float bad[] = {0, INFINITY};
    static struct seen s;
    struct test_model m;
    struct arena arena;
    (void)state;
    arena_init(&arena, 0);
    open_model(&m, nano(), INPUTS_NVFP4_EXPERTS);
    measure(&s, m.runtime, 0, WINDOWS, &arena);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct prep_error err = PREP_ERROR_INIT;
        s.amax.amax[LAYER * PART_OTHER + PART_DOWN] = bad[i];
        assert_int_equal(runtime_round_inputs(m.runtime, &s.amax, &err), -1);
        assert_int_equal(err.code, PREP_EDATA);
        assert_string_equal(
            err.msg,
            test_path("model.layers.3.mlp.experts.0.down_proj: no input scale is stored with it "
                      "and a calibration text gave none (%g); give a text that reaches it",
                      (double)bad[i]));
    }
    test_model_close(&m);
    arena_fini(&arena);
}

static void a_stored_scale_that_is_none_is_refused(void **state)
{
    static const struct {
        float scale;
        const char *printed;
    } bad[] = {{0, "0"}, {-1, "-1"}, {INFINITY, "inf"}};
    const char *dir = quantized_folder(nano(), AS_MODELOPT, ASSUMED, NULL);
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct edit e;
        edit_open(&e, dir);
        struct edit_tensor *t = edit_get(&e, "model.layers.3.mlp.experts.7.up_proj.input_scale");
        assert_int_equal(t->info.bytes, sizeof(float));
        memcpy(edit_bytes(&e, t), &bad[i].scale, sizeof(float));
        const char *edited = edit_write(&e);
        edit_close(&e);
        expect_refusal(edited, INPUTS_NVFP4, PREP_EDATA,
                       test_path("model.layers.3.mlp.experts.7.up_proj: its input scale is %s, "
                                 "want a finite number above 0",
                                 bad[i].printed));
    }
}

static void kv_b_in_nvfp4_is_refused(void **state)
{
    const char *dir = quantized_folder(nano(), AS_MODELOPT, ASSUMED, "*.2.self_attn.kv_b_proj");
    (void)state;
    expect_refusal(dir, INPUTS_NVFP4, PREP_EUNSUP,
                   "model.layers.2.self_attn.kv_b_proj: its inputs cannot be rounded: it is "
                   "multiplied with the queries");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(routed_experts_of_a_layer_share_a_maximum),
        cmocka_unit_test(a_maximum_is_that_of_all_windows),
        cmocka_unit_test(experts_without_scales_get_those_of_their_layer),
        cmocka_unit_test(a_stored_scale_goes_before_a_maximum),
        cmocka_unit_test(an_expert_is_multiplied_with_rounded_inputs),
        cmocka_unit_test(rounded_inputs_of_zero_stay_zero),
        cmocka_unit_test(nothing_changes_where_activations_are_as_they_are),
        cmocka_unit_test(a_linear_without_scale_and_maximum_is_refused),
        cmocka_unit_test(a_maximum_of_zero_or_infinity_gives_no_scale),
        cmocka_unit_test(a_stored_scale_that_is_none_is_refused),
        cmocka_unit_test(kv_b_in_nvfp4_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
