# SPDX-License-Identifier: MIT
"""Tokens per second of transformers' forward pass, as bench_prefill measures ours.

    peer_prefill.py MODEL THREADS PASSES      line: transformers-F32 THREADS TOKENS/S TOKENS/CPU-S

8 sequences of 512 tokens in one batch, F32. The shortest pass counts, after one to warm up; of
processor time too, which is the process's.
"""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

SEQUENCES, LENGTH = 8, 512
TOKENS = SEQUENCES * LENGTH


def main():
    threads, passes = int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    tokens = torch.randint(model.config.vocab_size, (SEQUENCES, LENGTH))
    wall = cpu = float("inf")
    for i in range(passes + 1):
        begin, used = time.perf_counter(), time.process_time()
        with torch.no_grad():
            model(tokens, use_cache=False)
        if i:
            wall = min(wall, time.perf_counter() - begin)
            cpu = min(cpu, time.process_time() - used)
    print(f"transformers-F32 {threads} {TOKENS / wall:.0f} {TOKENS / cpu:.0f}", flush=True)


main()
