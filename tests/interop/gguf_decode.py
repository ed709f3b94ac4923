# SPDX-License-Identifier: MIT
"""The same weights in F32: every tensor of a GGUF file decoded by gguf-py, every key as it was.

usage: gguf_decode.py IN.gguf OUT.gguf
"""
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize

KEPT = ("general.architecture", "general.file_type")  # the writer's own


def main():
    reader = GGUFReader(sys.argv[1])
    writer = GGUFWriter(sys.argv[2], reader.fields["general.architecture"].contents())
    writer.add_file_type(0)
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key in KEPT:
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(key, field.contents(), field.types[0], sub_type=inner)
    for t in reader.tensors:
        kind = GGMLQuantizationType(t.tensor_type)
        flat = t.data if kind == GGMLQuantizationType.F32 else dequantize(t.data, kind)
        shape = [int(n) for n in reversed(t.shape)]
        writer.add_tensor(t.name, np.ascontiguousarray(flat, dtype=np.float32).reshape(shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main()
