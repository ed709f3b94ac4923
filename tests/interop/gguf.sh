# SPDX-License-Identifier: MIT
# GGUF files of the nano, read by gguf-py and run by llama.cpp (llama-cpp-python builds it, which
# takes minutes the first time).
. tests/interop/venv.sh
peer_venv gguf gguf==0.19.0 numpy
GGUF_PY=$PY
. tests/cli/lib.sh

ladder='-t BF16 -t F16 -t Q8_0 -t Q6_K -t Q5_K_M -t Q5_K_S -t Q5_1 -t Q5_0 -t Q4_K_M -t Q4_K_S
  -t Q4_1 -t Q4_0 -t IQ4_NL -t IQ4_XS -t Q3_K_L -t Q3_K_M -t Q3_K_S -t Q2_K -t Q2_K_S'
# shellcheck disable=SC2086 # a list of options
run make-gguf "$DATA/glm-nano" -q $ladder "$T/all"
expect_exit 0
run make-gguf "$DATA/glm-nano" -q -t Q8_0 -t family:Q4_K_M --split-max-size 4M "$T/parts"
run make-gguf "$DATA/glm-nano" -q -t Q4_K_M --no-mtp --strict-parity "$T/trunk"

read_all() # FOLDER
{
    for f in "$1"/*.gguf; do
        "$GGUF_PY" tests/interop/gguf_read.py "$f" "$T/all/glm-nano-BF16.gguf" >"$T/said" 2>&1 ||
            complain "${f##*/}: $(tail -n 3 "$T/said")"
        sed 's/^/# /' "$T/said"
    done
}

begin 'gguf-py reads every rung, and its values are near the model'
read_all "$T/all"
begin 'gguf-py reads every part'
read_all "$T/parts"
begin 'gguf-py reads the importance matrices'
run prep-inspect merge-imatrix "$T/sum.gguf" "$DATA/gguf/nano-imatrix-16.gguf" \
    "$DATA/gguf/nano-imatrix-16.gguf"
"$GGUF_PY" tests/interop/gguf_read.py "$T/sum.gguf" >"$T/said" 2>&1 || complain "$(cat "$T/said")"

begin 'llama.cpp loads every rung and its logits are near those of BF16'
(
    . tests/interop/venv.sh
    peer_venv llama llama-cpp-python==0.3.36 numpy
    echo "$PY" >"$T/llama"
)
if [ -e "$T/llama" ]; then
    PY=$(cat "$T/llama")
    for f in "$T"/all/*.gguf "$T"/trunk/*.gguf "$T"/parts/*-00001-of-*.gguf; do
        "$PY" tests/interop/gguf_run.py "$f" "$T/all/glm-nano-BF16.gguf" >"$T/said" 2>&1 ||
            complain "${f##*/}: $(tail -n 3 "$T/said")"
        grep '^logits' "$T/said" | sed "s/^/# ${f##*/}: /"
    done
fi
