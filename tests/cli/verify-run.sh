# SPDX-License-Identifier: MIT
# verify-run: exact reports on nano, same figures whatever way it runs, and what is refused.
. tests/cli/lib.sh

N=$DATA/glm-nano
P=$DATA/quality/windows.json
W="--text $DATA/text/eval.jsonl --window 96"
cp -r "$N" "$T/nano"
run quantize-nvfp4 "$N" -q "$T/max"

cd_run() # TOOL ARGUMENT...: with $T as the folder, so that paths in reports are short
{
    _tool=$1
    shift
    code=0
    case $PREP_BIN in
    /*) _bin=$PREP_BIN ;;
    *) _bin=$PWD/$PREP_BIN ;;
    esac
    (cd "$T" && "$_bin/$_tool" "$@") >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}
case $DATA in
/*) ;;
*)
    P=$PWD/$P
    W="--text $PWD/$DATA/text/eval.jsonl --window 96"
    ;;
esac

# shellcheck disable=SC2086 # lists of options
{
begin 'prints likelihood alone when there is nobody to judge by'
cd_run verify-run nano --windows $P -n 2
expect_exit 0
expect_stdout 'nano
2 windows of 256 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06
  model       38.9 MB   16 experts  unquantized 260

  figure                             mean           95 % interval
  model: nats per token           3.52873     2.40626     4.65119
    perplexity                    34.0805'
expect_stderr ''

begin 'judges a quantized model by every figure'
cd_run verify-run max --against nano $W -n 2 --worst 3
expect_exit 0
expect_stdout 'max against nano
2 windows of 96 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06
  original    38.9 MB   16 experts  unquantized 260
  model       25.3 MB   16 experts  NVFP4 (modelopt) 144, unquantized 116

  figure                             mean           95 % interval
  original: nats per token        4.09139     3.32065     4.86213
    perplexity                    59.8231
  model: nats per token           4.08963     3.32532     4.85395
    perplexity                    59.7181
    increase                     -0.00176    -0.00818    +0.00467  too few windows to tell
  KL                             0.001112    0.001106    0.001119
    p50, p90, p99, largest       0.000721    0.002188    0.007989    0.017289  window 0, position 56
  KL, original'\''s choices         0.000869    0.000761    0.000977
    p50, p90, p99, largest       0.000696    0.001863    0.003530    0.003930  window 1, position 72
  same most likely token, %        95.312      94.792      95.833
  five most likely shared, %       97.917      97.917      97.917

  layer  block error  hidden error  original'\''s choices  experts shared  positions shared
      0     0.000000      0.000000            0.000000               -            1.0000
      1     0.000000      0.000000            0.000000               -            1.0000
      2     0.004107      0.000839            0.000839          1.0000            1.0000
      3     0.003821      0.001453            0.001282          0.9857            0.9968
      4     0.003879      0.002572            0.002024          0.9883            0.9961

  NMSE of linears      changed   geometric         p95       worst
  routed experts           144     0.00828     0.00967     0.01128
  all                      144     0.00828     0.00967     0.01128
  worst                 tokens        NMSE
                            22     0.01128  model.layers.2.mlp.experts.0.up_proj
                            16     0.01020  model.layers.2.mlp.experts.8.up_proj
                            24     0.01002  model.layers.2.mlp.experts.3.up_proj'
expect_stderr ''
cp "$T/.out" "$T/judged"

begin 'threads, memory and instructions change no figure'
for how in "-j7" "--mem 90M" "--mem 50M -j2"; do
    cd_run verify-run max --against nano $W -n 2 --worst 3 $how
    expect_exit 0
    expect_same "$T/judged" "$T/.out"
done
# Plain C takes its time: fewer tokens.
cd_run verify-run max --against nano $W -n 2 --window 12
cp "$T/.out" "$T/few"
cd_run verify-run max --against nano $W -n 2 --window 12 -j1 --isa scalar
expect_exit 0
expect_same "$T/few" "$T/.out"

begin 'a budget under the floor is refused and the floor is printed'
cd_run verify-run max --against nano $W -n 2 --mem 1M
expect_exit 64
expect_stderr_like '^verify-run: memory of 1048576 bytes is too little for windows of 96 tokens: at least [0-9]+ bytes are needed$'
floor=$(grep -o 'at least [0-9]*' "$T/.err" | grep -o '[0-9]*')
cd_run verify-run max --against nano $W -n 2 --worst 3 --mem "$floor"
expect_exit 0
expect_same "$T/judged" "$T/.out"
cd_run verify-run max --against nano $W -n 2 --mem $((floor - 1))
expect_exit 64

begin 'a model judged by itself is the same model'
cd_run verify-run nano --against nano $W -n 2
expect_exit 0
expect_stdout_like '^  KL +0\.000000 +0\.000000 +0\.000000$'
expect_stdout_like '^  same most likely token, % +100\.000'
expect_stdout_like '^  no linear is changed$'

begin 'a saved reference gives what the original gives'
cd_run verify-run nano $W -n 2 --save-reference ref.st
expect_exit 0
cd_run verify-run max --reference ref.st
expect_exit 0
expect_stdout 'max against ref.st
2 windows of 96 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06
  model       25.3 MB   16 experts  NVFP4 (modelopt) 144, unquantized 116

  figure                             mean           95 % interval
  original: nats per token        4.09139     3.32065     4.86213
    perplexity                    59.8231
  model: nats per token           4.08963     3.32532     4.85395
    perplexity                    59.7181
    increase                     -0.00176    -0.00818    +0.00467  too few windows to tell
  KL, at least                   0.000999    0.000982    0.001016
    p50, p90, p99, largest       0.000632    0.001941    0.007021    0.013462  window 0, position 56
  same most likely token, %        95.312      94.792      95.833
  five most likely shared, %       97.917      97.917      97.917'
cd_run verify-run nano --reference ref.st
expect_stdout_like '^  KL, at least +-?0\.000000 +-?0\.000000 +-?0\.000000$'
cd_run verify-run max --reference ref.st -n 1
expect_stdout_like '^1 windows of 96 tokens'

begin 'a reference is not overwritten unasked, and its bytes depend on nothing but model and text'
cd_run verify-run nano $W -n 2 --save-reference ref.st
expect_exit 73
expect_stderr 'verify-run: ref.st: is there already; --force replaces it'
cp "$T/ref.st" "$T/ref2.st"
cd_run verify-run nano $W -n 2 --save-reference ref2.st --force -j1 --isa scalar --mem 40M
expect_exit 0
expect_same "$T/ref.st" "$T/ref2.st"

begin 'the reference of another model or tokenizer is refused'
cp -r "$N" "$T/other"
sed 's/"rope_theta": 50000/"rope_theta": 60000/' "$N/config.json" >"$T/other/config.json"
cd_run verify-run other --reference ref.st
expect_exit 65
expect_stderr_like '^verify-run: REFERENCE_MODEL: ref\.st: made from another model \(glm_moe_dsa .* theta 50000\) than other \(glm_moe_dsa .* theta 60000\)$'
cp "$N/config.json" "$T/other/config.json"
sed 's/"version": "1.0"/"version":  "1.0"/' "$N/tokenizer.json" >"$T/other/tokenizer.json"
if cmp -s "$N/tokenizer.json" "$T/other/tokenizer.json"; then
    echo >>"$T/other/tokenizer.json"
fi
cd_run verify-run other --reference ref.st
expect_exit 65
expect_stderr_like '^verify-run: REFERENCE_TOKENIZER: ref\.st: made with another tokenizer \(tokenizer\.json [0-9a-f]{16}\) than that of other'
cd_run verify-run other --against nano $W -n 1 --no-linears
expect_exit 0
expect_stderr_like '^verify-run: warning: JUDGE_TOKENIZER: other has another tokenizer\.json'
cd_run verify-run nano --reference "$T/max/config.json"
expect_exit 65

begin 'limits that do not hold make the exit code 1, and a figure that is not there does not hold'
cd_run verify-run max --against nano $W -n 2 --no-linears --max-kl 0.0001 --min-top1 0.9 \
    --max-block-error 0.01 --max-nmse 0.1
expect_exit 1
expect_stdout_like '^  max-kl +0\.000100  found    0\.001112  does not hold$'
expect_stdout_like '^  min-top1 +0\.900000  found    0\.953125  holds$'
expect_stdout_like '^  max-nmse +0\.100000  found +-  does not hold$'
expect_stdout_like '^  max-block-error +0\.010000  found    0\.004107  holds$'
expect_stderr 'verify-run: 2 of 4 limits do not hold'
cd_run verify-run max --against nano $W -n 2 --max-kl 0.01 --max-nmse 0.02 --max-token-kl 0.1 \
    --max-forced-kl 0.001 --max-nll-increase 0.01 --min-top5 0.9
expect_exit 0

begin 'prints one JSON object, with the verdicts'
cd_run verify-run max --against nano $W -n 2 --json --max-kl 0.0001
expect_exit 1
expect_stdout_like '^\{"schema":"verify-run/1","warnings":\[\],"text":\{"windows":2,"window":96,"tokens":192,"windows_available":[0-9]+,'
expect_stdout_like '"settings":"attention sparse, indexers FFFFF, norm_eps 1e-06","original":\{"path":"nano",'
expect_stdout_like '"limits":\[\{"limit":"max-kl","model":"max","want":0\.0001,"found":0\.00111[0-9]*,"holds":false\}\],"error":\{"tag":"","message":"1 of 1 limits does not hold","exit":1\}\}$'
expect_stderr_like 'limits does not hold'

begin 'KL by layer ends with KL, and does not depend on how it is computed'
layers_kl() # MODEL'S NUMBER FILE: an interval per line
{
    sed 's/"models":\[/&\n/; s/{"path":/\n&/g' "$2" | grep '"kl_by_position"' | sed -n "$1p" |
        sed 's/.*"layers":\[//; s/\].*//' | grep -o '"kl":{[^}]*}'
}
free_kl() # MODEL'S NUMBER FILE
{
    sed 's/"models":\[/&\n/; s/{"path":/\n&/g' "$2" | grep '"kl_by_position"' | sed -n "$1p" |
        sed 's/.*"free"://' | grep -o '"kl":{[^}]*}' | head -1
}
L="max nano --against nano ${W% *} 48 -n 8 --no-linears"
cd_run verify-run $L --json
expect_exit 0
cp "$T/.out" "$T/errors_alone"
cd_run verify-run $L --json --kl-by-layer
expect_exit 0
expect_stderr ''
cp "$T/.out" "$T/with"
[ "$(layers_kl 1 "$T/with" | wc -l)" = 5 ] || complain 'not a KL for each of 5 layers'
[ "$(layers_kl 1 "$T/with" | tail -1)" = "$(free_kl 1 "$T/with")" ] ||
    complain 'the last layer has another KL than the model'
