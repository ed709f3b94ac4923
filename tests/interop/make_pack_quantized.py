# SPDX-License-Identifier: MIT
"""A BF16 checkpoint with its routed experts as compressed-tensors packs them, 4-bit, groups of 128.

usage: make_pack_quantized.py SOURCE OUTPUT
"""
import json
import os
import re
import sys

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationConfig
from safetensors.torch import save_file

from checkpoint import opened

GROUP = 128
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": GROUP}


def scale_of(w):
    """Largest magnitude of a group to the end of the range, in the weight's own precision."""
    return (w.unflatten(1, (-1, GROUP)).abs().amax(dim=2) / 7.5).to(w.dtype)


def main():
    source, output = sys.argv[1:3]
    with open(f"{source}/config.json", encoding="utf-8") as f:
        config = json.load(f)
    quantized = re.compile(r"model\.layers\.[0-4]\.mlp\.experts\.\d+\.\w+_proj\.weight")
    tensors, kept = {}, []
    with opened(source) as (ckpt,):
        config["quantization_config"] = {
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": WEIGHTS}}}
        held = QuantizationConfig.model_validate(config["quantization_config"])
        scheme = held.config_groups["group_0"]
        package = BaseCompressor.get_value_from_registry("pack-quantized")
        for name in ckpt.names():
            w = ckpt[name]
            if not quantized.fullmatch(name):
                tensors[name] = w
                if w.dim() == 2:
                    kept.append(name.removesuffix(".weight"))
                continue
            parts = package.compress({"weight": w, "weight_scale": scale_of(w)}, scheme)
            module = name.removesuffix("weight")
            tensors.update({module + n: t.contiguous() for n, t in parts.items()})
    config["quantization_config"]["ignore"] = kept
    os.makedirs(output)
    with open(f"{output}/config.json", "w", encoding="utf-8") as f:
        json.dump(config, f, indent=2)
    save_file(tensors, f"{output}/model.safetensors", {"format": "pt"})
    print(f"{len(tensors)} tensors, torch {torch.__version__}")


if __name__ == "__main__":
    main()
