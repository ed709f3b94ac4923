# SPDX-License-Identifier: MIT
# verify-run talks: prompts, messages and conversations; the same text whatever way it runs; what is
# refused.
. tests/cli/lib.sh

N=$DATA/glm-nano
V=verify-run

talk() # INPUT ARGUMENT...: with a standard input
{
    _input=$1
    shift
    code=0
    printf '%b' "$_input" | "$PREP_BIN/$V" "$@" >"$T/.out" 2>"$T/.err" || code=$?
}

begin 'goes on with a prompt, from the command line or a file'
run $V "$N" --prompt 'The capital of' --new-tokens 12
expect_exit 0
expect_stdout ' the
    the same as a list of the same as'
expect_stderr ''
cp "$T/.out" "$T/want"
printf 'The capital of' >"$T/prompt.txt"
run $V "$N" --prompt-file "$T/prompt.txt" --new-tokens 12
expect_same "$T/want" "$T/.out"

begin 'the same text with any threads, memory, instructions, keys in F32, and drafts'
for how in -j1 "--mem 30M" "--isa scalar" "--kv-cache f32" "--draft 1" "--draft 8 --kv-cache f32"; do
    # shellcheck disable=SC2086 # options
    run $V "$N" -p 'The capital of' --new-tokens 12 $how
    expect_exit 0
    expect_same "$T/want" "$T/.out"
done
run $V "$N" -p 'The capital of' --new-tokens 12 --kv-cache fp8
expect_exit 0

begin 'a seed fixes the text, drafts do not change it'
run $V "$N" -p 'The' --preset loops --seed 3 --new-tokens 30
expect_exit 0
cp "$T/.out" "$T/seed3"
run $V "$N" -p 'The' --temperature 0.8 --top-p 0.95 --seed 3 --new-tokens 30 --draft 4
expect_same "$T/seed3" "$T/.out"
run $V "$N" -p 'The' --preset loops --seed 4 --new-tokens 30
if cmp -s "$T/seed3" "$T/.out"; then complain 'another seed, the same text'; fi
run $V "$N" -p 'The' --preset loops --top-k 1 --seed 4 --new-tokens 12
cp "$T/.out" "$T/top1"
run $V "$N" -p 'The' --new-tokens 12
expect_same "$T/top1" "$T/.out"
run $V "$N" -p 'The' --preset model --seed 4 --new-tokens 12 --repetition-penalty 1.1 \
    --frequency-penalty 0.2 --min-p 0.1
expect_exit 0

begin 'ends at a stop text, which is not printed'
run $V "$N" -p 'The capital of' --new-tokens 12 --stop 'ame as a li' --stop never
expect_exit 0
expect_stdout ' the
    the s'
run $V "$N" -p 'The capital of' --new-tokens 12 --stop ''
expect_exit 64

begin 'answers messages, with tools, and says so in JSON'
cat >"$T/messages.json" <<'EOF'
{"messages": [{"role": "user", "content": "Which files are there?"}],
 "tools": [{"type": "function", "function": {"name": "list_files", "parameters": {}}}]}
EOF
run $V "$N" --messages "$T/messages.json" --json --new-tokens 40 --draft 3
expect_exit 0
expect_stdout_like '^\{"schema":"verify-run/1","warnings":\[\],"tokens":\[[0-9,]*\],"text":"'
expect_stdout_like '"finish_reason":"(stop|length)","prompt_tokens":[0-9]+,"reused_tokens":0,"new_tokens":[0-9]+,"seed":0,"kv_cache":"bf16","prefill_tokens_per_second":[0-9.]+,"decode_tokens_per_second":[0-9.]+,"drafted":[0-9]+,"accepted":[0-9]+,"acceptance":[0-9.]+,"tokens_per_pass":[0-9.]+\}$'
run $V "$N" --messages "$T/messages.json" --new-tokens 40 -q
expect_exit 0
expect_stderr ''

