/* SPDX-License-Identifier: MIT */
/* Types and bytes of every GGUF file llama.cpp made of glm-nano, against our rule. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "libprep/model/count.h"
#include "tests/support/support.h"

enum { MAX_TYPE = 64 };

struct tally {
    uint64_t bytes; /* padded */
    int tensors, of_type[MAX_TYPE];
};

static struct prep_error err;

static void apply_rule(struct tally *t, const struct config *c, const struct gguf_rule *rule)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    *t = (struct tally){0};
    for (int layer = INVENTORY_GLOBALS; layer < rule->block_count; layer++) {
        const int n = inventory_layer(c, layer, specs);
        for (int i = 0; i < n; i++) {
            struct gguf_tensor g[2];
            const int m = gguf_tensors_of(c, &specs[i], g);
            for (int k = 0; k < m; k++) {
                const enum ggml_type type = gguf_type_of(rule, &g[k]);
                t->bytes += (gguf_tensor_bytes(&g[k], type) + 31) / 32 * 32;
                t->of_type[type]++;
                t->tensors++;
            }
        }
    }
}

static int64_t number(const struct json *d, uint32_t object, const char *key)
{
    int64_t v = -1;
    assert_int_equal(json_i64(d, json_get(d, object, key), &v), 0);
    return v;
}

static void compare(const struct json *d, uint32_t file, const char *name, const struct tally *t)
{
    const int64_t bytes = number(d, file, "bytes") - number(d, file, "data_start");
    if ((int64_t)t->bytes != bytes || t->tensors != number(d, file, "n_tensors"))
        fail_msg("%s: %llu bytes in %d tensors, want %lld", name, (unsigned long long)t->bytes,
                 t->tensors, (long long)bytes);
    const uint32_t tensors = json_get(d, file, "tensors");
    int of_type[MAX_TYPE] = {0};
    if (tensors == JSON_NONE)
        return;
    for (uint32_t i = json_first(d, tensors); i != JSON_NONE; i = json_next(d, i)) {
        struct arena arena;
        arena_init(&arena, 0);
        const char *type = json_string(d, json_get(d, i, "type"), &arena, NULL, &err);
        assert_non_null(type);
        assert_non_null(ggml_type_by_name(type));
        of_type[ggml_type_by_name(type)->id]++;
        arena_fini(&arena);
    }
    for (int i = 0; i < MAX_TYPE; i++)
        if (of_type[i] != t->of_type[i])
            fail_msg("%s: %d tensors of type %d, want %d", name, t->of_type[i], i, of_type[i]);
}

static void gives_every_tensor_the_type_that_the_peer_gave_it(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        enum gguf_rung rung;
        int imatrix, layers;
    } rows[] = {
        {"nano-bf16.gguf", RUNG_BF16, 0, 6},          {"conv-f16.gguf", RUNG_F16, 0, 6},
        {"conv-nomtp.gguf", RUNG_BF16, 0, 5},         {"nano-Q4_K_M.gguf", RUNG_Q4_K_M, 0, 6},
        {"nano-Q4_K_M-imat.gguf", RUNG_Q4_K_M, 1, 6}, {"nomtp-Q4_K_M.gguf", RUNG_Q4_K_M, 0, 5},
        {"nano-Q2_K.gguf", RUNG_Q2_K, 0, 6},          {"nano-Q2_K-imat.gguf", RUNG_Q2_K, 1, 6},
        {"nano-Q3_K_M.gguf", RUNG_Q3_K_M, 0, 6},      {"nano-Q3_K_M-imat.gguf", RUNG_Q3_K_M, 1, 6},
        {"nano-Q5_K_M.gguf", RUNG_Q5_K_M, 0, 6},      {"nano-Q5_K_M-imat.gguf", RUNG_Q5_K_M, 1, 6},
        {"nano-Q6_K.gguf", RUNG_Q6_K, 0, 6},          {"nano-Q6_K-imat.gguf", RUNG_Q6_K, 1, 6},
        {"nano-Q8_0.gguf", RUNG_Q8_0, 0, 6},          {"nano-Q8_0-imat.gguf", RUNG_Q8_0, 1, 6},
        {"nano-IQ4_XS.gguf", RUNG_IQ4_XS, 0, 6},      {"nano-IQ4_XS-imat.gguf", RUNG_IQ4_XS, 1, 6},
    };
    struct config c;
    struct json d;
    struct test_bytes text = test_read(test_path("%s/gguf/nano-golden.json", test_data()));
    if (json_parse(&d, (const char *)text.p, text.n, "nano-golden.json", &err) ||
        config_load(&c, &io_posix, test_path("%s/glm-nano", test_data()), NULL, &err))
        fail_msg("%s", err.msg);
    const uint32_t files = json_get(&d, 0, "files");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct gguf_rule rule = {.rung = rows[i].rung,
                                       .has_imatrix = rows[i].imatrix,
                                       .block_count = rows[i].layers,
                                       .expert_count = c.n_routed_experts};
        struct tally t;
        const uint32_t file = json_get(&d, files, rows[i].file);
        assert_int_not_equal(file, JSON_NONE);
        apply_rule(&t, &c, &rule);
        compare(&d, file, rows[i].file, &t);
    }
    config_free(&c);
    json_free(&d);
    free(text.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_every_tensor_the_type_that_the_peer_gave_it)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
