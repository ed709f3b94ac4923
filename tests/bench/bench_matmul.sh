#!/bin/sh
# SPDX-License-Identifier: MIT
# The matrix product beside the rate of multiply-adds, OpenBLAS and torch, in one run.
#
#   sh tests/bench/bench_matmul.sh [SECONDS]
#
# torch multiplies activations of the type of the weights; ours are F32 always.
set -eu
seconds=${1:-${BENCH_SECONDS:-0.5}}
bench=$(dirname "${PREP_BIN:-build/release/bin}")/tests/bench
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 75' INT TERM

grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
"$bench/bench_matmul" -s "$seconds" >"$T/ours"
cat "$T/ours"
. tests/interop/venv.sh
peer_venv transformers torch transformers safetensors numpy
OMP_WAIT_POLICY=passive "$PY" tests/bench/peer_matmul.py "$seconds" >"$T/peer"

# Lines of ours: SHAPE (4 words) WHO RATE GFLOP/s ... 2 threads RATE GFLOP/s; a later level is faster.
awk '
FNR == NR {
    if ($7 == "GFLOP/s" && $5 != "openblas") {
        shape = $1 " " $2 " " $3 " " $4
        ours[shape, 1] = $6
        ours[shape, 2] = $(NF - 1)
    }
    next
}
{
    shape = $1 " " $2 " " $3 " " $4
    ratio = ours[shape, $5] / $6
    note = ""
    if (shape == "prefill 516x2048x6144 nt F32")
        note = ratio >= 1.7 ? "  goal 1.7 reached" : "  goal 1.7 MISSED"
    printf "%-34s %d threads: torch %7.1f GFLOP/s, ours / torch %5.2f%s\n", shape, $5, $6, ratio, note
}' "$T/ours" "$T/peer"
