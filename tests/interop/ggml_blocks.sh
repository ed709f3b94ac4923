# SPDX-License-Identifier: MIT
# Our ggml blocks against those of the library that llama-cpp-python brings, on random rows.
. tests/interop/venv.sh
peer_ggml
. tests/cli/lib.sh

begin "every variant makes the blocks that ggml's own library makes"
"$PREP_TEST_TOOLS/ggml_compare" "$PREP_GGML_LIBRARY" 20 >"$T/out" 2>&1 ||
    complain "$(tail -n 20 "$T/out")"
sed 's/^/# /' "$T/out"
