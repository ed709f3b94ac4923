# SPDX-License-Identifier: MIT
"""Numbers behind 4-bit integer codes: ours, the formula's, and those of packages that read them.

usage: w4a16_weights.py CHECKPOINT DECODED_F32 [PEER]     exit 1 when two differ

GPTQ layouts go to auto-round's torch linear, or with PEER gptqmodel through that package's loader;
pack-quantized goes to compressed-tensors. All are asked to compute in F32, where code times scale
is exact, so that rounding hides nothing.
"""
import json
import sys
from importlib.metadata import version

import torch

from checkpoint import Comparison, opened


def quantization(folder):
    with open(f"{folder}/config.json", encoding="utf-8") as f:
        return json.load(f)["quantization_config"]


def nibbles(words, dim):
    """Eight 4-bit numbers of each I32, the lowest first, laid out along dim."""
    parts = torch.stack([words >> 4 * k & 15 for k in range(8)], dim=dim + 1)
    return parts.flatten(dim, dim + 1)


def zero_bias(config):
    v2 = config.get("checkpoint_format") == "gptq_v2"
    return 0 if v2 else 1


def gptq_formula(parts, config):
    codes = nibbles(parts["qweight"], 0)
    zeros = nibbles(parts["qzeros"], 1) + zero_bias(config)
    n = len(codes)
    group = parts["g_idx"].long() if "g_idx" in parts else torch.arange(n) // (n // len(zeros))
    return ((codes - zeros[group]).float() * parts["scales"].float()[group]).T


def gptq_auto_round(parts, config):
    if zero_bias(config):
        from auto_round_extension.torch.qlinear_torch_zp import QuantLinear
    else:
        from auto_round_extension.torch.qlinear_torch import QuantLinear
    n_in, n_out = parts["qweight"].shape[0] * 8, parts["qweight"].shape[1]
    linear = QuantLinear(4, config["group_size"], n_in, n_out, bias=False)
    linear.qweight, linear.qzeros = parts["qweight"], parts["qzeros"]
    linear.scales = parts["scales"].float()
    return linear(torch.eye(n_in)).T


def natural(parts, config):
    """Are groups consecutive? With g_idx auto-round 0.16.1 reads square matrices only."""
    g_idx = parts.get("g_idx")
    if g_idx is None:
        return True
    return torch.equal(g_idx.long(), torch.arange(len(g_idx)) // config["group_size"])


def gptq(folder, ckpt, f32):
    config = quantization(folder)
    formula, peer = Comparison("formula"), Comparison(f"auto-round {version('auto-round')}")
    for module in ckpt.modules("qweight"):
        parts = ckpt.parts(module, "qweight", "qzeros", "scales", "g_idx")
        name = module + ".weight"
        formula.equal(name, f32[name], gptq_formula(parts, config))
        if natural(parts, config):
            peer.equal(name, f32[name], gptq_auto_round(parts, config))
    return formula, peer


def gptq_model(folder, ckpt, f32):
    from gptqmodel import BACKEND, GPTQModel
    peer = Comparison(f"gptqmodel {version('gptqmodel')}")
    # In F16 the scales stay what is stored.
    model = GPTQModel.load(folder, device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model
    missed = set(ckpt.modules("qweight"))
    for module, linear in model.named_modules():
        if not hasattr(linear, "qweight"):
            continue
        linear.scales = linear.scales.float()
        missed.remove(module)
        name = module + ".weight"
        peer.equal(name, f32[name], linear.dequantize_weight().T)
    # transformers has no MTP layer.
    layers = model.config.num_hidden_layers
    missed = [m for m in missed if not m.startswith(f"model.layers.{layers}.")]
    if missed:
        sys.exit(f"{peer.peer} did not load {sorted(missed)[:3]}")
    return [peer]


def pack_formula(parts):
    rows, columns = parts["weight_shape"].tolist()
    codes = nibbles(parts["weight_packed"], 1)[:, :columns] - 8
    group = columns // parts["weight_scale"].shape[1]
    return (codes.float() * parts["weight_scale"].float().repeat_interleave(group, 1)).reshape(
        rows, columns)


def pack_quantized(folder, ckpt, f32):
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationConfig
    config = QuantizationConfig.model_validate(quantization(folder))
    (scheme,) = config.config_groups.values()
    package = BaseCompressor.get_value_from_registry(scheme.format or config.format)
    formula = Comparison("formula")
    peer = Comparison(f"compressed-tensors {version('compressed-tensors')}")
    for module in ckpt.modules("weight_packed"):
        parts = ckpt.parts(module, "weight_packed", "weight_scale", "weight_shape")
        name = module + ".weight"
        formula.equal(name, f32[name], pack_formula(parts))
        parts["weight_scale"] = parts["weight_scale"].float()
        peer.equal(name, f32[name], package.decompress(parts, scheme)["weight"])
    return formula, peer


def main():
    folder, decoded = sys.argv[1:3]
    with opened(folder, decoded) as (ckpt, f32):
        if sys.argv[3:] == ["gptqmodel"]:
            compared = gptq_model(folder, ckpt, f32)
        else:
            compared = (gptq if ckpt.modules("qweight") else pack_quantized)(folder, ckpt, f32)
            if compared[0].n != len(f32.names()):
                sys.exit(f"{len(f32.names())} linears decoded, {compared[0].n} found")
    for c in compared:
        c.done("matrices")


if __name__ == "__main__":
    main()
