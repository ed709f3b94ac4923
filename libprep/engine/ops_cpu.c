/* SPDX-License-Identifier: MIT */
#include "libprep/engine/ops_cpu.h"

#include <stdlib.h>
#include <string.h>

#include "libprep/base/parallel.h"
#include "libprep/engine/cpu_crew.h"

enum { ALIGN = 64, ROWS = 32, ELEMENTS = 1 << 14 };

/* Memory */

static int alloc(void *self, float **p, uint64_t elements, struct prep_error *err)
{
    uint64_t bytes;
    (void)self;
    if (!prep_mul(&bytes, elements + ALIGN, sizeof(float)) && bytes < SIZE_MAX / 2) {
        *p = aligned_alloc(ALIGN, (size_t)(bytes / ALIGN * ALIGN));
        if (*p)
            return 0;
    }
    return prep_fail(err, PREP_ENOMEM, "no memory for %llu numbers", (unsigned long long)elements);
}

static void release(void *self, float *p)
{
    (void)self;
    free(p);
}

static int move(void *self, float *to, const float *from, size_t n, struct prep_error *err)
{
    (void)self;
    (void)err;
    if (n)
        memcpy(to, from, n * sizeof *to);
    return 0;
}

/* Of one worker, matmul's first. */
static uint64_t worker_floats(const struct cpu *c, size_t longest)
{
    const struct ops_cpu_shape *s = &c->shape;
    const size_t head = (s->nope > s->value ? s->nope : s->value) * s->rank;
    const size_t linear = CPU_DECODE_ROWS * s->widest, route = 4 * s->n_experts;
    const size_t attention = cpu_attention_floats(s, longest);
    size_t most = head > linear ? head : linear;
    most = most > route ? most : route;
    return most > attention ? most : attention;
}

static uint64_t worker_bytes(const struct cpu *c, size_t longest)
{
    const uint64_t floats = (worker_floats(c, longest) * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
    return (c->matmul->work_bytes + ALIGN - 1) / ALIGN * ALIGN + floats;
}

/* Rounded inputs of a linear. */
static uint64_t rounded_bytes(const struct cpu *c)
{
    const uint64_t bytes = (uint64_t)CPU_ROUNDED_ROWS * c->shape.widest * sizeof(float);
    return c->shape.round_inputs ? (bytes + ALIGN - 1) / ALIGN * ALIGN : 0;
}

static uint64_t work_bytes(const void *self, size_t longest)
{
    const struct cpu *c = self;
    const int n = c->n_threads > c->shape.n_counted ? c->n_threads : c->shape.n_counted;
    return worker_bytes(c, longest) * (uint64_t)n + rounded_bytes(c);
}

static int reserve(void *self, size_t longest, struct prep_error *err)
{
    struct cpu *c = self;
    if (c->memory && longest <= c->longest)
        return 0;
    const uint64_t each = worker_bytes(c, longest);
    const uint64_t bytes = each * (uint64_t)c->n_threads + rounded_bytes(c);
    free(c->memory);
    c->memory = bytes < SIZE_MAX / 2 ? aligned_alloc(ALIGN, (size_t)bytes) : NULL;
    if (!c->memory)
        return prep_fail(err, PREP_ENOMEM, "no memory for %llu bytes of work memory",
                         (unsigned long long)bytes);
    c->longest = longest;
    const size_t matmul = (c->matmul->work_bytes + ALIGN - 1) / ALIGN * ALIGN;
    c->rounded = (float *)(void *)(c->memory + each * (uint64_t)c->n_threads);
    for (int i = 0; i < c->n_threads; i++) {
        c->workers[i].work = c->memory + (uint64_t)i * each;
        c->workers[i].floats = (float *)(void *)(c->workers[i].work + matmul);
    }
    return 0;
}

static void close_cpu(void *self)
{
    struct cpu *c = self;
    if (!c)
        return;
    free(c->memory);
    free(c->workers);
    free(c);
}

/* Operations row by row */

static size_t pieces(size_t n, size_t size)
{
    return (n + size - 1) / size;
}

static size_t piece(size_t n, size_t size, size_t i)
{
    return n - i * size < size ? n - i * size : size;
}

static int norm_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                     struct prep_error *err)
{
    const struct ops_norm *p = arg;
    const size_t first = task * ROWS, n = piece(p->n, ROWS, task);
    (void)err;
    for (size_t i = first; i < first + n; i++) {
        float *y = p->y + i * p->ldy;
        const float *x = p->x + i * p->ldx;
        if (p->b)
            c->forward->layernorm(y, x, p->w, p->b, p->cols, p->eps);
        else
            c->forward->rmsnorm(y, x, p->w, p->cols, p->eps);
    }
    cpu_check_rows(c, w, p->y + first * p->ldy, p->ldy, first, n, p->cols);
    return 0;
}

