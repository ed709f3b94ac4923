#!/bin/sh
# SPDX-License-Identifier: MIT
# The ggml block kernels beside ggml's own quantizers, on the same tensor in one run.
#
#   sh tests/bench/bench_ggml.sh [SECONDS [TYPE...]]
#
# PREP_GGML_LIBRARY names the peer's libggml-base.so; without it a scratch environment is asked, and
# where that cannot be had the kernels are measured alone.
set -eu
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench/bench_ggml

grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
library=$(. tests/interop/venv.sh && peer_ggml >&2 && echo "$PREP_GGML_LIBRARY") || library=
if [ -n "$library" ]; then
    PREP_GGML_LIBRARY=$library "$bench" "$@"
else
    unset PREP_GGML_LIBRARY
    "$bench" "$@"
fi
