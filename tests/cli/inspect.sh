# SPDX-License-Identifier: MIT
# prep-inspect at the command line: what it shows, what check finds, what diff proves.
. tests/cli/lib.sh

N=$DATA/glm-nano
R=$DATA/observations/rand32
SRC=$R/checkpoint
OBS="--obs $R/run-a/observations_1024_cosine.pt --obs $R/run-b/observations_1024_cosine-seed_42.pt"
GATE=model.layers.3.mlp.gate.weight

# What --json printed is JSON when our own strict reader takes it, and then does not know it.
expect_json()
{
    cp "$T/.out" "$T/out.json"
    run prep-inspect "$T/out.json"
    expect_exit 65
    expect_stderr "prep-inspect: UNKNOWN_KIND: $T/out.json: is JSON, but no index, config, observation, keep-map or manifest"
}

# Turn over one bit in the first byte of a tensor.
flip() # FOLDER TENSOR
{
    "$PREP_BIN/prep-inspect" "$1" --match "$2" 2>"$T/.err" | tail -n 1 >"$T/.tensor"
    _file=$1/$(awk '{ print $(NF - 1) }' "$T/.tensor")
    _at=$(awk '{ print $NF }' "$T/.tensor")
    _byte=$(od -An -tu1 -j "$_at" -N 1 "$_file")
    # shellcheck disable=SC2059 # the byte is the format
    printf "\\$(printf '%03o' $((_byte ^ 1)))" |
        dd of="$_file" bs=1 seek="$_at" conv=notrunc 2>/dev/null
}

edit() # FILE SED-SCRIPT
{
    sed "$2" "$1" >"$T/.edited"
    cat "$T/.edited" >"$1"
}

copy() # FOLDER: a fresh copy of the pruned checkpoint
{
    rm -rf "${T:?}/$1"
    cp -r "$T/p24" "$T/$1"
    chmod -R u+w "$T/$1"
}

# ---- show ----

begin 'shows a checkpoint'
run prep-inspect "$N"
expect_exit 0
expect_stderr ''
expect_stdout "$N: checkpoint
  layers        dense 0-1, MoE 2-4, MTP 5
  experts       16 routed, 4 per token, 1 shared
  parameters    19,445,568: 15,285,168 main, 4,160,400 MTP; 7,682,992 active per token
  quantized     no
  tensors       309 in 4 shards, 38.9 MB
  keep-map      none
  manifest      none

  role                   dtype     tensors            elements                 bytes
  embedding              BF16            1             524,288             1,048,576
  final norm             BF16            1                 256                   512
  output head            BF16            1             524,288             1,048,576
  layer norms            BF16           10               2,560                 5,120
  attention              BF16           35           2,992,640             5,985,280
  indexer                BF16           25             415,360               830,720
  dense MLP              BF16            6             786,432             1,572,864
  router                 F32             3                  48                   192
  router                 BF16            3              12,288                24,576
  routed experts         BF16          144           9,437,184            18,874,368
  shared expert          BF16            9             589,824             1,179,648
  MTP layer norms        BF16            2                 512                 1,024
  MTP attention          BF16            7             598,528             1,197,056
  MTP indexer            BF16            5              83,072               166,144
  MTP router             F32             1                  16                    64
  MTP router             BF16            1               4,096                 8,192
  MTP routed experts     BF16           48           3,145,728             6,291,456
  MTP shared expert      BF16            3             196,608               393,216
  MTP glue               BF16            4             131,840               263,680
  total                                309          19,445,568            38,891,264"

begin 'lists the tensors of a layer that match'
run prep-inspect "$N/model-00001-of-00004.safetensors" --layer 0 --match '*q_a*'
expect_exit 0
expect_stdout "$N/model-00001-of-00004.safetensors: safetensors file

  model.layers.0.self_attn.q_a_layernorm.weight BF16 [256] 512 $N/model-00001-of-00004.safetensors 2813352
  model.layers.0.self_attn.q_a_proj.weight BF16 [256, 256] 131072 $N/model-00001-of-00004.safetensors 2813864"

begin 'shows an index and a config'
run prep-inspect "$N/model.safetensors.index.json" "$N/config.json"
expect_exit 0
expect_stdout "$N/model.safetensors.index.json: index
  tensors       309
  total_size    38,891,264
  shards        model-00001-of-00004.safetensors
                model-00002-of-00004.safetensors
                model-00003-of-00004.safetensors
                model-00004-of-00004.safetensors

$N/config.json: config
  layers        dense 0-1, MoE 2-4, MTP 5
  experts       16 routed, 4 per token, 1 shared
  parameters    19,445,568: 15,285,168 main, 4,160,400 MTP; 7,682,992 active per token
  quantized     no"

