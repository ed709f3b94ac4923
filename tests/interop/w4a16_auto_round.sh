# SPDX-License-Identifier: MIT
# What quantize-gptq writes: auto-round's linear has the numbers that we read; and what
# compressed-tensors writes as pack-quantized, read and repacked by us.
. tests/interop/venv.sh
peer_venv_on transformers quantizers nvidia-modelopt compressed-tensors auto-round
. tests/cli/lib.sh

for modules in experts linears portable; do
    for group in 32 128; do
        begin "auto-round reads W4A16 $modules in groups of $group as we do"
        rm -rf "$T/nano"
        run quantize-gptq -q --modules $modules --group-size $group "$DATA/glm-nano" "$T/nano"
        expect_exit 0
        decode "$T/nano"
        compare w4a16_weights.py "$T/nano" "$T/f32"
    done
done

begin "we read pack-quantized as compressed-tensors does"
"$PY" tests/interop/make_pack_quantized.py "$DATA/glm-nano" "$T/packed" >"$T/said" 2>&1 ||
    complain "$(tail -n 5 "$T/said")"
decode "$T/packed"
compare w4a16_weights.py "$T/packed" "$T/f32"
mv "$T/f32" "$T/packed.f32"

begin "repacked as GPTQ it has the same numbers"
rm -rf "$T/nano"
run quantize-gptq -q --repack "$T/packed" "$T/nano"
expect_exit 0
decode "$T/nano"
compare w4a16_weights.py "$T/nano" "$T/f32"
expect_same "$T/f32" "$T/packed.f32"
