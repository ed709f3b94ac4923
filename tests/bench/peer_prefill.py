# SPDX-License-Identifier: MIT
"""Tokens per second of transformers' forward pass, as bench_prefill measures ours.

    peer_prefill.py MODEL

Lines: KIND THREADS TOKENS/S, the shortest of three passes after one to warm up. F32; 8
sequences of 512 tokens in one batch.
"""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

SEQUENCES, LENGTH, PASSES = 8, 512, 4


def main():
    for kind, dtype in (("F32", torch.float32),):
        model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=dtype).eval()
        tokens = torch.randint(model.config.vocab_size, (SEQUENCES, LENGTH))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            least = float("inf")
            for i in range(PASSES):
                begin = time.perf_counter()
                with torch.no_grad():
                    model(tokens, use_cache=False)
                if i:
                    least = min(least, time.perf_counter() - begin)
            print(f"{kind} {threads} {SEQUENCES * LENGTH / least:.0f}", flush=True)


main()
