# SPDX-License-Identifier: MIT
# prep-inspect on GGUF files: shown, checked, cut into parts and put together, and importance
# matrices merged.
. tests/cli/lib.sh

N=$DATA/glm-nano
sha() # FILE: its SHA-256
{
    sha256sum <"$1" | cut -d' ' -f1
}

expect_golden() # FILE NAME: the bytes of the reference's file
{
    _want=$(grep -o "\"$2\": *{[^}]*" "$DATA/gguf/nano-golden.json" | tr -d '\n' |
        grep -o '"sha256": *"[0-9a-f]*"' | head -n1 | grep -o '[0-9a-f]\{64\}')
    [ -n "$_want" ] || _want=$(tr -d '\n' <"$DATA/gguf/nano-golden.json" |
        grep -o "\"$2\": *{[^}]*" | grep -o '"sha256": *"[0-9a-f]*"' | head -n1 |
        grep -o '[0-9a-f]\{64\}')
    [ "$(sha "$1")" = "$_want" ] || complain "$1 is not $2"
}

run make-gguf $N -q -t BF16 --strict-parity --names-from-folder --prefix nano "$T/bf16"

begin 'keys, types and tensors are shown'
run prep-inspect "$T/bf16/nano-BF16.gguf"
expect_exit 0
expect_stdout_like 'glm-dsa.expert_count = 16'
expect_stdout_like 'tokenizer.ggml.tokens = \[2048 x string'
expect_stdout_like 'total +135 +389'
run prep-inspect "$T/bf16/nano-BF16.gguf" --layer 2 --match '*exps*'
expect_exit 0
expect_stdout_like 'blk.2.ffn_down_exps.weight BF16 \[16, 256, 256\] 2097152 nano-BF16.gguf'
grep -q 'blk.3' "$T/.out" && complain 'another layer is shown'
run prep-inspect "$T/bf16/nano-BF16.gguf" --json --tensors
expect_exit 0
expect_stdout_like '"glm-dsa.block_count": *"6"'

begin 'a file is right in itself, and its bytes those of the manifest'
run prep-inspect check --read-data "$T/bf16/nano-BF16.gguf"
expect_exit 0
expect_stdout_like 'GGUF file, no fault'

begin 'split as the reference tool, by size and by number'
run prep-inspect split "$T/bf16/nano-BF16.gguf" "$T/gsplit" --max-shard-size 12MB --strict-parity -q
expect_exit 0
for i in 1 2 3 4; do
    expect_golden "$T/gsplit/nano-BF16-0000$i-of-00004.gguf" "gsplit-0000$i-of-00004.gguf"
done
run prep-inspect split "$T/bf16/nano-BF16.gguf" "$T/gsplit40" --max-tensors 40 --strict-parity -q
expect_exit 0
for i in 1 2 3 4; do
    expect_golden "$T/gsplit40/nano-BF16-0000$i-of-00004.gguf" "gsplit40-0000$i-of-00004.gguf"
done

begin 'split as the converter, and merged again: the bytes of the file'
run prep-inspect split "$T/bf16/nano-BF16.gguf" "$T/csplit" --max-shard-size 12MB -q
expect_exit 0
for i in 1 2 3 4; do
    expect_golden "$T/csplit/nano-BF16-0000$i-of-00004.gguf" "csplit-0000$i-of-00004.gguf"
done
run prep-inspect merge "$T/csplit/nano-BF16-00003-of-00004.gguf" "$T/merged" -q
expect_exit 0
expect_same "$T/merged/nano-BF16.gguf" "$T/bf16/nano-BF16.gguf"
run prep-inspect merge "$T/csplit/nano-BF16-00001-of-00004.gguf" "$T/merged2" --strict-parity -q
expect_exit 0
expect_golden "$T/merged2/nano-BF16.gguf" merged.gguf

begin 'parts are shown and checked as one'
run prep-inspect "$T/csplit/nano-BF16-00002-of-00004.gguf"
expect_exit 0
expect_stdout_like '135 tensors, .* in 4 parts'
run prep-inspect check --read-data "$T/csplit/nano-BF16-00002-of-00004.gguf"
expect_exit 0

begin 'a truncated part is found before anything is written'
cp -r "$T/csplit" "$T/short"
size=$(wc -c <"$T/short/nano-BF16-00002-of-00004.gguf")
head -c $((size - 1000)) "$T/csplit/nano-BF16-00002-of-00004.gguf" \
    >"$T/short/nano-BF16-00002-of-00004.gguf"
