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

"$bench/bench_open" -j 1 -n 9 -k "$dir/checkpoint" >"$dir/ours"
cat "$dir/ours"
if ! taskset -c 0 python3 tests/bench/json_peer.py "$dir/checkpoint" >"$dir/python" 2>&1; then
    echo "no Python yardstick: $(tail -n 1 "$dir/python")"
    exit 0
fi
"$bench/bench_open" -j 1 -n 9 -k "$dir/checkpoint" >>"$dir/ours"
sed 's/^/python3 json: /' "$dir/python"
cat "$dir/ours" "$dir/python" | awk '
{
    for (i = 1; i < NF; i++)
        if ($i == "median")
            ms[NR] = $(i + 1)
}
END {
    ours = (ms[1] + ms[2]) / 2
    printf "%-46s %5.2f  goal %.2f  %s\n", "open, one thread / Python json", ours / ms[3], 0.6,
        ours / ms[3] <= 0.6 ? "reached" : "MISSED"
}'
