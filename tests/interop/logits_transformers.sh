# SPDX-License-Identifier: MIT
# transformers computes the logits that verify-run computes: of the nano model, and of what we made
# of it, on its decoded weights.
. tests/interop/venv.sh
peer_venv transformers torch transformers safetensors numpy
. tests/cli/lib.sh

N=$DATA/glm-nano
tools=${PREP_TEST_TOOLS:-build/release/tests/tools}

same_logits() # CHECKPOINT [DECODED]
{
    run verify-run "$1" --windows "$DATA/quality/windows.json" -n 8 -q --save-reference "$T/ref.safetensors"
    expect_exit 0
    shift
    "$PY" tests/interop/logits.py "$N" "$T/ref.safetensors" "$@" >"$T/said" 2>&1 ||
        complain "$(tail -n 5 "$T/said")"
    tail -n 1 "$T/said" | sed 's/^/# /'
    rm -f "$T/ref.safetensors"
}

begin 'the nano model'
same_logits "$N"

while read -r title tool options; do
    begin "$title"
    # shellcheck disable=SC2086 # a list
    run $tool "$N" -q $options "$T/out"
    expect_exit 0
    "$tools/decode" "$T/out" "$T/decoded.safetensors" >/dev/null || complain "cannot decode"
    same_logits "$T/out" "$T/decoded.safetensors"
    rm -rf "$T/out"
done <<'TABLE'
NVFP4-modelopt quantize-nvfp4 --layout modelopt
NVFP4-compressed-tensors-all-linears quantize-nvfp4 --layout compressed-tensors -m linears
W4A16 quantize-gptq
TABLE
