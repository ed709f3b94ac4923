#!/bin/sh
# SPDX-License-Identifier: MIT
# reap-prune against copying its output, and against the usual Python script.
#
#   sh tests/bench/bench_prune.sh [GIGABYTES [RUNS]]
#
# Makes a checkpoint of GIGABYTES (5) in $BENCH_DIR (build/bench), drops a quarter of its experts
# RUNS (3) times in every way, one way after the other in each round so that a change of the
# machine's mood meets all of them, and prints medians, extremes and ratios. Needs three times
# that room; nothing is left behind. $PREP_BIN holds the tools.
#
# What the machine can do at best is measured along: the bytes through dd with direct I/O, and
# SHA-256 on two threads. The source is in the page cache for everybody. Every output is a new folder and on the disk when
# the clock stops: reap-prune syncs what it writes, the others are followed by sync -f.
set -eu
gigabytes=${1:-${BENCH_GIGABYTES:-5}} runs=${2:-${BENCH_RUNS:-3}}
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench
dir=${BENCH_DIR:-build/bench}/prune.$$
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 75' INT TERM

timed() # NAME COMMAND...
{
    times=$dir/$1.times
    shift
    "$bench/run_timed" "$times" "$@"
}

prune() # NAME FOLDER OPTION...
{
    name=$1 out=$2
    shift 2
    timed "$name" "$bin/reap-prune" -q "$@" --keep-map "$dir/source.keep.json" "$dir/source" \
        "$out" >"$dir/log" 2>&1 || {
        cat "$dir/log" >&2
        exit 1
    }
}

"$bench/make_checkpoint" "$dir/source" "$gigabytes"
prune first "$dir/finished"
cat "$dir"/source/* >/dev/null
bytes=$(du -sb "$dir/finished" | cut -f 1)
echo "source $(du -sb "$dir/source" | cut -f 1) bytes, output $bytes bytes, $runs runs"

python=$(sh tests/bench/venv.sh 2>"$dir/venv.log") || {
    python=
    echo "no Python yardstick: $(tail -n 1 "$dir/venv.log")"
}

export dir
round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    sync -f "$dir"
    prune hashes "$dir/out"
    rm -rf "$dir/out"
    sync -f "$dir"
    prune plain "$dir/out" --no-hashes
    rm -rf "$dir/out"
    cat "$dir"/finished/*.safetensors >/dev/null
    sync -f "$dir"
    timed copy sh -c 'cp -r "$dir/finished" "$dir/out" && sync -f "$dir/out"'
    rm -rf "$dir/out"
    timed disk dd if=/dev/zero of="$dir/out" bs=8M count="$bytes" iflag=count_bytes \
        oflag=direct conv=fdatasync 2>/dev/null || rm -f "$dir/disk.times" # no direct I/O here
    rm -f "$dir/out"
    [ -n "$python" ] || continue
    sync -f "$dir"
    timed script sh -c '"$0" tests/bench/slice_save.py "$dir/source" "$dir/source.keep.json" \
        "$dir/out" && sync -f "$dir/out"' "$python"
    rm -rf "$dir/out"
done

# Columns of *.times: wall, user, system, peak RSS in KiB.
sha=$("$bench/bench_hash" | sed -n 's/^SHA-256 .* thread, \([0-9.]*\) on two.*/\1/p')
for way in hashes plain copy script disk; do
    [ ! -e "$dir/$way.times" ] || sort -n "$dir/$way.times" | sed "s/^/$way /"
done | awk -v bytes="$bytes" -v sha="$sha" '
{
    n[$1]++
    wall[$1, n[$1]] = $2
    cpu[$1, n[$1]] = $3 + $4
    if ($5 > rss[$1])
        rss[$1] = $5
}
function row(way, text,  m)
{
    if (!n[way])
        return
    m = int((n[way] + 1) / 2)
    median[way] = wall[way, m]
    printf "%-34s %7.2f s (%.2f to %.2f)  %5.2f GB/s  %6.2f s CPU  %5.0f MB peak\n", text,
        wall[way, m], wall[way, 1], wall[way, n[way]], bytes / wall[way, m] / 1e9, cpu[way, m],
        rss[way] * 1024 / 1e6
}
function ratio(text, have, goal)
{
    printf "%-46s %5.2f  goal %.2f  %s\n", text, have, goal, have <= goal ? "reached" : "MISSED"
}
END {
    row("hashes", "reap-prune, SHA-256 + XXH3-128")
    row("plain", "reap-prune --no-hashes")
    row("copy", "cp -r of the output, sync")
    row("script", "Python slice and save, sync")
    row("disk", "dd of zeros, direct I/O")
    printf "%-34s %7.2f s\n", "SHA-256 alone, two threads", bytes / sha / 1e9
    ratio("reap-prune / cp -r + sync", median["hashes"] / median["copy"], 0.6)
    ratio("reap-prune --no-hashes / cp -r + sync", median["plain"] / median["copy"], 0.6)
    if (n["script"]) {
        ratio("reap-prune / Python script + sync", median["hashes"] / median["script"], 0.25)
        ratio("reap-prune --no-hashes / Python script + sync", median["plain"] / median["script"], 0.25)
    }
    ratio("reap-prune / reap-prune --no-hashes", median["hashes"] / median["plain"], 1.9)
    floor = bytes / sha / 1e9
    if (median["disk"] > floor)
        floor = median["disk"]
    if (n["disk"])
        ratio("reap-prune / the slower of dd and SHA-256", median["hashes"] / floor, 1.25)
    ratio("peak RSS / 128 MB", rss["hashes"] * 1024 / 128e6, 1)
}'
