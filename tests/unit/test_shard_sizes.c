/* SPDX-License-Identifier: MIT */
/* What a rank holds of the whole GLM-5.1 in every form, cut linear by linear, is what is planned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/count.h"
#include "libprep/quant/linear_slice.h"
#include "tests/support/support.h"

/* A config, a format and a rank, and what its linears come to. */
struct adding {
    const struct config *c;
    const struct weight_format *f;
    struct gguf_rule rule;
    struct shard shard;
    struct arena arena;
};

static struct tensor_info plain_info(const struct tensor_spec *s)
{
    const uint64_t width = dtype_bits((enum dtype)s->dtype) / 8;
    return (struct tensor_info){.name = s->path,
                                .shape = {s->rows, s->cols},
                                .bytes = width * spec_elements(s),
                                .n_dims = 2,
                                .dtype = s->dtype};
}

static uint64_t slice_bytes(struct adding *a, const struct tensor_spec *s, const struct linear *l)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct linear_slice *slice;
    const struct shard_ranges r = shard_ranges(s->part, l->out, l->in, &a->shard);
    if (linear_slice(&slice, l, &r, &a->arena, &err))
        fail_msg("%s: %s", s->path, err.msg);
    uint64_t sum = 0;
    for (int i = 0; i < slice->linear.n_tensors; i++) {
        const struct linear_piece *p = &slice->pieces[i];
        const struct tensor_info *t = slice->linear.tensors[i].info;
        assert_true(p->n * p->bytes == t->bytes);
        assert_true(p->offset + (p->n - 1) * p->stride + p->bytes <= l->tensors[i].info->bytes);
        sum += t->bytes;
    }
    assert_true(sum == linear_bytes(&slice->linear));
    return sum;
}

static uint64_t plain_bytes(struct adding *a, const struct tensor_spec *s)
{
    const struct tensor_info info = plain_info(s);
    const struct linear l = {.name = s->path,
                             .out = s->rows,
                             .in = s->cols,
                             .n_tensors = 1,
                             .tensors = {{&info, 0, LINEAR_CODES}}};
    return s->n_dims == 1 ? info.bytes : slice_bytes(a, s, &l);
}

static uint64_t fp8_bytes(struct adding *a, const struct tensor_spec *s)
{
    struct tensor_info codes = plain_info(s), scales = plain_info(s);
    codes.dtype = DTYPE_F8_E4M3;
    codes.bytes = s->rows * s->cols;
    scales.dtype = DTYPE_F32;
    scales.shape[0] = (s->rows + 127) / 128;
    scales.shape[1] = (s->cols + 127) / 128;
    scales.bytes = 4 * scales.shape[0] * scales.shape[1];
    const struct linear l = {.name = s->path,
                             .form = LINEAR_FP8_BLOCK,
                             .out = s->rows,
                             .in = s->cols,
                             .block_rows = 128,
                             .block_cols = 128,
                             .n_tensors = 2,
                             .tensors = {{&codes, 0, LINEAR_CODES}, {&scales, 1, LINEAR_SCALES}}};
    return slice_bytes(a, s, &l);
}

/* As writers lay it out. */
static uint64_t coded_bytes(struct adding *a, const struct tensor_spec *s)
{
    struct prep_error err = PREP_ERROR_INIT;
    const struct tensor_info info = plain_info(s);
    const struct linear from = {.name = s->path,
                                .out = s->rows,
                                .in = s->cols,
                                .n_tensors = 1,
                                .tensors = {{&info, 0, LINEAR_CODES}}};
    const int nvfp4 = a->f->linear == LINEAR_NVFP4;
    const struct linear_want want = {.form = nvfp4 ? LINEAR_NVFP4_MODELOPT : LINEAR_GPTQ,
                                     .group = (uint64_t)a->f->group,
                                     .scale_dtype = DTYPE_F16,
                                     .with_g_idx = (uint8_t)a->f->g_idx,
                                     .with_input = (uint8_t)nvfp4};
    struct linear to;
    if (linear_layout(&to, &from, &want, &a->arena, &err))
        fail_msg("%s: %s", s->path, err.msg);
    return slice_bytes(a, s, &to);
}

static struct tensor_info gguf_info(const struct adding *a, const struct gguf_tensor *t,
                                    uint64_t rows)
{
    const enum ggml_type type = gguf_type_of(&a->rule, t);
    const struct ggml_type_info *info = ggml_type_info(type);
    return (struct tensor_info){.name = t->spec->path,
                                .shape = {rows, t->n_cols},
                                .bytes = t->n_cols / info->block * info->block_bytes * rows,
                                .n_dims = 2,
                                .ggml = (uint16_t)(type + 1)};
}

