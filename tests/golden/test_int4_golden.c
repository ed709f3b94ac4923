/* SPDX-License-Identifier: MIT */
/*
 * The 4-bit kernels against what auto-round and compressed-tensors wrote for the same matrices,
 * byte for byte, and the scales of a GPTQ implementation; every variant this machine has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/convert/convert.h"
#include "kernels/fp.h"
#include "kernels/int4/int4.h"
#include "kernels/load.h"
#include "tests/support/stored.h"

enum { GROUP = 128, N_MATRICES = 2 };

static const char *const MATRICES[N_MATRICES] = {"a", "b"};

static const struct int4_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return int4_kernels(*isa);
}

/* A matrix of the fixtures with room for what is made of it. */
struct matrix {
    struct stored file;
    size_t out, in, n_groups;
    float *w;
    uint32_t *words;  /* [out, in/8] */
    uint16_t *scales; /* [out, n_groups] */
};

static void matrix_open(struct matrix *m, const char *name)
{
    stored_open(&m->file, test_path("%s/gptq/%s.safetensors", test_data(), name));
    const struct tensor_info *t = stored_find(&m->file, "W");
    m->out = t->shape[0];
    m->in = t->shape[1];
    m->n_groups = m->in / GROUP;
    m->w = malloc(4 * m->out * m->in);
    m->words = malloc(m->out * m->in / 2);
    m->scales = malloc(2 * m->out * m->n_groups);
    assert_true(m->w && m->words && m->scales);
    convert_bf16_to_f32_scalar(m->w, stored_bytes(&m->file, "W"), m->out * m->in);
}

static void matrix_close(struct matrix *m)
{
    free(m->w);
    free(m->words);
    free(m->scales);
    stored_close(&m->file);
}

static void matrix_round(struct matrix *m, const struct int4_kernels *k, enum int4_rule rule)
{
    for (size_t o = 0; o < m->out; o++)
        k->rtn(m->words + o * m->in / 8, m->scales + o * m->n_groups, m->w + o * m->in, m->in,
               GROUP, rule);
}

static void assert_tensor(const struct matrix *m, const char *name, const void *ours)
{
    const struct tensor_info *t = stored_find(&m->file, name);
    assert_memory_equal(ours, m->file.bytes.p + t->offset, t->bytes);
}

static void check_signed(const struct int4_kernels *k, const char *name)
{
    struct matrix m;
    matrix_open(&m, test_path("rtn_%s", name));
    const size_t words = m.out * m.in / 8;
    uint32_t *qweight = malloc(4 * words), *qzeros = malloc(m.n_groups * m.out / 2);
    uint32_t *g_idx = malloc(4 * m.in);
    uint16_t *scales = malloc(2 * m.out * m.n_groups);
    assert_true(qweight && qzeros && g_idx && scales);
    matrix_round(&m, k, INT4_SIGNED);
    struct int4_gptq to = {qweight, qzeros, scales, g_idx, 0};
    int4_store_gptq(k, &to, m.words, m.scales, m.out, m.in, GROUP);
    assert_tensor(&m, "rtn.qzeros_v2", qzeros);
    to.zero_bias = 1;
    int4_store_gptq(k, &to, m.words, m.scales, m.out, m.in, GROUP);
    assert_tensor(&m, "rtn.qweight", qweight);
    assert_tensor(&m, "rtn.qzeros", qzeros);
    assert_tensor(&m, "rtn.scales", scales);
    assert_tensor(&m, "g_idx", g_idx);
    free(qweight);
    free(qzeros);
    free(g_idx);
    free(scales);
    matrix_close(&m);
}

static void rounds_as_auto_round_does(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    for (int i = 0; i < N_MATRICES; i++)
        check_signed(k, MATRICES[i]);
}

/* But for the sign of zeros: the peer's come from unrounded quotients, which no file holds. */
static void decodes_to_the_weights_of_auto_round(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    for (int i = 0; i < N_MATRICES; i++) {
        struct matrix m;
        struct int4_source s;
        matrix_open(&m, test_path("rtn_%s", MATRICES[i]));
        int4_source_gptq(&s, m.out, m.in, GROUP);
        s.words = stored_bytes(&m.file, "rtn.qweight");
        s.scales = stored_bytes(&m.file, "rtn.scales");
        s.zeros = stored_bytes(&m.file, "rtn.qzeros");
        s.zero_bias = 1;
        uint16_t *w = malloc(2 * m.out * m.in);
        assert_non_null(w);
        int4_decode_rows(k, &s, 0, m.out, NULL, w);
        const unsigned char *qdq = stored_bytes(&m.file, "rtn.weight_qdq");
        for (size_t j = 0; j < m.out * m.in; j++)
            assert_true(w[j] == load_u16_at(qdq, j) ||
                        ((w[j] | load_u16_at(qdq, j)) & 0x7FFF) == 0);
        free(w);
        matrix_close(&m);
    }
}

static void rounds_as_compressed_tensors_does(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    for (int i = 0; i < N_MATRICES; i++) {
        struct matrix m;
        matrix_open(&m, test_path("ct_rtn_%s", MATRICES[i]));
        matrix_round(&m, k, INT4_BF16);
        assert_tensor(&m, "weight_packed", m.words);
        assert_tensor(&m, "weight_scale", m.scales);
        matrix_close(&m);
    }
}

/* Static groups: all scales come from the unchanged weights, as in rounding. */
static void classic_scales_are_those_of_static_gptq(void **state)
{
    const struct int4_kernels *k = variant_of(state);
    static const char *const NAMES[] = {"gptq_b", "gptq_c"};
    for (int i = 0; i < 2; i++) {
        struct matrix m;
        matrix_open(&m, NAMES[i]);
        const uint32_t dead = i == 0 ? 0 : 1; /* gptq_c: inputs 5, 130 and 511 are set to 0 */
        for (size_t o = 0; o < m.out && dead; o++)
            m.w[o * m.in + 5] = m.w[o * m.in + 130] = m.w[o * m.in + 511] = 0.0f;
        matrix_round(&m, k, INT4_CLASSIC);
        const uint16_t *scales =
            (const uint16_t *)(const void *)stored_bytes(&m.file, "static.scales");
        for (size_t o = 0; o < m.out; o++)
            for (size_t g = 0; g < m.n_groups; g++)
                assert_int_equal(m.scales[o * m.n_groups + g], scales[g * m.out + o]);
        matrix_close(&m);
    }
}

int main(void)
{
    static enum isa isas[N_ISA] = {ISA_SCALAR, ISA_AVX2, ISA_AVX512};
#define OF(isa, test)                                                                              \
    {                                                                                              \
#test " (" #isa ")", test, NULL, NULL, &isas[isa]                                          \
    }
#define OF_ALL(test) OF(ISA_SCALAR, test), OF(ISA_AVX2, test), OF(ISA_AVX512, test)
    const struct CMUnitTest tests[] = {
        OF_ALL(rounds_as_auto_round_does),
        OF_ALL(decodes_to_the_weights_of_auto_round),
        OF_ALL(rounds_as_compressed_tensors_does),
        OF_ALL(classic_scales_are_those_of_static_gptq),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
