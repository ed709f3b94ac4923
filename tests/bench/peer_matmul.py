# SPDX-License-Identifier: MIT
"""GFLOP/s of torch's matrix product at the shapes of bench_matmul.

    peer_matmul.py [SECONDS]

Lines: SHAPE THREADS GFLOP/s. Time is processor time divided by the threads; the shortest of at
least three runs counts.
"""
import sys
import time

import torch

SHAPES = [
    ("prefill", 516, 2048, 6144, torch.float32),
    ("prefill", 516, 2048, 6144, torch.bfloat16),
    ("decode", 1, 2048, 6144, torch.bfloat16),
    ("decode", 2, 2048, 6144, torch.bfloat16),
    ("decode", 4, 2048, 6144, torch.bfloat16),
    ("decode", 8, 2048, 6144, torch.bfloat16),
    ("batch", 16, 2048, 6144, torch.bfloat16),
    ("batch", 64, 2048, 6144, torch.bfloat16),
    ("nano", 64, 512, 256, torch.bfloat16),
    ("attention", 64, 1024, 576, torch.float32),
    ("attention", 8, 1024, 576, torch.float32),
]


def least(a, b, threads, seconds):
    best, total, runs = float("inf"), 0.0, 0
    while runs < 3 or total < seconds:
        begin = time.process_time()
        torch.nn.functional.linear(a, b)
        taken = (time.process_time() - begin) / threads
        best, total, runs = min(best, taken), total + taken, runs + 1
    return best


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 0.5
    for name, m, n, k, dtype in SHAPES:
        a, b = torch.rand(m, k).to(dtype), torch.rand(n, k).to(dtype)
        kind = "BF16" if dtype == torch.bfloat16 else "F32"
        for threads in (1, 2):
            torch.set_num_threads(threads)
            rate = 2 * m * n * k / least(a, b, threads, seconds) / 1e9
            print(f"{name} {m}x{n}x{k} nt {kind} {threads} {rate:.1f}", flush=True)


main()