static uint64_t gguf_bytes(struct adding *a, const struct tensor_spec *s)
{
    struct gguf_tensor t[2];
    const uint64_t heads = (uint64_t)a->c->num_attention_heads;
    struct linear l = {.name = s->path, .form = LINEAR_GGML, .out = s->rows, .in = s->cols};
    if (gguf_tensors_of(a->c, s, t) == 1) {
        struct tensor_info info = gguf_info(a, &t[0], s->n_dims == 1 ? 1 : s->rows);
        l.n_tensors = 1;
        l.tensors[0] = (struct linear_tensor){&info, 0, LINEAR_CODES};
        return s->n_dims == 1 ? info.bytes : slice_bytes(a, s, &l);
    }
    struct tensor_info half[2];
    for (int i = 0; i < 2; i++) {
        half[i] = gguf_info(a, &t[i], t[i].n_rows);
        half[i].n_dims = 3;
        half[i].shape[0] = heads;
        half[i].shape[1] = t[i].n_rows / heads;
        half[i].shape[2] = t[i].n_cols;
    }
    l.form = LINEAR_GGML_HEADS;
    l.n_tensors = 2;
    l.tensors[0] = (struct linear_tensor){&half[0], 0, LINEAR_CODES};
    l.tensors[1] = (struct linear_tensor){&half[1], 1, LINEAR_VALUES};
    return slice_bytes(a, s, &l);
}

static uint64_t spec_bytes(struct adding *a, const struct tensor_spec *s)
{
    const int mtp = s->layer >= a->c->num_hidden_layers;
    if (a->f->linear == LINEAR_GGUF)
        return gguf_bytes(a, s);
    if ((mtp && !a->f->mtp) || !spec_in_modules(s, a->f->modules))
        return plain_bytes(a, s);
    return a->f->linear == LINEAR_FP8 ? fp8_bytes(a, s) : coded_bytes(a, s);
}

static uint64_t rank_bytes(struct adding *a)
{
    struct tensor_spec specs[INVENTORY_MAX_SPECS];
    uint64_t sum = 0;
    for (int layer = INVENTORY_GLOBALS; layer < a->c->n_layers; layer++) {
        const int n = inventory_layer(a->c, layer, specs);
        for (int i = 0; i < n; i++) {
            arena_reset(&a->arena);
            sum += (uint64_t)specs[i].copies * spec_bytes(a, &specs[i]);
        }
    }
    return sum;
}

static void check_config(const struct config *c, const char *const *formats, size_t n_formats)
{
    for (size_t i = 0; i < n_formats; i++)
        for (int tp = 1; tp <= c->num_attention_heads; tp *= 2) {
            const struct weight_format *f = weight_format_by_id(formats[i]);
            struct adding a = {.c = c, .f = f, .rule = {.rung = f->rung}};
            struct format_size size;
            uint64_t most = 0;
            a.rule.block_count = c->n_layers;
            a.rule.expert_count = c->n_routed_experts;
            arena_init(&a.arena, 0);
            count_format(&size, c, f, 1, tp);
            for (int rank = 0; rank < tp; rank++) {
                a.shard = (struct shard){rank, tp};
                const uint64_t n = rank_bytes(&a);
                most = n > most ? n : most;
            }
            if (most != size.rank_bytes)
                fail_msg("%s over %d ranks: %llu, planned %llu", formats[i], tp,
                         (unsigned long long)most, (unsigned long long)size.rank_bytes);
            arena_fini(&a.arena);
        }
}

static const char *const FORMATS[] = {
    "bf16",      "fp8",       "nvfp4-experts", "nvfp4-portable", "gptq-linears", "gptq-portable",
    "gguf-q8_0", "gguf-q6_k", "gguf-q4_k_m",   "gguf-q3_k_m",    "gguf-q2_k"};

static void load(struct config *c, const char *path)
{
    struct prep_error err = PREP_ERROR_INIT;
    if (config_load(c, &io_posix, path, NULL, &err))
        fail_msg("%s", err.msg);
}

static void shares_of_the_whole_model_weigh_what_is_planned(void **state)
{
    (void)state;
    struct config c;
    load(&c, "tests/data-src/glm-5.1/config.json");
    check_config(&c, FORMATS, sizeof FORMATS / sizeof *FORMATS);
    config_free(&c);
}

static void shares_of_nano_weigh_what_is_planned(void **state)
{
    (void)state;
    struct config c;
    load(&c, test_path("%s/glm-nano", test_data()));
    check_config(&c, FORMATS, sizeof FORMATS / sizeof *FORMATS);
    config_free(&c);
}

static void every_row_is_on_one_rank(void **state)
{
    (void)state;
    for (uint64_t size = 1; size < 70; size++)
        for (int n = 1; n < 20; n++) {
            uint64_t at = 0;
            for (int rank = 0; rank < n; rank++) {
                const struct shard s = {rank, n};
                const struct shard_range r = shard_range(size, &s);
                assert_true(r.n == 0 || r.first == at);
                at += r.n;
            }
            assert_true(at == size);
        }
    const struct shard_range r = shard_blocks((struct shard_range){100, 60}, 32, 170);
    assert_true(r.first == 96 && r.n == 64);
    const struct shard_range end = shard_blocks((struct shard_range){150, 20}, 32, 170);
    assert_true(end.first == 128 && end.n == 42); /* the last block is smaller */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_of_the_whole_model_weigh_what_is_planned),
        cmocka_unit_test(shares_of_nano_weigh_what_is_planned),
        cmocka_unit_test(every_row_is_on_one_rank),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
