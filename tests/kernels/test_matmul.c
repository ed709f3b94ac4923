/* SPDX-License-Identifier: MIT */
/*
 * Every variant of the matrix product against the scalar one, and the scalar one against what
 * matmul.h says. Operands lie against pages that cannot be read, so that a read beyond them stops
 * the test.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/fp.h"
#include "kernels/matmul/matmul.h"
#include "tests/support/guard.h"

static const struct matmul_kernels *variant_of(void **state)
{
    const enum isa *isa = *state;
    if (cpu_isa() < *isa)
        skip();
    return matmul_kernels(*isa);
}

/* ---- operands ---- */

/* n bytes between two pages that cannot be touched: `off` bytes behind the first one, or `off`
 * bytes before the second. */
struct fence {
    unsigned char *p, *pages;
    size_t bytes;
};

static struct fence fence_new(size_t n, size_t off, int at_end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (n + off + page - 1) / page * page;
    struct fence f = {.bytes = inner + 2 * page};
    f.pages = mmap(NULL, f.bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(f.pages != MAP_FAILED);
    assert_false(inner && mprotect(f.pages + page, inner, PROT_READ | PROT_WRITE));
    f.p = f.pages + page + (at_end ? inner - n - off : off);
    return f;
}

static void fence_free(struct fence *f)
{
    assert_false(munmap(f->pages, f->bytes));
}

/* What numbers are like. */
enum kind {
    USUAL,     /* about 1 */
    TINY,      /* products about 2^-145: subnormal sums */
    LARGE,     /* products about 2^126: sums overflow */
    MIXED,     /* any finite number */
    WITH_NANS, /* about 1, and some infinities and NaNs */
    N_KINDS
};

static uint32_t number(struct test_random *r, enum kind kind, size_t k)
{
    static const unsigned EXPONENT[N_KINDS] = {
        [USUAL] = 124, [TINY] = 51, [LARGE] = 186, [WITH_NANS] = 124};
    const uint64_t x = test_random_u64(r);
    const uint32_t u = (uint32_t)(x >> 32);
    if (kind == MIXED)
        return (u & 0x7F800000) == 0x7F800000 ? u & 0x807FFFFF : u;
    /* About one special among the numbers of one element. */
    if (kind == WITH_NANS && x % (4 * k + 1) == 0)
        return test_random_f32_bits(r);
    return (u & 0x807FFFFF) | (EXPONENT[kind] + (u >> 24 & 7)) << 23;
}

struct problem {
    struct matmul p;
    int nn;
    struct fence a, b;
    struct guard c, work;
};

struct shape {
    size_t m, n, k;
};

/* Elements from the first to the last of a matrix; strides are a little larger than rows. */
static size_t extent(size_t rows, size_t cols, size_t ld)
{
    return rows ? (rows - 1) * ld + cols : 0;
}

static struct problem problem_new(const struct shape *s, enum matmul_type type, int nn,
                                  size_t work_bytes, struct test_random *r)
{
    const size_t rows = nn ? s->k : s->n, cols = nn ? s->n : s->k;
    const enum kind kind = (enum kind)test_random_below(r, N_KINDS);
    const size_t b_bytes = type == MATMUL_BF16 ? 2 : 4, at = test_random_u64(r);
    struct problem q = {.p = {.m = s->m, .n = s->n, .k = s->k, .b_type = type}, .nn = nn};
    q.p.lda = s->k + (at >> 8) % 3;
    q.p.ldb = cols + (at >> 10) % 5;
    q.p.ldc = s->n + (at >> 12) % 3;
    const size_t a_n = extent(s->m, s->k, q.p.lda), b_n = extent(rows, cols, q.p.ldb);
    q.a = fence_new(4 * a_n, 4 * (at >> 14 & 3), at >> 16 & 1);
    q.b = fence_new(b_bytes * b_n, (at >> 17) % 5, at >> 20 & 1);
    q.c = guard_new(4 * extent(s->m, s->n, q.p.ldc), 4 * (at >> 21 & 15));
    q.work = guard_new(work_bytes, 0);
    float *a = (float *)(void *)q.a.p;
    for (size_t i = 0; i < a_n; i++)
        a[i] = f32_from_bits(number(r, kind, s->k));
    for (size_t i = 0; i < b_n; i++) {
        const uint32_t u = number(r, kind, s->k);
        memcpy(q.b.p + b_bytes * i, (const unsigned char *)&u + 4 - b_bytes, b_bytes);
    }
    q.p.a = a;
    q.p.b = q.b.p;
    q.p.c = (float *)(void *)q.c.p;
    q.p.work = q.work.p;
    return q;
}

static void problem_free(struct problem *q)
{
    fence_free(&q->a);
    fence_free(&q->b);
    guard_free(&q->c);
    guard_free(&q->work);
}

static void run(const struct matmul_kernels *k, const struct problem *q, const struct matmul *p)
{
    if (q->nn)
        k->nn(p);
    else
        k->nt(p);
}

/* ---- the comparison ---- */

static void assert_same(const struct problem *q, const float *want, size_t ld)
{
    for (size_t i = 0; i < q->p.m; i++) {
        for (size_t j = 0; j < q->p.n; j++) {
            const float x = q->p.c[i * q->p.ldc + j], y = want[i * ld + j];
            if (f32_bits(x) != f32_bits(y) && !(isnan(x) && isnan(y)))
                fail_msg("%s, B %s, m %zu n %zu k %zu: element %zu, %zu is %a, want %a",
                         q->nn ? "nn" : "nt", q->p.b_type == MATMUL_BF16 ? "BF16" : "F32", q->p.m,
                         q->p.n, q->p.k, i, j, (double)x, (double)y);
        }
    }
}

/* What lies between the rows of C is not ours. */
static void assert_gaps_kept(const struct problem *q)
{
    for (size_t i = 0; i + 1 < q->p.m; i++)
        for (size_t j = q->p.n; j < q->p.ldc; j++)
            assert_int_equal(f32_bits(q->p.c[i * q->p.ldc + j]), 0xA5A5A5A5);
}

static float *reference(const struct problem *q)
{
    struct matmul p = q->p;
    p.ldc = p.n;
    p.c = malloc((p.m * p.n + 1) * sizeof *p.c);
    assert_non_null(p.c);
    run(matmul_kernels(ISA_SCALAR), q, &p);
    return p.c;
}

static void check(const struct matmul_kernels *k, const struct shape *s, struct test_random *r)
{
    for (int form = 0; form < 4; form++) {
        struct problem q =
            problem_new(s, form & 1 ? MATMUL_BF16 : MATMUL_F32, form >> 1, k->work_bytes, r);
        float *want = reference(&q);
        run(k, &q, &q.p);
        assert_same(&q, want, q.p.n);
        assert_gaps_kept(&q);
        free(want);
        problem_free(&q);
    }
}

static size_t one_of(struct test_random *r, const size_t *list, size_t n)
{
    return list[test_random_below(r, n)];
}

#define ONE_OF(r, list) one_of(r, list, sizeof(list) / sizeof(list)[0])

static struct shape any_shape(struct test_random *r)
{
    static const size_t M[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 16, 19, 24, 25, 29};
    static const size_t N[] = {1, 2, 7, 8, 9, 15, 16, 17, 23, 31, 32, 33, 47, 48, 63, 64, 65, 81};
    static const size_t K[] = {1,  2,  3,  4,  5,  7,  8,   9,   12,  15,  16,  17,  23,
                               24, 31, 33, 64, 96, 97, 255, 256, 257, 263, 280, 511, 513};
    return (struct shape){ONE_OF(r, M), ONE_OF(r, N), ONE_OF(r, K)};
}

static void gives_the_reference_bits_for_any_shape_stride_and_address(void **state)
{
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int i = 0; i < 700; i++) {
        const struct shape s = any_shape(&r);
        check(k, &s, &r);
    }
}

