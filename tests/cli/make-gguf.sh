# SPDX-License-Identifier: MIT
# make-gguf at the command line: same bytes whatever the way, and what is refused. Bytes against
# the peer's are in tests/golden.
. tests/cli/lib.sh

N=$DATA/glm-nano
OBS="--obs $DATA/observations/nano16/run-a/observations_1024_cosine.pt \
  --obs $DATA/observations/nano16/run-b/observations_1024_cosine-seed_42.pt"

# shellcheck disable=SC2086 # lists of options
begin 'one thread and seven, little memory and much, any instructions give the same bytes'
run make-gguf $N -q -t Q8_0 -t family:Q4_0 "$T/one" -j1 --isa scalar
expect_exit 0
run make-gguf $N -q -t Q8_0 -t family:Q4_0 --dry-run --json
expect_exit 0
expect_stdout_like '"schema": *"make-gguf/1"'
floor=$(grep -o '"memory_floor_bytes": *[0-9]*' "$T/.out" | grep -o '[0-9]*$')
run make-gguf $N -q -t Q8_0 -t family:Q4_0 "$T/seven" -j7 --mem "$floor"
expect_exit 0
expect_same "$T/one" "$T/seven"

begin 'a budget under the floor is refused and the floor is printed'
run make-gguf $N -q -t Q8_0 -t family:Q4_0 "$T/no" --mem $((floor - 1))
expect_exit 64
expect_stderr_like "at least $floor bytes"
expect_no_file "$T/no"

begin 'a rung is the same alone and in a ladder'
run make-gguf $N -q -t family:Q4_0 "$T/alone"
expect_exit 0
expect_same "$T/alone/glm-nano-Q4_0-family.gguf" "$T/one/glm-nano-Q4_0-family.gguf"

begin 'two parts, then --assemble, give the bytes of one run, manifest included'
for i in 0 1; do
    run make-gguf $N -q -t Q8_0 -t family:Q4_0 --part $i/2 "$T/parts"
    expect_exit 0
done
run make-gguf $N -q -t Q8_0 -t family:Q4_0 --assemble "$T/parts"
expect_exit 0
expect_same "$T/one" "$T/parts"

begin 'pruning and converting in one pass equals two passes'
run reap-prune $N -q $OBS --keep 12 --model-name fixture/glm-nano "$T/p12"
expect_exit 0
run make-gguf "$T/p12" -q --strict-parity -t Q8_0 --prefix x "$T/two"
expect_exit 0
run make-gguf $N -q --strict-parity -t Q8_0 --prefix x --keep-map "$T/p12/keep_map.json" "$T/onepass"
expect_exit 0
expect_same "$T/two/x-Q8_0.gguf" "$T/onepass/x-Q8_0.gguf"

begin 'an importance matrix of the unpruned model weighs the pruned one'
run make-gguf "$T/p12" -q --strict-parity -t Q4_0 --prefix x \
    --imatrix "$DATA/gguf/nano-imatrix-16.gguf" "$T/im-two"
expect_exit 0
run make-gguf $N -q --strict-parity -t Q4_0 --prefix x --keep-map "$T/p12/keep_map.json" \
    --imatrix "$DATA/gguf/nano-imatrix-16.gguf" "$T/im-one"
expect_exit 0
expect_stderr_like 'IMATRIX_NO_MTP'
expect_same "$T/im-two/x-Q4_0.gguf" "$T/im-one/x-Q4_0.gguf"

begin 'every stored format is a source'
for options in "-m experts" "-m all --layout compressed-tensors"; do
    rm -rf "$T/nvfp4"
    run quantize-nvfp4 $N -q $options "$T/nvfp4"
    run make-gguf "$T/nvfp4" -q -t Q8_0 "$T/from-nvfp4"
    expect_exit 0
    expect_file "$T/from-nvfp4/nvfp4-Q8_0.gguf"
    rm -rf "$T/from-nvfp4"
done
run quantize-gptq $N -q "$T/gptq"
run make-gguf "$T/gptq" -q -t BF16 "$T/from-gptq"
expect_exit 0

begin '--tensor-type, --type-file, --pure and types by name'
printf '# comment\nffn_down_exps=q5_0 nothing_of_the_kind=q8_0\n' >"$T/types"
run make-gguf $N -q -t Q4_0 --tensor-type 'BLK\.2\.ffn_.*_EXPS=Q8_0' --type-file "$T/types" \
    --embedding-type f16 --output-type bf16 "$T/types-out"
expect_exit 0
expect_stderr_like 'TYPE_NO_MATCH: nothing_of_the_kind=q8_0'
run make-gguf $N -q -t Q4_0 --pure --dry-run
expect_exit 0

begin 'the sizes of every rung'
run make-gguf $N --sizes
expect_exit 0
expect_stdout_like '^Q4_K_M +11\.8 MB'
expect_stdout_like '^Q2_K '

begin 'what rows cannot hold is stated'
run make-gguf $N -q -t Q4_K_M --dry-run
expect_exit 0
expect_stderr_like 'TYPE_FALLBACK: glm-nano-Q4_K_M: 6 tensors like blk.5.attn_k_b.weight have rows of 32 values, no whole blocks of Q4_K: Q5_0'

