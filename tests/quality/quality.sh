#!/bin/sh
# SPDX-License-Identifier: MIT
# The protocol of docs/quality.md: every quantizer there is, on nano and on the two hard copies of
# it, beside the peers' figures on the same windows; and cuts of nano beside random ones.
#
#   sh tests/quality/quality.sh BIN TEST_TOOLS DATA OUTPUT [MODEL...]
set -eu
bin=$1 tools=$2 data=$3 out=$4
shift 4
[ $# -gt 0 ] || set -- plain hard-0.5 hard-1.0
windows=$data/quality/windows.json
peers=$data/quality/peers.json
failed=0
mkdir -p "$out"

quiet() # COMMAND...: its output is wanted only when it fails
{
    "$@" >"$out/log" 2>&1 || { cat "$out/log" >&2; exit 1; }
}

make_model() # MODEL
{
    case $1 in
    plain) ;;
    *) rm -rf "$out/$1/bf16"
       quiet "$tools/make_hard" "$data/glm-nano" "$out/$1/bf16" --strength "${1#hard-}" ;;
    esac
}

nvfp4() # NAME OPTION...
{
    name=$1
    shift
    quiet "$bin/quantize-nvfp4" -q --force "$@" "$original" "$folder/$name"
}

int4() # NAME OPTION...
{
    name=$1
    shift
    quiet "$bin/quantize-gptq" -q --force "$@" "$original" "$folder/$name"
}

verify() # RUN NAME...
{
    run=$folder/$1.json
    shift
    for name; do
        set -- "$@" "$folder/$name"
        shift
    done
    # A report of differences is no fault here: no limits are given.
    "$bin/verify-run" -q --json "$@" --against "$original" --windows "$windows" >"$run" || exit 1
}

table() # FORMAT SCOPE RUN [NAME=PEER]...
{
    format=$1 scope=$2 run=$folder/$3.json
    shift 3
    "$tools/quality_table" "$peers" "$model" "$format" "$scope" "$run" "$@" >>"$out/report.md" ||
        failed=1
}

# Inputs of experts of 4 bits: without weights of 4 bits, and with those of max.
w4a4() # KL FORCED_KL of the inputs alone, then of max: what was published, rounded as there
{
    "$bin/verify-run" -q --brief --no-linears "$original" "$folder/max" --against "$original" \
        --windows "$windows" --activations nvfp4-experts --calibration "$windows" >"$out/w4a4"
    awk -v want="$*" '
    BEGIN {
        split(want, is)
        print "### NVFP4, routed experts with inputs of 4 bits, hard-0.5\n"
        print "| weights | forced KL | peer | free KL | peer |\n|---|---|---|---|---|"
    }
    $3 ~ /B$/ && $1 != "original" {
        name = n++ ? "max" : "unquantized"
        free = is[2 * n - 1]
        forced = is[2 * n]
        printf "| %s | %s | %s | %s | %s |\n", name, $8, forced, $7, free
        bad += $7 != free || $8 != forced
    }
    END {
        print ""
        exit bad || n != 2
    }' "$out/w4a4" >>"$out/report.md" || failed=1
}

# Cuts of the plain model by two rules, at three sizes, beside 20 random ones of each size. The hard
# models are the same function.
cuts()
{
    echo "plain: cutting" >&2
    mkdir -p "$out/cuts"
    set --
    for size in 12 10 9; do
        for rule in reap frequency; do
            quiet "$bin/reap-prune" "$data/glm-nano" -q --force --metric "$rule" --keep "$size" \
                --obs "$data/observations/nano16/run-a-routed.obs.safetensors" \
                --obs "$data/observations/nano16/run-b-routed.obs.safetensors" \
                "$out/cuts/$rule-$size"
            cp "$out/cuts/$rule-$size/keep_map.json" "$out/cuts/$rule-$size.json"
            set -- "$@" --keep-map "$rule-$size.json"
        done
    done
    # Short names, from where the keep-maps are.
    set -- "$(realpath "$bin")/verify-run" -q "$(realpath "$data/glm-nano")" "$@" \
        --windows "$(realpath "$windows")" --random-draws 20
    (cd "$out/cuts" && "$@") >"$out/cuts/table" || exit 1
    {
        printf '### Cuts, plain\n\n```\n'
        sed "s|$(realpath "$data")/||" "$out/cuts/table"
        printf '```\n'
    } >>"$out/report.md"
}

: >"$out/report.md"
for model; do
    folder=$out/$model
    original=$folder/bf16
    [ "$model" != plain ] || original=$data/glm-nano
    mkdir -p "$folder"
    echo "$model: quantizing" >&2
    make_model "$model"
    quiet "$tools/importance" "$original" "$windows" calibration "$folder/importance.st"
    nvfp4 max
    nvfp4 minmax --layout compressed-tensors
    nvfp4 rtn --scales rtn
    nvfp4 four-over-six --scales four-over-six
    nvfp4 sweep --scales sweep
    nvfp4 weighted-sweep --scales sweep --importance "$folder/importance.st"
    int4 signed
    int4 classic --scales classic
    echo "$model: judging" >&2
    verify nvfp4 max minmax rtn four-over-six sweep
    verify nvfp4-weighted sweep weighted-sweep
    verify int4 signed classic
    table NVFP4 experts nvfp4 'max=modelopt max' 'minmax=compressed-tensors minmax' \
        'rtn=auto-round RTN' 'four-over-six=modelopt four-over-six' \
        'sweep=modelopt FP8 sweep (mse)'
    # What the weights are worth shows where channels differ.
    check=
    [ "$model" != hard-0.5 ] || check='weighted-sweep<=0.7*sweep'
    table NVFP4 experts nvfp4-weighted ${check:+"$check"}
    table int4 portable int4 'signed=auto-round RTN'
    [ "$model" != hard-0.5 ] || w4a4 0.00210 0.00152 0.00455 0.00366
    [ "$model" != plain ] || cuts
done
cat "$out/report.md"
exit $failed
