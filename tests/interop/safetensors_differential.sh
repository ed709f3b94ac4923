# SPDX-License-Identifier: MIT
# Random safetensors headers and JSON texts: read by us and by the safetensors package and Python's
# json. PREP_TEST_SEED repeats a run, PREP_DIFFERENTIAL_FILES makes it longer.
. tests/interop/venv.sh
peer_venv transformers torch transformers safetensors numpy
. tests/cli/lib.sh

tools=${PREP_TEST_TOOLS:-build/release/tests/tools}
seed=${PREP_TEST_SEED:-20250601}
files=${PREP_DIFFERENTIAL_FILES:-2000}

differential() # SCRIPT ARGUMENT...
{
    "$PY" "$@" >"$T/said" 2>&1 || complain "$(tail -n 5 "$T/said")"
    sed 's/^/# /' "$T/said"
}

begin "$files random safetensors files read as the safetensors package reads them"
differential tests/interop/safetensors_differential.py "$PREP_BIN/prep-inspect" "$T" "$seed" \
    "$files"

begin "random JSON texts are accepted and understood as by Python's json"
differential tests/interop/json_differential.py "$tools/json_echo" "$seed" $((files * 50))