begin 'a metadata file names the model'
printf '{"general.name":"Nano","general.tags":["a","b"],"general.base_models":[{"name":"B","repo_url":"u"}]}' >"$T/meta.json"
run make-gguf $N -q -t Q8_0 --metadata "$T/meta.json" "$T/meta"
expect_exit 0
grep -aq 'general.base_model.0.repo_url' "$T/meta/glm-nano-Q8_0.gguf" || complain 'no base model'
grep -aq 'prep.source.config_sha256' "$T/meta/glm-nano-Q8_0.gguf" || complain 'no provenance'

edit() # FILE SED: a copy of the nano in $T/edited, with links to what stays
{
    rm -rf "$T/edited"
    mkdir "$T/edited"
    for f in "$N"/*; do
        ln -s "$(realpath "$f")" "$T/edited/"
    done
    rm "$T/edited/$1"
    sed "$2" "$N/$1" >"$T/edited/$1"
}

begin 'a tokenizer that splits otherwise is written with a warning'
edit tokenizer.json 's/\\\\p{N}{1,3}/\\\\p{N}{1,2}/'
run make-gguf "$T/edited" -q -t Q8_0 --dry-run
expect_exit 0
expect_stderr_like 'TOKENIZER_PRE.*--pre NAME'
run make-gguf "$T/edited" -q -t Q8_0 --pre gpt-2 --dry-run
expect_exit 0
grep -q TOKENIZER_PRE "$T/.err" && complain 'warned although --pre is given'

begin 'an unknown tokenizer: what to pass, and nothing written'
edit tokenizer.json 's/"type": *"BPE"/"type":"WordPiece"/'
run make-gguf "$T/edited" -q -t Q8_0 "$T/no"
expect_exit 69
expect_stderr_like 'TOK_MODEL.*--tokenizer FOLDER'
expect_no_file "$T/no"
rm "$T/edited/tokenizer.json"
run make-gguf "$T/edited" -q -t Q8_0 "$T/no"
expect_exit 66
expect_stderr_like 'NO_TOKENIZER.*--tokenizer FOLDER'
expect_no_file "$T/no"
run make-gguf "$T/edited" -q -t Q8_0 --tokenizer $N --strict-parity --prefix a "$T/elsewhere"
expect_exit 0
run make-gguf $N -q -t Q8_0 --strict-parity --prefix a "$T/here"
expect_same "$T/elsewhere/a-Q8_0.gguf" "$T/here/a-Q8_0.gguf"

begin 'weights that are no numbers: tensor, row and column'
rm -rf "$T/edited"
cp -rL $N "$T/edited"
chmod -R u+w "$T/edited"
# The last value of the last tensor of the first shard.
size=$(wc -c <"$T/edited/model-00001-of-00004.safetensors")
printf '\300\177' | dd of="$T/edited/model-00001-of-00004.safetensors" bs=1 seek=$((size - 2)) conv=notrunc 2>/dev/null
run make-gguf "$T/edited" -q -t Q8_0 "$T/nan"
expect_exit 65
expect_stderr_like 'NONFINITE: .*row [0-9]+, column [0-9]+'
expect_no_file "$T/nan/edited-Q8_0.gguf"
expect_no_file "$T/nan/prep-manifest.json"

begin 'an MTP layer with other experts than the trunk'
run reap-prune $N -q $OBS --keep 12 --mtp drop --model-name fixture/glm-nano "$T/no-mtp"
run make-gguf "$T/no-mtp" -q -t Q8_0 --mtp separate "$T/no"
expect_exit 64
expect_stderr_like 'no MTP layer'
expect_no_file "$T/no"

refuse() # CODE TEXT ARGUMENT...: nothing is written
{
    _want=$1
    _tag=$2
    shift 2
    begin "refuses $_tag: $(echo "$*" | sed "s#$T/##g;s#$DATA/##g")"
    run make-gguf "$@" "$T/no"
    expect_exit "$_want"
    expect_stderr_like "$_tag"
    expect_no_file "$T/no"
}

refuse 64 'give --type' $N -q
refuse 64 'want one of BF16' $N -q -t Q9_9
refuse 64 'given twice' $N -q -t Q8_0 -t Q8_0
refuse 64 'want REGEX=TYPE' $N -q -t Q8_0 --tensor-type ffn
refuse 64 'want REGEX=TYPE' $N -q -t Q8_0 --tensor-type ffn=iq2_xxs
refuse 65 'PATTERN' $N -q -t Q8_0 --tensor-type '(=q8_0'
refuse 64 '--output-type q9' $N -q -t Q8_0 --output-type q9
refuse 64 'exclude each other' $N -q -t Q8_0 --no-mtp --mtp separate
refuse 66 'no.gguf' $N -q -t Q8_0 --imatrix "$T/no.gguf"
refuse 65 'IMATRIX_FORMAT' $N -q -t Q8_0 --imatrix $N/config.json
# Another number of experts, and no keep-map to tell them apart.
rm -rf "$T/edited"
cp -r "$T/p12" "$T/edited"
rm -f "$T/edited/keep_map.json"
refuse 65 'IMATRIX_SHAPE.*another model' "$T/edited" -q -t Q8_0 \
    --imatrix "$DATA/gguf/nano-imatrix-16.gguf"
refuse 66 'no.json' $N -q -t Q8_0 --metadata "$T/no.json"
printf '[1]' >"$T/list.json"
refuse 65 'GGUF_METADATA' $N -q -t Q8_0 --metadata "$T/list.json"
refuse 64 '--isa' $N -q -t Q8_0 --isa fast

begin 'help lists every option'
run make-gguf --help
expect_exit 0
expect_stdout_like '--strict-parity'
