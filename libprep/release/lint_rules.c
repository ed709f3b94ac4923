/* SPDX-License-Identifier: MIT */
#include "libprep/release/lint.h"

#include <string.h>

#define ALL LINT_ENGINES
#define SERVING (LINT_SGLANG | LINT_VLLM)
#define LOADING (LINT_SGLANG | LINT_VLLM | LINT_TRANSFORMERS)

#define DAMAGED "the file is damaged or was not written to its end: no engine can load it"
#define AGAIN "fetch or write the file again"
#define HEADER_ODD "strict readers refuse it or copy the data once more while loading"
#define REWRITE "write the checkpoint again (repair does)"
#define MISCOUNT "loading stops at a missing or misshapen tensor"

enum { REPAIRS = 1, NOTE = 1 };

const struct lint_rule lint_rules[] = {
    /* files: headers, index, folder */
    {"HEADER_ALIGNMENT", ALL, HEADER_ODD, REWRITE, REPAIRS, 0},
    {"HEADER_PADDING", ALL, HEADER_ODD, REWRITE, REPAIRS, 0},
    {"HEADER_LEADING_SPACE", ALL, HEADER_ODD, REWRITE, REPAIRS, 0},
    {"UNKNOWN_FIELD", ALL, "it is dropped by every reader", REWRITE, REPAIRS, 0},
    {"TOTAL_SIZE", ALL, "planners and the hub show a wrong size", "correct it (repair does)",
     REPAIRS, 0},
    {"TOTAL_SIZE_MISSING", ALL, "planners and some loaders want it", "add it (repair does)",
     REPAIRS, 0},
    {"TOTAL_SIZE_FLOAT", ALL, "readers that want an integer refuse it",
     "write an integer (repair does)", REPAIRS, 0},
    {"SHARD_NAMING", ALL, "loaders that look for model*.safetensors miss the shard",
     "rename the shards (repair does)", REPAIRS, 0},
    {"STRAY_SHARD", ALL, "engines that load every shard of the folder read it as well",
     "remove it, or put its tensors into the index (repair leaves it out)", REPAIRS, 0},
    {"DANGLING_LINK", ALL, "the file is missing where it is wanted", "finish the download", 0, 0},
    {"SHORT_DATA", ALL, DAMAGED, AGAIN, 0, 0},
    {"INDEX_MISMATCH", ALL, "loading stops at the tensor that is not where the index has it",
     "make the index from the shards (repair does, but for tensors stored twice)", REPAIRS, 0},
    {"NO_INDEX", ALL, "nothing says which shard holds what: engines find no checkpoint",
     "make the index from the shards (repair does)", REPAIRS, 0},
    {"INDEX_JSON", ALL, "engines find no checkpoint", "make the index anew (repair does)", REPAIRS,
     0},
    {"INDEX_TYPE", ALL, "engines find no checkpoint", "make the index anew (repair does)", REPAIRS,
     0},
    {"SHARD_MISSING", ALL, "loading stops at the first tensor of the shard", AGAIN, 0, 0},
    {"LFS_POINTER", ALL, "this is a note of where the file lies, not the file",
     "fetch it (git lfs pull)", 0, 0},
    {"TEMPLATE_MISSING", SERVING, "chat requests fail or are formatted for another model",
     "copy chat_template.jinja from the source", 0, 0},

    /* config.json and what lies beside it */
    {"NO_CONFIG", ALL, "engines do not know what model this is", "copy config.json from the source",
     0, 0},
    {"ARCHITECTURES_MISSING", ALL, "engines that choose by it refuse the model",
     "add \"architectures\": [\"GlmMoeDsaForCausalLM\"] (repair does)", REPAIRS, 0},
    {"EOS_IDS", ALL, "generation runs on past the end of an answer",
     "give both files the three ids of the source", 0, 0},
    {"INDEXER_ROPE", LINT_SGLANG, "falls back to half-split pairs: the indexer selects wrongly",
     "add \"indexer_rope_interleave\": true (repair does)", REPAIRS, 0},
    {"TOPK_METHOD", LINT_SGLANG, "allocates no correction bias: the routing is another",
     "add \"topk_method\": \"noaux_tc\" (repair does)", REPAIRS, 0},
    {"INDEXCACHE_SHORT", ALL, "engines differ in what the remaining layers do",
     "write one letter for each layer", 0, 0},
    {"INDEXCACHE_TWICE", ALL, "engines that read the other key share other layers",
     "keep one of the two", 0, 0},
    {"PATTERN_LIMIT", ALL, "matching can take longer than anyone waits", "write a simpler pattern",
     0, 0},
    {"CONFIG_DTYPE", ALL, "weights are converted while loading; F16 overflows where BF16 does not",
     "set dtype to bfloat16", 0, NOTE},
    {"QUANT_CONFIG_MISSING", LOADING, "codes are read as weights: loading stops or prints garbage",
     "add the quantization config", 0, 0},
    {"QUANT_CONFIG_DISAGREE", ALL, "engines read either one, so they load different things",
     "make the two agree (repair takes the one that fits the tensors)", REPAIRS, 0},
    {"QUANT_CONFIG_KEY", SERVING, "the method is not recognised, or loading stops", "add the key",
     0, 0},
    {"GPTQ_MODULES_KEY", LINT_VLLM,
     "its entries are taken for every layer: those stored in BF16 are loaded as quantized",
     "drop modules_in_block_to_quantize (repair does)", REPAIRS, 0},

    /* the table of tensors against the config */
    {"EXPERT_COUNT", ALL, MISCOUNT,
     "prune the layer alike; a stale count in config.json is mended by repair", REPAIRS, 0},
    {"EXPERT_IDS", ALL, "the experts behind the gap are not found, or land at other router rows",
     "number them 0..E-1 in the order of the router rows (repair does)", REPAIRS, 0},
    {"EXPERT_INCOMPLETE", ALL, "the expert stays uninitialised, or loading stops",
     "copy the tensor from the source", 0, 0},
    {"EXPERT_FORMATS_MIXED", ALL,
     "engines choose one format for all experts of a layer, by the first one",
     "quantize the others or none", 0, 0},
    {"ROUTER_SHAPE", ALL, MISCOUNT, "slice it like the experts", 0, 0},
    {"ROUTER_ROWS", ALL, "tokens are sent to other experts than they were trained for",
     "take the rows from the source in the order of the keep-map", 0, 0},
    {"ROUTER_NONFINITE", ALL, "the layer selects at random or yields NaN",
     "copy the tensor from the source", 0, 0},
    {"BIAS_DTYPE", ALL, "fewer bits make values equal: other experts are selected",
     "copy the F32 tensor from the source", 0, 0},
    {"MTP_MISSING", ALL, "speculative decoding stops at start; some loaders refuse the model",
     "stitch-mtp takes the layer from the source; or set num_nextn_predict_layers to 0", 0, 0},
    {"MTP_COUNT", ALL, "loaders look for layers that are not there, or pass over one that is",
     "set num_nextn_predict_layers to what is stored (repair does)", REPAIRS, 0},
    {"LM_HEAD_MISSING", ALL, "loading stops, or the head stays uninitialised",
     "copy the tensor from the source, or set tie_word_embeddings", 0, 0},
    {"TIED_HEAD", ALL, "some loaders drop the stored head and take the embedding",
     "set tie_word_embeddings to false, or leave the head out", 0, 0},
    {"STRAY_LAYER", ALL, "loaders pass over the layer, or stop at a name they do not know",
     "count it in num_nextn_predict_layers, or leave it out", 0, 0},
    {"TENSOR_MISSING", ALL, MISCOUNT, "copy the tensor from the source", 0, 0},
    {"TENSOR_UNKNOWN", ALL, "strict loaders stop at the name, others carry it for nothing",
     "leave it out (repair does)", REPAIRS, 0},
    {"TENSOR_SHAPE", ALL, "loading stops at the shape", "copy the tensor from the source", 0, 0},
    {"TENSOR_DTYPE", ALL, "the bytes are read as another type, or loading stops",
     "copy the tensor from the source", 0, 0},
    {"GROUP_SIZE", ALL, "scales are applied to the wrong inputs, or loading stops",
     "set group_size to what the scales have (repair does)", REPAIRS, 0},

    /* scales */
    {"SCALE_MISSING", ALL,
     "it is taken as 1, or as whatever the memory held: the expert's output is wrong",
     "quantize again, or copy the scale; it cannot be made from the others", 0, 0},
    {"SCALE_SHAPE", ALL, "loading stops, or rows are read at the wrong place",
     "store [rows, columns / 16]; engines pad and swizzle by themselves (repair cuts the padding)",
     REPAIRS, 0},
    {"SCALE_NONFINITE", ALL, "every token that reaches the linear becomes NaN", "quantize it again",
     0, 0},
    {"SCALE_ZERO", ALL, "1/0 makes the output NaN or the linear vanish", "quantize it again", 0, 0},
    {"SCALE_NEGATIVE", ALL, "block scales are read without their sign", "quantize it again", 0, 0},
    {"GATE_UP_SCALE", ALL,
     "both halves are computed with the gate's scale: the up half is wrong by the ratio",
     "prep-inspect repair rescales the smaller half, without the source", REPAIRS, 0},
    {"FUSED_SCALE", SERVING, "the two are fused and one scale is used for both",
     "prep-inspect repair rescales the smaller one", REPAIRS, 0},
    {"QZEROS_CONVENTION", ALL, "kernels that read zero points are off by one step everywhere",
     "set checkpoint_format to gptq_v2, or store zeros less one (repair does)", REPAIRS, 0},
    {"G_IDX", ALL, "inputs get the scale of another group",
     "quantize again, or set desc_act to what the order is", 0, 0},
    {"FP8_SCALE_VALUE", ALL, "the block becomes NaN, infinite or changes its sign",
     "quantize it again", 0, 0},
    {"SRC_FP8_SCALE_MISSING", ALL, MISCOUNT, "copy the scale from the source", 0, 0},
    {"SRC_FP8_SCALE_ORPHAN", ALL, "strict loaders stop at the name", "leave it out (repair does)",
     REPAIRS, 0},
    {"SRC_FP8_SCALE_SHAPE", ALL, "blocks get the scale of other blocks", "quantize again", 0, 0},
    {"SRC_FP8_SCALE_DTYPE", ALL, "loading stops", "store F32 scales", 0, 0},
    {"SRC_FP8_CONFIG", ALL, "codes are read as weights", "add the quantization config", 0, 0},
    {"SRC_FP8_LIST", SERVING, "the module is loaded in the wrong form",
     "correct modules_to_not_convert", 0, 0},

    /* exclude lists */
    {"EXCLUDE_LEAF_MISSING", LOADING, "the engine allocates a quantized linear and finds no codes",
     "list the names, or their pattern (repair does)", REPAIRS, 0},
    {"EXCLUDE_FUSED_MISSING", SERVING,
     "asked by its fused name, the module is taken as quantized and finds no codes",
     "list the fused name, too (repair does)", REPAIRS, 0},
    {"EXCLUDE_TOO_WIDE", LOADING, "the engine reads the codes of a quantized module as BF16",
     "write exact names, or a pattern that ends at a dot (repair does)", REPAIRS, 0},
    {"ROUTER_NOT_EXCLUDED", SERVING, "engines that ask take the router as quantized",
     "list it (repair does)", REPAIRS, 0},
    {"MTP_NOT_EXCLUDED", SERVING,
     "the draft model allocates quantized linears and finds BF16: it does not load",
     "add the entries (repair does)", REPAIRS, 0},

    /* which modules are quantized */
    {"KV_B_QUANTIZED", LINT_SGLANG, "the absorbed attention reads its codes as weights: garbage",
     "keep kv_b_proj in BF16: quantize again with --modules portable or experts", 0, 0},
    {"INDEXER_QUANTIZED", SERVING, "wk and weights_proj are fused in BF16 and copied as they are",
     "keep the indexer in BF16: quantize again with --modules portable or experts", 0, 0},
    {"QKV_A_QUANTIZED", LINT_SGLANG, "the two are strung together while loading: shapes do not fit",
     "keep q_a_proj and kv_a_proj_with_mqa in BF16", 0, 0},
    {"FUSED_PAIR_SPLIT", SERVING, "they are one fused linear with one format: loading stops",
     "quantize both or none", 0, 0},
    {"MTP_QUANTIZED", LINT_SGLANG | LINT_LLAMA,
     "the MTP layer is built without the quantization config: it does not load",
     "keep the MTP layer in BF16", 0, 0},
    {"MTP_GPTQ_BF16", LINT_SGLANG,
     "experts are always taken as quantized: the draft model does not load, the main model does",
     "quantize the MTP layer alike, or serve without speculation", 0, NOTE},
    {"SHARED_FUSION", LINT_SGLANG,
     "with 256 or 384 experts the shared expert is fused into the routed ones",
     "start with --disable-shared-experts-fusion, or list shared_experts as excluded", 0, 0},
    {"MARLIN_SHAPE", SERVING, "no Marlin kernel takes the shape: loading stops",
     "keep the module in BF16", 0, 0},
    {"LLAMA_NO_SLOT", LINT_LLAMA, "the runtime has no scale tensor there: the file does not load",
     "quantize experts, shared experts, dense MLPs and o_proj only (--modules llama)", 0, 0},
    {"LLAMA_COLUMNS", LINT_LLAMA, "blocks of 64 inputs cannot be formed", "keep the module in BF16",
     0, 0},
    {"LLAMA_INDEXER", LINT_LLAMA, "the rotation of 64 does not fit: the runtime stops",
     "there is no mend: use another engine", 0, 0},
    {"LLAMA_MTP", LINT_LLAMA, "drafting works with exactly one MTP layer", "leave the others out",
     0, NOTE},

    /* ranks */
    {"TP_DIVISIBILITY", SERVING, "the engine refuses to start", "choose another degree", 0, 0},
    {"TP_GROUP", SERVING, "a rank's share cuts a group of scales: loading stops",
     "choose a smaller degree, or expert parallelism", 0, 0},
    {"EP_DIVISIBILITY", SERVING, "the engine refuses to start",
     "choose a degree that divides, or tensor parallelism", 0, 0},

    {NULL, ALL, DAMAGED, AGAIN, 0, 0},
};

const struct lint_rule *lint_rule(const char *code)
{
    const struct lint_rule *r = lint_rules;
    while (r->code && strcmp(r->code, code) != 0)
        r++;
    return r;
}
