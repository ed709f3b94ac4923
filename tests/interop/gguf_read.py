# SPDX-License-Identifier: MIT
"""Read a GGUF file with gguf-py; with a second file, compare the values of shared tensors.

Every type that gguf-py can decode is decoded. The error of a tensor, relative to its norm, must be
that of a type of so many bits.
"""
import sys

import numpy as np
from gguf import GGUFReader, GGMLQuantizationType
from gguf.quants import dequantize

# Bits of a value -> relative error that is not exceeded by ordinary weights.
WORST = {"F32": 0.01, "BF16": 0.01, "F16": 0.001, "Q8_0": 0.02, "Q6_K": 0.04, "Q5_K": 0.08,
         "Q5_1": 0.08, "Q5_0": 0.08, "Q4_K": 0.15, "Q4_1": 0.15, "Q4_0": 0.15, "IQ4_NL": 0.15,
         "IQ4_XS": 0.15, "Q3_K": 0.3, "Q2_K": 0.5}


def values(tensor):
    kind = GGMLQuantizationType(tensor.tensor_type)
    if kind == GGMLQuantizationType.F32:
        return np.asarray(tensor.data, dtype=np.float32)
    return dequantize(tensor.data, kind)


def main():
    reader = GGUFReader(sys.argv[1])
    names = [t.name for t in reader.tensors]
    assert len(names) == len(set(names))
    keys = [k for k in reader.fields if not k.startswith("GGUF.")]
    worst = {}
    if len(sys.argv) > 2:
        other = {t.name: t for t in GGUFReader(sys.argv[2]).tensors}
        for t in reader.tensors:
            kind = GGMLQuantizationType(t.tensor_type).name
            a, b = values(t).ravel(), values(other[t.name]).ravel()
            assert a.shape == b.shape, t.name
            assert list(t.shape) == list(other[t.name].shape), t.name
            norm = float(np.linalg.norm(b.astype(np.float64)))
            error = float(np.linalg.norm((a - b).astype(np.float64))) / norm if norm else 0.0
            assert error <= WORST[kind], f"{t.name}: {kind} is off by {error:.4f}"
            worst[kind] = max(worst.get(kind, 0.0), error)
    said = ", ".join(f"{k} {v:.4f}" for k, v in sorted(worst.items()))
    print(f"{sys.argv[1].rsplit('/', 1)[-1]}: {len(keys)} keys, {len(names)} tensors; {said}")


main()
