# SPDX-License-Identifier: MIT
# verify-run --random-draws: cuts beside random ones, exact on nano, and what is refused.
. tests/cli/lib.sh

case $PREP_BIN in
/*) BIN=$PREP_BIN ;;
*) BIN=$PWD/$PREP_BIN ;;
esac
TOOLS=${PREP_TEST_TOOLS:-build/release/tests/tools}
case $DATA in
/*) ;;
*) DATA=$PWD/$DATA ;;
esac
W="--text $DATA/text/eval.jsonl --window 48"
O=$DATA/observations/nano16
cp -r "$DATA/glm-nano" "$T/nano"
for metric in reap frequency; do
    run reap-prune "$DATA/glm-nano" -q --obs "$O/run-a-routed.obs.safetensors" --metric $metric \
        --keep 9 "$T/$metric"
    cp "$T/$metric/keep_map.json" "$T/$metric.json"
done

verify() # ARGUMENT...: in $T, so that paths in reports are short
{
    code=0
    (cd "$T" && "$BIN/verify-run" "$@") >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}

# shellcheck disable=SC2086 # a list of options
{
begin 'ranks cuts among random ones of their size, and compares them in pairs'
verify nano --keep-map reap.json --keep-map frequency.json $W -n 8 --random-draws 3
expect_exit 0
expect_stdout '2 cuts of nano
8 windows of 48 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06

  cut             experts      nats  increase       95 % interval        KL  rank among random ones
  original             16   3.74981
  reap.json             9   3.78276  +0.03295  -0.02715  +0.09139   0.06617    0 of 3   not shown to be better than random
  frequency.json        9   3.78188  +0.03207  -0.03671  +0.10542   0.07450    0 of 3   not shown to be better than random

  increase of 3 random cuts (seeds 1 to 3)
   experts      mean deviation    lowest   highest
         9  +0.06968   0.02588  +0.04054  +0.08999

  cuts of one size in pairs, first minus second, on the same windows
  reap.json, frequency.json
    nats    +0.000879  [-0.058235 +0.064425]  not distinguishable
    KL      -0.008336  [-0.028546 +0.014571]  not distinguishable'
expect_stderr ''
cp "$T/.out" "$T/maps"

begin 'threads, memory and instructions change no figure'
verify nano --keep-map reap.json --keep-map frequency.json $W -n 8 --random-draws 3 -j1 --mem 40M
expect_exit 0
expect_same "$T/maps" "$T/.out"

begin 'a model that was cut is judged like its keep-map'
verify reap frequency --against nano $W -n 8 --random-draws 3
expect_exit 0
sed 's/\.json//g' "$T/maps" | tr -s ' ' >"$T/a"
tr -s ' ' <"$T/.out" >"$T/b"
expect_same "$T/a" "$T/b"
# The original among the models is no cut, and a keep-map beside a model is one more.
verify nano reap --against nano --keep-map reap.json $W -n 2 --random-draws 0
expect_exit 0
expect_stdout_like '^2 cuts of nano$'
expect_stdout_like '^    nats +\+0\.000000  \[\+0\.000000 \+0\.000000\]  too few windows to tell$'

begin 'a cut that is quantized holds another loss, and says so'
run quantize-nvfp4 "$T/reap" -q "$T/reap-nvfp4"
verify reap-nvfp4 --against nano $W -n 1 --random-draws 0
expect_exit 0
expect_stderr 'verify-run: warning: CUTS_FORMS: reap-nvfp4 is quantized: its loss holds that, too, those of the draws do not'

begin 'prints one JSON object, whose draws are keep-maps'
verify nano --keep-map reap.json $W -n 2 --random-draws 2 --json
expect_exit 0
expect_stdout_like '^\{"schema":"verify-run/1","warnings":\[\],"text":\{"windows":2,"window":48,"tokens":96,'
expect_stdout_like '"settings":"attention sparse, indexers FFFFF, norm_eps 1e-06","original":\{"path":"nano","nll":\{"mean":'
expect_stdout_like '"cuts":\[\{"path":"reap\.json","size":0,"nll":.*"rank":[0-2],"p":(1|0\.[0-9]+),"better_than_random":false,"window_nll":\['
expect_stdout_like '"sizes":\[\{"n_experts":\{"2":9,"3":9,"4":9\},"mean":.*"draws":\[\{"seed":1,"nll_increase":[-0-9.e]+,"kl":[0-9.]+,"kept":\{"2":\[([0-9]+,){8}[0-9]+\],'
increase=$(grep -o '"seed":2,"nll_increase":[-0-9.e]*' "$T/.out" | sed 's/.*://')
grep -o '"seed":2.*' "$T/.out" | grep -o '"kept":{[^}]*}' | head -n 1 | sed 's/"kept"://' >"$T/draw.json"
verify nano --keep-map draw.json --against nano $W -n 2 --no-linears --json -q
expect_exit 0
expect_stdout_like "\"nll_increase\":\\{\"mean\":$increase,"

begin 'a page has the sizes and the pairs'
mv "$T/frequency.json" "$T/by <b>&.json"
verify nano --keep-map reap.json --keep-map 'by <b>&.json' $W -n 2 --random-draws 1 --html cuts.html -q
expect_exit 0
"$TOOLS/check_page" "$T/cuts.html" >"$T/.faults" || complain "$(cat "$T/.faults")"
for part in '<section id="size"' '<section id="pairs"' 'by &lt;b&gt;&amp;.json' '9 experts' \
    'too few windows to tell'; do
    grep -qF -- "$part" "$T/cuts.html" || complain "the page has no '$part'"
done
mv "$T/by <b>&.json" "$T/frequency.json"

begin 'refuses requests that make no sense'
verify nano --random-draws 3 $W
expect_exit 64
expect_stderr 'verify-run: nothing was cut: give keep-maps or pruned models'
verify nano --keep-map reap.json --keep-map frequency.json $W
expect_exit 64
expect_stderr 'verify-run: several keep-maps: they are compared with --random-draws'
verify reap frequency --random-draws 3 $W
expect_exit 64
expect_stderr_like 'says which is the original'
verify nano --keep-map reap.json --random-draws 3 $W --mtp
expect_exit 64
verify nano --keep-map reap.json --random-draws 3
expect_exit 64
expect_stderr 'verify-run: no text to judge on: want texts, windows or packed tokens'
verify nano --keep-map nowhere.json --random-draws 3 $W
expect_exit 66
verify nano --against reap --random-draws 3 $W
expect_exit 65
expect_stderr_like '^verify-run: JUDGE_MODEL: nano: layer 2 has 16 experts, the original 9: this is no cut of it$'
}
