# SPDX-License-Identifier: MIT
# The tokenizers package and ours on 100,000 made-up strings, and on made-up ids.
. tests/interop/venv.sh
peer_venv tokenizers tokenizers==0.23.3
. tests/cli/lib.sh

compare() # NAME ARGUMENT...
{
    begin "$1"
    shift
    "$PY" tests/interop/tokenizers_compare.py "$(dirname "$PREP_BIN")/tests/tools/tokenize" "$T" "$@" \
        >"$T/out" 2>&1 || complain "$(tail -n 8 "$T/out")"
    sed 's/^/# /' "$T/out"
}

V=$DATA/tokenizer/variants
compare "nano: 60,000 strings have the same ids in two modes" \
    "$DATA/glm-nano/tokenizer.json" --strings 60000 --seed 1 --text "$DATA/text/calibration.jsonl"
compare "every flag of added tokens: 12,000 strings" "$V/added.json" --strings 12000 --seed 2
compare "whole words first: 4,000 strings" "$V/bpe-ignore.json" --strings 4000 --seed 3
compare "merges only: 4,000 strings" "$V/bpe-merge.json" --strings 4000 --seed 4
compare "merges as text: 4,000 strings" "$V/bpe-strings.json" --strings 4000 --seed 5
compare "a template around the text: 4,000 strings" "$V/post.json" --strings 4000 --seed 6
compare "random merges, several ways to a token: 12,000 strings over 24 files" \
    --random 24 --strings 500 --seed 7
