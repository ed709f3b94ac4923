# SPDX-License-Identifier: MIT
# What quantize-nvfp4 writes in modelopt's layout: modelopt's own decoder gives the numbers that ours
# gives. (Its loaders of finished checkpoints are serving engines and need a GPU.)
. tests/interop/venv.sh
peer_venv_on transformers quantizers nvidia-modelopt compressed-tensors auto-round
. tests/cli/lib.sh

for scales in max four-over-six sweep; do
    for modules in experts linears all; do
        begin "modelopt reads NVFP4 $modules with $scales scales as we do"
        rm -rf "$T/nano"
        run quantize-nvfp4 -q --modules $modules --scales $scales --assume-amax 16 \
            "$DATA/glm-nano" "$T/nano"
        expect_exit 0
        decode "$T/nano"
        compare nvfp4_weights.py "$T/nano" "$T/f32" "$T/bf16"
    done
done
