/* SPDX-License-Identifier: MIT */
/*
 * One module whose tensors have any suffixes, dtypes, shapes and bytes: what is accepted decodes
 * without touching memory outside, in pieces as in one, and comes back from every repacking.
 *
 *   byte 0        which config
 *   5 per tensor  suffix, dtype, rank, rows, cols (up to the first suffix beyond the known ones)
 *   the rest      bytes of the tensors, repeated
 */
#include <stdlib.h>
#include <string.h>

#include "libprep/quant/linear.h"

enum { MAX_TENSORS = 8, PIECE = 3 };

#define HEAD                                                                                       \
    "{\"architectures\":[\"GlmMoeDsaForCausalLM\"],\"model_type\":\"glm_moe_dsa\","                \
    "\"attention_bias\":false,\"dtype\":\"bfloat16\",\"eos_token_id\":[1],"                        \
    "\"first_k_dense_replace\":1,\"hidden_act\":\"silu\",\"hidden_size\":8,\"index_head_dim\":8,"  \
    "\"index_n_heads\":2,\"index_topk\":4,\"indexer_rope_interleave\":true,"                       \
    "\"intermediate_size\":8,\"kv_lora_rank\":8,\"max_position_embeddings\":64,"                   \
    "\"moe_intermediate_size\":4,\"moe_layer_freq\":1,\"n_group\":1,\"n_routed_experts\":8,"       \
    "\"n_shared_experts\":1,\"norm_topk_prob\":true,\"num_attention_heads\":2,"                    \
    "\"num_experts_per_tok\":2,\"num_hidden_layers\":3,\"num_key_value_heads\":2,"                 \
    "\"num_nextn_predict_layers\":0,\"q_lora_rank\":8,\"qk_head_dim\":8,\"qk_nope_head_dim\":4,"   \
    "\"qk_rope_head_dim\":4,\"rms_norm_eps\":1e-05,\"rope_interleave\":true,"                      \
    "\"rope_parameters\":{\"rope_theta\":10000,\"rope_type\":\"default\"},"                        \
    "\"routed_scaling_factor\":2.5,\"scoring_func\":\"sigmoid\",\"tie_word_embeddings\":false,"    \
    "\"topk_group\":1,\"topk_method\":\"noaux_tc\",\"v_head_dim\":8,\"vocab_size\":16"

static const char *const CONFIGS[] = {
    HEAD "}",
    HEAD ",\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[16,16]}}",
    HEAD ",\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[3,130],"
         "\"scale_fmt\":\"ue8m0\",\"modules_to_not_convert\":[\"model.layers.0\"]}}",
    HEAD ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"sym\":false}}",
    HEAD ",\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4,\"sym\":true,"
         "\"checkpoint_format\":\"gptq_v2\",\"dynamic\":{\"-:.*o_proj\":{}}}}",
    HEAD ",\"quantization_config\":{\"quant_method\":\"compressed-tensors\","
         "\"ignore\":[\"re:.*self_attn.*\"]}}",
};

static void check(int condition)
{
    if (!condition)
        abort();
}

struct module {
    struct checkpoint_tensor tensors[MAX_TENSORS];
    char names[MAX_TENSORS][64];
    unsigned char *bytes[MAX_TENSORS];
    size_t n;
    struct checkpoint ckpt;
    struct arena arena;
    struct linears all;
    struct span inputs[LINEAR_PARTS];
};

/* Tensors as described; *data moves past the descriptions. Names may not repeat. */
static void read_module(struct module *m, const uint8_t **data, size_t *n)
{
    int used[SUFFIX_COUNT] = {0};
    while (m->n < MAX_TENSORS && *n >= 5 && (*data)[0] < SUFFIX_COUNT) {
        const uint8_t *d = *data;
        struct tensor_info *t = &m->tensors[m->n].info;
        *data += 5;
        *n -= 5;
        if (used[d[0]]++)
            continue;
        strcpy(m->names[m->n], "model.layers.0.self_attn.o_proj.");
        strcat(m->names[m->n], suffix_name((enum suffix)d[0]));
        t->name = m->names[m->n];
        t->dtype = d[1] % DTYPE_COUNT;
        t->n_dims = d[2] % 4;
        t->shape[0] = d[3];
        t->shape[1] = d[4];
        t->shape[2] = 1;
        if (tensor_bytes((enum dtype)t->dtype, t->shape, t->n_dims, &t->bytes) == 0)
            m->n++;
    }
}

static void fill(struct module *m, const uint8_t *data, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < m->n; i++) {
        const size_t bytes = m->tensors[i].info.bytes;
        m->bytes[i] = malloc(bytes ? bytes : 1);
        check(m->bytes[i] != NULL);
        for (size_t j = 0; j < bytes; j++)
            m->bytes[i][j] = n ? data[at++ % n] : 0;
    }
}