for command in check merge; do
    run prep-inspect $command "$T/short/nano-BF16-00001-of-00004.gguf" ${command#check}
    [ $command = merge ] || expect_exit 65
    expect_stderr_like 'SHORT_DATA.*nano-BF16-00002-of-00004.gguf: tensor .* ends at byte'
done
run prep-inspect merge "$T/short/nano-BF16-00001-of-00004.gguf" "$T/no"
expect_exit 65
expect_no_file "$T/no"

begin 'a missing part is named'
rm "$T/short/nano-BF16-00002-of-00004.gguf"
run prep-inspect merge "$T/short/nano-BF16-00001-of-00004.gguf" "$T/no"
expect_exit 66
expect_stderr_like 'SPLIT_MISSING.*nano-BF16-00002-of-00004.gguf: part 2 of 4'
expect_no_file "$T/no"

begin 'a part of another set is found'
cp "$T/gsplit40/nano-BF16-00002-of-00004.gguf" "$T/short/nano-BF16-00002-of-00004.gguf"
run prep-inspect check "$T/short/nano-BF16-00001-of-00004.gguf"
expect_exit 65
expect_stderr_like 'SPLIT_TENSOR|SPLIT_KEYS'
cp "$T/csplit/nano-BF16-00003-of-00004.gguf" "$T/short/nano-BF16-00002-of-00004.gguf"
run prep-inspect check "$T/short/nano-BF16-00001-of-00004.gguf"
expect_exit 65
expect_stderr_like 'SPLIT_KEYS.*says it is part 3 of 4'
cp "$T/csplit/nano-BF16-00001-of-00004.gguf" "$T/short/other.gguf"
run prep-inspect "$T/short/other.gguf"
expect_exit 65
expect_stderr_like 'SPLIT_NAME'

begin 'a changed byte, a NaN and lying counts are faults'
cp -r "$T/bf16" "$T/changed"
size=$(wc -c <"$T/changed/nano-BF16.gguf")
# The last tensor is output_norm.weight, F32.
printf '\000\000\300\177' | dd of="$T/changed/nano-BF16.gguf" bs=1 seek=$((size - 4)) conv=notrunc 2>/dev/null
run prep-inspect check --read-data "$T/changed/nano-BF16.gguf"
expect_exit 1
expect_stdout_like '^FILE_SHA256 nano-BF16.gguf'
expect_stdout_like '^NONFINITE output_norm.weight: element 255 .row 0, column 255'
run prep-inspect check "$T/changed/nano-BF16.gguf"
expect_exit 0

begin 'importance matrices are merged'
M=$DATA/gguf/nano-imatrix-16.gguf
run prep-inspect merge-imatrix "$T/sum.gguf" $M $M
expect_exit 0
expect_stdout_like 'wrote .*sum.gguf: 72 entries, 32 chunks'
run prep-inspect merge-imatrix "$T/same.gguf" $M
expect_same "$T/same.gguf" $M
run prep-inspect merge-imatrix "$T/old.dat" $M
expect_exit 0
[ "$(sha "$T/old.dat")" = a8ff4df66001606e1ae7f24ee0f09d4e3797f313a8849d085a1f32fdc0813491 ] ||
    complain 'old.dat is not the reference of it'
run prep-inspect merge-imatrix "$T/sum.gguf" $M
expect_exit 73
expect_stderr_like 'OUTPUT_FINISHED'
run make-gguf $N -q -t Q4_0 --imatrix "$T/old.dat" --prefix a "$T/from-dat"
expect_exit 0

begin 'verify-run judges a quantized file beside the model'
run make-gguf $N -q -t Q8_0 -t Q2_K "$T/judged"
run verify-run -q --brief --no-linears "$T/judged/glm-nano-Q8_0.gguf" "$T/judged/glm-nano-Q2_K.gguf" \
    --against $N --windows "$DATA/quality/windows.json" -n 1
expect_exit 0
expect_stdout_like 'glm-nano-Q8_0.gguf +20.8 MB +[0-9.]+ +[0-9.]+ +[-+]0\.00'
expect_stdout_like 'glm-nano-Q2_K.gguf +7\.40 MB'

begin 'modes and options that do not go together'
run prep-inspect split "$T/bf16/nano-BF16.gguf" "$T/no"
expect_exit 64
expect_stderr_like 'split wants --max-shard-size or --max-tensors'
run prep-inspect check --max-tensors 3 "$T/bf16/nano-BF16.gguf"
expect_exit 64
run prep-inspect merge-imatrix "$T/x"
expect_exit 64
