#!/bin/sh
# SPDX-License-Identifier: MIT
# The ggml block kernels beside ggml's own quantizers, on the same tensor in one run.
#
#   sh tests/bench/bench_ggml.sh [SECONDS [TYPE...]]
#
# The peer is libggml-base.so: PREP_GGML_LIBRARY, else that of llama-cpp-python, which pip compiles
# (some minutes, once). Without it the kernels are measured alone.
set -eu
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench/bench_ggml

grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
if [ -z "${PREP_GGML_LIBRARY:-}" ]; then
    PREP_GGML_LIBRARY=$(
        . tests/interop/venv.sh
        peer_venv llama llama-cpp-python >&2
        "$PY" - <<'PYTHON'
import importlib.util, pathlib
at = pathlib.Path(importlib.util.find_spec("llama_cpp").origin).parent
print(next(iter(sorted(at.rglob("libggml-base.so*"))), ""))
PYTHON
    ) || PREP_GGML_LIBRARY=
fi
if [ -n "$PREP_GGML_LIBRARY" ]; then
    export PREP_GGML_LIBRARY
else
    unset PREP_GGML_LIBRARY
    echo "no libggml-base.so: without the peer"
fi
"$bench" "$@"