static int norm(void *self, const struct ops_norm *p, size_t *bad, struct prep_error *err)
{
    return cpu_run(self, pieces(p->n, ROWS), norm_task, p, bad, err);
}

static int rope_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                     struct prep_error *err)
{
    const struct ops_rope *p = arg;
    const size_t first = task * ROWS, end = first + piece(p->n, ROWS, task);
    (void)w;
    (void)err;
    for (size_t i = first; i < end; i++)
        for (size_t h = 0; h < p->heads; h++)
            c->forward->rope(p->x + i * p->ld + h * p->stride, p->cos + i * p->half,
                             p->sin + i * p->half, p->half, p->interleaved);
    return 0;
}

static int rope(void *self, const struct ops_rope *p, struct prep_error *err)
{
    return cpu_run(self, pieces(p->n, ROWS), rope_task, p, NULL, err);
}

static int combine_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                        struct prep_error *err)
{
    const struct ops_combine *p = arg;
    const size_t first = task * ROWS, n = piece(p->n, ROWS, task);
    (void)err;
    for (size_t i = first; i < first + n; i++) {
        float *sum = w->floats;
        memset(sum, 0, p->cols * sizeof *sum);
        for (size_t k = 0; k < p->k; k++)
            c->forward->axpy(sum, p->gates[i * p->k + k], p->slots + (i * p->k + k) * p->cols,
                             p->cols);
        if (p->shared)
            c->forward->add(sum, p->shared + i * p->cols, p->cols);
        c->forward->add(p->h + i * p->cols, sum, p->cols);
    }
    cpu_check_rows(c, w, p->h + first * p->cols, p->cols, first, n, p->cols);
    return 0;
}

static int combine(void *self, const struct ops_combine *p, size_t *bad, struct prep_error *err)
{
    return cpu_run(self, pieces(p->n, ROWS), combine_task, p, bad, err);
}

/* y = f(x, z), rows of cols elements; z and lists where an operation has them. */
struct rows {
    float *y;
    const float *x, *z;
    const uint32_t *list;
    size_t n, cols, ldy, ldx;
    float a;
};

static int silu_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                     struct prep_error *err)
{
    const struct rows *p = arg;
    const size_t first = task * ELEMENTS;
    (void)w;
    (void)err;
    c->forward->silu_mul(p->y + first, p->x + first, p->z + first, piece(p->n, ELEMENTS, task));
    return 0;
}

static int silu_mul(void *self, float *y, const float *gate, const float *up, size_t n,
                    struct prep_error *err)
{
    const struct rows p = {.y = y, .x = gate, .z = up, .n = n};
    return cpu_run(self, pieces(n, ELEMENTS), silu_task, &p, NULL, err);
}

static int add_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                    struct prep_error *err)
{
    const struct rows *p = arg;
    const size_t first = task * ROWS, n = piece(p->n, ROWS, task);
    (void)err;
    c->forward->add(p->y + first * p->cols, p->x + first * p->cols, n * p->cols);
    cpu_check_rows(c, w, p->y + first * p->cols, p->cols, first, n, p->cols);
    return 0;
}

static int add(void *self, float *y, const float *x, size_t n, size_t cols, size_t *bad,
               struct prep_error *err)
{
    const struct rows p = {.y = y, .x = x, .n = n, .cols = cols};
    return cpu_run(self, pieces(n, ROWS), add_task, &p, bad, err);
}

/* Host memory is what ranks exchange. */
static int sum(void *self, float *x, size_t n, struct prep_error *err)
{
    const struct cpu *c = self;
    return c->shape.ranks ? ranks_sum_f32(c->shape.ranks, x, n, err) : 0;
}

static int scale_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                      struct prep_error *err)
{
    const struct rows *p = arg;
    float *y = p->y + task * ELEMENTS;
    const size_t n = piece(p->n, ELEMENTS, task);
    (void)c;
    (void)w;
    (void)err;
    for (size_t i = 0; i < n; i++)
        y[i] *= p->a;
    return 0;
}

static int scale(void *self, float *y, float a, size_t n, struct prep_error *err)
{
    const struct rows p = {.y = y, .n = n, .a = a};
    return cpu_run(self, pieces(n, ELEMENTS), scale_task, &p, NULL, err);
}