static void gives_the_reference_bits_beyond_one_chunk(void **state)
{
    static const struct shape SHAPES[] = {{300, 33, 300}, {80, 1041, 800}, {13, 545, 270},
                                          {1, 531, 260},  {290, 17, 40},   {7, 1041, 20},
                                          {2, 70, 1300},  {5, 40, 1300}};
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++)
        check(k, &SHAPES[i], &r);
}

static void an_empty_sum_is_zero_and_an_empty_product_writes_nothing(void **state)
{
    static const struct shape EMPTY[] = {{0, 5, 9}, {5, 0, 9}, {0, 0, 0}, {3, 21, 0}, {19, 5, 0}};
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (size_t i = 0; i < sizeof EMPTY / sizeof EMPTY[0]; i++)
        check(k, &EMPTY[i], &r);
}

/* ---- what the header says ---- */

static float product_of(const struct matmul_kernels *k, const float *a, const float *b, size_t n)
{
    struct guard work = guard_new(k->work_bytes, 0);
    float c[9 * 3], x[9 * 600];
    assert_true(n <= 600);
    for (size_t i = 0; i < 9; i++)
        memcpy(x + i * n, a, n * sizeof *a);
    /* 9 rows go another way than one does; all must be equal. */
    struct matmul p = {9, 1, n, x, n, b, n, MATMUL_F32, c, 3, work.p};
    k->nt(&p);
    for (size_t i = 1; i < 9; i++)
        assert_int_equal(f32_bits(c[3 * i]), f32_bits(c[0]));
    const float many = c[0];
    p.m = 1;
    k->nt(&p);
    assert_int_equal(f32_bits(c[0]), f32_bits(many));
    p.ldb = 1;
    k->nn(&p);
    assert_int_equal(f32_bits(c[0]), f32_bits(many));
    guard_free(&work);
    return many;
}

