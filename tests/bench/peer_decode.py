# SPDX-License-Identifier: MIT
"""Tokens per second of transformers' greedy generation, as bench_decode measures ours.

    peer_decode.py MODEL

Lines: transformers THREADS TEXTS TOKENS/S, the shorter of two runs after one to warm up. F32,
use_cache; prompts of 32 tokens, 64 new ones each.
"""
import sys
import time

import torch
from transformers import AutoModelForCausalLM

PROMPT, NEW, RUNS = 32, 64, 3


def run(model, tokens):
    with torch.no_grad():
        out = model(tokens, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
        begin = time.perf_counter()
        for _ in range(NEW - 1):
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
    return time.perf_counter() - begin


def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    for texts in (1, 8):
        tokens = torch.randint(model.config.vocab_size, (texts, PROMPT))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            least = min([run(model, tokens) for _ in range(RUNS)][1:])
            print(f"transformers {threads} {texts} {texts * (NEW - 1) / least:.0f}", flush=True)


main()
