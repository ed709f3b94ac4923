#!/bin/sh
# SPDX-License-Identifier: MIT
# What the compiler does not check: layers, self-contained headers, format, lengths, small print.
# Each check is one test: "ok NAME", "not ok NAME", "skip NAME REASON"; faults are listed after it.
# Lengths only warn. Run from the root; $PREP_BIN holds the tools.
# shellcheck disable=SC2086,SC2046,SC2013,SC2254 # lists of words are wanted throughout
set -u
export LC_ALL=C
PREP_BIN=${PREP_BIN:-build/release/bin}
any=0
found=$(mktemp) || exit 1
trap 'rm -f "$found"' EXIT

list() # PATTERN...: files of the project, also where there is no git
{
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files --cached --others --exclude-standard -- "$@"
    else
        find . -name .git -prune -o -path ./build -prune -o -type f -print | sed 's#^\./##'
    fi | while IFS= read -r f; do
        [ -f "$f" ] || continue
        for p; do
            case $f in $p) echo "$f"; break ;; esac
        done
    done
}

verdict() # NAME: judge by what the check wrote to $found
{
    if [ -s "$found" ]; then
        echo "not ok $1"
        sed 's/^/# /' "$found"
        any=1
    else
        echo "ok $1"
    fi
}

sources=$(list '*.c' '*.h' '*.cu' '*.cuh')
headers=$(list '*.h')

# A file includes its own layer or lower ones. Kernels include kernels only.
awk '
BEGIN {
    n = split("kernels base numeric format store model chat quant prune engine probe calib release tools tests",
              names, " ")
    for (i = 1; i <= n; i++)
        rank[names[i]] = i
}
function layer(path,  part, m)
{
    m = split(path, part, "/")
    return part[1] == "libprep" && m > 2 ? part[2] : part[1]
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    target = quoted[2]
    mine = layer(FILENAME)
    theirs = layer(target)
    if (!(theirs in rank))
        print FILENAME ":" FNR ": include \"" target "\" is not spelled from the root"
    else if (!(mine in rank))
        print FILENAME ":" FNR ": this folder is no layer"
    else if (rank[theirs] > rank[mine] || (mine == "kernels" && theirs != "kernels"))
        print FILENAME ":" FNR ": layer " mine " includes " target
}' $sources /dev/null >"$found"
verdict "files include their own layer or lower ones"

: >"$found"
for h in $headers; do
    for language in c c++; do
        case $language in c) std=gnu11 compiler=gcc ;; *) std=gnu++17 compiler=g++ ;; esac
        command -v $compiler >/dev/null 2>&1 || continue
                echo "#include \"$h\"" | $compiler -std=$std -D_GNU_SOURCE -I. -fsyntax-only -Wall -Wextra \
            -Werror $(pkg-config --cflags libcjson libarchive) -x $language - 2>&1 | head -n 3
    done
done >"$found"
verdict "headers are complete in C and in C++"

name="files are formatted"
format=
for f in clang-format-14 clang-format; do
    command -v $f >/dev/null 2>&1 && $f --version | grep -q 'version 14\.' && format=$f && break
done
if [ -z "$format" ]; then
    echo "skip $name: clang-format 14 is not installed"
else
        $format --dry-run $sources 2>&1 | grep -E '(warning|error):' | cut -d: -f1 | uniq -c |
        awk '{ print $2 ": " $1 " places; make format" }' >"$found"
    verdict "$name"
fi

grep -nE "$(printf '\t')" $sources /dev/null | cut -d: -f1,2 | sed 's/$/: tab/' >"$found"
grep -nE ' +$' $sources /dev/null | cut -d: -f1,2 | sed 's/$/: blank at the end/' >>"$found"
verdict "no tabs and no trailing blanks"

for f in $sources; do
    head -n 1 "$f" | grep -q 'SPDX-License-Identifier: MIT' || echo "$f: no SPDX line"
done >"$found"
verdict "every source file begins with its licence"

# Spelled with brackets, so that this file does not find itself.
grep -nIE '/w[o]rk/|T[O]DO|F[I]XME|X[X]X[^X"]' $(list '*.c' '*.h' '*.sh' '*.md' '*.json' Makefile 'do' \
    'scripts/*' '.ci/*') /dev/null | cut -c 1-120 >"$found"
