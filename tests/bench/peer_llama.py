# SPDX-License-Identifier: MIT
"""Tokens per second of llama.cpp's prefill, as bench_prefill measures ours.

    peer_llama.py FILE.gguf THREADS PASSES      line: KIND THREADS TOKENS/S TOKENS/CPU-S

8 sequences of 512 tokens, logits of every token. llama.cpp comes inside the wheel of xllamacpp,
which exports its C functions (tests/interop/gguf_run.py says how). The shortest pass counts, after
one to warm up; of processor time too, which is the process's.
"""
import ctypes
import importlib.util
import pathlib
import sys
import time

import numpy as np

SEQUENCES, LENGTH = 8, 512
TOKENS = SEQUENCES * LENGTH
DEFAULT_THREADS = 4  # in both fields of the context's parameters, behind the first four


class Params(ctypes.Structure):  # larger than either: what is behind their end is not looked at
    _fields_ = [("words", ctypes.c_uint32 * 256)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)),
                ("embd", ctypes.c_void_p), ("pos", ctypes.POINTER(ctypes.c_int32)),
                ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
                ("logits", ctypes.POINTER(ctypes.c_int8))]


LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
ignore = LOG(lambda level, text, arg: None)


def library():
    at = pathlib.Path(importlib.util.find_spec("xllamacpp").origin).parent
    lib = ctypes.CDLL(str(next(at.glob("xllamacpp*.so"))))
    pointer = ctypes.c_void_p
    for name, result, arguments in (
            ("llama_backend_init", None, []),
            ("llama_log_set", None, [LOG, pointer]),
            ("llama_model_default_params", Params, []),
            ("llama_context_default_params", Params, []),
            ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Params]),
            ("llama_init_from_model", pointer, [pointer, Params]),
            ("llama_batch_init", Batch, [ctypes.c_int32] * 3),
            ("llama_decode", ctypes.c_int32, [pointer, Batch]),
            ("llama_get_logits", ctypes.POINTER(ctypes.c_float), [pointer]),
            ("llama_get_memory", pointer, [pointer]),
            ("llama_memory_clear", None, [pointer, ctypes.c_bool])):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_log_set(ignore, None)
    lib.llama_backend_init()
    return lib


def open_context(lib, path, threads):
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    if not model:
        sys.exit(f"{path}: not loaded")
    params = lib.llama_context_default_params()
    at = next(i for i in range(4, 12)
              if list(params.words[i:i + 2]) == [DEFAULT_THREADS, DEFAULT_THREADS])
    params.words[0:4] = [TOKENS, TOKENS, LENGTH, SEQUENCES]
    params.words[at:at + 2] = [threads, threads]
    context = lib.llama_init_from_model(model, params)
    if not context:
        sys.exit(f"{path}: no context")
    return context


def fill(lib, vocab):
    batch = lib.llama_batch_init(TOKENS, 0, 1)
    batch.n_tokens = TOKENS
    tokens = np.random.default_rng(1).integers(vocab, size=TOKENS)
    for i in range(TOKENS):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = int(tokens[i]), i % LENGTH, 1
        batch.seq_id[i][0], batch.logits[i] = i // LENGTH, 1
    return batch


def main():
    path, threads, passes, vocab = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), 2048
    lib = library()
    context = open_context(lib, path, threads)
    batch = fill(lib, vocab)
    wall = cpu = float("inf")
    for i in range(passes + 1):
        lib.llama_memory_clear(lib.llama_get_memory(context), True)
        begin, used = time.perf_counter(), time.process_time()
        if lib.llama_decode(context, batch):
            sys.exit("llama_decode failed")
        z = lib.llama_get_logits(context)  # waits for the last of them
        wall_i, cpu_i = time.perf_counter() - begin, time.process_time() - used
        if not np.isfinite(np.ctypeslib.as_array(z, (TOKENS, vocab))).all():
            sys.exit("logits are not finite")
        if i:
            wall, cpu = min(wall, wall_i), min(cpu, cpu_i)
    kind = "llama.cpp-" + pathlib.Path(path).stem.rsplit("-", 1)[1]
    print(f"{kind} {threads} {TOKENS / wall:.0f} {TOKENS / cpu:.0f}", flush=True)


main()
