# SPDX-License-Identifier: MIT
"""GB/s at which other packages quantize one BF16 matrix [2048, 6144] to NVFP4 on the CPU.

usage: peer_nvfp4.py SECONDS

Counted are the bytes of the matrix, from weights to packed codes, block scales and global. Each
package for at least SECONDS and three times, the shortest counts; on one thread and on two. One
line each: name, version, threads, GB/s. bench_nvfp4 prints ours.
"""
import sys
import time
from importlib.metadata import version

import torch

ROWS, COLUMNS = 2048, 6144


def modelopt():
    from modelopt.torch.quantization.qtensor import NVFP4QTensor
    return lambda w: NVFP4QTensor.quantize(w, 16)


def compressed_tensors():
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    args = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "symmetric": True,
            "group_size": 16, "scale_dtype": torch.float8_e4m3fn}
    scheme = QuantizationScheme.model_validate({"targets": ["Linear"], "weights": args})
    package = BaseCompressor.get_value_from_registry("nvfp4-pack-quantized")

    def quantize(w):
        low, high = torch.aminmax(w.unflatten(1, (-1, 16)), dim=2)
        g = generate_gparam(low.min(), high.max())
        scale, _ = calculate_qparams(low, high, scheme.weights, g)
        return package.compress({"weight": w, "weight_scale": scale, "weight_global_scale": g},
                                scheme)
    return quantize


def auto_round():
    from auto_round.data_type.nvfp import calculate_gparam, nv_fp4_rtn
    from auto_round.export.export_to_autoround.qlinear_fp import QuantLinear

    def quantize(w):
        g = calculate_gparam(w)
        rounded, scale, _ = nv_fp4_rtn(w, global_scale=g)
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=False, device="meta")
        linear.weight = torch.nn.Parameter(rounded, requires_grad=False)
        packed = QuantLinear(4, 16, COLUMNS, ROWS, False, data_type="nv_fp", act_bits=16)
        packed.pack(linear, scale.reshape(ROWS, -1), global_scale=g, device="cpu")
        return packed
    return quantize


def least_time(quantize, w, seconds):
    times, begin = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        quantize(w)
        times.append(time.perf_counter() - start)
    return min(times)


def main():
    seconds = float(sys.argv[1])
    torch.manual_seed(1)
    w = (torch.randn(ROWS, COLUMNS) * 0.02).to(torch.bfloat16)
    print(f"torch {torch.__version__}", file=sys.stderr)
    peers = (("nvidia-modelopt", modelopt), ("compressed-tensors", compressed_tensors),
             ("auto-round", auto_round))
    for name, make in peers:
        with torch.no_grad():
            quantize = make()
            quantize(w)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                rate = w.nbytes / least_time(quantize, w, seconds) / 1e9
                print(f"{name} {version(name)} {threads} {rate:.5f}", flush=True)


if __name__ == "__main__":
    main()
