#!/bin/sh
# SPDX-License-Identifier: MIT
# What every command does with its common options.
. tests/cli/lib.sh

found=0
for tool in "$PREP_BIN"/*; do
    [ -x "$tool" ] || continue
    found=1
    tool=$(basename "$tool")

    begin "$tool --help is a result"
    run "$tool" --help
    expect_exit 0
    expect_stdout_like "^Usage: $tool \\[OPTION\\]\\.\\.\\."
    expect_stdout_like '^  75  stopped cleanly'
    expect_stderr ''

    begin "$tool --version names itself"
    run "$tool" --version
    expect_exit 0
    expect_stdout_like "^$tool \\(prep\\) [0-9]+\\.[0-9]+\\.[0-9]+\$"
    expect_stderr ''

    begin "$tool refuses an option it does not have"
    run "$tool" --frobnicate
    expect_exit 64
    expect_stdout ''
    expect_stderr "$tool: unknown option '--frobnicate'; --help lists the options"

    begin "$tool does not call a full disk a success"
    if [ -c /dev/full ]; then
        code=0
        "$PREP_BIN/$tool" --help >/dev/full 2>"$T/.err" || code=$?
        expect_exit 74
        expect_stderr "$tool: cannot write to standard output: No space left on device"
    fi
done
[ "$found" = 1 ] || skip "common options" "no tool is built in $PREP_BIN"
