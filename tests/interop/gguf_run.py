# SPDX-License-Identifier: MIT
"""Mean nats per token that llama.cpp gives the windows of a JSON file, for each GGUF file.

usage: gguf_run.py WINDOWS.json N CACHES FILE.gguf...      lines: FILE NATS; CACHES: f16 or f32

llama.cpp comes inside the wheel of xllamacpp, which exports its C functions. Parameter structs are
opaque: the library fills them, and a few words of the context's are set whose defaults tell that
they are where they are looked for: n_ctx, n_batch, n_ubatch, n_seq_max; the threads, one, because
sums and with them near ties depend on their number; the types of the caches.
"""
import ctypes
import importlib.util
import json
import math
import pathlib
import sys

import numpy as np


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
            ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
            ("llama_free", None, [pointer]),
            ("llama_model_free", None, [pointer])):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    lib.llama_log_set(ignore, None)
    lib.llama_backend_init()
    return lib


N_THREADS, THREADS_AT = 4, (7, 8)  # defaults of ggml
F32, F16, CACHES_AT = 0, 1, (26, 27)


def context_params(lib, window, caches):
    params = lib.llama_context_default_params()
    if any(params.words[i] != N_THREADS for i in THREADS_AT) or \
            any(params.words[i] != F16 for i in CACHES_AT):
        sys.exit("llama_context_params is another struct than this script knows")
    params.words[0:4] = [window, window, window, 1]
    for i in THREADS_AT:
        params.words[i] = 1
    for i in CACHES_AT:
        params.words[i] = F32 if caches == "f32" else F16
    return params


def nats(lib, context, window, vocab):
    n = len(window)
    batch = lib.llama_batch_init(n, 0, 1)
    batch.n_tokens = n
    for i, token in enumerate(window):
        batch.token[i], batch.pos[i], batch.n_seq_id[i] = token, i, 1
        batch.seq_id[i][0], batch.logits[i] = 0, 1
    lib.llama_memory_clear(lib.llama_get_memory(context), True)
    if lib.llama_decode(context, batch):
        sys.exit("llama_decode failed")
    z = np.ctypeslib.as_array(lib.llama_get_logits(context), (n, vocab)).astype(np.float64)[:-1]
    top = z.max(1)
    lse = top + np.log(np.exp(z - top[:, None]).sum(1))
    return float((lse - z[np.arange(n - 1), window[1:]]).mean())


def main():
    windows = json.load(open(sys.argv[1]))["evaluation"]["tokens"]
    take, vocab = int(sys.argv[2]), 2048
    windows = [windows[i * len(windows) // take] for i in range(take)]
    lib = library()
    for path in sys.argv[4:]:
        model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not model:
            sys.exit(f"{path}: not loaded")
        context = lib.llama_init_from_model(
            model, context_params(lib, len(windows[0]), sys.argv[3]))
        if not context:
            sys.exit(f"{path}: no context")
        mean = math.fsum(nats(lib, context, w, vocab) for w in windows) / take
        print(f"{pathlib.Path(path).name} {mean:.6f}", flush=True)
        lib.llama_free(context)
        lib.llama_model_free(model)


if __name__ == "__main__":
    main()
