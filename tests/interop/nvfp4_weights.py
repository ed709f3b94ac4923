# SPDX-License-Identifier: MIT
"""Numbers behind NVFP4 codes: ours, the formula's, and those of the package that owns the layout.

usage: nvfp4_weights.py CHECKPOINT DECODED_F32 DECODED_BF16     exit 1 when two differ

The layout, modelopt's or that of compressed-tensors, is told by the names of the tensors.
"""
import json
import sys
from importlib.metadata import version

import torch

from checkpoint import Comparison, opened

E2M1 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def by_formula(codes, scales, factor):
    """codes [out, in / 2] U8, scales [out, in / 16] E4M3, factor(scales in F32)."""
    nibbles = torch.stack((codes & 15, codes >> 4), dim=-1).reshape(len(codes), -1)
    block = factor(scales.to(torch.float32))
    return E2M1[nibbles.long()] * block.repeat_interleave(16, dim=1)


def compressed_tensors(ckpt, folder, f32, bf16):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    with open(f"{folder}/config.json", encoding="utf-8") as f:
        config = QuantizationConfig.model_validate(json.load(f)["quantization_config"])
    (scheme,) = config.config_groups.values()
    package = BaseCompressor.get_value_from_registry(scheme.format or config.format)
    formula = Comparison("formula")
    peer = Comparison(f"compressed-tensors {version('compressed-tensors')}")
    for module in ckpt.modules("weight_packed"):
        parts = ckpt.parts(module, "weight_packed", "weight_scale", "weight_global_scale")
        g = parts["weight_global_scale"]
        name = module + ".weight"
        formula.equal(name, f32[name],
                      by_formula(parts["weight_packed"], parts["weight_scale"], lambda s: s / g))
        peer.equal(name, bf16[name], package.decompress(parts, scheme)["weight"])
    return formula, peer


def modelopt(ckpt, f32, bf16):
    from modelopt.torch.quantization.qtensor import NVFP4QTensor
    formula = Comparison("formula")
    peer = Comparison(f"modelopt {version('nvidia-modelopt')}")
    for module in ckpt.modules("weight_scale_2"):
        parts = ckpt.parts(module, "weight", "weight_scale", "weight_scale_2")
        codes, s2 = parts["weight"], parts["weight_scale_2"]
        name = module + ".weight"
        formula.equal(name, f32[name], by_formula(codes, parts["weight_scale"], lambda s: s * s2))
        for want in (f32[name], bf16[name]):
            held = NVFP4QTensor(torch.Size(want.shape), want.dtype, codes)
            # Unpacking happens in the dtype asked for; the product is F32 and rounded once.
            have = held.dequantize(want.dtype, scale=parts["weight_scale"], double_scale=s2,
                                   block_sizes={-1: 16})
            peer.equal(name, want, have)
    return formula, peer


def main():
    folder = sys.argv[1]
    with opened(*sys.argv[1:4]) as (ckpt, f32, bf16):
        if ckpt.modules("weight_scale_2"):
            compared = modelopt(ckpt, f32, bf16)
        else:
            compared = compressed_tensors(ckpt, folder, f32, bf16)
        if compared[0].n != len(f32.names()):
            sys.exit(f"{len(f32.names())} linears decoded, {compared[0].n} found")
    for c in compared:
        c.done("matrices")


if __name__ == "__main__":
    main()
