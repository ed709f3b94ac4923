# SPDX-License-Identifier: MIT
"""Tokens per second of llama.cpp's greedy generation, as bench_decode measures ours.

    peer_decode_llama.py FILE.gguf

Lines: llama.cpp THREADS TEXTS TOKENS/S CPU-MICROSECONDS/TOKEN: the lower decile of steps of five runs after one
to warm up, and the processor time of the best run. Prompts of 32 tokens, 128 new ones each, all
texts in one batch, keys in F16.
"""
import pathlib
import statistics
import sys
import time

import ctypes
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "interop"))
import gguf_run  # noqa: E402

PROMPT, NEW, VOCAB, RUNS = 32, 128, 2048, 6


def fill(batch, tokens, positions, sequences, wanted):
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, positions[i], 1
        batch.seq_id[i][0], batch.logits[i] = sequences[i], wanted[i]


def choices(lib, context, n):
    z = np.ctypeslib.as_array(lib.llama_get_logits(context), (n, VOCAB))
    return z.argmax(1).tolist()


def run(lib, context, prompts):
    n = len(prompts)
    batch = lib.llama_batch_init(n * PROMPT, 0, 1)
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    fill(batch, [t for p in prompts for t in p], [i for _ in prompts for i in range(PROMPT)],
         [s for s in range(n) for _ in range(PROMPT)],
         [int(i == PROMPT - 1) for _ in prompts for i in range(PROMPT)])
    if lib.llama_decode(context, batch):
        sys.exit("llama_decode failed")
    tokens = choices(lib, context, n)
    steps, last, cpu = [], time.perf_counter(), time.process_time()
    for i in range(NEW - 1):
        fill(batch, tokens, [PROMPT + i] * n, range(n), [1] * n)
        if lib.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        tokens = choices(lib, context, n)
        now = time.perf_counter()
        steps.append(now - last)
        last = now
    return steps, time.process_time() - cpu


def main():
    lib = gguf_run.library()
    lib.llama_set_n_threads.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
    lib.llama_set_n_threads.restype = None
    model = lib.llama_model_load_from_file(sys.argv[1].encode(), lib.llama_model_default_params())
    rng = np.random.default_rng(1)
    for texts in (1, 8):
        params = lib.llama_context_default_params()
        params.words[0:4] = [512 * texts, 512, 512, texts]
        context = lib.llama_init_from_model(model, params)
        if not context:
            sys.exit("no context")
        prompts = rng.integers(0, VOCAB, (texts, PROMPT)).tolist()
        for threads in (1, 2):
            lib.llama_set_n_threads(context, threads, threads)
            runs = [run(lib, context, prompts) for _ in range(RUNS)][1:]
            step = statistics.quantiles((s for steps, cpu in runs for s in steps), n=10)[0]
            cpu = min(cpu for steps, cpu in runs) / texts / (NEW - 1)
            print(f"llama.cpp {threads} {texts} {texts / step:.0f} {1e6 * cpu:.0f}", flush=True)
        lib.llama_free(context)


main()
