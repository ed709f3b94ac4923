#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Time the tokenizers package on the texts of FILE.jsonl: tokenizers_peer.py TOKENIZER FILE [N]."""
import json
import statistics
import sys
import time

from tokenizers import Tokenizer


def rate(what, size, times):
    print(f"{what}: median {size * 1e-6 / statistics.median(times):.1f} MB/s, "
          f"best {size * 1e-6 / min(times):.1f} MB/s of {len(times)}")


def main():
    with open(sys.argv[2], encoding="utf-8") as f:
        texts = [json.loads(line)["text"] for line in f]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    size = sum(len(t.encode()) for t in texts)
    times, opened, ids = [], [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        tokenizer = Tokenizer.from_file(sys.argv[1])
        opened.append(time.perf_counter() - begin)
        begin = time.perf_counter()
        ids = [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        times.append(time.perf_counter() - begin)
    print(f"{len(texts)} texts, {size} bytes, {sum(map(len, ids))} tokens; "
          f"opened in {statistics.median(opened) * 1e3:.1f} ms")
    rate("encode", size, times)
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        tokenizer.decode_batch(ids, skip_special_tokens=False)
        times.append(time.perf_counter() - begin)
    rate("decode", size, times)


if __name__ == "__main__":
    main()
