/* SPDX-License-Identifier: MIT */
/*
 * Every block-scaled FP8 tensor of the fixtures, decoded to F32 and BF16, against the hashes of the
 * reference: through the whole road from folder to numbers, with every variant.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "libprep/base/json.h"
#include "tests/support/stored.h"

static struct linear_codec codec_of(void **state)
{
    const enum isa *isa = *state;
    struct linear_codec codec;
    if (cpu_isa() < *isa)
        skip();
    linear_codec_init(&codec, *isa);
    return codec;
}

struct golden {
    struct test_bytes text;
    struct json json;
};

static void golden_open(struct golden *g)
{
    struct prep_error err = PREP_ERROR_INIT;
    g->text = test_read(test_path("%s/fp8/golden.json", test_data()));
    assert_int_equal(json_parse(&g->json, (const char *)g->text.p, g->text.n, "golden.json", &err),
                     0);
}

static void golden_close(struct golden *g)
{
    json_free(&g->json);
    free(g->text.p);
}

static void assert_hash(const struct golden *g, uint32_t entry, const char *key, const void *p,
                        size_t n)
{
    char hex[SHA256_HEX];
    const uint32_t node = json_get(&g->json, entry, key);
    assert_int_not_equal(node, JSON_NONE);
    sha256_hex(p, n, hex);
    assert_true(json_equal(&g->json, node, hex));
}

/* In pieces of a few rows, which need not fit the blocks. */
static void decode(const struct linear *l, const struct linear_codec *codec,
                   const struct span *inputs, float *f32, uint16_t *bf16, size_t step,
                   struct linear_counts *counts)
{
    struct prep_error err = PREP_ERROR_INIT;
    for (uint64_t row = 0; row < l->out; row += step) {
        const struct linear_rows rows = {.first = row,
                                         .n = l->out - row < step ? l->out - row : step,
                                         .f32 = f32 + row * l->in,
                                         .bf16 = bf16 + row * l->in,
                                         .counts = counts};
        if (linear_decode_rows(l, codec, inputs, &rows, &err))
            fail_msg("%s", err.msg);
    }
}

static void check_linear(const struct test_linears *t, const struct linear *l,
                         const struct linear_codec *codec, const struct golden *g, uint32_t entry,
                         struct linear_counts *counts)
{
    struct span inputs[LINEAR_PARTS];
    const size_t n = l->out * l->in;
    float *f32 = malloc(4 * n);
    uint16_t *bf16 = malloc(2 * n);
    assert_true(f32 && bf16);
    inputs_read(inputs, t->ckpt, l);
    decode(l, codec, inputs, f32, bf16, 50, counts);
    if (l->form == LINEAR_FP8_BLOCK) {
        assert_hash(g, entry, "sha256_f32", f32, 4 * n);
        assert_hash(g, entry, "sha256_bf16", bf16, 2 * n);
    } else {
        assert_hash(g, entry, "sha256", bf16, 2 * n);
    }
    inputs_free(inputs, l);
    free(f32);
    free(bf16);
}

static void decodes_the_mini_checkpoint_to_the_bit(void **state)
{
    const struct linear_codec codec = codec_of(state);
    struct test_linears t;
    struct golden g;
    size_t n_fp8 = 0, n_listed = 0;
    golden_open(&g);
    linears_open(&t, test_path("%s/fp8/mini", test_data()));
    const uint32_t mini = json_get(&g.json, 0, "mini");
    for (size_t i = 0; i < t.all.n; i++) {
        const struct linear *l = &t.all.items[i];
        const uint32_t entry = json_get(&g.json, mini, test_path("%s.weight", l->name));
        struct linear_counts counts = {0};
        assert_int_not_equal(entry, JSON_NONE);
        check_linear(&t, l, &codec, &g, entry, &counts);
        assert_int_equal(counts.zero_scales + counts.overflows, 0);
        n_fp8 += l->form == LINEAR_FP8_BLOCK;
    }
    for (uint32_t i = json_first(&g.json, mini); i != JSON_NONE;
         i = json_next(&g.json, json_next(&g.json, i)))
        n_listed += json_get(&g.json, json_next(&g.json, i), "sha256_f32") != JSON_NONE;
    assert_int_equal(n_fp8, n_listed);
    assert_int_equal(t.report.n_warnings, 0);
    linears_close(&t);
    golden_close(&g);
}

static void decodes_odd_shapes_scales_and_codes_to_the_bit(void **state)
{
    const struct linear_codec codec = codec_of(state);
    const char *dir = test_temp_dir();
    struct test_linears t;
    struct golden g;
    struct linear_counts all = {0};
    golden_open(&g);
    struct test_bytes odd = test_read(test_path("%s/fp8/odd.safetensors", test_data()));
    struct test_bytes config = test_read(test_path("%s/fp8/mini/config.json", test_data()));
    test_write(test_path("%s/model.safetensors", dir), odd.p, odd.n);
    test_write(test_path("%s/config.json", dir), config.p, config.n);
    linears_open(&t, dir);
    const uint32_t names = json_get(&g.json, 0, "odd");
    assert_int_equal(t.all.n, json_count(&g.json, names));
    assert_int_equal(t.all.n_rest, 0);
    for (size_t i = 0; i < t.all.n; i++) {
        struct linear_counts counts = {0};
        const uint32_t entry = json_get(&g.json, names, t.all.items[i].name);
        assert_int_not_equal(entry, JSON_NONE);
        check_linear(&t, &t.all.items[i], &codec, &g, entry, &counts);
        all.zero_scales += counts.zero_scales;
        all.overflows += counts.overflows;
    }
    assert_int_equal(all.zero_scales, 1); /* both in extremescale */
    assert_int_equal(all.overflows, 1);
    linears_close(&t);
    golden_close(&g);
    free(odd.p);
    free(config.p);
    test_remove_tree(dir);
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
        OF_ALL(decodes_the_mini_checkpoint_to_the_bit),
        OF_ALL(decodes_odd_shapes_scales_and_codes_to_the_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
