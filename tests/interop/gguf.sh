# SPDX-License-Identifier: MIT
# GGUF files of the nano, read by gguf-py and run by llama.cpp (as the wheel of xllamacpp brings it).
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

# llama.cpp has one epsilon for all norms. Before a product with blocks it rounds the activations to 8
# bits, and near ties of routers and indexers then fall otherwise. Decoded to F32 by gguf-py, with
# caches in F32, the same weights meet activations as they are: what is left is the files' reading.
begin 'llama.cpp runs every rung, and says what verify-run says'
(
    . tests/interop/venv.sh
    peer_venv xllamacpp xllamacpp numpy
    echo "$PY" >"$T/llama"
)
W=$DATA/quality/windows.json

ours() # FILE WINDOWS
{
    run verify-run "$1" --windows "$W" -n "$2" --norm-eps 1e-5 --json
    expect_exit 0
}

# After ours(): the perplexity of a file of the same weights, at most LIMIT away.
theirs() # NAME FILE WINDOWS CACHES LIMIT
{
    "$PY" tests/interop/gguf_run.py "$W" "$3" "$4" "$2" >"$T/said" 2>"$T/why" ||
        complain "$1: $(tail -n 3 "$T/why")"
    "$PY" -c 'import json, math, sys
ours = json.load(open(sys.argv[1]))["models"][0]["free"]["nll"]["mean"]
theirs = float(open(sys.argv[2]).read().split()[1])
off = math.expm1(abs(ours - theirs))
print(f"{sys.argv[3]}, {sys.argv[4]} windows: llama.cpp {theirs:.5f}, ours {ours:.5f} nats, "
      f"perplexity off by {100 * off:.3f} %, at most {100 * float(sys.argv[5]):g} %")
sys.exit(off > float(sys.argv[5]))' "$T/.out" "$T/said" "$1" "$3" "$5" >"$T/said2" ||
        complain "$(cat "$T/said2")"
    sed 's/^/# /' "$T/said2"
}

if [ -e "$T/llama" ]; then
    PY=$(cat "$T/llama")
    for f in "$T"/all/*.gguf "$T"/trunk/*.gguf "$T"/parts/*-00001-of-*.gguf; do
        ours "$f" 8
        theirs "${f##*/}" "$f" 8 f16 0.01
    done

    # WINDOWS=n takes fewer of the 64: quicker, and too few for the bounds, as single ties count more.
    n=${WINDOWS:-64}
    begin 'perplexities on the evaluation windows are those of llama.cpp'
    for want in BF16:0.001 Q8_0:0.001 Q4_K_M:0.001 Q3_K_M:0.003 Q2_K:0.003; do
        f=$T/all/glm-nano-${want%:*}.gguf
        "$GGUF_PY" tests/interop/gguf_decode.py "$f" "$T/decoded.gguf" >"$T/said" 2>&1 ||
            complain "${f##*/}: $(tail -n 3 "$T/said")"
        limit=${want#*:}
        [ "$n" -ge 64 ] || limit=0.01
        ours "$f" "$n"
        theirs "${f##*/}" "$f" "$n" f16 "$limit"
        theirs "${f##*/}, decoded to F32" "$T/decoded.gguf" "$n" f32 0.001
    done
fi