[ "$(layers_kl 1 "$T/with" | sort -u | wc -l)" -ge 3 ] || complain 'layers do not differ'
[ "$(layers_kl 2 "$T/with" | sort -u)" = '"kl":{"mean":0,"low":0,"high":0}' ] ||
    complain 'a model is not itself in every layer'
sed 's/,"kl":{[^}]*}}/}/g' "$T/with" >"$T/taken"
expect_same "$T/errors_alone" "$T/taken"
cd_run verify-run $L --json --kl-by-layer --mem 1M
expect_exit 64
floor=$(grep -o 'at least [0-9]*' "$T/.err" | grep -o '[0-9]*')
for how in "-j7" "--mem 110M" "--mem $floor -j2"; do
    cd_run verify-run $L --json --kl-by-layer $how
    expect_exit 0
    expect_same "$T/with" "$T/.out"
done
cd_run verify-run $L --json --kl-by-layer --mem $((floor - 1))
expect_exit 64
cd_run verify-run max --against nano ${W% *} 48 -n 8 --kl-by-layer --no-linears
expect_stdout_like '^  layer  block error .*  positions shared +KL$'
expect_stdout_like "^      4 .* $(sed -n 's/^  KL  *\([0-9.]*\) .*/\1/p' "$T/.out")\$"