static void multiplies_and_adds_with_one_rounding(void **state)
{
    const struct matmul_kernels *k = variant_of(state);
    /* (1 + 2^-12)^2 = 1 + 2^-11 + 2^-24; rounded first, the last term would be lost. */
    const float a[2] = {-1, 0x1.001p0f}, b[2] = {0x1.002p0f, 0x1.001p0f};
    assert_true(product_of(k, a, b, 2) == 0x1p-24f);
}

static void adds_blocks_in_order(void **state)
{
    enum { BLOCK = MATMUL_BLOCK_K, K = 2 * BLOCK + 88 };
    const struct matmul_kernels *k = variant_of(state);
    float a[K] = {0}, b[K];
    for (size_t i = 0; i < K; i++)
        b[i] = 1;
    a[0] = 0x1p24f;
    a[BLOCK - 1] = 1; /* lost: 2^24 + 1 is a tie */
    assert_true(product_of(k, a, b, K) == 0x1p24f);
    a[BLOCK] = 1;
    assert_true(product_of(k, a, b, K) == 0x1p24f);
    a[BLOCK + 1] = 1; /* a block of its own: 2^24 + 2 */
    assert_true(product_of(k, a, b, K) == 0x1p24f + 2);
    a[BLOCK + 1] = 0;
    a[2 * BLOCK] = 1; /* lost as well: (2^24 + 1) + 1 */
    assert_true(product_of(k, a, b, K) == 0x1p24f);
}

static void keeps_the_sign_of_zero_as_the_reference_does(void **state)
{
    const struct matmul_kernels *k = variant_of(state);
    /* fmaf(-tiny, tiny, 0) is -0; adding the block to 0 makes it +0. */
    const float a[1] = {-0x1p-100f}, b[1] = {0x1p-100f};
    assert_int_equal(f32_bits(product_of(k, a, b, 1)), 0);
}

static void splitting_changes_no_bit(void **state)
{
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 40; round++) {
        const struct shape s = {1 + test_random_below(&r, 40), 1 + test_random_below(&r, 90),
                                1 + test_random_below(&r, 600)};
        struct problem q = problem_new(&s, round & 1 ? MATMUL_BF16 : MATMUL_F32, round >> 1 & 1,
                                       k->work_bytes, &r);
        float *whole = malloc(s.m * s.n * sizeof *whole);
        assert_non_null(whole);
        struct matmul p = q.p;
        p.c = whole;
        p.ldc = s.n;
        run(k, &q, &p);
        const size_t i = test_random_below(&r, s.m + 1), j = test_random_below(&r, s.n + 1);
        for (int part = 0; part < 4; part++) {
            const size_t i0 = part & 1 ? i : 0, j0 = part & 2 ? j : 0;
            p = q.p;
            p.m = part & 1 ? s.m - i : i;
            p.n = part & 2 ? s.n - j : j;
            p.a += i0 * p.lda;
            p.b = q.b.p + (q.nn ? j0 : j0 * p.ldb) * (p.b_type == MATMUL_BF16 ? 2 : 4);
            p.c += i0 * p.ldc + j0;
            run(k, &q, &p);
        }
        assert_same(&q, whole, s.n);
        free(whole);
        problem_free(&q);
    }
}

