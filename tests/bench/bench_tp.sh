#!/bin/sh
# SPDX-License-Identifier: MIT
# Tensor parallel: layers of full width on 1 rank of 1 thread, and split over 2 ranks of 1 thread.
#
#   sh tests/bench/bench_tp.sh [TOKENS [RUNS]]
#
# RUNS (2) times one after the other, so that a change of the machine's mood meets both; the best of
# each counts. Efficiency is the rate of two ranks over twice the rate of one.
set -eu
bench=$(dirname "${PREP_BIN:-build/release/bin}")/tests/bench
tokens=${1:-64} runs=${2:-2}
if ! command -v mpirun >/dev/null 2>&1; then
    echo "tensor parallel: mpirun is not installed"
    exit 0
fi
export OMPI_MCA_btl=self,vader OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_plm_rsh_agent=
mpi='mpirun --oversubscribe --bind-to none -n 2'
[ "$(id -u)" != 0 ] || mpi="$mpi --allow-run-as-root"

echo "tensor parallel, a dense and a MoE layer of GLM-5.1, $tokens tokens, BF16, 1 thread per rank;" \
    "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg)"
i=0
while [ "$i" -lt "$runs" ]; do
    "$bench/bench_tp" "$tokens" 2
    # shellcheck disable=SC2086 # a list of options
    $mpi "$bench/bench_tp" "$tokens" 2
    i=$((i + 1))
done | awk '
{
    rate[$1] = $2 > rate[$1] ? $2 : rate[$1]
    cpu[$1] = !cpu[$1] || $3 < cpu[$1] ? $3 : cpu[$1]
    held[$1] = $4
}
END {
    for (n = 1; n <= 2; n++)
        printf "%d rank%s %8.2f tokens/s, %7.3f s of the processor each, %6.2f GB of weights each\n",
            n, (n > 1 ? "s" : " "), rate[n], cpu[n], held[n] / 1e9
    printf "efficiency at 2 ranks: %.1f %% by the clock, %.1f %% by processor time\n",
        100 * rate[2] / (2 * rate[1]), 100 * cpu[1] / (2 * cpu[2])
}'
