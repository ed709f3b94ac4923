/* SPDX-License-Identifier: MIT */
/*
 * The whole forward with AVX-512 kernels, emulated on AVX2: the logits of the scalar ones. 72
 * tokens see more than the 64 that the indexer selects. Where AVX2 is missing nothing is compared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "tests/support/forward.h"
#include "tests/support/support.h"

enum { LENGTH = 72, VOCAB = 2048 };

static float *logits_by(enum isa isa, const uint32_t *tokens)
{
    const struct runtime_options options = {.n_threads = 2, .isa = isa, .without_mtp = 1};
    struct test_model m;
    test_model_open(&m, test_path("%s/glm-nano", test_data()), &options);
    float *logits = test_model_logits(m.runtime, tokens, 1, LENGTH);
    test_model_close(&m);
    return logits;
}

static void avx512_says_what_the_scalar_forward_says(void **state)
{
    uint32_t *tokens = test_reference_tokens();
    float *want = logits_by(ISA_SCALAR, tokens);
    (void)state;
    for (enum isa isa = ISA_AVX2; isa <= ISA_AVX512; isa++) {
        if (cpu_isa_within(isa) != isa)
            continue;
        float *got = logits_by(isa, tokens);
        assert_memory_equal(got, want, LENGTH * VOCAB * sizeof *got);
        free(got);
    }
    free(want);
    free(tokens);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(avx512_says_what_the_scalar_forward_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
