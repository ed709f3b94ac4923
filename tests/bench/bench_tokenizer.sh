#!/bin/sh
# SPDX-License-Identifier: MIT
# Text to ids and back against the tokenizers package, both on one thread of one processor.
#
#   sh tests/bench/bench_tokenizer.sh
#
# The bundled calibration text (ASCII) and the golden strings (all scripts), nano's vocabulary.
set -eu
bench=$(dirname "${PREP_BIN:-build/release/bin}")/tests/bench
data=${PREP_TEST_DATA:-build/data}
dir=${BENCH_DIR:-build/bench}/tokenizer.$$
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 75' INT TERM
. tests/interop/venv.sh
tokenizer=$data/glm-nano/tokenizer.json

for text in text/calibration.jsonl tokenizer/golden.jsonl; do
    taskset -c 0 "$bench/bench_tokenizer" "$tokenizer" "$data/$text" >"$dir/ours"
    sed "s|^|$text: |" "$dir/ours"
    peer_venv tokenizers tokenizers==0.23.3
    taskset -c 0 "$PY" tests/bench/tokenizers_peer.py "$tokenizer" "$data/$text" >"$dir/peer"
    sed "s|^|tokenizers: |" "$dir/peer"
    for what in encode decode; do
        cat "$dir/ours" "$dir/peer" | awk -v what="$what" '
            $1 == what ":" { rate[++n] = $3 }
            END {
                printf "%-46s %5.1f  goal %.1f  %s\n", what ", one thread / tokenizers",
                    rate[1] / rate[2], 1, rate[1] > rate[2] ? "reached" : "MISSED"
            }'
    done
done