begin 'shows observations layer by layer'
run prep-inspect "$DATA/observations/nano16/run-a/observations_1024_cosine.pt"
expect_exit 0
expect_stdout "$DATA/observations/nano16/run-a/observations_1024_cosine.pt: observation
  run           run-a
  model         not said
  gates         not said
  expert ids    base
  tokens        4,996

  layer experts           tokens           routed  never          min n           mean n          max n
      2      16            4,996            19984      0            247           1249.0           2292
      3      16            4,996            19984      0            138           1249.0           3677
      4      16            4,996            19984      0            136           1249.0           2698"

begin 'shows a keep-map as ranges of base ids'
run prep-inspect "$DATA/observations/nano16/expected/keep_map-12-10.json" --layer 3
expect_exit 0
expect_stdout "$DATA/observations/nano16/expected/keep_map-12-10.json: keep-map
  sha256        f87cc75649a1f39f9a606d630796e5c213194c0b63ac9fff1a0929ab6288ae0e
  base          fixture/glm-nano
  experts       10 of 16
  parent        d71174a553816b67ad1b97b7857d3e589445d231f95867f93a050ae0cbfa2f73
  pass 1        16 -> 12 by reap, pool routed, gates logit-softmax-renorm; runs run-a (4,996 tokens), run-b (2,317 tokens)
  pass 2        12 -> 10 by reap, pool routed, gates logit-softmax-renorm; runs run-a (4,996 tokens), run-b (2,317 tokens)
  layer 3       10 kept, observed: 0-4 6-7 9 12-13"

begin 'a config that cannot be read does not hide the tensors'
mkdir "$T/bare"
cp "$SRC"/*.safetensors "$SRC"/*.index.json "$T/bare"
run prep-inspect "$T/bare"
expect_exit 0
expect_stdout_like '^  total '
expect_stderr "prep-inspect: warning: NO_CONFIG: $T/bare/config.json: cannot read: No such file or directory"
run prep-inspect check "$T/bare"
expect_exit 1
expect_stdout_like '^NO_CONFIG config.json: '

begin 'names what it cannot show'
run prep-inspect "$T/nothing"
expect_exit 66
printf 'GGUF\003\000\000\000' >"$T/x.gguf"
run prep-inspect "$T/x.gguf"
expect_exit 65
expect_stderr "prep-inspect: SHORT_FILE: $T/x.gguf: byte 8: the file ends inside the header"
echo words >"$T/words"
run prep-inspect "$T/words"
expect_exit 65

begin 'options of another mode are refused'
run prep-inspect check --tensors "$N"
expect_exit 64
run prep-inspect --read-data "$N"
expect_exit 64
run prep-inspect check --pruned "$N"
expect_exit 64
run prep-inspect diff "$N"
expect_exit 64
run prep-inspect check
expect_exit 64
run prep-inspect diff "$N" "$N/config.json"
expect_exit 64

begin 'everything it shows is JSON as well'
# shellcheck disable=SC2086 # a list of options
"$PREP_BIN/reap-prune" $SRC -q $OBS --keep 24 "$T/p24" >/dev/null 2>&1
# shellcheck disable=SC2086
"$PREP_BIN/reap-prune" "$T/p24" -q $OBS --keep 20 "$T/p20" >/dev/null 2>&1
for f in "$N" "$SRC/model.safetensors.index.json" "$SRC/config.json" "$R/run-a" \
    "$R/run-b.obs.safetensors" "$T/p20/keep_map.json" "$T/p20/prep-manifest.json" "$T/p20"; do
    run prep-inspect --json --tensors "$f"
    expect_exit 0
    expect_stdout_like '^\{"schema":"prep-inspect/1","warnings":\[.*"results":\[\{"path":'
    expect_json
done

# ---- check ----

begin '--json --tensors of what has no tensors is an empty list'
run prep-inspect --json --tensors "$N/config.json" "$N/model.safetensors.index.json"
expect_exit 0
[ "$(tr -d ' \n' <"$T/.out" | grep -o '"tensors":\[\]' | wc -l)" = 2 ] || complain "$(cat "$T/.out")"
printf '\002\000\000\000\000\000\000\000{}' >"$T/none.safetensors"
run prep-inspect --json --tensors "$T/none.safetensors"
expect_exit 0
tr -d ' \n' <"$T/.out" | grep -q '"tensors":\[\]' || complain "$(cat "$T/.out")"

begin 'good things have no fault'
run prep-inspect check "$N" "$SRC" "$R/run-a" "$R/run-b.obs.json" "$R/expected/keep_map-24-20.json"
expect_exit 0
expect_stdout "$N: checkpoint, no fault
$SRC: checkpoint, no fault
$R/run-a: observation, no fault
$R/run-b.obs.json: observation, no fault
$R/expected/keep_map-24-20.json: keep-map, no fault"

begin 'a pruned checkpoint is what its manifest says, to the byte'
run prep-inspect check --read-data "$T/p24" "$T/p20"
expect_exit 0
expect_stdout "$T/p24: checkpoint, no fault
$T/p20: checkpoint, no fault"

begin 'without a manifest data can be read, but not be judged'
run prep-inspect check --read-data "$SRC"
expect_exit 0
expect_stdout "NO_MANIFEST $SRC: every shard could be read, but there is no prep-manifest.json to hold the bytes against (warning)
$SRC: checkpoint, no fault"

begin 'a manifest without hashes is said to have none'
# shellcheck disable=SC2086
"$PREP_BIN/reap-prune" $SRC -q $OBS --keep 24 --no-hashes "$T/unhashed" >/dev/null 2>&1
run prep-inspect check --read-data "$T/unhashed"
expect_exit 0
expect_stdout_like '^NO_HASHES prep-manifest.json: '

begin 'a bit that turned over is found by reading the data, and only so'
copy bit
flip "$T/bit" $GATE
run prep-inspect check "$T/bit"
expect_exit 0
run prep-inspect check --read-data "$T/bit" -j3 --mem 1M
expect_exit 1
expect_stdout_like '^FILE_SHA256 model-[-0-9of]*\.safetensors: is [0-9a-f]{64}, the manifest says [0-9a-f]{64}$'
expect_stdout_like "^TENSOR_XXH3 $GATE: is [0-9a-f]{32}, the manifest says [0-9a-f]{32}\$"
expect_stdout_like ': checkpoint, 2 faults$'
expect_stderr_like '^prep-inspect: 2 faults found$'
run prep-inspect check --read-data --json "$T/bit"
expect_exit 1
expect_stdout_like '"code":"TENSOR_XXH3"'
expect_json

begin 'a cut shard is found without reading the data'
copy short
shard=$(find "$T/short" -name 'model*.safetensors' | sort | head -n 1)
size=$(wc -c <"$shard")
head -c $((size - 10)) "$shard" >"$T/.cut"
cat "$T/.cut" >"$shard"
run prep-inspect check "$T/short"
expect_exit 65
expect_stdout ''
expect_stderr_like "^prep-inspect: SHORT_DATA: $shard: "

begin 'a shard that is gone is named'
copy gone
rm "$T/gone/${shard##*/}"
run prep-inspect check "$T/gone"
expect_exit 66
expect_stderr_like "^prep-inspect: SHARD_MISSING: $T/gone/${shard##*/}: "

