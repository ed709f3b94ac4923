#!/bin/sh
# SPDX-License-Identifier: MIT
# Our NVFP4 kernels beside other packages on the CPU, in one run, and the ratios.
#
#   sh tests/bench/bench_peers.sh [SECONDS]
#
# Every rate counts the bytes of BF16 read, from weights to codes, scales and global; ours is the
# pass for the maximum and the pass of the same method, one after the other, at the fastest level of
# this machine. SECONDS (2) is what each peer runs at least.
set -eu
seconds=${1:-${BENCH_SECONDS:-2}}
bin=${PREP_BIN:-build/release/bin}
bench=$(dirname "$bin")/tests/bench
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
trap 'exit 75' INT TERM

grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
"$bench/bench_nvfp4" -m 24 >"$T/ours"
head -n 1 "$T/ours"
. tests/interop/venv.sh
peer_venv_on transformers quantizers nvidia-modelopt compressed-tensors auto-round
"$PY" tests/bench/peer_nvfp4.py "$seconds" >"$T/peers" 2>"$T/log" || {
    tail -n 5 "$T/log" >&2
    exit 1
}

# Lines of ours: METHOD LEVEL X GB/s 2 threads Y ...; a later level is a faster one.
awk '
function both(a, b)
{
    return 1 / (1 / a + 1 / b)
}
FNR == NR {
    if ($4 == "GB/s") {
        rate[$1, 1] = $3
        rate[$1, 2] = $7
    }
    next
}
FNR == 1 {
    method["nvidia-modelopt"] = "max"
    method["compressed-tensors"] = "minmax"
    method["auto-round"] = "rtn"
    printf "\n%-27s %-8s %12s %12s %9s\n", "NVFP4 on the CPU, GB/s", "threads", "peer", "ours", "ratio"
}
{
    ours = both(rate["amax", $3], rate[method[$1], $3])
    note = ours >= 50 * $4 ? "  goal 50 reached" : "  goal 50 MISSED"
    printf "%-27s %-8d %12.4f %12.3f %8.0fx%s\n", $1 " " $2, $3, $4, ours, ours / $4,
        ($1 == "nvidia-modelopt" ? note : "")
}' "$T/ours" "$T/peers"
