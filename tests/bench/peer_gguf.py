# SPDX-License-Identifier: MIT
"""llama.cpp's converter and quantizer, as a peer of make-gguf.

usage: peer_gguf.py convert LLAMA_CPP CHECKPOINT OUT.gguf
       peer_gguf.py quantize LIBLLAMA IN.gguf OUT.gguf FILE_TYPE THREADS

The converter stops at a tokenizer which it has no entry for; the entry of GLM-4 is what it gets.
"""
import ctypes
import pathlib
import runpy
import sys


class Params(ctypes.Structure):  # what is behind the first two words stays as the library fills it
    _fields_ = [("n_threads", ctypes.c_int32), ("file_type", ctypes.c_int32),
                ("rest", ctypes.c_uint8 * 256)]


def convert(folder, checkpoint, out):
    sys.path[0:0] = [folder, str(pathlib.Path(folder) / "gguf-py")]
    from conversion.base import TextModel
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "glm4"
    sys.argv = ["convert_hf_to_gguf.py", checkpoint, "--outfile", out, "--outtype", "bf16"]
    runpy.run_path(str(pathlib.Path(folder) / "convert_hf_to_gguf.py"), run_name="__main__")


def quantize(library, source, out, file_type, n_threads):
    lib = ctypes.CDLL(library)
    lib.llama_model_quantize_default_params.restype = Params
    lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
    lib.llama_model_quantize.restype = ctypes.c_uint32
    lib.llama_backend_init()
    params = lib.llama_model_quantize_default_params()
    params.n_threads, params.file_type = int(n_threads), int(file_type)
    if lib.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(params)):
        sys.exit(f"{source}: not quantized")


{"convert": convert, "quantize": quantize}[sys.argv[1]](*sys.argv[2:])