begin 'a stale count in config.json is found against tensors and keep-map'
copy stale
edit "$T/stale/config.json" 's/"n_routed_experts": 24/"n_routed_experts": 20/'
run prep-inspect check "$T/stale"
expect_exit 1
expect_stdout_like '^EXPERT_COUNT '
expect_stdout_like '^KEEP_MAP_COUNT keep_map.json: n_routed_experts is 24, config.json says 20$'

begin 'a broken index is a fault, and does not hide the others'
cp -r "$N" "$T/both"
chmod -R u+w "$T/both"
rm "$T/both/model.safetensors.index.json"
sed 's/"n_routed_experts": 16/"n_routed_experts": 15/' "$N/config.json" >"$T/both/config.json"
run prep-inspect check "$T/both"
expect_exit 1
expect_stdout_like '^NO_INDEX model.safetensors.index.json: '
expect_stdout_like '^EXPERT_COUNT '
printf '{"weight_map": []}' >"$T/both/model.safetensors.index.json"
run prep-inspect check "$T/both"
expect_exit 1
expect_stdout_like '^INDEX_TYPE model.safetensors.index.json: '
expect_stdout_like '^EXPERT_COUNT '
run prep-inspect "$T/both"
expect_exit 65

begin 'files that changed or went since the run are found by name and size'
copy side
echo >>"$T/side/config.json"
mv "$T/side/keep_map.json" "$T/keep_map.json"
run prep-inspect check "$T/side"
expect_exit 1
expect_stdout_like '^MANIFEST_FILE keep_map.json: the manifest names it, but it is not here$'
expect_stdout_like '^MANIFEST_SIZE config.json: has [0-9]+ bytes, the manifest says [0-9]+$'
expect_stdout_like ': checkpoint, 2 faults$'

begin 'files beside the shards that are no JSON are faults, not the end'
copy torn
echo '{' >"$T/torn/keep_map.json"
echo '{' >"$T/torn/prep-manifest.json"
run prep-inspect check "$T/torn"
expect_exit 1
expect_stdout_like '^KEEP_MAP keep_map.json: '
expect_stdout_like '^MANIFEST prep-manifest.json: '

begin 'passes of a keep-map must join'
sed 's/"from": 24/"from": 28/' "$T/p20/keep_map.json" >"$T/passes.json"
run prep-inspect check "$T/passes.json"
expect_exit 1
expect_stdout "KEEP_MAP_PASSES $T/passes.json: pass 2 starts from 28 experts, want 24
$T/passes.json: keep-map, 1 fault"

