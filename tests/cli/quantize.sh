# SPDX-License-Identifier: MIT
# quantize-nvfp4 and quantize-gptq at the command line: same bytes whatever the way, and what is
# refused. Bytes against the peers' are in tests/golden.
. tests/cli/lib.sh

N=$DATA/glm-nano
OBS="--obs $DATA/observations/nano16/run-a/observations_1024_cosine.pt \
  --obs $DATA/observations/nano16/run-b/observations_1024_cosine-seed_42.pt"
W4A4="--assume-amax 3"
CT="--layout compressed-tensors"

same_but_manifest() # A B
{
    IGNORE=prep-manifest.json
    expect_same "$1" "$2"
    IGNORE=
}

# shellcheck disable=SC2086 # lists of options
begin 'one thread and seven, little memory and much, any instructions give the same bytes'
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M "$T/one" -j1 --isa scalar
expect_exit 0
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M --dry-run --json
expect_exit 0
floor=$(grep -o '"memory_floor_bytes": *[0-9]*' "$T/.out" | grep -o '[0-9]*$')
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M "$T/seven" -j7 --mem "$floor"
expect_exit 0
expect_same "$T/one" "$T/seven"
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M "$T/big" -j2 --mem 4G
expect_exit 0
expect_same "$T/one" "$T/big"

begin 'a budget under the floor is refused and the floor is printed'
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M "$T/no" --mem $((floor - 1))
expect_exit 64
expect_stderr_like "at least $floor bytes"
expect_no_file "$T/no"

begin 'three parts, then --assemble, give the bytes of one run, manifest included'
for i in 0 1 2; do
    run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M --part $i/3 "$T/parts"
    expect_exit 0
done
expect_no_file "$T/parts/config.json"
run quantize-nvfp4 $N -q -m all $W4A4 --max-shard-size 1M --assemble "$T/parts"
expect_exit 0
expect_same "$T/one" "$T/parts"

run reap-prune $N -q $OBS --keep 12 --model-name fixture/glm-nano "$T/p12"
map=$T/p12/keep_map.json
for options in "" "$CT -m linears" "-m all --mtp quantize --share same-input" \
    "-m llama --mtp separate --scales sweep" "--scales four-over-six --max-shard-size 1M"; do
    begin "pruning and quantizing in one pass equals two passes: $options"
    run quantize-nvfp4 "$T/p12" -q $W4A4 $options "$T/two"
    expect_exit 0
    run quantize-nvfp4 $N -q $W4A4 $options --keep-map "$map" "$T/onepass"
    expect_exit 0
    same_but_manifest "$T/two" "$T/onepass"
    rm -r "$T/two" "$T/onepass"
done

begin 'the same for GPTQ, and for a dropped MTP layer'
run quantize-gptq "$T/p12" -q "$T/two"
expect_exit 0
run quantize-gptq $N -q --keep-map "$map" "$T/onepass"
expect_exit 0
same_but_manifest "$T/two" "$T/onepass"
rm -r "$T/two" "$T/onepass"
run quantize-nvfp4 "$T/p12" -q --mtp drop "$T/two"
run quantize-nvfp4 $N -q --mtp drop --keep-map "$map" "$T/onepass"
expect_exit 0
expect_same "$T/two/config.json" "$T/onepass/config.json"
for f in "$T"/two/*.safetensors; do
    expect_same "$f" "$T/onepass/${f##*/}"
done
rm -r "$T/two" "$T/onepass"

begin 'a second pass on the NVFP4 checkpoint equals quantizing what was pruned twice'
run quantize-nvfp4 "$T/p12" -q $W4A4 "$T/q12"
expect_exit 0
run reap-prune "$T/q12" -q $OBS --keep 10 "$T/q12-10"
expect_exit 0
run reap-prune "$T/p12" -q $OBS --keep 10 "$T/p12-10"
expect_exit 0
run quantize-nvfp4 "$T/p12-10" -q $W4A4 "$T/p10-q"
expect_exit 0
for f in "$T"/q12-10/*.safetensors; do
    expect_same "$f" "$T/p10-q/${f##*/}"
done
expect_same "$T/q12-10/config.json" "$T/p10-q/config.json"

begin 'repacking to the other layout and back gives the same tensors'
run quantize-nvfp4 "$T/q12" -q --repack $CT "$T/ct"
expect_exit 0
run quantize-nvfp4 "$T/ct" -q --repack "$T/back"
expect_exit 0
for f in "$T"/q12/*.safetensors "$T/q12/config.json" "$T/q12/hf_quant_config.json"; do
    expect_same "$f" "$T/back/${f##*/}"
