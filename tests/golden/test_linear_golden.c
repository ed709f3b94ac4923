/* SPDX-License-Identifier: MIT */
/*
 * Checkpoints that three packages wrote, read as linears: what is decoded is what the formats'
 * formulas say of the stored bytes and near the unquantized source; codes go from layout to layout
 * and back without a change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/fp.h"
#include "kernels/int4/int4.h"
#include "kernels/load.h"
#include "tests/support/stored.h"

static struct linear_codec best(void)
{
    struct linear_codec codec;
    linear_codec_init(&codec, N_ISA - 1);
    return codec;
}

static float *decode(const struct checkpoint *ckpt, const struct linear *l, uint16_t *bf16)
{
    const struct linear_codec codec = best();
    struct span inputs[LINEAR_PARTS];
    struct prep_error err = PREP_ERROR_INIT;
    struct linear_rows rows = {.n = l->out, .f32 = malloc(4 * l->out * l->in), .bf16 = bf16};
    assert_non_null(rows.f32);
    inputs_read(inputs, ckpt, l);
    if (linear_decode_rows(l, &codec, inputs, &rows, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    inputs_free(inputs, l);
    return rows.f32;
}

static double relative_error(const float *w, const float *q, size_t n)
{
    double error = 0, signal = 0;
    for (size_t i = 0; i < n; i++) {
        error += ((double)w[i] - (double)q[i]) * ((double)w[i] - (double)q[i]);
        signal += (double)w[i] * (double)w[i];
    }
    return error / signal;
}

/* NVFP4 */

/* .0092 is what plain rounding of normal weights gives; the smallest matrix has 512. */
#define MOST_ERROR 0.0105

static const struct {
    const char *name;
    size_t n_coded;
} TINY[] = {
    {"modelopt_default", 81},
    {"ct_all", 78},
    {"autoround_0.16.1", 0},
    {"autoround_0.12.2_unequal_gate_up", 0},
};

static float nvfp4_element(const struct linear *l, const struct span *in, size_t o, size_t i)
{
    static const float VALUE[8] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
    const unsigned char byte = in[0].p[o * (l->in / 2) + i / 2];
    const unsigned code = i % 2 ? byte >> 4 : byte & 15;
    const float scale = f32_from_e4m3(in[1].p[o * (l->in / 16) + i / 16]);
    const float global = f32_from_bits(load_u32_at(in[2].p, 0));
    const float d = l->form == LINEAR_NVFP4_MODELOPT ? scale * global : scale / global;
    const float magnitude = VALUE[code & 7];
    return (code & 8 ? -magnitude : magnitude) * d;
}

static void check_nvfp4(const struct test_linears *t, const struct linear *l,
                        const struct test_linears *source)
{
    struct span inputs[LINEAR_PARTS];
    uint16_t *bf16 = malloc(2 * l->out * l->in);
    assert_non_null(bf16);
    float *w = decode(t->ckpt, l, bf16);
    inputs_read(inputs, t->ckpt, l);
    for (size_t o = 0; o < l->out; o++) {
        for (size_t i = 0; i < l->in; i++) {
            const float want = nvfp4_element(l, inputs, o, i);
            assert_int_equal(f32_bits(w[o * l->in + i]), f32_bits(want));
            assert_int_equal(bf16[o * l->in + i], bf16_from_f32(want));
        }
    }
    const struct linear *plain = linears_get(&source->all, l->name);
    assert_non_null(plain);
    assert_true(plain->out == l->out && plain->in == l->in && plain->form == LINEAR_PLAIN);
    float *original = decode(source->ckpt, plain, NULL);
    assert_true(relative_error(original, w, l->out * l->in) < MOST_ERROR);
    inputs_free(inputs, l);
    free(original);
    free(bf16);
    free(w);
}

static void decodes_nvfp4_of_three_packages(void **state)
{
    (void)state;
    struct test_linears source;
    linears_open(&source, test_path("%s/nvfp4/tiny_glm/bf16", test_data()));
    for (size_t f = 0; f < sizeof TINY / sizeof TINY[0]; f++) {
        struct test_linears t;
        size_t n = 0;
        linears_open(&t, test_path("%s/nvfp4/tiny_glm/%s", test_data(), TINY[f].name));
        for (size_t i = 0; i < t.all.n; i++) {
            if (t.all.items[i].form == LINEAR_PLAIN)
                continue;
            check_nvfp4(&t, &t.all.items[i], &source);
            n++;
        }
        assert_true(n > 0 && (TINY[f].n_coded == 0 || n == TINY[f].n_coded));
        assert_int_equal(t.all.n, source.all.n);
        assert_int_equal(t.all.n_rest, source.all.n_rest);
        linears_close(&t);
    }
    linears_close(&source);
}

/* Repacking */

static void outputs_new(unsigned char *outputs[LINEAR_PARTS], struct span spans[LINEAR_PARTS],
                        const struct linear *l)
{
    for (int i = 0; i < l->n_tensors; i++) {
        outputs[i] = malloc(l->tensors[i].info->bytes);
        assert_non_null(outputs[i]);
        spans[i] = (struct span){outputs[i], l->tensors[i].info->bytes};
    }
}

