# SPDX-License-Identifier: MIT
# reap-prune and stitch-mtp at the command line: same bytes whatever the way, and what is refused.
. tests/cli/lib.sh

R=$DATA/observations/rand32
N=$DATA/glm-nano
NANO_OBS="--obs $DATA/observations/nano16/run-a/observations_1024_cosine.pt \
  --obs $DATA/observations/nano16/run-b/observations_1024_cosine-seed_42.pt"
OBS="--obs $R/run-a/observations_1024_cosine.pt --obs $R/run-b/observations_1024_cosine-seed_42.pt"
SRC=$R/checkpoint
SMALL="--max-shard-size 150000"

# shellcheck disable=SC2086 # lists of options
begin 'one thread and seven, little memory and much give the same bytes'
run reap-prune $SRC -q $OBS --keep 24 $SMALL "$T/one" -j1
expect_exit 0
run reap-prune $SRC -q $OBS --keep 24 $SMALL "$T/seven" -j7 --mem 64M
expect_exit 0
expect_same "$T/one" "$T/seven"
run reap-prune $SRC -q $OBS --keep 24 $SMALL "$T/big" -j2 --mem 4G
expect_exit 0
expect_same "$T/one" "$T/big"

for n in 1 3 5; do
    begin "$n parts, then --assemble, give the bytes of one run"
    i=0
    while [ $i -lt $n ]; do
        run reap-prune $SRC -q $OBS --keep 24 $SMALL --part $i/$n "$T/parts$n"
        expect_exit 0
        i=$((i + 1))
    done
    expect_no_file "$T/parts$n/config.json"
    run reap-prune $SRC -q $OBS --keep 24 $SMALL --assemble "$T/parts$n"
    expect_exit 0
    expect_same "$T/one" "$T/parts$n"
done

begin 'two passes give the bytes of a direct one, but for the history'
run reap-prune $SRC -q $OBS --keep 24 "$T/p24"
expect_exit 0
run reap-prune "$T/p24" -q $OBS --keep 20 "$T/p24-20"
expect_exit 0
run reap-prune $SRC -q $OBS --keep 20 "$T/p20"
expect_exit 0
rm "$T"/p24-20/keep_map.json "$T"/p24-20/prep-manifest.json
rm "$T"/p20/keep_map.json "$T"/p20/prep-manifest.json
expect_same "$T/p24-20" "$T/p20"

begin 'the plan of a keep-map file is the plan of the statistics it came from'
run reap-prune $SRC -q $OBS --keep 20 --model-name fixture/rand32 "$T/stat"
run reap-prune $SRC -q --keep-map "$T/stat/keep_map.json" "$T/explicit"
expect_exit 0
expect_same "$T/stat" "$T/explicit"

begin 'a lost keep-map is recovered from the base'
cp -r "$T/p24" "$T/lost"
rm "$T/lost/keep_map.json"
run reap-prune "$T/lost" -q $OBS --keep 20 "$T/no"
expect_exit 65
expect_stderr_like 'PLAN_NO_KEEP_MAP'
run reap-prune "$T/lost" -q $OBS --keep 20 --recover-keep-map $SRC "$T/found"
expect_exit 0
rm "$T"/found/keep_map.json "$T"/found/prep-manifest.json
expect_same "$T/found" "$T/p20"

begin 'dropping the MTP layer and stitching it back gives the pruned checkpoint'
run reap-prune $SRC -q $OBS --keep 24 --mtp drop "$T/nomtp"
expect_exit 0
run stitch-mtp -q "$T/nomtp" $SRC "$T/stitched"
expect_exit 0
for f in config.json model.safetensors.index.json; do
    expect_same "$T/p24/$f" "$T/stitched/$f"
done
for f in "$T"/p24/*.safetensors; do
    expect_same "$f" "$T/stitched/${f##*/}"
done

begin 'the nano is pruned from genuine files, a bundle of them and native ones alike'
run reap-prune $N -q $NANO_OBS --keep 12 --model-name fixture/glm-nano "$T/nano"
expect_exit 0
(cd "$DATA/observations/nano16/run-a" && tar cf "$T/run-a.tar" observations_1024_cosine.pt)
run reap-prune $N -q --obs "$T/run-a.tar" \
    --obs "$DATA/observations/nano16/run-b.obs.safetensors" --keep 12 "$T/native"
expect_exit 0
for f in "$T"/nano/*.safetensors "$T/nano/config.json"; do
    expect_same "$f" "$T/native/${f##*/}"
done

begin 'a dry run writes nothing and says what would be written'
run reap-prune $SRC $OBS --keep 24 --dry-run "$T/dry"
expect_exit 0
expect_stdout_like '^plan: write .* in [0-9]+ files'
expect_no_file "$T/dry"

begin '--json is one object'
run reap-prune $SRC $OBS --keep 24 --dry-run --json
expect_exit 0
expect_stdout_like '"schema": *"reap-prune/1"'

begin 'refuses a finished output, --force replaces it'
run reap-prune $SRC -q $OBS --keep 20 "$T/p24"
expect_exit 73
expect_stderr_like 'OUTPUT_FINISHED: .*--force'
run reap-prune $SRC -q $OBS --keep 24 --force "$T/p24"
expect_exit 0