begin 'several models are compared in pairs'
run quantize-nvfp4 "$N" -q --scales sweep "$T/sweep"
cd_run verify-run max sweep --against nano ${W% *} 24 -n 8
expect_exit 0
expect_stdout '2 models against nano
8 windows of 24 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06

  model         size perplexity      nats  increase        KL forced KL  top-1 %     NMSE
  original   38.9 MB    43.2088   3.76604
  max        25.3 MB    42.8875   3.75858  -0.00746   0.00139   0.00083    97.40  0.00832
  sweep      25.3 MB    43.0153   3.76156  -0.00449   0.00098   0.00066    98.96  0.00607

  in pairs, first minus second, on the same windows
  max, sweep
    forced KL     +0.000175  [+0.000100 +0.000246]  the second is lower
    KL            +0.000410  [-0.000162 +0.001299]  not distinguishable
    nats          -0.002976  [-0.012594 +0.006720]  not distinguishable
    NMSE             1.3701 x, 95 % point 1.3878 x
    the second is better; end to end nothing is sure'

cd_run verify-run max sweep --against nano ${W% *} 24 -n 1 --no-linears
cp "$T/.out" "$T/both"
cd_run verify-run max sweep --against nano ${W% *} 24 -n 1 --no-linears --brief
sed '/in pairs/,$d' "$T/both" | sed '$d' >"$T/brief"
expect_same "$T/brief" "$T/.out"

