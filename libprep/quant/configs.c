/* SPDX-License-Identifier: MIT */
#include "libprep/quant/configs.h"

#include <string.h>

#include "libprep/base/json.h"
#include "libprep/quant/config_lists.h"

/* The writers whose files these are like; engines look at the names. */
#define MODELOPT_VERSION "0.47.0"
#define COMPRESSED_TENSORS_VERSION "0.19.0"

const char *quant_layout_name(enum quant_layout layout)
{
    static const char *const names[] = {[QUANT_MODELOPT] = "modelopt_fp4",
                                        [QUANT_COMPRESSED_TENSORS] = "nvfp4-pack-quantized",
                                        [QUANT_GPTQ] = "gptq"};
    return names[layout];
}

/* A value that is JSON already. */
static void put_raw(struct json_out *o, const char *key, const char *json)
{
    json_out_key(o, key);
    json_out_raw(o, json, strlen(json));
}

static void put_text(struct json_out *o, const char *key, const char *text)
{
    json_out_key(o, key);
    json_out_string(o, text);
}

static void put_list(struct json_out *o, const char *key, const struct name_list *l)
{
    json_out_key(o, key);
    json_out_open(o, '[');
    for (size_t i = 0; i < l->n; i++)
        json_out_string(o, l->names[i]);
    json_out_close(o);
}

/* ---- modelopt ---- */

static void put_group(struct json_out *o, const char *input, const char *weights)
{
    json_out_key(o, "config_groups");
    json_out_open(o, '{');
    json_out_key(o, "group_0");
    json_out_open(o, '{');
    if (input)
        put_raw(o, "input_activations", input);
    put_raw(o, "weights", weights);
    put_raw(o, "targets", "[\"Linear\"]");
    json_out_close(o);
    json_out_close(o);
}

static void put_producer(struct json_out *o)
{
    put_raw(o, "producer", "{\"name\": \"modelopt\", \"version\": \"" MODELOPT_VERSION "\"}");
}

static const char *modelopt_algo(const struct quant_config_request *r)
{
    return r->has_input ? "NVFP4" : "W4A16_NVFP4";
}

static void put_modelopt(struct json_out *o, const struct quant_config_request *r,
                         const struct name_list *ignore)
{
    static const char values[] =
        "{\"dynamic\": false, \"num_bits\": 4, \"type\": \"float\", \"group_size\": 16}";
    json_out_open(o, '{');
    put_group(o, r->has_input ? values : NULL, values);
    put_list(o, "ignore", ignore);
    put_text(o, "quant_algo", modelopt_algo(r));
    put_producer(o);
    put_text(o, "quant_method", "modelopt");
    json_out_close(o);
}

static void put_hf_quant_config(struct json_out *o, const struct quant_config_request *r,
                                const struct name_list *exclude)
{
    json_out_open(o, '{');
    put_producer(o);
    json_out_key(o, "quantization");
    json_out_open(o, '{');
    put_text(o, "quant_algo", modelopt_algo(r));
    put_raw(o, "kv_cache_quant_algo", "null");
    put_raw(o, "group_size", "16");
    put_list(o, "exclude_modules", exclude);
    json_out_close(o);
    json_out_close(o);
}

/* ---- compressed-tensors ---- */

static void put_scheme(struct json_out *o, const char *key, const char *dynamic,
                       const char *observer)
{
    json_out_key(o, key);
    json_out_open(o, '{');
    put_raw(o, "actorder", "null");
    put_raw(o, "block_structure", "null");
    put_raw(o, "dynamic", dynamic);
    put_raw(o, "group_size", "16");
    put_raw(o, "num_bits", "4");
    put_text(o, "observer", observer);
    put_raw(o, "observer_kwargs", "{}");
    put_text(o, "scale_dtype", "torch.float8_e4m3fn");
    put_text(o, "strategy", "tensor_group");
    put_raw(o, "symmetric", "true");
    put_text(o, "type", "float");
    put_raw(o, "zp_dtype", "null");
    json_out_close(o);
}

static void put_compressed(struct json_out *o, const struct quant_config_request *r,
                           const struct name_list *ignore)
{
    json_out_open(o, '{');
    json_out_key(o, "config_groups");
    json_out_open(o, '{');
    json_out_key(o, "group_0");
    json_out_open(o, '{');
    put_text(o, "format", "nvfp4-pack-quantized");
    if (r->has_input)
        put_scheme(o, "input_activations", "\"local\"", "static_minmax");
    else
        put_raw(o, "input_activations", "null");
    put_raw(o, "output_activations", "null");
    put_raw(o, "targets", "[\"Linear\"]");
    put_scheme(o, "weights", "false", "memoryless_minmax");
    json_out_close(o);
    json_out_close(o);
    put_text(o, "format", "nvfp4-pack-quantized");
    put_raw(o, "global_compression_ratio", "null");
    put_list(o, "ignore", ignore);
    put_raw(o, "kv_cache_scheme", "null");
    put_text(o, "quant_method", "compressed-tensors");
    put_text(o, "quantization_status", "compressed");
    put_raw(o, "sparsity_config", "{}");
    put_raw(o, "transform_config", "{}");
    put_text(o, "version", COMPRESSED_TENSORS_VERSION);
    json_out_close(o);
}

