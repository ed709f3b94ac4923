/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libprep/release/judge_model.h"
#include "tests/support/quantized.h"
#include "tests/support/support.h"

enum { TOKENS = 70, WIDE = 256, LAYER = 2, EXPERT = 3, LAYERS = 5 };

/* Inputs of one layer: each token goes to EXPERT when its number is no multiple of 3. */
struct inputs {
    float mlp[TOKENS * WIDE], down[TOKENS * WIDE], heads[TOKENS * 2 * WIDE];
    uint32_t tokens[TOKENS];
    size_t n;
};

static struct judge_model original, quantized;
static struct inputs inputs;

static int open_models(void **state)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct test_random r;
    const char *nano = test_path("%s/glm-nano", test_data());
    const struct quantize_job job = quantized_job(nano);
    test_random_init(&r);
    for (size_t i = 0; i < TOKENS * WIDE; i++) {
        inputs.mlp[i] = (float)(int64_t)(test_random_below(&r, 2001) - 1000) / 300.0f;
        inputs.down[i] = (float)(int64_t)(test_random_below(&r, 2001) - 1000) / 900.0f;
    }
    for (size_t i = 0; i < TOKENS * 2 * WIDE; i++)
        inputs.heads[i] = (float)(int64_t)(test_random_below(&r, 2001) - 1000) / 100.0f;
    for (uint32_t i = 0; i < TOKENS; i++)
        if (i % 3)
            inputs.tokens[inputs.n++] = i;
    (void)state;
    return judge_model_open(&original, &io_posix, nano, NULL, NULL, &err) ||
           judge_model_open(&quantized, &io_posix, quantized_run(&job), NULL, NULL, &err);
}

static int close_models(void **state)
{
    (void)state;
    judge_model_close(&original);
    judge_model_close(&quantized);
    return 0;
}

static void show(struct judge_sites *s, const struct tap_rows *r)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (s->taps.input(s->taps.arg, r, &err))
        fail_msg("%s", err.msg);
}

/* Tokens [first, end), as a unit of its own, in pieces of so many rows. */
static void show_all(struct judge_sites *s, uint32_t first, uint32_t end, size_t piece)
{
    float gathered[TOKENS * WIDE];
    uint32_t tokens[TOKENS];
    judge_sites_reset(s);
    struct tap_rows r = {
        .layer = LAYER, .expert = -1, .part = PART_ROUTER, .cols = WIDE, .ld = WIDE};
    for (uint32_t i = first; i < end; i += (uint32_t)r.n) {
        r.n = end - i < piece ? end - i : piece;
        r.x = inputs.mlp + i * WIDE;
        r.first_token = i - first;
        show(s, &r);
    }
    r = (struct tap_rows){.layer = LAYER,
                          .expert = -1,
                          .part = PART_O,
                          .n = end - first,
                          .x = inputs.heads + (size_t)first * 2 * WIDE,
                          .cols = 2 * WIDE,
                          .ld = 2 * WIDE};
    show(s, &r);
    for (size_t i = 0; i < inputs.n;) {
        r = (struct tap_rows){.layer = LAYER,
                              .expert = EXPERT,
                              .part = PART_GATE,
                              .cols = WIDE,
                              .ld = WIDE,
                              .x = gathered,
                              .tokens = tokens};
        const size_t from = i;
        for (; i < inputs.n && r.n < piece; i++) {
            if (inputs.tokens[i] < first || inputs.tokens[i] >= end)
                continue;
            tokens[r.n] = inputs.tokens[i] - first;
            memcpy(gathered + r.n++ * WIDE, inputs.mlp + inputs.tokens[i] * WIDE,
                   WIDE * sizeof *gathered);
        }
        show(s, &r);
        for (size_t k = from, n = 0; k < i; k++)
            if (inputs.tokens[k] >= first && inputs.tokens[k] < end)
                memcpy(gathered + n++ * WIDE, inputs.down + inputs.tokens[k] * WIDE,
                       WIDE * sizeof *gathered);
        r.part = PART_DOWN;
        show(s, &r);
    }
}