begin 'a pruned model, and the same cut seen through its keep-map'
run reap-prune "$N" -q --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
    --keep 12 "$T/p12"
cd_run verify-run p12 --against nano $W -n 2 --mtp
expect_exit 0
expect_stdout 'p12 against nano
2 windows of 96 tokens; attention sparse, indexers FFFFF, norm_eps 1e-06
  original    38.9 MB   16 experts  unquantized 260
  model       32.6 MB   12 experts  unquantized 212

  figure                             mean           95 % interval
  original: nats per token        4.09139     3.32065     4.86213
    perplexity                    59.8231
  model: nats per token           4.04827     3.29229     4.80425
    perplexity                    57.2981
    increase                     -0.04312    -0.05788    -0.02836  too few windows to tell
  KL                             0.015729    0.010248    0.021209
    p50, p90, p99, largest       0.006063    0.036465    0.128116    0.281976  window 1, position 55
  KL, original'\''s choices       not measured: experts were removed
  same most likely token, %        87.500      84.375      90.625
  five most likely shared, %       91.771      91.042      92.500
  MTP, original: nats per token     4.12279     3.36054     4.88504
    perplexity                    61.7312
    drafts accepted, %             56.316      52.632      60.000
  MTP, model: nats per token      4.15162     3.37963     4.92362
    perplexity                    63.5371
    increase                     +0.02883    +0.01909    +0.03858  too few windows to tell
    drafts accepted, %             54.737      52.632      56.842
  MTP, KL                        0.085639    0.058551    0.112726
    p50, p90, p99, largest       0.030866    0.252883    0.467858    0.489355  window 1, position 32

  layer  block error  hidden error  original'\''s choices  experts shared  positions shared
      0            -      0.000000                   -               -            1.0000
      1            -      0.000000                   -               -            1.0000
      2            -      0.008352                   -          0.8203            1.0000
      3            -      0.012839                   -          0.7943            0.9888
      4            -      0.017739                   -          0.7917            0.9905

  no linear is changed'
sed '1d;s/  model .*//' "$T/.out" >"$T/pruned"
cd_run verify-run nano --keep-map p12/keep_map.json --against nano $W -n 2 --mtp -q
expect_exit 0
sed '1d;s/  model .*//' "$T/.out" >"$T/seen"
expect_same "$T/pruned" "$T/seen"

begin 'settings hold for both models, or for the model alone'
cd_run verify-run nano --against nano $W -n 2 --index-pattern FFSFS --no-linears
expect_stdout_like '^2 windows of 96 tokens; attention sparse, indexers FFSFS, norm_eps 1e-06$'
expect_stdout_like '^  KL +0\.000000 +0\.000000 +0\.000000$'
cd_run verify-run nano --against nano $W -n 2 --index-pattern FFSFS --original-as-is --no-linears
expect_stdout_like '^  KL +0\.017664 '
cd_run verify-run nano --against nano $W -n 2 --dense --norm-eps 1e-5
expect_stdout_like '^2 windows of 96 tokens; attention dense, norm_eps 1e-05$'
cd_run verify-run nano --index-pattern SFFFF $W -n 1
expect_exit 64

begin 'rounds inputs to 4 bits as W4A4 engines do'
run quantize-nvfp4 "$N" -q --assume-amax 16 "$T/w4a4"
printf '{"format": 1, "few": {"length": 8, "tokens": [[5, 9, 300, 17, 42, 1200, 3, 77], [8, 1, 2, 640, 5, 99, 31, 7]]}}' >"$T/few.json"
cd_run verify-run nano w4a4 --against nano $W -n 2 --activations nvfp4 --brief
expect_exit 0
expect_stdout_like '^2 windows of 96 tokens; .* norm_eps 1e-06, inputs NVFP4$'
expect_stdout_like '^  nano .* 0\.00000 +0\.00000 '
grep '^  w4a4' "$T/.out" >"$T/stored"
cd_run verify-run nano w4a4 --against nano $W -n 2 --activations nvfp4 --brief -j 3 --mem 100M
expect_exit 0
grep '^  w4a4' "$T/.out" >"$T/again"
expect_same "$T/stored" "$T/again"
cd_run verify-run nano --against nano $W -n 2 --activations nvfp4-experts --calibration few.json \
    --calibration-set few --brief
