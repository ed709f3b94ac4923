# SPDX-License-Identifier: MIT
"""Logits of transformers, in float32, against a reference that verify-run saved.

usage: logits.py PLAIN REFERENCE.safetensors [DECODED.safetensors]      exit 1 when they differ

PLAIN is the unquantized checkpoint; with DECODED (tests/tools/decode) its weights are replaced by
the numbers behind the codes. The library leaves the order of equal indexer scores open; here the
lower position wins, as in the reference. Near ties still fall as the last bit has it, so a few rows
of a sequence may differ by more.
"""
import re
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 2e-4  # of a logit, on rows whose selections agree
FLIPPED = 2  # rows per sequence that a near tie may change


def stable_topk(x, k, dim=-1, largest=True, sorted=True):
    values, indices = torch.sort(x, dim=dim, descending=largest, stable=True)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


def replace(model, decoded):
    """Every parameter that decoded has, experts fused as the library keeps them."""
    used = set()
    for name, parameter in model.named_parameters():
        fused = re.fullmatch(r"(.*\.experts)\.(gate_up_proj|down_proj)", name)
        if not fused:
            names = [name] if name in decoded else []
            value = decoded.get(name)
        else:
            parts = ("gate_proj", "up_proj") if fused[2] == "gate_up_proj" else ("down_proj",)
            n = parameter.shape[0]
            names = [f"{fused[1]}.{e}.{p}.weight" for e in range(n) for p in parts]
            names = names if names[0] in decoded else []
            rows = [decoded[x] for x in names]
            value = None
            if names:
                per = len(parts)
                value = torch.stack([torch.cat(rows[i:i + per]) for i in range(0, len(rows), per)])
        if names:
            with torch.no_grad():
                parameter.copy_(value)
            used.update(names)
    left = [x for x in decoded if x not in used and ".layers.5." not in x]
    if left or not used:
        sys.exit(f"{len(used)} decoded weights used, not used: {left[:3]}")


def main():
    plain, reference, *decoded = sys.argv[1:]
    torch.topk = stable_topk
    torch.Tensor.topk = stable_topk
    model = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32,
                                                 attn_implementation="eager").eval()
    if decoded:
        replace(model, load_file(decoded[0]))
    with safe_open(reference, "pt") as f:
        tokens = f.get_tensor("tokens").long()
        ids = f.get_tensor("top_ids").long()
        want = f.get_tensor("top_logits")
    worst, rows, flipped = 0.0, 0, 0
    with torch.no_grad():
        for t, i, w in zip(tokens, ids, want):
            got = model(t[None]).logits[0].gather(1, i)
            error = (got - w).abs().amax(1)
            off = int((error > TOLERANCE).sum())
            if off > FLIPPED:
                sys.exit(f"{off} of {len(t)} rows differ by up to {error.max():.2g}")
            worst = max(worst, float(error[error <= TOLERANCE].max()))
            rows, flipped = rows + len(t), flipped + off
    print(f"{rows - flipped} of {rows} rows within {worst:.2g}, {flipped} with another selection")


if __name__ == "__main__":
    main()
