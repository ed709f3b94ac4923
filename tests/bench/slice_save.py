#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Prune a checkpoint the usual way: shard by shard, tensor by tensor, slice, rename, save.

    slice_save.py SOURCE KEEP_MAP OUTPUT

A yardstick for bench_prune.sh. Reads and writes with the safetensors package; neither hashes nor
syncs. KEEP_MAP is the short form, {"3": [0, 2, ...]}; later MoE layers take the last list.
"""
import json
import pathlib
import re
import shutil
import sys

import ml_dtypes  # noqa: F401  teaches numpy the name "bfloat16"
from safetensors import safe_open
from safetensors.numpy import save_file

EXPERT = re.compile(r"^(model\.layers\.)(\d+)(\.mlp\.experts\.)(\d+)(\..*)$")
ROUTER = re.compile(r"^model\.layers\.(\d+)\.mlp\.gate\.")


def main():
    source, keep_map, output = map(pathlib.Path, sys.argv[1:])
    kept = {int(layer): ids for layer, ids in json.loads(keep_map.read_text()).items()}
    last = kept[max(kept)]
    new_id = {layer: {old: new for new, old in enumerate(ids)} for layer, ids in kept.items()}
    last_id = {old: new for new, old in enumerate(last)}
    output.mkdir()
    weight_map = {}
    total = 0
    for path in sorted(source.glob("*.safetensors")):
        tensors = {}
        with safe_open(path, framework="numpy") as shard:
            for name in shard.keys():
                expert, router = EXPERT.match(name), ROUTER.match(name)
                if expert:
                    ids = new_id.get(int(expert[2]), last_id)
                    if int(expert[4]) not in ids:
                        continue
                    new = f"{expert[1]}{expert[2]}{expert[3]}{ids[int(expert[4])]}{expert[5]}"
                    tensors[new] = shard.get_tensor(name)
                elif router:
                    tensors[name] = shard.get_tensor(name)[kept.get(int(router[1]), last)]
                else:
                    tensors[name] = shard.get_tensor(name)
        save_file(tensors, output / path.name, metadata={"format": "pt"})
        for name, tensor in tensors.items():
            weight_map[name] = path.name
            total += tensor.nbytes
    for path in source.iterdir():
        if path.suffix != ".safetensors" and path.name != "model.safetensors.index.json":
            shutil.copy(path, output / path.name)
    config = json.loads((source / "config.json").read_text())
    config["n_routed_experts"] = len(last)
    (output / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (output / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