/* from -> want -> as it was; true when every tensor comes back with its bytes. */
static int comes_back(const struct linear *from, const struct span *inputs,
                      const struct linear_want *want, const struct linear_want *was)
{
    const struct linear_codec codec = best();
    struct prep_error err = PREP_ERROR_INIT;
    struct linear there, back;
    unsigned char *out[LINEAR_PARTS], *again[LINEAR_PARTS];
    struct span out_spans[LINEAR_PARTS], again_spans[LINEAR_PARTS];
    struct arena arena;
    int same = 1;
    arena_init(&arena, 0);
    assert_int_equal(linear_layout(&there, from, want, &arena, &err), 0);
    assert_int_equal(linear_layout(&back, from, was, &arena, &err), 0);
    assert_int_equal(back.n_tensors, from->n_tensors);
    outputs_new(out, out_spans, &there);
    outputs_new(again, again_spans, &back);
    if (linear_repack(&there, out, from, &codec, inputs, &err) ||
        linear_repack(&back, again, &there, &codec, out_spans, &err))
        fail_msg("%s: %s", err.tag, err.msg);
    for (int i = 0; i < back.n_tensors; i++) {
        const struct tensor_info *a = back.tensors[i].info, *b = from->tensors[i].info;
        assert_int_equal(back.tensors[i].part, from->tensors[i].part);
        assert_int_equal(a->dtype, b->dtype);
        assert_int_equal(a->bytes, b->bytes);
        same = same && memcmp(again[i], inputs[i].p, a->bytes) == 0;
    }
    inputs_free(out_spans, &there);
    inputs_free(again_spans, &back);
    arena_fini(&arena);
    return same;
}

static void repacks_nvfp4_there_and_back(void **state)
{
    (void)state;
    for (size_t f = 0; f < sizeof TINY / sizeof TINY[0]; f++) {
        struct test_linears t;
        linears_open(&t, test_path("%s/nvfp4/tiny_glm/%s", test_data(), TINY[f].name));
        for (size_t i = 0; i < t.all.n; i++) {
            const struct linear *l = &t.all.items[i];
            struct span inputs[LINEAR_PARTS];
            struct linear_want want = {.with_input = 1};
            struct linear_want was = {.form = l->form, .with_input = 1};
            if (l->form == LINEAR_PLAIN)
                continue;
            want.form = l->form == LINEAR_NVFP4_CT ? LINEAR_NVFP4_MODELOPT : LINEAR_NVFP4_CT;
            inputs_read(inputs, t.ckpt, l);
            assert_true(comes_back(l, inputs, &want, &was));
            inputs_free(inputs, l);
        }
        linears_close(&t);
    }
}

/* A linear over the tensors of a file of matrices. */
struct file_linear {
    struct stored file;
    struct arena arena;
    struct linear l;
    struct span inputs[LINEAR_PARTS];
};

static void file_linear_open(struct file_linear *x, const char *file,
                             const struct linear_want *want, const char *const names[])
{
    struct prep_error err = PREP_ERROR_INIT;
    stored_open(&x->file, test_path("%s/gptq/%s.safetensors", test_data(), file));
    arena_init(&x->arena, 0);
    const struct tensor_info *w = stored_find(&x->file, "W");
    const struct linear plain = {.name = file, .out = w->shape[0], .in = w->shape[1]};
    if (linear_layout(&x->l, &plain, want, &x->arena, &err))
        fail_msg("%s", err.msg);
    for (int i = 0; i < x->l.n_tensors; i++) {
        const struct tensor_info *t = stored_find(&x->file, names[i]);
        assert_int_equal(t->bytes, x->l.tensors[i].info->bytes);
        x->inputs[i] = (struct span){x->file.bytes.p + t->offset, t->bytes};
    }
}

static void file_linear_close(struct file_linear *x)
{
    arena_fini(&x->arena);
    stored_close(&x->file);
}

static const struct linear_want GPTQ_V1 = {
    .form = LINEAR_GPTQ, .group = 128, .scale_dtype = DTYPE_F16, .zero_bias = 1, .with_g_idx = 1};
static const char *const RTN[] = {"rtn.qweight", "rtn.scales", "rtn.qzeros", "g_idx"};

static void repacks_w4a16_there_and_back(void **state)
{
    (void)state;
    static const char *const FILES[] = {"rtn_a", "rtn_b"};
    struct linear_want packed = {
        .form = LINEAR_PACK_QUANTIZED, .group = 128, .scale_dtype = DTYPE_F16};
    struct linear_want v2 = GPTQ_V1;
    v2.zero_bias = 0;
    v2.with_g_idx = 0;
    for (int i = 0; i < 2; i++) {
        struct file_linear x;
        file_linear_open(&x, FILES[i], &GPTQ_V1, RTN);
        assert_true(comes_back(&x.l, x.inputs, &packed, &GPTQ_V1));
        assert_true(comes_back(&x.l, x.inputs, &v2, &GPTQ_V1));
        file_linear_close(&x);
    }
}

