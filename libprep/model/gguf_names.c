/* SPDX-License-Identifier: MIT */
#include "libprep/model/gguf_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    enum part part;
    const char *name;
} GLOBALS[] =
    {
        {PART_EMBED, "token_embd"},
        {PART_FINAL_NORM, "output_norm"},
        {PART_LM_HEAD, "output"},
},
  LAYER[] = {
      {PART_INPUT_NORM, "attn_norm"},
      {PART_Q_A, "attn_q_a"},
      {PART_Q_A_NORM, "attn_q_a_norm"},
      {PART_Q_B, "attn_q_b"},
      {PART_KV_A, "attn_kv_a_mqa"},
      {PART_KV_A_NORM, "attn_kv_a_norm"},
      {PART_O, "attn_output"},
      {PART_INDEXER_WQ_B, "indexer.attn_q_b"},
      {PART_INDEXER_WK, "indexer.attn_k"},
      {PART_INDEXER_K_NORM, "indexer.k_norm"},
      {PART_INDEXER_WEIGHTS, "indexer.proj"},
      {PART_POST_NORM, "ffn_norm"},
      {PART_ROUTER, "ffn_gate_inp"},
      {PART_GATE, "ffn_gate"},
      {PART_UP, "ffn_up"},
      {PART_DOWN, "ffn_down"},
      {PART_SHARED_GATE, "ffn_gate_shexp"},
      {PART_SHARED_UP, "ffn_up_shexp"},
      {PART_SHARED_DOWN, "ffn_down_shexp"},
      {PART_ENORM, "nextn.enorm"},
      {PART_HNORM, "nextn.hnorm"},
      {PART_EH_PROJ, "nextn.eh_proj"},
      {PART_SHARED_HEAD_NORM, "nextn.shared_head_norm"},
      {PART_MTP_EMBED, "nextn.embed_tokens"},
      {PART_MTP_HEAD, "nextn.shared_head_head"},
};

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static const char *module_of(const struct tensor_spec *spec, enum gguf_half half)
{
    if (spec->part == PART_KV_B)
        return half == GGUF_K_B ? "attn_k_b" : half == GGUF_V_B ? "attn_v_b" : NULL;
    if (spec->part == PART_ROUTER && spec->suffix == SUFFIX_CORRECTION_BIAS)
        return "exp_probs_b";
    for (size_t i = 0; i < COUNT(LAYER) && spec->layer >= 0; i++)
        if (LAYER[i].part == spec->part)
            return LAYER[i].name;
    for (size_t i = 0; i < COUNT(GLOBALS) && spec->layer < 0; i++)
        if (GLOBALS[i].part == spec->part)
            return GLOBALS[i].name;
    return NULL;
}

const char *gguf_name(const struct tensor_spec *spec, enum gguf_half half,
                      char buf[GGUF_NAME_BYTES])
{
    const char *module = module_of(spec, half);
    const char *stack = spec->role == ROLE_EXPERT ? "_exps" : "";
    const char *suffix = spec->suffix == SUFFIX_WEIGHT ? "weight" : "bias";
    if (!module || (spec->suffix != SUFFIX_WEIGHT && spec->suffix != SUFFIX_BIAS &&
                    spec->suffix != SUFFIX_CORRECTION_BIAS))
        return NULL;
    if (spec->layer < 0)
        snprintf(buf, GGUF_NAME_BYTES, "%s.%s", module, suffix);
    else
        snprintf(buf, GGUF_NAME_BYTES, "blk.%d.%s%s.%s", spec->layer, module, stack, suffix);
    return buf;
}

int gguf_name_layer(const char *name)
{
    int v = 0, digits = 0;
    if (strncmp(name, "blk.", 4) != 0)
        return -1;
    for (const char *s = name + 4; *s >= '0' && *s <= '9' && digits < 7; s++, digits++)
        v = v * 10 + (*s - '0');
    return digits && name[4 + digits] == '.' ? v : -1;
}

int gguf_name_compare(const char *a, const char *b)
{
    const int x = gguf_name_layer(a), y = gguf_name_layer(b);
    if (x != y)
        return x < y ? -1 : 1;
    return strcmp(a, b);
}
