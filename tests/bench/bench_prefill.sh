#!/bin/sh
# SPDX-License-Identifier: MIT
# Tokens per second of the forward pass of the nano model, beside transformers and llama.cpp.
#
#   sh tests/bench/bench_prefill.sh [ROUNDS [PASSES]]
#
# The programs take turns, ROUNDS (3) times for one thread on one processor, then for two; each
# makes PASSES (2) passes after one that does not count. Per program the best counts, in time that
# went by and in processor time: on a busy machine the latter tells what a program costs, while two
# threads that wait for each other are told by the former only. llama.cpp gets a file of F16 and one
# of BF16 that make-gguf wrote.
set -eu
rounds=${1:-3} passes=${2:-2}
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench
N=${PREP_TEST_DATA:-build/data}/glm-nano
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 75' INT TERM

. tests/interop/venv.sh
# A peer that cannot be had is left out: peer_venv ends the shell it is called in.
python() # NAME PACKAGE...
{
    (peer_venv "$@" && echo "$PY" >"$T/python.$1")
    [ ! -e "$T/python.$1" ] || cat "$T/python.$1" >"$T/$1"
}
python transformers torch transformers safetensors numpy
python xllamacpp xllamacpp numpy
[ ! -e "$T/xllamacpp" ] || "$bin/make-gguf" "$N" -q -t F16 -t BF16 "$T/gguf"

complain()
{
    tail -n 3 "$T/why" >&2
    exit 70
}

turn() # CPUS THREADS
{
    taskset -c "$1" "$bench/bench_prefill" "$N" "$2" "$passes"
    [ ! -e "$T/transformers" ] ||
        taskset -c "$1" "$(cat "$T/transformers")" tests/bench/peer_prefill.py "$N" "$2" "$passes" 2>"$T/why" || complain
    [ ! -e "$T/xllamacpp" ] || for f in "$T"/gguf/*.gguf; do
        taskset -c "$1" "$(cat "$T/xllamacpp")" tests/bench/peer_llama.py "$f" "$2" "$passes" 2>"$T/why" || complain
    done
}

echo "prefill, glm-nano, 8 x 512 tokens; $(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
for _ in $(seq "$rounds"); do
    turn 0 1
    turn 0,1 2
done >"$T/all"
awk '
{
    key = $1 " " $2
    if (!(key in wall))
        keys[++n] = key
    wall[key] = $3 > wall[key] ? $3 : wall[key]
    cpu[key] = $4 > cpu[key] ? $4 : cpu[key]
}
END {
    for (i = 1; i <= n; i++) {
        split(keys[i], k)
        mine = "ours " k[2]
        printf "%-17s %d threads: %6d tokens/s, %6d per processor second", k[1], k[2], wall[keys[i]], cpu[keys[i]]
        if (k[1] != "ours")
            printf "; ours / theirs %5.2f and %5.2f", wall[mine] / wall[keys[i]], cpu[mine] / cpu[keys[i]]
        if (k[1] == "transformers-F32" && k[2] == 1)
            printf cpu[mine] / cpu[keys[i]] >= 3 ? "  goal 3 reached" : "  goal 3 MISSED"
        print ""
    }
}' "$T/all"
