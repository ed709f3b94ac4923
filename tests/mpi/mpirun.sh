# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# What the tests of several ranks share, on top of tests/cli/lib.sh.
. tests/cli/lib.sh

if ! command -v mpirun >/dev/null 2>&1; then
    skip mpi 'mpirun is not installed'
    exit 0
fi
MPIRUN='mpirun --oversubscribe --bind-to none'
# Containers run tests as root, on few processors, with no other machine to talk to.
[ "$(id -u)" != 0 ] || MPIRUN="$MPIRUN --allow-run-as-root"
export OMPI_MCA_btl_vader_single_copy_mechanism=none OMPI_MCA_rmaps_base_oversubscribe=1
export OMPI_MCA_btl=self,vader OMPI_MCA_plm_rsh_agent=

# mpirun's own words about how the ranks ended are not ours; warnings are in $T/.all.
ranks() # ARGUMENTS OF mpirun...: fills $code, $T/.out and $T/.err
{
    code=0
    timeout 60 $MPIRUN "$@" >"$T/.out" 2>"$T/.all" </dev/null || code=$?
    grep -E '^(verify-run|reap-prune|stitch-mtp|quantize-[a-z0-9]+|prep-plan): ' "$T/.all" |
        grep -v ': warning: ' >"$T/.err" || :
}
