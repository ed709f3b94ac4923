#!/bin/sh
# SPDX-License-Identifier: MIT
# Tokens per second of greedy generation by the nano model, beside llama.cpp and transformers, in
# one run: one text and eight, on one thread and two.
#
#   sh tests/bench/bench_decode.sh
set -eu
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench
N=${PREP_TEST_DATA:-build/data}/glm-nano
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 75' INT TERM

echo "decode, glm-nano, greedy; $(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
for texts in 1 8; do
    for threads in 1 2; do
        "$bench/bench_decode" "$N" "$threads" "$texts"
    done
done >"$T/ours"
awk '{ printf "ours         %d threads, %d texts: %6d tokens/s, processor time %6d us each\n", $2, $3, $4, $5 }' \
    "$T/ours"

beside() # FILE
{
    awk '
    FNR == NR { ours[$2, $3] = $4; cpu[$2, $3] = $5; next }
    {
        ratio = ours[$2, $3] / $4
        printf "%-12s %d threads, %d texts: %6d tokens/s, processor time %6d us each: ours / theirs " \
            "%5.2f, by processor time %5.2f%s\n", $1, $2, $3, $4, $5, ratio, $5 / cpu[$2, $3],
            (ratio >= 1 ? "  above" : "  BELOW")
    }' "$T/ours" "$1"
}
"$bin/make-gguf" "$N" -q -t BF16 --no-mtp "$T/gguf" >/dev/null
(
    . tests/interop/venv.sh
    peer_venv xllamacpp xllamacpp numpy
    "$PY" tests/bench/peer_decode_llama.py "$T/gguf/glm-nano-BF16.gguf" >"$T/llama"
    beside "$T/llama"
)
(
    . tests/interop/venv.sh
    peer_venv transformers torch transformers safetensors numpy
    "$PY" tests/bench/peer_decode.py "$N" 2>/dev/null >"$T/transformers"
    beside "$T/transformers"
)
