# SPDX-License-Identifier: MIT
"""Loss of a pruned checkpoint against its parent with the dropped experts masked, in float32.

usage: masked_loss.py PARENT PRUNED TOKENS.json      exit 1 when the two differ

A correction bias of -1e9 keeps an expert from ever being selected, which equals removing it.
The library's router product may round differently for 16 and for 12 rows, so where two experts
tie within that rounding a selection can flip: one sequence of the set may differ, slightly.
"""
import json
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

TOLERANCE = 1e-6  # nats per token of one sequence
FLIPPED = 1  # sequences that may hold a flipped selection ...
FLIP_TOLERANCE = 1e-3  # ... and how far they may then be off


def load(path):
    config = AutoConfig.from_pretrained(path)
    # All positions selected: near ties of the sparse selection flip with the order in which the
    # library adds experts, and would hide what is compared here.
    config.index_topk = config.max_position_embeddings
    model, info = AutoModelForCausalLM.from_pretrained(
        path, config=config, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    # The library has no MTP layer; every other tensor must be found and used.
    missing = [k for k in info["missing_keys"]]
    extra = [k for k in info["unexpected_keys"] if ".layers.5." not in k]
    if missing or extra:
        sys.exit(f"{path}: missing {missing[:3]}, unexpected {extra[:3]}")
    return model.eval()


def mask(model, keep_map):
    for layer, entry in keep_map["layers"].items():
        if int(layer) >= model.config.num_hidden_layers:
            continue
        gate = model.model.layers[int(layer)].mlp.gate
        dropped = sorted(set(range(entry["n_parent"])) - set(entry["kept_parent"]))
        with torch.no_grad():
            gate.e_score_correction_bias[dropped] = -1e9


def losses(model, sequences):
    out = []
    with torch.no_grad():
        for ids in sequences:
            t = torch.tensor([ids])
            logits = model(t).logits[0, :-1].double()
            out.append(torch.nn.functional.cross_entropy(logits, t[0, 1:]).item())
    return out


def mean(values, sequences):
    n = [len(s) - 1 for s in sequences]
    return sum(v * k for v, k in zip(values, n)) / sum(n)


def main():
    parent, pruned, tokens = sys.argv[1:]
    data = json.load(open(tokens))
    sequences = data["sequences"] if isinstance(data, dict) else data
    whole = load(parent)
    plain = losses(whole, sequences)
    mask(whole, json.load(open(pruned + "/keep_map.json")))
    masked = losses(whole, sequences)
    cut = losses(load(pruned), sequences)
    off = sorted((abs(a - b) for a, b in zip(masked, cut)), reverse=True)
    print(f"{len(sequences)} sequences: whole {mean(plain, sequences):.6f}, "
          f"masked {mean(masked, sequences):.6f}, pruned {mean(cut, sequences):.6f} nats per token; "
          f"largest differences {off[0]:.1e}, {off[1]:.1e}")
    sys.exit(off[FLIPPED] > TOLERANCE or off[0] > FLIP_TOLERANCE)


main()
