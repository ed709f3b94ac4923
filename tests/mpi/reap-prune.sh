# SPDX-License-Identifier: MIT
# reap-prune over several ranks: the bytes of one process, one voice, and how it fails.
# shellcheck disable=SC2086 # lists of options
. tests/mpi/mpirun.sh

R=$DATA/observations/rand32
OBS="--obs $R/run-a/observations_1024_cosine.pt --obs $R/run-b/observations_1024_cosine-seed_42.pt"
ARGS="$R/checkpoint $OBS --keep 24 --max-shard-size 150000"
PRUNE=$PREP_BIN/reap-prune

run reap-prune $ARGS -q "$T/one"
one=$(grep -v '^wrote' "$T/.out")
for n in 1 2 4; do
    begin "$n ranks give the bytes and the words of one process"
    ranks -n $n "$PRUNE" $ARGS -q -j1 "$T/n$n"
    expect_exit 0
    expect_same "$T/one" "$T/n$n"
    expect_no_file "$T/n$n/.prep"
    [ "$(grep -v '^wrote' "$T/.out")" = "$one" ] || complain "says $(cat "$T/.out")"
    [ "$(grep -c '^wrote' "$T/.out")" = 1 ] || complain "not one line 'wrote': $(cat "$T/.out")"
    expect_stderr ''
    [ "$(grep -c 'warning: PLAN_COUNT_KERNEL' "$T/.all")" = 1 ] || complain 'a warning is repeated'
done

begin 'ranks report together what they wrote'
ranks -n 3 "$PRUNE" $ARGS --json -j1 "$T/json"
expect_exit 0
expect_same "$T/one" "$T/json"
bytes=$(cat "$T/one"/* | wc -c)
manifest=$(wc -c <"$T/one/prep-manifest.json")
expect_stdout_like "\"written_bytes\": *$((bytes - manifest))"
expect_stdout_like '"ranks": *3'

begin 'ranks go on with what parts had done, and one process with what ranks had'
for part in 0/5 3/5; do
    run reap-prune $ARGS -q --part $part "$T/mixed"
    expect_exit 0
done
ranks -n 2 "$PRUNE" $ARGS --json "$T/mixed"
expect_exit 0
expect_same "$T/one" "$T/mixed"
expect_stdout_like '"resumed_bytes": *[1-9]'
for part in 1/4 2/4; do
    run reap-prune $ARGS -q --part $part "$T/back"
    expect_exit 0
done
run reap-prune $ARGS --json "$T/back"
expect_exit 0
expect_same "$T/one" "$T/back"
expect_stdout_like '"resumed_bytes": *[1-9]'

begin 'a rank that cannot write ends all with one message; the next run goes on'
blocked=$(cd "$T/one" && echo model-00002-of-*.safetensors).partial
mkdir -p "$T/limit/.prep" "$T/limit/$blocked"
ranks -n 2 "$PRUNE" $ARGS -q "$T/limit"
expect_exit 73
expect_stderr_lines 1
expect_stderr_like "^reap-prune: rank 1: .*$blocked: .*[Ii]s a directory"
expect_no_file "$T/limit/config.json"
expect_no_file "$T/limit/prep-manifest.json"
rmdir "$T/limit/$blocked"
ranks -n 3 "$PRUNE" $ARGS -q "$T/limit"
expect_exit 0
expect_same "$T/one" "$T/limit"

begin 'what all ranks find wrong is said once'
ranks -n 3 "$PRUNE" $ARGS -q "$T/limit"
expect_exit 73
expect_stderr_lines 1
expect_stderr_like '^reap-prune: OUTPUT_FINISHED: .*limit: holds a finished output'
ranks -n 3 "$PRUNE" "$T/nothing" $OBS --keep 24 "$T/never"
expect_exit 66
expect_stderr_lines 1
ranks -n 3 "$PRUNE" --nonsense
expect_exit 64
expect_stderr_lines 1

begin '--force replaces a finished output, --fresh forgets an interrupted one'
ranks -n 4 "$PRUNE" $ARGS -q --force -j1 "$T/limit"
expect_exit 0
expect_same "$T/one" "$T/limit"
run reap-prune $ARGS -q --part 0/3 "$T/fresh"
ranks -n 2 "$PRUNE" $ARGS --json --fresh "$T/fresh"
expect_exit 0
expect_same "$T/one" "$T/fresh"
expect_stdout_like '"resumed_bytes": *0'

begin 'ranks that mean different things are refused'
ranks -n 1 "$PRUNE" $ARGS -q "$T/other" : \
    -n 1 "$PRUNE" $ARGS --max-shard-size 140000 -q "$T/other"
expect_exit 65
expect_stderr_lines 1
expect_stderr_like 'rank 1: plans other work than rank 0'
expect_no_file "$T/other"

begin 'ranks are their own parts, and a dry run has one voice'
ranks -n 2 "$PRUNE" $ARGS -q --part 0/2 "$T/never"
expect_exit 64
expect_stderr_lines 1
expect_no_file "$T/never"
ranks -n 2 "$PRUNE" $ARGS --dry-run "$T/never"
expect_exit 0
[ "$(grep -c '^plan: ' "$T/.out")" = 1 ] || complain "says $(cat "$T/.out")"
expect_no_file "$T/never"

begin 'a command that works alone says so'
ranks -n 2 "$PREP_BIN/prep-plan" "$T/one"
expect_exit 64
expect_stderr 'prep-plan: runs as one process; start it without mpirun'
