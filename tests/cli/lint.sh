# SPDX-License-Identifier: MIT
# prep-inspect lint and repair at the command line: what is printed, and how they end.
. tests/cli/lib.sh

N=$DATA/glm-nano
CT=$DATA/nvfp4/tiny_glm/autoround_0.12.2_unequal_gate_up
R=$DATA/observations/rand32
SRC=$R/checkpoint

# A copy that may be written to.
copy() # FROM NAME
{
    rm -rf "${T:?}/$2"
    cp -r "$1" "$T/$2"
    chmod -R u+w "$T/$2"
}

edit() # FILE SED-SCRIPT
{
    sed "$2" "$1" >"$T/.edited"
    cat "$T/.edited" >"$1"
}

# ---- lint ----

begin 'a good checkpoint has no finding for any engine'
run prep-inspect lint "$N"
expect_exit 0
expect_stderr ''
expect_stdout "$N: sglang,vllm,transformers,llama.cpp: no finding"

begin 'the engines asked for are the ones named'
run prep-inspect lint --engine llama.cpp,vllm "$N"
expect_exit 0
expect_stdout "$N: vllm,llama.cpp: no finding"

begin 'a finding is one line: code, engines, place, what is found, what will happen, the mend'
run prep-inspect lint --engine sglang --tp 3 "$N"
expect_exit 1
expect_stdout "TP_DIVISIBILITY [sglang] --tp: 8 heads, 256 columns of a routed expert, 256 columns of a shared expert, 512 columns of a dense MLP: not to be split over 3 ranks; the engine refuses to start; mend: choose another degree
$N: sglang: 1 finding"
expect_stderr 'prep-inspect: 1 finding'

begin 'a header that cannot be read is a finding of the linter'
copy "$N" short
head -c 9568320 "$N/model-00003-of-00004.safetensors" >"$T/short/model-00003-of-00004.safetensors"
run prep-inspect lint "$T/short"
expect_exit 1
expect_stdout_like '^SHORT_DATA \[sglang,vllm,transformers,llama.cpp\] model-00003-of-00004.safetensors: file has [0-9]+ bytes of data, header wants [0-9]+;'

begin 'what is no checkpoint is an error'
mkdir "$T/empty"
run prep-inspect lint "$T/empty"
expect_exit 66
run prep-inspect lint "$T/nowhere"
expect_exit 66
expect_stderr_like 'nowhere'

begin 'several checkpoints, findings added up'
run prep-inspect lint --engine transformers "$N" "$CT"
expect_exit 1
expect_stdout_like "^$N: transformers: no finding"
expect_stdout_like '^GATE_UP_SCALE \[transformers\] layer 1, expert 0: gate_proj has weight_global_scale 33363\.78'
expect_stdout_like '^EXCLUDE_LEAF_MISSING \[transformers\] lm_head: '
expect_stderr 'prep-inspect: 17 findings'

if [ -d "$DATA/gptq/nano-autoround" ]; then
    begin 'notes are shown with -v and are no faults'
    run prep-inspect lint --engine transformers "$DATA/gptq/nano-autoround"
    expect_exit 1
    expect_stdout_like ': 1 finding, 1 note$'
    if grep -q CONFIG_DTYPE "$T/.out"; then complain 'a note without -v'; fi
    run prep-inspect lint -v --engine transformers "$DATA/gptq/nano-autoround"
    expect_stdout_like '^CONFIG_DTYPE .*\(note\)$'
else
    skip 'notes are shown with -v and are no faults' 'nano-autoround is not carried'
fi

begin '--json is one object'
run prep-inspect lint --json --engine vllm --ep 3 "$N"
expect_exit 1
expect_stdout_like '"code": *"EP_DIVISIBILITY"'
expect_stdout_like '"faults": *1'

