# SPDX-License-Identifier: MIT
# verify-run over several ranks: models split over them, windows dealt to them, and how it fails.
# shellcheck disable=SC2086 # lists of options
. tests/mpi/mpirun.sh

N=$DATA/glm-nano
VERIFY=$PREP_BIN/verify-run
# Few and short windows: longer than index_topk, so that positions are chosen.
awk 'BEGIN {
    printf "{\"format\":1,\"evaluation\":{\"length\":80,\"tokens\":["
    for (w = 0; w < 5; w++) {
        printf w ? ",[" : "["
        for (i = 0; i < 80; i++)
            printf "%s%d", i ? "," : "", (w * 977 + i * i * 31 + i * 7) % 1900
        printf "]"
    }
    print "]}}"
}' >"$T/windows.json"
W="--windows $T/windows.json -q -j1"

# Numbers from one line of JSON, by pattern: what follows KEY": up to a comma or bracket.
first_number() # KEY FILE
{
    grep -o "\"$1\":[^,}]*" "$2" | head -n 1 | cut -d : -f 2
}

expect_near() # A B TOLERANCE WHAT
{
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; exit !(a != "" && b != "" && d <= t && -d <= t) }' ||
        complain "$4: $1 and $2"
}

# What prep-plan says of a rank, for a format.
plan_bytes() # CONFIG TP FORMAT
{
    "$PREP_BIN/prep-plan" "$1" --tp "$2" --no-mtp --json | tr '{' '\n' |
        grep "\"id\":\"$3\"" | grep -o '"rank_bytes":[0-9]*' | cut -d : -f 2
}

"$PREP_BIN/quantize-nvfp4" "$N" -q --assume-amax 4 "$T/nvfp4" >/dev/null 2>&1
"$PREP_BIN/quantize-nvfp4" "$N" -q --layout compressed-tensors --modules linears "$T/ct" >/dev/null 2>&1
"$PREP_BIN/quantize-gptq" "$N" -q "$T/gptq" >/dev/null 2>&1
"$PREP_BIN/make-gguf" "$N" -q --no-mtp --strict-parity -t Q8_0 -t Q2_K --prefix g "$T/gguf" >/dev/null 2>&1

L='--json --kl-by-layer'
begin 'windows are dealt to ranks, and the JSON has the bytes of one process'
run verify-run "$T/nvfp4" --against "$N" $W --mtp $L --html "$T/page.html"
expect_exit 0
mv "$T/.out" "$T/one"
mv "$T/page.html" "$T/one.html"
for n in 2 4; do
    ranks -n $n "$VERIFY" "$T/nvfp4" --against "$N" $W --mtp $L --html "$T/page.html"
    expect_exit 0
    cmp "$T/one" "$T/.out" >&2 || complain "$n ranks say something else"
    cmp "$T/one.html" "$T/page.html" >&2 || complain "$n ranks write another page"
    rm -f "$T/page.html"
    expect_stderr ''
done

begin 'a reference that ranks make has the bytes of one process, and is judged by'
run verify-run "$N" $W -n 3 --save-reference "$T/one.st"
ranks -n 2 "$VERIFY" "$N" $W -n 3 --save-reference "$T/two.st"
expect_exit 0
expect_same "$T/one.st" "$T/two.st"
run verify-run "$T/gptq" --reference "$T/one.st" -q -j1 --json
mv "$T/.out" "$T/one"
ranks -n 2 "$VERIFY" "$T/gptq" --reference "$T/one.st" -q -j1 --json
expect_exit 0
expect_same "$T/one" "$T/.out"

begin 'a split model judges as a whole one, and twice the same'
run verify-run "$T/nvfp4" --against "$N" $W -n 2 --mtp --no-linears --json
mv "$T/.out" "$T/one"
for n in 2 4; do
    ranks -n $n "$VERIFY" "$T/nvfp4" --against "$N" $W -n 2 --mtp --json --tp $n
    expect_exit 0
    expect_stdout_like "\"tp\":$n,"
    for key in mean kl_p50 kl_max block_error hidden_error; do
        expect_near "$(first_number $key "$T/one")" "$(first_number $key "$T/.out")" 1e-4 \
            "$n ranks, $key"
    done
    mv "$T/.out" "$T/tp"