expect_exit 0
expect_stdout_like '^  nano .* 0\.00[1-9][0-9]+ +0\.00[0-9]+ '
cd_run verify-run max $W -n 2 --activations nvfp4
expect_exit 65
expect_stderr 'verify-run: INPUT_SCALE: max: model.layers.2.mlp.experts.0.gate_proj: no input scale is stored with it and a calibration text gave none (0); give a text that reaches it'
cd_run verify-run max $W -n 2 --activations int8
expect_exit 64
expect_stderr 'verify-run: --activations int8: want nvfp4 or nvfp4-experts'
cd_run verify-run max $W -n 2 --calibration few.json
expect_exit 64
expect_stderr 'verify-run: --calibration is for --activations'
cd_run verify-run max $W -n 2 --activations nvfp4 --calibration-set few
expect_exit 64
expect_stderr 'verify-run: --calibration-set names windows of a --calibration file'
for other in '--greedy Hello' --smoke '--probe arithmetic' '--random-draws 1' '--tp 1'; do
    cd_run verify-run max $W --activations nvfp4 $other
    expect_exit 64
    expect_stderr 'verify-run: --activations is for measuring: not with --greedy, --smoke, --probe, --random-draws or --tp'
done

begin 'goes on with a prompt'
cd_run verify-run max --against nano --greedy 'The capital of' --new-tokens 12
expect_exit 0
expect_stdout '
nano: 12 tokens
   the\n    the same as a list of the same as
max: 12 tokens, the first 12 as nano
   the\n    the same as a list of the same as'
cd_run verify-run nano --greedy ''
expect_exit 64
expect_stderr 'verify-run: the prompt is empty'

begin 'reads texts and packed tokens'
printf 'hello world, hello again' >"$T/short.txt"
cd_run verify-run nano --text short.txt
expect_exit 0
expect_stdout_like '^1 windows of [0-9]+ tokens'
run pack-calibration -t "$N" -n 64 --sequences 2 "$DATA/text/eval.jsonl" "$T/tokens.st"
cd_run verify-run nano --tokens tokens.st
expect_exit 0
expect_stdout_like '^2 windows of 64 tokens'

begin 'refuses requests that make no sense'
cd_run verify-run nano
expect_exit 64
expect_stderr 'verify-run: no text to judge on: want texts, windows or packed tokens'
cd_run verify-run nano --windows $P --text short.txt
expect_exit 64
expect_stderr_like 'more than one kind of text'
cd_run verify-run nano --against nano --reference ref.st
expect_exit 64
expect_stderr_like 'not both'
cd_run verify-run nano --reference ref.st $W
expect_exit 64
expect_stderr_like 'on the text it was made from'
cd_run verify-run nano max --save-reference x.st $W
expect_exit 64
expect_stderr_like 'of one model, run alone'
cd_run verify-run nano --set evaluation --text short.txt
expect_exit 64
cd_run verify-run nano $W --kl-by-layer
expect_exit 64
expect_stderr 'verify-run: --kl-by-layer compares with the original: give --against ORIGINAL'
cd_run verify-run max --against nano --smoke --kl-by-layer
expect_exit 64
expect_stderr_like '^verify-run: --kl-by-layer is for judging on a text: not with --smoke'
cd_run verify-run nano --windows nowhere.json
expect_exit 66
cd_run verify-run nowhere $W
expect_exit 66
cd_run verify-run nano --text nowhere.txt
expect_exit 66

begin 'refuses token ids outside the vocabulary, and a model without the MTP layer it is asked for'
echo '{"format": 1, "evaluation": {"length": 3, "tokens": [[1, 2, 3], [1, 2048, 3]]}}' >"$T/bad.json"
cd_run verify-run nano --windows bad.json
expect_exit 65
expect_stderr 'verify-run: TOKEN_ID: window 1, position 1: token id 2048, the vocabulary has 2048'
run reap-prune "$N" -q --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
    --keep 16 --mtp drop "$T/without"
cd_run verify-run without --mtp $W -n 1
expect_exit 65
expect_stderr 'verify-run: MTP_MISSING: without: has no MTP layer to judge'
}
