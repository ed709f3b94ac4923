/* SPDX-License-Identifier: MIT */
/*
 * A table of tensors from anywhere against a fixed config: each line of the input is a dtype
 * letter, a shape of up to two digits, and a name.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "libprep/model/check.h"
#include "libprep/model/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const char CONFIG[] =
    "{\"model_type\":\"glm_moe_dsa\",\"architectures\":[\"GlmMoeDsaForCausalLM\"],"
    "\"vocab_size\":8,\"hidden_size\":8,\"intermediate_size\":8,\"moe_intermediate_size\":4,"
    "\"num_hidden_layers\":3,\"num_nextn_predict_layers\":1,\"first_k_dense_replace\":1,"
    "\"num_attention_heads\":2,\"q_lora_rank\":4,\"kv_lora_rank\":4,\"qk_nope_head_dim\":2,"
    "\"qk_rope_head_dim\":2,\"v_head_dim\":2,\"index_n_heads\":2,\"index_head_dim\":4,"
    "\"index_topk\":4,\"n_routed_experts\":3,\"n_shared_experts\":1,\"num_experts_per_tok\":1,"
    "\"norm_topk_prob\":true,\"routed_scaling_factor\":1,\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":10000,\"max_position_embeddings\":64,"
    "\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[4,4]}}";

enum { MAX_TENSORS = 256 };

static size_t read_table(struct tensor_info *t, char *text)
{
    size_t n = 0;
    for (char *save, *line = strtok_r(text, "\n", &save); line && n < MAX_TENSORS;
         line = strtok_r(NULL, "\n", &save)) {
        if (strlen(line) < 4)
            continue;
        const unsigned char *b = (unsigned char *)line;
        t[n] = (struct tensor_info){.dtype = (uint8_t)(b[0] % DTYPE_COUNT),
                                    .n_dims = (uint8_t)((b[1] & 3) + (b[2] & 1))};
        for (int d = 0; d < t[n].n_dims; d++)
            t[n].shape[d] = b[1 + d % 2] >> 2;
        t[n++].name = line + 3;
    }
    return n;
}

static void check_name(const char *name)
{
    const struct name_parts p = name_parse(name, strlen(name));
    const size_t n = strlen(name);
    if (p.module < name || p.module + p.module_n > name + n || p.suffix + p.suffix_n != name + n ||
        (p.role == ROLE_EXPERT && p.expert_at + p.expert_n > n))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct prep_error err = PREP_ERROR_INIT;
    struct tensor_info tensors[MAX_TENSORS];
    const struct tensor_info *list[MAX_TENSORS];
    struct findings found;
    struct config c;
    char *text = malloc(n + 1);
    if (!text || config_parse(&c, CONFIG, sizeof CONFIG - 1, "config.json", NULL, &err))
        abort();
    memcpy(text, data, n);
    text[n] = 0;
    const size_t n_tensors = read_table(tensors, text);
    for (size_t i = 0; i < n_tensors; i++) {
        list[i] = &tensors[i];
        check_name(tensors[i].name);
    }
    findings_init(&found);
    if (check_inventory(&found, &c, list, n_tensors, &err) || findings_finish(&found, &err))
        abort();
    findings_fini(&found);
    config_free(&c);
    free(text);
    return 0;
}
