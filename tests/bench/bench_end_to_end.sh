#!/bin/sh
# SPDX-License-Identifier: MIT
# quantize-nvfp4 against reap-prune copying the same source bytes.
#
#   sh tests/bench/bench_end_to_end.sh [GIGABYTES [RUNS]]
#
# Makes a checkpoint of GIGABYTES (5) in $BENCH_DIR (build/bench); RUNS (3) times it is copied by
# reap-prune with a keep-map that keeps every expert, and quantized with the default modules (routed
# experts, the MTP layer stays BF16), one after the other so that a change of the machine's mood meets
# both. Prints medians, extremes and the ratio. Needs twice that room; nothing is left behind.
# $PREP_BIN holds the tools.
#
# The source is in the page cache for both; both hash and sync what they write. What they write
# differs: that is the point of quantizing.
set -eu
gigabytes=${1:-${BENCH_GIGABYTES:-5}} runs=${2:-${BENCH_RUNS:-3}}
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench
dir=${BENCH_DIR:-build/bench}/end_to_end.$$
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 75' INT TERM

timed() # NAME TOOL ARGUMENT...
{
    times=$dir/$1.times tool=$bin/$2
    shift 2
    sync -f "$dir"
    "$bench/run_timed" "$times" "$tool" -q "$@" "$dir/source" "$dir/out" >"$dir/log" 2>&1 || {
        cat "$dir/log" >&2
        exit 1
    }
    wrote=$(du -sb "$dir/out" | cut -f 1)
    rm -rf "$dir/out"
}

"$bench/make_checkpoint" "$dir/source" "$gigabytes"
experts=$(sed -n 's/.*"n_routed_experts": \([0-9]*\).*/\1/p' "$dir/source/config.json")
all=$(seq -s , 0 $((experts - 1)))
printf '{"1": [%s], "2": [%s], "3": [%s]}\n' "$all" "$all" "$all" >"$dir/all.json"
cat "$dir"/source/* >/dev/null
bytes=$(du -sb "$dir/source" | cut -f 1)
grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg), source $bytes bytes, $runs runs"

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    timed copy reap-prune --keep-map "$dir/all.json"
    copied=$wrote
    timed max quantize-nvfp4
    quantized=$wrote
    timed four-over-six quantize-nvfp4 --scales four-over-six
    timed sweep quantize-nvfp4 --scales sweep
done
echo "written: $copied bytes copied, $quantized quantized"

# Columns of *.times: wall, user, system, peak RSS in KiB.
for way in copy max four-over-six sweep; do
    sort -n "$dir/$way.times" | sed "s/^/$way /"
done | awk -v bytes="$bytes" '
{
    n[$1]++
    wall[$1, n[$1]] = $2
    cpu[$1, n[$1]] = $3 + $4
    if ($5 > rss[$1])
        rss[$1] = $5
}
function row(way, text,  m)
{
    m = int((n[way] + 1) / 2)
    median[way] = wall[way, m]
    printf "%-34s %7.2f s (%.2f to %.2f)  %5.2f GB/s  %6.2f s CPU  %5.0f MB peak\n", text,
        wall[way, m], wall[way, 1], wall[way, n[way]], bytes / wall[way, m] / 1e9, cpu[way, m],
        rss[way] * 1024 / 1e6
}
END {
    row("copy", "reap-prune keeping every expert")
    row("max", "quantize-nvfp4")
    row("four-over-six", "quantize-nvfp4 four-over-six")
    row("sweep", "quantize-nvfp4 sweep")
    ratio = median["max"] / median["copy"]
    printf "%-46s %5.2f  goal 1.25  %s\n", "quantize-nvfp4 / reap-prune", ratio,
        (ratio <= 1.25 ? "reached" : "MISSED")
}'