static int gather_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                       struct prep_error *err)
{
    const struct rows *p = arg;
    const size_t first = task * ROWS, end = first + piece(p->n, ROWS, task);
    (void)c;
    (void)w;
    (void)err;
    for (size_t i = first; i < end; i++)
        memcpy(p->y + i * p->cols, p->x + p->list[i] * p->cols, p->cols * sizeof *p->y);
    return 0;
}

static int gather(void *self, float *y, const float *x, const uint32_t *from, size_t n, size_t cols,
                  struct prep_error *err)
{
    const struct rows p = {.y = y, .x = x, .list = from, .n = n, .cols = cols};
    return cpu_run(self, pieces(n, ROWS), gather_task, &p, NULL, err);
}

static int scatter_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                        struct prep_error *err)
{
    const struct rows *p = arg;
    const size_t first = task * ROWS, end = first + piece(p->n, ROWS, task);
    (void)c;
    (void)w;
    (void)err;
    for (size_t i = first; i < end; i++)
        memcpy(p->y + p->list[i] * p->cols, p->x + i * p->cols, p->cols * sizeof *p->y);
    return 0;
}

static int scatter(void *self, float *y, const float *x, const uint32_t *to, size_t n, size_t cols,
                   struct prep_error *err)
{
    const struct rows p = {.y = y, .x = x, .list = to, .n = n, .cols = cols};
    return cpu_run(self, pieces(n, ROWS), scatter_task, &p, NULL, err);
}

struct stored_keys {
    unsigned char *to;
    const struct kv_row *row;
    const float *x;
    size_t ld, n;
};

static int store_keys_task(struct cpu *c, struct cpu_worker *w, size_t task, const void *arg,
                           struct prep_error *err)
{
    const struct stored_keys *p = arg;
    const size_t first = task * ROWS, end = first + piece(p->n, ROWS, task);
    (void)c;
    (void)w;
    (void)err;
    for (size_t i = first; i < end; i++)
        kv_row_store(p->to + i * kv_row_bytes(p->row), p->row, p->x + i * p->ld);
    return 0;
}

static int store_keys(void *self, void *to, const struct kv_row *row, const float *x, size_t ld,
                      size_t n, struct prep_error *err)
{
    const struct stored_keys p = {to, row, x, ld, n};
    return cpu_run(self, pieces(n, ROWS), store_keys_task, &p, NULL, err);
}

static int copy(void *self, float *y, size_t ldy, const float *x, size_t ldx, size_t n, size_t cols,
                struct prep_error *err)
{
    (void)self;
    (void)err;
    for (size_t i = 0; i < n; i++)
        memcpy(y + i * ldy, x + i * ldx, cols * sizeof *y);
    return 0;
}

int ops_cpu_open(struct ops *ops, const struct ops_cpu_shape *shape, int n_threads, enum isa isa,
                 struct prep_error *err)
{
    struct cpu *c = calloc(1, sizeof *c);
    const int n = n_threads > 0 ? n_threads : prep_default_threads();
    struct cpu_worker *workers = calloc((size_t)n, sizeof *workers);
    if (!c || !workers) {
        free(c);
        free(workers);
        return prep_fail(err, PREP_ENOMEM, "no memory for %d threads", n);
    }
    c->shape = *shape;
    c->n_threads = n;
    c->workers = workers;
    for (int i = 0; i < n; i++)
        prep_error_clear(&workers[i].err);
    c->matmul = matmul_kernels(isa);
    c->forward = forward_kernels(isa);
    linear_codec_init(&c->codec, isa);
    *ops = (struct ops){
        .self = c,
        .alloc = alloc,
        .free = release,
        .put = move,
        .get = move,
        .work_bytes = work_bytes,
        .reserve = reserve,
        .close = close_cpu,
        .linear = cpu_linear,
        .project = cpu_linear,
        .norm = norm,
        .rope = rope,
        .absorb = cpu_absorb,
        .expand = cpu_expand,
        .select = cpu_select,
        .attend = cpu_attend,
        .route = cpu_route,
        .combine = combine,
        .silu_mul = silu_mul,
        .add = add,
        .scale = scale,
        .sum = sum,
        .gather = gather,
        .scatter = scatter,
        .store_keys = store_keys,
        .copy = copy,
    };
    return 0;
}

struct linear_counts ops_cpu_counts(const struct ops *ops)
{
    return ((const struct cpu *)ops->self)->counts;
}
