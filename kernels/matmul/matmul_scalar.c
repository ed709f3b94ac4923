/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "kernels/fp.h"
#include "kernels/load.h"
#include "kernels/matmul/matmul.h"

static float b_at(const struct matmul *p, size_t i)
{
    if (p->b_type == MATMUL_BF16)
        return f32_from_bf16(load_u16_at(p->b, i));
    return f32_from_bits(load_u32_at(p->b, i));
}

static float element(const struct matmul *p, const float *a, size_t b, size_t b_step)
{
    float c = 0;
    for (size_t k0 = 0; k0 < p->k; k0 += MATMUL_BLOCK_K) {
        const size_t end = p->k - k0 < MATMUL_BLOCK_K ? p->k : k0 + MATMUL_BLOCK_K;
        float s = 0;
        for (size_t k = k0; k < end; k++)
            s = fmaf(a[k], b_at(p, b + k * b_step), s);
        c += s;
    }
    return c;
}

void matmul_nt_scalar(const struct matmul *p)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = element(p, p->a + i * p->lda, j * p->ldb, 1);
}

void matmul_nn_scalar(const struct matmul *p)
{
    for (size_t i = 0; i < p->m; i++)
        for (size_t j = 0; j < p->n; j++)
            p->c[i * p->ldc + j] = element(p, p->a + i * p->lda, j, p->ldb);
}