static void decode(const struct module *m, const struct linear *l)
{
    struct linear_codec codec;
    struct prep_error err = PREP_ERROR_INIT;
    const size_t n = l->out * l->in;
    float *whole = malloc(4 * n), *pieces = malloc(4 * n);
    uint16_t *half = malloc(2 * n);
    check(whole && pieces && half);
    linear_codec_init(&codec, N_ISA - 1);
    const struct linear_rows all = {.n = l->out, .f32 = whole, .bf16 = half};
    const int rc = linear_decode_rows(l, &codec, m->inputs, &all, &err);
    linear_codec_init(&codec, ISA_SCALAR);
    int any = 0;
    for (uint64_t row = 0; row < l->out; row += PIECE) {
        const uint64_t rows = l->out - row < PIECE ? l->out - row : PIECE;
        const struct linear_rows some = {.first = row, .n = rows, .f32 = pieces + row * l->in};
        prep_error_clear(&err);
        any |= linear_decode_rows(l, &codec, m->inputs, &some, &err);
    }
    check(rc == any);
    check(rc || memcmp(whole, pieces, 4 * n) == 0);
    free(whole);
    free(pieces);
    free(half);
}

static void outputs_new(unsigned char *outputs[LINEAR_PARTS], struct span spans[LINEAR_PARTS],
                        const struct linear *l)
{
    for (int i = 0; i < l->n_tensors; i++) {
        outputs[i] = malloc(l->tensors[i].info->bytes);
        check(outputs[i] != NULL);
        spans[i] = (struct span){outputs[i], l->tensors[i].info->bytes};
    }
}

static void outputs_free(unsigned char *outputs[LINEAR_PARTS], const struct linear *l)
{
    for (int i = 0; i < l->n_tensors; i++)
        free(outputs[i]);
}

/* To another form and to that form again: the second time nothing changes. */
static void repack(struct module *m, const struct linear *l, const struct linear_want *want)
{
    struct linear_codec codec;
    struct prep_error err = PREP_ERROR_INIT;
    struct linear a, b;
    unsigned char *first[LINEAR_PARTS], *second[LINEAR_PARTS];
    struct span spans[LINEAR_PARTS], ignored[LINEAR_PARTS];
    const char *why;
    linear_codec_init(&codec, N_ISA - 1);
    if (linear_layout(&a, l, want, &m->arena, &err) || !linear_can_repack(&a, l, &why))
        return;
    check(linear_layout(&b, l, want, &m->arena, &err) == 0);
    outputs_new(first, spans, &a);
    outputs_new(second, ignored, &b);
    if (linear_repack(&a, first, l, &codec, m->inputs, &err) == 0) {
        check(linear_repack(&b, second, &a, &codec, spans, &err) == 0);
        for (int i = 0; i < a.n_tensors; i++)
            check(memcmp(first[i], second[i], spans[i].n) == 0);
    }
    outputs_free(first, &a);
    outputs_free(second, &b);
}

static void use(struct module *m, const struct linear *l)
{
    for (int i = 0; i < l->n_tensors; i++)
        m->inputs[i] = (struct span){m->bytes[l->tensors[i].index], l->tensors[i].info->bytes};
    decode(m, l);
    for (int form = LINEAR_NVFP4_MODELOPT; form < LINEAR_FORM_COUNT; form++) {
        const struct linear_want want = {.form = (enum linear_form)form,
                                         .group = l->group,
                                         .scale_dtype = DTYPE_F16,
                                         .zero_bias = 1,
                                         .with_g_idx = 1};
        repack(m, l, &want);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct module m = {.n = 0};
    struct config c = {0};
    struct report report;
    struct prep_error err = PREP_ERROR_INIT;
    if (n < 1)
        return 0;
    const char *text = CONFIGS[data[0] % (sizeof CONFIGS / sizeof CONFIGS[0])];
    data++;
    n--;
    report_init(&report);
    arena_init(&m.arena, 0);
    check(config_parse(&c, text, strlen(text), "config.json", NULL, &err) == 0);
    read_module(&m, &data, &n);
    fill(&m, data, n);
    m.ckpt.tensors = m.tensors;
    m.ckpt.n_tensors = m.n;
    if (linears_of_checkpoint(&m.all, &m.ckpt, &c, &m.arena, &report, &err) == 0)
        for (size_t i = 0; i < m.all.n; i++)
            use(&m, &m.all.items[i]);
    for (size_t i = 0; i < m.n; i++)
        free(m.bytes[i]);
    config_free(&c);
    report_fini(&report);
    arena_fini(&m.arena);
    return 0;
}
