# shellcheck shell=sh
# SPDX-License-Identifier: MIT
# What the shell tests share. A script sources this, then for each case:
#
#   begin "refuses an unknown option"
#   run reap-prune --nope
#   expect_exit 64
#   expect_stdout ''
#   expect_stderr "reap-prune: unknown option '--nope'; --help lists the options"
#
# Prints "ok NAME" or "not ok NAME" per case. $T is an empty folder, removed at the end; $DATA the
# fixtures; tools are found in $PREP_BIN. PREP_* settings of the person's shell are cleared.
set -u
export LC_ALL=C
unset PREP_JOBS PREP_MEM COLUMNS
PREP_BIN=${PREP_BIN:-build/release/bin}
DATA=${PREP_TEST_DATA:-build/data}
T=$(mktemp -d "${TMPDIR:-/tmp}/prep-cli-XXXXXX") || exit 1
_case=
_failed=0
_any=0

_close()
{
    [ -n "$_case" ] || return 0
    if [ "$_failed" = 0 ]; then
        echo "ok $_case"
    else
        echo "not ok $_case"
        _any=1
    fi
    _case=
}

_end()
{
    _code=$?
    if [ "$_code" != 0 ] && [ -n "$_case" ]; then
        complain "the script ended with $_code"
    fi
    _close
    chmod -R u+w "$T" 2>/dev/null
    rm -rf "$T"
    [ "$_code" = 0 ] || exit "$_code"
    exit "$_any"
}
trap _end EXIT
trap 'exit 130' INT TERM

begin() # NAME
{
    _close
    _case=$1
    _failed=0
}

skip() # NAME REASON
{
    _close
    echo "skip $1 $2"
}

complain() # TEXT...
{
    _failed=1
    echo "# $_case: $*"
}

run() # TOOL ARGUMENT...: fills $code, $T.out and $T.err
{
    _tool=$1
    shift
    code=0
    "$PREP_BIN/$_tool" "$@" >"$T/.out" 2>"$T/.err" </dev/null || code=$?
}

expect_exit() # CODE
{
    [ "$code" = "$1" ] || complain "exit code $code, want $1; stderr: $(cat "$T/.err")"
}

_expect_text() # WHAT FILE TEXT
{
    if [ -n "$3" ]; then
        printf '%s\n' "$3" >"$T/.want"
    else
        : >"$T/.want"
    fi
    cmp -s "$T/.want" "$2" || complain "$1 is not as wanted: $(diff "$T/.want" "$2" | head -n 20)"
}

expect_stdout() # TEXT, all of it, without the last newline
{
    _expect_text stdout "$T/.out" "$1"
}

expect_stderr()
{
    _expect_text stderr "$T/.err" "$1"
}

expect_stdout_like() # EXTENDED REGULAR EXPRESSION, one line must match
{
    grep -Eq -- "$1" "$T/.out" || complain "no line of stdout is like '$1': $(head -n 20 "$T/.out")"
}

expect_stderr_like()
{
    grep -Eq -- "$1" "$T/.err" || complain "no line of stderr is like '$1': $(head -n 20 "$T/.err")"
}

expect_stderr_lines() # COUNT
{
    _n=$(wc -l <"$T/.err")
    [ "$_n" -eq "$1" ] || complain "$_n lines on stderr, want $1: $(head -n 20 "$T/.err")"
}

expect_same() # A B: files or folders; leave out names given by IGNORE
{
    diff -r ${IGNORE:+--exclude="$IGNORE"} "$1" "$2" >"$T/.diff" 2>&1 ||
        complain "$1 and $2 differ: $(head -n 5 "$T/.diff")"
}

expect_file() # PATH
{
    [ -e "$1" ] || complain "$1 is missing"
}

expect_no_file() # PATH
{
    [ ! -e "$1" ] || complain "$1 is there"
}