static void the_order_of_rows_changes_no_bit(void **state)
{
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    for (int round = 0; round < 20; round++) {
        const struct shape s = {2 + test_random_below(&r, 40), 1 + test_random_below(&r, 50), 300};
        struct problem q = problem_new(&s, round & 1 ? MATMUL_BF16 : MATMUL_F32, round >> 1 & 1,
                                       k->work_bytes, &r);
        float *turned = malloc(s.m * s.k * sizeof *turned);
        float *c = malloc(2 * s.m * s.n * sizeof *c);
        assert_true(turned && c);
        const size_t by = 1 + test_random_below(&r, s.m - 1);
        for (size_t i = 0; i < s.m; i++)
            memcpy(turned + (i + by) % s.m * s.k, q.p.a + i * q.p.lda, s.k * sizeof *turned);
        run(k, &q, &q.p);
        struct matmul p = q.p;
        p.a = turned;
        p.lda = s.k;
        p.c = c;
        p.ldc = s.n;
        run(k, &q, &p);
        /* Twice, one after the other: rows `by` to `by + m` are in the old order. */
        memcpy(c + s.m * s.n, c, s.m * s.n * sizeof *c);
        assert_same(&q, c + by * s.n, s.n);
        free(turned);
        free(c);
        problem_free(&q);
    }
}

/*
 * A sum of q products by fused multiply-adds has an error of at most q u / (1 - q u) times the sum
 * of their magnitudes, u = 2^-24; here fewer than 256 steps and one addition per block.
 */
static void is_as_near_to_the_true_product_as_the_bound(void **state)
{
    enum { M = 21, N = 37, K = 1000 };
    const struct matmul_kernels *k = variant_of(state);
    struct test_random r;
    test_random_init(&r);
    struct guard work = guard_new(k->work_bytes, 0);
    float *a = malloc(M * K * sizeof *a), *b = malloc(N * K * sizeof *b), c[M * N];
    assert_true(a && b);
    for (size_t i = 0; i < M * K; i++)
        a[i] = f32_from_bits(number(&r, USUAL, K));
    for (size_t i = 0; i < N * K; i++)
        b[i] = f32_from_bits(number(&r, USUAL, K));
    const struct matmul p = {M, N, K, a, K, b, K, MATMUL_F32, c, N, work.p};
    k->nt(&p);
    const double steps = (MATMUL_BLOCK_K + 4) * 0x1p-24, bound = steps / (1 - steps);
    for (size_t i = 0; i < M; i++) {
        for (size_t j = 0; j < N; j++) {
            double sum = 0, magnitude = 0;
            for (size_t l = 0; l < K; l++) {
                const double x = (double)a[i * K + l] * (double)b[j * K + l];
                sum += x;
                magnitude += fabs(x);
            }
            assert_true(fabs((double)c[i * N + j] - sum) <= bound * magnitude);
        }
    }
    free(a);
    free(b);
    guard_free(&work);
}

int main(void)
{
    static enum isa isas[N_ISA] = {ISA_SCALAR, ISA_AVX2, ISA_AVX512};
#define OF(isa, test)                                                                              \
    {                                                                                              \
#test " (" #isa ")", test, NULL, NULL, &isas[isa]                                          \
    }
#define OF_ALL(test) OF(ISA_SCALAR, test), OF(ISA_AVX2, test), OF(ISA_AVX512, test)
#define OF_VECTORS(test) OF(ISA_AVX2, test), OF(ISA_AVX512, test)
    const struct CMUnitTest tests[] = {
        OF_VECTORS(gives_the_reference_bits_for_any_shape_stride_and_address),
        OF_VECTORS(gives_the_reference_bits_beyond_one_chunk),
        OF_ALL(an_empty_sum_is_zero_and_an_empty_product_writes_nothing),
        OF_ALL(multiplies_and_adds_with_one_rounding),
        OF_ALL(adds_blocks_in_order),
        OF_ALL(keeps_the_sign_of_zero_as_the_reference_does),
        OF_ALL(splitting_changes_no_bit),
        OF_ALL(the_order_of_rows_changes_no_bit),
        OF_ALL(is_as_near_to_the_true_product_as_the_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