static float *decode(const struct judge_model *m, const struct linear *l)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct span parts[LINEAR_PARTS];
    struct linear_codec codec;
    float *w = malloc((size_t)(l->out * l->in) * sizeof *w);
    assert_non_null(w);
    linear_codec_init(&codec, ISA_SCALAR);
    for (int i = 0; i < l->n_tensors; i++) {
        const struct checkpoint_tensor *t = &m->pruned.source.ckpt->tensors[l->tensors[i].index];
        unsigned char *p = malloc((size_t)t->info.bytes);
        assert_non_null(p);
        assert_int_equal(
            checkpoint_read(m->pruned.source.ckpt, t, 0, p, (size_t)t->info.bytes, &err), 0);
        parts[i] = (struct span){p, (size_t)t->info.bytes};
    }
    const struct linear_rows rows = {.n = l->out, .f32 = w};
    if (linear_decode_rows(l, &codec, parts, &rows, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < l->n_tensors; i++)
        free((void *)(uintptr_t)parts[i].p);
    return w;
}

/* The definition, in double. */
static double nmse_of(const char *name, const float *x)
{
    const struct linear *a = linears_get(&original.linears, name);
    const struct linear *b = linears_get(&quantized.linears, name);
    assert_non_null(a);
    assert_non_null(b);
    float *w = decode(&original, a), *q = decode(&quantized, b);
    double error = 0, signal = 0;
    for (size_t t = 0; t < inputs.n; t++)
        for (size_t o = 0; o < a->out; o++) {
            double e = 0, s = 0;
            for (size_t k = 0; k < a->in; k++) {
                const double v = (double)x[inputs.tokens[t] * WIDE + k];
                e += v * ((double)w[o * a->in + k] - (double)q[o * a->in + k]);
                s += v * (double)w[o * a->in + k];
            }
            error += e * e;
            signal += s * s;
        }
    free(w);
    free(q);
    return error / signal;
}

static struct judge_linear *find(struct judge_linears *l, const char *name)
{
    for (size_t i = 0; i < l->n; i++)
        if (strcmp(l->items[i].other->name, name) == 0)
            return &l->items[i];
    fail_msg("%s is not there", name);
    return NULL;
}

static void add(struct judge_linears *l, struct judge_sites *s, int n_threads, enum isa isa)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct judge_linears_how how = {n_threads, isa};
    if (judge_linears_add(l, LAYER, s, &how, &err))
        fail_msg("%s", err.msg);
}

static void start(struct judge_linears *l, struct judge_sites *s, const struct judge_model *other,
                  struct arena *arena)
{
    struct prep_error err = PREP_ERROR_INIT;
    arena_init(arena, 0);
    if (judge_linears_init(l, &original.matrices, &other->matrices, LAYERS, arena, &err) ||
        judge_sites_init(s, original.config, TOKENS, arena, &err))
        fail_msg("%s", err.msg);
}

static const char up[] = "model.layers.2.mlp.experts.3.up_proj",
                  down[] = "model.layers.2.mlp.experts.3.down_proj",
                  unseen[] = "model.layers.2.mlp.experts.4.up_proj",
                  o_proj[] = "model.layers.2.self_attn.o_proj";

static void is_the_error_on_the_inputs_of_the_linear(void **state)
{
    (void)state;
    struct judge_linears l;
    struct judge_sites s;
    struct arena arena;
    start(&l, &s, &quantized, &arena);
    show_all(&s, 0, TOKENS, TOKENS);
    add(&l, &s, 2, N_ISA - 1);
    judge_linears_finish(&l);
    assert_int_equal(find(&l, up)->tokens, inputs.n);
    assert_true(fabs(find(&l, up)->nmse / nmse_of(up, inputs.mlp) - 1) < 1e-5);
    assert_true(fabs(find(&l, down)->nmse / nmse_of(down, inputs.down) - 1) < 1e-5);
    assert_true(isnan(find(&l, unseen)->nmse));
    assert_int_equal(find(&l, unseen)->tokens, 0);
    assert_true(find(&l, o_proj)->same && isnan(find(&l, o_proj)->nmse));
    struct judge_scope scope;
    struct prep_error err = PREP_ERROR_INIT;
    assert_int_equal(judge_linears_scope(&scope, &l, ROLE_EXPERT, &err), 0);
    assert_int_equal(scope.n, 3); /* gate, up, down of one expert */
    assert_true(scope.geometric <= scope.p95 && scope.p95 <= scope.worst);
    assert_int_equal(scope.worst_linear->other->expert, EXPERT);
    arena_fini(&arena);
}

