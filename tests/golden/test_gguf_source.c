/* SPDX-License-Identifier: MIT */
/* A GGUF file as the checkpoint it was made of: names, shapes, values, and files made of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ggml/ggml.h"
#include "libprep/model/source.h"
#include "tests/support/gguf_made.h"
#include "tests/support/support.h"

static struct prep_error err;
static const char *made; /* a folder with nano in two rungs */

static const char *nano(void)
{
    return test_path("%s/glm-nano", test_data());
}

static int setup(void **state)
{
    (void)state;
    static const char *const rungs[] = {"BF16", "Q8_0"};
    struct gguf_job job = gguf_made_job(nano(), rungs, 2);
    job.prefix = "n";
    made = gguf_made_run(&job);
    return 0;
}

/* A source with its linears. */
struct opened {
    struct source s;
    struct linears linears;
    struct linear_codec codec;
    struct arena arena;
};

static void open_source(struct opened *o, const char *path)
{
    prep_error_clear(&err);
    arena_init(&o->arena, 0);
    linear_codec_init(&o->codec, cpu_isa());
    if (source_open(&o->s, &io_posix, path, NULL, &err) ||
        linears_of_checkpoint(&o->linears, o->s.ckpt, &o->s.config, &o->arena, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

static void close_source(struct opened *o)
{
    source_close(&o->s);
    arena_fini(&o->arena);
}

static void the_config_is_that_of_the_model(void **state)
{
    (void)state;
    struct opened a, b;
    open_source(&a, nano());
    open_source(&b, test_path("%s/n-Q8_0.gguf", made));
    const struct config *x = &a.s.config, *y = &b.s.config;
    assert_int_equal(x->n_layers, y->n_layers);
    assert_int_equal(x->num_hidden_layers, y->num_hidden_layers);
    assert_int_equal(x->hidden_size, y->hidden_size);
    assert_int_equal(x->intermediate_size, y->intermediate_size);
    assert_int_equal(x->moe_intermediate_size, y->moe_intermediate_size);
    assert_int_equal(x->qk_nope_head_dim, y->qk_nope_head_dim);
    assert_int_equal(x->qk_rope_head_dim, y->qk_rope_head_dim);
    assert_int_equal(x->v_head_dim, y->v_head_dim);
    assert_int_equal(x->index_topk, y->index_topk);
    assert_int_equal(x->n_routed_experts, y->n_routed_experts);
    assert_true(x->rms_norm_eps == y->rms_norm_eps && x->rope_theta == y->rope_theta);
    assert_true(x->routed_scaling_factor == y->routed_scaling_factor);
    assert_memory_equal(x->full_indexer, y->full_indexer, (size_t)x->n_layers);
    close_source(&a);
    close_source(&b);
}

/* Rows of a linear, from the bytes of its tensors. */
static float *decode(struct opened *o, const struct linear *l, uint64_t first, uint64_t n)
{
    struct span inputs[LINEAR_PARTS];
    float *out = malloc((size_t)(n * l->in) * sizeof *out);
    assert_non_null(out);
    for (int i = 0; i < l->n_tensors; i++) {
        const struct checkpoint_tensor *t = &o->s.ckpt->tensors[l->tensors[i].index];
        unsigned char *p = malloc((size_t)t->info.bytes);
        assert_non_null(p);
        assert_int_equal(checkpoint_read(o->s.ckpt, t, 0, p, (size_t)t->info.bytes, &err), 0);
        inputs[i] = (struct span){p, (size_t)t->info.bytes};
    }
    const struct linear_rows rows = {.first = first, .n = n, .f32 = out};
    if (linear_decode_rows(l, &o->codec, inputs, &rows, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < l->n_tensors; i++)
        free((void *)(uintptr_t)inputs[i].p);
    return out;
}

static void every_linear_of_a_bf16_file_has_the_values_of_the_model(void **state)
{
    (void)state;
    struct opened a, b;
    open_source(&a, nano());
    open_source(&b, test_path("%s/n-BF16.gguf", made));
    assert_int_equal(a.linears.n, b.linears.n);
    size_t heads = 0;
    for (size_t i = 0; i < a.linears.n; i++) {
        const struct linear *x = &a.linears.items[i], *y = linears_get(&b.linears, x->name);
        if (!y)
            fail_msg("%s is not there", x->name);
        assert_int_equal(x->out, y->out);
        assert_int_equal(x->in, y->in);
        assert_int_equal(x->part, y->part);
        assert_int_equal(x->expert, y->expert);
        heads += y->form == LINEAR_GGML_HEADS;
        float *u = decode(&a, x, 0, x->out), *v = decode(&b, y, 0, y->out);
        if (memcmp(u, v, (size_t)(x->out * x->in) * sizeof *u))
            fail_msg("%s has other values", x->name);
        free(u);
        free(v);
    }
    assert_int_equal(heads, 6);
    close_source(&a);
    close_source(&b);
}

static void rows_come_out_the_same_however_they_are_cut(void **state)
{
    (void)state;
    struct opened o;
    open_source(&o, test_path("%s/n-Q8_0.gguf", made));
    for (size_t i = 0; i < o.linears.n; i += 7) {
        const struct linear *l = &o.linears.items[i];
        float *whole = decode(&o, l, 0, l->out);
        for (uint64_t first = 0, n; first < l->out; first += n) {
            n = 1 + first % 37;
            n = n < l->out - first ? n : l->out - first;
            float *some = decode(&o, l, first, n);
            assert_memory_equal(some, whole + first * l->in, (size_t)(n * l->in) * sizeof *some);
            free(some);
        }
        free(whole);
    }
    close_source(&o);
}

/* Expert 5's part of the stacked blocks, decoded by the kernel alone. */
static void an_expert_is_its_part_of_the_stacked_tensor(void **state)
{
    (void)state;
    struct opened o;
    struct gguf g;
    const char *path = test_path("%s/n-Q8_0.gguf", made);
    struct test_bytes file = test_read(path);
    open_source(&o, path);
    assert_int_equal(gguf_open(&g, &io_posix, path, NULL, &err), 0);
    const struct linear *l = linears_get(&o.linears, "model.layers.3.mlp.experts.5.down_proj");
    assert_non_null(l);
    assert_int_equal(l->form, LINEAR_GGML);
    const struct gguf_tensor_info *t = gguf_find_tensor(&g, "blk.3.ffn_down_exps.weight");
    float *want = malloc((size_t)(l->out * l->in) * sizeof *want);
    float *got = decode(&o, l, 0, l->out);
    assert_non_null(want);
    ggml_codec(ISA_SCALAR, GGML_Q8_0)
        ->dequantize_rows(want, file.p + t->offset + 5 * (t->bytes / 16), (size_t)l->out,
                          (size_t)l->in);
    assert_memory_equal(got, want, (size_t)(l->out * l->in) * sizeof *want);
    free(want);
    free(got);
    free(file.p);
    gguf_free(&g);
    close_source(&o);
}

/* Bytes of every tensor of a and b. */
static void same_tensors(const char *a, const char *b)
{
    struct test_bytes x = test_read(a), y = test_read(b);
    struct gguf g, h;
    assert_int_equal(gguf_open(&g, &io_posix, a, NULL, &err), 0);
    assert_int_equal(gguf_open(&h, &io_posix, b, NULL, &err), 0);
    assert_int_equal(g.n_tensors, h.n_tensors);
    for (size_t i = 0; i < g.n_tensors; i++) {
        const struct gguf_tensor_info *t = &g.tensors[i], *u = gguf_find_tensor(&h, t->name);
        assert_non_null(u);
        assert_int_equal(t->type, u->type);
        assert_memory_equal(x.p + t->offset, y.p + u->offset, (size_t)t->bytes);
    }
    gguf_free(&g);
    gguf_free(&h);
    free(x.p);
    free(y.p);
}

static void files_made_of_a_bf16_file_are_those_made_of_the_model(void **state)
{
    (void)state;
    static const char *const rungs[] = {"BF16", "Q8_0"};
    struct gguf_job job = gguf_made_job(test_path("%s/n-BF16.gguf", made), rungs, 2);
    assert_string_equal(gguf_made_refusal(&job), "NO_TOKENIZER");
    job.tokenizer = nano();
    job.prefix = "n";
    const char *dir = gguf_made_run(&job);
    same_tensors(test_path("%s/n-BF16.gguf", dir), test_path("%s/n-BF16.gguf", made));
    same_tensors(test_path("%s/n-Q8_0.gguf", dir), test_path("%s/n-Q8_0.gguf", made));
}

static void a_quantized_file_is_a_source(void **state)
{
    (void)state;
    static const char *const rungs[] = {"Q8_0"};
    struct gguf_job job = gguf_made_job(test_path("%s/n-Q8_0.gguf", made), rungs, 1);
    job.tokenizer = nano();
    job.prefix = "n";
    /* Q8_0 of Q8_0: the largest value of a block decodes to 127 of its scale, so nothing moves. */
    const char *dir = gguf_made_run(&job);
    same_tensors(test_path("%s/n-Q8_0.gguf", dir), test_path("%s/n-Q8_0.gguf", made));
}

static void another_architecture_is_refused(void **state)
{
    (void)state;
    struct source s;
    const char *path = test_path("%s/gguf/nano-imatrix-16.gguf", test_data());
    prep_error_clear(&err);
    assert_int_equal(source_open(&s, &io_posix, path, NULL, &err), -1);
    assert_string_equal(err.tag, "ARCHITECTURE");
    source_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_config_is_that_of_the_model),
        cmocka_unit_test(every_linear_of_a_bf16_file_has_the_values_of_the_model),
        cmocka_unit_test(rows_come_out_the_same_however_they_are_cut),
        cmocka_unit_test(an_expert_is_its_part_of_the_stacked_tensor),
        cmocka_unit_test(files_made_of_a_bf16_file_are_those_made_of_the_model),
        cmocka_unit_test(a_quantized_file_is_a_source),
        cmocka_unit_test(another_architecture_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