static void repacks_compressed_tensors_where_f16_holds_the_scales(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"weight_packed", "weight_scale", "weight_shape"};
    const struct linear_want packed = {
        .form = LINEAR_PACK_QUANTIZED, .group = 128, .scale_dtype = DTYPE_BF16};
    struct file_linear x;
    file_linear_open(&x, "ct_rtn_b", &packed, NAMES);
    assert_true(comes_back(&x.l, x.inputs, &GPTQ_V1, &packed));
    file_linear_close(&x);

    /* rtn_a has scales of 1e-6, where F16 has steps of 6e-8. */
    const struct linear_codec codec = best();
    struct prep_error err = PREP_ERROR_INIT;
    struct linear there;
    unsigned char *out[LINEAR_PARTS];
    struct span spans[LINEAR_PARTS];
    file_linear_open(&x, "ct_rtn_a", &packed, NAMES);
    assert_int_equal(linear_layout(&there, &x.l, &GPTQ_V1, &x.arena, &err), 0);
    outputs_new(out, spans, &there);
    assert_int_equal(linear_repack(&there, out, &x.l, &codec, x.inputs, &err), -1);
    assert_int_equal(err.code, PREP_EUNSUP);
    assert_string_equal(err.tag, "SCALE_VALUE");
    inputs_free(spans, &there);
    file_linear_close(&x);
}

static void decodes_inputs_out_of_order(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"actorder.qweight", "actorder.scales", "qzeros_v1",
                                        "actorder.g_idx"};
    static const char *const FILES[] = {"gptq_b", "gptq_c"};
    const struct linear_codec codec = best();
    for (int i = 0; i < 2; i++) {
        struct file_linear x;
        struct linear there;
        struct prep_error err = PREP_ERROR_INIT;
        file_linear_open(&x, FILES[i], &GPTQ_V1, NAMES);
        const size_t n = x.l.out * x.l.in;
        float *q = malloc(4 * n), *w = malloc(4 * n);
        assert_true(q && w);
        const struct linear_rows rows = {.n = x.l.out, .f32 = q};
        assert_int_equal(linear_decode_rows(&x.l, &codec, x.inputs, &rows, &err), 0);
        for (size_t j = 0; j < n; j++)
            w[j] = f32_from_bf16(load_u16_at(stored_bytes(&x.file, "W"), j));
        assert_true(relative_error(w, q, n) < 0.2); /* GPTQ moves weights; a wrong order gives 1 */
        const struct linear_want packed = {
            .form = LINEAR_PACK_QUANTIZED, .group = 128, .scale_dtype = DTYPE_F16};
        assert_int_equal(linear_layout(&there, &x.l, &packed, &x.arena, &err), 0);
        unsigned char *out[LINEAR_PARTS];
        struct span spans[LINEAR_PARTS];
        outputs_new(out, spans, &there);
        assert_int_equal(linear_repack(&there, out, &x.l, &codec, x.inputs, &err), -1);
        assert_string_equal(err.tag, "G_IDX");
        inputs_free(spans, &there);
        free(q);
        free(w);
        file_linear_close(&x);
    }
}

static void reads_a_whole_auto_round_export(void **state)
{
    (void)state;
    const char *dir = test_path("%s/gptq/nano-autoround", test_data());
    if (!test_exists(dir))
        skip();
    struct test_linears t, source;
    size_t n = 0;
    linears_open(&t, dir);
    linears_open(&source, test_path("%s/glm-nano", test_data()));
    struct linear_want packed = {
        .form = LINEAR_PACK_QUANTIZED, .group = 128, .scale_dtype = DTYPE_F16};
    for (size_t i = 0; i < t.all.n; i++) {
        const struct linear *l = &t.all.items[i];
        struct span inputs[LINEAR_PARTS];
        if (l->form == LINEAR_PLAIN)
            continue;
        assert_int_equal(l->form, LINEAR_GPTQ);
        float *q = decode(t.ckpt, l, NULL);
        float *w = decode(source.ckpt, linears_get(&source.all, l->name), NULL);
        assert_true(relative_error(w, q, l->out * l->in) < 0.03);
        inputs_read(inputs, t.ckpt, l);
        assert_true(comes_back(l, inputs, &packed, &GPTQ_V1));
        inputs_free(inputs, l);
        free(q);
        free(w);
        n++;
    }
    assert_int_equal(n, 178); /* 2 x 5 and 3 x 56 */
    linears_close(&t);
    linears_close(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_nvfp4_of_three_packages),
        cmocka_unit_test(repacks_nvfp4_there_and_back),
        cmocka_unit_test(repacks_w4a16_there_and_back),
        cmocka_unit_test(repacks_compressed_tensors_where_f16_holds_the_scales),
        cmocka_unit_test(decodes_inputs_out_of_order),
        cmocka_unit_test(reads_a_whole_auto_round_export),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