static void does_not_depend_on_units_pieces_threads_and_instructions(void **state)
{
    (void)state;
    struct judge_linears a, b;
    struct judge_sites s, t;
    struct arena first, second;
    start(&a, &s, &quantized, &first);
    start(&b, &t, &quantized, &second);
    show_all(&s, 0, TOKENS, TOKENS);
    add(&a, &s, 1, ISA_SCALAR);
    show_all(&t, 0, 31, 7);
    add(&b, &t, 7, N_ISA - 1);
    show_all(&t, 31, TOKENS, 16);
    add(&b, &t, 2, N_ISA - 1);
    judge_linears_finish(&a);
    judge_linears_finish(&b);
    size_t seen = 0;
    for (size_t i = 0; i < a.n; i++) {
        assert_memory_equal(&a.items[i].nmse, &b.items[i].nmse, sizeof(double));
        seen += (size_t)!isnan(a.items[i].nmse);
    }
    assert_int_equal(seen, 3);
    arena_fini(&first);
    arena_fini(&second);
}

static void takes_rows_of_the_expert_the_original_has_under_another_number(void **state)
{
    (void)state;
    /* As if the quantized model had lost experts: its 1 is the original's 3, the rest unknown. */
    int ids[16], *experts[8];
    struct judge_linears l;
    struct judge_sites s;
    struct arena arena;
    for (int i = 0; i < 16; i++)
        ids[i] = i == 1 ? EXPERT : -1;
    for (int i = 0; i < 8; i++)
        experts[i] = ids;
    quantized.matrices.experts = experts;
    start(&l, &s, &quantized, &arena);
    quantized.matrices.experts = NULL;
    const struct judge_linear *x = find(&l, "model.layers.2.mlp.experts.1.up_proj");
    assert_string_equal(x->original->name, up);
    assert_int_equal(l.n_unmatched, 3 * 15 * 3);
    arena_fini(&arena);
}

static void refuses_rows_out_of_order(void **state)
{
    (void)state;
    struct prep_error err = PREP_ERROR_INIT;
    struct judge_linears l;
    struct judge_sites s;
    struct arena arena;
    start(&l, &s, &quantized, &arena);
    const uint32_t token = 0;
    struct tap_rows r = {.layer = LAYER,
                         .expert = -1,
                         .part = PART_ROUTER,
                         .cols = WIDE,
                         .ld = WIDE,
                         .n = 2,
                         .x = inputs.mlp,
                         .first_token = 1};
    assert_int_equal(s.taps.input(&s, &r, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    prep_error_clear(&err);
    r = (struct tap_rows){.layer = LAYER,
                          .expert = 99,
                          .part = PART_GATE,
                          .cols = WIDE,
                          .ld = WIDE,
                          .n = 1,
                          .x = inputs.mlp,
                          .tokens = &token};
    assert_int_equal(s.taps.input(&s, &r, &err), -1);
    assert_int_equal(err.code, PREP_EBUG);
    prep_error_clear(&err);
    r.layer = LAYERS; /* an MTP layer: passed over */
    assert_int_equal(s.taps.input(&s, &r, &err), 0);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_error_on_the_inputs_of_the_linear),
        cmocka_unit_test(does_not_depend_on_units_pieces_threads_and_instructions),
        cmocka_unit_test(takes_rows_of_the_expert_the_original_has_under_another_number),
        cmocka_unit_test(refuses_rows_out_of_order),
    };
    return cmocka_run_group_tests(tests, open_models, close_models);
}