begin '--force leaves nothing of the output it replaces'
run reap-prune $SRC -q $OBS --keep 24 $SMALL "$T/many"
expect_exit 0
run reap-prune $SRC -q $OBS --keep 24 --force "$T/many"
expect_exit 0
run reap-prune $SRC -q $OBS --keep 24 "$T/few"
expect_same "$T/few" "$T/many"

begin 'refuses to write into its input'
cp -r $SRC "$T/src"
run reap-prune "$T/src" -q $OBS --keep 24 --force "$T/src"
expect_exit 73
expect_stderr_like 'OUTPUT_IS_INPUT'
expect_same $SRC "$T/src"

begin 'refuses a read-only parent'
mkdir "$T/ro"
chmod a-w "$T/ro"
if [ -w "$T/ro" ]; then
    chmod u+w "$T/ro"
    run reap-prune $SRC -q $OBS --keep 24 "$T/ro/no/such/folder"
else
    run reap-prune $SRC -q $OBS --keep 24 "$T/ro/out"
fi
expect_exit 73
expect_stderr_like 'cannot|create it first'

begin 'refuses a truncated shard before anything is written'
cp -r $SRC "$T/cut"
truncate -s -100 "$T/cut/model-00002-of-00002.safetensors"
run reap-prune "$T/cut" -q $OBS --keep 24 "$T/no"
expect_exit 65
expect_stderr_lines 1
expect_stderr_like 'SHORT_DATA.*model-00002-of-00002.safetensors'
expect_no_file "$T/no"

begin 'refuses another plan in an interrupted output'
run reap-prune $SRC -q $OBS --keep 24 $SMALL --part 0/2 "$T/half"
expect_exit 0
touch "$T/src/model-00001-of-00002.safetensors"
run reap-prune "$T/src" -q $OBS --keep 24 $SMALL --assemble "$T/half"
expect_exit 73
expect_stderr_like 'JOURNAL: .*source model-00001-of-00002.safetensors.*--fresh'
run reap-prune $SRC -q $OBS --keep 24 $SMALL --assemble "$T/half"
expect_exit 66
expect_stderr_like 'part 1 of 2'

begin 'unequal gate and up scales are said, and mended when asked'
CT=$DATA/nvfp4/tiny_glm/autoround_0.12.2_unequal_gate_up
ALL=$T/all.json
printf '{"1": [0, 1, 2, 3, 4, 5, 6, 7], "2": [0, 1, 2, 3, 4, 5, 6, 7]}\n' >"$ALL"
run reap-prune "$CT" --keep-map "$ALL" "$T/unequal"
expect_exit 0
expect_stderr_like 'GATE_UP_SCALE: 16 of 1[0-9] pairs .* --fix-gate-up-scale'
run prep-inspect lint --engine vllm "$T/unequal"
expect_stdout_like '^GATE_UP_SCALE '
run reap-prune "$CT" --keep-map "$ALL" --fix-gate-up-scale -j1 "$T/equal"
expect_exit 0
if grep -q GATE_UP_SCALE "$T/.err"; then complain 'said, though mended'; fi
run prep-inspect lint --engine vllm "$T/equal"
if grep -q GATE_UP_SCALE "$T/.out"; then complain 'still unequal'; fi
run reap-prune "$CT" --keep-map "$ALL" --fix-gate-up-scale -j7 --mem 64M "$T/equal7"
expect_exit 0
expect_same "$T/equal" "$T/equal7"

begin 'a centered bias is in the manifest, and in no other tensor'
run reap-prune "$SRC" -q $OBS --keep 24 --center-bias "$T/centered"
expect_exit 0
if ! grep -q '"center_bias": {' "$T/centered/prep-manifest.json"; then complain 'not in the manifest'; fi
run prep-inspect diff --read-data "$T/big" "$T/centered"
expect_exit 1
expect_stdout_like 'e_score_correction_bias'
if grep '^BYTES' "$T/.out" | grep -qv e_score_correction_bias; then complain 'a weight differs'; fi

begin 'refuses a budget under the floor and prints the floor'
run reap-prune $SRC -q $OBS --keep 24 --mem 1000 "$T/no"
expect_exit 64
expect_stderr_like 'needs at least [0-9]+ bytes'

begin 'refuses requests that say too much or too little'
run reap-prune $SRC "$T/no"
expect_exit 64
run reap-prune $SRC $OBS "$T/no"
expect_exit 64
run reap-prune $SRC $OBS --keep 24 --ratio 0.5 "$T/no"
expect_exit 64
run reap-prune "$T/nowhere" $OBS --keep 24 "$T/no"
expect_exit 66
run reap-prune $SRC --obs "$T/nothing.pt" --keep 24 "$T/no"
expect_exit 66
run stitch-mtp "$T/p24" $SRC "$T/no"
expect_exit 65
expect_stderr_like 'STITCH_PRESENT'
expect_no_file "$T/no"

begin 'refuses two runs on one output'
mkdir -p "$T/locked/.prep"
: >"$T/locked/.prep/lock"
if command -v flock >/dev/null; then
    flock "$T/locked/.prep/lock" sleep 5 &
    pid=$!
    n=0
    while flock -n "$T/locked/.prep/lock" true && [ $n -lt 50 ]; do
        sleep 0.1
        n=$((n + 1))
    done
    run reap-prune $SRC -q $OBS --keep 24 "$T/locked"
    expect_exit 73
    expect_stderr_like 'LOCKED'
    kill $pid 2>/dev/null
    wait $pid 2>/dev/null || true
fi
