#!/bin/sh
# SPDX-License-Identifier: MIT
# Opening a checkpoint (strict parse, checks, table) against Python's json on the same texts.
#
#   sh tests/bench/bench_json.sh
#
# Index and headers of a GLM-5.1-shaped checkpoint, warm; both on one processor. Ours reads the
# files as well, Python is given the texts.
set -eu
bench=$(dirname "${PREP_BIN:-build/release/bin}")/tests/bench
dir=${BENCH_DIR:-build/bench}/json.$$
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 75' INT TERM

"$bench/bench_open" -j 1 -n 1 -k "$dir/checkpoint" >/dev/null
for _ in 1 2 3 4 5; do
    "$bench/bench_open" -j 1 -n 9 -k "$dir/checkpoint" | sed 's/^/ours: /'
    taskset -c 0 python3 tests/bench/json_peer.py "$dir/checkpoint" 2>&1 | sed 's/^/python3 json: /'
done | awk '
{
    for (i = 1; i < NF; i++)
        if ($i == "median")
            ms[$1, ++n[$1]] = $(i + 1)
    last[$1] = $0
}
function median(who,  i, k, m)
{
    for (i = 1; i <= n[who]; i++) {
        m = ms[who, i]
        for (k = i - 1; k > 0 && sorted[k] > m; k--)
            sorted[k + 1] = sorted[k]
        sorted[k + 1] = m
    }
    return sorted[int((n[who] + 1) / 2)]
}
END {
    print last["ours:"]
    print last["python3"]
    if (!n["python3"])
        exit
    ours = median("ours:")
    python = median("python3")
    printf "medians of 5 rounds: %.1f ms, Python %.1f ms\n", ours, python
    printf "%-46s %5.2f  goal %.2f  %s\n", "open, one thread / Python json", ours / python, 0.6,
        ours / python <= 0.6 ? "reached" : "MISSED"
}'