done
run quantize-nvfp4 $N -q -m all $CT "$T/ct2"
run quantize-nvfp4 "$T/ct2" -q --repack "$T/mo2"
expect_exit 0
run quantize-nvfp4 "$T/mo2" -q --repack $CT "$T/ct3"
expect_exit 0
for f in "$T"/ct2/*.safetensors "$T/ct2/config.json"; do
    expect_same "$f" "$T/ct3/${f##*/}"
done

begin 'an FP8 source is decoded where it is not quantized'
run quantize-nvfp4 $DATA/fp8/mini -q $W4A4 --list "$T/fp8"
expect_exit 0
expect_stdout_like 'self_attn.q_a_proj  BF16, preset experts'
grep -q fp8 "$T/fp8/config.json" && complain 'config.json still says fp8'
run quantize-nvfp4 "$T/fp8" -q -m linears "$T/no"
expect_exit 65
expect_stderr_like 'HALF_QUANTIZED'

begin 'W4A16 from NVFP4'
run quantize-gptq "$T/q12" -q "$T/gptq"
expect_exit 0
expect_stdout_like '^gptq: 127 of 212 linears'
expect_no_file "$T/gptq/hf_quant_config.json"
expect_file "$T/gptq/quantize_config.json"

begin 'a separate MTP layer is in shards of its own, in the index'
run quantize-nvfp4 $N -q --mtp separate "$T/mtp"
expect_exit 0
expect_file "$T/mtp/model-mtp-00001-of-00001.safetensors"
grep -q '"model.layers.5.eh_proj.weight": "model-mtp-00001-of-00001.safetensors"' \
    "$T/mtp/model.safetensors.index.json" || complain 'the index does not say so'

begin '--list says what each linear becomes, the last match wins'
run quantize-nvfp4 $N -m linears --exclude '*.layers.3.*' --include 're:.*layers\.3\.mlp' \
    --exclude '*.o_proj' --dry-run --list
expect_exit 0
expect_stdout_like '^model.layers.2.self_attn.q_a_proj  NVFP4 .modelopt., preset linears$'
expect_stdout_like "^model.layers.3.self_attn.q_a_proj  BF16, --exclude '\*.layers.3.\*'$"
expect_stdout_like "^model.layers.3.mlp.experts.0.up_proj  NVFP4 .modelopt., --include 're:"
expect_stdout_like "^model.layers.2.self_attn.o_proj  BF16, --exclude '\*.o_proj'$"

begin '--json is one object'
run quantize-nvfp4 $N --dry-run --json
expect_exit 0
expect_stdout_like '"schema": *"quantize-nvfp4/1"'
expect_stdout_like '"quantized": *144'

refuse() # CODE TAG TOOL ARGUMENT...: nothing is written
{
    _want=$1
    _tag=$2
    shift 2
    begin "refuses $_tag: $(echo "$*" | sed "s#$T/##g;s#$DATA/##g")"
    run "$@" "$T/no"
    expect_exit "$_want"
    expect_stderr_like "$_tag"
    expect_no_file "$T/no"
}

refuse 65 'ALREADY_QUANTIZED.*nothing to do' quantize-nvfp4 "$T/q12" -q
refuse 65 'ALREADY_QUANTIZED.*--repack' quantize-nvfp4 "$T/q12" -q $CT
refuse 65 'ALREADY_QUANTIZED' quantize-gptq "$T/gptq" -q
refuse 65 'NOT_REPACKABLE' quantize-nvfp4 "$T/q12" -q --repack
refuse 65 'NOT_REPACKABLE' quantize-nvfp4 $N -q --repack
refuse 65 'HALF_QUANTIZED' quantize-nvfp4 "$T/q12" -q -m linears
refuse 64 'MODULES_NO_MATCH' quantize-nvfp4 $N -q --include '*.no_such'
refuse 64 'MODULES_SPLIT' quantize-nvfp4 $N -q --exclude '*.experts.3.up_proj'
refuse 64 'MODULES_SPLIT' quantize-nvfp4 $N -q -m linears --exclude '*.kv_a_proj_with_mqa'
refuse 64 'MODULES_NONE' quantize-nvfp4 $N -q --exclude '*'
refuse 65 'PATTERN' quantize-nvfp4 $N -q --exclude 're:('
refuse 64 '--modules' quantize-nvfp4 $N -q -m everything
refuse 64 '--layout' quantize-nvfp4 $N -q --layout gguf
refuse 64 '--group-size' quantize-gptq $N -q --group-size 100
refuse 64 '--importance' quantize-nvfp4 $N -q --importance x --scales max
refuse 66 'no.amax' quantize-nvfp4 $N -q --amax "$T/no.amax.safetensors"
refuse 65 'AMAX_FORMAT' quantize-nvfp4 $N -q --amax $N/model-00001-of-00004.safetensors
