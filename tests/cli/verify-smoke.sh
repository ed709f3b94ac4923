# SPDX-License-Identifier: MIT
# verify-run --smoke: one line of JSON, its exit code, and a line for each stage.
. tests/cli/lib.sh

case $PREP_BIN in
/*) BIN=$PREP_BIN ;;
*) BIN=$PWD/$PREP_BIN ;;
esac
case $DATA in
/*) ;;
*) DATA=$PWD/$DATA ;;
esac
cp -r "$DATA/glm-nano" "$T/nano"

verify() # ARGUMENT...: in $T, so that paths in reports are short
{
    code=0
    (cd "$T" && "$BIN/verify-run" "$@") >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}

stages() # the lines on stderr without their seconds
{
    sed 's/ *[0-9]*\.[0-9][0-9] s/ S/' "$T/.err"
}

begin 'a whole model passes, with a line for each stage'
verify --smoke nano
expect_exit 0
stages >"$T/have"
cat >"$T/want" <<'LINES'
verify-run: open      ok S, 309 tensors
verify-run: check     ok S, 0 faults
verify-run: lint      ok S, 0 faults
verify-run: run       ok S, 5.21865 nats per token
verify-run: mtp       ok S, 0.484127 drafts accepted
verify-run: compare   skipped S: nothing to compare with
verify-run: generate  ok S, 16 tokens
LINES
expect_same "$T/want" "$T/have"
sed 's/"seconds":[0-9.]*/"seconds":0/g' "$T/.out" >"$T/have"
cat >"$T/want" <<'LINES'
{"schema":"verify-run/smoke/1","warnings":[],"model":"nano","stages":[{"stage":"open","ok":true,"state":"passed","seconds":0,"figure":"tensors","value":309,"message":""},{"stage":"check","ok":true,"state":"passed","seconds":0,"figure":"faults","value":0,"message":""},{"stage":"lint","ok":true,"state":"passed","seconds":0,"figure":"faults","value":0,"message":""},{"stage":"run","ok":true,"state":"passed","seconds":0,"figure":"nats per token","value":5.2186490162497536,"message":""},{"stage":"mtp","ok":true,"state":"passed","seconds":0,"figure":"drafts accepted","value":0.48412698412698413,"message":""},{"stage":"compare","ok":true,"state":"skipped","seconds":0,"figure":"KL","value":null,"message":"nothing to compare with"},{"stage":"generate","ok":true,"state":"passed","seconds":0,"figure":"tokens","value":16,"message":""}],"seconds":0,"verdict":"pass"}
LINES
expect_same "$T/want" "$T/have"

begin 'stdout has the one line, whatever else is asked'
verify --smoke nano -q --json --against nano
expect_exit 0
[ "$(wc -l <"$T/.out")" = 1 ] || complain 'stdout has more than a line'
expect_stderr ''
expect_stdout_like '"original":"nano".*"stage":"compare","ok":true,"state":"passed",[^}]*"figure":"KL","value":0,'

begin 'a saved reference is compared with'
verify nano --text "$DATA/text/eval.jsonl" --window 64 -n 4 --save-reference ref.st
verify --smoke nano --reference ref.st -q
expect_exit 0
expect_stdout_like '"reference":"ref.st".*"stage":"compare","ok":true,"state":"passed",'

begin 'a broken model fails, and the stage is named'
mkdir "$T/short"
cp "$T"/nano/* "$T/short/"
head -c 5000000 "$T/nano/model-00002-of-00004.safetensors" >"$T/short/model-00002-of-00004.safetensors"
verify --smoke short -q
expect_exit 1
expect_stderr_like '^verify-run: SMOKE: short: stage open failed: .*model-00002-of-00004\.safetensors'
expect_stdout_like '"verdict":"fail","failed":"open","error":\{"tag":"SMOKE",.*"exit":1\}\}$'
[ "$(wc -l <"$T/.out")" = 1 ] || complain 'stdout has more than a line'

begin 'limits are the callers'
verify --smoke nano -q --max-nats 3
expect_exit 1
expect_stdout_like '"failed":"run"'
verify --smoke nano -q --against nano --min-top1 1.1
expect_exit 1
expect_stdout_like '"failed":"compare"'

begin 'what is not the fault of a model has the exit code it always has'
verify --smoke nowhere -q
expect_exit 66
expect_stdout_like '"verdict":"fail","failed":"open","error":\{.*"exit":66\}\}$'
verify --smoke nano nano
expect_exit 64
verify --smoke nano --engine nonsense
expect_exit 64
expect_stderr 'verify-run: --engine nonsense: want sglang, vllm, transformers or llama.cpp'
verify --smoke nano --html page.html
expect_exit 64
expect_no_file "$T/page.html"
verify --smoke nano --mem 1M -q
expect_exit 64
expect_stdout_like '"failed":"run"'
