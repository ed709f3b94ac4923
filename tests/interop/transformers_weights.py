# SPDX-License-Identifier: MIT
"""Weights of a model that transformers loaded from a compressed-tensors checkpoint, against ours.

usage: transformers_weights.py CHECKPOINT DECODED_F32 DECODED_BF16     exit 1 when two differ

Every parameter of the model must be found in the checkpoint, or behind its codes. transformers 5.23
leaves the global of NVFP4 out of the routed experts, which it fuses on its own: told apart from
other differences and said, for it is not ours.
"""
import re
import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, CompressedTensorsConfig

from checkpoint import Comparison, opened


def wanted(name, ckpt, decoded):
    """A parameter of the model: stored, decoded, or experts fused."""
    fused = re.fullmatch(r"(.*\.experts)\.(gate_up_proj|down_proj)", name)
    if not fused:
        return decoded[name] if name in decoded else ckpt[name]
    names = ("gate_proj", "up_proj") if fused[2] == "gate_up_proj" else ("down_proj",)
    experts = []
    while (expert := f"{fused[1]}.{len(experts)}.") + names[0] + ".weight" in decoded:
        experts.append(torch.cat([decoded[f"{expert}{n}.weight"] for n in names]))
    return torch.stack(experts)


class WithoutGlobal:
    """Decoded linears times their global: a code times an E4M3 scale again, exact in BF16."""

    def __init__(self, ckpt, f32):
        self.ckpt, self.f32 = ckpt, f32

    def __contains__(self, name):
        return name in self.f32 and name + "_global_scale" in self.ckpt

    def __getitem__(self, name):
        return (self.f32[name] * self.ckpt[name + "_global_scale"]).to(torch.bfloat16)


def main():
    path, f32_path, bf16_path = sys.argv[1:4]
    model, info = AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.bfloat16, output_loading_info=True,
        quantization_config=CompressedTensorsConfig(dequantize=True))
    if info["missing_keys"] or info["mismatched_keys"]:
        sys.exit(f"missing {info['missing_keys']}, mismatched {info['mismatched_keys']}")
    peer = Comparison(f"transformers {transformers.__version__}")
    without = Comparison(peer.peer)
    with opened(path, f32_path, bf16_path) as (ckpt, f32, bf16):
        raw = WithoutGlobal(ckpt, f32)
        for name, theirs in model.state_dict().items():
            ours = wanted(name, ckpt, bf16)
            if ".experts." in name and not torch.equal(ours, theirs):
                without.equal(name, wanted(name, ckpt, raw), theirs)
            else:
                peer.equal(name, ours, theirs)
    peer.done("parameters")
    if without.n:
        print(f"note: {peer.peer} leaves weight_global_scale out of {without.n} fused experts, "
              "else equal")


if __name__ == "__main__":
    main()