/* ---- gptq ---- */

static void put_gptq(struct json_out *o, const struct quant_config_request *r,
                     const struct name_list *dynamic)
{
    json_out_open(o, '{');
    put_text(o, "quant_method", "gptq");
    put_raw(o, "bits", "4");
    json_out_key(o, "group_size");
    json_out_u64(o, r->group_size);
    put_raw(o, "sym", "true");
    put_raw(o, "desc_act", "false");
    put_raw(o, "static_groups", "false");
    put_text(o, "checkpoint_format", "gptq");
    put_raw(o, "lm_head", "false");
    put_raw(o, "true_sequential", "false");
    put_raw(o, "damp_percent", "0.01");
    json_out_key(o, "dynamic");
    json_out_open(o, '{');
    for (size_t i = 0; i < dynamic->n; i++)
        put_raw(o, dynamic->names[i], "{}");
    json_out_close(o);
    json_out_close(o);
}

/* ---- all of them ---- */

typedef void (*put_fn)(struct json_out *o, const struct quant_config_request *r,
                       const struct name_list *list);

static int make_text(struct span *out, put_fn put, const struct quant_config_request *r,
                     const struct name_list *list, struct arena *arena, struct prep_error *err)
{
    struct json_out o;
    struct span text;
    json_out_init(&o, 2);
    put(&o, r, list);
    int rc = json_out_finish(&o, &text, err);
    if (!rc) {
        out->n = text.n;
        out->p = (unsigned char *)arena_strndup(arena, (const char *)text.p, text.n, err);
        rc = out->p ? 0 : -1;
    }
    json_out_free(&o);
    return rc;
}

int quant_configs_make(struct quant_configs *out, const struct quant_config_request *r,
                       struct arena *arena, struct prep_error *err)
{
    struct name_list list = {0};
    int rc = -1;
    *out = (struct quant_configs){0};
    switch (r->layout) {
    case QUANT_MODELOPT:
        out->beside = "hf_quant_config.json";
        rc = quant_list_modelopt(&list, r, arena, err) ||
             make_text(&out->quantization_config, put_modelopt, r, &list, arena, err) ||
             make_text(&out->beside_text, put_hf_quant_config, r, &list, arena, err);
        break;
    case QUANT_COMPRESSED_TENSORS:
        rc = quant_list_compressed(&list, r, arena, err) ||
             make_text(&out->quantization_config, put_compressed, r, &list, arena, err);
        break;
    case QUANT_GPTQ:
        out->beside = "quantize_config.json";
        rc = quant_list_gptq(&list, r, arena, err) ||
             make_text(&out->quantization_config, put_gptq, r, &list, arena, err);
        out->beside_text = out->quantization_config;
        break;
    }
    name_list_free(&list);
    return rc ? -1 : 0;
}

/* ---- what engines refuse ---- */

static int takes(const struct quant_config_request *r, enum role role, enum part part, int mtp)
{
    for (size_t i = 0; i < r->linears->n; i++) {
        const struct linear *l = &r->linears->items[i];
        if (r->choices[i].take && (l->layer >= r->num_hidden_layers) == mtp &&
            (role == ROLE_OTHER || l->role == role) && (part == PART_OTHER || l->part == part))
            return 1;
    }
    return 0;
}

static int leaves_mtp(const struct quant_config_request *r)
{
    for (size_t i = 0; i < r->linears->n; i++)
        if (r->linears->items[i].layer >= r->num_hidden_layers && !r->choices[i].take &&
            r->linears->items[i].role == ROLE_EXPERT)
            return 1;
    return 0;
}

void quant_warn_engines(const struct quant_config_request *r, struct report *report)
{
    if (r->layout != QUANT_MODELOPT && takes(r, ROLE_ATTENTION, PART_Q_A, 0))
        report_warn(report, "ENGINE",
                    "sglang joins q_a_proj and kv_a_proj_with_mqa at load and cannot do so with "
                    "this layout: --modules portable keeps both");
    if (takes(r, ROLE_ATTENTION, PART_KV_B, 0))
        report_warn(report, "ENGINE",
                    "sglang reads kv_b_proj.weight as plain numbers: --modules portable keeps it");
    if (takes(r, ROLE_INDEXER, PART_INDEXER_WK, 0) ||
        takes(r, ROLE_INDEXER, PART_INDEXER_WEIGHTS, 0))
        report_warn(report, "ENGINE",
                    "engines join indexer.wk and indexer.weights_proj in BF16 and cannot load "
                    "them quantized: --modules portable keeps both");
    if (r->layout == QUANT_MODELOPT && takes(r, ROLE_OTHER, PART_OTHER, 1))
        report_warn(report, "ENGINE",
                    "sglang loads the MTP layer of a modelopt checkpoint as BF16: --mtp bf16");
    if (r->layout == QUANT_GPTQ && leaves_mtp(r))
        report_warn(report, "ENGINE",
                    "sglang quantizes every MoE layer of a gptq checkpoint and cannot load the MTP "
                    "layer in BF16; vLLM can: --mtp quantize or drop");
}
