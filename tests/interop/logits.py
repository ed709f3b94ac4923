# SPDX-License-Identifier: MIT
"""Logits of transformers, in float32, against a reference that verify-run saved.

usage: logits.py PLAIN REFERENCE.safetensors [DECODED.safetensors]      exit 1 when they differ

PLAIN is the unquantized checkpoint; with DECODED (tests/tools/decode) its weights are replaced by
the numbers behind the codes. The library leaves the order of equal scores open; here the lower
position or expert wins, as with us. A near tie still falls as the last bit has it, and later rows
attend to the row where it does: from the first row on whose scores are as near as TIE at the border
of what is chosen, a sequence may differ. Few sequences of a set do.
"""
import re
import sys

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

TOLERANCE = 2e-4  # of a logit
TIE = 1e-5  # of a score
FLIPPED = 2  # sequences that a near tie may change

gaps = []  # of every choice of a forward pass: [rows]


def stable_topk(x, k, dim=-1, largest=True, sorted=True):
    values, indices = torch.sort(x, dim=dim, descending=largest, stable=True)
    if k < x.shape[-1]:
        gaps.append((values[..., k - 1] - values[..., k]).reshape(-1))
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


def near_ties(n):
    near = torch.zeros(n, dtype=torch.bool)
    for gap in gaps:
        near |= (gap > 0) & (gap < TIE)
    gaps.clear()
    return near


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
            near = near_ties(len(t))
            error = (got - w).abs().amax(1)
            off = (error > TOLERANCE).nonzero().flatten()
            first = int(off[0]) if len(off) else len(t)
            if first < len(t) and not near[first]:
                sys.exit(f"row {first} differs by {error[first]:.2g}, and there is no near tie")
            worst = max(worst, float(error[:first].max()))
            rows, flipped = rows + first, flipped + (first < len(t))
    if flipped > FLIPPED:
        sys.exit(f"{flipped} of {len(tokens)} sequences differ from a near tie on")
    print(f"{rows} of {tokens.numel()} rows within {worst:.2g}; "
          f"{flipped} of {len(tokens)} sequences end at a near tie")


if __name__ == "__main__":
    main()