begin 'markers in message bodies are text unless told otherwise'
printf '[{"role": "user", "content": "a<|user|>b"}]' >"$T/marker.json"
run $V "$N" --messages "$T/marker.json" --json --new-tokens 1
text=$(grep -o '"prompt_tokens":[0-9]*' "$T/.out")
run $V "$N" --messages "$T/marker.json" --json --new-tokens 1 --special
special=$(grep -o '"prompt_tokens":[0-9]*' "$T/.out")
[ "${special#*:}" -lt "${text#*:}" ] || complain "$special is not below $text"

begin 'talks turn by turn, and what was said is not computed again'
talk 'Hello\n\nAnd you?\n' "$N" --chat --new-tokens 20 --seed 5 --json
expect_exit 0
expect_stdout_like '^\{"schema":"verify-run/1","warnings":\[\],"turns":\[\{.*"reused_tokens":0,.*\},\{.*"reused_tokens":[1-9][0-9]*,.*\}\]\}$'
[ "$(grep -o '"text"' "$T/.out" | wc -l)" = 2 ] || complain 'want two turns'
talk 'Hello\n\nAnd you?\n' "$N" --chat --new-tokens 20 --seed 5
expect_exit 0
cp "$T/.out" "$T/turns"
talk 'Hello\r\nAnd you?' "$N" --chat --new-tokens 20 --seed 5 --draft 2 -v
expect_same "$T/turns" "$T/.out"
expect_stderr_like '^verify-run: prompt of [0-9]+ tokens, [1-9][0-9]* of them known: .* ended by (length|stop)$'
expect_stderr_like '^verify-run: [0-9]+ of [0-9]+ drafts accepted, [0-9.]+ tokens per pass$'
talk '' "$N" --chat
expect_exit 0
expect_stdout ''

begin 'control characters do not reach the terminal, and no half characters'
run $V "$N" -p 'x' --temperature 100 --seed 1 --new-tokens 400
expect_exit 0
tr -d '\n\t' <"$T/.out" | LC_ALL=C grep -q '[[:cntrl:]]' && complain 'a control character'
expect_stdout_like '\\x[01][0-9a-f]'
iconv -f UTF-8 -t UTF-8 "$T/.out" >/dev/null 2>&1 || complain 'output is not UTF-8'

begin 'refuses prompts that cannot be'
run $V "$N" --prompt ''
expect_exit 64
expect_stderr 'verify-run: the prompt is empty'
printf 'a\377b' >"$T/bad.txt"
run $V "$N" --prompt-file "$T/bad.txt"
expect_exit 65
expect_stderr 'verify-run: TALK_TEXT: the prompt: byte 1 is not UTF-8'
printf 'a\000b' >"$T/nul.txt"
run $V "$N" --prompt-file "$T/nul.txt"
expect_exit 65
expect_stderr 'verify-run: TALK_TEXT: the prompt holds a NUL'
talk 'fine\nnot \377fine\n' "$N" --chat --new-tokens 2
expect_exit 65
expect_stderr 'verify-run: TALK_TEXT: the line: byte 4 is not UTF-8'
yes 'hello world' | head -n 3000 >"$T/long.txt"
run $V "$N" --prompt-file "$T/long.txt"
expect_exit 65
expect_stderr_like '^verify-run: POSITION: the prompt has [0-9]+ tokens, max_position_embeddings is 2048$'
run $V "$N" --prompt-file "$T/nowhere.txt"
expect_exit 66

begin 'refuses broken messages'
printf '[{"role": "user", "content": "a' >"$T/cut.json"
run $V "$N" --messages "$T/cut.json"
expect_exit 65
expect_stderr_like '^verify-run: JSON: .*cut\.json: byte [0-9]+'
printf '[{"role": 7, "content": "a"}]' >"$T/role.json"
run $V "$N" --messages "$T/role.json"
expect_exit 65
expect_stderr_like '^verify-run: CHAT_INPUT: .*role\.json: message 0: '
printf '[{"role": "user", "content": "\377"}]' >"$T/utf8.json"
run $V "$N" --messages "$T/utf8.json"
expect_exit 65
expect_stderr_like '^verify-run: JSON_UTF8: .*utf8\.json: byte 30'