begin 'refuses what makes no sense'
run prep-inspect lint --engine sglang,tgi "$N"
expect_exit 64
expect_stderr 'prep-inspect: --engine sglang,tgi: want names of sglang, vllm, transformers, llama.cpp, separated by commas'
run prep-inspect lint
expect_exit 64
expect_stderr 'prep-inspect: lint wants one PATH or more'
run prep-inspect check --engine vllm "$N"
expect_exit 64
expect_stderr 'prep-inspect: --engine goes with lint and repair'
run prep-inspect lint --force "$N"
expect_exit 64
expect_stderr 'prep-inspect: options of writing go with repair, split and merge'
run prep-inspect lint "$R/run-a"
expect_exit 64

# ---- repair ----

begin 'mends unequal halves and lists, and looks again'
run prep-inspect repair --engine transformers "$CT" "$T/mended"
expect_exit 0
expect_stdout_like '^GATE_UP_SCALE: 16 mended: the smaller half rescaled$'
expect_stdout_like '^EXCLUDE_LEAF_MISSING: 1 mended: the list written anew from the tensors$'
expect_stdout_like "^$T/mended: transformers: no finding$"
run prep-inspect check "$T/mended"
expect_exit 0

begin 'one thread and many give the same bytes'
run prep-inspect repair -q -j1 --engine transformers "$CT" "$T/one"
run prep-inspect repair -q -j7 --mem 64M --engine transformers "$CT" "$T/seven"
expect_same "$T/one" "$T/seven"
expect_same "$T/one" "$T/mended"

begin 'writes nothing where there is nothing to mend'
run prep-inspect repair "$N" "$T/nothing"
expect_exit 0
expect_stderr "prep-inspect: $N: nothing is to be mended, nothing is written"
expect_no_file "$T/nothing"

begin 'what needs the source is left, and said'
copy "$N" untied
edit "$T/untied/generation_config.json" 's/1984,/7,/'
run prep-inspect repair "$T/untied" "$T/left"
expect_exit 1
expect_stdout_like '^EOS_IDS '
expect_stderr_like '1 finding left'
expect_no_file "$T/left"

begin 'makes the index anew when there is none, byte for byte what it was'
copy "$N" unindexed
rm "$T/unindexed/model.safetensors.index.json"
run prep-inspect lint "$T/unindexed"
expect_exit 1
expect_stdout_like '^NO_INDEX '
run prep-inspect repair "$T/unindexed" "$T/indexed"
expect_exit 0
expect_stdout_like '^NO_INDEX: 1 mended: the index made from the shards$'
run prep-inspect diff --read-data "$N" "$T/indexed"
expect_exit 0

begin 'a broken index hides no other fault, and both are mended in one go'
copy "$N" both
head -c 1000 "$N/model.safetensors.index.json" >"$T/both/model.safetensors.index.json"
edit "$T/both/config.json" 's/"n_routed_experts": 16/"n_routed_experts": 15/'
run prep-inspect lint "$T/both"
expect_exit 1
expect_stdout_like '^INDEX_JSON .* model.safetensors.index.json: '
expect_stdout_like '^EXPERT_COUNT '
run prep-inspect repair "$T/both" "$T/whole"
expect_exit 0
expect_stdout_like '^EXPERT_COUNT: '
run prep-inspect diff --read-data "$N" "$T/whole"
expect_exit 0

begin 'the total size is corrected, everything else stays'
copy "$N" size
edit "$T/size/model.safetensors.index.json" 's/"total_size": [0-9]*/"total_size": 1/'
run prep-inspect repair "$T/size" "$T/sized"
expect_exit 0
expect_stdout_like '^TOTAL_SIZE: 1 mended'
run prep-inspect diff --read-data "$N" "$T/sized"
expect_exit 0

begin '--dry-run shows the plan and writes nothing'
run prep-inspect repair --dry-run "$T/size"
expect_exit 0
expect_stdout_like '^plan: write '

begin 'refuses to write over its input, and over what is there'
run prep-inspect repair "$T/size" "$T/size"
expect_exit 73
run prep-inspect repair "$T/size" "$T/sized"
expect_exit 73

begin 'the pruned fixture is clean'
run prep-inspect lint --engine transformers "$SRC"
expect_exit 0
expect_stderr ''
