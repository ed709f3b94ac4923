#!/bin/sh
# SPDX-License-Identifier: MIT
# Tokens per second of the forward pass of the nano model, beside transformers, in one run.
#
#   sh tests/bench/bench_prefill.sh
set -eu
bench=$(dirname "${PREP_BIN:-build/release/bin}")/tests/bench
N=${PREP_TEST_DATA:-build/data}/glm-nano
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 75' INT TERM

echo "prefill, glm-nano, 8 x 512 tokens; $(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
for threads in 1 2; do
    "$bench/bench_prefill" "$N" $threads
done | tee "$T/ours" | sed 's/$/ tokens\/s/'
. tests/interop/venv.sh
peer_venv transformers torch transformers safetensors numpy
"$PY" tests/bench/peer_prefill.py "$N" 2>/dev/null >"$T/peer"
awk '
FNR == NR { ours[$2] = $3; next }
{
    ratio = ours[$2] / $3
    note = $1 == "F32" ? (ratio >= 3 ? "  goal 3 reached" : "  goal 3 MISSED") : ""
    printf "transformers %-4s %d threads: %6d tokens/s, ours / theirs %5.2f%s\n", $1, $2, $3, ratio, note
}' "$T/ours" "$T/peer"
