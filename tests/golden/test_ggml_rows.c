/* SPDX-License-Identifier: MIT */
/*
 * The ggml block quantizers against the blocks that ggml made of the same rows, byte for byte, with
 * and without weights, and the decoders against its errors; every variant this machine has.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/ggml/ggml.h"
#include "tests/support/support.h"

enum { MOST_LINES = 4096, MOST_COLS = 1024, MOST_BYTES = 4 * MOST_COLS };

/* One line of an index. */
struct line {
    char kind[8], name[32], weights[16];
    unsigned type;
    size_t n, offset, n_bytes;
    double mse;
};

struct rows {
    struct test_bytes inputs, blocks;
    struct line *lines;
    size_t n_lines;
};

/* kind name type type_id weights n offset nbytes sha256 mse, "-" where there is none. */
static int parse(struct line *l, const char *text)
{
    char id[8], mse[32];
    if (sscanf(text, "%7s %31s %*s %7s %15s %zu %zu %zu %*s %31s", l->kind, l->name, id, l->weights,
               &l->n, &l->offset, &l->n_bytes, mse) != 8)
        return 0;
    l->type = (unsigned)strtoul(id, NULL, 10);
    l->mse = strtod(mse, NULL);
    return 1;
}

static void rows_open(struct rows *r, const char *prefix)
{
    struct test_bytes index = test_read(test_path("%s/gguf/%s-index.tsv", test_data(), prefix));
    r->inputs = test_read(test_path("%s/gguf/%s-inputs.f32", test_data(), prefix));
    r->blocks = test_read(test_path("%s/gguf/%s-blocks.bin", test_data(), prefix));
    r->lines = malloc(MOST_LINES * sizeof *r->lines);
    r->n_lines = 0;
    assert_non_null(r->lines);
    char *at = strchr((char *)index.p, '\n');
    for (; at && at[1]; at = strchr(at + 1, '\n')) {
        assert_true(r->n_lines < MOST_LINES);
        assert_true(parse(&r->lines[r->n_lines++], at + 1));
    }
    free(index.p);
}

static void rows_close(struct rows *r)
{
    free(r->inputs.p);
    free(r->blocks.p);
    free(r->lines);
}

/* The input row or the weights of this name and length. */
static void load(float *x, const struct rows *r, const char *kind, const char *name, size_t n)
{
    for (size_t i = 0; i < r->n_lines; i++) {
        const struct line *l = &r->lines[i];
        if (!strcmp(l->kind, kind) && !strcmp(l->name, name) && l->n == n) {
            assert_true(l->offset + 4 * n <= r->inputs.n && n <= MOST_COLS);
            memcpy(x, r->inputs.p + l->offset, 4 * n);
            return;
        }
    }
    fail_msg("no %s %s of %zu", kind, name, n);
}

static double squared_error(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sum / (double)n;
}

/* Several rows of a pattern in one call: all must be equal to the golden one. */
static void check_line(const struct rows *r, const struct line *l, const struct ggml_codec *c)
{
    enum { ROWS = 3 };
    static float x[ROWS * MOST_COLS], back[ROWS * MOST_COLS];
    static uint8_t got[ROWS * MOST_BYTES];
    float w[MOST_COLS];
    const uint8_t *want = r->blocks.p + l->offset;
    assert_true(l->offset + l->n_bytes <= r->blocks.n);
    assert_int_equal(l->n / c->block * c->block_bytes, l->n_bytes);
    for (size_t i = 0; i < ROWS; i++)
        load(x + i * l->n, r, "row", l->name, l->n);
    const int weighted = strcmp(l->weights, "-") != 0;
    if (weighted)
        load(w, r, "weight", l->weights, l->n);
    c->quantize_rows(got, x, ROWS, l->n, weighted ? w : NULL);
    for (size_t i = 0; i < ROWS * l->n_bytes; i++)
        if (got[i] != want[i % l->n_bytes])
            fail_msg("type %u, %s, weights %s, %zu values: byte %zu is %u, want %u", l->type,
                     l->name, l->weights, l->n, i, got[i], want[i % l->n_bytes]);
    c->dequantize_rows(back, got, ROWS, l->n);
    for (size_t i = 0; i < ROWS; i++) {
        const double mse = squared_error(x, back + i * l->n, l->n);
        if (fabs(mse - l->mse) > 1e-5 * l->mse)
            fail_msg("type %u, %s, weights %s: error %g, want %g", l->type, l->name, l->weights,
                     mse, l->mse);
    }
}

static void check_file(const char *prefix, enum isa isa, int want)
{
    struct rows r;
    int n = 0;
    if (cpu_isa() < isa)
        skip();
    rows_open(&r, prefix);
    for (size_t i = 0; i < r.n_lines; i++) {
        const struct line *l = &r.lines[i];
        const struct ggml_codec *c = ggml_codec(isa, l->type);
        if (strcmp(l->kind, "out") != 0 || !c)
            continue;
        check_line(&r, l, c);
        n++;
    }
    assert_int_equal(n, want);
    rows_close(&r);
}

static void makes_the_blocks_that_ggml_makes(void **state)
{
    check_file("rows", *(const enum isa *)*state, 1400);
}

/* MXFP4 and NVFP4; the file has types besides which we do not make. */
static void makes_the_fp4_blocks_that_ggml_makes(void **state)
{
    check_file("rows-extra", *(const enum isa *)*state, 40);
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
        OF_ALL(makes_the_blocks_that_ggml_makes),
        OF_ALL(makes_the_fp4_blocks_that_ggml_makes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
