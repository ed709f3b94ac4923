#!/bin/sh
# SPDX-License-Identifier: MIT
# Run test programs and count what they say.
#
#   make -s jobs | sh tests/run.sh
#
# Each line read is a job: "LABEL COMMAND...". A job prints TAP (cmocka) or "ok NAME",
# "not ok NAME", "skip NAME REASON"; what else it prints is shown when it fails (V=1: always). It
# fails as well when it ends with another status than its results say, or prints none. Jobs run
# JOBS at a time. The last line is "N passed, N failed, N skipped"; exit 1 when any failed.
set -u
dir=build/test-logs/$$ # kept when something failed
mkdir -p "$dir"
export CMOCKA_MESSAGE_OUTPUT=TAP
# No fake stack: gcc 12 aligns arrays that vectors are stored to, to 64 bytes, and expects the same
# of a frame that the sanitizer moved elsewhere, which it does not do (GCC bug 110027).
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=0}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
# The OpenMP runtime is not instrumented: what it orders is told by libarcher, its own accesses are
# no races of ours.
export TSAN_OPTIONS="${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1:ignore_noninstrumented_modules=1}"

# A job that hangs is ended after ten minutes.
one='
    n=${1%% *} rest=${1#* }
    label=${rest%% *} command=${rest#* }
    printf "%s\n" "$label" >"$0/$n.label"
    began=$(date +%s)
    timeout -k 10 600 sh -c "$command" >"$0/$n.out" 2>&1
    echo $? >"$0/$n.status"
    echo $(($(date +%s) - began)) >"$0/$n.seconds"
'
awk '{ printf "%05d %s%c", NR, $0, 0 }' >"$dir/jobs"
xargs -0 -r -n 1 -P "${JOBS:-$(nproc)}" sh -c "$one" "$dir" <"$dir/jobs"

count='
/^1\.\.[0-9]+$/ { planned = substr($0, 4) + 0; next }
/^(not )?ok [0-9]+ # SKIP/ || /^skip / { skipped++; next }
/^not ok / { failed++; next }
/^ok / { passed++; next }
END {
    total = passed + failed + skipped
    if (planned && planned != total) {
        printf "not ok %d results of %d planned\n", total, planned >log_file
        failed++
    }
    if ((status != 0 || !total) && !failed) {
        printf "not ok ended with status %d after %d results\n", status, total >log_file
        failed++
    }
    print passed + 0, failed + 0, skipped + 0
}'
passed=0 failed=0 skipped=0
for status in "$dir"/*.status; do
    [ -e "$status" ] || break
    out=${status%.status}.out
    label=$(cat "${status%.status}.label")
    # shellcheck disable=SC2046 # three numbers
    set -- $(awk -v status="$(cat "$status")" -v log_file="$out.more" "$count" "$out")
    passed=$((passed + $1)) failed=$((failed + $2)) skipped=$((skipped + $3))
    verdict=ok
    if [ "$2" != 0 ]; then
        verdict=FAILED
    elif [ "$1" = 0 ]; then
        verdict=skipped
    fi
    printf '%-8s %-44s %4d s %5d passed%s%s\n' "$verdict" "$label" \
        "$(cat "${status%.status}.seconds")" "$1" \
        "$([ "$2" = 0 ] || echo ", $2 failed")" "$([ "$3" = 0 ] || echo ", $3 skipped")"
    if [ "$verdict" = FAILED ] || [ "${V:-0}" = 1 ]; then
        sed 's/^/    | /' "$out"
        [ ! -e "$out.more" ] || sed 's/^/    | /' "$out.more"
    else
        grep -E '^(skip |(not )?ok [0-9]+ # SKIP)' "$out" | sed 's/^/    | /'
    fi
done
if [ "$failed" = 0 ]; then
    rm -rf "$dir"
else
    echo "logs are in $dir"
fi
echo "$passed passed, $failed failed, $skipped skipped" | tee build/test-counts
[ "$failed" = 0 ]
