/* SPDX-License-Identifier: MIT */
#include "tests/support/tiny_checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/base/hash.h"
#include "tests/support/support.h"

void tiny_init(struct tiny_checkpoint *t)
{
    *t = (struct tiny_checkpoint){0};
    arena_init(&t->arena, 0);
}

void tiny_fini(struct tiny_checkpoint *t)
{
    free(t->tensors);
    arena_fini(&t->arena);
}

void tiny_add(struct tiny_checkpoint *t, enum dtype dtype, int rows, int cols, const char *fmt, ...)
{
    struct prep_error err = PREP_ERROR_INIT;
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    struct tensor_info info = {.dtype = (uint8_t)dtype};
    if (rows >= 0)
        info.shape[info.n_dims++] = (uint64_t)rows;
    if (rows >= 0 && cols >= 0)
        info.shape[info.n_dims++] = (uint64_t)cols;
    info.name = arena_strndup(&t->arena, name, strlen(name), &err);
    assert_int_equal(tensor_bytes(dtype, info.shape, info.n_dims, &info.bytes), 0);
    assert_int_equal(prep_grow(&t->tensors, &t->cap, t->n, sizeof *t->tensors, &err), 0);
    t->tensors[t->n++] = info;
}

void tiny_remove(struct tiny_checkpoint *t, const char *name)
{
    for (size_t i = 0; i < t->n; i++) {
        if (strcmp(t->tensors[i].name, name) != 0)
            continue;
        memmove(&t->tensors[i], &t->tensors[i + 1], (t->n - i - 1) * sizeof *t->tensors);
        t->n--;
        return;
    }
    fail_msg("no tensor %s to remove", name);
}

void tiny_add_trunk(struct tiny_checkpoint *t, int n_layers)
{
    tiny_add(t, DTYPE_BF16, 16, TINY_HIDDEN, "model.embed_tokens.weight");
    tiny_add(t, DTYPE_BF16, TINY_HIDDEN, -1, "model.norm.weight");
    tiny_add(t, DTYPE_BF16, 16, TINY_HIDDEN, "lm_head.weight");
    for (int l = 0; l < n_layers; l++) {
        tiny_add(t, DTYPE_BF16, TINY_HIDDEN, -1, "model.layers.%d.input_layernorm.weight", l);
        tiny_add(t, DTYPE_BF16, 8, TINY_HIDDEN, "model.layers.%d.self_attn.o_proj.weight", l);
        if (l == 0) {
            tiny_add(t, DTYPE_BF16, 8, TINY_HIDDEN, "model.layers.0.mlp.gate_proj.weight");
            continue;
        }
        tiny_add(t, DTYPE_BF16, TINY_EXPERTS, TINY_HIDDEN, "model.layers.%d.mlp.gate.weight", l);
        tiny_add(t, DTYPE_F32, TINY_EXPERTS, -1, "model.layers.%d.mlp.gate.e_score_correction_bias",
                 l);
        tiny_add(t, DTYPE_BF16, 8, TINY_HIDDEN, "model.layers.%d.mlp.shared_experts.up_proj.weight",
                 l);
    }
    if (n_layers > TINY_MTP)
        tiny_add(t, DTYPE_BF16, TINY_HIDDEN, 2 * TINY_HIDDEN, "model.layers.%d.eh_proj.weight",
                 TINY_MTP);
}

void tiny_add_experts(struct tiny_checkpoint *t, int n_layers)
{
    static const char *const parts[] = {"gate_proj", "up_proj", "down_proj"};
    for (int l = 1; l < n_layers; l++)
        for (int e = 0; e < TINY_EXPERTS; e++)
            for (int p = 0; p < 3; p++)
                tiny_add(t, DTYPE_BF16, p == 2 ? TINY_HIDDEN : 4, p == 2 ? 4 : TINY_HIDDEN,
                         "model.layers.%d.mlp.experts.%d.%s.weight", l, e, parts[p]);
}

const char *tiny_config(int n_nextn, const char *extra)
{
    return test_path("{\n"
                     "  \"architectures\": [\n    \"GlmMoeDsaForCausalLM\"\n  ],\n"
                     "  \"model_type\": \"glm_moe_dsa\",\n"
                     "  \"attention_bias\": false,\n"
                     "  \"dtype\": \"bfloat16\",\n"
                     "  \"eos_token_id\": [\n    1\n  ],\n"
                     "  \"first_k_dense_replace\": 1,\n"
                     "  \"hidden_act\": \"silu\",\n"
                     "  \"hidden_size\": %d,\n"
                     "  \"index_head_dim\": 8,\n"
                     "  \"index_n_heads\": 2,\n"
                     "  \"index_topk\": 4,\n"
                     "  \"indexer_rope_interleave\": true,\n"
                     "  \"intermediate_size\": 8,\n"
                     "  \"kv_lora_rank\": 8,\n"
                     "  \"max_position_embeddings\": 64,\n"
                     "  \"moe_intermediate_size\": 4,\n"
                     "  \"moe_layer_freq\": 1,\n"
                     "  \"n_group\": 1,\n"
                     "  \"n_routed_experts\": %d,\n"
                     "  \"n_shared_experts\": 1,\n"
                     "  \"norm_topk_prob\": true,\n"
                     "  \"num_attention_heads\": 2,\n"
                     "  \"num_experts_per_tok\": 2,\n"
                     "  \"num_hidden_layers\": %d,\n"
                     "  \"num_key_value_heads\": 2,\n"
                     "  \"num_nextn_predict_layers\": %d,\n"
                     "  \"q_lora_rank\": 8,\n"
                     "  \"qk_head_dim\": 8,\n"
                     "  \"qk_nope_head_dim\": 4,\n"
                     "  \"qk_rope_head_dim\": 4,\n"
                     "  \"rms_norm_eps\": 1e-05,\n"
                     "  \"rope_interleave\": true,\n"
                     "  \"rope_parameters\": {\n    \"rope_theta\": 10000,\n"
                     "    \"rope_type\": \"default\"\n  },\n"
                     "  \"routed_scaling_factor\": 2.5,\n"
                     "  \"scoring_func\": \"sigmoid\",\n"
                     "  \"tie_word_embeddings\": false,\n"
                     "  \"topk_group\": 1,\n"
                     "  \"topk_method\": \"noaux_tc\",\n"
                     "  \"v_head_dim\": 8,\n"
                     "  \"vocab_size\": 16%s\n}\n",
                     TINY_HIDDEN, TINY_EXPERTS, TINY_LAYERS, n_nextn, extra);
}