begin 'refuses templates that loop, that are not supported, or that are not there'
m=$T/messages.json
printf '{%% for a in range(99999) %%}{%% for b in range(99999) %%}{%% endfor %%}{%% endfor %%}' \
    >"$T/loop.jinja"
run $V "$N" --messages "$m" --chat-template "$T/loop.jinja"
expect_exit 65
expect_stderr_like '^verify-run: TPL_LIMIT: .*loop\.jinja: line 1: '
printf 'a\n{%% include "x" %%}' >"$T/include.jinja"
run $V "$N" --messages "$m" --chat-template "$T/include.jinja"
expect_exit 69
expect_stderr_like '^verify-run: TPL_UNSUPPORTED: .*include\.jinja: line 2: the tag "include"'
printf '{%% if %%}' >"$T/syntax.jinja"
run $V "$N" --messages "$m" --chat-template "$T/syntax.jinja"
expect_exit 65
expect_stderr_like '^verify-run: TPL_SYNTAX: '
cp -r "$N" "$T/bare"
chmod -R u+w "$T/bare"
rm "$T/bare/chat_template.jinja" "$T/bare/generation_config.json"
run $V "$T/bare" --messages "$m"
expect_exit 66
run $V "$T/bare" --messages "$m" --chat-template "$N/chat_template.jinja" --new-tokens 2
expect_exit 0
printf '' >"$T/empty.jinja"
run $V "$N" --messages "$m" --chat-template "$T/empty.jinja"
expect_exit 64
expect_stderr 'verify-run: the prompt is empty'

begin 'refuses options out of range, and requests that do not go together'
run $V "$N" -p x --temperature 101
expect_exit 64
expect_stderr 'verify-run: temperature is 101, want 0 to 100'
run $V "$N" -p x --top-p 0
expect_exit 64
run $V "$N" -p x --seed -1
expect_exit 64
run $V "$N" -p x --seed 99999999999999999999
expect_exit 64
run $V "$N" -p x --draft 9
expect_exit 64
run $V "$N" -p x --preset nice
expect_exit 64
expect_stderr 'verify-run: there is no sampling preset "nice": want greedy, chat, strict or loops'
run $V "$N" -p x --kv-cache fp4
expect_exit 64
expect_stderr 'verify-run: no form of keys is called "fp4": want f32, bf16 or fp8'
run $V "$N" -p x --chat
expect_exit 64
expect_stderr 'verify-run: want one of --prompt, --prompt-file, --messages and --chat'
run $V "$N" "$N" -p x
expect_exit 64
expect_stderr 'verify-run: talk to one MODEL at a time'
run $V "$N" -p x --text "$T/prompt.txt"
expect_exit 64
run $V "$N" -p x --mem 1M
expect_exit 64
expect_stderr_like '^verify-run: MEM: --mem 1048576 is under the floor of [0-9]+ bytes'
run $V "$N" -p x --new-tokens 3 --mem 1M
run $V "$N" -p x --new-tokens 3 --mem "$(grep -o 'floor of [0-9]*' "$T/.err" | grep -o '[0-9]*')"
expect_exit 0

begin 'a model without an MTP layer drafts nothing'
run reap-prune "$N" -q --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
    --keep 16 --mtp drop "$T/without"
expect_exit 0
run $V "$T/without" -p x --draft 2
expect_exit 64
expect_stderr 'verify-run: MTP: no drafts without an MTP layer, and the model has none (num_nextn_predict_layers; stitch-mtp brings it back)'
run $V "$T/without" -p 'The capital of' --new-tokens 12
expect_same "$T/want" "$T/.out"

begin 'a model that is pruned on the way talks'
run reap-prune "$N" -q --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
    --keep 12 "$T/p12"
run $V "$T/p12" -p 'The capital of' --new-tokens 12 --draft 3
expect_exit 0
cp "$T/.out" "$T/pruned"
run $V "$N" --keep-map "$T/p12/keep_map.json" -p 'The capital of' --new-tokens 12
expect_same "$T/pruned" "$T/.out"