done
judged="$T/nvfp4 --against $N $W -n 2 --mtp --json --tp 4"
ranks -n 1 "$VERIFY" $judged --mem 90M : -n 3 "$VERIFY" $judged --mem 100M -j2
expect_same "$T/tp" "$T/.out"
expect_stderr ''
[ "$(grep -c 'warning: JUDGE_SPLIT' "$T/.all")" = 1 ] || complain 'linears are left out silently'

begin 'every stored form splits, and each rank holds what prep-plan says'
mini="$T/mini.json"
printf '{"format":1,"evaluation":{"length":12,"tokens":[[5,9,33,60,2,17,40,41,8,63,0,1]]}}' >"$mini"
for form in "$N bf16" "$T/nvfp4 nvfp4-experts" "$T/gptq gptq-portable" "$T/ct -" \
    "$T/gguf/g-Q8_0.gguf gguf-q8_0" "$T/gguf/g-Q2_K.gguf gguf-q2_k" "$DATA/fp8/mini fp8"; do
    set -- $form
    text="--windows $T/windows.json -n 1" config=$N
    [ "$2" != fp8 ] || { text="--windows $mini" config=$1; }
    want=
    for n in 1 2 4; do
        if [ $n = 1 ]; then
            run verify-run "$1" $text -q -j1 --json --tp 1
            want=$(first_number mean "$T/.out")
        else
            ranks -n $n "$VERIFY" "$1" $text -q -j1 --json --tp $n
        fi
        expect_exit 0
        expect_near "$want" "$(first_number mean "$T/.out")" 1e-5 "$1 over $n ranks"
        [ "$2" != - ] || continue
        share=$(plan_bytes "$config" $n "$2")
        list=$(grep -o '"rank_bytes":\[[^]]*\]' "$T/.out" | cut -d : -f 2 | tr -d '[]' | tr , '\n')
        [ "$(echo "$list" | sort | uniq -c | tr -s ' ')" = " $n $share" ] ||
            complain "$1 over $n ranks: holds $list, prep-plan says $share"
    done
done

begin 'a split model goes on with the same text'
run verify-run "$N" --greedy 'The' --new-tokens 12 -q -j1
mv "$T/.out" "$T/one"
for n in 2 4; do
    ranks -n $n "$VERIFY" "$N" --greedy 'The' --new-tokens 12 -q -j1 --tp $n
    expect_exit 0
    expect_same "$T/one" "$T/.out"
done
ranks -n 2 "$VERIFY" "$N" --greedy 'The' --new-tokens 12 -q -j1
expect_same "$T/one" "$T/.out"

begin 'a split model is talked to and probed; ranks hear what rank 0 reads'
printf 'hello\n\nwhat is it\n' >"$T/lines"
"$VERIFY" "$N" --chat --new-tokens 6 --draft 2 -q -j1 <"$T/lines" >"$T/one" 2>/dev/null
timeout 60 $MPIRUN -n 2 "$VERIFY" "$N" --chat --new-tokens 6 --draft 2 -q -j1 --tp 2 \
    <"$T/lines" >"$T/.out" 2>"$T/.all"
expect_same "$T/one" "$T/.out"
[ -s "$T/one" ] || complain 'nothing was said'

begin '--tp must be what was started, and what the model splits over'
run verify-run "$N" $W -n 1 --tp 2
expect_exit 64
expect_stderr 'verify-run: --tp 2: started as 1; start it by mpirun -n 2 (or srun -n 2)'
ranks -n 2 "$VERIFY" "$N" $W -n 1 --tp 4
expect_exit 64
expect_stderr 'verify-run: --tp 4: started as 2; start it by mpirun -n 4 (or srun -n 4)'
ranks -n 3 "$VERIFY" "$N" $W -n 1 --tp 3
expect_exit 64
expect_stderr_lines 1
expect_stderr_like '^verify-run: TP_DIVISIBILITY: .*8 heads do not split over 3 ranks'

