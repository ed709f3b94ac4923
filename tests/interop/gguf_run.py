# SPDX-License-Identifier: MIT
"""Load a GGUF file with llama.cpp and compare its logits with those of another one."""
import sys

import numpy as np
from llama_cpp import Llama

TEXT = b"The answer is written down once, and read many times. int main(void) { return 0; }"


def logits(path):
    model = Llama(model_path=path, n_ctx=256, logits_all=True, verbose=False, n_threads=2)
    tokens = model.tokenize(TEXT, add_bos=False, special=False)
    model.eval(tokens)
    out = np.array(model.scores[: len(tokens)], dtype=np.float64)
    model.close()
    return out


def main():
    a, b = logits(sys.argv[1]), logits(sys.argv[2])
    assert a.shape == b.shape and np.isfinite(a).all()
    error = float(np.linalg.norm(a - b) / np.linalg.norm(b))
    same = float((a.argmax(1) == b.argmax(1)).mean())
    print(f"logits: {len(a)} positions, relative difference {error:.4f}, same first choice {same:.2f}")
    assert error < 0.6, error


main()