verdict "nothing is left undone, no path of one machine"

for h in $headers; do
    [ "$(wc -l <"$h")" -le 200 ] || echo "$h: $(wc -l <"$h") lines, want at most 200"
    grep -q 'extern "C"' "$h" || echo "$h: no extern \"C\""
done >"$found"
verdict "headers are short and open to C++"

# Only base/parallel.c speaks OpenMP; the library never prints, exits, touches global streams or maps
# files (memory of no file is mapped in one place).
grep -nE '#[ ]*pragma[ ]+omp' $(list 'libprep/*.c' 'kernels/*.c' 'tools/*.c') /dev/null |
    grep -v '^libprep/base/parallel\.c:' >"$found"
grep -nE '(^|[^a-z_])(f?printf|puts|putchar|exit|_exit|abort|longjmp|mmap) ?\(' \
    $(list 'libprep/*.c' 'kernels/*.c') /dev/null | grep -vE ':[0-9]+: *(\*|/\*|//)' |
    grep -v '^libprep/base/pages\.c:.*MAP_ANONYMOUS' >>"$found"
verdict "the library starts no threads of its own kind, prints nothing, never exits"

# Option names in a tool's table are in its --help and its man page.
: >"$found"
n_tools=0
for source in $(list 'tools/*.c' | grep -v '^tools/cli'); do
    tool=$PREP_BIN/$(basename "$source" .c)
    [ -x "$tool" ] || continue
    n_tools=$((n_tools + 1))
    help=$("$tool" --help) || echo "$tool --help fails"
    man=$("$tool" --help-man | sed 's/\\-/-/g') || echo "$tool --help-man fails"
    for option in $(grep -oE '^ +\{ ?(\.name = )?"[a-z][a-z0-9-]*", ' "$source" | cut -d '"' -f 2); do
        printf '%s\n' "$help" | grep -qE -e "--$option([= ]|\$)" || echo "$source: $option not in --help"
        printf '%s\n' "$man" | grep -qF -e "--$option\\" || echo "$source: $option not in the man page"
    done
    printf '%s\n' "$help" | awk -v t="$tool" '/^(Examples|Usage):/ { free = 1 } /^$/ { free = 0 }
        length > 80 && !free { print t ": --help is wider than 80 columns: " $0 }'
done >"$found"
if [ "$n_tools" = 0 ]; then
    echo "skip help and man pages show every option: no tool is built in $PREP_BIN"
else
    verdict "help and man pages show every option"
fi

# Words of README that look like paths of this project exist; so do the make targets it names.
: >"$found"
for word in $(grep -oE '`[^` ]+`|\]\([^)#]+\)' README.md | tr -d '`()]'); do
    case $word in
    *://* | /* | -* | build/* | *[\*\<\>\$=:]*) continue ;;
    */* | *.md | *.[ch] | *.sh) [ -e "$word" ] || echo "README.md: $word does not exist" ;;
    esac
done >"$found"
for target in $(grep -oE '(`|^ {4})(make|\./do) [a-z]+' README.md | awk '{ print $NF }' | sort -u); do
    grep -q "^$target:\|^\.PHONY:.* $target\( \|\$\)" Makefile ||
        echo "README.md: there is no target $target"
done >>"$found"
[ "$(wc -l <README.md)" -le 150 ] || echo "README.md: more than 150 lines" >>"$found"
verdict "README names what exists"

if command -v shellcheck >/dev/null 2>&1; then
    shellcheck -s sh -S warning -e SC1091,SC2016,SC2034 $(list '*.sh' 'do' 'scripts/*' '.ci/*') >"$found" 2>&1
    verdict "shell scripts pass shellcheck"
else
    echo "skip shell scripts pass shellcheck: it is not installed"
fi

# Lengths warn: a format walk or a table may claim more in a comment.
awk '
FNR == 1 { file_end() ; name = FILENAME }
{ lines = FNR }
/^[a-z].*\)$/ { head = FNR }
/^\{/ { start = FNR }
/^\}/ {
    if (start && FNR - start - 1 > 60)
        print "# warning: " FILENAME ":" start ": function of " FNR - start - 1 " lines"
    start = 0
}
function file_end()
{
    if (lines > 600)
        print "# warning: " name ": " lines " lines"
    lines = 0
}
END { file_end() }' $sources /dev/null

exit "$any"
