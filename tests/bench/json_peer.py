#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Time json.loads of the index and of every shard header of FOLDER (see bench_open -k)."""
import glob
import json
import statistics
import struct
import sys
import time


def texts(folder):
    with open(folder + "/model.safetensors.index.json", "rb") as f:
        yield f.read()
    for path in sorted(glob.glob(folder + "/*.safetensors")):
        with open(path, "rb") as f:
            (length,) = struct.unpack("<Q", f.read(8))
            yield f.read(length)


def main():
    all_texts = list(texts(sys.argv[1]))
    times = []
    for _ in range(9):
        begin = time.perf_counter()
        for text in all_texts:
            json.loads(text)
        times.append(time.perf_counter() - begin)
    size = sum(map(len, all_texts))
    print(f"{len(all_texts)} texts, {size} bytes: median {statistics.median(times) * 1e3:.1f} ms, "
          f"best {min(times) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
