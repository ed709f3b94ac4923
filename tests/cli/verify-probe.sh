# SPDX-License-Identifier: MIT
# verify-run --probe: what nano answers, the same however it runs, and what is refused.
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
W="--windows $DATA/quality/windows.json"
cp -r "$DATA/glm-nano" "$T/nano"
run reap-prune "$DATA/glm-nano" -q --keep 9 "$T/p9" \
    --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt"

verify() # ARGUMENT...: in $T, so that paths in reports are short
{
    code=0
    (cd "$T" && "$BIN/verify-run" "$@") >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}

# shellcheck disable=SC2086 # a list of options
{
begin 'counts loops, greedy and sampled, beside the original'
verify p9 --against nano $W --probe loops --loop-prompts 2 --loop-seeds 1 --loop-tokens 96
expect_exit 0
expect_stdout '4 cases, asked of 2 models; chat template afcf572b0c839560

loops: texts that end in a cycle
  greedy
    nano      1 of 2       50.00 %  [  9.45  90.55]
    p9        0 of 2        0.00 %  [  0.00  65.76]  0 only here, 1 only in the original, p 1: no difference is shown
  temperature 0.8, top-p 0.95
    nano      0 of 2        0.00 %  [  0.00  65.76]
    p9        0 of 2        0.00 %  [  0.00  65.76]  0 only here, 0 only in the original, p 1: no difference is shown'
expect_stderr ''
cp "$T/.out" "$T/loops"

begin 'threads and memory change no answer'
L="$W --probe loops --loop-prompts 2 --loop-seeds 1 --loop-tokens 96"
verify nano $L -j1 --mem 20M
expect_exit 0
grep '^    nano ' "$T/loops" | tr -s ' ' >"$T/a"
grep '^    nano ' "$T/.out" | tr -s ' ' >"$T/b"
expect_same "$T/a" "$T/b"

begin 'a cut seen through its keep-map answers like the model that was cut'
verify nano --keep-map p9/keep_map.json $L -q
expect_exit 0
grep '^    p9 ' "$T/loops" | sed 's/^    p9 /    nano /; s/\].*/]/' | tr -s ' ' >"$T/a"
grep '^    nano ' "$T/.out" | tr -s ' ' >"$T/b"
expect_same "$T/a" "$T/b"

begin 'needles by length and depth, sums, tool calls and facts'
verify nano $W --probe needle,arithmetic,tools,facts --probe-lengths 200,300,4096 \
    --probe-depths 0,1 --probe-cases 1 --answer-tokens 8
expect_exit 0
expect_stdout '42 cases, asked of 1 model; chat template afcf572b0c839560

needle: needles found
    nano      0 of 4        0.00 %  [  0.00  48.99]
    tokens, by depth         0.00     1.00
    200                    0 of 1   0 of 1
    300                    0 of 1   0 of 1

arithmetic: sums right
  1 digit
    nano      0 of 1        0.00 %  [  0.00  79.35]
  2 digits
    nano      0 of 1        0.00 %  [  0.00  79.35]
  3 digits
    nano      0 of 1        0.00 %  [  0.00  79.35]

tools: tool calls right, turn by turn
  tool chat
    nano      1 of 11       9.09 %  [  1.62  37.74]

facts: facts right
  facts
    nano      0 of 24       0.00 %  [  0.00  13.80]

  nano: 2 answers hold calls or try to, 0 are sound'
expect_stderr 'verify-run: warning: PROBE_LENGTH: a needle in 4096 tokens is left out: with an answer of 8 it does not fit into the 2048 positions of the model'

begin 'prints one JSON object, case by case'
verify p9 --against nano --probe arithmetic --probe-cases 2 --answer-tokens 4 --json
expect_exit 0
expect_stdout_like '^\{"schema":"verify-run/1","warnings":\[\],"has_original":true,"chat_template_sha256":"[0-9a-f]{64}","probed":\[\{"path":"nano","answers_that_ended":0,'
expect_stdout_like '"arithmetic":\{"n":6,"hits":[0-6],"rate":.*"groups":\[\{"name":"1 digit","n":2,"hits":[0-2],.*"cases":\[\{"id":"1/0","hit":(true|false),"tokens":4,"stopped":false\}'
expect_stdout_like '\{"path":"p9".*"only_original":[0-9],"only_model":[0-9],"p":1,"claim":"none"'

begin 'a page has a section for each probe'
verify p9 --against nano $W --probe loops,needle,arithmetic --loop-prompts 1 --loop-tokens 2 \
    --loop-seeds 1 --probe-lengths 200,300 --probe-depths 0,1 --probe-cases 1 --answer-tokens 1 \
    --html probes.html -q
expect_exit 0
"$TOOLS/check_page" "$T/probes.html" >"$T/.faults" || complain "$(cat "$T/.faults")"
for part in '<h1>Answers beside nano</h1>' '<section id="loops"' '<section id="needle"' \
    '<section id="arithmetic"' 'no difference is shown'; do
    grep -qF -- "$part" "$T/probes.html" || complain "the page has no '$part'"
done

begin 'a set of prompts of your own'
cat >"$T/own.json" <<'SET'
{"format": "prep-prompts", "version": 1, "name": "own",
 "prompts": [{"id": "a", "messages": [{"role": "user", "content": "Say the same as."}], "judge": {"words": ["the"]}}]}
SET
verify nano --prompt-set own.json --answer-tokens 16
expect_exit 0
expect_stdout_like '^1 case, asked of 1 model; chat template [0-9a-f]{16}$'
expect_stdout_like '^  own$'

begin 'passes variables to the chat template'
cp -r "$T/nano" "$T/asks"
printf '{%% for m in messages %%}{{ m.content }}{%% endfor %%}{{ "" if quiet else raise_exception("loud") }}' \
    >"$T/asks/chat_template.jinja"
verify asks --probe arithmetic --probe-cases 1 --answer-tokens 1
expect_exit 65
expect_stderr_like 'TPL_RAISED.*loud'
verify asks --probe arithmetic --probe-cases 1 --answer-tokens 1 --template-arg quiet=true
expect_exit 0
verify asks --probe arithmetic --template-arg quiet
expect_exit 64
expect_stderr 'verify-run: --template-arg quiet: want KEY=JSON'

begin 'without a chat template questions are asked as they stand, and conversations are refused'
cp -r "$T/nano" "$T/bare"
rm "$T/bare/chat_template.jinja"
sed 's/"chat_template"/"was_template"/' "$T/nano/tokenizer_config.json" >"$T/bare/tokenizer_config.json"
verify bare --probe facts --answer-tokens 2
expect_exit 0
expect_stderr 'verify-run: warning: PROBE_NO_CHAT: bare has no chat template: questions are asked as they stand'
verify bare --probe tools --answer-tokens 2
expect_exit 64
expect_stderr_like 'a conversation of several messages needs a chat template$'

begin 'refuses requests that make no sense'
verify nano --probe nonsense
expect_exit 64
expect_stderr 'verify-run: --probe nonsense: want loops, needle, arithmetic, tools, facts or all'
verify nano --probe loops
expect_exit 64
expect_stderr 'verify-run: loops and needles are made of a text: give texts, windows or packed tokens'
verify nano --probe needle $W --probe-depths 2
expect_exit 64
verify nano --probe needle $W --probe-lengths 10 --answer-tokens 4
expect_exit 64
verify nano --probe arithmetic --reference ref.st
expect_exit 64
verify nano --prompt-set nowhere.json
expect_exit 66
echo '{"format": "other"}' >"$T/bad.json"
verify nano --prompt-set bad.json
expect_exit 65
expect_stderr_like '^verify-run: PROBE_SET: bad\.json: '
}