begin 'ranks that hold different models are refused'
ranks -n 1 "$VERIFY" "$N" $W -n 1 --tp 2 : -n 1 "$VERIFY" "$T/nvfp4" $W -n 1 --tp 2
expect_exit 65
expect_stderr_lines 1
expect_stderr_like '^verify-run: .*rank 1: has another model than rank 0'
ranks -n 1 "$VERIFY" "$N" $W -n 1 : -n 1 "$VERIFY" "$T/nvfp4" $W -n 1
expect_exit 65
expect_stderr_lines 1
expect_stderr_like '^verify-run: rank 1: has another model or text than rank 0'
ranks -n 1 "$VERIFY" "$N" $W -n 1 --tp 2 : -n 1 "$VERIFY" "$N" $W -n 2 --tp 2
expect_exit 65
expect_stderr_like '^verify-run: rank 1: has another model or text than rank 0'
ranks -n 1 "$VERIFY" "$N" $W -n 1 --tp 2 : -n 1 "$VERIFY" "$N" $W -n 1 --tp 2 --mtp
expect_exit 65
expect_stderr_like '^verify-run: rank 1: is asked for something else than rank 0'

# The last number of a shard is in the last rows and columns, which the last rank has.
begin 'a rank that fails while it runs ends all with one message'
cp -r "$N" "$T/bad"
chmod -R u+w "$T/bad"
shard="$T/bad/model-00001-of-00004.safetensors"
printf '\300\177' | dd of="$shard" bs=1 seek=$(($(wc -c <"$shard") - 2)) conv=notrunc 2>/dev/null
for tp in '--tp 2' ''; do
    ranks -n 1 "$VERIFY" "$N" $W -n 4 $tp : -n 1 "$VERIFY" "$T/bad" $W -n 4 $tp
    expect_exit 65
    expect_stderr_lines 1
    expect_stderr_like '^verify-run: NOT_FINITE: rank 1: '
done

children() # PID NAME: processes of that name below it
{
    grep -l "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status 2>/dev/null |
        xargs grep -l "^Name:[[:space:]]*${2:-mpirun}" 2>/dev/null | cut -d / -f 3
}

begin 'a split model is smoke-tested, probed and cut like a whole one; alone, one rank speaks'
ranks -n 2 "$VERIFY" --smoke "$N" -n 1 -q -j1 --tp 2
expect_exit 0
expect_stdout_like '"verdict":"pass"\}$'
[ "$(wc -l <"$T/.out")" = 1 ] || complain 'stdout has more than a line'
run verify-run "$N" --probe arithmetic --probe-cases 1 --answer-tokens 4 -q -j1
mv "$T/.out" "$T/one"
for tp in '' '--tp 2'; do
    ranks -n 2 "$VERIFY" "$N" --probe arithmetic --probe-cases 1 --answer-tokens 4 -q -j1 $tp
    expect_exit 0
    expect_same "$T/one" "$T/.out"
done
echo '{"2":[0,1,2,3,4,5,6,7],"3":[0,1,2,3,4,5,6,7],"4":[0,1,2,3,4,5,6,7]}' >"$T/map.json"
run verify-run "$N" --keep-map "$T/map.json" --random-draws 1 $W -n 2 --json
mv "$T/.out" "$T/one"
ranks -n 2 "$VERIFY" "$N" --keep-map "$T/map.json" --random-draws 1 $W -n 2 --json --tp 2
expect_exit 0
for key in mean lowest; do
    expect_near "$(first_number $key "$T/one")" "$(first_number $key "$T/.out")" 1e-4 $key
done

begin 'a rank that is killed ends the others'
timeout 60 $MPIRUN -n 2 "$VERIFY" "$T/nvfp4" --against "$N" --text "$DATA/text/eval.jsonl" \
    --window 512 -q -j1 --tp 2 >"$T/.out" 2>"$T/.all" </dev/null &
launched=$!
victim=
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    sleep 0.2
    for mpi in $(children $launched); do # timeout's
        victim=$(children "$mpi" verify-run | tail -n 1)
    done
    [ -z "$victim" ] || break
done
sleep 0.3
if [ -n "$victim" ]; then
    kill -9 "$victim"
else
    complain 'no rank was found'
fi
code=0
wait $launched || code=$?
expect_exit 137
[ "$(grep -c 'on signal 9' "$T/.all")" = 1 ] || complain "says $(cat "$T/.all")"
[ ! -s "$T/.out" ] || complain 'a report was printed'
