# SPDX-License-Identifier: MIT
"""Tokens per second of transformers' greedy generation, as bench_decode measures ours.

    peer_decode.py MODEL

Lines: transformers THREADS TEXTS TOKENS/S CPU-MICROSECONDS/TOKEN: the lower decile of steps after one
run to warm up. F32, use_cache; prompts of 32 tokens, 48 new ones each.
"""
import statistics
import sys
import time

import torch
from transformers import AutoModelForCausalLM

PROMPT, NEW, RUNS = 32, 48, 2


def run(model, tokens):
    with torch.no_grad():
        out = model(tokens, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
        steps, cpu = [], time.process_time()
        for _ in range(NEW - 1):
            begin = time.perf_counter()
            out = model(token, past_key_values=out.past_key_values, use_cache=True)
            token = out.logits[:, -1:].argmax(-1)
            steps.append(time.perf_counter() - begin)
    return statistics.quantiles(steps, n=10)[0], (time.process_time() - cpu) / (NEW - 1)


def main():
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
    for texts in (1, 8):
        tokens = torch.randint(model.config.vocab_size, (texts, PROMPT))
        for threads in (1, 2):
            torch.set_num_threads(threads)
            step, cpu = [run(model, tokens) for _ in range(RUNS)][-1]
            print(f"transformers {threads} {texts} {texts / step:.0f} {1e6 * cpu / texts:.0f}",
                  flush=True)


main()
