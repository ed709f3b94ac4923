# SPDX-License-Identifier: MIT
# What quantize-nvfp4 writes in the layout of compressed-tensors: that package and transformers read
# the numbers we read. With activation scales and without.
. tests/interop/venv.sh
peer_venv_on transformers quantizers nvidia-modelopt compressed-tensors auto-round
. tests/cli/lib.sh

for modules in experts linears all; do
    for amax in '' '--assume-amax 16'; do
        begin "compressed-tensors and transformers read NVFP4 $modules${amax:+ with }$amax as we do"
        rm -rf "$T/nano"
        # shellcheck disable=SC2086
        run quantize-nvfp4 -q --layout compressed-tensors --modules $modules $amax \
            "$DATA/glm-nano" "$T/nano"
        expect_exit 0
        decode "$T/nano"
        compare nvfp4_weights.py "$T/nano" "$T/f32" "$T/bf16"
        compare transformers_weights.py "$T/nano" "$T/f32" "$T/bf16"
    done
done

begin "compressed-tensors reads a repacked modelopt checkpoint as we do"
run quantize-nvfp4 -q --modules experts "$DATA/glm-nano" "$T/modelopt"
expect_exit 0
rm -rf "$T/nano"
run quantize-nvfp4 -q --repack --layout compressed-tensors "$T/modelopt" "$T/nano"
expect_exit 0
decode "$T/nano"
compare nvfp4_weights.py "$T/nano" "$T/f32" "$T/bf16"
