# SPDX-License-Identifier: MIT
# verify-run --html: the page of a real judgement, and where it may not be written.
. tests/cli/lib.sh

N=$DATA/glm-nano
TOOLS=${PREP_TEST_TOOLS:-build/release/tests/tools}
case $DATA in /*) TEXT=$DATA/text/eval.jsonl ;; *) TEXT=$PWD/$DATA/text/eval.jsonl ;; esac
case $PREP_BIN in /*) BIN=$PREP_BIN ;; *) BIN=$PWD/$PREP_BIN ;; esac
cp -r "$N" "$T/nano"
run quantize-nvfp4 "$N" -q "$T/max"
run reap-prune "$N" -q --obs "$DATA/observations/nano16/run-a/observations_1024_cosine.pt" \
    --keep 12 "$T/p12"

judge() # ARGUMENT...: with $T as the folder, so that paths in the page are short
{
    code=0
    (cd "$T" && "$BIN/verify-run" "$@") >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}

expect_page_like() # FILE TEXT
{
    grep -qF -- "$2" "$T/$1" || complain "$1 has no '$2'"
}

expect_sound() # FILE
{
    "$TOOLS/check_page" "$T/$1" >"$T/.faults" || complain "$(cat "$T/.faults")"
    if grep -qiE '(src|href)="[^#]|url\(|@import|<script|https?:' "$T/$1"; then
        complain "$1 fetches something"
    fi
}

W="--text $TEXT --window 24 -n 2"
# shellcheck disable=SC2086 # lists of options
{
begin 'a page stands beside the text and the JSON, which it does not change'
judge max p12 --against nano $W --json
expect_exit 0
cp "$T/.out" "$T/plain"
judge max p12 --against nano $W --json --html page.html --force
expect_exit 0
expect_stderr ''
expect_same "$T/plain" "$T/.out"
expect_sound page.html
expect_page_like page.html '<h1>2 models beside nano</h1>'
for section in summary pairs kl layers linears load cut made; do
    expect_page_like page.html "<section id=\"$section\""
done
expect_page_like page.html 'too few windows to tell'
expect_page_like page.html "verify-run \\
  --against nano \\"
expect_no_file "$T/page.html.partial"

if grep -qF 'KL by layer' "$T/page.html"; then
    complain 'KL by layer was not asked for'
fi

begin 'KL by layer is a plot in the section of layers when it is asked for'
judge max p12 --against nano $W --no-linears --kl-by-layer --html layers.html
expect_exit 0
expect_sound layers.html
expect_page_like layers.html '>KL by layer</title>'

begin 'figures of the page stand in the JSON'
for member in kl_by_position kl_sizes by_layer expert_load cut kept_share_s config_sha256; do
    grep -q "\"$member\":" "$T/plain" || complain "no $member"
done
# Every token has its experts: 24 x 2 x 4 in each of three layers, of three models.
[ "$(grep -o '"tokens":\[[0-9,]*\]' "$T/plain" | tr -dc '0-9,\n' | awk -F, '
    { s = 0; for (i = 1; i <= NF; i++) s += $i; if (s == 192) n++ } END { print n }')" = 9 ] ||
    complain "the load of experts does not add up"

begin 'the same judgement gives the same page, whatever the machine'
cp "$T/page.html" "$T/first.html"
export PREP_JOBS=7 PREP_MEM=90M
judge max p12 --against nano $W --json --html page.html --force
unset PREP_JOBS PREP_MEM
expect_exit 0
expect_same "$T/first.html" "$T/page.html"

begin 'what is in the way stays'
cp "$T/page.html" "$T/kept.html"
judge max --against nano $W --html page.html
expect_exit 73
expect_stderr 'verify-run: page.html: is there already; --force replaces it'
expect_same "$T/kept.html" "$T/page.html"
mkdir "$T/folder"
judge max --against nano $W --html folder --force
expect_exit 73
expect_stderr 'verify-run: folder: is in the way, and is no file'
judge max --against nano $W --html nowhere/page.html
expect_exit 73
judge nano $W --save-reference both --html both
expect_exit 64
expect_stderr 'verify-run: both: is both the page and the reference'
judge nano --prompt x --html talk.html
expect_exit 64
expect_no_file "$T/talk.html"

begin 'no room for the page is told, and nothing is left'
(
    trap '' XFSZ
    ulimit -f 8
    judge nano $W --html full.html
    echo "$code" >"$T/code"
)
case $(cat "$T/code") in
73 | 74) ;;
*) complain "exit code $(cat "$T/code"), want 73 or 74" ;;
esac
expect_no_file "$T/full.html"
expect_no_file "$T/full.html.partial"

begin 'a limit that does not hold is the first thing on the page'
judge max --against nano $W --max-kl 0.0000001 --min-top1 0.1 --html limits.html --greedy '<b>&' \
    --new-tokens 3
expect_exit 1
expect_sound limits.html
expect_page_like limits.html '<p class="verdict bad">1 of 2 limits does not hold</p>'
expect_page_like limits.html '&lt;b&gt;&amp;</pre>'

begin 'a model by itself, and a text by itself, have pages'
judge nano $W -n 1 --html alone.html
expect_exit 0
expect_sound alone.html
expect_page_like alone.html 'Nothing to judge it by was given'
judge nano --greedy 'The capital' --new-tokens 3 --html text.html
expect_exit 0
expect_sound text.html
expect_page_like text.html '<h1>Text from nano</h1>'
}