begin 'observations are checked value by value'
E=$DATA/observations/edge
run prep-inspect check "$E/nan.pt"
expect_exit 1
expect_stdout_like "^OBS_NONFINITE $E/nan.pt: "
run prep-inspect check "$E/evil_global.pt"
expect_exit 65
expect_stderr_like '^prep-inspect: OBS_PICKLE_FORBIDDEN: '

# ---- diff ----

begin 'a checkpoint equals itself'
run prep-inspect diff --read-data "$SRC" "$SRC"
expect_exit 0
expect_stdout_like '^B is A, byte for byte$'

begin 'proves that a pruned checkpoint holds the bytes of its source'
run prep-inspect diff --pruned --read-data "$SRC" "$T/p24"
expect_exit 0
expect_stderr ''
expect_stdout "A  $SRC: 518 tensors, 1,212,000 bytes, 605,872 parameters, 32 experts
B  $T/p24: 422 tensors, 1,011,168 bytes, 505,488 parameters, 24 experts
A is seen through the keep-map, by kept_parent

                                       tensors                 bytes
  kept                                     422             1,011,168
    under a new expert id                  264               540,672
    router rows gathered                     8                12,672
  dropped                                   96               200,832
  identical, byte for byte                 422             1,011,168
  different                                  0                     0
  not compared                               0                     0

config.json is byte for byte what the keep-map makes of A's
1 file beside the shards is equal
B is A through the keep-map, byte for byte"
run prep-inspect diff --pruned --read-data --json "$SRC" "$T/p24"
expect_exit 0
expect_stdout_like '"identical":\{"tensors":422,"bytes":1011168\}'
expect_stdout_like '"equal":true'
expect_json

begin 'two passes are proven against the base and against the pass before'
run prep-inspect diff --pruned --read-data "$SRC" "$T/p20"
expect_exit 0
expect_stdout_like '^A is seen through the keep-map, by kept_source$'
run prep-inspect diff --pruned --read-data "$T/p24" "$T/p20"
expect_exit 0
expect_stdout_like '^A is seen through the keep-map, by kept_parent$'
run prep-inspect diff --keep-map "$T/p20/keep_map.json" --read-data "$T/p24" "$T/p20"
expect_exit 0

begin 'a checkpoint without its MTP layer, and with it stitched on again, is proven as well'
# shellcheck disable=SC2086
"$PREP_BIN/reap-prune" $SRC -q $OBS --keep 24 --mtp drop "$T/headless" >/dev/null 2>&1
"$PREP_BIN/stitch-mtp" -q "$T/headless" "$SRC" "$T/stitched" >/dev/null 2>&1
run prep-inspect diff --pruned --read-data "$SRC" "$T/headless"
expect_exit 0
run prep-inspect diff --pruned --read-data "$SRC" "$T/stitched"
expect_exit 0
expect_stdout_like '^B is A through the keep-map, byte for byte$'

begin 'without reading, manifests prove what they can'
run prep-inspect diff --pruned "$T/p24" "$T/p20"
expect_exit 0
expect_stdout_like '^  identical, by both manifests +366 '
expect_stdout_like '^  not compared +8 '
expect_stdout_like '^no difference as far as was looked: --read-data compares the bytes$'

begin 'one bit is a difference'
run prep-inspect diff --pruned --read-data "$SRC" "$T/bit"
expect_exit 1
expect_stdout_like "^BYTES $GATE: XXH3-128 [0-9a-f]{32} in A, [0-9a-f]{32} in B, first at byte 0\$"
expect_stdout_like '^1 difference$'
expect_stderr "prep-inspect: $SRC and $T/bit differ"
run prep-inspect diff --pruned --read-data --json "$SRC" "$T/bit"
expect_exit 1
expect_stdout_like '"equal":false'
expect_json

begin 'configs are compared by key'
run prep-inspect diff --pruned --read-data "$SRC" "$T/stale"
expect_exit 1
expect_stdout_like '^CONFIG config.json: n_routed_experts: A has 24, B has 20$'

begin 'without the map, experts are missing and routers are shorter'
run prep-inspect diff "$SRC" "$T/p24"
expect_exit 1
expect_stdout_like '^ONLY_IN_A model.layers.3.mlp.experts.24.down_proj.weight: it is not in B$'
expect_stdout_like "^SHAPE $GATE: \\[32, 64\\] in A, \\[24, 64\\] in B\$"
expect_stderr_like ': --pruned sees A through it$'

begin 'a keep-map of another model is refused'
run prep-inspect diff --keep-map "$DATA/observations/nano16/expected/keep_map-16-12.json" "$SRC" "$T/p24"
expect_exit 65
expect_stderr_like '^prep-inspect: KEEP_MAP: '