static unsigned char *made_up_bytes(const struct tensor_info *t)
{
    unsigned char *p = malloc(t->bytes + 8);
    assert_non_null(p);
    uint64_t words[2] = {hash64(t->name, strlen(t->name)), 0};
    for (uint64_t i = 0; i < t->bytes; i += 8) {
        words[1] = i;
        store_le64(p + i, hash64(words, sizeof words));
    }
    return p;
}

typedef unsigned char *(*bytes_fn)(const void *arg, size_t i);

static const char *write_folder(const struct tensor_info *tensors, size_t n, bytes_fn bytes,
                                const void *arg)
{
    static int n_folders;
    const char *dir = test_path("%s/tiny-%d", test_temp_dir(), n_folders++);
    struct prep_error err = PREP_ERROR_INIT;
    struct arena arena;
    struct span header;
    arena_init(&arena, 0);
    struct tensor_info *copy = arena_calloc(&arena, n, sizeof *copy, &err);
    memcpy(copy, tensors, n * sizeof *copy);
    assert_int_equal(safetensors_layout(copy, n, NULL, 0, &arena, &header, &err), 0);
    size_t total = header.n;
    for (size_t i = 0; i < n; i++)
        total += copy[i].bytes;
    unsigned char *file = malloc(total);
    assert_non_null(file);
    memcpy(file, header.p, header.n);
    for (size_t i = 0; i < n; i++) {
        unsigned char *p = bytes(arg, i);
        memcpy(file + copy[i].offset, p, copy[i].bytes);
        free(p);
    }
    test_write(test_path("%s/model.safetensors", dir), file, total);
    free(file);
    arena_fini(&arena);
    return dir;
}

static unsigned char *tiny_bytes(const void *arg, size_t i)
{
    const struct tiny_checkpoint *t = arg;
    return made_up_bytes(&t->tensors[i]);
}

const char *tiny_write(struct tiny_checkpoint *t, const char *config)
{
    const char *dir = write_folder(t->tensors, t->n, tiny_bytes, t);
    test_write(test_path("%s/config.json", dir), config, strlen(config));
    return dir;
}

static unsigned char *output_bytes(const void *arg, size_t i)
{
    const struct prune_output *out = arg;
    return tiny_gather(&out->view, &out->view.tensors[i]);
}

const char *tiny_write_output(const struct prune_output *out)
{
    struct tensor_info *tensors = calloc(out->view.n_tensors, sizeof *tensors);
    assert_non_null(tensors);
    for (size_t i = 0; i < out->view.n_tensors; i++)
        tensors[i] = out->view.tensors[i].info;
    const char *dir = write_folder(tensors, out->view.n_tensors, output_bytes, out);
    free(tensors);
    for (size_t i = 0; i < out->n_edited; i++)
        test_write(test_path("%s/%s", dir, out->edited[i].name), out->edited[i].text.p,
                   out->edited[i].text.n);
    for (size_t i = 0; i < out->n_sidecars; i++) {
        struct test_bytes b =
            test_read(test_path("%s/%s", out->view.sources[0]->dir, out->sidecars[i]));
        test_write(test_path("%s/%s", dir, out->sidecars[i]), b.p, b.n);
        free(b.p);
    }
    return dir;
}

void tiny_open(struct tiny_input *in, const char *dir)
{
    struct prep_error err = PREP_ERROR_INIT;
    *in = (struct tiny_input){0};
    if (checkpoint_open(&in->ckpt, &io_posix, dir, NULL, &err) ||
        config_load(&in->config, &io_posix, dir, NULL, &err))
        fail_msg("%s: %s", err.tag, err.msg);
}

void tiny_close(struct tiny_input *in)
{
    config_free(&in->config);
    checkpoint_close(in->ckpt);
}

unsigned char *tiny_gather(const struct view *v, const struct view_tensor *t)
{
    const struct checkpoint_tensor *from = view_source(v, t);
    struct prep_error err = PREP_ERROR_INIT;
    unsigned char *p = malloc(from->info.bytes + 1);
    assert_non_null(p);
    assert_int_equal(checkpoint_read(v->sources[t->source], from, 0, p, from->info.bytes, &err), 0);
    size_t row = t->rows ? from->info.bytes / from->info.shape[0] : 0;
    for (uint32_t i = 0; t->rows && i < t->n_rows; i++)
        memmove(p + i * row, p + (size_t)t->rows[i] * row, row);
    return p;
}

const struct view_tensor *tiny_find(const struct view *v, const char *name)
{
    for (size_t i = 0; i < v->n_tensors; i++)
        if (strcmp(v->tensors[i].info.name, name) == 0)
            return &v->tensors[i];
    return NULL;
}

const char *tiny_edited(const struct prune_output *out, const char *name)
{
    for (size_t i = 0; i < out->n_edited; i++)
        if (strcmp(out->edited[i].name, name) == 0)
            return test_path("%.*s", (int)out->edited[i].text.n,
                             (const char *)out->edited[i].text.p);
    return NULL;
}
