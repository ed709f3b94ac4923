# SPDX-License-Identifier: MIT
# pack-calibration: exact output, the bundled mix, what is refused, nothing written by halves.
. tests/cli/lib.sh

NANO=$DATA/glm-nano
TEXT=$DATA/text/eval.jsonl

begin 'packs a file in its order'
run pack-calibration -q -t "$NANO" -n 256 "$TEXT" "$T/eval.safetensors"
expect_exit 0
expect_stderr ''
expect_stdout_like '^328 sequences of 256 tokens: 83968 of 73 documents, 199 left over, 338 kB$'
expect_stdout_like ': 73 of 73 documents, 84167 tokens$'
expect_stdout_like '^text_sha256 [0-9a-f]{64}$'

begin 'writes the same bytes on any number of threads'
run pack-calibration -q -j 1 -t "$NANO" -n 256 "$TEXT" "$T/one.safetensors"
expect_exit 0
run pack-calibration -q -j 7 -t "$NANO/tokenizer.json" -n 256 "$TEXT" "$T/seven.safetensors"
expect_exit 0
expect_same "$T/one.safetensors" "$T/seven.safetensors"
expect_same "$T/one.safetensors" "$T/eval.safetensors"

begin 'makes the bundled mix, byte for byte as before'
run pack-calibration -q -t "$NANO" -n 512 calibration/nano.json "$T/nano.safetensors"
expect_exit 0
expect_stdout '64 sequences of 512 tokens: 32768 of 31 documents, 2 left over, 133 kB
  ../tests/data/text.tar.zst: 3 of 83 documents, 13108 tokens
  ../tests/data/text.tar.zst: 18 of 210 documents, 9831 tokens
  ../tests/data/text.tar.zst: 3 of 79 documents, 6554 tokens
  ../tests/data/text.tar.zst: 7 of 105 documents, 3277 tokens
text_sha256 73aa0cf65a2a5a770fe1d8b4d92eab5f5fd6d7ab575880af46351c3ff5c66dfc'

begin 'takes options before what the mix says'
run pack-calibration -q -t "$NANO" -n 64 --seed 9 --sequences 3 --prefix '[gMASK]<sop>' \
    --mode raw --separator '' calibration/nano.json "$T/small.safetensors"
expect_exit 0
expect_stdout_like '^3 sequences of 64 tokens: 192 of '

begin 'reads gzip and archives'
gzip -c "$TEXT" >"$T/eval.jsonl.gz"
run pack-calibration -q -t "$NANO" -n 256 "$T/eval.jsonl.gz" "$T/gz.safetensors"
expect_exit 0
expect_stdout_like '^328 sequences of 256 tokens: 83968 of 73 documents'
run pack-calibration -q -t "$NANO" -n 256 --members text/eval.jsonl tests/data/text.tar.zst \
    "$T/tar.safetensors"
expect_exit 0
expect_stdout_like '^328 sequences of 256 tokens: 83968 of 73 documents'

begin 'a dry run writes nothing'
run pack-calibration -q --dry-run -t "$NANO" -n 256 "$TEXT" "$T/dry.safetensors"
expect_exit 0
expect_stdout_like '; nothing written$'
expect_no_file "$T/dry.safetensors"

begin 'prints one JSON object'
run pack-calibration -q --json -t "$NANO" -n 256 "$TEXT" "$T/json.safetensors"
expect_exit 0
expect_stdout_like '^\{"schema":"pack-calibration/1",.*"sequences":328,"sequence":256,"tokens":83968,"documents":73,.*\}$'
expect_stdout_like '"records":73,"documents":73,"empty":0,"taken":73,'

begin 'leaves finished output alone'
run pack-calibration -q -t "$NANO" -n 512 "$TEXT" "$T/eval.safetensors"
expect_exit 73
expect_stderr "pack-calibration: $T/eval.safetensors: is there already; --force replaces it"
expect_same "$T/one.safetensors" "$T/eval.safetensors"
run pack-calibration -q --force -t "$NANO" -n 512 "$TEXT" "$T/eval.safetensors"
expect_exit 0
run pack-calibration -q -t "$NANO" -n 512 "$TEXT" "$T/no/such.safetensors"
expect_exit 73
expect_stderr_lines 1
run pack-calibration -q --force -t "$NANO" -n 512 "$TEXT" "$T"
expect_exit 73

begin 'refuses what cannot be'
run pack-calibration "$TEXT" "$T/x.safetensors"
expect_exit 64
expect_stderr 'pack-calibration: --tokenizer and --sequence are needed'
run pack-calibration -q -t "$NANO" -n 512 "$TEXT"
expect_exit 64
run pack-calibration -q -t "$NANO" -n 512 "$TEXT" calibration/nano.json "$T/x.safetensors"
expect_exit 64
expect_stderr 'pack-calibration: calibration/nano.json: a mix file is given alone'
run pack-calibration -q -t "$NANO" -n 512 --separator '<eos>' "$TEXT" "$T/x.safetensors"
expect_exit 64
expect_stderr 'pack-calibration: separator "<eos>" is not one token of this tokenizer'
run pack-calibration -q -t "$NANO" -n 512 --field body "$TEXT" "$T/x.safetensors"
expect_exit 65
expect_stderr "pack-calibration: DOCUMENT: line 1: $TEXT: no text under \"body\""
run pack-calibration -q -t "$NANO" -n 512 --sequences 500 "$TEXT" "$T/x.safetensors"
expect_exit 65
expect_stderr_like '^pack-calibration: PACK_SHORT: [0-9]+ tokens fill 164 sequences of 512, 500 are asked for$'
run pack-calibration -q -t "$NANO" -n 512 "$T/none.jsonl" "$T/x.safetensors"
expect_exit 66
expect_stderr_lines 1
run pack-calibration -q -t "$T" -n 512 "$TEXT" "$T/x.safetensors"
expect_exit 66
expect_stderr_lines 1
run pack-calibration -q --mem 1M -t "$NANO" -n 512 "$DATA/text/calibration.jsonl" "$T/x.safetensors"
expect_exit 71
expect_stderr_like 'allows 1048576$'
expect_no_file "$T/x.safetensors"

begin 'refuses text that is not UTF-8, or repairs it'
printf 'plain \377 text, and more of it than four tokens' >"$T/bad.txt"
run pack-calibration -q -t "$NANO" -n 4 "$T/bad.txt" "$T/x.safetensors"
expect_exit 65
expect_stderr "pack-calibration: TOK_UTF8: $T/bad.txt: document 0: byte 6 of a text is 0xff, want UTF-8"
run pack-calibration -q --lossy -t "$NANO" -n 4 "$T/bad.txt" "$T/x.safetensors"
expect_exit 0

begin 'reports a damaged tokenizer once, with its class'
mkdir "$T/tokenizer"
sed 's/"normalizer": *null/"normalizer":{"type":"NFC"}/' "$DATA/tokenizer/variants/post.json" \
    >"$T/tokenizer/tokenizer.json"
run pack-calibration -q -t "$T/tokenizer" -n 4 "$TEXT" "$T/y.safetensors"
expect_exit 69
expect_stderr_lines 1
expect_stderr_like '^pack-calibration: TOK_NORMALIZER: .*there is a normalizer, want null$'
